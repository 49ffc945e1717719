/// What printer, reader and the comparison of kernels share of the loop IR's text; for codegen
/// only.
///
///     kernel scale(x: in f32[100], y: out f32[100] over x, t: scratch f32[64]) extents 1 {
///       parallel i = 0 .. 100 step 16 {
///         local acc: f32[2, 4]
///         unroll k = 0 .. 4 {
///           acc[0, k] = 0.0f
///         }
///         vector v = 0 .. min(16, 100 - i) {
///           let a = fma(x[i + v], 2.0f, acc[0, 1])
///           y[i + v] = select(0.0f < a, a, exp(a))
///         }
///         if i < $0 {
///           call kdrt_uniform_f32(t[0], 0, 64, $seed, 1, $iteration)
///         }
///       }
///     }
///
/// Constants tell their type: 3 is an index, 3i an i32, 3u a u8, 1.5 an f64, 1.5f an f32; inf and
/// nan likewise (inff, nanf). A cast is written as its type, f32(a). $0, $1 are the extents; $seed,
/// $iteration, $lo, $hi and $thread what a call may want. All names of a kernel are different.
#ifndef KDC_CODEGEN_LOOPS_TEXT_H
#define KDC_CODEGEN_LOOPS_TEXT_H

#include "codegen/loops.h"

typedef struct InfixOp {
    const char *text;
    ScalarOp op;
    int precedence; // or 1, and 2, comparisons 3, sums 4, products 5
} InfixOp;

enum { INFIX_COUNT = 10, PRECEDENCE_COMPARE = 3, PRECEDENCE_PRIMARY = 6 };
extern const InfixOp infix_ops[INFIX_COUNT];
extern const char *const loop_kind_names[4];   // by LoopKind
extern const char *const buffer_role_names[4]; // by BufferRole
extern const char *const loop_field_names[5];  // by FRAME_ and RANGE_
bool loop_word_is_reserved(const char *word);  // keywords, types, ops

/// The kernel's text with its names replaced by numbers and without what is no part of its
/// identity.
const char *loop_kernel_identity(const LoopKernel *kernel);

#endif
