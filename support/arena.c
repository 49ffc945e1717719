// support/arena.c -- bump allocation in a chain of growing blocks.
//
// The newest block is the largest: sizes double up to 8 MiB. A request that does not fit starts a
// new block and leaves the rest of the old one unused. Under AddressSanitizer what is not handed
// out is poisoned, and each allocation is followed by a gap, so an overrun is found as with
// malloc().
#include "support/arena.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/diag.h"

#ifdef __has_feature
#if __has_feature(address_sanitizer)
#define ARENA_POISONS 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define ARENA_POISONS 1
#endif

#ifdef ARENA_POISONS
#include <sanitizer/asan_interface.h>
enum { GAP_BYTES = 16 };
#else
#define ASAN_POISON_MEMORY_REGION(at, size)   ((void)(at), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(at, size) ((void)(at), (void)(size))
enum { GAP_BYTES = 0 };
#endif

enum { ALIGNMENT = 16, FIRST_BLOCK_BYTES = 16 << 10, MAX_DOUBLED_BYTES = 8 << 20 };

struct ArenaBlock {
    ArenaBlock *older;
    size_t size_bytes;
    size_t used_bytes;
    _Alignas(ALIGNMENT) char memory[];
};

static ArenaBlock *block_new(ArenaBlock *older, size_t least_bytes) {
    size_t size_bytes = older ? older->size_bytes * 2 : FIRST_BLOCK_BYTES;
    if (size_bytes > MAX_DOUBLED_BYTES)
        size_bytes = MAX_DOUBLED_BYTES;
    if (size_bytes < least_bytes)
        size_bytes = least_bytes;
    ArenaBlock *block = malloc(sizeof(ArenaBlock) + size_bytes);
    if (!block)
        world_error("out of memory (%zu bytes asked for)", size_bytes);
    block->older = older;
    block->size_bytes = size_bytes;
    block->used_bytes = 0;
    ASAN_POISON_MEMORY_REGION(block->memory, size_bytes);
    return block;
}

static void block_free(ArenaBlock *block) {
    ASAN_UNPOISON_MEMORY_REGION(block->memory, block->size_bytes);
    free(block);
}

void *arena_alloc(Arena *arena, size_t size_bytes) {
    if (size_bytes > SIZE_MAX / 4)
        world_error("out of memory (%zu bytes asked for)", size_bytes);
    // An empty allocation has an address of its own too.
    size_t wanted =
        (size_bytes + GAP_BYTES + (size_bytes == 0) + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
    if (arena->limit_bytes && wanted > arena->limit_bytes - arena->used_bytes)
        world_error("out of memory: more than the limit of %zu MiB", arena->limit_bytes >> 20);

    ArenaBlock *block = arena->block;
    if (!block || wanted > block->size_bytes - block->used_bytes)
        block = arena->block = block_new(block, wanted);
    char *memory = block->memory + block->used_bytes;
    block->used_bytes += wanted;
    arena->used_bytes += wanted;
    ASAN_UNPOISON_MEMORY_REGION(memory, size_bytes);
    return memset(memory, 0, size_bytes);
}

void *arena_alloc_array(Arena *arena, size_t count, size_t element_bytes) {
    size_t size_bytes;
    if (__builtin_mul_overflow(count, element_bytes, &size_bytes))
        world_error("out of memory (%zu elements of %zu bytes asked for)", count, element_bytes);
    return arena_alloc(arena, size_bytes);
}

char *arena_strndup(Arena *arena, const char *text, size_t length) {
    char *copy = arena_alloc(arena, length + 1);
    if (length)
        memcpy(copy, text, length);
    return copy;
}

char *arena_strdup(Arena *arena, const char *text) {
    return arena_strndup(arena, text, strlen(text));
}

char *arena_vprintf(Arena *arena, const char *format, va_list args) {
    va_list again;
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, args);
    kdc_assert(length >= 0);
    char *text = arena_alloc(arena, (size_t)length + 1);
    vsnprintf(text, (size_t)length + 1, format, again);
    va_end(again);
    return text;
}

char *arena_printf(Arena *arena, const char *format, ...) {
    va_list args;
    va_start(args, format);
    char *text = arena_vprintf(arena, format, args);
    va_end(args);
    return text;
}

static void free_chain(ArenaBlock *block) {
    while (block) {
        ArenaBlock *older = block->older;
        block_free(block);
        block = older;
    }
}

void arena_reset(Arena *arena) {
    // The newest block alone is kept. Were several in use, the next one is twice as large, so
    // an arena that is reset again and again soon lives in one block.
    ArenaBlock *block = arena->block;
    if (!block)
        return;
    free_chain(block->older);
    block->older = NULL;
    block->used_bytes = 0;
    ASAN_POISON_MEMORY_REGION(block->memory, block->size_bytes);
    arena->used_bytes = 0;
}

void arena_release(Arena *arena) {
    free_chain(arena->block);
    arena->block = NULL;
    arena->used_bytes = 0;
}
