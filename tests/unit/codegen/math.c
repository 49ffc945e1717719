// The expansions of exp, log, ... against binary128: accuracy, edges, and that scalar and vector
// code give the same bits.
#include <float.h>
#include <math.h>
#include <quadmath.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "run_kernel.h"

enum { POINTS = 60000 };

/// y[i] = op(a[i], b[i]), by a vector loop or a serial one.
static LoopKernel *apply_kernel(Arena *arena, ScalarOp op, ScalarType type, LoopKind kind) {
    LoopKernel *k = loop_kernel_new(arena, scalar_info[op].name);
    uint32_t a = loop_buffer(k, "a", type, BUFFER_IN, POINTS);
    uint32_t b = loop_buffer(k, "b", type, BUFFER_IN, POINTS);
    uint32_t y = loop_buffer(k, "y", type, BUFFER_OUT, POINTS);
    LoopStmt *loop = loop_for(k, &k->body, kind, "i", x_int(k, 0), x_int(k, POINTS), 1);
    LoopExpr *i = loop_var(k, loop);
    LoopExpr *operand[2] = {x_load(k, a, i), x_load(k, b, i)};
    loop_store(k, &loop->body, y, i, x_apply(k, op, operand, scalar_info[op].arity));
    return k;
}

typedef __float128 Exact(__float128 x, __float128 y);
#define EXACT(name, expression)                                                                    \
    static __float128 exact_##name(__float128 x, __float128 y) {                                   \
        (void)y;                                                                                   \
        return expression;                                                                         \
    }
EXACT(exp, expq(x))
EXACT(log, logq(x))
EXACT(log1p, log1pq(x))
EXACT(expm1, expm1q(x))
EXACT(rsqrt, 1 / sqrtq(x))
EXACT(tanh, tanhq(x))
EXACT(sigmoid, 1 / (1 + expq(-x)))
EXACT(erf, erfq(x))
EXACT(sin, sinq(x))
EXACT(cos, cosq(x))
EXACT(pow, powq(x, y))

typedef struct Case {
    ScalarOp op;
    Exact *exact;
    double lo, hi;  // of x; when `spread`, of its binary logarithm
    bool spread;    // x = +-2^u
    double y_range; // of the second argument
    double ulps_f32, ulps_f64;
    bool absolute; // in units of 1, not of the result
} Case;

static const Case cases[] = {
    {X_exp, exact_exp, -87, 88, false, 0, 1.5, 1.5, false},
    {X_exp, exact_exp, -30, 5, true, 0, 1.5, 1.5, false},
    {X_log, exact_log, 0.5, 2, false, 0, 2, 2, false},
    {X_log, exact_log, -120, 120, true, 0, 2, 2, false},
    {X_log1p, exact_log1p, -0.99, 3, false, 0, 3, 3, false},
    {X_log1p, exact_log1p, -60, 60, true, 0, 3, 3, false},
    {X_expm1, exact_expm1, -15, 80, false, 0, 2, 2, false},
    {X_expm1, exact_expm1, -60, 0, true, 0, 2, 2, false},
    {X_rsqrt, exact_rsqrt, -100, 100, true, 0, 1.5, 1.5, false},
    {X_tanh, exact_tanh, -12, 12, false, 0, 2.5, 2.5, false},
    {X_tanh, exact_tanh, -60, 1, true, 0, 2.5, 2.5, false},
    {X_sigmoid, exact_sigmoid, -80, 80, false, 0, 2.5, 2.5, false},
    {X_erf, exact_erf, -7, 7, false, 0, 2, 2, false},
    {X_erf, exact_erf, -60, 1, true, 0, 2, 2, false},
    {X_sin, exact_sin, -10, 10, false, 0, 2, 2, true},
    {X_cos, exact_cos, -10, 10, false, 0, 2, 2, true},
    {X_sin, exact_sin, -1e4, 1e4, false, 0, 2, 2, true},
    {X_cos, exact_cos, -1e4, 1e4, false, 0, 2, 2, true},
    {X_pow, exact_pow, 0.01, 20, false, 20, 1.5, 2.5, false},
    {X_pow, exact_pow, 0.99, 1.01, false, 400, 1.5, 2.5, false},
};

static double uniform(uint64_t *state) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (double)(*state >> 11) * 0x1p-53;
}

static double draw(const Case *c, uint64_t *state) {
    double u = c->lo + (c->hi - c->lo) * uniform(state);
    if (!c->spread)
        return u;
    bool signs = c->op != X_log && c->op != X_rsqrt && !(c->op == X_log1p && u > -1);
    return (signs && uniform(state) < 0.5 ? -1 : 1) * exp2(u);
}

/// The distance of `found` to `exact` in units of the last place of the result in `type`.
static double distance(const Case *c, ScalarType type, double found, __float128 exact) {
    double unit = type == S_F32 ? 0x1p-24 : 0x1p-53;
    int exponent;
    if (!c->absolute) {
        frexpq(exact, &exponent);
        unit = ldexp(type == S_F32 ? 0x1p-24 : 0x1p-53, exponent);
    }
    return (double)(fabsq((__float128)found - exact) / unit);
}

static double *fill(const Case *c, ScalarType type, double *b) {
    double *a = malloc(POINTS * sizeof *a);
    uint64_t state = 1;
    for (int i = 0; i < POINTS; i++) {
        double x = draw(c, &state), y = c->y_range * (2 * uniform(&state) - 1);
        a[i] = type == S_F32 ? (double)(float)x : x;
        b[i] = type == S_F32 ? (double)(float)y : y;
    }
    return a;
}

static void *in_type(ScalarType type, const double *x) {
    float *f = aligned_alloc(64, POINTS * sizeof *f); // 60000 is a multiple of 16
    double *d = aligned_alloc(64, POINTS * sizeof *d);
    for (int i = 0; i < POINTS; i++) {
        f[i] = (float)x[i];
        d[i] = x[i];
    }
    free(type == S_F32 ? (void *)d : (void *)f);
    return type == S_F32 ? (void *)f : (void *)d;
}

static double at(ScalarType type, const void *x, int i) {
    return type == S_F32 ? (double)((const float *)x)[i] : ((const double *)x)[i];
}

static void check_case(const Case *c, ScalarType type) {
    Arena arena = {0};
    double *b_values = malloc(POINTS * sizeof *b_values), *a_values = fill(c, type, b_values);
    void *a = in_type(type, a_values), *b = in_type(type, b_values);
    void *y = in_type(type, a_values), *y_serial = in_type(type, b_values);
    run_kernel(apply_kernel(&arena, c->op, type, LOOP_VECTOR), (void *[]){a, b, y},
               (KernelRun){.level = 2});
    run_kernel(apply_kernel(&arena, c->op, type, LOOP_SERIAL), (void *[]){a, b, y_serial},
               (KernelRun){.level = 0});
    assert_memory_equal(y, y_serial, POINTS * scalar_size_bytes(type));
    double worst = 0, where = 0;
    for (int i = 0; i < POINTS; i++) {
        __float128 exact = c->exact(a_values[i], b_values[i]);
        if (fabsq(exact) > (type == S_F32 ? FLT_MAX : DBL_MAX) ||
            fabsq(exact) < (type == S_F32 ? FLT_MIN : DBL_MIN))
            continue;
        double off = distance(c, type, at(type, y, i), exact);
        if (!(off <= worst)) {
            worst = off;
            where = a_values[i];
        }
    }
    double limit = type == S_F32 ? c->ulps_f32 : c->ulps_f64;
    print_message("%-8s %s [%g, %g]%s: %.2f ulp at %.9g\n", scalar_info[c->op].name,
                  scalar_type_name(type), c->lo, c->hi, c->spread ? " spread" : "", worst, where);
    assert_true(worst <= limit);
    free(a), free(b), free(y), free(y_serial), free(a_values), free(b_values);
    arena_release(&arena);
}

static void functions_are_accurate(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        check_case(&cases[i], S_F32);
        check_case(&cases[i], S_F64);
    }
}

// ---- edges
// -------------------------------------------------------------------------------------------

typedef struct Edge {
    ScalarOp op;
    double x, y, result;
} Edge;

#define INF (double)INFINITY
#define NOT (double)NAN
static const Edge edges[] = {
    {X_exp, INF, 0, INF},     {X_exp, -INF, 0, 0},    {X_exp, NOT, 0, NOT},
    {X_exp, 1e30, 0, INF},    {X_exp, -1e30, 0, 0},   {X_exp, 0, 0, 1},
    {X_log, 0, 0, -INF},      {X_log, -0.0, 0, -INF}, {X_log, -1, 0, NOT},
    {X_log, INF, 0, INF},     {X_log, NOT, 0, NOT},   {X_log, 1, 0, 0},
    {X_log, -INF, 0, NOT},    {X_log1p, -1, 0, -INF}, {X_log1p, INF, 0, INF},
    {X_log1p, NOT, 0, NOT},   {X_log1p, -2, 0, NOT},  {X_log1p, 0, 0, 0},
    {X_expm1, INF, 0, INF},   {X_expm1, -INF, 0, -1}, {X_expm1, NOT, 0, NOT},
    {X_tanh, INF, 0, 1},      {X_tanh, -INF, 0, -1},  {X_tanh, NOT, 0, NOT},
    {X_tanh, -0.0, 0, -0.0},  {X_sigmoid, INF, 0, 1}, {X_sigmoid, -INF, 0, 0},
    {X_sigmoid, NOT, 0, NOT}, {X_erf, INF, 0, 1},     {X_erf, -INF, 0, -1},
    {X_erf, NOT, 0, NOT},     {X_sin, INF, 0, NOT},   {X_cos, NOT, 0, NOT},
    {X_cos, 0, 0, 1},         {X_pow, 0, 0, 1},       {X_pow, NOT, 0, 1},
    {X_pow, 1, NOT, 1},       {X_pow, 2, NOT, NOT},   {X_pow, NOT, 2, NOT},
    {X_pow, -2, 3, -8},       {X_pow, -2, 2, 4},      {X_pow, -2, 0.5, NOT},
    {X_pow, 0, 3, 0},         {X_pow, 0, -1, INF},    {X_pow, INF, 2, INF},
    {X_pow, INF, -2, 0},      {X_pow, 2, INF, INF},   {X_pow, 0.5, INF, 0},
    {X_pow, 0.5, -INF, INF},  {X_pow, 1, INF, 1},     {X_pow, 10, 400, INF},
    {X_pow, 10, -400, 0},     {X_pow, 3, 4, 81},      {X_rsqrt, 0, 0, INF},
    {X_rsqrt, INF, 0, 0},     {X_rsqrt, -1, 0, NOT},
};

static void edges_are_right(void **state) {
    (void)state;
    double a_values[POINTS] = {0}, b_values[POINTS] = {0};
    for (size_t e = 0; e < sizeof edges / sizeof *edges; e++) {
        for (int type = S_F32; type <= S_F64; type++) {
            Arena arena = {0};
            a_values[0] = edges[e].x;
            b_values[0] = edges[e].y;
            void *a = in_type((ScalarType)type, a_values), *b = in_type((ScalarType)type, b_values);
            void *y = in_type((ScalarType)type, b_values);
            LoopKernel *k = apply_kernel(&arena, edges[e].op, (ScalarType)type, LOOP_SERIAL);
            run_kernel(k, (void *[]){a, b, y}, (KernelRun){.level = 1});
            double found = at((ScalarType)type, y, 0), wanted = edges[e].result;
            if (isnan(wanted) ? !isnan(found)
                              : found != wanted || signbit(found) != signbit(wanted))
                fail_msg("%s of %g, %g in %s is %g, not %g", scalar_info[edges[e].op].name,
                         edges[e].x, edges[e].y, scalar_type_name((ScalarType)type), found, wanted);
            free(a), free(b), free(y);
            arena_release(&arena);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(edges_are_right),
        cmocka_unit_test(functions_are_accurate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
