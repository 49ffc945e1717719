// runtime/transforms.c -- augmentation and preparation of pixels, one row of transforms.def each.
//
// A transform works on the u8 pixels, before normalisation: padding is black, as usual. Its draws
// are words of Philox keyed by seed, phase, epoch and example (loader.c), so an example's
// augmentation depends neither on the batch it is in nor on what was drawn before. Where the field
// has two conventions, this is what torchvision does to Pillow's images.
//
// bind_ reads and checks the arguments, shape_ says what comes out of which extents, apply_ does
// it.
#include "runtime/data.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "support/philox.h"

typedef struct TransformRow {
    const char *name, *parameters;
} TransformRow;

static const TransformRow rows[TRANSFORM_COUNT] = {
#define TRANSFORM(name, parameters, text) {#name, parameters},
#include "runtime/transforms.def"
#undef TRANSFORM
};

const char *kdrt_transform_name(size_t i) {
    return i < TRANSFORM_COUNT ? rows[i].name : NULL;
}

const char *kdrt_transform_parameters(size_t i) {
    return i < TRANSFORM_COUNT ? rows[i].parameters : NULL;
}

// ---- draws --------------------------------------------------------------------------------------

uint32_t kdrt_draw(Draws *draws) {
    if (draws->left == 0) {
        philox4x32(draws->key, draws->counter, draws->word);
        draws->counter[1] += DRAW_BLOCK;
        draws->left = 4;
    }
    return draws->word[4 - draws->left--];
}

/// A whole number below `count`, at most 2^32.
static int64_t draw_below(Draws *draws, int64_t count) {
    return (int64_t)(((uint64_t)kdrt_draw(draws) * (uint64_t)count) >> 32);
}

/// At least `low`, less than `high`.
static double draw_between(Draws *draws, double low, double high) {
    return low + (high - low) * (kdrt_draw(draws) * 0x1p-32);
}

static bool draw_chance(Draws *draws, double probability) {
    return kdrt_draw(draws) * 0x1p-32 < probability;
}

// ---- arguments ----------------------------------------------------------------------------------

/// A transform being bound.
typedef struct Binder {
    const TransformSpec *spec;
    Transform *t;
    KdrtError *error;
} Binder;

static const TransformArg *arg_of(const Binder *b, const char *name) {
    for (int64_t i = 0; i < b->spec->arg_count; i++)
        if (!strcmp(b->spec->arg[i].name, name))
            return &b->spec->arg[i];
    return NULL;
}

/// One number from `low` to `high`; `*to` stays where it was not given.
static bool number_arg(const Binder *b, const char *name, double low, double high, double *to) {
    const TransformArg *arg = arg_of(b, name);
    if (!arg)
        return true;
    if (arg->text || arg->count != 1)
        return kdrt_fail(b->error, STATUS_PROGRAM, "%s: `%s` is one number", b->spec->name, name);
    if (!(arg->number[0] >= low && arg->number[0] <= high))
        return kdrt_fail(b->error, STATUS_PROGRAM, "%s: `%s` is %g, not between %g and %g",
                         b->spec->name, name, arg->number[0], low, high);
    *to = arg->number[0];
    return true;
}

static bool pixels_arg(const Binder *b, const char *name, double low, int64_t *to) {
    double number = (double)*to;
    if (!number_arg(b, name, low, 65536, &number))
        return false;
    *to = (int64_t)number;
    return (double)*to == number ||
           kdrt_fail(b->error, STATUS_PROGRAM, "%s: `%s` is %g, no number of pixels", b->spec->name,
                     name, number);
}

static bool range_arg(const Binder *b, const char *name, double most, double to[2]) {
    const TransformArg *arg = arg_of(b, name);
    if (!arg)
        return true;
    if (arg->text || arg->count != 2 || !(arg->number[0] > 0) || arg->number[1] < arg->number[0] ||
        arg->number[1] > most)
        return kdrt_fail(b->error, STATUS_PROGRAM,
                         "%s: `%s` is a list of two positive numbers, the smaller first, of at "
                         "most %g",
                         b->spec->name, name, most);
    memcpy(to, arg->number, 2 * sizeof *to);
    return true;
}

/// One of the words, which end in NULL; the first where it was not given.
static bool word_arg(const Binder *b, const char *name, const char *const *words, int *to) {
    const TransformArg *arg = arg_of(b, name);
    *to = 0;
    if (!arg)
        return true;
    char list[256] = "";
    for (int i = 0; words[i]; i++) {
        if (arg->text && !strcmp(arg->text, words[i])) {
            *to = i;
            return true;
        }
        size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s\"%s\"", i ? " or " : "", words[i]);
    }
    return kdrt_fail(b->error, STATUS_PROGRAM, "%s: `%s` is %s", b->spec->name, name, list);
}

/// `size`: one number of pixels, or [height, width].
static bool size_arg(const Binder *b) {
    const TransformArg *arg = arg_of(b, "size");
    if (!arg)
        return kdrt_fail(b->error, STATUS_PROGRAM, "%s: needs a `size`", b->spec->name);
    for (int64_t i = 0; i < arg->count || arg->text; i++)
        if (arg->text || arg->count > 2 || !(arg->number[i] >= 1 && arg->number[i] <= 65536) ||
            floor(arg->number[i]) != arg->number[i])
            return kdrt_fail(b->error, STATUS_PROGRAM,
                             "%s: `size` is a number of pixels or [height, width]", b->spec->name);
    b->t->size[0] = (int64_t)arg->number[0];
    b->t->size[1] = (int64_t)arg->number[arg->count - 1];
    b->t->one_size = arg->count == 1;
    return arg->count > 0;
}

/// `fill`: a byte for all channels or one for each.
static bool fill_arg(const Binder *b) {
    const TransformArg *arg = arg_of(b, "fill");
    if (!arg)
        return true;
    bool good = !arg->text && arg->count >= 1 && arg->count <= IMAGE_MAX_CHANNELS;
    for (int64_t i = 0; good && i < arg->count; i++)
        good =
            arg->number[i] >= 0 && arg->number[i] <= 255 && floor(arg->number[i]) == arg->number[i];
    if (!good)
        return kdrt_fail(b->error, STATUS_PROGRAM,
                         "%s: `fill` is a whole number from 0 to 255, or one for each channel",
                         b->spec->name);
    b->t->fill_count = arg->count;
    for (int64_t c = 0; c < IMAGE_MAX_CHANNELS; c++)
        b->t->fill[c] = (uint8_t)arg->number[c < arg->count ? c : 0];
    return true;
}

static bool filter_arg(const Binder *b) {
    static const char *const filters[] = {"bilinear", "bicubic", NULL};
    int filter;
    if (!word_arg(b, "filter", filters, &filter))
        return false;
    b->t->filter = filter ? FILTER_BICUBIC : FILTER_BILINEAR;
    return true;
}

// ---- shapes -------------------------------------------------------------------------------------
// An extent of -1 is not the same for all images.

static bool shape_same(const Transform *t, const int64_t in[3], int64_t out[3], KdrtError *error) {
    (void)t, (void)error;
    memcpy(out, in, 3 * sizeof *out);
    return true;
}

static bool check_fill(const Transform *t, const int64_t in[3], KdrtError *error) {
    return t->fill_count <= 1 || t->fill_count == in[0] ||
           kdrt_fail(error, STATUS_PROGRAM,
                     "%s: `fill` has %" PRId64 " bytes, for images of %" PRId64 " channels",
                     rows[t->kind].name, t->fill_count, in[0]);
}

static bool shape_filled(const Transform *t, const int64_t in[3], int64_t out[3],
                         KdrtError *error) {
    return check_fill(t, in, error) && shape_same(t, in, out, error);
}

static bool shape_coloured(const Transform *t, const int64_t in[3], int64_t out[3],
                           KdrtError *error) {
    if (in[0] != 1 && in[0] != 3)
        return kdrt_fail(error, STATUS_PROGRAM,
                         "%s: images of %" PRId64 " channels; it takes one (grey) or three (red, "
                         "green, blue)",
                         rows[t->kind].name, in[0]);
    return shape_filled(t, in, out, error);
}

/// The window `size` must lie inside what is there.
static bool check_window(const Transform *t, const int64_t in[3], int64_t pad, const char *what,
                         KdrtError *error) {
    for (int axis = 0; axis < 2; axis++)
        if (in[1 + axis] >= 0 && t->size[axis] > in[1 + axis] + 2 * pad)
            return kdrt_fail(error, STATUS_PROGRAM,
                             "%s: `size` is %" PRId64 ", for %s of %" PRId64 " pixels",
                             rows[t->kind].name, t->size[axis], what, in[1 + axis] + 2 * pad);
    return true;
}

// ---- random_crop --------------------------------------------------------------------------------

static bool bind_random_crop(Binder *b) {
    static const char *const modes[] = {"zero", "reflect", NULL};
    int mode;
    if (!pixels_arg(b, "pad", 0, &b->t->pad) || !word_arg(b, "mode", modes, &mode) ||
        !fill_arg(b) || (arg_of(b, "size") && !size_arg(b)))
        return false;
    b->t->reflect = mode == 1;
    return true;
}

static bool shape_random_crop(const Transform *t, const int64_t in[3], int64_t out[3],
                              KdrtError *error) {
    for (int axis = 1; axis < 3; axis++)
        if (t->reflect && in[axis] >= 0 && t->pad >= in[axis])
            return kdrt_fail(error, STATUS_PROGRAM,
                             "random_crop: `pad` is %" PRId64 ", for images of %" PRId64
                             " pixels to reflect",
                             t->pad, in[axis]);
    memcpy(out, in, 3 * sizeof *out);
    if (t->size[0])
        memcpy(out + 1, t->size, 2 * sizeof *out);
    return check_fill(t, in, error) &&
           (!t->size[0] || check_window(t, in, t->pad, "padded images", error));
}

/// The row or column that stands at `at` of a side of `extent`; -1: outside.
static int64_t source_of(int64_t at, int64_t extent, bool reflect) {
    if (at >= 0 && at < extent)
        return at;
    if (!reflect)
        return -1;
    return at < 0 ? -at : 2 * (extent - 1) - at;
}

static void apply_random_crop(const Transform *t, const Image *in, const Image *out, Draws *draws,
                              void *work) {
    (void)work;
    int64_t top = draw_below(draws, in->height + 2 * t->pad - out->height + 1) - t->pad;
    int64_t left = draw_below(draws, in->width + 2 * t->pad - out->width + 1) - t->pad;
    for (int64_t c = 0; c < in->channels; c++) {
        for (int64_t y = 0; y < out->height; y++) {
            int64_t from_y = source_of(top + y, in->height, t->reflect);
            uint8_t *to = out->at + c * out->plane + y * out->row;
            for (int64_t x = 0; x < out->width; x++) {
                int64_t from_x = source_of(left + x, in->width, t->reflect);
                to[x] = from_y < 0 || from_x < 0
                            ? t->fill[c < IMAGE_MAX_CHANNELS ? c : 0]
                            : in->at[c * in->plane + from_y * in->row + from_x];
            }
        }
    }
}

// ---- horizontal_flip ----------------------------------------------------------------------------

static bool bind_horizontal_flip(Binder *b) {
    b->t->probability = 0.5;
    return number_arg(b, "p", 0, 1, &b->t->probability);
}

#define shape_horizontal_flip shape_same

static void apply_horizontal_flip(const Transform *t, const Image *in, const Image *out,
                                  Draws *draws, void *work) {
    (void)work;
    if (!draw_chance(draws, t->probability)) {
        kdrt_image_copy(in, out);
        return;
    }
    for (int64_t c = 0; c < in->channels; c++)
        for (int64_t y = 0; y < in->height; y++)
            for (int64_t x = 0; x < in->width; x++)
                out->at[c * out->plane + y * out->row + x] =
                    in->at[c * in->plane + y * in->row + in->width - 1 - x];
}

// ---- center_crop --------------------------------------------------------------------------------

static bool bind_center_crop(Binder *b) {
    return size_arg(b);
}

static bool shape_center_crop(const Transform *t, const int64_t in[3], int64_t out[3],
                              KdrtError *error) {
    out[0] = in[0];
    memcpy(out + 1, t->size, 2 * sizeof *out);
    return check_window(t, in, 0, "images", error);
}

/// Half of the difference; a half goes to the even neighbour.
static int64_t half_of(int64_t difference) {
    return (int64_t)nearbyint((double)difference / 2);
}

static void apply_center_crop(const Transform *t, const Image *in, const Image *out, Draws *draws,
                              void *work) {
    (void)t, (void)draws, (void)work;
    Image window = kdrt_image_window(in, half_of(in->height - out->height),
                                     half_of(in->width - out->width), out->height, out->width);
    kdrt_image_copy(&window, out);
}

// ---- resize -------------------------------------------------------------------------------------

static bool bind_resize(Binder *b) {
    return size_arg(b) && filter_arg(b);
}

static bool shape_resize(const Transform *t, const int64_t in[3], int64_t out[3],
                         KdrtError *error) {
    out[0] = in[0];
    memcpy(out + 1, t->size, 2 * sizeof *out);
    if (!t->one_size)
        return true;
    if (in[1] < 0 || in[2] < 0) {
        out[1] = out[2] = -1;
        return true;
    }
    int longer = in[2] > in[1] ? 2 : 1;
    out[longer] = t->size[0] * in[longer] / in[3 - longer];
    return out[longer] <= 65536 || kdrt_fail(error, STATUS_PROGRAM,
                                             "resize: an image of %" PRId64 " x %" PRId64
                                             " pixels would be %" PRId64 " long",
                                             in[1], in[2], out[longer]);
}

static void apply_resize(const Transform *t, const Image *in, const Image *out, Draws *draws,
                         void *work) {
    (void)draws;
    kdrt_image_resize(in, out, t->filter, work);
}

// ---- random_resized_crop ------------------------------------------------------------------------

static bool bind_random_resized_crop(Binder *b) {
    b->t->scale[0] = 0.08;
    b->t->scale[1] = 1;
    b->t->ratio[0] = 3.0 / 4;
    b->t->ratio[1] = 4.0 / 3;
    return size_arg(b) && filter_arg(b) && range_arg(b, "scale", 1, b->t->scale) &&
           range_arg(b, "ratio", 1000, b->t->ratio);
}

static bool shape_random_resized_crop(const Transform *t, const int64_t in[3], int64_t out[3],
                                      KdrtError *error) {
    (void)error;
    out[0] = in[0];
    memcpy(out + 1, t->size, 2 * sizeof *out);
    return true;
}

/// Ten tries of a window of random area (a share of the image's) and ratio (width by height,
/// uniform in its logarithm); if none fits, the largest in the middle whose ratio is allowed.
static Image random_window(const Transform *t, const Image *in, Draws *draws) {
    double area = (double)(in->height * in->width);
    for (int i = 0; i < 10; i++) {
        double target = area * draw_between(draws, t->scale[0], t->scale[1]);
        double ratio = exp(draw_between(draws, log(t->ratio[0]), log(t->ratio[1])));
        int64_t width = (int64_t)nearbyint(sqrt(target * ratio));
        int64_t height = (int64_t)nearbyint(sqrt(target / ratio));
        if (width < 1 || width > in->width || height < 1 || height > in->height)
            continue;
        int64_t top = draw_below(draws, in->height - height + 1);
        int64_t left = draw_below(draws, in->width - width + 1);
        return kdrt_image_window(in, top, left, height, width);
    }
    double ratio = (double)in->width / (double)in->height;
    int64_t height = in->height, width = in->width;
    if (ratio < t->ratio[0])
        height = (int64_t)nearbyint((double)width / t->ratio[0]);
    else if (ratio > t->ratio[1])
        width = (int64_t)nearbyint((double)height * t->ratio[1]);
    height = height < 1 ? 1 : height;
    width = width < 1 ? 1 : width;
    return kdrt_image_window(in, (in->height - height) / 2, (in->width - width) / 2, height, width);
}

static void apply_random_resized_crop(const Transform *t, const Image *in, const Image *out,
                                      Draws *draws, void *work) {
    Image window = random_window(t, in, draws);
    kdrt_image_resize(&window, out, t->filter, work);
}

// ---- cutout -------------------------------------------------------------------------------------

static bool bind_cutout(Binder *b) {
    return size_arg(b) && fill_arg(b);
}

#define shape_cutout shape_filled

/// The centre is any pixel; what hangs over the rim is lost (DeVries and Taylor 2017).
static void apply_cutout(const Transform *t, const Image *in, const Image *out, Draws *draws,
                         void *work) {
    (void)work;
    kdrt_image_copy(in, out);
    int64_t top = draw_below(draws, in->height) - t->size[0] / 2;
    int64_t left = draw_below(draws, in->width) - t->size[1] / 2;
    for (int64_t c = 0; c < in->channels; c++)
        for (int64_t y = top < 0 ? 0 : top; y < top + t->size[0] && y < in->height; y++)
            for (int64_t x = left < 0 ? 0 : left; x < left + t->size[1] && x < in->width; x++)
                out->at[c * out->plane + y * out->row + x] =
                    t->fill[c < IMAGE_MAX_CHANNELS ? c : 0];
}

// ---- auto_augment -------------------------------------------------------------------------------

// Each function does one operation at `level` ninths of its range; `sign` is 1 or -1.
#define OPERATION(name)                                                                            \
    static void operate_##name(const Transform *t, double level, double sign, const Image *in,     \
                               const Image *out)

OPERATION(shear_y) {
    const double map[6] = {1, 0, 0, sign * 0.3 * level, 1, 0};
    kdrt_image_affine(in, out, map, t->fill);
}
OPERATION(translate_x) {
    const double map[6] = {1, 0, -sign * floor(150.0 / 331.0 * (double)in->width * level), 0, 1, 0};
    kdrt_image_affine(in, out, map, t->fill);
}
OPERATION(translate_y) {
    const double map[6] = {1, 0, 0,
                           0, 1, -sign * floor(150.0 / 331.0 * (double)in->height * level)};
    kdrt_image_affine(in, out, map, t->fill);
}
OPERATION(rotate) {
    kdrt_image_rotate(in, out, sign * 30 * level, t->fill);
}
OPERATION(brightness) {
    (void)t;
    kdrt_image_brightness(in, out, 1 + sign * 0.9 * level);
}
OPERATION(color) {
    (void)t;
    kdrt_image_saturation(in, out, 1 + sign * 0.9 * level);
}
OPERATION(contrast) {
    (void)t;
    kdrt_image_contrast(in, out, 1 + sign * 0.9 * level);
}
OPERATION(sharpness) {
    (void)t;
    kdrt_image_sharpness(in, out, 1 + sign * 0.9 * level);
}
OPERATION(posterize) {
    (void)t, (void)sign;
    kdrt_image_posterize(in, out, 8 - (int)nearbyint(4 * level));
}
OPERATION(solarize) {
    (void)t, (void)sign;
    kdrt_image_solarize(in, out, 255 * (1 - level));
}
OPERATION(autocontrast) {
    (void)t, (void)level, (void)sign;
    kdrt_image_autocontrast(in, out);
}
OPERATION(equalize) {
    (void)t, (void)level, (void)sign;
    kdrt_image_equalize(in, out);
}
OPERATION(invert) {
    (void)t, (void)level, (void)sign;
    kdrt_image_invert(in, out);
}

typedef struct Operation {
    void (*operate)(const Transform *t, double level, double sign, const Image *in,
                    const Image *out);
    double probability, level;
} Operation;

static const Operation cifar10_policy[][2] = {
#define PAIR(policy, first, p1, level1, second, p2, level2)                                        \
    {{operate_##first, (p1) / 10.0, (level1) / 9.0},                                               \
     {operate_##second, (p2) / 10.0, (level2) / 9.0}},
#include "runtime/auto_augment.def"
#undef PAIR
};

static bool bind_auto_augment(Binder *b) {
    static const char *const policies[] = {"cifar10", NULL};
    int policy;
    return word_arg(b, "policy", policies, &policy) && fill_arg(b);
}

#define shape_auto_augment shape_coloured

static void apply_auto_augment(const Transform *t, const Image *in, const Image *out, Draws *draws,
                               void *work) {
    const int64_t count = sizeof cifar10_policy / sizeof *cifar10_policy;
    const Operation *pair = cifar10_policy[draw_below(draws, count)];
    Image middle = kdrt_image(work, in->channels, in->height, in->width);
    bool chosen[2] = {draw_chance(draws, pair[0].probability),
                      draw_chance(draws, pair[1].probability)};
    uint32_t signs = kdrt_draw(draws);
    double sign[2] = {signs >> 31 ? 1 : -1, signs >> 30 & 1 ? 1 : -1};
    if (chosen[0])
        pair[0].operate(t, pair[0].level, sign[0], in, chosen[1] ? &middle : out);
    if (chosen[1])
        pair[1].operate(t, pair[1].level, sign[1], chosen[0] ? &middle : in, out);
    if (!chosen[0] && !chosen[1])
        kdrt_image_copy(in, out);
}

// ---- color_jitter, grayscale --------------------------------------------------------------------

/// jitter[]: how far brightness, contrast and saturation go from 1, and hue from 0. `strength` s is
/// SimCLR's short form: 0.8 s, 0.8 s, 0.8 s, 0.2 s.
static bool bind_color_jitter(Binder *b) {
    double strength = 0, *jitter = b->t->jitter;
    if (!number_arg(b, "strength", 0, 2.5, &strength))
        return false;
    jitter[0] = jitter[1] = jitter[2] = 0.8 * strength;
    jitter[3] = 0.2 * strength;
    b->t->probability = 1;
    return number_arg(b, "brightness", 0, 100, &jitter[0]) &&
           number_arg(b, "contrast", 0, 100, &jitter[1]) &&
           number_arg(b, "saturation", 0, 100, &jitter[2]) &&
           number_arg(b, "hue", 0, 0.5, &jitter[3]) && number_arg(b, "p", 0, 1, &b->t->probability);
}

#define shape_color_jitter shape_coloured

static void apply_color_jitter(const Transform *t, const Image *in, const Image *out, Draws *draws,
                               void *work) {
    static void (*const operate[4])(const Image *, const Image *, double) = {
        kdrt_image_brightness, kdrt_image_contrast, kdrt_image_saturation, kdrt_image_hue};
    Image middle = kdrt_image(work, in->channels, in->height, in->width);
    int order[4] = {0, 1, 2, 3};
    double amount[4];
    bool chosen = draw_chance(draws, t->probability);
    for (int i = 3; i > 0; i--) {
        int64_t j = draw_below(draws, i + 1);
        int other = order[j];
        order[j] = order[i];
        order[i] = other;
    }
    for (int i = 0; i < 4; i++) {
        double low = i < 3 ? 1 - t->jitter[i] : -t->jitter[i];
        amount[i] = draw_between(draws, i < 3 && low < 0 ? 0 : low, (i < 3) + t->jitter[i]);
    }
    kdrt_image_copy(in, out);
    for (int i = 0; chosen && i < 4; i++) {
        if (t->jitter[order[i]] == 0)
            continue;
        kdrt_image_copy(out, &middle);
        operate[order[i]](&middle, out, amount[order[i]]);
    }
}

static bool bind_grayscale(Binder *b) {
    b->t->probability = 0.1;
    return number_arg(b, "p", 0, 1, &b->t->probability);
}

#define shape_grayscale shape_coloured

static void apply_grayscale(const Transform *t, const Image *in, const Image *out, Draws *draws,
                            void *work) {
    (void)work;
    if (draw_chance(draws, t->probability))
        kdrt_image_grayscale(in, out);
    else
        kdrt_image_copy(in, out);
}

// ---- the table ----------------------------------------------------------------------------------

static const struct {
    bool (*bind)(Binder *b);
    bool (*shape)(const Transform *t, const int64_t in[3], int64_t out[3], KdrtError *error);
    void (*apply)(const Transform *t, const Image *in, const Image *out, Draws *draws, void *work);
} rules[TRANSFORM_COUNT] = {
#define TRANSFORM(name, parameters, text)                                                          \
    [TRANSFORM_##name] = {bind_##name, shape_##name, apply_##name},
#include "runtime/transforms.def"
#undef TRANSFORM
};

bool kdrt_transform_bind(const TransformSpec *spec, Transform *transform, KdrtError *error) {
    for (size_t kind = 0; kind < TRANSFORM_COUNT; kind++) {
        if (strcmp(spec->name, rows[kind].name) != 0)
            continue;
        *transform = (Transform){.kind = (TransformKind)kind};
        Binder binder = {spec, transform, error};
        return rules[kind].bind(&binder);
    }
    return kdrt_fail(error, STATUS_BUG, "no transform is called `%s`", spec->name);
}

bool kdrt_transform_extents(const Transform *transform, const int64_t in[3], int64_t out[3],
                            KdrtError *error) {
    return rules[transform->kind].shape(transform, in, out, error);
}

int64_t kdrt_transform_work_bytes(const Transform *t, const int64_t in[3], const int64_t out[3]) {
    int64_t image = in[0] * in[1] * in[2];
    int64_t resize = kdrt_image_resize_bytes(in[0], in[1], in[2], out[1], out[2]);
    (void)t;
    return resize > image ? resize : image;
}

void kdrt_transform_apply(const Transform *transform, const Image *in, const Image *out,
                          Draws *draws, void *work) {
    rules[transform->kind].apply(transform, in, out, draws, work);
}

bool kdrt_transform_shape(const TransformSpec *spec, const int64_t in[3], int64_t out[3],
                          KdrtError *error) {
    Transform transform;
    return kdrt_transform_bind(spec, &transform, error) &&
           kdrt_transform_extents(&transform, in, out, error);
}
