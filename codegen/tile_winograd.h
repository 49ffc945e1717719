/// What the schedules of F(4x4, 3x3) share: transforms as straight-line code, and loops.
#ifndef KDC_CODEGEN_TILE_WINOGRAD_H
#define KDC_CODEGEN_TILE_WINOGRAD_H

#include "codegen/tile.h"
#include "ir/winograd.h"

enum {
    PIECE = WINOGRAD_PIECE,
    TILE = WINOGRAD_TILE,
    POINTS = WINOGRAD_POINTS,
};

/// Where the statements of a transform go, and the type of its elements.
typedef struct Transform {
    LoopKernel *kernel;
    LoopBody *body;
    ScalarType type;
} Transform;

/// A matrix of the transforms or its transpose.
typedef struct Matrix {
    int rows, columns;
    double at[6][6];
} Matrix;

Matrix winograd_matrix(const WinogradMatrix *from, bool transposed);
/// to = M from, for vectors whose elements lie `from_step` and `to_step` apart in their arrays.
void winograd_apply(const Transform *t, const Matrix *m, LoopExpr *const *from, LoopExpr **to,
                    int from_step, int to_step);
/// M X M^T, or M^T X M where it is `transposed`; rows of X and of the result have PIECE elements.
void winograd_sandwich(const Transform *t, const WinogradMatrix *matrix, bool transposed,
                       LoopExpr *const *x, LoopExpr **y);
/// A loop of `end` turns around what is put into *body from now on; none where it would run once.
LoopExpr *winograd_over(LoopKernel *kernel, LoopBody **body, LoopKind kind, const char *name,
                        LoopExpr *end);

#endif
