/// Values: what one launch writes into one argument, until another writes any of its bytes.
///
/// Found by looking at bytes, anew whenever launches have changed.
#ifndef KDC_CODEGEN_CHAIN_VALUES_H
#define KDC_CODEGEN_CHAIN_VALUES_H

#include "codegen/chain.h"

#define NO_CHAIN SIZE_MAX

typedef struct Use {
    size_t launch;
    uint32_t argument;
} Use;

typedef struct Value {
    size_t launch;
    uint32_t argument;
    bool is_simple; // what reads it reads all of it, and it was not there in part before
    bool is_again;  // made again in each chain
    bool is_pinned; // read by one that is
    bool is_kept;   // stored to memory too, for those that are not in its chain
    Vec(Use) uses;  // in order
} Value;

typedef Vec(uint32_t) Indices;

typedef struct Values {
    const LoopProgram *program;
    const LoopGraph *graph;
    const Launch *at; // its launches
    size_t count;
    size_t *chain;  // by launch: the first of its chain, or NO_CHAIN
    Indices *reads; // by launch: values
    Arena *scratch;
    Vec(Value) all;
} Values;

Values values_find(Arena *scratch, const LoopProgram *program, const LoopGraph *graph);
const Buffer *value_bytes(const Values *v, const Value *value);
/// Whether the argument falls into parts of whole lines of the cache.
bool value_falls(const Launch *launch, uint32_t argument, int64_t parts);
/// Whether the value is made in a chain and read there, part by part, by all that read it; of one
/// that is kept by all that are in the chain.
bool value_stays_in_chain(const Values *v, const Value *value);
/// Whether its launch reads the bytes that it writes.
bool value_is_in_place(const Values *v, const Value *value);

#endif
