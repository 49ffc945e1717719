// bench/kernels.c -- how near single kernels come to the machine's multiply-add peak.
//
//     kernels [--threads N] [--repeats N] [--shapes issue|resnet20|resnet18|mobilenet|resnext|pointwise|bottleneck|patches|all]
//             [--math strict|fast]
//     kernels --serve [--threads N]
//
// For each convolution, in its three directions, the kernel that kdc compiles is timed against a loop of
// independent multiply-adds in registers, the two in turn, so that a change of the clock hits both. Printed:
// median GFLOP/s by nominal operations (2 * multiply-adds, padding counted), the peak beside it, their ratio.
// Operands lie in the layouts that passes/layout.c gives them. With --math fast it is passes/winograd.c's form
// of the convolution where that applies, its transforms of the kernel included.
//
// With --serve it does what lines on its standard input ask for, so that peers/run.py can let it and another
// take turns; the first answer comes unasked. FORM is strict or fast, DIRECTION forward, by_input or by_weight.
//
//     (start)                                             ready
//     conv FORM DIRECTION BATCH CHANNELS FILTERS SIZE     ok: the 3x3 convolution is compiled; none: it has no such form
//     step FORM                                           MILLISECONDS 0: one run of the last convolution of this form
//     peak                                                GFLOP/s of threads that do nothing but multiply-adds
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
    int64_t batch, channels, filters, size, kernel, stride, groups;
    const char *set;
} Shape;

static const Shape shapes[] = {
    {64, 64, 64, 32, 3, 1, 1, "issue"},
    {128, 16, 16, 32, 3, 1, 1, "resnet20"},
    {128, 16, 32, 32, 3, 2, 1, "resnet20"},
    {128, 32, 32, 16, 3, 1, 1, "resnet20"},
    {128, 32, 64, 16, 3, 2, 1, "resnet20"},
    {128, 64, 64, 8, 3, 1, 1, "resnet20"},
    {128, 16, 32, 32, 1, 2, 1, "resnet20"},
    {64, 128, 128, 16, 3, 1, 1, "resnet18"},
    {64, 256, 256, 8, 3, 1, 1, "resnet18"},
    {64, 512, 512, 4, 3, 1, 1, "resnet18"},
    {64, 64, 128, 32, 3, 2, 1, "resnet18"},
    {64, 64, 128, 32, 1, 2, 1, "resnet18"},
    {64, 128, 128, 32, 8, 8, 1, "patches"},
    {64, 128, 128, 16, 4, 4, 1, "patches"},
    {64, 256, 256, 8, 2, 2, 1, "patches"},
    {64, 144, 144, 32, 3, 1, 144, "mobilenet"},
    {64, 144, 144, 32, 3, 2, 144, "mobilenet"},
    {64, 192, 192, 16, 3, 1, 192, "mobilenet"},
    {64, 384, 384, 8, 3, 1, 384, "mobilenet"},
    {64, 576, 576, 8, 3, 2, 576, "mobilenet"},
    {64, 960, 960, 4, 3, 1, 960, "mobilenet"},
    {16, 512, 512, 32, 3, 1, 8, "resnext"},
    {16, 1024, 1024, 16, 3, 1, 8, "resnext"},
    {16, 1024, 1024, 32, 3, 2, 8, "resnext"},
    {16, 2048, 2048, 8, 3, 1, 8, "resnext"},
    {64, 128, 128, 32, 3, 1, 32, "resnext"},
    {64, 256, 256, 16, 3, 1, 32, "resnext"},
    {64, 512, 512, 8, 3, 1, 32, "resnext"},
    {64, 256, 256, 32, 3, 2, 32, "resnext"},
    {64, 3, 64, 32, 3, 1, 1, "pointwise"},
    {64, 32, 16, 32, 1, 1, 1, "pointwise"},
    {64, 24, 144, 32, 1, 1, 1, "pointwise"},
    {64, 144, 24, 32, 1, 1, 1, "pointwise"},
    {64, 64, 384, 8, 1, 1, 1, "pointwise"},
    {64, 384, 64, 8, 1, 1, 1, "pointwise"},
    {64, 160, 960, 4, 1, 1, 1, "pointwise"},
    {64, 256, 512, 8, 1, 2, 1, "pointwise"},
    {64, 512, 128, 16, 1, 1, 1, "bottleneck"},
    {64, 128, 512, 16, 1, 1, 1, "bottleneck"},
    {64, 256, 64, 32, 1, 1, 1, "bottleneck"},
    {64, 64, 256, 32, 1, 1, 1, "bottleneck"},
    {64, 256, 1024, 8, 1, 1, 1, "bottleneck"},
    {16, 512, 256, 32, 1, 1, 1, "bottleneck"},
    {16, 1024, 512, 16, 1, 1, 1, "bottleneck"},
    {16, 1024, 2048, 8, 1, 1, 1, "bottleneck"},
    {64, 256, 512, 16, 1, 2, 1, "bottleneck"},
};

/// Half of the kernel, but none where the kernel's steps leave nothing out and share nothing.
static int64_t padding_of(const Shape *s) {
    return s->kernel == s->stride ? 0 : s->kernel / 2;
}

static int64_t out_size(const Shape *s) {
    return (s->size + padding_of(s) * 2 - s->kernel) / s->stride + 1;
}

static Type kernel_type(const Shape *s) {
    return (Type){.dtype = DT_F32, .rank = 4,
                  .dim = {s->filters, s->channels / s->groups, s->kernel, s->kernel}};
}

/// Whether memory has the transpose of the kernel (passes/layout.c, Layout.outside).
static bool is_outside(const Shape *s, Direction direction, const Type *kernel) {
    return direction == BY_INPUT && kernel->block && kernel->block_axis == 0 && kernel->dim[1] == s->filters;
}

/// A module of one graph: a convolution of two storages of types 0 and 1, written to one of type 2.
static Module *conv_module(Arena *arena, const Shape *s, Direction direction, const Type type[3]) {
    static const Op op[DIRECTIONS] = {OP_conv2d, OP_conv2d_input, OP_conv2d_weight};
    static const char *const names[3] = {"a", "b", "c"};
    Module *module = module_new(arena, "bench", DT_F32);
    Storage *storage[3];
    for (int i = 0; i < 3; i++)
        storage[i] = module_add_storage(module, STORAGE_STATE, names[i], &type[i]);
    Graph *graph = module_add_graph(module, "conv", GRAPH_FREE, -1);
    Node *operand[2] = {ir_read(graph, storage[0]), ir_read(graph, storage[1])};
    for (int i = 0; i < 2; i++)
        operand[i]->type = type[i]; // inference gives plain types
    if (is_outside(s, direction, &type[1]))
        operand[1] = ir_transpose(graph, operand[1], (const int64_t[]){1, 0, 2, 3});
    int64_t two[2] = {s->stride, s->stride}, one[2] = {1, 1};
    int64_t p = padding_of(s), padding[4] = {p, p, p, p};
    Attrs attrs = {.stride = {2, two}, .padding = {4, padding}, .dilation = {2, one},
                   .groups = s->groups};
    if (direction != FORWARD)
        attrs.shape = (Ints){4, type[2].dim};
    Node *node = graph_append(graph, op[direction], operand, 2, &attrs, NULL);
    node->type = type[2];
    Node *write = ir_write(graph, storage[2], node);
    write->type = node->type;
    return module;
}

static void run_passes(Module *module, Arena *scratch, const char *names) {
    PassContext ctx = {.scratch = scratch, .options = {.level = 2}};
    const char *unknown = NULL;
    if (!passes_run_named(module, names, &ctx, &unknown))
        world_error("no pass %s", unknown);
}

/// The types that operands and result have in memory, as passes/layout.c gives them.
static void find_types(Arena *arena, Arena *scratch, const Shape *s, Direction direction, Type type[3]) {
    int64_t out = out_size(s);
    Type x = {.dtype = DT_F32, .rank = 4, .dim = {s->batch, s->channels, s->size, s->size}};
    Type y = {.dtype = DT_F32, .rank = 4, .dim = {s->batch, s->filters, out, out}};
    Type w = kernel_type(s);
    Type plain[DIRECTIONS][3] = {{x, w, y}, {y, w, x}, {x, y, w}};
    Module *module = conv_module(arena, s, direction, plain[direction]);
    run_passes(module, scratch, "fill,layout");
    const Graph *graph = module->graphs.at[0];
    for (size_t i = 0; i < graph->nodes.count; i++) {
        const Node *node = graph->nodes.at[i];
        if (op_has(node->op, CONTRACTS)) {
            const Node *kernel = node->operand[1];
            type[0] = node->operand[0]->type;
            type[1] = kernel->op == OP_transpose ? kernel->operand[0]->type : kernel->type;
            type[2] = node->type;
        }
    }
}

/// The convolution by F(4x4, 3x3) on images in the layouts of `type` and plain kernels; NULL if that does not
/// apply.
static Module *winograd_module(Arena *arena, Arena *scratch, const Shape *s, Direction direction,
                               const Type type[3]) {
    Type plain[3], *kernel = &plain[direction == BY_WEIGHT ? 2 : 1];
    for (int i = 0; i < 3; i++) {
        plain[i] = type[i];
        plain[i].block = plain[i].block_axis = 0;
    }
    *kernel = kernel_type(s);
    Module *module = conv_module(arena, s, direction, plain);
    Graph *graph = module->graphs.at[0];
    size_t before = graph->nodes.count;
    run_passes(module, scratch, "winograd");
    for (size_t i = 0; i < graph->nodes.count; i++) {
        Node *node = graph->nodes.at[i];
        uint32_t which = node->op == OP_read || node->op == OP_write ? (uint32_t)node->attrs->storage : 2;
        if ((node->op == OP_read || node->op == OP_write || node->op == OP_winograd) &&
            &plain[which] != kernel)
            node->type = module->storages.at[which]->type = type[which];
    }
    return graph->nodes.count > before ? module : NULL;
}

typedef struct Conv {
    Arena arena;
    Objects objects;
    Jit *jit;
    const KdrtProgram *program;
    KdrtFrame frame;
    float *memory;
    double *sums;
    void *thread_memory;
    double flops, compile_seconds;
} Conv;

/// Compiles a convolution and lays out what it works on. False: it has no fast form, though `fast` asks for one.
static bool conv_open(Conv *k, const Shape *s, Direction direction, bool fast, int threads) {
    Arena scratch = {0};
    Type type[3];
    *k = (Conv){0};
    find_types(&k->arena, &scratch, s, direction, type);
    Module *module = fast ? winograd_module(&k->arena, &scratch, s, direction, type)
                          : conv_module(&k->arena, s, direction, type);
    if (!module) {
        arena_release(&k->arena);
        arena_release(&scratch);
        return false;
    }
    run_passes(module, &scratch, "fuse,plan_memory");
    arena_release(&scratch);
    CodegenOptions options = {.level = 2};
    double start = seconds_now();
    LoopProgram *loops = codegen_lower(&k->arena, module, &options);
    k->objects = codegen_objects(loops, module, NULL, &options);
    k->compile_seconds = seconds_now() - start;
    const char *message = NULL;
    k->jit = jit_new(&k->arena, &message);
    k->program = k->jit ? jit_add(k->jit, &k->objects, &message) : NULL;
    if (!k->program)
        world_error("%s", message);

    size_t bytes = (size_t)(module->storage_bytes + module->step_bytes) + 128;
    k->memory = huge_memory(bytes);
    for (size_t i = 0; i < bytes / 4; i++)
        k->memory[i] = (float)(i % 17) * 0.01f - 0.08f;
    k->sums = aligned_alloc(64, 4096);
    k->thread_memory = aligned_alloc(64, (size_t)(loops->thread_bytes + 64) / 64 * 64 * (size_t)threads);
    k->frame = (KdrtFrame){.storage = k->memory,
                           .step = (char *)k->memory + (module->storage_bytes + 63) / 64 * 64,
                           .thread = k->thread_memory, .output = k->sums, .threads = threads};
    int64_t out = out_size(s);
    k->flops =
        2.0 * (double)(s->batch * s->filters * s->channels / s->groups * s->kernel * s->kernel * out * out);
    k->program->graph[0](&k->frame);
    return true;
}

/// Seconds of a run.
static double conv_run(Conv *k) {
    int threads = (int)k->frame.threads;
    double start = seconds_used(threads);
    k->program->graph[0](&k->frame);
    return seconds_used(threads) - start;
}

static void conv_close(Conv *k) {
    free(k->memory);
    free(k->sums);
    free(k->thread_memory);
    jit_free(k->jit);
    objects_free(&k->objects);
    arena_release(&k->arena);
}

static void bench_conv(const Shape *s, Direction direction, bool fast, int threads, int repeats) {
    Conv k;
    if (!(fast && conv_open(&k, s, direction, true, threads)))
        conv_open(&k, s, direction, false, threads);
    double speed[64], peak[64];
    for (int i = 0; i < repeats; i++) {
        peak[i] = kdrt_peak_gflops(threads);
        speed[i] = k.flops / conv_run(&k) * 1e-9;
    }
    double kernel = median(speed, repeats), limit = median(peak, repeats);
    printf("%3lld x %4lld-%4lld@%2lld %lldx%lld/%lld g%-4lld %-9s %8.1f %8.1f   %5.1f %%  %8.2f ms  %.2f s\n",
           (long long)s->batch, (long long)s->channels, (long long)s->filters, (long long)s->size,
           (long long)s->kernel, (long long)s->kernel, (long long)s->stride, (long long)s->groups,
           direction_name[direction],
           kernel, limit, 100 * kernel / limit, k.flops / kernel * 1e-6, k.compile_seconds);
    fflush(stdout);
    conv_close(&k);
}

// ---- on request --------------------------------------------------------------------------------------

enum { STRICT, FAST, FORMS };

static int form_of(const char *name) {
    return !strcmp(name, "strict") ? STRICT : !strcmp(name, "fast") ? FAST : FORMS;
}

static Direction direction_of(const char *name) {
    static const char *const names[DIRECTIONS] = {"forward", "by_input", "by_weight"};
    Direction d = FORWARD;
    while (d < DIRECTIONS && strcmp(name, names[d]))
        d++;
    return d;
}

static void serve(int threads) {
    Conv conv[FORMS] = {0};
    char form_name[16], direction[16];
    long long n, c, f, size;
    puts("ready");
    fflush(stdout);
    for (char line[256]; fgets(line, sizeof line, stdin); fflush(stdout)) {
        bool is_conv = sscanf(line, "conv %15s %15s %lld %lld %lld %lld", form_name, direction, &n, &c, &f, &size) == 6;
        int form = is_conv || sscanf(line, "step %15s", form_name) == 1 ? form_of(form_name) : FORMS;
        if (is_conv && form < FORMS && direction_of(direction) < DIRECTIONS) {
            Shape shape = {n, c, f, size, 3, 1, 1, ""};
            if (conv[form].program)
                conv_close(&conv[form]);
            puts(conv_open(&conv[form], &shape, direction_of(direction), form == FAST, threads) ? "ok" : "none");
        } else if (!is_conv && form < FORMS && conv[form].program) {
            printf("%.4f 0\n", 1e3 * conv_run(&conv[form]));
        } else if (!strncmp(line, "peak", 4)) {
            printf("%.1f\n", kdrt_peak_gflops(threads));
        } else {
            printf("unknown request: %s", line);
        }
    }
}

int main(int argc, char **argv) {
    int threads = 2, repeats = 15;
    const char *set = "issue";
    bool fast = false, serves = argc > 1 && !strcmp(argv[1], "--serve");
    for (int i = 1 + serves; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--threads"))
            threads = atoi(argv[i + 1]);
        else if (!strcmp(argv[i], "--repeats"))
            repeats = atoi(argv[i + 1]) < 63 ? atoi(argv[i + 1]) : 63;
        else if (!strcmp(argv[i], "--shapes"))
            set = argv[i + 1];
        else if (!strcmp(argv[i], "--math"))
            fast = !strcmp(argv[i + 1], "fast");
        else
            world_error("usage: kernels [--serve] [--threads N] [--repeats N] [--math strict|fast] "
                        "[--shapes issue|resnet20|resnet18|mobilenet|resnext|pointwise|bottleneck|patches|all]");
    }
    if (serves) {
        serve(threads);
        return 0;
    }
    printf("convolution                      direction  GFLOP/s     peak   of peak        time  compile\n");
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        if (strcmp(set, "all") && strcmp(set, shapes[i].set))
            continue;
        for (Direction d = FORWARD; d < DIRECTIONS; d++)
            bench_conv(&shapes[i], d, fast, threads, repeats);
    }
    return 0;
}
