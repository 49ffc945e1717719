// runtime/load.c -- weights into models: `model m = net(…) from …` and `load m from …`, when the run or
// a phase begins.
//
// A file is compared with the model as a whole before anything is copied, so that one message says
// all that does not fit; and the files of later phases when the run begins, which need not wait for
// that message. Where a part of a model is filled, a file may be of that part or of the whole model.
#include "runtime/run.h"

#include <inttypes.h>
#include <string.h>

enum { MOST_LISTED = 6 }; // names of a kind in a message; what is behind them is counted

typedef struct Fit {
    KdrtSession *session;
    const LoadSpec *load;
    const SafeTensor *tensor;
    int64_t tensor_count;
    bool from_root; // the file's names are those of the whole model
    Text trouble; // "missing: a, b; unexpected: c"
} Fit;

// ---- what does not fit --------------------------------------------------------------------------

/// One more name under `kind`, the `number`-th from 0; to be followed by list_end().
static void list_add(Fit *fit, const char *kind, int64_t number, const char *name) {
    if (number == 0)
        kdrt_text_add(&fit->trouble, "%s%s: ", fit->trouble.length ? "; " : "", kind);
    if (number < MOST_LISTED)
        kdrt_text_add(&fit->trouble, "%s%.60s", number ? ", " : "", name);
}

static void list_end(Fit *fit, int64_t number) {
    if (number > MOST_LISTED)
        kdrt_text_add(&fit->trouble, " and %" PRId64 " more", number - MOST_LISTED);
}

static void add_type(Text *text, Dtype dtype, int64_t rank, const int64_t *shape) {
    kdrt_text_add(text, "%s[", kdrt_dtype_name(dtype));
    for (int64_t axis = 0; axis < rank; axis++)
        kdrt_text_add(text, "%s%" PRId64, axis ? ", " : "", shape[axis]);
    kdrt_text_add(text, "]");
}

static const Storage *storage_at(const Fit *fit, int64_t i) {
    return &fit->session->manifest.storage[fit->load->storage[i]];
}

/// `name` seen from `path`: "fc.weight" of "student.fc.weight" and "student"; of a path that is a
/// tensor itself the last name; NULL: it is not below.
static const char *below(const char *name, const char *path) {
    size_t length = strlen(path);
    if (strncmp(name, path, length) != 0)
        return NULL;
    if (!name[length])
        return strrchr(name, '.') ? strrchr(name, '.') + 1 : name;
    return name[length] == '.' ? name + length + 1 : NULL;
}

/// The storage's name in the file.
static const char *name_in_file(const Fit *fit, const Storage *storage) {
    const char *name = storage->name + strlen(fit->load->root) + 1;
    const char *in_part = fit->from_root ? NULL : below(name, fit->load->part);
    return in_part ? in_part : name;
}

/// A file whose names begin with the path of the part is one of the whole model; so is every file
/// where what is filled has no path.
static bool is_from_root(const Fit *fit) {
    const char *part = fit->load->part;
    if (!*part)
        return true;
    for (int64_t i = 0; i < fit->tensor_count; i++)
        if (below(fit->tensor[i].name, part))
            return true;
    return false;
}

static const SafeTensor *find_tensor(const Fit *fit, const char *name) {
    for (int64_t i = 0; i < fit->tensor_count; i++)
        if (!strcmp(fit->tensor[i].name, name))
            return &fit->tensor[i];
    return NULL;
}

static bool is_wanted(const Fit *fit, const char *name) {
    for (int64_t i = 0; i < fit->load->storage_count; i++)
        if (!strcmp(name_in_file(fit, storage_at(fit, i)), name))
            return true;
    const Manifest *m = &fit->session->manifest;
    for (int64_t i = 0; fit->from_root && i < fit->load->other_count; i++)
        if (!strcmp(name_in_file(fit, &m->storage[fit->load->other[i]]), name))
            return true;
    return false;
}

/// PyTorch's count of the batches that a normalisation saw; nothing here asks for it.
static bool is_batch_count(const char *name) {
    const char *last = strrchr(name, '.');
    return !strcmp(last ? last + 1 : name, "num_batches_tracked");
}

static bool dtype_is_float(Dtype dtype) {
    return dtype == DTYPE_f64 || dtype == DTYPE_f32 || dtype == DTYPE_bf16;
}

static bool type_fits(const Storage *storage, const SafeTensor *tensor) {
    size_t shape_bytes = (size_t)storage->rank * sizeof *storage->shape;
    return (storage->dtype == tensor->dtype ||
            (dtype_is_float(storage->dtype) && dtype_is_float(tensor->dtype))) &&
           storage->rank == tensor->rank && !memcmp(storage->shape, tensor->shape, shape_bytes);
}

static void compare_names(Fit *fit) {
    int64_t missing = 0, unexpected = 0;
    for (int64_t i = 0; i < fit->load->storage_count; i++) {
        const char *name = name_in_file(fit, storage_at(fit, i));
        if (!find_tensor(fit, name))
            list_add(fit, "missing", missing++, name);
    }
    list_end(fit, missing);
    for (int64_t i = 0; i < fit->tensor_count; i++)
        if (!is_wanted(fit, fit->tensor[i].name) && !is_batch_count(fit->tensor[i].name))
            list_add(fit, "unexpected", unexpected++, fit->tensor[i].name);
    list_end(fit, unexpected);
}

static void compare_types(Fit *fit) {
    int64_t other = 0;
    for (int64_t i = 0; i < fit->load->storage_count; i++) {
        const Storage *storage = storage_at(fit, i);
        const SafeTensor *tensor = find_tensor(fit, name_in_file(fit, storage));
        if (!tensor || type_fits(storage, tensor))
            continue;
        list_add(fit, "of another shape", other, name_in_file(fit, storage));
        if (other++ < MOST_LISTED) {
            kdrt_text_add(&fit->trouble, " is ");
            add_type(&fit->trouble, tensor->dtype, tensor->rank, tensor->shape);
            kdrt_text_add(&fit->trouble, ", not ");
            add_type(&fit->trouble, storage->dtype, storage->rank, storage->shape);
        }
    }
    list_end(fit, other);
}

// ---- filling ------------------------------------------------------------------------------------

static void fill(KdrtSession *session, const Storage *storage, const SafeTensor *tensor) {
    char *to = (char *)session->frame.storage + storage->offset;
    const char *from = tensor->data;
    if (storage->dtype == tensor->dtype) {
        memcpy(to, from, (size_t)storage->size_bytes);
        return;
    }
    size_t to_bytes = kdrt_dtype_bytes(storage->dtype);
    size_t from_bytes = kdrt_dtype_bytes(tensor->dtype);
    size_t count = (size_t)storage->size_bytes / to_bytes;
    for (size_t i = 0; i < count; i++)
        kdrt_dtype_set(storage->dtype, to + i * to_bytes,
                       kdrt_dtype_get(tensor->dtype, from + i * from_bytes));
}

static bool check_fit(Fit *fit, const char *path, KdrtError *error) {
    fit->from_root = is_from_root(fit);
    compare_names(fit);
    compare_types(fit);
    if (fit->trouble.failed)
        return kdrt_fail_memory(error, fit->trouble.capacity);
    return !fit->trouble.length ||
           kdrt_fail(error, STATUS_WORLD, "%s does not fit `%s`: %s", path, fit->load->model,
                     fit->trouble.at);
}

static bool load_file(KdrtSession *session, const LoadSpec *load, bool fills, KdrtError *error) {
    Arena scratch = {.env = &session->env};
    Fit fit = {.session = session, .load = load, .trouble = {.env = &session->env}};
    Bytes bytes;
    SafeTensor *tensor = NULL;
    const char *path = load->path;
    for (int64_t k = 0; k < session->options.load_count; k++)
        if (!strcmp(session->options.load[k].model, load->model))
            path = session->options.load[k].path;
    bool ok = kdrt_io_read_file(&session->env, &scratch, path, 0, 0, &bytes, error);
    if (ok) {
        ok = kdrt_safetensors_read(bytes, &scratch, &tensor, &fit.tensor_count, error) ||
             kdrt_fail_in(error, path);
        fit.tensor = tensor;
        ok = ok && check_fit(&fit, path, error);
    }
    for (int64_t i = 0; ok && fills && i < load->storage_count; i++) {
        const Storage *storage = storage_at(&fit, i);
        fill(session, storage, find_tensor(&fit, name_in_file(&fit, storage)));
    }
    kdrt_text_release(&fit.trouble);
    kdrt_arena_release(&scratch);
    return ok;
}

static void copy_storages(KdrtSession *session, const LoadSpec *load) {
    const Manifest *m = &session->manifest;
    char *base = session->frame.storage;
    for (int64_t i = 0; i < load->storage_count; i++) {
        const Storage *to = &m->storage[load->storage[i]], *from = &m->storage[load->source[i]];
        memmove(base + to->offset, base + from->offset, (size_t)to->size_bytes);
    }
}

/// The phase with which it runs; -1: the start of the run; -2: the run leaves its phases out.
static int64_t time_of(const KdrtSession *session, const LoadSpec *load) {
    if (load->phase < 0)
        return -1;
    for (int64_t phase = load->phase; phase <= load->last_phase; phase++)
        if (kdrt_phase_selected(session, phase))
            return phase;
    return -2;
}

bool kdrt_load_weights(KdrtSession *session, int64_t phase, KdrtError *error) {
    for (int64_t i = 0; i < session->manifest.load_count; i++) {
        const LoadSpec *load = &session->manifest.load[i];
        if (time_of(session, load) != phase)
            continue;
        if (!load->path)
            copy_storages(session, load);
        else if (!load_file(session, load, true, error))
            return false;
    }
    return true;
}

bool kdrt_load_check(KdrtSession *session, KdrtError *error) {
    int64_t next = session->at.phase + (session->at.begun != 0);
    for (int64_t i = 0; i < session->manifest.load_count; i++) {
        const LoadSpec *load = &session->manifest.load[i];
        if (load->path && load->phase >= 0 && time_of(session, load) >= next &&
            !load_file(session, load, false, error))
            return false;
    }
    return true;
}
