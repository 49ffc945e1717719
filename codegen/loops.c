// codegen/loops.c -- building the loop IR.
//
// Builders append to a body or return an expression. Expressions of type S_INDEX are kept in one
// form, a sum of (atom * constant) and a constant, by taking them apart and putting them together
// again on every addition; so equal sums are equal trees, and what depends on a range (quotients,
// comparisons) is decided as early as possible. Float arithmetic is folded only where both operands
// are constants, in the precision of its type, and for the factor 1.
#include "codegen/loops.h"

#include <math.h>
#include <string.h>

#include "support/diag.h"

const ScalarInfo scalar_info[X_COUNT] = {
#define SCALAR(name, arity, rule, text) [X_##name] = {#name, arity, #rule[0], text},
#include "codegen/scalars.def"
#undef SCALAR
};

// ---- types
// ---------------------------------------------------------------------------------------

const char *scalar_type_name(ScalarType type) {
    static const char *const name[] = {"bool", "u8", "i32", "index", "f32", "f64"};
    return name[type];
}

size_t scalar_size_bytes(ScalarType type) {
    static const uint8_t size[] = {1, 1, 4, 8, 4, 8};
    return size[type];
}

bool scalar_is_float(ScalarType type) {
    return type == S_F32 || type == S_F64;
}

ScalarType scalar_type_of(DType dtype) {
    switch (dtype) {
    case DT_F32:
        return S_F32;
    case DT_F64:
        return S_F64;
    case DT_I32:
        return S_I32;
    case DT_U8:
        return S_U8;
    case DT_BOOL:
        return S_BOOL;
    }
    kdc_bug("dtype %d", (int)dtype);
}

bool scalar_result(ScalarOp op, const ScalarType *operand, uint32_t arity, ScalarType *result) {
    const ScalarInfo *info = &scalar_info[op];
    if (arity != info->arity)
        return false;
    ScalarType a = operand[0];
    bool same = arity < 2 || operand[1] == a;
    bool any = op == X_copy || op == X_first || info->rule == 'C';
    switch (info->rule) {
    case 'N':
        *result = a;
        return same && (any || a != S_BOOL);
    case 'F':
        *result = a;
        return same && (arity < 3 || operand[2] == a) && scalar_is_float(a);
    case 'I':
        *result = a;
        return same && (a == S_I32 || a == S_INDEX || a == S_U8);
    case 'C':
        *result = S_BOOL;
        return same && (any || a != S_BOOL);
    case 'B':
        *result = S_BOOL;
        return same && a == S_BOOL;
    case 'S':
        *result = operand[1];
        return a == S_BOOL && operand[1] == operand[2];
    case 'K':
        return true;
    case 'T':
        if (op == X_bits) {
            *result = a == S_F32 ? S_I32 : S_INDEX;
            return scalar_is_float(a);
        }
        *result = a == S_I32 ? S_F32 : S_F64;
        return a == S_I32 || a == S_INDEX;
    default:
        kdc_bug("scalar op %s has the unknown rule %c", info->name, info->rule);
    }
}

// ---- expressions without any folding
// ---------------------------------------------------------------

static LoopExpr *expr_new(LoopKernel *kernel, ExprKind kind, ScalarType type) {
    LoopExpr *expr = arena_new(kernel->arena, LoopExpr);
    expr->kind = kind;
    expr->type = type;
    return expr;
}

static LoopExpr **operands_copy(LoopKernel *kernel, LoopExpr *const *operand, uint32_t count) {
    LoopExpr **copy = arena_array(kernel->arena, LoopExpr *, count);
    for (uint32_t i = 0; i < count; i++)
        copy[i] = operand[i];
    return copy;
}

static LoopExpr *apply_raw(LoopKernel *kernel, ScalarOp op, ScalarType type,
                           LoopExpr *const *operand, uint32_t arity) {
    LoopExpr *expr = expr_new(kernel, E_APPLY, type);
    expr->op = op;
    expr->arity = arity;
    expr->operand = operands_copy(kernel, operand, arity);
    return expr;
}

static LoopExpr *apply_raw2(LoopKernel *kernel, ScalarOp op, LoopExpr *a, LoopExpr *b) {
    return apply_raw(kernel, op, a->type, (LoopExpr *[]){a, b}, 2);
}

static LoopExpr *int_of_type(LoopKernel *kernel, int64_t value, ScalarType type) {
    LoopExpr *expr = expr_new(kernel, E_CONST, type);
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
    LoopExpr *expr = expr_new(kernel, E_CONST, type);
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

/// Drops the terms that cancelled.
static void affine_compact(Affine *sum) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < sum->count; i++) {
        sum->atom[kept] = sum->atom[i];
        sum->factor[kept] = sum->factor[i];
        kept += sum->factor[i] != 0;
    }
    sum->count = kept;
}

bool x_affine(const LoopExpr *expr, Affine *affine) {
    *affine = (Affine){0};
    if (expr->type != S_INDEX || !affine_add(affine, expr, 1))
        return false;
    affine_compact(affine);
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
    affine_compact(&sum);
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
    LoopExpr *expr = expr_new(kernel, E_LOCAL, kernel->locals.at[local].type);
    expr->index = local;
    expr->arity = count;
    expr->operand = operands_copy(kernel, subscript, count);
    return expr;
}

LoopExpr *x_load(LoopKernel *kernel, uint32_t buffer, LoopExpr *index) {
    kdc_assert(buffer < kernel->buffers.count && index->type == S_INDEX);
    LoopExpr *expr = expr_new(kernel, E_LOAD, kernel->buffers.at[buffer].type);
    expr->index = buffer;
    expr->arity = 1;
    expr->operand = operands_copy(kernel, &index, 1);
    return expr;
}

LoopExpr *x_extent(LoopKernel *kernel, uint32_t extent) {
    kdc_assert(extent < kernel->extent_count);
    LoopExpr *expr = expr_new(kernel, E_EXTENT, S_INDEX);
    expr->index = extent;
    return expr;
}

LoopExpr *x_frame(LoopKernel *kernel, uint32_t field) {
    kdc_assert(field == FRAME_SEED || field == FRAME_ITERATION);
    LoopExpr *expr = expr_new(kernel, E_FRAME, S_INDEX);
    expr->index = field;
    return expr;
}

LoopExpr *x_range(LoopKernel *kernel, uint32_t which) {
    kdc_assert(which >= RANGE_LO && which <= RANGE_THREAD);
    LoopExpr *expr = expr_new(kernel, E_RANGE, S_INDEX);
    expr->index = which;
    return expr;
}

// ---- statements
// --------------------------------------------------------------------------------------

LoopKernel *loop_kernel_new(Arena *arena, const char *name) {
    LoopKernel *kernel = arena_new(arena, LoopKernel);
    kernel->arena = arena;
    kernel->name = arena_strdup(arena, name);
    return kernel;
}

uint32_t loop_extent(LoopKernel *kernel) {
    return kernel->extent_count++;
}

uint32_t loop_buffer(LoopKernel *kernel, const char *name, ScalarType type, BufferRole role,
                     int64_t count) {
    LoopBuffer buffer = {arena_strdup(kernel->arena, name), type, role, count, 0};
    vec_push(kernel->arena, &kernel->buffers, buffer);
    return (uint32_t)kernel->buffers.count - 1;
}

static LoopStmt *append(LoopKernel *kernel, LoopBody *body, StmtKind kind, uint32_t index) {
    LoopStmt *stmt = arena_new(kernel->arena, LoopStmt);
    stmt->kind = kind;
    stmt->index = index;
    vec_push(kernel->arena, body, stmt);
    return stmt;
}

uint32_t loop_local(LoopKernel *kernel, LoopBody *body, const char *name, ScalarType type,
                    const int64_t *dim, uint32_t rank) {
    LoopLocal local = {arena_strdup(kernel->arena, name), type, rank, {0}};
    kdc_assert(rank <= 4);
    for (uint32_t i = 0; i < rank; i++)
        local.dim[i] = dim[i];
    vec_push(kernel->arena, &kernel->locals, local);
    append(kernel, body, T_LOCAL, (uint32_t)kernel->locals.count - 1);
    return (uint32_t)kernel->locals.count - 1;
}

LoopStmt *loop_for(LoopKernel *kernel, LoopBody *body, LoopKind kind, const char *name,
                   LoopExpr *begin, LoopExpr *end, int64_t step) {
    kdc_assert(begin->type == S_INDEX && end->type == S_INDEX && step > 0);
    int64_t first, last;
    if (kind == LOOP_VECTOR && x_is_int(begin, &first) && x_is_int(end, &last) && last - first == 1)
        kind = LOOP_SERIAL; // its variable is a constant: there are no lanes
    LoopVar var = {arena_strdup(kernel->arena, name), kind, begin, end, step};
    vec_push(kernel->arena, &kernel->vars, var);
    LoopStmt *stmt = append(kernel, body, T_FOR, (uint32_t)kernel->vars.count - 1);
    stmt->loop = kind;
    stmt->begin = begin;
    stmt->end = end;
    stmt->step = step;
    return stmt;
}

LoopExpr *loop_var(LoopKernel *kernel, const LoopStmt *loop) {
    int64_t begin, end;
    if (x_is_int(loop->begin, &begin) && x_is_int(loop->end, &end) && end > begin &&
        end - begin <= loop->step && loop->loop != LOOP_PARALLEL)
        return x_int(kernel, begin); // a single iteration
    LoopExpr *expr = expr_new(kernel, E_VAR, S_INDEX);
    expr->index = loop->index;
    return expr;
}

LoopExpr *loop_let(LoopKernel *kernel, LoopBody *body, const char *name, LoopExpr *value) {
    if (value->arity == 0) // constants, variables and other lets have a name already
        return value;
    LoopLet let = {arena_strdup(kernel->arena, name), value->type, value};
    vec_push(kernel->arena, &kernel->lets, let);
    uint32_t index = (uint32_t)kernel->lets.count - 1;
    append(kernel, body, T_LET, index)->value = value;
    LoopExpr *expr = expr_new(kernel, E_LET, value->type);
    expr->index = index;
    return expr;
}

static LoopStmt *append_assignment(LoopKernel *kernel, LoopBody *body, StmtKind kind,
                                   uint32_t index, LoopExpr **subscript, uint32_t count,
                                   LoopExpr *value) {
    LoopStmt *stmt = append(kernel, body, kind, index);
    stmt->subscript_count = count;
    stmt->subscript = operands_copy(kernel, subscript, count);
    stmt->value = value;
    return stmt;
}

void loop_set(LoopKernel *kernel, LoopBody *body, uint32_t local, LoopExpr **subscript,
              uint32_t count, LoopExpr *value) {
    kdc_assert(kernel->locals.at[local].type == value->type);
    kdc_assert(kernel->locals.at[local].rank == count);
    append_assignment(kernel, body, T_SET, local, subscript, count, value);
}

void loop_accumulate(LoopKernel *kernel, LoopBody *body, uint32_t local, LoopExpr **subscript,
                     uint32_t count, ScalarOp op, LoopExpr *value) {
    kdc_assert(op == X_add || op == X_max || op == X_min);
    kdc_assert(kernel->locals.at[local].type == value->type);
    kdc_assert(kernel->locals.at[local].rank == count);
    append_assignment(kernel, body, T_ACCUMULATE, local, subscript, count, value)->op = op;
}

void loop_store(LoopKernel *kernel, LoopBody *body, uint32_t buffer, LoopExpr *index,
                LoopExpr *value) {
    kdc_assert(kernel->buffers.at[buffer].type == value->type && index->type == S_INDEX);
    append_assignment(kernel, body, T_STORE, buffer, &index, 1, value);
}

LoopStmt *loop_if(LoopKernel *kernel, LoopBody *body, LoopExpr *condition) {
    kdc_assert(condition->type == S_BOOL);
    LoopStmt *stmt = append(kernel, body, T_IF, 0);
    stmt->value = condition;
    return stmt;
}

void loop_ask(LoopKernel *kernel, LoopBody *body) {
    append(kernel, body, T_ASK, 0);
}

LoopStmt *loop_prefetch(LoopKernel *kernel, LoopBody *body) {
    kernel->prefetching = true;
    return append(kernel, body, T_PREFETCH, 0);
}

void loop_prefetch_end(LoopKernel *kernel) {
    kernel->prefetching = false;
}

void loop_call(LoopKernel *kernel, LoopBody *body, const char *entry, LoopExpr **argument,
               uint32_t count) {
    LoopStmt *stmt = append(kernel, body, T_CALL, 0);
    stmt->entry = arena_strdup(kernel->arena, entry);
    stmt->argument_count = count;
    stmt->argument = operands_copy(kernel, argument, count);
}

// ---- looking
// -------------------------------------------------------------------------------------------

// Turns of a loop; of one whose end is the lesser of two, the most there may be; 1: unknown.
static int64_t turns_of(LoopKernel *kernel, const LoopStmt *loop) {
    const LoopExpr *end = loop->end;
    int64_t count;
    if (loop->loop == LOOP_VECTOR || loop->loop == LOOP_PARALLEL)
        return 1;
    while (end->kind == E_LET)
        end = kernel->lets.at[end->index].value;
    LoopExpr *choice[2] = {loop->end, loop->end};
    if (end->kind == E_APPLY && end->op == X_min)
        memcpy(choice, end->operand, sizeof choice);
    for (int i = 0; i < 2; i++) {
        if (x_is_int(x_sub(kernel, choice[i], loop->begin), &count))
            return count / loop->step;
    }
    return 1;
}

static int64_t asks_of(LoopKernel *kernel, const LoopBody *body) {
    int64_t count = 0;
    for (size_t i = 0; i < body->count; i++) {
        const LoopStmt *stmt = body->at[i];
        int64_t inner = asks_of(kernel, &stmt->body) + asks_of(kernel, &stmt->other);
        if (inner && stmt->kind == T_FOR)
            inner *= turns_of(kernel, stmt);
        count += inner + (stmt->kind == T_ASK);
    }
    return count;
}

int64_t loop_count_asks(LoopKernel *kernel) {
    return asks_of(kernel, &kernel->body);
}

static bool expr_has_type(const LoopExpr *expr, ScalarType type) {
    if (expr->type == type)
        return true;
    for (uint32_t i = 0; i < expr->arity; i++) {
        if (expr_has_type(expr->operand[i], type))
            return true;
    }
    return false;
}

static bool body_has_type(const LoopBody *body, ScalarType type) {
    for (size_t i = 0; i < body->count; i++) {
        const LoopStmt *stmt = body->at[i];
        if ((stmt->value && expr_has_type(stmt->value, type)) || body_has_type(&stmt->body, type) ||
            body_has_type(&stmt->other, type))
            return true;
    }
    return false;
}

uint32_t loop_lanes(const LoopKernel *kernel, const LoopStmt *loop) {
    (void)kernel;
    return body_has_type(&loop->body, S_F64) ? 8 : 16;
}

const LoopStmt *loop_parallel(const LoopKernel *kernel) {
    for (size_t i = 0; i < kernel->body.count; i++) {
        const LoopStmt *stmt = kernel->body.at[i];
        if (stmt->kind == T_FOR && stmt->loop == LOOP_PARALLEL)
            return stmt;
    }
    return NULL;
}

int64_t loop_local_count(const LoopLocal *local) {
    int64_t count = 1;
    for (uint32_t i = 0; i < local->rank; i++)
        count *= local->dim[i];
    return count;
}

static int64_t scratch_bytes(const LoopKernel *kernel, size_t end) {
    int64_t bytes = 0;
    for (size_t i = 0; i < end; i++) {
        const LoopBuffer *buffer = &kernel->buffers.at[i];
        if (buffer->role == BUFFER_SCRATCH)
            bytes += (buffer->count * (int64_t)scalar_size_bytes(buffer->type) + 63) / 64 * 64;
    }
    return bytes;
}

int64_t loop_scratch_bytes(const LoopKernel *kernel) {
    return scratch_bytes(kernel, kernel->buffers.count);
}

int64_t loop_scratch_offset(const LoopKernel *kernel, uint32_t index) {
    return scratch_bytes(kernel, index);
}
