// tests/fuzz/kd.c -- any bytes as a program: no crash, no hang; what is read prints, reads and
// prints alike, and elaborates or is refused.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/frontend.h"
#include "grammar/grammar.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *print_of(Arena *arena, const AstFile *file) {
    StrBuf text = {.arena = arena};
    ast_print(&text, file);
    return strbuf_text(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Arena arena = {.limit_bytes = (size_t)1 << 30};
    SourceSet sources;
    DiagSink diags;
    source_set_init(&sources, &arena);
    diag_sink_init(&diags, &arena, &sources);
    const Source *source = source_add(&sources, "fuzz.kd", (const char *)data, size);
    const AstFile *file = kd_parse(&arena, &sources, source, &diags);
    if (diags.error_count == 0) {
        const char *text = print_of(&arena, file);
        const Source *again = source_add(&sources, "again.kd", text, strlen(text));
        const AstFile *read_again = kd_parse(&arena, &sources, again, &diags);
        if (diags.error_count || !ast_equal(file, read_again) ||
            strcmp(text, print_of(&arena, read_again)) != 0)
            abort();
    }
    const FrontendOptions options = {.real = DT_F32};
    const Program *program = frontend_elaborate(file, &options, &arena, &sources, &diags);
    if (!program != (diags.error_count > 0))
        abort();
    FILE *out = fopen("/dev/null", "w");
    if (out) {
        diag_print_all(&diags, out);
        fclose(out);
    }
    arena_release(&arena);
    return 0;
}
