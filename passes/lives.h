/// Lives: from which kernel to which a graph's arena holds each stored value, and at which offset.
///
///     Lives lives = lives_find(graph, scratch);   // after `fuse`
///     int64_t bytes = lives_place(&lives);        // of the arena; sets the offsets
///
/// A value lives from the kernel that stores it to the last that reads it. One that takes the place
/// of another in that one's last kernel is part of its life: see Life.place.
#ifndef KDC_PASSES_LIVES_H
#define KDC_PASSES_LIVES_H

#include "ir/ir.h"

/// One or several values that take each other's place, alive in kernels [first, last].
typedef struct Life {
    const Node *node;
    uint32_t first, last;
    int64_t size_bytes, offset_bytes;
    uint32_t place; // index of the life whose bytes these are; its own index if of its own
} Life;

typedef struct Lives {
    const Graph *graph;
    Arena *scratch;
    Life *at;
    uint32_t count;
    uint32_t *of; // by node id: index + 1; 0: not in the arena, or its place was taken over
} Lives;

/// The lives of all that the graph's kernels store, effects apart. Offsets are not yet set.
Lives lives_find(const Graph *graph, Arena *scratch);
/// Sets the offsets of the lives that are their own place. Returns the bytes of the arena. For places
/// that stay free for some kernels the arena may be larger by one in `share`; 0: not at all.
int64_t lives_place(Lives *lives, int64_t share);

int64_t type_bytes(const Type *type);     // of a value's elements
int64_t aligned_bytes(int64_t bytes);     // the next multiple of 64
int64_t arena_bytes(const Type *type);    // of a value in an arena

#endif
