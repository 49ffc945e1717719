// runtime/checkpoint.c -- where a run stands, on the disk, whole or not at all.
//
//     magic, u64 header bytes | header, JSON | tensors, one after another | trailer
//
// The header lists position, options and tensors, each with its CRC-32C; the trailer holds the
// file's length and the header's checksum, and is checksummed itself, so no byte can change
// unnoticed. Files are numbered and never overwritten; the two newest stay. A checkpoint is a
// function of the program's state alone (no times, no thread count), so equal runs write equal
// bytes.
//
// Beside the storages there are tensors of the runtime's own, whose names begin with a space: sums
// of the running epoch, results of earlier phases, and with keep_best the best epoch's storages.
#include "runtime/run.h"

#include <inttypes.h>
#include <jansson.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "checkpoints are little-endian");

static const char magic[8] = {'K', 'D', 'C', 'K', 'P', 'T', 0, 1};
static const char end_magic[8] = {'K', 'D', 'C', 'K', 'E', 'N', 'D', 1};

typedef struct Trailer {
    uint64_t file_bytes;
    uint32_t header_crc;  // of magic, header length and header
    uint32_t trailer_crc; // of the two above
    char magic[8];
} Trailer;

enum { PREFIX_BYTES = 16, MOST_HEADER_BYTES = 256 << 20, KEPT = 2 };

static const struct {
    const char *name;
    size_t offset;
} position_fields[] = {
#define FIELD(name) {#name, offsetof(Position, name)}
    FIELD(phase), FIELD(epoch),      FIELD(batch),     FIELD(iteration),  FIELD(step),
    FIELD(begun), FIELD(best_epoch), FIELD(csv_bytes), FIELD(jsonl_bytes)
#undef FIELD
};
enum { POSITION_FIELDS = sizeof position_fields / sizeof *position_fields };

// ---- what is in it ------------------------------------------------------------------------------

typedef struct Tensor {
    const char *name;
    const Storage *storage; // NULL: of the runtime, f64
    void *data;
    int64_t size_bytes;
} Tensor;

typedef struct Contents {
    Tensor *tensor;
    int64_t count;
} Contents;

static bool belongs(const Storage *storage, const Position *at) {
    return storage->kind != STORAGE_PHASE &&
           (storage->phase < 0 || (storage->phase == at->phase && at->begun));
}

static void add(Contents *contents, const char *name, const Storage *storage, void *data,
                int64_t size_bytes) {
    contents->tensor[contents->count++] = (Tensor){name, storage, data, size_bytes};
}

/// All tensors of a checkpoint at `at`, in the order of the file.
static bool list_contents(KdrtSession *session, const Position *at, Arena *arena,
                          Contents *contents, KdrtError *error) {
    const Manifest *m = &session->manifest;
    size_t most = 2 * (size_t)m->storage_count + 4;
    *contents = (Contents){.tensor = kdrt_arena_array(arena, most, sizeof(Tensor))};
    if (!contents->tensor)
        return kdrt_fail_memory(error, most * sizeof(Tensor));
    bool has_best = at->best_epoch >= 0;
    for (int64_t i = 0; i < m->storage_count; i++)
        if (belongs(&m->storage[i], at))
            add(contents, m->storage[i].name, &m->storage[i],
                (char *)session->frame.storage + m->storage[i].offset, m->storage[i].size_bytes);
    for (int64_t i = 0; has_best && i < m->storage_count; i++) {
        const Storage *storage = &m->storage[i];
        if (storage->phase >= 0 || storage->kind > STORAGE_STATE)
            continue;
        const char *name = kdrt_arena_text(arena, " best %s", storage->name);
        if (!name)
            return kdrt_fail_memory(error, strlen(storage->name));
        add(contents, name, storage, session->best + storage->offset, storage->size_bytes);
    }
    int64_t results = m->phase_count * session->columns.count;
    add(contents, " results", NULL, session->result, results * (int64_t)sizeof(double));
    if (has_best)
        add(contents, " best value", NULL, &session->best_value, sizeof(double));
    if (at->phase < m->phase_count && at->begun) {
        int64_t sums = session->columns.phase[at->phase].step_count;
        add(contents, " sums", NULL, session->sum, sums * (int64_t)sizeof(double));
        add(contents, " sums of examples", NULL, session->sum_examples,
            sums * (int64_t)sizeof(double));
    }
    return true;
}

// ---- writing ------------------------------------------------------------------------------------

static void add_shape(Text *text, const Tensor *tensor) {
    if (!tensor->storage) {
        kdrt_text_add(text, "%" PRId64, tensor->size_bytes / (int64_t)sizeof(double));
        return;
    }
    for (int64_t axis = 0; axis < tensor->storage->rank; axis++)
        kdrt_text_add(text, "%s%" PRId64, axis ? "," : "", tensor->storage->shape[axis]);
}

static void add_header(const KdrtSession *session, const Contents *contents, Text *text) {
    const Manifest *m = &session->manifest;
    kdrt_text_add(text, "{\"program\":");
    kdrt_text_json(text, m->name);
    kdrt_text_add(text, ",\"program_hash\":");
    kdrt_text_json(text, m->program_hash);
    kdrt_text_add(text, ",\"seed\":\"%" PRIu64 "\",\"epochs\":%" PRId64 ",\"options\":{",
                  session->options.seed, session->options.epochs);
    for (int64_t i = 0; i < m->option_count; i++) {
        kdrt_text_add(text, i ? "," : "");
        kdrt_text_json(text, m->option[i].name);
        kdrt_text_add(text, ":%.17g", session->options.value[i]);
    }
    kdrt_text_add(text, "},\"position\":{");
    for (int i = 0; i < POSITION_FIELDS; i++) {
        int64_t value;
        memcpy(&value, (const char *)&session->at + position_fields[i].offset, sizeof value);
        kdrt_text_add(text, "%s\"%s\":%" PRId64, i ? "," : "", position_fields[i].name, value);
    }
    kdrt_text_add(text, "},\"tensors\":[");
    for (int64_t i = 0; i < contents->count; i++) {
        const Tensor *tensor = &contents->tensor[i];
        kdrt_text_add(text, i ? ",{\"name\":" : "{\"name\":");
        kdrt_text_json(text, tensor->name);
        kdrt_text_add(text, ",\"dtype\":\"%s\",\"shape\":[",
                      tensor->storage ? kdrt_dtype_name(tensor->storage->dtype) : "f64");
        add_shape(text, tensor);
        kdrt_text_add(text, "],\"size_bytes\":%" PRId64 ",\"crc\":%" PRIu32 "}", tensor->size_bytes,
                      kdrt_crc32c(0, tensor->data, (size_t)tensor->size_bytes));
    }
    kdrt_text_add(text, "]}");
}

static bool write_contents(Env *env, AtomicFile *file, const Text *header, const Contents *contents,
                           KdrtError *error) {
    uint8_t prefix[PREFIX_BYTES];
    uint64_t header_bytes = header->length;
    memcpy(prefix, magic, 8);
    memcpy(prefix + 8, &header_bytes, 8);
    Trailer trailer = {.file_bytes = PREFIX_BYTES + header->length + sizeof trailer};
    trailer.header_crc = kdrt_crc32c(kdrt_crc32c(0, prefix, 16), header->at, header->length);
    if (!kdrt_atomic_write(env, file, prefix, sizeof prefix, error) ||
        !kdrt_atomic_write(env, file, header->at, header->length, error))
        return false;
    for (int64_t i = 0; i < contents->count; i++) {
        const Tensor *tensor = &contents->tensor[i];
        trailer.file_bytes += (uint64_t)tensor->size_bytes;
        if (!kdrt_atomic_write(env, file, tensor->data, (size_t)tensor->size_bytes, error))
            return false;
    }
    trailer.trailer_crc = kdrt_crc32c(0, &trailer, offsetof(Trailer, trailer_crc));
    memcpy(trailer.magic, end_magic, sizeof end_magic);
    return kdrt_atomic_write(env, file, &trailer, sizeof trailer, error);
}

// ---- the folder ---------------------------------------------------------------------------------

typedef struct Listing {
    int64_t newest[64]; // numbers, in rising order; the oldest make room
    int64_t count;
    int64_t older; // how many did not fit
} Listing;

static int64_t number_of(const char *name) {
    long long number;
    int length = 0;
    if (sscanf(name, "%lld.kdck%n", &number, &length) != 1 || length == 0 || name[length])
        return -1;
    return number;
}

static int by_number(const void *left, const void *right) {
    int64_t a = *(const int64_t *)left, b = *(const int64_t *)right;
    return (a > b) - (a < b);
}

static void note_file(void *context, const char *name) {
    Listing *listing = context;
    int64_t number = number_of(name);
    if (number < 0)
        return;
    enum { ROOM = sizeof listing->newest / sizeof *listing->newest };
    if (listing->count == ROOM) {
        qsort(listing->newest, ROOM, sizeof *listing->newest, by_number);
        if (number <= listing->newest[0])
            return;
        listing->newest[0] = number;
        listing->older++;
    } else {
        listing->newest[listing->count++] = number;
    }
    qsort(listing->newest, (size_t)listing->count, sizeof *listing->newest, by_number);
}

static void checkpoint_path(const char *out, int64_t number, char path[4400]) {
    snprintf(path, 4400, "%s/checkpoints/%06" PRId64 ".kdck", out, number);
}

static bool list_files(Env *env, const char *out, Listing *listing, KdrtError *error) {
    char path[4200];
    snprintf(path, sizeof path, "%s/checkpoints", out);
    *listing = (Listing){0};
    return !kdrt_io_is_directory(path) || kdrt_io_list(env, path, note_file, listing, error);
}

bool kdrt_checkpoint_exists(Env *env, const char *out) {
    Listing listing;
    KdrtError ignored = {0};
    return list_files(env, out, &listing, &ignored) && listing.count > 0;
}

bool kdrt_checkpoint_save(KdrtSession *session, KdrtError *error) {
    Env *env = &session->env;
    Arena scratch = {.env = env};
    Contents contents;
    Text header = {.env = env};
    AtomicFile file = {.fd = -1};
    Listing listing = {0};
    char path[4400];
    snprintf(path, sizeof path, "%s/checkpoints", session->out);
    bool ok = kdrt_io_make_directory(env, path, error) &&
              list_contents(session, &session->at, &scratch, &contents, error);
    if (ok)
        add_header(session, &contents, &header);
    ok = ok && (!header.failed || kdrt_fail_memory(error, header.length));
    checkpoint_path(session->out, session->checkpoint_number, path);
    ok = ok && kdrt_atomic_open(env, &file, path, error) &&
         write_contents(env, &file, &header, &contents, error) &&
         kdrt_atomic_commit(env, &file, error) && list_files(env, session->out, &listing, error);
    kdrt_atomic_abandon(env, &file);
    kdrt_text_release(&header);
    kdrt_arena_release(&scratch);
    if (!ok)
        return false;
    session->checkpoint_number++;
    for (int64_t i = 0; i + KEPT < listing.count; i++) {
        checkpoint_path(session->out, listing.newest[i], path);
        if (!kdrt_io_remove(env, path, error))
            return false;
    }
    return true;
}

// ---- reading ------------------------------------------------------------------------------------

/// The header's object of a file whose checksums hold, all of them; else NULL with an error. The
/// tensors' bytes begin at *data.
static json_t *open_bytes(Bytes bytes, const uint8_t **data, KdrtError *error) {
    Trailer trailer;
    uint64_t header_bytes;
    const char *damaged = "is no checkpoint, or damaged";
    if (bytes.length < PREFIX_BYTES + sizeof trailer || memcmp(bytes.at, magic, 8) != 0) {
        kdrt_fail(error, STATUS_WORLD, "byte 0: %s", damaged);
        return NULL;
    }
    size_t end = bytes.length - sizeof trailer;
    memcpy(&trailer, bytes.at + end, sizeof trailer);
    memcpy(&header_bytes, bytes.at + 8, 8);
    if (memcmp(trailer.magic, end_magic, 8) != 0 || trailer.file_bytes != bytes.length ||
        trailer.trailer_crc != kdrt_crc32c(0, &trailer, offsetof(Trailer, trailer_crc)) ||
        header_bytes > MOST_HEADER_BYTES || header_bytes > end - PREFIX_BYTES) {
        kdrt_fail(error, STATUS_WORLD, "byte %zu: the end %s", end, damaged);
        return NULL;
    }
    *data = bytes.at + PREFIX_BYTES + header_bytes;
    json_t *root = NULL;
    json_error_t trouble;
    if (trailer.header_crc == kdrt_crc32c(0, bytes.at, PREFIX_BYTES + (size_t)header_bytes))
        root = json_loadb((const char *)bytes.at + PREFIX_BYTES, (size_t)header_bytes,
                          JSON_REJECT_DUPLICATES, &trouble);
    bool ok = json_is_object(root);
    const uint8_t *at = *data;
    size_t i;
    json_t *tensor;
    json_array_foreach(json_object_get(root, "tensors"), i, tensor) {
        int64_t size_bytes = json_integer_value(json_object_get(tensor, "size_bytes"));
        ok = ok && size_bytes >= 0 && size_bytes <= bytes.at + end - at;
        if (!ok)
            break;
        if (kdrt_crc32c(0, at, (size_t)size_bytes) !=
            (uint32_t)json_integer_value(json_object_get(tensor, "crc"))) {
            kdrt_fail(error, STATUS_WORLD, "byte %td: tensor `%s` is damaged", at - bytes.at,
                      json_string_value(json_object_get(tensor, "name")));
            json_decref(root);
            return NULL;
        }
        at += size_bytes;
    }
    if (ok && at == bytes.at + end)
        return root;
    kdrt_fail(error, STATUS_WORLD, "byte 8: the header is damaged");
    json_decref(root);
    return NULL;
}

bool kdrt_checkpoint_verify(Bytes bytes, KdrtError *error) {
    const uint8_t *data;
    json_t *root = open_bytes(bytes, &data, error);
    json_decref(root);
    return root != NULL;
}

static const json_t *find_tensor(const json_t *root, const char *name) {
    size_t i;
    json_t *tensor;
    json_array_foreach(json_object_get(root, "tensors"), i, tensor) {
        const char *other = json_string_value(json_object_get(tensor, "name"));
        if (other && !strcmp(other, name))
            return tensor;
    }
    return NULL;
}

static void shape_text(Text *text, const json_t *tensor) {
    const char *dtype = json_string_value(json_object_get(tensor, "dtype"));
    kdrt_text_add(text, "%s[", dtype ? dtype : "?");
    size_t i;
    json_t *extent;
    json_array_foreach(json_object_get(tensor, "shape"), i, extent)
        kdrt_text_add(text, "%s%" PRId64, i ? ", " : "", (int64_t)json_integer_value(extent));
    kdrt_text_add(text, "]");
}

static bool same_type(const json_t *tensor, const Storage *storage) {
    const char *dtype = json_string_value(json_object_get(tensor, "dtype"));
    const json_t *shape = json_object_get(tensor, "shape");
    if (!dtype || strcmp(dtype, kdrt_dtype_name(storage->dtype)) != 0 ||
        json_array_size(shape) != (size_t)storage->rank)
        return false;
    for (int64_t axis = 0; axis < storage->rank; axis++)
        if (json_integer_value(json_array_get(shape, (size_t)axis)) != storage->shape[axis])
            return false;
    return true;
}

/// Says how the program of a checkpoint differs from ours, by the storages of the whole run.
static bool fail_other_program(KdrtSession *session, const json_t *root, KdrtError *error) {
    const Manifest *m = &session->manifest;
    Text text = {.env = &session->env};
    int64_t differences = 0;
    for (int64_t i = 0; i < m->storage_count && differences < 4; i++) {
        const Storage *storage = &m->storage[i];
        if (storage->phase >= 0 || storage->kind > STORAGE_STATE)
            continue;
        const json_t *tensor = find_tensor(root, storage->name);
        if (tensor && same_type(tensor, storage))
            continue;
        differences++;
        kdrt_text_add(&text, "; `%s` is ", storage->name);
        if (tensor)
            shape_text(&text, tensor);
        else
            kdrt_text_add(&text, "missing");
        kdrt_text_add(&text, " there");
    }
    size_t k;
    json_t *tensor;
    json_array_foreach(json_object_get(root, "tensors"), k, tensor) {
        const char *name = json_string_value(json_object_get(tensor, "name"));
        bool known = !name || name[0] == ' ';
        for (int64_t i = 0; !known && i < m->storage_count; i++)
            known = !strcmp(m->storage[i].name, name);
        if (!known && differences++ < 4)
            kdrt_text_add(&text, "; `%s` is not in this program", name);
    }
    if (!differences)
        kdrt_text_add(&text, "; the storages are the same, but the computation was another");
    const char *program = json_string_value(json_object_get(root, "program"));
    kdrt_fail(error, STATUS_WORLD, "is a checkpoint of another program, `%s`%s",
              program ? program : "?", text.at ? text.at : "");
    kdrt_text_release(&text);
    return false;
}

static bool read_position(const json_t *root, const Manifest *m, Position *at) {
    const json_t *position = json_object_get(root, "position");
    for (int i = 0; i < POSITION_FIELDS; i++) {
        const json_t *value = json_object_get(position, position_fields[i].name);
        int64_t number = json_integer_value(value);
        if (!json_is_integer(value) || number < -1)
            return false;
        memcpy((char *)at + position_fields[i].offset, &number, sizeof number);
    }
    return at->phase >= 0 && at->phase <= m->phase_count && at->epoch >= 0 && at->batch >= 0;
}

/// What the command line does not say is as it was.
static void restore_options(KdrtSession *session, const json_t *root) {
    Options *options = &session->options;
    const json_t *values = json_object_get(root, "options");
    for (int64_t i = 0; i < session->manifest.option_count; i++) {
        const json_t *value = json_object_get(values, session->manifest.option[i].name);
        if (!options->given[i] && json_is_number(value))
            options->value[i] = json_number_value(value);
    }
    const char *seed = json_string_value(json_object_get(root, "seed"));
    if (!options->seed_given && seed)
        options->seed = strtoull(seed, NULL, 10);
    if (options->epochs < 0)
        options->epochs = json_integer_value(json_object_get(root, "epochs"));
}

/// Copies a verified checkpoint into the session.
static bool restore(KdrtSession *session, const json_t *root, const uint8_t *data,
                    KdrtError *error) {
    const char *hash = json_string_value(json_object_get(root, "program_hash"));
    if (!hash || strcmp(hash, session->manifest.program_hash) != 0)
        return fail_other_program(session, root, error);
    Position at = {0};
    if (!read_position(root, &session->manifest, &at))
        return kdrt_fail(error, STATUS_WORLD, "byte 8: the position is damaged");
    Arena scratch = {.env = &session->env};
    Contents contents;
    bool ok = list_contents(session, &at, &scratch, &contents, error);
    const json_t *tensors = json_object_get(root, "tensors");
    if (ok && json_array_size(tensors) != (size_t)contents.count)
        ok = fail_other_program(session, root, error);
    for (int pass = 0; ok && pass < 2; pass++) { // all is checked before anything is copied
        const uint8_t *from = data;
        for (int64_t i = 0; ok && i < contents.count; i++) {
            const Tensor *tensor = &contents.tensor[i];
            const json_t *other = json_array_get(tensors, (size_t)i);
            const char *name = json_string_value(json_object_get(other, "name"));
            int64_t size_bytes = json_integer_value(json_object_get(other, "size_bytes"));
            if (!name || strcmp(name, tensor->name) != 0 || size_bytes != tensor->size_bytes)
                ok = fail_other_program(session, root, error);
            else if (pass == 1)
                memcpy(tensor->data, from, (size_t)size_bytes);
            from += size_bytes;
        }
    }
    kdrt_arena_release(&scratch);
    if (ok) {
        session->at = at;
        restore_options(session, root);
    }
    return ok;
}

bool kdrt_checkpoint_load(KdrtSession *session, bool *found, KdrtError *error) {
    Listing listing;
    *found = false;
    if (!list_files(&session->env, session->out, &listing, error))
        return false;
    KdrtError first = {0};
    for (int64_t i = listing.count; i-- > 0;) {
        char path[4400];
        checkpoint_path(session->out, listing.newest[i], path);
        Arena scratch = {.env = &session->env};
        Bytes bytes;
        const uint8_t *data = NULL;
        KdrtError damage = {0};
        json_t *root = NULL;
        if (kdrt_io_read_file(&session->env, &scratch, path, 0, 0, &bytes, &damage)) {
            root = open_bytes(bytes, &data, &damage);
            if (!root)
                kdrt_fail_in(&damage, path);
        }
        bool ok = root && (restore(session, root, data, error) || kdrt_fail_in(error, path));
        json_decref(root);
        kdrt_arena_release(&scratch);
        if (ok) {
            *found = true;
            if (first.status)
                kdrt_say(session, "%s; going on from the one before, %s", first.text, path);
            if (session->checkpoint_number <= listing.newest[listing.count - 1])
                session->checkpoint_number = listing.newest[listing.count - 1] + 1;
            return true;
        }
        if (root)
            return false; // whole, but not ours
        if (!first.status)
            first = damage;
    }
    if (first.status) {
        *error = first;
        return false;
    }
    return true;
}
