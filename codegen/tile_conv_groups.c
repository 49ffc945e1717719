// codegen/tile_conv_groups.c -- convolution by its weight where a block holds whole small groups.
//
//     dw[k, c, kh, kw] = sum_{n, oh, ow} dy[n, k, oh, ow] * x[n, (k / width) * width + c, ...]
//
// A lane is a filter k. Its group's channels lie in the same block, so x is one vector, shuffled by
// constants, for each channel c; dy is a vector as it lies. A tile of sums has all column taps, as
// many channels of the group as fit, and all row taps where these fit as well. Pixels of a row are
// unrolled, so that neighbouring taps share what they read. Taps that fall on padding are left out:
// rows by conditions, columns because the tiles at the borders have constant positions.
#include "codegen/tile.h"

enum {
    TAPS_MAX = 24,   // of a row: their sums may be more than few registers hold
    BODY_MAX = 300,  // multiply-adds in one innermost body
    PIXELS_MAX = 16, // of a row, unrolled
};

typedef struct GroupTile {
    const TileIO *io;
    const ConvShape *shape;
    int64_t width; // channels of a group
    int64_t parts;
    int64_t channels, row_taps, pixels;    // extents of the tile
    LoopExpr *part, *block, *image, *lane; // block: of 16 filters
    LoopExpr *first_channel, *first_row_tap;
} GroupTile;

static LoopExpr *filter_of(const GroupTile *tile) {
    LoopKernel *kernel = tile->io->kernel;
    return x_add(kernel, x_mul(kernel, tile->block, TILE_BLOCK), tile->lane);
}

static LoopStmt *unroll(const GroupTile *tile, LoopBody *body, const char *name, int64_t count) {
    LoopKernel *kernel = tile->io->kernel;
    return loop_for(kernel, body, LOOP_UNROLL, name, x_int(kernel, 0), x_int(kernel, count), 1);
}

/// Input position of output position `out` under `tap`.
static LoopExpr *in_position(const GroupTile *tile, int axis, LoopExpr *out, LoopExpr *tap) {
    const ConvShape *shape = tile->shape;
    LoopKernel *kernel = tile->io->kernel;
    LoopExpr *position = x_add(kernel, x_mul(kernel, out, shape->stride[axis]),
                               x_mul(kernel, tap, shape->dilation[axis]));
    return x_offset(kernel, position, -shape->padding[axis]);
}

static int64_t in_extent(const GroupTile *tile, int axis) {
    return axis ? tile->shape->width : tile->shape->height;
}

/// Whether some tap of the output columns [first, last] leaves the input.
static bool columns_leave_input(const GroupTile *tile, int64_t first, int64_t last) {
    const ConvShape *shape = tile->shape;
    int64_t reach = (shape->kernel[1] - 1) * shape->dilation[1];
    return first * shape->stride[1] - shape->padding[1] < 0 ||
           last * shape->stride[1] - shape->padding[1] + reach >= shape->width;
}

/// The products of `pixels` output pixels from `column` of row `out_row` with one row tap.
static void emit_pixels(const GroupTile *tile, LoopBody *body, uint32_t sums, LoopExpr *row_tap,
                        LoopExpr *out_row, LoopExpr *in_row, LoopExpr *column, int64_t pixels) {
    const TileIO *io = tile->io;
    const ConvShape *shape = tile->shape;
    LoopKernel *kernel = io->kernel;
    LoopExpr *filter = filter_of(tile);

    LoopStmt *over_pixels = unroll(tile, body, "p", pixels);
    LoopBody *nest = &over_pixels->body;
    LoopExpr *out_column = x_add(kernel, column, loop_var(kernel, over_pixels));
    LoopExpr *dy_index[4] = {tile->image, filter, out_row, out_column};
    LoopExpr *dy = loop_let(kernel, nest, "dy", io->read(io->user, nest, 1, dy_index));

    LoopStmt *over_taps = unroll(tile, nest, "kw", shape->kernel[1]);
    LoopExpr *tap = loop_var(kernel, over_taps);
    LoopExpr *in_column = in_position(tile, 1, out_column, tap);
    nest = &over_taps->body;
    int64_t position;
    if (!x_is_int(column, &position) || columns_leave_input(tile, position, position + pixels - 1))
        nest = &loop_if(kernel, nest, x_inside(kernel, in_column, 0, shape->width))->body;

    LoopStmt *over_channels = unroll(tile, nest, "c", tile->channels);
    LoopExpr *c = loop_var(kernel, over_channels);
    nest = &over_channels->body;
    LoopExpr *group = x_mul(kernel, x_div(kernel, filter, tile->width), tile->width);
    LoopExpr *channel = x_add(kernel, group, x_add(kernel, tile->first_channel, c));
    LoopExpr *x_index[4] = {tile->image, channel, in_row, in_column};
    LoopExpr *x = io->read(io->user, nest, 0, x_index);
    LoopExpr *at[3] = {row_tap, c, tap};
    loop_set(kernel, nest, sums, at, 3, x3(kernel, X_fma, dy, x, x_local(kernel, sums, at, 3)));
}

/// One output row and one row tap: the tiles of pixels at the borders with constant columns, the
/// inner ones in a loop.
static void emit_row(const GroupTile *tile, LoopBody *body, uint32_t sums, LoopExpr *row_tap,
                     LoopExpr *out_row, LoopExpr *in_row) {
    LoopKernel *kernel = tile->io->kernel;
    int64_t out = tile->shape->out_width, pixels = tile->pixels;
    int64_t full = out / pixels, begin = 0, end = full; // [begin, end): tiles inside
    while (begin < end && columns_leave_input(tile, begin * pixels, begin * pixels + pixels - 1))
        begin++;
    while (end > begin && columns_leave_input(tile, (end - 1) * pixels, end * pixels - 1))
        end--;
    for (int64_t i = 0; i * pixels < out; i++) {
        if (i == begin && end - begin > 1) {
            LoopStmt *loop = loop_for(kernel, body, LOOP_SERIAL, "tile", x_int(kernel, begin),
                                      x_int(kernel, end), 1);
            LoopExpr *column = x_mul(kernel, loop_var(kernel, loop), pixels);
            emit_pixels(tile, &loop->body, sums, row_tap, out_row, in_row, column, pixels);
            i = end - 1;
            continue;
        }
        emit_pixels(tile, body, sums, row_tap, out_row, in_row, x_int(kernel, i * pixels),
                    int_min(pixels, out - i * pixels));
    }
}

/// Loops over the tile's sums: `at` are their subscripts, `index` the place in the result.
static LoopBody *over_sums(const GroupTile *tile, LoopBody *body, LoopExpr *at[3],
                           LoopExpr **index) {
    LoopKernel *kernel = tile->io->kernel;
    int64_t dim[3] = {tile->row_taps, tile->channels, tile->shape->kernel[1]};
    static const char *const names[3] = {"kh", "c", "kw"};
    for (int i = 0; i < 3; i++) {
        LoopStmt *loop = unroll(tile, body, names[i], dim[i]);
        at[i] = loop_var(kernel, loop);
        body = &loop->body;
    }
    if (tile->parts > 0)
        *index++ = tile->part;
    *index++ = filter_of(tile);
    *index++ = x_add(kernel, tile->first_channel, at[1]);
    *index++ = x_add(kernel, tile->first_row_tap, at[0]);
    *index++ = at[2];
    return body;
}

/// The sums of one tile over the images [begin, end).
static void emit_tile(GroupTile *tile, LoopBody *body, LoopExpr *begin, LoopExpr *end) {
    const TileIO *io = tile->io;
    const ConvShape *shape = tile->shape;
    LoopKernel *kernel = io->kernel;
    LoopExpr *zero = x_int(kernel, 0), *at[3], *index[5];
    LoopStmt *lanes = tile_lanes(io, body, true);
    tile->lane = loop_var(kernel, lanes);
    int64_t dim[3] = {tile->row_taps, tile->channels, shape->kernel[1]};
    uint32_t sums = loop_local(kernel, &lanes->body, "sum", shape->type, dim, 3);
    LoopBody *clear = over_sums(tile, &lanes->body, at, index);
    loop_set(kernel, clear, sums, at, 3, x_real(kernel, 0.0, shape->type));

    LoopStmt *images = loop_for(kernel, &lanes->body, LOOP_SERIAL, "n", begin, end, 1);
    tile->image = loop_var(kernel, images);
    LoopStmt *rows = loop_for(kernel, &images->body, LOOP_SERIAL, "oh", zero,
                              x_int(kernel, shape->out_height), 1);
    LoopExpr *out_row = loop_var(kernel, rows);
    LoopStmt *taps = unroll(tile, &rows->body, "kh", tile->row_taps);
    LoopExpr *row_tap = loop_var(kernel, taps);
    LoopExpr *in_row = in_position(tile, 0, out_row, x_add(kernel, tile->first_row_tap, row_tap));
    LoopExpr *inside = x_inside(kernel, in_row, 0, in_extent(tile, 0));
    emit_row(tile, &loop_if(kernel, &taps->body, inside)->body, sums, row_tap, out_row, in_row);

    LoopBody *store = over_sums(tile, &lanes->body, at, index);
    io->store(io->user, store, index, x_local(kernel, sums, at, 3));
}

int64_t tile_conv2d_weight_groups(const TileIO *io, const ConvShape *shape, int64_t parts) {
    int64_t width = conv_small_groups(shape);
    int64_t sums_max = tile_is_tight(io) ? 2 * tile_sums(io) : tile_sums(io); // of narrow lanes
    if (!width || shape->kernel[1] > TAPS_MAX)
        return 0;
    LoopKernel *kernel = io->kernel;
    GroupTile tile = {.io = io, .shape = shape, .width = width, .parts = parts};
    for (tile.channels = width; tile.channels > 1 && tile.channels * shape->kernel[1] > sums_max;)
        tile.channels /= 2;
    bool all_rows = width * shape->kernel[0] * shape->kernel[1] <= sums_max;
    tile.row_taps = all_rows ? shape->kernel[0] : 1;
    int64_t products = tile.channels * tile.row_taps * shape->kernel[1]; // of a pixel
    tile.pixels = int_min(int_min(PIXELS_MAX, shape->out_width), ceil_div(BODY_MAX, products));
    // A row in equal tiles where that makes them no smaller than it must.
    tile.pixels = ceil_div(shape->out_width, ceil_div(shape->out_width, tile.pixels));

    int64_t blocks = shape->filters / TILE_BLOCK, channel_tiles = width / tile.channels;
    int64_t tap_tiles = shape->kernel[0] / tile.row_taps;
    int64_t tasks = (parts > 0 ? parts : 1) * blocks * channel_tiles * tap_tiles;
    LoopStmt *loop = loop_for(kernel, &kernel->body, LOOP_PARALLEL, "task", x_int(kernel, 0),
                              x_int(kernel, tasks), 1);
    LoopBody *body = &loop->body;
    LoopExpr *task = loop_var(kernel, loop);
    tile.first_row_tap = x_int(kernel, 0);
    if (tap_tiles > 1) {
        tile.first_row_tap = loop_let(kernel, body, "kh", x_mod(kernel, task, tap_tiles));
        task = x_div(kernel, task, tap_tiles);
    }
    // Constant channels make the lanes' places in a vector constant.
    tile.first_channel = x_int(kernel, 0);
    LoopExpr *channel_tile = x_mod(kernel, task, channel_tiles);
    task = x_div(kernel, task, channel_tiles);
    tile.block = loop_let(kernel, body, "block", x_mod(kernel, task, blocks));
    LoopExpr *begin = x_int(kernel, 0), *end = x_int(kernel, shape->batch);
    tile.part = begin;
    if (parts > 1) {
        int64_t images = ceil_div(shape->batch, parts);
        tile.part = loop_let(kernel, body, "part", x_div(kernel, task, blocks));
        begin = loop_let(kernel, body, "begin", x_mul(kernel, tile.part, images));
        end = x_add(kernel, begin, x_int(kernel, images));
        end = loop_let(kernel, body, "end", x2(kernel, X_min, end, x_int(kernel, shape->batch)));
    }
    for (int64_t i = 0; i < channel_tiles; i++) {
        LoopBody *mine = body;
        if (channel_tiles > 1)
            mine = &loop_if(kernel, body, x2(kernel, X_eq, channel_tile, x_int(kernel, i)))->body;
        tile.first_channel = x_int(kernel, i * tile.channels);
        emit_tile(&tile, mine, begin, end);
    }
    return tasks;
}
