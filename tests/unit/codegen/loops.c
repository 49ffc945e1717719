// The loop IR: simplification, text out and in, verification, equality of kernels.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "codegen/loops.h"

static const char *print(const LoopKernel *kernel) {
    StrBuf text = {.arena = kernel->arena};
    loop_kernel_print(&text, kernel);
    return strbuf_text(&text);
}

/// A kernel with x: f32[1000] and loops over i in 0..10, j in 0..16; the text of `let v = expr`.
typedef struct Fixture {
    Arena arena;
    LoopKernel *k;
    LoopExpr *i, *j;
    LoopBody *body;
} Fixture;

static void fixture_init(Fixture *f) {
    *f = (Fixture){0};
    f->k = loop_kernel_new(&f->arena, "k");
    loop_buffer(f->k, "y", S_F32, BUFFER_OUT, 1000);
    LoopStmt *i = loop_for(f->k, &f->k->body, LOOP_SERIAL, "i", x_int(f->k, 0), x_int(f->k, 10), 1);
    LoopStmt *j = loop_for(f->k, &i->body, LOOP_SERIAL, "j", x_int(f->k, 0), x_int(f->k, 16), 1);
    f->i = loop_var(f->k, i);
    f->j = loop_var(f->k, j);
    f->body = &j->body;
}

static void check_text(Fixture *f, LoopExpr *expr, const char *wanted) {
    LoopStmt *loop = loop_for(f->k, f->body, LOOP_SERIAL, "t", expr, x_int(f->k, 9999), 1);
    (void)loop;
    const char *text = print(f->k), *begin = strstr(text, "for t = ") + strlen("for t = ");
    size_t length = (size_t)(strstr(begin, " .. ") - begin);
    if (length != strlen(wanted) || strncmp(begin, wanted, length))
        fail_msg("`%.*s` instead of `%s`", (int)length, begin, wanted);
    f->body->count--;
    f->k->vars.count--;
}

static void index_arithmetic_has_one_form(void **state) {
    (void)state;
    Fixture f;
    fixture_init(&f);
    LoopKernel *k = f.k;
    LoopExpr *flat = x_add(k, x_mul(k, f.i, 16), f.j);
    check_text(&f, x_add(k, f.i, x_int(k, 0)), "i");
    check_text(&f, x_mul(k, x_mul(k, f.i, 3), 4), "i * 12");
    check_text(&f, x_sub(k, flat, f.j), "i * 16");
    check_text(&f, x_offset(k, x_offset(k, f.i, 3), -3), "i");
    check_text(&f, x_offset(k, f.i, -3), "i - 3");
    check_text(&f, x_sub(k, x_int(k, 5), f.j), "5 - j");
    check_text(&f, x_sub(k, f.i, x_mul(k, f.j, 2)), "i - j * 2");
    check_text(&f, x_div(k, flat, 16), "i");
    check_text(&f, x_mod(k, flat, 16), "j");
    check_text(&f, x_div(k, flat, 8), "i * 2 + floor_div(j, 8)");
    check_text(&f, x_mod(k, flat, 8), "mod(j, 8)");
    check_text(&f, x_div(k, x_offset(k, flat, -16), 16), "i - 1");
    check_text(&f, x_mod(k, x_offset(k, x_mul(k, f.i, 4), -1), 4), "3");
    // rows one behind the other
    LoopExpr *step = x_add(k, x_mul(k, f.i, 6), x_int(k, 4));
    LoopExpr *row = x_div(k, step, 8), *column = x_mod(k, step, 8);
    check_text(&f, x_add(k, x_mul(k, row, 16), x_mul(k, column, 2)), "i * 12 + 8");
    check_text(&f, x_add(k, x_mul(k, column, 2), x_mul(k, row, 16)), "i * 12 + 8");
    check_text(&f, x_add(k, x_mul(k, row, 17), x_mul(k, column, 2)),
               "floor_div(i * 6 + 4, 8) * 17 + mod(i * 6 + 4, 8) * 2");
    check_text(&f, x_add(k, x_mul(k, x_div(k, step, 16), 8), column),
               "floor_div(i * 6 + 4, 16) * 8 + mod(i * 6 + 4, 8)");
    check_text(&f, x_add(k, x_mul(k, row, 8), x_mod(k, x_mul(k, f.j, 3), 8)),
               "floor_div(i * 6 + 4, 8) * 8 + mod(j * 3, 8)");
    check_text(&f, x2(k, X_min, f.j, x_int(k, 15)), "j");
    check_text(&f, x2(k, X_min, f.j, x_int(k, 14)), "min(j, 14)");
    check_text(&f, x2(k, X_max, f.i, x_int(k, -1)), "i");
    arena_release(&f.arena);
}

static void ranges_decide_conditions(void **state) {
    (void)state;
    Fixture f;
    fixture_init(&f);
    LoopKernel *k = f.k;
    LoopExpr *one = x_real(k, 1, S_F32), *two = x_real(k, 2, S_F32);
    assert_ptr_equal(x3(k, X_select, x_inside(k, f.j, 0, 16), one, two), one);
    assert_ptr_equal(x3(k, X_select, x_inside(k, f.j, 16, 20), one, two), two);
    assert_int_equal(x_inside(k, f.j, 1, 16)->kind, E_APPLY);
    assert_true(x_inside(k, x_sub(k, x_add(k, f.j, f.i), f.j), 0, 10)->integer);
    Interval range = x_interval(k, x_sub(k, x_mul(k, f.i, 3), f.j));
    assert_int_equal(range.lo, -15);
    assert_int_equal(range.hi, 27);
    assert_ptr_equal(x_and(k, NULL, x_bool(k, true))->operand, NULL);
    assert_true(x2(k, X_mul, two, two)->real == 4);
    assert_ptr_equal(x2(k, X_mul, one, x1(k, X_sqrt, two))->operand[0], two);
    arena_release(&f.arena);
}

static const char everything[] =
    "kernel all.of_it(x: in f32[100], y: out f32[100] over x, n: in i32[10], t: scratch f64[64], "
    "b: inout bool[3]) extents 2 {\n"
    "  let base = $0 * 3 - $1\n"
    "  parallel i = 0 .. 100 step 16 {\n"
    "    local acc: f32[2, 4]\n"
    "    local s: f64\n"
    "    s = 0.0\n"
    "    unroll k = 0 .. 4 {\n"
    "      acc[0, k] = -1.5f\n"
    "      acc[1, k] = inff\n"
    "    }\n"
    "    vector v = 0 .. min(16, 100 - i) {\n"
    "      let a = fma(x[i + v], 2.0f, acc[0, 1])\n"
    "      y[i + v] = select(0.0f < a and not(b[0]), a / (a + 1.0e-30f), exp(a) - (a - 3.0f))\n"
    "      s add= f64(a)\n"
    "      if i + v == 3 or i < $1 {\n"
    "        t[v] = 1.0000000000000001e-05\n"
    "      } else {\n"
    "        t[v] = f64(nanf)\n"
    "      }\n"
    "    }\n"
    "    {\n"
    "      let m = n[3] + 7i\n"
    "      t[index(m)] = from_bits(bits(t[0]))\n"
    "    }\n"
    "    for j = i .. base step 2 {\n"
    "      call kdrt_uniform_f64(t[0], 0, 64, $seed, $thread, $iteration)\n"
    "    }\n"
    "  }\n"
    "}\n";

static LoopKernel *read(Arena *arena, const char *text) {
    int line = 0;
    const char *message = NULL;
    LoopKernel *kernel = loop_kernel_read(arena, text, strlen(text), &line, &message);
    if (!kernel)
        fail_msg("line %d: %s", line, message);
    return kernel;
}

static void text_goes_out_and_in(void **state) {
    (void)state;
    Arena arena = {0};
    const char *once = print(read(&arena, everything));
    const char *twice = print(read(&arena, once));
    assert_string_equal(once, twice);
    // names that are not allowed, or twice there, are changed once
    LoopKernel *k = loop_kernel_new(&arena, "odd name");
    loop_buffer(k, "max", S_F32, BUFFER_IN, 1);
    loop_buffer(k, "3 x", S_F32, BUFFER_IN, 1);
    loop_buffer(k, "max", S_U8, BUFFER_OUT, 1);
    once = print(k);
    assert_string_equal(once,
                        "kernel odd_name(max.1: in f32[1], _3_x: in f32[1], max.2: out u8[1]) "
                        "{\n}\n");
    assert_string_equal(print(read(&arena, once)), once);
    arena_release(&arena);
}

typedef struct Mistake {
    const char *text;
    int line;
    const char *message; // part of it
} Mistake;

static const Mistake mistakes[] = {
    {"", 1, "no kernel"},
    {"kernel k() {\n  x = 1\n}\n", 2, "there is no `x`"},
    {"kernel k(x: in f32[4]) {\n  x[0] = 1.0f\n}\n", 4, "which is an input"},
    {"kernel k(x: out f32[4]) {\n  x[0] = 1.0\n}\n", 3, "expected a value of type f32, not f64"},
    {"kernel k(x: out f32[4]) {\n  x[4] = 1.0f\n}\n", 4, "the index 4 of x is not below 4"},
    {"kernel k(x: out f32[4]) {\n  x[1.0f] = 1.0f\n}\n", 2, "expected a value of type index"},
    {"kernel k() {\n  for i = 0 .. 4 {\n  for i = 0 .. 4 {\n", 3, "`i` is there already"},
    {"kernel k() {\n  for i = 0 .. 4 {\n", 3, "is not closed"},
    {"kernel k() {\n  for i = 0 .. 4 step 0 {}}", 2, "a step below 1"},
    {"kernel k(x: out f32[4]) {\n  for i = 0 .. 4 { }\n  x[i] = 1.0f }\n", 4, "outside its loop"},
    {"kernel k(x: out f32[4]) { let a = x[0] + 1 }", 1, "does not take these types"},
    {"kernel k(x: out f32[4]) { let a = fma(x[0], x[0]) }", 1, "takes 3 operands"},
    {"kernel k(x: out f32[4]) { let a = x[0] < x[1] < x[2] }", 1, "does not take these types"},
    {"kernel k() { let a = $0 }", 1, "there is no `$0`"},
    {"kernel k() { let a = 300u }", 1, "`300u` is no number"},
    {"kernel k() { let a = - b }", 1, "write neg"},
    {"kernel k() { local a: f32[5000] }", 1, "between 1 and 4096"},
    {"kernel k() { for i = 0 .. 2 { parallel j = 0 .. 3 { } } }", 1, "not outermost"},
    {"kernel k() { vector i = 0 .. 2 { vector j = 0 .. 3 { } } }", 1, "inside a vector loop"},
    {"kernel k() { local s: f32 narrow vector i = 0 .. 16 { s add= 1.0f } }", 1, "a narrow loop"},
    {"kernel k() { narrow i = 0 .. 2 { } }", 1, "vector"},
    {"kernel k() { local a: f32\n vector i = 0 .. 2 { a = 1.0f } }", 2, "declared outside"},
    {"kernel k() { local a: f32\n vector i = 0 .. 2 { a add= a } }", 2, "accumulates into it"},
    {"kernel k(x: out f32[4]) { parallel i = 0 .. 2 { }\n x[0] = 1.0f }", 2, "beside its parallel"},
    {"kernel k(x: out f32[4], y: out f32[5] beside x) { }", 1, "y lies beside no result like it"},
    {"kernel k(x: in f32[4], y: out f32[4] beside x) { }", 1, "y lies beside no result like it"},
    {"kernel k(x: out f32[4], y: in f32[4] beside x) { }", 1, "y lies beside no result like it"},
    {"kernel k(x: out f32[4] beside y) { }", 1, "there is no buffer `y` before"},
    {"kernel k() { local a: f32\n prefetch { if true { a = 1.0f } } }", 2, "a prefetch sets"},
};

static void mistakes_are_told(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++) {
        Arena arena = {0};
        int line = 0;
        const char *message = NULL, *text = mistakes[i].text;
        if (loop_kernel_read(&arena, text, strlen(text), &line, &message))
            fail_msg("read: %s", text);
        if (!strstr(message, mistakes[i].message) || line != mistakes[i].line)
            fail_msg("%s\ngives line %d: %s", text, line, message);
        arena_release(&arena);
    }
}

/// Cut and changed texts: any answer will do, but there must be one.
static void broken_text_does_no_harm(void **state) {
    (void)state;
    size_t length = strlen(everything);
    uint64_t random = 1;
    char *text = malloc(length + 1);
    for (int round = 0; round < 4000; round++) {
        Arena arena = {0};
        int line;
        const char *message;
        memcpy(text, everything, length + 1);
        size_t cut = length;
        for (int change = 0; change < 1 + round % 3; change++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            size_t at = (size_t)(random >> 33) % length;
            if (round % 4 == 0)
                cut = at;
            else if (round % 4 == 1)
                text[at] = everything[(random >> 20) % length];
            else
                text[at] = "(){}[],=<+-*/.0i$f\n \0\377"[(random >> 25) % 22];
        }
        loop_kernel_read(&arena, text, cut, &line, &message);
        arena_release(&arena);
    }
    free(text);
    Arena arena = {0};
    StrBuf deep = {.arena = &arena};
    strbuf_puts(&deep, "kernel k() { let a = ");
    for (int i = 0; i < 100000; i++)
        strbuf_putc(&deep, '(');
    int line;
    const char *message;
    assert_null(loop_kernel_read(&arena, deep.text, deep.length, &line, &message));
    assert_non_null(strstr(message, "nested too deep"));
    arena_release(&arena);
}

static void equal_kernels_are_one(void **state) {
    (void)state;
    Arena arena = {0};
    LoopProgram *program = loop_program_new(&arena);
    const char *format =
        "kernel %s(x: in f32[%d], y: out f32[%d]) { parallel %s = 0 .. %d { y[%s] = "
        "x[%s] * %s } }";
    const struct {
        const char *name, *var, *factor;
        int count;
        uint32_t index;
    } cases[] = {{"a", "i", "2.0f", 10, 0},
                 {"b", "j", "2.0f", 10, 0},
                 {"c", "i", "2.0f", 64, 0},
                 {"d", "i", "3.0f", 10, 1},
                 {"a", "i", "4.0f", 10, 2}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *text =
            arena_printf(&arena, format, cases[i].name, cases[i].count, cases[i].count,
                         cases[i].var, cases[i].count, cases[i].var, cases[i].var, cases[i].factor);
        assert_int_equal(loop_program_add(program, read(&arena, text)), cases[i].index);
    }
    assert_int_equal(program->kernels.at[0]->buffers.at[0].count, 64);
    assert_int_equal(loop_parallel(program->kernels.at[0])->end->integer, 64);
    assert_string_equal(program->kernels.at[2]->name, "a.2");
    arena_release(&arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(index_arithmetic_has_one_form), cmocka_unit_test(ranges_decide_conditions),
        cmocka_unit_test(text_goes_out_and_in),          cmocka_unit_test(mistakes_are_told),
        cmocka_unit_test(broken_text_does_no_harm),      cmocka_unit_test(equal_kernels_are_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
