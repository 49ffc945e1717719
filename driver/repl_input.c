// driver/repl_input.c -- the statements of one input, one after another, and how values are
// printed.
#include <ctype.h>
#include <stdlib.h>

#include "driver/repl.h"

const Source *repl_begin_input(Repl *repl, const char *name, const char *text, size_t length) {
    arena_reset(&repl->arena);
    source_set_init(&repl->sources, &repl->arena);
    diag_sink_init(&repl->diags, &repl->arena, &repl->sources);
    return source_add(&repl->sources, name, text, length);
}

void repl_print_value(Repl *repl, const char *pattern, const Outputs *outputs) {
    StrBuf text = {.arena = &repl->arena};
    for (const char *at = pattern ? pattern : "%0"; *at; at++) {
        if (*at != '%' || !isdigit((unsigned char)at[1])) {
            strbuf_putc(&text, *at);
            continue;
        }
        char *end;
        size_t index = strtoul(at + 1, &end, 10);
        kdc_assert(index < outputs->count);
        repl_print_tensor(&text, &repl->arena, &outputs->type[index], outputs->value[index]);
        at = end - 1;
    }
    fprintf(repl->out, "%s\n", strbuf_text(&text));
}

void repl_run_input(Repl *repl, const AstFile *input) {
    frontend_session_input(repl->session, input, &repl->arena, &repl->sources, &repl->diags);
    for (;;) {
        SessionItem item = frontend_session_next(repl->session);
        diag_print_all(&repl->diags, repl->out);
        diag_clear(&repl->diags);
        switch (item.kind) {
        case SESSION_DONE:
            break;
        case SESSION_TEXT:
            fprintf(repl->out, "%s\n", item.text);
            break;
        case SESSION_GRAPH:
            if (!repl_evaluate(repl, &item))
                return;
            break;
        case SESSION_PROGRAM:
            training_open(repl, &item);
            break;
        case SESSION_FAILED:
        case SESSION_END:
            return;
        }
    }
}
