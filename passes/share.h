/// A hash table of nodes by what they compute: op, attributes, type and operands.
///
/// The operands of an op that commutes are compared in order of id. Random draws carry their stream
/// as an attribute, so they are equal only with the same one.
#ifndef KDC_PASSES_SHARE_H
#define KDC_PASSES_SHARE_H

#include "ir/ir.h"

typedef struct NodeTable {
    Arena *arena;
    Node **slot;
    size_t slot_count; // a power of two, or 0
    size_t count;
} NodeTable;

/// The first node given that equals `node`: it may be `node` itself. Ids of operands must not
/// change between calls.
Node *node_table_share(NodeTable *table, Node *node);

#endif
