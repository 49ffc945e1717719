// frontend/report.c -- where a mistake is shown: in the program, even if the library ran into it.
//
// A span in the library is replaced by that of the innermost call in the user's own text that led
// there; a note then names the place in the library.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/elaborate.h"

bool in_library(const Elab *e, Span span) {
    return !span_is_none(span) && strncmp(source_of(e->sources, span)->name, "std/", 4) == 0;
}

static Diag *report(Elab *e, DiagLevel level, Span span, const char *text) {
    const char *function = e->function;
    Span inner = {0};
    if (in_library(e, span)) {
        inner = span;
        for (const Origin *o = e->origin; o; o = o->caller) {
            span = o->span;
            if (!in_library(e, span))
                break;
            function = o->function;
        }
    }
    if (!span_is_none(inner) && function)
        text = arena_printf(e->arena, "%s: %s", function, text);
    Diag *diag = level == DIAG_ERROR ? diag_error(e->diags, span, "%s", text)
                                     : diag_warning(e->diags, span, "%s", text);
    if (!span_is_none(inner))
        diag_note(diag, inner, "found in `%s`", e->function ? e->function : "the library");
    if (e->rest_of_data && level == DIAG_ERROR) {
        diag_note(diag, (Span){0}, "%s", e->rest_of_data);
        diag_help(diag, "another `batch` leaves another rest; `drop_last` leaves it out of training");
    }
    return diag;
}

#define FORMATTED(text)                                                                            \
    va_list arguments;                                                                             \
    va_start(arguments, format);                                                                   \
    const char *text = arena_vprintf(e->arena, format, arguments);                                 \
    va_end(arguments)

Diag *report_error(Elab *e, Span span, const char *format, ...) {
    FORMATTED(text);
    return report(e, DIAG_ERROR, span, text);
}

Diag *report_warning(Elab *e, Span span, const char *format, ...) {
    FORMATTED(text);
    return report(e, DIAG_WARNING, span, text);
}

Value fail(Elab *e, Span span, const char *format, ...) {
    FORMATTED(text);
    report(e, DIAG_ERROR, span, text);
    return value_poison();
}

Value fail_limit(Elab *e, Span span, const char *format, ...) {
    FORMATTED(text);
    if (!e->stopped)
        report(e, DIAG_ERROR, span, text);
    e->stopped = true;
    return value_poison();
}

const char *rest_text(Elab *e, int64_t last_batch, int64_t all) {
    const char *of = all ? arena_printf(e->arena, ": what is left of %" PRId64 " examples", all) : "";
    return arena_printf(e->arena, "in the last batch, of size %" PRId64 "%s", last_batch, of);
}

Value not_built(Elab *e, Span span, const char *what) {
    return fail(e, span, "%s is not built yet", what);
}

const char *expr_text(Elab *e, const AstExpr *expr) {
    StrBuf text = {.arena = e->arena};
    ast_print_expr(&text, expr);
    return strbuf_text(&text);
}

const char *a_list_of(Elab *e, const char *const *names, size_t count) {
    enum { SHOWN = 12 };
    StrBuf text = {.arena = e->arena};
    for (size_t i = 0; i < count && i < SHOWN; i++) {
        bool last = i + 1 == count;
        strbuf_printf(&text, "%s`%s`", i == 0 ? "" : last ? " and " : ", ", names[i]);
    }
    if (count > SHOWN)
        strbuf_printf(&text, " and %zu more", count - SHOWN);
    return strbuf_text(&text);
}

const Origin *origin_at(Elab *e, Span span) {
    Origin *origin = arena_new(e->arena, Origin);
    const Instance *self = e->app ? e->app->self : NULL;
    *origin = (Origin){.span = span,
                       .function = e->function,
                       .caller = e->origin,
                       .stage = e->stage,
                       .module = self && self->net ? self->path : NULL};
    return origin;
}
