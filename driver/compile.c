// driver/compile.c -- the stages of the compiler, each on top of the one before.
#include <stdio.h>
#include <string.h>

#include "driver/driver.h"
#include "grammar/grammar.h"
#include "passes/passes.h"

static bool ends_with(const char *text, const char *end) {
    size_t length = strlen(text);
    size_t end_length = strlen(end);
    return length >= end_length && strcmp(text + length - end_length, end) == 0;
}

bool compile_input_is_ir(const Compilation *c) {
    return ends_with(c->source->name, ".ir");
}

bool compile_input_is_loops(const Compilation *c) {
    return ends_with(c->source->name, ".loops");
}

// Prints what was found so far; true if there was no error among it.
static bool no_errors(Compilation *c) {
    bool good = c->diags.error_count == 0;
    if (!c->quiet)
        diag_print_all(&c->diags, stderr);
    if (good && c->options->warnings_are_errors && c->diags.warning_count) {
        fprintf(stderr, "kdc: a warning counts as an error here (`--werror`)\n");
        good = false;
    }
    diag_clear(&c->diags);
    return good;
}

void compile_begin(Compilation *c, const Options *options, const char *path) {
    *c = (Compilation){.options = options};
    c->codegen = (CodegenOptions){.level = options->level, .target_cpu = options->target_cpu};
    c->codegen.unchained = options->unchained;
    if (options->profile)
        c->codegen.profile = &c->sources;
    source_set_init(&c->sources, &c->arena);
    diag_sink_init(&c->diags, &c->arena, &c->sources);
    const char *reason;
    c->source = source_read(&c->sources, path, AST_SOURCE_MAX, &reason);
    if (!c->source)
        world_error("%s: %s", path, reason);
}

// A mistake in a text of our own forms, of which only the line is known.
static bool report_line(Compilation *c, int line, const char *message) {
    Span span = {c->source->id, 0, 0};
    if (line >= 1 && (size_t)line <= c->source->line_count) {
        const uint32_t *start = c->source->line_start;
        span.begin = start[line - 1];
        span.end =
            (size_t)line < c->source->line_count ? start[line] - 1 : (uint32_t)c->source->length;
        while (span.begin < span.end && c->source->text[span.begin] == ' ')
            span.begin++;
    }
    diag_error(&c->diags, span, "%s", message);
    return no_errors(c);
}

static bool read_ir(Compilation *c) {
    int line = 0;
    const char *message = NULL;
    c->module = module_read(&c->arena, c->source->text, c->source->length, &line, &message);
    if (!c->module)
        return report_line(c, line, message);
    message = module_verify(c->module, &c->arena);
    return message ? report_line(c, 0, message) : true;
}

// Loop IR comes one kernel a file, and is on its own: no module, no launches.
static bool read_loops(Compilation *c) {
    int line = 0;
    const char *message = NULL;
    c->kernel = loop_kernel_read(&c->arena, c->source->text, c->source->length, &line, &message);
    if (!c->kernel)
        return report_line(c, line, message);
    message = loop_kernel_verify(c->kernel, &c->arena);
    return message ? report_line(c, 0, message) : true;
}

bool compile_read(Compilation *c) {
    if (compile_input_is_loops(c))
        return read_loops(c);
    if (compile_input_is_ir(c))
        return read_ir(c);
    c->file = kd_parse(&c->arena, &c->sources, c->source, &c->diags);
    return true; // what could not be read is poison, which elaborates to nothing: go on, find more
}

bool compile_elaborate(Compilation *c) {
    if (!c->file)
        return true; // IR is elaborated already
    const FrontendOptions options = {
        .defines = c->options->defines.at,
        .define_count = c->options->defines.count,
        .real = c->options->real,
        .probe = probe_data,
        .transform_row = transform_row,
        .transform_shape = transform_shape,
    };
    c->program = frontend_elaborate(c->file, &options, &c->arena, &c->sources, &c->diags);
    if (!no_errors(c))
        return false;
    kdc_assert(c->program);
    c->module = c->program->module;
    return true;
}

static bool passes_are_known(Compilation *c, const char *names, bool or_all, const char *option) {
    const char *unknown;
    if (!names || passes_known(names, or_all, &c->arena, &unknown))
        return true;
    fprintf(stderr, "kdc: `%s` names no pass: `%s` (see kdc help passes)\n", option, unknown);
    return false;
}

static PassContext pass_context(Compilation *c, Arena *scratch) {
    const Options *options = c->options;
    return (PassContext){
        .scratch = scratch,
        .options = {.level = options->level,
                    .strict_math = options->strict_math,
                    .time = options->time_passes,
                    .print_after = options->print_after,
                    .disabled = options->without,
                    .memory_limit_bytes = options->memory_limit_bytes},
        .observe = c->observe,
        .observer = c->observer,
        .sources = &c->sources,
        .diags = &c->diags,
    };
}

static bool pass_options_are_right(Compilation *c) {
    const Options *options = c->options;
    return passes_are_known(c, options->passes, false, "--passes") &&
           passes_are_known(c, options->without, false, "--without") &&
           passes_are_known(c, options->print_after, true, "--print-after");
}

// "12.4 MB", rounded up: a size that a limit may be set to.
static const char *size_text(Arena *arena, int64_t bytes) {
    bool small = bytes < 1000000;
    int64_t tenth = small ? 100 : 100000;
    double tenths = (double)((bytes + tenth - 1) / tenth);
    return arena_printf(arena, "%.1f %s", tenths / 10, small ? "KB" : "MB");
}

// Whether the memory limit could be met; says by what it could be.
static bool fits_memory(Compilation *c, const PassContext *context) {
    const Graph *graph = context->unmet;
    if (!graph)
        return true;
    const Module *module = graph->module;
    fprintf(stderr,
            "kdc: %s does not fit into `--memory-limit` of %s: the least that was found is %s, of "
            "which parameters, states and constants take %s\n",
            graph->name, size_text(&c->arena, context->options.memory_limit_bytes),
            size_text(&c->arena, context->unmet_bytes),
            size_text(&c->arena, module->storage_bytes + module->phase_bytes));
    return false;
}

bool compile_pass_module(Compilation *c, Module *module, const char *only) {
    if (!pass_options_are_right(c))
        return false;
    Arena scratch = {0};
    PassContext context = pass_context(c, &scratch);
    const char *unknown;
    if (only)
        passes_run_named(module, only, &context, &unknown);
    else
        passes_run(module, &context);
    arena_release(&scratch);
    return fits_memory(c, &context);
}

bool compile_run_passes(Compilation *c) {
    const Options *options = c->options;
    if (!pass_options_are_right(c))
        return false;
    Arena scratch = {0};
    PassContext context = pass_context(c, &scratch);
    context.program = c->program;
    // The IR of an .ir file is shown as it stands, unless passes are asked for.
    bool as_it_stands = !c->program && options->emit == EMIT_IR && !options->level_given;
    const char *unknown;
    if (options->passes)
        passes_run_named(c->module, options->passes, &context, &unknown);
    else if (!as_it_stands)
        passes_run(c->module, &context);
    arena_release(&scratch);
    return no_errors(c) && fits_memory(c, &context);
}

bool compile_to_loops(Compilation *c) {
    if (c->options->passes) { // lowering relies on passes that may not be among them
        fprintf(stderr,
                "kdc: `--passes` goes with --emit=ir; `--without` leaves single passes out\n");
        return false;
    }
    if (!compile_read(c) || !compile_elaborate(c) || !compile_run_passes(c))
        return false;
    c->loops = codegen_lower(&c->arena, c->module, &c->codegen);
    return true;
}

void compile_end(Compilation *c) {
    arena_release(&c->arena);
}
