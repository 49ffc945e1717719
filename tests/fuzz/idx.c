// tests/fuzz/idx.c -- any bytes as an IDX file: what is read lies where it may, and of plain files
// exactly those are read that a second, plainer reader takes.
#include <stdint.h>
#include <stdlib.h>

#include "runtime/data.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LIMIT_BYTES = 1 << 20 };

static int is_plain_idx(const uint8_t *data, size_t size) {
    if (size < 4 || data[0] || data[1] || data[2] != 8 || data[3] < 1 || data[3] > 4)
        return 0;
    uint64_t product = 1, axes = data[3];
    if (size < 4 + 4 * axes)
        return 0;
    for (uint64_t axis = 0; axis < axes; axis++) {
        uint64_t extent = 0;
        for (uint64_t i = 0; i < 4; i++)
            extent = extent * 256 + data[4 + 4 * axis + i];
        if (axis > 0 && extent == 0)
            return 0;
        if (extent && product > LIMIT_BYTES / extent)
            return 0;
        product *= extent;
    }
    return product == size - 4 - 4 * axes;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Env env = {0};
    Arena arena = {.env = &env, .limit_bytes = 2 * size + (16 << 20)};
    IdxLimits limits = {LIMIT_BYTES, false};
    IdxArray array;
    KdrtError error = {0};
    int is_gzip = size >= 2 && data[0] == 0x1f && data[1] == 0x8b;
    bool ok = kdrt_idx_read((Bytes){data, size}, &limits, &arena, &array, &error);
    if (ok != (error.status == 0) || (!ok && !error.text[0]))
        abort();
    if (!is_gzip && ok != is_plain_idx(data, size))
        abort();
    if (ok) {
        volatile uint8_t sum = 0; // every element can be read
        for (int64_t i = 0; i < array.size_bytes; i++)
            sum = (uint8_t)(sum + array.data[i]);
    }
    kdrt_arena_release(&arena);
    if (env.live_count != 0)
        abort();
    return 0;
}
