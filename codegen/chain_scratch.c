// codegen/chain_scratch.c -- what a chain keeps in a thread's scratch (see chain.h).
//
// A value is what one launch writes into one argument, until another writes any of its bytes. Where
// all that read a value are in the chain that makes it, part by part, it need not go through
// memory: each thread has room for one part of it, which the next part of the batch takes over. The
// array that was planned for it stays untouched. What is written over an operand stays where it is:
// those lines are in the cache already, and more would have to be.
//
// A value that chains further on read as well, as the backward pass does, is made again in each of
// them, where that is cheap: by a launch more of the same kernel, if what that one read is as it
// was. Then each chain has its own, in scratch. All this is decided by looking at bytes: a second
// launch writes what is there already, and is right wherever it stands.
#include "codegen/chain.h"
#include "ir/cost.h"

enum {
    LEAST_BYTES = 2 << 20,  // of a value that is made again: smaller ones stay in a cache
    MOST_FLOPS = 8,         // per element of it
    MOST_SCRATCH = 8 << 20, // of a thread
};
#define NO_CHAIN SIZE_MAX

typedef struct Use {
    size_t launch;
    uint32_t argument;
} Use;

typedef struct Value {
    size_t launch;
    uint32_t argument;
    bool is_simple; // what reads it reads all of it, and it was not there in part before
    bool is_again;  // made again in each chain
    bool is_pinned; // read by one that is
    Vec(Use) uses;
} Value;

typedef Vec(uint32_t) Indices;

typedef struct Values {
    const LoopProgram *program;
    const LoopGraph *graph;
    const Launch *at; // its launches
    size_t count;
    size_t *chain;  // by launch: the first of its chain, or NO_CHAIN
    Indices *reads; // by launch: values
    Arena *scratch;
    Vec(Value) all;
} Values;

static const Buffer *bytes_of(const Values *v, const Value *value) {
    return &v->at[value->launch].argument[value->argument];
}

// ---- values
// ------------------------------------------------------------------------------------------

static void note_reads(Values *v, size_t launch, const Indices *living) {
    const Launch *l = &v->at[launch];
    for (uint32_t i = 0; i < l->argument_count; i++) {
        if (chain_role(v->program, l, i) == BUFFER_OUT)
            continue;
        for (size_t k = 0; k < living->count; k++) {
            Value *value = &v->all.at[living->at[k]];
            const Buffer *made = bytes_of(v, value);
            if (!chain_overlap(made, &l->argument[i]))
                continue;
            value->is_simple &= chain_same_bytes(made, &l->argument[i]);
            vec_push(v->scratch, &value->uses, ((Use){launch, i}));
            vec_push(v->scratch, &v->reads[launch], living->at[k]);
        }
    }
}

static void note_writes(Values *v, size_t launch, Indices *living) {
    const Launch *l = &v->at[launch];
    for (uint32_t i = 0; i < l->argument_count; i++) {
        BufferRole role = chain_role(v->program, l, i);
        if (role == BUFFER_IN || l->argument[i].space != SPACE_STEP)
            continue;
        size_t kept = 0;
        for (size_t k = 0; k < living->count; k++) {
            uint32_t id = living->at[k];
            if (!chain_overlap(bytes_of(v, &v->all.at[id]), &l->argument[i]))
                living->at[kept++] = id;
        }
        living->count = kept;
        vec_push(v->scratch, living, (uint32_t)v->all.count);
        vec_push(v->scratch, &v->all,
                 ((Value){.launch = launch, .argument = i, .is_simple = role == BUFFER_OUT}));
    }
}

static Values find_values(Arena *scratch, const LoopProgram *program, const LoopGraph *graph) {
    Values v = {.program = program,
                .graph = graph,
                .at = graph->launches.at,
                .count = graph->launches.count,
                .scratch = scratch};
    Indices living = {0};
    v.chain = arena_array(scratch, size_t, v.count + 1);
    v.reads = arena_array(scratch, Indices, v.count + 1);
    for (size_t i = 0; i < v.count; i++) {
        v.chain[i] = !v.at[i].parts ? NO_CHAIN : v.at[i].chained ? v.chain[i - 1] : i;
        note_reads(&v, i, &living);
        note_writes(&v, i, &living);
    }
    return v;
}

// Whole lines of the cache to a part.
static bool falls(const Launch *launch, uint32_t argument, int64_t parts) {
    return chain_falls(launch, argument, parts) &&
           launch->argument[argument].size_bytes % (parts * CACHE_LINE) == 0;
}

static bool stays_in_chain(const Values *v, const Value *value) {
    size_t chain = v->chain[value->launch];
    if (chain == NO_CHAIN || !value->is_simple || !value->uses.count ||
        !falls(&v->at[value->launch], value->argument, v->at[chain].parts))
        return false;
    for (size_t i = 0; i < value->uses.count; i++) {
        const Use *use = &value->uses.at[i];
        if (v->chain[use->launch] != chain ||
            !falls(&v->at[use->launch], use->argument, v->at[chain].parts))
            return false;
    }
    return true;
}

// ---- made again
// -------------------------------------------------------------------------------------

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
    if (bytes_of(v, value)->size_bytes < LEAST_BYTES || !source || source->stored_count != 1)
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
    return read <= bytes_of(v, value)->size_bytes &&
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
    return launch->iterations % parts == 0 && falls(launch, value->argument, parts) &&
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
        if (chain == NO_CHAIN || !falls(&v->at[use->launch], use->argument, v->at[chain].parts))
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
        if (operand->is_again || stays_in_chain(v, operand))
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

// ---- room
// --------------------------------------------------------------------------------------------

/// Part of a value in scratch, while launches [first, last] run.
typedef struct Room {
    size_t first, last;
    int64_t offset, bytes;
} Room;

typedef Vec(Room) Rooms;

static bool is_free(const Rooms *taken, const Room *room) {
    for (size_t i = 0; i < taken->count; i++) {
        const Room *other = &taken->at[i];
        if (room->first <= other->last && other->first <= room->last &&
            room->offset < other->offset + other->bytes &&
            other->offset < room->offset + room->bytes)
            return false;
    }
    return true;
}

/// The lowest offset that is free; false if there is too little room.
static bool find_room(const Rooms *taken, Room *room) {
    int64_t best = is_free(taken, room) ? 0 : INT64_MAX;
    for (size_t i = 0; i < taken->count; i++) {
        room->offset = taken->at[i].offset + taken->at[i].bytes;
        if (room->offset < best && is_free(taken, room))
            best = room->offset;
    }
    room->offset = best;
    return best <= MOST_SCRATCH - room->bytes;
}

/// Whether its launch reads the bytes that it writes.
static bool is_in_place(const Values *v, const Value *value) {
    const Launch *launch = &v->at[value->launch];
    for (uint32_t i = 0; i < launch->argument_count; i++) {
        if (i != value->argument && chain_overlap(&launch->argument[i], bytes_of(v, value)))
            return true;
    }
    return false;
}

static void put_into_scratch(Arena *arena, Launch *launch, uint32_t argument, int64_t offset) {
    if (!launch->scratch) {
        launch->scratch = arena_array(arena, int64_t, launch->argument_count);
        for (uint32_t i = 0; i < launch->argument_count; i++)
            launch->scratch[i] = -1;
    }
    launch->scratch[argument] = offset;
}

static int64_t give_room(Arena *arena, const Values *v, LoopGraph *graph) {
    int64_t bytes = 0;
    Rooms taken = {0};
    size_t chain = NO_CHAIN;
    for (size_t i = 0; i < v->all.count; i++) {
        const Value *value = &v->all.at[i];
        if (!stays_in_chain(v, value) || is_in_place(v, value))
            continue;
        if (v->chain[value->launch] != chain)
            taken.count = 0;
        chain = v->chain[value->launch];
        Room room = {.first = value->launch,
                     .last = vec_last(&value->uses).launch,
                     .bytes = bytes_of(v, value)->size_bytes / v->at[chain].parts};
        if (!find_room(&taken, &room))
            continue;
        vec_push(v->scratch, &taken, room);
        bytes = room.offset + room.bytes > bytes ? room.offset + room.bytes : bytes;
        put_into_scratch(arena, &graph->launches.at[value->launch], value->argument, room.offset);
        for (size_t k = 0; k < value->uses.count; k++) {
            const Use *use = &value->uses.at[k];
            put_into_scratch(arena, &graph->launches.at[use->launch], use->argument, room.offset);
        }
    }
    return bytes;
}

int64_t chain_scratch(Arena *arena, const LoopProgram *program, LoopGraph *graph) {
    Arena scratch = {0};
    Values v = find_values(&scratch, program, graph);
    AgainList again = find_all_again(&v);
    insert_again(arena, &v, &again, graph);
    v = find_values(&scratch, program, graph);
    int64_t bytes = give_room(arena, &v, graph);
    arena_release(&scratch);
    return bytes;
}
