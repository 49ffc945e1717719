// runtime/metrics.c -- metrics.jsonl and metrics.csv, a row for each epoch.
//
// A row is on the disk before the checkpoint of its epoch, and the checkpoint remembers how long
// the files were: a run that goes on cuts them to that length, so no epoch is there twice. Rows
// hold no times: equal runs leave equal files.
#include "runtime/run.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static int digits(const KdrtSession *session) {
    return session->manifest.real == DTYPE_f64 ? 17 : 9;
}

static void add_header(KdrtSession *session, Text *json, Text *csv) {
    const Manifest *manifest = &session->manifest;
    kdrt_text_add(json, "{\"event\":\"run\",\"program\":");
    kdrt_text_json(json, manifest->name);
    kdrt_text_add(json, ",\"program_hash\":");
    kdrt_text_json(json, manifest->program_hash);
    kdrt_text_add(json,
                  ",\"real\":\"%s\",\"seed\":%" PRIu64 ",\"threads\":%" PRId64 ",\"options\":{",
                  kdrt_dtype_name(manifest->real), session->options.seed, session->options.threads);
    for (int64_t i = 0; i < manifest->option_count; i++) {
        kdrt_text_add(json, i ? "," : "");
        kdrt_text_json(json, manifest->option[i].name);
        kdrt_text_add(json, ":%.17g", session->options.value[i]);
    }
    kdrt_text_add(json, "}}\n");
    kdrt_text_add(csv, "phase,epoch,step");
    for (int64_t i = 0; i < session->columns.count; i++)
        kdrt_text_add(csv, ",%s", session->columns.name[i]);
    kdrt_text_add(csv, "\n");
}

/// Appends both texts and makes them durable.
static bool append_both(KdrtSession *session, const Text *json, const Text *csv, KdrtError *error) {
    Env *env = &session->env;
    Metrics *metrics = &session->metrics;
    if (json->failed || csv->failed)
        return kdrt_fail_memory(error, json->length + csv->length);
    bool ok = kdrt_append(env, &metrics->jsonl, json->at, json->length, error) &&
              kdrt_append(env, &metrics->csv, csv->at, csv->length, error) &&
              kdrt_append_sync(env, &metrics->jsonl, error) &&
              kdrt_append_sync(env, &metrics->csv, error);
    if (ok) {
        session->at.jsonl_bytes = metrics->jsonl.length;
        session->at.csv_bytes = metrics->csv.length;
    }
    return ok;
}

bool kdrt_metrics_open(KdrtSession *session, bool resumed, KdrtError *error) {
    Metrics *metrics = &session->metrics;
    char path[4200];
    metrics->jsonl.fd = metrics->csv.fd = -1;
    metrics->open = true;
    snprintf(path, sizeof path, "%s/metrics.jsonl", session->out);
    if (!kdrt_append_open(&session->env, &metrics->jsonl, path,
                          resumed ? session->at.jsonl_bytes : 0, error))
        return false;
    snprintf(path, sizeof path, "%s/metrics.csv", session->out);
    if (!kdrt_append_open(&session->env, &metrics->csv, path, resumed ? session->at.csv_bytes : 0,
                          error))
        return false;
    if (metrics->jsonl.length > 0 && metrics->csv.length > 0)
        return true;
    Text json = {.env = &session->env}, csv = {.env = &session->env};
    add_header(session, &json, &csv);
    bool ok = append_both(session, &json, &csv, error);
    kdrt_text_release(&json);
    kdrt_text_release(&csv);
    return ok;
}

static void add_value(KdrtSession *session, Text *json, Text *csv, Text *nonfinite,
                      const char *name, double value) {
    kdrt_text_json(json, name);
    if (isfinite(value)) {
        kdrt_text_add(json, ":%.*g", digits(session), value);
        kdrt_text_add(csv, "%.*g", digits(session), value);
        return;
    }
    kdrt_text_add(json, ":null");
    kdrt_text_add(csv, isnan(value) ? "nan" : value > 0 ? "inf" : "-inf");
    kdrt_text_add(nonfinite, nonfinite->length ? "," : "");
    kdrt_text_json(nonfinite, name);
}

bool kdrt_metrics_epoch(KdrtSession *session, KdrtError *error) {
    if (!session->metrics.open)
        return true;
    const PhaseSeries *series = &session->columns.phase[session->at.phase];
    const char *phase = session->manifest.phase[session->at.phase].name;
    Env *env = &session->env;
    Text json = {.env = env}, csv = {.env = env}, nonfinite = {.env = env};
    kdrt_text_add(&json, "{\"event\":\"epoch\",\"phase\":");
    kdrt_text_json(&json, phase);
    kdrt_text_add(&json, ",\"epoch\":%" PRId64 ",\"step\":%" PRId64 ",\"values\":{",
                  session->at.epoch, session->at.iteration);
    kdrt_text_add(&csv, "%s,%" PRId64 ",%" PRId64, phase, session->at.epoch, session->at.iteration);
    bool first = true;
    for (int64_t column = 0; column < session->columns.count; column++) {
        kdrt_text_add(&csv, ",");
        for (int64_t i = 0; i < series->count; i++) {
            if (series->series[i].column != column ||
                (i < series->step_count && session->sum_examples[i] <= 0)) // its `when` was off
                continue;
            kdrt_text_add(&json, first ? "" : ",");
            first = false;
            add_value(session, &json, &csv, &nonfinite, session->columns.name[column],
                      session->value[i]);
        }
    }
    kdrt_text_add(&json, "}");
    if (nonfinite.length)
        kdrt_text_add(&json, ",\"nonfinite\":[%s]", nonfinite.at);
    kdrt_text_add(&json, "}\n");
    kdrt_text_add(&csv, "\n");
    bool ok = append_both(session, &json, &csv, error);
    kdrt_text_release(&json);
    kdrt_text_release(&csv);
    kdrt_text_release(&nonfinite);
    return ok;
}

void kdrt_metrics_close(KdrtSession *session) {
    if (!session->metrics.open)
        return;
    kdrt_append_close(&session->metrics.csv);
    kdrt_append_close(&session->metrics.jsonl);
    session->metrics.open = false;
}
