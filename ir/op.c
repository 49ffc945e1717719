// ir/op.c -- what is expanded from the tables ops.def and attrs.def.
#include <string.h>

#include "ir/ir.h"

const OpInfo op_info[OP_COUNT] = {
#define OP(name, arity, traits, shape, gradient, lowering, attrs, surface, summary)                \
    [OP_##name] = {#name, arity, traits, attrs, surface, summary},
#include "ir/ops.def"
#undef OP
};

const AttrInfo attr_info[ATTR_COUNT] = {
#define ATTR(name, kind, summary)                                                                  \
    [ATTR_##name] = {#name, KIND_##kind, offsetof(Attrs, name), summary},
#include "ir/attrs.def"
#undef ATTR
};

bool op_has(Op op, unsigned traits) {
    return (op_info[op].traits & traits) == traits;
}

bool op_from_name(const char *name, Op *op) {
    for (int i = 0; i < OP_COUNT; i++) {
        if (strcmp(name, op_info[i].name) == 0) {
            *op = (Op)i;
            return true;
        }
    }
    return false;
}

Ints ints_copy(Arena *arena, const int64_t *at, size_t count) {
    if (!count)
        return (Ints){0};
    int64_t *copy = arena_array(arena, int64_t, count);
    memcpy(copy, at, count * sizeof *at);
    return (Ints){(uint32_t)count, copy};
}

// ---- equality
// -------------------------------------------------------------------------------------

static bool equal_Int(AttrInt a, AttrInt b) {
    return a == b;
}

static bool equal_Count(AttrCount a, AttrCount b) {
    return a == b;
}

static bool equal_Ints(AttrInts a, AttrInts b) {
    return a.count == b.count && (!a.count || memcmp(a.at, b.at, a.count * sizeof *a.at) == 0);
}

static uint64_t bits_of(double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static bool equal_Real(AttrReal a, AttrReal b) {
    return bits_of(a) == bits_of(b); // 0 and -0 differ, a NaN is itself
}

static bool equal_Text(AttrText a, AttrText b) {
    return a == b || (a && b && strcmp(a, b) == 0);
}

static bool equal_Flag(AttrFlag a, AttrFlag b) {
    return a == b;
}

static bool equal_Dtype(AttrDtype a, AttrDtype b) {
    return a == b;
}

bool attrs_equal(Op op, const Attrs *a, const Attrs *b) {
    unsigned carried = op_info[op].attrs;
#define ATTR(name, kind, summary)                                                                  \
    if ((carried & HAS_##name) && !equal_##kind(a->name, b->name))                                 \
        return false;
#include "ir/attrs.def"
#undef ATTR
    return true;
}

// ---- hash
// -----------------------------------------------------------------------------------------

static uint64_t hash_Int(uint64_t hash, AttrInt value) {
    return hash_mix(hash, (uint64_t)value);
}

static uint64_t hash_Count(uint64_t hash, AttrCount value) {
    return hash_mix(hash, (uint64_t)value);
}

static uint64_t hash_Ints(uint64_t hash, AttrInts value) {
    hash = hash_mix(hash, value.count);
    for (uint32_t i = 0; i < value.count; i++)
        hash = hash_mix(hash, (uint64_t)value.at[i]);
    return hash;
}

static uint64_t hash_Real(uint64_t hash, AttrReal value) {
    return hash_mix(hash, bits_of(value));
}

static uint64_t hash_Text(uint64_t hash, AttrText value) {
    return value ? hash_bytes(value, strlen(value), hash) : hash_mix(hash, 0);
}

static uint64_t hash_Flag(uint64_t hash, AttrFlag value) {
    return hash_mix(hash, value);
}

static uint64_t hash_Dtype(uint64_t hash, AttrDtype value) {
    return hash_mix(hash, value);
}

uint64_t attrs_hash(Op op, const Attrs *attrs) {
    unsigned carried = op_info[op].attrs;
    uint64_t hash = 0;
#define ATTR(name, kind, summary)                                                                  \
    if (carried & HAS_##name)                                                                      \
        hash = hash_##kind(hash, attrs->name);
#include "ir/attrs.def"
#undef ATTR
    return hash;
}

// ---- copies
// ---------------------------------------------------------------------------------------

static AttrInt copy_Int(Arena *arena, AttrInt value) {
    (void)arena;
    return value;
}

static AttrCount copy_Count(Arena *arena, AttrCount value) {
    (void)arena;
    return value;
}

static AttrInts copy_Ints(Arena *arena, AttrInts value) {
    return ints_copy(arena, value.at, value.count);
}

static AttrReal copy_Real(Arena *arena, AttrReal value) {
    (void)arena;
    return value;
}

static AttrText copy_Text(Arena *arena, AttrText value) {
    return value ? arena_strdup(arena, value) : NULL;
}

static AttrFlag copy_Flag(Arena *arena, AttrFlag value) {
    (void)arena;
    return value;
}

static AttrDtype copy_Dtype(Arena *arena, AttrDtype value) {
    (void)arena;
    return value;
}

Attrs *attrs_copy(Arena *arena, Op op, const Attrs *attrs) {
    unsigned carried = op_info[op].attrs;
    Attrs *copy = arena_new(arena, Attrs);
    if (!attrs)
        return copy;
#define ATTR(name, kind, summary)                                                                  \
    if (carried & HAS_##name)                                                                      \
        copy->name = copy_##kind(arena, attrs->name);
#include "ir/attrs.def"
#undef ATTR
    return copy;
}
