// Objects: equal programs give equal bytes; the JIT takes and drops them; the linker makes a binary
// of them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "run_kernel.h"

#ifdef __SANITIZE_ADDRESS__
enum { SANITIZED = 1 }; // keeps freed memory, and has no static runtime
#else
enum { SANITIZED = 0 };
#endif

/// A program of `count` kernels, y[i] = x[i] + n, one after another in one graph.
static LoopProgram *chain_program(Arena *arena, int count) {
    LoopProgram *program = loop_program_new(arena);
    LoopGraph *graph = arena_new(arena, LoopGraph);
    for (int n = 0; n < count; n++) {
        char *text = arena_printf(arena,
                                  "kernel add(x: in f32[100], y: out f32[100] over x) {\n"
                                  "  parallel i = 0 .. 100 step 20 {\n"
                                  "    for k = i .. i + 3 { ask }\n"
                                  "    vector v = 0 .. 20 { y[i + v] = x[i + v] + %d.0f }\n"
                                  "  }\n}\n",
                                  n);
        int line;
        const char *message;
        LoopKernel *kernel = loop_kernel_read(arena, text, strlen(text), &line, &message);
        assert_non_null(kernel);
        Buffer *argument = arena_array(arena, Buffer, 2);
        argument[0] = argument[1] = (Buffer){.space = SPACE_STEP, .offset_bytes = 64};
        Launch launch = {.kernel = loop_program_add(program, kernel),
                         .argument = argument,
                         .argument_count = 2,
                         .iterations = 5};
        vec_push(arena, &graph->launches, launch);
    }
    graph->name = "chain";
    vec_push(arena, &program->graphs, NULL);
    vec_push(arena, &program->graphs, graph);
    return program;
}

static void equal_programs_give_equal_bytes(void **state) {
    (void)state;
    Arena arena = {0};
    CodegenOptions options = {.level = 2};
    LoopProgram *program = chain_program(&arena, 20);
    size_t used_bytes = arena.used_bytes;
    Objects a = codegen_objects(program, NULL, NULL, &options);
    assert_int_equal(arena.used_bytes, used_bytes); // several threads compile what lies there
    Objects b = codegen_objects(chain_program(&arena, 20), NULL, NULL, &options);
    assert_int_equal(a.count, b.count);
    assert_true(a.count > 2);
    for (size_t i = 0; i < a.count; i++) {
        assert_int_equal(a.at[i].size, b.at[i].size);
        assert_memory_equal(a.at[i].bytes, b.at[i].bytes, a.at[i].size);
    }
    objects_free(&a);
    objects_free(&b);
    arena_release(&arena);
}

static void programs_run_side_by_side(void **state) {
    (void)state;
    Arena arena = {0};
    CodegenOptions options = {.level = 1};
    const char *message;
    Jit *jit = jit_new(&arena, &message);
    const KdrtProgram *code[2];
    for (int i = 0; i < 2; i++) {
        Objects objects = codegen_objects(chain_program(&arena, 3 + i), NULL, NULL, &options);
        code[i] = jit_add(jit, &objects, &message);
        assert_non_null(code[i]);
        objects_free(&objects);
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(code[i]->abi, KDRT_ABI);
        assert_int_equal(code[i]->graph_count, 2);
        assert_null(code[i]->graph[0]);
        float *step = aligned_alloc(64, 512);
        memset(step, 0, 512);
        KdrtFrame frame = {.step = step, .threads = 3};
        code[i]->graph[1](&frame);
        assert_true(step[15] == 0);
        assert_true(step[16] == (i ? 6 : 3) && step[115] == step[16]);
        assert_true(step[116] == 0);
        free(step);
    }
    jit_free(jit);
    arena_release(&arena);
}

static long resident_pages(void) {
    long size = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    assert_int_equal(fscanf(file, "%ld %ld", &size, &resident), 2);
    fclose(file);
    return resident;
}

static void dropped_programs_leave_nothing(void **state) {
    (void)state;
    Arena arena = {0};
    CodegenOptions options = {.level = 1};
    const char *message;
    Jit *jit = jit_new(&arena, &message);
    Objects objects = codegen_objects(chain_program(&arena, 2), NULL, NULL, &options);
    long before = 0;
    for (int i = 0; i < 400; i++) {
        const KdrtProgram *code = jit_add(jit, &objects, &message);
        assert_non_null(code);
        jit_drop(jit, code);
        if (i == 200)
            before = resident_pages();
    }
    long grown = resident_pages() - before;
    print_message("%ld pages in 200 programs\n", grown);
    assert_true(grown < 300 || SANITIZED);
    objects_free(&objects);
    jit_free(jit);
    arena_release(&arena);
}

static void a_binary_is_linked(void **state) {
    (void)state;
    Arena arena = {0};
    CodegenOptions options = {.level = 1};
    const char *message = NULL;
    char folder[] = "/tmp/kdc-objects-XXXXXX";
    assert_non_null(mkdtemp(folder));
    Objects objects = codegen_objects(chain_program(&arena, 2), NULL, NULL, &options);
    char *binary = arena_printf(&arena, "%s/binary", folder);
    for (int fully_static = 0; fully_static < 2 - SANITIZED; fully_static++) {
        if (!link_executable(&objects, binary, fully_static, false, &arena, &message))
            fail_msg("%s", message);
        // it has an empty manifest, which is a bug of whoever made it, told as such
        char *command = arena_printf(&arena, "%s >/dev/null 2>&1", binary);
        int status = system(command);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) != 0 && WEXITSTATUS(status) < 126);
        unlink(binary);
    }
    char *object = arena_printf(&arena, "%s/all.o", folder);
    assert_true(link_relocatable(&objects, object, &arena, &message));
    unlink(object);
    assert_int_equal(rmdir(folder), 0); // no temporary objects are left
    assert_false(link_executable(&objects, "/nowhere/binary", false, false, &arena, &message));
    assert_string_equal(message, "No such file or directory");
    objects_free(&objects);
    arena_release(&arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_programs_give_equal_bytes),
        cmocka_unit_test(programs_run_side_by_side),
        cmocka_unit_test(dropped_programs_leave_nothing),
        cmocka_unit_test(a_binary_is_linked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
