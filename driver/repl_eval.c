// driver/repl_eval.c -- the values of a graph: compiled as a training step would be, and run once,
// in a worker.
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "driver/repl.h"
#include "passes/passes.h"

static double get_element(const void *at, DType dtype, int64_t i) {
    switch (dtype) {
    case DT_F32:
        return ((const float *)at)[i];
    case DT_F64:
        return ((const double *)at)[i];
    case DT_I32:
        return ((const int32_t *)at)[i];
    case DT_U8:
    case DT_BOOL:
        return ((const uint8_t *)at)[i];
    }
    kdc_bug("no dtype %d", (int)dtype);
}

static void set_element(void *at, DType dtype, int64_t i, double value) {
    switch (dtype) {
    case DT_F32:
        ((float *)at)[i] = (float)value;
        return;
    case DT_F64:
        ((double *)at)[i] = value;
        return;
    case DT_I32:
        ((int32_t *)at)[i] = (int32_t)value;
        return;
    case DT_U8:
    case DT_BOOL:
        ((uint8_t *)at)[i] = (uint8_t)value;
        return;
    }
    kdc_bug("no dtype %d", (int)dtype);
}

// A graph as code, with memory to run in. It ends with its process.
typedef struct Runnable {
    const Module *module;
    const Graph *graph;
    const KdrtProgram *code;
    KdrtFrame frame;
} Runnable;

static void *new_memory(int64_t size_bytes) {
    size_t size = ((size_t)size_bytes + 127) / 64 * 64;
    void *at = aligned_alloc(64, size);
    if (!at)
        world_error("out of memory");
    return memset(at, 0, size);
}

static int64_t output_bytes(const Module *module) {
    int64_t size = 0;
    for (size_t g = 0; g < module->graphs.count; g++) {
        const Graph *graph = module->graphs.at[g];
        for (size_t i = 0; i < graph->nodes.count; i++) {
            const Buffer *buffer = &graph->buffer[i];
            if (buffer->space == SPACE_OUTPUT && buffer->offset_bytes + buffer->size_bytes > size)
                size = buffer->offset_bytes + buffer->size_bytes;
        }
    }
    return size;
}

static void allocate(Runnable *run, const LoopProgram *loops) {
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    int64_t threads = processors > 1 ? processors : 1;
    run->frame = (KdrtFrame){
        .storage = new_memory(run->module->storage_bytes),
        .phase = new_memory(run->module->phase_bytes),
        .step = new_memory(run->module->step_bytes),
        .thread = new_memory((loops->thread_bytes + 64) * threads),
        .scalar = new_memory((int64_t)run->module->scalars.count * 8),
        .output = new_memory(output_bytes(run->module)),
        .threads = threads,
    };
}

// The values of `let`s, and of models that are in training.
static void set_storages(Repl *repl, const Runnable *run) {
    for (size_t i = 0; i < run->module->storages.count; i++) {
        const Storage *storage = run->module->storages.at[i];
        const Type *type = &storage->type;
        const double *value = frontend_session_value(repl->session, storage->name);
        void *at = (char *)run->frame.storage + storage->offset_bytes;
        for (int64_t k = 0; value && k < type_count(type); k++)
            set_element(at, type->dtype, k, value[k]);
        if (!value)
            training_storage(repl, storage->name, at,
                             type_count(type) * (int64_t)dtype_size_bytes(type->dtype));
    }
}

static void run_graph(const Runnable *run, const Graph *graph, uint64_t iteration) {
    size_t index = 0;
    while (run->module->graphs.at[index] != graph)
        index++;
    KdrtFrame frame = run->frame;
    frame.iteration = iteration;
    if (run->code->graph[index])
        run->code->graph[index](&frame);
}

LoopProgram *repl_lower(Repl *repl, Module *module, Program *program,
                        const CodegenOptions *options) {
    Arena scratch = {0};
    PassContext context = {.scratch = &scratch,
                           .options.level = repl->options->level,
                           .options.strict_math = repl->options->strict_math,
                           .program = program,
                           .sources = &repl->sources,
                           .diags = &repl->diags};
    passes_run(module, &context);
    diag_print_all(&repl->diags, repl->out);
    arena_release(&scratch);
    return codegen_lower(&repl->arena, module, options);
}

const KdrtProgram *repl_compile(Repl *repl, const LoopProgram *loops, const Module *module,
                                const Program *program, const CodegenOptions *options) {
    Objects objects = codegen_objects(loops, module, program, options);
    const char *message = NULL;
    Jit *jit = jit_new(&repl->arena, &message);
    const KdrtProgram *code = jit ? jit_add(jit, &objects, &message) : NULL;
    objects_free(&objects);
    if (!code)
        kdc_bug("the JIT refuses the object: %s", message);
    return code;
}

// Parameters of nets called at the prompt are drawn as a run with seed 0 would (docs/manifest.md).
static Runnable prepare(Repl *repl, const SessionItem *item) {
    const CodegenOptions options = repl_codegen_options(repl);
    LoopProgram *loops = repl_lower(repl, item->module, NULL, &options);
    Runnable run = {.module = item->module, .graph = item->graph};
    run.code = repl_compile(repl, loops, item->module, NULL, &options);
    allocate(&run, loops);
    for (size_t i = 0; i < run.module->graphs.count; i++)
        if (run.module->graphs.at[i]->role == GRAPH_INIT && run.module->graphs.at[i] != run.graph)
            run_graph(&run, run.module->graphs.at[i], UINT64_C(1) << 47);
    set_storages(repl, &run);
    return run;
}

static Outputs collect_outputs(Repl *repl, const Runnable *run) {
    Vec(const double *) values = {0};
    Vec(Type) types = {0};
    for (size_t i = 0; i < run->graph->nodes.count; i++) {
        const Node *node = run->graph->nodes.at[i];
        if (node->op != OP_output)
            continue;
        int64_t count = type_count(&node->type);
        double *value = arena_array(&repl->arena, double, (size_t)count);
        const char *at = (const char *)run->frame.output + run->graph->buffer[i].offset_bytes;
        for (int64_t k = 0; k < count; k++)
            value[k] = get_element(at, node->type.dtype, k);
        vec_push(&repl->arena, &values, value);
        vec_push(&repl->arena, &types, node->type);
    }
    return (Outputs){values.count, values.at, types.at};
}

// What a `let` binds goes back to the session; what is only looked at is printed here.
static bool evaluate_task(Repl *repl, const void *context, int requests, int replies) {
    (void)requests;
    const SessionItem *item = context;
    Runnable run = prepare(repl, item);
    run_graph(&run, run.graph, 0);
    Outputs outputs = collect_outputs(repl, &run);
    if (!item->name) {
        repl_print_value(repl, item->text, &outputs);
        return true;
    }
    bool good = worker_write(replies, &outputs.count, sizeof outputs.count);
    for (size_t i = 0; i < outputs.count && good; i++) {
        const Type *type = &outputs.type[i];
        good = worker_write(replies, type, sizeof *type) &&
               worker_write(replies, outputs.value[i], (size_t)type_count(type) * sizeof(double));
    }
    return good;
}

// The values of a worker's reply; NULL if it breaks off.
static const double *const *receive(Repl *repl, int replies) {
    size_t count;
    if (!worker_read(replies, &count, sizeof count))
        return NULL;
    const double **values = arena_array(&repl->arena, const double *, count);
    for (size_t i = 0; i < count; i++) {
        Type type;
        if (!worker_read(replies, &type, sizeof type))
            return NULL;
        size_t elements = (size_t)type_count(&type);
        double *value = arena_array(&repl->arena, double, elements);
        if (!worker_read(replies, value, elements * sizeof *value))
            return NULL;
        values[i] = value;
    }
    return values;
}

bool repl_evaluate(Repl *repl, const SessionItem *item) {
    Worker worker = worker_start(repl, evaluate_task, item);
    const double *const *values = item->name ? receive(repl, worker.replies) : NULL;
    bool good = worker_end(repl, &worker);
    if (good && values)
        frontend_session_bind(repl->session, values);
    return good;
}

static double seconds_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

bool repl_time_task(Repl *repl, const void *context, int requests, int replies) {
    (void)requests, (void)replies;
    double began_s = seconds_now();
    Runnable run = prepare(repl, context);
    double ready_s = seconds_now();
    double best_s = INFINITY;
    int rounds = 0;
    do {
        double start_s = seconds_now();
        run_graph(&run, run.graph, 0);
        best_s = fmin(best_s, seconds_now() - start_s);
        rounds++;
    } while (seconds_now() - ready_s < 0.5 && rounds < 1000);
    fprintf(repl->out, "%.3g ms, the best of %d; compiled in %.3g ms\n", best_s * 1e3, rounds,
            (ready_s - began_s) * 1e3);
    return true;
}

enum { AXIS_SHOWN = 8, ELEMENTS_SHOWN = 64 };

typedef struct TensorPrinter {
    StrBuf *out;
    const Type *type;
    const double *value;
    int shown;
} TensorPrinter;

static void print_element(const TensorPrinter *p, double value) {
    if (p->type->dtype == DT_BOOL)
        strbuf_puts(p->out, value != 0 ? "true" : "false");
    else
        strbuf_printf(p->out, dtype_is_float(p->type->dtype) ? "%.4g" : "%.0f", value);
}

static void print_axis(TensorPrinter *p, int axis, int64_t at) {
    if (axis == p->type->rank) {
        print_element(p, p->value[at]);
        p->shown++;
        return;
    }
    strbuf_putc(p->out, '[');
    int64_t extent = p->type->dim[axis];
    for (int64_t i = 0; i < extent; i++) {
        if (i)
            strbuf_puts(p->out, ", ");
        if (i == AXIS_SHOWN || p->shown >= ELEMENTS_SHOWN) {
            strbuf_puts(p->out, "…");
            break;
        }
        print_axis(p, axis + 1, at * extent + i);
    }
    strbuf_putc(p->out, ']');
}

void repl_print_tensor(StrBuf *out, Arena *arena, const Type *type, const double *value) {
    strbuf_printf(out, "%s = ", type_text(arena, type));
    TensorPrinter printer = {out, type, value, 0};
    print_axis(&printer, 0, 0);
}
