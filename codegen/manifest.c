// codegen/manifest.c -- what a binary must know about its program, as JSON (docs/manifest.md).
//
// Fields are written in the order of that page, so equal programs give equal bytes.
#include <inttypes.h>
#include <string.h>

#include "codegen/codegen.h"
#include "codegen/profile.h"
#include "support/diag.h"
#include "support/json.h"

// ---- the module
// ----------------------------------------------------------------------------------------

static void json_type(Json *json, const Type *type) {
    json_text(json, "dtype", dtype_name(type->dtype));
    json_open(json, "shape", '[');
    for (int i = 0; i < type->rank; i++)
        json_int(json, NULL, type->dim[i]);
    json_close(json, ']');
}

static uint64_t hash_text(uint64_t hash, const char *text) {
    return text ? hash_bytes(text, strlen(text), hash) : hash_mix(hash, 0);
}

static uint64_t hash_type(uint64_t hash, const Type *type) {
    hash = hash_mix(hash, (uint64_t)type->dtype << 8 | type->rank);
    for (int i = 0; i < type->rank; i++)
        hash = hash_mix(hash, (uint64_t)type->dim[i]);
    return hash_mix(hash, (uint64_t)type->block << 8 | type->block_axis);
}

/// By node id: what a node computes, hashed; a second computation of a value is no other value.
static uint64_t *hash_values(const Graph *graph, Arena *arena) {
    uint64_t *value = arena_array(arena, uint64_t, graph->nodes.count + 1);
    for (size_t i = 0; i < graph->nodes.count; i++) {
        const Node *node = graph->nodes.at[i];
        uint64_t hash = hash_type(hash_text(1, op_info[node->op].name), &node->type);
        hash = hash_mix(hash, attrs_hash(node->op, node->attrs));
        for (uint32_t k = 0; k < node->arity; k++)
            hash = hash_mix(hash, value[node->operand[k]->id]);
        value[i] = hash;
    }
    return value;
}

/// Two programs with the same hash compute the same from the same checkpoint, whatever they keep and
/// whatever they compute again.
static uint64_t program_hash(const Module *module) {
    Arena scratch = {0};
    uint64_t hash = hash_mix(1, (uint64_t)module->real);
    for (size_t i = 0; i < module->storages.count; i++) {
        const Storage *storage = module->storages.at[i];
        hash = hash_type(hash_text(hash, storage->name), &storage->type);
        hash = hash_mix(hash_mix(hash, (uint64_t)storage->kind), (uint64_t)storage->phase);
    }
    for (size_t g = 0; g < module->graphs.count; g++) {
        const Graph *graph = module->graphs.at[g];
        const uint64_t *value = hash_values(graph, &scratch);
        hash = hash_text(hash, graph->name);
        for (size_t i = 0; i < graph->nodes.count; i++)
            if (op_has(graph->nodes.at[i]->op, EFFECT))
                hash = hash_mix(hash, value[i]);
    }
    arena_release(&scratch);
    return hash;
}

static void write_storage(Json *json, const Storage *storage) {
    static const char *const kinds[] = {"parameter", "state", "slot", "phase"};
    json_open(json, NULL, '{');
    json_text(json, "name", storage->name);
    json_text(json, "kind", kinds[storage->kind]);
    json_type(json, &storage->type);
    json_int(json, "offset", storage->offset_bytes);
    json_int(json, "phase", storage->phase);
    json_close(json, '}');
}

static void write_module(Json *json, const Module *module, int64_t thread_bytes) {
    json_int(json, "storage_bytes", module->storage_bytes);
    json_int(json, "phase_bytes", module->phase_bytes);
    json_int(json, "step_bytes", module->step_bytes);
    json_int(json, "thread_bytes", thread_bytes);
    json_open(json, "storages", '[');
    for (size_t i = 0; i < module->storages.count; i++)
        write_storage(json, module->storages.at[i]);
    json_close(json, ']');
    json_open(json, "scalars", '[');
    for (size_t i = 0; i < module->scalars.count; i++) {
        json_open(json, NULL, '{');
        json_text(json, "name", module->scalars.at[i]);
        json_close(json, '}');
    }
    json_close(json, ']');
}

/// Inputs in the order of their first nodes, each name once: the order of SPACE_INPUT.
static void write_inputs(Json *json, const Graph *graph) {
    json_open(json, "inputs", '[');
    for (size_t i = 0; i < graph->nodes.count; i++) {
        const Node *node = graph->nodes.at[i];
        bool repeated = false;
        for (size_t k = 0; k < i && node->op == OP_input; k++)
            repeated = repeated || (graph->nodes.at[k]->op == OP_input &&
                                    !strcmp(graph->nodes.at[k]->attrs->name, node->attrs->name));
        if (node->op == OP_input && !repeated)
            json_text(json, NULL, node->attrs->name);
    }
    json_close(json, ']');
}

static void write_outputs(Json *json, const Graph *graph) {
    int64_t bytes = 0;
    json_open(json, "outputs", '[');
    for (size_t i = 0; i < graph->nodes.count; i++) {
        const Node *node = graph->nodes.at[i];
        if (node->op != OP_report && node->op != OP_output)
            continue;
        int64_t size = type_count(&node->type) * (int64_t)dtype_size_bytes(node->type.dtype);
        int64_t offset = graph->buffer ? graph->buffer[node->id].offset_bytes : bytes;
        json_open(json, NULL, '{');
        json_text(json, "name", node->attrs->name);
        bool is_assert = node->op == OP_output &&
                         (graph->role == GRAPH_STEP || graph->role == GRAPH_EVAL);
        json_text(json, "kind", is_assert ? "assert" : op_info[node->op].name);
        json_type(json, &node->type);
        json_int(json, "offset", offset);
        json_close(json, '}');
        int64_t end = (offset + size + 63) / 64 * 64;
        bytes = end > bytes ? end : bytes;
    }
    json_close(json, ']');
    json_int(json, "output_bytes", bytes);
}

static void write_launches(Json *json, const LoopProgram *loops, const LoopGraph *graph) {
    const LaunchNote *notes = profile_notes(loops, graph, json->text.arena);
    json_open(json, "launches", '[');
    for (size_t i = 0; i < graph->launches.count; i++) {
        json_open(json, NULL, '{');
        json_int(json, "code", graph->launches.at[i].kernel);
        json_text(json, "kernel", notes[i].kernel);
        json_text(json, "kind", notes[i].kind);
        json_text(json, "direction", notes[i].direction);
        json_text(json, "terms", notes[i].terms);
        json_text(json, "module", notes[i].module);
        json_text(json, "result", notes[i].result);
        json_text(json, "place", notes[i].place);
        json_int(json, "flops", notes[i].flops);
        json_int(json, "bytes", notes[i].bytes);
        json_close(json, '}');
    }
    json_close(json, ']');
}

static void write_graphs(Json *json, const Module *module, const LoopProgram *loops) {
    static const char *const roles[] = {"free",     "init", "settings", "begin",
                                        "prologue", "step", "eval",     "deploy"};
    json_open(json, "graphs", '[');
    for (size_t i = 0; i < module->graphs.count; i++) {
        const Graph *graph = module->graphs.at[i];
        const LoopGraph *compiled = i < loops->graphs.count ? loops->graphs.at[i] : NULL;
        json_open(json, NULL, '{');
        json_text(json, "name", graph->name);
        json_text(json, "role", roles[graph->role]);
        json_flag(json, "empty", !compiled || compiled->launches.count == 0);
        write_inputs(json, graph);
        write_outputs(json, graph);
        if (loops->profile && compiled)
            write_launches(json, loops, compiled);
        json_close(json, '}');
    }
    json_close(json, ']');
}

// ---- the program
// ---------------------------------------------------------------------------------------

static void write_options(Json *json, const Program *program) {
    json_open(json, "options", '[');
    for (size_t i = 0; i < program->options.count; i++) {
        const OptionSpec *option = &program->options.at[i];
        json_open(json, NULL, '{');
        json_text(json, "name", option->name);
        json_real(json, "default", option->value);
        json_flag(json, "integer", option->is_integer);
        json_text(json, "text", option->text);
        json_close(json, '}');
    }
    json_close(json, ']');
}

static void write_transform(Json *json, const TransformSpec *transform) {
    json_open(json, NULL, '{');
    json_text(json, "name", transform->name);
    json_open(json, "args", '{');
    for (size_t i = 0; i < transform->args.count; i++) {
        const TransformArg *arg = &transform->args.at[i];
        if (arg->text) {
            json_text(json, arg->name, arg->text);
        } else if (arg->count == 1) {
            json_real(json, arg->name, arg->number[0]);
        } else {
            json_open(json, arg->name, '[');
            for (size_t k = 0; k < arg->count; k++)
                json_real(json, NULL, arg->number[k]);
            json_close(json, ']');
        }
    }
    json_close(json, '}');
    json_close(json, '}');
}

static void write_fields(Json *json, const DataSpec *data) {
    json_open(json, "fields", '[');
    for (size_t i = 0; i < data->fields.count; i++) {
        json_open(json, NULL, '{');
        json_text(json, "name", data->fields.at[i].name);
        json_text(json, "column", data->fields.at[i].column);
        json_type(json, &data->fields.at[i].type);
        const ViewSpec *view = data->fields.at[i].view;
        if (view) {
            json_open(json, "view", '[');
            for (size_t k = 0; k < view->augment.count; k++)
                write_transform(json, &view->augment.at[k]);
            json_close(json, ']');
        }
        json_close(json, '}');
    }
    json_close(json, ']');
}

static void write_data(Json *json, const DataSpec *data) {
    json_open(json, NULL, '{');
    json_text(json, "name", data->name);
    json_text(json, "source", data->source);
    json_text(json, "path", data->path);
    json_int(json, "classes", data->classes);
    json_int(json, "count", data->count);
    json_int(json, "test_count", data->test_count);
    json_int(json, "holdout", data->holdout);
    json_open(json, "mean", '[');
    for (size_t i = 0; i < data->mean.count; i++)
        json_real(json, NULL, data->mean.at[i]);
    json_close(json, ']');
    json_open(json, "std", '[');
    for (size_t i = 0; i < data->std.count; i++)
        json_real(json, NULL, data->std.at[i]);
    json_close(json, ']');
    write_fields(json, data);
    json_open(json, "augment", '[');
    for (size_t i = 0; i < data->augment.count; i++)
        write_transform(json, &data->augment.at[i]);
    json_close(json, ']');
    json_open(json, "prepare", '[');
    for (size_t i = 0; i < data->prepare.count; i++)
        write_transform(json, &data->prepare.at[i]);
    json_close(json, ']');
    json_close(json, '}');
}

static void write_eval(Json *json, const EvalSpec *eval) {
    static const char *const parts[] = {"default", "train", "validation", "test"};
    json_open(json, NULL, '{');
    json_int(json, "data", eval->data);
    json_text(json, "part", parts[eval->part]);
    json_int(json, "batch", eval->batch);
    json_int(json, "last_batch", eval->last_batch);
    json_int(json, "full", eval->graph.full);
    json_int(json, "last", eval->graph.last);
    json_int(json, "begin", eval->begin);
    json_int(json, "finish", eval->finish);
    json_close(json, '}');
}

static void write_variants(Json *json, const char *name, const StepVariant *at, size_t count) {
    json_open(json, name, '[');
    for (size_t i = 0; i < count; i++) {
        json_open(json, NULL, '{');
        json_text(json, "when", at[i].when);
        json_int(json, "graph", at[i].graph);
        json_close(json, '}');
    }
    json_close(json, ']');
}

static void write_step(Json *json, const StepSpec *step) {
    json_open(json, NULL, '{');
    json_int(json, "choose", step->choose);
    write_variants(json, "full", step->full.at, step->full.count);
    write_variants(json, "last", step->last.at, step->last.count);
    json_close(json, '}');
}

static void write_phase(Json *json, const PhaseSpec *phase) {
    json_open(json, NULL, '{');
    json_text(json, "name", phase->name);
    json_text(json, "train", phase->train);
    json_int(json, "data", phase->data);
    json_int(json, "batch", phase->batch);
    json_int(json, "last_batch", phase->last_batch);
    json_flag(json, "drop_last", phase->drop_last);
    json_int(json, "settings", phase->settings);
    json_int(json, "begin", phase->begin);
    json_int(json, "prologue", phase->prologue);
    json_open(json, "steps", '[');
    for (size_t i = 0; i < phase->steps.count; i++)
        write_step(json, &phase->steps.at[i]);
    json_close(json, ']');
    json_open(json, "evals", '[');
    for (size_t i = 0; i < phase->evals.count; i++)
        write_eval(json, &phase->evals.at[i]);
    json_close(json, ']');
    json_text(json, "keep_best", phase->keep_best);
    json_flag(json, "keep_lowest", phase->keep_lowest);
    json_int(json, "patience", phase->patience);
    json_close(json, '}');
}

static void write_deploy(Json *json, const DeploySpec *deploy) {
    json_open(json, NULL, '{');
    json_text(json, "name", deploy->name);
    json_text(json, "prefix", deploy->prefix);
    json_open(json, "storages", '[');
    for (size_t i = 0; i < deploy->storages.count; i++)
        json_int(json, NULL, deploy->storages.at[i]);
    json_close(json, ']');
    json_int(json, "graph", deploy->graph);
    json_close(json, '}');
}

static void write_indices(Json *json, const char *name, const uint32_t *index, size_t count) {
    json_open(json, name, '[');
    for (size_t i = 0; i < count; i++)
        json_int(json, NULL, index[i]);
    json_close(json, ']');
}

static void write_load(Json *json, const LoadSpec *load) {
    json_open(json, NULL, '{');
    json_text(json, "model", load->model);
    json_text(json, "root", load->root);
    json_text(json, "part", load->part);
    json_text(json, "path", load->path);
    write_indices(json, "storages", load->storages.at, load->storages.count);
    write_indices(json, "others", load->others.at, load->others.count);
    write_indices(json, "sources", load->sources.at, load->sources.count);
    json_int(json, "phase", load->phase);
    json_int(json, "last_phase", load->last_phase);
    json_close(json, '}');
}

char *codegen_manifest(Arena *arena, const Program *program, const LoopProgram *loops) {
    Json json = {.text = {.arena = arena}, .first = true};
    const Module *module = program->module;
    char hash[17];
    snprintf(hash, sizeof hash, "%016" PRIx64, program_hash(module));
    json_open(&json, NULL, '{');
    json_text(&json, "name", program->name);
    json_text(&json, "real", dtype_name(module->real));
    json_text(&json, "program_hash", hash);
    write_module(&json, module, loops->thread_bytes);
    write_options(&json, program);
    json_open(&json, "data", '[');
    for (size_t i = 0; i < program->data.count; i++)
        write_data(&json, program->data.at[i]);
    json_close(&json, ']');
    write_graphs(&json, module, loops);
    json_int(&json, "init", program->init);
    json_open(&json, "asserts", '[');
    for (size_t i = 0; i < program->asserts.count; i++)
        json_text(&json, NULL, program->asserts.at[i]);
    json_close(&json, ']');
    json_open(&json, "loads", '[');
    for (size_t i = 0; i < program->loads.count; i++)
        write_load(&json, &program->loads.at[i]);
    json_close(&json, ']');
    json_open(&json, "phases", '[');
    for (size_t i = 0; i < program->phases.count; i++)
        write_phase(&json, program->phases.at[i]);
    json_close(&json, ']');
    json_open(&json, "deploys", '[');
    for (size_t i = 0; i < program->deploys.count; i++)
        write_deploy(&json, program->deploys.at[i]);
    json_close(&json, ']');
    json_close(&json, '}');
    strbuf_putc(&json.text, '\n');
    return (char *)strbuf_text(&json.text);
}
