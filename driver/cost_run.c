// driver/cost_run.c -- `kdc cost --count`: how many multiply-adds really run.
//
// The program is compiled so that its kernels count (LoopProgram.counts), each graph is run once on
// zeros, and the counts of the launches that compute contractions are read out of the threads'
// scratch. Nothing here looks at shapes: it is the check of what cost.c works out from them.
#include <stdlib.h>
#include <string.h>

#include "driver/cost.h"

static void *zeros(int64_t size_bytes) {
    size_t size = ((size_t)size_bytes + 127) / 64 * 64;
    void *at = aligned_alloc(64, size);
    if (!at)
        world_error("out of memory");
    return memset(at, 0, size);
}

/// The end of the graph's bytes of a kind that has offsets.
static int64_t output_bytes(const Graph *graph) {
    int64_t end = 0;
    for (size_t i = 0; i < graph->nodes.count; i++) {
        const Buffer *buffer = &graph->buffer[i];
        if (buffer->space == SPACE_OUTPUT && buffer->offset_bytes + buffer->size_bytes > end)
            end = buffer->offset_bytes + buffer->size_bytes;
    }
    return end;
}

static uint32_t input_count(const Graph *graph) {
    uint32_t count = 0;
    for (size_t i = 0; i < graph->nodes.count; i++)
        if (graph->buffer[i].space == SPACE_INPUT && graph->buffer[i].index >= count)
            count = graph->buffer[i].index + 1;
    return count;
}

/// Runs the graph once, on one thread.
static void run(const Graph *graph, KdrtGraphFn function, KdrtFrame *frame) {
    uint32_t inputs = input_count(graph);
    void **input = calloc(inputs + 1, sizeof *input);
    if (!input)
        world_error("out of memory");
    for (size_t i = 0; i < graph->nodes.count; i++) {
        const Buffer *buffer = &graph->buffer[i];
        if (buffer->space == SPACE_INPUT && !input[buffer->index])
            input[buffer->index] = zeros(buffer->size_bytes);
    }
    frame->input = (const void *const *)input;
    frame->output = zeros(output_bytes(graph));
    function(frame);
    free(frame->output);
    for (uint32_t i = 0; i < inputs; i++)
        free(input[i]);
    free(input);
}

static bool contracts(const Kernel *kernel) {
    for (uint32_t i = 0; i < kernel->node_count; i++)
        if (op_has(kernel->node[i]->op, CONTRACTS))
            return true;
    return false;
}

static void count_row(GraphRow *row, const LoopGraph *loops, const int64_t *count) {
    for (size_t i = 0; i < loops->launches.count; i++) {
        const Kernel *kernel = loops->launches.at[i].source;
        if (contracts(kernel))
            row->executed[kernel_stage(kernel)] += count[1 + i];
    }
}

void cost_run(CostReport *report, const Compilation *c) {
    Arena arena = {0};
    CodegenOptions options = c->codegen;
    options.count_products = true;
    LoopProgram *loops = codegen_lower(&arena, c->module, &options);
    Objects objects = codegen_objects(loops, c->module, NULL, &options);
    const char *message = NULL;
    Jit *jit = jit_new(&arena, &message);
    const KdrtProgram *code = jit ? jit_add(jit, &objects, &message) : NULL;
    objects_free(&objects);
    if (!code)
        kdc_bug("the JIT refuses the object: %s", message);
    KdrtFrame frame = {
        .storage = zeros(c->module->storage_bytes),
        .phase = zeros(c->module->phase_bytes),
        .step = zeros(c->module->step_bytes),
        .thread = zeros(loops->thread_bytes),
        .scalar = zeros((int64_t)c->module->scalars.count * 8),
        .threads = 1,
    };
    for (size_t p = 0; p < report->phases.count; p++) {
        for (size_t r = 0; r < report->phases.at[p].rows.count; r++) {
            GraphRow *row = &report->phases.at[p].rows.at[r];
            size_t g = 0;
            while (c->module->graphs.at[g] != row->graph)
                g++;
            memset(frame.thread, 0, (size_t)loops->thread_bytes);
            if (code->graph[g])
                run(row->graph, code->graph[g], &frame);
            count_row(row, loops->graphs.at[g],
                      (const int64_t *)((const char *)frame.thread + loops->count_offset));
        }
    }
    report->counted = true;
    free(frame.storage);
    free(frame.phase);
    free(frame.step);
    free(frame.thread);
    free((void *)frame.scalar);
    jit_free(jit);
    arena_release(&arena);
}
