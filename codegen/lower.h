/// Lowering: kernels of a graph (ir: Graph.kernels) to loops.
///
/// Everything rests on one question, asked on demand: what is the element of this node at this
/// index, as an expression valid here? lower_element() answers it by the op's rule:
///
///     elementwise ops ask for their operands' elements at the same index
///     views           ask for one operand's element at another index
///     stored values   are loads
///     reductions      are values of the row at hand, or a loop of their own right here
///
/// An index is a vector of expressions in the variables of the open loops. Values are named by lets
/// in the outermost open loop in which they do not change, so what depends on the channel alone is
/// computed once per channel. What lower_schedule.c adds is which loops there are.
#ifndef KDC_CODEGEN_LOWER_H
#define KDC_CODEGEN_LOWER_H

#include "codegen/chain.h"
#include "codegen/codegen.h"
#include "codegen/loops.h"
#include "ir/rows.h"

/// An index along one axis, which holds only inside scope `guard` (of a condition that keeps it in
/// range, or of the loop where a number read from memory was named).
typedef struct Ix {
    LoopExpr *x;
    uint32_t guard;
} Ix;

/// An expression, and the innermost scope that it depends on.
typedef struct Value {
    LoopExpr *x;
    uint32_t depth;
} Value;

/// A body that is being filled. Its statement goes to the scope around it when it is closed, after
/// all that was hoisted there meanwhile.
typedef struct Scope {
    LoopBody *body;
    LoopStmt *stmt; // NULL for the outermost
    uint32_t serial;
} Scope;

enum { MAX_SCOPES = 64 };

typedef struct Memo Memo; // elements known in open scopes, by node

enum { LOWER_NESTS_MAX = 13 }; // sweeps of a kernel, from 1 on

/// A load or store, as the schedule wants to know it from a trial run.
typedef struct Access {
    LoopExpr *flat; // element index
    int64_t count;  // elements of the buffer
    uint32_t nest;  // which sweep it was in; see lower_schedule.c
    bool is_store;
} Access;

/// A wish of the trial run: that the axis behind loop variable `var` be two loops, the inner one of
/// `inner` iterations, so that quotients and remainders become variables.
typedef struct Split {
    uint32_t var;
    int64_t inner;
} Split;

/// What is known of nodes, by id: made once for a graph, whose kernels take turns. Of a kernel only
/// its nodes and their operands have a say.
typedef struct NodeRoom {
    uint8_t *member;       // computed in this kernel
    uint32_t *buffer_slot; // index + 1 of its loop buffer
    Memo **memo;
    RowLabels *label;
    uint32_t *level;   // sweeps that must be done before it
    Value (*known)[2]; // results of parts
} NodeRoom;

typedef struct Lower {
    Arena *arena; // scratch
    Arena *kept;  // of the program: kernels that stay
    const char *name;
    const Graph *graph;
    const Kernel *source;
    LoopKernel *kernel;
    int64_t registers;     // vectors of a tile that the processor's registers hold
    NodeRoom room;
    Vec(Buffer) argument;  // by loop buffer; that of scratch is of no meaning
    Vec(int64_t) extent;   // of the launch: by loop_extent()

    Scope scope[MAX_SCOPES];
    uint32_t top; // index of the innermost open scope
    uint32_t serial;
    Vec(uint32_t) var_depth, let_depth; // by index

    bool trial;
    uint32_t nest;                    // the sweep at work; 0: none
    bool inner_sums[LOWER_NESTS_MAX]; // sweeps with a reduction on the spot inside
    Vec(Access) accesses;
    Vec(Split) splits;
    Vec(LoopExpr *) others; // index expressions used otherwise than in accesses
    Vec(Place) places;      // of every access to an argument but those of whole matrices
} Lower;

// ---- elements (lower_element.c)
// -------------------------------------------------------------------

/// The element of `node` at index `ix`, one entry per axis.
Value lower_element(Lower *l, const Node *node, const Ix *ix);
/// The value of a node whose element at `ix` is known from now on to be `value`, in the scope of
/// its depth.
void lower_know(Lower *l, const Node *node, const Ix *ix, Value value);
/// The flat element index in memory.
Ix lower_flat(Lower *l, const Type *type, const Ix *ix);
/// The index on `to` of the element that has row-major number as `ix` on `from`.
void lower_reindex(Lower *l, const Type *from, const Ix *ix, const Type *to, Ix *result);
/// The loop buffer of a node that lies in memory; `store`: it is written to.
uint32_t lower_buffer(Lower *l, const Node *node, bool store);
/// Its nodes have no buffers and no known elements any more: another run begins.
void lower_forget(Lower *l);
/// Notes that the buffer of `node` is read or written at `ix`.
void lower_note_place(Lower *l, const Node *node, uint32_t buffer, const Ix *ix);
void lower_store(Lower *l, const Node *node, const Ix *ix, Value value);
Value lower_bind(Lower *l, const char *name, Value value);
uint32_t lower_depth(const Lower *l, const LoopExpr *expr);
Ix lower_ix(LoopExpr *x);

// ---- reductions (lower_reduce.c)
// --------------------------------------------------------------------

enum { MAX_INNER = 8 };

/// How many sweeps over its operand a reduction takes: the variance knows the mean after the first.
uint32_t reduce_part_count(const Node *node);
/// Extents of what is summed for each element; returns their number.
uint32_t reduce_extents(const Node *node, int64_t *extent);
ScalarOp reduce_op(const Node *node, uint32_t part);
ScalarType reduce_type(const Node *node, uint32_t part);
double reduce_start(const Node *node, uint32_t part);
/// What is summed at `inner`; `known` holds the results of the parts before.
Value reduce_term(Lower *l, const Node *node, uint32_t part, const Ix *ix, const Ix *inner,
                  const Value *known);
/// The element from the results of all parts.
Value reduce_result(Lower *l, const Node *node, const Value *known);
/// The element by loops right here.
Value reduce_here(Lower *l, const Node *node, const Ix *ix);
/// Multiply-adds times two.
int64_t reduce_flops(const Node *node);

// ---- scopes
// ----------------------------------------------------------------------------------------

LoopExpr *scope_open_for(Lower *l, LoopKind kind, const char *name, LoopExpr *begin, LoopExpr *end,
                         int64_t step);
void scope_open_if(Lower *l, LoopExpr *condition);
void scope_close(Lower *l);

/// The outermost scope for statements with effects: inside the parallel loop, where one is open.
uint32_t scope_outermost(const Lower *l);

/// Goes back to an outer scope for a while, to put loops or conditions there.
typedef struct Detour {
    Scope kept[MAX_SCOPES];
    uint32_t top;
} Detour;
void scope_detour(Lower *l, uint32_t depth, Detour *detour);
void scope_return(Lower *l, const Detour *detour);

// ---- schedules
// --------------------------------------------------------------------------------------

/// Each writes the loops of l->kernel and returns the iterations of its parallel loop; 0: does not
/// apply.
int64_t lower_draws(Lower *l);    // random numbers
int64_t lower_scatter(Lower *l);  // put, put_add
int64_t lower_matrices(Lower *l); // eigh, svd
int64_t lower_tiles(Lower *l);    // contractions that fit a register tile
int64_t lower_schedule(Lower *l); // all else

#endif
