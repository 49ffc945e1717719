// driver/repl_train.c -- `:step`: a loaded program trains, so many batches at a time.
//
// It lives in a worker, which compiles it, opens its data and waits for requests: to run batches,
// which it answers by a byte after what it printed, or for a parameter's bytes, after their number.
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "driver/repl.h"

typedef struct Request {
    int64_t batch_count; // 0: the storage of this name
    char storage[320];
} Request;

static KdrtSession *open_session(Repl *repl, Program *program) {
    const CodegenOptions options = repl_codegen_options(repl);
    LoopProgram *loops = repl_lower(repl, program->module, program, &options);
    const KdrtProgram *code = repl_compile(repl, loops, program->module, program, &options);
    char name[] = "repl";
    char *argv[] = {name, NULL};
    KdrtError error = {0};
    KdrtSession *session = kdrt_session_open(code, 1, argv, &error);
    if (!session)
        fprintf(repl->out, "kdc: %s\n", error.text);
    return session;
}

static void print_report(Repl *repl, const KdrtReport *report) {
    if (report->batch_count == 0) {
        fprintf(repl->out, "%s\n",
                report->finished ? "nothing is left to train" : "no batch was run");
        return;
    }
    fprintf(repl->out, "%s epoch %" PRId64 " step %" PRId64, report->phase, report->epoch + 1,
            report->iteration);
    for (int64_t i = 0; i < report->value_count; i++)
        fprintf(repl->out, "  %s %.4g", report->name[i], report->value[i]);
    fprintf(repl->out, "%s\n", report->finished ? "  (finished)" : "");
}

static void run_batches(Repl *repl, KdrtSession *session, int64_t batch_count) {
    KdrtReport report = {0};
    KdrtError error = {0};
    if (kdrt_session_step(session, batch_count, &report, &error))
        print_report(repl, &report);
    else
        fprintf(repl->out, "kdc: %s\n", error.text);
    fflush(repl->out);
}

static bool answer(Repl *repl, KdrtSession *session, const Request *request, int replies) {
    const char done = 1;
    if (request->batch_count) {
        run_batches(repl, session, request->batch_count);
        return worker_write(replies, &done, 1);
    }
    int64_t size_bytes = 0;
    const void *bytes = kdrt_session_storage(session, request->storage, &size_bytes);
    if (!bytes)
        size_bytes = 0;
    return worker_write(replies, &size_bytes, sizeof size_bytes) &&
           worker_write(replies, bytes, (size_t)size_bytes);
}

static bool training_task(Repl *repl, const void *context, int requests, int replies) {
    if (repl->training.process) { // else the former one would never see the end of its input
        close(repl->training.requests);
        close(repl->training.replies);
    }
    const SessionItem *item = context;
    KdrtSession *session = open_session(repl, item->program);
    if (!session)
        return false;
    fprintf(repl->out, "ready to train: `:step 10` runs ten batches\n");
    fflush(repl->out);
    signal(SIGINT, SIG_IGN); // between steps; a step ends early by it
    const char done = 1;
    Request request;
    bool good = worker_write(replies, &done, 1);
    while (good && worker_read(requests, &request, sizeof request))
        good = answer(repl, session, &request, replies);
    kdrt_session_close(session);
    return good;
}

void training_open(Repl *repl, const SessionItem *item) {
    Worker opened = worker_start(repl, training_task, item);
    char done;
    if (!worker_read(opened.replies, &done, 1)) {
        worker_end(repl, &opened);
        return; // the former one stays
    }
    training_close(repl);
    repl->training = opened;
}

void training_step(Repl *repl, int64_t batch_count) {
    const Request request = {.batch_count = batch_count};
    char done;
    if (!worker_write(repl->training.requests, &request, sizeof request) ||
        !worker_read(repl->training.replies, &done, 1))
        training_close(repl);
}

void training_storage(const Repl *repl, const char *name, void *bytes, int64_t size_bytes) {
    Request request = {0};
    int64_t found_bytes;
    int length = snprintf(request.storage, sizeof request.storage, "%s", name);
    if (!repl->training.process || length >= (int)sizeof request.storage ||
        !worker_write(repl->training.requests, &request, sizeof request) ||
        !worker_read(repl->training.replies, &found_bytes, sizeof found_bytes) || !found_bytes)
        return;
    char *found = malloc((size_t)found_bytes);
    if (!found)
        world_error("out of memory");
    if (worker_read(repl->training.replies, found, (size_t)found_bytes) &&
        found_bytes == size_bytes)
        memcpy(bytes, found, (size_t)found_bytes);
    free(found);
}

void training_close(Repl *repl) {
    if (repl->training.process)
        worker_end(repl, &repl->training);
}
