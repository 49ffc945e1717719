// frontend/call.c -- calls: arguments to parameters, open calls, bodies.
//
// A call that names arguments only and lacks the first parameter stays open: `sgd(lr = 0.1)`,
// `he_normal(fan = "out")`. Calling it again fills in what is missing, in order.
#include <inttypes.h>
#include <string.h>

#include "frontend/elaborate.h"

// ---- binding ----

static const char *signature_text(Elab *e, const Function *function) {
    const AstStmt *decl = function->decl;
    StrBuf text = {.arena = e->arena};
    strbuf_printf(&text, "%s(", function->name);
    for (size_t i = 0; i < decl->function.param_count; i++) {
        const AstParam *param = &decl->function.params[i];
        strbuf_printf(&text, "%s%s", i ? ", " : "", param->name.text);
        if (param->default_value)
            strbuf_printf(&text, " = %s", expr_text(e, param->default_value));
    }
    strbuf_putc(&text, ')');
    return strbuf_text(&text);
}

static void note_signature(Elab *e, Diag *d, const Function *function) {
    diag_note(d, function->decl->function.name.span, "it is %s", signature_text(e, function));
}

static size_t param_named(const AstStmt *decl, const char *name) {
    for (size_t i = 0; i < decl->function.param_count; i++)
        if (strcmp(decl->function.params[i].name.text, name) == 0)
            return i;
    return SIZE_MAX;
}

static bool unknown_argument(Elab *e, const Function *function, const Arg *arg) {
    const AstStmt *decl = function->decl;
    Names names = {0};
    for (size_t i = 0; i < decl->function.param_count; i++)
        vec_push(e->arena, &names, decl->function.params[i].name.text);
    Diag *d = report_error(e, arg->span, "`%s` has no parameter `%s`", function->name, arg->name);
    const char *near = nearest_name(arg->name, names.at, names.count);
    if (near)
        diag_help(d, "did you mean `%s`?", near);
    note_signature(e, d, function);
    return false;
}

// Places named arguments first, then positional ones in order around those an open call holds.
static bool place_arguments(Elab *e, const Function *function, Args args, const Call *call,
                            const Arg **given) {
    const AstStmt *decl = function->decl;
    size_t count = decl->function.param_count;
    bool good = true;
    size_t next = 0;
    for (size_t i = 0; i < args.count; i++) { // what is held comes first, so that new names win
        const Arg *arg = &args.at[i];
        if (!arg->name)
            continue;
        size_t k = param_named(decl, arg->name);
        if (k == SIZE_MAX) {
            good = unknown_argument(e, function, arg);
        } else if (given[k] && !given[k]->held) {
            fail(e, arg->span, "`%s` is given twice", arg->name);
            good = false;
        } else {
            given[k] = arg;
        }
    }
    for (size_t i = 0; i < args.count; i++) {
        const Arg *arg = &args.at[i];
        if (arg->name)
            continue;
        while (next < count && given[next] && given[next]->held)
            next++;
        if (next >= count) {
            Diag *d = report_error(e, arg->span, "`%s` takes %zu argument%s, and this is one more",
                                   function->name, count, count == 1 ? "" : "s");
            note_signature(e, d, function);
            return false;
        }
        if (given[next]) {
            fail(e, given[next]->span, "`%s` is given twice", given[next]->name);
            return false;
        }
        given[next++] = arg;
    }
    (void)call;
    return good;
}

bool bind_arguments(Elab *e, const Function *function, Args args, const Call *call, Scope *scope,
                    bool *is_open) {
    const AstStmt *decl = function->decl;
    const AstParam *params = decl->function.params;
    size_t count = decl->function.param_count;
    const Arg **given = arena_array(e->arena, const Arg *, count);
    if (!place_arguments(e, function, args, call, given))
        return false;
    bool positional = false;
    for (size_t i = 0; i < args.count; i++)
        positional |= !args.at[i].name;
    if (is_open) {
        *is_open =
            call->leave_open || (!positional && count && !given[0] && !params[0].default_value);
        if (*is_open)
            return true;
    }
    if (!match_patterns(e, function, params, count, given, call, scope))
        return false;

    Scope *caller = e->scope;
    const char *let_name = e->let_name;
    bool good = true;
    e->let_name = NULL;
    for (size_t i = 0; i < count && good; i++) {
        Value v;
        if (given[i]) {
            v = given[i]->value;
        } else if (params[i].default_value) {
            e->scope = scope;
            v = eval_expr(e, params[i].default_value);
            e->scope = caller;
            good = v.kind != VALUE_POISON;
        } else {
            Diag *d = report_error(e, call->callee_span, "`%s` needs its argument `%s`",
                                   function->name, params[i].name.text);
            note_signature(e, d, function);
            good = false;
            break;
        }
        scope_set(e, scope, params[i].name.text, v, params[i].name.span);
    }
    e->let_name = let_name;
    return good;
}

static bool has_poison(const AstBlock *block) {
    for (size_t i = 0; i < block->count; i++) {
        if (block->stmts[i]->kind == STMT_ERROR)
            return true;
    }
    return false;
}

// ---- bodies ----

Value run_body(Elab *e, const Function *function, Scope *scope, const Call *call) {
    if (e->calls >= LIMIT_CALLS)
        return fail_limit(e, call->span, "`%s`: more than %d calls inside one another",
                          function->name, LIMIT_CALLS);
    Scope *caller = e->scope;
    const Origin *origin = e->origin;
    const char *name = e->function, *let_name = e->let_name;
    Value result = e->result;
    e->origin = origin_at(e, call->span);
    e->function = function->name;
    e->scope = scope;
    e->let_name = NULL;
    e->calls++;

    Value v = value_none();
    const AstStmt *decl = function->decl;
    bool returned = true;
    if (decl->function.value)
        v = eval_expr(e, decl->function.value);
    else if (decl->function.body && exec_stmts(e, decl->function.body) == FLOW_RETURN)
        v = e->result;
    else
        returned = decl->kind == STMT_OPTIMIZER;

    e->calls--;
    e->scope = caller;
    e->origin = origin;
    e->function = name;
    e->let_name = let_name;
    e->result = result;
    if (!returned && !e->stopped) {
        if (has_poison(decl->function.body)) // the `return` may be what could not be read
            return value_poison();
        return fail(e, decl->function.name.span, "`%s` ends without a `return`", function->name);
    }
    return v;
}

static Value open_value(Elab *e, const Function *function, Args args, const Call *call) {
    OpenCall *open = arena_new(e->arena, OpenCall);
    *open = (OpenCall){
        function, {arena_array(e->arena, Arg, args.count), args.count}, call->span, NULL, NULL};
    for (size_t i = 0; i < args.count; i++) {
        open->args.at[i] = args.at[i];
        open->args.at[i].held = true;
        if (args.at[i].name && function->decl &&
            param_named(function->decl, args.at[i].name) == SIZE_MAX) {
            unknown_argument(e, function, &args.at[i]); // here, whoever fills in the rest
            return value_poison();
        }
        if (!args.at[i].name) {
            Diag *d = report_error(e, args.at[i].span,
                                   "the arguments of an open call are named: its first stay open");
            if (function->decl && i + 1 < function->decl->function.param_count)
                diag_help(d, "%s = %s", function->decl->function.params[i + 1].name.text,
                          expr_text(e, args.at[i].expr));
            return value_poison();
        }
    }
    return (Value){.kind = VALUE_OPEN, .open = open};
}

static bool builtin_stays_open(const Builtin *builtin, Args args) {
    if (builtin->variadic || builtin->param[0].has_default || !args.count)
        return false;
    for (size_t i = 0; i < args.count; i++)
        if (!args.at[i].name || strcmp(args.at[i].name, builtin->param[0].name) == 0)
            return false;
    return true;
}

Value call_function(Elab *e, const Function *function, Args args, const Call *call) {
    if (function->builtin)
        return builtin_stays_open(function->builtin, args)
                   ? open_value(e, function, args, call)
                   : call_builtin(e, function->builtin, args, call);
    const AstStmt *decl = function->decl;
    if (decl->kind == STMT_NET && !call->leave_open) {
        // Only a complete call makes an instance.
        bool positional = false, first = decl->function.param_count == 0;
        for (size_t i = 0; i < args.count; i++) {
            positional |= !args.at[i].name;
            first |= args.at[i].name && decl->function.param_count &&
                     strcmp(args.at[i].name, decl->function.params[0].name.text) == 0;
        }
        if (positional || first || decl->function.params[0].default_value)
            return apply_net(e, function, args, call);
        Call open = *call;
        open.leave_open = true;
        return call_function(e, function, args, &open);
    }
    bool is_open;
    Scope *scope = scope_new(e, function->scope);
    if (!bind_arguments(e, function, args, call, scope, &is_open))
        return value_poison();
    if (is_open)
        return open_value(e, function, args, call);
    if (call->as && decl->kind != STMT_NET && in_a_net(e)) {
        Call unnamed = *call;
        unnamed.as = NULL;
        return tap_value(e, run_body(e, function, scope, &unnamed), call->span, call->as, call->as_span);
    }
    if (call->as && decl->kind != STMT_NET) {
        Diag *d = report_error(e, call->as_span,
                               "`as` names an instance of a net, and `%s` is a fn", function->name);
        diag_help(d, "a fn has no parameters of its own; in a net its value would be a tap");
        return value_poison();
    }
    return run_body(e, function, scope, call);
}

static Args args_joined(Elab *e, Args held, Args args) {
    Args all = {arena_array(e->arena, Arg, held.count + args.count), held.count + args.count};
    for (size_t i = 0; i < held.count; i++)
        all.at[i] = held.at[i];
    for (size_t i = 0; i < args.count; i++)
        all.at[held.count + i] = args.at[i];
    return all;
}

Value call_value(Elab *e, Value callee, Args args, const Call *call) {
    switch (callee.kind) {
    case VALUE_POISON:
        return callee;
    case VALUE_FUNCTION:
        return call_function(e, callee.function, args, call);
    case VALUE_OPEN:
        if (callee.open->part) {
            const Instance *of = part_net(e, callee.open->part, &call->callee_span);
            return of ? call_function(e, of->net, args_joined(e, of->args, args), call)
                      : value_poison();
        }
        return call_function(e, callee.open->function, args_joined(e, callee.open->args, args),
                             call);
    case VALUE_MODEL:
        return call_instance(e, callee.model, args, call);
    case VALUE_PART:
        return part_call(e, callee.part, args, call);
    case VALUE_TENSOR:
    case VALUE_NONE:
    case VALUE_BOOL:
    case VALUE_NUMBER:
    case VALUE_STRING:
    case VALUE_RANGE:
    case VALUE_LIST:
    case VALUE_DATA:
    case VALUE_RECORD:
    case VALUE_MODULE:
        break;
    }
    Diag *d = report_error(e, call->callee_span,
                           "this is %s, and only functions, nets and models "
                           "are called",
                           value_text(e, callee));
    if (value_is_list(callee))
        diag_help(d, "an element of a list is list[i]");
    return value_poison();
}

Value call_with(Elab *e, Value callee, const Value *positional, size_t count, Span span) {
    Args args = {arena_array(e->arena, Arg, count), count};
    for (size_t i = 0; i < count; i++)
        args.at[i] = (Arg){.value = positional[i], .span = span};
    Call call = {.span = span, .callee_span = span};
    return call_value(e, callee, args, &call);
}
