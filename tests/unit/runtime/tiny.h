// tests/unit/runtime/tiny.h -- a training program written by hand, as the compiler would make one:
// a softmax classifier with momentum, whose graph functions are plain C; and small data for it.
//
// It has all that a run has: two phases (the second of two steps a batch, with keep_best), slots
// that share their place, a prologue, draws, a smaller last batch, an evaluation with a `finish`.
#ifndef KDC_TESTS_TINY_H
#define KDC_TESTS_TINY_H

#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/kdrt.h"

enum {
    TINY_PIXELS = 5 * 6,
    TINY_CLASSES = 4,
    TINY_TRAIN = 100,
    TINY_TEST = 30,
    TINY_BATCH = 16,
    TINY_LAST = TINY_TRAIN % TINY_BATCH,
    TINY_TEST_LAST = TINY_TEST % TINY_BATCH,
};

extern void GOMP_parallel(void (*function)(void *), void *data, unsigned int threads,
                          unsigned int flags);
extern int omp_get_thread_num(void);

// Storage: weight, bias, velocity (a slot of either phase), and a state that counts steps.
enum { AT_WEIGHT = 0, AT_BIAS = 512, AT_VELOCITY = 576, AT_COUNT = 1088, STORAGE_BYTES = 1152 };
// Scalars by slot.
enum { SCALAR_EPOCH, SCALAR_ITERATION, SCALAR_PROGRESS, SCALAR_LR, SCALAR_EPOCHS };

static float *tiny_at(const KdrtFrame *frame, int offset) {
    return (float *)((char *)frame->storage + offset);
}

static void tiny_init(const KdrtFrame *frame) {
    float *weight = tiny_at(frame, AT_WEIGHT);
    kdrt_normal_f32(weight, 0, TINY_CLASSES * TINY_PIXELS, frame->seed, 1, frame->iteration);
    for (int i = 0; i < TINY_CLASSES * TINY_PIXELS; i++)
        weight[i] *= 0.01f;
    memset(tiny_at(frame, AT_BIAS), 0, TINY_CLASSES * sizeof(float));
    *tiny_at(frame, AT_COUNT) = 0;
}

static void tiny_begin(const KdrtFrame *frame) {
    memset(tiny_at(frame, AT_VELOCITY), 0, TINY_CLASSES * TINY_PIXELS * sizeof(float));
}

static void tiny_prologue(const KdrtFrame *frame) {
    *(float *)frame->phase = 0.9f;
}

static void tiny_settings(const KdrtFrame *frame) {
    *(float *)frame->output = ((const float *)frame->scalar)[SCALAR_EPOCHS];
}

typedef struct TinyRun {
    const KdrtFrame *frame;
    int batch;
    float *error; // [batch, classes]: softmax less one-hot
} TinyRun;

/// Each class is one thread's, whatever the number of threads.
static void tiny_update(void *argument) {
    const TinyRun *run = argument;
    const KdrtFrame *frame = run->frame;
    const float *x = frame->input[0];
    const float *scalar = frame->scalar;
    float lr = scalar[SCALAR_LR] * (1 - 0.5f * scalar[SCALAR_PROGRESS]);
    float momentum = *(const float *)frame->phase;
    for (int c = omp_get_thread_num(); c < TINY_CLASSES; c += (int)frame->threads) {
        float *weight = tiny_at(frame, AT_WEIGHT) + c * TINY_PIXELS;
        float *velocity = tiny_at(frame, AT_VELOCITY) + c * TINY_PIXELS;
        float bias = 0;
        for (int i = 0; i < run->batch; i++)
            bias += run->error[i * TINY_CLASSES + c];
        tiny_at(frame, AT_BIAS)[c] -= lr * bias / (float)run->batch;
        for (int k = 0; k < TINY_PIXELS; k++) {
            float g = 0;
            for (int i = 0; i < run->batch; i++)
                g += run->error[i * TINY_CLASSES + c] * x[i * TINY_PIXELS + k];
            velocity[k] = momentum * velocity[k] + g / (float)run->batch;
            weight[k] -= lr * velocity[k];
        }
    }
}

/// Softmax and cross entropy of a batch. Output: [0] mean loss, [1] share of right answers.
static void tiny_forward(const KdrtFrame *frame, int batch, float noise, float *error) {
    const float *x = frame->input[0];
    const int32_t *label = frame->input[1];
    const float *weight = tiny_at(frame, AT_WEIGHT), *bias = tiny_at(frame, AT_BIAS);
    float loss = 0, right = 0, draw[TINY_BATCH * TINY_CLASSES];
    kdrt_uniform_f32(draw, 0, batch * TINY_CLASSES, frame->seed, 2, frame->iteration);
    for (int i = 0; i < batch; i++) {
        float *z = error + i * TINY_CLASSES, sum = 0;
        int best = 0;
        for (int c = 0; c < TINY_CLASSES; c++) {
            z[c] = bias[c] + noise * draw[i * TINY_CLASSES + c];
            for (int k = 0; k < TINY_PIXELS; k++)
                z[c] += weight[c * TINY_PIXELS + k] * x[i * TINY_PIXELS + k];
            if (z[c] > z[best])
                best = c;
        }
        for (int c = 0; c < TINY_CLASSES; c++)
            sum += expf(z[c]);
        loss += logf(sum) - z[label[i]];
        right += best == label[i];
        for (int c = 0; c < TINY_CLASSES; c++)
            z[c] = expf(z[c]) / sum - (c == label[i]);
    }
    float *output = frame->output;
    output[0] = loss / (float)batch;
    output[1] = right / (float)batch;
}

static void tiny_step(const KdrtFrame *frame, int batch) {
    TinyRun run = {frame, batch, frame->step};
    tiny_forward(frame, batch, 0.1f, run.error);
    GOMP_parallel(tiny_update, &run, (unsigned int)frame->threads, 0);
    *tiny_at(frame, AT_COUNT) += 1;
}

static void tiny_step_full(const KdrtFrame *frame) {
    tiny_step(frame, TINY_BATCH);
}
static void tiny_step_last(const KdrtFrame *frame) {
    tiny_step(frame, TINY_LAST);
}
static void tiny_eval_full(const KdrtFrame *frame) {
    tiny_forward(frame, TINY_BATCH, 0, frame->step);
}
static void tiny_eval_last(const KdrtFrame *frame) {
    tiny_forward(frame, TINY_TEST_LAST, 0, frame->step);
}
static void tiny_finish(const KdrtFrame *frame) {
    *(float *)frame->output = *tiny_at(frame, AT_COUNT);
}

static const KdrtGraphFn tiny_graphs[] = {tiny_init,      tiny_begin,     tiny_prologue,
                                          tiny_settings,  tiny_step_full, tiny_step_last,
                                          tiny_eval_full, tiny_eval_last, tiny_finish};

#define TINY_REPORTS                                                                               \
    "\"outputs\":[{\"name\":\"ce\",\"kind\":\"report\",\"dtype\":\"f32\",\"shape\":[],"            \
    "\"offset\":0},{\"name\":\"top1\",\"kind\":\"report\",\"dtype\":\"f32\",\"shape\":[],"         \
    "\"offset\":4}],\"output_bytes\":64}"
#define TINY_GRAPH(name, role, inputs)                                                             \
    "{\"name\":\"" name "\",\"role\":\"" role "\",\"empty\":false,\"inputs\":" inputs ","
#define TINY_NO_OUTPUT "\"outputs\":[],\"output_bytes\":0}"
#define TINY_ONE_OUTPUT(name, kind)                                                                \
    "\"outputs\":[{\"name\":\"" name "\",\"kind\":\"" kind                                         \
    "\",\"dtype\":\"f32\",\"shape\":[],\"offset\":0}],\"output_bytes\":64}"
#define TINY_STEP                                                                                  \
    "{\"choose\":-1,\"full\":[{\"when\":\"\",\"graph\":4}],"                                       \
    "\"last\":[{\"when\":\"\",\"graph\":5}]}"
#define TINY_EVAL                                                                                  \
    "\"evals\":[{\"data\":0,\"part\":\"default\",\"batch\":16,\"last_batch\":14,\"full\":6,"       \
    "\"last\":7,\"begin\":-1,\"finish\":8}]"
#define TINY_PHASE(name)                                                                           \
    "{\"name\":\"" name "\",\"train\":\"" name                                                     \
    "\",\"data\":0,\"batch\":16,\"last_batch\":4,\"drop_last\":false,\"settings\":3,\"begin\":1,"  \
    "\"prologue\":2,"

/// The manifest; `hash` and the shape of the weight can be another program's.
static inline char *tiny_manifest(const char *data, const char *hash, const char *bias_name) {
    char *text = malloc(16 << 10);
    snprintf(
        text, 16 << 10,
        "{\"name\":\"tiny\",\"real\":\"f32\",\"program_hash\":\"%s\",\"storage_bytes\":1152,"
        "\"phase_bytes\":64,\"step_bytes\":1024,\"thread_bytes\":64,\"storages\":["
        "{\"name\":\"net.weight\",\"kind\":\"parameter\",\"dtype\":\"f32\",\"shape\":[4,30],"
        "\"offset\":0,\"phase\":-1},"
        "{\"name\":\"%s\",\"kind\":\"parameter\",\"dtype\":\"f32\",\"shape\":[4],"
        "\"offset\":512,\"phase\":-1},"
        "{\"name\":\"teach.velocity\",\"kind\":\"slot\",\"dtype\":\"f32\",\"shape\":[4,30],"
        "\"offset\":576,\"phase\":0},"
        "{\"name\":\"polish.velocity\",\"kind\":\"slot\",\"dtype\":\"f32\",\"shape\":[4,30],"
        "\"offset\":576,\"phase\":1},"
        "{\"name\":\"net.count\",\"kind\":\"state\",\"dtype\":\"f32\",\"shape\":[],"
        "\"offset\":1088,\"phase\":-1},"
        "{\"name\":\"momentum\",\"kind\":\"phase\",\"dtype\":\"f32\",\"shape\":[],"
        "\"offset\":0,\"phase\":0}],"
        "\"scalars\":[{\"name\":\"epoch\"},{\"name\":\"iteration\"},{\"name\":\"progress\"},"
        "{\"name\":\"lr\"},{\"name\":\"epochs\"}],"
        "\"options\":[{\"name\":\"lr\",\"default\":0.1,\"integer\":false,"
        "\"text\":\"peak learning rate\"},"
        "{\"name\":\"epochs\",\"default\":3,\"integer\":true,\"text\":\"passes over the data\"}],"
        "\"data\":[{\"name\":\"dots\",\"source\":\"idx\",\"path\":\"%s\",\"classes\":4,"
        "\"count\":100,\"test_count\":30,\"holdout\":0,\"mean\":[0.5],\"std\":[0.25],"
        "\"fields\":[{\"name\":\"image\",\"column\":null,\"dtype\":\"f32\",\"shape\":[1,5,6]},"
        "{\"name\":\"label\",\"column\":null,\"dtype\":\"i32\",\"shape\":[]}],"
        "\"augment\":[{\"name\":\"random_crop\",\"args\":{\"pad\":1}},"
        "{\"name\":\"horizontal_flip\",\"args\":{\"p\":0.1}}],\"prepare\":[]}],"
        "\"graphs\":[" TINY_GRAPH("init", "init", "[]") TINY_NO_OUTPUT
        "," TINY_GRAPH("begin", "begin", "[]") TINY_NO_OUTPUT
        "," TINY_GRAPH("prologue", "prologue", "[]") TINY_NO_OUTPUT
        "," TINY_GRAPH("settings", "settings", "[]") TINY_ONE_OUTPUT(
            "epochs", "output") "," TINY_GRAPH("step.full", "step", "[\"image\",\"label\"]")
            TINY_REPORTS "," TINY_GRAPH("step.last", "step", "[\"image\",\"label\"]") TINY_REPORTS
        "," TINY_GRAPH("eval.full", "eval", "[\"image\",\"label\"]") TINY_REPORTS
        "," TINY_GRAPH("eval.last", "eval", "[\"image\",\"label\"]") TINY_REPORTS
        "," TINY_GRAPH("finish", "eval", "[]") TINY_ONE_OUTPUT(
            "steps",
            "report") "],"
                      "\"init\":0,\"asserts\":[],\"loads\":[],\"phases\":[" TINY_PHASE(
                          "teach") "\"steps\":[" TINY_STEP "]," TINY_EVAL
                                   ",\"keep_best\":null,\"keep_lowest\":false,\"patience\":0}"
                                   "," TINY_PHASE(
                                       "polish") "\"steps\":[" TINY_STEP "," TINY_STEP
                                                 "]," TINY_EVAL
                                                 ",\"keep_best\":\"ce\",\"keep_lowest\":true,"
                                                 "\"patience\":9}],"
                                                 "\"deploys\":[{\"name\":\"net\",\"prefix\":\"net."
                                                 "\",\"storages\":[0,1,4],\"graph\":-1}]}",
        hash, bias_name, data);
    return text;
}

static inline KdrtProgram tiny_program(char *manifest) {
    return (KdrtProgram){.abi = KDRT_ABI,
                         .manifest = manifest,
                         .manifest_bytes = strlen(manifest),
                         .graph = tiny_graphs,
                         .graph_count = sizeof tiny_graphs / sizeof *tiny_graphs};
}

// ---- data ---------------------------------------------------------------------------------------

static inline void tiny_write(const char *folder, const char *name, const void *at,
                              size_t size_bytes) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(at, 1, size_bytes, file) != size_bytes || fclose(file)) {
        perror(path);
        abort();
    }
}

/// One part: images whose bright quarter tells the class, with some noise, and the labels.
static inline void tiny_write_part(const char *folder, const char *part, int count, unsigned seed) {
    unsigned char images[16 + TINY_TRAIN * TINY_PIXELS] = {
        0, 0, 8, 3, 0, 0, 0, (unsigned char)count, 0, 0, 0, 5, 0, 0, 0, 6};
    unsigned char labels[8 + TINY_TRAIN] = {0, 0, 8, 1, 0, 0, 0, (unsigned char)count};
    char name[64];
    for (int i = 0; i < count; i++) {
        int label = i * 7 % TINY_CLASSES;
        labels[8 + i] = (unsigned char)label;
        for (int k = 0; k < TINY_PIXELS; k++) {
            seed = seed * 1103515245u + 12345u;
            int bright = (k / 6 >= 3) * 2 + (k % 6 >= 3) == label;
            images[16 + i * TINY_PIXELS + k] = (unsigned char)((seed >> 16) % 128 + bright * 100);
        }
    }
    snprintf(name, sizeof name, "%s-images-idx3-ubyte", part);
    tiny_write(folder, name, images, 16 + (size_t)count * TINY_PIXELS);
    snprintf(name, sizeof name, "%s-labels-idx1-ubyte", part);
    tiny_write(folder, name, labels, 8 + (size_t)count);
}

static inline void tiny_write_data(const char *folder) {
    mkdir(folder, 0777);
    tiny_write_part(folder, "train", TINY_TRAIN, 1);
    tiny_write_part(folder, "t10k", TINY_TEST, 2);
}

// ---- folders and files --------------------------------------------------------------------------

/// A fresh folder under the temporary one, with a name of this process.
static inline const char *tiny_folder(void) {
    static char path[256];
    const char *temporary = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/kdrt-XXXXXX", temporary ? temporary : "/tmp");
    if (!mkdtemp(path)) {
        perror(path);
        abort();
    }
    return path;
}

static inline char *tiny_path(const char *format, ...) __attribute__((format(printf, 1, 2)));
/// A path in one of a few buffers that take turns.
static inline char *tiny_path(const char *format, ...) {
    static char buffer[16][1024];
    static int next;
    char *path = buffer[next++ % 16];
    va_list args;
    va_start(args, format);
    vsnprintf(path, 1024, format, args);
    va_end(args);
    return path;
}

/// The content of a file, NUL-terminated; NULL when there is none. The caller frees it.
static inline char *tiny_read(const char *path, size_t *length) {
    FILE *file = fopen(path, "rb");
    if (!file)
        return NULL;
    char *text = malloc(1 << 20);
    *length = fread(text, 1, (1 << 20) - 1, file);
    text[*length] = '\0';
    fclose(file);
    return text;
}

static inline bool tiny_same_file(const char *a, const char *b) {
    size_t a_length = 0, b_length = 0;
    char *a_text = tiny_read(a, &a_length), *b_text = tiny_read(b, &b_length);
    bool same = a_text && b_text && a_length == b_length && !memcmp(a_text, b_text, a_length);
    free(a_text);
    free(b_text);
    return same;
}

static inline void tiny_remove(const char *folder) {
    char *argv[] = {"rm", "-rf", (char *)(uintptr_t)folder, NULL};
    pid_t child;
    if (!posix_spawnp(&child, "rm", NULL, NULL, argv, environ))
        waitpid(child, NULL, 0);
}

/// Number of the newest checkpoint in OUT/checkpoints, 0 if there is none; counts other files.
static inline int tiny_newest(const char *out, int *others) {
    DIR *folder = opendir(tiny_path("%s/checkpoints", out));
    int newest = 0, number, length;
    *others = 0;
    for (struct dirent *entry; folder && (entry = readdir(folder));) {
        length = 0;
        if (sscanf(entry->d_name, "%d.kdck%n", &number, &length) == 1 && length &&
            !entry->d_name[length])
            newest = number > newest ? number : newest;
        else
            *others += entry->d_name[0] != '.';
    }
    if (folder)
        closedir(folder);
    return newest;
}

// ---- the program as a process -------------------------------------------------------------------

/// For main() of a test: being called as `TEST --train ...`, it is the training binary.
static inline bool tiny_is_child(int argc, char **argv, int *status) {
    if (argc < 2 || strcmp(argv[1], "--train"))
        return false;
    const char *hash = getenv("TINY_HASH"), *bias = getenv("TINY_BIAS");
    char *manifest = tiny_manifest(getenv("TINY_DATA"), hash ? hash : "0123456789abcdef",
                                   bias ? bias : "net.bias");
    KdrtProgram program = tiny_program(manifest);
    argv[1] = "train";
    *status = kdrt_main(&program, argc - 1, argv + 1);
    free(manifest);
    return true;
}

/// Starts `train ARGUMENTS` (split at spaces) with `fault`, its output going to FOLDER/out and err.
static inline pid_t tiny_start(const char *folder, const char *fault, const char *arguments) {
    char words[1024], *argv[32] = {"test", "--train"}, *save = NULL;
    int count = 2;
    snprintf(words, sizeof words, "%s", arguments);
    for (char *word = strtok_r(words, " ", &save); word; word = strtok_r(NULL, " ", &save))
        argv[count++] = word;
    setenv("TINY_DATA", tiny_path("%s/data", folder), 1);
    setenv("OMP_WAIT_POLICY", "passive", 1);
    if (fault)
        setenv("KDC_FAULT", fault, 1);
    else
        unsetenv("KDC_FAULT");
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, 1, tiny_path("%s/out", folder),
                                     O_WRONLY | O_CREAT | O_TRUNC, 0666);
    posix_spawn_file_actions_addopen(&files, 2, tiny_path("%s/err", folder),
                                     O_WRONLY | O_CREAT | O_TRUNC, 0666);
    pid_t child = -1;
    if (posix_spawn(&child, "/proc/self/exe", &files, NULL, argv, environ))
        abort();
    posix_spawn_file_actions_destroy(&files);
    unsetenv("KDC_FAULT");
    return child;
}

/// Its exit status; 128 + the signal that killed it.
static inline int tiny_wait(pid_t child) {
    int status;
    waitpid(child, &status, 0);
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static inline int tiny_run(const char *folder, const char *fault, const char *arguments) {
    return tiny_wait(tiny_start(folder, fault, arguments));
}

#endif
