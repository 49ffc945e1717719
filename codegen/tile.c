// codegen/tile.c -- loops that all register-tiled schedules are made of.
#include "codegen/tile.h"

LoopExpr *tile_turns(const TileIO *io, LoopBody **body, const char *name, LoopExpr *count) {
    enum { TURNS = 4 };
    LoopKernel *kernel = io->kernel;
    int64_t known;
    bool by_four = tile_is_tight(io) && x_is_int(count, &known) && known % TURNS == 0;
    LoopStmt *loop = loop_for(kernel, *body, LOOP_SERIAL, name, x_int(kernel, 0), count,
                              by_four ? TURNS : 1);
    *body = &loop->body;
    if (!by_four)
        return loop_var(kernel, loop);
    LoopStmt *turns =
        loop_for(kernel, *body, LOOP_UNROLL, name, x_int(kernel, 0), x_int(kernel, TURNS), 1);
    *body = &turns->body;
    return x_add(kernel, loop_var(kernel, loop), loop_var(kernel, turns));
}

LoopStmt *tile_lanes(const TileIO *io, LoopBody *body, bool narrow) {
    LoopKernel *kernel = io->kernel;
    LoopStmt *loop = loop_for(kernel, body, LOOP_VECTOR, "lane", x_int(kernel, 0),
                              x_int(kernel, TILE_BLOCK), 1);
    loop->narrow = narrow && tile_is_tight(io);
    return loop;
}
