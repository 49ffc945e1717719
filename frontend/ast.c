// frontend/ast.c -- builds trees, and compares them.
//
// Each constructor works out the depth of its node from its children's, so that the parser can
// refuse a tree that recursion would not survive. Depths saturate; nothing here reports.
#include "frontend/ast.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

// ---- constructors ----

AstExpr *ast_expr(Arena *arena, AstExprKind kind, Span span) {
    AstExpr *expr = arena_new(arena, AstExpr);
    expr->kind = kind;
    expr->span = span;
    expr->depth = 1;
    return expr;
}

AstStmt *ast_stmt(Arena *arena, AstStmtKind kind, Span span) {
    AstStmt *stmt = arena_new(arena, AstStmt);
    stmt->kind = kind;
    stmt->span = span;
    stmt->word_span = span;
    return stmt;
}

/// Makes `expr` at least one deeper than `child`, which may be NULL.
static void deepen(AstExpr *expr, const AstExpr *child) {
    if (child && child->depth >= expr->depth)
        expr->depth = child->depth < UINT16_MAX ? child->depth + 1 : UINT16_MAX;
}

AstExpr *ast_number(Arena *arena, Span span, const char *text) {
    AstExpr *expr = ast_expr(arena, EXPR_NUMBER, span);
    expr->number.text = text;
    expr->number.value = strtod(text, NULL);
    if (text[strspn(text, "0123456789")] == '\0') {
        errno = 0;
        expr->number.int_value = strtoll(text, NULL, 10);
        expr->number.is_int = errno == 0;
    }
    return expr;
}

AstExpr *ast_name(Arena *arena, AstName name) {
    bool is_none = strcmp(name.text, "none") == 0;
    AstExpr *expr = ast_expr(arena, is_none ? EXPR_NONE : EXPR_NAME, name.span);
    if (!is_none)
        expr->name = name.text;
    return expr;
}

AstExpr *ast_string(Arena *arena, Span span, const char *text) {
    AstExpr *expr = ast_expr(arena, EXPR_STRING, span);
    if (text[0] == '\0')
        return expr;
    expr->string.parts = arena_array(arena, AstStringPart, 1);
    expr->string.parts[0].text = text;
    expr->string.count = 1;
    return expr;
}

AstExpr *ast_unary(Arena *arena, Span span, AstUnaryOp op, AstExpr *operand) {
    AstExpr *expr = ast_expr(arena, EXPR_UNARY, span);
    expr->unary.op = op;
    expr->unary.operand = operand;
    deepen(expr, operand);
    return expr;
}

AstExpr *ast_binary(Arena *arena, Span span, AstBinaryOp op, Span op_span, AstExpr *left,
                    AstExpr *right) {
    AstExpr *expr = ast_expr(arena, EXPR_BINARY, span);
    expr->binary.op = op;
    expr->binary.op_span = op_span;
    expr->binary.left = left;
    expr->binary.right = right;
    deepen(expr, left);
    deepen(expr, right);
    return expr;
}

AstExpr *ast_range(Arena *arena, Span span, AstExpr *low, AstExpr *high) {
    AstExpr *expr = ast_expr(arena, EXPR_RANGE, span);
    expr->range.low = low;
    expr->range.high = high;
    deepen(expr, low);
    deepen(expr, high);
    return expr;
}

AstExpr *ast_list(Arena *arena, Span span, AstExpr **items, size_t count) {
    AstExpr *expr = ast_expr(arena, EXPR_LIST, span);
    expr->list.items = items;
    expr->list.count = count;
    for (size_t i = 0; i < count; i++)
        deepen(expr, items[i]);
    return expr;
}

AstExpr *ast_comprehension(Arena *arena, Span span, AstExpr *value, AstForClause *clauses,
                           size_t count) {
    AstExpr *expr = ast_expr(arena, EXPR_COMPREHENSION, span);
    expr->comprehension.value = value;
    expr->comprehension.clauses = clauses;
    expr->comprehension.count = count;
    deepen(expr, value);
    for (size_t i = 0; i < count; i++) {
        deepen(expr, clauses[i].list);
        deepen(expr, clauses[i].condition);
    }
    return expr;
}

AstExpr *ast_call(Arena *arena, Span span, AstExpr *callee, AstArg *args, size_t count) {
    AstExpr *expr = ast_expr(arena, EXPR_CALL, span);
    expr->call.callee = callee;
    expr->call.args = args;
    expr->call.count = (uint32_t)count;
    deepen(expr, callee);
    for (size_t i = 0; i < count; i++)
        deepen(expr, args[i].value);
    return expr;
}

AstExpr *ast_pipe(Arena *arena, Span span, AstExpr *value, AstExpr *stage) {
    bool is_call = stage->kind == EXPR_CALL && !stage->parenthesised;
    size_t rest = is_call ? stage->call.count : 0;
    AstArg *args = arena_array(arena, AstArg, rest + 1);
    args[0] = (AstArg){.span = value->span, .value = value};
    if (rest > 0)
        memcpy(args + 1, stage->call.args, rest * sizeof *args);
    AstExpr *expr = ast_call(arena, span, is_call ? stage->call.callee : stage, args, rest + 1);
    expr->call.piped = true;
    return expr;
}

AstExpr *ast_index(Arena *arena, Span span, AstExpr *object, AstExpr *index) {
    AstExpr *expr = ast_expr(arena, EXPR_INDEX, span);
    expr->index.object = object;
    expr->index.index = index;
    deepen(expr, object);
    deepen(expr, index);
    return expr;
}

AstExpr *ast_path(Arena *arena, Span span, AstExpr *object, AstName segment) {
    AstExpr *expr = ast_expr(arena, EXPR_PATH, span);
    expr->path.object = object;
    expr->path.segment = segment;
    deepen(expr, object);
    return expr;
}

AstExpr *ast_choice(Arena *arena, Span span, AstChoice *branches, size_t count) {
    AstExpr *expr = ast_expr(arena, EXPR_IF, span);
    expr->choice.branches = branches;
    expr->choice.count = count;
    for (size_t i = 0; i < count; i++) {
        deepen(expr, branches[i].condition);
        deepen(expr, branches[i].value);
    }
    return expr;
}

// ---- what is said about kinds ----

static const char *const binary_texts[BINARY_COUNT] = {
    [BINARY_OR] = "or",           [BINARY_AND] = "and",          [BINARY_EQUAL] = "==",
    [BINARY_NOT_EQUAL] = "!=",    [BINARY_LESS] = "<",           [BINARY_LESS_EQUAL] = "<=",
    [BINARY_GREATER] = ">",       [BINARY_GREATER_EQUAL] = ">=", [BINARY_ADD] = "+",
    [BINARY_SUBTRACT] = "-",      [BINARY_MULTIPLY] = "*",       [BINARY_DIVIDE] = "/",
    [BINARY_FLOOR_DIVIDE] = "//", [BINARY_MODULO] = "%",         [BINARY_POWER] = "^",
};

const char *binary_op_text(AstBinaryOp op) {
    return binary_texts[op];
}

const char *unary_op_text(AstUnaryOp op) {
    return op == UNARY_NOT ? "not" : "-";
}

bool binary_op_is_comparison(AstBinaryOp op) {
    return op >= BINARY_EQUAL && op <= BINARY_GREATER_EQUAL;
}

static const char *const stmt_texts[STMT_COUNT] = {
    [STMT_ERROR] = "a statement",
    [STMT_USE] = "`use`",
    [STMT_PARAM] = "`param`",
    [STMT_OPTION] = "`option`",
    [STMT_FN] = "`fn`",
    [STMT_NET] = "`net`",
    [STMT_OPTIMIZER] = "`optimizer`",
    [STMT_MODEL] = "`model`",
    [STMT_SPLIT] = "`split`",
    [STMT_DATA] = "`data`",
    [STMT_TRAIN] = "`train`",
    [STMT_DEPLOY] = "`deploy`",
    [STMT_PHASE] = "`phase`",
    [STMT_STEP] = "`step`",
    [STMT_EVAL] = "`eval`",
    [STMT_FINISH] = "`finish`",
    [STMT_OPTIMIZE] = "`optimize`",
    [STMT_FREEZE] = "`freeze`",
    [STMT_LOAD] = "`load`",
    [STMT_SETTING] = "a setting",
    [STMT_LET] = "`let`",
    [STMT_ASSIGN] = "an assignment",
    [STMT_UPDATE] = "`<-`",
    [STMT_TAP] = "`tap`",
    [STMT_RETURN] = "`return`",
    [STMT_FOR] = "`for`",
    [STMT_IF] = "`if`",
    [STMT_WHEN] = "`when`",
    [STMT_MINIMIZE] = "`minimize`",
    [STMT_REPORT] = "`report`",
    [STMT_EXIT] = "`exit`",
    [STMT_ASSERT] = "`assert`",
    [STMT_EXPR] = "an expression",
};

const char *stmt_kind_text(AstStmtKind kind) {
    return stmt_texts[kind];
}

const char *ast_plain_string(const AstExpr *expr) {
    if (expr->kind != EXPR_STRING)
        return NULL;
    if (expr->string.count == 0)
        return "";
    return expr->string.count == 1 ? expr->string.parts[0].text : NULL;
}

/// A name's text, `none` among the names; NULL for other kinds.
static const char *root_text(const AstExpr *expr) {
    return expr->kind == EXPR_NAME ? expr->name : expr->kind == EXPR_NONE ? "none" : NULL;
}

const char *ast_path_text(Arena *arena, const AstExpr *expr) {
    if (expr->kind != EXPR_PATH)
        return root_text(expr);
    // From the last segment to the first, then turned round: a path is a chain to the left.
    size_t count = 0;
    const AstExpr *root = expr;
    for (; root->kind == EXPR_PATH; root = root->path.object)
        count++;
    if (!root_text(root))
        return NULL;
    const char **segments = arena_array(arena, const char *, count);
    for (size_t i = count; i-- > 0; expr = expr->path.object)
        segments[i] = expr->path.segment.text;
    StrBuf text = {.arena = arena};
    strbuf_puts(&text, root_text(root));
    for (size_t i = 0; i < count; i++) {
        strbuf_putc(&text, '.');
        strbuf_puts(&text, segments[i]);
    }
    return strbuf_text(&text);
}

// ---- equality ----

static bool text_equal(const char *a, const char *b) {
    return a == b || (a && b && strcmp(a, b) == 0);
}

static bool name_equal(AstName a, AstName b) {
    return text_equal(a.text, b.text);
}

static bool names_equal(const AstName *a, size_t a_count, const AstName *b, size_t b_count) {
    if (a_count != b_count)
        return false;
    for (size_t i = 0; i < a_count; i++)
        if (!name_equal(a[i], b[i]))
            return false;
    return true;
}

static bool exprs_equal(AstExpr *const *a, size_t a_count, AstExpr *const *b, size_t b_count) {
    if (a_count != b_count)
        return false;
    for (size_t i = 0; i < a_count; i++)
        if (!ast_expr_equal(a[i], b[i]))
            return false;
    return true;
}

static bool type_equal(const AstType *a, const AstType *b) {
    if (!a || !b)
        return a == b;
    return name_equal(a->dtype, b->dtype) && a->has_shape == b->has_shape &&
           exprs_equal(a->dims, a->dim_count, b->dims, b->dim_count);
}

static bool args_equal(const AstArg *a, size_t a_count, const AstArg *b, size_t b_count) {
    if (a_count != b_count)
        return false;
    for (size_t i = 0; i < a_count; i++)
        if (!name_equal(a[i].name, b[i].name) || !type_equal(a[i].type, b[i].type) ||
            !ast_expr_equal(a[i].value, b[i].value))
            return false;
    return true;
}

static bool params_equal(const AstParam *a, size_t a_count, const AstParam *b, size_t b_count) {
    if (a_count != b_count)
        return false;
    for (size_t i = 0; i < a_count; i++)
        if (!name_equal(a[i].name, b[i].name) || !type_equal(a[i].type, b[i].type) ||
            !ast_expr_equal(a[i].default_value, b[i].default_value))
            return false;
    return true;
}

static bool strings_equal(const AstExpr *a, const AstExpr *b) {
    if (a->string.count != b->string.count)
        return false;
    for (size_t i = 0; i < a->string.count; i++)
        if (!text_equal(a->string.parts[i].text, b->string.parts[i].text) ||
            !ast_expr_equal(a->string.parts[i].value, b->string.parts[i].value))
            return false;
    return true;
}

static bool comprehensions_equal(const AstExpr *a, const AstExpr *b) {
    if (a->comprehension.count != b->comprehension.count ||
        !ast_expr_equal(a->comprehension.value, b->comprehension.value))
        return false;
    for (size_t i = 0; i < a->comprehension.count; i++) {
        const AstForClause *p = &a->comprehension.clauses[i];
        const AstForClause *q = &b->comprehension.clauses[i];
        if (!names_equal(p->names, p->name_count, q->names, q->name_count) ||
            !ast_expr_equal(p->list, q->list) || !ast_expr_equal(p->condition, q->condition))
            return false;
    }
    return true;
}

static bool choices_equal(const AstExpr *a, const AstExpr *b) {
    if (a->choice.count != b->choice.count)
        return false;
    for (size_t i = 0; i < a->choice.count; i++)
        if (!ast_expr_equal(a->choice.branches[i].condition, b->choice.branches[i].condition) ||
            !ast_expr_equal(a->choice.branches[i].value, b->choice.branches[i].value))
            return false;
    return true;
}

bool ast_expr_equal(const AstExpr *a, const AstExpr *b) {
    if (!a || !b)
        return a == b;
    if (a->kind != b->kind)
        return false;
    switch (a->kind) {
    case EXPR_ERROR:
    case EXPR_NONE:
        return true;
    case EXPR_NUMBER:
        return text_equal(a->number.text, b->number.text);
    case EXPR_STRING:
        return strings_equal(a, b);
    case EXPR_BOOL:
        return a->boolean == b->boolean;
    case EXPR_NAME:
        return text_equal(a->name, b->name);
    case EXPR_LIST:
    case EXPR_TUPLE:
        return exprs_equal(a->list.items, a->list.count, b->list.items, b->list.count);
    case EXPR_COMPREHENSION:
        return comprehensions_equal(a, b);
    case EXPR_RANGE:
        return ast_expr_equal(a->range.low, b->range.low) &&
               ast_expr_equal(a->range.high, b->range.high);
    case EXPR_UNARY:
        return a->unary.op == b->unary.op && ast_expr_equal(a->unary.operand, b->unary.operand);
    case EXPR_BINARY:
        return a->binary.op == b->binary.op && ast_expr_equal(a->binary.left, b->binary.left) &&
               ast_expr_equal(a->binary.right, b->binary.right);
    case EXPR_CALL:
        return a->call.piped == b->call.piped && ast_expr_equal(a->call.callee, b->call.callee) &&
               args_equal(a->call.args, a->call.count, b->call.args, b->call.count) &&
               ast_expr_equal(a->call.as, b->call.as);
    case EXPR_INDEX:
        return ast_expr_equal(a->index.object, b->index.object) &&
               ast_expr_equal(a->index.index, b->index.index);
    case EXPR_PATH:
        return name_equal(a->path.segment, b->path.segment) &&
               ast_expr_equal(a->path.object, b->path.object);
    case EXPR_IF:
        return choices_equal(a, b);
    }
    return false;
}

static bool block_equal(const AstBlock *a, const AstBlock *b) {
    if (!a || !b)
        return a == b;
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++)
        if (!ast_stmt_equal(a->stmts[i], b->stmts[i]))
            return false;
    return true;
}

static bool branches_equal(const AstStmt *a, const AstStmt *b) {
    if (a->branch.count != b->branch.count)
        return false;
    for (size_t i = 0; i < a->branch.count; i++)
        if (!ast_expr_equal(a->branch.branches[i].condition, b->branch.branches[i].condition) ||
            !block_equal(&a->branch.branches[i].body, &b->branch.branches[i].body))
            return false;
    return true;
}

static bool reports_equal(const AstStmt *a, const AstStmt *b) {
    if (a->report.count != b->report.count)
        return false;
    for (size_t i = 0; i < a->report.count; i++)
        if (!ast_expr_equal(a->report.items[i].name, b->report.items[i].name) ||
            !ast_expr_equal(a->report.items[i].value, b->report.items[i].value))
            return false;
    return true;
}

bool ast_stmt_equal(const AstStmt *a, const AstStmt *b) {
    if (a->kind != b->kind || !text_equal(a->doc, b->doc))
        return false;
    switch (a->kind) {
    case STMT_ERROR:
        return true;
    case STMT_USE:
        return a->use.is_file == b->use.is_file && name_equal(a->use.module, b->use.module);
    case STMT_PARAM:
    case STMT_OPTION:
        return name_equal(a->define.name, b->define.name) &&
               ast_expr_equal(a->define.value, b->define.value) &&
               text_equal(a->define.text, b->define.text);
    case STMT_FN:
    case STMT_NET:
    case STMT_OPTIMIZER:
        return name_equal(a->function.name, b->function.name) &&
               params_equal(a->function.params, a->function.param_count, b->function.params,
                            b->function.param_count) &&
               ast_expr_equal(a->function.value, b->function.value) &&
               block_equal(a->function.body, b->function.body);
    case STMT_MODEL:
        return name_equal(a->model.name, b->model.name) &&
               ast_expr_equal(a->model.value, b->model.value) &&
               ast_expr_equal(a->model.origin, b->model.origin);
    case STMT_SPLIT:
        return ast_expr_equal(a->split.model, b->split.model) &&
               exprs_equal(a->split.taps, a->split.count, b->split.taps, b->split.count);
    case STMT_DATA:
        return name_equal(a->data.name, b->data.name) &&
               ast_expr_equal(a->data.value, b->data.value) &&
               block_equal(a->data.body, b->data.body);
    case STMT_TRAIN:
        return name_equal(a->train.name, b->train.name) &&
               ast_expr_equal(a->train.data, b->train.data) &&
               block_equal(a->train.body, b->train.body);
    case STMT_DEPLOY:
        return name_equal(a->deploy.name, b->deploy.name) &&
               ast_expr_equal(a->deploy.model, b->deploy.model) &&
               params_equal(a->deploy.params, a->deploy.param_count, b->deploy.params,
                            b->deploy.param_count) &&
               block_equal(a->deploy.body, b->deploy.body);
    case STMT_PHASE:
        return name_equal(a->phase.name, b->phase.name) &&
               ast_expr_equal(a->phase.index, b->phase.index) &&
               ast_expr_equal(a->phase.data, b->phase.data) &&
               block_equal(a->phase.body, b->phase.body);
    case STMT_STEP:
    case STMT_EVAL:
        return params_equal(a->step.params, a->step.param_count, b->step.params,
                            b->step.param_count) &&
               ast_expr_equal(a->step.data, b->step.data) &&
               block_equal(a->step.body, b->step.body);
    case STMT_FINISH:
        return block_equal(a->block, b->block);
    case STMT_OPTIMIZE:
        return exprs_equal(a->optimize.targets, a->optimize.count, b->optimize.targets,
                           b->optimize.count) &&
               ast_expr_equal(a->optimize.rule, b->optimize.rule) &&
               block_equal(a->optimize.body, b->optimize.body);
    case STMT_FREEZE:
        return exprs_equal(a->freeze.targets, a->freeze.count, b->freeze.targets,
                           b->freeze.count) &&
               ast_expr_equal(a->freeze.mode, b->freeze.mode);
    case STMT_LOAD:
        return ast_expr_equal(a->load.target, b->load.target) &&
               ast_expr_equal(a->load.origin, b->load.origin);
    case STMT_SETTING:
        return name_equal(a->setting.word, b->setting.word) &&
               args_equal(a->setting.values, a->setting.count, b->setting.values,
                          b->setting.count) &&
               block_equal(a->setting.body, b->setting.body);
    case STMT_LET:
        return names_equal(a->let.names, a->let.count, b->let.names, b->let.count) &&
               ast_expr_equal(a->let.value, b->let.value);
    case STMT_ASSIGN:
    case STMT_UPDATE:
        return ast_expr_equal(a->assign.target, b->assign.target) &&
               ast_expr_equal(a->assign.value, b->assign.value);
    case STMT_TAP:
        return ast_expr_equal(a->tap.name, b->tap.name) &&
               ast_expr_equal(a->tap.value, b->tap.value);
    case STMT_RETURN:
    case STMT_EXPR:
        return ast_expr_equal(a->value, b->value);
    case STMT_FOR:
        return names_equal(a->loop.names, a->loop.count, b->loop.names, b->loop.count) &&
               ast_expr_equal(a->loop.list, b->loop.list) &&
               block_equal(&a->loop.body, &b->loop.body);
    case STMT_IF:
    case STMT_WHEN:
        return branches_equal(a, b);
    case STMT_MINIMIZE:
        return ast_expr_equal(a->minimize.loss, b->minimize.loss) &&
               exprs_equal(a->minimize.over, a->minimize.over_count, b->minimize.over,
                           b->minimize.over_count) &&
               ast_expr_equal(a->minimize.combine, b->minimize.combine);
    case STMT_REPORT:
        return reports_equal(a, b);
    case STMT_EXIT:
        return ast_expr_equal(a->exit_when.value, b->exit_when.value) &&
               ast_expr_equal(a->exit_when.condition, b->exit_when.condition);
    case STMT_ASSERT:
        return ast_expr_equal(a->assertion.condition, b->assertion.condition) &&
               ast_expr_equal(a->assertion.message, b->assertion.message);
    }
    return false;
}

bool ast_equal(const AstFile *a, const AstFile *b) {
    return text_equal(a->doc, b->doc) && block_equal(&a->body, &b->body);
}
