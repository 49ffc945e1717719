/// Diagnostics: what the user is told about their program, with caret, notes and help.
///
///     Diag *d = diag_error(diags, call_span, "%s: %s is %d in `%s` but %d in `%s`", ...);
///     diag_mark(d, arg_span);                       // a second underline in the excerpt
///     diag_note(d, origin_span, "%s is %s", ...);   // where a side came from
///     diag_help(d, "bring `s` to 64 channels first");
///     diag_fixit(d, span, "layer2");                // help that can be applied
///
/// Messages are lower case, one line, without a full stop, program text in backquotes. Three ways
/// out of trouble: a diagnostic (the program is wrong, exit status 1), world_error() (file, disk,
/// memory; 2), kdc_bug() (ourselves; 70).
#ifndef KDC_SUPPORT_DIAG_H
#define KDC_SUPPORT_DIAG_H

#include <stdio.h>
#include <stdnoreturn.h>

#include "support/source.h"

enum { EXIT_PROGRAM_WRONG = 1, EXIT_WORLD_WRONG = 2, EXIT_WE_ARE_WRONG = 70 };

typedef enum DiagLevel { DIAG_ERROR, DIAG_WARNING } DiagLevel;

typedef struct Diag Diag; // opaque: message, marks, notes, helps

/// Collects diagnostics; they are printed in order of source position by diag_print_all().
typedef struct DiagSink {
    Arena *arena;
    const SourceSet *sources;
    Vec(Diag *) diags;
    size_t error_count, warning_count;
    size_t error_limit; // beyond it errors are counted only; 0 means 20
} DiagSink;

void diag_sink_init(DiagSink *sink, Arena *arena, const SourceSet *sources);
Diag *diag_error(DiagSink *sink, Span span, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
Diag *diag_warning(DiagSink *sink, Span span, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void diag_mark(Diag *diag, Span span);
/// The line could not be read: what other diagnostics say of it is a consequence and not printed.
void diag_misread(Diag *diag);
void diag_note(Diag *diag, Span span, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void diag_help(Diag *diag, const char *format, ...) __attribute__((format(printf, 2, 3)));
/// Help that replaces the text of `span`: printed as "did you mean `text`?" and kept as a fix.
void diag_fixit(Diag *diag, Span span, const char *text);

/// Prints all in order of position to `out`, identical ones once, errors beyond the limit as a
/// count.
void diag_print_all(DiagSink *sink, FILE *out);
/// Forgets what was collected (the REPL, after each input).
void diag_clear(DiagSink *sink);

/// The nearest of `count` names to `name` by edit distance, or NULL when none is near.
const char *nearest_name(const char *name, const char *const *names, size_t count);

/// A file, the disk, memory: prints "kdc: <message>" and exits with 2.
noreturn void world_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
/// Our mistake: prints what, where in our source, and the user's place if known; exits with 70.
#define kdc_bug(...) kdc_bug_at(__FILE__, __LINE__, __VA_ARGS__)
noreturn void kdc_bug_at(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/// What kdc_bug() adds to its message: the pass at work, the node, the user's line. NULL clears.
void kdc_bug_context(const char *text);
/// Invariants; they stay on in release builds.
#define kdc_assert(condition)                                                                      \
    do {                                                                                           \
        if (!(condition))                                                                          \
            kdc_bug("assertion failed: %s", #condition);                                           \
    } while (0)

#endif
