// frontend/deploy.c -- what a run leaves: a model, or a function of models.
//
// A deployment is a graph of one example: a batch of one, so that nothing in it can mix examples.
// Its outputs are, for each `exit` in order, the condition and the values that are left with it
// ("exit0.when", "exit0", ...), then what is returned ("output"; of a list "output.0", ...). Which of
// them an example gets is settled where the graph is cut at its exits (passes/segments.c).
#include <string.h>

#include "frontend/elaborate.h"

typedef Vec(Node *) Nodes;

// One `exit`, or the `return`: what an example leaves with.
typedef struct Leaving {
    Nodes values;
    Node *when; // NULL of the `return`
    Span span;
} Leaving;

struct DeployWork {
    Vec(Leaving) exits;
    bool poisoned;
};

// ---- the graph ----

static Value apply_model(Elab *e, const AstStmt *stmt, Instance *model) {
    if (!model->has_input && e->diags->error_count)
        return value_poison(); // what would have applied it may not have come so far
    if (!model->has_input) {
        Diag *d = report_error(e, stmt->deploy.model->span,
                               "`%s` is deployed, but no step or eval applies it", model->path);
        diag_help(d, "its parameters come into being when it is applied");
        return value_poison();
    }
    Type type = model->input;
    type.dim[0] = 1;
    ir_at(e->ctx->graph, origin_at(e, stmt->span));
    Value image = value_node(e, ir_input(e->ctx->graph, "image", &type));
    return call_with(e, (Value){.kind = VALUE_MODEL, .model = model}, &image, 1,
                     stmt->deploy.model->span);
}

static Value run_deploy(Elab *e, const AstStmt *stmt) {
    Scope *scope = scope_new(e, e->scope), *outer = e->scope;
    const DataSpec *data = NULL;
    Type type;
    if (!e->program->data.count && e->diags->error_count)
        return value_poison();
    for (size_t i = 0; i < e->program->data.count && stmt->deploy.param_count; i++)
        if (!data && field_type(e->program->data.at[i], stmt->deploy.params[0].name.text, &type))
            data = e->program->data.at[i];
    if (!data && e->program->data.count)
        data = e->program->data.at[0];
    if (!bind_fields(e, stmt->deploy.params, stmt->deploy.param_count, data, 1, scope))
        return value_poison();
    e->scope = scope;
    Flow flow = exec_stmts(e, stmt->deploy.body);
    e->scope = outer;
    if (flow == FLOW_RETURN)
        return e->result;
    return fail(e, stmt->word_span, "`deploy %s` ends without a `return`", stmt->deploy.name.text);
}

// The tensors of a value, lists from within; false after a report.
static bool collect_values(Elab *e, Value v, Span span, const char *what, Nodes *out) {
    if (value_is_list(v)) {
        bool good = true;
        for (size_t i = 0; i < list_count(v); i++)
            good &= collect_values(e, list_at(v, i), span, what, out);
        return good;
    }
    Node *node = v.kind == VALUE_POISON ? NULL : lift(e, v, NULL, span, what);
    if (node)
        vec_push(e->arena, out, node);
    return node != NULL;
}

// ---- exits ----

void deploy_exit(Elab *e, const AstStmt *stmt) {
    if (!e->deploy) // a text that could not be read wholly may have left it in another place
        return;
    const AstExpr *condition = stmt->exit_when.condition;
    Value v = eval_expr(e, stmt->exit_when.value);
    Value when = eval_expr(e, condition);
    Leaving exit = {.span = stmt->exit_when.value->span};
    bool good = v.kind != VALUE_POISON && when.kind != VALUE_POISON &&
                collect_values(e, v, exit.span, "`exit`: ", &exit.values);
    exit.when = good ? lift(e, when, NULL, condition->span, "`exit`: ") : NULL;
    if (!exit.when) {
        e->deploy->poisoned = true;
        return;
    }
    const Type *type = &exit.when->type;
    if (type->dtype != DT_BOOL || type->rank != 1 || type->dim[0] != 1) {
        Diag *d = report_error(e, condition->span,
                               "`exit` asks for one bool of each example, and of one this is %s",
                               type_text(e->arena, type));
        if (type->dtype == DT_BOOL)
            diag_help(d, "keep the first axis and reduce the others: max(z, axes = [1]) > 0.9");
        e->deploy->poisoned = true;
        return;
    }
    vec_push(e->arena, &e->deploy->exits, exit);
}

static bool check_exit(Elab *e, const Leaving *exit, const Leaving *last) {
    if (exit->values.count != last->values.count) {
        Diag *d = report_error(e, exit->span, "this exit leaves %zu values, and the `return` %zu",
                               exit->values.count, last->values.count);
        diag_note(d, last->span, "returned here");
        return false;
    }
    for (size_t i = 0; i < exit->values.count; i++) {
        const Type *left = &exit->values.at[i]->type, *returned = &last->values.at[i]->type;
        if (type_equal(left, returned))
            continue;
        Diag *d = report_error(e, exit->span, "this exit leaves %s, and the `return` %s",
                               type_text(e->arena, left), type_text(e->arena, returned));
        diag_note(d, last->span, "returned here");
        return false;
    }
    return true;
}

// ---- outputs ----

// What a caller gets of each example is a row of it.
static bool check_rows(Elab *e, const Leaving *last) {
    for (size_t i = 0; i < last->values.count; i++) {
        const Type *type = &last->values.at[i]->type;
        if (type->rank && type->dim[0] == 1)
            continue;
        Diag *d = report_error(e, last->span, "a deployment gives a row for each example, and this "
                               "is %s of one", type_text(e->arena, type));
        diag_help(d, "its first axis is that of the examples");
        return false;
    }
    return true;
}

static void output_values(Elab *e, const Leaving *leaving, const char *name) {
    for (size_t i = 0; i < leaving->values.count; i++) {
        Node *node = leaving->values.at[i];
        bool one = leaving->values.count == 1;
        ir_at(e->ctx->graph, node->origin);
        ir_output(e->ctx->graph, one ? name : arena_printf(e->arena, "%s.%zu", name, i), node);
    }
}

static bool emit_outputs(Elab *e, const DeployWork *work, const Leaving *last) {
    bool good = true;
    for (size_t i = 0; i < work->exits.count; i++)
        good &= check_exit(e, &work->exits.at[i], last);
    if (!good || !check_rows(e, last))
        return false;
    for (size_t i = 0; i < work->exits.count; i++) {
        const Leaving *exit = &work->exits.at[i];
        ir_at(e->ctx->graph, exit->when->origin);
        ir_output(e->ctx->graph, arena_printf(e->arena, "exit%zu.when", i), exit->when);
        output_values(e, exit, arena_printf(e->arena, "exit%zu", i));
    }
    output_values(e, last, "output");
    return true;
}

// ---- the declaration ----

// Those behind some output: what a model computes beside that is none of the deployment's.
static void deploy_storages(Elab *e, DeploySpec *spec, const Graph *graph) {
    uint8_t *seen = arena_array(e->arena, uint8_t, e->module->storages.count + 1);
    uint8_t *live = arena_array(e->arena, uint8_t, graph->nodes.count + 1);
    for (size_t i = graph->nodes.count; i-- > 0;) { // backwards: uses before their definitions
        const Node *node = graph->nodes.at[i];
        live[i] |= op_has(node->op, EFFECT);
        for (uint32_t k = 0; live[i] && k < node->arity; k++)
            live[node->operand[k]->id] = 1;
        if (live[i] && node->op == OP_read)
            seen[node->attrs->storage] = 1;
    }
    for (size_t i = 0; i < e->module->storages.count; i++)
        if (seen[i])
            vec_push(e->arena, &spec->storages, (uint32_t)i);
}

// Where the value of the `return` stands, for messages.
static Span return_span(const AstStmt *stmt) {
    if (stmt->deploy.model)
        return stmt->deploy.model->span;
    const AstBlock *body = stmt->deploy.body;
    const AstStmt *end = body->count ? body->stmts[body->count - 1] : stmt;
    return end->kind == STMT_RETURN && end->value ? end->value->span : stmt->word_span;
}

// Options become those of the deployed function; of a phase it knows nothing.
static bool check_scalars(Elab *e, Span span) {
    const Graph *graph = e->ctx->graph;
    for (size_t i = 0; i < graph->nodes.count; i++) {
        const Node *node = graph->nodes.at[i];
        bool is_option = node->op != OP_scalar;
        for (size_t k = 0; !is_option && k < e->program->options.count; k++)
            is_option = strcmp(e->program->options.at[k].name, node->attrs->name) == 0;
        if (is_option)
            continue;
        fail(e, node->origin ? node->origin->span : span,
             "`%s` is of a phase, and a deployment runs in none", node->attrs->name);
        return false;
    }
    return true;
}

// Fills the graph at work. False after a report.
static bool fill_graph(Elab *e, const AstStmt *stmt, Instance *model, DeploySpec *spec) {
    DeployWork work = {0};
    e->deploy = &work;
    Value v = model ? apply_model(e, stmt, model) : run_deploy(e, stmt);
    e->deploy = NULL;
    Leaving last = {.span = return_span(stmt)};
    if (v.kind == VALUE_POISON || work.poisoned ||
        !collect_values(e, v, last.span, "`deploy`: ", &last.values))
        return false;
    if (!last.values.count) {
        fail(e, last.span, "`deploy %s` returns nothing", spec->name);
        return false;
    }
    spec->exit_count = (uint32_t)work.exits.count;
    spec->value_count = (uint32_t)last.values.count;
    return check_scalars(e, last.span) && emit_outputs(e, &work, &last);
}

void elaborate_deploy(Elab *e, const AstStmt *stmt) {
    const char *name = stmt->deploy.name.text;
    Value target = value_none();
    if (stmt->deploy.model) {
        target = eval_expr(e, stmt->deploy.model);
        if (target.kind == VALUE_POISON)
            return;
        if (target.kind != VALUE_MODEL) {
            fail(e, stmt->deploy.model->span, "`deploy` takes a model, and this is %s",
                 value_text(e, target));
            return;
        }
        name = target.model->path;
    }
    for (size_t i = 0; i < e->program->deploys.count; i++)
        if (strcmp(e->program->deploys.at[i]->name, name) == 0) {
            fail(e, stmt->word_span, "`%s` is deployed twice", name);
            return;
        }
    GraphContext *outer = e->ctx;
    Graph *graph = graph_detached(e, arena_printf(e->arena, "deploy.%s", name), GRAPH_DEPLOY, -1);
    DeploySpec *spec = arena_new(e->arena, DeploySpec);
    *spec = (DeploySpec){.name = name, .prefix = ""};
    e->ctx = context_new(e, graph, INT64_C(1) << 44);
    bool good = fill_graph(e, stmt, stmt->deploy.model ? target.model : NULL, spec);
    e->ctx = outer;
    if (!good)
        return;
    spec->graph = graph_attach(e, graph);
    if (stmt->deploy.model)
        spec->prefix = arena_printf(e->arena, "%s.", target.model->path);
    deploy_storages(e, spec, graph);
    vec_push(e->arena, &e->program->deploys, spec);
}
