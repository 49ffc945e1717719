// runtime/program.c -- the manifest's JSON text to structs.
//
// A Reader carries the arena and the first complaint; its get_*() functions return something
// harmless once there is one, so that the code below reads like docs/manifest.md. Indices and
// offsets are checked here, once; the rest of the runtime relies on them.
#include "runtime/program.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

static const struct {
    const char *name, *safetensors;
    size_t bytes;
} dtypes[DTYPE_COUNT] = {
#define D(dtype, size, official) [DTYPE_##dtype] = {#dtype, official, size},
    DTYPES(D)
#undef D
};

size_t kdrt_dtype_bytes(Dtype dtype) {
    return dtypes[dtype].bytes;
}

const char *kdrt_dtype_name(Dtype dtype) {
    return dtypes[dtype].name;
}

const char *kdrt_dtype_safetensors(Dtype dtype) {
    return dtypes[dtype].safetensors;
}

double kdrt_dtype_get(Dtype dtype, const void *at) {
    union {
        double f64;
        float f32;
        int64_t i64;
        int32_t i32;
        uint32_t u32;
        uint16_t u16;
        uint8_t u8;
    } v = {0};
    memcpy(&v, at, dtypes[dtype].bytes);
    switch (dtype) {
    case DTYPE_f64:
        return v.f64;
    case DTYPE_f32:
        return (double)v.f32;
    case DTYPE_i64:
        return (double)v.i64;
    case DTYPE_i32:
        return v.i32;
    case DTYPE_bf16:
        v.u32 = (uint32_t)v.u16 << 16;
        return (double)v.f32;
    case DTYPE_u8:
    case DTYPE_bool:
        return v.u8;
    case DTYPE_COUNT:
        break;
    }
    return NAN;
}

void kdrt_dtype_set(Dtype dtype, void *at, double value) {
    float f32 = (float)value;
    int64_t i64 = dtype == DTYPE_i64 ? (int64_t)value : 0;
    int32_t i32 = dtype == DTYPE_i32 ? (int32_t)value : 0;
    uint8_t u8 = dtype == DTYPE_u8 ? (uint8_t)value : value != 0;
    uint32_t bits;
    uint16_t bf16;
    memcpy(&bits, &f32, sizeof bits);
    bf16 = (uint16_t)(bits >> 16);
    const void *from[DTYPE_COUNT] = {
        [DTYPE_f64] = &value, [DTYPE_f32] = &f32, [DTYPE_i64] = &i64, [DTYPE_i32] = &i32,
        [DTYPE_bf16] = &bf16, [DTYPE_u8] = &u8,   [DTYPE_bool] = &u8};
    memcpy(at, from[dtype], dtypes[dtype].bytes);
}

bool kdrt_shape_count(const int64_t *shape, int64_t rank, int64_t *count) {
    *count = 1;
    for (int64_t axis = 0; axis < rank; axis++)
        if (shape[axis] < 0 || __builtin_mul_overflow(*count, shape[axis], count))
            return false;
    return true;
}

int64_t kdrt_variant_count(const StepSpec *step) {
    return step->full_count + step->last_count;
}

const StepVariant *kdrt_variant(const StepSpec *step, int64_t i) {
    return i < step->full_count ? &step->full[i] : &step->last[i - step->full_count];
}

// ---- reading ------------------------------------------------------------------------------------

typedef struct Reader {
    Arena *arena;
    KdrtError *error;
} Reader;

static bool wrong(Reader *r, const char *what, const char *key) {
    return kdrt_fail(r->error, STATUS_BUG, "the program's manifest is damaged: %s `%s`", what, key);
}

static int64_t get_integer(Reader *r, const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    if (!json_is_integer(value)) {
        wrong(r, "no integer", key);
        return 0;
    }
    return json_integer_value(value);
}

static int64_t get_range(Reader *r, const json_t *object, const char *key, int64_t least,
                         int64_t end) {
    int64_t value = get_integer(r, object, key);
    if (value < least || value >= end) {
        wrong(r, "out of range is", key);
        return least;
    }
    return value;
}

static double get_number(Reader *r, const json_t *value, const char *key) {
    if (!json_is_number(value)) {
        wrong(r, "no number", key);
        return 0;
    }
    return json_number_value(value);
}

static bool get_flag(Reader *r, const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    if (!json_is_boolean(value))
        wrong(r, "no true or false", key);
    return json_is_true(value);
}

static const char *keep_text(Reader *r, const json_t *value, const char *key) {
    if (!json_is_string(value)) {
        wrong(r, "no text", key);
        return "";
    }
    const char *text = kdrt_arena_text(r->arena, "%s", json_string_value(value));
    if (!text)
        kdrt_fail_memory(r->error, json_string_length(value));
    return text ? text : "";
}

static const char *get_text(Reader *r, const json_t *object, const char *key) {
    return keep_text(r, json_object_get(object, key), key);
}

/// NULL when the value is null or missing.
static const char *get_optional_text(Reader *r, const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    return !value || json_is_null(value) ? NULL : keep_text(r, value, key);
}

static const json_t *get_list(Reader *r, const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    if (!json_is_array(value))
        wrong(r, "no list", key);
    return value;
}

/// An array of `element_bytes` for the members of the list `key`; sets its count. Never NULL
/// without an error noted, in which case the count is 0.
static void *get_array(Reader *r, const json_t *list, size_t element_bytes, int64_t *count) {
    size_t size = json_array_size(list);
    void *array = kdrt_arena_array(r->arena, size, element_bytes);
    if (!array)
        kdrt_fail_memory(r->error, size * element_bytes);
    *count = array ? (int64_t)size : 0;
    return array;
}

static Dtype get_dtype(Reader *r, const json_t *object, const char *key) {
    const char *name = json_string_value(json_object_get(object, key));
    for (int i = 0; name && i < DTYPE_COUNT; i++)
        if (!strcmp(name, dtypes[i].name))
            return (Dtype)i;
    wrong(r, "no dtype", key);
    return DTYPE_f32;
}

/// Reads "dtype" and "shape"; returns the size in bytes.
static int64_t get_type(Reader *r, const json_t *object, Dtype *dtype, int64_t *rank,
                        int64_t *shape) {
    *dtype = get_dtype(r, object, "dtype");
    const json_t *list = get_list(r, object, "shape");
    size_t size = json_array_size(list);
    if (size > MAX_RANK) {
        wrong(r, "too many axes in", "shape");
        size = 0;
    }
    *rank = (int64_t)size;
    for (size_t axis = 0; axis < size; axis++)
        shape[axis] = json_integer_value(json_array_get(list, axis));
    int64_t count, size_bytes;
    if (!kdrt_shape_count(shape, *rank, &count) ||
        __builtin_mul_overflow(count, (int64_t)kdrt_dtype_bytes(*dtype), &size_bytes)) {
        wrong(r, "out of range is", "shape");
        return 0;
    }
    return size_bytes;
}

static void check_place(Reader *r, int64_t offset, int64_t size_bytes, int64_t end_bytes,
                        const char *name) {
    if (offset < 0 || size_bytes > end_bytes || offset > end_bytes - size_bytes)
        wrong(r, "outside of its buffer lies", name);
}

static void read_storage(Reader *r, const json_t *object, const Manifest *m, Storage *storage) {
    static const char *const kinds[] = {"parameter", "state", "slot", "phase"};
    storage->name = get_text(r, object, "name");
    const char *kind = get_text(r, object, "kind");
    int found = -1;
    for (int i = 0; i < 4; i++)
        if (!strcmp(kind, kinds[i]))
            found = i;
    if (found < 0)
        wrong(r, "unknown kind of", storage->name);
    storage->kind = (StorageKind)(found < 0 ? 0 : found);
    storage->size_bytes = get_type(r, object, &storage->dtype, &storage->rank, storage->shape);
    storage->offset = get_integer(r, object, "offset");
    storage->phase = get_integer(r, object, "phase");
    check_place(r, storage->offset, storage->size_bytes,
                storage->kind == STORAGE_PHASE ? m->phase_bytes : m->storage_bytes, storage->name);
}

static void read_option(Reader *r, const json_t *object, OptionSpec *option) {
    option->name = get_text(r, object, "name");
    option->value = get_number(r, json_object_get(object, "default"), "default");
    option->integer = get_flag(r, object, "integer");
    const char *text = get_optional_text(r, object, "text");
    option->text = text ? text : "";
}

static void read_numbers(Reader *r, const json_t *list, const char *what, TransformArg *arg) {
    arg->count = (int64_t)json_array_size(list);
    if (arg->count > KDRT_MAX_NUMBERS) {
        wrong(r, "too many numbers in", what);
        arg->count = 0;
    }
    for (int64_t i = 0; i < arg->count; i++)
        arg->number[i] = get_number(r, json_array_get(list, (size_t)i), what);
}

static void read_transforms(Reader *r, const json_t *list, TransformSpec **transforms,
                            int64_t *count) {
    *transforms = get_array(r, list, sizeof(TransformSpec), count);
    for (int64_t i = 0; i < *count; i++) {
        TransformSpec *transform = &(*transforms)[i];
        const json_t *object = json_array_get(list, (size_t)i);
        transform->name = get_text(r, object, "name");
        json_t *args = json_object_get(object, "args");
        transform->arg = kdrt_arena_array(r->arena, json_object_size(args), sizeof(TransformArg));
        if (!transform->arg) {
            kdrt_fail_memory(r->error, json_object_size(args));
            return;
        }
        const char *key;
        json_t *value;
        json_object_foreach(args, key, value) {
            TransformArg *arg = &transform->arg[transform->arg_count++];
            const char *name = kdrt_arena_text(r->arena, "%s", key);
            arg->name = name ? name : "";
            arg->count = 1;
            if (json_is_string(value))
                arg->text = keep_text(r, value, key);
            else if (json_is_array(value))
                read_numbers(r, value, key, arg);
            else
                arg->number[0] = get_number(r, value, key);
        }
    }
}

static void read_data(Reader *r, const json_t *object, DataSpec *data) {
    data->name = get_text(r, object, "name");
    data->source = get_text(r, object, "source");
    data->path = get_text(r, object, "path");
    data->classes = get_range(r, object, "classes", 0, INT32_MAX);
    data->count = get_range(r, object, "count", 0, INT64_MAX);
    data->test_count = get_range(r, object, "test_count", 0, INT64_MAX);
    data->holdout = get_range(r, object, "holdout", 0, INT64_MAX);
    const json_t *mean = get_list(r, object, "mean"), *std = get_list(r, object, "std");
    int64_t std_count;
    data->mean = get_array(r, mean, sizeof(double), &data->mean_count);
    data->std = get_array(r, std, sizeof(double), &std_count);
    if (std_count != data->mean_count) {
        wrong(r, "`mean` and `std` differ in length in", data->name);
        return;
    }
    for (int64_t i = 0; i < std_count; i++) {
        data->mean[i] = get_number(r, json_array_get(mean, (size_t)i), "mean");
        data->std[i] = get_number(r, json_array_get(std, (size_t)i), "std");
    }
    const json_t *fields = get_list(r, object, "fields");
    data->field = get_array(r, fields, sizeof(Field), &data->field_count);
    for (int64_t i = 0; i < data->field_count; i++) {
        const json_t *one = json_array_get(fields, (size_t)i);
        Field *field = &data->field[i];
        field->name = get_text(r, one, "name");
        const char *column = get_optional_text(r, one, "column");
        field->column = column ? column : field->name;
        field->size_bytes = get_type(r, one, &field->dtype, &field->rank, field->shape);
        field->is_view = json_object_get(one, "view") != NULL;
        if (field->is_view)
            read_transforms(r, get_list(r, one, "view"), &field->view, &field->view_count);
    }
    read_transforms(r, get_list(r, object, "augment"), &data->augment, &data->augment_count);
    read_transforms(r, get_list(r, object, "prepare"), &data->prepare, &data->prepare_count);
}

static const char *assertion_of(Reader *r, const Manifest *m, const char *name) {
    const char *digits = strrchr(name, ' ');
    int64_t index = digits ? strtoll(digits, NULL, 10) : -1;
    if (index >= 0 && index < m->assertion_count)
        return m->assertion[index];
    wrong(r, "without text is", name);
    return "";
}

static void read_launch(Reader *r, const json_t *object, LaunchSpec *launch) {
    launch->code = get_integer(r, object, "code");
    launch->kernel = get_text(r, object, "kernel");
    launch->kind = get_text(r, object, "kind");
    launch->direction = get_text(r, object, "direction");
    launch->terms = get_text(r, object, "terms");
    launch->module = get_text(r, object, "module");
    launch->result = get_text(r, object, "result");
    launch->place = get_text(r, object, "place");
    launch->flops = get_integer(r, object, "flops");
    launch->bytes = get_integer(r, object, "bytes");
}

static void read_graph(Reader *r, const json_t *object, const Manifest *m, GraphSpec *graph) {
    graph->name = get_text(r, object, "name");
    graph->role = get_text(r, object, "role");
    graph->empty = get_flag(r, object, "empty");
    const json_t *inputs = get_list(r, object, "inputs");
    graph->input = get_array(r, inputs, sizeof(char *), &graph->input_count);
    for (int64_t i = 0; i < graph->input_count; i++)
        graph->input[i] = keep_text(r, json_array_get(inputs, (size_t)i), "inputs");
    graph->output_bytes = get_range(r, object, "output_bytes", 0, INT64_MAX);
    const json_t *outputs = get_list(r, object, "outputs");
    graph->output = get_array(r, outputs, sizeof(Output), &graph->output_count);
    for (int64_t i = 0; i < graph->output_count; i++) {
        const json_t *one = json_array_get(outputs, (size_t)i);
        Output *output = &graph->output[i];
        output->name = get_text(r, one, "name");
        const char *kind = get_text(r, one, "kind");
        output->is_report = !strcmp(kind, "report");
        if (!strcmp(kind, "assert")) // called "assert INDEX"
            output->assertion = assertion_of(r, m, output->name);
        int64_t size_bytes = get_type(r, one, &output->dtype, &output->rank, output->shape);
        output->offset = get_integer(r, one, "offset");
        check_place(r, output->offset, size_bytes, graph->output_bytes, output->name);
        if (output->is_report && output->rank != 0)
            wrong(r, "no scalar is the report", output->name);
    }
    if (!json_object_get(object, "launches"))
        return;
    const json_t *launches = get_list(r, object, "launches");
    graph->launch = get_array(r, launches, sizeof(LaunchSpec), &graph->launch_count);
    for (int64_t i = 0; i < graph->launch_count; i++)
        read_launch(r, json_array_get(launches, (size_t)i), &graph->launch[i]);
}

static Part get_part(Reader *r, const json_t *object) {
    static const char *const parts[] = {"default", "train", "validation", "test"};
    const char *name = get_text(r, object, "part");
    for (int i = 0; i < 4; i++)
        if (!strcmp(name, parts[i]))
            return (Part)i;
    wrong(r, "unknown part", name);
    return PART_DEFAULT;
}

static void read_variants(Reader *r, const json_t *object, const char *key, const Manifest *m,
                          int64_t conditions, StepVariant **variant, int64_t *count) {
    const json_t *list = get_list(r, object, key);
    *variant = get_array(r, list, sizeof(StepVariant), count);
    for (int64_t i = 0; i < *count; i++) {
        const json_t *one = json_array_get(list, (size_t)i);
        StepVariant *v = &(*variant)[i];
        v->when = get_text(r, one, "when");
        v->graph = get_range(r, one, "graph", 0, m->graph_count);
        if ((int64_t)strlen(v->when) != conditions)
            wrong(r, "another number of conditions has", key);
    }
}

/// After the graphs.
static void read_step(Reader *r, const json_t *object, const Manifest *m, StepSpec *step) {
    step->choose = get_range(r, object, "choose", -1, m->graph_count);
    int64_t conditions = step->choose < 0 ? 0 : m->graph[step->choose].output_count;
    read_variants(r, object, "full", m, conditions, &step->full, &step->full_count);
    read_variants(r, object, "last", m, conditions, &step->last, &step->last_count);
    if (!step->full_count)
        wrong(r, "no variants in", "full");
}

static void read_phase(Reader *r, const json_t *object, const Manifest *m, PhaseSpec *phase) {
    int64_t graphs = m->graph_count;
    phase->name = get_text(r, object, "name");
    phase->train = get_text(r, object, "train");
    phase->data = get_range(r, object, "data", 0, m->data_count);
    phase->batch = get_range(r, object, "batch", 1, INT32_MAX);
    phase->last_batch = get_range(r, object, "last_batch", 0, INT32_MAX);
    phase->drop_last = get_flag(r, object, "drop_last");
    phase->settings = get_range(r, object, "settings", -1, graphs);
    phase->begin = get_range(r, object, "begin", -1, graphs);
    phase->prologue = get_range(r, object, "prologue", -1, graphs);
    phase->keep_best = get_optional_text(r, object, "keep_best");
    phase->keep_lowest = get_flag(r, object, "keep_lowest");
    phase->patience = get_range(r, object, "patience", 0, INT32_MAX);

    const json_t *steps = get_list(r, object, "steps");
    phase->step = get_array(r, steps, sizeof(StepSpec), &phase->step_count);
    for (int64_t i = 0; i < phase->step_count; i++)
        read_step(r, json_array_get(steps, (size_t)i), m, &phase->step[i]);
    const json_t *evals = get_list(r, object, "evals");
    phase->eval = get_array(r, evals, sizeof(EvalSpec), &phase->eval_count);
    for (int64_t i = 0; i < phase->eval_count; i++) {
        const json_t *one = json_array_get(evals, (size_t)i);
        EvalSpec *eval = &phase->eval[i];
        eval->data = get_range(r, one, "data", 0, m->data_count);
        eval->part = get_part(r, one);
        eval->batch = get_range(r, one, "batch", 1, INT32_MAX);
        eval->last_batch = get_range(r, one, "last_batch", 0, INT32_MAX);
        eval->graph.full = get_range(r, one, "full", -1, graphs);
        eval->graph.last = get_range(r, one, "last", -1, graphs);
        eval->begin = get_range(r, one, "begin", -1, graphs);
        eval->finish = get_range(r, one, "finish", -1, graphs);
    }
}

/// The list `key`, of indices of storages.
static int64_t *read_storages(Reader *r, const json_t *object, const char *key, const Manifest *m,
                              int64_t *count) {
    const json_t *list = get_list(r, object, key);
    int64_t *storage = get_array(r, list, sizeof(int64_t), count);
    for (int64_t i = 0; i < *count; i++) {
        storage[i] = json_integer_value(json_array_get(list, (size_t)i));
        if (storage[i] < 0 || storage[i] >= m->storage_count) {
            wrong(r, "out of range is", key);
            storage[i] = 0;
        }
    }
    return storage;
}

static void check_names(Reader *r, const Manifest *m, const char *root, const int64_t *storage,
                        int64_t count) {
    size_t length = strlen(root);
    for (int64_t i = 0; i < count; i++) {
        const char *name = m->storage[storage[i]].name;
        if (strncmp(name, root, length) != 0 || name[length] != '.')
            wrong(r, "of another model is", name);
    }
}

/// The names of the storages begin with the model's and a dot: those in the file go without.
static void read_load(Reader *r, const json_t *object, const Manifest *m, LoadSpec *load) {
    load->model = get_text(r, object, "model");
    load->root = get_text(r, object, "root");
    load->part = get_text(r, object, "part");
    load->path = get_optional_text(r, object, "path");
    load->storage = read_storages(r, object, "storages", m, &load->storage_count);
    load->other = read_storages(r, object, "others", m, &load->other_count);
    load->source = read_storages(r, object, "sources", m, &load->source_count);
    load->phase = get_range(r, object, "phase", -1, m->phase_count);
    load->last_phase = get_range(r, object, "last_phase", load->phase, m->phase_count);
    check_names(r, m, load->root, load->storage, load->storage_count);
    check_names(r, m, load->root, load->other, load->other_count);
    if (!load->path && load->source_count != load->storage_count)
        wrong(r, "without origin is", load->model);
    for (int64_t i = 0; i < load->source_count && !r->error->status; i++)
        if (m->storage[load->source[i]].size_bytes != m->storage[load->storage[i]].size_bytes)
            wrong(r, "of another size than its origin is", m->storage[load->storage[i]].name);
}

static void read_deploy(Reader *r, const json_t *object, const Manifest *m, DeploySpec *deploy) {
    deploy->name = get_text(r, object, "name");
    deploy->prefix = get_text(r, object, "prefix");
    deploy->graph = get_range(r, object, "graph", -1, m->graph_count);
    deploy->storage = read_storages(r, object, "storages", m, &deploy->storage_count);
}

static void read_manifest(Reader *r, const json_t *root, Manifest *m) {
    m->name = get_text(r, root, "name");
    m->program_hash = get_text(r, root, "program_hash");
    m->real = get_dtype(r, root, "real");
    m->storage_bytes = get_range(r, root, "storage_bytes", 0, INT64_MAX);
    m->phase_bytes = get_range(r, root, "phase_bytes", 0, INT64_MAX);
    m->step_bytes = get_range(r, root, "step_bytes", 0, INT64_MAX);
    m->thread_bytes = get_range(r, root, "thread_bytes", 0, INT64_MAX);

#define READ_LIST(key, member, Type, read_one)                                                     \
    do {                                                                                           \
        const json_t *list_ = get_list(r, root, key);                                              \
        m->member = get_array(r, list_, sizeof(Type), &m->member##_count);                         \
        for (int64_t i = 0; i < m->member##_count && !r->error->status; i++) {                     \
            const json_t *one = json_array_get(list_, (size_t)i);                                  \
            read_one;                                                                              \
        }                                                                                          \
    } while (0)
    READ_LIST("storages", storage, Storage, read_storage(r, one, m, &m->storage[i]));
    READ_LIST("scalars", scalar, char *, m->scalar[i] = get_text(r, one, "name"));
    READ_LIST("options", option, OptionSpec, read_option(r, one, &m->option[i]));
    READ_LIST("data", data, DataSpec, read_data(r, one, &m->data[i]));
    const json_t *texts = get_list(r, root, "asserts");
    m->assertion = get_array(r, texts, sizeof(char *), &m->assertion_count);
    for (int64_t i = 0; i < m->assertion_count; i++)
        m->assertion[i] = keep_text(r, json_array_get(texts, (size_t)i), "asserts");
    READ_LIST("graphs", graph, GraphSpec, read_graph(r, one, m, &m->graph[i]));
    READ_LIST("phases", phase, PhaseSpec, read_phase(r, one, m, &m->phase[i]));
    READ_LIST("loads", load, LoadSpec, read_load(r, one, m, &m->load[i]));
    READ_LIST("deploys", deploy, DeploySpec, read_deploy(r, one, m, &m->deploy[i]));
#undef READ_LIST
    m->init = get_range(r, root, "init", -1, m->graph_count);
}

bool kdrt_manifest_read(const KdrtProgram *program, Arena *arena, Manifest *manifest,
                        KdrtError *error) {
    if (program->abi != KDRT_ABI)
        return kdrt_fail(error, STATUS_BUG,
                         "the program was compiled for runtime %llu, this is runtime %d",
                         (unsigned long long)program->abi, KDRT_ABI);
    json_error_t trouble;
    json_t *root =
        json_loadb(program->manifest, program->manifest_bytes, JSON_REJECT_DUPLICATES, &trouble);
    if (!root)
        return kdrt_fail(error, STATUS_BUG, "the program's manifest is damaged: byte %d: %s",
                         trouble.position, trouble.text);
    Reader reader = {arena, error};
    *manifest = (Manifest){0};
    read_manifest(&reader, root, manifest);
    json_decref(root);
    if (!error->status && (uint64_t)manifest->graph_count != program->graph_count)
        wrong(&reader, "another number of functions than of", "graphs");
    for (int64_t i = 0; !error->status && i < manifest->graph_count; i++)
        if (!manifest->graph[i].empty && !program->graph[i])
            wrong(&reader, "no function for the graph", manifest->graph[i].name);
    return error->status == 0;
}
