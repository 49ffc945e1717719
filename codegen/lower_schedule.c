// codegen/lower_schedule.c -- the loops of a kernel.
//
// All kernels have one form. Their *rows* (ir/rows.h; for kernels without a reduction the elements
// of what they store) are shared out by the parallel loop. Within a row there are *sweeps*: loop
// nests over what is summed, or over the elements that lie within the row, one after the other as
// their results are needed:
//
//     for row: max = max over k of x     for row: ... each sum, and each store that fits in a sweep
//              s = sum over k of exp(x - max)
//              for k: y = exp(x - max) / s
//
// Which loops there are and in which order is read off a trial run: it writes the kernel with one
// loop per axis and notes every access. Axes on which a quotient was taken are split until none is
// left; loops are ordered as the largest access lies in memory; neighbours that every access walks
// as one are merged; the loop with stride 1 becomes the vector loop, of rows or within them.
#include <string.h>

#include "codegen/lower.h"
#include "ir/rows.h"
#include "support/diag.h"

enum {
    MAX_PIECES = 6,
    MAX_ATOMS = 24,
    MAX_TRIALS = 16,
    WANTED_ITERATIONS = 64, // of the parallel loop: work for the threads of a machine
    LEAST_WORK = 1024,      // elements per iteration below which it is not cut smaller
    LONGEST_CHUNK = 8192,   // elements of a vector loop that is cut
    LANES = 16,
    CHAINS_MAX = 8,         // sums of one reduction that run side by side
    CHAIN_SUMS_MAX = 24,    // sums of a sweep, all chains together: they are to stay in registers
    CHAIN_ACCESSES_MAX = 16, // of a sweep's body that is written out for each chain
};

/// A loop axis cut into pieces, outermost first: the index is that of the pieces as digits.
typedef struct Axis {
    int64_t extent;
    uint32_t piece_count;
    int64_t piece[MAX_PIECES];
} Axis;

/// A piece of an axis: the unit of ordering and merging.
typedef struct Atom {
    uint32_t axis, piece;
    int64_t extent;
    uint32_t var; // of the trial run
    LoopExpr *x;
    bool rigid;     // used otherwise than in accesses that are affine in it: not merged
    int64_t stride; // in the space's largest access; negative strides by their size
} Atom;

/// Neighbouring atoms walked by one loop: [first, first + count) of the space's order.
typedef struct Group {
    uint32_t first, count;
    int64_t extent;
} Group;

/// The rows (space 0) or one sweep.
typedef struct Space {
    uint32_t axis_count;
    Axis axis[MAX_INNER];
    uint32_t level; // sweeps: after how many others
    uint32_t atom_count;
    Atom atom[MAX_ATOMS]; // by axis and piece
    uint32_t order[MAX_ATOMS];
    uint32_t group_count;
    Group group[MAX_ATOMS];
    int64_t chains;  // sweeps: sums of each reduction side by side, which take turns
    LoopExpr *chain; // which of them the body at work adds to; NULL where there is one
} Space;

/// A sum of one sweep.
typedef struct Part {
    const Node *node;
    uint32_t part, space;
    uint32_t local;
    LoopExpr *term; // of the trial run
    uint32_t twin;  // index of the first part that sums the same: maybe itself
} Part;

typedef struct Store {
    const Node *node;
    uint32_t space; // 0: once per row
} Store;

typedef struct Schedule {
    Lower *l;
    Rows rows;
    bool has_rows;
    uint32_t space_count;
    Space space[LOWER_NESTS_MAX];
    Vec(Part) parts;
    Vec(Store) stores;
    Vec(const Node *) sums; // in order
    bool vector_rows;
} Schedule;

// ---- what there is to do
// -----------------------------------------------------------------------------

static void add_axis(Space *space, int64_t extent) {
    kdc_assert(space->axis_count < MAX_INNER);
    space->axis[space->axis_count++] = (Axis){extent, 1, {extent}};
}

static uint32_t sweep(Schedule *s, uint32_t level, const int64_t *extent, uint32_t count) {
    for (uint32_t i = 1; i < s->space_count; i++) {
        const Space *space = &s->space[i];
        bool same = space->level == level && space->axis_count == count;
        for (uint32_t k = 0; same && k < count; k++)
            same = space->axis[k].extent == extent[k];
        if (same)
            return i;
    }
    if (s->space_count == LOWER_NESTS_MAX)
        kdc_bug("kernel %u of `%s` has too many sweeps", s->l->source->id, s->l->graph->name);
    Space *space = &s->space[s->space_count];
    space->level = level;
    for (uint32_t k = 0; k < count; k++)
        add_axis(space, extent[k]);
    return s->space_count++;
}

// The number of sweeps that must be done before the node's elements are known.
static void find_levels(const Schedule *s) {
    const Kernel *source = s->l->source;
    const uint8_t *member = s->l->room.member;
    uint32_t *level = s->l->room.level;
    for (uint32_t i = 0; i < source->node_count; i++) {
        const Node *node = source->node[i];
        level[node->id] = 0;
        for (uint32_t k = 0; k < node->arity; k++) {
            const Node *x = node->operand[k];
            if (!member[x->id])
                continue;
            uint32_t after = level[x->id] + (node_sums(x) ? reduce_part_count(x) : 0);
            if (after > level[node->id])
                level[node->id] = after;
        }
    }
}

static void plan_rows(Schedule *s) {
    const Kernel *source = s->l->source;
    Lower *l = s->l;
    Space *rows = &s->space[0];
    s->space_count = 1;
    s->has_rows = rows_of(l->room.label, source->node, source->node_count, source->stored,
                          source->stored_count, &s->rows);
    if (s->has_rows) {
        for (uint32_t i = 0; i < s->rows.rank; i++)
            add_axis(rows, s->rows.extent[i]);
        return;
    }
    const Type *type = &source->stored[0]->type;
    for (int i = 0; i < type->rank; i++) {
        if (type->dim[i] != 1)
            add_axis(rows, type->dim[i]);
    }
}

static void plan_sweeps(Schedule *s) {
    const Kernel *source = s->l->source;
    Lower *l = s->l;
    const uint32_t *level = l->room.level;
    int64_t extent[2 * MAX_RANK];
    find_levels(s);
    for (uint32_t i = 0; s->has_rows && i < source->node_count; i++) {
        const Node *node = source->node[i];
        if (!node_sums(node))
            continue;
        vec_push(l->arena, &s->sums, node);
        uint32_t count = reduce_extents(node, extent);
        for (uint32_t part = 0; part < reduce_part_count(node); part++) {
            uint32_t space = sweep(s, level[node->id] + part, extent, count);
            Part made = {.node = node, .part = part, .space = space};
            made.twin = (uint32_t)s->parts.count;
            vec_push(l->arena, &s->parts, made);
        }
    }
    for (uint32_t i = 0; i < source->stored_count; i++) {
        const Node *node = source->stored[i];
        uint32_t count = 0;
        for (int k = 0; s->has_rows && k < node->type.rank; k++) {
            if (s->rows.label[node->id].axis[k] == ROW_WITHIN)
                extent[count++] = node->type.dim[k];
        }
        uint32_t space = count ? sweep(s, level[node->id], extent, count) : 0;
        vec_push(l->arena, &s->stores, (Store){node, space});
    }
}

// ---- indices
// -----------------------------------------------------------------------------------------

static void make_atoms(Space *space) {
    space->atom_count = 0;
    for (uint32_t a = 0; a < space->axis_count; a++) {
        for (uint32_t p = 0; p < space->axis[a].piece_count; p++) {
            kdc_assert(space->atom_count < MAX_ATOMS);
            space->order[space->atom_count] = space->atom_count;
            space->atom[space->atom_count++] =
                (Atom){.axis = a, .piece = p, .extent = space->axis[a].piece[p]};
        }
    }
}

static void axis_indices(const Schedule *s, const Space *space, Ix *ix) {
    LoopKernel *kernel = s->l->kernel;
    for (uint32_t a = 0; a < space->axis_count; a++)
        ix[a] = lower_ix(x_int(kernel, 0));
    for (uint32_t i = 0; i < space->atom_count; i++) {
        const Atom *atom = &space->atom[i];
        Ix *to = &ix[atom->axis];
        to->x = x_add(kernel, x_mul(kernel, to->x, atom->extent), atom->x);
    }
}

// The index of a stored node or a reduction's result, from those of the rows and of the sweep.
static void node_index(const Schedule *s, const Node *node, const Ix *within, Ix *ix) {
    Ix row[MAX_INNER];
    Lower *l = s->l;
    const RowLabels *labels = s->has_rows ? &s->rows.label[node->id] : NULL;
    axis_indices(s, &s->space[0], row);
    if (!labels) { // another shape with the same elements as the first
        const Type *first = &s->l->source->stored[0]->type;
        Ix wide[MAX_RANK];
        for (int i = 0, k = 0; i < first->rank; i++)
            wide[i] = first->dim[i] == 1 ? lower_ix(x_int(l->kernel, 0)) : row[k++];
        lower_reindex(l, first, wide, &node->type, ix);
        return;
    }
    for (int i = 0; i < node->type.rank; i++) {
        int label = labels->axis[i];
        ix[i] = label == ROW_NONE     ? lower_ix(x_int(l->kernel, 0))
                : label == ROW_WITHIN ? *within++
                                      : row[label];
    }
}

// ---- the body of a sweep, and of a row
// -----------------------------------------------------------------

static bool is_twin(const Schedule *s, size_t part) {
    return s->parts.at[part].twin != part;
}

static bool sums_alike(const Part *a, const Part *b) {
    return a->space == b->space && a->term == b->term &&
           reduce_op(a->node, a->part) == reduce_op(b->node, b->part) &&
           reduce_type(a->node, a->part) == reduce_type(b->node, b->part);
}

/// A mean and a variance of the same values begin with the same sum.
static void find_twins(Schedule *s) {
    for (uint32_t i = 0; i < s->parts.count; i++) {
        for (uint32_t k = 0; k < i && !is_twin(s, i); k++) {
            if (!is_twin(s, k) && sums_alike(&s->parts.at[k], &s->parts.at[i]))
                s->parts.at[i].twin = k;
        }
    }
}

static void declare_sums(Schedule *s, uint32_t space) {
    Lower *l = s->l;
    int64_t chains = s->space[space].chains;
    for (size_t i = 0; i < s->parts.count; i++) {
        Part *part = &s->parts.at[i];
        LoopBody *body = l->scope[l->top].body;
        if (part->space != space || is_twin(s, i))
            continue;
        ScalarType type = reduce_type(part->node, part->part);
        double start = reduce_start(part->node, part->part);
        uint32_t rank = chains > 1 ? 1 : 0;
        LoopExpr *chain = NULL;
        part->local =
            loop_local(l->kernel, body, op_info[part->node->op].name, type, &chains, rank);
        if (rank) {
            LoopStmt *each = loop_for(l->kernel, body, LOOP_UNROLL, "c", x_int(l->kernel, 0),
                                      x_int(l->kernel, chains), 1);
            chain = loop_var(l->kernel, each);
            body = &each->body;
        }
        loop_set(l->kernel, body, part->local, &chain, rank, x_const(l->kernel, start, type));
    }
}

/// The sum of a part's chains [first, first + count), in halves.
static LoopExpr *sum_of_chains(Schedule *s, const Part *part, int64_t first, int64_t count) {
    LoopKernel *kernel = s->l->kernel;
    if (count == 1) {
        LoopExpr *at = x_int(kernel, first);
        return x_local(kernel, part->local, &at, s->space[part->space].chains > 1 ? 1 : 0);
    }
    int64_t half = count / 2;
    LoopExpr *low = sum_of_chains(s, part, first, half);
    LoopExpr *high = sum_of_chains(s, part, first + half, count - half);
    return x2(kernel, reduce_op(part->node, part->part), low, high);
}

static void store_all(Schedule *s, uint32_t space, const Ix *within) {
    Lower *l = s->l;
    Value *value = arena_array(l->arena, Value, s->stores.count);
    Ix ix[MAX_RANK];
    for (size_t i = 0; i < s->stores.count; i++) { // all loads before any store
        if (s->stores.at[i].space != space)
            continue;
        node_index(s, s->stores.at[i].node, within, ix);
        value[i] = lower_element(l, s->stores.at[i].node, ix);
    }
    for (size_t i = 0; i < s->stores.count; i++) {
        if (s->stores.at[i].space != space)
            continue;
        node_index(s, s->stores.at[i].node, within, ix);
        lower_store(l, s->stores.at[i].node, ix, value[i]);
    }
}

static void sweep_body(Schedule *s, uint32_t space) {
    Lower *l = s->l;
    Ix within[MAX_INNER], ix[MAX_RANK];
    axis_indices(s, &s->space[space], within);
    for (size_t i = 0; i < s->parts.count; i++) {
        Part *part = &s->parts.at[i];
        if (part->space != space || is_twin(s, i))
            continue;
        node_index(s, part->node, NULL, ix);
        const Value *known = l->room.known[part->node->id];
        Value term = reduce_term(l, part->node, part->part, ix, within, known);
        loop_accumulate(l->kernel, l->scope[l->top].body, part->local, &s->space[space].chain,
                        s->space[space].chain ? 1 : 0, reduce_op(part->node, part->part), term.x);
        if (l->trial)
            part->term = term.x;
    }
    store_all(s, space, within);
}

// After a sweep: its sums have names, and reductions that are complete are known.
static void name_sums(Schedule *s, uint32_t space) {
    Lower *l = s->l;
    Ix ix[MAX_RANK];
    for (size_t i = 0; i < s->parts.count; i++) {
        const Part *part = &s->parts.at[i];
        const Node *node = part->node;
        if (part->space != space)
            continue;
        Value *known = l->room.known[node->id];
        if (is_twin(s, i)) {
            const Part *twin = &s->parts.at[part->twin];
            known[part->part] = l->room.known[twin->node->id][twin->part];
        } else {
            Value sum = {sum_of_chains(s, part, 0, s->space[space].chains), l->top};
            known[part->part] = lower_bind(l, op_info[node->op].name, sum);
        }
        if (part->part + 1 < reduce_part_count(node))
            continue;
        node_index(s, node, NULL, ix);
        lower_know(l, node, ix, reduce_result(l, node, known));
    }
}

// Loops of the space's groups, then the digits of their variables.
static void set_atoms(Schedule *s, Space *space, uint32_t group, LoopExpr *var) {
    const Group *at = &space->group[group];
    int64_t below = 1; // iterations of the digits further in
    for (uint32_t i = at->count; i-- > 0;) {
        Atom *atom = &space->atom[space->order[at->first + i]];
        LoopExpr *left = x_div(s->l->kernel, var, below);
        atom->x = i ? x_mod(s->l->kernel, left, atom->extent) : left;
        below *= atom->extent;
    }
}

static void open_group(Schedule *s, Space *space, uint32_t group, LoopKind kind) {
    Lower *l = s->l;
    LoopExpr *end = x_int(l->kernel, space->group[group].extent);
    const char *name = kind == LOOP_VECTOR ? "v" : space == &s->space[0] ? "r" : "i";
    LoopExpr *var = scope_open_for(l, kind, name, x_int(l->kernel, 0), end, 1);
    if (l->trial)
        space->atom[space->order[group]].var = var->kind == E_VAR ? var->index : UINT32_MAX;
    set_atoms(s, space, group, var);
}

/// The group's loop, in steps of as many as there are chains, which are written out.
static void open_chains(Schedule *s, Space *space, uint32_t group) {
    Lower *l = s->l;
    LoopKernel *kernel = l->kernel;
    LoopExpr *steps = x_int(kernel, space->group[group].extent / space->chains);
    LoopExpr *zero = x_int(kernel, 0), *count = x_int(kernel, space->chains);
    LoopExpr *step = scope_open_for(l, LOOP_SERIAL, "i", zero, steps, 1);
    space->chain = scope_open_for(l, LOOP_UNROLL, "c", zero, count, 1);
    set_atoms(s, space, group, x_add(kernel, x_mul(kernel, step, space->chains), space->chain));
}

static void row_body(Schedule *s) {
    Lower *l = s->l;
    uint32_t levels = 0;
    for (uint32_t i = 1; i < s->space_count; i++)
        levels = s->space[i].level > levels ? s->space[i].level : levels;
    for (uint32_t level = 0; level <= levels; level++) {
        for (uint32_t i = 1; i < s->space_count; i++) {
            Space *space = &s->space[i];
            if (space->level != level)
                continue;
            uint32_t depth = l->top;
            l->nest = i;
            declare_sums(s, i);
            for (uint32_t g = 0; g < space->group_count; g++) {
                bool last = g + 1 == space->group_count;
                bool vector = !l->trial && !s->vector_rows && last;
                if (last && space->chains > 1)
                    open_chains(s, space, g);
                else
                    open_group(s, space, g, vector ? LOOP_VECTOR : LOOP_SERIAL);
            }
            sweep_body(s, i);
            while (l->top > depth)
                scope_close(l);
            name_sums(s, i);
        }
    }
    l->nest = 0;
    store_all(s, 0, NULL);
}

// ---- the trial run
// -------------------------------------------------------------------------------------

static void group_singly(Space *space) {
    space->group_count = space->atom_count;
    for (uint32_t i = 0; i < space->atom_count; i++)
        space->group[i] = (Group){i, 1, space->atom[space->order[i]].extent};
}

static void begin_run(Schedule *s, bool trial) {
    Lower *l = s->l;
    l->trial = trial;
    l->kernel = loop_kernel_new(trial ? l->arena : l->kept, l->name);
    lower_forget(l);
    l->argument.count = l->accesses.count = l->splits.count = l->others.count =
        l->places.count = 0;
    memset(l->inner_sums, 0, sizeof l->inner_sums);
    l->var_depth.count = l->let_depth.count = 0;
    l->top = 0;
    l->scope[0] = (Scope){&l->kernel->body, NULL, ++l->serial};
}

static void run_trial(Schedule *s) {
    Lower *l = s->l;
    begin_run(s, true);
    for (uint32_t i = 0; i < s->space_count; i++) {
        make_atoms(&s->space[i]);
        group_singly(&s->space[i]);
        s->space[i].chains = 1;
        s->space[i].chain = NULL;
    }
    for (uint32_t g = 0; g < s->space[0].group_count; g++)
        open_group(s, &s->space[0], g, LOOP_SERIAL);
    row_body(s);
    while (l->top)
        scope_close(l);
}

static Atom *atom_of(Space *space, uint32_t var) {
    for (uint32_t i = 0; i < space->atom_count; i++) {
        if (space->atom[i].var == var)
            return &space->atom[i];
    }
    return NULL;
}

static bool split_axis(Space *space, const Split *wish) {
    Atom *atom = atom_of(space, wish->var);
    if (!atom || atom->extent % wish->inner || wish->inner <= 1 || wish->inner >= atom->extent)
        return false;
    Axis *axis = &space->axis[atom->axis];
    if (axis->piece_count == MAX_PIECES || space->atom_count == MAX_ATOMS)
        return false;
    memmove(axis->piece + atom->piece + 1, axis->piece + atom->piece,
            (axis->piece_count - atom->piece) * sizeof axis->piece[0]);
    axis->piece_count++;
    axis->piece[atom->piece] = atom->extent / wish->inner;
    axis->piece[atom->piece + 1] = wish->inner;
    atom->var = UINT32_MAX; // no second split of this atom before the next trial
    return true;
}

static bool grant_splits(Schedule *s) {
    bool any = false;
    for (size_t w = 0; w < s->l->splits.count; w++) {
        for (uint32_t i = 0; i < s->space_count; i++)
            any |= split_axis(&s->space[i], &s->l->splits.at[w]);
    }
    return any;
}

// ---- what the trial run tells
// ----------------------------------------------------------------------------

static void make_rigid(Schedule *s, const LoopExpr *x) {
    for (uint32_t i = 0; x->kind == E_VAR && i < s->space_count; i++) {
        Atom *atom = atom_of(&s->space[i], x->index);
        if (atom)
            atom->rigid = true;
    }
    for (uint32_t i = 0; i < x->arity; i++)
        make_rigid(s, x->operand[i]);
}

static int64_t stride_of(const Affine *sum, uint32_t var) {
    for (uint32_t i = 0; i < sum->count; i++) {
        if (sum->atom[i]->kind == E_VAR && sum->atom[i]->index == var)
            return sum->factor[i];
    }
    return 0;
}

static void find_rigid(Schedule *s) {
    Lower *l = s->l;
    Affine sum;
    for (size_t i = 0; i < l->others.count; i++)
        make_rigid(s, l->others.at[i]);
    for (size_t i = 0; i < l->accesses.count; i++) {
        if (!x_affine(l->accesses.at[i].flat, &sum)) {
            make_rigid(s, l->accesses.at[i].flat);
            continue;
        }
        for (uint32_t k = 0; k < sum.count; k++) {
            if (sum.atom[k]->kind != E_VAR)
                make_rigid(s, sum.atom[k]);
        }
    }
}

// How many elements the access meets while the space's loops and those of the rows run; of two that
// meet as many a store counts more.
static double weight_of(const Schedule *s, const Access *access, uint32_t space) {
    Affine sum;
    double weight = 1;
    bool here = space == 0;
    if (!x_affine(access->flat, &sum) || (space && access->nest != space))
        return 0;
    for (uint32_t i = 0; i < s->space_count; i++) {
        for (uint32_t k = 0; k < s->space[i].atom_count; k++) {
            const Atom *atom = &s->space[i].atom[k];
            if (!stride_of(&sum, atom->var))
                continue;
            weight *= (double)atom->extent;
            here |= i == space;
        }
    }
    return here ? weight + (access->is_store ? 0.5 : 0) : 0;
}

static const Access *largest_access(const Schedule *s, uint32_t space) {
    const Access *best = NULL;
    double most = 0;
    for (size_t i = 0; i < s->l->accesses.count; i++) {
        double weight = weight_of(s, &s->l->accesses.at[i], space);
        if (weight > most) {
            most = weight;
            best = &s->l->accesses.at[i];
        }
    }
    return best;
}

// Larger strides outward; what the access does not move along goes outermost.
static void order_atoms(Schedule *s, uint32_t index) {
    Space *space = &s->space[index];
    const Access *access = largest_access(s, index);
    Affine sum = {0};
    if (access)
        x_affine(access->flat, &sum);
    for (uint32_t i = 0; i < space->atom_count; i++) {
        int64_t stride = stride_of(&sum, space->atom[i].var);
        space->atom[i].stride = stride < 0 ? -stride : stride ? stride : INT64_MAX;
    }
    for (uint32_t i = 1; i < space->atom_count; i++) { // stable
        uint32_t moving = space->order[i], k = i;
        for (; k && space->atom[space->order[k - 1]].stride < space->atom[moving].stride; k--)
            space->order[k] = space->order[k - 1];
        space->order[k] = moving;
    }
}

static bool walks_as_one(const Schedule *s, const Atom *outer, const Atom *inner) {
    if (outer->rigid || inner->rigid)
        return false;
    for (size_t i = 0; i < s->l->accesses.count; i++) {
        Affine sum;
        if (x_affine(s->l->accesses.at[i].flat, &sum) &&
            stride_of(&sum, outer->var) != stride_of(&sum, inner->var) * inner->extent)
            return false;
    }
    return true;
}

static void merge_atoms(const Schedule *s, Space *space) {
    space->group_count = 0;
    for (uint32_t i = 0; i < space->atom_count; i++) {
        const Atom *atom = &space->atom[space->order[i]];
        Group *last = space->group_count ? &space->group[space->group_count - 1] : NULL;
        if (last && walks_as_one(s, &space->atom[space->order[i - 1]], atom)) {
            last->count++;
            last->extent *= atom->extent;
            continue;
        }
        space->group[space->group_count++] = (Group){i, 1, atom->extent};
    }
}

// Whether the neighbours in the memory of the largest access are neighbouring rows.
static bool rows_are_contiguous(const Schedule *s) {
    const Access *best = NULL;
    double most = 0;
    for (uint32_t i = 0; i < s->space_count; i++) {
        const Access *access = largest_access(s, i);
        double weight = access ? weight_of(s, access, access->nest) : 0;
        if (weight > most) {
            most = weight;
            best = access;
        }
    }
    Affine sum;
    if (!best || !x_affine(best->flat, &sum))
        return true;
    int64_t least = INT64_MAX, extent = 0;
    bool rows = true;
    for (uint32_t i = 0; i < s->space_count; i++) {
        for (uint32_t k = 0; k < s->space[i].atom_count; k++) {
            const Atom *atom = &s->space[i].atom[k];
            int64_t stride = stride_of(&sum, atom->var);
            stride = stride < 0 ? -stride : stride;
            if (!stride || stride > least || (stride == least && atom->extent <= extent))
                continue;
            least = stride;
            extent = atom->extent;
            rows = i == 0;
        }
    }
    return rows;
}

/// An addition waits for the one before it some four cycles. A sweep whose lanes are rows adds to
/// each sum once in every step, so it keeps several, which take turns, and adds these in the end;
/// they also round less.
static void choose_chains(const Schedule *s, uint32_t index, Space *space) {
    static const int64_t wanted[] = {4, 5, 6, 7, CHAINS_MAX, 3, 2};
    int64_t extent = space->group_count ? space->group[space->group_count - 1].extent : 1;
    int64_t sums = 0, accesses = 0;
    for (size_t i = 0; i < s->parts.count; i++)
        sums += s->parts.at[i].space == index && !is_twin(s, i);
    for (size_t i = 0; i < s->l->accesses.count; i++)
        accesses += s->l->accesses.at[i].nest == index;
    if (!s->vector_rows || !sums || accesses > CHAIN_ACCESSES_MAX || s->l->inner_sums[index])
        return;
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted && space->chains == 1; i++) {
        if (extent % wanted[i] == 0 && wanted[i] * sums <= CHAIN_SUMS_MAX)
            space->chains = wanted[i];
    }
}

static void read_trial(Schedule *s) {
    find_rigid(s);
    for (uint32_t i = 0; i < s->space_count; i++) {
        order_atoms(s, i);
        merge_atoms(s, &s->space[i]);
    }
    s->vector_rows = s->space_count == 1 || rows_are_contiguous(s);
    find_twins(s);
    for (uint32_t i = 1; i < s->space_count; i++)
        choose_chains(s, i, &s->space[i]);
}

// ---- the rows' loops
// -----------------------------------------------------------------------------------

/// Leading groups of the rows go to the parallel loop, the next ones are serial. With vectors of
/// rows the last group is the vector loop, cut in chunks where there are too few iterations.
typedef struct RowPlan {
    uint32_t parallel; // groups
    int64_t iterations, chunk, chunks;
} RowPlan;

static int64_t round_up(int64_t x, int64_t to) {
    return (x + to - 1) / to * to;
}

static int64_t work_per_row(const Schedule *s) {
    int64_t work = 1;
    for (uint32_t i = 1; i < s->space_count; i++) {
        int64_t here = 1;
        for (uint32_t a = 0; a < s->space[i].axis_count; a++)
            here *= s->space[i].axis[a].extent;
        work = here > work ? here : work;
    }
    return work;
}

static RowPlan plan_parallel(const Schedule *s) {
    const Space *rows = &s->space[0];
    uint32_t loops = rows->group_count - (s->vector_rows && rows->group_count ? 1 : 0);
    RowPlan plan = {0, 1, 0, 1};
    while (plan.parallel < loops && plan.iterations < WANTED_ITERATIONS)
        plan.iterations *= rows->group[plan.parallel++].extent;
    if (loops == rows->group_count)
        return plan;
    int64_t extent = rows->group[loops].extent;
    int64_t between = work_per_row(s);
    for (uint32_t g = plan.parallel; g < loops; g++)
        between *= rows->group[g].extent;
    int64_t wanted = (WANTED_ITERATIONS + plan.iterations - 1) / plan.iterations;
    int64_t least = round_up((LEAST_WORK + between - 1) / between, LANES);
    plan.chunk = round_up((extent + wanted - 1) / wanted, LANES);
    plan.chunk = plan.chunk < least ? least : plan.chunk;
    plan.chunk = plan.chunk > LONGEST_CHUNK ? LONGEST_CHUNK : plan.chunk;
    plan.chunk = plan.chunk > extent ? extent : plan.chunk;
    plan.chunks = (extent + plan.chunk - 1) / plan.chunk;
    plan.iterations *= plan.chunks;
    return plan;
}

static void open_vector_rows(Schedule *s, const RowPlan *plan, LoopExpr *chunk) {
    Lower *l = s->l;
    Space *rows = &s->space[0];
    uint32_t last = rows->group_count - 1;
    int64_t extent = rows->group[last].extent;
    LoopExpr *begin = x_mul(l->kernel, chunk, plan->chunk);
    LoopExpr *end = x_offset(l->kernel, begin, plan->chunk);
    if (extent % plan->chunk)
        end = x2(l->kernel, X_min, end, x_int(l->kernel, extent));
    set_atoms(s, rows, last, scope_open_for(l, LOOP_VECTOR, "v", begin, end, 1));
}

static int64_t run(Schedule *s) {
    Lower *l = s->l;
    Space *rows = &s->space[0];
    begin_run(s, false);
    RowPlan plan = plan_parallel(s);
    uint32_t loops = rows->group_count - (plan.chunk ? 1 : 0);
    LoopExpr *end = x_int(l->kernel, plan.iterations);
    LoopExpr *left = scope_open_for(l, LOOP_PARALLEL, "p", x_int(l->kernel, 0), end, 1);
    LoopExpr *chunk = x_mod(l->kernel, left, plan.chunks);
    left = x_div(l->kernel, left, plan.chunks);
    for (uint32_t g = plan.parallel; g-- > 0;) {
        int64_t extent = rows->group[g].extent;
        set_atoms(s, rows, g, g ? x_mod(l->kernel, left, extent) : left);
        left = x_div(l->kernel, left, extent);
    }
    // A vector loop of one vector stands outside: what differs from lane to lane alone is
    // computed once.
    bool vector_outside = plan.chunk && rows->group[loops].extent <= LANES;
    if (vector_outside)
        open_vector_rows(s, &plan, chunk);
    for (uint32_t g = plan.parallel; g < loops; g++)
        open_group(s, rows, g, LOOP_SERIAL);
    if (plan.chunk && !vector_outside)
        open_vector_rows(s, &plan, chunk);
    row_body(s);
    while (l->top)
        scope_close(l);
    return plan.iterations;
}

int64_t lower_schedule(Lower *l) {
    Schedule s = {.l = l};
    plan_rows(&s);
    plan_sweeps(&s);
    for (int trial = 0; trial < MAX_TRIALS; trial++) {
        run_trial(&s);
        if (!grant_splits(&s))
            break;
    }
    read_trial(&s);
    return run(&s);
}
