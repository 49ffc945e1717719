/// The tree of a kd program: what the parser leaves and the elaborator runs.
///
///     AstFile ── body: AstBlock ── AstStmt* (declarations and statements are one type)
///                                     └── AstExpr*, AstArg, AstParam, AstType, nested AstBlock
///
/// Everything lies in one arena and is never freed singly. A node is a struct with a `kind` and a
/// union; read only the member that the comment beside the kind names. Children are counted arrays;
/// a count of 0 may come with a NULL pointer. Optional children are NULL when absent, optional
/// names have `text == NULL`. Every node knows its place (`span`).
///
/// What the parser guarantees, so that nobody need check it again:
/// - after an error, what could not be read is an EXPR_ERROR or STMT_ERROR: poison, already
///   reported. Pass it on silently;
/// - a required child is never NULL (it may be poison);
/// - no tree is deeper than AST_DEPTH_MAX, no blocks are nested deeper than AST_NESTING_MAX:
///   recursion over a tree is safe;
/// - names hold letters, digits and `_`, are never empty and at most 255 bytes long; no text holds
/// a
///   NUL byte;
/// - every statement stands where the placement table allows it (frontend/placement.c).
#ifndef KDC_FRONTEND_AST_H
#define KDC_FRONTEND_AST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "support/arena.h"
#include "support/diag.h"
#include "support/source.h"
#include "support/strbuf.h"

enum {
    AST_NESTING_MAX = 256,     // open brackets of all kinds, one inside the other
    AST_DEPTH_MAX = 1000,      // nodes from an expression's root to its leaves
    AST_NAME_MAX = 255,        // bytes of a name
    AST_TOKEN_MAX = 64 * 1024, // bytes of any other token
    AST_SOURCE_MAX = 16 << 20, // bytes of a source file
};

typedef struct AstExpr AstExpr;
typedef struct AstStmt AstStmt;

/// A name as it is written. `text` is NULL where an optional name is absent.
typedef struct AstName {
    const char *text;
    Span span;
} AstName;

/// A list of statements in braces, or a whole file.
typedef struct AstBlock {
    AstStmt **stmts;
    size_t count;
    Span span;     // with the braces
    bool one_line; // was written on one line; the printer keeps it so where it fits
} AstBlock;

/// A pattern for a shape or a kind of value: `[N, C, H, W]`, `i32[N]`, `[N, ..., K]`, `list`,
/// `f32[]`.
typedef struct AstType {
    Span span;
    AstName dtype;  // `i32`, `list`; text NULL in `[N, C]`
    bool has_shape; // brackets are there, even if empty
    AstExpr **dims; // letters (EXPR_NAME), numbers, arithmetic on them; NULL stands for `...`
    size_t dim_count;
} AstType;

/// A parameter of a fn, net, optimizer, step, eval or deploy: `name`, `name: type`, `name =
/// default`.
typedef struct AstParam {
    AstName name;
    AstType *type;          // or NULL
    AstExpr *default_value; // or NULL
} AstParam;

/// An argument of a call, or a value of a setting: `value`, `name = value`, and in settings alone
/// also `name: type` and `name: type = value`.
typedef struct AstArg {
    Span span;
    AstName name;   // text NULL: positional
    AstType *type;  // settings only (`fields image: u8[3, 32, 32] = "x"`); else NULL
    AstExpr *value; // NULL only beside a type
} AstArg;

// ---- expressions
// ----------------------------------------------------------------------------------

typedef enum AstExprKind {
    EXPR_ERROR,         // poison; nothing
    EXPR_NUMBER,        // number
    EXPR_STRING,        // string
    EXPR_BOOL,          // boolean
    EXPR_NONE,          // nothing: `none`
    EXPR_NAME,          // name
    EXPR_LIST,          // list: `[a, b]`
    EXPR_COMPREHENSION, // comprehension: `[f(a, b) for a, b in zip(xs, ys) if a != none]`
    EXPR_RANGE,         // range: `a..b`; in brackets after a value also `a..`, `..b`, `..`
    EXPR_UNARY,         // unary: `-a`, `not a`
    EXPR_BINARY,        // binary: arithmetic, comparison, `and`, `or`
    EXPR_CALL,          // call: `f(a, b = c)`, `a |> f(b)`, each with or without `as name`
    EXPR_INDEX,         // index: `xs[0]`, `xs[1..]`, `s["layer{k}"]`
    EXPR_PATH,          // path: `a.name`, `a.0`
    EXPR_IF,            // choice: `if a { b } else if c { d } else { e }`
    EXPR_TUPLE,         // list: `(a, b)`. Inside the parser only: it becomes poison with a message
} AstExprKind;

typedef enum AstUnaryOp { UNARY_NEGATE, UNARY_NOT } AstUnaryOp;

typedef enum AstBinaryOp {
    BINARY_OR,
    BINARY_AND,
    BINARY_EQUAL,
    BINARY_NOT_EQUAL,
    BINARY_LESS,
    BINARY_LESS_EQUAL,
    BINARY_GREATER,
    BINARY_GREATER_EQUAL,
    BINARY_ADD,
    BINARY_SUBTRACT,
    BINARY_MULTIPLY,
    BINARY_DIVIDE,       // `/`, real division
    BINARY_FLOOR_DIVIDE, // `//`
    BINARY_MODULO,       // `%`, of floor division
    BINARY_POWER,        // `^`
} AstBinaryOp;
enum { BINARY_COUNT = BINARY_POWER + 1 };

/// A piece of a string: text with its escapes resolved, or an expression in braces.
typedef struct AstStringPart {
    const char *text; // or NULL
    AstExpr *value;   // or NULL
} AstStringPart;

/// `for a, b in list if condition`, one clause of a comprehension.
typedef struct AstForClause {
    AstName *names;
    size_t name_count;
    AstExpr *list;
    AstExpr *condition; // or NULL; conditions joined by several `if`s are one `and`
} AstForClause;

/// A branch of an `if` expression; the last one is `else` and has no condition.
typedef struct AstChoice {
    AstExpr *condition;
    AstExpr *value;
} AstChoice;

struct AstExpr {
    AstExprKind kind;
    Span span;
    uint16_t depth;     // of the tree below, 1 for a leaf
    bool parenthesised; // the printer keeps the author's parentheses; means nothing else
    union {
        struct {
            const char *text; // as written
            double value;
            bool is_int;       // digits only
            int64_t int_value; // exact, where is_int
        } number;
        struct { // `"layer{i + 1}.{j}"`; "" has no parts; texts and values as they come
            AstStringPart *parts;
            size_t count;
        } string;
        bool boolean;
        const char *name;
        struct {
            AstExpr **items;
            size_t count;
        } list;
        struct {
            AstExpr *value;
            AstForClause *clauses; // outermost loop first
            size_t count;
        } comprehension;
        struct {
            AstExpr *low;  // NULL only directly in an EXPR_INDEX: from the first
            AstExpr *high; // NULL only directly in an EXPR_INDEX: to the end
        } range;
        struct {
            AstUnaryOp op;
            AstExpr *operand;
        } unary;
        struct {
            AstBinaryOp op;
            Span op_span;
            AstExpr *left, *right;
        } binary;
        struct {
            AstExpr *callee;
            AstArg *args; // the piped value is args[0]
            uint32_t count;
            bool piped;  // written `args[0] |> callee(args[1..])`
            AstExpr *as; // EXPR_STRING: the instance's name; `as downsample.0` is "downsample.0".
                         // Or NULL
        } call;
        struct {
            AstExpr *object;
            AstExpr *index; // EXPR_RANGE: a part of the list
        } index;
        struct {
            AstExpr *object;
            AstName segment; // without the dot; all digits in `.0`
        } path;
        struct {
            AstChoice *branches; // at least two: there is always an `else`
            size_t count;
        } choice;
    };
};

// ---- statements
// -----------------------------------------------------------------------------------

typedef enum AstStmtKind {
    STMT_ERROR,     // poison; nothing
    STMT_USE,       // use: `use std.distill`, `use "mine.kd"`
    STMT_PARAM,     // define: `param NAME = value`
    STMT_OPTION,    // define: `option NAME = value "text"`
    STMT_FN,        // function: `fn NAME(params) = value` or `{ … }`
    STMT_NET,       // function: always with a body
    STMT_OPTIMIZER, // function: always with a body
    STMT_MODEL,     // model: `model NAME = value from origin`
    STMT_SPLIT,     // split: `split MODEL at tap, …`, `split at …`
    STMT_DATA,      // data: `data NAME = value { settings }`
    STMT_TRAIN,     // train: `train NAME on DATA { … }`
    STMT_DEPLOY,    // deploy: `deploy MODEL`, `deploy NAME (image) { … }`
    STMT_PHASE,     // phase: `phase NAME[k] on DATA { … }`
    STMT_STEP,      // step: `step (image, label) { … }`
    STMT_EVAL,      // step: `eval (image, label) on DATA { … }`
    STMT_FINISH,    // block: `finish { … }`
    STMT_OPTIMIZE,  // optimize: `optimize a, b with sgd(lr = 0.1) { settings }`
    STMT_FREEZE,    // freeze: `freeze a, b with batch_stats`
    STMT_LOAD,      // load: `load MODEL from origin`
    STMT_SETTING,   // setting: `word values { settings }`
    STMT_LET,       // let: `let a, b = value`
    STMT_ASSIGN,    // assign: `name = value`
    STMT_UPDATE,    // assign: `name <- value`, `model.part <- value`
    STMT_TAP,       // tap: `tap NAME = value`
    STMT_RETURN,    // value: `return value`
    STMT_FOR,       // loop: `for a, b in list { … }`
    STMT_IF,        // branch: `if a { … } else if b { … } else { … }`
    STMT_WHEN,      // branch: the same with `when`
    STMT_MINIMIZE,  // minimize: `minimize loss over parts combine rule`
    STMT_REPORT,    // report: `report a, top1 = b, "ce{i}" = c`
    STMT_EXIT,      // exit_when: `exit value when condition`
    STMT_ASSERT,    // assertion: `assert condition, "text"`
    STMT_EXPR,      // value: an expression alone; the REPL only
} AstStmtKind;
enum { STMT_COUNT = STMT_EXPR + 1 };

/// A branch of an `if` or `when` statement; the last one may be `else` and have no condition.
typedef struct AstBranch {
    AstExpr *condition; // or NULL
    AstBlock body;
} AstBranch;

/// `a` (name NULL), `top1 = a`, `"ce{i}" = a`. Names are EXPR_STRINGs.
typedef struct AstReportItem {
    AstExpr *name; // or NULL: the elaborator derives one from the value
    AstExpr *value;
} AstReportItem;

struct AstStmt {
    AstStmtKind kind;
    Span span;       // the whole statement, its block included
    Span word_span;  // its first word: what a message about the statement points at
    const char *doc; // text of the `##` comment above it, lines joined by '\n', or NULL
    union {
        struct {
            AstName module; // text "std.distill", or "mine.kd" as in the string
            bool is_file;
        } use;
        struct {
            AstName name;
            AstExpr *value;
            const char *text; // an option's help; NULL when absent or a param
        } define;
        struct {
            AstName name;
            AstParam *params;
            size_t param_count;
            AstExpr *value; // `= value`, or NULL
            AstBlock *body; // `{ … }`, or NULL: just one of the two
        } function;
        struct {
            AstName name;
            AstExpr *value;
            AstExpr *origin; // after `from`, or NULL
        } model;
        struct {
            AstExpr *model; // NULL in a net: its own default
            AstExpr **taps; // a path (EXPR_NAME, EXPR_PATH) is a tap's name, all else is computed
            size_t count;
        } split;
        struct {
            AstName name;
            AstExpr *value;
            AstBlock *body; // settings, or NULL
        } data;
        struct {
            AstName name;
            AstExpr *data;
            AstBlock *body;
        } train;
        struct {
            AstExpr *model; // `deploy MODEL`: a path. NULL in the other form
            AstName name;   // `deploy NAME (…) { … }`
            AstParam *params;
            size_t param_count;
            AstBlock *body; // NULL in the first form
        } deploy;
        struct {
            AstName name;
            AstExpr *index; // `mimic[k]`, or NULL
            AstExpr *data;  // after `on`, or NULL
            AstBlock *body;
        } phase;
        struct {
            AstParam *params;
            size_t param_count;
            AstExpr *data; // eval's `on`, or NULL
            AstBlock *body;
        } step;
        AstBlock *block;
        struct {
            AstExpr **targets;
            size_t count;
            AstExpr *rule;  // after `with`
            AstBlock *body; // settings of the group, or NULL
        } optimize;
        struct {
            AstExpr **targets;
            size_t count;
            AstExpr *mode; // after `with`, or NULL
        } freeze;
        struct {
            AstExpr *target;
            AstExpr *origin; // after `from`
        } load;
        struct {
            AstName word;
            AstArg *values;
            size_t count;
            AstBlock *body; // or NULL
        } setting;
        struct {
            AstName *names; // at least one
            size_t count;
            AstExpr *value;
        } let;
        struct {
            AstExpr *target; // EXPR_NAME; in STMT_UPDATE also an EXPR_PATH over names
            AstExpr *value;
        } assign;
        struct {
            AstExpr *name; // EXPR_STRING; a plain name in it is also its `let`
            AstExpr *value;
        } tap;
        AstExpr *value;
        struct {
            AstName *names; // at least one
            size_t count;
            AstExpr *list;
            AstBlock body;
        } loop;
        struct {
            AstBranch *branches; // at least one
            size_t count;
        } branch;
        struct {
            AstExpr *loss;
            AstExpr **over; // count 0: no `over`
            size_t over_count;
            AstExpr *combine; // or NULL
        } minimize;
        struct {
            AstReportItem *items; // at least one
            size_t count;
        } report;
        struct {
            AstExpr *value;
            AstExpr *condition;
        } exit_when;
        struct {
            AstExpr *condition;
            AstExpr *message; // EXPR_STRING or NULL
        } assertion;
    };
};

// ---- files
// ----------------------------------------------------------------------------------------

/// A comment with its `#`s, without its line end. The printer puts them back.
typedef struct AstComment {
    Span span;
    bool is_doc;   // begins with `##`, not with more
    bool own_line; // nothing but space before it
} AstComment;

typedef struct AstFile {
    const Source *source;
    const char *doc; // the `##` block at the top that an empty line follows, or NULL
    AstBlock body;
    AstComment *comments; // in order of position
    size_t comment_count;
} AstFile;

// ---- ast.c: constructors and what is said about kinds
// -----------------------------------------------

/// A node with kind, span and depth 1; the rest is zero. The grammar's actions fill it.
AstExpr *ast_expr(Arena *arena, AstExprKind kind, Span span);
AstStmt *ast_stmt(Arena *arena, AstStmtKind kind, Span span);

AstExpr *ast_number(Arena *arena, Span span, const char *text);
AstExpr *ast_name(Arena *arena, AstName name);
/// A string of one text part (none for "").
AstExpr *ast_string(Arena *arena, Span span, const char *text);
AstExpr *ast_unary(Arena *arena, Span span, AstUnaryOp op, AstExpr *operand);
AstExpr *ast_binary(Arena *arena, Span span, AstBinaryOp op, Span op_span, AstExpr *left,
                    AstExpr *right);
AstExpr *ast_range(Arena *arena, Span span, AstExpr *low, AstExpr *high);
AstExpr *ast_list(Arena *arena, Span span, AstExpr **items, size_t count);
AstExpr *ast_comprehension(Arena *arena, Span span, AstExpr *value, AstForClause *clauses,
                           size_t count);
AstExpr *ast_call(Arena *arena, Span span, AstExpr *callee, AstArg *args, size_t count);
/// `value |> stage`: a stage that is a call, not in parentheses, gets `value` as its first
/// argument; any other is called with it alone.
AstExpr *ast_pipe(Arena *arena, Span span, AstExpr *value, AstExpr *stage);
AstExpr *ast_index(Arena *arena, Span span, AstExpr *object, AstExpr *index);
AstExpr *ast_path(Arena *arena, Span span, AstExpr *object, AstName segment);
AstExpr *ast_choice(Arena *arena, Span span, AstChoice *branches, size_t count);

/// How an operator is written: `+`, `and`.
const char *binary_op_text(AstBinaryOp op);
const char *unary_op_text(AstUnaryOp op);
bool binary_op_is_comparison(AstBinaryOp op);
/// How messages call a statement of this kind: "`let`", "a setting".
const char *stmt_kind_text(AstStmtKind kind);

/// The text of a string without interpolation, NULL if it has any. For other kinds NULL.
const char *ast_plain_string(const AstExpr *expr);
/// `a.b.0` as text in the arena if `expr` is a name with path segments, else NULL.
const char *ast_path_text(Arena *arena, const AstExpr *expr);

/// Same structure, names, numbers and docs; spans, parentheses, layout and comments do not count.
bool ast_equal(const AstFile *a, const AstFile *b);
bool ast_expr_equal(const AstExpr *a, const AstExpr *b);
bool ast_stmt_equal(const AstStmt *a, const AstStmt *b);

// ---- ast_print.c: text out
// ----------------------------------------------------------------------------

/// Canonical kd source, comments included (`--emit=ast`, `kdc fmt`). Reading it gives an equal
/// tree, and printing that gives the same bytes. A file with poison in it prints, but cannot be
/// read back.
void ast_print(StrBuf *out, const AstFile *file);
/// One expression or statement, as messages and the REPL quote it. No comments; expressions on one
/// line.
void ast_print_expr(StrBuf *out, const AstExpr *expr);
void ast_print_stmt(StrBuf *out, const AstStmt *stmt);

/// The tree as nested lists in parentheses (`--emit=tree`), one statement a line, blocks indented.
/// With `spans`, each node is followed by its bytes as `@begin:end`.
void ast_dump(StrBuf *out, const AstFile *file, bool spans);
void ast_dump_expr(StrBuf *out, const AstExpr *expr, bool spans);

// ---- placement.c: what may stand where
// -------------------------------------------------------------

/// What a list of statements is the body of.
typedef enum AstPlace {
    PLACE_FILE, // the top of a file
    PLACE_REPL, // an input at the prompt
    PLACE_FN,   // fn
    PLACE_NET,
    PLACE_OPTIMIZER,
    PLACE_DATA, // settings of a data set
    PLACE_TRAIN,
    PLACE_PHASE,
    PLACE_STEP,
    PLACE_EVAL,
    PLACE_FINISH,
    PLACE_GROUP, // settings of an `optimize`
    PLACE_DEPLOY,
} AstPlace;
enum { PLACE_COUNT = PLACE_DEPLOY + 1 };

/// Reports statements that stand where they mean nothing and turns them into STMT_ERROR. `if` and
/// `for` are transparent: in them may stand what may stand around them. kd_parse() calls it.
void ast_check_placement(AstBlock *block, AstPlace place, DiagSink *diags);

/// What to write instead of a word that other languages begin a statement with (`def`, `while`,
/// `import`), or NULL.
const char *ast_foreign_word_help(const char *word);
/// The word that begins a statement and was probably meant, or NULL.
const char *ast_nearest_statement_word(const char *word);

#endif
