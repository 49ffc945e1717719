// codegen/lower_element.c -- the element of a node at an index; one rule per op.
//
// Rules of elementwise ops are expanded from scalars.def, those of views are index arithmetic. An
// element that only exists under a condition (the inside of a padded image) is computed in the body
// of an `if`, into a local that holds the fill value otherwise.
#include <string.h>

#include "codegen/lower_rules.h"
#include "support/diag.h"

// ---- scopes
// ----------------------------------------------------------------------------------------

static uint32_t *depth_slot(Lower *l, bool let, uint32_t index) {
    while (let && l->let_depth.count <= index)
        vec_push(l->arena, &l->let_depth, 0);
    while (!let && l->var_depth.count <= index)
        vec_push(l->arena, &l->var_depth, 0);
    return let ? &l->let_depth.at[index] : &l->var_depth.at[index];
}

static void scope_push(Lower *l, LoopStmt *stmt) {
    kdc_assert(l->top + 1 < MAX_SCOPES);
    l->scope[++l->top] = (Scope){arena_new(l->arena, LoopBody), stmt, ++l->serial};
}

LoopExpr *scope_open_for(Lower *l, LoopKind kind, const char *name, LoopExpr *begin, LoopExpr *end,
                         int64_t step) {
    LoopBody detached = {0};
    LoopStmt *stmt = loop_for(l->kernel, &detached, kind, name, begin, end, step);
    scope_push(l, stmt);
    LoopExpr *var = loop_var(l->kernel, stmt);
    if (var->kind == E_VAR) // a single iteration has a constant index
        *depth_slot(l, false, var->index) = l->top;
    return var;
}

void scope_open_if(Lower *l, LoopExpr *condition) {
    LoopBody detached = {0};
    scope_push(l, loop_if(l->kernel, &detached, condition));
}

void scope_close(Lower *l) {
    Scope *scope = &l->scope[l->top--];
    scope->stmt->body = *scope->body;
    vec_push(l->kernel->arena, l->scope[l->top].body, scope->stmt);
}

uint32_t scope_outermost(const Lower *l) {
    const LoopStmt *stmt = l->top ? l->scope[1].stmt : NULL;
    return stmt && stmt->kind == T_FOR && stmt->loop == LOOP_PARALLEL;
}

void scope_detour(Lower *l, uint32_t depth, Detour *detour) {
    memcpy(detour->kept, l->scope, sizeof detour->kept);
    detour->top = l->top;
    l->top = depth;
}

void scope_return(Lower *l, const Detour *detour) {
    uint32_t depth = l->top;
    memcpy(l->scope + depth + 1, detour->kept + depth + 1,
           (detour->top - depth) * sizeof l->scope[0]);
    l->top = detour->top;
}

uint32_t lower_depth(const Lower *l, const LoopExpr *expr) {
    uint32_t depth = 0;
    if (expr->kind == E_VAR)
        return expr->index < l->var_depth.count ? l->var_depth.at[expr->index] : 0;
    if (expr->kind == E_LET)
        return expr->index < l->let_depth.count ? l->let_depth.at[expr->index] : 0;
    for (uint32_t i = 0; i < expr->arity; i++) {
        uint32_t inner = lower_depth(l, expr->operand[i]);
        depth = inner > depth ? inner : depth;
    }
    return depth;
}

Value lower_bind(Lower *l, const char *name, Value value) {
    if (value.x->kind == E_CONST || value.x->kind == E_LET)
        return value;
    kdc_assert(value.depth <= l->top);
    LoopExpr *let = loop_let(l->kernel, l->scope[value.depth].body, name, value.x);
    if (let->kind == E_LET)
        *depth_slot(l, true, let->index) = value.depth;
    return (Value){let, value.depth};
}

// ---- indices
// ---------------------------------------------------------------------------------------

Ix lower_ix(LoopExpr *x) {
    return (Ix){x, 0};
}

static uint32_t deeper(uint32_t a, uint32_t b) {
    return a > b ? a : b;
}

static Ix zero(Lower *l) {
    return lower_ix(x_int(l->kernel, 0));
}

static Ix plus(Lower *l, Ix a, Ix b) {
    return (Ix){x_add(l->kernel, a.x, b.x), deeper(a.guard, b.guard)};
}

static Ix times(Lower *l, Ix a, int64_t factor) {
    return (Ix){x_mul(l->kernel, a.x, factor), a.guard};
}

// Where the quotient stayed a quotient, the trial run asks for a loop that ends there.
static void wish_split(Lower *l, const LoopExpr *x, int64_t divisor) {
    Affine sum;
    if (!l->trial || !x_affine(x, &sum))
        return;
    for (uint32_t i = 0; i < sum.count; i++) {
        int64_t factor = sum.factor[i] < 0 ? -sum.factor[i] : sum.factor[i];
        if (sum.atom[i]->kind == E_VAR && factor && divisor % factor == 0 && divisor != factor)
            vec_push(l->arena, &l->splits, (Split){sum.atom[i]->index, divisor / factor});
    }
}

static bool is_division(const LoopExpr *x) {
    if (x->kind == E_APPLY && (x->op == X_floor_div || x->op == X_mod))
        return true;
    for (uint32_t i = 0; i < x->arity; i++) {
        if (is_division(x->operand[i]))
            return true;
    }
    return false;
}

static Ix quotient(Lower *l, Ix a, int64_t divisor) {
    Ix q = {x_div(l->kernel, a.x, divisor), a.guard};
    if (is_division(q.x))
        wish_split(l, a.x, divisor);
    return q;
}

static Ix rest(Lower *l, Ix a, int64_t divisor) {
    Ix r = {x_mod(l->kernel, a.x, divisor), a.guard};
    if (is_division(r.x))
        wish_split(l, a.x, divisor);
    return r;
}

static uint32_t ix_depth(const Lower *l, Ix a) {
    return deeper(a.guard, lower_depth(l, a.x));
}

// The innermost scope that any part of an index depends on: where a condition on it must stand.
static uint32_t index_depth(const Lower *l, const Type *type, const Ix *ix) {
    uint32_t depth = 0;
    for (int i = 0; i < type->rank; i++)
        depth = deeper(depth, ix_depth(l, ix[i]));
    return depth;
}

Ix lower_flat(Lower *l, const Type *type, const Ix *ix) {
    int64_t stride = type->block ? type->block : 1;
    Ix flat = zero(l);
    for (int i = type->rank - 1; i >= 0; i--) {
        bool blocked = type->block && i == type->block_axis;
        Ix part = blocked ? quotient(l, ix[i], type->block) : ix[i];
        if (blocked)
            flat = plus(l, flat, rest(l, ix[i], type->block));
        if (type->dim[i] != 1)
            flat = plus(l, times(l, part, stride), flat);
        stride *= blocked ? type->dim[i] / type->block : type->dim[i];
    }
    return flat;
}

// Axes of the two shapes are matched in groups of equal size, so that an axis which stays itself
// keeps its index.
void lower_reindex(Lower *l, const Type *from, const Ix *ix, const Type *to, Ix *result) {
    int a = 0, b = 0;
    while (a < from->rank || b < to->rank) {
        int a_end = a, b_end = b;
        int64_t a_count = 1, b_count = 1;
        do { // the smallest groups of equal size
            if (b_end == to->rank || (a_end < from->rank && a_count <= b_count))
                a_count *= from->dim[a_end++];
            else
                b_count *= to->dim[b_end++];
        } while (a_count != b_count);
        while (a_end < from->rank && from->dim[a_end] == 1 && b_end == to->rank)
            a_end++;
        while (b_end < to->rank && to->dim[b_end] == 1 && a_end == from->rank)
            b_end++;
        Ix linear = zero(l);
        for (int i = a; i < a_end; i++) {
            if (from->dim[i] != 1)
                linear = plus(l, times(l, linear, from->dim[i]), ix[i]);
        }
        int64_t left = b_count;
        for (int i = b; i < b_end; i++) {
            left /= to->dim[i];
            result[i] = to->dim[i] == 1 ? zero(l) : quotient(l, linear, left);
            if (to->dim[i] != 1)
                linear = rest(l, linear, left);
        }
        a = a_end;
        b = b_end;
    }
}

// ---- memory
// ----------------------------------------------------------------------------------------

static bool same_buffer(const Buffer *a, const Buffer *b) {
    return a->space == b->space && a->index == b->index && a->offset_bytes == b->offset_bytes &&
           a->size_bytes == b->size_bytes;
}

// One loop buffer for each place in memory: a storage that is read and written is an INOUT. A value
// that the plan puts on the bytes of a dying one is an OUT in place of that IN.
uint32_t lower_buffer(Lower *l, const Node *node, bool store) {
    uint32_t *slot = &l->room.buffer_slot[node->id];
    const Buffer *place = &l->graph->buffer[node->id];
    LoopKernel *kernel = l->kernel;
    ScalarType type =
        scalar_type_of(node->op == OP_scalar ? l->graph->module->real : node->type.dtype);
    if (place->space == SPACE_NONE)
        kdc_bug("%s %%%u of `%s` has no buffer", op_info[node->op].name, node->id, l->graph->name);
    bool in_place = place->space == SPACE_STEP;
    for (uint32_t i = 0; !*slot && !in_place && i < l->argument.count; i++) {
        if (same_buffer(&l->argument.at[i], place) && kernel->buffers.at[i].type == type &&
            kernel->buffers.at[i].role != BUFFER_SCRATCH)
            *slot = i + 1;
    }
    if (!*slot) {
        *slot = 1 + loop_buffer(kernel, op_info[node->op].name, type,
                                store ? BUFFER_OUT : BUFFER_IN, type_count(&node->type));
        while (l->argument.count < *slot) // between them lies scratch of a schedule
            vec_push(l->arena, &l->argument, *place);
    }
    BufferRole *role = &kernel->buffers.at[*slot - 1].role;
    if (*role != (store ? BUFFER_OUT : BUFFER_IN))
        *role = BUFFER_INOUT;
    return *slot - 1;
}

// Digits of one variable that stand together are the variable again:
//     (v / (m n)) (c n) + ((v / m) mod n) c = (v / m) c
// Loops over merged axes give indices of this form.
static const LoopExpr *undivided(const LoopExpr *x, int64_t *divisor) {
    int64_t by;
    *divisor = 1;
    while (x->kind == E_APPLY && x->op == X_floor_div && x_is_int(x->operand[1], &by)) {
        *divisor *= by;
        x = x->operand[0];
    }
    return x;
}

static LoopExpr *join_digits(Lower *l, LoopExpr *flat) {
    Affine sum;
    LoopKernel *kernel = l->kernel;
    if (!x_affine(flat, &sum))
        return flat;
    for (uint32_t i = 0; i < sum.count; i++) {
        const LoopExpr *low = sum.atom[i];
        int64_t n, m, high;
        if (low->kind != E_APPLY || low->op != X_mod || !x_is_int(low->operand[1], &n))
            continue;
        const LoopExpr *v = undivided(low->operand[0], &m);
        for (uint32_t k = 0; k < sum.count; k++) {
            const LoopExpr *w = undivided(sum.atom[k], &high);
            if (k == i || high != m * n || sum.factor[k] != sum.factor[i] * n || !x_equal(v, w))
                continue;
            LoopExpr *both = x_int(kernel, sum.constant);
            for (uint32_t j = 0; j < sum.count; j++) {
                if (j != i && j != k)
                    both =
                        x_add(kernel, both, x_mul(kernel, (LoopExpr *)sum.atom[j], sum.factor[j]));
            }
            LoopExpr *joined = x_mul(kernel, x_div(kernel, (LoopExpr *)v, m), sum.factor[i]);
            return join_digits(l, x_add(kernel, both, joined));
        }
    }
    return flat;
}

static void note_access(Lower *l, const LoopExpr *flat, const Type *type, bool is_store) {
    if (l->trial)
        vec_push(l->arena, &l->accesses,
                 (Access){(LoopExpr *)flat, type_count(type), l->nest, is_store});
}

void lower_note_place(Lower *l, const Node *node, uint32_t buffer, const Ix *ix) {
    const Type *type = &node->type;
    bool whole = type->rank == 0 || (type->block && type->block_axis == 0);
    if (!l->kernel->prefetching)
        vec_push(l->arena, &l->places,
                 (Place){buffer, whole ? x_int(l->kernel, 0) : ix[0].x, whole ? 1 : type->dim[0]});
}

static Value load(Lower *l, const Node *node, const Ix *ix) {
    Ix flat = lower_flat(l, &node->type, ix);
    uint32_t buffer = lower_buffer(l, node, false);
    lower_note_place(l, node, buffer, ix);
    uint32_t depth = ix_depth(l, flat);
    note_access(l, flat.x, &node->type, false);
    LoopExpr *x = x_load(l->kernel, buffer, join_digits(l, flat.x));
    if (node->op == OP_scalar)
        x = x_cast(l->kernel, x, scalar_type_of(node->type.dtype));
    return (Value){x, depth};
}

void lower_store(Lower *l, const Node *node, const Ix *ix, Value value) {
    Ix flat = lower_flat(l, &node->type, ix);
    uint32_t buffer = lower_buffer(l, node, true);
    note_access(l, flat.x, &node->type, true);
    lower_note_place(l, node, buffer, ix);
    loop_store(l->kernel, l->scope[l->top].body, buffer, join_digits(l, flat.x), value.x);
}

// ---- known elements
// ----------------------------------------------------------------------------------

struct Memo {
    Memo *next;
    Ix ix[MAX_RANK];
    Value value;
    uint32_t serial; // of the scope that holds the value's let
};

void lower_know(Lower *l, const Node *node, const Ix *ix, Value value) {
    Memo *memo = arena_new(l->arena, Memo);
    memo->next = l->room.memo[node->id];
    memcpy(memo->ix, ix, node->type.rank * sizeof *ix);
    memo->value = value;
    memo->serial = l->scope[value.depth].serial;
    l->room.memo[node->id] = memo;
}

static const Value *known(const Lower *l, const Node *node, const Ix *ix) {
    for (const Memo *memo = l->room.memo[node->id]; memo; memo = memo->next) {
        bool same =
            memo->value.depth <= l->top && l->scope[memo->value.depth].serial == memo->serial;
        for (int i = 0; same && i < node->type.rank; i++)
            same = node->type.dim[i] == 1 || x_equal(memo->ix[i].x, ix[i].x);
        if (same)
            return &memo->value;
    }
    return NULL;
}

// ---- elementwise ops
// ---------------------------------------------------------------------------------

static void operand_index(Lower *l, const Type *result, const Type *operand, const Ix *ix,
                          Ix *mapped) {
    int lead = result->rank - operand->rank;
    for (int i = 0; i < operand->rank; i++)
        mapped[i] = operand->dim[i] == 1 ? zero(l) : ix[i + lead];
}

static Value map_element(Lower *l, const Node *node, const Ix *ix, ScalarOp op) {
    LoopExpr *x[3];
    uint32_t depth = 0;
    kdc_assert(node->arity <= 3);
    for (uint32_t k = 0; k < node->arity; k++) {
        Ix mapped[MAX_RANK];
        operand_index(l, &node->type, &node->operand[k]->type, ix, mapped);
        Value value = lower_element(l, node->operand[k], mapped);
        x[k] = value.x;
        depth = deeper(depth, value.depth);
    }
    LoopExpr *y = op == X_cast ? x_cast(l->kernel, x[0], scalar_type_of(node->type.dtype))
                               : x_apply(l->kernel, op, x, node->arity);
    return lower_bind(l, op_info[node->op].name, (Value){y, depth});
}

#define SCALAR(name, arity, rule, text)                                                            \
    Value lower_##name(Lower *l, const Node *node, const Ix *ix) {                                 \
        return map_element(l, node, ix, X_##name);                                                 \
    }
#include "codegen/scalars.def"
#undef SCALAR

// ---- leaves
// ------------------------------------------------------------------------------------------

Value lower_const(Lower *l, const Node *node, const Ix *ix) {
    (void)ix;
    return (Value){x_const(l->kernel, node->attrs->value, scalar_type_of(node->type.dtype)), 0};
}

Value lower_iota(Lower *l, const Node *node, const Ix *ix) {
    Ix at = ix[node->attrs->axis];
    if (l->trial)
        vec_push(l->arena, &l->others, at.x);
    LoopExpr *x = x_cast(l->kernel, at.x, scalar_type_of(node->type.dtype));
    return lower_bind(l, "iota", (Value){x, ix_depth(l, at)});
}

Value lower_input(Lower *l, const Node *node, const Ix *ix) {
    return lower_bind(l, "x", load(l, node, ix));
}

Value lower_scalar(Lower *l, const Node *node, const Ix *ix) {
    return lower_input(l, node, ix);
}

Value lower_read(Lower *l, const Node *node, const Ix *ix) {
    return lower_input(l, node, ix);
}

Value lower_random(Lower *l, const Node *node, const Ix *ix) {
    return lower_input(l, node, ix); // always in memory
}

Value lower_put(Lower *l, const Node *node, const Ix *ix) {
    return lower_input(l, node, ix); // always in memory
}

Value lower_decompose(Lower *l, const Node *node, const Ix *ix) {
    return lower_input(l, node, ix); // always in memory
}

// ---- conditions
// --------------------------------------------------------------------------------------

static bool decided(const LoopExpr *condition, bool truth) {
    return condition && condition->kind == E_CONST && (condition->integer != 0) == truth;
}

// The element at `ix` where the condition holds, else `fill`. The axes of `guarded` are in range
// only then.
static Value element_if(Lower *l, LoopExpr *condition, const Node *node, Ix *ix, unsigned guarded,
                        double fill) {
    ScalarType type = scalar_type_of(node->type.dtype);
    Value otherwise = {x_const(l->kernel, fill, type), 0};
    if (!condition || decided(condition, true))
        return lower_element(l, node, ix);
    if (decided(condition, false))
        return otherwise;
    if (l->trial)
        vec_push(l->arena, &l->others, condition);
    uint32_t depth = deeper(index_depth(l, &node->type, ix), lower_depth(l, condition));
    Detour detour;
    depth = deeper(depth, scope_outermost(l));
    scope_detour(l, depth, &detour);
    LoopBody *body = l->scope[l->top].body;
    uint32_t local = loop_local(l->kernel, body, "guarded", type, NULL, 0);
    loop_set(l->kernel, body, local, NULL, 0, otherwise.x);
    scope_open_if(l, condition);
    for (int i = 0; i < node->type.rank; i++) {
        if (guarded & 1u << i)
            ix[i].guard = deeper(ix[i].guard, l->top);
    }
    Value value = lower_element(l, node, ix);
    loop_set(l->kernel, l->scope[l->top].body, local, NULL, 0, value.x);
    scope_close(l);
    value = lower_bind(l, "inside", (Value){x_local(l->kernel, local, NULL, 0), depth});
    scope_return(l, &detour);
    return value;
}

Value lower_inside(Lower *l, const Node *node, Ix *ix, LoopExpr *also, double fill) {
    LoopExpr *condition = also;
    unsigned guarded = 0;
    for (int i = 0; i < node->type.rank; i++) {
        LoopExpr *inside = x_inside(l->kernel, ix[i].x, 0, node->type.dim[i]);
        if (decided(inside, true))
            continue;
        if (l->trial)
            vec_push(l->arena, &l->others, ix[i].x);
        condition = x_and(l->kernel, condition, inside);
        guarded |= 1u << i;
    }
    return element_if(l, condition, node, ix, also ? ~0u : guarded, fill);
}

// ---- views
// -------------------------------------------------------------------------------------------

Value lower_reshape(Lower *l, const Node *node, const Ix *ix) {
    Ix mapped[MAX_RANK];
    lower_reindex(l, &node->type, ix, &node->operand[0]->type, mapped);
    return lower_element(l, node->operand[0], mapped);
}

Value lower_broadcast(Lower *l, const Node *node, const Ix *ix) {
    Ix mapped[MAX_RANK];
    operand_index(l, &node->type, &node->operand[0]->type, ix, mapped);
    return lower_element(l, node->operand[0], mapped);
}

Value lower_relayout(Lower *l, const Node *node, const Ix *ix) {
    return lower_element(l, node->operand[0], ix);
}

Value lower_transpose(Lower *l, const Node *node, const Ix *ix) {
    Ix mapped[MAX_RANK];
    for (int i = 0; i < node->type.rank; i++)
        mapped[node->attrs->perm.at[i]] = ix[i];
    return lower_element(l, node->operand[0], mapped);
}

static Ix shifted(Lower *l, Ix a, int64_t factor, int64_t offset) {
    return (Ix){x_offset(l->kernel, x_mul(l->kernel, a.x, factor), offset), a.guard};
}

Value lower_slice(Lower *l, const Node *node, const Ix *ix) {
    Ix mapped[MAX_RANK];
    for (int i = 0; i < node->type.rank; i++)
        mapped[i] = shifted(l, ix[i], node->attrs->step.at[i], node->attrs->start.at[i]);
    return lower_element(l, node->operand[0], mapped);
}

Value lower_pad(Lower *l, const Node *node, const Ix *ix) {
    Ix mapped[MAX_RANK];
    for (int i = 0; i < node->type.rank; i++)
        mapped[i] = shifted(l, ix[i], 1, -node->attrs->low.at[i]);
    return lower_inside(l, node->operand[0], mapped, NULL, node->attrs->value);
}

Value lower_reverse(Lower *l, const Node *node, const Ix *ix) {
    Ix mapped[MAX_RANK];
    memcpy(mapped, ix, node->type.rank * sizeof *ix);
    for (uint32_t k = 0; k < node->attrs->axes.count; k++) {
        int64_t axis = node->attrs->axes.at[k];
        mapped[axis] = shifted(l, ix[axis], -1, node->type.dim[axis] - 1);
    }
    return lower_element(l, node->operand[0], mapped);
}

// Each part under its own condition, into one local.
Value lower_concat(Lower *l, const Node *node, const Ix *ix) {
    int64_t axis = node->attrs->axis;
    uint32_t depth = deeper(index_depth(l, &node->type, ix), scope_outermost(l));
    uint32_t local = 0;
    int64_t begin = 0;
    Detour detour;
    bool open = false;
    Value value = {0};
    for (uint32_t k = 0; k < node->arity; k++) {
        const Node *part = node->operand[k];
        Ix mapped[MAX_RANK];
        int64_t extent = part->type.dim[axis];
        LoopExpr *here = x_inside(l->kernel, ix[axis].x, begin, begin + extent);
        memcpy(mapped, ix, node->type.rank * sizeof *ix);
        mapped[axis] = shifted(l, ix[axis], 1, -begin);
        begin += extent;
        if (decided(here, false))
            continue;
        if (decided(here, true)) {
            kdc_assert(!open);
            return lower_element(l, part, mapped);
        }
        if (l->trial)
            vec_push(l->arena, &l->others, ix[axis].x);
        if (!open) {
            ScalarType type = scalar_type_of(node->type.dtype);
            open = true;
            scope_detour(l, depth, &detour);
            local = loop_local(l->kernel, l->scope[depth].body, "part", type, NULL, 0);
            loop_set(l->kernel, l->scope[depth].body, local, NULL, 0, x_const(l->kernel, 0, type));
        }
        scope_open_if(l, here);
        mapped[axis].guard = l->top;
        value = lower_element(l, part, mapped);
        loop_set(l->kernel, l->scope[l->top].body, local, NULL, 0, value.x);
        scope_close(l);
    }
    value = lower_bind(l, "concat", (Value){x_local(l->kernel, local, NULL, 0), depth});
    scope_return(l, &detour);
    return value;
}

// [N, C, OH, OW, KH, KW] shows [N, C, H, W] at h = oh stride + kh dilation - padding.
Value lower_windows(Lower *l, const Node *node, const Ix *ix) {
    const Attrs *at = node->attrs;
    Ix mapped[4] = {ix[0], ix[1]};
    for (int i = 0; i < 2; i++)
        mapped[2 + i] = plus(l, shifted(l, ix[2 + i], at->stride.at[i], -at->padding.at[i]),
                             times(l, ix[4 + i], at->dilation.at[i]));
    return lower_inside(l, node->operand[0], mapped, NULL, at->value);
}

Value lower_row(Lower *l, const Node *indices, const Ix *ix, int64_t extent) {
    Value row = lower_element(l, indices, ix);
    LoopExpr *x = x_cast(l->kernel, row.x, S_INDEX);
    x = x2(l->kernel, X_max, x, x_int(l->kernel, 0));
    x = x2(l->kernel, X_min, x, x_int(l->kernel, extent - 1));
    return lower_bind(l, "row", (Value){x, row.depth});
}

Value lower_take(Lower *l, const Node *node, const Ix *ix) {
    const Node *x = node->operand[0], *indices = node->operand[1];
    int64_t axis = node->attrs->axis;
    Ix mapped[MAX_RANK];
    Value row = lower_row(l, indices, ix + axis, x->type.dim[axis]);
    for (int i = 0; i < x->type.rank; i++)
        mapped[i] = i < axis ? ix[i] : i > axis ? ix[i - 1 + indices->type.rank] : lower_ix(row.x);
    mapped[axis].guard = row.depth;
    return lower_element(l, x, mapped);
}

// ---- reductions, effects
// -------------------------------------------------------------------------------

Value lower_reduce(Lower *l, const Node *node, const Ix *ix) {
    return reduce_here(l, node, ix);
}

Value lower_variance(Lower *l, const Node *node, const Ix *ix) {
    return reduce_here(l, node, ix);
}

Value lower_fold(Lower *l, const Node *node, const Ix *ix) {
    return reduce_here(l, node, ix);
}

Value lower_einsum(Lower *l, const Node *node, const Ix *ix) {
    return reduce_here(l, node, ix);
}

Value lower_conv2d(Lower *l, const Node *node, const Ix *ix) {
    return reduce_here(l, node, ix);
}

Value lower_conv2d_input(Lower *l, const Node *node, const Ix *ix) {
    return reduce_here(l, node, ix);
}

Value lower_conv2d_weight(Lower *l, const Node *node, const Ix *ix) {
    return reduce_here(l, node, ix);
}

// Its schedule knows each element before anything asks for it.
Value lower_tiled(Lower *l, const Node *node, const Ix *ix) {
    (void)ix;
    kdc_bug("%s in `%s` has no schedule", op_info[node->op].name, l->graph->name);
}

Value lower_write(Lower *l, const Node *node, const Ix *ix) {
    return lower_element(l, node->operand[0], ix);
}

Value lower_report(Lower *l, const Node *node, const Ix *ix) {
    return lower_element(l, node->operand[0], ix);
}

Value lower_output(Lower *l, const Node *node, const Ix *ix) {
    return lower_element(l, node->operand[0], ix);
}

Value lower_never(Lower *l, const Node *node, const Ix *ix) {
    (void)ix;
    kdc_bug("%s %%%u of `%s` cannot be lowered", op_info[node->op].name, node->id, l->graph->name);
}

static LowerRule *const lower_rules[OP_COUNT] = {
#define OP(name, arity, traits, shape, gradient, lowering, attrs, surface, summary)                \
    [OP_##name] = lower_##lowering,
#include "ir/ops.def"
#undef OP
};

Value lower_element(Lower *l, const Node *node, const Ix *ix) {
    const Value *found = known(l, node, ix);
    if (found)
        return *found;
    bool computed = l->room.member[node->id] || node->op == OP_const || node->op == OP_iota;
    Value value = computed ? lower_rules[node->op](l, node, ix) : lower_input(l, node, ix);
    lower_know(l, node, ix, value);
    return value;
}
