// frontend/parts.c -- models as values: declaring and splitting them, and the parts of them that
// `optimize`, `freeze` and `over` name.
#include <inttypes.h>
#include <string.h>

#include "frontend/elaborate.h"

// ---- declaring ----

static Value declare_one(Elab *e, const AstStmt *stmt, Value value, const char *name) {
    if (value.kind == VALUE_POISON)
        return value;
    const Function *net = value.kind == VALUE_OPEN       ? value.open->function
                          : value.kind == VALUE_FUNCTION ? value.function
                                                         : NULL;
    const Part *part = value.kind == VALUE_OPEN ? value.open->part : NULL;
    if (!part && (!net || !net->decl || net->decl->kind != STMT_NET)) {
        Diag *d =
            report_error(e, stmt->model.value->span,
                         "a model is an instance of a net, and this is %s", value_text(e, value));
        if (value.kind == VALUE_TENSOR)
            diag_help(d, "leave the input open: give named arguments only");
        return value_poison();
    }
    Args args = value.kind == VALUE_OPEN ? value.open->args : (Args){0};
    if (part) // known when it is applied
        net = NULL;
    Instance *instance;
    if (e->app) {
        instance = map_get(&e->app->self->children, name);
        if (!instance)
            instance = instance_new(e, e->app->self, name, net, args, stmt->model.name.span);
        instance->net = net;
        instance->args = args;
    } else if (map_has(&e->instance_paths, name)) {
        return fail(e, stmt->model.name.span, "something else owns parameters as `%s` already",
                    name);
    } else {
        instance = instance_root(e, name, net, args, stmt->model.name.span);
    }
    if (value.kind == VALUE_OPEN && !part)
        instance->like = value.open->like;
    instance->like_part = part;
    instance->like_span = stmt->model.value->span;
    if (!(e->app && e->app->self->net))
        instance->time = e->collecting;
    vec_push(e->arena, &e->models, instance);
    return (Value){.kind = VALUE_MODEL, .model = instance};
}

static Value declare_all(Elab *e, const AstStmt *stmt, Value value, const char *name) {
    if (!value_is_list(value))
        return declare_one(e, stmt, value, name);
    Value *at = arena_array(e->arena, Value, list_count(value));
    for (size_t i = 0; i < list_count(value); i++) {
        at[i] = declare_all(e, stmt, list_at(value, i), arena_printf(e->arena, "%s.%zu", name, i));
        if (at[i].kind == VALUE_POISON)
            return at[i];
    }
    return value_list(e, at, list_count(value));
}

Value model_declare(Elab *e, const AstStmt *stmt, Value value, const char *prefix) {
    (void)prefix;
    Value model = declare_all(e, stmt, value, stmt->model.name.text);
    if (stmt->model.origin)
        load_declared(e, stmt, model);
    return model;
}

// ---- splitting ----

static void add_tap(Elab *e, Value v, Span span, Names *names, Span **spans) {
    if (value_is_list(v)) {
        for (size_t i = 0; i < list_count(v); i++)
            add_tap(e, list_at(v, i), span, names, spans);
    } else if (v.kind == VALUE_STRING) {
        Span *grown = arena_array(e->arena, Span, names->count + 1);
        if (names->count)
            memcpy(grown, *spans, names->count * sizeof(Span));
        grown[names->count] = span;
        *spans = grown;
        vec_push(e->arena, names, v.string);
    } else if (v.kind != VALUE_POISON) {
        fail(e, span, "a tap is a name or a string, and this is %s", value_text(e, v));
    }
}

static void split_one(Elab *e, const AstStmt *stmt, Value model, const Names *names, Span *spans) {
    if (value_is_list(model)) {
        for (size_t i = 0; i < list_count(model); i++)
            split_one(e, stmt, list_at(model, i), names, spans);
        return;
    }
    if (model.kind != VALUE_MODEL) {
        if (model.kind != VALUE_POISON)
            fail(e, stmt->split.model->span, "`split` cuts a model, and this is %s",
                 value_text(e, model));
        return;
    }
    Instance *instance = model.model;
    bool by_net = !stmt->split.model;
    if (by_net && instance->split && !instance->split_by_net)
        return; // the program's own split stands
    instance->split = names->at;
    instance->split_count = names->count;
    instance->split_span = spans;
    instance->split_by_net = by_net;
}

void model_split(Elab *e, const AstStmt *stmt) {
    if (!stmt->split.model && !(e->app && e->app->self->net)) {
        Diag *d =
            report_error(e, stmt->word_span, "outside a `net` a `split` says which model it cuts");
        diag_help(d, "split MODEL at …");
        return;
    }
    Names names = {0};
    Span *spans = NULL;
    for (size_t i = 0; i < stmt->split.count; i++) {
        const AstExpr *tap = stmt->split.taps[i];
        const char *path = ast_path_text(e->arena, tap);
        Value v = path ? value_string(path) : eval_expr(e, tap);
        add_tap(e, v, tap->span, &names, &spans);
    }
    if (!names.count)
        return;
    Value model = stmt->split.model ? eval_expr(e, stmt->split.model)
                                    : (Value){.kind = VALUE_MODEL, .model = e->app->self};
    split_one(e, stmt, model, &names, spans);
}

// ---- paths ----

static bool has_path(const Elab *e, const char *path) {
    if (map_has(&e->instance_paths, path) || map_has(&e->storage_names, path))
        return true;
    size_t length = strlen(path);
    for (size_t i = 0; i < e->instance_paths.count; i++) {
        const char *key = e->instance_paths.entry[i].key;
        if (strncmp(key, path, length) == 0 && key[length] == '.')
            return true;
    }
    return false;
}

StorageInfo *instance_storage(Elab *e, Instance *root, const char *path) {
    return map_get(&e->storage_names, arena_printf(e->arena, "%s.%s", root->path, path));
}

static Value part_value(Elab *e, Part part) {
    Part *copy = arena_new(e->arena, Part);
    *copy = part;
    return (Value){.kind = VALUE_PART, .part = copy};
}

static void names_below(Elab *e, const char *path, Names *names) {
    Map seen;
    map_init(&seen, e->arena);
    size_t length = strlen(path);
    const Map *maps[] = {&e->instance_paths, &e->storage_names};
    for (int m = 0; m < 2; m++) {
        for (size_t i = 0; i < maps[m]->count; i++) {
            const char *key = maps[m]->entry[i].key;
            if (strncmp(key, path, length) != 0 || key[length] != '.')
                continue;
            key += length + 1;
            const char *dot = strchr(key, '.');
            const char *name = dot ? arena_strndup(e->arena, key, (size_t)(dot - key)) : key;
            if (!map_set(&seen, name, &seen))
                vec_push(e->arena, names, name);
        }
    }
}

// `span` is that of the name, or of the path that holds it.
static void no_part(Elab *e, const char *above, const char *name, Span span, bool is_path) {
    Names names = {0};
    names_below(e, above, &names);
    Diag *d = report_error(e, span, "`%s` has no part `%s`", above, name);
    const char *near = nearest_name(name, names.at, names.count);
    if (near && is_path)
        diag_help(d, "did you mean `%s`?", near);
    else if (near && !strchr(name, '.'))
        diag_fixit(d, span, near);
    if (names.count)
        diag_help(d, "it has %s", a_list_of(e, names.at, names.count));
}

bool part_exists(Elab *e, const Part *part, Span span) {
    if (part->kind != PART_PATH || !part->root->applied)
        return true;
    const char *above = part->root->path;
    for (const char *rest = part->path; rest;) {
        const char *dot = strchr(rest, '.');
        const char *name = dot ? arena_strndup(e->arena, rest, (size_t)(dot - rest)) : rest;
        const char *full = arena_printf(e->arena, "%s.%s", above, name);
        if (!has_path(e, full)) {
            no_part(e, above, name, span, true);
            return false;
        }
        above = full;
        rest = dot ? dot + 1 : NULL;
    }
    return true;
}

static Value path_below(Elab *e, Instance *root, const char *prefix, const char *name, Span span) {
    const char *path = *prefix ? arena_printf(e->arena, "%s.%s", prefix, name) : name;
    StorageInfo *info = instance_storage(e, root, path);
    if (info)
        return storage_value(e, info);
    const char *full = arena_printf(e->arena, "%s.%s", root->path, path);
    if (root->applied && !has_path(e, full)) {
        no_part(e, *prefix ? arena_printf(e->arena, "%s.%s", root->path, prefix) : root->path, name,
                span, false);
        return value_poison();
    }
    return part_value(e, (Part){root, PART_PATH, path, 0});
}

Value part_path(Elab *e, Value object, const char *name, Span span) {
    if (object.kind == VALUE_PART) {
        const Part *part = object.part;
        if (part->kind != PART_PATH)
            return fail(e, span, "there is no `.%s` here", name);
        return path_below(e, part->root, part->path, name, span);
    }
    Instance *model = object.model;
    if (strcmp(name, "sections") == 0)
        return part_value(e, (Part){model, PART_SECTIONS, "", 0});
    if (strcmp(name, "norms") == 0)
        return part_value(e, (Part){model, PART_NORMS, "", 0});
    if (strcmp(name, "biases") == 0)
        return part_value(e, (Part){model, PART_BIASES, "", 0});
    return path_below(e, model, "", name, span);
}

Value part_index(Elab *e, Value object, Value index, Span span) {
    int64_t k;
    if (index.kind == VALUE_STRING) {
        if (object.kind == VALUE_MODEL)
            return path_below(e, object.model, "", index.string, span);
        if (object.part->kind == PART_PATH)
            return path_below(e, object.part->root, object.part->path, index.string, span);
    }
    if (object.kind == VALUE_PART && object.part->kind == PART_SECTIONS) {
        Instance *root = object.part->root;
        if (!value_is_int(index, &k))
            return fail(e, span, "a section is a whole number, and this is %s",
                        value_text(e, index));
        int64_t count = (int64_t)root->split_count + 1;
        if (!root->split && !root->split_by_net && root->applied)
            return fail(e, span, "`%s` is not split", root->path);
        if (root->split && (k < -count || k >= count)) {
            Diag *d = report_error(e, span, "section %" PRId64 " of `%s`, which has %" PRId64, k,
                                   root->path, count);
            diag_note(d, root->split_span[0], "split at %s",
                      a_list_of(e, root->split, root->split_count));
            return value_poison();
        }
        return part_value(e, (Part){root, PART_SECTION, "", k < 0 ? k + count : k});
    }
    Diag *d = report_error(e, span, "%s is indexed by the name of a part, and this is %s",
                           value_kind_text(object), value_text(e, index));
    if (object.kind == VALUE_MODEL)
        diag_help(d, "%s.sections[k] is its k-th section", object.model->path);
    return value_poison();
}

// ---- parts as nets ----

static const char *path_of(Elab *e, const Part *part) {
    return arena_printf(e->arena, "%s.%s", part->root->path, part->path);
}

Instance *part_net(Elab *e, const Part *part, const Span *span) {
    const char *path = path_of(e, part);
    Instance *instance = map_get(&e->instance_paths, path);
    if (instance && model_known(e, instance, span) && instance->net)
        return instance;
    if (!span || (instance && !instance->net && instance->like_part))
        return NULL;
    if (!part_exists(e, part, *span))
        return NULL;
    Diag *d = report_error(e, *span, "`%s` is no net that could be applied", path);
    Names names = {0};
    names_below(e, path, &names);
    if (!part->root->applied)
        diag_help(d, "apply `%s` before its parts", part->root->path);
    else if (names.count)
        diag_help(d, "it has %s", a_list_of(e, names.at, names.count));
    return NULL;
}

bool model_known(Elab *e, Instance *model, const Span *span) {
    if (model->net || !model->like_part)
        return true;
    size_t diag_count = e->diags->diags.count;
    Instance *of = part_net(e, model->like_part, span ? &model->like_span : NULL);
    if (!of) {
        if (e->diags->diags.count > diag_count)
            diag_note(vec_last(&e->diags->diags), *span, "`%s` is used here", model->path);
        return false;
    }
    model->net = of->net;
    model->args = of->args;
    model->like = of;
    return true;
}

static Value like_instance(Elab *e, Instance *of, Span span) {
    Function *net = arena_new(e->arena, Function);
    *net = *of->net;
    OpenCall *open = arena_new(e->arena, OpenCall);
    *open = (OpenCall){net, of->args, span, of, NULL};
    return (Value){.kind = VALUE_OPEN, .open = open};
}

Value like_value(Elab *e, Value of, Span span, Span of_span) {
    static const Function unknown = {.name = "like"};
    const Part *part = of.kind == VALUE_PART ? of.part : NULL;
    if (part && part->kind == PART_SECTION)
        return not_built(e, span, "`like` of a section");
    if (of.kind == VALUE_MODEL && !model_known(e, of.model, NULL))
        part = of.model->like_part;
    else if (of.kind == VALUE_MODEL)
        return like_instance(e, of.model, span);
    if (!part || part->kind != PART_PATH)
        return fail(e, of_span, "like: expected a model or a net in one, and this %s",
                    part ? "names parameters" : arena_printf(e->arena, "is %s", value_text(e, of)));
    Instance *instance = part_net(e, part, part->root->applied ? &of_span : NULL);
    if (instance)
        return like_instance(e, instance, span);
    if (part->root->applied)
        return value_poison();
    OpenCall *open = arena_new(e->arena, OpenCall);
    *open = (OpenCall){&unknown, {0}, span, NULL, part};
    return (Value){.kind = VALUE_OPEN, .open = open};
}

Value part_call(Elab *e, const Part *part, Args args, const Call *call) {
    if (part->kind == PART_SECTION)
        return section_call(e, part, args, call);
    if (part->kind != PART_PATH)
        return fail(e, call->callee_span, "this names parameters, and is no function");
    Instance *instance = part_net(e, part, &call->callee_span);
    return instance ? call_instance(e, instance, args, call) : value_poison();
}

// ---- what a target holds ----

static bool under(const char *path, const char *above) {
    size_t length = strlen(above);
    return strncmp(path, above, length) == 0 && (path[length] == '.' || !path[length]);
}

static bool part_has(Elab *e, const Part *part, const StorageInfo *info) {
    switch (part->kind) {
    case PART_PATH:
        return under(info->storage->name,
                     arena_printf(e->arena, "%s.%s", part->root->path, part->path));
    case PART_SECTION:
        return info->section == part->section;
    case PART_SECTIONS:
        return true;
    case PART_NORMS:
        return info->is_norm;
    case PART_BIASES:
        return info->is_bias;
    }
    return false;
}

bool part_storages(Elab *e, Value target, Span span, StorageInfos *out) {
    if (target.kind == VALUE_POISON)
        return false;
    if (value_is_list(target)) {
        for (size_t i = 0; i < list_count(target); i++)
            if (!part_storages(e, list_at(target, i), span, out))
                return false;
        return true;
    }
    if (target.kind == VALUE_MODEL) {
        collect_storages(e, target.model, out);
        return true;
    }
    if (target.kind == VALUE_TENSOR && target.tensor->storage) {
        vec_push(e->arena, out, target.tensor->storage);
        return true;
    }
    if (target.kind != VALUE_PART) {
        Diag *d = report_error(e, span, "expected a model or a part of one, and this is %s",
                               value_text(e, target));
        if (target.kind == VALUE_FUNCTION && target.function->decl &&
            target.function->decl->kind == STMT_NET)
            diag_help(d, "declare a model of it: model m = %s(…)", target.function->name);
        return false;
    }
    StorageInfos all = {0};
    collect_storages(e, target.part->root, &all);
    for (size_t i = 0; i < all.count; i++)
        if (part_has(e, target.part, all.at[i]))
            vec_push(e->arena, out, all.at[i]);
    return true;
}

static void mark_below(Elab *e, Instance *instance, const Part *part, const char *path,
                       void (*mark)(Elab *, Instance *)) {
    bool hit = part->kind == PART_PATH ? under(instance->path, path)
               : part->kind == PART_SECTION
                   ? instance->section == part->section && instance != part->root
                   : part->kind == PART_SECTIONS;
    if (hit)
        mark(e, instance);
    for (size_t i = 0; i < instance->children.count; i++)
        mark_below(e, instance->children.entry[i].value, part, path, mark);
}

void part_mark(Elab *e, Value target, void (*mark)(Elab *, Instance *)) {
    if (value_is_list(target)) {
        for (size_t i = 0; i < list_count(target); i++)
            part_mark(e, list_at(target, i), mark);
    } else if (target.kind == VALUE_MODEL) {
        mark(e, target.model);
    } else if (target.kind == VALUE_PART) {
        const Part *part = target.part;
        mark_below(e, part->root, part,
                   arena_printf(e->arena, "%s.%s", part->root->path, part->path), mark);
    }
}

// ---- `slow <- 0.999 * slow + 0.001 * student` ----

void model_mirror(Elab *e, Instance *to, const Instance *from) {
    for (size_t i = 0; i < from->storages.count; i++) {
        const StorageInfo *info = from->storages.entry[i].value;
        storage_make(e, to, info->storage->kind, info->name, &info->storage->type, info->init,
                     to->span);
    }
    for (size_t i = 0; i < from->children.count; i++) {
        const Instance *child = from->children.entry[i].value;
        Instance *mine = map_get(&to->children, child->name);
        if (!mine)
            mine = instance_new(e, to, child->name, child->net, child->args, to->span);
        model_mirror(e, mine, child);
    }
}

void model_update(Elab *e, const AstStmt *stmt, Value target) {
    Instance *model = target.model;
    StorageInfos infos = {0};
    if (!model_known(e, model, &stmt->assign.target->span))
        return;
    if (!model->applied && model->like)
        model_mirror(e, model, model->like);
    collect_storages(e, model, &infos);
    if (!infos.count) {
        Diag *d = report_error(e, stmt->assign.target->span,
                               "`%s` has no parameters yet: it was never applied", model->path);
        diag_help(d, "a model made by like(other) has them from the start");
        return;
    }
    if (instance_frozen(e, model)) {
        fail(e, stmt->assign.target->span, "`%s` is frozen in this phase", model->path);
        return;
    }
    Vec(Node *) values = {0};
    const char *member = e->member;
    for (size_t i = 0; i < infos.count; i++) {
        const StorageInfo *info = infos.at[i];
        e->member = relative_path(model, info->storage->name);
        Node *like = storage_value(e, infos.at[i]).tensor->node;
        Value v = eval_expr(e, stmt->assign.value);
        Node *node =
            v.kind == VALUE_POISON ? NULL : lift(e, v, like, stmt->assign.value->span, "`<-`: ");
        if (node && !type_same_shape(&node->type, &info->storage->type))
            node = broadcast_to(e, node, &info->storage->type, stmt->assign.value->span);
        if (!node)
            break;
        vec_push(e->arena, &values, node);
    }
    e->member = member;
    if (e->step && e->step->gathers)
        return; // a model changes with an update, and follows models that do
    for (size_t i = 0; i < values.count; i++) // all at once: each saw the values from before
        storage_update(e, infos.at[i], values.at[i]);
}
