/// Register-tiled schedules of contractions: convolutions in their three directions and matrix
/// products.
///
/// A schedule writes the loops of one kernel. What it reads and where results go is told by the
/// lowering in a TileIO, so that elementwise producers are read inline and elementwise consumers
/// sit in the epilogue. A function returns the number of iterations of the parallel loop it made,
/// or 0 if the schedule does not fit the shape; then nothing was written and the lowering uses its
/// plain loops.
///
/// The shape of all of them: a tile of vectors (16 channels, or 16 columns) by pixels (or rows) is
/// kept in registers while the summed axes run; each step loads a few vectors and multiplies them
/// with broadcast scalars. Sizes: three quarters of the registers hold sums, 24 vectors of 32 with
/// AVX-512, 6 of 8 (12 registers of 16) with AVX2, which hides the latency of the multiply-add and
/// leaves registers for operands; at most about 450 multiply-adds in a loop body, beyond which
/// decoding costs more than it saves. What is summed in which order does not depend on them.
#ifndef KDC_CODEGEN_TILE_H
#define KDC_CODEGEN_TILE_H

#include "codegen/loops.h"

enum { TILE_BLOCK = 16 }; // channels of a block in blocked layouts (Type.block)

typedef struct TileIO {
    LoopKernel *kernel;
    void *user;
    int64_t registers; // vectors of a tile that the processor's registers hold
    /// The element of operand `which` (0 or 1) at a logical index, as an expression valid in
    /// `body`.
    LoopExpr *(*read)(void *user, LoopBody *body, int which, LoopExpr *const *index);
    /// Uses the finished sum for the output element at a logical index (the epilogue).
    void (*store)(void *user, LoopBody *body, LoopExpr *const *index, LoopExpr *sum);
    /// Only for schedules that sum in several visits (weight gradients): the element as it was
    /// stored. NULL: partial sums cannot be reread (there is an epilogue), such schedules do not
    /// fit.
    LoopExpr *(*reread)(void *user, LoopBody *body, LoopExpr *const *index);
} TileIO;

/// Whether registers are so few that what would be kept for a second use pushes sums out.
static inline bool tile_is_tight(const TileIO *io) {
    return io->registers < 16;
}

/// A serial loop of `count` turns around what is put into *body from now on; its variable. Where
/// registers are few it is unrolled by 4 if that divides the turns: bodies of few multiply-adds are
/// half loop.
LoopExpr *tile_turns(const TileIO *io, LoopBody **body, const char *name, LoopExpr *count);

/// A loop over the lanes of a block of channels. `narrow`: by half as many at a time where
/// registers are few, for what has more values at once than these hold and shares no operand.
LoopStmt *tile_lanes(const TileIO *io, LoopBody *body, bool narrow);

/// Sums that a tile keeps in registers.
static inline int64_t tile_sums(const TileIO *io) {
    return io->registers * 3 / 4;
}

/// y[n, k, oh, ow] = sum x[n, c, oh * stride + kh * dilation - padding, ...] * w[k, c, kh, kw].
typedef struct ConvShape {
    ScalarType type;
    int64_t batch, channels, height, width;    // of x
    int64_t filters, out_height, out_width;    // of y
    int64_t kernel[2], stride[2], dilation[2]; // height, width
    int64_t padding[2];                        // top, left
    int64_t groups;
    int64_t live; // channels of operand 0 that count, the others are as zeros; 0: all
} ConvShape;

/// A convolution whose maps have several of their rows as one.
typedef struct TileFold {
    TileIO io;       // of the folded convolution
    ConvShape shape; // of it
    const TileIO *whole;
    int64_t rows, width; // of the map: rows in one, and their length
    bool by_weight;      // both operands are images and the result is not
} TileFold;

/// Whether rows are to be put together; then *fold tells how to compute it. It stays where it is
/// as long as the schedule is written, and so does `io`.
bool tile_fold(const TileIO *io, const ConvShape *shape, bool by_weight, TileFold *fold);

/// Channels of a group where a block holds whole groups (as many filters as channels in each, 1, 2,
/// 4 or 8 of them, depthwise convolutions among them); else 0. There lane k of a vector meets the
/// channels of its own group: input channel (k / width) * width + c.
int64_t conv_small_groups(const ConvShape *shape);

/// Operand 0: x [N, C, H, W]; 1: w [K, C/groups, KH, KW]; output y [N, K, OH, OW]. Wants y's
/// channels and w's filters in blocks of 16 (K / groups a multiple of 16, or small groups).
int64_t tile_conv2d(const TileIO *io, const ConvShape *shape);
/// Operand 0: dy [N, K, OH, OW]; 1: w [K, C/groups, KH, KW]; output dx [N, C, H, W]. Wants dx's
/// channels and w's second axis in blocks of 16, outside of the first; w's first axis for depthwise
/// convolutions, and nothing of w for other small groups.
int64_t tile_conv2d_input(const TileIO *io, const ConvShape *shape);
/// Operand 0: x; 1: dy; output dw [K, C/groups, KH, KW], or [parts, K, ...] where parts > 0 sums
/// are kept apart by ranges of the batch. Wants dy's channels and dw's filters in blocks of 16.
int64_t tile_conv2d_weight(const TileIO *io, const ConvShape *shape, int64_t parts);
/// The same for small groups.
int64_t tile_conv2d_weight_groups(const TileIO *io, const ConvShape *shape, int64_t parts);

/// The ops of ir/winograd.h, for a 3x3 kernel of stride 1; u and its cotangent are
/// [36, K / 16, C / groups, 16], C / groups and K / groups multiples of 16. Operands 0 and 1: x, u;
/// output y.
int64_t tile_winograd(const TileIO *io, const ConvShape *shape);
/// Operand 0: x; 1: dy; output du, or [parts, ...] as tile_conv2d_weight's.
int64_t tile_winograd_weight(const TileIO *io, const ConvShape *shape, int64_t parts);
/// A kernel of `filters` in all groups by `channels` of a group.
typedef struct WinogradKernelShape {
    ScalarType type;
    int64_t filters, channels, groups;
    bool flip;
} WinogradKernelShape;

/// Operand 0: w [filters, channels, 3, 3] (`flip`: [channels * groups, filters / groups, 3, 3]);
/// output u [36, filters / 16, channels, 16].
int64_t tile_winograd_kernel(const TileIO *io, const WinogradKernelShape *shape);
/// Operand 0: du; output dw [filters, channels, 3, 3].
int64_t tile_winograd_kernel_adjoint(const TileIO *io, const WinogradKernelShape *shape);

/// out[b, m, n] = sum_k a[b, m, k] * b[b, k, n]; io reads operand 0 at [b, m, k], 1 at [b, k, n]
/// and stores at [b, m, n]. `unit_n`: operand 1 is contiguous along n; otherwise it is packed into
/// scratch first.
typedef struct MatmulShape {
    ScalarType type;
    int64_t batch, rows, columns, depth;
    bool unit_n;
} MatmulShape;
int64_t tile_matmul(const TileIO *io, const MatmulShape *shape);

#endif
