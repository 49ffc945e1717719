// passes/finite.c -- which values are finite by how they are made.
//
// A walk over what stands behind a value. It ends at constants, storages, inputs and results of
// contractions, which are sums of products, and gives up after some nodes: what is asked about are
// factors such as those of a normalisation.
#include "passes/finite.h"

#include <math.h>

enum { MOST_NODES = 200 }; // of one walk

typedef struct Walk {
    int left; // nodes that may still be looked at
} Walk;

static bool is_constant(const Node *x, bool allows_zero) {
    double value = x->attrs ? x->attrs->value : 0;
    return x->op == OP_const && isfinite(value) && (value > 0 || (allows_zero && value == 0));
}

/// Whether x >= 0, or is not a number, by how it is made.
static bool is_not_negative(Walk *walk, const Node *x) {
    if (walk->left-- <= 0)
        return false;
    const Node *a = x->arity > 0 ? x->operand[0] : NULL, *b = x->arity > 1 ? x->operand[1] : NULL;
    switch ((int)x->op) {
    case OP_const:
        return is_constant(x, true);
    case OP_abs:
    case OP_exp:
    case OP_sqrt:
    case OP_rsqrt:
    case OP_sigmoid:
    case OP_variance:
        return true;
    case OP_mul:
        return a == b || (is_not_negative(walk, a) && is_not_negative(walk, b));
    case OP_add:
    case OP_div:
    case OP_min:
        return is_not_negative(walk, a) && is_not_negative(walk, b);
    case OP_max:
        return is_not_negative(walk, a) || is_not_negative(walk, b);
    case OP_where:
        return is_not_negative(walk, b) && is_not_negative(walk, x->operand[2]);
    case OP_sum:
    case OP_reshape:
    case OP_broadcast:
    case OP_transpose:
    case OP_stop_gradient:
        return is_not_negative(walk, a);
    default:
        return false;
    }
}

/// Whether x is not below some positive number, or is not a number, by how it is made.
static bool is_positive(Walk *walk, const Node *x) {
    const Node *a = x->arity > 0 ? x->operand[0] : NULL, *b = x->arity > 1 ? x->operand[1] : NULL;
    switch ((int)x->op) {
    case OP_const:
        return is_constant(x, false);
    case OP_add:
        return (is_positive(walk, a) && is_not_negative(walk, b)) ||
               (is_positive(walk, b) && is_not_negative(walk, a));
    case OP_max:
        return is_positive(walk, a) || is_positive(walk, b);
    case OP_sqrt:
    case OP_reshape:
    case OP_broadcast:
    case OP_transpose:
    case OP_stop_gradient:
        return is_positive(walk, a);
    default:
        return false;
    }
}

static bool is_finite(Walk *walk, const Node *x) {
    if (walk->left-- <= 0)
        return false;
    if (op_has(x->op, CONTRACTS))
        return true;
    switch ((int)x->op) {
    case OP_const:
        return isfinite(x->attrs->value);
    case OP_read:
    case OP_input:
        return true;
    case OP_rsqrt:
        return is_positive(walk, x->operand[0]) && is_finite(walk, x->operand[0]);
    case OP_sqrt:
        return is_not_negative(walk, x->operand[0]) && is_finite(walk, x->operand[0]);
    case OP_div:
        return is_positive(walk, x->operand[1]) && is_finite(walk, x->operand[0]);
    case OP_neg:
    case OP_abs:
    case OP_add:
    case OP_sub:
    case OP_mul:
    case OP_max:
    case OP_min:
    case OP_tanh:
    case OP_sigmoid:
    case OP_erf:
    case OP_sum:
    case OP_variance:
    case OP_reshape:
    case OP_broadcast:
    case OP_transpose:
    case OP_stop_gradient:
        for (uint32_t k = 0; k < x->arity; k++)
            if (!is_finite(walk, x->operand[k]))
                return false;
        return true;
    default:
        return false;
    }
}

bool node_is_finite(const Node *x) {
    Walk walk = {MOST_NODES};
    return is_finite(&walk, x);
}

bool node_is_positive(const Node *x) {
    Walk walk = {MOST_NODES};
    return is_positive(&walk, x);
}
