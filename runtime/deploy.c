// runtime/deploy.c -- a deployed function on examples, each until the exit it takes.
//
// This file is all of the runtime that a deployed library carries: it stands on libc and libgomp.
//
// The graphs are of one example. Many examples are dealt out to the threads one by one, as they
// come free, so that an example which leaves early makes room for the next: nothing is gathered or
// filled up, and no thread waits for another but at the end. One example has all threads for itself.
// Both ways give the same bits. The price of batches of one is that weights are read again for each
// example, from the cache where they fit.
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/kdrt.h"

#ifdef __x86_64__
#include <immintrin.h>
#endif

extern void GOMP_parallel(void (*function)(void *), void *data, unsigned int threads,
                          unsigned int flags);
extern int omp_get_thread_num(void);

enum { ALIGNMENT = 64, MOST_THREADS = 1024 };

struct KdrtModel {
    const KdrtDeploy *deploy;
    int64_t threads;
    int64_t skipped; // exits
    int64_t example_bytes, step_bytes, thread_bytes; // of one worker; whole lines of the cache
    char *scalar, *example, *step, *thread; // for each thread one after another, but for the first
    const void **input;                     // for each thread one after another
    int64_t most_inputs;                    // of a segment
    unsigned int *float_mode;               // of each thread, before a run
};

typedef struct Run {
    KdrtModel *model;
    int64_t count;
    const void *const *input;
    void *const *output;
    int32_t *exits;
    atomic_llong next; // example
} Run;

// ---- the mode of the threads --------------------------------------------------------------------
// Denormals are flushed while we are at work, as in training; the threads may be others' too.

static void flush_denormals(void *data) {
#ifdef __x86_64__
    KdrtModel *model = data;
    unsigned int mode = _mm_getcsr();
    model->float_mode[omp_get_thread_num()] = mode;
    _mm_setcsr(mode | 0x8040);
#else
    (void)data;
#endif
}

static void restore_mode(void *data) {
#ifdef __x86_64__
    KdrtModel *model = data;
    unsigned int *mode = &model->float_mode[omp_get_thread_num()];
    if (*mode) // else this thread was not there before
        _mm_setcsr(*mode);
    *mode = 0;
#else
    (void)data;
#endif
}

// ---- one example --------------------------------------------------------------------------------

/// Example `i` with the worker's memory and `threads` threads, from one segment to the next.
static void run_example(const Run *run, int64_t i, int64_t worker, int64_t threads) {
    const KdrtModel *model = run->model;
    const KdrtDeploy *deploy = model->deploy;
    char *example = model->example + worker * model->example_bytes;
    const void **input = model->input + worker * model->most_inputs;
    KdrtFrame frame = {
        .storage = (void *)(uintptr_t)deploy->weights, // which is read alone
        .phase = (void *)(uintptr_t)deploy->weights,
        .step = model->step + worker * model->step_bytes,
        .thread = model->thread + worker * model->thread_bytes,
        .input = input,
        .scalar = model->scalar,
        .threads = threads,
    };
    for (int64_t k = 0; k < deploy->input_count; k++) {
        const KdrtPort *port = &deploy->input[k];
        memcpy(example + port->offset, (const char *)run->input[k] + i * port->row_bytes,
               (size_t)port->row_bytes);
    }
    int64_t taken = 0;
    const KdrtSegment *segment = deploy->segment;
    for (;; taken++, segment++) {
        for (int64_t k = 0; segment->input[k] >= 0; k++)
            input[k] = example + segment->input[k];
        frame.output = example + segment->output;
        segment->run(&frame);
        if (segment->when < 0 || (taken >= model->skipped && example[segment->when]))
            break;
    }
    for (int64_t k = 0; k < deploy->output_count; k++) {
        int64_t row_bytes = deploy->output[k].row_bytes;
        memcpy((char *)run->output[k] + i * row_bytes, example + segment->value[k],
               (size_t)row_bytes);
    }
    if (run->exits)
        run->exits[i] = (int32_t)taken;
}

static void run_examples(void *data) {
    Run *run = data;
    int64_t worker = omp_get_thread_num();
    for (;;) {
        int64_t i = atomic_fetch_add(&run->next, 1);
        if (i >= run->count)
            return;
        run_example(run, i, worker, 1);
    }
}

// ---- what the library exports -------------------------------------------------------------------

static int64_t whole_lines(int64_t bytes) {
    return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static char *buffer(int64_t count, int64_t bytes) {
    int64_t size;
    if (__builtin_mul_overflow(count, bytes, &size))
        return NULL;
    char *at = aligned_alloc(ALIGNMENT, (size_t)whole_lines(size + 1));
    if (at)
        memset(at, 0, (size_t)whole_lines(size + 1));
    return at;
}

static int32_t core_count(void) {
    cpu_set_t cores;
    return sched_getaffinity(0, sizeof cores, &cores) ? 1 : CPU_COUNT(&cores);
}

KdrtModel *kdrt_deploy_open(const KdrtDeploy *deploy, int32_t threads) {
    if (threads <= 0)
        threads = core_count();
    if (threads > MOST_THREADS)
        threads = MOST_THREADS;
    KdrtModel *model = calloc(1, sizeof *model);
    if (!model)
        return NULL;
    model->deploy = deploy;
    model->threads = threads;
    model->example_bytes = whole_lines(deploy->example_bytes);
    model->step_bytes = whole_lines(deploy->step_bytes);
    model->thread_bytes = whole_lines(deploy->thread_bytes);
    for (int64_t s = 0; s < deploy->segment_count; s++) {
        int64_t count = 0;
        while (deploy->segment[s].input[count] >= 0)
            count++;
        model->most_inputs = count > model->most_inputs ? count : model->most_inputs;
    }
    model->scalar = buffer(deploy->option_count, deploy->real_bytes);
    model->example = buffer(threads, model->example_bytes);
    model->step = buffer(threads, model->step_bytes);
    model->thread = buffer(threads, model->thread_bytes);
    model->input = calloc((size_t)(threads * model->most_inputs + 1), sizeof *model->input);
    model->float_mode = calloc((size_t)threads, sizeof *model->float_mode);
    if (!model->scalar || !model->example || !model->step || !model->thread || !model->input ||
        !model->float_mode) {
        kdrt_deploy_close(model);
        return NULL;
    }
    for (int64_t i = 0; i < deploy->option_count; i++)
        kdrt_deploy_set(model, deploy->option[i].name, deploy->option[i].value);
    return model;
}

void kdrt_deploy_close(KdrtModel *model) {
    if (!model)
        return;
    free(model->scalar);
    free(model->example);
    free(model->step);
    free(model->thread);
    free(model->input);
    free(model->float_mode);
    free(model);
}

int32_t kdrt_deploy_set(KdrtModel *model, const char *option, double value) {
    if (!model || !option)
        return KDRT_DEPLOY_ARGUMENT;
    const KdrtDeploy *deploy = model->deploy;
    for (int64_t i = 0; i < deploy->option_count; i++) {
        if (strcmp(deploy->option[i].name, option))
            continue;
        if (deploy->real_bytes == 4)
            ((float *)model->scalar)[i] = (float)value;
        else
            ((double *)model->scalar)[i] = value;
        return KDRT_DEPLOY_OK;
    }
    return KDRT_DEPLOY_OPTION;
}

int32_t kdrt_deploy_skip_exits(KdrtModel *model, int32_t count) {
    if (!model || count < 0 || count >= model->deploy->segment_count)
        return KDRT_DEPLOY_ARGUMENT;
    model->skipped = count;
    return KDRT_DEPLOY_OK;
}

static bool arguments_are_there(const KdrtModel *model, int64_t count, const void *const *input,
                                void *const *output) {
    bool good = model && count >= 0;
    for (int64_t k = 0; good && count && k < model->deploy->input_count; k++)
        good = input[k] != NULL;
    for (int64_t k = 0; good && count && k < model->deploy->output_count; k++)
        good = output[k] != NULL;
    return good;
}

int32_t kdrt_deploy_run(KdrtModel *model, int64_t count, const void *const *input,
                        void *const *output, int32_t *exits) {
    if (!arguments_are_there(model, count, input, output))
        return KDRT_DEPLOY_ARGUMENT;
    Run run = {.model = model, .count = count, .input = input, .output = output, .exits = exits};
    unsigned int threads = (unsigned int)model->threads;
    if (count == 0)
        return KDRT_DEPLOY_OK;
    GOMP_parallel(flush_denormals, model, threads, 0);
    if (count == 1)
        run_example(&run, 0, 0, model->threads);
    else
        GOMP_parallel(run_examples, &run, threads, 0);
    GOMP_parallel(restore_mode, model, threads, 0);
    return KDRT_DEPLOY_OK;
}

const char *kdrt_deploy_error(int32_t status) {
    static const char *const texts[] = {
        [KDRT_DEPLOY_OK] = "no error",
        [KDRT_DEPLOY_MEMORY] = "out of memory",
        [KDRT_DEPLOY_OPTION] = "the deployed function has no option of that name",
        [KDRT_DEPLOY_ARGUMENT] = "an argument is NULL or out of range",
    };
    if (status < 0 || (size_t)status >= sizeof texts / sizeof *texts)
        return "no status of this library";
    return texts[status];
}
