// passes/order.c -- the kernels in an order in which less is alive.
//
// `fuse` leaves them as the program has them: all gradients, then all updates; what a loss term
// sends to a map long before the rest of that map's cotangent is there. Two moves, each of which
// makes no moment of the step any fuller:
//
//     hoist   a kernel whose operands die with it, and are more than it stores, to right behind
//             what it needs: an update to its gradient
//     sink    a kernel that stores at least as much as dies with it to right before its first user
//
// A kernel that writes a storage stays behind all that read it. Whether a move pays is asked of the
// order as it stands; the result is taken only if the arena that it needs is smaller.
#include <string.h>

#include "passes/lives.h"
#include "passes/passes.h"

enum { ROUNDS = 2 }; // a kernel that has sunk may let another one rise

typedef Vec(uint32_t) Indices;

typedef struct Order {
    Graph *graph;
    Arena *scratch;
    uint32_t count;
    Indices *before, *after; // by kernel: those that must come before and after it
    Indices *loads;          // by kernel: ids of the values that it loads from the arena
    Indices *users;          // by node id: kernels that load it
    int64_t *stored_bytes;   // by kernel: what it stores in the arena
    uint32_t *at;            // kernels, in order
    uint32_t *place;         // by kernel: where it stands in `at`
} Order;

// ---- what depends on what -----------------------------------------------------------------------

static void put_before(Order *o, uint32_t first, uint32_t second) {
    if (first == second)
        return;
    vec_push(o->scratch, &o->after[first], second);
    vec_push(o->scratch, &o->before[second], first);
}

/// Each storage: all that read it come before what writes it.
static void order_storages(Order *o) {
    const Graph *graph = o->graph;
    size_t storages = graph->module->storages.count;
    uint32_t *writer = arena_array(o->scratch, uint32_t, storages + 1); // kernel + 1
    for (uint32_t k = 0; k < o->count; k++) {
        const Kernel *kernel = graph->kernels.at[k];
        for (uint32_t i = 0; i < kernel->node_count; i++) {
            if (kernel->node[i]->op == OP_write)
                writer[kernel->node[i]->attrs->storage] = k + 1;
        }
    }
    for (uint32_t k = 0; k < o->count; k++) {
        const Kernel *kernel = graph->kernels.at[k];
        for (uint32_t i = 0; i < kernel->node_count; i++) {
            const Node *node = kernel->node[i];
            for (uint32_t j = 0; j < node->arity; j++) {
                const Node *x = node->operand[j];
                if (x->op == OP_read && writer[x->attrs->storage])
                    put_before(o, k, writer[x->attrs->storage] - 1);
            }
        }
    }
}

static void order_values(Order *o) {
    const Graph *graph = o->graph;
    uint32_t *maker = arena_array(o->scratch, uint32_t, graph->nodes.count + 1); // kernel + 1
    uint32_t *seen = arena_array(o->scratch, uint32_t, graph->nodes.count + 1);  // kernel + 1
    for (uint32_t k = 0; k < o->count; k++) {
        const Kernel *kernel = graph->kernels.at[k];
        for (uint32_t i = 0; i < kernel->stored_count; i++) {
            const Node *node = kernel->stored[i];
            if (op_has(node->op, EFFECT))
                continue;
            maker[node->id] = k + 1;
            o->stored_bytes[k] += arena_bytes(&node->type);
        }
    }
    for (uint32_t k = 0; k < o->count; k++) {
        const Kernel *kernel = graph->kernels.at[k];
        for (uint32_t i = 0; i < kernel->node_count; i++) {
            const Node *node = kernel->node[i];
            seen[node->id] = k + 1; // computed here: operands come before their users
            for (uint32_t j = 0; j < node->arity; j++) {
                uint32_t x = node->operand[j]->id;
                if (seen[x] == k + 1 || !maker[x])
                    continue;
                seen[x] = k + 1;
                put_before(o, maker[x] - 1, k);
                vec_push(o->scratch, &o->loads[k], x);
                vec_push(o->scratch, &o->users[x], k);
            }
        }
    }
}

static Order order_begin(Graph *graph, Arena *scratch) {
    uint32_t count = (uint32_t)graph->kernels.count;
    Order o = {
        .graph = graph,
        .scratch = scratch,
        .count = count,
        .before = arena_alloc_array(scratch, count + 1, sizeof *o.before),
        .after = arena_alloc_array(scratch, count + 1, sizeof *o.after),
        .loads = arena_alloc_array(scratch, count + 1, sizeof *o.loads),
        .users = arena_alloc_array(scratch, graph->nodes.count + 1, sizeof *o.users),
        .stored_bytes = arena_array(scratch, int64_t, count + 1),
        .at = arena_array(scratch, uint32_t, count + 1),
        .place = arena_array(scratch, uint32_t, count + 1),
    };
    for (uint32_t k = 0; k < count; k++)
        o.at[k] = o.place[k] = k;
    order_values(&o);
    order_storages(&o);
    return o;
}

// ---- moves --------------------------------------------------------------------------------------

/// Bytes of what kernel k loads and no other kernel at place `end` or later does.
static int64_t dying_bytes(const Order *o, uint32_t k, uint32_t end) {
    int64_t bytes = 0;
    for (size_t i = 0; i < o->loads[k].count; i++) {
        uint32_t x = o->loads[k].at[i];
        bool dies = true;
        for (size_t j = 0; dies && j < o->users[x].count; j++)
            dies = o->users[x].at[j] == k || o->place[o->users[x].at[j]] < end;
        if (dies)
            bytes += arena_bytes(&o->graph->nodes.at[x]->type);
    }
    return bytes;
}

static void move(Order *o, uint32_t from, uint32_t to) {
    uint32_t k = o->at[from];
    for (uint32_t i = from; i < to; i++)
        o->at[i] = o->at[i + 1];
    for (uint32_t i = from; i > to; i--)
        o->at[i] = o->at[i - 1];
    o->at[to] = k;
    for (uint32_t i = from < to ? from : to; i <= (from < to ? to : from); i++)
        o->place[o->at[i]] = i;
}

static void hoist(Order *o, uint32_t from) {
    uint32_t k = o->at[from], to = 0;
    for (size_t i = 0; i < o->before[k].count; i++) {
        uint32_t place = o->place[o->before[k].at[i]];
        to = place + 1 > to ? place + 1 : to;
    }
    if (to < from && dying_bytes(o, k, to) > o->stored_bytes[k])
        move(o, from, to);
}

static void sink(Order *o, uint32_t from) {
    uint32_t k = o->at[from], first = o->count;
    for (size_t i = 0; i < o->after[k].count; i++) {
        uint32_t place = o->place[o->after[k].at[i]];
        first = place < first ? place : first;
    }
    if (first < o->count && first > from + 1 && o->stored_bytes[k] &&
        dying_bytes(o, k, first) <= o->stored_bytes[k])
        move(o, from, first - 1);
}

// ---- the pass -----------------------------------------------------------------------------------

static void set_order(Graph *graph, Kernel *const *kernel) {
    for (uint32_t i = 0; i < graph->kernels.count; i++) {
        graph->kernels.at[i] = kernel[i];
        graph->kernels.at[i]->id = i;
    }
}

static int64_t bytes_needed(const Graph *graph, Arena *scratch) {
    Lives lives = lives_find(graph, scratch);
    return lives_place(&lives);
}

/// Reorders kernels so that the arena of the graph is smaller.
/// Requires: kernels of `fuse`.  Keeps: values, kernels.  Sets: their order.
bool pass_order(Graph *graph, PassContext *ctx) {
    uint32_t count = (uint32_t)graph->kernels.count;
    Kernel **before = arena_array(ctx->scratch, Kernel *, count + 1);
    Kernel **after = arena_array(ctx->scratch, Kernel *, count + 1);
    bool changed = false;
    Order o = order_begin(graph, ctx->scratch);
    for (int round = 0; round < ROUNDS; round++) {
        for (uint32_t i = 0; i < count; i++)
            hoist(&o, i);
        for (uint32_t i = count; i-- > 0;)
            sink(&o, i);
    }
    for (uint32_t i = 0; i < count; i++) {
        before[i] = graph->kernels.at[i];
        after[i] = graph->kernels.at[o.at[i]];
        changed |= before[i] != after[i];
    }
    if (!changed)
        return false;
    int64_t bytes = bytes_needed(graph, ctx->scratch);
    set_order(graph, after);
    changed = bytes_needed(graph, ctx->scratch) < bytes;
    if (!changed)
        set_order(graph, before);
    return changed;
}
