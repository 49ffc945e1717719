/// Source texts and places in them. A span is two byte offsets in one source; line, column, tabs
/// and UTF-8 width are worked out only when a diagnostic is printed.
#ifndef KDC_SUPPORT_SOURCE_H
#define KDC_SUPPORT_SOURCE_H

#include <stdbool.h>

#include "support/arena.h"
#include "support/vec.h"

typedef struct Source {
    uint32_t id;      // index in SourceSet
    const char *name; // as the user gave it, or "std/nets.kd", or "<repl>"
    const char *text; // NUL-terminated; may hold NUL bytes inside
    size_t length;
    const uint32_t *line_start; // byte offset of each line; set by source_add()
    size_t line_count;
} Source;

/// Bytes [begin, end) of source `source`. `{0}` is "no place": begin == end == 0 in source 0.
typedef struct Span {
    uint32_t source;
    uint32_t begin;
    uint32_t end;
} Span;

/// Source 0 is always the empty "<builtin>".
typedef struct SourceSet {
    Arena *arena;
    Vec(Source *) sources;
} SourceSet;

void source_set_init(SourceSet *set, Arena *arena);
/// Copies `text` into the set's arena.
Source *source_add(SourceSet *set, const char *name, const char *text, size_t length);
/// Reads a file whole. On failure returns NULL and sets *reason ("No such file or directory",
/// "larger than 16 MiB"). Files over `limit_bytes` are refused.
Source *source_read(SourceSet *set, const char *path, size_t limit_bytes, const char **reason);
/// 1-based line and column; columns count characters of UTF-8, a tab as one.
void source_position(const SourceSet *set, Span span, int *line, int *column);
/// The source that `span` is in.
const Source *source_of(const SourceSet *set, Span span);
/// The line, counted from 0, that holds the byte at `offset`.
size_t source_line_index(const Source *source, size_t offset);
/// From the first of `a` to the end of `b`; both in one source.
Span span_join(Span a, Span b);
bool span_is_none(Span span);

#endif
