// passes/finite.c -- which values are finite by how they are made.
//
// A walk over what stands behind a value, by the traits of its ops. It ends at leaves and at
// results of contractions, which are sums of products, and gives up after some nodes: what is asked
// about are factors such as those of a normalisation.
#include "passes/finite.h"

#include <math.h>

enum { MOST_NODES = 200 }; // of one walk

typedef struct Walk {
    const Module *module;
    int left; // nodes that may still be looked at
} Walk;

typedef bool Question(Walk *walk, const Node *x);

static bool holds_for_all(Walk *walk, const Node *x, Question *question) {
    for (uint32_t k = 0; k < x->arity; k++) {
        if (!question(walk, x->operand[k]))
            return false;
    }
    return true;
}

/// Whether x >= 0, or is not a number.
static bool is_not_negative(Walk *walk, const Node *x) {
    if (walk->left-- <= 0)
        return false;
    if (x->op == OP_const)
        return x->attrs->value >= 0;
    if (op_has(x->op, NOT_NEGATIVE) || (x->op == OP_mul && x->operand[0] == x->operand[1]))
        return true;
    if (x->op == OP_max)
        return is_not_negative(walk, x->operand[0]) || is_not_negative(walk, x->operand[1]);
    return op_has(x->op, KEEPS_SIGN) && holds_for_all(walk, x, is_not_negative);
}

/// Whether x is not below some positive number, or is not a number.
static bool is_positive(Walk *walk, const Node *x) {
    if (walk->left-- <= 0)
        return false;
    if (x->op == OP_const)
        return x->attrs->value > 0;
    const Node *a = x->arity ? x->operand[0] : NULL, *b = x->arity > 1 ? x->operand[1] : NULL;
    if (x->op == OP_max)
        return is_positive(walk, a) || is_positive(walk, b);
    if (x->op == OP_add)
        return (is_positive(walk, a) && is_not_negative(walk, b)) ||
               (is_positive(walk, b) && is_not_negative(walk, a));
    return op_has(x->op, KEEPS_SIGN) && x->arity == 1 && is_positive(walk, a);
}

static bool is_finite_leaf(const Module *module, const Node *x) {
    if (x->op == OP_const)
        return isfinite(x->attrs->value);
    return x->op == OP_read &&
           module->storages.at[x->attrs->storage]->kind == STORAGE_PARAMETER;
}

static bool is_finite(Walk *walk, const Node *x) {
    if (walk->left-- <= 0)
        return false;
    if (op_has(x->op, LEAF))
        return is_finite_leaf(walk->module, x);
    if (op_has(x->op, CONTRACTS))
        return true;
    bool inside = op_has(x->op, TOTAL) ||
                  (x->op == OP_sqrt && is_not_negative(walk, x->operand[0])) ||
                  (x->op == OP_rsqrt && is_positive(walk, x->operand[0])) ||
                  (x->op == OP_div && is_positive(walk, x->operand[1]));
    return inside && holds_for_all(walk, x, is_finite);
}

bool node_is_finite(const Module *module, const Node *x) {
    Walk walk = {module, MOST_NODES};
    return is_finite(&walk, x);
}

bool node_is_divisor(const Module *module, const Node *x) {
    Walk walk = {module, MOST_NODES};
    return is_finite(&walk, x) && is_positive(&walk, x);
}
