// codegen/emit_index.c -- index arithmetic at emission.
//
// An index expression is evaluated to a sum of atoms with constant factors. Constants (variables of
// unrolled loops among them) merge, the vector variable becomes a multiple of the lane number, and
// the rest is put where it belongs: terms are grouped by the anchor from which their atoms are
// known, and each partial sum or address is computed once, at that anchor. In an inner loop remains
// what depends on its variable, and constant offsets from it, which fold into addressing modes.
#include "codegen/emit.h"

#include <string.h>

#include "support/diag.h"

enum { HOIST_SUM = 999, HOIST_BUFFERS = 1000 };

// ---- sums
// ------------------------------------------------------------------------------------------

Index index_constant(int64_t value) {
    return (Index){.base.constant = value};
}

Index index_of_atom(uint32_t atom) {
    return (Index){.base = {.count = 1, .atom = {atom}, .factor = {1}}};
}

/// a + factor * b, wrapping around as machine integers do; terms stay in the order of their atoms.
static Sum sum_add(const Sum *a, const Sum *b, int64_t factor) {
    Sum sum = {0};
    uint32_t i = 0, j = 0;
    while (i < a->count || j < b->count) {
        uint32_t left = i < a->count ? a->atom[i] : UINT32_MAX;
        uint32_t right = j < b->count ? b->atom[j] : UINT32_MAX;
        uint32_t atom = left < right ? left : right;
        uint64_t total = 0;
        if (left == atom)
            total += (uint64_t)a->factor[i++];
        if (right == atom)
            total += (uint64_t)b->factor[j++] * (uint64_t)factor;
        if (total == 0)
            continue;
        if (sum.count == AFFINE_TERMS)
            kdc_bug("an index with more than %d terms", AFFINE_TERMS);
        sum.atom[sum.count] = atom;
        sum.factor[sum.count++] = (int64_t)total;
    }
    sum.constant = (int64_t)((uint64_t)a->constant + (uint64_t)b->constant * (uint64_t)factor);
    return sum;
}

static bool sum_equal(const Sum *a, const Sum *b) {
    return a->count == b->count && a->constant == b->constant &&
           !memcmp(a->atom, b->atom, a->count * sizeof *a->atom) &&
           !memcmp(a->factor, b->factor, a->count * sizeof *a->factor);
}

static Interval sum_range(const Emitter *em, const Sum *sum) {
    Interval range = {sum->constant, sum->constant};
    for (uint32_t i = 0; i < sum->count; i++)
        range =
            interval_add(range, interval_scale(em->atoms.at[sum->atom[i]].range, sum->factor[i]));
    return range;
}

static uint32_t sum_level(const Emitter *em, const Sum *sum) {
    uint32_t level = 0;
    for (uint32_t i = 0; i < sum->count; i++) {
        uint32_t of_atom = em->atoms.at[sum->atom[i]].level;
        level = of_atom > level ? of_atom : level;
    }
    return level;
}

static Interval lane_range(const Emitter *em, int64_t factor) {
    return interval_scale((Interval){0, em->lane_last}, factor);
}

Interval index_range(const Emitter *em, const Index *index) {
    Interval range = interval_add(sum_range(em, &index->base), lane_range(em, index->lane));
    return index->vec ? interval_add(range, index->vec_range) : range;
}

bool index_is_uniform(const Index *index) {
    return index->lane == 0 && !index->vec;
}

bool index_is_constant(const Index *index, int64_t *value) {
    *value = index->base.constant;
    return index_is_uniform(index) && index->base.count == 0;
}

static bool fits_i32(Interval range) {
    return range.lo >= INT32_MIN && range.hi <= INT32_MAX;
}

// ---- anchors
// ---------------------------------------------------------------------------------------

uint32_t atom_new(Emitter *em, LLVMValueRef value, Interval range, uint32_t level) {
    Atom atom = {.value = value, .range = range, .level = level};
    vec_push(em->arena, &em->atoms, atom);
    return (uint32_t)em->atoms.count - 1;
}

uint32_t anchor_push(Emitter *em) {
    LLVMTypeRef i1 = LLVMInt1TypeInContext(em->context);
    Anchor anchor = {.marker = LLVMBuildFreeze(em->builder, LLVMGetUndef(i1), "")};
    vec_push(em->arena, &em->anchors, anchor);
    return (uint32_t)em->anchors.count - 1;
}

void anchor_cut(Emitter *em, size_t count) {
    while (em->anchors.count > count) {
        Anchor *last = &vec_last(&em->anchors);
        LLVMInstructionEraseFromParent(last->marker);
        em->anchors.count--;
    }
}

/// Moves the builder before an anchor; hoist_end() brings it back to the end of the block at work.
static LLVMBasicBlockRef hoist_begin(Emitter *em, uint32_t level) {
    LLVMBasicBlockRef at = LLVMGetInsertBlock(em->builder);
    LLVMPositionBuilderBefore(em->builder, em->anchors.at[level].marker);
    return at;
}

static void hoist_end(Emitter *em, LLVMBasicBlockRef at) {
    LLVMPositionBuilderAtEnd(em->builder, at);
}

static Hoisted *hoisted_find(Emitter *em, uint32_t level, uint32_t what, const Sum *a,
                             const Sum *b) {
    Anchor *anchor = &em->anchors.at[level];
    for (size_t i = anchor->hoisted.count; i-- > 0;) {
        Hoisted *known = &anchor->hoisted.at[i];
        if (known->what == what && sum_equal(&known->a, a) && sum_equal(&known->b, b))
            return known;
    }
    return NULL;
}

static Hoisted *hoisted_add(Emitter *em, uint32_t level, uint32_t what, const Sum *a, const Sum *b,
                            LLVMValueRef value) {
    Anchor *anchor = &em->anchors.at[level];
    Hoisted hoisted = {what, *a, *b, value, UINT32_MAX};
    vec_push(em->arena, &anchor->hoisted, hoisted);
    return &vec_last(&anchor->hoisted);
}

/// factor * the variable of a loop that counts its multiples: an addition in each turn. The builder
/// is at the end of its block.
static LLVMValueRef loop_multiple(Emitter *em, Atom *atom, int64_t factor) {
    for (size_t i = 0; i < atom->multiples.count; i++)
        if (atom->multiples.at[i].factor == factor)
            return atom->multiples.at[i].phi;
    LLVMBasicBlockRef at = LLVMGetInsertBlock(em->builder);
    LLVMPositionBuilderBefore(em->builder, LLVMGetBasicBlockTerminator(atom->before));
    LLVMValueRef begin = LLVMBuildMul(em->builder, atom->begin, emit_int(em, factor), "");
    LLVMPositionBuilderBefore(em->builder, atom->value);
    LLVMValueRef phi = LLVMBuildPhi(em->builder, LLVMTypeOf(begin), "");
    LLVMAddIncoming(phi, &begin, &atom->before, 1);
    LLVMPositionBuilderAtEnd(em->builder, at);
    Multiple multiple = {factor, phi};
    vec_push(em->arena, &atom->multiples, multiple);
    return phi;
}

/// Makes sure of the multiples that level_terms() will ask for.
static void prepare_multiples(Emitter *em, const Sum *terms) {
    for (uint32_t i = 0; i < terms->count; i++) {
        Atom *atom = &em->atoms.at[terms->atom[i]];
        if (atom->before && terms->factor[i] != 1)
            loop_multiple(em, atom, terms->factor[i]);
    }
}

/// The terms of one level, at the builder's place.
static LLVMValueRef level_terms(Emitter *em, const Sum *terms) {
    LLVMValueRef total = NULL;
    for (uint32_t i = 0; i < terms->count; i++) {
        Atom *atom = &em->atoms.at[terms->atom[i]];
        LLVMValueRef term = atom->value;
        if (terms->factor[i] != 1)
            term = atom->before
                       ? loop_multiple(em, atom, terms->factor[i])
                       : LLVMBuildMul(em->builder, term, emit_int(em, terms->factor[i]), "");
        total = total ? LLVMBuildAdd(em->builder, total, term, "") : term;
    }
    return total;
}

/// start + the terms of `sum` without its constant, level by level. With `element` the start is a
/// pointer and the terms count elements; otherwise start is NULL and NULL comes back where there
/// are no terms.
static LLVMValueRef chain(Emitter *em, uint32_t what, LLVMValueRef start, LLVMTypeRef element,
                          const Sum *sum) {
    LLVMValueRef value = start;
    Sum prefix = {0}, nothing = {0};
    for (int64_t level = -1; prefix.count < sum->count;) {
        int64_t next = INT64_MAX;
        for (uint32_t i = 0; i < sum->count; i++) {
            int64_t of_atom = em->atoms.at[sum->atom[i]].level;
            next = of_atom > level && of_atom < next ? of_atom : next;
        }
        level = next;
        Sum terms = {0};
        for (uint32_t i = 0; i < sum->count; i++) {
            if (em->atoms.at[sum->atom[i]].level != (uint32_t)level)
                continue;
            prefix.atom[prefix.count] = terms.atom[terms.count] = sum->atom[i];
            prefix.factor[prefix.count++] = terms.factor[terms.count++] = sum->factor[i];
        }
        Hoisted *known = hoisted_find(em, (uint32_t)level, what, &prefix, &nothing);
        if (!known) {
            prepare_multiples(em, &terms);
            LLVMBasicBlockRef at = hoist_begin(em, (uint32_t)level);
            LLVMValueRef total = level_terms(em, &terms);
            if (element)
                total = LLVMBuildGEP2(em->builder, element, value, &total, 1, "");
            else if (value)
                total = LLVMBuildAdd(em->builder, value, total, "");
            hoist_end(em, at);
            known = hoisted_add(em, (uint32_t)level, what, &prefix, &nothing, total);
        }
        value = known->value;
    }
    return value;
}

static LLVMValueRef sum_value(Emitter *em, const Sum *sum) {
    LLVMValueRef value = chain(em, HOIST_SUM, NULL, NULL, sum);
    if (!value)
        return emit_int(em, sum->constant);
    return sum->constant ? LLVMBuildAdd(em->builder, value, emit_int(em, sum->constant), "")
                         : value;
}

LLVMValueRef emit_index_scalar(Emitter *em, const Index *index) {
    kdc_assert(index_is_uniform(index));
    return sum_value(em, &index->base);
}

LLVMValueRef emit_address(Emitter *em, uint32_t buffer, const Sum *sum) {
    LLVMTypeRef element = emit_memory_type(em, em->kernel->buffers.at[buffer].type);
    LLVMValueRef pointer = chain(em, HOIST_BUFFERS + buffer, em->buffer[buffer], element, sum);
    if (sum->constant == 0)
        return pointer;
    LLVMValueRef constant = emit_int(em, sum->constant);
    return LLVMBuildGEP2(em->builder, element, pointer, &constant, 1, "");
}

unsigned index_alignment(const Emitter *em, uint32_t buffer, const Sum *sum) {
    uint64_t bits =
        64 | (uint64_t)sum->constant * scalar_size_bytes(em->kernel->buffers.at[buffer].type);
    for (uint32_t i = 0; i < sum->count; i++)
        bits |= (uint64_t)sum->factor[i] * scalar_size_bytes(em->kernel->buffers.at[buffer].type);
    return (unsigned)(bits & -bits);
}

// ---- vectors of indices
// ------------------------------------------------------------------------------

static LLVMTypeRef lane_type(const Emitter *em, bool wide) {
    LLVMTypeRef element =
        wide ? LLVMInt64TypeInContext(em->context) : LLVMInt32TypeInContext(em->context);
    return LLVMVectorType(element, em->lanes);
}

static bool is_wide(LLVMValueRef vec) {
    return LLVMGetIntTypeWidth(LLVMGetElementType(LLVMTypeOf(vec))) == 64;
}

static LLVMValueRef vec_resize(Emitter *em, LLVMValueRef vec, bool wide) {
    if (is_wide(vec) == wide)
        return vec;
    return wide ? LLVMBuildSExt(em->builder, vec, lane_type(em, true), "")
                : LLVMBuildTrunc(em->builder, vec, lane_type(em, false), "");
}

static LLVMValueRef splat_constant(const Emitter *em, int64_t value, bool wide) {
    LLVMValueRef element[MAX_LANES];
    LLVMTypeRef type = LLVMGetElementType(lane_type(em, wide));
    for (uint32_t i = 0; i < em->lanes; i++)
        element[i] = LLVMConstInt(type, (uint64_t)value, true);
    return LLVMConstVector(element, em->lanes);
}

/// lane * 0, lane * 1, ...
static LLVMValueRef iota(const Emitter *em, int64_t lane, bool wide) {
    LLVMValueRef element[MAX_LANES];
    LLVMTypeRef type = LLVMGetElementType(lane_type(em, wide));
    for (uint32_t i = 0; i < em->lanes; i++)
        element[i] = LLVMConstInt(type, (uint64_t)lane * i, true);
    return LLVMConstVector(element, em->lanes);
}

/// What differs between lanes: lane * number + vec.
static LLVMValueRef varying_part(Emitter *em, const Index *index, bool wide) {
    LLVMValueRef vec = index->vec ? vec_resize(em, index->vec, wide) : NULL;
    if (!vec)
        return iota(em, index->lane, wide);
    return index->lane ? LLVMBuildAdd(em->builder, vec, iota(em, index->lane, wide), "") : vec;
}

static LLVMValueRef uniform_splat(Emitter *em, const Sum *sum, bool wide) {
    if (sum->count == 0)
        return splat_constant(em, sum->constant, wide);
    LLVMValueRef scalar = sum_value(em, sum);
    if (!wide)
        scalar = LLVMBuildTrunc(em->builder, scalar, LLVMInt32TypeInContext(em->context), "");
    return emit_splat(em, scalar);
}

LLVMValueRef emit_index_vector(Emitter *em, const Index *index, bool wide) {
    // Arithmetic modulo 2^32 gives the right result if only the result fits.
    wide = wide || !fits_i32(index_range(em, index));
    if (index_is_uniform(index))
        return uniform_splat(em, &index->base, wide);
    LLVMValueRef vec = varying_part(em, index, wide);
    if (index->base.count == 0 && index->base.constant == 0)
        return vec;
    return LLVMBuildAdd(em->builder, vec, uniform_splat(em, &index->base, wide), "");
}

static Index index_of_vector(LLVMValueRef vec, Interval range) {
    return (Index){.vec = vec, .vec_range = range};
}

/// factor * vec as wide as its range asks for.
static LLVMValueRef vec_scale(Emitter *em, LLVMValueRef vec, int64_t factor, bool wide) {
    vec = vec_resize(em, vec, wide);
    return factor == 1 ? vec : LLVMBuildMul(em->builder, vec, splat_constant(em, factor, wide), "");
}

Index index_add(Emitter *em, const Index *a, const Index *b, int64_t factor) {
    Index sum = {.base = sum_add(&a->base, &b->base, factor), .lane = a->lane + factor * b->lane};
    sum.vec = a->vec;
    sum.vec_range = a->vec_range;
    if (!b->vec || factor == 0)
        return sum;
    Interval scaled = interval_scale(b->vec_range, factor);
    sum.vec_range = a->vec ? interval_add(a->vec_range, scaled) : scaled;
    bool wide = !fits_i32(sum.vec_range) || !fits_i32(scaled);
    LLVMValueRef term = vec_scale(em, b->vec, factor, wide);
    sum.vec = a->vec ? LLVMBuildAdd(em->builder, vec_resize(em, a->vec, wide), term, "") : term;
    return sum;
}

// ---- operations that are no sums
// ---------------------------------------------------------------------

static Interval op_range(ScalarOp op, Interval a, Interval b) {
    switch ((int)op) {
    case X_floor_div:
        return b.lo == b.hi && b.lo > 0 ? interval_quotient(a, b.lo)
                                        : (Interval){INTERVAL_MIN, INTERVAL_MAX};
    case X_mod:
        return b.lo == b.hi && b.lo > 0 ? interval_remainder(a, b.lo)
                                        : (Interval){INTERVAL_MIN, INTERVAL_MAX};
    case X_min:
        return (Interval){a.lo < b.lo ? a.lo : b.lo, a.hi < b.hi ? a.hi : b.hi};
    case X_max:
        return (Interval){a.lo > b.lo ? a.lo : b.lo, a.hi > b.hi ? a.hi : b.hi};
    case X_abs:
        return (Interval){0, INTERVAL_MAX};
    case X_sign:
        return (Interval){-1, 1};
    case X_mul:
        if (a.lo >= 0 && b.lo >= 0 && a.hi < INT32_MAX && b.hi < INT32_MAX)
            return (Interval){a.lo * b.lo, a.hi * b.hi};
        return (Interval){INTERVAL_MIN, INTERVAL_MAX};
    default:
        return (Interval){INTERVAL_MIN, INTERVAL_MAX};
    }
}

/// Division rounding toward minus infinity; plain where the dividend is known not to be negative.
static LLVMValueRef build_division(Emitter *em, ScalarOp op, LLVMValueRef a, LLVMValueRef b,
                                   Interval range_a, Interval range_b) {
    LLVMBuilderRef builder = em->builder;
    if (range_a.lo >= 0 && range_b.lo > 0)
        return op == X_mod ? LLVMBuildURem(builder, a, b, "") : LLVMBuildUDiv(builder, a, b, "");
    LLVMValueRef zero = LLVMConstNull(LLVMTypeOf(a));
    LLVMValueRef remainder = LLVMBuildSRem(builder, a, b, "");
    LLVMValueRef nonzero = LLVMBuildICmp(builder, LLVMIntNE, remainder, zero, "");
    LLVMValueRef signs = LLVMBuildXor(builder, remainder, b, "");
    LLVMValueRef differ = LLVMBuildICmp(builder, LLVMIntSLT, signs, zero, "");
    LLVMValueRef fix = LLVMBuildAnd(builder, nonzero, differ, "");
    if (op == X_mod)
        return LLVMBuildAdd(builder, remainder, LLVMBuildSelect(builder, fix, b, zero, ""), "");
    LLVMValueRef quotient = LLVMBuildSDiv(builder, a, b, "");
    return LLVMBuildAdd(builder, quotient, LLVMBuildSExt(builder, fix, LLVMTypeOf(a), ""), "");
}

static LLVMValueRef build_op(Emitter *em, ScalarOp op, LLVMValueRef a, LLVMValueRef b,
                             Interval range_a, Interval range_b) {
    LLVMBuilderRef builder = em->builder;
    LLVMValueRef test;
    switch ((int)op) {
    case X_mul:
        return LLVMBuildMul(builder, a, b, "");
    case X_floor_div:
    case X_mod:
        return build_division(em, op, a, b, range_a, range_b);
    case X_min:
        test = LLVMBuildICmp(builder, LLVMIntSLE, a, b, "");
        return LLVMBuildSelect(builder, test, a, b, "");
    case X_max:
        test = LLVMBuildICmp(builder, LLVMIntSGE, a, b, "");
        return LLVMBuildSelect(builder, test, a, b, "");
    case X_shl:
        return LLVMBuildShl(builder, a, b, "");
    case X_shr:
        return LLVMBuildAShr(builder, a, b, "");
    case X_bit_and:
        return LLVMBuildAnd(builder, a, b, "");
    case X_bit_or:
        return LLVMBuildOr(builder, a, b, "");
    case X_bit_xor:
        return LLVMBuildXor(builder, a, b, "");
    default:
        kdc_bug("scalar op %s on indices", scalar_info[op].name);
    }
}

/// A uniform op at the highest anchor that knows its operands; a division by what may be 0 stays
/// here.
static Index uniform_op(Emitter *em, ScalarOp op, const Index *a, const Index *b) {
    Interval range_a = index_range(em, a), range_b = index_range(em, b);
    bool may_trap = (op == X_floor_div || op == X_mod) && range_b.lo <= 0;
    uint32_t level = sum_level(em, &a->base), level_b = sum_level(em, &b->base);
    level = level_b > level ? level_b : level;
    Hoisted *known = hoisted_find(em, level, op, &a->base, &b->base);
    if (!known && may_trap) {
        LLVMValueRef value =
            build_op(em, op, sum_value(em, &a->base), sum_value(em, &b->base), range_a, range_b);
        return index_of_atom(atom_new(em, value, op_range(op, range_a, range_b), anchor_push(em)));
    }
    if (!known) {
        LLVMValueRef chain_a = chain(em, HOIST_SUM, NULL, NULL, &a->base);
        LLVMValueRef chain_b = chain(em, HOIST_SUM, NULL, NULL, &b->base);
        LLVMBasicBlockRef at = hoist_begin(em, level);
        LLVMValueRef offset_a = emit_int(em, a->base.constant);
        LLVMValueRef offset_b = emit_int(em, b->base.constant);
        LLVMValueRef x = chain_a ? LLVMBuildAdd(em->builder, chain_a, offset_a, "") : offset_a;
        LLVMValueRef y = chain_b ? LLVMBuildAdd(em->builder, chain_b, offset_b, "") : offset_b;
        LLVMValueRef value = build_op(em, op, x, y, range_a, range_b);
        hoist_end(em, at);
        known = hoisted_add(em, level, op, &a->base, &b->base, value);
        known->atom = atom_new(em, value, op_range(op, range_a, range_b), level);
    }
    return index_of_atom(known->atom);
}

static Index vector_op(Emitter *em, ScalarOp op, const Index *a, const Index *b) {
    Interval range_a = index_range(em, a), range_b = index_range(em, b);
    Interval range = op_range(op, range_a, range_b);
    bool wide = !fits_i32(range_a) || !fits_i32(range_b) || !fits_i32(range);
    LLVMValueRef x = emit_index_vector(em, a, wide), y = emit_index_vector(em, b, wide);
    return index_of_vector(build_op(em, op, x, y, range_a, range_b), range);
}

/// Division of a sum by a constant: a = divisor * q + r, where r keeps what is no multiple. If the
/// range of r lies within one multiple of the divisor the result is a sum again.
static bool fold_division(Emitter *em, ScalarOp op, const Index *a, int64_t divisor,
                          Index *result) {
    Index quotient = {0}, rest = {.vec = a->vec, .vec_range = a->vec_range};
    for (uint32_t i = 0; i < a->base.count; i++) {
        bool multiple = a->base.factor[i] % divisor == 0;
        Sum *part = multiple ? &quotient.base : &rest.base;
        part->atom[part->count] = a->base.atom[i];
        part->factor[part->count++] = multiple ? a->base.factor[i] / divisor : a->base.factor[i];
    }
    if (a->lane % divisor == 0)
        quotient.lane = a->lane / divisor;
    else
        rest.lane = a->lane;
    quotient.base.constant = int_floor_div(a->base.constant, divisor);
    rest.base.constant = a->base.constant - quotient.base.constant * divisor;
    Interval range = index_range(em, &rest);
    if (range.lo != INTERVAL_MIN && range.hi != INTERVAL_MAX &&
        int_floor_div(range.lo, divisor) == int_floor_div(range.hi, divisor)) {
        int64_t whole = int_floor_div(range.lo, divisor);
        quotient.base.constant += whole;
        rest.base.constant -= whole * divisor;
        *result = op == X_mod ? rest : quotient;
        return true;
    }
    Index by = index_constant(divisor);
    bool uniform = index_is_uniform(&rest);
    if (op == X_mod) {
        *result = uniform ? uniform_op(em, op, &rest, &by) : vector_op(em, op, &rest, &by);
        return true;
    }
    Index part = uniform ? uniform_op(em, op, &rest, &by) : vector_op(em, op, &rest, &by);
    *result = index_add(em, &quotient, &part, 1);
    return true;
}

static Index index_op(Emitter *em, ScalarOp op, const Index *a, const Index *b) {
    int64_t constant;
    Index result;
    if (op == X_mul) {
        Index zero = index_constant(0);
        if (index_is_constant(b, &constant))
            return index_add(em, &zero, a, constant);
        if (index_is_constant(a, &constant))
            return index_add(em, &zero, b, constant);
    }
    if ((op == X_floor_div || op == X_mod) && index_is_constant(b, &constant) && constant > 0 &&
        fold_division(em, op, a, constant, &result))
        return result;
    if (op == X_min || op == X_max) {
        Index difference = index_add(em, a, b, -1);
        Interval range = index_range(em, &difference);
        if (range.hi <= 0)
            return op == X_min ? *a : *b;
        if (range.lo >= 0)
            return op == X_min ? *b : *a;
    }
    bool uniform = index_is_uniform(a) && index_is_uniform(b);
    return uniform ? uniform_op(em, op, a, b) : vector_op(em, op, a, b);
}

// ---- comparisons
// ---------------------------------------------------------------------------------------

static int decide(ScalarOp op, Interval d) {
    switch ((int)op) {
    case X_lt:
        return d.hi < 0 ? 1 : d.lo >= 0 ? 0 : -1;
    case X_le:
        return d.hi <= 0 ? 1 : d.lo > 0 ? 0 : -1;
    default:
        if (d.lo == 0 && d.hi == 0)
            return op == X_eq;
        return d.lo > 0 || d.hi < 0 ? op == X_ne : -1;
    }
}

static LLVMIntPredicate predicate_of(ScalarOp op) {
    return op == X_lt ? LLVMIntSLT : op == X_le ? LLVMIntSLE : op == X_eq ? LLVMIntEQ : LLVMIntNE;
}

/// a op b as (a - b without its constant) op -constant.
static Value compare_uniform(Emitter *em, ScalarOp op, const Sum *difference) {
    Sum nothing = {0};
    uint32_t level = sum_level(em, difference);
    Hoisted *known = hoisted_find(em, level, op, difference, &nothing);
    if (!known) {
        LLVMValueRef value = chain(em, HOIST_SUM, NULL, NULL, difference);
        LLVMBasicBlockRef at = hoist_begin(em, level);
        LLVMValueRef limit = emit_int(em, -difference->constant);
        LLVMValueRef test = LLVMBuildICmp(em->builder, predicate_of(op), value, limit, "");
        hoist_end(em, at);
        known = hoisted_add(em, level, op, difference, &nothing, test);
    }
    return (Value){known->value, false};
}

Value emit_index_compare(Emitter *em, ScalarOp op, const Index *a, const Index *b) {
    Index d = index_add(em, a, b, -1);
    Interval range = index_range(em, &d);
    int truth = decide(op, range);
    if (truth >= 0) {
        LLVMTypeRef i1 = LLVMInt1TypeInContext(em->context);
        return (Value){LLVMConstInt(i1, (unsigned)truth, false), false};
    }
    if (index_is_uniform(&d))
        return compare_uniform(em, op, &d.base);
    // what varies op -base: both sides must fit
    Index varying = {.lane = d.lane, .vec = d.vec, .vec_range = d.vec_range};
    Sum nothing = {0};
    Sum limit = sum_add(&nothing, &d.base, -1);
    bool wide = !fits_i32(index_range(em, &varying)) || !fits_i32(sum_range(em, &limit));
    LLVMValueRef test =
        LLVMBuildICmp(em->builder, predicate_of(op), varying_part(em, &varying, wide),
                      uniform_splat(em, &limit, wide), "");
    return (Value){test, true};
}

// ---- expressions
// ---------------------------------------------------------------------------------------

/// A value that is computed here and now: loaded, cast, selected.
static Index opaque(Emitter *em, Value value, Interval range) {
    if (value.is_vector)
        return index_of_vector(value.value, range);
    int64_t constant;
    if (LLVMIsAConstantInt(value.value)) {
        constant = LLVMConstIntGetSExtValue(value.value);
        return index_constant(constant);
    }
    return index_of_atom(atom_new(em, value.value, range, anchor_push(em)));
}

/// An integer cast keeps 32 lanes bits where they do.
static Index emit_index_cast(Emitter *em, const LoopExpr *expr) {
    const LoopExpr *from = expr->operand[0];
    Interval range = x_interval(em->kernel, expr);
    Value value = emit_value(em, from);
    bool narrow = value.is_vector && !scalar_is_float(from->type);
    LLVMTypeRef type =
        narrow ? LLVMInt32TypeInContext(em->context) : LLVMInt64TypeInContext(em->context);
    if (value.is_vector)
        type = LLVMVectorType(type, em->lanes);
    switch (from->type) {
    case S_BOOL:
    case S_U8:
        value.value = LLVMBuildZExt(em->builder, value.value, type, "");
        break;
    case S_I32:
        if (!narrow)
            value.value = LLVMBuildSExt(em->builder, value.value, type, "");
        break;
    case S_F32:
    case S_F64: {
        LLVMTypeRef types[2] = {type, LLVMTypeOf(value.value)};
        value.value = emit_intrinsic(em, "llvm.fptosi.sat", types, 2, &value.value, 1);
        break;
    }
    case S_INDEX:
        return emit_index(em, from);
    }
    return opaque(em, value, range);
}

static Index emit_index_select(Emitter *em, const LoopExpr *expr) {
    Value condition = emit_value(em, expr->operand[0]);
    if (LLVMIsAConstantInt(condition.value))
        return emit_index(em, expr->operand[LLVMConstIntGetZExtValue(condition.value) ? 1 : 2]);
    if (emit_needs_loads(expr->operand[1]) || emit_needs_loads(expr->operand[2]))
        return opaque(em, emit_select(em, expr, condition), x_interval(em->kernel, expr));
    Index a = emit_index(em, expr->operand[1]), b = emit_index(em, expr->operand[2]);
    Interval range_a = index_range(em, &a), range_b = index_range(em, &b);
    bool vector = condition.is_vector || !index_is_uniform(&a) || !index_is_uniform(&b);
    Interval range = interval_join(range_a, range_b);
    bool wide = !fits_i32(range_a) || !fits_i32(range_b);
    LLVMValueRef x = vector ? emit_index_vector(em, &a, wide) : emit_index_scalar(em, &a);
    LLVMValueRef y = vector ? emit_index_vector(em, &b, wide) : emit_index_scalar(em, &b);
    return opaque(em, (Value){LLVMBuildSelect(em->builder, condition.value, x, y, ""), vector},
                  range);
}

static Index emit_index_bits(Emitter *em, const LoopExpr *expr) {
    Value value = emit_value(em, expr->operand[0]);
    LLVMTypeRef type = value.is_vector ? lane_type(em, true) : LLVMInt64TypeInContext(em->context);
    value.value = LLVMBuildBitCast(em->builder, value.value, type, "");
    return opaque(em, value, (Interval){INTERVAL_MIN, INTERVAL_MAX});
}

static Index emit_index_apply(Emitter *em, const LoopExpr *expr) {
    Index zero = index_constant(0), a, b;
    switch ((int)expr->op) {
    case X_cast:
        return emit_index_cast(em, expr);
    case X_select:
        return emit_index_select(em, expr);
    case X_bits:
        return emit_index_bits(em, expr);
    default:
        break;
    }
    a = emit_index(em, expr->operand[0]);
    switch ((int)expr->op) {
    case X_copy:
    case X_first:
        return a;
    case X_neg:
        return index_add(em, &zero, &a, -1);
    case X_abs:
        b = index_add(em, &zero, &a, -1);
        return index_op(em, X_max, &a, &b);
    case X_sign: {
        Index one = index_constant(1), minus_one = index_constant(-1);
        a = index_op(em, X_min, &a, &one);
        return index_op(em, X_max, &a, &minus_one);
    }
    default:
        break;
    }
    b = emit_index(em, expr->operand[1]);
    if (expr->op == X_add || expr->op == X_sub)
        return index_add(em, &a, &b, expr->op == X_add ? 1 : -1);
    return index_op(em, expr->op, &a, &b);
}

static Index emit_index_local(Emitter *em, const LoopExpr *expr) {
    bool constant;
    int64_t flat;
    LLVMValueRef pointer =
        emit_local_pointer(em, expr->index, false, expr->operand, &constant, &flat);
    LLVMValueRef value =
        LLVMBuildLoad2(em->builder, emit_local_type(em, expr->index, false), pointer, "");
    return opaque(em, (Value){value, em->local[expr->index].is_vector},
                  (Interval){INTERVAL_MIN, INTERVAL_MAX});
}

Index emit_index(Emitter *em, const LoopExpr *expr) {
    kdc_assert(expr->type == S_INDEX);
    switch (expr->kind) {
    case E_CONST:
        return index_constant(expr->integer);
    case E_VAR:
        return em->var[expr->index];
    case E_LET:
        return em->let_index[expr->index];
    case E_LOCAL:
        return emit_index_local(em, expr);
    case E_LOAD:
        kdc_bug("kernel %s: a buffer of indices", em->kernel->name);
    case E_APPLY:
        return emit_index_apply(em, expr);
    case E_EXTENT:
        return index_of_atom(em->extent_atom + expr->index);
    case E_FRAME:
    case E_RANGE:
        return index_of_atom(em->range_atom[expr->index]);
    }
    kdc_bug("expression kind %d", (int)expr->kind);
}
