// tests/grad/library_values.c -- what is known of the library in closed form, interpreted and
// compiled: gradients at the kinks and where numbers are huge, values of schedules, metrics and
// initialisers and, by a few lines of C here, what optimisers do. The blocks are those of
// library.kd.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/grad/library.inc"

enum { N = 3, K = 5 };

// ---- known gradients and values, interpreted and compiled ---------------------------------------

/// A module of blocks, interpreted and compiled, with every storage at 1 to begin with.
typedef struct Twin {
    Module *plain, *compiled;
    EvalState *state;
    Machine machine;
    Arena arena;
} Twin;

static double *filled(Arena *arena, const Type *type, double value) {
    double *values = arena_array(arena, double, (size_t)type_count(type));
    for (int64_t i = 0; i < type_count(type); i++)
        values[i] = value;
    return values;
}

static void twin_set_storage(Twin *t, uint32_t id, const double *value) {
    eval_set_storage(t->state, id, value);
    machine_set_storage(&t->machine, id, value);
}

static void twin_set_scalar(Twin *t, const char *name, double value) {
    eval_set_scalar(t->state, name, value);
    machine_set_scalar(&t->machine, name, value);
}

static uint32_t storage_named(const Twin *t, const char *name) {
    for (uint32_t i = 0; i < t->plain->storages.count; i++)
        if (strcmp(t->plain->storages.at[i]->name, name) == 0)
            return i;
    fail_msg("no storage `%s`", name);
    return 0;
}

static Graph *block(const Module *module, const char *name, const char *graph) {
    char full[128];
    snprintf(full, sizeof full, "%s.%s", name, graph);
    for (size_t i = 0; i < module->graphs.count; i++)
        if (strcmp(module->graphs.at[i]->name, full) == 0)
            return module->graphs.at[i];
    return NULL;
}

static Module *prepare(unsigned kinds, const char *passes) {
    Module *module = elaborate(DT_F64);
    keep_blocks(module, kinds);
    for (size_t i = 0; i < module->graphs.count; i++)
        if (module->graphs.at[i]->role == GRAPH_STEP && result_of(module->graphs.at[i]))
            append_gradients(module->graphs.at[i], false);
    if (passes) {
        run_passes(module, passes);
    } else { // without prologues: the phases would lay theirs one over the other
        Arena scratch = {0};
        PassContext ctx = {.scratch = &scratch,
                           .options = {.level = 2, .verify = true, .disabled = "bind_times"}};
        passes_run(module, &ctx);
        arena_release(&scratch);
    }
    return module;
}

static void twin_init(Twin *t, unsigned kinds) {
    *t = (Twin){.plain = prepare(kinds, "differentiate"), .compiled = prepare(kinds, NULL)};
    t->state = eval_new(&t->arena, t->plain, EVAL_F64);
    eval_set_random(t->state, 1, 0);
    machine_init(&t->machine, t->compiled, 2, 0);
    for (uint32_t i = 0; i < t->plain->storages.count; i++) {
        const Storage *storage = t->plain->storages.at[i];
        twin_set_storage(t, i, filled(&t->arena, &storage->type, 1));
    }
    for (size_t i = 0; i < t->plain->scalars.count; i++)
        twin_set_scalar(t, t->plain->scalars.at[i], 0);
}

static void twin_release(Twin *t) {
    machine_release(&t->machine);
    arena_release(&t->arena);
}

static void twin_set_input(Twin *t, const char *name, const char *field, const double *value) {
    eval_set_input(t->state, field, value);
    machine_set_input(&t->machine, block(t->compiled, name, "step0"), field, value);
}

static void twin_run(Twin *t, const char *name, const char *graph) {
    if (!block(t->plain, name, graph))
        fail_msg("no %s.%s", name, graph);
    eval_run(t->state, block(t->plain, name, graph));
    machine_run(&t->machine, block(t->compiled, name, graph));
}

enum { MOST = 8192 };

/// An output or report, from one or the other.
static const double *twin_output(Twin *t, const char *name, const char *output, bool compiled) {
    Type type;
    if (!compiled)
        return eval_get_output(t->state, output, NULL);
    double *value = arena_array(&t->arena, double, MOST);
    bool there =
        machine_get_output(&t->machine, block(t->compiled, name, "step0"), output, value, &type);
    return there ? value : NULL;
}

static void close_to(const char *name, const char *what, bool compiled, int i, const double *found,
                     double expected, double tolerance) {
    if (!found)
        fail_msg("%s has no %s", name, what);
    if (!isfinite(found[i]))
        fail_msg("%s, %s: %s[%d] is %g", name, compiled ? "compiled" : "interpreted", what, i,
                 found[i]);
    if (!isnan(expected) && !(fabs(found[i] - expected) <= tolerance * fabs(expected)))
        fail_msg("%s, %s: %s[%d] is %.17g, not %.17g", name, compiled ? "compiled" : "interpreted",
                 what, i, found[i], expected);
}

/// A block with values of fields, and the gradient of the sum of y by the first of them; NAN where
/// it need only be finite. What is 0 must be 0 exactly.
typedef struct Edge {
    const char *name;
    struct {
        const char *name;
        double value[N * 2 * 4 * 4];
    } field[3];
    int count;
    double d[N * 2 * 4 * 4];
} Edge;

#define P       (1.0 / 3)
#define SOFT(x) (1 / (1 + exp(-(x)))) // of two logits that differ by x, others far below
#define WINDOWS 1, 0, 1, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0

// Matrices 4x4
#define DIAGONAL(a, b, c, d) a, 0, 0, 0, 0, b, 0, 0, 0, 0, c, 0, 0, 0, 0, d
#define FOUR(x)              x, x, x, x
#define SIXTEEN(x)           FOUR(x), FOUR(x), FOUR(x), FOUR(x)
#define EYE                  DIAGONAL(1, 1, 1, 1)

// clang-format off
static void edges_are_as_documented(void **state) {
    (void)state;
    const Edge edges[] = {
        {"edge_relu", {{"z", {-1, 0, -0.0, 2, 1e-300}}}, 15, {0, 0, 0, 1, 1}},
        {"edge_leaky_relu", {{"z", {-1, 0, -0.0, 2, -3}}}, 5, {0.25, 0.25, 0.25, 1, 0.25}},
        {"edge_relu6", {{"z", {-1, 0, 6, 7, 5.5}}}, 15, {0, 0, 0, 0, 1}},
        {"edge_clamp", {{"z", {-1, 2, 0, -3, 1.5}}}, 5, {0, 0, 1, 0, 1}},
        {"edge_softplus", {{"z", {1000, -1000, 50, -800, 1e300}}}, 5, {1, 0, 1, 0, 1}},
        {"edge_silu", {{"z", {1000, -1000, 0, 800, -800}}}, 5, {1, 0, 0.5, 1, 0}},
        {"edge_gelu", {{"z", {1000, -1000, 0, 60, -60}}}, 5, {1, 0, 0.5, 1, 0}},
        {"edge_log_sum_exp",
         {{"z", {1000, 999, -1000, -2000, 0, -900, -900, -900, -900, -900, 1e300, 0, 0, 0, 0}}}, 15,
         {SOFT(1), SOFT(-1), 0, 0, 0, 0.2, 0.2, 0.2, 0.2, 0.2, 1, 0, 0, 0, 0}},
        {"edge_norm", {{"z", {0, 0, 0, 0, 0, 3, 4, 0, 0, 0, 0, 0, 0, 0, -2}}}, 15,
         {0, 0, 0, 0, 0, 0.6, 0.8, 0, 0, 0, 0, 0, 0, 0, -1}},
        {"edge_l2_normalize", {{"z", {0, 0, 0, 0, 0, 3, 4, 0, 0, 0, 1e-13, 0, 0, 0, 0}}}, 15,
         {0, 0, 0, 0, 0, 0.032, -0.024, 0.2, 0.2, 0.2, 0, 0, 0, 0, 0}},
        {"edge_batch_norm", {{"z", {2, 0, -4, 1, 0.5, 2, 0, -4, 1, 0.5, 2, 0, -4, 1, 0.5}}}, 15,
         {NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN}},
        {"edge_max_pool", {{"flat", {0}}}, 96, {WINDOWS, WINDOWS, WINDOWS, WINDOWS, WINDOWS, WINDOWS}},
        {"edge_cross_entropy",
         {{"z", {1, 2, 3, 4, 5, 5, 4, 3, 2, 1, 0, 0, 0, 0, 0}}, {"label", {-1, 5, 2}}}, 15,
         {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0.2 * P, 0.2 * P, -0.8 * P, 0.2 * P, 0.2 * P}},
        {"edge_cross_entropy",
         {{"z", {1000, 999, -1000, -2000, 0, -1000, 0, 0, 0, 0, 1e300, 0, 0, 0, 0}},
          {"label", {1, 0, 0}}}, 15,
         {SOFT(1) * P, -SOFT(1) * P, 0, 0, 0, -P, 0.25 * P, 0.25 * P, 0.25 * P, 0.25 * P, 0, 0, 0, 0, 0}},
        {"edge_l1", {{"z", {1, 2, 3, -0.0, 5}}, {"w", {1, 3, 2, 0, 5}}}, 15, {0, -1, 1}},
        {"edge_smooth_l1", {{"z", {1, -1, 3, 0, 0.25}}, {"w", {0}}}, 15, {1, -1, 1, 0, 0.25}},
        {"edge_kd",
         {{"z", {1000, 0, 0, 0, 0, -1000, 0, 0, 0, 0, 7, 7, 7, 7, 7}},
          {"teacher_z", {0, 1000, 0, 0, 0, -1000, 0, 0, 0, 0, 1000, 999, -1000, 0, 0}}}, 15,
         {P, -P, 0, 0, 0, 0, 0, 0, 0, 0, (0.2 - SOFT(1)) * P, (0.2 - SOFT(-1)) * P, 0.2 * P, 0.2 * P, 0.2 * P}},
        {"edge_guided_kd", // none is right
         {{"z", {1, 2, 3}}, {"teacher_z", {9, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 9, 0, 0}},
          {"label", {1, -1, 5}}}, 15, {0}},
        {"edge_guided_kd", // of equal logits the first is the largest
         {{"z", {0, 0, 0, 0, 1000}}, {"teacher_z", {7, 7, -1000, -1000, -1000, 0, 0, 0, 0, 0}},
          {"label", {0, 1, 3}}}, 15, {-0.5, -0.5, 0, 0, 1}},
        {"edge_wsld", // a teacher that is sure: all of the weight
         {{"z", {0}}, {"teacher_z", {1000, 0, 0, 0, 0, 0, 1000, 0, 0, 0, 0, 0, 1000, 0, 0}},
          {"label", {0, 1, 2}}}, 15,
         {-1.6 * P, 0.4 * P, 0.4 * P, 0.4 * P, 0.4 * P, 0.4 * P, -1.6 * P, 0.4 * P, 0.4 * P, 0.4 * P,
          0.4 * P, 0.4 * P, -1.6 * P, 0.4 * P, 0.4 * P}},
        {"far_edge_dkd", // sure of the label, sure of another class
         {{"z", {1000, 0, 0, 0, 0, 0, 1000, 0, 0, 0, 1000, 0, 0, 0, 0}},
          {"teacher_z", {1000, 0, 0, 0, 0, 0, 1000, 0, 0, 0, 1000, 0, 0, 0, 0}},
          {"label", {0, 0, 1}}}, 15, {0}},
        {"edge_standardized", {{"z", {7, 7, 7, 7, 7, 1, 2, 3, 4, 5}}, {"w", {1, 1, 1, 1, 1, 0}}}, 5, {0}},
        {"edge_dist", {{"z", {0}}, {"teacher_z", {1, 2, 3, 4, 5, 6}}}, 0, {0}},
        {"edge_pairs", {{"z", {0}}, {"teacher_z", {0, 0, 0, 0, 0, 1, 2, 3, 4, 5}}}, 15, {0}},
        {"edge_pairs", {{"z", {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0}}, {"teacher_z", {0}}}, 0, {0}},
        {"edge_rkd", {{"z", {0}}, {"teacher_z", {0, 0, 0, 0, 0, 1, 2, 3, 4, 5}}}, 15, {0}},
        {"edge_rkd", {{"z", {1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 5, 4, 3, 2, 1}}, {"teacher_z", {0}}}, 0, {0}},
        {"edge_channels", {{"flat", {0}}}, 96, {0}},
        {"edge_boundaries", // at the margins, and at the teacher's 0
         {{"z", {-1, -1, 1, 2, 0, 0, 3}}, {"teacher_z", {0, -2, 1, 1, 0, 2, -5}}}, 7, {0, 0, 0, 2, 2, -6, 16}},
        {"edge_clip_to", {{"z", {0}}, {"w", {0}}}, 0, {0}},
        {"edge_clip_to", {{"z", {0}}, {"w", {1, 2, 3}}}, 0, {0}},
        {"edge_clip_to", {{"z", {1, 2, 3}}, {"w", {0}}}, 0, {0}},
        {"edge_byot_final", {{"z", {1, 2, 3}}, {"w", {1, 2, 3}}, {"label", {0, 1, 2}}}, 15, {0}},
        // values all equal, partly, almost; of one direction; of none; too small to be squared
        {"edge_singular_values",
         {{"flat", {EYE, DIAGONAL(2, 2, 1, 1), DIAGONAL(-3, 3, -3, 3), SIXTEEN(1), SIXTEEN(0),
                    DIAGONAL(2e-200, 1e-200, 1e-200, 1e-200)}}},
         80, {EYE, EYE, DIAGONAL(-1, 1, -1, 1), SIXTEEN(NAN), SIXTEEN(NAN)}},
        {"edge_right_singular", // vectors of equal values have no direction, and no gradient
         {{"flat", {EYE, DIAGONAL(5, 5, 5, 5), DIAGONAL(1, 1 + 1e-9, 1, 1), SIXTEEN(0), SIXTEEN(1),
                    DIAGONAL(2e-200, 1e-200, 1e-200, 1e-200)}}}, 64, {0}},
        {"edge_left_singular",
         {{"flat", {EYE, DIAGONAL(5, 5, 5, 5), DIAGONAL(1, 1 + 1e-9, 1, 1), SIXTEEN(0), SIXTEEN(1),
                    DIAGONAL(2e-200, 1e-200, 1e-200, 1e-200)}}}, 64, {0}},
        {"edge_eigenvalues",
         {{"flat", {EYE, DIAGONAL(2, 2, 1, 1), DIAGONAL(-3, 3, -3, 3), SIXTEEN(1), SIXTEEN(0),
                    DIAGONAL(2e-200, 1e-200, 1e-200, 1e-200)}}},
         96, {EYE, EYE, EYE, SIXTEEN(NAN), EYE, EYE}}, // of full vectors it is EYE but for rounding
        {"edge_eigenvectors",
         {{"flat", {EYE, DIAGONAL(5, 5, 5, 5), DIAGONAL(1, 1 + 1e-9, 1, 1), SIXTEEN(0), SIXTEEN(1),
                    DIAGONAL(2e-100, 1e-100, 1e-100, 1e-100)}}}, 64, {0}},
        {"far_edge_kd_svd", {{"flat", {0}}, {"image", {0}}}, 0, {0}},
        {"far_edge_kd_svd", {{"flat", {SIXTEEN(1), SIXTEEN(1), SIXTEEN(2)}}, {"image", {SIXTEEN(1)}}},
         0, {0}},
        {"edge_attention_transfer", {{"flat", {0}}}, 96, {0}},
    };
    // clang-format on
    Twin t;
    twin_init(&t, EDGE | FAR);
    size_t blocks = 0, seen = 0;
    for (size_t i = 0; i < t.plain->graphs.count; i++)
        blocks += t.plain->graphs.at[i]->role == GRAPH_STEP;
    for (size_t i = 0; i < COUNT(edges); i++) {
        const Edge *edge = &edges[i];
        seen += i == 0 || strcmp(edge->name, edges[i - 1].name) != 0;
        for (size_t k = 0; k < COUNT(edge->field) && edge->field[k].name; k++)
            twin_set_input(&t, edge->name, edge->field[k].name, edge->field[k].value);
        twin_run(&t, edge->name, "step0");
        Graph *graph = block(t.plain, edge->name, "step0");
        for (int compiled = 0; compiled < 2; compiled++) {
            for (size_t n = 0; n < graph->nodes.count; n++) { // all that comes out is finite
                const Node *node = graph->nodes.at[n];
                if (node->op != OP_output)
                    continue;
                const double *found = twin_output(&t, edge->name, node->attrs->name, compiled);
                for (int e = 0; e < type_count(&node->type); e++)
                    close_to(edge->name, node->attrs->name, compiled, e, found, NAN, 0);
            }
            const double *d = twin_output(&t, edge->name, "d0", compiled);
            for (int e = 0; e < edge->count; e++)
                close_to(edge->name, "d0", compiled, e, d, edge->d[e], 1e-12);
        }
    }
    assert_int_equal(seen, blocks);
    twin_release(&t);
}

typedef struct Expected {
    const char *name;
    double value, tolerance;
} Expected;

static void expect(Twin *t, const char *name, const Expected *expected, size_t count) {
    const Graph *graph = block(t->plain, name, "step0");
    size_t reports = 0;
    for (size_t i = 0; i < graph->nodes.count; i++)
        reports += graph->nodes.at[i]->op == OP_report;
    assert_int_equal(reports, count);
    twin_run(t, name, "step0");
    for (int compiled = 0; compiled < 2; compiled++)
        for (size_t i = 0; i < count; i++)
            close_to(name, expected[i].name, compiled, 0,
                     twin_output(t, name, expected[i].name, compiled), expected[i].value,
                     expected[i].tolerance);
}

static int passed(double at, const double *marks, int count) {
    int n = 0;
    for (int i = 0; i < count; i++)
        n += at >= marks[i];
    return n;
}

static void schedules_at(Twin *t, int e, double p) {
    const double near = 1e-13;
    const double half = (1 + cos(acos(-1) * p)) / 2;
    const Expected expected[] = {
        {"constant", 0.3, near},
        {"step", 1.5 / (1 << e / 3), near},
        {"step_default",
         e < 30   ? 2
         : e < 60 ? 0.2
                  : 0.02,
         near},
        {"multistep", 0.4 * pow(10, -passed(e, (double[]){2, 5, 6}, 3)), near},
        {"multistep_factor", e < 3 ? 0.4 : 0.08, near},
        {"cosine", 0.8 * half, near},
        {"cosine_end", 0.1 + 0.7 * half, near},
        {"polynomial", 0.7 * (1 - p) * (1 - p), near},
        {"polynomial_end", 0.2 + 0.5 * exp(0.9 * log(1 - p)), near},
        {"warmup", e < 5 ? 0.6 * (e + 1) / 5 : 0.6, near},
        {"warmup_of", (e < 3 ? (e + 1) / 3.0 : 1) * 0.6 * half, near},
        {"edt_imagenet", (e < 30 ? 0 : 2) + 6 * pow(0.9, (e + 1) / 30), near},
        {"edt_cifar", (e < 60 ? 0 : 1.7) + (e < 59 ? 3 : 2.4), near},
        {"cosine_ramp", e < 10 ? (cos(acos(-1) * e / 10) - 1) / 2 : -1, near},
        {"gauss_ramp", e < 20 ? 2 * exp(-5 * pow(1 - e / 20.0, 2)) : 2, near},
        {"sigmoid_ramp", e < 19 ? 1 / (1 + exp(-e)) : 1, near},
        {"early_decay",
         p < 0.3   ? 6
         : p < 0.8 ? 5.4
                   : 4.86,
         near},
        {"early_decay_of", 6 / pow(2, passed(p, (double[]){0.25, 0.5, 0.75}, 3)), near},
    };
    twin_set_scalar(t, "epoch", e);
    twin_set_scalar(t, "progress", p);
    expect(t, "value_schedules", expected, COUNT(expected));
}

static void metrics_of(Twin *t, const double *z, const double *label) {
    double top[K + 1] = {0};
    for (int n = 0; n < N; n++) {
        int before = 0, y = (int)label[n];
        if (y < 0 || y >= K)
            continue;
        for (int k = 0; k < K; k++)
            before += z[n * K + k] > z[n * K + y] || (z[n * K + k] == z[n * K + y] && k < y);
        for (int k = before + 1; k <= K; k++)
            top[k] += 1.0 / N;
    }
    twin_set_input(t, "value_metrics", "z", z);
    twin_set_input(t, "value_metrics", "label", label);
    expect(t, "value_metrics",
           (Expected[]){{"top1", top[1], 1e-15}, {"top2", top[2], 1e-15}, {"top5", top[5], 1e-15}},
           3);
}

/// 15 scores of pairs; by counting, threshold by threshold and pair by pair.
static void pairs_of(Twin *t, const double *score, const double *truth) {
    enum { COUNT_OF_PAIRS = 15 };
    int best = 0, positive = 0;
    double area = 0;
    for (int at = -1; at < COUNT_OF_PAIRS; at++) { // -1: none is said to be the same
        int right = 0;
        for (int i = 0; i < COUNT_OF_PAIRS; i++)
            right += (at >= 0 && score[i] >= score[at]) == (truth[i] == 1);
        best = right > best ? right : best;
    }
    for (int i = 0; i < COUNT_OF_PAIRS; i++) {
        positive += truth[i] == 1;
        for (int k = 0; k < COUNT_OF_PAIRS && truth[i] == 1; k++)
            area += truth[k] == 0 ? (score[i] > score[k]) + 0.5 * (score[i] == score[k]) : 0;
    }
    area /= positive * (COUNT_OF_PAIRS - positive);
    twin_set_input(t, "value_pairs", "z", score);
    twin_set_input(t, "value_pairs", "w", truth);
    expect(t, "value_pairs",
           (Expected[]){{"best", best / (double)COUNT_OF_PAIRS, 1e-15}, {"area", area, 1e-15}}, 2);
}

static void values_are_as_documented(void **state) {
    (void)state;
    Twin t;
    twin_init(&t, VALUE);
    const int epochs[] = {0, 1, 2, 3, 4, 5, 6, 29, 30, 61};
    const double progress[] = {0, 0.125, 0.25, 0.3, 0.5, 0.75, 0.8, 0.875, 0.96875, 0.5};
    for (size_t i = 0; i < COUNT(epochs); i++)
        schedules_at(&t, epochs[i], progress[i]);
    metrics_of(&t, (double[]){1, 2, 3, 4, 5, 5, 5, 0, 5, 5, 0, 0, 0, 0, 0}, (double[]){4, 1, 0});
    metrics_of(&t, (double[]){1, 2, 3, 4, 5, 5, 5, 0, 5, 5, 0, 0, 0, 0, 0}, (double[]){3, 0, 4});
    metrics_of(&t, (double[]){-1, -2, -3, -4, -5, 0, 1, 0, 1, 0, 3, 3, 2, 1, 0},
               (double[]){0, 3, 2});
    pairs_of(&t, (double[]){3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9},
             (double[]){0, 0, 1, 1, 0, 1, 0, 1, 0, 0, 1, 1, 1, 0, 1});
    pairs_of(&t, (double[]){3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9}, // none is best said
             (double[]){0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0});
    // 4,320 draws: five deviations of the variance, of a normal and of a uniform distribution
    const double normal = 5 * sqrt(2.0 / 4320), flat = 5 * sqrt(0.8 / 4320), most = 0.01;
    const Expected init[] = {
        {"he_normal", 1, normal},
        {"he_normal_out", 1, normal},
        {"he_uniform", 1, flat},
        {"he_uniform_largest", 1, most},
        {"xavier_normal", 1, normal},
        {"xavier_uniform", 1, flat},
        {"xavier_uniform_largest", 1, most},
        {"torch_default", 1, flat},
        {"torch_default_largest", 1, most},
    };
    expect(&t, "value_init", init, COUNT(init));
    twin_release(&t);
}

// ---- optimisers ---------------------------------------------------------------------------------

typedef enum RuleKind { SGD, ADAM, ADAMW, LAMB, RMSPROP } RuleKind;

typedef struct Rule {
    const char *name;
    RuleKind kind;
    double lr, momentum, decay;
    bool nesterov;
    double beta1, beta2, eps;
    bool centered;
} Rule;

/// One element with its moments, `t` updates before this one.
static void update(const Rule *rule, int t, double g, double *p, double m[3]) {
    if (rule->kind != ADAMW)
        g += rule->decay * *p;
    if (rule->kind == RMSPROP) { // beta2 is PyTorch's alpha
        m[1] = rule->beta2 * m[1] + (1 - rule->beta2) * g * g;
        m[2] = rule->beta2 * m[2] + (1 - rule->beta2) * g;
        double spread = rule->centered ? m[1] - m[2] * m[2] : m[1];
        m[0] = rule->momentum * m[0] + g / (sqrt(spread) + rule->eps);
        *p -= rule->lr * m[0];
        return;
    }
    if (rule->kind == SGD) { // PyTorch's: the first momentum is the gradient itself
        m[0] = t == 0 ? g : rule->momentum * m[0] + g;
        double d = rule->nesterov ? g + rule->momentum * m[0] : m[0];
        *p -= rule->lr * (rule->momentum == 0 ? g : d);
        return;
    }
    if (rule->kind == ADAMW)
        *p *= 1 - rule->lr * rule->decay;
    m[0] += (1 - rule->beta1) * (g - m[0]);
    m[1] += (1 - rule->beta2) * (g * g - m[1]);
    double step = rule->lr / (1 - pow(rule->beta1, t + 1));
    *p -= step * m[0] / (sqrt(m[1] / (1 - pow(rule->beta2, t + 1))) + rule->eps);
}

/// All elements: Adam's step and the decay, made as long as the parameter.
static void update_lamb(const Rule *rule, int t, const double *g, double *p, double m[][3]) {
    double r[N * K], of_p = 0, of_r = 0;
    for (int i = 0; i < N * K; i++) {
        m[i][0] += (1 - rule->beta1) * (g[i] - m[i][0]);
        m[i][1] += (1 - rule->beta2) * (g[i] * g[i] - m[i][1]);
        double root = sqrt(m[i][1] / (1 - pow(rule->beta2, t + 1)));
        r[i] = m[i][0] / (1 - pow(rule->beta1, t + 1)) / (root + rule->eps) + rule->decay * p[i];
        of_p += p[i] * p[i];
        of_r += r[i] * r[i];
    }
    for (int i = 0; i < N * K; i++)
        p[i] -= rule->lr * sqrt(of_p / of_r) * r[i];
}

static void check_rule(Twin *t, const Rule *rule) {
    double p[N * K], m[N * K][3] = {{0}}, x[N * K], g[N * K], found[N * K];
    char storage[128];
    snprintf(storage, sizeof storage, "%s.m.p", rule->name);
    uint32_t id = storage_named(t, storage);
    for (int i = 0; i < N * K; i++)
        p[i] = sin(1 + 2 * i);
    if (block(t->plain, rule->name, "begin"))
        twin_run(t, rule->name, "begin");
    twin_set_storage(t, id, p);
    for (int step = 0; step < 3; step++) {
        for (int i = 0; i < N * K; i++) {
            x[i] = step == 1 && i == 3 ? -p[i] : cos(3 * i + 5 * step); // one gradient of 0
            g[i] = x[i] + p[i];
            if (rule->kind != LAMB)
                update(rule, step, g[i], &p[i], m[i]);
        }
        if (rule->kind == LAMB)
            update_lamb(rule, step, g, p, m);
        twin_set_input(t, rule->name, "z", x);
        twin_set_scalar(t, "iteration", step);
        twin_run(t, rule->name, "step0");
        machine_get_storage(&t->machine, id, found);
        for (int i = 0; i < N * K; i++) {
            close_to(rule->name, "p", false, i, eval_get_storage(t->state, id), p[i], 1e-12);
            close_to(rule->name, "p", true, i, found, p[i], 1e-12);
        }
    }
}

static void optimizers_update_as_documented(void **state) {
    (void)state;
    const Rule rules[] = {
        {"update_sgd", SGD, .lr = 0.1},
        {"update_sgd_decay", SGD, .lr = 0.2, .decay = 0.05},
        {"update_sgd_momentum", SGD, .lr = 0.1, .momentum = 0.8, .decay = 0.05},
        {"update_sgd_nesterov", SGD, .lr = 0.1, .momentum = 0.8, .decay = 0.05, .nesterov = true},
        {"update_adam", ADAM, .lr = 1e-3, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8},
        {"update_adam_decay", ADAM, .lr = 0.05, .decay = 0.05, .beta1 = 0.7, .beta2 = 0.8,
         .eps = 0.01},
        {"update_adamw", ADAMW, .lr = 1e-3, .decay = 0.01, .beta1 = 0.9, .beta2 = 0.999,
         .eps = 1e-8},
        {"update_adamw_decay", ADAMW, .lr = 0.05, .decay = 0.3, .beta1 = 0.7, .beta2 = 0.8,
         .eps = 0.01},
        {"update_lamb", LAMB, .lr = 1e-3, .decay = 0.01, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-6},
        {"update_lamb_decay", LAMB, .lr = 0.05, .decay = 0.3, .beta1 = 0.7, .beta2 = 0.8,
         .eps = 0.01},
        {"update_rmsprop", RMSPROP, .lr = 0.01, .beta2 = 0.99, .eps = 1e-8},
        {"update_rmsprop_momentum", RMSPROP, .lr = 0.05, .momentum = 0.7, .decay = 0.1,
         .beta2 = 0.8, .eps = 0.01},
        {"update_rmsprop_centered", RMSPROP, .lr = 0.05, .beta2 = 0.8, .eps = 0.01,
         .centered = true},
    };
    Twin t;
    twin_init(&t, UPDATE);
    for (size_t i = 0; i < COUNT(rules); i++)
        check_rule(&t, &rules[i]);
    twin_release(&t);
}

int main(int argc, char **argv) {
    source_set_init(&sources, &memory);
    if (argc > 1) // "edges*": the tests of that name
        cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(edges_are_as_documented),
        cmocka_unit_test(values_are_as_documented),
        cmocka_unit_test(optimizers_update_as_documented),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    arena_release(&memory);
    return failed;
}
