// bench/step_compile.c -- a program compiled as kdc does, memory to run its steps in, and steps in turn.
#include "bench/step.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/measure.h"
#include "grammar/grammar.h"
#include "ir/cost.h"
#include "passes/passes.h"
#include "support/diag.h"

// ---- compiling ---------------------------------------------------------------------------------------

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

/// The number of a loss term: its name, or what stands in it before the first bracket ("kd").
static size_t find_term(const Graph *graph, const char *name) {
    size_t length = strlen(name);
    for (size_t t = 0; t < graph->terms.count; t++) {
        const char *term = graph->terms.at[t].name;
        if (!strncmp(term, name, length) && (!term[length] || term[length] == '('))
            return t;
    }
    fprintf(stderr, "bench_step: no loss term of %s is called %s; there are", graph->name, name);
    for (size_t t = 0; t < graph->terms.count; t++)
        fprintf(stderr, "%s %s", t ? "," : "", graph->terms.at[t].name);
    fputs("\n", stderr);
    exit(EXIT_PROGRAM_WRONG);
}

const KdrtProgram *step_code(Arena *arena, const LoopProgram *loops, const Module *module, const Program *program,
                                  const CodegenOptions *options) {
    const char *message = NULL;
    Objects objects = codegen_objects(loops, module, program, options);
    Jit *jit = jit_new(arena, &message);
    const KdrtProgram *code = jit ? jit_add(jit, &objects, &message) : NULL;
    if (!code)
        world_error("%s", message);
    objects_free(&objects);
    return code;
}

static void elaborate(Step *step, const Options *options) {
    DiagSink diags = {0};
    SourceSet *sources = &step->sources;
    const char *message = NULL;
    source_set_init(sources, &step->arena);
    diag_sink_init(&diags, &step->arena, sources);
    Source *source = source_read(sources, options->path, AST_SOURCE_MAX, &message);
    if (!source)
        world_error("%s: %s", options->path, message);
    AstFile *file = kd_parse(&step->arena, sources, source, &diags);
    step->program = frontend_elaborate(file, &options->frontend, &step->arena, sources, &diags);
    diag_print_all(&diags, stderr);
    if (!step->program)
        exit(EXIT_PROGRAM_WRONG);
}

/// Finds the graphs to time and adds those without a term.
static void choose_graphs(Step *step, const Options *options, Arena *scratch) {
    Module *module = step->program->module;
    step->graph[0] = find_graph(step->program, options->graph);
    step->graph_count = 1;
    for (size_t i = 0; i < options->without_count; i++) {
        Graph *graph = module->graphs.at[step->graph[0]];
        size_t term = find_term(graph, options->without[i]);
        const char *name = graph->terms.at[term].name;
        step->graph[step->graph_count++] = (int32_t)module->graphs.count;
        graph_without_term(graph, term, arena_printf(&step->arena, "without %s", name), scratch);
    }
}

double step_flops(const LoopGraph *graph) {
    double flops = 0;
    for (size_t i = 0; i < graph->launches.count; i++)
        flops += (double)graph->launches.at[i].flops;
    return flops;
}

void step_compile(Step *step, const Options *options, int64_t memory_limit_bytes) {
    Arena scratch = {0};
    double start = seconds_now();
    elaborate(step, options);
    choose_graphs(step, options, &scratch);
    Module *module = step->program->module;
    PassContext ctx = {
        .scratch = &scratch,
        .options = {.level = 2, .strict_math = options->strict, .memory_limit_bytes = memory_limit_bytes},
        .program = step->program};
    passes_run(module, &ctx);
    arena_release(&scratch);
    if (ctx.unmet)
        world_error("%s needs %.1f MB", ctx.unmet->name, (double)ctx.unmet_bytes * 1e-6);
    CodegenOptions codegen = {.level = 2, .profile = options->profile ? &step->sources : NULL};
    step->loops = codegen_lower(&step->arena, module, &codegen);
    step->code = step_code(&step->arena, step->loops, module, step->program, &codegen);
    step->compile_seconds = seconds_now() - start;
    int32_t phase = module->graphs.at[step->graph[0]]->phase;
    step->phase = step->program->phases.at[phase < 0 ? 0 : phase];
    step->flops = step_flops(step->loops->graphs.at[step->graph[0]]);
}

// ---- running -----------------------------------------------------------------------------------------

void step_run(const KdrtProgram *code, int32_t graph, const KdrtFrame *frame) {
    if (graph >= 0 && code->graph[graph])
        code->graph[graph](frame);
}

/// As a run begins.
static void begin(const Step *step, const KdrtFrame *frame) {
    step_run(step->code, step->program->init, frame);
    step_run(step->code, step->phase->begin, frame);
    step_run(step->code, step->phase->prologue, frame);
}

KdrtFrame step_frame(Step *step, int64_t step_bytes, int64_t thread_bytes, int threads) {
    const Module *module = step->program->module;
    const Graph *graph = module->graphs.at[step->graph[0]];
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
    KdrtFrame frame = {
        .storage = huge_memory((size_t)module->storage_bytes + 64),
        .phase = huge_memory((size_t)module->phase_bytes + 64),
        .step = huge_memory((size_t)step_bytes + 64),
        .thread = huge_memory((size_t)(thread_bytes + 64) * (size_t)threads),
        .input = input,
        .scalar = huge_memory((module->scalars.count + 1) * 8),
        .output = huge_memory(output_bytes),
        .seed = 1,
        .threads = threads,
    };
    begin(step, &frame);
    return frame;
}

void step_print_head(const Step *step) {
    const LoopGraph *loops = step->loops->graphs.at[step->graph[0]];
    printf("%s: %zu kernels launched, %.2f GFLOP, arena %.1f MB, compiled in %.2f s\n", loops->name,
           loops->launches.count, step->flops * 1e-9, (double)loops->graph->step_bytes * 1e-6, step->compile_seconds);
}

// ---- in turn -----------------------------------------------------------------------------------------

Work work_on(const KdrtProgram *code, const LoopProgram *loops, int32_t graph, const KdrtFrame *frame) {
    Work work = {.code = code, .graph = graph, .frame = frame};
    if (code->stamp) {
        work.launch_count = loops->graphs.at[graph]->launches.count;
        work.launch = huge_memory(work.launch_count * MOST_ROUNDS * sizeof *work.launch);
    }
    return work;
}

static void note_launches(Work *work, int round) {
    const int64_t *stamp = work->code->stamp;
    for (size_t i = 0; i < work->launch_count; i++)
        work->launch[i * MOST_ROUNDS + (size_t)round] = 1e-9 * (double)(stamp[i + 1] - stamp[i]);
}

void work_take_turns(Work *work, size_t count, int rounds) {
    for (int i = -1; i < rounds; i++)
        for (size_t k = 0; k < count; k++) {
            int threads = (int)work[k].frame->threads;
            double start = seconds_used(threads);
            step_run(work[k].code, work[k].graph, work[k].frame);
            if (i < 0)
                continue;
            work[k].seconds[i] = seconds_used(threads) - start;
            note_launches(&work[k], i);
        }
}

void print_spread(const char *what, double *value, int count, const char *unit) {
    double middle = median(value, count);
    printf("%-40s %8.2f %s  (%.2f to %.2f)\n", what, middle, unit, value[count / 4], value[count - 1 - count / 4]);
}

void work_print(const char *what, const Work *work, int rounds) {
    double ms[MOST_ROUNDS];
    for (int i = 0; i < rounds; i++)
        ms[i] = 1e3 * work->seconds[i];
    print_spread(what, ms, rounds, "ms");
}

