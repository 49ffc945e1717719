// tests/unit/passes/touches.c -- lists of groups by node.
#include "passes/touches.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void groups_stay_in_order(void **state) {
    (void)state;
    Arena arena = {0};
    Touches touches = touches_of(&arena, 2);
    const uint32_t order[] = {5, 1, 9, 3, 7, 0};
    for (size_t i = 0; i < 6; i++)
        touches_add(&touches, 1, order[i], order[i] > 4);
    touches_remove(&touches, 1, 5);
    touches_remove(&touches, 1, 0);
    const uint32_t left[] = {1, 3, 7, 9};
    assert_int_equal(touches.of[0].count, 0);
    assert_int_equal(touches.of[1].count, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(touches.of[1].at[i].group, left[i]);
        assert_int_equal(touches.of[1].at[i].computed, left[i] > 4);
    }
    arena_release(&arena);
}

static void ends_are_not_between(void **state) {
    (void)state;
    Arena arena = {0};
    Touches touches = touches_of(&arena, 1);
    assert_false(touches_any_between(&touches, 0, 0, 9));
    touches_add(&touches, 0, 2, false);
    touches_add(&touches, 0, 5, false);
    assert_false(touches_any_between(&touches, 0, 2, 5));
    assert_false(touches_any_between(&touches, 0, 5, 9));
    assert_true(touches_any_between(&touches, 0, 1, 3));
    assert_true(touches_any_between(&touches, 0, 2, 6));
    arena_release(&arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(groups_stay_in_order),
        cmocka_unit_test(ends_are_not_between),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
