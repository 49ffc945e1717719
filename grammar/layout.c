// grammar/layout.c -- between scanner and parser: line ends, and brackets that match.
//
// A line end is handed out only where it ends a statement: not in `(` and `[`, not after what wants
// a right side, not before a line that goes on with the one above (the filter looks one token
// ahead), and never twice in a row. The brackets that the parser gets are always balanced: a
// missing one is reported here and put in, a superfluous one is reported and left out. So the
// parser can recover from an error by its own rules at the closing bracket or at the line end:
// while it skips
// (`panic`), brackets that were opened behind the error are swallowed here, whole.
#include <string.h>

#include "grammar/parse.h"
#include "kd.tab.h"

static void enqueue(KdParse *parse, KdToken token) {
    kdc_assert(parse->queue_count < KD_QUEUE_MAX);
    parse->queue[(parse->queue_head + parse->queue_count++) % KD_QUEUE_MAX] = token;
}

static KdToken dequeue(KdParse *parse) {
    KdToken token = parse->queue[parse->queue_head];
    parse->queue_head = (parse->queue_head + 1) % KD_QUEUE_MAX;
    parse->queue_count--;
    return token;
}

static void take(KdParse *parse, KdToken *token) {
    if (parse->has_ahead) {
        *token = parse->ahead;
        parse->has_ahead = false;
    } else {
        kd_scan_token(parse, token);
    }
}

static const KdToken *look_ahead(KdParse *parse) {
    if (!parse->has_ahead)
        kd_scan_token(parse, &parse->ahead);
    parse->has_ahead = true;
    return &parse->ahead;
}

// ---- line ends ----

/// After such a token a line end does not count.
static bool wants_more(int kind) {
    switch (kind) {
    case TOK_COMMA:
    case TOK_ASSIGN:
    case TOK_UPDATE:
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
    case TOK_NOT:
    case TOK_IN:
    case TOK_AS:
    case TOK_AT:
    case TOK_ON:
    case TOK_WITH:
    case TOK_OVER:
    case TOK_COMBINE:
    case TOK_FROM:
    case TOK_ELSE:
        return true;
    default:
        return false;
    }
}

/// Such a token cannot begin a statement: its line goes on with the one above.
static bool goes_on(const KdToken *token) {
    switch (token->kind) {
    case TOK_COMMA:
    case TOK_ASSIGN:
    case TOK_UPDATE:
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
    case TOK_IN:
    case TOK_AS:
    case TOK_AT:
    case TOK_ON:
    case TOK_WITH:
    case TOK_OVER:
    case TOK_COMBINE:
    case TOK_FROM:
    case TOK_ELSE:
    case TOK_SEGMENT:
    case TOK_LBRACE:
        return true;
    default:
        return false;
    }
}

/// Words that begin a statement and are names elsewhere.
static bool is_word(int kind) {
    return kind >= TOK_USE && kind <= TOK_ASSERT;
}

static bool begins_statement_only(int kind) {
    return kind == TOK_LET || kind == TOK_RETURN || kind == TOK_FN || kind == TOK_FOR ||
           kind == TOK_WHEN || kind == TOK_RBRACE || kind == TOK_END;
}

/// `elif` and its like, which other languages have.
static bool is_elif(const KdToken *token) {
    static const char *const words[] = {"elif", "elseif", "elsif"};
    for (size_t i = 0; token->kind == TOK_NAME && i < sizeof words / sizeof *words; i++)
        if (strcmp(token->text, words[i]) == 0)
            return true;
    return false;
}

// ---- brackets ----

static int partner(int open) {
    switch (open) {
    case TOK_LPAREN:
        return TOK_RPAREN;
    case TOK_LBRACKET:
        return TOK_RBRACKET;
    case TOK_LBRACE:
        return TOK_RBRACE;
    default:
        return TOK_INTERP_CLOSE;
    }
}

static const char *open_text(int open) {
    return open == TOK_LPAREN ? "(" : open == TOK_LBRACKET ? "[" : "{";
}

static bool in_block(const KdParse *parse) {
    return parse->depth == 0 || parse->bracket[parse->depth - 1].open == TOK_LBRACE;
}

/// Closes what is open down to a depth of `depth`, at `place`.
static void close_down_to(KdParse *parse, unsigned depth, uint32_t place) {
    Span span = kd_span(parse, place, place);
    while (parse->depth > depth) {
        int open = parse->bracket[--parse->depth].open;
        enqueue(parse, (KdToken){.kind = partner(open), .span = span, .depth = parse->depth});
        if (open == TOK_INTERP_OPEN)
            enqueue(parse, (KdToken){.kind = TOK_QUOTE_CLOSE, .span = span, .depth = parse->depth});
    }
}

/// Reports the innermost open bracket as never closed.
static void report_unclosed(KdParse *parse) {
    const KdBracket *bracket = &parse->bracket[parse->depth - 1];
    Span span = bracket->span;
    if (bracket->open == TOK_LBRACE && !span_is_none(parse->suspect))
        span = parse->suspect;
    if (!(parse->panic && !parse->panic_in_block) && parse->quiet_until <= span.begin)
        kd_error(parse, span, "this `%s` is not closed", open_text(bracket->open));
    parse->unbalanced = parse->unbalanced || bracket->open == TOK_LBRACE;
}

/// Deeper than anybody writes by hand; the rest of the text is not read.
static void too_deep(KdParse *parse, Span span) {
    kd_error(parse, span, "more than %d brackets are open here", AST_NESTING_MAX);
    parse->quiet_until = UINT32_MAX;
    parse->unbalanced = true;
    parse->at_end_of_text = true;
    close_down_to(parse, 0, span.begin);
}

static void open_bracket(KdParse *parse, KdToken token) {
    if (parse->depth == AST_NESTING_MAX) {
        too_deep(parse, token.span);
        return;
    }
    token.depth = parse->depth;
    parse->bracket[parse->depth++] = (KdBracket){token.kind, token.span, parse->indent};
    enqueue(parse, token);
}

/// A `}` further to the left than the line of its `{`: that one was probably not closed.
static void suspect_indent(KdParse *parse, const KdToken *token) {
    const KdBracket *bracket = &parse->bracket[parse->depth - 1];
    bool first_on_line = token->span.begin == parse->line_start + parse->indent;
    if (token->kind == TOK_RBRACE && first_on_line && parse->indent < bracket->indent &&
        span_is_none(parse->suspect))
        parse->suspect = bracket->span;
}

static void close_bracket(KdParse *parse, KdToken token) {
    bool round = token.kind == TOK_RPAREN || token.kind == TOK_RBRACKET;
    if (round && in_block(parse)) {
        if (!parse->panic)
            kd_error(parse, token.span, "this `%s` closes nothing",
                     token.kind == TOK_RPAREN ? ")" : "]");
        return;
    }
    if (round && parse->bracket[parse->depth - 1].open == TOK_INTERP_OPEN) {
        kd_error(parse, token.span, "this `%s` closes nothing",
                 token.kind == TOK_RPAREN ? ")" : "]");
        return;
    }
    if (round && partner(parse->bracket[parse->depth - 1].open) != token.kind) {
        const KdBracket *bracket = &parse->bracket[parse->depth - 1];
        Diag *d = kd_error(parse, token.span, "`%s` cannot close `%s`",
                           token.kind == TOK_RPAREN ? ")" : "]", open_text(bracket->open));
        diag_mark(d, bracket->span);
        token.kind = partner(bracket->open);
    }
    if (!round) { // `}` also closes what was forgotten in its block or its string
        int open = token.kind == TOK_RBRACE ? TOK_LBRACE : TOK_INTERP_OPEN;
        unsigned depth = parse->depth;
        while (depth > 0 && parse->bracket[depth - 1].open != open)
            depth--;
        if (depth == 0) {
            kd_error(parse, token.span, "this `}` closes nothing");
            return;
        }
        if (depth < parse->depth) {
            report_unclosed(parse);
            close_down_to(parse, depth, token.span.begin);
        }
        suspect_indent(parse, &token);
    }
    token.depth = --parse->depth;
    enqueue(parse, token);
}

/// Closes the `(` and `[` that were forgotten in a block, and says so.
static void close_to_block(KdParse *parse, uint32_t place) {
    unsigned depth = parse->depth;
    while (depth > 0 && parse->bracket[depth - 1].open != TOK_LBRACE)
        depth--;
    report_unclosed(parse);
    close_down_to(parse, depth, place);
}

/// At a line end in `(` or `[`: if the next line tells that the bracket was forgotten, closes it.
static bool line_ends_bracket(KdParse *parse, uint32_t place) {
    int kind = look_ahead(parse)->kind;
    if (kind != TOK_LET && kind != TOK_RETURN && kind != TOK_FN && kind != TOK_RBRACE)
        return false;
    close_to_block(parse, place);
    return true;
}

/// The same for a line that begins with a statement's word and a name, a number or a string behind
/// it: no expression has two values side by side.
static void word_ends_bracket(KdParse *parse, const KdToken *token) {
    if (!parse->line_begins || in_block(parse) || !is_word(token->kind))
        return;
    int kind = look_ahead(parse)->kind;
    if (kind != TOK_NAME && kind != TOK_NUMBER && kind != TOK_QUOTE_OPEN && !is_word(kind))
        return;
    uint32_t place = token->span.begin;
    close_to_block(parse, place);
    enqueue(parse, (KdToken){.kind = TOK_LINE_END,
                             .span = kd_span(parse, place, place),
                             .depth = parse->depth});
}

/// At a line end with a string's `{` open: closes the outermost string.
static bool line_ends_string(KdParse *parse, uint32_t place) {
    unsigned depth = 0;
    while (depth < parse->depth && parse->bracket[depth].open != TOK_INTERP_OPEN)
        depth++;
    if (depth == parse->depth)
        return false;
    if (parse->bracket[depth].span.begin >= parse->quiet_until)
        kd_error(parse, parse->bracket[depth].span, "this `{` in a string is not closed");
    kd_quiet_line(parse, parse->bracket[depth].span.begin);
    close_down_to(parse, depth, place);
    kd_scan_reset(parse);
    return true;
}

// ---- the filter ----

static void line_end(KdParse *parse, KdToken token) {
    line_ends_string(parse, token.span.begin);
    // The lines that follow may be empty or hold comments alone.
    bool semicolon = token.text != NULL;
    if (!in_block(parse)) {
        if (semicolon || !line_ends_bracket(parse, token.span.begin))
            return;
    }
    while (look_ahead(parse)->kind == TOK_LINE_END) {
        semicolon = semicolon || parse->ahead.text;
        parse->has_ahead = false;
    }
    const KdToken *ahead = look_ahead(parse);
    int before = parse->queue_count ? TOK_RPAREN : parse->previous.kind;
    if (before == TOK_LINE_END || before == TOK_LBRACE || before == 0)
        return;
    // What is missing on this line is not on a line that can only be another statement.
    bool missing = wants_more(before) && before != TOK_ELSE && begins_statement_only(ahead->kind);
    if (!semicolon && !missing) {
        if (wants_more(before) || goes_on(ahead))
            return;
        if (before == TOK_RBRACE && is_elif(ahead))
            return;
    }
    if ((ahead->kind == TOK_RBRACE && !missing) || (ahead->kind == TOK_END && parse->may_go_on))
        return;
    token.depth = parse->depth;
    enqueue(parse, token);
}

static void end_of_text(KdParse *parse, KdToken token) {
    bool open = parse->depth > 0 || wants_more(parse->previous.kind);
    for (unsigned i = 0; i < parse->depth; i++)
        open = open && parse->bracket[i].open != TOK_INTERP_OPEN; // ends with its line
    if (open && parse->may_go_on && parse->error_count == 0) {
        parse->incomplete = true;
        parse->quiet_until = UINT32_MAX;
    }
    if (parse->error_count >= KD_ERRORS_MAX) {
        parse->quiet_until = UINT32_MAX;
        parse->unbalanced = true;
        close_down_to(parse, 0, token.span.begin);
    }
    line_ends_string(parse, token.span.begin);
    if (parse->depth > 0 && !parse->incomplete)
        report_unclosed(parse);
    close_down_to(parse, 0, token.span.begin);
    parse->at_end_of_text = true;
}

/// A declaration at the left margin inside braces: one of them was probably not closed.
static void suspect_brace(KdParse *parse, const KdToken *token) {
    bool declares = token->kind == TOK_FN || (token->kind >= TOK_USE && token->kind <= TOK_DEPLOY);
    uint32_t at = token->span.begin;
    if (!declares || parse->depth == 0 || !span_is_none(parse->suspect) || !in_block(parse))
        return;
    if (at > 0 && parse->source->text[at - 1] == '\n')
        parse->suspect = parse->bracket[parse->depth - 1].span;
}

/// Works one raw token off; what it leads to is in the queue, if anything.
static void work(KdParse *parse) {
    KdToken token;
    take(parse, &token);
    switch (token.kind) {
    case TOK_LINE_END:
        line_end(parse, token);
        parse->line_begins = true;
        return;
    case TOK_END:
        end_of_text(parse, token);
        return;
    case TOK_LPAREN:
    case TOK_LBRACKET:
    case TOK_LBRACE:
    case TOK_INTERP_OPEN:
        parse->line_begins = false;
        open_bracket(parse, token);
        return;
    case TOK_RPAREN:
    case TOK_RBRACKET:
    case TOK_RBRACE:
    case TOK_INTERP_CLOSE:
        parse->line_begins = false;
        close_bracket(parse, token);
        return;
    }
    word_ends_bracket(parse, &token);
    parse->line_begins = false;
    token.depth = parse->depth;
    if (is_elif(&token) && parse->previous.kind == TOK_RBRACE) {
        Diag *d = kd_error(parse, token.span, "there is no `%s` in kd", token.text);
        diag_fixit(d, token.span, "else if");
        KdToken word = token;
        word.kind = TOK_ELSE;
        enqueue(parse, word);
        token.kind = TOK_IF;
    }
    suspect_brace(parse, &token);
    enqueue(parse, token);
}

/// The next token of a text whose brackets match.
static KdToken next_balanced(KdParse *parse) {
    if (parse->start) {
        KdToken token = {.kind = parse->start, .span = kd_span(parse, 0, 0)};
        parse->start = 0;
        return token;
    }
    while (parse->queue_count == 0 && !parse->at_end_of_text)
        work(parse);
    KdToken token = parse->queue_count ? dequeue(parse)
                                       : (KdToken){.kind = TOK_END,
                                                   .span = kd_span(parse, parse->end, parse->end)};
    int before = parse->previous.kind;
    if (before == 0 || before == TOK_LINE_END || before == TOK_LBRACE)
        parse->head = token;
    parse->previous = token;
    return token;
}

void kd_layout_panic(KdParse *parse, const KdToken *token) {
    switch (token->kind) {
    case TOK_RPAREN:
    case TOK_RBRACKET:
    case TOK_RBRACE:
    case TOK_INTERP_CLOSE:
    case TOK_LINE_END:
    case TOK_END:
        return; // the parser finds back at once
    }
    bool around = token->depth == 0 || parse->bracket[token->depth - 1].open == TOK_LBRACE;
    if (token->kind == TOK_LBRACE && around)
        return; // read as a block
    parse->panic = true;
    parse->panic_depth = token->depth;
    parse->panic_in_block = around;
}

/// While the parser skips: true if it must not see this token.
static bool swallowed(KdParse *parse, const KdToken *token) {
    if (token->depth > parse->panic_depth)
        return true;
    if (token->depth < parse->panic_depth || token->kind == TOK_END ||
        token->kind == TOK_LINE_END) {
        parse->panic = false;
        return false;
    }
    switch (token->kind) {
    case TOK_LBRACE:
        if (parse->panic_in_block) { // the block of a statement that could not be read
            parse->panic = false;
            return false;
        }
        return true;
    case TOK_LPAREN:
    case TOK_LBRACKET:
    case TOK_INTERP_OPEN:
    case TOK_RPAREN:
    case TOK_RBRACKET:
    case TOK_RBRACE:
    case TOK_INTERP_CLOSE:
        return true;
    default:
        return false;
    }
}

KdToken kd_next_token(KdParse *parse) {
    KdToken token = next_balanced(parse);
    while (parse->panic && swallowed(parse, &token))
        token = next_balanced(parse);
    return token;
}
