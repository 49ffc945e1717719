// codegen/loops_text.c -- the loop IR as text, and the identity of kernels, which is their text
// with numbers for names. loops_read.c reads it back.
#include "codegen/loops_text.h"

#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "support/diag.h"

const InfixOp infix_ops[INFIX_COUNT] = {
    {"or", X_or, 1}, {"and", X_and, 2}, {"==", X_eq, 3}, {"!=", X_ne, 3}, {"<=", X_le, 3},
    {"<", X_lt, 3},  {"+", X_add, 4},   {"-", X_sub, 4}, {"*", X_mul, 5}, {"/", X_div, 5},
};
const char *const loop_kind_names[4] = {"for", "parallel", "vector", "unroll"};
const char *const buffer_role_names[4] = {"in", "out", "inout", "scratch"};
const char *const loop_field_names[5] = {"$seed", "$iteration", "$lo", "$hi", "$thread"};

bool loop_word_is_reserved(const char *word) {
    static const char *const words[] = {"kernel", "let",  "local",   "if",   "else",
                                        "call",   "step", "extents", "over", "beside", "streamed",
                                        "true", "false",  "inf",  "inff",    "nan",  "nanf"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (!strcmp(word, words[i]))
            return true;
    }
    for (size_t i = 0; i < 4; i++) {
        if (!strcmp(word, loop_kind_names[i]) || !strcmp(word, buffer_role_names[i]))
            return true;
    }
    for (int op = 0; op < X_COUNT; op++) {
        if (!strcmp(word, scalar_info[op].name))
            return true;
    }
    for (int type = S_BOOL; type <= S_F64; type++) {
        if (!strcmp(word, scalar_type_name((ScalarType)type)))
            return true;
    }
    return false;
}

typedef struct Printer {
    StrBuf *out;
    const LoopKernel *kernel;
    bool identity; // numbers for names
    const char **var, **let, **local, **buffer;
} Printer;

// ---- names
// -----------------------------------------------------------------------------------------

static const char *clean_name(Arena *arena, const char *name) {
    char *clean = arena_strdup(arena, *name ? name : "_");
    for (char *c = clean; *c; c++) {
        if (!isalnum((unsigned char)*c) && *c != '_' && (*c != '.' || c == clean))
            *c = '_';
    }
    return isdigit((unsigned char)*clean) ? arena_printf(arena, "_%s", clean) : clean;
}

/// The name itself the first time, then name.1, name.2, ...
static const char *unique_name(Arena *arena, Map *used, const char *name) {
    const char *stem = clean_name(arena, name), *unique = stem;
    for (int n = 1; map_has(used, unique) || loop_word_is_reserved(unique); n++)
        unique = arena_printf(arena, "%s.%d", stem, n);
    map_set(used, unique, used);
    return unique;
}

static void choose_names(Printer *p) {
    const LoopKernel *k = p->kernel;
    Arena *arena = k->arena;
    Map used;
    map_init(&used, arena);
    p->buffer = arena_array(arena, const char *, k->buffers.count + 1);
    p->var = arena_array(arena, const char *, k->vars.count + 1);
    p->let = arena_array(arena, const char *, k->lets.count + 1);
    p->local = arena_array(arena, const char *, k->locals.count + 1);
    for (size_t i = 0; i < k->buffers.count; i++)
        p->buffer[i] = p->identity ? arena_printf(arena, "b%zu", i)
                                   : unique_name(arena, &used, k->buffers.at[i].name);
    for (size_t i = 0; i < k->vars.count; i++)
        p->var[i] = p->identity ? arena_printf(arena, "v%zu", i)
                                : unique_name(arena, &used, k->vars.at[i].name);
    for (size_t i = 0; i < k->lets.count; i++)
        p->let[i] = p->identity ? arena_printf(arena, "t%zu", i)
                                : unique_name(arena, &used, k->lets.at[i].name);
    for (size_t i = 0; i < k->locals.count; i++)
        p->local[i] = p->identity ? arena_printf(arena, "l%zu", i)
                                  : unique_name(arena, &used, k->locals.at[i].name);
}

// ---- expressions
// -----------------------------------------------------------------------------------

static void print_real(StrBuf *out, double value, ScalarType type) {
    const char *suffix = type == S_F32 ? "f" : "";
    if (isnan(value)) {
        strbuf_printf(out, "nan%s", suffix);
    } else if (isinf(value)) {
        strbuf_printf(out, "%sinf%s", value < 0 ? "-" : "", suffix);
    } else {
        size_t begin = out->length;
        strbuf_printf(out, type == S_F32 ? "%.9g" : "%.17g", value);
        bool has_point = strpbrk(out->text + begin, ".e") != NULL;
        strbuf_printf(out, "%s%s", has_point ? "" : ".0", suffix);
    }
}

static void print_const(StrBuf *out, const LoopExpr *expr) {
    switch (expr->type) {
    case S_F32:
    case S_F64:
        print_real(out, expr->real, expr->type);
        break;
    case S_BOOL:
        strbuf_puts(out, expr->integer ? "true" : "false");
        break;
    case S_U8:
    case S_I32:
    case S_INDEX:
        strbuf_printf(out, "%" PRId64 "%s", expr->integer,
                      expr->type == S_U8    ? "u"
                      : expr->type == S_I32 ? "i"
                                            : "");
        break;
    }
}

static void print_expr(Printer *p, const LoopExpr *expr, int precedence);

static void print_list(Printer *p, LoopExpr *const *expr, uint32_t count, const char *open,
                       const char *close) {
    strbuf_puts(p->out, open);
    for (uint32_t i = 0; i < count; i++) {
        strbuf_puts(p->out, i ? ", " : "");
        print_expr(p, expr[i], 0);
    }
    strbuf_puts(p->out, close);
}

static void print_apply(Printer *p, const LoopExpr *expr, int precedence) {
    for (int i = 0; i < INFIX_COUNT; i++) {
        const InfixOp *infix = &infix_ops[i];
        if (infix->op != expr->op)
            continue;
        bool compare = infix->precedence == PRECEDENCE_COMPARE; // these do not associate
        strbuf_puts(p->out, precedence > infix->precedence ? "(" : "");
        print_expr(p, expr->operand[0], infix->precedence + compare);
        strbuf_printf(p->out, " %s ", infix->text);
        print_expr(p, expr->operand[1], infix->precedence + 1);
        strbuf_puts(p->out, precedence > infix->precedence ? ")" : "");
        return;
    }
    strbuf_puts(p->out,
                expr->op == X_cast ? scalar_type_name(expr->type) : scalar_info[expr->op].name);
    print_list(p, expr->operand, expr->arity, "(", ")");
}

static void print_expr(Printer *p, const LoopExpr *expr, int precedence) {
    switch (expr->kind) {
    case E_CONST:
        print_const(p->out, expr);
        break;
    case E_VAR:
        strbuf_puts(p->out, p->var[expr->index]);
        break;
    case E_LET:
        strbuf_puts(p->out, p->let[expr->index]);
        break;
    case E_LOCAL:
        strbuf_puts(p->out, p->local[expr->index]);
        if (expr->arity)
            print_list(p, expr->operand, expr->arity, "[", "]");
        break;
    case E_LOAD:
        strbuf_puts(p->out, p->buffer[expr->index]);
        print_list(p, expr->operand, 1, "[", "]");
        break;
    case E_APPLY:
        print_apply(p, expr, precedence);
        break;
    case E_EXTENT:
        strbuf_printf(p->out, "$%u", expr->index);
        break;
    case E_FRAME:
    case E_RANGE:
        strbuf_puts(p->out, loop_field_names[expr->index]);
        break;
    }
}

// ---- statements
// ------------------------------------------------------------------------------------

static void print_body(Printer *p, const LoopBody *body, int depth);

static void print_for(Printer *p, const LoopStmt *stmt, int depth) {
    strbuf_printf(p->out, "%s%s %s = ", stmt->narrow ? "narrow " : "",
                  loop_kind_names[stmt->loop], p->var[stmt->index]);
    print_expr(p, stmt->begin, 0);
    strbuf_puts(p->out, " .. ");
    if (p->identity && stmt->loop == LOOP_PARALLEL && stmt->end->kind == E_CONST)
        strbuf_puts(p->out, "*");
    else
        print_expr(p, stmt->end, 0);
    if (stmt->step != 1)
        strbuf_printf(p->out, " step %" PRId64, stmt->step);
    strbuf_puts(p->out, " {\n");
    print_body(p, &stmt->body, depth + 1);
    strbuf_printf(p->out, "%*s}", 2 * depth, "");
}

static void print_local(Printer *p, uint32_t index) {
    const LoopLocal *local = &p->kernel->locals.at[index];
    strbuf_printf(p->out, "local %s: %s", p->local[index], scalar_type_name(local->type));
    for (uint32_t i = 0; i < local->rank; i++)
        strbuf_printf(p->out, "%s%" PRId64, i ? ", " : "[", local->dim[i]);
    strbuf_puts(p->out, local->rank ? "]" : "");
}

static void print_assignment(Printer *p, const LoopStmt *stmt) {
    strbuf_puts(p->out, stmt->kind == T_STORE ? p->buffer[stmt->index] : p->local[stmt->index]);
    if (stmt->subscript_count)
        print_list(p, stmt->subscript, stmt->subscript_count, "[", "]");
    if (stmt->kind == T_ACCUMULATE)
        strbuf_printf(p->out, " %s= ", scalar_info[stmt->op].name);
    else
        strbuf_puts(p->out, " = ");
    print_expr(p, stmt->value, 0);
}

static void print_if(Printer *p, const LoopStmt *stmt, int depth) {
    strbuf_puts(p->out, "if ");
    print_expr(p, stmt->value, 0);
    strbuf_puts(p->out, " {\n");
    print_body(p, &stmt->body, depth + 1);
    if (stmt->other.count) {
        strbuf_printf(p->out, "%*s} else {\n", 2 * depth, "");
        print_body(p, &stmt->other, depth + 1);
    }
    strbuf_printf(p->out, "%*s}", 2 * depth, "");
}

static void print_stmt(Printer *p, const LoopStmt *stmt, int depth) {
    strbuf_printf(p->out, "%*s", 2 * depth, "");
    switch (stmt->kind) {
    case T_FOR:
        print_for(p, stmt, depth);
        break;
    case T_LET:
        strbuf_printf(p->out, "let %s = ", p->let[stmt->index]);
        print_expr(p, stmt->value, 0);
        break;
    case T_LOCAL:
        print_local(p, stmt->index);
        break;
    case T_SET:
    case T_ACCUMULATE:
    case T_STORE:
        print_assignment(p, stmt);
        break;
    case T_IF:
        print_if(p, stmt, depth);
        break;
    case T_CALL:
        strbuf_printf(p->out, "call %s", stmt->entry);
        print_list(p, stmt->argument, stmt->argument_count, "(", ")");
        break;
    case T_ASK:
        strbuf_puts(p->out, "ask");
        break;
    case T_RELOAD:
        strbuf_puts(p->out, "reload");
        break;
    case T_PREFETCH:
        strbuf_puts(p->out, "prefetch ");
        // fall through
    case T_BLOCK:
        strbuf_puts(p->out, "{\n");
        print_body(p, &stmt->body, depth + 1);
        strbuf_printf(p->out, "%*s}", 2 * depth, "");
        break;
    }
    strbuf_putc(p->out, '\n');
}

static void print_body(Printer *p, const LoopBody *body, int depth) {
    for (size_t i = 0; i < body->count; i++)
        print_stmt(p, body->at[i], depth);
}

static void print_buffer(Printer *p, size_t index) {
    const LoopBuffer *buffer = &p->kernel->buffers.at[index];
    strbuf_printf(p->out, "%s%s: %s %s[", index ? ", " : "", p->buffer[index],
                  buffer_role_names[buffer->role], scalar_type_name(buffer->type));
    if (p->identity && buffer->role != BUFFER_SCRATCH)
        strbuf_puts(p->out, "*]");
    else
        strbuf_printf(p->out, "%" PRId64 "]", buffer->count);
    if (buffer->in_place)
        strbuf_printf(p->out, " over %s", p->buffer[buffer->in_place - 1]);
    if (buffer->beside)
        strbuf_printf(p->out, " beside %s", p->buffer[buffer->beside - 1]);
    if (buffer->streamed && !p->identity)
        strbuf_puts(p->out, " streamed");
}

static void print_kernel(Printer *p) {
    const LoopKernel *kernel = p->kernel;
    choose_names(p);
    strbuf_printf(p->out, "kernel %s(",
                  p->identity ? "_" : clean_name(kernel->arena, kernel->name));
    for (size_t i = 0; i < kernel->buffers.count; i++)
        print_buffer(p, i);
    strbuf_puts(p->out, ")");
    if (kernel->extent_count)
        strbuf_printf(p->out, " extents %u", kernel->extent_count);
    strbuf_puts(p->out, " {\n");
    print_body(p, &kernel->body, 1);
    strbuf_puts(p->out, "}\n");
}

void loop_kernel_print(StrBuf *out, const LoopKernel *kernel) {
    print_kernel(&(Printer){.out = out, .kernel = kernel});
}

const char *loop_kernel_identity(const LoopKernel *kernel) {
    StrBuf text = {.arena = kernel->arena};
    print_kernel(&(Printer){.out = &text, .kernel = kernel, .identity = true});
    return strbuf_text(&text);
}

// ---- programs
// --------------------------------------------------------------------------------------

static void print_argument(StrBuf *out, const Buffer *buffer) {
    switch (buffer->space) {
    case SPACE_STORAGE:
        strbuf_printf(out, "storage+%" PRId64, buffer->offset_bytes);
        break;
    case SPACE_PHASE:
        strbuf_printf(out, "phase+%" PRId64, buffer->offset_bytes);
        break;
    case SPACE_STEP:
        strbuf_printf(out, "step+%" PRId64, buffer->offset_bytes);
        break;
    case SPACE_INPUT:
        strbuf_printf(out, "input %u", buffer->index);
        break;
    case SPACE_SCALAR:
        strbuf_printf(out, "scalar %u", buffer->index);
        break;
    case SPACE_OUTPUT:
        strbuf_printf(out, "output %u", buffer->index);
        break;
    case SPACE_NONE:
        strbuf_puts(out, "nowhere");
        break;
    }
}

static void print_launch(StrBuf *out, const LoopProgram *program, const Launch *launch) {
    strbuf_printf(out, "  launch %s(", program->kernels.at[launch->kernel]->name);
    for (uint32_t i = 0; i < launch->argument_count; i++) {
        strbuf_puts(out, i ? ", " : "");
        print_argument(out, &launch->argument[i]);
        if (launch->scratch && launch->scratch[i] >= 0)
            strbuf_printf(out, " in scratch+%" PRId64, launch->scratch[i]);
    }
    for (uint32_t i = 0; i < launch->extent_count; i++)
        strbuf_printf(out, "%s%" PRId64, i ? ", " : "; ", launch->extent[i]);
    strbuf_printf(out, ") for %" PRId64, launch->iterations);
    if (launch->parts)
        strbuf_printf(out, launch->chained ? " chained" : " in %" PRId64 " parts", launch->parts);
    for (uint32_t i = 0; i < launch->ahead_count; i++) {
        const Ahead *ahead = &launch->ahead[i];
        strbuf_puts(out, i ? ", " : " asking for ");
        print_argument(out, ahead->buffer);
        strbuf_printf(out, "[%" PRId64 ", %" PRId64 ")%s", ahead->offset,
                      ahead->offset + ahead->bytes, ahead->next_part ? " of the next" : "");
    }
    strbuf_puts(out, "\n");
}

void loop_program_print(StrBuf *out, const LoopProgram *program) {
    for (size_t i = 0; i < program->kernels.count; i++) {
        strbuf_puts(out, i ? "\n" : "");
        loop_kernel_print(out, program->kernels.at[i]);
    }
    for (size_t g = 0; g < program->graphs.count; g++) {
        const LoopGraph *graph = program->graphs.at[g];
        if (!graph)
            continue;
        strbuf_printf(out, "\ngraph \"%s\" {\n", graph->name);
        for (size_t i = 0; i < graph->launches.count; i++)
            print_launch(out, program, &graph->launches.at[i]);
        strbuf_puts(out, "}\n");
    }
}

LoopProgram *loop_program_new(Arena *arena) {
    LoopProgram *program = arena_new(arena, LoopProgram);
    program->arena = arena;
    map_init(&program->by_hash, arena);
    return program;
}

/// Of two equal kernels the one kept must be right for both: its ranges are the larger ones.
static void widen(LoopKernel *kept, const LoopKernel *other) {
    LoopStmt *a = (LoopStmt *)loop_parallel(kept);
    const LoopStmt *b = loop_parallel(other);
    if (a && a->end->kind == E_CONST && b->end->integer > a->end->integer) {
        a->end = b->end;
        kept->vars.at[a->index].end = b->end;
    }
    for (size_t i = 0; i < kept->buffers.count; i++) {
        if (other->buffers.at[i].count > kept->buffers.at[i].count)
            kept->buffers.at[i].count = other->buffers.at[i].count;
    }
}

uint32_t loop_program_add(LoopProgram *program, LoopKernel *kernel) {
    const char *identity = loop_kernel_identity(kernel);
    LoopKernel **known = map_get(&program->by_hash, identity);
    if (known) {
        widen(*known, kernel);
        for (uint32_t i = 0;; i++) {
            if (program->kernels.at[i] == *known)
                return i;
        }
    }
    known = arena_new(program->arena, LoopKernel *);
    *known = kernel;
    kernel->asks = loop_count_asks(kernel);
    map_set(&program->by_hash, identity, known);
    uint32_t index = (uint32_t)program->kernels.count;
    for (size_t i = 0; i < program->kernels.count; i++) {
        if (!strcmp(program->kernels.at[i]->name, kernel->name)) { // as the reader wants it
            kernel->name = arena_printf(kernel->arena, "%s.%u", kernel->name, index);
            break;
        }
    }
    vec_push(program->arena, &program->kernels, kernel);
    int64_t bytes = loop_scratch_bytes(kernel);
    if (bytes > program->thread_bytes)
        program->thread_bytes = bytes;
    return index;
}
