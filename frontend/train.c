// frontend/train.c -- `train` blocks and their phases.
//
// The statements of a block are collected first, each with the names it sees; what a block says
// holds in its phases unless they say otherwise. A phase is then elaborated in this order: a dry
// run of its steps, from which the parts of models are known; what is frozen, what is trained and
// by which group; the steps themselves, for whole batches and for the smaller last one;
// evaluations.
//
// Train-only modules, those applied in a step or declared in a block, are initialised by the init
// graph like all others: a run that is resumed has them from the checkpoint.
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/elaborate.h"

static const char *const settings[] = {"batch",     "epochs",    "drop_last",
                                       "clip_norm", "keep_best", "accumulate"};
enum { SETTING_COUNT = sizeof settings / sizeof *settings };

// ---- collecting ----

static void collect(Elab *e, PhaseWork *work, const AstBlock *block);

typedef struct CollectLoop {
    PhaseWork *work;
    const AstBlock *body;
} CollectLoop;

static bool collect_body(Elab *e, void *data) {
    CollectLoop *loop = data;
    collect(e, loop->work, loop->body);
    return true;
}

static void collect_setting(Elab *e, PhaseWork *work, const AstStmt *stmt) {
    const AstName *word = &stmt->setting.word;
    for (int i = 0; i < SETTING_COUNT; i++) {
        if (strcmp(settings[i], word->text) != 0)
            continue;
        Deferred *deferred = arena_new(e->arena, Deferred);
        *deferred = (Deferred){stmt, e->scope};
        map_set(&work->settings, word->text, deferred);
        return;
    }
    Diag *d = report_error(e, word->span, "a phase has no setting `%s`", word->text);
    const char *near = nearest_name(word->text, settings, SETTING_COUNT);
    if (near) {
        diag_fixit(d, word->span, near);
        map_set(&work->settings, near, NULL); // so that it is not missed
    } else {
        diag_help(d, "it has %s", a_list_of(e, settings, SETTING_COUNT));
    }
}

static bool holds_tensor(Value v) {
    if (value_is_list(v) && v.kind == VALUE_LIST)
        for (size_t i = 0; i < v.list->count; i++)
            if (holds_tensor(v.list->at[i]))
                return true;
    if (v.kind == VALUE_OPEN)
        for (size_t i = 0; i < v.open->args.count; i++)
            if (holds_tensor(v.open->args.at[i].value))
                return true;
    return v.kind == VALUE_TENSOR;
}

static void collect_let(Elab *e, const AstStmt *stmt) {
    Value v = eval_expr(e, stmt->let.value);
    if (stmt->let.count > 1 || !holds_tensor(v)) {
        bind_names(e, stmt->let.names, stmt->let.count, v, stmt->let.value->span, true);
        return;
    }
    Scope *seen = e->scope; // the name itself is not among them
    e->scope = scope_new(e, seen);
    Binding *b =
        scope_set(e, seen, stmt->let.names[0].text, value_poison(), stmt->let.names[0].span);
    b->lazy = stmt->let.value;
    b->lazy_scope = e->scope;
    e->scope = seen;
}

static void collect_model(Elab *e, PhaseWork *work, const AstStmt *stmt) {
    Value v = eval_open(e, stmt->model.value);
    v = model_declare(e, stmt, v, work->root->path);
    scope_set(e, e->scope, stmt->model.name.text, v, stmt->model.name.span);
    Map *record = map_get(&e->block_names, work->name);
    if (record) {
        Value *copy = arena_new(e->arena, Value);
        *copy = v;
        map_set(record, stmt->model.name.text, copy);
    }
}

static void collect_stmt(Elab *e, PhaseWork *work, const AstStmt *stmt) {
    Deferred deferred = {stmt, e->scope};
    switch (stmt->kind) {
    case STMT_SETTING:
        collect_setting(e, work, stmt);
        break;
    case STMT_STEP:
        vec_push(e->arena, &work->steps, deferred);
        break;
    case STMT_EVAL:
        vec_push(e->arena, &work->evals, deferred);
        break;
    case STMT_OPTIMIZE:
        vec_push(e->arena, &work->optimizes, deferred);
        break;
    case STMT_FREEZE:
        vec_push(e->arena, &work->freezes, deferred);
        break;
    case STMT_PHASE:
        vec_push(e->arena, &work->phases, deferred);
        break;
    case STMT_LOAD:
        load_statement(e, stmt);
        break;
    case STMT_MODEL:
        collect_model(e, work, stmt);
        break;
    case STMT_SPLIT:
        model_split(e, stmt);
        break;
    case STMT_LET:
        collect_let(e, stmt);
        break;
    case STMT_FOR: {
        CollectLoop loop = {work, &stmt->loop.body};
        for_each(e, stmt->loop.list, stmt->loop.names, stmt->loop.count, collect_body, &loop);
        break;
    }
    case STMT_IF:
        for (size_t i = 0; i < stmt->branch.count; i++) {
            const AstBranch *branch = &stmt->branch.branches[i];
            bool holds = true;
            if (branch->condition && !value_condition(e, eval_expr(e, branch->condition),
                                                      branch->condition, "`if`", &holds))
                break;
            if (!holds)
                continue;
            Scope *outer = e->scope;
            e->scope = scope_new(e, outer);
            collect(e, work, &branch->body);
            e->scope = outer;
            break;
        }
        break;
    case STMT_ASSIGN:
    case STMT_ASSERT: {
        AstStmt *list[] = {(AstStmt *)stmt};
        AstBlock one = {.stmts = list, .count = 1, .span = stmt->span};
        exec_stmts(e, &one);
        break;
    }
    case STMT_ERROR:
    case STMT_USE:
    case STMT_PARAM:
    case STMT_OPTION:
    case STMT_FN:
    case STMT_NET:
    case STMT_OPTIMIZER:
    case STMT_DATA:
    case STMT_TRAIN:
    case STMT_DEPLOY:
    case STMT_FINISH:
    case STMT_UPDATE:
    case STMT_TAP:
    case STMT_RETURN:
    case STMT_WHEN:
    case STMT_MINIMIZE:
    case STMT_REPORT:
    case STMT_EXIT:
    case STMT_EXPR:
        break;
    }
}

// A block says each setting once. What an `if` in it says is another block's, and may differ.
static void refuse_twice(Elab *e, const AstBlock *block, size_t at) {
    const AstStmt *stmt = block->stmts[at];
    for (size_t i = 0; i < at && stmt->kind == STMT_SETTING; i++) {
        const AstStmt *before = block->stmts[i];
        if (before->kind != STMT_SETTING ||
            strcmp(before->setting.word.text, stmt->setting.word.text) != 0)
            continue;
        Diag *d = report_error(e, stmt->setting.word.span, "the setting `%s` stands twice",
                               stmt->setting.word.text);
        diag_note(d, before->setting.word.span, "first here");
        return;
    }
}

static void collect(Elab *e, PhaseWork *work, const AstBlock *block) {
    for (size_t i = 0; i < block->count && !e->stopped; i++) {
        refuse_twice(e, block, i);
        collect_stmt(e, work, block->stmts[i]);
    }
}

// ---- settings ----

static const AstExpr *setting_value(Elab *e, const PhaseWork *work, const char *word,
                                    Scope **scope) {
    const Deferred *at = map_get(&work->settings, word);
    if (!at)
        return NULL;
    *scope = at->scope;
    if (at->stmt->setting.count != 1 || !at->stmt->setting.values[0].value ||
        at->stmt->setting.values[0].name.text) {
        fail(e, at->stmt->span, "`%s` takes one value", word);
        return NULL;
    }
    return at->stmt->setting.values[0].value;
}

static bool has_setting(const PhaseWork *work, const char *word) {
    return map_has(&work->settings, word);
}

static bool batch_setting(Elab *e, const PhaseWork *work, int64_t *batch) {
    for (size_t i = 0; i < e->options.define_count; i++) {
        if (strcmp(e->options.defines[i].name, "batch") != 0)
            continue;
        char *end;
        *batch = strtoll(e->options.defines[i].value, &end, 10);
        map_set(&e->used_defines, "batch", e);
        if (*end || *batch < 1 || *batch > (1 << 20)) {
            fail(e, work->stmt->word_span, "-D batch=%s: a batch has 1 to %d examples",
                 e->options.defines[i].value, 1 << 20);
            return false;
        }
        return true;
    }
    Scope *scope = NULL, *outer = e->scope;
    const AstExpr *expr = setting_value(e, work, "batch", &scope);
    if (!expr) {
        if (!has_setting(work, "batch")) {
            Diag *d = report_error(e, work->stmt->word_span, "`%s` has no `batch`", work->name);
            diag_help(d, "batch 128");
        }
        return false;
    }
    e->scope = scope;
    bool good = eval_int(e, expr, "`batch`", batch);
    e->scope = outer;
    if (good && (*batch < 1 || *batch > (1 << 20))) {
        fail(e, expr->span, "a batch has 1 to %d examples", 1 << 20);
        return false;
    }
    return good;
}

enum { MOST_ACCUMULATED = 1 << 20 }; // exact in every real type

// `accumulate 1`, in a phase of a block that says more, is as if nothing were said.
static void accumulate_setting(Elab *e, PhaseWork *work) {
    Scope *scope = NULL, *outer = e->scope;
    const AstExpr *expr = setting_value(e, work, "accumulate", &scope);
    if (!expr)
        return;
    e->scope = scope;
    if (eval_int(e, expr, "`accumulate`", &work->batches_of_update)) {
        if (work->batches_of_update < 1 || work->batches_of_update > MOST_ACCUMULATED)
            fail(e, expr->span, "`accumulate` takes 1 to %d batches", MOST_ACCUMULATED);
        else if (work->batches_of_update > 1)
            work->accumulate = expr;
    }
    e->scope = outer;
}

// The graph of the settings that the runtime asks for: `epochs` may be an option.
static int32_t settings_graph(Elab *e, const PhaseWork *work) {
    Scope *scope = NULL, *outer = e->scope;
    const AstExpr *expr = setting_value(e, work, "epochs", &scope);
    if (!expr) {
        if (!has_setting(work, "epochs")) {
            Diag *d = report_error(e, work->stmt->word_span, "`%s` has no `epochs`", work->name);
            diag_help(d, "epochs 10");
        }
        return -1;
    }
    GraphContext *saved = e->ctx;
    Graph *graph = graph_detached(e, arena_printf(e->arena, "%s.settings", work->name),
                                  GRAPH_SETTINGS, work->index);
    e->ctx = context_new(e, graph, 0);
    e->scope = scope;
    Value v = eval_expr(e, expr);
    Node *node = v.kind == VALUE_POISON ? NULL : lift(e, v, NULL, expr->span, "`epochs`: ");
    if (v.kind == VALUE_NUMBER && v.number < 0)
        fail(e, expr->span, "`epochs` is at least 0");
    else if (v.kind == VALUE_NUMBER && v.number != floor(v.number))
        fail(e, expr->span, "`epochs` is a whole number, and this is %s", value_text(e, v));
    if (node && node->type.rank) {
        fail(e, expr->span, "`epochs` is a number, and this is %s", value_text(e, v));
        node = NULL;
    }
    if (node)
        ir_output(graph, "epochs", node);
    if (node && work->accumulate)
        ir_output(graph, "accumulate",
                  ir_const(graph, (double)work->batches_of_update, e->module->real));
    e->scope = outer;
    e->ctx = saved;
    return node ? graph_attach(e, graph) : -1;
}

// ---- what is trained, what is frozen ----

static void mark_trained(Elab *e, Instance *instance) {
    instance->trained = e->phase_serial;
}

static void mark_frozen(Elab *e, Instance *instance) {
    instance->frozen = e->phase_serial;
}

static void mark_batch_stats(Elab *e, Instance *instance) {
    instance->batch_stats = e->phase_serial;
}

static Value eval_target(Elab *e, const Deferred *at, const AstExpr *target) {
    Scope *outer = e->scope;
    e->scope = at->scope;
    Value v = eval_expr(e, target);
    e->scope = outer;
    return v;
}

static void read_freezes(Elab *e, const PhaseWork *work) {
    for (size_t i = 0; i < work->freezes.count; i++) {
        const Deferred *at = &work->freezes.at[i];
        const AstExpr *mode = at->stmt->freeze.mode;
        bool batch_stats =
            mode && mode->kind == EXPR_NAME && strcmp(mode->name, "batch_stats") == 0;
        if (mode && !batch_stats && mode->kind != EXPR_ERROR) {
            Diag *d = report_error(e, mode->span, "`freeze` knows no `%s`", expr_text(e, mode));
            diag_help(d, "freeze m with batch_stats normalises by the batch");
        }
        for (size_t k = 0; k < at->stmt->freeze.count; k++) {
            const AstExpr *target = at->stmt->freeze.targets[k];
            Value v = eval_target(e, at, target);
            StorageInfos ignored = {0};
            if (!part_storages(e, v, target->span, &ignored))
                continue;
            part_mark(e, v, mark_frozen);
            if (batch_stats)
                part_mark(e, v, mark_batch_stats);
        }
    }
}

static void read_group_settings(Elab *e, Group *group) {
    const AstBlock *body = group->at.stmt->optimize.body;
    for (size_t i = 0; body && i < body->count; i++) {
        const AstStmt *stmt = body->stmts[i];
        if (stmt->kind != STMT_SETTING)
            continue;
        if (strcmp(stmt->setting.word.text, "no_decay") != 0) {
            static const char *const words[] = {"no_decay"};
            Diag *d = report_error(e, stmt->setting.word.span, "`optimize` has no setting `%s`",
                                   stmt->setting.word.text);
            if (nearest_name(stmt->setting.word.text, words, 1))
                diag_fixit(d, stmt->setting.word.span, "no_decay");
            continue;
        }
        for (size_t k = 0; k < stmt->setting.count; k++) {
            const AstExpr *value = stmt->setting.values[k].value;
            const char *name = value && value->kind == EXPR_NAME ? value->name : "";
            if (strcmp(name, "biases") == 0)
                group->no_decay_biases = true;
            else if (strcmp(name, "norms") == 0)
                group->no_decay_norms = true;
            else if (!value || value->kind != EXPR_ERROR)
                fail(e, stmt->setting.values[k].span, "`no_decay` takes `biases` and `norms`");
        }
    }
}

static void frozen_conflict(Elab *e, const PhaseWork *work, const StorageInfo *info, Span span) {
    Diag *d = report_error(e, span, "`%s` is frozen in this phase, and cannot be optimized",
                           info->owner->root->path);
    for (size_t i = 0; i < work->freezes.count; i++)
        diag_note(d, work->freezes.at[i].stmt->span, "frozen here");
}

// After the dry run: which group each parameter belongs to. Later groups take over.
static void read_groups(Elab *e, PhaseWork *work, bool with_storages) {
    work->groups.count = 0;
    for (size_t i = 0; i < work->optimizes.count; i++) {
        Group group = {.at = work->optimizes.at[i]};
        const AstStmt *stmt = group.at.stmt;
        if (with_storages)
            read_group_settings(e, &group);
        for (size_t k = 0; k < stmt->optimize.count; k++) {
            const AstExpr *target = stmt->optimize.targets[k];
            StorageInfos infos = {0};
            Value v = eval_target(e, &group.at, target);
            if (!part_storages(e, v, target->span, &infos))
                continue;
            part_mark(e, v, mark_trained);
            for (size_t s = 0; with_storages && s < infos.count; s++) {
                StorageInfo *info = infos.at[s];
                if (instance_frozen(e, info->owner)) {
                    frozen_conflict(e, work, info, target->span);
                    break;
                }
                info->group = (int32_t)work->groups.count;
                info->group_phase = e->phase_serial;
            }
            if (with_storages && !infos.count && work->steps.count && !e->diags->error_count)
                group.empty = target;
        }
        vec_push(e->arena, &work->groups, group);
    }
}

// Nets applied in a step are trained by the phase's optimizer, of which there is one then.
static void own_nets(Elab *e, PhaseWork *work) {
    StorageInfos infos = {0};
    collect_storages(e, work->root, &infos);
    bool told = false;
    for (size_t i = 0; i < infos.count; i++) {
        StorageInfo *info = infos.at[i];
        if (info->group_phase == e->phase_serial || info->storage->kind != STORAGE_PARAMETER)
            continue;
        bool declared = false; // a model of the block, named by `optimize` or frozen
        for (size_t k = 0; k < e->models.count; k++)
            declared |= e->models.at[k] == info->owner->root;
        if (declared)
            continue;
        if (work->optimizes.count > 1 && !told) {
            Diag *d = report_error(e, info->owner->root->span,
                                   "`%s` has parameters, and the phase more than one optimizer",
                                   info->owner->root->path);
            diag_help(d, "declare it as a `model` of the block and name it in an `optimize`");
            told = true;
        }
        if (work->optimizes.count) {
            info->group = 0;
            info->group_phase = e->phase_serial;
        }
    }
}

static void warn_unreached(Elab *e, const PhaseWork *work) {
    Names names = {0};
    Span span = {0};
    for (size_t i = 0; i < work->groups.count; i++) {
        const AstExpr *empty = work->groups.at[i].empty;
        if (empty)
            report_warning(e, empty->span, "`%s` has no parameters in this phase",
                           expr_text(e, empty));
    }
    for (size_t i = 0; i < e->infos.count; i++) {
        const StorageInfo *info = e->infos.at[i];
        if (info->storage->kind != STORAGE_PARAMETER || info->group_phase != e->phase_serial ||
            map_has(&work->reached, info->storage->name))
            continue;
        vec_push(e->arena, &names, info->storage->name);
        span = work->groups.at[info->group].at.stmt->word_span;
    }
    if (!names.count)
        return;
    Diag *d = report_warning(e, span, "no term of `%s` reaches %s", work->name,
                             a_list_of(e, names.at, names.count));
    diag_help(d, "what no term reaches stays as it is");
}

// ---- phases ----

static PhaseWork *work_new(Elab *e, const char *name, const AstStmt *stmt) {
    PhaseWork *work = arena_new(e->arena, PhaseWork);
    work->name = name;
    work->stmt = stmt;
    work->data = value_none();
    map_init(&work->settings, e->arena);
    map_init(&work->slots, e->arena);
    map_init(&work->reached, e->arena);
    return work;
}

static void inherit(Elab *e, PhaseWork *work, const PhaseWork *block) {
    for (size_t i = 0; i < block->settings.count; i++)
        if (!map_has(&work->settings, block->settings.entry[i].key))
            map_set(&work->settings, block->settings.entry[i].key, block->settings.entry[i].value);
    Vec(Deferred) freezes = {0};
    for (size_t i = 0; i < block->freezes.count; i++)
        vec_push(e->arena, &freezes, block->freezes.at[i]);
    for (size_t i = 0; i < work->freezes.count; i++)
        vec_push(e->arena, &freezes, work->freezes.at[i]);
    memcpy(&work->freezes, &freezes, sizeof freezes);
    if (!work->optimizes.count)
        work->optimizes = block->optimizes;
    if (!work->evals.count)
        work->evals = block->evals;
    if (!work->steps.count)
        work->steps = block->steps;
    if (work->data.kind == VALUE_NONE)
        work->data = block->data;
}

static int64_t examples(const DataSpec *spec, DataPart part) {
    switch (part) {
    case PART_DEFAULT:
        return spec->test_count ? spec->test_count : spec->count;
    case PART_TRAIN:
        return spec->count;
    case PART_VALIDATION:
        return spec->holdout;
    case PART_TEST:
        return spec->test_count;
    }
    return 0;
}

static void phase_evals(Elab *e, PhaseWork *work, PhaseSpec *spec) {
    for (size_t i = 0; i < work->evals.count; i++) {
        Deferred at = work->evals.at[i];
        Value data = work->data;
        if (at.stmt->step.data)
            data = eval_target(e, &at, at.stmt->step.data);
        if (data.kind != VALUE_DATA) {
            if (data.kind != VALUE_POISON)
                fail(e, at.stmt->step.data->span, "expected a data set, and this is %s",
                     value_text(e, data));
            continue;
        }
        const DataSpec *source = e->program->data.at[data.data->index];
        int64_t count = examples(source, data.data->part);
        EvalSpec eval = {.data = data.data->index,
                         .part = data.data->part,
                         .begin = -1,
                         .finish = -1,
                         .graph = {-1, -1}};
        eval.batch = count < spec->batch ? count : spec->batch;
        eval.last_batch = count % eval.batch;
        elaborate_eval(e, work, at, (int)i, data.data, &eval);
        vec_push(e->arena, &spec->evals, eval);
    }
}

static void phase_steps(Elab *e, PhaseWork *work, PhaseSpec *spec) {
    size_t errors = e->diags->error_count;
    read_freezes(e, work);
    read_groups(e, work, false);
    for (size_t i = 0; i < work->steps.count; i++)
        elaborate_step_dry(e, work, work->steps.at[i], (int)i, spec->batch);
    if (e->diags->error_count != errors || e->stopped)
        return; // the real run would say the same again
    read_freezes(e, work);
    read_groups(e, work, true);
    own_nets(e, work);
    if (e->diags->error_count != errors)
        return;
    for (size_t i = 0; i < work->steps.count; i++) {
        StepSpec step = {0};
        const char *rest = rest_text(e, spec->last_batch, e->program->data.at[spec->data]->count);
        if (!elaborate_step(e, work, work->steps.at[i], (int)i, spec, rest, &step))
            return; // nor is it known what the terms reach
        vec_push(e->arena, &spec->steps, step);
    }
    warn_unreached(e, work);
}

static bool flag_setting(Elab *e, const PhaseWork *work, const char *word) {
    const Deferred *at = map_get(&work->settings, word);
    if (!at)
        return false;
    if (at->stmt->setting.count)
        fail(e, at->stmt->span, "`%s` takes no value", word);
    return true;
}

// ---- keep_best ----

static void add_name(Elab *e, Names *names, const char *name) {
    for (size_t i = 0; i < names->count; i++)
        if (strcmp(names->at[i], name) == 0)
            return;
    vec_push(e->arena, names, name);
}

static void report_names(Elab *e, int32_t graph, Names *names) {
    const Graph *reports = graph < 0 ? NULL : e->module->graphs.at[graph];
    for (size_t i = 0; reports && i < reports->nodes.count; i++)
        if (reports->nodes.at[i]->op == OP_report)
            add_name(e, names, reports->nodes.at[i]->attrs->name);
}

// What an epoch can be judged by: the reports of the evaluations, and of the steps.
static void check_judged(Elab *e, const PhaseSpec *spec, const AstExpr *expr) {
    Names names = {0};
    for (size_t i = 0; i < spec->evals.count; i++) {
        report_names(e, spec->evals.at[i].graph.full, &names);
        report_names(e, spec->evals.at[i].finish, &names);
    }
    for (size_t i = 0; i < spec->steps.count; i++)
        for (size_t k = 0; k < spec->steps.at[i].full.count; k++)
            report_names(e, spec->steps.at[i].full.at[k].graph, &names);
    for (size_t i = 0; i < names.count; i++)
        if (strcmp(names.at[i], spec->keep_best) == 0)
            return;
    Diag *d = report_error(e, expr->span, "`keep_best`: `%s` reports no \"%s\"", spec->name,
                           spec->keep_best);
    const char *near = nearest_name(spec->keep_best, names.at, names.count);
    if (near && ast_plain_string(expr))
        diag_fixit(d, expr->span, arena_printf(e->arena, "\"%s\"", near));
    if (names.count)
        diag_help(d, "it reports %s", a_list_of(e, names.at, names.count));
    else
        diag_help(d, "eval (image, label) { report top1 = … }");
}

static void keep_best_word(Elab *e, const AstArg *value, PhaseSpec *spec) {
    static const char *const words[] = {"patience", "lowest"};
    if (strcmp(value->name.text, "patience") == 0) {
        if (eval_int(e, value->value, "`patience`", &spec->patience) &&
            (spec->patience < 1 || spec->patience > INT32_MAX))
            fail(e, value->value->span, "`patience` is at least one epoch");
    } else if (strcmp(value->name.text, "lowest") == 0) {
        value_condition(e, eval_expr(e, value->value), value->value, "`lowest`",
                        &spec->keep_lowest);
    } else {
        Diag *d = report_error(e, value->name.span, "`keep_best` takes no `%s`", value->name.text);
        const char *near = nearest_name(value->name.text, words, 2);
        if (near)
            diag_fixit(d, value->name.span, near);
        else
            diag_help(d, "it takes %s", a_list_of(e, words, 2));
    }
}

/// `keep_best "top1", patience = 10, lowest = true`; `keep_best none` where the block has one.
static void keep_best_setting(Elab *e, const PhaseWork *work, PhaseSpec *spec) {
    const Deferred *at = map_get(&work->settings, "keep_best");
    if (!at)
        return;
    Scope *outer = e->scope;
    e->scope = at->scope;
    const AstExpr *name = NULL;
    for (size_t i = 0; i < at->stmt->setting.count; i++) {
        const AstArg *value = &at->stmt->setting.values[i];
        if (!value->value)
            continue;
        if (value->name.text) {
            keep_best_word(e, value, spec);
        } else if (name) {
            fail(e, value->value->span, "`keep_best` takes one report");
        } else {
            name = value->value;
            Value v = eval_expr(e, name);
            if (v.kind == VALUE_STRING)
                spec->keep_best = v.string;
            else if (v.kind != VALUE_NONE && v.kind != VALUE_POISON)
                fail(e, name->span, "`keep_best` takes the name of a report, and this is %s",
                     value_text(e, v));
        }
    }
    e->scope = outer;
    if (!name) {
        Diag *d = report_error(e, at->stmt->span, "`keep_best` needs the name of a report");
        diag_help(d, "keep_best \"top1\"");
    } else if (spec->keep_best && !e->diags->error_count) {
        check_judged(e, spec, name);
    }
}

static Span data_span(const AstStmt *stmt) {
    const AstExpr *data = stmt->kind == STMT_TRAIN ? stmt->train.data : stmt->phase.data;
    return data ? data->span : stmt->word_span;
}

static void elaborate_phase(Elab *e, PhaseWork *work, const char *train) {
    if (work->data.kind != VALUE_DATA) {
        if (work->data.kind != VALUE_POISON)
            fail(e, data_span(work->stmt), "expected a data set after `on`, and this is %s",
                 value_text(e, work->data));
        return;
    }
    if (!work->steps.count) {
        fail(e, work->stmt->word_span, "`%s` has no `step`", work->name);
        return;
    }
    const DataSpec *data = e->program->data.at[work->data.data->index];
    PhaseSpec *spec = arena_new(e->arena, PhaseSpec);
    *spec = (PhaseSpec){.name = work->name,
                        .train = train,
                        .data = work->data.data->index,
                        .settings = -1,
                        .begin = -1,
                        .prologue = -1,
                        .span = work->stmt->word_span};
    e->phase_serial++;
    e->phase = work;
    work->root->trained = e->phase_serial;
    bool good = batch_setting(e, work, &spec->batch);
    accumulate_setting(e, work);
    spec->settings = settings_graph(e, work);
    spec->drop_last = flag_setting(e, work, "drop_last");
    if (!good)
        spec->batch = 2; // the rest is looked through all the same
    if (spec->batch > data->count)
        spec->batch = data->count;
    spec->last_batch = spec->drop_last ? 0 : data->count % spec->batch;

    Graph *begin =
        graph_detached(e, arena_printf(e->arena, "%s.begin", work->name), GRAPH_BEGIN, work->index);
    e->begin = context_new(e, begin, 0);
    phase_steps(e, work, spec);
    phase_evals(e, work, spec);
    keep_best_setting(e, work, spec);
    if (begin->nodes.count)
        spec->begin = graph_attach(e, begin);
    e->phase = NULL;
    vec_push(e->arena, &e->program->phases, spec);
}

// Runs the body of a block or phase with its own place for models.
static void collect_in(Elab *e, PhaseWork *work, const AstBlock *body, Scope *scope) {
    Application app, *outer_app = e->app;
    const PhaseWork *outer_work = e->collecting;
    Scope *outer = e->scope;
    application_begin(e, &app, work->root);
    e->app = &app;
    e->collecting = work;
    e->scope = scope_new(e, scope);
    collect(e, work, body);
    e->scope = outer;
    e->collecting = outer_work;
    e->app = outer_app;
}

static void phase_of_block(Elab *e, PhaseWork *block, const Deferred *at) {
    const AstStmt *stmt = at->stmt;
    Scope *outer = e->scope;
    const char *name = arena_printf(e->arena, "%s.%s", block->name, stmt->phase.name.text);
    e->scope = at->scope;
    if (stmt->phase.index) {
        Value v = eval_expr(e, stmt->phase.index);
        if (v.kind != VALUE_NUMBER && v.kind != VALUE_STRING) {
            if (v.kind != VALUE_POISON)
                fail(e, stmt->phase.index->span,
                     "the index of a phase is a constant, and this is %s", value_text(e, v));
            e->scope = outer;
            return;
        }
        name = arena_printf(e->arena, "%s[%s]", name,
                            v.kind == VALUE_NUMBER ? number_text(e, v) : v.string);
    }
    PhaseWork *work = work_new(e, name, stmt);
    if (stmt->phase.data)
        work->data = eval_expr(e, stmt->phase.data);
    for (size_t i = 0; i < e->program->phases.count; i++)
        if (strcmp(e->program->phases.at[i]->name, name) == 0)
            fail(e, stmt->phase.name.span, "there is a phase `%s` already", name);
    work->index = work->last_index = (int32_t)e->program->phases.count;
    work->root = instance_root(e, name, NULL, (Args){0}, stmt->word_span);
    work->root->phase = work->index;
    collect_in(e, work, stmt->phase.body, at->scope);
    inherit(e, work, block);
    elaborate_phase(e, work, block->name);
    e->scope = outer;
}

static bool name_is_free(Elab *e, const AstName *name) {
    if (map_has(&e->block_names, name->text)) {
        fail(e, name->span, "there is a train block `%s` already", name->text);
        return false;
    }
    Instance *model = map_get(&e->instance_paths, name->text);
    if (model) {
        Diag *d = report_error(e, name->span, "`%s` is a model: their parameters would share names",
                               name->text);
        diag_note(d, model->span, "here");
        return false;
    }
    return true;
}

void elaborate_train(Elab *e, const AstStmt *stmt) {
    const AstName *name = &stmt->train.name;
    if (!name_is_free(e, name))
        return;
    PhaseWork *block = work_new(e, name->text, stmt);
    Map *record = arena_new(e->arena, Map);
    map_init(record, e->arena);
    map_set(&e->block_names, name->text, record);
    block->data = eval_expr(e, stmt->train.data);
    block->index = (int32_t)e->program->phases.count;
    block->root = instance_root(e, name->text, NULL, (Args){0}, stmt->word_span);
    bool has_phases = false;
    for (size_t i = 0; i < stmt->train.body->count; i++)
        has_phases |= stmt->train.body->stmts[i]->kind == STMT_PHASE;
    block->root->phase = has_phases ? -1 : block->index;
    collect_in(e, block, stmt->train.body, e->scope);
    if (!block->phases.count)
        elaborate_phase(e, block, block->name);
    for (size_t i = 0; i < block->phases.count && !e->stopped; i++)
        phase_of_block(e, block, &block->phases.at[i]);
    block->last_index = (int32_t)e->program->phases.count - 1;
}
