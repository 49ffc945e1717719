// tests/unit/frontend/parse.c -- what the text cases cannot show: whole programs there and back,
// inputs at the prompt, limits on both sides, and that time grows with length alone.
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "grammar/grammar.h"

typedef struct Reading {
    Arena arena;
    SourceSet sources;
    DiagSink diags;
} Reading;

static void read_begin(Reading *r) {
    *r = (Reading){0};
    source_set_init(&r->sources, &r->arena);
    diag_sink_init(&r->diags, &r->arena, &r->sources);
}

static AstFile *read_text(Reading *r, const char *text, size_t length) {
    const Source *source = source_add(&r->sources, "test.kd", text, length);
    return kd_parse(&r->arena, &r->sources, source, &r->diags);
}

static const char *print_of(Reading *r, const AstFile *file) {
    StrBuf text = {.arena = &r->arena};
    ast_print(&text, file);
    return strbuf_text(&text);
}

static void check_there_and_back(const char *path) {
    Reading r;
    const char *reason;
    read_begin(&r);
    const Source *source = source_read(&r.sources, path, AST_SOURCE_MAX, &reason);
    assert_non_null(source);
    const AstFile *file = kd_parse(&r.arena, &r.sources, source, &r.diags);
    if (r.diags.error_count > 0)
        diag_print_all(&r.diags, stderr);
    assert_int_equal(r.diags.error_count, 0);
    const char *text = print_of(&r, file);
    const AstFile *again = read_text(&r, text, strlen(text));
    assert_int_equal(r.diags.error_count, 0);
    assert_true(ast_equal(file, again));
    assert_string_equal(text, print_of(&r, again));
    arena_release(&r.arena);
}

/// Every .kd in a folder; how many there are.
static size_t check_folder(const char *folder) {
    size_t count = 0;
    DIR *dir = opendir(folder);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        const char *dot = strrchr(entry->d_name, '.');
        if (!dot || strcmp(dot, ".kd") != 0)
            continue;
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        check_there_and_back(path);
        count++;
    }
    if (dir)
        closedir(dir);
    return count;
}

static void programs_of_the_brief_come_back(void **state) {
    (void)state;
    const char *shared = getenv("KDC_SHARED");
    char folder[4096];
    snprintf(folder, sizeof folder, "%s/design/programs",
             shared ? shared : KDC_TESTS_DIR "/../../shared");
    size_t count = check_folder(folder);
    if (count == 0) {
        print_message("no programs in %s: skipped\n", folder);
        skip();
    }
    assert_true(count >= 18);
}

static void syntax_cases_come_back(void **state) {
    (void)state;
    assert_true(check_folder(KDC_TESTS_DIR "/syntax") > 0);
}

static void the_library_comes_back(void **state) {
    (void)state;
    check_folder(KDC_TESTS_DIR "/../std");
    check_folder(KDC_EXAMPLES_DIR);
}

// ---- the prompt ----

static KdInputState input_state(const char *text, bool at_end, size_t *count) {
    Reading r;
    read_begin(&r);
    const Source *source = source_add(&r.sources, "<repl>", text, strlen(text));
    KdInput input = kd_parse_input(&r.arena, &r.sources, source, at_end, &r.diags);
    assert_int_equal(r.diags.error_count > 0, input.state == KD_INPUT_WRONG);
    *count = input.file->body.count;
    arena_release(&r.arena);
    return input.state;
}

static void inputs_tell_whether_they_are_complete(void **state) {
    (void)state;
    static const struct {
        const char *text;
        KdInputState state;
        size_t count;
    } cases[] = {
        {"", KD_INPUT_COMPLETE, 0},
        {"# a comment\n", KD_INPUT_COMPLETE, 0},
        {"softmax(x / 2, axis = 1)", KD_INPUT_COMPLETE, 1},
        {"let x = randn([4, 8], seed = 1)\n", KD_INPUT_COMPLETE, 1},
        {"fn f(x) = sum(x)\nf(3); x = 4", KD_INPUT_COMPLETE, 3},
        {"if a { 1 } else { 2 }", KD_INPUT_COMPLETE, 1},
        {"data(step) - model", KD_INPUT_COMPLETE, 1},
        {"slow.fc <- 3", KD_INPUT_COMPLETE, 1},
        {"-x", KD_INPUT_COMPLETE, 1},
        {"for i in 0..3 { let y = i }", KD_INPUT_COMPLETE, 1},
        {"f(1,", KD_INPUT_INCOMPLETE, 0},
        {"f(1,\n\n", KD_INPUT_INCOMPLETE, 0},
        {"let x =\n", KD_INPUT_INCOMPLETE, 0},
        {"x |>", KD_INPUT_INCOMPLETE, 0},
        {"x + # more\n", KD_INPUT_INCOMPLETE, 0},
        {"net n(x) {\n    let y = x\n", KD_INPUT_INCOMPLETE, 0},
        {"[1, 2\n", KD_INPUT_INCOMPLETE, 0},
        {"let 3", KD_INPUT_WRONG, 1},
        {"f(1))", KD_INPUT_WRONG, 1},
        {"\"open", KD_INPUT_WRONG, 1},
        {"\"open {x", KD_INPUT_WRONG, 1},
        {"f(= 3,", KD_INPUT_WRONG, 1},
        {"batch 128", KD_INPUT_WRONG, 1},
        {"minimize x", KD_INPUT_WRONG, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t count;
        KdInputState found = input_state(cases[i].text, false, &count);
        if (found != cases[i].state || (found == KD_INPUT_COMPLETE && count != cases[i].count))
            fail_msg("`%s`: state %d with %zu statements", cases[i].text, (int)found, count);
        found = input_state(cases[i].text, true, &count);
        KdInputState wanted =
            cases[i].state == KD_INPUT_INCOMPLETE ? KD_INPUT_WRONG : cases[i].state;
        if (found != wanted)
            fail_msg("`%s` at the end: state %d", cases[i].text, (int)found);
    }
}

// ---- limits ----

/// `prefix`, `count` times `unit`, `middle`, `count` times `end`, a line end.
static size_t errors_in(const char *prefix, const char *unit, size_t count, const char *middle,
                        const char *end) {
    Reading r;
    read_begin(&r);
    StrBuf text = {.arena = &r.arena};
    strbuf_puts(&text, prefix);
    for (size_t i = 0; i < count; i++)
        strbuf_puts(&text, unit);
    strbuf_puts(&text, middle);
    for (size_t i = 0; i < count; i++)
        strbuf_puts(&text, end);
    strbuf_putc(&text, '\n');
    const AstFile *file = read_text(&r, strbuf_text(&text), text.length);
    size_t errors = r.diags.error_count;
    StrBuf out = {.arena = &r.arena};
    ast_dump(&out, file, true);
    print_of(&r, file);
    arena_release(&r.arena);
    return errors;
}

static void limits_hold_on_both_sides(void **state) {
    (void)state;
    assert_int_equal(errors_in("let x = ", "(", AST_NESTING_MAX, "1", ")"), 0);
    assert_int_equal(errors_in("let x = ", "(", AST_NESTING_MAX + 1, "1", ")"), 1);
    assert_int_equal(errors_in("fn f() ", "{ if a ", AST_NESTING_MAX - 1, "{ }", "}"), 0);
    assert_int_equal(errors_in("fn f() ", "{ if a ", AST_NESTING_MAX, "{ }", "}"), 1);
    assert_int_equal(errors_in("let x = 1", "+1", AST_DEPTH_MAX - 1, "", ""), 0);
    assert_int_equal(errors_in("let x = 1", "+1", AST_DEPTH_MAX, "", ""), 1);
    assert_int_equal(errors_in("let x = 1", "+1", 100 * AST_DEPTH_MAX, "", ""), 1);
    assert_int_equal(errors_in("let x = ", "-", AST_DEPTH_MAX - 1, "1", ""), 0);
    assert_int_equal(errors_in("let x = ", "-", AST_DEPTH_MAX, "1", ""), 1);
    assert_int_equal(errors_in("let x = ", "-", 50 * AST_DEPTH_MAX, "1", ""), 1);
    assert_int_equal(errors_in("let ", "a", AST_NAME_MAX, " = 1", ""), 0);
    assert_int_equal(errors_in("let ", "a", AST_NAME_MAX + 1, " = 1", ""), 1);
    assert_int_equal(errors_in("let x = y.", "a", AST_NAME_MAX, "", ""), 0);
    assert_int_equal(errors_in("let x = y.", "a", AST_NAME_MAX + 1, "", ""), 1);
    assert_int_equal(errors_in("let x = \"", "a", AST_TOKEN_MAX - 1, "\"", ""), 0);
    assert_int_equal(errors_in("let x = \"", "a", AST_TOKEN_MAX + 1, "\"", ""), 1);
    assert_int_equal(errors_in("let x = 0.", "1", AST_TOKEN_MAX - 2, "", ""), 0);
    assert_int_equal(errors_in("let x = 0.", "1", AST_TOKEN_MAX, "", ""), 1);
    assert_int_equal(errors_in("#", "a", 4 * AST_TOKEN_MAX, "", ""), 0);
    assert_int_equal(errors_in("", "\n", AST_SOURCE_MAX - 1, "", ""), 0);
    assert_int_equal(errors_in("", "\n", AST_SOURCE_MAX, "", ""), 1);
}

// ---- time ----

static double seconds_of(const char *prefix, const char *unit, size_t length) {
    struct timespec begin, end;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &begin);
    errors_in(prefix, unit, length / strlen(unit), "", "");
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
    return (double)(end.tv_sec - begin.tv_sec) + 1e-9 * (double)(end.tv_nsec - begin.tv_nsec);
}

/// Quadratic behaviour over 512 KiB is minutes; a linear reader takes a fraction of a second.
static void time_is_linear(void **state) {
    (void)state;
    static const char *const families[][2] = {
        {"", "let a = b\n"},
        {"let x = 1", "+1"},
        {"let x = [", "1,"},
        {"", "f(a,"},
        {"", "/*"},
        {"", "\""},
        {"", "\"{"},
        {"", "'"},
        {"", "# \1"},
        {"", "\n"},
        {"", ";"},
        {"", "}"},
        {"", "{"},
        {"let x = a", ".b"},
        {"let x = a", "[0]"},
        {"", "a "},
        {"", "\\"},
        {"", "## d\n"},
        {"fn f(){", "let a=(\n"},
        {"", "\xc3\xa9"},
        {"let x = \"", "\\n"},
        {"let x = a", "|>f "},
        {"", "if a { b = 1 }\n"},
        {"", "batch 1\n"},
        {"let x = ", "a<"},
        {"let x = ", "a^"},
        {"fn f(){if a{}", "else if a{}"},
        {"", "@"},
    };
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        double seconds = seconds_of(families[i][0], families[i][1], (size_t)512 << 10);
        if (seconds > 10)
            fail_msg("%s %s ...: %.1f s", families[i][0], families[i][1], seconds);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(programs_of_the_brief_come_back),
        cmocka_unit_test(syntax_cases_come_back),
        cmocka_unit_test(the_library_comes_back),
        cmocka_unit_test(inputs_tell_whether_they_are_complete),
        cmocka_unit_test(limits_hold_on_both_sides),
        cmocka_unit_test(time_is_linear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
