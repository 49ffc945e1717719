// bench/contractions.c -- a planned graph's convolutions and matrix products without anything beside them.
//
// The nodes are shared; what differs is Graph.kernels and, where a contraction's own result was never stored,
// Graph.buffer.
#include "bench/contractions.h"

#include <string.h>

typedef struct Alone {
    Arena *arena;
    Graph *graph;     // the copy
    uint8_t *wanted;  // by node id: of the kernel that is being made
    int64_t end_bytes; // of what has been given away behind the arena
} Alone;

static int64_t in_lines(int64_t bytes) {
    return (bytes + 63) / 64 * 64;
}

// What a kernel computes on its way: views, for the most part.
static void want(Alone *a, const Node *node) {
    a->wanted[node->id] = 1;
    for (uint32_t k = 0; k < node->arity; k++) {
        const Node *operand = node->operand[k];
        bool lies = a->graph->buffer[operand->id].space != SPACE_NONE;
        if (!lies && !op_has(operand->op, LEAF) && !op_has(operand->op, CONTRACTS))
            want(a, operand);
    }
}

static Buffer place_of(Alone *a, const Kernel *kernel, const Node *node) {
    int64_t size = type_count(&node->type) * (int64_t)dtype_size_bytes(node->type.dtype);
    const Buffer *buffer = a->graph->buffer;
    if (buffer[node->id].space == SPACE_STEP)
        return buffer[node->id];
    for (uint32_t i = 0; i < kernel->stored_count; i++) {
        Buffer place = buffer[kernel->stored[i]->id];
        if (place.space == SPACE_STEP && place.size_bytes >= size) {
            place.size_bytes = size;
            return place;
        }
    }
    Buffer place = {SPACE_STEP, 0, a->end_bytes, size};
    a->end_bytes += in_lines(size);
    return place;
}

static void add_kernel(Alone *a, const Kernel *from, Node *node) {
    Kernel *kernel = arena_new(a->arena, Kernel);
    memset(a->wanted, 0, a->graph->nodes.count);
    want(a, node);
    kernel->id = (uint32_t)a->graph->kernels.count;
    kernel->node = arena_array(a->arena, Node *, from->node_count);
    for (uint32_t i = 0; i < from->node_count; i++)
        if (a->wanted[from->node[i]->id])
            kernel->node[kernel->node_count++] = from->node[i];
    kernel->stored = arena_array(a->arena, Node *, 1);
    kernel->stored[kernel->stored_count++] = node;
    vec_push(a->arena, &a->graph->kernels, kernel);
}

static void add_graph(Module *alone, Arena *arena, const Graph *graph) {
    size_t count = graph->nodes.count;
    Alone a = {.arena = arena, .graph = arena_new(arena, Graph), .end_bytes = in_lines(graph->step_bytes)};
    *a.graph = *graph;
    a.graph->module = alone;
    memset(&a.graph->kernels, 0, sizeof a.graph->kernels);
    a.graph->buffer = arena_array(arena, Buffer, count);
    memcpy(a.graph->buffer, graph->buffer, count * sizeof *graph->buffer);
    a.wanted = arena_array(arena, uint8_t, count);
    for (size_t i = 0; i < graph->kernels.count; i++) {
        const Kernel *kernel = graph->kernels.at[i];
        for (uint32_t k = 0; k < kernel->node_count; k++)
            if (op_has(kernel->node[k]->op, CONTRACTS))
                add_kernel(&a, kernel, kernel->node[k]);
        for (uint32_t k = 0; k < kernel->node_count; k++)
            if (op_has(kernel->node[k]->op, CONTRACTS))
                a.graph->buffer[kernel->node[k]->id] = place_of(&a, kernel, kernel->node[k]);
    }
    a.graph->step_bytes = a.end_bytes;
    if (a.end_bytes > alone->step_bytes)
        alone->step_bytes = a.end_bytes;
    vec_push(arena, &alone->graphs, a.graph);
}

Module *contractions_alone(Arena *arena, const Module *module, const int32_t *graph, size_t count) {
    Module *alone = arena_new(arena, Module);
    *alone = *module;
    memset(&alone->graphs, 0, sizeof alone->graphs);
    for (size_t i = 0; i < count; i++)
        add_graph(alone, arena, module->graphs.at[graph[i]]);
    return alone;
}
