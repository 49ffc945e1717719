/// Arenas: the compiler's memory. What is allocated lives until its arena is released or reset;
/// nothing is freed singly. Three arenas matter: *session* (source text, interned strings,
/// diagnostics), *unit* (one compilation: AST, graphs, plan) and *scratch* (one pass).
#ifndef KDC_SUPPORT_ARENA_H
#define KDC_SUPPORT_ARENA_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

typedef struct ArenaBlock ArenaBlock;

/// A zero-initialised Arena is ready for use.
typedef struct Arena {
    ArenaBlock *block; // newest block first
    size_t used_bytes; // bytes handed out, over all blocks
    size_t
        limit_bytes; // 0: no limit. Beyond it, allocation ends the process as "the world is wrong"
} Arena;

/// Zeroed memory, aligned to 16 bytes. Never NULL: running out of memory is reported and exits
/// with 2.
void *arena_alloc(Arena *arena, size_t size_bytes);
/// Zeroed array of `count` elements; the product is checked for overflow.
void *arena_alloc_array(Arena *arena, size_t count, size_t element_bytes);
#define arena_new(arena, Type)          ((Type *)arena_alloc((arena), sizeof(Type)))
#define arena_array(arena, Type, count) ((Type *)arena_alloc_array((arena), (count), sizeof(Type)))

char *arena_strdup(Arena *arena, const char *text);
char *arena_strndup(Arena *arena, const char *text, size_t length);
char *arena_printf(Arena *arena, const char *format, ...) __attribute__((format(printf, 2, 3)));
char *arena_vprintf(Arena *arena, const char *format, va_list args)
    __attribute__((format(printf, 2, 0)));

/// Forgets all allocations but keeps the memory for the next ones.
void arena_reset(Arena *arena);
/// Gives the memory back. The arena may be used again.
void arena_release(Arena *arena);

#endif
