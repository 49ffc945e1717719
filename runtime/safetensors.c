// runtime/safetensors.c -- weights in the safetensors format, out and strictly in.
//
// u64 little-endian N, N bytes of JSON, then the tensors without gaps. The order is that of the
// reference writer: by alignment of the dtype, largest first, then by name.
#include "runtime/run.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_HEADER_BYTES = 100000000, MOST_TENSORS = 1000000, MOST_NAME_BYTES = 64 << 10 };

static const int64_t most_integer = (int64_t)1 << 48;

// ---- out ----------------------------------------------------------------------------------------

static int by_dtype_then_name(const void *left, const void *right) {
    const SafeTensor *a = left, *b = right; // Dtype lists them in the order wanted
    size_t a_bytes = kdrt_dtype_bytes(a->dtype), b_bytes = kdrt_dtype_bytes(b->dtype);
    if (a_bytes != b_bytes)
        return a_bytes < b_bytes ? 1 : -1;
    // Within a size the enumeration of the format: I64 before F64, F32 before I32.
    static const int rank[DTYPE_COUNT] = {
        [DTYPE_i64] = 0,  [DTYPE_f64] = 1, [DTYPE_f32] = 2, [DTYPE_i32] = 3,
        [DTYPE_bf16] = 4, [DTYPE_u8] = 5,  [DTYPE_bool] = 6};
    if (a->dtype != b->dtype)
        return rank[a->dtype] - rank[b->dtype];
    return strcmp(a->name, b->name);
}

static void add_header(Text *text, const SafeTensor *tensor, int64_t count) {
    kdrt_text_add(text, "{\"__metadata__\":{\"format\":\"pt\"}");
    int64_t offset = 0;
    for (int64_t i = 0; i < count; i++) {
        kdrt_text_add(text, ",");
        kdrt_text_json(text, tensor[i].name);
        kdrt_text_add(text, ":{\"dtype\":\"%s\",\"shape\":[",
                      kdrt_dtype_safetensors(tensor[i].dtype));
        for (int64_t axis = 0; axis < tensor[i].rank; axis++)
            kdrt_text_add(text, "%s%" PRId64, axis ? "," : "", tensor[i].shape[axis]);
        kdrt_text_add(text, "],\"data_offsets\":[%" PRId64 ",%" PRId64 "]}", offset,
                      offset + tensor[i].size_bytes);
        offset += tensor[i].size_bytes;
    }
    kdrt_text_add(text, "}");
    while (text->length % 8 && !text->failed)
        kdrt_text_add(text, " ");
}

bool kdrt_safetensors_write(Env *env, const char *path, SafeTensor *tensor, int64_t count,
                            KdrtError *error) {
    qsort(tensor, (size_t)count, sizeof *tensor, by_dtype_then_name);
    Text header = {.env = env};
    add_header(&header, tensor, count);
    uint64_t header_bytes = header.length;
    AtomicFile file = {.fd = -1};
    bool ok = !header.failed || kdrt_fail_memory(error, header.length);
    ok = ok && kdrt_atomic_open(env, &file, path, error) &&
         kdrt_atomic_write(env, &file, &header_bytes, sizeof header_bytes, error) &&
         kdrt_atomic_write(env, &file, header.at, header.length, error);
    for (int64_t i = 0; ok && i < count; i++)
        ok = kdrt_atomic_write(env, &file, tensor[i].data, (size_t)tensor[i].size_bytes, error);
    ok = ok && kdrt_atomic_commit(env, &file, error);
    kdrt_atomic_abandon(env, &file);
    kdrt_text_release(&header);
    return ok;
}

// ---- in -----------------------------------------------------------------------------------------

typedef struct Reader {
    Arena *arena;
    const uint8_t *data;
    int64_t data_bytes;
    KdrtError *error;
} Reader;

static bool wrong(Reader *r, const char *name, const char *what) {
    return kdrt_fail(r->error, STATUS_WORLD, "tensor `%.200s`: %s", name, what);
}

static bool get_size(const json_t *value, int64_t *size) {
    if (!json_is_integer(value))
        return false;
    *size = json_integer_value(value);
    return *size >= 0 && *size <= most_integer;
}

static bool get_dtype(const json_t *value, Dtype *dtype) {
    const char *name = json_string_value(value);
    for (int i = 0; name && i < DTYPE_COUNT; i++) {
        *dtype = (Dtype)i;
        if (!strcmp(name, kdrt_dtype_safetensors(*dtype)))
            return true;
    }
    return false;
}

static bool read_tensor(Reader *r, const char *name, const json_t *object, SafeTensor *tensor) {
    if (strlen(name) > MOST_NAME_BYTES)
        return wrong(r, name, "the name is too long");
    const json_t *shape = json_object_get(object, "shape");
    const json_t *offsets = json_object_get(object, "data_offsets");
    if (json_object_size(object) != 3 || !shape || !offsets)
        return wrong(r, name, "needs dtype, shape and data_offsets, and nothing else");
    if (!get_dtype(json_object_get(object, "dtype"), &tensor->dtype))
        return wrong(r, name, "has a dtype that is not known here");
    if (!json_is_array(shape) || json_array_size(shape) > MAX_RANK)
        return wrong(r, name, "has no shape of at most 8 axes");
    tensor->rank = (int64_t)json_array_size(shape);
    for (int64_t axis = 0; axis < tensor->rank; axis++)
        if (!get_size(json_array_get(shape, (size_t)axis), &tensor->shape[axis]))
            return wrong(r, name, "has an extent that is no whole number in range");
    int64_t begin, end;
    if (!json_is_array(offsets) || json_array_size(offsets) != 2 ||
        !get_size(json_array_get(offsets, 0), &begin) ||
        !get_size(json_array_get(offsets, 1), &end))
        return wrong(r, name, "has data_offsets that are not two whole numbers in range");
    if (begin > end || end > r->data_bytes)
        return wrong(r, name, "lies outside of the file");
    int64_t elements;
    if (!kdrt_shape_count(tensor->shape, tensor->rank, &elements) ||
        __builtin_mul_overflow(elements, (int64_t)kdrt_dtype_bytes(tensor->dtype),
                               &tensor->size_bytes) ||
        tensor->size_bytes != end - begin)
        return wrong(r, name, "has another size than its shape and dtype say");
    tensor->data = r->data + begin;
    tensor->name = kdrt_arena_text(r->arena, "%s", name);
    return tensor->name || kdrt_fail_memory(r->error, strlen(name));
}

static int by_place(const void *left, const void *right) {
    const SafeTensor *a = left, *b = right;
    const char *x = a->data, *y = b->data;
    if (x != y)
        return x < y ? -1 : 1;
    return (a->size_bytes > b->size_bytes) - (a->size_bytes < b->size_bytes);
}

/// The tensors, sorted by place, cover the data without a gap or overlap.
static bool check_cover(Reader *r, const SafeTensor *tensor, int64_t count) {
    const uint8_t *at = r->data;
    for (int64_t i = 0; i < count; at += tensor[i++].size_bytes)
        if (tensor[i].data != at)
            return wrong(r, tensor[i].name, "there is a gap before it, or it overlaps another");
    if (at != r->data + r->data_bytes)
        return kdrt_fail(r->error, STATUS_WORLD,
                         "there are %" PRId64 " bytes after the last tensor",
                         (int64_t)(r->data + r->data_bytes - at));
    return true;
}

static bool check_metadata(Reader *r, const json_t *metadata) {
    const char *key;
    json_t *value;
    bool ok = json_is_object(metadata);
    json_object_foreach((json_t *)metadata, key, value) ok = ok && json_is_string(value);
    return ok || kdrt_fail(r->error, STATUS_WORLD, "__metadata__ holds something else than texts");
}

static bool read_tensors(Reader *r, json_t *root, SafeTensor **tensor, int64_t *count) {
    size_t most = json_object_size(root);
    if (most > MOST_TENSORS)
        return kdrt_fail(r->error, STATUS_WORLD, "more than %d tensors", MOST_TENSORS);
    *tensor = kdrt_arena_array(r->arena, most, sizeof **tensor);
    if (!*tensor)
        return kdrt_fail_memory(r->error, most * sizeof **tensor);
    const char *name;
    json_t *object;
    json_object_foreach(root, name, object) {
        if (!strcmp(name, "__metadata__")) {
            if (!check_metadata(r, object))
                return false;
        } else if (!read_tensor(r, name, object, &(*tensor)[(*count)++])) {
            return false;
        }
    }
    qsort(*tensor, (size_t)*count, sizeof **tensor, by_place);
    return check_cover(r, *tensor, *count);
}

bool kdrt_safetensors_read(Bytes bytes, Arena *arena, SafeTensor **tensor, int64_t *count,
                           KdrtError *error) {
    uint64_t header_bytes;
    *count = 0;
    if (bytes.length < sizeof header_bytes)
        return kdrt_fail(error, STATUS_WORLD, "byte %zu: the file ends in its header",
                         bytes.length);
    memcpy(&header_bytes, bytes.at, sizeof header_bytes);
    if (header_bytes > MOST_HEADER_BYTES || header_bytes > bytes.length - sizeof header_bytes)
        return kdrt_fail(error, STATUS_WORLD,
                         "byte 0: a header of %" PRIu64 " bytes, in a file of %zu", header_bytes,
                         bytes.length);
    const char *header = (const char *)bytes.at + sizeof header_bytes;
    if (header_bytes == 0 || header[0] != '{')
        return kdrt_fail(error, STATUS_WORLD, "byte 8: the header does not begin with `{`");
    json_error_t trouble;
    json_t *root = json_loadb(header, header_bytes, JSON_REJECT_DUPLICATES, &trouble);
    if (!root)
        return kdrt_fail(error, STATUS_WORLD, "byte %d: the header is damaged: %s",
                         8 + trouble.position, trouble.text);
    Reader reader = {arena, bytes.at + 8 + header_bytes,
                     (int64_t)(bytes.length - 8 - (size_t)header_bytes), error};
    bool ok = read_tensors(&reader, root, tensor, count);
    json_decref(root);
    return ok;
}

// ---- what a run leaves --------------------------------------------------------------------------

static bool write_deploy(KdrtSession *session, const DeploySpec *deploy, KdrtError *error) {
    Arena scratch = {.env = &session->env};
    SafeTensor *tensor = kdrt_arena_array(&scratch, (size_t)deploy->storage_count, sizeof *tensor);
    if (!tensor)
        return kdrt_fail_memory(error, (size_t)deploy->storage_count * sizeof *tensor);
    size_t prefix_length = strlen(deploy->prefix);
    for (int64_t i = 0; i < deploy->storage_count; i++) {
        const Storage *storage = &session->manifest.storage[deploy->storage[i]];
        bool cut = !strncmp(storage->name, deploy->prefix, prefix_length);
        tensor[i] = (SafeTensor){.name = storage->name + (cut ? prefix_length : 0),
                                 .dtype = storage->dtype,
                                 .rank = storage->rank,
                                 .data = (const char *)session->frame.storage + storage->offset,
                                 .size_bytes = storage->size_bytes};
        memcpy(tensor[i].shape, storage->shape, sizeof storage->shape);
    }
    char path[4400];
    snprintf(path, sizeof path, "%s/%.200s.safetensors", session->out, deploy->name);
    bool ok = kdrt_safetensors_write(&session->env, path, tensor, deploy->storage_count, error);
    kdrt_arena_release(&scratch);
    return ok;
}

bool kdrt_deploy_write(KdrtSession *session, KdrtError *error) {
    for (int64_t i = 0; i < session->manifest.deploy_count; i++)
        if (session->manifest.deploy[i].storage_count > 0 &&
            !write_deploy(session, &session->manifest.deploy[i], error))
            return false;
    return true;
}
