// frontend/sections.c -- a section of a model as a function: `student.sections[1](x)`.
//
// A net's body runs from its input to its end, so the section is cut out of a graph: the model is
// applied to a stand-in for its input, and what lies between the two taps is copied with the first
// tap replaced by x. What the stand-in reaches otherwise has no use and goes with dead code.
#include <inttypes.h>
#include <string.h>

#include "frontend/elaborate.h"

typedef struct Cut {
    Node **copy; // by id: what stands for the node behind the first tap; NULL: the node itself
    uint8_t *stand_in; // by id: depends on the stand-in
    uint8_t *mixed;    // by id: its copy depends on both
    size_t count;
} Cut;

static void copy_node(Elab *e, Cut *cut, const Node *node) {
    Node **operand = arena_array(e->arena, Node *, node->arity);
    bool behind = false, stand_in = false;
    for (uint32_t k = 0; k < node->arity; k++) {
        uint32_t id = node->operand[k]->id;
        operand[k] = cut->copy[id] ? cut->copy[id] : node->operand[k];
        behind |= cut->copy[id] != NULL;
        stand_in |= cut->copy[id] ? cut->mixed[id] : cut->stand_in[id];
    }
    if (behind) {
        cut->copy[node->id] =
            graph_append(e->ctx->graph, node->op, operand, node->arity, node->attrs, node->origin);
        cut->mixed[node->id] = stand_in;
    } else {
        cut->stand_in[node->id] = stand_in;
    }
}

static void cut_between(Elab *e, Cut *cut, const Node *input, const Node *from, Node *x) {
    const Graph *graph = e->ctx->graph;
    cut->count = graph->nodes.count;
    cut->copy = arena_array(e->arena, Node *, cut->count);
    cut->stand_in = arena_array(e->arena, uint8_t, cut->count);
    cut->mixed = arena_array(e->arena, uint8_t, cut->count);
    cut->stand_in[input->id] = 1;
    for (size_t i = input->id + 1; i < cut->count; i++) {
        if (graph->nodes.at[i] == from)
            cut->copy[i] = x;
        else
            copy_node(e, cut, graph->nodes.at[i]);
    }
}

// States that the section updates get the copies; those before it stay as they were.
static void cut_states(Elab *e, const Cut *cut, Node *const *before, const uint8_t *written,
                       size_t count) {
    GraphContext *ctx = e->ctx;
    for (size_t id = 0; id < ctx->current.count; id++) {
        Node *now = ctx->current.at[id];
        Node *old = id < count ? before[id] : NULL;
        if (!now || now == old || now->id >= cut->count)
            continue;
        if (cut->copy[now->id]) {
            ctx->current.at[id] = cut->copy[now->id];
        } else if (cut->stand_in[now->id]) {
            ctx->current.at[id] = old ? old : ctx->read.at[id];
            ctx->written.at[id] = id < count ? written[id] : 0;
        }
    }
}

// So do assertions; what they say of the stand-in means nothing.
static void cut_asserts(GraphContext *ctx, const Cut *cut, size_t before) {
    size_t kept = before;
    for (size_t i = before; i < ctx->asserts.count; i++) {
        Assertion at = ctx->asserts.at[i];
        if (at.holds->id < cut->count && cut->stand_in[at.holds->id])
            continue;
        if (at.holds->id < cut->count && cut->copy[at.holds->id])
            at.holds = cut->copy[at.holds->id];
        ctx->asserts.at[kept++] = at;
    }
    ctx->asserts.count = kept;
}

static Node *stand_in_for(Elab *e, const Instance *root, const Node *x, Span span) {
    Type type = root->input;
    type.dim[0] = x->type.dim[0];
    Node *zero = constant_node(e, 0, type.dtype, span);
    return zero ? broadcast_to(e, zero, &type, span) : NULL;
}

static Value cut_section(Elab *e, Instance *root, int64_t section, Node *x, const Call *call) {
    GraphContext *ctx = e->ctx;
    size_t count = ctx->current.count, assert_count = ctx->asserts.count;
    Node **before = arena_array(e->arena, Node *, count);
    uint8_t *written = arena_array(e->arena, uint8_t, count);
    for (size_t i = 0; i < count; i++) {
        before[i] = ctx->current.at[i];
        written[i] = ctx->written.at[i];
    }
    Node *input = stand_in_for(e, root, x, call->span);
    if (!input)
        return value_poison();
    Arg arg = {.value = value_node(e, input), .span = call->span};
    Value whole = call_instance(e, root, (Args){&arg, 1}, call);
    if (whole.kind != VALUE_TENSOR)
        return value_poison();
    Value from = tensor_section(e, whole, value_int(section - 1), call->span);
    Value to = tensor_section(e, whole, value_int(section), call->span);
    if (from.kind == VALUE_POISON || to.kind == VALUE_POISON)
        return value_poison();
    if (!type_equal(&from.tensor->node->type, &x->type))
        return fail(e, call->span, "section %" PRId64 " of `%s` takes %s, and this is %s", section,
                    root->path, type_text(e->arena, &from.tensor->node->type),
                    type_text(e->arena, &x->type));
    Cut cut;
    cut_between(e, &cut, input, from.tensor->node, x);
    cut_states(e, &cut, before, written, count);
    cut_asserts(ctx, &cut, assert_count);
    uint32_t end = to.tensor->node->id;
    if (!cut.copy[end] || cut.mixed[end])
        return fail(e, call->callee_span,
                    "section %" PRId64 " of `%s` looks at more than the section before it", section,
                    root->path);
    return value_tensor(e, (Tensor){.node = cut.copy[end],
                                    .label = arena_printf(e->arena, "%s.sections[%" PRId64 "]",
                                                          root->path, section),
                                    .label_span = call->span});
}

Value section_call(Elab *e, const Part *part, Args args, const Call *call) {
    Instance *root = part->root;
    if (args.count != 1 || args.at[0].name)
        return fail(e, call->span, "a section takes one tensor");
    Node *x = lift(e, args.at[0].value, NULL, args.at[0].span, "a section: ");
    if (!x)
        return value_poison();
    if (part->section == 0) {
        Value whole = call_instance(e, root, args, call);
        return whole.kind == VALUE_TENSOR ? tensor_section(e, whole, value_int(0), call->span)
                                          : value_poison();
    }
    if (!root->has_input || !root->split) {
        Diag *d =
            report_error(e, call->callee_span, "what `%s` takes is not known yet", root->path);
        diag_help(d, "apply it, or its first section, before this one");
        return value_poison();
    }
    return cut_section(e, root, part->section, x, call);
}
