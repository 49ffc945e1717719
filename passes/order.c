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
// Then the fullest moment is looked at. What is alive there for later users may be made later,
// with all that is made of it meanwhile, and with what it is made of if that would have to stay:
//
//     delay   the cotangent that a loss term sends to a map, from the loss on, with the gradients of
//             the weights that it meets on its way
//
// A kernel that writes a storage stays behind all that read it. Bytes are counted as if nothing lay
// in place of another; of the orders that come of this the one with the smallest arena is taken.
#include <string.h>

#include "passes/lives.h"
#include "passes/passes.h"

enum {
    LEAST_BYTES = 512 << 10, // for whose sake a kernel moves: a move may part a chain of launches
    ROUNDS = 2,       // a kernel that has sunk may let another one rise
    MOST_DELAYS = 64, // of a graph
    MOST_GROWTH = 8,  // what else has to be made later for one value
};

typedef Vec(uint32_t) Indices;

typedef struct Order {
    Graph *graph;
    Arena *scratch;
    uint32_t count;
    Kernel **kernel;         // as they were
    Indices *before, *after; // by kernel: those that must come before and after it
    Indices *loads;          // by kernel: ids of the values that it loads from the arena
    Indices *users;          // by node id: kernels that load it
    uint32_t *maker;         // by node id: 1 + the kernel that stores it in the arena; 0: none
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
    uint32_t *seen = arena_array(o->scratch, uint32_t, graph->nodes.count + 1); // kernel + 1
    for (uint32_t k = 0; k < o->count; k++) {
        const Kernel *kernel = graph->kernels.at[k];
        for (uint32_t i = 0; i < kernel->stored_count; i++) {
            const Node *node = kernel->stored[i];
            if (op_has(node->op, EFFECT))
                continue;
            o->maker[node->id] = k + 1;
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
                if (seen[x] == k + 1 || !o->maker[x])
                    continue;
                seen[x] = k + 1;
                put_before(o, o->maker[x] - 1, k);
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
        .kernel = arena_array(scratch, Kernel *, count + 1),
        .before = arena_alloc_array(scratch, count + 1, sizeof *o.before),
        .after = arena_alloc_array(scratch, count + 1, sizeof *o.after),
        .loads = arena_alloc_array(scratch, count + 1, sizeof *o.loads),
        .users = arena_alloc_array(scratch, graph->nodes.count + 1, sizeof *o.users),
        .maker = arena_array(scratch, uint32_t, graph->nodes.count + 1),
        .stored_bytes = arena_array(scratch, int64_t, count + 1),
        .at = arena_array(scratch, uint32_t, count + 1),
        .place = arena_array(scratch, uint32_t, count + 1),
    };
    for (uint32_t k = 0; k < count; k++) {
        o.kernel[k] = graph->kernels.at[k];
        o.at[k] = o.place[k] = k;
    }
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
    if (to < from && dying_bytes(o, k, to) >= o->stored_bytes[k] + LEAST_BYTES)
        move(o, from, to);
}

static void sink(Order *o, uint32_t from) {
    uint32_t k = o->at[from], first = o->count;
    for (size_t i = 0; i < o->after[k].count; i++) {
        uint32_t place = o->place[o->after[k].at[i]];
        first = place < first ? place : first;
    }
    if (first < o->count && first > from + 1 && o->stored_bytes[k] >= LEAST_BYTES &&
        dying_bytes(o, k, first) <= o->stored_bytes[k])
        move(o, from, first - 1);
}

// ---- delays -------------------------------------------------------------------------------------

/// What an order keeps alive: most at one moment, and over all of them.
typedef struct Fullness {
    int64_t most, all;
    uint32_t moment; // a place, of the most
} Fullness;

static int64_t bytes_of(const Order *o, uint32_t id) {
    return arena_bytes(&o->graph->nodes.at[id]->type);
}

/// The place where a value dies.
static uint32_t last_place(const Order *o, uint32_t id) {
    uint32_t last = o->place[o->maker[id] - 1];
    for (size_t i = 0; i < o->users[id].count; i++) {
        uint32_t place = o->place[o->users[id].at[i]];
        last = place > last ? place : last;
    }
    return last;
}

static Fullness fullness_of(const Order *o, int64_t *change) {
    Fullness full = {0};
    int64_t bytes = 0;
    memset(change, 0, (o->count + 1) * sizeof *change);
    for (uint32_t id = 0; id < o->graph->nodes.count; id++) {
        if (!o->maker[id])
            continue;
        change[o->place[o->maker[id] - 1]] += bytes_of(o, id);
        change[last_place(o, id) + 1] -= bytes_of(o, id);
    }
    for (uint32_t i = 0; i < o->count; i++) {
        bytes += change[i];
        full.all += bytes;
        if (bytes > full.most) {
            full.most = bytes;
            full.moment = i;
        }
    }
    return full;
}

/// What is to be made later, right before place `until`.
typedef struct Delay {
    uint8_t *moves;       // by kernel
    uint32_t from, until; // places
} Delay;

// Adds to what moves all that depends on it before `until`.
static void close_delay(const Order *o, Delay *delay) {
    for (uint32_t i = delay->from; i < delay->until; i++) {
        uint32_t k = o->at[i];
        for (size_t j = 0; !delay->moves[k] && j < o->before[k].count; j++)
            delay->moves[k] = delay->moves[o->before[k].at[j]];
    }
}

static void put_delay(Order *o, const Delay *delay, uint32_t *moved) {
    uint32_t count = 0, to = delay->from;
    for (uint32_t i = delay->from; i < delay->until; i++) {
        if (delay->moves[o->at[i]])
            moved[count++] = o->at[i];
        else
            o->at[to++] = o->at[i];
    }
    memcpy(o->at + to, moved, count * sizeof *moved);
    for (uint32_t i = delay->from; i < delay->until; i++)
        o->place[o->at[i]] = i;
}

/// The largest value that would stay alive for what moves; its maker moves too. False: none.
static bool grow_delay(const Order *o, Delay *delay) {
    uint32_t best = 0;
    int64_t most = 0;
    for (uint32_t i = delay->from; i < delay->until; i++) {
        const Indices *loads = &o->loads[o->at[i]];
        for (size_t j = 0; delay->moves[o->at[i]] && j < loads->count; j++) {
            uint32_t id = loads->at[j];
            if (delay->moves[o->maker[id] - 1] || last_place(o, id) >= delay->until ||
                bytes_of(o, id) <= most)
                continue;
            most = bytes_of(o, id);
            best = o->maker[id] - 1;
        }
    }
    if (!most)
        return false;
    delay->moves[best] = 1;
    delay->from = o->place[best] < delay->from ? o->place[best] : delay->from;
    return true;
}

/// Whether making value `id` later leaves the fullest moment less full; it is made so then.
static bool try_delay(Order *o, uint32_t id, uint32_t until, Fullness *full, int64_t *change) {
    Delay delay = {arena_array(o->scratch, uint8_t, o->count + 1), o->place[o->maker[id] - 1],
                   until};
    uint32_t *at = arena_array(o->scratch, uint32_t, o->count + 1);
    uint32_t *moved = arena_array(o->scratch, uint32_t, o->count + 1);
    memcpy(at, o->at, o->count * sizeof *at);
    delay.moves[o->maker[id] - 1] = 1;
    for (int growth = 0; growth < MOST_GROWTH; growth++) {
        close_delay(o, &delay);
        if (delay.moves[o->at[full->moment]])
            return false;
        put_delay(o, &delay, moved);
        Fullness now = fullness_of(o, change);
        if (now.most < full->most || (now.most == full->most && now.all < full->all)) {
            *full = now;
            return true;
        }
        memcpy(o->at, at, o->count * sizeof *at);
        for (uint32_t i = 0; i < o->count; i++)
            o->place[o->at[i]] = i;
        if (!grow_delay(o, &delay))
            return false;
    }
    return false;
}

/// The first user of a value behind the place; the count of kernels if it has none there.
static uint32_t first_user_after(const Order *o, uint32_t id, uint32_t place) {
    uint32_t first = o->count;
    for (size_t i = 0; i < o->users[id].count; i++) {
        uint32_t user = o->place[o->users[id].at[i]];
        first = user > place && user < first ? user : first;
    }
    return first;
}

/// One of the values that are alive at the fullest moment for later users.
static bool delay_one(Order *o, Fullness *full, int64_t *change) {
    for (uint32_t id = 0; id < o->graph->nodes.count; id++) {
        if (!o->maker[id] || bytes_of(o, id) < LEAST_BYTES ||
            o->place[o->maker[id] - 1] >= full->moment)
            continue;
        uint32_t until = first_user_after(o, id, full->moment);
        if (until < o->count && try_delay(o, id, until, full, change))
            return true;
    }
    return false;
}

static void delay_values(Order *o) {
    int64_t *change = arena_array(o->scratch, int64_t, o->count + 2);
    Fullness full = fullness_of(o, change);
    for (int i = 0; i < MOST_DELAYS && delay_one(o, &full, change); i++)
        continue;
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
    return lives_place(&lives, 0);
}

/// Takes the order if the arena is smaller than `bytes` with it, else the one in `best` again.
static bool take_if_smaller(const Order *o, Kernel **best, int64_t *bytes) {
    Graph *graph = o->graph;
    Kernel **kernel = arena_array(o->scratch, Kernel *, o->count + 1);
    for (uint32_t i = 0; i < o->count; i++)
        kernel[i] = o->kernel[o->at[i]];
    set_order(graph, kernel);
    int64_t now = bytes_needed(graph, o->scratch);
    if (now >= *bytes) {
        set_order(graph, best);
        return false;
    }
    *bytes = now;
    memcpy(best, kernel, o->count * sizeof(Kernel *));
    return true;
}

/// Reorders kernels so that the arena of the graph is smaller.
/// Requires: kernels of `fuse`.  Keeps: values, kernels.  Sets: their order.
bool pass_order(Graph *graph, PassContext *ctx) {
    Order o = order_begin(graph, ctx->scratch);
    Kernel **best = arena_array(ctx->scratch, Kernel *, o.count + 1);
    int64_t bytes = bytes_needed(graph, ctx->scratch);
    memcpy(best, o.kernel, o.count * sizeof(Kernel *));
    for (int round = 0; round < ROUNDS; round++) {
        for (uint32_t i = 0; i < o.count; i++)
            hoist(&o, i);
        for (uint32_t i = o.count; i-- > 0;)
            sink(&o, i);
    }
    bool changed = take_if_smaller(&o, best, &bytes);
    delay_values(&o);
    return take_if_smaller(&o, best, &bytes) || changed;
}
