/// A graph made anew in one walk over its nodes, in order: what replaces a node stands where it
/// stood.
///
///     Rewrite rw = rewrite_begin(graph, scratch);
///     for (size_t i = 0; i < rw.old_count; i++) {
///         Node *node = rewrite_next(&rw, i);      // its operands are already the new ones
///         Node *better = ...;                     // may append nodes to the graph
///         rewrite_place(&rw, node, better);       // better == node: it stays; NULL: it goes
///     }
///     return rewrite_end(&rw);
///
/// Node ids stay those of before until rewrite_end(); new nodes have ids from old_count on. Types
/// must agree between a node and what replaces it.
#ifndef KDC_PASSES_REWRITE_H
#define KDC_PASSES_REWRITE_H

#include "ir/ir.h"

typedef struct Rewrite {
    Graph *graph;
    Arena *scratch;
    size_t old_count;
    size_t placed_until; // ids below are in `order` or gone
    Node **now;          // by old id: what stands for it
    Vec(Node *) order;
    bool changed;
} Rewrite;

Rewrite rewrite_begin(Graph *graph, Arena *scratch);
/// The old node i, its operands redirected; new nodes take its origin.
Node *rewrite_next(Rewrite *rw, size_t i);
void rewrite_place(Rewrite *rw, Node *node, Node *replacement);
/// Sets the new order and renumbers. Returns whether anything changed; kernels and buffers, if
/// there were any, are then gone.
bool rewrite_end(Rewrite *rw);

/// Whether the graph holds `grad` nodes, so that the identity of nodes still has meaning.
bool graph_has_grad(const Graph *graph);
/// Whether a root, a node with an effect, reaches each node, by id.
uint8_t *live_nodes(const Graph *graph, Arena *scratch);
/// How often each node of the graph is an operand, by id.
uint32_t *count_uses(const Graph *graph, Arena *scratch);

/// y = op(a, b, c) in double, of an elementwise op. False for ops it does not know: they are left
/// to the run.
bool fold_numbers(Op op, double a, double b, double c, double *y);

#endif
