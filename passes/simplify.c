// passes/simplify.c -- algebra that holds in floating point.
//
// A rule looks at one node and its operands and returns what equals it and is cheaper, or NULL.
// Rules may differ from what they replace in the sign of a zero and, where the row says so, by
// rounding; never in what is infinite or not a number: so x * 0 is not 0 and x - x neither.
// (Differentiation makes no products with zero cotangents, so nothing is lost.) What is left
// without use is for dce.
//
// The table at the end has the rules by op, in order of trial; the pipeline repeats the pass, with
// cse and dce, until nothing changes.
#include <float.h>
#include <math.h>
#include <string.h>

#include "passes/passes.h"
#include "passes/rewrite.h"

typedef Node *SimplifyRule(Graph *graph, Node *y);

// ---- what rules share ---------------------------------------------------------------------------

static Node *append(Graph *graph, Op op, Node *const *operand, uint32_t arity, Attrs attrs) {
    return graph_append(graph, op, operand, arity, &attrs, graph->cursor);
}

/// Whether every element of x is `*value`.
static bool is_constant(const Node *x, double *value) {
    *value = x->attrs->value;
    return x->op == OP_const;
}

static bool is_number(const Node *x, double value) {
    return x->op == OP_const && x->attrs->value == value;
}

/// x in the shape of y, to which it broadcasts.
static Node *spread_to(Graph *graph, Node *x, const Node *y) {
    if (type_same_shape(&x->type, &y->type))
        return x;
    return ir_broadcast(graph, x, y->type.dim, y->type.rank);
}

static Node *constant_like(Graph *graph, double value, const Node *y) {
    return ir_full(graph, value, &y->type);
}

/// A constant of rank 0 that meets x in an elementwise op.
static Node *number(Graph *graph, double value, const Node *x) {
    return ir_const(graph, value, x->type.dtype);
}

static bool is_layout_plain(const Node *x) {
    return x->type.block == 0;
}

static bool is_power_of_two(double x) {
    int exponent;
    return isfinite(x) && x != 0 && fabs(frexp(x, &exponent)) == 0.5 && fabs(x) > 1e-30 &&
           fabs(x) < 1e30;
}

static bool is_reduced(Ints axes, int axis) {
    for (uint32_t i = 0; i < axes.count; i++) {
        if (axes.at[i] == axis)
            return true;
    }
    return false;
}

// ---- constants ----------------------------------------------------------------------------------

/// Whether a constant of `dtype` can be x. Floats are kept as double and rounded when they are
/// used, so that a chain of foldings is rounded once.
static bool fits(DType dtype, double x) {
    switch (dtype) {
    case DT_F32:
        return fabs(x) <= FLT_MAX;
    case DT_F64:
        return isfinite(x);
    case DT_I32:
        return x >= INT32_MIN && x <= INT32_MAX && x == trunc(x);
    case DT_U8:
        return x >= 0 && x <= UINT8_MAX && x == trunc(x);
    case DT_BOOL:
        return x == 0 || x == 1;
    }
    return false;
}

/// x of dtype `from` as `to`: a float through its own precision, to integers toward zero.
static double converted(double x, DType from, DType to) {
    if (from == DT_F32)
        x = (float)x;
    if (to == DT_BOOL)
        return x != 0;
    return dtype_is_float(to) ? x : trunc(x);
}

bool fold_numbers(Op op, double a, double b, double c, double *y) {
    switch ((int)op) {
#define FOLD(name, value)                                                                          \
    case OP_##name:                                                                                \
        *y = (value);                                                                              \
        return true;
        FOLD(neg, -a)
        FOLD(abs, fabs(a))
        FOLD(sign, (a > 0) - (a < 0))
        FOLD(exp, exp(a))
        FOLD(log, log(a))
        FOLD(log1p, log1p(a))
        FOLD(expm1, expm1(a))
        FOLD(sqrt, sqrt(a))
        FOLD(rsqrt, 1 / sqrt(a))
        FOLD(tanh, tanh(a))
        FOLD(sigmoid, a < 0 ? exp(a) / (1 + exp(a)) : 1 / (1 + exp(-a)))
        FOLD(erf, erf(a))
        FOLD(sin, sin(a))
        FOLD(cos, cos(a))
        FOLD(floor, floor(a))
        FOLD(not, !a)
        FOLD(add, a + b)
        FOLD(sub, a - b)
        FOLD(mul, a * b)
        FOLD(div, a / b)
        FOLD(pow, pow(a, b))
        FOLD(max, a < b ? b : a)
        FOLD(min, b < a ? b : a)
        FOLD(eq, a == b)
        FOLD(ne, a != b)
        FOLD(lt, a < b)
        FOLD(le, a <= b)
        FOLD(and, a && b)
        FOLD(or, a || b)
        FOLD(where, a ? b : c)
#undef FOLD
    default:
        return false;
    }
}

/// An elementwise op of constants is a constant, worked out in double. What is not finite or does
/// not fit stays for the run to show, and so does division of integers.
static Node *fold_constants(Graph *graph, Node *y) {
    double value[3] = {0};
    double result;
    if (!op_has(y->op, MAPS) || y->arity > 3)
        return NULL;
    for (uint32_t k = 0; k < y->arity; k++) {
        if (!is_constant(y->operand[k], &value[k]) || !isfinite(value[k]))
            return NULL;
    }
    if (y->op == OP_div && !dtype_is_float(y->type.dtype))
        return NULL;
    if (y->op == OP_cast)
        result = converted(value[0], y->operand[0]->type.dtype, y->type.dtype);
    else if (!fold_numbers(y->op, value[0], value[1], value[2], &result))
        return NULL;
    return fits(y->type.dtype, result) ? constant_like(graph, result, y) : NULL;
}

/// An index map of a constant is that constant in another shape.
static Node *view_of_constant(Graph *graph, Node *y) {
    double c;
    return is_constant(y->operand[0], &c) ? constant_like(graph, c, y) : NULL;
}

static Node *pad_of_constant(Graph *graph, Node *y) {
    double c;
    return is_constant(y->operand[0], &c) && c == y->attrs->value ? constant_like(graph, c, y)
                                                                  : NULL;
}

static Node *iota_of_one(Graph *graph, Node *y) {
    return y->type.dim[y->attrs->axis] == 1 ? constant_like(graph, 0, y) : NULL;
}

// ---- elementwise --------------------------------------------------------------------------------

/// In an elementwise op explicit broadcasts need not be made: its operands broadcast by themselves.
/// Where all were broadcast the op is done on the small operands, and its result broadcast.
static Node *drop_broadcasts(Graph *graph, Node *y) {
    Node *operand[3];
    const Type *type[3];
    Type result;
    const char *message;
    bool any = false;
    if (!op_has(y->op, MAPS) || y->arity > 3)
        return NULL;
    for (uint32_t k = 0; k < y->arity; k++) {
        operand[k] = y->operand[k];
        double c;
        if (operand[k]->op == OP_broadcast) {
            operand[k] = operand[k]->operand[0];
            any = true;
        } else if (is_constant(operand[k], &c) && operand[k]->type.rank > 0) {
            operand[k] = number(graph, c, operand[k]);
            any = true;
        }
        type[k] = &operand[k]->type;
    }
    if (!any || !ir_infer(graph->module, y->op, type, y->arity, y->attrs, &result,
                          graph->module->arena, &message))
        return NULL;
    return spread_to(graph, append(graph, y->op, operand, y->arity, *y->attrs), y);
}

/// x + 0 = x    x + (-z) = x - z
static Node *simplify_add(Graph *graph, Node *y) {
    for (int k = 0; k < 2; k++) {
        Node *x = y->operand[k];
        Node *other = y->operand[1 - k];
        if (is_number(other, 0))
            return spread_to(graph, x, y);
        if (other->op == OP_neg)
            return ir_binary(graph, OP_sub, x, other->operand[0]);
    }
    return NULL;
}

/// x - 0 = x    x - (-z) = x + z
static Node *simplify_sub(Graph *graph, Node *y) {
    Node *a = y->operand[0];
    Node *b = y->operand[1];
    if (is_number(b, 0))
        return spread_to(graph, a, y);
    return b->op == OP_neg ? ir_binary(graph, OP_add, a, b->operand[0]) : NULL;
}

/// 1 x = x    (-1) x = -x    (-x)(-z) = x z
static Node *simplify_mul(Graph *graph, Node *y) {
    for (int k = 0; k < 2; k++) {
        Node *x = y->operand[k];
        Node *other = y->operand[1 - k];
        if (is_number(other, 1))
            return spread_to(graph, x, y);
        if (is_number(other, -1))
            return spread_to(graph, ir_unary(graph, OP_neg, x), y);
    }
    if (y->operand[0]->op == OP_neg && y->operand[1]->op == OP_neg)
        return ir_binary(graph, OP_mul, y->operand[0]->operand[0], y->operand[1]->operand[0]);
    return NULL;
}

/// (x c) d = x (c d) and (-x) c = x (-c), where one of c, d is a power of two: nothing is rounded.
static Node *join_factors(Graph *graph, Node *y) {
    double c, d, cd;
    if (!dtype_is_float(y->type.dtype))
        return NULL;
    for (int k = 0; k < 2; k++) {
        Node *inner = y->operand[k];
        if (!is_constant(y->operand[1 - k], &d))
            continue;
        if (inner->op == OP_neg)
            return spread_to(graph,
                             ir_binary(graph, OP_mul, inner->operand[0], number(graph, -d, y)), y);
        for (int j = 0; inner->op == OP_mul && j < 2; j++) {
            if (!is_constant(inner->operand[j], &c) || !(is_power_of_two(c) || is_power_of_two(d)))
                continue;
            cd = c * d;
            if (!fits(y->type.dtype, cd) || cd == 0)
                continue;
            Node *x = inner->operand[1 - j];
            return spread_to(graph, ir_binary(graph, OP_mul, x, number(graph, cd, y)), y);
        }
    }
    return NULL;
}

/// x / 1 = x    x / c = x (1 / c) where c is a power of two: as exact, and faster
static Node *simplify_div(Graph *graph, Node *y) {
    double c;
    Node *x = y->operand[0];
    if (is_number(y->operand[1], 1))
        return spread_to(graph, x, y);
    if (dtype_is_float(y->type.dtype) && is_constant(y->operand[1], &c) && is_power_of_two(c))
        return spread_to(graph, ir_binary(graph, OP_mul, x, number(graph, 1 / c, y)), y);
    return NULL;
}

/// x^0 = 1    x^1 = x    x^2 = x x    x^3 = (x x) x    x^4 = (x x)(x x)    x^-1 = 1 / x; rounding
static Node *simplify_pow(Graph *graph, Node *y) {
    Node *x = y->operand[0];
    double c;
    if (!is_constant(y->operand[1], &c) || c != rint(c) || c < -2 || c > 4 ||
        !dtype_is_float(y->type.dtype))
        return NULL;
    if (c == 0)
        return constant_like(graph, 1, y);
    Node *power = x;
    Node *square = fabs(c) == 1 ? NULL : ir_binary(graph, OP_mul, x, x);
    if (fabs(c) == 2)
        power = square;
    else if (c == 3)
        power = ir_binary(graph, OP_mul, square, x);
    else if (c == 4)
        power = ir_binary(graph, OP_mul, square, square);
    if (c < 0)
        power = ir_binary(graph, OP_div, number(graph, 1, x), power);
    return spread_to(graph, power, y);
}

/// - -x = x    -(a - b) = b - a
static Node *simplify_neg(Graph *graph, Node *y) {
    Node *x = y->operand[0];
    if (x->op == OP_neg)
        return x->operand[0];
    return x->op == OP_sub ? ir_binary(graph, OP_sub, x->operand[1], x->operand[0]) : NULL;
}

static Node *simplify_not(Graph *graph, Node *y) {
    (void)graph;
    return y->operand[0]->op == OP_not ? y->operand[0]->operand[0] : NULL;
}

/// max(x, x) = x, and the like for min, and, or
static Node *same_operands(Graph *graph, Node *y) {
    (void)graph;
    return y->operand[0] == y->operand[1] ? y->operand[0] : NULL;
}

static Node *simplify_and(Graph *graph, Node *y) {
    for (int k = 0; k < 2; k++) {
        if (is_number(y->operand[k], 1))
            return spread_to(graph, y->operand[1 - k], y);
        if (is_number(y->operand[k], 0))
            return constant_like(graph, 0, y);
    }
    return NULL;
}

static Node *simplify_or(Graph *graph, Node *y) {
    for (int k = 0; k < 2; k++) {
        if (is_number(y->operand[k], 0))
            return spread_to(graph, y->operand[1 - k], y);
        if (is_number(y->operand[k], 1))
            return constant_like(graph, 1, y);
    }
    return NULL;
}

/// where(true, a, b) = a    where(c, a, a) = a    where(not c, a, b) = where(c, b, a)
static Node *simplify_where(Graph *graph, Node *y) {
    Node *condition = y->operand[0];
    double c;
    if (is_constant(condition, &c))
        return spread_to(graph, y->operand[c ? 1 : 2], y);
    if (y->operand[1] == y->operand[2])
        return spread_to(graph, y->operand[1], y);
    if (condition->op == OP_not)
        return ir_where(graph, condition->operand[0], y->operand[2], y->operand[1]);
    return NULL;
}

static Node *same_cast(Graph *graph, Node *y) {
    (void)graph;
    return y->operand[0]->type.dtype == y->type.dtype ? y->operand[0] : NULL;
}

/// What only grad() sees: gone once there is no grad node in the graph, and then the pass runs.
static Node *first_operand(Graph *graph, Node *y) {
    (void)graph;
    return y->operand[0];
}

// ---- index maps ---------------------------------------------------------------------------------

static Node *same_view(Graph *graph, Node *y) {
    (void)graph;
    return type_equal(&y->type, &y->operand[0]->type) ? y->operand[0] : NULL;
}

/// A reshape or broadcast of its like.
static Node *view_twice(Graph *graph, Node *y) {
    Node *x = y->operand[0];
    if (x->op != y->op || !is_layout_plain(x))
        return NULL;
    Node *source = x->operand[0];
    return y->op == OP_reshape ? ir_reshape(graph, source, y->type.dim, y->type.rank)
                               : ir_broadcast(graph, source, y->type.dim, y->type.rank);
}

/// A broadcast that only adds leading axes of extent 1 is a reshape.
static Node *broadcast_of_same_count(Graph *graph, Node *y) {
    Node *x = y->operand[0];
    if (type_count(&x->type) != type_count(&y->type) || !is_layout_plain(x))
        return NULL;
    return ir_reshape(graph, x, y->type.dim, y->type.rank);
}

/// transpose(transpose(x)) is one transpose, or none; one that moves only axes of extent 1 a
/// reshape.
static Node *simplify_transpose(Graph *graph, Node *y) {
    Node *x = y->operand[0];
    Ints perm = y->attrs->perm;
    if (!is_layout_plain(x))
        return NULL;
    if (x->op == OP_transpose) {
        int64_t both[MAX_RANK];
        for (uint32_t i = 0; i < perm.count; i++)
            both[i] = x->attrs->perm.at[perm.at[i]];
        return ir_transpose(graph, x->operand[0], both);
    }
    int64_t last = -1;
    bool in_order = true, identity = true;
    for (uint32_t i = 0; i < perm.count; i++) {
        identity &= perm.at[i] == i;
        if (x->type.dim[perm.at[i]] == 1)
            continue;
        in_order &= perm.at[i] > last;
        last = perm.at[i];
    }
    if (identity)
        return x;
    return in_order ? ir_reshape(graph, x, y->type.dim, y->type.rank) : NULL;
}

/// Every element in its place: nothing cut off, nothing added, nothing turned round.
static Node *empty_reverse(Graph *graph, Node *y) {
    Node *x = y->operand[0];
    (void)graph;
    for (uint32_t i = 0; i < y->attrs->axes.count; i++) {
        if (x->type.dim[y->attrs->axes.at[i]] != 1)
            return NULL;
    }
    return x;
}

static Node *reverse_twice(Graph *graph, Node *y) {
    Node *x = y->operand[0];
    (void)graph;
    return x->op == OP_reverse && attrs_equal(OP_reverse, x->attrs, y->attrs) ? x->operand[0]
                                                                              : NULL;
}

/// slice(slice(x)): one slice, its starts and steps seen through the inner one's.
static Node *slice_of_slice(Graph *graph, Node *y) {
    Node *inner = y->operand[0];
    if (inner->op != OP_slice || !is_layout_plain(inner))
        return NULL;
    const Attrs *in = inner->attrs;
    const Attrs *out = y->attrs;
    uint32_t rank = y->type.rank;
    int64_t start[MAX_RANK], limit[MAX_RANK], step[MAX_RANK];
    for (uint32_t i = 0; i < rank; i++) {
        start[i] = in->start.at[i] + out->start.at[i] * in->step.at[i];
        step[i] = in->step.at[i] * out->step.at[i];
        limit[i] = start[i] + (y->type.dim[i] - 1) * step[i] + 1;
    }
    return append(graph, OP_slice, inner->operand, 1,
                  (Attrs){.start = {rank, start}, .limit = {rank, limit}, .step = {rank, step}});
}

/// slice(concat(a, b, ..)) that lies within one of them is a slice of that one.
static Node *slice_of_concat(Graph *graph, Node *y) {
    Node *concat = y->operand[0];
    if (concat->op != OP_concat)
        return NULL;
    int64_t axis = concat->attrs->axis;
    int64_t first = y->attrs->start.at[axis];
    int64_t last = first + (y->type.dim[axis] - 1) * y->attrs->step.at[axis];
    int64_t begin = 0;
    for (uint32_t k = 0; k < concat->arity; k++) {
        Node *part = concat->operand[k];
        int64_t end = begin + part->type.dim[axis];
        if (first >= begin && last < end) {
            uint32_t rank = y->type.rank;
            int64_t start[MAX_RANK], limit[MAX_RANK];
            memcpy(start, y->attrs->start.at, rank * sizeof *start);
            memcpy(limit, y->attrs->limit.at, rank * sizeof *limit);
            start[axis] = first - begin;
            limit[axis] = last - begin + 1;
            return append(
                graph, OP_slice, &part, 1,
                (Attrs){.start = {rank, start}, .limit = {rank, limit}, .step = y->attrs->step});
        }
        begin = end;
    }
    return NULL;
}

/// A slice that takes away just what a pad below it had added.
static Node *slice_of_pad(Graph *graph, Node *y) {
    Node *padded = y->operand[0];
    if (padded->op != OP_pad || !type_same_shape(&y->type, &padded->operand[0]->type))
        return NULL;
    for (int i = 0; i < y->type.rank; i++) {
        if (y->attrs->start.at[i] != padded->attrs->low.at[i] ||
            (y->attrs->step.at[i] != 1 && y->type.dim[i] != 1))
            return NULL;
    }
    (void)graph;
    return padded->operand[0];
}

static Node *pad_of_pad(Graph *graph, Node *y) {
    Node *inner = y->operand[0];
    if (inner->op != OP_pad || inner->attrs->value != y->attrs->value || !is_layout_plain(inner))
        return NULL;
    uint32_t rank = y->type.rank;
    int64_t low[MAX_RANK], high[MAX_RANK];
    for (uint32_t i = 0; i < rank; i++) {
        low[i] = inner->attrs->low.at[i] + y->attrs->low.at[i];
        high[i] = inner->attrs->high.at[i] + y->attrs->high.at[i];
    }
    return append(graph, OP_pad, inner->operand, 1,
                  (Attrs){.low = {rank, low}, .high = {rank, high}, .value = y->attrs->value});
}

static Node *concat_of_one(Graph *graph, Node *y) {
    (void)graph;
    return y->arity == 1 ? y->operand[0] : NULL;
}

// ---- reductions ---------------------------------------------------------------------------------

/// A reduction over axes of extent 1 chooses nothing and adds nothing.
static Node *reduce_nothing(Graph *graph, Node *y) {
    Node *x = y->operand[0];
    Ints axes = y->attrs->axes;
    for (uint32_t i = 0; i < axes.count; i++) {
        if (x->type.dim[axes.at[i]] != 1)
            return NULL;
    }
    if (!is_layout_plain(x))
        return NULL;
    return type_same_shape(&x->type, &y->type) ? x
                                               : ir_reshape(graph, x, y->type.dim, y->type.rank);
}

/// The same over fewer axes, where some have extent 1.
static Node *reduce_fewer(Graph *graph, Node *y) {
    Node *x = y->operand[0];
    Ints axes = y->attrs->axes;
    int64_t left[MAX_RANK];
    int count = 0;
    for (uint32_t i = 0; i < axes.count; i++) {
        if (x->type.dim[axes.at[i]] != 1)
            left[count++] = axes.at[i];
    }
    if (count == (int)axes.count || !count)
        return NULL;
    Node *reduced = ir_reduce(graph, y->op, x, left, count, true);
    return ir_reshape(graph, reduced, y->type.dim, y->type.rank);
}

/// The sum of what was repeated n times is n times the sum; rounding.
static Node *sum_of_broadcast(Graph *graph, Node *y) {
    Node *x = y->operand[0];
    Ints axes = y->attrs->axes;
    double c;
    double times = 1;
    if (is_constant(x, &c)) {
        for (uint32_t i = 0; i < axes.count; i++)
            times *= (double)x->type.dim[axes.at[i]];
        return fits(y->type.dtype, c * times) ? constant_like(graph, c * times, y) : NULL;
    }
    if (x->op != OP_broadcast)
        return NULL;
    Node *source = x->operand[0];
    int lead = x->type.rank - source->type.rank;
    int64_t left[MAX_RANK]; // axes of the source that are still summed
    int count = 0;
    for (int i = 0; i < x->type.rank; i++) {
        int64_t own = i < lead ? 1 : source->type.dim[i - lead];
        if (is_reduced(axes, i) && own != x->type.dim[i])
            times *= (double)x->type.dim[i];
        else if (is_reduced(axes, i) && i >= lead)
            left[count++] = i - lead;
    }
    if (times == 1 || (!dtype_is_float(y->type.dtype) && times > INT32_MAX))
        return NULL;
    Node *sum = count ? ir_reduce(graph, OP_sum, source, left, count, true) : source;
    sum = ir_binary(graph, OP_mul, sum, number(graph, times, sum));
    // `sum` has the source's rank and extent 1 on the axes summed; y may still be broadcast on
    // others, and may lack the axes summed: its shape with `keep` is that of x with those axes
    // at 1.
    Type wide = x->type;
    for (uint32_t i = 0; i < axes.count; i++)
        wide.dim[axes.at[i]] = 1;
    if (!type_same_shape(&sum->type, &wide))
        sum = ir_broadcast(graph, sum, wide.dim, wide.rank);
    return type_same_shape(&sum->type, &y->type)
               ? sum
               : ir_reshape(graph, sum, y->type.dim, y->type.rank);
}

/// sum(-x) = -sum(x)    sum(x c) = sum(x) c and sum(x / c) = sum(x) / c where c is the same along
/// what is summed; rounding, and a sum near the largest number overflows earlier or later
static Node *sum_of_factor(Graph *graph, Node *y) {
    Node *x = y->operand[0];
    Ints axes = y->attrs->axes;
    if (!dtype_is_float(y->type.dtype) || !is_layout_plain(x))
        return NULL;
    if (x->op == OP_neg)
        return ir_unary(graph, OP_neg,
                        ir_reduce(graph, OP_sum, x->operand[0], axes.at, (int)axes.count,
                                  y->type.rank == x->type.rank));
    if (x->op != OP_mul && x->op != OP_div)
        return NULL;
    for (int k = x->op == OP_div; k < 2; k++) {
        Node *factor = x->operand[k], *rest = x->operand[1 - k];
        int lead = x->type.rank - factor->type.rank;
        bool same = type_same_shape(&rest->type, &x->type);
        for (uint32_t i = 0; i < axes.count; i++)
            same = same && (axes.at[i] < lead || factor->type.dim[axes.at[i] - lead] == 1);
        if (!same)
            continue;
        Node *sum = ir_reduce(graph, OP_sum, rest, axes.at, (int)axes.count, true);
        Node *product = ir_binary(graph, x->op, sum, factor);
        return type_same_shape(&product->type, &y->type)
                   ? product
                   : ir_reshape(graph, product, y->type.dim, y->type.rank);
    }
    return NULL;
}

/// The largest of what was repeated.
static Node *largest_of_constant(Graph *graph, Node *y) {
    double c;
    return is_constant(y->operand[0], &c) ? constant_like(graph, c, y) : NULL;
}

// ---- contractions -------------------------------------------------------------------------------

/// An einsum names the axes of its operands, so it needs none of them transposed.
static Node *einsum_of_transpose(Graph *graph, Node *y) {
    char spec[4 * MAX_RANK + 8];
    Node *operand[2] = {y->operand[0], y->operand[1]};
    bool any = false;
    snprintf(spec, sizeof spec, "%s", y->attrs->spec);
    char *letters = spec;
    for (int k = 0; k < 2; k++) {
        Node *x = operand[k];
        if (x->op == OP_transpose && is_layout_plain(x)) {
            char before[MAX_RANK];
            memcpy(before, letters, x->type.rank);
            for (int i = 0; i < x->type.rank; i++)
                letters[x->attrs->perm.at[i]] = before[i];
            operand[k] = x->operand[0];
            any = true;
        }
        letters += x->type.rank + 1; // and the comma
    }
    return any ? ir_einsum(graph, operand[0], operand[1], spec) : NULL;
}

// ---- the table ----------------------------------------------------------------------------------

typedef struct RuleRow {
    Op op; // OP_COUNT: every op
    SimplifyRule *rule;
} RuleRow;

static const RuleRow rules[] = {
    {OP_COUNT, fold_constants},
    {OP_COUNT, drop_broadcasts},
    {OP_add, simplify_add},
    {OP_sub, simplify_sub},
    {OP_mul, simplify_mul},
    {OP_mul, join_factors},
    {OP_div, simplify_div},
    {OP_pow, simplify_pow},
    {OP_neg, simplify_neg},
    {OP_not, simplify_not},
    {OP_max, same_operands},
    {OP_min, same_operands},
    {OP_and, same_operands},
    {OP_or, same_operands},
    {OP_and, simplify_and},
    {OP_or, simplify_or},
    {OP_where, simplify_where},
    {OP_cast, same_cast},
    {OP_stop_gradient, first_operand},
    {OP_scale_gradient, first_operand},
    {OP_reshape, same_view},
    {OP_reshape, view_of_constant},
    {OP_reshape, view_twice},
    {OP_broadcast, same_view},
    {OP_broadcast, view_of_constant},
    {OP_broadcast, view_twice},
    {OP_broadcast, broadcast_of_same_count},
    {OP_transpose, view_of_constant},
    {OP_transpose, simplify_transpose},
    {OP_slice, same_view},
    {OP_slice, view_of_constant},
    {OP_slice, slice_of_slice},
    {OP_slice, slice_of_concat},
    {OP_slice, slice_of_pad},
    {OP_pad, same_view},
    {OP_pad, pad_of_constant},
    {OP_pad, pad_of_pad},
    {OP_reverse, view_of_constant},
    {OP_reverse, empty_reverse},
    {OP_reverse, reverse_twice},
    {OP_concat, concat_of_one},
    {OP_iota, iota_of_one},
    {OP_einsum, einsum_of_transpose},
    {OP_sum, reduce_nothing},
    {OP_sum, reduce_fewer},
    {OP_sum, sum_of_broadcast},
    {OP_sum, sum_of_factor},
    {OP_reduce_max, reduce_nothing},
    {OP_reduce_max, reduce_fewer},
    {OP_reduce_max, largest_of_constant},
    {OP_reduce_min, reduce_nothing},
    {OP_reduce_min, reduce_fewer},
    {OP_reduce_min, largest_of_constant},
};

/// What y becomes by the first rule that applies; y itself if none does.
static Node *apply_rules(Graph *graph, Node *y) {
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        if (rules[i].op != OP_COUNT && rules[i].op != y->op)
            continue;
        Node *better = rules[i].rule(graph, y);
        if (better)
            return better;
    }
    return y;
}

static bool sweep(Graph *graph, Arena *scratch) {
    Rewrite rw = rewrite_begin(graph, scratch);
    for (size_t i = 0; i < rw.old_count; i++) {
        Node *y = rewrite_next(&rw, i);
        rewrite_place(&rw, y, op_has(y->op, EFFECT) ? y : apply_rules(graph, y));
    }
    return rewrite_end(&rw);
}

/// Replaces nodes by cheaper ones that equal them, until no rule applies; the bound on the sweeps
/// only guards against two rules that undo each other. Requires: topological order, no `grad` nodes
/// (else it changes nothing).  Keeps: order.
bool pass_simplify(Graph *graph, PassContext *ctx) {
    bool changed = false;
    if (graph_has_grad(graph))
        return false;
    for (int i = 0; i < 64 && sweep(graph, ctx->scratch); i++)
        changed = true;
    return changed;
}
