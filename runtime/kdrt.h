/// kdrt: what a training binary links beside its generated code, and what `kdc run` calls in
/// process.
///
/// The generated object holds one symbol, `kdrt_program`: a manifest (JSON text: storages, options,
/// data sets, phases, deployments; written by codegen/manifest.c from ir/program.h, read by
/// runtime/program.c, described in docs/manifest.md) and a table of graph functions. kdrt_main()
/// does the rest: options, data, the loop over phases, epochs and batches, checkpoints, metrics.
///
/// The folder, from the bottom up: base.h (errors, memory, files; alloc.c, io.c), program.h (the
/// manifest as structs), data.h (sources.def: files to columns; transforms.def: pixels to pixels;
/// dataset.c, loader.c: both to batches), run.h (a run: options.c, series.c, session.c, load.c,
/// loop.c, and what it leaves: checkpoint.c, metrics.c, progress.c, safetensors.c), random.c,
/// linalg.c and threads.c for generated code; deploy.c, alone, for deployed libraries; weights.c for
/// the compiler. No mutable state is global but the signal that came,
/// so runs may follow each other in one process.
///
/// A graph function runs one graph once: it opens one parallel region itself (GOMP_parallel, with
/// frame->threads threads) in which each thread runs its fixed share of every kernel, a barrier
/// between kernels. It allocates nothing and takes no lock.
///
/// Runtime code never includes anything of the compiler.
#ifndef KDRT_H
#define KDRT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KDRT_ABI 2

/// All that a graph function needs. Pointers are aligned to 64 bytes.
typedef struct KdrtFrame {
    void *storage;            // parameters, states, slots: offsets in the manifest
    void *phase;              // what the phase's prologue computed
    void *step;               // arena of step_bytes, contents undefined before and after
    void *thread;             // thread_bytes for each thread, one after another
    const void *const *input; // by graph input index: field data, [batch, ...] row-major
    const void *scalar;       // run-time scalars in the program's real type, by slot
    void *output;             // reports and outputs of the graph, each at output_offset[i]
    uint64_t seed;            // of random draws
    uint64_t iteration;       // counts steps since the run began; keys random draws
    int64_t threads;
} KdrtFrame;

typedef void (*KdrtGraphFn)(const KdrtFrame *frame);

typedef struct KdrtProgram {
    uint64_t abi; // KDRT_ABI
    const char *manifest;
    uint64_t manifest_bytes;
    const KdrtGraphFn *graph; // by graph index; NULL for graphs that are empty
    uint64_t graph_count;
    // Of code that takes the time (the manifest then describes the launches): when the graph that
    // ran last began, and when each of its launches was done, in ns of kdrt_clock(). Else NULL.
    const int64_t *stamp;
} KdrtProgram;

/// The whole of a training binary. Returns the exit status: 0, 1 (options), 2 (the world is wrong),
/// 128 + signal number after SIGINT or SIGTERM.
int kdrt_main(const KdrtProgram *program, int argc, char **argv);

/// What went wrong, as a value. A zeroed one is ready for use; the first error stays.
typedef struct KdrtError {
    int status; // 0 none, 1 the program or its options, 2 the world, 70 a bug of ours
    char text[1024];
} KdrtError;

// ---- profiles -----------------------------------------------------------------------------------
// Of programs that were compiled to take the time (kdc --profile), by whoever runs their graphs.

typedef struct KdrtProfile KdrtProfile;

/// Room for what all graphs take, so that a step allocates nothing; NULL with an error, or without
/// one if the program takes no time. The program must outlive it.
KdrtProfile *kdrt_profile_open(const KdrtProgram *program, KdrtError *error);
/// Keeps the times of the graph that has just run. `profile` may be NULL.
void kdrt_profile_ran(KdrtProfile *profile, int64_t graph);
/// Notes a batch of a phase: nanoseconds in all, and of them those that it waited for its data.
/// `profile` may be NULL.
void kdrt_profile_batch(KdrtProfile *profile, int64_t phase, int64_t taken_ns, int64_t waited_ns);
/// Prints tables of all steps, evaluations and prologues that ran on `threads` threads, in the order
/// of the program: launches of the same code from the same place together, by falling time. Times
/// are medians over the last runs, the first apart, and shares are of their sum. Measures the
/// machine's limits.
bool kdrt_profile_print(const KdrtProfile *profile, int64_t threads, KdrtError *error);
void kdrt_profile_close(KdrtProfile *profile);

// ---- step by step, for the REPL -----------------------------------------------------------------

typedef struct KdrtSession KdrtSession;

/// Averages over the examples of some steps. Pointers are valid until the next call.
typedef struct KdrtReport {
    const char *phase; // of the last step that ran
    int64_t epoch;     // from 0
    int64_t batch_count;
    int64_t iteration; // steps of this phase so far
    bool epoch_ended;  // then the values of the evaluations are there too
    bool finished;     // nothing is left to run
    int64_t value_count;
    const char *const *name; // as in metrics.csv: "train_ce", "test_top1"
    const double *value;
} KdrtReport;

/// Opens the data and initialises the parameters; `argv` as of the binary. Writes no files.
/// NULL with `error` when that fails, or with status 0 when argv asked for --help.
KdrtSession *kdrt_session_open(const KdrtProgram *program, int argc, char **argv, KdrtError *error);
/// Runs up to `batches` batches, less when a phase ends or SIGINT comes; evaluates where an epoch
/// ends. False with `error` when it fails.
bool kdrt_session_step(KdrtSession *session, int64_t batches, KdrtReport *report, KdrtError *error);
/// The bytes of a parameter or state by its name; NULL when there is none.
const void *kdrt_session_storage(const KdrtSession *session, const char *name, int64_t *size_bytes);
void kdrt_session_close(KdrtSession *session);

// ---- looking at a data set, for the compiler ----------------------------------------------------

enum { KDRT_MAX_FIELDS = 8, KDRT_MAX_RANK = 8 };

typedef struct KdrtFieldInfo {
    char name[32]; // "image", "label"
    char dtype[8]; // as in the file: "u8", "i32"
    int64_t rank;
    int64_t shape[KDRT_MAX_RANK]; // of one example: [1, 28, 28]
} KdrtFieldInfo;

typedef struct KdrtDataInfo {
    int64_t field_count;
    KdrtFieldInfo field[KDRT_MAX_FIELDS];
    int64_t count;      // examples of the training part, or of a source without parts
    int64_t test_count; // 0: there is no test part
    int64_t classes;    // one more than the largest label
} KdrtDataInfo;

/// Reads headers and labels of the data at `path`. `source` is a row of runtime/sources.def.
bool kdrt_data_probe(const char *source, const char *path, KdrtDataInfo *info, KdrtError *error);
/// The i-th source's or transform's name, NULL after the last: for checks and "did you mean".
const char *kdrt_source_name(size_t i);
const char *kdrt_transform_name(size_t i);
/// The names of its parameters, in the order of arguments without a name: "pad, mode, size, fill".
const char *kdrt_transform_parameters(size_t i);

enum { KDRT_MAX_NUMBERS = 4 };

/// An argument is a text, or some numbers.
typedef struct KdrtArg {
    const char *name;
    const char *text; // NULL for numbers
    int64_t count;
    double number[KDRT_MAX_NUMBERS];
} KdrtArg;

typedef struct KdrtTransform {
    const char *name;
    int64_t arg_count;
    KdrtArg *arg;
} KdrtTransform;

/// What a transform makes of images [C, H, W]; an extent of -1 is not the same for all of them. False
/// when its arguments are wrong, or do not fit such images.
bool kdrt_transform_shape(const KdrtTransform *transform, const int64_t in[3], int64_t out[3],
                          KdrtError *error);

// ---- weights files, for the compiler -------------------------------------------------------------

/// A tensor of a safetensors file, row-major. Names as in kd: dtype "f32", "i32".
typedef struct KdrtTensor {
    const char *name, *dtype;
    int64_t rank;
    int64_t shape[KDRT_MAX_RANK];
    int64_t size_bytes;
    const void *data;
} KdrtTensor;

/// A file that was read whole.
typedef struct KdrtWeights {
    void *memory;
    int64_t count;
    KdrtTensor *tensor;
} KdrtWeights;

bool kdrt_weights_open(KdrtWeights *weights, const char *path, KdrtError *error);
void kdrt_weights_close(KdrtWeights *weights);
/// Copies `from` to `size_bytes` of elements of `dtype`; floats of one kind become those of another.
/// False where the types do not go together or the counts differ.
bool kdrt_weights_copy(const KdrtTensor *from, const char *dtype, void *to, int64_t size_bytes);
bool kdrt_weights_write(const char *path, const KdrtTensor *tensor, int64_t count,
                        KdrtError *error);

// ---- deployed libraries -------------------------------------------------------------------------
// `kdc model.kd --deploy NAME -o NAME.so` (or .a) makes a library of one deployed function and a
// header for it, NAME.h, which a program includes instead of this file. docs/deploy.md has a whole
// example. The library holds the weights, depends on libc and libgomp alone, and exports
//
//     NAME_open(threads)           a model to work with; NULL when there is no memory
//     NAME_set(model, option, x)   an `option` of the deployed function
//     NAME_skip_exits(model, n)    the first n exits are passed by, whatever their conditions say
//     NAME_run(model, count, inputs..., outputs..., exits)
//     NAME_error(status)           what a status that is not 0 means
//     NAME_close(model)
//
// Inputs are what `deploy` takes: *normalised* images, [count, channels, height, width] row-major, in
// the program's real type. Each example is worked out by itself, so `count` is free. exits[i] is the
// number of the exit that example i took, from 0; the `return` counts as the last. It may be NULL.
// Weights are constant and shared; all else belongs to a model, so several threads may each use one
// of their own at the same time.

/// A parameter or result of the deployed function.
typedef struct KdrtPort {
    int64_t row_bytes; // of one example
    int64_t offset;    // where its row lies in the example's arena; of results -1
} KdrtPort;

/// What runs between two exits.
typedef struct KdrtSegment {
    KdrtGraphFn run;
    const int64_t *input;  // by input index of the graph: offset in the example's arena
    const int64_t *value;  // by result: offset in the example's arena
    int64_t output;        // offset of the graph's outputs in the example's arena
    int64_t when;          // offset of the condition, a byte; -1: all that come here leave here
} KdrtSegment;

typedef struct KdrtOption {
    const char *name;
    double value; // unless it is set; its slot is its place in the list
} KdrtOption;

/// A deployed function, as codegen/emit_deploy.c writes it.
typedef struct KdrtDeploy {
    uint64_t abi; // KDRT_ABI
    int64_t input_count, output_count, segment_count, option_count;
    const KdrtPort *input, *output;
    const KdrtSegment *segment;
    const KdrtOption *option;
    int64_t real_bytes;    // of an option in the frame: 4 or 8
    int64_t example_bytes; // of the arena that an example's rows lie in
    int64_t step_bytes, thread_bytes;
    const void *weights;
} KdrtDeploy;

enum { KDRT_DEPLOY_OK, KDRT_DEPLOY_MEMORY, KDRT_DEPLOY_OPTION, KDRT_DEPLOY_ARGUMENT };

typedef struct KdrtModel KdrtModel;

/// `threads` 0: as many as there are cores.
KdrtModel *kdrt_deploy_open(const KdrtDeploy *deploy, int32_t threads);
void kdrt_deploy_close(KdrtModel *model);
int32_t kdrt_deploy_set(KdrtModel *model, const char *option, double value);
int32_t kdrt_deploy_skip_exits(KdrtModel *model, int32_t count);
int32_t kdrt_deploy_run(KdrtModel *model, int64_t count, const void *const *input,
                        void *const *output, int32_t *exits);
const char *kdrt_deploy_error(int32_t status);

// ---- entry points for generated code (runtime/abi.def lists them all) ---------------------------
// Called by every thread of the region with its own range [begin, end) of elements, so that the
// result does not depend on the number of threads.

/// Uniform draws in [0, 1): element i is a function of (seed, stream, iteration, i) alone.
void kdrt_uniform_f32(float *x, int64_t begin, int64_t end, uint64_t seed, uint64_t stream,
                      uint64_t iteration);
void kdrt_uniform_f64(double *x, int64_t begin, int64_t end, uint64_t seed, uint64_t stream,
                      uint64_t iteration);
/// Normal draws, mean 0 and deviation 1, likewise.
void kdrt_normal_f32(float *x, int64_t begin, int64_t end, uint64_t seed, uint64_t stream,
                     uint64_t iteration);
void kdrt_normal_f64(double *x, int64_t begin, int64_t end, uint64_t seed, uint64_t stream,
                     uint64_t iteration);

/// Nanoseconds since some moment, to set work of that many threads against: of one, its own time,
/// which leaves out when it was descheduled; with 0 the clock's in any case.
int64_t kdrt_clock(int64_t threads);

// One matrix each; `work` is theirs, of as many doubles as the functions beside them say. Rows in it
// are filled up to whole lanes of a vector register.

enum { KDRT_LANES = 8 };
static inline int64_t kdrt_whole_lanes(int64_t n) {
    return (n + KDRT_LANES - 1) / KDRT_LANES * KDRT_LANES;
}

/// Eigenvalues and -vectors of (x + x^T) / 2, x [n, n]: y [count, 1 + n] holds the `count` largest
/// values in falling order, each before its vector of length 1. Computed in f64; NaN if x is not
/// finite. The sign of a vector is that of ops.def.
void kdrt_eigh_f32(const float *x, float *y, double *work, int64_t n, int64_t count);
void kdrt_eigh_f64(const double *x, double *y, double *work, int64_t n, int64_t count);
static inline int64_t kdrt_eigh_work(int64_t n, int64_t count) {
    int64_t w = kdrt_whole_lanes(n);
    return 6 * w * w + 4 * w + count * (1 + n);
}

/// Singular values and vectors of x [m, n]: y [count, 1 + m + n] holds the `count` largest values
/// in falling order, each before its left and its right vector of length 1; count is at most the
/// smaller of m and n. Computed in f64; NaN if x is not finite. The sign of a right vector is that
/// of ops.def, the left one's goes with it.
void kdrt_svd_f32(const float *x, float *y, double *work, int64_t m, int64_t n, int64_t count);
void kdrt_svd_f64(const double *x, double *y, double *work, int64_t m, int64_t n, int64_t count);
static inline int64_t kdrt_svd_work(int64_t m, int64_t n, int64_t count) {
    int64_t p = m < n ? m : n, wide = kdrt_whole_lanes(m) * kdrt_whole_lanes(n);
    return 2 * wide + kdrt_eigh_work(p, 0) + count * (1 + m + n);
}

#endif
