// codegen/loops_read.c -- the text of loop kernels (loops_text.h) back to kernels.
//
// Recursive descent over tokens; `#` begins a comment to the end of the line. Expressions are built
// as they stand, without simplification. The first mistake ends the reading: its line and a
// sentence.
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/loops_text.h"
#include "support/diag.h"

enum { MAX_DEPTH = 200 };

typedef enum NameKind { NAME_BUFFER, NAME_VAR, NAME_LET, NAME_LOCAL } NameKind;

typedef struct Name {
    NameKind kind;
    uint32_t index;
} Name;

typedef struct Reader {
    Arena *arena;
    const char *at, *end;
    int line;
    int depth;
    LoopKernel *kernel;
    Map names;
    char token[64]; // "" at the end of the text
    size_t token_length;
    bool is_word, is_number;
    const char *message;
    jmp_buf failed;
} Reader;

static _Noreturn void fail(Reader *r, const char *message) {
    r->message = message;
    longjmp(r->failed, 1);
}

// ---- tokens
// ----------------------------------------------------------------------------------------

static void skip_blanks(Reader *r) {
    for (; r->at < r->end; r->at++) {
        if (*r->at == '#') {
            while (r->at + 1 < r->end && r->at[1] != '\n')
                r->at++;
        } else if (*r->at == '\n') {
            r->line++;
        } else if (*r->at != ' ' && *r->at != '\t' && *r->at != '\r') {
            return;
        }
    }
}

/// A number ends where neither digits, letters nor a point go on; the sign of an exponent belongs
/// to it, the second point of `0..4` does not.
static const char *number_end(const Reader *r) {
    const char *c = r->at;
    while (c < r->end) {
        bool sign = (*c == '+' || *c == '-') && c > r->at && c[-1] == 'e';
        bool point = *c == '.' && (c + 1 >= r->end || c[1] != '.');
        if (!isalnum((unsigned char)*c) && !sign && !point)
            break;
        c++;
    }
    return c;
}

static const char *word_end(const Reader *r) {
    const char *c = r->at + 1;
    while (c < r->end && (isalnum((unsigned char)*c) || *c == '_' || *c == '.'))
        c++;
    return c;
}

static void next(Reader *r) {
    static const char *const doubles[] = {"==", "!=", "<=", ".."};
    skip_blanks(r);
    const char *begin = r->at, *stop = begin;
    r->is_word = r->is_number = false;
    if (begin < r->end) {
        stop = begin + 1;
        r->is_number = isdigit((unsigned char)*begin);
        r->is_word = isalpha((unsigned char)*begin) || *begin == '_' || *begin == '$';
        if (r->is_number)
            stop = number_end(r);
        else if (r->is_word)
            stop = word_end(r);
        for (size_t i = 0; i < 4 && begin + 1 < r->end; i++) {
            if (!strncmp(begin, doubles[i], 2))
                stop = begin + 2;
        }
    }
    r->token_length = (size_t)(stop - begin);
    if (r->token_length >= sizeof r->token)
        fail(r, "a token of more than 63 characters");
    memcpy(r->token, begin, r->token_length);
    r->token[r->token_length] = 0;
    r->at = stop;
}

static bool is(const Reader *r, const char *token) {
    return !strcmp(r->token, token);
}

static bool accept(Reader *r, const char *token) {
    if (!is(r, token))
        return false;
    next(r);
    return true;
}

static void expect(Reader *r, const char *token) {
    if (!accept(r, token))
        fail(r, arena_printf(r->arena, "expected `%s` before `%s`", token, r->token));
}

static int64_t read_integer(Reader *r) {
    char *stop;
    errno = 0;
    int64_t value = strtoll(r->token, &stop, 10);
    if (!r->is_number || *stop || errno)
        fail(r, arena_printf(r->arena, "expected an integer instead of `%s`", r->token));
    next(r);
    return value;
}

static const char *new_name(Reader *r, NameKind kind, size_t index) {
    if (!r->is_word || *r->token == '$' || loop_word_is_reserved(r->token))
        fail(r, arena_printf(r->arena, "expected a name instead of `%s`", r->token));
    if (map_has(&r->names, r->token))
        fail(r, arena_printf(r->arena, "`%s` is there already", r->token));
    Name *name = arena_new(r->arena, Name);
    *name = (Name){kind, (uint32_t)index};
    map_set(&r->names, r->token, name);
    const char *text = arena_strdup(r->arena, r->token);
    next(r);
    return text;
}

static bool type_from_name(const char *word, ScalarType *type) {
    for (int t = S_BOOL; t <= S_F64; t++) {
        if (!strcmp(word, scalar_type_name((ScalarType)t))) {
            *type = (ScalarType)t;
            return true;
        }
    }
    return false;
}

static ScalarType read_type(Reader *r) {
    ScalarType type;
    if (!type_from_name(r->token, &type))
        fail(r, arena_printf(r->arena, "expected a type instead of `%s`", r->token));
    next(r);
    return type;
}

// ---- expressions
// -----------------------------------------------------------------------------------

static LoopExpr *read_expr(Reader *r, int precedence);

static LoopExpr *expr_new(Reader *r, ExprKind kind, ScalarType type, size_t index) {
    LoopExpr *expr = arena_new(r->arena, LoopExpr);
    expr->kind = kind;
    expr->type = type;
    expr->index = (uint32_t)index;
    return expr;
}

static void want_type(Reader *r, const LoopExpr *expr, ScalarType type) {
    if (expr->type != type)
        fail(r, arena_printf(r->arena, "expected a value of type %s, not %s",
                             scalar_type_name(type), scalar_type_name(expr->type)));
}

/// Expressions up to `close`, separated by commas; the opening bracket is read.
static uint32_t read_list(Reader *r, const char *close, LoopExpr ***list) {
    Vec(LoopExpr *) found = {0};
    while (!accept(r, close)) {
        if (found.count)
            expect(r, ",");
        vec_push(r->arena, &found, read_expr(r, 0));
    }
    *list = found.at;
    return (uint32_t)found.count;
}

static LoopExpr *read_const(Reader *r, bool minus) {
    char digits[sizeof r->token + 1], *stop;
    const char *text = r->token;
    snprintf(digits, sizeof digits, "%s%s", minus ? "-" : "", text);
    bool word = !strncmp(text, "inf", 3) || !strncmp(text, "nan", 3);
    if (word || strpbrk(text, ".e")) {
        bool single = word ? text[3] == 'f' : text[r->token_length - 1] == 'f';
        if (single)
            digits[strlen(digits) - 1] = 0;
        LoopExpr *expr = expr_new(r, E_CONST, single ? S_F32 : S_F64, 0);
        expr->real = single ? (double)strtof(digits, &stop) : strtod(digits, &stop);
        if (*stop)
            fail(r, arena_printf(r->arena, "`%s` is no number", text));
        next(r);
        return expr;
    }
    errno = 0;
    int64_t value = strtoll(digits, &stop, 10);
    ScalarType type = *stop == 'i' ? S_I32 : *stop == 'u' ? S_U8 : S_INDEX;
    bool small = type == S_INDEX || (type == S_U8 ? value >= 0 && value <= 255
                                                  : value >= INT32_MIN && value <= INT32_MAX);
    if (errno || !small || strlen(stop) != (type != S_INDEX))
        fail(r, arena_printf(r->arena, "`%s` is no number", text));
    LoopExpr *expr = expr_new(r, E_CONST, type, 0);
    expr->integer = value;
    next(r);
    return expr;
}

static LoopExpr *apply(Reader *r, ScalarOp op, ScalarType type, LoopExpr **operand,
                       uint32_t arity) {
    ScalarType types[3] = {S_BOOL, S_BOOL, S_BOOL};
    if (arity != scalar_info[op].arity)
        fail(r, arena_printf(r->arena, "%s takes %u operands", scalar_info[op].name,
                             scalar_info[op].arity));
    for (uint32_t i = 0; i < arity; i++)
        types[i] = operand[i]->type;
    if (!scalar_result(op, types, arity, &type))
        fail(r, arena_printf(r->arena, "%s does not take these types", scalar_info[op].name));
    LoopExpr *expr = expr_new(r, E_APPLY, type, 0);
    expr->op = op;
    expr->arity = arity;
    expr->operand = operand;
    return expr;
}

/// op(...) or type(...); NULL if the word is neither.
static LoopExpr *read_application(Reader *r) {
    ScalarType type = S_BOOL;
    ScalarOp op = X_cast;
    if (!type_from_name(r->token, &type)) {
        for (op = (ScalarOp)0; op < X_COUNT && !is(r, scalar_info[op].name); op++)
            continue;
        if (op == X_COUNT || op == X_cast)
            return NULL;
    }
    LoopExpr **operand;
    next(r);
    expect(r, "(");
    uint32_t arity = read_list(r, ")", &operand);
    return apply(r, op, type, operand, arity);
}

/// $0 or $seed
static LoopExpr *read_field(Reader *r) {
    for (uint32_t i = 0; i < 5; i++) {
        if (accept(r, loop_field_names[i]))
            return expr_new(r, i <= FRAME_ITERATION ? E_FRAME : E_RANGE, S_INDEX, i);
    }
    char *stop;
    unsigned long extent = strtoul(r->token + 1, &stop, 10);
    if (!isdigit((unsigned char)r->token[1]) || *stop || extent >= r->kernel->extent_count)
        fail(r, arena_printf(r->arena, "there is no `%s`", r->token));
    next(r);
    return expr_new(r, E_EXTENT, S_INDEX, extent);
}

static LoopExpr *read_name(Reader *r) {
    const Name *name = map_get(&r->names, r->token);
    const LoopKernel *k = r->kernel;
    if (!name)
        fail(r, arena_printf(r->arena, "there is no `%s`", r->token));
    next(r);
    LoopExpr *expr = NULL;
    switch (name->kind) {
    case NAME_VAR:
        return expr_new(r, E_VAR, S_INDEX, name->index);
    case NAME_LET:
        return expr_new(r, E_LET, k->lets.at[name->index].type, name->index);
    case NAME_BUFFER:
        expr = expr_new(r, E_LOAD, k->buffers.at[name->index].type, name->index);
        expect(r, "[");
        expr->arity = read_list(r, "]", &expr->operand);
        if (expr->arity != 1)
            fail(r, "a buffer has one index");
        want_type(r, expr->operand[0], S_INDEX);
        return expr;
    case NAME_LOCAL:
        expr = expr_new(r, E_LOCAL, k->locals.at[name->index].type, name->index);
        if (accept(r, "["))
            expr->arity = read_list(r, "]", &expr->operand);
        if (expr->arity != k->locals.at[name->index].rank)
            fail(r, "another number of subscripts than the local has axes");
        for (uint32_t i = 0; i < expr->arity; i++)
            want_type(r, expr->operand[i], S_INDEX);
        return expr;
    }
    return expr;
}

static LoopExpr *read_primary(Reader *r) {
    if (accept(r, "(")) {
        LoopExpr *expr = read_expr(r, 0);
        expect(r, ")");
        return expr;
    }
    bool minus = accept(r, "-");
    bool literal = r->is_number || is(r, "inf") || is(r, "inff") || is(r, "nan") || is(r, "nanf");
    if (minus && !literal)
        fail(r, "a minus sign before what is no number: write neg(...)");
    if (literal)
        return read_const(r, minus);
    if (is(r, "true") || is(r, "false")) {
        LoopExpr *expr = expr_new(r, E_CONST, S_BOOL, 0);
        expr->integer = is(r, "true");
        next(r);
        return expr;
    }
    if (!r->is_word)
        fail(r, arena_printf(r->arena, "expected an expression before `%s`", r->token));
    LoopExpr *expr = *r->token == '$' ? read_field(r) : read_application(r);
    return expr ? expr : read_name(r);
}

static const InfixOp *infix_here(const Reader *r) {
    for (int i = 0; i < INFIX_COUNT; i++) {
        if (is(r, infix_ops[i].text))
            return &infix_ops[i];
    }
    return NULL;
}

static LoopExpr *read_expr(Reader *r, int precedence) {
    if (++r->depth > MAX_DEPTH)
        fail(r, "nested too deep");
    LoopExpr *left = read_primary(r);
    for (;;) {
        const InfixOp *infix = infix_here(r);
        if (!infix || infix->precedence < precedence)
            break;
        next(r);
        LoopExpr **operand = arena_array(r->arena, LoopExpr *, 2);
        operand[0] = left;
        operand[1] = read_expr(r, infix->precedence + 1);
        left = apply(r, infix->op, S_BOOL, operand, 2);
    }
    r->depth--;
    return left;
}

// ---- statements
// ------------------------------------------------------------------------------------

static void read_body(Reader *r, LoopBody *body);

static LoopStmt *append(Reader *r, LoopBody *body, StmtKind kind, size_t index) {
    LoopStmt *stmt = arena_new(r->arena, LoopStmt);
    stmt->kind = kind;
    stmt->index = (uint32_t)index;
    vec_push(r->arena, body, stmt);
    return stmt;
}

static void read_for(Reader *r, LoopBody *body, LoopKind kind) {
    LoopKernel *k = r->kernel;
    LoopVar var = {.kind = kind, .step = 1};
    size_t index = k->vars.count;
    var.name = new_name(r, NAME_VAR, index);
    vec_push(r->arena, &k->vars, var);
    LoopStmt *stmt = append(r, body, T_FOR, index);
    expect(r, "=");
    stmt->loop = kind;
    stmt->begin = read_expr(r, 0);
    expect(r, "..");
    stmt->end = read_expr(r, 0);
    want_type(r, stmt->begin, S_INDEX);
    want_type(r, stmt->end, S_INDEX);
    stmt->step = accept(r, "step") ? read_integer(r) : 1;
    if (stmt->step < 1)
        fail(r, "a step below 1");
    k->vars.at[index].begin = stmt->begin;
    k->vars.at[index].end = stmt->end;
    k->vars.at[index].step = stmt->step;
    read_body(r, &stmt->body);
}

static void read_let(Reader *r, LoopBody *body) {
    LoopKernel *k = r->kernel;
    LoopLet let = {0};
    size_t index = k->lets.count;
    let.name = new_name(r, NAME_LET, index);
    vec_push(r->arena, &k->lets, let);
    expect(r, "=");
    LoopStmt *stmt = append(r, body, T_LET, index);
    stmt->value = read_expr(r, 0);
    k->lets.at[index].type = stmt->value->type;
    k->lets.at[index].value = stmt->value;
}

static void read_local(Reader *r, LoopBody *body) {
    LoopKernel *k = r->kernel;
    LoopLocal local = {0};
    local.name = new_name(r, NAME_LOCAL, k->locals.count);
    expect(r, ":");
    local.type = read_type(r);
    int64_t count = 1;
    for (bool more = accept(r, "["); more; more = !accept(r, "]")) {
        if (local.rank)
            expect(r, ",");
        if (local.rank == 4)
            fail(r, "a local with more than 4 axes");
        local.dim[local.rank] = read_integer(r);
        if (local.dim[local.rank] < 1 || local.dim[local.rank] > 4096)
            fail(r, "an extent of a local is not between 1 and 4096");
        count *= local.dim[local.rank++];
    }
    if (count > 4096)
        fail(r, "a local of more than 4096 elements");
    vec_push(r->arena, &k->locals, local);
    append(r, body, T_LOCAL, k->locals.count - 1);
}

static void read_if(Reader *r, LoopBody *body) {
    LoopStmt *stmt = append(r, body, T_IF, 0);
    stmt->value = read_expr(r, 0);
    want_type(r, stmt->value, S_BOOL);
    read_body(r, &stmt->body);
    if (accept(r, "else"))
        read_body(r, &stmt->other);
}

static void read_call(Reader *r, LoopBody *body) {
    LoopStmt *stmt = append(r, body, T_CALL, 0);
    if (!r->is_word)
        fail(r, "expected the name of an entry");
    stmt->entry = arena_strdup(r->arena, r->token);
    next(r);
    expect(r, "(");
    stmt->argument_count = read_list(r, ")", &stmt->argument);
}

/// name[...] = value, or for locals name[...] add= value
static void read_assignment(Reader *r, LoopBody *body) {
    LoopExpr *target = read_name(r);
    StmtKind kind = target->kind == E_LOAD ? T_STORE : T_SET;
    if (target->kind != E_LOAD && target->kind != E_LOCAL)
        fail(r, "only buffers and locals can be assigned to");
    ScalarOp op = X_add;
    if (is(r, "add") || is(r, "max") || is(r, "min")) {
        op = is(r, "add") ? X_add : is(r, "max") ? X_max : X_min;
        if (kind == T_STORE)
            fail(r, "only locals accumulate");
        kind = T_ACCUMULATE;
        next(r);
    }
    expect(r, "=");
    LoopStmt *stmt = append(r, body, kind, target->index);
    stmt->op = op;
    stmt->subscript = target->operand;
    stmt->subscript_count = target->arity;
    stmt->value = read_expr(r, 0);
    want_type(r, stmt->value, target->type);
}

static void read_stmt(Reader *r, LoopBody *body) {
    if (accept(r, "narrow")) {
        size_t at = body->count;
        expect(r, loop_kind_names[LOOP_VECTOR]);
        read_for(r, body, LOOP_VECTOR);
        body->at[at]->narrow = true;
        return;
    }
    for (int kind = LOOP_SERIAL; kind <= LOOP_UNROLL; kind++) {
        if (accept(r, loop_kind_names[kind])) {
            read_for(r, body, (LoopKind)kind);
            return;
        }
    }
    if (accept(r, "let"))
        read_let(r, body);
    else if (accept(r, "local"))
        read_local(r, body);
    else if (accept(r, "if"))
        read_if(r, body);
    else if (accept(r, "call"))
        read_call(r, body);
    else if (accept(r, "ask"))
        append(r, body, T_ASK, 0);
    else if (accept(r, "reload"))
        append(r, body, T_RELOAD, 0);
    else if (accept(r, "prefetch"))
        read_body(r, &append(r, body, T_PREFETCH, 0)->body);
    else if (is(r, "{"))
        read_body(r, &append(r, body, T_BLOCK, 0)->body);
    else
        read_assignment(r, body);
}

static void read_body(Reader *r, LoopBody *body) {
    expect(r, "{");
    if (++r->depth > MAX_DEPTH)
        fail(r, "nested too deep");
    while (!accept(r, "}")) {
        if (!*r->token)
            fail(r, "a `{` is not closed");
        read_stmt(r, body);
    }
    r->depth--;
}

// ---- kernels
// -----------------------------------------------------------------------------------------

/// The name of one; its index + 1.
static uint32_t read_buffer_before(Reader *r) {
    const Name *name = map_get(&r->names, r->token);
    if (!name || name->index >= r->kernel->buffers.count)
        fail(r, arena_printf(r->arena, "there is no buffer `%s` before", r->token));
    next(r);
    return name->index + 1;
}

static void read_buffer(Reader *r) {
    LoopBuffer buffer = {0};
    buffer.name = new_name(r, NAME_BUFFER, r->kernel->buffers.count);
    expect(r, ":");
    int role = BUFFER_IN;
    while (role <= BUFFER_SCRATCH && !accept(r, buffer_role_names[role]))
        role++;
    if (role > BUFFER_SCRATCH)
        fail(r, "expected in, out, inout or scratch");
    buffer.role = (BufferRole)role;
    buffer.type = read_type(r);
    expect(r, "[");
    buffer.count = read_integer(r);
    expect(r, "]");
    if (accept(r, "over"))
        buffer.in_place = read_buffer_before(r);
    if (accept(r, "beside"))
        buffer.beside = read_buffer_before(r);
    buffer.streamed = accept(r, "streamed");
    r->kernel->streams |= buffer.streamed;
    vec_push(r->arena, &r->kernel->buffers, buffer);
}

static LoopKernel *read_kernel(Reader *r) {
    expect(r, "kernel");
    if (!r->is_word)
        fail(r, "expected the name of the kernel");
    r->kernel = loop_kernel_new(r->arena, r->token);
    map_init(&r->names, r->arena);
    next(r);
    expect(r, "(");
    while (!accept(r, ")")) {
        if (r->kernel->buffers.count)
            expect(r, ",");
        read_buffer(r);
    }
    if (accept(r, "extents"))
        r->kernel->extent_count = (uint32_t)read_integer(r);
    read_body(r, &r->kernel->body);
    const char *wrong = loop_kernel_verify(r->kernel, r->arena);
    if (wrong)
        fail(r, wrong);
    return r->kernel;
}

LoopProgram *loop_program_read(Arena *arena, const char *text, size_t length, int *line,
                               const char **message) {
    Reader reader = {.arena = arena, .at = text, .end = text + length, .line = 1};
    LoopProgram *program = loop_program_new(arena);
    *message = NULL;
    if (setjmp(reader.failed)) {
        *line = reader.line;
        *message = reader.message;
        return NULL;
    }
    next(&reader);
    while (*reader.token)
        loop_program_add(program, read_kernel(&reader));
    return program;
}

LoopKernel *loop_kernel_read(Arena *arena, const char *text, size_t length, int *line,
                             const char **message) {
    LoopProgram *program = loop_program_read(arena, text, length, line, message);
    if (program && program->kernels.count)
        return program->kernels.at[0];
    if (program) {
        *line = 1;
        *message = "there is no kernel in the text";
    }
    return NULL;
}
