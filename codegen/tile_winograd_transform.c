// codegen/tile_winograd_transform.c -- the transforms of F(4x4, 3x3) by its small matrices, written
// out.
//
// Their rows come in pairs that differ in signs alone, and share what they have in common.
#include "codegen/tile_winograd.h"

#include <math.h>

static LoopExpr *name(const Transform *t, LoopExpr *x) {
    return loop_let(t->kernel, t->body, "t", x);
}

/// sum + factor * x; NULL is zero.
static LoopExpr *add_term(const Transform *t, LoopExpr *sum, double factor, LoopExpr *x) {
    LoopKernel *kernel = t->kernel;
    if (factor == 0 || !x)
        return sum;
    if (!sum)
        return factor == 1 ? x : name(t, x2(kernel, X_mul, x, x_real(kernel, factor, t->type)));
    if (factor == 1 || factor == -1)
        return name(t, x2(kernel, factor > 0 ? X_add : X_sub, sum, x));
    return name(t, x3(kernel, X_fma, x, x_real(kernel, factor, t->type), sum));
}

Matrix winograd_matrix(const WinogradMatrix *from, bool transposed) {
    Matrix m = {
        transposed ? from->columns : from->rows, transposed ? from->rows : from->columns, {{0}}};
    for (int i = 0; i < m.rows; i++) {
        for (int k = 0; k < m.columns; k++)
            m.at[i][k] = (double)(transposed ? from->at[k][i] : from->at[i][k]) / from->denominator;
    }
    return m;
}

/// Rows i and i + 1 that differ in signs alone share their even and odd parts.
static bool rows_pair(const Matrix *m, int i) {
    bool same = false, opposite = false;
    for (int k = 0; k < m->columns; k++) {
        double a = m->at[i][k], b = i + 1 < m->rows ? m->at[i + 1][k] : 2 * a + 1;
        if (a != b && a != -b)
            return false;
        same |= a != 0 && a == b;
        opposite |= a != 0 && a == -b;
    }
    return same && opposite;
}

static bool columns_pair(const Matrix *m, int k) {
    for (int i = 0; i < m->rows; i++) {
        double a = m->at[i][k], b = k + 1 < m->columns ? m->at[i][k + 1] : 2 * a + 1;
        if (a != b && a != -b)
            return false;
    }
    return true;
}

/// The sum of factor[k] * x[k]; those that need no product come first, so that no sum begins with
/// one.
static LoopExpr *add_terms(const Transform *t, const double *factor, LoopExpr *const *x,
                           int count) {
    LoopExpr *sum = NULL;
    for (int k = 0; k < count; k++)
        sum = factor[k] == 1 ? add_term(t, sum, 1, x[k]) : sum;
    for (int k = 0; k < count; k++)
        sum = factor[k] != 1 ? add_term(t, sum, factor[k], x[k]) : sum;
    return sum;
}

/// Rows i and i + 1 of y = M x that form a pair: even + odd and even - odd, where odd has its
/// smallest factor outside.
static void apply_row_pair(const Transform *t, const Matrix *m, int i, LoopExpr *const *x,
                           LoopExpr **y) {
    double even[6] = {0}, odd[6] = {0}, least = INFINITY;
    for (int k = 0; k < m->columns; k++) {
        bool same = m->at[i][k] == m->at[i + 1][k];
        (same ? even : odd)[k] = m->at[i][k];
        if (!same && m->at[i][k] != 0)
            least = fmin(least, fabs(m->at[i][k]));
    }
    for (int k = 0; k < m->columns; k++)
        odd[k] /= least;
    LoopExpr *evens = add_terms(t, even, x, m->columns), *odds = add_terms(t, odd, x, m->columns);
    y[0] = add_term(t, evens, least, odds);
    y[1] = add_term(t, evens, -least, odds);
}

void winograd_apply(const Transform *t, const Matrix *m, LoopExpr *const *from, LoopExpr **to,
                    int from_step, int to_step) {
    LoopExpr *x[6], *y[6], *difference[6] = {0};
    bool paired[6] = {false};
    for (int k = 0; k < m->columns; k++)
        x[k] = from[k * from_step];
    for (int k = 0; k < m->columns; k++) {
        if (m->rows >= m->columns || !columns_pair(m, k))
            continue;
        LoopExpr *sum = add_term(t, x[k], 1, x[k + 1]);
        difference[k] = add_term(t, x[k], -1, x[k + 1]);
        x[k] = sum;
        paired[k] = true;
        k++;
    }
    for (int i = 0; i < m->rows; i++) {
        if (rows_pair(m, i)) {
            apply_row_pair(t, m, i, x, y + i);
            i++;
            continue;
        }
        double factor[6] = {0};
        LoopExpr *term[6];
        for (int k = 0; k < m->columns; k++) {
            factor[k] = m->at[i][k];
            term[k] = paired[k] && m->at[i][k] != m->at[i][k + 1] ? difference[k] : x[k];
            if (paired[k])
                factor[++k] = 0;
        }
        y[i] = add_terms(t, factor, term, m->columns);
    }
    for (int i = 0; i < m->rows; i++)
        to[i * to_step] = y[i];
}

void winograd_sandwich(const Transform *t, const WinogradMatrix *matrix, bool transposed,
                       LoopExpr *const *x, LoopExpr **y) {
    Matrix m = winograd_matrix(matrix, transposed);
    LoopExpr *half[PIECE * PIECE];
    for (int k = 0; k < m.columns; k++)
        winograd_apply(t, &m, x + k, half + k, PIECE, PIECE);
    for (int i = 0; i < m.rows; i++)
        winograd_apply(t, &m, half + i * PIECE, y + i * PIECE, 1, 1);
}

LoopExpr *winograd_over(LoopKernel *kernel, LoopBody **body, LoopKind kind, const char *name,
                        LoopExpr *end) {
    int64_t count;
    if (x_is_int(end, &count) && count == 1)
        return x_int(kernel, 0);
    LoopStmt *loop = loop_for(kernel, *body, kind, name, x_int(kernel, 0), end, 1);
    *body = &loop->body;
    return loop_var(kernel, loop);
}
