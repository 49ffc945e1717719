// frontend/update.c -- from the terms of a step to its updates.
//
// For each parameter: the sum of the terms that may reach it, its gradient, the rules of `combine`,
// clipping, and then the optimizer's body, whose `p <- …` becomes the write of the parameter.
#include <string.h>

#include "frontend/elaborate.h"

static bool carries_gradient(Op op) {
    static const char *const gradient[OP_COUNT] = {
#define OP(name, arity, traits, shape, gradient, lowering, attrs, surface, summary)                \
    [OP_##name] = #gradient,
#include "ir/ops.def"
#undef OP
    };
    return strcmp(gradient[op], "none") != 0;
}

static bool edge(const Node *node, uint32_t k) {
    return dtype_is_float(node->operand[k]->type.dtype) && dtype_is_float(node->type.dtype);
}

// ---- reach ----

// Which nodes a gradient of `root` goes through.
static uint8_t *reach_back(Elab *e, const Graph *graph, const Node *root) {
    uint8_t *seen = arena_array(e->arena, uint8_t, graph->nodes.count);
    seen[root->id] = 1;
    for (size_t i = root->id + 1; i-- > 0;) {
        const Node *node = graph->nodes.at[i];
        if (!seen[i] || !carries_gradient(node->op))
            continue;
        for (uint32_t k = 0; k < node->arity; k++)
            if (edge(node, k))
                seen[node->operand[k]->id] = 1;
    }
    return seen;
}

static bool is_trained(const Elab *e, const StorageInfo *info) {
    return info->storage->kind == STORAGE_PARAMETER && info->group_phase == e->phase_serial &&
           info->group >= 0;
}

static bool is_over(const Term *term, const StorageInfo *info) {
    if (!term->has_over)
        return true;
    for (size_t i = 0; i < term->over.count; i++)
        if (term->over.at[i] == info)
            return true;
    return false;
}

// By node: does a parameter that is trained here take part in it?
static uint8_t *reach_forward(Elab *e, const Graph *graph) {
    uint8_t *seen = arena_array(e->arena, uint8_t, graph->nodes.count);
    for (size_t id = 0; id < e->ctx->read.count; id++)
        if (e->ctx->read.at[id] && is_trained(e, e->infos.at[id]))
            seen[e->ctx->read.at[id]->id] = 1;
    for (size_t i = 0; i < graph->nodes.count; i++) {
        const Node *node = graph->nodes.at[i];
        if (!carries_gradient(node->op))
            continue;
        for (uint32_t k = 0; k < node->arity; k++)
            seen[i] |= edge(node, k) && seen[node->operand[k]->id];
    }
    return seen;
}

// Of a sum that reaches something, each summand should.
static void check_summands(Elab *e, const StepWork *step, const uint8_t *seen) {
    const Graph *graph = e->ctx->graph;
    for (size_t i = 0; i < graph->terms.count; i++) {
        const LossTerm *summand = &graph->terms.at[i];
        bool is_whole = seen[summand->node->id];
        for (size_t k = 0; k < step->terms.count; k++)
            is_whole |= step->terms.at[k].loss == summand->node;
        if (is_whole)
            continue;
        Diag *d = report_warning(e, summand->span,
                                 "`%s` reaches no parameter that is trained: it is a constant of "
                                 "what is minimized",
                                 summand->name);
        diag_help(d, "`report` shows a value without training by it");
    }
}

static void check_terms(Elab *e, const PhaseWork *work, const StepWork *step) {
    const uint8_t *seen = reach_forward(e, e->ctx->graph);
    for (size_t i = 0; i < step->terms.count; i++) {
        const Term *term = &step->terms.at[i];
        bool good = seen[term->loss->id];
        if (good && term->has_over) {
            const uint8_t *back = reach_back(e, e->ctx->graph, term->loss);
            good = false;
            for (size_t k = 0; k < term->over.count; k++) {
                const StorageInfo *info = term->over.at[k];
                uint32_t id = info->storage->id;
                good |= is_trained(e, info) && id < e->ctx->read.count && e->ctx->read.at[id] &&
                        back[e->ctx->read.at[id]->id];
            }
        }
        if (good)
            continue;
        Diag *d = report_error(e, term->span, "this term reaches no parameter that is trained");
        if (!work->optimizes.count)
            diag_help(d, "the phase has no `optimize`");
        else
            diag_note(d, work->optimizes.at[0].stmt->span, "trained is what stands here");
    }
    check_summands(e, step, seen);
}

// The states of a parameter in this phase: of its optimizer, or, below `of`, of something else.
static Instance *slots_of(Elab *e, PhaseWork *work, const char *of, const StorageInfo *info) {
    const char *path = arena_printf(e->arena, "%s/%s%s", work->name, of, info->storage->name);
    Instance *slots = map_get(&work->slots, path);
    if (!slots) {
        slots = instance_root(e, path, NULL, (Args){0}, info->storage->origin->span);
        slots->is_slot = true;
        slots->phase = work->index;
        map_set(&work->slots, path, slots);
    }
    return slots;
}

// ---- accumulate ----
//
// Batches k = 1, 2, … of one update count as w_k, their examples over those of a whole batch. The
// runtime says how much was gathered before: whole batches, since a smaller one is the last of an
// epoch, and so of its update. With g_k the gradient of batch k,
//
//     sum := sum' + w_k g_k     where sum' is `sum`, or 0 at the first batch of an update
//     mean = (sum' + w_k g_k) / (gathered before + w_k)     at the last one
//
// For losses that are means over the examples it is the gradient of the mean over all of them.

/// The batches of an update, as the step at work sees them.
typedef struct Gathering {
    PhaseWork *work;
    const char *slots; // of this step: "step0/"; NULL without `accumulate`
    bool gathers;      // not the last batch of an update
    double weight;     // of this batch
} Gathering;

static Node *join(Elab *e, Op op, Node *a, Node *b, Span span) {
    return a && b ? make_node(e, op, (Node *[]){a, b}, 2, NULL, span, "`accumulate`", NULL) : NULL;
}

// The sum of that name, of `info`, before this batch; NULL after a report.
static Node *gathered_before(Elab *e, StorageInfo *sum, Node *before, Node *zero, Span span) {
    Node *none = join(e, OP_eq, before, zero, span);
    Node *old = storage_value(e, sum).tensor->node;
    return none ? make_node(e, OP_where, (Node *[]){none, zero, old}, 3, NULL, span, "`accumulate`",
                            NULL)
                : NULL;
}

// Adds `g`, a gradient by `info`, to the sum of that name. Sets *mean to the mean at the update,
// else to NULL. False after a report.
static bool gather(Elab *e, const Gathering *at, const StorageInfo *info, const char *name, Node *g,
                   Node **mean) {
    *mean = g;
    if (!at->slots)
        return true;
    Span span = at->work->accumulate->span;
    DType dtype = g->type.dtype;
    Instance *slots = slots_of(e, at->work, at->slots, info);
    StorageInfo *sum =
        storage_make(e, slots, STORAGE_SLOT, name, &info->storage->type, value_real(0), span);
    if (!sum)
        return false;
    Node *before = context_scalar(e, "accumulate.before");
    Node *weight = constant_node(e, at->weight, dtype, span);
    Node *old = gathered_before(e, sum, before, constant_node(e, 0, dtype, span), span);
    Node *total = join(e, OP_add, old, join(e, OP_mul, weight, g, span), span);
    *mean = NULL;
    if (!total)
        return false;
    if (at->gathers) {
        storage_update(e, sum, total);
        return true;
    }
    *mean = join(e, OP_div, total, join(e, OP_add, before, weight, span), span);
    return *mean;
}

// ---- gradients ----

typedef struct Update {
    StorageInfo *info;
    Node *p, *g;
} Update;

typedef struct Totals {
    Map by_key; // which terms, one character each: to Total
} Totals;

typedef struct Total {
    Node *loss;
    const uint8_t *reach;
} Total;

// The sum of the terms without `combine` that may reach `info`; NULL if there are none.
static const Total *total_for(Elab *e, StepWork *step, Totals *totals, const StorageInfo *info) {
    char *key = arena_alloc(e->arena, step->terms.count + 1);
    bool any = false;
    for (size_t i = 0; i < step->terms.count; i++) {
        const Term *term = &step->terms.at[i];
        bool in = term->combine.kind == VALUE_NONE && is_over(term, info);
        key[i] = in ? '1' : '0';
        any |= in;
    }
    if (!any)
        return NULL;
    Total *total = map_get(&totals->by_key, key);
    if (total)
        return total;
    total = arena_new(e->arena, Total);
    Stage outer = e->stage;
    e->stage = STAGE_FORWARD;
    for (size_t i = 0; i < step->terms.count; i++) {
        if (key[i] == '0')
            continue;
        const Term *term = &step->terms.at[i];
        total->loss = !total->loss ? term->loss
                                   : make_node(e, OP_add, (Node *[]){total->loss, term->loss}, 2,
                                               NULL, term->span, "`minimize`", NULL);
        if (!total->loss)
            break;
    }
    e->stage = outer;
    if (!total->loss)
        return NULL;
    total->reach = reach_back(e, e->ctx->graph, total->loss);
    map_set(&totals->by_key, key, total);
    return total;
}

static Node *gradient(Elab *e, Node *loss, Node *p, Span span) {
    Stage outer = e->stage;
    e->stage = STAGE_BACKWARD;
    Node *g = make_node(e, OP_grad, (Node *[]){loss, p}, 2, NULL, span, "`minimize`", NULL);
    e->stage = outer;
    return g;
}

static Node *zeros_like(Elab *e, const Node *p, Span span) {
    return broadcast_to(e, constant_node(e, 0, p->type.dtype, span), &p->type, span);
}

// Joins the terms that have a rule, in order.
static bool combine_terms(Elab *e, StepWork *step, const Gathering *at, uint8_t *const *reach,
                          const StorageInfo *info, Update *u) {
    for (size_t i = 0; i < step->terms.count; i++) {
        const Term *term = &step->terms.at[i];
        if (term->combine.kind == VALUE_NONE || !is_over(term, info) || !reach[i][u->p->id])
            continue;
        Node *own = gradient(e, term->loss, u->p, term->span);
        const char *sum = arena_printf(e->arena, "sum%zu", i + 1);
        if (!own || !gather(e, at, info, sum, own, &own))
            return false;
        if (at->gathers)
            continue;
        Node *rest = u->g;
        if (!rest)
            rest = zeros_like(e, u->p, term->span);
        if (!rest)
            return false;
        Value v = call_with(e, term->combine, (Value[]){value_node(e, own), value_node(e, rest)}, 2,
                            term->span);
        if (v.kind == VALUE_POISON)
            return false;
        u->g = lift(e, v, own, term->span, "`combine`: ");
        if (u->g && !type_equal(&u->g->type, &u->p->type)) {
            fail(e, term->span, "`combine` makes %s of a gradient %s",
                 type_text(e->arena, &u->g->type), type_text(e->arena, &u->p->type));
            return false;
        }
        if (!u->g)
            return false;
    }
    return true;
}

static AstExpr place(Span span) {
    return (AstExpr){.kind = EXPR_NONE, .span = span};
}

// g * min(1, limit / (norm of all gradients + 1e-6))
static bool clip(Elab *e, const PhaseWork *work, Update *update, size_t count) {
    const Deferred *at = map_get(&work->settings, "clip_norm");
    if (!at || !count)
        return true;
    if (at->stmt->setting.count != 1 || !at->stmt->setting.values[0].value) {
        fail(e, at->stmt->span, "`clip_norm` takes one number");
        return false;
    }
    Scope *outer = e->scope;
    AstExpr here = place(at->stmt->span);
    e->scope = at->scope;
    const AstExpr *value = at->stmt->setting.values[0].value;
    Value limit = eval_expr(e, value);
    e->scope = outer;
    if (limit.kind == VALUE_NUMBER && limit.number <= 0) {
        fail(e, value->span, "`clip_norm` is a positive number, and this is %s",
             value_text(e, limit));
        return false;
    }
    Value total = value_real(0);
    for (size_t i = 0; i < count; i++) {
        Value g = value_node(e, update[i].g);
        Value square = apply_binary(e, BINARY_POWER, g, value_int(2), &here);
        if (square.kind == VALUE_POISON)
            return false;
        Ints axes;
        value_axes(e, value_none(), update[i].g->type.rank, here.span, &axes);
        Attrs attrs = {.axes = axes};
        Node *sum = make_node(e, OP_sum, (Node *[]){square.tensor->node}, 1, &attrs, here.span,
                              "`clip_norm`", NULL);
        Value term = value_node(e, sum);
        total = i ? apply_binary(e, BINARY_ADD, total, term, &here) : term;
    }
    if (total.kind == VALUE_POISON || limit.kind == VALUE_POISON)
        return false;
    Node *norm = make_node(e, OP_sqrt, (Node *[]){total.tensor->node}, 1, NULL, here.span,
                           "`clip_norm`", NULL);
    Value bound = apply_binary(e, BINARY_ADD, value_node(e, norm), value_real(1e-6), &here);
    Value ratio = apply_binary(e, BINARY_DIVIDE, limit, bound, &here);
    if (ratio.kind == VALUE_POISON)
        return false;
    Node *one = constant_node(e, 1, norm->type.dtype, here.span);
    Node *factor = make_node(e, OP_min, (Node *[]){ratio.tensor->node, one}, 2, NULL, here.span,
                             "`clip_norm`", NULL);
    for (size_t i = 0; i < count && factor; i++)
        update[i].g = make_node(e, OP_mul, (Node *[]){update[i].g, factor}, 2, NULL, here.span,
                                "`clip_norm`", NULL);
    return factor;
}

// ---- optimizers ----

static Value eval_rule(Elab *e, const Group *group) {
    const AstStmt *stmt = group->at.stmt;
    Scope *outer = e->scope;
    e->scope = group->at.scope;
    Value rule = eval_open(e, stmt->optimize.rule);
    e->scope = outer;
    const Function *function = rule.kind == VALUE_OPEN       ? rule.open->function
                               : rule.kind == VALUE_FUNCTION ? rule.function
                                                             : NULL;
    if (rule.kind == VALUE_POISON)
        return rule;
    if (!function || !function->decl || function->decl->kind != STMT_OPTIMIZER) {
        return fail(e, stmt->optimize.rule->span,
                    "expected an optimizer, like sgd(lr = 0.1), and this is %s",
                    value_text(e, rule));
    }
    return rule;
}

static bool has_parameter(Value rule, const char *name) {
    const Function *f = rule.kind == VALUE_OPEN ? rule.open->function : rule.function;
    for (size_t i = 0; i < f->decl->function.param_count; i++)
        if (strcmp(f->decl->function.params[i].name.text, name) == 0)
            return true;
    return false;
}

static void apply_optimizer(Elab *e, PhaseWork *work, const Group *group, Value rule, Update *u) {
    Application app, *outer = e->app;
    Span span = group->at.stmt->optimize.rule->span;
    bool spared =
        (group->no_decay_biases && u->info->is_bias) || (group->no_decay_norms && u->info->is_norm);
    Arg args[3] = {{.value = storage_value(e, u->info), .span = span},
                   {.value = value_node(e, u->g), .span = span},
                   {.name = "weight_decay", .value = value_real(0), .span = span}};
    size_t count = 2;
    if (spared && has_parameter(rule, "weight_decay"))
        count = 3;
    application_begin(e, &app, slots_of(e, work, "", u->info));
    e->app = &app;
    Call call = {.span = span, .callee_span = span};
    call_value(e, rule, (Args){args, count}, &call);
    e->app = outer;
}

static void no_decay_without_decay(Elab *e, const Group *group, Value rule) {
    if ((group->no_decay_biases || group->no_decay_norms) && !has_parameter(rule, "weight_decay"))
        fail(e, group->at.stmt->optimize.rule->span,
             "`no_decay`: this optimizer has no `weight_decay`");
}

void step_reach(Elab *e, const StepWork *step, Map *reached) {
    const GraphContext *ctx = e->ctx;
    for (size_t i = 0; i < step->terms.count; i++) {
        const Term *term = &step->terms.at[i];
        const uint8_t *reach = reach_back(e, ctx->graph, term->loss);
        for (size_t id = 0; id < ctx->read.count; id++) {
            StorageInfo *info = e->infos.at[id];
            if (ctx->read.at[id] && reach[ctx->read.at[id]->id] && is_trained(e, info) &&
                is_over(term, info))
                map_set(reached, info->storage->name, info);
        }
    }
}

void elaborate_updates(Elab *e, PhaseWork *work, StepWork *step, int number, double weight,
                       const Map *reached) {
    Gathering at = {.work = work, .gathers = step->gathers, .weight = weight};
    if (work->accumulate)
        at.slots = arena_printf(e->arena, "step%d/", number);
    check_terms(e, work, step);
    if (!reached->count)
        return;
    size_t storage_count = e->infos.count; // slots join them later
    for (size_t id = 0; id < storage_count; id++)
        if (map_has(reached, e->infos.at[id]->storage->name))
            storage_value(e, e->infos.at[id]); // also what only other variants read
    Totals totals;
    map_init(&totals.by_key, e->arena);
    uint8_t **reach = arena_array(e->arena, uint8_t *, step->terms.count);
    for (size_t i = 0; i < step->terms.count; i++)
        if (step->terms.at[i].combine.kind != VALUE_NONE)
            reach[i] = reach_back(e, e->ctx->graph, step->terms.at[i].loss);

    Vec(Update) updates = {0};
    for (size_t id = 0; id < storage_count; id++) {
        StorageInfo *info = e->infos.at[id];
        if (!map_has(reached, info->storage->name))
            continue;
        Span span = work->groups.at[info->group].at.stmt->word_span;
        Update u = {.info = info, .p = e->ctx->read.at[id]};
        const Total *total = total_for(e, step, &totals, info);
        if (total && total->reach[u.p->id]) {
            u.g = gradient(e, total->loss, u.p, span);
            if (!u.g || !gather(e, &at, info, "sum", u.g, &u.g))
                return;
        }
        if (!combine_terms(e, step, &at, reach, info, &u))
            return;
        map_set(&work->reached, info->storage->name, info);
        if (at.gathers)
            continue;
        if (!u.g) // of a term whose `when` is off
            u.g = zeros_like(e, u.p, span);
        vec_push(e->arena, &updates, u);
    }
    if (at.gathers || !clip(e, work, updates.at, updates.count))
        return;
    Value *rule = arena_array(e->arena, Value, work->groups.count);
    for (size_t i = 0; i < work->groups.count; i++) {
        rule[i] = eval_rule(e, &work->groups.at[i]);
        if (rule[i].kind == VALUE_POISON)
            return;
        no_decay_without_decay(e, &work->groups.at[i], rule[i]);
    }
    for (size_t i = 0; i < updates.count && !e->stopped; i++)
        apply_optimizer(e, work, &work->groups.at[updates.at[i].info->group],
                        rule[updates.at[i].info->group], &updates.at[i]);
}
