// bench/step.c -- how near a whole training step comes to the machine's multiply-add peak.
//
//     bench_step FILE.kd [--threads N] [--repeats N] [-D name=value] [--math strict|fast]
//                [--graph NAME] [--profile]
//
// Compiles the program as kdc does, takes the first training step of its first phase, or the graph of
// that name (`kdc cost` lists them), and times it on random images against a loop of multiply-adds in
// registers, in turn: with one thread and with N. GFLOP/s are those of convolutions and matrix products
// alone. With --profile it prints instead where the time of N threads goes, as `kdc run --profile` does.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/measure.h"
#include "codegen/codegen.h"
#include "frontend/frontend.h"
#include "grammar/grammar.h"
#include "passes/passes.h"
#include "support/diag.h"

typedef struct Step {
    Arena arena;
    Program *program;
    LoopProgram *loops;
    const KdrtProgram *code;
    int32_t graph; // of the step
    const PhaseSpec *phase;
    double compile_seconds;
    double flops;
} Step;

/// The graph of that name ("distill.eval0"); NULL: the first step of the first phase.
static int32_t find_graph(const Program *program, const char *name) {
    if (!name)
        return program->phases.at[0]->steps.at[0].full.at[0].graph;
    const Module *module = program->module;
    for (size_t i = 0; i < module->graphs.count; i++)
        if (!strcmp(module->graphs.at[i]->name, name))
            return (int32_t)i;
    fprintf(stderr, "bench_step: no graph is called %s; there are", name);
    for (size_t i = 0; i < module->graphs.count; i++)
        fprintf(stderr, " %s", module->graphs.at[i]->name);
    fputs("\n", stderr);
    exit(EXIT_PROGRAM_WRONG);
}

static void compile(Step *step, const char *path, const FrontendOptions *options, bool strict,
                    const char *graph, bool profile) {
    SourceSet sources = {0};
    DiagSink diags = {0};
    Arena scratch = {0};
    const char *message = NULL;
    double start = seconds_now();
    source_set_init(&sources, &step->arena);
    diag_sink_init(&diags, &step->arena, &sources);
    Source *source = source_read(&sources, path, AST_SOURCE_MAX, &message);
    if (!source)
        world_error("%s: %s", path, message);
    AstFile *file = kd_parse(&step->arena, &sources, source, &diags);
    step->program = frontend_elaborate(file, options, &step->arena, &sources, &diags);
    diag_print_all(&diags, stderr);
    if (!step->program)
        exit(EXIT_PROGRAM_WRONG);
    Module *module = step->program->module;
    PassContext ctx = {.scratch = &scratch, .options = {.level = 2, .strict_math = strict}, .program = step->program};
    passes_run(module, &ctx);
    arena_release(&scratch);
    CodegenOptions codegen = {.level = 2, .profile = profile ? &sources : NULL};
    step->loops = codegen_lower(&step->arena, module, &codegen);
    Objects objects = codegen_objects(step->loops, module, step->program, &codegen);
    Jit *jit = jit_new(&step->arena, &message);
    step->code = jit ? jit_add(jit, &objects, &message) : NULL;
    if (!step->code)
        world_error("%s", message);
    objects_free(&objects);
    step->compile_seconds = seconds_now() - start;
    step->graph = find_graph(step->program, graph);
    int32_t phase = module->graphs.at[step->graph]->phase;
    step->phase = step->program->phases.at[phase < 0 ? 0 : phase];
    const LoopGraph *loops = step->loops->graphs.at[step->graph];
    for (size_t i = 0; i < loops->launches.count; i++)
        step->flops += (double)loops->launches.at[i].flops;
}

/// A frame whose inputs are pixels and labels made up, and whose storages `init` has written.
static KdrtFrame make_frame(Step *step) {
    const Module *module = step->program->module;
    const Graph *graph = module->graphs.at[step->graph];
    const void **input = arena_array(&step->arena, const void *, 16);
    size_t output_bytes = 64;
    for (size_t i = 0; i < graph->nodes.count; i++) {
        const Node *node = graph->nodes.at[i];
        const Buffer *buffer = &graph->buffer[node->id];
        if (buffer->space == SPACE_OUTPUT)
            output_bytes += (size_t)buffer->size_bytes + 64;
        if (node->op != OP_input)
            continue;
        int64_t count = type_count(&node->type);
        void *data = huge_memory((size_t)count * 4);
        uint32_t state = 1;
        for (int64_t k = 0; k < count; k++) {
            state = state * 1664525u + 1013904223u;
            if (node->type.dtype == DT_I32)
                ((int32_t *)data)[k] = (int32_t)(state >> 8) % 10;
            else
                ((float *)data)[k] = (float)(state >> 8) / (1 << 23) - 1.0f;
        }
        input[buffer->index] = data;
    }
    enum { MOST_THREADS = 64 };
    return (KdrtFrame){
        .storage = huge_memory((size_t)module->storage_bytes + 64),
        .phase = huge_memory((size_t)module->phase_bytes + 64),
        .step = huge_memory((size_t)module->step_bytes + 64),
        .thread = huge_memory((size_t)(step->loops->thread_bytes + 64) * MOST_THREADS),
        .input = input,
        .scalar = huge_memory((module->scalars.count + 1) * 8),
        .output = huge_memory(output_bytes),
        .seed = 1,
        .threads = 1,
    };
}

static void run(const Step *step, int32_t graph, const KdrtFrame *frame) {
    if (graph >= 0 && step->code->graph[graph])
        step->code->graph[graph](frame);
}

static double time_step(const Step *step, KdrtFrame *frame, int threads, int repeats) {
    double seconds[64], peak[64];
    frame->threads = threads;
    run(step, step->graph, frame);
    for (int i = 0; i < repeats; i++) {
        peak[i] = kdrt_peak_gflops(threads);
        double start = seconds_now();
        run(step, step->graph, frame);
        seconds[i] = seconds_now() - start;
    }
    double taken = median(seconds, repeats), limit = median(peak, repeats);
    double speed = step->flops / taken * 1e-9;
    printf("%d thread%s  %8.2f ms  %7.1f GFLOP/s of %7.1f: %5.1f %%\n", threads,
           threads == 1 ? " " : "s", taken * 1e3, speed, limit, 100 * speed / limit);
    return taken;
}

/// The times of the kernels of a step.
static void print_profile(const Step *step, KdrtFrame *frame, int threads, int repeats) {
    KdrtError error = {0};
    KdrtProfile *profile = kdrt_profile_open(step->code, &error);
    frame->threads = threads;
    for (int i = 0; profile && i <= repeats; i++) {
        run(step, step->graph, frame);
        kdrt_profile_ran(profile, step->graph);
    }
    if (!profile || !kdrt_profile_print(profile, threads, &error))
        world_error("%s", error.text);
    kdrt_profile_close(profile);
}

int main(int argc, char **argv) {
    int threads = 2, repeats = 15;
    FrontendDefine defines[16];
    FrontendOptions options = {.defines = defines, .real = DT_F32};
    if (argc < 2)
        world_error("usage: bench_step FILE.kd [--threads N] [--repeats N] [-D name=value]"
                    " [--math strict|fast]"
                    " [--graph NAME] [--profile]");
    bool strict = false, profile = false;
    const char *graph = NULL;
    for (int i = 2; i < argc; i += 2) {
        if (!strcmp(argv[i], "--profile")) {
            profile = true;
            i--;
            continue;
        }
        if (i + 1 == argc)
            world_error("%s needs a value", argv[i]);
        char *equals = strchr(argv[i + 1], '=');
        if (!strcmp(argv[i], "--threads"))
            threads = atoi(argv[i + 1]);
        else if (!strcmp(argv[i], "--repeats"))
            repeats = atoi(argv[i + 1]) < 63 ? atoi(argv[i + 1]) : 63;
        else if (!strcmp(argv[i], "--graph"))
            graph = argv[i + 1];
        else if (!strcmp(argv[i], "--math"))
            strict = !strcmp(argv[i + 1], "strict");
        else if (!strcmp(argv[i], "-D") && equals && options.define_count < 16) {
            *equals = 0;
            defines[options.define_count++] = (FrontendDefine){argv[i + 1], equals + 1};
        } else
            world_error("unknown option %s", argv[i]);
    }
    static Step step;
    compile(&step, argv[1], &options, strict, graph, profile);
    KdrtFrame frame = make_frame(&step);
    run(&step, step.program->init, &frame);
    run(&step, step.phase->begin, &frame);
    run(&step, step.phase->prologue, &frame);
    const LoopGraph *loops = step.loops->graphs.at[step.graph];
    printf("%s: %zu kernels launched, %.2f GFLOP, arena %.1f MB, compiled in %.2f s\n", loops->name,
           loops->launches.count, step.flops * 1e-9,
           (double)step.program->module->step_bytes * 1e-6, step.compile_seconds);
    if (profile) {
        print_profile(&step, &frame, threads, repeats);
        return 0;
    }
    double one = time_step(&step, &frame, 1, repeats);
    double many = time_step(&step, &frame, threads, repeats);
    printf("%d threads against one: %.2f times\n", threads, one / many);
    return 0;
}
