// codegen/lower_reduce.c -- what is summed: for each reduction and contraction the domain of its
// sum, the term at a point of it, and the result.
//
// A reduction takes one sweep over its domain or two, one after the other: the variance sums
// squared distances from the mean of the first; argmax looks for the least index at which the
// maximum of the first lies.
#include <math.h>
#include <string.h>

#include "codegen/lower_rules.h"
#include "ir/cost.h"
#include "support/diag.h"

enum { MAX_PARTS = 2 };

static bool is_arg(const Node *node) {
    return node->op == OP_argmax || node->op == OP_argmin;
}

uint32_t reduce_part_count(const Node *node) {
    return node->op == OP_variance || is_arg(node) ? 2 : 1;
}

ScalarOp reduce_op(const Node *node, uint32_t part) {
    if (is_arg(node) && part == 1)
        return X_min;
    if (node->op == OP_reduce_max || node->op == OP_argmax)
        return X_max;
    if (node->op == OP_reduce_min || node->op == OP_argmin)
        return X_min;
    return X_add;
}

ScalarType reduce_type(const Node *node, uint32_t part) {
    if (is_arg(node) && part == 0)
        return scalar_type_of(node->operand[0]->type.dtype);
    return scalar_type_of(node->type.dtype);
}

double reduce_start(const Node *node, uint32_t part) {
    bool is_float = scalar_is_float(reduce_type(node, part));
    switch ((int)reduce_op(node, part)) {
    case X_max:
        return is_float ? -(double)INFINITY : (double)INT32_MIN;
    case X_min:
        return is_float ? (double)INFINITY : (double)INT32_MAX;
    default:
        return 0;
    }
}

// ---- einsum: letters
// -------------------------------------------------------------------------------

typedef struct Letters {
    const char *a, *b, *out;
    int a_rank, b_rank;
} Letters;

static Letters letters_of(const Node *node) {
    const char *spec = node->attrs->spec;
    const char *comma = strchr(spec, ',');
    const char *arrow = strstr(spec, "->");
    return (Letters){spec, comma + 1, arrow + 2, (int)(comma - spec), (int)(arrow - comma - 1)};
}

// The letters that are summed, in the order in which they first stand.
static int summed_letters(const Node *node, char *letter, int64_t *extent) {
    Letters at = letters_of(node);
    int count = 0;
    letter[0] = 0;
    for (int k = 0; k < 2; k++) {
        const char *name = k ? at.b : at.a;
        for (int i = 0; i < (k ? at.b_rank : at.a_rank); i++) {
            if (strchr(at.out, name[i]) || strchr(letter, name[i]))
                continue;
            extent[count] = node->operand[k]->type.dim[i];
            letter[count++] = name[i];
            letter[count] = 0;
        }
    }
    return count;
}

static void einsum_index(const Node *node, int operand, const Ix *ix, const Ix *inner, Ix *mapped) {
    char summed[2 * MAX_RANK + 1];
    int64_t extent[2 * MAX_RANK];
    Letters at = letters_of(node);
    summed_letters(node, summed, extent);
    const char *name = operand ? at.b : at.a;
    for (int i = 0; i < (operand ? at.b_rank : at.a_rank); i++) {
        const char *in_out = strchr(at.out, name[i]);
        mapped[i] = in_out ? ix[in_out - at.out] : inner[strchr(summed, name[i]) - summed];
    }
}

// ---- domains
// ---------------------------------------------------------------------------------------

static bool is_reduced(const Node *node, int axis) {
    for (uint32_t k = 0; k < node->attrs->axes.count; k++) {
        if (node->attrs->axes.at[k] == axis)
            return true;
    }
    return false;
}

static int64_t part_images(const Node *node) {
    int64_t batch = node->operand[0]->type.dim[0];
    int64_t parts = node->attrs->parts ? node->attrs->parts : 1;
    return (batch + parts - 1) / parts;
}

uint32_t reduce_extents(const Node *node, int64_t *extent) {
    char letter[2 * MAX_RANK + 1];
    const Type *a = &node->operand[0]->type;
    const Type *b = node->arity > 1 ? &node->operand[1]->type : NULL;
    uint32_t count = 0;
    switch ((int)node->op) {
    case OP_einsum:
        return (uint32_t)summed_letters(node, letter, extent);
    case OP_conv2d: // C / groups, KH, KW
        memcpy(extent, b->dim + 1, 3 * sizeof *extent);
        extent[0] = node->attrs->live ? node->attrs->live : extent[0];
        return 3;
    case OP_conv2d_input: // K / groups, KH, KW
        extent[0] = node->attrs->live ? node->attrs->live : b->dim[0] / node->attrs->groups;
        memcpy(extent + 1, b->dim + 2, 2 * sizeof *extent);
        return 3;
    case OP_conv2d_weight: // N, or those of one part, OH, OW
        extent[0] = part_images(node);
        memcpy(extent + 1, b->dim + 2, 2 * sizeof *extent);
        return 3;
    case OP_fold: // KH, KW
        memcpy(extent, a->dim + 4, 2 * sizeof *extent);
        return 2;
    default:
        for (int i = 0; i < a->rank; i++) {
            if (is_reduced(node, i))
                extent[count++] = a->dim[i];
        }
        return count;
    }
}

static int64_t domain_count(const Node *node) {
    int64_t extent[2 * MAX_RANK], product = 1;
    uint32_t count = reduce_extents(node, extent);
    for (uint32_t i = 0; i < count; i++)
        product *= extent[i];
    return product;
}

int64_t reduce_flops(const Node *node) {
    return 2 * node_macs(node);
}

// ---- terms
// -----------------------------------------------------------------------------------------

static Ix at(LoopExpr *x, uint32_t guard) {
    return (Ix){x, guard};
}

static uint32_t guard_of(Ix a, Ix b) {
    return a.guard > b.guard ? a.guard : b.guard;
}

// a factor + b step + offset
static Ix position(Lower *l, Ix a, int64_t factor, Ix b, int64_t step, int64_t offset) {
    LoopExpr *x = x_add(l->kernel, x_mul(l->kernel, a.x, factor), x_mul(l->kernel, b.x, step));
    return at(x_offset(l->kernel, x, offset), guard_of(a, b));
}

static Value product(Lower *l, Value a, Value b) {
    return (Value){x2(l->kernel, X_mul, a.x, b.x), a.depth > b.depth ? a.depth : b.depth};
}

// y[n, k, oh, ow] = sum over (c, kh, kw) of x[n, g C/G + c, oh s + kh d - p, ..] w[k, c, kh, kw]
static Value conv2d_term(Lower *l, const Node *node, const Ix *ix, const Ix *inner) {
    const Attrs *as = node->attrs;
    const Type *w = &node->operand[1]->type;
    Ix group = at(x_div(l->kernel, ix[1].x, w->dim[0] / as->groups), ix[1].guard);
    Ix image[4] = {ix[0], position(l, group, w->dim[1], inner[0], 1, 0)};
    for (int i = 0; i < 2; i++)
        image[2 + i] = position(l, ix[2 + i], as->stride.at[i], inner[1 + i], as->dilation.at[i],
                                -as->padding.at[i]);
    Ix weight[4] = {ix[1], inner[0], inner[1], inner[2]};
    Value y = lower_element(l, node->operand[1], weight);
    return product(l, lower_inside(l, node->operand[0], image, NULL, 0), y);
}

// The place that showed `x` to kernel element `k`: o = (x + p - k d) / s where that divides.
static Ix place_of(Lower *l, const Attrs *as, int i, Ix x, Ix k, LoopExpr **divides) {
    int64_t stride = as->stride.at[i];
    Ix o = position(l, x, 1, k, -as->dilation.at[i], as->padding.at[i]);
    if (stride == 1)
        return o;
    LoopExpr *fits = x2(l->kernel, X_eq, x_mod(l->kernel, o.x, stride), x_int(l->kernel, 0));
    *divides = x_and(l->kernel, *divides, fits);
    return at(x_div(l->kernel, o.x, stride), o.guard);
}

// dx[n, c, h, w] = sum over (k, kh, kw) of dy[n, g K/G + k, oh, ow] w[g K/G + k, c mod C/G, kh, kw]
static Value conv2d_input_term(Lower *l, const Node *node, const Ix *ix, const Ix *inner) {
    const Attrs *as = node->attrs;
    const Type *w = &node->operand[1]->type;
    LoopExpr *divides = NULL;
    Ix group = at(x_div(l->kernel, ix[1].x, w->dim[1]), ix[1].guard);
    Ix filter = position(l, group, w->dim[0] / as->groups, inner[0], 1, 0);
    Ix image[4] = {ix[0], filter};
    for (int i = 0; i < 2; i++)
        image[2 + i] = place_of(l, as, i, ix[2 + i], inner[1 + i], &divides);
    Ix weight[4] = {filter, at(x_mod(l->kernel, ix[1].x, w->dim[1]), ix[1].guard), inner[1],
                    inner[2]};
    Value y = lower_element(l, node->operand[1], weight);
    return product(l, lower_inside(l, node->operand[0], image, divides, 0), y);
}

// dw[k, c, kh, kw] = sum over (n, oh, ow) of x[n, g C/G + c, oh s + kh d - p, ..] dy[n, k, oh, ow];
// with parts, dw[part, k, ..] sums over the images of that part, the last of which may have fewer.
static Value conv2d_weight_term(Lower *l, const Node *node, const Ix *ix, const Ix *inner) {
    const Attrs *as = node->attrs;
    const Type *dy = &node->operand[1]->type;
    const Ix *filter = as->parts ? ix + 1 : ix;
    int64_t channels = node->operand[0]->type.dim[1] / as->groups;
    Ix group = at(x_div(l->kernel, filter[0].x, dy->dim[1] / as->groups), filter[0].guard);
    Ix n = as->parts ? position(l, ix[0], part_images(node), inner[0], 1, 0) : inner[0];
    Ix image[4] = {n, position(l, group, channels, filter[1], 1, 0)};
    for (int i = 0; i < 2; i++)
        image[2 + i] = position(l, inner[1 + i], as->stride.at[i], filter[2 + i],
                                as->dilation.at[i], -as->padding.at[i]);
    Ix out[4] = {n, filter[0], inner[1], inner[2]};
    LoopExpr *is_live = as->live ? x_inside(l->kernel, filter[1].x, 0, as->live) : NULL;
    Value cotangent = lower_inside(l, node->operand[1], out, is_live, 0);
    return product(l, lower_inside(l, node->operand[0], image, is_live, 0), cotangent);
}

static Value einsum_term(Lower *l, const Node *node, const Ix *ix, const Ix *inner) {
    Ix a[MAX_RANK], b[MAX_RANK];
    einsum_index(node, 0, ix, inner, a);
    einsum_index(node, 1, ix, inner, b);
    Value x = lower_element(l, node->operand[0], a);
    return product(l, x, lower_element(l, node->operand[1], b));
}

// x[n, c, h, w] = sum over (kh, kw) of windows[n, c, oh, ow, kh, kw] where these show (h, w)
static Value fold_term(Lower *l, const Node *node, const Ix *ix, const Ix *inner) {
    LoopExpr *divides = NULL;
    Ix mapped[6] = {ix[0], ix[1], ix[2], ix[3], inner[0], inner[1]};
    for (int i = 0; i < 2; i++)
        mapped[2 + i] = place_of(l, node->attrs, i, ix[2 + i], inner[i], &divides);
    return lower_inside(l, node->operand[0], mapped, divides, 0);
}

// The operand's element, kept axes from `ix`, summed axes from `inner`.
static Value operand_element(Lower *l, const Node *node, const Ix *ix, const Ix *inner) {
    Ix mapped[MAX_RANK];
    int kept = 0;
    for (int i = 0; i < node->operand[0]->type.rank; i++) {
        bool reduced = is_reduced(node, i);
        mapped[i] = reduced ? *inner++ : ix[kept];
        kept += !reduced || node->attrs->keep;
    }
    return lower_element(l, node->operand[0], mapped);
}

// Row-major number within the summed axes.
static Value inner_number(Lower *l, const Node *node, const Ix *inner) {
    int64_t extent[MAX_INNER];
    uint32_t count = reduce_extents(node, extent);
    LoopExpr *number = x_int(l->kernel, 0);
    uint32_t depth = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t here = lower_depth(l, inner[i].x);
        depth = here > depth ? here : depth;
        number = x_add(l->kernel, x_mul(l->kernel, number, extent[i]), inner[i].x);
    }
    if (l->trial)
        vec_push(l->arena, &l->others, number);
    return (Value){x_cast(l->kernel, number, S_I32), depth};
}

Value reduce_term(Lower *l, const Node *node, uint32_t part, const Ix *ix, const Ix *inner,
                  const Value *known) {
    switch ((int)node->op) {
    case OP_einsum:
        return einsum_term(l, node, ix, inner);
    case OP_conv2d:
        return conv2d_term(l, node, ix, inner);
    case OP_conv2d_input:
        return conv2d_input_term(l, node, ix, inner);
    case OP_conv2d_weight:
        return conv2d_weight_term(l, node, ix, inner);
    case OP_fold:
        return fold_term(l, node, ix, inner);
    default:
        break;
    }
    LoopKernel *kernel = l->kernel;
    Value x = operand_element(l, node, ix, inner);
    if (part == 0)
        return x;
    uint32_t depth = x.depth > known[0].depth ? x.depth : known[0].depth;
    if (node->op == OP_variance) {
        LoopExpr *count = x_const(kernel, (double)domain_count(node), x.x->type);
        Value mean =
            lower_bind(l, "mean", (Value){x2(kernel, X_div, known[0].x, count), known[0].depth});
        Value off = lower_bind(l, "off", (Value){x2(kernel, X_sub, x.x, mean.x), depth});
        return product(l, off, off);
    }
    // argmax: where the maximum lies, or the first NaN, which counts as the largest
    Value number = inner_number(l, node, inner);
    LoopExpr *hit = x2(kernel, X_eq, x.x, known[0].x);
    if (scalar_is_float(x.x->type))
        hit = x2(kernel, X_or, hit, x2(kernel, X_ne, x.x, x.x));
    LoopExpr *none = x_const(kernel, INT32_MAX, S_I32);
    return (Value){x3(kernel, X_select, hit, number.x, none),
                   depth > number.depth ? depth : number.depth};
}

Value reduce_result(Lower *l, const Node *node, const Value *known) {
    Value last = known[reduce_part_count(node) - 1];
    if (node->op != OP_variance)
        return last;
    double divisor = (double)(domain_count(node) - node->attrs->correction);
    LoopExpr *x = x2(l->kernel, X_div, last.x, x_const(l->kernel, divisor, last.x->type));
    return lower_bind(l, "variance", (Value){x, last.depth});
}

// ---- a reduction on the spot
// -----------------------------------------------------------------------

static Value sum_here(Lower *l, const Node *node, uint32_t part, const Ix *ix, const Value *known) {
    LoopKernel *kernel = l->kernel;
    int64_t extent[2 * MAX_RANK];
    Ix inner[2 * MAX_RANK];
    uint32_t count = reduce_extents(node, extent);
    uint32_t depth = l->top;
    LoopBody *body = l->scope[depth].body;
    l->inner_sums[l->nest] = true;
    ScalarType type = reduce_type(node, part);
    const char *name = op_info[node->op].name;
    uint32_t local = loop_local(kernel, body, name, type, NULL, 0);
    loop_set(kernel, body, local, NULL, 0, x_const(kernel, reduce_start(node, part), type));
    for (uint32_t i = 0; i < count; i++) {
        LoopExpr *end = x_int(kernel, extent[i]);
        inner[i] = lower_ix(extent[i] == 1
                                ? x_int(kernel, 0)
                                : scope_open_for(l, LOOP_SERIAL, "i", x_int(kernel, 0), end, 1));
    }
    Value term = reduce_term(l, node, part, ix, inner, known);
    loop_accumulate(kernel, l->scope[l->top].body, local, NULL, 0, reduce_op(node, part), term.x);
    while (l->top > depth)
        scope_close(l);
    return lower_bind(l, name, (Value){x_local(kernel, local, NULL, 0), depth});
}

Value reduce_here(Lower *l, const Node *node, const Ix *ix) {
    Value parts[MAX_PARTS];
    uint32_t depth = scope_outermost(l);
    Detour detour;
    for (int i = 0; i < node->type.rank; i++) {
        uint32_t here = lower_depth(l, ix[i].x);
        here = here > ix[i].guard ? here : ix[i].guard;
        depth = here > depth ? here : depth;
    }
    scope_detour(l, depth, &detour);
    for (uint32_t part = 0; part < reduce_part_count(node); part++)
        parts[part] = sum_here(l, node, part, ix, parts);
    Value result = reduce_result(l, node, parts);
    scope_return(l, &detour);
    return result;
}
