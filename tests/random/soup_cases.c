// tests/random/soup_cases.c -- random ops on live tensors, one function per family of ops.
//
// Each takes what it needs from the pool or makes it, and adds its result. Arguments of log, sqrt,
// division and the like pass through maps that keep them away from poles.
#include <math.h>
#include <string.h>

#include "tests/random/gen.h"

// ---- operands
// -------------------------------------------------------------------------------------

static int64_t small_extent(Gen *g) {
    return GEN_PICK(g, 1, 1, 2, 2, 3, 4, 5, 7, 8, 13, 16, 17, 32);
}

static int random_shape(Gen *g, int rank, int64_t *dim, int64_t most) {
    int64_t count = 1;
    for (int i = 0; i < rank; i++) {
        dim[i] = small_extent(g);
        if (count * dim[i] > most)
            dim[i] = 1 + (dim[i] & 1);
        count *= dim[i];
    }
    return rank;
}

static Live fresh(Gen *g, DType dtype, int rank, const int64_t *dim) {
    bool positive = gen_chance(g, 15);
    Live live = {gen_input(g, dtype, rank, dim, positive), dtype == DT_U8 ? 255 : 9};
    if (dtype == g->real)
        live.most = 1.25;
    vec_push(g->module->arena, &g->pool, live);
    return live;
}

/// A live tensor of that type and at least that rank; a fresh input where there is none.
static Live take_live(Gen *g, DType dtype, int least_rank, int64_t most_elements) {
    int64_t dim[MAX_RANK];
    for (int tries = 0; tries < 12 && g->pool.count; tries++) {
        int64_t at = (int64_t)g->pool.count - 1 - gen_below(g, (int64_t)g->pool.count);
        if (gen_chance(g, 60)) // rather a late one
            at = (int64_t)g->pool.count - 1 - gen_below(g, (int64_t)g->pool.count) / 3;
        Live live = g->pool.at[at];
        if (live.node->type.dtype == dtype && live.node->type.rank >= least_rank &&
            type_count(&live.node->type) <= most_elements)
            return live;
    }
    int rank = least_rank + (int)gen_below(g, 3);
    return fresh(g, dtype, random_shape(g, rank, dim, most_elements < 512 ? most_elements : 512),
                 dim);
}

static Live take_real(Gen *g) {
    return take_live(g, g->real, 0, ELEMENTS_MAX);
}

static Node *sum_over_some(Gen *g, Node *x, Op op, bool keep) {
    int64_t axes[MAX_RANK];
    int count = 0;
    for (int i = 0; i < x->type.rank; i++) {
        if (gen_chance(g, 50))
            axes[count++] = i;
    }
    return ir_reduce(g->graph, op, x, axes, count, keep);
}

/// Something that broadcasts with x, of its dtype.
static Live partner(Gen *g, Live x) {
    const Type *type = &x.node->type;
    int64_t dim[MAX_RANK];
    for (int tries = 0; tries < 10; tries++) {
        Live other = g->pool.at[gen_below(g, (int64_t)g->pool.count)];
        if (other.node->type.dtype == type->dtype && other.node != x.node &&
            type_same_shape(&other.node->type, type))
            return other;
    }
    int drop = type->rank && gen_chance(g, 40) ? (int)gen_below(g, type->rank) : 0;
    int rank = type->rank - drop;
    for (int i = 0; i < rank; i++)
        dim[i] = gen_chance(g, 30) ? 1 : type->dim[drop + i];
    if (type->dtype == g->real && gen_chance(g, 30))
        return (Live){gen_scaled(g, sum_over_some(g, x.node, OP_sum, true), 0.0625), x.most * 4};
    if (gen_chance(g, 25) && type->dtype != DT_BOOL) {
        double value = type->dtype == g->real ? (double)GEN_PICK(g, -2, -1, 0, 1, 2, 3) * 0.5
                                              : (double)GEN_PICK(g, 0, 1, 2, 3, 5);
        return (Live){ir_const(g->graph, value, type->dtype), 3};
    }
    return fresh(g, type->dtype, rank, dim);
}

/// At least `least` from zero, above it.
static Node *safe(Gen *g, Node *x, double least) {
    switch (gen_below(g, 3)) {
    case 0:
        return gen_op(g, OP_add, ir_unary(g->graph, OP_abs, x), gen_number(g, least));
    case 1:
        return gen_op(g, OP_add, ir_unary(g->graph, OP_sigmoid, x), gen_number(g, least));
    default:
        return gen_op(g, OP_add, gen_op(g, OP_mul, x, x), gen_number(g, least));
    }
}

static Node *small(Gen *g, Live x) {
    return x.most > 2 ? ir_unary(g->graph, OP_tanh, x.node) : x.node;
}

// ---- families
// -------------------------------------------------------------------------------------

typedef bool SoupRule(Gen *g, Op op);

static bool soup_leaf(Gen *g, Op op) {
    int64_t dim[MAX_RANK];
    int rank = random_shape(g, (int)gen_below(g, 5), dim, 512);
    Type type = gen_type(g->real, rank, dim);
    switch ((int)op) {
    case OP_const:
        gen_live(g, ir_full(g->graph, (double)gen_below(g, 9) * 0.25 - 1, &type), 1);
        return true;
    case OP_iota:
        if (!rank)
            dim[rank++] = small_extent(g);
        gen_live(g,
                 ir_iota(g->graph, (int)gen_below(g, rank), dim, rank,
                         gen_chance(g, 50) ? DT_I32 : g->real),
                 32);
        return true;
    case OP_input:
        fresh(g, (DType)GEN_PICK(g, g->real, g->real, DT_I32, DT_BOOL, DT_U8), rank, dim);
        return true;
    case OP_scalar:
        gen_live(g, ir_scalar(g->graph, gen_chance(g, 50) ? "t" : "epoch", g->real), 1);
        return true;
    case OP_read: {
        if (!g->module->storages.count)
            return false;
        Storage *storage = g->module->storages.at[gen_below(g, (int64_t)g->module->storages.count)];
        gen_live(g, gen_read(g, storage), 2);
        return true;
    }
    default: {
        Attrs attrs = {
            .stream = g->module->next_stream, .shape = {(uint32_t)rank, dim}, .dtype = g->real};
        g->module->next_stream += 16;
        gen_live(g, gen_node(g, op, NULL, 0, attrs), 4);
        return true;
    }
    }
}

static bool soup_unary(Gen *g, Op op) {
    Live x = take_real(g);
    Node *a = x.node;
    double most = x.most;
    switch ((int)op) {
    case OP_exp:
    case OP_expm1:
        a = small(g, x);
        most = 8;
        break;
    case OP_log:
        a = safe(g, a, 0.25);
        break;
    case OP_log1p:
        a = gen_op(g, OP_sub, safe(g, a, 0.25), gen_number(g, 0.125));
        break;
    case OP_sqrt:
        a = safe(g, a, 0.25);
        break;
    case OP_rsqrt:
        a = safe(g, a, 0.25);
        most = 2;
        break;
    case OP_floor:
        a = gen_scaled(g, a, 3);
        most = 3 * most + 1;
        break;
    case OP_is_finite:
        gen_live(g, ir_unary(g->graph, op, a), 1);
        return true;
    case OP_not: {
        Live b = take_live(g, DT_BOOL, 0, ELEMENTS_MAX);
        gen_live(g, ir_unary(g->graph, op, b.node), 1);
        return true;
    }
    case OP_neg:
    case OP_abs:
    case OP_sign:
        if (gen_chance(g, 25)) {
            Live i = take_live(g, DT_I32, 0, ELEMENTS_MAX);
            gen_live(g, ir_unary(g->graph, op, i.node), i.most);
            return true;
        }
        break;
    case OP_scale_gradient:
        gen_live(g, gen_op(g, op, a, gen_number(g, (double)GEN_PICK(g, -1, 0, 1, 3) * 0.5)), most);
        return true;
    default:
        most = most < 1 ? 1 : most;
        break;
    }
    gen_live(g, ir_unary(g->graph, op, a), most);
    return true;
}

static bool soup_cast(Gen *g, Op op) {
    DType from = (DType)GEN_PICK(g, g->real, g->real, DT_I32, DT_BOOL, DT_U8);
    DType to = (DType)GEN_PICK(g, g->real, g->real, DT_I32, DT_BOOL, DT_U8, DT_F64);
    Live x = take_live(g, from, 0, ELEMENTS_MAX);
    Node *a = x.node;
    (void)op;
    if (from == g->real && to == DT_U8)
        a = gen_scaled(g, ir_unary(g->graph, OP_abs, a), 10);
    else if (from == g->real && to == DT_I32)
        a = gen_scaled(g, a, 3);
    Node *y = ir_cast(g->graph, a, to);
    if (to == DT_F64) // in f32 networks a detour by f64
        y = ir_cast(g->graph, ir_binary(g->graph, OP_add, y, y), g->real);
    gen_live(g, y, to == g->real ? x.most : to == DT_U8 ? 255 : 10 * x.most);
    return true;
}

static bool soup_binary(Gen *g, Op op) {
    bool integer = gen_chance(g, op == OP_floor_div || op == OP_mod ? 60 : 20);
    if (op == OP_div || op == OP_pow)
        integer = false;
    Live a = take_live(g, integer ? DT_I32 : g->real, 0, ELEMENTS_MAX);
    Live b = partner(g, a);
    if (gen_chance(g, 30)) {
        Live swap = a;
        a = b;
        b = swap;
    }
    double most = a.most + b.most;
    switch ((int)op) {
    case OP_mul:
        most = a.most * b.most;
        break;
    case OP_div:
        b.node = safe(g, b.node, 0.5);
        most = 2 * a.most;
        break;
    case OP_floor_div:
    case OP_mod:
        if (!integer)
            b.node = safe(g, b.node, 0.5);
        most = 2 * a.most + b.most * b.most + 2;
        break;
    case OP_pow:
        a.node = safe(g, small(g, a), 0.25);
        if (gen_chance(g, 60))
            b.node = gen_number(g, (double)GEN_PICK(g, -4, -2, -1, 0, 1, 2, 3, 4, 6, 8) * 0.5);
        else
            b.node = small(g, b);
        most = 40;
        break;
    default:
        break;
    }
    gen_live(g, gen_op(g, op, a.node, b.node), most);
    return true;
}

static bool soup_compare(Gen *g, Op op) {
    DType dtype = (DType)GEN_PICK(g, g->real, DT_I32, DT_U8, DT_BOOL);
    Live a = take_live(g, dtype, 0, ELEMENTS_MAX);
    gen_live(g, gen_op(g, op, a.node, partner(g, a).node), 1);
    return true;
}

static bool soup_logic(Gen *g, Op op) {
    Live a = take_live(g, DT_BOOL, 0, ELEMENTS_MAX);
    gen_live(g, gen_op(g, op, a.node, partner(g, a).node), 1);
    return true;
}

static bool soup_where(Gen *g, Op op) {
    (void)op;
    Live a = take_live(g, gen_chance(g, 85) ? g->real : DT_I32, 0, ELEMENTS_MAX);
    Live b = partner(g, a), c = a, d = b;
    if (gen_chance(g, 50)) {
        c = take_live(g, g->real, 0, ELEMENTS_MAX);
        d = partner(g, c);
    }
    Node *condition = NULL;
    if (type_same_shape(&c.node->type, &a.node->type) || a.node == c.node)
        condition = gen_op(g, OP_lt, c.node, d.node);
    if (!condition || type_count(&condition->type) > type_count(&a.node->type) ||
        condition->type.rank > a.node->type.rank) {
        int64_t dim[MAX_RANK];
        for (int i = 0; i < a.node->type.rank; i++)
            dim[i] = gen_chance(g, 30) ? 1 : a.node->type.dim[i];
        condition = fresh(g, DT_BOOL, a.node->type.rank, dim).node;
    }
    if (type_count(&b.node->type) > type_count(&a.node->type))
        b = a;
    gen_live(g, ir_where(g->graph, condition, a.node, b.node), a.most + b.most);
    return true;
}

static Live any_live(Gen *g, int least_rank, int64_t most_elements) {
    DType dtype = (DType)GEN_PICK(g, g->real, g->real, g->real, DT_I32, DT_BOOL, DT_U8);
    return take_live(g, dtype, least_rank, most_elements);
}

static Node *reshaped(Gen *g, Node *x) {
    int64_t left = type_count(&x->type), dim[MAX_RANK];
    int rank = 0;
    while (left > 1 && rank < 5) {
        int64_t factor = GEN_PICK(g, 2, 3, 4, 5, 7, 16, 17, left, left);
        if (left % factor)
            continue;
        if (gen_chance(g, 10) && rank < 5)
            dim[rank++] = 1;
        dim[rank++] = factor;
        left /= factor;
    }
    if (left > 1 || gen_chance(g, 20))
        dim[rank++] = left;
    return ir_reshape(g->graph, x, dim, rank);
}

static bool soup_view(Gen *g, Op op) {
    Live x = any_live(g, op == OP_broadcast ? 0 : 1, op == OP_broadcast ? 512 : 1500);
    const Type *type = &x.node->type;
    int64_t a[MAX_RANK], b[MAX_RANK], c[MAX_RANK];
    uint32_t rank = type->rank;
    Attrs attrs = {0};
    switch ((int)op) {
    case OP_reshape:
        gen_live(g, reshaped(g, x.node), x.most);
        return true;
    case OP_broadcast: {
        int lead = rank < 5 && gen_chance(g, 50) ? 1 : 0;
        a[0] = GEN_PICK(g, 1, 2, 3);
        for (uint32_t i = 0; i < rank; i++)
            a[lead + (int)i] = type->dim[i] == 1 ? GEN_PICK(g, 1, 2, 3) : type->dim[i];
        gen_live(g, ir_broadcast(g->graph, x.node, a, (int)rank + lead), x.most);
        return true;
    }
    case OP_transpose:
        for (uint32_t i = 0; i < rank; i++)
            a[i] = i;
        for (uint32_t i = rank; i-- > 1;) {
            int64_t k = gen_below(g, i + 1), swap = a[i];
            a[i] = a[k];
            a[k] = swap;
        }
        gen_live(g, ir_transpose(g->graph, x.node, a), x.most);
        return true;
    case OP_slice:
        for (uint32_t i = 0; i < rank; i++) {
            a[i] = gen_below(g, type->dim[i]);
            b[i] = a[i] + 1 + gen_below(g, type->dim[i] - a[i]);
            if (gen_chance(g, 40)) {
                a[i] = 0;
                b[i] = type->dim[i];
            }
            c[i] = GEN_PICK(g, 1, 1, 1, 2, 3);
        }
        attrs.start = (Ints){rank, a};
        attrs.limit = (Ints){rank, b};
        attrs.step = (Ints){rank, c};
        break;
    case OP_pad:
        for (uint32_t i = 0; i < rank; i++) {
            a[i] = GEN_PICK(g, 0, 0, 1, 2);
            b[i] = GEN_PICK(g, 0, 0, 1, 3);
        }
        attrs.low = (Ints){rank, a};
        attrs.high = (Ints){rank, b};
        attrs.value = type->dtype == g->real ? (double)GEN_PICK(g, 0, 0, 1, -1) : 0;
        break;
    default: { // reverse
        uint32_t count = 0;
        for (uint32_t i = 0; i < rank; i++) {
            if (gen_chance(g, 50))
                a[count++] = i;
        }
        attrs.axes = (Ints){count, a};
        break;
    }
    }
    Node *y = gen_node(g, op, &x.node, 1, attrs);
    gen_live(g, y, x.most);
    return true;
}

static bool soup_concat(Gen *g, Op op) {
    Live x = any_live(g, 1, 700), part[4] = {x};
    uint32_t count = 1 + (uint32_t)gen_below(g, 3);
    int64_t axis = gen_below(g, x.node->type.rank);
    Node *node[4] = {x.node};
    double most = x.most;
    for (uint32_t k = 1; k < count; k++) {
        int64_t dim[MAX_RANK];
        memcpy(dim, x.node->type.dim, sizeof dim);
        dim[axis] = GEN_PICK(g, 1, 2, dim[axis]);
        part[k] = gen_chance(g, 50) && dim[axis] == x.node->type.dim[axis]
                      ? partner(g, x)
                      : fresh(g, x.node->type.dtype, x.node->type.rank, dim);
        if (!type_same_shape(&part[k].node->type, &x.node->type) && part[k].node->op != OP_input)
            part[k] = x;
        if (part[k].node->type.rank != x.node->type.rank)
            part[k] = x;
        for (int i = 0; i < x.node->type.rank; i++) {
            if (i != axis && part[k].node->type.dim[i] != x.node->type.dim[i])
                part[k] = x;
        }
        node[k] = part[k].node;
        most = fmax(most, part[k].most);
    }
    gen_live(g, gen_node(g, op, node, count, (Attrs){.axis = axis}), most);
    return true;
}

static Live take_image(Gen *g) {
    for (int tries = 0; tries < 20 && g->pool.count; tries++) {
        Live live = g->pool.at[gen_below(g, (int64_t)g->pool.count)];
        if (live.node->type.rank == 4 && live.node->type.dtype == g->real &&
            type_count(&live.node->type) <= ELEMENTS_MAX)
            return live;
    }
    int64_t dim[4] = {GEN_PICK(g, 1, 2, 3), GEN_PICK(g, 1, 2, 3, 16, 17, 32),
                      GEN_PICK(g, 1, 2, 3, 5, 6), GEN_PICK(g, 1, 2, 4, 5, 7)};
    return fresh(g, g->real, 4, dim);
}

/// Window attributes that fit an image of h by w: kernel, stride, padding, dilation in at[10].
static Attrs window_attrs(Gen *g, const Type *image, int64_t at[10]) {
    for (int i = 0; i < 2; i++) {
        int64_t *kernel = &at[i], *stride = &at[2 + i], *dilation = &at[8 + i];
        *kernel = GEN_PICK(g, 1, 2, 3, 3, 4);
        *stride = GEN_PICK(g, 1, 1, 2, 3);
        *dilation = GEN_PICK(g, 1, 1, 1, 2);
        at[4 + i] = GEN_PICK(g, 0, 0, 1, 2);
        at[6 + i] = GEN_PICK(g, 0, 1, 1, 2);
        int64_t room = image->dim[2 + i] + at[4 + i] + at[6 + i];
        while ((*kernel - 1) * *dilation + 1 > room) {
            if (*dilation > 1)
                --*dilation;
            else
                --*kernel;
        }
    }
    return (Attrs){
        .kernel = {2, at}, .stride = {2, at + 2}, .padding = {4, at + 4}, .dilation = {2, at + 8}};
}

static bool soup_windows(Gen *g, Op op) {
    Live x = take_image(g);
    int64_t at[10], five[2] = {4, 5};
    Attrs attrs = window_attrs(g, &x.node->type, at);
    if (type_count(&x.node->type) * at[0] * at[1] > 4 * ELEMENTS_MAX)
        return false;
    attrs.value = (double)GEN_PICK(g, 0, 0, -1);
    Node *y = gen_node(g, OP_windows, &x.node, 1, attrs);
    if (op == OP_fold) {
        attrs.shape = (Ints){4, x.node->type.dim};
        y = gen_node(g, OP_fold, (Node *[]){gen_op(g, OP_mul, y, y)}, 1, attrs);
        gen_live(g, y, x.most * x.most * (double)(at[0] * at[1]));
    } else if (gen_chance(g, 60)) {
        Op reduce = (Op)GEN_PICK(g, OP_sum, OP_reduce_max, OP_reduce_min);
        gen_live(g, ir_reduce(g->graph, reduce, y, five, 2, gen_chance(g, 20)),
                 x.most * (double)(at[0] * at[1]));
    } else {
        gen_live(g, y, x.most);
    }
    return true;
}

static Live indices(Gen *g) {
    for (int tries = 0; tries < 8; tries++) {
        Live i = take_live(g, DT_I32, 0, 64);
        if (i.node->type.rank <= 2)
            return i;
    }
    int64_t dim[1] = {small_extent(g)};
    return fresh(g, DT_I32, (int)gen_below(g, 2), dim);
}

static bool soup_rows(Gen *g, Op op) {
    Live x = any_live(g, 1, 800), i = indices(g);
    if (op == OP_put_add && (x.node->type.dtype == DT_BOOL || x.node->type.dtype == DT_U8))
        x = take_live(g, g->real, 1, 800);
    const Type *type = &x.node->type;
    int64_t axis = gen_below(g, type->rank), dim[MAX_RANK];
    int rank = 0;
    if (type->rank + i.node->type.rank > 6 ||
        type_count(type) / type->dim[axis] * type_count(&i.node->type) > ELEMENTS_MAX)
        return false;
    for (int k = 0; k < axis; k++)
        dim[rank++] = type->dim[k];
    for (int k = 0; k < i.node->type.rank; k++)
        dim[rank++] = i.node->type.dim[k];
    for (int k = (int)axis + 1; k < type->rank; k++)
        dim[rank++] = type->dim[k];
    if (op == OP_take) {
        gen_live(g, gen_node(g, op, (Node *[]){x.node, i.node}, 2, (Attrs){.axis = axis}), x.most);
        return true;
    }
    Node *rows = NULL;
    if (gen_chance(g, 50)) // rows that are computed
        rows = gen_node(g, OP_take, (Node *[]){x.node, i.node}, 2, (Attrs){.axis = axis});
    else
        rows = fresh(g, type->dtype, rank, dim).node;
    gen_live(g, gen_node(g, op, (Node *[]){x.node, i.node, rows}, 3, (Attrs){.axis = axis}),
             op == OP_put_add ? x.most * 8 : x.most + 2);
    return true;
}

static bool soup_reduce(Gen *g, Op op) {
    bool integer = op != OP_variance && gen_chance(g, 15);
    Live x = take_live(g, integer ? DT_I32 : g->real, gen_chance(g, 90), ELEMENTS_MAX);
    int64_t axes[MAX_RANK], count = 1;
    uint32_t axis_count = 0;
    int percent = (int)GEN_PICK(g, 40, 60, 100);
    for (int i = 0; i < x.node->type.rank; i++) {
        if (gen_chance(g, percent)) {
            axes[axis_count++] = i;
            count *= x.node->type.dim[i];
        }
    }
    Attrs attrs = {.axes = {axis_count, axes}, .keep = gen_chance(g, 40)};
    attrs.correction = op == OP_variance && count > 2 && gen_chance(g, 40);
    double most = op == OP_sum        ? x.most * (double)count
                  : op == OP_variance ? x.most * x.most
                                      : x.most;
    if (op == OP_argmax || op == OP_argmin)
        most = (double)count;
    gen_live(g, gen_node(g, op, &x.node, 1, attrs), most);
    return true;
}

/// Letters by role: of both operands and the result, of both and summed, of one and kept, of one
/// and summed.
static bool soup_einsum(Gen *g, Op op) {
    char a[MAX_RANK + 1] = "", b[MAX_RANK + 1] = "", y[MAX_RANK + 1] = "";
    int64_t extent[26], flops = 1, dim[MAX_RANK];
    int letters = 1 + (int)gen_below(g, 5);
    double terms = 1;
    bool integer = gen_chance(g, 8);
    for (int i = 0; i < letters; i++) {
        char letter[2] = {(char)('a' + i), 0};
        int role = (int)gen_below(g, 10);
        extent[i] = GEN_PICK(g, 1, 2, 3, 5, 8, 16, 17, 24, 32, 48);
        if (flops * extent[i] > 60000)
            extent[i] = 1 + gen_below(g, 3);
        flops *= extent[i];
        bool in_a = role < 9 - (role == 3 || role == 4), in_b = role < 3 || role > 4;
        bool in_y = role < 2 || (role > 2 && role < 8 && role != 4);
        if (role == 8 || role == 9)
            in_y = role == 9;
        if (role == 3 || role == 4)
            in_a = true, in_b = false, in_y = true;
        if (role >= 5 && role <= 7)
            in_a = false, in_b = true, in_y = true;
        if (role == 8) // summed in one alone
            in_a = gen_chance(g, 50), in_b = !in_a, in_y = false;
        if (role == 2)
            in_y = false;
        if (in_a)
            strcat(a, letter);
        if (in_b)
            strcat(b, letter);
        if (in_y)
            strcat(y, letter);
        if (!in_y)
            terms *= (double)extent[i];
    }
    char *list[3] = {a, b, y};
    for (int k = 0; k < 3; k++) { // in any order
        for (size_t i = strlen(list[k]); i-- > 1;) {
            size_t j = (size_t)gen_below(g, (int64_t)i + 1);
            char swap = list[k][i];
            list[k][i] = list[k][j];
            list[k][j] = swap;
        }
    }
    int64_t count = 1;
    for (size_t i = 0; y[i]; i++)
        count *= extent[y[i] - 'a'];
    if (count > ELEMENTS_MAX)
        return false;
    Live operand[2];
    for (int k = 0; k < 2; k++) {
        for (size_t i = 0; list[k][i]; i++)
            dim[i] = extent[list[k][i] - 'a'];
        operand[k] = fresh(g, integer ? DT_I32 : g->real, (int)strlen(list[k]), dim);
        if (!integer && gen_chance(g, 40)) // computed where it is read
            operand[k].node = gen_op(g, OP_sub, operand[k].node, gen_number(g, 0.25));
    }
    const char *spec = arena_printf(g->module->arena, "%s,%s->%s", a, b, y);
    (void)op;
    gen_live(g, ir_einsum(g->graph, operand[0].node, operand[1].node, spec),
             2.25 * sqrt(terms) * 2);
    return true;
}

// How many of the channels count; mostly all.
static int64_t live_channels(Gen *g, int64_t channels, int64_t groups) {
    return groups == 1 && gen_chance(g, 25) ? 1 + gen_below(g, channels) : 0;
}

static bool soup_conv(Gen *g, Op op) {
    Live x = take_image(g);
    const Type *type = &x.node->type;
    int64_t at[10], groups = 1;
    Attrs attrs = window_attrs(g, type, at);
    int64_t filters = GEN_PICK(g, 1, 2, 3, 5, 16, 16, 17, 32, 32);
    if (gen_chance(g, 30))
        groups = type->dim[1] % 2 == 0 && gen_chance(g, 50) ? 2 : type->dim[1];
    if (type->dim[1] / groups >= 16 && gen_chance(g, 50))
        filters = 32;
    filters = (filters + groups - 1) / groups * groups;
    attrs.groups = groups;
    int64_t w[4] = {filters, type->dim[1] / groups, at[0], at[1]};
    attrs.kernel = (Ints){0, NULL};
    double fan = (double)(w[1] * w[2] * w[3]);
    if (type_count(type) * filters / groups * at[0] * at[1] > FLOPS_MAX)
        return false;
    Live weight = fresh(g, g->real, 4, w);
    attrs.live = live_channels(g, type->dim[1], groups);
    bool has_gradient = !attrs.live; // parts and live channels are set behind differentiation
    Node *y = gen_node(g, OP_conv2d, (Node *[]){x.node, weight.node}, 2, attrs);
    if (type_count(&y->type) > ELEMENTS_MAX)
        return true; // dead code, then
    double most = x.most * 1.25 * sqrt(fan) * 2;
    if (op == OP_conv2d_input) {
        attrs.shape = (Ints){4, type->dim};
        attrs.live = live_channels(g, filters, groups);
        has_gradient &= !attrs.live;
        y = gen_node(g, op, (Node *[]){gen_scaled(g, y, 1 / most), weight.node}, 2, attrs);
        most = 2.5 * sqrt((double)(filters / groups * at[0] * at[1]));
    } else if (op == OP_conv2d_weight) {
        attrs.shape = (Ints){4, w};
        attrs.parts = gen_chance(g, 50) ? 0 : 1 + gen_below(g, type->dim[0]);
        Node *dy = fresh(g, g->real, 4, y->type.dim).node;
        most = x.most * 2 * sqrt((double)(type_count(&y->type) / filters)) + 2;
        y = gen_node(g, op, (Node *[]){x.node, dy}, 2, attrs);
        has_gradient &= !attrs.parts;
    }
    if (!has_gradient)
        y = ir_unary(g->graph, OP_stop_gradient, y);
    gen_live(g, y, most);
    return true;
}

// What passes/winograd.c makes of convolutions, after differentiation.
static bool soup_winograd(Gen *g, Op op) {
    int64_t n = 1 + gen_below(g, 3), c = GEN_PICK(g, 16, 16, 32), k = GEN_PICK(g, 16, 16, 32, 48);
    int64_t top = gen_below(g, 3), left = gen_below(g, 3);
    int64_t h = 3 + gen_below(g, 6), w = 3 + gen_below(g, 10);
    int64_t groups = GEN_PICK(g, 1, 1, 2, 3); // c and k are of one
    int64_t padding[4] = {top, left, 1, 2}, w_dim[4] = {k * groups, c, 3, 3};
    int64_t x_dim[4] = {n, c * groups, h, w}, dy_dim[4] = {n, k * groups, h + top - 1, w + left};
    Attrs attrs = {.padding = {4, padding}, .groups = groups};
    Live x = fresh(g, g->real, 4, x_dim), kernel = fresh(g, g->real, 4, w_dim);
    Node *u = gen_node(g, OP_winograd_kernel, &kernel.node, 1, (Attrs){.groups = groups});
    Node *y = u;
    double most = kernel.most;
    if (op == OP_winograd) {
        y = gen_node(g, op, (Node *[]){x.node, u}, 2, attrs);
        most = 3 * sqrt((double)(9 * c)) * x.most * kernel.most;
    } else if (op != OP_winograd_kernel) {
        Live dy = fresh(g, g->real, 4, dy_dim);
        attrs.parts = gen_chance(g, 50) ? 0 : 1 + gen_below(g, n);
        y = gen_node(g, OP_winograd_weight, (Node *[]){x.node, dy.node}, 2, attrs);
        int64_t first = 0;
        if (attrs.parts)
            y = ir_reduce(g->graph, OP_sum, y, &first, 1, false);
        y = gen_node(g, OP_winograd_kernel_adjoint, &y, 1, (Attrs){0});
        most = 3 * sqrt((double)(n * h * w)) * x.most * dy.most;
    }
    gen_live(g, ir_unary(g->graph, OP_stop_gradient, y), most);
    return true;
}

// A few small matrices. Their gradient divides by gaps between values, of which random ones have small
// ones; tests/grad has it.
static bool soup_decompose(Gen *g, Op op) {
    int64_t rows = 1 + gen_below(g, 5), columns = op == OP_eigh ? rows : 1 + gen_below(g, 7);
    int64_t dim[3] = {1 + gen_below(g, 3), rows, columns};
    int64_t most = rows < columns ? rows : columns;
    Live x = fresh(g, g->real, 3, dim);
    Node *y = gen_node(g, op, &x.node, 1, (Attrs){.count = 1 + gen_below(g, most)});
    gen_live(g, ir_unary(g->graph, OP_stop_gradient, y), x.most * sqrt((double)(rows * columns)) + 1);
    return true;
}

static bool soup_relayout(Gen *g, Op op) {
    for (int tries = 0; tries < 30 && g->pool.count; tries++) {
        Live x = g->pool.at[gen_below(g, (int64_t)g->pool.count)];
        if (!x.node->type.rank || x.node->type.dtype != g->real)
            continue;
        int64_t axis = gen_below(g, x.node->type.rank);
        int64_t block = GEN_PICK(g, 16, 16, 2, 1);
        if (x.node->type.dim[axis] % block)
            continue;
        Node *y = gen_node(g, op, &x.node, 1, (Attrs){.block = block, .block_axis = axis});
        if (gen_chance(g, 50))
            y = gen_op(g, OP_mul, y, y);
        y = gen_node(g, op, &y, 1, (Attrs){0});
        gen_live(g, ir_unary(g->graph, OP_stop_gradient, y), x.most * x.most);
        return true;
    }
    int64_t dim[3] = {2, 16, 3};
    fresh(g, g->real, 3, dim);
    return false;
}

// ---- the table
// -------------------------------------------------------------------------------------

static SoupRule *rule_of(Op op) {
    if (op == OP_grad || op_has(op, EFFECT))
        return NULL;
    if (op_has(op, LEAF))
        return soup_leaf;
    switch ((int)op) {
    case OP_cast:
        return soup_cast;
    case OP_where:
        return soup_where;
    case OP_and:
    case OP_or:
        return soup_logic;
    case OP_eq:
    case OP_ne:
    case OP_lt:
    case OP_le:
        return soup_compare;
    case OP_concat:
        return soup_concat;
    case OP_windows:
    case OP_fold:
        return soup_windows;
    case OP_take:
    case OP_put:
    case OP_put_add:
        return soup_rows;
    case OP_relayout:
        return soup_relayout;
    case OP_einsum:
        return soup_einsum;
    case OP_scale_gradient:
        return soup_unary;
    default:
        break;
    }
    if (op_has(op, TILED))
        return soup_winograd;
    if (op_has(op, DECOMPOSES))
        return soup_decompose;
    if (op_has(op, CONTRACTS))
        return soup_conv;
    if (op_has(op, REDUCES))
        return soup_reduce;
    if (op_has(op, VIEWS))
        return soup_view;
    return op_info[op].arity == 1 ? soup_unary : soup_binary;
}

void gen_soup(Gen *g, int count) {
    for (int made = 0, tries = 0; made < count && tries < 20 * count; tries++) {
        Op op = (Op)gen_below(g, OP_COUNT);
        SoupRule *rule = gen_is_off(g, op) ? NULL : rule_of(op);
        made += rule && rule(g, op);
    }
}

// ---- results
// ----------------------------------------------------------------------------------------

static uint8_t *used_nodes(Gen *g) {
    uint8_t *used = arena_array(g->module->arena, uint8_t, g->graph->nodes.count);
    for (size_t i = 0; i < g->graph->nodes.count; i++) {
        const Node *node = g->graph->nodes.at[i];
        for (uint32_t k = 0; k < node->arity; k++)
            used[node->operand[k]->id] = 1;
    }
    return used;
}

static void output_of(Gen *g, Node *x) {
    ir_output(g->graph, arena_printf(g->module->arena, "y%d", g->name_count++), x);
}

void gen_finish_soup(Gen *g, bool gradients) {
    uint8_t *used = used_nodes(g);
    Node *sum = NULL;
    for (size_t i = 0; i < g->pool.count; i++) {
        Node *x = g->pool.at[i].node;
        if (used[x->id] && !gen_chance(g, 6))
            continue;
        if (x->type.dtype != g->real) {
            output_of(g, x);
            continue;
        }
        Node *term = gen_mean(g, gen_chance(g, 50) ? gen_op(g, OP_mul, x, x)
                                                   : ir_unary(g->graph, OP_sin, x));
        sum = sum ? gen_op(g, OP_add, sum, term) : term;
        if (gen_chance(g, 60))
            output_of(g, x);
    }
    if (!sum)
        return;
    ir_report(g->graph, "sum", sum);
    Node *norm = NULL;
    for (size_t i = 0, made = 0; gradients && i < g->pool.count && made < 5; i++) {
        Node *x = g->pool.at[i].node;
        bool is_leaf = x->op == OP_input || x->op == OP_read;
        if (x->type.dtype != g->real || !gen_chance(g, is_leaf ? 60 : 5))
            continue;
        Node *dx = ir_binary(g->graph, OP_grad, sum, x);
        output_of(g, dx);
        made++;
        if (!norm && gen_chance(g, 25))
            norm = gen_mean(g, gen_op(g, OP_mul, dx, dx));
    }
    if (!norm)
        return;
    for (size_t i = 0, made = 0; i < g->pool.count && made < 2; i++) {
        Node *x = g->pool.at[i].node;
        if (x->type.dtype != g->real || x->op != OP_input || !gen_chance(g, 50))
            continue;
        output_of(g, ir_binary(g->graph, OP_grad, norm, x));
        made++;
    }
}
