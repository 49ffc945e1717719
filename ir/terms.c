// ir/terms.c -- a step as it would be without one of its loss terms.
//
// The term's place in the sum becomes zero. What only the term needed then has no user left and
// falls to dead code elimination, but for three kinds of effects, which go by hand:
//
//   updates of parameters that only this term reached, with their optimiser states;
//   states that the forward pass updates from values that only this term needs (the running
//   statistics of a connector's batch norm);
//   reports of such values.
#include <string.h>

#include "ir/cost.h"
#include "support/diag.h"

/// By node: is it behind `root`?
static uint8_t *cone_of(const Graph *graph, const Node *root, Arena *scratch) {
    uint8_t *in = arena_array(scratch, uint8_t, graph->nodes.count);
    in[root->id] = 1;
    for (size_t i = (size_t)root->id + 1; i-- > 0;) {
        const Node *node = graph->nodes.at[i];
        for (uint32_t k = 0; in[i] && k < node->arity; k++)
            in[node->operand[k]->id] = 1;
    }
    return in;
}

/// By node: does it depend on what is computed for `term` and for no other one?
static uint8_t *depends_on_own(const Graph *graph, size_t term, Arena *scratch) {
    size_t count = graph->nodes.count;
    uint8_t *own = cone_of(graph, graph->terms.at[term].node, scratch);
    for (size_t t = 0; t < graph->terms.count; t++) {
        const uint8_t *other = cone_of(graph, graph->terms.at[t].node, scratch);
        for (size_t i = 0; t != term && i < count; i++)
            own[i] = own[i] && !other[i];
    }
    for (size_t i = 0; i < count; i++) {
        const Node *node = graph->nodes.at[i];
        own[i] = own[i] && !op_has(node->op, LEAF); // the batch and the parameters are nobody's
        for (uint32_t k = 0; k < node->arity; k++)
            own[i] |= own[node->operand[k]->id];
    }
    return own;
}

static bool is_step_gradient(const Node *node) {
    return node->op == OP_grad && node->origin && node->origin->stage == STAGE_BACKWARD;
}

/// Puts `zero` where the sums of the terms, from the losses of the step's gradients down, have
/// `term`.
static void take_out(Graph *graph, const Node *term, Node *zero, Node *const *terms, size_t count,
                     Arena *scratch) {
    uint8_t *is_sum = arena_array(scratch, uint8_t, graph->nodes.count);
    for (size_t i = graph->nodes.count; i-- > 0;) { // users first
        Node *node = graph->nodes.at[i];
        bool gradient = is_step_gradient(node);
        if (!gradient && !is_sum[i])
            continue;
        for (uint32_t k = 0; k < (gradient ? 1 : node->arity); k++) {
            Node *x = node->operand[k];
            bool is_term = false;
            for (size_t t = 0; t < count; t++)
                is_term |= terms[t] == x;
            is_sum[x->id] |= !is_term && (x->op == OP_add || x->op == OP_sub) && !x->type.rank;
            if (x == term)
                node->operand[k] = zero;
        }
    }
}

/// By node: bit 1, a gradient of nothing is behind it; bit 2, one of something.
static uint8_t *gradients_behind(const Graph *graph, Arena *scratch) {
    uint8_t *behind = arena_array(scratch, uint8_t, graph->nodes.count);
    const Node *loss = NULL;
    const uint8_t *cone = NULL;
    for (size_t i = 0; i < graph->nodes.count; i++) {
        const Node *node = graph->nodes.at[i];
        for (uint32_t k = 0; k < node->arity; k++)
            behind[i] |= behind[node->operand[k]->id];
        if (!is_step_gradient(node))
            continue;
        if (node->operand[0] != loss) {
            loss = node->operand[0];
            cone = cone_of(graph, loss, scratch);
        }
        behind[i] |= cone[node->operand[1]->id] ? 2 : 1;
    }
    return behind;
}

Graph *graph_without_term(Graph *graph, size_t term, const char *name, Arena *scratch) {
    uint8_t *own = depends_on_own(graph, term, scratch);
    size_t count = graph->nodes.count, terms = graph->terms.count;
    Graph *clone = graph_clone(graph, name);
    Node **at = arena_array(scratch, Node *, terms);
    for (size_t t = 0; t < terms; t++)
        at[t] = clone->nodes.at[graph->terms.at[t].node->id];

    Node *zero = ir_const(clone, 0, at[term]->type.dtype); // first, so that it is before its users
    Node **order = arena_array(scratch, Node *, count + 1);
    order[0] = zero;
    memcpy(order + 1, clone->nodes.at, count * sizeof *order);
    graph_set_nodes(clone, order, count + 1);
    take_out(clone, at[term], zero, at, terms, scratch);

    const uint8_t *behind = gradients_behind(clone, scratch);
    uint8_t *live = arena_array(scratch, uint8_t, count + 1);
    for (size_t i = 0; i <= count; i++) {
        const Node *node = clone->nodes.at[i];
        bool unreached = behind[i] == 1; // gradients of the term alone
        bool of_term = i > 0 && own[i - 1] && !behind[i];
        live[i] = !op_has(node->op, EFFECT) || !(unreached || of_term);
    }
    graph_keep_only(clone, live);
    return clone;
}

// ---- marks
// ------------------------------------------------------------------------------------------

/// By node: does a storage get a value from it?
static uint8_t *leads_to_write(const Graph *graph, Arena *scratch) {
    uint8_t *leads = arena_array(scratch, uint8_t, graph->nodes.count);
    for (size_t i = graph->nodes.count; i-- > 0;) {
        const Node *node = graph->nodes.at[i];
        leads[i] |= node->op == OP_write;
        for (uint32_t k = 0; k < node->arity; k++)
            leads[node->operand[k]->id] |= leads[i];
    }
    return leads;
}

/// Of the operands of this stage or a later one: what an update does goes by the gradient rather
/// than by the parameter, which other terms may read.
static uint64_t terms_of_operands(const Node *node, const uint64_t *terms, Stage least) {
    uint64_t all = 0;
    for (uint32_t k = 0; k < node->arity; k++)
        if (node_stage(node->operand[k]) >= least)
            all |= terms[node->operand[k]->id];
    return all;
}

void graph_mark_terms(Graph *graph, Arena *scratch) {
    size_t count = graph->nodes.count;
    uint64_t *behind = arena_array(scratch, uint64_t, count); // bit t: in the cone of term t
    uint64_t *in_loss = arena_array(scratch, uint64_t, count); // bit t: term t is in the cone
    kdc_assert(graph->terms.count <= 64);
    for (size_t t = 0; t < graph->terms.count; t++) {
        const uint8_t *cone = cone_of(graph, graph->terms.at[t].node, scratch);
        for (size_t i = 0; i < count; i++)
            behind[i] |= (uint64_t)cone[i] << t;
        in_loss[graph->terms.at[t].node->id] |= (uint64_t)1 << t;
    }
    const uint8_t *leads = leads_to_write(graph, scratch);
    uint64_t *terms = arena_array(scratch, uint64_t, count);
    for (size_t i = 0; i < count; i++) {
        Node *node = graph->nodes.at[i];
        terms[i] = behind[i];
        for (uint32_t k = 0; k < node->arity; k++)
            in_loss[i] |= in_loss[node->operand[k]->id];
        if (is_step_gradient(node)) {
            terms[i] = in_loss[node->operand[0]->id] & behind[node->operand[1]->id];
        } else if (!terms[i] && leads[i]) {
            terms[i] = terms_of_operands(node, terms, STAGE_BACKWARD);
            if (!terms[i])
                terms[i] = terms_of_operands(node, terms, STAGE_FORWARD);
        }
        node->origin = origin_for(graph, node->origin, false, terms[i]);
    }
}
