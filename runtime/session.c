// runtime/session.c -- opens and closes a run: manifest, options, data, buffers, threads, and where
// it writes. What it does once it is open is in loop.c.
#include "runtime/run.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- data ---------------------------------------------------------------------------------------

static const char *data_path(const KdrtSession *session, const DataSpec *spec) {
    const char *path = spec->path;
    for (int64_t i = 0; i < session->options.data_count; i++) {
        const DataPath *given = &session->options.data[i];
        if (!given->data || !strcmp(given->data, spec->name))
            path = given->path;
    }
    return path;
}

/// A pass over `part` in batches of `batch` is what the graphs were compiled for.
static bool check_batches(const Dataset *dataset, Part part, int64_t batch, int64_t last_batch,
                          bool drop_last, KdrtError *error) {
    int64_t rest = drop_last ? 0 : dataset->part[part].count % batch;
    if (rest == last_batch)
        return true;
    return kdrt_fail(error, STATUS_BUG,
                     "the program was compiled for a last batch of %" PRId64 ", but `%s` leaves "
                     "%" PRId64,
                     last_batch, dataset->spec->name, rest);
}

static bool check_inputs(const Manifest *m, const Dataset *dataset, int64_t graph,
                         KdrtError *error) {
    for (int64_t i = 0; graph >= 0 && i < m->graph[graph].input_count; i++)
        if (kdrt_dataset_field(dataset, m->graph[graph].input[i]) < 0)
            return kdrt_fail(error, STATUS_BUG, "`%s` has no field `%s`, which `%s` asks for",
                             dataset->spec->name, m->graph[graph].input[i], m->graph[graph].name);
    return true;
}

static bool check_phase(const KdrtSession *session, const PhaseSpec *phase, KdrtError *error) {
    const Manifest *m = &session->manifest;
    const Dataset *dataset = &session->dataset[phase->data];
    if (!check_batches(dataset, PART_TRAIN, phase->batch, phase->last_batch, phase->drop_last,
                       error))
        return false;
    for (int64_t i = 0; i < phase->step_count; i++)
        for (int64_t k = 0; k < kdrt_variant_count(&phase->step[i]); k++)
            if (!check_inputs(m, dataset, kdrt_variant(&phase->step[i], k)->graph, error))
                return false;
    for (int64_t i = 0; i < phase->eval_count; i++) {
        const EvalSpec *eval = &phase->eval[i];
        dataset = &session->dataset[eval->data];
        if (!check_batches(dataset, eval->part, eval->batch, eval->last_batch, false, error) ||
            !check_inputs(m, dataset, eval->graph.full, error) ||
            !check_inputs(m, dataset, eval->graph.last, error))
            return false;
    }
    return true;
}

static bool open_data(KdrtSession *session, KdrtError *error) {
    const Manifest *m = &session->manifest;
    session->dataset = kdrt_arena_array(&session->arena, (size_t)m->data_count, sizeof(Dataset));
    if (!session->dataset)
        return kdrt_fail_memory(error, (size_t)m->data_count * sizeof(Dataset));
    int64_t slot_bytes = 0, most_examples = 0;
    Room room = {0};
    for (int64_t i = 0; i < m->data_count; i++) {
        Dataset *dataset = &session->dataset[i];
        if (!kdrt_dataset_open(&session->env, &session->arena, &m->data[i],
                               data_path(session, &m->data[i]), dataset, error))
            return false;
        if (most_examples < dataset->files.train.count)
            most_examples = dataset->files.train.count;
        if (room.image_bytes < dataset->room.image_bytes)
            room.image_bytes = dataset->room.image_bytes;
        if (room.work_bytes < dataset->room.work_bytes)
            room.work_bytes = dataset->room.work_bytes;
        if (room.file_bytes < dataset->room.file_bytes)
            room.file_bytes = dataset->room.file_bytes;
    }
    for (int64_t i = 0; i < m->phase_count; i++) {
        const PhaseSpec *phase = &m->phase[i];
        if (!check_phase(session, phase, error))
            return false;
        int64_t bytes = kdrt_loader_slot_bytes(&session->dataset[phase->data], phase->batch);
        slot_bytes = bytes > slot_bytes ? bytes : slot_bytes;
        for (int64_t k = 0; k < phase->eval_count; k++) {
            const EvalSpec *eval = &phase->eval[k];
            bytes = kdrt_loader_slot_bytes(&session->dataset[eval->data], eval->batch);
            slot_bytes = bytes > slot_bytes ? bytes : slot_bytes;
        }
    }
    int64_t threads = room.file_bytes ? (session->options.threads + 3) / 4 : 1; // files are decoded
    session->loader =
        kdrt_loader_open(&session->env, slot_bytes, most_examples, room, threads, error);
    return session->loader != NULL;
}

// ---- buffers ------------------------------------------------------------------------------------

static bool open_buffer(KdrtSession *session, void **buffer, int64_t size_bytes, KdrtError *error) {
    *buffer = kdrt_arena_alloc(&session->arena, (size_t)size_bytes);
    return *buffer || kdrt_fail_memory(error, (size_t)size_bytes);
}

static bool open_buffers(KdrtSession *session, KdrtError *error) {
    const Manifest *m = &session->manifest;
    KdrtFrame *frame = &session->frame;
    int64_t output_bytes = 0, most_series = 0, most_inputs = 0, thread_bytes;
    bool keeps_best = false;
    for (int64_t i = 0; i < m->graph_count; i++) {
        if (output_bytes < m->graph[i].output_bytes)
            output_bytes = m->graph[i].output_bytes;
        if (most_inputs < m->graph[i].input_count)
            most_inputs = m->graph[i].input_count;
    }
    for (int64_t i = 0; i < m->phase_count; i++) {
        if (most_series < session->columns.phase[i].count)
            most_series = session->columns.phase[i].count;
        keeps_best = keeps_best || m->phase[i].keep_best;
    }
    if (most_inputs > MOST_INPUTS ||
        __builtin_mul_overflow(m->thread_bytes, session->options.threads, &thread_bytes))
        return kdrt_fail(error, STATUS_BUG, "the program's manifest is out of range");

    int64_t results = m->phase_count * session->columns.count;
    void *scalar, *sum, *value, *result, *best, *step_sum, *name, *reported, *examples,
        *step_examples;
    int64_t real_bytes = (int64_t)kdrt_dtype_bytes(m->real), double_bytes = (int64_t)sizeof(double);
    if (!open_buffer(session, &frame->storage, m->storage_bytes, error) ||
        !open_buffer(session, &frame->phase, m->phase_bytes, error) ||
        !open_buffer(session, &frame->step, m->step_bytes, error) ||
        !open_buffer(session, &frame->thread, thread_bytes, error) ||
        !open_buffer(session, &frame->output, output_bytes, error) ||
        !open_buffer(session, &scalar, m->scalar_count * real_bytes, error) ||
        !open_buffer(session, &sum, most_series * double_bytes, error) ||
        !open_buffer(session, &examples, most_series * double_bytes, error) ||
        !open_buffer(session, &step_examples, most_series * double_bytes, error) ||
        !open_buffer(session, &value, most_series * double_bytes, error) ||
        !open_buffer(session, &result, results * double_bytes, error) ||
        !open_buffer(session, &step_sum, most_series * double_bytes, error) ||
        !open_buffer(session, &reported, most_series * double_bytes, error) ||
        !open_buffer(session, &name, most_series * (int64_t)sizeof(char *), error) ||
        !open_buffer(session, &best, keeps_best ? m->storage_bytes : 0, error))
        return false;
    frame->scalar = scalar;
    frame->input = session->input;
    frame->threads = session->options.threads;
    session->scalar = scalar;
    session->sum = sum;
    session->sum_examples = examples;
    session->step_examples = step_examples;
    session->value = value;
    session->result = result;
    session->best = best;
    session->report_capacity = most_series;
    session->step_sum = step_sum;
    session->report_name = name;
    session->report_value = reported;
    for (int64_t i = 0; i < results; i++)
        session->result[i] = NAN;
    return true;
}

// ---- where it writes ----------------------------------------------------------------------------

static void out_name(const KdrtSession *session, int64_t number, char *path, size_t size) {
    if (number <= 1)
        snprintf(path, size, "runs/%s", session->manifest.name);
    else
        snprintf(path, size, "runs/%s-%" PRId64, session->manifest.name, number);
}

/// Without --out a new run goes to the first of runs/NAME, runs/NAME-2, ... that holds none yet,
/// and
/// --resume goes on with the last that holds one. Nothing that was trained is overwritten.
static bool choose_out(KdrtSession *session, KdrtError *error) {
    const Options *options = &session->options;
    size_t size = sizeof session->out - 64; // room for names of files below
    if (options->out) {
        if ((size_t)snprintf(session->out, size, "%s", options->out) >= size)
            return kdrt_fail(error, STATUS_PROGRAM, "--out: the path is too long");
        if (!options->resume && kdrt_checkpoint_exists(&session->env, session->out))
            return kdrt_fail(error, STATUS_PROGRAM,
                             "%s holds the checkpoints of an earlier run: --resume goes on with "
                             "it, another --out leaves it alone",
                             session->out);
        return true;
    }
    int64_t number = 1;
    for (;; number++) {
        out_name(session, number, session->out, size);
        if (!kdrt_checkpoint_exists(&session->env, session->out))
            break;
    }
    if (options->resume && number > 1)
        out_name(session, number - 1, session->out, size);
    return true;
}

static bool open_out(KdrtSession *session, KdrtError *error) {
    bool held = false;
    if (!choose_out(session, error) || !kdrt_io_make_directory(&session->env, session->out, error))
        return false;
    session->lock = kdrt_io_lock(&session->env, session->out, &held, error);
    if (held)
        return kdrt_fail(error, STATUS_WORLD, "%s: another run is writing there", session->out);
    return session->lock >= 0;
}

// ---- open and close -----------------------------------------------------------------------------

static bool open_session(KdrtSession *session, int argc, char **argv, bool *resumed,
                         KdrtError *error) {
    const char *fault = getenv("KDC_FAULT");
    *resumed = false;
    session->lock = -1;
    session->metrics.csv.fd = session->metrics.jsonl.fd = -1;
    session->checkpoint_number = 1;
    session->epochs = -1;
    session->accumulate = 1;
    session->at.best_epoch = -1;
    if ((fault && !kdrt_fault_parse(fault, &session->env.fault, error)) ||
        !kdrt_manifest_read(session->program, &session->arena, &session->manifest, error) ||
        !kdrt_options_read(&session->manifest, &session->arena, argc, argv, &session->options,
                           error))
        return false;
    if (session->options.help)
        return true;
    session->env.threads = session->options.threads;
    if (session->options.profile && !session->program->stamp)
        return kdrt_fail(error, STATUS_PROGRAM,
                         "--profile: the program was not compiled to take the time; `kdc run "
                         "--profile` and `kdc --profile -o` do so");
    session->writes_files &= !session->options.profile;
    session->profile = kdrt_profile_open(session->program, error);
    if (error->status)
        return false;
    kdrt_progress_open(session);
    if (!kdrt_columns_make(&session->manifest, &session->arena, &session->columns, error) ||
        !open_data(session, error) || !open_buffers(session, error))
        return false;
    if (session->writes_files) {
        if (!open_out(session, error))
            return false;
        if (session->options.resume && !kdrt_checkpoint_load(session, resumed, error))
            return false;
        if (session->options.resume && !*resumed)
            kdrt_say(session, "%s holds no checkpoint; beginning anew", session->out);
        if (!kdrt_metrics_open(session, *resumed, error))
            return false;
    }
    kdrt_team_enter(&session->guard, session->options.threads);
    session->team_entered = true;
    session->frame.seed = session->options.seed;
    if (!*resumed)
        kdrt_run_init(session);
    return (*resumed || kdrt_load_weights(session, -1, error)) && kdrt_load_check(session, error);
}

KdrtSession *kdrt_session_begin(const KdrtProgram *program, int argc, char **argv,
                                bool writes_files, bool *resumed, KdrtError *error) {
    Env env = {0};
    KdrtSession *session = kdrt_alloc(&env, sizeof *session);
    if (!session) {
        kdrt_fail_memory(error, sizeof *session);
        return NULL;
    }
    session->arena.env = &session->env;
    session->program = program;
    session->writes_files = writes_files;
    if (!open_session(session, argc, argv, resumed, error)) {
        kdrt_session_close(session);
        return NULL;
    }
    return session;
}

void kdrt_session_close(KdrtSession *session) {
    if (!session)
        return;
    kdrt_loader_close(session->loader);
    if (session->team_entered)
        kdrt_team_leave(&session->guard);
    kdrt_metrics_close(session);
    kdrt_profile_close(session->profile);
    kdrt_io_unlock(session->lock);
    kdrt_arena_release(&session->arena);
    Env env = {.live_count = 1};
    kdrt_free(&env, session);
}

const void *kdrt_session_storage(const KdrtSession *session, const char *name,
                                 int64_t *size_bytes) {
    for (int64_t i = 0; i < session->manifest.storage_count; i++) {
        const Storage *storage = &session->manifest.storage[i];
        if (storage->kind == STORAGE_PHASE || strcmp(storage->name, name) != 0)
            continue;
        *size_bytes = storage->size_bytes;
        return (const char *)session->frame.storage + storage->offset;
    }
    return NULL;
}
