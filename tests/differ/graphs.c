// tests/differ/graphs.c -- small graphs, compiled, against the interpreter.
//
// Each tests/differ/graphs/*.ir at each -O level, twice in a row (what a step leaves in the
// storages is what the next begins with). Floats are drawn from (-1, 1), i32 inputs from 0 to 7. A
// first line
// `# kernels: forward 2, backward 2` bounds how many kernels -O2 may make: those that reach a
// report, and the others; `all` bounds their sum.
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "ir/eval.h"
#include "passes/passes.h"
#include "tests/differ/machine.inc"

static uint64_t random_state;

static double draw(void) {
    random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (double)(random_state >> 11) * 0x1p-52 - 1;
}

static double *draw_values(Arena *arena, const Type *type) {
    double *value = arena_array(arena, double, (size_t)type_count(type));
    for (int64_t i = 0; i < type_count(type); i++)
        value[i] = dtype_is_float(type->dtype) ? draw() : floor(4 * (draw() + 1));
    return value;
}

static char *read_text(Arena *arena, const char *path) {
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    char *text = arena_alloc(arena, 1 << 16);
    size_t length = fread(text, 1, (1 << 16) - 1, file);
    assert_true(length < (1 << 16) - 1);
    fclose(file);
    return text;
}

static Module *read_module(Arena *arena, const char *path) {
    char *text = read_text(arena, path);
    int line = 0;
    const char *message = NULL;
    Module *module = module_read(arena, text, strlen(text), &line, &message);
    if (!module)
        fail_msg("%s:%d: %s", path, line, message);
    return module;
}

static void compare(const char *what, const char *name, const double *got, const double *want,
                    const double *bound, const Type *type) {
    double unit = type->dtype == DT_F64 ? 0x1p-52 : type->dtype == DT_F32 ? 0x1p-23 : 0;
    for (int64_t i = 0; i < type_count(type); i++) {
        double slack = 2 * bound[i] + unit * fabs(want[i]);
        bool good = got[i] == want[i] || (isnan(got[i]) && isnan(want[i])) ||
                    (isfinite(slack) ? fabs(got[i] - want[i]) <= slack
                                     : fabs(got[i] - want[i]) <= 1e-9 * fmax(1, fabs(want[i])));
        if (!good)
            fail_msg("%s: %s[%lld] is %.17g, the interpreter has %.17g +- %g", what, name,
                     (long long)i, got[i], want[i], slack);
    }
}

static void run_both(Arena *arena, const char *what, Machine *machine, EvalState *state,
                     const Module *module) {
    const Graph *graph = module->graphs.at[0];
    for (size_t i = 0; i < graph->nodes.count; i++) {
        const Node *node = graph->nodes.at[i];
        if (node->op != OP_input)
            continue;
        double *value = draw_values(arena, &node->type);
        eval_set_input(state, node->attrs->name, value);
        machine_set_input(machine, machine->module->graphs.at[0], node->attrs->name, value);
    }
    eval_run(state, graph);
    machine_run(machine, machine->module->graphs.at[0]);
    for (size_t i = 0; i < graph->nodes.count; i++) {
        const Node *node = graph->nodes.at[i];
        if (node->op != OP_report && node->op != OP_output)
            continue;
        Type type;
        double *got = arena_array(arena, double, (size_t)type_count(&node->type));
        assert_true(machine_get_output(machine, machine->module->graphs.at[0], node->attrs->name,
                                       got, &type));
        compare(what, node->attrs->name, got, eval_get_output(state, node->attrs->name, NULL),
                eval_get_bound(state, node->attrs->name), &type);
    }
    for (uint32_t i = 0; i < module->storages.count; i++) {
        const Storage *storage = module->storages.at[i];
        double *got = arena_array(arena, double, (size_t)type_count(&storage->type));
        machine_get_storage(machine, i, got);
        compare(what, storage->name, got, eval_get_storage(state, i),
                eval_get_storage_bound(state, i), &storage->type);
    }
}

static void check_level(const char *path, int level, unsigned flags) {
    Arena arena = {0}, scratch = {0};
    Module *reference = read_module(&arena, path);
    Module *module = read_module(&arena, path);
    const char *unknown;
    char what[256];
    snprintf(what, sizeof what, "%s -O%d%s", path, level,
             flags & MACHINE_INTERPRETS ? " interpreted" : "");
    PassContext ctx = {.scratch = &scratch, .options = {.level = level, .verify = true}};
    passes_run_named(reference, "differentiate", &ctx, &unknown);
    passes_run(module, &ctx);
    Machine machine;
    EvalState *state = eval_new(&arena, reference, EVAL_F64);
    eval_track_bounds(state, true);
    machine_init(&machine, module, level, flags);
    random_state = 1;
    for (uint32_t i = 0; i < module->storages.count; i++) {
        double *value = draw_values(&arena, &module->storages.at[i]->type);
        eval_set_storage(state, i, value);
        machine_set_storage(&machine, i, value);
    }
    for (size_t i = 0; i < module->scalars.count; i++) {
        eval_set_scalar(state, module->scalars.at[i], 0.25);
        machine_set_scalar(&machine, module->scalars.at[i], 0.25);
    }
    for (int run = 0; run < 2; run++)
        run_both(&arena, what, &machine, state, reference);
    machine_release(&machine);
    arena_release(&scratch);
    arena_release(&arena);
}

// ---- how many kernels
// --------------------------------------------------------------------------------

static bool reaches_report(const Graph *graph, const Kernel *kernel) {
    bool *reaches = calloc(graph->nodes.count, sizeof *reaches);
    bool any = false;
    for (size_t i = graph->nodes.count; i-- > 0;) {
        const Node *node = graph->nodes.at[i];
        reaches[i] |= node->op == OP_report;
        for (uint32_t k = 0; k < node->arity; k++)
            reaches[node->operand[k]->id] |= reaches[i];
    }
    for (uint32_t i = 0; i < kernel->stored_count; i++)
        any |= reaches[kernel->stored[i]->id];
    free(reaches);
    return any;
}

static void check_kernels(const char *path) {
    Arena arena = {0}, scratch = {0};
    int forward = -1, backward = -1, all = -1, forwards = 0, backwards = 0;
    char *text = read_text(&arena, path);
    sscanf(text, "# kernels: forward %d, backward %d", &forward, &backward);
    sscanf(text, "# kernels: all %d", &all);
    Module *module = read_module(&arena, path);
    PassContext ctx = {.scratch = &scratch, .options = {.level = 2}};
    passes_run(module, &ctx);
    const Graph *graph = module->graphs.at[0];
    for (size_t i = 0; i < graph->kernels.count; i++) {
        if (reaches_report(graph, graph->kernels.at[i]))
            forwards++;
        else
            backwards++;
    }
    bool good = (forward < 0 || forwards <= forward) && (backward < 0 || backwards <= backward) &&
                (all < 0 || forwards + backwards <= all);
    if (!good || getenv("KDC_PRINT")) {
        StrBuf out = {.arena = &arena};
        graph_print(&out, graph, NULL);
        fprintf(stderr, "%s\n", strbuf_text(&out));
    }
    if (!good)
        fail_msg("%s: %d kernels forward, %d others", path, forwards, backwards);
    if (getenv("KDC_PRINT")) {
        StrBuf out = {.arena = &arena};
        loop_program_print(&out, codegen_lower(&arena, module, &(CodegenOptions){.level = 2}));
        fprintf(stderr, "%s\n", strbuf_text(&out));
    }
    arena_release(&scratch);
    arena_release(&arena);
}

static void check_graph(void **state) {
    const char *path = *state;
    check_kernels(path);
    for (int level = 0; level <= 3; level++) {
        static const unsigned of[] = {MACHINE_WIDE, MACHINE_NARROW, MACHINE_WIDE, MACHINE_LEAST};
        unsigned registers = of[level];
        check_level(path, level, MACHINE_INTERPRETS | registers);
        check_level(path, level, registers);
    }
}

static int by_name(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int is_graph(const struct dirent *entry) {
    size_t length = strlen(entry->d_name);
    return length > 3 && strcmp(entry->d_name + length - 3, ".ir") == 0;
}

int main(int argc, char **argv) {
    struct dirent **entry;
    const char *folder = KDC_TESTS_DIR "/differ/graphs";
    int count = scandir(folder, &entry, is_graph, by_name);
    if (count < 0)
        return 1;
    Arena arena = {0};
    struct CMUnitTest *test = arena_array(&arena, struct CMUnitTest, (size_t)count);
    int chosen = 0;
    for (int i = 0; i < count; i++) {
        char *path = arena_printf(&arena, "%s/%s", folder, entry[i]->d_name);
        if (argc < 2 || strstr(path, argv[1]))
            test[chosen++] =
                (struct CMUnitTest){strrchr(path, '/') + 1, check_graph, NULL, NULL, path};
        free(entry[i]);
    }
    free(entry);
    int failed = _cmocka_run_group_tests("differ_graphs", test, (size_t)chosen, NULL, NULL);
    arena_release(&arena);
    return failed;
}
