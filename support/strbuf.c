// support/strbuf.c -- a growing string. It doubles, and always keeps room for the final NUL.
#include "support/strbuf.h"

#include <stdio.h>
#include <string.h>

#include "support/diag.h"

static void reserve(StrBuf *buf, size_t extra) {
    kdc_assert(extra < SIZE_MAX / 4 - buf->length);
    size_t needed = buf->length + extra + 1;
    if (needed <= buf->capacity)
        return;
    size_t grown = buf->capacity ? buf->capacity * 2 : 64;
    if (grown < needed)
        grown = needed;
    char *moved = arena_alloc(buf->arena, grown);
    if (buf->length)
        memcpy(moved, buf->text, buf->length);
    buf->text = moved;
    buf->capacity = grown;
}

void strbuf_write(StrBuf *buf, const char *bytes, size_t length) {
    reserve(buf, length);
    if (length)
        memcpy(buf->text + buf->length, bytes, length);
    buf->length += length;
    buf->text[buf->length] = '\0';
}

void strbuf_puts(StrBuf *buf, const char *text) {
    strbuf_write(buf, text, strlen(text));
}

void strbuf_putc(StrBuf *buf, char c) {
    strbuf_write(buf, &c, 1);
}

void strbuf_vprintf(StrBuf *buf, const char *format, va_list args) {
    va_list again;
    va_copy(again, args);
    reserve(buf, 32); // mostly enough, so that one try does
    size_t room = buf->capacity - buf->length;
    int length = vsnprintf(buf->text + buf->length, room, format, args);
    kdc_assert(length >= 0);
    if ((size_t)length >= room) {
        reserve(buf, (size_t)length);
        vsnprintf(buf->text + buf->length, (size_t)length + 1, format, again);
    }
    buf->length += (size_t)length;
    va_end(again);
}

void strbuf_printf(StrBuf *buf, const char *format, ...) {
    va_list args;
    va_start(args, format);
    strbuf_vprintf(buf, format, args);
    va_end(args);
}

const char *strbuf_text(const StrBuf *buf) {
    return buf->text ? buf->text : "";
}
