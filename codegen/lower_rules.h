/// The rules of lowering: lower_<lowering>() for each name in that column of ops.def, and what they
/// share with reductions. See lower.h for what a rule answers.
#ifndef KDC_CODEGEN_LOWER_RULES_H
#define KDC_CODEGEN_LOWER_RULES_H

#include "codegen/lower.h"

typedef Value LowerRule(Lower *l, const Node *node, const Ix *ix);

#define SCALAR(name, arity, rule, text) LowerRule lower_##name;
#include "codegen/scalars.def"
#undef SCALAR
LowerRule lower_const, lower_iota, lower_input, lower_scalar, lower_read, lower_random;
LowerRule lower_reshape, lower_broadcast, lower_transpose, lower_slice, lower_pad, lower_reverse;
LowerRule lower_concat, lower_windows, lower_take, lower_relayout, lower_fold, lower_put;
LowerRule lower_decompose;
LowerRule lower_reduce, lower_variance, lower_einsum, lower_conv2d, lower_conv2d_input;
LowerRule lower_conv2d_weight, lower_tiled, lower_write, lower_report, lower_output, lower_never;

/// The element at `ix` where that lies inside `node` and `also` (may be NULL) holds, else `fill`.
Value lower_inside(Lower *l, const Node *node, Ix *ix, LoopExpr *also, double fill);
/// A row number read from memory, kept within [0, extent): the nearest row.
Value lower_row(Lower *l, const Node *indices, const Ix *ix, int64_t extent);

#endif
