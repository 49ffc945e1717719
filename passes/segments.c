// passes/segments.c -- a deployment cut at its exits, in a module of its own.
//
// Segment k computes what exit k needs and no segment before it has: an example that has left costs
// nothing more. What an earlier segment has computed comes in as an input and is an output there.
// Computed again instead, in each segment that needs it, is what does not depend on the example
// (bind_times makes it a constant) and what is a mere view.
//
//     s1 = layer1(x); exit z(s1) when ...; return fc(layer2(s1))
//         ->  segment 0: x -> when, z, s1        segment 1: s1 -> fc(layer2(s1))
#include <string.h>

#include "passes/passes.h"
#include "support/diag.h"

typedef struct Cut {
    const Graph *graph;
    Deployment *deployment;
    Arena *arena, *scratch;
    uint8_t *moves;     // by node id: depends on the example
    int32_t *segment_of; // by node id: that which computes it; -1: none so far
    uint32_t *storage;  // by storage id of the program: id here, and 1
    Vec(Node **) copies; // by segment: by node id
} Cut;

static bool is_made_again(const Cut *cut, const Node *node) {
    return !cut->moves[node->id] || node->op == OP_reshape || node->op == OP_broadcast;
}

static Graph *graph_of(const Cut *cut, size_t segment) {
    const Deployment *d = cut->deployment;
    return d->module->graphs.at[d->segments.at[segment].graph];
}

/// The place of `value` among the outputs of a segment, which may be a new one.
static uint32_t output_index(Cut *cut, size_t segment, Node *value) {
    Graph *graph = graph_of(cut, segment);
    uint32_t index = 0;
    for (size_t i = 0; i < graph->nodes.count; i++) {
        if (graph->nodes.at[i]->op != OP_output)
            continue;
        if (graph->nodes.at[i]->operand[0] == value)
            return index;
        index++;
    }
    ir_at(graph, value->origin);
    ir_output(graph, arena_printf(cut->arena, "carry%u", index), value);
    return index;
}

/// `node` as an input of a segment, from the one that computes it.
static Node *bring(Cut *cut, size_t to, const Node *node) {
    int32_t from = cut->segment_of[node->id];
    SegmentInput input = {.segment = from,
                          .index = output_index(cut, (size_t)from, cut->copies.at[from][node->id])};
    input.name = arena_printf(cut->arena, "segment%d.%u", from, input.index);
    vec_push(cut->arena, &cut->deployment->segments.at[to].inputs, input);
    return ir_input(graph_of(cut, to), input.name, &node->type);
}

static const Attrs *attrs_here(Cut *cut, const Node *node, Attrs *own) {
    if (node->op != OP_read)
        return node->attrs;
    const Storage *there = cut->graph->module->storages.at[node->attrs->storage];
    uint32_t *id = &cut->storage[there->id];
    if (!*id) {
        Storage *storage = module_add_storage(cut->deployment->module, there->kind, there->name,
                                              &there->type);
        storage->phase = -1;
        storage->origin = there->origin;
        *id = storage->id + 1;
    }
    *own = *node->attrs;
    own->storage = *id - 1;
    return own;
}

static void bring_field(Cut *cut, size_t segment, const Node *node) {
    Deployment *d = cut->deployment;
    SegmentInput input = {.name = node->attrs->name, .segment = -1};
    for (size_t i = 0; i < d->inputs.count; i++)
        if (strcmp(d->inputs.at[i].name, input.name) == 0)
            input.index = (uint32_t)i;
    vec_push(cut->arena, &d->segments.at[segment].inputs, input);
}

static Node *copy_node(Cut *cut, size_t segment, const Node *node) {
    Node **copy = &cut->copies.at[segment][node->id];
    if (*copy)
        return *copy;
    int32_t *owner = &cut->segment_of[node->id];
    if (*owner >= 0 && !is_made_again(cut, node) && node->op != OP_input)
        return *copy = bring(cut, segment, node);
    if (*owner < 0)
        *owner = (int32_t)segment;
    if (node->op == OP_input)
        bring_field(cut, segment, node);
    Node **operand = arena_array(cut->scratch, Node *, node->arity + 1);
    for (uint32_t k = 0; k < node->arity; k++)
        operand[k] = copy_node(cut, segment, node->operand[k]);
    Attrs own;
    *copy = graph_append(graph_of(cut, segment), node->op, operand, node->arity,
                         attrs_here(cut, node, &own), node->origin);
    (*copy)->tag = node->tag;
    return *copy;
}

/// The outputs [first, first + count) of the graph become those of a new segment.
static void add_segment(Cut *cut, Node *const *output, size_t count) {
    Deployment *d = cut->deployment;
    size_t number = d->segments.count;
    const char *name = arena_printf(cut->arena, "%s.%zu", cut->graph->name, number);
    module_add_graph(d->module, name, GRAPH_DEPLOY, 0);
    vec_push(cut->arena, &d->segments, ((Segment){.graph = (int32_t)d->module->graphs.count - 1}));
    vec_push(cut->scratch, &cut->copies,
             arena_array(cut->scratch, Node *, cut->graph->nodes.count + 1));
    for (size_t i = 0; i < count; i++) {
        Node *value = copy_node(cut, number, output[i]->operand[0]);
        ir_at(graph_of(cut, number), output[i]->origin);
        ir_output(graph_of(cut, number), output[i]->attrs->name, value);
    }
}

static void find_ports(Cut *cut, Node *const *output, size_t output_count) {
    Deployment *d = cut->deployment;
    const Graph *graph = cut->graph;
    for (size_t i = 0; i < graph->nodes.count; i++) {
        const Node *node = graph->nodes.at[i];
        bool is_new = node->op == OP_input;
        for (size_t k = 0; is_new && k < d->inputs.count; k++)
            is_new = strcmp(d->inputs.at[k].name, node->attrs->name) != 0;
        if (is_new)
            vec_push(cut->arena, &d->inputs, ((PortSpec){node->attrs->name, node->type}));
        cut->moves[i] = node->op == OP_input;
        for (uint32_t k = 0; k < node->arity; k++)
            cut->moves[i] |= cut->moves[node->operand[k]->id];
        cut->segment_of[i] = -1;
    }
    for (size_t i = output_count - d->spec->value_count; i < output_count; i++)
        vec_push(cut->arena, &d->outputs,
                 ((PortSpec){output[i]->attrs->name, output[i]->operand[0]->type}));
}

Deployment *deployment_cut(const Program *program, const DeploySpec *spec, Arena *arena) {
    const Graph *graph = program->module->graphs.at[spec->graph];
    Arena scratch = {0};
    size_t count = graph->nodes.count, output_count = 0;
    Deployment *deployment = arena_new(arena, Deployment);
    *deployment = (Deployment){.spec = spec};
    deployment->module = module_new(arena, program->module->name, program->module->real);
    Cut cut = {
        .graph = graph,
        .deployment = deployment,
        .arena = arena,
        .scratch = &scratch,
        .moves = arena_array(&scratch, uint8_t, count + 1),
        .segment_of = arena_array(&scratch, int32_t, count + 1),
        .storage = arena_array(&scratch, uint32_t, program->module->storages.count + 1),
    };
    Node **output = arena_array(&scratch, Node *, count + 1);
    for (size_t i = 0; i < count; i++)
        if (graph->nodes.at[i]->op == OP_output)
            output[output_count++] = graph->nodes.at[i];
    kdc_assert(output_count == spec->exit_count * (1 + spec->value_count) + spec->value_count);
    find_ports(&cut, output, output_count);
    size_t at = 0;
    for (uint32_t i = 0; i < spec->exit_count; i++, at += 1 + spec->value_count)
        add_segment(&cut, output + at, 1 + spec->value_count);
    add_segment(&cut, output + at, spec->value_count);
    arena_release(&scratch);
    return deployment;
}
