// driver/repl.c -- `kdc` and `kdc repl`: expressions on tensors, at once.
#include <stdio.h>

#include "driver/driver.h"

int command_repl(const Options *options) {
    (void)options;
    fprintf(stderr, "kdc: the REPL is not built yet\n");
    return EXIT_WE_ARE_WRONG;
}
