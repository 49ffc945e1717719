// passes/touches.c -- lists of groups, by node.
//
// Most nodes have few. What nearly all groups read, a scalar of the optimiser, has as many as the
// graph has updates: places are found by halving, and a new group comes last.
#include "passes/touches.h"

#include <string.h>

#include "support/diag.h"

Touches touches_of(Arena *arena, size_t node_count) {
    Touches touches = {.arena = arena};
    touches.of = arena_alloc_array(arena, node_count, sizeof *touches.of);
    return touches;
}

// The first place whose group is not before `group`.
static size_t place_of(const TouchList *list, uint32_t group) {
    size_t low = 0, high = list->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (list->at[middle].group < group)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void touches_add(Touches *touches, uint32_t node, uint32_t group, bool computed) {
    TouchList *list = &touches->of[node];
    size_t place = place_of(list, group), behind = list->count - place;
    Touch touch = {group, computed};
    vec_push(touches->arena, list, touch);
    memmove(list->at + place + 1, list->at + place, behind * sizeof touch);
    list->at[place] = touch;
}

void touches_remove(Touches *touches, uint32_t node, uint32_t group) {
    TouchList *list = &touches->of[node];
    size_t place = place_of(list, group);
    kdc_assert(place < list->count && list->at[place].group == group);
    list->count--;
    memmove(list->at + place, list->at + place + 1, (list->count - place) * sizeof *list->at);
}

bool touches_any_between(const Touches *touches, uint32_t node, uint32_t from, uint32_t to) {
    const TouchList *list = &touches->of[node];
    size_t place = place_of(list, from + 1);
    return place < list->count && list->at[place].group < to;
}
