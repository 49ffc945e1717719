// tests/random/gen_cases.c -- what the parts of the generator share; see gen.h.
#include <math.h>
#include <string.h>

#include "tests/random/gen.h"

uint64_t gen_bits(Gen *g) {
    g->state ^= g->state << 13;
    g->state ^= g->state >> 7;
    g->state ^= g->state << 17;
    return g->state * UINT64_C(0x2545F4914F6CDD1D) >> 20;
}

int64_t gen_below(Gen *g, int64_t n) {
    return (int64_t)(gen_bits(g) % (uint64_t)n);
}

bool gen_chance(Gen *g, int percent) {
    return gen_below(g, 100) < percent;
}

int64_t gen_pick(Gen *g, const int64_t *of, size_t count) {
    return of[gen_below(g, (int64_t)count)];
}

bool gen_is_off(const Gen *g, Op op) {
    return g->off[op / 64] >> (op % 64) & 1;
}

Type gen_type(DType dtype, int rank, const int64_t *dim) {
    Type type = {.dtype = dtype, .rank = (uint8_t)rank};
    for (int i = 0; i < rank; i++)
        type.dim[i] = dim[i];
    return type;
}

Node *gen_node(Gen *g, Op op, Node *const *operand, uint32_t arity, Attrs attrs) {
    return graph_append(g->graph, op, operand, arity, &attrs, NULL);
}

Node *gen_number(Gen *g, double value) {
    return ir_const(g->graph, value, g->real);
}

Node *gen_scaled(Gen *g, Node *x, double factor) {
    return ir_binary(g->graph, OP_mul, x, gen_number(g, factor));
}

Node *gen_op(Gen *g, Op op, Node *a, Node *b) {
    return ir_binary(g->graph, op, a, b);
}

Node *gen_reduce_all(Gen *g, Op op, Node *x) {
    static const int64_t all[MAX_RANK] = {0, 1, 2, 3, 4, 5, 6, 7};
    return ir_reduce(g->graph, op, x, all, x->type.rank, false);
}

Node *gen_mean(Gen *g, Node *x) {
    return gen_scaled(g, gen_reduce_all(g, OP_sum, x), 1.0 / (double)type_count(&x->type));
}

Node *gen_input(Gen *g, DType dtype, int rank, const int64_t *dim, bool positive) {
    Type type = gen_type(dtype, rank, dim);
    const char *name = arena_printf(g->module->arena, "%s.%s%d", g->graph->name,
                                    positive ? "positive" : "x", g->name_count++);
    return ir_input(g->graph, name, &type);
}

Storage *gen_storage(Gen *g, StorageKind kind, const char *name, int rank, const int64_t *dim) {
    Type type = gen_type(g->real, rank, dim);
    for (size_t i = 0; i < g->module->storages.count; i++) {
        if (strcmp(g->module->storages.at[i]->name, name) == 0)
            return g->module->storages.at[i];
    }
    return module_add_storage(g->module, kind, name, &type);
}

Node *gen_read(Gen *g, const Storage *storage) {
    while (g->read.count <= storage->id)
        vec_push(g->module->arena, &g->read, NULL);
    if (!g->read.at[storage->id])
        g->read.at[storage->id] = ir_read(g->graph, storage);
    return g->read.at[storage->id];
}

Node *gen_live(Gen *g, Node *node, double most) {
    if (node->type.dtype == g->real && most > 6) {
        node = gen_chance(g, 40) ? ir_unary(g->graph, OP_tanh, gen_scaled(g, node, 2 / most))
                                 : gen_scaled(g, node, exp2(1 - ceil(log2(most))));
        most = 2;
    }
    vec_push(g->module->arena, &g->pool, (Live){node, most});
    return node;
}

void gen_begin_graph(Gen *g, const char *name, GraphRole role, int32_t phase) {
    g->graph = module_add_graph(g->module, name, role, phase);
    g->pool.count = 0;
    g->read.count = 0;
    g->name_count = 0;
}
