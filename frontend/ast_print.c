// frontend/ast_print.c -- a tree as canonical kd text.
//
// A statement is first a row of *pieces*: texts, places where a line may be broken, and groups of
// these. layout() then sets the row into lines of at most WIDTH columns: a group that fits stays on
// its line, in one that does not a break becomes a line end where the next stretch would not fit,
// and the lines after it begin in the group's first column. Breaks stand only where the language
// ignores a line end in any context: behind an opening bracket or a comma, before an operator.
//
// Comments come from the file's list, in order. One that stood on a line of its own or behind a
// statement stays there; one from the middle of a statement goes above it, with a single `#`, lest
// it document what it did not. Empty lines between statements are kept, as one.
#include <string.h>

#include "frontend/ast.h"
#include "support/vec.h"

enum { WIDTH = 100, INDENT = 4, ALIGN_MAX = 60 };

typedef enum PieceKind { PIECE_TEXT, PIECE_BREAK, PIECE_OPEN, PIECE_CLOSE } PieceKind;

typedef struct Piece {
    PieceKind kind;
    const char *text; // PIECE_TEXT
    size_t width;     // of the text, or of the break where it is none
    size_t reach;     // columns from here to the next break outside of what begins here
    int shift;        // PIECE_BREAK: columns behind the group's first, after a line end
} Piece;

typedef struct Printer {
    StrBuf *out;
    Arena arena; // what one statement's pieces need
    Vec(Piece) pieces;
    size_t indent;
    size_t column;
    bool flat;           // no breaks, whatever the width
    const AstFile *file; // or NULL: no comments, no empty lines
    size_t next_comment;
} Printer;

// ---- pieces ----

static void put(Printer *p, const char *text) {
    vec_push(&p->arena, &p->pieces,
             (Piece){.kind = PIECE_TEXT, .text = text, .width = strlen(text)});
}

static void put_break(Printer *p, size_t width, int shift) {
    vec_push(&p->arena, &p->pieces, (Piece){.kind = PIECE_BREAK, .width = width, .shift = shift});
}

static void put_open(Printer *p) {
    vec_push(&p->arena, &p->pieces, (Piece){.kind = PIECE_OPEN});
}

static void put_close(Printer *p) {
    vec_push(&p->arena, &p->pieces, (Piece){.kind = PIECE_CLOSE});
}

static void put_comma(Printer *p) {
    put(p, ",");
    put_break(p, 1, 0);
}

static size_t flat_width(const Printer *p) {
    size_t width = 0;
    for (size_t i = 0; i < p->pieces.count; i++)
        width += p->pieces.at[i].width;
    return width;
}

/// From the end to the beginning: how far it is from each break and each group's opening to the
/// next place where the line could be broken. That is the group's next break, with whole groups
/// between; behind the group's last one it is any break at all.
static void measure(Printer *p) {
    struct Outside {
        size_t own; // the next break of the group around, in columns from the end
        size_t any; // the next break of all
    };
    Vec(struct Outside) outside = {0};
    struct Outside next = {0};
    size_t from_end = 0; // columns from the piece at hand to the end
    for (size_t i = p->pieces.count; i-- > 0;) {
        Piece *piece = &p->pieces.at[i];
        from_end += piece->width;
        switch (piece->kind) {
        case PIECE_TEXT:
            break;
        case PIECE_CLOSE:
            vec_push(&p->arena, &outside, next);
            next.own = next.any;
            break;
        case PIECE_OPEN:
            piece->reach = from_end - vec_last(&outside).any;
            next.own = outside.at[--outside.count].own;
            break;
        case PIECE_BREAK:
            piece->reach = from_end - next.own;
            next.own = next.any = from_end;
            break;
        }
    }
}

static void write_text(Printer *p, const char *text, size_t width) {
    strbuf_write(p->out, text, width);
    p->column += width;
}

static void write_line_end(Printer *p, size_t column) {
    strbuf_putc(p->out, '\n');
    for (size_t i = 0; i < column; i++)
        strbuf_putc(p->out, ' ');
    p->column = column;
}

/// Writes the pieces, which are one row so far, and forgets them.
static void layout(Printer *p) {
    Vec(size_t) columns = {0}; // first column of each broken group around
    size_t flat_groups = 0;    // groups around, within one that fits
    measure(p);
    vec_push(&p->arena, &columns, p->indent + INDENT);
    for (size_t i = 0; i < p->pieces.count; i++) {
        const Piece *piece = &p->pieces.at[i];
        switch (piece->kind) {
        case PIECE_TEXT:
            write_text(p, piece->text, piece->width);
            break;
        case PIECE_OPEN:
            if (flat_groups > 0 || p->flat || p->column + piece->reach <= WIDTH) {
                flat_groups++;
            } else {
                size_t column = p->column < ALIGN_MAX ? p->column : ALIGN_MAX;
                vec_push(&p->arena, &columns, column);
            }
            break;
        case PIECE_CLOSE:
            if (flat_groups > 0)
                flat_groups--;
            else
                columns.count--;
            break;
        case PIECE_BREAK:
            if (flat_groups > 0 || p->flat || p->column + piece->reach <= WIDTH)
                write_text(p, " ", piece->width);
            else
                write_line_end(p, vec_last(&columns) + (size_t)piece->shift);
            break;
        }
    }
    p->pieces.at = NULL;
    p->pieces.count = p->pieces.capacity = 0;
    arena_reset(&p->arena);
}

// ---- strings and names ----

static void escape(StrBuf *out, const char *text) {
    for (; *text; text++) {
        switch (*text) {
        case '\n':
            strbuf_puts(out, "\\n");
            break;
        case '\t':
            strbuf_puts(out, "\\t");
            break;
        case '"':
        case '\\':
        case '{':
        case '}':
            strbuf_putc(out, '\\');
            strbuf_putc(out, *text);
            break;
        default:
            strbuf_putc(out, *text);
        }
    }
}

static void put_quoted(Printer *p, const char *text) {
    StrBuf quoted = {.arena = &p->arena};
    strbuf_putc(&quoted, '"');
    escape(&quoted, text);
    strbuf_putc(&quoted, '"');
    put(p, strbuf_text(&quoted));
}

/// A string is one piece, what it holds in braces included: a line never breaks in it.
static void put_string(Printer *p, const AstExpr *expr) {
    StrBuf text = {.arena = &p->arena};
    strbuf_putc(&text, '"');
    for (size_t i = 0; i < expr->string.count; i++) {
        const AstStringPart *part = &expr->string.parts[i];
        if (part->text) {
            escape(&text, part->text);
        } else {
            strbuf_putc(&text, '{');
            ast_print_expr(&text, part->value);
            strbuf_putc(&text, '}');
        }
    }
    strbuf_putc(&text, '"');
    put(p, strbuf_text(&text));
}

static bool is_letter(char c) {
    return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool is_reserved(const char *text, size_t length) {
    static const char *const words[] = {
        "let", "return", "fn",    "if", "else", "for", "in",   "when", "and",     "or",
        "not", "true",   "false", "as", "at",   "on",  "with", "over", "combine", "from",
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strlen(words[i]) == length && memcmp(words[i], text, length) == 0)
            return true;
    return false;
}

/// True if `text` can be written without quotes: a name or, with `dots`, a path of segments.
static bool is_bare(const char *text, bool dots) {
    if (!is_letter(*text))
        return false;
    size_t length = 0;
    while (is_letter(text[length]) || is_digit(text[length]))
        length++;
    if (length > AST_NAME_MAX || is_reserved(text, length))
        return false;
    text += length;
    size_t depth = 1;
    while (*text == '.' && dots && ++depth < AST_DEPTH_MAX) {
        bool number = is_digit(*++text);
        for (length = 0; is_digit(text[length]) || (!number && is_letter(text[length]));)
            length++;
        if (length == 0 || length > AST_NAME_MAX)
            return false;
        text += length;
    }
    return *text == '\0';
}

static void put_name(Printer *p, const AstExpr *name, bool dots) {
    const char *text = ast_plain_string(name);
    if (text && is_bare(text, dots))
        put(p, text);
    else if (name->kind == EXPR_STRING)
        put_string(p, name);
    else
        put(p, "<error>");
}

static void put_names(Printer *p, const AstName *names, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            put(p, ", ");
        put(p, names[i].text);
    }
}

// ---- expressions ----

/// How tightly an expression holds together, as the rules of kd.y from loose to tight.
typedef enum Tightness {
    TIGHT_ANY, // needed by what stands alone or in brackets
    TIGHT_PIPE,
    TIGHT_OR,
    TIGHT_AND,
    TIGHT_NOT,
    TIGHT_COMPARE,
    TIGHT_RANGE,
    TIGHT_SUM,
    TIGHT_PRODUCT,
    TIGHT_UNARY,
    TIGHT_POWER,
    TIGHT_NAMED,
    TIGHT_POSTFIX,
} Tightness;

static Tightness binary_tightness(AstBinaryOp op) {
    switch (op) {
    case BINARY_OR:
        return TIGHT_OR;
    case BINARY_AND:
        return TIGHT_AND;
    case BINARY_EQUAL:
    case BINARY_NOT_EQUAL:
    case BINARY_LESS:
    case BINARY_LESS_EQUAL:
    case BINARY_GREATER:
    case BINARY_GREATER_EQUAL:
        return TIGHT_COMPARE;
    case BINARY_ADD:
    case BINARY_SUBTRACT:
        return TIGHT_SUM;
    case BINARY_MULTIPLY:
    case BINARY_DIVIDE:
    case BINARY_FLOOR_DIVIDE:
    case BINARY_MODULO:
        return TIGHT_PRODUCT;
    case BINARY_POWER:
        return TIGHT_POWER;
    }
    return TIGHT_POSTFIX;
}

static Tightness tightness(const AstExpr *expr) {
    switch (expr->kind) {
    case EXPR_BINARY:
        return binary_tightness(expr->binary.op);
    case EXPR_UNARY:
        return expr->unary.op == UNARY_NOT ? TIGHT_NOT : TIGHT_UNARY;
    case EXPR_RANGE:
        return TIGHT_RANGE;
    case EXPR_CALL:
        return expr->call.piped ? TIGHT_PIPE : expr->call.as ? TIGHT_NAMED : TIGHT_POSTFIX;
    case EXPR_IF:
        return TIGHT_NAMED;
    case EXPR_ERROR:
    case EXPR_NUMBER:
    case EXPR_STRING:
    case EXPR_BOOL:
    case EXPR_NONE:
    case EXPR_NAME:
    case EXPR_LIST:
    case EXPR_COMPREHENSION:
    case EXPR_INDEX:
    case EXPR_PATH:
    case EXPR_TUPLE:
        return TIGHT_POSTFIX;
    }
    return TIGHT_POSTFIX;
}

static void put_expr(Printer *p, const AstExpr *expr, Tightness least);

static void put_exprs(Printer *p, AstExpr *const *exprs, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            put_comma(p);
        put_expr(p, exprs[i], TIGHT_ANY);
    }
}

static void put_type(Printer *p, const AstType *type) {
    if (type->dtype.text)
        put(p, type->dtype.text);
    if (!type->has_shape)
        return;
    put(p, "[");
    for (size_t i = 0; i < type->dim_count; i++) {
        if (i > 0)
            put(p, ", ");
        if (type->dims[i])
            put_expr(p, type->dims[i], TIGHT_ANY);
        else
            put(p, "...");
    }
    put(p, "]");
}

static void put_args(Printer *p, const AstArg *args, size_t first, size_t count) {
    for (size_t i = first; i < count; i++) {
        if (i > first)
            put_comma(p);
        if (args[i].name.text)
            put(p, args[i].name.text);
        if (args[i].type) {
            put(p, ": ");
            put_type(p, args[i].type);
        }
        if (args[i].value) {
            if (args[i].name.text)
                put(p, " = ");
            put_expr(p, args[i].value, TIGHT_ANY);
        }
    }
}

static void put_call(Printer *p, const AstExpr *expr) {
    const AstExpr *callee = expr->call.callee;
    size_t first = 0;
    if (expr->call.piped) {
        put_expr(p, expr->call.args[0].value, TIGHT_PIPE);
        put_break(p, 1, 2);
        put(p, "|> ");
        first = 1;
    }
    put_expr(p, callee, TIGHT_POSTFIX);
    // A stage that is itself a call would take the piped value as its own argument.
    bool plain_call =
        callee->kind == EXPR_CALL && !callee->parenthesised && tightness(callee) == TIGHT_POSTFIX;
    if (!expr->call.piped || expr->call.count > 1 || plain_call) {
        put(p, "(");
        put_open(p);
        put_args(p, expr->call.args, first, expr->call.count);
        put_close(p);
        put(p, ")");
    }
    if (expr->call.as) {
        put(p, " as ");
        put_name(p, expr->call.as, true);
    }
}

static void put_comprehension(Printer *p, const AstExpr *expr) {
    put(p, "[");
    put_open(p);
    put_expr(p, expr->comprehension.value, TIGHT_ANY);
    for (size_t i = 0; i < expr->comprehension.count; i++) {
        const AstForClause *clause = &expr->comprehension.clauses[i];
        put_break(p, 1, 0);
        put(p, "for ");
        put_names(p, clause->names, clause->name_count);
        put(p, " in ");
        put_expr(p, clause->list, TIGHT_ANY);
        if (clause->condition) {
            put_break(p, 1, 0);
            put(p, "if ");
            put_expr(p, clause->condition, TIGHT_ANY);
        }
    }
    put_close(p);
    put(p, "]");
}

static void put_range(Printer *p, const AstExpr *expr) {
    if (expr->range.low)
        put_expr(p, expr->range.low, TIGHT_SUM);
    put(p, "..");
    if (expr->range.high)
        put_expr(p, expr->range.high, TIGHT_SUM);
}

static void put_binary(Printer *p, const AstExpr *expr) {
    AstBinaryOp op = expr->binary.op;
    Tightness own = binary_tightness(op);
    Tightness left = own, right = own + 1;
    if (op == BINARY_POWER) {
        left = TIGHT_NAMED;
        right = TIGHT_UNARY;
    } else if (binary_op_is_comparison(op)) {
        left = own + 1;
    }
    put_expr(p, expr->binary.left, left);
    put_break(p, 1, 0);
    put(p, binary_op_text(op));
    put(p, " ");
    put_expr(p, expr->binary.right, right);
}

static void put_choice(Printer *p, const AstExpr *expr) {
    for (size_t i = 0; i < expr->choice.count; i++) {
        const AstChoice *choice = &expr->choice.branches[i];
        put(p, i == 0 ? "" : " else ");
        if (choice->condition) {
            put(p, "if ");
            put_expr(p, choice->condition, TIGHT_ANY);
            put(p, " ");
        }
        put(p, "{ ");
        put_expr(p, choice->value, TIGHT_ANY);
        put(p, " }");
    }
}

/// The left side of a chain (`a + b + c`, `x |> f |> g`) shares its group.
static bool shares_group(const AstExpr *expr) {
    return expr->kind == EXPR_BINARY || (expr->kind == EXPR_CALL && expr->call.piped);
}

static void put_bare_expr(Printer *p, const AstExpr *expr) {
    switch (expr->kind) {
    case EXPR_ERROR:
        put(p, "<error>");
        break;
    case EXPR_NUMBER:
        put(p, expr->number.text);
        break;
    case EXPR_STRING:
        put_string(p, expr);
        break;
    case EXPR_BOOL:
        put(p, expr->boolean ? "true" : "false");
        break;
    case EXPR_NONE:
        put(p, "none");
        break;
    case EXPR_NAME:
        put(p, expr->name);
        break;
    case EXPR_LIST:
    case EXPR_TUPLE:
        put(p, "[");
        put_open(p);
        put_exprs(p, expr->list.items, expr->list.count);
        put_close(p);
        put(p, "]");
        break;
    case EXPR_COMPREHENSION:
        put_comprehension(p, expr);
        break;
    case EXPR_RANGE:
        put_range(p, expr);
        break;
    case EXPR_UNARY:
        put(p, expr->unary.op == UNARY_NOT ? "not " : "-");
        put_expr(p, expr->unary.operand, tightness(expr));
        break;
    case EXPR_BINARY:
        put_binary(p, expr);
        break;
    case EXPR_CALL:
        put_call(p, expr);
        break;
    case EXPR_INDEX:
        put_expr(p, expr->index.object, TIGHT_POSTFIX);
        put(p, "[");
        put_expr(p, expr->index.index, TIGHT_ANY);
        put(p, "]");
        break;
    case EXPR_PATH:
        put_expr(p, expr->path.object, TIGHT_POSTFIX);
        put(p, ".");
        put(p, expr->path.segment.text);
        break;
    case EXPR_IF:
        put_choice(p, expr);
        break;
    }
}

/// `least` is how tight an expression must be to stand here without parentheses.
static void put_expr(Printer *p, const AstExpr *expr, Tightness least) {
    bool number = expr->kind == EXPR_NUMBER && least == TIGHT_POSTFIX; // `(1).x`
    bool parentheses = expr->parenthesised || tightness(expr) < least || number;
    bool group = shares_group(expr) && (parentheses || tightness(expr) != least);
    if (parentheses)
        put(p, "(");
    if (group)
        put_open(p);
    put_bare_expr(p, expr);
    if (group)
        put_close(p);
    if (parentheses)
        put(p, ")");
}

// ---- comments and empty lines ----

static const AstComment *comment_before(const Printer *p, uint32_t place) {
    if (!p->file || p->next_comment >= p->file->comment_count)
        return NULL;
    const AstComment *comment = &p->file->comments[p->next_comment];
    return comment->span.begin < place ? comment : NULL;
}

/// Line ends in [begin, end), at most two.
static int line_ends(const Printer *p, uint32_t begin, uint32_t end) {
    int count = 0;
    const char *text = p->file->source->text;
    for (const char *at = text + begin; count < 2 && at < text + end; at++) {
        at = memchr(at, '\n', (size_t)(text + end - at));
        if (!at)
            break;
        count++;
    }
    return count;
}

/// `keep_doc`: a `##` stays one.
static void write_comment(Printer *p, const AstComment *comment, bool keep_doc) {
    const char *text = p->file->source->text + comment->span.begin;
    size_t length = comment->span.end - comment->span.begin;
    if (comment->is_doc && !keep_doc) {
        text++;
        length--;
    }
    strbuf_write(p->out, text, length);
}

/// An empty line if there was one between `begin` and `end` in the source.
static void write_gap(Printer *p, uint32_t begin, uint32_t end) {
    if (p->file && begin < end && line_ends(p, begin, end) > 1)
        strbuf_putc(p->out, '\n');
}

static void write_indent(Printer *p) {
    for (size_t i = 0; i < p->indent; i++)
        strbuf_putc(p->out, ' ');
    p->column = p->indent;
}

/// Comments before `place`, each on a line. `*last` is where what was written before them ended.
/// Those before `document_from` stand between statements and may document the next one.
static void write_comments(Printer *p, uint32_t place, uint32_t *last, bool *first,
                           uint32_t document_from) {
    const AstComment *comment;
    while ((comment = comment_before(p, place))) {
        if (!*first)
            write_gap(p, *last, comment->span.begin);
        write_indent(p);
        write_comment(p, comment, comment->own_line && comment->span.begin >= document_from);
        strbuf_putc(p->out, '\n');
        *first = false;
        *last = comment->span.end;
        p->next_comment++;
    }
}

/// A comment that stands on the same line behind `place`, and before `limit`.
static void write_trailing_comment(Printer *p, uint32_t place, uint32_t limit, uint32_t *last) {
    const AstComment *comment = comment_before(p, limit);
    if (!comment || comment->own_line || line_ends(p, place, comment->span.begin) > 0)
        return;
    strbuf_puts(p->out, "  ");
    write_comment(p, comment, true);
    *last = comment->span.end;
    p->next_comment++;
}

// ---- statements ----

static void put_stmt(Printer *p, const AstStmt *stmt, bool in_line);

static void write_stmts(Printer *p, const AstBlock *block, uint32_t begin, uint32_t end);

/// A block of a statement: all in the row, or over several lines, for which the row so far is
/// written.
static void put_block(Printer *p, const AstBlock *block, bool in_line) {
    if (!block)
        return;
    if (in_line) {
        put(p, block->count ? " { " : " { }");
        for (size_t i = 0; i < block->count; i++) {
            put(p, i == 0 ? "" : "; ");
            put_stmt(p, block->stmts[i], true);
        }
        put(p, block->count ? " }" : "");
        return;
    }
    if (block->count == 0 && !comment_before(p, block->span.end)) {
        put(p, " { }");
        return;
    }
    put(p, " {");
    layout(p);
    p->indent += INDENT;
    write_stmts(p, block, block->span.begin, block->span.end);
    p->indent -= INDENT;
    write_indent(p);
    put(p, "}");
}

static void put_params(Printer *p, const AstParam *params, size_t count) {
    put(p, "(");
    put_open(p);
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            put_comma(p);
        put(p, params[i].name.text);
        if (params[i].type) {
            put(p, ": ");
            put_type(p, params[i].type);
        }
        if (params[i].default_value) {
            put(p, " = ");
            put_expr(p, params[i].default_value, TIGHT_ANY);
        }
    }
    put_close(p);
    put(p, ")");
}

/// A word and an expression behind it, where both are there.
static void put_clause(Printer *p, const char *word, const AstExpr *expr) {
    if (!expr)
        return;
    put(p, word);
    put_expr(p, expr, TIGHT_ANY);
}

static void put_defined(Printer *p, const char *word, AstName name, const AstExpr *value) {
    put(p, word);
    put(p, name.text);
    put(p, " = ");
    put_expr(p, value, TIGHT_ANY);
}

static void put_list(Printer *p, const char *word, AstExpr *const *exprs, size_t count) {
    put(p, word);
    put_open(p);
    put_exprs(p, exprs, count);
    put_close(p);
}

static void put_function(Printer *p, const char *word, const AstStmt *stmt, bool in_line) {
    put(p, word);
    put(p, stmt->function.name.text);
    put_params(p, stmt->function.params, stmt->function.param_count);
    put_clause(p, " = ", stmt->function.value);
    put_block(p, stmt->function.body, in_line);
}

static void put_branches(Printer *p, const char *word, const AstStmt *stmt, bool in_line) {
    for (size_t i = 0; i < stmt->branch.count; i++) {
        const AstBranch *branch = &stmt->branch.branches[i];
        put(p, i == 0 ? "" : " else");
        if (branch->condition) {
            put(p, i == 0 ? word : " ");
            put(p, i == 0 ? "" : word);
            put_expr(p, branch->condition, TIGHT_ANY);
        }
        put_block(p, &branch->body, in_line);
    }
}

static void put_report(Printer *p, const AstStmt *stmt) {
    put(p, "report ");
    put_open(p);
    for (size_t i = 0; i < stmt->report.count; i++) {
        if (i > 0)
            put_comma(p);
        if (stmt->report.items[i].name) {
            put_name(p, stmt->report.items[i].name, false);
            put(p, " = ");
        }
        put_expr(p, stmt->report.items[i].value, TIGHT_ANY);
    }
    put_close(p);
}

static void put_setting(Printer *p, const AstStmt *stmt, bool in_line) {
    put(p, stmt->setting.word.text);
    if (stmt->setting.count > 0)
        put(p, " ");
    put_open(p);
    put_args(p, stmt->setting.values, 0, stmt->setting.count);
    put_close(p);
    put_block(p, stmt->setting.body, in_line);
}

static void put_phase(Printer *p, const AstStmt *stmt, bool in_line) {
    put(p, "phase ");
    put(p, stmt->phase.name.text);
    if (stmt->phase.index) {
        put(p, "[");
        put_expr(p, stmt->phase.index, TIGHT_ANY);
        put(p, "]");
    }
    put_clause(p, " on ", stmt->phase.data);
    put_block(p, stmt->phase.body, in_line);
}

static void put_stmt(Printer *p, const AstStmt *stmt, bool in_line) {
    switch (stmt->kind) {
    case STMT_ERROR:
        put(p, "<error>");
        break;
    case STMT_USE:
        put(p, "use ");
        if (stmt->use.is_file)
            put_quoted(p, stmt->use.module.text);
        else
            put(p, stmt->use.module.text);
        break;
    case STMT_PARAM:
        put_defined(p, "param ", stmt->define.name, stmt->define.value);
        break;
    case STMT_OPTION:
        put_defined(p, "option ", stmt->define.name, stmt->define.value);
        if (stmt->define.text) {
            put(p, " ");
            put_quoted(p, stmt->define.text);
        }
        break;
    case STMT_FN:
        put_function(p, "fn ", stmt, in_line);
        break;
    case STMT_NET:
        put_function(p, "net ", stmt, in_line);
        break;
    case STMT_OPTIMIZER:
        put_function(p, "optimizer ", stmt, in_line);
        break;
    case STMT_MODEL:
        put_defined(p, "model ", stmt->model.name, stmt->model.value);
        if (stmt->model.origin) {
            put_break(p, 1, 0);
            put_clause(p, "from ", stmt->model.origin);
        }
        break;
    case STMT_SPLIT:
        put_clause(p, "split ", stmt->split.model);
        put_list(p, stmt->split.model ? " at " : "split at ", stmt->split.taps, stmt->split.count);
        break;
    case STMT_DATA:
        put_defined(p, "data ", stmt->data.name, stmt->data.value);
        put_block(p, stmt->data.body, in_line);
        break;
    case STMT_TRAIN:
        put(p, "train ");
        put(p, stmt->train.name.text);
        put_clause(p, " on ", stmt->train.data);
        put_block(p, stmt->train.body, in_line);
        break;
    case STMT_DEPLOY:
        put_clause(p, "deploy ", stmt->deploy.model);
        if (stmt->deploy.model)
            break;
        put(p, "deploy ");
        put(p, stmt->deploy.name.text);
        put(p, " ");
        put_params(p, stmt->deploy.params, stmt->deploy.param_count);
        put_block(p, stmt->deploy.body, in_line);
        break;
    case STMT_PHASE:
        put_phase(p, stmt, in_line);
        break;
    case STMT_STEP:
    case STMT_EVAL:
        put(p, stmt->kind == STMT_STEP ? "step " : "eval ");
        put_params(p, stmt->step.params, stmt->step.param_count);
        put_clause(p, " on ", stmt->step.data);
        put_block(p, stmt->step.body, in_line);
        break;
    case STMT_FINISH:
        put(p, "finish");
        put_block(p, stmt->block, in_line);
        break;
    case STMT_OPTIMIZE:
        put_list(p, "optimize ", stmt->optimize.targets, stmt->optimize.count);
        put_clause(p, " with ", stmt->optimize.rule);
        put_block(p, stmt->optimize.body, in_line);
        break;
    case STMT_FREEZE:
        put_list(p, "freeze ", stmt->freeze.targets, stmt->freeze.count);
        put_clause(p, " with ", stmt->freeze.mode);
        break;
    case STMT_LOAD:
        put_clause(p, "load ", stmt->load.target);
        put_clause(p, " from ", stmt->load.origin);
        break;
    case STMT_SETTING:
        put_setting(p, stmt, in_line);
        break;
    case STMT_LET:
        put(p, "let ");
        put_names(p, stmt->let.names, stmt->let.count);
        put_clause(p, " = ", stmt->let.value);
        break;
    case STMT_ASSIGN:
    case STMT_UPDATE:
        put_expr(p, stmt->assign.target, TIGHT_ANY);
        put_clause(p, stmt->kind == STMT_ASSIGN ? " = " : " <- ", stmt->assign.value);
        break;
    case STMT_TAP:
        put(p, "tap ");
        put_name(p, stmt->tap.name, true);
        put_clause(p, " = ", stmt->tap.value);
        break;
    case STMT_RETURN:
        put_clause(p, "return ", stmt->value);
        break;
    case STMT_FOR:
        put(p, "for ");
        put_names(p, stmt->loop.names, stmt->loop.count);
        put_clause(p, " in ", stmt->loop.list);
        put_block(p, &stmt->loop.body, in_line);
        break;
    case STMT_IF:
        put_branches(p, "if ", stmt, in_line);
        break;
    case STMT_WHEN:
        put_branches(p, "when ", stmt, in_line);
        break;
    case STMT_MINIMIZE:
        put_clause(p, "minimize ", stmt->minimize.loss);
        if (stmt->minimize.over_count > 0)
            put_list(p, " over ", stmt->minimize.over, stmt->minimize.over_count);
        put_clause(p, " combine ", stmt->minimize.combine);
        break;
    case STMT_REPORT:
        put_report(p, stmt);
        break;
    case STMT_EXIT:
        put_clause(p, "exit ", stmt->exit_when.value);
        put_clause(p, " when ", stmt->exit_when.condition);
        break;
    case STMT_ASSERT:
        put_clause(p, "assert ", stmt->assertion.condition);
        if (stmt->assertion.message) {
            put_comma(p);
            put_expr(p, stmt->assertion.message, TIGHT_ANY);
        }
        break;
    case STMT_EXPR:
        put_expr(p, stmt->value, TIGHT_ANY);
        break;
    }
}

/// The blocks of a statement in order, the first `limit` of them, and how many there are.
static size_t stmt_blocks(const AstStmt *stmt, const AstBlock **blocks, size_t limit) {
    const AstBlock *one = NULL;
    switch (stmt->kind) {
    case STMT_FN:
    case STMT_NET:
    case STMT_OPTIMIZER:
        one = stmt->function.body;
        break;
    case STMT_DATA:
        one = stmt->data.body;
        break;
    case STMT_TRAIN:
        one = stmt->train.body;
        break;
    case STMT_DEPLOY:
        one = stmt->deploy.body;
        break;
    case STMT_PHASE:
        one = stmt->phase.body;
        break;
    case STMT_STEP:
    case STMT_EVAL:
        one = stmt->step.body;
        break;
    case STMT_FINISH:
        one = stmt->block;
        break;
    case STMT_OPTIMIZE:
        one = stmt->optimize.body;
        break;
    case STMT_SETTING:
        one = stmt->setting.body;
        break;
    case STMT_FOR:
        one = &stmt->loop.body;
        break;
    case STMT_IF:
    case STMT_WHEN:
        for (size_t i = 0; i < stmt->branch.count && i < limit; i++)
            blocks[i] = &stmt->branch.branches[i].body;
        return stmt->branch.count;
    case STMT_ERROR:
    case STMT_USE:
    case STMT_PARAM:
    case STMT_OPTION:
    case STMT_MODEL:
    case STMT_SPLIT:
    case STMT_FREEZE:
    case STMT_LOAD:
    case STMT_LET:
    case STMT_ASSIGN:
    case STMT_UPDATE:
    case STMT_TAP:
    case STMT_RETURN:
    case STMT_MINIMIZE:
    case STMT_REPORT:
    case STMT_EXIT:
    case STMT_ASSERT:
    case STMT_EXPR:
        break;
    }
    blocks[0] = one;
    return one ? 1 : 0;
}

enum { ONE_LINE_BLOCKS = 16 }; // more branches than fit on a line

/// Where the statement's head ends: comments up to there go above it.
static uint32_t head_end(const AstStmt *stmt) {
    const AstBlock *blocks[ONE_LINE_BLOCKS];
    return stmt_blocks(stmt, blocks, ONE_LINE_BLOCKS) ? blocks[0]->span.begin : stmt->span.end;
}

static bool is_one_line(const AstStmt *stmt) {
    const AstBlock *blocks[ONE_LINE_BLOCKS];
    size_t count = stmt_blocks(stmt, blocks, ONE_LINE_BLOCKS);
    if (count > ONE_LINE_BLOCKS)
        return false;
    for (size_t i = 0; i < count; i++) {
        if (!blocks[i]->one_line)
            return false;
        for (size_t k = 0; k < blocks[i]->count; k++)
            if (!is_one_line(blocks[i]->stmts[k]))
                return false;
    }
    return true;
}

/// On one line if it was and fits, else its blocks over several.
static void write_stmt(Printer *p, const AstStmt *stmt) {
    const AstBlock *blocks[ONE_LINE_BLOCKS];
    bool has_blocks = stmt_blocks(stmt, blocks, ONE_LINE_BLOCKS) > 0;
    if (has_blocks && is_one_line(stmt) && !comment_before(p, stmt->span.end)) {
        put_stmt(p, stmt, true);
        if (p->flat || p->indent + flat_width(p) <= WIDTH) {
            layout(p);
            return;
        }
        p->pieces.count = 0;
    }
    put_stmt(p, stmt, false);
    layout(p);
}

/// The statements of a block with the comments among them; a block's first line is written, with
/// `{` at `begin`, and its `}` will be.
static void write_stmts(Printer *p, const AstBlock *block, uint32_t begin, uint32_t end) {
    bool first = true;
    uint32_t last = begin;
    bool is_file = begin == end || (p->file && block == &p->file->body);
    if (!is_file) {
        // Comments of the head that no statement came for, then the one behind the `{`.
        uint32_t limit = block->count ? block->stmts[0]->span.begin : end;
        if (p->file && !comment_before(p, begin))
            write_trailing_comment(p, begin, limit, &last);
        strbuf_putc(p->out, '\n');
        write_comments(p, begin, &last, &first, begin);
    }
    for (size_t i = 0; i < block->count; i++) {
        const AstStmt *stmt = block->stmts[i];
        write_comments(p, stmt->span.begin, &last, &first, begin);
        if (!first)
            write_gap(p, last, stmt->span.begin);
        first = true; // no gaps among comments of the head
        write_comments(p, head_end(stmt), &last, &first, UINT32_MAX);
        first = false;
        write_indent(p);
        write_stmt(p, stmt);
        last = stmt->span.end;
        uint32_t limit = i + 1 < block->count ? block->stmts[i + 1]->span.begin : end;
        if (p->file)
            write_trailing_comment(p, last, limit, &last);
        strbuf_putc(p->out, '\n');
    }
    write_comments(p, end, &last, &first, begin);
}

void ast_print(StrBuf *out, const AstFile *file) {
    Printer p = {.out = out, .file = file};
    write_stmts(&p, &file->body, 0, (uint32_t)file->source->length + 1);
    arena_release(&p.arena);
}

void ast_print_expr(StrBuf *out, const AstExpr *expr) {
    Printer p = {.out = out, .flat = true};
    put_expr(&p, expr, TIGHT_ANY);
    layout(&p);
    arena_release(&p.arena);
}

void ast_print_stmt(StrBuf *out, const AstStmt *stmt) {
    Printer p = {.out = out};
    write_stmt(&p, stmt);
    strbuf_putc(out, '\n');
    arena_release(&p.arena);
}
