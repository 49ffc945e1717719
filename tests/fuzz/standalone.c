// tests/fuzz/standalone.c -- a fuzz target without libFuzzer: `test_fuzz_NAME ROUNDS PATH ...` runs
// it on each file of the paths, then on ROUNDS broken copies of each. The same copies on every run:
// what breaks is drawn from the file's bytes and the round. A copy that ends the process is left in
// `fuzz_failure` in the current folder.
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/map.h"
#include "support/source.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FILE_LIMIT_BYTES = 1 << 20, GROWTH_BYTES = 64 };

static const uint8_t *current; // for the signal handler
static size_t current_size;

static void keep_input(int signal_number) {
    int fd = open("fuzz_failure", O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (fd >= 0 && write(fd, current, current_size) >= 0)
        close(fd);
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

static void keep_input_at_exit(void) {
    if (current)
        keep_input(SIGABRT);
}

static void run_one(const uint8_t *data, size_t size) {
    current = data;
    current_size = size;
    alarm(20);
    LLVMFuzzerTestOneInput(data, size);
    alarm(0);
    current = NULL;
}

static uint64_t draw(uint64_t *state) {
    return *state = hash_mix(*state, 1);
}

// One of: change a byte, drop a stretch, repeat a stretch elsewhere, put in a byte that means much.
static size_t break_once(uint8_t *bytes, size_t size, size_t room, uint64_t *state) {
    static const char telling[] = "(){}[]\"\\\n\t #.,=*/%-<>|0129eE\0\x80\xff";
    size_t at = size ? draw(state) % size : 0;
    size_t length = size ? 1 + draw(state) % (size - at < 32 ? size - at : 32) : 0;
    switch (draw(state) % 4) {
    case 0:
        if (size)
            bytes[at] = (uint8_t)draw(state);
        return size;
    case 1:
        memmove(bytes + at, bytes + at + length, size - at - length);
        return size - length;
    case 2:
        if (size + length > room)
            return size;
        memmove(bytes + at + length, bytes + at, size - at);
        return size + length;
    default:
        if (size + 1 > room)
            return size;
        memmove(bytes + at + 1, bytes + at, size - at);
        bytes[at] = (uint8_t)telling[draw(state) % (sizeof telling - 1)];
        return size + 1;
    }
}

static void run_broken(const uint8_t *data, size_t size, uint64_t round) {
    uint64_t state = hash_bytes(data, size, round + 1);
    size_t room = size + GROWTH_BYTES;
    uint8_t *copy = malloc(room);
    if (!copy)
        abort();
    memcpy(copy, data, size);
    size_t broken_size = size;
    for (uint64_t i = 0; i < 1 + round % 8; i++)
        broken_size = break_once(copy, broken_size, room, &state);
    uint8_t *exact = malloc(broken_size + !broken_size); // an overrun is then found
    if (!exact)
        abort();
    memcpy(exact, copy, broken_size);
    free(copy);
    run_one(exact, broken_size);
    free(exact);
}

static size_t run_path(const char *path, uint64_t rounds) {
    DIR *folder = opendir(path);
    size_t count = 0;
    if (folder) {
        for (struct dirent *entry; (entry = readdir(folder));) {
            char name[4096];
            snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
            if (entry->d_name[0] != '.')
                count += run_path(name, rounds);
        }
        closedir(folder);
        return count;
    }
    Arena arena = {0};
    SourceSet sources;
    source_set_init(&sources, &arena);
    const char *reason;
    const Source *source = source_read(&sources, path, FILE_LIMIT_BYTES, &reason);
    if (source) {
        run_one((const uint8_t *)source->text, source->length);
        for (uint64_t round = 0; round < rounds; round++)
            run_broken((const uint8_t *)source->text, source->length, round);
        count = 1 + rounds;
    }
    arena_release(&arena);
    return count;
}

int main(int argc, char **argv) {
    signal(SIGSEGV, keep_input);
    signal(SIGABRT, keep_input);
    signal(SIGALRM, keep_input);
    atexit(keep_input_at_exit);
    uint64_t rounds = argc > 1 ? strtoull(argv[1], NULL, 10) : 0;
    size_t count = 0;
    for (int i = 2; i < argc; i++)
        count += run_path(argv[i], rounds);
    printf("%zu inputs\ncases: %d passed, 0 failed, %d skipped\n", count, count > 0, count == 0);
    return 0;
}
