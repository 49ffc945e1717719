// ir/winograd.c -- the matrices of F(4x4, 3x3), for the points 0, 1, -1, 2, -2 and infinity.
#include "ir/winograd.h"

const WinogradMatrix winograd_image = {6,
                                       6,
                                       1,
                                       {{4, 0, -5, 0, 1, 0},
                                        {0, -4, -4, 1, 1, 0},
                                        {0, 4, -4, -1, 1, 0},
                                        {0, -2, -1, 2, 1, 0},
                                        {0, 2, -1, -2, 1, 0},
                                        {0, 4, 0, -5, 0, 1}}};

const WinogradMatrix winograd_kernel = {
    6, 3, 24, {{6, 0, 0}, {-4, -4, -4}, {-4, 4, -4}, {1, 2, 4}, {1, -2, 4}, {0, 0, 24}}};

const WinogradMatrix winograd_result = {
    4, 6, 1, {{1, 1, 1, 1, 1, 0}, {0, 1, -1, 2, -2, 0}, {0, 1, 1, 4, 4, 0}, {0, 1, -1, 8, -8, 1}}};

int64_t winograd_pieces(int64_t extent) {
    return (extent + WINOGRAD_TILE - 1) / WINOGRAD_TILE;
}

int64_t winograd_task_channels(int64_t extent) {
    int64_t channels = 64; // 36 sums of 64 by 64 and their pieces fit the second-level cache
    while (extent % channels)
        channels /= 2;
    return channels;
}
