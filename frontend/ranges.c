// frontend/ranges.c -- labels and class counts that disagree.
//
// Whole numbers that count from 0 to a known end carry that end with them: the labels of a data set
// that knows its classes, `arange(n)`, the place of a maximum among n. It follows them through index
// maps. Two of them that are compared should have the same end: labels of 100 classes beside 10
// logits are a mistake, whoever's loss compares them.
#include <inttypes.h>
#include <string.h>

#include "frontend/elaborate.h"

static bool is_label(const char *name) {
    const char *dot = strrchr(name, '.');
    return strcmp(dot ? dot + 1 : name, "label") == 0;
}

static int64_t reduced_count(const Node *node) {
    int64_t count = 1;
    for (uint32_t k = 0; k < node->attrs->axes.count; k++)
        count *= node->operand[0]->type.dim[node->attrs->axes.at[k]];
    return count;
}

// How many numbers from 0 on the elements may be; 0: not known. *labels is set where they are labels
// of the data set at hand.
static int64_t range_of(const Elab *e, const Node *node, bool *labels) {
    if (node->type.dtype != DT_I32)
        return 0;
    while (op_has(node->op, VIEWS) && node->arity)
        node = node->operand[0];
    if (node->op == OP_iota)
        return node->type.dim[node->attrs->axis];
    if (node->op == OP_argmax || node->op == OP_argmin)
        return reduced_count(node);
    if (node->op != OP_input || !e->ctx->data || !is_label(node->attrs->name))
        return 0;
    *labels = true;
    return e->ctx->data->classes;
}

void check_ranges(Elab *e, const Node *a, const Node *b, Span span) {
    bool a_labels = false, b_labels = false;
    int64_t range_a = range_of(e, a, &a_labels), range_b = range_of(e, b, &b_labels);
    if (!range_a || !range_b || range_a == range_b || a_labels == b_labels)
        return;
    const DataSpec *data = e->ctx->data;
    int64_t other = a_labels ? range_b : range_a;
    const char *key = arena_printf(e->arena, "%s %" PRId64, data->name, other);
    if (map_has(&e->range_clashes, key))
        return; // one mistake, however many losses it meets
    map_set(&e->range_clashes, key, e);
    Diag *d = other < data->classes
                  ? report_error(e, span, "labels of %" PRId64 " classes against %" PRId64,
                                 data->classes, other)
                  : report_warning(e, span, "labels of %" PRId64 " classes against %" PRId64,
                                   data->classes, other);
    diag_note(d, data->span, "`%s` has %" PRId64 " classes", data->name, data->classes);
    diag_help(d, "the size of what tells them apart is %s.classes", data->name);
}
