// tests/differ/ops.c -- every op, compiled, against the interpreter.
//
// Each case of tests/ops/op_cases.h at each -O level, in f64 and f32, by the loop interpreter of
// machine.inc and by the JIT. The tolerance is twice the interpreter's bound on rounding errors
// (two computations of one graph differ by at most that) plus the last place of the result; where
// the bound is infinite (a decision hangs on rounding) only exact agreement counts.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "ir/eval.h"
#include "passes/passes.h"
#include "tests/differ/machine.inc"
#include "tests/ops/op_cases.h"

static const uint64_t SEED = 7;

static double *values_of(Arena *arena, const CaseInput *input) {
    double *value = arena_array(arena, double, (size_t)type_count(&input->node->type));
    op_case_fill(input, SEED, value);
    return value;
}

static double *storage_values(Arena *arena, const Storage *storage) {
    int64_t count = type_count(&storage->type);
    double *value = arena_array(arena, double, (size_t)count);
    for (int64_t i = 0; i < count; i++)
        value[i] = (double)((i * 37 + 11) % 64) / 16;
    return value;
}

static void compare(const char *what, const double *got, const double *want, const double *bound,
                    const Type *type) {
    double unit = type->dtype == DT_F64 ? 0x1p-52 : type->dtype == DT_F32 ? 0x1p-23 : 0;
    for (int64_t i = 0; i < type_count(type); i++) {
        double slack = 2 * bound[i] + unit * fabs(want[i]);
        bool good = got[i] == want[i] || (isnan(got[i]) && isnan(want[i])) ||
                    (isfinite(slack) && fabs(got[i] - want[i]) <= slack);
        if (!good)
            fail_msg("%s: element %lld is %.17g, the interpreter has %.17g +- %g", what,
                     (long long)i, got[i], want[i], slack);
    }
}

static void check_case(Op op, size_t index, DType real, int level, unsigned flags) {
    Arena arena = {0}, scratch = {0};
    Module *module = module_new(&arena, "case", real);
    OpCase c;
    op_case_build(op, index, module, &c);
    EvalState *state = eval_new(&arena, module, real == DT_F32 ? EVAL_F32 : EVAL_F64);
    PassContext ctx = {.scratch = &scratch, .options = {.level = level, .verify = true}};
    const char *unknown;
    passes_run_named(module, "differentiate", &ctx, &unknown);
    eval_track_bounds(state, true);
    eval_set_random(state, 1, 0);
    double scalar = 0.375;
    if (c.has_scalar)
        eval_set_scalar(state, "t", scalar);
    for (size_t i = 0; i < c.input_count; i++)
        eval_set_input(state, c.input[i].name, values_of(&arena, &c.input[i]));
    if (c.storage)
        eval_set_storage(state, c.storage->id, storage_values(&arena, c.storage));
    eval_run(state, c.graph);

    Module *original = module;
    (void)original;
    Graph *graph = c.graph;
    Type type;
    const double *want = eval_get_output(state, "y", &type);
    const double *bound = eval_get_bound(state, "y");
    assert_non_null(want);
    passes_run(module, &ctx);
    Machine machine;
    machine_init(&machine, module, level, flags);
    if (c.has_scalar)
        machine_set_scalar(&machine, "t", scalar);
    for (size_t i = 0; i < c.input_count; i++)
        machine_set_input(&machine, graph, c.input[i].name, values_of(&arena, &c.input[i]));
    if (c.storage)
        machine_set_storage(&machine, c.storage->id, storage_values(&arena, c.storage));
    machine_run(&machine, graph);

    char what[128];
    snprintf(what, sizeof what, "%s %s -O%d%s", c.graph->name, dtype_name(real), level,
             flags & MACHINE_INTERPRETS ? " interpreted" : "");
    double *got = arena_array(&arena, double, (size_t)type_count(&type));
    assert_true(machine_get_output(&machine, graph, "y", got, &type));
    compare(what, got, want, bound, &type);
    if (op == OP_write) {
        const Type *stored = &c.storage->type;
        got = arena_array(&arena, double, (size_t)type_count(stored));
        machine_get_storage(&machine, c.storage->id, got);
        compare(what, got, eval_get_storage(state, c.storage->id),
                eval_get_storage_bound(state, c.storage->id), stored);
    }
    machine_release(&machine);
    arena_release(&scratch);
    arena_release(&arena);
}

static void check_op(void **state) {
    Op op = (Op)(intptr_t)*state;
    for (size_t i = 0; i < op_case_count(op); i++) {
        for (int level = 0; level <= 2; level++) {
            unsigned registers = level ? MACHINE_NARROW : MACHINE_WIDE;
            check_case(op, i, DT_F64, level, MACHINE_INTERPRETS | registers);
            check_case(op, i, DT_F32, level, MACHINE_INTERPRETS | registers);
            if (level != 1) // code generation is most of the time
                check_case(op, i, level ? DT_F32 : DT_F64, level, registers);
        }
    }
}

int main(void) {
    struct CMUnitTest test[OP_COUNT];
    for (int op = 0; op < OP_COUNT; op++)
        test[op] =
            (struct CMUnitTest){op_info[op].name, check_op, NULL, NULL, (void *)(intptr_t)op};
    return _cmocka_run_group_tests("differ_ops", test, OP_COUNT, NULL, NULL);
}
