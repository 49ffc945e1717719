// frontend/values.c -- constants and lists, and how messages call them.
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/elaborate.h"

Value value_poison(void) {
    return (Value){.kind = VALUE_POISON};
}

Value value_none(void) {
    return (Value){.kind = VALUE_NONE};
}

Value value_bool(bool boolean) {
    return (Value){.kind = VALUE_BOOL, .boolean = boolean};
}

Value value_int(int64_t number) {
    return (Value){.kind = VALUE_NUMBER, .is_int = true, .number = (double)number};
}

Value value_real(double number) {
    return (Value){.kind = VALUE_NUMBER, .number = number};
}

Value value_string(const char *text) {
    return (Value){.kind = VALUE_STRING, .string = text};
}

Value value_list(Elab *e, const Value *at, size_t count) {
    List *list = arena_new(e->arena, List);
    list->count = count;
    list->at = arena_array(e->arena, Value, count);
    if (count)
        memcpy(list->at, at, count * sizeof *at);
    return (Value){.kind = VALUE_LIST, .list = list};
}

Value value_range(int64_t low, int64_t high) {
    return (Value){.kind = VALUE_RANGE, .range = {low, high < low ? low : high}};
}

Value value_tensor(Elab *e, Tensor tensor) {
    Tensor *copy = arena_new(e->arena, Tensor);
    *copy = tensor;
    return (Value){.kind = VALUE_TENSOR, .tensor = copy};
}

Value value_node(Elab *e, Node *node) {
    return node ? value_tensor(e, (Tensor){.node = node}) : value_poison();
}

Value value_function(const Function *function) {
    return (Value){.kind = VALUE_FUNCTION, .function = function};
}

bool value_is_list(Value v) {
    return v.kind == VALUE_LIST || v.kind == VALUE_RANGE;
}

size_t list_count(Value v) {
    return v.kind == VALUE_RANGE ? (size_t)(v.range.high - v.range.low) : v.list->count;
}

Value list_at(Value v, size_t i) {
    return v.kind == VALUE_RANGE ? value_int(v.range.low + (int64_t)i) : v.list->at[i];
}

static bool node_is_here(const Elab *e, const Node *node) {
    return node->id < e->ctx->graph->nodes.count && e->ctx->graph->nodes.at[node->id] == node;
}

bool value_is_here(const Elab *e, Value v) {
    bool here = true;
    if (v.kind == VALUE_LIST)
        for (size_t i = 0; i < v.list->count; i++)
            here &= value_is_here(e, v.list->at[i]);
    if (v.kind == VALUE_OPEN)
        for (size_t i = 0; i < v.open->args.count; i++)
            here &= value_is_here(e, v.open->args.at[i].value);
    if (v.kind != VALUE_TENSOR)
        return here;
    if (v.tensor->node)
        return node_is_here(e, v.tensor->node);
    const Map *taps = &v.tensor->scope->taps->entries; // the way to taps below a name
    const TapEntry *first = taps->entry[0].value;
    return node_is_here(e, first->tensor->node);
}

bool value_is_int(Value v, int64_t *number) {
    if (v.kind != VALUE_NUMBER || v.number != floor(v.number) || fabs(v.number) > 9e15)
        return false;
    *number = (int64_t)v.number;
    return v.is_int;
}

bool value_equal(Value a, Value b) {
    if (value_is_list(a) && value_is_list(b)) {
        if (list_count(a) != list_count(b))
            return false;
        for (size_t i = 0; i < list_count(a); i++)
            if (!value_equal(list_at(a, i), list_at(b, i)))
                return false;
        return true;
    }
    if (a.kind != b.kind)
        return false;
    switch (a.kind) {
    case VALUE_POISON:
    case VALUE_NONE:
        return true;
    case VALUE_BOOL:
        return a.boolean == b.boolean;
    case VALUE_NUMBER:
        return a.number == b.number;
    case VALUE_STRING:
        return strcmp(a.string, b.string) == 0;
    case VALUE_RANGE:
    case VALUE_LIST:
        return false; // above
    case VALUE_FUNCTION:
        return a.function == b.function;
    case VALUE_OPEN:
        return a.open == b.open;
    case VALUE_TENSOR:
        return a.tensor->node == b.tensor->node;
    case VALUE_MODEL:
        return a.model == b.model;
    case VALUE_PART:
        return a.part == b.part;
    case VALUE_DATA:
        return a.data == b.data;
    case VALUE_RECORD:
        return a.record == b.record;
    case VALUE_MODULE:
        return a.module == b.module;
    }
    return false;
}

const char *value_kind_text(Value v) {
    switch (v.kind) {
    case VALUE_POISON:
        return "a mistake";
    case VALUE_NONE:
        return "`none`";
    case VALUE_BOOL:
        return "a bool";
    case VALUE_NUMBER:
        return "a number";
    case VALUE_STRING:
        return "a string";
    case VALUE_RANGE:
    case VALUE_LIST:
        return "a list";
    case VALUE_FUNCTION:
        return "a function";
    case VALUE_OPEN:
        return "an open call";
    case VALUE_TENSOR:
        return "a tensor";
    case VALUE_MODEL:
        return "a model";
    case VALUE_PART:
        return "a part of a model";
    case VALUE_DATA:
        return "a data set";
    case VALUE_RECORD:
        return "a block";
    case VALUE_MODULE:
        return "a module";
    }
    return "a value";
}

const char *number_text(Elab *e, Value v) {
    if (v.number == floor(v.number) && fabs(v.number) < 1e15)
        return arena_printf(e->arena, v.is_int ? "%.0f" : "%.1f", v.number);
    for (int digits = 1; digits < 18; digits++) {
        const char *text = arena_printf(e->arena, "%.*g", digits, v.number);
        if (strtod(text, NULL) == v.number)
            return text;
    }
    return arena_printf(e->arena, "%g", v.number);
}

static const char *function_kind(const Function *function) {
    if (!function->decl)
        return "primitive";
    return function->decl->kind == STMT_NET         ? "net"
           : function->decl->kind == STMT_OPTIMIZER ? "optimizer"
                                                    : "fn";
}

const char *value_text(Elab *e, Value v) {
    switch (v.kind) {
    case VALUE_NUMBER:
        return number_text(e, v);
    case VALUE_BOOL:
        return v.boolean ? "`true`" : "`false`";
    case VALUE_STRING:
        return arena_printf(e->arena, "the string \"%s\"", v.string);
    case VALUE_RANGE:
    case VALUE_LIST:
        return arena_printf(e->arena, "a list of %zu", list_count(v));
    case VALUE_FUNCTION:
        return arena_printf(e->arena, "the %s `%s`", function_kind(v.function), v.function->name);
    case VALUE_OPEN:
        return arena_printf(e->arena, "a call of `%s` that is still open", v.open->function->name);
    case VALUE_TENSOR:
        if (!v.tensor->node)
            return "a name before other taps";
        return node_is_run_time_scalar(v.tensor->node) ? "a run-time scalar"
                                                       : type_text(e->arena, &v.tensor->node->type);
    case VALUE_MODEL:
        return arena_printf(e->arena, "the model `%s`", v.model->path);
    case VALUE_POISON:
    case VALUE_NONE:
    case VALUE_PART:
    case VALUE_DATA:
    case VALUE_RECORD:
    case VALUE_MODULE:
        break;
    }
    return value_kind_text(v);
}

void value_print(StrBuf *out, Elab *e, Value v) {
    switch (v.kind) {
    case VALUE_NONE:
        strbuf_puts(out, "none");
        break;
    case VALUE_BOOL:
        strbuf_puts(out, v.boolean ? "true" : "false");
        break;
    case VALUE_STRING:
        strbuf_putc(out, '"');
        for (const char *c = v.string; *c; c++) {
            if (*c == '\n')
                strbuf_puts(out, "\\n");
            else if (*c == '"' || *c == '\\' || *c == '{' || *c == '}')
                strbuf_printf(out, "\\%c", *c);
            else
                strbuf_putc(out, *c);
        }
        strbuf_putc(out, '"');
        break;
    case VALUE_RANGE:
        strbuf_printf(out, "%" PRId64 "..%" PRId64, v.range.low, v.range.high);
        break;
    case VALUE_LIST:
        strbuf_putc(out, '[');
        for (size_t i = 0; i < v.list->count; i++) {
            strbuf_puts(out, i ? ", " : "");
            value_print(out, e, v.list->at[i]);
        }
        strbuf_putc(out, ']');
        break;
    case VALUE_POISON:
    case VALUE_NUMBER:
    case VALUE_FUNCTION:
    case VALUE_OPEN:
    case VALUE_TENSOR:
    case VALUE_MODEL:
    case VALUE_PART:
    case VALUE_DATA:
    case VALUE_RECORD:
    case VALUE_MODULE:
        strbuf_puts(out, value_text(e, v));
        break;
    }
}
