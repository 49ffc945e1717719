// ir/type.c -- element types and tensor types.
#include <string.h>

#include "ir/ir.h"

static const struct {
    const char *name;
    size_t size_bytes;
} dtype_info[] = {
    [DT_F32] = {"f32", 4}, [DT_F64] = {"f64", 8},   [DT_I32] = {"i32", 4},
    [DT_U8] = {"u8", 1},   [DT_BOOL] = {"bool", 1},
};

enum { DTYPE_COUNT = sizeof dtype_info / sizeof *dtype_info };

size_t dtype_size_bytes(DType dtype) {
    return dtype_info[dtype].size_bytes;
}

const char *dtype_name(DType dtype) {
    return dtype_info[dtype].name;
}

bool dtype_is_float(DType dtype) {
    return dtype == DT_F32 || dtype == DT_F64;
}

bool dtype_from_name(const char *name, DType *dtype) {
    for (int i = 0; i < DTYPE_COUNT; i++) {
        if (strcmp(name, dtype_info[i].name) == 0) {
            *dtype = (DType)i;
            return true;
        }
    }
    return false;
}

int64_t type_count(const Type *type) {
    int64_t count = 1;
    for (int i = 0; i < type->rank; i++)
        count *= type->dim[i];
    return count;
}

bool type_same_shape(const Type *a, const Type *b) {
    if (a->rank != b->rank)
        return false;
    for (int i = 0; i < a->rank; i++) {
        if (a->dim[i] != b->dim[i])
            return false;
    }
    return true;
}

bool type_equal(const Type *a, const Type *b) {
    return a->dtype == b->dtype && a->block == b->block && a->block_axis == b->block_axis &&
           type_same_shape(a, b);
}

const char *type_text(Arena *arena, const Type *type) {
    StrBuf text = {.arena = arena};
    strbuf_printf(&text, "%s[", dtype_name(type->dtype));
    for (int i = 0; i < type->rank; i++)
        strbuf_printf(&text, "%s%lld", i ? ", " : "", (long long)type->dim[i]);
    strbuf_putc(&text, ']');
    if (type->block)
        strbuf_printf(&text, "{%d:%d}", type->block_axis, type->block);
    return strbuf_text(&text);
}
