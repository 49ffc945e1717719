// driver/check.c -- `kdc check model.kd ...`: diagnostics only.
#include <stdio.h>
#include <stdlib.h>

#include "driver/driver.h"

int command_check(const Options *options) {
    if (options->inputs.count == 0) {
        fprintf(stderr, "kdc: check needs a file\n");
        return EXIT_PROGRAM_WRONG;
    }
    bool good = true;
    for (size_t i = 0; i < options->inputs.count; i++) {
        Compilation c;
        compile_begin(&c, options, options->inputs.at[i]);
        good = compile_read(&c) && compile_elaborate(&c) && good;
        compile_end(&c);
    }
    return good ? EXIT_SUCCESS : EXIT_PROGRAM_WRONG;
}
