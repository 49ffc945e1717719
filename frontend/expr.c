// frontend/expr.c -- evaluates expressions.
#include <inttypes.h>
#include <string.h>

#include "frontend/elaborate.h"

// ---- names ----

static Value eval_lazy(Elab *e, Binding *b, Span span) {
    if (b->busy)
        return fail(e, span, "`%s` is defined by itself", b->name);
    Scope *scope = e->scope;
    const char *let_name = e->let_name;
    b->busy = true;
    e->scope = b->lazy_scope;
    e->let_name = NULL;
    Value v = eval_expr(e, b->lazy);
    e->let_name = let_name;
    e->scope = scope;
    b->busy = false;
    return v;
}

// Names that have a meaning only in certain places.
static bool special_name(Elab *e, const char *name, Value *v) {
    if (strcmp(name, "training") == 0)
        *v = value_bool(e->app && instance_trained(e, e->app->self));
    else if (strcmp(name, "batch_stats") == 0)
        *v = value_bool(e->app && instance_batch_stats(e, e->app->self));
    else if (strcmp(name, "epoch") == 0 || strcmp(name, "iteration") == 0 ||
             strcmp(name, "progress") == 0)
        *v = value_node(e, context_scalar(e, name));
    else
        return false;
    return true;
}

static Value unknown_name(Elab *e, const char *name, Span span) {
    Diag *d = report_error(e, span, "unknown name `%s`", name);
    const char *module = library_module_with(e, name);
    const char *near = scope_nearest(e, e->scope, name);
    if (module)
        diag_help(d, "it is in the library: use %s", module);
    else if (near)
        diag_fixit(d, span, near);
    return value_poison();
}

Value eval_name(Elab *e, const char *name, Span span) {
    Binding *b = scope_find(e, e->scope, name, span);
    Value v;
    if (b) {
        b->used = true;
        if (b->scalar)
            return value_node(e, context_scalar(e, b->scalar));
        if (b->lazy)
            return eval_lazy(e, b, span);
        return e->step && e->step->finishing ? value_in_finish(e, b->value, name, span) : b->value;
    }
    if (special_name(e, name, &v))
        return v;
    for (size_t i = 0; i < e->own->uses.count; i++)
        if (module_of(e->scope) == e->own && strcmp(e->own->uses.at[i]->alias, name) == 0)
            return (Value){.kind = VALUE_MODULE, .module = e->own->uses.at[i]};
    Map *record = map_get(&e->block_names, name);
    if (record)
        return (Value){.kind = VALUE_RECORD, .record = record};
    return unknown_name(e, name, span);
}

// ---- conversions ----

bool eval_int(Elab *e, const AstExpr *expr, const char *what, int64_t *number) {
    Value v = eval_expr(e, expr);
    if (v.kind == VALUE_POISON)
        return false;
    if (value_is_int(v, number))
        return true;
    Diag *d =
        report_error(e, expr->span, "%s is a whole number, and this is %s", what, value_text(e, v));
    if (v.kind == VALUE_TENSOR && node_is_run_time_scalar(v.tensor->node))
        diag_help(d, "an option is known at run time only: use a `param`");
    return false;
}

const char *eval_text(Elab *e, const AstExpr *expr) {
    Value v = eval_expr(e, expr);
    if (v.kind == VALUE_STRING)
        return v.string;
    if (v.kind != VALUE_POISON)
        fail(e, expr->span, "expected a string, and this is %s", value_text(e, v));
    return NULL;
}

bool value_condition(Elab *e, Value v, const AstExpr *expr, const char *what, bool *condition) {
    if (v.kind == VALUE_POISON)
        return false;
    if (v.kind == VALUE_BOOL) {
        *condition = v.boolean;
        return true;
    }
    if (v.kind == VALUE_TENSOR) {
        bool scalar = v.tensor->node && node_is_run_time_scalar(v.tensor->node);
        Diag *d = report_error(e, expr->span, "%s takes a constant, and this is %s", what,
                               value_text(e, v));
        diag_help(d, scalar
                         ? "in a step, `when` chooses at run time; where(condition, a, b) anywhere"
                         : "where(condition, a, b) chooses element by element");
        return false;
    }
    fail(e, expr->span, "%s takes a bool, and this is %s", what, value_text(e, v));
    return false;
}

// ---- strings, lists ----

static Value eval_string(Elab *e, const AstExpr *expr) {
    StrBuf text = {.arena = e->arena};
    for (size_t i = 0; i < expr->string.count; i++) {
        const AstStringPart *part = &expr->string.parts[i];
        if (!part->value) {
            strbuf_puts(&text, part->text);
            continue;
        }
        Value v = eval_expr(e, part->value);
        if (v.kind == VALUE_POISON)
            return v;
        if (v.kind == VALUE_STRING)
            strbuf_puts(&text, v.string);
        else if (v.kind == VALUE_NUMBER || v.kind == VALUE_BOOL || v.kind == VALUE_NONE ||
                 value_is_list(v))
            value_print(&text, e, v);
        else
            return fail(e, part->value->span, "a string holds constants, and this is %s",
                        value_text(e, v));
        if (text.length > LIMIT_TEXT_BYTES)
            return fail_limit(e, expr->span, "a string of more than %d bytes", LIMIT_TEXT_BYTES);
    }
    return value_string(strbuf_text(&text));
}

static Value eval_list(Elab *e, const AstExpr *expr) {
    Value *at = arena_array(e->arena, Value, expr->list.count);
    bool poison = false;
    for (size_t i = 0; i < expr->list.count; i++) {
        at[i] = eval_expr(e, expr->list.items[i]);
        poison |= at[i].kind == VALUE_POISON;
    }
    return poison ? value_poison() : value_list(e, at, expr->list.count);
}

typedef struct Comprehension {
    const AstExpr *expr;
    size_t clause;
    Vec(Value) values;
    bool poison;
} Comprehension;

static bool comprehend(Elab *e, void *data) {
    Comprehension *c = data;
    const AstForClause *clause = &c->expr->comprehension.clauses[c->clause];
    if (clause->condition) {
        bool holds;
        Value v = eval_expr(e, clause->condition);
        if (!value_condition(e, v, clause->condition, "`if`", &holds)) {
            c->poison = true;
            return false;
        }
        if (!holds)
            return true;
    }
    if (c->clause + 1 < c->expr->comprehension.count) {
        c->clause++;
        const AstForClause *inner = clause + 1;
        bool good = for_each(e, inner->list, inner->names, inner->name_count, comprehend, c);
        c->clause--;
        c->poison |= !good;
        return good;
    }
    if (c->values.count >= LIMIT_LIST) {
        fail_limit(e, c->expr->span, "a list of more than %d elements", LIMIT_LIST);
        return false;
    }
    Value v = eval_expr(e, c->expr->comprehension.value);
    vec_push(e->arena, &c->values, v);
    c->poison |= v.kind == VALUE_POISON;
    return !c->poison;
}

static Value eval_comprehension(Elab *e, const AstExpr *expr) {
    Comprehension c = {.expr = expr};
    const AstForClause *first = &expr->comprehension.clauses[0];
    bool good = for_each(e, first->list, first->names, first->name_count, comprehend, &c);
    if (!good || c.poison)
        return value_poison();
    return value_list(e, c.values.at, c.values.count);
}

static bool range_end(Elab *e, const AstExpr *expr, int64_t *number) {
    return eval_int(e, expr, "the end of a range", number);
}

static Value eval_range(Elab *e, const AstExpr *expr) {
    int64_t low, high;
    if (!range_end(e, expr->range.low, &low) || !range_end(e, expr->range.high, &high))
        return value_poison();
    return value_range(low, high);
}

// ---- indices and paths ----

static Value list_part(Elab *e, Value list, const AstExpr *range) {
    int64_t count = (int64_t)list_count(list);
    int64_t low = 0, high = count;
    if ((range->range.low && !range_end(e, range->range.low, &low)) ||
        (range->range.high && !range_end(e, range->range.high, &high)))
        return value_poison();
    low = low < 0 ? low + count : low;
    high = high < 0 ? high + count : high;
    if (low < 0 || high > count || low > high)
        return fail(e, range->span, "a list of %" PRId64 " has no part %" PRId64 "..%" PRId64,
                    count, low, high);
    if (list.kind == VALUE_RANGE)
        return value_range(list.range.low + low, list.range.low + high);
    return value_list(e, list.list->at + low, (size_t)(high - low));
}

static Value list_element(Elab *e, Value list, Value index, Span span) {
    int64_t count = (int64_t)list_count(list), i;
    if (!value_is_int(index, &i))
        return fail(e, span, "a list is indexed by a whole number, and this is %s",
                    value_text(e, index));
    if (i < -count || i >= count)
        return fail(e, span, "index %" PRId64 " of a list of %" PRId64, i, count);
    return list_at(list, (size_t)(i < 0 ? i + count : i));
}

static Value eval_index(Elab *e, const AstExpr *expr) {
    Value object = eval_expr(e, expr->index.object);
    const AstExpr *at = expr->index.index;
    if (object.kind == VALUE_POISON)
        return object;
    if (value_is_list(object) && at->kind == EXPR_RANGE)
        return list_part(e, object, at);
    if (at->kind == EXPR_RANGE && (!at->range.low || !at->range.high))
        return fail(e, expr->span, "only lists have parts, and this is %s", value_text(e, object));
    Value index = eval_expr(e, at);
    if (index.kind == VALUE_POISON)
        return index;
    switch (object.kind) {
    case VALUE_LIST:
    case VALUE_RANGE:
        return list_element(e, object, index, at->span);
    case VALUE_TENSOR:
        if (index.kind == VALUE_STRING)
            return tap_path(e, object, index.string, at->span);
        return tensor_section(e, object, index, expr->span);
    case VALUE_MODEL:
    case VALUE_PART:
        return part_index(e, object, index, at->span);
    case VALUE_POISON:
    case VALUE_NONE:
    case VALUE_BOOL:
    case VALUE_NUMBER:
    case VALUE_STRING:
    case VALUE_FUNCTION:
    case VALUE_OPEN:
    case VALUE_DATA:
    case VALUE_RECORD:
    case VALUE_MODULE:
        break;
    }
    return fail(e, expr->index.object->span,
                "only lists, tensors and models are indexed, and this is %s",
                value_text(e, object));
}

static bool tensor_attribute(Elab *e, const Type *type, const char *name, Span span, Value *v) {
    static const char *const extents[] = {"batch", "channels", "height", "width"};
    if (strcmp(name, "rank") == 0) {
        *v = value_int(type->rank);
        return true;
    }
    if (strcmp(name, "dtype") == 0) {
        *v = value_string(dtype_name(type->dtype));
        return true;
    }
    if (strcmp(name, "shape") == 0) {
        Value dim[MAX_RANK];
        for (int i = 0; i < type->rank; i++)
            dim[i] = value_int(type->dim[i]);
        *v = value_list(e, dim, type->rank);
        return true;
    }
    for (int i = 0; i < 4; i++) {
        if (strcmp(name, extents[i]) != 0)
            continue;
        *v = i < type->rank
                 ? value_int(type->dim[i])
                 : fail(e, span, "a tensor %s has no `%s`", type_text(e->arena, type), name);
        return true;
    }
    return false;
}

static Value module_member(Elab *e, const KdModule *module, const char *name, Span span) {
    Binding *b = scope_find_here(module->scope, name);
    if (b)
        return b->lazy ? eval_lazy(e, b, span) : b->value;
    Map *record = map_get(&e->block_names, module->alias); // a train block of the same name
    Value *member = record ? map_get(record, name) : NULL;
    if (member)
        return *member;
    Names names = {0};
    for (const Binding *each = module->scope->first; each; each = each->next)
        vec_push(e->arena, &names, each->name);
    Diag *d = report_error(e, span, "the module `%s` has no `%s`", module->name, name);
    const char *near = nearest_name(name, names.at, names.count);
    if (near)
        diag_fixit(d, span, near);
    return value_poison();
}

static Value record_member(Elab *e, Map *record, const char *name, Span span) {
    Value *v = map_get(record, name);
    if (v)
        return *v;
    Names names = {0};
    for (size_t i = 0; i < record->count; i++)
        vec_push(e->arena, &names, record->entry[i].key);
    Diag *d = report_error(e, span, "there is no `%s` here", name);
    const char *near = nearest_name(name, names.at, names.count);
    if (near)
        diag_fixit(d, span, near);
    else if (names.count)
        diag_help(d, "it has %s", a_list_of(e, names.at, names.count));
    return value_poison();
}

static Value eval_path(Elab *e, const AstExpr *expr) {
    Value object = eval_expr(e, expr->path.object);
    const char *name = expr->path.segment.text;
    Span span = expr->path.segment.span;
    Value v;
    switch (object.kind) {
    case VALUE_POISON:
        return object;
    case VALUE_TENSOR:
        if (object.tensor->node && tensor_attribute(e, &object.tensor->node->type, name, span, &v))
            return v;
        return tap_path(e, object, name, span);
    case VALUE_MODEL:
    case VALUE_PART:
        return part_path(e, object, name, span);
    case VALUE_DATA:
        return data_attribute(e, object, name, span);
    case VALUE_RECORD:
        return record_member(e, object.record, name, span);
    case VALUE_MODULE:
        return module_member(e, object.module, name, span);
    case VALUE_LIST:
    case VALUE_RANGE: {
        Diag *d = report_error(e, span, "a list has no `.%s`", name);
        diag_help(d, "len(list) counts it, list[0] is its first element");
        return value_poison();
    }
    case VALUE_NONE:
    case VALUE_BOOL:
    case VALUE_NUMBER:
    case VALUE_STRING:
    case VALUE_FUNCTION:
    case VALUE_OPEN:
        break;
    }
    return fail(e, span, "%s has no `.%s`", value_text(e, object), name);
}

// ---- operators, choices ----

static Value eval_binary(Elab *e, const AstExpr *expr) {
    AstBinaryOp op = expr->binary.op;
    Value a = eval_expr(e, expr->binary.left);
    if (a.kind == VALUE_BOOL && op == BINARY_AND && !a.boolean)
        return a;
    if (a.kind == VALUE_BOOL && op == BINARY_OR && a.boolean)
        return a;
    Value b = eval_expr(e, expr->binary.right);
    return apply_binary(e, op, a, b, expr);
}

static Value eval_choice(Elab *e, const AstExpr *expr) {
    for (size_t i = 0; i < expr->choice.count; i++) {
        const AstChoice *branch = &expr->choice.branches[i];
        bool holds = true;
        if (branch->condition) {
            Value v = eval_expr(e, branch->condition);
            if (!value_condition(e, v, branch->condition, "`if`", &holds))
                return value_poison();
        }
        if (holds)
            return eval_expr(e, branch->value);
    }
    return value_none();
}

// ---- calls ----

static Value eval_call(Elab *e, const AstExpr *expr) {
    const char *let_name = e->let_name;
    bool leave_open = false;
    for (size_t i = 0; i < e->open_calls.count; i++)
        leave_open |= e->open_calls.at[i] == expr;
    e->let_name = NULL;
    Value callee = eval_expr(e, expr->call.callee);
    Args args = {arena_array(e->arena, Arg, expr->call.count), expr->call.count};
    bool poison = callee.kind == VALUE_POISON;
    for (size_t i = 0; i < args.count; i++) {
        const AstArg *given = &expr->call.args[i];
        args.at[i] = (Arg){given->name.text, eval_expr(e, given->value), given->value->span,
                           given->value, false};
        poison |= args.at[i].value.kind == VALUE_POISON;
    }
    Call call = {.expr = expr,
                 .span = expr->span,
                 .callee_span = expr->call.callee->span,
                 .leave_open = leave_open};
    if (expr->call.as) {
        call.as = eval_text(e, expr->call.as);
        call.as_span = expr->call.as->span;
        poison |= !call.as;
    }
    e->let_name = let_name;
    return poison ? value_poison() : call_value(e, callee, args, &call);
}

static bool too_deep(Elab *e, Span span) {
    char *here = __builtin_frame_address(0);
    size_t used =
        e->stack_base > here ? (size_t)(e->stack_base - here) : (size_t)(here - e->stack_base);
    if (used < LIMIT_STACK_BYTES && e->depth < LIMIT_DEPTH)
        return false;
    fail_limit(e, span, "calls and expressions are nested too deeply");
    return true;
}

static Value eval_kind(Elab *e, const AstExpr *expr) {
    switch (expr->kind) {
    case EXPR_ERROR:
    case EXPR_TUPLE:
        return value_poison();
    case EXPR_NUMBER:
        return expr->number.is_int ? value_int(expr->number.int_value)
                                   : value_real(expr->number.value);
    case EXPR_STRING:
        return eval_string(e, expr);
    case EXPR_BOOL:
        return value_bool(expr->boolean);
    case EXPR_NONE:
        return value_none();
    case EXPR_NAME:
        return eval_name(e, expr->name, expr->span);
    case EXPR_LIST:
        return eval_list(e, expr);
    case EXPR_COMPREHENSION:
        return eval_comprehension(e, expr);
    case EXPR_RANGE:
        return eval_range(e, expr);
    case EXPR_UNARY:
        return apply_unary(e, expr->unary.op, eval_expr(e, expr->unary.operand), expr);
    case EXPR_BINARY:
        return eval_binary(e, expr);
    case EXPR_CALL:
        return eval_call(e, expr);
    case EXPR_INDEX:
        return eval_index(e, expr);
    case EXPR_PATH:
        return eval_path(e, expr);
    case EXPR_IF:
        return eval_choice(e, expr);
    }
    return value_poison();
}

Value eval_expr(Elab *e, const AstExpr *expr) {
    if (e->stopped || too_deep(e, expr->span))
        return value_poison();
    e->depth++;
    Value v = eval_kind(e, expr);
    e->depth--;
    return v;
}

// ---- open values ----

static void mark_open(Elab *e, const AstExpr *expr) {
    if (expr->kind == EXPR_CALL) {
        vec_push(e->arena, &e->open_calls, expr);
    } else if (expr->kind == EXPR_LIST) {
        for (size_t i = 0; i < expr->list.count; i++)
            mark_open(e, expr->list.items[i]);
    } else if (expr->kind == EXPR_COMPREHENSION) {
        mark_open(e, expr->comprehension.value);
    } else if (expr->kind == EXPR_IF) {
        for (size_t i = 0; i < expr->choice.count; i++)
            mark_open(e, expr->choice.branches[i].value);
    }
}

Value eval_open(Elab *e, const AstExpr *expr) {
    size_t count = e->open_calls.count;
    mark_open(e, expr);
    Value v = eval_expr(e, expr);
    e->open_calls.count = count;
    return v;
}
