// driver/output.c -- files that appear whole or not at all.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "driver/driver.h"

static void write_stdout(const char *bytes, size_t length) {
    fwrite(bytes, 1, length, stdout);
    if (fflush(stdout) || ferror(stdout))
        world_error("standard output: %s", strerror(errno));
}

// Devices and pipes are written to, not replaced.
static bool is_special(const char *path) {
    struct stat status;
    return stat(path, &status) == 0 && !S_ISREG(status.st_mode);
}

void write_output(const char *path, const char *bytes, size_t length) {
    if (!path || strcmp(path, "-") == 0) {
        write_stdout(bytes, length);
        return;
    }
    Arena arena = {0};
    const char *written =
        is_special(path) ? path : arena_printf(&arena, "%s.%d.tmp", path, (int)getpid());
    FILE *file = fopen(written, "wb");
    if (!file)
        world_error("%s: %s", path, strerror(errno));
    errno = 0;
    bool good = fwrite(bytes, 1, length, file) == length;
    good = fclose(file) == 0 && good;
    if (good && written != path)
        good = rename(written, path) == 0;
    if (!good) {
        int reason = errno;
        if (written != path)
            unlink(written);
        world_error("%s: %s", path, strerror(reason));
    }
    arena_release(&arena);
}

bool output_is_input(const char *output, const char *input) {
    struct stat to, from;
    if (!output || stat(output, &to) || stat(input, &from) || !S_ISREG(to.st_mode) ||
        to.st_dev != from.st_dev || to.st_ino != from.st_ino)
        return false;
    fprintf(stderr, "kdc: `-o %s` would overwrite the program\n", output);
    return true;
}
