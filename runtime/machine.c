// runtime/machine.c -- the clock, the multiply-add peak and the speed of memory.
#include "runtime/machine.h"

#include "runtime/base.h"

#include <string.h>
#include <time.h>

#ifdef __x86_64__
#include <immintrin.h>
#endif

// libgomp's entry points, which generated code calls too.
extern void GOMP_parallel(void (*function)(void *), void *data, unsigned int threads,
                          unsigned int flags);
extern int omp_get_thread_num(void);
extern int omp_get_num_threads(void);

int64_t kdrt_clock(int64_t threads) {
    struct timespec t;
    clock_gettime(threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

// ---- the peak -----------------------------------------------------------------------------------

#ifdef __x86_64__

enum { PEAK_ROUNDS = 100000, PEAK_SUMS = 12 };

/// Rounds of 12 independent chains of multiply-adds: enough to hide their latency.
#define PEAK_LOOP(name, isa, Vector, set, fma, add, first)                                         \
    __attribute__((target(isa))) static void name(void *data) {                                    \
        (void)data;                                                                                \
        Vector s[PEAK_SUMS], a = set(0.999f), b = set(1e-3f);                                      \
        for (int i = 0; i < PEAK_SUMS; i++)                                                        \
            s[i] = set((float)i);                                                                  \
        for (int round = 0; round < PEAK_ROUNDS; round++) {                                        \
            s[0] = fma(s[0], a, b), s[1] = fma(s[1], a, b), s[2] = fma(s[2], a, b);                \
            s[3] = fma(s[3], a, b), s[4] = fma(s[4], a, b), s[5] = fma(s[5], a, b);                \
            s[6] = fma(s[6], a, b), s[7] = fma(s[7], a, b), s[8] = fma(s[8], a, b);                \
            s[9] = fma(s[9], a, b), s[10] = fma(s[10], a, b), s[11] = fma(s[11], a, b);            \
        }                                                                                          \
        for (int i = 1; i < PEAK_SUMS; i++)                                                        \
            s[0] = add(s[0], s[i]);                                                                \
        volatile float sink = first(s[0]); /* or nothing would be computed */                      \
        (void)sink;                                                                                \
    }
PEAK_LOOP(peak_512, "avx512f", __m512, _mm512_set1_ps, _mm512_fmadd_ps, _mm512_add_ps,
          _mm512_cvtss_f32)
PEAK_LOOP(peak_256, "avx2,fma", __m256, _mm256_set1_ps, _mm256_fmadd_ps, _mm256_add_ps,
          _mm256_cvtss_f32)

double kdrt_peak_gflops(int64_t threads) {
    bool is_wide = __builtin_cpu_supports("avx512f");
    if (!is_wide && !__builtin_cpu_supports("fma"))
        return 0;
    int64_t start = kdrt_clock(threads);
    GOMP_parallel(is_wide ? peak_512 : peak_256, NULL, (unsigned int)threads, 0);
    double flops = 2.0 * (is_wide ? 16 : 8) * PEAK_SUMS * PEAK_ROUNDS * (double)threads;
    return flops / (double)(kdrt_clock(threads) - start);
}

#else

double kdrt_peak_gflops(int64_t threads) {
    (void)threads;
    return 0;
}

#endif

// ---- memory -------------------------------------------------------------------------------------

enum { COPY_BYTES = 64 << 20, COPY_TIMES = 5 };

typedef struct Copy {
    char *to;
    const char *from;
} Copy;

static void copy_share(void *data) {
    const Copy *copy = data;
    size_t thread = (size_t)omp_get_thread_num(), threads = (size_t)omp_get_num_threads();
    size_t begin = COPY_BYTES / threads * thread;
    memcpy(copy->to + begin, copy->from + begin, COPY_BYTES / threads);
}

double kdrt_copy_gbytes(Env *env, int64_t threads) {
    Copy copy = {.to = kdrt_alloc(env, COPY_BYTES)};
    char *from = copy.to ? kdrt_alloc(env, COPY_BYTES) : NULL;
    copy.from = from;
    int64_t best = 0;
    for (int i = 0; from && i < COPY_TIMES; i++) {
        int64_t start = kdrt_clock(threads);
        GOMP_parallel(copy_share, &copy, (unsigned int)threads, 0);
        int64_t taken = kdrt_clock(threads) - start;
        if (!best || taken < best)
            best = taken;
    }
    if (from)
        kdrt_free(env, from);
    if (copy.to)
        kdrt_free(env, copy.to);
    return best > 0 ? 2.0 * COPY_BYTES / (double)best : 0;
}
