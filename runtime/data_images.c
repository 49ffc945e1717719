// runtime/data_images.c -- folders of PNG and JPEG files.
//
// A class is a folder of the training part, in bytewise order of the names; its images lie in it at
// any depth. The root holds the classes, or `train` and `val` (or `test`) that do. A `val` with
// val_annotations.txt is Tiny ImageNet's: images in one folder, their classes in the text. Headers
// are read when the data is opened, so that a file that is none is found before the first step;
// pixels are decoded by the loader's threads.
#include "runtime/data.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { PATH_BYTES = 4096, HEADER_BYTES = 16 << 10, MOST_DEPTH = 16, PROBED_FILES = 256 };

static const int64_t most_pixels = (int64_t)64 << 20;
static const size_t most_file_bytes = (size_t)1 << 30;

// ---- headers ------------------------------------------------------------------------------------

static bool is_png(Bytes bytes) {
    static const uint8_t signature[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    return bytes.length >= 8 && !memcmp(bytes.at, signature, 8);
}

static uint32_t big_endian(const uint8_t *at, int bytes) {
    uint32_t x = 0;
    for (int i = 0; i < bytes; i++)
        x = x << 8 | at[i];
    return x;
}

static bool fail_short(KdrtError *error) {
    return kdrt_fail(error, STATUS_WORLD, "the file ends in its header; it is truncated");
}

/// Goes from marker to marker up to the frame's, which holds the extents.
static bool jpeg_extents(Bytes bytes, int64_t extents[2], KdrtError *error) {
    size_t at = 2;
    for (;;) {
        if (bytes.length - at < 4)
            return fail_short(error);
        if (bytes.at[at] != 0xff)
            return kdrt_fail(error, STATUS_WORLD, "byte %zu: no marker of a JPEG file", at);
        uint8_t marker = bytes.at[at + 1];
        if (marker == 0xff) { // a byte of padding
            at++;
            continue;
        }
        size_t length = big_endian(bytes.at + at + 2, 2);
        bool is_frame =
            marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc;
        if (is_frame && bytes.length - at < 10)
            return fail_short(error);
        if (is_frame && bytes.at[at + 9] == 4)
            return kdrt_fail(error, STATUS_WORLD,
                             "a JPEG file of CMYK colours, for printing; convert it to RGB");
        if (is_frame) {
            extents[0] = big_endian(bytes.at + at + 5, 2);
            extents[1] = big_endian(bytes.at + at + 7, 2);
            return true;
        }
        if (marker == 0xd9 || marker == 0xda || length < 2)
            return kdrt_fail(error, STATUS_WORLD, "byte %zu: no frame in this JPEG file", at);
        if (bytes.length - at < length + 2)
            return fail_short(error);
        at += length + 2;
    }
}

bool kdrt_image_extents(Bytes bytes, int64_t *height, int64_t *width, KdrtError *error) {
    int64_t extents[2] = {0, 0};
    if (is_png(bytes)) {
        if (bytes.length < 24)
            return fail_short(error);
        extents[0] = big_endian(bytes.at + 20, 4);
        extents[1] = big_endian(bytes.at + 16, 4);
    } else if (bytes.length >= 3 && !memcmp(bytes.at, "\xff\xd8\xff", 3)) {
        if (!jpeg_extents(bytes, extents, error))
            return false;
    } else {
        return kdrt_fail(error, STATUS_WORLD,
                         "is neither PNG nor JPEG, going by its content; nothing else is read");
    }
    if (extents[0] < 1 || extents[1] < 1 || extents[0] > most_pixels / extents[1])
        return kdrt_fail(error, STATUS_WORLD,
                         "%" PRId64 " x %" PRId64 " pixels; an image has 1 to %" PRId64, extents[0],
                         extents[1], most_pixels);
    *height = extents[0];
    *width = extents[1];
    return true;
}

/// Reads the extents and the size of a file.
static bool measure(ImageFiles *files, int64_t i, KdrtError *error) {
    uint8_t start[HEADER_BYTES];
    ImageFile *file = &files->at[i];
    size_t size_bytes;
    Bytes bytes;
    KdrtError inner = {0};
    if (!kdrt_io_read_start(file->path, start, sizeof start, &bytes, &size_bytes, error))
        return false;
    if ((int64_t)size_bytes > files->most_bytes)
        files->most_bytes = (int64_t)size_bytes;
    if (kdrt_image_extents(bytes, &file->height, &file->width, &inner))
        return true;
    if (size_bytes > sizeof start && size_bytes <= most_file_bytes) { // a long comment comes first
        Env env = {0};
        uint8_t *whole = kdrt_alloc(&env, size_bytes);
        bool ok = false;
        inner = (KdrtError){0};
        if (!whole)
            kdrt_fail_memory(error, size_bytes);
        else if (kdrt_io_read_start(file->path, whole, size_bytes, &bytes, &size_bytes, error))
            ok = kdrt_image_extents(bytes, &file->height, &file->width, &inner);
        kdrt_free(&env, whole);
        if (ok || error->status)
            return ok;
    }
    return kdrt_fail(error, STATUS_WORLD, "%s: %s", file->path, inner.text);
}

// ---- the files of a part ------------------------------------------------------------------------

typedef struct NameList {
    Arena *arena;
    const char **at;
    int64_t count, room;
    bool failed;
} NameList;

/// Twice the room for `count` elements, in the arena; NULL when there is none.
static void *grown(Arena *arena, const void *at, int64_t count, int64_t *room, size_t size_bytes) {
    *room = *room ? 2 * *room : 64;
    void *more = kdrt_arena_array(arena, (size_t)*room, size_bytes);
    if (more && count)
        memcpy(more, at, (size_t)count * size_bytes);
    return more;
}

static void add_name(void *context, const char *name) {
    NameList *list = context;
    const char *copy = kdrt_arena_text(list->arena, "%s", name);
    if (!copy ||
        (list->count == list->room &&
         !(list->at = grown(list->arena, list->at, list->count, &list->room, sizeof *list->at)))) {
        list->failed = true;
        list->count = 0;
        return;
    }
    list->at[list->count++] = copy;
}

static bool list_names(const SourceRequest *request, const char *path, NameList *list,
                       KdrtError *error) {
    *list = (NameList){.arena = request->arena};
    return kdrt_io_list(request->env, path, add_name, list, error) &&
           (!list->failed || kdrt_fail_memory(error, PATH_BYTES));
}

/// The sub-folders of `path`.
static bool list_folders(const SourceRequest *request, const char *path, NameList *folders,
                         KdrtError *error) {
    if (!list_names(request, path, folders, error))
        return false;
    int64_t kept = 0;
    for (int64_t i = 0; i < folders->count; i++) {
        char one[PATH_BYTES];
        snprintf(one, sizeof one, "%s/%s", path, folders->at[i]);
        if (kdrt_io_is_directory(one))
            folders->at[kept++] = folders->at[i];
    }
    folders->count = kept;
    return true;
}

typedef struct PartReader {
    const SourceRequest *request;
    const NameList *classes;
    ImageFiles *files;
    int32_t *label;
    int64_t count, file_room, label_room;
    KdrtError *error;
} PartReader;

static bool add_file(PartReader *r, const char *path, int64_t label) {
    Arena *arena = r->request->arena;
    if (r->count == r->file_room) {
        r->files->at = grown(arena, r->files->at, r->count, &r->file_room, sizeof(ImageFile));
        r->label = grown(arena, r->label, r->count, &r->label_room, sizeof *r->label);
    }
    const char *copy = kdrt_arena_text(arena, "%s", path);
    if (!r->files->at || !r->label || !copy)
        return kdrt_fail_memory(r->error, PATH_BYTES);
    r->files->at[r->count] = (ImageFile){.path = copy};
    r->label[r->count++] = (int32_t)label;
    return true;
}

static bool ends_in(const char *name, const char *const *endings) {
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && endings[i]; i++)
        if (!strcasecmp(dot, endings[i]))
            return true;
    return false;
}

static bool add_folder(PartReader *r, const char *path, int64_t label, int depth) {
    static const char *const read[] = {".png", ".jpg", ".jpeg", NULL};
    static const char *const refused[] = {".bmp", ".gif",  ".pgm",  ".ppm",
                                          ".tif", ".tiff", ".webp", NULL};
    NameList names;
    if (depth > MOST_DEPTH)
        return kdrt_fail(r->error, STATUS_WORLD, "%s: folders in folders, more than %d deep", path,
                         MOST_DEPTH);
    if (!list_names(r->request, path, &names, r->error))
        return false;
    for (int64_t i = 0; i < names.count; i++) {
        char one[PATH_BYTES];
        if (snprintf(one, sizeof one, "%s/%s", path, names.at[i]) >= PATH_BYTES)
            return kdrt_fail(r->error, STATUS_WORLD, "%s: the path is too long", path);
        if (ends_in(names.at[i], refused))
            return kdrt_fail(r->error, STATUS_WORLD,
                             "%s: only PNG and JPEG images are read; convert it", one);
        bool good = true;
        if (ends_in(names.at[i], read))
            good = add_file(r, one, label);
        else if (kdrt_io_is_directory(one))
            good = add_folder(r, one, label, depth + 1);
        if (!good)
            return false;
    }
    return true;
}

static int64_t class_of(const NameList *classes, const char *name, size_t length) {
    for (int64_t i = 0; i < classes->count; i++)
        if (!strncmp(classes->at[i], name, length) && !classes->at[i][length])
            return i;
    return -1;
}

static bool fail_class(const PartReader *r, const char *path, const char *name, int length) {
    return kdrt_fail(r->error, STATUS_WORLD,
                     "%s: the training part has no class `%.*s`; it has %" PRId64
                     ", `%s` is the first",
                     path, length, name, r->classes->count, r->classes->at[0]);
}

/// The classes' folders in `path`, each of which must hold images.
static bool add_classes(PartReader *r, const char *path) {
    NameList folders;
    if (!list_folders(r->request, path, &folders, r->error))
        return false;
    for (int64_t i = 0; i < folders.count; i++) {
        char one[PATH_BYTES];
        int64_t before = r->count;
        int64_t label = class_of(r->classes, folders.at[i], strlen(folders.at[i]));
        snprintf(one, sizeof one, "%s/%s", path, folders.at[i]);
        if (label < 0)
            return fail_class(r, one, folders.at[i], (int)strlen(folders.at[i]));
        if (!add_folder(r, one, label, 0))
            return false;
        if (r->count == before)
            return kdrt_fail(r->error, STATUS_WORLD,
                             "%s: holds no PNG or JPEG file; a class has images", one);
    }
    return true;
}

/// val_annotations.txt: a line for each image, its file in `images`, a tab, its class, a tab, and
/// more.
static bool add_annotated(PartReader *r, const char *path) {
    char text_path[PATH_BYTES], one[PATH_BYTES];
    Bytes text;
    snprintf(text_path, sizeof text_path, "%s/val_annotations.txt", path);
    if (!kdrt_io_read_file(r->request->env, r->request->arena, text_path, 0, most_file_bytes, &text,
                           r->error))
        return false;
    const char *at = (const char *)text.at, *end = at + text.length;
    for (int64_t line = 1; at < end; line++) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        stop = stop ? stop : end;
        const char *tab = memchr(at, '\t', (size_t)(stop - at));
        const char *second = tab ? memchr(tab + 1, '\t', (size_t)(stop - tab - 1)) : NULL;
        if (!second || memchr(at, '/', (size_t)(tab - at)))
            return kdrt_fail(r->error, STATUS_WORLD,
                             "%s: line %" PRId64 ": no file, tab, class, tab", text_path, line);
        int length = (int)(second - tab - 1);
        int64_t label = class_of(r->classes, tab + 1, (size_t)length);
        if (label < 0)
            return fail_class(r, text_path, tab + 1, length);
        if (snprintf(one, sizeof one, "%s/images/%.*s", path, (int)(tab - at), at) >= PATH_BYTES)
            return kdrt_fail(r->error, STATUS_WORLD, "%s: the path is too long", path);
        if (!add_file(r, one, label))
            return false;
        at = stop + 1;
    }
    return true;
}

/// Measures the files: all of them, or some to see what they are like. `extents` is what they have
/// in common, -1 where they differ; {0, 0} at first.
static bool measure_part(const PartReader *r, int64_t extents[2]) {
    int64_t step = r->request->headers_only ? (r->count + PROBED_FILES - 1) / PROBED_FILES : 1;
    for (int64_t i = 0; i < r->count; i += step) {
        if (!measure(r->files, i, r->error))
            return false;
        const ImageFile *file = &r->files->at[i];
        const int64_t found[2] = {file->height, file->width};
        for (int k = 0; k < 2; k++)
            extents[k] = extents[k] == 0 || extents[k] == found[k] ? found[k] : -1;
    }
    return true;
}

static bool open_part(const SourceRequest *request, const NameList *classes, const char *path,
                      bool annotated, int64_t extents[2], FilePart *part, KdrtError *error) {
    ImageFiles *files = kdrt_arena_alloc(request->arena, sizeof *files);
    if (!files)
        return kdrt_fail_memory(error, sizeof *files);
    PartReader r = {.request = request, .classes = classes, .files = files, .error = error};
    if (!(annotated ? add_annotated(&r, path) : add_classes(&r, path)) ||
        !measure_part(&r, extents))
        return false;
    part->count = r.count;
    part->column_count = 2;
    part->column[0] = (FileColumn){
        .name = "image", .dtype = DTYPE_u8, .rank = 3, .shape = {3}, .images = files, .path = path};
    part->column[1] = (FileColumn){.name = "label",
                                   .dtype = DTYPE_i32,
                                   .data = (const uint8_t *)r.label,
                                   .stride_bytes = sizeof *r.label,
                                   .path = path};
    return true;
}

/// The part that evaluates: `val`, or `test` where it has classes. NULL: there is none.
static const char *find_test(const SourceRequest *request, const NameList *classes, bool *annotated,
                             KdrtError *error) {
    static const char *const names[] = {"val", "test"};
    for (int i = 0; i < 2; i++) {
        char text[PATH_BYTES];
        char *path = kdrt_arena_text(request->arena, "%s/%s", request->path, names[i]);
        if (!path || !kdrt_io_is_directory(path))
            continue;
        snprintf(text, sizeof text, "%s/val_annotations.txt", path);
        *annotated = kdrt_io_exists(text);
        if (*annotated)
            return path;
        NameList folders;
        if (!list_folders(request, path, &folders, error))
            return NULL;
        for (int64_t k = 0; k < folders.count; k++)
            if (class_of(classes, folders.at[k], strlen(folders.at[k])) >= 0)
                return path;
    }
    return NULL;
}

bool kdrt_source_images(const SourceRequest *request, Files *files, KdrtError *error) {
    const char *train = kdrt_arena_text(request->arena, "%s/train", request->path);
    if (!train)
        return kdrt_fail_memory(error, PATH_BYTES);
    bool has_parts = kdrt_io_is_directory(train);
    train = has_parts ? train : request->path;
    NameList classes;
    if (!list_folders(request, train, &classes, error))
        return false;
    if (classes.count == 0)
        return kdrt_fail(error, STATUS_WORLD,
                         "%s: no folders; each class of images has one, with its files in it",
                         train);
    files->classes = classes.count;
    int64_t extents[2] = {0, 0};
    if (!open_part(request, &classes, train, false, extents, &files->train, error))
        return false;
    bool annotated = false;
    const char *test = has_parts ? find_test(request, &classes, &annotated, error) : NULL;
    if (error->status ||
        (test && !open_part(request, &classes, test, annotated, extents, &files->test, error)))
        return false;
    memcpy(files->train.column[0].shape + 1, extents, sizeof extents);
    memcpy(files->test.column[0].shape + 1, extents, sizeof extents);
    return true;
}
