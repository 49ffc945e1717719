// tests/unit/runtime/linalg_versions.c -- linalg.c from inside: its versions for different machines
// give the same bits, and turns that do not fit into their area give the same vectors.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "runtime/linalg.c"
#include "support/philox.h"

static double element(int64_t i) {
    double u = philox_uniform(3, 1, 0, (uint64_t)i);
    return u < 0.4 ? 0 : u;
}

static const double *matrix(int64_t count) {
    double *x = calloc((size_t)count, sizeof *x);
    for (int64_t i = 0; i < count; i++)
        x[i] = element(i);
    return x;
}

#ifdef __x86_64__
typedef void RunSvd(Svd *t, double *y, int64_t count);
typedef void RunEigh(Eigen *t, double *y, int64_t count);

static double *run_svd(RunSvd *run, int64_t m, int64_t n, int64_t count) {
    double *work = calloc((size_t)kdrt_svd_work(m, n, 0), sizeof *work);
    double *y = calloc((size_t)(count * (1 + m + n)), sizeof *y);
    Svd t = svd_at(work, m, n);
    int64_t width;
    double *to = place_for(&t, &width);
    for (int64_t i = 0; i < m * n; i++)
        to[i / n * width + i % n] = element(i);
    run(&t, y, count);
    free(work);
    return y;
}

static double *run_eigh(RunEigh *run, int64_t n, int64_t count) {
    double *work = calloc((size_t)kdrt_eigh_work(n, 0), sizeof *work);
    double *y = calloc((size_t)(count * (1 + n)), sizeof *y);
    Eigen t = eigen_at(work, n);
    for (int64_t i = 0; i < n * n; i++)
        t.turns[i] = element(i);
    run(&t, y, count);
    free(work);
    return y;
}

static void same_bits(double *a, double *b, int64_t count) {
    assert_memory_equal(a, b, (size_t)count * sizeof *a);
    free(b);
}

static void compare(int64_t m, int64_t n, int64_t count) {
    int64_t elements = count * (1 + m + n);
    double *y = run_svd(svd_any, m, n, count), *z = run_eigh(eigh_any, n, count);
    if (__builtin_cpu_supports("avx2")) {
        same_bits(y, run_svd(svd_avx2, m, n, count), elements);
        same_bits(z, run_eigh(eigh_avx2, n, count), count * (1 + n));
    }
    if (__builtin_cpu_supports("avx512f")) {
        same_bits(y, run_svd(svd_avx512, m, n, count), elements);
        same_bits(z, run_eigh(eigh_avx512, n, count), count * (1 + n));
    }
    free(y);
    free(z);
}
#endif

static void versions_give_the_same_bits(void **state) {
    (void)state;
#ifdef __x86_64__
    compare(3, 3, 2);
    compare(90, 33, 33);
    compare(33, 90, 1);
    compare(64, 64, 20);
    compare(200, 41, 3);
#else
    skip();
#endif
}

static void turns_beyond_their_area(void **state) {
    (void)state;
    enum { N = 33, COUNT = 4, TURN = 5 };
    static const double nothing[TURN] = {1, 1, 1, 0, 1}; // one turn, by no angle
    const double *x = matrix(N * N);
    double *work = calloc((size_t)kdrt_eigh_work(N, 0), sizeof *work);
    Eigen t = eigen_at(work, N);
    for (int64_t i = 0; i < N * N; i++)
        t.a[i / N * t.w + i % N] = x[i] + x[i % N * N + i / N];
    for (; t.used + TURN <= 4 * t.w * t.w; t.used += TURN)
        memcpy(t.turns + t.used, nothing, sizeof nothing);
    find_values_any(&t);
    assert_true(t.has_rows);
    find_vectors_any(&t, COUNT);
    for (int64_t k = 0; k < COUNT; k++) {
        const double *v = t.q + k * t.w;
        for (int64_t i = 0; i < N; i++) {
            double sum = 0;
            for (int64_t j = 0; j < N; j++)
                sum += (x[i * N + j] + x[j * N + i]) * v[j];
            assert_true(fabs(sum - t.d[k] * v[i]) < 1e-12 * t.d[0]);
        }
        assert_true(fabs(dot_any(v, v, t.w) - 1) < 1e-13);
    }
    free((void *)x);
    free(work);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(versions_give_the_same_bits),
        cmocka_unit_test(turns_beyond_their_area),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
