/// Cases of the gradient tests: small graphs that end in %99, y, one or more for each op that has a
/// derivative.
///
/// A case names the storages by which y is differentiated, and the nodes. The first letter of a
/// storage's name says where its values are drawn: x from -2 .. 2, but not near 0; p from 0.5 .. 2;
/// u from -0.9 .. 0.9.
#ifndef KDC_TESTS_GRAD_CASES_H
#define KDC_TESTS_GRAD_CASES_H

#define S(name, type)        "storage parameter \"" name "\" : f64" type "\n"
#define READ(id, name, type) "  %" #id " = read \"" name "\" : f64" type "\n"

typedef struct GradCase {
    const char *name, *storages, *nodes;
} GradCase;

#define UNARY(op, name)                                                                            \
    {#op, S(name, "[3, 4]"), READ(0, name, "[3, 4]") "  %99 = " #op " %0 : f64[3, 4]\n"}
#define BINARY(op, a, b)                                                                           \
    {#op, S(a, "[3, 4]") S(b, "[3, 4]"),                                                           \
     READ(0, a, "[3, 4]") READ(1, b, "[3, 4]") "  %99 = " #op " %0, %1 : f64[3, 4]\n"},            \
        {#op " broadcast", S(a, "[2, 1, 4]") S(b, "[3, 1]"),                                       \
         READ(0, a, "[2, 1, 4]") READ(1, b, "[3, 1]") "  %99 = " #op " %0, %1 : f64[2, 3, 4]\n"},  \
        {#op " of a scalar", S(a, "[]") S(b, "[5]"),                                               \
         READ(0, a, "[]") READ(1, b, "[5]") "  %99 = " #op " %0, %1 : f64[5]\n"},                  \
        {#op " of itself", S(a, "[3, 4]"),                                                         \
         READ(0, a, "[3, 4]") "  %99 = " #op " %0, %0 : f64[3, 4]\n"}
#define REDUCE(op, attrs, from, to)                                                                \
    {#op " {" attrs "}", S("x", from),                                                             \
     READ(0, "x", from) "  %99 = " #op " %0 {" attrs "} : f64" to "\n"}
#define POW(c)                                                                                     \
    {"pow " #c, S("p", "[5]"),                                                                     \
     READ(0, "p", "[5]") "  %1 = const " #c " : f64[]\n  %99 = pow %0, %1 : f64[5]\n"}
#define EINSUM(spec, a, b, y)                                                                      \
    {"einsum " spec, S("xa", a) S("xb", b),                                                        \
     READ(0, "xa", a) READ(1, "xb", b) "  %99 = einsum %0, %1 {spec=\"" spec "\"} : f64" y "\n"}
#define CONV(name, attrs, x, w, y)                                                                 \
    {"conv2d " name, S("x", x) S("xw", w),                                                         \
     READ(0, "x", x) READ(1, "xw", w) "  %99 = conv2d %0, %1 {" attrs "} : f64" y "\n"},           \
        {"conv2d_input " name, S("x", y) S("xw", w),                                               \
         READ(0, "x", y) READ(1, "xw", w) "  %99 = conv2d_input %0, %1 {" attrs "} : f64" x "\n"}, \
        {"conv2d_weight " name, S("xa", x) S("xb", y),                                             \
         READ(0, "xa", x) READ(1, "xb", y) "  %99 = conv2d_weight %0, %1 {" attrs "} : f64" w      \
                                           "\n"}

static const GradCase grad_cases[] = {
    UNARY(neg, "x"),
    UNARY(abs, "x"),
    UNARY(exp, "x"),
    UNARY(log, "p"),
    UNARY(log1p, "u"),
    UNARY(expm1, "x"),
    UNARY(sqrt, "p"),
    UNARY(rsqrt, "p"),
    UNARY(tanh, "x"),
    UNARY(sigmoid, "x"),
    UNARY(erf, "x"),
    UNARY(sin, "x"),
    UNARY(cos, "x"),
    {"cast", S("x", "[3]"),
     READ(0, "x", "[3]") "  %1 = cast %0 : f32[3]\n  %99 = cast %1 : f64[3]\n"},
    BINARY(add, "xa", "xb"),
    BINARY(sub, "xa", "xb"),
    BINARY(mul, "xa", "xb"),
    BINARY(div, "xa", "pb"),
    BINARY(pow, "pa", "xb"),
    BINARY(max, "xa", "xb"),
    BINARY(min, "xa", "xb"),
    POW(0),
    POW(1),
    POW(2),
    POW(3),
    POW(5),
    POW(-1),
    POW(-2),
    POW(0.5),
    POW(1.5),
    POW(-0.7),
    {"pow of negatives", S("x", "[6]"),
     READ(0, "x", "[6]") "  %1 = const 3 : f64[]\n  %99 = pow %0, %1 : f64[6]\n"},
    {"where", S("xa", "[3, 4]") S("xb", "[4]"),
     READ(0, "xa", "[3, 4]") READ(1, "xb", "[4]") "  %2 = lt %0, %1 : bool[3, 4]\n"
                                                  "  %99 = where %2, %0, %1 : f64[3, 4]\n"},
    {"where that widens", S("xa", "[4]") S("xb", "[]"),
     READ(0, "xa", "[4]")
         READ(1, "xb", "[]") "  %2 = iota {axis=0} : i32[3, 1]\n"
                             "  %3 = const 1 : i32[]\n  %4 = lt %2, %3 : bool[3, 1]\n"
                             "  %99 = where %4, %0, %1 : f64[3, 4]\n"},
    {"reshape", S("x", "[3, 4]"), READ(0, "x", "[3, 4]") "  %99 = reshape %0 : f64[2, 6]\n"},
    {"broadcast", S("x", "[3, 1]"), READ(0, "x", "[3, 1]") "  %99 = broadcast %0 : f64[2, 3, 4]\n"},
    {"broadcast to itself", S("x", "[3]"), READ(0, "x", "[3]") "  %99 = broadcast %0 : f64[3]\n"},
    {"transpose", S("x", "[2, 3, 4]"),
     READ(0, "x", "[2, 3, 4]") "  %99 = transpose %0 {perm=[2, 0, 1]} : f64[4, 2, 3]\n"},
    {"slice", S("x", "[4, 5]"),
     READ(0, "x",
          "[4, 5]") "  %99 = slice %0 {start=[1, 0], limit=[3, 5], step=[1, 1]} : f64[2, 5]\n"},
    {"slice in steps", S("x", "[7, 9]"),
     READ(0, "x",
          "[7, 9]") "  %99 = slice %0 {start=[1, 2], limit=[6, 9], step=[3, 2]} : f64[2, 4]\n"},
    {"slice in steps to the end", S("x", "[2, 8]"),
     READ(0, "x",
          "[2, 8]") "  %99 = slice %0 {start=[0, 1], limit=[2, 8], step=[1, 3]} : f64[2, 3]\n"},
    {"slice in steps beyond the end", S("x", "[2, 8]"),
     READ(0, "x",
          "[2, 8]") "  %99 = slice %0 {start=[0, 1], limit=[2, 8], step=[1, 6]} : f64[2, 2]\n"},
    {"pad", S("x", "[2, 3]"),
     READ(0, "x", "[2, 3]") "  %99 = pad %0 {low=[1, 0], high=[0, 2], value=1} : f64[3, 5]\n"},
    {"reverse", S("x", "[2, 3]"),
     READ(0, "x", "[2, 3]") "  %99 = reverse %0 {axes=[1]} : f64[2, 3]\n"},
    {"concat", S("xa", "[2, 3]") S("xb", "[2, 1]"),
     READ(0, "xa", "[2, 3]")
         READ(1, "xb", "[2, 1]") "  %99 = concat %0, %1, %0 {axis=1} : f64[2, 7]\n"},
    {"windows", S("x", "[2, 2, 5, 6]"),
     READ(0, "x", "[2, 2, 5, 6]") "  %99 = windows %0 {kernel=[3, 2], stride=[2, 1], "
                                  "padding=[1, 0, 1, 1], dilation=[1, 2], value=-1} : f64[2, 2, 3, "
                                  "5, 3, 2]\n"},
    {"fold", S("x", "[2, 1, 3, 5, 3, 2]"),
     READ(0, "x",
          "[2, 1, 3, 5, 3, 2]") "  %99 = fold %0 {kernel=[3, 2], stride=[2, 1], "
                                "padding=[1, 0, 1, 1], dilation=[1, 2]} : f64[2, 1, 5, 6]\n"},
    {"take", S("x", "[4, 3]"),
     READ(0, "x",
          "[4, 3]") "  %1 = iota {axis=0} : i32[3]\n  %2 = const 2 : i32[]\n"
                    "  %3 = mul %1, %2 : i32[3]\n  %99 = take %0, %3 {axis=0} : f64[3, 3]\n"},
    {"take along an inner axis, twice and out of range", S("x", "[2, 3, 2]"),
     READ(0, "x", "[2, 3, 2]") "  %1 = iota {axis=1} : i32[2, 3]\n  %2 = const 2 : i32[]\n"
                               "  %3 = mul %1, %2 : i32[2, 3]\n  %4 = sub %3, %2 : i32[2, 3]\n"
                               "  %99 = take %0, %4 {axis=1} : f64[2, 2, 3, 2]\n"},
    {"put", S("x", "[4, 3]") S("xr", "[2, 3]"),
     READ(0, "x", "[4, 3]")
         READ(1, "xr", "[2, 3]") "  %2 = iota {axis=0} : i32[2]\n"
                                 "  %99 = put %0, %2, %1 {axis=0} : f64[4, 3]\n"},
    {"put over again", S("x", "[2, 4]") S("xr", "[2, 2, 3]"),
     READ(0, "x", "[2, 4]")
         READ(1, "xr", "[2, 2, 3]") "  %2 = iota {axis=1} : i32[2, 3]\n"
                                    "  %99 = put %0, %2, %1 {axis=1} : f64[2, 4]\n"},
    {"put_add", S("x", "[4, 3]") S("xr", "[3, 3]"),
     READ(0, "x", "[4, 3]")
         READ(1, "xr", "[3, 3]") "  %2 = const 1 : i32[3]\n"
                                 "  %99 = put_add %0, %2, %1 {axis=0} : f64[4, 3]\n"},
    REDUCE(sum, "axes=[0, 1]", "[3, 4]", "[]"),
    REDUCE(sum, "axes=[1]", "[2, 3, 4]", "[2, 4]"),
    REDUCE(sum, "axes=[0, 2], keep", "[2, 3, 4]", "[1, 3, 1]"),
    REDUCE(reduce_max, "axes=[0, 1]", "[3, 4]", "[]"),
    REDUCE(reduce_max, "axes=[1]", "[2, 3, 4]", "[2, 4]"),
    REDUCE(reduce_max, "axes=[0, 2], keep", "[2, 3, 4]", "[1, 3, 1]"),
    REDUCE(reduce_min, "axes=[0, 2]", "[2, 3, 4]", "[3]"),
    REDUCE(variance, "axes=[0, 1], correction=0", "[3, 4]", "[]"),
    REDUCE(variance, "axes=[1], correction=1", "[2, 3, 4]", "[2, 4]"),
    REDUCE(variance, "axes=[0, 2], keep, correction=0", "[2, 3, 4]", "[1, 3, 1]"),
    EINSUM("nk,mk->nm", "[3, 4]", "[2, 4]", "[3, 2]"),
    EINSUM("bij,bjk->bik", "[2, 3, 4]", "[2, 4, 2]", "[2, 3, 2]"),
    EINSUM("nchw,ndhw->ncd", "[2, 2, 2, 3]", "[2, 3, 2, 3]", "[2, 2, 3]"),
    EINSUM("i,j->ij", "[3]", "[4]", "[3, 4]"),
    EINSUM("ab,bc->c", "[3, 2]", "[2, 4]", "[4]"), // a is summed in one operand alone
    EINSUM("ab,cd->", "[3, 2]", "[2, 4]", "[]"),
    EINSUM("ij,ij->", "[3, 2]", "[3, 2]", "[]"),
    CONV("3x3", "stride=[1, 1], padding=[1, 1, 1, 1], dilation=[1, 1], groups=1", "[2, 3, 4, 5]",
         "[2, 3, 3, 3]", "[2, 2, 4, 5]"),
    CONV("strided", "stride=[2, 3], padding=[1, 0, 0, 1], dilation=[1, 1], groups=1",
         "[1, 2, 6, 7]", "[3, 2, 2, 3]", "[1, 3, 3, 2]"),
    CONV("dilated, in groups", "stride=[1, 1], padding=[2, 2, 2, 2], dilation=[2, 2], groups=2",
         "[1, 4, 5, 4]", "[2, 2, 3, 3]", "[1, 2, 5, 4]"),
    CONV("depthwise", "stride=[2, 2], padding=[1, 1, 1, 1], dilation=[1, 1], groups=3",
         "[1, 3, 5, 5]", "[3, 1, 3, 3]", "[1, 3, 3, 3]"),
    CONV("1x1", "stride=[1, 1], padding=[0, 0, 0, 0], dilation=[1, 1], groups=1", "[2, 3, 2, 2]",
         "[4, 3, 1, 1]", "[2, 4, 2, 2]"),
    {"eigh", S("x", "[2, 4, 4]"),
     READ(0, "x", "[2, 4, 4]") "  %99 = eigh %0 {count=4} : f64[2, 4, 5]\n"},
    {"eigh of the largest", S("x", "[5, 5]"),
     READ(0, "x", "[5, 5]") "  %99 = eigh %0 {count=2} : f64[2, 6]\n"},
    {"svd, square", S("x", "[2, 4, 4]"),
     READ(0, "x", "[2, 4, 4]") "  %99 = svd %0 {count=4} : f64[2, 4, 9]\n"},
    {"svd, tall", S("x", "[5, 3]"),
     READ(0, "x", "[5, 3]") "  %99 = svd %0 {count=3} : f64[3, 9]\n"},
    {"svd, wide", S("x", "[3, 5]"),
     READ(0, "x", "[3, 5]") "  %99 = svd %0 {count=3} : f64[3, 9]\n"},
    {"svd of the largest, tall", S("x", "[7, 4]"),
     READ(0, "x", "[7, 4]") "  %99 = svd %0 {count=2} : f64[2, 12]\n"},
    {"svd of the largest, wide", S("x", "[2, 3, 6]"),
     READ(0, "x", "[2, 3, 6]") "  %99 = svd %0 {count=1} : f64[2, 1, 10]\n"},
    // Compositions in which several rules meet.
    {"softmax", S("x", "[3, 4]"),
     READ(0, "x",
          "[3, 4]") "  %1 = reduce_max %0 {axes=[1], keep} : f64[3, 1]\n"
                    "  %2 = stop_gradient %1 : f64[3, 1]\n  %3 = sub %0, %2 : f64[3, 4]\n"
                    "  %4 = exp %3 : f64[3, 4]\n  %5 = sum %4 {axes=[1], keep} : f64[3, 1]\n"
                    "  %99 = div %4, %5 : f64[3, 4]\n"},
    {"batch norm", S("x", "[4, 2, 3, 3]") S("pg", "[2, 1, 1]") S("xb", "[2, 1, 1]"),
     READ(0, "x", "[4, 2, 3, 3]") READ(1, "pg", "[2, 1, 1]") READ(
         2, "xb",
         "[2, 1, 1]") "  %3 = sum %0 {axes=[0, 2, 3], keep} : f64[1, 2, 1, 1]\n  %4 = const 36 : "
                      "f64[]\n"
                      "  %5 = div %3, %4 : f64[1, 2, 1, 1]\n  %6 = sub %0, %5 : f64[4, 2, 3, 3]\n"
                      "  %7 = variance %0 {axes=[0, 2, 3], keep, correction=0} : f64[1, 2, 1, 1]\n"
                      "  %8 = const 1e-5 : f64[]\n  %9 = add %7, %8 : f64[1, 2, 1, 1]\n"
                      "  %10 = rsqrt %9 : f64[1, 2, 1, 1]\n  %11 = mul %6, %10 : f64[4, 2, 3, 3]\n"
                      "  %12 = mul %11, %1 : f64[4, 2, 3, 3]\n  %99 = add %12, %2 : f64[4, 2, 3, "
                      "3]\n"},
    {"a value used three times", S("x", "[3, 3]"),
     READ(0, "x", "[3, 3]") "  %1 = exp %0 : f64[3, 3]\n"
                            "  %2 = einsum %1, %0 {spec=\"ij,jk->ik\"} : f64[3, 3]\n  %3 = mul %2, "
                            "%1 : f64[3, 3]\n"
                            "  %99 = div %3, %1 : f64[3, 3]\n"},
};

#endif
