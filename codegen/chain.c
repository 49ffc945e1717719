// codegen/chain.c -- which launches a thread runs part by part of the batch (see chain.h).
//
// What must hold is asked of addresses alone: of any two launches of a chain that touch the same
// bytes, one writing, both must fall in the same parts of the same array. Whether a kernel does is
// read off the indices with which it was written: the iterations [u k, (u + 1) k) of part u of its
// parallel loop must keep the outermost index of an array of extent n within [u n / parts, (u + 1)
// n / parts). Values that depend on u are bounded by lines a u + b.
#include "codegen/chain.h"

#include "support/diag.h"

enum {
    FEWEST_PARTS = 16,        // work for the threads of a machine
    LOOK_AHEAD = 6,           // launches that may be passed over by one that joins a chain
    LONGEST = 8,              // launches of a chain
    SHARED_BYTES = 768 << 10, // of what all parts read, for which there is to be room in a cache
};

// ---- bounds
// ------------------------------------------------------------------------------------------

/// slope u + at, for part u; nothing is known without `known`.
typedef struct Line {
    bool known;
    int64_t slope, at;
} Line;

typedef struct Bounds {
    Line lo, hi; // both included
} Bounds;

typedef struct Analysis {
    const LoopKernel *kernel;
    const LoopStmt *parallel;
    int64_t parts, step; // step: iterations of a part
} Analysis;

static const Bounds unknown = {{0}, {0}};

static Bounds constant(int64_t lo, int64_t hi) {
    return (Bounds){{true, 0, lo}, {true, 0, hi}};
}

static Line add_lines(Line a, Line b) {
    return (Line){a.known && b.known, a.slope + b.slope, a.at + b.at};
}

static Bounds add(Bounds a, Bounds b) {
    return (Bounds){add_lines(a.lo, b.lo), add_lines(a.hi, b.hi)};
}

static Bounds scale(Bounds a, int64_t factor) {
    Line lo = {a.lo.known, a.lo.slope * factor, a.lo.at * factor};
    Line hi = {a.hi.known, a.hi.slope * factor, a.hi.at * factor};
    return factor < 0 ? (Bounds){hi, lo} : (Bounds){lo, hi};
}

static Line divide_line(Line a, int64_t by) {
    return (Line){a.known && a.slope % by == 0, a.slope / by, int_floor_div(a.at, by)};
}

static Bounds quotient(Bounds a, int64_t by) {
    return (Bounds){divide_line(a.lo, by), divide_line(a.hi, by)};
}

// What is left of a division by `by` whose quotient is one number a part.
static Bounds rest(Bounds a, int64_t by) {
    Line lo = divide_line(a.lo, by), hi = divide_line(a.hi, by);
    if (!lo.known || !hi.known || lo.slope != hi.slope || lo.at != hi.at)
        return constant(0, by - 1);
    return constant(a.lo.at - lo.at * by, a.hi.at - hi.at * by);
}

// In every part: lines that are in order in the first and the last part are so in all.
static bool never_above(const Analysis *a, Line x, Line y) {
    int64_t last = a->parts - 1;
    return x.known && y.known && x.at <= y.at && x.slope * last + x.at <= y.slope * last + y.at;
}

static Line lower(const Analysis *a, Line x, Line y) {
    return never_above(a, x, y) ? x : never_above(a, y, x) ? y : (Line){0};
}

static Line upper(const Analysis *a, Line x, Line y) {
    return never_above(a, x, y) ? y : never_above(a, y, x) ? x : (Line){0};
}

// The least of two is at most either of them, whatever is known of the other.
static Line either(Line best, Line x, Line y) {
    return best.known ? best : x.known ? x : y;
}

static Bounds least(const Analysis *a, Bounds x, Bounds y) {
    return (Bounds){lower(a, x.lo, y.lo), either(lower(a, x.hi, y.hi), x.hi, y.hi)};
}

static Bounds greatest(const Analysis *a, Bounds x, Bounds y) {
    return (Bounds){either(upper(a, x.lo, y.lo), x.lo, y.lo), upper(a, x.hi, y.hi)};
}

static Bounds bounds_of(const Analysis *a, const LoopExpr *x);

static Bounds bounds_of_var(const Analysis *a, const LoopExpr *x) {
    const LoopVar *var = &a->kernel->vars.at[x->index];
    if (x->index == a->parallel->index)
        return (Bounds){{true, a->step, 0}, {true, a->step, a->step - 1}};
    Bounds end = add(bounds_of(a, var->end), constant(-1, -1));
    return (Bounds){bounds_of(a, var->begin).lo, end.hi};
}

static Bounds bounds_of_apply(const Analysis *a, const LoopExpr *x) {
    int64_t by;
    switch ((int)x->op) {
    case X_floor_div:
    case X_mod:
        if (!x_is_int(x->operand[1], &by) || by <= 0)
            return unknown;
        return x->op == X_mod ? rest(bounds_of(a, x->operand[0]), by)
                              : quotient(bounds_of(a, x->operand[0]), by);
    case X_min:
        return least(a, bounds_of(a, x->operand[0]), bounds_of(a, x->operand[1]));
    case X_max:
        return greatest(a, bounds_of(a, x->operand[0]), bounds_of(a, x->operand[1]));
    default:
        return unknown;
    }
}

static Bounds bounds_of_atom(const Analysis *a, const LoopExpr *x) {
    switch (x->kind) {
    case E_VAR:
        return bounds_of_var(a, x);
    case E_LET:
        return bounds_of(a, a->kernel->lets.at[x->index].value);
    case E_APPLY:
        return bounds_of_apply(a, x);
    default:
        return unknown;
    }
}

static Bounds bounds_of(const Analysis *a, const LoopExpr *x) {
    Affine sum;
    if (x->type != S_INDEX || !x_affine(x, &sum))
        return unknown;
    Bounds bounds = constant(sum.constant, sum.constant);
    for (uint32_t i = 0; i < sum.count; i++)
        bounds = add(bounds, scale(bounds_of_atom(a, sum.atom[i]), sum.factor[i]));
    return bounds;
}

static bool keeps_to_its_part(const Analysis *a, const Place *place) {
    int64_t part = place->extent / a->parts;
    Bounds bounds = bounds_of(a, place->outermost);
    Line first = {true, part, 0}, last = {true, part, part - 1};
    return never_above(a, first, bounds.lo) && never_above(a, bounds.hi, last);
}

Parts chain_parts(const LoopKernel *kernel, uint32_t buffer, const Place *place, size_t count,
                  int64_t iterations) {
    Parts parts = {0};
    Analysis a = {.kernel = kernel, .parallel = loop_parallel(kernel)};
    int64_t extent = 0;
    for (size_t i = 0; i < count; i++) {
        if (place[i].buffer != buffer)
            continue;
        if (extent && place[i].extent != extent)
            return parts;
        extent = place[i].extent;
    }
    for (int64_t by = extent; a.parallel && by >= FEWEST_PARTS; by--) {
        if (extent % by || iterations % by || parts.count == PARTS_CHOICES)
            continue;
        a.parts = by;
        a.step = iterations / by;
        bool fits = true;
        for (size_t i = 0; fits && i < count; i++)
            fits = place[i].buffer != buffer || keeps_to_its_part(&a, &place[i]);
        if (fits)
            parts.choice[parts.count++] = by;
    }
    return parts;
}

// ---- launches
// ----------------------------------------------------------------------------------------

size_t chain_length(const LoopGraph *graph, size_t first) {
    size_t end = first + 1;
    while (end < graph->launches.count && graph->launches.at[end].chained)
        end++;
    return end - first;
}

bool chain_falls(const Launch *launch, uint32_t argument, int64_t parts) {
    const Parts *falls = &launch->falls[argument];
    for (uint32_t i = 0; i < falls->count; i++) {
        if (falls->choice[i] == parts)
            return true;
    }
    return false;
}

uint32_t chain_buffer(const LoopKernel *kernel, uint32_t argument) {
    uint32_t i = 0;
    while (kernel->buffers.at[i].role == BUFFER_SCRATCH || argument-- > 0)
        i++;
    return i;
}

BufferRole chain_role(const LoopProgram *program, const Launch *launch, uint32_t argument) {
    const LoopKernel *kernel = program->kernels.at[launch->kernel];
    return kernel->buffers.at[chain_buffer(kernel, argument)].role;
}

bool chain_overlap(const Buffer *a, const Buffer *b) {
    return a->space == b->space && a->index == b->index &&
           a->offset_bytes < b->offset_bytes + b->size_bytes &&
           b->offset_bytes < a->offset_bytes + a->size_bytes;
}

bool chain_same_bytes(const Buffer *a, const Buffer *b) {
    return a->offset_bytes == b->offset_bytes && a->size_bytes == b->size_bytes;
}

// Whether a and b may run part by part, or in any order if `parts` is 0.
static bool agree(const LoopProgram *program, const Launch *a, const Launch *b, int64_t parts) {
    for (uint32_t i = 0; i < a->argument_count; i++) {
        for (uint32_t k = 0; k < b->argument_count; k++) {
            const Buffer *x = &a->argument[i], *y = &b->argument[k];
            bool reads = chain_role(program, a, i) == BUFFER_IN &&
                         chain_role(program, b, k) == BUFFER_IN;
            if (reads || !chain_overlap(x, y))
                continue;
            if (!parts || !chain_same_bytes(x, y) || !chain_falls(a, i, parts) ||
                !chain_falls(b, k, parts))
                return false;
        }
    }
    return true;
}

// Whether one passes something on to the other, or both read it, part by part.
static bool share(const Launch *a, const Launch *b, int64_t parts) {
    for (uint32_t i = 0; i < a->argument_count; i++) {
        for (uint32_t k = 0; k < b->argument_count; k++) {
            if (chain_overlap(&a->argument[i], &b->argument[k]) && chain_falls(a, i, parts) &&
                chain_falls(b, k, parts))
                return true;
        }
    }
    return false;
}

// Bytes of what the launch reads for each part anew.
static int64_t shared_bytes(const Launch *launch, int64_t parts) {
    int64_t bytes = 0;
    for (uint32_t i = 0; i < launch->argument_count; i++)
        bytes += chain_falls(launch, i, parts) ? 0 : launch->argument[i].size_bytes;
    return bytes;
}

static bool writes_by_parts(const LoopProgram *program, const Launch *launch, int64_t parts) {
    for (uint32_t i = 0; i < launch->argument_count; i++) {
        if (chain_role(program, launch, i) != BUFFER_IN && !chain_falls(launch, i, parts))
            return false;
    }
    return true;
}

/// A chain in the making: its launches, and of those between them the ones that run before it and
/// the ones that stay behind.
typedef struct Chain {
    int64_t parts;
    const Launch *member[LONGEST], *before[LOOK_AHEAD], *behind[LOOK_AHEAD];
    uint32_t count, before_count, behind_count;
    int64_t shared_bytes;
} Chain;

// Whether the launch may pass all of these.
static bool may_pass(const LoopProgram *program, const Launch *launch, const Launch *const *other,
                     uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        if (!agree(program, other[i], launch, 0))
            return false;
    }
    return true;
}

static bool may_join(const LoopProgram *program, const Chain *chain, const Launch *launch) {
    bool shares = false;
    if (launch->iterations % chain->parts || !writes_by_parts(program, launch, chain->parts) ||
        chain->shared_bytes + shared_bytes(launch, chain->parts) > SHARED_BYTES)
        return false;
    if (!may_pass(program, launch, chain->behind, chain->behind_count))
        return false;
    for (uint32_t i = 0; i < chain->count; i++) {
        if (!agree(program, chain->member[i], launch, chain->parts))
            return false;
        shares |= share(chain->member[i], launch, chain->parts);
    }
    return shares || !chain->count;
}

/// Launches of a graph, and which of them have their place.
typedef struct Launches {
    const LoopProgram *program;
    const Launch *at;
    uint8_t *placed;
    size_t count;
} Launches;

// The chain that begins with launch `first`, in so many parts.
static Chain chain_from(const Launches *all, size_t first, int64_t parts) {
    Chain chain = {.parts = parts};
    uint32_t needed = 0; // of those before: the last launch that joined came behind them
    for (size_t i = first; i < all->count && chain.count < LONGEST; i++) {
        const Launch *launch = &all->at[i];
        if (all->placed[i])
            continue;
        if (may_join(all->program, &chain, launch)) {
            chain.shared_bytes += shared_bytes(launch, parts);
            chain.member[chain.count++] = launch;
            needed = chain.before_count;
            continue;
        }
        if (!chain.count || chain.before_count == LOOK_AHEAD || chain.behind_count == LOOK_AHEAD)
            break;
        if (may_pass(all->program, launch, chain.behind, chain.behind_count) &&
            may_pass(all->program, launch, chain.member, chain.count)) {
            chain.before[chain.before_count++] = launch;
            continue;
        }
        chain.behind[chain.behind_count++] = launch;
    }
    chain.before_count = needed;
    return chain;
}

static Chain longest_chain(const Launches *all, size_t first) {
    const Launch *launch = &all->at[first];
    Chain best = {0};
    for (uint32_t i = 0; i < launch->argument_count; i++) {
        for (uint32_t k = 0; k < launch->falls[i].count; k++) {
            Chain chain = chain_from(all, first, launch->falls[i].choice[k]);
            if (chain.count > best.count)
                best = chain;
        }
    }
    return best;
}

static void place(const Launches *all, const Launch *launch, Launch *order, size_t *next) {
    all->placed[launch - all->at] = 1;
    order[(*next)++] = *launch;
}

void chain_launches(Arena *arena, const LoopProgram *program, LoopGraph *graph) {
    size_t count = graph->launches.count, next = 0;
    Launch *order = arena_array(arena, Launch, count);
    uint8_t *placed = arena_array(arena, uint8_t, count);
    Launches all = {program, graph->launches.at, placed, count};
    for (size_t i = 0; i < count; i++) {
        if (placed[i])
            continue;
        Chain chain = longest_chain(&all, i);
        if (chain.count < 2) {
            order[next++] = all.at[i];
            continue;
        }
        for (uint32_t k = 0; k < chain.before_count; k++)
            place(&all, chain.before[k], order, &next);
        size_t first = next;
        for (uint32_t k = 0; k < chain.count; k++)
            place(&all, chain.member[k], order, &next);
        for (size_t k = first; k < next; k++) {
            order[k].parts = chain.parts;
            order[k].chained = k > first;
        }
    }
    kdc_assert(next == count);
    graph->launches.at = order;
}
