// support/json.c -- JSON text; see json.h.
#include "support/json.h"

#include <inttypes.h>

static void put_string(Json *json, const char *text) {
    strbuf_putc(&json->text, '"');
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if (*c == '"' || *c == '\\')
            strbuf_printf(&json->text, "\\%c", *c);
        else if (*c < 0x20)
            strbuf_printf(&json->text, "\\u%04x", *c);
        else
            strbuf_putc(&json->text, (char)*c);
    }
    strbuf_putc(&json->text, '"');
}

static void next(Json *json, const char *name) {
    if (!json->first)
        strbuf_puts(&json->text, ", ");
    json->first = false;
    if (name) {
        put_string(json, name);
        strbuf_puts(&json->text, ": ");
    }
}

void json_open(Json *json, const char *name, char bracket) {
    next(json, name);
    strbuf_putc(&json->text, bracket);
    json->first = true;
}

void json_close(Json *json, char bracket) {
    strbuf_putc(&json->text, bracket);
    json->first = false;
}

void json_text(Json *json, const char *name, const char *value) {
    next(json, name);
    if (value)
        put_string(json, value);
    else
        strbuf_puts(&json->text, "null");
}

void json_int(Json *json, const char *name, int64_t value) {
    next(json, name);
    strbuf_printf(&json->text, "%" PRId64, value);
}

void json_real(Json *json, const char *name, double value) {
    next(json, name);
    strbuf_printf(&json->text, "%.17g", value);
}

void json_flag(Json *json, const char *name, bool value) {
    next(json, name);
    strbuf_puts(&json->text, value ? "true" : "false");
}
