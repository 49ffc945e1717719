// frontend/letters.c -- shape patterns: `fn f(s: [N, C, H, W], t: [N, C, H2, W2])`.
//
// A letter is bound by the first axis that shows it and compared at the others; `...` takes any
// axes. What is bound is a constant of the body. A name that is another parameter is its value.
#include <inttypes.h>
#include <string.h>

#include "frontend/elaborate.h"

typedef struct Letter {
    const char *name;
    int64_t extent;
    const Arg *arg;
    const char *param;
    int axis;
} Letter;

typedef struct Letters {
    const Function *function;
    const Call *call;
    const AstParam *params;
    size_t count;
    const Arg *const *given;
    Scope *scope;
    Vec(Letter) letters;
} Letters;

static const char *pattern_text(Elab *e, const AstType *type) {
    StrBuf text = {.arena = e->arena};
    if (type->dtype.text)
        strbuf_puts(&text, type->dtype.text);
    if (type->has_shape) {
        strbuf_putc(&text, '[');
        for (size_t i = 0; i < type->dim_count; i++)
            strbuf_printf(&text, "%s%s", i ? ", " : "",
                          type->dims[i] ? expr_text(e, type->dims[i]) : "...");
        strbuf_putc(&text, ']');
    }
    return strbuf_text(&text);
}

// `s[i]` with i at 2 is `s[2]`.
static const char *arg_text(Elab *e, const Arg *arg, const char *param) {
    if (!arg->expr)
        return param;
    const AstExpr *expr = arg->expr;
    if (expr->kind == EXPR_INDEX && expr->index.index->kind == EXPR_NAME) {
        Binding *b = scope_find(e, e->scope, expr->index.index->name, expr->span);
        if (b && b->value.kind == VALUE_NUMBER)
            return arena_printf(e->arena, "%s[%s]", expr_text(e, expr->index.object),
                                number_text(e, b->value));
    }
    const char *text = expr_text(e, expr);
    return strlen(text) > 48 ? param : text;
}

static void note_arg(Elab *e, Diag *d, const Arg *arg, const char *param) {
    if (arg->value.kind != VALUE_TENSOR || !arg->value.tensor->node)
        return;
    const Tensor *t = arg->value.tensor;
    const char *type = type_text(e->arena, &t->node->type);
    const char *text = arg_text(e, arg, param);
    if (t->label && strcmp(t->label, text) != 0)
        diag_note(d, t->label_span, "%s is %s: %s", text, t->label, type);
    else
        diag_note(d, (Span){0}, "%s is %s", text, type);
}

static bool clash(Elab *e, const Letters *l, const Letter *first, const Arg *arg, const char *param,
                  int axis, int64_t extent) {
    Diag *d = report_error(
        e, l->call->callee_span, "%s: %s is %" PRId64 " in `%s` but %" PRId64 " in `%s`",
        l->function->name, first->name, first->extent, first->param, extent, param);
    if (!in_library(e, l->call->callee_span)) {
        diag_mark(d, first->arg->span);
        diag_mark(d, arg->span);
    }
    note_arg(e, d, first->arg, first->param);
    if (first->arg != arg)
        note_arg(e, d, arg, param);
    if (axis == 1 && first->axis == 1 && first->arg != arg && first->arg->expr && arg->expr &&
        first->arg->value.kind == VALUE_TENSOR && first->arg->value.tensor->node->type.rank == 4)
        diag_help(d,
                  "bring `%s` to %" PRId64 " channels first: connector(%s, channels = %s.channels)",
                  first->param, extent, expr_text(e, first->arg->expr), expr_text(e, arg->expr));
    return false;
}

static Letter *find_letter(Letters *l, const char *name) {
    for (size_t i = 0; i < l->letters.count; i++)
        if (strcmp(l->letters.at[i].name, name) == 0)
            return &l->letters.at[i];
    return NULL;
}

// A name in a pattern that is a parameter with a number: its value.
static bool param_value(const Letters *l, const char *name, int64_t *extent) {
    for (size_t i = 0; i < l->count; i++)
        if (strcmp(l->params[i].name.text, name) == 0)
            return l->given[i] && value_is_int(l->given[i]->value, extent);
    return false;
}

static bool wrong_extent(Elab *e, const Letters *l, const Arg *arg, const char *param,
                         const AstExpr *dim, int axis, int64_t expected, int64_t extent) {
    const char *what = dim->kind == EXPR_NUMBER ? arena_printf(e->arena, "axis %d", axis)
                                                : arena_printf(e->arena, "`%s`", expr_text(e, dim));
    Diag *d = report_error(e, l->call->callee_span,
                           "%s: %s of `%s` is %" PRId64 " and should be %" PRId64,
                           l->function->name, what, param, extent, expected);
    if (!in_library(e, l->call->callee_span))
        diag_mark(d, arg->span);
    note_arg(e, d, arg, param);
    return false;
}

static bool match_axis(Elab *e, Letters *l, const AstExpr *dim, const Arg *arg, const char *param,
                       int axis, int64_t extent) {
    int64_t expected;
    if (dim->kind == EXPR_NAME && !param_value(l, dim->name, &expected)) {
        Letter *known = find_letter(l, dim->name);
        if (known)
            return known->extent == extent || clash(e, l, known, arg, param, axis, extent);
        vec_push(e->arena, &l->letters, (Letter){dim->name, extent, arg, param, axis});
        scope_set(e, l->scope, dim->name, value_int(extent), dim->span);
        return true;
    }
    if (dim->kind != EXPR_NAME) { // a number, or arithmetic on letters that are bound by now
        Scope *caller = e->scope;
        for (size_t i = 0; i < l->count; i++)
            if (l->given[i] && l->given[i]->value.kind == VALUE_NUMBER)
                scope_set(e, l->scope, l->params[i].name.text, l->given[i]->value, dim->span);
        e->scope = l->scope;
        bool good = eval_int(e, dim, "an extent", &expected);
        e->scope = caller;
        if (!good)
            return false;
    }
    return expected == extent || wrong_extent(e, l, arg, param, dim, axis, expected, extent);
}

static bool match_shape(Elab *e, Letters *l, const AstType *type, const Arg *arg,
                        const char *param) {
    const Type *actual = &arg->value.tensor->node->type;
    size_t dots = SIZE_MAX;
    for (size_t i = 0; i < type->dim_count; i++)
        if (!type->dims[i])
            dots = i;
    size_t least = type->dim_count - (dots != SIZE_MAX);
    if (actual->rank < least || (dots == SIZE_MAX && actual->rank != least)) {
        Diag *d = report_error(e, l->call->callee_span, "%s: `%s` is %s, and should be %s",
                               l->function->name, param, type_text(e->arena, actual),
                               pattern_text(e, type));
        if (!in_library(e, l->call->callee_span))
            diag_mark(d, arg->span);
        note_arg(e, d, arg, param);
        return false;
    }
    for (size_t i = 0; i < type->dim_count; i++) {
        if (i == dots)
            continue;
        int axis = i < dots ? (int)i : actual->rank - (int)(type->dim_count - i);
        if (!match_axis(e, l, type->dims[i], arg, param, axis, actual->dim[axis]))
            return false;
    }
    return true;
}

static bool wrong_kind(Elab *e, const Letters *l, const AstType *type, const Arg *arg,
                       const char *param) {
    Diag *d = report_error(e, arg->span, "%s: `%s` should be %s, and this is %s", l->function->name,
                           param, pattern_text(e, type), value_text(e, arg->value));
    if (arg->value.kind == VALUE_MODEL)
        diag_help(d, "apply it: %s(image)", arg->value.model->path);
    return false;
}

static bool match_kind(const char *name, Value v) {
    int64_t number;
    if (strcmp(name, "list") == 0)
        return value_is_list(v);
    if (strcmp(name, "number") == 0)
        return v.kind == VALUE_NUMBER ||
               (v.kind == VALUE_TENSOR && v.tensor->node && v.tensor->node->type.rank == 0);
    if (strcmp(name, "int") == 0)
        return value_is_int(v, &number);
    if (strcmp(name, "string") == 0)
        return v.kind == VALUE_STRING;
    if (strcmp(name, "tensor") == 0)
        return v.kind == VALUE_TENSOR;
    return true;
}

static bool is_kind_name(const char *name) {
    static const char *const kinds[] = {"list", "number", "int", "string", "tensor"};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(kinds[i], name) == 0)
            return true;
    return false;
}

static bool match_param(Elab *e, Letters *l, const AstParam *param, const Arg *arg) {
    const AstType *type = param->type;
    const char *name = type->dtype.text;
    DType dtype;
    if (arg->value.kind == VALUE_NONE && param->default_value)
        return true;
    if (!type->has_shape && name && is_kind_name(name))
        return match_kind(name, arg->value) || wrong_kind(e, l, type, arg, param->name.text);
    if (name && !dtype_from_name(name, &dtype)) {
        Diag *d = report_error(e, type->dtype.span, "unknown type `%s`", name);
        diag_help(d,
                  "there are f32, i32, u8, bool with a shape; list, number, int, string, tensor");
        return false;
    }
    if (arg->value.kind == VALUE_NUMBER && type->has_shape && type->dim_count == 0)
        return true;
    if (arg->value.kind != VALUE_TENSOR || !arg->value.tensor->node)
        return wrong_kind(e, l, type, arg, param->name.text);
    DType actual = arg->value.tensor->node->type.dtype;
    if (name && dtype == DT_F32)
        dtype = e->module->real;
    if (name && dtype != actual) {
        Diag *d = report_error(e, l->call->callee_span, "%s: `%s` should be %s, and is %s",
                               l->function->name, param->name.text, name, dtype_name(actual));
        if (!in_library(e, l->call->callee_span))
            diag_mark(d, arg->span);
        note_arg(e, d, arg, param->name.text);
        return false;
    }
    return !type->has_shape || match_shape(e, l, type, arg, param->name.text);
}

bool match_patterns(Elab *e, const Function *function, const AstParam *params, size_t count,
                    const Arg *const *given, const Call *call, Scope *scope) {
    Letters l = {function, call, params, count, given, scope, {0}};
    bool good = true;
    for (size_t i = 0; i < count; i++)
        if (params[i].type && given[i])
            good = match_param(e, &l, &params[i], given[i]) && good;
    return good;
}
