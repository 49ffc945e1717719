/// The command line of kdc: what a row of the tables in options.c says, and what was asked for.
#ifndef KDC_DRIVER_OPTIONS_H
#define KDC_DRIVER_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "frontend/frontend.h"
#include "support/vec.h"

typedef enum Emit {
    EMIT_BINARY, // no --emit: the training binary
    EMIT_AST,
    EMIT_TREE,
    EMIT_IR,
    EMIT_LOOPS,
    EMIT_LLVM,
    EMIT_ASM,
    EMIT_OBJ,
    EMIT_MANIFEST,
} Emit;

typedef struct Options {
    Vec(const char *) inputs;
    Vec(FrontendDefine) defines;
    const char *output;
    Emit emit;
    int level;        // of -O
    bool level_given; // otherwise it is 2
    DType real;
    const char *target_cpu;  // NULL: this machine's
    const char *print_after; // names with commas between, "all" or NULL
    const char *passes;      // names with commas between: run these alone; NULL: those of the level
    const char *without;     // names with commas between, or NULL
    bool unchained;          // launches in no chains
    bool strict_math;        // --math=strict
    bool time_passes;
    bool fully_static;
    bool evaluate;
    bool json;
    bool count;
    bool profile;
    const char *profile_batches; // NULL: all
    int64_t memory_limit_bytes;  // --memory-limit; 0: none
    bool warnings_are_errors;
    const char *deploy;          // --deploy: the name of a deployment, or NULL
    Vec(const char *) weights;   // FILE or MODEL=FILE
    bool wants_help;
    bool wants_version;
    char **run_args; // after `--`, for the program
    int run_arg_count;
} Options;

/// Reads argv[first..argc). On a mistake prints one line to stderr and returns false.
bool options_parse(Options *options, Arena *arena, int argc, char **argv, int first);
/// The part of --help that describes the options.
void options_print_help(void);

#endif
