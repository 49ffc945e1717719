// runtime/transforms.c -- augmentation and preparation of pixels, one row of transforms.def each.
//
// A transform works on the u8 pixels, before normalisation: padding is black, as usual. Its draws
// are words of Philox keyed by seed, phase, epoch and example (dataset.c), so an example's
// augmentation depends neither on the batch it is in nor on what was drawn before.
#include "runtime/data.h"

#include <string.h>

const char *kdrt_transform_name(size_t i) {
    static const char *const names[] = {
#define TRANSFORM(name, text) #name,
#include "runtime/transforms.def"
#undef TRANSFORM
    };
    return i < TRANSFORM_COUNT ? names[i] : NULL;
}

/// The argument of that name; `missing` when it was not given.
static double number_arg(const TransformSpec *spec, const char *name, double missing) {
    for (int64_t i = 0; i < spec->arg_count; i++)
        if (!strcmp(spec->arg[i].name, name))
            return spec->arg[i].number;
    return missing;
}

static const char *text_arg(const TransformSpec *spec, const char *name, const char *missing) {
    for (int64_t i = 0; i < spec->arg_count; i++)
        if (!strcmp(spec->arg[i].name, name) && spec->arg[i].text)
            return spec->arg[i].text;
    return missing;
}

// ---- random_crop --------------------------------------------------------------------------------

static bool bind_random_crop(const TransformSpec *spec, Transform *t, KdrtError *error) {
    double pad = number_arg(spec, "pad", 0), size = number_arg(spec, "size", 0);
    const char *mode = text_arg(spec, "mode", "zero");
    t->reflect = !strcmp(mode, "reflect");
    if (!t->reflect && strcmp(mode, "zero") != 0)
        return kdrt_fail(error, STATUS_PROGRAM,
                         "random_crop: `mode` is `zero` or `reflect`, not `%s`", mode);
    double smallest = (double)(t->in[1] < t->in[2] ? t->in[1] : t->in[2]);
    if (!(pad >= 0 && pad <= 4096) || (t->reflect && pad >= smallest))
        return kdrt_fail(error, STATUS_PROGRAM, "random_crop: `pad` is %g, for images of %g pixels",
                         pad, smallest);
    t->pad = (int64_t)pad;
    if (size != 0) {
        if (!(size >= 1 && size <= smallest + 2 * pad))
            return kdrt_fail(error, STATUS_PROGRAM,
                             "random_crop: `size` is %g, for padded images of %g pixels", size,
                             smallest + 2 * pad);
        t->out[1] = t->out[2] = (int64_t)size;
    }
    return true;
}

/// The row or column that stands at `at` of a side of `extent`; -1: black.
static int64_t source_of(int64_t at, int64_t extent, bool reflect) {
    if (at >= 0 && at < extent)
        return at;
    if (!reflect)
        return -1;
    return at < 0 ? -at : 2 * (extent - 1) - at;
}

static void apply_random_crop(const Transform *t, const uint8_t *in, uint8_t *out,
                              const uint32_t draw[4]) {
    int64_t height = t->in[1], width = t->in[2];
    int64_t rows = (uint32_t)(height + 2 * t->pad - t->out[1] + 1);
    int64_t columns = (uint32_t)(width + 2 * t->pad - t->out[2] + 1);
    int64_t top = (int64_t)(((uint64_t)draw[0] * (uint64_t)rows) >> 32) - t->pad;
    int64_t left = (int64_t)(((uint64_t)draw[1] * (uint64_t)columns) >> 32) - t->pad;
    for (int64_t c = 0; c < t->in[0]; c++) {
        for (int64_t y = 0; y < t->out[1]; y++) {
            int64_t from_y = source_of(top + y, height, t->reflect);
            for (int64_t x = 0; x < t->out[2]; x++) {
                int64_t from_x = source_of(left + x, width, t->reflect);
                *out++ = from_y < 0 || from_x < 0 ? 0 : in[(c * height + from_y) * width + from_x];
            }
        }
    }
}

// ---- horizontal_flip ----------------------------------------------------------------------------

static bool bind_horizontal_flip(const TransformSpec *spec, Transform *t, KdrtError *error) {
    t->probability = number_arg(spec, "p", 0.5);
    if (!(t->probability >= 0 && t->probability <= 1))
        return kdrt_fail(error, STATUS_PROGRAM, "horizontal_flip: `p` is %g, no probability",
                         t->probability);
    return true;
}

static void apply_horizontal_flip(const Transform *t, const uint8_t *in, uint8_t *out,
                                  const uint32_t draw[4]) {
    int64_t rows = t->in[0] * t->in[1], width = t->in[2];
    if ((double)draw[0] * 0x1p-32 >= t->probability) {
        memcpy(out, in, (size_t)(rows * width));
        return;
    }
    for (int64_t row = 0; row < rows; row++)
        for (int64_t x = 0; x < width; x++)
            out[row * width + x] = in[row * width + width - 1 - x];
}

// ---- center_crop --------------------------------------------------------------------------------

static bool bind_center_crop(const TransformSpec *spec, Transform *t, KdrtError *error) {
    double size = number_arg(spec, "size", 0);
    double smallest = (double)(t->in[1] < t->in[2] ? t->in[1] : t->in[2]);
    if (!(size >= 1 && size <= smallest))
        return kdrt_fail(error, STATUS_PROGRAM,
                         "center_crop: `size` is %g, for images of %g pixels", size, smallest);
    t->out[1] = t->out[2] = (int64_t)size;
    return true;
}

static void apply_center_crop(const Transform *t, const uint8_t *in, uint8_t *out,
                              const uint32_t draw[4]) {
    (void)draw;
    int64_t top = (t->in[1] - t->out[1]) / 2, left = (t->in[2] - t->out[2]) / 2;
    for (int64_t c = 0; c < t->in[0]; c++)
        for (int64_t y = 0; y < t->out[1]; y++, out += t->out[2])
            memcpy(out, in + (c * t->in[1] + top + y) * t->in[2] + left, (size_t)t->out[2]);
}

// ---- the table ----------------------------------------------------------------------------------

static const struct {
    bool (*bind)(const TransformSpec *spec, Transform *t, KdrtError *error);
    void (*apply)(const Transform *t, const uint8_t *in, uint8_t *out, const uint32_t draw[4]);
} rules[TRANSFORM_COUNT] = {
#define TRANSFORM(name, text) [TRANSFORM_##name] = {bind_##name, apply_##name},
#include "runtime/transforms.def"
#undef TRANSFORM
};

bool kdrt_transform_bind(const TransformSpec *spec, const int64_t in[3], Transform *transform,
                         KdrtError *error) {
    for (size_t kind = 0; kind < TRANSFORM_COUNT; kind++) {
        if (strcmp(spec->name, kdrt_transform_name(kind)) != 0)
            continue;
        *transform = (Transform){.kind = (TransformKind)kind};
        memcpy(transform->in, in, sizeof transform->in);
        memcpy(transform->out, in, sizeof transform->out);
        return rules[kind].bind(spec, transform, error);
    }
    return kdrt_fail(error, STATUS_BUG, "no transform is called `%s`", spec->name);
}

void kdrt_transform_apply(const Transform *transform, const uint8_t *in, uint8_t *out,
                          const uint32_t draw[4]) {
    rules[transform->kind].apply(transform, in, out, draw);
}
