// passes/cse.c -- share equal nodes.
//
// A walk in order with a hash table of what was seen: operands are shared before their users are
// looked at, so one walk finds all. Effects are never shared.
#include "passes/passes.h"
#include "passes/rewrite.h"
#include "passes/share.h"

/// Replaces each node by the first that equals it.
/// Requires: topological order, no `grad` nodes (else it changes nothing).  Keeps: order.
bool pass_cse(Graph *graph, PassContext *ctx) {
    if (graph_has_grad(graph))
        return false;
    NodeTable table = {.arena = ctx->scratch};
    Rewrite rw = rewrite_begin(graph, ctx->scratch);
    for (size_t i = 0; i < rw.old_count; i++) {
        Node *node = rewrite_next(&rw, i);
        Node *first = op_has(node->op, EFFECT) ? node : node_table_share(&table, node);
        first->origin = origin_shared(graph, first, node);
        rewrite_place(&rw, node, first);
    }
    return rewrite_end(&rw);
}
