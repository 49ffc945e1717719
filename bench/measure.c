// bench/measure.c -- the clock, the median and the multiply-add peak that measurements are set against.
#include "bench/measure.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "support/diag.h"

extern void GOMP_parallel(void (*function)(void *), void *data, unsigned threads, unsigned flags);

double seconds_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double seconds_used(int threads) {
    struct timespec t;
    if (threads != 1)
        return seconds_now();
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

// ---- the peak ---------------------------------------------------------------------------------------

enum { PEAK_ROUNDS = 100000, PEAK_SUMS = 12 };
static volatile float peak_sink;

/// A loop of 12 independent chains of multiply-adds on vectors of `bytes`: enough to hide their latency.
#define PEAK_LOOP(name, isa, bytes)                                                                \
    __attribute__((target(isa), optimize("O2", "unroll-loops", "fp-contract=fast"))) static void   \
    name(void *data) {                                                                             \
        typedef float Vector __attribute__((vector_size(bytes)));                                  \
        (void)data;                                                                                \
        Vector s0 = {0}, s1 = {1}, s2 = {2}, s3 = {3}, s4 = {4}, s5 = {5}, s6 = {6}, s7 = {7};     \
        Vector s8 = {8}, s9 = {9}, s10 = {10}, s11 = {11};                                         \
        Vector a = s1 * 0.0f + 0.999f, b = a * 1e-3f;                                              \
        for (int round = 0; round < PEAK_ROUNDS; round++) {                                        \
            s0 = s0 * a + b, s1 = s1 * a + b, s2 = s2 * a + b, s3 = s3 * a + b;                    \
            s4 = s4 * a + b, s5 = s5 * a + b, s6 = s6 * a + b, s7 = s7 * a + b;                    \
            s8 = s8 * a + b, s9 = s9 * a + b, s10 = s10 * a + b, s11 = s11 * a + b;                \
        }                                                                                          \
        s0 += s1 + s2 + s3 + s4 + s5 + s6 + s7 + s8 + s9 + s10 + s11;                              \
        peak_sink = s0[1];                                                                         \
    }
PEAK_LOOP(peak_512, "avx512f", 64)
PEAK_LOOP(peak_256, "avx2,fma", 32)

double peak_gflops(int threads) {
    bool is_wide = __builtin_cpu_supports("avx512f");
    double start = seconds_used(threads);
    GOMP_parallel(is_wide ? peak_512 : peak_256, NULL, (unsigned)threads, 0);
    double flops = 2.0 * (is_wide ? 16 : 8) * PEAK_SUMS * PEAK_ROUNDS * threads;
    return flops / (seconds_used(threads) - start) * 1e-9;
}

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double median(double *value, int count) {
    qsort(value, (size_t)count, sizeof *value, compare_doubles);
    return value[count / 2];
}


void *huge_memory(size_t bytes) {
    bytes = (bytes + HUGE_PAGE) / HUGE_PAGE * HUGE_PAGE;
    void *memory = aligned_alloc(HUGE_PAGE, bytes);
    if (!memory)
        world_error("no memory");
    madvise(memory, bytes, MADV_HUGEPAGE); // as the runtime's arena is; refusal costs only speed
    memset(memory, 0, bytes);
    return memory;
}
