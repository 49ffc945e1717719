/// Rows: how several reductions, and values that need their results, can be one kernel.
///
/// The results of the kernel's reductions all have one shape, that of its *rows*. Each element of
/// that shape is one row; all that is computed from it alone can be computed before the next. Of
/// every node in the kernel each axis is an axis of the rows, lies within a row, or has extent 1:
///
///     x [N, K]  in, along    m = reduce_max x over 1  [N] in      x - m  [N, K]  in, along
///
/// passes/fuse.c asks whether a node fits; codegen/lower_schedule.c makes the loops.
#ifndef KDC_IR_ROWS_H
#define KDC_IR_ROWS_H

#include "ir/ir.h"

enum { ROW_NONE = -1, ROW_WITHIN = 100 };

typedef struct RowLabels {
    bool member, known;    // member: a node of the kernel
    int8_t axis[MAX_RANK]; // the axis of the rows that it is, ROW_WITHIN, or ROW_NONE (extent 1)
} RowLabels;

typedef struct Rows {
    uint32_t rank;
    int64_t extent[MAX_RANK];
    RowLabels *label; // by node id
} Rows;

/// Whether the nodes (a kernel's, topological) can be computed row by row and the stored ones stored
/// so. Without reductions among them: false. `label` has room for each node of the graph; only
/// those of the kernel's nodes and of their operands are set, whatever was there.
bool rows_of(RowLabels *label, Node *const *node, uint32_t node_count, Node *const *stored,
             uint32_t stored_count, Rows *rows);

/// A reduction or contraction: what a kernel with rows is made around.
bool node_sums(const Node *node);

/// Whether the kernel may store results over `x`, in place: of all nodes in `x` (those that lie in
/// one piece of memory, of type `type`) it uses an element only for the same element of what it
/// stores.
/// `taint` has room for each node of the graph, whatever is there.
bool kernel_keeps_step(uint8_t *taint, Node *const *node, uint32_t node_count, Node *const *x,
                       size_t x_count, const Type *type);

#endif
