// driver/repl_command.c -- the REPL's commands: a table, and a function for each.
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "driver/repl.h"
#include "passes/passes.h"

// `argument` is what follows the name, without space around it; "" if nothing does.
typedef void ReplCommand(Repl *repl, const char *argument);

typedef struct CommandRow {
    const char *name;
    const char *argument;
    ReplCommand *run;
    const char *help;
} CommandRow;

// The graph of an expression, its gradients expanded; NULL after a mistake, which is printed.
static Graph *graph_of(Repl *repl, const char *text, bool expanded) {
    const Source *source = repl_begin_input(repl, "<repl>", text, strlen(text));
    KdInput input = kd_parse_input(&repl->arena, &repl->sources, source, true, &repl->diags);
    Graph *graph = NULL;
    if (input.state == KD_INPUT_COMPLETE) {
        const AstBlock *body = &input.file->body;
        if (body->count == 1 && body->stmts[0]->kind == STMT_EXPR) {
            frontend_session_input(repl->session, input.file, &repl->arena, &repl->sources,
                                   &repl->diags);
            graph = frontend_session_graph(repl->session, body->stmts[0]->value);
        } else {
            fprintf(repl->out, "kdc: an expression is needed\n");
        }
    }
    diag_print_all(&repl->diags, repl->out);
    if (graph && expanded) {
        Arena scratch = {0};
        PassContext context = {.scratch = &scratch, .sources = &repl->sources};
        const char *unknown;
        passes_run_named(graph->module, "differentiate,simplify,cse,dce", &context, &unknown);
        arena_release(&scratch);
    }
    return graph;
}

static const Node *value_of(const Graph *graph) {
    for (size_t i = 0; i < graph->nodes.count; i++)
        if (graph->nodes.at[i]->op == OP_output)
            return graph->nodes.at[i];
    kdc_bug("the graph of an expression has no output");
}

static void show_type(Repl *repl, const char *argument) {
    Graph *graph = graph_of(repl, argument, false);
    if (graph)
        fprintf(repl->out, "%s\n", type_text(&repl->arena, &value_of(graph)->type));
}

static void show_ir(Repl *repl, const char *argument) {
    Graph *graph = graph_of(repl, argument, true);
    if (!graph)
        return;
    StrBuf text = {.arena = &repl->arena};
    graph_print(&text, graph, NULL);
    fputs(strbuf_text(&text), repl->out);
}

static void show_code(Repl *repl, const char *argument, bool assembly) {
    Graph *graph = graph_of(repl, argument, false);
    if (!graph)
        return;
    Arena scratch = {0};
    PassContext context = {.scratch = &scratch, .options.level = repl->options->level};
    passes_run(graph->module, &context);
    arena_release(&scratch);
    CodegenOptions options = {.level = repl->options->level,
                              .target_cpu = repl->options->target_cpu};
    LoopProgram *loops = codegen_lower(&repl->arena, graph->module, &options);
    char *text = codegen_llvm_text(loops, graph->module, NULL, &options, assembly);
    fputs(text, repl->out);
    free(text);
}

static void show_llvm(Repl *repl, const char *argument) {
    show_code(repl, argument, false);
}

static void show_assembly(Repl *repl, const char *argument) {
    show_code(repl, argument, true);
}

static double seconds_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void show_time(Repl *repl, const char *argument) {
    double best_s = 0;
    double began_s = seconds_now();
    for (int round = 0; round < 5 && (round == 0 || seconds_now() - began_s < 2); round++) {
        Graph *graph = graph_of(repl, argument, false);
        if (!graph)
            return;
        double start_s = seconds_now();
        repl_run_graph(repl, graph->module, graph);
        double elapsed_s = seconds_now() - start_s;
        if (round == 0 || elapsed_s < best_s)
            best_s = elapsed_s;
    }
    fprintf(repl->out, "%.3g ms\n", best_s * 1e3);
}

static void load_file(Repl *repl, const char *argument) {
    repl_begin_input(repl, "<repl>", "", 0);
    const char *reason;
    const Source *source = source_read(&repl->sources, argument, AST_SOURCE_MAX, &reason);
    if (!source) {
        fprintf(repl->out, "kdc: %s: %s\n", argument, reason);
        return;
    }
    KdInput input = kd_parse_input(&repl->arena, &repl->sources, source, true, &repl->diags);
    if (input.state == KD_INPUT_COMPLETE)
        repl_run_input(repl, input.file);
    else
        diag_print_all(&repl->diags, repl->out);
}

static void run_steps(Repl *repl, const char *argument) {
    char *end;
    errno = 0;
    long count = *argument ? strtol(argument, &end, 10) : 1;
    if (count < 1 || errno || (*argument && *end))
        fprintf(repl->out, "kdc: `:step` takes a number of batches, not `%s`\n", argument);
    else if (!repl->training)
        fprintf(repl->out, "kdc: no program is loaded that trains: `:load model.kd`\n");
    else
        training_step(repl, repl->training, count);
}

static void quit(Repl *repl, const char *argument) {
    (void)argument;
    repl->finished = true;
}

static void show_help(Repl *repl, const char *argument);

static const CommandRow commands[] = {
    {"type", "EXPR", show_type, "dtype and shape of a value"},
    {"ir", "EXPR", show_ir, "its tensor IR"},
    {"llvm", "EXPR", show_llvm, "its code in LLVM's IR"},
    {"asm", "EXPR", show_assembly, "its code for this machine"},
    {"time", "EXPR", show_time, "how long it takes to compute"},
    {"load", "FILE", load_file, "run a program's declarations as if they were typed"},
    {"step", "[N]", run_steps, "train the loaded program for N batches"},
    {"help", "[NAME]", show_help, "this, or what a name means"},
    {"quit", "", quit, "leave; so does the end of the input"},
};
enum { COMMAND_COUNT = sizeof commands / sizeof *commands };

static void show_help(Repl *repl, const char *argument) {
    if (*argument) {
        const char *text = frontend_session_help(repl->session, argument, &repl->arena);
        if (text)
            fprintf(repl->out, "%s\n", text);
        else
            fprintf(repl->out, "kdc: nothing is called `%s`\n", argument);
        return;
    }
    fprintf(repl->out, "An input is a declaration, a `let` or an expression. Commands:\n");
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        fprintf(repl->out, "  :%-5s %-7s %s\n", commands[i].name, commands[i].argument,
                commands[i].help);
}

static const CommandRow *find_command(const char *name) {
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

void repl_run_command(Repl *repl, const char *line) {
    Arena arena = {0};
    size_t name_length = strcspn(line, " \t\r\n");
    const char *name = arena_strndup(&arena, line, name_length);
    const char *rest = line + name_length + strspn(line + name_length, " \t\r\n");
    size_t length = strlen(rest);
    while (length && strchr(" \t\r\n", rest[length - 1]))
        length--;
    const char *argument = arena_strndup(&arena, rest, length);

    const CommandRow *command = find_command(name);
    if (!command)
        fprintf(repl->out, "kdc: there is no `:%s`; `:help` lists the commands\n", name);
    else if (!*argument && command->argument[0] && command->argument[0] != '[')
        fprintf(repl->out, "kdc: `:%s` needs %s\n", name, command->argument);
    else
        command->run(repl, argument);
    arena_release(&arena);
}
