/// The tensor IR: what frontends make, passes change and codegen lowers.
///
///   Module ── Storage[]   parameters, states, optimiser slots: all that lives from step to step
///     └────── Graph[]     init, and for each phase: begin, prologue, steps, evals; deployments
///               └── Node[]   SSA in topological order: op, operands, attributes, type, origin
///               └── Kernel[] after `fuse`: which nodes are computed together, what they store
///               └── Buffer[] after `plan_memory`: where each stored value lies
///
/// A node has one result. Its type is dtype, static shape and layout. Effects (write, report,
/// output) are nodes without uses; they are the roots: what they do not reach is dead. `read` gives a
/// storage as it was when the graph began; `write` takes effect when the graph is done.
/// The text form (ir/print.c, ir/read.c) holds all of it: print, read, print gives the same bytes.
///
/// Everything is allocated in the module's arena; node ids are dense, index side tables, and are
/// renumbered by graph_keep_only(). No order depends on a pointer's value.
#ifndef KDC_IR_IR_H
#define KDC_IR_IR_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "support/arena.h"
#include "support/map.h"
#include "support/source.h"
#include "support/strbuf.h"
#include "support/vec.h"

enum { MAX_RANK = 8 };

// ---- types ---------------------------------------------------------------------------------------

typedef enum DType { DT_F32, DT_F64, DT_I32, DT_U8, DT_BOOL } DType;

/// dtype, extents, layout. `block` 0 is plain row-major. With `block` B > 0 the axis `block_axis` (its
/// extent C a multiple of B) is stored as [C / B] in its place and [B] innermost: f32[N, C, H, W] with
/// block 16 on axis 1 lies in memory as [N, C/16, H, W, 16] (activations, and weights for the adjoint in
/// the input); a weight [K, C, KH, KW] blocked on axis 0 as [K/16, C, KH, KW, 16] (forward). Inference
/// gives plain types; passes/layout.c sets layouts, `relayout` converts. Logical indexing ignores them.
typedef struct Type {
    DType dtype;
    uint8_t rank;
    uint8_t block;
    uint8_t block_axis; // 0 where block is 0
    int64_t dim[MAX_RANK];
} Type;

size_t dtype_size_bytes(DType dtype);
const char *dtype_name(DType dtype); // "f32", "i32", "bool", ...
bool dtype_is_float(DType dtype);
bool dtype_from_name(const char *name, DType *dtype);
int64_t type_count(const Type *type); // number of elements; 1 for rank 0
bool type_equal(const Type *a, const Type *b);
bool type_same_shape(const Type *a, const Type *b);
/// "f32[128, 16, 28, 28]", blocked on axis 1 "f32[128, 16, 28, 28]{1:16}".
const char *type_text(Arena *arena, const Type *type);

// ---- ops and attributes --------------------------------------------------------------------------

typedef enum OpTraits {
    LEAF = 1,          // no operands
    MAPS = 2,          // elementwise with numpy broadcasting
    COMMUTES = 4,      // operands may be swapped
    VIEWS = 8,         // each result element is one operand element, or a fill value
    REDUCES = 16,      // each result element combines many operand elements
    CONTRACTS = 32,    // sums of products of two operands
    EFFECT = 64,       // a root
    RANDOM = 128,      // two equal nodes draw different numbers unless their stream is the same
    SCATTERS = 256,    // writes rows chosen by data
    KEEPS_AXES = 512,  // each axis of the result that operand 0 has too is the same axis
    ALONE = 1024,     // a kernel of its own, with nothing computed beside it
    TILED = 2048,     // has a register-tiled schedule and no other
    DECOMPOSES = 4096, // the runtime computes it, a matrix of the last two axes at a time
    TOTAL = 8192,      // finite for all finite operands, overflow apart
    NOT_NEGATIVE = 16384, // no result is below 0
    KEEPS_SIGN = 32768,   // no result is below 0 where no operand is; one operand bounded away from
                          // it gives such results
} OpTraits;

typedef enum Op {
#define OP(name, arity, traits, shape, gradient, lowering, attrs, surface, summary) OP_##name,
#include "ir/ops.def"
#undef OP
    OP_COUNT
} Op;

enum { ANY = -1 };

typedef struct OpInfo {
    const char *name;
    int arity;
    unsigned traits;
    unsigned attrs;      // sum of HAS_<name>: the attributes its nodes carry
    const char *surface; // signature in the language, "" if it has none
    const char *summary;
} OpInfo;

extern const OpInfo op_info[OP_COUNT];
bool op_has(Op op, unsigned traits); // all of `traits`
bool op_from_name(const char *name, Op *op);

typedef struct Ints {
    uint32_t count;
    const int64_t *at;
} Ints;

// The attribute kinds of attrs.def as C types.
typedef int64_t AttrInt;
typedef int64_t AttrCount;
typedef Ints AttrInts;
typedef double AttrReal;
typedef const char *AttrText;
typedef bool AttrFlag;
typedef DType AttrDtype;

typedef enum AttrId {
#define ATTR(name, kind, summary) ATTR_##name,
#include "ir/attrs.def"
#undef ATTR
    ATTR_COUNT
} AttrId;

/// Bits of OpInfo.attrs.
enum {
#define ATTR(name, kind, summary) HAS_##name = 1 << ATTR_##name,
#include "ir/attrs.def"
#undef ATTR
};

typedef struct Attrs {
#define ATTR(name, kind, summary) Attr##kind name;
#include "ir/attrs.def"
#undef ATTR
} Attrs;

typedef enum AttrKind {
    KIND_Int,
    KIND_Count,
    KIND_Ints,
    KIND_Real,
    KIND_Text,
    KIND_Flag,
    KIND_Dtype
} AttrKind;

typedef struct AttrInfo {
    const char *name;
    AttrKind kind;
    size_t offset; // of the member of Attrs
    const char *summary;
} AttrInfo;

extern const AttrInfo attr_info[ATTR_COUNT];

/// Only the attributes that `op` carries count. Reals are equal if their bits are.
bool attrs_equal(Op op, const Attrs *a, const Attrs *b);
uint64_t attrs_hash(Op op, const Attrs *attrs);
/// A deep copy of the attributes that `op` carries; the others become zero.
Attrs *attrs_copy(Arena *arena, Op op, const Attrs *attrs);
Ints ints_copy(Arena *arena, const int64_t *at, size_t count);

// ---- nodes ---------------------------------------------------------------------------------------

/// What a step needs a value for. It is part of the origin, which passes hand on; for reports.
typedef enum Stage {
    STAGE_FORWARD,  // terms and reports
    STAGE_BACKWARD, // gradients of the terms by parameters
    STAGE_UPDATE,   // new values of parameters and of optimiser states
} Stage;
enum { STAGE_COUNT = 3 };

/// Where a value came from: its expression, and the calls that led there, innermost first.
typedef struct Origin {
    Span span;
    const char *function; // the fn or net whose body this is; NULL in the program itself
    const struct Origin *caller;
    Stage stage;
    const char *module; // path of the instance whose body this is, "student.layer1.0"; NULL: none
    uint64_t terms;     // bit t: loss term t of the step needs it (ir/terms.c); 0: none does
    bool by_weight;     // a gradient by what does not depend on the batch
} Origin;

typedef struct Node Node;
struct Node {
    Op op;
    uint32_t id; // index in graph->node
    Type type;
    uint32_t arity;
    Node **operand;
    const Attrs *attrs; // never NULL
    const Origin *origin; // may be NULL
    const char *tag;      // loss term or tap this belongs to, for reports; may be NULL
};

typedef struct Module Module;
typedef struct Graph Graph;

/// Nodes computed together by one kernel. A node may be in several kernels (recomputed) but is
/// stored by at most one. Made by `fuse`, in order of execution.
typedef struct Kernel {
    uint32_t id;
    Node **node; // topological; the last ones are stored
    uint32_t node_count;
    Node **stored;
    uint32_t stored_count;
} Kernel;

typedef enum BufferSpace {
    SPACE_NONE,    // not in memory: computed where it is used
    SPACE_STORAGE, // a Storage, at its offset
    SPACE_PHASE,   // computed by the phase's prologue, alive through the phase
    SPACE_STEP,    // the step's arena
    SPACE_INPUT,   // field `index` of the batch
    SPACE_SCALAR,  // run-time scalar `index`
    SPACE_OUTPUT,  // report or output `index`, in the order of the graph's effect nodes
} BufferSpace;

typedef struct Buffer {
    BufferSpace space;
    uint32_t index;
    int64_t offset_bytes; // multiple of 64
    int64_t size_bytes;
} Buffer;

typedef enum GraphRole {
    GRAPH_FREE,     // a test, the REPL
    GRAPH_INIT,     // writes every storage's first value; run once
    GRAPH_SETTINGS, // outputs a phase's run-time settings ("epochs", ...) from options
    GRAPH_BEGIN,    // when a phase begins: optimiser slots, `load`
    GRAPH_PROLOGUE, // made by bind_times: what a phase computes once
    GRAPH_STEP,
    GRAPH_EVAL,
    GRAPH_DEPLOY,
} GraphRole;

/// A summand of what a step minimizes.
typedef struct LossTerm {
    const char *name; // as a `let` calls it, else its text: "ce", "0.3 * cd"
    Span span;
    Node *node; // a scalar
} LossTerm;

/// What a step computes a second time rather than keep it.
typedef struct Recomputed {
    Node *node;           // the second computation
    int64_t flops, bytes; // that it takes; bytes read and written
} Recomputed;

struct Graph {
    Module *module;
    const char *name; // "distill.step0"
    GraphRole role;
    int32_t phase;    // index into Program.phase; -1: none
    Vec(Node *) nodes;
    Vec(LossTerm) terms;   // of a step, as it was elaborated: nothing that passes follow
    Vec(Kernel *) kernels; // empty before `fuse`
    Buffer *buffer;        // by node id, NULL before `plan_memory`
    int64_t step_bytes;    // of the arena this graph needs
    Vec(Recomputed) recomputed; // by `remat`; for reports
    const Origin *cursor;  // origin of nodes made by the ir_ constructors; see ir_at()
};

typedef enum StorageKind {
    STORAGE_PARAMETER,
    STORAGE_STATE,
    STORAGE_SLOT,
    STORAGE_PHASE, // made by bind_times: written by a phase's prologue, constant in the phase
} StorageKind;

/// What lives from step to step. Slots are optimiser states and begin anew with their phase. Those of
/// kind `phase` follow from the others: they are in no checkpoint, and `offset_bytes` is into the
/// phase's arena, in which each phase lays its own.
typedef struct Storage {
    uint32_t id;
    StorageKind kind;
    const char *name; // "student.layer1.0.conv1.weight"; slots "distill/student.fc.weight/v"
    Type type;
    int32_t phase;   // train-only storage made in a phase: its index; -1: of the whole program
    const Origin *origin;
    int64_t offset_bytes; // in the storage arena, after plan_memory
} Storage;

struct Module {
    Arena *arena;
    const char *name;
    DType real; // f32, or f64 by --dtype f64
    Vec(Storage *) storages;
    Vec(Graph *) graphs;
    Vec(const char *) scalars; // names of run-time scalars, in the order of their slots
    int64_t storage_bytes;     // after plan_memory
    int64_t phase_bytes;       // the largest phase's
    int64_t step_bytes;        // the largest graph's
    uint32_t next_stream;      // for uniform and normal
};

Module *module_new(Arena *arena, const char *name, DType real);
Graph *module_add_graph(Module *module, const char *name, GraphRole role, int32_t phase);
Storage *module_add_storage(Module *module, StorageKind kind, const char *name, const Type *type);
uint32_t module_scalar_slot(Module *module, const char *name); // finds or adds

// ---- building (ir/build.c): the only way to make a node -----------------------------------------

/// Infers the type of `op` on operands of types `type[0..arity)` with `attrs`. On failure returns
/// false and sets *message to a sentence for people ("axis 4 of a rank 2 tensor").
bool ir_infer(const Module *module, Op op, const Type *const *type, uint32_t arity,
              const Attrs *attrs, Type *result, Arena *arena, const char **message);

/// Appends a node; its type is inferred, and it is a bug of the caller if that fails. `attrs` is
/// copied (lists too); NULL means all zero.
Node *graph_append(Graph *graph, Op op, Node *const *operand, uint32_t arity, const Attrs *attrs,
                   const Origin *origin);

/// The same place, at `stage` or the later one where it was. `origin` may be NULL.
const Origin *origin_at_stage(Graph *graph, const Origin *origin, Stage stage);
/// The same place, of a gradient by weights or not, needed by these loss terms too. `origin` may be
/// NULL.
const Origin *origin_for(Graph *graph, const Origin *origin, bool by_weight, uint64_t terms);
/// Origin of a node that stands for `other` too.
const Origin *origin_shared(Graph *graph, const Node *node, const Node *other);
/// The loss terms that need a node, as its origin says.
uint64_t node_terms(const Node *node);

/// Short constructors on top of graph_append(); origin is taken from the graph's builder cursor.
void ir_at(Graph *graph, const Origin *origin); // origin of the nodes made from here on
Node *ir_const(Graph *graph, double value, DType dtype); // rank 0
Node *ir_input(Graph *graph, const char *name, const Type *type);
Node *ir_scalar(Graph *graph, const char *name, DType dtype); // adds its slot to the module
Node *ir_full(Graph *graph, double value, const Type *like); // shape and dtype of `like`
Node *ir_iota(Graph *graph, int axis, const int64_t *dim, int rank, DType dtype);
Node *ir_unary(Graph *graph, Op op, Node *x);
Node *ir_binary(Graph *graph, Op op, Node *a, Node *b);
Node *ir_where(Graph *graph, Node *condition, Node *a, Node *b);
Node *ir_cast(Graph *graph, Node *x, DType dtype);
Node *ir_reshape(Graph *graph, Node *x, const int64_t *dim, int rank);
Node *ir_broadcast(Graph *graph, Node *x, const int64_t *dim, int rank);
Node *ir_transpose(Graph *graph, Node *x, const int64_t *perm);
Node *ir_reduce(Graph *graph, Op op, Node *x, const int64_t *axes, int count, bool keep);
Node *ir_einsum(Graph *graph, Node *a, Node *b, const char *spec);
Node *ir_read(Graph *graph, const Storage *storage);
Node *ir_write(Graph *graph, const Storage *storage, Node *value);
Node *ir_report(Graph *graph, const char *name, Node *value);
Node *ir_output(Graph *graph, const char *name, Node *value);

// ---- looking and changing ------------------------------------------------------------------------

/// Keeps the nodes of `live` (bit per id), in order, and renumbers. Returns whether any went.
bool graph_keep_only(Graph *graph, const uint8_t *live_by_id);
/// Replaces the node list by `count` nodes in topological order and renumbers.
void graph_set_nodes(Graph *graph, Node **node, size_t count);
/// Redirects every use according to replacement[id] (NULL: keep). Chains are followed. The table has
/// an entry for each node that the graph has now.
void graph_replace(Graph *graph, Node **replacement_by_id);
Graph *graph_clone(Graph *graph, const char *name);

// ---- text ------------------------------------------------------------------------------------------

/// `sources` may be NULL: origins are then left out.
void module_print(StrBuf *out, const Module *module, const SourceSet *sources);
void graph_print(StrBuf *out, const Graph *graph, const SourceSet *sources);
/// Reads the text form. On failure returns NULL and sets line and message.
Module *module_read(Arena *arena, const char *text, size_t length, int *line, const char **message);

/// Checks what must hold between any two passes: topological order, dense ids, arities, types as
/// inferred, attributes in range, one write per storage and graph, kernels complete and in order,
/// buffers disjoint while live. Returns NULL or a sentence naming the node.
const char *module_verify(const Module *module, Arena *arena);
const char *graph_verify(const Graph *graph, Arena *arena);

// ---- the reference interpreter (ir/eval.c): slow, obvious, trusted by tests ------------------------

typedef enum EvalPrecision { EVAL_F32, EVAL_F64, EVAL_F128 } EvalPrecision;

typedef struct EvalState EvalState; // values of storages, inputs, scalars; results

/// All float types are computed in `precision`, whatever their dtype says.
EvalState *eval_new(Arena *arena, const Module *module, EvalPrecision precision);
/// Row-major values as double, or as __float128 by the _q form in ir/eval.h; copied in. Names that no
/// graph reads are ignored; storages begin as zeros; an input or scalar not set is a bug of the caller.
void eval_set_storage(EvalState *state, uint32_t storage, const double *value);
void eval_set_input(EvalState *state, const char *name, const double *value);
void eval_set_scalar(EvalState *state, const char *name, double value);
void eval_set_random(EvalState *state, uint64_t seed, uint64_t iteration);
/// Runs one graph; storages are updated at its end.
void eval_run(EvalState *state, const Graph *graph);
/// What these return is valid until the next run.
const double *eval_get_storage(EvalState *state, uint32_t storage);
/// A report or output of the last run by name; NULL if there is none. *type may be NULL.
const double *eval_get_output(EvalState *state, const char *name, Type *type);

#endif
