// runtime/linalg.c -- eigenvectors and singular vectors of small matrices, one matrix per call.
//
// All is computed in f64, serially, in an order that the shapes alone decide; only the results are
// rounded to f32. The matrix is first scaled by a power of two, so that squares neither overflow
// nor vanish.
//
// eigh: Householder reflections make a tridiagonal matrix T with Q^T A Q = T, implicitly shifted QL
// steps make that diagonal (Wilkinson and Reinsch 1971, II/2 and II/4). Its error is that of a
// symmetric matrix off by a few units in the last place of the largest value. The turns of the QL
// steps are written down first. If all vectors are wanted, they are then made to all rows of Q^T,
// a few columns at a time, which stay in the nearest cache; if `count` of n are, the turns and the
// reflections are made backwards to `count` unit vectors, which is n / count times less.
//
// svd: the shorter side's vectors are eigenvectors of the Gram matrix G of the shorter side, the
// longer side's their images. Squaring costs the small singular values half of their digits: the
// images are then turned against each other until they are orthogonal (one-sided Jacobi: Hestenes
// 1958), which gives back what the matrix tells; after the eigenvectors of G that is mostly one
// look at all products, the more so where the results are rounded to f32. If only leading vectors
// are wanted and their values are not small, where G is as good as the matrix, that look is left
// out.
//
// Rows are filled with zeros to whole lanes, and every element is the same sum in the same order
// however many of them a machine computes at once, products being rounded before they are added
// (KdcCompile.cmake: no contraction). So the versions for different machines, at the end of this
// file, give the same bits.
#include "runtime/kdrt.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "support/vector_sign.h"

enum {
    LANES = KDRT_LANES, // partial sums of a dot product
    TILE_ROWS = 4,      // of a product, computed at once
    TILE_DEPTH = 64,    // products that are added up before the sums go back to memory
    TILE_WIDE = 2,      // its columns, in vectors
    PANEL = 4,          // vectors of a row that are turned at once
    MOST_STEPS = 60,    // QL steps for one value; two or three are usual
    MOST_SWEEPS = 60,
};

static const double TINY = 1e-100;

// Leading values above this share of the largest one are taken from G, whose error is the unit
// roundoff by the square of the share.
static const double GRAM_IS_ENOUGH = 1e-2;

// Where results are rounded to f32, by up to 2^-24 of an element, vectors whose cosine is below
// 1/64 of that need no turn: it would be lost in the rounding.
static const double ORTHOGONAL_IN_F32 = 0x1p-30;

static void clear(double *a, int64_t n) {
    memset(a, 0, (size_t)n * sizeof *a);
}

// ---- matrices and work
// -----------------------------------------------------------------------------

/// c[i][j] = sum over k < depth of a[i by_row + k by_depth] b[k][j], for i < rows and j < columns;
/// `upper`: at least those of j >= i. Columns are whole lanes, rows whole tiles.
typedef struct Product {
    double *c;
    const double *a, *b;
    int64_t by_row, by_depth, rows, columns, depth;
    bool upper;
} Product;

/// a [w, w], of which n rows and columns are the matrix and the rest zeros, is used up. `turns`
/// holds what QL steps have turned: for each the row m where it begins, how many turns it made,
/// their cosines and sines, and once more how many. d becomes the values, largest first, e the row
/// of each of them.
typedef struct Eigen {
    double *a, *q;            // [w, w]; the rows of q become the vectors
    double *turns;            // [4, w, w], of which `used` are; 1.0 to 1.5 turns of n * n are usual
    double *d, *e, *beta, *p; // [w]
    int64_t n, w, used;
    bool has_rows; // q holds Q^T and what turns were made to it
} Eigen;

static inline Eigen eigen_at(double *work, int64_t n) {
    int64_t w = kdrt_whole_lanes(n);
    Eigen t = {.a = work, .n = n, .w = w};
    t.q = t.a + w * w;
    t.turns = t.q + w * w;
    t.d = t.turns + 4 * w * w;
    t.e = t.d + w;
    t.beta = t.e + w;
    t.p = t.beta + w;
    return t;
}

/// x is [m, n], p and q its shorter and its longer side, in whole lanes wp and wq; `tall` has the
/// longer side as rows [wq, wp], `wide` the shorter side [wp, wq]. `s` holds the shorter side's
/// vectors as rows [wp, wp], `l` their images, which are the longer side's vectors times the
/// singular values: rows [wp, wq], `kept` of them, in the place of `tall`. Two rows are orthogonal
/// if their cosine is no larger than `tolerance`.
typedef struct Svd {
    double *tall, *wide, *s, *l, *d;
    int64_t m, n, p, q, wp, wq, kept;
    double tolerance;
    Eigen eigen;
} Svd;

static inline Svd svd_at(double *work, int64_t m, int64_t n) {
    int64_t p = m < n ? m : n, q = m < n ? n : m;
    int64_t wp = kdrt_whole_lanes(p), wq = kdrt_whole_lanes(q);
    Svd t = {.m = m, .n = n, .p = p, .q = q, .wp = wp, .wq = wq};
    t.l = t.tall = work;
    t.wide = work + wp * wq;
    t.eigen = eigen_at(t.wide + wp * wq, p);
    t.d = t.eigen.d;
    // As well as dot() can tell.
    t.tolerance = (4 + sqrt((double)q)) * DBL_EPSILON;
    return t;
}

// ---- one QL step
// -----------------------------------------------------------------------------

// The first place from l on where T falls in two, or its last.
static inline int64_t end_of_block(const double *d, const double *e, int64_t l, int64_t n) {
    while (l + 1 < n && fabs(e[l]) > DBL_EPSILON / 2 * (fabs(d[l]) + fabs(d[l + 1])) + TINY)
        l++;
    return l;
}

// The length of (a, b): by squares where none of them is lost. A deployed library has no hypot().
static inline double length(double a, double b) {
    double square = a * a + b * b;
    if (square > 1e-200 && square < 1e200)
        return sqrt(square);
    double larger = fabs(a) > fabs(b) ? fabs(a) : fabs(b);
    double ratio = (fabs(a) > fabs(b) ? fabs(b) : fabs(a)) / larger;
    return larger > 0 ? larger * sqrt(1 + ratio * ratio) : 0;
}

// One QL step with Wilkinson's shift on the block l .. m of T: how many turns it makes, of rows m
// and m - 1 first. `turn` gets their cosines and sines.
static inline int64_t ql_step(double *restrict d, double *restrict e, double *restrict turn,
                              int64_t l, int64_t m) {
    double half = (d[l + 1] - d[l]) / (2 * e[l]);
    double shift = d[l] - e[l] / (half + copysign(length(half, 1), half));
    double g = d[m] - shift, sine = 1, cosine = 1, carried = 0;
    for (int64_t i = m - 1; i >= l; i--) {
        double f = sine * e[i], b = cosine * e[i], r = length(f, g);
        e[i + 1] = r;
        if (r == 0) { // the bulge is gone early: the block falls in two here
            d[i + 1] -= carried;
            e[m] = 0;
            return m - 1 - i;
        }
        sine = f / r;
        cosine = g / r;
        g = d[i + 1] - carried;
        r = (d[i] - g) * sine + 2 * cosine * b;
        carried = sine * r;
        d[i + 1] = g + carried;
        g = cosine * r - b;
        *turn++ = cosine;
        *turn++ = sine;
    }
    d[l] -= carried;
    e[l] = g;
    e[m] = 0;
    return m - l;
}

// ---- versions
// --------------------------------------------------------------------------------------
//
// The one for any machine, and those for x86 with wider registers.

#define UNROLL _Pragma("GCC unroll 8")

#define FN(name) name##_any
#define TARGET
#define WIDTH 2
#include "runtime/linalg_body.inc"

#ifdef __x86_64__
#define FN(name) name##_avx2
#define TARGET   __attribute__((target("avx2")))
#define WIDTH    4
#include "runtime/linalg_body.inc"

#define FN(name) name##_avx512
#define TARGET   __attribute__((target("avx512f")))
#define WIDTH    8
#include "runtime/linalg_body.inc"

#define CHOOSE(name)                                                                               \
    (__builtin_cpu_supports("avx512f") ? name##_avx512                                             \
     : __builtin_cpu_supports("avx2")  ? name##_avx2                                               \
                                       : name##_any)
#else
#define CHOOSE(name) name##_any
#endif

// ---- entry points
// ----------------------------------------------------------------------------------

static void narrow(float *to, const double *from, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        to[i] = (float)from[i];
}

void kdrt_eigh_f64(const double *x, double *y, double *work, int64_t n, int64_t count) {
    Eigen t = eigen_at(work, n);
    clear(t.turns, t.w * t.w);
    memcpy(t.turns, x, (size_t)(n * n) * sizeof *x);
    CHOOSE(eigh)(&t, y, count);
}

void kdrt_eigh_f32(const float *x, float *y, double *work, int64_t n, int64_t count) {
    Eigen t = eigen_at(work, n);
    double *wide = work + kdrt_eigh_work(n, 0);
    clear(t.turns, t.w * t.w);
    for (int64_t i = 0; i < n * n; i++)
        t.turns[i] = x[i];
    CHOOSE(eigh)(&t, wide, count);
    narrow(y, wide, count * (1 + n));
}

// Where x goes, which is cleared, and the width of its rows.
static double *place_for(const Svd *t, int64_t *width) {
    double *to = t->n == t->p ? t->tall : t->wide;
    *width = t->n == t->p ? t->wp : t->wq;
    clear(to, t->wp * t->wq);
    return to;
}

void kdrt_svd_f64(const double *x, double *y, double *work, int64_t m, int64_t n, int64_t count) {
    Svd t = svd_at(work, m, n);
    int64_t width;
    double *to = place_for(&t, &width);
    for (int64_t i = 0; i < m; i++)
        memcpy(to + i * width, x + i * n, (size_t)n * sizeof *x);
    CHOOSE(svd)(&t, y, count);
}

void kdrt_svd_f32(const float *x, float *y, double *work, int64_t m, int64_t n, int64_t count) {
    Svd t = svd_at(work, m, n);
    int64_t width;
    double *to = place_for(&t, &width), *wide = work + kdrt_svd_work(m, n, 0);
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < n; j++)
            to[i * width + j] = x[i * n + j];
    }
    if (t.tolerance < ORTHOGONAL_IN_F32)
        t.tolerance = ORTHOGONAL_IN_F32;
    CHOOSE(svd)(&t, wide, count);
    narrow(y, wide, count * (1 + m + n));
}
