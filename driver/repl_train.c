// driver/repl_train.c -- `:step`: a loaded program trains, so many batches at a time.
#include <inttypes.h>
#include <stdlib.h>

#include "driver/repl.h"
#include "passes/passes.h"

struct Training {
    Jit *jit;
    KdrtSession *session;
};

static LoopProgram *compile_program(Repl *repl, Program *program, const CodegenOptions *options) {
    Arena scratch = {0};
    PassContext context = {.scratch = &scratch,
                           .options.level = repl->options->level,
                           .program = program,
                           .sources = &repl->sources,
                           .diags = &repl->diags};
    passes_run(program->module, &context);
    arena_release(&scratch);
    return codegen_lower(&repl->arena, program->module, options);
}

Training *training_open(Repl *repl, Program *program) {
    const CodegenOptions options = {.level = repl->options->level,
                                    .target_cpu = repl->options->target_cpu};
    LoopProgram *loops = compile_program(repl, program, &options);
    Objects objects = codegen_objects(loops, program->module, program, &options);
    const char *message = NULL;
    Training opened = {.jit = jit_new(&repl->arena, &message)};
    const KdrtProgram *code = opened.jit ? jit_add(opened.jit, &objects, &message) : NULL;
    objects_free(&objects);
    if (!code)
        kdc_bug("the JIT refuses the object: %s", message);

    char name[] = "repl";
    char *argv[] = {name, NULL};
    KdrtError error = {0};
    opened.session = kdrt_session_open(code, 1, argv, &error);
    if (!opened.session) {
        fprintf(repl->out, "kdc: %s\n", error.text);
        jit_free(opened.jit);
        return NULL;
    }
    Training *training = malloc(sizeof *training);
    if (!training)
        world_error("out of memory");
    *training = opened;
    fprintf(repl->out, "ready to train: `:step 10` runs ten batches\n");
    return training;
}

void training_step(Repl *repl, Training *training, int64_t batch_count) {
    KdrtReport report = {0};
    KdrtError error = {0};
    if (!kdrt_session_step(training->session, batch_count, &report, &error)) {
        fprintf(repl->out, "kdc: %s\n", error.text);
        return;
    }
    fprintf(repl->out, "%s epoch %" PRId64 " step %" PRId64, report.phase, report.epoch + 1,
            report.iteration);
    for (int64_t i = 0; i < report.value_count; i++)
        fprintf(repl->out, "  %s %.4g", report.name[i], report.value[i]);
    fprintf(repl->out, "%s\n", report.finished ? "  (finished)" : "");
}

void training_close(Training *training) {
    if (!training)
        return;
    kdrt_session_close(training->session);
    jit_free(training->jit);
    free(training);
}
