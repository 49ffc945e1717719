// codegen/emit_kernel.c -- statements and loops of one kernel to one LLVM function.
//
//   k(frame, buffers..., extents..., lo, hi, thread, scratch)
//
// A vector loop runs over full vectors and then once under a mask for what is left; the body is
// emitted for each. What it accumulates into a local from outside goes to one partial result per
// lane, which a tree adds up behind the loop: ((0 + 8) + (4 + 12)) + ..., lane i of iteration i
// modulo the lane count, whatever the number of iterations.
#include "codegen/emit.h"

#include <string.h>

#include "support/diag.h"

static void emit_body(Emitter *em, const LoopBody *body);

// ---- loops
// -----------------------------------------------------------------------------------------

/// The body once, with the loop's variable bound to `var`.
static void emit_iteration(Emitter *em, const LoopStmt *stmt, const Index *var) {
    em->var[stmt->index] = *var;
    size_t anchors = em->anchors.count;
    emit_body(em, &stmt->body);
    anchor_cut(em, anchors);
}

typedef struct RunTimeLoop {
    LLVMBasicBlockRef before, body, exit;
    LLVMValueRef begin, phi;
    size_t anchors;
    uint32_t atom;
} RunTimeLoop;

/// Opens a loop over i from `begin`; it is not entered unless `certain` or begin < end.
static RunTimeLoop open_loop(Emitter *em, LLVMValueRef begin, LLVMValueRef end, bool certain,
                             Interval range) {
    RunTimeLoop loop = {.before = LLVMGetInsertBlock(em->builder),
                        .body = emit_block(em, "loop"),
                        .exit = emit_block(em, "exit"),
                        .begin = begin,
                        .anchors = em->anchors.count};
    if (certain)
        LLVMBuildBr(em->builder, loop.body);
    else
        LLVMBuildCondBr(em->builder, LLVMBuildICmp(em->builder, LLVMIntSLT, begin, end, ""),
                        loop.body, loop.exit);
    LLVMPositionBuilderAtEnd(em->builder, loop.body);
    loop.phi = LLVMBuildPhi(em->builder, LLVMTypeOf(begin), "i");
    LLVMAddIncoming(loop.phi, &begin, &loop.before, 1);
    loop.atom = atom_new(em, loop.phi, range, anchor_push(em));
    return loop;
}

static void close_loop(Emitter *em, const RunTimeLoop *loop, LLVMValueRef end, int64_t step) {
    anchor_cut(em, loop->anchors);
    LLVMBasicBlockRef latch = LLVMGetInsertBlock(em->builder);
    const Atom *atom = &em->atoms.at[loop->atom];
    for (size_t i = 0; i < atom->multiples.count; i++) {
        const Multiple *multiple = &atom->multiples.at[i];
        LLVMValueRef more = emit_int(em, multiple->factor * step);
        LLVMValueRef value = LLVMBuildAdd(em->builder, multiple->phi, more, "");
        LLVMAddIncoming(multiple->phi, &value, &latch, 1);
    }
    LLVMValueRef next = LLVMBuildAdd(em->builder, loop->phi, emit_int(em, step), "");
    LLVMBuildCondBr(em->builder, LLVMBuildICmp(em->builder, LLVMIntSLT, next, end, ""), loop->body,
                    loop->exit);
    LLVMAddIncoming(loop->phi, &next, &latch, 1);
    LLVMPositionBuilderAtEnd(em->builder, loop->exit);
}

/// The values of a variable that runs from `begin` to below `end`.
static Interval range_of_loop(const Emitter *em, const Index *begin, const Index *end) {
    Interval first = index_range(em, begin), last = index_range(em, end);
    int64_t hi = last.hi == INTERVAL_MAX ? last.hi : last.hi - 1;
    return (Interval){first.lo, hi < first.lo ? first.lo : hi};
}

/// Loops of vectors left out: in tiles they have one turn.
static bool is_innermost(const LoopBody *body) {
    for (size_t i = 0; i < body->count; i++) {
        const LoopStmt *stmt = body->at[i];
        if ((stmt->kind == T_FOR && stmt->loop == LOOP_SERIAL) || !is_innermost(&stmt->body) ||
            !is_innermost(&stmt->other))
            return false;
    }
    return true;
}

/// Further out the multiples cost registers and gain nothing.
static void count_multiples(Emitter *em, const RunTimeLoop *loop) {
    Atom *atom = &em->atoms.at[loop->atom];
    atom->before = loop->before;
    atom->begin = loop->begin;
}

static void emit_serial(Emitter *em, const LoopStmt *stmt) {
    Index begin = emit_index(em, stmt->begin), end = emit_index(em, stmt->end);
    Index trips = index_add(em, &end, &begin, -1);
    Interval count = index_range(em, &trips);
    if (count.hi <= 0)
        return;
    if (count.lo > 0 && count.hi <= stmt->step) {
        emit_iteration(em, stmt, &begin);
        return;
    }
    LLVMValueRef first = emit_index_scalar(em, &begin), last = emit_index_scalar(em, &end);
    Interval range = range_of_loop(em, &begin, &end);
    int64_t a, b;
    if (index_is_constant(&begin, &a) && index_is_constant(&end, &b))
        range.hi = a + (b - 1 - a) / stmt->step * stmt->step;
    RunTimeLoop loop = open_loop(em, first, last, count.lo > 0, range);
    if (em->counts_multiples && is_innermost(&stmt->body))
        count_multiples(em, &loop);
    Index var = index_of_atom(loop.atom);
    emit_iteration(em, stmt, &var);
    close_loop(em, &loop, last, stmt->step);
}

static void emit_unrolled(Emitter *em, const LoopStmt *stmt) {
    Index begin = emit_index(em, stmt->begin), end = emit_index(em, stmt->end);
    Index trips = index_add(em, &end, &begin, -1);
    int64_t count;
    if (!index_is_constant(&trips, &count))
        kdc_bug("kernel %s: the unrolled loop over %s has no constant number of iterations",
                em->kernel->name, em->kernel->vars.at[stmt->index].name);
    Index one = index_constant(1);
    for (int64_t i = 0; i < count; i += stmt->step) {
        Index var = index_add(em, &begin, &one, i);
        emit_iteration(em, stmt, &var);
    }
}

/// This thread's share: iteration i in [lo, hi) has the variable begin + i * step.
static void emit_parallel(Emitter *em, const LoopStmt *stmt) {
    Index begin = emit_index(em, stmt->begin), end = emit_index(em, stmt->end);
    Interval range = range_of_loop(em, &begin, &end);
    Interval first = index_range(em, &begin);
    Interval turns = {0, INTERVAL_MAX};
    if (first.lo == first.hi && range.hi != INTERVAL_MAX)
        turns.hi = (range.hi - range.lo) / stmt->step;
    LLVMValueRef lo = em->atoms.at[em->range_atom[RANGE_LO]].value;
    LLVMValueRef hi = em->atoms.at[em->range_atom[RANGE_HI]].value;
    RunTimeLoop loop = open_loop(em, lo, hi, false, turns);
    Index turn = index_of_atom(loop.atom);
    Index var = index_add(em, &begin, &turn, stmt->step);
    emit_iteration(em, stmt, &var);
    close_loop(em, &loop, hi, 1);
}

// ---- vector loops
// ------------------------------------------------------------------------------------

/// Notes the locals that `body` declares, and those that it accumulates into.
static void scan_locals(const LoopBody *body, bool *declared, bool *accumulated) {
    for (size_t i = 0; i < body->count; i++) {
        const LoopStmt *stmt = body->at[i];
        if (stmt->kind == T_LOCAL)
            declared[stmt->index] = true;
        if (stmt->kind == T_ACCUMULATE)
            accumulated[stmt->index] = true;
        scan_locals(&stmt->body, declared, accumulated);
        scan_locals(&stmt->other, declared, accumulated);
    }
}

static LLVMValueRef identity_of(Emitter *em, ScalarOp op, ScalarType type) {
    LLVMTypeRef t = emit_type(em, type);
    if (op == X_add)
        return scalar_is_float(type) ? LLVMConstReal(t, -0.0) : LLVMConstInt(t, 0, false);
    bool max = op == X_max;
    switch (type) {
    case S_F32:
    case S_F64:
        return LLVMConstReal(t, max ? -__builtin_inf() : __builtin_inf());
    case S_U8:
        return LLVMConstInt(t, max ? 0 : 255, false);
    case S_I32:
        return LLVMConstInt(t, (uint64_t)(max ? INT32_MIN : INT32_MAX), true);
    case S_INDEX:
        return LLVMConstInt(t, (uint64_t)(max ? INT64_MIN : INT64_MAX), true);
    case S_BOOL:
        break;
    }
    kdc_bug("an accumulated local of type bool");
}

/// The op by which `body` accumulates into `local`; -1: none.
static int accumulating_op(const LoopBody *body, uint32_t local) {
    for (size_t i = 0; i < body->count; i++) {
        const LoopStmt *stmt = body->at[i];
        if (stmt->kind == T_ACCUMULATE && stmt->index == local)
            return (int)stmt->op;
        int op = accumulating_op(&stmt->body, local);
        op = op < 0 ? accumulating_op(&stmt->other, local) : op;
        if (op >= 0)
            return op;
    }
    return -1;
}

static LLVMValueRef element_pointer(Emitter *em, LLVMTypeRef type, LLVMValueRef slot, int64_t i) {
    LLVMValueRef at = emit_int(em, i);
    return LLVMBuildGEP2(em->builder, type, slot, &at, 1, "");
}

LLVMValueRef emit_slot(Emitter *em, LLVMTypeRef element, int64_t count) {
    LLVMBasicBlockRef at = LLVMGetInsertBlock(em->builder);
    LLVMPositionBuilderBefore(em->builder, em->entry_end);
    LLVMValueRef slot = LLVMBuildAlloca(em->builder, LLVMArrayType2(element, (uint64_t)count), "");
    LLVMSetAlignment(slot, 64);
    LLVMPositionBuilderAtEnd(em->builder, at);
    return slot;
}

static void open_partials(Emitter *em, const LoopStmt *stmt, const bool *outer) {
    for (uint32_t i = 0; i < em->kernel->locals.count; i++) {
        if (!outer[i])
            continue;
        const LoopLocal *local = &em->kernel->locals.at[i];
        int64_t count = loop_local_count(local);
        LocalState *state = &em->local[i];
        state->partial = emit_slot(em, emit_vector_type(em, local->type), count);
        state->touched = arena_array(em->arena, bool, (size_t)count);
        ScalarOp op = (ScalarOp)accumulating_op(&stmt->body, i);
        LLVMValueRef identity = emit_splat(em, identity_of(em, op, local->type));
        for (int64_t k = 0; k < count; k++)
            LLVMBuildStore(
                em->builder, identity,
                element_pointer(em, emit_vector_type(em, local->type), state->partial, k));
    }
}

/// Adds up the lanes: the upper half to the lower half until one is left.
static LLVMValueRef reduce_lanes(Emitter *em, ScalarOp op, ScalarType type, LLVMValueRef vector) {
    LLVMTypeRef i32 = LLVMInt32TypeInContext(em->context);
    for (uint32_t width = em->lanes / 2; width > 0; width /= 2) {
        LLVMValueRef low[MAX_LANES], high[MAX_LANES];
        for (uint32_t i = 0; i < width; i++) {
            low[i] = LLVMConstInt(i32, i, false);
            high[i] = LLVMConstInt(i32, i + width, false);
        }
        LLVMValueRef undef = LLVMGetUndef(LLVMTypeOf(vector));
        LLVMValueRef a =
            LLVMBuildShuffleVector(em->builder, vector, undef, LLVMConstVector(low, width), "");
        LLVMValueRef b =
            LLVMBuildShuffleVector(em->builder, vector, undef, LLVMConstVector(high, width), "");
        vector = emit_combine(em, op, type, a, b);
    }
    return LLVMBuildExtractElement(em->builder, vector, LLVMConstInt(i32, 0, false), "");
}

static void close_partials(Emitter *em, const LoopStmt *stmt, const bool *outer) {
    for (uint32_t i = 0; i < em->kernel->locals.count; i++) {
        if (!outer[i])
            continue;
        const LoopLocal *local = &em->kernel->locals.at[i];
        LocalState *state = &em->local[i];
        ScalarOp op = (ScalarOp)accumulating_op(&stmt->body, i);
        LLVMTypeRef vector = emit_vector_type(em, local->type);
        LLVMTypeRef scalar = emit_type(em, local->type);
        for (int64_t k = 0; k < loop_local_count(local); k++) {
            if (!state->touched[k])
                continue;
            LLVMValueRef lanes = LLVMBuildLoad2(em->builder, vector,
                                                element_pointer(em, vector, state->partial, k), "");
            LLVMValueRef total = reduce_lanes(em, op, local->type, lanes);
            LLVMValueRef pointer = element_pointer(em, scalar, state->slot, k);
            LLVMValueRef old = LLVMBuildLoad2(em->builder, scalar, pointer, "");
            LLVMBuildStore(em->builder, emit_combine(em, op, local->type, old, total), pointer);
        }
        state->partial = NULL;
        state->touched = NULL;
    }
}

static Index lane_index(const Index *base) {
    Index index = *base;
    index.lane = 1;
    return index;
}

/// Lanes begin, begin + 1, ... below end.
static void emit_masked_vector(Emitter *em, const LoopStmt *stmt, const Index *begin,
                               const Index *end) {
    Index left = index_add(em, end, begin, -1), lane = {.lane = 1};
    Interval range = index_range(em, &left);
    int64_t last = em->lane_last;
    if (range.hi < em->lanes)
        em->lane_last = range.hi - 1;
    // the mask itself is over all lanes
    int64_t known = em->lane_last;
    em->lane_last = em->lanes - 1;
    Value mask = emit_index_compare(em, X_lt, &lane, &left);
    em->lane_last = known;
    em->mask = LLVMIsAConstantInt(mask.value) ? NULL : mask.value;
    Index var = lane_index(begin);
    emit_iteration(em, stmt, &var);
    em->mask = NULL;
    em->lane_last = last;
}

static void emit_constant_vectors(Emitter *em, const LoopStmt *stmt, const Index *begin,
                                  const Index *end, int64_t count) {
    int64_t whole = count / em->lanes;
    Index one = index_constant(1);
    Index middle = index_add(em, begin, &one, whole * em->lanes);
    if (whole == 1) {
        Index var = lane_index(begin);
        emit_iteration(em, stmt, &var);
    } else if (whole > 1) {
        LLVMValueRef first = emit_index_scalar(em, begin), last = emit_index_scalar(em, &middle);
        Interval a = index_range(em, begin);
        Interval range = interval_add(a, (Interval){0, (whole - 1) * em->lanes});
        RunTimeLoop loop;
        if (a.lo == a.hi) { // the phi counts from there
            loop = open_loop(em, first, last, true, range);
            Index base = index_of_atom(loop.atom), var = lane_index(&base);
            emit_iteration(em, stmt, &var);
            close_loop(em, &loop, last, em->lanes);
        } else { // begin stays visible in the index: alignment, quotients
            LLVMValueRef limit = emit_int(em, whole);
            loop = open_loop(em, emit_int(em, 0), limit, true, (Interval){0, whole - 1});
            Index turn = index_of_atom(loop.atom);
            Index base = index_add(em, begin, &turn, em->lanes), var = lane_index(&base);
            emit_iteration(em, stmt, &var);
            close_loop(em, &loop, limit, 1);
        }
    }
    if (count % em->lanes)
        emit_masked_vector(em, stmt, &middle, end);
}

static void emit_variable_vectors(Emitter *em, const LoopStmt *stmt, const Index *begin,
                                  const Index *end, Interval count) {
    Index trips = index_add(em, end, begin, -1);
    LLVMValueRef first = emit_index_scalar(em, begin), total = emit_index_scalar(em, &trips);
    LLVMValueRef whole = LLVMBuildAnd(em->builder, total, emit_int(em, -(int64_t)em->lanes), "");
    LLVMValueRef limit = LLVMBuildAdd(em->builder, first, whole, "");
    size_t anchors = em->anchors.count;
    Interval range = range_of_loop(em, begin, end);
    Interval middle = {range.lo, range.hi == INTERVAL_MAX ? range.hi : range.hi + 1};
    if (count.hi >= em->lanes) {
        Interval full = range;
        if (full.hi != INTERVAL_MAX)
            full.hi = full.hi - em->lanes + 1 < full.lo ? full.lo : full.hi - em->lanes + 1;
        RunTimeLoop loop = open_loop(em, first, limit, false, full);
        Index base = index_of_atom(loop.atom), var = lane_index(&base);
        emit_iteration(em, stmt, &var);
        close_loop(em, &loop, limit, em->lanes);
    } else {
        limit = first;
    }
    LLVMValueRef last = emit_index_scalar(em, end);
    LLVMBasicBlockRef tail = emit_block(em, "tail"), exit = emit_block(em, "exit");
    LLVMBuildCondBr(em->builder, LLVMBuildICmp(em->builder, LLVMIntSLT, limit, last, ""), tail,
                    exit);
    LLVMPositionBuilderAtEnd(em->builder, tail);
    uint32_t atom = atom_new(em, limit, middle, anchor_push(em));
    Index base = count.hi >= em->lanes ? index_of_atom(atom) : *begin;
    emit_masked_vector(em, stmt, &base, end);
    anchor_cut(em, anchors);
    LLVMBuildBr(em->builder, exit);
    LLVMPositionBuilderAtEnd(em->builder, exit);
}

static void emit_vector(Emitter *em, const LoopStmt *stmt) {
    if (em->lanes)
        kdc_bug("kernel %s: a vector loop inside a vector loop", em->kernel->name);
    Index begin = emit_index(em, stmt->begin), end = emit_index(em, stmt->end);
    Index trips = index_add(em, &end, &begin, -1);
    Interval count = index_range(em, &trips);
    int64_t constant;
    if (count.hi <= 0)
        return;
    size_t locals = em->kernel->locals.count + 1;
    bool *declared = arena_array(em->arena, bool, locals);
    bool *outer = arena_array(em->arena, bool, locals);
    scan_locals(&stmt->body, declared, outer);
    for (size_t i = 0; i < locals; i++)
        outer[i] = outer[i] && !declared[i];
    em->lanes = loop_lanes(em->kernel, stmt);
    em->lane_last = em->lanes - 1;
    open_partials(em, stmt, outer);
    if (index_is_constant(&trips, &constant))
        emit_constant_vectors(em, stmt, &begin, &end, constant);
    else
        emit_variable_vectors(em, stmt, &begin, &end, count);
    close_partials(em, stmt, outer);
    em->lanes = 0;
    em->lane_last = 0;
}

static void emit_for(Emitter *em, const LoopStmt *stmt) {
    switch (stmt->loop) {
    case LOOP_SERIAL:
        emit_serial(em, stmt);
        break;
    case LOOP_PARALLEL:
        emit_parallel(em, stmt);
        break;
    case LOOP_VECTOR:
        emit_vector(em, stmt);
        break;
    case LOOP_UNROLL:
        emit_unrolled(em, stmt);
        break;
    }
}

// ---- other statements
// --------------------------------------------------------------------------------

static void emit_let(Emitter *em, const LoopStmt *stmt) {
    if (stmt->value->type == S_INDEX)
        em->let_index[stmt->index] = emit_index(em, stmt->value);
    else
        em->let_value[stmt->index] = emit_value(em, stmt->value);
}

/// Declared once per place and kind; a loop body that is emitted twice uses it twice.
static void emit_local_declaration(Emitter *em, uint32_t index) {
    LocalState *state = &em->local[index];
    bool vector = em->lanes > 0;
    if (state->slot && state->is_vector == vector)
        return;
    state->is_vector = vector;
    state->slot = emit_slot(em, emit_local_type(em, index, false),
                           loop_local_count(&em->kernel->locals.at[index]));
}

// ---- counting
// ----------------------------------------------------------------------------------------

static const LoopExpr *behind_lets(const Emitter *em, const LoopExpr *expr) {
    while (expr->kind == E_LET)
        expr = em->kernel->lets.at[expr->index].value;
    return expr;
}

/// A product, perhaps where it lies inside a frame only.
static bool is_product(const Emitter *em, const LoopExpr *expr) {
    expr = behind_lets(em, expr);
    if (expr->kind != E_APPLY || !scalar_is_float(expr->type))
        return false;
    return expr->op == X_mul || (expr->op == X_select && is_product(em, expr->operand[1]));
}

/// sum = fma(a, b, sum), or sum += a * b
static bool is_multiply_add(const Emitter *em, const LoopStmt *stmt) {
    if (stmt->kind == T_ACCUMULATE)
        return stmt->op == X_add && is_product(em, stmt->value);
    const LoopExpr *value = behind_lets(em, stmt->value);
    if (value->kind != E_APPLY || value->op != X_fma)
        return false;
    const LoopExpr *sum = behind_lets(em, value->operand[2]);
    return sum->kind == E_LOCAL && sum->index == stmt->index;
}

static void add_to(Emitter *em, LLVMValueRef pointer, LLVMValueRef number) {
    LLVMTypeRef i64 = LLVMInt64TypeInContext(em->context);
    LLVMValueRef old = LLVMBuildLoad2(em->builder, i64, pointer, "");
    LLVMBuildStore(em->builder, LLVMBuildAdd(em->builder, old, number, ""), pointer);
}

/// Adds the lanes that are in use.
static void count_multiply_add(Emitter *em, const LoopStmt *stmt) {
    if (em->count_offset < 0 || !is_multiply_add(em, stmt))
        return;
    LLVMValueRef lanes = emit_int(em, em->lanes ? em->lanes : 1);
    if (em->lanes && em->mask) {
        LLVMTypeRef bits = LLVMIntTypeInContext(em->context, em->lanes);
        LLVMValueRef mask = LLVMBuildBitCast(em->builder, em->mask, bits, "");
        mask = emit_intrinsic(em, "llvm.ctpop", &bits, 1, &mask, 1);
        lanes = LLVMBuildZExt(em->builder, mask, LLVMInt64TypeInContext(em->context), "");
    }
    add_to(em, em->count, lanes);
}

static void open_count(Emitter *em) {
    if (em->count_offset < 0)
        return;
    em->count = emit_slot(em, LLVMInt64TypeInContext(em->context), 1);
    LLVMBuildStore(em->builder, emit_int(em, 0), em->count);
}

/// What this call has counted goes to the thread's scratch.
static void close_count(Emitter *em) {
    if (em->count_offset < 0)
        return;
    LLVMTypeRef i64 = LLVMInt64TypeInContext(em->context);
    LLVMValueRef offset = emit_int(em, em->count_offset);
    LLVMValueRef pointer = LLVMBuildGEP2(em->builder, LLVMInt8TypeInContext(em->context),
                                         em->scratch, &offset, 1, "");
    add_to(em, pointer, LLVMBuildLoad2(em->builder, i64, em->count, ""));
}

static void emit_assignment(Emitter *em, const LoopStmt *stmt) {
    count_multiply_add(em, stmt);
    LocalState *state = &em->local[stmt->index];
    ScalarType type = em->kernel->locals.at[stmt->index].type;
    bool constant, partial = state->partial != NULL;
    int64_t flat;
    Value value = emit_value(em, stmt->value);
    LLVMValueRef pointer =
        emit_local_pointer(em, stmt->index, partial, stmt->subscript, &constant, &flat);
    LLVMTypeRef slot_type = emit_local_type(em, stmt->index, partial);
    bool vector = partial || state->is_vector;
    if (value.is_vector && !vector)
        kdc_bug("kernel %s: the lanes of a vector loop set the local %s from outside",
                em->kernel->name, em->kernel->locals.at[stmt->index].name);
    LLVMValueRef result = vector ? emit_as_vector(em, value) : value.value;
    LLVMValueRef old = NULL;
    if (stmt->kind == T_ACCUMULATE || (vector && em->mask))
        old = LLVMBuildLoad2(em->builder, slot_type, pointer, "");
    if (stmt->kind == T_ACCUMULATE)
        result = emit_combine(em, stmt->op, type, old, result);
    if (vector && em->mask)
        result = LLVMBuildSelect(em->builder, em->mask, result, old, "");
    LLVMBuildStore(em->builder, result, pointer);
    for (int64_t i = 0; partial && i < loop_local_count(&em->kernel->locals.at[stmt->index]); i++)
        state->touched[i] = state->touched[i] || !constant || i == flat;
}

static void emit_store_stmt(Emitter *em, const LoopStmt *stmt) {
    Value value = emit_value(em, stmt->value);
    Index index = emit_index(em, stmt->subscript[0]);
    emit_store(em, stmt->index, &index, value);
    const LoopKernel *kernel = em->kernel;
    for (uint32_t i = 0; i < kernel->buffers.count && !em->prefetching; i++) {
        if (kernel->buffers.at[i].beside == stmt->index + 1)
            emit_store(em, i, &index, value);
    }
}

/// One branch of an if, from `block` to `join`.
static void emit_if_branch(Emitter *em, const LoopBody *body, LLVMBasicBlockRef block,
                           LLVMBasicBlockRef join) {
    size_t anchors = em->anchors.count;
    LLVMPositionBuilderAtEnd(em->builder, block);
    emit_body(em, body);
    anchor_cut(em, anchors);
    LLVMBuildBr(em->builder, join);
}

/// A condition per lane: each branch runs under its mask, if any lane wants it.
static void emit_masked_if(Emitter *em, const LoopBody *body, LLVMValueRef condition) {
    LLVMValueRef mask = em->mask;
    if (!body->count)
        return;
    em->mask = mask ? LLVMBuildAnd(em->builder, mask, condition, "") : condition;
    LLVMBasicBlockRef then = emit_block(em, "then"), join = emit_block(em, "join");
    LLVMBuildCondBr(em->builder, emit_any(em, em->mask), then, join);
    emit_if_branch(em, body, then, join);
    LLVMPositionBuilderAtEnd(em->builder, join);
    em->mask = mask;
}

static void emit_if(Emitter *em, const LoopStmt *stmt) {
    Value condition = emit_value(em, stmt->value);
    if (LLVMIsAConstantInt(condition.value)) {
        size_t anchors = em->anchors.count;
        emit_body(em, LLVMConstIntGetZExtValue(condition.value) ? &stmt->body : &stmt->other);
        anchor_cut(em, anchors);
        return;
    }
    if (condition.is_vector) {
        emit_masked_if(em, &stmt->body, condition.value);
        if (stmt->other.count)
            emit_masked_if(em, &stmt->other, LLVMBuildNot(em->builder, condition.value, ""));
        return;
    }
    LLVMBasicBlockRef then = emit_block(em, "then"), join = emit_block(em, "join");
    LLVMBasicBlockRef other = stmt->other.count ? emit_block(em, "else") : join;
    LLVMBuildCondBr(em->builder, condition.value, then, other);
    emit_if_branch(em, &stmt->body, then, join);
    if (stmt->other.count)
        emit_if_branch(em, &stmt->other, other, join);
    LLVMPositionBuilderAtEnd(em->builder, join);
}

static void emit_call(Emitter *em, const LoopStmt *stmt) {
    LLVMTypeRef type;
    LLVMValueRef entry = emit_entry(em, stmt->entry, &type);
    LLVMValueRef *argument = arena_array(em->arena, LLVMValueRef, stmt->argument_count + 1);
    if (em->lanes || LLVMCountParamTypes(type) != stmt->argument_count)
        kdc_bug("kernel %s: a bad call of %s", em->kernel->name, stmt->entry);
    for (uint32_t i = 0; i < stmt->argument_count; i++) {
        const LoopExpr *expr = stmt->argument[i];
        argument[i] =
            expr->kind == E_LOAD ? emit_load_address(em, expr) : emit_value(em, expr).value;
    }
    LLVMBuildCall2(em->builder, type, entry, argument, stmt->argument_count, "");
}

static void emit_prefetch(Emitter *em, const LoopBody *body) {
    size_t anchors = em->anchors.count;
    bool before = em->prefetching;
    em->prefetching = true;
    emit_body(em, body);
    anchor_cut(em, anchors);
    em->prefetching = before;
}

static void emit_stmt(Emitter *em, const LoopStmt *stmt) {
    emit_memo_clear(em);
    switch (stmt->kind) {
    case T_FOR:
        emit_for(em, stmt);
        break;
    case T_LET:
        emit_let(em, stmt);
        break;
    case T_LOCAL:
        emit_local_declaration(em, stmt->index);
        break;
    case T_SET:
    case T_ACCUMULATE:
        emit_assignment(em, stmt);
        break;
    case T_STORE:
        emit_store_stmt(em, stmt);
        break;
    case T_IF:
        emit_if(em, stmt);
        break;
    case T_CALL:
        emit_call(em, stmt);
        break;
    case T_ASK:
        emit_ask(em);
        break;
    case T_RELOAD:
        LLVMBuildFence(em->builder, LLVMAtomicOrderingSequentiallyConsistent, true, "");
        break;
    case T_PREFETCH:
        emit_prefetch(em, &stmt->body);
        break;
    case T_BLOCK:
        emit_body(em, &stmt->body);
        break;
    }
}

static void emit_body(Emitter *em, const LoopBody *body) {
    for (size_t i = 0; i < body->count; i++)
        emit_stmt(em, body->at[i]);
    emit_memo_clear(em);
}

// ---- kernels
// -------------------------------------------------------------------------------------------

/// Buffers never overlap, but for those that work in place or beside another.
static void mark_noalias(const Emitter *em, const LoopKernel *kernel, LLVMValueRef function) {
    unsigned kind = LLVMGetEnumAttributeKindForName("noalias", 7);
    unsigned parameter = 1; // behind frame
    for (size_t i = 0; i < kernel->buffers.count; i++) {
        bool shared = kernel->buffers.at[i].in_place || kernel->buffers.at[i].beside;
        for (size_t k = 0; k < kernel->buffers.count; k++)
            shared = shared || kernel->buffers.at[k].in_place == i + 1 ||
                     kernel->buffers.at[k].beside == i + 1;
        if (kernel->buffers.at[i].role == BUFFER_SCRATCH)
            continue;
        parameter++;
        if (!shared && !em->options->strip_flags)
            LLVMAddAttributeAtIndex(function, parameter,
                                    LLVMCreateEnumAttribute(em->context, kind, 0));
    }
}

/// Binds the parameters: buffers, and the atoms of extents, range and frame.
static void bind_parameters(Emitter *em, LLVMValueRef function) {
    const LoopKernel *kernel = em->kernel;
    unsigned next = 0;
    em->frame = LLVMGetParam(function, next++);
    for (size_t i = 0; i < kernel->buffers.count; i++) {
        if (kernel->buffers.at[i].role != BUFFER_SCRATCH)
            em->buffer[i] = LLVMGetParam(function, next++);
    }
    em->extent_atom = (uint32_t)em->atoms.count;
    for (uint32_t i = 0; i < kernel->extent_count; i++)
        atom_new(em, LLVMGetParam(function, next++), (Interval){1, INTERVAL_MAX}, 0);
    for (uint32_t i = RANGE_LO; i <= RANGE_THREAD; i++)
        em->range_atom[i] =
            atom_new(em, LLVMGetParam(function, next++), (Interval){0, INTERVAL_MAX}, 0);
    em->scratch = LLVMGetParam(function, next);
    LLVMTypeRef i8 = LLVMInt8TypeInContext(em->context);
    for (size_t i = 0; i < kernel->buffers.count; i++) {
        if (kernel->buffers.at[i].role != BUFFER_SCRATCH)
            continue;
        LLVMValueRef offset = emit_int(em, loop_scratch_offset(kernel, (uint32_t)i));
        em->buffer[i] = LLVMBuildGEP2(em->builder, i8, em->scratch, &offset, 1, "");
    }
    const size_t offset_of[2] = {offsetof(KdrtFrame, seed), offsetof(KdrtFrame, iteration)};
    for (uint32_t i = FRAME_SEED; i <= FRAME_ITERATION; i++) {
        LLVMValueRef offset = emit_int(em, (int64_t)offset_of[i]);
        LLVMValueRef pointer = LLVMBuildGEP2(em->builder, i8, em->frame, &offset, 1, "");
        LLVMTypeRef i64 = LLVMInt64TypeInContext(em->context);
        em->range_atom[i] = atom_new(em, LLVMBuildLoad2(em->builder, i64, pointer, ""),
                                     (Interval){INTERVAL_MIN, INTERVAL_MAX}, 0);
    }
}

void emit_kernel(Emitter *em, const LoopKernel *kernel, LLVMValueRef function) {
    em->kernel = kernel;
    em->function = function;
    em->atoms.count = 0;
    em->lanes = 0;
    em->mask = NULL;
    em->memo = (Memo){0};
    em->buffer = arena_array(em->arena, LLVMValueRef, kernel->buffers.count + 1);
    em->var = arena_array(em->arena, Index, kernel->vars.count + 1);
    em->let_index = arena_array(em->arena, Index, kernel->lets.count + 1);
    em->let_value = arena_array(em->arena, Value, kernel->lets.count + 1);
    em->local = arena_array(em->arena, LocalState, kernel->locals.count + 1);
    mark_noalias(em, kernel, function);
    LLVMBasicBlockRef entry = emit_block(em, "entry"), start = emit_block(em, "start");
    LLVMPositionBuilderAtEnd(em->builder, entry);
    bind_parameters(em, function);
    em->entry_end = LLVMBuildBr(em->builder, start);
    LLVMPositionBuilderAtEnd(em->builder, start);
    anchor_push(em);
    open_count(em);
    if (kernel->asks) {
        const Atom *lo = &em->atoms.at[em->range_atom[RANGE_LO]];
        const Atom *hi = &em->atoms.at[em->range_atom[RANGE_HI]];
        LLVMValueRef iterations = LLVMBuildSub(em->builder, hi->value, lo->value, "");
        emit_ahead_open(em, LLVMGetLastParam(function), iterations);
    }
    emit_body(em, &kernel->body);
    close_count(em);
    LLVMBuildRetVoid(em->builder);
    anchor_cut(em, 0);
}
