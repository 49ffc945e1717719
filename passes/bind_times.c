// passes/bind_times.c -- compute once per phase what a phase leaves constant.
//
// In the steps and evals of a phase, a value is frozen if nothing behind it changes while the phase
// lasts (times.h). The latest frozen values on each path, if they are worth keeping, are computed
// by the phase's prologue, which writes each to a storage of kind `phase`; the graphs read that
// instead. A value that several of them need is computed once: the prologue's nodes are shared as
// they are made.
//
//     step:     conv2d(x, read w * scale)     ->  conv2d(x, read "teach.prologue/0")
//     prologue:                                   write "teach.prologue/0" (read w * scale)
//
// Not worth keeping: what no arithmetic is needed for (views are looked through), masks and indices
// made of nothing but constants (cheaper to make than to read), and values that are larger than all
// they are made of, such as a product broadcast over a batch. Their operands are looked at instead.
// Where sums are behind a value it is kept all the same, unless a step has it from few operations:
// the transformed kernels of a frozen network are four times its weights, and making them again is
// a fiftieth of the step.
#include <string.h>

#include "ir/cost.h"
#include "passes/passes.h"
#include "passes/rewrite.h"
#include "passes/share.h"
#include "passes/times.h"

typedef struct Prologue {
    Module *module;
    PassContext *ctx;
    int32_t phase;
    Graph *graph; // NULL until something is hoisted
    NodeTable shared;
    Vec(Storage *) kept; // by id of the prologue's node: where its value is kept, or NULL
} Prologue;

// ---- what is worth it ---------------------------------------------------------------------------

typedef struct Worth {
    Times *times;
    Arena *scratch;
    int64_t *source_count; // by id: elements of the storages and scalars behind it
    uint8_t *has_work;     // by id: arithmetic behind it, over something that is read
    uint8_t *has_sums;     // by id: a reduction or contraction behind it
    uint8_t *is_moved;     // by id: views and copies of what is read, nothing else
    double *flops;         // by id: to make it from those
    bool in_step;          // which has no memory to spare
} Worth;

enum {
    CHEAP_FLOPS = 64,    // for each element of a value that is made again
    MOVED_COUNT = 65536, // elements from which on a mere copy is
};

static void weigh(Worth *worth, const Node *node) {
    uint32_t id = node->id;
    if (node->op == OP_read || node->op == OP_scalar)
        worth->source_count[id] = type_count(&node->type);
    worth->flops[id] = (double)node_flops(node);
    worth->is_moved[id] = op_has(node->op, LEAF) || op_has(node->op, VIEWS);
    for (uint32_t k = 0; k < node->arity; k++) {
        uint32_t operand = node->operand[k]->id;
        worth->flops[id] += worth->flops[operand];
        worth->source_count[id] += worth->source_count[operand];
        worth->has_work[id] |= worth->has_work[operand];
        worth->has_sums[id] |= worth->has_sums[operand];
        worth->is_moved[id] &= worth->is_moved[operand];
    }
    if (worth->source_count[id] > INT32_MAX) // shared operands count often; it is a guess anyway
        worth->source_count[id] = INT32_MAX;
    bool is_work = !op_has(node->op, LEAF) && (!op_has(node->op, VIEWS) || node->op == OP_relayout);
    if (is_work && worth->source_count[id])
        worth->has_work[id] = 1;
    if (op_has(node->op, REDUCES) || op_has(node->op, CONTRACTS) || op_has(node->op, DECOMPOSES))
        worth->has_sums[id] = 1;
}

static bool is_free_view(Op op) {
    return op == OP_reshape || op == OP_broadcast;
}

/// Whether a step makes the value again, since it is large and has few operations behind it, or
/// none: weights in another order.
static bool is_made_again(const Worth *worth, const Node *node) {
    int64_t count = type_count(&node->type);
    if (!worth->in_step)
        return false;
    if (worth->is_moved[node->id] && count > MOVED_COUNT)
        return true;
    return worth->has_sums[node->id] && count > worth->source_count[node->id] &&
           worth->flops[node->id] < CHEAP_FLOPS * (double)count;
}

static bool is_worth_keeping(const Worth *worth, const Node *node) {
    if (!worth->has_work[node->id] || is_free_view(node->op) || op_has(node->op, LEAF) ||
        is_made_again(worth, node))
        return false;
    return worth->has_sums[node->id] || type_count(&node->type) <= worth->source_count[node->id];
}

// ---- into the prologue --------------------------------------------------------------------------

static const char *phase_name(const Prologue *p) {
    const Program *program = p->ctx->program;
    if (program && (size_t)p->phase < program->phases.count)
        return program->phases.at[p->phase]->name;
    return arena_printf(p->ctx->scratch, "phase%d", p->phase);
}

/// The phase's prologue, found or made; what it holds already can be shared.
static void open_prologue(Prologue *p) {
    Module *module = p->module;
    if (p->graph)
        return;
    for (size_t i = 0; i < module->graphs.count; i++) {
        if (module->graphs.at[i]->role == GRAPH_PROLOGUE && module->graphs.at[i]->phase == p->phase)
            p->graph = module->graphs.at[i];
    }
    if (!p->graph) {
        const char *name = arena_printf(module->arena, "%s.prologue", phase_name(p));
        p->graph = module_add_graph(module, name, GRAPH_PROLOGUE, p->phase);
        if (p->ctx->program && (size_t)p->phase < p->ctx->program->phases.count)
            p->ctx->program->phases.at[p->phase]->prologue = (int32_t)(module->graphs.count - 1);
    }
    for (size_t i = 0; i < p->graph->nodes.count; i++) {
        Node *node = p->graph->nodes.at[i];
        vec_push(p->ctx->scratch, &p->kept, NULL);
        if (node->op == OP_write)
            p->kept.at[node->operand[0]->id] = module->storages.at[node->attrs->storage];
        else
            node_table_share(&p->shared, node);
    }
}

/// What the prologue writes to the storage that `read` reads, NULL if that is not of the prologue:
/// when it runs, such a storage holds nothing yet.
static Node *value_behind(const Prologue *p, const Node *read) {
    for (size_t i = 0; read->op == OP_read && i < p->kept.count; i++) {
        if (p->kept.at[i] && p->kept.at[i]->id == (uint32_t)read->attrs->storage)
            return p->graph->nodes.at[i];
    }
    return NULL;
}

/// A copy of `node`, and of what is behind it, in the prologue; equal nodes are one.
static Node *copy_node(Prologue *p, const Node *node, Node **copy_by_id) {
    if (!copy_by_id[node->id])
        copy_by_id[node->id] = value_behind(p, node);
    if (copy_by_id[node->id])
        return copy_by_id[node->id];
    Node **operand = arena_array(p->ctx->scratch, Node *, node->arity);
    for (uint32_t k = 0; k < node->arity; k++)
        operand[k] = copy_node(p, node->operand[k], copy_by_id);
    Node *copy = graph_append(p->graph, node->op, operand, node->arity, node->attrs, node->origin);
    copy->type = node->type; // with its layout
    Node *first = node_table_share(&p->shared, copy);
    if (first != copy)
        p->graph->nodes.count--; // it was the last, and nothing uses it
    else
        vec_push(p->ctx->scratch, &p->kept, NULL);
    return copy_by_id[node->id] = first;
}

/// The storage that keeps the value of `node` through the phase.
static Storage *keep(Prologue *p, const Node *node, Node **copy_by_id) {
    open_prologue(p);
    Node *value = copy_node(p, node, copy_by_id);
    if (p->kept.at[value->id])
        return p->kept.at[value->id];
    int number = 0;
    for (size_t i = 0; i < p->module->storages.count; i++) {
        const Storage *other = p->module->storages.at[i];
        number += other->kind == STORAGE_PHASE && other->phase == p->phase;
    }
    const char *name = arena_printf(p->module->arena, "%s/%d", p->graph->name, number);
    Storage *storage = module_add_storage(p->module, STORAGE_PHASE, name, &value->type);
    storage->phase = p->phase;
    storage->origin = node->origin;
    ir_at(p->graph, node->origin);
    ir_write(p->graph, storage, value)->type = value->type; // with its layout
    vec_push(p->ctx->scratch, &p->kept, NULL);
    return p->kept.at[value->id] = storage;
}

// ---- out of the graphs --------------------------------------------------------------------------

/// Marks the frozen values to be kept for what needs `node` now: itself, or those behind it.
static void mark_kept(const Worth *worth, const Node *node, uint8_t *seen, uint8_t *is_kept) {
    if (seen[node->id])
        return;
    seen[node->id] = 1;
    if (!worth->has_work[node->id])
        return;
    if (is_worth_keeping(worth, node)) {
        is_kept[node->id] = 1;
        return;
    }
    for (uint32_t k = 0; k < node->arity; k++)
        mark_kept(worth, node->operand[k], seen, is_kept);
}

static bool hoist(Graph *graph, Prologue *p) {
    bool changed = pass_dce(graph, p->ctx); // nothing is kept for what is dead
    Arena *scratch = p->ctx->scratch;
    size_t count = graph->nodes.count;
    Times times = times_begin(graph, p->ctx);
    Worth worth = {
        .times = &times,
        .scratch = scratch,
        .source_count = arena_array(scratch, int64_t, count),
        .has_work = arena_array(scratch, uint8_t, count),
        .has_sums = arena_array(scratch, uint8_t, count),
        .is_moved = arena_array(scratch, uint8_t, count),
        .flops = arena_array(scratch, double, count),
        .in_step = graph->role == GRAPH_STEP,
    };
    uint8_t *seen = arena_array(scratch, uint8_t, count);
    uint8_t *is_kept = arena_array(scratch, uint8_t, count);
    for (size_t i = 0; i < count; i++) {
        const Node *node = graph->nodes.at[i];
        if (is_frozen(&times, node)) {
            weigh(&worth, node);
            continue;
        }
        for (uint32_t k = 0; k < node->arity; k++) {
            if (is_frozen(&times, node->operand[k]))
                mark_kept(&worth, node->operand[k], seen, is_kept);
        }
    }

    // All are copied before the graph changes: a copy is of the nodes as they were.
    Node **copy_by_id = arena_array(scratch, Node *, count);
    Storage **kept = arena_array(scratch, Storage *, count);
    for (size_t i = 0; i < count; i++) {
        if (is_kept[i])
            kept[i] = keep(p, graph->nodes.at[i], copy_by_id);
    }
    Rewrite rw = rewrite_begin(graph, scratch);
    for (size_t i = 0; i < count; i++) {
        Node *node = rewrite_next(&rw, i);
        Node *read = kept[i] ? ir_read(graph, kept[i]) : NULL;
        if (read)
            read->type = node->type;
        rewrite_place(&rw, node, read ? read : node);
    }
    changed |= rewrite_end(&rw);
    pass_dce(graph, p->ctx);
    return changed;
}

/// Drops what the prologues keep for nobody: a second run may have packed a value that a first one
/// kept as it was.
static bool forget_unread(Module *module, PassContext *ctx) {
    uint8_t *is_read = arena_array(ctx->scratch, uint8_t, module->storages.count + 1);
    bool changed = false;
    for (size_t g = 0; g < module->graphs.count; g++) {
        const Graph *graph = module->graphs.at[g];
        for (size_t i = 0; i < graph->nodes.count; i++)
            if (graph->nodes.at[i]->op == OP_read)
                is_read[graph->nodes.at[i]->attrs->storage] = 1;
    }
    for (size_t g = 0; g < module->graphs.count; g++) {
        Graph *graph = module->graphs.at[g];
        if (graph->role != GRAPH_PROLOGUE)
            continue;
        uint8_t *live = arena_array(ctx->scratch, uint8_t, graph->nodes.count + 1);
        for (size_t i = 0; i < graph->nodes.count; i++) {
            const Node *node = graph->nodes.at[i];
            live[i] = node->op != OP_write || is_read[node->attrs->storage] ||
                      module->storages.at[node->attrs->storage]->kind != STORAGE_PHASE;
        }
        if (graph_keep_only(graph, live)) {
            pass_dce(graph, ctx);
            changed = true;
        }
    }
    return changed;
}

/// Moves what is frozen during a phase from its steps and evals to its prologue, made where needed.
/// Requires: topological order, no `grad` nodes.  Keeps: order.  Removes dead nodes.
bool pass_bind_times(Module *module, PassContext *ctx) {
    bool changed = false;
    size_t graph_count = module->graphs.count;
    int32_t phase_count = 0;
    for (size_t i = 0; i < graph_count; i++) {
        if (module->graphs.at[i]->phase >= phase_count)
            phase_count = module->graphs.at[i]->phase + 1;
    }
    for (int32_t phase = 0; phase < phase_count; phase++) {
        Prologue prologue = {
            .module = module, .ctx = ctx, .phase = phase, .shared = {.arena = ctx->scratch}};
        for (size_t i = 0; i < graph_count; i++) {
            Graph *graph = module->graphs.at[i];
            if (graph->phase == phase && graph_repeats(graph) && !graph_has_grad(graph))
                changed |= hoist(graph, &prologue);
        }
        if (prologue.graph)
            ir_at(prologue.graph, NULL);
    }
    return forget_unread(module, ctx) || changed;
}
