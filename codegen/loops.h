/// The loop IR: kernels as loop nests over buffers, between the tensor IR and the emitters.
///
/// Lowering writes scalar code and marks loops; the emitters do what the marks say:
///
///   parallel  the kernel's outermost loop, at most one: its range is shared out among the threads.
///             Every iteration must be independent of the others.
///   vector    the emitter widens the body to W = 64 bytes / sizeof(element) lanes, on every
///             machine, so that results do not depend on the width of its registers. A full vector
///             at a time, the rest under a mask. Loops inside a vector loop must have bounds that
///             do not depend on its variable. `accumulate` into a local declared outside becomes
///             one partial result per lane, combined after the loop by a fixed tree.
///   unroll    the bounds are constant (or become so); the body is emitted once per iteration,
///             with the variable a constant. Conditions and indices that become constant are
///             folded away.
///   serial    a plain loop.
///
/// So a register tile is: locals `acc[2][8]` inside a vector loop over the 16 channels of a block,
/// indexed by the variables of unrolled loops; after emission they are 16 vector registers.
///
/// A kernel is called by every thread as
///   k(frame, buffers..., extents..., lo, hi, thread, scratch): the iterations [lo, hi) of its
/// parallel loop; with a T_ASK also a table of what to ask for (emit_ahead.c). Launches of one
/// iteration run on thread 0 alone. Between two launches lies a barrier. Beside its parallel loop
/// the body of a kernel holds only lets and locals, which each thread works out for itself.
///
/// Integer arithmetic (type S_INDEX, int64) is written with the same expressions as values; it is
/// simplified on construction, and the emitters know the range of each loop variable. Index
/// arithmetic that depends on outer loops alone is computed there: nothing need be hoisted by hand.
///
/// Loads happen only where their value is needed: `select(inside, load(...), 0)` and the body of an
/// `if` read nothing where the condition is false, in vector loops lane by lane (under a mask).
///
/// An expression is a tree: what is used twice and is more than an index is named by a let, or it
/// is printed, compared and (across statements) computed twice.
#ifndef KDC_CODEGEN_LOOPS_H
#define KDC_CODEGEN_LOOPS_H

#include "ir/ir.h"

typedef enum ScalarType { S_BOOL, S_U8, S_I32, S_INDEX, S_F32, S_F64 } ScalarType;

typedef enum ScalarOp {
#define SCALAR(name, arity, rule, text) X_##name,
#include "codegen/scalars.def"
#undef SCALAR
    X_COUNT
} ScalarOp;

typedef struct ScalarInfo {
    const char *name;
    uint32_t arity;
    char rule;        // see scalars.def
    const char *text; // in C
} ScalarInfo;

extern const ScalarInfo scalar_info[X_COUNT];
const char *scalar_type_name(ScalarType type); // "bool", "u8", "i32", "index", "f32", "f64"
size_t scalar_size_bytes(ScalarType type);     // in memory; bool and u8 take a byte
bool scalar_is_float(ScalarType type);
/// The type of `op` on operands of these types; false if they break its rule. For a cast, *result
/// holds the wanted type.
bool scalar_result(ScalarOp op, const ScalarType *operand, uint32_t arity, ScalarType *result);

typedef enum ExprKind {
    E_CONST,  // real or integer constant of `type`
    E_VAR,    // a loop variable (S_INDEX)
    E_LET,    // a value named by a let
    E_LOCAL,  // element of a local array
    E_LOAD,   // element of a buffer at a flat element index
    E_APPLY,  // scalar op on operands
    E_EXTENT, // a run-time argument of the kernel (S_INDEX): what differs between its launches
    E_FRAME,  // a field of the frame: FRAME_SEED, FRAME_ITERATION (S_INDEX)
    E_RANGE,  // RANGE_LO, RANGE_HI, RANGE_THREAD: this thread's share, for calls
} ExprKind;

enum { FRAME_SEED, FRAME_ITERATION, RANGE_LO, RANGE_HI, RANGE_THREAD };

typedef struct LoopExpr LoopExpr;
struct LoopExpr {
    ExprKind kind;
    ScalarType type;
    ScalarOp op;     // E_APPLY
    uint32_t index;  // E_VAR, E_LET, E_LOCAL, E_LOAD (buffer), E_EXTENT, E_FRAME, E_RANGE
    double real;     // E_CONST of a float type
    int64_t integer; // E_CONST of an integer type or bool
    uint32_t arity;
    LoopExpr *
        *operand; // E_APPLY operands; E_LOCAL subscripts; E_LOAD: operand[0] the element index
};

typedef enum LoopKind { LOOP_SERIAL, LOOP_PARALLEL, LOOP_VECTOR, LOOP_UNROLL } LoopKind;

typedef enum StmtKind {
    T_FOR,        // for (var = begin; var < end; var += step) body
    T_LET,        // name a value; assigned once
    T_LOCAL,      // declare a local array in registers; contents undefined
    T_SET,        // local[subscripts] = value
    T_ACCUMULATE, // local[subscripts] = op(local[subscripts], value); op add, max, min
    T_STORE,      // buffer[index] = value
    T_IF,         // if (condition) body else other
    T_CALL,       // runtime entry with arguments; buffers are passed as pointers
    T_ASK,        // asks for a line more of what the launch was told to (Launch.ahead)
    T_RELOAD,     // what was read before this is read again behind it: no register keeps it
    T_BLOCK,      // statements in order
    T_PREFETCH,   // the lines of floats that the body reads or writes are asked for; no more
} StmtKind;

typedef struct LoopStmt LoopStmt;
typedef Vec(LoopStmt *) LoopBody;
struct LoopStmt {
    StmtKind kind;
    LoopKind loop;  // T_FOR
    uint32_t index; // variable, let, local or buffer
    LoopExpr *begin, *end;
    int64_t step;
    bool narrow; // LOOP_VECTOR: of half as many lanes
    ScalarOp op; // T_ACCUMULATE
    uint32_t subscript_count;
    LoopExpr **subscript; // T_SET, T_ACCUMULATE; T_STORE: subscript[0] the element index
    LoopExpr *value;      // T_LET, T_SET, T_ACCUMULATE, T_STORE; T_IF: the condition
    LoopBody body, other;
    const char *entry; // T_CALL: a name of runtime/abi.def
    uint32_t argument_count;
    LoopExpr **argument; // T_CALL: an E_LOAD stands for the address of its element
};

typedef struct LoopVar {
    const char *name;
    LoopKind kind;
    LoopExpr *begin, *end; // of its loop
    int64_t step;
} LoopVar;

typedef struct LoopLet {
    const char *name;
    ScalarType type;
    LoopExpr *value;
} LoopLet;

typedef struct LoopLocal {
    const char *name;
    ScalarType type;
    uint32_t rank; // 0: one element
    int64_t dim[4];
} LoopLocal;

typedef enum BufferRole { BUFFER_IN, BUFFER_OUT, BUFFER_INOUT, BUFFER_SCRATCH } BufferRole;

/// A flat array of `count` elements, aligned to 64 bytes. Scratch is per thread and undefined at
/// the start of each iteration of the parallel loop; the others are arguments. Two arguments never
/// overlap, except that an OUT may be the same array as an IN (in place) where `in_place` names it
/// (index + 1). What is stored to an OUT goes to the one `beside` it too (its index + 1); the two may
/// be the same array. What is stored to a `streamed` one, vectors of whole lines, goes past the
/// caches.
typedef struct LoopBuffer {
    const char *name;
    ScalarType type;
    BufferRole role;
    int64_t count;
    uint32_t in_place, beside;
    bool streamed;
} LoopBuffer;

typedef struct LoopKernel {
    Arena *arena;
    const char *name; // "conv2d_bias_relu", made unique by the program; not part of its identity
    Vec(LoopVar) vars;
    Vec(LoopLet) lets;
    Vec(LoopLocal) locals;
    Vec(LoopBuffer) buffers;
    uint32_t extent_count;
    LoopBody body;
    int64_t asks;     // T_ASKs that an iteration of the parallel loop meets; of a program's kernel
    bool streams;     // some of its buffers are streamed; of a program's kernel
    bool prefetching; // what is being written is asked for, neither read nor written
} LoopKernel;

/// Numbers of parts, falling: see codegen/chain.h.
enum { PARTS_CHOICES = 8 };
typedef struct Parts {
    int64_t choice[PARTS_CHOICES];
    uint32_t count;
} Parts;

enum { AHEAD_MOST = 4, CACHE_LINE = 64 };

/// What a launch of a chain asks for: bytes of the part of an argument that a launch behind it reads.
typedef struct Ahead {
    const Buffer *buffer;
    int64_t offset, bytes; // within the part
    bool next_part;        // of the part behind the one at work
} Ahead;

/// One call of a kernel in a graph: where its argument buffers lie (ir Buffer: space and offset),
/// its extents, and the number of iterations of its parallel loop (1 if it has none).
typedef struct Launch {
    uint32_t kernel;        // index into LoopProgram.kernels
    const Buffer *argument; // one per non-scratch buffer of the kernel, in order
    uint32_t argument_count;
    const int64_t *extent;
    uint32_t extent_count;
    int64_t iterations;
    const Kernel *source; // for reports: the nodes it computes; may be NULL
    int64_t flops;        // multiply-adds counted as two, for reports; 0 unknown
    const Parts *falls;   // by argument: in how many parts it falls with the iterations
    // A chain: this launch and those behind it that are `chained` run in `parts` equal ranges of
    // their iterations, the first of each, then the second of each. 0: alone.
    int64_t parts;
    bool chained; // to the one before
    // By argument: where in a thread's scratch, from LoopProgram.chain_offset, a part of it lies
    // instead while the chain runs part by part; -1: nowhere. NULL: none of them.
    int64_t *scratch;
    Ahead *ahead; // what it asks for in each part, of what launches behind it read
    uint32_t ahead_count;
} Launch;

typedef struct LoopGraph {
    const Graph *graph;
    const char *name;
    Vec(Launch) launches;
} LoopGraph;

/// All kernels of a module, each distinct one once, and for each graph what it launches.
typedef struct LoopProgram {
    Arena *arena;
    Vec(LoopKernel *) kernels;
    Vec(LoopGraph *) graphs; // by graph index of the module
    int64_t thread_bytes;    // scratch per thread: the largest kernel's, then a chain's
    int64_t chain_offset;    // of the latter
    Map by_hash;             // structural identity of kernels
    // With `counts`, a thread's scratch ends with int64 at count_offset: first that of the kernel at
    // work, then one for each launch of a graph. There a launch adds the multiply-adds that it ran,
    // lane by lane: products that are summed up, whatever they are of.
    bool counts;
    int64_t count_offset;
    // With `profile`, a graph function notes when it began and when each of its launches was done
    // (KdrtProgram.stamp), and the manifest says what each launch is in terms of these sources.
    const SourceSet *profile;
} LoopProgram;

// ---- building (codegen/loops.c, loops_expr.c)
// -------------------------------------------------------------------

uint32_t loop_extent(LoopKernel *kernel); // one more run-time argument; at least 1
LoopKernel *loop_kernel_new(Arena *arena, const char *name);
uint32_t loop_buffer(LoopKernel *kernel, const char *name, ScalarType type, BufferRole role,
                     int64_t count);
uint32_t loop_local(LoopKernel *kernel, LoopBody *body, const char *name, ScalarType type,
                    const int64_t *dim, uint32_t rank); // declares it in `body`

/// Opens a loop at the end of `body`; returns its statement, whose ->body is filled next.
LoopStmt *loop_for(LoopKernel *kernel, LoopBody *body, LoopKind kind, const char *name,
                   LoopExpr *begin, LoopExpr *end, int64_t step);
LoopExpr *loop_var(LoopKernel *kernel, const LoopStmt *loop);
LoopExpr *loop_let(LoopKernel *kernel, LoopBody *body, const char *name, LoopExpr *value);
void loop_set(LoopKernel *kernel, LoopBody *body, uint32_t local, LoopExpr **subscript,
              uint32_t count, LoopExpr *value);
void loop_accumulate(LoopKernel *kernel, LoopBody *body, uint32_t local, LoopExpr **subscript,
                     uint32_t count, ScalarOp op, LoopExpr *value);
void loop_store(LoopKernel *kernel, LoopBody *body, uint32_t buffer, LoopExpr *index,
                LoopExpr *value);
LoopStmt *loop_if(LoopKernel *kernel, LoopBody *body, LoopExpr *condition);
void loop_ask(LoopKernel *kernel, LoopBody *body);
void loop_reload(LoopKernel *kernel, LoopBody *body);
/// Statements of the result's body name what will be read and written soon; they change nothing.
LoopStmt *loop_prefetch(LoopKernel *kernel, LoopBody *body);
void loop_prefetch_end(LoopKernel *kernel); // after the last of them
void loop_call(LoopKernel *kernel, LoopBody *body, const char *entry, LoopExpr **argument,
               uint32_t count);

LoopExpr *x_new(LoopKernel *kernel, ExprKind kind, ScalarType type); // all else is zero
LoopExpr **x_operands(LoopKernel *kernel, LoopExpr *const *operand, uint32_t count); // a copy
LoopExpr *x_real(LoopKernel *kernel, double value, ScalarType type);  // rounded to `type`
LoopExpr *x_int(LoopKernel *kernel, int64_t value);                   // S_INDEX
LoopExpr *x_const(LoopKernel *kernel, double value, ScalarType type); // of any type
LoopExpr *x_bool(LoopKernel *kernel, bool value);
LoopExpr *x_local(LoopKernel *kernel, uint32_t local, LoopExpr **subscript, uint32_t count);
LoopExpr *x_load(LoopKernel *kernel, uint32_t buffer, LoopExpr *index);
LoopExpr *x_extent(LoopKernel *kernel, uint32_t extent);
LoopExpr *x_frame(LoopKernel *kernel, uint32_t field);
LoopExpr *x_range(LoopKernel *kernel, uint32_t which);
/// Applies a scalar op; checks operand types by its rule; folds constants. Index arithmetic becomes
/// a sum of terms (variable * constant) and a constant; quotients, remainders, min, max and
/// comparisons are folded where the ranges of the variables decide them.
LoopExpr *x_apply(LoopKernel *kernel, ScalarOp op, LoopExpr *const *operand, uint32_t arity);
LoopExpr *x1(LoopKernel *kernel, ScalarOp op, LoopExpr *a);
LoopExpr *x2(LoopKernel *kernel, ScalarOp op, LoopExpr *a, LoopExpr *b);
LoopExpr *x3(LoopKernel *kernel, ScalarOp op, LoopExpr *a, LoopExpr *b, LoopExpr *c);
LoopExpr *x_cast(LoopKernel *kernel, LoopExpr *a, ScalarType type);
LoopExpr *x_add(LoopKernel *kernel, LoopExpr *a, LoopExpr *b); // S_INDEX shorthands
LoopExpr *x_mul(LoopKernel *kernel, LoopExpr *a, int64_t factor);
LoopExpr *x_div(LoopKernel *kernel, LoopExpr *a, int64_t divisor); // floor
LoopExpr *x_mod(LoopKernel *kernel, LoopExpr *a, int64_t divisor);

LoopExpr *x_sub(LoopKernel *kernel, LoopExpr *a, LoopExpr *b);
LoopExpr *x_offset(LoopKernel *kernel, LoopExpr *a, int64_t constant);
LoopExpr *x_and(LoopKernel *kernel, LoopExpr *a, LoopExpr *b); // either may be NULL: true
LoopExpr *x_inside(LoopKernel *kernel, LoopExpr *a, int64_t lo, int64_t hi); // lo <= a < hi

ScalarType scalar_type_of(DType dtype);

// ---- looking
// --------------------------------------------------------------------------------------

/// All that is known of the values of an index expression: lo <= x <= hi. INTERVAL_MIN and
/// INTERVAL_MAX stand for "not known".
typedef struct Interval {
    int64_t lo, hi;
} Interval;
#define INTERVAL_MIN (-((int64_t)1 << 62))
#define INTERVAL_MAX ((int64_t)1 << 62)

Interval x_interval(const LoopKernel *kernel, const LoopExpr *expr);
Interval interval_add(Interval a, Interval b);
Interval interval_scale(Interval a, int64_t factor);
Interval interval_join(Interval a, Interval b);
Interval interval_quotient(Interval a, int64_t divisor);  // divisor > 0
Interval interval_remainder(Interval a, int64_t divisor); // divisor > 0
int64_t int_floor_div(int64_t a, int64_t b);

static inline int64_t ceil_div(int64_t a, int64_t b) { // both positive
    return (a + b - 1) / b;
}

static inline int64_t int_min(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static inline int64_t int_max(int64_t a, int64_t b) {
    return a > b ? a : b;
}

bool x_is_int(const LoopExpr *expr, int64_t *value); // a constant of type S_INDEX
bool x_equal(const LoopExpr *a, const LoopExpr *b);  // the same tree

/// A sum of constant multiples of `atom`s (expressions that are not sums themselves) and a
/// constant.
enum { AFFINE_TERMS = 24 };
typedef struct Affine {
    uint32_t count;
    const LoopExpr *atom[AFFINE_TERMS];
    int64_t factor[AFFINE_TERMS];
    int64_t constant;
} Affine;
/// False if `expr` has too many terms or a constant overflows.
bool x_affine(const LoopExpr *expr, Affine *affine);

enum { VECTOR_BYTES = 64 }; // of a step of most vector loops: 16 lanes of f32, 8 of f64
/// Lanes of a vector loop: 8 if an f64 occurs in it, else 16; half of that if it is narrow. The
/// others are the same on every machine.
uint32_t loop_lanes(const LoopKernel *kernel, const LoopStmt *loop);
/// The kernel's parallel loop, NULL if it has none.
const LoopStmt *loop_parallel(const LoopKernel *kernel);
int64_t loop_local_count(const LoopLocal *local);
/// Bytes of scratch that one thread needs; where buffer `index` begins in it.
int64_t loop_scratch_bytes(const LoopKernel *kernel);
int64_t loop_scratch_offset(const LoopKernel *kernel, uint32_t index);
/// T_ASKs that an iteration of the parallel loop meets; at most so many where that depends.
int64_t loop_count_asks(LoopKernel *kernel);

// ---- programs
// -----------------------------------------------------------------------------------------

LoopProgram *loop_program_new(Arena *arena);
/// Adds the kernel, or finds the one that is structurally equal; returns its index. The constant
/// end of the parallel loop and the extents of buffers are no part of a kernel's identity (a launch
/// says how many iterations it wants), so kernels that differ in the batch alone are one.
uint32_t loop_program_add(LoopProgram *program, LoopKernel *kernel);

void loop_kernel_print(StrBuf *out, const LoopKernel *kernel);
void loop_program_print(StrBuf *out, const LoopProgram *program);
/// Reads the text of one or more kernels (graphs are printed only); nothing is simplified, so that
/// print, read, print gives the same bytes. NULL, a line and a sentence on failure.
LoopProgram *loop_program_read(Arena *arena, const char *text, size_t length, int *line,
                               const char **message);
/// The first kernel of the text.
LoopKernel *loop_kernel_read(Arena *arena, const char *text, size_t length, int *line,
                             const char **message);
/// NULL or a sentence: types, declarations before use, marks legal, constant indices in range.
const char *loop_kernel_verify(const LoopKernel *kernel, Arena *arena);

#endif
