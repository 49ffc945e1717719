// runtime/series.c -- which report of which graph is which column of the metrics.
//
// Columns are known before the first step: "train_" for steps, and for evaluations the part's name,
// with that of the data set where it is not the phase's own ("other_test_top1"). A name that a
// phase gives twice is numbered; phases share columns of the same name.
#include "runtime/run.h"

#include <string.h>

typedef struct Maker {
    const Manifest *manifest;
    Arena *arena;
    Columns *columns;
    KdrtError *error;
} Maker;

static bool taken_in(const PhaseSeries *series, const Columns *columns, const char *name) {
    for (int64_t i = 0; i < series->count; i++)
        if (!strcmp(columns->name[series->series[i].column], name))
            return true;
    return false;
}

/// The column called PREFIX_REPORT, or, when this phase has it already, PREFIX_REPORT_2 and so on.
static bool add_series(Maker *m, PhaseSeries *phase, Series series, const char *prefix) {
    char *name = kdrt_arena_text(m->arena, "%s_%s", prefix, series.report);
    for (int k = 2; name && taken_in(phase, m->columns, name); k++)
        name = kdrt_arena_text(m->arena, "%s_%s_%d", prefix, series.report, k);
    if (!name)
        return kdrt_fail_memory(m->error, strlen(series.report));
    series.column = -1;
    for (int64_t i = 0; i < m->columns->count; i++)
        if (!strcmp(m->columns->name[i], name))
            series.column = i;
    if (series.column < 0) {
        series.column = m->columns->count++;
        m->columns->name[series.column] = name;
    }
    phase->series[phase->count++] = series;
    return true;
}

static int64_t report_count(const Manifest *manifest, int64_t graph) {
    int64_t count = 0;
    for (int64_t i = 0; graph >= 0 && i < manifest->graph[graph].output_count; i++)
        count += manifest->graph[graph].output[i].is_report;
    return count;
}

/// The reports of a step's variants, each name once; the variants share its series.
static bool add_step(Maker *m, PhaseSeries *phase, int64_t number, const StepSpec *step) {
    int64_t first = phase->count;
    for (int64_t i = 0; i < kdrt_variant_count(step); i++) {
        const GraphSpec *graph = &m->manifest->graph[kdrt_variant(step, i)->graph];
        for (int64_t k = 0; k < graph->output_count; k++) {
            Series series = {.eval = -1, .step = number, .output = -1};
            series.report = graph->output[k].name;
            bool known = !graph->output[k].is_report;
            for (int64_t s = first; s < phase->count; s++)
                known = known || !strcmp(phase->series[s].report, series.report);
            if (!known && !add_series(m, phase, series, "train"))
                return false;
        }
    }
    return true;
}

static bool add_reports(Maker *m, PhaseSeries *phase, int64_t graph, Series series,
                        const char *prefix) {
    if (graph < 0)
        return true;
    const GraphSpec *spec = &m->manifest->graph[graph];
    for (int64_t i = 0; i < spec->output_count; i++) {
        series.output = i;
        series.report = spec->output[i].name;
        if (spec->output[i].is_report && !add_series(m, phase, series, prefix))
            return false;
    }
    return true;
}

/// `full` and `last` have the same outputs; one of them may be missing.
static int64_t some_graph(Variant variant) {
    return variant.full >= 0 ? variant.full : variant.last;
}

static const char *eval_prefix(Maker *m, const PhaseSpec *phase, const EvalSpec *eval) {
    const DataSpec *data = &m->manifest->data[eval->data];
    const char *part = "test";
    if (eval->part == PART_VALIDATION)
        part = "validation";
    else if (eval->part == PART_TRAIN || (eval->part == PART_DEFAULT && data->test_count == 0))
        part = "eval";
    if (eval->data == phase->data)
        return part;
    return kdrt_arena_text(m->arena, "%s_%s", data->name, part);
}

static bool add_phase(Maker *m, const PhaseSpec *phase, PhaseSeries *series) {
    int64_t most = 0;
    for (int64_t i = 0; i < phase->step_count; i++)
        for (int64_t k = 0; k < kdrt_variant_count(&phase->step[i]); k++)
            most += report_count(m->manifest, kdrt_variant(&phase->step[i], k)->graph);
    for (int64_t i = 0; i < phase->eval_count; i++)
        most += report_count(m->manifest, some_graph(phase->eval[i].graph)) +
                report_count(m->manifest, phase->eval[i].finish);
    series->series = kdrt_arena_array(m->arena, (size_t)most, sizeof(Series));
    if (!series->series)
        return kdrt_fail_memory(m->error, (size_t)most * sizeof(Series));

    for (int64_t i = 0; i < phase->step_count; i++)
        if (!add_step(m, series, i, &phase->step[i]))
            return false;
    series->step_count = series->count;
    for (int64_t i = 0; i < phase->eval_count; i++) {
        const EvalSpec *eval = &phase->eval[i];
        const char *prefix = eval_prefix(m, phase, eval);
        if (!prefix)
            return kdrt_fail_memory(m->error, 64);
        if (!add_reports(m, series, some_graph(eval->graph), (Series){.eval = i, .step = -1},
                         prefix) ||
            !add_reports(m, series, eval->finish, (Series){.eval = i, .step = -1, .finish = true},
                         prefix))
            return false;
    }
    return true;
}

bool kdrt_columns_make(const Manifest *manifest, Arena *arena, Columns *columns, KdrtError *error) {
    Maker maker = {manifest, arena, columns, error};
    int64_t most = 0;
    for (int64_t i = 0; i < manifest->graph_count; i++)
        most += report_count(manifest, i);
    // A graph may serve several phases, each with columns of its own.
    most *= manifest->phase_count ? manifest->phase_count : 1;
    *columns = (Columns){0};
    columns->name = kdrt_arena_array(arena, (size_t)most, sizeof(char *));
    columns->phase = kdrt_arena_array(arena, (size_t)manifest->phase_count, sizeof(PhaseSeries));
    if (!columns->name || !columns->phase)
        return kdrt_fail_memory(error, (size_t)most * sizeof(char *));
    for (int64_t i = 0; i < manifest->phase_count; i++)
        if (!add_phase(&maker, &manifest->phase[i], &columns->phase[i]))
            return false;
    return true;
}
