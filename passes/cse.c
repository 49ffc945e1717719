// passes/cse.c -- share equal nodes.
//
// Two nodes are equal if op, attributes, type and operands are; the operands of an op that commutes
// are compared in order of id. A walk in order with a hash table of what was seen: operands are
// shared before their users are looked at, so one walk finds all. Random draws carry their stream
// as an attribute and are equal only with the same one. Effects are never shared.
#include "passes/passes.h"
#include "passes/rewrite.h"

typedef struct Table {
    Node **slot;
    size_t mask;
} Table;

/// The operands in the order of comparison: as they are, or by id for an op that commutes.
static void key_operands(const Node *node, Node *pair[2]) {
    bool swap = node->operand[0]->id > node->operand[1]->id;
    pair[0] = node->operand[swap ? 1 : 0];
    pair[1] = node->operand[swap ? 0 : 1];
}

static uint64_t hash_node(const Node *node) {
    uint64_t hash = hash_mix(node->op, attrs_hash(node->op, node->attrs));
    hash = hash_mix(hash, node->type.dtype);
    if (op_has(node->op, COMMUTES)) {
        Node *pair[2];
        key_operands(node, pair);
        return hash_mix(hash_mix(hash, pair[0]->id), pair[1]->id);
    }
    for (uint32_t k = 0; k < node->arity; k++)
        hash = hash_mix(hash, node->operand[k]->id);
    return hash;
}

static bool nodes_equal(const Node *a, const Node *b) {
    if (a->op != b->op || a->arity != b->arity || !type_equal(&a->type, &b->type) ||
        !attrs_equal(a->op, a->attrs, b->attrs))
        return false;
    if (op_has(a->op, COMMUTES)) {
        Node *pa[2], *pb[2];
        key_operands(a, pa);
        key_operands(b, pb);
        return pa[0] == pb[0] && pa[1] == pb[1];
    }
    for (uint32_t k = 0; k < a->arity; k++) {
        if (a->operand[k] != b->operand[k])
            return false;
    }
    return true;
}

/// The first node equal to `node`, which may be itself.
static Node *find_or_add(Table *table, Node *node) {
    size_t at = hash_node(node) & table->mask;
    for (; table->slot[at]; at = (at + 1) & table->mask) {
        if (nodes_equal(table->slot[at], node))
            return table->slot[at];
    }
    table->slot[at] = node;
    return node;
}

/// Replaces each node by the first that equals it.
/// Requires: topological order, no `grad` nodes (else it changes nothing).  Keeps: order.
bool pass_cse(Graph *graph, PassContext *ctx) {
    if (graph_has_grad(graph))
        return false;
    size_t slots = 16;
    while (slots < 2 * graph->nodes.count)
        slots *= 2;
    Table table = {arena_array(ctx->scratch, Node *, slots), slots - 1};

    Rewrite rw = rewrite_begin(graph, ctx->scratch);
    for (size_t i = 0; i < rw.old_count; i++) {
        Node *node = rewrite_next(&rw, i);
        rewrite_place(&rw, node, op_has(node->op, EFFECT) ? node : find_or_add(&table, node));
    }
    return rewrite_end(&rw);
}
