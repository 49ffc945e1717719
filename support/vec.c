// support/vec.c -- growth of the arrays of vec.h: by doubling, so that pushing is O(1) on average.
#include "support/vec.h"

#include <string.h>

void *vec_grow(Arena *arena, void *at, size_t count, size_t *capacity, size_t element_bytes) {
    if (count < *capacity)
        return at;
    size_t grown = *capacity ? *capacity * 2 : 8;
    void *moved = arena_alloc_array(arena, grown, element_bytes);
    if (count)
        memcpy(moved, at, count * element_bytes);
    *capacity = grown;
    return moved;
}
