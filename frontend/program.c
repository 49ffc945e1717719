// frontend/program.c -- the declarations of a program, in order.
#include <string.h>

#include "frontend/elaborate.h"
#include "grammar/grammar.h"

// ---- graphs ----

Graph *graph_detached(Elab *e, const char *name, GraphRole role, int32_t phase) {
    Graph *graph = module_add_graph(e->module, name, role, phase);
    e->module->graphs.count--;
    return graph;
}

int32_t graph_attach(Elab *e, Graph *graph) {
    vec_push(e->module->arena, &e->module->graphs, graph);
    return (int32_t)e->module->graphs.count - 1;
}

GraphContext *context_new(Elab *e, Graph *graph, int64_t stream_base) {
    GraphContext *ctx = arena_new(e->arena, GraphContext);
    ctx->graph = graph;
    ctx->stream_base = stream_base;
    map_init(&ctx->scalars, e->arena);
    return ctx;
}

Node *context_scalar(Elab *e, const char *name) {
    Node *node = map_get(&e->ctx->scalars, name);
    if (!node) {
        ir_at(e->ctx->graph, e->origin);
        node = ir_scalar(e->ctx->graph, name, e->module->real);
        map_set(&e->ctx->scalars, name, node);
    }
    return node;
}

int64_t context_stream(Elab *e) {
    return e->ctx->stream_base + e->ctx->draws++;
}

// One output for each text: an assertion in a loop, or in a net applied twice, holds if all do.
static void emit_asserts(Elab *e, GraphContext *ctx) {
    for (size_t i = 0; i < ctx->asserts.count; i++) {
        const Assertion *at = &ctx->asserts.at[i];
        Node *holds = at->holds;
        bool repeated = false;
        for (size_t k = 0; k < i; k++)
            repeated |= ctx->asserts.at[k].index == at->index;
        ir_at(ctx->graph, origin_at(e, at->span));
        for (size_t k = i + 1; k < ctx->asserts.count && !repeated; k++)
            if (ctx->asserts.at[k].index == at->index)
                holds = make_node(e, OP_min, (Node *[]){holds, ctx->asserts.at[k].holds}, 2, NULL,
                                  at->span, "`assert`", NULL);
        if (!repeated)
            ir_output(ctx->graph, arena_printf(e->arena, "assert %u", at->index), holds);
    }
}

void context_finish(Elab *e, GraphContext *ctx) {
    emit_asserts(e, ctx);
    for (size_t id = 0; id < ctx->written.count; id++) {
        if (!ctx->written.at[id])
            continue;
        ir_at(ctx->graph, ctx->current.at[id]->origin);
        ir_write(ctx->graph, e->module->storages.at[id], ctx->current.at[id]);
    }
}

// ---- param, option, let ----

static bool declared(Elab *e, const AstName *name) {
    Binding *before = scope_find_here(e->scope, name->text);
    if (!before)
        return false;
    Diag *d = report_error(e, name->span, "`%s` is declared twice", name->text);
    diag_note(d, before->span, "first here");
    return true;
}

static const char *define_of(Elab *e, const char *name) {
    const char *value = NULL;
    for (size_t i = 0; i < e->options.define_count; i++)
        if (strcmp(e->options.defines[i].name, name) == 0)
            value = e->options.defines[i].value;
    if (value)
        map_set(&e->used_defines, name, e);
    return value;
}

// The value of -D: an expression if it is one, else the text itself. For a string, which may be a
// path, that is only one in quotes.
static Value define_value(Elab *e, const char *name, const char *text, bool wants_string) {
    const char *label = arena_printf(e->arena, "-D %s", name);
    const Source *source = source_add(e->sources, label, text, strlen(text));
    DiagSink quiet;
    diag_sink_init(&quiet, e->arena, e->sources);
    KdInput input = kd_parse_input(e->arena, e->sources, source, true, &quiet);
    if (quiet.error_count || input.file->body.count != 1 ||
        input.file->body.stmts[0]->kind != STMT_EXPR)
        return value_string(text);
    const AstExpr *expr = input.file->body.stmts[0]->value;
    bool is_text = expr->kind == EXPR_NAME || (wants_string && expr->kind != EXPR_STRING);
    return is_text ? value_string(text) : eval_expr(e, expr);
}

static bool holds_tensor(Value v) {
    if (v.kind == VALUE_LIST)
        for (size_t i = 0; i < v.list->count; i++)
            if (holds_tensor(v.list->at[i]))
                return true;
    if (v.kind == VALUE_OPEN)
        for (size_t i = 0; i < v.open->args.count; i++)
            if (holds_tensor(v.open->args.at[i].value))
                return true;
    return v.kind == VALUE_TENSOR;
}

static void declare_param(Elab *e, const AstStmt *stmt) {
    const AstName *name = &stmt->define.name;
    Value v = eval_expr(e, stmt->define.value);
    const char *text = module_of(e->scope) == e->own ? define_of(e, name->text) : NULL;
    if (holds_tensor(v))
        v = fail(e, stmt->define.value->span, "a `param` is a constant, and this is %s",
                 value_text(e, v));
    if (text) {
        Value given = define_value(e, name->text, text, v.kind == VALUE_STRING);
        if (given.kind != v.kind && v.kind != VALUE_POISON && given.kind != VALUE_POISON &&
            v.kind != VALUE_NONE)
            given = fail(e, name->span, "-D %s=%s: `%s` is %s, and this is %s", name->text, text,
                         name->text, value_kind_text(v), value_kind_text(given));
        v = given;
    }
    if (!declared(e, name))
        scope_set(e, e->scope, name->text, v, name->span)->doc = stmt->doc;
}

static void declare_option(Elab *e, const AstStmt *stmt) {
    static const char *const flags[] = {"data",    "out",  "resume", "seed", "help",
                                        "threads", "only", "quiet",  "load", "profile"};
    const AstName *name = &stmt->define.name;
    Value v = eval_expr(e, stmt->define.value);
    if (declared(e, name))
        return;
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (strcmp(name->text, flags[i]) == 0)
            fail(e, name->span, "the training binary has a --%s of its own", name->text);
    static const char *const scalars[] = {"epoch", "iteration", "progress"};
    for (size_t i = 0; i < sizeof scalars / sizeof *scalars; i++)
        if (strcmp(name->text, scalars[i]) == 0)
            fail(e, name->span, "`%s` is a run-time scalar of every phase", name->text);
    if (v.kind == VALUE_BOOL)
        v = value_int(v.boolean);
    if (v.kind != VALUE_NUMBER && v.kind != VALUE_POISON)
        v = fail(e, stmt->define.value->span, "an `option` is a number, and this is %s",
                 value_text(e, v));
    OptionSpec option = {name->text, v.kind == VALUE_NUMBER ? v.number : 0, v.is_int,
                         stmt->define.text ? stmt->define.text : "", stmt->span};
    vec_push(e->arena, &e->program->options, option);
    Binding *b = scope_set(e, e->scope, name->text, v, name->span);
    b->scalar = name->text;
    b->doc = stmt->doc;
}

// What depends on run-time scalars has no value yet: it is worked out where it is used.
static void declare_let(Elab *e, const AstStmt *stmt) {
    Value v = eval_expr(e, stmt->let.value);
    if (!holds_tensor(v)) {
        bind_names(e, stmt->let.names, stmt->let.count, v, stmt->let.value->span, true);
        return;
    }
    if (stmt->let.count != 1) {
        fail(e, stmt->let.value->span, "several names for what is known at run time only");
        return;
    }
    Binding *b =
        scope_set(e, e->scope, stmt->let.names[0].text, value_poison(), stmt->let.names[0].span);
    b->lazy = stmt->let.value;
    b->lazy_scope = e->scope;
}

// ---- a file ----

void elaborate_declaration(Elab *e, const AstStmt *stmt) {
    switch (stmt->kind) {
    case STMT_USE:
        modules_use(e, module_of(e->scope), stmt);
        break;
    case STMT_PARAM:
        declare_param(e, stmt);
        break;
    case STMT_OPTION:
        declare_option(e, stmt);
        break;
    case STMT_MODEL: {
        Value v = eval_open(e, stmt->model.value);
        v = model_declare(e, stmt, v, "");
        if (!declared(e, &stmt->model.name))
            scope_set(e, e->scope, stmt->model.name.text, v, stmt->model.name.span);
        break;
    }
    case STMT_SPLIT:
        model_split(e, stmt);
        break;
    case STMT_DATA:
        elaborate_data(e, stmt);
        break;
    case STMT_TRAIN:
        elaborate_train(e, stmt);
        break;
    case STMT_DEPLOY:
        elaborate_deploy(e, stmt);
        break;
    case STMT_LET:
        declare_let(e, stmt);
        break;
    case STMT_FN:
    case STMT_NET:
    case STMT_OPTIMIZER: // declare_functions() did
    case STMT_ERROR:
        break;
    case STMT_ASSERT:
    case STMT_FOR:
    case STMT_IF:
    case STMT_ASSIGN:
    case STMT_UPDATE:
    case STMT_TAP:
    case STMT_RETURN:
    case STMT_WHEN:
    case STMT_PHASE:
    case STMT_STEP:
    case STMT_EVAL:
    case STMT_FINISH:
    case STMT_OPTIMIZE:
    case STMT_FREEZE:
    case STMT_LOAD:
    case STMT_SETTING:
    case STMT_MINIMIZE:
    case STMT_REPORT:
    case STMT_EXIT:
    case STMT_EXPR: {
        AstStmt *list[] = {(AstStmt *)stmt};
        AstBlock one = {.stmts = list, .count = 1, .span = stmt->span};
        exec_stmts(e, &one);
        break;
    }
    }
}

void elaborate_file(Elab *e, const AstBlock *block) {
    declare_functions(e, e->scope, block);
    for (size_t i = 0; i < block->count && !e->stopped; i++) // uses first: they name what follows
        if (block->stmts[i]->kind == STMT_USE)
            elaborate_declaration(e, block->stmts[i]);
    for (size_t i = 0; i < block->count && !e->stopped; i++)
        if (block->stmts[i]->kind != STMT_USE)
            elaborate_declaration(e, block->stmts[i]);
}

static void check_defines(Elab *e) {
    Names names = {0};
    for (const Binding *b = e->own->scope->first; b; b = b->next)
        if (!b->scalar && b->value.kind != VALUE_FUNCTION)
            vec_push(e->arena, &names, b->name);
    for (size_t i = 0; i < e->options.define_count; i++) {
        const char *name = e->options.defines[i].name;
        if (map_has(&e->used_defines, name))
            continue;
        Diag *d =
            diag_error(e->diags, (Span){0}, "-D %s: the program has no `param %s`", name, name);
        const char *near = nearest_name(name, names.at, names.count);
        const Binding *b = scope_find_here(e->own->scope, name);
        if (b && b->scalar)
            diag_help(d, "`%s` is an option: give --%s to the training binary", name, name);
        else if (near)
            diag_help(d, "did you mean `%s`?", near);
    }
}

Elab *elab_new(const FrontendOptions *options, Arena *arena, SourceSet *sources, DiagSink *diags) {
    Elab *e = arena_new(arena, Elab);
    e->arena = arena;
    e->sources = sources;
    e->diags = diags;
    if (options)
        e->options = *options;
    e->stack_base = __builtin_frame_address(0);
    map_init(&e->modules, arena);
    map_init(&e->used_defines, arena);
    map_init(&e->block_names, arena);
    map_init(&e->range_clashes, arena);
    map_init(&e->storage_names, arena);
    map_init(&e->instance_paths, arena);
    return e;
}

static const char *program_name(Arena *arena, const AstFile *file) {
    const char *name = file->source ? file->source->name : "program";
    const char *base = strrchr(name, '/') ? strrchr(name, '/') + 1 : name;
    const char *dot = strrchr(base, '.');
    return arena_strndup(arena, base, dot && dot > base ? (size_t)(dot - base) : strlen(base));
}

Program *frontend_elaborate(const AstFile *file, const FrontendOptions *options, Arena *arena,
                            SourceSet *sources, DiagSink *diags) {
    if (!file)
        return NULL;
    Elab *e = elab_new(options, arena, sources, diags);
    e->stack_base = __builtin_frame_address(0);
    e->program = arena_new(arena, Program);
    e->program->name = program_name(arena, file);
    e->module = module_new(arena, e->program->name, e->options.real);
    e->program->module = e->module;
    Graph *init = module_add_graph(e->module, "init", GRAPH_INIT, -1);
    e->program->init = 0;
    e->init = context_new(e, init, 0);
    e->ctx = context_new(e, graph_detached(e, "constants", GRAPH_FREE, -1), 0);
    modules_begin(e, file);
    elaborate_file(e, &file->body);
    check_defines(e);
    if (diags->error_count)
        return NULL;
    loads_finish(e);
    if (diags->error_count)
        return NULL;
    const char *wrong = module_verify(e->module, arena);
    if (wrong)
        kdc_bug("the elaborator made a wrong module: %s", wrong);
    return e->program;
}
