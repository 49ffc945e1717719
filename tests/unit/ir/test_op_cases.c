// Every op has test inputs; they verify, survive their text form, and the interpreter's float and
// double runs lie within its own error bounds of the binary128 run.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "ir/eval.h"
#include "tests/ops/op_cases.h"

enum { LEAST_CASES = 6, SEEDS = 3 };

static void every_op_has_cases(void **state) {
    (void)state;
    for (int op = 0; op < OP_COUNT; op++) {
        if (op_case_count((Op)op) < LEAST_CASES)
            fail_msg("op %s has %zu cases; it needs %d (tests/ops/op_cases.c)", op_info[op].name,
                     op_case_count((Op)op), (int)LEAST_CASES);
    }
}

static const char *print(Arena *arena, const Module *module) {
    StrBuf out = {.arena = arena};
    module_print(&out, module, NULL);
    return strbuf_text(&out);
}

static void cases_verify_and_survive_text(void **state) {
    (void)state;
    for (int real = 0; real < 2; real++) {
        Arena arena = {0};
        Module *module = module_new(&arena, "cases", real ? DT_F64 : DT_F32);
        for (int op = 0; op < OP_COUNT; op++) {
            for (size_t i = 0; i < op_case_count((Op)op); i++) {
                OpCase c;
                op_case_build((Op)op, i, module, &c);
            }
        }
        const char *message = module_verify(module, &arena);
        if (message)
            fail_msg("%s", message);
        const char *text = print(&arena, module);
        int line = 0;
        Module *again = module_read(&arena, text, strlen(text), &line, &message);
        if (!again)
            fail_msg("line %d: %s", line, message);
        assert_string_equal(text, print(&arena, again));
        assert_null(module_verify(again, &arena));
        arena_release(&arena);
    }
}

static const __float128 *run(EvalState *eval, const OpCase *c, uint64_t seed,
                             const double **bound) {
    static double value[1 << 16];
    eval_set_random(eval, seed, 7);
    for (size_t k = 0; k < c->input_count; k++) {
        op_case_fill(&c->input[k], seed, value);
        eval_set_input(eval, c->input[k].name, value);
    }
    if (c->has_scalar)
        eval_set_scalar(eval, "t", 3);
    if (c->storage) {
        for (int64_t i = 0; i < type_count(&c->storage->type); i++)
            value[i] = (double)i - 3;
        eval_set_storage(eval, c->storage->id, value);
    }
    eval_track_bounds(eval, bound != NULL);
    eval_run(eval, c->graph);
    if (bound)
        *bound = eval_get_bound(eval, "y");
    return eval_get_output_q(eval, "y", NULL);
}

static void check_within_bounds(const Module *module, const OpCase *c, uint64_t seed,
                                EvalPrecision precision) {
    Arena arena = {0};
    const double *bound;
    const __float128 *exact = run(eval_new(&arena, module, EVAL_F128), c, seed, NULL);
    const __float128 *found = run(eval_new(&arena, module, precision), c, seed, &bound);
    assert_non_null(exact);
    int64_t infinite = 0;
    for (int64_t i = 0; i < type_count(&c->result->type); i++) {
        double error = fabs((double)(found[i] - exact[i]));
        if (found[i] == exact[i])
            error = 0; // infinities among them
        if (!(error <= bound[i]))
            fail_msg("%s[%lld]: %.17g against %.17g, bound %g", c->graph->name, (long long)i,
                     (double)found[i], (double)exact[i], bound[i]);
        infinite += isinf(bound[i]);
    }
    if (infinite)
        fail_msg("%s: %lld infinite bounds", c->graph->name, (long long)infinite);
    arena_release(&arena);
}

static void runs_lie_within_their_bounds(void **state) {
    (void)state;
    for (int op = 0; op < OP_COUNT; op++) {
        for (size_t i = 0; i < op_case_count((Op)op); i++) {
            Arena arena = {0};
            OpCase c;
            Module *module = module_new(&arena, "case", DT_F32);
            op_case_build((Op)op, i, module, &c);
            for (uint64_t seed = 1; seed <= SEEDS && !c.needs_differentiate; seed++) {
                check_within_bounds(module, &c, seed, EVAL_F32);
                check_within_bounds(module, &c, seed, EVAL_F64);
            }
            arena_release(&arena);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_op_has_cases),
        cmocka_unit_test(cases_verify_and_survive_text),
        cmocka_unit_test(runs_lie_within_their_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
