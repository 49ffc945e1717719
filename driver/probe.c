// driver/probe.c -- data sets at compile time: the frontend asks, the runtime reads the header.
#include <string.h>

#include "driver/driver.h"

static DataField field_from(Arena *arena, const KdrtFieldInfo *info) {
    DataField field = {.name = arena_strdup(arena, info->name)};
    kdc_assert(dtype_from_name(info->dtype, &field.type.dtype) && info->rank <= MAX_RANK);
    field.type.rank = (uint8_t)info->rank;
    for (int i = 0; i < info->rank; i++)
        field.type.dim[i] = info->shape[i];
    return field;
}

bool probe_data(Arena *arena, const char *source, const char *path, DataHeader *header,
                const char **message) {
    KdrtDataInfo info = {0};
    KdrtError error = {0};
    if (!kdrt_data_probe(source, path, &info, &error)) {
        *message = arena_strdup(arena, error.text);
        return false;
    }
    *header =
        (DataHeader){.count = info.count, .test_count = info.test_count, .classes = info.classes};
    for (int i = 0; i < info.field_count; i++)
        vec_push(arena, &header->fields, field_from(arena, &info.field[i]));
    return true;
}

bool transform_row(size_t i, const char **name, const char **parameters) {
    *name = kdrt_transform_name(i);
    *parameters = kdrt_transform_parameters(i);
    return *name != NULL;
}

bool transform_shape(Arena *arena, const TransformSpec *transform, const int64_t in[3],
                     int64_t out[3], const char **message) {
    KdrtTransform asked = {transform->name, (int64_t)transform->args.count,
                           arena_alloc(arena, (transform->args.count + 1) * sizeof(KdrtArg))};
    for (size_t i = 0; i < transform->args.count; i++) {
        const TransformArg *arg = &transform->args.at[i];
        asked.arg[i] = (KdrtArg){arg->name, arg->text, (int64_t)arg->count, {0}};
        for (size_t k = 0; k < arg->count && k < KDRT_MAX_NUMBERS; k++)
            asked.arg[i].number[k] = arg->number[k];
    }
    KdrtError error = {0};
    bool ok = kdrt_transform_shape(&asked, in, out, &error);
    if (!ok)
        *message = arena_strdup(arena, error.text);
    return ok;
}
