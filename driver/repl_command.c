// driver/repl_command.c -- the REPL's commands: a table, and a function for each.
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

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

// The graph of an expression; NULL after a mistake, which is printed.
static Graph *graph_of(Repl *repl, const char *text) {
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
    return graph;
}

static const Node *value_of(const Graph *graph) {
    for (size_t i = 0; i < graph->nodes.count; i++)
        if (graph->nodes.at[i]->op == OP_output)
            return graph->nodes.at[i];
    kdc_bug("the graph of an expression has no output");
}

static void show_type(Repl *repl, const char *argument) {
    Graph *graph = graph_of(repl, argument);
    if (graph)
        fprintf(repl->out, "%s\n", type_text(&repl->arena, &value_of(graph)->type));
}

// Runs `task` on the graph of an expression.
static void work_on(Repl *repl, const char *argument, WorkerTask *task) {
    Graph *graph = graph_of(repl, argument);
    if (!graph)
        return;
    const SessionItem item = {.kind = SESSION_GRAPH, .module = graph->module, .graph = graph};
    Worker worker = worker_start(repl, task, &item);
    worker_end(repl, &worker);
}

// With its gradients expanded.
static bool ir_task(Repl *repl, const void *context, int requests, int replies) {
    (void)requests, (void)replies;
    const SessionItem *item = context;
    Arena scratch = {0};
    PassContext passes = {.scratch = &scratch, .sources = &repl->sources, .diags = &repl->diags};
    const char *unknown;
    bool known =
        passes_run_named(item->module, "differentiate,simplify,cse,dce", &passes, &unknown);
    kdc_assert(known);
    StrBuf text = {.arena = &repl->arena};
    graph_print(&text, item->graph, NULL);
    fputs(strbuf_text(&text), repl->out);
    arena_release(&scratch);
    return true;
}

static void print_code(Repl *repl, const SessionItem *item, bool assembly) {
    const CodegenOptions options = repl_codegen_options(repl);
    LoopProgram *loops = repl_lower(repl, item->module, NULL, &options);
    char *text = codegen_llvm_text(loops, item->module, NULL, &options, assembly);
    fputs(text, repl->out);
    free(text);
}

static bool llvm_task(Repl *repl, const void *context, int requests, int replies) {
    (void)requests, (void)replies;
    print_code(repl, context, false);
    return true;
}

static bool assembly_task(Repl *repl, const void *context, int requests, int replies) {
    (void)requests, (void)replies;
    print_code(repl, context, true);
    return true;
}

static void show_ir(Repl *repl, const char *argument) {
    work_on(repl, argument, ir_task);
}

static void show_llvm(Repl *repl, const char *argument) {
    work_on(repl, argument, llvm_task);
}

static void show_assembly(Repl *repl, const char *argument) {
    work_on(repl, argument, assembly_task);
}

static void show_time(Repl *repl, const char *argument) {
    work_on(repl, argument, repl_time_task);
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
    else if (!repl->training.process)
        fprintf(repl->out, "kdc: no program is loaded that trains: `:load model.kd`\n");
    else
        training_step(repl, count);
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
    {"time", "EXPR", show_time, "how long its compiled code takes"},
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
