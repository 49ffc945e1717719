// passes/winograd.c -- 3x3 convolutions of stride 1 by F(4x4, 3x3), where that is faster.
//
//     conv2d(x, w)          ->  winograd(x, winograd_kernel(w))
//     conv2d_input(dy, w)   ->  winograd(dy, winograd_kernel(w, flip)), padded to the size of dx
//     conv2d_weight(x, dy)  ->  winograd_kernel_adjoint(winograd_weight(x, dy))
//
// It sums over all channels; where only the first of them count, the kernel holds zeros for the
// rest.
//
// A transformed kernel is a value like others: one of a frozen module is computed once per phase
// (bind_times), one that two convolutions use is made once (cse).
//
// Rounding errors are some ten times those of the direct sums, so --math=strict leaves it out.
//
// The choice is by counting cycles of a core that finishes one vector multiply-add in each, for
// the direct sums (without the taps that fall on padding) and for transforms and products.
#include "ir/winograd.h"
#include "passes/passes.h"
#include "passes/rewrite.h"

enum {
    BLOCK = WINOGRAD_BLOCK,
    LEAST_PIECES = 16, // below which there is no work to share out
    WANTED_TASKS = 8,  // of a weight gradient
};

/// What a convolution is as a sum: an image by a kernel to a result, whichever of the three is
/// asked.
typedef struct Shape {
    int64_t batch, groups;
    int64_t channels, filters; // of a group
    int64_t out[2];
    int64_t taps[2]; // row taps, column taps that fall inside the image, over all places
} Shape;

static bool all_are(Ints list, int64_t value) {
    for (uint32_t i = 0; i < list.count; i++) {
        if (list.at[i] != value)
            return false;
    }
    return true;
}

/// Taps inside an image of `extent` over all places of an axis.
static int64_t taps_inside(int64_t extent, int64_t padding, int64_t out) {
    int64_t taps = 0;
    for (int64_t k = 0; k < WINOGRAD_KERNEL; k++) {
        int64_t first = padding > k ? padding - k : 0; // place + k - padding >= 0
        int64_t end = extent + padding - k;            // place + k - padding < extent
        end = end < out ? end : out;
        taps += end > first ? end - first : 0;
    }
    return taps;
}

/// False if F(4x4, 3x3) does not compute such a convolution.
static bool shape_of(const Node *node, const Type *x, const Type *w, const Type *y, Shape *shape) {
    const Attrs *as = node->attrs;
    if (node->type.dtype != DT_F32 || as->parts || !all_are(as->stride, 1) ||
        !all_are(as->dilation, 1) || w->dim[2] != WINOGRAD_KERNEL || w->dim[3] != WINOGRAD_KERNEL ||
        w->dim[0] / as->groups % BLOCK || w->dim[1] % BLOCK)
        return false;
    *shape = (Shape){.batch = x->dim[0],
                     .groups = as->groups,
                     .channels = w->dim[1],
                     .filters = w->dim[0] / as->groups};
    for (int i = 0; i < 2; i++) {
        int64_t before = as->padding.at[i], after = as->padding.at[2 + i];
        if (before > WINOGRAD_KERNEL - 1 || after > WINOGRAD_KERNEL - 1)
            return false; // the adjoint's would be negative
        shape->out[i] = y->dim[2 + i];
        shape->taps[i] = taps_inside(x->dim[2 + i], before, y->dim[2 + i]);
    }
    return true;
}

static bool is_faster(const Shape *shape) {
    double channels = (double)shape->channels, filters = (double)shape->filters;
    double blocks = channels * filters / BLOCK;
    double pieces = (double)shape->batch * (double)winograd_pieces(shape->out[0]) *
                    (double)winograd_pieces(shape->out[1]);
    if (pieces < LEAST_PIECES)
        return false;
    // All that follows is of one group.
    double direct = (double)shape->batch * (double)shape->taps[0] * (double)shape->taps[1] * blocks;
    double transforms = 200 * (channels + filters) / BLOCK;
    double products = 1.1 * WINOGRAD_POINTS * blocks; // the kernel comes from afar
    double kernel = 800 * blocks;                     // transforming it: 36 lines, each in a far place
    return 1.05 * (pieces * (transforms + products) + kernel) < direct;
}

static Node *append(Graph *graph, const Node *node, Op op, Node *a, Node *b, const Attrs *attrs) {
    Node *operand[2] = {a, b};
    return graph_append(graph, op, operand, b ? 2 : 1, attrs, node->origin);
}

/// w with zeros on `axis` from the convolution's live channels on, where `fill` has not put them.
static Node *live_part(Graph *graph, const Node *node, Node *w, int axis) {
    int64_t low[4] = {0}, high[4] = {0}, limit[4], step[4] = {1, 1, 1, 1};
    int64_t live = node->attrs->live;
    bool filled = w->op == OP_pad && w->attrs->value == 0 && !w->attrs->low.at[axis] &&
                  w->operand[0]->type.dim[axis] <= live;
    if (!live || filled)
        return w;
    for (int i = 0; i < 4; i++)
        limit[i] = w->type.dim[i];
    limit[axis] = live;
    high[axis] = w->type.dim[axis] - live;
    Attrs first = {.start = {4, low}, .limit = {4, limit}, .step = {4, step}};
    Attrs zeros = {.low = {4, low}, .high = {4, high}};
    return append(graph, node, OP_pad, append(graph, node, OP_slice, w, NULL, &first), NULL,
                  &zeros);
}

static Node *forward(Graph *graph, const Node *node, Node *x, Node *w) {
    int64_t groups = node->attrs->groups;
    Attrs kernel = {.groups = groups};
    Attrs attrs = {.padding = node->attrs->padding, .groups = groups};
    w = live_part(graph, node, w, 1);
    return append(graph, node, OP_winograd, x,
                  append(graph, node, OP_winograd_kernel, w, NULL, &kernel), &attrs);
}

static Node *by_input(Graph *graph, const Node *node, Node *dy, Node *w) {
    int64_t padding[4];
    for (int i = 0; i < 4; i++)
        padding[i] = WINOGRAD_KERNEL - 1 - node->attrs->padding.at[i];
    int64_t groups = node->attrs->groups;
    Attrs flip = {.groups = groups, .flip = true};
    Attrs attrs = {.padding = {4, padding}, .groups = groups};
    w = live_part(graph, node, w, 0);
    return append(graph, node, OP_winograd, dy,
                  append(graph, node, OP_winograd_kernel, w, NULL, &flip), &attrs);
}

/// The sum over all pieces gives few kernels: ranges of the batch apart, then together.
static Node *by_weight(Graph *graph, const Node *node, const Shape *shape, Node *x, Node *dy) {
    int64_t tasks = shape->groups * (shape->channels / winograd_task_channels(shape->channels)) *
                    (shape->filters / winograd_task_channels(shape->filters));
    int64_t parts = (WANTED_TASKS + tasks - 1) / tasks, first = 0;
    parts = parts < shape->batch ? parts : shape->batch;
    int64_t images = (shape->batch + parts - 1) / parts;
    parts = (shape->batch + images - 1) / images; // none of them empty
    Attrs none = {0};
    Attrs attrs = {.padding = node->attrs->padding,
                   .groups = shape->groups,
                   .parts = parts > 1 ? parts : 0};
    Node *sum = append(graph, node, OP_winograd_weight, x, dy, &attrs);
    if (parts > 1)
        sum = ir_reduce(graph, OP_sum, sum, &first, 1, false);
    sum = append(graph, node, OP_winograd_kernel_adjoint, sum, NULL, &none);
    return live_part(graph, node, sum, 1);
}

/// Requires: no grad nodes.  Keeps: order.  Changes nothing when run again.
bool pass_winograd(Graph *graph, PassContext *ctx) {
    if (graph_has_grad(graph) || ctx->options.strict_math)
        return false;
    Rewrite rw = rewrite_begin(graph, ctx->scratch);
    for (size_t i = 0; i < rw.old_count; i++) {
        Node *node = rewrite_next(&rw, i), *better = node;
        Shape shape;
        Node *a = node->arity ? node->operand[0] : NULL,
             *b = node->arity > 1 ? node->operand[1] : NULL;
        if (node->op == OP_conv2d && shape_of(node, &a->type, &b->type, &node->type, &shape) &&
            is_faster(&shape))
            better = forward(graph, node, a, b);
        else if (node->op == OP_conv2d_input &&
                 shape_of(node, &node->type, &b->type, &a->type, &shape) && is_faster(&shape))
            better = by_input(graph, node, a, b);
        else if (node->op == OP_conv2d_weight &&
                 shape_of(node, &a->type, &node->type, &b->type, &shape) && is_faster(&shape))
            better = by_weight(graph, node, &shape, a, b);
        rewrite_place(&rw, node, better);
    }
    return rewrite_end(&rw);
}
