// codegen/tile_fold.c -- several rows of a map as one.
//
// To a 1x1 convolution of stride 1 a map is a list of pixels. Where registers are few, tiles of six
// pixels fill rows of 8 or 16 badly and those of 4 not at all; so some rows follow each other as
// one, and a tile may begin in one row of the map and end in the next. Positions are found by
// quotient and remainder, which vanish from the address where rows lie one behind the other.
#include "codegen/tile.h"

enum { FOLDED_PIXELS = 64 }; // of a row, at most

/// The index of an image [N, C, H, W] for one of the folded map.
static void unfold(const TileFold *fold, LoopExpr *const *index, LoopExpr **out) {
    LoopKernel *kernel = fold->io.kernel;
    LoopExpr *first = x_mul(kernel, index[2], fold->rows);
    out[0] = index[0];
    out[1] = index[1];
    out[2] = x_add(kernel, first, x_div(kernel, index[3], fold->width));
    out[3] = x_mod(kernel, index[3], fold->width);
}

static LoopExpr *read_folded(void *user, LoopBody *body, int which, LoopExpr *const *index) {
    const TileFold *fold = user;
    LoopExpr *at[4];
    if (which == 0 || fold->by_weight) {
        unfold(fold, index, at);
        index = at;
    }
    return fold->whole->read(fold->whole->user, body, which, index);
}

static void store_folded(void *user, LoopBody *body, LoopExpr *const *index, LoopExpr *sum) {
    const TileFold *fold = user;
    LoopExpr *at[4];
    if (!fold->by_weight) {
        unfold(fold, index, at);
        index = at;
    }
    fold->whole->store(fold->whole->user, body, index, sum);
}

static LoopExpr *reread_folded(void *user, LoopBody *body, LoopExpr *const *index) {
    const TileFold *fold = user;
    return fold->whole->reread(fold->whole->user, body, index);
}

/// Rows that become one.
static int64_t folded_rows(const ConvShape *shape) {
    int64_t rows = FOLDED_PIXELS / shape->width;
    while (rows > 1 && shape->height % rows)
        rows--;
    return rows;
}

bool tile_fold(const TileIO *io, const ConvShape *shape, bool by_weight, TileFold *fold) {
    for (int i = 0; i < 2; i++) {
        if (shape->kernel[i] != 1 || shape->stride[i] != 1 || shape->padding[i])
            return false;
    }
    int64_t rows = folded_rows(shape);
    bool same_size = shape->out_height == shape->height && shape->out_width == shape->width;
    if (!tile_is_tight(io) || !same_size || rows < 2)
        return false;
    *fold = (TileFold){.io = *io,
                       .whole = io,
                       .shape = *shape,
                       .rows = rows,
                       .width = shape->width,
                       .by_weight = by_weight};
    fold->io.user = fold;
    fold->io.read = read_folded;
    fold->io.store = store_folded;
    fold->io.reread = io->reread ? reread_folded : NULL;
    fold->shape.height = fold->shape.out_height = shape->height / rows;
    fold->shape.width = fold->shape.out_width = shape->width * rows;
    return true;
}
