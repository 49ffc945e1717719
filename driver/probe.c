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
