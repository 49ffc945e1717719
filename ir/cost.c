// ir/cost.c -- multiply-adds of contractions, from shapes alone.
#include "ir/cost.h"

#include "support/diag.h"

// dy or y is [N, K, OH, OW]; the weight [K, C / groups, KH, KW] may have an axis of parts before.
static int64_t conv_macs(const Type *y, const Type *weight) {
    int64_t macs = type_count(y);
    for (int i = weight->rank - 3; i < weight->rank; i++)
        macs *= weight->dim[i];
    return macs;
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

int64_t node_macs(const Node *node) {
    if (!op_has(node->op, CONTRACTS))
        return 0;
    if (node->op == OP_einsum)
        return einsum_macs(node);
    if (node->op == OP_conv2d)
        return conv_macs(&node->type, &node->operand[1]->type);
    if (node->op == OP_conv2d_input)
        return conv_macs(&node->operand[0]->type, &node->operand[1]->type);
    kdc_assert(node->op == OP_conv2d_weight);
    return conv_macs(&node->operand[1]->type, &node->type);
}

int64_t graph_macs(const Graph *graph) {
    int64_t macs = 0;
    for (size_t i = 0; i < graph->nodes.count; i++)
        macs += node_macs(graph->nodes.at[i]);
    return macs;
}

void graph_drop_gradients(Graph *graph) {
    Arena *arena = graph->module->arena;
    for (size_t i = 0; i < graph->nodes.count; i++) {
        Node *node = graph->nodes.at[i];
        if (node->op != OP_grad)
            continue;
        Attrs attrs = {.shape = {node->type.rank, node->type.dim}};
        node->op = OP_broadcast;
        node->arity = 1;
        node->attrs = attrs_copy(arena, OP_broadcast, &attrs);
    }
}
