// driver/cost_print.c -- the report of `kdc cost`, as tables for people and as JSON.
#include <inttypes.h>
#include <string.h>

#include "driver/cost.h"
#include "support/json.h"

static const char *const stage_names[STAGE_COUNT] = {"forward", "backward", "update"};

// ---- tables
// ----------------------------------------------------------------------------------------

enum { NAME_WIDTH = 28 };

static int characters(const char *name) { // of UTF-8
    int count = 0;
    for (const char *c = name; *c; c++)
        count += ((unsigned char)*c & 0xc0) != 0x80;
    return count;
}

// A name of the first column, `indent` further in; a long one is cut, but for a graph's.
static void put_name(StrBuf *out, int indent, const char *name) {
    int width = indent + characters(name);
    bool cut = indent && width > NAME_WIDTH;
    strbuf_printf(out, "%*s", indent, "");
    for (int at = indent; *name; name++) {
        bool begins = ((unsigned char)*name & 0xc0) != 0x80;
        if (cut && begins && at++ == NAME_WIDTH - 1)
            break;
        strbuf_putc(out, *name);
    }
    strbuf_puts(out, cut ? "…" : "");
    strbuf_printf(out, "%*s", width < NAME_WIDTH ? NAME_WIDTH - width : 0, "");
}

static void put_number(StrBuf *out, int width, int64_t number) {
    strbuf_printf(out, " %*" PRId64, width, number);
}

static void print_models(StrBuf *out, const ModelCosts *models) {
    put_name(out, 0, "model");
    strbuf_printf(out, " %14s %16s %16s\n", "parameters", "MACs", "MACs up to here");
    for (size_t i = 0; i < models->count; i++) {
        const ModelCost *model = models->at[i];
        int64_t macs = 0;
        put_name(out, 0, model->name);
        strbuf_printf(out, " %14" PRId64 " %16" PRId64 "\n", model->parameters, model->macs);
        for (size_t k = 0; k < model->parts.count; k++) {
            const PartCost *part = &model->parts.at[k];
            macs += part->macs;
            put_name(out, 2, arena_printf(out->arena, ".%s", part->name));
            strbuf_printf(out, " %14" PRId64 " %16" PRId64 " %16" PRId64 "\n", part->parameters,
                          part->macs, macs);
        }
    }
}

/// A graph, a loss term of it, or what its terms share.
typedef struct Line {
    const GraphCost *cost;
    int64_t batch; // 0: not said
    int64_t parameters;
    bool is_graph;
} Line;

typedef void PutLine(StrBuf *out, const Line *line);

// Each graph, its terms and what they share.
static void put_lines(StrBuf *out, const PhaseCost *phase, PutLine *put) {
    for (size_t i = 0; i < phase->rows.count; i++) {
        const GraphRow *row = &phase->rows.at[i];
        put_name(out, 0, row->graph->name);
        put(out, &(Line){&row->cost, row->batch, row->parameters, true});
        for (size_t t = 0; t < row->terms.count; t++) {
            put_name(out, 2, row->terms.at[t].name);
            put(out, &(Line){&row->terms.at[t].cost, 0, row->terms.at[t].parameters, false});
        }
        if (row->terms.count) {
            put_name(out, 2, "(shared)");
            put(out, &(Line){&row->shared, 0, row->shared_parameters, false});
        }
    }
}

static void put_work(StrBuf *out, const Line *line) {
    const GraphCost *cost = line->cost;
    if (line->batch)
        put_number(out, 6, line->batch);
    else
        strbuf_printf(out, " %6s", line->is_graph ? "-" : "");
    put_number(out, 16, cost->stage[STAGE_FORWARD].macs);
    put_number(out, 16, cost->stage[STAGE_BACKWARD].macs + cost->stage[STAGE_UPDATE].macs);
    for (int s = 0; s < STAGE_COUNT; s++)
        put_number(out, 16, cost->stage[s].flops);
    strbuf_putc(out, '\n');
}

static void print_work(StrBuf *out, const PhaseCost *phase) {
    put_name(out, 0, "graph");
    strbuf_printf(out, " %6s %16s %16s %16s %16s %16s\n", "batch", "forward MACs", "backward MACs",
                  "forward FLOPs", "backward FLOPs", "update FLOPs");
    put_lines(out, phase, put_work);
}

// What the digits behind a step's name say: "[1-0]" is the first holds, the third does not.
static void print_conditions(StrBuf *out, const PhaseCost *phase) {
    bool first = true;
    for (size_t k = 0; k < phase->spec->steps.count; k++) {
        const StepSpec *step = &phase->spec->steps.at[k];
        for (size_t c = 0; c < step->conditions.count; c++) {
            if (first) {
                put_name(out, 0, "variants");
                strbuf_printf(out, " %6s   when\n", "digit");
            }
            first = false;
            put_name(out, 0, arena_printf(out->arena, "%s.step%zu", phase->spec->name, k));
            put_number(out, 6, (int64_t)c + 1);
            strbuf_printf(out, "   %s\n", step->conditions.at[c].text);
        }
    }
}

static void put_kernels(StrBuf *out, const Line *line) {
    for (int s = 0; s < STAGE_COUNT; s++)
        put_number(out, s ? 8 : 7, line->cost->stage[s].kernels);
    put_number(out, 14, line->parameters);
    put_number(out, 14, line->cost->kept_bytes);
    put_number(out, 14, line->cost->arena_bytes);
    strbuf_putc(out, '\n');
}

static void print_kernels(StrBuf *out, const PhaseCost *phase) {
    put_name(out, 0, "kernels");
    strbuf_printf(out, " %7s %8s %8s %14s %14s %14s\n", "forward", "backward", "update",
                  "parameters", "kept bytes", "arena bytes");
    put_lines(out, phase, put_kernels);
}

static void print_executed(StrBuf *out, const PhaseCost *phase) {
    put_name(out, 0, "counted");
    strbuf_printf(out, " %16s %16s\n", "forward", "backward");
    for (size_t i = 0; i < phase->rows.count; i++) {
        const GraphRow *row = &phase->rows.at[i];
        put_name(out, 0, row->graph->name);
        put_number(out, 16, row->executed[STAGE_FORWARD]);
        put_number(out, 16, row->executed[STAGE_BACKWARD] + row->executed[STAGE_UPDATE]);
        strbuf_putc(out, '\n');
    }
}

// The line of the user's program that a value comes from.
static void put_place(StrBuf *out, const Origin *origin, const SourceSet *sources) {
    if (!origin)
        return;
    while (origin->caller)
        origin = origin->caller;
    int line, column;
    source_position(sources, origin->span, &line, &column);
    strbuf_printf(out, "  %s:%d", source_of(sources, origin->span)->name, line);
}

static void print_recomputed(StrBuf *out, const PhaseCost *phase, const SourceSet *sources) {
    put_name(out, 0, "recomputed");
    strbuf_printf(out, " %16s %16s %14s %14s %14s\n", "FLOPs", "bytes", "held bytes",
                  "arena before", "arena after");
    for (size_t i = 0; i < phase->rows.count; i++) {
        const GraphRow *row = &phase->rows.at[i];
        const Graph *graph = row->graph;
        put_name(out, 0, graph->name);
        put_number(out, 16, row->recomputed_flops);
        put_number(out, 16, row->recomputed_bytes);
        strbuf_printf(out, " %14s", "");
        put_number(out, 14, row->cost.arena_bytes);
        put_number(out, 14, graph->step_bytes);
        strbuf_putc(out, '\n');
        for (size_t k = 0; k < graph->recomputed.count; k++) {
            const Recomputed *again = &graph->recomputed.at[k];
            const Origin *origin = again->node->origin;
            bool has_module = origin && origin->module;
            put_name(out, 2, has_module ? origin->module : op_info[again->node->op].name);
            put_number(out, 16, again->flops);
            put_number(out, 16, again->bytes);
            put_number(out, 14,
                       type_count(&again->node->type) *
                           (int64_t)dtype_size_bytes(again->node->type.dtype));
            strbuf_printf(out, "   %s", op_info[again->node->op].name);
            put_place(out, origin, sources);
            strbuf_putc(out, '\n');
        }
    }
}

static void print_phases(StrBuf *out, const CostReport *report) {
    put_name(out, 0, "phase");
    strbuf_printf(out, " %12s %12s %12s %14s %14s %14s\n", "trained", "frozen", "train-only",
                  "constant bytes", "largest graph", "peak bytes");
    for (size_t i = 0; i < report->phases.count; i++) {
        const PhaseCost *phase = &report->phases.at[i];
        put_name(out, 0, phase->spec->name);
        put_number(out, 12, phase->trained);
        put_number(out, 12, phase->frozen);
        if (phase->train_only < 0)
            strbuf_printf(out, " %12s", "-");
        else
            put_number(out, 12, phase->train_only);
        put_number(out, 14, phase->constant_bytes);
        put_number(out, 14, phase->arena_bytes);
        put_number(out, 14, phase_peak_bytes(report, phase));
        strbuf_putc(out, '\n');
    }
    put_name(out, 0, "parameters and states");
    strbuf_printf(out, " %12s %12s %12s %14s %14s %14" PRId64 "\n", "", "", "", "", "",
                  report->storage_bytes);
}

void cost_print(StrBuf *out, const CostReport *report, const SourceSet *sources) {
    print_models(out, &report->models);
    for (size_t i = 0; i < report->phases.count; i++) {
        strbuf_putc(out, '\n');
        print_work(out, &report->phases.at[i]);
        print_kernels(out, &report->phases.at[i]);
        print_conditions(out, &report->phases.at[i]);
        if (report->counted)
            print_executed(out, &report->phases.at[i]);
        if (report->memory_limit_bytes)
            print_recomputed(out, &report->phases.at[i], sources);
    }
    strbuf_putc(out, '\n');
    print_phases(out, report);
}

// ---- JSON
// ------------------------------------------------------------------------------------------
//
// An object a line, so that a line tool finds its way too.

static void json_models(Json *json, const ModelCosts *models) {
    json_open(json, "models", '[');
    for (size_t i = 0; i < models->count; i++) {
        const ModelCost *model = models->at[i];
        strbuf_putc(&json->text, '\n');
        json_open(json, NULL, '{');
        json_text(json, "name", model->name);
        json_int(json, "parameters", model->parameters);
        json_int(json, "macs", model->macs);
        json_open(json, "parts", '[');
        for (size_t k = 0; k < model->parts.count; k++) {
            json_open(json, NULL, '{');
            json_text(json, "name", model->parts.at[k].name);
            json_int(json, "parameters", model->parts.at[k].parameters);
            json_int(json, "macs", model->parts.at[k].macs);
            json_close(json, '}');
        }
        json_close(json, ']');
        json_close(json, '}');
    }
    json_close(json, ']');
}

static void json_cost(Json *json, const GraphCost *cost, int64_t parameters) {
    for (int s = 0; s < STAGE_COUNT; s++) {
        json_open(json, stage_names[s], '{');
        json_int(json, "macs", cost->stage[s].macs);
        json_int(json, "flops", cost->stage[s].flops);
        json_int(json, "kernels", cost->stage[s].kernels);
        json_close(json, '}');
    }
    json_int(json, "parameters", parameters);
    json_int(json, "kept_bytes", cost->kept_bytes);
    json_int(json, "arena_bytes", cost->arena_bytes);
}

static void json_recomputed(Json *json, const GraphRow *row, const SourceSet *sources) {
    const Graph *graph = row->graph;
    strbuf_putc(&json->text, '\n');
    json_open(json, "recomputed", '{');
    json_int(json, "flops", row->recomputed_flops);
    json_int(json, "bytes", row->recomputed_bytes);
    json_int(json, "arena_bytes_before", row->cost.arena_bytes);
    json_int(json, "arena_bytes_after", graph->step_bytes);
    json_open(json, "values", '[');
    for (size_t i = 0; i < graph->recomputed.count; i++) {
        const Recomputed *again = &graph->recomputed.at[i];
        const Origin *origin = again->node->origin;
        StrBuf place = {.arena = json->text.arena};
        put_place(&place, origin, sources);
        json_open(json, NULL, '{');
        json_text(json, "op", op_info[again->node->op].name);
        json_text(json, "module", origin ? origin->module : NULL);
        json_text(json, "place", strbuf_text(&place) + strspn(strbuf_text(&place), " "));
        json_int(json, "flops", again->flops);
        json_int(json, "bytes", again->bytes);
        json_close(json, '}');
    }
    json_close(json, ']');
    json_close(json, '}');
}

static void json_row(Json *json, const GraphRow *row, const CostReport *report,
                     const SourceSet *sources) {
    static const char *const roles[] = {
        [GRAPH_STEP] = "step", [GRAPH_EVAL] = "eval", [GRAPH_PROLOGUE] = "prologue"};
    strbuf_putc(&json->text, '\n');
    json_open(json, NULL, '{');
    json_text(json, "name", row->graph->name);
    json_text(json, "role", roles[row->graph->role]);
    json_int(json, "batch", row->batch);
    json_cost(json, &row->cost, row->parameters);
    if (report->memory_limit_bytes)
        json_recomputed(json, row, sources);
    if (report->counted) {
        json_open(json, "counted", '{');
        for (int s = 0; s < STAGE_COUNT; s++)
            json_int(json, stage_names[s], row->executed[s]);
        json_close(json, '}');
    }
    json_open(json, "terms", '[');
    for (size_t t = 0; t < row->terms.count; t++) {
        const TermCost *term = &row->terms.at[t];
        int line, column;
        source_position(sources, term->span, &line, &column);
        strbuf_putc(&json->text, '\n');
        json_open(json, NULL, '{');
        json_text(json, "term", term->name);
        json_text(json, "file", source_of(sources, term->span)->name);
        json_int(json, "line", line);
        json_cost(json, &term->cost, term->parameters);
        json_close(json, '}');
    }
    json_close(json, ']');
    if (row->terms.count) {
        strbuf_putc(&json->text, '\n');
        json_open(json, "shared", '{');
        json_cost(json, &row->shared, row->shared_parameters);
        json_close(json, '}');
    }
    json_close(json, '}');
}

/// For each step the conditions that the digits behind its graphs' names answer.
static void json_conditions(Json *json, const PhaseSpec *phase) {
    json_open(json, "conditions", '[');
    for (size_t k = 0; k < phase->steps.count; k++) {
        const StepSpec *step = &phase->steps.at[k];
        json_open(json, NULL, '[');
        for (size_t c = 0; c < step->conditions.count; c++)
            json_text(json, NULL, step->conditions.at[c].text);
        json_close(json, ']');
    }
    json_close(json, ']');
}

void cost_print_json(StrBuf *out, const CostReport *report, const SourceSet *sources) {
    Json json = {.text = {.arena = out->arena}, .first = true};
    json_open(&json, NULL, '{');
    json_models(&json, &report->models);
    strbuf_putc(&json.text, '\n');
    json_open(&json, "phases", '[');
    for (size_t i = 0; i < report->phases.count; i++) {
        const PhaseCost *phase = &report->phases.at[i];
        strbuf_putc(&json.text, '\n');
        json_open(&json, NULL, '{');
        json_text(&json, "phase", phase->spec->name);
        json_int(&json, "trained", phase->trained);
        json_int(&json, "frozen", phase->frozen);
        if (phase->train_only < 0)
            json_text(&json, "train_only", NULL);
        else
            json_int(&json, "train_only", phase->train_only);
        json_int(&json, "constant_bytes", phase->constant_bytes);
        json_int(&json, "arena_bytes", phase->arena_bytes);
        json_int(&json, "peak_bytes", phase_peak_bytes(report, phase));
        json_open(&json, "graphs", '[');
        for (size_t r = 0; r < phase->rows.count; r++)
            json_row(&json, &phase->rows.at[r], report, sources);
        json_close(&json, ']');
        json_conditions(&json, phase->spec);
        json_close(&json, '}');
    }
    json_close(&json, ']');
    strbuf_putc(&json.text, '\n');
    json_int(&json, "storage_bytes", report->storage_bytes);
    json_close(&json, '}');
    strbuf_printf(out, "%s\n", strbuf_text(&json.text));
}
