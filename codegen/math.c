// codegen/math.c -- exp, log and their kin in additions, multiplications and bit patterns.
//
// Each function is written once, as an expression of the loop IR over exactly rounded operations,
// so that every emitter and every machine gives the same bits, in scalar and in vector code.
// Arguments are reduced to a small interval around 0, where a polynomial takes over. Polynomials
// interpolate at the Chebyshev nodes of the interval (computed with 60 digits, then rounded); the
// remark behind each set is the largest distance to the function that it stands for, before
// rounding.
//
// Accuracy, held by tests/unit/codegen/math.c: within 2.5 ulp, most within 1.5; sin and cos keep
// that distance to the exact value in units of 2^-24 and 2^-53 for |x| up to 10^4 and 10^8. NaN
// gives NaN, overflow infinity, underflow zero or a denormal where these are not flushed.
#include <float.h>
#include <math.h>

#include "codegen/emit.h"
#include "support/diag.h"

typedef struct Math {
    LoopKernel *kernel;
    ScalarType type;
    ScalarType bits;   // integers of the same size
    int mantissa_bits; // stored ones
    int64_t bias;
    double magic; // 1.5 * 2^mantissa_bits: adding it rounds to an integer, kept in the low bits
    int64_t magic_bits;
    double ln2_hi, ln2_lo; // ln2_hi times any exponent is exact
    double smallest;       // normal number
} Math;

static Math math_of(LoopKernel *kernel, ScalarType type) {
    if (type == S_F32)
        return (Math){
            kernel,         type,   S_I32, 23, 127, 0x1.8p23, 0x4b400000, 0.693145751953125,
            1.42860682e-06, FLT_MIN};
    return (Math){kernel,
                  type,
                  S_INDEX,
                  52,
                  1023,
                  0x1.8p52,
                  0x4338000000000000,
                  0.69314718036912382,
                  1.9082149292705877e-10,
                  DBL_MIN};
}

// ---- shorthands
// ------------------------------------------------------------------------------------

static LoopExpr *real(const Math *m, double value) {
    return x_real(m->kernel, value, m->type);
}

static LoopExpr *integer(const Math *m, int64_t value) {
    return m->bits == S_INDEX ? x_int(m->kernel, value)
                              : x_const(m->kernel, (double)value, m->bits);
}

static LoopExpr *add(const Math *m, LoopExpr *a, LoopExpr *b) {
    return x2(m->kernel, X_add, a, b);
}

static LoopExpr *sub(const Math *m, LoopExpr *a, LoopExpr *b) {
    return x2(m->kernel, X_sub, a, b);
}

static LoopExpr *mul(const Math *m, LoopExpr *a, LoopExpr *b) {
    return x2(m->kernel, X_mul, a, b);
}

static LoopExpr *quotient(const Math *m, LoopExpr *a, LoopExpr *b) {
    return x2(m->kernel, X_div, a, b);
}

static LoopExpr *fused(const Math *m, LoopExpr *a, LoopExpr *b, LoopExpr *c) {
    return x3(m->kernel, X_fma, a, b, c);
}

static LoopExpr *negated(const Math *m, LoopExpr *a) {
    return x1(m->kernel, X_neg, a);
}

static LoopExpr *magnitude(const Math *m, LoopExpr *a) {
    return x1(m->kernel, X_abs, a);
}

static LoopExpr *less(const Math *m, LoopExpr *a, LoopExpr *b) {
    return x2(m->kernel, X_lt, a, b);
}

static LoopExpr *equal(const Math *m, LoopExpr *a, LoopExpr *b) {
    return x2(m->kernel, X_eq, a, b);
}

static LoopExpr *choose(const Math *m, LoopExpr *condition, LoopExpr *a, LoopExpr *b) {
    return x3(m->kernel, X_select, condition, a, b);
}

static LoopExpr *clamp(const Math *m, LoopExpr *x, double lo, double hi) {
    return x2(m->kernel, X_min, x2(m->kernel, X_max, x, real(m, lo)), real(m, hi));
}

static LoopExpr *bits_of(const Math *m, LoopExpr *a) {
    return x1(m->kernel, X_bits, a);
}

static LoopExpr *from_bits(const Math *m, LoopExpr *a) {
    return x1(m->kernel, X_from_bits, a);
}

static LoopExpr *shift_left(const Math *m, LoopExpr *a, int64_t places) {
    return x2(m->kernel, X_shl, a, integer(m, places));
}

static LoopExpr *shift_right(const Math *m, LoopExpr *a, int64_t places) {
    return x2(m->kernel, X_shr, a, integer(m, places));
}

/// coefficient[0] + x * (coefficient[1] + x * ...)
static LoopExpr *polynomial(const Math *m, const double *coefficient, int count, LoopExpr *x) {
    LoopExpr *sum = real(m, coefficient[count - 1]);
    for (int i = count - 1; i-- > 0;)
        sum = fused(m, sum, x, real(m, coefficient[i]));
    return sum;
}

#define POLYNOMIAL(m, name, x)                                                                     \
    ((m)->type == S_F32 ? polynomial(m, name##_f32, sizeof name##_f32 / sizeof(double), x)         \
                        : polynomial(m, name##_f64, sizeof name##_f64 / sizeof(double), x))

/// 2^n for an integer n whose result is a normal number.
static LoopExpr *power_of_two(const Math *m, LoopExpr *n) {
    return from_bits(m, shift_left(m, add(m, n, integer(m, m->bias)), m->mantissa_bits));
}

/// The sign of `sign` on `value`, which is not negative.
static LoopExpr *with_sign(const Math *m, LoopExpr *value, LoopExpr *sign) {
    LoopExpr *mask = integer(m, m->bits == S_INDEX ? INT64_MIN : INT32_MIN);
    LoopExpr *bit = x2(m->kernel, X_bit_and, bits_of(m, sign), mask);
    return from_bits(m, x2(m->kernel, X_bit_or, bits_of(m, value), bit));
}

// ---- exponentials
// ------------------------------------------------------------------------------------

// (e^r - 1 - r) / r^2 for |r| <= ln(2) / 2
static const double exp_f32[] = {0.5,           0.166666672,   0.041666463,
                                 0.00833331048, 0.00139337312, 0.000198910799}; // 1.4e-9
static const double exp_f64[] = {0.5,
                                 0.16666666666666671,
                                 0.041666666666666671,
                                 0.0083333333333260838,
                                 0.0013888888888883711,
                                 0.00019841269875002279,
                                 2.4801587325677461e-05,
                                 2.7557255170000888e-06,
                                 2.7557273478718582e-07,
                                 2.5105312729622103e-08,
                                 2.0914755325893202e-09}; // 1.4e-18

/// x = n ln 2 + r: gives the integer n, and e^r - 1.
static LoopExpr *reduce_exp(const Math *m, LoopExpr *x, LoopExpr **n) {
    LoopExpr *t = fused(m, x, real(m, 1.4426950408889634), real(m, m->magic));
    LoopExpr *k = sub(m, t, real(m, m->magic));
    LoopExpr *r = fused(m, k, real(m, -m->ln2_hi), x);
    r = fused(m, k, real(m, -m->ln2_lo), r);
    *n = sub(m, bits_of(m, t), integer(m, m->magic_bits));
    return fused(m, mul(m, r, r), POLYNOMIAL(m, exp, r), r);
}

/// e^x = 2^n e^r; the power is taken in two halves, since n goes beyond the exponents of normal
/// numbers.
static LoopExpr *expand_exp(const Math *m, LoopExpr *x) {
    LoopExpr *n;
    x = m->type == S_F32 ? clamp(m, x, -150, 130) : clamp(m, x, -760, 720);
    LoopExpr *grown = add(m, reduce_exp(m, x, &n), real(m, 1));
    LoopExpr *half = shift_right(m, n, 1);
    LoopExpr *scaled = mul(m, grown, power_of_two(m, half));
    return mul(m, scaled, power_of_two(m, sub(m, n, half)));
}

/// e^x - 1 = 2^n (e^r - 1) + 2^n - 1. With h = 2^(n-1) it is 2 (h (e^r - 1) + (h - 1/2)), which
/// does not overflow early, and for n = 0 is e^r - 1 exactly.
static LoopExpr *expand_expm1(const Math *m, LoopExpr *x) {
    LoopExpr *n;
    x = m->type == S_F32 ? clamp(m, x, -20, 89) : clamp(m, x, -40, 710);
    LoopExpr *grown = reduce_exp(m, x, &n);
    LoopExpr *h = power_of_two(m, sub(m, n, integer(m, 1)));
    LoopExpr *sum = fused(m, h, grown, sub(m, h, real(m, 0.5)));
    return add(m, sum, sum);
}

/// tanh x = E / (E + 2) with E = e^(2|x|) - 1, and the sign of x.
static LoopExpr *expand_tanh(const Math *m, LoopExpr *x) {
    LoopExpr *a = magnitude(m, x);
    LoopExpr *twice = x2(m->kernel, X_min, add(m, a, a), real(m, 80));
    LoopExpr *grown = expand_expm1(m, twice);
    return with_sign(m, quotient(m, grown, add(m, grown, real(m, 2))), x);
}

/// 1 / (1 + e^-x) for x >= 0, e^x / (1 + e^x) below: the exponential never overflows.
static LoopExpr *expand_sigmoid(const Math *m, LoopExpr *x) {
    LoopExpr *decay = expand_exp(m, negated(m, magnitude(m, x)));
    LoopExpr *numerator = choose(m, less(m, x, real(m, 0)), decay, real(m, 1));
    return quotient(m, numerator, add(m, decay, real(m, 1)));
}

// ---- logarithms
// --------------------------------------------------------------------------------------

// (2 artanh(s) / s - 2) / s^2 as a function of s^2, for m in [sqrt(1/2), sqrt(2)] and s as below
static const double log_f32[] = {0.666666865, 0.399887592, 0.295809865}; // 1.9e-7, times s^3
static const double log_f64[] = {0.66666666666666696, 0.39999999999898889, 0.28571428626253836,
                                 0.22222211089379496, 0.18182892432536871, 0.15331611722055008,
                                 0.14617807153417325}; // 3.1e-16, times s^3

/// x = 2^e (1 + f), 1 + f in [sqrt(1/2), sqrt(2)), for x > 0. Denormals are scaled up first.
static LoopExpr *split_logarithm(const Math *m, LoopExpr *x, LoopExpr **f) {
    double up = m->type == S_F32 ? 0x1p25 : 0x1p54;
    LoopExpr *is_small = less(m, x, real(m, m->smallest));
    x = choose(m, is_small, mul(m, x, real(m, up)), x);
    LoopExpr *bits = bits_of(m, x);
    int64_t root_half = m->type == S_F32 ? 0x3f3504f3 : 0x3fe6a09e667f3bcd;
    LoopExpr *e = shift_right(m, sub(m, bits, integer(m, root_half)), m->mantissa_bits);
    LoopExpr *fraction = from_bits(m, sub(m, bits, shift_left(m, e, m->mantissa_bits)));
    *f = sub(m, fraction, real(m, 1));
    LoopExpr *down = choose(m, is_small, real(m, -log2(up)), real(m, 0));
    return add(m, x_cast(m->kernel, e, m->type), down);
}

/// With s = f / (2 + f), log(1 + f) = 2 artanh s = 2 s + s R and 2 s = f - s f, s f = h - s h for h
/// = f^2 / 2: log(1 + f) = f - (h - s (h + R)), in which f is exact and all else is small.
static LoopExpr *log_of_positive(const Math *m, LoopExpr *x) {
    LoopExpr *f, *e = split_logarithm(m, x, &f);
    LoopExpr *s = quotient(m, f, add(m, f, real(m, 2)));
    LoopExpr *z = mul(m, s, s);
    LoopExpr *rest = mul(m, z, POLYNOMIAL(m, log, z));
    LoopExpr *h = mul(m, mul(m, f, real(m, 0.5)), f);
    LoopExpr *tail = fused(m, s, add(m, h, rest), mul(m, e, real(m, m->ln2_lo)));
    return fused(m, e, real(m, m->ln2_hi), sub(m, f, sub(m, h, tail)));
}

/// log 0 is -inf, log of what is below is NaN.
static LoopExpr *expand_log(const Math *m, LoopExpr *x) {
    LoopExpr *finite = choose(m, less(m, x, real(m, INFINITY)), log_of_positive(m, x), x);
    LoopExpr *pole = choose(m, equal(m, x, real(m, 0)), real(m, -INFINITY), real(m, NAN));
    return choose(m, less(m, real(m, 0), x), finite, pole);
}

/// log(1 + x) = log u + (x - (u - 1)) / u to first order in what u = 1 + x lost by rounding.
static LoopExpr *expand_log1p(const Math *m, LoopExpr *x) {
    LoopExpr *u = add(m, x, real(m, 1));
    LoopExpr *lost = sub(m, x, sub(m, u, real(m, 1)));
    LoopExpr *logarithm = expand_log(m, u);
    LoopExpr *inside = x_and(m->kernel, less(m, real(m, 0), u), less(m, u, real(m, INFINITY)));
    return choose(m, inside, add(m, logarithm, quotient(m, lost, u)), logarithm);
}

// ---- powers
// --------------------------------------------------------------------------------------------

/// log x as an unevaluated sum hi + lo, x > 0. As log_of_positive(), but keeping what the quotient
/// s and the sums lose: s + s_lo = f / (2 + f) to twice the precision.
static LoopExpr *log_in_two(const Math *m, LoopExpr *x, LoopExpr **lo) {
    LoopExpr *f, *e = split_logarithm(m, x, &f);
    LoopExpr *d = add(m, f, real(m, 2));
    LoopExpr *d_lo = sub(m, f, sub(m, d, real(m, 2)));
    LoopExpr *s = quotient(m, f, d);
    LoopExpr *remainder = sub(m, fused(m, negated(m, s), d, f), mul(m, s, d_lo));
    LoopExpr *s_lo = quotient(m, remainder, d);
    LoopExpr *z = mul(m, s, s);
    LoopExpr *rest = mul(m, mul(m, s, z), POLYNOMIAL(m, log, z));
    LoopExpr *small = add(m, add(m, s_lo, s_lo), rest);
    LoopExpr *twice = add(m, s, s);
    LoopExpr *whole = mul(m, e, real(m, m->ln2_hi)); // exact
    LoopExpr *hi = add(m, whole, twice);
    LoopExpr *lost = add(m, sub(m, whole, hi), twice);
    LoopExpr *tail = add(m, lost, fused(m, e, real(m, m->ln2_lo), small));
    LoopExpr *sum = add(m, hi, tail);
    *lo = add(m, sub(m, hi, sum), tail);
    return sum;
}

/// |x|^y for finite positive |x|: e^(p + p_lo) = e^p (1 + p_lo).
static LoopExpr *power_of_positive(const Math *m, LoopExpr *a, LoopExpr *y) {
    LoopExpr *lo, *hi = log_in_two(m, a, &lo);
    LoopExpr *p = mul(m, y, hi);
    LoopExpr *p_lo = add(m, fused(m, y, hi, negated(m, p)), mul(m, y, lo));
    p_lo = choose(m, less(m, magnitude(m, p), real(m, 1e4)), p_lo, real(m, 0));
    LoopExpr *power = expand_exp(m, p);
    return choose(m, less(m, power, real(m, INFINITY)), fused(m, power, p_lo, power), power);
}

static LoopExpr *expand_pow(const Math *m, LoopExpr *x, LoopExpr *y) {
    LoopKernel *k = m->kernel;
    LoopExpr *zero = real(m, 0), *one = real(m, 1), *infinity = real(m, INFINITY);
    LoopExpr *a = magnitude(m, x);
    LoopExpr *power = power_of_positive(m, a, y);
    LoopExpr *grows = less(m, zero, y);
    power = choose(m, equal(m, a, zero), choose(m, grows, zero, infinity), power);
    power = choose(m, equal(m, a, infinity), choose(m, grows, infinity, zero), power);
    power = choose(m, equal(m, a, one), one, power);
    LoopExpr *whole = equal(m, x1(k, X_floor, y), y);
    LoopExpr *half = mul(m, y, real(m, 0.5));
    LoopExpr *even = equal(m, x1(k, X_floor, half), half);
    LoopExpr *minus = choose(m, even, power, negated(m, power));
    LoopExpr *below = choose(m, whole, minus, real(m, NAN));
    power = choose(m, less(m, x, zero), below, power);
    LoopExpr *unordered = x2(k, X_or, x2(k, X_ne, x, x), x2(k, X_ne, y, y));
    power = choose(m, unordered, add(m, x, y), power);
    return choose(m, x2(k, X_or, equal(m, y, zero), equal(m, x, one)), one, power);
}

// ---- error function
// ------------------------------------------------------------------------------------

// erf(x) / x - 1 as a function of x^2, |x| <= 1
static const double erf_f32[] = {0.128379167,   -0.376126379,    0.112837821,    -0.0268654302,
                                 0.00522103161, -0.000848408032, 0.000112659589, -9.66704465e-06};
static const double erf_f64[] = {
    0.12837916709551259,     -0.37612638903183754,    0.11283791670955121,
    -0.02686617064512984,    0.0052239776254232985,   -0.00085483270219348297,
    0.00012055332902888736,  -1.4925647567519332e-05, 1.6462045441468418e-06,
    -1.6364642158167616e-07, 1.4792401209404813e-08,  -1.216456005728345e-09,
    8.7090451290531062e-11,  -4.2309458242953377e-12}; // 2.2e-21; f32: 3.4e-11

// e^(x^2) erfc(x) as a function of t = (x - c) / (x + c): f32 with c = 2 on [1, 4], f64 c = 3 on
// [1, 6]
static const double tail_f32[] = {0.255395681,   -0.427185833,  0.241658211,     -0.0789785236,
                                  0.00373214134, 0.00699485559, -0.000836589956, -0.000944159634};
static const double tail_f64[] = {
    0.17900115118138996,    -0.32623356004303722,   0.24560380171233487,
    -0.15011593650077898,   0.071665837197473076,   -0.024392499318915004,
    0.0042691363569612251,  0.00070774646669414252, -0.00059706249649245445,
    4.5254345589910087e-05, 6.4062792260460386e-05, -1.2845780030775907e-05,
    -8.00978093907608e-06,  2.0135111426447427e-06, 1.2755818949624478e-06,
    3.3813551420429039e-09}; // 5.3e-18; f32: 1.2e-10

static LoopExpr *expand_erf(const Math *m, LoopExpr *x) {
    double center = m->type == S_F32 ? 2 : 3;
    LoopExpr *a = magnitude(m, x), *z = mul(m, x, x);
    LoopExpr *inner = fused(m, x, POLYNOMIAL(m, erf, z), x);
    LoopExpr *c = x2(m->kernel, X_min, a, real(m, 2 * center)); // erf is 1 beyond
    LoopExpr *t = quotient(m, sub(m, c, real(m, center)), add(m, c, real(m, center)));
    LoopExpr *decay = expand_exp(m, negated(m, mul(m, c, c)));
    LoopExpr *outer = fused(m, negated(m, decay), POLYNOMIAL(m, tail, t), real(m, 1));
    return choose(m, less(m, a, real(m, 1)), inner, with_sign(m, outer, x));
}

// ---- sine and cosine
// -------------------------------------------------------------------------------------

// (sin(r) / r - 1) / r^2 and (cos(r) - 1 + r^2 / 2) / r^4 as functions of r^2, |r| <= pi / 4
static const double sin_f32[] = {-0.166666672, 0.00833333191, -0.000198400841, 2.72496209e-06};
static const double sin_f64[] = {-0.16666666666666666,    0.0083333333333333315,
                                 -0.00019841269841265041, 2.7557319219320579e-06,
                                 -2.5052106225994401e-08, 1.6058530596645953e-10,
                                 -7.5866368828251592e-13}; // 1.2e-20; f32: 2.8e-11
static const double cos_f32[] = {0.0416666679, -0.00138888881, 2.48005981e-05, -2.73007032e-07};
static const double cos_f64[] = {0.041666666666666664,   -0.0013888888888888887,
                                 2.4801587301584632e-05, -2.755731922139249e-07,
                                 2.0876755787492604e-09, -1.1470460319209511e-11,
                                 4.7458384125310228e-14}; // 6.5e-22; f32: 2.4e-12

/// sin(x + turns * pi / 2): x = n pi / 2 + r with pi / 2 in three parts, each product exact inside
/// its fma.
static LoopExpr *expand_sine(const Math *m, LoopExpr *x, int64_t turns) {
    static const double part[2][3] = {
        {1.57079637, -4.37113883e-08, -1.71512451e-15},
        {1.5707963267948966, 6.123233995736766e-17, -1.4973849048591698e-33}};
    LoopKernel *k = m->kernel;
    LoopExpr *t = fused(m, x, real(m, 0.63661977236758138), real(m, m->magic));
    LoopExpr *count = sub(m, t, real(m, m->magic));
    LoopExpr *r = x;
    for (int i = 0; i < 3; i++)
        r = fused(m, count, real(m, -part[m->type == S_F64][i]), r);
    LoopExpr *n = add(m, bits_of(m, t), integer(m, turns));
    LoopExpr *z = mul(m, r, r);
    LoopExpr *sine = fused(m, mul(m, r, z), POLYNOMIAL(m, sin, z), r);
    LoopExpr *rest = fused(m, z, real(m, -0.5), real(m, 1));
    LoopExpr *cosine = fused(m, mul(m, z, z), POLYNOMIAL(m, cos, z), rest);
    LoopExpr *none = integer(m, 0);
    LoopExpr *odd = x2(k, X_ne, x2(k, X_bit_and, n, integer(m, 1)), none);
    LoopExpr *minus = x2(k, X_ne, x2(k, X_bit_and, n, integer(m, 2)), none);
    LoopExpr *value = choose(m, odd, cosine, sine);
    return choose(m, minus, negated(m, value), value);
}

// ---- all
// -------------------------------------------------------------------------------------------------

bool math_is_expanded(ScalarOp op) {
    switch ((int)op) {
    case X_exp:
    case X_log:
    case X_log1p:
    case X_expm1:
    case X_rsqrt:
    case X_tanh:
    case X_sigmoid:
    case X_erf:
    case X_sin:
    case X_cos:
    case X_pow:
        return true;
    default:
        return false;
    }
}

/// f32 powers by way of f64, rounded twice at worst by half an ulp and a little.
static LoopExpr *expand_any_pow(const Math *m, LoopExpr *x, LoopExpr *y) {
    if (m->type == S_F64)
        return expand_pow(m, x, y);
    Math wide = math_of(m->kernel, S_F64);
    LoopExpr *power = expand_pow(&wide, x_cast(m->kernel, x, S_F64), x_cast(m->kernel, y, S_F64));
    return x_cast(m->kernel, power, S_F32);
}

LoopExpr *math_expand(LoopKernel *kernel, ScalarOp op, LoopExpr *const *argument) {
    LoopExpr *x = argument[0];
    Math math = math_of(kernel, x->type), *m = &math;
    switch ((int)op) {
    case X_exp:
        return expand_exp(m, x);
    case X_log:
        return expand_log(m, x);
    case X_log1p:
        return expand_log1p(m, x);
    case X_expm1:
        return expand_expm1(m, x);
    case X_rsqrt:
        return quotient(m, real(m, 1), x1(kernel, X_sqrt, x));
    case X_tanh:
        return expand_tanh(m, x);
    case X_sigmoid:
        return expand_sigmoid(m, x);
    case X_erf:
        return expand_erf(m, x);
    case X_sin:
        return expand_sine(m, x, 0);
    case X_cos:
        return expand_sine(m, x, 1);
    case X_pow:
        return expand_any_pow(m, x, argument[1]);
    default:
        kdc_bug("scalar op %s has no expansion", scalar_info[op].name);
    }
}
