// runtime/loop.c -- what a run does: phases, epochs, batches, evaluations.
//
// The run is a state machine over Position: advance() does the next thing, a batch at most, and a
// checkpoint may be taken between any two calls. kdrt_main() calls it until nothing is left or a
// signal comes; the REPL's :step calls it so many times.
#include "runtime/run.h"

#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

// ---- signals ------------------------------------------------------------------------------------

// The signal that asked the run to stop; 0: none. The only mutable global of the runtime.
static volatile sig_atomic_t stop_signal;

static void on_signal(int number) {
    stop_signal = number;
}

typedef struct Signals {
    struct sigaction before[3];
} Signals;

static const int caught[] = {SIGINT, SIGTERM, SIGPIPE};

/// The first SIGINT or SIGTERM asks the run to save and leave, a second one ends it at once. A
/// closed pipe is no reason to stop.
static void signals_catch(Signals *signals) {
    stop_signal = 0;
    for (int i = 0; i < 3; i++) {
        struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
        if (caught[i] == SIGPIPE)
            action = (struct sigaction){.sa_handler = SIG_IGN};
        sigaction(caught[i], &action, &signals->before[i]);
    }
}

static void signals_release(const Signals *signals) {
    for (int i = 0; i < 3; i++)
        sigaction(caught[i], &signals->before[i], NULL);
}

// ---- graphs -------------------------------------------------------------------------------------

// What keys the draws of graphs that are no steps (philox.h knows 48 bits). Evaluations draw the
// same each time, so that their results can be compared.
static const uint64_t init_iteration = (uint64_t)1 << 47;
static const uint64_t eval_iteration = (uint64_t)1 << 46;

static int64_t batches_of(const KdrtSession *session, const PhaseSpec *phase) {
    if (phase->step_count == 0)
        return 0;
    return kdrt_batch_count(session->dataset[phase->data].part[PART_TRAIN].count, phase->batch,
                            phase->drop_last);
}

/// What the scalars that the runtime counts are now, before a batch or after the last of an epoch.
/// An update is of `accumulate` batches, or of what an epoch has left; before batch number `batch`
/// of an epoch that has `batches`, there were batch / accumulate of them, rounded down.
static double counted(const KdrtSession *session, const char *name) {
    const Position *at = &session->at;
    const Manifest *m = &session->manifest;
    int64_t n = session->accumulate;
    bool runs = session->epochs > 0 && at->phase < m->phase_count;
    int64_t batches = runs ? batches_of(session, &m->phase[at->phase]) : 0;
    int64_t updates = (batches + n - 1) / n;
    int64_t here = at->batch >= batches ? updates : at->batch / n;
    double iteration = (double)(at->epoch * updates + here);
    double total = (double)session->epochs * (double)updates;
    if (!strcmp(name, "epoch"))
        return (double)at->epoch;
    if (!strcmp(name, "iteration"))
        return iteration;
    if (!strcmp(name, "progress"))
        return total > 0 ? iteration / total : 0;
    if (!strcmp(name, "accumulate.before"))
        return (double)(at->batch % n);
    if (!strcmp(name, "accumulate.update"))
        return (at->batch + 1) % n == 0 || at->batch + 1 >= batches;
    return 0;
}

/// The run-time scalars, in the program's real type.
static void set_scalars(KdrtSession *session) {
    const Manifest *m = &session->manifest;
    for (int64_t i = 0; i < m->scalar_count; i++) {
        double value = counted(session, m->scalar[i]);
        for (int64_t k = 0; k < m->option_count; k++)
            if (!strcmp(m->scalar[i], m->option[k].name))
                value = session->options.value[k];
        kdrt_dtype_set(m->real, session->scalar + (size_t)i * kdrt_dtype_bytes(m->real), value);
    }
}

/// Runs a graph; -1 and graphs that are empty do nothing. `batch` is for its inputs.
static void run_graph(KdrtSession *session, int64_t graph, uint64_t iteration, const Batch *batch,
                      const Dataset *dataset) {
    if (graph < 0 || session->manifest.graph[graph].empty)
        return;
    const GraphSpec *spec = &session->manifest.graph[graph];
    for (int64_t i = 0; i < spec->input_count; i++)
        session->input[i] =
            batch ? batch->field[kdrt_dataset_field(dataset, spec->input[i])] : NULL;
    session->frame.iteration = iteration;
    session->program->graph[graph](&session->frame);
    kdrt_profile_ran(session->profile, graph);
}

static double output_value(const KdrtSession *session, int64_t graph, int64_t output) {
    const Output *spec = &session->manifest.graph[graph].output[output];
    return kdrt_dtype_get(spec->dtype, (const char *)session->frame.output + spec->offset);
}

/// What the graph that has just run found out of its assertions. `of` is where: "batch 3".
static bool check_asserts(const KdrtSession *session, int64_t graph, const char *of, int64_t number,
                          KdrtError *error) {
    const GraphSpec *spec = graph < 0 ? NULL : &session->manifest.graph[graph];
    for (int64_t i = 0; spec && i < spec->output_count; i++)
        if (spec->output[i].assertion && output_value(session, graph, i) == 0)
            return kdrt_fail(error, STATUS_PROGRAM, "%s (%s, epoch %" PRId64 ", %s %" PRId64 ")",
                             spec->output[i].assertion,
                             session->manifest.phase[session->at.phase].name,
                             session->at.epoch + 1, of, number);
    return true;
}

static uint64_t wanted_fields(const Manifest *m, const Dataset *dataset, int64_t graph) {
    uint64_t fields = 0;
    for (int64_t i = 0; graph >= 0 && i < m->graph[graph].input_count; i++)
        fields |= (uint64_t)1 << kdrt_dataset_field(dataset, m->graph[graph].input[i]);
    return fields;
}

void kdrt_run_init(KdrtSession *session) {
    set_scalars(session);
    run_graph(session, session->manifest.init, init_iteration, NULL, NULL);
}

// ---- a phase begins -----------------------------------------------------------------------------

static const PhaseSpec *phase_of(const KdrtSession *session) {
    return &session->manifest.phase[session->at.phase];
}

/// The largest number of epochs; far beyond what anybody waits for, and exact in every real type.
enum { MOST_EPOCHS = 1 << 24 };

static bool read_settings(KdrtSession *session, KdrtError *error) {
    const PhaseSpec *phase = phase_of(session);
    double epochs = 1;
    session->accumulate = 1;
    if (phase->settings >= 0) {
        const GraphSpec *graph = &session->manifest.graph[phase->settings];
        run_graph(session, phase->settings, 0, NULL, NULL);
        for (int64_t i = 0; i < graph->output_count; i++) {
            if (!strcmp(graph->output[i].name, "epochs"))
                epochs = rint(output_value(session, phase->settings, i));
            else if (!strcmp(graph->output[i].name, "accumulate"))
                session->accumulate = (int64_t)output_value(session, phase->settings, i);
        }
    }
    if (session->options.epochs >= 0)
        epochs = (double)session->options.epochs;
    if (!(epochs >= 0 && epochs <= MOST_EPOCHS)) // or not a number
        return kdrt_fail(error, STATUS_PROGRAM, "`%s`: `epochs` is %g; it takes 0 to %d",
                         phase->name, epochs, MOST_EPOCHS);
    session->epochs = (int64_t)epochs;
    return true;
}

static void clear_sums(KdrtSession *session) {
    int64_t count = session->columns.phase[session->at.phase].count;
    memset(session->sum, 0, (size_t)count * sizeof *session->sum);
    memset(session->sum_examples, 0, (size_t)count * sizeof *session->sum_examples);
}

/// Begins the phase, or goes on with it after a resume: the prologue runs in each process.
static bool ready_phase(KdrtSession *session, KdrtError *error) {
    const PhaseSpec *phase = phase_of(session);
    set_scalars(session);
    if (!read_settings(session, error))
        return false;
    set_scalars(session);
    if (!session->at.begun) {
        run_graph(session, phase->begin, init_iteration + 1 + (uint64_t)session->at.phase, NULL,
                  NULL);
        if (!kdrt_load_weights(session, session->at.phase, error))
            return false;
        session->at.begun = 1;
        clear_sums(session);
    }
    run_graph(session, phase->prologue, init_iteration + 1 + (uint64_t)session->at.phase, NULL,
              NULL);
    session->phase_ready = true;
    session->pass_running = false;
    kdrt_progress_phase(session);
    return true;
}

/// Whether --profile N asks for no more of a pass.
static bool is_enough(const KdrtSession *session, int64_t batches) {
    return session->options.profile && batches >= session->options.profile;
}

// ---- a batch ------------------------------------------------------------------------------------

static void start_pass(KdrtSession *session) {
    const PhaseSpec *phase = phase_of(session);
    const Dataset *dataset = &session->dataset[phase->data];
    LoaderJob job = {.dataset = dataset,
                     .part = PART_TRAIN,
                     .training = true,
                     .drop_last = phase->drop_last,
                     .seed = session->options.seed,
                     .phase = session->at.phase,
                     .epoch = session->at.epoch,
                     .batch = phase->batch,
                     .first_batch = session->at.batch};
    for (int64_t i = 0; i < phase->step_count; i++)
        for (int64_t k = 0; k < kdrt_variant_count(&phase->step[i]); k++)
            job.fields |=
                wanted_fields(&session->manifest, dataset, kdrt_variant(&phase->step[i], k)->graph);
    kdrt_loader_start(session->loader, &job);
    session->pass_running = true;
}

/// The variant that fits what the step's conditions are now; each has its answers or does not care.
static const StepVariant *choose_variant(KdrtSession *session, const StepSpec *step, bool whole) {
    const StepVariant *variant = whole ? step->full : step->last;
    int64_t count = whole ? step->full_count : step->last_count;
    if (step->choose >= 0)
        run_graph(session, step->choose, 0, NULL, NULL);
    for (int64_t i = 0; i + 1 < count; i++, variant++) {
        bool fits = true;
        for (int64_t k = 0; variant->when[k] && fits; k++)
            fits = variant->when[k] == '-' ||
                   (variant->when[k] == '1') == (output_value(session, step->choose, k) != 0);
        if (fits)
            break;
    }
    return variant;
}

static void add_reports(KdrtSession *session, const Batch *batch, int64_t step, int64_t graph) {
    const PhaseSeries *series = &session->columns.phase[session->at.phase];
    const GraphSpec *spec = &session->manifest.graph[graph];
    for (int64_t i = 0; i < spec->output_count; i++)
        for (int64_t k = 0; k < series->step_count; k++) {
            if (series->series[k].step != step || !spec->output[i].is_report ||
                strcmp(series->series[k].report, spec->output[i].name) != 0)
                continue;
            double sum = (double)batch->count * output_value(session, graph, i);
            session->sum[k] += sum;
            session->step_sum[k] += sum;
            session->sum_examples[k] += (double)batch->count;
            session->step_examples[k] += (double)batch->count;
        }
}

/// All steps of the phase on the next batch.
static bool run_batch(KdrtSession *session, KdrtError *error) {
    const PhaseSpec *phase = phase_of(session);
    const Dataset *dataset = &session->dataset[phase->data];
    if (!session->pass_running)
        start_pass(session);
    int64_t began_ns = session->profile ? kdrt_clock(0) : 0;
    const Batch *batch = kdrt_loader_next(session->loader, error);
    if (!batch)
        return false;
    int64_t loaded_ns = session->profile ? kdrt_clock(0) : 0;
    set_scalars(session);
    for (int64_t i = 0; i < phase->step_count; i++) {
        bool whole = batch->count == phase->batch;
        int64_t graph = choose_variant(session, &phase->step[i], whole)->graph;
        run_graph(session, graph, (uint64_t)session->at.step++, batch, dataset);
        if (!check_asserts(session, graph, "batch", session->at.batch + 1, error))
            return false;
        add_reports(session, batch, i, graph);
    }
    if (session->profile)
        kdrt_profile_batch(session->profile, session->at.phase, kdrt_clock(0) - began_ns,
                           loaded_ns - began_ns);
    session->at.batch++;
    session->at.iteration++;
    kdrt_progress_batch(session, batch->count);
    return true;
}

// ---- evaluations --------------------------------------------------------------------------------

/// One evaluation; its averages go to session->value. False when a signal came between, or an
/// error.
static bool run_eval(KdrtSession *session, int64_t number, uint64_t *iteration, KdrtError *error) {
    const EvalSpec *eval = &phase_of(session)->eval[number];
    const PhaseSeries *series = &session->columns.phase[session->at.phase];
    const Dataset *dataset = &session->dataset[eval->data];
    LoaderJob job = {.dataset = dataset,
                     .part = eval->part,
                     .seed = session->options.seed,
                     .phase = session->at.phase,
                     .epoch = session->at.epoch,
                     .batch = eval->batch,
                     .fields = wanted_fields(&session->manifest, dataset, eval->graph.full) |
                               wanted_fields(&session->manifest, dataset, eval->graph.last)};
    kdrt_loader_start(session->loader, &job);
    session->pass_running = false;
    for (int64_t k = series->step_count; k < series->count; k++)
        if (series->series[k].eval == number)
            session->value[k] = 0;
    run_graph(session, eval->begin, (*iteration)++, NULL, NULL);
    double examples = 0;
    int64_t batches = 0;
    for (const Batch *batch; !is_enough(session, batches++) &&
                             (batch = kdrt_loader_next(session->loader, error));) {
        if (stop_signal)
            return false;
        int64_t graph = batch->count == eval->batch ? eval->graph.full : eval->graph.last;
        run_graph(session, graph, (*iteration)++, batch, dataset);
        if (!check_asserts(session, graph, "evaluation", number + 1, error))
            return false;
        examples += (double)batch->count;
        for (int64_t k = series->step_count; graph >= 0 && k < series->count; k++)
            if (series->series[k].eval == number && !series->series[k].finish)
                session->value[k] +=
                    (double)batch->count * output_value(session, graph, series->series[k].output);
    }
    if (error->status)
        return false;
    run_graph(session, eval->finish, (*iteration)++, NULL, NULL);
    if (!check_asserts(session, eval->finish, "evaluation", number + 1, error))
        return false;
    for (int64_t k = series->step_count; k < series->count; k++) {
        if (series->series[k].eval != number)
            continue;
        if (series->series[k].finish)
            session->value[k] = output_value(session, eval->finish, series->series[k].output);
        else
            session->value[k] /= examples;
    }
    return true;
}

/// With keep_best: notes the epoch if it is the best so far; tells whether patience has run out.
static bool judge_epoch(KdrtSession *session) {
    const PhaseSpec *phase = phase_of(session);
    const PhaseSeries *series = &session->columns.phase[session->at.phase];
    int64_t judged = -1;
    for (int64_t k = series->count; phase->keep_best && k-- > 0;)
        if (!strcmp(series->series[k].report, phase->keep_best) &&
            (judged < 0 || series->series[k].eval >= 0))
            judged = k; // the first evaluation's; of a step only if no evaluation has it
    if (judged < 0)
        return false;
    double value = session->value[judged];
    double best = session->best_value;
    bool better = phase->keep_lowest ? value < best : value > best;
    if (session->at.best_epoch < 0 || better || (isnan(best) && !isnan(value))) {
        session->best_value = value;
        session->at.best_epoch = session->at.epoch;
        memcpy(session->best, session->frame.storage, (size_t)session->manifest.storage_bytes);
    }
    return phase->patience > 0 && session->at.epoch - session->at.best_epoch >= phase->patience;
}

static void restore_best(KdrtSession *session) {
    if (session->at.best_epoch < 0)
        return;
    for (int64_t i = 0; i < session->manifest.storage_count; i++) {
        const Storage *storage = &session->manifest.storage[i];
        if (storage->phase < 0 && storage->kind <= STORAGE_STATE)
            memcpy((char *)session->frame.storage + storage->offset,
                   session->best + storage->offset, (size_t)storage->size_bytes);
    }
}

// ---- an epoch and a phase end -------------------------------------------------------------------

static bool save(KdrtSession *session, KdrtError *error) {
    return !session->writes_files || kdrt_checkpoint_save(session, error);
}

static bool end_phase(KdrtSession *session, KdrtError *error) {
    restore_best(session);
    Position next = {.phase = session->at.phase + 1,
                     .step = session->at.step,
                     .best_epoch = -1,
                     .csv_bytes = session->at.csv_bytes,
                     .jsonl_bytes = session->at.jsonl_bytes};
    session->at = next;
    session->phase_ready = false;
    return save(session, error);
}

/// Evaluates, writes the metrics' row, saves. A signal leaves the position where it was.
static bool end_epoch(KdrtSession *session, KdrtError *error) {
    const PhaseSeries *series = &session->columns.phase[session->at.phase];
    uint64_t iteration = eval_iteration;
    for (int64_t k = 0; k < series->step_count; k++)
        session->value[k] = session->sum[k] / session->sum_examples[k]; // NaN: never reported
    set_scalars(session);
    for (int64_t i = 0; i < phase_of(session)->eval_count; i++)
        if (!run_eval(session, i, &iteration, error))
            return error->status == STATUS_OK;
    bool out_of_patience = judge_epoch(session);
    bool remains = session->at.best_epoch < 0 || session->at.best_epoch == session->at.epoch;
    for (int64_t k = 0; remains && k < series->count; k++)
        session->result[session->at.phase * session->columns.count + series->series[k].column] =
            session->value[k];
    if (!kdrt_metrics_epoch(session, error))
        return false;
    kdrt_progress_epoch(session);
    session->at.epoch++;
    session->at.batch = 0;
    session->pass_running = false;
    session->epoch_ended = true;
    clear_sums(session);
    bool profiled = session->options.profile > 0;
    if (out_of_patience || profiled || session->at.epoch >= session->epochs)
        return end_phase(session, error);
    return save(session, error);
}

// ---- the run ------------------------------------------------------------------------------------

bool kdrt_phase_selected(const KdrtSession *session, int64_t number) {
    const PhaseSpec *phase = &session->manifest.phase[number];
    const char *only = session->options.only;
    return !only || !strcmp(only, phase->name) || !strcmp(only, phase->train);
}

/// Passes over phases that --only leaves out.
static void skip_phases(KdrtSession *session) {
    Position *at = &session->at;
    while (at->phase < session->manifest.phase_count && !kdrt_phase_selected(session, at->phase)) {
        Position next = {.phase = at->phase + 1,
                         .step = at->step,
                         .best_epoch = -1,
                         .csv_bytes = at->csv_bytes,
                         .jsonl_bytes = at->jsonl_bytes};
        *at = next;
        session->phase_ready = false;
    }
}

/// Does the next thing, a batch at most. Sets *finished when there is none.
static bool advance(KdrtSession *session, bool *finished, KdrtError *error) {
    skip_phases(session);
    *finished = session->at.phase >= session->manifest.phase_count;
    if (*finished)
        return true;
    if (!session->phase_ready && !ready_phase(session, error))
        return false;
    if (session->at.epoch >= session->epochs)
        return end_phase(session, error);
    if (session->at.batch >= batches_of(session, phase_of(session)) ||
        is_enough(session, session->at.batch))
        return end_epoch(session, error);
    if (!run_batch(session, error))
        return false;
    int64_t every = session->options.save_every;
    if (every && session->at.iteration % every == 0)
        return save(session, error);
    return true;
}

static int fail_main(const KdrtError *error, const char *program) {
    Env env = {0};
    Text text = {.env = &env};
    kdrt_text_add(&text, "%s: %s%s\n", program,
                  error->status == STATUS_BUG ? "internal error: " : "", error->text);
    if (text.at)
        kdrt_io_say(STDERR_FILENO, text.at, text.length);
    kdrt_text_release(&text);
    return error->status;
}

static void say_where(KdrtSession *session, bool resumed) {
    const Position *at = &session->at;
    if (!resumed)
        return;
    if (at->phase >= session->manifest.phase_count)
        kdrt_say(session, "%s: the run is complete", session->out);
    else
        kdrt_say(session, "%s: going on at %s, epoch %" PRId64 ", batch %" PRId64, session->out,
                 phase_of(session)->name, at->epoch + 1, at->batch);
}

static int run_all(KdrtSession *session, bool resumed, const char *program) {
    KdrtError error = {0};
    bool finished = false;
    say_where(session, resumed);
    while (!finished && !stop_signal && advance(session, &finished, &error))
        continue;
    int number = stop_signal;
    if (!session->writes_files) {
        // what was profiled is no result
    } else if (!error.status && number) {
        kdrt_checkpoint_save(session, &error);
        if (!error.status)
            kdrt_say(session, "stopped by %s; saved in %s, --resume goes on",
                     number == SIGINT ? "SIGINT" : "SIGTERM", session->out);
    } else if (!error.status) {
        kdrt_deploy_write(session, &error);
        if (!error.status)
            kdrt_progress_report(session);
    }
    kdrt_progress_clear(session);
    if (!error.status && session->profile)
        kdrt_profile_print(session->profile, session->frame.threads, &error);
    if (error.status)
        return fail_main(&error, program);
    return number ? 128 + number : STATUS_OK;
}

static int print_help(KdrtSession *session, const char *program) {
    Text text = {.env = &session->env};
    kdrt_options_help(&session->manifest, program, &text);
    if (text.at)
        kdrt_io_say(STDOUT_FILENO, text.at, text.length);
    kdrt_text_release(&text);
    return STATUS_OK;
}

int kdrt_main(const KdrtProgram *program, int argc, char **argv) {
    const char *name = argc > 0 ? argv[0] : "train";
    KdrtError error = {0};
    Signals signals;
    bool resumed = false;
    signals_catch(&signals);
    KdrtSession *session = kdrt_session_begin(program, argc, argv, true, &resumed, &error);
    int status = STATUS_OK;
    if (!session)
        status = fail_main(&error, name);
    else if (session->options.help)
        status = print_help(session, name);
    else
        status = run_all(session, resumed, name);
    kdrt_session_close(session);
    signals_release(&signals);
    return status;
}

// ---- step by step -------------------------------------------------------------------------------

KdrtSession *kdrt_session_open(const KdrtProgram *program, int argc, char **argv,
                               KdrtError *error) {
    bool resumed;
    KdrtSession *session = kdrt_session_begin(program, argc, argv, false, &resumed, error);
    if (!session || !session->options.help)
        return session;
    print_help(session, argc > 0 ? argv[0] : "train");
    kdrt_session_close(session);
    return NULL;
}

/// Averages of the steps since `before`, the sums at that time, and of an evaluation if there was
/// one.
static void fill_report(KdrtSession *session, KdrtReport *report) {
    const PhaseSeries *series = &session->columns.phase[session->report_phase];
    int64_t count = session->epoch_ended ? series->count : series->step_count;
    report->phase = session->manifest.phase[session->report_phase].name;
    report->epoch_ended = session->epoch_ended;
    for (int64_t k = 0; k < count; k++) {
        bool of_step = k < series->step_count;
        if (of_step && session->step_examples[k] <= 0)
            continue; // its `when` was off
        int64_t i = report->value_count++;
        session->report_name[i] = session->columns.name[series->series[k].column];
        session->report_value[i] =
            of_step ? session->step_sum[k] / session->step_examples[k] : session->value[k];
    }
    report->name = session->report_name;
    report->value = session->report_value;
}

/// Runs a batch, and the evaluations when it was the last of its epoch. False when there was none,
/// with or without an error.
static bool step_once(KdrtSession *session, KdrtReport *report, KdrtError *error) {
    int64_t iteration = session->at.iteration, phase = session->at.phase;
    while (session->at.iteration == iteration || session->at.phase != phase) {
        if (!advance(session, &report->finished, error) || report->finished)
            return false;
        if (stop_signal && session->at.iteration == iteration)
            return false; // the batch has not run
        if (session->at.phase != phase && report->batch_count > 0)
            return false; // a phase ended: that is reported first
        if (session->at.phase != phase)
            iteration = session->at.iteration;
        phase = session->at.phase;
    }
    session->report_phase = phase;
    report->epoch = session->at.epoch;
    report->batch_count++;
    report->iteration = session->at.iteration;
    if (session->at.batch < batches_of(session, phase_of(session)))
        return true;
    return advance(session, &report->finished, error) && session->at.phase == phase;
}

bool kdrt_session_step(KdrtSession *session, int64_t batches, KdrtReport *report,
                       KdrtError *error) {
    Signals signals;
    signals_catch(&signals);
    *report = (KdrtReport){0};
    int64_t count = session->report_capacity;
    memset(session->step_sum, 0, (size_t)count * sizeof *session->step_sum);
    memset(session->step_examples, 0, (size_t)count * sizeof *session->step_examples);
    session->epoch_ended = false;
    while (batches-- > 0 && !stop_signal && step_once(session, report, error))
        continue;
    skip_phases(session);
    report->finished = session->at.phase >= session->manifest.phase_count;
    if (report->batch_count > 0)
        fill_report(session, report);
    signals_release(&signals);
    return error->status == 0;
}
