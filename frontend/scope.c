// frontend/scope.c -- names: blocks, then the module, what it uses, the prelude, the primitives.
#include <string.h>

#include "frontend/elaborate.h"

enum { SCOPE_LIST_MAX = 12 }; // beyond it a scope gets a map

Scope *scope_new(Elab *e, Scope *parent) {
    Scope *scope = arena_new(e->arena, Scope);
    scope->parent = parent;
    return scope;
}

static uint64_t hash_name(const char *name) {
    return hash_bytes(name, strlen(name), 0);
}

Binding *scope_find_here(const Scope *scope, const char *name) {
    if (scope->map)
        return map_get(scope->map, name);
    uint64_t hash = hash_name(name);
    for (Binding *b = scope->first; b; b = b->next)
        if (b->hash == hash && strcmp(b->name, name) == 0)
            return b;
    return NULL;
}

Binding *scope_set(Elab *e, Scope *scope, const char *name, Value value, Span span) {
    Binding *b = arena_new(e->arena, Binding);
    *b = (Binding){.name = name, .hash = hash_name(name), .value = value, .span = span};
    b->next = scope->first;
    scope->first = b;
    scope->count++;
    if (!scope->map && scope->count > SCOPE_LIST_MAX) {
        Vec(Binding *) all = {0};
        for (Binding *old = scope->first; old; old = old->next)
            vec_push(e->arena, &all, old);
        scope->map = arena_new(e->arena, Map);
        map_init(scope->map, e->arena);
        for (size_t i = all.count; i-- > 0;)
            map_set(scope->map, all.at[i]->name, all.at[i]);
    } else if (scope->map) {
        map_set(scope->map, name, b);
    }
    return b;
}

KdModule *module_of(const Scope *scope) {
    while (scope && !scope->module)
        scope = scope->parent;
    return scope ? scope->module : NULL;
}

// What a module itself declares; not what it uses.
static Binding *find_in_uses(Elab *e, const KdModule *module, const char *name, Span span) {
    Binding *found = NULL;
    KdModule *from = NULL;
    for (size_t i = 0; i < module->uses.count; i++) {
        Binding *b = scope_find_here(module->uses.at[i]->scope, name);
        if (b && found && b != found) {
            Diag *d = report_error(e, span, "`%s` is in two modules, `%s` and `%s`", name,
                                   from->name, module->uses.at[i]->name);
            diag_help(d, "say which: %s.%s or %s.%s", from->alias, name, module->uses.at[i]->alias,
                      name);
            return found;
        }
        if (b) {
            found = b;
            from = module->uses.at[i];
        }
    }
    return found;
}

Binding *scope_find(Elab *e, Scope *scope, const char *name, Span span) {
    for (Scope *s = scope; s; s = s->parent) {
        Binding *b = scope_find_here(s, name);
        if (b)
            return b;
        if (!s->module)
            continue;
        b = find_in_uses(e, s->module, name, span);
        if (b)
            return b;
    }
    for (size_t i = 0; i < e->prelude.count; i++) {
        Binding *b = scope_find_here(e->prelude.at[i]->scope, name);
        if (b)
            return b;
    }
    return e->primitives ? scope_find_here(e->primitives, name) : NULL;
}

static void collect_here(Elab *e, const Scope *scope, Names *names) {
    for (const Binding *b = scope->first; b; b = b->next)
        vec_push(e->arena, names, b->name);
}

void scope_collect(Elab *e, const Scope *scope, Names *names) {
    for (const Scope *s = scope; s; s = s->parent) {
        collect_here(e, s, names);
        if (s->module)
            for (size_t i = 0; i < s->module->uses.count; i++)
                collect_here(e, s->module->uses.at[i]->scope, names);
    }
    for (size_t i = 0; i < e->prelude.count; i++)
        collect_here(e, e->prelude.at[i]->scope, names);
    collect_here(e, e->primitives, names);
    static const char *const special[] = {"epoch", "iteration", "progress", "training",
                                          "batch_stats"};
    for (size_t i = 0; i < sizeof special / sizeof *special; i++)
        vec_push(e->arena, names, special[i]);
}

const char *scope_nearest(Elab *e, Scope *scope, const char *name) {
    Names names = {0};
    scope_collect(e, scope, &names);
    return nearest_name(name, names.at, names.count);
}
