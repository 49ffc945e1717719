// frontend/net.c -- nets at work: instances, their storage, and what can be looked at inside.
//
// A model is a tree of instances. The first application makes them and their storages; each later
// one finds them by name, so applying a model twice shares its weights. While a body runs, an
// Application notes the names used and the taps; its result carries the taps with it.
#include <inttypes.h>
#include <string.h>

#include "frontend/elaborate.h"

// ---- instances ----

static bool is_norm_net(const Function *net) {
    size_t length = net ? strlen(net->name) : 0;
    return length > 5 && strcmp(net->name + length - 5, "_norm") == 0;
}

static Instance *make_instance(Elab *e, Instance *parent, const char *name, const char *path,
                               const Function *net, Args args, Span span) {
    Instance *instance = arena_new(e->arena, Instance);
    *instance = (Instance){.name = name,
                           .path = path,
                           .parent = parent,
                           .net = net,
                           .args = args,
                           .section = -1,
                           .phase = -1,
                           .span = span};
    map_init(&instance->children, e->arena);
    map_init(&instance->storages, e->arena);
    map_set(&e->instance_paths, path, instance);
    return instance;
}

Instance *instance_root(Elab *e, const char *path, const Function *net, Args args, Span span) {
    Instance *root = make_instance(e, NULL, path, path, net, args, span);
    root->root = root;
    return root;
}

Instance *instance_new(Elab *e, Instance *parent, const char *name, const Function *net, Args args,
                       Span span) {
    const char *path = *parent->path ? arena_printf(e->arena, "%s.%s", parent->path, name) : name;
    Instance *instance = make_instance(e, parent, name, path, net, args, span);
    instance->root = parent->net ? parent->root : instance; // below a phase, a model of its own
    instance->phase = parent->phase;
    map_set(&parent->children, name, instance);
    return instance;
}

static bool marked(const Elab *e, const Instance *instance, size_t offset) {
    if (!e->phase)
        return false;
    for (const Instance *i = instance; i; i = i->parent)
        if (*(const uint32_t *)((const char *)i + offset) == e->phase_serial)
            return true;
    return false;
}

bool instance_trained(const Elab *e, const Instance *instance) {
    return e->ctx->is_step && marked(e, instance, offsetof(Instance, trained));
}

bool instance_frozen(const Elab *e, const Instance *instance) {
    return marked(e, instance, offsetof(Instance, frozen));
}

bool instance_batch_stats(const Elab *e, const Instance *instance) {
    return e->ctx->is_step && marked(e, instance, offsetof(Instance, batch_stats)) &&
           !instance_trained(e, instance);
}

void collect_storages(Elab *e, const Instance *instance, StorageInfos *out) {
    for (size_t i = 0; i < instance->storages.count; i++)
        vec_push(e->arena, out, instance->storages.entry[i].value);
    for (size_t i = 0; i < instance->children.count; i++)
        collect_storages(e, instance->children.entry[i].value, out);
}

const char *relative_path(const Instance *root, const char *path) {
    size_t length = strlen(root->path);
    return length && strncmp(path, root->path, length) == 0 && path[length] == '.'
               ? path + length + 1
               : path;
}

// ---- applications ----

void application_begin(Elab *e, Application *app, Instance *self) {
    *app = (Application){.self = self, .outer = e->app};
    map_init(&app->taken, e->arena);
    app->taps = arena_new(e->arena, Taps);
    app->taps->of = self;
    map_init(&app->taps->entries, e->arena);
    map_init(&app->taps->prefixes, e->arena);
}

static bool take_name(Elab *e, Application *app, const char *name, Span span) {
    Span *before = map_get(&app->taken, name);
    if (before) {
        Diag *d = report_error(e, span, "the name `%s` is taken already", name);
        diag_note(d, *before, "here");
        diag_help(d, "`as` gives an instance another name, \"name.{i}\" one for each time round");
        return false;
    }
    Span *copy = arena_new(e->arena, Span);
    *copy = span;
    map_set(&app->taken, name, copy);
    return true;
}

// "conv", then "conv2", "conv3".
static const char *free_name(Elab *e, const Application *app, const char *base, Span span) {
    const char *name = base;
    if (app->unsure) {
        Diag *d = report_error(e, span, "which number this `%s` has depends on a `when`", base);
        diag_help(d, "`as` gives it a name");
        return NULL;
    }
    for (int i = 2; map_has(&app->taken, name); i++)
        name = arena_printf(e->arena, "%s%d", base, i);
    return name;
}

static bool good_path(Elab *e, const char *path, Span span) {
    bool good = *path && *path != '.' && path[strlen(path) - 1] != '.' && !strstr(path, "..");
    for (const char *c = path; *c; c++)
        good &= *c > ' ' && *c != '/' && *c != '"' && (unsigned char)*c != 0x7f;
    if (!good)
        fail(e, span, "\"%s\" is no name: it holds letters, digits, `_`, `-` and dots between",
             path);
    return good;
}

static Value run_net(Elab *e, Instance *instance, Args args, const Call *call) {
    Application app;
    Scope *scope = scope_new(e, instance->net->scope);
    if (!bind_arguments(e, instance->net, args, call, scope, NULL))
        return value_poison();
    application_begin(e, &app, instance);
    e->app = &app;
    instance->order = ++e->sequence;
    const Binding *input =
        instance->net->decl->function.param_count
            ? scope_find_here(scope, instance->net->decl->function.params[0].name.text)
            : NULL;
    if (input && input->value.kind == VALUE_TENSOR && input->value.tensor->node) {
        instance->input = input->value.tensor->node->type;
        instance->has_input = true;
    }
    Value v = run_body(e, instance->net, scope, call);
    e->app = app.outer;
    instance->applied = true;
    if (v.kind == VALUE_POISON || value_is_list(v))
        return v;
    Node *node = lift(e, v, NULL, call->span, "a net returns tensors: ");
    if (!node)
        return value_poison();
    TapScope *taps = arena_new(e->arena, TapScope);
    *taps = (TapScope){app.taps, "", v.kind == VALUE_TENSOR ? v.tensor->scope : NULL};
    Value result = value_tensor(
        e,
        (Tensor){.node = node, .scope = taps, .label = instance->path, .label_span = call->span});
    if (instance->split)
        sections_assign(e, instance, result);
    return result;
}

// A run-time scalar of another graph, in the one at work.
static Node *scalar_here(Elab *e, const Node *node) {
    if (node->op == OP_scalar)
        return context_scalar(e, node->attrs->name);
    Node **operand = arena_array(e->arena, Node *, node->arity + 1);
    for (uint32_t k = 0; k < node->arity; k++)
        operand[k] = scalar_here(e, node->operand[k]);
    return graph_append(e->ctx->graph, node->op, operand, node->arity, node->attrs, node->origin);
}

// The arguments that an instance keeps, and those of the call. A tensor that it was given elsewhere
// cannot be used here, where there is another graph, and has to be given again.
static bool complete_args(Elab *e, const Instance *instance, Args args, const Call *call,
                          Args *all) {
    *all = (Args){arena_array(e->arena, Arg, instance->args.count + args.count), 0};
    for (size_t i = 0; i < instance->args.count; i++) {
        const Arg *kept = &instance->args.at[i];
        bool given = false;
        for (size_t k = 0; k < args.count && kept->name; k++)
            given |= args.at[k].name && strcmp(args.at[k].name, kept->name) == 0;
        Value v = kept->value;
        if (value_is_here(e, v)) {
            all->at[all->count++] = *kept;
        } else if (v.kind == VALUE_TENSOR && v.tensor->node &&
                   node_is_run_time_scalar(v.tensor->node)) {
            all->at[all->count] = *kept;
            all->at[all->count++].value = value_node(e, scalar_here(e, v.tensor->node));
        } else if (!given) {
            Diag *d = report_error(e, call->callee_span, "`%s` was given its `%s` elsewhere",
                                   instance->path, kept->name);
            diag_note(d, kept->span, "here");
            diag_help(d, "it is a tensor of another step or eval; give one here: %s = …",
                      kept->name);
            return false;
        }
    }
    for (size_t i = 0; i < args.count; i++)
        all->at[all->count++] = args.at[i];
    return true;
}

Value call_instance(Elab *e, Instance *instance, Args args, const Call *call) {
    Args all;
    if (!model_known(e, instance, &call->callee_span) ||
        !complete_args(e, instance, args, call, &all))
        return value_poison();
    if (call->as)
        return fail(e, call->as_span, "`%s` has a name already", instance->path);
    Value v = run_net(e, instance, all, call);
    if (e->app && e->app->self == instance->parent && v.kind == VALUE_TENSOR &&
        !map_has(&e->app->taps->entries, instance->name) && e->app->self->net)
        tap_record(e, e->app, instance->name, v, call->span);
    return v;
}

// What an instance keeps of its arguments for being applied again: all but its input, by name.
static Args args_kept(Elab *e, const Function *net, Args args) {
    const AstStmt *decl = net->decl;
    Args kept = {arena_array(e->arena, Arg, args.count), 0};
    size_t position = 0;
    for (size_t i = 0; i < args.count; i++) {
        Arg arg = args.at[i];
        if (!arg.name && position < decl->function.param_count)
            arg.name = decl->function.params[position++].name.text;
        arg.held = true;
        if (arg.name && decl->function.param_count &&
            strcmp(arg.name, decl->function.params[0].name.text) != 0)
            kept.at[kept.count++] = arg;
    }
    return kept;
}

Value apply_net(Elab *e, const Function *net, Args args, const Call *call) {
    if (!e->app) {
        Diag *d = report_error(e, call->callee_span,
                               "the net `%s` owns parameters, and here is nothing that keeps them",
                               net->name);
        diag_help(d, "declare a model: model m = %s(…)", net->name);
        return value_poison();
    }
    Application *app = e->app;
    Span span = call->as ? call->as_span : call->callee_span;
    const char *name = call->as ? call->as : free_name(e, app, net->name, span);
    if (!name || !good_path(e, name, span) || !take_name(e, app, name, span))
        return value_poison();
    Instance *instance = map_get(&app->self->children, name);
    if (!instance)
        instance = instance_new(e, app->self, name, net, (Args){0}, call->span);
    if (instance->net != net && instance->net && instance->net->decl != net->decl)
        return fail(e, span, "`%s` is an instance of `%s`, not of `%s`", instance->path,
                    instance->net->name, net->name);
    instance->net = net;
    instance->args = args_kept(e, net, args);
    Value v = run_net(e, instance, args, call);
    if (v.kind == VALUE_TENSOR)
        tap_record(e, app, name, v, call->span);
    return v;
}

// ---- taps ----

bool in_a_net(const Elab *e) {
    return e->app && e->app->self->net;
}

void tap_record(Elab *e, Application *app, const char *path, Value value, Span span) {
    if (!app || value.kind != VALUE_TENSOR || !good_path(e, path, span))
        return;
    Taps *taps = app->taps;
    const TapEntry *before = map_get(&taps->entries, path);
    if (before) {
        Diag *d = report_error(e, span, "there is a tap `%s` already", path);
        diag_note(d, before->span, "here");
        return;
    }
    Tensor t = *value.tensor;
    t.order = ++e->sequence;
    t.storage = NULL;
    t.label = *app->self->path ? arena_printf(e->arena, "%s.%s", app->self->path, path) : path;
    t.label_span = span;
    TapEntry *entry = arena_new(e->arena, TapEntry);
    *entry = (TapEntry){value_tensor(e, t).tensor, span};
    map_set(&taps->entries, path, entry);
    for (const char *dot = strchr(path, '.'); dot; dot = strchr(dot + 1, '.'))
        map_set(&taps->prefixes, arena_strndup(e->arena, path, (size_t)(dot - path)), taps);
}

static const char *join(Elab *e, const char *prefix, const char *name) {
    return *prefix ? arena_printf(e->arena, "%s.%s", prefix, name) : name;
}

// One segment further; poison kind without a report if there is none.
static bool tap_segment(Elab *e, const Tensor *t, const char *name, Tensor *out) {
    for (const TapScope *s = t->scope; s; s = s->rest) {
        const char *path = join(e, s->prefix, name);
        const TapEntry *entry = map_get(&s->taps->entries, path);
        bool prefix = map_has(&s->taps->prefixes, path);
        if (!entry && !prefix)
            continue;
        *out = entry ? *entry->tensor : (Tensor){0};
        if (prefix) {
            TapScope *scope = arena_new(e->arena, TapScope);
            *scope = (TapScope){s->taps, path, entry ? entry->tensor->scope : NULL};
            out->scope = scope;
        }
        return true;
    }
    return false;
}

// The names one segment below: of all of them, in order.
static void tap_names(Elab *e, const Tensor *t, Names *names) {
    Map seen;
    map_init(&seen, e->arena);
    for (const TapScope *s = t->scope; s; s = s->rest) {
        size_t length = strlen(s->prefix);
        for (size_t i = 0; i < s->taps->entries.count; i++) {
            const char *key = s->taps->entries.entry[i].key;
            if (length && (strncmp(key, s->prefix, length) != 0 || key[length] != '.'))
                continue;
            key += length ? length + 1 : 0;
            const char *dot = strchr(key, '.');
            const char *name = dot ? arena_strndup(e->arena, key, (size_t)(dot - key)) : key;
            if (!map_set(&seen, name, &seen))
                vec_push(e->arena, names, name);
        }
    }
}

static Value unknown_tap(Elab *e, const Tensor *t, const char *name, Span span, bool can_fix) {
    Names names = {0};
    tap_names(e, t, &names);
    const char *of = t->label ? t->label : t->scope ? t->scope->prefix : "";
    if (!names.count)
        return fail(e, span, "%s has no tap `%s`: nothing inside it has a name",
                    *of ? arena_printf(e->arena, "`%s`", of) : "this tensor", name);
    Diag *d = report_error(e, span, "`%s` has no tap `%s`", *of ? of : "this tensor", name);
    const char *near = nearest_name(name, names.at, names.count);
    if (near && can_fix)
        diag_fixit(d, span, near);
    else if (near)
        diag_help(d, "did you mean `%s`?", near);
    diag_help(d, "it has %s", a_list_of(e, names.at, names.count));
    return value_poison();
}

Value tap_path(Elab *e, Value tensor, const char *path, Span span) {
    Tensor t = *tensor.tensor;
    const char *at = path;
    for (;;) {
        const char *dot = strchr(at, '.');
        const char *name = dot ? arena_strndup(e->arena, at, (size_t)(dot - at)) : at;
        Tensor next;
        if (!tap_segment(e, &t, name, &next))
            return unknown_tap(e, &t, name, span, at == path && !dot);
        t = next;
        if (!dot)
            return value_tensor(e, t);
        at = dot + 1;
    }
}

// ---- sections ----

static const Instance *split_of(const Tensor *t) {
    for (const TapScope *s = t->scope; s; s = s->rest)
        if (s->taps->of->split && !*s->prefix)
            return s->taps->of;
    return NULL;
}

Value tensor_section(Elab *e, Value tensor, Value index, Span span) {
    const Instance *of = split_of(tensor.tensor);
    int64_t k;
    if (!of) {
        const char *label = tensor.tensor->label;
        Diag *d = report_error(e, span, "brackets index lists and sections, and %s has no sections",
                               label ? arena_printf(e->arena, "`%s`", label) : "this tensor");
        if (label)
            diag_help(d, "`split %s at …` cuts a model; slice() and take() go into a tensor",
                      label);
        else
            diag_help(d, "slice(x, axis = 0, range = 0..1) and take(x, indices) go into a tensor");
        return value_poison();
    }
    if (!value_is_int(index, &k))
        return fail(e, span, "a section is a whole number or the name of a tap, and this is %s",
                    value_text(e, index));
    int64_t count = (int64_t)of->split_count + 1;
    if (k < -count || k >= count) {
        Diag *d = report_error(e, span, "section %" PRId64 " of `%s`, which has %" PRId64, k,
                               of->path, count);
        diag_note(d, of->split_span[0], "split at %s", a_list_of(e, of->split, of->split_count));
        return value_poison();
    }
    k = k < 0 ? k + count : k;
    return k == count - 1 ? tensor : tap_path(e, tensor, of->split[k], span);
}

static void assign_below(Elab *e, Instance *instance, const uint32_t *order, size_t count) {
    int64_t section = 0;
    while (section < (int64_t)count && order[section] < instance->order)
        section++;
    instance->section = section;
    for (size_t i = 0; i < instance->storages.count; i++) {
        StorageInfo *info = instance->storages.entry[i].value;
        info->section = 0;
        while (info->section < (int64_t)count && order[info->section] < info->order)
            info->section++;
    }
    for (size_t i = 0; i < instance->children.count; i++)
        assign_below(e, instance->children.entry[i].value, order, count);
}

void sections_assign(Elab *e, Instance *root, Value result) {
    uint32_t *order = arena_array(e->arena, uint32_t, root->split_count);
    for (size_t i = 0; i < root->split_count; i++) {
        Value tap = tap_path(e, result, root->split[i], root->split_span[i]);
        if (tap.kind == VALUE_POISON || !tap.tensor->node) {
            root->split = NULL;
            root->split_count = 0;
            return;
        }
        order[i] = tap.tensor->order;
        if (i && order[i] <= order[i - 1])
            fail(e, root->split_span[i], "`%s` comes before `%s`: a split goes from front to back",
                 root->split[i], root->split[i - 1]);
    }
    assign_below(e, root, order, root->split_count);
}

// ---- storage ----

static void initialise(Elab *e, StorageInfo *info, GraphContext *ctx, Span span) {
    GraphContext *saved = e->ctx;
    Application *app = e->app;
    e->ctx = ctx;
    e->app = NULL;
    ctx->stream_base = (int64_t)info->storage->id * 16;
    ctx->draws = 0;
    const Type *type = &info->storage->type;
    Value v = info->init;
    if (v.kind == VALUE_FUNCTION || v.kind == VALUE_OPEN) {
        Value dim[MAX_RANK];
        for (int i = 0; i < type->rank; i++)
            dim[i] = value_int(type->dim[i]);
        Value shape = value_list(e, dim, type->rank);
        v = call_with(e, v, &shape, 1, span);
    } else if (v.kind == VALUE_TENSOR) {
        v = fail(e, span, "`init` is a number or a function of the shape, and this is %s",
                 value_text(e, v));
    }
    Node *like = constant_node(e, 0, type->dtype, span);
    Node *node = v.kind == VALUE_POISON ? NULL : lift(e, v, like, span, "`init`: ");
    if (node && node->type.rank == 0)
        node = broadcast_to(e, node, type, span);
    if (node && (!type_same_shape(&node->type, type) || node->type.dtype != type->dtype)) {
        fail(e, span, "`init` makes %s, and the shape is %s", type_text(e->arena, &node->type),
             type_text(e->arena, type));
        node = NULL;
    }
    Attrs attrs = {.storage = info->storage->id};
    if (node)
        make_node(e, OP_write, &node, 1, &attrs, span, NULL, NULL);
    e->ctx = saved;
    e->app = app;
}

StorageInfo *storage_make(Elab *e, Instance *owner, StorageKind kind, const char *name,
                          const Type *type, Value init, Span span) {
    StorageInfo *info = map_get(&owner->storages, name);
    const char *path = owner->is_slot ? arena_printf(e->arena, "%s/%s", owner->path, name)
                       : *owner->path ? arena_printf(e->arena, "%s.%s", owner->path, name)
                                      : name;
    if (info) {
        info->order = ++e->sequence;
        if (type_equal(&info->storage->type, type))
            return info;
        Diag *d =
            report_error(e, span, "`%s` was %s, and would be %s here", path,
                         type_text(e->arena, &info->storage->type), type_text(e->arena, type));
        diag_note(d, info->storage->origin ? info->storage->origin->span : (Span){0}, "first here");
        if (e->step && owner == e->step->states)
            diag_help(d, "a state has one shape in all batches, and the last one may be smaller");
        else
            diag_help(d, "a model's inputs have one shape but for the batch");
        return NULL;
    }
    info = arena_new(e->arena, StorageInfo);
    // What a phase makes for itself shares its bytes with what other phases make, and begins with
    // it.
    bool of_phase = e->phase && e->phase->index == owner->phase;
    Storage *storage = module_add_storage(e->module, kind, path, type);
    storage->phase = of_phase || owner->is_slot ? owner->phase : -1;
    storage->origin = origin_at(e, span);
    *info = (StorageInfo){.storage = storage,
                          .owner = owner,
                          .name = name,
                          .order = ++e->sequence,
                          .init = init,
                          .group = -1,
                          .is_norm = is_norm_net(owner->net)};
    info->is_bias = strcmp(name, "bias") == 0 && !info->is_norm;
    info->section = owner->section < 0 ? 0 : owner->section;
    vec_push(e->arena, &e->infos, info);
    map_set(&owner->storages, name, info);
    map_set(&e->storage_names, path, info);
    initialise(e, info, kind == STORAGE_SLOT || of_phase ? e->begin : e->init, span);
    if (e->step && owner == e->step->states)
        initialise(e, info, e->eval_begin, span);
    return info;
}

void storage_outlive(Elab *e, StorageInfo *info) {
    info->storage->phase = -1;
    initialise(e, info, e->init, info->storage->origin->span);
}

Value storage_value(Elab *e, StorageInfo *info) {
    uint32_t id = info->storage->id;
    bool of_other_phase = info->storage->phase >= 0 && !info->owner->is_slot &&
                          !(e->phase && e->phase->index == info->storage->phase);
    if (of_other_phase) // or a deployment looks at it
        storage_outlive(e, info);
    GraphContext *ctx = e->ctx;
    while (ctx->current.count <= id) {
        vec_push(e->arena, &ctx->current, NULL);
        vec_push(e->arena, &ctx->read, NULL);
        vec_push(e->arena, &ctx->written, 0);
    }
    if (!ctx->current.at[id]) {
        ir_at(ctx->graph, info->storage->origin);
        ctx->current.at[id] = ctx->read.at[id] = ir_read(ctx->graph, info->storage);
    }
    return value_tensor(e, (Tensor){.node = ctx->current.at[id],
                                    .storage = info,
                                    .label = info->storage->name,
                                    .label_span = info->storage->origin->span});
}

void storage_update(Elab *e, StorageInfo *info, Node *value) {
    storage_value(e, info); // room for its place
    uint32_t id = info->storage->id;
    e->ctx->current.at[id] = value;
    // Evaluation and frozen modules go on with the new value but keep nothing; an evaluation keeps
    // its own states.
    bool own = e->step && e->step->states == info->owner;
    if (own || (e->ctx->is_step && !instance_frozen(e, info->owner)))
        e->ctx->written.at[id] = 1;
}

Value builtin_storage(Elab *e, StorageKind kind, Value shape, Value init, Span span) {
    const char *what = kind == STORAGE_PARAMETER ? "parameter" : "state";
    if (!e->app)
        return fail(e, span, "`%s` belongs into a net or an optimizer", what);
    if (!e->let_name) {
        Diag *d = report_error(e, span, "this %s has no name", what);
        diag_help(d, "let weight = %s(…)", what);
        return value_poison();
    }
    Ints dims;
    if (!value_ints(e, shape, span, "a shape", &dims))
        return value_poison();
    if (dims.count > MAX_RANK)
        return fail(e, span, "a shape of %u axes; the most are %d", dims.count, MAX_RANK);
    Type type = {.dtype = e->module->real, .rank = (uint8_t)dims.count};
    double count = 1;
    bool good = true;
    for (uint32_t i = 0; i < dims.count; i++) {
        type.dim[i] = dims.at[i];
        count *= (double)dims.at[i];
        good = good && dims.at[i] >= 1 && count <= 1e12;
    }
    if (!good)
        return fail(e, span, "no %s has the shape %s", what, type_text(e->arena, &type));
    Application *app = e->app;
    Instance *owner = app->self;
    if (e->step && e->step->is_eval && !owner->net && !owner->is_slot) {
        if (kind == STORAGE_PARAMETER || e->step->finishing)
            return fail(e, span, "%s has no `%s`s of its own",
                        e->step->finishing ? "a `finish`" : "an `eval`", what);
        owner = e->step->states;
    }
    if (!take_name(e, app, e->let_name, span))
        return value_poison();
    if (owner->is_slot)
        kind = STORAGE_SLOT;
    StorageInfo *info = storage_make(e, owner, kind, e->let_name, &type, init, span);
    return info ? storage_value(e, info) : value_poison();
}
