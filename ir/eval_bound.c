// ir/eval_bound.c -- running bounds of rounding errors, one rule per family of ops.
//
// Let a be a computed value and e >= |a - a'| the bound of its distance from the exact a'. Wherever
// an op is a sum of products of its operands, its own rule in double gives the bound: applied to
// magnitudes, op(e_a, |b| + e_b) + op(|a|, e_b) is what the operands' errors can do, and
// gamma(n) op(|a| + e_a, |b| + e_b) what n rounded additions and multiplications in any order can;
// n is what the op makes of ones. Views move the bounds as they move the values. Elementwise
// functions are evaluated in double at the ends of the intervals. What is decided by comparing gets
// an infinite bound where the intervals overlap, unless the choices are equally good.
#include <float.h>
#include <math.h>
#include <string.h>

#include "ir/eval_ops.h"
#include "support/vector_sign.h"

typedef struct Bound {
    const EvalCall *call;
    const Precision *precision;
    double unit, tiny;
    Pool *pool;
    int64_t count; // elements of the result
    double *out;
} Bound;

// ---- magnitudes as tensors of double
// --------------------------------------------------------------

static double *doubles(Bound *b, int64_t count) {
    return pool_alloc(b->pool, count, sizeof(double));
}

static double *values(Bound *b, const Tensor *t) {
    int64_t count = type_count(&t->type);
    double *value = doubles(b, count);
    if (dtype_is_float(t->type.dtype)) {
        b->precision->to_double(value, t->data, count);
    } else {
        for (int64_t i = 0; i < count; i++)
            value[i] = (double)((const int64_t *)t->data)[i];
    }
    return value;
}

static double *bounds(Bound *b, const Tensor *t) {
    int64_t count = type_count(&t->type);
    double *value = doubles(b, count);
    for (int64_t i = 0; i < count; i++)
        value[i] = t->bound ? t->bound[i] : 0;
    return value;
}

// |a| * value_share + e * bound_share, or ones.
static Tensor magnitudes(Bound *b, const Tensor *t, double value_share, double bound_share) {
    Tensor m = {.type = t->type, .data = values(b, t)};
    double *at = m.data;
    int64_t count = type_count(&t->type);
    m.type.dtype = DT_F64;
    for (int64_t i = 0; i < count; i++) {
        double e = t->bound ? t->bound[i] : 0;
        // 0 times an infinite bound is 0: a share that is not asked for
        at[i] = (value_share ? fabs(at[i]) * value_share : 0) + (bound_share ? e * bound_share : 0);
    }
    return m;
}

static Tensor ones(Bound *b, const Tensor *t) {
    Tensor m = {.type = t->type, .data = doubles(b, type_count(&t->type))};
    m.type.dtype = DT_F64;
    for (int64_t i = 0; i < type_count(&t->type); i++)
        ((double *)m.data)[i] = 1;
    return m;
}

// The op itself in double on other operands; fill values count as exact zeros.
static double *apply(Bound *b, const Tensor *const *x) {
    Attrs attrs = *b->call->attrs;
    Tensor y = {.type = b->call->y->type, .data = doubles(b, b->count)};
    EvalCall call = *b->call;
    y.type.dtype = DT_F64;
    attrs.value = 0;
    call.attrs = &attrs;
    call.x = x;
    call.y = &y;
    precision_double.rules[call.op](&call);
    return y.data;
}

static double gamma_of(const Bound *b, double n) {
    double nu = n * b->unit;
    return nu < 1 ? nu / (1 - nu) : INFINITY;
}

static bool exact(const Tensor *t) {
    for (int64_t i = 0; t->bound && i < type_count(&t->type); i++) {
        if (t->bound[i] != 0)
            return false;
    }
    return true;
}

// ---- elementwise
// ----------------------------------------------------------------------------------

// Rounding of an op in units of the result's last place, as compiled code may compute it.
static double rounding_ulps(Op op) {
    switch ((int)op) {
    case OP_neg:
    case OP_abs:
    case OP_sign:
    case OP_floor:
    case OP_stop_gradient:
    case OP_scale_gradient:
    case OP_max:
    case OP_min:
    case OP_where:
    case OP_not:
        return 0;
    case OP_add:
    case OP_sub:
    case OP_mul:
    case OP_div:
    case OP_sqrt:
    case OP_cast:
        return 1;
    case OP_pow:
        return 64; // through log and exp: the error of the exponent counts as often as it is large
    default:
        return 16;
    }
}

static double worst(double bound, double y, double at_end) {
    double distance = fabs(at_end - y);
    return distance <= bound ? bound : isnan(distance) ? INFINITY : distance;
}

// At the ends of [a - e, a + e]; good for monotone functions, and for those of slope at most 1.
static void bound_unary(Bound *b) {
    const Tensor *x = b->call->x[0];
    Tensor low = {.type = x->type, .data = values(b, x)}, mid = low, high = low;
    double *e = bounds(b, x);
    low.type.dtype = mid.type.dtype = high.type.dtype = DT_F64;
    mid.data = values(b, x);
    high.data = values(b, x);
    for (int64_t i = 0; i < b->count; i++) {
        ((double *)low.data)[i] -= e[i];
        ((double *)high.data)[i] += e[i];
    }
    const double *y_low = apply(b, (const Tensor *[]){&low});
    const double *y = apply(b, (const Tensor *[]){&mid});
    const double *y_high = apply(b, (const Tensor *[]){&high});
    Op op = b->call->op;
    bool slope_one = op == OP_sin || op == OP_cos || op == OP_abs;
    for (int64_t i = 0; i < b->count; i++) {
        double moved = e[i] == 0   ? 0
                       : slope_one ? e[i]
                                   : worst(worst(0, y[i], y_low[i]), y[i], y_high[i]);
        b->out[i] = moved + rounding_ulps(op) * b->unit * fabs(y[i]);
    }
    if (op == OP_sin || op == OP_cos) { // reduction of the argument
        for (int64_t i = 0; i < b->count; i++)
            b->out[i] += 4 * b->unit;
    }
}

static void bound_cast(Bound *b) {
    const Tensor *x = b->call->x[0];
    const double *a = values(b, x), *e = bounds(b, x), *y = values(b, b->call->y);
    DType to = b->call->y->type.dtype;
    for (int64_t i = 0; i < b->count; i++) {
        double whole = e[i] == 0                                  ? 0
                       : dtype_is_float(to)                       ? e[i]
                       : to == DT_BOOL                            ? (fabs(a[i]) <= e[i] ? 1 : 0)
                       : trunc(a[i] - e[i]) == trunc(a[i] + e[i]) ? 0
                                                                  : floor(e[i]) + 1;
        bool rounds = dtype_is_float(to) && !dtype_is_float(x->type.dtype);
        b->out[i] = whole + (rounds ? b->unit * fabs(y[i]) : 0);
    }
}

// Operands of an elementwise op, broadcast: value and bound at each result element.
typedef struct Pair {
    double a, e;
} Pair;

static double bound_pow(Pair a, Pair c, double y) {
    double bound = 0;
    for (int corner = 0; corner < 4; corner++)
        bound =
            worst(bound, y, pow(a.a + (corner & 1 ? a.e : -a.e), c.a + (corner & 2 ? c.e : -c.e)));
    return bound;
}

static double bound_quotient(Pair a, Pair c) {
    if (c.e >= fabs(c.a))
        return a.e == 0 && c.e == 0 ? 0 : INFINITY;
    return (a.e + fabs(a.a / c.a) * c.e) / (fabs(c.a) - c.e);
}

// What the operands' errors can do to the result; `y` is the result.
static double bound_of_pair(Op op, Pair a, Pair c, double y, double unit) {
    double quotient = bound_quotient(a, c) + unit * fabs(a.a / c.a);
    bool jumps = floor(a.a / c.a - quotient) != floor(a.a / c.a + quotient);
    switch ((int)op) {
    case OP_add:
    case OP_sub:
        return a.e + c.e;
    case OP_mul:
        return fabs(a.a) * c.e + fabs(c.a) * a.e + a.e * c.e;
    case OP_div:
        return a.e == 0 && c.e == 0 ? 0 : bound_quotient(a, c);
    case OP_pow:
        return a.e == 0 && c.e == 0 ? 0 : bound_pow(a, c, y);
    case OP_max:
    case OP_min:
        return a.e > c.e ? a.e : c.e;
    case OP_floor_div:
        return jumps ? floor(quotient) + 1 : 0;
    case OP_mod:
        return jumps ? fabs(c.a) + c.e
                     : a.e + (fabs(a.a / c.a) + 1) * c.e + 2 * unit * (fabs(a.a) + fabs(c.a));
    case OP_eq:
    case OP_ne:
    case OP_lt:
    case OP_le:
        return (a.e > 0 || c.e > 0) && fabs(a.a - c.a) <= a.e + c.e ? 1 : 0;
    default: // and, or, scale_gradient
        return op == OP_scale_gradient ? a.e : a.e > c.e ? a.e : c.e;
    }
}

static void walk_broadcast(Walk *walk, const EvalCall *call) {
    int64_t stride[MAX_RANK];
    walk_begin(walk, call->y->type.dim, call->y->type.rank);
    for (uint32_t k = 0; k < call->arity; k++) {
        strides_in(&call->x[k]->type, &call->y->type, stride);
        walk_tensor(walk, 0, stride);
    }
}

static void bound_binary(Bound *b) {
    const EvalCall *call = b->call;
    const double *x0 = values(b, call->x[0]), *e0 = bounds(b, call->x[0]);
    const double *x1 = values(b, call->x[1]), *e1 = bounds(b, call->x[1]);
    const double *y = values(b, call->y);
    bool integer = !dtype_is_float(call->y->type.dtype);
    Walk walk;
    int64_t i = 0;
    for (walk_broadcast(&walk, call); walk.more; walk_next(&walk), i++) {
        Pair first = {x0[walk.at[0]], e0[walk.at[0]]}, second = {x1[walk.at[1]], e1[walk.at[1]]};
        if (integer && first.e == 0 && second.e == 0)
            b->out[i] = 0;
        else
            b->out[i] = bound_of_pair(call->op, first, second, y[i], b->unit) +
                        (integer ? 0 : rounding_ulps(call->op) * b->unit * fabs(y[i]));
    }
}

static void bound_where(Bound *b) {
    const EvalCall *call = b->call;
    const double *condition = values(b, call->x[0]), *unsure = bounds(b, call->x[0]);
    const double *x = values(b, call->x[1]), *e_x = bounds(b, call->x[1]);
    const double *z = values(b, call->x[2]), *e_z = bounds(b, call->x[2]);
    Walk walk;
    int64_t i = 0;
    for (walk_broadcast(&walk, call); walk.more; walk_next(&walk), i++) {
        double if_true = e_x[walk.at[1]], if_false = e_z[walk.at[2]];
        if (unsure[walk.at[0]] > 0)
            b->out[i] = worst(0, x[walk.at[1]], z[walk.at[2]]) + fmax(if_true, if_false);
        else
            b->out[i] = condition[walk.at[0]] != 0 ? if_true : if_false;
    }
}

// ---- views, scatters
// ------------------------------------------------------------------------------

static void all_infinite(Bound *b) {
    for (int64_t i = 0; i < b->count; i++)
        b->out[i] = INFINITY;
}

// Bounds go where the values go. Indices, the second operand of take and put, stay as they are.
static void bound_view(Bound *b) {
    const EvalCall *call = b->call;
    bool indexed = call->op == OP_take || op_has(call->op, SCATTERS);
    Tensor *e = pool_alloc(b->pool, call->arity, sizeof *e);
    const Tensor **x = pool_alloc(b->pool, call->arity, sizeof *x);
    if (indexed && !exact(call->x[1])) {
        all_infinite(b);
        return;
    }
    for (uint32_t k = 0; k < call->arity; k++) {
        if (indexed && k == 1) {
            x[k] = call->x[k];
            continue;
        }
        e[k] = magnitudes(b, call->x[k], 0, 1);
        x[k] = &e[k];
    }
    memcpy(b->out, apply(b, x), (size_t)b->count * sizeof *b->out);
}

static void bound_put_add(Bound *b) {
    const EvalCall *call = b->call;
    bound_view(b);
    if (!exact(call->x[1]) || !dtype_is_float(call->y->type.dtype))
        return;
    Tensor x = magnitudes(b, call->x[0], 1, 1), rows = magnitudes(b, call->x[2], 1, 1);
    Tensor one_x = ones(b, call->x[0]), one_rows = ones(b, call->x[2]);
    const double *sum = apply(b, (const Tensor *[]){&x, call->x[1], &rows});
    const double *n = apply(b, (const Tensor *[]){&one_x, call->x[1], &one_rows});
    for (int64_t i = 0; i < b->count; i++)
        b->out[i] += n[i] > 1 ? gamma_of(b, n[i]) * sum[i] : 0;
}

// ---- sums
// -----------------------------------------------------------------------------------------

static void bound_sum(Bound *b) {
    const Tensor *x = b->call->x[0];
    Tensor e = magnitudes(b, x, 0, 1), a = magnitudes(b, x, 1, 1), one = ones(b, x);
    const double *moved = apply(b, (const Tensor *[]){&e});
    const double *sum = apply(b, (const Tensor *[]){&a});
    const double *n = apply(b, (const Tensor *[]){&one});
    bool integer = !dtype_is_float(x->type.dtype);
    for (int64_t i = 0; i < b->count; i++)
        b->out[i] = moved[i] + (integer || n[i] < 2 ? 0 : gamma_of(b, n[i]) * sum[i]);
}

static void bound_product_sum(Bound *b) {
    const EvalCall *call = b->call;
    Tensor one0 = ones(b, call->x[0]), one1 = ones(b, call->x[1]);
    Tensor e0 = magnitudes(b, call->x[0], 0, 1), e1 = magnitudes(b, call->x[1], 0, 1);
    Tensor a0 = magnitudes(b, call->x[0], 1, 0);
    Tensor all0 = magnitudes(b, call->x[0], 1, 1), all1 = magnitudes(b, call->x[1], 1, 1);
    const double *n = apply(b, (const Tensor *[]){&one0, &one1});
    const double *moved0 = apply(b, (const Tensor *[]){&e0, &all1});
    const double *moved1 = apply(b, (const Tensor *[]){&a0, &e1});
    const double *sum = apply(b, (const Tensor *[]){&all0, &all1});
    bool integer = !dtype_is_float(call->y->type.dtype);
    for (int64_t i = 0; i < b->count; i++) {
        b->out[i] = moved0[i] + moved1[i] + (integer ? 0 : gamma_of(b, n[i] + 1) * sum[i]);
        if (isnan(b->out[i]))
            b->out[i] = INFINITY;
    }
}

// Transforms by constant matrices around a sum of products are sums throughout, so the op on
// magnitudes, the matrices' entries by their size too, gives the bound. Behind each result lie the
// additions of its sum and at most 4 * 6 of each transform, and rounded entries of two matrices.
static void bound_tiled(Bound *b) {
    const EvalCall *call = b->call;
    const Tensor *x0 = call->x[0], *x1 = call->x[call->arity - 1];
    const int64_t *image = x0->type.dim;
    int64_t terms = call->op == OP_winograd ? x1->type.dim[2] : image[0] * image[2] * image[3];
    EvalCall sized = *call;
    sized.magnitudes = true;
    b->call = &sized;
    Tensor e0 = magnitudes(b, x0, 0, 1), all0 = magnitudes(b, x0, 1, 1);
    Tensor a0 = magnitudes(b, x0, 1, 0);
    Tensor e1 = magnitudes(b, x1, 0, 1), all1 = magnitudes(b, x1, 1, 1);
    bool single = call->arity == 1;
    double gamma = gamma_of(b, (single ? 0 : (double)terms) + 64);
    const double *moved0 = apply(b, (const Tensor *[]){&e0, &all1});
    const double *moved1 = single ? NULL : apply(b, (const Tensor *[]){&a0, &e1});
    const double *sum = apply(b, (const Tensor *[]){&all0, &all1});
    for (int64_t i = 0; i < b->count; i++)
        b->out[i] = moved0[i] + (moved1 ? moved1[i] : 0) + gamma * sum[i];
    b->call = call;
}

// With d = |x - mean| and the operands' bounds e, of mean ebar: a computed mean that is off by
// delta adds n delta^2 to the sum of squares, as the distances from the true mean sum to zero.
static void bound_variance(Bound *b) {
    const EvalCall *call = b->call;
    const double *x = values(b, call->x[0]), *e = bounds(b, call->x[0]);
    Walk walk;
    int64_t n = walk_reduction(&walk, &call->x[0]->type, call->attrs->axes);
    for (int64_t i = 0; walk.more; i++) {
        Walk again = walk;
        double sum = 0, magnitude = 0, e_sum = 0;
        for (int64_t k = 0; k < n; k++, walk_next(&walk)) {
            sum += x[walk.at[0]];
            magnitude += fabs(x[walk.at[0]]) + e[walk.at[0]];
            e_sum += e[walk.at[0]];
        }
        double mean = sum / (double)n, ebar = e_sum / (double)n;
        double delta = gamma_of(b, (double)n + 1) * magnitude / (double)n;
        double moved = 0, squares = 0;
        for (int64_t k = 0; k < n; k++, walk_next(&again)) {
            double d = fabs(x[again.at[0]] - mean), off = e[again.at[0]] + ebar;
            moved += 2 * d * off + off * off;
            squares += (d + off + delta) * (d + off + delta);
        }
        double total = moved + (double)n * delta * delta + gamma_of(b, (double)n + 5) * squares;
        b->out[i] = total / (double)(n - call->attrs->correction);
    }
}

// ---- searches
// -------------------------------------------------------------------------------------

// The largest (or smallest) moves by at most the largest bound; but its index is sure only if no
// other interval reaches that of the winner.
static void bound_search(Bound *b) {
    const EvalCall *call = b->call;
    const double *x = values(b, call->x[0]), *e = bounds(b, call->x[0]), *y = values(b, call->y);
    bool index = call->op == OP_argmax || call->op == OP_argmin;
    double sign = call->op == OP_argmin || call->op == OP_reduce_min ? -1 : 1;
    Walk walk;
    int64_t n = walk_reduction(&walk, &call->x[0]->type, call->attrs->axes);
    for (int64_t i = 0; walk.more; i++) {
        Walk again = walk;
        double largest = 0, best = 0, best_e = 0;
        bool sure = true;
        for (int64_t k = 0; k < n; k++, walk_next(&walk)) {
            largest = fmax(largest, e[walk.at[0]]);
            if ((double)k == y[i]) {
                best = x[walk.at[0]];
                best_e = e[walk.at[0]];
            }
        }
        for (int64_t k = 0; k < n; k++, walk_next(&again)) {
            double reach = e[again.at[0]] + best_e;
            sure &= (double)k == y[i] || reach == 0 || sign * (best - x[again.at[0]]) > reach;
        }
        b->out[i] = !index ? largest : sure ? 0 : INFINITY;
    }
}

// ---- decompositions
// -------------------------------------------------------------------------------

// The largest rounding of a decomposition, in units of the largest value and of its extents.
enum { DECOMPOSITION_ULPS = 16 };

// How far the value at `k` of `count` is from the others, and at most `nearest`.
static double gap_at(const double *value, int64_t k, int64_t count, double nearest) {
    for (int64_t i = 0; i < count; i++)
        nearest = i == k ? nearest : fmin(nearest, fabs(value[i] - value[k]));
    return nearest;
}

// Whether a vector that is off by `bound` has its sign for sure: the entry that gives it is the
// first of the largest in any case, or those that may be have the same sign.
static bool sign_is_sure(const double *v, int64_t n, double bound) {
    double most = 0;
    int64_t at = 0;
    for (int64_t i = 0; i < n; i++)
        most = fmax(most, fabs(v[i]));
    double least = most * SAME_MAGNITUDE;
    while (fabs(v[at]) < least)
        at++;
    bool chosen = fabs(v[at]) > least + 2 * bound;
    for (int64_t i = 0; i < n; i++) {
        if (v[i] * v[at] < 0 && fabs(v[i]) >= least - 2 * bound && !(i > at && chosen))
            return false;
    }
    return true;
}

// Weyl: values move by no more than the length of what is added to the matrix. Davis and Kahan: a
// vector moves by no more than that by the gap to the other values, twice. All values are found
// here anew, since the result may hold the largest only.
static void bound_decomposition(Bound *b) {
    const EvalCall *call = b->call;
    const Type *x = &call->x[0]->type;
    bool square = call->op == OP_eigh;
    int64_t m = x->dim[x->rank - 2], n = x->dim[x->rank - 1], all = m < n ? m : n;
    int64_t row = square ? 1 + n : 1 + m + n, count = call->attrs->count;
    const double *e = bounds(b, call->x[0]), *a = values(b, call->x[0]), *y = values(b, call->y);
    Attrs attrs = *call->attrs;
    Tensor full = {.type = *x, .data = doubles(b, type_count(x) / (m * n) * all * row)};
    Tensor wide = {.type = *x, .data = values(b, call->x[0])};
    EvalCall again = *call;
    attrs.count = all;
    full.type.dtype = wide.type.dtype = DT_F64;
    again.attrs = &attrs;
    again.x = (const Tensor *[]){&wide};
    again.y = &full;
    precision_double.rules[call->op](&again);
    double *value = doubles(b, all);
    for (int64_t i = 0; i < type_count(x) / (m * n); i++) {
        double moved = 0, length = 0;
        for (int64_t k = i * m * n; k < (i + 1) * m * n; k++) {
            moved += e[k] * e[k];
            length += a[k] * a[k];
        }
        moved = sqrt(moved) + DECOMPOSITION_ULPS * (double)(m + n) * b->unit * sqrt(length);
        for (int64_t k = 0; k < all; k++)
            value[k] = ((double *)full.data)[(i * all + k) * row];
        for (int64_t k = 0; k < count; k++) {
            int64_t at = (i * count + k) * row;
            double gap = gap_at(value, k, all, square ? INFINITY : value[k]);
            double off = all == 1 && square ? 4 * b->unit
                         : gap > 4 * moved  ? 4 * moved / gap + 4 * b->unit
                                            : INFINITY;
            const double *v = y + at + row - n;
            if (!isinf(off) && !sign_is_sure(v, n, off))
                off = INFINITY;
            b->out[at] = moved;
            for (int64_t r = 1; r < row; r++)
                b->out[at + r] = off;
        }
    }
}

// ---- front door
// -----------------------------------------------------------------------------------

static void bound_leaf(Bound *b) {
    const EvalCall *call = b->call;
    const double *y = values(b, call->y);
    for (int64_t i = 0; i < b->count; i++) {
        b->out[i] = 0;
        if (call->given && call->given->bound)
            b->out[i] = call->given->bound[i];
        else if (call->op == OP_normal)
            b->out[i] = 64 * b->unit; // see support/philox.h
        else if (call->op == OP_const && y[i] != call->attrs->value)
            b->out[i] = fabs(y[i] - call->attrs->value);
    }
}

static void bound_copy(Bound *b) {
    memcpy(b->out, bounds(b, b->call->x[0]), (size_t)b->count * sizeof *b->out);
}

static void bound_predicate(Bound *b) {
    const double *e = bounds(b, b->call->x[0]);
    for (int64_t i = 0; i < b->count; i++)
        b->out[i] = isinf(e[i]) ? 1 : 0;
}

static void dispatch(Bound *b) {
    Op op = b->call->op;
    if (op_has(op, LEAF))
        bound_leaf(b);
    else if (op_has(op, EFFECT) || op == OP_not || op == OP_stop_gradient)
        bound_copy(b);
    else if (op == OP_is_finite)
        bound_predicate(b);
    else if (op == OP_cast)
        bound_cast(b);
    else if (op == OP_where)
        bound_where(b);
    else if (op_has(op, MAPS) && b->call->arity == 1)
        bound_unary(b);
    else if (op_has(op, MAPS))
        bound_binary(b);
    else if (op == OP_put_add)
        bound_put_add(b);
    else if (op_has(op, VIEWS) || op_has(op, SCATTERS))
        bound_view(b);
    else if (op_has(op, TILED))
        bound_tiled(b);
    else if (op_has(op, CONTRACTS))
        bound_product_sum(b);
    else if (op == OP_variance)
        bound_variance(b);
    else if (op_has(op, DECOMPOSES))
        bound_decomposition(b);
    else if (op == OP_sum || op == OP_fold)
        bound_sum(b);
    else
        bound_search(b);
}

void eval_bound(const EvalCall *call, const Precision *precision, double unit, double tiny,
                Pool *pool) {
    Bound b = {call, precision, unit, tiny, pool, type_count(&call->y->type), NULL};
    b.out = doubles(&b, b.count);
    dispatch(&b);
    bool computed = op_has(call->op, MAPS) || op_has(call->op, REDUCES) ||
                    op_has(call->op, CONTRACTS) || op_has(call->op, SCATTERS) ||
                    op_has(call->op, DECOMPOSES);
    for (int64_t i = 0; i < b.count; i++) {
        if (computed && dtype_is_float(call->y->type.dtype))
            b.out[i] += tiny;
        if (isnan(b.out[i]))
            b.out[i] = INFINITY;
    }
    call->y->bound = b.out;
}
