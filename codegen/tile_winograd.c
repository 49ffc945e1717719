// codegen/tile_winograd.c -- convolution by F(4x4, 3x3), forward and by its kernel.
//
// A task takes a chunk of pieces (the 4x4 squares of the result with the 6x6 ones of the image they
// need) through three stages in scratch that fits the second-level cache:
//
//     image   for each piece and block of channels: B^T x B        -> V [36, pieces, channels]
//     product for each of the 36 points: V by the kernel           -> M [36, pieces, filters]
//     result  for each piece and block of filters: A^T M A, then the epilogue
//
// so that nothing between the stages goes to memory. By its kernel, a task takes a block of
// channels by filters and runs the chunks of its part of the batch by: both images are transformed,
// and the products of each point are added to sums that stay in the second-level cache.
//
// While products run, memory would rest: they ask for the lines that the next chunk's image and this
// one's result lie in, a few in front of each tile.
//
// Outside the image a masked pixel from inside stands for zero; where an image has only few pieces
// they are unrolled and the masks fold away.
#include "codegen/tile_winograd.h"

enum {
    WIDE_SUMS = 16,          // of a tile of a kernel's gradient, where registers are many,
    NARROW_SUMS = 4,         // and where they are few: both divide a block
    CHUNK = 16,              // pieces of a chunk
    SHORT_CHUNK = 8,         // where the stages of one then fit the first-level cache
    SHORT_CHANNELS = 32,     // channels and filters for which they do
    UNROLLED_PIECES = 4,     // of an image that are written out one by one
    UNROLLED_PRODUCTS = 128, // of a tile, all channels, that are written out
    TASKS_WANTED = 16,       // iterations of the parallel loop
    FEWEST_FILTERS = 64,     // of a task, where filters are shared out
};

/// How a batch is cut into chunks of pieces.
typedef struct Pieces {
    const TileIO *io;
    const ConvShape *shape;
    int64_t rows, columns;     // of an image
    int64_t images, part_rows; // of a chunk
    int64_t row_chunks;        // of an image
    int64_t count;             // pieces in a chunk
    bool unrolled;
} Pieces;

/// Where a chunk begins and how much of it there is.
typedef struct Chunk {
    LoopExpr *image, *row, *image_count, *row_count;
} Chunk;

/// A piece and a block of channels; the statements for it go to `body`.
typedef struct Place {
    LoopBody *body;
    LoopExpr *image, *row, *column; // of pieces
    LoopExpr *number;               // in its chunk
    LoopExpr *block;
} Place;

// ---- pieces
// ---------------------------------------------------------------------------------------

static Pieces cut(const TileIO *io, const ConvShape *shape, int64_t wanted) {
    Pieces p = {.io = io,
                .shape = shape,
                .rows = winograd_pieces(shape->out_height),
                .columns = winograd_pieces(shape->out_width),
                .images = 1};
    p.part_rows = int_min(p.rows, int_max(1, wanted / p.columns));
    if (p.rows * p.columns < wanted) {
        p.images = int_min(shape->batch, wanted / (p.rows * p.columns));
        p.part_rows = p.rows;
    }
    p.row_chunks = ceil_div(p.rows, p.part_rows);
    p.count = p.images * p.part_rows * p.columns;
    p.unrolled = p.part_rows == p.rows && p.rows * p.columns <= UNROLLED_PIECES;
    return p;
}

/// Chunk `number` of the images [begin, end).
static Chunk chunk_at(const Pieces *p, LoopBody *body, LoopExpr *number, LoopExpr *begin,
                      LoopExpr *end, bool whole) {
    LoopKernel *kernel = p->io->kernel;
    Chunk chunk = {.image_count = x_int(kernel, p->images),
                   .row_count = x_int(kernel, p->part_rows)};
    LoopExpr *image = p->row_chunks > 1 ? x_div(kernel, number, p->row_chunks) : number;
    chunk.image =
        loop_let(kernel, body, "image", x_add(kernel, begin, x_mul(kernel, image, p->images)));
    chunk.row = x_int(kernel, 0);
    if (p->row_chunks > 1) {
        LoopExpr *part = loop_let(kernel, body, "part", x_mod(kernel, number, p->row_chunks));
        chunk.row = x_mul(kernel, part, p->part_rows);
    }
    if (!whole) {
        LoopExpr *left = x_sub(kernel, end, chunk.image);
        chunk.image_count =
            loop_let(kernel, body, "images", x2(kernel, X_min, left, chunk.image_count));
    }
    if (p->rows % p->part_rows) {
        LoopExpr *left = x_sub(kernel, x_int(kernel, p->rows), chunk.row);
        chunk.row_count = loop_let(kernel, body, "rows", x2(kernel, X_min, left, chunk.row_count));
    }
    return chunk;
}

/// All pieces of the chunk, for each of `blocks` blocks of channels.
static Place over_pieces(const Pieces *p, const Chunk *chunk, LoopBody *body, int64_t blocks) {
    LoopKernel *kernel = p->io->kernel;
    LoopKind kind = p->unrolled ? LOOP_UNROLL : LOOP_SERIAL;
    Place place;
    LoopExpr *image = winograd_over(kernel, &body, LOOP_SERIAL, "n", chunk->image_count);
    place.block = winograd_over(kernel, &body, LOOP_SERIAL, "block", x_int(kernel, blocks));
    LoopExpr *row = winograd_over(kernel, &body, kind, "row", chunk->row_count);
    place.column = winograd_over(kernel, &body, kind, "column", x_int(kernel, p->columns));
    place.image = x_add(kernel, chunk->image, image);
    place.row = x_add(kernel, chunk->row, row);
    LoopExpr *line = x_add(kernel, x_mul(kernel, image, p->part_rows), row);
    place.number = x_add(kernel, x_mul(kernel, line, p->columns), place.column);
    place.body = body;
    return place;
}

/// A square of an image, as the transforms read it.
typedef struct Square {
    int which;          // operand
    int size;           // pixels along a side
    int64_t extent[2];  // of the image
    int64_t padding[2]; // pixels before it
    const WinogradMatrix *matrix;
    bool transposed;
} Square;

/// The first row or column of the square at a piece.
static LoopExpr *corner(const Pieces *p, const Square *square, const Place *place, int axis) {
    LoopKernel *kernel = p->io->kernel;
    return x_offset(kernel, x_mul(kernel, axis ? place->column : place->row, TILE),
                    -square->padding[axis]);
}

/// Elements from one point to the next in scratch [36, pieces, channels]: a line of the cache more
/// than there are, since the 36 lines of a piece would else fall into the same few sets.
static int64_t point_stride(const Pieces *p, int64_t channels) {
    return p->count * channels + TILE_BLOCK;
}

static LoopExpr *scratch_at(const Pieces *p, LoopExpr *point, LoopExpr *piece, int64_t channels,
                            LoopExpr *channel) {
    LoopKernel *kernel = p->io->kernel;
    LoopExpr *line = x_add(kernel, x_mul(kernel, point, point_stride(p, channels)),
                           x_mul(kernel, piece, channels));
    return x_add(kernel, line, channel);
}

static uint32_t scratch_of(const Pieces *p, const char *name, int64_t channels) {
    return loop_buffer(p->io->kernel, name, p->shape->type, BUFFER_SCRATCH,
                       POINTS * point_stride(p, channels));
}

static bool is_true(const LoopExpr *condition) {
    return condition->kind == E_CONST && condition->integer;
}

/// Row or column `i` of the square along an axis, moved inside the image; *inside tells whether it
/// was there.
static LoopExpr *line_of(const Pieces *p, const Square *square, const Place *place, int axis, int i,
                         LoopExpr **inside) {
    LoopKernel *kernel = p->io->kernel;
    LoopExpr *line = x_offset(kernel, corner(p, square, place, axis), i);
    int64_t last = square->extent[axis] - 1;
    *inside = x_inside(kernel, line, 0, square->extent[axis]);
    if (is_true(*inside))
        return line;
    line = x2(kernel, X_min, x2(kernel, X_max, line, x_int(kernel, 0)), x_int(kernel, last));
    *inside = loop_let(kernel, place->body, "inside", *inside);
    return loop_let(kernel, place->body, axis ? "column" : "row", line);
}

/// Reads and transforms the square of one piece for 16 channels, from `block` blocks on, and
/// stores its points in scratch [36, pieces, channels]. Pixels outside the image are zero: one
/// inside is read in their place, and a mask drops it.
static void transform_square(const Pieces *p, const Square *square, const Place *place,
                             LoopExpr *first_channel, uint32_t scratch, int64_t channels) {
    LoopKernel *kernel = p->io->kernel;
    LoopExpr *x[PIECE], *half[PIECE * PIECE], *y[PIECE];
    LoopExpr *line[2][PIECE], *inside[2][PIECE];
    for (int axis = 0; axis < 2; axis++) {
        for (int i = 0; i < square->size; i++)
            line[axis][i] = line_of(p, square, place, axis, i, &inside[axis][i]);
    }
    LoopStmt *lanes = tile_lanes(p->io, place->body, true);
    LoopBody *body = &lanes->body;
    LoopExpr *in_task =
        x_add(kernel, x_mul(kernel, place->block, TILE_BLOCK), loop_var(kernel, lanes));
    LoopExpr *channel = x_add(kernel, first_channel, in_task);
    Transform t = {kernel, body, p->shape->type};
    LoopExpr *zero = x_real(kernel, 0.0, t.type);
    Matrix m = winograd_matrix(square->matrix, square->transposed);
    for (int k = 0; k < square->size; k++) { // each column is used up when the next is read
        for (int i = 0; i < square->size; i++) {
            LoopExpr *index[4] = {place->image, channel, line[0][i], line[1][k]};
            LoopExpr *pixel = p->io->read(p->io->user, body, square->which, index);
            LoopExpr *known = x_and(kernel, inside[0][i], inside[1][k]);
            pixel = loop_let(kernel, body, "x", pixel);
            if (!is_true(known))
                pixel = loop_let(kernel, body, "x", x3(kernel, X_select, known, pixel, zero));
            x[i] = pixel;
        }
        winograd_apply(&t, &m, x, half + k, 1, PIECE);
    }
    for (int i = 0; i < m.rows; i++) {
        winograd_apply(&t, &m, half + i * PIECE, y, 1, 1);
        for (int k = 0; k < m.rows; k++) {
            LoopExpr *point = x_int(kernel, i * PIECE + k);
            LoopExpr *at = scratch_at(p, point, place->number, channels, in_task);
            loop_store(kernel, body, scratch, at, y[k]);
        }
    }
}

/// The image stage.
static void emit_image(const Pieces *p, const Square *square, const Chunk *chunk, LoopBody *body,
                       LoopExpr *first_channel, uint32_t scratch, int64_t channels) {
    Place place = over_pieces(p, chunk, body, channels / TILE_BLOCK);
    transform_square(p, square, &place, first_channel, scratch, channels);
}

static Square image_square(const ConvShape *shape) {
    return (Square){.which = 0,
                    .size = PIECE,
                    .extent = {shape->height, shape->width},
                    .padding = {shape->padding[0], shape->padding[1]},
                    .matrix = &winograd_image};
}

/// The pieces of the result, or of its cotangent.
static Square result_square(const ConvShape *shape) {
    return (Square){.which = 1,
                    .size = TILE,
                    .extent = {shape->out_height, shape->out_width},
                    .matrix = &winograd_result,
                    .transposed = true};
}

/// Asks, in turn `turn` of `turns`, for some lines of what the squares of a chunk read, or of what
/// the result of it will be (a square of size TILE at forward): memory works while products do.
static void emit_ahead(const Pieces *p, const Square *square, const Chunk *chunk, LoopBody *body,
                       LoopExpr *first_channel, int64_t channels, LoopExpr *turn, int64_t turns,
                       bool is_store) {
    const TileIO *io = p->io;
    LoopKernel *kernel = io->kernel;
    bool whole = p->row_chunks == 1;
    int64_t rows = whole ? square->extent[0] : p->part_rows * TILE, width = square->extent[1];
    int64_t blocks = channels / TILE_BLOCK, lines = p->images * blocks * rows * width;
    int64_t each = ceil_div(lines, turns); // a divisor of the width, or some whole rows
    if (each > width)
        each = ceil_div(each, width) * width;
    while (each < width && width % each)
        each++;
    LoopBody *inner = &loop_prefetch(kernel, body)->body;
    LoopExpr *first = x_mul(kernel, turn, each);
    if (each * turns > lines)
        inner = &loop_if(kernel, inner, x2(kernel, X_lt, first, x_int(kernel, lines)))->body;
    LoopExpr *line_count = x_int(kernel, ceil_div(each, width));
    LoopExpr *line = winograd_over(kernel, &inner, LOOP_SERIAL, "line", line_count);
    line = x_add(kernel, x_div(kernel, first, width), line);
    line = loop_let(kernel, inner, "line", line);
    LoopExpr *left = x_div(kernel, line, rows), *image = x_div(kernel, left, blocks);
    image = x2(kernel, X_min, x_add(kernel, chunk->image, image),
               x_int(kernel, p->shape->batch - 1));
    image = loop_let(kernel, inner, "image", image);
    LoopExpr *block = loop_let(kernel, inner, "block", x_mod(kernel, left, blocks));
    LoopExpr *row = x_mod(kernel, line, rows);
    if (!whole) {
        int64_t overlap = square->size - TILE - square->padding[0];
        row = x_add(kernel, x_mul(kernel, chunk->row, TILE), x_offset(kernel, row, overlap));
        row = x2(kernel, X_min, x2(kernel, X_max, row, x_int(kernel, 0)),
                 x_int(kernel, square->extent[0] - 1));
    }
    row = loop_let(kernel, inner, "row", row);
    LoopExpr *column = x_int(kernel, 0);
    if (each < width)
        column = loop_let(kernel, inner, "column", x_mod(kernel, first, width));
    LoopExpr *steps = x_int(kernel, int_min(each, width));
    LoopExpr *step = winograd_over(kernel, &inner, LOOP_SERIAL, "step", steps);
    LoopStmt *lanes = tile_lanes(io, inner, false);
    inner = &lanes->body;
    LoopExpr *channel = x_add(kernel, x_mul(kernel, block, TILE_BLOCK), loop_var(kernel, lanes));
    LoopExpr *index[4] = {image, x_add(kernel, first_channel, channel), row,
                          x_add(kernel, column, step)};
    if (is_store)
        io->store(io->user, inner, index, x_real(kernel, 0.0, p->shape->type));
    else
        loop_let(kernel, inner, "ahead", io->read(io->user, inner, square->which, index));
    loop_prefetch_end(kernel);
}

// ---- forward
// --------------------------------------------------------------------------------------

typedef struct Forward {
    Pieces p;
    uint32_t image, product;   // scratch: V, M
    int64_t channels, filters; // channels of a group, filters of a task
    int64_t vectors;           // blocks of filters in a tile
    LoopExpr *first_channel;   // of the task's group
    LoopExpr *first_block;     // of the task's filters
} Forward;

/// The sums of `count` pieces from `first` by the blocks of filters from `block`, at one point.
static void emit_product_tile(const Forward *f, LoopBody *body, LoopExpr *point, LoopExpr *block,
                              LoopExpr *first, int64_t count) {
    const TileIO *io = f->p.io;
    LoopKernel *kernel = io->kernel;
    ScalarType type = f->p.shape->type;
    LoopStmt *lanes = tile_lanes(io, body, false);
    LoopExpr *lane = loop_var(kernel, lanes), *at[2];
    LoopBody *inner = &lanes->body;
    int64_t dim[2] = {f->vectors, count};
    uint32_t sums = loop_local(kernel, inner, "sum", type, dim, 2);
    for (int pass = 0; pass < 3; pass++) {                                   // clear, sum, store
        LoopBody *nest = inner, *each = NULL; // of a channel
        LoopExpr *channel = NULL, *x = NULL;
        uint32_t weight = 0;
        if (pass == 1) {
            bool is_short = f->channels * f->vectors * count <= UNROLLED_PRODUCTS;
            LoopExpr *channels = x_int(kernel, f->channels);
            channel = is_short ? winograd_over(kernel, &nest, LOOP_UNROLL, "c", channels)
                               : tile_turns(io, &nest, "c", channels);
            each = nest;
            weight = loop_local(kernel, nest, "w", type, dim, 1);
            LoopBody *load = nest;
            LoopExpr *v = winograd_over(kernel, &load, LOOP_UNROLL, "v", x_int(kernel, f->vectors));
            LoopExpr *u = x_add(kernel, f->first_block, x_add(kernel, block, v));
            LoopExpr *index[4] = {point, u, channel, lane};
            loop_set(kernel, load, weight, &v, 1, io->read(io->user, load, 1, index));
        }
        at[1] = winograd_over(kernel, &nest, LOOP_UNROLL, "p", x_int(kernel, count));
        LoopExpr *piece = x_add(kernel, first, at[1]);
        if (pass == 1) {
            LoopExpr *from = scratch_at(&f->p, point, piece, f->channels, channel);
            x = loop_let(kernel, nest, "x", x_load(kernel, f->image, from));
        }
        at[0] = winograd_over(kernel, &nest, LOOP_UNROLL, "v", x_int(kernel, f->vectors));
        LoopExpr *sum = x_local(kernel, sums, at, 2);
        if (pass == 0) {
            loop_set(kernel, nest, sums, at, 2, x_real(kernel, 0.0, type));
        } else if (pass == 1) {
            LoopExpr *w = x_local(kernel, weight, at, 1);
            loop_set(kernel, nest, sums, at, 2, x3(kernel, X_fma, w, x, sum));
            if (tile_is_tight(io))
                loop_reload(kernel, each);
        } else {
            LoopExpr *filter = x_mul(kernel, x_add(kernel, block, at[0]), TILE_BLOCK);
            filter = x_add(kernel, filter, lane);
            loop_store(kernel, nest, f->product,
                       scratch_at(&f->p, point, piece, f->filters, filter), sum);
        }
    }
}

static void emit_product(const Forward *f, LoopBody *body, const Chunk *chunk, const Chunk *next,
                         LoopExpr *next_channel) {
    LoopKernel *kernel = f->p.io->kernel;
    int64_t most = tile_sums(f->p.io) / f->vectors;
    most = int_min(most, 16);
    int64_t width = ceil_div(f->p.count, ceil_div(f->p.count, most));
    int64_t full = f->p.count / width, rest = f->p.count % width;
    LoopExpr *point = winograd_over(kernel, &body, LOOP_SERIAL, "point", x_int(kernel, POINTS));
    LoopExpr *group = winograd_over(kernel, &body, LOOP_SERIAL, "group",
                           x_int(kernel, f->filters / TILE_BLOCK / f->vectors));
    LoopExpr *block = x_mul(kernel, group, f->vectors);
    LoopBody *tiles = body;
    LoopExpr *tile = winograd_over(kernel, &tiles, LOOP_SERIAL, "tile", x_int(kernel, full));
    int64_t groups = f->filters / TILE_BLOCK / f->vectors;
    LoopExpr *turn = x_add(kernel, x_mul(kernel, point, groups), group);
    turn = x_add(kernel, x_mul(kernel, turn, full), tile);
    Square x = image_square(f->p.shape), y = result_square(f->p.shape);
    LoopExpr *filter = x_mul(kernel, f->first_block, TILE_BLOCK);
    int64_t turns = POINTS * groups * full;
    emit_ahead(&f->p, &x, next, tiles, next_channel, f->channels, turn, turns, false);
    emit_ahead(&f->p, &y, chunk, tiles, filter, f->filters, turn, turns, true);
    emit_product_tile(f, tiles, point, block, x_mul(kernel, tile, width), width);
    if (rest)
        emit_product_tile(f, body, point, block, x_int(kernel, full * width), rest);
}

/// The result stage.
static void emit_result(const Forward *f, const Chunk *chunk, LoopBody *body) {
    const TileIO *io = f->p.io;
    const ConvShape *shape = f->p.shape;
    LoopKernel *kernel = io->kernel;
    Place place = over_pieces(&f->p, chunk, body, f->filters / TILE_BLOCK);
    LoopExpr *x[PIECE * PIECE], *y[PIECE * PIECE];
    LoopStmt *lanes = tile_lanes(io, place.body, true);
    LoopBody *inner = &lanes->body;
    LoopExpr *filter =
        x_add(kernel, x_mul(kernel, place.block, TILE_BLOCK), loop_var(kernel, lanes));
    for (int i = 0; i < POINTS; i++) {
        LoopExpr *at =
            scratch_at(&f->p, x_int(kernel, i), place.number, f->filters, filter);
        x[i] = loop_let(kernel, inner, "m", x_load(kernel, f->product, at));
    }
    Transform t = {kernel, inner, shape->type};
    winograd_sandwich(&t, &winograd_result, false, x, y);
    for (int i = 0; i < TILE; i++) {
        LoopExpr *row = x_offset(kernel, x_mul(kernel, place.row, TILE), i);
        LoopExpr *row_inside = x_inside(kernel, row, 0, shape->out_height);
        LoopBody *row_body =
            is_true(row_inside) ? inner : &loop_if(kernel, inner, row_inside)->body;
        for (int k = 0; k < TILE; k++) {
            LoopExpr *column = x_offset(kernel, x_mul(kernel, place.column, TILE), k);
            LoopExpr *inside = x_inside(kernel, column, 0, shape->out_width);
            LoopBody *store = is_true(inside) ? row_body : &loop_if(kernel, row_body, inside)->body;
            LoopExpr *first = x_mul(kernel, f->first_block, TILE_BLOCK);
            LoopExpr *index[4] = {place.image, x_add(kernel, first, filter), row, column};
            io->store(io->user, store, index, y[i * PIECE + k]);
        }
    }
}

static int64_t vectors_of(const TileIO *io, int64_t blocks) {
    if (tile_sums(io) < 12)
        return 1;
    return blocks % 2 == 0 ? 2 : blocks % 3 == 0 ? 3 : 1;
}

/// Parts of a group's filters, each a task that transforms the image anew: one where the chunks of
/// all groups are enough to share out; never so many that the transforms weigh against the products.
static int64_t filter_parts(int64_t filters, int64_t chunks) {
    int64_t parts = 1;
    while (parts * chunks < TASKS_WANTED && filters / parts % (2 * FEWEST_FILTERS) == 0)
        parts *= 2;
    return parts;
}

/// The first channel of a task's group, each of `tasks`.
static LoopExpr *group_channel(LoopKernel *kernel, LoopBody *body, LoopExpr *task, int64_t groups,
                               int64_t tasks, int64_t channels) {
    if (groups == 1)
        return x_int(kernel, 0);
    LoopExpr *group = loop_let(kernel, body, "group", x_div(kernel, task, tasks));
    return x_mul(kernel, group, channels);
}

int64_t tile_winograd(const TileIO *io, const ConvShape *shape) {
    LoopKernel *kernel = io->kernel;
    int64_t groups = shape->groups, filters = shape->filters / groups; // of a group
    int64_t channels = shape->channels / groups;
    bool is_short = channels + filters <= SHORT_CHANNELS;
    Forward f = {.p = cut(io, shape, is_short ? SHORT_CHUNK : CHUNK), .channels = channels};
    int64_t chunks = ceil_div(shape->batch, f.p.images) * f.p.row_chunks;
    int64_t parts = filter_parts(filters, groups * chunks), tasks = groups * parts * chunks;
    f.filters = filters / parts;
    f.vectors = vectors_of(io, f.filters / TILE_BLOCK);
    f.image = scratch_of(&f.p, "v", f.channels);
    f.product = scratch_of(&f.p, "m", f.filters);
    LoopStmt *loop = loop_for(kernel, &kernel->body, LOOP_PARALLEL, "task", x_int(kernel, 0),
                              x_int(kernel, tasks), 1);
    LoopExpr *task = loop_var(kernel, loop), *number = task;
    f.first_block = x_int(kernel, 0);
    f.first_channel = group_channel(kernel, &loop->body, task, groups, parts * chunks, channels);
    if (groups * parts > 1) { // all chunks of a part in a row: its share of the kernel stays near
        LoopExpr *part = loop_let(kernel, &loop->body, "filters", x_div(kernel, task, chunks));
        f.first_block = x_mul(kernel, part, f.filters / TILE_BLOCK);
        number = loop_let(kernel, &loop->body, "chunk", x_mod(kernel, task, chunks));
    }
    Chunk chunk = chunk_at(&f.p, &loop->body, number, x_int(kernel, 0), x_int(kernel, shape->batch),
                           shape->batch % f.p.images == 0);
    Square square = image_square(shape);
    emit_image(&f.p, &square, &chunk, &loop->body, f.first_channel, f.image, channels);
    // The chunk after this one may be another part's first.
    LoopExpr *next_task = x2(kernel, X_min, x_offset(kernel, task, 1), x_int(kernel, tasks - 1));
    next_task = loop_let(kernel, &loop->body, "next", next_task);
    LoopExpr *next_channel =
        group_channel(kernel, &loop->body, next_task, groups, parts * chunks, channels);
    LoopExpr *next_number = groups * parts > 1 ? x_mod(kernel, next_task, chunks) : next_task;
    Chunk next = chunk_at(&f.p, &loop->body, next_number, x_int(kernel, 0),
                          x_int(kernel, shape->batch), true);
    emit_product(&f, &loop->body, &chunk, &next, next_channel);
    emit_result(&f, &chunk, &loop->body);
    return tasks;
}

// ---- by the kernel
// --------------------------------------------------------------------------------

typedef struct ByKernel {
    Pieces p;
    uint32_t image, cotangent; // scratch [36, pieces, channels], [36, pieces, filters]
    int64_t channels, filters; // of a task
    int64_t vectors, width;    // of a tile: blocks of filters, channels
    int64_t parts;
    LoopExpr *part, *channel, *block; // first of the task; channels of its group, blocks of filters
    LoopExpr *image_channel;          // `channel` in the image
} ByKernel;

/// Places of a tile's sums in the result.
static void sum_index(const ByKernel *b, LoopExpr *point, LoopExpr *block, LoopExpr *channel,
                      LoopExpr *lane, LoopExpr **index) {
    uint32_t count = 0;
    if (b->parts)
        index[count++] = b->part;
    index[count++] = point;
    index[count++] = block;
    index[count++] = channel;
    index[count] = lane;
}

static void emit_kernel_tile(const ByKernel *b, LoopBody *body, LoopExpr *point,
                             LoopExpr *first_block, LoopExpr *first_channel, LoopExpr *pieces,
                             LoopExpr *is_first) {
    const TileIO *io = b->p.io;
    LoopKernel *kernel = io->kernel;
    ScalarType type = b->p.shape->type;
    LoopStmt *lanes = tile_lanes(io, body, false);
    LoopExpr *lane = loop_var(kernel, lanes), *index[5];
    LoopBody *inner = &lanes->body;
    int64_t dim[2] = {b->vectors, b->width};
    uint32_t sums = loop_local(kernel, inner, "sum", type, dim, 2);
    LoopStmt *choice = is_first ? loop_if(kernel, inner, is_first) : NULL;
    for (int pass = 0; pass < 4; pass++) { // clear, or read again; sum; store
        LoopBody *nest = inner;
        LoopExpr *at[2], *piece = NULL;
        LoopBody *each = NULL; // of a piece
        uint32_t dy = 0;
        if (pass == 1 && !choice)
            continue;
        if (choice && pass < 2)
            nest = pass ? &choice->other : &choice->body;
        if (pass == 2) {
            piece = tile_turns(io, &nest, "p", pieces);
            each = nest;
            dy = loop_local(kernel, nest, "dy", type, dim, 1);
            LoopBody *load = nest;
            LoopExpr *v = winograd_over(kernel, &load, LOOP_UNROLL, "v", x_int(kernel, b->vectors));
            LoopExpr *filter = x_mul(kernel, x_add(kernel, first_block, v), TILE_BLOCK);
            LoopExpr *from =
                scratch_at(&b->p, point, piece, b->filters, x_add(kernel, filter, lane));
            loop_set(kernel, load, dy, &v, 1, x_load(kernel, b->cotangent, from));
        }
        at[1] = winograd_over(kernel, &nest, LOOP_UNROLL, "c", x_int(kernel, b->width));
        LoopExpr *channel = x_add(kernel, first_channel, at[1]), *x = NULL;
        if (pass == 2)
            x = loop_let(
                kernel, nest, "x",
                x_load(kernel, b->image, scratch_at(&b->p, point, piece, b->channels, channel)));
        at[0] = winograd_over(kernel, &nest, LOOP_UNROLL, "v", x_int(kernel, b->vectors));
        LoopExpr *sum = x_local(kernel, sums, at, 2);
        sum_index(b, point, x_add(kernel, b->block, x_add(kernel, first_block, at[0])),
                  x_add(kernel, b->channel, channel), lane, index);
        if (pass == 0)
            loop_set(kernel, nest, sums, at, 2, x_real(kernel, 0.0, type));
        else if (pass == 1)
            loop_set(kernel, nest, sums, at, 2, io->reread(io->user, nest, index));
        else if (pass == 2)
            loop_set(kernel, nest, sums, at, 2,
                     x3(kernel, X_fma, x_local(kernel, dy, at, 1), x, sum));
        else
            io->store(io->user, nest, index, sum);
        if (each && tile_is_tight(io))
            loop_reload(kernel, each);
    }
}

/// One chunk: both transforms, then all products.
static void emit_chunk(const ByKernel *b, LoopBody *body, const Chunk *chunk, const ByKernel *next,
                       const Chunk *next_chunk, LoopExpr *is_first) {
    const ConvShape *shape = b->p.shape;
    LoopKernel *kernel = b->p.io->kernel;
    Square x = image_square(shape);
    Square dy = result_square(shape);
    emit_image(&b->p, &x, chunk, body, b->image_channel, b->image, b->channels);
    emit_image(&b->p, &dy, chunk, body, x_mul(kernel, b->block, TILE_BLOCK), b->cotangent,
               b->filters);
    // Either there is one image, or none, or all rows are there: the pieces lie one after another.
    LoopExpr *pieces = b->p.images == 1
                           ? x2(kernel, X_mul, chunk->image_count,
                                x_mul(kernel, chunk->row_count, b->p.columns))
                           : x_mul(kernel, chunk->image_count, b->p.rows * b->p.columns);
    int64_t groups = b->filters / TILE_BLOCK / b->vectors, tiles = b->channels / b->width;
    LoopExpr *point = winograd_over(kernel, &body, LOOP_SERIAL, "point", x_int(kernel, POINTS));
    LoopExpr *group = winograd_over(kernel, &body, LOOP_SERIAL, "group", x_int(kernel, groups));
    LoopExpr *tile = winograd_over(kernel, &body, LOOP_SERIAL, "tile", x_int(kernel, tiles));
    LoopExpr *turn = x_add(kernel, x_mul(kernel, point, groups), group);
    turn = x_add(kernel, x_mul(kernel, turn, tiles), tile);
    int64_t turns = POINTS * groups * tiles;
    emit_ahead(&b->p, &x, next_chunk, body, next->image_channel, b->channels, turn, turns, false);
    emit_ahead(&b->p, &dy, next_chunk, body, x_mul(kernel, next->block, TILE_BLOCK), b->filters,
               turn, turns, false);
    emit_kernel_tile(b, body, point, x_mul(kernel, group, b->vectors),
                     x_mul(kernel, tile, b->width), pieces, is_first);
}

/// Finds part, channels and filters of a task.
static void choose_task(ByKernel *b, LoopBody *body, LoopExpr *task) {
    LoopKernel *kernel = b->p.io->kernel;
    int64_t group_channels = b->p.shape->channels / b->p.shape->groups;
    int64_t channel_blocks = group_channels / b->channels;
    int64_t filter_blocks = b->p.shape->filters / b->filters;
    int64_t group_blocks = filter_blocks / b->p.shape->groups;
    LoopExpr *cb = loop_let(kernel, body, "cb", x_mod(kernel, task, channel_blocks));
    LoopExpr *rest = x_div(kernel, task, channel_blocks);
    LoopExpr *kb = loop_let(kernel, body, "kb", x_mod(kernel, rest, filter_blocks));
    b->channel = b->image_channel = x_mul(kernel, cb, b->channels);
    if (b->p.shape->groups > 1) {
        LoopExpr *group = loop_let(kernel, body, "group", x_div(kernel, kb, group_blocks));
        b->image_channel = x_add(kernel, x_mul(kernel, group, group_channels), b->channel);
    }
    b->block = x_mul(kernel, kb, b->filters / TILE_BLOCK);
    b->part = b->parts > 1 ? loop_let(kernel, body, "part", x_div(kernel, rest, filter_blocks))
                           : x_int(kernel, 0);
}

int64_t tile_winograd_weight(const TileIO *io, const ConvShape *shape, int64_t parts) {
    LoopKernel *kernel = io->kernel;
    ByKernel b = {.p = cut(io, shape, CHUNK),
                  .channels = winograd_task_channels(shape->channels / shape->groups),
                  .filters = winograd_task_channels(shape->filters / shape->groups),
                  .parts = parts};
    bool is_wide = tile_sums(io) >= WIDE_SUMS;
    b.vectors = is_wide ? int_min(4, b.filters / TILE_BLOCK) : 1;
    b.width = is_wide ? WIDE_SUMS / b.vectors : NARROW_SUMS;
    b.image = scratch_of(&b.p, "v", b.channels);
    b.cotangent = scratch_of(&b.p, "z", b.filters);

    int64_t part_images = ceil_div(shape->batch, parts ? parts : 1);
    int64_t chunks = ceil_div(part_images, b.p.images) * b.p.row_chunks;
    int64_t tasks = (parts ? parts : 1) * (shape->channels / shape->groups / b.channels) *
                    (shape->filters / b.filters);
    LoopStmt *loop = loop_for(kernel, &kernel->body, LOOP_PARALLEL, "task", x_int(kernel, 0),
                              x_int(kernel, tasks), 1);
    LoopBody *body = &loop->body;
    LoopExpr *task = loop_var(kernel, loop);
    choose_task(&b, body, task);
    LoopExpr *begin = x_mul(kernel, b.part, part_images);
    LoopExpr *end = x_add(kernel, begin, x_int(kernel, part_images));
    if (shape->batch % part_images)
        end = loop_let(kernel, body, "end", x2(kernel, X_min, end, x_int(kernel, shape->batch)));

    bool whole = part_images % b.p.images == 0 && shape->batch % part_images == 0;
    LoopExpr *number = winograd_over(kernel, &body, LOOP_SERIAL, "chunk", x_int(kernel, chunks));
    LoopExpr *is_first = NULL;
    if (chunks > 1)
        is_first = loop_let(kernel, body, "is_first", x2(kernel, X_eq, number, x_int(kernel, 0)));
    Chunk chunk = chunk_at(&b.p, body, number, begin, end, whole);
    // The chunk after this one may be the next task's first.
    ByKernel next = b;
    LoopExpr *all = x_offset(kernel, x_add(kernel, x_mul(kernel, task, chunks), number), 1);
    all = x2(kernel, X_min, all, x_int(kernel, tasks * chunks - 1));
    all = loop_let(kernel, body, "next", all);
    choose_task(&next, body, x_div(kernel, all, chunks));
    Chunk next_chunk = chunk_at(&b.p, body, x_mod(kernel, all, chunks),
                                x_mul(kernel, next.part, part_images), end, true);
    emit_chunk(&b, body, &chunk, &next, &next_chunk, is_first);
    return tasks;
}
