// tests/ops/op_cases.c -- test inputs of every op: a table of families, each with its edge cases.
#include "tests/ops/op_cases.h"

#include <math.h>

#include "support/diag.h"
#include "support/philox.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

typedef struct Shape {
    int rank;
    int64_t dim[6];
} Shape;

typedef struct CaseRule CaseRule;
typedef struct Build {
    const CaseRule *rule;
    Op op;
    size_t i;
    Graph *graph;
    OpCase *out;
} Build;

// Makes the inputs of case `i` and returns the node of the op.
typedef Node *CaseFamily(Build *b);

struct CaseRule {
    CaseFamily *family;
    size_t count;
    CaseValues values; // of the float operands
    double low, high;
    bool differentiable;
};

// ---- inputs
// ---------------------------------------------------------------------------------------

static Node *input_of(Build *b, DType dtype, const Shape *shape, CaseValues values, double low,
                      double high) {
    static const char *const names[MAX_CASE_INPUTS] = {"a", "b", "c", "d"};
    kdc_assert(b->out->input_count < MAX_CASE_INPUTS);
    CaseInput *input = &b->out->input[b->out->input_count];
    Type type = {.dtype = dtype, .rank = (uint8_t)shape->rank};
    for (int i = 0; i < shape->rank; i++)
        type.dim[i] = shape->dim[i];
    input->name = names[b->out->input_count++];
    input->node = ir_input(b->graph, input->name, &type);
    input->values = values;
    input->low = low;
    input->high = high;
    return input->node;
}

// A float input with the values of the op's rule.
static Node *real_of(Build *b, const Shape *shape) {
    return input_of(b, b->graph->module->real, shape, b->rule->values, b->rule->low, b->rule->high);
}

static Node *bool_of(Build *b, const Shape *shape) {
    return input_of(b, DT_BOOL, shape, CASE_BOOLS, 0, 1);
}

static Node *append(Build *b, Node *const *operand, uint32_t arity, Attrs attrs) {
    return graph_append(b->graph, b->op, operand, arity, &attrs, NULL);
}

static Ints ints(const int64_t *at, int count) {
    return (Ints){(uint32_t)count, at};
}

// ---- elementwise
// ----------------------------------------------------------------------------------

static const Shape shapes[] = {
    {0, {0}}, {1, {1}}, {1, {17}}, {3, {3, 1, 5}}, {4, {2, 3, 2, 2}}, {2, {1, 13}}, {2, {7, 19}},
};

static Node *family_unary(Build *b) {
    return append(b, (Node *[]){real_of(b, &shapes[b->i])}, 1, (Attrs){0});
}

static Node *family_not(Build *b) {
    return append(b, (Node *[]){bool_of(b, &shapes[b->i])}, 1, (Attrs){0});
}

static Node *family_scale_gradient(Build *b) {
    Node *x = real_of(b, &shapes[b->i]);
    Node *factor = input_of(b, b->graph->module->real, &shapes[0], CASE_RANGE, -2, 2);
    return append(b, (Node *[]){x, factor}, 2, (Attrs){0});
}

// Each pair is repeated along another axis; the last is one operand twice.
static const Shape pairs[][2] = {
    {{0, {0}}, {0, {0}}},
    {{1, {5}}, {1, {5}}},
    {{2, {3, 1}}, {2, {1, 4}}},
    {{2, {2, 3}}, {1, {3}}},
    {{1, {1}}, {1, {7}}},
    {{3, {2, 1, 3}}, {2, {4, 1}}},
    {{1, {17}}, {0, {0}}},
    {{3, {2, 3, 4}}, {3, {2, 1, 4}}},
    {{3, {1, 3, 2}}, {3, {5, 3, 2}}},
    {{2, {2, 3}}, {0, {-1}}},
};

static bool is_repeated(const Shape *second) {
    return second->dim[0] < 0;
}

static Node *family_binary(Build *b) {
    const Shape *pair = pairs[b->i];
    Node *first = real_of(b, &pair[0]);
    Node *second = is_repeated(&pair[1]) ? first : real_of(b, &pair[1]);
    return append(b, (Node *[]){first, second}, 2, (Attrs){0});
}

static Node *family_pow(Build *b) {
    const Shape *pair = pairs[b->i];
    Node *first = real_of(b, &pair[0]);
    Node *second = is_repeated(&pair[1])
                       ? first
                       : input_of(b, b->graph->module->real, &pair[1], CASE_RANGE, -2, 2.5);
    return append(b, (Node *[]){first, second}, 2, (Attrs){0});
}

// Floats with quotients away from whole numbers, and i32 of both signs.
static Node *family_floor(Build *b) {
    const Shape *pair = pairs[b->i / 2];
    bool integer = b->i % 2;
    DType dtype = integer ? DT_I32 : b->graph->module->real;
    CaseValues values = integer ? CASE_INTEGERS : CASE_HALVES;
    Node *first = input_of(b, dtype, &pair[0], values, -9, 9);
    Node *second = is_repeated(&pair[1])
                       ? first
                       : input_of(b, dtype, &pair[1], integer ? CASE_INTEGERS : CASE_POWERS, -3, 3);
    return append(b, (Node *[]){first, second}, 2, (Attrs){0});
}

// Comparisons of floats that differ, and of integers that are often equal.
static Node *family_compare(Build *b) {
    const Shape *pair = pairs[b->i / 2];
    bool integer = b->i % 2;
    Node *first =
        integer ? input_of(b, DT_I32, &pair[0], CASE_INTEGERS, -1, 1) : real_of(b, &pair[0]);
    Node *second = is_repeated(&pair[1]) ? first
                   : integer             ? input_of(b, DT_I32, &pair[1], CASE_INTEGERS, -1, 1)
                                         : real_of(b, &pair[1]);
    return append(b, (Node *[]){first, second}, 2, (Attrs){0});
}

static Node *family_logical(Build *b) {
    const Shape *pair = pairs[b->i];
    Node *first = bool_of(b, &pair[0]);
    Node *second = is_repeated(&pair[1]) ? first : bool_of(b, &pair[1]);
    return append(b, (Node *[]){first, second}, 2, (Attrs){0});
}

static const Shape triples[][3] = {
    {{0, {0}}, {0, {0}}, {0, {0}}},        {{1, {17}}, {1, {17}}, {1, {17}}},
    {{2, {3, 4}}, {0, {0}}, {2, {3, 4}}},  {{2, {3, 1}}, {2, {1, 4}}, {1, {4}}},
    {{0, {0}}, {2, {2, 3}}, {2, {2, 1}}},  {{3, {2, 1, 1}}, {2, {3, 1}}, {1, {5}}},
    {{2, {2, 3}}, {2, {2, 3}}, {0, {-1}}},
};

static Node *family_where(Build *b) {
    const Shape *triple = triples[b->i];
    Node *condition = bool_of(b, &triple[0]);
    Node *first = real_of(b, &triple[1]);
    Node *second = is_repeated(&triple[2]) ? first : real_of(b, &triple[2]);
    return append(b, (Node *[]){condition, first, second}, 3, (Attrs){0});
}

static Node *family_cast(Build *b) {
    static const DType from_to[][2] = {
        {DT_F32, DT_F64}, {DT_F64, DT_F32},  {DT_F32, DT_I32},  {DT_I32, DT_F32}, {DT_I32, DT_U8},
        {DT_U8, DT_F32},  {DT_BOOL, DT_F32}, {DT_F32, DT_BOOL}, {DT_F32, DT_U8},  {DT_U8, DT_BOOL},
    };
    DType from = from_to[b->i][0], to = from_to[b->i][1];
    if (b->graph->module->real == DT_F64 && b->i > 1) {
        from = from == DT_F32 ? DT_F64 : from;
        to = to == DT_F32 ? DT_F64 : to;
    }
    CaseValues values = dtype_is_float(from) ? CASE_HALVES
                        : from == DT_BOOL    ? CASE_BOOLS
                                             : CASE_INTEGERS;
    Node *x = input_of(b, from, &shapes[b->i % COUNT(shapes)], values, from == DT_U8 ? 0 : -9,
                       from == DT_I32 ? 300 : 9);
    b->out->differentiable = dtype_is_float(from) && dtype_is_float(to);
    return append(b, (Node *[]){x}, 1, (Attrs){.dtype = to});
}

// ---- index maps
// -----------------------------------------------------------------------------------

typedef struct ToShape {
    Shape from, to;
} ToShape;

static const ToShape reshapes[] = {
    {{0, {0}}, {1, {1}}},
    {{1, {12}}, {2, {3, 4}}},
    {{2, {3, 4}}, {1, {12}}},
    {{3, {2, 3, 4}}, {2, {6, 4}}},
    {{4, {2, 3, 1, 1}}, {2, {2, 3}}},
    {{2, {1, 1}}, {0, {0}}},
    {{2, {17, 2}}, {4, {1, 2, 17, 1}}},
};

static const ToShape broadcasts[] = {
    {{0, {0}}, {1, {7}}},       {{1, {1}}, {2, {3, 4}}},          {{2, {3, 1}}, {2, {3, 4}}},
    {{2, {1, 4}}, {2, {3, 4}}}, {{1, {4}}, {3, {2, 3, 4}}},       {{3, {2, 1, 3}}, {3, {2, 5, 3}}},
    {{1, {17}}, {1, {17}}},     {{2, {3, 1}}, {4, {2, 1, 3, 5}}},
};

static Node *to_shape(Build *b, const ToShape *c) {
    return append(b, (Node *[]){real_of(b, &c->from)}, 1,
                  (Attrs){.shape = ints(c->to.dim, c->to.rank)});
}

static Node *family_reshape(Build *b) {
    return to_shape(b, &reshapes[b->i]);
}

static Node *family_broadcast(Build *b) {
    return to_shape(b, &broadcasts[b->i]);
}

static const struct {
    Shape shape;
    int64_t perm[4];
} transposes[] = {
    {{0, {0}}, {0}},
    {{1, {17}}, {0}},
    {{2, {3, 5}}, {1, 0}},
    {{3, {2, 3, 4}}, {2, 0, 1}},
    {{4, {2, 3, 4, 5}}, {0, 2, 3, 1}},
    {{3, {1, 7, 1}}, {2, 1, 0}},
    {{3, {2, 3, 4}}, {0, 1, 2}},
    {{2, {17, 13}}, {1, 0}},
};

static Node *family_transpose(Build *b) {
    const Shape *shape = &transposes[b->i].shape;
    return append(b, (Node *[]){real_of(b, shape)}, 1,
                  (Attrs){.perm = ints(transposes[b->i].perm, shape->rank)});
}

static const struct {
    Shape shape;
    int64_t start[3], limit[3], step[3];
} slices[] = {
    {{0, {0}}, {0}, {0}, {0}},
    {{1, {17}}, {0}, {17}, {1}},
    {{1, {17}}, {3}, {16}, {5}},
    {{1, {17}}, {16}, {17}, {40}},
    {{2, {5, 7}}, {1, 0}, {4, 7}, {1, 2}},
    {{3, {2, 3, 4}}, {1, 0, 3}, {2, 3, 4}, {1, 1, 1}},
    {{3, {2, 3, 4}}, {0, 1, 0}, {2, 3, 4}, {2, 1, 3}},
};

static Node *family_slice(Build *b) {
    int rank = slices[b->i].shape.rank;
    return append(b, (Node *[]){real_of(b, &slices[b->i].shape)}, 1,
                  (Attrs){.start = ints(slices[b->i].start, rank),
                          .limit = ints(slices[b->i].limit, rank),
                          .step = ints(slices[b->i].step, rank)});
}

static const struct {
    Shape shape;
    int64_t low[3], high[3];
    double value;
} pads[] = {
    {{0, {0}}, {0}, {0}, 1},
    {{1, {17}}, {0}, {0}, 1},
    {{1, {1}}, {3}, {0}, -0.5},
    {{1, {5}}, {0}, {2}, 0},
    {{2, {3, 4}}, {1, 2}, {0, 3}, 2},
    {{3, {2, 1, 3}}, {0, 2, 1}, {1, 0, 0}, 0},
    {{2, {7, 1}}, {5, 0}, {5, 0}, -INFINITY},
};

static Node *family_pad(Build *b) {
    int rank = pads[b->i].shape.rank;
    b->out->differentiable = isfinite(pads[b->i].value);
    return append(b, (Node *[]){real_of(b, &pads[b->i].shape)}, 1,
                  (Attrs){.low = ints(pads[b->i].low, rank),
                          .high = ints(pads[b->i].high, rank),
                          .value = pads[b->i].value});
}

typedef struct AxesCase {
    Shape shape;
    int count;
    int64_t axes[4];
    bool keep;
} AxesCase;

static const AxesCase axes_cases[] = {
    {{0, {0}}, 0, {0}, false},       {{1, {5}}, 1, {0}, false},
    {{2, {3, 4}}, 2, {0, 1}, false}, {{2, {3, 4}}, 1, {0}, true},
    {{3, {2, 3, 4}}, 1, {1}, false}, {{3, {2, 3, 4}}, 2, {0, 2}, true},
    {{2, {1, 17}}, 1, {1}, false},   {{1, {3}}, 0, {0}, false},
    {{3, {2, 1, 3}}, 1, {1}, false}, {{4, {2, 3, 2, 5}}, 3, {0, 2, 3}, true},
    {{2, {5, 67}}, 1, {1}, true},
};

static Node *family_reverse(Build *b) {
    const AxesCase *c = &axes_cases[b->i];
    return append(b, (Node *[]){real_of(b, &c->shape)}, 1,
                  (Attrs){.axes = ints(c->axes, c->count)});
}

static const struct {
    int count; // of operands; operand k reads input from[k]
    int from[4];
    Shape shape[3];
    int64_t axis;
} concats[] = {
    {1, {0}, {{1, {5}}}, 0},
    {2, {0, 1}, {{1, {1}}, {1, {17}}}, 0},
    {3, {0, 1, 2}, {{2, {2, 3}}, {2, {2, 1}}, {2, {2, 5}}}, 1},
    {2, {0, 1}, {{3, {2, 3, 4}}, {3, {5, 3, 4}}}, 0},
    {2, {0, 0}, {{2, {3, 2}}}, 0},
    {4, {0, 1, 0, 1}, {{3, {2, 1, 3}}, {3, {2, 2, 3}}}, 1},
    {2, {0, 1}, {{4, {1, 2, 3, 2}}, {4, {1, 3, 3, 2}}}, 1},
};

static Node *family_concat(Build *b) {
    Node *input[3] = {0}, *operand[4];
    for (int k = 0; k < concats[b->i].count; k++) {
        int from = concats[b->i].from[k];
        if (!input[from])
            input[from] = real_of(b, &concats[b->i].shape[from]);
        operand[k] = input[from];
    }
    return append(b, operand, (uint32_t)concats[b->i].count, (Attrs){.axis = concats[b->i].axis});
}

typedef struct WindowCase {
    int64_t image[4], kernel[2], stride[2], padding[4], dilation[2];
    int64_t out[2]; // height and width of the result
    double value;
} WindowCase;

static const WindowCase windows_cases[] = {
    {{1, 1, 1, 1}, {1, 1}, {1, 1}, {0, 0, 0, 0}, {1, 1}, {1, 1}, 0},
    {{2, 3, 5, 4}, {3, 2}, {1, 1}, {0, 0, 0, 0}, {1, 1}, {3, 3}, 0},
    {{1, 2, 4, 4}, {6, 6}, {1, 1}, {1, 1, 1, 1}, {1, 1}, {1, 1}, -1}, // kernel = padded input
    {{1, 2, 7, 7}, {2, 2}, {3, 3}, {0, 0, 0, 0}, {1, 1}, {2, 2}, 0},  // stride > kernel
    {{1, 1, 7, 5}, {3, 2}, {2, 1}, {2, 0, 1, 1}, {2, 3}, {3, 3}, 0.5},
    {{2, 1, 5, 17}, {3, 3}, {2, 2}, {1, 1, 1, 1}, {1, 1}, {3, 9}, -INFINITY},
    {{1, 2, 3, 3}, {1, 1}, {5, 5}, {0, 0, 0, 0}, {1, 1}, {1, 1}, 0},
};

static Attrs window_attrs(const WindowCase *c) {
    return (Attrs){.kernel = ints(c->kernel, 2),
                   .stride = ints(c->stride, 2),
                   .padding = ints(c->padding, 4),
                   .dilation = ints(c->dilation, 2),
                   .value = c->value};
}

static Node *family_windows(Build *b) {
    const WindowCase *c = &windows_cases[b->i];
    Shape image = {4, {c->image[0], c->image[1], c->image[2], c->image[3]}};
    b->out->differentiable = isfinite(c->value);
    return append(b, (Node *[]){real_of(b, &image)}, 1, window_attrs(c));
}

static Node *family_fold(Build *b) {
    const WindowCase *c = &windows_cases[b->i];
    Shape windows = {6,
                     {c->image[0], c->image[1], c->out[0], c->out[1], c->kernel[0], c->kernel[1]}};
    Attrs attrs = window_attrs(c);
    attrs.shape = ints(c->image, 4);
    return append(b, (Node *[]){real_of(b, &windows)}, 1, attrs);
}

typedef struct TakeCase {
    Shape x, indices, rows;
    int64_t axis;
} TakeCase;

static const TakeCase take_cases[] = {
    {{1, {5}}, {0, {0}}, {0, {0}}, 0},
    {{1, {17}}, {1, {9}}, {1, {9}}, 0},
    {{2, {5, 3}}, {1, {4}}, {2, {4, 3}}, 0},
    {{2, {3, 7}}, {1, {6}}, {2, {3, 6}}, 1},
    {{2, {4, 3}}, {2, {2, 3}}, {3, {2, 3, 3}}, 0},
    {{3, {2, 3, 4}}, {1, {1}}, {3, {2, 1, 4}}, 1},
    {{2, {1, 5}}, {1, {3}}, {2, {3, 5}}, 0},
    {{3, {2, 4, 3}}, {2, {2, 2}}, {4, {2, 2, 2, 3}}, 1},
};

// Some indices are out of range, and more are equal than there are rows.
static Node *indices_of(Build *b, const TakeCase *c) {
    return input_of(b, DT_I32, &c->indices, CASE_INTEGERS, -1, (double)c->x.dim[c->axis]);
}

static Node *family_take(Build *b) {
    const TakeCase *c = &take_cases[b->i];
    Node *x = real_of(b, &c->x);
    Node *indices = indices_of(b, c);
    return append(b, (Node *[]){x, indices}, 2, (Attrs){.axis = c->axis});
}

static Node *family_put(Build *b) {
    const TakeCase *c = &take_cases[b->i];
    Node *x = real_of(b, &c->x);
    Node *indices = indices_of(b, c);
    Node *rows = real_of(b, &c->rows);
    return append(b, (Node *[]){x, indices, rows}, 3, (Attrs){.axis = c->axis});
}

// Random matrices have values apart from each other; one of extent 1 has no choice of vectors.
typedef struct MatrixCase {
    Shape shape;
    int64_t count;
} MatrixCase;

static const MatrixCase square_cases[] = {
    {{2, {1, 1}}, 1},       {{2, {2, 2}}, 2},    {{3, {3, 2, 2}}, 1},
    {{4, {2, 1, 3, 3}}, 3}, {{3, {2, 4, 4}}, 2}, {{2, {7, 7}}, 7},
};

static const MatrixCase matrix_cases[] = {
    {{2, {1, 1}}, 1},    {{2, {3, 3}}, 3},       {{2, {5, 3}}, 3},
    {{2, {3, 5}}, 3},    {{3, {2, 6, 2}}, 1},    {{3, {2, 2, 6}}, 1},
    {{3, {3, 4, 4}}, 2}, {{4, {2, 2, 1, 4}}, 1}, {{2, {9, 4}}, 2},
};

static Node *family_eigh(Build *b) {
    const MatrixCase *c = &square_cases[b->i];
    return append(b, (Node *[]){real_of(b, &c->shape)}, 1, (Attrs){.count = c->count});
}

static Node *family_svd(Build *b) {
    const MatrixCase *c = &matrix_cases[b->i];
    return append(b, (Node *[]){real_of(b, &c->shape)}, 1, (Attrs){.count = c->count});
}

static const struct {
    Shape shape;
    int64_t block, axis;
} relayouts[] = {
    {{1, {17}}, 0, 0},         {{4, {2, 8, 3, 3}}, 4, 1}, {{4, {1, 16, 1, 1}}, 16, 1},
    {{4, {8, 3, 3, 2}}, 8, 0}, {{2, {3, 5}}, 1, 1},       {{4, {2, 6, 1, 5}}, 2, 1},
};

// There and back, so that the result is plain.
static Node *family_relayout(Build *b) {
    Node *x = real_of(b, &relayouts[b->i].shape);
    Node *there =
        append(b, (Node *[]){x}, 1,
               (Attrs){.block = relayouts[b->i].block, .block_axis = relayouts[b->i].axis});
    return append(b, (Node *[]){there}, 1, (Attrs){0});
}

// ---- reductions, contractions
// ---------------------------------------------------------------------

static Node *family_reduce(Build *b) {
    const AxesCase *c = &axes_cases[b->i];
    return append(b, (Node *[]){real_of(b, &c->shape)}, 1,
                  (Attrs){.axes = ints(c->axes, c->count), .keep = c->keep});
}

// Every second one unbiased, where there are enough elements.
static Node *family_variance(Build *b) {
    const AxesCase *c = &axes_cases[b->i];
    int64_t count = 1;
    for (int k = 0; k < c->count; k++)
        count *= c->shape.dim[c->axes[k]];
    return append(b, (Node *[]){real_of(b, &c->shape)}, 1,
                  (Attrs){.axes = ints(c->axes, c->count),
                          .keep = c->keep,
                          .correction = b->i % 2 && count > 1});
}

static const struct {
    const char *spec;
    Shape a, b;
} einsums[] = {
    {"nk,mk->nm", {2, {3, 5}}, {2, {4, 5}}},
    {"nk,km->nm", {2, {1, 17}}, {2, {17, 1}}},
    {"bnk,bkm->bnm", {3, {2, 3, 4}}, {3, {2, 4, 5}}},
    {"nd,md->", {2, {3, 2}}, {2, {4, 2}}},
    {"ij,ij->ij", {2, {3, 5}}, {2, {3, 5}}},
    {"i,j->ij", {1, {7}}, {1, {3}}},
    {"ab,c->b", {2, {3, 4}}, {1, {5}}},
    {",->", {0, {0}}, {0, {0}}},
    {"nchw,ndhw->ncd", {4, {2, 3, 2, 2}}, {4, {2, 5, 2, 2}}},
    {"nk,mk->nm", {2, {4, 3}}, {0, {-1}}},
    {"ijk,k->ji", {3, {2, 3, 4}}, {1, {4}}},
    {"a,a->", {1, {13}}, {1, {13}}},
    {"and,amd->anm", {3, {2, 3, 1}}, {3, {2, 3, 1}}},
    {"kn,km->mn", {2, {7, 19}}, {2, {7, 17}}},
};

static Node *family_einsum(Build *b) {
    Node *first = real_of(b, &einsums[b->i].a);
    Node *second = is_repeated(&einsums[b->i].b) ? first : real_of(b, &einsums[b->i].b);
    return append(b, (Node *[]){first, second}, 2, (Attrs){.spec = einsums[b->i].spec});
}

typedef struct ConvCase {
    int64_t x[4], weight[4], y[4], stride[2], padding[4], dilation[2], groups;
} ConvCase;

static const ConvCase conv_cases[] = {
    {{1, 1, 1, 1}, {1, 1, 1, 1}, {1, 1, 1, 1}, {1, 1}, {0, 0, 0, 0}, {1, 1}, 1},
    {{2, 3, 5, 4}, {4, 3, 3, 3}, {2, 4, 5, 4}, {1, 1}, {1, 1, 1, 1}, {1, 1}, 1},
    {{1, 2, 6, 6}, {3, 2, 3, 3}, {1, 3, 3, 3}, {2, 2}, {1, 1, 1, 1}, {1, 1}, 1},
    {{1, 2, 3, 3}, {2, 2, 5, 5}, {1, 2, 1, 1}, {1, 1}, {1, 1, 1, 1}, {1, 1}, 1}, // kernel = padded
                                                                                 // input
    {{1, 2, 7, 5}, {3, 2, 1, 1}, {1, 3, 3, 2}, {3, 3}, {0, 0, 0, 0}, {1, 1}, 1}, // stride > kernel
    {{2, 4, 4, 4}, {4, 1, 3, 3}, {2, 4, 4, 4}, {1, 1}, {1, 1, 1, 1}, {1, 1}, 4}, // groups =
                                                                                 // channels
    {{1, 4, 5, 5}, {6, 2, 2, 3}, {1, 6, 4, 5}, {1, 1}, {0, 1, 0, 1}, {1, 1}, 2},
    {{1, 2, 7, 9}, {3, 2, 3, 2}, {1, 3, 4, 4}, {1, 2}, {0, 1, 1, 0}, {2, 3}, 1},
    {{1, 3, 1, 17}, {2, 3, 1, 5}, {1, 2, 1, 9}, {1, 2}, {0, 2, 0, 2}, {1, 1}, 1},
    {{1, 4, 2, 2}, {8, 1, 1, 1}, {1, 8, 2, 2}, {1, 1}, {0, 0, 0, 0}, {1, 1}, 4},
    // whole groups within a block of 16 channels
    {{2, 16, 5, 6}, {16, 1, 3, 3}, {2, 16, 5, 6}, {1, 1}, {1, 1, 1, 1}, {1, 1}, 16},
    {{1, 32, 7, 5}, {32, 8, 3, 3}, {1, 32, 4, 3}, {2, 2}, {1, 1, 1, 1}, {1, 1}, 4},
    {{2, 16, 6, 5}, {16, 4, 2, 3}, {2, 16, 5, 3}, {1, 1}, {0, 1, 0, 1}, {1, 2}, 4},
    // large strides: the grids of the adjoint are turns of a loop, all or some of them
    {{1, 16, 11, 8}, {1, 16, 4, 4}, {1, 1, 2, 2}, {4, 4}, {0, 0, 0, 0}, {1, 1}, 1},
    {{1, 16, 10, 7}, {16, 1, 5, 5}, {1, 16, 2, 1}, {5, 5}, {0, 0, 0, 0}, {1, 1}, 16},
    {{1, 16, 9, 8}, {1, 16, 6, 6}, {1, 1, 2, 2}, {3, 3}, {1, 1, 1, 1}, {1, 1}, 1},
    {{1, 16, 15, 8}, {1, 16, 5, 8}, {1, 1, 2, 1}, {6, 8}, {0, 0, 0, 0}, {2, 1}, 1},
    {{5, 2, 3, 3}, {2, 2, 2, 2}, {5, 2, 2, 2}, {1, 1}, {0, 0, 0, 0}, {1, 1}, 1},
};

static Shape shape4(const int64_t dim[4]) {
    return (Shape){4, {dim[0], dim[1], dim[2], dim[3]}};
}

static Node *conv_of(Build *b, const int64_t *first, const int64_t *second, Attrs attrs) {
    Shape shape0 = shape4(first), shape1 = shape4(second);
    Node *x0 = real_of(b, &shape0);
    Node *x1 = real_of(b, &shape1);
    return append(b, (Node *[]){x0, x1}, 2, attrs);
}

static Attrs conv_attrs(const ConvCase *c, const int64_t *shape) {
    return (Attrs){.shape = ints(shape, 4),
                   .stride = ints(c->stride, 2),
                   .padding = ints(c->padding, 4),
                   .dilation = ints(c->dilation, 2),
                   .groups = c->groups};
}

// After the plain cases some of which only the first channels count; `fill` says so, behind
// `differentiate`, so these have no gradient.
static const struct {
    size_t conv;
    int64_t channels, filters;
} live_cases[] = {{1, 2, 3}, {7, 1, 2}, {13, 9, 1}, {16, 16, 1}};

static const ConvCase *conv_case(Build *b, int64_t *channels, int64_t *filters) {
    *channels = *filters = 0;
    if (b->i < COUNT(conv_cases))
        return &conv_cases[b->i];
    size_t i = b->i - COUNT(conv_cases);
    *channels = live_cases[i].channels;
    *filters = live_cases[i].filters;
    b->out->differentiable = false;
    return &conv_cases[live_cases[i].conv];
}

static Node *family_conv2d(Build *b) {
    int64_t channels, filters;
    const ConvCase *c = conv_case(b, &channels, &filters);
    Attrs attrs = conv_attrs(c, c->y);
    attrs.live = channels;
    return conv_of(b, c->x, c->weight, attrs);
}

static Node *family_conv2d_input(Build *b) {
    int64_t channels, filters;
    const ConvCase *c = conv_case(b, &channels, &filters);
    Attrs attrs = conv_attrs(c, c->x);
    attrs.live = filters;
    return conv_of(b, c->y, c->weight, attrs);
}

// Then some in parts; 5 images in 3 parts are 2, 2 and 1, in 4 parts the last is
// empty. Parts are made behind `differentiate`, so these have no gradient.
static const struct {
    size_t conv;
    int64_t parts;
} parts_cases[] = {{0, 1}, {1, 2}, {5, 2}, {COUNT(conv_cases) - 1, 3}, {COUNT(conv_cases) - 1, 4}};

static Node *family_conv2d_weight(Build *b) {
    size_t whole = COUNT(conv_cases) + COUNT(live_cases);
    int64_t channels = 0, filters, parts = 0;
    const ConvCase *c;
    if (b->i < whole) {
        c = conv_case(b, &channels, &filters);
    } else {
        c = &conv_cases[parts_cases[b->i - whole].conv];
        parts = parts_cases[b->i - whole].parts;
        b->out->differentiable = false;
    }
    Attrs attrs = conv_attrs(c, c->weight);
    attrs.live = channels;
    attrs.parts = parts;
    return conv_of(b, c->x, c->y, attrs);
}

// An image of [n, c, h, w], k filters; the cotangent has the extents that the padding leaves.
static const struct {
    int64_t n, c, h, w, k, padding[4], parts, groups;
} winograd_cases[] = {
    {1, 16, 4, 4, 16, {1, 1, 1, 1}, 0, 1},  {2, 16, 9, 6, 32, {1, 1, 1, 1}, 2, 1},
    {3, 32, 1, 2, 16, {1, 1, 1, 1}, 2, 1},  {1, 16, 20, 17, 16, {0, 0, 0, 0}, 1, 1},
    {5, 16, 5, 4, 48, {2, 1, 0, 1}, 3, 1},  {2, 16, 3, 3, 16, {0, 0, 0, 0}, 0, 1},
    {18, 16, 4, 8, 16, {1, 1, 1, 1}, 4, 1}, {2, 32, 5, 6, 64, {1, 1, 1, 1}, 2, 2},
    {1, 96, 7, 3, 48, {2, 1, 0, 1}, 0, 3},
};

static Node *family_winograd(Build *b) {
    int64_t n = winograd_cases[b->i].n, c = winograd_cases[b->i].c, k = winograd_cases[b->i].k;
    int64_t h = winograd_cases[b->i].h, w = winograd_cases[b->i].w;
    const int64_t *p = winograd_cases[b->i].padding;
    int64_t groups = winograd_cases[b->i].groups;
    Shape x = {4, {n, c, h, w}}, u = {4, {36, k / 16, c / groups, 16}};
    Shape dy = {4, {n, k, h + p[0] + p[2] - 2, w + p[1] + p[3] - 2}};
    Shape kernel = {4, {k, c / groups, 3, 3}};
    Attrs padded = {.padding = ints(p, 4), .groups = groups};
    Node *first = real_of(b, b->op == OP_winograd_kernel           ? &kernel
                             : b->op == OP_winograd_kernel_adjoint ? &u
                                                                   : &x);
    switch ((int)b->op) {
    case OP_winograd:
        return append(b, (Node *[]){first, real_of(b, &u)}, 2, padded);
    case OP_winograd_weight:
        padded.parts = winograd_cases[b->i].parts;
        return append(b, (Node *[]){first, real_of(b, &dy)}, 2, padded);
    case OP_winograd_kernel:
        return append(b, (Node *[]){first}, 1, (Attrs){.groups = groups, .flip = b->i % 2});
    default:
        return append(b, (Node *[]){first}, 1, (Attrs){0});
    }
}

// ---- leaves, gradients, effects
// -------------------------------------------------------------------

static Attrs given(Build *b, const Shape *shape) {
    return (Attrs){.dtype = b->graph->module->real, .shape = ints(shape->dim, shape->rank)};
}

static Node *family_const(Build *b) {
    static const double values[] = {0, 1, -0.5, 1e-3, 3, 1e6, 0.1};
    Attrs attrs = given(b, &shapes[b->i]);
    attrs.value = values[b->i];
    attrs.dtype = b->i == 4 ? DT_I32 : attrs.dtype;
    return append(b, NULL, 0, attrs);
}

static Node *family_iota(Build *b) {
    const Shape *shape = &shapes[b->i + 1]; // rank 0 has no axis
    Attrs attrs = given(b, shape);
    attrs.axis = (int64_t)b->i % shape->rank;
    attrs.dtype = b->i % 2 ? DT_I32 : attrs.dtype;
    return append(b, NULL, 0, attrs);
}

static Node *family_random(Build *b) {
    Attrs attrs = given(b, &shapes[b->i]);
    attrs.stream = (int64_t)b->i;
    return append(b, NULL, 0, attrs);
}

static Node *family_input(Build *b) {
    static const DType dtypes[] = {DT_F32, DT_I32, DT_U8, DT_BOOL};
    DType dtype = b->i < 4 ? DT_F32 : dtypes[b->i - 3];
    if (dtype == DT_F32)
        return real_of(b, &shapes[b->i]);
    return input_of(b, dtype, &shapes[b->i], dtype == DT_BOOL ? CASE_BOOLS : CASE_INTEGERS, 0, 100);
}

// Shapes do not apply: the cases differ in what the scalar meets.
static Node *family_scalar(Build *b) {
    DType dtype = b->i % 2 ? DT_I32 : b->graph->module->real;
    b->out->has_scalar = true;
    Node *scalar = ir_scalar(b->graph, "t", dtype);
    Node *x = input_of(b, dtype, &shapes[b->i], CASE_INTEGERS, -5, 5);
    b->out->result = ir_binary(b->graph, OP_mul, scalar, x);
    return scalar;
}

static const Storage *storage_of(Build *b) {
    const Shape *shape = &shapes[b->i];
    Module *module = b->graph->module;
    Type type = {.dtype = b->i == 5 ? DT_I32 : module->real, .rank = (uint8_t)shape->rank};
    for (int k = 0; k < shape->rank; k++)
        type.dim[k] = shape->dim[k];
    const char *name = arena_printf(module->arena, "%s.s", b->graph->name);
    return b->out->storage = module_add_storage(module, STORAGE_STATE, name, &type);
}

static Node *family_read(Build *b) {
    return ir_read(b->graph, storage_of(b));
}

static Node *family_write(Build *b) {
    const Storage *storage = storage_of(b);
    const Shape *shape = &shapes[b->i];
    Node *x = input_of(b, storage->type.dtype, shape, CASE_INTEGERS, -9, 9);
    b->out->result = x;
    return ir_write(b->graph, storage, x);
}

static Node *family_report(Build *b) {
    static const DType dtypes[] = {DT_F32, DT_I32};
    DType dtype = dtypes[b->i % 2] == DT_I32 ? DT_I32 : b->graph->module->real;
    Shape scalar = {0, {0}};
    Node *x = input_of(b, dtype, &scalar, CASE_INTEGERS, -9, 9);
    b->out->result = x;
    return ir_report(b->graph, arena_printf(b->graph->module->arena, "r%zu", b->i), x);
}

static Node *family_output(Build *b) {
    Node *x = real_of(b, &shapes[b->i]);
    b->out->result = NULL; // itself
    return ir_output(b->graph, "y", x);
}

// d/dx of sum(x^2 * a), by x and by a.
static Node *family_grad(Build *b) {
    const Shape *shape = &shapes[b->i];
    static const int64_t axes[] = {0, 1, 2, 3};
    Node *x = real_of(b, shape);
    Node *a = real_of(b, shape);
    Node *square = ir_binary(b->graph, OP_mul, x, x);
    Node *loss = ir_reduce(b->graph, OP_sum, ir_binary(b->graph, OP_mul, square, a), axes,
                           shape->rank, false);
    b->out->needs_differentiate = true;
    return ir_binary(b->graph, OP_grad, loss, b->i % 2 ? a : x);
}

// ---- the table
// ------------------------------------------------------------------------------------

#define UNARY(values, low, high, differentiable)                                                   \
    {family_unary, COUNT(shapes), values, low, high, differentiable}
#define RULE(name, cases, values, low, high, differentiable)                                       \
    {family_##name, COUNT(cases), values, low, high, differentiable}

static const CaseRule case_rules[OP_COUNT] = {
    [OP_const] = RULE(const, shapes, CASE_RANGE, 0, 1, false),
    [OP_iota] = {family_iota, COUNT(shapes) - 1, CASE_RANGE, 0, 1, false},
    [OP_input] = {family_input, COUNT(shapes), CASE_RANGE, -2, 2, false},
    [OP_scalar] = RULE(scalar, shapes, CASE_RANGE, 0, 1, false),
    [OP_read] = RULE(read, shapes, CASE_RANGE, -2, 2, false),
    [OP_uniform] = RULE(random, shapes, CASE_RANGE, 0, 1, false),
    [OP_normal] = RULE(random, shapes, CASE_RANGE, 0, 1, false),
    [OP_neg] = UNARY(CASE_RANGE, -2, 2, true),
    [OP_abs] = UNARY(CASE_AWAY, -2, 2, true),
    [OP_sign] = UNARY(CASE_AWAY, -2, 2, false),
    [OP_exp] = UNARY(CASE_RANGE, -3, 3, true),
    [OP_log] = UNARY(CASE_RANGE, 0.1, 4, true),
    [OP_log1p] = UNARY(CASE_RANGE, -0.8, 3, true),
    [OP_expm1] = UNARY(CASE_RANGE, -2, 2, true),
    [OP_sqrt] = UNARY(CASE_RANGE, 0.1, 4, true),
    [OP_rsqrt] = UNARY(CASE_RANGE, 0.1, 4, true),
    [OP_tanh] = UNARY(CASE_RANGE, -3, 3, true),
    [OP_sigmoid] = UNARY(CASE_RANGE, -6, 6, true),
    [OP_erf] = UNARY(CASE_RANGE, -2, 2, true),
    [OP_sin] = UNARY(CASE_RANGE, -7, 7, true),
    [OP_cos] = UNARY(CASE_RANGE, -7, 7, true),
    [OP_floor] = UNARY(CASE_HALVES, -5, 5, false),
    [OP_not] = RULE(not, shapes, CASE_BOOLS, 0, 1, false),
    [OP_is_finite] = UNARY(CASE_RANGE, -2, 2, false),
    [OP_cast] = {family_cast, 10, CASE_HALVES, -9, 9, false},
    [OP_stop_gradient] = UNARY(CASE_RANGE, -2, 2, false),
    [OP_scale_gradient] = RULE(scale_gradient, shapes, CASE_RANGE, -2, 2, false),
    [OP_add] = RULE(binary, pairs, CASE_RANGE, -2, 2, true),
    [OP_sub] = RULE(binary, pairs, CASE_RANGE, -2, 2, true),
    [OP_mul] = RULE(binary, pairs, CASE_RANGE, -2, 2, true),
    [OP_div] = RULE(binary, pairs, CASE_AWAY, -2, 2, true),
    [OP_floor_div] = {family_floor, 2 * COUNT(pairs), CASE_HALVES, -9, 9, false},
    [OP_mod] = {family_floor, 2 * COUNT(pairs), CASE_HALVES, -9, 9, false},
    [OP_eigh] = RULE(eigh, square_cases, CASE_RANGE, -2, 2, true),
    [OP_svd] = RULE(svd, matrix_cases, CASE_RANGE, -2, 2, true),
    [OP_pow] = RULE(pow, pairs, CASE_RANGE, 0.2, 2.5, true),
    [OP_max] = RULE(binary, pairs, CASE_DISTINCT, -2, 2, true),
    [OP_min] = RULE(binary, pairs, CASE_DISTINCT, -2, 2, true),
    [OP_eq] = {family_compare, 2 * COUNT(pairs), CASE_DISTINCT, -2, 2, false},
    [OP_ne] = {family_compare, 2 * COUNT(pairs), CASE_DISTINCT, -2, 2, false},
    [OP_lt] = {family_compare, 2 * COUNT(pairs), CASE_DISTINCT, -2, 2, false},
    [OP_le] = {family_compare, 2 * COUNT(pairs), CASE_DISTINCT, -2, 2, false},
    [OP_and] = RULE(logical, pairs, CASE_BOOLS, 0, 1, false),
    [OP_or] = RULE(logical, pairs, CASE_BOOLS, 0, 1, false),
    [OP_where] = RULE(where, triples, CASE_RANGE, -2, 2, true),
    [OP_reshape] = RULE(reshape, reshapes, CASE_RANGE, -2, 2, true),
    [OP_broadcast] = RULE(broadcast, broadcasts, CASE_RANGE, -2, 2, true),
    [OP_transpose] = RULE(transpose, transposes, CASE_RANGE, -2, 2, true),
    [OP_slice] = RULE(slice, slices, CASE_RANGE, -2, 2, true),
    [OP_pad] = RULE(pad, pads, CASE_RANGE, -2, 2, true),
    [OP_reverse] = RULE(reverse, axes_cases, CASE_RANGE, -2, 2, true),
    [OP_concat] = RULE(concat, concats, CASE_RANGE, -2, 2, true),
    [OP_windows] = RULE(windows, windows_cases, CASE_RANGE, -2, 2, true),
    [OP_take] = RULE(take, take_cases, CASE_RANGE, -2, 2, true),
    [OP_relayout] = RULE(relayout, relayouts, CASE_RANGE, -2, 2, true),
    [OP_fold] = RULE(fold, windows_cases, CASE_RANGE, -2, 2, true),
    [OP_put] = RULE(put, take_cases, CASE_RANGE, -2, 2, true),
    [OP_put_add] = RULE(put, take_cases, CASE_RANGE, -2, 2, true),
    [OP_sum] = RULE(reduce, axes_cases, CASE_RANGE, -2, 2, true),
    [OP_reduce_max] = RULE(reduce, axes_cases, CASE_DISTINCT, -2, 2, true),
    [OP_reduce_min] = RULE(reduce, axes_cases, CASE_DISTINCT, -2, 2, true),
    [OP_variance] = RULE(variance, axes_cases, CASE_RANGE, -2, 2, true),
    [OP_argmax] = RULE(reduce, axes_cases, CASE_DISTINCT, -2, 2, false),
    [OP_argmin] = RULE(reduce, axes_cases, CASE_DISTINCT, -2, 2, false),
    [OP_einsum] = RULE(einsum, einsums, CASE_RANGE, -2, 2, true),
    [OP_conv2d] = {family_conv2d, COUNT(conv_cases) + COUNT(live_cases), CASE_RANGE, -2, 2, true},
    [OP_conv2d_input] = {family_conv2d_input, COUNT(conv_cases) + COUNT(live_cases), CASE_RANGE, -2,
                         2, true},
    [OP_conv2d_weight] = {family_conv2d_weight,
                          COUNT(conv_cases) + COUNT(live_cases) + COUNT(parts_cases), CASE_RANGE,
                          -2, 2, true},
    [OP_winograd] = RULE(winograd, winograd_cases, CASE_RANGE, -2, 2, false),
    [OP_winograd_weight] = RULE(winograd, winograd_cases, CASE_RANGE, -2, 2, false),
    [OP_winograd_kernel] = RULE(winograd, winograd_cases, CASE_RANGE, -2, 2, false),
    [OP_winograd_kernel_adjoint] = RULE(winograd, winograd_cases, CASE_RANGE, -2, 2, false),
    [OP_grad] = RULE(grad, shapes, CASE_RANGE, -2, 2, true),
    [OP_write] = RULE(write, shapes, CASE_RANGE, -2, 2, false),
    [OP_report] = RULE(report, shapes, CASE_RANGE, -2, 2, false),
    [OP_output] = RULE(output, shapes, CASE_RANGE, -2, 2, false),
};

size_t op_case_count(Op op) {
    return case_rules[op].count;
}

void op_case_build(Op op, size_t i, Module *module, OpCase *out) {
    const CaseRule *rule = &case_rules[op];
    const char *name = arena_printf(module->arena, "%s.%zu", op_info[op].name, i);
    kdc_assert(i < rule->count);
    *out = (OpCase){.differentiable = rule->differentiable};
    out->graph = module_add_graph(module, name, GRAPH_FREE, -1);
    Build build = {rule, op, i, out->graph, out};
    out->node = rule->family(&build);
    if (!out->result)
        out->result = out->node;
    if (op == OP_output)
        out->result = out->node->operand[0];
    else
        ir_output(out->graph, "y", out->result);
    for (uint32_t k = 0; k < out->input_count; k++) {
        out->input[k].index = k;
        out->input[k].of = (uint32_t)out->input_count;
    }
}

// ---- values
// ---------------------------------------------------------------------------------------

static double whole(double u, double low, double high) {
    return floor(low + u * (high - low + 1));
}

// A permutation of 0 .. count - 1: place i of a walk by a step that has no divisor in common with
// it.
static int64_t permuted(int64_t i, int64_t count, double u) {
    int64_t step = 1 + (int64_t)(u * (double)count);
    for (;; step++) {
        int64_t a = step, b = count;
        while (b) {
            int64_t rest = a % b;
            a = b;
            b = rest;
        }
        if (a == 1)
            return i * step % count;
    }
}

static double case_value(const CaseInput *input, double u, double u_first, int64_t i,
                         int64_t count) {
    switch (input->values) {
    case CASE_RANGE:
        return input->low + u * (input->high - input->low);
    case CASE_AWAY: {
        double value = input->low + u * (input->high - input->low);
        return fabs(value) < 0.05 ? value + copysign(0.05, value) : value;
    }
    case CASE_DISTINCT: {
        // A grid of 1/32 for each element, halved or thirded among the inputs, none at 0.
        int64_t place = permuted(i, count, u_first) - count / 2;
        return ((double)place + (input->index + 0.5) / input->of) / 32;
    }
    case CASE_HALVES:
        return whole(u, input->low, input->high - 1) + 0.5;
    case CASE_POWERS: {
        double power = ldexp(1, (int)(u * 6) / 2);
        return (int)(u * 6) % 2 ? power : -power;
    }
    case CASE_INTEGERS:
        return whole(u, input->low, input->high);
    case CASE_BOOLS:
        return u < 0.5;
    }
    return 0;
}

void op_case_fill(const CaseInput *input, uint64_t seed, double *value) {
    int64_t count = type_count(&input->node->type);
    double u_first = philox_uniform(seed, input->index, 0, UINT64_C(1) << 30);
    for (int64_t i = 0; i < count; i++) {
        double u = philox_uniform(seed, input->index, 0, (uint64_t)i);
        value[i] = (float)case_value(input, u, u_first, i, count);
    }
}
