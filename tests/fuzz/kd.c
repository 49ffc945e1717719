// tests/fuzz/kd.c -- any bytes as a program: no crash, no hang; what is read prints, reads and
// prints alike, and elaborates to a module that verifies or is refused with a message. Every data
// set is there and looks alike, whatever its path: nothing outside the program decides.
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

// 100 images of 1x8x8 for training and 20 for testing; a path that ends in '!' has none.
static bool probe(Arena *arena, const char *source, const char *path, DataHeader *header,
                  const char **message) {
    size_t length = strlen(path);
    if (!source[0] || (length && path[length - 1] == '!')) {
        *message = "there is no such data";
        return false;
    }
    *header = (DataHeader){.count = 100, .test_count = 20, .classes = 10};
    const DataField image = {"image", {.dtype = DT_U8, .rank = 3, .dim = {1, 8, 8}}};
    const DataField label = {"label", {.dtype = DT_U8}};
    vec_push(arena, &header->fields, image);
    vec_push(arena, &header->fields, label);
    return true;
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
    const FrontendOptions options = {.real = size % 2 ? DT_F64 : DT_F32, .probe = probe};
    const Program *program = frontend_elaborate(file, &options, &arena, &sources, &diags);
    if (!program != (diags.error_count > 0))
        abort();
    if (program && module_verify(program->module, &arena))
        abort();
    FILE *out = fopen("/dev/null", "w");
    if (out) {
        diag_print_all(&diags, out);
        fclose(out);
    }
    arena_release(&arena);
    return 0;
}
