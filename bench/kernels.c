// bench/kernels.c -- how near single kernels come to the machine's multiply-add peak.
//
//     kernels [--threads N] [--repeats N] [--shapes resnet20|resnet18|all]
//
// For each convolution, in its three directions, the kernel that kdc compiles is timed against a loop of
// independent multiply-adds in registers, the two in turn, so that a change of the clock hits both. Printed:
// median GFLOP/s by nominal operations (2 * multiply-adds, padding counted), the peak beside it, their ratio.
// Operands lie in the layouts that passes/layout.c gives them.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/measure.h"
#include "codegen/codegen.h"
#include "passes/passes.h"
#include "support/diag.h"

// ---- convolutions ------------------------------------------------------------------------------------

typedef enum Direction { FORWARD, BY_INPUT, BY_WEIGHT, DIRECTIONS } Direction;
static const char *const direction_name[DIRECTIONS] = {"forward", "by input", "by weight"};

typedef struct Shape {
    int64_t batch, channels, filters, size, kernel, stride;
    const char *set;
} Shape;

static const Shape shapes[] = {
    {64, 64, 64, 32, 3, 1, "issue"},      {128, 16, 16, 32, 3, 1, "resnet20"},
    {128, 16, 32, 32, 3, 2, "resnet20"},  {128, 32, 32, 16, 3, 1, "resnet20"},
    {128, 32, 64, 16, 3, 2, "resnet20"},  {128, 64, 64, 8, 3, 1, "resnet20"},
    {128, 16, 32, 32, 1, 2, "resnet20"},  {64, 128, 128, 16, 3, 1, "resnet18"},
    {64, 256, 256, 8, 3, 1, "resnet18"},  {64, 512, 512, 4, 3, 1, "resnet18"},
    {64, 64, 128, 32, 3, 2, "resnet18"},  {64, 64, 128, 32, 1, 2, "resnet18"},
};

static Type blocked(int64_t a, int64_t b, int64_t c, int64_t d, int block_axis) {
    Type type = {.dtype = DT_F32, .rank = 4, .dim = {a, b, c, d}};
    if (type.dim[block_axis] % 16 == 0) {
        type.block = 16;
        type.block_axis = (uint8_t)block_axis;
    }
    return type;
}

/// A module of one graph: a convolution of two storages, written to a third.
static Module *conv_module(Arena *arena, const Shape *s, Direction direction) {
    int64_t out = (s->size + s->kernel / 2 * 2 - s->kernel) / s->stride + 1;
    Type x = blocked(s->batch, s->channels, s->size, s->size, 1);
    Type y = blocked(s->batch, s->filters, out, out, 1);
    Type w = blocked(s->filters, s->channels, s->kernel, s->kernel, direction == BY_INPUT ? 1 : 0);
    Type type[DIRECTIONS][3] = {{x, w, y}, {y, w, x}, {x, y, w}};
    Op op[DIRECTIONS] = {OP_conv2d, OP_conv2d_input, OP_conv2d_weight};

    Module *module = module_new(arena, "bench", DT_F32);
    Storage *storage[3];
    static const char *const names[3] = {"a", "b", "c"};
    for (int i = 0; i < 3; i++)
        storage[i] = module_add_storage(module, STORAGE_STATE, names[i], &type[direction][i]);
    Graph *graph = module_add_graph(module, "conv", GRAPH_FREE, -1);
    Node *operand[2] = {ir_read(graph, storage[0]), ir_read(graph, storage[1])};
    for (int i = 0; i < 2; i++)
        operand[i]->type = type[direction][i]; // inference gives plain types
    int64_t two[2] = {s->stride, s->stride}, one[2] = {1, 1};
    int64_t p = s->kernel / 2, padding[4] = {p, p, p, p};
    const Type *result = &type[direction][2];
    Attrs attrs = {.stride = {2, two}, .padding = {4, padding}, .dilation = {2, one}, .groups = 1};
    if (direction != FORWARD)
        attrs.shape = (Ints){4, result->dim};
    Node *node = graph_append(graph, op[direction], operand, 2, &attrs, NULL);
    node->type.block = result->block;
    node->type.block_axis = result->block_axis;
    Node *write = ir_write(graph, storage[2], node);
    write->type = node->type;
    return module;
}

static void bench_conv(const Shape *s, Direction direction, int threads, int repeats) {
    Arena arena = {0}, scratch = {0};
    Module *module = conv_module(&arena, s, direction);
    PassContext ctx = {.scratch = &scratch, .options = {.level = 2}};
    const char *unknown = NULL;
    if (!passes_run_named(module, "fuse,plan_memory", &ctx, &unknown))
        world_error("no pass %s", unknown);
    CodegenOptions options = {.level = 2};
    double start = seconds_now();
    LoopProgram *loops = codegen_lower(&arena, module, &options);
    Objects objects = codegen_objects(loops, module, NULL, &options);
    double compile_seconds = seconds_now() - start;
    const char *message = NULL;
    Jit *jit = jit_new(&arena, &message);
    const KdrtProgram *program = jit ? jit_add(jit, &objects, &message) : NULL;
    if (!program)
        world_error("%s", message);

    size_t bytes = (size_t)(module->storage_bytes + module->step_bytes) + 128;
    float *memory = huge_memory(bytes);
    for (size_t i = 0; i < bytes / 4; i++)
        memory[i] = (float)(i % 17) * 0.01f - 0.08f;
    double *sums = aligned_alloc(64, 4096);
    void *thread_memory = aligned_alloc(64, (size_t)(loops->thread_bytes + 64) / 64 * 64 * (size_t)threads);
    KdrtFrame frame = {.storage = memory, .step = (char *)memory + (module->storage_bytes + 63) / 64 * 64,
                       .thread = thread_memory, .output = sums, .threads = threads};
    int64_t out = (s->size + s->kernel / 2 * 2 - s->kernel) / s->stride + 1;
    double flops = 2.0 * (double)(s->batch * s->filters * s->channels * s->kernel * s->kernel * out * out);

    double speed[64], peak[64];
    program->graph[0](&frame);
    for (int i = 0; i < repeats; i++) {
        peak[i] = peak_gflops(threads);
        start = seconds_now();
        program->graph[0](&frame);
        speed[i] = flops / (seconds_now() - start) * 1e-9;
    }
    double kernel = median(speed, repeats), limit = median(peak, repeats);
    printf("%3lld x %3lld-%3lld@%2lld %lldx%lld/%lld  %-9s %8.1f %8.1f   %5.1f %%   %.2f s\n",
           (long long)s->batch, (long long)s->channels, (long long)s->filters, (long long)s->size,
           (long long)s->kernel, (long long)s->kernel, (long long)s->stride, direction_name[direction],
           kernel, limit, 100 * kernel / limit, compile_seconds);
    fflush(stdout);
    free(memory);
    free(sums);
    free(thread_memory);
    jit_free(jit);
    objects_free(&objects);
    arena_release(&arena);
    arena_release(&scratch);
}

int main(int argc, char **argv) {
    int threads = 2, repeats = 15;
    const char *set = "issue";
    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--threads"))
            threads = atoi(argv[i + 1]);
        else if (!strcmp(argv[i], "--repeats"))
            repeats = atoi(argv[i + 1]) < 63 ? atoi(argv[i + 1]) : 63;
        else if (!strcmp(argv[i], "--shapes"))
            set = argv[i + 1];
        else
            world_error("usage: kernels [--threads N] [--repeats N] [--shapes issue|resnet20|resnet18|all]");
    }
    printf("convolution              direction  GFLOP/s     peak   of peak   compile\n");
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        if (strcmp(set, "all") && strcmp(set, shapes[i].set))
            continue;
        for (Direction d = FORWARD; d < DIRECTIONS; d++)
            bench_conv(&shapes[i], d, threads, repeats);
    }
    return 0;
}
