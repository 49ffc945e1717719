// frontend/step.c -- steps and evaluations: graphs over a batch, their terms and reports.
#include <inttypes.h>
#include <string.h>

#include "frontend/elaborate.h"
#include "ir/cost.h"

// ---- fields ----

static bool has_field(const DataSpec *data, const char *name) {
    for (size_t i = 0; i < data->fields.count; i++)
        if (strcmp(data->fields.at[i].name, name) == 0)
            return true;
    return false;
}

// `index` is a field of every data set; those that are asked for it list it. Derived data sets
// share their lists, so this one is written anew.
static void list_field(Elab *e, const DataSpec *data, const char *name, Type type) {
    if (has_field(data, name))
        return;
    for (size_t i = 0; i < e->program->data.count; i++) {
        DataSpec *spec = e->program->data.at[i];
        if (spec != data)
            continue;
        FieldSpec *fields = arena_array(e->arena, FieldSpec, spec->fields.count + 1);
        memcpy(fields, spec->fields.at, spec->fields.count * sizeof *fields);
        fields[spec->fields.count] = (FieldSpec){.name = name, .type = type};
        spec->fields.at = fields;
        spec->fields.capacity = ++spec->fields.count;
    }
}

bool bind_fields(Elab *e, const AstParam *params, size_t count, const DataSpec *data, int64_t batch,
                 Scope *scope) {
    bool good = true;
    e->ctx->data = data;
    for (size_t i = 0; i < count; i++) {
        const AstName *name = &params[i].name;
        Type type;
        if (!data || !field_type(data, name->text, &type)) {
            Names names = {0};
            for (size_t k = 0; data && k < data->fields.count; k++)
                vec_push(e->arena, &names, data->fields.at[k].name);
            if (!data || !has_field(data, "index"))
                vec_push(e->arena, &names, "index");
            Diag *d =
                report_error(e, name->span, "the data set%s%s has no field `%s`", data ? " " : "",
                             data ? arena_printf(e->arena, "`%s`", data->name) : "", name->text);
            const char *near = nearest_name(name->text, names.at, names.count);
            if (near)
                diag_fixit(d, name->span, near);
            else
                diag_help(d, "it has %s", a_list_of(e, names.at, names.count));
            if (near && !scope_find_here(scope, near)) // the body may have it right
                scope_set(e, scope, near, value_poison(), name->span);
            scope_set(e, scope, name->text, value_poison(), name->span);
            good = false;
            continue;
        }
        if (scope_find_here(scope, name->text)) {
            fail(e, name->span, "the parameter `%s` stands twice", name->text);
            good = false;
            continue;
        }
        list_field(e, data, name->text, type);
        memmove(type.dim + 1, type.dim, type.rank * sizeof *type.dim);
        type.dim[0] = batch;
        type.rank++;
        ir_at(e->ctx->graph, origin_at(e, name->span));
        Tensor t = {.node = ir_input(e->ctx->graph, name->text, &type),
                    .label = name->text,
                    .label_span = name->span};
        scope_set(e, scope, name->text, value_tensor(e, t), name->span);
    }
    return good;
}

// ---- minimize ----

static bool read_over(Elab *e, const AstStmt *stmt, Term *term) {
    term->has_over = stmt->minimize.over_count > 0;
    for (size_t i = 0; i < stmt->minimize.over_count; i++) {
        const AstExpr *target = stmt->minimize.over[i];
        Value v = eval_expr(e, target);
        if (!part_storages(e, v, target->span, &term->over))
            return false;
    }
    return true;
}

static void exec_minimize(Elab *e, const AstStmt *stmt) {
    Value v = eval_expr(e, stmt->minimize.loss);
    Span span = stmt->minimize.loss->span;
    Term term = {.span = span, .combine = value_none()};
    bool good = read_over(e, stmt, &term);
    if (stmt->minimize.combine) {
        term.combine = eval_expr(e, stmt->minimize.combine);
        if (term.combine.kind != VALUE_OPEN && term.combine.kind != VALUE_FUNCTION) {
            if (term.combine.kind != VALUE_POISON)
                fail(e, stmt->minimize.combine->span,
                     "`combine` takes a fn of the two gradients, and this is %s",
                     value_text(e, term.combine));
            good = false;
        }
    }
    if (v.kind == VALUE_POISON) {
        e->step->poisoned = true;
        return;
    }
    term.loss = lift(e, v, NULL, span, "`minimize`: ");
    if (!term.loss || !good)
        return;
    if (term.loss->type.rank || !dtype_is_float(term.loss->type.dtype)) {
        Diag *d = report_error(e, span, "`minimize` takes a scalar, and this is %s",
                               type_text(e->arena, &term.loss->type));
        diag_help(d, "mean(…) or sum(…) makes one of it");
        return;
    }
    vec_push(e->arena, &e->step->terms, term);
    note_terms(e, term.loss, span);
}

// ---- report ----

static const char *report_name(Elab *e, const AstReportItem *item) {
    if (item->name)
        return eval_text(e, item->name);
    if (item->value->kind == EXPR_NAME)
        return item->value->name;
    if (item->value->kind != EXPR_ERROR) {
        Diag *d = report_error(e, item->value->span, "what is reported has a name");
        diag_help(d, "report name = %s", expr_text(e, item->value));
    }
    return NULL;
}

static bool good_report_name(const char *name) {
    size_t length = strlen(name);
    for (const char *c = name; *c; c++)
        if ((unsigned char)*c < ' ' || *c == ',' || *c == '"')
            return false;
    return length > 0 && length < 64;
}

static void report_item(Elab *e, const AstReportItem *item) {
    const char *name = report_name(e, item);
    Value v = eval_expr(e, item->value);
    Span span = item->value->span;
    if (!name || v.kind == VALUE_POISON)
        return;
    Node *node = lift(e, v, NULL, span, "`report`: ");
    if (!node)
        return;
    if (node->type.rank) {
        Diag *d = report_error(e, span, "`report` takes scalars, and this is %s",
                               type_text(e->arena, &node->type));
        diag_help(d, "mean(…) makes one of it");
        return;
    }
    if (!good_report_name(name)) {
        fail(e, span, "\"%s\" cannot name a column: 1 to 63 characters, no comma, no quote", name);
        return;
    }
    if (node->type.dtype != e->module->real) {
        Attrs attrs = {.dtype = e->module->real};
        node = make_node(e, OP_cast, &node, 1, &attrs, span, "`report`", NULL);
    }
    if (e->step->passed_over)
        return;
    Span *before = map_get(&e->step->reports, name);
    if (before) {
        Diag *d = report_error(e, span, "`%s` is reported twice", name);
        diag_note(d, *before, "first here");
        return;
    }
    Span *copy = arena_new(e->arena, Span);
    *copy = span;
    map_set(&e->step->reports, name, copy);
    if (!node)
        return;
    ir_at(e->ctx->graph, origin_at(e, span));
    ir_report(e->ctx->graph, name, node);
}

void step_statement(Elab *e, const AstStmt *stmt) {
    if (!e->step) // a text that could not be read wholly may have left it in another place
        return;
    if (stmt->kind == STMT_MINIMIZE) {
        exec_minimize(e, stmt);
        return;
    }
    for (size_t i = 0; i < stmt->report.count; i++)
        report_item(e, &stmt->report.items[i]);
}

// ---- graphs ----

static void run_body_of(Elab *e, PhaseWork *work, Deferred at, const DataSpec *data, int64_t batch,
                        StepWork *step) {
    Application app;
    Scope *outer = e->scope, *scope = scope_new(e, at.scope);
    e->step = step;
    e->app = NULL;
    application_begin(e, &app, work->root);
    e->app = &app;
    bind_fields(e, at.stmt->step.params, at.stmt->step.param_count, data, batch, scope);
    e->scope = scope;
    exec_stmts(e, at.stmt->step.body);
    e->scope = outer;
    e->app = NULL;
    e->step = NULL;
}

// Draws of different graphs are of different streams; both sizes of a step draw the same.
static int64_t streams_of(const PhaseWork *work, bool is_eval, int number) {
    return (((int64_t)work->index + 1) << 32) + ((int64_t)is_eval << 31) + ((int64_t)number << 16);
}

/// One run of a step's body, along one way through its `when`s.
typedef struct Run {
    GraphContext *ctx;
    StepWork step;
    const char *answers; // of the conditions that were known by then
} Run;

typedef Vec(Run *) Runs;

// False after a report. The smaller last batch ends an epoch, which is where an update is due.
static bool run_step(Elab *e, PhaseWork *work, Deferred at, int number, int64_t batch, bool is_last,
                     Choices *choices, Run *run) {
    const DataSpec *data = e->program->data.at[work->data.data->index];
    const char *name = arena_printf(e->arena, "%s.step%d", work->name, number);
    GraphContext *outer = e->ctx;
    size_t errors = e->diags->error_count;
    Graph *graph = graph_detached(e, name, GRAPH_STEP, work->index);
    run->step.choices = choices;
    map_init(&run->step.reports, e->arena);
    run->ctx = e->ctx = context_new(e, graph, streams_of(work, false, number));
    e->ctx->is_step = true;
    choices->at = 0;
    if (work->accumulate && !is_last)
        run->step.gathers = !choose_update(e, choices, work->accumulate);
    run_body_of(e, work, at, data, batch, &run->step);
    e->ctx = outer;
    return e->diags->error_count == errors && !e->stopped && !run->step.poisoned;
}

// All ways, on batches of one size. False after a report.
static bool run_ways(Elab *e, PhaseWork *work, Deferred at, int number, int64_t batch, bool is_last,
                     Choices *choices, Runs *runs) {
    bool good = true;
    size_t count = 0;
    do {
        if (choices_too_many(e, choices, count++))
            return false;
        Run *run = arena_new(e->arena, Run);
        good &= run_step(e, work, at, number, batch, is_last, choices, run);
        run->answers = choices_answers(e, choices);
        vec_push(e->arena, runs, run);
    } while (!e->stopped && choices_next(choices));
    return good;
}

static Graph *conditions_graph(Elab *e, const PhaseWork *work, int number) {
    const char *name = arena_printf(e->arena, "%s.when%d", work->name, number);
    return graph_detached(e, name, GRAPH_SETTINGS, work->index);
}

void elaborate_step_dry(Elab *e, PhaseWork *work, Deferred at, int number, int64_t batch) {
    Choices choices = {.graph = conditions_graph(e, work, number)};
    Runs runs = {0};
    run_ways(e, work, at, number, batch, false, &choices, &runs);
}

// The answers of all conditions: those met later were not asked.
static const char *all_answers(Elab *e, const Run *run, size_t count) {
    StrBuf text = {.arena = e->arena};
    strbuf_puts(&text, run->answers);
    while (text.length < count)
        strbuf_putc(&text, '-');
    return strbuf_text(&text);
}

static void finish_choices(Elab *e, const Choices *choices, StepSpec *spec) {
    spec->choose = -1;
    for (size_t i = 0; i < choices->asked.count; i++) {
        const Asked *asked = &choices->asked.at[i];
        const char *name = arena_printf(e->arena, "%zu %s", i + 1, asked->text);
        ir_output(choices->graph, name, asked->node);
        vec_push(e->arena, &spec->conditions, ((ConditionSpec){asked->text, asked->span}));
    }
    if (choices->asked.count)
        spec->choose = graph_attach(e, choices->graph);
}

bool elaborate_step(Elab *e, PhaseWork *work, Deferred at, int number, const PhaseSpec *phase,
                    const char *rest, StepSpec *spec) {
    Choices choices = {.graph = conditions_graph(e, work, number)};
    Runs runs = {0};
    GraphContext *outer = e->ctx;
    size_t errors = e->diags->error_count;
    if (!run_ways(e, work, at, number, phase->batch, false, &choices, &runs))
        return false;
    size_t full_count = runs.count;
    e->rest_of_data = rest;
    bool good = !phase->last_batch ||
                run_ways(e, work, at, number, phase->last_batch, true, &choices, &runs);
    e->rest_of_data = NULL;
    if (!good)
        return false;
    Map reached; // by any variant
    map_init(&reached, e->arena);
    for (size_t i = 0; i < runs.count; i++) {
        e->ctx = runs.at[i]->ctx;
        step_reach(e, &runs.at[i]->step, &reached);
    }
    for (size_t i = 0; i < runs.count && good; i++) {
        Run *run = runs.at[i];
        bool is_full = i < full_count;
        e->ctx = run->ctx;
        e->stage = STAGE_UPDATE;
        e->rest_of_data = is_full ? NULL : rest;
        double weight = is_full ? 1 : (double)phase->last_batch / (double)phase->batch;
        elaborate_updates(e, work, &run->step, number, weight, &reached);
        e->rest_of_data = NULL;
        e->stage = STAGE_FORWARD;
        good = e->diags->error_count == errors && !e->stopped;
        if (!good)
            break;
        context_finish(e, e->ctx);
        Graph *graph = run->ctx->graph;
        graph_mark_terms(graph, e->arena);
        StepVariant variant = {.when = all_answers(e, run, choices.asked.count)};
        graph->name = arena_printf(e->arena, *variant.when ? "%s[%s]%s" : "%s%s%s", graph->name,
                                   variant.when, is_full ? "" : ".last");
        variant.graph = graph_attach(e, graph);
        if (is_full)
            vec_push(e->arena, &spec->full, variant);
        else
            vec_push(e->arena, &spec->last, variant);
    }
    e->ctx = outer;
    if (good)
        finish_choices(e, &choices, spec);
    return good;
}

// ---- evaluations ----

Value value_in_finish(Elab *e, Value v, const char *name, Span span) {
    if (v.kind == VALUE_TENSOR && v.tensor->storage)
        return storage_value(e, v.tensor->storage);
    if (value_is_here(e, v))
        return v;
    Diag *d = report_error(e, span, "`%s` is of one batch, and `finish` runs after the last", name);
    diag_help(d, "what is kept from batch to batch is a state: let all = state([…])");
    return value_poison();
}

static int32_t eval_graph(Elab *e, PhaseWork *work, Deferred at, int number, const DataSpec *data,
                          int64_t batch, const char *suffix, StepWork *step) {
    const char *name = arena_printf(e->arena, "%s.eval%d%s", work->name, number, suffix);
    GraphContext *outer = e->ctx;
    size_t errors = e->diags->error_count;
    Graph *graph = graph_detached(e, name, GRAPH_EVAL, work->index);
    map_init(&step->reports, e->arena);
    e->ctx = context_new(e, graph, streams_of(work, true, number));
    e->ctx->is_eval = true;
    run_body_of(e, work, at, data, batch, step);
    bool good = e->diags->error_count == errors && !e->stopped;
    if (good)
        context_finish(e, e->ctx);
    e->ctx = outer;
    return good ? graph_attach(e, graph) : -1;
}

// The statements after the last batch: they see the states as they are then.
static int32_t finish_graph(Elab *e, PhaseWork *work, int number, StepWork *step) {
    const char *name = arena_printf(e->arena, "%s.eval%d.finish", work->name, number);
    GraphContext *outer_ctx = e->ctx;
    Scope *outer = e->scope;
    Application app;
    size_t errors = e->diags->error_count;
    Graph *graph = graph_detached(e, name, GRAPH_EVAL, work->index);
    e->ctx = context_new(e, graph, streams_of(work, true, number) + (1 << 15));
    e->ctx->is_eval = true;
    e->step = step;
    step->finishing = true;
    e->app = NULL;
    application_begin(e, &app, work->root);
    e->app = &app;
    for (size_t i = 0; i < step->finishes.count; i++) {
        e->scope = scope_new(e, step->finishes.at[i].scope);
        exec_stmts(e, step->finishes.at[i].stmt->block);
    }
    context_finish(e, e->ctx);
    e->scope = outer;
    e->app = NULL;
    e->step = NULL;
    e->ctx = outer_ctx;
    return e->diags->error_count == errors && !e->stopped ? graph_attach(e, graph) : -1;
}

void elaborate_eval(Elab *e, PhaseWork *work, Deferred at, int number, const DataValue *data,
                    EvalSpec *spec) {
    const DataSpec *source = e->program->data.at[data->index];
    const char *name = arena_printf(e->arena, "%s.eval%d", work->name, number);
    Graph *begin =
        graph_detached(e, arena_printf(e->arena, "%s.begin", name), GRAPH_BEGIN, work->index);
    StepWork step = {.is_eval = true}, last = {.is_eval = true};
    step.states = last.states =
        instance_root(e, arena_printf(e->arena, "%s/eval%d", work->name, number), NULL, (Args){0},
                      at.stmt->word_span);
    step.states->is_slot = true;
    step.states->phase = work->index;
    e->eval_begin = context_new(e, begin, 0);
    spec->graph.full = eval_graph(e, work, at, number, source, spec->batch, "", &step);
    e->rest_of_data = rest_text(e, spec->last_batch, 0);
    if (spec->last_batch && spec->graph.full >= 0)
        spec->graph.last =
            eval_graph(e, work, at, number, source, spec->last_batch, ".last", &last);
    e->rest_of_data = NULL;
    if (begin->nodes.count)
        spec->begin = graph_attach(e, begin);
    if (step.finishes.count && spec->graph.full >= 0)
        spec->finish = finish_graph(e, work, number, &step);
    e->eval_begin = NULL;
}
