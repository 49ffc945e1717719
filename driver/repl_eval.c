// driver/repl_eval.c -- the values of a graph, and how tensors are printed.
//
// The reference interpreter runs it, after its gradients have been expanded: inputs at the prompt
// are small, and nothing is compiled for a value that is looked at once.
#include "driver/repl.h"
#include "passes/passes.h"

static void expand_gradients(Repl *repl, Module *module) {
    Arena scratch = {0};
    PassContext context = {.scratch = &scratch, .sources = &repl->sources, .diags = &repl->diags};
    const char *unknown;
    bool known = passes_run_named(module, "differentiate,simplify,cse,dce", &context, &unknown);
    kdc_assert(known);
    arena_release(&scratch);
}

static void set_storages(Repl *repl, EvalState *state, const Module *module) {
    for (uint32_t i = 0; i < module->storages.count; i++) {
        const double *value = frontend_session_value(repl->session, module->storages.at[i]->name);
        if (value)
            eval_set_storage(state, i, value);
    }
}

static Outputs collect_outputs(Repl *repl, EvalState *state, const Graph *graph) {
    Arena *arena = &repl->arena;
    Vec(const double *) values = {0};
    Vec(Type) types = {0};
    for (size_t i = 0; i < graph->nodes.count; i++) {
        const Node *node = graph->nodes.at[i];
        if (node->op != OP_output)
            continue;
        Type type;
        vec_push(arena, &values, eval_get_output(state, node->attrs->name, &type));
        kdc_assert(vec_last(&values));
        vec_push(arena, &types, type);
    }
    return (Outputs){values.count, values.at, types.at};
}

Outputs repl_run_graph(Repl *repl, Module *module, Graph *graph) {
    expand_gradients(repl, module);
    EvalPrecision precision = module->real == DT_F64 ? EVAL_F64 : EVAL_F32;
    EvalState *state = eval_new(&repl->arena, module, precision);
    set_storages(repl, state, module);
    for (size_t i = 0; i < module->graphs.count; i++) // parameters of nets called at the prompt
        if (module->graphs.at[i]->role == GRAPH_INIT && module->graphs.at[i] != graph)
            eval_run(state, module->graphs.at[i]);
    eval_run(state, graph);
    return collect_outputs(repl, state, graph);
}

enum { AXIS_SHOWN = 8, ELEMENTS_SHOWN = 64 };

typedef struct TensorPrinter {
    StrBuf *out;
    const Type *type;
    const double *value;
    int shown;
} TensorPrinter;

static void print_element(const TensorPrinter *p, double value) {
    if (p->type->dtype == DT_BOOL)
        strbuf_puts(p->out, value != 0 ? "true" : "false");
    else
        strbuf_printf(p->out, dtype_is_float(p->type->dtype) ? "%.4g" : "%.0f", value);
}

static void print_axis(TensorPrinter *p, int axis, int64_t at) {
    if (axis == p->type->rank) {
        print_element(p, p->value[at]);
        p->shown++;
        return;
    }
    strbuf_putc(p->out, '[');
    int64_t extent = p->type->dim[axis];
    for (int64_t i = 0; i < extent; i++) {
        if (i)
            strbuf_puts(p->out, ", ");
        if (i == AXIS_SHOWN || p->shown >= ELEMENTS_SHOWN) {
            strbuf_puts(p->out, "…");
            break;
        }
        print_axis(p, axis + 1, at * extent + i);
    }
    strbuf_putc(p->out, ']');
}

void repl_print_tensor(StrBuf *out, Arena *arena, const Type *type, const double *value) {
    strbuf_printf(out, "%s = ", type_text(arena, type));
    TensorPrinter printer = {out, type, value, 0};
    print_axis(&printer, 0, 0);
}
