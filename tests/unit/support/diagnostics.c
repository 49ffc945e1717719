// tests/unit/support/diagnostics.c -- source positions, excerpts with carets, and near names.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/diag.h"
#include "support/strbuf.h"

typedef struct Fixture {
    Arena arena;
    SourceSet sources;
    DiagSink sink;
} Fixture;

static int set_up(void **state) {
    Fixture *f = calloc(1, sizeof *f);
    source_set_init(&f->sources, &f->arena);
    diag_sink_init(&f->sink, &f->arena, &f->sources);
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    Fixture *f = *state;
    arena_release(&f->arena);
    free(f);
    return 0;
}

// The first occurrence of `part` in the source.
static Span span_of(const Source *source, const char *part) {
    const char *at = strstr(source->text, part);
    assert_non_null(at);
    uint32_t begin = (uint32_t)(at - source->text);
    return (Span){source->id, begin, begin + (uint32_t)strlen(part)};
}

static const char *printed(Fixture *f) {
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    diag_print_all(&f->sink, out);
    fclose(out);
    const char *copy = arena_strdup(&f->arena, text);
    free(text);
    return copy;
}

static Source *add(Fixture *f, const char *name, const char *text) {
    return source_add(&f->sources, name, text, strlen(text));
}

static void check_position(Fixture *f, const Source *s, uint32_t at, int line, int column) {
    int found_line, found_column;
    source_position(&f->sources, (Span){s->id, at, at}, &found_line, &found_column);
    assert_int_equal(found_line, line);
    assert_int_equal(found_column, column);
}

static void positions_count_characters(void **state) {
    Fixture *f = *state;
    Source *s = add(f, "a.kd", "ab\n\n\tä€x\nend");
    check_position(f, s, 0, 1, 1);
    check_position(f, s, 2, 1, 3);
    check_position(f, s, 3, 2, 1);
    check_position(f, s, 4, 3, 1);
    check_position(f, s, 5, 3, 2);   // after the tab
    check_position(f, s, 7, 3, 3);   // after the two bytes of ä
    check_position(f, s, 10, 3, 4);  // after the three of the euro
    check_position(f, s, 15, 4, 4);  // the end
    check_position(f, s, 999, 4, 4); // past it
    check_position(f, add(f, "empty", ""), 0, 1, 1);
    check_position(f, add(f, "newline", "\n"), 1, 2, 1);
}

static void spans_join(void **state) {
    (void)state;
    Span joined = span_join((Span){1, 5, 7}, (Span){1, 2, 6});
    assert_int_equal(joined.begin, 2);
    assert_int_equal(joined.end, 7);
    joined = span_join((Span){0}, (Span){1, 2, 6});
    assert_int_equal(joined.source, 1);
    assert_true(span_is_none((Span){0}));
    assert_false(span_is_none((Span){1, 0, 0}));
}

static void an_error_with_marks_notes_and_help(void **state) {
    Fixture *f = *state;
    Source *std = add(f, "std/nets.kd", "net a(x) {\n    return relu(x)\n}\n");
    Source *s = add(f, "distill.kd", "\nlet cd = mean([channel_loss(s[i], t[i]) for i in 0..3])\n");
    Diag *d =
        diag_error(&f->sink, span_of(s, "channel_loss"), "%s: %s is %d in `%s` but %d in `%s`",
                   "channel_loss", "C", 16, "s", 64, "t");
    diag_mark(d, span_of(s, "s[i]"));
    diag_mark(d, span_of(s, "t[i]"));
    diag_note(d, span_of(std, "relu"), "s[0] is student.layer1: f32[128, 16, 28, 28]");
    diag_note(d, (Span){0}, "t[0] is built in");
    diag_help(d, "bring `s` to 64 channels first");
    diag_fixit(d, span_of(s, "mean"), "sum");
    assert_string_equal(
        printed(f), "distill.kd:2:16: error: channel_loss: C is 16 in `s` but 64 in `t`\n"
                    "    2 | let cd = mean([channel_loss(s[i], t[i]) for i in 0..3])\n"
                    "      |                ^~~~~~~~~~~~ ~~~~  ~~~~\n"
                    "      | note: s[0] is student.layer1: f32[128, 16, 28, 28]   (std/nets.kd:2)\n"
                    "      | note: t[0] is built in\n"
                    "      | help: bring `s` to 64 channels first\n"
                    "      | help: did you mean `sum`?\n");
    assert_int_equal(f->sink.error_count, 1);
    diag_clear(&f->sink);
    assert_int_equal(f->sink.error_count, 0);
    assert_string_equal(printed(f), "");
}

static void marks_on_other_lines_are_shown_in_order(void **state) {
    Fixture *f = *state;
    Source *s = add(f, "a.kd", "let a = 1\nlet b = 2\nlet a = 3\n");
    Diag *d = diag_error(&f->sink, (Span){s->id, 24, 25}, "`a` is defined twice");
    diag_mark(d, (Span){s->id, 4, 5});
    assert_string_equal(printed(f), "a.kd:3:5: error: `a` is defined twice\n"
                                    "    1 | let a = 1\n"
                                    "      |     ~\n"
                                    "    3 | let a = 3\n"
                                    "      |     ^\n");
}

static void carets_stand_under_what_they_mean(void **state) {
    Fixture *f = *state;
    Source *s = add(f, "a.kd", "\tx = \"ä漢\" + y\r\nlast\x1b[31m \xff z");
    diag_error(&f->sink, span_of(s, "y"), "tabs, two bytes, two cells");
    diag_error(&f->sink, span_of(s, "z"), "no escape reaches the terminal");
    diag_error(&f->sink, (Span){s->id, (uint32_t)s->length, (uint32_t)s->length}, "end of file");
    diag_error(&f->sink, span_of(s, "x = \"ä漢\" + y\r\nla"), "a span of two lines");
    assert_string_equal(printed(f), "a.kd:1:2: error: a span of two lines\n"
                                    "    1 |     x = \"ä漢\" + y\n"
                                    "      |     ^~~~~~~~~~~~~\n"
                                    "a.kd:1:13: error: tabs, two bytes, two cells\n"
                                    "    1 |     x = \"ä漢\" + y\n"
                                    "      |                 ^\n"
                                    "a.kd:2:13: error: no escape reaches the terminal\n"
                                    "    2 | last\xef\xbf\xbd[31m \xef\xbf\xbd z\n"
                                    "      |             ^\n"
                                    "a.kd:2:14: error: end of file\n"
                                    "    2 | last\xef\xbf\xbd[31m \xef\xbf\xbd z\n"
                                    "      |              ^\n");
}

static void a_long_line_is_shown_in_part(void **state) {
    Fixture *f = *state;
    StrBuf text = {.arena = &f->arena};
    for (int i = 0; i < 1000; i++)
        strbuf_printf(&text, "%04d ", i);
    Source *s = add(f, "long", strbuf_text(&text));
    diag_error(&f->sink, span_of(s, "0500"), "far out");
    const char *out = printed(f);
    assert_true(strlen(out) < 600);
    const char *line = strstr(out, "    1 | ...");
    const char *under = strstr(out, "      |");
    assert_non_null(line);
    assert_int_equal(strstr(line, "0500") - line, strstr(under, "^~~~") - under);
}

static void messages_are_one_bounded_line(void **state) {
    Fixture *f = *state;
    char *name = arena_alloc(&f->arena, 100001);
    memset(name, 'x', 100000);
    diag_error(&f->sink, (Span){0}, "unknown name `a\nb\x1b` or `%s`", name);
    const char *out = printed(f);
    assert_true(strlen(out) < 2100);
    assert_non_null(strstr(out, "error: unknown name `a b ` or `xxx"));
    assert_ptr_equal(strchr(out, '\n'), out + strlen(out) - 1);
}

static size_t count_of(const char *text, const char *part) {
    size_t count = 0;
    for (; (text = strstr(text, part)); text++)
        count++;
    return count;
}

static void errors_beyond_the_limit_are_counted(void **state) {
    Fixture *f = *state;
    char body[5000];
    memset(body, '\n', sizeof body);
    Source *s = source_add(&f->sources, "a.kd", body, sizeof body);
    f->sink.error_limit = 3;
    for (uint32_t i = 0; i < 5000; i++)
        diag_error(&f->sink, (Span){s->id, 999 - i % 1000, 1000}, "same text");
    const char *out = printed(f); // 1000 distinct ones are among the first 1003
    assert_int_equal(count_of(out, "error: "), 3);
    assert_non_null(strstr(out, "a.kd:1:1: error"));
    assert_non_null(strstr(out, "a.kd:3:1: error"));
    assert_non_null(strstr(out, "\nkdc: 4994 more errors not shown\n"));
    diag_clear(&f->sink);
    for (int i = 0; i < 10; i++)
        diag_error(&f->sink, (Span){s->id, 1, 2}, "once");
    diag_warning(&f->sink, (Span){s->id, 0, 1}, "first");
    assert_string_equal(printed(f), "a.kd:1:1: warning: first\n    1 |\n      | ^\n"
                                    "a.kd:2:1: error: once\n    2 |\n      | ^\n");
}

static void files_are_read_whole_or_refused(void **state) {
    Fixture *f = *state;
    const char *reason = NULL;
    assert_null(source_read(&f->sources, "/nonexistent/x.kd", 100, &reason));
    assert_string_equal(reason, "No such file or directory");
    assert_null(source_read(&f->sources, "/", 100, &reason));
    assert_string_equal(reason, "Is a directory");
    assert_null(source_read(&f->sources, "/dev/zero", 16 << 20, &reason));
    assert_string_equal(reason, "larger than 16 MiB");

    char path[] = "/tmp/kdc-source-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "a\0b\n", 4), 4);
    close(fd);
    assert_null(source_read(&f->sources, path, 3, &reason));
    assert_string_equal(reason, "larger than 3 bytes");
    Source *s = source_read(&f->sources, path, 4, &reason);
    unlink(path);
    assert_non_null(s);
    assert_int_equal(s->length, 4);
    assert_memory_equal(s->text, "a\0b\n", 5);
    assert_int_equal(s->line_count, 2);
    s = source_read(&f->sources, "/dev/null", 4, &reason);
    assert_non_null(s);
    assert_int_equal(s->length, 0);
}

static void near_names(void **state) {
    (void)state;
    static const char *const names[] = {"layer1", "layer2", "conv2d", "relu", "T", "batch_norm"};
    enum { COUNT = sizeof names / sizeof *names };
    assert_string_equal(nearest_name("layr2", names, COUNT), "layer2");
    assert_string_equal(nearest_name("layer3", names, COUNT), "layer1"); // the first of equals
    assert_string_equal(nearest_name("conv2D", names, COUNT), "conv2d");
    assert_string_equal(nearest_name("rleu", names, COUNT), "relu"); // one swap
    assert_string_equal(nearest_name("batchnorm", names, COUNT), "batch_norm");
    assert_string_equal(nearest_name("t", names, COUNT), "T");
    assert_null(nearest_name("x", names, COUNT));
    assert_null(nearest_name("-x", (const char *const[]){"-o"}, 1));
    assert_null(nearest_name("softmax", names, COUNT));
    assert_null(nearest_name("", names, COUNT));
    assert_null(nearest_name("relu", names, 0));
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(positions_count_characters),         CASE(spans_join),
        CASE(an_error_with_marks_notes_and_help), CASE(marks_on_other_lines_are_shown_in_order),
        CASE(carets_stand_under_what_they_mean),  CASE(a_long_line_is_shown_in_part),
        CASE(messages_are_one_bounded_line),      CASE(errors_beyond_the_limit_are_counted),
        CASE(files_are_read_whole_or_refused),    CASE(near_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
