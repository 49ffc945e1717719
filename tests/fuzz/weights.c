// tests/fuzz/weights.c -- any bytes as a safetensors file: its tensors cover the data once, and
// what is written again is read again.
#include <stdint.h>
#include <stdlib.h>

#include "runtime/run.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Env env = {0};
    Arena arena = {.env = &env, .limit_bytes = 16 * size + (16 << 20)};
    SafeTensor *tensor;
    int64_t count;
    KdrtError error = {0};
    bool ok = kdrt_safetensors_read((Bytes){data, size}, &arena, &tensor, &count, &error);
    if (ok != (error.status == 0) || (!ok && !error.text[0]))
        abort();
    uint64_t total = 0;
    for (int64_t i = 0; ok && i < count; i++) {
        const uint8_t *at = tensor[i].data;
        if (tensor[i].size_bytes < 0 || at < data || at + tensor[i].size_bytes > data + size)
            abort();
        total += (uint64_t)tensor[i].size_bytes;
    }
    if (ok && total > size)
        abort();
    kdrt_arena_release(&arena);
    if (env.live_count != 0)
        abort();
    return 0;
}
