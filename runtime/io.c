// runtime/io.c -- the runtime's only way to the disk.
//
// Every operation passes attempt(), which counts it, and kills the process or pretends an error
// where KDC_FAULT says so. An interrupted call is made again; a sync that failed never is, for the
// kernel may have dropped the pages and would report success (reliability.md 1.6).
#include "runtime/base.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static const bool op_is_durable[IO_OP_COUNT] = {
#define OP(name, durable) [IO_##name] = durable,
    IO_OPS(OP)
#undef OP
};

/// Counts the operation. Returns the error it is to fail with, 0 for none, -1 for a short write.
static int attempt(Env *env, IoOp op) {
    const Fault *fault = &env->fault;
    env->count[op]++;
    if (op_is_durable[op]) {
        env->durable_count++;
        if (fault->kind == FAULT_CRASH_BEFORE && env->durable_count == fault->at)
            raise(SIGKILL);
    }
    bool hit = fault->op == op &&
               (env->count[op] == fault->at || (fault->for_ever && env->count[op] > fault->at));
    if (hit && fault->kind == FAULT_ERROR)
        return fault->error_number;
    return hit && fault->kind == FAULT_SHORT ? -1 : 0;
}

static void succeeded(Env *env, IoOp op) {
    if (op_is_durable[op] && env->fault.kind == FAULT_CRASH_AFTER &&
        env->durable_count == env->fault.at)
        raise(SIGKILL);
}

/// Makes `call` unless a fault stands in for it, again while it is interrupted.
#define TRY(env, op, result, call)                                                                 \
    do {                                                                                           \
        int fault_ = attempt((env), (op));                                                         \
        if (fault_ > 0) {                                                                          \
            (result) = -1;                                                                         \
            errno = fault_;                                                                        \
        } else {                                                                                   \
            (result) = (call);                                                                     \
        }                                                                                          \
        if ((result) >= 0)                                                                         \
            succeeded((env), (op));                                                                \
    } while ((result) < 0 && errno == EINTR)

static bool fail_errno(KdrtError *error, const char *path, const char *doing) {
    int number = errno;
    return kdrt_fail(error, STATUS_WORLD, "%s: %s: %s", path, doing, strerror(number));
}

bool kdrt_io_read_file(Env *env, Arena *arena, const char *path, size_t most_bytes,
                       size_t limit_bytes, Bytes *bytes, KdrtError *error) {
    int fd;
    TRY(env, IO_open, fd, open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)); // no waiting at a pipe
    if (fd < 0)
        return fail_errno(error, path, "cannot be opened");
    struct stat info;
    bool ok = true;
    if (fstat(fd, &info))
        ok = fail_errno(error, path, "cannot be read");
    else if (!S_ISREG(info.st_mode))
        ok = kdrt_fail(error, STATUS_WORLD, "%s: is not a file", path);
    size_t length = ok ? (size_t)info.st_size : 0;
    if (ok && limit_bytes && length > limit_bytes)
        ok = kdrt_fail(error, STATUS_WORLD, "%s: has %zu bytes, more than the limit of %zu", path,
                       length, limit_bytes);
    if (most_bytes && length > most_bytes)
        length = most_bytes;
    uint8_t *at = ok ? kdrt_arena_alloc(arena, length) : NULL;
    if (ok && !at)
        ok = kdrt_fail_memory(error, length) || kdrt_fail_in(error, path);
    size_t done = 0;
    while (ok && done < length) {
        ssize_t count;
        TRY(env, IO_read, count, read(fd, at + done, length - done));
        if (count < 0)
            ok = fail_errno(error, path, "cannot be read");
        else if (count == 0)
            length = done; // it shrank while we read
        else
            done += (size_t)count;
    }
    close(fd);
    *bytes = (Bytes){at, done};
    return ok;
}

bool kdrt_io_read_start(const char *path, uint8_t *to, size_t room, Bytes *bytes,
                        size_t *size_bytes, KdrtError *error) {
    struct stat info;
    size_t done = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return fail_errno(error, path, "cannot be opened");
    bool ok = fstat(fd, &info) == 0 || fail_errno(error, path, "cannot be read");
    if (ok && !S_ISREG(info.st_mode))
        ok = kdrt_fail(error, STATUS_WORLD, "%s: is not a file", path);
    while (ok && done < room) {
        ssize_t count = read(fd, to + done, room - done);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            ok = fail_errno(error, path, "cannot be read");
        if (count <= 0)
            break;
        done += (size_t)count;
    }
    close(fd);
    *bytes = (Bytes){to, done};
    *size_bytes = ok ? (size_t)info.st_size : 0;
    return ok;
}

bool kdrt_io_exists(const char *path) {
    return access(path, F_OK) == 0;
}

bool kdrt_io_is_directory(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static bool sync_directory(Env *env, const char *path, KdrtError *error) {
    int fd;
    TRY(env, IO_open, fd, open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (fd < 0)
        return fail_errno(error, path, "cannot be opened");
    int result = attempt(env, IO_sync);
    if (result > 0)
        errno = result;
    result = result > 0 ? -1 : fsync(fd);
    bool ok = result == 0 || errno == EINVAL; // some file systems do not sync directories
    if (!ok)
        fail_errno(error, path, "cannot be synced");
    else
        succeeded(env, IO_sync);
    close(fd);
    return ok;
}

/// Syncs the directory that holds `path`.
static bool sync_parent(Env *env, const char *path, KdrtError *error) {
    char parent[4096];
    snprintf(parent, sizeof parent, "%s", path);
    char *slash = strrchr(parent, '/');
    if (!slash)
        strcpy(parent, ".");
    else
        slash[slash == parent] = '\0';
    return sync_directory(env, parent, error);
}

bool kdrt_io_make_directory(Env *env, const char *path, KdrtError *error) {
    char at[4096];
    if ((size_t)snprintf(at, sizeof at, "%s", path) >= sizeof at)
        return kdrt_fail(error, STATUS_WORLD, "%s: the path is too long", path);
    for (char *end = at + 1;; end++) {
        if (*end != '/' && *end != '\0')
            continue;
        char kept = *end;
        *end = '\0';
        if (!kdrt_io_is_directory(at)) {
            int result;
            TRY(env, IO_mkdir, result, mkdir(at, 0777));
            if (result < 0 && errno != EEXIST)
                return fail_errno(error, at, "cannot be made");
            if (!kdrt_io_is_directory(at))
                return kdrt_fail(error, STATUS_WORLD, "%s: is not a directory", at);
            if (!sync_parent(env, at, error))
                return false;
        }
        *end = kept;
        if (!kept)
            return true;
    }
}

bool kdrt_io_remove(Env *env, const char *path, KdrtError *error) {
    int result;
    TRY(env, IO_unlink, result, unlink(path));
    if (result < 0 && errno != ENOENT)
        return fail_errno(error, path, "cannot be removed");
    return true;
}

bool kdrt_io_list(Env *env, const char *path, void (*visit)(void *context, const char *name),
                  void *context, KdrtError *error) {
    int fault = attempt(env, IO_open);
    if (fault > 0) {
        errno = fault;
        return fail_errno(error, path, "cannot be listed");
    }
    struct dirent **entry = NULL;
    int count = scandir(path, &entry, NULL, alphasort);
    if (count < 0)
        return fail_errno(error, path, "cannot be listed");
    for (int i = 0; i < count; i++) {
        if (entry[i]->d_name[0] != '.')
            visit(context, entry[i]->d_name);
        kdrt_free_foreign(entry[i]);
    }
    kdrt_free_foreign(entry);
    return true;
}

// ---- writing ------------------------------------------------------------------------------------

static bool write_all(Env *env, int fd, const char *path, const void *at, size_t size_bytes,
                      KdrtError *error) {
    const uint8_t *next = at;
    while (size_bytes > 0) {
        int fault = attempt(env, IO_write);
        ssize_t count = -1;
        if (fault > 0)
            errno = fault;
        else
            count = write(fd, next, fault < 0 && size_bytes > 1 ? size_bytes / 2 : size_bytes);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return fail_errno(error, path, "cannot be written");
        succeeded(env, IO_write);
        next += count;
        size_bytes -= (size_t)count;
    }
    return true;
}

static bool sync_file(Env *env, int fd, const char *path, KdrtError *error) {
    int fault = attempt(env, IO_sync);
    if (fault > 0)
        errno = fault;
    if (fault > 0 || (fsync(fd) && errno != EINVAL && errno != EROFS))
        return fail_errno(error, path, "cannot be synced");
    succeeded(env, IO_sync);
    return true;
}

bool kdrt_atomic_open(Env *env, AtomicFile *file, const char *path, KdrtError *error) {
    file->fd = -1;
    if ((size_t)snprintf(file->path, sizeof file->path, "%s", path) >= sizeof file->path ||
        (size_t)snprintf(file->temporary, sizeof file->temporary, "%s.tmp", path) >=
            sizeof file->temporary)
        return kdrt_fail(error, STATUS_WORLD, "%s: the path is too long", path);
    // What a killed run left under this name is nobody's: the directory is locked by us.
    if (kdrt_io_exists(file->temporary) && !kdrt_io_remove(env, file->temporary, error))
        return false;
    TRY(env, IO_create, file->fd,
        open(file->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
    if (file->fd < 0)
        return fail_errno(error, file->temporary, "cannot be made");
    return true;
}

bool kdrt_atomic_write(Env *env, AtomicFile *file, const void *at, size_t size_bytes,
                       KdrtError *error) {
    return write_all(env, file->fd, file->temporary, at, size_bytes, error);
}

bool kdrt_atomic_commit(Env *env, AtomicFile *file, KdrtError *error) {
    if (!sync_file(env, file->fd, file->temporary, error))
        return false;
    int fd = file->fd;
    file->fd = -1;
    int result = 0;
    if (close(fd)) {
        fail_errno(error, file->temporary, "cannot be closed");
        result = -1;
    } else {
        TRY(env, IO_rename, result, rename(file->temporary, file->path));
        if (result < 0)
            fail_errno(error, file->path, "cannot be renamed to");
    }
    if (result < 0) {
        unlink(file->temporary);
        return false;
    }
    return sync_parent(env, file->path, error);
}

void kdrt_atomic_abandon(Env *env, AtomicFile *file) {
    (void)env;
    if (file->fd < 0)
        return;
    close(file->fd);
    file->fd = -1;
    unlink(file->temporary);
}

bool kdrt_append_open(Env *env, AppendFile *file, const char *path, int64_t length,
                      KdrtError *error) {
    file->fd = -1;
    if ((size_t)snprintf(file->path, sizeof file->path, "%s", path) >= sizeof file->path)
        return kdrt_fail(error, STATUS_WORLD, "%s: the path is too long", path);
    int fd;
    TRY(env, IO_create, fd, open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666));
    if (fd < 0)
        return fail_errno(error, path, "cannot be opened");
    int64_t end = lseek(fd, 0, SEEK_END);
    int result = 0;
    if (length >= 0 && end > length) {
        TRY(env, IO_truncate, result, ftruncate(fd, length));
        end = lseek(fd, length, SEEK_SET);
    }
    if (result < 0 || end < 0) {
        fail_errno(error, path, "cannot be cut to its length");
        close(fd);
        return false;
    }
    file->fd = fd;
    file->length = end;
    return true;
}

bool kdrt_append(Env *env, AppendFile *file, const void *at, size_t size_bytes, KdrtError *error) {
    if (!write_all(env, file->fd, file->path, at, size_bytes, error))
        return false;
    file->length += (int64_t)size_bytes;
    return true;
}

bool kdrt_append_sync(Env *env, AppendFile *file, KdrtError *error) {
    return sync_file(env, file->fd, file->path, error);
}

void kdrt_append_close(AppendFile *file) {
    if (file->fd >= 0)
        close(file->fd);
    file->fd = -1;
}

int kdrt_io_lock(Env *env, const char *directory, bool *held_by_other, KdrtError *error) {
    int fd;
    *held_by_other = false;
    TRY(env, IO_open, fd, open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (fd < 0) {
        fail_errno(error, directory, "cannot be opened");
        return -1;
    }
    if (flock(fd, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK) {
        *held_by_other = true;
        close(fd);
        return -1;
    }
    return fd; // a file system that cannot lock is no reason not to train
}

void kdrt_io_unlock(int lock) {
    if (lock >= 0)
        close(lock);
}

void kdrt_io_say(int fd, const char *at, size_t size_bytes) {
    while (size_bytes > 0) {
        ssize_t count = write(fd, at, size_bytes);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            return;
        at += count;
        size_bytes -= (size_t)count;
    }
}

// ---- checksums ----------------------------------------------------------------------------------

/// CRC-32C bit by bit over a byte at a time: the reflected polynomial 0x82f63b78 (RFC 3720, B.4).
static uint32_t crc_plain(uint32_t crc, const uint8_t *at, size_t size_bytes) {
    for (size_t i = 0; i < size_bytes; i++) {
        crc ^= at[i];
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ (0x82f63b78u & (0u - (crc & 1u)));
    }
    return crc;
}

#ifdef __x86_64__
__attribute__((target("sse4.2"))) static uint32_t crc_sse42(uint32_t crc, const uint8_t *at,
                                                            size_t size_bytes) {
    uint64_t sum = crc;
    for (; size_bytes >= 8; size_bytes -= 8, at += 8) {
        uint64_t word;
        memcpy(&word, at, sizeof word);
        sum = __builtin_ia32_crc32di(sum, word);
    }
    crc = (uint32_t)sum;
    for (; size_bytes > 0; size_bytes--, at++)
        crc = __builtin_ia32_crc32qi(crc, *at);
    return crc;
}
#endif

uint32_t kdrt_crc32c(uint32_t crc, const void *at, size_t size_bytes) {
#ifdef __x86_64__
    if (__builtin_cpu_supports("sse4.2"))
        return ~crc_sse42(~crc, at, size_bytes);
#endif
    return ~crc_plain(~crc, at, size_bytes);
}
