// grammar/errors.c -- syntax errors in words.
//
// The parser knows the true set of tokens that could have stood at an error; it is long. What can
// begin an expression becomes "an expression", what can begin a statement "a statement", and signs
// that merely could have followed a value are not mentioned beside what had to. Mistakes that
// people bring from other languages have sentences of their own, tried first.
#include <stdarg.h>
#include <string.h>

#include "grammar/parse.h"
#include "kd.tab.h"

Span kd_span(const KdParse *parse, uint32_t begin, uint32_t end) {
    return (Span){parse->source->id, begin, end};
}

Diag *kd_error(KdParse *parse, Span span, const char *format, ...) {
    va_list args;
    va_start(args, format);
    const char *text = arena_vprintf(parse->diags->arena, format, args);
    va_end(args);
    parse->error_count++;
    Diag *diag = diag_error(parse->diags, span, "%s", text);
    diag_misread(diag);
    return diag;
}

void kd_quiet_line(KdParse *parse, uint32_t offset) {
    const char *text = parse->source->text;
    const char *end = memchr(text + offset, '\n', parse->source->length - offset);
    uint32_t until = end ? (uint32_t)(end - text) + 1 : UINT32_MAX;
    if (until > parse->quiet_until)
        parse->quiet_until = until;
}

// ---- sets of tokens ----

typedef struct Expected {
    const int *tokens;
    int count;
} Expected;

static bool expects(const Expected *expected, int kind) {
    for (int i = 0; i < expected->count; i++)
        if (expected->tokens[i] == kind)
            return true;
    return false;
}

static bool is_word(int kind) {
    return kind >= TOK_USE && kind <= TOK_ASSERT;
}

static bool is_reserved(int kind) {
    return kind >= TOK_LET && kind <= TOK_FROM;
}

/// Signs that go on with a value that could end here.
static bool goes_on_with_value(int kind) {
    switch (kind) {
    case TOK_LPAREN:
    case TOK_LBRACKET:
    case TOK_SEGMENT:
    case TOK_AS:
    case TOK_PIPE:
    case TOK_RANGE:
    case TOK_EQUAL:
    case TOK_NOT_EQUAL:
    case TOK_LESS:
    case TOK_LESS_EQUAL:
    case TOK_GREATER:
    case TOK_GREATER_EQUAL:
    case TOK_PLUS:
    case TOK_MINUS:
    case TOK_TIMES:
    case TOK_DIVIDE:
    case TOK_FLOOR_DIVIDE:
    case TOK_MODULO:
    case TOK_POWER:
    case TOK_AND:
    case TOK_OR:
        return true;
    default:
        return false;
    }
}

static bool begins_expression(int kind) {
    switch (kind) {
    case TOK_NUMBER:
    case TOK_QUOTE_OPEN:
    case TOK_TRUE:
    case TOK_FALSE:
    case TOK_LPAREN:
    case TOK_LBRACKET:
    case TOK_MINUS:
    case TOK_NOT:
    case TOK_IF:
    case TOK_NAME:
        return true;
    default:
        return is_word(kind);
    }
}

static bool begins_statement(int kind) {
    return kind == TOK_LET || kind == TOK_RETURN || kind == TOK_FN || kind == TOK_IF ||
           kind == TOK_FOR || kind == TOK_WHEN || kind == TOK_NAME || is_word(kind);
}

/// "an expression, `,` or `)`"
///
/// `after_word`: behind a statement's word, which could have been a name in `word = …`.
static const char *expected_text(Arena *arena, const Expected *expected, bool after_word) {
    enum { SHOWN_MAX = 5 };
    const char *shown[SHOWN_MAX];
    int count = 0;
    bool statement = expects(expected, TOK_LET);
    bool expression = expects(expected, TOK_NUMBER);
    bool value_ends = expects(expected, TOK_TIMES) || expects(expected, TOK_PIPE);
    bool line_ends = expects(expected, TOK_LINE_END);
    bool name = expects(expected, TOK_NAME);
    if (statement)
        shown[count++] = "a statement";
    if (expression)
        shown[count++] = "an expression";
    else if (name && !statement)
        shown[count++] = "a name";
    for (int i = 0; i < expected->count && count < SHOWN_MAX; i++) {
        int kind = expected->tokens[i];
        if ((statement && (begins_statement(kind) || begins_expression(kind))) ||
            (expression && begins_expression(kind)) || (name && is_word(kind)) ||
            kind == TOK_NAME || (value_ends && goes_on_with_value(kind)) || kind == TOK_TEXT)
            continue;
        if (line_ends && kind == TOK_RBRACE)
            continue;
        if (after_word && (kind == TOK_SEGMENT || kind == TOK_ASSIGN || kind == TOK_UPDATE))
            continue;
        shown[count++] = kd_token_name(kind);
    }
    StrBuf text = {.arena = arena};
    for (int i = 0; i < count; i++) {
        strbuf_puts(&text, i == 0 ? "" : i + 1 == count ? " or " : ", ");
        strbuf_puts(&text, shown[i]);
    }
    return strbuf_text(&text);
}

static const char *found_text(const KdParse *parse, const KdToken *token) {
    switch (token->kind) {
    case TOK_NAME:
    case TOK_NUMBER:
        return strlen(token->text) < 60 ? arena_printf(parse->arena, "`%s`", token->text)
                                        : kd_token_name(token->kind);
    case TOK_SEGMENT:
        return arena_printf(parse->arena, "`.%s`", token->text);
    default:
        return kd_token_name(token->kind);
    }
}

// ---- mistakes with sentences of their own ----

/// `def f(x): …`, `while …`, `import …`: the statement's first word is another language's.
static bool foreign_word(KdParse *parse) {
    const KdToken *head = &parse->head;
    const char *behind = parse->source->text + head->span.end;
    behind += strspn(behind, " \t");
    if (*behind == '=' || *behind == '.' || *behind == '<')
        return false; // a name after all
    const char *help = head->kind == TOK_NAME ? ast_foreign_word_help(head->text) : NULL;
    if (!help)
        return false;
    Diag *d = kd_error(parse, head->span, "there is no `%s` in kd", head->text);
    diag_help(d, "%s", help);
    return true;
}

/// `optimise m with …`, `spilt m at …`: read as a setting as far as that goes.
static bool misspelt_word(KdParse *parse, const KdToken *found) {
    const KdToken *head = &parse->head;
    bool after_values = found->kind == TOK_WITH || found->kind == TOK_AT || found->kind == TOK_ON ||
                        found->kind == TOK_OVER || found->kind == TOK_COMBINE ||
                        found->kind == TOK_FROM;
    const char *near = after_values && head->kind == TOK_NAME && found->depth == head->depth
                           ? ast_nearest_statement_word(head->text)
                           : NULL;
    if (!near)
        return false;
    Diag *d = kd_error(parse, head->span, "there is no statement `%s`", head->text);
    diag_fixit(d, head->span, near);
    return true;
}

static bool assignment_sign(KdParse *parse, const KdToken *found, const Expected *expected) {
    if (found->kind != TOK_ASSIGN)
        return false;
    if (expects(expected, TOK_UPDATE) && parse->given_before.kind == TOK_SEGMENT) {
        Diag *d = kd_error(parse, found->span, "`=` gives a name a new value, not a part of one");
        diag_help(d, "a parameter or state gets a new value by `<-`");
        return true;
    }
    if (!expects(expected, TOK_TIMES))
        return false;
    if (parse->head.kind == TOK_NAME && found->depth == parse->head.depth &&
        parse->given_before.kind == TOK_RBRACKET &&
        parse->source->text[parse->head.span.end] == '[') {
        Diag *d = kd_error(parse, found->span, "an element of a list cannot be replaced");
        diag_help(d, "make a new list: `[… for i, x in enumerate(xs)]`");
        return true;
    }
    Diag *d = kd_error(parse, found->span, "`=` cannot stand in an expression");
    diag_help(d, "a comparison is written `==`");
    return true;
}

static bool colon(KdParse *parse, const KdToken *found) {
    if (found->kind != TOK_COLON)
        return false;
    int head = parse->head.kind;
    bool opens_block = head == TOK_IF || head == TOK_FOR || head == TOK_WHEN || head == TOK_ELSE ||
                       head == TOK_FN || head == TOK_NET || head == TOK_STEP || head == TOK_TRAIN ||
                       head == TOK_PHASE || parse->given_before.kind == TOK_ELSE;
    if (found->depth == parse->head.depth && opens_block) {
        Diag *d = kd_error(parse, found->span, "a block is not begun by `:`");
        diag_help(d, "statements that belong together stand in `{` and `}`");
        return true;
    }
    if (found->depth > parse->head.depth && parse->given_before.kind == TOK_NAME) {
        Diag *d = kd_error(parse, found->span, "a named argument is not written with `:`");
        diag_help(d, "write `%s = …`", parse->given_before.text);
        return true;
    }
    return false;
}

static bool update_sign(KdParse *parse, const KdToken *found, const Expected *expected) {
    if (found->kind != TOK_UPDATE || !expects(expected, TOK_TIMES))
        return false;
    Diag *d = kd_error(parse, found->span, "`<-` cannot stand in an expression");
    diag_help(d, "it gives a state a new value; for a comparison write `< -`, with a space");
    return true;
}

static bool missing_let(KdParse *parse, const KdToken *found) {
    bool second = parse->given_before.span.begin == parse->head.span.begin;
    if (found->kind != TOK_COMMA || parse->head.kind != TOK_NAME || !second)
        return false;
    Diag *d = kd_error(parse, parse->head.span, "several names at once are made by `let`");
    diag_help(d, "write `let %s, … = …`", parse->head.text);
    return true;
}

static bool reserved_name(KdParse *parse, const KdToken *found, const Expected *expected) {
    if (!is_reserved(found->kind) || !expects(expected, TOK_NAME) ||
        expects(expected, TOK_NUMBER) || expects(expected, TOK_LET))
        return false;
    kd_error(parse, found->span, "%s is a reserved word and cannot be a name",
             kd_token_name(found->kind));
    return true;
}

static bool operator_after_pipe(KdParse *parse, const KdToken *found, const Expected *expected) {
    if (!goes_on_with_value(found->kind) || !expects(expected, TOK_PIPE) ||
        expects(expected, TOK_TIMES))
        return false;
    Diag *d = kd_error(parse, found->span, "%s cannot follow a pipe: `|>` binds loosest of all",
                       kd_token_name(found->kind));
    diag_help(d, "put the pipe in parentheses: `(x |> f) + y`");
    return true;
}

static bool reserved_chain(KdParse *parse, const KdToken *found, const Expected *expected) {
    if (found->kind != TOK_ELSE || !expects(expected, TOK_LET))
        return false;
    kd_error(parse, found->span, "this `else` belongs to no `if` or `when`");
    return true;
}

static bool block_as_value(KdParse *parse, const KdToken *found, const Expected *expected) {
    if (found->kind != TOK_LBRACE || !expects(expected, TOK_NUMBER) ||
        parse->given_before.kind != TOK_ASSIGN)
        return false;
    Diag *d = kd_error(parse, found->span, "expected an expression, but found a block");
    if (parse->head.kind == TOK_FN)
        diag_help(d, "a function with a body has no `=`: `fn f(x) { … return y }`");
    return true;
}

static bool chain_comma(KdParse *parse, const KdToken *found) {
    if (found->kind != TOK_COMMA || parse->head.kind != TOK_RETURN ||
        found->depth != parse->head.depth)
        return false;
    Diag *d = kd_error(parse, found->span, "`return` gives one value");
    diag_help(d, "several results are a list: `return [u, v]`");
    return true;
}

/// `f(x)` for its own sake and the like: what begins it cannot begin a statement.
static bool expression_alone(KdParse *parse, const KdToken *found, const Expected *expected) {
    if (!expects(expected, TOK_LET) || !begins_expression(found->kind))
        return false;
    Diag *d = kd_error(parse, found->span, "expected a statement, but found an expression");
    diag_help(d, "a value gets a name by `let`");
    return true;
}

/// `"a {b + c"`: the quote that was to end the string begins another.
static bool open_interpolation(KdParse *parse, const KdToken *found) {
    unsigned depth = found->depth;
    if (found->kind != TOK_QUOTE_OPEN || depth == 0 ||
        parse->bracket[depth - 1].open != TOK_INTERP_OPEN)
        return false;
    kd_error(parse, parse->bracket[depth - 1].span, "this `{` in a string is not closed");
    kd_quiet_line(parse, found->span.begin);
    return true;
}

void kd_syntax_error(KdParse *parse, const KdToken *found, const int *tokens, int count) {
    Expected expected = {tokens, count};
    if (found->span.begin < parse->quiet_until || found->kind == TOK_POISON) {
        parse->error_count++;
        return;
    }
    if (foreign_word(parse) || misspelt_word(parse, found) || open_interpolation(parse, found) ||
        assignment_sign(parse, found, &expected) || colon(parse, found) ||
        update_sign(parse, found, &expected) || missing_let(parse, found) ||
        reserved_name(parse, found, &expected) || operator_after_pipe(parse, found, &expected) ||
        reserved_chain(parse, found, &expected) || block_as_value(parse, found, &expected) ||
        chain_comma(parse, found) || expression_alone(parse, found, &expected))
        return;
    bool after_word =
        is_word(parse->head.kind) && parse->given_before.span.begin == parse->head.span.begin;
    const char *what = expected_text(parse->arena, &expected, after_word);
    if (what[0] == '\0') {
        kd_error(parse, found->span, "%s cannot stand here", found_text(parse, found));
        return;
    }
    Diag *d =
        kd_error(parse, found->span, "expected %s, but found %s", what, found_text(parse, found));
    // Where a bracket is still open: which one.
    unsigned depth = found->depth;
    if (depth > 0 && (expects(&expected, TOK_RPAREN) || expects(&expected, TOK_RBRACKET)) &&
        parse->bracket[depth - 1].open != TOK_LBRACE)
        diag_mark(d, parse->bracket[depth - 1].span);
}
