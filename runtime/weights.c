// runtime/weights.c -- safetensors files for the compiler, which embeds them in deployed libraries.
#include <string.h>

#include "runtime/run.h"

typedef struct Memory {
    Env env;
    Arena arena;
} Memory;

bool kdrt_weights_open(KdrtWeights *weights, const char *path, KdrtError *error) {
    *weights = (KdrtWeights){0};
    Env first = {0};
    Memory *memory = kdrt_alloc(&first, sizeof *memory);
    if (!memory)
        return kdrt_fail_memory(error, sizeof *memory);
    *memory = (Memory){.env = first};
    memory->arena.env = &memory->env;
    weights->memory = memory;
    Bytes bytes;
    SafeTensor *tensor = NULL;
    bool ok = kdrt_io_read_file(&memory->env, &memory->arena, path, 0, 0, &bytes, error);
    if (ok)
        ok = kdrt_safetensors_read(bytes, &memory->arena, &tensor, &weights->count, error) ||
             kdrt_fail_in(error, path);
    size_t count = (size_t)weights->count;
    weights->tensor = ok ? kdrt_arena_array(&memory->arena, count + 1, sizeof(KdrtTensor)) : NULL;
    if (ok && !weights->tensor)
        ok = kdrt_fail_memory(error, count * sizeof(KdrtTensor));
    for (size_t i = 0; ok && i < count; i++) {
        KdrtTensor *to = &weights->tensor[i];
        *to = (KdrtTensor){.name = tensor[i].name,
                           .dtype = kdrt_dtype_name(tensor[i].dtype),
                           .rank = tensor[i].rank,
                           .size_bytes = tensor[i].size_bytes,
                           .data = tensor[i].data};
        memcpy(to->shape, tensor[i].shape, sizeof to->shape);
    }
    if (!ok)
        kdrt_weights_close(weights);
    return ok;
}

void kdrt_weights_close(KdrtWeights *weights) {
    Memory *memory = weights->memory;
    if (memory) {
        kdrt_arena_release(&memory->arena);
        Env last = memory->env;
        kdrt_free(&last, memory);
    }
    *weights = (KdrtWeights){0};
}

static bool find_dtype(const char *name, Dtype *dtype) {
    for (int i = 0; i < DTYPE_COUNT; i++) {
        *dtype = (Dtype)i;
        if (!strcmp(name, kdrt_dtype_name(*dtype)))
            return true;
    }
    return false;
}

static bool is_float(Dtype dtype) {
    return dtype == DTYPE_f64 || dtype == DTYPE_f32 || dtype == DTYPE_bf16;
}

bool kdrt_weights_copy(const KdrtTensor *from, const char *dtype, void *to, int64_t size_bytes) {
    Dtype wanted, given;
    if (!find_dtype(dtype, &wanted) || !find_dtype(from->dtype, &given) ||
        (wanted != given && !(is_float(wanted) && is_float(given))))
        return false;
    size_t wanted_bytes = kdrt_dtype_bytes(wanted), given_bytes = kdrt_dtype_bytes(given);
    size_t count = (size_t)size_bytes / wanted_bytes;
    if (count * given_bytes != (size_t)from->size_bytes)
        return false;
    if (wanted == given) {
        memcpy(to, from->data, (size_t)size_bytes);
        return true;
    }
    for (size_t i = 0; i < count; i++)
        kdrt_dtype_set(wanted, (char *)to + i * wanted_bytes,
                       kdrt_dtype_get(given, (const char *)from->data + i * given_bytes));
    return true;
}

bool kdrt_weights_write(const char *path, const KdrtTensor *tensor, int64_t count,
                        KdrtError *error) {
    Env env = {0};
    SafeTensor *copy = kdrt_alloc(&env, ((size_t)count + 1) * sizeof *copy);
    bool ok = copy || kdrt_fail_memory(error, (size_t)count * sizeof *copy);
    for (int64_t i = 0; ok && i < count; i++) {
        copy[i] = (SafeTensor){.name = tensor[i].name,
                               .rank = tensor[i].rank,
                               .data = tensor[i].data,
                               .size_bytes = tensor[i].size_bytes};
        memcpy(copy[i].shape, tensor[i].shape, sizeof copy[i].shape);
        if (!find_dtype(tensor[i].dtype, &copy[i].dtype))
            ok = kdrt_fail(error, STATUS_BUG, "no dtype `%s`", tensor[i].dtype);
    }
    ok = ok && kdrt_safetensors_write(&env, path, copy, count, error);
    kdrt_free(&env, copy);
    return ok;
}
