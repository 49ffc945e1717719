// tests/grad/kinks.c -- derivatives where there is none, as equalities; and what must not leak.
//
// Each case is a graph of one storage "x" that ends in y; the loss is sum(y), or sum(y^2) of the
// values named. The expected gradients are exact.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "ir/ir.h"
#include "passes/passes.h"

enum { MAX_VALUES = 6 };

typedef struct Kink {
    const char *name;
    const char *nodes; // of x f64[count] in %0, to the loss in %9
    int count;
    double x[MAX_VALUES];
    double d[MAX_VALUES];  // of the loss
    double dd[MAX_VALUES]; // of sum(d): the second derivative, or NAN where it is not looked at
} Kink;

#define VEC "f64[4]"
#define SUM "  %9 = sum %8 {axes=[0]} : f64[]\n"

// clang-format off
static const Kink kinks[] = {
    {"relu as max(0, x) is flat at 0",
     "  %1 = const 0 : f64[]\n  %8 = max %1, %0 : " VEC "\n" SUM,
     4,
     {-1, 0, -0.0, 2}, {0, 0, 0, 1}, {0, 0, 0, 0}},
    {"max gives ties to its first operand",
     "  %1 = const 1 : f64[]\n  %8 = max %0, %1 : " VEC "\n" SUM,
     4,
     {0, 1, 2, -1}, {0, 1, 1, 0}, {0, 0, 0, 0}},
    {"min gives ties to its first operand",
     "  %1 = const 1 : f64[]\n  %8 = min %0, %1 : " VEC "\n" SUM,
     4,
     {0, 1, 2, -1}, {1, 1, 0, 1}, {0, 0, 0, 0}},
    {"a clamp is flat outside and not at its edges",
     "  %1 = const 0 : f64[]\n  %2 = const 6 : f64[]\n  %3 = max %0, %1 : " VEC "\n"
     "  %8 = min %3, %2 : " VEC "\n" SUM,
     4,
     {-1, 0, 6, 7}, {0, 1, 1, 0}, {0, 0, 0, 0}},
    {"abs is flat at 0",
     "  %8 = abs %0 : " VEC "\n" SUM,
     4,
     {-2, 0, -0.0, 3}, {-1, 0, 0, 1}, {0, 0, 0, 0}},
    {"sqrt is flat at 0",
     "  %8 = sqrt %0 : " VEC "\n" SUM,
     4,
     {0, 0.25, 1, 4}, {0, 1, 0.5, 0.25}, {0, -2, -0.25, -0.03125}},
    {"the square root of a square is flat at 0",
     "  %1 = mul %0, %0 : " VEC "\n  %8 = sqrt %1 : " VEC "\n" SUM,
     4,
     {0, -2, 3, 0}, {0, -1, 1, 0}, {NAN, 0, 0, NAN}},
    {"the norm of a zero vector has gradient 0",
     "  %1 = mul %0, %0 : " VEC "\n  %2 = sum %1 {axes=[0]} : f64[]\n  %9 = sqrt %2 : f64[]\n",
     4,
     {0, 0, 0, 0}, {0, 0, 0, 0}, {NAN, NAN, NAN, NAN}},
    {"pow with an exponent below 1 is flat at 0",
     "  %1 = const 0.5 : f64[]\n  %8 = pow %0, %1 : " VEC "\n" SUM,
     4,
     {0, 0.25, 1, 4}, {0, 1, 0.5, 0.25}, {0, -2, -0.25, -0.03125}},
    {"a square by pow at 0 and below",
     "  %1 = const 2 : f64[]\n  %8 = pow %0, %1 : " VEC "\n" SUM,
     4,
     {0, -1, 2, -0.0}, {0, -2, 4, 0}, {2, 2, 2, 2}},
    {"the first of the largest takes all",
     "  %9 = reduce_max %0 {axes=[0]} : f64[]\n",
     4,
     {1, 3, 3, 3}, {0, 1, 0, 0}, {0, 0, 0, 0}},
    {"the first of the smallest takes all",
     "  %9 = reduce_min %0 {axes=[0]} : f64[]\n",
     4,
     {2, 1, 1, 3}, {0, 1, 0, 0}, {0, 0, 0, 0}},
    {"the first of the largest over two axes, row by row",
     "  %1 = reshape %0 : f64[2, 2]\n  %9 = reduce_max %1 {axes=[0, 1]} : f64[]\n",
     4,
     {1, 5, 5, 2}, {0, 1, 0, 0}, {0, 0, 0, 0}},
    {"no gradient of log leaks through where",
     "  %1 = const 0 : f64[]\n  %2 = lt %1, %0 : bool[4]\n  %3 = log %0 : " VEC "\n"
     "  %8 = where %2, %3, %1 : " VEC "\n" SUM,
     4,
     {1, -1, 0, 0.5}, {1, 0, 0, 2}, {-1, 0, 0, -4}},
    {"nor through a chain of ops that ends in it",
     "  %1 = const 0 : f64[]\n  %2 = lt %1, %0 : bool[4]\n  %3 = log %0 : " VEC "\n"
     "  %4 = neg %3 : " VEC "\n  %5 = mul %4, %4 : " VEC "\n  %6 = rsqrt %0 : " VEC "\n"
     "  %7 = add %5, %6 : " VEC "\n  %8 = where %2, %7, %1 : " VEC "\n" SUM, 4,
     {1, -1, 0, 1}, {-0.5, 0, 0, -0.5}, {2.75, 0, 0, 2.75}},
    {"nor beside a factor that is finite",
     "  %1 = const 0 : f64[]\n  %2 = lt %1, %0 : bool[4]\n  %3 = log %0 : " VEC "\n"
     "  %4 = const 2 : f64[]\n  %5 = mul %3, %4 : " VEC "\n  %6 = add %5, %3 : " VEC "\n"
     "  %8 = where %2, %6, %1 : " VEC "\n" SUM,
     4,
     {1, -1, 0, 0.5}, {3, 0, 0, 6}, {-3, 0, 0, -12}},
    {"nor one that is no number, though never negative",
     "  %1 = const 0 : f64[]\n  %2 = lt %1, %0 : bool[4]\n  %3 = reduce_min %0 {axes=[0]} : f64[]\n"
     "  %4 = sqrt %3 : f64[]\n  %5 = const 1 : f64[]\n  %6 = add %4, %5 : f64[]\n"
     "  %15 = stop_gradient %6 : f64[]\n  %7 = div %0, %15 : " VEC "\n"
     "  %8 = where %2, %7, %1 : " VEC "\n" SUM,
     4,
     {-1, -1, -4, -1}, {0, 0, 0, 0}, {0, 0, 0, 0}},
    {"what is not finite and filtered out",
     "  %1 = const 0 : f64[]\n  %2 = is_finite %0 : bool[4]\n  %3 = mul %0, %0 : " VEC "\n"
     "  %8 = where %2, %3, %1 : " VEC "\n" SUM, 4,
     {1, NAN, INFINITY, 3}, {2, 0, 0, 6}, {2, 0, 0, 2}},
    {"an overflow that is not selected does not leak",
     "  %1 = const 2 : f64[]\n  %2 = lt %0, %1 : bool[4]\n  %3 = const 1 : f64[]\n"
     "  %4 = where %2, %0, %3 : " VEC "\n  %5 = exp %4 : " VEC "\n"
     "  %8 = where %2, %5, %0 : " VEC "\n" SUM,
     4,
     {0, 1000, 3, 0}, {1, 1, 1, 1}, {1, 0, 0, 1}},
    {"no gradient passes stop_gradient",
     "  %1 = stop_gradient %0 : " VEC "\n  %8 = mul %0, %1 : " VEC "\n" SUM,
     4,
     {1, 2, 3, 4}, {1, 2, 3, 4}, {0, 0, 0, 0}},
    {"scale_gradient reverses",
     "  %1 = const -0.5 : f64[]\n  %8 = scale_gradient %0, %1 : " VEC "\n" SUM,
     4,
     {1, 2, 3, 4}, {-0.5, -0.5, -0.5, -0.5}, {0, 0, 0, 0}},
    {"no gradient through floor, sign and comparisons",
     "  %1 = floor %0 : " VEC "\n  %2 = sign %0 : " VEC "\n  %3 = lt %0, %1 : bool[4]\n"
     "  %4 = where %3, %1, %2 : " VEC "\n  %8 = mul %4, %0 : " VEC "\n" SUM,
     4,
     {1.5, -2.5, 0, 3}, {1, -1, 0, 1}, {0, 0, 0, 0}},
    {"no gradient through integers",
     "  %1 = cast %0 : i32[4]\n  %2 = cast %1 : " VEC "\n  %8 = mul %2, %0 : " VEC "\n" SUM,
     4,
     {1.5, -2.5, 0, 3}, {1, -2, 0, 3}, {0, 0, 0, 0}},
    {"a storage that is read twice is one value",
     "  %1 = read \"x\" : " VEC "\n  %8 = mul %0, %1 : " VEC "\n" SUM,
     4,
     {1, 2, 3, 4}, {2, 4, 6, 8}, {2, 2, 2, 2}},
};
// clang-format on

static void check_all(const Kink *kink, const char *what, const double *found,
                      const double *expected) {
    for (int i = 0; i < kink->count; i++) {
        if (!isnan(expected[i]) && found[i] != expected[i]) // -0 equals 0
            fail_msg("%s: %s at %d is %.17g, not %g", kink->name, what, i, found[i], expected[i]);
        if (isnan(found[i]))
            fail_msg("%s: %s at %d is not a number", kink->name, what, i);
    }
}

/// Once as differentiated, once after the passes that may rewrite it.
static void check_kink(const Kink *kink, const char *passes) {
    Arena arena = {0}, scratch = {0};
    const char *text = arena_printf(
        &arena,
        "module \"kink\" f64\nstorage parameter \"x\" : f64[%d]\n"
        "graph \"g\" free {\n  %%0 = read \"x\" : f64[%d]\n%s"
        "  %%10 = grad %%9, %%0 : f64[%d]\n  %%11 = sum %%10 {axes=[0]} : f64[]\n"
        "  %%12 = grad %%11, %%0 : f64[%d]\n  %%13 = output \"d\" %%10 : f64[%d]\n"
        "  %%14 = output \"dd\" %%12 : f64[%d]\n}\n",
        kink->count, kink->count, kink->nodes, kink->count, kink->count, kink->count, kink->count);
    int line = 0;
    const char *message = NULL;
    Module *module = module_read(&arena, text, strlen(text), &line, &message);
    if (!module)
        fail_msg("%s: line %d: %s\n%s", kink->name, line, message, text);
    PassContext ctx = {.scratch = &scratch, .options = {.verify = true}};
    const char *unknown = NULL;
    assert_true(passes_run_named(module, passes, &ctx, &unknown));
    EvalState *state = eval_new(&arena, module, EVAL_F64);
    eval_set_storage(state, 0, kink->x);
    eval_run(state, module->graphs.at[0]);
    check_all(kink, "the derivative", eval_get_output(state, "d", NULL), kink->d);
    check_all(kink, "the second derivative", eval_get_output(state, "dd", NULL), kink->dd);
    arena_release(&scratch);
    arena_release(&arena);
}

static void kinks_are_as_documented(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof kinks / sizeof *kinks; i++)
        check_kink(&kinks[i], "differentiate");
}

static void passes_keep_the_kinks(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof kinks / sizeof *kinks; i++)
        check_kink(&kinks[i], "differentiate,simplify,cse,dce,simplify,cse,dce,simplify,dce");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kinks_are_as_documented),
        cmocka_unit_test(passes_keep_the_kinks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
