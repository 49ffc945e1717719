// runtime/dataset.c -- a data set of the program: files opened, compared with what the compiler
// saw, fields bound to columns.
//
// Pixels become real numbers through a table per channel, (x / 255 - mean) / std worked out in
// double and rounded once, so the result is the same whatever the machine's vector width.
#include "runtime/data.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

const char *kdrt_source_name(size_t i) {
    static const char *const names[] = {
#define SOURCE(name, text) #name,
#include "runtime/sources.def"
#undef SOURCE
    };
    return i < sizeof names / sizeof *names ? names[i] : NULL;
}

static bool fail_no_directory(const char *path, KdrtError *error) {
    static const char debian[] = "/usr/share/datasets/"; // where its packages dataset-NAME put NAME
    const char *name = path + strlen(debian);
    if (!strncmp(path, debian, strlen(debian)) && *name && !strchr(name, '/'))
        return kdrt_fail(error, STATUS_WORLD,
                         "%s: no such directory; `apt-get install dataset-%s` brings it, and "
                         "--data DIR says where else the data is",
                         path, name);
    return kdrt_fail(error, STATUS_WORLD,
                     "%s: no such directory; --data DIR says where the data is", path);
}

bool kdrt_source_open(const char *source, const SourceRequest *request, Files *files,
                      KdrtError *error) {
    static bool (*const readers[])(const SourceRequest *, Files *, KdrtError *) = {
#define SOURCE(name, text) kdrt_source_##name,
#include "runtime/sources.def"
#undef SOURCE
    };
    *files = (Files){0};
    for (size_t i = 0; i < sizeof readers / sizeof *readers; i++) {
        if (strcmp(source, kdrt_source_name(i)) != 0)
            continue;
        if (!kdrt_io_exists(request->path))
            return fail_no_directory(request->path, error);
        if (!kdrt_io_is_directory(request->path))
            return kdrt_fail(error, STATUS_WORLD, "%s: is not a directory", request->path);
        return readers[i](request, files, error);
    }
    return kdrt_fail(error, STATUS_PROGRAM, "no data source is called `%s`", source);
}

bool kdrt_data_probe(const char *source, const char *path, KdrtDataInfo *info, KdrtError *error) {
    Env env = {0};
    Arena arena = {.env = &env};
    SourceRequest request = {&env, &arena, path, true};
    Files files;
    *info = (KdrtDataInfo){0};
    bool ok = kdrt_source_open(source, &request, &files, error);
    if (ok) {
        info->count = files.train.count;
        info->test_count = files.test.count;
        info->classes = files.classes;
        info->field_count = files.train.column_count;
    }
    for (int64_t i = 0; i < info->field_count; i++) {
        const FileColumn *column = &files.train.column[i];
        KdrtFieldInfo *field = &info->field[i];
        snprintf(field->name, sizeof field->name, "%s", column->name);
        bool is_label = column->rank == 0; // labels are i32 to a program, however they are kept
        snprintf(field->dtype, sizeof field->dtype, "%s",
                 kdrt_dtype_name(is_label ? DTYPE_i32 : column->dtype));
        field->rank = column->rank;
        memcpy(field->shape, column->shape, sizeof field->shape);
    }
    kdrt_arena_release(&arena);
    return ok;
}

// ---- what the program was compiled for ----------------------------------------------------------

static bool fail_other(const DataSpec *spec, const char *path, KdrtError *error, const char *what,
                       int64_t found, int64_t expected) {
    return kdrt_fail(error, STATUS_WORLD,
                     "%s: `%s` has %" PRId64 " %s, but the program was compiled for %" PRId64
                     "; compile it against this data",
                     path, spec->name, found, what, expected);
}

static bool check_labels(const DataSpec *spec, const FilePart *part, KdrtError *error) {
    for (int64_t c = 0; c < part->column_count; c++) {
        const FileColumn *column = &part->column[c];
        if (strcmp(column->name, "label") != 0 || column->dtype != DTYPE_u8 || !spec->classes)
            continue;
        for (int64_t i = 0; i < part->count; i++) {
            uint8_t label = column->data[i * column->stride_bytes];
            if (label >= spec->classes)
                return kdrt_fail(error, STATUS_WORLD,
                                 "%s: byte %" PRId64 ": label %u of example %" PRId64
                                 "; the program was compiled for %" PRId64 " classes (0 to %" PRId64
                                 ")",
                                 column->path, column->file_offset + i * column->stride_bytes,
                                 label, i, spec->classes, spec->classes - 1);
        }
    }
    return true;
}

static bool check_counts(const DataSpec *spec, const Files *files, const char *path,
                         KdrtError *error) {
    if (files->train.count != spec->count + spec->holdout)
        return fail_other(spec, path, error, "training examples", files->train.count,
                          spec->count + spec->holdout);
    if (files->test.count != spec->test_count)
        return fail_other(spec, path, error, "test examples", files->test.count, spec->test_count);
    return check_labels(spec, &files->train, error) && check_labels(spec, &files->test, error);
}

static bool fail_shape(const DataSpec *spec, const Field *field, const int64_t *found, int64_t rank,
                       const char *path, KdrtError *error) {
    char text[2][128];
    const int64_t *shape[2] = {found, field->shape};
    int64_t ranks[2] = {rank, field->rank};
    for (int k = 0; k < 2; k++) {
        size_t used = 0;
        text[k][0] = '\0';
        for (int64_t i = 0; i < ranks[k] && used < sizeof text[k]; i++)
            used += (size_t)snprintf(text[k] + used, sizeof text[k] - used, "%s%" PRId64,
                                     i ? ", " : "", shape[k][i]);
    }
    return kdrt_fail(error, STATUS_WORLD,
                     "%s: `%s.%s` has the shape [%s], but the program was compiled for [%s]; "
                     "compile it against this data",
                     path, spec->name, field->name, text[0], text[1]);
}

// ---- binding ------------------------------------------------------------------------------------

/// Passes the extents of an image through a pipeline; makes room for it.
static bool pass_through(const Pipeline *pipeline, const int64_t in[3], int64_t out[3], Room *room,
                         KdrtError *error) {
    memcpy(out, in, 3 * sizeof *out);
    for (int64_t i = 0; i < pipeline->count; i++) {
        int64_t from[3];
        memcpy(from, out, sizeof from);
        if (!kdrt_transform_extents(&pipeline->transform[i], from, out, error))
            return false;
        int64_t bytes = out[0] * out[1] * out[2];
        int64_t work = kdrt_transform_work_bytes(&pipeline->transform[i], from, out);
        if (work < 0)
            return kdrt_fail(error, STATUS_WORLD,
                             "an image of %" PRId64 " x %" PRId64 " pixels is too large", from[1],
                             from[2]);
        room->image_bytes = bytes > room->image_bytes ? bytes : room->image_bytes;
        room->work_bytes = work > room->work_bytes ? work : room->work_bytes;
    }
    return true;
}

static bool bind_pipeline(Arena *arena, const TransformSpec *spec, int64_t count,
                          Pipeline *pipeline, KdrtError *error) {
    if (count > MOST_TRANSFORMS)
        return kdrt_fail(error, STATUS_PROGRAM, "more than %d transforms, one after the other",
                         MOST_TRANSFORMS);
    pipeline->transform = kdrt_arena_array(arena, (size_t)count, sizeof(Transform));
    if (!pipeline->transform)
        return kdrt_fail_memory(error, (size_t)count * sizeof(Transform));
    for (; pipeline->count < count; pipeline->count++)
        if (!kdrt_transform_bind(&spec[pipeline->count], &pipeline->transform[pipeline->count],
                                 error))
            return false;
    return true;
}

static bool make_table(Arena *arena, const DataSpec *spec, FieldBinding *binding,
                       KdrtError *error) {
    Dtype dtype = binding->field->dtype;
    size_t element_bytes = kdrt_dtype_bytes(dtype);
    if (spec->mean_count > 1 && spec->mean_count != binding->channels)
        return kdrt_fail(error, STATUS_PROGRAM,
                         "`%s` is normalised by %" PRId64 " means, but has %" PRId64 " channels",
                         spec->name, spec->mean_count, binding->channels);
    char *table = kdrt_arena_array(arena, (size_t)binding->channels * 256, element_bytes);
    if (!table)
        return kdrt_fail_memory(error, (size_t)binding->channels * 256 * element_bytes);
    for (int64_t c = 0; c < binding->channels; c++) {
        int64_t from = spec->mean_count > 1 ? c : 0;
        double mean = spec->mean_count ? spec->mean[from] : 0;
        double std = spec->mean_count ? spec->std[from] : 1;
        for (int x = 0; x < 256; x++)
            kdrt_dtype_set(dtype, table + (size_t)(c * 256 + x) * element_bytes,
                           (x / 255.0 - mean) / std);
    }
    binding->table = table;
    return true;
}

/// Passes the extents of each file through the pipelines that its part may go through: all must
/// come out as `shape`, so that none is found to be too small after hours.
static bool check_images(const FieldBinding *binding, const FilePart *part, bool trained,
                         const ImageFiles *images, Room *room, KdrtError *error) {
    for (int64_t i = 0; i < part->count; i++) {
        const ImageFile *file = &images->at[i];
        const int64_t in[3] = {3, file->height, file->width};
        int64_t bytes = 3 * file->height * file->width;
        room->image_bytes = bytes > room->image_bytes ? bytes : room->image_bytes;
        room->work_bytes = bytes > room->work_bytes ? bytes : room->work_bytes;
        for (int k = 0; k < 1 + trained; k++) {
            int64_t out[3];
            if (!pass_through(k ? &binding->augment : &binding->prepare, in, out, room, error))
                return kdrt_fail_in(error, file->path);
            if (memcmp(out, binding->field->shape, sizeof out) != 0)
                return kdrt_fail(error, STATUS_WORLD,
                                 "%s: %" PRId64 " x %" PRId64 " pixels become %" PRId64
                                 " x %" PRId64 ", but the program was compiled for %" PRId64
                                 " x %" PRId64,
                                 file->path, in[1], in[2], out[1], out[2], binding->field->shape[1],
                                 binding->field->shape[2]);
        }
    }
    if (room->file_bytes < images->most_bytes)
        room->file_bytes = images->most_bytes;
    return true;
}

static bool bind_images(const FieldBinding *binding, const Files *files, Room *room,
                        KdrtError *error) {
    int column = binding->column;
    return check_images(binding, &files->train, true, files->train.column[column].images, room,
                        error) &&
           (!files->test.count || check_images(binding, &files->test, false,
                                               files->test.column[column].images, room, error));
}

static bool bind_field(Arena *arena, Dataset *dataset, const Field *field, FieldBinding *binding,
                       const char *path, KdrtError *error) {
    const DataSpec *spec = dataset->spec;
    const FilePart *part = &dataset->files.train;
    *binding = (FieldBinding){.field = field, .column = -1};
    for (int64_t c = 0; c < part->column_count; c++)
        if (!strcmp(part->column[c].name, field->column))
            binding->column = (int)c;
    if (binding->column < 0) {
        if (strcmp(field->name, "index") != 0)
            return kdrt_fail(error, STATUS_WORLD, "%s: `%s` has no field `%s`", path, spec->name,
                             field->column);
        return field->rank == 0 || fail_shape(spec, field, NULL, 0, path, error);
    }
    const FileColumn *column = &part->column[binding->column];
    bool is_real = field->dtype == DTYPE_f32 || field->dtype == DTYPE_f64;
    binding->is_pixels = column->dtype == DTYPE_u8 && column->rank == 3 && is_real;
    if (!binding->is_pixels) {
        if (column->rank != field->rank ||
            memcmp(column->shape, field->shape, (size_t)field->rank * sizeof *field->shape) != 0)
            return fail_shape(spec, field, column->shape, column->rank, path, error);
        return true;
    }
    int64_t trained[3], prepared[3];
    for (const Field *f = spec->field; field->is_view && f <= field; f++)
        binding->stream += f->is_view ? DRAW_VIEW : 0;
    const TransformSpec *augment = field->is_view ? field->view : spec->augment;
    int64_t augment_count = field->is_view ? field->view_count : spec->augment_count;
    if (!bind_pipeline(arena, augment, augment_count, &binding->augment, error) ||
        !bind_pipeline(arena, spec->prepare, spec->prepare_count, &binding->prepare, error))
        return false;
    binding->channels = field->shape[0];
    binding->pixel_count = field->shape[1] * field->shape[2];
    if (field->rank != 3)
        return fail_shape(spec, field, column->shape, 3, path, error);
    if (column->images)
        return bind_images(binding, &dataset->files, &dataset->room, error) &&
               make_table(arena, spec, binding, error);
    if (!pass_through(&binding->augment, column->shape, trained, &dataset->room, error) ||
        !pass_through(&binding->prepare, column->shape, prepared, &dataset->room, error))
        return false;
    if (memcmp(trained, field->shape, sizeof trained) != 0)
        return fail_shape(spec, field, trained, 3, path, error);
    if (memcmp(prepared, field->shape, sizeof prepared) != 0)
        return fail_shape(spec, field, prepared, 3, path, error);
    return make_table(arena, spec, binding, error);
}

/// Image files come class by class, and the last of them would be a validation part of one class:
/// with a holdout their order becomes a random one, the same in every run.
static bool mix_files(Arena *arena, FilePart *part, KdrtError *error) {
    size_t count = (size_t)part->count;
    int64_t *order = kdrt_arena_array(arena, count, sizeof *order);
    ImageFile *file = kdrt_arena_array(arena, count, sizeof *file);
    int32_t *label = kdrt_arena_array(arena, count, sizeof *label);
    if (!order || !file || !label)
        return kdrt_fail_memory(error, count * sizeof *file);
    kdrt_shuffle(order, part->count, 0, 0, 0);
    ImageFiles *images = part->column[0].images;
    const int32_t *labels = (const int32_t *)(const void *)part->column[1].data;
    for (size_t i = 0; i < count; i++) {
        file[i] = images->at[order[i]];
        label[i] = labels[order[i]];
    }
    images->at = file;
    part->column[1].data = (const uint8_t *)label;
    return true;
}

bool kdrt_dataset_open(Env *env, Arena *arena, const DataSpec *spec, const char *path,
                       Dataset *dataset, KdrtError *error) {
    SourceRequest request = {env, arena, path, false};
    *dataset = (Dataset){.spec = spec};
    if (!kdrt_source_open(spec->source, &request, &dataset->files, error) ||
        !check_counts(spec, &dataset->files, path, error))
        return false;
    FilePart *train = &dataset->files.train;
    if (spec->holdout && train->column[0].images && !mix_files(arena, train, error))
        return false;
    const Files *files = &dataset->files;
    dataset->part[PART_TRAIN] = (DataView){&files->train, 0, spec->count};
    dataset->part[PART_VALIDATION] = (DataView){&files->train, spec->count, spec->holdout};
    dataset->part[PART_TEST] = (DataView){&files->test, 0, files->test.count};
    dataset->part[PART_DEFAULT] =
        files->test.count ? dataset->part[PART_TEST] : dataset->part[PART_TRAIN];

    if (spec->field_count > 64)
        return kdrt_fail(error, STATUS_PROGRAM, "`%s` has more than 64 fields", spec->name);
    dataset->field = kdrt_arena_array(arena, (size_t)spec->field_count, sizeof(FieldBinding));
    if (!dataset->field)
        return kdrt_fail_memory(error, (size_t)spec->field_count * sizeof(FieldBinding));
    for (int64_t i = 0; i < spec->field_count; i++)
        if (!bind_field(arena, dataset, &spec->field[i], &dataset->field[i], path, error))
            return false;
    return true;
}

int64_t kdrt_dataset_field(const Dataset *dataset, const char *name) {
    for (int64_t i = 0; i < dataset->spec->field_count; i++)
        if (!strcmp(dataset->spec->field[i].name, name))
            return i;
    return -1;
}
