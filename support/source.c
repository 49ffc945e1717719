// support/source.c -- source texts, and line and column of a place in them.
//
// The starts of all lines are noted when a text is added, so a position is a binary search:
// printers ask for one per node.
#include "support/source.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/diag.h"

void source_set_init(SourceSet *set, Arena *arena) {
    *set = (SourceSet){.arena = arena};
    source_add(set, "<builtin>", "", 0);
}

static void note_lines(Arena *arena, Source *source) {
    size_t line_count = 1;
    for (size_t i = 0; i < source->length; i++)
        line_count += source->text[i] == '\n';
    uint32_t *start = arena_array(arena, uint32_t, line_count);
    size_t line = 1;
    for (size_t i = 0; i < source->length; i++)
        if (source->text[i] == '\n')
            start[line++] = (uint32_t)(i + 1);
    source->line_start = start;
    source->line_count = line_count;
}

Source *source_add(SourceSet *set, const char *name, const char *text, size_t length) {
    kdc_assert(length < UINT32_MAX && set->sources.count < UINT32_MAX);
    Source *source = arena_new(set->arena, Source);
    source->id = (uint32_t)set->sources.count;
    source->name = arena_strdup(set->arena, name);
    source->text = arena_strndup(set->arena, text, length);
    source->length = length;
    note_lines(set->arena, source);
    vec_push(set->arena, &set->sources, source);
    return source;
}

// Reads to the end of the file or one byte past the limit, whichever comes first: the size that the
// file system reports is not to be trusted (pipes, devices, files that grow). NULL on a read error.
static char *read_bytes(FILE *file, size_t limit_bytes, size_t *length) {
    char *bytes = NULL;
    size_t capacity = 0;
    *length = 0;
    while (*length <= limit_bytes && !feof(file) && !ferror(file)) {
        if (*length == capacity) {
            capacity = capacity ? capacity * 2 : 64 << 10;
            if (capacity > limit_bytes + 1)
                capacity = limit_bytes + 1;
            char *grown = realloc(bytes, capacity);
            if (!grown) {
                free(bytes);
                return NULL;
            }
            bytes = grown;
        }
        *length += fread(bytes + *length, 1, capacity - *length, file);
    }
    if (ferror(file)) {
        free(bytes);
        return NULL;
    }
    return bytes;
}

Source *source_read(SourceSet *set, const char *path, size_t limit_bytes, const char **reason) {
    kdc_assert(limit_bytes < UINT32_MAX);
    FILE *file = fopen(path, "rb");
    if (!file) {
        *reason = arena_strdup(set->arena, strerror(errno));
        return NULL;
    }
    size_t length;
    errno = 0;
    char *bytes = read_bytes(file, limit_bytes, &length);
    if (!bytes)
        *reason = arena_strdup(set->arena, errno ? strerror(errno) : "cannot be read");
    fclose(file);
    if (!bytes)
        return NULL;
    Source *source = NULL;
    if (length > limit_bytes && limit_bytes >> 20)
        *reason = arena_printf(set->arena, "larger than %zu MiB", limit_bytes >> 20);
    else if (length > limit_bytes)
        *reason = arena_printf(set->arena, "larger than %zu bytes", limit_bytes);
    else
        source = source_add(set, path, bytes, length);
    free(bytes);
    return source;
}

const Source *source_of(const SourceSet *set, Span span) {
    kdc_assert(span.source < set->sources.count);
    return set->sources.at[span.source];
}

size_t source_line_index(const Source *source, size_t offset) {
    size_t low = 0;
    size_t high = source->line_count;
    while (high - low > 1) { // line_start[low] <= offset < line_start[high]
        size_t middle = low + (high - low) / 2;
        if (source->line_start[middle] <= offset)
            low = middle;
        else
            high = middle;
    }
    return low;
}

void source_position(const SourceSet *set, Span span, int *line, int *column) {
    const Source *source = source_of(set, span);
    size_t offset = span.begin < source->length ? span.begin : source->length;
    size_t index = source_line_index(source, offset);
    int characters = 0;
    for (size_t i = source->line_start[index]; i < offset; i++)
        characters += ((unsigned char)source->text[i] & 0xC0) != 0x80; // not a continuation byte
    *line = (int)index + 1;
    *column = characters + 1;
}

Span span_join(Span a, Span b) {
    if (span_is_none(a))
        return b;
    if (span_is_none(b))
        return a;
    kdc_assert(a.source == b.source);
    return (Span){a.source, a.begin < b.begin ? a.begin : b.begin, a.end > b.end ? a.end : b.end};
}

bool span_is_none(Span span) {
    return span.source == 0 && span.begin == 0 && span.end == 0;
}
