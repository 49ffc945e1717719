/// What `kdc cost` reports: cost.c counts it, cost_print.c shows it.
#ifndef KDC_DRIVER_COST_H
#define KDC_DRIVER_COST_H

#include "driver/driver.h"
#include "ir/cost.h"

typedef struct PartCost {
    const char *name; // "layer1"; of a model's own parameters ""
    int64_t parameters, macs;
} PartCost;

/// A model, or a module that is there for training only ("distill.connector").
typedef struct ModelCost {
    const char *name;
    int64_t parameters;
    int64_t macs; // with its weights, in one application to one example
    Vec(PartCost) parts;
} ModelCost;
typedef Vec(ModelCost *) ModelCosts;

/// A loss term's own share: what would go if it were taken out of its step.
typedef struct TermCost {
    const char *name;
    Span span;
    GraphCost cost;
    int64_t parameters; // that no other term needs
} TermCost;

/// A step or an evaluation on whole batches, or what a phase computes once.
typedef struct GraphRow {
    const Graph *graph;
    int64_t batch; // examples; 0: it has none
    GraphCost cost;
    int64_t parameters;  // that it reads
    int64_t executed[STAGE_COUNT]; // multiply-adds of contractions that ran, where they were counted
    Vec(TermCost) terms; // of a step
    GraphCost shared;    // the rest: by several terms, by reports, by none
    int64_t shared_parameters;
    int64_t recomputed_flops, recomputed_bytes; // of what the memory limit has it compute again
} GraphRow;

typedef struct PhaseCost {
    const PhaseSpec *spec;
    int64_t trained, frozen; // parameters that its steps read
    int64_t train_only;      // those of both that no deployment has; -1: nothing is deployed
    int64_t constant_bytes;  // that are computed when it begins
    int64_t arena_bytes;     // of its largest graph
    Vec(GraphRow) rows;
} PhaseCost;

typedef struct CostReport {
    ModelCosts models;
    Vec(PhaseCost) phases;
    int64_t storage_bytes; // of parameters and states
    bool counted;          // by cost_run()
    int64_t memory_limit_bytes; // 0: none was given
} CostReport;

/// All that is there while the phase runs: storages, what is constant in it, and the largest arena.
/// Batches that are being loaded and each thread's scratch are not.
int64_t phase_peak_bytes(const CostReport *report, const PhaseCost *phase);

/// Runs each graph once and counts (cost_run.c).
void cost_run(CostReport *report, const Compilation *c);
void cost_print(StrBuf *out, const CostReport *report, const SourceSet *sources);
void cost_print_json(StrBuf *out, const CostReport *report, const SourceSet *sources);

#endif
