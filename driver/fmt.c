// driver/fmt.c -- `kdc fmt model.kd ...`: programs in their canonical form, in place. A file with
// mistakes is left alone; `-o -` prints instead.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver/driver.h"

static bool format_file(const Options *options, const char *path) {
    Compilation c;
    compile_begin(&c, options, path);
    if (compile_input_is_ir(&c) || compile_input_is_loops(&c)) {
        fprintf(stderr, "kdc: %s is IR, not a program\n", path);
        compile_end(&c);
        return false;
    }
    compile_read(&c);
    bool good = c.diags.error_count == 0;
    diag_print_all(&c.diags, stderr);
    if (good) {
        StrBuf text = {.arena = &c.arena};
        ast_print(&text, c.file);
        bool same = text.length == c.source->length &&
                    (text.length == 0 || memcmp(text.text, c.source->text, text.length) == 0);
        if (options->output)
            write_output(options->output, strbuf_text(&text), text.length);
        else if (!same)
            write_output(path, strbuf_text(&text), text.length);
    }
    compile_end(&c);
    return good;
}

int command_fmt(const Options *options) {
    if (options->inputs.count == 0 || (options->output && options->inputs.count > 1)) {
        fprintf(stderr, "kdc: fmt needs %s\n", options->output ? "one file" : "a file");
        return EXIT_PROGRAM_WRONG;
    }
    bool good = true;
    for (size_t i = 0; i < options->inputs.count; i++)
        good = format_file(options, options->inputs.at[i]) && good;
    return good ? EXIT_SUCCESS : EXIT_PROGRAM_WRONG;
}
