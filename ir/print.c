// ir/print.c -- the text form of modules and graphs, written; ir/text.h describes it.
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ir/text.h"

enum { TYPE_COLUMN = 48, ORIGIN_COLUMN = 76 };

const char *const role_names[ROLE_COUNT] = {
    [GRAPH_FREE] = "free",   [GRAPH_INIT] = "init",         [GRAPH_SETTINGS] = "settings",
    [GRAPH_BEGIN] = "begin", [GRAPH_PROLOGUE] = "prologue", [GRAPH_STEP] = "step",
    [GRAPH_EVAL] = "eval",   [GRAPH_DEPLOY] = "deploy",
};

const char *const storage_kind_names[STORAGE_KIND_COUNT] = {
    [STORAGE_PARAMETER] = "parameter",
    [STORAGE_STATE] = "state",
    [STORAGE_SLOT] = "slot",
    [STORAGE_PHASE] = "phase",
};

const char *const space_names[SPACE_COUNT] = {
    [SPACE_NONE] = "none",     [SPACE_STORAGE] = "storage", [SPACE_PHASE] = "phase",
    [SPACE_STEP] = "step",     [SPACE_INPUT] = "input",     [SPACE_SCALAR] = "scalar",
    [SPACE_OUTPUT] = "output",
};

bool text_value_leads(Op op) {
    return op_has(op, LEAF) && (op_info[op].attrs & HAS_value);
}

// ---- values
// ---------------------------------------------------------------------------------------

static void print_quoted(StrBuf *out, const char *text) {
    strbuf_putc(out, '"');
    for (const char *c = text ? text : ""; *c; c++) {
        unsigned char byte = (unsigned char)*c;
        if (byte == '"' || byte == '\\')
            strbuf_printf(out, "\\%c", byte);
        else if (byte < 0x20 || byte == 0x7f)
            strbuf_printf(out, "\\x%02x", byte);
        else
            strbuf_putc(out, (char)byte);
    }
    strbuf_putc(out, '"');
}

// The shortest decimal that reads back as the same bits. All NaNs are one.
static void print_real(StrBuf *out, double value) {
    char text[40];
    if (isnan(value)) {
        strbuf_puts(out, "nan");
        return;
    }
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    strbuf_puts(out, text);
}

static void print_Int(StrBuf *out, AttrInt value) {
    strbuf_printf(out, "=%" PRId64, value);
}

static void print_Count(StrBuf *out, AttrCount value) {
    print_Int(out, value);
}

static void print_Ints(StrBuf *out, AttrInts value) {
    strbuf_puts(out, "=[");
    for (uint32_t i = 0; i < value.count; i++)
        strbuf_printf(out, "%s%" PRId64, i ? ", " : "", value.at[i]);
    strbuf_putc(out, ']');
}

static void print_Real(StrBuf *out, AttrReal value) {
    strbuf_putc(out, '=');
    print_real(out, value);
}

static void print_Text(StrBuf *out, AttrText value) {
    strbuf_putc(out, '=');
    print_quoted(out, value);
}

static void print_Flag(StrBuf *out, AttrFlag value) {
    (void)out; // the name says it
    (void)value;
}

static void print_Dtype(StrBuf *out, AttrDtype value) {
    strbuf_printf(out, "=%s", dtype_name(value));
}

// Whether an attribute is left out: a flag that is not set, a count of 0.
static bool left_out(AttrKind kind, const void *value) {
    return (kind == KIND_Flag && !*(const bool *)value) ||
           (kind == KIND_Count && !*(const AttrCount *)value);
}

static void print_attrs(StrBuf *out, const Node *node) {
    const Attrs *attrs = node->attrs;
    unsigned carried = op_info[node->op].attrs & ~(ATTRS_IN_TYPE | ATTRS_BEFORE_OPERANDS);
    const char *separator = " {";
    if (text_value_leads(node->op))
        carried &= ~HAS_value;
#define ATTR(name, kind, summary)                                                                  \
    if ((carried & HAS_##name) && !left_out(KIND_##kind, &attrs->name)) {                          \
        strbuf_printf(out, "%s%s", separator, #name);                                              \
        print_##kind(out, attrs->name);                                                            \
        separator = ", ";                                                                          \
    }
#include "ir/attrs.def"
#undef ATTR
    if (node->tag) {
        strbuf_printf(out, "%stag=", separator);
        print_quoted(out, node->tag);
        separator = ", ";
    }
    if (*separator == ',')
        strbuf_putc(out, '}');
}

static void print_type(StrBuf *out, const Type *type) {
    strbuf_puts(out, type_text(out->arena, type));
}

static void print_named(StrBuf *out, const char *name, int64_t value, int64_t usual) {
    if (value != usual)
        strbuf_printf(out, " %s=%" PRId64, name, value);
}

// ---- lines
// ----------------------------------------------------------------------------------------

static void pad_to(StrBuf *out, size_t line_start, size_t column) {
    while (out->length - line_start < column)
        strbuf_putc(out, ' ');
}

static void print_origin(StrBuf *out, const Origin *origin, const SourceSet *sources) {
    int line, column;
    source_position(sources, origin->span, &line, &column);
    strbuf_printf(out, " @ %s:%d:%d", source_of(sources, origin->span)->name, line, column);
}

static void print_node(StrBuf *out, const Module *module, const Node *node,
                       const SourceSet *sources) {
    size_t start = out->length;
    unsigned carried = op_info[node->op].attrs;
    strbuf_printf(out, "  %%%u = %s", node->id, op_info[node->op].name);
    if (carried & HAS_name) {
        strbuf_putc(out, ' ');
        print_quoted(out, node->attrs->name);
    }
    if (carried & HAS_storage) {
        int64_t index = node->attrs->storage;
        bool known = index >= 0 && (size_t)index < module->storages.count;
        strbuf_putc(out, ' ');
        print_quoted(out, known ? module->storages.at[index]->name : "?");
    }
    if (text_value_leads(node->op)) {
        strbuf_putc(out, ' ');
        print_real(out, node->attrs->value);
    }
    for (uint32_t k = 0; k < node->arity; k++)
        strbuf_printf(out, "%s%%%u", k ? ", " : " ", node->operand[k]->id);
    print_attrs(out, node);
    pad_to(out, start, TYPE_COLUMN);
    strbuf_puts(out, " : ");
    print_type(out, &node->type);
    if (sources && node->origin && !span_is_none(node->origin->span)) {
        pad_to(out, start, ORIGIN_COLUMN);
        print_origin(out, node->origin, sources);
    }
    strbuf_putc(out, '\n');
}

static void print_node_list(StrBuf *out, Node *const *node, uint32_t count) {
    for (uint32_t i = 0; i < count; i++)
        strbuf_printf(out, "%s%%%u", i ? ", " : " ", node[i]->id);
}

static void print_kernel(StrBuf *out, const Kernel *kernel) {
    strbuf_puts(out, "  kernel");
    print_node_list(out, kernel->node, kernel->node_count);
    strbuf_puts(out, " ->");
    print_node_list(out, kernel->stored, kernel->stored_count);
    strbuf_putc(out, '\n');
}

static void print_buffer(StrBuf *out, uint32_t id, const Buffer *buffer) {
    strbuf_printf(out, "  buffer %%%u %s", id, space_names[buffer->space]);
    print_named(out, "index", buffer->index, 0);
    print_named(out, "offset", buffer->offset_bytes, 0);
    print_named(out, "size", buffer->size_bytes, 0);
    strbuf_putc(out, '\n');
}

void graph_print(StrBuf *out, const Graph *graph, const SourceSet *sources) {
    strbuf_puts(out, "graph ");
    print_quoted(out, graph->name);
    strbuf_printf(out, " %s", role_names[graph->role]);
    print_named(out, "phase", graph->phase, -1);
    print_named(out, "step_bytes", graph->step_bytes, 0);
    strbuf_puts(out, " {\n");
    for (size_t i = 0; i < graph->nodes.count; i++)
        print_node(out, graph->module, graph->nodes.at[i], sources);
    for (size_t i = 0; i < graph->kernels.count; i++)
        print_kernel(out, graph->kernels.at[i]);
    for (size_t i = 0; graph->buffer && i < graph->nodes.count; i++) {
        if (graph->buffer[i].space != SPACE_NONE)
            print_buffer(out, (uint32_t)i, &graph->buffer[i]);
    }
    strbuf_puts(out, "}\n");
}

static void print_storage(StrBuf *out, const Storage *storage) {
    strbuf_printf(out, "storage %s ", storage_kind_names[storage->kind]);
    print_quoted(out, storage->name);
    strbuf_puts(out, " : ");
    print_type(out, &storage->type);
    print_named(out, "phase", storage->phase, -1);
    print_named(out, "offset", storage->offset_bytes, 0);
    strbuf_putc(out, '\n');
}

void module_print(StrBuf *out, const Module *module, const SourceSet *sources) {
    strbuf_puts(out, "module ");
    print_quoted(out, module->name);
    strbuf_printf(out, " %s", dtype_name(module->real));
    print_named(out, "streams", module->next_stream, 0);
    print_named(out, "storage_bytes", module->storage_bytes, 0);
    print_named(out, "phase_bytes", module->phase_bytes, 0);
    print_named(out, "step_bytes", module->step_bytes, 0);
    strbuf_putc(out, '\n');
    for (size_t i = 0; i < module->scalars.count; i++) {
        strbuf_puts(out, "scalar ");
        print_quoted(out, module->scalars.at[i]);
        strbuf_putc(out, '\n');
    }
    for (size_t i = 0; i < module->storages.count; i++)
        print_storage(out, module->storages.at[i]);
    for (size_t i = 0; i < module->graphs.count; i++) {
        strbuf_putc(out, '\n');
        graph_print(out, module->graphs.at[i], sources);
    }
}
