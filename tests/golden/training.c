// tests/golden/training.c -- whole trainings, compiled and run in f64, against PyTorch's:
// parameters, running statistics and losses after 1, 5 and 20 steps. make_training.py made the
// numbers and says what they are.
//
// PyTorch sums in another order, so the last digits differ: after 20 steps by some 1e-14 when this
// was written, where 1e-9 * max(1, |number|) is allowed.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "codegen/codegen.h"
#include "frontend/frontend.h"
#include "grammar/grammar.h"
#include "passes/passes.h"

#define FOLDER KDC_TESTS_DIR "/golden/"

typedef struct Training {
    Arena arena;
    SourceSet sources;
    DiagSink diags;
    Program *program;
    Jit *jit;
    KdrtSession *session;
    int64_t steps;
    double ce;
} Training;

static void compile(Training *t, const char *method, const char *rule) {
    *t = (Training){0};
    source_set_init(&t->sources, &t->arena);
    diag_sink_init(&t->diags, &t->arena, &t->sources);
    const char *reason;
    const Source *source = source_read(&t->sources, FOLDER "training.kd", AST_SOURCE_MAX, &reason);
    assert_non_null(source);
    AstFile *file = kd_parse(&t->arena, &t->sources, source, &t->diags);
    const FrontendDefine defines[] = {{"method", method}, {"rule", rule}};
    FrontendOptions options = {.defines = defines, .define_count = 2, .real = DT_F64};
    t->program = frontend_elaborate(file, &options, &t->arena, &t->sources, &t->diags);
    diag_print_all(&t->diags, stderr);
    assert_non_null(t->program);

    Arena scratch = {0};
    PassContext context = {.scratch = &scratch, .options = {.level = 2}, .program = t->program};
    passes_run(t->program->module, &context);
    arena_release(&scratch);
    CodegenOptions codegen = {.level = 2};
    LoopProgram *loops = codegen_lower(&t->arena, t->program->module, &codegen);
    Objects objects = codegen_objects(loops, t->program->module, t->program, &codegen);
    const char *message = NULL;
    t->jit = jit_new(&t->arena, &message);
    const KdrtProgram *code = t->jit ? jit_add(t->jit, &objects, &message) : NULL;
    objects_free(&objects);
    assert_non_null(code);

    char *argv[] = {"training", "--data", FOLDER "training", "--threads", "2", NULL};
    KdrtError error = {0};
    t->session = kdrt_session_open(code, 5, argv, &error);
    if (!t->session)
        fail_msg("%s", error.text);
}

static void release(Training *t) {
    if (t->session)
        kdrt_session_close(t->session);
    if (t->jit)
        jit_free(t->jit);
    arena_release(&t->arena);
}

/// One step after the other: the report is of the last one alone.
static void train_to(Training *t, int64_t steps) {
    for (; t->steps < steps; t->steps++) {
        KdrtReport report;
        KdrtError error = {0};
        assert_true(kdrt_session_step(t->session, 1, &report, &error));
        assert_int_equal(report.value_count, 1);
        assert_string_equal(report.name[0], "train_ce");
        t->ce = report.value[0];
    }
}

/// Over the tensors of the model whose names are `what` and more.
static double digest(const Training *t, const char *what) {
    const Module *module = t->program->module;
    size_t length = strlen(what), found = 0;
    double sum = 0;
    for (size_t i = 0; i < module->storages.count; i++) {
        const Storage *storage = module->storages.at[i];
        if (storage->kind > STORAGE_STATE || strncmp(storage->name, what, length) != 0 ||
            storage->name[length] != '.')
            continue;
        int64_t size_bytes = 0;
        const double *v = kdrt_session_storage(t->session, storage->name, &size_bytes);
        assert_non_null(v);
        for (int64_t k = 0; k < size_bytes / (int64_t)sizeof *v; k++)
            sum += v[k] * cos(0.37 * (double)(k + 1) + (double)strlen(storage->name));
        found++;
    }
    assert_true(found > 0);
    return sum;
}

/// All lines of training.txt of one method and rule.
static void case_of(const char *method, const char *rule) {
    FILE *numbers = fopen(FOLDER "training.txt", "r");
    assert_non_null(numbers);
    Training t;
    compile(&t, method, rule);
    char line_method[32], line_rule[32], what[64];
    long long steps;
    double expected;
    int compared = 0, wrong = 0;
    while (fscanf(numbers, "%31s %31s %lld %63s %lf", line_method, line_rule, &steps, what,
                  &expected) == 5) {
        if (strcmp(method, line_method) != 0 || strcmp(rule, line_rule) != 0)
            continue;
        train_to(&t, steps);
        double found = strcmp(what, "ce") == 0 ? t.ce : digest(&t, what);
        compared++;
        if (fabs(found - expected) <= 1e-9 * fmax(1, fabs(expected)))
            continue;
        wrong++;
        print_error("%s %s, %s after %lld steps: %.15g, not %.15g\n", method, rule, what, steps,
                    found, expected);
    }
    fclose(numbers);
    release(&t);
    assert_true(compared >= 21);
    assert_int_equal(wrong, 0);
}

#define CASE(method, rule)                                                                         \
    static void method##_##rule(void **state) {                                                    \
        (void)state;                                                                               \
        case_of(#method, #rule);                                                                   \
    }
#define CASES                                                                                      \
    CASE(alone, sgd)                                                                               \
    CASE(alone, nesterov)                                                                          \
    CASE(alone, adam)                                                                              \
    CASE(alone, adamw)                                                                             \
    CASE(alone, no_decay)                                                                          \
    CASE(smooth, sgd)                                                                              \
    CASE(kd, sgd)                                                                                  \
    CASE(gkd, sgd)                                                                                 \
    CASE(cd, sgd)                                                                                  \
    CASE(at, sgd)
CASES
#undef CASE

int main(void) {
#define CASE(method, rule) cmocka_unit_test(method##_##rule),
    const struct CMUnitTest tests[] = {CASES};
#undef CASE
    return cmocka_run_group_tests_name("training", tests, NULL, NULL);
}
