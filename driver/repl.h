/// What the REPL's files share.
#ifndef KDC_DRIVER_REPL_H
#define KDC_DRIVER_REPL_H

#include <stdio.h>

#include "driver/driver.h"
#include "grammar/grammar.h"

typedef struct Training Training; // a loaded program that :step runs

/// Between inputs a session keeps what the frontend holds and the training that `:load` opened. All
/// that one input needs is in `arena`, which the next one resets.
typedef struct Repl {
    const Options *options;
    FrontendSession *session;
    Training *training; // or NULL
    Arena arena;
    SourceSet sources;
    DiagSink diags;
    FILE *out;
    bool finished; // :quit
} Repl;

// ---- repl_eval.c: running graphs

/// Runs `graph` and returns the values of its outputs, in their order, row-major, in the arena;
/// their count and types too.
typedef struct Outputs {
    size_t count;
    const double *const *value;
    const Type *type;
} Outputs;
Outputs repl_run_graph(Repl *repl, Module *module, Graph *graph);
/// "f32[2, 3] = [[0.1, 0.2, 0.3], ...": long axes are cut.
void repl_print_tensor(StrBuf *out, Arena *arena, const Type *type, const double *value);

// ---- repl_input.c: one input, as it was typed or read

/// Runs the statements of an input that the parser found complete. Stops at the first mistake.
void repl_run_input(Repl *repl, const AstFile *input);
/// Forgets the last input; then adds `text` as the source `name`.
const Source *repl_begin_input(Repl *repl, const char *name, const char *text, size_t length);

// ---- repl_command.c: `:ir f(x)`

void repl_run_command(Repl *repl, const char *line);

// ---- repl_train.c: programs with `train` blocks

Training *training_open(Repl *repl, Program *program);
void training_step(Repl *repl, Training *training, int64_t batch_count);
void training_close(Training *training);

// ---- repl_line.c: lines from a terminal or a script

typedef struct LineReader LineReader;
LineReader *line_reader_new(Repl *repl);
/// The next line with its end, valid until the next call; NULL at the end of the input.
const char *line_reader_next(LineReader *reader, bool continued, size_t *length);
void line_reader_free(LineReader *reader);

#endif
