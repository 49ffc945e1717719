// tests/unit/runtime/draws.c -- random draws of generated code, and the threads that make them.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/kdrt.h"
#include "runtime/threads.h"
#include "support/philox.h"

#ifdef __x86_64__
#include <immintrin.h>
#endif

extern void GOMP_parallel(void (*function)(void *), void *data, unsigned int threads,
                          unsigned int flags);
extern int omp_get_thread_num(void);

enum { COUNT = 1003 };

static const uint64_t seed = 0x0123456789abcdef, stream = 77, iteration = ((uint64_t)1 << 47) + 5;

static void known_answers(void **state) {
    (void)state;
    // Random123's known answers for philox4x32-10.
    const uint32_t zero[4] = {0}, ones[4] = {~0u, ~0u, ~0u, ~0u};
    const uint32_t of_zero[4] = {0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u};
    const uint32_t of_ones[4] = {0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu};
    uint32_t word[4];
    philox4x32(zero, zero, word);
    assert_memory_equal(word, of_zero, sizeof word);
    philox4x32(ones, ones, word);
    assert_memory_equal(word, of_ones, sizeof word);
}

static void draws_are_the_definition(void **state) {
    (void)state;
    float u32[COUNT], n32[COUNT];
    double u64[COUNT], n64[COUNT];
    kdrt_uniform_f32(u32, 0, COUNT, seed, stream, iteration);
    kdrt_uniform_f64(u64, 0, COUNT, seed, stream, iteration);
    kdrt_normal_f32(n32, 0, COUNT, seed, stream, iteration);
    kdrt_normal_f64(n64, 0, COUNT, seed, stream, iteration);
    double mean = 0, square = 0;
    for (uint64_t i = 0; i < COUNT; i++) {
        double uniform = philox_uniform(seed, (uint32_t)stream, iteration, i);
        double normal = philox_normal(seed, (uint32_t)stream, iteration, i);
        assert_true(u64[i] == uniform && u32[i] == (float)uniform && uniform < 1);
        assert_true(n64[i] == normal && n32[i] == (float)normal);
        mean += normal / COUNT;
        square += normal * normal / COUNT;
    }
    assert_true(fabs(mean) < 4 / sqrt(COUNT));
    assert_true(fabs(square - 1) < 4 * sqrt(2.0 / COUNT));
}

static void ranges_do_not_matter(void **state) {
    (void)state;
    float whole[COUNT], parts[COUNT];
    kdrt_normal_f32(whole, 0, COUNT, seed, stream, iteration);
    for (int64_t begin = 0, step = 1; begin < COUNT; begin += step, step = step % 13 + 1)
        kdrt_normal_f32(parts, begin, begin + step < COUNT ? begin + step : COUNT, seed, stream,
                        iteration);
    assert_memory_equal(whole, parts, sizeof whole);
    kdrt_uniform_f32(parts, 5, 5, seed, stream, iteration);
    assert_memory_equal(whole, parts, sizeof whole);
}

static void look_at_thread(void *argument) {
    unsigned int *modes = argument;
#ifdef __x86_64__
    modes[omp_get_thread_num()] = _mm_getcsr() & 0x8040;
#else
    modes[omp_get_thread_num()] = 0x8040;
#endif
}

static void each_thread_flushes_denormals(void **state) {
    (void)state;
    TeamGuard guard;
    unsigned int modes[3] = {0};
    cpu_set_t before, after;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    kdrt_team_enter(&guard, 3);
    GOMP_parallel(look_at_thread, modes, 3, 0);
    kdrt_team_leave(&guard);
    for (int i = 0; i < 3; i++)
        assert_int_equal(modes[i], 0x8040);
    assert_int_equal(sched_getaffinity(0, sizeof after, &after), 0);
    assert_true(CPU_EQUAL(&before, &after));
#ifdef __x86_64__
    assert_int_equal(_mm_getcsr() & 0x8040, 0); // the caller is what it was
#endif
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_answers),
        cmocka_unit_test(draws_are_the_definition),
        cmocka_unit_test(ranges_do_not_matter),
        cmocka_unit_test(each_thread_flushes_denormals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
