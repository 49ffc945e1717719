// tests/unit/codegen/keep.c -- which values chain_keep() has made twice, on launches made by hand.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "codegen/chain.h"

/// A chain of a launch that writes y and one that reads it, and one behind it that reads it too.
/// Each field is what differs from a value that is to be kept.
typedef struct Case {
    const char *body; // of the kernel that makes y; NULL: one store
    int64_t size_bytes, read_from, flops;
    bool is_unchained, in_place, falls_not, reader_falls_not, reads_x;
} Case;

enum { PARTS = 16, SIZE = 1 << 20 };

static const char program_text[] = "kernel make(x: in f32[262144], y: out f32[262144]) {\n"
                                   "  parallel i = 0 .. 16 {\n%s  }\n}\n"
                                   "kernel read(y: in f32[262144], s: out f32[16]) {\n"
                                   "  parallel i = 0 .. 16 {\n    s[i] = y[i]\n  }\n}\n";

static Launch launch_of(Arena *arena, uint32_t kernel, Buffer in, Buffer out, int64_t parts) {
    Buffer *argument = arena_array(arena, Buffer, 2);
    Parts *falls = arena_array(arena, Parts, 2);
    argument[0] = in;
    argument[1] = out;
    falls[0] = falls[1] = (Parts){{PARTS}, 1};
    return (Launch){.kernel = kernel,
                    .argument = argument,
                    .falls = falls,
                    .argument_count = 2,
                    .iterations = PARTS,
                    .parts = parts};
}

/// Whether the first launch keeps its result.
static bool keeps(Case c) {
    Arena arena = {0};
    int line;
    const char *message;
    const char *text =
        arena_printf(&arena, program_text, c.body ? c.body : "    y[i] = x[i] + 1.0f\n");
    LoopProgram *program = loop_program_read(&arena, text, strlen(text), &line, &message);
    assert_non_null(program);
    int64_t size = c.size_bytes ? c.size_bytes : SIZE;
    Buffer y = {.space = SPACE_STEP, .size_bytes = size};
    Buffer part = {.space = SPACE_STEP, .offset_bytes = c.read_from, .size_bytes = size};
    Buffer x = {.space = SPACE_INPUT, .size_bytes = size}, s = {.space = SPACE_OUTPUT};
    int64_t parts = c.is_unchained ? 0 : PARTS;
    LoopGraph graph = {.name = "g"};
    Launch make = launch_of(&arena, 0, c.in_place ? y : x, y, parts);
    Launch near = launch_of(&arena, 1, c.reads_x ? x : y, s, parts);
    Launch far = launch_of(&arena, 1, part, s, 0);
    make.flops = c.flops ? c.flops : size;
    near.chained = !c.is_unchained;
    if (c.falls_not)
        ((Parts *)make.falls)[1].count = 0;
    if (c.reader_falls_not)
        ((Parts *)near.falls)[0].count = 0;
    vec_push(&arena, &graph.launches, make);
    vec_push(&arena, &graph.launches, near);
    vec_push(&arena, &graph.launches, far);
    vec_push(&arena, &program->graphs, &graph);
    chain_keep(program);
    const Launch *made = graph.launches.at;
    bool kept = vec_last(&program->kernels.at[made->kernel]->buffers).beside == 2;
    assert_int_equal(made->argument_count, kept ? 3 : 2);
    assert_int_equal(program->kernels.count, 2); // no copy, as all launches keep it
    arena_release(&arena);
    return kept;
}

static void what_is_read_here_and_there_is_kept(void **state) {
    (void)state;
    assert_true(keeps((Case){0}));
    assert_true(keeps((Case){.size_bytes = 16 * SIZE}));
    assert_true(keeps((Case){.flops = 8 * SIZE}));
}

static void it_has_to_be_worth_it(void **state) {
    (void)state;
    assert_false(keeps((Case){.size_bytes = SIZE / 2}));
    assert_false(keeps((Case){.size_bytes = 32 * SIZE})); // 2 MB a part
    assert_false(keeps((Case){.flops = 8 * SIZE + 1}));
    assert_false(keeps((Case){.flops = -1}));
    assert_false(keeps((Case){.reads_x = true})); // nobody in the chain reads it back
}

static void only_whole_values_of_chains(void **state) {
    (void)state;
    assert_false(keeps((Case){.is_unchained = true}));
    assert_false(keeps((Case){.in_place = true}));
    assert_false(keeps((Case){.read_from = 64})); // by the launch behind the chain
    assert_false(keeps((Case){.falls_not = true}));
    assert_false(keeps((Case){.reader_falls_not = true}));
    assert_false(keeps((Case){.size_bytes = SIZE + 16 * 32})); // lines that two parts share
}

// What is read back while it is made would be written to memory several times.
static void only_what_is_stored_once(void **state) {
    (void)state;
    assert_false(keeps((Case){.body = "    y[i] = x[i]\n    y[i] = y[i] + 1.0f\n"}));
    assert_false(keeps((Case){.body = "    call kdrt_uniform_f32(y[0], $lo, $hi, $seed, 1, 2)\n"}));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_read_here_and_there_is_kept),
        cmocka_unit_test(it_has_to_be_worth_it),
        cmocka_unit_test(only_whole_values_of_chains),
        cmocka_unit_test(only_what_is_stored_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
