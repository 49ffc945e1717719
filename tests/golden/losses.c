// tests/golden/losses.c -- the library's losses against numbers of an independent implementation:
// text to IR to the interpreter in f64, and to compiled code, to 1e-9 * max(1, |value|), the digits
// that are known.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "frontend/frontend.h"
#include "grammar/grammar.h"
#include "passes/passes.h"
#include "tests/differ/machine.inc"

enum { N = 4, K = 5, B = 3, C = 4, H = 2, W = 3 };

typedef struct Fixture {
    Arena arena;
    SourceSet sources;
    DiagSink diags;
    Program *program;  // interpreted
    Program *compiled; // the same after the passes
    Machine machine;
} Fixture;

static Program *elaborate(Fixture *f, const Source *source) {
    AstFile *file = kd_parse(&f->arena, &f->sources, source, &f->diags);
    FrontendOptions options = {.real = DT_F64};
    return frontend_elaborate(file, &options, &f->arena, &f->sources, &f->diags);
}

static int set_up(void **state) {
    static Fixture f;
    const char *reason;
    f = (Fixture){0};
    source_set_init(&f.sources, &f.arena);
    diag_sink_init(&f.diags, &f.arena, &f.sources);
    const Source *source =
        source_read(&f.sources, KDC_TESTS_DIR "/golden/losses.kd", AST_SOURCE_MAX, &reason);
    if (!source)
        return -1;
    f.program = elaborate(&f, source);
    f.compiled = elaborate(&f, source);
    diag_print_all(&f.diags, stderr);
    *state = &f;
    if (!f.program || !f.compiled)
        return -1;
    Arena scratch = {0};
    PassContext ctx = {.scratch = &scratch, .options = {.level = 2}, .program = f.compiled};
    passes_run(f.compiled->module, &ctx);
    arena_release(&scratch);
    machine_init(&f.machine, f.compiled->module, 2, 0);
    return 0;
}

static int tear_down(void **state) {
    Fixture *f = *state;
    machine_release(&f->machine);
    arena_release(&f->arena);
    return 0;
}

static const Graph *graph_named(const Module *module, const char *name) {
    for (size_t i = 0; i < module->graphs.count; i++)
        if (strcmp(module->graphs.at[i]->name, name) == 0)
            return module->graphs.at[i];
    return NULL;
}

typedef struct Golden {
    const char *name;
    double value;
} Golden;

static void close_to(const Golden *golden, const char *how, double value) {
    // The numbers are printed to ten decimals: half a unit of the last joins the tolerance.
    double allowed = 1e-9 * fmax(1, fabs(golden->value));
    if (!(fabs(value - golden->value) <= allowed))
        fail_msg("%s, %s, is %.12f, not %.10f", golden->name, how, value, golden->value);
}

/// An input of a graph with its values.
typedef struct Field {
    const char *name;
    const double *value;
} Field;

/// Runs a graph by the interpreter and by compiled code.
static void check(Fixture *f, const char *graph, const Field *field, size_t field_count,
                  const Golden *golden, size_t count) {
    EvalState *state = eval_new(&f->arena, f->program->module, EVAL_F64);
    const Graph *compiled = graph_named(f->compiled->module, graph);
    for (size_t i = 0; i < field_count; i++) {
        eval_set_input(state, field[i].name, field[i].value);
        machine_set_input(&f->machine, compiled, field[i].name, field[i].value);
    }
    eval_run(state, graph_named(f->program->module, graph));
    machine_run(&f->machine, compiled);
    for (size_t i = 0; i < count; i++) {
        const double *value = eval_get_output(state, golden[i].name, NULL);
        assert_non_null(value);
        close_to(&golden[i], "interpreted", *value);
        double result;
        Type type;
        assert_true(machine_get_output(&f->machine, compiled, golden[i].name, &result, &type));
        close_to(&golden[i], "compiled", result);
    }
}

#define COUNT(a) (sizeof(a) / sizeof *(a))

static void losses_on_logits(void **fixture) {
    Fixture *f = *fixture;
    double s[N * K], t[N * K], label[N] = {0, 2, 3, 1};
    const int hit[N] = {0, 2, 4, 1};
    for (int n = 0; n < N; n++) {
        for (int k = 0; k < K; k++) {
            s[n * K + k] = 2 * sin(1 + 3 * n + 2 * k);
            t[n * K + k] = 1.5 * cos(n - 0.7 * k) + (k == hit[n] ? 2.0 : 0.0);
        }
    }
    const Field fields[] = {{"z_s", s}, {"z_t", t}, {"label", label}};
    const Golden golden[] = {
        {"ce_s", 1.4872695671},     {"ce_t", 0.9331650038},
        {"kd_1", 0.7369269907},     {"kd_4", 1.1823995087},
        {"soft_3", 1.6318784629},   {"gkd_1", 0.3127374567},
        {"smooth_0", 1.4872695671}, {"top5", 1.0},
    };
    check(f, "on_logits.step0", fields, COUNT(fields), golden, COUNT(golden));
}

static void losses_on_maps(void **fixture) {
    Fixture *f = *fixture;
    double s[B * C * H * W], t[B * C * H * W];
    size_t i = 0;
    for (int b = 0; b < B; b++)
        for (int c = 0; c < C; c++)
            for (int h = 0; h < H; h++)
                for (int w = 0; w < W; w++, i++) {
                    s[i] = sin(1 + b + 2 * c + 3 * h + 5 * w);
                    t[i] = cos(2 * b - c + h * w + 0.5 * w);
                }
    const Field fields[] = {{"f_s", s}, {"f_t", t}};
    const Golden golden[] = {
        {"cd", 0.1680910309},        {"hint", 0.9966420972},
        {"distance", 1.4202437714},  {"relu_distance", 0.9745548984},
        {"attention", 0.0112349668},
    };
    check(f, "on_maps.step0", fields, COUNT(fields), golden, COUNT(golden));
}

static void losses_on_attention_heads(void **fixture) {
    Fixture *f = *fixture;
    double s[2 * 3 * 3], t[2 * 3 * 3];
    size_t at = 0;
    for (int a = 0; a < 2; a++)
        for (int i = 0; i < 3; i++)
            for (int j = 0; j < 3; j++, at++) {
                s[at] = 2 * sin(0.3 + a + 2 * i - 3 * j);
                t[at] = 2 * sin(1.1 + a + 2 * i - 3 * j);
            }
    const Field fields[] = {{"s", s}, {"t", t}};
    const Golden golden[] = {{"mhgd", 0.7314702492}};
    check(f, "on_heads.step0", fields, COUNT(fields), golden, COUNT(golden));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(losses_on_logits),
        cmocka_unit_test(losses_on_maps),
        cmocka_unit_test(losses_on_attention_heads),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
