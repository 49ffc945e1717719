// Emitted kernels against C: every scalar op, tails of every length, the marks of loops, masks,
// threads.
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "run_kernel.h"

static LoopKernel *read(Arena *arena, const char *text) {
    int line = 0;
    const char *message = NULL;
    LoopKernel *kernel = loop_kernel_read(arena, text, strlen(text), &line, &message);
    if (!kernel)
        fail_msg("line %d: %s", line, message);
    return kernel;
}

/// Compiles and runs the text at every level, with flags and without: the bytes of `result` must
/// agree.
static void run_text(const char *text, void *const *argument, KernelRun run, void *result,
                     size_t bytes) {
    unsigned char *before = malloc(bytes), *first = malloc(bytes);
    memcpy(before, result, bytes);
    for (int variant = 0; variant < 6; variant++) {
        Arena arena = {0};
        memcpy(result, before, bytes);
        run.level = variant % 4;
        run.strip_flags = variant == 4;
        run.target_cpu = variant == 5 ? "x86-64-v3" : NULL;
        run_kernel(read(&arena, text), argument, run);
        if (variant == 0)
            memcpy(first, result, bytes);
        else
            assert_memory_equal(first, result, bytes);
        arena_release(&arena);
    }
    free(before), free(first);
}

/// Buffers of kernels are aligned to 64 bytes.
static void *aligned_zeros(size_t bytes) {
    void *zeros = aligned_alloc(64, (bytes + 127) / 64 * 64);
    memset(zeros, 0, bytes);
    return zeros;
}

static float *floats(size_t count, double scale) {
    float *x = aligned_zeros(count * sizeof *x);
    uint64_t state = count;
    for (size_t i = 0; i < count; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        x[i] = (float)(scale * ((double)(state >> 40) * 0x1p-23 - 1));
    }
    return x;
}

// ---- scalar ops
// ----------------------------------------------------------------------------------------

enum { COUNT = 53 }; // three vectors and a tail, or six and a tail

static const double samples[] = {0.0, -0.0, 1,   -1,   2.5,  -2.5, 3,   -7,       100.75,   1e-3,
                                 0.5, -0.5, 255, -128, 1e10, 300,  NAN, INFINITY, -INFINITY};
enum { SAMPLES = sizeof samples / sizeof *samples };

static double sample_of(ScalarType type, int i) {
    double x = samples[(unsigned)i % SAMPLES];
    switch (type) {
    case S_BOOL:
        return i % 2;
    case S_U8:
        return isnan(x) || x < 0 ? i % 7 : x > 255 ? 255 : floor(x);
    case S_I32:
        return isfinite(x) && fabs(x) < 1e9 ? trunc(x) : i % 2 ? INT32_MAX : INT32_MIN;
    case S_INDEX:
    case S_F64:
        return x;
    case S_F32:
        return (double)(float)x;
    }
    return x;
}

static void put(ScalarType type, void *array, int i, double value) {
    switch (type) {
    case S_BOOL:
    case S_U8:
        ((uint8_t *)array)[i] = (uint8_t)value;
        break;
    case S_I32:
        ((int32_t *)array)[i] = (int32_t)value;
        break;
    case S_F32:
        ((float *)array)[i] = (float)value;
        break;
    case S_INDEX:
    case S_F64:
        ((double *)array)[i] = value;
        break;
    }
}

static double get(ScalarType type, const void *array, int i) {
    switch (type) {
    case S_BOOL:
    case S_U8:
        return ((const uint8_t *)array)[i];
    case S_I32:
        return ((const int32_t *)array)[i];
    case S_F32:
        return (double)((const float *)array)[i];
    case S_INDEX:
    case S_F64:
        break;
    }
    return ((const double *)array)[i];
}

static int64_t floored(int64_t a, int64_t b) {
    return b == 0 ? 0 : a / b - (a % b != 0 && (a < 0) != (b < 0));
}

/// The meaning of an op on doubles; f32 results are rounded once more by the caller.
static double reference_float(ScalarOp op, ScalarType type, double a, double b, double c) {
    bool single = type == S_F32;
    switch ((int)op) {
    case X_add:
        return a + b;
    case X_sub:
        return a - b;
    case X_mul:
        return a * b;
    case X_div:
        return a / b;
    case X_fma:
        return single ? (double)fmaf((float)a, (float)b, (float)c) : fma(a, b, c);
    case X_neg:
        return -a;
    case X_abs:
        return fabs(a);
    case X_sign:
        return a > 0 ? 1 : a < 0 ? -1 : a;
    case X_sqrt:
        return sqrt(a);
    case X_floor:
        return floor(a);
    case X_max:
        return isnan(a) ? a : isnan(b) ? b : b > a ? b : a;
    case X_min:
        return isnan(a) ? a : isnan(b) ? b : b < a ? b : a;
    case X_floor_div:
        return floor(single ? (double)(float)(a / b) : a / b);
    case X_mod:
        if (single) {
            float product = (float)b * floorf((float)(a / b));
            return (double)((float)a - product);
        }
        return a - b * floor(a / b);
    default:
        return a;
    }
}

/// On integers, before wrapping around.
static int64_t reference_int(ScalarOp op, int64_t a, int64_t b, bool is_signed) {
    switch ((int)op) {
    case X_add:
        return a + b;
    case X_sub:
        return a - b;
    case X_mul:
        return (int64_t)((uint64_t)a * (uint64_t)b);
    case X_neg:
        return -a;
    case X_abs:
        return a < 0 ? -a : a;
    case X_sign:
        return (a > 0) - (a < 0);
    case X_max:
        return a > b ? a : b;
    case X_min:
        return a < b ? a : b;
    case X_floor_div:
        return floored(a, b);
    case X_mod:
        return a - b * floored(a, b);
    case X_shl:
        return (int64_t)((uint64_t)a << (b & 7));
    case X_shr:
        return is_signed ? a >> (b & 7) : (int64_t)((uint64_t)a >> (b & 7));
    case X_bit_and:
        return a & b;
    case X_bit_or:
        return a | b;
    case X_bit_xor:
        return a ^ b;
    default:
        return a;
    }
}

static double wrapped(ScalarType type, int64_t value) {
    return type == S_U8 ? (double)(uint8_t)value : (double)(int32_t)(uint32_t)value;
}

static double reference(ScalarOp op, ScalarType type, double a, double b, double c) {
    switch ((int)op) {
    case X_eq:
        return a == b;
    case X_ne:
        return a != b;
    case X_lt:
        return a < b;
    case X_le:
        return a <= b;
    case X_and:
        return a != 0 && b != 0;
    case X_or:
        return a != 0 || b != 0;
    case X_not:
        return a == 0;
    case X_is_finite:
        return isfinite(a);
    case X_select:
        return a != 0 ? b : c;
    default:
        break;
    }
    if (scalar_is_float(type))
        return reference_float(op, type, a, b, c);
    return wrapped(type, reference_int(op, (int64_t)a, (int64_t)b, type != S_U8));
}

typedef struct Operands {
    ScalarType type[3], result;
    void *at[3];
} Operands;

/// y[i] = op(a[i], b[i], c[i]) or, for shifts, by b[i] & 7.
static LoopKernel *op_kernel(Arena *arena, ScalarOp op, const Operands *o, LoopKind kind) {
    LoopKernel *k = loop_kernel_new(arena, scalar_info[op].name);
    uint32_t arity = scalar_info[op].arity;
    for (uint32_t i = 0; i < arity; i++)
        loop_buffer(k, "x", o->type[i], BUFFER_IN, COUNT);
    uint32_t y = loop_buffer(k, "y", o->result, BUFFER_OUT, COUNT);
    LoopStmt *loop = loop_for(k, &k->body, kind, "i", x_int(k, 0), x_int(k, COUNT), 1);
    LoopExpr *operand[3], *i = loop_var(k, loop);
    for (uint32_t n = 0; n < arity; n++)
        operand[n] = x_load(k, n, i);
    if (op == X_shl || op == X_shr)
        operand[1] = x2(k, X_bit_and, operand[1], x_const(k, 7, o->type[1]));
    loop_store(k, &loop->body, y, i,
               op == X_cast ? x_cast(k, operand[0], o->result) : x_apply(k, op, operand, arity));
    return k;
}

static double cast_reference(ScalarType from, ScalarType to, double a) {
    (void)from;
    if (to == S_BOOL)
        return a != 0;
    if (to == S_U8)
        return isnan(a) ? 0 : a < 0 ? 0 : a > 255 ? 255 : trunc(a);
    if (to == S_I32)
        return isnan(a) ? 0 : a <= INT32_MIN ? INT32_MIN : a >= INT32_MAX ? INT32_MAX : trunc(a);
    return a;
}

static void check_op(ScalarOp op, const Operands *o) {
    uint32_t arity = scalar_info[op].arity;
    for (int kind = 0; kind < 2; kind++) {
        Arena arena = {0};
        void *argument[4], *y = aligned_zeros(COUNT * 8);
        for (uint32_t n = 0; n < arity; n++)
            argument[n] = o->at[n];
        argument[arity] = y;
        run_kernel(op_kernel(&arena, op, o, kind ? LOOP_VECTOR : LOOP_SERIAL), argument,
                   (KernelRun){.level = kind * 2});
        for (int i = 0; i < COUNT; i++) {
            double x[3] = {0};
            for (uint32_t n = 0; n < arity; n++)
                x[n] = get(o->type[n], o->at[n], i);
            double wanted = op == X_cast ? cast_reference(o->type[0], o->result, x[0])
                                         : reference(op, o->type[0], x[0], x[1], x[2]);
            if (o->result == S_F32)
                wanted = (double)(float)wanted;
            double found = get(o->result, y, i);
            bool same =
                isnan(wanted) ? isnan(found) : found == wanted && signbit(found) == signbit(wanted);
            if (!same && !(wanted == 0 && found == 0 && !scalar_is_float(o->result)))
                fail_msg("%s %s(%g, %g, %g) of %s to %s is %.17g, not %.17g",
                         kind ? "vector" : "serial", scalar_info[op].name, x[0], x[1], x[2],
                         scalar_type_name(o->type[0]), scalar_type_name(o->result), found, wanted);
        }
        free(y);
        arena_release(&arena);
    }
}

static void *operand_of(ScalarType type, int stride) {
    void *array = aligned_zeros((COUNT + 1) * 8);
    for (int i = 0; i < COUNT; i++)
        put(type, array, i, sample_of(type, (i + 3) * stride));
    return array;
}

static void every_op_is_compiled(void **state) {
    (void)state;
    static const ScalarType types[] = {S_BOOL, S_U8, S_I32, S_F32, S_F64};
    int checked = 0;
    for (int op = 0; op < X_COUNT; op++) {
        char rule = scalar_info[op].rule;
        bool is_math = op >= X_exp; // tests/unit/codegen/math.c
        if (is_math || rule == 'T' || op == X_copy || op == X_first)
            continue;
        for (int t = 0; t < 5; t++) {
            for (int to = 0; to < (rule == 'K' ? 5 : 1); to++) {
                Operands o = {.type = {types[t], types[t], types[t]}, .result = types[to]};
                if (rule == 'S')
                    o.type[0] = S_BOOL;
                if (!scalar_result((ScalarOp)op, o.type, scalar_info[op].arity, &o.result) ||
                    (rule == 'K' && types[t] == types[to]))
                    continue;
                for (int n = 0; n < 3; n++)
                    o.at[n] = operand_of(o.type[n], n == 0 ? 1 : n == 1 ? 5 : 7);
                check_op((ScalarOp)op, &o);
                for (int n = 0; n < 3; n++)
                    free(o.at[n]);
                checked++;
            }
        }
    }
    print_message("%d ops and types\n", checked);
}

// ---- vector loops
// --------------------------------------------------------------------------------------

static void tails_of_every_length(void **state) {
    (void)state;
    Arena arena = {0};
    float *x = floats(80, 1), *y = floats(80, 2);
    for (int64_t n = 1; n <= 40; n++) {
        char *text = arena_printf(&arena,
                                  "kernel k(x: in f32[80], y: inout f32[80]) extents 1 {\n"
                                  "  vector i = 3 .. 3 + %s { y[i] = x[i] + y[i] }\n}\n",
                                  n % 2 ? "$0" : arena_printf(&arena, "%d", (int)n));
        float *wanted = floats(80, 2), *begin = floats(80, 2);
        for (int64_t i = 3; i < 3 + n; i++)
            wanted[i] += x[i];
        memcpy(y, begin, 80 * sizeof *y);
        run_kernel(read(&arena, text), (void *[]){x, y}, (KernelRun){.level = 2, .extent = &n});
        assert_memory_equal(y, wanted, 80 * sizeof *y);
        free(wanted), free(begin);
    }
    free(x), free(y);
    arena_release(&arena);
}

/// The sum as loops.h promises it: lane i % 16, then a tree.
static float lane_sum(const float *x, int64_t count) {
    float lane[16];
    for (int i = 0; i < 16; i++)
        lane[i] = -0.0f;
    for (int64_t i = 0; i < count; i++)
        lane[i % 16] += x[i];
    for (int width = 8; width > 0; width /= 2) {
        for (int i = 0; i < width; i++)
            lane[i] += lane[i + width];
    }
    return lane[0];
}

static void accumulation_is_a_fixed_tree(void **state) {
    (void)state;
    float *x = floats(128, 1);
    _Alignas(64) float y[2];
    for (int64_t n = 1; n <= 100; n += n < 34 ? 1 : 13) {
        Arena arena = {0};
        run_kernel(read(&arena, "kernel k(x: in f32[128], y: out f32[2]) extents 1 {\n"
                                "  local s: f32\n  local m: f32\n  s = 5.0f\n  m = -2.0f\n"
                                "  vector i = 0 .. $0 {\n    s add= x[i]\n    m max= x[i]\n  }\n"
                                "  y[0] = s\n  y[1] = m\n}\n"),
                   (void *[]){x, y}, (KernelRun){.level = 1, .extent = &n});
        float largest = -2;
        for (int64_t i = 0; i < n; i++)
            largest = x[i] > largest ? x[i] : largest;
        assert_true(y[0] == 5.0f + lane_sum(x, n));
        assert_true(y[1] == largest);
        arena_release(&arena);
    }
    free(x);
}

static void accesses_by_their_stride(void **state) {
    (void)state;
    float *x = floats(400, 1);
    _Alignas(64) float y[200];
    _Alignas(64) int32_t rows[40];
    for (int i = 0; i < 40; i++)
        rows[i] = (i * 7) % 40;
    memset(y, 0, sizeof y);
    run_text("kernel k(x: in f32[400], n: in i32[40], y: inout f32[200]) {\n"
             "  vector i = 0 .. 37 {\n"
             "    y[i] = x[5] + x[i * 3 + 1] * x[index(n[i]) * 10 + 3]\n"
             "    y[199 - i] = x[floor_div(i, 4) * 4 + mod(i, 3)]\n"
             "  }\n"
             "  for r = 0 .. 3 {\n"
             "    y[50 + r] = f32(n[r]) + x[index(n[r + 1])]\n"
             "    vector j = 0 .. 16 { y[60 + r * 16 + j] = x[mod(r * 16 + j, 16) + r] }\n"
             "  }\n"
             "}\n",
             (void *[]){x, rows, y}, (KernelRun){0}, y, sizeof y);
    for (int i = 0; i < 37; i++) {
        assert_true(y[i] == x[5] + x[i * 3 + 1] * x[rows[i] * 10 + 3]);
        assert_true(y[199 - i] == x[i / 4 * 4 + i % 3]);
    }
    for (int r = 0; r < 3; r++) {
        assert_true(y[50 + r] == (float)rows[r] + x[rows[r + 1]]);
        for (int j = 0; j < 16; j++)
            assert_true(y[60 + r * 16 + j] == x[j + r]);
    }
    free(x);
}

/// What is guarded is not read: the second buffer points to nowhere.
static void guarded_loads_do_not_read(void **state) {
    (void)state;
    float *x = floats(20, 1);
    _Alignas(64) float y[64], z[40];
    void *nowhere = (void *)64;
    memset(y, 0, sizeof y);
    run_text(
        "kernel k(x: in f32[20], p: in f32[900], y: inout f32[64]) extents 1 {\n"
        "  for h = 0 .. 3 {\n"
        "    vector w = 0 .. 20 {\n"
        "      y[h * 20 + w] = select(0 <= w + h - 1 and w + h - 1 < 20, x[w + h - 1], -1.0f)\n"
        "      if $0 < w {\n"
        "        y[h] = 3.0f\n"
        "        y[w + 40] = p[w + 40]\n"
        "      }\n"
        "    }\n"
        "    y[63] = select($0 < h, p[h], 9.0f)\n"
        "  }\n"
        "}\n",
        (void *[]){x, nowhere, y}, (KernelRun){.extent = (int64_t[]){100}}, y, sizeof y);
    for (int h = 0; h < 3; h++) {
        for (int w = 0; w < 20; w++) {
            int at = w + h - 1;
            assert_true(y[h * 20 + w] == (at >= 0 && at < 20 ? x[at] : -1));
        }
    }
    assert_true(y[63] == 9);
    memset(z, 0, sizeof z);
    run_text("kernel k(x: in f32[20], y: inout f32[40]) {\n"
             "  vector w = 0 .. 20 {\n"
             "    local a: f32[2]\n"
             "    a[1] = 1.0f\n"
             "    if x[w] < 0.0f {\n"
             "      a[1] = x[w] * 2.0f\n"
             "      if x[w] < -0.5f { a[1] add= 7.0f }\n"
             "    } else { y[w + 20] = a[1] }\n"
             "    y[w] = a[1]\n"
             "  }\n"
             "}\n",
             (void *[]){x, z}, (KernelRun){0}, z, sizeof z);
    for (int w = 0; w < 20; w++) {
        float doubled = x[w] * 2;
        assert_true(z[w] == (x[w] < -0.5f ? doubled + 7 : x[w] < 0 ? doubled : 1));
        assert_true(z[20 + w] == (x[w] < 0 ? 0 : 1));
    }
    free(x);
}

// ---- tiles, threads
// ------------------------------------------------------------------------------------

static const char matmul_text[] =
    "kernel matmul(a: in f32[3000], b: in f32[3200], y: out f32[1920], t: scratch f32[64]) {\n"
    "  parallel tile = 0 .. 60 step 6 {\n" // 60 rows by 50, 50 by 32
    "    unroll half = 0 .. 2 {\n"
    "      vector v = 0 .. 16 {\n"
    "        local acc: f32[6]\n"
    "        unroll q = 0 .. 6 { acc[q] = 0.0f }\n"
    "        for k = 0 .. 50 {\n"
    "          let w = b[k * 32 + half * 16 + v]\n"
    "          unroll r = 0 .. 6 { acc[r] = fma(a[(tile + r) * 50 + k], w, acc[r]) }\n"
    "        }\n"
    "        unroll u = 0 .. 6 {\n"
    "          t[v] = acc[u]\n"
    "          if tile + u < 60 { y[(tile + u) * 32 + half * 16 + v] = t[v] }\n"
    "        }\n"
    "      }\n"
    "    }\n"
    "  }\n"
    "}\n";

static void a_register_tile(void **state) {
    (void)state;
    float *a = floats(3000, 1), *b = floats(3200, 1), *y = floats(1920, 1);
    for (int threads = 1; threads <= 4; threads++) {
        memset(y, 0, 1920 * sizeof *y);
        run_text(matmul_text, (void *[]){a, b, y},
                 (KernelRun){.iterations = 10, .threads = threads}, y, 1920 * sizeof *y);
        for (int r = 0; r < 60; r++) {
            for (int c = 0; c < 32; c++) {
                float sum = 0;
                for (int k = 0; k < 50; k++)
                    sum = fmaf(a[r * 50 + k], b[k * 32 + c], sum);
                assert_true(y[r * 32 + c] == sum);
            }
        }
    }
    free(a), free(b), free(y);
}

/// The inner loop of the tile above is vector code with its accumulators in registers.
static void the_tile_stays_in_registers(void **state) {
    (void)state;
    Arena arena = {0};
    LoopProgram *program = loop_program_new(&arena);
    loop_program_add(program, read(&arena, matmul_text));
    char *text = codegen_llvm_text(program, NULL, NULL,
                                   &(CodegenOptions){.level = 2, .target_cpu = "x86-64-v4"}, true);
    size_t fused = 0, spilled = 0;
    for (const char *at = text; (at = strstr(at, "vfmadd")); at++)
        fused++;
    for (const char *at = text; (at = strstr(at, "-byte Spill")); at++)
        spilled++;
    assert_int_equal(fused, 12);
    assert_non_null(strstr(text, "%zmm"));
    assert_int_equal(spilled, 0);
    free(text);
    arena_release(&arena);
}

// A loop that does not begin at 0, by steps, and one inside that begins where the outer one is.
static const char strided_text[] = "kernel k(x: in f32[400], y: inout f32[12]) {\n"
                                   "  parallel i = 0 .. 4 {\n"
                                   "    for k = 3 .. 20 step 4 {\n"
                                   "      for j = k .. 22 step 3 {\n"
                                   "        unroll u = 0 .. 3 {\n"
                                   "          let v = x[j * 17 + i * 5 + u * 2 + 1]\n"
                                   "          y[i * 3 + u] = y[i * 3 + u] + v\n"
                                   "        }\n"
                                   "      }\n"
                                   "    }\n"
                                   "  }\n"
                                   "}\n";

static void multiples_of_loop_variables(void **state) {
    (void)state;
    float *x = floats(400, 1), y[12];
    for (int64_t bytes = 512; bytes <= 2048; bytes *= 4) { // counted beside them, and not
        memset(y, 0, sizeof y);
        run_text(strided_text, (void *[]){x, y},
                 (KernelRun){.iterations = 4, .register_bytes = bytes}, y, sizeof y);
        for (int i = 0; i < 12; i++) {
            float sum = 0;
            for (int k = 3; k < 20; k += 4)
                for (int j = k; j < 22; j += 3)
                    sum += x[j * 17 + i / 3 * 5 + i % 3 * 2 + 1];
            assert_true(y[i] == sum);
        }
    }
    free(x);
}

static size_t count_phis(int64_t register_bytes) {
    Arena arena = {0};
    LoopProgram *program = loop_program_new(&arena);
    loop_program_add(program, read(&arena, strided_text));
    CodegenOptions options = {.level = 2, .register_bytes = register_bytes};
    char *text = codegen_llvm_text(program, NULL, NULL, &options, false);
    size_t count = 0;
    for (const char *at = text; (at = strstr(at, " = phi i64")); at++)
        count++;
    free(text);
    arena_release(&arena);
    return count;
}

/// Of the innermost loop's variable, where registers are few: LLVM's pass for it is left out.
static void multiples_are_counted(void **state) {
    (void)state;
    assert_int_equal(count_phis(512), 4); // i, k, j, j * 17
    assert_int_equal(count_phis(2048), 3);
}

static void calls_get_their_share(void **state) {
    (void)state;
    _Alignas(64) float wanted[100], y[100];
    kdrt_uniform_f32(wanted, 0, 100, 7, 11, 3); // seed and iteration of run_kernel()
    for (int threads = 1; threads <= 3; threads++) {
        memset(y, 0, sizeof y);
        run_text("kernel k(y: inout f32[100]) {\n"
                 "  call kdrt_uniform_f32(y[0], $lo, $hi, $seed, 11, $iteration)\n}\n",
                 (void *[]){y}, (KernelRun){.iterations = 100, .threads = threads}, y, sizeof y);
        assert_memory_equal(y, wanted, sizeof y);
    }
}

static void argmax_by_an_index_local(void **state) {
    (void)state;
    float *x = floats(60, 1);
    _Alignas(64) int32_t y[6];
    memset(y, 0, sizeof y);
    run_text("kernel k(x: in f32[60], y: out i32[6]) {\n"
             "  for r = 0 .. 6 {\n"
             "    local best: f32\n    local at: index\n"
             "    best = x[r * 10]\n    at = 0\n"
             "    for i = 1 .. 10 {\n"
             "      let v = x[r * 10 + i]\n"
             "      if best < v {\n        best = v\n        at = i\n      }\n"
             "    }\n"
             "    y[r] = i32(at) + i32(x[r * 10 + at] * 0.0f)\n"
             "  }\n"
             "}\n",
             (void *[]){x, y}, (KernelRun){0}, y, sizeof y);
    for (int r = 0; r < 6; r++) {
        int at = 0;
        for (int i = 1; i < 10; i++)
            at = x[r * 10 + i] > x[r * 10 + at] ? i : at;
        assert_int_equal(y[r], at);
    }
    free(x);
}

// What is stored to one result goes to the one beside it, be it another array or the same.
static void results_beside_others(void **state) {
    (void)state;
    static const char text[] = "kernel k(x: in f32[100], y: out f32[100], z: out f32[100] beside y "
                               "streamed) {\n"
                               "  parallel p = 0 .. 5 {\n"
                               "    vector v = 0 .. 20 {\n"
                               "      y[p * 20 + v] = x[p * 20 + v] + 1.0f\n"
                               "    }\n  }\n}\n";
    float *x = floats(100, 1), *y = aligned_zeros(848);
    run_text(text, (void *[]){x, y, y + 112}, (KernelRun){.iterations = 5}, y, 848);
    for (int i = 0; i < 100; i++)
        assert_true(y[i] == x[i] + 1);
    assert_memory_equal(y, y + 112, 400);
    float *z = aligned_zeros(400);
    run_text(text, (void *[]){x, z, z}, (KernelRun){.iterations = 5}, z, 400);
    assert_memory_equal(z, y, 400);
    free(x), free(y), free(z);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_op_is_compiled),         cmocka_unit_test(tails_of_every_length),
        cmocka_unit_test(accumulation_is_a_fixed_tree), cmocka_unit_test(accesses_by_their_stride),
        cmocka_unit_test(guarded_loads_do_not_read),    cmocka_unit_test(a_register_tile),
        cmocka_unit_test(the_tile_stays_in_registers),  cmocka_unit_test(calls_get_their_share),
        cmocka_unit_test(multiples_of_loop_variables),  cmocka_unit_test(multiples_are_counted),
        cmocka_unit_test(argmax_by_an_index_local),     cmocka_unit_test(results_beside_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
