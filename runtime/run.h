/// One run of a program: its options, where it stands, what it writes. loop.c drives it; the other
/// files each look after one side of it.
#ifndef KDC_RUNTIME_RUN_H
#define KDC_RUNTIME_RUN_H

#include "runtime/data.h"
#include "runtime/threads.h"

// ---- options (options.c) ------------------------------------------------------------------------

typedef struct DataPath {
    const char *data; // name of a data set; NULL: all of them
    const char *path;
} DataPath;

typedef struct LoadPath {
    const char *model;
    const char *path;
} LoadPath;

typedef struct Options {
    double *value; // of each option of the program
    bool *given;   // on the command line
    uint64_t seed;
    bool seed_given;
    int64_t threads;
    const char *out; // NULL: not given
    DataPath *data;
    int64_t data_count;
    LoadPath *load;
    int64_t load_count;
    const char *only;
    int64_t epochs; // -1: as the program says
    int64_t save_every;
    int64_t profile; // batches of each phase and evaluation; 0: all
    bool resume, quiet, help;
} Options;

bool kdrt_options_read(const Manifest *manifest, Arena *arena, int argc, char **argv,
                       Options *options, KdrtError *error);
/// What --help prints.
void kdrt_options_help(const Manifest *manifest, const char *program, Text *text);

// ---- what is reported (series.c) ----------------------------------------------------------------

/// A scalar output of a phase's step or evaluation: which one, and in which column it goes.
typedef struct Series {
    int64_t eval;   // -1: of a step
    int64_t step;   // -1: of an evaluation
    bool finish;    // of an evaluation's finish: no mean
    int64_t output; // of the graph; of a step -1: its variants have it by name
    int64_t column;
    const char *report; // "top1"
} Series;

typedef struct PhaseSeries {
    int64_t count;
    int64_t step_count; // the first are of the steps
    Series *series;
} PhaseSeries;

/// The columns of metrics.csv, and which report of which phase goes where.
typedef struct Columns {
    int64_t count;
    const char **name; // "train_ce", "test_top1"
    PhaseSeries *phase;
} Columns;

bool kdrt_columns_make(const Manifest *manifest, Arena *arena, Columns *columns, KdrtError *error);

// ---- where a run stands -------------------------------------------------------------------------

/// The next thing to do is batch `batch` of epoch `epoch` of phase `phase`. What is here, the
/// storages and the sums is all that a checkpoint holds.
typedef struct Position {
    int64_t phase;
    int64_t epoch;
    int64_t batch;                  // equal to the number of batches: the evaluations are next
    int64_t iteration;              // batches of this phase so far
    int64_t step;                   // steps of the run so far; keys random draws
    int64_t begun;                  // 1: `begin` of this phase has run
    int64_t best_epoch;             // of keep_best, -1: none yet
    int64_t csv_bytes, jsonl_bytes; // length of the metrics files
} Position;

typedef struct Metrics {
    bool open;
    AppendFile csv, jsonl;
} Metrics;

typedef struct Progress {
    bool on_terminal, quiet, line_open;
    double phase_began, last_drawn, last_step_time;
    int64_t images, phase_batches; // since phase_began
} Progress;

enum { MOST_INPUTS = 64 };

struct KdrtSession {
    Env env;
    Arena arena;
    const KdrtProgram *program;
    Manifest manifest;
    Options options;
    Columns columns;
    Dataset *dataset;
    Loader *loader;
    TeamGuard guard;
    bool team_entered;
    KdrtFrame frame;
    KdrtProfile *profile; // NULL: the program takes no time
    const void *input[MOST_INPUTS];
    char *scalar; // frame.scalar, to be written

    Position at;
    int64_t phase_end;    // phases [at.phase, phase_end) are to be run
    int64_t epochs;       // of the phase, from its settings; -1: not known yet
    int64_t accumulate;   // batches of an update of the phase, from its settings; at least 1
    bool phase_ready;     // begin and prologue have run in this process
    bool pass_running;    // the loader is on this epoch
    double *sum;          // of each series of the running epoch, weighted by examples
    double *sum_examples; // in each of these sums
    double *value;        // of each series of the phase, after its last epoch
    double *result;       // [phase][column], of the epoch that each phase ends with; NaN: none
    uint8_t *best;        // storages of the best epoch
    double best_value;
    bool epoch_ended; // since kdrt_session_step() began

    // What kdrt_session_step() reports.
    int64_t report_phase, report_capacity;
    double *step_sum, *step_examples, *report_value;
    const char **report_name;

    char out[4096];
    int lock;
    bool writes_files;
    int64_t checkpoint_number; // of the next one
    Metrics metrics;
    Progress progress;
};

// ---- the run (session.c, loop.c) ----------------------------------------------------------------

/// Opens everything; NULL with an error, in which case nothing stays open. `*resumed`: it goes on
/// from a checkpoint.
KdrtSession *kdrt_session_begin(const KdrtProgram *program, int argc, char **argv,
                                bool writes_files, bool *resumed, KdrtError *error);
/// Runs the graph that initialises all parameters and states.
void kdrt_run_init(KdrtSession *session);
/// False: --only leaves the phase out.
bool kdrt_phase_selected(const KdrtSession *session, int64_t phase);

// ---- checkpoints (checkpoint.c) -----------------------------------------------------------------

/// Writes OUT/checkpoints/N.kdck and removes all but the last two.
bool kdrt_checkpoint_save(KdrtSession *session, KdrtError *error);
/// Loads the newest that is whole; *found tells whether there was one. One of another program is an
/// error that says what differs.
bool kdrt_checkpoint_load(KdrtSession *session, bool *found, KdrtError *error);
/// Tells whether a directory holds checkpoints.
bool kdrt_checkpoint_exists(Env *env, const char *out);
/// Checks the bytes of a checkpoint: every one of them is covered by a checksum. Pure.
bool kdrt_checkpoint_verify(Bytes bytes, KdrtError *error);

// ---- metrics, progress, weights -----------------------------------------------------------------

bool kdrt_metrics_open(KdrtSession *session, bool resumed, KdrtError *error);
/// Adds the row of the epoch that ended, on the disk when this returns.
bool kdrt_metrics_epoch(KdrtSession *session, KdrtError *error);
void kdrt_metrics_close(KdrtSession *session);

void kdrt_progress_open(KdrtSession *session);
void kdrt_progress_phase(KdrtSession *session);
void kdrt_progress_batch(KdrtSession *session, int64_t examples);
void kdrt_progress_epoch(KdrtSession *session);
/// Ends a line that is drawn over and over, before anything else is said.
void kdrt_progress_clear(KdrtSession *session);
void kdrt_progress_report(KdrtSession *session);
/// A line for people, on standard output.
void kdrt_say(KdrtSession *session, const char *format, ...) __attribute__((format(printf, 2, 3)));

/// Writes OUT/NAME.safetensors for each deployment.
bool kdrt_deploy_write(KdrtSession *session, KdrtError *error);

/// One tensor of a safetensors file.
typedef struct SafeTensor {
    const char *name;
    Dtype dtype;
    int64_t rank;
    int64_t shape[MAX_RANK];
    const void *data;
    int64_t size_bytes;
} SafeTensor;
bool kdrt_safetensors_write(Env *env, const char *path, SafeTensor *tensor, int64_t count,
                            KdrtError *error);
/// Reads a safetensors file strictly (formats.md 2.1). Tensors point into `bytes`; names are in the
/// arena. Pure.
bool kdrt_safetensors_read(Bytes bytes, Arena *arena, SafeTensor **tensor, int64_t *count,
                           KdrtError *error);

/// Fills the models that are loaded when `phase` begins (-1: the run), in the order of the program.
/// Names and shapes of a file must be those of the model, all of them; floats of another width are
/// converted, `num_batches_tracked` is passed over. One error tells all that is wrong with a file;
/// nothing of that file is read then.
bool kdrt_load_weights(KdrtSession *session, int64_t phase, KdrtError *error);
/// Compares the files of the phases that have not begun, and fills nothing.
bool kdrt_load_check(KdrtSession *session, KdrtError *error);

#endif
