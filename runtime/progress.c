// runtime/progress.c -- what people see: one line drawn over and over on a terminal, one line for
// each epoch elsewhere, a report at the end.
#include "runtime/run.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LINE_BYTES = 1024 };

static const double redraw_seconds = 0.1;

static double now_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/// A line in a fixed buffer: a step allocates nothing, and neither does its progress.
typedef struct Line {
    char at[LINE_BYTES];
    size_t length;
} Line;

__attribute__((format(printf, 2, 3))) static void line_add(Line *line, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int length = vsnprintf(line->at + line->length, sizeof line->at - line->length, format, args);
    va_end(args);
    if (length > 0)
        line->length += (size_t)length;
    if (line->length > sizeof line->at - 1)
        line->length = sizeof line->at - 1;
}

static void line_add_duration(Line *line, double seconds) {
    int64_t s = seconds > 0 && seconds < 1e9 ? (int64_t)seconds : 0;
    if (s >= 3600)
        line_add(line, "%" PRId64 ":%02" PRId64 ":%02" PRId64, s / 3600, s / 60 % 60, s % 60);
    else
        line_add(line, "%" PRId64 ":%02" PRId64, s / 60, s % 60);
}

void kdrt_progress_open(KdrtSession *session) {
    Progress *progress = &session->progress;
    progress->quiet = session->options.quiet || !session->writes_files;
    progress->on_terminal = !progress->quiet && isatty(STDERR_FILENO);
}

void kdrt_progress_phase(KdrtSession *session) {
    Progress *progress = &session->progress;
    progress->phase_began = now_seconds();
    progress->last_drawn = 0;
    progress->images = progress->phase_batches = 0;
}

void kdrt_progress_clear(KdrtSession *session) {
    if (session->progress.line_open)
        kdrt_io_say(STDERR_FILENO, "\r\033[K", 4);
    session->progress.line_open = false;
}

/// Images a second, and the time that the rest of the phase will take.
static void line_add_rate(Line *line, const KdrtSession *session, int64_t batches) {
    const Progress *progress = &session->progress;
    double seconds = now_seconds() - progress->phase_began;
    double left = (double)(session->epochs * batches - session->at.iteration) * seconds /
                  (double)(progress->phase_batches ? progress->phase_batches : 1);
    line_add(line, "  %.0f images/s  ", (double)progress->images / (seconds > 0 ? seconds : 1));
    line_add_duration(line, left);
    line_add(line, " left");
}

static int64_t batches_of(const KdrtSession *session, const PhaseSpec *phase) {
    return kdrt_batch_count(session->manifest.data[phase->data].count, phase->batch,
                            phase->drop_last);
}

static void draw(KdrtSession *session) {
    const PhaseSpec *phase = &session->manifest.phase[session->at.phase];
    const PhaseSeries *series = &session->columns.phase[session->at.phase];
    int64_t batches = batches_of(session, phase);
    Line line = {.length = 0};
    line_add(&line, "\r%s  epoch %" PRId64 "/%" PRId64 "  %3.0f %%", phase->name,
             session->at.epoch + 1, session->epochs,
             100.0 * (double)session->at.batch / (double)batches);
    line_add_rate(&line, session, batches);
    for (int64_t i = 0; i < series->step_count; i++)
        if (session->sum_examples[i] > 0)
            line_add(&line, "  %s %.4g", series->series[i].report,
                     session->sum[i] / session->sum_examples[i]);
    line_add(&line, "\033[K");
    kdrt_io_say(STDERR_FILENO, line.at, line.length);
}

void kdrt_progress_batch(KdrtSession *session, int64_t examples) {
    Progress *progress = &session->progress;
    progress->images += examples;
    progress->phase_batches++;
    if (!progress->on_terminal)
        return;
    double now = now_seconds();
    if (now - progress->last_drawn < redraw_seconds)
        return;
    progress->last_drawn = now;
    progress->line_open = true;
    draw(session);
}

void kdrt_say(KdrtSession *session, const char *format, ...) {
    if (session->progress.quiet)
        return;
    kdrt_progress_clear(session);
    char text[LINE_BYTES * 5];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(text, sizeof text - 1, format, args);
    va_end(args);
    if (length < 0)
        return;
    size_t end = (size_t)length < sizeof text - 1 ? (size_t)length : sizeof text - 2;
    text[end] = '\n';
    kdrt_io_say(STDOUT_FILENO, text, end + 1);
}

void kdrt_progress_epoch(KdrtSession *session) {
    const PhaseSpec *phase = &session->manifest.phase[session->at.phase];
    const PhaseSeries *series = &session->columns.phase[session->at.phase];
    Line line = {.length = 0};
    line_add(&line, "%s  epoch %" PRId64 "/%" PRId64, phase->name, session->at.epoch + 1,
             session->epochs);
    for (int64_t i = 0; i < series->count; i++)
        if (i >= series->step_count || session->sum_examples[i] > 0)
            line_add(&line, "  %s %.6g", session->columns.name[series->series[i].column],
                     session->value[i]);
    line_add_rate(&line, session, batches_of(session, phase));
    kdrt_say(session, "%s", line.at);
}

void kdrt_progress_report(KdrtSession *session) {
    const Manifest *manifest = &session->manifest;
    kdrt_say(session, "\nresults in %s:", session->out);
    for (int64_t p = 0; p < manifest->phase_count; p++) {
        const PhaseSeries *series = &session->columns.phase[p];
        Line line = {.length = 0};
        line_add(&line, "  %-20s", manifest->phase[p].name);
        int64_t shown = 0;
        for (int64_t i = series->step_count; i < series->count; i++) {
            int64_t column = series->series[i].column;
            double value = session->result[p * session->columns.count + column];
            if (isnan(value))
                continue;
            line_add(&line, "  %s %.6g", session->columns.name[column], value);
            shown++;
        }
        if (shown)
            kdrt_say(session, "%s", line.at);
    }
    for (int64_t i = 0; i < manifest->deploy_count; i++)
        if (manifest->deploy[i].storage_count > 0)
            kdrt_say(session, "  %-20s  %s/%s.safetensors", "weights", session->out,
                     manifest->deploy[i].name);
    kdrt_say(session, "  %-20s  %s/metrics.csv, %s/metrics.jsonl", "metrics", session->out,
             session->out);
}
