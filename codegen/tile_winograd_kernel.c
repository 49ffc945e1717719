// codegen/tile_winograd_kernel.c -- kernels of F(4x4, 3x3), to and fro.
//
// G g G^T for each filter and channel of a kernel, and the adjoint for its gradient: nothing but
// memory, read and written a task ahead.
#include "codegen/tile_winograd.h"

enum {
    KERNEL_CHANNELS = 16, // of a task
    TAPS = WINOGRAD_KERNEL * WINOGRAD_KERNEL,
};

/// A task takes a block of 16 filters by some channels. In memory a filter's channels lie together,
/// in vectors 16 filters do: in between stands scratch [channels, 9, 16], copied one by one.
typedef struct Kernels {
    const TileIO *io;
    const WinogradKernelShape *shape;
    LoopBody *body; // of the task
    LoopExpr *block, *first, *count;
    LoopExpr *next_block, *next_first; // of the next task
    uint32_t scratch;
} Kernels;

static Kernels over_kernels(const TileIO *io, const WinogradKernelShape *shape, int64_t *tasks) {
    LoopKernel *kernel = io->kernel;
    int64_t channels = shape->channels, parts = ceil_div(channels, KERNEL_CHANNELS);
    *tasks = shape->filters / TILE_BLOCK * parts;
    LoopStmt *loop = loop_for(kernel, &kernel->body, LOOP_PARALLEL, "task", x_int(kernel, 0),
                              x_int(kernel, *tasks), 1);
    LoopExpr *task = loop_var(kernel, loop);
    Kernels k = {.io = io, .shape = shape, .body = &loop->body};
    k.count = x_int(kernel, KERNEL_CHANNELS);
    k.block = loop_let(kernel, k.body, "block", x_div(kernel, task, parts));
    LoopExpr *part = loop_let(kernel, k.body, "part", x_mod(kernel, task, parts));
    k.first = x_mul(kernel, part, KERNEL_CHANNELS);
    LoopExpr *next = x2(kernel, X_min, x_offset(kernel, task, 1), x_int(kernel, *tasks - 1));
    next = loop_let(kernel, k.body, "next", next);
    k.next_block = loop_let(kernel, k.body, "next_block", x_div(kernel, next, parts));
    part = loop_let(kernel, k.body, "next_part", x_mod(kernel, next, parts));
    k.next_first = x_mul(kernel, part, KERNEL_CHANNELS);
    if (channels % KERNEL_CHANNELS) {
        LoopExpr *left = x_sub(kernel, x_int(kernel, channels), k.first);
        k.count = loop_let(kernel, k.body, "channels", x2(kernel, X_min, left, k.count));
    }
    k.scratch = loop_buffer(kernel, "w", shape->type, BUFFER_SCRATCH,
                            KERNEL_CHANNELS * TAPS * TILE_BLOCK);
    return k;
}

/// The place of a tap in scratch.
static LoopExpr *tap_at(const Kernels *k, LoopExpr *channel, int tap, LoopExpr *lane) {
    LoopKernel *kernel = k->io->kernel;
    LoopExpr *line = x_mul(kernel, channel, TAPS);
    return x_add(kernel, x_mul(kernel, x_offset(kernel, line, tap), TILE_BLOCK), lane);
}

/// Where a tap lies in w, of a filter of a block and a channel of its group. `flip`: turned around,
/// what is a channel there is a filter of w, counted through all groups, and what is a filter there
/// a channel of its group.
static void place_in_memory(const Kernels *k, LoopExpr *block, LoopExpr *filter, LoopExpr *channel,
                            int tap, LoopExpr **index) {
    LoopKernel *kernel = k->io->kernel;
    const WinogradKernelShape *shape = k->shape;
    if (shape->flip && shape->groups > 1) {
        int64_t group_blocks = shape->filters / shape->groups / TILE_BLOCK;
        LoopExpr *group = x_div(kernel, block, group_blocks);
        channel = x_add(kernel, x_mul(kernel, group, shape->channels), channel);
        block = x_mod(kernel, block, group_blocks);
    }
    filter = x_add(kernel, x_mul(kernel, block, TILE_BLOCK), filter);
    index[0] = shape->flip ? channel : filter;
    index[1] = shape->flip ? filter : channel;
    index[2] = x_int(kernel, tap / WINOGRAD_KERNEL);
    index[3] = x_int(kernel, tap % WINOGRAD_KERNEL);
}

/// Copies the taps of the task to scratch, or from there.
static void copy_taps(const Kernels *k, bool to_scratch) {
    LoopKernel *kernel = k->io->kernel;
    LoopBody *body = k->body;
    bool flip = k->shape->flip;
    LoopExpr *end[2] = {x_int(kernel, TILE_BLOCK), k->count}, *at[2]; // filter, channel
    for (int i = 0; i < 2; i++) {                                     // as they lie in memory
        int which = flip ? 1 - i : i;
        at[which] = winograd_over(kernel, &body, LOOP_SERIAL, which ? "c" : "filter", end[which]);
    }
    LoopExpr *channel = x_add(kernel, k->first, at[1]);
    for (int tap = 0; tap < TAPS; tap++) {
        LoopExpr *index[4], *place = tap_at(k, at[1], tap, at[0]);
        place_in_memory(k, k->block, at[0], channel, flip ? TAPS - 1 - tap : tap, index);
        if (to_scratch)
            loop_store(kernel, body, k->scratch, place, k->io->read(k->io->user, body, 0, index));
        else
            k->io->store(k->io->user, body, index, x_load(kernel, k->scratch, place));
    }
}

/// Asks for the taps of a filter (`flip`: of a channel), lines that lie together: of the next task,
/// to be read, or of this one, to be stored.
static void taps_ahead(const Kernels *k, LoopBody *body, LoopExpr *row, bool is_store) {
    enum { LINE = TILE_BLOCK };
    LoopKernel *kernel = k->io->kernel;
    int64_t channels = k->shape->channels;
    bool flip = k->shape->flip;
    body = &loop_prefetch(kernel, body)->body;
    for (int i = 0; i < TAPS * KERNEL_CHANNELS / LINE; i++) {
        int tap = i * LINE % TAPS;
        LoopExpr *at[2] = {row, x_int(kernel, i * LINE / TAPS)};
        LoopExpr *block = is_store ? k->block : k->next_block;
        LoopExpr *channel = x_add(kernel, is_store ? k->first : k->next_first, at[!flip]);
        if (channels % KERNEL_CHANNELS)
            channel = x2(kernel, X_min, channel, x_int(kernel, channels - 1));
        LoopExpr *index[4];
        place_in_memory(k, block, at[flip], channel, tap, index);
        if (is_store)
            k->io->store(k->io->user, body, index, x_real(kernel, 0.0, k->shape->type));
        else
            loop_let(kernel, body, "ahead", k->io->read(k->io->user, body, 0, index));
    }
    loop_prefetch_end(kernel);
}

int64_t tile_winograd_kernel(const TileIO *io, const WinogradKernelShape *shape) {
    LoopKernel *kernel = io->kernel;
    LoopExpr *x[PIECE * PIECE], *y[PIECE * PIECE];
    int64_t tasks;
    Kernels k = over_kernels(io, shape, &tasks);
    copy_taps(&k, true);
    LoopBody *body = k.body;
    LoopExpr *channel = winograd_over(kernel, &body, LOOP_SERIAL, "c", k.count);
    taps_ahead(&k, body, channel, false);
    LoopStmt *lanes = tile_lanes(io, body, true);
    LoopExpr *lane = loop_var(kernel, lanes);
    body = &lanes->body;
    for (int tap = 0; tap < TAPS; tap++)
        x[tap / WINOGRAD_KERNEL * PIECE + tap % WINOGRAD_KERNEL] = loop_let(
            kernel, body, "w", x_load(kernel, k.scratch, tap_at(&k, channel, tap, lane)));
    Transform t = {kernel, body, shape->type};
    winograd_sandwich(&t, &winograd_kernel, false, x, y);
    for (int i = 0; i < POINTS; i++) {
        LoopExpr *index[4] = {x_int(kernel, i), k.block, x_add(kernel, k.first, channel), lane};
        io->store(io->user, body, index, y[i]);
    }
    return tasks;
}

int64_t tile_winograd_kernel_adjoint(const TileIO *io, const WinogradKernelShape *shape) {
    LoopKernel *kernel = io->kernel;
    LoopExpr *x[PIECE * PIECE], *y[PIECE * PIECE];
    int64_t tasks;
    Kernels k = over_kernels(io, shape, &tasks);
    LoopBody *body = k.body;
    LoopExpr *channel = winograd_over(kernel, &body, LOOP_SERIAL, "c", k.count);
    taps_ahead(&k, body, channel, true);
    LoopStmt *lanes = tile_lanes(io, body, true);
    LoopExpr *lane = loop_var(kernel, lanes);
    body = &lanes->body;
    for (int i = 0; i < POINTS; i++) {
        LoopExpr *index[4] = {x_int(kernel, i), k.block, x_add(kernel, k.first, channel), lane};
        x[i] = loop_let(kernel, body, "du", io->read(io->user, body, 0, index));
    }
    Transform t = {kernel, body, shape->type};
    winograd_sandwich(&t, &winograd_kernel, true, x, y);
    for (int tap = 0; tap < TAPS; tap++)
        loop_store(kernel, body, k.scratch, tap_at(&k, channel, tap, lane),
                   y[tap / WINOGRAD_KERNEL * PIECE + tap % WINOGRAD_KERNEL]);
    copy_taps(&k, false);
    return tasks;
}
