// runtime/random.c -- uniform and normal draws of generated code, as support/philox.h defines them.
//
// The four elements of a block share one evaluation of Philox; a thread's range may begin and end
// inside a block.
#include "runtime/kdrt.h"

#include "support/philox.h"

/// Sets x[i] to `value` for each i of the range; `word` holds the block of i, `lane` is i % 4.
#define FILL(value)                                                                                \
    for (int64_t i = begin; i < end;) {                                                            \
        uint32_t word[4];                                                                          \
        philox_block(seed, (uint32_t)stream, iteration, (uint64_t)i / 4, word);                    \
        for (unsigned lane = (unsigned)(i % 4); lane < 4 && i < end; lane++, i++)                  \
            x[i] = value;                                                                          \
    }

static double normal_of(const uint32_t word[4], unsigned lane) {
    const uint32_t *pair = &word[lane & ~1u];
    double radius = sqrt(-2.0 * log(((pair[0] >> 8) + 1) * 0x1p-24));
    double angle = 6.283185307179586 * ((pair[1] >> 8) * 0x1p-24);
    return radius * (lane % 2 ? sin(angle) : cos(angle));
}

void kdrt_uniform_f32(float *x, int64_t begin, int64_t end, uint64_t seed, uint64_t stream,
                      uint64_t iteration) {
    FILL((float)(word[lane] >> 8) * 0x1p-24f)
}

void kdrt_uniform_f64(double *x, int64_t begin, int64_t end, uint64_t seed, uint64_t stream,
                      uint64_t iteration) {
    FILL((word[lane] >> 8) * 0x1p-24)
}

void kdrt_normal_f32(float *x, int64_t begin, int64_t end, uint64_t seed, uint64_t stream,
                     uint64_t iteration) {
    FILL((float)normal_of(word, lane))
}

void kdrt_normal_f64(double *x, int64_t begin, int64_t end, uint64_t seed, uint64_t stream,
                     uint64_t iteration) {
    FILL(normal_of(word, lane))
}
