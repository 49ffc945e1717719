/// The reference interpreter beyond ir/ir.h: binary128 values, and bounds of rounding errors.
#ifndef KDC_IR_EVAL_H
#define KDC_IR_EVAL_H

#include "ir/ir.h"

/// As the forms in ir/ir.h, without the detour by double.
void eval_set_storage_q(EvalState *state, uint32_t storage, const __float128 *value);
void eval_set_input_q(EvalState *state, const char *name, const __float128 *value);
const __float128 *eval_get_storage_q(EvalState *state, uint32_t storage);
const __float128 *eval_get_output_q(EvalState *state, const char *name, Type *type);

/// Where graphs of the module disagree about the type of an input (a smaller last batch), the plain
/// forms cannot know how many values there are. This one is told.
void eval_set_input_as(EvalState *state, const char *name, const Type *type, const double *value);

/// From now on every run also works out how far each element may lie from what exact arithmetic
/// would give, for any order of summation and for library functions that are good to a few units in
/// the last place: sums by n u sum |a||b|, products to first order, u that of the state's precision
/// (binary128 counts as exact). Inputs and storages are exact as set. Two computations of the same
/// graph in the same precision differ by at most twice the bound. Infinite where a decision (a
/// comparison, an index) hangs on rounding. Source: Higham, Accuracy and Stability of Numerical
/// Algorithms, chapters 2 to 4.
void eval_track_bounds(EvalState *state, bool on);
/// One bound per element of a report or output of the last run; NULL if there is none of that name.
const double *eval_get_bound(EvalState *state, const char *name);
const double *eval_get_storage_bound(EvalState *state, uint32_t storage);

/// The value of any node of the graph that was run last, as double; valid until the next run.
const double *eval_get_node(EvalState *state, const Node *node);

#endif
