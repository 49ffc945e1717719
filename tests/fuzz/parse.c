// tests/fuzz/parse.c -- any bytes through scanner, layout, parser and printers: no crash, no hang;
// what reads without a mistake prints to a text that reads to an equal tree and prints alike, and
// every place in a tree lies in its text. The same bytes as an input at the prompt: a prefix of
// them is complete, incomplete or wrong, and never incomplete when no more is to come.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "grammar/grammar.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct Reading {
    Arena arena;
    SourceSet sources;
    DiagSink diags;
} Reading;

static void check(bool good) {
    if (!good)
        abort();
}

static void read_begin(Reading *r) {
    *r = (Reading){.arena = {.limit_bytes = (size_t)1 << 30}};
    source_set_init(&r->sources, &r->arena);
    diag_sink_init(&r->diags, &r->arena, &r->sources);
}

static const char *print_of(Reading *r, const AstFile *file) {
    StrBuf text = {.arena = &r->arena};
    ast_print(&text, file);
    return strbuf_text(&text);
}

static void check_program(const uint8_t *data, size_t size) {
    Reading r;
    read_begin(&r);
    const Source *source = source_add(&r.sources, "fuzz.kd", (const char *)data, size);
    const AstFile *file = kd_parse(&r.arena, &r.sources, source, &r.diags);
    for (size_t i = 0; i < file->body.count; i++) {
        Span span = file->body.stmts[i]->span;
        check(span.begin <= span.end && span.end <= size);
    }
    StrBuf tree = {.arena = &r.arena};
    ast_dump(&tree, file, true);
    const char *text = print_of(&r, file);
    if (r.diags.error_count == 0) {
        const Source *again = source_add(&r.sources, "again.kd", text, strlen(text));
        const AstFile *second = kd_parse(&r.arena, &r.sources, again, &r.diags);
        check(r.diags.error_count == 0);
        check(ast_equal(file, second));
        check(strcmp(text, print_of(&r, second)) == 0);
    }
    arena_release(&r.arena);
}

static void check_input(const uint8_t *data, size_t size, bool at_end) {
    Reading r;
    read_begin(&r);
    const Source *source = source_add(&r.sources, "<repl>", (const char *)data, size);
    KdInput input = kd_parse_input(&r.arena, &r.sources, source, at_end, &r.diags);
    check(input.file != NULL);
    check(!at_end || input.state != KD_INPUT_INCOMPLETE);
    check((input.state == KD_INPUT_WRONG) == (r.diags.error_count > 0));
    arena_release(&r.arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    check_program(data, size);
    check_input(data, size, false);
    check_input(data, size, true);
    return 0;
}
