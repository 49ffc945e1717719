/// What gradient rules see of a reverse sweep.
///
/// y is a node, dy its cotangent: the derivative of the loss by y, of y's type. A rule adds to the
/// cotangents of y's operands, in ops of the IR only, so that a gradient of a gradient needs no
/// more.
///
/// Conventions at kinks, where the derivative does not exist (tests/grad holds them as equalities):
///     max, min          on ties the first operand takes all: relu as max(0, x) has derivative 0 at
///     0 reduce_max, _min  the first of equals in row-major order takes all abs, sqrt         0 at
///     0; pow(x, c) with 0 < c < 1 likewise
/// A cotangent is selected by `where`, never multiplied by a mask: 0 times inf or NaN does not
/// leak. And what `where` does not select is kept finite beforehand, for the sake of the next
/// derivative.
#ifndef KDC_PASSES_GRAD_H
#define KDC_PASSES_GRAD_H

#include "ir/ir.h"

typedef struct GradContext {
    Graph *graph;
    Arena *scratch;
    Node **cotangent;      // by id, for nodes before the sweep; NULL: nothing reached it yet
    const uint8_t *wanted; // by id: some requested node lies behind it
    const uint8_t *of_batch; // by id: it depends on the batch or on random draws
    size_t made;             // nodes from here on are the rule's at work
} GradContext;

/// Whether a cotangent of x is of use. A rule may build nodes in vain, but better does not.
bool grad_wanted(const GradContext *ctx, const Node *x);

/// Adds g to x's cotangent, in the order of the calls. g has x's type, or is broadcast over axes
/// that x has not or of extent 1: these are summed.
void grad_accumulate(GradContext *ctx, Node *x, Node *g);

/// dy op slope, or op dy where slope is NULL, `op` being mul, div or neg. Where dy was selected from
/// zeros they stay zeros, whatever the slope is there.
Node *selected_apply(Graph *graph, Op op, Node *dy, Node *slope);
/// a + b; of two that one condition selected the sum is selected.
Node *selected_add(Graph *graph, Node *a, Node *b);

typedef void GradRule(GradContext *ctx, Node *y, Node *dy);

/// By op; grad_none where no derivative passes, grad_never where there cannot be one.
extern GradRule *const grad_rules[OP_COUNT];
bool grad_passes(Op op);

#endif
