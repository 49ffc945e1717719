/// Counter-based random numbers: Philox4x32-10 (Salmon et al. 2011), defined once for the reference
/// interpreter, the runtime and what codegen emits.
///
/// Element `i` of draw `stream` in iteration `n` of a run with `seed` is a function of these four
/// alone, so it depends neither on threads nor on what was drawn before:
///
///     key      (low, high 32 bits of seed)
///     counter  (low 32 bits of i / 4, stream, low 32 bits of n, high 16 of n << 16 | high 16 of i / 4)
///     words    w[0..3] = philox4x32(key, counter), of which element i uses w[i % 4]
///
///     uniform  (w[i % 4] >> 8) * 2^-24, in [0, 1)
///     normal   from the pair p = i % 4 & ~1 by Box and Muller (1958):
///              u = ((w[p] >> 8) + 1) * 2^-24 in (0, 1],  v = (w[p + 1] >> 8) * 2^-24
///              sqrt(-2 log u) * cos(2 pi v) for even i, sin(2 pi v) for odd i
///
/// n < 2^48, i < 2^50. Draws have 24 bits in f64 programs too: the same program draws the same numbers in
/// either precision. A normal is worked out in double and rounded; compiled code may work it out in
/// f32, which differs by a few units in the last place of the largest possible draw, 5.77.
#ifndef KDC_SUPPORT_PHILOX_H
#define KDC_SUPPORT_PHILOX_H

#include <math.h>
#include <stdint.h>

static inline void philox4x32(const uint32_t key[2], const uint32_t counter[4], uint32_t word[4]) {
    uint32_t k0 = key[0], k1 = key[1];
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    for (int round = 0; round < 10; round++) {
        uint64_t product0 = UINT64_C(0xD2511F53) * c0;
        uint64_t product1 = UINT64_C(0xCD9E8D57) * c2;
        c0 = (uint32_t)(product1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)product1;
        c2 = (uint32_t)(product0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)product0;
        k0 += UINT32_C(0x9E3779B9);
        k1 += UINT32_C(0xBB67AE85);
    }
    word[0] = c0;
    word[1] = c1;
    word[2] = c2;
    word[3] = c3;
}

/// The four words of elements 4 * block .. 4 * block + 3.
static inline void philox_block(uint64_t seed, uint32_t stream, uint64_t iteration, uint64_t block,
                                uint32_t word[4]) {
    uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    uint32_t high = (uint32_t)(iteration >> 32) << 16 | ((uint32_t)(block >> 32) & 0xffff);
    uint32_t counter[4] = {(uint32_t)block, stream, (uint32_t)iteration, high};
    philox4x32(key, counter, word);
}

static inline double philox_uniform(uint64_t seed, uint32_t stream, uint64_t iteration,
                                    uint64_t index) {
    uint32_t word[4];
    philox_block(seed, stream, iteration, index / 4, word);
    return (word[index % 4] >> 8) * 0x1p-24;
}

static inline double philox_normal(uint64_t seed, uint32_t stream, uint64_t iteration,
                                   uint64_t index) {
    uint32_t word[4];
    philox_block(seed, stream, iteration, index / 4, word);
    const uint32_t *pair = &word[index % 4 & ~UINT64_C(1)];
    double radius = sqrt(-2.0 * log(((pair[0] >> 8) + 1) * 0x1p-24));
    double angle = 6.283185307179586 * ((pair[1] >> 8) * 0x1p-24);
    return radius * (index % 2 ? sin(angle) : cos(angle));
}

#endif
