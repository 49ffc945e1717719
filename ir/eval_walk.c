// ir/eval_walk.c -- walks over index boxes, and integer arithmetic, for the reference interpreter.
#include <string.h>

#include "ir/eval_ops.h"

void walk_begin(Walk *walk, const int64_t *dim, int rank) {
    memset(walk, 0, sizeof *walk);
    walk->rank = rank;
    walk->more = true;
    for (int i = 0; i < rank; i++)
        walk->dim[i] = dim[i];
}

void walk_tensor(Walk *walk, int64_t base, const int64_t *stride) {
    for (int i = 0; i < walk->rank; i++)
        walk->stride[walk->tensors][i] = stride[i];
    walk->at[walk->tensors++] = base;
}

void walk_next(Walk *walk) {
    for (int i = walk->rank; i-- > 0;) {
        for (int t = 0; t < walk->tensors; t++)
            walk->at[t] += walk->stride[t][i];
        if (++walk->index[i] < walk->dim[i])
            return;
        for (int t = 0; t < walk->tensors; t++)
            walk->at[t] -= walk->stride[t][i] * walk->dim[i];
        walk->index[i] = 0;
    }
    walk->more = false;
}

void strides_of(const Type *type, int64_t stride[MAX_RANK]) {
    int64_t step = 1;
    for (int i = type->rank; i-- > 0;) {
        stride[i] = step;
        step *= type->dim[i];
    }
}

void strides_in(const Type *x, const Type *y, int64_t stride[MAX_RANK]) {
    int64_t own[MAX_RANK];
    int new_axes = y->rank - x->rank;
    strides_of(x, own);
    for (int i = 0; i < y->rank; i++) {
        bool repeated = i < new_axes || (x->dim[i - new_axes] == 1 && y->dim[i] != 1);
        stride[i] = repeated ? 0 : own[i - new_axes];
    }
}

int64_t walk_reduction(Walk *walk, const Type *x, Ints axes) {
    int64_t own[MAX_RANK] = {0}, dim[MAX_RANK] = {0}, stride[MAX_RANK] = {0}, count = 1;
    int kept = 0;
    unsigned reduced = 0;
    strides_of(x, own);
    for (uint32_t k = 0; k < axes.count; k++)
        reduced |= 1u << axes.at[k];
    for (int i = 0; i < x->rank; i++) {
        if (reduced & 1u << i)
            continue;
        dim[kept] = x->dim[i];
        stride[kept++] = own[i];
    }
    for (uint32_t k = 0; k < axes.count; k++) {
        count *= dim[kept + (int)k] = x->dim[axes.at[k]];
        stride[kept + (int)k] = own[axes.at[k]];
    }
    walk_begin(walk, dim, x->rank);
    walk_tensor(walk, 0, stride);
    return count;
}

// The stride of `letter` in the operand whose letters begin at `letters`; 0 if it has none.
static int64_t letter_stride(const char *letters, const Type *x, char letter) {
    int64_t stride[MAX_RANK];
    strides_of(x, stride);
    for (int i = 0; i < x->rank; i++) {
        if (letters[i] == letter)
            return stride[i];
    }
    return 0;
}

int64_t walk_einsum(Walk *walk, const char *spec, const Type *a, const Type *b) {
    const char *letters_b = spec + a->rank + 1;
    const char *result = letters_b + b->rank + 2;
    int64_t dim[MAX_WALK_RANK], stride_a[MAX_WALK_RANK], stride_b[MAX_WALK_RANK];
    int64_t terms = 1;
    char order[MAX_WALK_RANK + 1] = {0};
    int rank = (int)strlen(result);
    memcpy(order, result, (size_t)rank);
    for (const char *c = spec; c < result - 2; c++) {
        if (*c != ',' && !strchr(order, *c))
            order[rank++] = *c;
    }
    for (int i = 0; i < rank; i++) {
        const char *in_a = memchr(spec, order[i], a->rank);
        const char *in_b = memchr(letters_b, order[i], b->rank);
        dim[i] = in_a ? a->dim[in_a - spec] : b->dim[in_b - letters_b];
        stride_a[i] = letter_stride(spec, a, order[i]);
        stride_b[i] = letter_stride(letters_b, b, order[i]);
        if (!strchr(result, order[i]))
            terms *= dim[i];
    }
    walk_begin(walk, dim, rank);
    walk_tensor(walk, 0, stride_a);
    walk_tensor(walk, 0, stride_b);
    return terms;
}

// ---- integers
// -------------------------------------------------------------------------------------

int64_t i32_wrap(int64_t i) {
    uint32_t bits = (uint32_t)(uint64_t)i;
    return bits <= INT32_MAX ? (int64_t)bits : (int64_t)bits - (INT64_C(1) << 32);
}

int64_t i32_floor_div(int64_t a, int64_t b) {
    if (b == 0)
        return 0;
    int64_t quotient = a / b;
    return quotient - (a % b != 0 && (a < 0) != (b < 0));
}

int64_t i32_mod(int64_t a, int64_t b) {
    return a - b * i32_floor_div(a, b);
}

void int_limits(DType dtype, int64_t *least, int64_t *most) {
    *least = dtype == DT_I32 ? INT32_MIN : 0;
    *most = dtype == DT_I32 ? INT32_MAX : dtype == DT_U8 ? UINT8_MAX : 1;
}

int64_t int_saturated(int64_t i, DType dtype) {
    int64_t least, most;
    if (dtype == DT_BOOL)
        return i != 0;
    int_limits(dtype, &least, &most);
    return i < least ? least : i > most ? most : i;
}
