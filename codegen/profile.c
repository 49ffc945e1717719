// codegen/profile.c -- what each launch of a graph is in terms of the user's program.
//
// A kernel is told by the node that is most of its work: of its contractions the one with the most
// multiply-adds, else of what it sums and stores the one with the most operations. What was fused
// into it lends its lines and, unless there is a contraction, its loss terms.
#include "codegen/profile.h"

#include <string.h>

#include "ir/cost.h"
#include "support/diag.h"

static bool is_stored(const Kernel *kernel, const Node *node) {
    for (uint32_t i = 0; i < kernel->stored_count; i++)
        if (kernel->stored[i] == node)
            return true;
    return false;
}

static bool sums(const Node *node) {
    return op_has(node->op, CONTRACTS) || op_has(node->op, REDUCES) ||
           op_has(node->op, DECOMPOSES) || op_has(node->op, SCATTERS);
}

/// The node that a kernel is told by.
static const Node *main_node(const Kernel *kernel) {
    const Node *best = kernel->stored[kernel->stored_count - 1];
    int64_t most = -1;
    for (uint32_t i = 0; i < kernel->node_count; i++) {
        const Node *node = kernel->node[i];
        bool contracts = op_has(node->op, CONTRACTS);
        if (op_has(best->op, CONTRACTS) > contracts || !(sums(node) || is_stored(kernel, node)))
            continue;
        int64_t work = node_flops(node);
        if (work >= most || contracts > op_has(best->op, CONTRACTS)) {
            best = node;
            most = work;
        }
    }
    return best;
}

static const char *kind_of(const Kernel *kernel) {
    static const struct {
        unsigned trait;
        const char *name;
    } kinds[] = {{CONTRACTS, "contraction"},
                 {DECOMPOSES, "decomposition"},
                 {SCATTERS, "scatter"},
                 {REDUCES, "reduction"},
                 {RANDOM, "random"}};
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        for (uint32_t i = 0; i < kernel->node_count; i++)
            if (op_has(kernel->node[i]->op, kinds[k].trait))
                return kinds[k].name;
    return "elementwise";
}

static const char *direction_of(const Graph *graph, const Kernel *kernel, const Node *node) {
    if (graph->role != GRAPH_STEP)
        return "forward";
    switch (kernel_stage(kernel)) {
    case STAGE_FORWARD:
        return "forward";
    case STAGE_BACKWARD:
        return node->origin && node->origin->by_weight ? "by weight" : "by input";
    case STAGE_UPDATE:
        break;
    }
    return "update";
}

// ---- texts
// ------------------------------------------------------------------------------------------

static const char *terms_of(const Graph *graph, const Kernel *kernel, const Node *node,
                            Arena *arena) {
    uint64_t terms = 0;
    if (op_has(node->op, CONTRACTS))
        terms = node_terms(node);
    for (uint32_t i = 0; i < kernel->stored_count && !op_has(node->op, CONTRACTS); i++)
        terms |= node_terms(kernel->stored[i]);
    size_t count = graph->terms.count;
    uint64_t all = count < 64 ? ((uint64_t)1 << count) - 1 : ~(uint64_t)0;
    if (!terms || !count)
        return "-";
    if ((terms & all) == all && count > 1)
        return "(all)";
    StrBuf text = {.arena = arena};
    for (size_t t = 0; t < count; t++)
        if (terms >> t & 1)
            strbuf_printf(&text, "%s%s", text.length ? " + " : "", graph->terms.at[t].name);
    return strbuf_text(&text);
}

static const char *module_of(const Graph *graph, const Kernel *kernel, const Node *node) {
    for (const Origin *o = node->origin; o; o = o->caller)
        if (o->module)
            return o->module;
    for (uint32_t i = 0; i < kernel->stored_count; i++) {
        const Node *write = kernel->stored[i];
        if (write->op != OP_write)
            continue;
        const Storage *storage = graph->module->storages.at[write->attrs->storage];
        if (storage->kind == STORAGE_PARAMETER)
            return storage->name;
    }
    return "-";
}

static void put_place(StrBuf *text, const SourceSet *sources, Span span) {
    int line, column;
    source_position(sources, span, &line, &column);
    strbuf_printf(text, "%s:%d", source_of(sources, span)->name, line);
}

/// The node's line, those of what was fused into it, and the calls that led to the first.
static const char *place_of(const Kernel *kernel, const Node *node, const SourceSet *sources,
                            Arena *arena) {
    enum { MOST_LINES = 4 };
    const char *line[MOST_LINES];
    int count = 0;
    const Node *of = node;
    for (uint32_t i = 0; i <= kernel->node_count && count < MOST_LINES; i++) {
        if (i > 0)
            of = kernel->node[i - 1];
        bool lends = i == 0 || (!op_has(of->op, LEAF) && node_stage(of) == node_stage(node));
        if (!lends || !of->origin || span_is_none(of->origin->span))
            continue;
        StrBuf text = {.arena = arena};
        put_place(&text, sources, of->origin->span);
        bool known = false;
        for (int k = 0; k < count; k++)
            known |= strcmp(line[k], strbuf_text(&text)) == 0;
        if (!known)
            line[count++] = strbuf_text(&text);
    }
    StrBuf all = {.arena = arena};
    for (int i = 0; i < count; i++)
        strbuf_printf(&all, "%s%s", i ? ", " : "", line[i]);
    for (const Origin *o = node->origin ? node->origin->caller : NULL; o; o = o->caller) {
        if (span_is_none(o->span))
            continue;
        strbuf_puts(&all, " < ");
        put_place(&all, sources, o->span);
    }
    return all.length ? strbuf_text(&all) : "-";
}

// ---- all launches
// -----------------------------------------------------------------------------------

LaunchNote *profile_notes(const LoopProgram *loops, const LoopGraph *graph, Arena *arena) {
    LaunchNote *notes = arena_array(arena, LaunchNote, graph->launches.count + 1);
    for (size_t i = 0; i < graph->launches.count; i++) {
        const Launch *launch = &graph->launches.at[i];
        const Kernel *kernel = launch->source;
        const Node *node = main_node(kernel);
        LaunchNote *note = &notes[i];
        *note = (LaunchNote){.kernel = loops->kernels.at[launch->kernel]->name,
                             .kind = kind_of(kernel),
                             .direction = direction_of(graph->graph, kernel, node),
                             .terms = terms_of(graph->graph, kernel, node, arena),
                             .module = module_of(graph->graph, kernel, node),
                             .result = type_text(arena, &node->type),
                             .place = place_of(kernel, node, loops->profile, arena)};
        for (uint32_t k = 0; k < kernel->node_count; k++)
            note->flops += node_flops(kernel->node[k]);
        for (uint32_t k = 0; k < launch->argument_count; k++)
            note->bytes += launch->argument[k].size_bytes;
    }
    return notes;
}
