// tests/unit/runtime/images.c -- folders of images: their files decoded, their layouts, what is
// wrong.
//
// The files are those of tests/fuzz/corpus/image, 18 x 13 pixels of our own; checksums are zlib's
// CRC-32 of [3, 13, 18] as Pillow's convert("RGB") has it.
#include "tests/unit/runtime/tiny.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <zlib.h>

#include "runtime/data.h"

enum { HEIGHT = 13, WIDTH = 18, IMAGE_BYTES = 3 * HEIGHT * WIDTH };

static const char *folder;
static Env env;

static int make_folder(void **state) {
    (void)state;
    folder = tiny_folder();
    return 0;
}

static int remove_folder(void **state) {
    (void)state;
    tiny_remove(folder);
    assert_int_equal(env.live_count, 0);
    return 0;
}

static char *corpus(const char *name, size_t *length) {
    return tiny_read(tiny_path("%s/fuzz/corpus/image/%s", KDC_TESTS_DIR, name), length);
}

static void put(const char *path, const char *bytes, size_t length) {
    char whole[4096];
    snprintf(whole, sizeof whole, "%s/%s", folder, path);
    for (char *slash = whole + strlen(folder) + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        mkdir(whole, 0777);
        *slash = '/';
    }
    FILE *file = fopen(whole, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, length, file), length);
    fclose(file);
}

static void put_image(const char *path, const char *name) {
    size_t length = 0;
    char *bytes = corpus(name, &length);
    put(path, bytes, length);
    free(bytes);
}

// ---- decoding -----------------------------------------------------------------------------------

/// Decodes a copy that ends where the file does. False with an error.
static bool decode(const char *bytes, size_t length, uint8_t pixels[IMAGE_BYTES],
                   KdrtError *error) {
    uint8_t *copy = malloc(length + !length), *work = malloc(IMAGE_BYTES);
    memcpy(copy, bytes, length);
    Image out = kdrt_image(pixels, 3, HEIGHT, WIDTH);
    bool ok = kdrt_image_decode((Bytes){copy, length}, &out, work, error);
    assert_true(ok == (error->status == 0));
    free(work);
    free(copy);
    return ok;
}

static void kinds_of_files(void **state) {
    (void)state;
    static const struct {
        const char *name;
        unsigned long crc;
    } files[] = {
        {"colour.png", 0x6e87220c},      {"alpha.png", 0x6e87220c},
        {"grey.png", 0xcb448978},        {"palette.png", 0xd553577a},
        {"two_colours.png", 0xaa83a2c9}, {"sixteen.png", 0x9d5d61da},
        {"colour.jpg", 0x5b90655a},      {"full.jpg", 0x20609dbf},
        {"progressive.jpg", 0x9be2e97b}, {"grey.jpg", 0x1e9eaa7f},
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        size_t length = 0;
        char *bytes = corpus(files[i].name, &length);
        uint8_t pixels[IMAGE_BYTES];
        KdrtError error = {0};
        if (!decode(bytes, length, pixels, &error))
            fail_msg("%s: %s", files[i].name, error.text);
        if (crc32(0, pixels, sizeof pixels) != files[i].crc)
            fail_msg("%s: other pixels: 0x%08lx", files[i].name, crc32(0, pixels, sizeof pixels));
        free(bytes);
    }
}

/// Every truncation is refused; every flipped bit reads or is refused.
static void damaged_files(void **state) {
    (void)state;
    static const char *const names[] = {"colour.png", "sixteen.png",     "two_colours.png",
                                        "colour.jpg", "progressive.jpg", "grey.jpg"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t length = 0;
        char *bytes = corpus(names[i], &length);
        uint8_t pixels[IMAGE_BYTES];
        for (size_t cut = 0; cut < length; cut++) {
            KdrtError error = {0};
            if (decode(bytes, cut, pixels, &error))
                fail_msg("%s: %zu of %zu bytes read", names[i], cut, length);
            assert_int_equal(error.status, 2);
        }
        for (size_t bit = 0; bit < 8 * length; bit += 3) {
            KdrtError error = {0};
            bytes[bit / 8] ^= (char)(1 << bit % 8);
            decode(bytes, length, pixels, &error);
            bytes[bit / 8] ^= (char)(1 << bit % 8);
        }
        free(bytes);
    }
}

static void messages_of_files(void **state) {
    (void)state;
    static const struct {
        const char *name;
        size_t cut, at;
        const char *message;
    } cases[] = {
        {"colour.png", 400, 0, "the PNG data is damaged (the file is truncated)"},
        {"colour.png", 0, 100, "the PNG data is damaged (IDAT: invalid literal/lengths set)"},
        {"colour.jpg", 700, 0, "the JPEG data is damaged (Premature end of JPEG file)"},
        {"cmyk.jpg", 0, 0, "a JPEG file of CMYK colours, for printing; convert it to RGB"},
        {"colour.png", 0, 1, "is neither PNG nor JPEG, going by its content; nothing else is read"},
        {"colour.png", 0, 19, "13 x 19 pixels; it had 13 x 18 when the run began"},
        {"colour.png", 0, 16, "13 x 16777234 pixels; an image has 1 to 67108864"},
        {"colour.png", 20, 0, "the file ends in its header; it is truncated"},
        {"colour.jpg", 10, 0, "the file ends in its header; it is truncated"},
        {"colour.jpg", 0, 20, "byte 20: no marker of a JPEG file"},
        {"colour.jpg", 0, 21, "byte 20: no frame in this JPEG file"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t length = 0;
        char *bytes = corpus(cases[i].name, &length);
        uint8_t pixels[IMAGE_BYTES];
        KdrtError error = {0};
        if (cases[i].at == 21)
            bytes[21] = (char)0xda;
        else if (cases[i].at)
            bytes[cases[i].at] ^= 1;
        assert_false(decode(bytes, cases[i].cut ? cases[i].cut : length, pixels, &error));
        assert_string_equal(error.text, cases[i].message);
        free(bytes);
    }
}

// ---- layouts ------------------------------------------------------------------------------------

/// Opens the folder `name`; the message has $ for where the test works.
static bool open_folder(const char *name, Arena *arena, Files *files, char message[2048]) {
    KdrtError error = {0};
    SourceRequest request = {&env, arena, tiny_path("%s/%s", folder, name), false};
    *arena = (Arena){.env = &env};
    bool ok = kdrt_source_open("images", &request, files, &error);
    const char *from = error.text;
    size_t length = 0;
    while (*from) {
        bool here = !strncmp(from, folder, strlen(folder));
        message[length++] = here ? '$' : *from;
        from += here ? strlen(folder) : 1;
    }
    message[length] = '\0';
    return ok;
}

static int64_t label_at(const FilePart *part, int64_t i) {
    return ((const int32_t *)(const void *)part->column[1].data)[i];
}

static void classes_are_folders(void **state) {
    (void)state;
    Arena arena;
    Files files;
    char message[2048];
    put_image("plain/zebra/1.png", "colour.png");
    put_image("plain/Ant/deep/er/b.JPEG", "grey.jpg");
    put_image("plain/Ant/deep/a.jpg", "colour.png"); // told by content, not by name
    put_image("plain/Ant/c.Png", "colour.jpg");
    put("plain/Ant/notes.txt", "no image", 8);
    put("plain/list.txt", "no class", 8);
    if (!open_folder("plain", &arena, &files, message))
        fail_msg("%s", message);
    assert_int_equal(files.classes, 2);
    assert_int_equal(files.train.count, 4);
    assert_int_equal(files.test.count, 0);
    const FileColumn *column = &files.train.column[0];
    assert_int_equal(column->shape[1] * 100 + column->shape[2], 100 * HEIGHT + WIDTH);
    const char *const order[] = {"Ant/c.Png", "Ant/deep/a.jpg", "Ant/deep/er/b.JPEG",
                                 "zebra/1.png"};
    for (int i = 0; i < 4; i++) {
        assert_string_equal(column->images->at[i].path, tiny_path("%s/plain/%s", folder, order[i]));
        assert_int_equal(label_at(&files.train, i), i == 3);
    }
    kdrt_arena_release(&arena);
}

static void parts_are_folders(void **state) {
    (void)state;
    Arena arena;
    Files files;
    char message[2048];
    put_image("parts/train/a/1.png", "colour.png");
    put_image("parts/train/b/1.png", "colour.png");
    put_image("parts/test/b/1.png", "colour.png");
    assert_true(open_folder("parts", &arena, &files, message));
    assert_int_equal(files.test.count, 1);
    assert_int_equal(label_at(&files.test, 0), 1);
    kdrt_arena_release(&arena);
    // Tiny ImageNet's: `test` has no classes, `val` has them in a text.
    put_image("tiny/train/n1/images/n1_0.JPEG", "colour.jpg");
    put_image("tiny/train/n2/images/n2_0.JPEG", "grey.jpg");
    put_image("tiny/test/images/test_0.JPEG", "colour.jpg");
    put_image("tiny/val/images/val_0.JPEG", "colour.jpg");
    put_image("tiny/val/images/val_1.JPEG", "colour.jpg");
    put("tiny/val/val_annotations.txt", "val_1.JPEG\tn1\t0\t0\t9\t9\nval_0.JPEG\tn2\t0\t0\t9\t9\n",
        44);
    if (!open_folder("tiny", &arena, &files, message))
        fail_msg("%s", message);
    assert_int_equal(files.test.count, 2);
    assert_int_equal(label_at(&files.test, 0) * 10 + label_at(&files.test, 1), 1);
    assert_string_equal(files.test.column[0].images->at[1].path,
                        tiny_path("%s/tiny/val/images/val_0.JPEG", folder));
    kdrt_arena_release(&arena);
}

static void messages_of_folders(void **state) {
    (void)state;
    put_image("bmp/a/1.png", "colour.png");
    put_image("bmp/a/2.bmp", "colour.png");
    put_image("empty/a/1.png", "colour.png");
    put("empty/b/none.txt", "", 0);
    put("none/none.txt", "", 0);
    put_image("other/train/a/1.png", "colour.png");
    put_image("other/val/a/1.png", "colour.png");
    put_image("other/val/c/1.png", "colour.png");
    put_image("line/train/a/1.png", "colour.png");
    put("line/val/val_annotations.txt", "1.png\ta\t0\n2.png a\n", 18);
    put_image("line/val/images/1.png", "colour.png");
    put_image("name/train/a/1.png", "colour.png");
    put("name/val/val_annotations.txt", "1.png\tb\t0\n", 10);
    put_image("gone/train/a/1.png", "colour.png");
    put("gone/val/val_annotations.txt", "1.png\ta\t0\n", 10);
    put("damaged/a/1.png", "\x89PNG", 4);
    static const char *const cases[][2] = {
        {"bmp", "$/bmp/a/2.bmp: only PNG and JPEG images are read; convert it"},
        {"empty", "$/empty/b: holds no PNG or JPEG file; a class has images"},
        {"none", "$/none: no folders; each class of images has one, with its files in it"},
        {"other", "$/other/val/c: the training part has no class `c`; it has 1, `a` is the first"},
        {"line", "$/line/val/val_annotations.txt: line 2: no file, tab, class, tab"},
        {"name", "$/name/val/val_annotations.txt: the training part has no class `b`; it has 1, "
                 "`a` is the first"},
        {"gone", "$/gone/val/images/1.png: cannot be opened: No such file or directory"},
        {"damaged",
         "$/damaged/a/1.png: is neither PNG nor JPEG, going by its content; nothing else "
         "is read"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Arena arena;
        Files files;
        char message[2048];
        assert_false(open_folder(cases[i][0], &arena, &files, message));
        assert_string_equal(message, cases[i][1]);
        kdrt_arena_release(&arena);
    }
    char deep[256] = "deep";
    for (int i = 0; i < 20; i++)
        strcat(deep, "/d");
    strcat(deep, "/1.png");
    put_image(deep, "colour.png");
    Arena arena;
    Files files;
    char message[2048];
    assert_false(open_folder("deep", &arena, &files, message));
    assert_non_null(strstr(message, "folders in folders, more than "));
    kdrt_arena_release(&arena);
}

// ---- loading ------------------------------------------------------------------------------------

typedef struct Loaded {
    Arena arena;
    Dataset dataset;
    Loader *loader;
    KdrtError error;
} Loaded;

static double mean[] = {0}, std_[] = {1};
static TransformArg size = {"size", NULL, 1, {8}};
static TransformSpec augment[] = {{"random_resized_crop", 1, &size}, {"horizontal_flip", 0, NULL}};
static TransformSpec prepare[] = {{"resize", 1, &size}, {"center_crop", 1, &size}};
static Field fields[] = {{"image", "image", DTYPE_f32, 3, {3, 8, 8}, 768, false, 0, NULL},
                         {"label", "label", DTYPE_i32, 0, {0}, 4, false, 0, NULL}};
static DataSpec spec = {.name = "dots",
                        .source = "images",
                        .classes = 2,
                        .count = 16,
                        .mean_count = 1,
                        .mean = mean,
                        .std = std_,
                        .field_count = 2,
                        .field = fields,
                        .augment_count = 2,
                        .augment = augment,
                        .prepare_count = 2,
                        .prepare = prepare};

static bool load(Loaded *loaded, const char *name, int64_t threads) {
    *loaded = (Loaded){.arena = {.env = &env}};
    if (!kdrt_dataset_open(&env, &loaded->arena, &spec, tiny_path("%s/%s", folder, name),
                           &loaded->dataset, &loaded->error))
        return false;
    loaded->loader = kdrt_loader_open(&env, kdrt_loader_slot_bytes(&loaded->dataset, 3), 16,
                                      loaded->dataset.room, threads, &loaded->error);
    LoaderJob job = {.dataset = &loaded->dataset,
                     .part = PART_TRAIN,
                     .training = true,
                     .seed = 1,
                     .batch = 3,
                     .fields = 3};
    kdrt_loader_start(loaded->loader, &job);
    return true;
}

static void unload(Loaded *loaded) {
    kdrt_loader_close(loaded->loader);
    kdrt_arena_release(&loaded->arena);
}

static void batches_of_files(void **state) {
    (void)state;
    static const char *const names[] = {"colour.png", "grey.jpg", "progressive.jpg", "palette.png"};
    for (int i = 0; i < 16; i++)
        put_image(tiny_path("many/%c/%d.png", "ab"[i / 8], i), names[i % 4]);
    static float pixels[2][16][192];
    for (int round = 0; round < 2; round++) { // one thread, four threads: the same bytes
        Loaded loaded;
        if (!load(&loaded, "many", round ? 4 : 1))
            fail_msg("%s", loaded.error.text);
        int64_t count = 0;
        for (const Batch *b; (b = kdrt_loader_next(loaded.loader, &loaded.error));)
            for (int64_t i = 0; i < b->count; i++)
                memcpy(pixels[round][count++], (const float *)b->field[0] + 192 * i, 768);
        assert_int_equal(count, 16);
        unload(&loaded);
    }
    assert_memory_equal(pixels[0], pixels[1], sizeof pixels[0]);
    // A file that is damaged after the run began ends it, and is named.
    for (int64_t threads = 1; threads <= 4; threads += 3) {
        Loaded loaded;
        assert_true(load(&loaded, "many", threads));
        while (kdrt_loader_next(loaded.loader, &loaded.error))
            continue;
        assert_int_equal(loaded.error.status, 0);
        size_t length = 0;
        char *bytes = corpus("colour.png", &length);
        put("many/a/0.png", bytes, 100);
        LoaderJob job = {.dataset = &loaded.dataset, .part = PART_TRAIN, .batch = 3, .fields = 3};
        kdrt_loader_start(loaded.loader, &job);
        assert_null(kdrt_loader_next(loaded.loader, &loaded.error));
        assert_string_equal(loaded.error.text + strlen(folder),
                            "/many/a/0.png: the PNG data is damaged (the file is truncated)");
        char *longer = calloc(1, 1 << 16);
        memcpy(longer, bytes, length);
        put("many/a/0.png", longer, 1 << 16);
        loaded.error = (KdrtError){0};
        kdrt_loader_start(loaded.loader, &job);
        assert_null(kdrt_loader_next(loaded.loader, &loaded.error));
        assert_string_equal(loaded.error.text + strlen(folder),
                            "/many/a/0.png: is larger than when the run began");
        put("many/a/0.png", bytes, length);
        free(longer);
        free(bytes);
        unload(&loaded);
    }
    // A validation part is of all classes, though the files come class by class.
    spec.count = 8;
    spec.holdout = 8;
    Loaded held;
    assert_true(load(&held, "many", 1));
    int64_t sum = 0;
    for (int64_t i = 0; i < 16; i++) {
        const ImageFile *file = &held.dataset.files.train.column[0].images->at[i];
        bool is_b = strstr(file->path, "/b/") != NULL;
        assert_int_equal(label_at(&held.dataset.files.train, i), is_b);
        sum += i >= 8 && is_b;
    }
    assert_true(sum > 0 && sum < 8);
    unload(&held);
    spec.count = 16;
    spec.holdout = 0;
    // What does not come out as the program was compiled for is named before the first step.
    spec.prepare_count = 1;
    Loaded loaded;
    assert_false(load(&loaded, "many", 1));
    assert_string_equal(loaded.error.text + strlen(folder),
                        "/many/a/0.png: 13 x 18 pixels become 8 x 11, but the program was compiled "
                        "for 8 x 8");
    unload(&loaded);
    spec.prepare_count = 2;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kinds_of_files),    cmocka_unit_test(damaged_files),
        cmocka_unit_test(messages_of_files), cmocka_unit_test(classes_are_folders),
        cmocka_unit_test(parts_are_folders), cmocka_unit_test(messages_of_folders),
        cmocka_unit_test(batches_of_files),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
