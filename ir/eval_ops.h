/// What the files of the reference interpreter share: tensors as it keeps them, walks over indices,
/// the meaning of the integer ops. ir/eval_body.inc holds the op rules; it is compiled three times.
#ifndef KDC_IR_EVAL_OPS_H
#define KDC_IR_EVAL_OPS_H

#include "ir/eval.h"

// ---- memory
// ---------------------------------------------------------------------------------------

typedef struct PoolChunk PoolChunk;

/// Memory of one run, used again by the next: chunks of 2^k bytes from an arena that keeps them.
typedef struct Pool {
    Arena *arena;
    PoolChunk *idle[48]; // by k
    PoolChunk *busy;
} Pool;

/// Not zeroed; aligned to 16 bytes.
void *pool_alloc(Pool *pool, int64_t count, size_t element_bytes);
/// All chunks become idle.
void pool_reset(Pool *pool);

// ---- rules
// ---------------------------------------------------------------------------------------

/// Values in row-major order, whatever the layout says. Floats of either dtype are REAL (float,
/// double or __float128, by the precision); i32, u8 and bool are int64_t.
typedef struct Tensor {
    Type type;
    void *data;
    double *bound; // absolute error of each element; NULL: exact, or not tracked
} Tensor;

typedef struct EvalCall {
    Op op;
    const Attrs *attrs;
    const Tensor *const *x; // operands
    uint32_t arity;
    Tensor *y;           // type set, data of the right size
    const Tensor *given; // input, scalar, read: the value
    uint64_t seed, iteration;
    Pool *pool; // for what a rule needs besides
    bool magnitudes; // constants inside the op count by their size: for bounds
} EvalCall;

typedef void EvalRule(const EvalCall *call);

/// One inclusion of eval_body.inc.
typedef struct Precision {
    size_t real_bytes;
    EvalRule *const *rules; // by Op
    void (*from_double)(void *real, const double *value, int64_t count);
    void (*to_double)(double *value, const void *real, int64_t count);
    void (*from_quad)(void *real, const __float128 *value, int64_t count);
    void (*to_quad)(__float128 *value, const void *real, int64_t count);
} Precision;

extern const Precision precision_float, precision_double, precision_quad;

/// Sets call->y->bound from the operands' bounds and the values of operands and result, all of
/// `precision`, whose unit roundoff is `unit`. Values below `tiny` may be flushed to zero.
void eval_bound(const EvalCall *call, const Precision *precision, double unit, double tiny,
                Pool *pool);

// ---- walks
// ----------------------------------------------------------------------------------------

enum { MAX_WALK_RANK = 2 * MAX_RANK, MAX_WALK_TENSORS = 4 };

/// Steps through the indices of a box in row-major order and keeps, for each tensor, the offset of
/// its element: `for (walk_begin(...), walk_tensor(...); walk.more; walk_next(&walk))`.
typedef struct Walk {
    int rank, tensors;
    int64_t dim[MAX_WALK_RANK], index[MAX_WALK_RANK];
    int64_t stride[MAX_WALK_TENSORS][MAX_WALK_RANK];
    int64_t at[MAX_WALK_TENSORS];
    bool more;
} Walk;

void walk_begin(Walk *walk, const int64_t *dim, int rank);
/// Adds a tensor whose offset is base + sum of index * stride.
void walk_tensor(Walk *walk, int64_t base, const int64_t *stride);
void walk_next(Walk *walk);
/// Row-major strides of a type.
void strides_of(const Type *type, int64_t stride[MAX_RANK]);
/// Strides with which `x` is broadcast along the axes of `y`: 0 where it is repeated.
void strides_in(const Type *x, const Type *y, int64_t stride[MAX_RANK]);
/// A box whose first axes are the result's of a reduction and whose last ones are `axes` of x, with
/// x as its only tensor. Returns the number of elements that one result combines.
int64_t walk_reduction(Walk *walk, const Type *x, Ints axes);
/// The box of an einsum: letters of the result, then the summed ones in the order of the spec; its
/// tensors are the two operands. Returns the number of terms of one result.
int64_t walk_einsum(Walk *walk, const char *spec, const Type *a, const Type *b);

// ---- integers
// -------------------------------------------------------------------------------------

int64_t i32_wrap(int64_t i);                   // to 32 bits, two's complement
int64_t i32_floor_div(int64_t a, int64_t b);   // toward minus infinity; by 0: 0
int64_t i32_mod(int64_t a, int64_t b);         // a - b * i32_floor_div(a, b)
int64_t int_saturated(int64_t i, DType dtype); // the nearest value of dtype; bool: i != 0
void int_limits(DType dtype, int64_t *least, int64_t *most);

#endif
