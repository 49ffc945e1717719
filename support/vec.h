/// Growable arrays in an arena, typed by macro: `Vec(Node *) nodes = {0}; vec_push(arena, &nodes,
/// n);` `nodes.at[i]`, `nodes.count`. Growing copies within the arena; the old array is left to it.
#ifndef KDC_SUPPORT_VEC_H
#define KDC_SUPPORT_VEC_H

#include "support/arena.h"

#define Vec(T)                                                                                     \
    struct {                                                                                       \
        T *at;                                                                                     \
        size_t count;                                                                              \
        size_t capacity;                                                                           \
    }

/// Ensures room for one more element of `element_bytes`; returns the possibly moved array.
void *vec_grow(Arena *arena, void *at, size_t count, size_t *capacity, size_t element_bytes);

#define vec_push(arena, vec, ...)                                                                  \
    ((vec)->at = vec_grow((arena), (vec)->at, (vec)->count, &(vec)->capacity, sizeof *(vec)->at),  \
     (vec)->at[(vec)->count++] = (__VA_ARGS__))

#define vec_last(vec) ((vec)->at[(vec)->count - 1])

#endif
