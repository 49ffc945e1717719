// passes/remat.c -- recompute rather than keep, until a graph fits under --memory-limit.
//
// A value is cut where a gap between two of its uses spans kernels that hold too much: it is
// computed a second time, by a kernel of its own just before the use behind the gap, and its bytes
// are free in between. What makes sums is computed again by a copy of its whole kernel, what is
// elementwise by as much of its kernel as it needs, which may reach through elementwise values that
// are gone by then to what is still there. The copies are the same expressions on the same operands
// (draws carry their stream), so every result has the same bits.
//
//     excess    sum over the kernels of the bytes that they hold beyond the limit
//     gain      by how much a cut lowers the excess; operands that must stay for it raise it
//     price     time of the second computation, by bytes moved and operations
//
// A round takes the cuts of the best gain for their price that do not touch each other, makes them,
// and plans anew. Offsets leave holes: what the plan takes beyond its fullest kernel lowers the
// limit of the next round. Rounds end when the plan fits or no cut has a gain.
#include <stdlib.h>
#include <string.h>

#include "ir/cost.h"
#include "passes/lives.h"
#include "passes/passes.h"

enum {
    MOST_ROUNDS = 64,
    VAIN_ROUNDS = 6,  // that need no less than an earlier one
    MOST_INLINED = 6, // values that one cut computes on the way to its own
    BISECTIONS = 6,   // in search of the least that a graph can do with
    BYTES_PER_NS = 20,
    FLOPS_PER_NS = 100,
    LAUNCH_NS = 1000,
    SMALL = 4096, // parts of the limit: less is not worth a kernel
};
#define NEVER UINT32_MAX // no kernel

typedef Vec(Node *) NodeList;

typedef struct Cut Cut;
struct Cut {
    Node *value;
    const Kernel *kernel;        // that stores it
    uint32_t from, until;        // used there, computed again just before `until`
    NodeList computed;           // ascending ids; `value` among them
    NodeList loaded;             // stored values that it reads, or those before it
    Vec(Cut *) before;           // computed first, for this one alone: its operands
    NodeList replaced, replacing; // operands that are read in a later version of theirs
    bool whole;                  // a copy of all its kernel
    int64_t gain;                // byte kernels
    double price_ns;
};

/// A value, and a second computation of it.
typedef struct Version {
    Node *first, *second;
} Version;

typedef struct Remat {
    Graph *graph;
    Arena *scratch; // of a round
    int64_t limit;  // bytes of any kernel, this round
    uint32_t kernel_count;
    int64_t *held;          // bytes, by kernel
    Kernel **stored_by;     // by node id; NULL: it is stored by none
    uint32_t *first_member; // by node id: the first kernel that computes it
    uint32_t *last_use;     // by node id: the last kernel that reads it, or stores it
    Vec(uint32_t) *uses;    // by node id: kernels that read it from the arena, ascending
    uint32_t *written_by;   // by storage id: the kernel that writes it
    Node **next_version;    // by node id: another computation of the same value; a circle
    Vec(Version) versions;  // of all rounds
    Arena *versions_arena;
    uint8_t *seen;          // by node id, for one cut
    uint8_t *is_cut, *is_pinned; // by node id: by a cut of this round; needed by one
} Remat;

// ---- what there is
// -----------------------------------------------------------------------------------------

static bool is_leaf(const Node *node) {
    return op_has(node->op, LEAF) && !op_has(node->op, RANDOM);
}

static bool is_elementwise(const Node *node) {
    return (op_has(node->op, MAPS) || op_has(node->op, VIEWS)) && !op_has(node->op, EFFECT) &&
           !op_has(node->op, ALONE);
}

static bool has_effect(const Kernel *kernel) {
    for (uint32_t i = 0; i < kernel->stored_count; i++) {
        if (op_has(kernel->stored[i]->op, EFFECT))
            return true;
    }
    return false;
}

static void note_uses(Remat *r, uint32_t k, uint32_t *member) {
    const Kernel *kernel = r->graph->kernels.at[k];
    for (uint32_t i = 0; i < kernel->node_count; i++)
        member[kernel->node[i]->id] = k + 1;
    for (uint32_t i = 0; i < kernel->node_count; i++) {
        const Node *node = kernel->node[i];
        if (r->first_member[node->id] == NEVER)
            r->first_member[node->id] = k;
        if (node->op == OP_write)
            r->written_by[node->attrs->storage] = k;
        for (uint32_t j = 0; j < node->arity; j++) {
            uint32_t id = node->operand[j]->id;
            if (!r->stored_by[id] || member[id] == k + 1)
                continue;
            r->last_use[id] = k;
            if (!r->uses[id].count || vec_last(&r->uses[id]) != k)
                vec_push(r->scratch, &r->uses[id], k);
        }
    }
    for (uint32_t i = 0; i < kernel->stored_count; i++) {
        if (op_has(kernel->stored[i]->op, EFFECT))
            continue;
        r->stored_by[kernel->stored[i]->id] = r->graph->kernels.at[k];
        r->last_use[kernel->stored[i]->id] = k;
    }
}

static void look(Remat *r) {
    size_t count = r->graph->nodes.count, storages = r->graph->module->storages.count;
    Arena *arena = r->scratch;
    r->kernel_count = (uint32_t)r->graph->kernels.count;
    r->stored_by = arena_array(arena, Kernel *, count);
    r->first_member = arena_array(arena, uint32_t, count);
    r->last_use = arena_array(arena, uint32_t, count);
    r->uses = arena_alloc_array(arena, count, sizeof *r->uses);
    r->written_by = arena_array(arena, uint32_t, storages);
    r->seen = arena_array(arena, uint8_t, count);
    r->is_cut = arena_array(arena, uint8_t, count);
    r->is_pinned = arena_array(arena, uint8_t, count);
    r->held = arena_array(arena, int64_t, r->kernel_count + 1);
    r->next_version = arena_array(arena, Node *, count);
    for (size_t i = 0; i < count; i++) {
        r->first_member[i] = NEVER;
        r->next_version[i] = r->graph->nodes.at[i];
    }
    for (size_t i = 0; i < r->versions.count; i++) {
        const Version *v = &r->versions.at[i];
        r->next_version[v->second->id] = r->next_version[v->first->id];
        r->next_version[v->first->id] = v->second;
    }
    for (size_t i = 0; i < storages; i++)
        r->written_by[i] = NEVER;
    uint32_t *member = arena_array(arena, uint32_t, count);
    for (uint32_t k = 0; k < r->kernel_count; k++)
        note_uses(r, k, member);
}

/// Bytes of the arena, and of its fullest kernel.
static int64_t plan(Remat *r, int64_t *fullest) {
    Lives lives = lives_find(r->graph, r->scratch);
    *fullest = 0;
    for (uint32_t i = 0; i < lives.count; i++) {
        const Life *life = &lives.at[i];
        for (uint32_t k = life->first; life->place == i && k <= life->last; k++)
            r->held[k] += life->size_bytes;
    }
    for (uint32_t k = 0; k < r->kernel_count; k++)
        *fullest = r->held[k] > *fullest ? r->held[k] : *fullest;
    return lives_place(&lives, 0);
}

// ---- one cut
// -----------------------------------------------------------------------------------------

/// The change of the excess if kernels [first, last] held `bytes` more.
static int64_t change_of_excess(const Remat *r, uint32_t first, uint32_t last, int64_t bytes) {
    int64_t change = 0;
    for (uint32_t k = first; k <= last && k < r->kernel_count; k++) {
        int64_t before = r->held[k] - r->limit, after = before + bytes;
        change += (after > 0 ? after : 0) - (before > 0 ? before : 0);
    }
    return change;
}

/// The computation of `node` that is there when kernel `until` begins, or was there last.
static Node *version_at(const Remat *r, Node *node, uint32_t until) {
    Node *best = node;
    for (Node *x = r->next_version[node->id]; x != node; x = r->next_version[x->id]) {
        bool is_there = r->stored_by[x->id] && r->stored_by[x->id]->id < until;
        if (is_there && r->last_use[x->id] > r->last_use[best->id])
            best = x;
    }
    return best;
}

static bool is_there(const Remat *r, const Node *node, uint32_t until) {
    return r->last_use[node->id] >= until;
}

static bool load(Remat *r, Cut *cut, Node *node, Node *version) {
    if (version != node) {
        vec_push(r->scratch, &cut->replaced, node);
        vec_push(r->scratch, &cut->replacing, version);
    }
    if (!r->seen[version->id])
        vec_push(r->scratch, &cut->loaded, version);
    r->seen[version->id] = 1;
    return !r->is_cut[version->id];
}

static bool compute(Remat *r, Cut *cut, Node *node, int *inlined);

static int by_id(const void *a, const void *b) {
    const Node *x = *(Node *const *)a, *y = *(Node *const *)b;
    return x->id < y->id ? -1 : x->id > y->id;
}

/// An elementwise operand of a kernel that is copied whole: by a kernel of its own, just before.
static bool compute_before(Remat *r, Cut *cut, Node *node) {
    Cut *before = arena_new(r->scratch, Cut);
    uint8_t *seen = r->seen;
    int inlined = 0;
    *before = (Cut){.value = node, .kernel = r->stored_by[node->id], .until = cut->until};
    r->seen = arena_array(r->scratch, uint8_t, r->graph->nodes.count);
    bool good = compute(r, before, node, &inlined);
    r->seen = seen;
    if (!good)
        return false;
    qsort(before->computed.at, before->computed.count, sizeof(Node *), by_id);
    for (size_t i = 0; i < before->loaded.count; i++)
        vec_push(r->scratch, &cut->loaded, before->loaded.at[i]);
    vec_push(r->scratch, &cut->before, before);
    r->seen[node->id] = 1;
    return true;
}

/// What the cut reads: a storage that still is what it was; a stored value, which is there, is
/// computed again on the way, or stays longer.
static bool need(Remat *r, Cut *cut, Node *node, int *inlined) {
    if (node->op == OP_read) {
        uint32_t writer = r->written_by[node->attrs->storage];
        return writer == NEVER || writer >= cut->until;
    }
    if (is_leaf(node) || r->seen[node->id])
        return true;
    if (!r->stored_by[node->id])
        return compute(r, cut, node, inlined);
    Node *version = version_at(r, node, cut->until);
    bool stays = is_there(r, version, cut->until) ||
                 8 * arena_bytes(&node->type) <= arena_bytes(&cut->value->type);
    if (!stays && !cut->whole && is_elementwise(node) && ++*inlined <= MOST_INLINED)
        return compute(r, cut, node, inlined);
    if (!stays && cut->whole && is_elementwise(node) && compute_before(r, cut, node))
        return true;
    return load(r, cut, node, version);
}

static bool compute(Remat *r, Cut *cut, Node *node, int *inlined) {
    if (!is_elementwise(node))
        return false;
    r->seen[node->id] = 1;
    for (uint32_t k = 0; k < node->arity; k++) {
        if (!need(r, cut, node->operand[k], inlined))
            return false;
    }
    vec_push(r->scratch, &cut->computed, node);
    return true;
}

static bool compute_whole(Remat *r, Cut *cut) {
    const Kernel *kernel = cut->kernel;
    int inlined = 0;
    cut->whole = true;
    if (has_effect(kernel))
        return false;
    for (uint32_t i = 0; i < kernel->node_count; i++) {
        r->seen[kernel->node[i]->id] = 1;
        vec_push(r->scratch, &cut->computed, kernel->node[i]);
    }
    for (uint32_t i = 0; i < kernel->node_count; i++) {
        const Node *node = kernel->node[i];
        for (uint32_t k = 0; k < node->arity; k++) {
            if (!need(r, cut, node->operand[k], &inlined))
                return false;
        }
    }
    return true;
}

static bool is_stored_by(const Kernel *kernel, const Node *node) {
    for (uint32_t i = 0; i < kernel->stored_count; i++) {
        if (kernel->stored[i] == node)
            return true;
    }
    return false;
}

// The kernel stores its other values again too, where it is copied whole.
static bool stores(const Cut *cut, const Node *node) {
    return node == cut->value || (cut->whole && is_stored_by(cut->kernel, node));
}

// Bytes moved and operations.
static void add_work(const Cut *cut, int64_t *bytes, int64_t *flops) {
    for (size_t i = 0; i < cut->loaded.count; i++)
        *bytes += type_bytes(&cut->loaded.at[i]->type);
    for (size_t i = 0; i < cut->computed.count; i++) {
        const Node *node = cut->computed.at[i];
        *flops += node_flops(node);
        *bytes += stores(cut, node) ? type_bytes(&node->type) : 0;
    }
}

static void weigh(Remat *r, Cut *cut) {
    int64_t bytes = 0, flops = 0, size = arena_bytes(&cut->value->type);
    cut->gain = -change_of_excess(r, cut->from + 1, cut->until - 1, -size);
    add_work(cut, &bytes, &flops);
    for (size_t i = 0; i < cut->loaded.count; i++) {
        const Node *x = cut->loaded.at[i];
        if (!is_there(r, x, cut->until))
            cut->gain -= change_of_excess(r, r->last_use[x->id] + 1, cut->until,
                                          arena_bytes(&x->type));
    }
    for (size_t i = 0; i < cut->before.count; i++) {
        const Cut *before = cut->before.at[i];
        add_work(before, &bytes, &flops);
        cut->gain -=
            change_of_excess(r, cut->until, cut->until, arena_bytes(&before->value->type));
    }
    cut->price_ns = (double)bytes / BYTES_PER_NS + (double)flops / FLOPS_PER_NS + LAUNCH_NS;
}

static void forget_seen(Remat *r) {
    memset(r->seen, 0, r->graph->nodes.count);
}

/// The cut of `value` between two of its uses. False if it cannot be or gains nothing.
static bool find_cut(Remat *r, Node *value, uint32_t from, uint32_t until, Cut *cut) {
    *cut = (Cut){.value = value, .kernel = r->stored_by[value->id], .from = from, .until = until};
    int64_t size = arena_bytes(&value->type);
    if (size < r->limit / SMALL || change_of_excess(r, from + 1, until - 1, -size) == 0)
        return false;
    int inlined = 0;
    bool good = compute(r, cut, value, &inlined);
    forget_seen(r);
    if (!good) {
        *cut = (Cut){
            .value = value, .kernel = r->stored_by[value->id], .from = from, .until = until};
        good = compute_whole(r, cut);
        forget_seen(r);
    }
    if (!good)
        return false;
    qsort(cut->computed.at, cut->computed.count, sizeof(Node *), by_id);
    weigh(r, cut);
    return cut->gain > 0;
}

// ---- a round
// -----------------------------------------------------------------------------------------

typedef Vec(Cut) Cuts;

static int better_first(const void *a, const void *b) {
    const Cut *x = a, *y = b;
    double s = (double)x->gain / x->price_ns, t = (double)y->gain / y->price_ns;
    if (s != t)
        return s < t ? 1 : -1;
    return x->value->id < y->value->id ? -1 : x->value->id > y->value->id;
}

/// The best cut of each value.
static Cuts find_cuts(Remat *r) {
    Cuts cuts = {0};
    for (size_t i = 0; i < r->graph->nodes.count; i++) {
        Node *value = r->graph->nodes.at[i];
        if (!r->stored_by[i] || !r->uses[i].count)
            continue;
        uint32_t from = r->stored_by[i]->id;
        Cut best = {0}, cut;
        for (size_t k = 0; k < r->uses[i].count; from = r->uses[i].at[k++]) {
            if (r->uses[i].at[k] > from + 1 && find_cut(r, value, from, r->uses[i].at[k], &cut) &&
                (!best.value || better_first(&cut, &best) < 0))
                best = cut;
        }
        if (best.value)
            vec_push(r->scratch, &cuts, best);
    }
    if (cuts.count)
        qsort(cuts.at, cuts.count, sizeof(Cut), better_first);
    return cuts;
}

static void hold(Remat *r, uint32_t first, uint32_t last, int64_t bytes) {
    for (uint32_t k = first; k <= last && k < r->kernel_count; k++)
        r->held[k] += bytes;
}

/// Takes the cut if it still gains after those that were taken, and touches none of them.
static bool take(Remat *r, const Cut *old, Cut *cut) {
    if (r->is_pinned[old->value->id] || !find_cut(r, old->value, old->from, old->until, cut))
        return false;
    for (size_t i = 0; i < cut->computed.count; i++) {
        if (stores(cut, cut->computed.at[i]) &&
            (r->is_pinned[cut->computed.at[i]->id] || r->is_cut[cut->computed.at[i]->id]))
            return false;
    }
    for (size_t i = 0; i < cut->loaded.count; i++) {
        Node *x = cut->loaded.at[i];
        r->is_pinned[x->id] = 1;
        if (is_there(r, x, cut->until))
            continue;
        hold(r, r->last_use[x->id] + 1, cut->until, arena_bytes(&x->type));
        r->last_use[x->id] = cut->until;
    }
    for (size_t i = 0; i < cut->computed.count; i++)
        r->is_cut[cut->computed.at[i]->id] |= stores(cut, cut->computed.at[i]);
    hold(r, cut->from + 1, cut->until - 1, -arena_bytes(&cut->value->type));
    return true;
}

static Cuts choose_cuts(Remat *r) {
    Cuts found = find_cuts(r), taken = {0};
    for (size_t i = 0; i < found.count; i++) {
        Cut cut;
        if (take(r, &found.at[i], &cut))
            vec_push(r->scratch, &taken, cut);
    }
    return taken;
}

// ---- making the cuts
// ---------------------------------------------------------------------------------

/// The graph with copies, which have ids of their own from the first moment: those of a node follow
/// it, new kernels stand before old ones.
typedef struct Edit {
    Remat *r;
    Vec(NodeList) copies;   // by node id
    Vec(uint32_t) first;    // by node id: the first old kernel that computes it
    Vec(Node *) now;        // by node id, during one cut: what stands for it; NULL: itself
    Vec(Kernel *) * before; // by kernel
} Edit;

static Node *standing_for(const Edit *e, Node *node) {
    Node *now = e->now.at[node->id];
    return now ? now : node;
}

static void forget_standing(Edit *e) {
    memset(e->now.at, 0, e->now.count * sizeof *e->now.at);
}

static Node *copy_node(Edit *e, const Node *node, uint32_t first) {
    Graph *graph = e->r->graph;
    Arena *arena = graph->module->arena, *scratch = e->r->scratch;
    Node *copy = arena_new(arena, Node);
    *copy = *node;
    copy->id = (uint32_t)e->now.count;
    copy->origin = origin_at_stage(graph, node->origin, STAGE_BACKWARD);
    copy->operand = arena_array(arena, Node *, node->arity + 1);
    for (uint32_t k = 0; k < node->arity; k++)
        copy->operand[k] = standing_for(e, node->operand[k]);
    e->now.at[node->id] = copy;
    vec_push(scratch, &e->copies.at[node->id], copy);
    vec_push(scratch, &e->copies, (NodeList){0});
    vec_push(scratch, &e->first, first);
    vec_push(scratch, &e->now, NULL);
    return copy;
}

static bool needs_change(const Edit *e, const Node *node) {
    for (uint32_t k = 0; k < node->arity; k++) {
        if (e->now.at[node->operand[k]->id])
            return true;
    }
    return false;
}

static void swap_node(Node **node, uint32_t count, const Node *from, Node *to) {
    for (uint32_t i = 0; i < count; i++) {
        if (node[i] == from)
            node[i] = to;
    }
}

// What the kernel computes from cut values it now computes from their second versions. A node that
// a kernel before the cut computes too gets a copy here.
static void redirect(Edit *e, Kernel *kernel, uint32_t index, uint32_t until) {
    for (uint32_t i = 0; i < kernel->node_count; i++) {
        Node *node = kernel->node[i];
        if (e->now.at[node->id]) { // copied for a kernel before this one
            kernel->node[i] = e->now.at[node->id];
        } else if (needs_change(e, node) && e->first.at[node->id] < until) {
            kernel->node[i] = copy_node(e, node, index);
            swap_node(kernel->stored, kernel->stored_count, node, kernel->node[i]);
        } else {
            for (uint32_t k = 0; k < node->arity; k++)
                node->operand[k] = standing_for(e, node->operand[k]);
        }
    }
}

static Kernel *second_kernel(Edit *e, const Cut *cut) {
    Graph *graph = e->r->graph;
    Arena *arena = graph->module->arena;
    uint32_t count = (uint32_t)cut->computed.count;
    Kernel *kernel = arena_new(arena, Kernel);
    kernel->node = arena_array(arena, Node *, count);
    kernel->stored = arena_array(arena, Node *, count);
    Recomputed done = {0};
    add_work(cut, &done.bytes, &done.flops);
    for (size_t i = 0; i < cut->replaced.count; i++)
        e->now.at[cut->replaced.at[i]->id] = cut->replacing.at[i];
    for (uint32_t i = 0; i < count; i++) {
        Node *node = cut->computed.at[i];
        Node *copy = kernel->node[kernel->node_count++] = copy_node(e, node, NEVER);
        done.node = node == cut->value ? copy : done.node;
        if (stores(cut, node))
            kernel->stored[kernel->stored_count++] = copy;
    }
    vec_push(arena, &graph->recomputed, done);
    vec_push(e->r->scratch, &e->before[cut->until], kernel);
    return kernel;
}

static void make_cut(Edit *e, const Cut *cut) {
    Remat *r = e->r;
    NodeList operands = {0};
    for (size_t i = 0; i < cut->before.count; i++) {
        forget_standing(e);
        vec_push(r->scratch, &operands, second_kernel(e, cut->before.at[i])->stored[0]);
    }
    forget_standing(e);
    for (size_t i = 0; i < operands.count; i++)
        e->now.at[cut->before.at[i]->value->id] = operands.at[i];
    const Kernel *kernel = second_kernel(e, cut);

    forget_standing(e);
    for (uint32_t i = 0, k = 0; i < cut->computed.count; i++) {
        Node *node = cut->computed.at[i];
        if (!stores(cut, node))
            continue;
        Version version = {node, kernel->stored[k]};
        e->now.at[node->id] = kernel->stored[k++];
        vec_push(r->versions_arena, &r->versions, version);
    }
    for (uint32_t k = cut->until; k < r->kernel_count; k++)
        redirect(e, r->graph->kernels.at[k], k, cut->until);
}

static void put_in_order(const Edit *e, Node *node, NodeList *order) {
    vec_push(e->r->scratch, order, node);
    for (size_t i = 0; i < e->copies.at[node->id].count; i++)
        put_in_order(e, e->copies.at[node->id].at[i], order);
}

static void finish(const Edit *e) {
    Graph *graph = e->r->graph;
    NodeList order = {0};
    Vec(Kernel *) kernels = {0};
    for (size_t i = 0; i < graph->nodes.count; i++)
        put_in_order(e, graph->nodes.at[i], &order);
    for (uint32_t i = 0; i < e->r->kernel_count; i++) {
        for (size_t k = 0; k < e->before[i].count; k++)
            vec_push(e->r->scratch, &kernels, e->before[i].at[k]);
        vec_push(e->r->scratch, &kernels, graph->kernels.at[i]);
    }
    graph_set_nodes(graph, order.at, order.count);
    graph->buffer = NULL;
    graph->kernels.count = 0;
    for (uint32_t i = 0; i < kernels.count; i++) {
        kernels.at[i]->id = i;
        vec_push(graph->module->arena, &graph->kernels, kernels.at[i]);
    }
}

static void make_cuts(Remat *r, const Cuts *cuts) {
    Edit e = {.r = r};
    for (size_t i = 0; i < r->graph->nodes.count; i++) {
        vec_push(r->scratch, &e.copies, (NodeList){0});
        vec_push(r->scratch, &e.first, r->first_member[i]);
        vec_push(r->scratch, &e.now, NULL);
    }
    e.before = arena_alloc_array(r->scratch, r->kernel_count, sizeof *e.before);
    for (size_t i = 0; i < cuts->count; i++)
        make_cut(&e, &cuts->at[i]);
    finish(&e);
}

// ---- a graph
// -----------------------------------------------------------------------------------------

/// Cuts until the graph's arena has `target` bytes or less. Returns the least that a round needed;
/// the graph is as the last round left it.
static int64_t fit(Graph *graph, int64_t target) {
    Arena scratch = {0}, versions = {0};
    Remat r = {.graph = graph, .scratch = &scratch, .versions_arena = &versions};
    int64_t least = INT64_MAX;
    for (int round = 0, vain = 0; round < MOST_ROUNDS && vain < VAIN_ROUNDS; round++) {
        int64_t fullest;
        look(&r);
        int64_t bytes = plan(&r, &fullest);
        vain = bytes < least ? 0 : vain + 1;
        least = bytes < least ? bytes : least;
        if (bytes <= target)
            break;
        r.limit = target - (bytes - fullest);
        Cuts cuts = choose_cuts(&r);
        if (!cuts.count)
            break;
        make_cuts(&r, &cuts);
        arena_reset(&scratch);
    }
    arena_release(&versions);
    arena_release(&scratch);
    return least;
}

// A graph of its own to try on; it leaves no trace in the module.
static Graph *trial_of(Graph *graph) {
    Graph *trial = graph_clone(graph, graph->name);
    graph->module->graphs.count--;
    return trial;
}

static bool try_fit(Graph *graph, int64_t target, int64_t *least) {
    Graph *trial = trial_of(graph);
    *least = fit(trial, target);
    if (*least > target)
        return false;
    graph->nodes.count = 0;
    graph->kernels.count = 0;
    graph->buffer = NULL;
    for (size_t i = 0; i < trial->nodes.count; i++)
        vec_push(graph->module->arena, &graph->nodes, trial->nodes.at[i]);
    for (size_t i = 0; i < trial->kernels.count; i++)
        vec_push(graph->module->arena, &graph->kernels, trial->kernels.at[i]);
    graph->recomputed.count = 0;
    for (size_t i = 0; i < trial->recomputed.count; i++)
        vec_push(graph->module->arena, &graph->recomputed, trial->recomputed.at[i]);
    return true;
}

/// The least arena that is found for a graph which does not fit into `too_little`; `reached` is
/// what that attempt came to.
static int64_t least_arena(Graph *graph, int64_t too_little, int64_t reached) {
    int64_t enough = graph->step_bytes;
    int64_t target = reached;
    for (int i = 0; i < BISECTIONS && target < enough; i++) {
        if (fit(trial_of(graph), target) <= target)
            enough = target;
        else
            too_little = target;
        target = too_little + (enough - too_little) / 2;
    }
    return enough;
}

/// Recomputes values of graphs that would need more than the memory limit.
/// Requires: kernels and a plan.  Keeps: every result's bits.  Sets: kernels, Graph.recomputed, the
/// plan; ctx->unmet where the limit cannot be met.
bool pass_remat(Module *module, PassContext *ctx) {
    int64_t limit = ctx->options.memory_limit_bytes;
    int64_t room = limit - module->storage_bytes - module->phase_bytes;
    bool changed = false;
    if (!limit)
        return false;
    for (size_t i = 0; i < module->graphs.count; i++) {
        Graph *graph = module->graphs.at[i];
        int64_t reached;
        if (graph->step_bytes <= room)
            continue;
        if (try_fit(graph, room, &reached)) {
            changed = true;
            continue;
        }
        int64_t least = limit - room + least_arena(graph, room > 0 ? room : 0, reached);
        if (least > ctx->unmet_bytes) {
            ctx->unmet_bytes = least;
            ctx->unmet = graph;
        }
    }
    if (changed)
        pass_plan_memory(module, ctx);
    return changed;
}
