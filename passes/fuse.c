// passes/fuse.c -- which nodes one kernel computes together, and what it stores.
#include "ir/rows.h"
#include "passes/passes.h"
#include "support/diag.h"

// What every kernel computes or loads where it needs it.
static bool is_free(const Node *node) {
    return op_has(node->op, LEAF) && !op_has(node->op, RANDOM);
}

static void fuse_singly(Graph *graph) {
    Arena *arena = graph->module->arena;
    for (int writes = 0; writes < 2; writes++) {
        for (size_t i = 0; i < graph->nodes.count; i++) {
            Node *node = graph->nodes.at[i];
            if (is_free(node) || (node->op == OP_write) != writes)
                continue;
            Kernel *kernel = arena_new(arena, Kernel);
            kernel->id = (uint32_t)graph->kernels.count;
            kernel->node = kernel->stored = arena_array(arena, Node *, 1);
            kernel->node[0] = node;
            kernel->node_count = kernel->stored_count = 1;
            vec_push(arena, &graph->kernels, kernel);
        }
    }
}

bool pass_fuse(Graph *graph, PassContext *ctx) {
    (void)ctx;
    graph->kernels.count = 0;
    fuse_singly(graph);
    return true;
}
