/// The library, std/*.kd, as the build embeds it in kdc.
#ifndef KDC_FRONTEND_STD_FILES_H
#define KDC_FRONTEND_STD_FILES_H

#include <stddef.h>

typedef struct StdFile {
    const char *name; // "std/nets.kd"
    const char *text; // NUL-terminated
    size_t length;
} StdFile;

/// In order of name.
extern const StdFile std_files[];
extern const size_t std_file_count;

#endif
