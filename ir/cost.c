// ir/cost.c -- multiply-adds of contractions, from shapes alone; what kernels and buffers cost.
#include "ir/cost.h"


// dy or y is [N, K, OH, OW]; the weight [K, C / groups, KH, KW] may have an axis of parts before.
// Only the live channels of operand 0 count.
static int64_t conv_macs(const Node *node, const Type *y, const Type *weight) {
    int64_t macs = type_count(y), live = node->attrs->live;
    for (int i = weight->rank - 3; i < weight->rank; i++)
        macs *= weight->dim[i];
    return live ? macs / node->operand[0]->type.dim[1] * live : macs;
}

static int64_t einsum_macs(const Node *node) {
    const char *letter = node->attrs->spec;
    bool seen[256] = {false};
    int64_t macs = 1;
    for (int k = 0, axis = 0; *letter && *letter != '-'; letter++) {
        if (*letter == ',') {
            k++;
            axis = 0;
        } else if (*letter != ' ') {
            if (!seen[(unsigned char)*letter])
                macs *= node->operand[k]->type.dim[axis];
            seen[(unsigned char)*letter] = true;
            axis++;
        }
    }
    return macs;
}

// Pixels are those of the convolution's result, which the adjoint in the image has as its operand.
// A kernel that was transformed elsewhere does not say which it is; but a frame of one pixel and
// less, and hardly any is wider, makes no result larger than its image.
static int64_t winograd_macs(const Node *node) {
    const Node *image = node->operand[0], *kernel = node->operand[1];
    int64_t shown = image->type.dim[2] * image->type.dim[3];
    int64_t made = node->type.dim[2] * node->type.dim[3];
    bool adjoint = kernel->op == OP_winograd_kernel ? kernel->attrs->flip : shown < made;
    return 9 * image->type.dim[0] * (adjoint ? shown : made) * kernel->type.dim[2] *
           node->type.dim[1];
}

int64_t node_macs(const Node *node) {
    if (!op_has(node->op, CONTRACTS))
        return 0;
    if (node->op == OP_einsum)
        return einsum_macs(node);
    if (node->op == OP_conv2d)
        return conv_macs(node, &node->type, &node->operand[1]->type);
    if (node->op == OP_conv2d_input)
        return conv_macs(node, &node->operand[0]->type, &node->operand[1]->type);
    if (node->op == OP_conv2d_weight)
        return conv_macs(node, &node->operand[1]->type, &node->type);
    // What the direct sums would take: nine products for each pixel, filter and channel of its group.
    if (node->op == OP_winograd)
        return winograd_macs(node);
    if (node->op == OP_winograd_weight)
        return 9 * type_count(&node->operand[1]->type) * node->type.dim[node->type.rank - 2];
    return 0; // transforms
}

int64_t graph_macs(const Graph *graph) {
    int64_t macs = 0;
    for (size_t i = 0; i < graph->nodes.count; i++)
        macs += node_macs(graph->nodes.at[i]);
    return macs;
}

int64_t node_flops(const Node *node) {
    if (op_has(node->op, CONTRACTS))
        return 2 * node_macs(node);
    bool is_float = dtype_is_float(node->type.dtype);
    if (op_has(node->op, MAPS))
        return is_float && !op_has(node->op, EFFECT) ? type_count(&node->type) : 0;
    if (op_has(node->op, SCATTERS))
        return is_float ? type_count(&node->operand[2]->type) : 0;
    if (!op_has(node->op, REDUCES) || !dtype_is_float(node->operand[0]->type.dtype))
        return 0;
    // the variance takes two sweeps: a sum; a difference, a square and a sum
    return type_count(&node->operand[0]->type) * (node->op == OP_variance ? 4 : 1);
}

// ---- graphs
// ----------------------------------------------------------------------------------------

Stage node_stage(const Node *node) {
    return node->origin ? node->origin->stage : STAGE_FORWARD;
}

void graph_count_work(const Graph *graph, GraphCost *cost) {
    for (size_t i = 0; i < graph->nodes.count; i++) {
        const Node *node = graph->nodes.at[i];
        StageCost *stage = &cost->stage[node_stage(node)];
        stage->macs += node_macs(node);
        stage->flops += node_flops(node);
    }
}

// What a kernel is there for: the earliest stage of what it stores, sums or contracts. All else in
// it may be there because it is cheaper to compute again than to keep.
Stage kernel_stage(const Kernel *kernel) {
    Stage earliest = STAGE_UPDATE;
    for (uint32_t i = 0; i < kernel->stored_count; i++)
        if (node_stage(kernel->stored[i]) < earliest)
            earliest = node_stage(kernel->stored[i]);
    for (uint32_t i = 0; i < kernel->node_count; i++) {
        const Node *node = kernel->node[i];
        bool sums = op_has(node->op, REDUCES) || op_has(node->op, CONTRACTS);
        if (sums && node_stage(node) < earliest)
            earliest = node_stage(node);
    }
    return earliest;
}

// Marks what the kernel reads from where a step keeps its values.
static void mark_kept(const Graph *graph, const Kernel *kernel, uint32_t *computed_by,
                      const uint8_t *made_forward, uint8_t *kept) {
    for (uint32_t i = 0; i < kernel->node_count; i++)
        computed_by[kernel->node[i]->id] = kernel->id + 1;
    for (uint32_t i = 0; i < kernel->node_count; i++) {
        for (uint32_t k = 0; k < kernel->node[i]->arity; k++) {
            uint32_t id = kernel->node[i]->operand[k]->id;
            if (computed_by[id] != kernel->id + 1 && made_forward[id] &&
                graph->buffer[id].space == SPACE_STEP)
                kept[id] = 1;
        }
    }
}

void graph_count_kernels(const Graph *graph, GraphCost *cost, Arena *scratch) {
    size_t count = graph->nodes.count;
    uint8_t *made_forward = arena_array(scratch, uint8_t, count);
    uint8_t *kept = arena_array(scratch, uint8_t, count);
    uint32_t *computed_by = arena_array(scratch, uint32_t, count);
    for (size_t i = 0; i < graph->kernels.count; i++) {
        const Kernel *kernel = graph->kernels.at[i];
        Stage stage = kernel_stage(kernel);
        cost->stage[stage].kernels++;
        if (stage != STAGE_FORWARD)
            mark_kept(graph, kernel, computed_by, made_forward, kept);
        for (uint32_t k = 0; stage == STAGE_FORWARD && k < kernel->stored_count; k++)
            made_forward[kernel->stored[k]->id] = 1;
    }
    for (size_t i = 0; i < count; i++)
        cost->kept_bytes += kept[i] ? graph->buffer[i].size_bytes : 0;
    cost->arena_bytes = graph->step_bytes;
}
