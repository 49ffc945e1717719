// frontend/data.c -- data sets: their source, its header, and the settings of a `data` block.
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "frontend/elaborate.h"

static const char *const sources[] = {"idx", "cifar10", "cifar100", "npz", "images", "join"};
static const char *const built_sources[] = {"idx", "cifar10", "cifar100", "images"};
static const char *const settings[] = {"normalize", "augment", "prepare", "view",   "draw",
                                       "holdout",   "fields",  "count",   "classes"};
#define COUNT(a) (sizeof(a) / sizeof *(a))

static bool is_among(const char *name, const char *const *names, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

bool field_type(const DataSpec *data, const char *name, Type *type) {
    for (size_t i = 0; i < data->fields.count; i++) {
        if (strcmp(data->fields.at[i].name, name) == 0) {
            *type = data->fields.at[i].type;
            return true;
        }
    }
    if (strcmp(name, "index") == 0) {
        *type = (Type){.dtype = DT_I32};
        return true;
    }
    return false;
}

// ---- settings ----

static void unknown_setting(Elab *e, const AstStmt *stmt) {
    const AstName *word = &stmt->setting.word;
    Diag *d = report_error(e, word->span, "a data set has no setting `%s`", word->text);
    const char *near = nearest_name(word->text, settings, COUNT(settings));
    if (near)
        diag_fixit(d, word->span, near);
    else
        diag_help(d, "it has %s", a_list_of(e, settings, COUNT(settings)));
}

static bool positional_int(Elab *e, const AstStmt *stmt, int64_t least, int64_t *number) {
    const char *word = stmt->setting.word.text;
    if (stmt->setting.count < 1 || stmt->setting.values[0].name.text ||
        !stmt->setting.values[0].value) {
        fail(e, stmt->span, "`%s` takes a whole number", word);
        return false;
    }
    if (!eval_int(e, stmt->setting.values[0].value, arena_printf(e->arena, "`%s`", word), number))
        return false;
    if (*number < least) {
        fail(e, stmt->setting.values[0].span, "`%s` is at least %" PRId64, word, least);
        return false;
    }
    return true;
}

static void set_normalize(Elab *e, DataSpec *spec, const AstStmt *stmt) {
    spec->mean.count = spec->std.count = 0;
    for (size_t i = 0; i < stmt->setting.count; i++) {
        const AstArg *arg = &stmt->setting.values[i];
        bool mean = arg->name.text && strcmp(arg->name.text, "mean") == 0;
        if (!mean && (!arg->name.text || strcmp(arg->name.text, "std") != 0)) {
            fail(e, arg->span, "`normalize` takes `mean = …, std = …`");
            return;
        }
        Value v = arg->value ? eval_expr(e, arg->value) : value_poison();
        if (v.kind == VALUE_POISON)
            return;
        if (v.kind == VALUE_NUMBER)
            v = value_list(e, &v, 1);
        for (size_t k = 0; value_is_list(v) && k < list_count(v); k++) {
            Value x = list_at(v, k);
            if (x.kind != VALUE_NUMBER || !isfinite(x.number) || (!mean && x.number <= 0)) {
                fail(e, arg->value->span, "`%s` is a list of %snumbers, one per channel",
                     arg->name.text, mean ? "" : "positive ");
                return;
            }
            if (mean)
                vec_push(e->arena, &spec->mean, x.number);
            else
                vec_push(e->arena, &spec->std, x.number);
        }
        if (!value_is_list(v)) {
            fail(e, arg->value->span, "`%s` is a list of numbers, one per channel, and this is %s",
                 arg->name.text, value_text(e, v));
            return;
        }
    }
    if (spec->mean.count != spec->std.count)
        fail(e, stmt->span, "`normalize` has %zu means and %zu deviations", spec->mean.count,
             spec->std.count);
}

/// `view left = [t, …], right = […]`: one more field each. They come after those of the source.
static void set_views(Elab *e, DataSpec *spec, const AstStmt *stmt) {
    for (size_t i = 0; i < stmt->setting.count; i++) {
        const AstArg *arg = &stmt->setting.values[i];
        if (!arg->name.text || !arg->value || arg->value->kind != EXPR_LIST) {
            if (!arg->value || arg->value->kind != EXPR_ERROR)
                fail(e, arg->span, "a view is written like `left = [horizontal_flip]`");
            continue;
        }
        ViewSpec *view = arena_new(e->arena, ViewSpec);
        if (arg->value->list.count > TRANSFORM_MOST)
            fail(e, arg->span, "more than %d transforms, one after the other", TRANSFORM_MOST);
        for (size_t k = 0; k < arg->value->list.count; k++) {
            TransformSpec transform;
            if (read_transform(e, arg->value->list.items[k], &transform))
                vec_push(e->arena, &view->augment, transform);
        }
        bool twice = false;
        for (size_t k = 0; k < spec->views.count; k++)
            twice = twice || strcmp(spec->views.at[k].name, arg->name.text) == 0;
        if (twice)
            fail(e, arg->name.span, "the view `%s` stands twice", arg->name.text);
        else
            vec_push(e->arena, &spec->views, ((FieldSpec){.name = arg->name.text, .view = view}));
    }
}

/// Adds the views to the fields: of `image`, which there must be.
static bool add_views(Elab *e, const AstStmt *stmt, DataSpec *spec) {
    const FieldSpec *image = NULL;
    for (size_t i = 0; i < spec->fields.count; i++)
        if (strcmp(spec->fields.at[i].name, "image") == 0)
            image = &spec->fields.at[i];
    if (spec->views.count && (!image || image->file_type.rank != 3)) {
        fail(e, stmt->data.name.span, "`%s` has views, and no images called `image` to look at",
             spec->name);
        return false;
    }
    for (size_t i = 0; i < spec->views.count; i++) {
        FieldSpec field = spec->views.at[i];
        Type type;
        if (field_type(spec, field.name, &type)) {
            fail(e, stmt->data.name.span, "`%s` has a field `%s` and a view of that name",
                 spec->name, field.name);
            return false;
        }
        field.column = image->column ? image->column : image->name;
        field.file_type = image->file_type;
        vec_push(e->arena, &spec->fields, field);
    }
    return true;
}

static void set_transforms(Elab *e, const AstStmt *stmt, bool augment, DataSpec *spec) {
    if (augment)
        spec->augment.count = 0;
    else
        spec->prepare.count = 0;
    if (stmt->setting.count > TRANSFORM_MOST)
        fail(e, stmt->span, "more than %d transforms, one after the other", TRANSFORM_MOST);
    for (size_t i = 0; i < stmt->setting.count; i++) {
        const AstArg *arg = &stmt->setting.values[i];
        TransformSpec transform;
        if (arg->name.text)
            fail(e, arg->span, "expected a transform, like random_crop(pad = 4)");
        if (arg->name.text || !read_transform(e, arg->value, &transform))
            continue;
        if (augment)
            vec_push(e->arena, &spec->augment, transform);
        else
            vec_push(e->arena, &spec->prepare, transform);
    }
}

// As a step sees it: u8 pixels are divided by 255 and real.
static Type step_type(const Elab *e, Type type) {
    if (type.dtype == DT_U8 || dtype_is_float(type.dtype))
        type.dtype = e->module->real;
    return type;
}

static void set_fields(Elab *e, DataSpec *spec, const AstStmt *stmt) {
    spec->fields.count = 0;
    for (size_t i = 0; i < stmt->setting.count; i++) {
        const AstArg *arg = &stmt->setting.values[i];
        DType dtype;
        if (!arg->name.text || !arg->type || !arg->type->dtype.text ||
            !dtype_from_name(arg->type->dtype.text, &dtype) || arg->type->dim_count > 3) {
            fail(e, arg->span, "a field is written like `image: u8[3, 32, 32]` or `label: i32`");
            return;
        }
        FieldSpec field = {.name = arg->name.text, .type = {.dtype = dtype}};
        for (size_t k = 0; k < arg->type->dim_count; k++) {
            int64_t extent = 0;
            if (!arg->type->dims[k] || !eval_int(e, arg->type->dims[k], "an extent", &extent))
                return;
            if (extent < 1 || extent > (1 << 24)) {
                fail(e, arg->type->dims[k]->span, "an extent of %" PRId64, extent);
                return;
            }
            field.type.dim[field.type.rank++] = extent;
        }
        field.file_type = field.type;
        if (arg->value)
            field.column = eval_text(e, arg->value);
        vec_push(e->arena, &spec->fields, field);
    }
}

static void apply_setting(Elab *e, DataSpec *spec, const AstStmt *stmt) {
    const char *word = stmt->setting.word.text;
    if (strcmp(word, "normalize") == 0) {
        set_normalize(e, spec, stmt);
    } else if (strcmp(word, "augment") == 0) {
        set_transforms(e, stmt, true, spec);
    } else if (strcmp(word, "prepare") == 0) {
        set_transforms(e, stmt, false, spec);
    } else if (strcmp(word, "holdout") == 0) {
        positional_int(e, stmt, 0, &spec->holdout);
    } else if (strcmp(word, "classes") == 0) {
        positional_int(e, stmt, 1, &spec->classes);
    } else if (strcmp(word, "count") == 0) {
        positional_int(e, stmt, 1, &spec->count);
        for (size_t i = 1; i < stmt->setting.count; i++) {
            const AstArg *arg = &stmt->setting.values[i];
            if (arg->name.text && strcmp(arg->name.text, "test") == 0 && arg->value)
                eval_int(e, arg->value, "`test`", &spec->test_count);
            else
                fail(e, arg->span, "`count` takes the training examples, and `test = …`");
        }
    } else if (strcmp(word, "fields") == 0) {
        set_fields(e, spec, stmt);
    } else if (strcmp(word, "view") == 0) {
        set_views(e, spec, stmt);
    } else if (is_among(word, settings, COUNT(settings))) {
        not_built(e, stmt->word_span, arena_printf(e->arena, "`%s`", word));
    } else {
        unknown_setting(e, stmt);
    }
}

static bool has_setting(const AstStmt *stmt, const char *word) {
    const AstBlock *body = stmt->data.body;
    for (size_t i = 0; body && i < body->count; i++)
        if (body->stmts[i]->kind == STMT_SETTING &&
            strcmp(body->stmts[i]->setting.word.text, word) == 0)
            return true;
    return false;
}

// ---- sources ----

static bool read_header(Elab *e, DataSpec *spec, Span span, bool written_down) {
    DataHeader header = {0};
    const char *message = "this kdc reads no data";
    if (e->options.probe &&
        e->options.probe(e->arena, spec->source, spec->path, &header, &message)) {
        for (size_t i = 0; i < header.fields.count; i++) {
            FieldSpec field = {.name = header.fields.at[i].name,
                               .file_type = header.fields.at[i].type};
            vec_push(e->arena, &spec->fields, field);
        }
        spec->count = header.count;
        spec->test_count = header.test_count;
        spec->classes = header.classes;
        return true;
    }
    if (written_down)
        return true;
    Diag *d = report_error(e, span, "%s", message);
    diag_help(d, "without the files, write down `fields`, `count` and `classes` in the block");
    return false;
}

static bool read_source(Elab *e, const AstStmt *stmt, DataSpec *spec) {
    const AstExpr *call = stmt->data.value;
    const char *name = call->call.callee->name;
    Span span = call->call.callee->span;
    if (!is_among(name, sources, COUNT(sources))) {
        Diag *d = report_error(e, span, "there is no data source `%s`", name);
        const char *near = nearest_name(name, sources, COUNT(sources));
        if (near)
            diag_fixit(d, span, near);
        else
            diag_help(d, "there are %s", a_list_of(e, sources, COUNT(sources)));
        return false;
    }
    if (!is_among(name, built_sources, COUNT(built_sources))) {
        not_built(e, span, arena_printf(e->arena, "the data source `%s`", name));
        return false;
    }
    if (call->call.count != 1 || call->call.args[0].name.text) {
        fail(e, call->span, "`%s` takes the path of its folder", name);
        return false;
    }
    spec->source = name;
    spec->path = eval_text(e, call->call.args[0].value);
    if (!spec->path)
        return false;
    bool written_down = has_setting(stmt, "fields") && has_setting(stmt, "count");
    return read_header(e, spec, call->call.args[0].span, written_down);
}

static bool read_base(Elab *e, const AstStmt *stmt, DataSpec *spec) {
    Value base = eval_expr(e, stmt->data.value);
    if (base.kind == VALUE_POISON)
        return false;
    if (base.kind != VALUE_DATA) {
        fail(e, stmt->data.value->span, "expected a source or a data set, and this is %s",
             value_text(e, base));
        return false;
    }
    *spec = *e->program->data.at[base.data->index];
    // Lists are shared with the base: those that a setting replaces begin anew.
    if (has_setting(stmt, "augment"))
        memset(&spec->augment, 0, sizeof spec->augment);
    if (has_setting(stmt, "prepare"))
        memset(&spec->prepare, 0, sizeof spec->prepare);
    if (has_setting(stmt, "fields"))
        memset(&spec->fields, 0, sizeof spec->fields);
    if (has_setting(stmt, "view"))
        memset(&spec->views, 0, sizeof spec->views);
    FieldSpec *views = spec->views.at; // more may be pushed: not into the base's
    size_t view_count = spec->views.count;
    memset(&spec->views, 0, sizeof spec->views);
    for (size_t i = 0; i < view_count; i++)
        vec_push(e->arena, &spec->views, views[i]);
    if (has_setting(stmt, "normalize")) {
        memset(&spec->mean, 0, sizeof spec->mean);
        memset(&spec->std, 0, sizeof spec->std);
    }
    spec->count += spec->holdout;
    return true;
}

/// Works out what a step sees of each field.
static bool set_types(Elab *e, const AstStmt *stmt, DataSpec *spec) {
    bool good = true, has_images = false;
    const FieldSpec *fields = spec->fields.at;
    size_t count = spec->fields.count;
    memset(&spec->fields, 0, sizeof spec->fields); // those of the base stay as they are
    for (size_t i = 0; i < count; i++)
        if (!fields[i].view) // views are made anew
            vec_push(e->arena, &spec->fields, fields[i]);
    if (!add_views(e, stmt, spec))
        return false;
    for (size_t i = 0; i < spec->fields.count; i++) {
        FieldSpec field = spec->fields.at[i];
        field.type = step_type(e, field.file_type);
        bool is_image = field.file_type.rank == 3 && field.type.dtype == e->module->real;
        has_images = has_images || is_image;
        if (good && is_image)
            good = shape_images(e, spec, stmt->data.name.span, &field);
        spec->fields.at[i] = field;
    }
    if (good && count && !has_images && spec->augment.count + spec->prepare.count) {
        const TransformSpec *first = spec->augment.count ? spec->augment.at : spec->prepare.at;
        fail(e, first->span, "`%s` has no images to transform", spec->name);
    }
    return good;
}

static void check_normalize(Elab *e, const AstStmt *stmt, const DataSpec *spec) {
    Type image;
    if (spec->mean.count <= 1 || !field_type(spec, "image", &image) || image.rank != 3)
        return;
    if ((int64_t)spec->mean.count != image.dim[0])
        fail(e, stmt->data.name.span,
             "`normalize` has %zu channels, the images of `%s` have %" PRId64, spec->mean.count,
             spec->name, image.dim[0]);
}

void elaborate_data(Elab *e, const AstStmt *stmt) {
    const AstName *name = &stmt->data.name;
    DataSpec *spec = arena_new(e->arena, DataSpec);
    const AstExpr *value = stmt->data.value;
    bool is_source = value->kind == EXPR_CALL && value->call.callee->kind == EXPR_NAME;
    bool good = value->kind != EXPR_ERROR &&
                (is_source ? read_source(e, stmt, spec) : read_base(e, stmt, spec));
    spec->name = name->text;
    spec->span = stmt->span;
    for (size_t i = 0; stmt->data.body && i < stmt->data.body->count; i++)
        if (stmt->data.body->stmts[i]->kind == STMT_SETTING)
            apply_setting(e, spec, stmt->data.body->stmts[i]);
    good = good && set_types(e, stmt, spec);
    if (good) {
        check_normalize(e, stmt, spec);
        if (spec->count < 1)
            fail(e, name->span, "`%s` has no training examples", spec->name);
        else if (spec->holdout >= spec->count)
            fail(e, name->span, "`holdout` takes %" PRId64 " of %" PRId64 " examples",
                 spec->holdout, spec->count);
        spec->count -= spec->holdout;
        if (spec->count < 1)
            spec->count = 1; // reported; what follows needs an example
    }
    Value v = value_poison();
    if (good && spec->fields.count) { // a mistake in a setting does not hide those further on
        vec_push(e->arena, &e->program->data, spec);
        DataValue *data = arena_new(e->arena, DataValue);
        *data = (DataValue){(int32_t)e->program->data.count - 1, PART_DEFAULT, stmt};
        v = (Value){.kind = VALUE_DATA, .data = data};
    }
    Binding *before = scope_find_here(e->scope, name->text);
    if (before) {
        Diag *d = report_error(e, name->span, "`%s` is declared twice", name->text);
        diag_note(d, before->span, "first here");
        return;
    }
    scope_set(e, e->scope, name->text, v, name->span)->doc = stmt->doc;
}

Value data_attribute(Elab *e, Value data, const char *name, Span span) {
    const DataSpec *spec = e->program->data.at[data.data->index];
    static const char *const parts[] = {"train", "validation", "test"};
    static const char *const attributes[] = {"classes", "count", "train", "validation", "test"};
    if (strcmp(name, "count") == 0)
        return value_int(data.data->part == PART_TEST         ? spec->test_count
                         : data.data->part == PART_VALIDATION ? spec->holdout
                                                              : spec->count);
    if (strcmp(name, "classes") == 0) {
        if (spec->classes)
            return value_int(spec->classes);
        Diag *d = report_error(e, span, "how many classes `%s` has is not known", spec->name);
        diag_help(d, "write it down in its block: classes 10");
        return value_poison();
    }
    for (int i = 0; i < 3; i++) {
        if (strcmp(name, parts[i]) != 0)
            continue;
        DataPart part = (DataPart[]){PART_TRAIN, PART_VALIDATION, PART_TEST}[i];
        if (part == PART_VALIDATION && !spec->holdout) {
            Diag *d = report_error(e, span, "`%s` has no validation part", spec->name);
            diag_help(d, "holdout 5000 in its block takes one from the training part");
            return value_poison();
        }
        if (part == PART_TEST && !spec->test_count)
            return fail(e, span, "`%s` has no test part", spec->name);
        DataValue *copy = arena_new(e->arena, DataValue);
        *copy = *data.data;
        copy->part = part;
        return (Value){.kind = VALUE_DATA, .data = copy};
    }
    Diag *d = report_error(e, span, "the data set `%s` has no `%s`", spec->name, name);
    const char *near = nearest_name(name, attributes, COUNT(attributes));
    if (near)
        diag_fixit(d, span, near);
    else
        diag_help(d, "it has %s", a_list_of(e, attributes, COUNT(attributes)));
    return value_poison();
}
