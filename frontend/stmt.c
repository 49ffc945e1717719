// frontend/stmt.c -- statements of bodies: let, assignment, loops, branches, updates, taps.
#include <inttypes.h>
#include <string.h>

#include "frontend/elaborate.h"

// ---- names ----

bool bind_names(Elab *e, const AstName *names, size_t count, Value value, Span span,
                bool assignable) {
    if (count == 1) {
        scope_set(e, e->scope, names[0].text, value, names[0].span)->assignable = assignable;
        return true;
    }
    bool poison = value.kind == VALUE_POISON;
    if (!poison && !value_is_list(value)) {
        fail(e, span, "%zu names for one value: this is %s", count, value_text(e, value));
        poison = true;
    } else if (!poison && list_count(value) != count) {
        fail(e, span, "%zu names for a list of %zu", count, list_count(value));
        poison = true;
    }
    for (size_t i = 0; i < count; i++) {
        Value v = poison ? value_poison() : list_at(value, i);
        scope_set(e, e->scope, names[i].text, v, names[i].span)->assignable = assignable;
    }
    return !poison;
}

static void exec_let(Elab *e, const AstStmt *stmt) {
    const char *let_name = e->let_name;
    e->let_name = stmt->let.count == 1 ? stmt->let.names[0].text : NULL;
    Value v = eval_expr(e, stmt->let.value);
    e->let_name = let_name;
    bind_names(e, stmt->let.names, stmt->let.count, v, stmt->let.value->span, true);
}

static Binding *find_let(Elab *e, const char *name) {
    for (Scope *s = e->scope; s; s = s->parent) {
        Binding *b = scope_find_here(s, name);
        if (b)
            return b;
    }
    return NULL;
}

static void exec_assign(Elab *e, const AstStmt *stmt) {
    const AstExpr *target = stmt->assign.target;
    if (target->kind == EXPR_ERROR)
        return;
    Value v = eval_expr(e, stmt->assign.value);
    Binding *b = find_let(e, target->name);
    if (!b || !b->assignable) {
        if (b) {
            fail(e, target->span, "`%s` is no `let`, and keeps its value", target->name);
            return;
        }
        Diag *d = report_error(e, target->span, "there is no `%s` to assign to", target->name);
        diag_help(d, "let %s = … makes one", target->name);
        scope_set(e, e->scope, target->name, value_poison(), target->span)->assignable = true;
        return;
    }
    b->value = v;
}

static void exec_update(Elab *e, const AstStmt *stmt) {
    const AstExpr *target = stmt->assign.target;
    Value old = eval_expr(e, target);
    if (old.kind == VALUE_POISON)
        return;
    if (old.kind == VALUE_MODEL) {
        model_update(e, stmt, old);
        return;
    }
    StorageInfo *info = old.kind == VALUE_TENSOR ? old.tensor->storage : NULL;
    if (!info) {
        Diag *d = report_error(e, target->span, "`<-` updates a state, and this is %s",
                               value_text(e, old));
        if (target->kind == EXPR_NAME && old.kind != VALUE_MODEL)
            diag_help(d, "%s = … gives a `let` a new value", target->name);
        return;
    }
    Value v = eval_expr(e, stmt->assign.value);
    Node *node = lift(e, v, old.tensor->node, stmt->assign.value->span, "`<-`: ");
    if (!node)
        return;
    const Type *type = &info->storage->type;
    if (node->type.rank == 0)
        node = broadcast_to(e, node, type, stmt->assign.value->span);
    if (!node)
        return;
    if (!type_same_shape(&node->type, type) || node->type.dtype != type->dtype) {
        fail(e, stmt->assign.value->span, "`%s` is %s, and its new value is %s", info->name,
             type_text(e->arena, type), type_text(e->arena, &node->type));
        return;
    }
    if (!e->function && instance_frozen(e, info->owner)) {
        fail(e, target->span, "`%s` is frozen in this phase", info->owner->root->path);
        return;
    }
    if (info->storage->kind == STORAGE_PARAMETER && e->step && e->step->gathers)
        return; // parameters change with an update
    storage_update(e, info, node);
    Binding *b = target->kind == EXPR_NAME ? find_let(e, target->name) : NULL;
    if (b) {
        Tensor t = *old.tensor;
        t.node = node;
        b->value = value_tensor(e, t);
    }
}

Value tap_value(Elab *e, Value v, Span span, const char *name, Span name_span) {
    if (v.kind == VALUE_POISON)
        return v;
    Node *node = lift(e, v, NULL, span, "`tap`: ");
    Tensor t = v.kind == VALUE_TENSOR ? *v.tensor : (Tensor){.node = node};
    if (!node)
        return value_poison();
    v = value_tensor(e, t);
    tap_record(e, e->app, name, v, name_span);
    return v;
}

static void exec_tap(Elab *e, const AstStmt *stmt) {
    const char *name = eval_text(e, stmt->tap.name);
    Value v = eval_expr(e, stmt->tap.value);
    if (!name)
        return;
    v = tap_value(e, v, stmt->tap.value->span, name, stmt->tap.name->span);
    if (ast_plain_string(stmt->tap.name))
        scope_set(e, e->scope, ast_plain_string(stmt->tap.name), v, stmt->tap.name->span)
            ->assignable = true;
}

// ---- loops and branches ----

bool for_each(Elab *e, const AstExpr *list, const AstName *names, size_t name_count,
              bool (*body)(Elab *, void *), void *data) {
    Value v = eval_expr(e, list);
    if (v.kind == VALUE_POISON)
        return false;
    if (!value_is_list(v)) {
        Diag *d =
            report_error(e, list->span, "`for` goes over a list, and this is %s", value_text(e, v));
        if (v.kind == VALUE_NUMBER)
            diag_help(d, "0..%s counts", number_text(e, v));
        return false;
    }
    Scope *outer = e->scope;
    bool go_on = true;
    for (size_t i = 0; i < list_count(v) && go_on; i++) {
        if (++e->iterations > LIMIT_ITERATIONS) {
            fail_limit(e, list->span, "the program's loops go round more than %d times",
                       LIMIT_ITERATIONS);
            return false;
        }
        e->scope = scope_new(e, outer);
        go_on = bind_names(e, names, name_count, list_at(v, i), list->span, false) &&
                body(e, data) && !e->stopped;
    }
    e->scope = outer;
    return go_on;
}

typedef struct LoopBody {
    const AstStmt *stmt;
    Flow flow;
} LoopBody;

static bool loop_body(Elab *e, void *data) {
    LoopBody *loop = data;
    loop->flow = exec_stmts(e, &loop->stmt->loop.body);
    return loop->flow == FLOW_NEXT;
}

static Flow exec_if(Elab *e, const AstStmt *stmt) {
    for (size_t i = 0; i < stmt->branch.count; i++) {
        const AstBranch *branch = &stmt->branch.branches[i];
        bool holds = true;
        if (branch->condition) {
            Value v = eval_expr(e, branch->condition);
            if (!value_condition(e, v, branch->condition, "`if`", &holds)) {
                e->result = value_poison();
                return FLOW_NEXT;
            }
        }
        if (holds)
            return exec_block(e, &branch->body);
    }
    return FLOW_NEXT;
}

// What the binary says when it fails, by its index in the program.
static uint32_t assertion_text(Elab *e, const AstStmt *stmt, const char *text) {
    Span span = stmt->assertion.condition->span;
    for (const Origin *o = e->origin; o && in_library(e, span); o = o->caller)
        span = o->span;
    int line, column;
    source_position(e->sources, span, &line, &column);
    text = arena_printf(e->arena, "%s:%d:%d: %s", source_of(e->sources, span)->name, line, column,
                        text);
    for (size_t i = 0; i < e->program->asserts.count; i++)
        if (strcmp(e->program->asserts.at[i], text) == 0)
            return (uint32_t)i;
    vec_push(e->arena, &e->program->asserts, text);
    return (uint32_t)e->program->asserts.count - 1;
}

// The graph works out whether it holds, for all elements; the runtime looks when the graph has run.
// A deployed model checks nothing.
static void assert_at_run_time(Elab *e, const AstStmt *stmt, Value v) {
    Span span = stmt->assertion.condition->span;
    const char *text = stmt->assertion.message ? eval_text(e, stmt->assertion.message)
                                               : "the assertion does not hold";
    if (e->ctx->graph->role == GRAPH_DEPLOY || !text)
        return;
    if (!e->ctx->is_step && !e->ctx->is_eval) {
        Diag *d =
            report_error(e, span, "what is known at run time only is asserted in a step or eval");
        diag_help(d, "there, or in what they call, it ends the run");
        return;
    }
    Node *node = lift(e, v, NULL, span, "`assert`: ");
    if (!node)
        return;
    if (node->type.dtype != DT_BOOL) {
        fail(e, span, "`assert` takes a condition, and this is %s",
             type_text(e->arena, &node->type));
        return;
    }
    Attrs real = {.dtype = e->module->real};
    node = make_node(e, OP_cast, &node, 1, &real, span, "`assert`", NULL);
    Attrs all = {0};
    if (node && node->type.rank) {
        value_axes(e, value_none(), node->type.rank, span, &all.axes);
        node = make_node(e, OP_reduce_min, &node, 1, &all, span, "`assert`", NULL);
    }
    if (node) {
        Assertion assertion = {assertion_text(e, stmt, text), node, span};
        vec_push(e->arena, &e->ctx->asserts, assertion);
    }
}

// What an assertion guards would only say the same again: the body ends with it.
static Flow exec_assert(Elab *e, const AstStmt *stmt) {
    Value v = eval_expr(e, stmt->assertion.condition);
    bool holds;
    if (v.kind == VALUE_TENSOR) {
        assert_at_run_time(e, stmt, v);
        return FLOW_NEXT;
    }
    if (!value_condition(e, v, stmt->assertion.condition, "`assert`", &holds) || holds)
        return FLOW_NEXT;
    const char *text = stmt->assertion.message ? eval_text(e, stmt->assertion.message)
                                               : "the assertion does not hold";
    if (text)
        fail(e, stmt->assertion.condition->span, "%s", text);
    e->result = value_poison();
    return FLOW_RETURN;
}

static void exec_net_split(Elab *e, const AstStmt *stmt) {
    Instance *self = e->app ? e->app->self : NULL;
    if (self)
        model_split(e, stmt);
}

static Flow exec_stmt(Elab *e, const AstStmt *stmt) {
    switch (stmt->kind) {
    case STMT_LET:
        exec_let(e, stmt);
        return FLOW_NEXT;
    case STMT_ASSIGN:
        exec_assign(e, stmt);
        return FLOW_NEXT;
    case STMT_UPDATE:
        exec_update(e, stmt);
        return FLOW_NEXT;
    case STMT_TAP:
        exec_tap(e, stmt);
        return FLOW_NEXT;
    case STMT_SPLIT:
        exec_net_split(e, stmt);
        return FLOW_NEXT;
    case STMT_RETURN:
        e->result = eval_expr(e, stmt->value);
        return FLOW_RETURN;
    case STMT_FOR: {
        LoopBody loop = {stmt, FLOW_NEXT};
        for_each(e, stmt->loop.list, stmt->loop.names, stmt->loop.count, loop_body, &loop);
        return loop.flow;
    }
    case STMT_IF:
        return exec_if(e, stmt);
    case STMT_ASSERT:
        return exec_assert(e, stmt);
    case STMT_MINIMIZE:
    case STMT_REPORT:
        step_statement(e, stmt);
        return FLOW_NEXT;
    case STMT_WHEN:
        exec_when(e, stmt);
        return FLOW_NEXT;
    case STMT_EXIT:
        deploy_exit(e, stmt);
        return FLOW_NEXT;
    case STMT_FINISH:
        if (e->step)
            vec_push(e->arena, &e->step->finishes, ((Deferred){stmt, e->scope}));
        return FLOW_NEXT;
    case STMT_MODEL: {
        Value v = eval_open(e, stmt->model.value);
        const char *prefix = e->app ? e->app->self->path : "";
        scope_set(e, e->scope, stmt->model.name.text, model_declare(e, stmt, v, prefix),
                  stmt->model.name.span);
        return FLOW_NEXT;
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
    case STMT_PHASE:
    case STMT_STEP:
    case STMT_EVAL:
    case STMT_OPTIMIZE:
    case STMT_FREEZE:
    case STMT_LOAD:
    case STMT_SETTING:
    case STMT_EXPR:
        break;
    }
    return FLOW_NEXT;
}

Flow exec_stmts(Elab *e, const AstBlock *block) {
    for (size_t i = 0; i < block->count && !e->stopped; i++)
        if (exec_stmt(e, block->stmts[i]) == FLOW_RETURN)
            return FLOW_RETURN;
    return FLOW_NEXT;
}

Flow exec_block(Elab *e, const AstBlock *block) {
    Scope *outer = e->scope;
    e->scope = scope_new(e, outer);
    Flow flow = exec_stmts(e, block);
    e->scope = outer;
    return flow;
}
