// passes/dce.c -- remove what no effect needs.
//
// One sweep backwards over the nodes marks what roots reach; the order is topological, so uses come
// before their definitions. Unused sections, losses and layers past the last tap go here.
#include "passes/passes.h"

/// Removes the nodes that no root reaches; a root is a node with an effect.
/// Requires: topological order.  Keeps: order.  Breaks: ids.
bool pass_dce(Graph *graph, PassContext *ctx) {
    size_t count = graph->nodes.count;
    uint8_t *live = arena_array(ctx->scratch, uint8_t, count);

    for (size_t i = count; i-- > 0;) {
        const Node *node = graph->nodes.at[i];
        if (!op_has(node->op, EFFECT) && !live[i])
            continue;
        live[i] = 1;
        for (uint32_t k = 0; k < node->arity; k++)
            live[node->operand[k]->id] = 1;
    }
    return graph_keep_only(graph, live);
}
