// codegen/lower_special.c -- kernels that are no sweeps over rows: random draws, scatters, and
// matrices that the runtime decomposes.
#include "codegen/lower_rules.h"
#include "support/diag.h"

// Element i of a draw is a function of i, so any cut into chunks gives the same numbers. The stream
// is an argument of the launch: draws of one size are one kernel.
int64_t lower_draws(Lower *l) {
    enum { CHUNK = 4096 };
    const Node *node = l->source->stored[0];
    LoopKernel *kernel = l->kernel;
    bool wide = node->type.dtype == DT_F64;
    const char *entry = node->op == OP_uniform ? (wide ? "kdrt_uniform_f64" : "kdrt_uniform_f32")
                                               : (wide ? "kdrt_normal_f64" : "kdrt_normal_f32");
    int64_t count = type_count(&node->type);
    int64_t chunks = ceil_div(count, CHUNK);
    uint32_t buffer = lower_buffer(l, node, true);
    LoopExpr *stream = x_extent(kernel, loop_extent(kernel));
    vec_push(l->arena, &l->extent, (int64_t)node->attrs->stream);
    LoopExpr *p = scope_open_for(l, LOOP_PARALLEL, "p", x_int(kernel, 0), x_int(kernel, chunks), 1);
    LoopExpr *begin = x_mul(kernel, p, CHUNK);
    LoopExpr *end = x_offset(kernel, begin, CHUNK);
    LoopExpr *argument[] = {
        x_load(kernel, buffer, x_int(kernel, 0)),     begin,
        x2(kernel, X_min, end, x_int(kernel, count)), x_frame(kernel, FRAME_SEED),
        stream,                                       x_frame(kernel, FRAME_ITERATION)};
    loop_call(kernel, l->scope[l->top].body, entry, argument, 6);
    scope_close(l);
    return chunks;
}

// ---- put, put_add
// ------------------------------------------------------------------------------------

/// x as [before, extent, after] around the axis of the rows.
typedef struct Columns {
    int64_t before, extent, after;
    int64_t indices;
} Columns;

// The index on `type`, whose axes around `axis` (`width` of them) are those of x.
static void column_index(Lower *l, const Node *node, const Type *type, int width, LoopExpr *before,
                         LoopExpr *middle, LoopExpr *after, Ix *ix) {
    int axis = (int)node->attrs->axis;
    Type flat = {.rank = 3, .dim = {1, 1, 1}};
    for (int i = 0; i < type->rank; i++)
        flat.dim[i < axis ? 0 : i < axis + width ? 1 : 2] *= type->dim[i];
    Ix three[3] = {lower_ix(before), lower_ix(middle), lower_ix(after)};
    lower_reindex(l, &flat, three, type, ix);
}

// The columns are independent of each other; along each, rows are put in the order of the indices.
int64_t lower_scatter(Lower *l) {
    enum { CHUNK = 256 };
    const Node *node = l->source->stored[0];
    const Node *x = node->operand[0], *indices = node->operand[1], *rows = node->operand[2];
    LoopKernel *kernel = l->kernel;
    int axis = (int)node->attrs->axis;
    Columns at = {1, x->type.dim[axis], 1, type_count(&indices->type)};
    Ix ix[MAX_RANK], row_ix[MAX_RANK];
    for (int i = 0; i < x->type.rank; i++)
        *(i < axis ? &at.before : &at.after) *= i == axis ? 1 : x->type.dim[i];
    int64_t chunks = ceil_div(at.after, CHUNK);
    uint32_t out = lower_buffer(l, node, true);
    LoopExpr *zero = x_int(kernel, 0);
    LoopExpr *p = scope_open_for(l, LOOP_PARALLEL, "p", zero, x_int(kernel, at.before * chunks), 1);
    LoopExpr *before = x_div(kernel, p, chunks);
    LoopExpr *begin = x_mul(kernel, x_mod(kernel, p, chunks), CHUNK);
    LoopExpr *end = x2(kernel, X_min, x_offset(kernel, begin, CHUNK), x_int(kernel, at.after));

    LoopExpr *i = scope_open_for(l, LOOP_SERIAL, "i", zero, x_int(kernel, at.extent), 1);
    LoopExpr *after = scope_open_for(l, LOOP_VECTOR, "v", begin, end, 1);
    column_index(l, node, &x->type, 1, before, i, after, ix);
    lower_store(l, node, ix, lower_element(l, x, ix));
    scope_close(l);
    scope_close(l);

    LoopExpr *r = scope_open_for(l, LOOP_SERIAL, "r", zero, x_int(kernel, at.indices), 1);
    Type line = {.rank = 1, .dim = {at.indices}};
    lower_reindex(l, &line, &(Ix){r, 0}, &indices->type, ix);
    Value row = lower_row(l, indices, ix, at.extent);
    after = scope_open_for(l, LOOP_VECTOR, "v", begin, end, 1);
    column_index(l, node, &rows->type, indices->type.rank, before, r, after, row_ix);
    Value value = lower_element(l, rows, row_ix);
    column_index(l, node, &x->type, 1, before, row.x, after, ix);
    if (node->op == OP_put_add) {
        LoopExpr *old = x_load(kernel, out, lower_flat(l, &node->type, ix).x);
        kernel->buffers.at[out].role = BUFFER_INOUT;
        value.x = x2(kernel, X_add, old, value.x);
    }
    lower_store(l, node, ix, value);
    while (l->top)
        scope_close(l);
    return at.before * chunks;
}

// ---- eigh, svd
// ---------------------------------------------------------------------------------------

// Each matrix is one call, so the batch is what threads share.
int64_t lower_matrices(Lower *l) {
    const Node *node = l->source->stored[0], *x = node->operand[0];
    LoopKernel *kernel = l->kernel;
    while (l->room.member[x->id]) // a reshape, which moves nothing
        x = x->operand[0];
    const Type *type = &node->operand[0]->type;
    int64_t m = type->dim[type->rank - 2], n = type->dim[type->rank - 1];
    int64_t count = node->attrs->count, matrices = type_count(type) / (m * n);
    bool symmetric = node->op == OP_eigh;
    int64_t work_count = symmetric ? kdrt_eigh_work(n, count) : kdrt_svd_work(m, n, count);
    int64_t row = node->type.dim[type->rank - 1];
    const char *entry =
        arena_printf(l->kept, "kdrt_%s_%s", op_info[node->op].name, dtype_name(node->type.dtype));
    uint32_t from = lower_buffer(l, x, false), to = lower_buffer(l, node, true);
    uint32_t work = loop_buffer(kernel, "work", S_F64, BUFFER_SCRATCH, work_count);
    vec_push(l->arena, &l->argument, (Buffer){0});
    LoopExpr *p =
        scope_open_for(l, LOOP_PARALLEL, "p", x_int(kernel, 0), x_int(kernel, matrices), 1);
    LoopExpr *argument[6];
    uint32_t arguments = 0;
    argument[arguments++] = x_load(kernel, from, x_mul(kernel, p, m * n));
    argument[arguments++] = x_load(kernel, to, x_mul(kernel, p, count * row));
    argument[arguments++] = x_load(kernel, work, x_int(kernel, 0));
    if (!symmetric)
        argument[arguments++] = x_int(kernel, m);
    argument[arguments++] = x_int(kernel, n);
    argument[arguments++] = x_int(kernel, count);
    loop_call(kernel, l->scope[l->top].body, entry, argument, arguments);
    scope_close(l);
    return matrices;
}
