// passes/dce.c -- remove what no effect needs.
//
// One sweep backwards over the nodes marks what roots reach; the order is topological, so uses come
// before their definitions. Unused sections, losses and layers past the last tap go here.
#include "passes/passes.h"
#include "passes/rewrite.h"

/// Removes the nodes that no root reaches; a root is a node with an effect.
/// Requires: topological order.  Keeps: order.  Breaks: ids.
bool pass_dce(Graph *graph, PassContext *ctx) {
    return graph_keep_only(graph, live_nodes(graph, ctx->scratch));
}
