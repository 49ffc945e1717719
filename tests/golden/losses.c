// tests/golden/losses.c -- the library's losses against numbers of an independent implementation:
// by the interpreter and compiled, in f64, to 1e-9 * max(1, |value|), the digits that are known; and
// the weights of early decay against the authors' table, epoch by epoch.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "frontend/frontend.h"
#include "grammar/grammar.h"
#include "ir/eval.h"
#include "passes/passes.h"
#include "tests/differ/machine.inc"

enum { N = 4, K = 5, B = 3, C = 4, H = 2, W = 3 };

#define COUNT(a) (sizeof(a) / sizeof *(a))

/// The program losses.kd, interpreted and compiled.
typedef struct Fixture {
    Arena arena;
    SourceSet sources;
    DiagSink diags;
    Module *plain, *compiled;
    EvalState *state;
    Machine machine;
} Fixture;

static Module *elaborate(Fixture *f, const Source *source) {
    AstFile *file = kd_parse(&f->arena, &f->sources, source, &f->diags);
    FrontendOptions options = {.real = DT_F64};
    Program *program = frontend_elaborate(file, &options, &f->arena, &f->sources, &f->diags);
    diag_print_all(&f->diags, stderr);
    return program ? program->module : NULL;
}

static int set_up(void **state) {
    static Fixture f;
    Arena scratch = {0};
    const char *reason;
    f = (Fixture){0};
    source_set_init(&f.sources, &f.arena);
    diag_sink_init(&f.diags, &f.arena, &f.sources);
    const Source *source =
        source_read(&f.sources, KDC_TESTS_DIR "/golden/losses.kd", AST_SOURCE_MAX, &reason);
    if (!source || !(f.plain = elaborate(&f, source)) || !(f.compiled = elaborate(&f, source)))
        return -1;
    f.state = eval_new(&f.arena, f.plain, EVAL_F64);
    PassContext ctx = {
        .scratch = &scratch,
        .options = {.level = 2, .verify = true, .disabled = "bind_times"}, // no prologues
    };
    passes_run(f.compiled, &ctx);
    arena_release(&scratch);
    machine_init(&f.machine, f.compiled, 2, 0);
    *state = &f;
    return 0;
}

static int tear_down(void **state) {
    Fixture *f = *state;
    machine_release(&f->machine);
    arena_release(&f->arena);
    return 0;
}

static const Graph *step_of(const Module *module, const char *block) {
    for (size_t i = 0; i < module->graphs.count; i++) {
        const char *name = module->graphs.at[i]->name;
        size_t length = strlen(block);
        if (strncmp(name, block, length) == 0 && strcmp(name + length, ".step0") == 0)
            return module->graphs.at[i];
    }
    fail_msg("no block %s", block);
    return NULL;
}

static void set_field(Fixture *f, const char *block, const char *field, const double *value) {
    eval_set_input(f->state, field, value);
    machine_set_input(&f->machine, step_of(f->compiled, block), field, value);
}

static void run(Fixture *f, const char *block) {
    eval_run(f->state, step_of(f->plain, block));
    machine_run(&f->machine, step_of(f->compiled, block));
}

typedef struct Golden {
    const char *name;
    double value;
} Golden;

static double report_of(Fixture *f, const char *block, const char *name, bool compiled) {
    Type type;
    double value = NAN;
    if (compiled)
        machine_get_output(&f->machine, step_of(f->compiled, block), name, &value, &type);
    else
        value = *eval_get_output(f->state, name, NULL);
    return value;
}

static void close_to(const char *name, bool compiled, double value, double expected) {
    // The numbers are printed to ten decimals: half a unit of the last is in the tolerance.
    if (!(fabs(value - expected) <= 1e-9 * fmax(1, fabs(expected))))
        fail_msg("%s, %s, is %.12f, not %.10f", name, compiled ? "compiled" : "interpreted", value,
                 expected);
}

static void compare(Fixture *f, const char *block, const Golden *golden, size_t count) {
    for (int compiled = 0; compiled < 2; compiled++)
        for (size_t i = 0; i < count; i++)
            close_to(golden[i].name, compiled, report_of(f, block, golden[i].name, compiled),
                     golden[i].value);
}

// ---- inputs ------------------------------------------------------------------------------------

static void set_logits(Fixture *f, const char *block) {
    double s[N * K], t[N * K];
    const double label[N] = {0, 2, 3, 1};
    const int hit[N] = {0, 2, 4, 1};
    for (int n = 0; n < N; n++) {
        for (int k = 0; k < K; k++) {
            s[n * K + k] = 2 * sin(1 + 3 * n + 2 * k);
            t[n * K + k] = 1.5 * cos(n - 0.7 * k) + (k == hit[n] ? 2.0 : 0.0);
        }
    }
    set_field(f, block, "z_s", s);
    set_field(f, block, "z_t", t);
    set_field(f, block, "label", label);
}

static void set_maps(Fixture *f, const char *block) {
    double s[B * C * H * W], t[B * C * H * W];
    size_t i = 0;
    for (int b = 0; b < B; b++)
        for (int c = 0; c < C; c++)
            for (int h = 0; h < H; h++)
                for (int w = 0; w < W; w++, i++) {
                    s[i] = sin(1 + b + 2 * c + 3 * h + 5 * w);
                    t[i] = cos(2 * b - c + h * w + 0.5 * w);
                }
    set_field(f, block, "f_s", s);
    set_field(f, block, "f_t", t);
}

// ---- the numbers -------------------------------------------------------------------------------

static void losses_on_logits(void **fixture) {
    set_logits(*fixture, "on_logits");
    run(*fixture, "on_logits");
    const Golden golden[] = {
        {"ce_s", 1.4872695671},   {"ce_t", 0.9331650038},   {"kd_1", 0.7369269907},
        {"kd_4", 1.1823995087},   {"soft_3", 1.6318784629}, {"gkd_1", 0.3127374567},
        {"tckd_4", 0.1924478057}, {"nckd_4", 1.3585174575}, {"dkd_4", 11.0605874656},
        {"inter", 0.5790506892},  {"intra", 0.8852258816},  {"standardized_2", 0.5471487532},
        {"wsld_2", 4.9449219076}, {"smooth_0", 1.4872695671}, {"top5", 1.0},
    };
    compare(*fixture, "on_logits", golden, COUNT(golden));
}

static void losses_on_maps(void **fixture) {
    set_maps(*fixture, "on_maps");
    run(*fixture, "on_maps");
    const Golden golden[] = {
        {"cd", 0.1680910309},           {"hint", 0.9966420972},      {"distance", 1.4202437714},
        {"relu_distance", 0.9745548984}, {"attention", 0.0112349668}, {"sp", 0.2902190658},
        {"rkd_distance", 0.0209927140}, {"rkd_angle", 0.0415630783}, {"pkt", 0.0418776042},
        {"nst", 0.9135531706},          {"ab", 104.1664216925},      {"ofd", 56.3063794275},
        {"cwd_4", 0.4078908519},        {"ickd", 1.5425534528},      {"fsp", 0.3478886078},
        {"cc", 0.4718848113},           {"cc_series", 0.0751950730},
    };
    compare(*fixture, "on_maps", golden, COUNT(golden));
}

static void losses_on_attention_heads(void **fixture) {
    double s[2 * 3 * 3], t[2 * 3 * 3];
    size_t at = 0;
    for (int a = 0; a < 2; a++)
        for (int i = 0; i < 3; i++)
            for (int j = 0; j < 3; j++, at++) {
                s[at] = 2 * sin(0.3 + a + 2 * i - 3 * j);
                t[at] = 2 * sin(1.1 + a + 2 * i - 3 * j);
            }
    set_field(*fixture, "on_heads", "s", s);
    set_field(*fixture, "on_heads", "t", t);
    run(*fixture, "on_heads");
    compare(*fixture, "on_heads", (const Golden[]){{"mhgd", 0.7314702492}}, 1);
}

/// Logits and features are batches of different sizes there: each part comes from a block of its own.
static void your_own_teacher(void **fixture) {
    const Golden golden[] = {
        {"luan", 3.6470827049},
        {"scan", 9.0202533574},
        {"final", 2.4934331038},
        {"byot", 2.2450674739}, // of the same terms: CE_t + CE_s / 2 + 4.5 KL + 6.4e-5 hint / 3
    };
    double sum[2][COUNT(golden)] = {{0}};
    for (int part = 0; part < 2; part++) {
        const char *block = part ? "of_features" : "of_logits";
        (part ? set_maps : set_logits)(*fixture, block);
        run(*fixture, block);
        for (int compiled = 0; compiled < 2; compiled++)
            for (size_t i = 0; i < COUNT(golden); i++)
                sum[compiled][i] += report_of(*fixture, block, golden[i].name, compiled);
    }
    for (int compiled = 0; compiled < 2; compiled++)
        for (size_t i = 0; i < COUNT(golden); i++)
            close_to(golden[i].name, compiled, sum[compiled][i], golden[i].value);
}

/// E[x | x < 0] of the normal distribution, by integrals of Python's.
static void margins(void **fixture) {
    run(*fixture, "margins");
    const Golden golden[] = {
        {"margin0", -0.6410777704}, {"margin1", -1.0276239313}, {"margin2", -3},
        {"margin3", -1.5957691216}, {"margin4", 0},             {"margin5", -2},
    };
    compare(*fixture, "margins", golden, COUNT(golden));
}

// ---- early decay -------------------------------------------------------------------------------

/// From an epoch on, counted from 1 as the authors do: weights of CE, GKD and CD.
typedef struct Row {
    int epoch;
    double weight[3];
} Row;

static void follow(Fixture *f, const char *network, const Row *row, int last) {
    for (int epoch = 1; epoch <= last; epoch++) {
        eval_set_scalar(f->state, "epoch", epoch - 1);
        machine_set_scalar(&f->machine, "epoch", epoch - 1);
        run(f, "schedules");
        while (row[1].epoch && row[1].epoch <= epoch)
            row++;
        for (int i = 0; i < 3; i++) {
            char name[32];
            snprintf(name, sizeof name, "%s_%s", network, ((const char *[]){"ce", "gkd", "cd"})[i]);
            for (int compiled = 0; compiled < 2; compiled++) {
                double weight = report_of(f, "schedules", name, compiled);
                if (!(fabs(weight - row->weight[i]) <= 1e-12))
                    fail_msg("%s is %.15g in epoch %d, not %g", name, weight, epoch,
                             row->weight[i]);
            }
        }
    }
}

static void early_decay_as_the_authors_print_it(void **fixture) {
    const Row imagenet[] = {{1, {0, 0, 6}},     {30, {0, 0, 5.4}},    {31, {1, 1, 5.4}},
                            {60, {1, 1, 4.86}}, {90, {1, 1, 4.374}}, {0}};
    const Row cifar[] = {
        {1, {0, 0, 6}}, {60, {0, 0, 5.4}}, {61, {1, 0.1, 5.4}}, {160, {1, 0.1, 4.86}}, {0}};
    // "lrdv1": without the early decaying teacher; "cd.ce": and without guided KD.
    const Row imagenet_plain[] = {
        {1, {1, 1, 6}}, {30, {1, 1, 5.4}}, {60, {1, 1, 4.86}}, {90, {1, 1, 4.374}}, {0}};
    const Row imagenet_cd[] = {{1, {1, 1, 6}}, {0}};
    const Row cifar_plain[] = {{1, {1, 0.1, 6}}, {0}};
    follow(*fixture, "imagenet", imagenet, 100);
    follow(*fixture, "imagenet_plain", imagenet_plain, 100);
    follow(*fixture, "imagenet_cd", imagenet_cd, 100);
    follow(*fixture, "cifar", cifar, 200);
    follow(*fixture, "cifar_plain", cifar_plain, 200);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(losses_on_logits),
        cmocka_unit_test(losses_on_maps),
        cmocka_unit_test(losses_on_attention_heads),
        cmocka_unit_test(your_own_teacher),
        cmocka_unit_test(margins),
        cmocka_unit_test(early_decay_as_the_authors_print_it),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
