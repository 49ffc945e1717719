// bench/peers/onednn_conv.c -- single 3x3 convolutions of oneDNN on request, as bench/kernels.c --serve has kdc's.
//
//     (start)                                             ready
//     conv FORM DIRECTION BATCH CHANNELS FILTERS SIZE     ok, or none: oneDNN has no such form of it here
//     step FORM                                           MILLISECONDS 0
//
// FORM is direct, direct_nhwc or winograd. direct and winograd work in the formats that oneDNN chooses, blocked ones;
// operands are made in them, so nothing is converted while the clock runs. DIRECTION is forward, by_input or by_weight. For
// oneDNN 2 (2.6.3 is Debian 12's): oneDNN 3 has no Winograd in f32 for x86. Compiled by run.py.
#include <dnnl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/measure.h"

enum { FORMS = 3, MEMORIES = 3 };
static const char *const form_name[FORMS] = {"direct", "direct_nhwc", "winograd"};
static const char *const direction_name[] = {"forward", "by_input", "by_weight"};

typedef struct Conv {
    dnnl_primitive_t primitive;
    dnnl_memory_t memory[MEMORIES];
    dnnl_exec_arg_t arg[MEMORIES];
} Conv;

static dnnl_engine_t engine;
static dnnl_stream_t stream;
static int threads;

static void check(dnnl_status_t status, const char *what) {
    if (status != dnnl_success) {
        fprintf(stderr, "onednn_conv: %s failed with status %d\n", what, (int)status);
        exit(2);
    }
}

/// NULL: no such form.
static dnnl_primitive_desc_t describe(int form, int direction, int64_t n, int64_t c, int64_t k, int64_t size) {
    dnnl_dims_t x_dims = {n, c, size, size}, w_dims = {k, c, 3, 3}, y_dims = {n, k, size, size};
    dnnl_format_tag_t tag = !strcmp(form_name[form], "direct_nhwc") ? dnnl_nhwc : dnnl_format_tag_any;
    dnnl_memory_desc_t x, w, y;
    check(dnnl_memory_desc_init_by_tag(&x, 4, x_dims, dnnl_f32, tag), "memory_desc_init");
    check(dnnl_memory_desc_init_by_tag(&w, 4, w_dims, dnnl_f32, dnnl_format_tag_any), "memory_desc_init");
    check(dnnl_memory_desc_init_by_tag(&y, 4, y_dims, dnnl_f32, tag), "memory_desc_init");
    dnnl_alg_kind_t algorithm =
        !strcmp(form_name[form], "winograd") ? dnnl_convolution_winograd : dnnl_convolution_direct;
    dnnl_dims_t one = {1, 1};
    dnnl_convolution_desc_t conv;
    dnnl_primitive_desc_t hint = NULL, found = NULL;
    check(dnnl_convolution_forward_desc_init(&conv, dnnl_forward_training, direction ? dnnl_convolution_direct : algorithm,
                                             &x, &w, NULL, &y, one, one, one),
          "forward_desc_init");
    dnnl_status_t status = dnnl_primitive_desc_create(&hint, &conv, NULL, engine, NULL);
    if (direction == 0 || status != dnnl_success)
        return status == dnnl_success ? hint : NULL;
    if (direction == 1)
        check(dnnl_convolution_backward_data_desc_init(&conv, algorithm, &x, &w, &y, one, one, one), "backward_data");
    else
        check(dnnl_convolution_backward_weights_desc_init(&conv, algorithm, &x, &w, NULL, &y, one, one, one),
              "backward_weights");
    status = dnnl_primitive_desc_create(&found, &conv, NULL, engine, hint);
    dnnl_primitive_desc_destroy(hint);
    return status == dnnl_success ? found : NULL;
}

static void conv_close(Conv *conv) {
    if (!conv->primitive)
        return;
    dnnl_primitive_destroy(conv->primitive);
    for (int i = 0; i < MEMORIES; i++) {
        void *data;
        dnnl_memory_get_data_handle(conv->memory[i], &data);
        dnnl_memory_destroy(conv->memory[i]);
        free(data);
    }
    *conv = (Conv){0};
}

static double conv_run(Conv *conv) {
    double start = seconds_used(threads);
    check(dnnl_primitive_execute(conv->primitive, stream, MEMORIES, conv->arg), "execute");
    check(dnnl_stream_wait(stream), "wait");
    return seconds_used(threads) - start;
}

static bool conv_open(Conv *conv, int form, int direction, int64_t n, int64_t c, int64_t k, int64_t size) {
    static const int args[3][MEMORIES] = {{DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST},
                                          {DNNL_ARG_DIFF_DST, DNNL_ARG_WEIGHTS, DNNL_ARG_DIFF_SRC},
                                          {DNNL_ARG_SRC, DNNL_ARG_DIFF_DST, DNNL_ARG_DIFF_WEIGHTS}};
    conv_close(conv);
    dnnl_primitive_desc_t desc = describe(form, direction, n, c, k, size);
    if (!desc)
        return false;
    const char *how = NULL;
    dnnl_primitive_desc_query(desc, dnnl_query_impl_info_str, 0, &how);
    fprintf(stderr, "%s %s %lld@%lld: %s\n", form_name[form], direction_name[direction], (long long)c, (long long)size, how);
    check(dnnl_primitive_create(&conv->primitive, desc), "primitive_create");
    for (int i = 0; i < MEMORIES; i++) {
        const dnnl_memory_desc_t *type = dnnl_primitive_desc_query_md(desc, dnnl_query_exec_arg_md, args[direction][i]);
        size_t bytes = dnnl_memory_desc_get_size(type);
        float *data = huge_memory(bytes);
        for (size_t j = 0; j < bytes / 4; j++)
            data[j] = (float)(j % 17) * 0.01f - 0.08f;
        check(dnnl_memory_create(&conv->memory[i], type, engine, data), "memory_create");
        conv->arg[i] = (dnnl_exec_arg_t){args[direction][i], conv->memory[i]};
    }
    dnnl_primitive_desc_destroy(desc);
    conv_run(conv);
    return true;
}

static int index_of(const char *const *names, const char *name) {
    int i = 0;
    while (i < 3 && strcmp(names[i], name))
        i++;
    return i;
}

int main(void) {
    static Conv conv[FORMS + 1];
    const char *count = getenv("OMP_NUM_THREADS");
    threads = count ? atoi(count) : 0; // 0: as many as OpenMP wants, by the clock
    check(dnnl_engine_create(&engine, dnnl_cpu, 0), "engine_create");
    check(dnnl_stream_create(&stream, engine, dnnl_stream_default_flags), "stream_create");
    puts("ready");
    fflush(stdout);
    char form_text[16], direction_text[16];
    long long n, c, k, size;
    for (char line[256]; fgets(line, sizeof line, stdin); fflush(stdout)) {
        bool is_conv =
            sscanf(line, "conv %15s %15s %lld %lld %lld %lld", form_text, direction_text, &n, &c, &k, &size) == 6;
        int form = is_conv || sscanf(line, "step %15s", form_text) == 1 ? index_of(form_name, form_text) : FORMS;
        int direction = is_conv ? index_of(direction_name, direction_text) : 0;
        if (is_conv && form < FORMS && direction < 3)
            puts(conv_open(&conv[form], form, direction, n, c, k, size) ? "ok" : "none");
        else if (!is_conv && form < FORMS && conv[form].primitive)
            printf("%.4f 0\n", 1e3 * conv_run(&conv[form]));
        else
            printf("unknown request: %s", line);
    }
    return 0;
}
