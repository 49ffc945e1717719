// tests/unit/runtime/linalg.c -- decompositions by what defines them: products, lengths, order,
// sign.
//
// Matrices are random, of low rank with a large and a small part, of equal values, zero, and of
// elements whose squares overflow or vanish; with and without flushed denormals.
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/kdrt.h"
#include "support/philox.h"

#ifdef __x86_64__
#include <immintrin.h>
#endif

typedef enum Kind { RANDOM, POSITIVE, LOW_RANK, EQUAL, ZERO, HUGE_ONES, TINY_ONES, KINDS } Kind;

static double element(Kind kind, int64_t i, int64_t j) {
    double u = philox_uniform(3, 1, 0, (uint64_t)(i * 4096 + j));
    switch (kind) {
    case RANDOM:
        return u - 0.5;
    case POSITIVE:
        return u;
    case LOW_RANK:
        return (double)(i % 3) * (double)(j % 2) + 1e-3 * (double)(i % 2) * (double)(j % 5);
    case EQUAL:
        return i == j ? 3 : 0;
    case ZERO:
        return 0;
    case HUGE_ONES:
        return (u - 0.5) * 1e300;
    case TINY_ONES:
        return (u - 0.5) * 1e-280;
    case KINDS:
        break;
    }
    return NAN;
}

static double dot(const double *a, const double *b, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

static double largest(const double *a, int64_t n) {
    double most = 0;
    for (int64_t i = 0; i < n; i++)
        most = fmax(most, fabs(a[i]));
    return most;
}

// Rows of `stride`, of which n elements from `first` on are vectors: of length 1, orthogonal.
static void check_vectors(const double *y, int64_t count, int64_t stride, int64_t first,
                          int64_t n) {
    for (int64_t k = 0; k < count; k++) {
        for (int64_t l = 0; l <= k; l++) {
            double product = dot(y + k * stride + first, y + l * stride + first, n);
            assert_true(fabs(product - (k == l)) < 1e-13);
        }
    }
}

static void check_sign(const double *v, int64_t n) {
    double most = largest(v, n);
    int64_t i = 0;
    while (fabs(v[i]) < most * (1 - 0x1p-16))
        i++;
    assert_true(v[i] > 0);
}

static void check_svd(Kind kind, int64_t m, int64_t n, int64_t count) {
    int64_t row = 1 + m + n, all = m < n ? m : n;
    double *x = calloc((size_t)(m * n), sizeof *x);
    double *y = calloc((size_t)(count * row), sizeof *y);
    double *work = calloc((size_t)kdrt_svd_work(m, n, count), sizeof *work);
    for (int64_t i = 0; i < m * n; i++)
        x[i] = element(kind, i / n, i % n);
    double unit = fmax(largest(x, m * n), DBL_MIN);
    kdrt_svd_f64(x, y, work, m, n, count);
    check_vectors(y, count, row, 1, m);
    check_vectors(y, count, row, 1 + m, n);
    for (int64_t k = 0; k < count; k++) {
        const double *s = y + k * row, *u = s + 1, *v = u + m;
        assert_true(s[0] >= 0 && (k == 0 || s[0] <= s[-row]));
        check_sign(v, n);
        for (int64_t i = 0; i < m; i++) // x v = s u
            assert_true(fabs(dot(x + i * n, v, n) / unit - s[0] / unit * u[i]) < 1e-12);
        for (int64_t j = 0; j < n; j++) { // x^T u = s v
            double sum = 0;
            for (int64_t i = 0; i < m; i++)
                sum += x[i * n + j] / unit * u[i];
            assert_true(fabs(sum - s[0] / unit * v[j]) < 1e-12);
        }
    }
    for (int64_t i = 0; i < m * n && count == all; i++) { // nothing is left out
        double sum = 0;
        for (int64_t k = 0; k < count; k++)
            sum += y[k * row] / unit * y[k * row + 1 + i / n] * y[k * row + 1 + m + i % n];
        assert_true(fabs(sum - x[i] / unit) < 1e-12);
    }
    free(x);
    free(y);
    free(work);
}

static void check_eigh(Kind kind, int64_t n, int64_t count) {
    double *x = calloc((size_t)(n * n), sizeof *x);
    double *y = calloc((size_t)(count * (1 + n)), sizeof *y);
    double *work = calloc((size_t)kdrt_eigh_work(n, count), sizeof *work);
    for (int64_t i = 0; i < n * n; i++)
        x[i] = element(kind, i / n, i % n);
    double unit = fmax(largest(x, n * n), DBL_MIN);
    kdrt_eigh_f64(x, y, work, n, count);
    check_vectors(y, count, 1 + n, 1, n);
    for (int64_t k = 0; k < count; k++) {
        const double *value = y + k * (1 + n), *v = value + 1;
        assert_true(k == 0 || value[0] <= value[-(1 + n)]);
        check_sign(v, n);
        for (int64_t i = 0; i < n; i++) {
            double sum = 0;
            for (int64_t j = 0; j < n; j++)
                sum += (x[i * n + j] / unit + x[j * n + i] / unit) / 2 * v[j];
            assert_true(fabs(sum - value[0] / unit * v[i]) < 1e-12);
        }
    }
    free(x);
    free(y);
    free(work);
}

static void check_all(void) {
    static const int64_t shape[][3] = {{1, 1, 1},    {2, 2, 2},    {3, 3, 3},   {7, 3, 3},
                                       {3, 7, 3},    {1, 9, 1},    {9, 1, 1},   {40, 40, 40},
                                       {90, 33, 33}, {33, 90, 33}, {90, 33, 4}, {33, 90, 1}};
    for (int kind = 0; kind < KINDS; kind++) {
        for (size_t i = 0; i < sizeof shape / sizeof *shape; i++) {
            check_svd((Kind)kind, shape[i][0], shape[i][1], shape[i][2]);
            check_eigh((Kind)kind, shape[i][1], shape[i][2]);
        }
    }
}

static void decompositions_are_what_they_say(void **state) {
    (void)state;
    check_all();
}

static void flushed_denormals_do_no_harm(void **state) {
    (void)state;
#ifdef __x86_64__
    unsigned mode = _mm_getcsr();
    _mm_setcsr(mode | 0x8040);
    check_all();
    _mm_setcsr(mode);
#else
    skip();
#endif
}

static void small_values_keep_their_digits(void **state) {
    (void)state;
    // Squares of 1 and 1e-7 are a rounding error apart; the values are 1 and 1e-7, turned.
    const double c = 0.6, s = 0.8, small = 1e-7;
    double x[4] = {c, s, -s * small, c * small}, y[2 * 5], work[1024];
    assert_true(kdrt_svd_work(2, 2, 2) <= 1024);
    kdrt_svd_f64(x, y, work, 2, 2, 2);
    assert_true(fabs(y[0] - 1) < 1e-15 && fabs(y[5] - small) < 1e-15 * small * 1e8);
    assert_true(fabs(fabs(y[8]) - s) < 1e-8 && fabs(fabs(y[9]) - c) < 1e-8);
}

static void what_is_not_finite_gives_nan(void **state) {
    (void)state;
    static const double bad[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < 3; i++) {
        double x[4] = {1, 2, bad[i], 4}, y[2 * 5], work[1024];
        kdrt_svd_f64(x, y, work, 2, 2, 2);
        assert_true(isnan(y[0]) && isnan(y[9]));
        kdrt_eigh_f64(x, y, work, 2, 2);
        assert_true(isnan(y[0]) && isnan(y[5]));
    }
}

static void single_precision_is_the_rounded_double(void **state) {
    (void)state;
    enum { M = 6, N = 4, ROW = 1 + M + N };
    float x[M * N], y[N * ROW];
    double wide[M * N], z[N * ROW], work[1024];
    assert_true(kdrt_svd_work(M, N, N) <= 1024);
    for (int64_t i = 0; i < M * N; i++)
        wide[i] = x[i] = (float)element(RANDOM, i / N, i % N);
    kdrt_svd_f32(x, y, work, M, N, N);
    kdrt_svd_f64(wide, z, work, M, N, N);
    for (int i = 0; i < N * ROW; i++)
        assert_true(y[i] == (float)z[i]);
    kdrt_eigh_f32(x, y, work, N, N);
    kdrt_eigh_f64(wide, z, work, N, N);
    for (int i = 0; i < N * (1 + N); i++)
        assert_true(y[i] == (float)z[i]);
}

// Elements of vectors of length 1 are rounded by up to 2^-24 of them: products of two by 2^-23.
static void single_precision_is_orthogonal(void **state) {
    (void)state;
    enum { M = 90, N = 33, ROW = 1 + M + N };
    static const double fall[] = {0, 0.1, 0.6};
    float *x = calloc(M * N, sizeof *x), *y = calloc(N * ROW, sizeof *y);
    double *wide = calloc(N * ROW, sizeof *wide);
    double *work = calloc((size_t)kdrt_svd_work(M, N, N), sizeof *work);
    for (int k = 0; k < 3; k++) { // values of one size, some small, most as small as roundoff
        for (int64_t i = 0; i < M * N; i++) {
            double sum = 0;
            for (int64_t r = 0; r < N; r++)
                sum += exp(-fall[k] * (double)r) * element(RANDOM, i / N, r) *
                       element(RANDOM, 100 + r, i % N);
            x[i] = (float)sum;
        }
        kdrt_svd_f32(x, y, work, M, N, N);
        for (int64_t i = 0; i < N * ROW; i++)
            wide[i] = y[i];
        for (int64_t i = 0; i < N; i++) {
            for (int64_t j = 0; j < N; j++) {
                const double *a = wide + i * ROW + 1, *b = wide + j * ROW + 1;
                assert_true(fabs(dot(a, b, M) - (i == j)) < 0x1p-22);
                assert_true(fabs(dot(a + M, b + M, N) - (i == j)) < 0x1p-22);
            }
        }
    }
    free(x);
    free(y);
    free(wide);
    free(work);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decompositions_are_what_they_say),
        cmocka_unit_test(flushed_denormals_do_no_harm),
        cmocka_unit_test(small_values_keep_their_digits),
        cmocka_unit_test(what_is_not_finite_gives_nan),
        cmocka_unit_test(single_precision_is_the_rounded_double),
        cmocka_unit_test(single_precision_is_orthogonal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
