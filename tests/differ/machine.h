/// A module compiled, and memory to run it in: what tests need to hold generated code against the
/// interpreter of the tensor IR.
///
/// A machine runs a graph in one of two ways: as machine code by the JIT, or by interpreting the
/// loop IR here, one scalar at a time. Where the two differ the emitter is wrong; where they agree
/// with each other and not with eval_run() the lowering is.
#ifndef KDC_TESTS_DIFFER_MACHINE_H
#define KDC_TESTS_DIFFER_MACHINE_H

#include "codegen/codegen.h"
#include "ir/ir.h"

typedef struct Machine {
    Arena arena;
    const Module *module;
    LoopProgram *loops;
    Jit *jit; // NULL: interpret
    const KdrtProgram *program;
    char *storage, *phase, *step, *thread, *output, *scalar;
    const void **input; // by graph input index
    uint32_t input_count;
    int64_t threads;
    uint64_t seed, iteration;
} Machine;

enum {
    MACHINE_INTERPRETS = 1,
    MACHINE_STRIPS_FLAGS = 2, // emits without noalias, nsw and the like
    MACHINE_WIDE = 4,   // schedules for the registers of AVX-512, whatever this machine has,
    MACHINE_NARROW = 8, // or of AVX2,
    MACHINE_LEAST = 16, // or of SSE; else this machine's
};

enum { MACHINE_THREADS = 3 }; // the most that `threads` may be; 2 after machine_init()

/// The module has been through the passes. Memory begins filled with NaN patterns.
void machine_init(Machine *machine, const Module *module, int level, unsigned flags);
void machine_release(Machine *machine);
void machine_set_storage(Machine *machine, uint32_t storage, const double *value);
void machine_get_storage(const Machine *machine, uint32_t storage, double *value);
void machine_set_input(Machine *machine, const Graph *graph, const char *name, const double *value);
void machine_set_scalar(Machine *machine, const char *name, double value);
void machine_run(Machine *machine, const Graph *graph);
/// The report or output of that name of the last run; its type.
bool machine_get_output(const Machine *machine, const Graph *graph, const char *name, double *value,
                        Type *type);

#endif
