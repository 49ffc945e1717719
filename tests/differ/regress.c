// tests/differ/regress.c -- what once was compiled wrongly.
//
// Each tests/differ/regress/*.ir in many ways against the interpreter; see against.h. A file says
// in its first lines what was wrong.
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/differ/against.inc"

static const Way ways[] = {
    {.name = "-O0", .level = 0, .threads = true},
    {.name = "-O1", .level = 1, .threads = true},
    {.name = "-O2", .level = 2, .threads = true},
    {.name = "-O3", .level = 3},
    {.name = "-O2 interpreted", .level = 2, .interprets = true},
    {.name = "-O2 without layout", .level = 2, .without = "layout", .threads = true},
    {.name = "-O2 without simplify", .level = 2, .without = "simplify"},
    {.name = "-O2 without bind_times,fold_frozen", .level = 2, .without = "bind_times,fold_frozen"},
    {.name = "-O2 without split,cse", .level = 2, .without = "split,cse"},
};

static void check_file(void **state) {
    const char *path = *state;
    Arena arena = {0};
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    char *text = arena_alloc(&arena, 1 << 18);
    size_t length = fread(text, 1, (1 << 18) - 1, file);
    fclose(file);
    Verdict verdict;
    for (uint64_t seed = 1; seed <= 2; seed++) {
        against_interpreter(text, length, seed, ways, sizeof ways / sizeof *ways, &verdict);
        if (!verdict.readable || !verdict.finite || verdict.differs)
            fail_msg("%s: %s", path,
                     !verdict.readable ? "no module"
                     : !verdict.finite ? "the interpreter has what is not finite"
                                       : verdict.what);
    }
    arena_release(&arena);
}

static int by_name(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int is_graph(const struct dirent *entry) {
    size_t length = strlen(entry->d_name);
    return length > 3 && strcmp(entry->d_name + length - 3, ".ir") == 0;
}

int main(int argc, char **argv) {
    struct dirent **entry;
    const char *folder = KDC_TESTS_DIR "/differ/regress";
    int count = argc == 2 && strchr(argv[1], '/') ? 0 : scandir(folder, &entry, is_graph, by_name);
    Arena arena = {0};
    struct CMUnitTest *test = arena_array(&arena, struct CMUnitTest, (size_t)count + 1);
    int chosen = 0;
    if (count == 0 && argc == 2) // a path
        test[chosen++] = (struct CMUnitTest){argv[1], check_file, NULL, NULL, argv[1]};
    for (int i = 0; i < count; i++) {
        char *path = arena_printf(&arena, "%s/%s", folder, entry[i]->d_name);
        if (argc < 2 || strstr(path, argv[1]))
            test[chosen++] =
                (struct CMUnitTest){strrchr(path, '/') + 1, check_file, NULL, NULL, path};
        free(entry[i]);
    }
    if (count > 0)
        free(entry);
    int failed = _cmocka_run_group_tests("differ_regress", test, (size_t)chosen, NULL, NULL);
    arena_release(&arena);
    return failed;
}
