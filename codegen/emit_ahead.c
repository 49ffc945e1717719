// codegen/emit_ahead.c -- memory that a kernel asks for on behalf of launches behind it (see
// chain_ahead.c).
//
// What is asked for comes in a table of i64: the ends of up to AHEAD_MOST pieces, counted from the
// beginning of the first, then where each would begin if the pieces before it were part of it. So
// one cursor goes through all pieces, and a piece is chosen by comparing. T_ASK asks for the line
// at the cursor, into the second-level cache, and moves on by as many bytes as spread the pieces
// over all that the call asks, a line at most. Behind the last piece it is the table's own line.
#include "codegen/emit.h"

static LLVMTypeRef i64_type(const Emitter *em) {
    return LLVMInt64TypeInContext(em->context);
}

static LLVMTypeRef i8_type(const Emitter *em) {
    return LLVMInt8TypeInContext(em->context);
}

static LLVMValueRef table_entry(Emitter *em, LLVMValueRef table, int64_t index) {
    LLVMValueRef at = emit_int(em, index);
    return LLVMBuildGEP2(em->builder, i64_type(em), table, &at, 1, "");
}

LLVMTypeRef emit_ahead_type(const Emitter *em) {
    return LLVMArrayType2(i64_type(em), 2 * AHEAD_MOST);
}

void emit_ahead_fill(Emitter *em, LLVMValueRef table, const LLVMValueRef *begin,
                     const LLVMValueRef *bytes, uint32_t count) {
    LLVMBuilderRef builder = em->builder;
    LLVMValueRef end = emit_int(em, 0);
    for (uint32_t i = 0; i < AHEAD_MOST; i++) {
        LLVMValueRef from = table;
        if (i < count) {
            LLVMValueRef back = LLVMBuildNeg(builder, end, "");
            from = LLVMBuildGEP2(builder, i8_type(em), begin[i], &back, 1, "");
            end = LLVMBuildAdd(builder, end, bytes[i], "");
        }
        LLVMBuildStore(builder, end, table_entry(em, table, i));
        LLVMBuildStore(builder, from, table_entry(em, table, AHEAD_MOST + i));
    }
}

void emit_ahead_open(Emitter *em, LLVMValueRef table, LLVMValueRef iterations) {
    LLVMBuilderRef builder = em->builder;
    LLVMTypeRef i64 = i64_type(em), pointer = LLVMPointerTypeInContext(em->context, 0);
    em->ahead.table = table;
    for (int64_t i = 0; i < AHEAD_MOST; i++) {
        LLVMValueRef end = table_entry(em, table, i);
        LLVMValueRef from = table_entry(em, table, AHEAD_MOST + i);
        em->ahead.end[i] = LLVMBuildLoad2(builder, i64, end, "end");
        em->ahead.from[i] = LLVMBuildLoad2(builder, pointer, from, "from");
    }
    LLVMValueRef all = em->ahead.end[AHEAD_MOST - 1], one = emit_int(em, 1);
    LLVMValueRef line = emit_int(em, CACHE_LINE);
    LLVMValueRef asks = LLVMBuildMul(builder, iterations, emit_int(em, em->kernel->asks), "");
    LLVMValueRef none = LLVMBuildICmp(builder, LLVMIntULT, asks, one, "");
    asks = LLVMBuildSelect(builder, none, one, asks, "");
    LLVMValueRef step = LLVMBuildAdd(builder, all, LLVMBuildSub(builder, asks, one, ""), "");
    step = LLVMBuildUDiv(builder, step, asks, "");
    LLVMValueRef is_short = LLVMBuildICmp(builder, LLVMIntULT, step, line, "");
    em->ahead.step = LLVMBuildSelect(builder, is_short, step, line, "step");
    em->ahead.cursor = emit_slot(em, i64, 1);
    LLVMBuildStore(builder, emit_int(em, 0), em->ahead.cursor);
}

void emit_ask(Emitter *em) {
    enum { SECOND_LEVEL = 2, DATA = 1 };
    if (!em->kernel->asks)
        return; // it is in loops without a turn
    LLVMBuilderRef builder = em->builder;
    LLVMTypeRef i32 = LLVMInt32TypeInContext(em->context);
    LLVMValueRef cursor = LLVMBuildLoad2(builder, i64_type(em), em->ahead.cursor, "cursor");
    LLVMValueRef from = em->ahead.from[AHEAD_MOST - 1];
    for (int i = AHEAD_MOST - 2; i >= 0; i--) {
        LLVMValueRef here = LLVMBuildICmp(builder, LLVMIntULT, cursor, em->ahead.end[i], "");
        from = LLVMBuildSelect(builder, here, em->ahead.from[i], from, "");
    }
    LLVMValueRef line = LLVMBuildGEP2(builder, i8_type(em), from, &cursor, 1, "");
    LLVMValueRef all = em->ahead.end[AHEAD_MOST - 1];
    LLVMValueRef more = LLVMBuildICmp(builder, LLVMIntULT, cursor, all, "");
    line = LLVMBuildSelect(builder, more, line, em->ahead.table, "");
    LLVMTypeRef type = LLVMTypeOf(line);
    LLVMValueRef argument[4] = {line, LLVMConstInt(i32, 0, false),
                                LLVMConstInt(i32, SECOND_LEVEL, false),
                                LLVMConstInt(i32, DATA, false)};
    emit_intrinsic(em, "llvm.prefetch", &type, 1, argument, 4);
    LLVMBuildStore(builder, LLVMBuildAdd(builder, cursor, em->ahead.step, ""), em->ahead.cursor);
}
