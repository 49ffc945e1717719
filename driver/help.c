// driver/help.c -- `kdc --help`, and what the tables of passes and ops say of themselves.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver/driver.h"
#include "passes/passes.h"

static void print_passes(void) {
    printf("passes, in no order; from -O level on\n\n");
    for (size_t i = 0; i < PASS_COUNT; i++)
        printf("  %-16s -O%d%s  %s\n", pass_info[i].name, pass_info[i].level,
               pass_info[i].required ? " always" : "       ", pass_info[i].summary);
}

static void print_ops(void) {
    printf("ops of the tensor IR\n\n");
    for (size_t i = 0; i < OP_COUNT; i++)
        printf("  %-16s %s\n", op_info[i].name, op_info[i].summary);
}

static void print_all(void) {
    printf(
        "kdc compiles kd, a language for knowledge distillation, to training binaries.\n\n"
        "  kdc MODEL.kd -o train      a native training binary; ./train --help lists its options\n"
        "  kdc run MODEL.kd -- FLAGS  the same program at once, through the JIT\n"
        "  kdc run MODEL.kd --profile and where its time goes, by kernel, line and loss term\n"
        "  kdc check FILE ...         diagnostics only\n"
        "  kdc cost MODEL.kd          parameters, multiply-adds, kernels and bytes, as a table\n"
        "  kdc fmt FILE ...           the canonical form, in place; -o - prints it\n"
        "  kdc repl [MODEL.kd]        expressions on tensors; also `kdc` alone on a terminal\n"
        "  kdc FILE.ir --emit=ir      tensor IR in text form, where a program may stand\n"
        "  kdc help [passes|ops]      this text, or what there is\n"
        "  kdc version\n\n");
    options_print_help();
    printf("\nExit status: 0; 1 if the program is wrong; 2 if a file, the disk or memory is; 70 if "
           "kdc is.\n");
}

int command_help(const Options *options) {
    const char *topic = options->inputs.count ? options->inputs.at[0] : "";
    if (strcmp(topic, "passes") == 0)
        print_passes();
    else if (strcmp(topic, "ops") == 0)
        print_ops();
    else
        print_all();
    return EXIT_SUCCESS;
}

int command_version(const Options *options) {
    (void)options;
    printf("kdc %s\n", KDC_VERSION);
    return EXIT_SUCCESS;
}
