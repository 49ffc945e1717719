// driver/main.c -- kdc: start reading here. The command line chooses a command; a command runs the
// stages of compile.c as far as it needs them:
//
//     read          text to tree (grammar/), or an .ir file to a module (ir/)
//     elaborate     tree to program: graphs over one storage (frontend/)
//     run passes    differentiate, simplify, fuse, plan memory (passes/)
//     lower         graphs to loops (codegen/), then LLVM, an object, a binary or running code
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "driver/driver.h"

typedef struct CommandRow {
    const char *name;
    Command *run;
} CommandRow;

static const CommandRow commands[] = {
    {"build", command_build}, {"run", command_run},         {"check", command_check},
    {"cost", command_cost},   {"fmt", command_fmt},         {"repl", command_repl},
    {"help", command_help},   {"version", command_version},
};

static Command *find_command(const char *name) {
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (strcmp(commands[i].name, name) == 0)
            return commands[i].run;
    return NULL;
}

/// May --profile stand with it? Help answers whatever stands beside it.
static bool takes_time(Command *command) {
    return command == command_run || command == command_build || command == command_help ||
           command == command_version;
}

int main(int argc, char **argv) {
    Command *command = argc > 1 ? find_command(argv[1]) : command_repl;
    int first = command && argc > 1 ? 2 : 1;
    if (!command)
        command = command_build;

    Arena arena = {0};
    Options options;
    int status = EXIT_PROGRAM_WRONG;
    if (options_parse(&options, &arena, argc, argv, first)) {
        if (options.wants_help)
            command = command_help;
        else if (options.wants_version)
            command = command_version;
        if (options.profile && !takes_time(command))
            fprintf(stderr, "kdc: `--profile` goes with `kdc run` and with what is built\n");
        else
            status = command(&options);
    }
    arena_release(&arena);
    return status;
}
