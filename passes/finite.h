/// Which values are finite by how they are made.
#ifndef KDC_PASSES_FINITE_H
#define KDC_PASSES_FINITE_H

#include "ir/ir.h"

/// Whether x is finite where data, parameters and states are, overflow apart: nothing behind it
/// divides by what may be 0 or leaves the domain of a function. `rsqrt(variance(x) + 1e-5)` is.
/// False where that is not seen.
bool node_is_finite(const Node *x);
/// Whether x is finite, and not below some positive number, so that it may be divided by.
bool node_is_divisor(const Node *x);

#endif
