// driver/deploy.c -- `kdc model.kd --deploy NAME -o NAME.so`: one deployed function as a library.
//
//     program ─► the deployment's graph alone ─► cut at its exits ─► passes
//         prologue ─► JIT, run here on the weights ─► folded and packed weights ┐
//         segments ─► objects ◄── the weights that they read, as constants ─────┘
//             └─► linker ─► NAME.so or NAME.a, and NAME.h
//
// Weights come from --weights, else from the file that a model is declared `from`.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "driver/driver.h"
#include "passes/passes.h"

typedef enum Kind { KIND_SHARED, KIND_ARCHIVE, KIND_WEIGHTS } Kind;

typedef struct KindRow {
    const char *suffix;
    Kind kind;
} KindRow;

static const KindRow kinds[] = {
    {".so", KIND_SHARED}, {".a", KIND_ARCHIVE}, {".safetensors", KIND_WEIGHTS}};

enum { MOST_LISTED = 6 }; // names in a message; what is behind them is counted

/// A file of weights, and which storages' it may hold.
typedef struct WeightsFile {
    const char *path;
    const char *prefix; // cut from a storage's name to get that in the file: "student."; or ""
    KdrtWeights weights;
    bool is_given; // by --weights
} WeightsFile;

typedef struct Deploy {
    Compilation *c;
    Arena *arena;
    DeploySpec *spec;
    const char *output;
    Kind kind;
    Vec(WeightsFile) files;
    Map trained;    // names of parameters that a step writes
    Module *module; // whose storages are to be filled
    char *storage, *phase; // by the module's offsets; malloc'ed
} Deploy;

// ---- what is asked for --------------------------------------------------------------------------

static const char *file_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static bool find_spec(Deploy *d) {
    const Program *program = d->c->program;
    const char *wanted = d->c->options->deploy;
    Vec(const char *) names = {0};
    for (size_t i = 0; i < program->deploys.count; i++) {
        if (strcmp(program->deploys.at[i]->name, wanted) == 0)
            d->spec = program->deploys.at[i];
        vec_push(d->arena, &names, program->deploys.at[i]->name);
    }
    if (d->spec)
        return true;
    StrBuf text = {.arena = d->arena};
    const char *near = nearest_name(wanted, names.at, names.count);
    if (near)
        strbuf_printf(&text, "; did you mean `%s`?", near);
    for (size_t i = 0; !near && i < names.count; i++)
        strbuf_printf(&text, "%s`%s`", i ? ", " : "; it deploys ", names.at[i]);
    fprintf(stderr, "kdc: %s has no `deploy %s`%s\n", d->c->source->name, wanted,
            text.length ? strbuf_text(&text) : "");
    return false;
}

static bool find_kind(Deploy *d) {
    d->output = d->c->options->output;
    if (!d->output)
        d->output = arena_printf(d->arena, "%s.so", library_prefix(d->arena, d->spec->name));
    const char *suffix = strrchr(file_name(d->output), '.');
    for (size_t i = 0; suffix && i < sizeof kinds / sizeof *kinds; i++) {
        d->kind = kinds[i].kind;
        if (strcmp(kinds[i].suffix, suffix) == 0)
            return true;
    }
    fprintf(stderr, "kdc: `-o %s`: `%s` is not built yet; --deploy makes .so, .a and .safetensors\n",
            d->output, suffix ? suffix : file_name(d->output));
    return false;
}

// ---- weights ------------------------------------------------------------------------------------

static bool begins(const char *text, const char *with) {
    return strncmp(text, with, strlen(with)) == 0;
}

static bool is_folder(const char *path) {
    struct stat status;
    return stat(path, &status) == 0 && S_ISDIR(status.st_mode);
}

static void add_file(Deploy *d, const char *path, const char *prefix, bool is_given) {
    WeightsFile file = {.prefix = prefix, .is_given = is_given};
    file.path = is_folder(path)
                    ? arena_printf(d->arena, "%s/%s.safetensors", path, d->spec->name)
                    : path;
    KdrtError error = {0};
    if (!kdrt_weights_open(&file.weights, file.path, &error))
        world_error("%s", error.text);
    vec_push(d->arena, &d->files, file);
}

/// "student=FILE", where the deployment has a model of that name, or FILE.
static void add_given(Deploy *d, const char *given) {
    const char *equals = strchr(given, '=');
    const char *prefix =
        equals ? arena_printf(d->arena, "%.*s.", (int)(equals - given), given) : NULL;
    for (size_t i = 0; prefix && i < d->module->storages.count; i++)
        if (begins(d->module->storages.at[i]->name, prefix)) {
            add_file(d, equals + 1, prefix, true);
            return;
        }
    add_file(d, given, d->spec->prefix, true);
}

/// The file of a `from`, of a model or a part of one that the deployment has.
static void add_load(Deploy *d, const LoadSpec *load) {
    const char *prefix = arena_printf(d->arena, "%s.", load->model);
    bool is_needed = false;
    for (size_t k = 0; k < d->module->storages.count; k++)
        is_needed |= begins(d->module->storages.at[k]->name, prefix);
    if (!is_needed)
        return;
    add_file(d, load->path, arena_printf(d->arena, "%s.", load->root), false);
    if (*load->part) // whose names may begin there
        add_file(d, load->path, prefix, false);
}

/// What is loaded when a run begins, where --weights says nothing.
static void add_declared(Deploy *d) {
    const Program *program = d->c->program;
    for (size_t i = 0; i < program->loads.count; i++)
        if (program->loads.at[i].path && program->loads.at[i].phase < 0)
            add_load(d, &program->loads.at[i]);
}

static const KdrtTensor *find_in(const WeightsFile *file, const char *name) {
    for (int64_t i = 0; i < file->weights.count; i++)
        if (strcmp(file->weights.tensor[i].name, name) == 0)
            return &file->weights.tensor[i];
    return NULL;
}

/// The first file that has it, by its whole name or by what it is called in its model.
static const KdrtTensor *find_tensor(const Deploy *d, const char *name) {
    for (size_t i = 0; i < d->files.count; i++) {
        const WeightsFile *file = &d->files.at[i];
        const KdrtTensor *tensor = file->is_given ? find_in(file, name) : NULL;
        if (!tensor && begins(name, file->prefix))
            tensor = find_in(file, name + strlen(file->prefix));
        if (tensor)
            return tensor;
    }
    return NULL;
}

static bool shape_fits(const Type *type, const KdrtTensor *tensor) {
    return type->rank == tensor->rank &&
           memcmp(type->dim, tensor->shape, type->rank * sizeof *type->dim) == 0;
}

static bool fill_storage(const Deploy *d, const Storage *storage, const KdrtTensor *tensor) {
    return shape_fits(&storage->type, tensor) &&
           kdrt_weights_copy(tensor, dtype_name(storage->type.dtype),
                             d->storage + storage->offset_bytes,
                             type_count(&storage->type) *
                                 (int64_t)dtype_size_bytes(storage->type.dtype));
}

/// One more name in a list of a message.
static void list_name(StrBuf *list, size_t number, const char *name) {
    if (number < MOST_LISTED)
        strbuf_printf(list, "%s%s", number ? ", " : "", name);
}

static void list_end(StrBuf *list, size_t number) {
    if (number > MOST_LISTED)
        strbuf_printf(list, " and %zu more", number - MOST_LISTED);
}

/// Fills all storages of the module that are of the program, or says what is missing.
static bool fill_storages(Deploy *d) {
    StrBuf missing = {.arena = d->arena}, other = {.arena = d->arena}, before = {.arena = d->arena};
    size_t missing_count = 0, other_count = 0, before_count = 0;
    for (size_t i = 0; i < d->module->storages.count; i++) {
        const Storage *storage = d->module->storages.at[i];
        if (storage->kind == STORAGE_PHASE)
            continue;
        const KdrtTensor *tensor = find_tensor(d, storage->name);
        if (tensor && !d->c->options->weights.count && map_has(&d->trained, storage->name))
            list_name(&before, before_count++, storage->name);
        if (!tensor)
            list_name(&missing, missing_count++, storage->name);
        else if (!fill_storage(d, storage, tensor))
            list_name(&other, other_count++, storage->name);
    }
    list_end(&missing, missing_count);
    list_end(&other, other_count);
    list_end(&before, before_count);
    if (before_count)
        fprintf(stderr,
                "kdc: warning: `%s` gets the weights that the program begins with, and trains on: "
                "%s; --weights RUN takes what a run has left\n",
                d->spec->name, strbuf_text(&before));
    if (missing_count)
        fprintf(stderr, "kdc: `%s` has no weights for %s; give --weights FILE, as a run leaves it "
                "(runs/%s/%s.safetensors)\n", d->spec->name, strbuf_text(&missing),
                d->c->program->name, d->spec->name);
    if (other_count)
        fprintf(stderr, "kdc: the weights of `%s` are of another shape: %s\n", d->spec->name,
                strbuf_text(&other));
    return !missing_count && !other_count;
}

static void *allocate(int64_t size_bytes) {
    size_t size = ((size_t)size_bytes + 64) / 64 * 64;
    void *at = aligned_alloc(64, size);
    if (!at)
        world_error("out of memory (%zu bytes asked for)", size);
    memset(at, 0, size);
    return at;
}

/// Reads the weights for `module`, whose storages have their offsets.
static bool read_weights(Deploy *d, Module *module) {
    const Options *options = d->c->options;
    d->module = module;
    d->storage = allocate(module->storage_bytes);
    d->phase = allocate(module->phase_bytes);
    for (size_t i = 0; i < options->weights.count; i++)
        add_given(d, options->weights.at[i]);
    if (!options->weights.count)
        add_declared(d);
    bool good = fill_storages(d);
    for (size_t i = 0; i < d->files.count; i++)
        kdrt_weights_close(&d->files.at[i].weights);
    return good;
}

static bool write_weights(Deploy *d) {
    Module *module = d->module;
    KdrtTensor *tensor = arena_array(d->arena, KdrtTensor, module->storages.count + 1);
    const char *prefix = d->spec->prefix;
    size_t count = 0;
    for (size_t i = 0; i < module->storages.count; i++) {
        const Storage *storage = module->storages.at[i];
        if (storage->kind == STORAGE_PHASE)
            continue;
        tensor[count] = (KdrtTensor){
            .name = storage->name + (begins(storage->name, prefix) ? strlen(prefix) : 0),
            .dtype = dtype_name(storage->type.dtype),
            .rank = storage->type.rank,
            .data = d->storage + storage->offset_bytes,
            .size_bytes =
                type_count(&storage->type) * (int64_t)dtype_size_bytes(storage->type.dtype)};
        memcpy(tensor[count++].shape, storage->type.dim, sizeof storage->type.dim);
    }
    KdrtError error = {0};
    if (!kdrt_weights_write(d->output, tensor, (int64_t)count, &error))
        world_error("%s", error.text);
    return true;
}

// ---- weights folded and packed ------------------------------------------------------------------

/// The module with those of its graphs alone that are, or are not, a prologue.
static Module *module_part(Arena *arena, const Module *module, bool prologues) {
    Module *part = arena_new(arena, Module);
    *part = *module;
    memset(&part->graphs, 0, sizeof part->graphs);
    part->step_bytes = 0;
    for (size_t i = 0; i < module->graphs.count; i++) {
        Graph *graph = module->graphs.at[i];
        if ((graph->role == GRAPH_PROLOGUE) != prologues)
            continue;
        vec_push(arena, &part->graphs, graph);
        if (graph->step_bytes > part->step_bytes)
            part->step_bytes = graph->step_bytes;
    }
    return part;
}

/// What the library would compute before its first example is computed now, in this process.
static void run_prologue(Deploy *d) {
    const Module *module = module_part(d->arena, d->module, true);
    if (!module->graphs.count)
        return;
    const CodegenOptions options = {.level = d->c->options->level};
    LoopProgram *loops = codegen_lower(d->arena, module, &options);
    Objects objects = codegen_objects(loops, module, NULL, &options);
    const char *message = NULL;
    Jit *jit = jit_new(d->arena, &message);
    const KdrtProgram *program = jit ? jit_add(jit, &objects, &message) : NULL;
    objects_free(&objects);
    if (!program)
        kdc_bug("the JIT refuses the object: %s", message);
    KdrtFrame frame = {
        .storage = d->storage,
        .phase = d->phase,
        .step = allocate(module->step_bytes),
        .thread = allocate(loops->thread_bytes),
        .threads = 1,
    };
    program->graph[0](&frame);
    free(frame.step);
    free(frame.thread);
    jit_free(jit);
}

/// The values that the segments read, one after another; their buffers are moved there.
static char *gather_weights(Deploy *d, Module *segments, size_t *size_bytes) {
    size_t count = segments->storages.count;
    int64_t *offset = arena_array(d->arena, int64_t, count + 1), end = 0;
    for (size_t i = 0; i < count; i++)
        offset[i] = -1;
    for (size_t g = 0; g < segments->graphs.count; g++) {
        const Graph *graph = segments->graphs.at[g];
        for (size_t i = 0; i < graph->nodes.count; i++) {
            Buffer *buffer = &graph->buffer[i];
            if (buffer->space != SPACE_STORAGE && buffer->space != SPACE_PHASE)
                continue;
            if (offset[buffer->index] < 0) {
                offset[buffer->index] = end;
                end += (buffer->size_bytes + 63) / 64 * 64;
            }
            buffer->offset_bytes = offset[buffer->index];
        }
    }
    char *weights = allocate(end);
    for (size_t i = 0; i < count; i++) {
        const Storage *storage = segments->storages.at[i];
        const char *from = storage->kind == STORAGE_PHASE ? d->phase : d->storage;
        if (offset[i] >= 0)
            memcpy(weights + offset[i], from + storage->offset_bytes,
                   (size_t)type_count(&storage->type) * dtype_size_bytes(storage->type.dtype));
    }
    *size_bytes = (size_t)end;
    return weights;
}

// ---- the library --------------------------------------------------------------------------------

static void write_header(Deploy *d, const Library *library, const Module *module) {
    const char *name = file_name(d->output);
    int stem = (int)(strrchr(name, '.') - name);
    const char *file = arena_printf(d->arena, "%.*s.h", stem, name);
    const char *path =
        arena_printf(d->arena, "%.*s%s", (int)(name - d->output), d->output, file);
    const char *text = codegen_library_header(d->arena, library, module, file);
    write_output(path, text, strlen(text));
}

static void emit_library(Deploy *d, Deployment *deployment) {
    Compilation *c = d->c;
    Module *segments = module_part(d->arena, deployment->module, false);
    for (size_t i = 0; i < deployment->segments.count; i++)
        deployment->segments.at[i].graph = (int32_t)i; // they are all that is left, in order
    Library library = {.deployment = deployment, .program = c->program};
    library.prefix = library_prefix(d->arena, d->spec->name);
    char *weights = gather_weights(d, segments, &library.weights_bytes);
    library.weights = weights;
    LoopProgram *loops = codegen_lower(d->arena, segments, &c->codegen);
    Objects objects = codegen_library(loops, segments, &library, &c->codegen);
    const char *message = NULL;
    if (!link_library(&objects, d->output, d->kind == KIND_ARCHIVE, d->arena, &message))
        world_error("%s: %s", d->output, message);
    write_header(d, &library, segments);
    objects_free(&objects);
    free(weights);
}

static bool draws_numbers(const Deploy *d, const Graph *graph) {
    for (size_t i = 0; i < graph->nodes.count; i++) {
        if (!op_has(graph->nodes.at[i]->op, RANDOM))
            continue;
        fprintf(stderr, "kdc: `%s` draws random numbers: a library of that is not built yet\n",
                d->spec->name);
        return true;
    }
    return false;
}

/// Notes the names of the parameters that a step writes.
static void note_trained(Deploy *d, const Module *module) {
    map_init(&d->trained, d->arena);
    for (size_t g = 0; g < module->graphs.count; g++) {
        const Graph *graph = module->graphs.at[g];
        for (size_t i = 0; graph->role == GRAPH_STEP && i < graph->nodes.count; i++) {
            const Node *node = graph->nodes.at[i];
            if (node->op != OP_write)
                continue;
            Storage *storage = module->storages.at[node->attrs->storage];
            if (storage->kind == STORAGE_PARAMETER)
                map_set(&d->trained, storage->name, storage);
        }
    }
}

/// The program's module becomes the deployment's graph alone: no other is compiled.
static Deployment *cut_out(Deploy *d) {
    Compilation *c = d->c;
    Module *module = c->program->module;
    note_trained(d, module);
    Graph *graph = module->graphs.at[d->spec->graph];
    module->graphs.count = 1;
    module->graphs.at[0] = graph;
    d->spec->graph = 0;
    if (draws_numbers(d, graph) ||
        !compile_pass_module(c, module, "differentiate,simplify,cse,dce"))
        return NULL;
    Deployment *deployment = deployment_cut(c->program, d->spec, d->arena);
    return compile_pass_module(c, deployment->module, NULL) ? deployment : NULL;
}

static bool print_forms(Deploy *d, const Deployment *deployment) {
    Compilation *c = d->c;
    StrBuf text = {.arena = d->arena};
    if (c->options->emit == EMIT_IR)
        module_print(&text, deployment->module, &c->sources);
    else
        loop_program_print(&text, codegen_lower(d->arena, deployment->module, &c->codegen));
    write_output(c->options->output, strbuf_text(&text), text.length);
    return true;
}

static bool make(Deploy *d) {
    bool is_form = d->c->options->emit != EMIT_BINARY;
    if (!find_spec(d) || (!is_form && !find_kind(d)))
        return false;
    Deployment *deployment = cut_out(d);
    if (!deployment)
        return false;
    if (is_form)
        return print_forms(d, deployment);
    if (!read_weights(d, deployment->module))
        return false;
    if (d->kind == KIND_WEIGHTS)
        return write_weights(d);
    run_prologue(d);
    emit_library(d, deployment);
    return true;
}

bool deploy_library(Compilation *c) {
    Emit emit = c->options->emit;
    if (compile_input_is_ir(c) || compile_input_is_loops(c)) {
        fprintf(stderr, "kdc: %s is IR, not a program: it deploys nothing\n", c->source->name);
        return false;
    }
    if (emit != EMIT_BINARY && emit != EMIT_IR && emit != EMIT_LOOPS) {
        fprintf(stderr, "kdc: `--deploy` goes with --emit=ir and --emit=loops alone\n");
        return false;
    }
    if (!compile_read(c) || !compile_elaborate(c))
        return false;
    Deploy d = {.c = c, .arena = &c->arena};
    bool good = make(&d);
    free(d.storage);
    free(d.phase);
    return good;
}
