// frontend/builtin_ops.c -- the primitives that are one op each, bound from ops.def.
//
// The column `surface` is the signature: operands first, then attributes with their defaults. On
// constants the elementwise ones are worked out at once.
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/elaborate.h"

// ---- constants ----

static double sign_of(double x) {
    return (x > 0) - (x < 0);
}

static bool fold(Op op, double x, double *y) {
    switch ((int)op) { // only what a surface names
    case OP_neg:
        *y = -x;
        return true;
    case OP_abs:
        *y = fabs(x);
        return true;
    case OP_sign:
        *y = sign_of(x);
        return true;
    case OP_exp:
        *y = exp(x);
        return true;
    case OP_log:
        *y = log(x);
        return true;
    case OP_log1p:
        *y = log1p(x);
        return true;
    case OP_expm1:
        *y = expm1(x);
        return true;
    case OP_sqrt:
        *y = sqrt(x);
        return true;
    case OP_rsqrt:
        *y = 1 / sqrt(x);
        return true;
    case OP_tanh:
        *y = tanh(x);
        return true;
    case OP_sigmoid:
        *y = 1 / (1 + exp(-x));
        return true;
    case OP_erf:
        *y = erf(x);
        return true;
    case OP_sin:
        *y = sin(x);
        return true;
    case OP_cos:
        *y = cos(x);
        return true;
    case OP_floor:
        *y = floor(x);
        return true;
    default:
        return false;
    }
}

// ---- attributes ----

bool value_ints(Elab *e, Value v, Span span, const char *what, Ints *ints) {
    int64_t one;
    if (v.kind == VALUE_POISON)
        return false;
    if (value_is_int(v, &one)) {
        *ints = ints_copy(e->arena, &one, 1);
        return true;
    }
    if (!value_is_list(v)) {
        Diag *d = report_error(e, span, "%s is a list of whole numbers, and this is %s", what,
                               value_text(e, v));
        if (v.kind == VALUE_TENSOR && v.tensor->node && node_is_run_time_scalar(v.tensor->node))
            diag_help(d, "an option is known at run time only: use a `param`");
        return false;
    }
    size_t count = list_count(v);
    int64_t *at = arena_array(e->arena, int64_t, count);
    for (size_t i = 0; i < count; i++) {
        Value element = list_at(v, i);
        if (value_is_int(element, &at[i]))
            continue;
        Diag *d = report_error(e, span, "%s is made of whole numbers, and this is %s", what,
                               value_text(e, element));
        if (element.kind == VALUE_TENSOR && element.tensor->node &&
            node_is_run_time_scalar(element.tensor->node))
            diag_help(d, "an option is known at run time only: use a `param`");
        else if (element.kind == VALUE_NUMBER)
            diag_help(d, "`//` divides to whole numbers");
        return false;
    }
    *ints = (Ints){(uint32_t)count, at};
    return true;
}

static int compare_int(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static bool one_axis(Elab *e, int64_t axis, int rank, Span span, int64_t *out) {
    if (axis < -rank || axis >= rank) {
        fail(e, span, "axis %" PRId64 " of a tensor of rank %d", axis, rank);
        return false;
    }
    *out = axis < 0 ? axis + rank : axis;
    return true;
}

bool value_axes(Elab *e, Value v, int rank, Span span, Ints *axes) {
    int64_t *at = arena_array(e->arena, int64_t, MAX_RANK);
    if (v.kind == VALUE_NONE) {
        for (int i = 0; i < rank; i++)
            at[i] = i;
        *axes = (Ints){(uint32_t)rank, at};
        return true;
    }
    Ints given;
    if (!value_ints(e, v, span, "`axes`", &given))
        return false;
    if (given.count > MAX_RANK) {
        fail(e, span, "%u axes of a tensor of rank %d", given.count, rank);
        return false;
    }
    for (uint32_t i = 0; i < given.count; i++)
        if (!one_axis(e, given.at[i], rank, span, &at[i]))
            return false;
    qsort(at, given.count, sizeof *at, compare_int);
    for (uint32_t i = 1; i < given.count; i++) {
        if (at[i] == at[i - 1]) {
            fail(e, span, "axis %" PRId64 " is named twice", at[i]);
            return false;
        }
    }
    *axes = (Ints){given.count, at};
    return true;
}

// Windows take one number for both directions, or [down, right]; padding also all four sides.
static bool window_ints(Elab *e, Value v, Span span, const char *name, Ints *ints) {
    Ints given;
    if (!value_ints(e, v, span, arena_printf(e->arena, "`%s`", name), &given))
        return false;
    bool padding = strcmp(name, "padding") == 0;
    uint32_t count = padding ? 4 : 2;
    if (given.count != 1 && given.count != 2 && given.count != count) {
        fail(e, span, "`%s` is one number or a list of 2%s, and this has %u", name,
             padding ? " or 4" : "", given.count);
        return false;
    }
    int64_t *at = arena_array(e->arena, int64_t, count);
    for (uint32_t i = 0; i < count; i++)
        at[i] = given.at[given.count == 1 ? 0 : given.count == count ? i : i % 2];
    *ints = (Ints){count, at};
    return true;
}

static bool is_window(const char *name) {
    return strcmp(name, "kernel") == 0 || strcmp(name, "stride") == 0 ||
           strcmp(name, "padding") == 0 || strcmp(name, "dilation") == 0;
}

static bool set_attribute(Elab *e, Attrs *attrs, const AttrInfo *info, Value v, Span span,
                          int rank) {
    void *place = (char *)attrs + info->offset;
    const char *what = arena_printf(e->arena, "`%s`", info->name);
    int64_t number;
    switch (info->kind) {
    case KIND_Int:
        if (!value_is_int(v, &number)) {
            fail(e, span, "%s is a whole number, and this is %s", what, value_text(e, v));
            return false;
        }
        if (strcmp(info->name, "axis") == 0 && !one_axis(e, number, rank, span, &number))
            return false;
        *(AttrInt *)place = number;
        return true;
    case KIND_Ints:
        if (strcmp(info->name, "axes") == 0)
            return value_axes(e, v, rank, span, place);
        return is_window(info->name) ? window_ints(e, v, span, info->name, place)
                                     : value_ints(e, v, span, what, place);
    case KIND_Real:
        if (v.kind != VALUE_NUMBER) {
            fail(e, span, "%s is a constant number, and this is %s", what, value_text(e, v));
            return false;
        }
        *(AttrReal *)place = v.number;
        return true;
    case KIND_Flag:
        if (v.kind != VALUE_BOOL) {
            fail(e, span, "%s is true or false, and this is %s", what, value_text(e, v));
            return false;
        }
        *(AttrFlag *)place = v.boolean;
        return true;
    case KIND_Text:
    case KIND_Dtype:
    case KIND_Count:
        break; // no surface names these
    }
    return false;
}

static const AttrInfo *attribute_named(const char *name) {
    for (int i = 0; i < ATTR_COUNT; i++)
        if (strcmp(attr_info[i].name, name) == 0)
            return &attr_info[i];
    return NULL;
}

// ---- the call ----

static Value call_op(Elab *e, BuiltinCall *c) {
    const Builtin *b = c->builtin;
    Op op = (Op)b->op;
    uint32_t arity = (uint32_t)op_info[op].arity;
    double folded;
    if (arity == 1 && op_has(op, MAPS) && c->value[0].kind == VALUE_NUMBER &&
        fold(op, c->value[0].number, &folded)) {
        Value v = value_real(folded);
        v.is_int = (op == OP_floor ||
                    ((op == OP_neg || op == OP_abs || op == OP_sign) && c->value[0].is_int));
        return v;
    }
    if (op == OP_stop_gradient && c->value[0].kind == VALUE_NUMBER)
        return c->value[0];
    if (op == OP_where && c->value[0].kind == VALUE_BOOL)
        return c->value[c->value[0].boolean ? 1 : 2];

    Node *operand[3] = {0};
    Arg args[3] = {0};
    const Node *like = NULL;
    for (int pass = 0; pass < 2; pass++) { // tensors first: they give constants their type
        for (uint32_t k = 0; k < arity; k++) {
            bool number = c->value[k].kind == VALUE_NUMBER || c->value[k].kind == VALUE_BOOL;
            if (number != (pass == 1))
                continue;
            bool condition = op == OP_where && k == 0;
            operand[k] = lift(e, c->value[k], condition ? NULL : like,
                              c->arg[k] ? c->arg[k]->span : c->call->span,
                              arena_printf(e->arena, "%s: ", b->name));
            if (!operand[k])
                return value_poison();
            if (!like && !condition)
                like = operand[k];
            if (c->arg[k])
                args[k] = *c->arg[k];
        }
    }
    if ((op == OP_put || op == OP_put_add) && c->value[2].kind == VALUE_NUMBER)
        return fail(e, c->call->span, "%s: `rows` is a tensor", b->name);
    Attrs attrs = {0};
    int rank = operand[0]->type.rank;
    for (size_t i = arity; i < b->param_count; i++)
        if (!set_attribute(e, &attrs, attribute_named(b->param[i].name), c->value[i],
                           c->arg[i] ? c->arg[i]->span : c->call->span, rank))
            return value_poison();
    Args all = {args, arity};
    return value_node(e, make_node(e, op, operand, arity, &attrs, c->call->span, b->name, &all));
}

void builtin_ops_declare(Elab *e) {
    for (int i = 0; i < OP_COUNT; i++)
        if (*op_info[i].surface && i != OP_reverse)
            builtin_add(e, op_info[i].name, op_info[i].surface, op_info[i].summary, call_op, i);
}
