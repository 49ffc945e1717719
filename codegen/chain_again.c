// codegen/chain_again.c -- what chains make again (see chain.h).
//
// A value that chains further on read as well, as the backward pass does, is made again in each of
// them, where that is cheap: by a launch more of the same kernel, if what that one read is as it
// was. Then each chain has its own, in scratch. All this is decided by looking at bytes: a second
// launch writes what is there already, and is right wherever it stands.
#include "codegen/chain_values.h"
#include "ir/cost.h"

enum {
    LEAST_BYTES = 2 << 20, // of a value that is made again: smaller ones stay in a cache
    MOST_FLOPS = 8,        // per element of it
};

/// A launch that is to run again, just before another.
typedef struct Again {
    size_t launch, before;
} Again;

typedef Vec(Again) AgainList;

/// One result, of few operations, for which no more bytes are read than it has itself.
static bool is_cheap(const Values *v, const Value *value) {
    const Launch *launch = &v->at[value->launch];
    const Kernel *source = launch->source;
    int64_t read = 0, flops = 0;
    if (value_bytes(v, value)->size_bytes < LEAST_BYTES || !source || source->stored_count != 1)
        return false;
    for (uint32_t i = 0; i < launch->argument_count; i++) {
        if (i == value->argument)
            continue;
        if (chain_role(v->program, launch, i) != BUFFER_IN)
            return false;
        if (chain_falls(launch, i, launch->parts))
            read += launch->argument[i].size_bytes;
    }
    for (uint32_t i = 0; i < source->node_count; i++)
        flops += node_flops(source->node[i]);
    return read <= value_bytes(v, value)->size_bytes &&
           flops <= MOST_FLOPS * type_count(&source->stored[0]->type);
}

/// Whether what the launch read is as it was when the launches before `end` are done.
static bool is_unchanged(const Values *v, size_t launch, size_t end) {
    const Launch *l = &v->at[launch];
    for (size_t k = launch; k < end; k++) {
        const Launch *other = &v->at[k];
        for (uint32_t i = 0; i < other->argument_count; i++) {
            if (chain_role(v->program, other, i) == BUFFER_IN)
                continue;
            for (uint32_t j = 0; j < l->argument_count; j++) {
                if (chain_role(v->program, l, j) == BUFFER_IN &&
                    chain_overlap(&l->argument[j], &other->argument[i]))
                    return false;
            }
        }
    }
    return true;
}

static bool fits_chain(const Values *v, const Value *value, size_t chain) {
    const Launch *launch = &v->at[value->launch];
    int64_t parts = v->at[chain].parts;
    return launch->iterations % parts == 0 && value_falls(launch, value->argument, parts) &&
           is_unchanged(v, value->launch, chain + chain_length(v->graph, chain));
}

/// Whether all that read the value could have it from their own chain; `list`: where it is then
/// made again.
static bool find_again(const Values *v, const Value *value, AgainList *list) {
    size_t last = v->chain[value->launch];
    if (last == NO_CHAIN || !value->is_simple || !is_cheap(v, value))
        return false;
    for (size_t i = 0; i < value->uses.count; i++) {
        const Use *use = &value->uses.at[i];
        size_t chain = v->chain[use->launch];
        if (chain == NO_CHAIN ||
            !value_falls(&v->at[use->launch], use->argument, v->at[chain].parts))
            return false;
        if (chain == last)
            continue;
        if (!fits_chain(v, value, chain))
            return false;
        vec_push(v->scratch, list, ((Again){value->launch, use->launch}));
        last = chain;
    }
    return list->count > 0;
}

/// What a value is made of must be in memory: not be made again itself, and be read elsewhere too.
static bool pin_operands(Values *v, const Value *value) {
    const Indices *reads = &v->reads[value->launch];
    for (size_t i = 0; i < reads->count; i++) {
        const Value *operand = &v->all.at[reads->at[i]];
        if (operand->is_again || value_stays_in_chain(v, operand))
            return false;
    }
    for (size_t i = 0; i < reads->count; i++)
        v->all.at[reads->at[i]].is_pinned = true;
    return true;
}

static AgainList find_all_again(Values *v) {
    AgainList all = {0};
    for (size_t i = 0; i < v->all.count; i++) {
        AgainList more = {0};
        Value *value = &v->all.at[i];
        if (value->is_pinned || !find_again(v, value, &more) || !pin_operands(v, value))
            continue;
        value->is_again = true;
        for (size_t k = 0; k < more.count; k++)
            vec_push(v->scratch, &all, more.at[k]);
    }
    return all;
}

static void insert_again(Arena *arena, const Values *v, const AgainList *again, LoopGraph *graph) {
    Launch *order = arena_array(arena, Launch, v->count + again->count);
    Indices *before = arena_array(v->scratch, Indices, v->count);
    size_t count = 0;
    for (size_t k = 0; k < again->count; k++)
        vec_push(v->scratch, &before[again->at[k].before], (uint32_t)again->at[k].launch);
    for (size_t i = 0; i < v->count; i++) {
        size_t first = count;
        for (size_t k = 0; k < before[i].count; k++) {
            order[count] = v->at[before[i].at[k]];
            order[count++].parts = v->at[i].parts;
        }
        order[count++] = v->at[i];
        for (size_t k = first; k < count; k++)
            order[k].chained = v->at[i].chained || k > first;
    }
    graph->launches.at = order;
    graph->launches.count = count;
}

void chain_again(Arena *arena, const LoopProgram *program, LoopGraph *graph) {
    Arena scratch = {0};
    Values v = values_find(&scratch, program, graph);
    AgainList again = find_all_again(&v);
    insert_again(arena, &v, &again, graph);
    arena_release(&scratch);
}
