// frontend/session.c -- the REPL: definitions that can be replaced, inputs that can fail.
//
// Between inputs a session holds no tree, only Entries: the text of a declaration, or the literal
// of a `let` with the values of its tensors. Each statement is elaborated in a world of its own,
// made anew from the entries in the input's arena; so a name that is defined again leaves nothing
// behind, and a failed input is undone by going back to the list of entries from before it. A
// tensor of a `let` is a storage of the world's module.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/elaborate.h"
#include "grammar/grammar.h"

typedef struct SavedTensor {
    char *storage; // its name in modules
    Type type;
    double *value; // row-major
} SavedTensor;

typedef struct Entry {
    size_t references;
    char *key;    // "fn f" is "f", "train t" "train t"
    char *source; // name of the file or "<repl>"
    char *text;   // a statement, moved to its old line and column by space; or a literal
    char *name;   // of a `let`; else NULL
    SavedTensor *tensor;
    size_t tensor_count;
    AstStmtKind kind;
    size_t bytes;
} Entry;

typedef struct Entries {
    Entry **at;
    size_t count;
} Entries;

struct FrontendSession {
    FrontendOptions options;
    FrontendDefine *defines;
    Entries entries;
    // of the input at work
    Entries before;
    bool in_input;
    const AstFile *input;
    size_t next;
    bool wants_program;
    Arena *arena;
    SourceSet *sources;
    DiagSink *diags;
    Elab *world;         // of the last item
    const AstStmt *bind; // the `let` that the outputs are for, or NULL
    const char *bind_name;
    const char *bind_text;
    Vec(Type) bind_types;
};

// ---- memory of its own ----

static void *must(void *memory) {
    if (!memory)
        world_error("out of memory");
    return memory;
}

static char *copy_text(const char *text) {
    return must(strdup(text));
}

static void entry_drop(Entry *entry) {
    if (--entry->references)
        return;
    for (size_t i = 0; i < entry->tensor_count; i++) {
        free(entry->tensor[i].storage);
        free(entry->tensor[i].value);
    }
    free(entry->tensor);
    free(entry->key);
    free(entry->source);
    free(entry->text);
    free(entry->name);
    free(entry);
}

static void entries_drop(Entries *entries) {
    for (size_t i = 0; i < entries->count; i++)
        entry_drop(entries->at[i]);
    free(entries->at);
    *entries = (Entries){0};
}

static Entries entries_copy(const Entries *from) {
    Entries to = {must(malloc((from->count + 1) * sizeof *to.at)), from->count};
    for (size_t i = 0; i < from->count; i++) {
        to.at[i] = from->at[i];
        to.at[i]->references++;
    }
    return to;
}

// A definition takes the place of the former one of its name.
static void entries_put(Entries *entries, Entry *entry) {
    for (size_t i = 0; i < entries->count; i++) {
        if (strcmp(entries->at[i]->key, entry->key) == 0) {
            entry_drop(entries->at[i]);
            entries->at[i] = entry;
            return;
        }
    }
    entries->at = must(realloc(entries->at, (entries->count + 1) * sizeof *entries->at));
    entries->at[entries->count++] = entry;
}

static Entry *entry_new(const char *key, const char *source, const char *text, const char *name,
                        AstStmtKind kind) {
    Entry *entry = must(calloc(1, sizeof *entry));
    entry->references = 1;
    entry->key = copy_text(key);
    entry->source = copy_text(source);
    entry->text = copy_text(text);
    entry->name = name ? copy_text(name) : NULL;
    entry->kind = kind;
    entry->bytes = sizeof *entry + strlen(key) + strlen(source) + strlen(text);
    return entry;
}

FrontendSession *frontend_session_new(const FrontendOptions *options) {
    FrontendSession *session = must(calloc(1, sizeof *session));
    if (options)
        session->options = *options;
    session->options.defines = NULL; // a session's params are redefined, not given
    session->options.define_count = 0;
    return session;
}

void frontend_session_free(FrontendSession *session) {
    if (!session)
        return;
    entries_drop(&session->entries);
    entries_drop(&session->before);
    free(session);
}

size_t frontend_session_bytes(const FrontendSession *session) {
    size_t bytes = sizeof *session;
    for (size_t i = 0; i < session->entries.count; i++)
        bytes += session->entries.at[i]->bytes;
    return bytes;
}

// ---- worlds ----

static Span no_span(void) {
    return (Span){0};
}

static AstFile *parse_entry(Elab *e, const Entry *entry) {
    const Source *source = source_add(e->sources, entry->source, entry->text, strlen(entry->text));
    return kd_parse_input(e->arena, e->sources, source, true, e->diags).file;
}

static StorageInfo *tensor_storage(Elab *e, const SavedTensor *tensor) {
    StorageInfo *info = arena_new(e->arena, StorageInfo);
    Storage *storage = module_add_storage(e->module, STORAGE_STATE, tensor->storage, &tensor->type);
    storage->origin = origin_at(e, no_span());
    Instance *owner = instance_root(e, tensor->storage, NULL, (Args){0}, no_span());
    *info = (StorageInfo){.storage = storage, .owner = owner, .name = storage->name, .group = -1};
    vec_push(e->arena, &e->infos, info);
    return info;
}

// The literal of a `let`, in which `v_0` stands for its first tensor.
static void bind_saved(Elab *e, const Entry *entry) {
    AstFile *file = parse_entry(e, entry);
    Scope *outer = e->scope;
    Value v = value_poison();
    e->scope = scope_new(e, outer);
    for (size_t i = 0; i < entry->tensor_count; i++) {
        Value tensor = storage_value(e, tensor_storage(e, &entry->tensor[i]));
        ((Tensor *)tensor.tensor)->label = NULL;
        scope_set(e, e->scope, arena_printf(e->arena, "v_%zu", i), tensor, no_span());
    }
    if (file->body.count == 1 && file->body.stmts[0]->kind == STMT_EXPR)
        v = eval_expr(e, file->body.stmts[0]->value);
    e->scope = outer;
    scope_set(e, e->scope, arena_strdup(e->arena, entry->name), v, no_span())->assignable = true;
}

static void run_entry(Elab *e, const Entry *entry, bool whole) {
    if (entry->name) {
        bind_saved(e, entry);
        return;
    }
    AstFile *file = parse_entry(e, entry);
    for (size_t i = 0; i < file->body.count; i++) {
        const AstStmt *stmt = file->body.stmts[i];
        if (!whole && (stmt->kind == STMT_TRAIN || stmt->kind == STMT_DEPLOY))
            continue;
        if (stmt->kind == STMT_OPTION && !whole) {
            scope_set(e, e->scope, stmt->define.name.text, eval_expr(e, stmt->define.value),
                      stmt->define.name.span);
            continue;
        }
        AstBlock one = {.stmts = file->body.stmts + i, .count = 1};
        declare_functions(e, e->scope, &one);
        elaborate_declaration(e, stmt);
    }
}

// All that is defined, in the input's arena. With `whole`, train blocks and deployments too.
static Elab *world_new(FrontendSession *session, bool whole) {
    Arena *arena = session->arena;
    Elab *e = elab_new(&session->options, arena, session->sources, session->diags);
    e->stack_base = __builtin_frame_address(0);
    e->program = arena_new(arena, Program);
    e->program->name = "session";
    e->module = module_new(arena, "session", session->options.real);
    e->program->module = e->module;
    Graph *init = module_add_graph(e->module, "init", GRAPH_INIT, -1);
    e->init = context_new(e, init, 0);
    Graph *graph = graph_detached(e, "repl", GRAPH_FREE, -1);
    e->ctx = context_new(e, graph, INT64_C(1) << 45);
    AstFile *none = arena_new(arena, AstFile);
    none->source = session->sources->sources.at[0];
    modules_begin(e, none);
    for (int pass = 0; pass < 3; pass++) { // what others name comes first: modules, then functions
        for (size_t i = 0; i < session->entries.count; i++) {
            AstStmtKind kind = session->entries.at[i]->kind;
            bool function = kind == STMT_FN || kind == STMT_NET || kind == STMT_OPTIMIZER;
            int own = kind == STMT_USE ? 0 : function ? 1 : 2;
            if (own == pass)
                run_entry(e, session->entries.at[i], whole);
        }
    }
    if (!whole) {
        graph_attach(e, graph);
        Application *app = arena_new(arena, Application);
        application_begin(e, app, instance_root(e, "", NULL, (Args){0}, no_span()));
        e->app = app;
    }
    session->world = e;
    return e;
}

// ---- inputs ----

void frontend_session_input(FrontendSession *session, const AstFile *input, Arena *arena,
                            SourceSet *sources, DiagSink *diags) {
    entries_drop(&session->before);
    session->before = entries_copy(&session->entries);
    session->input = input;
    session->next = 0;
    session->wants_program = false;
    session->arena = arena;
    session->sources = sources;
    session->diags = diags;
    session->world = NULL;
    session->in_input = true;
}

static SessionItem failed(FrontendSession *session) {
    entries_drop(&session->entries);
    session->entries = session->before;
    session->before = (Entries){0};
    session->in_input = false;
    return (SessionItem){.kind = SESSION_FAILED};
}

static const char *stmt_name(const AstStmt *stmt) {
    switch (stmt->kind) {
    case STMT_FN:
    case STMT_NET:
    case STMT_OPTIMIZER:
        return stmt->function.name.text;
    case STMT_PARAM:
    case STMT_OPTION:
        return stmt->define.name.text;
    case STMT_MODEL:
        return stmt->model.name.text;
    case STMT_DATA:
        return stmt->data.name.text;
    case STMT_TRAIN:
        return stmt->train.name.text;
    case STMT_USE:
        return stmt->use.module.text;
    case STMT_DEPLOY:
        return stmt->deploy.name.text;
    case STMT_LET:
        return stmt->let.names[0].text;
    default:
        return NULL;
    }
}

static Entry *entry_of(FrontendSession *session, const AstStmt *stmt) {
    const Source *source = source_of(session->sources, stmt->span);
    int line, column;
    source_position(session->sources, stmt->span, &line, &column);
    StrBuf text = {.arena = session->arena};
    for (int i = 1; i < line; i++)
        strbuf_putc(&text, '\n');
    for (int i = 1; i < column; i++)
        strbuf_putc(&text, ' ');
    strbuf_write(&text, source->text + stmt->span.begin, stmt->span.end - stmt->span.begin);
    strbuf_putc(&text, '\n');
    const char *name = stmt_name(stmt);
    const char *key = name;
    if (stmt->kind == STMT_SPLIT)
        key =
            arena_printf(session->arena, "split %s",
                         stmt->split.model ? ast_path_text(session->arena, stmt->split.model) : "");
    else if (stmt->kind == STMT_TRAIN || stmt->kind == STMT_USE || stmt->kind == STMT_DEPLOY)
        key = arena_printf(session->arena, "%d %s", (int)stmt->kind, name ? name : "model");
    return entry_new(key ? key : "?", source->name, strbuf_text(&text), NULL, stmt->kind);
}

static bool has_errors(const FrontendSession *session) {
    return session->diags->error_count > 0;
}

// Declares a statement by its text; that it can be elaborated is tried at once.
static SessionItem define(FrontendSession *session, const AstStmt *stmt) {
    entries_put(&session->entries, entry_of(session, stmt));
    session->wants_program |= stmt->kind == STMT_TRAIN;
    if (stmt->kind != STMT_TRAIN && stmt->kind != STMT_DEPLOY)
        world_new(session, false);
    return has_errors(session) ? failed(session) : (SessionItem){.kind = SESSION_DONE};
}

// Writes `v` as a literal; its tensors become outputs of the graph.
static bool literal(FrontendSession *session, Elab *e, Value v, StrBuf *shown, StrBuf *saved) {
    if (v.kind == VALUE_LIST) {
        strbuf_putc(shown, '[');
        strbuf_putc(saved, '[');
        for (size_t i = 0; i < v.list->count; i++) {
            strbuf_puts(shown, i ? ", " : "");
            strbuf_puts(saved, i ? ", " : "");
            if (!literal(session, e, v.list->at[i], shown, saved))
                return false;
        }
        strbuf_putc(shown, ']');
        strbuf_putc(saved, ']');
        return true;
    }
    if (v.kind == VALUE_TENSOR && v.tensor->node) {
        size_t index = session->bind_types.count;
        ir_at(e->ctx->graph, NULL);
        ir_output(e->ctx->graph, index ? arena_printf(e->arena, "value.%zu", index) : "value",
                  v.tensor->node);
        vec_push(e->arena, &session->bind_types, v.tensor->node->type);
        strbuf_printf(shown, "%%%zu", index);
        strbuf_printf(saved, "v_%zu", index);
        return true;
    }
    value_print(shown, e, v);
    value_print(saved, e, v);
    return v.kind <= VALUE_RANGE && v.kind != VALUE_POISON;
}

// Binds one name to the value, or to its i-th element where a `let` has several names.
static void bind_name(FrontendSession *session, const char *name, const char *text,
                      const double *const *values) {
    Entry *entry = entry_new(name, "<repl>", text, name, STMT_LET);
    size_t count = session->bind_types.count;
    entry->tensor = must(calloc(count + 1, sizeof *entry->tensor));
    entry->tensor_count = count;
    for (size_t i = 0; i < count; i++) {
        SavedTensor *tensor = &entry->tensor[i];
        char label[320];
        snprintf(label, sizeof label, i ? "%s.%zu" : "%s", name, i);
        tensor->storage = copy_text(label);
        tensor->type = session->bind_types.at[i];
        size_t bytes = (size_t)type_count(&tensor->type) * sizeof(double);
        tensor->value = must(malloc(bytes ? bytes : 1));
        memcpy(tensor->value, values[i], bytes);
        entry->bytes += bytes + sizeof *tensor;
    }
    entries_put(&session->entries, entry);
}

static void bind_all(FrontendSession *session, const AstStmt *stmt, const char *name,
                     const char *text, const double *const *values) {
    if (stmt->kind != STMT_LET || stmt->let.count == 1) {
        bind_name(session, name, text, values);
        return;
    }
    for (size_t i = 0; i < stmt->let.count; i++)
        bind_name(session, stmt->let.names[i].text,
                  arena_printf(session->arena, "%s[%zu]", text, i), values);
}

static SessionItem bind_constant(FrontendSession *session, const AstStmt *stmt, const char *name,
                                 const char *text, bool is_literal) {
    if (is_literal)
        bind_all(session, stmt, name, text, NULL);
    else
        entries_put(&session->entries, entry_of(session, stmt));
    return (SessionItem){.kind = SESSION_DONE, .name = name};
}

// `let a, b = value` takes a list of as many.
static bool fits_names(Elab *e, const AstStmt *stmt, Value v) {
    if (stmt->kind != STMT_LET || stmt->let.count == 1)
        return true;
    Scope *outer = e->scope;
    e->scope = scope_new(e, outer);
    bool good = bind_names(e, stmt->let.names, stmt->let.count, v, stmt->let.value->span, true);
    e->scope = outer;
    return good;
}

// Evaluates; binds to `name`, if there is one.
static SessionItem evaluate(FrontendSession *session, const AstStmt *stmt, const AstExpr *expr,
                            const char *name) {
    Elab *e = world_new(session, false);
    if (has_errors(session))
        return failed(session);
    e->let_name = name;
    Value v = eval_expr(e, expr);
    e->let_name = NULL;
    if (v.kind == VALUE_POISON || has_errors(session) || (name && !fits_names(e, stmt, v)))
        return failed(session);
    StrBuf shown = {.arena = e->arena}, saved = {.arena = e->arena};
    memset(&session->bind_types, 0, sizeof session->bind_types);
    bool is_literal = literal(session, e, v, &shown, &saved);
    context_finish(e, e->ctx);
    loads_finish(e);
    if (e->program->loads.count) {
        const LoadSpec *load = &e->program->loads.at[0];
        fail(e, expr->span, "the weights of `%s` are read when its program runs, not at the prompt",
             load->model);
        return failed(session);
    }
    if (!session->bind_types.count || !is_literal) {
        if (name && session->bind_types.count) {
            fail(e, expr->span, "a `let` here holds numbers, tensors and lists of them");
            return failed(session);
        }
        if (name)
            return bind_constant(session, stmt, name, strbuf_text(&saved), is_literal);
        return (SessionItem){.kind = SESSION_TEXT, .text = strbuf_text(&shown)};
    }
    session->bind = name ? stmt : NULL;
    session->bind_name = name;
    session->bind_text = strbuf_text(&saved);
    return (SessionItem){.kind = SESSION_GRAPH,
                         .text = strbuf_text(&shown),
                         .name = name,
                         .module = e->module,
                         .graph = e->ctx->graph};
}

static SessionItem run_statement(FrontendSession *session, const AstStmt *stmt) {
    switch (stmt->kind) {
    case STMT_EXPR:
        return evaluate(session, stmt, stmt->value, NULL);
    case STMT_LET:
        return evaluate(session, stmt, stmt->let.value, stmt->let.names[0].text);
    case STMT_PARAM:
        return evaluate(session, stmt, stmt->define.value, stmt->define.name.text);
    case STMT_ASSIGN:
    case STMT_UPDATE:
        if (stmt->assign.target->kind == EXPR_NAME)
            return evaluate(session, stmt, stmt->assign.value, stmt->assign.target->name);
        diag_error(session->diags, stmt->assign.target->span,
                   "at the prompt only names get new values");
        return failed(session);
    case STMT_FOR:
    case STMT_IF:
    case STMT_ASSERT: {
        Elab *e = world_new(session, false);
        elaborate_declaration(e, stmt);
        return has_errors(session) ? failed(session) : (SessionItem){.kind = SESSION_DONE};
    }
    case STMT_ERROR:
        return failed(session);
    default:
        return define(session, stmt);
    }
}

static SessionItem whole_program(FrontendSession *session) {
    session->wants_program = false;
    Elab *e = world_new(session, true);
    if (has_errors(session))
        return failed(session);
    loads_finish(e);
    const char *wrong = module_verify(e->module, e->arena);
    if (wrong)
        kdc_bug("the elaborator made a wrong module: %s", wrong);
    return (SessionItem){.kind = SESSION_PROGRAM, .program = e->program};
}

SessionItem frontend_session_next(FrontendSession *session) {
    if (!session->in_input)
        return (SessionItem){.kind = SESSION_END};
    if (has_errors(session))
        return failed(session);
    session->bind = NULL;
    if (session->next < session->input->body.count)
        return run_statement(session, session->input->body.stmts[session->next++]);
    if (session->wants_program)
        return whole_program(session);
    entries_drop(&session->before);
    session->in_input = false;
    return (SessionItem){.kind = SESSION_END};
}

void frontend_session_bind(FrontendSession *session, const double *const *values) {
    if (session->bind)
        bind_all(session, session->bind, session->bind_name, session->bind_text, values);
    session->bind = NULL;
}

const double *frontend_session_value(FrontendSession *session, const char *storage) {
    for (size_t i = 0; i < session->entries.count; i++) {
        const Entry *entry = session->entries.at[i];
        for (size_t k = 0; k < entry->tensor_count; k++)
            if (strcmp(entry->tensor[k].storage, storage) == 0)
                return entry->tensor[k].value;
    }
    return NULL;
}

// ---- looking ----

Graph *frontend_session_graph(FrontendSession *session, const AstExpr *expr) {
    Elab *e = world_new(session, false);
    Value v = has_errors(session) ? value_poison() : eval_expr(e, expr);
    Node *node = v.kind == VALUE_POISON ? NULL : lift(e, v, NULL, expr->span, "");
    session->in_input = false;
    if (!node || has_errors(session))
        return NULL;
    ir_at(e->ctx->graph, NULL);
    ir_output(e->ctx->graph, "value", node);
    return e->ctx->graph;
}

static Elab *quiet_world(FrontendSession *session, Arena *arena) {
    session->arena = arena;
    session->sources = arena_new(arena, SourceSet);
    session->diags = arena_new(arena, DiagSink);
    source_set_init(session->sources, arena);
    diag_sink_init(session->diags, arena, session->sources);
    return world_new(session, false);
}

// "net conv(x: [N, C, H, W], channels)": up to the parenthesis that closes, on one line.
static const char *head_text(Arena *arena, const AstStmt *decl) {
    StrBuf text = {.arena = arena}, head = {.arena = arena};
    ast_print_stmt(&text, decl);
    const char *at = strbuf_text(&text);
    while (strncmp(at, "##", 2) == 0 && strchr(at, '\n'))
        at = strchr(at, '\n') + 1;
    for (int depth = 0; *at; at++) {
        depth += (*at == '(') - (*at == ')');
        if (*at == '\n')
            at += strspn(at + 1, " ");
        strbuf_putc(&head, *at == '\n' ? ' ' : *at == ' ' && at[-1] == '\n' ? ' ' : *at);
        if (*at == ')' && !depth)
            break;
    }
    return strbuf_text(&head);
}

const char *frontend_session_help(FrontendSession *session, const char *name, Arena *arena) {
    Elab *e = quiet_world(session, arena);
    const Binding *b = scope_find(e, e->scope, name, no_span());
    if (!b)
        return NULL;
    StrBuf text = {.arena = arena};
    Value v = b->value;
    if (v.kind == VALUE_FUNCTION && v.function->builtin)
        strbuf_printf(&text, "%s(%s)", name, v.function->builtin->signature);
    else if (v.kind == VALUE_FUNCTION)
        strbuf_puts(&text, head_text(arena, v.function->decl));
    else
        strbuf_printf(&text, "%s: %s", name, value_text(e, v));
    if (b->doc)
        strbuf_printf(&text, "\n%s", b->doc);
    return strbuf_text(&text);
}

size_t frontend_session_complete(FrontendSession *session, const char *prefix, Arena *arena,
                                 const char ***names) {
    Elab *e = quiet_world(session, arena);
    Names all = {0}, found = {0};
    scope_collect(e, e->scope, &all);
    for (size_t i = 0; i < all.count; i++)
        if (strncmp(all.at[i], prefix, strlen(prefix)) == 0)
            vec_push(arena, &found, all.at[i]);
    *names = found.at;
    return found.count;
}
