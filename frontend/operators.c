// frontend/operators.c -- arithmetic: constants stay constants, all else becomes nodes.
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "frontend/elaborate.h"

// ---- making nodes ----

// What an operand is: "`s` is student.layer1: f32[128, 16, 28, 28]   (std/nets.kd:41)".
static void note_operand(Elab *e, Diag *d, const Arg *arg, const Node *node) {
    const char *type = type_text(e->arena, &node->type);
    const char *label = NULL;
    Span span = {0};
    if (arg && arg->value.kind == VALUE_TENSOR) {
        label = arg->value.tensor->label;
        span = arg->value.tensor->label_span;
    }
    const char *text = arg && arg->expr ? expr_text(e, arg->expr) : NULL;
    if (!text || strlen(text) > 40)
        text = label;
    if (!text)
        return;
    if (label && strcmp(label, text) != 0)
        diag_note(d, span, "`%s` is %s: %s", text, label, type);
    else
        diag_note(d, span, "`%s` is %s", text, type);
}

Node *make_node(Elab *e, Op op, Node *const *operand, uint32_t arity, const Attrs *attrs, Span span,
                const char *name, const Args *args) {
    if (e->stopped)
        return NULL;
    const Type *type[8];
    const Type **types = arity <= 8 ? type : arena_array(e->arena, const Type *, arity);
    for (uint32_t k = 0; k < arity; k++)
        types[k] = &operand[k]->type;
    Type result;
    const char *message = NULL;
    static const Attrs none = {0};
    if (!attrs)
        attrs = &none;
    if (!ir_infer(e->module, op, types, arity, attrs, &result, e->arena, &message)) {
        Diag *d = report_error(e, span, "%s: %s", name ? name : op_info[op].name, message);
        for (uint32_t k = 0; k < arity && k < 4; k++)
            note_operand(e, d, args && k < args->count ? &args->at[k] : NULL, operand[k]);
        return NULL;
    }
    if (e->ctx->graph->nodes.count >= LIMIT_NODES) {
        fail_limit(e, span, "the graph `%s` has more than %d operations", e->ctx->graph->name,
                   LIMIT_NODES);
        return NULL;
    }
    return graph_append(e->ctx->graph, op, operand, arity, attrs, origin_at(e, span));
}

Node *constant_node(Elab *e, double value, DType dtype, Span span) {
    Attrs attrs = {.value = value, .dtype = dtype};
    return make_node(e, OP_const, NULL, 0, &attrs, span, NULL, NULL);
}

Node *broadcast_to(Elab *e, Node *node, const Type *type, Span span) {
    if (!node || type_same_shape(&node->type, type))
        return node;
    Attrs attrs = {.shape = {type->rank, type->dim}};
    return make_node(e, OP_broadcast, &node, 1, &attrs, span, NULL, NULL);
}

bool node_is_run_time_scalar(const Node *node) {
    if (node->op == OP_scalar)
        return true;
    if (node->type.rank != 0 || node->op == OP_input || node->op == OP_read ||
        op_has(node->op, RANDOM))
        return false;
    for (uint32_t k = 0; k < node->arity; k++)
        if (node->operand[k]->op != OP_const && !node_is_run_time_scalar(node->operand[k]))
            return false;
    return node->op != OP_const;
}

// ---- lifting ----

static Node *lift_number(Elab *e, Value v, const Node *like, Span span) {
    DType dtype = like ? like->type.dtype : e->module->real;
    if (dtype == DT_BOOL) {
        fail(e, span, "a number where a mask is needed");
        return NULL;
    }
    if (!dtype_is_float(dtype) && !v.is_int) {
        Diag *d = report_error(e, span, "%s does not go with %s", number_text(e, v),
                               type_text(e->arena, &like->type));
        diag_help(d, "make the integers real numbers first: f32(x)");
        return NULL;
    }
    return constant_node(e, v.number, dtype, span);
}

// In the update of a model: does `v` stand for its storage of the name at hand?
static bool stands_for_member(const Elab *e, Value v) {
    return e->member &&
           (v.kind == VALUE_MODEL || (v.kind == VALUE_PART && v.part->kind == PART_PATH));
}

static Node *member_node(Elab *e, Value v, Span span) {
    Instance *root = v.kind == VALUE_MODEL ? v.model : v.part->root;
    const char *name = v.kind == VALUE_MODEL
                           ? e->member
                           : arena_printf(e->arena, "%s.%s", v.part->path, e->member);
    StorageInfo *info = instance_storage(e, root, name);
    if (info)
        return storage_value(e, info).tensor->node;
    fail(e, span, "`%s` has no `%s`", root->path, name);
    return NULL;
}

Node *lift(Elab *e, Value v, const Node *like, Span span, const char *what) {
    switch (v.kind) {
    case VALUE_POISON:
        return NULL;
    case VALUE_NUMBER:
        return lift_number(e, v, like, span);
    case VALUE_BOOL:
        return constant_node(e, v.boolean, DT_BOOL, span);
    case VALUE_TENSOR:
        if (!v.tensor->node)
            fail(e, span, "%sthis names no value, only what is below it", what);
        return v.tensor->node;
    case VALUE_MODEL:
    case VALUE_PART:
        if (stands_for_member(e, v))
            return member_node(e, v, span);
        break;
    case VALUE_OPEN: {
        Diag *d =
            report_error(e, span, "%sexpected a tensor, and this is %s", what, value_text(e, v));
        if (v.open->function->decl && v.open->function->decl->function.param_count)
            diag_note(d, v.open->span, "its `%s` is missing",
                      v.open->function->decl->function.params[0].name.text);
        return NULL;
    }
    case VALUE_LIST:
    case VALUE_RANGE: {
        Diag *d = report_error(e, span, "%sexpected a tensor or a number, and this is %s", what,
                               value_text(e, v));
        diag_help(d, "write a comprehension, or `stack` the elements");
        return NULL;
    }
    case VALUE_NONE:
    case VALUE_STRING:
    case VALUE_FUNCTION:
    case VALUE_DATA:
    case VALUE_RECORD:
    case VALUE_MODULE:
        break;
    }
    Diag *d = report_error(e, span, "%sexpected a tensor or a number, and this is %s", what,
                           value_text(e, v));
    if (v.kind == VALUE_MODEL)
        diag_help(d, "apply it: %s(image)", v.model->path);
    return NULL;
}

// ---- constants ----

static bool is_comparison(AstBinaryOp op) {
    return binary_op_is_comparison(op);
}

static Value compare_numbers(AstBinaryOp op, double a, double b) {
    bool result = op == BINARY_EQUAL        ? a == b
                  : op == BINARY_NOT_EQUAL  ? a != b
                  : op == BINARY_LESS       ? a < b
                  : op == BINARY_LESS_EQUAL ? a <= b
                  : op == BINARY_GREATER    ? a > b
                                            : a >= b;
    return value_bool(result);
}

static Value number_result(double number, bool is_int) {
    Value v = value_real(number);
    v.is_int = is_int && fabs(number) <= 9007199254740992.0 && number == floor(number);
    return v;
}

static Value binary_numbers(Elab *e, AstBinaryOp op, Value a, Value b, Span span) {
    double x = a.number, y = b.number;
    bool ints = a.is_int && b.is_int;
    if (is_comparison(op))
        return compare_numbers(op, x, y);
    switch (op) {
    case BINARY_ADD:
        return number_result(x + y, ints);
    case BINARY_SUBTRACT:
        return number_result(x - y, ints);
    case BINARY_MULTIPLY:
        return number_result(x * y, ints);
    case BINARY_DIVIDE:
        if (y == 0)
            return fail(e, span, "division by zero");
        return value_real(x / y);
    case BINARY_FLOOR_DIVIDE:
        if (y == 0)
            return fail(e, span, "division by zero");
        return number_result(floor(x / y), ints);
    case BINARY_MODULO:
        if (y == 0)
            return fail(e, span, "division by zero");
        return number_result(x - y * floor(x / y), ints);
    case BINARY_POWER:
        return number_result(pow(x, y), ints && y >= 0);
    case BINARY_OR:
    case BINARY_AND:
    case BINARY_EQUAL:
    case BINARY_NOT_EQUAL:
    case BINARY_LESS:
    case BINARY_LESS_EQUAL:
    case BINARY_GREATER:
    case BINARY_GREATER_EQUAL:
        break;
    }
    return fail(e, span, "`%s` takes bools, and these are numbers", binary_op_text(op));
}

// ---- nodes ----

static Op op_of(AstBinaryOp op, bool *swapped) {
    *swapped = op == BINARY_GREATER || op == BINARY_GREATER_EQUAL;
    switch (op) {
    case BINARY_OR:
        return OP_or;
    case BINARY_AND:
        return OP_and;
    case BINARY_EQUAL:
        return OP_eq;
    case BINARY_NOT_EQUAL:
        return OP_ne;
    case BINARY_LESS:
    case BINARY_GREATER:
        return OP_lt;
    case BINARY_LESS_EQUAL:
    case BINARY_GREATER_EQUAL:
        return OP_le;
    case BINARY_ADD:
        return OP_add;
    case BINARY_SUBTRACT:
        return OP_sub;
    case BINARY_MULTIPLY:
        return OP_mul;
    case BINARY_DIVIDE:
        return OP_div;
    case BINARY_FLOOR_DIVIDE:
        return OP_floor_div;
    case BINARY_MODULO:
        return OP_mod;
    case BINARY_POWER:
        return OP_pow;
    }
    return OP_add;
}

// Small whole powers are products: exact, fast, and their gradients need no logarithm.
static Value power_of(Elab *e, Node *x, double exponent, Span span) {
    if (exponent == 1)
        return value_node(e, x);
    Node *square = make_node(e, OP_mul, (Node *[]){x, x}, 2, NULL, span, "`^`", NULL);
    if (!square || exponent == 2)
        return value_node(e, square);
    return value_node(e, make_node(e, OP_mul, (Node *[]){square, x}, 2, NULL, span, "`^`", NULL));
}

static Value binary_nodes(Elab *e, AstBinaryOp op, Value a, Value b, const AstExpr *expr) {
    Span span = expr->span;
    const AstExpr *left = expr->kind == EXPR_BINARY ? expr->binary.left : expr;
    const AstExpr *right = expr->kind == EXPR_BINARY ? expr->binary.right : expr;
    bool a_constant = a.kind == VALUE_NUMBER || a.kind == VALUE_BOOL;
    Node *x = NULL, *y = NULL;
    if (!a_constant) {
        x = lift(e, a, NULL, left->span, "");
        y = x ? lift(e, b, x, right->span, "") : NULL;
    } else {
        y = lift(e, b, NULL, right->span, "");
        x = y ? lift(e, a, y, left->span, "") : NULL;
    }
    if (!x || !y)
        return value_poison();
    const char *name = arena_printf(e->arena, "`%s`", binary_op_text(op));
    if ((op == BINARY_DIVIDE || op == BINARY_POWER) && x->type.dtype == DT_I32) {
        Diag *d = report_error(e, span, "%s of integers", name);
        diag_help(d, op == BINARY_DIVIDE ? "`//` divides integers; f32(x) makes them real"
                                         : "f32(x) makes them real");
        return value_poison();
    }
    if (op == BINARY_POWER && b.kind == VALUE_NUMBER &&
        (b.number == 1 || b.number == 2 || b.number == 3))
        return power_of(e, x, b.number, span);
    bool swapped;
    Op node_op = op_of(op, &swapped);
    Arg args[] = {{.value = a, .span = left->span, .expr = left},
                  {.value = b, .span = right->span, .expr = right}};
    Args both = {args, 2};
    Node *operand[] = {swapped ? y : x, swapped ? x : y};
    if (op == BINARY_EQUAL || op == BINARY_NOT_EQUAL)
        check_ranges(e, x, y, span);
    if (swapped) {
        Arg first = args[0];
        args[0] = args[1];
        args[1] = first;
    }
    return value_node(e, make_node(e, node_op, operand, 2, NULL, span, name, &both));
}

static bool is_tensor_like(const Elab *e, Value v) {
    return v.kind == VALUE_TENSOR || stands_for_member(e, v);
}

Value apply_binary(Elab *e, AstBinaryOp op, Value a, Value b, const AstExpr *expr) {
    if (a.kind == VALUE_POISON || b.kind == VALUE_POISON)
        return value_poison();
    Span span = expr->span;
    if (a.kind == VALUE_NUMBER && b.kind == VALUE_NUMBER)
        return binary_numbers(e, op, a, b, span);
    if (a.kind == VALUE_BOOL && b.kind == VALUE_BOOL && (op == BINARY_AND || op == BINARY_OR))
        return value_bool(op == BINARY_AND ? a.boolean && b.boolean : a.boolean || b.boolean);
    bool tensors = is_tensor_like(e, a) || is_tensor_like(e, b);
    bool numeric = (is_tensor_like(e, a) || a.kind == VALUE_NUMBER || a.kind == VALUE_BOOL) &&
                   (is_tensor_like(e, b) || b.kind == VALUE_NUMBER || b.kind == VALUE_BOOL);
    if ((op == BINARY_EQUAL || op == BINARY_NOT_EQUAL) && !(tensors && numeric))
        return value_bool(value_equal(a, b) == (op == BINARY_EQUAL));
    if (tensors)
        return binary_nodes(e, op, a, b, expr);

    bool left_wrong = a.kind != VALUE_NUMBER;
    Value wrong = left_wrong ? a : b;
    Span place = span;
    if (expr->kind == EXPR_BINARY)
        place = left_wrong ? expr->binary.left->span : expr->binary.right->span;
    Diag *d = report_error(e, place, "`%s` takes numbers and tensors, and this is %s",
                           binary_op_text(op), value_text(e, wrong));
    if (wrong.kind == VALUE_STRING && op == BINARY_ADD)
        diag_help(d, "strings are joined by braces: \"{a}{b}\"");
    else if (value_is_list(wrong) && op == BINARY_ADD)
        diag_help(d, "lists grow by append(list, element)");
    else if (wrong.kind == VALUE_MODEL)
        diag_help(d, "apply it first: %s(image)", wrong.model->path);
    return value_poison();
}

Value apply_unary(Elab *e, AstUnaryOp op, Value a, const AstExpr *expr) {
    if (a.kind == VALUE_POISON)
        return a;
    if (op == UNARY_NOT) {
        if (a.kind == VALUE_BOOL)
            return value_bool(!a.boolean);
        if (a.kind != VALUE_TENSOR)
            return fail(e, expr->span, "`not` takes a bool or a mask, and this is %s",
                        value_text(e, a));
    } else if (a.kind == VALUE_NUMBER) {
        return number_result(-a.number, a.is_int);
    }
    Node *x = lift(e, a, NULL, expr->span, op == UNARY_NOT ? "`not`: " : "`-`: ");
    if (!x)
        return value_poison();
    return value_node(e, make_node(e, op == UNARY_NOT ? OP_not : OP_neg, &x, 1, NULL, expr->span,
                                   op == UNARY_NOT ? "`not`" : "`-`", NULL));
}
