// driver/run.c -- `kdc run model.kd -- --epochs 2`: the training program through the JIT, in this
// process.
#include <stdio.h>
#include <stdlib.h>

#include "driver/driver.h"

static int run_program(Compilation *c) {
    Objects objects = codegen_objects(c->loops, c->module, c->program, &c->codegen);
    const char *message = NULL;
    Jit *jit = jit_new(&c->arena, &message);
    const KdrtProgram *program = jit ? jit_add(jit, &objects, &message) : NULL;
    objects_free(&objects);
    if (!program)
        kdc_bug("the JIT refuses the object: %s", message);

    const Options *options = c->options;
    int argc = options->run_arg_count + 1;
    char **argv = arena_array(&c->arena, char *, (size_t)argc + 2);
    argv[0] = arena_strdup(&c->arena, c->program->name);
    for (int i = 1; i < argc; i++)
        argv[i] = options->run_args[i - 1];
    if (options->profile_batches)
        argv[argc++] = arena_printf(&c->arena, "--profile=%s", options->profile_batches);
    int status = kdrt_main(program, argc, argv);
    jit_free(jit);
    return status;
}

int command_run(const Options *options) {
    if (options->inputs.count != 1) {
        fprintf(stderr, "kdc: one program at a time; flags of the run follow after `--`\n");
        return EXIT_PROGRAM_WRONG;
    }
    Compilation c;
    compile_begin(&c, options, options->inputs.at[0]);
    int status = EXIT_PROGRAM_WRONG;
    if (compile_input_is_ir(&c) || compile_input_is_loops(&c))
        fprintf(stderr, "kdc: %s is IR, not a program\n", c.source->name);
    else if (compile_to_loops(&c))
        status = run_program(&c);
    compile_end(&c);
    return status;
}
