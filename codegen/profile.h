/// What a launch is in terms of the user's program, for profiles.
#ifndef KDC_CODEGEN_PROFILE_H
#define KDC_CODEGEN_PROFILE_H

#include "codegen/loops.h"
#include "support/source.h"

typedef struct LaunchNote {
    const char *kernel;    // name of the loop kernel
    const char *kind;      // what the time goes by: "contraction", "reduction", ...
    const char *direction; // "forward", "by input", "by weight", "update"
    const char *terms;     // loss terms that it is there for: "ce", "ce + cd", "(all)", "-"
    const char *module;    // path of the instance, or the parameter that it writes; "-"
    const char *result;    // type of what is most of its work
    const char *place; // "std/nets.kd:41 < mine.kd:12": from the line that says it to the user's
    int64_t flops;     // as it runs: filters that fill up a block count, summed channels do not
    int64_t bytes;     // of the buffers that it reads and writes, each once
} LaunchNote;

/// Of each launch of a graph, in order; in the arena.
LaunchNote *profile_notes(const LoopProgram *loops, const LoopGraph *graph, Arena *arena);

#endif
