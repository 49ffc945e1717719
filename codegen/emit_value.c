// codegen/emit_value.c -- expressions to LLVM values.
//
// An expression over uniform values gives an LLVM scalar, also inside a vector loop; one that meets
// a value per lane is widened there. Nothing is reordered or contracted: the bits are those of the
// operations as written. Loads sit under the mask of the lanes that want them.
#include "codegen/emit.h"

#include <stdio.h>
#include <string.h>

#include "support/diag.h"

// ---- types and small things
// --------------------------------------------------------------------------

LLVMTypeRef emit_type(const Emitter *em, ScalarType type) {
    switch (type) {
    case S_BOOL:
        return LLVMInt1TypeInContext(em->context);
    case S_U8:
        return LLVMInt8TypeInContext(em->context);
    case S_I32:
        return LLVMInt32TypeInContext(em->context);
    case S_INDEX:
        return LLVMInt64TypeInContext(em->context);
    case S_F32:
        return LLVMFloatTypeInContext(em->context);
    case S_F64:
        return LLVMDoubleTypeInContext(em->context);
    }
    kdc_bug("scalar type %d", (int)type);
}

LLVMTypeRef emit_memory_type(const Emitter *em, ScalarType type) {
    return emit_type(em, type == S_BOOL ? S_U8 : type);
}

LLVMTypeRef emit_vector_type(const Emitter *em, ScalarType type) {
    return LLVMVectorType(emit_type(em, type), em->lanes);
}

static LLVMTypeRef shaped(const Emitter *em, ScalarType type, bool vector) {
    return vector ? emit_vector_type(em, type) : emit_type(em, type);
}

LLVMValueRef emit_int(const Emitter *em, int64_t value) {
    return LLVMConstInt(LLVMInt64TypeInContext(em->context), (uint64_t)value, true);
}

LLVMValueRef emit_splat(Emitter *em, LLVMValueRef scalar) {
    LLVMValueRef element[MAX_LANES];
    if (LLVMIsConstant(scalar)) {
        for (uint32_t i = 0; i < em->lanes; i++)
            element[i] = scalar;
        return LLVMConstVector(element, em->lanes);
    }
    LLVMTypeRef type = LLVMVectorType(LLVMTypeOf(scalar), em->lanes);
    LLVMTypeRef i32 = LLVMInt32TypeInContext(em->context);
    LLVMValueRef one = LLVMBuildInsertElement(em->builder, LLVMGetUndef(type), scalar,
                                              LLVMConstInt(i32, 0, false), "");
    LLVMValueRef mask = LLVMConstNull(LLVMVectorType(i32, em->lanes));
    return LLVMBuildShuffleVector(em->builder, one, LLVMGetUndef(type), mask, "");
}

LLVMValueRef emit_as_vector(Emitter *em, Value value) {
    return value.is_vector ? value.value : emit_splat(em, value.value);
}

LLVMBasicBlockRef emit_block(Emitter *em, const char *name) {
    return LLVMAppendBasicBlockInContext(em->context, em->function, name);
}

LLVMValueRef emit_any(Emitter *em, LLVMValueRef mask) {
    LLVMTypeRef bits = LLVMIntTypeInContext(em->context, em->lanes);
    LLVMValueRef word = LLVMBuildBitCast(em->builder, mask, bits, "");
    return LLVMBuildICmp(em->builder, LLVMIntNE, word, LLVMConstNull(bits), "");
}

static LLVMValueRef real_like(const Emitter *em, LLVMValueRef like, double value) {
    LLVMTypeRef type = LLVMTypeOf(like);
    if (LLVMGetTypeKind(type) != LLVMVectorTypeKind)
        return LLVMConstReal(type, value);
    LLVMValueRef element[MAX_LANES];
    for (uint32_t i = 0; i < em->lanes; i++)
        element[i] = LLVMConstReal(LLVMGetElementType(type), value);
    return LLVMConstVector(element, em->lanes);
}

static LLVMValueRef int_like(const Emitter *em, LLVMValueRef like, int64_t value) {
    LLVMTypeRef type = LLVMTypeOf(like);
    if (LLVMGetTypeKind(type) != LLVMVectorTypeKind)
        return LLVMConstInt(type, (uint64_t)value, true);
    LLVMValueRef element[MAX_LANES];
    for (uint32_t i = 0; i < em->lanes; i++)
        element[i] = LLVMConstInt(LLVMGetElementType(type), (uint64_t)value, true);
    return LLVMConstVector(element, em->lanes);
}

static LLVMValueRef intrinsic_on(Emitter *em, const char *name, LLVMValueRef *argument,
                                 unsigned count) {
    LLVMTypeRef type = LLVMTypeOf(argument[0]);
    return emit_intrinsic(em, name, &type, 1, argument, count);
}

// ---- shared subexpressions
// ---------------------------------------------------------------------------

static uint32_t *memo_bucket(Emitter *em, const LoopExpr *expr) {
    uintptr_t key = (uintptr_t)expr / sizeof(LoopExpr *);
    return &em->memo.bucket[(key ^ key >> 6 ^ key >> 12) % 64];
}

static const Value *memo_find(Emitter *em, const LoopExpr *expr) {
    for (uint32_t i = *memo_bucket(em, expr); i; i = em->memo.entries.at[i - 1].next) {
        if (em->memo.entries.at[i - 1].expr == expr)
            return &em->memo.entries.at[i - 1].value;
    }
    return NULL;
}

static void memo_add(Emitter *em, const LoopExpr *expr, Value value) {
    uint32_t *bucket = memo_bucket(em, expr);
    MemoEntry entry = {expr, value, *bucket};
    vec_push(em->arena, &em->memo.entries, entry);
    *bucket = (uint32_t)em->memo.entries.count;
}

size_t emit_memo_mark(const Emitter *em) {
    return em->memo.entries.count;
}

/// Forgets what was computed since `mark`: in a block that does not dominate what follows.
void emit_memo_cut(Emitter *em, size_t mark) {
    while (em->memo.entries.count > mark) {
        const MemoEntry *entry = &vec_last(&em->memo.entries);
        *memo_bucket(em, entry->expr) = entry->next;
        em->memo.entries.count--;
    }
}

void emit_memo_clear(Emitter *em) {
    emit_memo_cut(em, 0);
}

// ---- loads and stores
// --------------------------------------------------------------------------------

static LLVMValueRef from_memory(Emitter *em, ScalarType type, LLVMValueRef loaded) {
    if (type != S_BOOL)
        return loaded;
    return LLVMBuildICmp(em->builder, LLVMIntNE, loaded, LLVMConstNull(LLVMTypeOf(loaded)), "");
}

static LLVMValueRef align_argument(const Emitter *em, unsigned alignment) {
    return LLVMConstInt(LLVMInt32TypeInContext(em->context), alignment, false);
}

static LLVMTypeRef memory_vector(const Emitter *em, ScalarType type) {
    return LLVMVectorType(emit_memory_type(em, type), em->lanes);
}

static LLVMValueRef load_contiguous(Emitter *em, uint32_t buffer, const Sum *base) {
    ScalarType type = em->kernel->buffers.at[buffer].type;
    LLVMTypeRef vector = memory_vector(em, type);
    LLVMValueRef pointer = emit_address(em, buffer, base);
    unsigned alignment = index_alignment(em, buffer, base);
    if (!em->mask) {
        LLVMValueRef load = LLVMBuildLoad2(em->builder, vector, pointer, "");
        LLVMSetAlignment(load, alignment);
        return load;
    }
    LLVMTypeRef types[2] = {vector, LLVMTypeOf(pointer)};
    LLVMValueRef argument[4] = {pointer, align_argument(em, alignment), em->mask,
                                LLVMConstNull(vector)};
    return emit_intrinsic(em, "llvm.masked.load", types, 2, argument, 4);
}

static LLVMValueRef all_lanes(const Emitter *em) {
    return LLVMConstAllOnes(LLVMVectorType(LLVMInt1TypeInContext(em->context), em->lanes));
}

/// Addresses of the lanes: the uniform part by scalar arithmetic, the rest as a vector of offsets.
static LLVMValueRef lane_addresses(Emitter *em, uint32_t buffer, const Index *index) {
    LLVMTypeRef element = emit_memory_type(em, em->kernel->buffers.at[buffer].type);
    Index varying = {.lane = index->lane, .vec = index->vec, .vec_range = index->vec_range};
    LLVMValueRef pointer = emit_address(em, buffer, &index->base);
    LLVMValueRef offsets = emit_index_vector(em, &varying, false);
    return LLVMBuildGEP2(em->builder, element, pointer, &offsets, 1, "");
}

static LLVMValueRef load_gather(Emitter *em, uint32_t buffer, const Index *index) {
    ScalarType type = em->kernel->buffers.at[buffer].type;
    LLVMTypeRef vector = memory_vector(em, type);
    LLVMValueRef pointers = lane_addresses(em, buffer, index);
    LLVMTypeRef types[2] = {vector, LLVMTypeOf(pointers)};
    LLVMValueRef argument[4] = {pointers, align_argument(em, (unsigned)scalar_size_bytes(type)),
                                em->mask ? em->mask : all_lanes(em), LLVMConstNull(vector)};
    return emit_intrinsic(em, "llvm.masked.gather", types, 2, argument, 4);
}

/// The constant distance of each lane from the uniform part; false if it is no constant.
static bool lane_offsets(const Emitter *em, const Index *index, int64_t *offset) {
    for (uint32_t i = 0; i < em->lanes; i++) {
        offset[i] = index->lane * i;
        LLVMValueRef element = index->vec ? LLVMGetAggregateElement(index->vec, i) : NULL;
        if (index->vec && (!element || !LLVMIsAConstantInt(element)))
            return false;
        if (element)
            offset[i] += LLVMConstIntGetSExtValue(element);
    }
    return true;
}

/// Lanes that read within one aligned vector, each from a constant place in it (the channels of
/// small groups): that vector, shuffled. NULL where it is not so, or where reading all of it may
/// not be allowed.
static LLVMValueRef load_shuffled(Emitter *em, uint32_t buffer, const Index *index) {
    const LoopBuffer *from = &em->kernel->buffers.at[buffer];
    int64_t lanes = em->lanes, offset[MAX_LANES];
    unsigned bytes = (unsigned)(em->lanes * scalar_size_bytes(from->type));
    if (em->mask || em->speculative || from->count % lanes || !lane_offsets(em, index, offset))
        return NULL;
    Sum start = index->base;
    int64_t first = start.constant + offset[0];
    start.constant = int_floor_div(first, lanes) * lanes;
    if (index_alignment(em, buffer, &start) < bytes)
        return NULL;
    LLVMValueRef mask[MAX_LANES];
    for (uint32_t i = 0; i < em->lanes; i++) {
        int64_t place = index->base.constant + offset[i] - start.constant;
        if (place < 0 || place >= lanes)
            return NULL;
        LLVMTypeRef i32 = LLVMInt32TypeInContext(em->context);
        mask[i] = LLVMConstInt(i32, (uint64_t)place, false);
    }
    LLVMTypeRef vector = memory_vector(em, from->type);
    LLVMValueRef load = LLVMBuildLoad2(em->builder, vector, emit_address(em, buffer, &start), "");
    LLVMSetAlignment(load, bytes);
    return LLVMBuildShuffleVector(em->builder, load, LLVMGetUndef(vector),
                                  LLVMConstVector(mask, em->lanes), "");
}

/// Asks for the line at an address, to be in the second-level cache soon.
static void prefetch_line(Emitter *em, uint32_t buffer, const Sum *base, bool to_write) {
    enum { NEAR = 3, DATA = 1 };
    LLVMValueRef pointer = emit_address(em, buffer, base);
    LLVMTypeRef i32 = LLVMInt32TypeInContext(em->context), type = LLVMTypeOf(pointer);
    LLVMValueRef argument[4] = {pointer, LLVMConstInt(i32, to_write, false),
                                LLVMConstInt(i32, NEAR, false), LLVMConstInt(i32, DATA, false)};
    emit_intrinsic(em, "llvm.prefetch", &type, 1, argument, 4);
}

static Value emit_load(Emitter *em, const LoopExpr *expr) {
    Index index = emit_index(em, expr->operand[0]);
    ScalarType type = expr->type;
    if (em->prefetching && scalar_is_float(type)) {
        bool uniform = index_is_uniform(&index);
        if (uniform || (index.lane == 1 && !index.vec))
            prefetch_line(em, expr->index, &index.base, false);
        return (Value){LLVMConstNull(shaped(em, type, !uniform)), !uniform};
    }
    if (!index_is_uniform(&index) || em->speculative) {
        bool contiguous = index.lane == 1 && !index.vec;
        LLVMValueRef loaded = contiguous ? load_contiguous(em, expr->index, &index.base)
                                         : load_shuffled(em, expr->index, &index);
        if (!loaded)
            loaded = load_gather(em, expr->index, &index);
        return (Value){from_memory(em, type, loaded), true};
    }
    LLVMValueRef pointer = emit_address(em, expr->index, &index.base);
    LLVMValueRef load = LLVMBuildLoad2(em->builder, emit_memory_type(em, type), pointer, "");
    LLVMSetAlignment(load, (unsigned)scalar_size_bytes(type));
    return (Value){from_memory(em, type, load), false};
}

LLVMValueRef emit_load_address(Emitter *em, const LoopExpr *load) {
    Index index = emit_index(em, load->operand[0]);
    kdc_assert(index_is_uniform(&index));
    return emit_address(em, load->index, &index.base);
}

/// The store writes whole lines, and they are not read before.
static void mark_streamed(Emitter *em, LLVMValueRef store) {
    static const char name[] = "nontemporal";
    LLVMValueRef one = LLVMConstInt(LLVMInt32TypeInContext(em->context), 1, false);
    unsigned kind = LLVMGetMDKindIDInContext(em->context, name, sizeof name - 1);
    LLVMSetMetadata(store, kind, LLVMMDNodeInContext(em->context, &one, 1));
}

void emit_store(Emitter *em, uint32_t buffer, const Index *index, Value value) {
    ScalarType type = em->kernel->buffers.at[buffer].type;
    bool uniform = index_is_uniform(index), contiguous = index->lane == 1 && !index->vec;
    if (em->prefetching) {
        if (uniform || contiguous)
            prefetch_line(em, buffer, &index->base, true);
        return;
    }
    if (uniform) {
        if (value.is_vector)
            kdc_bug("kernel %s: the lanes of a vector loop store to one element of %s",
                    em->kernel->name, em->kernel->buffers.at[buffer].name);
        LLVMValueRef stored = value.value;
        if (type == S_BOOL)
            stored = LLVMBuildZExt(em->builder, stored, emit_memory_type(em, type), "");
        LLVMValueRef store =
            LLVMBuildStore(em->builder, stored, emit_address(em, buffer, &index->base));
        LLVMSetAlignment(store, (unsigned)scalar_size_bytes(type));
        return;
    }
    LLVMValueRef stored = emit_as_vector(em, value);
    if (type == S_BOOL)
        stored = LLVMBuildZExt(em->builder, stored, memory_vector(em, type), "");
    unsigned alignment =
        contiguous ? index_alignment(em, buffer, &index->base) : (unsigned)scalar_size_bytes(type);
    LLVMValueRef pointer =
        contiguous ? emit_address(em, buffer, &index->base) : lane_addresses(em, buffer, index);
    if (contiguous && !em->mask) {
        LLVMValueRef store = LLVMBuildStore(em->builder, stored, pointer);
        LLVMSetAlignment(store, alignment);
        if (em->kernel->buffers.at[buffer].streamed && alignment % CACHE_LINE == 0)
            mark_streamed(em, store);
        return;
    }
    LLVMTypeRef types[2] = {LLVMTypeOf(stored), LLVMTypeOf(pointer)};
    LLVMValueRef argument[4] = {stored, pointer, align_argument(em, alignment),
                                em->mask ? em->mask : all_lanes(em)};
    emit_intrinsic(em, contiguous ? "llvm.masked.store" : "llvm.masked.scatter", types, 2, argument,
                   4);
}

// ---- locals
// --------------------------------------------------------------------------------------------

LLVMTypeRef emit_local_type(const Emitter *em, uint32_t local, bool partial) {
    return shaped(em, em->kernel->locals.at[local].type, partial || em->local[local].is_vector);
}

LLVMValueRef emit_local_pointer(Emitter *em, uint32_t local, bool partial,
                                LoopExpr *const *subscript, bool *is_constant, int64_t *flat) {
    const LoopLocal *shape = &em->kernel->locals.at[local];
    const LocalState *state = &em->local[local];
    Index index = index_constant(0), zero = index_constant(0);
    for (uint32_t i = 0; i < shape->rank; i++) {
        Index at = emit_index(em, subscript[i]);
        index = index_add(em, &zero, &index, shape->dim[i]);
        index = index_add(em, &index, &at, 1);
    }
    if (!index_is_uniform(&index))
        kdc_bug("kernel %s: a subscript of the local %s varies over lanes", em->kernel->name,
                shape->name);
    *is_constant = index_is_constant(&index, flat);
    if (*is_constant && (*flat < 0 || *flat >= loop_local_count(shape)))
        kdc_bug("kernel %s: a subscript of the local %s is out of range", em->kernel->name,
                shape->name);
    LLVMValueRef slot = partial ? state->partial : state->slot;
    if (!slot)
        kdc_bug("kernel %s: the local %s is used before its declaration", em->kernel->name,
                shape->name);
    LLVMValueRef at = emit_index_scalar(em, &index);
    return LLVMBuildGEP2(em->builder, emit_local_type(em, local, partial), slot, &at, 1, "");
}

static Value emit_local(Emitter *em, const LoopExpr *expr) {
    bool constant;
    int64_t flat;
    if (em->local[expr->index].partial)
        kdc_bug("kernel %s: the local %s is read in the vector loop that accumulates into it",
                em->kernel->name, em->kernel->locals.at[expr->index].name);
    LLVMValueRef pointer =
        emit_local_pointer(em, expr->index, false, expr->operand, &constant, &flat);
    LLVMTypeRef type = emit_local_type(em, expr->index, false);
    return (Value){LLVMBuildLoad2(em->builder, type, pointer, ""),
                   em->local[expr->index].is_vector};
}

// ---- scalar ops
// ------------------------------------------------------------------------------------------

static bool is_known_number(LLVMValueRef value) {
    return LLVMIsConstant(value) && !LLVMIsUndef(value);
}

/// max and min: the first operand on ties and where it is a NaN; a second operand that is a NaN
/// wins too. The inner select alone is one machine instruction.
static LLVMValueRef build_max_min(Emitter *em, ScalarOp op, ScalarType type, LLVMValueRef a,
                                  LLVMValueRef b) {
    LLVMBuilderRef builder = em->builder;
    if (!scalar_is_float(type)) {
        LLVMIntPredicate predicate = type == S_U8 ? (op == X_max ? LLVMIntUGE : LLVMIntULE)
                                                  : (op == X_max ? LLVMIntSGE : LLVMIntSLE);
        return LLVMBuildSelect(builder, LLVMBuildICmp(builder, predicate, a, b, ""), a, b, "");
    }
    LLVMRealPredicate predicate = op == X_max ? LLVMRealOGT : LLVMRealOLT;
    LLVMValueRef wins = LLVMBuildFCmp(builder, predicate, b, a, "");
    LLVMValueRef result = LLVMBuildSelect(builder, wins, b, a, "");
    if (is_known_number(b))
        return result;
    LLVMValueRef nan = LLVMBuildFCmp(builder, LLVMRealUNO, b, b, "");
    return LLVMBuildSelect(builder, nan, b, result, "");
}

LLVMValueRef emit_combine(Emitter *em, ScalarOp op, ScalarType type, LLVMValueRef a,
                          LLVMValueRef b) {
    if (op == X_max || op == X_min)
        return build_max_min(em, op, type, a, b);
    return scalar_is_float(type) ? LLVMBuildFAdd(em->builder, a, b, "")
                                 : LLVMBuildAdd(em->builder, a, b, "");
}

static LLVMValueRef build_float_op(Emitter *em, ScalarOp op, LLVMValueRef *x) {
    LLVMBuilderRef builder = em->builder;
    LLVMValueRef test, ratio;
    switch ((int)op) {
    case X_add:
        return LLVMBuildFAdd(builder, x[0], x[1], "");
    case X_sub:
        return LLVMBuildFSub(builder, x[0], x[1], "");
    case X_mul:
        return LLVMBuildFMul(builder, x[0], x[1], "");
    case X_div:
        return LLVMBuildFDiv(builder, x[0], x[1], "");
    case X_fma:
        return intrinsic_on(em, "llvm.fma", x, 3);
    case X_neg:
        return LLVMBuildFNeg(builder, x[0], "");
    case X_abs:
        return intrinsic_on(em, "llvm.fabs", x, 1);
    case X_sqrt:
        return intrinsic_on(em, "llvm.sqrt", x, 1);
    case X_floor:
        return intrinsic_on(em, "llvm.floor", x, 1);
    case X_sign: // 0 and NaN stay
        test = LLVMBuildFCmp(builder, LLVMRealOLT, x[0], real_like(em, x[0], 0), "");
        ratio = LLVMBuildSelect(builder, test, real_like(em, x[0], -1), x[0], "");
        test = LLVMBuildFCmp(builder, LLVMRealOGT, x[0], real_like(em, x[0], 0), "");
        return LLVMBuildSelect(builder, test, real_like(em, x[0], 1), ratio, "");
    case X_floor_div:
        ratio = LLVMBuildFDiv(builder, x[0], x[1], "");
        return intrinsic_on(em, "llvm.floor", &ratio, 1);
    case X_mod:
        ratio = LLVMBuildFDiv(builder, x[0], x[1], "");
        ratio = intrinsic_on(em, "llvm.floor", &ratio, 1);
        return LLVMBuildFSub(builder, x[0], LLVMBuildFMul(builder, x[1], ratio, ""), "");
    default:
        kdc_bug("scalar op %s on floats", scalar_info[op].name);
    }
}

/// Rounds toward minus infinity; by zero gives 0, mod by zero a: as in ir/eval, and no machine
/// traps.
static LLVMValueRef build_int_division(Emitter *em, ScalarOp op, bool is_signed, LLVMValueRef a,
                                       LLVMValueRef b) {
    LLVMBuilderRef builder = em->builder;
    LLVMValueRef zero = int_like(em, a, 0), one = int_like(em, a, 1);
    LLVMValueRef by_zero = LLVMBuildICmp(builder, LLVMIntEQ, b, zero, "");
    LLVMValueRef by = LLVMBuildSelect(builder, by_zero, one, b, "");
    LLVMValueRef result, otherwise = op == X_mod ? a : zero;
    if (!is_signed) {
        result =
            op == X_mod ? LLVMBuildURem(builder, a, by, "") : LLVMBuildUDiv(builder, a, by, "");
        return LLVMBuildSelect(builder, by_zero, otherwise, result, "");
    }
    // INT_MIN / -1 would trap: divide by 1 and negate
    LLVMValueRef minus_one = LLVMBuildICmp(builder, LLVMIntEQ, by, int_like(em, a, -1), "");
    LLVMValueRef safe = LLVMBuildSelect(builder, minus_one, one, by, "");
    LLVMValueRef remainder = LLVMBuildSRem(builder, a, safe, "");
    LLVMValueRef inexact = LLVMBuildICmp(builder, LLVMIntNE, remainder, zero, "");
    LLVMValueRef differ =
        LLVMBuildICmp(builder, LLVMIntSLT, LLVMBuildXor(builder, remainder, safe, ""), zero, "");
    LLVMValueRef fix = LLVMBuildAnd(builder, inexact, differ, "");
    if (op == X_mod) {
        result =
            LLVMBuildAdd(builder, remainder, LLVMBuildSelect(builder, fix, safe, zero, ""), "");
    } else {
        result = LLVMBuildSDiv(builder, a, safe, "");
        result = LLVMBuildSelect(builder, minus_one, LLVMBuildNeg(builder, result, ""), result, "");
        result = LLVMBuildSub(builder, result, LLVMBuildZExt(builder, fix, LLVMTypeOf(a), ""), "");
    }
    return LLVMBuildSelect(builder, by_zero, otherwise, result, "");
}

static LLVMValueRef build_int_op(Emitter *em, ScalarOp op, bool is_signed, LLVMValueRef *x) {
    LLVMBuilderRef builder = em->builder;
    LLVMValueRef test, zero = int_like(em, x[0], 0);
    switch ((int)op) {
    case X_add:
        return LLVMBuildAdd(builder, x[0], x[1], "");
    case X_sub:
        return LLVMBuildSub(builder, x[0], x[1], "");
    case X_mul:
        return LLVMBuildMul(builder, x[0], x[1], "");
    case X_neg:
        return LLVMBuildNeg(builder, x[0], "");
    case X_abs:
        if (!is_signed)
            return x[0];
        test = LLVMBuildICmp(builder, LLVMIntSLT, x[0], zero, "");
        return LLVMBuildSelect(builder, test, LLVMBuildNeg(builder, x[0], ""), x[0], "");
    case X_sign: {
        LLVMValueRef up =
            LLVMBuildICmp(builder, is_signed ? LLVMIntSGT : LLVMIntNE, x[0], zero, "");
        LLVMValueRef down = LLVMBuildICmp(builder, LLVMIntSLT, x[0], zero, "");
        up = LLVMBuildZExt(builder, up, LLVMTypeOf(x[0]), "");
        return is_signed ? LLVMBuildAdd(builder, up,
                                        LLVMBuildSExt(builder, down, LLVMTypeOf(x[0]), ""), "")
                         : up;
    }
    case X_floor_div:
    case X_mod:
        return build_int_division(em, op, is_signed, x[0], x[1]);
    case X_shl:
        return LLVMBuildShl(builder, x[0], x[1], "");
    case X_shr:
        return is_signed ? LLVMBuildAShr(builder, x[0], x[1], "")
                         : LLVMBuildLShr(builder, x[0], x[1], "");
    case X_bit_and:
        return LLVMBuildAnd(builder, x[0], x[1], "");
    case X_bit_or:
        return LLVMBuildOr(builder, x[0], x[1], "");
    case X_bit_xor:
        return LLVMBuildXor(builder, x[0], x[1], "");
    default:
        kdc_bug("scalar op %s on integers", scalar_info[op].name);
    }
}

static LLVMValueRef build_compare(Emitter *em, ScalarOp op, ScalarType type, LLVMValueRef *x) {
    bool is_unsigned = type == S_U8 || type == S_BOOL;
    if (scalar_is_float(type)) {
        LLVMRealPredicate predicate = op == X_eq   ? LLVMRealOEQ
                                      : op == X_ne ? LLVMRealUNE
                                      : op == X_lt ? LLVMRealOLT
                                                   : LLVMRealOLE;
        return LLVMBuildFCmp(em->builder, predicate, x[0], x[1], "");
    }
    LLVMIntPredicate predicate = op == X_eq   ? LLVMIntEQ
                                 : op == X_ne ? LLVMIntNE
                                 : op == X_lt ? (is_unsigned ? LLVMIntULT : LLVMIntSLT)
                                              : (is_unsigned ? LLVMIntULE : LLVMIntSLE);
    return LLVMBuildICmp(em->builder, predicate, x[0], x[1], "");
}

static LLVMValueRef build_is_finite(Emitter *em, ScalarType type, LLVMValueRef x) {
    if (!scalar_is_float(type))
        return LLVMConstAllOnes(LLVMGetTypeKind(LLVMTypeOf(x)) == LLVMVectorTypeKind
                                    ? LLVMVectorType(LLVMInt1TypeInContext(em->context), em->lanes)
                                    : LLVMInt1TypeInContext(em->context));
    LLVMValueRef magnitude = intrinsic_on(em, "llvm.fabs", &x, 1);
    return LLVMBuildFCmp(em->builder, LLVMRealOLT, magnitude, real_like(em, x, __builtin_inf()),
                         "");
}

// ---- casts
// -------------------------------------------------------------------------------------------------

static LLVMValueRef clamp_int(Emitter *em, LLVMValueRef x, int64_t lo, int64_t hi) {
    LLVMValueRef low = int_like(em, x, lo), high = int_like(em, x, hi);
    x = LLVMBuildSelect(em->builder, LLVMBuildICmp(em->builder, LLVMIntSLT, x, low, ""), low, x,
                        "");
    return LLVMBuildSelect(em->builder, LLVMBuildICmp(em->builder, LLVMIntSGT, x, high, ""), high,
                           x, "");
}

static LLVMValueRef cast_from_float(Emitter *em, ScalarType to, LLVMTypeRef type, LLVMValueRef x) {
    LLVMTypeRef types[2] = {type, LLVMTypeOf(x)};
    switch (to) {
    case S_F32:
    case S_F64:
        return LLVMBuildFPCast(em->builder, x, type, "");
    case S_BOOL:
        return LLVMBuildFCmp(em->builder, LLVMRealUNE, x, real_like(em, x, 0), "");
    case S_U8:
        return emit_intrinsic(em, "llvm.fptoui.sat", types, 2, &x, 1);
    case S_I32:
    case S_INDEX:
        return emit_intrinsic(em, "llvm.fptosi.sat", types, 2, &x, 1);
    }
    kdc_bug("scalar type %d", (int)to);
}

static LLVMValueRef cast_from_int(Emitter *em, ScalarType from, ScalarType to, LLVMTypeRef type,
                                  LLVMValueRef x) {
    bool is_unsigned = from == S_BOOL || from == S_U8;
    switch (to) {
    case S_F32:
    case S_F64:
        return is_unsigned ? LLVMBuildUIToFP(em->builder, x, type, "")
                           : LLVMBuildSIToFP(em->builder, x, type, "");
    case S_BOOL:
        return LLVMBuildICmp(em->builder, LLVMIntNE, x, int_like(em, x, 0), "");
    case S_U8:
        if (!is_unsigned)
            x = clamp_int(em, x, 0, 255);
        return LLVMBuildIntCast2(em->builder, x, type, false, "");
    case S_I32:
        if (from == S_INDEX)
            x = clamp_int(em, x, INT32_MIN, INT32_MAX);
        return LLVMBuildIntCast2(em->builder, x, type, !is_unsigned, "");
    case S_INDEX:
        return LLVMBuildIntCast2(em->builder, x, type, !is_unsigned, "");
    }
    kdc_bug("scalar type %d", (int)to);
}

/// From an index whose range is known: 32 bits per lane where they do, and no clamping then.
static Value cast_from_index(Emitter *em, const LoopExpr *expr) {
    Index index = emit_index(em, expr->operand[0]);
    Interval range = index_range(em, &index);
    bool small = range.lo >= INT32_MIN && range.hi <= INT32_MAX;
    bool vector = !index_is_uniform(&index);
    LLVMValueRef x = vector ? emit_index_vector(em, &index, false) : emit_index_scalar(em, &index);
    LLVMTypeRef type = shaped(em, expr->type, vector);
    if (expr->type == S_I32 && small)
        return (Value){LLVMBuildIntCast2(em->builder, x, type, true, ""), vector};
    return (Value){cast_from_int(em, S_INDEX, expr->type, type, x), vector};
}

static Value emit_cast(Emitter *em, const LoopExpr *expr) {
    const LoopExpr *from = expr->operand[0];
    if (from->type == S_INDEX && !em->in_math)
        return cast_from_index(em, expr);
    Value x = emit_value(em, from);
    LLVMTypeRef type = shaped(em, expr->type, x.is_vector);
    if (from->type == expr->type)
        return x;
    x.value = scalar_is_float(from->type)
                  ? cast_from_float(em, expr->type, type, x.value)
                  : cast_from_int(em, from->type, expr->type, type, x.value);
    return x;
}

// ---- selects and conjunctions that guard loads
// -----------------------------------------------------------

bool emit_needs_loads(const LoopExpr *expr) {
    if (expr->kind == E_LOAD)
        return true;
    for (uint32_t i = 0; i < expr->arity; i++) {
        if (emit_needs_loads(expr->operand[i]))
            return true;
    }
    return false;
}

/// An operand of a select for the lanes of `condition` only.
static Value emit_guarded(Emitter *em, const LoopExpr *expr, LLVMValueRef condition) {
    if (!emit_needs_loads(expr))
        return emit_value(em, expr);
    LLVMValueRef mask = em->mask;
    bool speculative = em->speculative;
    size_t mark = emit_memo_mark(em);
    em->mask = mask ? LLVMBuildAnd(em->builder, mask, condition, "") : condition;
    em->speculative = true;
    Value value = emit_value(em, expr);
    emit_memo_cut(em, mark);
    em->mask = mask;
    em->speculative = speculative;
    return value;
}

/// One side of a select under a uniform condition, in a block of its own.
static Value emit_branch(Emitter *em, const LoopExpr *expr, LLVMBasicBlockRef block,
                         LLVMBasicBlockRef *end) {
    size_t mark = emit_memo_mark(em), anchors = em->anchors.count;
    LLVMPositionBuilderAtEnd(em->builder, block);
    Value value = emit_value(em, expr);
    *end = LLVMGetInsertBlock(em->builder);
    anchor_cut(em, anchors);
    emit_memo_cut(em, mark);
    return value;
}

static Value emit_uniform_select(Emitter *em, const LoopExpr *expr, LLVMValueRef condition) {
    LLVMBasicBlockRef side[2] = {emit_block(em, "then"), emit_block(em, "else")};
    LLVMBasicBlockRef join = emit_block(em, "join"), end[2];
    Value value[2];
    LLVMValueRef result[2];
    LLVMBuildCondBr(em->builder, condition, side[0], side[1]);
    for (int i = 0; i < 2; i++)
        value[i] = emit_branch(em, expr->operand[i + 1], side[i], &end[i]);
    bool vector = value[0].is_vector || value[1].is_vector;
    for (int i = 0; i < 2; i++) {
        LLVMPositionBuilderAtEnd(em->builder, end[i]);
        result[i] = vector ? emit_as_vector(em, value[i]) : value[i].value;
        LLVMBuildBr(em->builder, join);
    }
    LLVMPositionBuilderAtEnd(em->builder, join);
    LLVMValueRef phi = LLVMBuildPhi(em->builder, LLVMTypeOf(result[0]), "");
    LLVMAddIncoming(phi, result, end, 2);
    return (Value){phi, vector};
}

Value emit_select(Emitter *em, const LoopExpr *expr, Value condition) {
    if (LLVMIsAConstantInt(condition.value))
        return emit_value(em, expr->operand[LLVMConstIntGetZExtValue(condition.value) ? 1 : 2]);
    bool loads = emit_needs_loads(expr->operand[1]) || emit_needs_loads(expr->operand[2]);
    if (loads && !condition.is_vector)
        return emit_uniform_select(em, expr, condition.value);
    Value a, b;
    if (loads) {
        a = emit_guarded(em, expr->operand[1], condition.value);
        LLVMValueRef otherwise = emit_needs_loads(expr->operand[2])
                                     ? LLVMBuildNot(em->builder, condition.value, "")
                                     : NULL;
        b = emit_guarded(em, expr->operand[2], otherwise);
    } else {
        a = emit_value(em, expr->operand[1]);
        b = emit_value(em, expr->operand[2]);
    }
    bool vector = a.is_vector || b.is_vector || condition.is_vector;
    LLVMValueRef x = vector ? emit_as_vector(em, a) : a.value;
    LLVMValueRef y = vector ? emit_as_vector(em, b) : b.value;
    if (vector) // one bit for all lanes would become a branch
        condition.value = emit_as_vector(em, condition);
    return (Value){LLVMBuildSelect(em->builder, condition.value, x, y, ""), vector};
}

/// `a and b` where b loads: b is worked out where a holds.
static Value emit_logic(Emitter *em, const LoopExpr *expr) {
    Value a = emit_value(em, expr->operand[0]);
    if (LLVMIsAConstantInt(a.value)) {
        bool truth = LLVMConstIntGetZExtValue(a.value);
        return truth == (expr->op == X_and) ? emit_value(em, expr->operand[1]) : a;
    }
    if (emit_needs_loads(expr->operand[1])) {
        LoopExpr *constant = x_bool(em->math_kernel, expr->op == X_or);
        LoopExpr *operand[3] = {expr->operand[0], expr->operand[1], constant};
        if (expr->op == X_or) {
            operand[1] = constant;
            operand[2] = expr->operand[1];
        }
        LoopExpr select = {
            .kind = E_APPLY, .op = X_select, .type = S_BOOL, .arity = 3, .operand = operand};
        return emit_select(em, &select, a);
    }
    Value b = emit_value(em, expr->operand[1]);
    bool vector = a.is_vector || b.is_vector;
    LLVMValueRef x = vector ? emit_as_vector(em, a) : a.value;
    LLVMValueRef y = vector ? emit_as_vector(em, b) : b.value;
    return (Value){expr->op == X_and ? LLVMBuildAnd(em->builder, x, y, "")
                                     : LLVMBuildOr(em->builder, x, y, ""),
                   vector};
}

// ---- expressions
// -----------------------------------------------------------------------------------------

/// exp and the like: the expansion is built once per op and type, with two lets for its arguments,
/// and emitted as any expression.
static Value emit_math(Emitter *em, const LoopExpr *expr) {
    bool is_double = expr->type == S_F64;
    LoopExpr **expansion = &em->math_expansion[expr->op][is_double];
    if (!*expansion) {
        LoopExpr *argument[2];
        for (uint32_t i = 0; i < 2; i++) {
            argument[i] = arena_new(em->arena, LoopExpr);
            *argument[i] = (LoopExpr){.kind = E_LET, .type = expr->type, .index = i};
        }
        *expansion = math_expand(em->math_kernel, expr->op, argument);
    }
    Value argument[2];
    for (uint32_t i = 0; i < expr->arity; i++)
        argument[i] = emit_value(em, expr->operand[i]);
    Memo memo = em->memo;
    em->memo = (Memo){0};
    memcpy(em->math_argument, argument, sizeof argument);
    em->in_math = true;
    Value value = emit_value(em, *expansion);
    em->in_math = false;
    em->memo = memo;
    return value;
}

static LLVMValueRef build_bits(Emitter *em, const LoopExpr *expr, Value x) {
    return LLVMBuildBitCast(em->builder, x.value, shaped(em, expr->type, x.is_vector), "");
}

static LLVMValueRef build_apply(Emitter *em, const LoopExpr *expr, Value *operand,
                                LLVMValueRef *x) {
    ScalarType type = expr->operand[0]->type;
    switch ((int)expr->op) {
    case X_copy:
    case X_first:
        return x[0];
    case X_max:
    case X_min:
        return build_max_min(em, expr->op, type, x[0], x[1]);
    case X_eq:
    case X_ne:
    case X_lt:
    case X_le:
        return build_compare(em, expr->op, type, x);
    case X_not:
        return LLVMBuildNot(em->builder, x[0], "");
    case X_is_finite:
        return build_is_finite(em, type, x[0]);
    case X_bits:
    case X_from_bits:
        return build_bits(em, expr, operand[0]);
    default:
        return scalar_is_float(type) ? build_float_op(em, expr->op, x)
                                     : build_int_op(em, expr->op, type != S_U8, x);
    }
}

static Value emit_apply(Emitter *em, const LoopExpr *expr) {
    if (expr->op == X_cast)
        return emit_cast(em, expr);
    if (expr->op == X_select)
        return emit_select(em, expr, emit_value(em, expr->operand[0]));
    if (expr->op == X_and || expr->op == X_or)
        return emit_logic(em, expr);
    if (math_is_expanded(expr->op))
        return emit_math(em, expr);
    if (scalar_info[expr->op].rule == 'C' && expr->arity == 2 &&
        expr->operand[0]->type == S_INDEX && !em->in_math) {
        Index a = emit_index(em, expr->operand[0]), b = emit_index(em, expr->operand[1]);
        return emit_index_compare(em, expr->op, &a, &b);
    }
    Value operand[3];
    LLVMValueRef x[3];
    bool vector = false;
    for (uint32_t i = 0; i < expr->arity; i++) {
        operand[i] = emit_value(em, expr->operand[i]);
        vector = vector || operand[i].is_vector;
    }
    for (uint32_t i = 0; i < expr->arity; i++) {
        x[i] = vector ? emit_as_vector(em, operand[i]) : operand[i].value;
        operand[i] = (Value){x[i], vector};
    }
    return (Value){build_apply(em, expr, operand, x), vector};
}

static Value emit_const(Emitter *em, const LoopExpr *expr) {
    LLVMTypeRef type = emit_type(em, expr->type);
    return (Value){scalar_is_float(expr->type) ? LLVMConstReal(type, expr->real)
                                               : LLVMConstInt(type, (uint64_t)expr->integer, true),
                   false};
}

static Value emit_fresh(Emitter *em, const LoopExpr *expr) {
    if (expr->kind == E_CONST)
        return emit_const(em, expr);
    if (expr->kind == E_LET && em->in_math)
        return em->math_argument[expr->index];
    if (expr->type == S_INDEX && !em->in_math) {
        Index index = emit_index(em, expr);
        bool uniform = index_is_uniform(&index);
        return (Value){uniform ? emit_index_scalar(em, &index)
                               : emit_index_vector(em, &index, true),
                       !uniform};
    }
    switch (expr->kind) {
    case E_LET:
        return em->let_value[expr->index];
    case E_LOCAL:
        return emit_local(em, expr);
    case E_LOAD:
        return emit_load(em, expr);
    case E_APPLY:
        return emit_apply(em, expr);
    case E_CONST:
    case E_VAR:
    case E_EXTENT:
    case E_FRAME:
    case E_RANGE:
        break;
    }
    kdc_bug("expression kind %d of type %s", (int)expr->kind, scalar_type_name(expr->type));
}

Value emit_value(Emitter *em, const LoopExpr *expr) {
    bool is_leaf = expr->arity == 0;
    const Value *known = is_leaf ? NULL : memo_find(em, expr);
    if (known)
        return *known;
    Value value = emit_fresh(em, expr);
    if (!is_leaf)
        memo_add(em, expr, value);
    return value;
}
