// tests/fuzz/checkpoint.c -- any bytes as a checkpoint: whole or refused, and cut short refused.
#include <stdint.h>
#include <stdlib.h>

#include "runtime/run.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    KdrtError error = {0};
    bool ok = kdrt_checkpoint_verify((Bytes){data, size}, &error);
    if (ok != (error.status == 0) || (!ok && !error.text[0]))
        abort();
    error = (KdrtError){0};
    if (ok && kdrt_checkpoint_verify((Bytes){data, size - 1}, &error))
        abort();
    return 0;
}
