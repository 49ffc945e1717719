// tests/unit/passes/keeps_meaning.c -- what passes must not change, on every graph there is at
// hand: the cases of tests/ir, and the graphs that all tests of ops share.
//
// A graph is run by the interpreter in f64 before and after a pass; each output, report and written
// storage may differ by what the interpreter derives as the bound of rounding of either run. What a
// pass leaves as it was is not run. A pass run again changes nothing.
#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ir/eval.h"
#include "ir/ir.h"
#include "passes/passes.h"
#include "tests/ops/op_cases.h"

// ---- running a module ---------------------------------------------------------------------------

/// Values that depend on the name and the place alone, away from 0, 1 and each other.
static double *values_for(Arena *arena, const char *name, const Type *type, bool shifted) {
    int64_t count = type_count(type);
    double *value = arena_array(arena, double, count);
    for (int64_t i = 0; i < count; i++) {
        uint64_t bits = hash_mix(hash_bytes(name, strlen(name), 7 + shifted), (uint64_t)i);
        double u = (double)(bits >> 11) * 0x1p-53;
        value[i] = dtype_is_float(type->dtype) ? 0.25 + 1.5 * u : floor(2 * u);
    }
    return value;
}

static EvalState *open_eval(Arena *arena, const Module *module) {
    EvalState *state = eval_new(arena, module, EVAL_F64);
    eval_track_bounds(state, true);
    eval_set_random(state, 1, 2);
    for (size_t i = 0; i < module->storages.count; i++) {
        const Storage *storage = module->storages.at[i];
        eval_set_storage(state, (uint32_t)i,
                         values_for(arena, storage->name, &storage->type, false));
    }
    for (size_t i = 0; i < module->scalars.count; i++)
        eval_set_scalar(state, module->scalars.at[i], 1.25 + (double)i);
    return state;
}

static void run_graph(Arena *arena, EvalState *state, const Graph *graph) {
    for (size_t i = 0; i < graph->nodes.count; i++) {
        const Node *node = graph->nodes.at[i];
        if (node->op == OP_input)
            eval_set_input_as(state, node->attrs->name, &node->type,
                              values_for(arena, node->attrs->name, &node->type, true));
    }
    eval_run(state, graph);
}

// ---- comparing two ------------------------------------------------------------------------------

static void compare(const char *where, const char *name, const double *a, const double *b,
                    const double *bound_a, const double *bound_b, int64_t count) {
    if (!a || !b)
        fail_msg("%s: `%s` is gone", where, name);
    for (int64_t i = 0; i < count; i++) {
        double allowed = bound_a[i] + bound_b[i];
        bool same = a[i] == b[i] || (isnan(a[i]) && isnan(b[i]));
        if (!same && !(fabs(a[i] - b[i]) <= 2 * allowed))
            fail_msg("%s: `%s` at %lld is %.17g, was %.17g; rounding allows %g", where, name,
                     (long long)i, b[i], a[i], 2 * allowed);
    }
}

/// Runs a graph and its later form; `before` is a module of its own.
static void compare_graphs(const char *where, const Module *module_a, const Graph *a,
                           const Module *module_b, const Graph *b) {
    Arena arena = {0};
    EvalState *before = open_eval(&arena, module_a);
    EvalState *after = open_eval(&arena, module_b);
    for (size_t i = 0; i < module_b->graphs.count; i++) {
        const Graph *prologue = module_b->graphs.at[i];
        if (prologue->role == GRAPH_PROLOGUE && prologue->phase == b->phase)
            run_graph(&arena, after, prologue);
    }
    run_graph(&arena, before, a);
    run_graph(&arena, after, b);
    for (size_t i = 0; i < a->nodes.count; i++) {
        const Node *node = a->nodes.at[i];
        int64_t count = type_count(&node->type);
        if (node->op == OP_report || node->op == OP_output) {
            const char *name = node->attrs->name;
            compare(where, name, eval_get_output(before, name, NULL),
                    eval_get_output(after, name, NULL), eval_get_bound(before, name),
                    eval_get_bound(after, name), count);
        } else if (node->op == OP_write) {
            uint32_t s = (uint32_t)node->attrs->storage;
            compare(where, module_a->storages.at[s]->name, eval_get_storage(before, s),
                    eval_get_storage(after, s), eval_get_storage_bound(before, s),
                    eval_get_storage_bound(after, s), count);
        }
    }
    arena_release(&arena);
}

static void run_passes(const char *where, Module *module, const char *names) {
    Arena scratch = {0};
    PassContext ctx = {.scratch = &scratch, .options = {.verify = true}};
    const char *unknown = NULL;
    assert_true(passes_run_named(module, names, &ctx, &unknown));
    const char *broken = module_verify(module, &scratch);
    if (broken)
        fail_msg("%s: %s", where, broken);
    arena_release(&scratch);
}

static const char *print(Arena *arena, const Module *module) {
    StrBuf out = {.arena = arena};
    module_print(&out, module, NULL);
    return strbuf_text(&out);
}

static Module *read_text(Arena *arena, const char *where, const char *text) {
    int line = 0;
    const char *message = NULL;
    Module *module = module_read(arena, text, strlen(text), &line, &message);
    if (!module)
        fail_msg("%s: line %d: %s", where, line, message);
    return module;
}

/// Runs the passes on a copy of the module, and compares all its graphs. `names` NULL: the whole
/// pipeline.
static void check_text(const char *where, const char *text, const char *names) {
    Arena arena = {0};
    Module *before = read_text(&arena, where, text);
    Module *after = read_text(&arena, where, text);
    run_passes(where, before, "differentiate");
    run_passes(where, after, "differentiate");
    run_passes(where, after, names);
    if (strcmp(print(&arena, before), print(&arena, after)) == 0) { // nothing to run
        arena_release(&arena);
        return;
    }
    for (size_t i = 0; i < before->graphs.count; i++)
        compare_graphs(where, before, before->graphs.at[i], after, after->graphs.at[i]);
    if (!strchr(names, ',')) {
        const char *once = print(&arena, after);
        run_passes(where, after, names);
        assert_string_equal(once, print(&arena, after));
    }
    arena_release(&arena);
}

// ---- the graphs ---------------------------------------------------------------------------------

typedef void Visit(const char *where, const char *text);

static char *read_file(Arena *arena, const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file)
        fail_msg("cannot open %s", path);
    char *text = arena_alloc(arena, 1 << 16);
    size_t length = fread(text, 1, (1 << 16) - 1, file);
    assert_true(length < (1 << 16) - 1);
    fclose(file);
    return text;
}

static int is_ir(const struct dirent *entry) {
    size_t length = strlen(entry->d_name);
    return length > 3 && strcmp(entry->d_name + length - 3, ".ir") == 0;
}

/// Texts of tests/ir/FOLDER in order of name.
static int visit_folder(const char *folder, Visit *visit) {
    Arena arena = {0};
    struct dirent **entry;
    const char *path = arena_printf(&arena, "%s/ir/%s", KDC_TESTS_DIR, folder);
    int count = scandir(path, &entry, is_ir, alphasort);
    for (int i = 0; i < count; i++) {
        const char *file = arena_printf(&arena, "%s/%s", path, entry[i]->d_name);
        visit(file, read_file(&arena, file));
        free(entry[i]);
    }
    if (count >= 0)
        free(entry);
    arena_release(&arena);
    return count;
}

static void visit_op_cases(Visit *visit) {
    for (int op = 0; op < OP_COUNT; op++) {
        for (size_t i = 0; i < op_case_count((Op)op); i++) {
            Arena arena = {0};
            OpCase c;
            Module *module = module_new(&arena, "case", DT_F64);
            op_case_build((Op)op, i, module, &c);
            visit(c.graph->name, print(&arena, module));
            arena_release(&arena);
        }
    }
}

// ---- the tests ----------------------------------------------------------------------------------

static const char *const named[] = {"simplify",   "cse",  "dce",      "split", "fold_frozen",
                                    "bind_times", "fill", "winograd", "layout"};

static void each_pass_by_itself(const char *where, const char *text) {
    for (size_t i = 0; i < sizeof named / sizeof *named; i++)
        check_text(where, text, named[i]);
}

static void all_in_a_row(const char *where, const char *text) {
    check_text(where, text,
               "simplify,cse,dce,fold_frozen,simplify,cse,dce,bind_times,simplify,cse,dce,"
               "fill,winograd,simplify,cse,dce,split,cse,dce,layout,cse,dce");
}

static void on_texts(Visit *visit) {
    static const char *const folders[] = {"differentiate", "simplify",   "cse",  "dce",      "split",
                                          "fold_frozen",   "bind_times", "fill", "winograd", "layout"};
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        assert_true(visit_folder(folders[i], visit) > 0);
}

static void passes_keep_the_meaning_of_texts(void **state) {
    (void)state;
    on_texts(each_pass_by_itself);
}

static void passes_keep_the_meaning_of_op_cases(void **state) {
    (void)state;
    visit_op_cases(each_pass_by_itself);
}

static void passes_in_a_row_keep_meaning(void **state) {
    (void)state;
    on_texts(all_in_a_row);
    visit_op_cases(all_in_a_row);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(passes_keep_the_meaning_of_texts),
        cmocka_unit_test(passes_keep_the_meaning_of_op_cases),
        cmocka_unit_test(passes_in_a_row_keep_meaning),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
