// passes/layout.c -- which values lie in blocks of 16 channels.
//
// The tiles of codegen/tile.h keep 16 channels of a pixel in one register, so they want activations
// as [N, C/16, H, W, 16], weights as [K/16, C, KH, KW, 16] forward and [K, C/16, KH, KW, 16] by the
// input. The layout spreads from the convolutions over all that is elementwise or a view that
// leaves the channels alone; `relayout` nodes stand where two layouts meet: at the images, at
// weights, at weight gradients. Values whose channels are no multiple of 16 stay plain.
//
// One walk decides each node's layout from its operands', a second places it: a node's users come
// after it, so both go in order.
#include "passes/passes.h"
#include "passes/rewrite.h"

enum { BLOCK = 16, LAYOUTS = 4 };

typedef struct Layout {
    uint8_t block, axis;
    // Of a kernel, blocks on axis 1: these outside of axis 0. In memory it is its transpose with
    // blocks on axis 0, of which the kernel is a view.
    bool outside;
} Layout;

static const Layout plain = {0};

static Layout layout_of(const Node *node) {
    return (Layout){node->type.block, node->type.block_axis, false};
}

/// Blocks on `axis` if its extent per group is a multiple of them.
static Layout blocks_on(const Node *node, int axis, int64_t groups) {
    int64_t extent = node->type.dim[axis];
    return extent / groups % BLOCK == 0 ? (Layout){BLOCK, (uint8_t)axis, false} : plain;
}

/// An op that keeps axes keeps its operand's blocks, if the blocked axis stays in whole blocks.
static Layout layout_of_kept_axes(const Node *node) {
    const Node *x = node->operand[0];
    Layout layout = layout_of(x);
    int axis = layout.axis;
    bool has_axis = layout.block && node->type.rank > axis && node->type.dim[axis] % BLOCK == 0;
    // A concatenation of channels may be longer than its first operand.
    bool same_length = has_axis && (node->type.dim[axis] == x->type.dim[axis] || node->arity > 1);
    return same_length && (node->type.rank >= x->type.rank || op_has(node->op, REDUCES)) ? layout
                                                                                         : plain;
}

/// Elementwise: as the first operand of the result's shape that is blocked.
static Layout layout_of_map(const Node *node) {
    for (uint32_t k = 0; k < node->arity; k++) {
        const Node *x = node->operand[k];
        if (x->type.block && type_same_shape(&x->type, &node->type))
            return layout_of(x);
    }
    return plain;
}

/// What a convolution wants: its weight-like operand in blocks on `want_axis`, its own result on
/// `axis`, where its channels or filters lie.
typedef struct ConvLayout {
    Op op;
    int axis, want_axis;
    bool outside;
} ConvLayout;

static const ConvLayout conv_layouts[] = {
    {OP_conv2d, 1, 0, false},
    {OP_conv2d_input, 1, 1, true},
    {OP_conv2d_weight, 0, 1, false}, // with parts one axis further on
};

static const ConvLayout *conv_layout(const Node *node) {
    for (size_t i = 0; i < sizeof conv_layouts / sizeof *conv_layouts; i++) {
        if (conv_layouts[i].op == node->op)
            return &conv_layouts[i];
    }
    return NULL;
}

/// The convolution's image that is not its operand 0.
static const Node *other_image(const Node *node) {
    return node->op == OP_conv2d_weight ? node->operand[1] : node;
}

/// Whether each group has the same few channels on both sides, so that a block holds whole groups:
/// depthwise convolutions among them. Their width; else 0.
static int64_t small_group_width(const Node *node) {
    int64_t groups = node->attrs->groups;
    int64_t width = node->operand[0]->type.dim[1] / groups;
    bool same = other_image(node)->type.dim[1] / groups == width;
    return same && groups > 1 && width < BLOCK && BLOCK % width == 0 ? width : 0;
}

static int result_axis(const ConvLayout *conv, const Node *node) {
    return conv->axis + (node->attrs->parts > 0);
}

/// Images in blocks, transformed kernels plain: they have blocks of their own.
static Layout choose_tiled(const Node *node, Layout want[2], bool *wants) {
    bool image = node->op == OP_winograd;
    *wants = node->arity == 2;
    for (uint32_t k = 0; k < node->arity; k++)
        want[k] = k && image ? plain : blocks_on(node->operand[k], 1, 1);
    return image ? blocks_on(node, 1, 1) : plain;
}

/// The layout that suits the node, and those that it wants of its operands where `wants` is set.
static Layout choose(const Node *node, Layout want[2], bool *wants) {
    const ConvLayout *conv = conv_layout(node);
    *wants = false;
    if (conv) {
        int64_t width = small_group_width(node), groups = width ? 1 : node->attrs->groups;
        Layout result = blocks_on(node, result_axis(conv, node), groups);
        want[0] = blocks_on(node->operand[0], 1, groups);
        want[1] = (Layout){BLOCK, (uint8_t)conv->want_axis, conv->outside};
        *wants = result.block && node->operand[1]->type.dim[conv->want_axis] % BLOCK == 0;
        if (width && result.block) {
            *wants = true;
            if (node->op == OP_conv2d_input) // wider groups' weights are packed by the kernel
                want[1] = width == 1 ? (Layout){BLOCK, 0, false} : plain;
        }
        return *wants ? result : plain;
    }
    if (op_has(node->op, TILED))
        return choose_tiled(node, want, wants);
    if (op_has(node->op, KEEPS_AXES))
        return layout_of_kept_axes(node);
    bool is_map = op_has(node->op, MAPS) && !op_has(node->op, EFFECT);
    return is_map ? layout_of_map(node) : plain;
}

/// The relayouts of the nodes that stood in the graph before: plain, blocked on axis 0, on axis 1,
/// on axis 1 outside.
typedef struct Made {
    Node **at;
    size_t node_count;
} Made;

/// The place of `x`, at the stage of the node at work, which needs it in another layout.
static const Origin *origin_for_user(Graph *graph, const Node *x) {
    const Origin *user = graph->cursor;
    return origin_at_stage(graph, x->origin, user ? user->stage : STAGE_FORWARD);
}

static Node *relayout(Graph *graph, Node *node, Layout layout) {
    static const int64_t swapped[] = {1, 0, 2, 3};
    const Origin *origin = origin_for_user(graph, node);
    Node *x = layout.outside ? ir_transpose(graph, node, swapped) : node;
    Attrs attrs = {.block = layout.block, .block_axis = layout.outside ? 0 : layout.axis};
    Node *copy = graph_append(graph, OP_relayout, &x, 1, &attrs, origin);
    return layout.outside ? ir_transpose(graph, copy, swapped) : copy;
}

/// `node` in another layout; made once for all of its users with that wish.
static Node *in_layout(Graph *graph, Node *node, Layout layout, Made *made) {
    if (node->type.block == layout.block && node->type.block_axis == layout.axis && !layout.outside)
        return node;
    size_t slot = (size_t)node->id * LAYOUTS;
    slot += layout.outside ? 3 : layout.block ? 1 + (size_t)layout.axis : 0;
    bool is_old = node->id < made->node_count;
    if (is_old && made->at[slot])
        return made->at[slot];
    Node *copy = relayout(graph, node, layout);
    if (is_old)
        made->at[slot] = copy;
    return copy;
}

/// A copy of `node`.
static Node *in_buffer(Graph *graph, Node *node) {
    Attrs as_plain = {0};
    return graph_append(graph, OP_relayout, &node, 1, &as_plain, origin_for_user(graph, node));
}

// ---- the pass
// ----------------------------------------------------------------------------------------

/// Gives convolutions and what lies between them blocked layouts.
/// Requires: no grad nodes.  Keeps: values, order, effects' plain operands.  Breaks: nothing.
bool pass_layout(Graph *graph, PassContext *ctx) {
    if (graph_has_grad(graph))
        return false;
    for (size_t i = 0; i < graph->nodes.count; i++) {
        if (graph->nodes.at[i]->op == OP_relayout)
            return false; // has been here
    }
    Rewrite rw = rewrite_begin(graph, ctx->scratch);
    Made made = {arena_array(ctx->scratch, Node *, rw.old_count * LAYOUTS), rw.old_count};
    bool changed = false;
    for (size_t i = 0; i < rw.old_count; i++) {
        Node *node = rewrite_next(&rw, i);
        Layout want[2] = {plain, plain};
        bool wants;
        Layout layout = choose(node, want, &wants);
        for (uint32_t k = 0; wants && k < 2; k++)
            node->operand[k] = in_layout(graph, node->operand[k], want[k], &made);
        bool reads_plain = op_has(node->op, EFFECT) || op_has(node->op, DECOMPOSES);
        if (reads_plain && node->operand[0]->type.block)
            node->operand[0] = in_layout(graph, node->operand[0], plain, &made);
        changed |= layout.block != node->type.block;
        node->type.block = layout.block;
        node->type.block_axis = layout.axis;
        rewrite_place(&rw, node, node);
        // The first channels of more, which come back to whole blocks no more: in a buffer of their
        // own, or each of their users would pick them out.
        if (node->op == OP_slice && node->operand[0]->type.block && !layout.block)
            rw.now[node->id] = in_buffer(graph, node);
        // Weights and their optimiser states are plain, and so is the gradient for all its users.
        if (node->op == OP_conv2d_weight && layout.block)
            rw.now[node->id] = in_layout(graph, node, plain, &made);
    }
    return rewrite_end(&rw) || changed;
}
