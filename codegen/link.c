// codegen/link.c -- objects to an executable by the system's C compiler.
//
// Objects go to a temporary folder beside the output. The executable holds libkdrt and the static
// archives of what it reads files with, so it depends on libc and libgomp alone, or with --static
// on nothing.
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "codegen/codegen.h"
#include "support/diag.h"

extern char **environ;

/// A runtime that is built with sanitizers (as gcc tells) wants them in what it is linked to.
#ifdef __SANITIZE_ADDRESS__
static const char *const sanitizers = "-fsanitize=address,undefined";
#else
static const char *const sanitizers = NULL;
#endif

typedef struct Linker {
    Arena *arena;
    const char *folder; // of the temporary objects
    Vec(const char *) files;
    Vec(char *) command;
    const char *message;
} Linker;

static void word(Linker *linker, const char *text) {
    vec_push(linker->arena, &linker->command, arena_strdup(linker->arena, text));
}

// ---- temporary objects
// -----------------------------------------------------------------------------

static bool write_file(Linker *linker, const char *path, const ObjectBytes *object) {
    int file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    size_t done = 0;
    while (file >= 0 && done < object->size) {
        ssize_t count = write(file, object->bytes + done, object->size - done);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            break;
        done += (size_t)count;
    }
    bool ok = file >= 0 && done == object->size;
    if (!ok)
        linker->message = arena_printf(linker->arena, "%s: %s", path, strerror(errno));
    if (file >= 0 && close(file) && ok) {
        linker->message = arena_printf(linker->arena, "%s: %s", path, strerror(errno));
        ok = false;
    }
    return ok;
}

static bool write_objects(Linker *linker, const Objects *objects, const char *output) {
    char *folder = arena_printf(linker->arena, "%s.objects-XXXXXX", output);
    struct stat there;
    bool is_folder = stat(output, &there) == 0 && S_ISDIR(there.st_mode);
    if (is_folder || !mkdtemp(folder)) {
        linker->message = arena_strdup(linker->arena, strerror(is_folder ? EISDIR : errno));
        return false;
    }
    linker->folder = folder;
    for (size_t i = 0; i < objects->count; i++) {
        const char *path = arena_printf(linker->arena, "%s/%zu.o", folder, i);
        vec_push(linker->arena, &linker->files, path);
        if (!write_file(linker, path, &objects->at[i]))
            return false;
    }
    return true;
}

static void remove_objects(Linker *linker) {
    for (size_t i = 0; i < linker->files.count; i++)
        unlink(linker->files.at[i]);
    if (linker->folder)
        rmdir(linker->folder);
}

// ---- the runtime library
// ---------------------------------------------------------------------------

/// Of $KDC_RUNTIME, libkdrt.a beside kdc (the build tree) and ../lib/kdc/libkdrt.a (installed), the
/// first that there is.
static const char *find_runtime(Linker *linker) {
    const char *chosen = getenv("KDC_RUNTIME");
    if (chosen && !access(chosen, R_OK))
        return chosen;
    if (chosen) {
        linker->message =
            arena_printf(linker->arena, "%s (KDC_RUNTIME): %s", chosen, strerror(errno));
        return NULL;
    }
    char kdc[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", kdc, sizeof kdc - 1);
    if (length <= 0) {
        linker->message = arena_printf(linker->arena, "/proc/self/exe: %s", strerror(errno));
        return NULL;
    }
    kdc[length] = 0;
    *strrchr(kdc, '/') = 0;
    static const char *const places[] = {"libkdrt.a", "../libkdrt.a", "../lib/kdc/libkdrt.a"};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        const char *path = arena_printf(linker->arena, "%s/%s", kdc, places[i]);
        if (!access(path, R_OK))
            return path;
    }
    linker->message = arena_printf(
        linker->arena,
        "libkdrt.a is neither in %s nor in %s/../lib/kdc; set KDC_RUNTIME to its path", kdc, kdc);
    return NULL;
}

// ---- running the compiler
// ----------------------------------------------------------------------------

/// Runs the command, its first word replaced by each of `programs` in turn until one is there.
static bool run_one_of(Linker *linker, const char *const *programs, size_t count,
                       const char *missing) {
    pid_t child;
    int status = 0, error = ENOENT;
    vec_push(linker->arena, &linker->command, NULL);
    for (size_t i = 0; error == ENOENT && i < count; i++) {
        linker->command.at[0] = (char *)programs[i];
        error = posix_spawnp(&child, programs[i], NULL, NULL, linker->command.at, environ);
    }
    if (error) {
        linker->message = arena_printf(linker->arena, "%s: %s", missing, strerror(error));
        return false;
    }
    while (waitpid(child, &status, 0) < 0) {
        if (errno != EINTR) {
            linker->message =
                arena_printf(linker->arena, "waiting for the linker: %s", strerror(errno));
            return false;
        }
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return true;
    linker->message = arena_printf(linker->arena, "%s failed to link", linker->command.at[0]);
    return false;
}

static bool run_compiler(Linker *linker) {
    static const char *const compilers[] = {"cc", "gcc", "clang-19", "clang"};
    return run_one_of(linker, compilers, sizeof compilers / sizeof *compilers,
                      "no C compiler to link with: cc, gcc, clang");
}

/// Runs the command of these words, NULL at the end.
static bool run_tool(Linker *linker, const char *const *words) {
    const char *program = words[0];
    linker->command.count = 0;
    for (; *words; words++)
        word(linker, *words);
    return run_one_of(linker, &program, 1, program);
}

static void files_and_output(Linker *linker, const char *output) {
    word(linker, "-o");
    word(linker, output);
    for (size_t i = 0; i < linker->files.count; i++)
        word(linker, linker->files.at[i]);
}

bool link_executable(const Objects *objects, const char *output, bool fully_static,
                     bool reads_images, Arena *arena, const char **message) {
    static const char *const libraries[] = {"-l:libjansson.a", "-l:libz.a", "-lgomp", "-lm",
                                            "-lpthread"};
    Linker linker = {.arena = arena};
    const char *runtime = find_runtime(&linker);
    bool ok = runtime && write_objects(&linker, objects, output);
    if (ok) {
        word(&linker, "cc");
        files_and_output(&linker, output);
        if (reads_images) // nothing else names it: it is weak
            word(&linker, "-Wl,-u,kdrt_image_decode");
        word(&linker, runtime);
        if (sanitizers)
            word(&linker, sanitizers);
        if (fully_static) { // libgomp names dlopen, for devices that there are none of
            word(&linker, "-static");
            word(&linker, "-Wl,--no-warnings");
        }
        if (reads_images) {
            word(&linker, "-l:libpng.a");
            word(&linker, "-l:libjpeg.a");
        }
        for (size_t i = 0; i < sizeof libraries / sizeof *libraries; i++)
            word(&linker, libraries[i]);
        ok = run_compiler(&linker);
    }
    remove_objects(&linker);
    *message = linker.message;
    return ok;
}

// One relocatable object of the kernels and what they need of the runtime, in which only the
// functions of the library keep their names: two libraries in one program do not meet.
static const char *join_library(Linker *linker, const Objects *objects, const char *output) {
    const char *runtime = find_runtime(linker);
    if (!runtime || !write_objects(linker, objects, output))
        return NULL;
    const char *joined = arena_printf(linker->arena, "%s/library.o", linker->folder);
    word(linker, "cc");
    files_and_output(linker, joined);
    word(linker, runtime);
    word(linker, "-r");
    word(linker, "-nostdlib");
    bool ok = run_compiler(linker);
    vec_push(linker->arena, &linker->files, joined);
    return ok && run_tool(linker, (const char *[]){"objcopy", "--localize-hidden", joined, NULL})
               ? joined
               : NULL;
}

bool link_library(const Objects *objects, const char *output, bool archive, Arena *arena,
                  const char **message) {
    Linker linker = {.arena = arena};
    const char *joined = join_library(&linker, objects, output);
    bool ok = joined != NULL;
    if (ok && archive) {
        unlink(output); // ar would add to it
        ok = run_tool(&linker, (const char *[]){"ar", "rcsD", output, joined, NULL});
    } else if (ok) {
        ok = run_tool(&linker, (const char *[]){"cc", "-shared", "-o", output, joined, "-lgomp",
                                                "-Wl,-z,defs", sanitizers, NULL});
    }
    remove_objects(&linker);
    *message = linker.message;
    return ok;
}

bool link_relocatable(const Objects *objects, const char *output, Arena *arena,
                      const char **message) {
    Linker linker = {.arena = arena};
    bool ok = write_objects(&linker, objects, output);
    if (ok) {
        word(&linker, "cc");
        files_and_output(&linker, output);
        word(&linker, "-r");
        word(&linker, "-nostdlib");
        ok = run_compiler(&linker);
    }
    remove_objects(&linker);
    *message = linker.message;
    return ok;
}
