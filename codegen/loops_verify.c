// codegen/loops_verify.c -- what must hold of a kernel before it is emitted.
//
// One walk over the statements: what is declared is visible to what follows in its body and inside
// it; types fit; marks are legal (one parallel loop, outermost; no vector loop in a vector loop;
// locals from outside a vector loop are only accumulated into or only read in it); constant indices
// and subscripts are in range.
#include "codegen/loops.h"

#include <inttypes.h>
#include <string.h>

#include "support/diag.h"

typedef struct Verifier {
    const LoopKernel *kernel;
    Arena *arena;
    const char *message; // of the first mistake
    bool *var_open, *let_seen, *local_seen;
    bool *local_inside; // declared inside the vector loop at work
    bool *local_summed; // accumulated into by the vector loop at work, from outside
    bool in_vector, in_loop;
} Verifier;

#define WRONG(v, ...)                                                                              \
    do {                                                                                           \
        if (!(v)->message)                                                                         \
            (v)->message = arena_printf((v)->arena, "kernel %s: " __VA_ARGS__);                    \
    } while (0)

static void check_expr(Verifier *v, const LoopExpr *expr);

// ---- expressions
// ---------------------------------------------------------------------------------------

static void check_index(Verifier *v, const char *what, const LoopExpr *index, int64_t count) {
    int64_t constant;
    if (index->type != S_INDEX)
        WRONG(v, "an index of %s has the type %s", v->kernel->name, what,
              scalar_type_name(index->type));
    else if (x_is_int(index, &constant) && (constant < 0 || constant >= count))
        WRONG(v, "the index %" PRId64 " of %s is not below %" PRId64, v->kernel->name, constant,
              what, count);
}

static void check_subscripts(Verifier *v, uint32_t local, LoopExpr *const *subscript,
                             uint32_t count) {
    if (local >= v->kernel->locals.count || !v->local_seen[local]) {
        WRONG(v, "local %u is used before its declaration", v->kernel->name, local);
        return;
    }
    const LoopLocal *shape = &v->kernel->locals.at[local];
    if (count != shape->rank)
        WRONG(v, "%s has %u axes, not %u", v->kernel->name, shape->name, shape->rank, count);
    for (uint32_t i = 0; i < count && i < shape->rank; i++) {
        check_expr(v, subscript[i]);
        check_index(v, shape->name, subscript[i], shape->dim[i]);
    }
}

static void check_local_read(Verifier *v, const LoopExpr *expr) {
    check_subscripts(v, expr->index, expr->operand, expr->arity);
    if (!v->message && v->in_vector && v->local_summed[expr->index])
        WRONG(v, "%s is read in the vector loop that accumulates into it", v->kernel->name,
              v->kernel->locals.at[expr->index].name);
}

static void check_load(Verifier *v, const LoopExpr *expr) {
    if (expr->index >= v->kernel->buffers.count || expr->arity != 1) {
        WRONG(v, "a load of buffer %u, which is none", v->kernel->name, expr->index);
        return;
    }
    const LoopBuffer *buffer = &v->kernel->buffers.at[expr->index];
    if (expr->type != buffer->type)
        WRONG(v, "%s is loaded as %s", v->kernel->name, buffer->name, scalar_type_name(expr->type));
    check_expr(v, expr->operand[0]);
    check_index(v, buffer->name, expr->operand[0], buffer->count);
}

static void check_apply(Verifier *v, const LoopExpr *expr) {
    ScalarType types[3] = {S_BOOL, S_BOOL, S_BOOL}, result = expr->type;
    if (expr->arity != scalar_info[expr->op].arity) {
        WRONG(v, "%s with %u operands", v->kernel->name, scalar_info[expr->op].name, expr->arity);
        return;
    }
    for (uint32_t i = 0; i < expr->arity; i++) {
        check_expr(v, expr->operand[i]);
        types[i] = expr->operand[i]->type;
    }
    if (!scalar_result(expr->op, types, expr->arity, &result) || result != expr->type)
        WRONG(v, "%s of %s does not give %s", v->kernel->name, scalar_info[expr->op].name,
              scalar_type_name(types[0]), scalar_type_name(expr->type));
}

static void check_expr(Verifier *v, const LoopExpr *expr) {
    if (v->message)
        return;
    switch (expr->kind) {
    case E_CONST:
        break;
    case E_VAR:
        if (expr->index >= v->kernel->vars.count || !v->var_open[expr->index])
            WRONG(v, "the variable %u is used outside its loop", v->kernel->name, expr->index);
        break;
    case E_LET:
        if (expr->index >= v->kernel->lets.count || !v->let_seen[expr->index])
            WRONG(v, "the let %u is used before its definition", v->kernel->name, expr->index);
        break;
    case E_LOCAL:
        check_local_read(v, expr);
        break;
    case E_LOAD:
        check_load(v, expr);
        break;
    case E_APPLY:
        check_apply(v, expr);
        break;
    case E_EXTENT:
        if (expr->index >= v->kernel->extent_count)
            WRONG(v, "there is no extent %u", v->kernel->name, expr->index);
        break;
    case E_FRAME:
    case E_RANGE:
        if (expr->index > RANGE_THREAD)
            WRONG(v, "there is no field %u", v->kernel->name, expr->index);
        break;
    }
}

// ---- statements
// ----------------------------------------------------------------------------------------

static void check_scope(Verifier *v, const LoopBody *body);

static void find_summed(const LoopBody *body, bool *inside, bool *summed) {
    for (size_t i = 0; i < body->count; i++) {
        const LoopStmt *stmt = body->at[i];
        if (stmt->kind == T_LOCAL)
            inside[stmt->index] = true;
        if (stmt->kind == T_ACCUMULATE)
            summed[stmt->index] = true;
        find_summed(&stmt->body, inside, summed);
        find_summed(&stmt->other, inside, summed);
    }
}

static void enter_vector(Verifier *v, const LoopStmt *stmt) {
    size_t count = v->kernel->locals.count + 1;
    if (v->in_vector)
        WRONG(v, "a vector loop inside a vector loop", v->kernel->name);
    if (stmt->step != 1)
        WRONG(v, "a vector loop with a step", v->kernel->name);
    v->in_vector = true;
    v->local_inside = arena_array(v->arena, bool, count);
    v->local_summed = arena_array(v->arena, bool, count);
    find_summed(&stmt->body, v->local_inside, v->local_summed);
    for (size_t i = 0; i < count; i++) {
        v->local_summed[i] = v->local_summed[i] && !v->local_inside[i];
        if (v->local_summed[i] && stmt->narrow)
            WRONG(v, "a narrow loop sums up over its lanes, of which others have more",
                  v->kernel->name);
    }
}

static void check_for(Verifier *v, const LoopStmt *stmt) {
    check_expr(v, stmt->begin);
    check_expr(v, stmt->end);
    if (stmt->begin->type != S_INDEX || stmt->end->type != S_INDEX || stmt->step <= 0)
        WRONG(v, "a loop whose bounds are no indices", v->kernel->name);
    if (stmt->loop == LOOP_PARALLEL && v->in_loop)
        WRONG(v, "a parallel loop that is not outermost", v->kernel->name);
    bool was_vector = v->in_vector, was_loop = v->in_loop;
    if (stmt->loop == LOOP_VECTOR)
        enter_vector(v, stmt);
    v->in_loop = true;
    if (stmt->index < v->kernel->vars.count)
        v->var_open[stmt->index] = true;
    check_scope(v, &stmt->body);
    if (stmt->index < v->kernel->vars.count)
        v->var_open[stmt->index] = false;
    v->in_vector = was_vector;
    v->in_loop = was_loop;
}

static void check_assignment(Verifier *v, const LoopStmt *stmt) {
    check_expr(v, stmt->value);
    check_subscripts(v, stmt->index, stmt->subscript, stmt->subscript_count);
    if (v->message)
        return;
    const LoopLocal *local = &v->kernel->locals.at[stmt->index];
    if (stmt->value->type != local->type)
        WRONG(v, "%s becomes a %s", v->kernel->name, local->name,
              scalar_type_name(stmt->value->type));
    if (stmt->kind == T_ACCUMULATE && stmt->op != X_add && stmt->op != X_max && stmt->op != X_min)
        WRONG(v, "%s accumulates by %s", v->kernel->name, local->name, scalar_info[stmt->op].name);
    if (stmt->kind == T_SET && v->in_vector && !v->local_inside[stmt->index])
        WRONG(v, "a vector loop sets %s, which is declared outside", v->kernel->name, local->name);
}

static void check_store(Verifier *v, const LoopStmt *stmt) {
    if (stmt->index >= v->kernel->buffers.count || stmt->subscript_count != 1) {
        WRONG(v, "a store to buffer %u, which is none", v->kernel->name, stmt->index);
        return;
    }
    const LoopBuffer *buffer = &v->kernel->buffers.at[stmt->index];
    check_expr(v, stmt->value);
    check_expr(v, stmt->subscript[0]);
    check_index(v, buffer->name, stmt->subscript[0], buffer->count);
    if (buffer->role == BUFFER_IN)
        WRONG(v, "a store to %s, which is an input", v->kernel->name, buffer->name);
    if (stmt->value->type != buffer->type)
        WRONG(v, "a %s is stored to %s", v->kernel->name, scalar_type_name(stmt->value->type),
              buffer->name);
}

static bool declares(const LoopBody *body, uint32_t local) {
    for (size_t i = 0; i < body->count; i++) {
        const LoopStmt *stmt = body->at[i];
        if ((stmt->kind == T_LOCAL && stmt->index == local) || declares(&stmt->body, local) ||
            declares(&stmt->other, local))
            return true;
    }
    return false;
}

/// What `prefetch`, of which `body` is a part, would not leave out: an assignment to a local that
/// is not its own, or a call.
static bool has_effect(const LoopBody *prefetch, const LoopBody *body) {
    for (size_t i = 0; i < body->count; i++) {
        const LoopStmt *stmt = body->at[i];
        bool sets = stmt->kind == T_SET || stmt->kind == T_ACCUMULATE;
        if ((sets && !declares(prefetch, stmt->index)) || stmt->kind == T_CALL ||
            has_effect(prefetch, &stmt->body) || has_effect(prefetch, &stmt->other))
            return true;
    }
    return false;
}

static void check_stmt(Verifier *v, const LoopStmt *stmt) {
    switch (stmt->kind) {
    case T_FOR:
        check_for(v, stmt);
        break;
    case T_LET:
        check_expr(v, stmt->value);
        if (stmt->index >= v->kernel->lets.count ||
            v->kernel->lets.at[stmt->index].type != stmt->value->type)
            WRONG(v, "a let of another type", v->kernel->name);
        else
            v->let_seen[stmt->index] = true;
        break;
    case T_LOCAL:
        if (stmt->index >= v->kernel->locals.count)
            WRONG(v, "local %u is none", v->kernel->name, stmt->index);
        else
            v->local_seen[stmt->index] = true;
        break;
    case T_SET:
    case T_ACCUMULATE:
        check_assignment(v, stmt);
        break;
    case T_STORE:
        check_store(v, stmt);
        break;
    case T_IF:
        check_expr(v, stmt->value);
        if (stmt->value->type != S_BOOL)
            WRONG(v, "a condition of type %s", v->kernel->name,
                  scalar_type_name(stmt->value->type));
        check_scope(v, &stmt->body);
        check_scope(v, &stmt->other);
        break;
    case T_CALL:
        if (v->in_vector)
            WRONG(v, "a call of %s in a vector loop", v->kernel->name, stmt->entry);
        for (uint32_t i = 0; i < stmt->argument_count; i++)
            check_expr(v, stmt->argument[i]);
        break;
    case T_PREFETCH:
        if (has_effect(&stmt->body, &stmt->body))
            WRONG(v, "a prefetch sets a local of others or calls", v->kernel->name);
        check_scope(v, &stmt->body);
        break;
    case T_ASK:
    case T_RELOAD:
        break;
    case T_BLOCK:
        check_scope(v, &stmt->body);
        break;
    }
}

static void check_body(Verifier *v, const LoopBody *body) {
    for (size_t i = 0; i < body->count && !v->message; i++)
        check_stmt(v, body->at[i]);
}

/// Names declared in a body are gone at its end.
static void check_scope(Verifier *v, const LoopBody *body) {
    size_t lets = v->kernel->lets.count + 1, locals = v->kernel->locals.count + 1;
    bool *let_seen = v->let_seen, *local_seen = v->local_seen;
    v->let_seen = arena_array(v->arena, bool, lets);
    v->local_seen = arena_array(v->arena, bool, locals);
    memcpy(v->let_seen, let_seen, lets * sizeof *let_seen);
    memcpy(v->local_seen, local_seen, locals * sizeof *local_seen);
    check_body(v, body);
    v->let_seen = let_seen;
    v->local_seen = local_seen;
}

/// Beside a parallel loop every thread runs what stands there, so nothing there may have an effect.
static void check_top(Verifier *v) {
    size_t loops = 0;
    bool effects = false;
    for (size_t i = 0; i < v->kernel->body.count; i++) {
        const LoopStmt *stmt = v->kernel->body.at[i];
        bool parallel = stmt->kind == T_FOR && stmt->loop == LOOP_PARALLEL;
        loops += parallel;
        effects = effects || (!parallel && stmt->kind != T_LET && stmt->kind != T_LOCAL);
    }
    if (loops > 1 || (loops == 1 && effects))
        WRONG(v, "something beside its parallel loop", v->kernel->name);
}

static bool has_companion(const LoopKernel *kernel, const LoopBuffer *buffer) {
    if (!buffer->beside)
        return true;
    if (buffer->beside > kernel->buffers.count || buffer->role != BUFFER_OUT || buffer->in_place)
        return false;
    const LoopBuffer *other = &kernel->buffers.at[buffer->beside - 1];
    return other->role == BUFFER_OUT && !other->beside && other->type == buffer->type &&
           other->count == buffer->count;
}

const char *loop_kernel_verify(const LoopKernel *kernel, Arena *arena) {
    Verifier v = {.kernel = kernel, .arena = arena};
    v.var_open = arena_array(arena, bool, kernel->vars.count + 1);
    v.let_seen = arena_array(arena, bool, kernel->lets.count + 1);
    v.local_seen = arena_array(arena, bool, kernel->locals.count + 1);
    for (size_t i = 0; i < kernel->buffers.count; i++) {
        const LoopBuffer *buffer = &kernel->buffers.at[i];
        if (buffer->count < 0 || buffer->type == S_INDEX)
            WRONG(&v, "the buffer %s", kernel->name, buffer->name);
        if (buffer->in_place > kernel->buffers.count)
            WRONG(&v, "%s lies over no buffer", kernel->name, buffer->name);
        if (!has_companion(kernel, buffer))
            WRONG(&v, "%s lies beside no result like it", kernel->name, buffer->name);
        if (buffer->streamed && (buffer->role != BUFFER_OUT || buffer->in_place))
            WRONG(&v, "%s is streamed, but read as well", kernel->name, buffer->name);
    }
    check_top(&v);
    check_body(&v, &kernel->body);
    return v.message;
}
