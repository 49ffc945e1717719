// codegen/loops_expr.c -- expressions of the loop IR.
//
// Expressions of type S_INDEX are kept in one form, a sum of (atom * constant) and a constant, by
// taking them apart and putting them together again on every addition; so equal sums are equal
// trees, and what depends on a range (quotients, comparisons) is decided as early as possible. Float
// arithmetic is folded only where both operands are constants, in the precision of its type, and
// for the factor 1.
#include <math.h>
#include <string.h>

#include "codegen/loops.h"
#include "support/diag.h"

// ---- expressions without any folding
// ---------------------------------------------------------------

LoopExpr *x_new(LoopKernel *kernel, ExprKind kind, ScalarType type) {
    LoopExpr *expr = arena_new(kernel->arena, LoopExpr);
    expr->kind = kind;
    expr->type = type;
    return expr;
}

LoopExpr **x_operands(LoopKernel *kernel, LoopExpr *const *operand, uint32_t count) {
    LoopExpr **copy = arena_array(kernel->arena, LoopExpr *, count);
    for (uint32_t i = 0; i < count; i++)
        copy[i] = operand[i];
    return copy;
}

static LoopExpr *apply_raw(LoopKernel *kernel, ScalarOp op, ScalarType type,
                           LoopExpr *const *operand, uint32_t arity) {
    LoopExpr *expr = x_new(kernel, E_APPLY, type);
    expr->op = op;
    expr->arity = arity;
    expr->operand = x_operands(kernel, operand, arity);
    return expr;
}

static LoopExpr *apply_raw2(LoopKernel *kernel, ScalarOp op, LoopExpr *a, LoopExpr *b) {
    return apply_raw(kernel, op, a->type, (LoopExpr *[]){a, b}, 2);
}

static LoopExpr *int_of_type(LoopKernel *kernel, int64_t value, ScalarType type) {
    LoopExpr *expr = x_new(kernel, E_CONST, type);
    expr->integer = value;
    return expr;
}

LoopExpr *x_int(LoopKernel *kernel, int64_t value) {
    return int_of_type(kernel, value, S_INDEX);
}

LoopExpr *x_bool(LoopKernel *kernel, bool value) {
    return int_of_type(kernel, value, S_BOOL);
}

LoopExpr *x_real(LoopKernel *kernel, double value, ScalarType type) {
    kdc_assert(scalar_is_float(type));
    LoopExpr *expr = x_new(kernel, E_CONST, type);
    expr->real = type == S_F32 ? (double)(float)value : value;
    return expr;
}

LoopExpr *x_const(LoopKernel *kernel, double value, ScalarType type) {
    switch (type) {
    case S_F32:
    case S_F64:
        return x_real(kernel, value, type);
    case S_BOOL:
        return x_bool(kernel, value != 0);
    case S_U8:
        return int_of_type(kernel, value > 255 ? 255 : value > 0 ? (int64_t)value : 0, type);
    case S_I32:
        return int_of_type(kernel,
                           value >= INT32_MAX   ? INT32_MAX
                           : value <= INT32_MIN ? INT32_MIN
                           : isnan(value)       ? 0
                                                : (int64_t)value,
                           type);
    case S_INDEX:
        return x_int(kernel, (int64_t)value);
    }
    kdc_bug("scalar type %d", (int)type);
}

bool x_is_int(const LoopExpr *expr, int64_t *value) {
    if (expr->kind != E_CONST || expr->type != S_INDEX)
        return false;
    *value = expr->integer;
    return true;
}

static bool is_true(const LoopExpr *expr) {
    return expr->kind == E_CONST && expr->type == S_BOOL && expr->integer;
}

static bool is_false(const LoopExpr *expr) {
    return expr->kind == E_CONST && expr->type == S_BOOL && !expr->integer;
}

bool x_equal(const LoopExpr *a, const LoopExpr *b) {
    if (a == b)
        return true;
    if (a->kind != b->kind || a->type != b->type || a->op != b->op || a->index != b->index ||
        a->integer != b->integer || a->arity != b->arity ||
        memcmp(&a->real, &b->real, sizeof a->real))
        return false;
    for (uint32_t i = 0; i < a->arity; i++) {
        if (!x_equal(a->operand[i], b->operand[i]))
            return false;
    }
    return true;
}

// ---- sums
// ------------------------------------------------------------------------------------------

static bool affine_add_term(Affine *sum, const LoopExpr *atom, int64_t factor) {
    for (uint32_t i = 0; i < sum->count; i++) {
        if (!x_equal(sum->atom[i], atom))
            continue;
        return !__builtin_add_overflow(sum->factor[i], factor, &sum->factor[i]);
    }
    if (sum->count == AFFINE_TERMS)
        return false;
    sum->atom[sum->count] = atom;
    sum->factor[sum->count++] = factor;
    return true;
}

static bool affine_add(Affine *sum, const LoopExpr *expr, int64_t factor) {
    int64_t product;
    if (expr->kind == E_CONST)
        return !__builtin_mul_overflow(expr->integer, factor, &product) &&
               !__builtin_add_overflow(sum->constant, product, &sum->constant);
    if (expr->kind != E_APPLY)
        return affine_add_term(sum, expr, factor);
    int64_t constant;
    switch ((int)expr->op) {
    case X_add:
        return affine_add(sum, expr->operand[0], factor) &&
               affine_add(sum, expr->operand[1], factor);
    case X_sub:
        return affine_add(sum, expr->operand[0], factor) &&
               affine_add(sum, expr->operand[1], -factor);
    case X_neg:
        return affine_add(sum, expr->operand[0], -factor);
    case X_mul:
        if (x_is_int(expr->operand[1], &constant))
            return !__builtin_mul_overflow(constant, factor, &product) &&
                   affine_add(sum, expr->operand[0], product);
        if (x_is_int(expr->operand[0], &constant))
            return !__builtin_mul_overflow(constant, factor, &product) &&
                   affine_add(sum, expr->operand[1], product);
        return affine_add_term(sum, expr, factor);
    default:
        return affine_add_term(sum, expr, factor);
    }
}

/// The terms without those that cancelled.
static void affine_compact(Affine *sum) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < sum->count; i++) {
        sum->atom[kept] = sum->atom[i];
        sum->factor[kept] = sum->factor[i];
        kept += sum->factor[i] != 0;
    }
    sum->count = kept;
}

/// The a and d of a / d or a mod d.
static const LoopExpr *divided(const LoopExpr *expr, ScalarOp op, int64_t *divisor) {
    bool is_division = expr->kind == E_APPLY && expr->op == op;
    return is_division && x_is_int(expr->operand[1], divisor) ? expr->operand[0] : NULL;
}

/// (a / d) * (f * d) + (a mod d) * f is a * f: rows that lie one behind the other.
static bool affine_join(Affine *sum, uint32_t i, uint32_t k) {
    int64_t by, other, factor = sum->factor[k], whole;
    const LoopExpr *a = divided(sum->atom[i], X_floor_div, &by);
    const LoopExpr *b = a ? divided(sum->atom[k], X_mod, &other) : NULL;
    if (!b || by != other || __builtin_mul_overflow(factor, by, &whole) ||
        whole != sum->factor[i] || !x_equal(a, b))
        return false;
    Affine joined = *sum;
    joined.factor[i] = joined.factor[k] = 0;
    affine_compact(&joined);
    if (!affine_add(&joined, a, factor))
        return false;
    affine_compact(&joined);
    *sum = joined;
    return true;
}

/// Drops the terms that cancelled, and joins quotients with their remainders.
static void affine_reduce(Affine *sum) {
    affine_compact(sum);
    for (uint32_t i = 0; i < sum->count; i++) {
        for (uint32_t k = 0; k < sum->count; k++) {
            if (affine_join(sum, i, k)) {
                i = UINT32_MAX; // from the beginning
                break;
            }
        }
    }
}

bool x_affine(const LoopExpr *expr, Affine *affine) {
    *affine = (Affine){0};
    if (expr->type != S_INDEX || !affine_add(affine, expr, 1))
        return false;
    affine_reduce(affine);
    return true;
}

/// The expression of a sum: a term that is added first, then the others in order, the constant
/// last.
static LoopExpr *affine_expr(LoopKernel *kernel, const Affine *affine) {
    uint32_t lead = 0;
    while (lead < affine->count && affine->factor[lead] < 0)
        lead++;
    bool constant_leads = lead == affine->count && affine->constant > 0;
    LoopExpr *sum = constant_leads ? x_int(kernel, affine->constant) : NULL;
    for (uint32_t n = 0; n < affine->count; n++) {
        // the leading term, then those before it, then those after it
        uint32_t i = lead == affine->count ? n : n == 0 ? lead : n <= lead ? n - 1 : n;
        int64_t factor = affine->factor[i];
        bool minus = factor < 0 && sum;
        LoopExpr *term = (LoopExpr *)affine->atom[i];
        if ((minus ? -factor : factor) != 1)
            term = apply_raw2(kernel, X_mul, term, x_int(kernel, minus ? -factor : factor));
        sum = sum ? apply_raw2(kernel, minus ? X_sub : X_add, sum, term) : term;
    }
    if (constant_leads || (sum && affine->constant == 0))
        return sum;
    if (!sum)
        return x_int(kernel, affine->constant);
    bool minus = affine->constant < 0 && affine->constant != INT64_MIN;
    return apply_raw2(kernel, minus ? X_sub : X_add, sum,
                      x_int(kernel, minus ? -affine->constant : affine->constant));
}

// ---- intervals
// -------------------------------------------------------------------------------------

static const Interval everything = {INTERVAL_MIN, INTERVAL_MAX};

__extension__ typedef __int128 Wide;

static int64_t clamp_bound(Wide value) {
    return value <= INTERVAL_MIN   ? INTERVAL_MIN
           : value >= INTERVAL_MAX ? INTERVAL_MAX
                                   : (int64_t)value;
}

int64_t int_floor_div(int64_t a, int64_t b) {
    return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

Interval interval_scale(Interval a, int64_t factor) {
    int64_t x = clamp_bound((Wide)a.lo * factor);
    int64_t y = clamp_bound((Wide)a.hi * factor);
    return factor < 0 ? (Interval){y, x} : (Interval){x, y};
}

Interval interval_add(Interval a, Interval b) {
    Interval sum = {clamp_bound((Wide)a.lo + b.lo), clamp_bound((Wide)a.hi + b.hi)};
    if (a.lo == INTERVAL_MIN || b.lo == INTERVAL_MIN)
        sum.lo = INTERVAL_MIN;
    if (a.hi == INTERVAL_MAX || b.hi == INTERVAL_MAX)
        sum.hi = INTERVAL_MAX;
    return sum;
}

Interval interval_join(Interval a, Interval b) {
    return (Interval){a.lo < b.lo ? a.lo : b.lo, a.hi > b.hi ? a.hi : b.hi};
}

Interval interval_quotient(Interval a, int64_t divisor) {
    return (Interval){a.lo == INTERVAL_MIN ? a.lo : int_floor_div(a.lo, divisor),
                      a.hi == INTERVAL_MAX ? a.hi : int_floor_div(a.hi, divisor)};
}

Interval interval_remainder(Interval a, int64_t divisor) {
    if (a.lo != INTERVAL_MIN && a.hi != INTERVAL_MAX &&
        int_floor_div(a.lo, divisor) == int_floor_div(a.hi, divisor)) {
        int64_t base = int_floor_div(a.lo, divisor) * divisor;
        return (Interval){a.lo - base, a.hi - base};
    }
    return (Interval){0, divisor - 1};
}

static Interval interval_of_cast(const LoopExpr *from) {
    return from->type == S_U8     ? (Interval){0, 255}
           : from->type == S_BOOL ? (Interval){0, 1}
           : from->type == S_I32  ? (Interval){INT32_MIN, INT32_MAX}
                                  : everything;
}

static Interval interval_of_apply(const LoopKernel *kernel, const LoopExpr *expr) {
    int64_t constant;
    Interval a, b;
    switch ((int)expr->op) {
    case X_floor_div:
    case X_mod:
        if (!x_is_int(expr->operand[1], &constant) || constant <= 0)
            return everything;
        a = x_interval(kernel, expr->operand[0]);
        return expr->op == X_mod ? interval_remainder(a, constant) : interval_quotient(a, constant);
    case X_min:
    case X_max:
        a = x_interval(kernel, expr->operand[0]);
        b = x_interval(kernel, expr->operand[1]);
        return expr->op == X_min ? (Interval){a.lo < b.lo ? a.lo : b.lo, a.hi < b.hi ? a.hi : b.hi}
                                 : (Interval){a.lo > b.lo ? a.lo : b.lo, a.hi > b.hi ? a.hi : b.hi};
    case X_mul:
        a = x_interval(kernel, expr->operand[0]);
        b = x_interval(kernel, expr->operand[1]);
        if (a.lo < 0 || b.lo < 0)
            return everything;
        return (Interval){clamp_bound((Wide)a.lo * b.lo), clamp_bound((Wide)a.hi * b.hi)};
    case X_select:
        return interval_join(x_interval(kernel, expr->operand[1]),
                             x_interval(kernel, expr->operand[2]));
    case X_cast:
        return interval_of_cast(expr->operand[0]);
    case X_copy:
    case X_first:
        return x_interval(kernel, expr->operand[0]);
    default:
        return everything;
    }
}

static Interval interval_of_var(const LoopKernel *kernel, const LoopVar *var) {
    Interval begin = x_interval(kernel, var->begin);
    Interval end = x_interval(kernel, var->end);
    int64_t hi = end.hi == INTERVAL_MAX ? end.hi : end.hi - 1;
    if (begin.lo == begin.hi && end.lo == end.hi && hi >= begin.lo)
        hi = begin.lo + (hi - begin.lo) / var->step * var->step;
    return (Interval){begin.lo, hi < begin.lo ? begin.lo : hi};
}

static Interval interval_of_atom(const LoopKernel *kernel, const LoopExpr *expr) {
    switch (expr->kind) {
    case E_CONST:
        return (Interval){expr->integer, expr->integer};
    case E_VAR:
        return interval_of_var(kernel, &kernel->vars.at[expr->index]);
    case E_LET:
        return x_interval(kernel, kernel->lets.at[expr->index].value);
    case E_EXTENT:
        return (Interval){1, INTERVAL_MAX};
    case E_RANGE:
        return (Interval){0, INTERVAL_MAX};
    case E_APPLY:
        return interval_of_apply(kernel, expr);
    case E_FRAME:
    case E_LOCAL:
    case E_LOAD:
        return everything;
    }
    return everything;
}

static Interval interval_of_affine(const LoopKernel *kernel, const Affine *affine) {
    Interval sum = {affine->constant, affine->constant};
    for (uint32_t i = 0; i < affine->count; i++)
        sum = interval_add(
            sum, interval_scale(interval_of_atom(kernel, affine->atom[i]), affine->factor[i]));
    return sum;
}

Interval x_interval(const LoopKernel *kernel, const LoopExpr *expr) {
    Affine affine;
    if (expr->type != S_INDEX || !x_affine(expr, &affine))
        return everything;
    return interval_of_affine(kernel, &affine);
}

// ---- folding of index arithmetic
// ---------------------------------------------------------------------

/// Splits a sum into `divisor` times `quotient` and the rest: sum = divisor * quotient + rest,
/// where the rest keeps the terms whose factors are no multiples and a constant in [0, divisor).
static void affine_split(const Affine *sum, int64_t divisor, Affine *quotient, Affine *rest) {
    *quotient = *rest = (Affine){0};
    for (uint32_t i = 0; i < sum->count; i++) {
        Affine *part = sum->factor[i] % divisor == 0 ? quotient : rest;
        part->atom[part->count] = sum->atom[i];
        part->factor[part->count++] = part == quotient ? sum->factor[i] / divisor : sum->factor[i];
    }
    quotient->constant = int_floor_div(sum->constant, divisor);
    rest->constant = sum->constant - quotient->constant * divisor;
}

/// floor(a / divisor) and a mod divisor: with a = divisor * q + r they are q + floor(r / divisor)
/// and r mod divisor, and if r lies within one multiple of the divisor both are known.
static LoopExpr *fold_division(LoopKernel *kernel, ScalarOp op, LoopExpr *a, int64_t divisor) {
    Affine sum, quotient, rest;
    if (divisor <= 0 || !x_affine(a, &sum))
        return NULL;
    affine_split(&sum, divisor, &quotient, &rest);
    Interval range = interval_of_affine(kernel, &rest);
    if (range.lo != INTERVAL_MIN && range.hi != INTERVAL_MAX &&
        int_floor_div(range.lo, divisor) == int_floor_div(range.hi, divisor)) {
        int64_t whole = int_floor_div(range.lo, divisor);
        quotient.constant += whole;
        rest.constant -= whole * divisor;
        return affine_expr(kernel, op == X_mod ? &rest : &quotient);
    }
    LoopExpr *r = affine_expr(kernel, &rest);
    if (op == X_mod)
        return apply_raw2(kernel, X_mod, r, x_int(kernel, divisor));
    LoopExpr *part = NULL;
    int64_t inner;
    if (r->kind == E_APPLY && r->op == X_floor_div && x_is_int(r->operand[1], &inner) &&
        inner > 0 && inner <= INT32_MAX && divisor <= INT32_MAX) // (x / inner) / divisor
        part = x_div(kernel, r->operand[0], inner * divisor);
    if (!part)
        part = apply_raw2(kernel, X_floor_div, r, x_int(kernel, divisor));
    Affine whole;
    if (x_affine(part, &whole) && (whole.count != 1 || whole.constant))
        return affine_add(&quotient, part, 1) ? affine_expr(kernel, &quotient) : NULL;
    if (!affine_add_term(&quotient, part, 1))
        return NULL;
    return affine_expr(kernel, &quotient);
}

/// -1 unknown, else the truth of `a op b`.
static int decide_comparison(const LoopKernel *kernel, ScalarOp op, const LoopExpr *a,
                             const LoopExpr *b) {
    Affine difference = {0};
    if (!affine_add(&difference, a, 1) || !affine_add(&difference, b, -1))
        return -1;
    Interval d = interval_of_affine(kernel, &difference);
    switch ((int)op) {
    case X_lt:
        return d.hi < 0 ? 1 : d.lo >= 0 ? 0 : -1;
    case X_le:
        return d.hi <= 0 ? 1 : d.lo > 0 ? 0 : -1;
    case X_eq:
    case X_ne:
        if (d.lo == 0 && d.hi == 0)
            return op == X_eq;
        return d.lo > 0 || d.hi < 0 ? op == X_ne : -1;
    default:
        return -1;
    }
}

static LoopExpr *fold_min_max(LoopKernel *kernel, ScalarOp op, LoopExpr *a, LoopExpr *b) {
    int below = decide_comparison(kernel, X_le, a, b);
    int above = decide_comparison(kernel, X_le, b, a);
    if (below == 1)
        return op == X_min ? a : b;
    if (above == 1)
        return op == X_min ? b : a;
    return NULL;
}

/// NULL: nothing to fold.
static LoopExpr *fold_index(LoopKernel *kernel, ScalarOp op, LoopExpr *const *operand) {
    LoopExpr *a = operand[0];
    LoopExpr *b = scalar_info[op].arity > 1 ? operand[1] : NULL;
    int64_t constant;
    Affine sum = {0};
    switch ((int)op) {
    case X_add:
    case X_sub:
    case X_neg:
        if (!affine_add(&sum, a, op == X_neg ? -1 : 1) ||
            (b && !affine_add(&sum, b, op == X_sub ? -1 : 1)))
            return NULL;
        break;
    case X_mul:
        if (x_is_int(a, &constant))
            a = b;
        else if (!x_is_int(b, &constant))
            return NULL;
        if (!affine_add(&sum, a, constant))
            return NULL;
        break;
    case X_floor_div:
    case X_mod:
        return x_is_int(b, &constant) ? fold_division(kernel, op, a, constant) : NULL;
    case X_min:
    case X_max:
        return fold_min_max(kernel, op, a, b);
    case X_eq:
    case X_ne:
    case X_lt:
    case X_le: {
        int truth = decide_comparison(kernel, op, a, b);
        return truth < 0 ? NULL : x_bool(kernel, truth);
    }
    default:
        return NULL;
    }
    affine_reduce(&sum);
    return affine_expr(kernel, &sum);
}

// ---- folding of values
// -------------------------------------------------------------------------------

static double fold_real(ScalarOp op, double a, double b) {
    switch ((int)op) {
    case X_add:
        return a + b;
    case X_sub:
        return a - b;
    case X_mul:
        return a * b;
    default:
        return a / b;
    }
}

/// Exact operations on two constants. For f32 the double result of + - * / of two f32 is rounded
/// twice, but 53 >= 2 * 24 + 2 bits make that harmless (Figueroa 1995).
static LoopExpr *fold_float(LoopKernel *kernel, ScalarOp op, LoopExpr *const *operand) {
    LoopExpr *a = operand[0];
    LoopExpr *b = scalar_info[op].arity > 1 ? operand[1] : NULL;
    bool a_known = a->kind == E_CONST, b_known = b && b->kind == E_CONST;
    switch ((int)op) {
    case X_mul:
        if (b_known && b->real == 1.0)
            return a;
        if (a_known && a->real == 1.0)
            return b;
        break;
    case X_div:
        if (b_known && b->real == 1.0)
            return a;
        break;
    case X_add:
    case X_sub:
        break;
    case X_neg:
        return a_known ? x_real(kernel, -a->real, a->type) : NULL;
    default:
        return NULL;
    }
    return a_known && b_known ? x_real(kernel, fold_real(op, a->real, b->real), a->type) : NULL;
}

static LoopExpr *fold_logic(LoopKernel *kernel, ScalarOp op, LoopExpr *const *operand) {
    LoopExpr *a = operand[0];
    switch ((int)op) {
    case X_and:
        return is_true(a) || is_false(operand[1])   ? operand[1]
               : is_false(a) || is_true(operand[1]) ? a
                                                    : NULL;
    case X_or:
        return is_false(a) || is_true(operand[1])   ? operand[1]
               : is_true(a) || is_false(operand[1]) ? a
                                                    : NULL;
    case X_not:
        return is_true(a) || is_false(a) ? x_bool(kernel, is_false(a)) : NULL;
    case X_select:
        return is_true(a)                        ? operand[1]
               : is_false(a)                     ? operand[2]
               : x_equal(operand[1], operand[2]) ? operand[1]
                                                 : NULL;
    default:
        return NULL;
    }
}

static LoopExpr *apply(LoopKernel *kernel, ScalarOp op, ScalarType type, LoopExpr *const *operand,
                       uint32_t arity) {
    ScalarType types[3] = {S_BOOL, S_BOOL, S_BOOL};
    kdc_assert(arity <= 3);
    for (uint32_t i = 0; i < arity; i++)
        types[i] = operand[i]->type;
    if (!scalar_result(op, types, arity, &type))
        kdc_bug("kernel %s: scalar op %s on %s", kernel->name, scalar_info[op].name,
                arity ? scalar_type_name(types[0]) : "nothing");
    if (op == X_copy || op == X_first)
        return operand[0];
    LoopExpr *folded = fold_logic(kernel, op, operand);
    if (!folded && types[0] == S_INDEX)
        folded = fold_index(kernel, op, operand);
    else if (!folded && scalar_is_float(types[0]))
        folded = fold_float(kernel, op, operand);
    return folded ? folded : apply_raw(kernel, op, type, operand, arity);
}

LoopExpr *x_apply(LoopKernel *kernel, ScalarOp op, LoopExpr *const *operand, uint32_t arity) {
    kdc_assert(op != X_cast);
    return apply(kernel, op, S_BOOL, operand, arity);
}

LoopExpr *x1(LoopKernel *kernel, ScalarOp op, LoopExpr *a) {
    return x_apply(kernel, op, &a, 1);
}

LoopExpr *x2(LoopKernel *kernel, ScalarOp op, LoopExpr *a, LoopExpr *b) {
    return x_apply(kernel, op, (LoopExpr *[]){a, b}, 2);
}

LoopExpr *x3(LoopKernel *kernel, ScalarOp op, LoopExpr *a, LoopExpr *b, LoopExpr *c) {
    return x_apply(kernel, op, (LoopExpr *[]){a, b, c}, 3);
}

LoopExpr *x_cast(LoopKernel *kernel, LoopExpr *a, ScalarType type) {
    if (a->type == type)
        return a;
    if (a->kind == E_CONST && a->type != S_INDEX && type != S_INDEX)
        return x_const(kernel, scalar_is_float(a->type) ? a->real : (double)a->integer, type);
    return apply(kernel, X_cast, type, &a, 1);
}

LoopExpr *x_add(LoopKernel *kernel, LoopExpr *a, LoopExpr *b) {
    return x2(kernel, X_add, a, b);
}

LoopExpr *x_sub(LoopKernel *kernel, LoopExpr *a, LoopExpr *b) {
    return x2(kernel, X_sub, a, b);
}

LoopExpr *x_mul(LoopKernel *kernel, LoopExpr *a, int64_t factor) {
    return x2(kernel, X_mul, a, x_int(kernel, factor));
}

LoopExpr *x_div(LoopKernel *kernel, LoopExpr *a, int64_t divisor) {
    return x2(kernel, X_floor_div, a, x_int(kernel, divisor));
}

LoopExpr *x_mod(LoopKernel *kernel, LoopExpr *a, int64_t divisor) {
    return x2(kernel, X_mod, a, x_int(kernel, divisor));
}

LoopExpr *x_offset(LoopKernel *kernel, LoopExpr *a, int64_t constant) {
    return x_add(kernel, a, x_int(kernel, constant));
}

LoopExpr *x_and(LoopKernel *kernel, LoopExpr *a, LoopExpr *b) {
    return !a ? b : !b ? a : x2(kernel, X_and, a, b);
}

LoopExpr *x_inside(LoopKernel *kernel, LoopExpr *a, int64_t lo, int64_t hi) {
    return x_and(kernel, x2(kernel, X_le, x_int(kernel, lo), a),
                 x2(kernel, X_lt, a, x_int(kernel, hi)));
}

LoopExpr *x_local(LoopKernel *kernel, uint32_t local, LoopExpr **subscript, uint32_t count) {
    kdc_assert(local < kernel->locals.count && count == kernel->locals.at[local].rank);
    LoopExpr *expr = x_new(kernel, E_LOCAL, kernel->locals.at[local].type);
    expr->index = local;
    expr->arity = count;
    expr->operand = x_operands(kernel, subscript, count);
    return expr;
}

LoopExpr *x_load(LoopKernel *kernel, uint32_t buffer, LoopExpr *index) {
    kdc_assert(buffer < kernel->buffers.count && index->type == S_INDEX);
    LoopExpr *expr = x_new(kernel, E_LOAD, kernel->buffers.at[buffer].type);
    expr->index = buffer;
    expr->arity = 1;
    expr->operand = x_operands(kernel, &index, 1);
    return expr;
}

LoopExpr *x_extent(LoopKernel *kernel, uint32_t extent) {
    kdc_assert(extent < kernel->extent_count);
    LoopExpr *expr = x_new(kernel, E_EXTENT, S_INDEX);
    expr->index = extent;
    return expr;
}

LoopExpr *x_frame(LoopKernel *kernel, uint32_t field) {
    kdc_assert(field == FRAME_SEED || field == FRAME_ITERATION);
    LoopExpr *expr = x_new(kernel, E_FRAME, S_INDEX);
    expr->index = field;
    return expr;
}

LoopExpr *x_range(LoopKernel *kernel, uint32_t which) {
    kdc_assert(which >= RANGE_LO && which <= RANGE_THREAD);
    LoopExpr *expr = x_new(kernel, E_RANGE, S_INDEX);
    expr->index = which;
    return expr;
}
