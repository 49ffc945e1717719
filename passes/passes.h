/// Passes: a module in, the same module out, its work moved to the earliest time and the nearest
/// place.
///
///     differentiate   grad nodes become the graph of the derivative
///     simplify cse dce    tidy up, after each of the passes that leave things to tidy
///     fold_frozen     scales and shifts of frozen modules go into the weights before them
///     bind_times      what is known when a phase begins is computed then
///     fill winograd   convolutions in the forms that the machine is fast at
///     split           long reductions become two stages, so that threads have work
///     layout fuse plan_memory    where values lie, what one kernel computes, which byte is whose
///     remat           under a memory limit, what is computed again rather than kept
///
/// A pass is a function on a graph or on the module; its row in passes.def says the rest. It
/// changes nothing when run again, keeps what ir's verifier checks, and allocates what outlives it
/// in the module's arena and all else in ctx->scratch, which is reset after it. The order stands in
/// pipeline.c.
///
/// Until `differentiate` has run, a node's identity has meaning: grad(y, x) is by the node x, not
/// by all that equal it. So passes that merge or replace nodes leave a graph with `grad` nodes
/// alone.
#ifndef KDC_PASSES_PASSES_H
#define KDC_PASSES_PASSES_H

#include <stdbool.h>
#include <stdio.h>

#include "ir/ir.h"
#include "ir/program.h"
#include "support/arena.h"
#include "support/diag.h"

typedef struct PassOptions {
    int level;               // of -O: 0 to 3
    bool strict_math;        // no pass may add to rounding errors
    bool verify;             // check the module after each pass; debug builds always do
    bool time;               // --time-passes: a table on `log` at the end
    const char *print_after; // --print-after: names separated by commas, or "all"; NULL: none
    const char *disabled;    // names separated by commas, left out unless required; NULL: none
    FILE *log;               // for the two above; NULL: stderr
    int64_t memory_limit_bytes; // of storages, constants and arena together; 0: none
} PassOptions;

/// Looks at the module just before a pass has its turn, whether it runs or not. Changes nothing.
typedef void PassObserver(const Module *module, const char *next_pass, void *data);

typedef struct PassContext {
    Arena *scratch; // reset after each pass
    PassOptions options;
    PassObserver *observe; // may be NULL
    void *observer;        // its `data`
    Program *program;         // NULL: there is only the module (a .ir file, the REPL)
    const SourceSet *sources; // for printing origins; may be NULL
    DiagSink *diags;          // may be NULL
    // What passes answer:
    const Graph *unmet;  // the graph that cannot do with memory_limit_bytes; NULL: all can
    int64_t unmet_bytes; // the least limit that it can do with
} PassContext;

typedef enum PassId {
#define PASS(name, scope, level, need, summary) PASS_##name,
#include "passes/passes.def"
#undef PASS
    PASS_COUNT
} PassId;

/// Both return whether they changed anything.
typedef bool GraphPass(Graph *graph, PassContext *ctx);
typedef bool ModulePass(Module *module, PassContext *ctx);

#define PASS_FUNCTION_graph(name)               GraphPass pass_##name;
#define PASS_FUNCTION_module(name)              ModulePass pass_##name;
#define PASS(name, scope, level, need, summary) PASS_FUNCTION_##scope(name)
#include "passes/passes.def"
#undef PASS

typedef struct PassInfo {
    const char *name;
    GraphPass *on_graph; // one of the two is NULL
    ModulePass *on_module;
    int level;     // lowest -O level that runs it
    bool required; // cannot be disabled
    const char *summary;
} PassInfo;

extern const PassInfo pass_info[PASS_COUNT];

/// The deployment `spec` of a program, cut at its exits: before the pipeline runs on its module, but
/// after `differentiate` on the program's, so that no `grad` is cut through.
Deployment *deployment_cut(const Program *program, const DeploySpec *spec, Arena *arena);

/// Runs the pipeline of ctx->options.level. Mistakes of ours end in kdc_bug().
void passes_run(Module *module, PassContext *ctx);

/// Runs the passes of `names` ("cse,dce") once each, in that order, whatever their level. An
/// unknown name returns false, with *unknown set to it, before anything is run.
bool passes_run_named(Module *module, const char *names, PassContext *ctx, const char **unknown);

/// Whether every name of a comma-separated list is a pass ("all" too, where `or_all`); else
/// *unknown.
bool passes_known(const char *names, bool or_all, Arena *arena, const char **unknown);

#endif
