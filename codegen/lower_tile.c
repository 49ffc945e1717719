// codegen/lower_tile.c -- contractions by the register-tiled schedules of tile.h.
//
// A schedule asks here for operand elements, which may be views or elementwise expressions of what
// lies in memory, and hands over each finished sum, from which all that the kernel stores is
// computed.
#include <string.h>

#include "codegen/lower_rules.h"
#include "codegen/tile.h"
#include "ir/rows.h"
#include "support/diag.h"

/// A digit of a merged matmul axis: a letter of the einsum.
typedef struct Digit {
    char letter;
    int64_t extent;
} Digit;

enum { BATCH, ROW, COLUMN, DEPTH, ROLES };

typedef struct Contraction {
    Lower *l;
    const Node *node;
    Rows rows;
    // einsum as a matrix product
    bool is_matmul;
    int side[2]; // which operand of the node is operand 0 and 1 of the product
    Digit digit[ROLES][MAX_RANK];
    int count[ROLES];
} Contraction;

// ---- what schedules call
// -----------------------------------------------------------------------------

// Expressions go into `body`, and nothing that was known before is in scope there.
static void enter(Lower *l, LoopBody *body) {
    l->top = 0;
    l->scope[0] = (Scope){body, NULL, ++l->serial};
}

static void plain_index(const Node *node, LoopExpr *const *index, Ix *ix) {
    for (int i = 0; i < node->type.rank; i++)
        ix[i] = lower_ix(index[i]);
}

// The letters' indices from those of the merged axes (batch, and one or two of the others).
static void letter_index(const Contraction *c, const char *letters, int rank, const int *role,
                         LoopExpr *const *index, Ix *ix) {
    LoopKernel *kernel = c->l->kernel;
    for (int r = 0; r < 3; r++) {
        LoopExpr *left = index[r];
        for (int d = c->count[role[r]]; d-- > 0;) {
            const Digit *digit = &c->digit[role[r]][d];
            LoopExpr *here = d ? x_mod(kernel, left, digit->extent) : left;
            left = d ? x_div(kernel, left, digit->extent) : left;
            const char *at = memchr(letters, digit->letter, (size_t)rank);
            kdc_assert(at);
            ix[at - letters] = lower_ix(here);
        }
    }
}

static LoopExpr *read_operand(void *user, LoopBody *body, int which, LoopExpr *const *index) {
    static const int roles[2][3] = {{BATCH, ROW, DEPTH}, {BATCH, DEPTH, COLUMN}};
    Contraction *c = user;
    int side = c->is_matmul ? c->side[which] : which;
    const Node *operand = c->node->operand[side];
    const char *spec = c->node->attrs->spec;
    Ix ix[MAX_RANK];
    enter(c->l, body);
    if (!c->is_matmul)
        plain_index(operand, index, ix);
    else
        letter_index(c, side ? strchr(spec, ',') + 1 : spec, operand->type.rank, roles[which],
                     index, ix);
    return lower_element(c->l, operand, ix).x;
}

static void result_index(const Contraction *c, LoopExpr *const *index, Ix *ix) {
    static const int roles[3] = {BATCH, ROW, COLUMN};
    if (c->is_matmul)
        letter_index(c, strstr(c->node->attrs->spec, "->") + 2, c->node->type.rank, roles, index,
                     ix);
    else
        plain_index(c->node, index, ix);
}

// The index of a stored node: its axes are those of the rows, which are the sum's long axes.
static void stored_index(const Contraction *c, const Node *stored, const Ix *sum, Ix *ix) {
    Ix row[MAX_RANK];
    int count = 0;
    for (int i = 0; i < c->node->type.rank; i++) {
        if (c->node->type.dim[i] != 1)
            row[count++] = sum[i];
    }
    for (int i = 0; i < stored->type.rank; i++) {
        int label = c->rows.label[stored->id].axis[i];
        ix[i] = label == ROW_NONE ? lower_ix(x_int(c->l->kernel, 0)) : row[label];
    }
}

static void store_sum(void *user, LoopBody *body, LoopExpr *const *index, LoopExpr *sum) {
    Contraction *c = user;
    Lower *l = c->l;
    const Kernel *source = l->source;
    Value *value = arena_array(l->arena, Value, source->stored_count);
    Ix at[MAX_RANK], ix[MAX_RANK];
    enter(l, body);
    result_index(c, index, at);
    lower_know(l, c->node, at, lower_bind(l, "sum", (Value){sum, 0}));
    for (uint32_t i = 0; i < source->stored_count; i++) {
        stored_index(c, source->stored[i], at, ix);
        value[i] = lower_element(l, source->stored[i], ix);
    }
    for (uint32_t i = 0; i < source->stored_count; i++) {
        stored_index(c, source->stored[i], at, ix);
        lower_store(l, source->stored[i], ix, value[i]);
    }
}

static LoopExpr *reread_sum(void *user, LoopBody *body, LoopExpr *const *index) {
    Contraction *c = user;
    Ix at[MAX_RANK];
    enter(c->l, body);
    result_index(c, index, at);
    uint32_t buffer = lower_buffer(c->l, c->node, true);
    c->l->kernel->buffers.at[buffer].role = BUFFER_INOUT;
    lower_note_place(c->l, c->node, buffer, at);
    return x_load(c->l->kernel, buffer, lower_flat(c->l, &c->node->type, at).x);
}

// ---- matrix products
// -----------------------------------------------------------------------------------

static void add_digit(Contraction *c, int role, char letter, int64_t extent) {
    c->digit[role][c->count[role]++] = (Digit){letter, extent};
}

static int64_t extent_of_role(const Contraction *c, int role) {
    int64_t product = 1;
    for (int i = 0; i < c->count[role]; i++)
        product *= c->digit[role][i].extent;
    return product;
}

// Which letters are batch, rows, columns and depth. The result's last letter is a column, so that
// the vector lies along memory. Sums over one operand alone are no matrix product.
static bool find_roles(Contraction *c) {
    const Node *node = c->node;
    const char *a = node->attrs->spec, *out = strstr(a, "->") + 2;
    const char *b = strchr(a, ',') + 1;
    int rank[2] = {node->operand[0]->type.rank, node->operand[1]->type.rank};
    int out_rank = node->type.rank;
    if (!out_rank)
        return false;
    bool last_in_a = memchr(a, out[out_rank - 1], (size_t)rank[0]) != NULL;
    bool last_in_b = memchr(b, out[out_rank - 1], (size_t)rank[1]) != NULL;
    if (last_in_a && last_in_b)
        return false;
    c->side[0] = last_in_b ? 0 : 1;
    c->side[1] = last_in_b ? 1 : 0;
    const char *left = last_in_b ? a : b, *right = last_in_b ? b : a;
    size_t left_rank = (size_t)rank[c->side[0]], right_rank = (size_t)rank[c->side[1]];
    for (int i = 0; i < out_rank; i++) {
        bool in_left = memchr(left, out[i], left_rank),
             in_right = memchr(right, out[i], right_rank);
        add_digit(c,
                  in_left && in_right ? BATCH
                  : in_left           ? ROW
                                      : COLUMN,
                  out[i], node->type.dim[i]);
    }
    for (size_t i = 0; i < right_rank; i++) { // in the order of memory where columns are
        if (memchr(out, right[i], (size_t)out_rank))
            continue;
        if (!memchr(left, right[i], left_rank))
            return false;
        add_digit(c, DEPTH, right[i], node->operand[c->side[1]]->type.dim[i]);
    }
    for (size_t i = 0; i < left_rank; i++) {
        if (!memchr(out, left[i], (size_t)out_rank) && !memchr(right, left[i], right_rank))
            return false;
    }
    return true;
}

// Whether the columns' operand lies in memory with the last column letter innermost.
static bool has_unit_columns(const Contraction *c) {
    const Node *right = c->node->operand[c->side[1]];
    const char *spec = c->node->attrs->spec;
    const char *letters = c->side[1] ? strchr(spec, ',') + 1 : spec;
    if (!c->count[COLUMN] || c->l->room.member[right->id] || right->type.block || !right->type.rank)
        return false;
    return letters[right->type.rank - 1] == c->digit[COLUMN][c->count[COLUMN] - 1].letter;
}

static int64_t tile_einsum(Contraction *c, const TileIO *io) {
    c->is_matmul = true;
    if (!find_roles(c))
        return 0;
    MatmulShape shape = {
        scalar_type_of(c->node->type.dtype), extent_of_role(c, BATCH), extent_of_role(c, ROW),
        extent_of_role(c, COLUMN),           extent_of_role(c, DEPTH), has_unit_columns(c)};
    return tile_matmul(io, &shape);
}

// ---- convolutions
// ----------------------------------------------------------------------------------------

// Extents of the image x and the result y.
static ConvShape image_shape(const Node *node, const Type *x, const Type *y) {
    return (ConvShape){.type = scalar_type_of(node->type.dtype),
                       .batch = x->dim[0],
                       .channels = x->dim[1],
                       .height = x->dim[2],
                       .width = x->dim[3],
                       .filters = y->dim[1],
                       .out_height = y->dim[2],
                       .out_width = y->dim[3],
                       .padding = {node->attrs->padding.at[0], node->attrs->padding.at[1]},
                       .groups = node->attrs->groups};
}

static ConvShape conv_shape(const Node *node, const Type *x, const Type *w, const Type *y) {
    const Attrs *as = node->attrs;
    ConvShape shape = image_shape(node, x, y);
    shape.live = as->live;
    for (int i = 0; i < 2; i++) {
        shape.kernel[i] = w->dim[w->rank - 2 + i];
        shape.stride[i] = as->stride.at[i];
        shape.dilation[i] = as->dilation.at[i];
    }
    return shape;
}

// The schedules' vectors run over channels: worth it where these lie side by side.
static int64_t tile_convolution(const Contraction *c, const TileIO *io) {
    const Node *node = c->node;
    const Type *a = &node->operand[0]->type, *b = &node->operand[1]->type, *y = &node->type;
    ConvShape shape;
    switch ((int)node->op) {
    case OP_conv2d:
        shape = conv_shape(node, a, b, y);
        return y->block && y->block_axis == 1 ? tile_conv2d(io, &shape) : 0;
    case OP_conv2d_input:
        shape = conv_shape(node, y, b, a);
        return y->block && y->block_axis == 1 ? tile_conv2d_input(io, &shape) : 0;
    default:
        shape = conv_shape(node, a, y, b);
        if (!b->block || b->block_axis != 1)
            return 0;
        return conv_small_groups(&shape) ? tile_conv2d_weight_groups(io, &shape, node->attrs->parts)
                                         : tile_conv2d_weight(io, &shape, node->attrs->parts);
    }
}

// A 3x3 convolution of stride 1 of x to y.
static ConvShape winograd_shape(const Node *node, const Type *x, const Type *y) {
    ConvShape shape = image_shape(node, x, y);
    for (int i = 0; i < 2; i++) {
        shape.kernel[i] = 3;
        shape.stride[i] = shape.dilation[i] = 1;
    }
    return shape;
}

// The kernel that `u` is transformed of.
static WinogradKernelShape winograd_kernel_shape(const Node *node, const Type *u) {
    return (WinogradKernelShape){.type = scalar_type_of(u->dtype),
                                 .filters = u->dim[1] * u->dim[3],
                                 .channels = u->dim[2],
                                 .groups = node->attrs->groups,
                                 .flip = node->attrs->flip};
}

static int64_t tile_transformed(const Contraction *c, const TileIO *io) {
    const Node *node = c->node;
    const Type *y = &node->type, *x = &node->operand[0]->type;
    ConvShape shape;
    WinogradKernelShape kernel;
    switch ((int)node->op) {
    case OP_winograd:
        shape = winograd_shape(node, x, y);
        return tile_winograd(io, &shape);
    case OP_winograd_weight:
        shape = winograd_shape(node, x, &node->operand[1]->type);
        return tile_winograd_weight(io, &shape, node->attrs->parts);
    case OP_winograd_kernel:
        kernel = winograd_kernel_shape(node, y);
        return tile_winograd_kernel(io, &kernel);
    default:
        kdc_assert(node->op == OP_winograd_kernel_adjoint);
        kernel = winograd_kernel_shape(node, x);
        return tile_winograd_kernel_adjoint(io, &kernel);
    }
}

int64_t lower_tiles(Lower *l) {
    const Kernel *source = l->source;
    Contraction c = {.l = l};
    for (uint32_t i = 0; i < source->node_count; i++) {
        if (op_has(source->node[i]->op, CONTRACTS))
            c.node = source->node[i];
    }
    if (!c.node || !dtype_is_float(c.node->type.dtype))
        return 0;
    if (!rows_of(l->room.label, source->node, source->node_count, source->stored,
                 source->stored_count, &c.rows))
        return 0;
    for (uint32_t i = 0; i < source->stored_count; i++) {
        const Node *stored = source->stored[i];
        if (type_count(&stored->type) != type_count(&c.node->type))
            return 0; // a row would be more than the sum
    }
    bool alone = source->stored_count == 1 && source->stored[0] == c.node;
    TileIO io = {l->kernel,    &c,        l->registers,
                 read_operand, store_sum, alone ? reread_sum : NULL};
    if (op_has(c.node->op, TILED))
        return tile_transformed(&c, &io);
    return c.node->op == OP_einsum ? tile_einsum(&c, &io) : tile_convolution(&c, &io);
}
