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
#include <sys/mman.h>
#include <time.h>

#include "codegen/codegen.h"
#include "passes/passes.h"
#include "support/diag.h"

extern void GOMP_parallel(void (*function)(void *), void *data, unsigned threads, unsigned flags);

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

// ---- the peak ---------------------------------------------------------------------------------------

enum { HUGE_PAGE = 2 << 20 };
enum { PEAK_ROUNDS = 100000, PEAK_SUMS = 12 };
static volatile float peak_sink;

/// A loop of 12 independent chains of multiply-adds on vectors of `bytes`: enough to hide their latency.
#define PEAK_LOOP(name, isa, bytes)                                                                \
    __attribute__((target(isa), optimize("O2", "unroll-loops", "fp-contract=fast"))) static void   \
    name(void *data) {                                                                             \
        typedef float Vector __attribute__((vector_size(bytes)));                                  \
        (void)data;                                                                                \
        Vector s0 = {0}, s1 = {1}, s2 = {2}, s3 = {3}, s4 = {4}, s5 = {5}, s6 = {6}, s7 = {7};     \
        Vector s8 = {8}, s9 = {9}, s10 = {10}, s11 = {11};                                         \
        Vector a = s1 * 0.0f + 0.999f, b = a * 1e-3f;                                              \
        for (int round = 0; round < PEAK_ROUNDS; round++) {                                        \
            s0 = s0 * a + b, s1 = s1 * a + b, s2 = s2 * a + b, s3 = s3 * a + b;                    \
            s4 = s4 * a + b, s5 = s5 * a + b, s6 = s6 * a + b, s7 = s7 * a + b;                    \
            s8 = s8 * a + b, s9 = s9 * a + b, s10 = s10 * a + b, s11 = s11 * a + b;                \
        }                                                                                          \
        s0 += s1 + s2 + s3 + s4 + s5 + s6 + s7 + s8 + s9 + s10 + s11;                              \
        peak_sink = s0[1];                                                                         \
    }
PEAK_LOOP(peak_512, "avx512f", 64)
PEAK_LOOP(peak_256, "avx2,fma", 32)

/// GFLOP/s of `threads` threads that do nothing but multiply-adds.
static double peak_gflops(int threads) {
    bool is_wide = __builtin_cpu_supports("avx512f");
    double start = now();
    GOMP_parallel(is_wide ? peak_512 : peak_256, NULL, (unsigned)threads, 0);
    double flops = 2.0 * (is_wide ? 16 : 8) * PEAK_SUMS * PEAK_ROUNDS * threads;
    return flops / (now() - start) * 1e-9;
}

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

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *value, int count) {
    qsort(value, (size_t)count, sizeof *value, compare_doubles);
    return value[count / 2];
}

static void bench_conv(const Shape *s, Direction direction, int threads, int repeats) {
    Arena arena = {0}, scratch = {0};
    Module *module = conv_module(&arena, s, direction);
    PassContext ctx = {.scratch = &scratch, .options = {.level = 2}};
    const char *unknown = NULL;
    if (!passes_run_named(module, "fuse,plan_memory", &ctx, &unknown))
        world_error("no pass %s", unknown);
    CodegenOptions options = {.level = 2};
    double start = now();
    LoopProgram *loops = codegen_lower(&arena, module, &options);
    Objects objects = codegen_objects(loops, module, NULL, &options);
    double compile_seconds = now() - start;
    const char *message = NULL;
    Jit *jit = jit_new(&arena, &message);
    const KdrtProgram *program = jit ? jit_add(jit, &objects, &message) : NULL;
    if (!program)
        world_error("%s", message);

    size_t bytes = (size_t)(module->storage_bytes + module->step_bytes + (1 << 20)) & ~(size_t)63;
    bytes = (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    float *memory = aligned_alloc(HUGE_PAGE, bytes);
    if (!memory || madvise(memory, bytes, MADV_HUGEPAGE) != 0)
        world_error("no memory in huge pages"); // as the runtime's arena has it
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
        start = now();
        program->graph[0](&frame);
        speed[i] = flops / (now() - start) * 1e-9;
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
