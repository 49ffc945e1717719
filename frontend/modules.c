// frontend/modules.c -- `use`: the library, which is embedded in kdc, and files beside the program.
#include <string.h>

#include "frontend/elaborate.h"
#include "frontend/std_files.h"
#include "grammar/grammar.h"

// Seen by every program without a `use`.
static const char *const prelude[] = {"layers", "init", "losses", "optimizers", "metrics"};

static const StdFile *std_file(const char *module) {
    for (size_t i = 0; i < std_file_count; i++) {
        const char *name = std_files[i].name + 4; // after "std/"
        size_t length = strlen(module);
        if (strncmp(name, module, length) == 0 && strcmp(name + length, ".kd") == 0)
            return &std_files[i];
    }
    return NULL;
}

// ---- declarations of a module ----

static bool taken(Elab *e, Scope *scope, const AstName *name) {
    Binding *before = scope_find_here(scope, name->text);
    if (!before)
        return false;
    Diag *d = report_error(e, name->span, "`%s` is declared twice", name->text);
    diag_note(d, before->span, "first here");
    return true;
}

static void declare_function(Elab *e, Scope *scope, const AstStmt *stmt) {
    const AstName *name = &stmt->function.name;
    if (taken(e, scope, name))
        return;
    Function *function = arena_new(e->arena, Function);
    *function = (Function){.name = name->text, .decl = stmt, .scope = scope};
    scope_set(e, scope, name->text, value_function(function), name->span)->doc = stmt->doc;
    for (size_t i = 0; i < stmt->function.param_count; i++)
        for (size_t k = 0; k < i; k++)
            if (strcmp(stmt->function.params[i].name.text, stmt->function.params[k].name.text) == 0)
                fail(e, stmt->function.params[i].name.span, "the parameter `%s` stands twice",
                     stmt->function.params[i].name.text);
}

void declare_functions(Elab *e, Scope *scope, const AstBlock *block) {
    for (size_t i = 0; i < block->count; i++) {
        const AstStmt *stmt = block->stmts[i];
        if (stmt->kind == STMT_FN || stmt->kind == STMT_NET || stmt->kind == STMT_OPTIMIZER)
            declare_function(e, scope, stmt);
    }
}

static KdModule *module_new_from(Elab *e, const char *name, const char *alias,
                                 const AstFile *file) {
    KdModule *module = arena_new(e->arena, KdModule);
    *module = (KdModule){.name = name, .alias = alias, .file = file};
    module->scope = scope_new(e, NULL);
    module->scope->module = module;
    return module;
}

// Runs the declarations of a module that is not the program.
static void module_run(Elab *e, KdModule *module) {
    Scope *scope = e->scope;
    module->busy = true;
    declare_functions(e, module->scope, &module->file->body);
    for (size_t i = 0; i < module->file->body.count; i++) {
        const AstStmt *stmt = module->file->body.stmts[i];
        e->scope = module->scope;
        if (stmt->kind == STMT_USE)
            modules_use(e, module, stmt);
        else if (stmt->kind == STMT_PARAM || stmt->kind == STMT_LET || stmt->kind == STMT_ASSERT)
            elaborate_declaration(e, stmt);
        else if (stmt->kind != STMT_FN && stmt->kind != STMT_NET && stmt->kind != STMT_OPTIMIZER &&
                 stmt->kind != STMT_ERROR)
            fail(e, stmt->word_span, "%s belongs into the program, not into a module",
                 stmt_kind_text(stmt->kind));
    }
    module->busy = false;
    e->scope = scope;
}

// ---- finding ----

static KdModule *load_std(Elab *e, const char *name) {
    const char *key = arena_printf(e->arena, "std.%s", name);
    KdModule *module = map_get(&e->modules, key);
    if (module)
        return module;
    const StdFile *file = std_file(name);
    if (!file)
        return NULL;
    const Source *source = source_add(e->sources, file->name, file->text, file->length);
    AstFile *tree = kd_parse(e->arena, e->sources, source, e->diags);
    module = module_new_from(e, key, arena_strdup(e->arena, name), tree);
    module->is_library = true;
    map_set(&e->modules, key, module);
    module_run(e, module);
    return module;
}

static KdModule *load_file(Elab *e, const KdModule *from, const AstStmt *use) {
    const char *name = use->use.module.text;
    if (!*name) // reported by the parser
        return NULL;
    const char *base = from->file && from->file->source ? from->file->source->name : "";
    const char *slash = strrchr(base, '/');
    const char *path = *name == '/' || !slash
                           ? name
                           : arena_printf(e->arena, "%.*s%s", (int)(slash + 1 - base), base, name);
    KdModule *module = map_get(&e->modules, path);
    if (module)
        return module;
    const char *reason;
    const Source *source = source_read(e->sources, path, AST_SOURCE_MAX, &reason);
    if (!source) {
        fail(e, use->use.module.span, "%s: %s", path, reason);
        return NULL;
    }
    AstFile *tree = kd_parse(e->arena, e->sources, source, e->diags);
    const char *alias = strrchr(name, '/') ? strrchr(name, '/') + 1 : name;
    const char *dot = strrchr(alias, '.');
    alias = arena_strndup(e->arena, alias, dot ? (size_t)(dot - alias) : strlen(alias));
    module = module_new_from(e, name, alias, tree);
    map_set(&e->modules, path, module);
    module_run(e, module);
    return module;
}

static void unknown_module(Elab *e, const AstStmt *use) {
    const char *name = use->use.module.text;
    Names names = {0};
    for (size_t i = 0; i < std_file_count; i++) {
        const char *file = std_files[i].name + 4;
        vec_push(e->arena, &names, arena_printf(e->arena, "std.%.*s", (int)strlen(file) - 3, file));
    }
    Diag *d = report_error(e, use->use.module.span, "there is no module `%s`", name);
    const char *near = nearest_name(name, names.at, names.count);
    if (near)
        diag_fixit(d, use->use.module.span, near);
    else
        diag_help(d, "the library has %s; a file of one's own is named in quotes: use \"mine.kd\"",
                  a_list_of(e, names.at, names.count));
}

const char *library_module_with(Elab *e, const char *name) {
    for (size_t i = 0; i < std_file_count; i++) {
        const char *file = std_files[i].name + 4; // after "std/"
        const KdModule *module =
            load_std(e, arena_strndup(e->arena, file, strlen(file) - strlen(".kd")));
        if (module && scope_find_here(module->scope, name))
            return module->name;
    }
    return NULL;
}

void modules_use(Elab *e, KdModule *into, const AstStmt *use) {
    const char *name = use->use.module.text;
    KdModule *module = NULL;
    if (use->use.is_file) {
        module = load_file(e, into, use);
        if (!module)
            return;
        if (module->busy) {
            fail(e, use->use.module.span, "`%s` uses itself", name);
            return;
        }
    } else {
        if (strncmp(name, "std.", 4) == 0)
            module = load_std(e, name + 4);
        if (!module) {
            unknown_module(e, use);
            return;
        }
    }
    for (size_t i = 0; i < into->uses.count; i++)
        if (into->uses.at[i] == module)
            return;
    vec_push(e->arena, &into->uses, module);
    vec_push(e->arena, &into->use_spans, use->span);
}

KdModule *modules_begin(Elab *e, const AstFile *file) {
    builtins_declare(e);
    e->own = module_new_from(e, "", "", file);
    e->scope = e->own->scope;
    for (size_t i = 0; i < sizeof prelude / sizeof *prelude; i++) {
        KdModule *module = load_std(e, prelude[i]);
        if (module)
            vec_push(e->arena, &e->prelude, module);
    }
    return e->own;
}
