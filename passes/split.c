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
// the second stage, so that the first reads whole runs of memory. A sum over the batch and more, like
// those of batch norm, has its first stage by images, or by groups of some, in any case: this then
// runs image by image with what makes the images (codegen/chain.c).
#include "passes/passes.h"
#include "passes/rewrite.h"

enum {
    WANTED = 64,        // results that are work enough for the threads of a machine
    MANY = 4096,        // results of a first stage beyond which the second would be long itself
    LEAST_LENGTH = 64,  // elements per result of a first stage: below, starting it costs more
    LEAST_COUNT = 8192, // elements of a reduction that is worth two kernels
    WANTED_TILES = 16,  // tasks of a weight gradient
    LEAST_IMAGES = 16,  // of a batch, or groups of them, that are summed apart
    MOST_IMAGES = 256,
    SMALL_SHARE = 4,    // sums of weights by image may have a quarter of the images' elements
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

/// How a reduction falls in two: `source` is x, maybe with an axis split; the first stage reduces
/// `early` axes of it, the second `late` ones. What is reduced stays as an axis of one.
typedef struct Stages {
    Node *source;
    int64_t early[MAX_RANK], late[MAX_RANK];
    int early_count, late_count;
} Stages;

/// The largest number of groups of images, up to MOST_IMAGES, that leaves each at least LEAST_LENGTH
/// elements; 1: fewer than LEAST_IMAGES.
static int64_t groups_of_images(int64_t n, int64_t rest) {
    for (int64_t images = 1; n / images >= LEAST_IMAGES; images++) {
        if (n % images == 0 && n / images <= MOST_IMAGES && images * rest >= LEAST_LENGTH)
            return n / images;
    }
    return 1;
}

/// Leading reduced axes go to the second stage until there are enough results, the batch in any case;
/// one that is too long for that is split. False: two stages are not worth it.
static bool plan_stages(Graph *graph, Node *x, Ints axes, Stages *plan) {
    int64_t results = 1;
    int64_t length = type_count(&x->type);
    for (int i = 0; i < x->type.rank; i++)
        results *= is_listed(axes, i) ? 1 : x->type.dim[i];
    length /= results;
    if (results * length < LEAST_COUNT || length < 2 * LEAST_LENGTH || x->type.block)
        return false;
    uint32_t late = 0;
    int64_t groups = 1;
    if (axes.at[0] == 0 && axes.count > 1 && results > 1 && x->type.rank < MAX_RANK) {
        int64_t batch = x->type.dim[0];
        int64_t images = groups_of_images(batch, length / batch);
        if (images == batch) {
            late = 1;
            results *= batch;
            length /= batch;
        } else {
            groups = images;
        }
    }
    for (; groups == 1 && late < axes.count && results < WANTED; late++) {
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
        return false;
    *plan = (Stages){.source = x};
    int split_axis = groups > 1 ? (int)axes.at[late] : MAX_RANK;
    if (groups > 1) {
        Type wide = {.rank = (uint8_t)(x->type.rank + 1)};
        for (int i = 0; i < wide.rank; i++)
            wide.dim[i] = x->type.dim[i <= split_axis ? i : i - 1];
        wide.dim[split_axis] = groups;
        wide.dim[split_axis + 1] = x->type.dim[split_axis] / groups;
        plan->source = ir_reshape(graph, x, wide.dim, wide.rank);
    }
    for (uint32_t i = 0; i < axes.count; i++) {
        int64_t axis = axes.at[i] + (axes.at[i] > split_axis);
        if (axes.at[i] == split_axis) {
            plan->late[plan->late_count++] = axis;
            plan->early[plan->early_count++] = axis + 1;
        } else if (i < late) {
            plan->late[plan->late_count++] = axis;
        } else {
            plan->early[plan->early_count++] = axis;
        }
    }
    return true;
}

static Node *early_sum(Graph *graph, const Stages *plan, Op op, Node *x) {
    return ir_reduce(graph, op, x, plan->early, plan->early_count, true);
}

static Node *late_sum(Graph *graph, const Stages *plan, Op op, Node *x) {
    return ir_reduce(graph, op, x, plan->late, plan->late_count, true);
}

/// Two stages for the reduction y; NULL if it is not worth it.
static Node *two_stages(Graph *graph, Node *y) {
    Stages plan;
    if (!plan_stages(graph, y->operand[0], y->attrs->axes, &plan))
        return NULL;
    Node *first = early_sum(graph, &plan, y->op, plan.source);
    return in_shape_of(graph, late_sum(graph, &plan, y->op, first), &y->type);
}

/// Each part has its own mean m_i and mean squared distance v_i from that: so x is read where it
/// lies. Of equal parts, with m the mean of all m_i,
///
///     sum (x - m)^2 = n / parts * (sum v_i + sum (m_i - m)^2)
static Node *variance_in_stages(Graph *graph, Node *y) {
    Stages plan;
    if (!plan_stages(graph, y->operand[0], y->attrs->axes, &plan))
        return NULL;
    DType dtype = y->type.dtype;
    double all = (double)(type_count(&y->operand[0]->type) / type_count(&y->type));
    Attrs early = *y->attrs;
    early.axes = (Ints){(uint32_t)plan.early_count, plan.early};
    early.keep = true;
    early.correction = 0;
    Node *variance = graph_append(graph, OP_variance, &plan.source, 1, &early, y->origin);
    Node *sum = early_sum(graph, &plan, OP_sum, plan.source);
    double parts = (double)type_count(&variance->type) / (double)type_count(&y->type);
    Node *mean = ir_binary(graph, OP_div, sum, ir_const(graph, all / parts, dtype));
    Node *center = ir_binary(graph, OP_div, late_sum(graph, &plan, OP_sum, mean),
                             ir_const(graph, parts, dtype));
    Node *away = ir_binary(graph, OP_sub, mean, center);
    Node *squares = ir_binary(graph, OP_add, variance, ir_binary(graph, OP_mul, away, away));
    double factor = all / parts / (all - (double)y->attrs->correction);
    Node *result = ir_binary(graph, OP_mul, late_sum(graph, &plan, OP_sum, squares),
                             ir_const(graph, factor, dtype));
    return in_shape_of(graph, result, &y->type);
}

/// In so many sums, added up later in order.
static Node *weight_by(Graph *graph, Node *y, int64_t parts) {
    Attrs apart = *y->attrs;
    apart.parts = parts;
    Node *sums = graph_append(graph, OP_conv2d_weight, y->operand, 2, &apart, y->origin);
    int64_t first = 0;
    return ir_reduce(graph, OP_sum, sums, &first, 1, false);
}

/// The weight gradient sums over the whole batch for each of few weights. By images where all the
/// sums are small beside what they are made of: it then runs image by image with what makes the
/// images. Else, where weights are too few to share out, by ranges of the batch: tasks are tiles of
/// 16 to 64 filters by 16 channels.
static Node *weight_in_parts(Graph *graph, Node *y) {
    const Type *x = &y->operand[0]->type, *dy = &y->operand[1]->type;
    int64_t filters = y->type.dim[0], channels = y->type.dim[1], batch = x->dim[0];
    bool is_small = type_count(dy) * channels < LEAST_COUNT;
    if (y->attrs->parts || batch == 1 || is_small)
        return NULL;
    int64_t larger = type_count(x) > type_count(dy) ? type_count(x) : type_count(dy);
    int64_t images = groups_of_images(batch, LEAST_LENGTH);
    if (images > 1 && type_count(&y->type) * images * SMALL_SHARE <= larger)
        return weight_by(graph, y, images);
    int64_t blocks = filters % 64 == 0   ? filters / 64
                     : filters % 32 == 0 ? filters / 32
                                         : filters / 16;
    blocks *= (channels + 15) / 16;
    if (blocks == 0 || blocks >= WANTED_TILES)
        return NULL;
    int64_t parts = (WANTED_TILES + blocks - 1) / blocks;
    if (parts > batch)
        parts = batch;
    int64_t part_images = (batch + parts - 1) / parts;
    return weight_by(graph, y, (batch + part_images - 1) / part_images); // none of them empty
}

/// Gives long reductions with few results two stages.
/// Requires: topological order.  Keeps: order.  A stage it made is not split again.
bool pass_split(Graph *graph, PassContext *ctx) {
    Rewrite rw = rewrite_begin(graph, ctx->scratch);
    for (size_t i = 0; i < rw.old_count; i++) {
        Node *y = rewrite_next(&rw, i);
        Node *better = NULL;
        if (y->op == OP_sum || y->op == OP_reduce_max || y->op == OP_reduce_min)
            better = two_stages(graph, y);
        else if (y->op == OP_variance)
            better = variance_in_stages(graph, y);
        else if (y->op == OP_conv2d_weight)
            better = weight_in_parts(graph, y);
        rewrite_place(&rw, y, better ? better : y);
    }
    return rewrite_end(&rw);
}
