// runtime/main.c -- main() of a training binary, whose generated objects define `kdrt_program`.
//
// A member of its own in libkdrt.a: programs with a main() of their own (kdc, tests, C programs
// that deploy) never pull it in.
#include "runtime/kdrt.h"

extern const KdrtProgram kdrt_program;

int main(int argc, char **argv) {
    return kdrt_main(&kdrt_program, argc, argv);
}
