// passes/differentiate.c -- expand `grad` nodes: reverse mode on the IR.
//
// grad(loss, x) becomes the nodes that compute the derivative of `loss` by the node x. The first
// grad in order has no other grad behind its loss, so taking the first until none is left goes from
// the inside out; to later ones the expanded nodes are ordinary ones. All grads of one loss are
// expanded by one sweep from the loss back to the earliest requested node, and only through nodes
// that depend on a requested one: frozen parts cost nothing. The new nodes stand where the first
// grad stood, in the order of the sweep, so a gradient is complete as soon as the backward walk has
// passed.
#include <inttypes.h>

#include "passes/grad.h"
#include "passes/passes.h"
#include "passes/rewrite.h"

// ---- services for the rules ---------------------------------------------------------------------

bool grad_wanted(const GradContext *ctx, const Node *x) {
    return ctx->wanted[x->id];
}

/// Sums g over the axes along which it was broadcast from `type`.
static Node *sum_to(GradContext *ctx, Node *g, const Type *type) {
    if (type_same_shape(&g->type, type))
        return g;
    int64_t axes[MAX_RANK];
    int count = 0;
    int lead = g->type.rank - type->rank;
    for (int i = 0; i < g->type.rank; i++) {
        if (i < lead || (type->dim[i - lead] == 1 && g->type.dim[i] != 1))
            axes[count++] = i;
    }
    if (count)
        g = ir_reduce(ctx->graph, OP_sum, g, axes, count, count != lead);
    return type_same_shape(&g->type, type) ? g : ir_reshape(ctx->graph, g, type->dim, type->rank);
}

void grad_accumulate(GradContext *ctx, Node *x, Node *g) {
    if (!grad_wanted(ctx, x))
        return;
    g = sum_to(ctx, g, &x->type);
    kdc_assert(type_equal(&g->type, &x->type));
    Graph *graph = ctx->graph;
    bool by_weight = !ctx->of_batch[x->id];
    if (g->id >= ctx->made)
        g->origin = origin_for(graph, g->origin, by_weight, 0);
    Node **sum = &ctx->cotangent[x->id];
    if (!*sum) {
        *sum = g;
        return;
    }
    const Origin *origin = graph->cursor;
    ir_at(graph, origin_for(graph, origin, by_weight, node_terms(x))); // the sum is all terms'
    *sum = selected_add(graph, *sum, g);
    ir_at(graph, origin);
}

// ---- one loss -----------------------------------------------------------------------------------

/// Marks what depends on a requested node through ops that a derivative passes.
static uint8_t *mark_wanted(const Graph *graph, const uint8_t *requested, size_t count,
                            Arena *scratch) {
    uint8_t *wanted = arena_array(scratch, uint8_t, count);
    for (size_t i = 0; i < count; i++) {
        const Node *node = graph->nodes.at[i];
        wanted[i] = requested[i];
        if (wanted[i] || !dtype_is_float(node->type.dtype) || !grad_passes(node->op))
            continue;
        for (uint32_t k = 0; k < node->arity; k++)
            wanted[i] |= wanted[node->operand[k]->id];
    }
    return wanted;
}

static uint8_t *mark_of_batch(const Graph *graph, size_t count, Arena *scratch) {
    uint8_t *of_batch = arena_array(scratch, uint8_t, count);
    for (size_t i = 0; i < count; i++) {
        const Node *node = graph->nodes.at[i];
        of_batch[i] = node->op == OP_input || op_has(node->op, RANDOM);
        for (uint32_t k = 0; k < node->arity; k++)
            of_batch[i] |= of_batch[node->operand[k]->id];
    }
    return of_batch;
}

/// Walks from the loss back to node `first`, applying rules. Nodes made for a node take its tag,
/// and its origin, at the stage of the gradient.
static void sweep(GradContext *ctx, Node *loss, uint32_t first, Stage stage) {
    Graph *graph = ctx->graph;
    for (uint32_t id = loss->id + 1; id-- > first;) {
        Node *y = graph->nodes.at[id];
        if (!ctx->cotangent[id] || !grad_passes(y->op))
            continue;
        size_t made = ctx->made = graph->nodes.count;
        const Origin *origin = origin_at_stage(graph, y->origin, stage);
        ir_at(graph, origin_for(graph, origin, !ctx->of_batch[id], 0));
        grad_rules[y->op](ctx, y, ctx->cotangent[id]);
        for (; made < graph->nodes.count; made++)
            graph->nodes.at[made]->tag = y->tag;
    }
}

static bool is_grad_of(const Node *node, const Node *loss) {
    return node->op == OP_grad && node->operand[0] == loss;
}

/// The nodes made since `count` move to `at`, where the first grad of `loss` stands; these grads
/// go.
static void finish_nodes(Graph *graph, const Node *loss, size_t at, size_t count, Arena *scratch) {
    size_t total = graph->nodes.count;
    Node **order = arena_array(scratch, Node *, total);
    size_t n = 0;
    for (size_t i = 0; i < at; i++)
        order[n++] = graph->nodes.at[i];
    for (size_t i = count; i < total; i++)
        order[n++] = graph->nodes.at[i];
    for (size_t i = at; i < count; i++) {
        if (!is_grad_of(graph->nodes.at[i], loss))
            order[n++] = graph->nodes.at[i];
    }
    graph_set_nodes(graph, order, n);
}

/// Expands all grads of the loss of `grad`, the first grad node of the graph.
static void expand(Graph *graph, Node *grad, Arena *scratch) {
    Node *loss = grad->operand[0];
    size_t count = graph->nodes.count;
    size_t at = grad->id;

    uint8_t *requested = arena_array(scratch, uint8_t, count);
    uint32_t first = loss->id + 1; // the earliest requested node that can matter
    for (size_t i = at; i < count; i++) {
        const Node *node = graph->nodes.at[i];
        if (!is_grad_of(node, loss))
            continue;
        const Node *x = node->operand[1];
        requested[x->id] = 1;
        if (x->id < first)
            first = x->id;
    }

    GradContext ctx = {
        .graph = graph,
        .scratch = scratch,
        .cotangent = arena_array(scratch, Node *, count),
        .wanted = mark_wanted(graph, requested, count, scratch),
        .of_batch = mark_of_batch(graph, count, scratch),
        .made = count,
    };
    Stage stage = grad->origin ? grad->origin->stage : STAGE_FORWARD;
    ir_at(graph, origin_at_stage(graph, loss->origin, stage));
    if (grad_wanted(&ctx, loss)) {
        grad_accumulate(&ctx, loss, ir_full(graph, 1.0, &loss->type));
        sweep(&ctx, loss, first, stage);
    }

    for (size_t i = at; i < count; i++) { // what nothing reached
        Node *node = graph->nodes.at[i];
        if (!is_grad_of(node, loss))
            continue;
        Node **dx = &ctx.cotangent[node->operand[1]->id];
        ir_at(graph, node->origin);
        if (!*dx)
            *dx = ir_full(graph, 0.0, &node->type);
    }
    Node **replacement = arena_array(scratch, Node *, graph->nodes.count);
    for (size_t i = at; i < count; i++) {
        const Node *node = graph->nodes.at[i];
        if (is_grad_of(node, loss))
            replacement[i] = ctx.cotangent[node->operand[1]->id];
    }
    ir_at(graph, NULL);
    graph_replace(graph, replacement);
    finish_nodes(graph, loss, at, count, scratch);
}

// ---- the pass -----------------------------------------------------------------------------------

/// One node for each storage read, batch field and run-time scalar, so that a gradient by a storage
/// does not depend on which of its reads the program names.
static void share_leaves(Graph *graph, Arena *scratch) {
    Rewrite rw = rewrite_begin(graph, scratch);
    Map first;
    map_init(&first, scratch);
    for (size_t i = 0; i < rw.old_count; i++) {
        Node *node = rewrite_next(&rw, i);
        Node *same = NULL;
        if (node->op == OP_read || node->op == OP_input || node->op == OP_scalar) {
            const char *key =
                node->op == OP_read
                    ? arena_printf(scratch, "%" PRId64, node->attrs->storage)
                    : arena_printf(scratch, "%s %s", op_info[node->op].name, node->attrs->name);
            same = map_get(&first, key);
            if (!same)
                map_set(&first, key, node);
        }
        rewrite_place(&rw, node, same ? same : node);
    }
    rewrite_end(&rw);
}

/// Replaces every grad node by the nodes that compute the derivative, or by zeros where the loss
/// does not depend on the value. Requires: topological order.  Keeps: order of the other nodes.
/// Breaks: ids.
bool pass_differentiate(Graph *graph, PassContext *ctx) {
    if (!graph_has_grad(graph))
        return false;
    share_leaves(graph, ctx->scratch);
    for (size_t i = 0; i < graph->nodes.count;) {
        if (graph->nodes.at[i]->op == OP_grad)
            expand(graph, graph->nodes.at[i], ctx->scratch);
        else
            i++;
    }
    return true;
}
