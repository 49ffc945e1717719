// passes/rewrite.c -- make a graph anew in one walk; see rewrite.h.
#include "passes/rewrite.h"

#include "support/diag.h"

Rewrite rewrite_begin(Graph *graph, Arena *scratch) {
    size_t count = graph->nodes.count;
    return (Rewrite){
        .graph = graph,
        .scratch = scratch,
        .old_count = count,
        .placed_until = count,
        .now = arena_array(scratch, Node *, count),
    };
}

/// What stands for `node` now. A replacement may be an old node that was itself replaced earlier.
static Node *current(const Rewrite *rw, Node *node) {
    while (node->id < rw->old_count && rw->now[node->id] && rw->now[node->id] != node)
        node = rw->now[node->id];
    return node;
}

Node *rewrite_next(Rewrite *rw, size_t i) {
    Node *node = rw->graph->nodes.at[i];
    for (uint32_t k = 0; k < node->arity; k++)
        node->operand[k] = current(rw, node->operand[k]);
    ir_at(rw->graph, node->origin);
    return node;
}

void rewrite_place(Rewrite *rw, Node *node, Node *replacement) {
    Graph *graph = rw->graph;
    for (; rw->placed_until < graph->nodes.count; rw->placed_until++) {
        Node *made = graph->nodes.at[rw->placed_until];
        if (!made->tag)
            made->tag = node->tag;
        vec_push(rw->scratch, &rw->order, made);
        rw->changed = true;
    }
    if (replacement == node) {
        vec_push(rw->scratch, &rw->order, node);
    } else {
        kdc_assert(!replacement || type_equal(&node->type, &replacement->type));
        rw->now[node->id] = replacement;
        rw->changed = true;
    }
}

bool rewrite_end(Rewrite *rw) {
    Graph *graph = rw->graph;
    ir_at(graph, NULL);
    graph_set_nodes(graph, rw->order.at, rw->order.count);
    if (rw->changed) {
        graph->kernels.count = 0;
        graph->buffer = NULL;
    }
    return rw->changed;
}

bool graph_has_grad(const Graph *graph) {
    for (size_t i = 0; i < graph->nodes.count; i++) {
        if (graph->nodes.at[i]->op == OP_grad)
            return true;
    }
    return false;
}

uint8_t *live_nodes(const Graph *graph, Arena *scratch) {
    size_t count = graph->nodes.count;
    uint8_t *live = arena_array(scratch, uint8_t, count);
    for (size_t i = count; i-- > 0;) {
        const Node *node = graph->nodes.at[i];
        if (!op_has(node->op, EFFECT) && !live[i])
            continue;
        live[i] = 1;
        for (uint32_t k = 0; k < node->arity; k++)
            live[node->operand[k]->id] = 1;
    }
    return live;
}

uint32_t *count_uses(const Graph *graph, Arena *scratch) {
    uint32_t *uses = arena_array(scratch, uint32_t, graph->nodes.count);
    for (size_t i = 0; i < graph->nodes.count; i++) {
        const Node *node = graph->nodes.at[i];
        for (uint32_t k = 0; k < node->arity; k++)
            uses[node->operand[k]->id]++;
    }
    return uses;
}
