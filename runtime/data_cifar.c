// runtime/data_cifar.c -- the binary files of CIFAR-10 and CIFAR-100.
//
// A file is a sequence of records: the label bytes (CIFAR-10 one, CIFAR-100 coarse and fine), then
// the red, green and blue plane of 32 x 32 pixels. Columns point into the files; several training
// files are read into one buffer.
#include "runtime/data.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { PATH_BYTES = 4096, PIXEL_BYTES = 3 * 32 * 32, MOST_LABELS = 2 };

static const size_t most_bytes = (size_t)8 << 30;

typedef struct CifarFormat {
    int64_t label_count;
    const char *label[MOST_LABELS]; // in the order of the record
    int64_t classes[MOST_LABELS];
} CifarFormat;

static const CifarFormat cifar10 = {1, {"label"}, {10}};
static const CifarFormat cifar100 = {2, {"coarse", "label"}, {20, 100}};

static int64_t record_bytes(const CifarFormat *format) {
    return format->label_count + PIXEL_BYTES;
}

static bool check_file(const CifarFormat *format, Bytes bytes, const char *path, KdrtError *error) {
    int64_t record = record_bytes(format), length = (int64_t)bytes.length;
    if (length == 0 || length % record)
        return kdrt_fail(error, STATUS_WORLD,
                         "%s: byte %" PRId64 ": the file ends in the middle of a record of %" PRId64
                         " bytes; it is truncated or of another format",
                         path, length, record);
    for (int64_t at = 0; at < length; at += record)
        for (int64_t i = 0; i < format->label_count; i++)
            if (bytes.at[at + i] >= format->classes[i])
                return kdrt_fail(error, STATUS_WORLD,
                                 "%s: byte %" PRId64 ": label %u; there are %" PRId64 " classes",
                                 path, at + i, bytes.at[at + i], format->classes[i]);
    return true;
}

static void set_columns(const CifarFormat *format, Bytes bytes, const char *path, FilePart *part) {
    part->count = (int64_t)bytes.length / record_bytes(format);
    part->column_count = format->label_count + 1;
    part->column[0] = (FileColumn){.name = "image",
                                   .dtype = DTYPE_u8,
                                   .rank = 3,
                                   .shape = {3, 32, 32},
                                   .data = bytes.at + format->label_count,
                                   .stride_bytes = record_bytes(format),
                                   .path = path,
                                   .file_offset = format->label_count};
    for (int64_t i = 0; i < format->label_count; i++)
        part->column[1 + i] = (FileColumn){.name = format->label[i],
                                           .dtype = DTYPE_u8,
                                           .data = bytes.at + i,
                                           .stride_bytes = record_bytes(format),
                                           .path = path,
                                           .file_offset = i};
}

/// Reads DIR/name for each name that is there, one after another. Sets no columns when none is.
static bool read_part(const SourceRequest *request, const CifarFormat *format,
                      const char *const *names, size_t name_count, FilePart *part,
                      KdrtError *error) {
    Bytes piece[8] = {{0}};
    char path[PATH_BYTES];
    size_t total = 0, found = 0;
    for (size_t i = 0; i < name_count; i++) {
        snprintf(path, sizeof path, "%s/%s", request->path, names[i]);
        if (!kdrt_io_exists(path))
            continue;
        if (!kdrt_io_read_file(request->env, request->arena, path, 0, most_bytes, &piece[found],
                               error) ||
            !check_file(format, piece[found], path, error))
            return false;
        total += piece[found++].length;
    }
    Bytes all = piece[0];
    if (found > 1) {
        uint8_t *joined = kdrt_arena_alloc(request->arena, total);
        if (!joined)
            return kdrt_fail_memory(error, total);
        size_t at = 0;
        for (size_t i = 0; i < found; at += piece[i++].length)
            memcpy(joined + at, piece[i].at, piece[i].length);
        all = (Bytes){joined, total};
    }
    if (found > 0)
        set_columns(format, all, kdrt_arena_text(request->arena, "%s", request->path), part);
    return true;
}

static bool read_parts(const SourceRequest *request, const CifarFormat *format,
                       const char *const *train, size_t train_count, const char *test, Files *files,
                       KdrtError *error) {
    files->classes = format->classes[format->label_count - 1];
    if (!read_part(request, format, train, train_count, &files->train, error) ||
        !read_part(request, format, &test, 1, &files->test, error))
        return false;
    if (files->train.count == 0)
        return kdrt_fail(error, STATUS_WORLD,
                         "%s: no %s; --data DIR says where the data is (the binary version)",
                         request->path, train[0]);
    return true;
}

bool kdrt_source_cifar10(const SourceRequest *request, Files *files, KdrtError *error) {
    static const char *const train[] = {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin",
                                        "data_batch_4.bin", "data_batch_5.bin"};
    return read_parts(request, &cifar10, train, 5, "test_batch.bin", files, error);
}

bool kdrt_source_cifar100(const SourceRequest *request, Files *files, KdrtError *error) {
    static const char *const train[] = {"train.bin"};
    return read_parts(request, &cifar100, train, 1, "test.bin", files, error);
}
