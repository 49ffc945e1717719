// passes/fold_frozen.c -- scales and shifts of frozen modules go to the weights before them.
//
// A frozen normalisation is an affine map per channel of what a convolution or a matrix product
// just gave. Being linear, these take the scale into their weights, and the shifts join into one:
//
//     ((conv(x, w) - mean) * scale) * gamma + beta
//         ->  conv(x, w * (scale * gamma)) + (beta - mean * (scale * gamma))
//
// where everything but x is the same all through the phase, so that bind_times computes the new
// weight and shift once. So it is in a deployment. In a phase the weight itself has to stay, and a
// new one would be a copy: there the scales join into one that the contraction's epilogue applies:
// one multiply-add for each of its results.
//
//         ->  conv(x, w) * (scale * gamma) + (beta - mean * (scale * gamma))
//
// The results differ by rounding only. Rules apply only where the value they look through has no
// other use, and are repeated until none applies.
#include <string.h>

#include "passes/passes.h"
#include "passes/rewrite.h"
#include "passes/times.h"

typedef struct Fold {
    Graph *graph;
    Times times;
    const uint32_t *uses; // by id of before; new nodes have one
    size_t old_count;
} Fold;

static bool used_once(const Fold *fold, const Node *node) {
    return node->id >= fold->old_count || fold->uses[node->id] == 1;
}

static bool frozen(Fold *fold, const Node *node) {
    return is_frozen(&fold->times, node);
}

static Node *binary(Fold *fold, Op op, Node *a, Node *b) {
    return ir_binary(fold->graph, op, a, b);
}

/// Whether `node` is an op of two with one side frozen and the other of the result's shape.
static bool split_sides(Fold *fold, const Node *node, Node **moving, Node **constant, int *side) {
    for (int k = 0; k < 2; k++) {
        *moving = node->operand[1 - k];
        *constant = node->operand[k];
        *side = k; // of the constant
        if (frozen(fold, *constant) && !frozen(fold, *moving) &&
            type_same_shape(&(*moving)->type, &node->type))
            return true;
    }
    return false;
}

// ---- scales into weights ------------------------------------------------------------------------

/// Whether s, aligned at the last axes with y, has extents above 1 only along y's axis `along`.
static bool only_along(const Node *s, const Node *y, int along) {
    int lead = y->type.rank - s->type.rank;
    for (int i = 0; i < s->type.rank; i++) {
        if (s->type.dim[i] != 1 && i + lead != along)
            return false;
    }
    return true;
}

/// The operand of the contraction y that can take the scale s, and the operand's axis for it:
/// frozen, and with the axis of y along which s varies. -1: none.
static int find_weight(Fold *fold, const Node *y, const Node *s, int *axis) {
    if (y->op == OP_conv2d) { // the result's channels are axis 0 of the weight
        *axis = 0;
        return frozen(fold, y->operand[1]) && only_along(s, y, 1) ? 1 : -1;
    }
    const char *letters = y->attrs->spec;
    const char *out = strstr(letters, "->") + 2;
    for (int k = 0; k < 2; k++) {
        const Node *w = y->operand[k];
        for (*axis = 0; frozen(fold, w) && *axis < w->type.rank; ++*axis) {
            const char *at = strchr(out, letters[*axis]);
            if (at && only_along(s, y, (int)(at - out)))
                return k;
        }
        letters += w->type.rank + 1; // and the comma
    }
    return -1;
}

/// y * s, with s in the weight.
static Node *scale_weight(Fold *fold, const Node *y, Node *s) {
    int axis;
    int k = find_weight(fold, y, s, &axis);
    int64_t dim[MAX_RANK] = {1, 1, 1, 1, 1, 1, 1, 1};
    Node *operand[2] = {y->operand[0], y->operand[1]};
    Node *w = operand[k];
    dim[axis] = type_count(&s->type);
    operand[k] = binary(fold, OP_mul, w, ir_reshape(fold->graph, s, dim, w->type.rank));
    return graph_append(fold->graph, y->op, operand, 2, y->attrs, y->origin);
}

// ---- towards them -------------------------------------------------------------------------------

/// Whether `node` comes, through sums and products with frozen values that nothing else uses, from
/// a contraction with a frozen operand, which can take the scale s where one is given.
static bool comes_from_weight(Fold *fold, const Node *node, const Node *s) {
    Node *moving, *constant;
    int side, axis;
    for (int depth = 0; depth < 16 && used_once(fold, node) && !frozen(fold, node); depth++) {
        if (node->op == OP_conv2d || node->op == OP_einsum) {
            if (s)
                return find_weight(fold, node, s, &axis) >= 0;
            return frozen(fold, node->operand[0]) || frozen(fold, node->operand[1]);
        }
        if ((node->op != OP_add && node->op != OP_sub && node->op != OP_mul &&
             node->op != OP_div) ||
            !split_sides(fold, node, &moving, &constant, &side))
            return false;
        node = moving;
    }
    return false;
}

/// z * s where s is frozen: into the weight of a deployment, or one step nearer to it.
static Node *fold_scale(Fold *fold, Node *z, Node *s) {
    Node *moving, *constant;
    int side;
    if (type_count(&s->type) == 1 || !comes_from_weight(fold, z, s))
        return NULL;
    if (z->op == OP_conv2d || z->op == OP_einsum)
        return fold->graph->role == GRAPH_DEPLOY ? scale_weight(fold, z, s) : NULL;
    if (!split_sides(fold, z, &moving, &constant, &side))
        return NULL;
    if (z->op == OP_mul) // (a c) s = a (c s)
        return binary(fold, OP_mul, moving, binary(fold, OP_mul, constant, s));
    if (z->op == OP_add || (z->op == OP_sub && side == 1)) // (a + c) s = a s + c s
        return binary(fold, z->op, binary(fold, OP_mul, moving, s),
                      binary(fold, OP_mul, constant, s));
    if (z->op == OP_sub) // (c - a) s = c s - a s
        return binary(fold, OP_sub, binary(fold, OP_mul, constant, s),
                      binary(fold, OP_mul, moving, s));
    return NULL;
}

/// z / s = z * (1 / s), on the way to a weight.
static Node *fold_quotient(Fold *fold, Node *z, Node *s) {
    if (type_count(&s->type) == 1 || !comes_from_weight(fold, z, s))
        return NULL;
    Node *one = ir_const(fold->graph, 1, s->type.dtype);
    return binary(fold, OP_mul, z, binary(fold, OP_div, one, s));
}

/// (a +- c) +- d = a + (+-c +- d), where both c and d are frozen.
static Node *join_shifts(Fold *fold, Node *y, Node *z, Node *d) {
    Node *a, *c;
    int side;
    if ((z->op != OP_add && z->op != OP_sub) || !comes_from_weight(fold, z, NULL) ||
        !split_sides(fold, z, &a, &c, &side) || (z->op == OP_sub && side == 0))
        return NULL;
    if (z->op == OP_add)
        return binary(fold, OP_add, a, binary(fold, y->op, c, d));
    if (y->op == OP_add)
        return binary(fold, OP_add, a, binary(fold, OP_sub, d, c));
    return binary(fold, OP_sub, a, binary(fold, OP_add, c, d));
}

static Node *fold_node(Fold *fold, Node *y) {
    Node *moving, *constant;
    int side;
    if ((y->op != OP_add && y->op != OP_sub && y->op != OP_mul && y->op != OP_div) ||
        !dtype_is_float(y->type.dtype) || !split_sides(fold, y, &moving, &constant, &side))
        return NULL;
    if (y->op == OP_mul)
        return fold_scale(fold, moving, constant);
    if (y->op == OP_div)
        return side == 1 ? fold_quotient(fold, moving, constant) : NULL;
    return y->op == OP_sub && side == 0 ? NULL : join_shifts(fold, y, moving, constant);
}

static bool fold_graph(Graph *graph, PassContext *ctx) {
    bool changed = pass_dce(graph, ctx); // what is dead would count as a use
    Fold fold = {
        .graph = graph,
        .times = times_begin(graph, ctx),
        .uses = count_uses(graph, ctx->scratch),
        .old_count = graph->nodes.count,
    };
    Rewrite rw = rewrite_begin(graph, ctx->scratch);
    for (size_t i = 0; i < rw.old_count; i++) {
        Node *y = rewrite_next(&rw, i);
        Node *better = fold_node(&fold, y);
        rewrite_place(&rw, y, better ? better : y);
    }
    return rewrite_end(&rw) || changed;
}

/// Folds frozen affine maps into the frozen weights before them, in steps and evals.
/// Requires: topological order, no `grad` nodes.  Keeps: order.  Changes rounding.  Removes dead
/// nodes.
bool pass_fold_frozen(Module *module, PassContext *ctx) {
    bool changed = false;
    for (size_t i = 0; i < module->graphs.count; i++) {
        Graph *graph = module->graphs.at[i];
        if (!graph_repeats(graph) || graph_has_grad(graph))
            continue;
        for (int round = 0; round < 32 && fold_graph(graph, ctx); round++)
            changed = true;
    }
    return changed;
}
