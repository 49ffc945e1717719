// frontend/builtins.c -- primitives that are more or less than one op: reductions of lists and
// tensors, shapes, lists, draws, storage. Everything else of the library is written in kd.
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/elaborate.h"

// ---- calling ----

static Span arg_span(const BuiltinCall *c, size_t i) {
    return c->arg[i] ? c->arg[i]->span : c->call->span;
}

static Node *tensor_arg(Elab *e, BuiltinCall *c, size_t i) {
    return lift(e, c->value[i], NULL, arg_span(c, i),
                arena_printf(e->arena, "%s: ", c->builtin->name));
}

static Value node_op(Elab *e, BuiltinCall *c, Op op, Node *const *operand, uint32_t arity,
                     const Attrs *attrs) {
    return value_node(e, make_node(e, op, operand, arity, attrs, c->call->span, c->builtin->name,
                                   arity == 1 ? &c->args : NULL));
}

static bool list_arg(Elab *e, BuiltinCall *c, size_t i) {
    if (value_is_list(c->value[i]))
        return true;
    fail(e, arg_span(c, i), "%s: expected a list, and this is %s", c->builtin->name,
         value_text(e, c->value[i]));
    return false;
}

static bool int_arg(Elab *e, BuiltinCall *c, size_t i, int64_t *number) {
    if (value_is_int(c->value[i], number))
        return true;
    fail(e, arg_span(c, i), "%s: `%s` is a whole number, and this is %s", c->builtin->name,
         c->builtin->param[i].name, value_text(e, c->value[i]));
    return false;
}

static bool flag_arg(Elab *e, BuiltinCall *c, size_t i, bool *flag) {
    if (c->value[i].kind == VALUE_BOOL) {
        *flag = c->value[i].boolean;
        return true;
    }
    fail(e, arg_span(c, i), "%s: `%s` is true or false, and this is %s", c->builtin->name,
         c->builtin->param[i].name, value_text(e, c->value[i]));
    return false;
}

// ---- reductions ----

static Value reduce_tensor(Elab *e, BuiltinCall *c, Op op, Node *x, size_t axes, Attrs *attrs) {
    if (!value_axes(e, c->value[axes], x->type.rank, arg_span(c, axes), &attrs->axes) ||
        !flag_arg(e, c, axes + 1, &attrs->keep))
        return value_poison();
    return node_op(e, c, op, &x, 1, attrs);
}

// Joins the elements of a list by an operator; each has the same shape.
static Value combine_list(Elab *e, BuiltinCall *c, Value list, AstBinaryOp op, Op extreme) {
    Value total = list_at(list, 0);
    const AstExpr *expr = c->call->expr;
    AstExpr stand_in = {.kind = EXPR_NONE, .span = c->call->span};
    if (expr)
        stand_in.span = expr->span;
    if (list_count(list) == 1 && total.kind != VALUE_NUMBER) { // nothing else says that it is none
        Node *only =
            lift(e, total, NULL, arg_span(c, 0), arena_printf(e->arena, "%s: ", c->builtin->name));
        return only ? value_node(e, only) : value_poison();
    }
    for (size_t i = 1; i < list_count(list); i++) {
        Value next = list_at(list, i);
        if (total.kind == VALUE_TENSOR && next.kind == VALUE_TENSOR && total.tensor->node &&
            next.tensor->node &&
            !type_same_shape(&total.tensor->node->type, &next.tensor->node->type))
            return fail(e, arg_span(c, 0), "%s: element 0 is %s, element %zu is %s",
                        c->builtin->name, type_text(e->arena, &total.tensor->node->type), i,
                        type_text(e->arena, &next.tensor->node->type));
        if (extreme == OP_add) {
            total = apply_binary(e, op, total, next, &stand_in);
        } else if (total.kind == VALUE_NUMBER && next.kind == VALUE_NUMBER) {
            bool first =
                extreme == OP_max ? total.number >= next.number : total.number <= next.number;
            total = first ? total : next;
        } else {
            bool number = total.kind == VALUE_NUMBER;
            Node *b = lift(e, number ? next : total, NULL, arg_span(c, 0), "");
            Node *a = b ? lift(e, number ? total : next, b, arg_span(c, 0), "") : NULL;
            if (!a)
                return value_poison();
            total = node_op(e, c, extreme, (Node *[]){number ? a : b, number ? b : a}, 2, NULL);
        }
        if (total.kind == VALUE_POISON)
            return total;
    }
    return total;
}

static Value builtin_sum(Elab *e, BuiltinCall *c) {
    if (value_is_list(c->value[0]))
        return list_count(c->value[0]) ? combine_list(e, c, c->value[0], BINARY_ADD, OP_add)
                                       : value_int(0);
    if (c->value[0].kind == VALUE_NUMBER)
        return c->value[0];
    Node *x = tensor_arg(e, c, 0);
    return x ? reduce_tensor(e, c, OP_sum, x, 1, &(Attrs){0}) : value_poison();
}

static Value mean_of_integers(Elab *e, BuiltinCall *c, const Node *x) {
    Diag *d = report_error(e, c->call->span, "mean of %s", type_text(e->arena, &x->type));
    diag_help(d, "f32(x) makes real numbers of it");
    return value_poison();
}

static Value scaled(Elab *e, BuiltinCall *c, Value v, double factor) {
    if (v.kind == VALUE_POISON)
        return v;
    if (v.kind == VALUE_NUMBER)
        return value_real(v.number * factor);
    Node *x = v.tensor->node;
    if (!dtype_is_float(x->type.dtype))
        return mean_of_integers(e, c, x);
    Node *f = constant_node(e, factor, x->type.dtype, c->call->span);
    return node_op(e, c, OP_mul, (Node *[]){x, f}, 2, NULL);
}

static Value builtin_mean(Elab *e, BuiltinCall *c) {
    if (value_is_list(c->value[0])) {
        size_t count = list_count(c->value[0]);
        if (!count)
            return fail(e, arg_span(c, 0), "the mean of no elements");
        Value total = combine_list(e, c, c->value[0], BINARY_ADD, OP_add);
        return scaled(e, c, total, 1.0 / (double)count);
    }
    if (c->value[0].kind == VALUE_NUMBER)
        return c->value[0];
    Node *x = tensor_arg(e, c, 0);
    if (!x)
        return value_poison();
    if (!dtype_is_float(x->type.dtype))
        return mean_of_integers(e, c, x);
    Attrs attrs = {0};
    Value total = reduce_tensor(e, c, OP_sum, x, 1, &attrs);
    double count = 1;
    for (uint32_t i = 0; i < attrs.axes.count; i++)
        count *= (double)x->type.dim[attrs.axes.at[i]];
    return scaled(e, c, total, 1.0 / count);
}

static Value extreme(Elab *e, BuiltinCall *c, Op pair, Op reduction) {
    if (c->value[1].kind != VALUE_NONE) {
        Value both[] = {c->value[0], c->value[1]};
        for (int i = 0; i < 2; i++)
            if (both[i].kind != VALUE_NUMBER && both[i].kind != VALUE_TENSOR) {
                Diag *d = report_error(e, arg_span(c, (size_t)i),
                                       "%s: expected a tensor or a number, and this is %s",
                                       c->builtin->name, value_text(e, both[i]));
                if (i == 1 && value_is_list(both[i]))
                    diag_help(d, "%s(x, axes = …) reduces over axes", c->builtin->name);
                return value_poison();
            }
        if (both[0].kind == VALUE_TENSOR && both[1].kind == VALUE_TENSOR)
            return node_op(e, c, pair, (Node *[]){tensor_arg(e, c, 0), tensor_arg(e, c, 1)}, 2,
                           NULL);
        return combine_list(e, c, value_list(e, both, 2), BINARY_ADD, pair);
    }
    if (value_is_list(c->value[0])) {
        if (!list_count(c->value[0]))
            return fail(e, arg_span(c, 0), "%s of no elements", c->builtin->name);
        return combine_list(e, c, c->value[0], BINARY_ADD, pair);
    }
    if (c->value[0].kind == VALUE_NUMBER)
        return c->value[0];
    Node *x = tensor_arg(e, c, 0);
    return x ? reduce_tensor(e, c, reduction, x, 2, &(Attrs){0}) : value_poison();
}

static Value builtin_max(Elab *e, BuiltinCall *c) {
    return extreme(e, c, OP_max, OP_reduce_max);
}

static Value builtin_min(Elab *e, BuiltinCall *c) {
    return extreme(e, c, OP_min, OP_reduce_min);
}

static Value arg_extreme(Elab *e, BuiltinCall *c, Op op) {
    Node *x = tensor_arg(e, c, 0);
    return x ? reduce_tensor(e, c, op, x, 1, &(Attrs){0}) : value_poison();
}

static Value builtin_argmax(Elab *e, BuiltinCall *c) {
    return arg_extreme(e, c, OP_argmax);
}

static Value builtin_argmin(Elab *e, BuiltinCall *c) {
    return arg_extreme(e, c, OP_argmin);
}

static Value builtin_product(Elab *e, BuiltinCall *c) {
    if (!list_arg(e, c, 0))
        return value_poison();
    return list_count(c->value[0]) ? combine_list(e, c, c->value[0], BINARY_MULTIPLY, OP_add)
                                   : value_int(1);
}

// ---- contractions ----

static Value builtin_einsum(Elab *e, BuiltinCall *c) {
    if (c->value[0].kind != VALUE_STRING)
        return fail(e, arg_span(c, 0), "einsum: the first argument is like \"nk,mk->nm\"");
    Node *a = tensor_arg(e, c, 1);
    Node *b = a ? tensor_arg(e, c, 2) : NULL;
    if (!b)
        return value_poison();
    Attrs attrs = {.spec = c->value[0].string};
    return value_node(
        e, make_node(e, OP_einsum, (Node *[]){a, b}, 2, &attrs, c->call->span, "einsum", NULL));
}

// [.., M, K] by [.., K, N]: leading axes are shared, or only a's.
static Value builtin_matmul(Elab *e, BuiltinCall *c) {
    Node *a = tensor_arg(e, c, 0);
    Node *b = a ? tensor_arg(e, c, 1) : NULL;
    if (!b)
        return value_poison();
    int ra = a->type.rank, rb = b->type.rank;
    if (ra < 2 || rb < 2 || (rb > 2 && ra != rb) || a->type.dim[ra - 1] != b->type.dim[rb - 2]) {
        Diag *d = report_error(e, c->call->span,
                               "matmul: [.., M, K] by [.., K, N], and these are "
                               "%s and %s",
                               type_text(e->arena, &a->type), type_text(e->arena, &b->type));
        if (ra >= 2 && rb == 2 && a->type.dim[ra - 1] == b->type.dim[1])
            diag_help(d, "transpose(b, [1, 0]) turns the second one");
        return value_poison();
    }
    StrBuf spec = {.arena = e->arena};
    const char *letters = "abcdefgh";
    strbuf_printf(&spec, "%.*smk,", ra - 2, letters);
    strbuf_printf(&spec, "%.*skn->", rb - 2, letters);
    strbuf_printf(&spec, "%.*smn", ra - 2, letters);
    Attrs attrs = {.spec = strbuf_text(&spec)};
    return value_node(
        e, make_node(e, OP_einsum, (Node *[]){a, b}, 2, &attrs, c->call->span, "matmul", &c->args));
}

// ---- shapes ----

static Node **list_nodes(Elab *e, BuiltinCall *c, Value list) {
    Node **node = arena_array(e->arena, Node *, list_count(list));
    const Node *like = NULL;
    for (size_t i = 0; i < list_count(list) && !like; i++)
        if (list_at(list, i).kind == VALUE_TENSOR)
            like = list_at(list, i).tensor->node;
    for (size_t i = 0; i < list_count(list); i++) {
        node[i] = lift(e, list_at(list, i), like, arg_span(c, 0), "");
        if (!node[i])
            return NULL;
    }
    return node;
}

static bool axis_arg(Elab *e, BuiltinCall *c, size_t i, int rank, int64_t *axis) {
    if (!int_arg(e, c, i, axis))
        return false;
    if (*axis < -rank || *axis >= rank) {
        fail(e, arg_span(c, i), "axis %" PRId64 " of a tensor of rank %d", *axis, rank);
        return false;
    }
    *axis += *axis < 0 ? rank : 0;
    return true;
}

static Value join_nodes(Elab *e, BuiltinCall *c, Node **node, size_t count, int64_t axis) {
    Attrs attrs = {.axis = axis};
    return value_node(e, make_node(e, OP_concat, node, (uint32_t)count, &attrs, c->call->span,
                                   c->builtin->name, NULL));
}

// The columns [low, high) of the last axis; one column goes without its axis.
static Value columns_of(Elab *e, BuiltinCall *c, Node *x, int64_t low, int64_t high) {
    int64_t start[MAX_RANK] = {0}, limit[MAX_RANK], step[MAX_RANK];
    uint32_t rank = x->type.rank;
    for (uint32_t i = 0; i < rank; i++) {
        limit[i] = x->type.dim[i];
        step[i] = 1;
    }
    start[rank - 1] = low;
    limit[rank - 1] = high;
    Attrs attrs = {.start = {rank, start}, .limit = {rank, limit}, .step = {rank, step}};
    Value v = node_op(e, c, OP_slice, &x, 1, &attrs);
    if (high - low != 1 || low != 0)
        return v;
    attrs = (Attrs){.shape = {rank - 1, x->type.dim}};
    return node_op(e, c, OP_reshape, &v.tensor->node, 1, &attrs);
}

// One op gives each value and its vectors side by side; here they part.
static Value builtin_decompose(Elab *e, BuiltinCall *c) {
    bool symmetric = strcmp(c->builtin->name, "eigh") == 0;
    Node *x = tensor_arg(e, c, 0);
    int64_t count;
    if (!x || (c->value[1].kind != VALUE_NONE && !int_arg(e, c, 1, &count)))
        return value_poison();
    int rank = x->type.rank;
    int64_t m = rank > 1 ? x->type.dim[rank - 2] : 1, n = rank > 0 ? x->type.dim[rank - 1] : 1;
    if (c->value[1].kind == VALUE_NONE)
        count = m < n ? m : n;
    Value all = node_op(e, c, symmetric ? OP_eigh : OP_svd, &x, 1, &(Attrs){.count = count});
    if (all.kind != VALUE_TENSOR || !all.tensor->node)
        return value_poison();
    Node *y = all.tensor->node;
    Value value = columns_of(e, c, y, 0, 1);
    if (symmetric)
        return value_list(e, (Value[]){value, columns_of(e, c, y, 1, 1 + n)}, 2);
    Value left = columns_of(e, c, y, 1, 1 + m), right = columns_of(e, c, y, 1 + m, 1 + m + n);
    return value_list(e, (Value[]){left, value, right}, 3);
}

static Value builtin_concat(Elab *e, BuiltinCall *c) {
    int64_t axis;
    if (!list_arg(e, c, 0))
        return value_poison();
    size_t count = list_count(c->value[0]);
    if (!count)
        return fail(e, arg_span(c, 0), "concat of no tensors");
    Node **node = list_nodes(e, c, c->value[0]);
    if (!node || !axis_arg(e, c, 1, node[0]->type.rank, &axis))
        return value_poison();
    return join_nodes(e, c, node, count, axis);
}

static Value builtin_stack(Elab *e, BuiltinCall *c) {
    int64_t axis;
    if (!list_arg(e, c, 0))
        return value_poison();
    size_t count = list_count(c->value[0]);
    if (!count)
        return fail(e, arg_span(c, 0), "stack of no tensors");
    Node **node = list_nodes(e, c, c->value[0]);
    if (!node || !axis_arg(e, c, 1, node[0]->type.rank + 1, &axis))
        return value_poison();
    for (size_t i = 0; i < count; i++) {
        const Type *type = &node[i]->type;
        int64_t dim[MAX_RANK + 1];
        if (type->rank >= MAX_RANK)
            return fail(e, arg_span(c, 0), "stack of tensors of rank %d", type->rank);
        for (int k = 0, from = 0; k <= type->rank; k++)
            dim[k] = k == axis ? 1 : type->dim[from++];
        Attrs attrs = {.shape = {(uint32_t)type->rank + 1, dim}};
        node[i] = make_node(e, OP_reshape, &node[i], 1, &attrs, c->call->span, "stack", NULL);
        if (!node[i])
            return value_poison();
    }
    return join_nodes(e, c, node, count, axis);
}

static Value builtin_slice(Elab *e, BuiltinCall *c) {
    Node *x = tensor_arg(e, c, 0);
    int64_t axis, low, high;
    Ints range;
    if (!x || !axis_arg(e, c, 1, x->type.rank, &axis))
        return value_poison();
    if (c->value[2].kind == VALUE_RANGE) {
        low = c->value[2].range.low;
        high = c->value[2].range.high;
    } else {
        if (!value_ints(e, c->value[2], arg_span(c, 2), "`range`", &range))
            return value_poison();
        low = range.count ? range.at[0] : 0;
        high = low + range.count;
        for (uint32_t i = 0; i < range.count; i++)
            if (range.at[i] != low + i)
                return fail(e, arg_span(c, 2),
                            "`range` is like 0..3; take(x, indices) chooses freely");
    }
    int64_t extent = x->type.dim[axis];
    if (low < 0 || high > extent || low >= high)
        return fail(e, arg_span(c, 2),
                    "slice: %" PRId64 "..%" PRId64 " of axis %" PRId64
                    ", which has extent %" PRId64,
                    low, high, axis, extent);
    int64_t start[MAX_RANK] = {0}, limit[MAX_RANK], step[MAX_RANK];
    uint32_t rank = x->type.rank;
    for (uint32_t i = 0; i < rank; i++) {
        limit[i] = x->type.dim[i];
        step[i] = 1;
    }
    start[axis] = low;
    limit[axis] = high;
    Attrs attrs = {.start = {rank, start}, .limit = {rank, limit}, .step = {rank, step}};
    return node_op(e, c, OP_slice, &x, 1, &attrs);
}

static Value builtin_pad(Elab *e, BuiltinCall *c) {
    Node *x = tensor_arg(e, c, 0);
    Attrs attrs = {0};
    if (!x || !value_ints(e, c->value[1], arg_span(c, 1), "`low`", &attrs.low) ||
        !value_ints(e, c->value[2], arg_span(c, 2), "`high`", &attrs.high))
        return value_poison();
    if (c->value[3].kind != VALUE_NUMBER)
        return fail(e, arg_span(c, 3), "pad: `value` is a constant number");
    attrs.value = c->value[3].number;
    return node_op(e, c, OP_pad, &x, 1, &attrs);
}

static Value builtin_one_hot(Elab *e, BuiltinCall *c) {
    Node *x = tensor_arg(e, c, 0);
    int64_t classes;
    if (!x || !int_arg(e, c, 1, &classes))
        return value_poison();
    if (x->type.dtype != DT_I32 || x->type.rank >= MAX_RANK)
        return fail(e, arg_span(c, 0), "one_hot: expected i32 indices, and this is %s",
                    type_text(e->arena, &x->type));
    if (classes < 1)
        return fail(e, arg_span(c, 1), "one_hot: %" PRId64 " classes", classes);
    int64_t dim[MAX_RANK];
    int rank = x->type.rank;
    memcpy(dim, x->type.dim, sizeof dim);
    dim[rank] = 1;
    Attrs column = {.shape = {(uint32_t)rank + 1, dim}};
    x = make_node(e, OP_reshape, &x, 1, &column, c->call->span, "one_hot", NULL);
    Attrs count = {.shape = {1, &classes}, .dtype = DT_I32};
    Node *iota = make_node(e, OP_iota, NULL, 0, &count, c->call->span, "one_hot", NULL);
    if (!x || !iota)
        return value_poison();
    check_ranges(e, x, iota, c->call->span);
    Node *hit = make_node(e, OP_eq, (Node *[]){x, iota}, 2, NULL, c->call->span, "one_hot", NULL);
    Attrs real = {.dtype = e->module->real};
    return hit ? node_op(e, c, OP_cast, &hit, 1, &real) : value_poison();
}

static Value builtin_arange(Elab *e, BuiltinCall *c) {
    int64_t count;
    if (!int_arg(e, c, 0, &count))
        return value_poison();
    Attrs attrs = {.shape = {1, &count}, .dtype = DT_I32};
    return node_op(e, c, OP_iota, NULL, 0, &attrs);
}

static Value builtin_reverse(Elab *e, BuiltinCall *c) {
    if (value_is_list(c->value[0])) {
        size_t count = list_count(c->value[0]);
        Value *at = arena_array(e->arena, Value, count);
        for (size_t i = 0; i < count; i++)
            at[i] = list_at(c->value[0], count - 1 - i);
        return value_list(e, at, count);
    }
    Node *x = tensor_arg(e, c, 0);
    Attrs attrs = {0};
    if (!x || !value_axes(e, c->value[1], x->type.rank, arg_span(c, 1), &attrs.axes))
        return value_poison();
    return node_op(e, c, OP_reverse, &x, 1, &attrs);
}

// ---- fills and draws ----

static Value filled(Elab *e, BuiltinCall *c, double value) {
    Attrs attrs = {.value = value, .dtype = e->module->real};
    if (!value_ints(e, c->value[0], arg_span(c, 0), "a shape", &attrs.shape))
        return value_poison();
    Attrs one = {.value = value, .dtype = e->module->real};
    Node *node = make_node(e, OP_const, NULL, 0, &one, c->call->span, c->builtin->name, NULL);
    if (!node || !attrs.shape.count)
        return value_node(e, node);
    // Its rule bounds the shape.
    return value_node(
        e, make_node(e, OP_broadcast, &node, 1, &attrs, c->call->span, c->builtin->name, NULL));
}

static Value builtin_zeros(Elab *e, BuiltinCall *c) {
    return filled(e, c, 0);
}

static Value builtin_ones(Elab *e, BuiltinCall *c) {
    return filled(e, c, 1);
}

static Value builtin_full(Elab *e, BuiltinCall *c) {
    if (c->value[1].kind != VALUE_NUMBER)
        return fail(e, arg_span(c, 1), "full: `value` is a constant number");
    return filled(e, c, c->value[1].number);
}

static Node *draw(Elab *e, BuiltinCall *c, Op op, int64_t stream) {
    Attrs attrs = {.stream = stream, .dtype = e->module->real};
    if (!value_ints(e, c->value[0], arg_span(c, 0), "a shape", &attrs.shape))
        return NULL;
    double count = 1;
    for (uint32_t i = 0; i < attrs.shape.count; i++)
        count *= (double)attrs.shape.at[i];
    if (attrs.shape.count > MAX_RANK || count < 1 || count > 1e12) {
        fail(e, arg_span(c, 0), "%s: no tensor has this shape", c->builtin->name);
        return NULL;
    }
    return make_node(e, op, NULL, 0, &attrs, c->call->span, c->builtin->name, NULL);
}

// low + (high - low) * x, with constants or run-time scalars.
static Value affine(Elab *e, BuiltinCall *c, Node *x, Value shift, Value scale) {
    AstExpr stand_in = {.kind = EXPR_NONE, .span = c->call->span};
    Value v = value_node(e, x);
    if (!(scale.kind == VALUE_NUMBER && scale.number == 1))
        v = apply_binary(e, BINARY_MULTIPLY, v, scale, &stand_in);
    if (!(shift.kind == VALUE_NUMBER && shift.number == 0))
        v = apply_binary(e, BINARY_ADD, v, shift, &stand_in);
    return v;
}

static Value builtin_uniform(Elab *e, BuiltinCall *c) {
    Value low = c->value[1], high = c->value[2], bound = c->value[3];
    AstExpr stand_in = {.kind = EXPR_NONE, .span = c->call->span};
    if (bound.kind != VALUE_NONE) {
        low = apply_unary(e, UNARY_NEGATE, bound, &stand_in);
        high = bound;
    }
    Value width = apply_binary(e, BINARY_SUBTRACT, high, low, &stand_in);
    Node *x = draw(e, c, OP_uniform, context_stream(e));
    return x && width.kind != VALUE_POISON ? affine(e, c, x, low, width) : value_poison();
}

static Value builtin_normal(Elab *e, BuiltinCall *c) {
    Node *x = draw(e, c, OP_normal, context_stream(e));
    return x ? affine(e, c, x, c->value[1], c->value[2]) : value_poison();
}

// Fixed numbers by their seed, for trying things out.
static Value builtin_randn(Elab *e, BuiltinCall *c) {
    int64_t seed;
    if (!int_arg(e, c, 1, &seed))
        return value_poison();
    return value_node(e, draw(e, c, OP_normal, (INT64_C(1) << 48) + (seed & 0xffffffff)));
}

// ---- lists ----

static Value builtin_len(Elab *e, BuiltinCall *c) {
    if (!list_arg(e, c, 0))
        return value_poison();
    return value_int((int64_t)list_count(c->value[0]));
}

static Value builtin_zip(Elab *e, BuiltinCall *c) {
    size_t count = 0;
    for (size_t k = 0; k < c->args.count; k++) {
        Value list = c->args.at[k].value;
        if (!value_is_list(list))
            return fail(e, c->args.at[k].span, "zip: expected a list, and this is %s",
                        value_text(e, list));
        if (k && list_count(list) != count)
            return fail(e, c->args.at[k].span, "zip: a list of %zu beside one of %zu",
                        list_count(list), count);
        count = list_count(list);
    }
    Value *at = arena_array(e->arena, Value, count);
    Value *tuple = arena_array(e->arena, Value, c->args.count);
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < c->args.count; k++)
            tuple[k] = list_at(c->args.at[k].value, i);
        at[i] = value_list(e, tuple, c->args.count);
    }
    return value_list(e, at, count);
}

static Value builtin_enumerate(Elab *e, BuiltinCall *c) {
    if (!list_arg(e, c, 0))
        return value_poison();
    size_t count = list_count(c->value[0]);
    Value *at = arena_array(e->arena, Value, count);
    for (size_t i = 0; i < count; i++)
        at[i] = value_list(e, (Value[]){value_int((int64_t)i), list_at(c->value[0], i)}, 2);
    return value_list(e, at, count);
}

static Value builtin_append(Elab *e, BuiltinCall *c) {
    if (!list_arg(e, c, 0))
        return value_poison();
    size_t count = list_count(c->value[0]);
    if (count >= LIMIT_LIST)
        return fail_limit(e, c->call->span, "a list of more than %d elements", LIMIT_LIST);
    Value *at = arena_array(e->arena, Value, count + 1);
    for (size_t i = 0; i < count; i++)
        at[i] = list_at(c->value[0], i);
    at[count] = c->value[1];
    return value_list(e, at, count + 1);
}

static Value builtin_int(Elab *e, BuiltinCall *c) {
    if (c->value[0].kind != VALUE_NUMBER)
        return fail(e, arg_span(c, 0), "int: expected a constant number, and this is %s",
                    value_text(e, c->value[0]));
    return value_int((int64_t)floor(fmin(fmax(c->value[0].number, -9e15), 9e15)));
}

// ---- storage, gradients, types ----

static Value builtin_parameter(Elab *e, BuiltinCall *c) {
    return builtin_storage(e, STORAGE_PARAMETER, c->value[0], c->value[1], c->call->span);
}

static Value builtin_state(Elab *e, BuiltinCall *c) {
    return builtin_storage(e, STORAGE_STATE, c->value[0], c->value[1], c->call->span);
}

static Value grad_of(Elab *e, BuiltinCall *c, Node *y, Value x) {
    if (value_is_list(x)) {
        Value *at = arena_array(e->arena, Value, list_count(x));
        for (size_t i = 0; i < list_count(x); i++) {
            at[i] = grad_of(e, c, y, list_at(x, i));
            if (at[i].kind == VALUE_POISON)
                return at[i];
        }
        return value_list(e, at, list_count(x));
    }
    if (x.kind != VALUE_TENSOR)
        return fail(e, arg_span(c, 1), "grad: by a tensor or a list of them, and this is %s",
                    value_text(e, x));
    Node *by = lift(e, x, NULL, arg_span(c, 1), "grad: ");
    return by ? value_node(e, make_node(e, OP_grad, (Node *[]){y, by}, 2, NULL, c->call->span,
                                        "grad", NULL))
              : value_poison();
}

static Value builtin_grad(Elab *e, BuiltinCall *c) {
    Node *y = tensor_arg(e, c, 0);
    if (y && y->type.rank) {
        Diag *d = report_error(e, arg_span(c, 0), "grad: of a scalar, and this is %s",
                               type_text(e->arena, &y->type));
        diag_help(d, "sum(…) or mean(…) makes one of it");
        return value_poison();
    }
    return y ? grad_of(e, c, y, c->value[1]) : value_poison();
}

static Value cast_to(Elab *e, BuiltinCall *c, DType dtype) {
    if (c->value[0].kind == VALUE_BOOL && dtype != DT_BOOL)
        return dtype == DT_I32 ? value_int(c->value[0].boolean) : value_real(c->value[0].boolean);
    if (c->value[0].kind == VALUE_NUMBER && dtype != DT_BOOL)
        return dtype == DT_I32 ? value_int((int64_t)trunc(c->value[0].number))
                               : value_real(c->value[0].number);
    Node *x = tensor_arg(e, c, 0);
    if (!x || x->type.dtype == dtype)
        return value_node(e, x);
    Attrs attrs = {.dtype = dtype};
    return node_op(e, c, OP_cast, &x, 1, &attrs);
}

static Value builtin_f32(Elab *e, BuiltinCall *c) {
    return cast_to(e, c, e->module->real);
}

static Value builtin_i32(Elab *e, BuiltinCall *c) {
    return cast_to(e, c, DT_I32);
}

static Value builtin_like(Elab *e, BuiltinCall *c) {
    return like_value(e, c->value[0], c->call->span, arg_span(c, 0));
}

// ---- the table ----

static const struct {
    const char *name, *signature, *summary;
    BuiltinFn *function;
} table[] = {
    {"sum", "x, axes = all, keep = false", "sum over `axes`, or of a list's elements", builtin_sum},
    {"mean", "x, axes = all, keep = false", "mean over `axes`, or of a list's elements",
     builtin_mean},
    {"max", "a, b = none, axes = all, keep = false",
     "the larger of a and b; the largest over `axes`, or of a list", builtin_max},
    {"min", "a, b = none, axes = all, keep = false",
     "the smaller of a and b; the smallest over `axes`, or of a list", builtin_min},
    {"argmax", "x, axis = all, keep = false", "i32 index of the first largest along `axis`",
     builtin_argmax},
    {"argmin", "x, axis = all, keep = false", "i32 index of the first smallest along `axis`",
     builtin_argmin},
    {"product", "list", "product of a list's elements", builtin_product},
    {"einsum", "spec, a, b", "sum of products, like \"nk,mk->nm\"", builtin_einsum},
    {"matmul", "a, b", "[.., M, K] by [.., K, N]", builtin_matmul},
    {"eigh", "x, count = all",
     "[values [.., count], vectors [.., count, N]] of symmetric [.., N, N], the largest first",
     builtin_decompose},
    {"svd", "x, count = all",
     "[left [.., count, M], values [.., count], right [.., count, N]] of [.., M, N], the largest "
     "first",
     builtin_decompose},
    {"concat", "list, axis = 0", "tensors one after another along `axis`", builtin_concat},
    {"stack", "list, axis = 0", "tensors side by side along a new `axis`", builtin_stack},
    {"slice", "x, axis, range", "a part of `axis`: slice(x, axis = 1, range = 0..3)",
     builtin_slice},
    {"pad", "x, low, high, value = 0", "x in a frame: elements before and after, for each axis",
     builtin_pad},
    {"one_hot", "indices, classes", "1 at each index along a new last axis, else 0",
     builtin_one_hot},
    {"arange", "count", "i32[count]: 0, 1, 2, …", builtin_arange},
    {"reverse", "x, axes = all", "a list, or a tensor along `axes`, from back to front",
     builtin_reverse},
    {"zeros", "shape", "zeros", builtin_zeros},
    {"ones", "shape", "ones", builtin_ones},
    {"full", "shape, value", "all elements `value`", builtin_full},
    {"uniform", "shape, low = 0.0, high = 1.0, bound = none",
     "drawn anew each step from [low, high), or [-bound, bound)", builtin_uniform},
    {"normal", "shape, mean = 0.0, deviation = 1.0", "drawn anew each step, normally distributed",
     builtin_normal},
    {"randn", "shape, seed = 0", "normal numbers that depend on `seed` alone", builtin_randn},
    {"len", "list", "number of elements", builtin_len},
    {"zip", "...", "lists to the list of their elements side by side", builtin_zip},
    {"enumerate", "list", "[[0, list[0]], [1, list[1]], …]", builtin_enumerate},
    {"append", "list, element", "the list and one element more", builtin_append},
    {"int", "x", "the largest whole number not above a constant", builtin_int},
    {"parameter", "shape, init = 0", "makes a trainable tensor, named by its `let`",
     builtin_parameter},
    {"state", "shape, init = 0", "makes a tensor that `<-` updates, named by its `let`",
     builtin_state},
    {"grad", "y, x", "derivative of the scalar y by the tensor x, or by each of a list",
     builtin_grad},
    {"f32", "x", "as real numbers", builtin_f32},
    {"i32", "x", "as integers, toward zero", builtin_i32},
    {"like", "model", "a new instance of the net of a model, or of a part", builtin_like},
};

static Value default_value(const char *text, size_t length, Elab *e) {
    char *word = arena_strndup(e->arena, text, length);
    char *end;
    if (strcmp(word, "all") == 0 || strcmp(word, "none") == 0)
        return value_none();
    if (strcmp(word, "true") == 0 || strcmp(word, "false") == 0)
        return value_bool(*word == 't');
    double number = strtod(word, &end);
    return strchr(word, '.') ? value_real(number) : value_int((int64_t)number);
}

void builtin_add(Elab *e, const char *name, const char *signature, const char *summary,
                 BuiltinFn *function, int op) {
    Builtin *b = arena_new(e->arena, Builtin);
    *b = (Builtin){
        .name = name, .signature = signature, .summary = summary, .function = function, .op = op};
    b->variadic = strcmp(signature, "...") == 0;
    b->param = arena_array(e->arena, BuiltinParam, 8);
    for (const char *at = signature; *at && !b->variadic;) {
        size_t length = strcspn(at, ",");
        size_t word = strcspn(at, " ,");
        BuiltinParam *param = &b->param[b->param_count++];
        param->name = arena_strndup(e->arena, at, word);
        const char *equals = memchr(at, '=', length);
        if (equals) {
            param->has_default = true;
            param->value = default_value(equals + 2, length - (size_t)(equals + 2 - at), e);
        }
        at += length;
        at += strspn(at, ", ");
    }
    Function *f = arena_new(e->arena, Function);
    *f = (Function){.name = name, .builtin = b};
    scope_set(e, e->primitives, name, value_function(f), (Span){0})->doc = summary;
}

void builtins_declare(Elab *e) {
    e->primitives = scope_new(e, NULL);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        builtin_add(e, table[i].name, table[i].signature, table[i].summary, table[i].function, -1);
    builtin_ops_declare(e);
    scope_set(e, e->primitives, "pi", value_real(3.14159265358979323846), (Span){0})->doc =
        "circumference by diameter";
    scope_set(e, e->primitives, "all", value_none(), (Span){0})->doc = "all axes";
    scope_set(e, e->primitives, "inf", value_real(INFINITY), (Span){0})->doc = "infinity";
}

static size_t builtin_param(const Builtin *b, const char *name) {
    for (size_t i = 0; i < b->param_count; i++)
        if (strcmp(b->param[i].name, name) == 0)
            return i;
    return SIZE_MAX;
}

Value call_builtin(Elab *e, const Builtin *b, Args args, const Call *call) {
    BuiltinCall c = {.builtin = b, .call = call, .args = args};
    Span span = call->callee_span;
    if (call->as && in_a_net(e)) {
        Call unnamed = *call;
        unnamed.as = NULL;
        return tap_value(e, call_builtin(e, b, args, &unnamed), call->span, call->as, call->as_span);
    }
    if (call->as) {
        Diag *d = report_error(e, call->as_span,
                               "`as` names an instance of a net, and `%s` is a primitive", b->name);
        diag_help(d, "a primitive has no parameters of its own; in a net its value would be a tap");
        return value_poison();
    }
    if (b->variadic)
        return b->function(e, &c);
    c.value = arena_array(e->arena, Value, b->param_count);
    c.arg = arena_array(e->arena, const Arg *, b->param_count);
    size_t next = 0;
    for (size_t i = 0; i < args.count; i++) {
        size_t k = args.at[i].name ? builtin_param(b, args.at[i].name) : next;
        while (!args.at[i].name && k < b->param_count && c.arg[k] && c.arg[k]->held)
            k++;
        if (k == SIZE_MAX || k >= b->param_count) {
            Diag *d = args.at[i].name
                          ? report_error(e, args.at[i].span, "`%s` has no parameter `%s`", b->name,
                                         args.at[i].name)
                          : report_error(e, args.at[i].span,
                                         "`%s` takes %zu argument%s, and this is one more", b->name,
                                         b->param_count, b->param_count == 1 ? "" : "s");
            diag_note(d, (Span){0}, "it is %s(%s)", b->name, b->signature);
            return value_poison();
        }
        if (c.arg[k])
            return fail(e, args.at[i].span, "`%s` is given twice", b->param[k].name);
        c.arg[k] = &args.at[i];
        if (!args.at[i].name)
            next = k + 1;
    }
    for (size_t i = 0; i < b->param_count; i++) {
        if (!c.arg[i] && !b->param[i].has_default) {
            Diag *d =
                report_error(e, span, "`%s` needs its argument `%s`", b->name, b->param[i].name);
            diag_note(d, (Span){0}, "it is %s(%s)", b->name, b->signature);
            return value_poison();
        }
        c.value[i] = c.arg[i] ? c.arg[i]->value : b->param[i].value;
        if (c.value[i].kind == VALUE_POISON)
            return value_poison();
    }
    return b->function(e, &c);
}
