// tests/unit/runtime/data.c -- readers and their messages, the loader.
#include "tests/unit/runtime/tiny.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <zlib.h>

#include "runtime/data.h"

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

// ---- IDX bytes ----------------------------------------------------------------------------------

static size_t pack(const uint8_t *from, size_t length, uint8_t *to, size_t room) {
    z_stream z = {0};
    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = (Bytef *)(uintptr_t)from;
    z.avail_in = (uInt)length;
    z.next_out = to;
    z.avail_out = (uInt)room;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    deflateEnd(&z);
    return room - z.avail_out;
}

static const uint8_t plain[] = {0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 10, 11, 12, 13, 14, 15};

static void assert_reads(const uint8_t *bytes, size_t length) {
    Arena arena = {.env = &env};
    IdxLimits limits = {1000, false};
    IdxArray array;
    KdrtError error = {0};
    if (!kdrt_idx_read((Bytes){bytes, length}, &limits, &arena, &array, &error))
        fail_msg("%s", error.text);
    assert_int_equal(array.rank, 2);
    assert_int_equal(array.shape[1], 3);
    assert_memory_equal(array.data, plain + 12, 6);
    kdrt_arena_release(&arena);
}

static void assert_refuses(const uint8_t *bytes, size_t length, const char *message) {
    Arena arena = {.env = &env};
    IdxLimits limits = {1000, false};
    IdxArray array;
    KdrtError error = {0};
    // A copy of its own, so that a sanitizer sees any read past its end.
    uint8_t *copy = malloc(length ? length : 1);
    memcpy(copy, bytes, length);
    assert_false(kdrt_idx_read((Bytes){copy, length}, &limits, &arena, &array, &error));
    assert_int_equal(error.status, 2);
    if (message)
        assert_string_equal(error.text, message);
    free(copy);
    kdrt_arena_release(&arena);
}

static void idx_plain_and_packed(void **state) {
    (void)state;
    uint8_t packed[256];
    assert_reads(plain, sizeof plain);
    size_t length = pack(plain, sizeof plain, packed, sizeof packed);
    assert_reads(packed, length);
    // Two members, cut inside the header.
    length = pack(plain, 7, packed, sizeof packed);
    length += pack(plain + 7, sizeof plain - 7, packed + length, sizeof packed - length);
    assert_reads(packed, length);
}

static void idx_messages(void **state) {
    (void)state;
    static const struct {
        uint8_t bytes[24];
        size_t length;
        const char *message;
    } cases[] = {
        {{0}, 0, "byte 0: the file ends in its header"},
        {{0, 0, 8}, 3, "byte 3: the file ends in its header"},
        {{0, 0, 8, 2, 0, 0, 0}, 7, "byte 7: the file ends in its header"},
        {{'P', 'K', 3, 4, 0, 0}, 6, "byte 0: no IDX file: it begins with 50 4b instead of 00 00"},
        {{0, 0, 13, 1, 0, 0, 0, 0},
         8,
         "byte 2: elements of type 0x0d (f32); only unsigned bytes (0x08) are read"},
        {{0, 0, 8, 5}, 4, "byte 3: 5 axes; 1 to 4 are read"},
        {{0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 0}, 12, "byte 8: axis 1 has no extent"},
        {{0,   0,   8,   4,   255, 255, 255, 255, 255, 255,
          255, 255, 255, 255, 255, 255, 255, 255, 255, 255},
         20,
         "byte 4: the extents are larger than any file"},
        {{0, 0, 8, 1, 0, 1, 0, 0},
         8,
         "byte 4: the header promises 65536 bytes, more than the "
         "limit of 1000"},
        {{0, 0, 8, 1, 0, 0, 0, 4, 1, 2},
         10,
         "byte 10: the data ends here, but the header promises 12 bytes; the file is truncated, "
         "fetch it again"},
        {{0, 0, 8, 1, 0, 0, 0, 2, 1, 2, 3},
         11,
         "byte 10: the data goes on after the 10 bytes that the header promises"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_refuses(cases[i].bytes, cases[i].length, cases[i].message);
}

static void idx_packed_messages(void **state) {
    (void)state;
    uint8_t packed[256], longer[sizeof plain + 1] = {0};
    size_t length = pack(plain, sizeof plain - 1, packed, sizeof packed);
    assert_refuses(packed, length,
                   "byte 17: the data ends here, but the header promises 18 bytes; the file is "
                   "truncated, fetch it again");
    memcpy(longer, plain, sizeof plain);
    length = pack(longer, sizeof longer, packed, sizeof packed);
    assert_refuses(packed, length,
                   "byte 18: the data goes on after the 18 bytes that the header promises");
    length = pack(plain, sizeof plain, packed, sizeof packed);
    assert_refuses(packed, length - 3,
                   tiny_path("byte %zu: the compressed data ends in its middle; the file is "
                             "truncated, fetch it again",
                             length - 3));
    packed[length - 6] ^= 1;
    assert_refuses(packed, length,
                   tiny_path("byte %zu: the compressed data is damaged (incorrect data check); "
                             "fetch the file again",
                             length - 4));
    Arena arena = {.env = &env};
    IdxLimits limits = {INT64_MAX, false};
    IdxArray array;
    KdrtError error = {0};
    uint8_t wide[] = {0, 0, 8, 1, 255, 255, 255, 255};
    length = pack(wide, sizeof wide, packed, sizeof packed);
    assert_false(kdrt_idx_read((Bytes){packed, length}, &limits, &arena, &array, &error));
    assert_non_null(strstr(error.text, "compressed bytes can hold"));
    kdrt_arena_release(&arena);
}

/// Every truncation and every flipped bit of a file either reads or is refused; nothing else.
static void idx_damage(void **state) {
    (void)state;
    uint8_t packed[256];
    size_t length = pack(plain, sizeof plain, packed, sizeof packed);
    const uint8_t *files[] = {plain, packed};
    const size_t lengths[] = {sizeof plain, length};
    for (int f = 0; f < 2; f++) {
        for (size_t cut = 0; cut < lengths[f]; cut++)
            assert_refuses(files[f], cut, NULL);
        for (size_t bit = 0; bit < 8 * lengths[f]; bit++) {
            uint8_t *copy = malloc(lengths[f]);
            memcpy(copy, files[f], lengths[f]);
            copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
            Arena arena = {.env = &env, .limit_bytes = 1 << 20};
            IdxLimits limits = {1 << 16, false};
            IdxArray array;
            KdrtError error = {0};
            bool ok = kdrt_idx_read((Bytes){copy, lengths[f]}, &limits, &arena, &array, &error);
            assert_true(ok == (error.status == 0));
            kdrt_arena_release(&arena);
            free(copy);
        }
    }
}

// ---- sources ------------------------------------------------------------------------------------

static bool probe(const char *source, const char *name, KdrtDataInfo *info, char *message) {
    KdrtError error = {0};
    bool ok = kdrt_data_probe(source, tiny_path("%s/%s", folder, name), info, &error);
    char *found = strstr(error.text, folder); // $ stands for the folder
    strcpy(message, error.text);
    if (found) {
        message[found - error.text] = '$';
        strcpy(message + (found - error.text) + 1, found + strlen(folder));
    }
    return ok;
}

static void probes_idx(void **state) {
    (void)state;
    KdrtDataInfo info;
    char message[2048];
    tiny_write_data(tiny_path("%s/good", folder));
    assert_true(probe("idx", "good", &info, message));
    assert_int_equal(info.count, TINY_TRAIN);
    assert_int_equal(info.test_count, TINY_TEST);
    assert_int_equal(info.classes, TINY_CLASSES);
    assert_int_equal(info.field_count, 2);
    assert_string_equal(info.field[0].name, "image");
    assert_string_equal(info.field[0].dtype, "u8");
    assert_int_equal(info.field[0].rank, 3);
    assert_int_equal(info.field[0].shape[2], 6);
    assert_string_equal(info.field[1].name, "label");
    assert_string_equal(info.field[1].dtype, "i32");
    assert_int_equal(info.field[1].rank, 0);

    assert_false(probe("idx", "none", &info, message));
    assert_string_equal(message, "$/none: no such directory; --data DIR says where the data is");
    KdrtError error = {0};
    assert_false(kdrt_data_probe("idx", "/usr/share/datasets/none", &info, &error));
    assert_string_equal(error.text, "/usr/share/datasets/none: no such directory; `apt-get install "
                                    "dataset-none` brings it, and --data DIR says where else the "
                                    "data is");
    mkdir(tiny_path("%s/empty", folder), 0777);
    assert_false(probe("idx", "empty", &info, message));
    assert_string_equal(message, "$/empty: no train-images-idx3-ubyte, with or without .gz (or "
                                 ".idx3-ubyte); --data DIR says where the data is");
    assert_false(probe("npz", "empty", &info, message));
    assert_string_equal(message, "no data source is called `npz`");
    assert_false(probe("idx", "good/t10k-labels-idx1-ubyte", &info, message));
    assert_string_equal(message, "$/good/t10k-labels-idx1-ubyte: is not a directory");

    static const uint8_t few[] = {0, 0, 8, 1, 0, 0, 0, 2, 1, 1};
    tiny_write(tiny_path("%s/good", folder), "t10k-labels-idx1-ubyte", few, sizeof few);
    assert_false(probe("idx", "good", &info, message));
    assert_non_null(strstr(message, "t10k-labels-idx1-ubyte: byte 4: 2 labels for the 30 images"));
    unlink(tiny_path("%s/good/t10k-labels-idx1-ubyte", folder));
    assert_false(probe("idx", "good", &info, message));
    unlink(tiny_path("%s/good/t10k-images-idx3-ubyte", folder));
    assert_true(probe("idx", "good", &info, message));
    assert_int_equal(info.test_count, 0);
}

static void probes_cifar(void **state) {
    (void)state;
    KdrtDataInfo info;
    char message[2048];
    static uint8_t records[3 * 3074];
    const char *directory = tiny_path("%s/cifar", folder);
    mkdir(directory, 0777);
    for (int i = 0; i < 3; i++)
        records[i * 3074 + 1] = (uint8_t)(90 + i);
    tiny_write(directory, "train.bin", records, sizeof records);
    tiny_write(directory, "test.bin", records, 3074);
    assert_true(probe("cifar100", "cifar", &info, message));
    assert_int_equal(info.count, 3);
    assert_int_equal(info.test_count, 1);
    assert_int_equal(info.classes, 100);
    assert_int_equal(info.field_count, 3);
    records[3074] = 20;
    tiny_write(directory, "train.bin", records, sizeof records);
    assert_false(probe("cifar100", "cifar", &info, message));
    assert_string_equal(message, "$/cifar/train.bin: byte 3074: label 20; there are 20 classes");
    tiny_write(directory, "train.bin", records, 3000);
    assert_false(probe("cifar100", "cifar", &info, message));
    assert_string_equal(message, "$/cifar/train.bin: byte 3000: the file ends in the middle of a "
                                 "record of 3074 bytes; it is truncated or of another format");
    assert_false(probe("cifar10", "cifar", &info, message));
    assert_string_equal(message, "$/cifar: no data_batch_1.bin; --data DIR says where the data is "
                                 "(the binary version)");
    for (int i = 1; i <= 2; i++)
        tiny_write(directory, tiny_path("data_batch_%d.bin", i), records + 3074, 3073);
    memset(records, 3, 3073);
    tiny_write(directory, "data_batch_1.bin", records, 3073);
    memset(records, 4, 3073);
    tiny_write(directory, "data_batch_2.bin", records, 3073);
    assert_true(probe("cifar10", "cifar", &info, message));
    assert_int_equal(info.count, 2);
}

static void real_fashion_mnist(void **state) {
    (void)state;
    const char *path = "/usr/share/datasets/fashion-mnist";
    if (access(path, R_OK)) {
        skip();
        return;
    }
    KdrtDataInfo info;
    KdrtError error = {0};
    assert_true(kdrt_data_probe("idx", path, &info, &error));
    assert_int_equal(info.count, 60000);
    assert_int_equal(info.test_count, 10000);
    assert_int_equal(info.classes, 10);
    assert_int_equal(info.field[0].shape[1], 28);
}

// ---- the program and its data -------------------------------------------------------------------

static void data_is_what_was_compiled_for(void **state) {
    (void)state;
    Field field[3] = {{"image", "image", DTYPE_f32, 3, {1, 5, 6}, 120, false, 0, NULL},
                      {"label", "label", DTYPE_i32, 0, {0}, 4, false, 0, NULL},
                      {"index", "index", DTYPE_i32, 0, {0}, 4, false, 0, NULL}};
    double mean[] = {0.5}, std[] = {0.25};
    const char *path = tiny_path("%s/compiled", folder);
    tiny_write_data(path);
    static const struct {
        const char *what;
        int64_t classes, count, test_count, holdout, height;
        const char *column, *message;
    } cases[] = {
        {"right", 4, 90, 30, 10, 5, "image", ""},
        {"count", 4, 90, 30, 0, 5, "image",
         "`dots` has 100 training examples, but the program was compiled for 90; compile it "
         "against this data"},
        {"test count", 4, 100, 31, 0, 5, "image",
         "`dots` has 30 test examples, but the program was compiled for 31; compile it against "
         "this data"},
        {"classes", 3, 100, 30, 0, 5, "image",
         "label 3 of example 1; the program was compiled for 3 classes (0 to 2)"},
        {"shape", 4, 100, 30, 0, 7, "image",
         "`dots.image` has the shape [1, 5, 6], but the program was compiled for [1, 7, 6]; "
         "compile it against this data"},
        {"field", 4, 100, 30, 0, 5, "picture", "`dots` has no field `picture`"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Arena arena = {.env = &env};
        Dataset dataset;
        KdrtError error = {0};
        field[0].shape[1] = cases[i].height;
        field[0].column = cases[i].column;
        DataSpec spec = {.name = "dots",
                         .source = "idx",
                         .classes = cases[i].classes,
                         .count = cases[i].count,
                         .test_count = cases[i].test_count,
                         .holdout = cases[i].holdout,
                         .mean_count = 1,
                         .mean = mean,
                         .std = std,
                         .field_count = 3,
                         .field = field};
        bool ok = kdrt_dataset_open(&env, &arena, &spec, path, &dataset, &error);
        if (ok != !*cases[i].message || !strstr(error.text, cases[i].message))
            fail_msg("%s: %s", cases[i].what, error.text);
        kdrt_arena_release(&arena);
    }
}

// ---- the loader ---------------------------------------------------------------------------------

static void shuffles_are_permutations(void **state) {
    (void)state;
    int64_t a[1000], b[1000];
    bool seen[1000] = {false};
    kdrt_shuffle(a, 1000, 5, 0, 3);
    kdrt_shuffle(b, 1000, 5, 0, 3);
    assert_memory_equal(a, b, sizeof a);
    int fixed = 0;
    for (int i = 0; i < 1000; i++) {
        assert_true(a[i] >= 0 && a[i] < 1000 && !seen[a[i]]);
        seen[a[i]] = true;
        fixed += a[i] == i;
    }
    assert_true(fixed < 10); // one is expected
    kdrt_shuffle(b, 1000, 5, 0, 4);
    assert_memory_not_equal(a, b, sizeof a);
    kdrt_shuffle(b, 1000, 5, 1, 3);
    assert_memory_not_equal(a, b, sizeof a);
    kdrt_shuffle(a, 0, 5, 1, 3);
}

static void every_example_once(void **state) {
    (void)state;
    Field field[3] = {{"image", "image", DTYPE_f64, 3, {1, 5, 6}, 240, false, 0, NULL},
                      {"label", "label", DTYPE_i32, 0, {0}, 4, false, 0, NULL},
                      {"index", "index", DTYPE_i32, 0, {0}, 4, false, 0, NULL}};
    TransformArg pad = {"pad", NULL, 1, {2}};
    TransformSpec augment[] = {{"random_crop", 1, &pad}, {"horizontal_flip", 0, NULL}};
    double mean[] = {0.5}, std[] = {0.25};
    DataSpec spec = {.name = "dots",
                     .source = "idx",
                     .classes = 4,
                     .count = 90,
                     .test_count = 30,
                     .holdout = 10,
                     .mean_count = 1,
                     .mean = mean,
                     .std = std,
                     .field_count = 3,
                     .field = field,
                     .augment_count = 2,
                     .augment = augment};
    const char *path = tiny_path("%s/loaded", folder);
    tiny_write_data(path);
    Arena arena = {.env = &env};
    Dataset dataset;
    KdrtError error = {0};
    assert_true(kdrt_dataset_open(&env, &arena, &spec, path, &dataset, &error));
    Loader *loader =
        kdrt_loader_open(&env, kdrt_loader_slot_bytes(&dataset, 16), 100, dataset.room, 1, &error);
    assert_non_null(loader);

    // Training: all 90, shuffled, the pixels of an example the same in whichever batch it is.
    static double first[90][30];
    for (int batch = 16; batch >= 7; batch -= 9) {
        LoaderJob job = {.dataset = &dataset,
                         .part = PART_TRAIN,
                         .training = true,
                         .seed = 1,
                         .epoch = 2,
                         .batch = batch,
                         .fields = 7};
        bool seen[90] = {false};
        int total = 0;
        kdrt_loader_start(loader, &job);
        for (const Batch *b; (b = kdrt_loader_next(loader, &error));) {
            assert_true(b->count == batch || total + b->count == 90);
            const double *pixels = b->field[0];
            const int32_t *label = b->field[1], *index = b->field[2];
            for (int i = 0; i < b->count; i++, total++) {
                assert_true(index[i] >= 0 && index[i] < 90 && !seen[index[i]]);
                seen[index[i]] = true;
                assert_int_equal(label[i], index[i] * 7 % TINY_CLASSES);
                if (batch == 16)
                    memcpy(first[index[i]], pixels + 30 * i, sizeof first[0]);
                else
                    assert_memory_equal(first[index[i]], pixels + 30 * i, sizeof first[0]);
            }
        }
        assert_int_equal(total, 90);
    }

    // Going on in the middle gives the rest; a pass may be given up at any time.
    LoaderJob job = {.dataset = &dataset,
                     .part = PART_TRAIN,
                     .training = true,
                     .seed = 1,
                     .epoch = 2,
                     .batch = 16,
                     .fields = 4};
    int32_t whole[96] = {0};
    kdrt_loader_start(loader, &job);
    for (int k = 0; k < 6; k++) {
        const Batch *b = kdrt_loader_next(loader, &error);
        memcpy(whole + 16 * k, b->field[2], (size_t)b->count * 4);
    }
    assert_null(kdrt_loader_next(loader, &error));
    for (int from = 0; from <= 6; from++) {
        job.first_batch = from;
        kdrt_loader_start(loader, &job);
        const Batch *b = kdrt_loader_next(loader, &error);
        if (from == 6) {
            assert_null(b);
            break;
        }
        assert_null(b->field[0]);
        assert_memory_equal(b->field[2], whole + 16 * from, (size_t)b->count * 4);
    }

    // Evaluation: in order, not augmented; the validation part is the end of the training files.
    job = (LoaderJob){.dataset = &dataset, .part = PART_VALIDATION, .batch = 16, .fields = 7};
    kdrt_loader_start(loader, &job);
    const Batch *b = kdrt_loader_next(loader, &error);
    assert_int_equal(b->count, 10);
    const uint8_t *pixels = dataset.files.train.column[0].data + 90 * 30;
    for (int i = 0; i < 10; i++) {
        assert_int_equal(((const int32_t *)b->field[1])[i], (90 + i) * 7 % TINY_CLASSES);
        assert_int_equal(((const int32_t *)b->field[2])[i], i);
        for (int k = 0; k < 30; k++)
            assert_true(((const double *)b->field[0])[30 * i + k] ==
                        (pixels[30 * i + k] / 255.0 - 0.5) / 0.25);
    }
    assert_null(kdrt_loader_next(loader, &error));
    kdrt_loader_close(loader);
    kdrt_arena_release(&arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(idx_plain_and_packed),
        cmocka_unit_test(idx_messages),
        cmocka_unit_test(idx_packed_messages),
        cmocka_unit_test(idx_damage),
        cmocka_unit_test(probes_idx),
        cmocka_unit_test(probes_cifar),
        cmocka_unit_test(real_fashion_mnist),
        cmocka_unit_test(data_is_what_was_compiled_for),
        cmocka_unit_test(shuffles_are_permutations),
        cmocka_unit_test(every_example_once),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
