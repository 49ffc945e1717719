/// What a graph costs, counted from its nodes.
#ifndef KDC_IR_COST_H
#define KDC_IR_COST_H

#include "ir/ir.h"

/// Multiply-adds of a contraction, as its definition has them: the zeros of a frame count, layouts
/// do not. Of conv2d and both of its adjoints this is N K OH OW (C / groups) KH KW, of einsum the
/// product of the extents of its letters; of other ops 0.
int64_t node_macs(const Node *node);
int64_t graph_macs(const Graph *graph);
/// Floating-point operations: a multiply-add is two; a reduction takes one for each element that it
/// goes over, the variance four; an elementwise op whose result is of floats takes one for each of
/// its elements, exp as well as add. Comparisons, integers and index maps are free.
int64_t node_flops(const Node *node);

typedef struct StageCost {
    int64_t macs, flops, kernels;
} StageCost;

/// What one run of a graph costs.
typedef struct GraphCost {
    StageCost stage[STAGE_COUNT];
    int64_t kept_bytes;  // stored by forward kernels and read by later ones than these
    int64_t arena_bytes; // of all that the graph stores, at its peak
} GraphCost;

Stage node_stage(const Node *node);
Stage kernel_stage(const Kernel *kernel);
/// Adds macs and flops. Before `layout`, whose blocks of channels are filled up with zeros.
void graph_count_work(const Graph *graph, GraphCost *cost);
/// Adds kernels and bytes. After `plan_memory`.
void graph_count_kernels(const Graph *graph, GraphCost *cost, Arena *scratch);

/// A copy of a step, as it was elaborated, without its loss term number `term` (Graph.terms) and
/// without what is there for that term alone: see ir/terms.c. It joins the module's graphs.
Graph *graph_without_term(Graph *graph, size_t term, const char *name, Arena *scratch);

/// Notes in the origins of a step, as it was elaborated, which of its loss terms each node is there
/// for: the terms that it is behind; of a gradient, those that reach the parameter; of an update and
/// of a state, those that it is computed from. What only reports need is there for none.
void graph_mark_terms(Graph *graph, Arena *scratch);

#endif
