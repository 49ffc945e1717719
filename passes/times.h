/// When a value is known: the ground on which work moves to earlier times.
///
/// A value's time is the latest of its operands'. Of the leaves, constants are known before the
/// run; options when it starts; a storage that no graph of the phase writes, when the phase begins;
/// `epoch` with each epoch; batches, random draws and storages in training with each step.
#ifndef KDC_PASSES_TIMES_H
#define KDC_PASSES_TIMES_H

#include "passes/passes.h"

typedef enum Time { TIME_CONSTANT, TIME_RUN, TIME_PHASE, TIME_EPOCH, TIME_STEP } Time;

/// Times of the nodes of one graph; nodes appended later are looked at when asked for.
typedef struct Times {
    const Graph *graph;
    const Program *program;    // may be NULL
    const uint8_t *is_written; // by storage: some graph of the phase writes it
    Arena *scratch;
    Vec(uint8_t) time; // by id
} Times;

/// Steps, evals and the segments of a deployed library: the graphs that run over and over within a
/// phase (the segments are a phase of their own, with the packing of weights as its prologue).
bool graph_repeats(const Graph *graph);
Times times_begin(const Graph *graph, PassContext *ctx);
/// `node` has the id under which it stands, or stood, in the graph since times_begin().
Time time_of(Times *times, const Node *node);
/// Whether the value is the same all through a phase.
bool is_frozen(Times *times, const Node *node);

#endif
