// codegen/chain_stream.c -- what a chain writes past the caches (see chain.h).
//
// To write a line the processor first reads it, unless it writes all of it by a store that says so.
// A map that the chain leaves for later ones is far from the caches by the time that they read it;
// reading its old lines first is in vain, and waiting for them is what kernels of few operations
// mostly do. What the chain reads itself, in the same part, must stay near.
//
// Launches of one kernel share its code, the last, short batch's too: a result is streamed where
// most of its bytes want it.
#include "codegen/chain.h"

enum { LEAST_BYTES = 1 << 20 }; // smaller ones may still be in a cache when they are read

static bool is_read_behind(const Launch *chain, size_t count, size_t writer, uint32_t argument) {
    for (size_t i = writer; i < count; i++) {
        for (uint32_t k = 0; k < chain[i].argument_count; k++) {
            if ((i > writer || k != argument) && chain_in_memory(&chain[i], k) &&
                chain_overlap(&chain[i].argument[k], &chain[writer].argument[argument]))
                return true;
        }
    }
    return false;
}

static bool is_left(const Launch *chain, size_t count, size_t writer, uint32_t argument) {
    return count > 1 && chain[writer].argument[argument].size_bytes >= LEAST_BYTES &&
           chain_in_memory(&chain[writer], argument) &&
           !is_read_behind(chain, count, writer, argument);
}

/// Adds to the votes of the kernel's results, or takes from them, the bytes that this launch writes.
static void vote(const LoopProgram *program, int64_t *const *votes, const Launch *chain,
                 size_t count, size_t at) {
    const LoopKernel *kernel = program->kernels.at[chain[at].kernel];
    uint32_t argument = 0;
    for (size_t i = 0; i < kernel->buffers.count; i++) {
        const LoopBuffer *buffer = &kernel->buffers.at[i];
        if (buffer->role == BUFFER_SCRATCH)
            continue;
        int64_t bytes = chain[at].argument[argument].size_bytes;
        if (buffer->role == BUFFER_OUT && !buffer->in_place)
            votes[chain[at].kernel][i] += is_left(chain, count, at, argument) ? bytes : -bytes;
        argument++;
    }
}

void chain_stream(LoopProgram *program) {
    Arena scratch = {0};
    int64_t **votes = arena_array(&scratch, int64_t *, program->kernels.count + 1);
    for (size_t i = 0; i < program->kernels.count; i++)
        votes[i] = arena_array(&scratch, int64_t, program->kernels.at[i]->buffers.count + 1);
    for (size_t g = 0; g < program->graphs.count; g++) {
        const LoopGraph *graph = program->graphs.at[g];
        for (size_t i = 0, count; i < graph->launches.count; i += count) {
            count = chain_length(graph, i);
            for (size_t k = 0; k < count; k++)
                vote(program, votes, &graph->launches.at[i], count, k);
        }
    }
    for (size_t i = 0; i < program->kernels.count; i++) {
        LoopKernel *kernel = program->kernels.at[i];
        for (size_t k = 0; k < kernel->buffers.count; k++) {
            kernel->buffers.at[k].streamed = votes[i][k] > 0;
            kernel->streams |= kernel->buffers.at[k].streamed;
        }
    }
    arena_release(&scratch);
}
