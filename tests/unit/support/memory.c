// tests/unit/support/memory.c -- arena, vec, strbuf and map.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/diag.h"
#include "support/map.h"
#include "support/strbuf.h"
#include "support/vec.h"

static bool is_filled(const unsigned char *bytes, size_t length, unsigned char with) {
    for (size_t i = 0; i < length; i++)
        if (bytes[i] != with)
            return false;
    return true;
}

static void memory_is_zeroed_aligned_and_disjoint(void **state) {
    (void)state;
    Arena arena = {0};
    enum { COUNT = 400 };
    unsigned char *at[COUNT];
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < COUNT; i++) { // sizes below, at and above a block's
            size_t size = i * i;
            at[i] = arena_alloc(&arena, size);
            assert_int_equal((uintptr_t)at[i] % 16, 0);
            assert_true(is_filled(at[i], size, 0));
            memset(at[i], (int)(i & 0xff) | 1, size);
        }
        for (size_t i = 0; i < COUNT; i++)
            assert_true(is_filled(at[i], i * i, (unsigned char)((i & 0xff) | 1)));
        arena_reset(&arena);
        assert_int_equal(arena.used_bytes, 0);
    }
    arena_release(&arena);
    assert_null(arena.block);
    assert_non_null(arena_alloc(&arena, 1)); // may be used again
    arena_release(&arena);
}

static void a_reset_keeps_the_memory(void **state) {
    (void)state;
    Arena arena = {0};
    for (int i = 0; i < 1000; i++)
        arena_alloc(&arena, 1000);
    arena_reset(&arena);
    for (int i = 0; i < 1000; i++)
        arena_alloc(&arena, 1000);
    arena_reset(&arena);
    const void *first = arena_alloc(&arena, 1000);
    for (int i = 0; i < 999; i++)
        arena_alloc(&arena, 1000);
    arena_reset(&arena);
    assert_ptr_equal(arena_alloc(&arena, 1000), first); // all of it fits in one block by now
    arena_release(&arena);
}

// Runs `body` in a child with stderr in `text`; returns its exit status, or 128 + its signal.
static int run_child(void (*body)(void), char *text, size_t size) {
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        body();
        _exit(99);
    }
    close(ends[1]);
    size_t length = 0;
    for (ssize_t got; (got = read(ends[0], text + length, size - 1 - length)) > 0;)
        length += (size_t)got;
    text[length] = '\0';
    close(ends[0]);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void exceed_limit(void) {
    Arena arena = {.limit_bytes = 1 << 20};
    for (int i = 0; i < 100; i++)
        arena_alloc(&arena, 32 << 10);
}

static void overflow_product(void) {
    Arena arena = {0};
    arena_alloc_array(&arena, SIZE_MAX / 4, 8);
}

static void fail_assertion(void) {
    kdc_bug_context("cse, %12, model.kd:3");
    kdc_assert(1 + 1 == 3);
}

static void ways_out_have_their_status(void **state) {
    (void)state;
    char text[1000];
    assert_int_equal(run_child(exceed_limit, text, sizeof text), EXIT_WORLD_WRONG);
    assert_string_equal(text, "kdc: out of memory: more than the limit of 1 MiB\n");
    assert_int_equal(run_child(overflow_product, text, sizeof text), EXIT_WORLD_WRONG);
    assert_non_null(strstr(text, "kdc: out of memory ("));
    assert_int_equal(run_child(fail_assertion, text, sizeof text), EXIT_WE_ARE_WRONG);
    assert_non_null(strstr(text, "internal error: assertion failed: 1 + 1 == 3 (tests/"));
    assert_non_null(strstr(text, "at work on: cse, %12, model.kd:3\n"));
}

static void a_vec_grows(void **state) {
    (void)state;
    Arena arena = {0};
    Vec(int) squares = {0};
    for (int i = 0; i < 1000; i++)
        vec_push(&arena, &squares, i * i);
    assert_int_equal(squares.count, 1000);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(squares.at[i], i * i);
    assert_int_equal(vec_last(&squares), 999 * 999);
    arena_release(&arena);
}

static void a_strbuf_is_always_a_string(void **state) {
    (void)state;
    Arena arena = {0};
    StrBuf buf = {.arena = &arena};
    assert_string_equal(strbuf_text(&buf), "");
    strbuf_puts(&buf, "");
    assert_string_equal(strbuf_text(&buf), "");
    char expected[3000] = "";
    for (int i = 0; i < 300; i++) {
        strbuf_printf(&buf, "%d", i);
        strbuf_putc(&buf, ',');
        sprintf(expected + strlen(expected), "%d,", i);
    }
    assert_string_equal(strbuf_text(&buf), expected);
    assert_int_equal(buf.length, strlen(expected));
    strbuf_write(&buf, "a\0b", 3);
    assert_int_equal(buf.length, strlen(expected) + 3);
    assert_memory_equal(buf.text + buf.length - 3, "a\0b", 4);
    arena_release(&arena);
}

static void a_map_finds_what_was_set_in_its_order(void **state) {
    (void)state;
    Arena arena = {0};
    Map map;
    map_init(&map, &arena);
    assert_null(map_get(&map, "k1"));
    assert_false(map_has(&map, ""));
    static int values[2000];
    char key[20];
    for (int i = 0; i < 2000; i++) {
        sprintf(key, "k%d", i * 7919 % 2000); // a key of ours that changes: keys are copied
        assert_null(map_set(&map, key, &values[i]));
    }
    assert_ptr_equal(map_set(&map, "k0", &values[7]), &values[0]); // replaces, keeps its place
    assert_int_equal(map.count, 2000);
    for (int i = 0; i < 2000; i++) {
        sprintf(key, "k%d", i * 7919 % 2000);
        assert_string_equal(map.entry[i].key, key);
        assert_ptr_equal(map_get(&map, key), i == 0 ? &values[7] : &values[i]);
    }
    assert_false(map_has(&map, "k2000"));
    map_set(&map, "nothing", NULL);
    assert_true(map_has(&map, "nothing"));
    assert_null(map_get(&map, "nothing"));
    arena_release(&arena);
}

static void the_hash_is_fnv_1a(void **state) {
    (void)state;
    // Test vectors of draft-eastlake-fnv.
    assert_true(hash_bytes("", 0, 0) == UINT64_C(0xcbf29ce484222325));
    assert_true(hash_bytes("a", 1, 0) == UINT64_C(0xaf63dc4c8601ec8c));
    assert_true(hash_bytes("foobar", 6, 0) == UINT64_C(0x85944171f73967e8));
    assert_true(hash_bytes("a", 1, 0) != hash_bytes("a", 1, 1));
    assert_true(hash_mix(hash_mix(0, 1), 2) != hash_mix(hash_mix(0, 2), 1));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_zeroed_aligned_and_disjoint),
        cmocka_unit_test(a_reset_keeps_the_memory),
        cmocka_unit_test(ways_out_have_their_status),
        cmocka_unit_test(a_vec_grows),
        cmocka_unit_test(a_strbuf_is_always_a_string),
        cmocka_unit_test(a_map_finds_what_was_set_in_its_order),
        cmocka_unit_test(the_hash_is_fnv_1a),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
