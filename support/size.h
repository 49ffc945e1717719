/// Sizes as people write them.
#ifndef KDC_SUPPORT_SIZE_H
#define KDC_SUPPORT_SIZE_H

#include <stdbool.h>
#include <stdint.h>

/// Reads "300M", "1.5GB", "512Mi" or a number of bytes: a decimal number and a unit. False, and *bytes as it
/// was, for anything else and for what is less than a byte or more than an exabyte.
bool size_from_text(const char *text, int64_t *bytes);

#endif
