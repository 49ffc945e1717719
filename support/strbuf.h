/// A growing string in an arena; always NUL-terminated once written to.
#ifndef KDC_SUPPORT_STRBUF_H
#define KDC_SUPPORT_STRBUF_H

#include "support/arena.h"

typedef struct StrBuf {
    Arena *arena;
    char *text; // NULL until the first write
    size_t length;
    size_t capacity;
} StrBuf;

void strbuf_printf(StrBuf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
void strbuf_vprintf(StrBuf *buf, const char *format, va_list args)
    __attribute__((format(printf, 2, 0)));
void strbuf_puts(StrBuf *buf, const char *text);
void strbuf_putc(StrBuf *buf, char c);
void strbuf_write(StrBuf *buf, const char *bytes, size_t length);
/// The text so far; "" when nothing was written.
const char *strbuf_text(const StrBuf *buf);

#endif
