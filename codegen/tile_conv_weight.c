// codegen/tile_conv_weight.c -- register-tiled convolution by its weight.
//
//     dw[k, c, kh, kw] = sum_{n, oh, ow} dy[n, k, oh, ow] * x[n, c, oh * s + kh * d - p, ...]
//
// A tile of 16-filter vectors by input channels stays in registers for one tap (kh, kw) while the
// pixels of a few images run by: as many images as keep their blocks of x and dy in the
// second-level cache; the tile is then stored and, for the next images, read again. Rows and
// columns that fall on padding are left out by the bounds of the pixel loops, which depend on the
// tap alone.
//
// A visit of a 1x1 kernel begins far from its images: a block of channels is a page or so of each,
// which nothing in the machine foresees. So while the products of one visit run, the lines of x for
// the next one, of this task or the task behind it, are asked for, pixel by pixel.
//
// With AVX2's registers a tile is one vector by 6 channels, and a pixel has few products for what
// it reads. There a visit is some rows, as many as keep the block of x and one vector of dy in the
// first-level cache, and all vectors and channels of the task run over it.
//
// A task is (part of the batch, vectors, channel block[, tap]). Parts are separate sums, added
// later in a fixed order: their number depends on the shape, never on the number of threads.
#include "codegen/tile.h"

enum {
    TASKS_WANTED = 16,        // iterations of the parallel loop
    CACHE_BYTES = 192 * 1024, // of the second-level cache, for the images of one visit
    NEAR_BYTES = 8 * 1024,    // of the first-level cache, for one visit where tiles are small
    NEAR_PIXELS = 4,          // unrolled there
    SUMS = 16,                // of a wide tile
};

typedef struct WeightTile {
    const TileIO *io;
    const ConvShape *shape;
    int64_t parts;
    int64_t live;         // channels of a group that count: the gradient by the others is zero
    int64_t block;        // channels of x handled by a task
    int64_t vectors;      // blocks of 16 filters of a task
    int64_t tile_vectors; // of them in a tile
    int64_t tile_channels;
    int64_t visit;      // images between two stores
    int64_t visit_rows; // of the result's images: all, or of one image so many
    LoopExpr *first_row; // of the visit; NULL: it has all
    LoopExpr *part, *group, *vector,
        *channel; // first filter block in its group, first channel in its group
    LoopExpr *tap[2];
    LoopExpr *next_image, *next_channel; // of the next visit's x; NULL: it is not asked for
    LoopExpr *last_image;                // of the part
} WeightTile;

/// Cycles of one multiply-add in a tile of `vectors` filter vectors by SUMS / vectors channels. For
/// each pixel of a task's 16 channels: the multiply-adds of all taps; what each tile and tap reads
/// from the second-level cache, dy's vectors and a line of x, of which a quarter shows; what comes
/// from behind it once, where a strided x brings the lines that are skipped.
static double vectors_cost(const ConvShape *shape, int64_t vectors) {
    const double near_bytes = 20, far_bytes = 5, near_share = 0.25, line = 64; // bytes per cycle
    double v = (double)vectors, taps = (double)(shape->kernel[0] * shape->kernel[1]);
    double channel_tiles = TILE_BLOCK * v / SUMS;
    double products = taps * TILE_BLOCK * v;
    double near_cycles = taps * channel_tiles * (v + 1) * line / near_bytes;
    double skipped = (double)(shape->stride[0] * shape->stride[1]);
    double far_cycles = (v + skipped) * line / far_bytes;
    return (products + near_share * near_cycles + far_cycles) / products;
}

/// Filter vectors of a task.
static int64_t vectors_of(const ConvShape *shape) {
    int64_t blocks = shape->filters / shape->groups / TILE_BLOCK;
    if (blocks % 2)
        return 1;
    return blocks % 4 == 0 && vectors_cost(shape, 4) < vectors_cost(shape, 2) ? 4 : 2;
}

/// A tile of all of the task's vectors, or where registers are few of one by as many channels as
/// they hold.
static void choose_tile(WeightTile *tile) {
    bool is_tight = tile_is_tight(tile->io);
    tile->tile_vectors = is_tight ? 1 : tile->vectors;
    int64_t channels = is_tight ? tile_sums(tile->io) : SUMS / tile->vectors;
    tile->tile_channels = int_min(tile->block, channels);
}

static int64_t channel_block_of(const ConvShape *shape) {
    int64_t channels = shape->channels / shape->groups;
    return channels % TILE_BLOCK ? channels : TILE_BLOCK;
}

/// Tasks without parts and taps: groups, filter tiles, channel blocks.
static int64_t blocks_of(const ConvShape *shape) {
    int64_t filters = shape->filters / TILE_BLOCK / vectors_of(shape);
    return filters * (shape->channels / shape->groups / channel_block_of(shape));
}

/// Output positions whose tap `tap` reads inside the input: [*begin, *end).
static void pixel_range(const WeightTile *tile, LoopBody *body, int axis, LoopExpr **begin,
                        LoopExpr **end) {
    const ConvShape *shape = tile->shape;
    LoopKernel *kernel = tile->io->kernel;
    int64_t stride = shape->stride[axis], padding = shape->padding[axis];
    int64_t extent = axis ? shape->width : shape->height;
    int64_t out = axis ? shape->out_width : shape->out_height;
    // 0 <= o * stride + tap * dilation - padding < extent
    LoopExpr *minus_tap = x_mul(kernel, tile->tap[axis], -shape->dilation[axis]);
    LoopExpr *low =
        x_div(kernel, x_add(kernel, minus_tap, x_int(kernel, padding + stride - 1)), stride);
    LoopExpr *high = x_div(
        kernel, x_add(kernel, minus_tap, x_int(kernel, extent + padding + stride - 1)), stride);
    *begin = loop_let(kernel, body, "first", x2(kernel, X_max, x_int(kernel, 0), low));
    *end = loop_let(kernel, body, "last", x2(kernel, X_min, x_int(kernel, out), high));
}

static uint32_t output_index(const WeightTile *tile, LoopExpr *filter, LoopExpr *channel,
                             LoopExpr **index) {
    uint32_t count = 0;
    if (tile->parts > 0)
        index[count++] = tile->part;
    index[count++] = filter;
    index[count++] = channel;
    index[count++] = tile->tap[0];
    index[count++] = tile->tap[1];
    return count;
}

/// A place in two unrolled loops over the tile: a filter vector, a channel, and where statements
/// go.
typedef struct TilePoint {
    LoopBody *body;
    LoopExpr *at[2]; // vector, channel within the tile
    LoopExpr *filter;
} TilePoint;

static LoopExpr *filter_at(const WeightTile *tile, LoopExpr *vector, LoopExpr *lane) {
    LoopKernel *kernel = tile->io->kernel;
    LoopExpr *filter = x_mul(kernel, x_add(kernel, tile->vector, vector), TILE_BLOCK);
    int64_t group_filters = tile->shape->filters / tile->shape->groups;
    return x_add(kernel, x_mul(kernel, tile->group, group_filters), x_add(kernel, filter, lane));
}

static TilePoint over_tile(const WeightTile *tile, LoopBody *body, const int64_t dim[2],
                           LoopExpr *lane) {
    LoopKernel *kernel = tile->io->kernel;
    TilePoint point;
    LoopExpr *zero = x_int(kernel, 0);
    LoopStmt *vectors = loop_for(kernel, body, LOOP_UNROLL, "v", zero, x_int(kernel, dim[0]), 1);
    LoopStmt *channels =
        loop_for(kernel, &vectors->body, LOOP_UNROLL, "c", zero, x_int(kernel, dim[1]), 1);
    point.body = &channels->body;
    point.at[0] = loop_var(kernel, vectors);
    point.at[1] = loop_var(kernel, channels);
    point.filter = filter_at(tile, point.at[0], lane);
    return point;
}

/// The multiply-adds of one pixel: a vector of dy for each filter block, a scalar of x for each
/// channel.
static void emit_pixel(const WeightTile *tile, LoopBody *pixel, uint32_t sums, const int64_t dim[2],
                       LoopExpr *channel0, LoopExpr *lane, LoopExpr *image,
                       LoopExpr *const out[2]) {
    const TileIO *io = tile->io;
    const ConvShape *shape = tile->shape;
    LoopKernel *kernel = io->kernel;
    LoopExpr *zero = x_int(kernel, 0);

    uint32_t dy = loop_local(kernel, pixel, "dy", shape->type, dim, 1);
    LoopStmt *load = loop_for(kernel, pixel, LOOP_UNROLL, "v", zero, x_int(kernel, dim[0]), 1);
    LoopExpr *v = loop_var(kernel, load);
    LoopExpr *dy_index[4] = {image, filter_at(tile, v, lane), out[0], out[1]};
    loop_set(kernel, &load->body, dy, &v, 1, io->read(io->user, &load->body, 1, dy_index));

    LoopExpr *in[2];
    for (int i = 0; i < 2; i++) {
        LoopExpr *position = x_add(kernel, x_mul(kernel, out[i], shape->stride[i]),
                                   x_mul(kernel, tile->tap[i], shape->dilation[i]));
        in[i] = x_add(kernel, position, x_int(kernel, -shape->padding[i]));
    }
    LoopStmt *over_c = loop_for(kernel, pixel, LOOP_UNROLL, "c", zero, x_int(kernel, dim[1]), 1);
    LoopExpr *c = loop_var(kernel, over_c);
    LoopExpr *channel = x_add(kernel, x_mul(kernel, tile->group, shape->channels / shape->groups),
                              x_add(kernel, channel0, c));
    LoopExpr *x_index[4] = {image, channel, in[0], in[1]};
    LoopExpr *x =
        loop_let(kernel, &over_c->body, "x", io->read(io->user, &over_c->body, 0, x_index));
    LoopStmt *over_v =
        loop_for(kernel, &over_c->body, LOOP_UNROLL, "v", zero, x_int(kernel, dim[0]), 1);
    LoopExpr *at[2] = {loop_var(kernel, over_v), c};
    LoopExpr *sum = x_local(kernel, sums, at, 2);
    loop_set(kernel, &over_v->body, sums, at, 2,
             x3(kernel, X_fma, x_local(kernel, dy, at, 1), x, sum));
}

/// Asks for the x of the next visit at this pixel.
static void emit_ahead(const WeightTile *tile, LoopBody *pixel, LoopExpr *image,
                       LoopExpr *const out[2]) {
    const TileIO *io = tile->io;
    LoopKernel *kernel = io->kernel;
    LoopBody *body = &loop_prefetch(kernel, pixel)->body;
    LoopExpr *index[4] = {image, tile->next_channel, x_mul(kernel, out[0], tile->shape->stride[0]),
                          x_mul(kernel, out[1], tile->shape->stride[1])};
    loop_let(kernel, body, "ahead", io->read(io->user, body, 0, index));
    loop_prefetch_end(kernel);
}

/// One tile of `channels` channels from `first_channel` (in the task's block) for images [begin,
/// end).
static void emit_tile(const WeightTile *tile, LoopBody *body, LoopExpr *first_channel,
                      int64_t channels, LoopExpr *begin, LoopExpr *end, LoopExpr *first_visit,
                      LoopExpr *const range[4]) {
    const TileIO *io = tile->io;
    LoopKernel *kernel = io->kernel;
    LoopExpr *zero = x_int(kernel, 0);
    LoopStmt *lanes = tile_lanes(io, body, false);
    LoopExpr *lane = loop_var(kernel, lanes);
    LoopBody *inner = &lanes->body;
    int64_t dim[2] = {tile->tile_vectors, channels};
    uint32_t sums = loop_local(kernel, inner, "sum", tile->shape->type, dim, 2);
    LoopExpr *channel0 = x_add(kernel, tile->channel, first_channel); // within the group
    LoopExpr *index[5];

    LoopBody *clear = inner;
    if (first_visit) {
        LoopStmt *choice = loop_if(kernel, inner, first_visit);
        TilePoint again = over_tile(tile, &choice->other, dim, lane);
        output_index(tile, again.filter, x_add(kernel, channel0, again.at[1]), index);
        loop_set(kernel, again.body, sums, again.at, 2, io->reread(io->user, again.body, index));
        clear = &choice->body;
    }
    TilePoint first = over_tile(tile, clear, dim, lane);
    loop_set(kernel, first.body, sums, first.at, 2, x_real(kernel, 0.0, tile->shape->type));

    LoopStmt *images = loop_for(kernel, inner, LOOP_SERIAL, "n", begin, end, 1);
    LoopExpr *next = NULL;
    if (tile->next_image) {
        LoopExpr *done = x_sub(kernel, loop_var(kernel, images), begin);
        next = x2(kernel, X_min, x_add(kernel, tile->next_image, done), tile->last_image);
        next = loop_let(kernel, &images->body, "next", next);
    }
    LoopStmt *rows = loop_for(kernel, &images->body, LOOP_SERIAL, "oh", range[0], range[1], 1);
    int64_t step = tile_is_tight(io) ? NEAR_PIXELS : 1;
    LoopStmt *columns = loop_for(kernel, &rows->body, LOOP_SERIAL, "ow", range[2], range[3], step);
    LoopExpr *out[2] = {loop_var(kernel, rows), loop_var(kernel, columns)};
    LoopBody *pixel = &columns->body;
    loop_ask(kernel, pixel);
    if (step > 1) {
        LoopStmt *over = loop_for(kernel, pixel, LOOP_UNROLL, "p", zero, x_int(kernel, step), 1);
        out[1] = x_add(kernel, out[1], loop_var(kernel, over));
        pixel = &over->body;
        int64_t first_column, last_column;
        bool whole = x_is_int(range[2], &first_column) && x_is_int(range[3], &last_column) &&
                     (last_column - first_column) % step == 0;
        if (!whole)
            pixel = &loop_if(kernel, pixel, x2(kernel, X_lt, out[1], range[3]))->body;
    }
    if (next)
        emit_ahead(tile, pixel, next, out);
    emit_pixel(tile, pixel, sums, dim, channel0, lane, loop_var(kernel, images), out);
    if (step > 1)
        loop_reload(kernel, pixel);

    TilePoint last = over_tile(tile, inner, dim, lane);
    output_index(tile, last.filter, x_add(kernel, channel0, last.at[1]), index);
    io->store(io->user, last.body, index, x_local(kernel, sums, last.at, 2));
}

/// The tiles of the first `count` channels of the task's block.
static void emit_channels(const WeightTile *task, LoopBody *body, int64_t count, LoopExpr *begin,
                          LoopExpr *end, LoopExpr *first_visit, LoopExpr *const range[4]) {
    LoopKernel *kernel = task->io->kernel;
    WeightTile one = *task;
    const WeightTile *tile = &one;
    if (task->vectors > task->tile_vectors) {
        LoopStmt *vectors = loop_for(kernel, body, LOOP_SERIAL, "vs", x_int(kernel, 0),
                                     x_int(kernel, task->vectors), task->tile_vectors);
        one.vector = x_add(kernel, task->vector, loop_var(kernel, vectors));
        body = &vectors->body;
    }
    int64_t full = count / tile->tile_channels, rest = count % tile->tile_channels;
    if (full > 0) {
        LoopStmt *loop =
            loop_for(kernel, body, LOOP_SERIAL, "ct", x_int(kernel, 0), x_int(kernel, full), 1);
        LoopExpr *first = x_mul(kernel, loop_var(kernel, loop), tile->tile_channels);
        emit_tile(tile, &loop->body, first, tile->tile_channels, begin, end, first_visit, range);
    }
    if (rest > 0)
        emit_tile(tile, body, x_int(kernel, full * tile->tile_channels), rest, begin, end,
                  first_visit, range);
}

/// Zeros for the channels of the task's block that are not live.
static void emit_zeros(const WeightTile *tile, LoopBody *body) {
    const TileIO *io = tile->io;
    LoopKernel *kernel = io->kernel;
    LoopExpr *first = x2(kernel, X_max, tile->channel, x_int(kernel, tile->live));
    first = loop_let(kernel, body, "dead", first);
    LoopExpr *end = x_add(kernel, tile->channel, x_int(kernel, tile->block));
    LoopStmt *channels = loop_for(kernel, body, LOOP_SERIAL, "c", first, end, 1);
    LoopStmt *vectors = loop_for(kernel, &channels->body, LOOP_SERIAL, "v", x_int(kernel, 0),
                                 x_int(kernel, tile->vectors), 1);
    LoopStmt *lanes = tile_lanes(io, &vectors->body, false);
    LoopExpr *index[5];
    output_index(tile, filter_at(tile, loop_var(kernel, vectors), loop_var(kernel, lanes)),
                 loop_var(kernel, channels), index);
    io->store(io->user, &lanes->body, index, x_real(kernel, 0.0, tile->shape->type));
}

/// All tiles of the task's block for the images of one visit and one tap.
static void emit_block(const WeightTile *tile, LoopBody *body, LoopExpr *begin, LoopExpr *end,
                       LoopExpr *first_visit) {
    LoopKernel *kernel = tile->io->kernel;
    LoopExpr *range[4];
    pixel_range(tile, body, 0, &range[0], &range[1]);
    pixel_range(tile, body, 1, &range[2], &range[3]);
    if (tile->first_row) {
        LoopExpr *end_row = x_add(kernel, tile->first_row, x_int(kernel, tile->visit_rows));
        range[0] = loop_let(kernel, body, "row", x2(kernel, X_max, range[0], tile->first_row));
        range[1] = loop_let(kernel, body, "row_end", x2(kernel, X_min, range[1], end_row));
    }
    int64_t last = tile->live / tile->block * tile->block; // first channel of the block that is cut
    if (last == tile->shape->channels / tile->shape->groups) {
        emit_channels(tile, body, tile->block, begin, end, first_visit, range);
        return;
    }
    LoopExpr *is_whole = x2(kernel, X_lt, tile->channel, x_int(kernel, last));
    LoopStmt *choice = loop_if(kernel, body, is_whole);
    emit_channels(tile, &choice->body, tile->block, begin, end, first_visit, range);
    LoopBody *cut = &choice->other;
    if (tile->live > last) {
        LoopExpr *is_last = x2(kernel, X_eq, tile->channel, x_int(kernel, last));
        LoopBody *some = &loop_if(kernel, cut, is_last)->body;
        emit_channels(tile, some, tile->live - last, begin, end, first_visit, range);
    }
    emit_zeros(tile, cut);
}

/// Bytes of an image that tiles of `vectors` read for the task's channels.
static int64_t image_bytes_of(const WeightTile *tile, int64_t vectors) {
    const ConvShape *shape = tile->shape;
    return (int64_t)scalar_size_bytes(shape->type) *
           (tile->block * shape->height * shape->width +
            vectors * TILE_BLOCK * shape->out_height * shape->out_width);
}

/// Whether x comes in short runs, which stay near until the next visit. Padding is left to
/// kernels of several taps; where tiles are small asking takes more than it gives.
static bool wants_ahead(const WeightTile *tile, int64_t channel_blocks) {
    const ConvShape *shape = tile->shape;
    bool is_pointwise = shape->kernel[0] * shape->kernel[1] == 1 && !shape->padding[0] &&
                        !shape->padding[1];
    return is_pointwise && !tile_is_tight(tile->io) && channel_blocks > 1 &&
           2 * image_bytes_of(tile, tile->vectors) <= CACHE_BYTES;
}

/// From the first visit of a task: the next task's first is the one behind its last.
static void set_next_task(WeightTile *tile, LoopBody *body, LoopExpr *cb, int64_t channel_blocks,
                          LoopExpr *begin, LoopExpr *end) {
    LoopKernel *kernel = tile->io->kernel;
    LoopExpr *next = x_mod(kernel, x_add(kernel, cb, x_int(kernel, 1)), channel_blocks);
    tile->next_channel = x_mul(kernel, loop_let(kernel, body, "next_cb", next), tile->block);
    tile->next_image = begin;
    tile->last_image = x_add(kernel, end, x_int(kernel, -1));
}

/// From any visit, which ends with image `visit_end` of the part that ends with `end`.
static void set_next_visit(WeightTile *tile, LoopBody *body, LoopExpr *cb, LoopExpr *visit_end,
                           LoopExpr *end) {
    LoopKernel *kernel = tile->io->kernel;
    LoopExpr *more = x2(kernel, X_lt, visit_end, end);
    LoopExpr *image = x3(kernel, X_select, more, visit_end, tile->next_image);
    LoopExpr *block = x_div(kernel, tile->next_channel, tile->block);
    block = loop_let(kernel, body, "ahead_cb", x3(kernel, X_select, more, cb, block));
    tile->next_image = loop_let(kernel, body, "ahead_n", image);
    tile->next_channel = x_mul(kernel, block, tile->block);
}

/// As much as stays in the cache while all tiles go over it.
static void choose_visit(WeightTile *tile, int64_t part_images) {
    bool is_tight = tile_is_tight(tile->io);
    int64_t cache_bytes = is_tight ? NEAR_BYTES : CACHE_BYTES, rows = tile->shape->out_height;
    int64_t bytes = image_bytes_of(tile, tile->tile_vectors);
    tile->visit = part_images;
    tile->visit_rows = rows;
    if (!tile->io->reread)
        return;
    tile->visit = int_min(part_images, int_max(1, cache_bytes / bytes));
    if (is_tight && bytes > cache_bytes)
        tile->visit_rows = int_max(1, rows * cache_bytes / bytes);
}

/// All parts of rows of the images [begin, end).
static LoopBody *over_rows(const WeightTile *tile, LoopBody *body, LoopExpr *begin, LoopExpr *end,
                           int64_t parts, LoopExpr **image, LoopExpr **row) {
    LoopKernel *kernel = tile->io->kernel;
    LoopStmt *images = loop_for(kernel, body, LOOP_SERIAL, "image", begin, end, 1);
    LoopStmt *rows = loop_for(kernel, &images->body, LOOP_SERIAL, "rows", x_int(kernel, 0),
                              x_int(kernel, parts), 1);
    *image = loop_var(kernel, images);
    *row = loop_var(kernel, rows);
    return &rows->body;
}

int64_t tile_conv2d_weight(const TileIO *io, const ConvShape *shape, int64_t parts) {
    int64_t group_filters = shape->filters / shape->groups;
    if (group_filters % TILE_BLOCK)
        return 0;
    TileFold fold;
    if (tile_fold(io, shape, true, &fold)) {
        io = &fold.io;
        shape = &fold.shape;
    }
    LoopKernel *kernel = io->kernel;
    WeightTile tile = {.io = io,
                       .shape = shape,
                       .parts = parts,
                       .live = shape->live ? shape->live : shape->channels / shape->groups,
                       .block = channel_block_of(shape),
                       .vectors = vectors_of(shape)};
    choose_tile(&tile);

    int64_t part_images = ceil_div(shape->batch, parts > 0 ? parts : 1);
    choose_visit(&tile, part_images);
    int64_t row_parts = ceil_div(shape->out_height, tile.visit_rows);

    int64_t blocks = blocks_of(shape), taps = shape->kernel[0] * shape->kernel[1];
    int64_t tasks = (parts > 0 ? parts : 1) * blocks;
    bool split_taps = tasks < TASKS_WANTED;
    if (split_taps)
        tasks *= taps;

    LoopStmt *loop = loop_for(kernel, &kernel->body, LOOP_PARALLEL, "task", x_int(kernel, 0),
                              x_int(kernel, tasks), 1);
    LoopBody *body = &loop->body;
    LoopExpr *task = loop_var(kernel, loop);
    if (split_taps) {
        LoopExpr *tap = loop_let(kernel, body, "tap", x_mod(kernel, task, taps));
        tile.tap[0] = loop_let(kernel, body, "kh", x_div(kernel, tap, shape->kernel[1]));
        tile.tap[1] = loop_let(kernel, body, "kw", x_mod(kernel, tap, shape->kernel[1]));
        task = loop_let(kernel, body, "block", x_div(kernel, task, taps));
    }
    int64_t channel_blocks = shape->channels / shape->groups / tile.block;
    int64_t filter_tiles = group_filters / TILE_BLOCK / tile.vectors;
    // Multiples stand outside of the lets, so that quotients by the block are seen to be exact.
    LoopExpr *cb = loop_let(kernel, body, "cb", x_mod(kernel, task, channel_blocks));
    tile.channel = x_mul(kernel, cb, tile.block);
    LoopExpr *rest = x_div(kernel, task, channel_blocks);
    LoopExpr *vt = loop_let(kernel, body, "vt", x_mod(kernel, rest, filter_tiles));
    tile.vector = x_mul(kernel, vt, tile.vectors);
    rest = x_div(kernel, rest, filter_tiles);
    tile.group = x_mod(kernel, rest, shape->groups);
    tile.part = x_div(kernel, rest, shape->groups);
    if (shape->groups > 1)
        tile.group = loop_let(kernel, body, "group", tile.group);
    else
        tile.group = x_int(kernel, 0);
    LoopExpr *begin = x_int(kernel, 0), *end = x_int(kernel, shape->batch);
    if (parts > 1) {
        tile.part = loop_let(kernel, body, "part", tile.part);
        begin = loop_let(kernel, body, "begin", x_mul(kernel, tile.part, part_images));
        end = x_add(kernel, begin, x_int(kernel, part_images));
        end = loop_let(kernel, body, "end", x2(kernel, X_min, end, x_int(kernel, shape->batch)));
    } else {
        tile.part = x_int(kernel, 0);
    }

    bool asks = wants_ahead(&tile, channel_blocks);
    if (asks)
        set_next_task(&tile, body, cb, channel_blocks, begin, end);
    LoopExpr *first_visit = NULL;
    if (row_parts > 1) { // each of some rows of an image
        LoopExpr *image, *row, *zero = x_int(kernel, 0);
        body = over_rows(&tile, body, begin, end, row_parts, &image, &row);
        tile.first_row = x_mul(kernel, row, tile.visit_rows);
        LoopExpr *is_first =
            x_and(kernel, x2(kernel, X_eq, image, begin), x2(kernel, X_eq, row, zero));
        first_visit = loop_let(kernel, body, "is_first", is_first);
        begin = image;
        end = x_add(kernel, image, x_int(kernel, 1));
    } else if (tile.visit < part_images) {
        LoopStmt *visits = loop_for(kernel, body, LOOP_SERIAL, "visit", begin, end, tile.visit);
        LoopExpr *visit = loop_var(kernel, visits);
        body = &visits->body;
        first_visit = loop_let(kernel, body, "is_first", x2(kernel, X_eq, visit, begin));
        LoopExpr *visit_end = x_add(kernel, visit, x_int(kernel, tile.visit));
        if (asks)
            set_next_visit(&tile, body, cb, visit_end, end);
        end = loop_let(kernel, body, "visit_end", x2(kernel, X_min, visit_end, end));
        begin = visit;
    }
    if (!split_taps) {
        for (int i = 0; i < 2; i++) {
            LoopStmt *over = loop_for(kernel, body, LOOP_SERIAL, i ? "kw" : "kh", x_int(kernel, 0),
                                      x_int(kernel, shape->kernel[i]), 1);
            tile.tap[i] = loop_var(kernel, over);
            body = &over->body;
        }
    }
    emit_block(&tile, body, begin, end, first_visit);
    return tasks;
}
