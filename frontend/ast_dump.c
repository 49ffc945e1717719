// frontend/ast_dump.c -- a tree as nested lists: `--emit=tree`, which tests compare.
//
// One statement a line, blocks indented below it; an expression is a list of its kind's sign and
// its children, a leaf is written as in the program. `_` stands for a child that is absent.
#include "frontend/ast.h"

typedef struct Dumper {
    StrBuf *out;
    bool spans;
    size_t indent;
} Dumper;

static void dump_expr(Dumper *d, const AstExpr *expr);

static void open(Dumper *d, const char *tag) {
    strbuf_printf(d->out, "(%s", tag);
}

static void close(Dumper *d) {
    strbuf_putc(d->out, ')');
}

static void atom(Dumper *d, const char *text) {
    strbuf_printf(d->out, " %s", text);
}

static void child(Dumper *d, const AstExpr *expr) {
    strbuf_putc(d->out, ' ');
    dump_expr(d, expr);
}

static void children(Dumper *d, AstExpr *const *exprs, size_t count) {
    for (size_t i = 0; i < count; i++)
        child(d, exprs[i]);
}

/// ` (a b)`
static void names(Dumper *d, const AstName *list, size_t count) {
    strbuf_puts(d->out, " (");
    for (size_t i = 0; i < count; i++)
        strbuf_printf(d->out, "%s%s", i ? " " : "", list[i].text);
    close(d);
}

static void quoted(Dumper *d, const char *text) {
    strbuf_putc(d->out, '"');
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            strbuf_putc(d->out, '\\');
        if (*text == '\n')
            strbuf_puts(d->out, "\\n");
        else
            strbuf_putc(d->out, *text);
    }
    strbuf_putc(d->out, '"');
}

static void dump_string(Dumper *d, const AstExpr *expr) {
    const char *plain = ast_plain_string(expr);
    if (plain) {
        quoted(d, plain);
        return;
    }
    open(d, "string");
    for (size_t i = 0; i < expr->string.count; i++) {
        const AstStringPart *part = &expr->string.parts[i];
        strbuf_putc(d->out, ' ');
        if (part->text)
            quoted(d, part->text);
        else
            dump_expr(d, part->value);
    }
    close(d);
}

static void dump_type(Dumper *d, const AstType *type) {
    open(d, "type");
    atom(d, type->dtype.text ? type->dtype.text : "_");
    if (type->has_shape) {
        strbuf_puts(d->out, " [");
        for (size_t i = 0; i < type->dim_count; i++) {
            strbuf_puts(d->out, i ? " " : "");
            if (type->dims[i])
                dump_expr(d, type->dims[i]);
            else
                strbuf_puts(d->out, "...");
        }
        strbuf_putc(d->out, ']');
    }
    close(d);
}

/// ` a (= name b) (: name type)`, from argument `first` on
static void args(Dumper *d, const AstArg *list, size_t first, size_t count) {
    for (size_t i = first; i < count; i++) {
        if (!list[i].name.text) {
            child(d, list[i].value);
            continue;
        }
        strbuf_printf(d->out, " (%s %s", list[i].type ? ":" : "=", list[i].name.text);
        if (list[i].type) {
            strbuf_putc(d->out, ' ');
            dump_type(d, list[i].type);
        }
        if (list[i].value)
            child(d, list[i].value);
        close(d);
    }
}

static void dump_call(Dumper *d, const AstExpr *expr) {
    if (expr->call.as) {
        open(d, "as");
        child(d, expr->call.as);
        strbuf_putc(d->out, ' ');
    }
    size_t first = expr->call.piped ? 1 : 0;
    open(d, expr->call.piped ? "|>" : "call");
    if (expr->call.piped)
        child(d, expr->call.args[0].value);
    child(d, expr->call.callee);
    args(d, expr->call.args, first, expr->call.count);
    close(d);
    if (expr->call.as)
        close(d);
}

static void dump_comprehension(Dumper *d, const AstExpr *expr) {
    open(d, "each");
    child(d, expr->comprehension.value);
    for (size_t i = 0; i < expr->comprehension.count; i++) {
        const AstForClause *clause = &expr->comprehension.clauses[i];
        strbuf_putc(d->out, ' ');
        open(d, "for");
        names(d, clause->names, clause->name_count);
        child(d, clause->list);
        if (clause->condition) {
            strbuf_puts(d->out, " (if");
            child(d, clause->condition);
            close(d);
        }
        close(d);
    }
    close(d);
}

static void dump_choice(Dumper *d, const AstExpr *expr) {
    open(d, "if");
    for (size_t i = 0; i < expr->choice.count; i++) {
        if (expr->choice.branches[i].condition)
            child(d, expr->choice.branches[i].condition);
        child(d, expr->choice.branches[i].value);
    }
    close(d);
}

static void dump_kind(Dumper *d, const AstExpr *expr) {
    switch (expr->kind) {
    case EXPR_ERROR:
        strbuf_puts(d->out, "<error>");
        break;
    case EXPR_NUMBER:
        strbuf_puts(d->out, expr->number.text);
        break;
    case EXPR_STRING:
        dump_string(d, expr);
        break;
    case EXPR_BOOL:
        strbuf_puts(d->out, expr->boolean ? "true" : "false");
        break;
    case EXPR_NONE:
        strbuf_puts(d->out, "none");
        break;
    case EXPR_NAME:
        strbuf_puts(d->out, expr->name);
        break;
    case EXPR_LIST:
    case EXPR_TUPLE:
        open(d, "list");
        children(d, expr->list.items, expr->list.count);
        close(d);
        break;
    case EXPR_COMPREHENSION:
        dump_comprehension(d, expr);
        break;
    case EXPR_RANGE:
        open(d, "..");
        child(d, expr->range.low);
        child(d, expr->range.high);
        close(d);
        break;
    case EXPR_UNARY:
        open(d, unary_op_text(expr->unary.op));
        child(d, expr->unary.operand);
        close(d);
        break;
    case EXPR_BINARY:
        open(d, binary_op_text(expr->binary.op));
        child(d, expr->binary.left);
        child(d, expr->binary.right);
        close(d);
        break;
    case EXPR_CALL:
        dump_call(d, expr);
        break;
    case EXPR_INDEX:
        open(d, "index");
        child(d, expr->index.object);
        child(d, expr->index.index);
        close(d);
        break;
    case EXPR_PATH:
        open(d, ".");
        child(d, expr->path.object);
        atom(d, expr->path.segment.text);
        close(d);
        break;
    case EXPR_IF:
        dump_choice(d, expr);
        break;
    }
}

static void dump_expr(Dumper *d, const AstExpr *expr) {
    if (!expr) {
        strbuf_putc(d->out, '_');
        return;
    }
    dump_kind(d, expr);
    if (d->spans)
        strbuf_printf(d->out, "@%u:%u", expr->span.begin, expr->span.end);
}

// ---- statements ----

static void dump_stmt(Dumper *d, const AstStmt *stmt);

static void line(Dumper *d) {
    strbuf_putc(d->out, '\n');
    for (size_t i = 0; i < d->indent; i++)
        strbuf_puts(d->out, "  ");
}

static void block(Dumper *d, const AstBlock *body) {
    if (!body)
        return;
    d->indent++;
    line(d);
    open(d, "block");
    d->indent++;
    for (size_t i = 0; i < body->count; i++)
        dump_stmt(d, body->stmts[i]);
    d->indent -= 2;
    close(d);
}

static void params(Dumper *d, const AstParam *list, size_t count) {
    strbuf_puts(d->out, " (");
    for (size_t i = 0; i < count; i++) {
        strbuf_puts(d->out, i ? " " : "");
        if (!list[i].type && !list[i].default_value) {
            strbuf_puts(d->out, list[i].name.text);
            continue;
        }
        strbuf_printf(d->out, "(%s %s", list[i].type ? ":" : "=", list[i].name.text);
        if (list[i].type) {
            strbuf_putc(d->out, ' ');
            dump_type(d, list[i].type);
        }
        if (list[i].default_value)
            child(d, list[i].default_value);
        close(d);
    }
    close(d);
}

static void optional(Dumper *d, const char *tag, const AstExpr *expr) {
    if (!expr)
        return;
    strbuf_printf(d->out, " (%s", tag);
    child(d, expr);
    close(d);
}

static void define(Dumper *d, const char *tag, const AstStmt *stmt) {
    open(d, tag);
    atom(d, stmt->define.name.text);
    child(d, stmt->define.value);
    if (stmt->define.text) {
        strbuf_putc(d->out, ' ');
        quoted(d, stmt->define.text);
    }
}

static void function(Dumper *d, const char *tag, const AstStmt *stmt) {
    open(d, tag);
    atom(d, stmt->function.name.text);
    params(d, stmt->function.params, stmt->function.param_count);
    if (stmt->function.value)
        child(d, stmt->function.value);
    block(d, stmt->function.body);
}

static void branches(Dumper *d, const char *tag, const AstStmt *stmt) {
    open(d, tag);
    for (size_t i = 0; i < stmt->branch.count; i++) {
        const AstBranch *branch = &stmt->branch.branches[i];
        if (branch->condition)
            child(d, branch->condition);
        else
            atom(d, "else");
        block(d, &branch->body);
    }
}

static void report(Dumper *d, const AstStmt *stmt) {
    open(d, "report");
    for (size_t i = 0; i < stmt->report.count; i++) {
        if (!stmt->report.items[i].name) {
            child(d, stmt->report.items[i].value);
            continue;
        }
        strbuf_puts(d->out, " (=");
        child(d, stmt->report.items[i].name);
        child(d, stmt->report.items[i].value);
        close(d);
    }
}

static void dump_fields(Dumper *d, const AstStmt *stmt) {
    switch (stmt->kind) {
    case STMT_ERROR:
        open(d, "<error>");
        break;
    case STMT_USE:
        open(d, "use ");
        if (stmt->use.is_file)
            quoted(d, stmt->use.module.text);
        else
            strbuf_puts(d->out, stmt->use.module.text);
        break;
    case STMT_PARAM:
        define(d, "param", stmt);
        break;
    case STMT_OPTION:
        define(d, "option", stmt);
        break;
    case STMT_FN:
        function(d, "fn", stmt);
        break;
    case STMT_NET:
        function(d, "net", stmt);
        break;
    case STMT_OPTIMIZER:
        function(d, "optimizer", stmt);
        break;
    case STMT_MODEL:
        open(d, "model");
        atom(d, stmt->model.name.text);
        child(d, stmt->model.value);
        optional(d, "from", stmt->model.origin);
        break;
    case STMT_SPLIT:
        open(d, "split");
        child(d, stmt->split.model);
        children(d, stmt->split.taps, stmt->split.count);
        break;
    case STMT_DATA:
        open(d, "data");
        atom(d, stmt->data.name.text);
        child(d, stmt->data.value);
        block(d, stmt->data.body);
        break;
    case STMT_TRAIN:
        open(d, "train");
        atom(d, stmt->train.name.text);
        child(d, stmt->train.data);
        block(d, stmt->train.body);
        break;
    case STMT_DEPLOY:
        open(d, "deploy");
        if (stmt->deploy.model) {
            child(d, stmt->deploy.model);
            break;
        }
        atom(d, stmt->deploy.name.text);
        params(d, stmt->deploy.params, stmt->deploy.param_count);
        block(d, stmt->deploy.body);
        break;
    case STMT_PHASE:
        open(d, "phase");
        atom(d, stmt->phase.name.text);
        optional(d, "index", stmt->phase.index);
        optional(d, "on", stmt->phase.data);
        block(d, stmt->phase.body);
        break;
    case STMT_STEP:
    case STMT_EVAL:
        open(d, stmt->kind == STMT_STEP ? "step" : "eval");
        params(d, stmt->step.params, stmt->step.param_count);
        optional(d, "on", stmt->step.data);
        block(d, stmt->step.body);
        break;
    case STMT_FINISH:
        open(d, "finish");
        block(d, stmt->block);
        break;
    case STMT_OPTIMIZE:
        open(d, "optimize");
        children(d, stmt->optimize.targets, stmt->optimize.count);
        optional(d, "with", stmt->optimize.rule);
        block(d, stmt->optimize.body);
        break;
    case STMT_FREEZE:
        open(d, "freeze");
        children(d, stmt->freeze.targets, stmt->freeze.count);
        optional(d, "with", stmt->freeze.mode);
        break;
    case STMT_LOAD:
        open(d, "load");
        child(d, stmt->load.target);
        optional(d, "from", stmt->load.origin);
        break;
    case STMT_SETTING:
        open(d, "set");
        atom(d, stmt->setting.word.text);
        args(d, stmt->setting.values, 0, stmt->setting.count);
        block(d, stmt->setting.body);
        break;
    case STMT_LET:
        open(d, "let");
        names(d, stmt->let.names, stmt->let.count);
        child(d, stmt->let.value);
        break;
    case STMT_ASSIGN:
    case STMT_UPDATE:
        open(d, stmt->kind == STMT_ASSIGN ? "=" : "<-");
        child(d, stmt->assign.target);
        child(d, stmt->assign.value);
        break;
    case STMT_TAP:
        open(d, "tap");
        child(d, stmt->tap.name);
        child(d, stmt->tap.value);
        break;
    case STMT_RETURN:
        open(d, "return");
        child(d, stmt->value);
        break;
    case STMT_FOR:
        open(d, "for");
        names(d, stmt->loop.names, stmt->loop.count);
        child(d, stmt->loop.list);
        block(d, &stmt->loop.body);
        break;
    case STMT_IF:
        branches(d, "if", stmt);
        break;
    case STMT_WHEN:
        branches(d, "when", stmt);
        break;
    case STMT_MINIMIZE:
        open(d, "minimize");
        child(d, stmt->minimize.loss);
        if (stmt->minimize.over_count > 0) {
            strbuf_puts(d->out, " (over");
            children(d, stmt->minimize.over, stmt->minimize.over_count);
            close(d);
        }
        optional(d, "combine", stmt->minimize.combine);
        break;
    case STMT_REPORT:
        report(d, stmt);
        break;
    case STMT_EXIT:
        open(d, "exit");
        child(d, stmt->exit_when.value);
        optional(d, "when", stmt->exit_when.condition);
        break;
    case STMT_ASSERT:
        open(d, "assert");
        child(d, stmt->assertion.condition);
        if (stmt->assertion.message)
            child(d, stmt->assertion.message);
        break;
    case STMT_EXPR:
        open(d, "value");
        child(d, stmt->value);
        break;
    }
}

static void dump_doc(Dumper *d, const char *doc) {
    if (!doc)
        return;
    line(d);
    open(d, "doc ");
    quoted(d, doc);
    close(d);
}

static void dump_stmt(Dumper *d, const AstStmt *stmt) {
    dump_doc(d, stmt->doc);
    line(d);
    dump_fields(d, stmt);
    close(d);
    if (d->spans)
        strbuf_printf(d->out, "@%u:%u", stmt->span.begin, stmt->span.end);
}

void ast_dump(StrBuf *out, const AstFile *file, bool spans) {
    Dumper d = {.out = out, .spans = spans, .indent = 1};
    strbuf_puts(out, "(file");
    dump_doc(&d, file->doc);
    for (size_t i = 0; i < file->body.count; i++)
        dump_stmt(&d, file->body.stmts[i]);
    strbuf_puts(out, ")\n");
}

void ast_dump_expr(StrBuf *out, const AstExpr *expr, bool spans) {
    Dumper d = {.out = out, .spans = spans};
    dump_expr(&d, expr);
}
