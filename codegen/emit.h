/// What the parts of the LLVM emitter share; for codegen/emit_*.c only.
///
///   emit_llvm.c     modules, object bytes, text: the front of it
///   emit_target.c   processors
///   emit_program.c  graph functions, the table, the manifest
///   emit_kernel.c   statements and loops of one kernel
///   emit_value.c    expressions
///   emit_index.c    index arithmetic and addresses
///   math.c          exp, log, ... in primitive scalar ops
///
/// Three kinds of value live in a vector loop: *uniform* ones are LLVM scalars, values per lane are
/// LLVM vectors, and indices are symbolic: a sum of atoms (uniform run-time integers) with constant
/// factors, a multiple of the lane number and, rarely, a vector. So an access knows by itself
/// whether it is a broadcast, a contiguous vector or a gather, what depends on outer loops alone is
/// computed there, and conditions that ranges decide are never emitted.
#ifndef KDC_CODEGEN_EMIT_H
#define KDC_CODEGEN_EMIT_H

#include <llvm-c/Core.h>
#include <llvm-c/TargetMachine.h>

#include "codegen/codegen.h"

enum { MAX_LANES = 16 };

/// factor * i in a loop over i, counted beside it.
typedef struct Multiple {
    int64_t factor;
    LLVMValueRef phi;
} Multiple;

/// A uniform run-time integer. It is available from anchor `level` on.
typedef struct Atom {
    LLVMValueRef value;
    Interval range;
    uint32_t level;
    // of the variable of a loop that counts its multiples: where it comes from, else NULL
    LLVMBasicBlockRef before;
    LLVMValueRef begin;
    Vec(Multiple) multiples;
} Atom;

typedef struct Sum {
    uint32_t count;
    uint32_t atom[AFFINE_TERMS]; // ascending
    int64_t factor[AFFINE_TERMS];
    int64_t constant;
} Sum;

/// An index: base + lane * (number of the lane) + vec.
typedef struct Index {
    Sum base;
    int64_t lane;
    LLVMValueRef vec; // of i32 or i64, or NULL
    Interval vec_range;
} Index;

/// A value: its scalar type is that of the expression.
typedef struct Value {
    LLVMValueRef value;
    bool is_vector;
} Value;

/// What was computed before an anchor's marker, to be found again.
typedef struct Hoisted {
    uint32_t what; // buffer + HOIST_BUFFERS, or the op
    Sum a, b;
    LLVMValueRef value;
    uint32_t atom;
} Hoisted;

/// A place that code which needs only atoms of its level and below may be put at: the start of a
/// loop body, or behind a value that no loop variable tells (an index that was loaded).
typedef struct Anchor {
    LLVMValueRef marker; // a no-op; erased at the end
    Vec(Hoisted) hoisted;
} Anchor;

typedef struct LocalState {
    LLVMValueRef slot; // alloca of [count x T] or [count x <lanes x T>]
    bool is_vector;
    LLVMValueRef partial; // inside a vector loop that accumulates into it from outside: its lanes
    bool *touched;        // elements of partial
} LocalState;

/// Values of shared subexpressions within one statement.
typedef struct MemoEntry {
    const LoopExpr *expr;
    Value value;
    uint32_t next;
} MemoEntry;
typedef struct Memo {
    Vec(MemoEntry) entries;
    uint32_t bucket[64];
} Memo;

typedef struct Emitter {
    LLVMContextRef context;
    LLVMModuleRef module;
    LLVMBuilderRef builder;
    Arena *arena; // scratch of this emitter
    const CodegenOptions *options;
    bool counts_multiples; // as Target's
    // the kernel at work
    const LoopKernel *kernel;
    LLVMValueRef function;
    LLVMValueRef frame, scratch;
    LLVMValueRef *buffer;
    LLVMValueRef entry_end; // allocas go before it
    int64_t count_offset;   // LoopProgram's; -1: nothing is counted
    LLVMValueRef count;     // alloca of i64: multiply-adds of this call
    Vec(Atom) atoms;
    Vec(Anchor) anchors;
    Index *var, *let_index;
    Value *let_value;
    LocalState *local;
    uint32_t extent_atom, range_atom[5];
    uint32_t lanes;    // 0 outside vector loops
    int64_t lane_last; // the highest lane in use
    LLVMValueRef mask; // <lanes x i1> of the lanes in use; NULL: all
    bool speculative;  // under a select: perhaps no lane is in use
    struct {
        LLVMValueRef table, end[AHEAD_MOST], from[AHEAD_MOST], step, cursor;
    } ahead;           // of emit_ahead.c
    bool prefetching;  // vectors are asked for, neither read nor written
    Memo memo;
    // inside an expansion of math.c
    bool in_math;
    Value math_argument[2];
    LoopKernel *math_kernel; // owns the expansions
    LoopExpr *math_expansion[X_COUNT][2];
} Emitter;

// ---- emit_target.c
// ------------------------------------------------------------------------------------

typedef struct Target {
    char *triple, *cpu, *features; // malloc'ed
    LLVMTargetMachineRef machine;
    // Multiples of an innermost loop's variable are counted beside it, since LLVM's loop strength
    // reduction, which would see to that, is left out: see target_prepare().
    bool counts_multiples;
} Target;

/// Sets those options of LLVM that are the process's, not a target machine's, as the first target
/// wants them. LLVM must have been started; no other thread uses it.
void target_prepare(const CodegenOptions *options);
/// What kernels are compiled for, or the program itself. LLVM must have been started.
Target target_new(const CodegenOptions *options, bool kernels);
void target_release(Target *target);

// ---- emit_llvm.c
// ------------------------------------------------------------------------------------

/// Sets the attributes that every function of generated code has.
void emit_function_attributes(const Emitter *em, LLVMValueRef function, const char *cpu,
                              const char *features);
LLVMTypeRef emit_kernel_type(const Emitter *em, const LoopKernel *kernel);
const char *emit_kernel_symbol(Arena *arena, const LoopKernel *kernel, size_t index);
/// Declares (or finds) an entry of runtime/abi.def or one of the few others; a bug if there is
/// none.
LLVMValueRef emit_entry(const Emitter *em, const char *name, LLVMTypeRef *type);
LLVMValueRef emit_intrinsic(Emitter *em, const char *name, LLVMTypeRef *type, unsigned type_count,
                            LLVMValueRef *argument, unsigned count);

// ---- emit_kernel.c, emit_program.c
// ------------------------------------------------------------------

/// Fills the body of `function`, which has the type of emit_kernel_type().
void emit_kernel(Emitter *em, const LoopKernel *kernel, LLVMValueRef function);
/// With `library`, its functions instead of `kdrt_program`; the manifest is then not looked at.
void emit_program(Emitter *em, const LoopProgram *loops, const Module *module, const char *manifest,
                  const Library *library, const char *cpu, const char *features);
/// `graph`: the functions by index of the module's graphs.
void emit_library(Emitter *em, const LoopProgram *loops, const Module *module,
                  const Library *library, LLVMValueRef *graph);

/// An alloca at the function's beginning.
LLVMValueRef emit_slot(Emitter *em, LLVMTypeRef element, int64_t count);

// ---- emit_ahead.c
// -----------------------------------------------------------------------------------

/// Of the table that tells a kernel what to ask for.
LLVMTypeRef emit_ahead_type(const Emitter *em);
/// Fills the table with `count` pieces.
void emit_ahead_fill(Emitter *em, LLVMValueRef table, const LLVMValueRef *begin,
                     const LLVMValueRef *bytes, uint32_t count);
/// At the beginning of a kernel that has T_ASK, and each of them.
void emit_ahead_open(Emitter *em, LLVMValueRef table, LLVMValueRef iterations);
void emit_ask(Emitter *em);

// ---- emit_value.c
// -----------------------------------------------------------------------------------

LLVMTypeRef emit_type(const Emitter *em, ScalarType type);        // of values: bool is i1
LLVMTypeRef emit_memory_type(const Emitter *em, ScalarType type); // bool is i8
LLVMTypeRef emit_vector_type(const Emitter *em, ScalarType type);
LLVMValueRef emit_int(const Emitter *em, int64_t value); // i64
LLVMValueRef emit_splat(Emitter *em, LLVMValueRef scalar);
LLVMValueRef emit_as_vector(Emitter *em, Value value);
Value emit_value(Emitter *em, const LoopExpr *expr);
bool emit_needs_loads(const LoopExpr *expr);
/// The select `expr` whose condition is known already; its operands read only where they are
/// wanted.
Value emit_select(Emitter *em, const LoopExpr *expr, Value condition);
/// Begins a statement: forgets the shared subexpressions of the one before.
void emit_memo_clear(Emitter *em);
size_t emit_memo_mark(const Emitter *em);
void emit_memo_cut(Emitter *em, size_t mark);
/// a op b for T_ACCUMULATE and the trees after vector loops.
LLVMValueRef emit_combine(Emitter *em, ScalarOp op, ScalarType type, LLVMValueRef a,
                          LLVMValueRef b);
/// Pointer to an element of a local (or of its partial results).
LLVMValueRef emit_local_pointer(Emitter *em, uint32_t local, bool partial,
                                LoopExpr *const *subscript, bool *is_constant, int64_t *flat);
LLVMTypeRef emit_local_type(const Emitter *em, uint32_t local, bool partial);
void emit_store(Emitter *em, uint32_t buffer, const Index *index, Value value);
LLVMValueRef emit_load_address(Emitter *em, const LoopExpr *load);
LLVMBasicBlockRef emit_block(Emitter *em, const char *name);
/// True if any lane of the mask is on.
LLVMValueRef emit_any(Emitter *em, LLVMValueRef mask);

// ---- emit_index.c
// -----------------------------------------------------------------------------------

Index index_constant(int64_t value);
Index index_of_atom(uint32_t atom);
Index index_add(Emitter *em, const Index *a, const Index *b, int64_t factor); // a + factor * b
Interval index_range(const Emitter *em, const Index *index);
bool index_is_constant(const Index *index, int64_t *value);
bool index_is_uniform(const Index *index);
uint32_t atom_new(Emitter *em, LLVMValueRef value, Interval range, uint32_t level);
/// Opens an anchor at the current place; atoms made from here on may have its level.
uint32_t anchor_push(Emitter *em);
void anchor_cut(Emitter *em, size_t count);
Index emit_index(Emitter *em, const LoopExpr *expr);
LLVMValueRef emit_index_scalar(Emitter *em, const Index *index); // i64, of a uniform index
/// <lanes x i32> where the range allows, else <lanes x i64>.
LLVMValueRef emit_index_vector(Emitter *em, const Index *index, bool wide);
/// a op b for eq, ne, lt, le.
Value emit_index_compare(Emitter *em, ScalarOp op, const Index *a, const Index *b);
LLVMValueRef emit_address(Emitter *em, uint32_t buffer, const Sum *sum);
/// The largest power of two, at most 64, that divides the byte address.
unsigned index_alignment(const Emitter *em, uint32_t buffer, const Sum *sum);

// ---- math.c
// -----------------------------------------------------------------------------------------

bool math_is_expanded(ScalarOp op);
/// `op` on `argument`s of one float type, in primitive scalar ops; a graph with shared nodes.
LoopExpr *math_expand(LoopKernel *kernel, ScalarOp op, LoopExpr *const *argument);

#endif
