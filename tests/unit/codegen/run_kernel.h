/// Runs loop kernels in this process: for the tests of codegen.
#ifndef KDC_TESTS_RUN_KERNEL_H
#define KDC_TESTS_RUN_KERNEL_H

#include <stdlib.h>
#include <string.h>

#include "codegen/codegen.h"
#include "support/diag.h"

typedef struct KernelRun {
    const int64_t *extent;
    int64_t iterations; // 0: 1
    int64_t threads;    // 0: 1
    int level;
    bool strip_flags;
    const char *target_cpu;
    int64_t register_bytes; // 0: the processor's
} KernelRun;

/// Compiles `kernel` and runs it once on `argument`s, one for each buffer that is no scratch.
static inline void run_kernel(LoopKernel *kernel, void *const *argument, KernelRun run) {
    Arena arena = {0};
    LoopProgram *program = loop_program_new(&arena);
    LoopGraph graph = {.name = "test"};
    Buffer *buffer = arena_array(&arena, Buffer, kernel->buffers.count + 1);
    Launch launch = {.argument = buffer,
                     .extent = run.extent,
                     .extent_count = kernel->extent_count,
                     .iterations = run.iterations ? run.iterations : 1};
    launch.kernel = loop_program_add(program, kernel);
    for (size_t i = 0; i < kernel->buffers.count; i++) {
        if (kernel->buffers.at[i].role != BUFFER_SCRATCH) {
            buffer[launch.argument_count].index = launch.argument_count;
            buffer[launch.argument_count++].space = SPACE_INPUT;
        }
    }
    vec_push(&arena, &graph.launches, launch);
    vec_push(&arena, &program->graphs, &graph);
    const char *message = loop_kernel_verify(kernel, &arena);
    if (message)
        kdc_bug("%s", message);
    CodegenOptions options = {.level = run.level,
                              .strip_flags = run.strip_flags,
                              .target_cpu = run.target_cpu,
                              .register_bytes = run.register_bytes};
    if (getenv("KDC_TEST_LLVM"))
        puts(codegen_llvm_text(program, NULL, NULL, &options, getenv("KDC_TEST_ASM") != NULL));
    Objects objects = codegen_objects(program, NULL, NULL, &options);
    Jit *jit = jit_new(&arena, &message);
    const KdrtProgram *code = jit ? jit_add(jit, &objects, &message) : NULL;
    if (!code)
        kdc_bug("%s", message);
    int64_t threads = run.threads ? run.threads : 1;
    void *scratch = aligned_alloc(64, (size_t)(program->thread_bytes * threads + 64) / 64 * 64);
    KdrtFrame frame = {.input = (const void *const *)argument,
                       .thread = scratch,
                       .seed = 7,
                       .iteration = 3,
                       .threads = threads};
    code->graph[0](&frame);
    free(scratch);
    jit_free(jit);
    objects_free(&objects);
    arena_release(&arena);
}

#endif
