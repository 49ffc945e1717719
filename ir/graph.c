// ir/graph.c -- changing whole graphs: keep some nodes, give a new list, redirect uses, clone.
//
// Nodes are shared with whoever holds them; what changes is the list, the ids and the operands.
// Kernels and buffers, where there are any, follow the nodes.
#include <string.h>

#include "ir/ir.h"
#include "support/diag.h"

// Drops from a list of nodes those that are not live; returns how many stay.
static uint32_t filter(Node **node, uint32_t count, const uint8_t *live_by_id) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (live_by_id[node[i]->id])
            node[kept++] = node[i];
    }
    return kept;
}

static void filter_kernels(Graph *graph, const uint8_t *live_by_id) {
    size_t kept = 0;
    for (size_t i = 0; i < graph->kernels.count; i++) {
        Kernel *kernel = graph->kernels.at[i];
        kernel->node_count = filter(kernel->node, kernel->node_count, live_by_id);
        kernel->stored_count = filter(kernel->stored, kernel->stored_count, live_by_id);
        if (!kernel->node_count)
            continue;
        kernel->id = (uint32_t)kept;
        graph->kernels.at[kept++] = kernel;
    }
    graph->kernels.count = kept;
}

bool graph_keep_only(Graph *graph, const uint8_t *live_by_id) {
    size_t count = graph->nodes.count;
    size_t kept = 0;
    filter_kernels(graph, live_by_id);
    for (size_t i = 0; i < count; i++) {
        Node *node = graph->nodes.at[i];
        if (!live_by_id[i])
            continue;
        if (graph->buffer)
            graph->buffer[kept] = graph->buffer[i];
        graph->nodes.at[kept++] = node;
    }
    graph->nodes.count = kept;
    for (size_t i = 0; i < kept; i++)
        graph->nodes.at[i]->id = (uint32_t)i;
    return kept != count;
}

void graph_set_nodes(Graph *graph, Node **node, size_t count) {
    graph->nodes.count = 0;
    for (size_t i = 0; i < count; i++)
        vec_push(graph->module->arena, &graph->nodes, node[i]);
    for (size_t i = 0; i < count; i++)
        graph->nodes.at[i]->id = (uint32_t)i;
}

void graph_replace(Graph *graph, Node **replacement_by_id) {
    size_t count = graph->nodes.count;
    for (size_t i = 0; i < count; i++) {
        Node *node = graph->nodes.at[i];
        for (uint32_t k = 0; k < node->arity; k++) {
            Node *use = node->operand[k];
            size_t steps = 0;
            while (replacement_by_id[use->id] && replacement_by_id[use->id] != use) {
                kdc_assert(steps++ <= count); // else the replacements form a circle
                use = replacement_by_id[use->id];
            }
            node->operand[k] = use;
        }
    }
}

static Node **remap(Arena *arena, Node *const *node, uint32_t count, Node *const *copy_by_id) {
    Node **mapped = arena_array(arena, Node *, count);
    for (uint32_t i = 0; i < count; i++)
        mapped[i] = copy_by_id[node[i]->id];
    return mapped;
}

Graph *graph_clone(Graph *graph, const char *name) {
    Arena *arena = graph->module->arena;
    Graph *clone = module_add_graph(graph->module, name, graph->role, graph->phase);
    size_t count = graph->nodes.count;
    clone->step_bytes = graph->step_bytes;
    clone->cursor = graph->cursor;

    for (size_t i = 0; i < count; i++) {
        Node *copy = arena_new(arena, Node);
        *copy = *graph->nodes.at[i];
        copy->operand = remap(arena, copy->operand, copy->arity, clone->nodes.at);
        vec_push(arena, &clone->nodes, copy);
    }
    for (size_t i = 0; i < graph->kernels.count; i++) {
        const Kernel *kernel = graph->kernels.at[i];
        Kernel *copy = arena_new(arena, Kernel);
        *copy = *kernel;
        copy->node = remap(arena, kernel->node, kernel->node_count, clone->nodes.at);
        copy->stored = remap(arena, kernel->stored, kernel->stored_count, clone->nodes.at);
        vec_push(arena, &clone->kernels, copy);
    }
    if (graph->buffer) {
        clone->buffer = arena_array(arena, Buffer, count);
        memcpy(clone->buffer, graph->buffer, count * sizeof(Buffer));
    }
    return clone;
}
