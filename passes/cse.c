// passes/cse.c -- share equal nodes.
//
// A walk in order with a hash table of what was seen: operands are shared before their users are
// looked at, so one walk finds all. Effects are never shared.
//
// Of decompositions of one operand into its largest values the one with most rows has the rows of
// the others: a gradient takes all of them where the forward pass takes a few. It is made where the
// first of them stood. What no root reaches asks for nothing.
#include "passes/passes.h"
#include "passes/rewrite.h"
#include "passes/share.h"

/// By id: the live decomposition that has the first rows of this one, and more; else NULL.
static Node **find_larger(const Graph *graph, Arena *scratch) {
    Node **larger = arena_array(scratch, Node *, graph->nodes.count);
    uint8_t *live = live_nodes(graph, scratch);
    Vec(Node *) seen = {0};
    for (size_t i = 0; i < graph->nodes.count; i++) {
        Node *node = graph->nodes.at[i];
        if (live[i] && op_has(node->op, DECOMPOSES))
            vec_push(scratch, &seen, node);
    }
    for (size_t i = 0; i < seen.count; i++) {
        Node *node = seen.at[i];
        int64_t most = node->attrs->count;
        for (size_t k = 0; k < seen.count; k++) {
            Node *other = seen.at[k];
            if (other->op != node->op || other->operand[0] != node->operand[0] ||
                other->attrs->count <= most)
                continue;
            most = other->attrs->count;
            larger[node->id] = other;
        }
    }
    return larger;
}

/// The first rows of `all`, as many as `node` has.
static Node *first_rows(Graph *graph, const Node *node, Node *all) {
    static const int64_t zeros[MAX_RANK] = {0}, ones[MAX_RANK] = {1, 1, 1, 1, 1, 1, 1, 1};
    uint32_t rank = node->type.rank;
    Attrs attrs = {.start = {rank, zeros}, .limit = {rank, node->type.dim}, .step = {rank, ones}};
    return graph_append(graph, OP_slice, &all, 1, &attrs, node->origin);
}

/// Replaces each node by the first that equals it, and a decomposition by rows of a larger one.
/// Requires: topological order, no `grad` nodes (else it changes nothing).  Keeps: order.
bool pass_cse(Graph *graph, PassContext *ctx) {
    if (graph_has_grad(graph))
        return false;
    NodeTable table = {.arena = ctx->scratch};
    Node **larger = find_larger(graph, ctx->scratch);
    Node **made = arena_array(ctx->scratch, Node *, graph->nodes.count); // by its id: it, earlier
    Rewrite rw = rewrite_begin(graph, ctx->scratch);
    for (size_t i = 0; i < rw.old_count; i++) {
        Node *node = rewrite_next(&rw, i);
        if (larger[i]) {
            Node **all = &made[larger[i]->id];
            if (!*all)
                *all =
                    graph_append(graph, node->op, node->operand, 1, larger[i]->attrs, node->origin);
            rewrite_place(&rw, node, first_rows(graph, node, node_table_share(&table, *all)));
            continue;
        }
        Node *first = op_has(node->op, EFFECT) ? node : node_table_share(&table, node);
        first->origin = origin_shared(graph, first, node);
        rewrite_place(&rw, node, first);
    }
    return rewrite_end(&rw);
}
