// tests/unit/passes/pipeline.c -- which passes run, in what order, and what is said of them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ir/ir.h"
#include "passes/passes.h"

static const char text[] = "module \"m\" f32\n"
                           "storage parameter \"w\" : f32[4]\n"
                           "storage parameter \"f\" : f32[4]\n"
                           "graph \"p.step\" step phase=0 {\n"
                           "  %0 = read \"w\"\n  %1 = read \"f\"\n  %2 = mul %1, %1\n"
                           "  %3 = mul %0, %2\n  %4 = mul %0, %2\n  %5 = add %3, %4\n"
                           "  %6 = sum %5 {axes=[0]}\n  %7 = grad %6, %0\n  %8 = sub %0, %7\n"
                           "  %9 = write \"w\" %8\n}\n";

typedef struct Run {
    Arena arena, scratch;
    Module *module;
    PassContext ctx;
    char *log;
    size_t log_length;
} Run;

/// Opens the module above; what passes print goes to run->log, after close_log().
static void open_run(Run *run, PassOptions options) {
    int line = 0;
    const char *message = NULL;
    *run = (Run){0};
    run->module = module_read(&run->arena, text, strlen(text), &line, &message);
    if (!run->module)
        fail_msg("line %d: %s", line, message);
    options.log = open_memstream(&run->log, &run->log_length);
    options.verify = true;
    run->ctx = (PassContext){.scratch = &run->scratch, .options = options};
}

static void close_log(Run *run) {
    fclose(run->ctx.options.log);
}

static void close_run(Run *run) {
    free(run->log);
    arena_release(&run->scratch);
    arena_release(&run->arena);
}

static size_t count_of(const Run *run, Op op) {
    size_t count = 0;
    const Graph *graph = run->module->graphs.at[0];
    for (size_t i = 0; i < graph->nodes.count; i++)
        count += graph->nodes.at[i]->op == op;
    return count;
}

static void an_unknown_name_is_told_before_anything_runs(void **state) {
    (void)state;
    Run run;
    const char *unknown = NULL;
    open_run(&run, (PassOptions){0});
    assert_false(passes_run_named(run.module, "differentiate,csee", &run.ctx, &unknown));
    assert_string_equal(unknown, "csee");
    assert_int_equal(count_of(&run, OP_grad), 1);
    assert_true(passes_known("cse, dce,,", false, &run.arena, &unknown));
    assert_true(passes_known("all", true, &run.arena, &unknown));
    assert_false(passes_known("all", false, &run.arena, &unknown));
    close_log(&run);
    close_run(&run);
}

static void names_run_once_in_their_order(void **state) {
    (void)state;
    Run run;
    const char *unknown = NULL;
    open_run(&run, (PassOptions){.print_after = "all"});
    assert_true(passes_run_named(run.module, "differentiate,dce", &run.ctx, &unknown));
    close_log(&run);
    const char *first = strstr(run.log, "# after differentiate\n");
    const char *second = strstr(run.log, "# after dce\n");
    assert_non_null(first);
    assert_non_null(second);
    assert_true(first < second);
    assert_null(strstr(second + 1, "# after"));
    assert_int_equal(count_of(&run, OP_grad), 0);
    close_run(&run);
}

/// Each optional pass can be left out, at every level, and what is left still compiles a gradient.
static void optional_passes_can_be_left_out(void **state) {
    (void)state;
    for (int id = 0; id < PASS_COUNT; id++) {
        for (int level = 0; level <= 3; level++) {
            Run run;
            open_run(&run,
                     (PassOptions){.level = level, .disabled = pass_info[id].name, .time = true});
            passes_run(run.module, &run.ctx);
            close_log(&run);
            char line[64];
            snprintf(line, sizeof line, "\n%-16s", pass_info[id].name);
            bool ran = strstr(run.log, line) != NULL;
            if (ran != pass_info[id].required)
                fail_msg("%s, left out at -O%d, %s", pass_info[id].name, level,
                         ran ? "ran" : "did not run, though required");
            assert_int_equal(count_of(&run, OP_grad), 0);
            close_run(&run);
        }
    }
}

static void the_frozen_square_goes_to_the_prologue(void **state) {
    (void)state;
    Run run;
    open_run(&run, (PassOptions){.level = 2});
    passes_run(run.module, &run.ctx);
    close_log(&run);
    assert_int_equal(run.module->graphs.count, 2);
    assert_int_equal(run.module->graphs.at[1]->role, GRAPH_PROLOGUE);
    assert_int_equal(vec_last(&run.module->storages)->kind, STORAGE_PHASE);
    close_run(&run);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_unknown_name_is_told_before_anything_runs),
        cmocka_unit_test(names_run_once_in_their_order),
        cmocka_unit_test(optional_passes_can_be_left_out),
        cmocka_unit_test(the_frozen_square_goes_to_the_prologue),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
