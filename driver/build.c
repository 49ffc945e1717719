// driver/build.c -- `kdc model.kd -o train`: a training binary, or with --emit any form before it.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver/driver.h"
#include "driver/evaluate.h"

// "models/fashion.kd" with ".o": "fashion.o" in the current folder.
static const char *default_output(Arena *arena, const char *input, const char *suffix) {
    const char *slash = strrchr(input, '/');
    const char *base = slash ? slash + 1 : input;
    const char *dot = strrchr(base, '.');
    size_t length = dot && dot > base ? (size_t)(dot - base) : strlen(base);
    return arena_printf(arena, "%.*s%s", (int)length, base, suffix);
}

static void write_text(const Compilation *c, const StrBuf *text) {
    write_output(c->options->output, strbuf_text(text), text->length);
}

static void emit_malloced(const Compilation *c, char *text) {
    write_output(c->options->output, text, strlen(text));
    free(text);
}

static bool emit_tree(Compilation *c) {
    StrBuf text = {.arena = &c->arena};
    compile_read(c);
    if (!c->file) {
        fprintf(stderr, "kdc: %s has no tree: it is IR\n", c->source->name);
        return false;
    }
    bool good = c->diags.error_count == 0;
    diag_print_all(&c->diags, stderr);
    if (c->options->emit == EMIT_TREE)
        ast_dump(&text, c->file, false);
    else if (good)
        ast_print(&text, c->file);
    write_text(c, &text);
    return good;
}

static bool emit_ir(Compilation *c) {
    if (!compile_read(c) || !compile_elaborate(c) || !compile_run_passes(c))
        return false;
    StrBuf text = {.arena = &c->arena};
    if (c->options->evaluate)
        evaluate_module(&text, c->module);
    else
        module_print(&text, c->module, &c->sources);
    write_text(c, &text);
    return true;
}

static bool print_kernel(Compilation *c) {
    if (c->options->emit != EMIT_LOOPS) {
        fprintf(stderr, "kdc: %s is loop IR: --emit=loops is all that it can become\n",
                c->source->name);
        return false;
    }
    if (!compile_read(c))
        return false;
    StrBuf text = {.arena = &c->arena};
    loop_kernel_print(&text, c->kernel);
    write_text(c, &text);
    return true;
}

static bool emit_loops(Compilation *c) {
    if (!compile_to_loops(c))
        return false;
    StrBuf text = {.arena = &c->arena};
    loop_program_print(&text, c->loops);
    write_text(c, &text);
    return true;
}

static bool emit_manifest(Compilation *c) {
    if (!compile_to_loops(c))
        return false;
    if (!c->program) {
        fprintf(stderr, "kdc: %s has no manifest: it is not a program\n", c->source->name);
        return false;
    }
    StrBuf text = {.arena = &c->arena};
    strbuf_puts(&text, codegen_manifest(&c->arena, c->program, c->loops));
    write_text(c, &text);
    return true;
}

static bool emit_llvm(Compilation *c, bool assembly) {
    if (!compile_to_loops(c))
        return false;
    emit_malloced(c, codegen_llvm_text(c->loops, c->module, c->program, &c->codegen, assembly));
    return true;
}

static bool emit_object(Compilation *c) {
    if (!compile_to_loops(c))
        return false;
    Objects objects = codegen_objects(c->loops, c->module, c->program, &c->codegen);
    const char *output = c->options->output;
    const char *message = NULL;
    if (!output)
        output = default_output(&c->arena, c->source->name, ".o");
    if (!link_relocatable(&objects, output, &c->arena, &message))
        world_error("%s: %s", output, message);
    objects_free(&objects);
    return true;
}

static bool emit_binary(Compilation *c) {
    if (!compile_to_loops(c))
        return false;
    if (!c->program) {
        fprintf(stderr, "kdc: %s is IR, not a program: say which form to --emit\n",
                c->source->name);
        return false;
    }
    Objects objects = codegen_objects(c->loops, c->module, c->program, &c->codegen);
    const char *output = c->options->output;
    const char *message = NULL;
    if (!output)
        output = default_output(&c->arena, c->source->name, "");
    bool reads_images = false;
    for (size_t i = 0; i < c->program->data.count; i++)
        reads_images = reads_images || strcmp(c->program->data.at[i]->source, "images") == 0;
    if (!link_executable(&objects, output, c->options->fully_static, reads_images, &c->arena,
                         &message))
        world_error("%s: %s", output, message);
    objects_free(&objects);
    return true;
}

static bool emit(Compilation *c) {
    if (compile_input_is_loops(c))
        return print_kernel(c);
    switch (c->options->evaluate ? EMIT_IR : c->options->emit) {
    case EMIT_BINARY:
        return emit_binary(c);
    case EMIT_AST:
    case EMIT_TREE:
        return emit_tree(c);
    case EMIT_IR:
        return emit_ir(c);
    case EMIT_LOOPS:
        return emit_loops(c);
    case EMIT_LLVM:
        return emit_llvm(c, false);
    case EMIT_ASM:
        return emit_llvm(c, true);
    case EMIT_OBJ:
        return emit_object(c);
    case EMIT_MANIFEST:
        return emit_manifest(c);
    }
    kdc_bug("no form %d", (int)c->options->emit);
}

int command_build(const Options *options) {
    if (options->inputs.count != 1) {
        fprintf(stderr, "kdc: one program at a time; there are %zu (see kdc --help)\n",
                options->inputs.count);
        return EXIT_PROGRAM_WRONG;
    }
    if (output_is_input(options->output, options->inputs.at[0]))
        return EXIT_PROGRAM_WRONG;
    if (options->profile && (options->deploy || options->profile_batches)) {
        fprintf(stderr, options->deploy
                            ? "kdc: `--profile` takes the time of training programs, not of a "
                              "deployed library\n"
                            : "kdc: `--profile=N` goes with `kdc run`; what is built takes "
                              "--profile N itself\n");
        return EXIT_PROGRAM_WRONG;
    }
    Compilation c;
    compile_begin(&c, options, options->inputs.at[0]);
    bool good = options->deploy ? deploy_library(&c) : emit(&c);
    compile_end(&c);
    return good ? EXIT_SUCCESS : EXIT_PROGRAM_WRONG;
}
