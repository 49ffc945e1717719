// driver/cost.c -- `kdc cost model.kd`: what networks and steps cost, without compiling them.
//
// A model's multiply-adds are those of the contractions with its weights, in the elaborated graph
// that uses each weight least: a step may show a model two views of an example. A step's are
// counted after the passes, so that what they drop does not count; but without `layout`, whose
// blocks of channels are filled up with zeros. Forward is what is left where gradients cost
// nothing, backward the rest. Kernels and bytes are those of the program as it would be compiled.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver/driver.h"
#include "ir/cost.h"

// ---- models ----

typedef struct Part {
    const char *name; // "layer1"; of a model's own parameters ""
    int64_t parameters, macs;
} Part;

typedef struct Model {
    const char *name;
    int64_t parameters, macs;
    Vec(Part) parts;
} Model;

typedef Vec(Model *) Models;

static bool begins_path(const char *path, const char *with) {
    size_t length = strlen(with);
    return strncmp(path, with, length) == 0 && path[length] == '.';
}

/// Bytes of a storage's name that say whose it is: "student", or of a module that is there for
/// training only "distill.connector".
static size_t owner_length(const Program *program, const char *name) {
    size_t length = 0;
    for (size_t i = 0; i < program->phases.count; i++) {
        const char *const owners[] = {program->phases.at[i]->name, program->phases.at[i]->train};
        for (size_t k = 0; k < 2; k++)
            if (owners[k] && begins_path(name, owners[k]) && strlen(owners[k]) + 1 > length)
                length = strlen(owners[k]) + 1;
    }
    return length + strcspn(name + length, ".");
}

/// Examples of a graph's batch; 0 if it is none of a phase's steps and evals, or the last one.
static int64_t batch_of(const Program *program, size_t graph) {
    for (size_t i = 0; i < program->phases.count; i++) {
        const PhaseSpec *phase = program->phases.at[i];
        for (size_t k = 0; k < phase->steps.count; k++)
            if (phase->steps.at[k].full == (int32_t)graph)
                return phase->batch;
        for (size_t k = 0; k < phase->evals.count; k++)
            if (phase->evals.at[k].graph.full == (int32_t)graph)
                return phase->evals.at[k].batch;
    }
    return 0;
}

// The storage that an operand shows, NULL if it is computed.
static const Storage *storage_of(const Module *module, const Node *node) {
    while (node->arity == 1 && (op_has(node->op, VIEWS) || op_has(node->op, MAPS)))
        node = node->operand[0];
    return node->op == OP_read ? module->storages.at[node->attrs->storage] : NULL;
}

/// Multiply-adds with each storage in one application to one example, by its id.
static int64_t *macs_by_storage(const Program *program, Arena *arena) {
    const Module *module = program->module;
    size_t count = module->storages.count;
    int64_t *least = arena_array(arena, int64_t, count + 1);
    for (size_t g = 0; g < module->graphs.count; g++) {
        const Graph *graph = module->graphs.at[g];
        int64_t batch = batch_of(program, g);
        if (!batch)
            continue;
        int64_t *here = arena_array(arena, int64_t, count + 1);
        for (size_t i = 0; i < graph->nodes.count; i++) {
            const Node *node = graph->nodes.at[i];
            int64_t macs = node_macs(node);
            for (uint32_t k = 0; macs && k < node->arity; k++) {
                const Storage *storage = storage_of(module, node->operand[k]);
                if (storage)
                    here[storage->id] += macs / batch;
            }
        }
        for (size_t s = 0; s < count; s++)
            if (here[s] && (!least[s] || here[s] < least[s]))
                least[s] = here[s];
    }
    return least;
}

static Model *model_named(Models *models, const char *name, Arena *arena) {
    for (size_t i = 0; i < models->count; i++)
        if (strcmp(models->at[i]->name, name) == 0)
            return models->at[i];
    Model *model = arena_new(arena, Model);
    model->name = name;
    vec_push(arena, models, model);
    return model;
}

static Part *part_named(Model *model, const char *name, Arena *arena) {
    for (size_t i = 0; i < model->parts.count; i++)
        if (strcmp(model->parts.at[i].name, name) == 0)
            return &model->parts.at[i];
    vec_push(arena, &model->parts, (Part){.name = name});
    return &vec_last(&model->parts);
}

static Models count_models(const Program *program, Arena *arena) {
    const Module *module = program->module;
    const int64_t *macs = macs_by_storage(program, arena);
    Models models = {0};
    for (size_t i = 0; i < module->storages.count; i++) {
        const Storage *storage = module->storages.at[i];
        if (storage->kind != STORAGE_PARAMETER)
            continue;
        size_t length = owner_length(program, storage->name);
        const char *inside = storage->name + length + (storage->name[length] == '.');
        size_t part_length = strchr(inside, '.') ? strcspn(inside, ".") : 0;
        Model *model = model_named(&models, arena_strndup(arena, storage->name, length), arena);
        Part *part = part_named(model, arena_strndup(arena, inside, part_length), arena);
        part->parameters += type_count(&storage->type);
        part->macs += macs[storage->id];
        model->parameters += type_count(&storage->type);
        model->macs += macs[storage->id];
    }
    return models;
}

static void print_models(StrBuf *out, const Models *models) {
    strbuf_printf(out, "%-28s %14s %16s %16s\n", "model", "parameters", "MACs", "MACs up to here");
    for (size_t i = 0; i < models->count; i++) {
        const Model *model = models->at[i];
        int64_t macs = 0;
        strbuf_printf(out, "%-28s %14" PRId64 " %16" PRId64 "\n", model->name, model->parameters,
                      model->macs);
        for (size_t k = 0; k < model->parts.count; k++) {
            const Part *part = &model->parts.at[k];
            macs += part->macs;
            strbuf_printf(out, "  .%-25s %14" PRId64 " %16" PRId64 " %16" PRId64 "\n", part->name,
                          part->parameters, part->macs, macs);
        }
    }
}

// ---- steps ----

static bool runs_often(const Program *program, size_t graph) {
    const Graph *g = program->module->graphs.at[graph];
    return batch_of(program, graph) || g->role == GRAPH_PROLOGUE;
}

static const Graph *graph_named(const Module *module, const char *name) {
    for (size_t i = 0; i < module->graphs.count; i++)
        if (strcmp(module->graphs.at[i]->name, name) == 0)
            return module->graphs.at[i];
    return NULL;
}

static void print_graphs(StrBuf *out, const Program *program, const Module *forward,
                         const Module *whole) {
    strbuf_printf(out, "\n%-28s %6s %16s %16s %8s %14s\n", "graph", "batch", "forward MACs",
                  "backward MACs", "kernels", "bytes");
    for (size_t i = 0; i < program->module->graphs.count; i++) {
        const Graph *graph = program->module->graphs.at[i];
        if (!runs_often(program, i))
            continue;
        const Graph *without_gradients = graph_named(forward, graph->name);
        const Graph *counted = graph_named(whole, graph->name);
        int64_t first = without_gradients ? graph_macs(without_gradients) : 0;
        int64_t all = counted ? graph_macs(counted) : 0;
        int64_t batch = batch_of(program, i);
        const char *examples = batch ? arena_printf(out->arena, "%" PRId64, batch) : "-";
        strbuf_printf(out, "%-28s %6s %16" PRId64 " %16" PRId64 " %8zu %14" PRId64 "\n",
                      graph->name, examples, first, all - first, graph->kernels.count,
                      graph->step_bytes);
    }
}

static void print_memory(StrBuf *out, const Module *module) {
    int64_t all = module->storage_bytes + module->phase_bytes + module->step_bytes;
    strbuf_printf(out, "\n%-28s %14s\n", "memory", "bytes");
    strbuf_printf(out, "%-28s %14" PRId64 "\n", "parameters and states", module->storage_bytes);
    strbuf_printf(out, "%-28s %14" PRId64 "\n", "constant in a phase", module->phase_bytes);
    strbuf_printf(out, "%-28s %14" PRId64 "\n", "largest graph", module->step_bytes);
    strbuf_printf(out, "%-28s %14" PRId64 "\n", "all", all);
}

// ---- the command ----

typedef enum Purpose {
    AS_COMPILED, // for kernels and bytes; says what is wrong with the program
    FORWARD,     // without gradients and layouts
    WHOLE,       // without layouts
} Purpose;

/// As far as kernels and their memory. `models` is filled before the passes.
static bool compile(Compilation *c, const Options *options, Purpose purpose, Models *models) {
    compile_begin(c, options, options->inputs.at[0]);
    c->quiet = purpose != AS_COMPILED;
    if (!compile_read(c) || !compile_elaborate(c))
        return false;
    if (!c->program) {
        fprintf(stderr, "kdc: %s is IR, not a program\n", c->source->name);
        return false;
    }
    *models = count_models(c->program, &c->arena);
    for (size_t i = 0; purpose == FORWARD && i < c->module->graphs.count; i++)
        graph_drop_gradients(c->module->graphs.at[i]);
    return compile_run_passes(c);
}

int command_cost(const Options *options) {
    if (options->inputs.count != 1) {
        fprintf(stderr, "kdc: cost takes one program; there are %zu\n", options->inputs.count);
        return EXIT_PROGRAM_WRONG;
    }
    if (output_is_input(options->output, options->inputs.at[0]))
        return EXIT_PROGRAM_WRONG;
    Compilation c = {0}, forward = {0}, whole = {0};
    Models models, same;
    bool good = compile(&c, options, AS_COMPILED, &models);
    if (good) {
        Options plain = *options;
        const char *without = options->without;
        plain.without = without ? arena_printf(&c.arena, "%s,layout", without) : "layout";
        plain.print_after = NULL;
        plain.time_passes = false;
        good = compile(&forward, &plain, FORWARD, &same) && compile(&whole, &plain, WHOLE, &same);
        kdc_assert(good);
        StrBuf out = {.arena = &c.arena};
        print_models(&out, &models);
        print_graphs(&out, c.program, forward.module, whole.module);
        print_memory(&out, c.module);
        write_output(options->output, strbuf_text(&out), out.length);
    }
    compile_end(&whole);
    compile_end(&forward);
    compile_end(&c);
    return good ? EXIT_SUCCESS : EXIT_PROGRAM_WRONG;
}
