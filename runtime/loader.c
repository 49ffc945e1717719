// runtime/loader.c -- batches made ahead of their use by a thread of its own.
//
// A ring of slots, filled in order and handed out in order. The thread touches only its slots, the
// data set and the order of examples; it allocates nothing and opens nothing, so it cannot fail.
// Which examples a batch holds and how they are augmented is a function of the job and the batch's
// number alone: a run that goes on in the middle of an epoch gets the same batches.
#include "runtime/data.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>

#include "support/philox.h"

enum { SLOT_COUNT = 3, STREAM_SHUFFLE = 0x7e000000, STREAM_AUGMENT = 0x7f000000 };

__extension__ typedef unsigned __int128 Wide;

struct Loader {
    Env *env;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t work;  // something to do for the thread
    pthread_cond_t ready; // something done by it
    bool stop, busy;
    LoaderJob job;
    int64_t examples, total;           // of the job: examples, batches to hand out
    int64_t produced, taken, released; // batches; released <= taken <= produced
    bool ordered;                      // `order` holds the job's permutation
    int64_t *order;
    uint8_t *scratch[2], *workspace;
    uint8_t *memory;
    int64_t slot_bytes;
    Batch slot[SLOT_COUNT];
};

int64_t kdrt_batch_count(int64_t examples, int64_t batch, bool drop_last) {
    return drop_last ? examples / batch : (examples + batch - 1) / batch;
}

/// Randomness of the loader. Its streams lie far above those of a program's draws.
static void draw_words(uint64_t seed, uint32_t stream, int64_t item, int64_t epoch, int64_t phase,
                       uint32_t word[4]) {
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    const uint32_t counter[4] = {(uint32_t)item, stream, (uint32_t)epoch, (uint32_t)phase};
    philox4x32(key, counter, word);
}

void kdrt_shuffle(int64_t *order, int64_t count, uint64_t seed, int64_t phase, int64_t epoch) {
    for (int64_t i = 0; i < count; i++)
        order[i] = i;
    // Fisher and Yates; a 64-bit word times the bound, upper half, is uniform to 2^-64 * bound.
    for (int64_t i = count - 1; i > 0; i--) {
        uint32_t word[4];
        draw_words(seed, STREAM_SHUFFLE, i, epoch, phase, word);
        uint64_t wide = (uint64_t)word[1] << 32 | word[0];
        int64_t j = (int64_t)(((Wide)wide * (uint64_t)(i + 1)) >> 64);
        int64_t other = order[j];
        order[j] = order[i];
        order[i] = other;
    }
}

static int64_t aligned(int64_t size_bytes) {
    return (size_bytes + 63) & ~(int64_t)63;
}

int64_t kdrt_loader_slot_bytes(const Dataset *dataset, int64_t batch) {
    int64_t total = 0;
    for (int64_t i = 0; i < dataset->spec->field_count; i++)
        total += aligned(batch * dataset->spec->field[i].size_bytes);
    return total;
}

// ---- filling a slot -----------------------------------------------------------------------------

static void fill_pixels(Loader *loader, const FieldBinding *binding, const FileColumn *column,
                        int64_t row, void *to) {
    const LoaderJob *job = &loader->job;
    const Pipeline *pipeline = job->training ? &binding->augment : &binding->prepare;
    Image image = kdrt_image((uint8_t *)(uintptr_t)column->data + row * column->stride_bytes,
                             column->shape[0], column->shape[1], column->shape[2]);
    for (int64_t i = 0; i < pipeline->count; i++) {
        Draws draws = {{(uint32_t)job->seed, (uint32_t)(job->seed >> 32)},
                       {(uint32_t)row, STREAM_AUGMENT + (uint32_t)i, (uint32_t)job->epoch,
                        (uint32_t)job->phase},
                       {0},
                       0};
        int64_t in[3] = {image.channels, image.height, image.width}, out[3];
        KdrtError none = {0};
        kdrt_transform_extents(&pipeline->transform[i], in, out, &none); // as when it was opened
        Image next = kdrt_image(loader->scratch[i % 2], out[0], out[1], out[2]);
        kdrt_transform_apply(&pipeline->transform[i], &image, &next, &draws, loader->workspace);
        image = next;
    }
    const uint8_t *pixels = image.at;
    int64_t count = binding->pixel_count;
    for (int64_t c = 0; c < binding->channels; c++) {
        if (binding->field->dtype == DTYPE_f32) {
            const float *table = (const float *)binding->table + c * 256;
            float *x = (float *)to + c * count;
            for (int64_t i = 0; i < count; i++)
                x[i] = table[pixels[c * count + i]];
        } else {
            const double *table = (const double *)binding->table + c * 256;
            double *x = (double *)to + c * count;
            for (int64_t i = 0; i < count; i++)
                x[i] = table[pixels[c * count + i]];
        }
    }
}

static void fill_values(const FieldBinding *binding, const FileColumn *column, int64_t row,
                        uint8_t *to) {
    const uint8_t *from = column->data + row * column->stride_bytes;
    size_t in_bytes = kdrt_dtype_bytes(column->dtype);
    size_t out_bytes = kdrt_dtype_bytes(binding->field->dtype);
    int64_t count = binding->field->size_bytes / (int64_t)out_bytes;
    for (int64_t i = 0; i < count; i++, from += in_bytes, to += out_bytes)
        kdrt_dtype_set(binding->field->dtype, to, kdrt_dtype_get(column->dtype, from));
}

static void fill_slot(Loader *loader, int64_t number) {
    const LoaderJob *job = &loader->job;
    const Dataset *dataset = job->dataset;
    const DataView *view = &dataset->part[job->part];
    Batch *batch = &loader->slot[number % SLOT_COUNT];
    uint8_t *to = loader->memory + (number % SLOT_COUNT) * loader->slot_bytes;
    int64_t begin = (job->first_batch + number) * job->batch;
    *batch = (Batch){.count = loader->examples - begin < job->batch ? loader->examples - begin
                                                                    : job->batch};
    for (int64_t f = 0; f < dataset->spec->field_count; f++) {
        if (!(job->fields >> f & 1))
            continue;
        const FieldBinding *binding = &dataset->field[f];
        batch->field[f] = to;
        for (int64_t i = 0; i < batch->count; i++) {
            int64_t place = job->training ? loader->order[begin + i] : begin + i;
            uint8_t *at = to + i * binding->field->size_bytes;
            const FileColumn *column =
                binding->column < 0 ? NULL : &view->files->column[binding->column];
            if (!column)
                kdrt_dtype_set(binding->field->dtype, at, (double)place);
            else if (binding->is_pixels)
                fill_pixels(loader, binding, column, view->first + place, at);
            else
                fill_values(binding, column, view->first + place, at);
        }
        to += aligned(job->batch * binding->field->size_bytes);
    }
}

// ---- the thread ---------------------------------------------------------------------------------

static void *loader_thread(void *argument) {
    Loader *loader = argument;
    pthread_mutex_lock(&loader->lock);
    for (;;) {
        while (!loader->stop && (loader->produced >= loader->total ||
                                 loader->produced - loader->released == SLOT_COUNT))
            pthread_cond_wait(&loader->work, &loader->lock);
        if (loader->stop)
            break;
        loader->busy = true;
        int64_t number = loader->produced;
        pthread_mutex_unlock(&loader->lock);
        if (!loader->ordered && loader->job.training)
            kdrt_shuffle(loader->order, loader->examples, loader->job.seed, loader->job.phase,
                         loader->job.epoch);
        loader->ordered = true;
        fill_slot(loader, number);
        pthread_mutex_lock(&loader->lock);
        loader->busy = false;
        loader->produced++;
        pthread_cond_signal(&loader->ready);
    }
    pthread_mutex_unlock(&loader->lock);
    return NULL;
}

/// Signals are for the thread that trains.
static int start_thread(Loader *loader) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int result = pthread_create(&loader->thread, NULL, loader_thread, loader);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return result;
}

Loader *kdrt_loader_open(Env *env, int64_t slot_bytes, int64_t most_examples, Room room,
                         KdrtError *error) {
    Loader *loader = kdrt_alloc(env, sizeof(Loader));
    if (!loader) {
        kdrt_fail_memory(error, sizeof(Loader));
        return NULL;
    }
    loader->env = env;
    loader->slot_bytes = slot_bytes;
    loader->memory = kdrt_alloc(env, (size_t)(slot_bytes * SLOT_COUNT));
    loader->order = kdrt_alloc(env, (size_t)most_examples * sizeof *loader->order);
    for (int i = 0; i < 2; i++)
        loader->scratch[i] = kdrt_alloc(env, (size_t)room.image_bytes);
    loader->workspace = kdrt_alloc(env, (size_t)room.work_bytes);
    bool ok = loader->memory && loader->order && loader->scratch[0] && loader->scratch[1] &&
              loader->workspace;
    if (!ok)
        kdrt_fail_memory(error, (size_t)(slot_bytes * SLOT_COUNT));
    pthread_mutex_init(&loader->lock, NULL);
    pthread_cond_init(&loader->work, NULL);
    pthread_cond_init(&loader->ready, NULL);
    if (ok && start_thread(loader)) {
        kdrt_fail(error, STATUS_WORLD, "no thread can be started for loading data");
        ok = false;
    }
    if (!ok) {
        loader->thread = 0;
        loader->stop = true;
        kdrt_loader_close(loader);
        return NULL;
    }
    return loader;
}

void kdrt_loader_start(Loader *loader, const LoaderJob *job) {
    pthread_mutex_lock(&loader->lock);
    loader->total = loader->produced; // nothing more of the old job
    while (loader->busy) {
        pthread_cond_wait(&loader->ready, &loader->lock);
        loader->total = loader->produced;
    }
    loader->job = *job;
    loader->ordered = false;
    loader->examples = job->dataset->part[job->part].count;
    int64_t total = kdrt_batch_count(loader->examples, job->batch, job->drop_last);
    loader->total = total > job->first_batch ? total - job->first_batch : 0;
    loader->produced = loader->taken = loader->released = 0;
    pthread_cond_signal(&loader->work);
    pthread_mutex_unlock(&loader->lock);
}

const Batch *kdrt_loader_next(Loader *loader) {
    pthread_mutex_lock(&loader->lock);
    loader->released = loader->taken;
    pthread_cond_signal(&loader->work);
    const Batch *batch = NULL;
    if (loader->taken < loader->total) {
        while (loader->produced == loader->taken)
            pthread_cond_wait(&loader->ready, &loader->lock);
        batch = &loader->slot[loader->taken++ % SLOT_COUNT];
    }
    pthread_mutex_unlock(&loader->lock);
    return batch;
}

void kdrt_loader_close(Loader *loader) {
    if (!loader)
        return;
    if (loader->thread) {
        pthread_mutex_lock(&loader->lock);
        loader->stop = true;
        pthread_cond_signal(&loader->work);
        pthread_mutex_unlock(&loader->lock);
        pthread_join(loader->thread, NULL);
    }
    pthread_cond_destroy(&loader->ready);
    pthread_cond_destroy(&loader->work);
    pthread_mutex_destroy(&loader->lock);
    Env *env = loader->env;
    kdrt_free(env, loader->workspace);
    kdrt_free(env, loader->scratch[1]);
    kdrt_free(env, loader->scratch[0]);
    kdrt_free(env, loader->order);
    kdrt_free(env, loader->memory);
    kdrt_free(env, loader);
}
