// ir/rows.c -- labels the axes of a kernel's nodes: of the rows, within a row.
//
// Forward, from the reductions' results to what is computed from them; then backward from the
// reductions to what they read, for values that are stored on the way. A node whose operands
// disagree, or whose rows would be mixed with each other, has no place in the kernel.
#include "ir/rows.h"

#include <string.h>

bool node_sums(const Node *node) {
    return op_has(node->op, REDUCES) || op_has(node->op, CONTRACTS);
}

static const RowLabels *labels_of(const Rows *at, const Node *node) {
    const RowLabels *labels = &at->label[node->id];
    return labels->member && labels->known ? labels : NULL;
}

static void set_labels(const Rows *at, const Node *node, const RowLabels *labels) {
    RowLabels *to = &at->label[node->id];
    bool member = to->member;
    *to = *labels;
    to->member = member;
}

// ---- shapes of rows --------------------------------------------------------------------------------

static uint32_t long_axes(const Type *type, int64_t *extent) {
    uint32_t count = 0;
    for (int i = 0; i < type->rank; i++) {
        if (type->dim[i] != 1)
            extent[count++] = type->dim[i];
    }
    return count;
}

static bool has_row_shape(const Rows *rows, const Type *type) {
    int64_t extent[MAX_RANK];
    return long_axes(type, extent) == rows->rank &&
           memcmp(extent, rows->extent, rows->rank * sizeof *extent) == 0;
}

static bool is_reduced(const Node *node, int axis) {
    for (uint32_t k = 0; k < node->attrs->axes.count; k++) {
        if (node->attrs->axes.at[k] == axis)
            return true;
    }
    return false;
}

static bool sums_whole_axes(const Node *node) {
    return op_has(node->op, REDUCES) && node->op != OP_fold;
}

// The labels that the operand of a reduction over axes must have.
static RowLabels summed_labels(const Node *node) {
    RowLabels labels = {.known = true};
    const Type *x = &node->operand[0]->type;
    int8_t next = 0;
    for (int i = 0; i < x->rank; i++)
        labels.axis[i] = (int8_t)(x->dim[i] == 1         ? ROW_NONE
                                  : is_reduced(node, i) ? ROW_WITHIN
                                                         : next++);
    return labels;
}

static RowLabels result_labels(const Type *type) {
    RowLabels labels = {.known = true};
    int8_t next = 0;
    for (int i = 0; i < type->rank; i++)
        labels.axis[i] = (int8_t)(type->dim[i] == 1 ? ROW_NONE : next++);
    return labels;
}

static bool same_labels(const RowLabels *a, const RowLabels *b, int rank) {
    return memcmp(a->axis, b->axis, (size_t)rank) == 0;
}

// ---- forward -----------------------------------------------------------------------------------------

// Aligned at the last axes; an axis along which labelled operands are repeated lies within the row.
static bool map_labels(const Rows *at, const Node *node, RowLabels *labels) {
    bool seen[MAX_RANK] = {false};
    *labels = (RowLabels){0};
    for (uint32_t k = 0; k < node->arity; k++) {
        const Type *x = &node->operand[k]->type;
        const RowLabels *from = labels_of(at, node->operand[k]);
        if (!from)
            continue;
        labels->known = true;
        for (int i = 0; i < x->rank; i++) {
            int axis = i + node->type.rank - x->rank;
            if (x->dim[i] == 1)
                continue;
            if (seen[axis] && labels->axis[axis] != from->axis[i])
                return false;
            seen[axis] = true;
            labels->axis[axis] = from->axis[i];
        }
    }
    for (int i = 0; i < node->type.rank; i++) {
        if (!seen[i])
            labels->axis[i] = node->type.dim[i] == 1 ? ROW_NONE : ROW_WITHIN;
    }
    return true;
}

// Axes in groups of equal size: what is alone in its group keeps its label, what lies within rows
// altogether may be regrouped.
static bool reshape_labels(const Type *from, const RowLabels *labels, const Type *to,
                           RowLabels *result) {
    int a = 0, b = 0;
    *result = (RowLabels){.known = true};
    while (a < from->rank || b < to->rank) {
        int a_end = a, b_end = b, rows = 0, within = 0, wide = 0;
        int64_t a_count = 1, b_count = 1;
        int8_t row = ROW_WITHIN;
        do {
            if (b_end == to->rank || (a_end < from->rank && a_count <= b_count))
                a_count *= from->dim[a_end++];
            else
                b_count *= to->dim[b_end++];
        } while (a_count != b_count);
        for (int i = a; i < a_end; i++) {
            if (labels->axis[i] == ROW_NONE)
                continue;
            within += labels->axis[i] == ROW_WITHIN;
            rows += labels->axis[i] != ROW_WITHIN;
            if (labels->axis[i] != ROW_WITHIN)
                row = labels->axis[i];
        }
        for (int i = b; i < b_end; i++)
            wide += to->dim[i] != 1;
        if (rows && (within || rows > 1 || wide > 1))
            return false;
        for (int i = b; i < b_end; i++)
            result->axis[i] = to->dim[i] == 1 ? ROW_NONE : row;
        a = a_end;
        b = b_end;
    }
    return true;
}

static bool is_row_axis(const RowLabels *labels, int axis) {
    return labels->axis[axis] != ROW_NONE && labels->axis[axis] != ROW_WITHIN;
}

// Whether the view leaves the axis as it is.
static bool keeps_axis(const Node *node, int axis) {
    const Attrs *as = node->attrs;
    const Type *x = &node->operand[0]->type;
    switch ((int)node->op) {
    case OP_slice:
        return as->start.at[axis] == 0 && as->limit.at[axis] == x->dim[axis] &&
               as->step.at[axis] == 1;
    case OP_pad:
        return as->low.at[axis] == 0 && as->high.at[axis] == 0;
    case OP_reverse:
        return !is_reduced(node, axis);
    case OP_concat:
        return axis != as->axis;
    default:
        return true;
    }
}

static bool view_labels(const Rows *at, const Node *node, RowLabels *labels) {
    const RowLabels *from = labels_of(at, node->operand[0]);
    const Type *x = &node->operand[0]->type;
    switch ((int)node->op) {
    case OP_reshape:
        return reshape_labels(x, from, &node->type, labels);
    case OP_broadcast:
        return map_labels(at, node, labels);
    case OP_transpose:
        labels->known = true;
        for (int i = 0; i < node->type.rank; i++)
            labels->axis[i] = from->axis[node->attrs->perm.at[i]];
        return true;
    case OP_relayout:
        *labels = *from;
        return true;
    case OP_slice:
    case OP_pad:
    case OP_reverse:
    case OP_concat:
        if (!map_labels(at, node, labels)) // operands of concat must agree
            return false;
        for (int i = 0; i < node->type.rank; i++) {
            if (!keeps_axis(node, i) && is_row_axis(labels, i))
                return false;
            if (node->type.dim[i] != 1 && labels->axis[i] == ROW_NONE)
                labels->axis[i] = ROW_WITHIN;
        }
        return true;
    default:
        return false;
    }
}

// An element of r[i] * r[j] belongs to two rows.
static bool has_row_twice(const RowLabels *labels, int rank) {
    unsigned seen = 0;
    for (int i = 0; labels->known && i < rank; i++) {
        if (!is_row_axis(labels, i))
            continue;
        if (seen & 1u << labels->axis[i])
            return true;
        seen |= 1u << labels->axis[i];
    }
    return false;
}

static bool forward(const Rows *at, const Node *node, RowLabels *labels) {
    bool any = false;
    for (uint32_t k = 0; k < node->arity; k++)
        any |= labels_of(at, node->operand[k]) != NULL;
    if (node_sums(node)) {
        if (!has_row_shape(at, &node->type) || (any && !sums_whole_axes(node)))
            return false;
        const RowLabels *from = any ? labels_of(at, node->operand[0]) : NULL;
        RowLabels wanted = sums_whole_axes(node) ? summed_labels(node) : (RowLabels){0};
        *labels = result_labels(&node->type);
        return !from || same_labels(from, &wanted, node->operand[0]->type.rank);
    }
    if (op_has(node->op, RANDOM) || op_has(node->op, SCATTERS) || op_has(node->op, DECOMPOSES))
        return false;
    if (!any)
        return true;
    if (op_has(node->op, VIEWS))
        return view_labels(at, node, labels);
    return map_labels(at, node, labels);
}

// ---- backward ----------------------------------------------------------------------------------------

static void backward(const Rows *at, const Node *node) {
    const RowLabels *labels = labels_of(at, node);
    RowLabels wanted;
    if (sums_whole_axes(node)) {
        wanted = summed_labels(node);
        if (!labels_of(at, node->operand[0]))
            set_labels(at, node->operand[0], &wanted);
        return;
    }
    if (!labels || node_sums(node))
        return;
    bool same = op_has(node->op, MAPS) || op_has(node->op, EFFECT) || node->op == OP_relayout;
    for (uint32_t k = 0; k < node->arity; k++) {
        const Node *x = node->operand[k];
        if (at->label[x->id].known)
            continue;
        if (same && type_same_shape(&x->type, &node->type))
            set_labels(at, x, labels);
        else if (node->op == OP_reshape && reshape_labels(&node->type, labels, &x->type, &wanted))
            set_labels(at, x, &wanted);
    }
}

static bool names_each_row(const Rows *rows, const Node *node) {
    const RowLabels *labels = &rows->label[node->id];
    unsigned seen = 0;
    for (int i = 0; i < node->type.rank; i++) {
        if (is_row_axis(labels, i))
            seen |= 1u << labels->axis[i];
    }
    return labels->known && seen == (1u << rows->rank) - 1;
}

bool rows_of(RowLabels *label, Node *const *node, uint32_t node_count, Node *const *stored,
             uint32_t stored_count, Rows *rows) {
    const Node *first = NULL;
    *rows = (Rows){.label = label};
    for (uint32_t i = 0; i < node_count; i++) {
        for (uint32_t k = 0; k < node[i]->arity; k++)
            label[node[i]->operand[k]->id] = (RowLabels){0};
    }
    for (uint32_t i = 0; i < node_count; i++) {
        label[node[i]->id] = (RowLabels){.member = true};
        if (!first && node_sums(node[i]))
            first = node[i];
    }
    if (!first)
        return false;
    rows->rank = long_axes(&first->type, rows->extent);
    for (uint32_t i = 0; i < node_count; i++) {
        RowLabels labels = {0};
        if (!forward(rows, node[i], &labels) || has_row_twice(&labels, node[i]->type.rank))
            return false;
        set_labels(rows, node[i], &labels);
    }
    for (uint32_t i = node_count; i-- > 0;)
        backward(rows, node[i]);
    for (uint32_t i = 0; i < stored_count; i++) {
        if (!names_each_row(rows, stored[i]))
            return false;
    }
    return true;
}

// ---- in place ------------------------------------------------------------------------------------------

// Taints what is computed from x; all of that must be elementwise and of x's shape. With reductions in
// the kernel the shape must be that of the rows too, whose values are stored together at their end.
bool kernel_keeps_step(uint8_t *taint, Node *const *node, uint32_t node_count, Node *const *x,
                       size_t x_count, const Type *type) {
    int64_t rows[MAX_RANK], extent[MAX_RANK];
    for (uint32_t i = 0; i < node_count; i++) {
        taint[node[i]->id] = 0;
        for (uint32_t k = 0; k < node[i]->arity; k++)
            taint[node[i]->operand[k]->id] = 0;
    }
    for (size_t i = 0; i < x_count; i++)
        taint[x[i]->id] = 1;
    for (uint32_t i = 0; i < node_count; i++) {
        const Node *here = node[i];
        uint32_t rank = long_axes(&here->type, rows);
        if (node_sums(here) && (long_axes(type, extent) != rank ||
                                memcmp(rows, extent, rank * sizeof *rows) != 0))
            return false;
        bool tainted = false;
        for (uint32_t k = 0; k < here->arity; k++)
            tainted |= taint[here->operand[k]->id];
        bool steps = op_has(here->op, MAPS) || op_has(here->op, EFFECT);
        if (tainted && !(steps && type_same_shape(&here->type, type)))
            return false;
        taint[here->id] |= tainted;
    }
    return true;
}
