// driver/repl.c -- `kdc` and `kdc repl`: read an input, run it, print its value, again.
//
// A line that begins with `:` is a command. Other lines are collected until the parser finds them
// complete. Results and messages both go to the standard output, in their order. No mistake ends
// it: what may fail in more than a message is done by workers (repl_worker.c).
#include "driver/repl.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

static FrontendOptions frontend_options(const Options *options) {
    return (FrontendOptions){
        .defines = options->defines.at,
        .define_count = options->defines.count,
        .real = options->real,
        .probe = probe_data,
        .transform_row = transform_row,
        .transform_shape = transform_shape,
    };
}

// Parses what was collected. Returns whether it was dealt with; otherwise another line is needed.
static bool run_collected(Repl *repl, const StrBuf *collected, bool at_end) {
    const Source *source =
        repl_begin_input(repl, "<repl>", strbuf_text(collected), collected->length);
    KdInput input = kd_parse_input(&repl->arena, &repl->sources, source, at_end, &repl->diags);
    switch (input.state) {
    case KD_INPUT_COMPLETE:
        repl_run_input(repl, input.file);
        return true;
    case KD_INPUT_WRONG:
        diag_print_all(&repl->diags, repl->out);
        return true;
    case KD_INPUT_INCOMPLETE:
        return false;
    }
    kdc_bug("no state %d of an input", (int)input.state);
}

static bool is_command(const char *line) {
    return line[strspn(line, " \t")] == ':';
}

static void read_and_run(Repl *repl, LineReader *reader) {
    Arena arena = {0};
    StrBuf collected = {.arena = &arena};
    const char *line;
    size_t length;
    while (!repl->finished &&
           (line = line_reader_next(reader, collected.length > 0, &length)) != NULL) {
        if (!length) {
            // forget what was collected
        } else if (!collected.length && is_command(line)) {
            repl_run_command(repl, line + strspn(line, " \t:"));
        } else if (collected.length + length > AST_SOURCE_MAX) {
            fprintf(repl->out, "kdc: the input is larger than %d MiB\n", AST_SOURCE_MAX >> 20);
        } else {
            strbuf_write(&collected, line, length);
            if (!run_collected(repl, &collected, false))
                continue;
        }
        repl->finished |= fflush(repl->out) != 0; // nobody reads on
        arena_reset(&arena);
        collected = (StrBuf){.arena = &arena};
    }
    if (collected.length)
        run_collected(repl, &collected, true);
    fflush(repl->out);
    arena_release(&arena);
}

int command_repl(const Options *options) {
    signal(SIGPIPE, SIG_IGN); // a worker may end before its request has come
    FrontendOptions settings = frontend_options(options);
    Repl repl = {.options = options, .out = stdout, .session = frontend_session_new(&settings)};
    for (size_t i = 0; i < options->inputs.count; i++) {
        Arena arena = {0};
        repl_run_command(&repl, arena_printf(&arena, "load %s", options->inputs.at[i]));
        arena_release(&arena);
    }
    LineReader *reader = line_reader_new(&repl);
    read_and_run(&repl, reader);
    line_reader_free(reader);
    training_close(&repl);
    frontend_session_free(repl.session);
    arena_release(&repl.arena);
    return EXIT_SUCCESS;
}
