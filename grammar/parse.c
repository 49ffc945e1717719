// grammar/parse.c -- the front door: from a source text to a tree with its documentation.
#include <string.h>

#include "grammar/parse.h"
#include "kd.tab.h"

// ---- bytes ----

/// Bytes of the UTF-8 character at `text`, or 0 if it is none (RFC 3629: no overlong forms, no
/// surrogates, nothing beyond U+10FFFF).
static size_t utf8_length(const unsigned char *text, size_t left) {
    unsigned char a = text[0];
    if (a < 0x80)
        return 1;
    size_t length = a >= 0xC2 && a < 0xE0   ? 2
                    : a >= 0xE0 && a < 0xF0 ? 3
                    : a >= 0xF0 && a < 0xF5 ? 4
                                            : 0;
    if (length == 0 || left < length)
        return 0;
    unsigned char least = a == 0xE0 ? 0xA0 : a == 0xF0 ? 0x90 : 0x80;
    unsigned char most = a == 0xED ? 0x9F : a == 0xF4 ? 0x8F : 0xBF;
    if (text[1] < least || text[1] > most)
        return 0;
    for (size_t i = 2; i < length; i++)
        if ((text[i] & 0xC0) != 0x80)
            return 0;
    return length;
}

/// Reports the first NUL byte and the first byte that is not UTF-8. True if there is a NUL byte.
static bool check_bytes(KdParse *parse) {
    const unsigned char *text = (const unsigned char *)parse->source->text;
    size_t length = parse->source->length;
    bool nul_seen = false, broken_seen = false;
    for (size_t i = 0; i < length;) {
        size_t step = utf8_length(text + i, length - i);
        Span span = kd_span(parse, (uint32_t)i, (uint32_t)i + 1);
        if (text[i] == 0 && !nul_seen) {
            nul_seen = true;
            kd_error(parse, span, "there is a NUL byte in the text");
        }
        if (step == 0 && !broken_seen) {
            broken_seen = true;
            Diag *d = kd_error(parse, span, "byte 0x%02x is not UTF-8", text[i]);
            diag_help(d, "save the file in the encoding UTF-8");
        }
        i += step ? step : 1;
    }
    return nul_seen;
}

/// The text as the scanner reads it: blanks for NUL bytes, which flex would take very long over.
static const char *text_without_nul(KdParse *parse) {
    size_t length = parse->source->length;
    char *text = arena_strndup(parse->arena, parse->source->text, length);
    for (size_t i = 0; i < length; i++)
        if (text[i] == '\0')
            text[i] = ' ';
    return text;
}

// ---- documentation ----

/// Line ends between two places.
static size_t lines_between(const Source *source, uint32_t begin, uint32_t end) {
    size_t count = 0;
    for (const char *at = source->text + begin; (at = memchr(at, '\n', source->text + end - at));
         at++)
        count++;
    return count;
}

/// The text of comments `first` to `last`, each without its signs and one space.
static const char *doc_text(Arena *arena, const AstFile *file, size_t first, size_t last) {
    StrBuf text = {.arena = arena};
    for (size_t i = first; i <= last; i++) {
        Span span = file->comments[i].span;
        const char *line = file->source->text + span.begin;
        size_t length = span.end - span.begin;
        size_t skip = 0;
        while (skip < length && line[skip] == '#')
            skip++;
        if (skip < length && line[skip] == ' ')
            skip++;
        if (i > first)
            strbuf_putc(&text, '\n');
        for (size_t k = skip; k < length; k++)
            if (line[k] != '\0')
                strbuf_putc(&text, line[k]);
    }
    return arena_strdup(arena, strbuf_text(&text));
}

typedef struct DocWalk {
    Arena *arena;
    AstFile *file;
    size_t next; // comments before it are done with
} DocWalk;

static bool is_doc_line(const AstComment *comment) {
    return comment->is_doc && comment->own_line;
}

/// The last run of `##` lines among the comments before `place`, as a text.
static const char *doc_before(DocWalk *walk, uint32_t place) {
    const AstFile *file = walk->file;
    const char *doc = NULL;
    while (walk->next < file->comment_count && file->comments[walk->next].span.begin < place) {
        size_t first = walk->next++;
        if (!is_doc_line(&file->comments[first]))
            continue;
        size_t last = first;
        while (walk->next < file->comment_count && is_doc_line(&file->comments[walk->next]) &&
               file->comments[walk->next].span.begin < place &&
               lines_between(file->source, file->comments[last].span.end,
                             file->comments[walk->next].span.begin) == 1)
            last = walk->next++;
        doc = doc_text(walk->arena, file, first, last);
    }
    return doc;
}

static void document_block(DocWalk *walk, AstBlock *block);

static void document_stmt(DocWalk *walk, AstStmt *stmt) {
    stmt->doc = doc_before(walk, stmt->span.begin);
    switch (stmt->kind) {
    case STMT_FN:
    case STMT_NET:
    case STMT_OPTIMIZER:
        document_block(walk, stmt->function.body);
        break;
    case STMT_DATA:
        document_block(walk, stmt->data.body);
        break;
    case STMT_TRAIN:
        document_block(walk, stmt->train.body);
        break;
    case STMT_DEPLOY:
        document_block(walk, stmt->deploy.body);
        break;
    case STMT_PHASE:
        document_block(walk, stmt->phase.body);
        break;
    case STMT_STEP:
    case STMT_EVAL:
        document_block(walk, stmt->step.body);
        break;
    case STMT_FINISH:
        document_block(walk, stmt->block);
        break;
    case STMT_OPTIMIZE:
        document_block(walk, stmt->optimize.body);
        break;
    case STMT_SETTING:
        document_block(walk, stmt->setting.body);
        break;
    case STMT_FOR:
        document_block(walk, &stmt->loop.body);
        break;
    case STMT_IF:
    case STMT_WHEN:
        for (size_t i = 0; i < stmt->branch.count; i++)
            document_block(walk, &stmt->branch.branches[i].body);
        break;
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
    // Comments within the statement, or behind a block's last one, document nothing.
    doc_before(walk, stmt->span.end);
}

static void document_block(DocWalk *walk, AstBlock *block) {
    if (block)
        doc_before(walk, block->span.begin);
    for (size_t i = 0; block && i < block->count; i++)
        document_stmt(walk, block->stmts[i]);
}

/// The `##` lines that the file begins with, if an empty line or nothing follows them.
static void document_file(DocWalk *walk) {
    AstFile *file = walk->file;
    size_t count = 0;
    while (count < file->comment_count && is_doc_line(&file->comments[count]) &&
           (count == 0 || lines_between(file->source, file->comments[count - 1].span.end,
                                        file->comments[count].span.begin) == 1))
        count++;
    if (count == 0)
        return;
    uint32_t end = file->comments[count - 1].span.end;
    uint32_t next = (uint32_t)file->source->length;
    if (count < file->comment_count)
        next = file->comments[count].span.begin;
    if (file->body.count > 0 && file->body.stmts[0]->span.begin < next)
        next = file->body.stmts[0]->span.begin;
    bool last = next == file->source->length;
    if (next < end || (!last && lines_between(file->source, end, next) < 2))
        return;
    file->doc = doc_text(walk->arena, file, 0, count - 1);
    walk->next = count;
}

// ---- parsing ----

static void run_parser(KdParse *parse, const char *text) {
    if (setjmp(parse->fatal) == 0) {
        kd_scan_open(parse, text, parse->source->length);
        kd_yyparse(parse);
    }
    kd_scan_close(parse);
}

/// `(a, b)` where the placement check had nothing else to say about it.
static void report_tuples(KdParse *parse) {
    for (size_t i = 0; i < parse->tuples.count; i++) {
        AstExpr *tuple = parse->tuples.at[i];
        if (tuple->kind != EXPR_TUPLE)
            continue;
        tuple->kind = EXPR_ERROR;
        if (tuple->parenthesised) {
            Diag *d = diag_error(parse->diags, tuple->span, "`=` cannot stand in an expression");
            diag_help(d, "a comparison is written `==`");
            continue;
        }
        Diag *d = diag_error(parse->diags, tuple->span, "parentheses hold one expression");
        diag_help(d, "a list is written in brackets: `[a, b]`");
    }
}

static AstFile *finish(KdParse *parse, AstPlace place) {
    AstFile *file = arena_new(parse->arena, AstFile);
    file->source = parse->source;
    if (parse->result) {
        file->body.stmts = parse->result->at;
        file->body.count = parse->result->count;
    }
    file->body.span = kd_span(parse, 0, (uint32_t)parse->source->length);
    file->comments = parse->comments.at;
    file->comment_count = parse->comments.count;
    if (parse->incomplete)
        return file;
    size_t errors_before = parse->diags->error_count;
    if (!parse->unbalanced)
        ast_check_placement(&file->body, place, parse->diags);
    report_tuples(parse);
    parse->misplaced = parse->diags->error_count > errors_before;
    DocWalk walk = {parse->arena, file, 0};
    document_file(&walk);
    document_block(&walk, &file->body);
    return file;
}

/// Too large for a tree; nothing of it is read.
static bool refuse_size(KdParse *parse) {
    if (parse->source->length <= AST_SOURCE_MAX)
        return false;
    kd_error(parse, kd_span(parse, 0, 0), "this file is larger than %d MiB", AST_SOURCE_MAX >> 20);
    parse->unbalanced = true;
    return true;
}

static KdParse parse_of(Arena *arena, const Source *source, DiagSink *diags) {
    return (KdParse){
        .arena = arena,
        .source = source,
        .diags = diags,
        .line_is_blank = true,
        .line_begins = true,
    };
}

static AstFile *read(KdParse *parse, AstPlace place) {
    if (!refuse_size(parse)) {
        bool has_nul = check_bytes(parse);
        run_parser(parse, has_nul ? text_without_nul(parse) : parse->source->text);
    }
    return finish(parse, place);
}

AstFile *kd_parse(Arena *arena, const SourceSet *sources, const Source *source, DiagSink *diags) {
    (void)sources; // spans hold the source's number
    KdParse parse = parse_of(arena, source, diags);
    parse.start = TOK_START_FILE;
    return read(&parse, PLACE_FILE);
}

KdInput kd_parse_input(Arena *arena, const SourceSet *sources, const Source *source, bool at_end,
                       DiagSink *diags) {
    (void)sources;
    KdParse parse = parse_of(arena, source, diags);
    parse.start = TOK_START_INPUT;
    parse.may_go_on = !at_end;
    KdInput input = {.state = KD_INPUT_COMPLETE};
    input.file = read(&parse, PLACE_REPL);
    if (parse.incomplete)
        input.state = KD_INPUT_INCOMPLETE;
    else if (parse.error_count > 0 || parse.misplaced)
        input.state = KD_INPUT_WRONG;
    return input;
}
