/// Touches: of each node the groups that read or compute it, while `fuse` makes kernels of groups.
#ifndef KDC_PASSES_TOUCHES_H
#define KDC_PASSES_TOUCHES_H

#include <stdbool.h>
#include <stdint.h>

#include "support/arena.h"
#include "support/vec.h"

typedef struct Touch {
    uint32_t group;
    bool computed; // there, not only read
} Touch;

typedef Vec(Touch) TouchList; // by ascending group, each once

typedef struct Touches {
    Arena *arena;
    TouchList *of; // by node id
} Touches;

/// Of so many nodes: nobody touches them yet.
Touches touches_of(Arena *arena, size_t node_count);

/// A group that does not touch the node does from now on, and the other way round.
void touches_add(Touches *touches, uint32_t node, uint32_t group, bool computed);
void touches_remove(Touches *touches, uint32_t node, uint32_t group);

/// Whether some group after `from` and before `to` touches the node.
bool touches_any_between(const Touches *touches, uint32_t node, uint32_t from, uint32_t to);

#endif
