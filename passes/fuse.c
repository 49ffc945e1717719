// passes/fuse.c -- which nodes one kernel computes together, and what it stores.
//
// Some values must be units, computed once: reductions, contractions and what these read, random
// draws, scatters, effects. All else is elementwise or a view, and is computed where it is used.
// Units are put into groups, in topological order: one joins a group if together they can be
// computed row by row (ir/rows.h) or, without reductions, element by element, and if it reads what
// the group computes or reads. Groups that a unit brings together are joined too where nothing
// stands between. In the end a value that several groups would compute at some cost is stored by
// the first of them, unless it is cheap from others that are stored so.
//
// A write to a storage goes straight into it where every other reader of the storage is in an
// earlier kernel, or in this one and reads the element that is written; else the value is stored
// elsewhere and copied by a kernel at the end.
#include <stdlib.h>
#include <string.h>

#include "ir/rows.h"
#include "passes/passes.h"
#include "passes/rewrite.h"
#include "passes/touches.h"
#include "support/diag.h"

enum {
    MAX_STORED = 12, // units of one group
    MAX_SUMS = 8,    // reductions of one group
    LONGEST_ROW =
        32768, // elements of a row that waits for a sum over it to be stored: it stays in the cache
    LITTLE = 4, // the share of a row that is not worth summing where the row is stored
    CHEAP = 6, // cost up to which a value is computed again rather than stored
};
#define NOWHERE UINT32_MAX // no group

typedef Vec(Node *) NodeList;
typedef Vec(uint32_t) Indices;

/// What becomes a kernel.
typedef struct Group {
    NodeList units;   // ascending ids
    NodeList reached; // what it reads or computes: as Fuse.touches has it
    bool merged;      // into another: no more, and touches nothing
    bool is_single;   // is among Fuse.singles
} Group;

/// What units compute and read.
typedef struct Cone {
    NodeList computed; // topological
    NodeList loaded;
} Cone;

typedef struct Fuse {
    Graph *graph;
    Arena *scratch;
    Arena *trial;      // reset after each question
    uint32_t *visited; // by node id: the last walk that came by
    uint32_t walk;
    uint8_t *mark;        // by node id, of one question
    RowLabels *label;     // so too
    uint8_t *is_unit;     // by node id
    uint32_t *group_of;   // by node id: of a unit that has been placed; else NOWHERE
    Vec(Group *) groups;  // in order of execution, merged ones among them
    Touches touches;      // who reads or computes a node
    Indices singles;      // groups whose first unit had one element
    Vec(Node *) late;     // writes that are copies at the end
    NodeList repeated;    // by descending ids: stored since several groups would compute them
    NodeList *reads;      // by storage
    uint32_t *written_by; // by storage: the group that writes it; else NOWHERE
    bool writing;         // all units but the writes are placed
} Fuse;

// What every kernel computes or loads where it needs it.
static bool is_free(const Node *node) {
    return op_has(node->op, LEAF) && !op_has(node->op, RANDOM);
}

static bool is_load(const Node *node) {
    return node->op == OP_read || node->op == OP_input;
}

static bool is_alone(const Node *node) {
    return op_has(node->op, RANDOM) || op_has(node->op, SCATTERS) || op_has(node->op, ALONE);
}

// A call of the runtime reads its operand where it lies; reshaping moves nothing.
static Node *behind_reshapes(Node *node) {
    while (node->op == OP_reshape && !node->operand[0]->type.block)
        node = node->operand[0];
    return node;
}

// A schedule of tiles stores what has an element for each of its results.
static bool has_longer_rows(const Node *tiled, const NodeList *units) {
    for (size_t i = 0; i < units->count; i++) {
        if (type_count(&units->at[i]->type) != type_count(&tiled->type))
            return true;
    }
    return false;
}

// ---- cones
// -----------------------------------------------------------------------------------------

// Whether group `index` loads the unit instead of computing it: an earlier group does that.
// Where that is NOWHERE in particular, all units are loaded.
static bool is_loaded(const Fuse *fuse, const Node *node, uint32_t index) {
    return fuse->is_unit[node->id] && (index == NOWHERE || fuse->group_of[node->id] < index);
}

static void walk_cone(Fuse *fuse, Arena *arena, Node *node, uint32_t index, Cone *cone) {
    if (fuse->visited[node->id] == fuse->walk)
        return;
    fuse->visited[node->id] = fuse->walk;
    if (is_free(node) || is_loaded(fuse, node, index)) {
        vec_push(arena, &cone->loaded, node);
        return;
    }
    vec_push(arena, &cone->computed, node);
    for (uint32_t k = 0; k < node->arity; k++)
        walk_cone(fuse, arena, node->operand[k], index, cone);
}

static int by_id(const void *a, const void *b) {
    const Node *x = *(Node *const *)a, *y = *(Node *const *)b;
    return x->id < y->id ? -1 : x->id > y->id;
}

// All that the units need where they stand at place `index`.
static Cone cone_of(Fuse *fuse, Arena *arena, const NodeList *units, uint32_t index) {
    Cone cone = {0};
    fuse->walk++;
    for (size_t i = 0; i < units->count; i++)
        walk_cone(fuse, arena, units->at[i], index, &cone);
    qsort(cone.computed.at, cone.computed.count, sizeof(Node *), by_id);
    return cone;
}

// ---- what may be one kernel
// --------------------------------------------------------------------------

static bool same_layout(const Type *a, const Type *b) {
    return a->block == b->block && a->block_axis == b->block_axis;
}

// Without reductions: the same elements in the same order.
static bool same_domain(const Node *a, const Node *b) {
    const Type *x = &a->type, *y = &b->type;
    int i = 0, k = 0;
    if (!same_layout(x, y))
        return false;
    for (;; i++, k++) {
        while (i < x->rank && x->dim[i] == 1)
            i++;
        while (k < y->rank && y->dim[k] == 1)
            k++;
        if (i == x->rank || k == y->rank)
            return i == x->rank && k == y->rank;
        if (x->dim[i] != y->dim[k])
            return false;
    }
}

// By node id: whether some of the kernel's own reductions are behind it.
static const uint8_t *mark_behind_sums(Fuse *fuse, const NodeList *nodes) {
    uint8_t *waits = fuse->mark;
    for (size_t i = 0; i < nodes->count; i++) {
        const Node *node = nodes->at[i];
        for (uint32_t k = 0; k < node->arity; k++)
            waits[node->operand[k]->id] = 0;
        waits[node->id] = 0;
    }
    for (size_t i = 0; i < nodes->count; i++) {
        const Node *node = nodes->at[i];
        for (uint32_t k = 0; k < node->arity; k++)
            waits[node->id] |= waits[node->operand[k]->id];
        waits[node->id] |= node_sums(node);
    }
    return waits;
}

// The elements of what the kernel sums.
static int64_t most_summed(const NodeList *nodes) {
    int64_t most = 0;
    for (size_t i = 0; i < nodes->count; i++) {
        const Node *node = nodes->at[i];
        for (uint32_t k = 0; node_sums(node) && k < node->arity; k++) {
            int64_t count = type_count(&node->operand[k]->type);
            most = count > most ? count : most;
        }
    }
    return most;
}

// A long row that waits for its sums would be read twice from afar. One that is only summed besides
// is stored as it comes by. One that is much longer than what the kernel sums for it gains nothing
// here.
static bool rows_fit(Fuse *fuse, const NodeList *nodes, const NodeList *units) {
    Rows rows;
    int64_t summed = most_summed(nodes);
    if (!rows_of(fuse->label, nodes->at, (uint32_t)nodes->count, units->at, (uint32_t)units->count,
                 &rows))
        return false;
    int64_t count = 1;
    for (uint32_t i = 0; i < rows.rank; i++)
        count *= rows.extent[i];
    const uint8_t *waits = NULL;
    for (size_t i = 0; i < units->count; i++) {
        int64_t stored = type_count(&units->at[i]->type);
        if (stored > count && stored / LITTLE > summed)
            return false;
        if (stored / count <= LONGEST_ROW)
            continue;
        waits = waits ? waits : mark_behind_sums(fuse, nodes);
        if (waits[units->at[i]->id])
            return false;
    }
    return true;
}

// Every storage that is written here may be written in place.
static bool writes_fit(Fuse *fuse, const NodeList *nodes, const NodeList *units) {
    for (size_t i = 0; i < units->count; i++) {
        const Node *write = units->at[i];
        if (write->op != OP_write)
            continue;
        const NodeList *list = &fuse->reads[write->attrs->storage];
        if (list->count && !kernel_keeps_step(fuse->mark, nodes->at, (uint32_t)nodes->count,
                                              list->at, list->count, &write->type))
            return false;
    }
    return true;
}

/// Whether the units, standing at place `index`, are one kernel.
static bool units_fit(Fuse *fuse, const NodeList *units, uint32_t index) {
    NodeList nodes = cone_of(fuse, fuse->trial, units, index).computed;
    uint32_t sums = 0, contractions = 0;
    bool fit = true;
    for (size_t i = 0; i < nodes.count; i++) {
        sums += node_sums(nodes.at[i]);
        contractions += op_has(nodes.at[i]->op, CONTRACTS);
        if (nodes.at[i]->op == OP_conv2d_weight && units->count > 1)
            fit = false; // its schedule sums in several visits and has no epilogue
        if (is_alone(nodes.at[i]) && nodes.count > 1)
            fit = false;
        if (op_has(nodes.at[i]->op, TILED) && has_longer_rows(nodes.at[i], units))
            fit = false;
    }
    if (!fit || units->count > MAX_STORED || sums > MAX_SUMS || (contractions && sums > 1))
        fit = false;
    else if (sums)
        fit = rows_fit(fuse, &nodes, units);
    else
        for (size_t i = 1; fit && i < units->count; i++)
            fit = same_domain(units->at[0], units->at[i]);
    fit = fit && writes_fit(fuse, &nodes, units);
    arena_reset(fuse->trial);
    return fit;
}

// ---- order
// -------------------------------------------------------------------------------------------

static void forget_touched(Fuse *fuse, uint32_t index) {
    Group *group = fuse->groups.at[index];
    for (size_t i = 0; i < group->reached.count; i++)
        touches_remove(&fuse->touches, group->reached.at[i]->id, index);
    group->reached.count = 0;
}

static void touch(Fuse *fuse, uint32_t index, Node *node, bool computed) {
    touches_add(&fuse->touches, node->id, index, computed);
    vec_push(fuse->scratch, &fuse->groups.at[index]->reached, node);
}

static void set_touched(Fuse *fuse, uint32_t index) {
    Cone cone = cone_of(fuse, fuse->trial, &fuse->groups.at[index]->units, index);
    forget_touched(fuse, index);
    for (size_t i = 0; i < cone.loaded.count; i++)
        touch(fuse, index, cone.loaded.at[i], false);
    for (size_t i = 0; i < cone.computed.count; i++)
        touch(fuse, index, cone.computed.at[i], true);
    arena_reset(fuse->trial);
}

static NodeList both(Arena *arena, const NodeList *a, const NodeList *b) {
    NodeList all = {0};
    size_t i = 0, k = 0;
    while (i < a->count || k < b->count) {
        bool first = k == b->count || (i < a->count && a->at[i]->id < b->at[k]->id);
        vec_push(arena, &all, first ? a->at[i++] : b->at[k++]);
    }
    return all;
}

static void put_units(Fuse *fuse, uint32_t index, const NodeList *units) {
    Group *group = fuse->groups.at[index];
    group->units = *units;
    for (size_t i = 0; i < units->count; i++)
        fuse->group_of[units->at[i]->id] = index;
    if (!group->is_single && units->count && type_count(&units->at[0]->type) == 1) {
        group->is_single = true;
        vec_push(fuse->scratch, &fuse->singles, index);
    }
    set_touched(fuse, index);
}

// Whether some group between the two reads `from`, or `to` reads it: what keeps them from meeting
// there.
static bool one_between_reads(const Fuse *fuse, uint32_t from, uint32_t to) {
    const NodeList *units = &fuse->groups.at[from]->units;
    for (size_t i = 0; i < units->count; i++) {
        if (touches_any_between(&fuse->touches, units->at[i]->id, from, to))
            return true;
    }
    return false;
}

static bool reads_one_between(const Fuse *fuse, uint32_t from, uint32_t to) {
    const NodeList *reached = &fuse->groups.at[to]->reached;
    for (size_t i = 0; i < reached->count; i++) {
        uint32_t group = fuse->group_of[reached->at[i]->id];
        if (group > from && group < to)
            return true;
    }
    return false;
}

// The units of group `moved` join those of `stays`, where they all are computed from now on.
static bool try_move(Fuse *fuse, uint32_t moved, uint32_t stays) {
    Group *a = fuse->groups.at[moved], *b = fuse->groups.at[stays];
    NodeList units = both(fuse->scratch, &a->units, &b->units);
    for (size_t i = 0; i < a->units.count; i++)
        fuse->group_of[a->units.at[i]->id] = stays;
    if (!units_fit(fuse, &units, stays)) {
        for (size_t i = 0; i < a->units.count; i++)
            fuse->group_of[a->units.at[i]->id] = moved;
        return false;
    }
    put_units(fuse, stays, &units);
    forget_touched(fuse, moved);
    a->merged = true;
    return true;
}

static bool writes_storage(const Group *group) {
    for (size_t i = 0; i < group->units.count; i++) {
        if (group->units.at[i]->op == OP_write)
            return true;
    }
    return false;
}

// Joins two groups at the place of the later one if nothing between needs the earlier, or at that
// of the earlier if the later needs nothing between.
static bool try_merge(Fuse *fuse, uint32_t from, uint32_t to) {
    const Group *a = fuse->groups.at[from], *b = fuse->groups.at[to];
    if (from >= to || a->merged || b->merged || writes_storage(a) || writes_storage(b))
        return false;
    if (!one_between_reads(fuse, from, to))
        return try_move(fuse, from, to);
    return !reads_one_between(fuse, from, to) && try_move(fuse, to, from);
}

// ---- placing
// -----------------------------------------------------------------------------------------

/// Between which groups a unit may stand: after what it reads, not after what overwrites that.
typedef struct Range {
    uint32_t first, last; // last: of a group that exists
    bool bounded;         // a group may not be appended
} Range;

static void find_range(const Fuse *fuse, const NodeList *nodes, const Node *unit, Range *range) {
    for (size_t i = 0; i < nodes->count; i++) {
        const Node *node = nodes->at[i];
        uint32_t group = fuse->group_of[node->id];
        if (node == unit)
            continue;
        if (fuse->is_unit[node->id] && group != NOWHERE && group > range->first)
            range->first = group;
        if (node->op != OP_read)
            continue;
        uint32_t writer = fuse->written_by[node->attrs->storage];
        if (writer != NOWHERE && writer <= range->last) {
            range->last = writer;
            range->bounded = true;
        }
    }
}

static Range range_of(const Fuse *fuse, const Node *unit, const Cone *cone) {
    Range range = {0, (uint32_t)fuse->groups.count, false};
    find_range(fuse, &cone->loaded, unit, &range);
    find_range(fuse, &cone->computed, unit, &range);
    const NodeList *reads = unit->op == OP_write ? &fuse->reads[unit->attrs->storage] : NULL;
    for (size_t i = 0; reads && i < reads->count; i++) {
        const TouchList *touches = &fuse->touches.of[reads->at[i]->id];
        if (touches->count && vec_last(touches).group > range.first)
            range.first = vec_last(touches).group;
    }
    return range;
}

// Something worth sharing is touched by both: a unit, or as much memory as the unit has elements.
static void add_sharing(const Fuse *fuse, const Node *unit, const NodeList *nodes, Indices *found) {
    for (size_t i = 0; i < nodes->count; i++) {
        const Node *node = nodes->at[i];
        const TouchList *touches = &fuse->touches.of[node->id];
        if (!(fuse->is_unit[node->id] || is_load(node)) ||
            type_count(&node->type) < type_count(&unit->type) || type_count(&node->type) == 1)
            continue;
        for (size_t k = 0; k < touches->count; k++)
            vec_push(fuse->scratch, found, touches->at[k].group);
    }
}

static int by_index(const void *a, const void *b) {
    const uint32_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

/// The groups that share something with the unit, or have one element as it does: ascending, some
/// more than once.
static Indices find_sharing(const Fuse *fuse, const Node *unit, const Cone *cone) {
    Indices found = {0};
    add_sharing(fuse, unit, &cone->loaded, &found);
    add_sharing(fuse, unit, &cone->computed, &found);
    for (size_t i = 0; type_count(&unit->type) == 1 && i < fuse->singles.count; i++) {
        const Group *group = fuse->groups.at[fuse->singles.at[i]];
        if (!group->merged && group->units.count && type_count(&group->units.at[0]->type) == 1)
            vec_push(fuse->scratch, &found, fuse->singles.at[i]);
    }
    if (found.count) // C has no sorting of nothing at a null pointer
        qsort(found.at, found.count, sizeof *found.at, by_index);
    return found;
}

static bool try_join(Fuse *fuse, uint32_t index, Node *unit) {
    NodeList one = {0};
    vec_push(fuse->scratch, &one, unit);
    NodeList units = both(fuse->scratch, &fuse->groups.at[index]->units, &one);
    fuse->group_of[unit->id] = index;
    if (!units_fit(fuse, &units, index)) {
        fuse->group_of[unit->id] = NOWHERE;
        return false;
    }
    put_units(fuse, index, &units);
    return true;
}

static uint32_t append_group(Fuse *fuse, Node *unit) {
    Group *group = arena_new(fuse->scratch, Group);
    NodeList units = {0};
    vec_push(fuse->scratch, &units, unit);
    vec_push(fuse->scratch, &fuse->groups, group);
    uint32_t index = (uint32_t)fuse->groups.count - 1;
    put_units(fuse, index, &units);
    return index;
}

// Groups that the unit at `index` reads join its group, or else each other. Groups that write
// storages stay where they are: what comes before and after them was decided by that.
static void merge_sources(Fuse *fuse, uint32_t index, const Cone *cone) {
    uint32_t source[MAX_STORED];
    uint32_t count = 0;
    for (size_t i = 0; i < cone->loaded.count && count < MAX_STORED; i++) {
        const Node *node = cone->loaded.at[i];
        uint32_t group = fuse->is_unit[node->id] ? fuse->group_of[node->id] : NOWHERE;
        bool seen = group >= index;
        for (uint32_t k = 0; k < count; k++)
            seen |= source[k] == group;
        if (!seen)
            source[count++] = group;
    }
    for (uint32_t k = 0; k < count && !fuse->writing; k++)
        try_merge(fuse, source[k], index);
    for (uint32_t a = 0; a < count; a++) {
        for (uint32_t b = 0; b < count; b++)
            try_merge(fuse, source[a], source[b]);
    }
}

// A storage that `reader` must still read was overwritten: its write becomes a copy at the end.
static void delay_write(Fuse *fuse, uint32_t index, int64_t storage) {
    Group *group = fuse->groups.at[index];
    NodeList units = {0};
    for (size_t i = 0; i < group->units.count; i++) {
        Node *unit = group->units.at[i];
        if (unit->op != OP_write || unit->attrs->storage != storage) {
            vec_push(fuse->scratch, &units, unit);
            continue;
        }
        Node *value = unit->operand[0];
        vec_push(fuse->scratch, &fuse->late, unit);
        fuse->group_of[unit->id] = NOWHERE;
        fuse->written_by[storage] = NOWHERE;
        if (!fuse->is_unit[value->id] || fuse->group_of[value->id] > index) {
            NodeList one = {0};
            fuse->is_unit[value->id] = 1;
            vec_push(fuse->scratch, &one, value);
            units = both(fuse->scratch, &units, &one);
        }
    }
    put_units(fuse, index, &units);
}

static void delay_overwriting(Fuse *fuse, const NodeList *loaded) {
    for (size_t i = 0; i < loaded->count; i++) {
        const Node *node = loaded->at[i];
        if (node->op != OP_read)
            continue;
        uint32_t writer = fuse->written_by[node->attrs->storage];
        if (writer != NOWHERE)
            delay_write(fuse, writer, node->attrs->storage);
    }
}

// A write that cannot be done in place by a kernel of its own: its value is stored elsewhere.
static bool must_be_late(Fuse *fuse, Node *unit) {
    NodeList one = {0};
    vec_push(fuse->scratch, &one, unit);
    return unit->op == OP_write && !units_fit(fuse, &one, (uint32_t)fuse->groups.count);
}

static void place(Fuse *fuse, Node *unit) {
    NodeList one = {0};
    if (must_be_late(fuse, unit)) {
        Node *value = unit->operand[0];
        vec_push(fuse->scratch, &fuse->late, unit);
        fuse->is_unit[value->id] = 1;
        if (fuse->group_of[value->id] == NOWHERE)
            place(fuse, value);
        return;
    }
    vec_push(fuse->scratch, &one, unit);
    Cone cone = cone_of(fuse, fuse->scratch, &one, (uint32_t)fuse->groups.count);
    Range range = range_of(fuse, unit, &cone);
    Indices sharing = find_sharing(fuse, unit, &cone);
    uint32_t index = NOWHERE;
    for (size_t i = 0; index == NOWHERE && i < sharing.count; i++) {
        uint32_t group = sharing.at[i];
        if (group >= range.first && group <= range.last &&
            (i == 0 || group != sharing.at[i - 1]) && try_join(fuse, group, unit))
            index = group;
    }
    if (index == NOWHERE) {
        if (range.bounded)
            delay_overwriting(fuse, &cone.loaded);
        index = append_group(fuse, unit);
    }
    if (unit->op == OP_write)
        fuse->written_by[unit->attrs->storage] = index;
    merge_sources(fuse, index, &cone);
}

// ---- units
// -------------------------------------------------------------------------------------------

static Node *behind_views(Node *node) {
    while (node->op == OP_reshape || node->op == OP_transpose || node->op == OP_broadcast ||
           node->op == OP_reverse)
        node = node->operand[0];
    return node; // a relayout is worth its copy: it is read along its blocks
}

static void choose_units(Fuse *fuse) {
    for (size_t i = 0; i < fuse->graph->nodes.count; i++) {
        Node *node = fuse->graph->nodes.at[i];
        if (op_has(node->op, DECOMPOSES)) {
            Node *x = behind_reshapes(node->operand[0]);
            fuse->is_unit[x->id] = !is_free(x);
        }
        if (node_sums(node) || is_alone(node) || op_has(node->op, EFFECT))
            fuse->is_unit[i] = 1;
        bool reads_often = op_has(node->op, CONTRACTS) || node->op == OP_windows;
        for (uint32_t k = 0; reads_often && k < node->arity; k++) {
            Node *x = behind_views(node->operand[k]);
            if (!is_free(x))
                fuse->is_unit[x->id] = 1;
        }
    }
}

// ---- what is computed more than once
// -------------------------------------------------------------------

static uint32_t cost_of(const Node *node) {
    switch ((int)node->op) {
    case OP_exp:
    case OP_log:
    case OP_log1p:
    case OP_expm1:
    case OP_tanh:
    case OP_sigmoid:
    case OP_erf:
    case OP_sin:
    case OP_cos:
    case OP_pow:
        return 8;
    case OP_sqrt:
    case OP_rsqrt:
    case OP_div:
        return 3;
    default:
        return op_has(node->op, MAPS) ? 1 : 0;
    }
}

// Cost of computing the node again: arithmetic, and each load of as many elements beyond the one
// that it would be itself. What is smaller than the node is computed seldom.
static uint32_t cone_cost(const Fuse *fuse, const Node *node, uint32_t index, int64_t count,
                          uint32_t walk) {
    if (fuse->visited[node->id] == walk || type_count(&node->type) < count)
        return 0;
    fuse->visited[node->id] = walk;
    if (is_free(node) || is_loaded(fuse, node, index))
        return is_load(node) || fuse->is_unit[node->id] ? 3 : 0;
    uint32_t cost = cost_of(node);
    for (uint32_t k = 0; k < node->arity && cost < 1000; k++)
        cost += cone_cost(fuse, node->operand[k], index, count, walk);
    return cost;
}

// The groups from `index` on that touch the node.
static void touch_again(Fuse *fuse, const Node *node, uint32_t index) {
    const TouchList *touches = &fuse->touches.of[node->id];
    Indices again = {0};
    for (size_t i = 0; i < touches->count; i++) {
        if (touches->at[i].group >= index)
            vec_push(fuse->scratch, &again, touches->at[i].group);
    }
    for (size_t i = 0; i < again.count; i++)
        set_touched(fuse, again.at[i]);
}

// The value becomes a unit of the first group that computes it, if it fits there.
static void store_repeated(Fuse *fuse, Node *node) {
    const TouchList *touches = &fuse->touches.of[node->id];
    uint32_t first = NOWHERE, users = 0;
    if (fuse->is_unit[node->id] || is_free(node) || !cost_of(node))
        return;
    for (size_t i = 0; i < touches->count; i++) {
        if (!touches->at[i].computed)
            continue;
        first = first == NOWHERE ? touches->at[i].group : first;
        users++;
    }
    if (users < 2)
        return;
    uint32_t cost = cone_cost(fuse, node, first, type_count(&node->type), ++fuse->walk);
    if (cost <= CHEAP)
        return;
    fuse->is_unit[node->id] = 1;
    if (!try_join(fuse, first, node))
        fuse->is_unit[node->id] = 0;
    if (!fuse->is_unit[node->id])
        return;
    vec_push(fuse->scratch, &fuse->repeated, node);
    touch_again(fuse, node, first);
}

static bool all_fit(Fuse *fuse, const Node *node) {
    const TouchList *touches = &fuse->touches.of[node->id];
    for (size_t i = 0; i < touches->count; i++) {
        uint32_t index = touches->at[i].group;
        if (!units_fit(fuse, &fuse->groups.at[index]->units, index))
            return false;
    }
    return true;
}

// What was stored since it was costly may be cheap now: from a value behind it that has been stored
// since. A map saved is worth more than an operation or two.
static void reconsider(Fuse *fuse, Node *node) {
    uint32_t index = fuse->group_of[node->id];
    Group *group = fuse->groups.at[index];
    const NodeList before = group->units;
    NodeList without = {0};
    fuse->is_unit[node->id] = 0;
    if (cone_cost(fuse, node, NOWHERE, type_count(&node->type), ++fuse->walk) > CHEAP) {
        fuse->is_unit[node->id] = 1;
        return;
    }
    for (size_t i = 0; i < before.count; i++) {
        if (before.at[i] != node)
            vec_push(fuse->scratch, &without, before.at[i]);
    }
    group->units = without;
    fuse->group_of[node->id] = NOWHERE;
    if (all_fit(fuse, node)) {
        touch_again(fuse, node, index);
        return;
    }
    fuse->is_unit[node->id] = 1;
    fuse->group_of[node->id] = index;
    group->units = before;
}

// ---- kernels
// -----------------------------------------------------------------------------------------

static void make_kernels(Fuse *fuse) {
    Graph *graph = fuse->graph;
    Arena *arena = graph->module->arena;
    uint8_t *wanted = arena_array(fuse->scratch, uint8_t, graph->nodes.count);
    graph->kernels.count = 0;
    for (uint32_t i = 0; i < fuse->groups.count; i++) {
        const Group *group = fuse->groups.at[i];
        for (size_t k = 0; !group->merged && k < group->reached.count; k++) {
            uint32_t id = group->reached.at[k]->id;
            if (fuse->is_unit[id] && fuse->group_of[id] != i)
                wanted[id] = 1;
        }
    }
    for (uint32_t i = 0; i < fuse->groups.count; i++) {
        const Group *group = fuse->groups.at[i];
        if (group->merged)
            continue;
        Kernel *kernel = arena_new(arena, Kernel);
        NodeList nodes = cone_of(fuse, arena, &group->units, i).computed;
        kernel->id = (uint32_t)graph->kernels.count;
        kernel->node = nodes.at;
        kernel->node_count = (uint32_t)nodes.count;
        kernel->stored = arena_array(arena, Node *, group->units.count);
        for (size_t k = 0; k < group->units.count; k++) {
            Node *unit = group->units.at[k];
            if (wanted[unit->id] || op_has(unit->op, EFFECT))
                kernel->stored[kernel->stored_count++] = unit;
        }
        if (kernel->stored_count)
            vec_push(arena, &graph->kernels, kernel);
    }
}

static void begin(Fuse *fuse) {
    size_t count = fuse->graph->nodes.count;
    size_t storages = fuse->graph->module->storages.count;
    fuse->visited = arena_array(fuse->scratch, uint32_t, count);
    fuse->mark = arena_array(fuse->scratch, uint8_t, count);
    fuse->label = arena_array(fuse->scratch, RowLabels, count);
    fuse->touches = touches_of(fuse->scratch, count);
    fuse->reads = arena_alloc_array(fuse->scratch, storages, sizeof *fuse->reads);
    fuse->is_unit = arena_array(fuse->scratch, uint8_t, count);
    fuse->group_of = arena_array(fuse->scratch, uint32_t, count);
    fuse->written_by = arena_array(fuse->scratch, uint32_t, storages);
    for (size_t i = 0; i < count; i++)
        fuse->group_of[i] = NOWHERE;
    for (size_t i = 0; i < storages; i++)
        fuse->written_by[i] = NOWHERE;
    for (size_t i = 0; i < count; i++) {
        Node *node = fuse->graph->nodes.at[i];
        if (node->op == OP_read)
            vec_push(fuse->scratch, &fuse->reads[node->attrs->storage], node);
    }
}

// A rectifier's derivative asks x <= c. Where y = max(c, x) is stored anyway and x, made of several
// maps, would have to be as well, y <= c says the same, NaN included.
static void ask_stored_maxima(Fuse *fuse) {
    Graph *graph = fuse->graph;
    Node **maximum_of = arena_array(fuse->scratch, Node *, graph->nodes.count);
    for (size_t i = 0; i < graph->nodes.count; i++) {
        Node *node = graph->nodes.at[i];
        if (node->op == OP_max && fuse->is_unit[node->id])
            maximum_of[node->operand[1]->id] = node;
        if (node->op != OP_le || fuse->is_unit[node->operand[0]->id])
            continue;
        const Node *x = node->operand[0], *c = node->operand[1];
        Node *y = maximum_of[x->id];
        if (y && c->op == OP_const && y->operand[0] == c && type_equal(&y->type, &x->type) &&
            cone_cost(fuse, x, NOWHERE, type_count(&x->type), ++fuse->walk) > CHEAP)
            node->operand[0] = y;
    }
}

static void fuse_groups(Fuse *fuse) {
    Graph *graph = fuse->graph;
    choose_units(fuse);
    ask_stored_maxima(fuse);
    for (int writing = 0; writing < 2; writing++) {
        fuse->writing = writing;
        for (size_t i = 0; i < graph->nodes.count; i++) {
            Node *node = graph->nodes.at[i];
            if (fuse->is_unit[i] && fuse->group_of[i] == NOWHERE &&
                (node->op == OP_write) == writing)
                place(fuse, node);
        }
    }
    for (size_t i = graph->nodes.count; i-- > 0;)
        store_repeated(fuse, graph->nodes.at[i]);
    for (size_t i = fuse->repeated.count; i-- > 0;) // from the first on
        reconsider(fuse, fuse->repeated.at[i]);
}

// At -O0 each node is a kernel.
static void fuse_nothing(Fuse *fuse) {
    Graph *graph = fuse->graph;
    for (int writing = 0; writing < 2; writing++) {
        for (size_t i = 0; i < graph->nodes.count; i++) {
            Node *node = graph->nodes.at[i];
            fuse->is_unit[i] = !is_free(node);
            if (fuse->is_unit[i] && (node->op == OP_write) == writing)
                append_group(fuse, node);
        }
    }
}

// ---- the graph, before
// -----------------------------------------------------------------------------------

// A storage's new value is no storage's old value itself: so it can be copied in the end.
static Node *copy_of_leaf(Graph *graph, Node *write) {
    Node *value = write->operand[0];
    while (op_has(value->op, VIEWS) && value->op != OP_concat && value->op != OP_take)
        value = value->operand[0];
    if (value->op != OP_read)
        return write;
    Node *copy = ir_unary(graph, OP_stop_gradient, write->operand[0]);
    copy->type = write->operand[0]->type; // in its layout
    Node *last = graph_append(graph, OP_write, &copy, 1, write->attrs, write->origin);
    last->type = write->type;
    return last;
}

// What a call of the runtime reads lies in memory: a copy of a constant does.
static bool copy_constant(Graph *graph, Node *call) {
    Node *x = behind_reshapes(call->operand[0]);
    if (!is_free(x) || is_load(x))
        return false;
    call->operand[0] = ir_unary(graph, OP_stop_gradient, call->operand[0]);
    return true;
}

// A rectifier's derivative asks x <= c; where y = max(c, x) has been stored and x is a
// contraction's result (and its bias) that nobody else wants, y <= c says the same, NaN included,
// and x need not be.
static Node *ask_the_maximum(const Node *ask, Node *const *maximum_of, const uint32_t *uses) {
    Node *x = ask->operand[0];
    const Node *c = ask->operand[1], *from = x;
    Node *y = maximum_of[x->id];
    if (ask->op != OP_le || !y || c->op != OP_const || y->operand[0] != c || uses[x->id] != 2)
        return NULL;
    while (op_has(from->op, MAPS) && uses[from->id] <= 2 && from->arity == 2 &&
           type_same_shape(&from->type, &from->operand[0]->type) && !is_free(from->operand[0]))
        from = from->operand[0];
    return op_has(from->op, CONTRACTS) && (from == x || uses[from->id] == 1) ? y : NULL;
}

static bool prepare(Graph *graph, Arena *scratch) {
    uint32_t *uses = count_uses(graph, scratch);
    Node **maximum_of = arena_array(scratch, Node *, graph->nodes.count);
    Rewrite rw = rewrite_begin(graph, scratch);
    for (size_t i = 0; i < rw.old_count; i++) {
        Node *node = rewrite_next(&rw, i);
        Node *better = node->op == OP_write ? copy_of_leaf(graph, node) : node;
        if (node->op == OP_max && node->operand[1]->id < rw.old_count)
            maximum_of[node->operand[1]->id] = node;
        if (op_has(node->op, DECOMPOSES) && copy_constant(graph, node))
            rw.changed = true;
        Node *y = node->op == OP_le ? ask_the_maximum(node, maximum_of, uses) : NULL;
        if (y) {
            node->operand[0] = y;
            rw.changed = true;
        }
        rewrite_place(&rw, node, better);
    }
    return rewrite_end(&rw);
}

/// Partitions the graph into kernels.
/// Requires: no `grad` nodes.  Keeps: values.  Sets: Graph.kernels.
bool pass_fuse(Graph *graph, PassContext *ctx) {
    Arena trial = {0};
    bool changed = prepare(graph, ctx->scratch);
    Fuse fuse = {.graph = graph, .scratch = ctx->scratch, .trial = &trial};
    begin(&fuse);
    if (ctx->options.level == 0)
        fuse_nothing(&fuse);
    else
        fuse_groups(&fuse);
    for (size_t i = 0; i < fuse.late.count; i++)
        append_group(&fuse, fuse.late.at[i]);
    make_kernels(&fuse);
    arena_release(&trial);
    return changed;
}
