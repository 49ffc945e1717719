/// A whole program, as the frontend leaves it and a training binary needs it: the module (all
/// tensors and graphs) and, beside it, what the runtime does with them: data sets, options, phases,
/// deployments. codegen/manifest.c writes it as JSON into the binary; runtime/program.c reads that.
#ifndef KDC_IR_PROGRAM_H
#define KDC_IR_PROGRAM_H

#include "ir/ir.h"

/// `option lr = 0.1 "text"`: becomes --lr of the binary and the run-time scalar of that name.
typedef struct OptionSpec {
    const char *name;
    double value;
    bool is_integer;
    const char *text;
    Span span;
} OptionSpec;

/// One augmentation or preparation: a runtime function by name with its arguments
/// ({"pad", 2}, {"mode", "zero"}, {"scale", [0.08, 1]}); text is NULL for numbers.
enum { TRANSFORM_MAX_NUMBERS = 4, TRANSFORM_MOST = 64 };
typedef struct TransformArg {
    const char *name;
    const char *text;
    size_t count; // of numbers
    double number[TRANSFORM_MAX_NUMBERS];
} TransformArg;
typedef struct TransformSpec {
    const char *name; // "random_crop"
    Vec(TransformArg) args;
    Span span;
} TransformSpec;

/// `view left = […]`: one more field of the images, with transforms of its own in training.
typedef struct ViewSpec {
    Vec(TransformSpec) augment;
} ViewSpec;

typedef struct FieldSpec {
    const char *name;   // "image", "label", "index"
    const char *column; // the file's own name, where it differs; else NULL
    Type type;          // of one example, as the step sees it: f32[1, 28, 28], i32[]
    const ViewSpec *view; // of the column; NULL: the column itself
    Type file_type;     // as the file has it; an extent of -1 is not the same for all examples
} FieldSpec;

typedef enum DataPart { PART_DEFAULT, PART_TRAIN, PART_VALIDATION, PART_TEST } DataPart;

typedef struct DataSpec {
    const char *name;
    const char *source; // "idx", "cifar100", ...: a row of runtime/sources.def
    const char *path;
    Vec(FieldSpec) fields;
    Vec(FieldSpec) views; // those of `fields`, as they were declared
    Vec(double) mean, std; // per channel, after division by 255; empty: pixels in 0..1
    Vec(TransformSpec) augment, prepare;
    int64_t classes; // 0: unknown
    int64_t count;   // examples in the training part, holdout taken off
    int64_t test_count;
    int64_t holdout;
    Span span;
} DataSpec;

/// One run of an eval graph: `full` for whole batches, `last` for the smaller last one
/// (-1 where there is none). Graph inputs name the fields they need.
typedef struct Variant {
    int32_t full;
    int32_t last;
} Variant;

typedef struct EvalSpec {
    int32_t data; // index into Program.data
    DataPart part;
    int64_t batch, last_batch;
    Variant graph;
    int32_t begin, finish; // graphs or -1: states begin anew, results worked out at the end
} EvalSpec;

/// A step under some answers of its conditions: for each '1' it holds, '0' it does not, '-' it is
/// not asked. "" where a step has no conditions.
typedef struct StepVariant {
    const char *when;
    int32_t graph;
} StepVariant;

/// What a `when` asks; run-time scalars.
typedef struct ConditionSpec {
    const char *text; // "epoch >= 60"
    Span span;
} ConditionSpec;

/// Each answer of the conditions fits one variant, for whole batches and for the smaller last one
/// (no variants where there is none or it is dropped). Graph inputs name the fields they need.
typedef struct StepSpec {
    Vec(ConditionSpec) conditions;
    int32_t choose; // graph whose outputs are the conditions, bools in order; -1: there are none
    Vec(StepVariant) full, last;
} StepSpec;

typedef struct PhaseSpec {
    const char *name;  // "teach", "sskd.mimic[0]"
    const char *train; // the train block it belongs to
    int32_t data;
    int64_t batch, last_batch; // last_batch 0: the examples divide evenly, or drop_last
    bool drop_last;
    int32_t settings;    // graph: outputs "epochs" (and others later)
    int32_t begin;       // graph or -1
    int32_t prologue;    // graph or -1; set by bind_times
    Vec(StepSpec) steps; // in order, each on the same batch
    Vec(EvalSpec) evals;
    const char *keep_best; // report name or NULL
    bool keep_lowest;
    int64_t patience; // 0: none
    Span span;
} PhaseSpec;

typedef struct DeploySpec {
    const char *name;
    Vec(uint32_t) storages; // what it needs, parameters and states
    const char *prefix;     // "student.": cut from the names in the weights file; "" keeps them
    int32_t graph;          // GRAPH_DEPLOY of one example, or -1
    uint32_t exit_count;    // `exit`s; for each the graph has 1 + value_count outputs,
    uint32_t value_count;   // the condition first, and for what is returned value_count
} DeploySpec;

/// An input of a segment by its name in the graph: field `index` of the caller (segment -1), or
/// output `index` of an earlier segment.
typedef struct SegmentInput {
    const char *name;
    int32_t segment;
    uint32_t index;
} SegmentInput;

/// What runs between two exits. The outputs of its graph are the condition (not of the last
/// segment), then the values that are left with it, then what later segments need.
typedef struct Segment {
    int32_t graph;
    Vec(SegmentInput) inputs;
} Segment;

typedef struct PortSpec {
    const char *name;
    Type type; // of a batch of one
} PortSpec;

/// A deployment on its way to a library: a module of its own, with no more storages than it reads,
/// its graph cut at the exits.
typedef struct Deployment {
    const DeploySpec *spec;
    Module *module;
    Vec(PortSpec) inputs, outputs;
    Vec(Segment) segments; // one more than there are exits
} Deployment;

/// `model m = net(…) from …`, `load m from …`: parameters and states get the values of a safetensors
/// file or of other storages, at the start of the run or when a phase begins.
typedef struct LoadSpec {
    const char *model;      // what is filled, by its name: "teacher", "teacher.layer1"
    const char *root;       // the model: names in files go without "teacher."
    const char *part;       // "layer1": names may be seen from there too; ""
    const char *path;       // absolute; NULL: from `sources`
    Vec(uint32_t) storages; // what the file must hold
    Vec(uint32_t) others;   // the rest of the model, which a file of the whole model holds too
    Vec(uint32_t) sources;  // as many as `storages`, of equal types
    // When the first of these phases begins that the run does not leave out; -1: once init has run.
    int32_t phase, last_phase;
    Span span; // of what stands after `from`
} LoadSpec;

typedef struct Program {
    Module *module;
    const char *name; // file name without .kd
    Vec(OptionSpec) options;
    Vec(DataSpec *) data;
    Vec(LoadSpec) loads;     // in order
    Vec(PhaseSpec *) phases; // in order of running
    Vec(DeploySpec *) deploys;
    Vec(const char *) asserts; // what is said where the output "assert INDEX" of a graph is 0
    int32_t init; // graph
} Program;

#endif
