// passes/grad_rules.c -- one gradient rule for each name in the gradient column of ops.def.
//
// In the comments y is the node, dy its cotangent, a, b, x its operands and da, db, dx what is
// added to theirs. Sums over broadcast axes are grad_accumulate()'s business. See grad.h for
// conventions.
#include <math.h>
#include <string.h>

#include "passes/grad.h"
#include "support/diag.h"

// ---- what rules share ---------------------------------------------------------------------------

static Node *append(GradContext *ctx, Op op, Node *const *operand, uint32_t arity, Attrs attrs) {
    return graph_append(ctx->graph, op, operand, arity, &attrs, ctx->graph->cursor);
}

static Node *unary(GradContext *ctx, Op op, Node *x) {
    return ir_unary(ctx->graph, op, x);
}

static Node *add(GradContext *ctx, Node *a, Node *b) {
    return ir_binary(ctx->graph, OP_add, a, b);
}

static Node *sub(GradContext *ctx, Node *a, Node *b) {
    return ir_binary(ctx->graph, OP_sub, a, b);
}

static Node *mul(GradContext *ctx, Node *a, Node *b) {
    return ir_binary(ctx->graph, OP_mul, a, b);
}

static Node *quotient(GradContext *ctx, Node *a, Node *b) {
    return ir_binary(ctx->graph, OP_div, a, b);
}

/// A constant of rank 0 and the dtype of `like`: it broadcasts.
static Node *number(GradContext *ctx, double value, const Node *like) {
    return ir_const(ctx->graph, value, like->type.dtype);
}

static Node *select(GradContext *ctx, Node *condition, Node *a, Node *b) {
    return ir_where(ctx->graph, condition, a, b);
}

/// dy op slope, see selected_apply().
static Node *apply(GradContext *ctx, Op op, Node *dy, Node *slope) {
    return selected_apply(ctx->graph, op, dy, slope);
}

/// dy times the slope of an elementwise op
static Node *scaled(GradContext *ctx, Node *dy, Node *slope) {
    return apply(ctx, OP_mul, dy, slope);
}

static Node *minus(GradContext *ctx, Node *dy) {
    return apply(ctx, OP_neg, dy, NULL);
}

static Node *is_zero(GradContext *ctx, Node *x) {
    return ir_binary(ctx->graph, OP_eq, x, number(ctx, 0, x));
}

static Node *reshape_as(GradContext *ctx, Node *x, const Type *type) {
    return type_same_shape(&x->type, type) ? x : ir_reshape(ctx->graph, x, type->dim, type->rank);
}

/// `type` with extent 1 along `axes`: what a reduction over them gives with `keep`.
static Type kept_type(const Type *type, Ints axes) {
    Type kept = *type;
    for (uint32_t i = 0; i < axes.count; i++)
        kept.dim[axes.at[i]] = 1;
    return kept;
}

static int64_t count_along(const Type *type, Ints axes) {
    int64_t count = 1;
    for (uint32_t i = 0; i < axes.count; i++)
        count *= type->dim[axes.at[i]];
    return count;
}

static Node *zeros(GradContext *ctx, const Type *type) {
    return ir_full(ctx->graph, 0.0, type);
}

// ---- no derivative ------------------------------------------------------------------------------

static void grad_none(GradContext *ctx, Node *y, Node *dy) {
    (void)ctx, (void)y, (void)dy;
}

static void grad_never(GradContext *ctx, Node *y, Node *dy) {
    (void)ctx, (void)dy;
    kdc_bug("the gradient of %s was asked for", op_info[y->op].name);
}

// ---- elementwise, one operand -------------------------------------------------------------------

static void grad_neg(GradContext *ctx, Node *y, Node *dy) {
    grad_accumulate(ctx, y->operand[0], minus(ctx, dy));
}

/// da = dy where a > 0, -dy where a < 0, else 0
static void grad_abs(GradContext *ctx, Node *y, Node *dy) {
    Node *a = y->operand[0];
    Node *zero = number(ctx, 0, a);
    Node *above = ir_binary(ctx->graph, OP_lt, zero, a);
    Node *below = ir_binary(ctx->graph, OP_lt, a, zero);
    Node *left = select(ctx, below, minus(ctx, dy), zero);
    grad_accumulate(ctx, a, select(ctx, above, dy, left));
}

/// da = dy y
static void grad_exp(GradContext *ctx, Node *y, Node *dy) {
    grad_accumulate(ctx, y->operand[0], scaled(ctx, dy, y));
}

/// da = dy / a
static void grad_log(GradContext *ctx, Node *y, Node *dy) {
    Node *a = y->operand[0];
    grad_accumulate(ctx, a, apply(ctx, OP_div, dy, a));
}

/// da = dy / (1 + a)
static void grad_log1p(GradContext *ctx, Node *y, Node *dy) {
    Node *a = y->operand[0];
    grad_accumulate(ctx, a, apply(ctx, OP_div, dy, add(ctx, number(ctx, 1, a), a)));
}

/// da = dy exp(a). Not y + 1, which cancels where y is near -1.
static void grad_expm1(GradContext *ctx, Node *y, Node *dy) {
    Node *a = y->operand[0];
    grad_accumulate(ctx, a, scaled(ctx, dy, unary(ctx, OP_exp, a)));
}

/// da = dy / (2 y), and 0 where y = 0
static void grad_sqrt(GradContext *ctx, Node *y, Node *dy) {
    Node *zero = is_zero(ctx, y);
    Node *safe = select(ctx, zero, number(ctx, 1, y), y);
    Node *half = scaled(ctx, dy, number(ctx, 0.5, dy));
    grad_accumulate(ctx, y->operand[0],
                    select(ctx, zero, number(ctx, 0, dy), apply(ctx, OP_div, half, safe)));
}

/// da = -dy y / (2 a)
static void grad_rsqrt(GradContext *ctx, Node *y, Node *dy) {
    Node *a = y->operand[0];
    Node *half = scaled(ctx, dy, number(ctx, -0.5, dy));
    grad_accumulate(ctx, a, scaled(ctx, half, quotient(ctx, y, a)));
}

/// da = dy (1 - y^2)
static void grad_tanh(GradContext *ctx, Node *y, Node *dy) {
    Node *slope = sub(ctx, number(ctx, 1, y), mul(ctx, y, y));
    grad_accumulate(ctx, y->operand[0], scaled(ctx, dy, slope));
}

/// da = dy y (1 - y)
static void grad_sigmoid(GradContext *ctx, Node *y, Node *dy) {
    Node *slope = mul(ctx, y, sub(ctx, number(ctx, 1, y), y));
    grad_accumulate(ctx, y->operand[0], scaled(ctx, dy, slope));
}

/// da = dy 2 / sqrt(pi) exp(-a^2)
static void grad_erf(GradContext *ctx, Node *y, Node *dy) {
    Node *a = y->operand[0];
    Node *bell = unary(ctx, OP_exp, unary(ctx, OP_neg, mul(ctx, a, a)));
    Node *slope = mul(ctx, number(ctx, 2 / sqrt(M_PI), a), bell);
    grad_accumulate(ctx, a, scaled(ctx, dy, slope));
}

static void grad_sin(GradContext *ctx, Node *y, Node *dy) {
    Node *a = y->operand[0];
    grad_accumulate(ctx, a, scaled(ctx, dy, unary(ctx, OP_cos, a)));
}

static void grad_cos(GradContext *ctx, Node *y, Node *dy) {
    Node *a = y->operand[0];
    grad_accumulate(ctx, a, minus(ctx, scaled(ctx, dy, unary(ctx, OP_sin, a))));
}

/// Between floats only: an integer operand is never wanted.
static void grad_cast(GradContext *ctx, Node *y, Node *dy) {
    Node *a = y->operand[0];
    grad_accumulate(ctx, a, ir_cast(ctx->graph, dy, a->type.dtype));
}

/// y = x, but dx = dy factor. The factor is a setting of the derivative and has none itself.
static void grad_scale_gradient(GradContext *ctx, Node *y, Node *dy) {
    grad_accumulate(ctx, y->operand[0], scaled(ctx, dy, y->operand[1]));
}

// ---- elementwise, several operands --------------------------------------------------------------

static void grad_add(GradContext *ctx, Node *y, Node *dy) {
    grad_accumulate(ctx, y->operand[0], dy);
    grad_accumulate(ctx, y->operand[1], dy);
}

static void grad_sub(GradContext *ctx, Node *y, Node *dy) {
    grad_accumulate(ctx, y->operand[0], dy);
    if (grad_wanted(ctx, y->operand[1]))
        grad_accumulate(ctx, y->operand[1], minus(ctx, dy));
}

/// da = dy b    db = dy a
static void grad_mul(GradContext *ctx, Node *y, Node *dy) {
    Node *a = y->operand[0];
    Node *b = y->operand[1];
    if (grad_wanted(ctx, a))
        grad_accumulate(ctx, a, scaled(ctx, dy, b));
    if (grad_wanted(ctx, b))
        grad_accumulate(ctx, b, scaled(ctx, dy, a));
}

/// da = dy / b    db = -(dy / b) y
static void grad_div(GradContext *ctx, Node *y, Node *dy) {
    Node *b = y->operand[1];
    Node *da = apply(ctx, OP_div, dy, b);
    grad_accumulate(ctx, y->operand[0], da);
    if (grad_wanted(ctx, b))
        grad_accumulate(ctx, b, minus(ctx, scaled(ctx, da, y)));
}

/// Whether every element of x is the same constant, seen through index maps and casts.
static bool is_constant(const Node *x, double *value) {
    while (x->op == OP_broadcast || x->op == OP_reshape || x->op == OP_transpose ||
           (x->op == OP_cast && dtype_is_float(x->type.dtype)))
        x = x->operand[0];
    *value = x->attrs->value;
    return x->op == OP_const;
}

/// y = a^c: da = dy c a^(c-1), where 0 < c < 1 and a = 0 as for sqrt: 0.
static void grad_pow_constant(GradContext *ctx, Node *a, double c, Node *dy) {
    if (c == 0)
        return;
    if (c == 1) {
        grad_accumulate(ctx, a, dy);
        return;
    }
    Node *times_c = scaled(ctx, dy, number(ctx, c, dy));
    if (c == 2) {
        grad_accumulate(ctx, a, scaled(ctx, times_c, a));
        return;
    }
    Node *exponent = number(ctx, c - 1, a);
    if (!(c > 0 && c < 1)) {
        grad_accumulate(ctx, a, scaled(ctx, times_c, ir_binary(ctx->graph, OP_pow, a, exponent)));
        return;
    }
    Node *zero = is_zero(ctx, a);
    Node *safe = select(ctx, zero, number(ctx, 1, a), a);
    Node *slope = ir_binary(ctx->graph, OP_pow, safe, exponent);
    grad_accumulate(ctx, a, select(ctx, zero, number(ctx, 0, dy), scaled(ctx, times_c, slope)));
}

/// y = a^b: da = dy b a^(b-1), 0 where a = 0 and b < 1; db = dy y log a, 0 where a <= 0.
static void grad_pow(GradContext *ctx, Node *y, Node *dy) {
    Graph *graph = ctx->graph;
    Node *a = y->operand[0];
    Node *b = y->operand[1];
    double c;
    if (is_constant(b, &c) && !grad_wanted(ctx, b)) {
        grad_pow_constant(ctx, a, c, dy);
        return;
    }
    Node *zero = number(ctx, 0, y);
    Node *one = number(ctx, 1, y);
    if (grad_wanted(ctx, a)) {
        Node *steep = ir_binary(graph, OP_and, is_zero(ctx, a), ir_binary(graph, OP_lt, b, one));
        Node *safe = select(ctx, steep, one, a);
        Node *slope = mul(ctx, b, ir_binary(graph, OP_pow, safe, sub(ctx, b, one)));
        grad_accumulate(ctx, a, select(ctx, steep, zero, scaled(ctx, dy, slope)));
    }
    if (grad_wanted(ctx, b)) {
        Node *above = ir_binary(graph, OP_lt, zero, a);
        Node *safe = select(ctx, above, a, one);
        Node *slope = mul(ctx, y, unary(ctx, OP_log, safe));
        grad_accumulate(ctx, b, select(ctx, above, scaled(ctx, dy, slope), zero));
    }
}

/// dy goes to a where the condition holds, else to b.
static void pass_to_either(GradContext *ctx, Node *condition, Node *a, Node *b, Node *dy) {
    Node *zero = number(ctx, 0, dy);
    if (grad_wanted(ctx, a))
        grad_accumulate(ctx, a, select(ctx, condition, dy, zero));
    if (grad_wanted(ctx, b))
        grad_accumulate(ctx, b, select(ctx, condition, zero, dy));
}

static void grad_max(GradContext *ctx, Node *y, Node *dy) {
    Node *a = y->operand[0];
    Node *b = y->operand[1];
    pass_to_either(ctx, ir_binary(ctx->graph, OP_le, b, a), a, b, dy);
}

static void grad_min(GradContext *ctx, Node *y, Node *dy) {
    Node *a = y->operand[0];
    Node *b = y->operand[1];
    pass_to_either(ctx, ir_binary(ctx->graph, OP_le, a, b), a, b, dy);
}

static void grad_where(GradContext *ctx, Node *y, Node *dy) {
    pass_to_either(ctx, y->operand[0], y->operand[1], y->operand[2], dy);
}

// ---- index maps ---------------------------------------------------------------------------------

static void grad_reshape(GradContext *ctx, Node *y, Node *dy) {
    Node *x = y->operand[0];
    grad_accumulate(ctx, x, reshape_as(ctx, dy, &x->type));
}

/// The sum over what was repeated, which grad_accumulate() takes.
static void grad_broadcast(GradContext *ctx, Node *y, Node *dy) {
    grad_accumulate(ctx, y->operand[0], dy);
}

static void grad_transpose(GradContext *ctx, Node *y, Node *dy) {
    int64_t inverse[MAX_RANK];
    for (int i = 0; i < y->type.rank; i++)
        inverse[y->attrs->perm.at[i]] = i;
    grad_accumulate(ctx, y->operand[0], ir_transpose(ctx->graph, dy, inverse));
}

static Node *slice(GradContext *ctx, Node *x, const int64_t *start, const int64_t *limit) {
    static const int64_t ones[MAX_RANK] = {1, 1, 1, 1, 1, 1, 1, 1};
    uint32_t rank = x->type.rank;
    return append(ctx, OP_slice, &x, 1,
                  (Attrs){.start = {rank, start}, .limit = {rank, limit}, .step = {rank, ones}});
}

static Node *pad(GradContext *ctx, Node *x, const int64_t *low, const int64_t *high) {
    bool any = false;
    uint32_t rank = x->type.rank;
    for (uint32_t i = 0; i < rank; i++)
        any |= low[i] || high[i];
    return any ? append(ctx, OP_pad, &x, 1, (Attrs){.low = {rank, low}, .high = {rank, high}}) : x;
}

/// x with step - 1 zeros after each index along `axis`: as [before, n, 1, after] padded on the axis
/// of extent 1 to [before, n, step, after].
static Node *spread(GradContext *ctx, Node *x, int axis, int64_t step) {
    Type wide = x->type;
    int64_t n = x->type.dim[axis];
    int64_t before = 1;
    for (int i = 0; i < axis; i++)
        before *= x->type.dim[i];
    int64_t after = type_count(&x->type) / before / n;
    wide.dim[axis] = n * step;
    Node *column = ir_reshape(ctx->graph, x, (int64_t[]){before, n, 1, after}, 4);
    Node *padded = pad(ctx, column, (int64_t[]){0, 0, 0, 0}, (int64_t[]){0, 0, step - 1, 0});
    return ir_reshape(ctx->graph, padded, wide.dim, wide.rank);
}

/// dx = dy at start, start + step, ..; zeros between and around
static void grad_slice(GradContext *ctx, Node *y, Node *dy) {
    Node *x = y->operand[0];
    const Attrs *at = y->attrs;
    int64_t high[MAX_RANK];
    int64_t none[MAX_RANK] = {0};
    int64_t fits[MAX_RANK];
    bool too_long = false;
    for (int i = 0; i < x->type.rank; i++) {
        if (at->step.at[i] != 1 && dy->type.dim[i] != 1)
            dy = spread(ctx, dy, i, at->step.at[i]);
    }
    for (int i = 0; i < x->type.rank; i++) { // the zeros after the last index may go beyond x
        int64_t room = x->type.dim[i] - at->start.at[i];
        fits[i] = dy->type.dim[i] < room ? dy->type.dim[i] : room;
        too_long |= dy->type.dim[i] > room;
        high[i] = room - fits[i];
    }
    if (too_long)
        dy = slice(ctx, dy, none, fits);
    grad_accumulate(ctx, x, pad(ctx, dy, at->start.at, high));
}

static void grad_pad(GradContext *ctx, Node *y, Node *dy) {
    Node *x = y->operand[0];
    int64_t limit[MAX_RANK];
    for (int i = 0; i < x->type.rank; i++)
        limit[i] = y->attrs->low.at[i] + x->type.dim[i];
    grad_accumulate(ctx, x, slice(ctx, dy, y->attrs->low.at, limit));
}

static void grad_reverse(GradContext *ctx, Node *y, Node *dy) {
    grad_accumulate(ctx, y->operand[0],
                    append(ctx, OP_reverse, &dy, 1, (Attrs){.axes = y->attrs->axes}));
}

static void grad_concat(GradContext *ctx, Node *y, Node *dy) {
    int64_t axis = y->attrs->axis;
    int64_t start[MAX_RANK] = {0};
    int64_t limit[MAX_RANK];
    memcpy(limit, y->type.dim, sizeof limit);
    for (uint32_t k = 0; k < y->arity; k++) {
        Node *x = y->operand[k];
        limit[axis] = start[axis] + x->type.dim[axis];
        if (grad_wanted(ctx, x))
            grad_accumulate(ctx, x, slice(ctx, dy, start, limit));
        start[axis] = limit[axis];
    }
}

static void grad_windows(GradContext *ctx, Node *y, Node *dy) {
    Node *x = y->operand[0];
    Attrs attrs = *y->attrs;
    attrs.shape = (Ints){x->type.rank, x->type.dim};
    attrs.value = 0;
    grad_accumulate(ctx, x, append(ctx, OP_fold, &dy, 1, attrs));
}

static void grad_fold(GradContext *ctx, Node *y, Node *dy) {
    Attrs attrs = *y->attrs;
    attrs.shape = (Ints){0};
    grad_accumulate(ctx, y->operand[0], append(ctx, OP_windows, &dy, 1, attrs));
}

static Node *rows_at(GradContext *ctx, Op op, Node *x, Node *indices, Node *rows, int64_t axis) {
    return append(ctx, op, (Node *[]){x, indices, rows}, rows ? 3 : 2, (Attrs){.axis = axis});
}

/// dx = zeros with dy added at the rows that were read; take and put_add take an index out of range
/// for the nearest row alike.
static void grad_take(GradContext *ctx, Node *y, Node *dy) {
    Node *x = y->operand[0];
    int64_t axis = y->attrs->axis;
    Node *sum = rows_at(ctx, OP_put_add, zeros(ctx, &x->type), y->operand[1], dy, axis);
    grad_accumulate(ctx, x, sum);
}

/// dx = dy without the rows written; drows = dy's rows, where a row was not written over later.
static void grad_put(GradContext *ctx, Node *y, Node *dy) {
    Graph *graph = ctx->graph;
    Node *x = y->operand[0];
    Node *indices = y->operand[1];
    Node *rows = y->operand[2];
    int64_t axis = y->attrs->axis;
    if (grad_wanted(ctx, x))
        grad_accumulate(ctx, x, rows_at(ctx, OP_put, dy, indices, zeros(ctx, &rows->type), axis));
    if (!grad_wanted(ctx, rows))
        return;
    // Which row came last at each place: put the rows' numbers in the same way, and look.
    int64_t count = type_count(&indices->type);
    Node *order = ir_iota(graph, 0, &count, 1, DT_I32);
    Node *flat = ir_reshape(graph, indices, &count, 1);
    Type places = {.dtype = DT_I32, .rank = 1, .dim = {x->type.dim[axis]}};
    Node *last = rows_at(ctx, OP_put, zeros(ctx, &places), flat, order, 0);
    Node *stays = ir_binary(graph, OP_eq, rows_at(ctx, OP_take, last, flat, NULL, 0), order);
    Type aligned = {.dtype = DT_BOOL, .rank = rows->type.rank};
    for (int i = 0; i < aligned.rank; i++) // extent 1 but for the axes of the indices
        aligned.dim[i] = i < axis || i >= axis + indices->type.rank ? 1 : rows->type.dim[i];
    stays = reshape_as(ctx, stays, &aligned);
    Node *taken = rows_at(ctx, OP_take, dy, indices, NULL, axis);
    grad_accumulate(ctx, rows, select(ctx, stays, taken, number(ctx, 0, dy)));
}

static void grad_put_add(GradContext *ctx, Node *y, Node *dy) {
    Node *rows = y->operand[2];
    grad_accumulate(ctx, y->operand[0], dy);
    if (grad_wanted(ctx, rows))
        grad_accumulate(ctx, rows, rows_at(ctx, OP_take, dy, y->operand[1], NULL, y->attrs->axis));
}

// ---- reductions ---------------------------------------------------------------------------------

/// A value of the reduction's shape against the operand's axes: extent 1 where they were reduced.
static Node *keep_axes(GradContext *ctx, const Node *y, Node *value) {
    Type kept = kept_type(&y->operand[0]->type, y->attrs->axes);
    return reshape_as(ctx, value, &kept);
}

static void grad_sum(GradContext *ctx, Node *y, Node *dy) {
    Node *x = y->operand[0];
    Node *kept = keep_axes(ctx, y, dy);
    grad_accumulate(ctx, x, ir_broadcast(ctx->graph, kept, x->type.dim, x->type.rank));
}

/// The row-major index within the reduced axes, of extent 1 along the others: what argmax counts.
static Node *index_within(GradContext *ctx, const Type *type, Ints axes) {
    Graph *graph = ctx->graph;
    Node *index = NULL;
    int64_t stride = 1;
    for (uint32_t i = axes.count; i-- > 0;) {
        int axis = (int)axes.at[i];
        Type column = {.rank = type->rank, .dim = {1, 1, 1, 1, 1, 1, 1, 1}};
        column.dim[axis] = type->dim[axis];
        Node *part = ir_iota(graph, axis, column.dim, column.rank, DT_I32);
        if (stride != 1)
            part = mul(ctx, part, number(ctx, (double)stride, part));
        index = index ? add(ctx, part, index) : part;
        stride *= type->dim[axis];
    }
    return index;
}

/// dx = dy at the first of the winners, else 0
static void pass_to_winner(GradContext *ctx, Node *y, Node *dy, Op arg) {
    Node *x = y->operand[0];
    Ints axes = y->attrs->axes;
    if (!axes.count) { // a reduction over nothing
        grad_accumulate(ctx, x, dy);
        return;
    }
    Node *winner = append(ctx, arg, &x, 1, (Attrs){.axes = axes, .keep = true});
    Node *wins = ir_binary(ctx->graph, OP_eq, index_within(ctx, &x->type, axes), winner);
    grad_accumulate(ctx, x, select(ctx, wins, keep_axes(ctx, y, dy), number(ctx, 0, dy)));
}

static void grad_reduce_max(GradContext *ctx, Node *y, Node *dy) {
    pass_to_winner(ctx, y, dy, OP_argmax);
}

static void grad_reduce_min(GradContext *ctx, Node *y, Node *dy) {
    pass_to_winner(ctx, y, dy, OP_argmin);
}

/// y = sum (x - m)^2 / (n - correction), m the mean of n elements: dx = dy 2 / (n - correction) (x
/// - m). The mean's own share vanishes, since the deviations add up to 0.
static void grad_variance(GradContext *ctx, Node *y, Node *dy) {
    Node *x = y->operand[0];
    Ints axes = y->attrs->axes;
    double n = (double)count_along(&x->type, axes);
    Node *sum = ir_reduce(ctx->graph, OP_sum, x, axes.at, (int)axes.count, true);
    Node *mean = quotient(ctx, sum, number(ctx, n, x));
    Node *scale = number(ctx, 2 / (n - (double)y->attrs->correction), x);
    Node *scaled = mul(ctx, keep_axes(ctx, y, dy), scale);
    grad_accumulate(ctx, x, mul(ctx, scaled, sub(ctx, x, mean)));
}

// ---- contractions -------------------------------------------------------------------------------

/// The cotangent of an einsum's operand x with letters `own`: dy (letters `out`) contracted with
/// the other operand. A letter that only x has was summed: its cotangent is repeated along it.
static void einsum_operand(GradContext *ctx, Node *x, const char *own, const char *out, Node *dy,
                           Node *other, const char *others) {
    char spec[4 * MAX_RANK + 8];
    char shared[MAX_RANK + 1];
    Type kept = x->type; // extent 1 along letters that only x has
    size_t count = 0;
    if (!grad_wanted(ctx, x))
        return;
    for (int i = 0; own[i]; i++) {
        if (strchr(out, own[i]) || strchr(others, own[i]))
            shared[count++] = own[i];
        else
            kept.dim[i] = 1;
    }
    shared[count] = '\0';
    snprintf(spec, sizeof spec, "%s,%s->%s", out, others, shared);
    Node *dx = reshape_as(ctx, ir_einsum(ctx->graph, dy, other, spec), &kept);
    if (!type_same_shape(&dx->type, &x->type))
        dx = ir_broadcast(ctx->graph, dx, x->type.dim, x->type.rank);
    grad_accumulate(ctx, x, dx);
}

static void grad_einsum(GradContext *ctx, Node *y, Node *dy) {
    Node *a = y->operand[0];
    Node *b = y->operand[1];
    char in_a[MAX_RANK + 1] = {0};
    char in_b[MAX_RANK + 1] = {0};
    memcpy(in_a, y->attrs->spec, a->type.rank);
    memcpy(in_b, y->attrs->spec + a->type.rank + 1, b->type.rank);
    const char *out = strstr(y->attrs->spec, "->") + 2;
    einsum_operand(ctx, a, in_a, out, dy, b, in_b);
    einsum_operand(ctx, b, in_b, out, dy, a, in_a);
}

/// conv2d and its two adjoints, each linear in both operands, are each other's derivatives. `like`
/// is the node whose geometry they share; `shape` the result's, where it is not determined. `fill`
/// says that some channels do not count, and `split` makes parts, only after differentiation.
static Node *convolution(GradContext *ctx, Op op, const Node *like, Node *a, Node *b,
                         const Node *shape) {
    Attrs attrs = *like->attrs;
    kdc_assert(!attrs.live && !attrs.parts);
    attrs.shape = shape ? (Ints){shape->type.rank, shape->type.dim} : (Ints){0};
    return append(ctx, op, (Node *[]){a, b}, 2, attrs);
}

static void grad_conv2d(GradContext *ctx, Node *y, Node *dy) {
    Node *x = y->operand[0];
    Node *w = y->operand[1];
    if (grad_wanted(ctx, x))
        grad_accumulate(ctx, x, convolution(ctx, OP_conv2d_input, y, dy, w, x));
    if (grad_wanted(ctx, w))
        grad_accumulate(ctx, w, convolution(ctx, OP_conv2d_weight, y, x, dy, w));
}

/// y = conv2d_input(g, w)
static void grad_conv2d_input(GradContext *ctx, Node *y, Node *dy) {
    Node *g = y->operand[0];
    Node *w = y->operand[1];
    if (grad_wanted(ctx, g))
        grad_accumulate(ctx, g, convolution(ctx, OP_conv2d, y, dy, w, NULL));
    if (grad_wanted(ctx, w))
        grad_accumulate(ctx, w, convolution(ctx, OP_conv2d_weight, y, dy, g, w));
}

/// y = conv2d_weight(x, g)
static void grad_conv2d_weight(GradContext *ctx, Node *y, Node *dy) {
    Node *x = y->operand[0];
    Node *g = y->operand[1];
    if (grad_wanted(ctx, x))
        grad_accumulate(ctx, x, convolution(ctx, OP_conv2d_input, y, g, dy, x));
    if (grad_wanted(ctx, g))
        grad_accumulate(ctx, g, convolution(ctx, OP_conv2d, y, x, dy, NULL));
}

// ---- decompositions -----------------------------------------------------------------------------
//
// The derivative of a vector has a share along each other vector, by the distance of their values.
// Where that is below DEGENERATE of the largest value it says nothing about either vector, only
// about the plane of both, and the share is left out; likewise the share along what has no value at
// all. The rules need all vectors, also where y holds the largest only.

static const double DEGENERATE = 1e-6;

/// Elements [begin, end) of the last axis.
static Node *columns(GradContext *ctx, Node *x, int64_t begin, int64_t end) {
    int64_t start[MAX_RANK] = {0}, limit[MAX_RANK];
    memcpy(limit, x->type.dim, sizeof limit);
    start[x->type.rank - 1] = begin;
    limit[x->type.rank - 1] = end;
    return slice(ctx, x, start, limit);
}

/// Rows [0, count) of the last axis but one.
static Node *first_rows(GradContext *ctx, Node *x, int64_t count) {
    int64_t start[MAX_RANK] = {0}, limit[MAX_RANK];
    memcpy(limit, x->type.dim, sizeof limit);
    limit[x->type.rank - 2] = count;
    return slice(ctx, x, start, limit);
}

/// [.., k, 1] to [.., 1, k]
static Node *lying(GradContext *ctx, Node *x) {
    Type type = x->type;
    type.dim[type.rank - 1] = x->type.dim[type.rank - 2];
    type.dim[type.rank - 2] = 1;
    return reshape_as(ctx, x, &type);
}

/// An einsum over the last two axes, "kx,lx->kl", for each of the axes before.
static Node *product(GradContext *ctx, Node *a, Node *b, const char *spec) {
    char text[3 * MAX_RANK + 8], lead[MAX_RANK + 1];
    int count = a->type.rank - 2;
    for (int i = 0; i < count; i++)
        lead[i] = (char)('A' + i);
    lead[count] = '\0';
    snprintf(text, sizeof text, "%s%.2s,%s%.2s->%s%s", lead, spec, lead, spec + 3, lead, spec + 7);
    return ir_einsum(ctx->graph, a, b, text);
}

/// 1 / x where |x| is above `least`, else 0.
static Node *guarded_inverse(GradContext *ctx, Node *x, Node *least) {
    Node *sound = ir_binary(ctx->graph, OP_lt, least, unary(ctx, OP_abs, x));
    Node *one = number(ctx, 1, x);
    return select(ctx, sound, quotient(ctx, one, select(ctx, sound, x, one)), number(ctx, 0, x));
}

/// All of the rows of which y has the first ones.
static Node *all_rows(GradContext *ctx, Node *y, int64_t count) {
    if (y->attrs->count == count)
        return y;
    return append(ctx, y->op, y->operand, 1, (Attrs){.count = count});
}

/// x = sum of l_j v_j v_j^T, g_k the cotangent of the kept v_k and h_k that of l_k:
///     dx = sum over k of v_k w_k^T, w_k = h_k v_k + sum over j of v_j (v_j g_k) / (l_k - l_j)
/// and, x being taken for symmetric, of that the symmetric part.
static void grad_eigh(GradContext *ctx, Node *y, Node *dy) {
    Node *x = y->operand[0];
    int64_t n = x->type.dim[x->type.rank - 1], count = y->attrs->count;
    Node *all = all_rows(ctx, y, n);
    Node *value = columns(ctx, all, 0, 1), *v = columns(ctx, all, 1, 1 + n);
    Node *kept = first_rows(ctx, value, count), *kept_v = first_rows(ctx, v, count);
    int64_t axis = value->type.rank - 2;
    Node *largest = ir_reduce(ctx->graph, OP_reduce_max, unary(ctx, OP_abs, value), &axis, 1, true);
    Node *least = mul(ctx, unary(ctx, OP_stop_gradient, largest), number(ctx, DEGENERATE, x));
    Node *inverse = guarded_inverse(ctx, sub(ctx, kept, lying(ctx, value)), least);
    Node *along = product(ctx, columns(ctx, dy, 1, 1 + n), v, "kx,lx->kl");
    Node *w = add(ctx, product(ctx, mul(ctx, along, inverse), v, "kl,lx->kx"),
                  mul(ctx, columns(ctx, dy, 0, 1), kept_v));
    Node *both =
        add(ctx, product(ctx, kept_v, w, "kx,ky->xy"), product(ctx, w, kept_v, "kx,ky->xy"));
    grad_accumulate(ctx, x, mul(ctx, both, number(ctx, 0.5, x)));
}

/// One side of a singular value decomposition: its vectors, the kept ones, and their cotangents'
/// shares along all of them.
typedef struct Side {
    Node *v, *kept, *g, *along;
    int64_t extent;
} Side;

static Side side_of(GradContext *ctx, Node *all, Node *dy, int64_t begin, int64_t extent) {
    Side side = {.extent = extent};
    side.v = columns(ctx, all, begin, begin + extent);
    side.kept = first_rows(ctx, side.v, dy->type.dim[dy->type.rank - 2]);
    side.g = columns(ctx, dy, begin, begin + extent);
    side.along = product(ctx, side.g, side.v, "kx,lx->kl");
    return side;
}

/// `shares` of all vectors of a side, and where these do not span it, the rest of the cotangent by
/// the singular value.
static Node *cotangent_of_side(GradContext *ctx, const Side *side, Node *shares, Node *inverse) {
    Node *sum = product(ctx, shares, side->v, "kl,lx->kx");
    if (side->extent == side->v->type.dim[side->v->type.rank - 2])
        return sum;
    Node *rest = sub(ctx, side->g, product(ctx, side->along, side->v, "kl,lx->kx"));
    return add(ctx, sum, mul(ctx, rest, inverse));
}

/// x = sum of s_j u_j v_j^T, g_k and f_k the cotangents of the kept v_k and u_k, h_k that of s_k.
/// With
///     c_kj = (v_j g_k) / (s_k^2 - s_j^2),  d_kj = (u_j f_k) / (s_k^2 - s_j^2)
/// the derivative of v_k along v_j is (s_k u_k^T dx v_j + s_j u_j^T dx v_k) / (s_k^2 - s_j^2), that
/// of u_k along u_j the same of x^T, and beyond the span of the vectors by 1 / s_k:
///     dx = sum over k of u_k r_k^T + l_k v_k^T
///     r_k = h_k v_k + sum over j of (s_k c_kj + s_j d_kj) v_j + (g_k beyond) / s_k
///     l_k =           sum over j of (s_j c_kj + s_k d_kj) u_j + (f_k beyond) / s_k
static void grad_svd(GradContext *ctx, Node *y, Node *dy) {
    Node *x = y->operand[0];
    int rank = x->type.rank;
    int64_t m = x->type.dim[rank - 2], n = x->type.dim[rank - 1], p = m < n ? m : n;
    Node *all = all_rows(ctx, y, p);
    Node *s = columns(ctx, all, 0, 1);
    Side left = side_of(ctx, all, dy, 1, m), right = side_of(ctx, all, dy, 1 + m, n);
    Node *kept = first_rows(ctx, s, y->attrs->count), *other = lying(ctx, s);
    Node *largest = unary(ctx, OP_stop_gradient, first_rows(ctx, s, 1));
    Node *share = number(ctx, DEGENERATE, x);
    Node *least = mul(ctx, mul(ctx, largest, largest), share);
    // s_k^2 - s_j^2 as a product keeps the digits of a small difference.
    Node *distance = mul(ctx, sub(ctx, kept, other), add(ctx, kept, other));
    Node *inverse = guarded_inverse(ctx, distance, least);
    Node *c = mul(ctx, right.along, inverse), *d = mul(ctx, left.along, inverse);
    Node *root = number(ctx, sqrt(DEGENERATE), x);
    Node *beyond = guarded_inverse(ctx, kept, mul(ctx, largest, root));
    Node *r =
        cotangent_of_side(ctx, &right, add(ctx, mul(ctx, kept, c), mul(ctx, other, d)), beyond);
    Node *l =
        cotangent_of_side(ctx, &left, add(ctx, mul(ctx, other, c), mul(ctx, kept, d)), beyond);
    r = add(ctx, r, mul(ctx, columns(ctx, dy, 0, 1), right.kept));
    grad_accumulate(ctx, x,
                    add(ctx, product(ctx, left.kept, r, "kx,ky->xy"),
                        product(ctx, l, right.kept, "kx,ky->xy")));
}

// ---- the table ----------------------------------------------------------------------------------

GradRule *const grad_rules[OP_COUNT] = {
#define OP(name, arity, traits, shape, gradient, lowering, attrs, surface, summary)                \
    [OP_##name] = grad_##gradient,
#include "ir/ops.def"
#undef OP
};

bool grad_passes(Op op) {
    return grad_rules[op] != grad_none && grad_rules[op] != grad_never;
}
