// runtime/linalg.c -- eigenvectors and singular vectors of small matrices, one matrix per call.
//
// All is computed in f64, serially, in an order that the shapes alone decide; only the results are
// rounded to f32. The matrix is first scaled by a power of two, so that squares neither overflow
// nor vanish.
//
// eigh: Householder reflections make a tridiagonal matrix T with Q^T A Q = T, implicitly shifted QL
// steps make that diagonal (Wilkinson and Reinsch 1971, II/2 and II/4). Its error is that of a
// symmetric matrix off by a few units in the last place of the largest value.
//
// svd: the shorter side's vectors are eigenvectors of the Gram matrix G of the shorter side, the
// longer side's their images. Squaring costs the small singular values half of their digits: the
// images are then turned against each other until they are orthogonal (one-sided Jacobi: Hestenes
// 1958), which gives back what the matrix tells; after the eigenvectors of G that is mostly one
// sweep of looking. If only leading vectors are wanted and their values are not small, where G is
// as good as the matrix, that sweep is left out.
//
// Loops run along rows, element by element and without reordered sums, so that a compiler may make
// vectors of them and the bits are the same.
#include "runtime/kdrt.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "support/vector_sign.h"

enum {
    LANES = 8,       // partial sums of a dot product
    MOST_STEPS = 60, // QL steps for one value; two or three are usual
    MOST_SWEEPS = 60,
};

static const double TINY = 1e-100;

// Leading values above this share of the largest one are taken from G, whose error is the unit
// roundoff by the square of the share.
static const double GRAM_IS_ENOUGH = 1e-2;

// ---- rows
// ------------------------------------------------------------------------------------------

static double dot(const double *restrict a, const double *restrict b, int64_t n) {
    double lane[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (int k = 0; k < LANES; k++)
            lane[k] += a[i + k] * b[i + k];
    }
    for (int k = 0; i < n; i++, k++)
        lane[k] += a[i] * b[i];
    return ((lane[0] + lane[4]) + (lane[2] + lane[6])) +
           ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

// y += factor x
static void add_row(double *restrict y, const double *restrict x, double factor, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        y[i] += factor * x[i];
}

// (a, b) becomes (cosine a - sine b, sine a + cosine b).
static void turn_rows(double *restrict a, double *restrict b, double cosine, double sine,
                      int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        double x = a[i], y = b[i];
        a[i] = cosine * x - sine * y;
        b[i] = sine * x + cosine * y;
    }
}

static void swap_rows(double *restrict a, double *restrict b, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        double x = a[i];
        a[i] = b[i];
        b[i] = x;
    }
}

static void scale_row(double *a, double factor, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        a[i] *= factor;
}

// The sign that makes the entry of largest magnitude positive; of entries that are as large but for
// rounding, the first counts.
static double sign_of_row(const double *a, int64_t n) {
    double largest = 0;
    for (int64_t i = 0; i < n; i++)
        largest = fmax(largest, fabs(a[i]));
    for (int64_t i = 0; i < n; i++) {
        if (fabs(a[i]) >= largest * SAME_MAGNITUDE)
            return a[i] < 0 ? -1 : 1;
    }
    return 1;
}

// The power of two that brings the largest of n finite magnitudes to 0.5 .. 1; 1 if all are zero,
// NaN if one is not finite.
static double scale_of(const double *a, int64_t n) {
    double largest = 0;
    int exponent;
    for (int64_t i = 0; i < n; i++) {
        double magnitude = fabs(a[i]);
        largest = magnitude > largest || magnitude != magnitude ? magnitude : largest;
        if (largest != largest)
            return NAN;
    }
    if (largest > DBL_MAX)
        return NAN;
    frexp(largest, &exponent);
    if (exponent < -1020) // its reciprocal is no finite number
        exponent = -1020;
    return largest > 0 ? ldexp(1, exponent) : 1;
}

// ---- symmetric matrices
// ----------------------------------------------------------------------------

// The reflection I - beta v v^T that brings x to (alpha, 0, ...): x becomes v. What is as far below
// 1 as TINY, the largest element being near 1, counts as zero, before its square is none.
static double reflection(double *x, int64_t n, double *alpha) {
    double rest = dot(x + 1, x + 1, n - 1);
    *alpha = x[0];
    if (rest <= TINY * TINY)
        return 0;
    *alpha = -copysign(sqrt(x[0] * x[0] + rest), x[0]);
    x[0] -= *alpha;
    return 2 / (x[0] * x[0] + rest);
}

// a [n, n] -> diagonal d and off-diagonal e of T; the rows of q become those of Q^T. p has n
// places.
static void tridiagonalize(double *restrict a, double *restrict q, double *restrict d,
                           double *restrict e, double *restrict p, int64_t n) {
    for (int64_t k = 0; k + 1 < n; k++) {
        int64_t m = n - k - 1;
        double *v = a + k * n + k + 1; // the row beside the diagonal, which is the column below it
        d[k] = a[k * n + k];
        double beta = reflection(v, m, &e[k]);
        a[k * n + k] = beta;
        if (beta == 0)
            continue;
        // H A H = A - v w^T - w v^T with w = p - (beta / 2)(p v) v and p = beta A v.
        memset(p, 0, (size_t)m * sizeof *p);
        for (int64_t i = 0; i < m; i++)
            add_row(p, a + (k + 1 + i) * n + k + 1, beta * v[i], m);
        add_row(p, v, -beta / 2 * dot(p, v, m), m);
        for (int64_t i = 0; i < m; i++) {
            double *restrict row = a + (k + 1 + i) * n + k + 1;
            double vi = v[i], pi = p[i];
            for (int64_t j = 0; j < m; j++)
                row[j] -= vi * p[j] + pi * v[j];
        }
    }
    d[n - 1] = a[n * n - 1];
    e[n - 1] = 0;
    // Q = H_0 H_1 ..., from the last one back: each meets only what lies below and right of it.
    memset(q, 0, (size_t)(n * n) * sizeof *q);
    for (int64_t i = 0; i < n; i++)
        q[i * n + i] = 1;
    for (int64_t k = n - 2; k >= 0; k--) {
        int64_t m = n - k - 1;
        const double *v = a + k * n + k + 1;
        double beta = a[k * n + k];
        if (beta == 0)
            continue;
        memset(p, 0, (size_t)m * sizeof *p);
        for (int64_t i = 0; i < m; i++)
            add_row(p, q + (k + 1 + i) * n + k + 1, v[i], m);
        for (int64_t i = 0; i < m; i++)
            add_row(q + (k + 1 + i) * n + k + 1, p, -beta * v[i], m);
    }
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j < i; j++) {
            double x = q[i * n + j];
            q[i * n + j] = q[j * n + i];
            q[j * n + i] = x;
        }
    }
}

// The first place from l on where T falls in two, or its last.
static int64_t end_of_block(const double *d, const double *e, int64_t l, int64_t n) {
    while (l + 1 < n && fabs(e[l]) > DBL_EPSILON / 2 * (fabs(d[l]) + fabs(d[l + 1])) + TINY)
        l++;
    return l;
}

// The length of (a, b): by squares where none of them is lost.
static double length(double a, double b) {
    double square = a * a + b * b;
    return square > 1e-200 && square < 1e200 ? sqrt(square) : hypot(a, b);
}

// One QL step with Wilkinson's shift on the block l .. m of T, whose rotations turn the rows of q.
static void ql_step(double *restrict d, double *restrict e, double *restrict q, int64_t l,
                    int64_t m, int64_t n) {
    double half = (d[l + 1] - d[l]) / (2 * e[l]);
    double shift = d[l] - e[l] / (half + copysign(length(half, 1), half));
    double g = d[m] - shift, sine = 1, cosine = 1, carried = 0;
    for (int64_t i = m - 1; i >= l; i--) {
        double f = sine * e[i], b = cosine * e[i], r = length(f, g);
        e[i + 1] = r;
        if (r == 0) { // the bulge is gone early: the block falls in two here
            d[i + 1] -= carried;
            e[m] = 0;
            return;
        }
        sine = f / r;
        cosine = g / r;
        g = d[i + 1] - carried;
        r = (d[i] - g) * sine + 2 * cosine * b;
        carried = sine * r;
        d[i + 1] = g + carried;
        g = cosine * r - b;
        turn_rows(q + i * n, q + (i + 1) * n, cosine, sine, n);
    }
    d[l] -= carried;
    e[l] = g;
    e[m] = 0;
}

// Values of the symmetric a [n, n], largest first, into d; the rows of q become their vectors. a is
// used up; e and p have n places.
static void eigenvectors(double *a, double *q, double *d, double *e, double *p, int64_t n) {
    tridiagonalize(a, q, d, e, p, n);
    for (int64_t l = 0; l < n; l++) {
        for (int step = 0; step < MOST_STEPS; step++) {
            int64_t m = end_of_block(d, e, l, n);
            if (m == l)
                break;
            ql_step(d, e, q, l, m, n);
        }
    }
    for (int64_t i = 0; i < n; i++) {
        int64_t largest = i;
        for (int64_t j = i + 1; j < n; j++)
            largest = d[j] > d[largest] ? j : largest;
        if (largest != i) {
            swap_rows(q + i * n, q + largest * n, n);
            swap_rows(d + i, d + largest, 1);
        }
    }
}

// y[count][1 + n]: value and vector, of the matrix with which `work` begins.
static void eigh(double *work, double *y, int64_t n, int64_t count) {
    double *a = work, *q = a + n * n, *d = q + n * n, *e = d + n, *p = e + n;
    double scale = scale_of(a, n * n);
    if (scale != scale) {
        for (int64_t i = 0; i < count * (1 + n); i++)
            y[i] = NAN;
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j <= i; j++)
            a[i * n + j] = a[j * n + i] = a[i * n + j] / scale / 2 + a[j * n + i] / scale / 2;
    }
    eigenvectors(a, q, d, e, p, n);
    for (int64_t k = 0; k < count; k++) {
        double sign = sign_of_row(q + k * n, n);
        y[k * (1 + n)] = d[k] * scale;
        for (int64_t i = 0; i < n; i++)
            y[k * (1 + n) + 1 + i] = sign * q[k * n + i];
    }
}

// ---- singular vectors
// ------------------------------------------------------------------------------

/// x is [m, n]. `s` holds the shorter side's vectors as rows [p, p], `l` their images, which are
/// the longer side's vectors times the singular values: rows [kept, q].
typedef struct Svd {
    double *x;
    int64_t m, n, p, q, kept;
    double *s, *l, *d;
} Svd;

// G = x^T x or x x^T, of the shorter side.
static void find_gram(const Svd *t, double *gram) {
    int64_t p = t->p;
    memset(gram, 0, (size_t)(p * p) * sizeof(double));
    for (int64_t i = 0; i < t->m && t->n == p; i++) { // by rows: all outer products
        const double *row = t->x + i * p;
        for (int64_t j = 0; j < p; j++)
            add_row(gram + j * p, row, row[j], j + 1);
    }
    for (int64_t i = 0; i < p && t->n != p; i++) {
        for (int64_t j = 0; j <= i; j++)
            gram[i * p + j] = dot(t->x + i * t->q, t->x + j * t->q, t->q);
    }
    for (int64_t i = 0; i < p; i++) {
        for (int64_t j = 0; j < i; j++)
            gram[j * p + i] = gram[i * p + j];
    }
}

// Row k of l: x times the k-th short vector, or that vector times x.
static void find_images(const Svd *t) {
    memset(t->l, 0, (size_t)(t->kept * t->q) * sizeof(double));
    for (int64_t k = 0; k < t->kept; k++) {
        for (int64_t j = 0; j < t->p && t->n != t->p; j++)
            add_row(t->l + k * t->q, t->x + j * t->q, t->s[k * t->p + j], t->q);
    }
    for (int64_t i = 0; i < t->q && t->n == t->p; i++) {
        for (int64_t k = 0; k < t->kept; k++)
            t->l[k * t->q + i] = dot(t->x + i * t->n, t->s + k * t->p, t->n);
    }
}

// Turns rows i and j of l, whose squares d holds, so that they are orthogonal; false if they were,
// as well as dot() can tell.
static bool make_orthogonal(const Svd *t, int64_t i, int64_t j) {
    double *a = t->l + i * t->q, *b = t->l + j * t->q;
    double aa = t->d[i], bb = t->d[j], ab = dot(a, b, t->q);
    if (fabs(ab) <= (4 + sqrt((double)t->q)) * DBL_EPSILON * sqrt(aa) * sqrt(bb))
        return false;
    double half = (bb - aa) / (2 * ab);
    double tangent = copysign(1, half) / (fabs(half) + length(half, 1));
    double cosine = 1 / sqrt(1 + tangent * tangent);
    turn_rows(a, b, cosine, cosine * tangent, t->q);
    turn_rows(t->s + i * t->p, t->s + j * t->p, cosine, cosine * tangent, t->p);
    t->d[i] = dot(a, a, t->q);
    t->d[j] = dot(b, b, t->q);
    return true;
}

// What is no longer than the rounding errors of a product with x is zero, and stays so.
static void find_squares(const Svd *t) {
    double largest = 0, noise = (4 + (double)t->p) * DBL_EPSILON;
    for (int64_t k = 0; k < t->kept; k++) {
        t->d[k] = dot(t->l + k * t->q, t->l + k * t->q, t->q);
        largest = fmax(largest, t->d[k]);
    }
    for (int64_t k = 0; k < t->kept; k++) {
        if (t->d[k] > noise * noise * largest)
            continue;
        memset(t->l + k * t->q, 0, (size_t)t->q * sizeof(double));
        t->d[k] = 0;
    }
}

static void jacobi(const Svd *t) {
    bool turned = true;
    for (int sweep = 0; sweep < MOST_SWEEPS && turned; sweep++) {
        turned = false;
        find_squares(t);
        for (int64_t i = 0; i < t->kept; i++) {
            for (int64_t j = i + 1; j < t->kept; j++)
                turned |= make_orthogonal(t, i, j);
        }
    }
}

// left[i] is what of the i-th unit vector of the longer side the rows before k leave over, squared.
static void find_left(const Svd *t, int64_t k, double *left) {
    for (int64_t i = 0; i < t->q; i++)
        left[i] = 1;
    for (int64_t j = 0; j < k; j++) {
        for (int64_t i = 0; i < t->q; i++)
            left[i] -= t->l[j * t->q + i] * t->l[j * t->q + i];
    }
}

// A vector of the longer side where the shorter side's has no image: of the unit vectors the one of
// which most is left, less its parts along the rows before; twice, since the first time leaves
// rounding errors.
static void complete_row(const Svd *t, int64_t k, double *left) {
    double *row = t->l + k * t->q;
    int64_t axis = 0;
    for (int64_t i = 1; i < t->q; i++)
        axis = left[i] > left[axis] ? i : axis;
    memset(row, 0, (size_t)t->q * sizeof *row);
    row[axis] = 1;
    for (int time = 0; time < 2; time++) {
        for (int64_t j = 0; j < k; j++)
            add_row(row, t->l + j * t->q, -dot(row, t->l + j * t->q, t->q), t->q);
        scale_row(row, 1 / sqrt(dot(row, row, t->q)), t->q);
    }
    for (int64_t i = 0; i < t->q; i++)
        left[i] -= row[i] * row[i];
}

// The `count` largest singular values into d, largest first, and their rows to length 1. x is used
// up.
static void finish(const Svd *t, int64_t count) {
    bool complete = true;
    for (int64_t k = 0; k < t->kept; k++)
        t->d[k] = sqrt(dot(t->l + k * t->q, t->l + k * t->q, t->q));
    for (int64_t i = 0; i < count; i++) {
        int64_t largest = i;
        for (int64_t j = i + 1; j < t->kept; j++)
            largest = t->d[j] > t->d[largest] ? j : largest;
        if (largest != i) {
            swap_rows(t->s + i * t->p, t->s + largest * t->p, t->p);
            swap_rows(t->l + i * t->q, t->l + largest * t->q, t->q);
            swap_rows(t->d + i, t->d + largest, 1);
        }
        if (t->d[i] > 0) {
            scale_row(t->l + i * t->q, 1 / t->d[i], t->q);
            continue;
        }
        if (complete)
            find_left(t, i, t->x);
        complete = false;
        complete_row(t, i, t->x);
    }
}

// y[count][1 + m + n]: value, left and right vector, of the matrix with which `work` begins.
static void svd(double *work, double *y, int64_t m, int64_t n, int64_t count) {
    int64_t p = m < n ? m : n, q = m < n ? n : m, row = 1 + m + n;
    double scale = scale_of(work, m * n);
    if (scale != scale) {
        for (int64_t i = 0; i < count * row; i++)
            y[i] = NAN;
        return;
    }
    scale_row(work, 1 / scale, m * n);
    Svd t = {.x = work, .m = m, .n = n, .p = p, .q = q, .kept = p};
    t.s = work + m * n;
    t.l = t.s + p * p;
    t.d = t.l + p * q;
    double *gram = t.d + p, *e = gram + p * p;
    find_gram(&t, gram);
    eigenvectors(gram, t.s, t.d, e, e + p, p);
    if (count < p && t.d[count - 1] > GRAM_IS_ENOUGH * GRAM_IS_ENOUGH * t.d[0])
        t.kept = count;
    find_images(&t);
    if (t.kept == p)
        jacobi(&t);
    finish(&t, count);
    for (int64_t k = 0; k < count; k++) {
        const double *left = n == p ? t.l + k * q : t.s + k * p;
        const double *right = n == p ? t.s + k * p : t.l + k * q;
        double sign = sign_of_row(right, n);
        y[k * row] = t.d[k] * scale;
        for (int64_t i = 0; i < m; i++)
            y[k * row + 1 + i] = sign * left[i];
        for (int64_t i = 0; i < n; i++)
            y[k * row + 1 + m + i] = sign * right[i];
    }
}

// ---- entry points
// ----------------------------------------------------------------------------------

static void widen(double *to, const float *from, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        to[i] = from[i];
}

static void narrow(float *to, const double *from, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        to[i] = (float)from[i];
}

void kdrt_eigh_f64(const double *x, double *y, double *work, int64_t n, int64_t count) {
    memcpy(work, x, (size_t)(n * n) * sizeof *x);
    eigh(work, y, n, count);
}

void kdrt_eigh_f32(const float *x, float *y, double *work, int64_t n, int64_t count) {
    double *wide = work + kdrt_eigh_work(n, 0);
    widen(work, x, n * n);
    eigh(work, wide, n, count);
    narrow(y, wide, count * (1 + n));
}

void kdrt_svd_f64(const double *x, double *y, double *work, int64_t m, int64_t n, int64_t count) {
    memcpy(work, x, (size_t)(m * n) * sizeof *x);
    svd(work, y, m, n, count);
}

void kdrt_svd_f32(const float *x, float *y, double *work, int64_t m, int64_t n, int64_t count) {
    double *wide = work + kdrt_svd_work(m, n, 0);
    widen(work, x, m * n);
    svd(work, wide, m, n, count);
    narrow(y, wide, count * (1 + m + n));
}
