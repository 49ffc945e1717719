// passes/times.c -- when a value is known; see times.h.
#include "passes/times.h"

#include <string.h>

bool graph_repeats(const Graph *graph) {
    return graph->phase >= 0 && (graph->role == GRAPH_STEP || graph->role == GRAPH_EVAL ||
                                 graph->role == GRAPH_DEPLOY);
}

/// The graph that runs once, before the phase's prologue: what it writes is known by then.
static bool runs_before(const Graph *graph, size_t index, const Program *program) {
    if (graph->role == GRAPH_SETTINGS || graph->role == GRAPH_PROLOGUE)
        return true;
    if (graph->role != GRAPH_BEGIN)
        return false;
    // An eval has begin graphs too, and they run again and again.
    return !program || (size_t)graph->phase >= program->phases.count ||
           program->phases.at[graph->phase]->begin == (int32_t)index;
}

static const uint8_t *mark_written(const Graph *graph, PassContext *ctx) {
    const Module *module = graph->module;
    uint8_t *is_written = arena_array(ctx->scratch, uint8_t, module->storages.count);
    for (size_t i = 0; i < module->graphs.count; i++) {
        const Graph *other = module->graphs.at[i];
        if (other->phase != graph->phase || runs_before(other, i, ctx->program))
            continue;
        for (size_t k = 0; k < other->nodes.count; k++) {
            const Node *node = other->nodes.at[k];
            if (node->op == OP_write)
                is_written[node->attrs->storage] = 1;
        }
    }
    return is_written;
}

static Time time_of_scalar(const Times *times, const char *name) {
    if (strcmp(name, "epoch") == 0)
        return TIME_EPOCH;
    if (strcmp(name, "iteration") == 0 || strcmp(name, "progress") == 0 ||
        strncmp(name, "accumulate.", 11) == 0)
        return TIME_STEP;
    if (times->graph->role == GRAPH_DEPLOY)
        return TIME_STEP; // its options are set between calls
    if (!times->program)
        return TIME_RUN;
    for (size_t i = 0; i < times->program->options.count; i++) {
        if (strcmp(times->program->options.at[i].name, name) == 0)
            return TIME_RUN;
    }
    return TIME_STEP;
}

static Time time_of_leaf(const Times *times, const Node *node) {
    if (node->op == OP_const || node->op == OP_iota)
        return TIME_CONSTANT;
    if (node->op == OP_scalar)
        return time_of_scalar(times, node->attrs->name);
    if (node->op == OP_read && times->is_written && !times->is_written[node->attrs->storage])
        return TIME_PHASE;
    return TIME_STEP;
}

/// Works out the times of the nodes up to `id`. A node that a rewrite has redirected since may
/// stand before its operands, but was looked at before that.
static void extend(Times *times, size_t id) {
    while (times->time.count <= id) {
        const Node *next = times->graph->nodes.at[times->time.count];
        Time time = op_has(next->op, LEAF)     ? time_of_leaf(times, next)
                    : op_has(next->op, EFFECT) ? TIME_STEP
                                               : TIME_CONSTANT;
        for (uint32_t k = 0; k < next->arity; k++) {
            Time operand = (Time)times->time.at[next->operand[k]->id];
            if (operand > time)
                time = operand;
        }
        vec_push(times->scratch, &times->time, (uint8_t)time);
    }
}

Times times_begin(const Graph *graph, PassContext *ctx) {
    Times times = {
        .graph = graph,
        .program = ctx->program,
        .is_written = graph->phase >= 0 ? mark_written(graph, ctx) : NULL,
        .scratch = ctx->scratch,
    };
    if (graph->nodes.count)
        extend(&times, graph->nodes.count - 1);
    return times;
}

Time time_of(Times *times, const Node *node) {
    extend(times, node->id);
    return (Time)times->time.at[node->id];
}

bool is_frozen(Times *times, const Node *node) {
    return time_of(times, node) <= TIME_PHASE;
}
