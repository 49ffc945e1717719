// tests/unit/codegen/test_lower.c -- the loops that lowering makes: which, not whether they are
// right (tests/differ holds what they compute against the interpreter).
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "codegen/chain.h"
#include "codegen/codegen.h"

static Arena arena;

static int reset(void **state) {
    (void)state;
    arena_release(&arena);
    return 0;
}

static LoopProgram *lower_for(const char *text, int64_t register_bytes) {
    int line = 0;
    const char *message = NULL;
    Module *module = module_read(&arena, text, strlen(text), &line, &message);
    if (!module)
        fail_msg("line %d: %s", line, message);
    assert_null(module_verify(module, &arena));
    return codegen_lower(&arena, module,
                         &(CodegenOptions){.level = 2, .register_bytes = register_bytes});
}

static LoopProgram *lower(const char *text) {
    return lower_for(text, 2048);
}

static const char *loops_of(const LoopProgram *program) {
    StrBuf out = {.arena = &arena};
    for (size_t i = 0; i < program->kernels.count; i++)
        loop_kernel_print(&out, program->kernels.at[i]);
    return strbuf_text(&out);
}

// Axes that a reshape splits or merges are loops of their own, or one: no quotient is left.
static void reshapes_cost_no_quotients(void **state) {
    (void)state;
    const char *loops = loops_of(lower("module \"m\" f32\n"
                                       "graph \"g\" free {\n"
                                       "  %0 = input \"x\" : f32[64, 12, 64]\n"
                                       "  %1 = reshape %0 : f32[64, 768]\n"
                                       "  %2 = input \"b\" : f32[12]\n"
                                       "  %3 = reshape %2 : f32[12, 1]\n"
                                       "  %4 = add %0, %3\n"
                                       "  %5 = reshape %4 : f32[64, 768]\n"
                                       "  %6 = add %1, %5\n"
                                       "  %7 = output \"y\" %6\n"
                                       "  kernel %1, %3, %4, %5, %6, %7 -> %7\n"
                                       "  buffer %0 input size=196608\n"
                                       "  buffer %2 input index=1 size=48\n"
                                       "  buffer %7 output size=196608\n"
                                       "}\n"));
    assert_null(strstr(loops, "[p / "));
    assert_non_null(strstr(loops, "vector"));
    assert_null(strstr(loops, "v / "));
    assert_null(strstr(loops, "v % "));
}

// One shape throughout is one loop, cut in chunks by the shape alone.
static void one_shape_is_one_loop(void **state) {
    (void)state;
    LoopProgram *program = lower("module \"m\" f32\n"
                                 "graph \"g\" free {\n"
                                 "  %0 = input \"x\" : f32[64, 16, 32, 32]\n"
                                 "  %1 = exp %0\n"
                                 "  %2 = output \"y\" %1\n"
                                 "  kernel %1, %2 -> %2\n"
                                 "  buffer %0 input size=4194304\n"
                                 "  buffer %2 output size=4194304\n"
                                 "}\n");
    const char *loops = loops_of(program);
    assert_non_null(strstr(loops, "vector v = p * 8192 .. p * 8192 + 8192"));
    assert_non_null(strstr(loops, "input[v]"));
    assert_int_equal(program->graphs.at[0]->launches.at[0].iterations, 128);
}

// The value read and the value written lie in one buffer; the kernel says so.
static void in_place_is_said(void **state) {
    (void)state;
    LoopProgram *program = lower("module \"m\" f32\n"
                                 "graph \"g\" free step_bytes=256 {\n"
                                 "  %0 = input \"x\" : f32[64]\n"
                                 "  %1 = exp %0\n"
                                 "  %2 = neg %1\n"
                                 "  %3 = output \"y\" %2\n"
                                 "  kernel %1 -> %1\n"
                                 "  kernel %2 -> %2\n"
                                 "  kernel %3 -> %3\n"
                                 "  buffer %0 input size=256\n"
                                 "  buffer %1 step size=256\n"
                                 "  buffer %2 step size=256\n"
                                 "  buffer %3 output size=256\n"
                                 "}\n");
    const Launch *launch = &program->graphs.at[0]->launches.at[1];
    const LoopKernel *kernel = program->kernels.at[launch->kernel];
    assert_int_equal(kernel->buffers.count, 2);
    assert_int_equal(kernel->buffers.at[1].in_place, 1);
}

static void contractions_count_their_work(void **state) {
    (void)state;
    LoopProgram *program = lower("module \"m\" f32\n"
                                 "graph \"g\" free {\n"
                                 "  %0 = input \"a\" : f32[8, 32]\n"
                                 "  %1 = input \"b\" : f32[32, 24]\n"
                                 "  %2 = einsum %0, %1 {spec=\"mk,kn->mn\"}\n"
                                 "  %3 = output \"y\" %2\n"
                                 "  kernel %2, %3 -> %3\n"
                                 "  buffer %0 input size=1024\n"
                                 "  buffer %1 input index=1 size=3072\n"
                                 "  buffer %3 output size=768\n"
                                 "}\n");
    assert_int_equal(program->graphs.at[0]->launches.at[0].flops, 2 * 8 * 32 * 24);
}

// The loops of the gradient by the weight of a convolution of 64 images of `size` x `size` to 32
// filters.
static const char *weight_gradient(int channels, int size, int kernel, int padding) {
    int out = size + 2 * padding - kernel + 1;
    int x = 64 * channels * size * size * 4, dy = 64 * 32 * out * out * 4;
    int dw = 32 * channels * kernel * kernel * 4;
    const char *shape = arena_printf(&arena, "f32[64, %d, %d, %d]", channels, size, size);
    const char *result = arena_printf(&arena, "f32[64, 32, %d, %d]", out, out);
    const char *weight = arena_printf(&arena, "f32[32, %d, %d, %d]", channels, kernel, kernel);
    const char *around =
        arena_printf(&arena, "[%d, %d, %d, %d]", padding, padding, padding, padding);
    return loops_of(lower(arena_printf(
        &arena,
        "module \"m\" f32\n"
        "graph \"g\" free step_bytes=%d {\n"
        "  %%0 = input \"x\" : %s\n"
        "  %%1 = input \"dy\" : %s\n"
        "  %%2 = relayout %%0 {block=16, block_axis=1} : %s{1:16}\n"
        "  %%3 = relayout %%1 {block=16, block_axis=1} : %s{1:16}\n"
        "  %%4 = conv2d_weight %%2, %%3 {stride=[1, 1], padding=%s, dilation=[1, 1], groups=1}"
        " : %s{0:16}\n"
        "  %%5 = output \"y\" %%4\n"
        "  kernel %%2 -> %%2\n"
        "  kernel %%3 -> %%3\n"
        "  kernel %%4 -> %%4\n"
        "  kernel %%5 -> %%5\n"
        "  buffer %%0 input size=%d\n"
        "  buffer %%1 input index=1 size=%d\n"
        "  buffer %%2 step size=%d\n"
        "  buffer %%3 step offset=%d size=%d\n"
        "  buffer %%4 step offset=%d size=%d\n"
        "  buffer %%5 output size=%d\n"
        "}\n",
        x + dy + dw, shape, result, shape, result, around, weight, x, dy, x, x, dy, x + dy, dw,
        dw)));
}

// Pages of x that are short of a visit are asked for while the visit before runs; not where x comes
// in long runs or is one block, and not by kernels of several taps or with padding.
static void weight_gradients_ask_for_pages(void **state) {
    (void)state;
    const char *loops = weight_gradient(64, 8, 1, 0);
    assert_non_null(strstr(loops, "prefetch {"));
    assert_non_null(strstr(loops, "let next_cb = mod(task + 1, 4)"));
    assert_non_null(strstr(loops, "let ahead_n = select(visit + 16 < 64, visit + 16, 0)"));
    assert_non_null(strstr(loops, "let ahead_cb = select(visit + 16 < 64, task, next_cb)"));
    assert_null(strstr(weight_gradient(64, 32, 1, 0), "prefetch"));
    assert_null(strstr(weight_gradient(16, 8, 1, 0), "prefetch"));
    assert_null(strstr(weight_gradient(64, 8, 3, 0), "prefetch"));
    assert_null(strstr(weight_gradient(64, 8, 1, 1), "prefetch"));
}

// Sums that the tiles of a program keep at once, in vectors of 64 bytes: the most of all kernels.
static int64_t most_sums(const char *text, int64_t register_bytes) {
    LoopProgram *program = lower_for(text, register_bytes);
    int64_t most = 0;
    for (size_t i = 0; i < program->kernels.count; i++) {
        const LoopKernel *kernel = program->kernels.at[i];
        for (size_t k = 0; k < kernel->locals.count; k++) {
            int64_t count = loop_local_count(&kernel->locals.at[k]);
            most = !strcmp(kernel->locals.at[k].name, "sum") && count > most ? count : most;
        }
    }
    return most;
}

// One contraction of f32 of two inputs, in whole blocks.
static const char *contraction(const char *op, const char *a, const char *b, const char *c) {
    int axis = strstr(op, "weight") ? 1 : 0; // of b's blocks: channels of dy, or filters
    return arena_printf(&arena,
                        "module \"m\" f32\n"
                        "graph \"g\" free step_bytes=16777216 {\n"
                        "  %%0 = input \"a\" : f32%s\n"
                        "  %%1 = input \"b\" : f32%s\n"
                        "  %%2 = relayout %%0 {block=16, block_axis=1} : f32%s{1:16}\n"
                        "  %%3 = relayout %%1 {block=16, block_axis=%d} : f32%s{%d:16}\n"
                        "  %%4 = %s : f32%s\n"
                        "  %%5 = output \"y\" %%4\n"
                        "  kernel %%2 -> %%2\n"
                        "  kernel %%3 -> %%3\n"
                        "  kernel %%4 -> %%4\n"
                        "  kernel %%5 -> %%5\n"
                        "  buffer %%0 input size=1048576\n"
                        "  buffer %%1 input index=1 size=1048576\n"
                        "  buffer %%2 step size=1048576\n"
                        "  buffer %%3 step offset=1048576 size=1048576\n"
                        "  buffer %%4 step offset=2097152 size=1048576\n"
                        "  buffer %%5 output size=1048576\n"
                        "}\n",
                        a, b, a, axis, b, axis, op, c);
}

// Tiles keep three quarters of the registers, whatever processor it is, and of half the lanes twice
// as many.
static void tiles_fit_the_registers(void **state) {
    (void)state;
    const char *dense = "{stride=[1, 1], padding=[1, 1, 1, 1], dilation=[1, 1], groups=1}";
    const char *depthwise = "{stride=[1, 1], padding=[1, 1, 1, 1], dilation=[1, 1], groups=64}";
    const char *x = "[16, 64, 16, 16]", *w = "[64, 64, 3, 3]";
    const char *forward = contraction(arena_printf(&arena, "conv2d %%2, %%3 %s", dense), x, w,
                                      "[16, 64, 16, 16]{1:16}");
    const char *weight = contraction(arena_printf(&arena, "conv2d_weight %%2, %%3 %s", dense), x, x,
                                     "[64, 64, 3, 3]{0:16}");
    const char *groups = contraction(arena_printf(&arena, "conv2d_weight %%2, %%3 %s", depthwise),
                                     x, x, "[64, 1, 3, 3]{0:16}");
    assert_int_equal(most_sums(forward, 2048), 24);
    assert_int_equal(most_sums(forward, 512), 6);
    assert_int_equal(most_sums(forward, 256), 2); // a third would leave no register for the scalar
    assert_int_equal(most_sums(weight, 2048), 16);
    assert_int_equal(most_sums(weight, 512), 6);
    assert_int_equal(most_sums(weight, 256), 3);
    assert_int_equal(most_sums(groups, 2048), 9);
    assert_int_equal(most_sums(groups, 512), 9); // of 8 lanes
    assert_null(strstr(loops_of(lower_for(groups, 2048)), "narrow vector"));
    assert_non_null(strstr(loops_of(lower_for(groups, 512)), "narrow vector"));
    assert_null(strstr(loops_of(lower_for(forward, 2048)), "reload"));
    assert_non_null(strstr(loops_of(lower_for(forward, 512)), "reload"));
}

static const char *pointwise(const char *op, const char *a, const char *b, const char *c) {
    const char *attrs = "{stride=[1, 1], padding=[0, 0, 0, 0], dilation=[1, 1], groups=1}";
    return contraction(arena_printf(&arena, "%s %%2, %%3 %s", op, attrs), a, b, c);
}

// A 1x1 convolution's rows of 4 or 8 pixels are put together where tiles of six would not fit them,
// and the address of a pixel has no quotient then.
static void short_rows_are_put_together(void **state) {
    (void)state;
    const char *w = "[64, 64, 1, 1]", *x = "[16, 64, 8, 8]", *y = "[16, 64, 8, 8]{1:16}";
    const char *small = pointwise("conv2d", "[16, 64, 4, 4]", w, "[16, 64, 4, 4]{1:16}");
    const char *odd = pointwise("conv2d", "[16, 64, 7, 7]", w, "[16, 64, 7, 7]{1:16}");
    const char *forward = pointwise("conv2d", x, w, y);
    const char *weight = pointwise("conv2d_weight", x, x, "[64, 64, 1, 1]{0:16}");
    assert_int_equal(most_sums(forward, 512), 6);
    assert_int_equal(most_sums(small, 512), 6);
    assert_int_equal(most_sums(odd, 512), 5); // 49 are nine times 5, and 4
    const char *loops = loops_of(lower_for(forward, 512));
    assert_non_null(strstr(loops, "for tile = 0 .. 10"));
    assert_null(strstr(loops, ", 8)")); // floor_div or mod by a row's length
    assert_non_null(strstr(loops_of(lower_for(weight, 512)), "for ow = 0 .. 64 step 4"));
    assert_non_null(strstr(loops_of(lower_for(weight, 2048)), "for ow = 0 .. 8"));
    assert_null(strstr(loops_of(lower_for(forward, 2048)), "tile = 0 .. 10"));
}

// Two kernels in a row on [16, 64, 16, 16] and what it becomes: `second` stands between them and the
// end.
static const LoopGraph *two_kernels(const char *second, const char *kernel, const char *buffers) {
    const char *text = arena_printf(&arena,
                                    "module \"m\" f32\n"
                                    "graph \"g\" free step_bytes=2097152 {\n"
                                    "  %%0 = input \"x\" : f32[16, 64, 16, 16]\n"
                                    "  %%1 = exp %%0\n"
                                    "%s"
                                    "  kernel %%1 -> %%1\n"
                                    "%s"
                                    "  buffer %%0 input size=1048576\n"
                                    "  buffer %%1 step size=1048576\n"
                                    "%s"
                                    "}\n",
                                    second, kernel, buffers);
    return lower(text)->graphs.at[0];
}

static const LoopGraph *sums_by_image(void) {
    return two_kernels("  %2 = sum %1 {axes=[2, 3], keep}\n"
                       "  %3 = output \"y\" %2\n",
                       "  kernel %2, %3 -> %3\n",
                       "  buffer %3 output size=4096\n");
}

// What reads of each image what was written of it runs image by image with its source.
static void images_are_chained(void **state) {
    (void)state;
    const LoopGraph *graph = sums_by_image();
    const Launch *launch = graph->launches.at;
    assert_int_equal(graph->launches.count, 2);
    assert_int_equal(launch[0].parts, 16);
    assert_false(launch[0].chained);
    assert_true(launch[1].chained);
    assert_int_equal(launch[1].parts, 16);
    assert_int_equal(launch[0].iterations % 16, 0);
    assert_int_equal(launch[1].iterations % 16, 0);
}

// A sum over the batch needs all images: a barrier stands before it.
static void what_needs_all_images_waits(void **state) {
    (void)state;
    const LoopGraph *graph = two_kernels("  %2 = sum %1 {axes=[0, 2, 3], keep}\n"
                                         "  %3 = output \"y\" %2\n",
                                         "  kernel %2, %3 -> %3\n",
                                         "  buffer %3 output size=256\n");
    assert_int_equal(graph->launches.count, 2);
    assert_int_equal(graph->launches.at[0].parts, 0);
    assert_false(graph->launches.at[1].chained);
}

// So does one that meets the images in another order.
static void other_images_are_not_chained(void **state) {
    (void)state;
    const LoopGraph *graph = two_kernels("  %2 = reverse %1 {axes=[0]}\n"
                                         "  %3 = output \"y\" %2\n",
                                         "  kernel %2, %3 -> %3\n",
                                         "  buffer %3 output size=1048576\n");
    assert_int_equal(graph->launches.at[0].parts, 0);
    assert_false(graph->launches.at[1].chained);
}

// A third that works image by image too, but writes over what the first one wrote a line further on:
// bytes of other images.
static void overlapping_arrays_are_not_chained(void **state) {
    (void)state;
    const LoopGraph *graph = two_kernels("  %2 = sum %1 {axes=[1, 2, 3], keep}\n"
                                         "  %3 = output \"s\" %2\n"
                                         "  %4 = neg %0\n"
                                         "  %5 = output \"y\" %4\n",
                                         "  kernel %2, %3 -> %3\n"
                                         "  kernel %4 -> %4\n"
                                         "  kernel %5 -> %5\n",
                                         "  buffer %3 output size=64\n"
                                         "  buffer %4 step offset=64 size=1048576\n"
                                         "  buffer %5 output index=1 offset=64 size=1048576\n");
    const Launch *launch = graph->launches.at;
    assert_int_equal(graph->launches.count, 4);
    assert_true(launch[1].chained);
    assert_false(launch[2].chained); // what writes over %1, shifted
    assert_true(launch[3].chained);  // the output of that
}

// What has nothing to do with a chain steps out of its way.
static void strangers_step_aside(void **state) {
    (void)state;
    const LoopGraph *graph = two_kernels("  %2 = input \"w\" : f32[8, 8]\n"
                                         "  %3 = exp %2\n"
                                         "  %4 = mul %1, %1\n"
                                         "  %5 = output \"w\" %3\n"
                                         "  %6 = output \"y\" %4\n",
                                         "  kernel %3, %5 -> %5\n"
                                         "  kernel %4, %6 -> %6\n",
                                         "  buffer %2 input index=1 size=256\n"
                                         "  buffer %5 output size=256\n"
                                         "  buffer %6 output index=1 offset=256 size=1048576\n");
    const Launch *launch = graph->launches.at;
    assert_int_equal(graph->launches.count, 3);
    assert_int_equal(launch[0].parts, 0);
    assert_int_equal(launch[0].argument[0].size_bytes, 256);
    assert_int_equal(launch[1].parts, 16);
    assert_true(launch[2].chained);
}

// What is made and read in one chain lies in scratch, by parts; what is read elsewhere too does not.
static void what_stays_in_a_chain_lies_in_scratch(void **state) {
    (void)state;
    const LoopGraph *graph = sums_by_image();
    const Launch *launch = graph->launches.at;
    assert_non_null(launch[0].scratch);
    assert_int_equal(launch[0].scratch[0], -1);
    assert_int_equal(launch[0].scratch[1], 0);
    assert_int_equal(launch[1].scratch[0], 0);
    assert_int_equal(launch[1].scratch[1], -1);

    graph = two_kernels("  %2 = sum %1 {axes=[2, 3], keep}\n"
                        "  %3 = output \"y\" %2\n"
                        "  %4 = sum %1 {axes=[0, 2, 3]}\n"
                        "  %5 = output \"z\" %4\n",
                        "  kernel %2, %3 -> %3\n"
                        "  kernel %4, %5 -> %5\n",
                        "  buffer %3 output size=4096\n"
                        "  buffer %5 output index=1 offset=4096 size=256\n");
    assert_int_equal(graph->launches.count, 3);
    assert_true(graph->launches.at[1].chained);
    assert_null(graph->launches.at[0].scratch);
}

// Two chains that read the large value %2 = exp %1, the second scaled by sums over the batch. What
// `reader` computes reads %1 in between, and `sums` says where the sums over the batch lie.
static const LoopGraph *two_chains(const char *reader, const char *sums) {
    const char *text = arena_printf(&arena,
                                    "module \"m\" f32\n"
                                    "graph \"g\" free step_bytes=10485760 {\n"
                                    "  %%0 = input \"x\" : f32[16, 128, 16, 16]\n"
                                    "  %%1 = neg %%0\n"
                                    "  %%2 = exp %%1\n"
                                    "  %%3 = sum %%2 {axes=[2, 3], keep}\n"
                                    "  %%4 = %s\n"
                                    "  %%5 = output \"z\" %%4\n"
                                    "  %%6 = sum %%3 {axes=[0], keep}\n"
                                    "  %%7 = mul %%2, %%6\n"
                                    "  %%8 = sum %%7 {axes=[2, 3], keep}\n"
                                    "  %%9 = output \"y\" %%8\n"
                                    "  kernel %%1 -> %%1\n"
                                    "  kernel %%2 -> %%2\n"
                                    "  kernel %%3 -> %%3\n"
                                    "  kernel %%4, %%5 -> %%5\n"
                                    "  kernel %%6 -> %%6\n"
                                    "  kernel %%7 -> %%7\n"
                                    "  kernel %%8, %%9 -> %%9\n"
                                    "  buffer %%0 input size=2097152\n"
                                    "  buffer %%1 step size=2097152\n"
                                    "  buffer %%2 step offset=2097152 size=2097152\n"
                                    "  buffer %%3 step offset=6291456 size=8192\n"
                                    "  buffer %%5 output size=512\n"
                                    "  buffer %%6 step offset=%s size=512\n"
                                    "  buffer %%7 step offset=4194304 size=2097152\n"
                                    "  buffer %%9 output index=1 offset=512 size=8192\n"
                                    "}\n",
                                    reader, sums);
    return lower(text)->graphs.at[0];
}

static const char *const reads_before = "sum %1 {axes=[0, 2, 3]}";

// A value of little work is made again in the second chain, and lies in the scratch of each.
static void cheap_values_are_made_again(void **state) {
    (void)state;
    const LoopGraph *graph = two_chains(reads_before, "8388608");
    const Launch *launch = graph->launches.at;
    assert_int_equal(graph->launches.count, 8);
    assert_int_equal(chain_length(graph, 0), 3);
    assert_null(launch[0].scratch); // %1, which stays in memory for it
    assert_int_equal(launch[1].scratch[1], 0);
    assert_int_equal(chain_length(graph, 5), 3);
    assert_int_equal(launch[5].kernel, launch[1].kernel);
    assert_int_equal(launch[5].parts, 16);
    assert_int_equal(launch[5].scratch[1], 0);
    assert_int_equal(launch[6].scratch[0], 0);
    // both are needed at a time
    assert_true(launch[6].scratch[launch[6].argument_count - 1] >= 2097152 / 16);
}

// Not of what has been overwritten,
static void values_of_the_past_are_kept(void **state) {
    (void)state;
    const LoopGraph *graph = two_chains(reads_before, "1024");
    assert_int_equal(graph->launches.count, 7);
    assert_null(graph->launches.at[1].scratch);
}

// nor of what would have to be in memory for it alone.
static void operands_stay_in_scratch(void **state) {
    (void)state;
    const LoopGraph *graph = two_chains("sum %0 {axes=[0, 2, 3]}", "8388608");
    assert_int_equal(graph->launches.count, 7);
    assert_int_equal(graph->launches.at[0].scratch[1], 0);
    assert_int_equal(graph->launches.at[1].scratch[1], -1);
}

// Whether the launch's last argument, its result, goes past the caches.
static bool is_streamed(const LoopProgram *program, size_t launch) {
    uint32_t kernel = program->graphs.at[0]->launches.at[launch].kernel;
    return vec_last(&program->kernels.at[kernel]->buffers).streamed;
}

// The square of %1, of a MB, by a kernel of its own that reads scratch, then `more`.
static const LoopProgram *squares(const char *more, const char *kernels, const char *buffers) {
    const char *text = arena_printf(&arena,
                                    "module \"m\" f32\n"
                                    "graph \"g\" free step_bytes=8388608 {\n"
                                    "  %%0 = input \"x\" : f32[16, 64, 16, 16]\n"
                                    "  %%1 = exp %%0\n"
                                    "  %%2 = mul %%1, %%1\n"
                                    "%s"
                                    "  kernel %%1 -> %%1\n"
                                    "  kernel %%2 -> %%2\n"
                                    "%s"
                                    "  buffer %%0 input size=1048576\n"
                                    "  buffer %%1 step size=1048576\n"
                                    "  buffer %%2 step offset=1048576 size=1048576\n"
                                    "%s"
                                    "}\n",
                                    more, kernels, buffers);
    return lower(text);
}

// What a chain makes for others is streamed,
static void what_a_chain_leaves_is_streamed(void **state) {
    (void)state;
    const LoopProgram *program = squares("  %3 = reverse %2 {axes=[0]}\n"
                                         "  %4 = output \"y\" %3\n",
                                         "  kernel %3, %4 -> %4\n",
                                         "  buffer %4 output size=1048576\n");
    assert_true(program->graphs.at[0]->launches.at[1].chained);
    assert_false(is_streamed(program, 0)); // in scratch
    assert_true(is_streamed(program, 1));
    assert_false(is_streamed(program, 2)); // alone: what is next may read it
}

// not what it reads itself,
static void what_a_chain_reads_is_not_streamed(void **state) {
    (void)state;
    const LoopProgram *program = squares("  %3 = sum %2 {axes=[2, 3], keep}\n"
                                         "  %4 = output \"z\" %3\n"
                                         "  %5 = sum %2 {axes=[0, 2, 3]}\n"
                                         "  %6 = output \"y\" %5\n",
                                         "  kernel %3, %4 -> %4\n"
                                         "  kernel %5, %6 -> %6\n",
                                         "  buffer %4 output size=4096\n"
                                         "  buffer %6 output index=1 offset=4096 size=256\n");
    assert_int_equal(chain_length(program->graphs.at[0], 0), 3);
    assert_int_equal(program->graphs.at[0]->launches.at[1].scratch[1], -1);
    assert_false(is_streamed(program, 1));
    assert_false(is_streamed(program, 2)); // small
}

// nor the result of a kernel that another launch wants near.
static void launches_agree_on_what_is_streamed(void **state) {
    (void)state;
    const LoopProgram *program = squares("  %3 = sum %2 {axes=[0, 2, 3], keep}\n"
                                         "  %4 = add %0, %3\n"
                                         "  %5 = mul %4, %4\n"
                                         "  %6 = sum %5 {axes=[2, 3], keep}\n"
                                         "  %7 = output \"z\" %6\n"
                                         "  %8 = sum %5 {axes=[0, 2, 3]}\n"
                                         "  %9 = output \"y\" %8\n",
                                         "  kernel %3 -> %3\n"
                                         "  kernel %4 -> %4\n"
                                         "  kernel %5 -> %5\n"
                                         "  kernel %6, %7 -> %7\n"
                                         "  kernel %8, %9 -> %9\n",
                                         "  buffer %3 step offset=2097152 size=256\n"
                                         "  buffer %4 step offset=3145728 size=1048576\n"
                                         "  buffer %5 step offset=4194304 size=1048576\n"
                                         "  buffer %7 output size=4096\n"
                                         "  buffer %9 output index=1 offset=4096 size=256\n");
    const Launch *launch = program->graphs.at[0]->launches.at;
    assert_int_equal(launch[1].kernel, launch[4].kernel);
    assert_true(launch[1].chained && launch[5].chained);
    assert_false(is_streamed(program, 1));
}

// A depthwise convolution of [16, C, H, W], a chain with what reads it by images, and what `others`
// do with it.
typedef struct Depthwise {
    int c, h, w, filters;
    const char *others;  // %7 = of %2, or NULL
    const char *another; // a further convolution that is read by images alone, or not
} Depthwise;

static const LoopProgram *depthwise(Depthwise d) {
    int bytes = 16 * d.c * d.h * d.w * 4, filter = d.c * d.filters * 9 * 4, sums = 16 * d.c * 4;
    StrBuf text = {.arena = &arena};
    strbuf_printf(&text,
                  "module \"m\" f32\n"
                  "graph \"g\" free step_bytes=%d {\n"
                  "  %%0 = input \"x\" : f32[16, %d, %d, %d]\n"
                  "  %%1 = input \"w\" : f32[%d, %d, 3, 3]\n"
                  "  %%2 = conv2d %%0, %%1 {stride=[1, 1], padding=[1, 1, 1, 1], "
                  "dilation=[1, 1], groups=%d}\n"
                  "  %%3 = sum %%2 {axes=[2, 3], keep}\n"
                  "  %%4 = output \"y\" %%3\n",
                  2 * bytes, d.c, d.h, d.w, d.c, d.filters, d.c / d.filters);
    if (d.others)
        strbuf_printf(&text, "  %%5 = %s\n  %%6 = output \"z\" %%5\n", d.others);
    if (d.another)
        strbuf_printf(&text,
                      "  %%7 = conv2d %%0, %%1 {stride=[1, 1], padding=[1, 1, 1, 1], "
                      "dilation=[1, 1], groups=%d}\n"
                      "  %%8 = %s\n  %%9 = output \"u\" %%8\n",
                      d.c / d.filters, d.another);
    strbuf_puts(&text, "  kernel %2 -> %2\n  kernel %3, %4 -> %4\n");
    strbuf_puts(&text, d.others ? "  kernel %5, %6 -> %6\n" : "");
    strbuf_puts(&text, d.another ? "  kernel %7 -> %7\n  kernel %8, %9 -> %9\n" : "");
    strbuf_printf(&text,
                  "  buffer %%0 input size=%d\n  buffer %%1 input index=1 size=%d\n"
                  "  buffer %%2 step size=%d\n  buffer %%4 output size=%d\n",
                  bytes, filter, bytes, sums);
    if (d.others)
        strbuf_printf(&text, "  buffer %%6 output index=1 offset=%d size=%d\n",
                      (sums + 63) / 64 * 64, 4 * d.c);
    if (d.another)
        strbuf_printf(&text,
                      "  buffer %%7 step offset=%d size=%d\n"
                      "  buffer %%9 output index=2 offset=%d size=%d\n",
                      bytes, bytes, 2 * ((sums + 63) / 64 * 64), sums);
    strbuf_puts(&text, "}\n");
    return lower(strbuf_text(&text));
}

static const char *const over_the_batch = "sum %2 {axes=[0, 2, 3]}";

// The one of the launch's arguments that lies beside another is its last.
static bool is_kept(const LoopProgram *program, const Launch *launch) {
    return vec_last(&program->kernels.at[launch->kernel]->buffers).beside;
}

// What the chain reads and others too is written to scratch and, past the caches, to memory.
static void what_others_read_too_is_kept(void **state) {
    (void)state;
    const LoopProgram *program = depthwise((Depthwise){64, 16, 16, 1, over_the_batch, NULL});
    const LoopGraph *graph = program->graphs.at[0];
    size_t at = 0; // behind what relays the filter out
    while (!graph->launches.at[at].parts)
        at++;
    const Launch *launch = &graph->launches.at[at];
    uint32_t last = launch->argument_count - 1;
    assert_int_equal(chain_length(graph, at), 2);
    assert_true(is_kept(program, launch));
    assert_true(vec_last(&program->kernels.at[launch->kernel]->buffers).streamed);
    assert_true(chain_same_bytes(&launch->argument[last], &launch->argument[last - 1]));
    assert_true(launch->scratch[last - 1] >= 0);
    assert_int_equal(launch->scratch[last], -1);
    assert_int_equal(launch[1].scratch[0], launch->scratch[last - 1]);
    assert_null(launch[2].scratch); // which reads memory
    assert_int_equal(launch[2].parts, 0);
}

static bool keeps_any(const LoopProgram *program) {
    bool any = false;
    for (size_t i = 0; i < program->graphs.at[0]->launches.count; i++)
        any |= is_kept(program, &program->graphs.at[0]->launches.at[i]);
    return any;
}

// Not what nobody else reads, what is small, what takes many operations, and what lies in parts
// that share lines.
static void others_are_not_kept(void **state) {
    (void)state;
    assert_true(keeps_any(depthwise((Depthwise){64, 16, 16, 1, over_the_batch, NULL})));
    assert_false(keeps_any(depthwise((Depthwise){64, 16, 16, 1, NULL, NULL})));
    assert_false(keeps_any(depthwise((Depthwise){32, 16, 16, 1, over_the_batch, NULL})));
    assert_false(keeps_any(depthwise((Depthwise){64, 16, 16, 64, over_the_batch, NULL})));
    assert_false(keeps_any(depthwise((Depthwise){63, 17, 17, 1, over_the_batch, NULL})));
}

// A launch of the same kernel that has no use for it calls the kernel as it was.
static void others_call_the_kernel_as_it_was(void **state) {
    (void)state;
    const LoopProgram *program = depthwise(
        (Depthwise){64, 16, 16, 1, over_the_batch, "sum %7 {axes=[2, 3], keep}"});
    const LoopGraph *graph = program->graphs.at[0];
    const Launch *kept = NULL, *other = NULL;
    for (size_t i = 0; i < graph->launches.count; i++) {
        const Launch *launch = &graph->launches.at[i];
        if (is_kept(program, launch))
            kept = launch;
        else if (launch->flops)
            other = launch;
    }
    assert_non_null(kept);
    assert_non_null(other);
    assert_int_equal(kept->argument_count, other->argument_count + 1);
    const LoopKernel *a = program->kernels.at[kept->kernel];
    const LoopKernel *b = program->kernels.at[other->kernel];
    assert_int_equal(a->buffers.count, b->buffers.count + 1);
    assert_ptr_equal(a->body.at, b->body.at);
    assert_string_not_equal(a->name, b->name);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(reshapes_cost_no_quotients, reset),
        cmocka_unit_test_teardown(one_shape_is_one_loop, reset),
        cmocka_unit_test_teardown(in_place_is_said, reset),
        cmocka_unit_test_teardown(contractions_count_their_work, reset),
        cmocka_unit_test_teardown(weight_gradients_ask_for_pages, reset),
        cmocka_unit_test_teardown(tiles_fit_the_registers, reset),
        cmocka_unit_test_teardown(short_rows_are_put_together, reset),
        cmocka_unit_test_teardown(images_are_chained, reset),
        cmocka_unit_test_teardown(what_needs_all_images_waits, reset),
        cmocka_unit_test_teardown(other_images_are_not_chained, reset),
        cmocka_unit_test_teardown(overlapping_arrays_are_not_chained, reset),
        cmocka_unit_test_teardown(strangers_step_aside, reset),
        cmocka_unit_test_teardown(what_stays_in_a_chain_lies_in_scratch, reset),
        cmocka_unit_test_teardown(cheap_values_are_made_again, reset),
        cmocka_unit_test_teardown(values_of_the_past_are_kept, reset),
        cmocka_unit_test_teardown(operands_stay_in_scratch, reset),
        cmocka_unit_test_teardown(what_a_chain_leaves_is_streamed, reset),
        cmocka_unit_test_teardown(what_a_chain_reads_is_not_streamed, reset),
        cmocka_unit_test_teardown(launches_agree_on_what_is_streamed, reset),
        cmocka_unit_test_teardown(what_others_read_too_is_kept, reset),
        cmocka_unit_test_teardown(others_are_not_kept, reset),
        cmocka_unit_test_teardown(others_call_the_kernel_as_it_was, reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
