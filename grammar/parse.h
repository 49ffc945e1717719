/// Shared by the parts of the grammar, for this folder only: one parse and its state.
///
/// The scanner works on raw tokens, the layout filter on what it hands out; the parser sees the
/// filter's tokens alone. Brackets on the stack are those around the filter's place in the text.
#ifndef KDC_GRAMMAR_PARSE_H
#define KDC_GRAMMAR_PARSE_H

#include <setjmp.h>

#include "frontend/ast.h"
#include "grammar/grammar.h"

typedef Vec(AstName) NameList;
typedef Vec(AstExpr *) ExprList;
typedef Vec(AstArg) ArgList;
typedef Vec(AstParam) ParamList;
typedef Vec(AstStmt *) StmtList;
typedef Vec(AstStringPart) PartList;
typedef Vec(AstForClause) ForClauseList;
typedef Vec(AstChoice) ChoiceList;
typedef Vec(AstBranch) BranchList;
typedef Vec(AstReportItem) ReportItemList;

typedef struct KdToken {
    int kind; // of kd.y's tokens; 0 at the end
    Span span;
    const char
        *text;      // of names, segments, numbers, pieces of strings; ";" tells it from a line end
    unsigned depth; // open brackets around it; a bracket counts neither itself nor its partner
} KdToken;

typedef struct KdBracket {
    int open; // TOK_LPAREN, TOK_LBRACKET, TOK_LBRACE or TOK_INTERP_OPEN
    Span span;
    uint32_t indent; // of the line it stands on
} KdBracket;

enum {
    KD_QUEUE_MAX =
        2 * AST_NESTING_MAX + 4, // a closing token, and a closing quote, for each bracket
    KD_ERRORS_MAX = 200,         // then the scanner ends the text
};

typedef struct KdParse {
    Arena *arena;
    const Source *source;
    DiagSink *diags;
    jmp_buf fatal; // where the scanner goes instead of ending the process

    // The scanner.
    void *scanner;
    uint32_t begin, end;             // bytes of the raw token at hand
    int last_kind;                   // of the raw token before it, line ends left out
    bool line_is_blank;              // no token yet on this line
    uint32_t line_start, indent;     // of this line, in bytes
    Span quote[AST_NESTING_MAX + 1]; // opening quotes of the strings around
    bool quote_too_long[AST_NESTING_MAX + 1];
    unsigned quote_count;
    Vec(AstComment) comments;

    // The layout filter.
    KdBracket bracket[AST_NESTING_MAX];
    unsigned depth;
    KdToken ahead; // one raw token, looked at behind a line end
    bool has_ahead;
    KdToken queue[KD_QUEUE_MAX]; // decided, not handed out yet
    unsigned queue_head, queue_count;
    KdToken previous; // handed out last
    bool line_begins; // no token of this line has been handed out
    KdToken head;     // the first token of the statement at hand
    Span suspect;     // a `{` in which a declaration begins at the left margin
    bool unbalanced;  // an unclosed bracket was reported
    bool at_end_of_text;

    // What the parser got, panic or not.
    KdToken given, given_before;

    // Errors.
    size_t error_count;
    uint32_t quiet_until; // consequences of an error reported before this place are not
    uint32_t deep_begin;  // where an expression began that was too deep, plus 1
    bool panic;           // the parser is skipping; see layout.c
    unsigned panic_depth;
    bool panic_in_block;

    // The prompt.
    int start; // a token that chooses the start rule; handed out first, then 0
    bool may_go_on;
    bool incomplete;

    StmtList *result;
    ExprList tuples; // every EXPR_TUPLE made
    bool misplaced;  // the placement check said something
} KdParse;

// ---- kd.l ----

/// The next raw token.
void kd_scan_token(KdParse *parse, KdToken *token);
/// Leaves all strings.
void kd_scan_reset(KdParse *parse);
/// Begins at the start of `length` bytes, none of them NUL.
void kd_scan_open(KdParse *parse, const char *text, size_t length);
void kd_scan_close(KdParse *parse);

// ---- layout.c ----

/// The parser's next token.
KdToken kd_next_token(KdParse *parse);
/// The parser met an error at `token`: what the filter hands out until the parser is back in step
/// holds no nested brackets.
void kd_layout_panic(KdParse *parse, const KdToken *token);

// ---- kd.y ----

/// A kind of token in words: "a name", "`let`", "end of line".
const char *kd_token_name(int kind);

// ---- errors.c ----

Span kd_span(const KdParse *parse, uint32_t begin, uint32_t end);
/// An error that is not about expected tokens; counts it. Like diag_error().
Diag *kd_error(KdParse *parse, Span span, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/// No more messages about the line that `offset` is in.
void kd_quiet_line(KdParse *parse, uint32_t offset);
/// Found `found`, expected one of the `count` token kinds.
void kd_syntax_error(KdParse *parse, const KdToken *found, const int *expected, int count);

#endif
