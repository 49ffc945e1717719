/// The manifest of a training binary (docs/manifest.md) as structs in one arena.
#ifndef KDC_RUNTIME_PROGRAM_H
#define KDC_RUNTIME_PROGRAM_H

#include "runtime/base.h"

enum { MAX_RANK = 8 };

//    dtype  bytes  in safetensors
#define DTYPES(D)                                                                                  \
    D(f64, 8, "F64")                                                                               \
    D(f32, 4, "F32")                                                                               \
    D(i64, 8, "I64")                                                                               \
    D(i32, 4, "I32")                                                                               \
    D(bf16, 2, "BF16")                                                                             \
    D(u8, 1, "U8")                                                                                 \
    D(bool, 1, "BOOL")

typedef enum Dtype {
#define D(name, bytes, safetensors) DTYPE_##name,
    DTYPES(D)
#undef D
        DTYPE_COUNT
} Dtype;

size_t kdrt_dtype_bytes(Dtype dtype);
const char *kdrt_dtype_name(Dtype dtype);
const char *kdrt_dtype_safetensors(Dtype dtype);
/// The value at `at` as a double.
double kdrt_dtype_get(Dtype dtype, const void *at);
void kdrt_dtype_set(Dtype dtype, void *at, double value);

typedef enum StorageKind {
    STORAGE_PARAMETER,
    STORAGE_STATE,
    STORAGE_SLOT,
    STORAGE_PHASE
} StorageKind;

typedef struct Storage {
    const char *name;
    StorageKind kind;
    Dtype dtype;
    int64_t rank;
    int64_t shape[MAX_RANK];
    int64_t offset;
    int64_t size_bytes;
    int64_t phase; // -1: lives for the whole run
} Storage;

typedef struct OptionSpec {
    const char *name;
    double value; // the default
    bool integer;
    const char *text;
} OptionSpec;

typedef struct Field {
    const char *name;
    const char *column; // the source's own name for it
    Dtype dtype;
    int64_t rank;
    int64_t shape[MAX_RANK];
    int64_t size_bytes; // of one example
    bool is_view;       // of the column, with transforms of its own in training
    int64_t view_count;
    KdrtTransform *view;
} Field;

typedef KdrtArg TransformArg;
typedef KdrtTransform TransformSpec;

typedef struct DataSpec {
    const char *name, *source, *path;
    int64_t classes; // 0: unknown
    int64_t count, test_count, holdout;
    int64_t mean_count;
    double *mean, *std;
    int64_t field_count;
    Field *field;
    int64_t augment_count, prepare_count;
    TransformSpec *augment, *prepare;
} DataSpec;

typedef struct Output {
    const char *name;
    bool is_report;
    const char *assertion; // what is said when it is 0; NULL: it is none
    Dtype dtype;
    int64_t rank;
    int64_t shape[MAX_RANK];
    int64_t offset;
} Output;

/// What a launch is in terms of the user's program; in programs compiled with --profile.
typedef struct LaunchSpec {
    int64_t code; // number of its kernel: equal ones run the same code
    const char *kernel, *kind, *direction, *terms, *module, *result, *place;
    int64_t flops, bytes;
} LaunchSpec;

typedef struct GraphSpec {
    const char *name, *role;
    bool empty;
    int64_t input_count;
    const char **input;
    int64_t output_count;
    Output *output;
    int64_t output_bytes;
    int64_t launch_count; // 0 unless it takes the time
    LaunchSpec *launch;
} GraphSpec;

typedef struct Variant {
    int64_t full, last; // graphs, -1: none
} Variant;

/// A step under some answers of its conditions: '1' it holds, '0' it does not, '-' is either.
typedef struct StepVariant {
    const char *when;
    int64_t graph;
} StepVariant;

typedef struct StepSpec {
    int64_t choose; // graph whose outputs are the conditions; -1: one variant is all there is
    int64_t full_count, last_count;
    StepVariant *full, *last; // the last is chosen where no other fits
} StepSpec;

typedef enum Part { PART_DEFAULT, PART_TRAIN, PART_VALIDATION, PART_TEST } Part;

typedef struct EvalSpec {
    int64_t data;
    Part part;
    int64_t batch, last_batch;
    Variant graph;
    int64_t begin, finish;
} EvalSpec;

typedef struct PhaseSpec {
    const char *name, *train;
    int64_t data, batch, last_batch;
    bool drop_last;
    int64_t settings, begin, prologue;
    int64_t step_count;
    StepSpec *step;
    int64_t eval_count;
    EvalSpec *eval;
    const char *keep_best; // NULL: none
    bool keep_lowest;
    int64_t patience;
} PhaseSpec;

typedef struct DeploySpec {
    const char *name, *prefix;
    int64_t storage_count;
    int64_t *storage;
    int64_t graph;
} DeploySpec;

typedef struct LoadSpec {
    const char *model, *root, *part;
    const char *path; // NULL: from the storages `source`
    int64_t storage_count, other_count, source_count;
    int64_t *storage, *other, *source;
    int64_t phase, last_phase; // -1: at the start of the run
} LoadSpec;

typedef struct Manifest {
    const char *name;
    const char *program_hash;
    Dtype real;
    int64_t storage_bytes, phase_bytes, step_bytes, thread_bytes;
    int64_t storage_count, scalar_count, option_count, data_count, graph_count, load_count,
        phase_count, deploy_count;
    Storage *storage;
    const char **scalar;
    OptionSpec *option;
    DataSpec *data;
    GraphSpec *graph;
    int64_t init;
    const char **assertion; // texts
    int64_t assertion_count;
    LoadSpec *load;
    PhaseSpec *phase;
    DeploySpec *deploy;
} Manifest;

/// The variants of a step, those for whole batches first.
int64_t kdrt_variant_count(const StepSpec *step);
const StepVariant *kdrt_variant(const StepSpec *step, int64_t i);

/// Reads and checks a manifest. What is wrong with one is a bug of the compiler: status 70.
bool kdrt_manifest_read(const KdrtProgram *program, Arena *arena, Manifest *manifest,
                        KdrtError *error);

/// Product of the extents; false when it does not fit or an extent is negative.
bool kdrt_shape_count(const int64_t *shape, int64_t rank, int64_t *count);

#endif
