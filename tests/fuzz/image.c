// tests/fuzz/image.c -- any bytes as a PNG or JPEG file: decoded into exactly the room that its
// header asks for, or refused with a message.
#include <stdint.h>
#include <stdlib.h>

#include "runtime/data.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    KdrtError error = {0};
    int64_t height, width;
    bool ok = kdrt_image_extents((Bytes){data, size}, &height, &width, &error);
    if (ok != (error.status == 0) || (!ok && !error.text[0]))
        abort();
    if (!ok || height * width > 1 << 20)
        return 0;
    uint8_t *pixels = malloc((size_t)(3 * height * width));
    uint8_t *work = malloc((size_t)(3 * height * width));
    if (!pixels || !work)
        abort();
    Image out = kdrt_image(pixels, 3, height, width);
    ok = kdrt_image_decode((Bytes){data, size}, &out, work, &error);
    if (ok != (error.status == 0) || (!ok && !error.text[0]))
        abort();
    free(work);
    free(pixels);
    return 0;
}
