/// What the whole runtime stands on: errors as values, an arena, text that grows, and the one layer
/// that touches the disk. Everything is reached through an Env, which counts operations and injects
/// the faults that KDC_FAULT asks for; only alloc.c allocates and only io.c opens, writes or
/// renames. Of all this the loader's threads use kdrt_io_read_start() alone, so an
/// Env needs no lock.
#ifndef KDC_RUNTIME_BASE_H
#define KDC_RUNTIME_BASE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/kdrt.h"

// ---- errors -------------------------------------------------------------------------------------

enum { STATUS_OK = 0, STATUS_PROGRAM = 1, STATUS_WORLD = 2, STATUS_BUG = 70 };

/// Fills `error` unless it holds one already (the first tells the cause). Returns false.
bool kdrt_fail(KdrtError *error, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
bool kdrt_fail_memory(KdrtError *error, size_t size_bytes);
/// Puts "path: " before the text of `error`. Returns false.
bool kdrt_fail_in(KdrtError *error, const char *path);

// ---- the environment: counters and faults -------------------------------------------------------

/// The operations of io.c and the allocator's, as KDC_FAULT names them. Durable are those that
/// change what is on the disk.
//      name      durable
#define IO_OPS(OP)                                                                                 \
    OP(open, false)                                                                                \
    OP(read, false)                                                                                \
    OP(create, true)                                                                               \
    OP(write, true)                                                                                \
    OP(sync, true)                                                                                 \
    OP(rename, true)                                                                               \
    OP(unlink, true)                                                                               \
    OP(truncate, true)                                                                             \
    OP(mkdir, true)                                                                                \
    OP(malloc, false)

typedef enum IoOp {
#define OP(name, durable) IO_##name,
    IO_OPS(OP)
#undef OP
        IO_OP_COUNT
} IoOp;

/// KDC_FAULT=crash:N (killed before the N-th durable operation, from 1), crash+:N (after it),
/// OP:K:WHAT (the K-th OP fails once) or OP:K+:WHAT (and all after it). WHAT is ENOSPC, EIO,
/// EDQUOT, EROFS, EMFILE, EINTR, ENOMEM or short (half of the bytes are written).
typedef struct Fault {
    enum { FAULT_NONE, FAULT_CRASH_BEFORE, FAULT_CRASH_AFTER, FAULT_ERROR, FAULT_SHORT } kind;
    IoOp op;
    int64_t at;
    bool for_ever;
    int error_number;
} Fault;

typedef struct Env {
    int64_t count[IO_OP_COUNT];
    int64_t durable_count;
    int64_t live_count; // allocations not yet freed
    int64_t threads;    // that touch large ones first; 0: the caller alone
    Fault fault;
} Env;

bool kdrt_fault_parse(const char *text, Fault *fault, KdrtError *error);

// ---- memory -------------------------------------------------------------------------------------

/// Zeroed, aligned to 64 bytes (large ones to 2 MiB, in huge pages where the system has them), and
/// touched, so that later use faults no page in. NULL when there is none.
void *kdrt_alloc(Env *env, size_t size_bytes);
void kdrt_free(Env *env, void *memory);
/// Frees what the C library allocated for us (scandir) or jansson.
void kdrt_free_foreign(void *memory);

typedef struct ArenaChunk ArenaChunk;
typedef struct Arena {
    Env *env;
    ArenaChunk *chunk;
    size_t used_bytes;
    size_t limit_bytes; // 0: none
} Arena;

/// Zeroed, aligned to 64 bytes; NULL when memory or the arena's limit is exhausted.
void *kdrt_arena_alloc(Arena *arena, size_t size_bytes);
void *kdrt_arena_array(Arena *arena, size_t count, size_t element_bytes);
char *kdrt_arena_text(Arena *arena, const char *format, ...) __attribute__((format(printf, 2, 3)));
void kdrt_arena_release(Arena *arena);

/// Text that grows in memory of its own; kdrt_text_release() frees it. After a failed allocation
/// `failed` is set and nothing more is added.
typedef struct Text {
    Env *env;
    char *at; // NUL-terminated once something was added
    size_t length;
    size_t capacity;
    bool failed;
} Text;
void kdrt_text_add(Text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
/// A JSON string with its quotes.
void kdrt_text_json(Text *text, const char *string);
void kdrt_text_release(Text *text);

// ---- files --------------------------------------------------------------------------------------
// Errors name the path and the system's reason.

typedef struct Bytes {
    const uint8_t *at;
    size_t length;
} Bytes;

/// The first `most_bytes` of a file (all of it when 0), in the arena; more than `limit_bytes` (0:
/// none) is an error.
bool kdrt_io_read_file(Env *env, Arena *arena, const char *path, size_t most_bytes,
                       size_t limit_bytes, Bytes *bytes, KdrtError *error);
/// The first `room` bytes of a file, at `to`, and the size of the whole. For any thread: no Env
/// counts it, no fault is injected.
bool kdrt_io_read_start(const char *path, uint8_t *to, size_t room, Bytes *bytes,
                        size_t *size_bytes, KdrtError *error);
bool kdrt_io_exists(const char *path);
bool kdrt_io_is_directory(const char *path);
/// Makes a directory and those above it.
bool kdrt_io_make_directory(Env *env, const char *path, KdrtError *error);
bool kdrt_io_remove(Env *env, const char *path, KdrtError *error);

/// Calls `visit` for each name in a directory, in bytewise order.
bool kdrt_io_list(Env *env, const char *path, void (*visit)(void *context, const char *name),
                  void *context, KdrtError *error);

/// A file that appears whole or not at all: written under a temporary name beside it, synced,
/// renamed, and the directory synced.
typedef struct AtomicFile {
    int fd;
    char path[4096];
    char temporary[4096];
} AtomicFile;
bool kdrt_atomic_open(Env *env, AtomicFile *file, const char *path, KdrtError *error);
bool kdrt_atomic_write(Env *env, AtomicFile *file, const void *at, size_t size_bytes,
                       KdrtError *error);
bool kdrt_atomic_commit(Env *env, AtomicFile *file, KdrtError *error);
/// Closes and removes what was written. For after an error; does nothing when nothing is open.
void kdrt_atomic_abandon(Env *env, AtomicFile *file);

/// A file that grows at its end.
typedef struct AppendFile {
    int fd; // -1: closed
    char path[4096];
    int64_t length;
} AppendFile;
/// Opens or makes it and cuts it to `length` (-1: keeps all of it). What is shorter stays so.
bool kdrt_append_open(Env *env, AppendFile *file, const char *path, int64_t length,
                      KdrtError *error);
bool kdrt_append(Env *env, AppendFile *file, const void *at, size_t size_bytes, KdrtError *error);
bool kdrt_append_sync(Env *env, AppendFile *file, KdrtError *error);
void kdrt_append_close(AppendFile *file);

/// Keeps other runs out of a directory until kdrt_io_unlock(). `*held_by_other` tells a lock that
/// somebody else has from an error.
int kdrt_io_lock(Env *env, const char *directory, bool *held_by_other, KdrtError *error);
void kdrt_io_unlock(int lock);

/// Writes to a terminal or pipe; that it may be closed or full is no error of the run.
void kdrt_io_say(int fd, const char *at, size_t size_bytes);

/// CRC-32C (Castagnoli) of the bytes, continuing from `crc` (0 at first).
uint32_t kdrt_crc32c(uint32_t crc, const void *at, size_t size_bytes);

#endif
