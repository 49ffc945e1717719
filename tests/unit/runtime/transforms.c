// tests/unit/runtime/transforms.c -- what augmentation does to pixels, against Pillow's bytes.
//
// The checksums are zlib's CRC-32 of what Pillow 10 makes of the image of picture(): ImageEnhance,
// ImageOps, transform(AFFINE, NEAREST), rotate and resize, with torchvision's ranges for
// AutoAugment.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <zlib.h>

#include "runtime/data.h"

enum { HEIGHT = 40, WIDTH = 33, PIXELS = HEIGHT * WIDTH };

static uint8_t bytes[3 * PIXELS], result[8 * 3 * PIXELS];
static const uint8_t fill[4] = {128, 7, 9};

static Image picture(int64_t channels) {
    for (int c = 0; c < 3; c++)
        for (int y = 0; y < HEIGHT; y++)
            for (int x = 0; x < WIDTH; x++)
                bytes[c * PIXELS + y * WIDTH + x] =
                    (uint8_t)(x * x * (c + 3) / 9 + y * (7 + 5 * c) + x * y * (c + 1) + 40 * c +
                              ((x + y) % 3 ? 0 : 90));
    return kdrt_image(bytes, channels, HEIGHT, WIDTH);
}

static void assert_crc(const char *what, const Image *image, unsigned long expected) {
    unsigned long found =
        crc32(0, image->at, (uInt)(image->channels * image->height * image->width));
    if (found != expected)
        fail_msg("%s: %ld channels: 0x%08lx instead of 0x%08lx", what, (long)image->channels, found,
                 expected);
}

// ---- colour -------------------------------------------------------------------------------------

typedef void Blend(const Image *in, const Image *out, double factor);
typedef void Plain(const Image *in, const Image *out);

static void blends(void **state) {
    (void)state;
    static const struct {
        const char *what;
        Blend *blend;
        double factor;
        unsigned long grey, colour;
    } cases[] = {
        {"brightness", kdrt_image_brightness, 1.3, 0x32b094db, 0xa9e9ec9d},
        {"saturation", kdrt_image_saturation, 0.4, 0x43303574, 0x9db7bfae},
        {"contrast", kdrt_image_contrast, 1.8, 0xb4076fd2, 0x50c0a909},
        {"smoothed", kdrt_image_sharpness, 0.1, 0x5a98328c, 0x5356e83a},
        {"sharpened", kdrt_image_sharpness, 1.9, 0x6d926588, 0x0d419d65},
        {"solarize", kdrt_image_solarize, 113.3, 0x5f7cb241, 0xfd676737},
        {"hue", kdrt_image_hue, -0.2, 0x43303574, 0x6b44559a},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (int64_t channels = 1; channels <= 3; channels += 2) {
            Image in = picture(channels), out = kdrt_image(result, channels, HEIGHT, WIDTH);
            cases[i].blend(&in, &out, cases[i].factor);
            assert_crc(cases[i].what, &out, channels == 1 ? cases[i].grey : cases[i].colour);
        }
    }
}

static void tables(void **state) {
    (void)state;
    static const struct {
        const char *what;
        Plain *plain;
        unsigned long grey, colour;
    } cases[] = {
        {"invert", kdrt_image_invert, 0x812cca2f, 0x2fca9e31},
        {"equalize", kdrt_image_equalize, 0x84da4d86, 0xe34e536a},
        {"autocontrast", kdrt_image_autocontrast, 0xe6886cc4, 0xe8c84fe2}, // of half the brightness
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (int64_t channels = 1; channels <= 3; channels += 2) {
            Image in = picture(channels), out = kdrt_image(result, channels, HEIGHT, WIDTH);
            Image half = kdrt_image(result + 3 * PIXELS, channels, HEIGHT, WIDTH);
            kdrt_image_brightness(&in, &half, 0.5);
            cases[i].plain(cases[i].plain == kdrt_image_autocontrast ? &half : &in, &out);
            assert_crc(cases[i].what, &out, channels == 1 ? cases[i].grey : cases[i].colour);
        }
    }
    Image in = picture(3), out = kdrt_image(result, 3, HEIGHT, WIDTH);
    kdrt_image_posterize(&in, &out, 5);
    assert_crc("posterize", &out, 0x95a3a3f4);
    // An image of one colour has nothing to stretch.
    memset(bytes, 77, sizeof bytes);
    kdrt_image_equalize(&in, &out);
    assert_memory_equal(result, bytes, sizeof bytes);
    kdrt_image_autocontrast(&in, &out);
    assert_memory_equal(result, bytes, sizeof bytes);
}

// ---- geometry -----------------------------------------------------------------------------------

static void maps(void **state) {
    (void)state;
    static const struct {
        const char *what;
        double map[6];
        unsigned long grey, colour;
    } cases[] = {
        {"shear_x", {1, 0.3, 0, 0, 1, 0}, 0xcdde7f49, 0xb254f83a},
        {"shear_y", {1, 0, 0, -0.2, 1, 0}, 0x203c5774, 0x4cffb8b6},
        {"translate", {1, 0, -3, 0, 1, 0}, 0xb765bbd8, 0xaa2b991e},
        {"rotate", {6.6}, 0x366d307d, 0x6f1494ec},
        {"rotate", {-30}, 0xcc652ddb, 0xf0fddc17},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (int64_t channels = 1; channels <= 3; channels += 2) {
            Image in = picture(channels), out = kdrt_image(result, channels, HEIGHT, WIDTH);
            if (cases[i].map[4] == 0)
                kdrt_image_rotate(&in, &out, cases[i].map[0], fill);
            else
                kdrt_image_affine(&in, &out, cases[i].map, fill);
            assert_crc(cases[i].what, &out, channels == 1 ? cases[i].grey : cases[i].colour);
        }
    }
}

static void resizes(void **state) {
    (void)state;
    static const struct {
        int64_t height, width;
        ImageFilter filter;
        unsigned long grey, colour;
    } cases[] = {
        {5, 4, FILTER_BILINEAR, 0x6a72d6c0, 0x6b28ade5},
        {13, 20, FILTER_BILINEAR, 0x0f42433b, 0x68d5056a},
        {9, 3, FILTER_BILINEAR, 0xcfa82d6b, 0x88366358},
        {4, 15, FILTER_BICUBIC, 0x8c40e548, 0x9495f614},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (int64_t channels = 1; channels <= 3; channels += 2) {
            Image in = picture(channels);
            Image out = kdrt_image(result, channels, cases[i].height, cases[i].width);
            int64_t bound = kdrt_image_resize_bytes(channels, HEIGHT, WIDTH, out.height, out.width);
            void *work = malloc((size_t)bound); // exact, so that a sanitizer sees what passes it
            kdrt_image_resize(&in, &out, cases[i].filter, work);
            assert_crc("resize", &out, channels == 1 ? cases[i].grey : cases[i].colour);
            free(work);
        }
    }
    assert_int_equal(kdrt_image_resize_bytes(3, 1 << 21, 1, 1, 1), -1);
}

// ---- transforms ---------------------------------------------------------------------------------

typedef struct Run {
    int64_t out[3];
    int64_t work_bytes;
} Run;

/// Applies a transform to the first `in` of bytes[]; the result is in result[].
static Run apply(const char *name, const TransformArg *args, int64_t count, const int64_t in[3],
                 const uint32_t word[4]) {
    TransformArg copy[4];
    memcpy(copy, args, (size_t)count * sizeof *args);
    TransformSpec spec = {name, count, copy};
    Transform transform;
    KdrtError error = {0};
    Run run = {0};
    if (!kdrt_transform_bind(&spec, &transform, &error) ||
        !kdrt_transform_extents(&transform, in, run.out, &error))
        fail_msg("%s: %s", name, error.text);
    run.work_bytes = kdrt_transform_work_bytes(&transform, in, run.out);
    void *work = malloc((size_t)run.work_bytes);
    Image from = kdrt_image(bytes, in[0], in[1], in[2]);
    Image to = kdrt_image(result, run.out[0], run.out[1], run.out[2]);
    Draws draws = {.word = {word[0], word[1], word[2], word[3]}, .left = 4};
    kdrt_transform_apply(&transform, &from, &to, &draws, work);
    free(work);
    return run;
}

static const TransformArg none[1];

static void crops_and_flips(void **state) {
    (void)state;
    const int64_t in[3] = {1, 2, 3};
    memcpy(bytes, ((const uint8_t[]){1, 2, 3, 4, 5, 6}), 6);
    const uint32_t never[4] = {0x80000000u}, always[4] = {0x7fffffffu};
    apply("horizontal_flip", none, 0, in, always);
    assert_memory_equal(result, ((const uint8_t[]){3, 2, 1, 6, 5, 4}), 6);
    apply("horizontal_flip", none, 0, in, never);
    assert_memory_equal(result, bytes, 6);
    const TransformArg p = {"p", NULL, 1, {0.75}};
    apply("horizontal_flip", &p, 1, in, never);
    assert_memory_equal(result, ((const uint8_t[]){3, 2, 1, 6, 5, 4}), 6);

    TransformArg args[] = {{"pad", NULL, 1, {1}}, {"mode", "zero", 0, {0}}};
    const uint32_t top_left[4] = {0, 0}, middle[4] = {0x60000000u, 0x60000000u},
                   bottom_right[4] = {0xffffffffu, 0xffffffffu};
    apply("random_crop", args, 2, in, top_left);
    assert_memory_equal(result, ((const uint8_t[]){0, 0, 0, 0, 1, 2}), 6);
    apply("random_crop", args, 2, in, middle);
    assert_memory_equal(result, bytes, 6);
    apply("random_crop", args, 2, in, bottom_right);
    assert_memory_equal(result, ((const uint8_t[]){5, 6, 0, 0, 0, 0}), 6);
    args[1] = (TransformArg){"mode", "reflect", 0, {0}};
    apply("random_crop", args, 2, in, top_left);
    assert_memory_equal(result, ((const uint8_t[]){5, 4, 5, 2, 1, 2}), 6);
    args[1] = (TransformArg){"fill", NULL, 1, {128}};
    apply("random_crop", args, 2, in, top_left);
    assert_memory_equal(result, ((const uint8_t[]){128, 128, 128, 128, 1, 2}), 6);
    args[1] = (TransformArg){"size", NULL, 2, {2, 1}};
    Run run = apply("random_crop", args, 2, in, bottom_right);
    assert_int_equal(run.out[1] * 10 + run.out[2], 21);
    assert_memory_equal(result, ((const uint8_t[]){0, 0}), 2);

    // Halves go to the even side, as Python rounds: 3 - 2 leaves 0 before, 5 - 2 leaves 2.
    const TransformArg size = {"size", NULL, 1, {2}};
    apply("center_crop", &size, 1, in, never);
    assert_memory_equal(result, ((const uint8_t[]){1, 2, 4, 5}), 4);
    const int64_t line[3] = {1, 2, 5};
    memcpy(bytes, ((const uint8_t[]){1, 2, 3, 4, 5, 6, 7, 8, 9, 10}), 10);
    apply("center_crop", &size, 1, line, never);
    assert_memory_equal(result, ((const uint8_t[]){3, 4, 8, 9}), 4);

    const TransformArg hole[] = {{"size", NULL, 1, {2}}, {"fill", NULL, 1, {99}}};
    apply("cutout", hole, 2, line, top_left);
    assert_memory_equal(result, ((const uint8_t[]){99, 2, 3, 4, 5, 6, 7, 8, 9, 10}), 10);
    apply("cutout", hole, 1, line, bottom_right);
    assert_memory_equal(result, ((const uint8_t[]){1, 2, 3, 0, 0, 6, 7, 8, 0, 0}), 10);
}

static void sizes(void **state) {
    (void)state;
    const int64_t in[3] = {3, HEIGHT, WIDTH};
    picture(3);
    const uint32_t word[4] = {0};
    TransformArg size = {"size", NULL, 1, {20}};
    Run run = apply("resize", &size, 1, in, word); // 20 * 40 / 33
    assert_int_equal(run.out[1] * 100 + run.out[2], 2420);
    size = (TransformArg){"size", NULL, 2, {13, 20}};
    apply("resize", &size, 1, in, word);
    Image image = kdrt_image(result, 3, 13, 20);
    assert_crc("resize", &image, 0x68d5056a);
    // The whole area at a ratio of one does not fit: after ten tries the middle is taken, which is
    // here the upper left of a row too many (40 - 33) / 2.
    const TransformArg whole[] = {
        {"size", NULL, 1, {33}}, {"scale", NULL, 2, {1, 1}}, {"ratio", NULL, 2, {1, 1}}};
    run = apply("random_resized_crop", whole, 3, in, word);
    assert_int_equal(run.out[1] * 100 + run.out[2], 3333);
    assert_memory_equal(result, bytes + 3 * WIDTH, 33 * WIDTH);
}

static void draws_resized_crops(void **state) {
    (void)state;
    picture(3);
    const int64_t in[3] = {3, HEIGHT, WIDTH};
    const TransformArg args[] = {
        {"size", NULL, 1, {8}}, {"scale", NULL, 2, {0.25, 0.25}}, {"ratio", NULL, 2, {1, 1}}};
    // A quarter of the area at a ratio of one is 18 x 18 (18.17), here in the lower right corner.
    const uint32_t word[4] = {5, 6, 0xffffffffu, 0xffffffffu};
    apply("random_resized_crop", args, 3, in, word);
    static uint8_t expected[3 * 64];
    Image picture_ = kdrt_image(bytes, 3, HEIGHT, WIDTH), out = kdrt_image(expected, 3, 8, 8);
    Image window = kdrt_image_window(&picture_, HEIGHT - 18, WIDTH - 18, 18, 18);
    void *work = malloc((size_t)kdrt_image_resize_bytes(3, 18, 18, 8, 8));
    kdrt_image_resize(&window, &out, FILTER_BILINEAR, work);
    free(work);
    assert_memory_equal(result, expected, sizeof expected);
}

static void auto_augment(void **state) {
    (void)state;
    // Each pair, both operations, signs + - and - + in turn.
    static const unsigned long expected[25] = {
        0x99defccf, 0x6646c5b2, 0x0ea6c55e, 0xe5ddbcc1, 0xe34e536a, 0x1de4988e, 0xe8059ece,
        0xc2d9280d, 0xccde433a, 0xb54bd8bb, 0x3fb2b61f, 0xe34e536a, 0xf545010f, 0x5f19d998,
        0x9da505fd, 0xe34e536a, 0xccde433a, 0x7fbbb888, 0xee936421, 0x6b0189ce, 0x67b66e35,
        0x86f1fe5b, 0x2b978cb0, 0xd6b23bf6, 0xca024bac};
    const int64_t in[3] = {3, HEIGHT, WIDTH};
    const TransformArg args[] = {{"policy", "cifar10", 0, {0}}, {"fill", NULL, 3, {128, 7, 9}}};
    picture(3);
    for (uint32_t i = 0; i < 25; i++) {
        const uint32_t word[4] = {(uint32_t)((((uint64_t)i << 32) + (1u << 31)) / 25), 0, 0,
                                  i % 2 ? 0x40000000u : 0x80000000u};
        apply("auto_augment", args, 2, in, word);
        Image out = kdrt_image(result, 3, HEIGHT, WIDTH);
        if (i != 14) // inverts with probability 0
            assert_crc("auto_augment", &out, expected[i]);
        const uint32_t never[4] = {word[0], 0xffffffffu, 0xffffffffu, 0};
        apply("auto_augment", args, 2, in, never);
        assert_memory_equal(result, bytes, sizeof bytes);
    }
}

static void jitter(void **state) {
    (void)state;
    const int64_t in[3] = {3, HEIGHT, WIDTH};
    picture(3);
    // Brightness alone, up to twice: the largest draw is a factor of 2 less 2^-32.
    const TransformArg bright = {"brightness", NULL, 1, {1}};
    const uint32_t words[4] = {0, 0xffffffffu, 0xffffffffu, 0xffffffffu};
    apply("color_jitter", &bright, 1, in, words);
    static uint8_t expected[3 * PIXELS];
    Image from = kdrt_image(bytes, 3, HEIGHT, WIDTH), to = kdrt_image(expected, 3, HEIGHT, WIDTH);
    Draws next = {0}; // the fifth draw is the first of the next block
    kdrt_image_brightness(&from, &to, 2 * (kdrt_draw(&next) * 0x1p-32));
    assert_memory_equal(result, expected, sizeof expected);
    const TransformArg sometimes[] = {{"strength", NULL, 1, {0.5}}, {"p", NULL, 1, {0}}};
    apply("color_jitter", sometimes, 2, in, words);
    assert_memory_equal(result, bytes, sizeof bytes);
    apply("grayscale", none, 0, in, words);
    assert_memory_equal(result, result + PIXELS, PIXELS);
    assert_memory_not_equal(result, bytes, PIXELS);
}

static void messages(void **state) {
    (void)state;
    const struct {
        TransformSpec spec;
        int64_t in[3];
        const char *message;
    } wrong[] = {
        {{"random_crop", 1, &(TransformArg){"pad", NULL, 1, {-1}}},
         {1, 2, 3},
         "random_crop: `pad` is -1, not between 0 and 65536"},
        {{"random_crop", 1, &(TransformArg){"pad", NULL, 1, {1.5}}},
         {1, 2, 3},
         "random_crop: `pad` is 1.5, no number of pixels"},
        {{"random_crop", 1, &(TransformArg){"pad", "4", 0, {0}}},
         {1, 2, 3},
         "random_crop: `pad` is one number"},
        {{"random_crop", 2, (TransformArg[]){{"pad", NULL, 1, {2}}, {"mode", "reflect", 0, {0}}}},
         {1, 2, 3},
         "random_crop: `pad` is 2, for images of 2 pixels to reflect"},
        {{"random_crop", 1, &(TransformArg){"mode", "mirror", 0, {0}}},
         {1, 2, 3},
         "random_crop: `mode` is \"zero\" or \"reflect\""},
        {{"random_crop", 1, &(TransformArg){"size", NULL, 1, {9}}},
         {1, 2, 3},
         "random_crop: `size` is 9, for padded images of 2 pixels"},
        {{"random_crop", 1, &(TransformArg){"fill", NULL, 3, {1, 2, 3}}},
         {1, 2, 3},
         "random_crop: `fill` has 3 bytes, for images of 1 channels"},
        {{"cutout", 2, (TransformArg[]){{"size", NULL, 1, {8}}, {"fill", NULL, 1, {256}}}},
         {1, 2, 3},
         "cutout: `fill` is a whole number from 0 to 255, or one for each channel"},
        {{"center_crop", 0, NULL}, {1, 2, 3}, "center_crop: needs a `size`"},
        {{"center_crop", 1, &(TransformArg){"size", NULL, 1, {3}}},
         {1, 2, 3},
         "center_crop: `size` is 3, for images of 2 pixels"},
        {{"resize", 1, &(TransformArg){"size", NULL, 3, {3, 3, 3}}},
         {1, 2, 3},
         "resize: `size` is a number of pixels or [height, width]"},
        {{"resize", 1, &(TransformArg){"size", NULL, 1, {60000}}},
         {1, 2, 3},
         "resize: an image of 2 x 3 pixels would be 90000 long"},
        {{"random_resized_crop", 2,
          (TransformArg[]){{"size", NULL, 1, {8}}, {"scale", NULL, 2, {0.5, 2}}}},
         {1, 2, 3},
         "random_resized_crop: `scale` is a list of two positive numbers, the smaller first, of at "
         "most 1"},
        {{"auto_augment", 1, &(TransformArg){"policy", "mine", 0, {0}}},
         {1, 2, 3},
         "auto_augment: `policy` is \"cifar10\""},
        {{"color_jitter", 1, &(TransformArg){"hue", NULL, 1, {0.6}}},
         {3, 2, 3},
         "color_jitter: `hue` is 0.6, not between 0 and 0.5"},
        {{"grayscale", 0, NULL},
         {2, 2, 3},
         "grayscale: images of 2 channels; it takes one (grey) or three (red, green, blue)"},
        {{"cutmix", 0, NULL}, {1, 2, 3}, "no transform is called `cutmix`"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        KdrtError error = {0};
        int64_t out[3];
        assert_false(kdrt_transform_shape(&wrong[i].spec, wrong[i].in, out, &error));
        assert_string_equal(error.text, wrong[i].message);
    }
    // What is not the same for all images is so afterwards, until a transform gives it a size.
    const int64_t any[3] = {3, -1, -1};
    int64_t out[3];
    KdrtError error = {0};
    TransformArg size = {"size", NULL, 1, {8}};
    assert_true(kdrt_transform_shape(&(TransformSpec){"resize", 1, &size}, any, out, &error));
    assert_int_equal(out[1], -1);
    assert_true(kdrt_transform_shape(&(TransformSpec){"center_crop", 1, &size}, any, out, &error));
    assert_int_equal(out[2], 8);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blends),
        cmocka_unit_test(tables),
        cmocka_unit_test(maps),
        cmocka_unit_test(resizes),
        cmocka_unit_test(crops_and_flips),
        cmocka_unit_test(sizes),
        cmocka_unit_test(draws_resized_crops),
        cmocka_unit_test(auto_augment),
        cmocka_unit_test(jitter),
        cmocka_unit_test(messages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
