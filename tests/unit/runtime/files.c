// tests/unit/runtime/files.c -- bytes of checkpoints and weights: what is damaged is refused.
#include "tests/unit/runtime/tiny.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "runtime/run.h"

static const char *folder;
static Env env;

static int make_run(void **state) {
    (void)state;
    folder = tiny_folder();
    tiny_write_data(tiny_path("%s/data", folder));
    return tiny_run(folder, NULL, tiny_path("--epochs 1 --out %s/run", folder));
}

static int remove_all(void **state) {
    (void)state;
    tiny_remove(folder);
    assert_int_equal(env.live_count, 0);
    return 0;
}

static bool verifies(const uint8_t *bytes, size_t length) {
    uint8_t *copy = malloc(length ? length : 1); // of its own, so that reading past its end is seen
    KdrtError error = {0};
    memcpy(copy, bytes, length);
    bool ok = kdrt_checkpoint_verify((Bytes){copy, length}, &error);
    assert_true(ok == (error.status == 0));
    free(copy);
    return ok;
}

static void checkpoints_show_any_damage(void **state) {
    (void)state;
    size_t length = 0;
    uint8_t *bytes =
        (uint8_t *)tiny_read(tiny_path("%s/run/checkpoints/000002.kdck", folder), &length);
    assert_non_null(bytes);
    assert_true(verifies(bytes, length));
    for (size_t cut = 0; cut < length; cut++)
        if (verifies(bytes, cut))
            fail_msg("cut at byte %zu is not noticed", cut);
    for (size_t bit = 0; bit < 8 * length; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        if (verifies(bytes, length))
            fail_msg("bit %zu of byte %zu is not noticed", bit % 8, bit / 8);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    uint8_t *longer = malloc(length + 1);
    memcpy(longer, bytes, length);
    longer[length] = 0;
    assert_false(verifies(longer, length + 1));
    free(longer);
    free(bytes);
}

// ---- safetensors --------------------------------------------------------------------------------

static void weights_come_back(void **state) {
    (void)state;
    Arena arena = {.env = &env};
    KdrtError error = {0};
    const float weight[6] = {1, 2, 3, 4, 5, 6};
    const double scale = 0.5;
    const int32_t steps = 7;
    const uint8_t mask[3] = {1, 0, 1};
    SafeTensor tensor[] = {
        {"mask", DTYPE_bool, 1, {3}, mask, 3},
        {"steps", DTYPE_i32, 0, {0}, &steps, 4},
        {"b.\"quoted\"", DTYPE_f32, 2, {2, 3}, weight, 24},
        {"a", DTYPE_f32, 1, {0}, NULL, 0},
        {"scale", DTYPE_f64, 0, {0}, &scale, 8},
    };
    const char *path = tiny_path("%s/w.safetensors", folder);
    assert_true(kdrt_safetensors_write(&env, path, tensor, 5, &error));
    Bytes bytes;
    assert_true(kdrt_io_read_file(&env, &arena, path, 0, 0, &bytes, &error));
    uint64_t header_bytes;
    memcpy(&header_bytes, bytes.at, 8);
    assert_int_equal(header_bytes % 8, 0);
    SafeTensor *back;
    int64_t count;
    if (!kdrt_safetensors_read(bytes, &arena, &back, &count, &error))
        fail_msg("%s", error.text);
    assert_int_equal(count, 5);
    static const char *const order[] = {"scale", "a", "b.\"quoted\"", "steps", "mask"};
    for (int i = 0; i < 5; i++)
        assert_string_equal(back[i].name, order[i]);
    assert_memory_equal(back[2].data, weight, sizeof weight);
    assert_int_equal(back[2].shape[1], 3);
    assert_memory_equal(back[4].data, mask, 3);
    kdrt_arena_release(&arena);
}

static void assert_weights_refused(const char *header, size_t data_bytes, const char *message) {
    Arena arena = {.env = &env};
    size_t length = strlen(header);
    uint8_t *bytes = calloc(8 + length + data_bytes, 1);
    uint64_t header_bytes = length;
    memcpy(bytes, &header_bytes, 8);
    memcpy(bytes + 8, header, length);
    SafeTensor *tensor;
    int64_t count;
    KdrtError error = {0};
    if (kdrt_safetensors_read((Bytes){bytes, 8 + length + data_bytes}, &arena, &tensor, &count,
                              &error))
        fail_msg("accepted: %s", header);
    assert_string_equal(error.text, message);
    free(bytes);
    kdrt_arena_release(&arena);
}

static void weights_are_read_strictly(void **state) {
    (void)state;
#define ENTRY(dtype, shape, offsets)                                                               \
    "{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"
    static const struct {
        const char *header;
        size_t data_bytes;
        const char *message;
    } cases[] = {
        {" {}", 0, "byte 8: the header does not begin with `{`"},
        {"{\"a\":" ENTRY("F31", "[1]", "[0,4]") "}", 4,
         "tensor `a`: has a dtype that is not known here"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4,
         "tensor `a`: needs dtype, shape and data_offsets, and nothing else"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"x\":1}}", 4,
         "tensor `a`: needs dtype, shape and data_offsets, and nothing else"},
        {"{\"a\":" ENTRY("F32", "[-1]", "[0,4]") "}", 4,
         "tensor `a`: has an extent that is no whole number in range"},
        {"{\"a\":" ENTRY("F32", "[1.0]", "[0,4]") "}", 4,
         "tensor `a`: has an extent that is no whole number in range"},
        {"{\"a\":" ENTRY("F32", "[140737488355328,140737488355328]", "[0,4]") "}", 4,
         "tensor `a`: has another size than its shape and dtype say"},
        {"{\"a\":" ENTRY("F32", "[2]", "[0,4]") "}", 4,
         "tensor `a`: has another size than its shape and dtype say"},
        {"{\"a\":" ENTRY("F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]") "}", 4,
         "tensor `a`: has no shape of at most 8 axes"},
        {"{\"a\":" ENTRY("F32", "[1]", "[0,4,8]") "}", 4,
         "tensor `a`: has data_offsets that are not two whole numbers in range"},
        {"{\"a\":" ENTRY("F32", "[2]", "[0,8]") "}", 4, "tensor `a`: lies outside of the file"},
        {"{\"a\":" ENTRY("F32", "[1]", "[8,4]") "}", 8, "tensor `a`: lies outside of the file"},
        {"{\"a\":" ENTRY("F32", "[1]", "[4,8]") "}", 8,
         "tensor `a`: there is a gap before it, or it overlaps another"},
        {"{\"a\":" ENTRY("F32", "[1]", "[0,4]") ",\"b\":" ENTRY("F32", "[1]", "[0,4]") "}", 4,
         "tensor `b`: there is a gap before it, or it overlaps another"},
        {"{\"a\":" ENTRY("F32", "[1]", "[0,4]") "}", 6, "there are 2 bytes after the last tensor"},
        {"{\"a\":" ENTRY("F32", "[1]", "[0,4]") ",\"a\":" ENTRY("F32", "[1]", "[0,4]") "}", 4,
         "byte 65: the header is damaged: duplicate object key near '\"a\"'"},
        {"{\"__metadata__\":{\"a\":1}}", 0, "__metadata__ holds something else than texts"},
        {"{}{}", 0, "byte 11: the header is damaged: end of file expected near '{'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_weights_refused(cases[i].header, cases[i].data_bytes, cases[i].message);

    Arena arena = {.env = &env};
    SafeTensor *tensor;
    int64_t count;
    KdrtError error = {0};
    const uint8_t far[] = {255, 0, 0, 0, 0, 0, 0, 0, '{', '}'};
    assert_false(kdrt_safetensors_read((Bytes){far, 10}, &arena, &tensor, &count, &error));
    assert_string_equal(error.text, "byte 0: a header of 255 bytes, in a file of 10");
    error.status = 0;
    assert_false(kdrt_safetensors_read((Bytes){far, 7}, &arena, &tensor, &count, &error));
    assert_string_equal(error.text, "byte 7: the file ends in its header");
    kdrt_arena_release(&arena);
}

// ---- small things -------------------------------------------------------------------------------

static void checksum(void **state) {
    (void)state;
    assert_int_equal(kdrt_crc32c(0, "123456789", 9), 0xe3069283u); // RFC 3720's check value
    assert_int_equal(kdrt_crc32c(kdrt_crc32c(0, "1234", 4), "56789", 5), 0xe3069283u);
    assert_int_equal(kdrt_crc32c(0, "", 0), 0);
}

static void arenas_have_limits(void **state) {
    (void)state;
    Arena arena = {.env = &env, .limit_bytes = 1 << 20};
    assert_non_null(kdrt_arena_alloc(&arena, 1 << 19));
    assert_null(kdrt_arena_alloc(&arena, 1 << 20));
    assert_null(kdrt_arena_array(&arena, SIZE_MAX / 2, 3));
    for (int i = 0; i < 100; i++) {
        uint8_t *at = kdrt_arena_alloc(&arena, (size_t)(i * 37));
        assert_non_null(at);
        assert_int_equal((uintptr_t)at % 64, 0);
        for (int k = 0; k < i * 37; k++)
            assert_int_equal(at[k], 0);
        memset(at, 255, (size_t)(i * 37));
    }
    kdrt_arena_release(&arena);
    assert_int_equal(env.live_count, 0);
}

static void broken_manifests_are_bugs(void **state) {
    (void)state;
    char *good = tiny_manifest("/data", "0123456789abcdef", "net.bias");
    static const char *const cases[][3] = {
        {"\"storage_bytes\":1152", "\"storage_bytes\":1000", "outside of its buffer lies"},
        {"\"graph\":4}", "\"graph\":9}", "out of range is `graph`"},
        {"\"choose\":-1", "\"choose\": 3", "another number of conditions has `full`"},
        {"{\"when\":\"\",\"graph\":4}", "                     ", "no variants in `full`"},
        {"\"init\":0", "\"imit\":0", "no integer `init`"},
        {"\"kind\":\"slot\"", "\"kind\":\"slob\"", "unknown kind of `teach.velocity`"},
        {"\"dtype\":\"i32\"", "\"dtype\":\"i31\"", "no dtype `dtype`"},
        {"\"shape\":[4]", "\"shape\":[9]", ""},
        {"\"name\":\"tiny\",", "\"name\":tinyti,", "byte "},
        {"\"role\":\"init\",\"empty\":false", "\"role\":\"init\",\"empty\":null ", "no true"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *text = strdup(good), *place = strstr(text, cases[i][0]);
        assert_non_null(place);
        assert_int_equal(strlen(cases[i][0]), strlen(cases[i][1]));
        memcpy(place, cases[i][1], strlen(cases[i][1]));
        KdrtProgram program = tiny_program(text);
        Arena arena = {.env = &env};
        Manifest manifest;
        KdrtError error = {0};
        bool ok = kdrt_manifest_read(&program, &arena, &manifest, &error);
        if (*cases[i][2] && (ok || error.status != 70 || !strstr(error.text, cases[i][2])))
            fail_msg("%s: %s", cases[i][1], error.text);
        kdrt_arena_release(&arena);
        free(text);
    }
    // Cut anywhere, it is refused.
    for (size_t cut = 0; cut < strlen(good); cut += 7) {
        KdrtProgram program = tiny_program(good);
        program.manifest_bytes = cut;
        Arena arena = {.env = &env};
        Manifest manifest;
        KdrtError error = {0};
        assert_false(kdrt_manifest_read(&program, &arena, &manifest, &error));
        kdrt_arena_release(&arena);
    }
    free(good);
}

int main(int argc, char **argv) {
    int status;
    if (tiny_is_child(argc, argv, &status))
        return status;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checkpoints_show_any_damage), cmocka_unit_test(weights_come_back),
        cmocka_unit_test(weights_are_read_strictly),   cmocka_unit_test(checksum),
        cmocka_unit_test(arenas_have_limits),          cmocka_unit_test(broken_manifests_are_bugs),
    };
    return cmocka_run_group_tests(tests, make_run, remove_all);
}
