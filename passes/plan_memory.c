// passes/plan_memory.c -- where every value lies: all offsets, before the first step.
//
// Storages lie one after another; those of different phases, which never live together, share
// bytes. What a phase's prologue computes has an arena of its own, which each phase lays anew.
// What lies in a graph's arena, and where, is decided by passes/lives.c.
#include <string.h>

#include "passes/lives.h"
#include "passes/passes.h"

enum { LINGERING_SHARE = 50 }; // of an arena, for places that stay free for some kernels

// ---- storages
// --------------------------------------------------------------------------------------

// Those of one phase, of the kind that its prologue computes (if it still does) or of the others;
// from `offset` on.
static int64_t place_storages(Module *module, const uint8_t *is_written, int32_t phase,
                              bool of_prologue, int64_t offset) {
    for (size_t i = 0; i < module->storages.count; i++) {
        Storage *storage = module->storages.at[i];
        if (storage->phase != phase || (storage->kind == STORAGE_PHASE) != of_prologue ||
            (of_prologue && !is_written[i]))
            continue;
        storage->offset_bytes = offset;
        offset += arena_bytes(&storage->type);
    }
    return offset;
}

static int64_t larger(int64_t a, int64_t b) {
    return a > b ? a : b;
}

static void plan_storages(Module *module, Arena *scratch) {
    int32_t last = -1;
    uint8_t *is_written = arena_array(scratch, uint8_t, module->storages.count + 1);
    for (size_t g = 0; g < module->graphs.count; g++) {
        const Graph *graph = module->graphs.at[g];
        for (size_t i = 0; i < graph->nodes.count; i++)
            if (graph->nodes.at[i]->op == OP_write)
                is_written[graph->nodes.at[i]->attrs->storage] = 1;
    }
    for (size_t i = 0; i < module->storages.count; i++) {
        int32_t phase = module->storages.at[i]->phase;
        last = phase > last ? phase : last;
    }
    int64_t shared = place_storages(module, is_written, -1, false, 0);
    module->storage_bytes = shared;
    module->phase_bytes = place_storages(module, is_written, -1, true, 0);
    for (int32_t phase = 0; phase <= last; phase++) {
        int64_t end = place_storages(module, is_written, phase, false, shared);
        module->storage_bytes = larger(end, module->storage_bytes);
        end = place_storages(module, is_written, phase, true, 0);
        module->phase_bytes = larger(end, module->phase_bytes);
    }
}

// ---- what is not the step's
// --------------------------------------------------------------------------

static uint32_t input_index(const Graph *graph, const Node *node) {
    uint32_t index = 0;
    for (size_t i = 0; graph->nodes.at[i] != node; i++) {
        const Node *before = graph->nodes.at[i];
        if (before->op != OP_input)
            continue;
        if (strcmp(before->attrs->name, node->attrs->name) == 0)
            return input_index(graph, before);
        bool repeated = false;
        for (size_t k = 0; k < i; k++)
            repeated |= graph->nodes.at[k]->op == OP_input &&
                        strcmp(graph->nodes.at[k]->attrs->name, before->attrs->name) == 0;
        index += !repeated;
    }
    return index;
}

static void place_outside(Graph *graph) {
    uint32_t outputs = 0;
    int64_t output_offset = 0;
    for (size_t i = 0; i < graph->nodes.count; i++) {
        const Node *node = graph->nodes.at[i];
        Buffer *buffer = &graph->buffer[i];
        int64_t size = type_bytes(&node->type);
        switch ((int)node->op) {
        case OP_input:
            *buffer = (Buffer){SPACE_INPUT, input_index(graph, node), 0, size};
            break;
        case OP_scalar:
            *buffer = (Buffer){SPACE_SCALAR, module_scalar_slot(graph->module, node->attrs->name),
                               0, size};
            break;
        case OP_read:
        case OP_write: {
            const Storage *storage = graph->module->storages.at[node->attrs->storage];
            BufferSpace space = storage->kind == STORAGE_PHASE ? SPACE_PHASE : SPACE_STORAGE;
            *buffer = (Buffer){space, storage->id, storage->offset_bytes, size};
            break;
        }
        case OP_report:
        case OP_output:
            *buffer = (Buffer){SPACE_OUTPUT, outputs++, output_offset, size};
            output_offset += aligned_bytes(size);
            break;
        default:
            break;
        }
    }
}

static void plan_graph(Graph *graph, Arena *scratch, int64_t share) {
    graph->buffer = arena_array(graph->module->arena, Buffer, graph->nodes.count + 1);
    place_outside(graph);
    Lives lives = lives_find(graph, scratch);
    graph->step_bytes = lives_place(&lives, share);
    for (uint32_t i = 0; i < lives.count; i++) {
        const Life *life = &lives.at[i];
        graph->buffer[life->node->id] = (Buffer){
            SPACE_STEP, 0, lives.at[life->place].offset_bytes, type_bytes(&life->node->type)};
    }
}

/// Gives every storage and every stored value its place.
/// Requires: kernels of `fuse`.  Keeps: the graphs.  Sets: offsets, Graph.buffer, sizes of arenas.
bool pass_plan_memory(Module *module, PassContext *ctx) {
    plan_storages(module, ctx->scratch);
    module->step_bytes = 0;
    for (size_t i = 0; i < module->graphs.count; i++) {
        Graph *graph = module->graphs.at[i];
        plan_graph(graph, ctx->scratch, ctx->options.memory_limit_bytes ? 0 : LINGERING_SHARE);
        module->step_bytes = larger(graph->step_bytes, module->step_bytes);
    }
    return false;
}
