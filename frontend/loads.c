// frontend/loads.c -- weights from elsewhere: `model m = … from ORIGIN` and `load TARGET from ORIGIN`.
//
// An origin is a file or a model. What is to be filled is noted where it is said, and worked out
// once all is elaborated, when the parameters of models are known: for a file, the storages and the
// names that the file may have, which the runtime compares; for a model, the pairs of storages,
// which are compared here. Names are seen from what was named, a model or a part of it; where the
// origin's begin with the path of the part, they are those of the whole model, whose other ones are
// passed over.
//
// A load belongs to the time that its statement belongs to: the start of the run at the top of a
// file, else the beginning of the phase or of the train block.
#include <string.h>
#include <unistd.h>

#include "frontend/elaborate.h"

// ---- noting ----

/// Paths are seen from the file that says them; the binary may be started elsewhere.
static const char *absolute_path(Elab *e, const char *path) {
    const KdModule *module = module_of(e->scope);
    const char *file = module->file && module->file->source ? module->file->source->name : "";
    const char *slash = strrchr(file, '/');
    if (*path != '/' && slash)
        path = arena_printf(e->arena, "%.*s%s", (int)(slash + 1 - file), file, path);
    char here[4096];
    if (*path != '/' && getcwd(here, sizeof here))
        path = arena_printf(e->arena, "%s/%s", here, path);
    return path;
}

static bool owns_storage(Value v) {
    return v.kind == VALUE_MODEL || v.kind == VALUE_PART ||
           (v.kind == VALUE_TENSOR && v.tensor->storage);
}

static const Instance *root_of(Value v) {
    return v.kind == VALUE_MODEL  ? v.model
           : v.kind == VALUE_PART ? v.part->root
                                  : v.tensor->storage->owner->root;
}

static bool begins_with(const char *name, const char *path) {
    size_t length = strlen(path);
    return strncmp(name, path, length) == 0 && (name[length] == '.' || !name[length]);
}

/// When a `from` or `load` runs that is said here: with the phase or block that says it, or that the
/// model belongs to whose net says it; NULL: at the start of the run.
static const PhaseWork *time_here(const Elab *e) {
    const Instance *self = e->app && e->app->self->net ? e->app->self : NULL;
    if (!self)
        return e->collecting;
    for (const Instance *i = self; i; i = i->parent)
        if (i->time)
            return i->time;
    return self->phase >= 0 ? e->phase : NULL;
}

static void note_one(Elab *e, Value target, Value origin, const PhaseWork *time, Span span,
                     const Span *at) {
    bool declares = !at;
    if (target.kind == VALUE_MODEL && declares) {
        if (target.model->has_origin) // a model in a net, which is applied again
            return;
        target.model->has_origin = true;
    }
    PendingLoad load = {.target = target,
                        .time = time,
                        .span = span,
                        .target_span = at ? *at : span,
                        .declares = declares};
    const Instance *net = e->app && e->app->self->net ? e->app->self : NULL;
    if (owns_storage(origin)) {
        load.source = origin;
        load.is_inner = net && begins_with(root_of(origin)->path, net->path);
    } else if (origin.kind == VALUE_STRING && *origin.string) {
        load.path = absolute_path(e, origin.string);
        load.is_inner = net != NULL;
    } else {
        fail(e, span, "`from` takes the name of a safetensors file or a model, and this is %s",
             value_text(e, origin));
        return;
    }
    vec_push(e->arena, &e->loads, load);
}

// A list of origins goes with a list of as many models; one origin fills each of a list. `at` is
// where the target stands; NULL: in `model … from`.
static void note(Elab *e, Value target, Value origin, const PhaseWork *time, Span span,
                 const Span *at) {
    if (target.kind == VALUE_POISON || origin.kind == VALUE_POISON)
        return;
    if (value_is_list(origin)) {
        size_t count = list_count(origin);
        if (!value_is_list(target)) {
            Diag *d = report_error(e, span, "`from` a list of %zu, for one model", count);
            diag_help(d, "a list of models takes a list of as many");
        } else if (list_count(target) != count) {
            fail(e, span, "`from` a list of %zu, for %zu models", count, list_count(target));
        } else {
            for (size_t i = 0; i < count; i++)
                note(e, list_at(target, i), list_at(origin, i), time, span, at);
        }
    } else if (value_is_list(target)) {
        for (size_t i = 0; i < list_count(target); i++)
            note(e, list_at(target, i), origin, time, span, at);
    } else {
        note_one(e, target, origin, time, span, at);
    }
}

void load_declared(Elab *e, const AstStmt *stmt, Value model) {
    Value origin = eval_expr(e, stmt->model.origin);
    note(e, model, origin, time_here(e), stmt->model.origin->span, NULL);
}

static bool is_target(Elab *e, Value v, Span span) {
    if (value_is_list(v)) {
        for (size_t i = 0; i < list_count(v); i++)
            if (!is_target(e, list_at(v, i), span))
                return false;
        return true;
    }
    if (owns_storage(v))
        return true;
    if (v.kind != VALUE_POISON)
        fail(e, span, "`load` fills a model or a part of one, and this is %s", value_text(e, v));
    return false;
}

void load_statement(Elab *e, const AstStmt *stmt) {
    Value target = eval_expr(e, stmt->load.target);
    if (is_target(e, target, stmt->load.target->span))
        note(e, target, eval_expr(e, stmt->load.origin), time_here(e), stmt->load.origin->span,
             &stmt->load.target->span);
}

// ---- what a side holds ----

typedef struct Side {
    const char *name;  // "student.layer1", for messages
    const char *root;  // "student": names in files go without it
    const char *part;  // "layer1"; "": all of it, or no path
    bool is_path;      // a model or a path below it: names may be seen from there
    StorageInfos held; // what is named
    StorageInfos all;  // of the model
} Side;

static void keep_lasting(StorageInfos *infos) { // not the slots of optimisers
    size_t kept = 0;
    for (size_t i = 0; i < infos->count; i++) {
        StorageKind kind = infos->at[i]->storage->kind;
        if (kind == STORAGE_PARAMETER || kind == STORAGE_STATE)
            infos->at[kept++] = infos->at[i];
    }
    infos->count = kept;
}

static const char *part_name(Elab *e, const Part *part) {
    const char *root = part->root->path;
    switch (part->kind) {
    case PART_PATH:
        return arena_printf(e->arena, "%s.%s", root, part->path);
    case PART_SECTION:
        return arena_printf(e->arena, "%s.sections[%d]", root, (int)part->section);
    case PART_SECTIONS:
        return arena_printf(e->arena, "%s.sections", root);
    case PART_NORMS:
        return arena_printf(e->arena, "%s.norms", root);
    case PART_BIASES:
        return arena_printf(e->arena, "%s.biases", root);
    }
    return root;
}

static Side side_of(Elab *e, Value v, Span span) {
    Side side = {.part = ""};
    const Instance *root = root_of(v);
    side.root = side.name = root->path;
    side.is_path = v.kind == VALUE_MODEL;
    if (v.kind == VALUE_PART) {
        side.name = part_name(e, v.part);
        side.is_path = v.part->kind == PART_PATH;
        side.part = v.part->path;
    } else if (v.kind == VALUE_TENSOR) {
        side.name = v.tensor->storage->storage->name;
        side.part = relative_path(root, side.name);
        side.is_path = true;
    }
    part_storages(e, v, span, &side.held);
    collect_storages(e, root, &side.all);
    keep_lasting(&side.held);
    keep_lasting(&side.all);
    return side;
}

static const char *last_name(const char *path) {
    const char *dot = strrchr(path, '.');
    return dot ? dot + 1 : path;
}

// As it is seen from the model, or from the part; a part that is one tensor is its last name.
static const char *name_in(const Side *side, const StorageInfo *info, bool from_part) {
    const char *name = info->storage->name + strlen(side->root) + 1;
    size_t length = strlen(side->part);
    if (!from_part || !length)
        return name;
    return name[length] == '.' ? name + length + 1 : last_name(name);
}

// ---- models that nothing applies ----

// `like(other)` has the parameters of `other`, and is the same to it, before it is applied.
static bool mirror_for(Elab *e, Value v, Value other) {
    if (v.kind != VALUE_MODEL || v.model->applied || v.model->storages.count)
        return false;
    model_known(e, v.model, NULL);
    StorageInfos infos = {0};
    collect_storages(e, v.model, &infos);
    if (infos.count)
        return false;
    const Instance *from = v.model->like;
    if (!from && other.kind == VALUE_MODEL && other.model->like == v.model)
        from = other.model;
    infos.count = 0;
    if (from)
        collect_storages(e, from, &infos);
    if (!infos.count)
        return false;
    model_mirror(e, v.model, from);
    return true;
}

static void mirror_models(Elab *e) {
    bool changed = true;
    while (changed) {
        changed = false;
        for (size_t i = 0; i < e->loads.count; i++) {
            const PendingLoad *load = &e->loads.at[i];
            // The origin of what is used is wanted; what nothing uses may want nothing.
            if (load->path)
                continue;
            changed |= mirror_for(e, load->source, load->target);
            if (!load->declares)
                changed |= mirror_for(e, load->target, load->source);
        }
    }
}

// ---- resolving ----

static void list_names(Elab *e, StrBuf *text, const char *kind, const Names *names) {
    enum { SHOWN = 6 };
    (void)e;
    if (!names->count)
        return;
    strbuf_printf(text, "%s%s: ", text->length ? "; " : "", kind);
    for (size_t i = 0; i < names->count && i < SHOWN; i++)
        strbuf_printf(text, "%s%s", i ? ", " : "", names->at[i]);
    if (names->count > SHOWN)
        strbuf_printf(text, " and %zu more", names->count - SHOWN);
}

static const StorageInfo *find_named(const Side *side, const StorageInfos *in, bool from_part,
                                     const char *name) {
    for (size_t i = 0; i < in->count; i++)
        if (strcmp(name_in(side, in->at[i], from_part), name) == 0)
            return in->at[i];
    return NULL;
}

// Does the origin have names of the whole model, of which `target` is a part?
static bool seen_from_root(const Side *target, const Side *source) {
    if (!target->is_path || (*source->part && !source->is_path))
        return true;
    for (size_t i = 0; *target->part && i < source->held.count; i++)
        if (begins_with(name_in(source, source->held.at[i], false), target->part) &&
            !*source->part)
            return true;
    return false;
}

static void pair_models(Elab *e, const PendingLoad *pending, const Side *target, LoadSpec *load) {
    Side source = side_of(e, pending->source, pending->span);
    bool from_root = seen_from_root(target, &source);
    Names missing = {0}, unexpected = {0}, other = {0};
    for (size_t i = 0; i < target->held.count; i++) {
        const StorageInfo *to = target->held.at[i];
        const char *name = name_in(target, to, !from_root);
        const StorageInfo *from = find_named(&source, &source.held, !from_root, name);
        if (!from) {
            vec_push(e->arena, &missing, name);
        } else if (!type_equal(&from->storage->type, &to->storage->type)) {
            vec_push(e->arena, &other,
                     arena_printf(e->arena, "%s is %s, not %s", name,
                                  type_text(e->arena, &from->storage->type),
                                  type_text(e->arena, &to->storage->type)));
        } else {
            vec_push(e->arena, &load->storages, to->storage->id);
            vec_push(e->arena, &load->sources, from->storage->id);
        }
    }
    const StorageInfos *known = from_root ? &target->all : &target->held;
    for (size_t i = 0; i < source.held.count; i++) {
        const char *name = name_in(&source, source.held.at[i], !from_root);
        if (!find_named(target, known, !from_root, name))
            vec_push(e->arena, &unexpected, name);
    }
    StrBuf text = {.arena = e->arena};
    list_names(e, &text, "missing", &missing);
    list_names(e, &text, "unexpected", &unexpected);
    list_names(e, &text, "of another shape", &other);
    if (!source.held.count) {
        Diag *d = report_error(e, pending->span, "`%s` has no parameters", source.name);
        diag_help(d, "they come into being when it is applied");
    } else if (text.length) {
        fail(e, pending->span, "`%s` does not fit `%s`: %s", source.name, target->name,
             strbuf_text(&text));
    }
}

// What another phase made for itself has to be there when the load runs.
static void outlive(Elab *e, const LoadSpec *load, const uint32_t *id, size_t count) {
    for (size_t i = 0; i < count; i++) {
        int32_t phase = e->module->storages.at[id[i]]->phase;
        if (phase >= 0 && (load->phase != phase || load->last_phase != phase))
            storage_outlive(e, e->infos.at[id[i]]);
    }
}

static bool names_part(Elab *e, Value v, Span span) {
    return v.kind != VALUE_PART || part_exists(e, v.part, span);
}

static void resolve(Elab *e, const PendingLoad *pending) {
    if (!names_part(e, pending->target, pending->target_span) ||
        !names_part(e, pending->source, pending->span))
        return;
    Side target = side_of(e, pending->target, pending->span);
    if (!target.held.count && pending->declares)
        return; // nothing applies it
    if (!target.held.count) {
        Diag *d = report_error(e, pending->target_span, "`%s` has no parameters to load",
                               target.name);
        if (!root_of(pending->target)->applied)
            diag_help(d, "they come into being when it is applied");
        return;
    }
    LoadSpec load = {.model = target.name,
                     .root = target.root,
                     .part = target.is_path ? target.part : "",
                     .path = pending->path,
                     .phase = pending->time ? pending->time->index : -1,
                     .last_phase = pending->time ? pending->time->last_index : -1,
                     .span = pending->span};
    if (!pending->path) {
        pair_models(e, pending, &target, &load);
    } else {
        for (size_t i = 0; i < target.held.count; i++)
            vec_push(e->arena, &load.storages, target.held.at[i]->storage->id);
        for (size_t i = 0; i < target.all.count; i++) {
            bool held = false;
            for (size_t k = 0; k < target.held.count; k++)
                held |= target.held.at[k] == target.all.at[i];
            if (!held)
                vec_push(e->arena, &load.others, target.all.at[i]->storage->id);
        }
    }
    outlive(e, &load, load.storages.at, load.storages.count);
    outlive(e, &load, load.sources.at, load.sources.count);
    vec_push(e->arena, &e->program->loads, load);
}

void loads_finish(Elab *e) {
    mirror_models(e);
    for (int inner = 1; inner >= 0; inner--) // what nets say of themselves comes first
        for (size_t i = 0; i < e->loads.count; i++)
            if (e->loads.at[i].is_inner == inner)
                resolve(e, &e->loads.at[i]);
}
