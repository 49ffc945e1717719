// codegen/loops.c -- building the loop IR: types, statements, and what is asked of them.
//
// Builders append to a body. Expressions are built in loops_expr.c.
#include "codegen/loops.h"

#include <string.h>

#include "support/diag.h"

const ScalarInfo scalar_info[X_COUNT] = {
#define SCALAR(name, arity, rule, text) [X_##name] = {#name, arity, #rule[0], text},
#include "codegen/scalars.def"
#undef SCALAR
};

// ---- types
// ---------------------------------------------------------------------------------------

const char *scalar_type_name(ScalarType type) {
    static const char *const name[] = {"bool", "u8", "i32", "index", "f32", "f64"};
    return name[type];
}

size_t scalar_size_bytes(ScalarType type) {
    static const uint8_t size[] = {1, 1, 4, 8, 4, 8};
    return size[type];
}

bool scalar_is_float(ScalarType type) {
    return type == S_F32 || type == S_F64;
}

ScalarType scalar_type_of(DType dtype) {
    switch (dtype) {
    case DT_F32:
        return S_F32;
    case DT_F64:
        return S_F64;
    case DT_I32:
        return S_I32;
    case DT_U8:
        return S_U8;
    case DT_BOOL:
        return S_BOOL;
    }
    kdc_bug("dtype %d", (int)dtype);
}

bool scalar_result(ScalarOp op, const ScalarType *operand, uint32_t arity, ScalarType *result) {
    const ScalarInfo *info = &scalar_info[op];
    if (arity != info->arity)
        return false;
    ScalarType a = operand[0];
    bool same = arity < 2 || operand[1] == a;
    bool any = op == X_copy || op == X_first || info->rule == 'C';
    switch (info->rule) {
    case 'N':
        *result = a;
        return same && (any || a != S_BOOL);
    case 'F':
        *result = a;
        return same && (arity < 3 || operand[2] == a) && scalar_is_float(a);
    case 'I':
        *result = a;
        return same && (a == S_I32 || a == S_INDEX || a == S_U8);
    case 'C':
        *result = S_BOOL;
        return same && (any || a != S_BOOL);
    case 'B':
        *result = S_BOOL;
        return same && a == S_BOOL;
    case 'S':
        *result = operand[1];
        return a == S_BOOL && operand[1] == operand[2];
    case 'K':
        return true;
    case 'T':
        if (op == X_bits) {
            *result = a == S_F32 ? S_I32 : S_INDEX;
            return scalar_is_float(a);
        }
        *result = a == S_I32 ? S_F32 : S_F64;
        return a == S_I32 || a == S_INDEX;
    default:
        kdc_bug("scalar op %s has the unknown rule %c", info->name, info->rule);
    }
}

// ---- statements
// --------------------------------------------------------------------------------------

LoopKernel *loop_kernel_new(Arena *arena, const char *name) {
    LoopKernel *kernel = arena_new(arena, LoopKernel);
    kernel->arena = arena;
    kernel->name = arena_strdup(arena, name);
    return kernel;
}

uint32_t loop_extent(LoopKernel *kernel) {
    return kernel->extent_count++;
}

uint32_t loop_buffer(LoopKernel *kernel, const char *name, ScalarType type, BufferRole role,
                     int64_t count) {
    LoopBuffer buffer = {arena_strdup(kernel->arena, name), type, role, count, 0, 0, false};
    vec_push(kernel->arena, &kernel->buffers, buffer);
    return (uint32_t)kernel->buffers.count - 1;
}

static LoopStmt *append(LoopKernel *kernel, LoopBody *body, StmtKind kind, uint32_t index) {
    LoopStmt *stmt = arena_new(kernel->arena, LoopStmt);
    stmt->kind = kind;
    stmt->index = index;
    vec_push(kernel->arena, body, stmt);
    return stmt;
}

uint32_t loop_local(LoopKernel *kernel, LoopBody *body, const char *name, ScalarType type,
                    const int64_t *dim, uint32_t rank) {
    LoopLocal local = {arena_strdup(kernel->arena, name), type, rank, {0}};
    kdc_assert(rank <= 4);
    for (uint32_t i = 0; i < rank; i++)
        local.dim[i] = dim[i];
    vec_push(kernel->arena, &kernel->locals, local);
    append(kernel, body, T_LOCAL, (uint32_t)kernel->locals.count - 1);
    return (uint32_t)kernel->locals.count - 1;
}

LoopStmt *loop_for(LoopKernel *kernel, LoopBody *body, LoopKind kind, const char *name,
                   LoopExpr *begin, LoopExpr *end, int64_t step) {
    kdc_assert(begin->type == S_INDEX && end->type == S_INDEX && step > 0);
    int64_t first, last;
    if (kind == LOOP_VECTOR && x_is_int(begin, &first) && x_is_int(end, &last) && last - first == 1)
        kind = LOOP_SERIAL; // its variable is a constant: there are no lanes
    LoopVar var = {arena_strdup(kernel->arena, name), kind, begin, end, step};
    vec_push(kernel->arena, &kernel->vars, var);
    LoopStmt *stmt = append(kernel, body, T_FOR, (uint32_t)kernel->vars.count - 1);
    stmt->loop = kind;
    stmt->begin = begin;
    stmt->end = end;
    stmt->step = step;
    return stmt;
}

LoopExpr *loop_var(LoopKernel *kernel, const LoopStmt *loop) {
    int64_t begin, end;
    if (x_is_int(loop->begin, &begin) && x_is_int(loop->end, &end) && end > begin &&
        end - begin <= loop->step && loop->loop != LOOP_PARALLEL)
        return x_int(kernel, begin); // a single iteration
    LoopExpr *expr = x_new(kernel, E_VAR, S_INDEX);
    expr->index = loop->index;
    return expr;
}

LoopExpr *loop_let(LoopKernel *kernel, LoopBody *body, const char *name, LoopExpr *value) {
    if (value->arity == 0) // constants, variables and other lets have a name already
        return value;
    LoopLet let = {arena_strdup(kernel->arena, name), value->type, value};
    vec_push(kernel->arena, &kernel->lets, let);
    uint32_t index = (uint32_t)kernel->lets.count - 1;
    append(kernel, body, T_LET, index)->value = value;
    LoopExpr *expr = x_new(kernel, E_LET, value->type);
    expr->index = index;
    return expr;
}

static LoopStmt *append_assignment(LoopKernel *kernel, LoopBody *body, StmtKind kind,
                                   uint32_t index, LoopExpr **subscript, uint32_t count,
                                   LoopExpr *value) {
    LoopStmt *stmt = append(kernel, body, kind, index);
    stmt->subscript_count = count;
    stmt->subscript = x_operands(kernel, subscript, count);
    stmt->value = value;
    return stmt;
}

void loop_set(LoopKernel *kernel, LoopBody *body, uint32_t local, LoopExpr **subscript,
              uint32_t count, LoopExpr *value) {
    kdc_assert(kernel->locals.at[local].type == value->type);
    kdc_assert(kernel->locals.at[local].rank == count);
    append_assignment(kernel, body, T_SET, local, subscript, count, value);
}

void loop_accumulate(LoopKernel *kernel, LoopBody *body, uint32_t local, LoopExpr **subscript,
                     uint32_t count, ScalarOp op, LoopExpr *value) {
    kdc_assert(op == X_add || op == X_max || op == X_min);
    kdc_assert(kernel->locals.at[local].type == value->type);
    kdc_assert(kernel->locals.at[local].rank == count);
    append_assignment(kernel, body, T_ACCUMULATE, local, subscript, count, value)->op = op;
}

void loop_store(LoopKernel *kernel, LoopBody *body, uint32_t buffer, LoopExpr *index,
                LoopExpr *value) {
    kdc_assert(kernel->buffers.at[buffer].type == value->type && index->type == S_INDEX);
    append_assignment(kernel, body, T_STORE, buffer, &index, 1, value);
}

LoopStmt *loop_if(LoopKernel *kernel, LoopBody *body, LoopExpr *condition) {
    kdc_assert(condition->type == S_BOOL);
    LoopStmt *stmt = append(kernel, body, T_IF, 0);
    stmt->value = condition;
    return stmt;
}

void loop_ask(LoopKernel *kernel, LoopBody *body) {
    append(kernel, body, T_ASK, 0);
}

void loop_reload(LoopKernel *kernel, LoopBody *body) {
    append(kernel, body, T_RELOAD, 0);
}

LoopStmt *loop_prefetch(LoopKernel *kernel, LoopBody *body) {
    kernel->prefetching = true;
    return append(kernel, body, T_PREFETCH, 0);
}

void loop_prefetch_end(LoopKernel *kernel) {
    kernel->prefetching = false;
}

void loop_call(LoopKernel *kernel, LoopBody *body, const char *entry, LoopExpr **argument,
               uint32_t count) {
    LoopStmt *stmt = append(kernel, body, T_CALL, 0);
    stmt->entry = arena_strdup(kernel->arena, entry);
    stmt->argument_count = count;
    stmt->argument = x_operands(kernel, argument, count);
}

// ---- looking
// -------------------------------------------------------------------------------------------

// Turns of a loop; of one whose end is the lesser of two, the most there may be; 1: unknown.
static int64_t turns_of(LoopKernel *kernel, const LoopStmt *loop) {
    const LoopExpr *end = loop->end;
    int64_t count;
    if (loop->loop == LOOP_VECTOR || loop->loop == LOOP_PARALLEL)
        return 1;
    while (end->kind == E_LET)
        end = kernel->lets.at[end->index].value;
    LoopExpr *choice[2] = {loop->end, loop->end};
    if (end->kind == E_APPLY && end->op == X_min)
        memcpy(choice, end->operand, sizeof choice);
    for (int i = 0; i < 2; i++) {
        if (x_is_int(x_sub(kernel, choice[i], loop->begin), &count))
            return ceil_div(count, loop->step);
    }
    return 1;
}

static int64_t asks_of(LoopKernel *kernel, const LoopBody *body) {
    int64_t count = 0;
    for (size_t i = 0; i < body->count; i++) {
        const LoopStmt *stmt = body->at[i];
        int64_t inner = asks_of(kernel, &stmt->body) + asks_of(kernel, &stmt->other);
        if (inner && stmt->kind == T_FOR)
            inner *= turns_of(kernel, stmt);
        count += inner + (stmt->kind == T_ASK);
    }
    return count;
}

int64_t loop_count_asks(LoopKernel *kernel) {
    return asks_of(kernel, &kernel->body);
}

static bool expr_has_type(const LoopExpr *expr, ScalarType type) {
    if (expr->type == type)
        return true;
    for (uint32_t i = 0; i < expr->arity; i++) {
        if (expr_has_type(expr->operand[i], type))
            return true;
    }
    return false;
}

static bool body_has_type(const LoopBody *body, ScalarType type) {
    for (size_t i = 0; i < body->count; i++) {
        const LoopStmt *stmt = body->at[i];
        if ((stmt->value && expr_has_type(stmt->value, type)) || body_has_type(&stmt->body, type) ||
            body_has_type(&stmt->other, type))
            return true;
    }
    return false;
}

uint32_t loop_lanes(const LoopKernel *kernel, const LoopStmt *loop) {
    (void)kernel;
    uint32_t lanes = body_has_type(&loop->body, S_F64) ? 8 : 16;
    return loop->narrow ? lanes / 2 : lanes;
}

const LoopStmt *loop_parallel(const LoopKernel *kernel) {
    for (size_t i = 0; i < kernel->body.count; i++) {
        const LoopStmt *stmt = kernel->body.at[i];
        if (stmt->kind == T_FOR && stmt->loop == LOOP_PARALLEL)
            return stmt;
    }
    return NULL;
}

int64_t loop_local_count(const LoopLocal *local) {
    int64_t count = 1;
    for (uint32_t i = 0; i < local->rank; i++)
        count *= local->dim[i];
    return count;
}

static int64_t scratch_bytes(const LoopKernel *kernel, size_t end) {
    int64_t bytes = 0;
    for (size_t i = 0; i < end; i++) {
        const LoopBuffer *buffer = &kernel->buffers.at[i];
        if (buffer->role == BUFFER_SCRATCH)
            bytes += (buffer->count * (int64_t)scalar_size_bytes(buffer->type) + 63) / 64 * 64;
    }
    return bytes;
}

int64_t loop_scratch_bytes(const LoopKernel *kernel) {
    return scratch_bytes(kernel, kernel->buffers.count);
}

int64_t loop_scratch_offset(const LoopKernel *kernel, uint32_t index) {
    return scratch_bytes(kernel, index);
}
