// codegen/tile_conv.c -- register-tiled convolution, forward and by its input.
//
// Both are one loop nest over "taps". An output pixel (a, b) of a grid sums over row taps j and
// column taps i
//
//     sum_r  in[n, r, a * step + d0 + j * dd, ...] * w[.., k0 + j * dk, ..]
//
// Forward: the grid is the output, step the stride, tap j reads row a * stride - padding + j *
// dilation. By the input (the adjoint): the pixels of dx whose row has the same remainder modulo
// the stride form a grid of their own with step 1, and the taps that meet them are an arithmetic
// progression of kernel rows; so a strided adjoint is stride * stride dense convolutions, none of
// which multiplies by zero.
//
// Where a block holds whole small groups there is one vector to a tile, and each lane reads its own
// group's channels: x[(k / width) * width + c] for lane k, a vector shuffled by constants. All taps
// of a pixel share it. The adjoint of groups of several channels wants its weights transposed
// within the group; a task packs them for all of its images.
//
// A 1x1 convolution of many channels reads a line of each of their blocks for every pixel, far
// apart and, where maps are powers of two, in few sets of the cache; and again for each tile of
// vectors. So a task first packs its rows of the input into a panel and does all vectors from that.
//
// Taps that fall on padding are dropped: rows by the bounds of the tap loop, columns because the
// tiles at the borders are unrolled with constant positions, where the guard folds away. There is
// no halo.
#include "codegen/tile.h"

#include "support/diag.h"

enum {
    TILE_BODY_MAX = 450,            // multiply-adds in one innermost body
    TIGHT_BODY_MAX = 150,           // and where registers are few
    WIDE_REGISTERS = 32,            // of AVX-512
    TASKS_WANTED = 64,              // iterations that keep any number of threads even
    PANEL_CHANNELS = 128,           // summed channels from which on a panel pays
    PANEL_PIXELS = 96,              // wanted in a panel
    PANEL_TASKS = 16,               // below which panels leave threads without work
    PANEL_BYTES_MAX = 256 << 10,    // in the second-level cache, beside a share of the weights
    PANEL_WEIGHT_BYTES = 1 << 20,   // of a share
    PANEL_IMAGE_BYTES = 8 << 20,    // that the third-level cache, which is shared, does not keep
};

/// One axis of the taps: position = grid * step + offset + tap * advance; kernel = first + tap *
/// stride.
typedef struct TapAxis {
    int64_t grid;                 // output positions
    int64_t out_step, out_offset; // output index = grid position * out_step + out_offset
    int64_t step, offset, advance;
    int64_t taps, kernel_first, kernel_step;
    int64_t extent; // of the input
    // Grids that differ in their first kernel and output position alone, one further on each, are
    // `repeats` turns of one loop; `turn` is its variable, NULL for one grid.
    int64_t repeats;
    LoopExpr *turn;
} TapAxis;

typedef struct TapConv {
    const TileIO *io;
    bool adjoint; // operand 1 is read at [reduced, vector, ...] instead of [vector, reduced, ...]
    int64_t batch;
    int64_t groups;
    int64_t vectors;    // blocks of 16 output channels in a group
    int64_t reduced;    // input channels in a group
    int64_t live;       // of them the first that count
    int64_t lane_group; // width of small groups, which lanes find by themselves: `groups` is 1
    int64_t kernel[2];
    uint32_t packed;       // scratch buffer + 1: weights [reduced][KH][KW][16] of the task's block
    uint32_t panel;        // scratch buffer + 1: inputs [reduced / 16][rows][columns][16] of the task
    int64_t panel_rows, panel_columns;
    LoopExpr *panel_first; // grid row of the first
    LoopExpr *next_image, *next_first; // of the next task's panel
    LoopExpr *share_tile;  // which tile of vectors of the task is at work,
    int64_t share_tiles;   // of so many
    int64_t reduced_block; // 16 where the input channels come in blocks, else 1
    ScalarType type;
    int64_t tile_vectors, tile_columns, tile_rows;
    int64_t wide_rows; // of a tile where registers are many
} TapConv;

static LoopExpr *index_int(const TapConv *conv, int64_t value) {
    return x_int(conv->io->kernel, value);
}

/// a + value
static LoopExpr *plus(const TapConv *conv, LoopExpr *a, int64_t value) {
    return value ? x_add(conv->io->kernel, a, index_int(conv, value)) : a;
}

/// Input position of grid position `at` under tap `tap`.
static LoopExpr *tap_position(const TapConv *conv, const TapAxis *axis, LoopExpr *at,
                              LoopExpr *tap) {
    LoopKernel *kernel = conv->io->kernel;
    LoopExpr *position =
        x_add(kernel, x_mul(kernel, at, axis->step), x_mul(kernel, tap, axis->advance));
    return plus(conv, position, axis->offset);
}

/// position + first, and the turn where grids are a loop.
static LoopExpr *at_turn(const TapConv *conv, const TapAxis *axis, LoopExpr *position,
                         int64_t first) {
    position = plus(conv, position, first);
    return axis->turn ? x_add(conv->io->kernel, position, axis->turn) : position;
}

static LoopExpr *tap_kernel(const TapConv *conv, const TapAxis *axis, LoopExpr *tap) {
    LoopExpr *position = x_mul(conv->io->kernel, tap, axis->kernel_step);
    return at_turn(conv, axis, position, axis->kernel_first);
}

/// Where grid position `at` lies in the output.
static LoopExpr *output_position(const TapConv *conv, const TapAxis *axis, LoopExpr *at) {
    LoopExpr *position = x_mul(conv->io->kernel, at, axis->out_step);
    return at_turn(conv, axis, position, axis->out_offset);
}

/// Whether some tap of some position in [first, last] leaves the input.
static bool axis_leaves_input(const TapAxis *axis, int64_t first, int64_t last) {
    for (int64_t tap = 0; tap < axis->taps; tap++) {
        int64_t low = first * axis->step + axis->offset + tap * axis->advance;
        int64_t high = last * axis->step + axis->offset + tap * axis->advance;
        if (low < 0 || high >= axis->extent)
            return true;
    }
    return false;
}

/// The taps that stay inside for a run-time position: [*begin, *end).
static void tap_range(const TapConv *conv, const TapAxis *axis, LoopBody *body, LoopExpr *at,
                      LoopExpr **begin, LoopExpr **end) {
    LoopKernel *kernel = conv->io->kernel;
    *begin = index_int(conv, 0);
    *end = index_int(conv, axis->taps);
    if (!axis_leaves_input(axis, 0, axis->grid - 1))
        return;
    // 0 <= p + tap * advance < extent, where p = at * step + offset.
    LoopExpr *p = plus(conv, x_mul(kernel, at, axis->step), axis->offset);
    int64_t size = axis->advance < 0 ? -axis->advance : axis->advance;
    LoopExpr *low, *high; // first tap inside, one past the last
    if (axis->advance > 0) {
        // tap >= ceil(-p / size); tap < ceil((extent - p) / size)
        LoopExpr *minus_p = x_mul(kernel, p, -1);
        low = x_div(kernel, plus(conv, minus_p, size - 1), size);
        high = x_div(kernel, plus(conv, minus_p, axis->extent + size - 1), size);
    } else {
        // tap > (p - extent) / size, i.e. >= floor((p - extent) / size) + 1; tap <= floor(p / size)
        low = plus(conv, x_div(kernel, plus(conv, p, -axis->extent), size), 1);
        high = plus(conv, x_div(kernel, p, size), 1);
    }
    *begin = loop_let(kernel, body, "first", x2(kernel, X_max, *begin, low));
    *end = loop_let(kernel, body, "last", x2(kernel, X_min, *end, high));
}

static LoopExpr *inside(const TapConv *conv, LoopExpr *position, int64_t extent) {
    LoopKernel *kernel = conv->io->kernel;
    return x2(kernel, X_and, x2(kernel, X_le, index_int(conv, 0), position),
              x2(kernel, X_lt, position, index_int(conv, extent)));
}

/// The position of a tile: which image, group and vectors, and its first pixel.
typedef struct TilePlace {
    LoopExpr *image, *group, *vector; // vector: first block of the tile within the group
    LoopExpr *row, *column;           // grid position of the tile's first pixel
    LoopExpr *lane;
    int64_t rows, columns, vectors; // extents of this tile
    bool channels_first;            // summed outside of the taps
    bool guard_rows, guard_columns; // some taps may leave the input: guards that fold away
} TilePlace;

static LoopExpr *output_channel(const TapConv *conv, const TilePlace *place, LoopExpr *vector) {
    LoopKernel *kernel = conv->io->kernel;
    LoopExpr *block = x_add(kernel, place->vector, vector);
    return x_add(kernel, x_mul(kernel, block, TILE_BLOCK), place->lane); // within the group
}

/// Where the packed weight of reduced channel, tap and lane lies.
static LoopExpr *packed_index(const TapConv *conv, LoopExpr *channel, LoopExpr *kernel_row,
                              LoopExpr *kernel_column, LoopExpr *lane) {
    LoopKernel *kernel = conv->io->kernel;
    LoopExpr *row = x_add(kernel, x_mul(kernel, channel, conv->kernel[0]), kernel_row);
    LoopExpr *tap = x_add(kernel, x_mul(kernel, row, conv->kernel[1]), kernel_column);
    return x_add(kernel, x_mul(kernel, tap, TILE_BLOCK), lane);
}

/// Packs the weights of the adjoint of small groups: for lane c and the filter r of its group,
/// w[(c / width) * width + r, c % width, kh, kw].
static void emit_pack(const TapConv *conv, LoopBody *body, LoopExpr *vector) {
    static const char *const names[3] = {"r", "kh", "kw"};
    const TileIO *io = conv->io;
    LoopKernel *kernel = io->kernel;
    int64_t extent[3] = {conv->reduced, conv->kernel[0], conv->kernel[1]};
    LoopExpr *at[3];
    for (int i = 0; i < 3; i++) {
        LoopStmt *loop = loop_for(kernel, body, LOOP_SERIAL, names[i], index_int(conv, 0),
                                  index_int(conv, extent[i]), 1);
        at[i] = loop_var(kernel, loop);
        body = &loop->body;
    }
    LoopStmt *lanes = tile_lanes(io, body, false);
    LoopExpr *lane = loop_var(kernel, lanes);
    LoopExpr *channel = x_add(kernel, x_mul(kernel, vector, TILE_BLOCK), lane);
    LoopExpr *first = x_mul(kernel, x_div(kernel, channel, conv->lane_group), conv->lane_group);
    LoopExpr *index[4] = {x_add(kernel, first, at[0]), x_mod(kernel, channel, conv->lane_group),
                          at[1], at[2]};
    LoopExpr *value = io->read(io->user, &lanes->body, 1, index);
    loop_store(kernel, &lanes->body, conv->packed - 1,
               packed_index(conv, at[0], at[1], at[2], lane), value);
}

/// Where the panel has the channel of grid position (row, column).
static LoopExpr *panel_index(const TapConv *conv, LoopExpr *channel, LoopExpr *row,
                             LoopExpr *column) {
    LoopKernel *kernel = conv->io->kernel;
    LoopExpr *block = x_mul(kernel, x_div(kernel, channel, TILE_BLOCK), conv->panel_rows);
    row = x_add(kernel, block, x_sub(kernel, row, conv->panel_first));
    LoopExpr *pixel = x_add(kernel, x_mul(kernel, row, conv->panel_columns), column);
    return x_add(kernel, x_mul(kernel, pixel, TILE_BLOCK), x_mod(kernel, channel, TILE_BLOCK));
}

/// Fills the panel with what grid rows [begin, end) read.
static void emit_panel(const TapConv *conv, const TapAxis *rows, const TapAxis *columns,
                       LoopExpr *image, LoopBody *body, LoopExpr *begin, LoopExpr *end) {
    const TileIO *io = conv->io;
    LoopKernel *kernel = io->kernel;
    LoopStmt *blocks = loop_for(kernel, body, LOOP_SERIAL, "cb", index_int(conv, 0),
                                index_int(conv, ceil_div(conv->live, TILE_BLOCK)), 1);
    LoopStmt *row_loop = loop_for(kernel, &blocks->body, LOOP_SERIAL, "row", begin, end, 1);
    LoopStmt *column_loop = loop_for(kernel, &row_loop->body, LOOP_SERIAL, "column",
                                     index_int(conv, 0), index_int(conv, columns->grid), 1);
    LoopStmt *lanes = tile_lanes(io, &column_loop->body, false);
    LoopExpr *first = x_mul(kernel, loop_var(kernel, blocks), TILE_BLOCK);
    LoopExpr *channel = x_add(kernel, first, loop_var(kernel, lanes));
    LoopExpr *row = loop_var(kernel, row_loop), *column = loop_var(kernel, column_loop);
    LoopExpr *tap = index_int(conv, 0);
    LoopExpr *index[4] = {image, channel, tap_position(conv, rows, row, tap),
                          tap_position(conv, columns, column, tap)};
    LoopExpr *value = io->read(io->user, &lanes->body, 0, index);
    loop_store(kernel, &lanes->body, conv->panel - 1, panel_index(conv, channel, row, column),
               value);
}

/// The multiply-adds of one (channel, row tap): unrolled over column taps, pixels and vectors.
static void emit_products(const TapConv *conv, const TapAxis *rows, const TapAxis *columns,
                          const TilePlace *place, LoopBody *body, uint32_t sums, LoopExpr *channel,
                          LoopExpr *row_tap) {
    const TileIO *io = conv->io;
    LoopKernel *kernel = io->kernel;
    LoopExpr *group_channel = x_add(kernel, x_mul(kernel, place->group, conv->reduced), channel);
    if (conv->lane_group) {
        LoopExpr *own = output_channel(conv, place, index_int(conv, 0));
        own = x_mul(kernel, x_div(kernel, own, conv->lane_group), conv->lane_group);
        group_channel = x_add(kernel, own, channel);
    }

    LoopStmt *tap_loop = loop_for(kernel, body, LOOP_UNROLL, "kw", index_int(conv, 0),
                                  index_int(conv, columns->taps), 1);
    LoopExpr *column_tap = loop_var(kernel, tap_loop);
    LoopExpr *kernel_row = tap_kernel(conv, rows, row_tap);
    LoopExpr *kernel_column = tap_kernel(conv, columns, column_tap);

    // weight[v]: one vector for each block of output channels
    uint32_t weight = loop_local(kernel, &tap_loop->body, "w", conv->type, &place->vectors, 1);
    LoopStmt *load = loop_for(kernel, &tap_loop->body, LOOP_UNROLL, "v", index_int(conv, 0),
                              index_int(conv, place->vectors), 1);
    LoopExpr *v = loop_var(kernel, load);
    LoopExpr *w0;
    if (conv->packed) {
        w0 = x_load(kernel, conv->packed - 1,
                    packed_index(conv, channel, kernel_row, kernel_column, place->lane));
    } else {
        LoopExpr *out_channel = output_channel(conv, place, v);
        LoopExpr *weight_index[4] = {out_channel, channel, kernel_row, kernel_column};
        if (conv->adjoint) {
            weight_index[0] = group_channel;
            weight_index[1] =
                conv->lane_group ? x_mod(kernel, out_channel, conv->lane_group) : out_channel;
        } else {
            int64_t group_filters = conv->vectors * TILE_BLOCK;
            weight_index[0] =
                x_add(kernel, x_mul(kernel, place->group, group_filters), out_channel);
        }
        w0 = io->read(io->user, &load->body, 1, weight_index);
    }
    loop_set(kernel, &load->body, weight, &v, 1, w0);

    LoopStmt *row_loop = loop_for(kernel, &tap_loop->body, LOOP_UNROLL, "ph", index_int(conv, 0),
                                  index_int(conv, place->rows), 1);
    LoopExpr *tile_row = loop_var(kernel, row_loop);
    LoopExpr *in_row = tap_position(conv, rows, x_add(kernel, place->row, tile_row), row_tap);
    LoopBody *row_body = &row_loop->body;
    if (place->guard_rows)
        row_body = &loop_if(kernel, row_body, inside(conv, in_row, rows->extent))->body;

    LoopStmt *pixel_loop = loop_for(kernel, row_body, LOOP_UNROLL, "p", index_int(conv, 0),
                                    index_int(conv, place->columns), 1);
    LoopExpr *pixel = loop_var(kernel, pixel_loop);
    LoopExpr *in_column =
        tap_position(conv, columns, x_add(kernel, place->column, pixel), column_tap);
    LoopBody *pixel_body = &pixel_loop->body;
    if (place->guard_columns)
        pixel_body = &loop_if(kernel, pixel_body, inside(conv, in_column, columns->extent))->body;

    LoopExpr *input_index[4] = {place->image, group_channel, in_row, in_column};
    LoopExpr *x = NULL;
    if (conv->panel) {
        LoopExpr *row = x_add(kernel, place->row, tile_row);
        LoopExpr *column = x_add(kernel, place->column, pixel);
        x = x_load(kernel, conv->panel - 1, panel_index(conv, channel, row, column));
    } else {
        x = io->read(io->user, pixel_body, 0, input_index);
    }
    x = loop_let(kernel, pixel_body, "x", x);
    LoopStmt *vector_loop = loop_for(kernel, pixel_body, LOOP_UNROLL, "v", index_int(conv, 0),
                                     index_int(conv, place->vectors), 1);
    LoopExpr *u = loop_var(kernel, vector_loop);
    LoopExpr *sum_index[3] = {u, tile_row, pixel};
    LoopExpr *w = x_local(kernel, weight, &u, 1);
    LoopExpr *sum = x_local(kernel, sums, sum_index, 3);
    loop_set(kernel, &vector_loop->body, sums, sum_index, 3, x3(kernel, X_fma, w, x, sum));
    if (tile_is_tight(io))
        loop_reload(kernel, &tap_loop->body);
}

/// Asks for what the next task's panel is filled from, while products run: for a block of channels
/// the pixels of this tile's place, in turn with the other tiles of vectors.
static void emit_panel_ahead(const TapConv *conv, const TapAxis *rows, const TapAxis *columns,
                             const TilePlace *place, LoopBody *body, LoopExpr *block) {
    const TileIO *io = conv->io;
    LoopKernel *kernel = io->kernel;
    LoopExpr *turn = x_mod(kernel, block, conv->share_tiles), *tap = index_int(conv, 0);
    LoopBody *inner = &loop_if(kernel, body, x2(kernel, X_eq, turn, conv->share_tile))->body;
    inner = &loop_prefetch(kernel, inner)->body;
    LoopExpr *row = x_add(kernel, conv->next_first, x_sub(kernel, place->row, conv->panel_first));
    if (rows->grid % conv->panel_rows) { // the last part has fewer
        row = x2(kernel, X_min, row, index_int(conv, rows->grid - 1));
        row = loop_let(kernel, inner, "row", row);
    }
    LoopStmt *pixels = loop_for(kernel, inner, LOOP_UNROLL, "p", index_int(conv, 0),
                                index_int(conv, place->columns), 1);
    LoopExpr *column = x_add(kernel, place->column, loop_var(kernel, pixels));
    LoopExpr *index[4] = {conv->next_image, x_mul(kernel, block, TILE_BLOCK),
                          tap_position(conv, rows, row, tap),
                          tap_position(conv, columns, column, tap)};
    loop_let(kernel, &pixels->body, "ahead", io->read(io->user, &pixels->body, 0, index));
    loop_prefetch_end(kernel);
}

/// Channels that are unrolled: a body of few multiply-adds is half loop and asking.
static int64_t channel_step(const TapConv *conv, const TilePlace *place, const TapAxis *columns,
                            int64_t count) {
    int64_t products = place->vectors * place->columns * columns->taps, step = 1;
    while (tile_is_tight(conv->io) && step < 8 && count % (2 * step) == 0 &&
           2 * step * products <= TIGHT_BODY_MAX)
        step *= 2;
    return step;
}

/// All taps of the first `count` channels of a block.
static void emit_block(const TapConv *conv, const TapAxis *rows, const TapAxis *columns,
                       const TilePlace *place, LoopBody *body, uint32_t sums, LoopExpr *block,
                       int64_t count) {
    LoopKernel *kernel = conv->io->kernel;
    LoopExpr *first_channel = x_mul(kernel, block, conv->reduced_block);
    LoopExpr *tap_begin = index_int(conv, 0), *tap_end = index_int(conv, rows->taps);
    if (conv->panel && !place->channels_first)
        emit_panel_ahead(conv, rows, columns, place, body, block);
    // Constant channels make the lanes' places in a vector constant.
    LoopKind channels = conv->lane_group ? LOOP_UNROLL : LOOP_SERIAL;
    LoopStmt *row_taps, *channel_loop;
    int64_t step = channels == LOOP_SERIAL && !place->channels_first
                       ? channel_step(conv, place, columns, count)
                       : 1;
    if (place->channels_first) { // all taps unrolled inside, guards fold
        channel_loop = loop_for(kernel, body, channels, "ci", index_int(conv, 0),
                                index_int(conv, count), 1);
        row_taps = loop_for(kernel, &channel_loop->body, LOOP_UNROLL, "kh", tap_begin, tap_end, 1);
        body = &row_taps->body;
    } else {
        tap_range(conv, rows, body, place->row, &tap_begin, &tap_end);
        row_taps = loop_for(kernel, body, LOOP_SERIAL, "kh", tap_begin, tap_end, 1);
        channel_loop = loop_for(kernel, &row_taps->body, channels, "ci", index_int(conv, 0),
                                index_int(conv, count), step);
        body = &channel_loop->body;
    }
    if (!conv->lane_group) // which waits for memory itself
        loop_ask(kernel, &channel_loop->body);
    LoopExpr *channel = x_add(kernel, first_channel, loop_var(kernel, channel_loop));
    if (step > 1) {
        LoopStmt *steps = loop_for(kernel, body, LOOP_UNROLL, "cj", index_int(conv, 0),
                                   index_int(conv, step), 1);
        channel = x_add(kernel, channel, loop_var(kernel, steps));
        body = &steps->body;
    }
    emit_products(conv, rows, columns, place, body, sums, channel, loop_var(kernel, row_taps));
}

/// One register tile: clear the sums, run the taps and channels, store.
static void emit_tile(const TapConv *conv, const TapAxis *rows, const TapAxis *columns,
                      TilePlace place, LoopBody *body) {
    const TileIO *io = conv->io;
    LoopKernel *kernel = io->kernel;
    LoopStmt *lanes = tile_lanes(io, body, false);
    place.lane = loop_var(kernel, lanes);
    LoopBody *inner = &lanes->body;

    int64_t dim[3] = {place.vectors, place.rows, place.columns};
    uint32_t sums = loop_local(kernel, inner, "sum", conv->type, dim, 3);
    LoopExpr *at[3];
    LoopBody *nest = inner;
    static const char *const names[3] = {"v", "ph", "p"};
    for (int i = 0; i < 3; i++) {
        LoopStmt *loop = loop_for(kernel, nest, LOOP_UNROLL, names[i], index_int(conv, 0),
                                  index_int(conv, dim[i]), 1);
        at[i] = loop_var(kernel, loop);
        nest = &loop->body;
    }
    loop_set(kernel, nest, sums, at, 3, x_real(kernel, 0.0, conv->type));

    if (rows->taps > 0 && columns->taps > 0) {
        int64_t blocks = conv->live / conv->reduced_block, rest = conv->live % conv->reduced_block;
        if (blocks) {
            LoopStmt *loop = loop_for(kernel, inner, LOOP_SERIAL, "cb", index_int(conv, 0),
                                      index_int(conv, blocks), 1);
            emit_block(conv, rows, columns, &place, &loop->body, sums, loop_var(kernel, loop),
                       conv->reduced_block);
        }
        if (rest)
            emit_block(conv, rows, columns, &place, inner, sums, index_int(conv, blocks), rest);
    }

    nest = inner;
    for (int i = 0; i < 3; i++) {
        LoopStmt *loop = loop_for(kernel, nest, LOOP_UNROLL, names[i], index_int(conv, 0),
                                  index_int(conv, dim[i]), 1);
        at[i] = loop_var(kernel, loop);
        nest = &loop->body;
    }
    int64_t group_outputs = conv->vectors * TILE_BLOCK;
    LoopExpr *channel = x_add(kernel, x_mul(kernel, place.group, group_outputs),
                              output_channel(conv, &place, at[0]));
    LoopExpr *row = x_add(kernel, place.row, at[1]);
    LoopExpr *column = x_add(kernel, place.column, at[2]);
    LoopExpr *out_index[4] = {place.image, channel, output_position(conv, rows, row),
                              output_position(conv, columns, column)};
    io->store(io->user, nest, out_index, x_local(kernel, sums, at, 3));
}

/// The tiles of one row of tiles: those at the borders with constant columns, the inner ones in a
/// loop.
static void emit_row(const TapConv *conv, const TapAxis *rows, const TapAxis *columns,
                     TilePlace place, LoopBody *body) {
    LoopKernel *kernel = conv->io->kernel;
    int64_t width = conv->tile_columns;
    int64_t full = columns->grid / width, rest = columns->grid % width;
    int64_t inner_begin = 0, inner_end = full; // tiles that need no guard
    while (inner_begin < inner_end &&
           axis_leaves_input(columns, inner_begin * width, inner_begin * width + width - 1))
        inner_begin++;
    while (inner_end > inner_begin &&
           axis_leaves_input(columns, (inner_end - 1) * width, inner_end * width - 1))
        inner_end--;

    for (int64_t tile = 0; tile < full + (rest > 0); tile++) {
        place.columns = tile < full ? width : rest;
        if (tile == inner_begin && inner_end - inner_begin > 1) {
            LoopStmt *loop = loop_for(kernel, body, LOOP_SERIAL, "tile",
                                      index_int(conv, inner_begin), index_int(conv, inner_end), 1);
            place.column = x_mul(kernel, loop_var(kernel, loop), width);
            place.guard_columns = false;
            emit_tile(conv, rows, columns, place, &loop->body);
            tile = inner_end - 1;
            continue;
        }
        int64_t first = tile * width;
        place.column = index_int(conv, first);
        place.guard_columns = axis_leaves_input(columns, first, first + place.columns - 1);
        emit_tile(conv, rows, columns, place, body);
    }
}

/// All pixels of one grid, for grid rows [row_begin, row_end).
static void emit_grid(const TapConv *conv, const TapAxis *rows, const TapAxis *columns,
                      TilePlace place, LoopBody *body, LoopExpr *row_begin, LoopExpr *row_end) {
    LoopKernel *kernel = conv->io->kernel;
    if (conv->wide_rows > 1) { // small maps: every row of tiles with constant rows
        for (int64_t row = 0; row < rows->grid; row += place.rows) {
            int64_t first = row / conv->wide_rows * conv->wide_rows; // of the wide tile
            int64_t end = int_min(first + conv->wide_rows, rows->grid);
            place.channels_first = end - first > 1;
            place.rows = int_min(conv->tile_rows, end - row);
            place.row = index_int(conv, row);
            place.guard_rows =
                place.channels_first && axis_leaves_input(rows, row, row + place.rows - 1);
            emit_row(conv, rows, columns, place, body);
        }
        return;
    }
    LoopStmt *loop = loop_for(kernel, body, LOOP_SERIAL, "row", row_begin, row_end, 1);
    place.rows = 1;
    place.row = loop_var(kernel, loop);
    place.guard_rows = false; // the tap loop's bounds see to it
    emit_row(conv, rows, columns, place, &loop->body);
}

/// A loop over the turns of the axis, if it has several; the body for what comes inside.
static LoopBody *loop_turns(const TapConv *conv, TapAxis *axis, LoopBody *body, const char *name) {
    if (axis->repeats == 1)
        return body;
    LoopKernel *kernel = conv->io->kernel;
    LoopStmt *loop = loop_for(kernel, body, LOOP_SERIAL, name, index_int(conv, 0),
                              index_int(conv, axis->repeats), 1);
    axis->turn = loop_var(kernel, loop);
    return &loop->body;
}

/// Cycles a row of the grid takes with tiles of `vectors` by `columns`, per vector, by the two
/// limits of the core: one multiply-add and about one and a half loads each cycle. Below `least`
/// sums the latency of the multiply-add shows; what a tap takes besides is `overhead`.
static double row_cost(int64_t grid, int64_t vectors, int64_t columns, double least,
                       double overhead) {
    double cycles = 0;
    for (int64_t left = grid; left > 0; left -= columns) {
        int64_t n = int_min(left, columns);
        double adds = (double)(vectors * n), loads = (double)(vectors + n) / 1.5;
        if (adds < least)
            adds = least;
        cycles += (adds > loads ? adds : loads) + overhead;
    }
    return cycles / (double)vectors;
}

typedef struct TileSize {
    int64_t vectors, columns, rows;
} TileSize;

/// The cheapest tile of those that fit so many registers.
static TileSize tile_for(const TapConv *conv, const TapAxis *rows, const TapAxis *columns,
                         int64_t registers) {
    TileSize tile = {.rows = 1};
    TileIO io = {.registers = registers};
    double best = 1e30, least = (double)int_min(8, registers / 2);
    double overhead = tile_is_tight(&io) ? 1.0 : 0.5;
    int64_t sums_max = tile_sums(&io);
    int64_t unrolled = conv->lane_group ? conv->lane_group : 1; // channels in the innermost body
    for (int64_t vectors = 1; vectors <= (conv->lane_group ? 1 : 4); vectors++) {
        if (conv->vectors % vectors)
            continue;
        for (int64_t width = 1; width <= 16 && width <= columns->grid; width++) {
            int64_t tiles = ceil_div(columns->grid, width);
            int64_t body = vectors * width * columns->taps * unrolled;
            bool fits = vectors * width <= sums_max && vectors * (width + 1) < registers;
            if ((vectors * width > 1 && !fits) || (width > 1 && body > TILE_BODY_MAX))
                continue;
            double cost = row_cost(columns->grid, vectors, width, least, overhead);
            cost += 0.01 * (double)tiles;
            if (cost < best - 1e-9) {
                best = cost;
                tile.vectors = vectors;
                tile.columns = width;
            }
        }
    }
    // Small maps: several rows in a tile, everything unrolled.
    int64_t sums = tile.vectors * tile.columns;
    if (tile.columns == columns->grid && sums < sums_max / 2 && rows->grid <= 8 && rows->taps > 0) {
        int64_t most = sums_max / sums;
        int64_t bodies = sums * rows->taps * columns->taps * unrolled;
        if (bodies > 0 && most > TILE_BODY_MAX / bodies)
            most = TILE_BODY_MAX / bodies;
        if (most > rows->grid)
            most = rows->grid;
        if (most > 1)
            tile.rows = ceil_div(rows->grid, ceil_div(rows->grid, most));
    }
    return tile;
}

/// Where a wide tile, of AVX-512's registers, has several rows, channels are summed outside of the
/// taps; so they are for these rows by smaller tiles, or machines would differ in the last bits.
static void choose_tile(TapConv *conv, const TapAxis *rows, const TapAxis *columns) {
    TileSize tile = tile_for(conv, rows, columns, conv->io->registers);
    conv->tile_vectors = tile.vectors;
    conv->tile_columns = tile.columns;
    conv->wide_rows = tile_for(conv, rows, columns, WIDE_REGISTERS).rows;
    conv->tile_rows = int_min(tile.rows, conv->wide_rows);
}

/// Panels cost a copy, so it must be read several times; and where the weights are larger than the
/// images, and these stay in the third-level cache, it is those that are best read once.
static bool wants_panel(const TapConv *conv, const TapAxis *rows, const TapAxis *columns,
                        int64_t weight_bytes) {
    int64_t image_bytes = conv->batch * conv->reduced * rows->grid * columns->grid *
                          (int64_t)scalar_size_bytes(conv->type);
    bool is_long = image_bytes >= 2 * weight_bytes || image_bytes >= PANEL_IMAGE_BYTES;
    bool is_pointwise = rows->taps == 1 && columns->taps == 1 && rows->repeats == 1 &&
                        columns->repeats == 1 && !axis_leaves_input(rows, 0, rows->grid - 1) &&
                        !axis_leaves_input(columns, 0, columns->grid - 1);
    return is_pointwise && conv->groups == 1 && !conv->lane_group && !conv->packed &&
           conv->reduced_block == TILE_BLOCK && conv->reduced >= PANEL_CHANNELS &&
           conv->vectors > conv->tile_vectors && is_long;
}

/// As emit_tap_conv(), from panels: a task is an image, or some of its rows where there is one grid.
/// 0: they would be too large, or too few.
static int64_t emit_panel_conv(TapConv *conv, const TapAxis *rows, const TapAxis *columns,
                               size_t count, size_t main_grid, int64_t weight_bytes) {
    LoopKernel *kernel = conv->io->kernel;
    const TapAxis *main_rows = &rows[main_grid], *main_columns = &columns[main_grid];
    int64_t row_bytes =
        conv->reduced * main_columns->grid * (int64_t)scalar_size_bytes(conv->type);
    int64_t part_rows = main_rows->grid;
    if (count == 1 && conv->wide_rows == 1) {
        part_rows = int_min(part_rows, ceil_div(PANEL_PIXELS, main_columns->grid));
        part_rows = int_min(part_rows, PANEL_BYTES_MAX / row_bytes);
    }
    if (!part_rows || part_rows * row_bytes > PANEL_BYTES_MAX)
        return 0;
    int64_t row_parts = ceil_div(main_rows->grid, part_rows);
    int64_t elements = conv->reduced * part_rows * main_columns->grid;
    // Weights that do not fit the cache are walked in shares, outermost, with a panel for each.
    int64_t tiles = conv->vectors / conv->tile_vectors, shares = 1;
    while (shares < tiles && (tiles % shares || weight_bytes / shares > PANEL_WEIGHT_BYTES))
        shares++;
    int64_t tasks = shares * conv->batch * row_parts;
    if (tasks < PANEL_TASKS)
        return 0;
    conv->panel_rows = part_rows;
    conv->panel_columns = main_columns->grid;
    conv->panel = 1 + loop_buffer(kernel, "panel", conv->type, BUFFER_SCRATCH, elements);

    LoopStmt *loop = loop_for(kernel, &kernel->body, LOOP_PARALLEL, "task", index_int(conv, 0),
                              index_int(conv, tasks), 1);
    LoopExpr *task = loop_var(kernel, loop);
    LoopExpr *share = loop_let(kernel, &loop->body, "share",
                               x_div(kernel, task, conv->batch * row_parts));
    LoopExpr *next = x2(kernel, X_min, plus(conv, task, 1), index_int(conv, tasks - 1));
    next = loop_let(kernel, &loop->body, "next", x_mod(kernel, next, conv->batch * row_parts));
    conv->next_image = loop_let(kernel, &loop->body, "next_n", x_div(kernel, next, row_parts));
    conv->next_first = loop_let(kernel, &loop->body, "next_row",
                                x_mul(kernel, x_mod(kernel, next, row_parts), part_rows));
    task = x_mod(kernel, task, conv->batch * row_parts);
    TilePlace place = {.vectors = conv->tile_vectors, .group = index_int(conv, 0)};
    LoopExpr *part = loop_let(kernel, &loop->body, "part", x_mod(kernel, task, row_parts));
    place.image = loop_let(kernel, &loop->body, "n", x_div(kernel, task, row_parts));
    LoopExpr *begin = x_mul(kernel, part, part_rows), *end = plus(conv, begin, part_rows);
    if (main_rows->grid % part_rows)
        end = loop_let(kernel, &loop->body, "row_end",
                       x2(kernel, X_min, end, index_int(conv, main_rows->grid)));
    conv->panel_first = begin;
    emit_panel(conv, main_rows, main_columns, place.image, &loop->body, begin, end);
    LoopStmt *vectors = loop_for(kernel, &loop->body, LOOP_SERIAL, "vt", index_int(conv, 0),
                                 index_int(conv, tiles / shares), 1);
    conv->share_tile = loop_var(kernel, vectors);
    conv->share_tiles = tiles / shares;
    LoopExpr *tile =
        x_add(kernel, x_mul(kernel, share, tiles / shares), loop_var(kernel, vectors));
    place.vector = x_mul(kernel, tile, conv->tile_vectors);
    for (size_t i = 0; i < count; i++) {
        TapAxis axis[2] = {rows[i], columns[i]};
        LoopBody *inner = loop_turns(conv, &axis[0], &vectors->body, "kr");
        inner = loop_turns(conv, &axis[1], inner, "kc");
        LoopExpr *first = i == main_grid ? begin : index_int(conv, 0);
        LoopExpr *last = i == main_grid ? end : index_int(conv, rows[i].grid);
        emit_grid(conv, &axis[0], &axis[1], place, inner, first, last);
    }
    return tasks;
}

/// Writes the kernel for `count` grids that share batch, channels and tile; returns its iterations.
static int64_t emit_tap_conv(TapConv *conv, const TapAxis *rows, const TapAxis *columns,
                             size_t count, int64_t weight_bytes) {
    const TileIO *io = conv->io;
    LoopKernel *kernel = io->kernel;
    size_t main_grid = 0; // the tile is chosen for the grid with most taps
    for (size_t i = 1; i < count; i++) {
        if (rows[i].taps * columns[i].taps > rows[main_grid].taps * columns[main_grid].taps)
            main_grid = i;
    }
    choose_tile(conv, &rows[main_grid], &columns[main_grid]);
    if (wants_panel(conv, &rows[main_grid], &columns[main_grid], weight_bytes)) {
        int64_t tasks = emit_panel_conv(conv, rows, columns, count, main_grid, weight_bytes);
        if (tasks)
            return tasks;
    }

    int64_t vector_tiles = conv->vectors / conv->tile_vectors * conv->groups;
    int64_t task_images = 1; // several where weights are packed for them
    if (conv->packed)
        task_images = ceil_div(conv->batch, ceil_div(TASKS_WANTED, vector_tiles));
    int64_t image_parts = ceil_div(conv->batch, task_images);
    int64_t tasks = image_parts * vector_tiles;
    int64_t row_parts = 1; // few images: share out rows as well
    if (conv->wide_rows == 1 && count == 1 && tasks < TASKS_WANTED && !conv->packed)
        row_parts = int_min(ceil_div(TASKS_WANTED, tasks), rows[0].grid);
    int64_t part_rows = ceil_div(rows[0].grid, row_parts);
    row_parts = ceil_div(rows[0].grid, part_rows);
    tasks *= row_parts;

    LoopStmt *loop = loop_for(kernel, &kernel->body, LOOP_PARALLEL, "task", index_int(conv, 0),
                              index_int(conv, tasks), 1);
    LoopExpr *task = loop_var(kernel, loop);
    LoopExpr *part = index_int(conv, 0);
    if (row_parts > 1) {
        part = loop_let(kernel, &loop->body, "part", x_mod(kernel, task, row_parts));
        task = loop_let(kernel, &loop->body, "rest", x_div(kernel, task, row_parts));
    }
    // Weights that fit the second-level cache stay there while an image is done; larger ones are
    // walked once, all images for each slice.
    TilePlace place = {0};
    LoopExpr *vector_tile;
    if (weight_bytes <= 256 * 1024) {
        place.image = loop_let(kernel, &loop->body, "n", x_div(kernel, task, vector_tiles));
        vector_tile = loop_let(kernel, &loop->body, "vt", x_mod(kernel, task, vector_tiles));
    } else {
        place.image = loop_let(kernel, &loop->body, "n", x_mod(kernel, task, image_parts));
        vector_tile = loop_let(kernel, &loop->body, "vt", x_div(kernel, task, image_parts));
    }
    int64_t group_tiles = conv->vectors / conv->tile_vectors;
    place.group = conv->groups == 1 ? index_int(conv, 0) : x_div(kernel, vector_tile, group_tiles);
    place.vector =
        x_mul(kernel, conv->groups == 1 ? vector_tile : x_mod(kernel, vector_tile, group_tiles),
              conv->tile_vectors);
    place.vectors = conv->tile_vectors;
    LoopExpr *row_begin = x_mul(kernel, part, part_rows);
    LoopBody *body = &loop->body;
    if (conv->packed) {
        emit_pack(conv, body, place.vector);
        LoopExpr *first = x_mul(kernel, place.image, task_images);
        LoopExpr *last =
            x2(kernel, X_min, plus(conv, first, task_images), index_int(conv, conv->batch));
        LoopStmt *images = loop_for(kernel, body, LOOP_SERIAL, "image", first, last, 1);
        place.image = loop_var(kernel, images);
        body = &images->body;
    }
    for (size_t i = 0; i < count; i++) {
        LoopExpr *row_end = index_int(conv, rows[i].grid);
        if (row_parts > 1)
            row_end = loop_let(kernel, body, "row_end",
                               x2(kernel, X_min, plus(conv, row_begin, part_rows), row_end));
        TapAxis axis[2] = {rows[i], columns[i]};
        LoopBody *inner = loop_turns(conv, &axis[0], body, "kr");
        inner = loop_turns(conv, &axis[1], inner, "kc");
        emit_grid(conv, &axis[0], &axis[1], place, inner, row_begin, row_end);
    }
    return tasks;
}

int64_t conv_small_groups(const ConvShape *shape) {
    int64_t width = shape->channels / shape->groups;
    bool same = shape->filters == shape->channels && shape->channels % TILE_BLOCK == 0;
    return same && width < TILE_BLOCK && TILE_BLOCK % width == 0 ? width : 0;
}

/// The convolution whose output has `vectored` channels and whose sums run over `summed` ones.
static TapConv tap_conv(const TileIO *io, const ConvShape *shape, int64_t vectored,
                        int64_t summed) {
    int64_t small = conv_small_groups(shape), groups = small ? 1 : shape->groups;
    int64_t reduced = summed / shape->groups;
    return (TapConv){.io = io,
                     .batch = shape->batch,
                     .groups = groups,
                     .vectors = vectored / groups / TILE_BLOCK,
                     .reduced = reduced,
                     .live = shape->live ? shape->live : reduced,
                     .reduced_block = reduced % TILE_BLOCK ? reduced : TILE_BLOCK,
                     .lane_group = small,
                     .kernel = {shape->kernel[0], shape->kernel[1]},
                     .type = shape->type};
}

int64_t tile_conv2d(const TileIO *io, const ConvShape *shape) {
    if (shape->filters / shape->groups % TILE_BLOCK && !conv_small_groups(shape))
        return 0;
    TileFold fold;
    if (tile_fold(io, shape, false, &fold)) {
        io = &fold.io;
        shape = &fold.shape;
    }
    TapConv conv = tap_conv(io, shape, shape->filters, shape->channels);
    TapAxis axis[2];
    for (int i = 0; i < 2; i++)
        axis[i] = (TapAxis){
            .grid = i ? shape->out_width : shape->out_height,
            .out_step = 1,
            .step = shape->stride[i],
            .offset = -shape->padding[i],
            .advance = shape->dilation[i],
            .taps = shape->kernel[i],
            .kernel_step = 1,
            .extent = i ? shape->width : shape->height,
            .repeats = 1,
        };
    int64_t weight_bytes = shape->filters * conv.reduced * shape->kernel[0] * shape->kernel[1] *
                           (int64_t)scalar_size_bytes(shape->type);
    return emit_tap_conv(&conv, &axis[0], &axis[1], 1, weight_bytes);
}

/// The grid of input positions congruent to `remainder` modulo the stride, and the taps that meet
/// it: h = i * s + remainder; kh with (h + padding - kh * dilation) divisible by s.
static TapAxis adjoint_axis(const ConvShape *shape, int i, int64_t remainder) {
    int64_t s = shape->stride[i], dilation = shape->dilation[i];
    int64_t extent = i ? shape->width : shape->height;
    TapAxis axis = {.grid = remainder < extent ? ceil_div(extent - remainder, s) : 0,
                    .out_step = s,
                    .out_offset = remainder,
                    .step = 1,
                    .extent = i ? shape->out_width : shape->out_height,
                    .repeats = 1};
    int64_t first = -1, second = -1;
    for (int64_t k = 0; k < shape->kernel[i]; k++) {
        if ((remainder + shape->padding[i] - k * dilation) % s)
            continue;
        axis.taps++;
        if (first < 0)
            first = k;
        else if (second < 0)
            second = k;
    }
    axis.kernel_first = first < 0 ? 0 : first;
    axis.kernel_step = second < 0 ? 1 : second - first;
    if (first >= 0) {
        axis.offset = (remainder + shape->padding[i] - first * dilation) / s; // exact division
        axis.advance = -(axis.kernel_step * dilation) / s;
        if (axis.taps == 1)
            axis.advance = -1; // any: there is no second tap
    }
    return axis;
}

/// Whether `next` is `axis` one remainder further on.
static bool is_next_turn(const TapAxis *axis, const TapAxis *next) {
    bool same_taps = !axis->taps || (next->kernel_first == axis->kernel_first + axis->repeats &&
                                     next->offset == axis->offset &&
                                     next->advance == axis->advance &&
                                     next->kernel_step == axis->kernel_step);
    return next->grid == axis->grid && next->taps == axis->taps && same_taps;
}

enum {
    AXIS_GRIDS_MAX = 8, // of one axis
    GRIDS_MAX = 16,
};

/// The grids of one axis, a run of like ones as turns of one; 0 if they are more than
/// AXIS_GRIDS_MAX.
static size_t adjoint_axes(const ConvShape *shape, int i, TapAxis *axes) {
    size_t count = 0;
    for (int64_t remainder = 0; remainder < shape->stride[i]; remainder++) {
        TapAxis axis = adjoint_axis(shape, i, remainder);
        if (axis.grid == 0)
            break;
        if (count && is_next_turn(&axes[count - 1], &axis)) {
            axes[count - 1].repeats++;
            continue;
        }
        if (count == AXIS_GRIDS_MAX)
            return 0;
        axes[count++] = axis;
    }
    return count;
}

int64_t tile_conv2d_input(const TileIO *io, const ConvShape *shape) {
    int64_t group_channels = shape->channels / shape->groups;
    TileFold fold;
    if (tile_fold(io, shape, false, &fold)) {
        io = &fold.io;
        shape = &fold.shape;
    }
    TapAxis axes[2][AXIS_GRIDS_MAX];
    size_t rows_count = adjoint_axes(shape, 0, axes[0]);
    size_t columns_count = adjoint_axes(shape, 1, axes[1]);
    size_t count = rows_count * columns_count;
    if ((group_channels % TILE_BLOCK && !conv_small_groups(shape)) || !count || count > GRIDS_MAX)
        return 0;
    TapConv conv = tap_conv(io, shape, shape->channels, shape->filters);
    conv.adjoint = true;
    if (conv.lane_group > 1)
        conv.packed =
            1 + loop_buffer(io->kernel, "packed", shape->type, BUFFER_SCRATCH,
                            conv.lane_group * shape->kernel[0] * shape->kernel[1] * TILE_BLOCK);
    TapAxis rows[GRIDS_MAX], columns[GRIDS_MAX];
    for (size_t k = 0; k < count; k++) {
        rows[k] = axes[0][k / columns_count];
        columns[k] = axes[1][k % columns_count];
    }
    int64_t weight_bytes = shape->filters * group_channels * shape->kernel[0] * shape->kernel[1] *
                           (int64_t)scalar_size_bytes(shape->type);
    return emit_tap_conv(&conv, rows, columns, count, weight_bytes);
}
