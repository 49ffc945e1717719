// passes/split.c -- long reductions with few results in two stages.
//
// A kernel shares its results out among threads, so a sum of a million elements to one number would
// run on one. Split by shape, never by the number of threads, the order of additions is the same
// for any of them:
//
//     sum over [64, 64, 32, 32]  ->  sum over axes 1, 2, 3 to [64], then over axis 0
//     sum over [1000000]         ->  reshape to [64, 15625], sum over axis 1, then over axis 0
//
// The first stage gives at least WANTED results where the shape allows. Leading axes are kept for
// the second stage, so that the first reads whole runs of memory. variance is written as its two
// sums first.
#include "passes/passes.h"
#include "passes/rewrite.h"

enum {
    WANTED = 64,        // results that are work enough for the threads of a machine
    MANY = 4096,        // results of a first stage beyond which the second would be long itself
    LEAST_LENGTH = 64,  // elements per result of a first stage: below, starting it costs more
    LEAST_COUNT = 8192, // elements of a reduction that is worth two kernels
    WANTED_TILES = 16,  // tasks of a weight gradient
};

/// Splits an axis of n elements, each with `rest` behind it, into groups * (n / groups): the
/// smallest divisor that makes `others` results WANTED ones of at least LEAST_LENGTH elements. 1:
/// none.
static int64_t find_groups(int64_t n, int64_t rest, int64_t others) {
    for (int64_t groups = 2; groups <= MANY && n / groups * rest >= LEAST_LENGTH; groups++) {
        if (n % groups == 0 && groups * others >= WANTED)
            return groups;
    }
    return 1;
}

static bool is_listed(Ints axes, int64_t axis) {
    for (uint32_t i = 0; i < axes.count; i++) {
        if (axes.at[i] == axis)
            return true;
    }
    return false;
}

static Node *in_shape_of(Graph *graph, Node *x, const Type *type) {
    return type_same_shape(&x->type, type) ? x : ir_reshape(graph, x, type->dim, type->rank);
}

/// Two stages for the reduction `op` of x over `axes` to the shape of `type`; NULL if it is not
/// worth it.
static Node *two_stages(Graph *graph, Op op, Node *x, Ints axes, const Type *type) {
    int64_t results = 1;
    int64_t length = type_count(&x->type);
    for (int i = 0; i < x->type.rank; i++)
        results *= is_listed(axes, i) ? 1 : x->type.dim[i];
    length /= results;
    if (results >= WANTED || results * length < LEAST_COUNT || length < 2 * LEAST_LENGTH ||
        x->type.block)
        return NULL;

    // Leading reduced axes go to the second stage until there are enough results; one that is too
    // long for that is split.
    uint32_t late = 0;
    int64_t groups = 1;
    for (; late < axes.count && results < WANTED; late++) {
        int64_t extent = x->type.dim[axes.at[late]];
        int64_t rest = length / extent;
        if ((rest < LEAST_LENGTH || results * extent > MANY) && x->type.rank < MAX_RANK)
            groups = find_groups(extent, rest, results);
        if (groups > 1 || rest < LEAST_LENGTH)
            break;
        results *= extent;
        length = rest;
    }
    if (!late && groups == 1)
        return NULL;
    int64_t early[MAX_RANK], second[MAX_RANK];
    int early_count = 0, second_count = 0;
    Node *source = x;
    int split_axis = groups > 1 ? (int)axes.at[late] : MAX_RANK;
    if (groups > 1) {
        Type wide = {.rank = (uint8_t)(x->type.rank + 1)};
        for (int i = 0; i < wide.rank; i++)
            wide.dim[i] = x->type.dim[i <= split_axis ? i : i - 1];
        wide.dim[split_axis] = groups;
        wide.dim[split_axis + 1] = x->type.dim[split_axis] / groups;
        source = ir_reshape(graph, x, wide.dim, wide.rank);
    }
    for (uint32_t i = 0; i < axes.count; i++) {
        int64_t axis = axes.at[i] + (axes.at[i] > split_axis);
        if (axes.at[i] == split_axis) {
            second[second_count++] = axis;
            early[early_count++] = axis + 1;
        } else if (i < late) {
            second[second_count++] = axis;
        } else {
            early[early_count++] = axis;
        }
    }
    Node *first = ir_reduce(graph, op, source, early, early_count, true);
    Node *last = ir_reduce(graph, op, first, second, second_count, true);
    return in_shape_of(graph, last, type);
}

/// variance = sum (x - sum x / n)^2 / (n - correction), as sums that can be split.
static Node *variance_as_sums(Graph *graph, Node *y) {
    Node *x = y->operand[0];
    Ints axes = y->attrs->axes;
    Type kept = x->type;
    double n = 1;
    for (uint32_t i = 0; i < axes.count; i++) {
        n *= (double)x->type.dim[axes.at[i]];
        kept.dim[axes.at[i]] = 1;
    }
    Node *sum = two_stages(graph, OP_sum, x, axes, &kept);
    if (!sum)
        return NULL;
    Node *mean = ir_binary(graph, OP_div, sum, ir_const(graph, n, x->type.dtype));
    Node *away = ir_binary(graph, OP_sub, x, mean);
    Node *squares = two_stages(graph, OP_sum, ir_binary(graph, OP_mul, away, away), axes, &kept);
    double count = n - (double)y->attrs->correction;
    Node *mean_square = ir_binary(graph, OP_div, squares, ir_const(graph, count, x->type.dtype));
    return in_shape_of(graph, mean_square, &y->type);
}

/// The weight gradient sums over the whole batch for each of few weights; where they are too few to
/// share out, ranges of the batch are summed apart. Its tasks are tiles of 16 to 64 filters by 16
/// channels.
static Node *weight_in_parts(Graph *graph, Node *y) {
    const Attrs *attrs = y->attrs;
    if (attrs->parts)
        return NULL;
    int64_t filters = y->type.dim[0], channels = y->type.dim[1];
    int64_t batch = y->operand[0]->type.dim[0];
    int64_t blocks = filters % 64 == 0   ? filters / 64
                     : filters % 32 == 0 ? filters / 32
                                         : filters / 16;
    blocks *= (channels + 15) / 16;
    bool is_small = type_count(&y->operand[1]->type) * channels < LEAST_COUNT;
    if (blocks == 0 || blocks >= WANTED_TILES || batch == 1 || is_small)
        return NULL;
    int64_t parts = (WANTED_TILES + blocks - 1) / blocks;
    if (parts > batch)
        parts = batch;
    int64_t part_images = (batch + parts - 1) / parts;
    Attrs apart = *attrs;
    apart.parts = (batch + part_images - 1) / part_images; // none of them empty
    Node *sums = graph_append(graph, OP_conv2d_weight, y->operand, 2, &apart, y->origin);
    int64_t first = 0;
    return ir_reduce(graph, OP_sum, sums, &first, 1, false);
}

/// Gives long reductions with few results two stages.
/// Requires: topological order.  Keeps: order.  A stage it made is not split again.
bool pass_split(Graph *graph, PassContext *ctx) {
    Rewrite rw = rewrite_begin(graph, ctx->scratch);
    for (size_t i = 0; i < rw.old_count; i++) {
        Node *y = rewrite_next(&rw, i);
        Node *better = NULL;
        if (y->op == OP_sum || y->op == OP_reduce_max || y->op == OP_reduce_min)
            better = two_stages(graph, y->op, y->operand[0], y->attrs->axes, &y->type);
        else if (y->op == OP_variance)
            better = variance_as_sums(graph, y);
        else if (y->op == OP_conv2d_weight)
            better = weight_in_parts(graph, y);
        rewrite_place(&rw, y, better ? better : y);
    }
    return rewrite_end(&rw);
}
