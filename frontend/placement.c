// frontend/placement.c -- which statements may stand in which block.
//
// The grammar has one rule for the statements of all blocks; this table has the rest. `if`, `for`
// and `when` are transparent: they stand where the table says, and in them stands what may stand
// around them. A misplaced statement becomes poison, so that nothing further is said about it. What
// begins with a word that is no statement's is a setting in the tree; where there are no settings
// it is a mistake, and mostly one that can be named.
#include <string.h>

#include "frontend/ast.h"

enum { ERRORS_MAX = 1000 };

#define STMT(kind) (UINT64_C(1) << STMT_##kind)

#define DECLARATIONS                                                                               \
    (STMT(USE) | STMT(PARAM) | STMT(OPTION) | STMT(FN) | STMT(NET) | STMT(OPTIMIZER) |             \
     STMT(MODEL) | STMT(SPLIT) | STMT(DATA) | STMT(TRAIN) | STMT(DEPLOY))
#define CODE (STMT(LET) | STMT(ASSIGN) | STMT(FOR) | STMT(IF) | STMT(ASSERT))
#define PHASE_PARTS                                                                                \
    (CODE | STMT(SETTING) | STMT(STEP) | STMT(EVAL) | STMT(OPTIMIZE) | STMT(FREEZE) | STMT(LOAD) | \
     STMT(MODEL) | STMT(SPLIT))

typedef struct PlaceRow {
    const char *text; // with its preposition
    uint64_t allowed;
} PlaceRow;

static const PlaceRow places[PLACE_COUNT] = {
    [PLACE_FILE] = {"at the top of a file", DECLARATIONS | STMT(LET) | STMT(ASSERT)},
    [PLACE_REPL] = {"at the prompt", DECLARATIONS | CODE | STMT(UPDATE) | STMT(EXPR)},
    [PLACE_FN] = {"in a `fn`", CODE | STMT(RETURN)},
    [PLACE_NET] = {"in a `net`",
                   CODE | STMT(RETURN) | STMT(UPDATE) | STMT(TAP) | STMT(SPLIT) | STMT(MODEL)},
    [PLACE_OPTIMIZER] = {"in an `optimizer`", CODE | STMT(UPDATE)},
    [PLACE_DATA] = {"in a `data` block", STMT(SETTING)},
    [PLACE_TRAIN] = {"in a `train` block", PHASE_PARTS | STMT(PHASE)},
    [PLACE_PHASE] = {"in a `phase`", PHASE_PARTS},
    [PLACE_STEP] = {"in a `step`",
                    CODE | STMT(UPDATE) | STMT(WHEN) | STMT(MINIMIZE) | STMT(REPORT)},
    [PLACE_EVAL] = {"in an `eval`", CODE | STMT(UPDATE) | STMT(REPORT) | STMT(FINISH)},
    [PLACE_FINISH] = {"in a `finish`", CODE | STMT(REPORT)},
    [PLACE_GROUP] = {"in an `optimize` block", STMT(SETTING)},
    [PLACE_DEPLOY] = {"in a `deploy`", CODE | STMT(RETURN) | STMT(EXIT)},
};

static bool allows(AstPlace place, AstStmtKind kind) {
    return places[place].allowed >> kind & 1;
}

// ---- words ----

static const char *const statement_words[] = {
    "use",    "param",    "option", "fn",       "net",    "optimizer", "model",
    "split",  "data",     "train",  "deploy",   "phase",  "step",      "eval",
    "finish", "optimize", "freeze", "load",     "let",    "tap",       "return",
    "for",    "if",       "when",   "minimize", "report", "exit",      "assert",
};

const char *ast_nearest_statement_word(const char *word) {
    return nearest_name(word, statement_words, sizeof statement_words / sizeof *statement_words);
}

const char *ast_foreign_word_help(const char *word) {
    static const struct {
        const char *word, *help;
    } table[] = {
        {"def", "a function is written `fn f(x) = …` or `fn f(x) { … return y }`"},
        {"func", "a function is written `fn f(x) = …` or `fn f(x) { … return y }`"},
        {"function", "a function is written `fn f(x) = …` or `fn f(x) { … return y }`"},
        {"lambda", "a function is written `fn f(x) = …`"},
        {"class", "what owns parameters is a `net`: `net block(x, channels) { … }`"},
        {"import", "a module is read by `use std.nets` or `use \"mine.kd\"`"},
        {"include", "a module is read by `use std.nets` or `use \"mine.kd\"`"},
        {"require", "a module is read by `use std.nets` or `use \"mine.kd\"`"},
        {"var", "a name is made by `let x = …` and gets a new value by `x = …`"},
        {"const", "a name is made by `let x = …`"},
        {"val", "a name is made by `let x = …`"},
        {"auto", "a name is made by `let x = …`"},
        {"int", "a name is made by `let x = …`"},
        {"float", "a name is made by `let x = …`"},
        {"double", "a name is made by `let x = …`"},
        {"while", "a loop is `for i in 0..n { … }`; its bounds are known when compiling"},
        {"loop", "a loop is `for i in 0..n { … }`; its bounds are known when compiling"},
        {"break", "a loop runs over its whole list; choose the list, or use `if`"},
        {"continue", "a loop runs over its whole list; choose the list, or use `if`"},
        {"switch", "write `if a { … } else if b { … } else { … }`"},
        {"match", "write `if a { … } else if b { … } else { … }`"},
        {"print", "a step says something by `report name = …`"},
        {"println", "a step says something by `report name = …`"},
        {"printf", "a step says something by `report name = …`"},
        {"yield", "a result is given by `return`"},
        {"raise", "a condition is checked by `assert condition, \"text\"`"},
        {"throw", "a condition is checked by `assert condition, \"text\"`"},
        {"pass", "an empty block is `{ }`"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strcmp(table[i].word, word) == 0)
            return table[i].help;
    return NULL;
}

// ---- messages ----

/// "in a `step`, in an `eval` or in a `finish`": where a kind of statement may stand. "" if that is
/// almost everywhere.
static const char *home_text(Arena *arena, AstStmtKind kind) {
    enum { SHOWN_MAX = 4 };
    const char *home[PLACE_COUNT];
    size_t count = 0;
    for (int place = 0; place < PLACE_COUNT; place++)
        if (place != PLACE_REPL && allows((AstPlace)place, kind))
            home[count++] = places[place].text;
    StrBuf text = {.arena = arena};
    for (size_t i = 0; i < count && count <= SHOWN_MAX; i++) {
        strbuf_puts(&text, i == 0 ? "" : i + 1 == count ? " or " : ", ");
        strbuf_puts(&text, home[i]);
    }
    return strbuf_text(&text);
}

static void misplaced(AstStmt *stmt, AstPlace place, DiagSink *diags) {
    Diag *d = diag_error(diags, stmt->word_span, "%s cannot stand %s", stmt_kind_text(stmt->kind),
                         places[place].text);
    const char *home = home_text(diags->arena, stmt->kind);
    if (home[0] != '\0')
        diag_help(d, "it belongs %s", home);
    stmt->kind = STMT_ERROR;
}

/// Tuples in a setting are explained with it, not as lists.
static void silence(AstArg *values, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (values[i].value && values[i].value->kind == EXPR_TUPLE)
            values[i].value->kind = EXPR_ERROR;
}

/// `f(x)`: the word and a value in parentheses without space between them.
static bool is_called(const AstStmt *stmt) {
    if (stmt->setting.count == 0 || !stmt->setting.values[0].value)
        return false;
    const AstExpr *value = stmt->setting.values[0].value;
    return stmt->setting.values[0].span.begin == stmt->setting.word.span.end &&
           (value->parenthesised || value->kind == EXPR_TUPLE);
}

/// A setting where there are none, or with a block, which none has.
static void no_such_statement(AstStmt *stmt, AstPlace place, DiagSink *diags) {
    const AstName *word = &stmt->setting.word;
    const char *foreign = ast_foreign_word_help(word->text);
    const char *near = ast_nearest_statement_word(word->text);
    if (foreign) {
        Diag *d = diag_error(diags, word->span, "there is no `%s` in kd", word->text);
        diag_help(d, "%s", foreign);
    } else if (near) {
        Diag *d = diag_error(diags, word->span, "there is no statement `%s`", word->text);
        diag_fixit(d, word->span, near);
    } else if (!stmt->setting.body && (stmt->setting.count == 0 || is_called(stmt))) {
        Diag *d = diag_error(diags, stmt->span, "a value alone does nothing");
        if (allows(place, STMT_SETTING))
            diag_help(d, "a setting is written `word values`, with a space");
        else
            diag_help(d, "give it a name: `let y = …`");
    } else if (stmt->setting.body || allows(place, STMT_SETTING)) {
        diag_error(diags, word->span, "there is no statement `%s`", word->text);
    } else {
        Diag *d = diag_error(diags, word->span, "there is no statement `%s`", word->text);
        diag_help(d, "settings (`word values`) belong %s", home_text(diags->arena, STMT_SETTING));
    }
    silence(stmt->setting.values, stmt->setting.count);
    stmt->kind = STMT_ERROR;
}

// ---- the walk ----

/// `none` is a value and cannot be made to mean something else.
static void check_name(AstName name, DiagSink *diags) {
    if (name.text && strcmp(name.text, "none") == 0)
        diag_error(diags, name.span, "`none` is a value and cannot be a name");
}

static void check_params(const AstParam *params, size_t count, DiagSink *diags) {
    for (size_t i = 0; i < count; i++)
        check_name(params[i].name, diags);
}

/// The fields of a batch come from the data set.
static void check_fields(const AstStmt *stmt, const AstParam *params, size_t count,
                         DiagSink *diags) {
    check_params(params, count, diags);
    for (size_t i = 0; i < count; i++)
        if (params[i].default_value)
            diag_error(diags, params[i].default_value->span,
                       "what %s takes comes from the data and has no default",
                       stmt_kind_text(stmt->kind));
}

static void check_names(const AstStmt *stmt, DiagSink *diags) {
    switch (stmt->kind) {
    case STMT_LET:
        for (size_t i = 0; i < stmt->let.count; i++)
            check_name(stmt->let.names[i], diags);
        break;
    case STMT_FOR:
        for (size_t i = 0; i < stmt->loop.count; i++)
            check_name(stmt->loop.names[i], diags);
        break;
    case STMT_PARAM:
    case STMT_OPTION:
        check_name(stmt->define.name, diags);
        break;
    case STMT_FN:
    case STMT_NET:
    case STMT_OPTIMIZER:
        check_name(stmt->function.name, diags);
        check_params(stmt->function.params, stmt->function.param_count, diags);
        break;
    case STMT_MODEL:
        check_name(stmt->model.name, diags);
        break;
    case STMT_DATA:
        check_name(stmt->data.name, diags);
        break;
    case STMT_TRAIN:
        check_name(stmt->train.name, diags);
        break;
    case STMT_PHASE:
        check_name(stmt->phase.name, diags);
        break;
    case STMT_DEPLOY:
        check_name(stmt->deploy.name, diags);
        check_fields(stmt, stmt->deploy.params, stmt->deploy.param_count, diags);
        break;
    case STMT_STEP:
    case STMT_EVAL:
        check_fields(stmt, stmt->step.params, stmt->step.param_count, diags);
        break;
    case STMT_ASSIGN:
    case STMT_UPDATE:
        if (stmt->assign.target->kind == EXPR_NONE)
            diag_error(diags, stmt->assign.target->span, "`none` is a value and cannot be a name");
        break;
    case STMT_ERROR:
    case STMT_USE:
    case STMT_SPLIT:
    case STMT_FINISH:
    case STMT_OPTIMIZE:
    case STMT_FREEZE:
    case STMT_LOAD:
    case STMT_SETTING:
    case STMT_TAP:
    case STMT_RETURN:
    case STMT_IF:
    case STMT_WHEN:
    case STMT_MINIMIZE:
    case STMT_REPORT:
    case STMT_EXIT:
    case STMT_ASSERT:
    case STMT_EXPR:
        break;
    }
}

static void check_block(AstBlock *block, AstPlace place, DiagSink *diags) {
    if (block)
        ast_check_placement(block, place, diags);
}

static void check_inside(AstStmt *stmt, AstPlace place, DiagSink *diags) {
    switch (stmt->kind) {
    case STMT_FN:
        check_block(stmt->function.body, PLACE_FN, diags);
        break;
    case STMT_NET:
        check_block(stmt->function.body, PLACE_NET, diags);
        break;
    case STMT_OPTIMIZER:
        check_block(stmt->function.body, PLACE_OPTIMIZER, diags);
        break;
    case STMT_DATA:
        check_block(stmt->data.body, PLACE_DATA, diags);
        break;
    case STMT_TRAIN:
        check_block(stmt->train.body, PLACE_TRAIN, diags);
        break;
    case STMT_DEPLOY:
        check_block(stmt->deploy.body, PLACE_DEPLOY, diags);
        break;
    case STMT_PHASE:
        check_block(stmt->phase.body, PLACE_PHASE, diags);
        break;
    case STMT_STEP:
        check_block(stmt->step.body, PLACE_STEP, diags);
        break;
    case STMT_EVAL:
        check_block(stmt->step.body, PLACE_EVAL, diags);
        break;
    case STMT_FINISH:
        check_block(stmt->block, PLACE_FINISH, diags);
        break;
    case STMT_OPTIMIZE:
        check_block(stmt->optimize.body, PLACE_GROUP, diags);
        break;
    case STMT_FOR:
        check_block(&stmt->loop.body, place, diags);
        break;
    case STMT_IF:
    case STMT_WHEN:
        for (size_t i = 0; i < stmt->branch.count; i++)
            check_block(&stmt->branch.branches[i].body, place, diags);
        break;
    case STMT_ERROR:
    case STMT_USE:
    case STMT_PARAM:
    case STMT_OPTION:
    case STMT_MODEL:
    case STMT_SPLIT:
    case STMT_FREEZE:
    case STMT_LOAD:
    case STMT_SETTING:
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
}

void ast_check_placement(AstBlock *block, AstPlace place, DiagSink *diags) {
    for (size_t i = 0; i < block->count; i++) {
        AstStmt *stmt = block->stmts[i];
        if (stmt->kind == STMT_ERROR)
            continue;
        if (diags->error_count >= ERRORS_MAX) { // nobody reads on; messages cost memory
            stmt->kind = STMT_ERROR;
            continue;
        }
        bool misread = stmt->kind == STMT_SETTING && (stmt->setting.body || is_called(stmt));
        if (stmt->kind == STMT_SETTING && (misread || !allows(place, STMT_SETTING)))
            no_such_statement(stmt, place, diags);
        else if (!allows(place, stmt->kind))
            misplaced(stmt, place, diags);
        check_names(stmt, diags);
        check_inside(stmt, place, diags);
    }
}
