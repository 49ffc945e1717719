/// Chains: launches that run one after the other for one part of the batch, then for the next.
///
/// Two kernels that a barrier divides pass whole maps through memory: the first has long written
/// the last image when the second reads the first. Where each works image by image a thread may run
/// both for its first image, then both for the second, and the second kernel finds in the cache
/// what the first left there; nor need threads wait for each other in between.
#ifndef KDC_CODEGEN_CHAIN_H
#define KDC_CODEGEN_CHAIN_H

#include "codegen/loops.h"

/// Where a kernel reads or writes: the index along the outermost axis, of `extent`, of an argument.
typedef struct Place {
    uint32_t buffer; // of the kernel
    const LoopExpr *outermost;
    int64_t extent;
} Place;

/// In how many equal parts a buffer falls so that equal ranges of the `iterations` of the kernel's
/// parallel loop, in order, touch but their own. None if the places do not tell.
Parts chain_parts(const LoopKernel *kernel, uint32_t buffer, const Place *place, size_t count,
                  int64_t iterations);

/// Chains launches of the graph, some of which move before others that have nothing to do with
/// them: sets Launch.parts and Launch.chained.
void chain_launches(Arena *arena, const LoopProgram *program, LoopGraph *graph);

/// What a chain makes and further chains read too is made again in them where that is cheap, by
/// launches more.
void chain_again(Arena *arena, const LoopProgram *program, LoopGraph *graph);

/// What a chain makes and reads, and further chains read too, is made twice where that pays, for
/// scratch and for memory: kernels get one more result, "kept". Of all graphs at once, all chained.
void chain_keep(LoopProgram *program);

/// Keeps in scratch what is made and read in one chain alone, or kept for others too: sets
/// Launch.scratch. Returns the bytes that a thread needs for it.
int64_t chain_scratch(Arena *arena, const LoopProgram *program, LoopGraph *graph);

/// What a chain reads from memory is asked for while launches before it compute: sets Launch.ahead.
void chain_ahead(Arena *arena, const LoopProgram *program, LoopGraph *graph);

/// Large results that no launch behind in their chain reads go to memory without being read from
/// there first: sets LoopBuffer.streamed. Of all graphs at once, when nothing else is to be set.
void chain_stream(LoopProgram *program);

// ---- for those that look at launches
// -----------------------------------------------------------------------------------

/// Launches of the chain that begins at `first`; 1: it is none.
size_t chain_length(const LoopGraph *graph, size_t first);
/// Whether the argument falls in so many parts, each touched by that of the iterations.
bool chain_falls(const Launch *launch, uint32_t argument, int64_t parts);
/// Whether the argument does not lie in scratch.
bool chain_in_memory(const Launch *launch, uint32_t argument);
/// Which buffer of the kernel an argument is.
uint32_t chain_buffer(const LoopKernel *kernel, uint32_t argument);
BufferRole chain_role(const LoopProgram *program, const Launch *launch, uint32_t argument);
bool chain_overlap(const Buffer *a, const Buffer *b);
bool chain_same_bytes(const Buffer *a, const Buffer *b);

#endif
