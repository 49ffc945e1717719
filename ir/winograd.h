/// Winograd's minimal filtering F(4x4, 3x3): the matrices of its three transforms.
///
///     y = A^T [ (G w G^T) * (B^T x B) summed over channels ] A
///
/// turns a 3x3 kernel w and a 6x6 piece x of the image into a 4x4 piece of the result with 36
/// products instead of 144. Its adjoints use the same matrices transposed. Rounding errors are
/// some ten times those of the direct sum; the interpreter's bounds count them.
///
/// Source: Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, CVPR 2016.
#ifndef KDC_IR_WINOGRAD_H
#define KDC_IR_WINOGRAD_H

#include "ir/ir.h"

enum {
    WINOGRAD_TILE = 4,   // pixels of the result along a side
    WINOGRAD_PIECE = 6,  // pixels of the image along a side
    WINOGRAD_KERNEL = 3, // of the kernel
    WINOGRAD_POINTS = 36,
    WINOGRAD_BLOCK = 16, // filters that lie together in a transformed kernel
};

/// Integers over a common denominator; exact in every precision but for the quotient.
typedef struct WinogradMatrix {
    int rows, columns, denominator;
    int at[6][6];
} WinogradMatrix;

extern const WinogradMatrix winograd_image;  // B^T, 6 x 6
extern const WinogradMatrix winograd_kernel; // G, 6 x 3
extern const WinogradMatrix winograd_result; // A^T, 4 x 6

/// Channels, or filters, that one task of a kernel's gradient takes of `extent` (whole blocks of
/// 16).
int64_t winograd_task_channels(int64_t extent);
/// Pieces along an axis of `extent` pixels of the result.
int64_t winograd_pieces(int64_t extent);

#endif
