// driver/cost.c -- `kdc cost model.kd`: what networks, steps and loss terms cost, without running
// them.
//
// A model's multiply-adds are those of the contractions with its weights, in the elaborated graph
// that uses each weight least: a step may show a model two views of an example.
//
// A graph's kernels and bytes are those of the program as it would be compiled. Its operations are
// counted in the same run, just before `fill`, which fills up blocks of channels with zeros:
// after all that drops, shares and folds, that is. What `remat` adds under a memory limit is a table
// of its own.
//
// A term costs what would go if it were taken out of its step. So the program is elaborated a
// second time, each step is put through the passes once more without each of its terms
// (ir/terms.c), and what then lacks is the term's. What several terms need stays when one goes: it
// is the step's shared part.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver/cost.h"

// ---- models
// ----------------------------------------------------------------------------------------

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
            for (size_t v = 0; v < phase->steps.at[k].full.count; v++)
                if (phase->steps.at[k].full.at[v].graph == (int32_t)graph)
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

static ModelCost *model_named(ModelCosts *models, const char *name, Arena *arena) {
    for (size_t i = 0; i < models->count; i++)
        if (strcmp(models->at[i]->name, name) == 0)
            return models->at[i];
    ModelCost *model = arena_new(arena, ModelCost);
    model->name = name;
    vec_push(arena, models, model);
    return model;
}

static PartCost *part_named(ModelCost *model, const char *name, Arena *arena) {
    for (size_t i = 0; i < model->parts.count; i++)
        if (strcmp(model->parts.at[i].name, name) == 0)
            return &model->parts.at[i];
    vec_push(arena, &model->parts, (PartCost){.name = name});
    return &vec_last(&model->parts);
}

static ModelCosts count_models(const Program *program, Arena *arena) {
    const Module *module = program->module;
    const int64_t *macs = macs_by_storage(program, arena);
    ModelCosts models = {0};
    for (size_t i = 0; i < module->storages.count; i++) {
        const Storage *storage = module->storages.at[i];
        if (storage->kind != STORAGE_PARAMETER)
            continue;
        size_t length = owner_length(program, storage->name);
        const char *inside = storage->name + length + (storage->name[length] == '.');
        size_t part_length = strchr(inside, '.') ? strcspn(inside, ".") : 0;
        ModelCost *model = model_named(&models, arena_strndup(arena, storage->name, length), arena);
        PartCost *part = part_named(model, arena_strndup(arena, inside, part_length), arena);
        part->parameters += type_count(&storage->type);
        part->macs += macs[storage->id];
        model->parameters += type_count(&storage->type);
        model->macs += macs[storage->id];
    }
    return models;
}

// ---- graphs
// ----------------------------------------------------------------------------------------

/// Operations of each graph of a module, counted on the way through the passes.
typedef struct Counted {
    Arena *arena;
    Vec(GraphCost) graph; // by index
} Counted;

// Before `remat`: what it has computed again is reported by itself.
static void count_kernels(const Module *module, Counted *counted) {
    for (size_t i = 0; i < counted->graph.count; i++)
        graph_count_kernels(module->graphs.at[i], &counted->graph.at[i], counted->arena);
}

static void count_work(const Module *module, const char *next_pass, void *data) {
    Counted *counted = data;
    if (strcmp(next_pass, "remat") == 0)
        count_kernels(module, counted);
    if (strcmp(next_pass, "fill") != 0)
        return;
    for (size_t i = 0; i < module->graphs.count; i++) {
        GraphCost cost = {0};
        graph_count_work(module->graphs.at[i], &cost);
        vec_push(counted->arena, &counted->graph, cost);
    }
}

/// By storage: does a run of the graph read it? What a phase computes at its beginning stands for
/// what it was computed from.
static uint8_t *storages_read(const Graph *graph, Arena *arena) {
    const Module *module = graph->module;
    uint8_t *read = arena_array(arena, uint8_t, module->storages.count);
    for (size_t i = 0; i < graph->nodes.count; i++)
        if (graph->nodes.at[i]->op == OP_read)
            read[graph->nodes.at[i]->attrs->storage] = 1;
    for (size_t g = 0; g < module->graphs.count; g++) {
        const Graph *prologue = module->graphs.at[g];
        if (prologue->role != GRAPH_PROLOGUE || prologue->phase != graph->phase)
            continue;
        uint8_t *wanted = arena_array(arena, uint8_t, prologue->nodes.count);
        for (size_t i = prologue->nodes.count; i-- > 0;) {
            const Node *node = prologue->nodes.at[i];
            wanted[i] |= node->op == OP_write && read[node->attrs->storage];
            if (wanted[i] && node->op == OP_read)
                read[node->attrs->storage] = 1;
            for (uint32_t k = 0; wanted[i] && k < node->arity; k++)
                wanted[node->operand[k]->id] = 1;
        }
    }
    return read;
}

/// Elements of the parameters among the first `count` storages that are marked, and in `also` too,
/// unless that is NULL.
static int64_t parameters_among(const Module *module, size_t count, const uint8_t *marked,
                                const uint8_t *also) {
    int64_t parameters = 0;
    for (size_t i = 0; i < count; i++)
        if (module->storages.at[i]->kind == STORAGE_PARAMETER && marked[i] && (!also || also[i]))
            parameters += type_count(&module->storages.at[i]->type);
    return parameters;
}

static void subtract(GraphCost *cost, const GraphCost *other) {
    for (int s = 0; s < STAGE_COUNT; s++) {
        cost->stage[s].macs -= other->stage[s].macs;
        cost->stage[s].flops -= other->stage[s].flops;
        cost->stage[s].kernels -= other->stage[s].kernels;
    }
    cost->kept_bytes -= other->kept_bytes;
    cost->arena_bytes -= other->arena_bytes;
}

// ---- terms
// -----------------------------------------------------------------------------------------

/// One step without one of its terms.
typedef struct Without {
    const char *step; // its graph's name
    LossTerm term;
    size_t graph; // index
} Without;

typedef struct Withouts {
    Compilation compilation;
    Counted counted;
    Vec(Without) at;
} Withouts;

/// Leaves of a step no more than that it updates what it updates, so that the rest of the module
/// takes none of that for constant.
static void keep_writes_only(Graph *graph) {
    size_t count = graph->nodes.count;
    for (size_t i = 0; i < count; i++) {
        const Node *write = graph->nodes.at[i];
        if (write->op != OP_write)
            continue;
        const Storage *storage = graph->module->storages.at[write->attrs->storage];
        ir_write(graph, storage, ir_full(graph, 0, &storage->type));
    }
    uint8_t *live = arena_array(graph->module->arena, uint8_t, graph->nodes.count);
    memset(live + count, 1, graph->nodes.count - count);
    graph_keep_only(graph, live);
}

static bool count_without_terms(Withouts *w, const Options *options) {
    Compilation *c = &w->compilation;
    compile_begin(c, options, options->inputs.at[0]);
    c->quiet = true;
    w->counted.arena = &c->arena;
    c->observe = count_work;
    c->observer = &w->counted;
    if (!compile_read(c) || !compile_elaborate(c))
        return false;
    Module *module = c->module;
    size_t count = module->graphs.count;
    for (size_t g = 0; g < count; g++) {
        Graph *graph = module->graphs.at[g];
        bool counts = graph->role == GRAPH_STEP && batch_of(c->program, g);
        for (size_t t = 0; counts && t < graph->terms.count; t++) {
            Without without = {graph->name, graph->terms.at[t], module->graphs.count};
            const char *name = arena_printf(&c->arena, "%s without %zu", graph->name, t);
            graph_without_term(graph, t, name, &c->arena);
            vec_push(&c->arena, &w->at, without);
        }
        if (graph->role == GRAPH_STEP)
            keep_writes_only(graph);
        else
            graph->nodes.count = 0;
    }
    if (!compile_run_passes(c))
        return false;
    return true;
}

static void add_terms(GraphRow *row, const Withouts *w, const uint8_t *read, Arena *arena) {
    row->shared = row->cost;
    row->shared_parameters = row->parameters;
    for (size_t i = 0; i < w->at.count; i++) {
        const Without *without = &w->at.at[i];
        if (strcmp(without->step, row->graph->name) != 0)
            continue;
        const Module *module = w->compilation.module; // begins with the same storages
        size_t storages = row->graph->module->storages.count;
        if (module->storages.count < storages)
            storages = module->storages.count;
        const uint8_t *rest = storages_read(module->graphs.at[without->graph], arena);
        TermCost term = {.name = without->term.name, .span = without->term.span, .cost = row->cost};
        subtract(&term.cost, &w->counted.graph.at[without->graph]);
        term.parameters = row->parameters - parameters_among(module, storages, read, rest);
        subtract(&row->shared, &term.cost);
        row->shared_parameters -= term.parameters;
        vec_push(arena, &row->terms, term);
    }
}

// ---- phases
// ----------------------------------------------------------------------------------------

int64_t phase_peak_bytes(const CostReport *report, const PhaseCost *phase) {
    return report->storage_bytes + phase->constant_bytes + phase->arena_bytes;
}

static void mark_all(uint8_t *marked, const uint8_t *more, size_t count) {
    for (size_t i = 0; i < count; i++)
        marked[i] |= more[i];
}

static bool is_deployed(const Program *program, uint32_t storage) {
    for (size_t d = 0; d < program->deploys.count; d++)
        for (size_t i = 0; i < program->deploys.at[d]->storages.count; i++)
            if (program->deploys.at[d]->storages.at[i] == storage)
                return true;
    return false;
}

static void count_parameters(const Program *program, PhaseCost *phase, const uint8_t *read,
                             const uint8_t *trained) {
    phase->train_only = program->deploys.count ? 0 : -1;
    for (size_t i = 0; i < program->module->storages.count; i++) {
        const Storage *storage = program->module->storages.at[i];
        if (storage->kind != STORAGE_PARAMETER || !(read[i] || trained[i]))
            continue;
        int64_t count = type_count(&storage->type);
        *(trained[i] ? &phase->trained : &phase->frozen) += count;
        if (program->deploys.count && !is_deployed(program, (uint32_t)i))
            phase->train_only += count;
    }
}

static PhaseCost count_phase(const Compilation *c, int32_t number, const Counted *counted,
                             const Withouts *w, Arena *arena) {
    const Module *module = c->module;
    size_t storages = module->storages.count;
    PhaseCost phase = {.spec = c->program->phases.at[number]};
    uint8_t *read = arena_array(arena, uint8_t, storages);
    uint8_t *trained = arena_array(arena, uint8_t, storages);
    for (size_t g = 0; g < module->graphs.count; g++) {
        const Graph *graph = module->graphs.at[g];
        if (graph->phase != number)
            continue;
        if (graph->step_bytes > phase.arena_bytes)
            phase.arena_bytes = graph->step_bytes;
        int64_t batch = batch_of(c->program, g);
        if (!batch && graph->role != GRAPH_PROLOGUE)
            continue;
        const uint8_t *here = storages_read(graph, arena);
        GraphRow row = {.graph = graph, .batch = batch, .cost = counted->graph.at[g]};
        row.parameters = parameters_among(module, storages, here, NULL);
        add_terms(&row, w, here, arena);
        for (size_t i = 0; i < graph->recomputed.count; i++) {
            row.recomputed_flops += graph->recomputed.at[i].flops;
            row.recomputed_bytes += graph->recomputed.at[i].bytes;
        }
        vec_push(arena, &phase.rows, row);
        if (graph->role != GRAPH_STEP)
            continue;
        mark_all(read, here, storages);
        for (size_t i = 0; i < graph->nodes.count; i++) {
            const Node *node = graph->nodes.at[i];
            if (node->op == OP_write && node_stage(node) == STAGE_UPDATE)
                trained[node->attrs->storage] = 1;
        }
    }
    for (size_t i = 0; i < storages; i++) {
        const Storage *storage = module->storages.at[i];
        int64_t end = storage->offset_bytes +
                      type_count(&storage->type) * (int64_t)dtype_size_bytes(storage->type.dtype);
        if (storage->kind == STORAGE_PHASE && storage->phase == number &&
            end > phase.constant_bytes)
            phase.constant_bytes = end;
    }
    count_parameters(c->program, &phase, read, trained);
    return phase;
}

// ---- the command
// -----------------------------------------------------------------------------------

static bool count_all(Compilation *c, const Options *options, CostReport *report) {
    Counted counted = {.arena = &c->arena};
    compile_begin(c, options, options->inputs.at[0]);
    c->observe = count_work;
    c->observer = &counted;
    if (!compile_read(c) || !compile_elaborate(c))
        return false;
    if (!c->program) {
        fprintf(stderr, "kdc: %s is IR, not a program\n", c->source->name);
        return false;
    }
    report->models = count_models(c->program, &c->arena);
    if (!compile_run_passes(c))
        return false;
    report->memory_limit_bytes = options->memory_limit_bytes;
    report->storage_bytes = c->module->storage_bytes;
    Options plain = *options;
    plain.print_after = NULL;
    plain.time_passes = false;
    plain.memory_limit_bytes = 0;
    Withouts w = {0};
    bool good = count_without_terms(&w, &plain);
    kdc_assert(good);
    for (size_t i = 0; i < c->program->phases.count; i++) {
        PhaseCost phase = count_phase(c, (int32_t)i, &counted, &w, &c->arena);
        for (size_t r = 0; r < phase.rows.count; r++) // names are the other compilation's
            for (size_t t = 0; t < phase.rows.at[r].terms.count; t++)
                phase.rows.at[r].terms.at[t].name =
                    arena_strdup(&c->arena, phase.rows.at[r].terms.at[t].name);
        vec_push(&c->arena, &report->phases, phase);
    }
    compile_end(&w.compilation);
    return true;
}

int command_cost(const Options *options) {
    if (options->inputs.count != 1) {
        fprintf(stderr, "kdc: cost takes one program; there are %zu\n", options->inputs.count);
        return EXIT_PROGRAM_WRONG;
    }
    if (options->passes) {
        fprintf(stderr, "kdc: cost runs all passes; `--without` leaves single ones out\n");
        return EXIT_PROGRAM_WRONG;
    }
    if (output_is_input(options->output, options->inputs.at[0]))
        return EXIT_PROGRAM_WRONG;
    Compilation c = {0};
    CostReport report = {0};
    bool good = count_all(&c, options, &report);
    if (good && options->count)
        cost_run(&report, &c);
    if (good) {
        StrBuf out = {.arena = &c.arena};
        if (options->json)
            cost_print_json(&out, &report, &c.sources);
        else
            cost_print(&out, &report, &c.sources);
        write_output(options->output, strbuf_text(&out), out.length);
    }
    compile_end(&c);
    return good ? EXIT_SUCCESS : EXIT_PROGRAM_WRONG;
}
