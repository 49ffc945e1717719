/// The driver: the one folder that sees every front door.
///
///     main.c ──► a command (build.c run.c check.c cost.c fmt.c repl.c) ──► compile.c: the stages
#ifndef KDC_DRIVER_DRIVER_H
#define KDC_DRIVER_DRIVER_H

#include "codegen/codegen.h"
#include "driver/options.h"
#include "frontend/frontend.h"
#include "passes/passes.h"

/// Commands return the exit status.
typedef int Command(const Options *options);
Command command_build, command_run, command_check, command_cost, command_fmt, command_repl,
    command_help, command_version;

/// One input on its way through the compiler. Each stage fills what the next one reads.
typedef struct Compilation {
    const Options *options;
    Arena arena; // holds all of this
    SourceSet sources;
    DiagSink diags;
    const Source *source;
    AstFile *file;      // NULL for .ir and .loops files
    Program *program;   // NULL for .ir and .loops files
    Module *module;     // the program's, or what the .ir file holds
    LoopProgram *loops; // after compile_to_loops()
    LoopKernel *kernel; // what a .loops file holds
    CodegenOptions codegen;
    bool quiet; // its diagnostics were printed before
    PassObserver *observe; // of compile_run_passes(), with `observer`; may be NULL
    void *observer;
} Compilation;

/// The stages in order. On a mistake of the user's each returns false with the diagnostics printed
/// already; a file that cannot be read ends the process with 2.
void compile_begin(Compilation *c, const Options *options, const char *path);
bool compile_read(Compilation *c);       // text: the tree of a .kd file, the module of an .ir file
bool compile_elaborate(Compilation *c);  // the program that the tree describes
bool compile_run_passes(Compilation *c); // differentiated, fused, planned
/// The passes of the command line, or those of the list `only`, on a module that is no whole program.
bool compile_pass_module(Compilation *c, Module *module, const char *only);
bool compile_to_loops(Compilation *c);   // all of the above, and the kernels
void compile_end(Compilation *c);

/// Is the input tensor IR, or loop IR, in text form?
bool compile_input_is_ir(const Compilation *c);
bool compile_input_is_loops(const Compilation *c);

/// What the frontend asks of a data set's files: the runtime reads their headers.
DataProbe probe_data;
TransformRow transform_row;
TransformShape transform_shape;

/// `--deploy NAME -o FILE`: a library, its header, or a weights file.
bool deploy_library(Compilation *c);

/// Writes to `path`, or to the standard output if it is NULL or "-". A file appears whole or not at
/// all; failing ends the process with 2.
void write_output(const char *path, const char *bytes, size_t length);
/// Would writing `output` destroy the input? Says so.
bool output_is_input(const char *output, const char *input);

#endif
