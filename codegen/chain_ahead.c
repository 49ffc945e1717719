// codegen/chain_ahead.c -- what launches of a chain ask for on behalf of others (see chain.h).
//
// Some launches of a chain wait for memory and others compute: normalising an image takes as long
// as its lines take to come, a convolution leaves the memory alone for that long. So what the chain
// reads for the first time in a part, and does not make itself, is asked for while a convolution
// before it runs: of the same part if there is one, else of the part before. Kernels that can do so
// ask for a line every twenty multiply-adds of vectors or so, which costs them nothing; asked for
// in bursts the lines keep the kernel's own waiting.
#include "codegen/chain.h"

enum { LEAST_BYTES = 4096 }; // of a part; less comes by itself

/// The launches of a chain, and how many bytes each may still ask for in a part.
typedef struct Chain {
    Arena *arena;
    const LoopProgram *program;
    Launch *launch;
    size_t count;
    int64_t *room;
} Chain;

/// Whether it is read for the first time in a part.
static bool is_wanted(const Chain *chain, size_t user, uint32_t argument) {
    const Launch *launch = &chain->launch[user];
    const Buffer *bytes = &launch->argument[argument];
    if (chain_role(chain->program, launch, argument) == BUFFER_OUT ||
        !chain_falls(launch, argument, launch->parts) || !chain_in_memory(launch, argument) ||
        bytes->size_bytes / launch->parts < LEAST_BYTES)
        return false;
    for (size_t i = 0; i < user; i++) {
        for (uint32_t k = 0; k < chain->launch[i].argument_count; k++) {
            if (chain_in_memory(&chain->launch[i], k) &&
                chain_overlap(&chain->launch[i].argument[k], bytes))
                return false;
        }
    }
    return true;
}

static void ask(const Chain *chain, Launch *launch, Ahead ahead) {
    if (!launch->ahead)
        launch->ahead = arena_array(chain->arena, Ahead, AHEAD_MOST);
    launch->ahead[launch->ahead_count++] = ahead;
}

/// Shares the argument's part out to the launches before `user`, the nearest first, or to all.
static void ask_for(Chain *chain, size_t user, uint32_t argument, bool next_part) {
    const Buffer *buffer = &chain->launch[user].argument[argument];
    int64_t left = buffer->size_bytes / chain->launch[user].parts, offset = 0;
    for (size_t i = next_part ? chain->count : user; i-- > 0 && left > 0;) {
        Launch *host = &chain->launch[i];
        int64_t bytes = left < chain->room[i] ? left : chain->room[i];
        if (bytes <= 0 || host->ahead_count == AHEAD_MOST)
            continue;
        ask(chain, host, (Ahead){buffer, offset, bytes, next_part});
        chain->room[i] -= bytes;
        offset += bytes;
        left -= bytes;
    }
}

static void plan_chain(Chain *chain) {
    size_t first = chain->count; // that can ask
    chain->room = arena_array(chain->arena, int64_t, chain->count);
    for (size_t i = 0; i < chain->count; i++) {
        const Launch *launch = &chain->launch[i];
        int64_t asks = chain->program->kernels.at[launch->kernel]->asks;
        chain->room[i] = asks * (launch->iterations / launch->parts) * CACHE_LINE;
        first = asks && first == chain->count ? i : first;
    }
    for (int next_part = 0; next_part <= 1; next_part++) {
        for (size_t user = 0; user < chain->count; user++) {
            const Launch *launch = &chain->launch[user];
            for (uint32_t k = 0; k < launch->argument_count; k++) {
                if ((user <= first) == next_part && is_wanted(chain, user, k))
                    ask_for(chain, user, k, next_part);
            }
        }
    }
}

void chain_ahead(Arena *arena, const LoopProgram *program, LoopGraph *graph) {
    Chain chain = {.arena = arena, .program = program};
    for (size_t i = 0; i < graph->launches.count; i += chain.count) {
        chain.launch = &graph->launches.at[i];
        chain.count = chain_length(graph, i);
        if (chain.count > 1)
            plan_chain(&chain);
    }
}
