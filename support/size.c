// support/size.c -- sizes as people write them.
#include "support/size.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    double bytes;
} units[] = {{"", 1},        {"K", 1e3},       {"M", 1e6},       {"G", 1e9},
             {"Ki", 0x1p10}, {"Mi", 0x1p20}, {"Gi", 0x1p30}};

// "Mi" and "MiB" are the unit Mi.
static bool is_unit(const char *text, const char *unit) {
    size_t length = strlen(unit);
    if (strncmp(text, unit, length) != 0)
        return false;
    return !text[length] || (strcmp(text + length, "B") == 0);
}

bool size_from_text(const char *text, int64_t *bytes) {
    size_t length = strspn(text, "0123456789.");
    char *end;
    double size = strtod(text, &end); // of digits and a point: no sign, no exponent, no "inf"
    double unit = 0;
    for (size_t i = 0; length && end == text + length && i < sizeof units / sizeof *units; i++)
        if (is_unit(end, units[i].name))
            unit = units[i].bytes;
    size *= unit;
    if (!(size >= 1 && size <= 1e18))
        return false;
    *bytes = (int64_t)size;
    return true;
}
