// ir/verify.c -- what holds between any two passes. The first thing found wrong is told.
//
// Nodes first: everything later may rely on sound ids and types. Kernels are checked only after
// `fuse` has made them, buffers only after `plan_memory`. The moment of a kernel is its place in
// the list; a value lives from the kernel that stores it to the last one that has a user of it.
#include <inttypes.h>
#include <string.h>

#include "ir/ir.h"

typedef struct Verify {
    Arena *arena;
    const Module *module;
    const Graph *graph;
    const char *message;
} Verify;

__attribute__((format(printf, 2, 3))) static bool wrong(Verify *v, const char *format, ...) {
    va_list args;
    va_start(args, format);
    v->message = arena_vprintf(v->arena, format, args);
    va_end(args);
    if (v->graph)
        v->message = arena_printf(v->arena, "graph `%s`: %s", v->graph->name, v->message);
    return false;
}

static bool wrong_node(Verify *v, const Node *node, const char *what) {
    return wrong(v, "%%%u = %s: %s", node->id, op_info[node->op].name, what);
}

// ---- nodes
// ----------------------------------------------------------------------------------------

static bool check_layout(Verify *v, const Type *type) {
    if (!type->block)
        return type->block_axis == 0 || wrong(v, "a blocked axis without blocks");
    if (type->block_axis >= type->rank || type->dim[type->block_axis] % type->block)
        return wrong(v, "the layout of %s", type_text(v->arena, type));
    return true;
}

static bool check_operands(Verify *v, const Node *node) {
    for (uint32_t k = 0; k < node->arity; k++) {
        const Node *use = node->operand[k];
        if (!use)
            return wrong_node(v, node, "an operand is missing");
        if (use->id >= node->id || v->graph->nodes.at[use->id] != use)
            return wrong_node(v, node, "an operand is not among the nodes before it");
        if (op_has(use->op, EFFECT))
            return wrong_node(v, node, "an operand is an effect and has no value");
    }
    return true;
}

static bool check_type(Verify *v, const Node *node) {
    const Type **type = arena_array(v->arena, const Type *, node->arity);
    Type inferred;
    const char *message;
    for (uint32_t k = 0; k < node->arity; k++)
        type[k] = &node->operand[k]->type;
    if (!ir_infer(v->module, node->op, type, node->arity, node->attrs, &inferred, v->arena,
                  &message))
        return wrong_node(v, node, message);
    if (node->op != OP_relayout && node->type.block) {
        inferred.block = node->type.block;
        inferred.block_axis = node->type.block_axis;
    }
    if (!type_equal(&inferred, &node->type))
        return wrong_node(v, node,
                          arena_printf(v->arena, "has type %s, should be %s",
                                       type_text(v->arena, &node->type),
                                       type_text(v->arena, &inferred)));
    return check_layout(v, &node->type);
}

static bool check_node(Verify *v, size_t index) {
    const Node *node = v->graph->nodes.at[index];
    if (!node)
        return wrong(v, "node %zu is missing", index);
    if (node->op >= OP_COUNT)
        return wrong(v, "node %zu has no op", index);
    if (node->id != index)
        return wrong(v, "node %zu has the id %u", index, node->id);
    if (!node->attrs)
        return wrong_node(v, node, "no attributes");
    if ((op_info[node->op].attrs & HAS_name) && !(node->attrs->name && *node->attrs->name))
        return wrong_node(v, node, "no name");
    return check_operands(v, node) && check_type(v, node);
}

// Names and storages that a graph may use once, or always in the same way.
static bool check_names(Verify *v) {
    Map once, inputs, scalars;
    map_init(&once, v->arena);
    map_init(&inputs, v->arena);
    map_init(&scalars, v->arena);
    for (size_t i = 0; i < v->module->scalars.count; i++)
        map_set(&scalars, v->module->scalars.at[i], &scalars);
    for (size_t i = 0; i < v->graph->nodes.count; i++) {
        Node *node = v->graph->nodes.at[i];
        unsigned carried = op_info[node->op].attrs;
        if (op_has(node->op, EFFECT)) {
            const char *what = carried & HAS_name
                                   ? node->attrs->name
                                   : v->module->storages.at[node->attrs->storage]->name;
            const char *key = arena_printf(v->arena, "%s %s", op_info[node->op].name, what);
            if (map_set(&once, key, node))
                return wrong_node(v, node, arena_printf(v->arena, "`%s` a second time", what));
        } else if (node->op == OP_scalar && !map_has(&scalars, node->attrs->name)) {
            return wrong_node(v, node, "the module has no such scalar");
        } else if (node->op == OP_input) {
            const Node *same = map_set(&inputs, node->attrs->name, node);
            if (same && (same->type.dtype != node->type.dtype ||
                         !type_same_shape(&same->type, &node->type)))
                return wrong_node(v, node, "two inputs of this name and different types");
        }
    }
    return true;
}

// ---- kernels
// --------------------------------------------------------------------------------------

typedef struct Times {  // by node id
    uint32_t *stored;   // 1 + the kernel that stores it; 0: none
    uint32_t *last_use; // 1 + the last kernel that has a user of it
    uint32_t *member;   // 1 + the last kernel seen that holds it
} Times;

static bool in_graph(const Verify *v, const Node *node) {
    return node && node->id < v->graph->nodes.count && v->graph->nodes.at[node->id] == node;
}

static bool check_kernel(Verify *v, const Kernel *kernel, Times *times) {
    uint32_t now = kernel->id + 1;
    for (uint32_t i = 0; i < kernel->node_count; i++) {
        const Node *node = kernel->node[i];
        if (!in_graph(v, node))
            return wrong(v, "kernel %u holds a node that is not in the graph", kernel->id);
        if (i && node->id <= kernel->node[i - 1]->id)
            return wrong(v, "kernel %u: %%%u is out of order", kernel->id, node->id);
        times->member[node->id] = now;
        for (uint32_t k = 0; k < node->arity; k++) {
            const Node *use = node->operand[k];
            times->last_use[use->id] = now;
            if (times->member[use->id] != now && !times->stored[use->id] && !op_has(use->op, LEAF))
                return wrong(v, "kernel %u: %%%u needs %%%u, which no earlier kernel stores",
                             kernel->id, node->id, use->id);
        }
    }
    for (uint32_t i = 0; i < kernel->stored_count; i++) {
        const Node *node = kernel->stored[i];
        if (!in_graph(v, node) || times->member[node->id] != now)
            return wrong(v, "kernel %u stores a node that it does not hold", kernel->id);
        if (times->stored[node->id])
            return wrong(v, "%%%u is stored twice", node->id);
        times->stored[node->id] = now;
        if (!times->last_use[node->id])
            times->last_use[node->id] = now;
    }
    return true;
}

static bool check_kernels(Verify *v, Times *times) {
    for (size_t i = 0; i < v->graph->kernels.count; i++) {
        const Kernel *kernel = v->graph->kernels.at[i];
        if (kernel->id != i)
            return wrong(v, "kernel %zu has the id %u", i, kernel->id);
        if (!kernel->node_count)
            return wrong(v, "kernel %zu is empty", i);
        if (!check_kernel(v, kernel, times))
            return false;
    }
    uint32_t end = (uint32_t)v->graph->kernels.count + 1;
    for (size_t i = 0; end > 1 && i < v->graph->nodes.count; i++) {
        const Node *node = v->graph->nodes.at[i];
        if (!op_has(node->op, EFFECT) || times->member[i])
            continue;
        const Node *value = node->operand[0];
        if (!times->stored[value->id] && !op_has(value->op, LEAF))
            return wrong_node(v, node, "no kernel stores its value");
        times->last_use[value->id] = end;
    }
    return true;
}

// ---- buffers
// --------------------------------------------------------------------------------------

static bool check_buffer(Verify *v, const Node *node, const Buffer *buffer) {
    int64_t size = type_count(&node->type) * (int64_t)dtype_size_bytes(node->type.dtype);
    if (buffer->space == SPACE_NONE)
        return true;
    if (buffer->offset_bytes < 0 || buffer->offset_bytes % 64)
        return wrong_node(v, node, "its buffer is not aligned to 64 bytes");
    if (buffer->size_bytes < size)
        return wrong_node(v, node, "its buffer is too small");
    if (buffer->space == SPACE_STORAGE && buffer->index >= v->module->storages.count)
        return wrong_node(v, node, "its buffer is in no storage");
    if (buffer->space == SPACE_SCALAR && buffer->index >= v->module->scalars.count)
        return wrong_node(v, node, "its buffer is no scalar");
    int64_t room = buffer->space == SPACE_STEP    ? v->graph->step_bytes
                   : buffer->space == SPACE_PHASE ? v->module->phase_bytes
                                                  : INT64_MAX;
    if (buffer->size_bytes > room || buffer->offset_bytes > room - buffer->size_bytes)
        return wrong_node(v, node, "its buffer reaches beyond its arena");
    return true;
}

static bool overlap(const Buffer *a, const Buffer *b) {
    return a->offset_bytes < b->offset_bytes + b->size_bytes &&
           b->offset_bytes < a->offset_bytes + a->size_bytes;
}

// Two values of the step's arena may share bytes if the second is stored after the last use of the
// first, or by the very kernel of that use from the same address on (in place).
static bool check_pair(Verify *v, uint32_t a, uint32_t b, const Times *times) {
    const Buffer *first = &v->graph->buffer[a], *second = &v->graph->buffer[b];
    if (times->stored[a] > times->stored[b])
        return check_pair(v, b, a, times);
    if (!overlap(first, second) || times->last_use[a] < times->stored[b])
        return true;
    if (times->last_use[a] == times->stored[b] && times->stored[a] < times->stored[b] &&
        first->offset_bytes == second->offset_bytes)
        return true;
    return wrong(v, "%%%u and %%%u share memory while both live", a, b);
}

static bool check_buffers(Verify *v, const Times *times) {
    size_t count = v->graph->nodes.count;
    uint32_t *step = arena_array(v->arena, uint32_t, count);
    size_t step_count = 0;
    if (!v->graph->buffer)
        return true;
    for (uint32_t i = 0; i < count; i++) {
        if (!check_buffer(v, v->graph->nodes.at[i], &v->graph->buffer[i]))
            return false;
        if (v->graph->buffer[i].space == SPACE_STEP && times->stored[i])
            step[step_count++] = i;
    }
    for (size_t i = 0; i < step_count; i++) {
        for (size_t k = 0; k < i; k++) {
            if (!check_pair(v, step[k], step[i], times))
                return false;
        }
    }
    return true;
}

// ---- front doors
// ----------------------------------------------------------------------------------

static bool check_graph(Verify *v) {
    size_t count = v->graph->nodes.count;
    if (v->graph->module != v->module)
        return wrong(v, "belongs to another module");
    for (size_t i = 0; i < count; i++) {
        if (!check_node(v, i))
            return false;
    }
    Times times = {arena_array(v->arena, uint32_t, count), arena_array(v->arena, uint32_t, count),
                   arena_array(v->arena, uint32_t, count)};
    return check_names(v) && check_kernels(v, &times) && check_buffers(v, &times);
}

static bool check_storages(Verify *v) {
    Map names;
    map_init(&names, v->arena);
    for (size_t i = 0; i < v->module->storages.count; i++) {
        Storage *storage = v->module->storages.at[i];
        if (storage->id != i)
            return wrong(v, "storage %zu has the id %u", i, storage->id);
        if (map_set(&names, storage->name, storage))
            return wrong(v, "two storages `%s`", storage->name);
        if (!check_layout(v, &storage->type))
            return false;
    }
    return true;
}

const char *graph_verify(const Graph *graph, Arena *arena) {
    Verify v = {arena, graph->module, graph, NULL};
    return check_graph(&v) ? NULL : v.message;
}

const char *module_verify(const Module *module, Arena *arena) {
    Verify v = {arena, module, NULL, NULL};
    Map names;
    map_init(&names, arena);
    if (!check_storages(&v))
        return v.message;
    for (size_t i = 0; i < module->graphs.count; i++) {
        Graph *graph = module->graphs.at[i];
        v.graph = graph;
        if (map_set(&names, graph->name, graph))
            wrong(&v, "a second graph of this name");
        else if (check_graph(&v))
            continue;
        return v.message;
    }
    return NULL;
}
