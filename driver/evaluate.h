/// `kdc x.ir --eval`: a module through the reference interpreter.
#ifndef KDC_DRIVER_EVALUATE_H
#define KDC_DRIVER_EVALUATE_H

#include "ir/ir.h"

/// Runs the graphs in order, in the dtypes' own precision, and prints every report and output.
/// Inputs, scalars and storages hold made-up values that depend on their name and index alone:
/// reals in [-1, 1), integers 0 to 3, bools either.
void evaluate_module(StrBuf *out, const Module *module);

#endif
