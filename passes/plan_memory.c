// passes/plan_memory.c -- where every value lies: all offsets, before the first step.
//
// Storages lie one after another; those of different phases, which never live together, share
// bytes. What a phase's prologue computes has an arena of its own, which each phase lays anew.
// Within a graph a stored value lives from the kernel that stores it to the last that reads it.
// Values are placed from the largest to the smallest, each at the lowest offset that is free all
// its life. A value that a kernel computes element by element from one that dies there takes its
// place, and both count as one.
#include <stdlib.h>
#include <string.h>

#include "ir/rows.h"
#include "passes/passes.h"
#include "support/diag.h"

enum { ALIGNMENT = 64 };

static int64_t aligned(int64_t bytes) {
    return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static int64_t size_of(const Type *type) {
    return type_count(type) * (int64_t)dtype_size_bytes(type->dtype);
}

// ---- storages
// --------------------------------------------------------------------------------------

// Those of one phase, of the kind that its prologue computes (if it still does) or of the others;
// from `offset` on.
static int64_t place_storages(Module *module, const uint8_t *is_written, int32_t phase,
                              bool of_prologue, int64_t offset) {
    for (size_t i = 0; i < module->storages.count; i++) {
        Storage *storage = module->storages.at[i];
        if (storage->phase != phase || (storage->kind == STORAGE_PHASE) != of_prologue ||
            (of_prologue && !is_written[i]))
            continue;
        storage->offset_bytes = offset;
        offset += aligned(size_of(&storage->type));
    }
    return offset;
}

static int64_t larger(int64_t a, int64_t b) {
    return a > b ? a : b;
}

static void plan_storages(Module *module, Arena *scratch) {
    int32_t last = -1;
    uint8_t *is_written = arena_array(scratch, uint8_t, module->storages.count + 1);
    for (size_t g = 0; g < module->graphs.count; g++) {
        const Graph *graph = module->graphs.at[g];
        for (size_t i = 0; i < graph->nodes.count; i++)
            if (graph->nodes.at[i]->op == OP_write)
                is_written[graph->nodes.at[i]->attrs->storage] = 1;
    }
    for (size_t i = 0; i < module->storages.count; i++) {
        int32_t phase = module->storages.at[i]->phase;
        last = phase > last ? phase : last;
    }
    int64_t shared = place_storages(module, is_written, -1, false, 0);
    module->storage_bytes = shared;
    module->phase_bytes = place_storages(module, is_written, -1, true, 0);
    for (int32_t phase = 0; phase <= last; phase++) {
        int64_t end = place_storages(module, is_written, phase, false, shared);
        module->storage_bytes = larger(end, module->storage_bytes);
        end = place_storages(module, is_written, phase, true, 0);
        module->phase_bytes = larger(end, module->phase_bytes);
    }
}

// ---- what is not the step's
// --------------------------------------------------------------------------

static uint32_t input_index(const Graph *graph, const Node *node) {
    uint32_t index = 0;
    for (size_t i = 0; graph->nodes.at[i] != node; i++) {
        const Node *before = graph->nodes.at[i];
        if (before->op != OP_input)
            continue;
        if (strcmp(before->attrs->name, node->attrs->name) == 0)
            return input_index(graph, before);
        bool repeated = false;
        for (size_t k = 0; k < i; k++)
            repeated |= graph->nodes.at[k]->op == OP_input &&
                        strcmp(graph->nodes.at[k]->attrs->name, before->attrs->name) == 0;
        index += !repeated;
    }
    return index;
}

static void place_outside(Graph *graph) {
    uint32_t outputs = 0;
    int64_t output_offset = 0;
    for (size_t i = 0; i < graph->nodes.count; i++) {
        const Node *node = graph->nodes.at[i];
        Buffer *buffer = &graph->buffer[i];
        int64_t size = size_of(&node->type);
        switch ((int)node->op) {
        case OP_input:
            *buffer = (Buffer){SPACE_INPUT, input_index(graph, node), 0, size};
            break;
        case OP_scalar:
            *buffer = (Buffer){SPACE_SCALAR, module_scalar_slot(graph->module, node->attrs->name),
                               0, size};
            break;
        case OP_read:
        case OP_write: {
            const Storage *storage = graph->module->storages.at[node->attrs->storage];
            BufferSpace space = storage->kind == STORAGE_PHASE ? SPACE_PHASE : SPACE_STORAGE;
            *buffer = (Buffer){space, storage->id, storage->offset_bytes, size};
            break;
        }
        case OP_report:
        case OP_output:
            *buffer = (Buffer){SPACE_OUTPUT, outputs++, output_offset, size};
            output_offset += aligned(size);
            break;
        default:
            break;
        }
    }
}

// ---- lives
// -------------------------------------------------------------------------------------------

/// One or several values that take each other's place, alive in kernels [first, last].
typedef struct Life {
    const Node *node;
    uint32_t first, last;
    int64_t size_bytes, offset_bytes;
    uint32_t place; // index of the life whose bytes these are; its own index if of its own
} Life;

typedef struct Plan {
    Graph *graph;
    Arena *scratch;
    Life *life;
    uint32_t count;
    uint32_t *life_of; // by node id, index + 1
} Plan;

static void find_lives(Plan *plan) {
    const Graph *graph = plan->graph;
    for (uint32_t k = 0; k < graph->kernels.count; k++) {
        const Kernel *kernel = graph->kernels.at[k];
        for (uint32_t i = 0; i < kernel->node_count; i++) {
            const Node *node = kernel->node[i];
            for (uint32_t j = 0; j < node->arity; j++) {
                uint32_t life = plan->life_of[node->operand[j]->id];
                if (life)
                    plan->life[life - 1].last = k;
            }
        }
        for (uint32_t i = 0; i < kernel->stored_count; i++) {
            const Node *node = kernel->stored[i];
            if (op_has(node->op, EFFECT))
                continue;
            plan->life[plan->count] =
                (Life){node, k, k, aligned(size_of(&node->type)), 0, plan->count};
            plan->life_of[node->id] = ++plan->count;
        }
    }
}

// A value of the same type that dies in `kernel` where `node` is stored, and may be overwritten.
static Life *find_dying(Plan *plan, const Kernel *kernel, const Node *node) {
    const Graph *graph = plan->graph;
    for (uint32_t i = 0; i < kernel->node_count; i++) {
        const Node *user = kernel->node[i];
        for (uint32_t j = 0; j < user->arity; j++) {
            const Node *x = user->operand[j];
            uint32_t index = plan->life_of[x->id];
            Life *life = index ? &plan->life[index - 1] : NULL;
            if (!life || life->last != kernel->id || life->first == kernel->id ||
                !type_equal(&x->type, &node->type))
                continue;
            uint8_t *is_x = arena_array(plan->scratch, uint8_t, graph->nodes.count);
            is_x[x->id] = 1;
            if (kernel_keeps_step(plan->scratch, graph, kernel->node, kernel->node_count, is_x,
                                  &x->type))
                return life;
        }
    }
    return NULL;
}

// What was taken over is forgotten as a value, so that it is not taken over twice.
static void find_in_place(Plan *plan) {
    for (uint32_t k = 0; k < plan->graph->kernels.count; k++) {
        const Kernel *kernel = plan->graph->kernels.at[k];
        for (uint32_t i = 0; i < kernel->stored_count; i++) {
            uint32_t index = plan->life_of[kernel->stored[i]->id];
            if (!index)
                continue;
            Life *dying = find_dying(plan, kernel, kernel->stored[i]);
            if (!dying)
                continue;
            plan->life[index - 1].place = dying->place;
            plan->life[dying->place].last = plan->life[index - 1].last;
            plan->life_of[dying->node->id] = 0;
        }
    }
}

// ---- placing
// -----------------------------------------------------------------------------------------

static int larger_first(const void *a, const void *b) {
    const Life *x = *(Life *const *)a, *y = *(Life *const *)b;
    if (x->size_bytes != y->size_bytes)
        return x->size_bytes < y->size_bytes ? 1 : -1;
    return x->place < y->place ? -1 : x->place > y->place;
}

// The lowest offset that is free of `placed` (sorted by offset) while `life` lasts.
static int64_t lowest_offset(const Life *life, Life *const *placed, uint32_t count) {
    int64_t offset = 0;
    for (uint32_t i = 0; i < count; i++) {
        const Life *other = placed[i];
        if (other->last < life->first || life->last < other->first)
            continue;
        if (offset + life->size_bytes <= other->offset_bytes)
            break;
        int64_t end = other->offset_bytes + other->size_bytes;
        offset = end > offset ? end : offset;
    }
    return offset;
}

static void insert_by_offset(Life **placed, uint32_t count, Life *life) {
    uint32_t i = count;
    for (; i && placed[i - 1]->offset_bytes > life->offset_bytes; i--)
        placed[i] = placed[i - 1];
    placed[i] = life;
}

static int64_t place_lives(Plan *plan) {
    Life **order = arena_array(plan->scratch, Life *, plan->count + 1);
    Life **placed = arena_array(plan->scratch, Life *, plan->count + 1);
    uint32_t count = 0;
    int64_t bytes = 0;
    for (uint32_t i = 0; i < plan->count; i++) {
        if (plan->life[i].place == i)
            order[count++] = &plan->life[i];
    }
    qsort(order, count, sizeof(Life *), larger_first);
    for (uint32_t i = 0; i < count; i++) {
        order[i]->offset_bytes = lowest_offset(order[i], placed, i);
        insert_by_offset(placed, i, order[i]);
        int64_t end = order[i]->offset_bytes + order[i]->size_bytes;
        bytes = end > bytes ? end : bytes;
    }
    return bytes;
}

static void plan_graph(Graph *graph, Arena *scratch) {
    size_t count = graph->nodes.count;
    size_t stored = 0;
    for (size_t k = 0; k < graph->kernels.count; k++)
        stored += graph->kernels.at[k]->stored_count;
    Plan plan = {graph, scratch, arena_array(scratch, Life, stored + 1), 0,
                 arena_array(scratch, uint32_t, count + 1)};
    graph->buffer = arena_array(graph->module->arena, Buffer, count + 1);
    place_outside(graph);
    find_lives(&plan);
    find_in_place(&plan);
    graph->step_bytes = place_lives(&plan);
    for (uint32_t i = 0; i < plan.count; i++) {
        const Life *life = &plan.life[i];
        graph->buffer[life->node->id] = (Buffer){SPACE_STEP, 0, plan.life[life->place].offset_bytes,
                                                 size_of(&life->node->type)};
    }
}

/// Gives every storage and every stored value its place.
/// Requires: kernels of `fuse`.  Keeps: the graphs.  Sets: offsets, Graph.buffer, sizes of arenas.
bool pass_plan_memory(Module *module, PassContext *ctx) {
    plan_storages(module, ctx->scratch);
    module->step_bytes = 0;
    for (size_t i = 0; i < module->graphs.count; i++) {
        Graph *graph = module->graphs.at[i];
        plan_graph(graph, ctx->scratch);
        module->step_bytes = larger(graph->step_bytes, module->step_bytes);
    }
    return false;
}
