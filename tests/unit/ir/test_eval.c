// The interpreter against numbers worked out by hand, adjoints against their ops, and the random
// numbers against the published answers.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "ir/eval.h"
#include "support/philox.h"
#include "tests/ops/op_cases.h"

#define N NAN
#define I INFINITY
enum { MOST = 40 };

// `nodes` is a graph's body that reads inputs "a", "b", "c" and whose last node is output "y".
typedef struct Example {
    const char *nodes;
    double a[MOST], b[MOST], c[MOST];
    int count;
    double y[MOST];
} Example;

static const Example examples[] = {
    // Conventions where the mathematics leaves a choice.
    {"%0 = input \"a\" : f32[4]\n%1 = sign %0\noutput \"y\" %1",
     {-3, 0, 2, N},
     {0},
     {0},
     4,
     {-1, 0, 1, 0}},
    {"%0 = input \"a\" : f32[3]\n%1 = sqrt %0\noutput \"y\" %1",
     {4, 0, -1},
     {0},
     {0},
     3,
     {2, 0, N}},
    {"%0 = input \"a\" : f32[3]\n%1 = sigmoid %0\noutput \"y\" %1",
     {0, 2e4, -2e4},
     {0},
     {0},
     3,
     {0.5, 1, 0}},
    {"%0 = input \"a\" : f32[4]\n%1 = is_finite %0\noutput \"y\" %1",
     {0, I, -I, N},
     {0},
     {0},
     4,
     {1, 0, 0, 0}},
    {"%0 = input \"a\" : f32[4]\n%1 = input \"b\" : f32[4]\n%2 = max %0, %1\noutput \"y\" %2",
     {1, N, 2, 3},
     {2, 1, N, 3},
     {0},
     4,
     {2, N, N, 3}},
    {"%0 = input \"a\" : f32[4]\n%1 = input \"b\" : f32[4]\n%2 = min %0, %1\noutput \"y\" %2",
     {1, N, 2, 3},
     {2, 1, N, 3},
     {0},
     4,
     {1, N, N, 3}},
    {"%0 = input \"a\" : i32[6]\n%1 = input \"b\" : i32[6]\n%2 = floor_div %0, %1\noutput \"y\" %2",
     {7, -7, 7, -7, 5, -2147483648.0},
     {2, 2, -2, -2, 0, -1},
     {0},
     6,
     {3, -4, -4, 3, 0, -2147483648.0}},
    {"%0 = input \"a\" : i32[5]\n%1 = input \"b\" : i32[5]\n%2 = mod %0, %1\noutput \"y\" %2",
     {7, -7, 7, -7, 5},
     {3, 3, -3, -3, 0},
     {0},
     5,
     {1, 2, -2, -1, 5}},
    {"%0 = input \"a\" : f32[3]\n%1 = input \"b\" : f32[3]\n%2 = mod %0, %1\noutput \"y\" %2",
     {7.5, -7.5, 7.5},
     {2, 2, -2},
     {0},
     3,
     {1.5, 0.5, -0.5}},
    {"%0 = input \"a\" : i32[2]\n%1 = add %0, %0\noutput \"y\" %1",
     {2147483647.0, 4},
     {0},
     {0},
     2,
     {-2, 8}},
    {"%0 = input \"a\" : f32[6]\n%1 = cast %0 : i32[6]\noutput \"y\" %1",
     {1.9, -1.9, N, 1e20, -1e20, 0},
     {0},
     {0},
     6,
     {1, -1, 0, 2147483647.0, -2147483648.0, 0}},
    {"%0 = input \"a\" : f32[4]\n%1 = cast %0 : u8[4]\noutput \"y\" %1",
     {-3, 300, 7.9, N},
     {0},
     {0},
     4,
     {0, 255, 7, 0}},
    {"%0 = input \"a\" : f32[3]\n%1 = cast %0 : bool[3]\noutput \"y\" %1",
     {0, -0.5, N},
     {0},
     {0},
     3,
     {0, 1, 1}},
    {"%0 = input \"a\" : bool[2]\n%1 = input \"b\" : f32[2]\n%2 = input \"c\" : f32[]\n"
     "%3 = where %0, %1, %2\noutput \"y\" %3",
     {1, 0},
     {5, N},
     {2},
     2,
     {5, 2}},
    // Searches: the first of equals, and a NaN above (or below) all.
    {"%0 = input \"a\" : f32[5]\n%1 = argmax %0 {axes=[0]}\noutput \"y\" %1",
     {1, 7, 3, 7, -I},
     {0},
     {0},
     1,
     {1}},
    {"%0 = input \"a\" : f32[5]\n%1 = argmin %0 {axes=[0]}\noutput \"y\" %1",
     {1, -7, 3, -7, N},
     {0},
     {0},
     1,
     {4}},
    {"%0 = input \"a\" : f32[2, 3]\n%1 = argmax %0 {axes=[0, 1]}\noutput \"y\" %1",
     {1, 2, 3, 4, 9, 6},
     {0},
     {0},
     1,
     {4}},
    {"%0 = input \"a\" : f32[3]\n%1 = argmax %0 {axes=[]}\noutput \"y\" %1",
     {1, 2, 3},
     {0},
     {0},
     3,
     {0, 0, 0}},
    {"%0 = input \"a\" : f32[3]\n%1 = reduce_max %0 {axes=[0]}\noutput \"y\" %1",
     {1, N, 3},
     {0},
     {0},
     1,
     {N}},
    {"%0 = input \"a\" : i32[2, 3]\n%1 = reduce_min %0 {axes=[1], keep}\noutput \"y\" %1",
     {3, 1, 2, -1, 5, 0},
     {0},
     {0},
     2,
     {1, -1}},
    // Reductions.
    {"%0 = input \"a\" : f32[2, 3]\n%1 = sum %0 {axes=[0]}\noutput \"y\" %1",
     {1, 2, 3, 4, 5, 6},
     {0},
     {0},
     3,
     {5, 7, 9}},
    {"%0 = input \"a\" : f32[3]\n%1 = sum %0 {axes=[]}\noutput \"y\" %1",
     {1, 2, 3},
     {0},
     {0},
     3,
     {1, 2, 3}},
    {"%0 = input \"a\" : f32[4]\n%1 = variance %0 {axes=[0], correction=1}\noutput \"y\" %1",
     {1, 3, 5, 7},
     {0},
     {0},
     1,
     {20.0 / 3}},
    {"%0 = input \"a\" : f32[4]\n%1 = variance %0 {axes=[0], correction=0}\noutput \"y\" %1",
     {1, 3, 5, 7},
     {0},
     {0},
     1,
     {5}},
    // Views.
    {"%0 = input \"a\" : f32[2, 3]\n%1 = transpose %0 {perm=[1, 0]}\noutput \"y\" %1",
     {1, 2, 3, 4, 5, 6},
     {0},
     {0},
     6,
     {1, 4, 2, 5, 3, 6}},
    {"%0 = input \"a\" : f32[5]\n%1 = slice %0 {start=[1], limit=[5], step=[2]}\noutput \"y\" %1",
     {1, 2, 3, 4, 5},
     {0},
     {0},
     2,
     {2, 4}},
    {"%0 = input \"a\" : f32[2]\n%1 = pad %0 {low=[1], high=[2], value=9}\noutput \"y\" %1",
     {1, 2},
     {0},
     {0},
     5,
     {9, 1, 2, 9, 9}},
    {"%0 = input \"a\" : f32[2, 2]\n%1 = reverse %0 {axes=[1]}\noutput \"y\" %1",
     {1, 2, 3, 4},
     {0},
     {0},
     4,
     {2, 1, 4, 3}},
    {"%0 = input \"a\" : f32[2, 1]\n%1 = input \"b\" : f32[2, 2]\n%2 = concat %0, %1 "
     "{axis=1}\noutput \"y\" %2",
     {1, 2},
     {3, 4, 5, 6},
     {0},
     6,
     {1, 3, 4, 2, 5, 6}},
    {"%0 = input \"a\" : f32[2, 1]\n%1 = broadcast %0 : f32[2, 2, 2]\noutput \"y\" %1",
     {1, 2},
     {0},
     {0},
     8,
     {1, 1, 2, 2, 1, 1, 2, 2}},
    {"%0 = iota {axis=1} : i32[2, 3]\noutput \"y\" %0", {0}, {0}, {0}, 6, {0, 1, 2, 0, 1, 2}},
    // Rows: indices out of range read and write the nearest; equal ones in order.
    {"%0 = input \"a\" : f32[3, 2]\n%1 = input \"b\" : i32[3]\n%2 = take %0, %1 {axis=0}\noutput "
     "\"y\" %2",
     {1, 2, 3, 4, 5, 6},
     {-5, 9, 1},
     {0},
     6,
     {1, 2, 5, 6, 3, 4}},
    {"%0 = input \"a\" : f32[2, 3]\n%1 = input \"b\" : i32[2]\n%2 = take %0, %1 {axis=1}\noutput "
     "\"y\" %2",
     {1, 2, 3, 4, 5, 6},
     {2, 0},
     {0},
     4,
     {3, 1, 6, 4}},
    {"%0 = input \"a\" : f32[3]\n%1 = input \"b\" : i32[3]\n%2 = input \"c\" : f32[3]\n"
     "%3 = put %0, %1, %2 {axis=0}\noutput \"y\" %3",
     {1, 2, 3},
     {0, 0, 7},
     {4, 5, 6},
     3,
     {5, 2, 6}},
    {"%0 = input \"a\" : f32[3]\n%1 = input \"b\" : i32[3]\n%2 = input \"c\" : f32[3]\n"
     "%3 = put_add %0, %1, %2 {axis=0}\noutput \"y\" %3",
     {1, 2, 3},
     {0, 0, 7},
     {4, 5, 6},
     3,
     {10, 2, 9}},
    // Contractions.
    {"%0 = input \"a\" : f32[2, 2]\n%1 = input \"b\" : f32[1, 2]\n%2 = einsum %0, %1 "
     "{spec=\"nk,mk->nm\"}\noutput \"y\" %2",
     {1, 2, 3, 4},
     {5, 6},
     {0},
     2,
     {17, 39}},
    {"%0 = input \"a\" : f32[2, 2]\n%1 = input \"b\" : f32[2]\n%2 = einsum %0, %1 "
     "{spec=\"ab,c->b\"}\noutput \"y\" %2",
     {1, 2, 3, 4},
     {5, 6},
     {0},
     2,
     {44, 66}},
    {"%0 = input \"a\" : f32[1, 1, 3, 3]\n%1 = input \"b\" : f32[1, 1, 2, 2]\n"
     "%2 = conv2d %0, %1 {stride=[1, 1], padding=[0, 0, 0, 0], dilation=[1, 1], groups=1}\noutput "
     "\"y\" %2",
     {1, 2, 3, 4, 5, 6, 7, 8, 9},
     {1, 0, 0, 10},
     {0},
     4,
     {51, 62, 84, 95}},
    {"%0 = input \"a\" : f32[1, 2, 1, 3]\n%1 = input \"b\" : f32[2, 1, 1, 2]\n" // padding: top,
                                                                                // left, bottom,
                                                                                // right
     "%2 = conv2d %0, %1 {stride=[1, 2], padding=[0, 1, 0, 0], dilation=[1, 1], groups=2}\noutput "
     "\"y\" %2",
     {1, 2, 3, 4, 5, 6},
     {1, 10, 100, 1000},
     {0},
     4,
     {10, 32, 4000, 6500}},
    {"%0 = input \"a\" : f32[1, 1, 1, 4]\n"
     "%1 = windows %0 {kernel=[1, 2], stride=[1, 2], padding=[0, 1, 0, 1], dilation=[1, 2], "
     "value=7}\noutput \"y\" %1",
     {1, 2, 3, 4},
     {0},
     {0},
     4,
     {7, 2, 2, 4}},
    {"%0 = input \"a\" : f32[1, 1, 1, 3, 1, 2]\n"
     "%1 = fold %0 {kernel=[1, 2], stride=[1, 1], padding=[0, 0, 0, 0], dilation=[1, 1]} : f32[1, "
     "1, 1, 4]\noutput \"y\" %1",
     {1, 2, 3, 4, 5, 6},
     {0},
     {0},
     4,
     {1, 5, 9, 6}},
};

static Module *read_module(Arena *arena, const char *nodes) {
    int line = 0;
    const char *message;
    const char *text = arena_printf(arena, "graph \"g\" free {\n%s\n}\n", nodes);
    Module *module = module_read(arena, text, strlen(text), &line, &message);
    if (!module)
        fail_msg("line %d: %s\n%s", line, message, text);
    message = module_verify(module, arena);
    if (message)
        fail_msg("%s", message);
    return module;
}

static bool agree(double a, double b) {
    return a == b || (isnan(a) && isnan(b)) || fabs(a - b) <= 1e-6 * fabs(b);
}

static void examples_by_hand(void **state) {
    (void)state;
    for (size_t e = 0; e < sizeof examples / sizeof *examples; e++) {
        const Example *example = &examples[e];
        for (int precision = EVAL_F32; precision <= EVAL_F128; precision++) {
            Arena arena = {0};
            Type type;
            Module *module = read_module(&arena, example->nodes);
            EvalState *eval = eval_new(&arena, module, (EvalPrecision)precision);
            eval_set_input(eval, "a", example->a);
            eval_set_input(eval, "b", example->b);
            eval_set_input(eval, "c", example->c);
            eval_run(eval, module->graphs.at[0]);
            const double *y = eval_get_output(eval, "y", &type);
            assert_int_equal(type_count(&type), example->count);
            for (int i = 0; i < example->count; i++) {
                if (!agree(y[i], example->y[i]))
                    fail_msg("%s\n[%d] is %g, should be %g", example->nodes, i, y[i],
                             example->y[i]);
            }
            arena_release(&arena);
        }
    }
}

// ---- adjoints
// -------------------------------------------------------------------------------------

static double dot(const double *a, const double *b, int64_t count) {
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += a[i] * b[i];
    return sum;
}

// Small whole numbers: every sum of products is exact in double.
static void fill_whole(const CaseInput *input, uint64_t seed, double *value) {
    CaseInput whole = *input;
    whole.values = CASE_INTEGERS;
    whole.low = -4;
    whole.high = 4;
    op_case_fill(&whole, seed, value);
}

static const double *run_case(Arena *arena, Op op, size_t i, const double *first,
                              const double *second, OpCase *c) {
    Module *module = module_new(arena, "adjoint", DT_F64);
    op_case_build(op, i, module, c);
    EvalState *eval = eval_new(arena, module, EVAL_F64);
    eval_set_input(eval, "a", first);
    if (second)
        eval_set_input(eval, "b", second);
    eval_run(eval, c->graph);
    return eval_get_output(eval, "y", NULL);
}

// <conv(x, w), dy> = <x, conv_input(dy, w)> = <w, conv_weight(x, dy)>, in every case.
static void convolutions_are_adjoint(void **state) {
    (void)state;
    for (size_t i = 0; i < op_case_count(OP_conv2d); i++) {
        Arena arena = {0};
        OpCase c;
        op_case_build(OP_conv2d, i, module_new(&arena, "shapes", DT_F64), &c);
        if (!c.differentiable) { // the three leave out different channels
            arena_release(&arena);
            continue;
        }
        CaseInput result = {.node = c.result, .index = 2};
        int64_t count_x = type_count(&c.input[0].node->type);
        int64_t count_weight = type_count(&c.input[1].node->type);
        int64_t count_y = type_count(&c.result->type);
        double *x = arena_array(&arena, double, (size_t)count_x);
        double *weight = arena_array(&arena, double, (size_t)count_weight);
        double *dy = arena_array(&arena, double, (size_t)count_y);
        fill_whole(&c.input[0], 1, x);
        fill_whole(&c.input[1], 2, weight);
        fill_whole(&result, 3, dy);
        double forward = dot(run_case(&arena, OP_conv2d, i, x, weight, &c), dy, count_y);
        double input = dot(run_case(&arena, OP_conv2d_input, i, dy, weight, &c), x, count_x);
        double kernel = dot(run_case(&arena, OP_conv2d_weight, i, x, dy, &c), weight, count_weight);
        assert_true(forward == input && forward == kernel);
        arena_release(&arena);
    }
}

static void fold_is_the_adjoint_of_windows(void **state) {
    (void)state;
    for (size_t i = 0; i < op_case_count(OP_windows); i++) {
        Arena arena = {0};
        OpCase windows, fold;
        double x[MOST * MOST], dy[MOST * MOST];
        Module *module = module_new(&arena, "shapes", DT_F64);
        op_case_build(OP_windows, i, module, &windows);
        op_case_build(OP_fold, i, module, &fold);
        if (isfinite(windows.node->attrs->value) && windows.node->attrs->value == 0) {
            fill_whole(&windows.input[0], 1, x);
            fill_whole(&fold.input[0], 2, dy);
            double forward = dot(run_case(&arena, OP_windows, i, x, NULL, &windows), dy,
                                 type_count(&fold.input[0].node->type));
            double back = dot(run_case(&arena, OP_fold, i, dy, NULL, &fold), x,
                              type_count(&windows.input[0].node->type));
            assert_true(forward == back);
        }
        arena_release(&arena);
    }
}

// ---- random numbers
// -------------------------------------------------------------------------------

// The known answers that come with the authors' Random123.
static void philox_gives_the_published_words(void **state) {
    (void)state;
    static const struct {
        uint32_t counter[4], key[2], word[4];
    } answers[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        uint32_t word[4];
        philox4x32(answers[i].key, answers[i].counter, word);
        assert_memory_equal(word, answers[i].word, sizeof word);
    }
}

static void draws_have_their_moments(void **state) {
    (void)state;
    enum { DRAWS = 200000 };
    double mean[2] = {0}, square[2] = {0};
    for (uint64_t i = 0; i < DRAWS; i++) {
        double uniform = philox_uniform(1, 2, 3, i), normal = philox_normal(1, 2, 3, i);
        assert_true(uniform >= 0 && uniform < 1 && fabs(normal) < 5.8);
        mean[0] += uniform / DRAWS;
        square[0] += uniform * uniform / DRAWS;
        mean[1] += normal / DRAWS;
        square[1] += normal * normal / DRAWS;
    }
    // Five standard errors of each.
    assert_true(fabs(mean[0] - 0.5) < 5 * sqrt(1.0 / 12 / DRAWS));
    assert_true(fabs(square[0] - 1.0 / 3) < 5 * sqrt(4.0 / 45 / DRAWS));
    assert_true(fabs(mean[1]) < 5 * sqrt(1.0 / DRAWS));
    assert_true(fabs(square[1] - 1) < 5 * sqrt(2.0 / DRAWS));
}

// ---- state
// ----------------------------------------------------------------------------------------

static void a_write_shows_after_the_run(void **state) {
    (void)state;
    Arena arena = {0};
    Module *module = module_new(&arena, "m", DT_F32);
    const Storage *s = module_add_storage(module, STORAGE_STATE, "s",
                                          &(Type){.dtype = DT_F32, .rank = 1, .dim = {2}});
    Graph *graph = module_add_graph(module, "g", GRAPH_STEP, -1);
    Node *before = ir_read(graph, s);
    ir_write(graph, s, ir_binary(graph, OP_add, before, ir_const(graph, 1, DT_F32)));
    ir_output(graph, "y", ir_read(graph, s));
    EvalState *eval = eval_new(&arena, module, EVAL_F32);
    eval_set_storage(eval, s->id, (double[]){5, 6});
    for (int step = 0; step < 1000; step++)
        eval_run(eval, graph);
    assert_true(eval_get_output(eval, "y", NULL)[1] == 1005);
    assert_true(eval_get_storage(eval, s->id)[1] == 1006);
    assert_null(eval_get_output(eval, "z", NULL));
    assert_true(arena.used_bytes < 64 << 10); // runs use their memory again
    arena_release(&arena);
}

// ---- bounds
// ---------------------------------------------------------------------------------------

// Two layers and a log-softmax: the bound of the whole holds, and is not so wide as to say nothing.
static void bounds_of_a_network_hold_and_help(void **state) {
    (void)state;
    static const char nodes[] = "%0 = input \"a\" : f32[4, 8]\n"
                                "%1 = input \"b\" : f32[5, 8]\n"
                                "%2 = einsum %0, %1 {spec=\"nk,mk->nm\"}\n"
                                "%3 = const 0 : f32[]\n"
                                "%4 = max %2, %3\n"
                                "%5 = reduce_max %4 {axes=[1], keep}\n"
                                "%6 = sub %4, %5\n"
                                "%7 = exp %6\n"
                                "%8 = sum %7 {axes=[1], keep}\n"
                                "%9 = log %8\n"
                                "%10 = sub %6, %9\n"
                                "output \"y\" %10\n"
                                "%11 = lt %3, %4\n"
                                "%12 = where %11, %10, %3\n"
                                "output \"masked\" %12";
    double a[32], b[40];
    for (uint64_t seed = 0; seed < 50; seed++) {
        Arena arena = {0};
        Module *module = read_module(&arena, nodes);
        EvalState *single = eval_new(&arena, module, EVAL_F32);
        EvalState *quad = eval_new(&arena, module, EVAL_F128);
        for (uint64_t i = 0; i < 40; i++) {
            a[i % 32] = (float)philox_normal(seed, 0, 0, i % 32);
            b[i] = (float)philox_normal(seed, 1, 0, i);
        }
        eval_set_input(single, "a", a);
        eval_set_input(single, "b", b);
        eval_set_input(quad, "a", a);
        eval_set_input(quad, "b", b);
        eval_track_bounds(single, true);
        eval_run(single, module->graphs.at[0]);
        eval_run(quad, module->graphs.at[0]);
        const double *bound = eval_get_bound(single, "y");
        for (int i = 0; i < 20; i++) {
            double error =
                fabs(eval_get_output(single, "y", NULL)[i] - eval_get_output(quad, "y", NULL)[i]);
            assert_true(error <= bound[i] && bound[i] < 1e-4);
            assert_true(eval_get_bound(single, "masked")[i] < INFINITY);
        }
        arena_release(&arena);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(examples_by_hand),
        cmocka_unit_test(convolutions_are_adjoint),
        cmocka_unit_test(fold_is_the_adjoint_of_windows),
        cmocka_unit_test(philox_gives_the_published_words),
        cmocka_unit_test(draws_have_their_moments),
        cmocka_unit_test(a_write_shows_after_the_run),
        cmocka_unit_test(bounds_of_a_network_hold_and_help),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
