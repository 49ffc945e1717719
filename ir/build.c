// ir/build.c -- modules and constructors; graph_append() is the only way to make a node.
#include <inttypes.h>
#include <string.h>

#include "ir/ir.h"
#include "support/diag.h"

Module *module_new(Arena *arena, const char *name, DType real) {
    Module *module = arena_new(arena, Module);
    module->arena = arena;
    module->name = arena_strdup(arena, name);
    module->real = real;
    return module;
}

Graph *module_add_graph(Module *module, const char *name, GraphRole role, int32_t phase) {
    Graph *graph = arena_new(module->arena, Graph);
    graph->module = module;
    graph->name = arena_strdup(module->arena, name);
    graph->role = role;
    graph->phase = phase;
    vec_push(module->arena, &module->graphs, graph);
    return graph;
}

Storage *module_add_storage(Module *module, StorageKind kind, const char *name, const Type *type) {
    Storage *storage = arena_new(module->arena, Storage);
    storage->id = (uint32_t)module->storages.count;
    storage->kind = kind;
    storage->name = arena_strdup(module->arena, name);
    storage->type = *type;
    storage->phase = -1;
    vec_push(module->arena, &module->storages, storage);
    return storage;
}

uint32_t module_scalar_slot(Module *module, const char *name) {
    for (size_t i = 0; i < module->scalars.count; i++) {
        if (strcmp(module->scalars.at[i], name) == 0)
            return (uint32_t)i;
    }
    vec_push(module->arena, &module->scalars, arena_strdup(module->arena, name));
    return (uint32_t)(module->scalars.count - 1);
}

const Origin *origin_at_stage(Graph *graph, const Origin *origin, Stage stage) {
    if (!origin || origin->stage >= stage)
        return origin;
    Origin *copy = arena_new(graph->module->arena, Origin);
    *copy = *origin;
    copy->stage = stage;
    return copy;
}

const Origin *origin_for(Graph *graph, const Origin *origin, bool by_weight, uint64_t terms) {
    if (!origin || (origin->by_weight == by_weight && (origin->terms | terms) == origin->terms))
        return origin;
    Origin *copy = arena_new(graph->module->arena, Origin);
    *copy = *origin;
    copy->by_weight = by_weight;
    copy->terms |= terms;
    return copy;
}

const Origin *origin_shared(Graph *graph, const Node *node, const Node *other) {
    bool by_weight = node->origin && node->origin->by_weight && other->origin &&
                     other->origin->by_weight;
    return origin_for(graph, node->origin, by_weight, node_terms(other));
}

uint64_t node_terms(const Node *node) {
    return node->origin ? node->origin->terms : 0;
}

Node *graph_append(Graph *graph, Op op, Node *const *operand, uint32_t arity, const Attrs *attrs,
                   const Origin *origin) {
    Arena *arena = graph->module->arena;
    Node *node = arena_new(arena, Node);
    node->op = op;
    node->id = (uint32_t)graph->nodes.count;
    node->arity = arity;
    node->operand = arena_array(arena, Node *, arity);
    node->attrs = attrs_copy(arena, op, attrs);
    node->origin = origin;

    const Type **type = arena_array(arena, const Type *, arity);
    for (uint32_t k = 0; k < arity; k++) {
        node->operand[k] = operand[k];
        type[k] = &operand[k]->type;
    }
    const char *message = NULL;
    if (!ir_infer(graph->module, op, type, arity, node->attrs, &node->type, arena, &message))
        kdc_bug("%s in graph `%s`: %s", op_info[op].name, graph->name, message);
    vec_push(arena, &graph->nodes, node);
    return node;
}

// ---- short constructors
// ---------------------------------------------------------------------------

void ir_at(Graph *graph, const Origin *origin) {
    graph->cursor = origin;
}

static Node *append(Graph *graph, Op op, Node *const *operand, uint32_t arity, Attrs attrs) {
    return graph_append(graph, op, operand, arity, &attrs, graph->cursor);
}

static Ints extents(const int64_t *dim, int rank) {
    return (Ints){(uint32_t)rank, dim};
}

Node *ir_const(Graph *graph, double value, DType dtype) {
    return append(graph, OP_const, NULL, 0, (Attrs){.value = value, .dtype = dtype});
}

Node *ir_full(Graph *graph, double value, const Type *like) {
    return append(
        graph, OP_const, NULL, 0,
        (Attrs){.value = value, .dtype = like->dtype, .shape = extents(like->dim, like->rank)});
}

Node *ir_input(Graph *graph, const char *name, const Type *type) {
    return append(
        graph, OP_input, NULL, 0,
        (Attrs){.name = name, .dtype = type->dtype, .shape = extents(type->dim, type->rank)});
}

Node *ir_scalar(Graph *graph, const char *name, DType dtype) {
    module_scalar_slot(graph->module, name);
    return append(graph, OP_scalar, NULL, 0, (Attrs){.name = name, .dtype = dtype});
}

Node *ir_iota(Graph *graph, int axis, const int64_t *dim, int rank, DType dtype) {
    return append(graph, OP_iota, NULL, 0,
                  (Attrs){.axis = axis, .dtype = dtype, .shape = extents(dim, rank)});
}

Node *ir_unary(Graph *graph, Op op, Node *x) {
    return append(graph, op, (Node *[]){x}, 1, (Attrs){0});
}

Node *ir_binary(Graph *graph, Op op, Node *a, Node *b) {
    return append(graph, op, (Node *[]){a, b}, 2, (Attrs){0});
}

Node *ir_where(Graph *graph, Node *condition, Node *a, Node *b) {
    return append(graph, OP_where, (Node *[]){condition, a, b}, 3, (Attrs){0});
}

Node *ir_cast(Graph *graph, Node *x, DType dtype) {
    return append(graph, OP_cast, (Node *[]){x}, 1, (Attrs){.dtype = dtype});
}

Node *ir_reshape(Graph *graph, Node *x, const int64_t *dim, int rank) {
    return append(graph, OP_reshape, (Node *[]){x}, 1, (Attrs){.shape = extents(dim, rank)});
}

Node *ir_broadcast(Graph *graph, Node *x, const int64_t *dim, int rank) {
    return append(graph, OP_broadcast, (Node *[]){x}, 1, (Attrs){.shape = extents(dim, rank)});
}

Node *ir_transpose(Graph *graph, Node *x, const int64_t *perm) {
    return append(graph, OP_transpose, (Node *[]){x}, 1,
                  (Attrs){.perm = extents(perm, x->type.rank)});
}

Node *ir_reduce(Graph *graph, Op op, Node *x, const int64_t *axes, int count, bool keep) {
    return append(graph, op, (Node *[]){x}, 1, (Attrs){.axes = extents(axes, count), .keep = keep});
}

Node *ir_einsum(Graph *graph, Node *a, Node *b, const char *spec) {
    return append(graph, OP_einsum, (Node *[]){a, b}, 2, (Attrs){.spec = spec});
}

Node *ir_read(Graph *graph, const Storage *storage) {
    return append(graph, OP_read, NULL, 0, (Attrs){.storage = storage->id});
}

Node *ir_write(Graph *graph, const Storage *storage, Node *value) {
    return append(graph, OP_write, (Node *[]){value}, 1, (Attrs){.storage = storage->id});
}

Node *ir_report(Graph *graph, const char *name, Node *value) {
    return append(graph, OP_report, (Node *[]){value}, 1, (Attrs){.name = name});
}

Node *ir_output(Graph *graph, const char *name, Node *value) {
    return append(graph, OP_output, (Node *[]){value}, 1, (Attrs){.name = name});
}
