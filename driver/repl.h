/// What the REPL's files share.
#ifndef KDC_DRIVER_REPL_H
#define KDC_DRIVER_REPL_H

#include <stdio.h>
#include <sys/types.h>

#include "driver/driver.h"
#include "grammar/grammar.h"

/// A child process; process 0: there is none.
typedef struct Worker {
    pid_t process;
    int requests, replies; // our ends of the two pipes
} Worker;

/// Between inputs a session keeps what the frontend holds and the training that `:load` opened. All
/// that one input needs is in `arena`, which the next one resets.
typedef struct Repl {
    const Options *options;
    FrontendSession *session;
    Worker training; // a loaded program that `:step` runs
    Arena arena;
    SourceSet sources;
    DiagSink diags;
    FILE *out;
    bool finished; // :quit
} Repl;

// ---- repl_worker.c: work that may fail in ways that nobody foresaw, in a child process

/// Returns whether all went well; otherwise it has said what did not. What it prints to repl->out
/// appears when it ends, or when it flushes.
typedef bool WorkerTask(Repl *repl, const void *context, int requests, int replies);
/// Starts task(repl, context) in a child.
Worker worker_start(Repl *repl, WorkerTask *task, const void *context);
/// Closes the pipes and waits; says so if the child ended badly. Returns whether it ended well.
bool worker_end(Repl *repl, Worker *worker);
/// Whole or false.
bool worker_read(int from, void *bytes, size_t size);
bool worker_write(int to, const void *bytes, size_t size);

// ---- repl_eval.c: running graphs

/// Runs a SESSION_GRAPH: prints its value, or binds it to the item's name. False if that failed.
bool repl_evaluate(Repl *repl, const SessionItem *item);
/// Says how long the graph takes; its context is an item with `module` and `graph`.
WorkerTask repl_time_task;

/// Through passes and lowering, in a worker; `program` may be NULL.
LoopProgram *repl_lower(Repl *repl, Module *module, Program *program,
                        const CodegenOptions *options);
/// Running code; it stays until the worker ends.
const KdrtProgram *repl_compile(Repl *repl, const LoopProgram *loops, const Module *module,
                                const Program *program, const CodegenOptions *options);
static inline CodegenOptions repl_codegen_options(const Repl *repl) {
    return (CodegenOptions){.level = repl->options->level, .target_cpu = repl->options->target_cpu};
}

/// The values of a graph's outputs in their order, row-major, in the arena; their types.
typedef struct Outputs {
    size_t count;
    const double *const *value;
    const Type *type;
} Outputs;
/// "f32[2, 3] = [[0.1, 0.2, 0.3], ...": long axes are cut.
void repl_print_tensor(StrBuf *out, Arena *arena, const Type *type, const double *value);

// ---- repl_input.c: one input, as it was typed or read

/// Runs the statements of an input that the parser found complete. Stops at the first mistake.
void repl_run_input(Repl *repl, const AstFile *input);
/// `pattern` says how the outputs hang together: "[%0, %1]". Without one there is one output.
void repl_print_value(Repl *repl, const char *pattern, const Outputs *outputs);
/// Forgets the last input; then adds `text` as the source `name`.
const Source *repl_begin_input(Repl *repl, const char *name, const char *text, size_t length);

// ---- repl_command.c: `:ir f(x)`

void repl_run_command(Repl *repl, const char *line);

// ---- repl_train.c: programs with `train` blocks

/// Opens a SESSION_PROGRAM in place of the former one, which stays if that fails.
void training_open(Repl *repl, const SessionItem *item);
void training_step(Repl *repl, int64_t batch_count);
/// Copies what a parameter or state of the program has become; leaves `bytes` alone if there is no
/// such, or of another size.
void training_storage(const Repl *repl, const char *name, void *bytes, int64_t size_bytes);
void training_close(Repl *repl);

// ---- repl_line.c: lines from a terminal or a script

typedef struct LineReader LineReader;
LineReader *line_reader_new(Repl *repl);
/// The next line with its end, valid until the next call; NULL at the end of the input. Length 0:
/// the user gave the line up, and those before it that it continues.
const char *line_reader_next(LineReader *reader, bool continued, size_t *length);
void line_reader_free(LineReader *reader);

#endif
