// ir/eval.c -- the reference interpreter: runs a graph node by node, keeping every value.
//
// Values of all nodes of the last run stay until the next, in a pool that is used again, so that
// thousands of runs (central differences) need the memory of one.
#include "ir/eval.h"

#include <float.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "ir/eval_ops.h"
#include "support/diag.h"

struct EvalState {
    Arena *arena;
    const Module *module;
    const Precision *precision;
    EvalPrecision which;
    Tensor *storage;     // by id
    Map inputs, scalars; // name to Tensor
    Map reports;         // of the last run: name to Tensor
    uint64_t seed, iteration;
    Pool pool;
    const Graph *graph; // run last
    Tensor *value;      // by node id
    bool bounds;
};

// ---- memory
// ---------------------------------------------------------------------------------------

struct PoolChunk {
    PoolChunk *next;
    int64_t size_log2;
};

void *pool_alloc(Pool *pool, int64_t count, size_t element_bytes) {
    int k = 4;
    while (k < 47 && (INT64_C(1) << k) / (int64_t)element_bytes < count)
        k++;
    PoolChunk *chunk = pool->idle[k];
    if (chunk)
        pool->idle[k] = chunk->next;
    else
        chunk = arena_alloc(pool->arena, sizeof *chunk + ((size_t)1 << k));
    chunk->size_log2 = k;
    chunk->next = pool->busy;
    pool->busy = chunk;
    return chunk + 1;
}

void pool_reset(Pool *pool) {
    while (pool->busy) {
        PoolChunk *chunk = pool->busy;
        pool->busy = chunk->next;
        chunk->next = pool->idle[chunk->size_log2];
        pool->idle[chunk->size_log2] = chunk;
    }
}

static size_t element_bytes(const EvalState *state, DType dtype) {
    return dtype_is_float(dtype) ? state->precision->real_bytes : sizeof(int64_t);
}

// ---- values in and out
// ----------------------------------------------------------------------------

static Tensor *tensor_new(EvalState *state, const Type *type) {
    Tensor *tensor = arena_new(state->arena, Tensor);
    size_t count = (size_t)type_count(type);
    tensor->type = *type;
    tensor->data = arena_alloc_array(state->arena, count, element_bytes(state, type->dtype));
    return tensor;
}

static void set_double(EvalState *state, Tensor *tensor, const double *value) {
    int64_t count = type_count(&tensor->type);
    tensor->bound = NULL;
    if (dtype_is_float(tensor->type.dtype)) {
        state->precision->from_double(tensor->data, value, count);
        return;
    }
    for (int64_t i = 0; i < count; i++)
        ((int64_t *)tensor->data)[i] = (int64_t)value[i];
}

static void set_quad(EvalState *state, Tensor *tensor, const __float128 *value) {
    int64_t count = type_count(&tensor->type);
    tensor->bound = NULL;
    if (dtype_is_float(tensor->type.dtype)) {
        state->precision->from_quad(tensor->data, value, count);
        return;
    }
    for (int64_t i = 0; i < count; i++)
        ((int64_t *)tensor->data)[i] = (int64_t)value[i];
}

static const double *get_double(EvalState *state, const Tensor *tensor) {
    int64_t count = type_count(&tensor->type);
    double *value = pool_alloc(&state->pool, count, sizeof *value);
    if (dtype_is_float(tensor->type.dtype)) {
        state->precision->to_double(value, tensor->data, count);
        return value;
    }
    for (int64_t i = 0; i < count; i++)
        value[i] = (double)((int64_t *)tensor->data)[i];
    return value;
}

static const __float128 *get_quad(EvalState *state, const Tensor *tensor) {
    int64_t count = type_count(&tensor->type);
    __float128 *value = pool_alloc(&state->pool, count, sizeof *value);
    if (dtype_is_float(tensor->type.dtype)) {
        state->precision->to_quad(value, tensor->data, count);
        return value;
    }
    for (int64_t i = 0; i < count; i++)
        value[i] = (__float128)((int64_t *)tensor->data)[i];
    return value;
}

static const double *get_bound(EvalState *state, const Tensor *tensor) {
    if (tensor->bound)
        return tensor->bound;
    int64_t count = type_count(&tensor->type);
    double *zero = pool_alloc(&state->pool, count, sizeof *zero);
    memset(zero, 0, (size_t)count * sizeof *zero);
    return zero;
}

EvalState *eval_new(Arena *arena, const Module *module, EvalPrecision precision) {
    static const Precision *const precisions[] = {&precision_float, &precision_double,
                                                  &precision_quad};
    EvalState *state = arena_new(arena, EvalState);
    state->arena = state->pool.arena = arena;
    state->module = module;
    state->precision = precisions[precision];
    state->which = precision;
    map_init(&state->inputs, arena);
    map_init(&state->scalars, arena);
    map_init(&state->reports, arena);
    state->storage = arena_array(arena, Tensor, module->storages.count);
    for (size_t i = 0; i < module->storages.count; i++)
        state->storage[i] = *tensor_new(state, &module->storages.at[i]->type);
    return state;
}

void eval_set_storage(EvalState *state, uint32_t storage, const double *value) {
    set_double(state, &state->storage[storage], value);
}

void eval_set_storage_q(EvalState *state, uint32_t storage, const __float128 *value) {
    set_quad(state, &state->storage[storage], value);
}

const double *eval_get_storage(EvalState *state, uint32_t storage) {
    return get_double(state, &state->storage[storage]);
}

const __float128 *eval_get_storage_q(EvalState *state, uint32_t storage) {
    return get_quad(state, &state->storage[storage]);
}

const double *eval_get_storage_bound(EvalState *state, uint32_t storage) {
    return get_bound(state, &state->storage[storage]);
}

// The tensor that holds input `name`; a new one if its type was another.
static Tensor *input_of(EvalState *state, const char *name, const Type *type) {
    Tensor *tensor = map_get(&state->inputs, name);
    if (!tensor || !type_equal(&tensor->type, type)) {
        tensor = tensor_new(state, type);
        map_set(&state->inputs, name, tensor);
    }
    return tensor;
}

// The type that all graphs of the module give to an input.
static const Type *input_type(const EvalState *state, const char *name) {
    const Type *type = NULL;
    for (size_t g = 0; g < state->module->graphs.count; g++) {
        const Graph *graph = state->module->graphs.at[g];
        for (size_t i = 0; i < graph->nodes.count; i++) {
            const Node *node = graph->nodes.at[i];
            if (node->op != OP_input || strcmp(node->attrs->name, name) != 0)
                continue;
            if (type && !type_same_shape(type, &node->type))
                kdc_bug("graphs disagree about input `%s`; use eval_set_input_as()", name);
            type = &node->type;
        }
    }
    return type;
}

void eval_set_input_as(EvalState *state, const char *name, const Type *type, const double *value) {
    set_double(state, input_of(state, name, type), value);
}

void eval_set_input(EvalState *state, const char *name, const double *value) {
    const Type *type = input_type(state, name);
    if (type)
        eval_set_input_as(state, name, type, value);
}

void eval_set_input_q(EvalState *state, const char *name, const __float128 *value) {
    const Type *type = input_type(state, name);
    if (type)
        set_quad(state, input_of(state, name, type), value);
}

// Scalars are kept as doubles: their dtype is known only where they are used.
void eval_set_scalar(EvalState *state, const char *name, double value) {
    double *kept = map_get(&state->scalars, name);
    if (!kept)
        map_set(&state->scalars, name, kept = arena_new(state->arena, double));
    *kept = value;
}

void eval_set_random(EvalState *state, uint64_t seed, uint64_t iteration) {
    state->seed = seed;
    state->iteration = iteration;
}

void eval_track_bounds(EvalState *state, bool on) {
    state->bounds = on && state->which != EVAL_F128;
}

const double *eval_get_output(EvalState *state, const char *name, Type *type) {
    const Tensor *tensor = map_get(&state->reports, name);
    if (tensor && type)
        *type = tensor->type;
    return tensor ? get_double(state, tensor) : NULL;
}

const __float128 *eval_get_output_q(EvalState *state, const char *name, Type *type) {
    const Tensor *tensor = map_get(&state->reports, name);
    if (tensor && type)
        *type = tensor->type;
    return tensor ? get_quad(state, tensor) : NULL;
}

const double *eval_get_bound(EvalState *state, const char *name) {
    const Tensor *tensor = map_get(&state->reports, name);
    return tensor ? get_bound(state, tensor) : NULL;
}

const double *eval_get_node(EvalState *state, const Node *node) {
    kdc_assert(state->graph && node->id < state->graph->nodes.count &&
               state->graph->nodes.at[node->id] == node);
    return get_double(state, &state->value[node->id]);
}

// ---- running
// --------------------------------------------------------------------------------------

// The value of an input, scalar or storage that `node` reads; NULL for other nodes.
static const Tensor *given_value(EvalState *state, const Node *node) {
    if (!op_has(node->op, LEAF))
        return NULL;
    if (op_info[node->op].attrs & HAS_storage)
        return &state->storage[node->attrs->storage];
    if (!(op_info[node->op].attrs & HAS_name))
        return NULL;
    const char *name = node->attrs->name;
    if (node->op == OP_scalar) {
        const double *value = map_get(&state->scalars, name);
        if (!value)
            kdc_bug("scalar `%s` of graph `%s` was not set", name, state->graph->name);
        Tensor *tensor = pool_alloc(&state->pool, 1, sizeof *tensor);
        tensor->type = node->type;
        tensor->data = pool_alloc(&state->pool, 1, element_bytes(state, node->type.dtype));
        set_double(state, tensor, value);
        return tensor;
    }
    const Tensor *tensor = map_get(&state->inputs, name);
    if (!tensor)
        kdc_bug("input `%s` of graph `%s` was not set", name, state->graph->name);
    if (tensor->type.dtype != node->type.dtype || !type_same_shape(&tensor->type, &node->type))
        kdc_bug("input `%s` of graph `%s` was set with another type", name, state->graph->name);
    return tensor;
}

static void run_node(EvalState *state, const Node *node) {
    Tensor *y = &state->value[node->id];
    const Tensor **x = pool_alloc(&state->pool, node->arity, sizeof *x);
    y->type = node->type;
    y->data = pool_alloc(&state->pool, type_count(&y->type), element_bytes(state, y->type.dtype));
    y->bound = NULL;
    for (uint32_t k = 0; k < node->arity; k++)
        x[k] = &state->value[node->operand[k]->id];
    EvalCall call = {node->op,    node->attrs,     x, node->arity, y, given_value(state, node),
                     state->seed, state->iteration, &state->pool, false};
    state->precision->rules[node->op](&call);
    if (state->bounds && state->which == EVAL_F32)
        eval_bound(&call, state->precision, FLT_EPSILON / 2, FLT_MIN, &state->pool);
    else if (state->bounds)
        eval_bound(&call, state->precision, DBL_EPSILON / 2, DBL_MIN, &state->pool);
}

static void finish_node(EvalState *state, const Node *node) {
    Tensor *y = &state->value[node->id];
    unsigned carried = op_info[node->op].attrs;
    if (!op_has(node->op, EFFECT))
        return;
    if (carried & HAS_name) {
        map_set(&state->reports, node->attrs->name, y);
        return;
    }
    Tensor *storage = &state->storage[node->attrs->storage];
    int64_t count = type_count(&y->type);
    memcpy(storage->data, y->data, (size_t)count * element_bytes(state, y->type.dtype));
    if (y->bound) {
        if (!storage->bound)
            storage->bound = arena_array(state->arena, double, (size_t)count);
        memcpy(storage->bound, y->bound, (size_t)count * sizeof *y->bound);
    }
}

void eval_run(EvalState *state, const Graph *graph) {
    size_t count = graph->nodes.count;
    pool_reset(&state->pool);
    for (size_t i = 0; i < state->reports.count; i++)
        state->reports.entry[i].value = NULL;
    state->graph = graph;
    state->value = pool_alloc(&state->pool, (int64_t)count, sizeof *state->value);
    for (size_t i = 0; i < count; i++)
        run_node(state, graph->nodes.at[i]);
    for (size_t i = 0; i < count; i++) // writes show only now
        finish_node(state, graph->nodes.at[i]);
}
