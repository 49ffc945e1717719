/// What the parts of bench_step share: a program compiled as kdc does, memory to run it in, and turns.
#ifndef KDC_BENCH_STEP_H
#define KDC_BENCH_STEP_H

#include "codegen/codegen.h"
#include "frontend/frontend.h"

enum { MOST_TERMS = 8, MOST_ROUNDS = 63, MOST_THREADS = 64 };

typedef struct Options {
    const char *path;
    FrontendDefine define[16];
    FrontendOptions frontend;
    int threads, repeats;
    bool strict, profile, alone;
    const char *graph;
    const char *without[MOST_TERMS];
    size_t without_count;
    int64_t memory_limit_bytes;
} Options;

typedef struct Step {
    Arena arena;
    SourceSet sources;
    Program *program;
    LoopProgram *loops;
    const KdrtProgram *code;
    int32_t graph[1 + MOST_TERMS]; // the step; the step without each term of --without
    size_t graph_count;
    const PhaseSpec *phase;
    double compile_seconds;
    double flops;
} Step;

/// Reads, elaborates, optimises and compiles; with a limit that is not 0, under that. Ends the process if that
/// fails. The code notes the time of each launch for --profile.
void step_compile(Step *step, const Options *options, int64_t memory_limit_bytes);
/// Code of loops, with the manifest of `program`, which may be NULL.
const KdrtProgram *step_code(Arena *arena, const LoopProgram *loops, const Module *module, const Program *program,
                             const CodegenOptions *options);
/// Multiply-adds times two.
double step_flops(const LoopGraph *graph);
/// A frame with an arena and scratch of these sizes, whose inputs are pixels and labels made up and whose
/// storages are as when the run begins.
KdrtFrame step_frame(Step *step, int64_t step_bytes, int64_t thread_bytes, int threads);
void step_run(const KdrtProgram *code, int32_t graph, const KdrtFrame *frame);
/// The kernels, the arena and the time that compiling took, in a line.
void step_print_head(const Step *step);

/// Something to time, and the seconds of each round.
typedef struct Work {
    const KdrtProgram *code;
    int32_t graph;
    const KdrtFrame *frame;
    double seconds[MOST_ROUNDS];
    size_t launch_count; // 0: the code takes no time of its launches
    double *launch;      // [launch_count][MOST_ROUNDS] seconds
} Work;

Work work_on(const KdrtProgram *code, const LoopProgram *loops, int32_t graph, const KdrtFrame *frame);
/// One round to warm up, then `rounds` in which all take their turn.
void work_take_turns(Work *work, size_t count, int rounds);
/// Median and middle half of the rounds.
void work_print(const char *what, const Work *work, int rounds);
/// Median and middle half of `value`, which it sorts.
void print_spread(const char *what, double *value, int count, const char *unit);

/// --alone (bench/step_alone.c).
void time_alone(Step *step, const Options *options);

#endif
