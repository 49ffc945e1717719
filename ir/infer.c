// ir/infer.c -- shape rules: one infer_<shape> for each name in the shape column of ops.def.
//
// A rule sees the operands' types and the attributes and sets the result's type, or refuses with a
// sentence for people. Every attribute is checked here and nowhere else, so what passed inference
// can be evaluated and lowered without further looks. Element types are never mixed silently:
// operands of one node have one dtype, u8 and bool have no arithmetic. Extents are at least 1; a
// tensor has at most 2^40 elements. The result's layout is plain, except that of `relayout`.
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "ir/ir.h"
#include "ir/winograd.h"

static const int64_t MAX_ELEMENTS = INT64_C(1) << 40;
static const int64_t MAX_MATRIX = INT64_C(1) << 22;
enum { MAX_ATTR = 1 << 20 }; // strides, padding and the like: keeps all sums far from overflow

typedef struct Infer {
    const Module *module;
    Op op;
    const Type *const *x;
    uint32_t arity;
    const Attrs *attrs;
    Type *y;
    Arena *arena;
    const char **message;
} Infer;

__attribute__((format(printf, 2, 3))) static bool refuse(Infer *in, const char *format, ...) {
    va_list args;
    va_start(args, format);
    *in->message = arena_vprintf(in->arena, format, args);
    va_end(args);
    return false;
}

static const char *text_of(Infer *in, const Type *type) {
    return type_text(in->arena, type);
}

// ---- what rules share
// -----------------------------------------------------------------------------

static bool has_arithmetic(Infer *in, const Type *x) {
    if (x->dtype == DT_U8 || x->dtype == DT_BOOL)
        return refuse(in, "%s has no arithmetic; cast it first", dtype_name(x->dtype));
    return true;
}

static bool is_float(Infer *in, const Type *x) {
    if (!dtype_is_float(x->dtype))
        return refuse(in, "%s where a float is needed; cast it first", dtype_name(x->dtype));
    return true;
}

static bool is_bool(Infer *in, const Type *x) {
    if (x->dtype != DT_BOOL)
        return refuse(in, "%s where a bool is needed", dtype_name(x->dtype));
    return true;
}

static bool same_dtype(Infer *in, const Type *a, const Type *b) {
    if (a->dtype != b->dtype)
        return refuse(in, "%s and %s; cast one of them", dtype_name(a->dtype),
                      dtype_name(b->dtype));
    return true;
}

static bool has_rank(Infer *in, const Type *x, int rank, const char *what) {
    if (x->rank != rank)
        return refuse(in, "%s has rank %d where %d is needed", what, x->rank, rank);
    return true;
}

static Type plain(const Type *x) {
    Type y = *x;
    y.block = y.block_axis = 0;
    return y;
}

static bool set_shape(Infer *in, DType dtype, const int64_t *dim, int64_t rank) {
    if (rank > MAX_RANK)
        return refuse(in, "rank %" PRId64 "; the largest is %d", rank, MAX_RANK);
    *in->y = (Type){.dtype = dtype, .rank = (uint8_t)rank};
    for (int i = 0; i < rank; i++)
        in->y->dim[i] = dim[i];
    return true;
}

// The last word on every result: extents of at least 1, and not too many elements.
static bool sound_extents(Infer *in) {
    int64_t count = 1;
    for (int i = 0; i < in->y->rank; i++) {
        int64_t extent = in->y->dim[i];
        if (extent < 1)
            return refuse(in, "axis %d would have extent %" PRId64 "; it must be at least 1", i,
                          extent);
        if (extent > MAX_ELEMENTS || count > MAX_ELEMENTS / extent)
            return refuse(in, "a tensor of more than 2^40 elements");
        count *= extent;
    }
    return true;
}

static bool axis_in(Infer *in, int64_t axis, int rank) {
    if (axis < 0 || axis >= rank)
        return refuse(in, "axis %" PRId64 " of a rank %d tensor", axis, rank);
    return true;
}

static bool axes_in(Infer *in, Ints axes, int rank) {
    for (uint32_t i = 0; i < axes.count; i++) {
        if (!axis_in(in, axes.at[i], rank))
            return false;
        if (i && axes.at[i] <= axes.at[i - 1])
            return refuse(in, "axes must ascend, but %" PRId64 " follows %" PRId64, axes.at[i],
                          axes.at[i - 1]);
    }
    return true;
}

static bool list_has(Infer *in, Ints list, uint32_t count, int64_t least, const char *name) {
    if (list.count != count)
        return refuse(in, "%s has %u numbers where %u are needed", name, list.count, count);
    for (uint32_t i = 0; i < count; i++) {
        if (list.at[i] < least || list.at[i] > MAX_ATTR)
            return refuse(in, "%s is %" PRId64 "; it must be at least %" PRId64 " and at most %d",
                          name, list.at[i], least, (int)MAX_ATTR);
    }
    return true;
}

// Widens `y` by one more operand as numpy does: shapes are aligned at their last axes, and an
// extent of 1 is repeated.
static bool widen(Infer *in, Type *y, const Type *x) {
    Type wide = {.dtype = y->dtype, .rank = y->rank > x->rank ? y->rank : x->rank};
    for (int i = 0; i < wide.rank; i++) { // i counts from the last axis
        int64_t a = i < y->rank ? y->dim[y->rank - 1 - i] : 1;
        int64_t b = i < x->rank ? x->dim[x->rank - 1 - i] : 1;
        if (a != b && a != 1 && b != 1)
            return refuse(in,
                          "%s and %s do not broadcast: %" PRId64 " against %" PRId64 " on axis %d",
                          text_of(in, y), text_of(in, x), a, b, wide.rank - 1 - i);
        wide.dim[wide.rank - 1 - i] = a == 1 ? b : a;
    }
    *y = wide;
    return true;
}

static bool widen_all(Infer *in, uint32_t first) {
    Type y = plain(in->x[first]);
    for (uint32_t i = first + 1; i < in->arity; i++) {
        if (!same_dtype(in, in->x[first], in->x[i]) || !widen(in, &y, in->x[i]))
            return false;
    }
    *in->y = y;
    return true;
}

// ---- leaves
// ---------------------------------------------------------------------------------------

static bool infer_given(Infer *in) {
    double value = in->attrs->value;
    switch (in->attrs->dtype) {
    case DT_F32:
    case DT_F64:
        break;
    case DT_I32:
        if (!(value >= INT32_MIN && value <= INT32_MAX && value == floor(value)))
            return refuse(in, "%g is not a value of i32", value);
        break;
    case DT_U8:
        if (!(value >= 0 && value <= UINT8_MAX && value == floor(value)))
            return refuse(in, "%g is not a value of u8", value);
        break;
    case DT_BOOL:
        if (value != 0 && value != 1)
            return refuse(in, "%g is not a value of bool", value);
        break;
    }
    return set_shape(in, in->attrs->dtype, in->attrs->shape.at, in->attrs->shape.count);
}

static bool infer_iota(Infer *in) {
    return infer_given(in) && axis_in(in, in->attrs->axis, in->y->rank) &&
           has_arithmetic(in, in->y);
}

static bool infer_scalar(Infer *in) {
    return infer_given(in) && has_rank(in, in->y, 0, "a run-time scalar") &&
           has_arithmetic(in, in->y);
}

static bool infer_random(Infer *in) {
    return infer_given(in) && is_float(in, in->y);
}

static const Storage *storage_of(Infer *in) {
    int64_t index = in->attrs->storage;
    if (!in->module || index < 0 || (size_t)index >= in->module->storages.count)
        return NULL;
    return in->module->storages.at[index];
}

static bool infer_storage(Infer *in) {
    const Storage *storage = storage_of(in);
    if (!storage)
        return refuse(in, "no storage %" PRId64, in->attrs->storage);
    *in->y = plain(&storage->type);
    return true;
}

// ---- elementwise
// ----------------------------------------------------------------------------------

static bool infer_same(Infer *in) {
    *in->y = plain(in->x[0]);
    return true;
}

static bool infer_number(Infer *in) {
    return has_arithmetic(in, in->x[0]) && infer_same(in);
}

static bool infer_float(Infer *in) {
    return is_float(in, in->x[0]) && infer_same(in);
}

static bool infer_bool(Infer *in) {
    return is_bool(in, in->x[0]) && infer_same(in);
}

static bool infer_predicate(Infer *in) {
    if (!infer_float(in))
        return false;
    in->y->dtype = DT_BOOL;
    return true;
}

static bool infer_cast(Infer *in) {
    infer_same(in);
    in->y->dtype = in->attrs->dtype;
    return true;
}

static bool infer_scale(Infer *in) {
    return is_float(in, in->x[0]) && same_dtype(in, in->x[0], in->x[1]) &&
           has_rank(in, in->x[1], 0, "the factor") && infer_same(in);
}

static bool infer_broadcast(Infer *in) {
    return has_arithmetic(in, in->x[0]) && widen_all(in, 0);
}

static bool infer_broadcast_float(Infer *in) {
    return is_float(in, in->x[0]) && widen_all(in, 0);
}

static bool infer_compare(Infer *in) {
    if (!widen_all(in, 0))
        return false;
    in->y->dtype = DT_BOOL;
    return true;
}

static bool infer_logical(Infer *in) {
    return is_bool(in, in->x[0]) && widen_all(in, 0);
}

static bool infer_select(Infer *in) {
    return is_bool(in, in->x[0]) && widen_all(in, 1) && widen(in, in->y, in->x[0]);
}

// ---- index maps
// -----------------------------------------------------------------------------------

static bool infer_reshape(Infer *in) {
    if (!set_shape(in, in->x[0]->dtype, in->attrs->shape.at, in->attrs->shape.count) ||
        !sound_extents(in))
        return false;
    if (type_count(in->y) != type_count(in->x[0]))
        return refuse(in, "%s has %" PRId64 " elements, %s has %" PRId64, text_of(in, in->x[0]),
                      type_count(in->x[0]), text_of(in, in->y), type_count(in->y));
    return true;
}

static bool infer_expand(Infer *in) {
    if (!set_shape(in, in->x[0]->dtype, in->attrs->shape.at, in->attrs->shape.count))
        return false;
    Type wide = *in->y;
    if (!widen(in, &wide, in->x[0]))
        return false;
    if (!type_same_shape(&wide, in->y))
        return refuse(in, "%s does not broadcast to %s", text_of(in, in->x[0]), text_of(in, in->y));
    return true;
}

static bool infer_transpose(Infer *in) {
    const Type *x = in->x[0];
    Ints perm = in->attrs->perm;
    unsigned seen = 0;
    if (perm.count != x->rank)
        return refuse(in, "a permutation of %u axes for a rank %d tensor", perm.count, x->rank);
    infer_same(in);
    for (uint32_t i = 0; i < perm.count; i++) {
        if (!axis_in(in, perm.at[i], x->rank))
            return false;
        unsigned bit = 1u << (unsigned)perm.at[i];
        if (seen & bit)
            return refuse(in, "axis %" PRId64 " stands twice in the permutation", perm.at[i]);
        seen |= bit;
        in->y->dim[i] = x->dim[perm.at[i]];
    }
    return true;
}

static bool infer_slice(Infer *in) {
    const Type *x = in->x[0];
    Ints start = in->attrs->start, limit = in->attrs->limit, step = in->attrs->step;
    if (start.count != x->rank || limit.count != x->rank || step.count != x->rank)
        return refuse(in, "start, limit and step of %u, %u and %u numbers for a rank %d tensor",
                      start.count, limit.count, step.count, x->rank);
    infer_same(in);
    for (int i = 0; i < x->rank; i++) {
        if (start.at[i] < 0 || limit.at[i] > x->dim[i] || start.at[i] >= limit.at[i])
            return refuse(in, "%" PRId64 "..%" PRId64 " of axis %d, which has extent %" PRId64,
                          start.at[i], limit.at[i], i, x->dim[i]);
        if (step.at[i] < 1)
            return refuse(in, "step %" PRId64 " on axis %d; it must be at least 1", step.at[i], i);
        in->y->dim[i] = 1 + (limit.at[i] - start.at[i] - 1) / step.at[i];
    }
    return true;
}

static bool infer_pad(Infer *in) {
    const Type *x = in->x[0];
    Ints low = in->attrs->low, high = in->attrs->high;
    if (!list_has(in, low, x->rank, 0, "low") || !list_has(in, high, x->rank, 0, "high"))
        return false;
    infer_same(in);
    for (int i = 0; i < x->rank; i++)
        in->y->dim[i] += low.at[i] + high.at[i];
    return true;
}

static bool infer_same_axes(Infer *in) {
    return axes_in(in, in->attrs->axes, in->x[0]->rank) && infer_same(in);
}

static bool infer_concat(Infer *in) {
    if (!in->arity)
        return refuse(in, "nothing to concatenate");
    const Type *first = in->x[0];
    int64_t axis = in->attrs->axis;
    infer_same(in);
    if (!axis_in(in, axis, first->rank))
        return false;
    for (uint32_t k = 1; k < in->arity; k++) {
        const Type *x = in->x[k];
        if (!same_dtype(in, first, x) || !has_rank(in, x, first->rank, "a part"))
            return false;
        for (int i = 0; i < x->rank; i++) {
            if (i != axis && x->dim[i] != first->dim[i])
                return refuse(in, "%s and %s differ on axis %d, not only on axis %" PRId64,
                              text_of(in, first), text_of(in, x), i, axis);
        }
        in->y->dim[axis] += x->dim[axis];
    }
    return true;
}

// Number of places of a window of `kernel` elements along an axis of `extent`; below 1: none.
static int64_t places(int64_t extent, int64_t before, int64_t after, int64_t kernel, int64_t stride,
                      int64_t dilation) {
    int64_t room = extent + before + after - ((kernel - 1) * dilation + 1);
    return room < 0 ? 0 : room / stride + 1;
}

// Stride, padding, dilation, and where windows of kh by kw fit on an image of h by w.
static bool window_places(Infer *in, const int64_t image[2], const int64_t kernel[2],
                          int64_t out[2]) {
    const Attrs *attrs = in->attrs;
    if (!list_has(in, attrs->stride, 2, 1, "stride") ||
        !list_has(in, attrs->padding, 4, 0, "padding") ||
        !list_has(in, attrs->dilation, 2, 1, "dilation"))
        return false;
    for (int i = 0; i < 2; i++) {
        if (kernel[i] > MAX_ATTR)
            return refuse(in, "a kernel of %" PRId64 " elements", kernel[i]);
        out[i] = places(image[i], attrs->padding.at[i], attrs->padding.at[i + 2], kernel[i],
                        attrs->stride.at[i], attrs->dilation.at[i]);
        if (out[i] < 1)
            return refuse(in,
                          "a kernel of %s %" PRId64 ", dilation %" PRId64
                          ", does not fit into %" PRId64 " with padding %" PRId64 " and %" PRId64,
                          i ? "width" : "height", kernel[i], attrs->dilation.at[i], image[i],
                          attrs->padding.at[i], attrs->padding.at[i + 2]);
    }
    return true;
}

// The type of the windows of an image [N, C, H, W]: [N, C, OH, OW, KH, KW].
static bool windows_of(Infer *in, const Type *image, Type *windows) {
    const Attrs *attrs = in->attrs;
    int64_t out[2];
    if (!has_rank(in, image, 4, "the image") || !list_has(in, attrs->kernel, 2, 1, "kernel") ||
        !window_places(in, image->dim + 2, attrs->kernel.at, out))
        return false;
    *windows = (Type){.dtype = image->dtype,
                      .rank = 6,
                      .dim = {image->dim[0], image->dim[1], out[0], out[1], attrs->kernel.at[0],
                              attrs->kernel.at[1]}};
    return true;
}

static bool infer_windows(Infer *in) {
    return windows_of(in, in->x[0], in->y);
}

static bool infer_fold(Infer *in) {
    Type windows;
    if (!has_arithmetic(in, in->x[0]) ||
        !set_shape(in, in->x[0]->dtype, in->attrs->shape.at, in->attrs->shape.count) ||
        !sound_extents(in) || !windows_of(in, in->y, &windows))
        return false;
    if (!type_same_shape(&windows, in->x[0]))
        return refuse(in, "windows of %s are %s, not %s", text_of(in, in->y), text_of(in, &windows),
                      text_of(in, in->x[0]));
    return true;
}

// Rows of `x` along `axis` at `indices`: the axes of `indices` stand where `axis` was.
static bool rows_of(Infer *in, const Type *x, const Type *indices, Type *rows) {
    int64_t axis = in->attrs->axis;
    if (indices->dtype != DT_I32)
        return refuse(in, "indices are %s; they must be i32", dtype_name(indices->dtype));
    if (!axis_in(in, axis, x->rank))
        return false;
    if (x->rank - 1 + indices->rank > MAX_RANK)
        return refuse(in, "rank %d; the largest is %d", x->rank - 1 + indices->rank, MAX_RANK);
    *rows = (Type){.dtype = x->dtype};
    for (int i = 0; i < axis; i++)
        rows->dim[rows->rank++] = x->dim[i];
    for (int i = 0; i < indices->rank; i++)
        rows->dim[rows->rank++] = indices->dim[i];
    for (int i = (int)axis + 1; i < x->rank; i++)
        rows->dim[rows->rank++] = x->dim[i];
    return true;
}

static bool infer_take(Infer *in) {
    return rows_of(in, in->x[0], in->x[1], in->y);
}

static bool infer_put(Infer *in) {
    Type rows;
    if (!same_dtype(in, in->x[0], in->x[2]) || !rows_of(in, in->x[0], in->x[1], &rows))
        return false;
    if (!type_same_shape(&rows, in->x[2]))
        return refuse(in, "the rows are %s where %s is needed", text_of(in, in->x[2]),
                      text_of(in, &rows));
    return in->op == OP_put_add ? infer_number(in) : infer_same(in);
}

static bool infer_relayout(Infer *in) {
    int64_t block = in->attrs->block, axis = in->attrs->block_axis;
    infer_same(in);
    if (block < 0 || block > UINT8_MAX)
        return refuse(in, "blocks of %" PRId64 " elements", block);
    if (!block)
        return axis == 0 ? true : refuse(in, "a blocked axis without blocks");
    if (!axis_in(in, axis, in->y->rank))
        return false;
    if (in->y->dim[axis] % block)
        return refuse(in, "extent %" PRId64 " in blocks of %" PRId64, in->y->dim[axis], block);
    in->y->block = (uint8_t)block;
    in->y->block_axis = (uint8_t)axis;
    return true;
}

// ---- reductions
// -----------------------------------------------------------------------------------

static bool drop_axes(Infer *in, DType dtype) {
    const Type *x = in->x[0];
    Ints axes = in->attrs->axes;
    if (!axes_in(in, axes, x->rank))
        return false;
    *in->y = (Type){.dtype = dtype};
    for (int i = 0; i < x->rank; i++) {
        bool reduced = false;
        for (uint32_t k = 0; k < axes.count; k++)
            reduced |= axes.at[k] == i;
        if (!reduced)
            in->y->dim[in->y->rank++] = x->dim[i];
        else if (in->attrs->keep)
            in->y->dim[in->y->rank++] = 1;
    }
    return true;
}

static int64_t reduced_count(Infer *in) {
    int64_t count = 1;
    for (uint32_t k = 0; k < in->attrs->axes.count; k++)
        count *= in->x[0]->dim[in->attrs->axes.at[k]];
    return count;
}

static bool infer_reduce(Infer *in) {
    return has_arithmetic(in, in->x[0]) && drop_axes(in, in->x[0]->dtype);
}

static bool infer_reduce_float(Infer *in) {
    if (!is_float(in, in->x[0]) || !drop_axes(in, in->x[0]->dtype))
        return false;
    int64_t correction = in->attrs->correction;
    if (correction < 0 || correction >= reduced_count(in))
        return refuse(in, "the variance of %" PRId64 " elements with correction %" PRId64,
                      reduced_count(in), correction);
    return true;
}

static bool infer_reduce_index(Infer *in) {
    if (!has_arithmetic(in, in->x[0]) || !drop_axes(in, DT_I32))
        return false;
    if (reduced_count(in) > INT32_MAX)
        return refuse(in, "an index among %" PRId64 " elements is no i32", reduced_count(in));
    return true;
}

// ---- contractions
// ---------------------------------------------------------------------------------

static int letter_index(char c) {
    if (c >= 'a' && c <= 'z')
        return c - 'a';
    if (c >= 'A' && c <= 'Z')
        return 26 + c - 'A';
    return -1;
}

// Reads the letters of one operand up to `end`, binding each to its extent.
static bool bind_letters(Infer *in, const char *begin, const char *end, const Type *x,
                         int64_t extent[52]) {
    uint64_t seen = 0;
    if (end - begin != x->rank)
        return refuse(in, "`%.*s` names %d axes, %s has %d", (int)(end - begin), begin,
                      (int)(end - begin), text_of(in, x), x->rank);
    for (const char *c = begin; c < end; c++) {
        int letter = letter_index(*c);
        int64_t here = x->dim[c - begin];
        if (letter < 0)
            return refuse(in, "`%c` in an einsum is no letter", *c);
        if (seen & UINT64_C(1) << letter)
            return refuse(in, "`%c` stands twice in `%.*s`", *c, (int)(end - begin), begin);
        seen |= UINT64_C(1) << letter;
        if (extent[letter] && extent[letter] != here)
            return refuse(in, "`%c` is %" PRId64 " in one operand and %" PRId64 " in the other", *c,
                          extent[letter], here);
        extent[letter] = here;
    }
    return true;
}

static bool infer_einsum(Infer *in) {
    const char *spec = in->attrs->spec ? in->attrs->spec : "";
    const char *comma = strchr(spec, ',');
    const char *arrow = strstr(spec, "->");
    int64_t extent[52] = {0};
    if (!comma || !arrow || comma > arrow)
        return refuse(in, "`%s` is not of the form `ab,bc->ac`", spec);
    if (!same_dtype(in, in->x[0], in->x[1]) || !has_arithmetic(in, in->x[0]) ||
        !bind_letters(in, spec, comma, in->x[0], extent) ||
        !bind_letters(in, comma + 1, arrow, in->x[1], extent))
        return false;
    uint64_t seen = 0;
    *in->y = (Type){.dtype = in->x[0]->dtype};
    for (const char *c = arrow + 2; *c; c++) {
        int letter = letter_index(*c);
        if (letter < 0)
            return refuse(in, "`%c` in an einsum is no letter", *c);
        if (!extent[letter])
            return refuse(in, "`%c` of the result is in no operand", *c);
        if (seen & UINT64_C(1) << letter)
            return refuse(in, "`%c` stands twice in the result", *c);
        if (in->y->rank == MAX_RANK)
            return refuse(in, "rank above %d", MAX_RANK);
        seen |= UINT64_C(1) << letter;
        in->y->dim[in->y->rank++] = extent[letter];
    }
    return true;
}

// The type of conv2d of x [N, C, H, W] by weight [K, C / groups, KH, KW]: [N, K, OH, OW].
static bool conv2d_of(Infer *in, const Type *x, const Type *weight, Type *y) {
    int64_t groups = in->attrs->groups;
    int64_t out[2];
    if (!is_float(in, x) || !same_dtype(in, x, weight) || !has_rank(in, x, 4, "the image") ||
        !has_rank(in, weight, 4, "the weight"))
        return false;
    if (groups < 1 || x->dim[1] % groups || weight->dim[0] % groups)
        return refuse(in, "%" PRId64 " channels to %" PRId64 " in %" PRId64 " groups", x->dim[1],
                      weight->dim[0], groups);
    if (weight->dim[1] != x->dim[1] / groups)
        return refuse(in, "the weight takes %" PRId64 " channels per group, the image has %" PRId64,
                      weight->dim[1], x->dim[1] / groups);
    if (!window_places(in, x->dim + 2, weight->dim + 2, out))
        return false;
    *y = (Type){.dtype = x->dtype, .rank = 4, .dim = {x->dim[0], weight->dim[0], out[0], out[1]}};
    return true;
}

// That so many channels of operand 0 may be the only ones that count.
static bool has_live(Infer *in) {
    int64_t live = in->attrs->live, channels = in->x[0]->dim[1];
    if (live < 0 || live > channels)
        return refuse(in, "%" PRId64 " live channels of %" PRId64, live, channels);
    if (live && in->attrs->groups != 1)
        return refuse(in, "live channels of %" PRId64 " groups", in->attrs->groups);
    return true;
}

static bool infer_conv2d(Infer *in) {
    return conv2d_of(in, in->x[0], in->x[1], in->y) && has_live(in);
}

// Checks that conv2d of x and weight has the type of dy, of which one of the two adjoints is asked.
static bool fits_dy(Infer *in, const Type *x, const Type *weight, const Type *dy) {
    Type y;
    if (!same_dtype(in, in->x[0], in->x[1]) || !sound_extents(in) || !conv2d_of(in, x, weight, &y))
        return false;
    if (!type_same_shape(&y, dy))
        return refuse(in, "conv2d of %s by %s is %s, not %s", text_of(in, x), text_of(in, weight),
                      text_of(in, &y), text_of(in, dy));
    return has_live(in);
}

static bool infer_conv2d_input(Infer *in) {
    return set_shape(in, in->x[0]->dtype, in->attrs->shape.at, in->attrs->shape.count) &&
           fits_dy(in, in->y, in->x[1], in->x[0]);
}

static bool infer_conv2d_weight(Infer *in) {
    const Attrs *attrs = in->attrs;
    if (!set_shape(in, in->x[0]->dtype, attrs->shape.at, attrs->shape.count) ||
        !fits_dy(in, in->x[0], in->y, in->x[1]))
        return false;
    if (!attrs->parts)
        return true;
    if (attrs->parts < 0 || attrs->parts > in->x[0]->dim[0])
        return refuse(in, "%" PRId64 " parts of a batch of %" PRId64, attrs->parts,
                      in->x[0]->dim[0]);
    int64_t dim[5] = {attrs->parts};
    for (int i = 0; i < 4; i++)
        dim[i + 1] = in->y->dim[i];
    return set_shape(in, in->x[0]->dtype, dim, 5) && sound_extents(in);
}

// ---- F(4x4, 3x3)
// ---------------------------------------------------------------------------

static bool padding_of_winograd(Infer *in) {
    return list_has(in, in->attrs->padding, 4, 0, "padding");
}

// Extents that a 3x3 kernel of stride 1 leaves of the image.
static bool winograd_places(Infer *in, const Type *x, int64_t out[2]) {
    const int64_t *padding = in->attrs->padding.at;
    if (!is_float(in, x) || !has_rank(in, x, 4, "the image") || !padding_of_winograd(in))
        return false;
    for (int i = 0; i < 2; i++) {
        out[i] = x->dim[2 + i] + padding[i] + padding[2 + i] - (WINOGRAD_KERNEL - 1);
        if (out[i] < 1)
            return refuse(in, "a kernel of 3x3 does not fit into %s", text_of(in, x));
    }
    return true;
}

// Channels, or filters, in whole blocks in each of the groups.
static bool are_whole_groups(Infer *in, int64_t channels) {
    int64_t groups = in->attrs->groups;
    if (groups < 1 || channels % groups || channels / groups % WINOGRAD_BLOCK)
        return refuse(in, "%" PRId64 " channels in %" PRId64 " groups are no whole blocks of 16",
                      channels, groups);
    return true;
}

// [36, K / 16, C / groups, 16], C / groups in whole blocks as well.
static bool is_transformed(Infer *in, const Type *u) {
    if (!has_rank(in, u, 4, "the transformed kernel"))
        return false;
    if (u->dim[0] != WINOGRAD_POINTS || u->dim[2] % WINOGRAD_BLOCK || u->dim[3] != WINOGRAD_BLOCK)
        return refuse(in, "%s is no transformed kernel [36, K / 16, C, 16]", text_of(in, u));
    return true;
}

static bool infer_winograd(Infer *in) {
    const Type *x = in->x[0], *u = in->x[1];
    int64_t out[2];
    if (!same_dtype(in, x, u) || !winograd_places(in, x, out) || !is_transformed(in, u))
        return false;
    int64_t groups = in->attrs->groups, filters = u->dim[1] * WINOGRAD_BLOCK;
    if (!are_whole_groups(in, filters))
        return false;
    if (u->dim[2] * groups != x->dim[1])
        return refuse(in, "the kernel takes %" PRId64 " channels, the image has %" PRId64,
                      u->dim[2] * groups, x->dim[1]);
    *in->y = (Type){.dtype = x->dtype, .rank = 4, .dim = {x->dim[0], filters, out[0], out[1]}};
    return true;
}

static bool infer_winograd_weight(Infer *in) {
    const Type *x = in->x[0], *dy = in->x[1];
    int64_t out[2], parts = in->attrs->parts;
    if (!same_dtype(in, x, dy) || !winograd_places(in, x, out) ||
        !has_rank(in, dy, 4, "the cotangent"))
        return false;
    if (dy->dim[0] != x->dim[0] || dy->dim[2] != out[0] || dy->dim[3] != out[1])
        return refuse(in, "%s is no cotangent for %s", text_of(in, dy), text_of(in, x));
    if (!are_whole_groups(in, x->dim[1]) || !are_whole_groups(in, dy->dim[1]))
        return false;
    if (parts < 0 || parts > x->dim[0])
        return refuse(in, "%" PRId64 " parts of a batch of %" PRId64, parts, x->dim[0]);
    int64_t dim[5] = {parts, WINOGRAD_POINTS, dy->dim[1] / WINOGRAD_BLOCK,
                      x->dim[1] / in->attrs->groups, WINOGRAD_BLOCK};
    return set_shape(in, x->dtype, parts ? dim : dim + 1, parts ? 5 : 4);
}

static bool infer_winograd_kernel(Infer *in) {
    const Type *w = in->x[0];
    if (!is_float(in, w) || !has_rank(in, w, 4, "the kernel"))
        return false;
    if (w->dim[2] != WINOGRAD_KERNEL || w->dim[3] != WINOGRAD_KERNEL || w->dim[1] % WINOGRAD_BLOCK)
        return refuse(in, "%s is no 3x3 kernel of whole blocks", text_of(in, w));
    if (!are_whole_groups(in, w->dim[0]))
        return false;
    int64_t groups = in->attrs->groups;
    int64_t filters = in->attrs->flip ? w->dim[1] * groups : w->dim[0];
    int64_t channels = in->attrs->flip ? w->dim[0] / groups : w->dim[1];
    int64_t dim[4] = {WINOGRAD_POINTS, filters / WINOGRAD_BLOCK, channels, WINOGRAD_BLOCK};
    return set_shape(in, w->dtype, dim, 4);
}

static bool infer_winograd_kernel_adjoint(Infer *in) {
    const Type *u = in->x[0];
    int64_t dim[4] = {u->dim[1] * WINOGRAD_BLOCK, u->dim[2], WINOGRAD_KERNEL, WINOGRAD_KERNEL};
    return is_float(in, u) && is_transformed(in, u) && set_shape(in, u->dtype, dim, 4);
}

// ---- decompositions
// -----------------------------------------------------------------------------

// The last two axes are a matrix; `count` rows of `row` elements come out for each.
static bool infer_rows_of_matrix(Infer *in, int64_t most, int64_t row) {
    const Type *x = in->x[0];
    int64_t count = in->attrs->count;
    if (x->dim[x->rank - 2] * x->dim[x->rank - 1] > MAX_MATRIX)
        return refuse(in, "matrices of %s; they have at most 2^22 elements", text_of(in, x));
    if (count < 1 || count > most)
        return refuse(in, "`count` is %" PRId64 ", of %" PRId64 " values of a matrix", count, most);
    set_shape(in, x->dtype, x->dim, x->rank);
    in->y->dim[x->rank - 2] = count;
    in->y->dim[x->rank - 1] = row;
    return true;
}

static bool has_matrices(Infer *in) {
    if (in->x[0]->rank < 2)
        return refuse(in, "matrices lie in the last two axes, and this is %s",
                      text_of(in, in->x[0]));
    return is_float(in, in->x[0]);
}

static bool infer_eigh(Infer *in) {
    const Type *x = in->x[0];
    if (!has_matrices(in))
        return false;
    int64_t n = x->dim[x->rank - 1];
    if (x->dim[x->rank - 2] != n)
        return refuse(in, "a symmetric matrix is square, and this is %s", text_of(in, x));
    return infer_rows_of_matrix(in, n, 1 + n);
}

static bool infer_svd(Infer *in) {
    const Type *x = in->x[0];
    if (!has_matrices(in))
        return false;
    int64_t m = x->dim[x->rank - 2], n = x->dim[x->rank - 1];
    return infer_rows_of_matrix(in, m < n ? m : n, 1 + m + n);
}

// ---- gradients, effects
// ---------------------------------------------------------------------------

static bool infer_second(Infer *in) {
    *in->y = plain(in->x[1]);
    return is_float(in, in->x[0]) && is_float(in, in->x[1]) &&
           has_rank(in, in->x[0], 0, "what is differentiated");
}

static bool infer_write(Infer *in) {
    const Storage *storage = storage_of(in);
    if (!storage)
        return refuse(in, "no storage %" PRId64, in->attrs->storage);
    if (storage->type.dtype != in->x[0]->dtype || !type_same_shape(&storage->type, in->x[0]))
        return refuse(in, "%s is %s, what is written is %s", storage->name,
                      text_of(in, &storage->type), text_of(in, in->x[0]));
    return infer_same(in);
}

static bool infer_report(Infer *in) {
    return has_rank(in, in->x[0], 0, "what is reported") && infer_number(in);
}

// ---- front door
// -----------------------------------------------------------------------------------

typedef bool InferRule(Infer *in);

static InferRule *const infer_rules[OP_COUNT] = {
#define OP(name, arity, traits, shape, gradient, lowering, attrs, surface, summary)                \
    [OP_##name] = infer_##shape,
#include "ir/ops.def"
#undef OP
};

bool ir_infer(const Module *module, Op op, const Type *const *type, uint32_t arity,
              const Attrs *attrs, Type *result, Arena *arena, const char **message) {
    static const Attrs none;
    Infer in = {module, op, type, arity, attrs ? attrs : &none, result, arena, message};
    *result = (Type){0};
    int wanted = op_info[op].arity;
    if (wanted != ANY && arity != (uint32_t)wanted)
        return refuse(&in, "%u operands where %d are needed", arity, wanted);
    return infer_rules[op](&in) && sound_extents(&in);
}
