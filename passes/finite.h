/// Which values are finite by how they are made.
#ifndef KDC_PASSES_FINITE_H
#define KDC_PASSES_FINITE_H

#include "ir/ir.h"

/// Whether x, of a graph of `module`, is finite where parameters and results of contractions are,
/// overflow apart: nothing behind it divides by what may be 0 or leaves the domain of a function.
/// `rsqrt(variance(x) + 1e-5)` is. Data may say by NaN that something is missing, states begin as
/// infinite: these are not. False where it is not seen.
bool node_is_finite(const Module *module, const Node *x);
/// Whether x is finite, and not below some positive number, so that it may be divided by.
bool node_is_divisor(const Module *module, const Node *x);

#endif
