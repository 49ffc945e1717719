// passes/lives.c -- how long each stored value lives, and where it lies; see lives.h.
//
// Values are placed from the largest to the smallest, each at the lowest offset that is free all
// its life. Where there is room the place of a value that died is left alone for some kernels: these
// need not wait for each other for its sake (codegen/chain.c). A value that a kernel computes element
// by element from one that dies there takes its place, and both count as one.
#include "passes/lives.h"

#include <stdlib.h>

#include "ir/rows.h"

enum {
    ALIGNMENT = 64,
    LINGER = 6,              // kernels that a place stays free where there is room
    SMALL_BYTES = 512 << 10, // of a value that lingers in any case
};

int64_t aligned_bytes(int64_t bytes) {
    return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

int64_t type_bytes(const Type *type) {
    return type_count(type) * (int64_t)dtype_size_bytes(type->dtype);
}

int64_t arena_bytes(const Type *type) {
    return aligned_bytes(type_bytes(type));
}

// ---- lives
// -------------------------------------------------------------------------------------------

static void find_lives(Lives *lives) {
    const Graph *graph = lives->graph;
    for (uint32_t k = 0; k < graph->kernels.count; k++) {
        const Kernel *kernel = graph->kernels.at[k];
        for (uint32_t i = 0; i < kernel->node_count; i++) {
            const Node *node = kernel->node[i];
            for (uint32_t j = 0; j < node->arity; j++) {
                uint32_t life = lives->of[node->operand[j]->id];
                if (life)
                    lives->at[life - 1].last = k;
            }
        }
        for (uint32_t i = 0; i < kernel->stored_count; i++) {
            const Node *node = kernel->stored[i];
            if (op_has(node->op, EFFECT))
                continue;
            lives->at[lives->count] =
                (Life){node, k, k, arena_bytes(&node->type), 0, lives->count};
            lives->of[node->id] = ++lives->count;
        }
    }
}

// A value of the same type that dies in `kernel` where `node` is stored, and may be overwritten.
static Life *find_dying(Lives *lives, const Kernel *kernel, const Node *node, uint8_t *taint) {
    for (uint32_t i = 0; i < kernel->node_count; i++) {
        const Node *user = kernel->node[i];
        for (uint32_t j = 0; j < user->arity; j++) {
            Node *x = user->operand[j];
            uint32_t index = lives->of[x->id];
            Life *life = index ? &lives->at[index - 1] : NULL;
            if (!life || life->last != kernel->id || life->first == kernel->id ||
                !type_equal(&x->type, &node->type))
                continue;
            if (kernel_keeps_step(taint, kernel->node, kernel->node_count, &x, 1, &x->type))
                return life;
        }
    }
    return NULL;
}

// What was taken over is forgotten as a value, so that it is not taken over twice.
static void find_in_place(Lives *lives) {
    uint8_t *taint = arena_array(lives->scratch, uint8_t, lives->graph->nodes.count + 1);
    for (uint32_t k = 0; k < lives->graph->kernels.count; k++) {
        const Kernel *kernel = lives->graph->kernels.at[k];
        for (uint32_t i = 0; i < kernel->stored_count; i++) {
            uint32_t index = lives->of[kernel->stored[i]->id];
            if (!index)
                continue;
            Life *dying = find_dying(lives, kernel, kernel->stored[i], taint);
            if (!dying)
                continue;
            lives->at[index - 1].place = dying->place;
            lives->at[dying->place].last = lives->at[index - 1].last;
            lives->of[dying->node->id] = 0;
        }
    }
}

Lives lives_find(const Graph *graph, Arena *scratch) {
    size_t stored = 0;
    for (size_t k = 0; k < graph->kernels.count; k++)
        stored += graph->kernels.at[k]->stored_count;
    Lives lives = {.graph = graph,
                   .scratch = scratch,
                   .at = arena_array(scratch, Life, stored + 1),
                   .of = arena_array(scratch, uint32_t, graph->nodes.count + 1)};
    find_lives(&lives);
    find_in_place(&lives);
    return lives;
}

// ---- placing
// -----------------------------------------------------------------------------------------

static int larger_first(const void *a, const void *b) {
    const Life *x = *(Life *const *)a, *y = *(Life *const *)b;
    if (x->size_bytes != y->size_bytes)
        return x->size_bytes < y->size_bytes ? 1 : -1;
    return x->place < y->place ? -1 : x->place > y->place;
}

// The lowest offset that is free of `placed` (sorted by offset) while `life` lasts, and for some
// kernels before and after.
static int64_t lowest_offset(const Life *life, Life *const *placed, uint32_t count,
                             uint32_t linger) {
    int64_t offset = 0;
    for (uint32_t i = 0; i < count; i++) {
        const Life *other = placed[i];
        if (other->last + linger < life->first || life->last + linger < other->first)
            continue;
        if (offset + life->size_bytes <= other->offset_bytes)
            break;
        int64_t end = other->offset_bytes + other->size_bytes;
        offset = end > offset ? end : offset;
    }
    return offset;
}

static void insert_by_offset(Life **placed, uint32_t count, Life *life) {
    uint32_t i = count;
    for (; i && placed[i - 1]->offset_bytes > life->offset_bytes; i--)
        placed[i] = placed[i - 1];
    placed[i] = life;
}

// Places all; values stay some kernels longer where the arena is no larger than `limit` for it, or
// where they are small. Returns its bytes.
static int64_t place_all(Life *const *order, uint32_t count, Life **placed, uint32_t linger,
                         int64_t limit) {
    int64_t bytes = 0;
    for (uint32_t i = 0; i < count; i++) {
        Life *life = order[i];
        int64_t offset = lowest_offset(life, placed, i, linger);
        if (offset + life->size_bytes > limit && life->size_bytes > SMALL_BYTES)
            offset = lowest_offset(life, placed, i, 0);
        life->offset_bytes = offset;
        insert_by_offset(placed, i, life);
        bytes = offset + life->size_bytes > bytes ? offset + life->size_bytes : bytes;
    }
    return bytes;
}

int64_t lives_place(Lives *lives, int64_t share) {
    Life **order = arena_array(lives->scratch, Life *, lives->count + 1);
    Life **placed = arena_array(lives->scratch, Life *, lives->count + 1);
    uint32_t count = 0;
    for (uint32_t i = 0; i < lives->count; i++) {
        if (lives->at[i].place == i)
            order[count++] = &lives->at[i];
    }
    qsort(order, count, sizeof(Life *), larger_first);
    int64_t least = place_all(order, count, placed, 0, INT64_MAX);
    int64_t most = share ? least + least / share : 0;
    for (uint32_t linger = share ? LINGER : 0; linger; linger--) {
        int64_t bytes = place_all(order, count, placed, linger, least);
        if (bytes <= most)
            return bytes;
    }
    int64_t bytes = share ? place_all(order, count, placed, LINGER, 0) : 0; // the small ones alone
    return share && bytes <= most ? bytes : place_all(order, count, placed, 0, INT64_MAX);
}
