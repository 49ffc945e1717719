// passes/selected.c -- cotangents that a condition has selected.
//
// Behind max, min and where a cotangent is where(c, g, 0). What is not selected may meet a slope
// that is infinite or not a number further on, and 0 times that must not come back: such a slope is
// applied to g, inside of the selection. A factor that cannot be, such as a normalisation's for a
// channel, is applied to the selection itself. That is then one value for all that ask for it, and
// where(c, g, 0) can be stored where c and g would both have to be.
#include "passes/finite.h"
#include "passes/grad.h"

static bool is_zero_constant(const Node *x) {
    return x->op == OP_const && x->attrs->value == 0;
}

/// 0 op slope is 0: no slope, one factor for many elements that is finite, or such a divisor that
/// is not 0.
static bool is_harmless(const Graph *graph, Op op, const Node *dy, const Node *slope) {
    if (!slope)
        return true;
    return type_count(&slope->type) < type_count(&dy->type) &&
           (op == OP_mul ? node_is_finite(graph->module, slope)
                         : op == OP_div && node_is_divisor(graph->module, slope));
}

static Node *slope_of(const Node *x) {
    return x->arity > 1 ? x->operand[1] : NULL;
}

/// The `where` that stands behind harmless factors; NULL: there is none that selects from zeros.
static const Node *find_selection(const Graph *graph, const Node *dy) {
    while (dy->op == OP_neg || dy->op == OP_mul || dy->op == OP_div) {
        const Node *x = dy->operand[0];
        if (!type_same_shape(&x->type, &dy->type) ||
            !is_harmless(graph, dy->op, x, slope_of(dy)))
            return NULL;
        dy = x;
    }
    bool selects = dy->op == OP_where &&
                   (is_zero_constant(dy->operand[1]) || is_zero_constant(dy->operand[2]));
    return selects ? dy : NULL;
}

/// Which operand of a selection is not zero.
static int selected_operand(const Node *selection) {
    return is_zero_constant(selection->operand[2]) ? 1 : 2;
}

static Node *select_again(Graph *graph, const Node *selection, Node *g) {
    Node *const *x = selection->operand;
    return selected_operand(selection) == 1 ? ir_where(graph, x[0], g, x[2])
                                            : ir_where(graph, x[0], x[1], g);
}

/// What is selected, with the factors that stand outside of the selection.
static Node *behind_selection(Graph *graph, const Node *dy) {
    if (dy->op == OP_where)
        return dy->operand[selected_operand(dy)];
    Node *g = behind_selection(graph, dy->operand[0]);
    return selected_apply(graph, dy->op, g, slope_of(dy));
}

Node *selected_apply(Graph *graph, Op op, Node *dy, Node *slope) {
    const Node *selection = is_harmless(graph, op, dy, slope) ? NULL : find_selection(graph, dy);
    if (selection) {
        Node *g = selected_apply(graph, op, behind_selection(graph, dy), slope);
        return select_again(graph, selection, g);
    }
    return slope ? ir_binary(graph, op, dy, slope) : ir_unary(graph, op, dy);
}

Node *selected_add(Graph *graph, Node *a, Node *b) {
    const Node *x = find_selection(graph, a), *y = find_selection(graph, b);
    if (x && y && x->operand[0] == y->operand[0] && selected_operand(x) == selected_operand(y)) {
        Node *g = behind_selection(graph, a);
        return select_again(graph, x, selected_add(graph, g, behind_selection(graph, b)));
    }
    return ir_binary(graph, OP_add, a, b);
}
