/// What a planned graph's convolutions and matrix products take by themselves.
#ifndef KDC_BENCH_CONTRACTIONS_H
#define KDC_BENCH_CONTRACTIONS_H

#include "ir/ir.h"

/// A module whose graphs are copies of `graph`[0..count) of `module`, in this order, with a kernel for each of
/// their contractions (the trait; transforms of F(4x4, 3x3)'s kernels are among them) and none for anything
/// else. A contraction has the types, layouts and so the schedule that it has in `module`, and reads its
/// operands where they lie there, through the same views; nothing that was fused with it is left. Its result
/// goes where `module` has it, or has the result of what was fused with it; where that is a storage or too
/// short, behind the arena. So both run in one frame, whose `step` has step_bytes of this module, and this one
/// changes nothing that the other needs. What it computes is of no meaning: its operands are left over.
///
/// Requires `fuse` and `plan_memory`. Allocates in `arena`, shares nodes with `module`.
Module *contractions_alone(Arena *arena, const Module *module, const int32_t *graph, size_t count);

#endif
