// codegen/chain_scratch.c -- what a chain keeps in a thread's scratch (see chain.h).
//
// Where all that read a value are in the chain that makes it, part by part, it need not go through
// memory: each thread has room for one part of it, which the next part of the batch takes over. The
// array that was planned for it stays untouched. What is written over an operand stays where it is:
// those lines are in the cache already, and more would have to be.
#include "codegen/chain_values.h"

enum { MOST_SCRATCH = 8 << 20 }; // of a thread

bool chain_in_memory(const Launch *launch, uint32_t argument) {
    return !launch->scratch || launch->scratch[argument] < 0;
}

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

static void put_into_scratch(Arena *arena, Launch *launch, uint32_t argument, int64_t offset) {
    if (!launch->scratch) {
        launch->scratch = arena_array(arena, int64_t, launch->argument_count);
        for (uint32_t i = 0; i < launch->argument_count; i++)
            launch->scratch[i] = -1;
    }
    launch->scratch[argument] = offset;
}

/// In its chain.
static size_t last_use(const Values *v, const Value *value) {
    size_t last = value->launch;
    for (size_t i = 0; i < value->uses.count; i++) {
        size_t launch = value->uses.at[i].launch;
        last = v->chain[launch] == v->chain[value->launch] ? launch : last;
    }
    return last;
}

static int64_t give_room(Arena *arena, const Values *v, LoopGraph *graph) {
    int64_t bytes = 0;
    Rooms taken = {0};
    size_t chain = NO_CHAIN;
    for (size_t i = 0; i < v->all.count; i++) {
        const Value *value = &v->all.at[i];
        if (!value_stays_in_chain(v, value) || value_is_in_place(v, value))
            continue;
        if (v->chain[value->launch] != chain)
            taken.count = 0;
        chain = v->chain[value->launch];
        Room room = {.first = value->launch,
                     .last = last_use(v, value),
                     .bytes = value_bytes(v, value)->size_bytes / v->at[chain].parts};
        if (!find_room(&taken, &room))
            continue;
        vec_push(v->scratch, &taken, room);
        bytes = room.offset + room.bytes > bytes ? room.offset + room.bytes : bytes;
        put_into_scratch(arena, &graph->launches.at[value->launch], value->argument, room.offset);
        for (size_t k = 0; k < value->uses.count; k++) {
            const Use *use = &value->uses.at[k];
            if (v->chain[use->launch] == chain)
                put_into_scratch(arena, &graph->launches.at[use->launch], use->argument,
                                 room.offset);
        }
    }
    return bytes;
}

int64_t chain_scratch(Arena *arena, const LoopProgram *program, LoopGraph *graph) {
    Arena scratch = {0};
    Values v = values_find(&scratch, program, graph);
    int64_t bytes = give_room(arena, &v, graph);
    arena_release(&scratch);
    return bytes;
}
