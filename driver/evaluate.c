// driver/evaluate.c -- made-up inputs for a module, and what the interpreter gives for them.
#include "driver/evaluate.h"

#include <string.h>

#include "ir/eval.h"
#include "support/diag.h"

static double made_up_value(const char *name, int64_t index, DType dtype) {
    uint64_t hash = hash_mix(hash_bytes(name, strlen(name), 0), (uint64_t)index);
    if (dtype == DT_BOOL)
        return (double)(hash >> 63);
    if (!dtype_is_float(dtype))
        return (double)(hash >> 62);
    return (double)(hash >> 40) / (double)(1 << 23) - 1.0; // 24 bits: exact in f32
}

static const double *made_up(Arena *arena, const char *name, const Type *type) {
    int64_t count = type_count(type);
    double *value = arena_array(arena, double, (size_t)count);
    for (int64_t i = 0; i < count; i++)
        value[i] = made_up_value(name, i, type->dtype);
    return value;
}

static void set_leaves(EvalState *state, Arena *arena, const Graph *graph) {
    for (size_t i = 0; i < graph->nodes.count; i++) {
        const Node *node = graph->nodes.at[i];
        if (node->op == OP_input)
            eval_set_input_as(state, node->attrs->name, &node->type,
                              made_up(arena, node->attrs->name, &node->type));
        else if (node->op == OP_scalar)
            eval_set_scalar(state, node->attrs->name, made_up_value(node->attrs->name, 0, DT_F32));
    }
}

// Nested brackets, innermost axis last: [[1, 2], [3, 4]].
static const double *print_axis(StrBuf *out, const Type *type, int axis, const double *value) {
    if (axis == type->rank) {
        strbuf_printf(out, "%.*g", type->dtype == DT_F64 ? 17 : 9, *value); // enough to tell apart
        return value + 1;
    }
    strbuf_putc(out, '[');
    for (int64_t i = 0; i < type->dim[axis]; i++) {
        if (i)
            strbuf_puts(out, ", ");
        value = print_axis(out, type, axis + 1, value);
    }
    strbuf_putc(out, ']');
    return value;
}

static void print_outputs(StrBuf *out, Arena *arena, EvalState *state, const Graph *graph) {
    for (size_t i = 0; i < graph->nodes.count; i++) {
        const Node *node = graph->nodes.at[i];
        if (node->op != OP_output && node->op != OP_report)
            continue;
        Type type;
        const double *value = eval_get_output(state, node->attrs->name, &type);
        kdc_assert(value);
        strbuf_printf(out, "  %s: %s = ", node->attrs->name, type_text(arena, &type));
        print_axis(out, &type, 0, value);
        strbuf_putc(out, '\n');
    }
}

void evaluate_module(StrBuf *out, const Module *module) {
    Arena arena = {0};
    EvalState *state = eval_new(&arena, module, module->real == DT_F64 ? EVAL_F64 : EVAL_F32);
    for (uint32_t i = 0; i < module->storages.count; i++) {
        const Storage *storage = module->storages.at[i];
        eval_set_storage(state, i, made_up(&arena, storage->name, &storage->type));
    }
    for (size_t i = 0; i < module->graphs.count; i++) {
        const Graph *graph = module->graphs.at[i];
        set_leaves(state, &arena, graph);
        eval_run(state, graph);
        strbuf_printf(out, "graph %s\n", graph->name);
        print_outputs(out, &arena, state, graph);
    }
    arena_release(&arena);
}
