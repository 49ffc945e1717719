// codegen/tile_matmul.c -- register-tiled matrix products.
//
//     out[b, m, n] = sum_k a[b, m, k] * b[b, k, n]
//
// A tile of rows by vectors of 16 columns stays in registers while k runs: each step loads the
// vectors of operand 1 and multiplies them with one broadcast scalar of operand 0 per row. Where
// operand 1 is not contiguous along n (a linear layer's weight is [out, in]), its panel of columns
// is first packed into scratch, once for all rows of the task.
#include "codegen/tile.h"

enum {
    LANES = TILE_BLOCK,
    TASKS_WANTED = 32,
    PANEL_BYTES_MAX = 1 << 19,
};

typedef struct MatmulTile {
    const TileIO *io;
    const MatmulShape *shape;
    uint32_t panel; // scratch buffer [k][columns of the tile], where packed
    int64_t rows, vectors; // of a register tile
    LoopExpr *batch;
} MatmulTile;

/// One register tile: `rows` rows from `row`, `vectors` vectors of `lanes` columns from `column`.
static void emit_tile(const MatmulTile *tile, LoopBody *body, LoopExpr *row, int64_t rows,
                      LoopExpr *column, int64_t vectors, int64_t lanes) {
    const TileIO *io = tile->io;
    const MatmulShape *shape = tile->shape;
    LoopKernel *kernel = io->kernel;
    LoopExpr *zero = x_int(kernel, 0);
    LoopStmt *lane_loop =
        loop_for(kernel, body, LOOP_VECTOR, "lane", zero, x_int(kernel, lanes), 1);
    LoopExpr *lane = loop_var(kernel, lane_loop);
    LoopBody *inner = &lane_loop->body;
    int64_t dim[2] = {rows, vectors};
    uint32_t sums = loop_local(kernel, inner, "sum", shape->type, dim, 2);
    LoopExpr *at[2];

    for (int pass = 0; pass < 3; pass++) { // clear, sum, store
        LoopBody *nest = inner;
        LoopExpr *k = NULL;
        uint32_t right = 0;
        if (pass == 1) {
            LoopStmt *depth =
                loop_for(kernel, inner, LOOP_SERIAL, "k", zero, x_int(kernel, shape->depth), 1);
            k = loop_var(kernel, depth);
            nest = &depth->body;
            right = loop_local(kernel, nest, "b", shape->type, &vectors, 1);
            LoopStmt *load =
                loop_for(kernel, nest, LOOP_UNROLL, "v", zero, x_int(kernel, vectors), 1);
            LoopExpr *v = loop_var(kernel, load);
            LoopExpr *in_tile = x_add(kernel, x_mul(kernel, v, LANES), lane);
            LoopExpr *value;
            if (shape->unit_n) {
                LoopExpr *index[3] = {tile->batch, k, x_add(kernel, column, in_tile)};
                value = io->read(io->user, &load->body, 1, index);
            } else {
                int64_t width = vectors * LANES;
                value =
                    x_load(kernel, tile->panel, x_add(kernel, x_mul(kernel, k, width), in_tile));
            }
            loop_set(kernel, &load->body, right, &v, 1, value);
        }
        LoopStmt *over_rows =
            loop_for(kernel, nest, LOOP_UNROLL, "r", zero, x_int(kernel, rows), 1);
        at[0] = loop_var(kernel, over_rows);
        nest = &over_rows->body;
        LoopExpr *m = x_add(kernel, row, at[0]), *left = NULL;
        if (pass == 1) {
            LoopExpr *index[3] = {tile->batch, m, k};
            left = loop_let(kernel, nest, "a", io->read(io->user, nest, 0, index));
        }
        LoopStmt *over_vectors =
            loop_for(kernel, nest, LOOP_UNROLL, "v", zero, x_int(kernel, vectors), 1);
        at[1] = loop_var(kernel, over_vectors);
        nest = &over_vectors->body;
        LoopExpr *sum = x_local(kernel, sums, at, 2);
        if (pass == 0) {
            loop_set(kernel, nest, sums, at, 2, x_real(kernel, 0.0, shape->type));
        } else if (pass == 1) {
            LoopExpr *b = x_local(kernel, right, &at[1], 1);
            loop_set(kernel, nest, sums, at, 2, x3(kernel, X_fma, b, left, sum));
        } else {
            LoopExpr *n = x_add(kernel, column, x_add(kernel, x_mul(kernel, at[1], LANES), lane));
            LoopExpr *index[3] = {tile->batch, m, n};
            io->store(io->user, nest, index, sum);
        }
    }
}

/// Packs columns [column, column + vectors * 16) of operand 1 into the panel; `lanes` of the last
/// vector exist.
static void emit_pack(const MatmulTile *tile, LoopBody *body, LoopExpr *column, int64_t vectors,
                      int64_t lanes) {
    const TileIO *io = tile->io;
    LoopKernel *kernel = io->kernel;
    int64_t width = vectors * LANES;
    LoopStmt *columns = loop_for(kernel, body, LOOP_SERIAL, "n", x_int(kernel, 0),
                                 x_int(kernel, (vectors - 1) * LANES + lanes), 1);
    LoopExpr *n = loop_var(kernel, columns);
    LoopStmt *depth = loop_for(kernel, &columns->body, LOOP_SERIAL, "k", x_int(kernel, 0),
                               x_int(kernel, tile->shape->depth), 1);
    LoopExpr *k = loop_var(kernel, depth);
    LoopExpr *index[3] = {tile->batch, k, x_add(kernel, column, n)};
    LoopExpr *value = io->read(io->user, &depth->body, 1, index);
    loop_store(kernel, &depth->body, tile->panel, x_add(kernel, x_mul(kernel, k, width), n), value);
}

/// Rows [begin, begin + count) of one panel of columns; `count` counts down to the kernel's last
/// rows.
static void emit_panel(const MatmulTile *tile, LoopBody *body, LoopExpr *begin, LoopExpr *end,
                       int64_t rest_rows, LoopExpr *column, int64_t vectors, int64_t lanes) {
    LoopKernel *kernel = tile->io->kernel;
    if (!tile->shape->unit_n)
        emit_pack(tile, body, column, vectors, lanes);
    LoopExpr *full_end = end;
    if (rest_rows > 0) // only the last task has them
        full_end = x2(kernel, X_min, end, x_int(kernel, tile->shape->rows - rest_rows));
    LoopStmt *rows = loop_for(kernel, body, LOOP_SERIAL, "m", begin, full_end, tile->rows);
    emit_tile(tile, &rows->body, loop_var(kernel, rows), tile->rows, column, vectors, lanes);
    if (rest_rows > 0) {
        LoopExpr *last = x2(kernel, X_eq, end, x_int(kernel, tile->shape->rows));
        LoopStmt *tail = loop_if(kernel, body, last);
        emit_tile(tile, &tail->body, x_int(kernel, tile->shape->rows - rest_rows), rest_rows,
                  column, vectors, lanes);
    }
}

/// 8 rows by 2 vectors where these are two thirds of what registers hold, else rows by one.
static void choose_tile(MatmulTile *tile) {
    int64_t sums = tile_sums(tile->io);
    tile->vectors = sums >= 2 * 8 ? 2 : 1;
    tile->rows = int_min(8, sums / tile->vectors);
}

int64_t tile_matmul(const TileIO *io, const MatmulShape *shape) {
    LoopKernel *kernel = io->kernel;
    MatmulTile tile = {.io = io, .shape = shape};
    choose_tile(&tile);
    int64_t panel_width = tile.vectors * LANES;
    if (shape->columns < 4 || shape->rows * shape->columns * shape->depth < 512)
        return 0; // the plain loops do as well
    int64_t element_bytes = (int64_t)scalar_size_bytes(shape->type);
    if (!shape->unit_n && shape->depth * panel_width * element_bytes > PANEL_BYTES_MAX)
        return 0;

    int64_t full_panels = shape->columns / panel_width;
    int64_t rest = shape->columns % panel_width; // columns: a vector of 16, a masked one, or both
    int64_t panels = full_panels + (rest > 0);
    int64_t row_parts = int_min(ceil_div(TASKS_WANTED, shape->batch * panels),
                                ceil_div(shape->rows, tile.rows * (shape->unit_n ? 1 : 8)));
    if (row_parts < 1)
        row_parts = 1;
    int64_t part_rows = ceil_div(ceil_div(shape->rows, row_parts), tile.rows) * tile.rows;
    row_parts = ceil_div(shape->rows, part_rows);
    int64_t tasks = shape->batch * panels * row_parts;

    if (!shape->unit_n)
        tile.panel =
            loop_buffer(kernel, "panel", shape->type, BUFFER_SCRATCH, shape->depth * panel_width);
    LoopStmt *loop = loop_for(kernel, &kernel->body, LOOP_PARALLEL, "task", x_int(kernel, 0),
                              x_int(kernel, tasks), 1);
    LoopBody *body = &loop->body;
    LoopExpr *task = loop_var(kernel, loop);
    LoopExpr *part = loop_let(kernel, body, "part", x_mod(kernel, task, row_parts));
    LoopExpr *others = loop_let(kernel, body, "others", x_div(kernel, task, row_parts));
    LoopExpr *panel = loop_let(kernel, body, "panel", x_mod(kernel, others, panels));
    tile.batch = shape->batch == 1 ? x_int(kernel, 0)
                                   : loop_let(kernel, body, "batch", x_div(kernel, others, panels));
    LoopExpr *begin = loop_let(kernel, body, "begin", x_mul(kernel, part, part_rows));
    LoopExpr *end = x_add(kernel, begin, x_int(kernel, part_rows));
    end = loop_let(kernel, body, "end", x2(kernel, X_min, end, x_int(kernel, shape->rows)));
    LoopExpr *column = x_mul(kernel, panel, panel_width);

    int64_t rest_rows = shape->rows % tile.rows;
    LoopBody *full_body = body, *rest_body = body;
    if (full_panels > 0 && rest > 0) {
        LoopStmt *choice =
            loop_if(kernel, body, x2(kernel, X_lt, panel, x_int(kernel, full_panels)));
        full_body = &choice->body;
        rest_body = &choice->other;
    }
    if (full_panels > 0)
        emit_panel(&tile, full_body, begin, end, rest_rows, column, tile.vectors, LANES);
    if (rest > 0) {
        LoopExpr *first = x_int(kernel, full_panels * panel_width);
        if (rest > LANES || rest == LANES) {
            emit_panel(&tile, rest_body, begin, end, rest_rows, first, 1, LANES);
            first = x_int(kernel, full_panels * panel_width + LANES);
        }
        if (rest % LANES)
            emit_panel(&tile, rest_body, begin, end, rest_rows, first, 1, rest % LANES);
    }
    return tasks;
}
