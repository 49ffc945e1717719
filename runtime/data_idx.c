// runtime/data_idx.c -- IDX files, MNIST's format, plain or gzip.
//
// Two zero bytes, the element type, the rank; then a big-endian u32 for each extent; then the
// elements, row-major. A compressed file is told by its first bytes, not by its name; it may
// consist of several gzip members, and what they unpack to must be exactly what the header
// promises.
#include "runtime/data.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>

enum { TYPE_U8 = 0x08, IDX_MAX_RANK = 4 };

// ---- a file's content, unpacked on the way ------------------------------------------------------

typedef struct Stream {
    Bytes bytes;
    bool is_gzip;
    size_t used; // bytes of a plain file
    z_stream z;
    bool member_ended;
    int64_t unpacked;
} Stream;

static voidpf stream_alloc(voidpf arena, uInt count, uInt size) {
    return kdrt_arena_array(arena, count, size);
}

static void stream_free(voidpf arena, voidpf memory) {
    (void)arena;
    (void)memory;
}

static bool stream_open(Stream *s, Bytes bytes, Arena *arena, KdrtError *error) {
    *s = (Stream){.bytes = bytes};
    s->is_gzip = bytes.length >= 2 && bytes.at[0] == 0x1f && bytes.at[1] == 0x8b;
    if (!s->is_gzip)
        return true;
    s->z.zalloc = stream_alloc;
    s->z.zfree = stream_free;
    s->z.opaque = arena;
    if (inflateInit2(&s->z, 15 + 16) != Z_OK)
        return kdrt_fail_memory(error, 1 << 16);
    s->z.next_in = (Bytef *)bytes.at;
    return true;
}

/// Where the reader stands in the compressed file.
static size_t stream_offset(const Stream *s) {
    return (size_t)(s->z.next_in - s->bytes.at);
}

/// Fills `to` with the next bytes of the content; fewer at its end. Sets *got.
static bool stream_read(Stream *s, uint8_t *to, size_t wanted, size_t *got, KdrtError *error) {
    *got = 0;
    if (!s->is_gzip) {
        size_t left = s->bytes.length - s->used;
        *got = wanted < left ? wanted : left;
        memcpy(to, s->bytes.at + s->used, *got);
        s->used += *got;
        return true;
    }
    while (*got < wanted) {
        size_t left = s->bytes.length - stream_offset(s);
        if (s->member_ended) {
            if (left == 0)
                return true;
            if (inflateReset(&s->z) != Z_OK)
                return kdrt_fail_memory(error, 1 << 16);
            s->member_ended = false;
        }
        size_t room = wanted - *got;
        s->z.avail_in = left > UINT32_MAX ? UINT32_MAX : (uInt)left;
        s->z.next_out = to + *got;
        s->z.avail_out = room > UINT32_MAX ? UINT32_MAX : (uInt)room;
        int result = inflate(&s->z, Z_NO_FLUSH);
        *got = (size_t)(s->z.next_out - to);
        if (result == Z_STREAM_END)
            s->member_ended = true;
        else if (result == Z_BUF_ERROR && s->z.avail_in == 0)
            return kdrt_fail(error, STATUS_WORLD,
                             "byte %zu: the compressed data ends in its middle; the file is "
                             "truncated, fetch it again",
                             s->bytes.length);
        else if (result == Z_MEM_ERROR)
            return kdrt_fail_memory(error, 1 << 16);
        else if (result != Z_OK && result != Z_BUF_ERROR)
            return kdrt_fail(error, STATUS_WORLD,
                             "byte %zu: the compressed data is damaged (%s); fetch the file again",
                             stream_offset(s), s->z.msg ? s->z.msg : "zlib refuses it");
    }
    return true;
}

// ---- the format ---------------------------------------------------------------------------------

static const char *type_name(uint8_t type) {
    switch (type) {
    case 0x09:
        return "i8";
    case 0x0b:
        return "i16";
    case 0x0c:
        return "i32";
    case 0x0d:
        return "f32";
    case 0x0e:
        return "f64";
    }
    return "unknown";
}

static bool read_header(Stream *s, IdxArray *array, KdrtError *error) {
    uint8_t magic[4], extent[4 * IDX_MAX_RANK];
    size_t got;
    if (!stream_read(s, magic, sizeof magic, &got, error))
        return false;
    if (got < sizeof magic)
        return kdrt_fail(error, STATUS_WORLD, "byte %zu: the file ends in its header", got);
    if (magic[0] != 0 || magic[1] != 0)
        return kdrt_fail(error, STATUS_WORLD,
                         "byte 0: no IDX file: it begins with %02x %02x instead of 00 00", magic[0],
                         magic[1]);
    if (magic[2] != TYPE_U8)
        return kdrt_fail(
            error, STATUS_WORLD,
            "byte 2: elements of type 0x%02x (%s); only unsigned bytes (0x08) are read", magic[2],
            type_name(magic[2]));
    if (magic[3] < 1 || magic[3] > IDX_MAX_RANK)
        return kdrt_fail(error, STATUS_WORLD, "byte 3: %u axes; 1 to %d are read", magic[3],
                         IDX_MAX_RANK);
    array->rank = magic[3];
    array->header_bytes = 4 + 4 * array->rank;
    if (!stream_read(s, extent, (size_t)(4 * array->rank), &got, error))
        return false;
    if (got < (size_t)(4 * array->rank))
        return kdrt_fail(error, STATUS_WORLD, "byte %zu: the file ends in its header",
                         sizeof magic + got);
    for (int64_t axis = 0; axis < array->rank; axis++) {
        const uint8_t *at = extent + 4 * axis;
        array->shape[axis] =
            (int64_t)at[0] << 24 | (int64_t)at[1] << 16 | (int64_t)at[2] << 8 | at[3];
        if (axis > 0 && array->shape[axis] == 0)
            return kdrt_fail(error, STATUS_WORLD,
                             "byte %" PRId64 ": axis %" PRId64 " has no extent", 4 + 4 * axis,
                             axis);
    }
    if (!kdrt_shape_count(array->shape, array->rank, &array->size_bytes))
        return kdrt_fail(error, STATUS_WORLD, "byte 4: the extents are larger than any file");
    return true;
}

static bool fail_short(int64_t at, const IdxArray *array, KdrtError *error) {
    return kdrt_fail(error, STATUS_WORLD,
                     "byte %" PRId64 ": the data ends here, but the header promises %" PRId64
                     " bytes; the file is truncated, fetch it again",
                     at, array->header_bytes + array->size_bytes);
}

static bool fail_long(const IdxArray *array, KdrtError *error) {
    return kdrt_fail(
        error, STATUS_WORLD,
        "byte %" PRId64 ": the data goes on after the %" PRId64 " bytes that the header promises",
        array->header_bytes + array->size_bytes, array->header_bytes + array->size_bytes);
}

static bool read_plain(Bytes bytes, IdxArray *array, KdrtError *error) {
    int64_t left = (int64_t)bytes.length - array->header_bytes;
    if (left < array->size_bytes)
        return fail_short((int64_t)bytes.length, array, error);
    if (left > array->size_bytes)
        return fail_long(array, error);
    array->data = bytes.at + array->header_bytes;
    return true;
}

/// Deflate packs at most 1032 to one, so a header that promises more is refused before any memory
/// is asked for.
static bool read_gzip(Stream *s, Arena *arena, IdxArray *array, KdrtError *error) {
    int64_t possible = (int64_t)(s->bytes.length - (s->bytes.length >> 54)) * 1032 + 1032;
    if (array->size_bytes > possible)
        return kdrt_fail(error, STATUS_WORLD,
                         "byte 4: the header promises %" PRId64
                         " bytes, more than %zu compressed bytes can hold",
                         array->size_bytes, s->bytes.length);
    uint8_t *data = kdrt_arena_alloc(arena, (size_t)array->size_bytes);
    if (!data)
        return kdrt_fail_memory(error, (size_t)array->size_bytes);
    size_t got;
    if (!stream_read(s, data, (size_t)array->size_bytes, &got, error))
        return false;
    if ((int64_t)got < array->size_bytes)
        return fail_short(array->header_bytes + (int64_t)got, array, error);
    // Reading on to the end of the file checks the last member's checksum, too.
    uint8_t more;
    if (!stream_read(s, &more, 1, &got, error))
        return false;
    if (got > 0)
        return fail_long(array, error);
    array->data = data;
    return true;
}

bool kdrt_idx_read(Bytes bytes, const IdxLimits *limits, Arena *arena, IdxArray *array,
                   KdrtError *error) {
    Stream stream;
    *array = (IdxArray){0};
    if (!stream_open(&stream, bytes, arena, error) || !read_header(&stream, array, error))
        return false;
    if (array->size_bytes > limits->most_bytes)
        return kdrt_fail(error, STATUS_WORLD,
                         "byte 4: the header promises %" PRId64 " bytes, more than the limit of "
                         "%" PRId64,
                         array->size_bytes, limits->most_bytes);
    if (limits->header_only)
        return true;
    return stream.is_gzip ? read_gzip(&stream, arena, array, error)
                          : read_plain(bytes, array, error);
}

// ---- the source ---------------------------------------------------------------------------------

enum { PATH_BYTES = 4096, HEADER_BYTES = 64 << 10 };

static const int64_t most_bytes = (int64_t)64 << 30;

/// Finds DIR/STEM-idxR-ubyte under the names it goes by; false when there is none of them.
static bool find_file(const char *directory, const char *stem, int rank, char path[PATH_BYTES]) {
    for (int form = 0; form < 4; form++) {
        int length = snprintf(path, PATH_BYTES, "%s/%s%cidx%d-ubyte%s", directory, stem,
                              form < 2 ? '-' : '.', rank, form % 2 ? ".gz" : "");
        if (length < PATH_BYTES && kdrt_io_exists(path))
            return true;
    }
    return false;
}

static bool fail_missing(const char *directory, const char *stem, int rank, KdrtError *error) {
    return kdrt_fail(
        error, STATUS_WORLD,
        "%s: no %s-idx%d-ubyte, with or without .gz (or .idx%d-ubyte); --data DIR says "
        "where the data is",
        directory, stem, rank, rank);
}

static bool read_array(const SourceRequest *request, const char *path, bool header_only,
                       IdxArray *array, KdrtError *error) {
    Bytes bytes;
    IdxLimits limits = {most_bytes, header_only};
    if (!kdrt_io_read_file(request->env, request->arena, path, header_only ? HEADER_BYTES : 0,
                           (size_t)most_bytes, &bytes, error))
        return false;
    return kdrt_idx_read(bytes, &limits, request->arena, array, error) || kdrt_fail_in(error, path);
}

/// Images [N, H, W] or [N, C, H, W] become the column `image` of [C, H, W], labels [N] the column
/// `label`.
static bool read_part(const SourceRequest *request, const char *image_path, const char *label_path,
                      FilePart *part, KdrtError *error) {
    IdxArray images, labels;
    if (!read_array(request, image_path, request->headers_only, &images, error) ||
        !read_array(request, label_path, false, &labels, error))
        return false;
    if (images.rank < 3)
        return kdrt_fail(error, STATUS_WORLD,
                         "%s: byte 3: %" PRId64 " axes, but images have three (count, height, "
                         "width) or four",
                         image_path, images.rank);
    if (labels.rank != 1)
        return kdrt_fail(error, STATUS_WORLD, "%s: byte 3: %" PRId64 " axes, but labels have one",
                         label_path, labels.rank);
    if (labels.shape[0] != images.shape[0])
        return kdrt_fail(error, STATUS_WORLD,
                         "%s: byte 4: %" PRId64 " labels for the %" PRId64 " images of %s",
                         label_path, labels.shape[0], images.shape[0], image_path);
    part->count = images.shape[0];
    part->column_count = 2;
    FileColumn *image = &part->column[0], *label = &part->column[1];
    *image = (FileColumn){.name = "image",
                          .dtype = DTYPE_u8,
                          .rank = 3,
                          .shape = {1, images.shape[1], images.shape[2]},
                          .data = images.data,
                          .file_offset = images.header_bytes};
    if (images.rank == 4)
        memcpy(image->shape, images.shape + 1, 3 * sizeof *image->shape);
    image->stride_bytes = image->shape[0] * image->shape[1] * image->shape[2];
    image->path = kdrt_arena_text(request->arena, "%s", image_path);
    *label = (FileColumn){.name = "label",
                          .dtype = DTYPE_u8,
                          .data = labels.data,
                          .stride_bytes = 1,
                          .file_offset = labels.header_bytes};
    label->path = kdrt_arena_text(request->arena, "%s", label_path);
    return (image->path && label->path) || kdrt_fail_memory(error, PATH_BYTES);
}

static int64_t classes_of(const FilePart *part, int64_t classes) {
    const FileColumn *label = &part->column[1];
    for (int64_t i = 0; i < part->count; i++)
        if (label->data[i] >= classes)
            classes = label->data[i] + 1;
    return classes;
}

bool kdrt_source_idx(const SourceRequest *request, Files *files, KdrtError *error) {
    char images[PATH_BYTES], labels[PATH_BYTES];
    if (!find_file(request->path, "train-images", 3, images))
        return fail_missing(request->path, "train-images", 3, error);
    if (!find_file(request->path, "train-labels", 1, labels))
        return fail_missing(request->path, "train-labels", 1, error);
    if (!read_part(request, images, labels, &files->train, error))
        return false;
    files->classes = classes_of(&files->train, 0);

    // A set without a test part has neither file.
    bool has_images = find_file(request->path, "t10k-images", 3, images);
    bool has_labels = find_file(request->path, "t10k-labels", 1, labels);
    if (!has_images && !has_labels)
        return true;
    if (!has_images)
        return fail_missing(request->path, "t10k-images", 3, error);
    if (!has_labels)
        return fail_missing(request->path, "t10k-labels", 1, error);
    if (!read_part(request, images, labels, &files->test, error))
        return false;
    files->classes = classes_of(&files->test, files->classes);
    return true;
}
