/// What a graph costs, counted from its nodes.
#ifndef KDC_IR_COST_H
#define KDC_IR_COST_H

#include "ir/ir.h"

/// Multiply-adds of a contraction, as its definition has them: the zeros of a frame count, layouts
/// do not. Of conv2d and both of its adjoints this is N K OH OW (C / groups) KH KW, of einsum the
/// product of the extents of its letters; of other ops 0.
int64_t node_macs(const Node *node);
int64_t graph_macs(const Graph *graph);

/// Turns each grad node into its loss, repeated in the shape of what it would be the gradient of:
/// so all that the losses need stays alive, and no adjoint comes into being. For counting alone.
void graph_drop_gradients(Graph *graph);

#endif
