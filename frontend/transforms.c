// frontend/transforms.c -- `augment` and `prepare`: what a transform is called with, and the shape
// that images have after them.
//
// Which transforms there are, what they take and what they make of an image is the runtime's to say
// (FrontendOptions); here arguments get their names and become constants.
#include <inttypes.h>
#include <string.h>

#include "frontend/elaborate.h"

/// The names of all transforms, and the parameters of the one called `name` (NULL: there is none).
static const char *find_transform(Elab *e, const char *name, Names *all) {
    const char *found = NULL, *row_name, *parameters;
    for (size_t i = 0;
         e->options.transform_row && e->options.transform_row(i, &row_name, &parameters); i++) {
        vec_push(e->arena, all, row_name);
        if (strcmp(row_name, name) == 0)
            found = parameters;
    }
    return found;
}

static Names split_names(Elab *e, const char *list) {
    Names names = {0};
    while (*list) {
        size_t length = strcspn(list, ",");
        vec_push(e->arena, &names, arena_strndup(e->arena, list, length));
        list += length;
        list += strspn(list, ", ");
    }
    return names;
}

static bool set_number(Elab *e, const AstExpr *at, Value v, TransformArg *arg) {
    if (v.kind != VALUE_NUMBER || arg->count == TRANSFORM_MAX_NUMBERS) {
        fail(e, at->span, "`%s` is a number, a text or a list of up to %d numbers, and this is %s",
             arg->name, TRANSFORM_MAX_NUMBERS, value_text(e, v));
        return false;
    }
    arg->number[arg->count++] = v.number;
    return true;
}

static bool read_arg(Elab *e, const char *transform, const AstArg *given, size_t position,
                     const Names *parameters, TransformSpec *spec) {
    const char *name = given->name.text;
    bool known = !name && position < parameters->count;
    for (size_t i = 0; name && i < parameters->count; i++)
        known = known || strcmp(parameters->at[i], name) == 0;
    if (!known) {
        Diag *d = report_error(e, given->span, "`%s` has no parameter `%s`", transform,
                               name ? name : expr_text(e, given->value));
        const char *near = name ? nearest_name(name, parameters->at, parameters->count) : NULL;
        if (near)
            diag_fixit(d, given->name.span, near);
        else
            diag_help(d, "it has %s", a_list_of(e, parameters->at, parameters->count));
        return false;
    }
    TransformArg arg = {.name = name ? name : parameters->at[position]};
    for (size_t i = 0; i < spec->args.count; i++) {
        if (strcmp(spec->args.at[i].name, arg.name) == 0) {
            fail(e, given->span, "`%s` gets `%s` twice", transform, arg.name);
            return false;
        }
    }
    Value v = given->value ? eval_expr(e, given->value) : value_poison();
    if (v.kind == VALUE_POISON)
        return false;
    if (v.kind == VALUE_STRING) {
        arg.text = v.string;
    } else if (value_is_list(v)) {
        for (size_t i = 0; i < list_count(v); i++)
            if (!set_number(e, given->value, list_at(v, i), &arg))
                return false;
    } else if (!set_number(e, given->value, v, &arg)) {
        return false;
    }
    vec_push(e->arena, &spec->args, arg);
    return true;
}

bool read_transform(Elab *e, const AstExpr *expr, TransformSpec *spec) {
    const AstExpr *callee = expr && expr->kind == EXPR_CALL ? expr->call.callee : expr;
    if (!callee || callee->kind != EXPR_NAME) {
        if (callee && callee->kind != EXPR_ERROR)
            fail(e, expr->span, "expected a transform, like random_crop(pad = 4)");
        return false;
    }
    Names all = {0};
    const char *list = find_transform(e, callee->name, &all);
    if (!list) {
        Binding *b = scope_find(e, e->scope, callee->name, callee->span);
        if (b && b->value.kind == VALUE_FUNCTION) {
            not_built(e, callee->span, "a transform written in kd");
            return false;
        }
        Diag *d = report_error(e, callee->span, "there is no transform `%s`", callee->name);
        const char *near = nearest_name(callee->name, all.at, all.count);
        if (near)
            diag_fixit(d, callee->span, near);
        else
            diag_help(d, "there are %s", a_list_of(e, all.at, all.count));
        return false;
    }
    *spec = (TransformSpec){.name = callee->name, .span = expr->span};
    Names parameters = split_names(e, list);
    bool named = false;
    for (size_t i = 0; expr->kind == EXPR_CALL && i < expr->call.count; i++) {
        named = named || expr->call.args[i].name.text;
        if (!read_arg(e, callee->name, &expr->call.args[i], named ? SIZE_MAX : i, &parameters,
                      spec))
            return false;
    }
    return true;
}

/// The shape of images [C, H, W] after `count` transforms. An extent of -1 is not the same for all.
static bool pass_through(Elab *e, const TransformSpec *transforms, size_t count, int64_t shape[3]) {
    for (size_t i = 0; i < count; i++) {
        int64_t in[3];
        const char *message = NULL;
        memcpy(in, shape, sizeof in);
        if (!e->options.transform_shape(e->arena, &transforms[i], in, shape, &message)) {
            fail(e, transforms[i].span, "%s", message);
            return false;
        }
    }
    return true;
}

static const char *shape_text(Elab *e, const int64_t shape[3]) {
    return arena_printf(e->arena, "[%" PRId64 ", %" PRId64 ", %" PRId64 "]", shape[0], shape[1],
                        shape[2]);
}

bool shape_images(Elab *e, const DataSpec *spec, Span span, FieldSpec *field) {
    const char *const words[] = {field->view ? arena_printf(e->arena, "view %s", field->name)
                                             : "augment",
                                 "prepare"};
    int64_t shape[2][3];
    for (int k = 0; k < 2; k++) {
        const TransformSpec *at = k             ? spec->prepare.at
                                  : field->view ? field->view->augment.at
                                                : spec->augment.at;
        size_t count = k             ? spec->prepare.count
                       : field->view ? field->view->augment.count
                                     : spec->augment.count;
        memcpy(shape[k], field->file_type.dim, sizeof shape[k]);
        if (!pass_through(e, at, count, shape[k]))
            return false;
        if (shape[k][1] > 0 && shape[k][2] > 0)
            continue;
        Diag *d = report_error(e, span, "the images of `%s` are of several sizes%s", spec->name,
                               count ? arena_printf(e->arena, ", after `%s` too", words[k]) : "");
        diag_help(d, "bring them to one: prepare resize(size = 256), center_crop(size = 224)");
        return false;
    }
    if (memcmp(shape[0], shape[1], sizeof *shape) != 0) {
        Diag *d = report_error(e, span, "the images of `%s` are %s after `%s` and %s after `%s`",
                               spec->name, shape_text(e, shape[0]), words[0],
                               shape_text(e, shape[1]), words[1]);
        diag_help(d, "a network sees both: bring them to one shape");
        return false;
    }
    memcpy(field->type.dim, shape[0], sizeof *shape);
    return true;
}
