// passes/share.c -- find equal nodes; see share.h.
#include "passes/share.h"

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

static size_t free_slot(const NodeTable *table, const Node *node) {
    size_t at = hash_node(node) & (table->slot_count - 1);
    while (table->slot[at] && !nodes_equal(table->slot[at], node))
        at = (at + 1) & (table->slot_count - 1);
    return at;
}

static void grow(NodeTable *table) {
    NodeTable bigger = {.arena = table->arena,
                        .slot_count = table->slot_count ? 2 * table->slot_count : 64,
                        .count = table->count};
    bigger.slot = arena_array(table->arena, Node *, bigger.slot_count);
    for (size_t i = 0; i < table->slot_count; i++) {
        if (table->slot[i])
            bigger.slot[free_slot(&bigger, table->slot[i])] = table->slot[i];
    }
    *table = bigger;
}

Node *node_table_share(NodeTable *table, Node *node) {
    if (2 * table->count >= table->slot_count)
        grow(table);
    size_t at = free_slot(table, node);
    if (!table->slot[at]) {
        table->slot[at] = node;
        table->count++;
    }
    return table->slot[at];
}
