/// What the files of the generator of random networks share; see network_cases.h.
#ifndef KDC_TESTS_RANDOM_GEN_H
#define KDC_TESTS_RANDOM_GEN_H

#include "ir/ir.h"

enum {
    ELEMENTS_MAX = 4096, // of a tensor of the soup
    FLOPS_MAX = 3000000, // of one convolution or einsum
};

/// A live tensor. No element is larger than `most` in magnitude, by a rough guess.
typedef struct Live {
    Node *node;
    double most;
} Live;

typedef struct Gen {
    Module *module;
    Graph *graph;
    DType real;
    uint64_t state;
    uint64_t off[2];  // ops that this network does without
    Vec(Live) pool;   // of the graph at hand
    Vec(Node *) read; // of the graph at hand, by storage
    int name_count;   // of inputs
} Gen;

uint64_t gen_bits(Gen *g);
int64_t gen_below(Gen *g, int64_t n);
bool gen_chance(Gen *g, int percent);
int64_t gen_pick(Gen *g, const int64_t *of, size_t count);
#define GEN_PICK(g, ...)                                                                           \
    gen_pick((g), (const int64_t[]){__VA_ARGS__},                                                  \
             sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t))
bool gen_is_off(const Gen *g, Op op);

Type gen_type(DType dtype, int rank, const int64_t *dim);
Node *gen_node(Gen *g, Op op, Node *const *operand, uint32_t arity, Attrs attrs);
Node *gen_number(Gen *g, double value); // of the real type
Node *gen_scaled(Gen *g, Node *x, double factor);
Node *gen_op(Gen *g, Op op, Node *a, Node *b);
Node *gen_mean(Gen *g, Node *x); // of all elements
Node *gen_reduce_all(Gen *g, Op op, Node *x);
/// A fresh input of the graph; `positive` as against.h draws it.
Node *gen_input(Gen *g, DType dtype, int rank, const int64_t *dim, bool positive);
/// The one read node of a storage, made with its first use.
Node *gen_read(Gen *g, const Storage *storage);
Storage *gen_storage(Gen *g, StorageKind kind, const char *name, int rank, const int64_t *dim);
/// Adds a tensor to the pool, scaled down if it may be large.
Node *gen_live(Gen *g, Node *node, double most);
void gen_begin_graph(Gen *g, const char *name, GraphRole role, int32_t phase);

/// `count` random ops on what is in the pool (soup.c).
void gen_soup(Gen *g, int count);
/// Outputs of what nothing uses, and gradients of its sum.
void gen_finish_soup(Gen *g, bool gradients);

#endif
