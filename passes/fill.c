// passes/fill.c -- channels that are no multiple of a block of 16, filled up with zeros.
//
// The register tiles want whole blocks of channels (passes/layout.c). A convolution of another
// number of filters is made one of whole blocks, by zeros in its weights, and its result is the
// first channels of that:
//
//     conv2d(x, w)  ->  slice(conv2d(x, pad(w)))
//
// The slice then moves down, through elementwise ops, reductions and convolutions, as far as it
// can, so that what lies between two convolutions is in whole blocks too; the missing channels are
// computed for nothing. That needs to know what they hold: zeros behind a convolution, and behind
// an elementwise op what it makes of its operands'. Only where that is one finite number may the
// slice pass, since a weight of 0 does not silence an infinity. For the same reason an image that
// holds infinities gives NaN in the channels that are too many, and F(4x4, 3x3) behind them NaN
// too, even where something like min(x, 6) would have made the infinity finite.
//
// A convolution that sums over channels of a filled image, or whose weight gradient has an axis
// along them, is told how many of them are `live`: the products of the others are left out.
#include <math.h>

#include "passes/passes.h"
#include "passes/rewrite.h"

enum {
    BLOCK = 16,
    CHANNELS = 1,             // axis of an image
    LEAST_PRODUCTS = 1 << 16, // multiply-adds below which a convolution is not worth its copies
    MOST_WASTE = 2,           // channels for one that is asked for, behind a convolution
};

/// An image in whole blocks of channels, of which a node of the graph is the first.
typedef struct Filled {
    Node *whole;  // NULL: there is none
    double value; // of the channels that are too many
} Filled;

typedef struct Fill {
    Graph *graph;
    Filled *filled; // by old id
} Fill;

static int64_t whole_extent(int64_t extent) {
    return (extent + BLOCK - 1) / BLOCK * BLOCK;
}

static bool is_image(const Node *node) {
    return node->type.rank == 4 && dtype_is_float(node->type.dtype);
}

/// x with zeros after its last element on `axis`, up to `extent`.
static Node *padded(Graph *graph, Node *x, int axis, int64_t extent) {
    int64_t low[MAX_RANK] = {0}, high[MAX_RANK] = {0};
    if (x->type.dim[axis] == extent)
        return x;
    high[axis] = extent - x->type.dim[axis];
    Attrs attrs = {.low = {x->type.rank, low}, .high = {x->type.rank, high}};
    return graph_append(graph, OP_pad, &x, 1, &attrs, graph->cursor);
}

/// The first elements of x on each axis, of the shape of `like`.
static Node *first_of(Graph *graph, Node *x, const Node *like) {
    int64_t start[MAX_RANK] = {0}, step[MAX_RANK];
    int rank = like->type.rank;
    if (type_same_shape(&x->type, &like->type))
        return x;
    for (int i = 0; i < rank; i++)
        step[i] = 1;
    Attrs attrs = {.start = {rank, start}, .limit = {rank, like->type.dim}, .step = {rank, step}};
    return graph_append(graph, OP_slice, &x, 1, &attrs, graph->cursor);
}

// ---- convolutions -------------------------------------------------------------------------------

/// A convolution relates two images and a weight: operand 0 is an image; of the other image and the
/// weight one is operand 1, the other the result.
typedef struct ConvRoles {
    Op op;
    bool by_weight; // the weight is the result
    int axis[2];    // of the weight: along the channels of operand 0, and of the other image
} ConvRoles;

static const ConvRoles conv_roles[] = {
    {OP_conv2d, false, {1, 0}},
    {OP_conv2d_input, false, {0, 1}},
    {OP_conv2d_weight, true, {1, 0}},
};

static const ConvRoles *roles_of(const Node *node) {
    for (size_t i = 0; i < sizeof conv_roles / sizeof *conv_roles; i++) {
        if (conv_roles[i].op == node->op)
            return &conv_roles[i];
    }
    return NULL;
}

/// One filter to each channel: both images have the same channels, and are filled together.
static bool is_depthwise(const Node *node, const Type *weight) {
    return node->attrs->groups > 1 && weight->dim[1] == 1 && weight->dim[0] == node->attrs->groups;
}

/// How many channels both images are to have.
static void choose_channels(const Node *node, const ConvRoles *roles, const Filled as[3],
                            bool depthwise, int64_t wanted[2]) {
    const Type *x = &node->operand[0]->type;
    const Type *weight = roles->by_weight ? &node->type : &node->operand[1]->type;
    const Type *other = roles->by_weight ? &node->operand[1]->type : &node->type;
    int64_t channels[2] = {x->dim[CHANNELS], other->dim[CHANNELS]};
    bool both = depthwise && type_count(x) * weight->dim[2] * weight->dim[3] >= LEAST_PRODUCTS;
    bool one = !depthwise && type_count(x) * channels[1] >= LEAST_PRODUCTS;
    // Operand 0 is summed over, but for a depthwise convolution: whole blocks are welcome, that is
    // all.
    wanted[0] = as[0].whole || both ? whole_extent(channels[0]) : channels[0];
    wanted[1] = one || (roles->by_weight && as[1].whole) ? whole_extent(channels[1]) : channels[1];
    if (depthwise)
        wanted[1] = wanted[0];
}

/// An image with `extent` channels: as it was filled, or a copy.
static Node *image_of(Fill *fill, Node *image, const Filled *as, int64_t extent) {
    bool is_there = as->whole && as->whole->type.dim[CHANNELS] == extent;
    return is_there ? as->whole : padded(fill->graph, image, CHANNELS, extent);
}

/// The convolution in whole blocks; NULL if it has them, or if it is not worth it.
static Node *fill_convolution(Fill *fill, const Node *node, const ConvRoles *roles,
                              const Filled as[3]) {
    Graph *graph = fill->graph;
    const Type *weight = roles->by_weight ? &node->type : &node->operand[1]->type;
    bool depthwise = is_depthwise(node, weight);
    if ((node->attrs->groups > 1 && !depthwise) || node->attrs->parts)
        return NULL;
    int64_t wanted[2], shape[4];
    choose_channels(node, roles, as, depthwise, wanted);

    Attrs attrs = *node->attrs;
    for (uint32_t i = 0; i < attrs.shape.count; i++)
        shape[i] = attrs.shape.at[i];
    Node *operand[2] = {image_of(fill, node->operand[0], &as[0], wanted[0])};
    if (roles->by_weight) {
        operand[1] = image_of(fill, node->operand[1], &as[1], wanted[1]);
        shape[roles->axis[1]] = wanted[1];
        if (!depthwise)
            shape[roles->axis[0]] = wanted[0];
    } else {
        operand[1] = padded(graph, node->operand[1], depthwise ? 0 : roles->axis[1], wanted[1]);
        if (!depthwise)
            operand[1] = padded(graph, operand[1], roles->axis[0], wanted[0]);
        shape[CHANNELS] = wanted[1];
    }
    if (operand[0] == node->operand[0] && operand[1] == node->operand[1])
        return NULL;
    if (depthwise)
        attrs.groups = wanted[0];
    else if (wanted[0] != node->operand[0]->type.dim[CHANNELS] && !attrs.live)
        attrs.live = node->operand[0]->type.dim[CHANNELS];
    if (attrs.shape.count)
        attrs.shape.at = shape;
    return graph_append(graph, node->op, operand, 2, &attrs, graph->cursor);
}

// ---- what moves with the slice ------------------------------------------------------------------

/// The number that op gives for the channels that are too many, where operands' numbers are known;
/// NaN stands for one that is not. A result that comes out the same for numbers of all kinds in
/// their place does not hang on them (0 times any).
static double value_of(Op op, const double operand[3]) {
    static const double any[] = {0, 1, -2.5, 1e30, -1e30};
    double result = NAN;
    for (size_t i = 0; i < sizeof any / sizeof *any; i++) {
        double v[3], y;
        for (int k = 0; k < 3; k++)
            v[k] = isnan(operand[k]) ? any[i] : operand[k];
        if (!fold_numbers(op, v[0], v[1], v[2], &y) || !isfinite((float)y) || (i && y != result))
            return NAN;
        result = y;
    }
    return result;
}

/// An operand of an elementwise op on images of `extent` channels; NULL if only a copy of a whole
/// image would do.
static Node *operand_in_blocks(Fill *fill, const Node *node, Node *x, const Filled *as,
                               int64_t extent, double *value) {
    int axis = CHANNELS - (node->type.rank - x->type.rank);
    *value = x->op == OP_const ? x->attrs->value : NAN;
    if (as->whole) {
        *value = as->value;
        return as->whole;
    }
    if (axis < 0 || x->type.dim[axis] == 1)
        return x; // the same for all channels
    if (x->op == OP_const) {
        Type type = x->type;
        type.dim[axis] = extent;
        return ir_full(fill->graph, x->attrs->value, &type);
    }
    if (type_count(&x->type) * 4 > type_count(&node->type))
        return NULL;
    *value = 0;
    return padded(fill->graph, x, axis, extent);
}

static Filled fill_map(Fill *fill, const Node *node, const Filled as[3]) {
    Filled none = {0};
    bool any = false;
    if (node->arity > 3 || node->type.rank != 4 || node->op == OP_cast)
        return none;
    for (uint32_t k = 0; k < node->arity; k++)
        any |= as[k].whole && type_same_shape(&node->operand[k]->type, &node->type);
    if (!any)
        return none;
    int64_t extent = whole_extent(node->type.dim[CHANNELS]);
    Node *operand[3];
    double value[3] = {0, 0, 0};
    for (uint32_t k = 0; k < node->arity; k++) {
        operand[k] = operand_in_blocks(fill, node, node->operand[k], &as[k], extent, &value[k]);
        if (!operand[k])
            return none;
    }
    double result = value_of(node->op, value);
    if (isnan(result))
        return none;
    Node *whole = graph_append(fill->graph, node->op, operand, node->arity, node->attrs,
                               fill->graph->cursor);
    return (Filled){whole, result};
}

static bool has_axis(Ints axes, int axis) {
    for (uint32_t i = 0; i < axes.count; i++) {
        if (axes.at[i] == axis)
            return true;
    }
    return false;
}

/// A reduction of an image: over pixels it gives more channels than asked for; a sum over channels
/// may sum zeros too.
static Node *fill_reduction(Fill *fill, const Node *node, const Filled *as) {
    bool over_channels = has_axis(node->attrs->axes, CHANNELS);
    if (over_channels && !(node->op == OP_sum && as->value == 0))
        return NULL;
    Node *operand = as->whole;
    return graph_append(fill->graph, node->op, &operand, 1, node->attrs, fill->graph->cursor);
}

// ---- the pass -----------------------------------------------------------------------------------

/// What stands for the node in whole blocks, and whether users may have that.
static Filled fill_node(Fill *fill, const Node *node, const Filled as[3], bool *is_shared) {
    Filled result = {0};
    *is_shared = false;
    const ConvRoles *roles = roles_of(node);
    if (roles) {
        result.whole = fill_convolution(fill, node, roles, as);
        *is_shared = result.whole && !roles->by_weight;
    } else if (op_has(node->op, MAPS)) {
        result = fill_map(fill, node, as);
        *is_shared = result.whole;
    } else if (op_has(node->op, REDUCES) && node->arity == 1 && as[0].whole &&
               is_image(node->operand[0]) && !op_has(node->op, KEEPS_AXES)) {
        result.whole = fill_reduction(fill, node, &as[0]);
    }
    if (*is_shared) {
        int64_t channels = node->type.dim[CHANNELS], whole = result.whole->type.dim[CHANNELS];
        *is_shared = whole > channels && whole <= MOST_WASTE * channels;
    }
    return result;
}

/// Requires: no grad nodes, plain layouts.  Keeps: order.  Changes nothing when run again.
bool pass_fill(Graph *graph, PassContext *ctx) {
    if (graph_has_grad(graph))
        return false;
    Rewrite rw = rewrite_begin(graph, ctx->scratch);
    Fill fill = {graph, arena_array(ctx->scratch, Filled, rw.old_count)};
    for (size_t i = 0; i < rw.old_count; i++) {
        Filled as[3] = {0};
        const Node *old = graph->nodes.at[i];
        for (uint32_t k = 0; k < old->arity && k < 3; k++)
            as[k] = fill.filled[old->operand[k]->id];
        Node *node = rewrite_next(&rw, i), *better = node;
        bool is_shared;
        Filled filled = fill_node(&fill, node, as, &is_shared);
        if (filled.whole) {
            better = first_of(graph, filled.whole, node);
            if (is_shared)
                fill.filled[i] = filled;
        }
        rewrite_place(&rw, node, better);
    }
    return rewrite_end(&rw);
}
