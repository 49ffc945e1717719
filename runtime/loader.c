// runtime/loader.c -- batches made ahead of their use by threads of its own.
//
// A ring of slots, each filled by one of the threads, handed out in order. A thread touches only
// the slot it fills, its own room, the data set and the order of examples; it allocates nothing
// (but for what libpng and libjpeg do), and fails only when a file of an image folder cannot be
// read. Which examples a batch holds and how they are augmented is a function of the job and the
// batch's number alone: a run that goes on in the middle of an epoch gets the same batches.
#include "runtime/data.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>

#include "support/philox.h"

enum {
    MOST_SLOTS = LOADER_MOST_THREADS + 2,
    STREAM_SHUFFLE = 0x7e000000,
    STREAM_AUGMENT = 0x7f000000
};

__extension__ typedef unsigned __int128 Wide;

/// A thread and the room in which it makes an example.
typedef struct Worker {
    Loader *loader;
    pthread_t thread;
    uint8_t *scratch[2], *workspace, *file, *decoded;
} Worker;

typedef struct Slot {
    Batch batch;
    bool done;       // of those claimed
    KdrtError error; // of the batch
} Slot;

struct Loader {
    Env *env;
    Worker worker[LOADER_MOST_THREADS];
    int64_t thread_count, slot_count;
    Room room;
    pthread_mutex_t lock;
    pthread_cond_t work;  // something to do for a thread
    pthread_cond_t ready; // something done by one
    bool stop;
    int64_t busy; // threads
    LoaderJob job;
    int64_t examples, total;                    // of the job: examples, batches to hand out
    int64_t claimed, produced, taken, released; // batches; each is at most the one before
    bool ordered;                               // `order` holds the job's permutation
    int64_t *order;
    uint8_t *memory;
    int64_t slot_bytes;
    Slot slot[MOST_SLOTS];
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

/// The image of a row as the file has it: where the column lies, or decoded from a file of its own.
static bool open_image(const Worker *worker, const FileColumn *column, int64_t row, Image *image,
                       KdrtError *error) {
    if (!column->images) {
        *image = kdrt_image((uint8_t *)(uintptr_t)column->data + row * column->stride_bytes,
                            column->shape[0], column->shape[1], column->shape[2]);
        return true;
    }
    const ImageFile *file = &column->images->at[row];
    size_t room = (size_t)worker->loader->room.file_bytes, size_bytes;
    Bytes bytes;
    if (!kdrt_io_read_start(file->path, worker->file, room, &bytes, &size_bytes, error))
        return false;
    if (size_bytes > room)
        return kdrt_fail(error, STATUS_WORLD, "%s: is larger than when the run began", file->path);
    *image = kdrt_image(worker->decoded, 3, file->height, file->width);
    if (!kdrt_image_decode)
        return kdrt_fail(error, STATUS_BUG, "this binary was linked without readers of images");
    return kdrt_image_decode(bytes, image, worker->workspace, error) ||
           kdrt_fail_in(error, file->path);
}

static bool fill_pixels(const Worker *worker, const FieldBinding *binding, const FileColumn *column,
                        int64_t row, void *to, KdrtError *error) {
    const LoaderJob *job = &worker->loader->job;
    const Pipeline *pipeline = job->training ? &binding->augment : &binding->prepare;
    Image image;
    if (!open_image(worker, column, row, &image, error))
        return false;
    for (int64_t i = 0; i < pipeline->count; i++) {
        Draws draws = {{(uint32_t)job->seed, (uint32_t)(job->seed >> 32)},
                       {(uint32_t)row, STREAM_AUGMENT + binding->stream + (uint32_t)i, (uint32_t)job->epoch,
                        (uint32_t)job->phase},
                       {0},
                       0};
        int64_t in[3] = {image.channels, image.height, image.width}, out[3];
        if (!kdrt_transform_extents(&pipeline->transform[i], in, out, error))
            return false; // never: they were checked when the data was opened
        Image next = kdrt_image(worker->scratch[i % 2], out[0], out[1], out[2]);
        kdrt_transform_apply(&pipeline->transform[i], &image, &next, &draws, worker->workspace);
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
    return true;
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

static void fill_slot(const Worker *worker, int64_t number) {
    Loader *loader = worker->loader;
    const LoaderJob *job = &loader->job;
    const Dataset *dataset = job->dataset;
    const DataView *view = &dataset->part[job->part];
    Slot *slot = &loader->slot[number % loader->slot_count];
    Batch *batch = &slot->batch;
    uint8_t *to = loader->memory + (number % loader->slot_count) * loader->slot_bytes;
    int64_t begin = (job->first_batch + number) * job->batch;
    *batch = (Batch){.count = loader->examples - begin < job->batch ? loader->examples - begin
                                                                    : job->batch};
    slot->error = (KdrtError){0};
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
            else if (!binding->is_pixels)
                fill_values(binding, column, view->first + place, at);
            else if (!fill_pixels(worker, binding, column, view->first + place, at, &slot->error))
                return;
        }
        to += aligned(job->batch * binding->field->size_bytes);
    }
}

// ---- the threads --------------------------------------------------------------------------------

static void *loader_thread(void *argument) {
    const Worker *worker = argument;
    Loader *loader = worker->loader;
    pthread_mutex_lock(&loader->lock);
    for (;;) {
        while (!loader->stop && (loader->claimed >= loader->total ||
                                 loader->claimed - loader->released == loader->slot_count))
            pthread_cond_wait(&loader->work, &loader->lock);
        if (loader->stop)
            break;
        if (!loader->ordered && loader->job.training)
            kdrt_shuffle(loader->order, loader->examples, loader->job.seed, loader->job.phase,
                         loader->job.epoch);
        loader->ordered = true;
        loader->busy++;
        int64_t number = loader->claimed++;
        Slot *slot = &loader->slot[number % loader->slot_count];
        slot->done = false;
        pthread_mutex_unlock(&loader->lock);
        fill_slot(worker, number);
        pthread_mutex_lock(&loader->lock);
        loader->busy--;
        slot->done = true;
        while (loader->produced < loader->claimed &&
               loader->slot[loader->produced % loader->slot_count].done)
            loader->produced++;
        pthread_cond_signal(&loader->ready);
    }
    pthread_mutex_unlock(&loader->lock);
    return NULL;
}

/// Signals are for the thread that trains.
static bool start_threads(Loader *loader, int64_t count, KdrtError *error) {
    sigset_t all, before;
    bool ok = true;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (ok && loader->thread_count < count) {
        Worker *worker = &loader->worker[loader->thread_count];
        ok = pthread_create(&worker->thread, NULL, loader_thread, worker) == 0;
        loader->thread_count += ok;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return ok || kdrt_fail(error, STATUS_WORLD, "no thread can be started for loading data");
}

static bool open_worker(Loader *loader, Worker *worker) {
    const Room *room = &loader->room;
    worker->loader = loader;
    for (int i = 0; i < 2; i++)
        worker->scratch[i] = kdrt_alloc(loader->env, (size_t)room->image_bytes);
    worker->workspace = kdrt_alloc(loader->env, (size_t)room->work_bytes);
    worker->file = kdrt_alloc(loader->env, (size_t)room->file_bytes);
    worker->decoded = kdrt_alloc(loader->env, room->file_bytes ? (size_t)room->image_bytes : 0);
    return worker->scratch[0] && worker->scratch[1] && worker->workspace && worker->file &&
           worker->decoded;
}

Loader *kdrt_loader_open(Env *env, int64_t slot_bytes, int64_t most_examples, Room room,
                         int64_t threads, KdrtError *error) {
    Loader *loader = kdrt_alloc(env, sizeof(Loader));
    if (!loader) {
        kdrt_fail_memory(error, sizeof(Loader));
        return NULL;
    }
    threads = threads < 1 ? 1 : threads > LOADER_MOST_THREADS ? LOADER_MOST_THREADS : threads;
    loader->env = env;
    loader->room = room;
    loader->slot_bytes = slot_bytes;
    loader->slot_count = threads + 2;
    loader->memory = kdrt_alloc(env, (size_t)(slot_bytes * loader->slot_count));
    loader->order = kdrt_alloc(env, (size_t)most_examples * sizeof *loader->order);
    bool ok = loader->memory && loader->order;
    for (int64_t i = 0; ok && i < threads; i++)
        ok = open_worker(loader, &loader->worker[i]);
    if (!ok)
        kdrt_fail_memory(error, (size_t)(slot_bytes * loader->slot_count));
    pthread_mutex_init(&loader->lock, NULL);
    pthread_cond_init(&loader->work, NULL);
    pthread_cond_init(&loader->ready, NULL);
    if (!ok || !start_threads(loader, threads, error)) {
        kdrt_loader_close(loader);
        return NULL;
    }
    return loader;
}

void kdrt_loader_start(Loader *loader, const LoaderJob *job) {
    pthread_mutex_lock(&loader->lock);
    loader->total = loader->claimed; // nothing more of the old job
    while (loader->busy)
        pthread_cond_wait(&loader->ready, &loader->lock);
    loader->job = *job;
    loader->ordered = false;
    loader->examples = job->dataset->part[job->part].count;
    int64_t total = kdrt_batch_count(loader->examples, job->batch, job->drop_last);
    loader->total = total > job->first_batch ? total - job->first_batch : 0;
    loader->claimed = loader->produced = loader->taken = loader->released = 0;
    pthread_cond_broadcast(&loader->work);
    pthread_mutex_unlock(&loader->lock);
}

const Batch *kdrt_loader_next(Loader *loader, KdrtError *error) {
    pthread_mutex_lock(&loader->lock);
    loader->released = loader->taken;
    pthread_cond_broadcast(&loader->work);
    const Batch *batch = NULL;
    if (loader->taken < loader->total) {
        while (loader->produced == loader->taken)
            pthread_cond_wait(&loader->ready, &loader->lock);
        const Slot *slot = &loader->slot[loader->taken % loader->slot_count];
        if (slot->error.status) {
            *error = slot->error;
        } else {
            batch = &slot->batch;
            loader->taken++;
        }
    }
    pthread_mutex_unlock(&loader->lock);
    return batch;
}

void kdrt_loader_close(Loader *loader) {
    if (!loader)
        return;
    pthread_mutex_lock(&loader->lock);
    loader->stop = true;
    pthread_cond_broadcast(&loader->work);
    pthread_mutex_unlock(&loader->lock);
    for (int64_t i = 0; i < loader->thread_count; i++)
        pthread_join(loader->worker[i].thread, NULL);
    pthread_cond_destroy(&loader->ready);
    pthread_cond_destroy(&loader->work);
    pthread_mutex_destroy(&loader->lock);
    Env *env = loader->env;
    for (int i = 0; i < LOADER_MOST_THREADS; i++) {
        Worker *worker = &loader->worker[i];
        kdrt_free(env, worker->decoded);
        kdrt_free(env, worker->file);
        kdrt_free(env, worker->workspace);
        kdrt_free(env, worker->scratch[1]);
        kdrt_free(env, worker->scratch[0]);
    }
    kdrt_free(env, loader->order);
    kdrt_free(env, loader->memory);
    kdrt_free(env, loader);
}
