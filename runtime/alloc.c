// runtime/alloc.c -- the runtime's only caller of malloc: buffers, arenas, growing text, errors.
//
// An arena is a chain of chunks; a large request gets a chunk of its own, so that data sets and
// tensors live in the same arenas as the manifest without copying.
#include "runtime/base.h"
#include "runtime/threads.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum {
    ALIGNMENT = 64,
    CHUNK_BYTES = 64 << 10,
    HUGE_PAGE_BYTES = 2 << 20,
    HUGE_FROM_BYTES = 4 << 20
};

bool kdrt_fail(KdrtError *error, int status, const char *format, ...) {
    if (error->status)
        return false;
    error->status = status;
    va_list args;
    va_start(args, format);
    vsnprintf(error->text, sizeof error->text, format, args);
    va_end(args);
    return false;
}

bool kdrt_fail_memory(KdrtError *error, size_t size_bytes) {
    return kdrt_fail(error, STATUS_WORLD, "out of memory (%zu bytes asked for)", size_bytes);
}

bool kdrt_fail_in(KdrtError *error, const char *path) {
    char text[sizeof error->text];
    memcpy(text, error->text, sizeof text);
    int length = snprintf(error->text, sizeof error->text, "%s: ", path);
    if (length >= 0 && (size_t)length < sizeof error->text)
        snprintf(error->text + length, sizeof error->text - (size_t)length, "%s", text);
    return false;
}

// ---- faults -------------------------------------------------------------------------------------

static const struct {
    const char *name;
    int number;
} fault_errors[] = {{"ENOSPC", ENOSPC}, {"EIO", EIO},       {"EDQUOT", EDQUOT},
                    {"EROFS", EROFS},   {"EMFILE", EMFILE}, {"EINTR", EINTR},
                    {"ENOMEM", ENOMEM}, {"EACCES", EACCES}, {"ENOENT", ENOENT}};

static const char *const op_names[IO_OP_COUNT] = {
#define OP(name, durable) [IO_##name] = #name,
    IO_OPS(OP)
#undef OP
};

bool kdrt_fault_parse(const char *text, Fault *fault, KdrtError *error) {
    char op[16], what[16];
    long long at;
    char plus;
    *fault = (Fault){0};
    if (sscanf(text, "crash:%lld%c", &at, &plus) == 1) {
        *fault = (Fault){.kind = FAULT_CRASH_BEFORE, .at = at};
        return true;
    }
    if (sscanf(text, "crash+:%lld%c", &at, &plus) == 1) {
        *fault = (Fault){.kind = FAULT_CRASH_AFTER, .at = at};
        return true;
    }
    bool for_ever = sscanf(text, "%15[a-z]:%lld+:%15[A-Za-z]", op, &at, what) == 3;
    if (for_ever || sscanf(text, "%15[a-z]:%lld:%15[A-Za-z]", op, &at, what) == 3) {
        fault->at = at;
        fault->for_ever = for_ever;
        int found = -1;
        for (int i = 0; i < IO_OP_COUNT; i++)
            if (!strcmp(op, op_names[i]))
                found = i;
        if (found >= 0 && !strcmp(what, "short")) {
            fault->kind = FAULT_SHORT;
            fault->op = (IoOp)found;
            return true;
        }
        for (size_t i = 0; found >= 0 && i < sizeof fault_errors / sizeof *fault_errors; i++) {
            if (!strcmp(what, fault_errors[i].name)) {
                fault->kind = FAULT_ERROR;
                fault->op = (IoOp)found;
                fault->error_number = fault_errors[i].number;
                return true;
            }
        }
    }
    *fault = (Fault){0};
    return kdrt_fail(error, STATUS_PROGRAM,
                     "KDC_FAULT=%s is not understood (crash:N, crash+:N, OP:K:ERROR, OP:K+:ERROR)",
                     text);
}

// ---- buffers ------------------------------------------------------------------------------------

void *kdrt_alloc(Env *env, size_t size_bytes) {
    env->count[IO_malloc]++;
    const Fault *fault = &env->fault;
    if (fault->kind == FAULT_ERROR && fault->op == IO_malloc &&
        (env->count[IO_malloc] == fault->at ||
         (fault->for_ever && env->count[IO_malloc] > fault->at)))
        return NULL;
    size_t alignment = size_bytes >= HUGE_FROM_BYTES ? HUGE_PAGE_BYTES : ALIGNMENT;
    if (size_bytes > SIZE_MAX / 4)
        return NULL;
    size_t rounded = (size_bytes + alignment - 1) & ~(alignment - 1);
    void *memory = aligned_alloc(alignment, rounded ? rounded : alignment);
    if (!memory)
        return NULL;
    if (alignment == HUGE_PAGE_BYTES)
        madvise(memory, rounded, MADV_HUGEPAGE); // a hint; refusal costs only speed
    env->live_count++;
    if (alignment < HUGE_PAGE_BYTES || env->threads < 2)
        return memset(memory, 0, size_bytes);
    kdrt_team_zero(memory, size_bytes, env->threads);
    return memory;
}

void kdrt_free(Env *env, void *memory) {
    if (!memory)
        return;
    env->live_count--;
    free(memory);
}

void kdrt_free_foreign(void *memory) {
    free(memory);
}

// ---- arenas -------------------------------------------------------------------------------------

struct ArenaChunk {
    ArenaChunk *older;
    size_t size_bytes;
    size_t used_bytes;
    _Alignas(ALIGNMENT) char memory[];
};

void *kdrt_arena_alloc(Arena *arena, size_t size_bytes) {
    if (size_bytes > SIZE_MAX / 4)
        return NULL;
    size_t wanted = (size_bytes + (size_bytes == 0) + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
    if (arena->limit_bytes && wanted > arena->limit_bytes - arena->used_bytes)
        return NULL;
    ArenaChunk *chunk = arena->chunk;
    if (!chunk || wanted > chunk->size_bytes - chunk->used_bytes) {
        size_t size = wanted > CHUNK_BYTES / 4 ? wanted : CHUNK_BYTES;
        ArenaChunk *fresh = kdrt_alloc(arena->env, sizeof(ArenaChunk) + size);
        if (!fresh)
            return NULL;
        fresh->size_bytes = size;
        if (chunk && size == wanted) { // a chunk of its own: go on filling the one before
            fresh->older = chunk->older;
            chunk->older = fresh;
        } else {
            fresh->older = chunk;
            arena->chunk = fresh;
        }
        chunk = fresh;
    }
    char *memory = chunk->memory + chunk->used_bytes;
    chunk->used_bytes += wanted;
    arena->used_bytes += wanted;
    return memory;
}

void *kdrt_arena_array(Arena *arena, size_t count, size_t element_bytes) {
    size_t size_bytes;
    if (__builtin_mul_overflow(count, element_bytes, &size_bytes))
        return NULL;
    return kdrt_arena_alloc(arena, size_bytes);
}

char *kdrt_arena_text(Arena *arena, const char *format, ...) {
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, args);
    char *text = length < 0 ? NULL : kdrt_arena_alloc(arena, (size_t)length + 1);
    if (text)
        vsnprintf(text, (size_t)length + 1, format, again);
    va_end(again);
    va_end(args);
    return text;
}

void kdrt_arena_release(Arena *arena) {
    while (arena->chunk) {
        ArenaChunk *older = arena->chunk->older;
        kdrt_free(arena->env, arena->chunk);
        arena->chunk = older;
    }
    arena->used_bytes = 0;
}

// ---- text ---------------------------------------------------------------------------------------

static bool text_reserve(Text *text, size_t more) {
    size_t wanted = text->length + more + 1;
    if (wanted <= text->capacity)
        return true;
    size_t capacity = text->capacity ? text->capacity * 2 : 256;
    if (capacity < wanted)
        capacity = wanted;
    char *at = kdrt_alloc(text->env, capacity);
    if (!at) {
        text->failed = true;
        return false;
    }
    if (text->at)
        memcpy(at, text->at, text->length + 1);
    kdrt_free(text->env, text->at);
    text->at = at;
    text->capacity = capacity;
    return true;
}

void kdrt_text_add(Text *text, const char *format, ...) {
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, args);
    if (length >= 0 && !text->failed && text_reserve(text, (size_t)length)) {
        vsnprintf(text->at + text->length, (size_t)length + 1, format, again);
        text->length += (size_t)length;
    }
    va_end(again);
    va_end(args);
}

void kdrt_text_json(Text *text, const char *string) {
    kdrt_text_add(text, "\"");
    for (const unsigned char *c = (const unsigned char *)string; *c; c++) {
        if (*c == '"' || *c == '\\')
            kdrt_text_add(text, "\\%c", *c);
        else if (*c < 0x20)
            kdrt_text_add(text, "\\u%04x", *c);
        else
            kdrt_text_add(text, "%c", *c);
    }
    kdrt_text_add(text, "\"");
}

void kdrt_text_release(Text *text) {
    kdrt_free(text->env, text->at);
    *text = (Text){.env = text->env};
}
