/// What the machine can do at most, measured: the limits that profiles and benchmarks stand
/// against.
#ifndef KDC_RUNTIME_MACHINE_H
#define KDC_RUNTIME_MACHINE_H

#include <stdint.h>

struct Env;

/// GFLOP/s of `threads` threads that do nothing but multiply-adds of f32 in registers, a
/// multiply-add being two. One measurement of some milliseconds. 0 where the processor has no such
/// instruction that we know.
double kdrt_peak_gflops(int64_t threads);
/// GB/s of `threads` threads that copy memory too large for any cache, what is read and what is
/// written counted. 0 when there is no memory for it.
double kdrt_copy_gbytes(struct Env *env, int64_t threads);

#endif
