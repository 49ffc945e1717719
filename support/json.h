/// JSON text, written from front to back: objects and lists are opened and closed, commas come by
/// themselves.
///
///     Json json = {.text = {.arena = arena}, .first = true};
///     json_open(&json, NULL, '{');
///     json_int(&json, "count", 3);
///     json_close(&json, '}');
///     strbuf_text(&json.text);
#ifndef KDC_SUPPORT_JSON_H
#define KDC_SUPPORT_JSON_H

#include <stdbool.h>
#include <stdint.h>

#include "support/strbuf.h"

typedef struct Json {
    StrBuf text;
    bool first; // nothing stands in the open bracket yet
} Json;

/// Each begins a member of an object, or with `name` NULL an element of a list.
void json_open(Json *json, const char *name, char bracket);
void json_close(Json *json, char bracket);
void json_text(Json *json, const char *name, const char *value); // NULL is null
void json_int(Json *json, const char *name, int64_t value);
void json_real(Json *json, const char *name, double value); // so that it is read back exactly
void json_flag(Json *json, const char *name, bool value);

#endif
