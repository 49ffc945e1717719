/// Inside the frontend: the values of elaboration, and who makes what of them.
///
///     values.c     constants, lists, their texts            scope.c    names, blocks, "did you
///     mean" modules.c    `use`, the library, module scopes         report.c   where a mistake is
///     shown expr.c       expressions                               operators.c  arithmetic,
///     lifting call.c       arguments, open calls, functions          letters.c  shape patterns
///     net.c        instances, storage, taps, sections        parts.c    paths from models
///     sections.c   a section as a function                   session.c  the REPL
///     stmt.c       statements                                builtins.c builtin_ops.c  primitives
///     program.c    declarations of a file                    data.c, transforms.c  data sets
///     train.c      blocks and phases                         step.c     steps and evals
///     when.c       the variants of a step                    update.c   terms to updates
///     terms.c      summands of a loss                     ranges.c   labels and class counts
///     deploy.c     deployments and their exits
///
/// A tensor is a node of the graph at work (`Elab.ctx`). A model is a tree of Instances, which come
/// into being when it is first applied; they own the module's storages by name.
#ifndef KDC_FRONTEND_ELABORATE_H
#define KDC_FRONTEND_ELABORATE_H

#include "frontend/frontend.h"

typedef struct Elab Elab;
typedef struct Value Value;
typedef struct Scope Scope;
typedef struct Instance Instance;
typedef struct Application Application;
typedef struct Taps Taps;
typedef struct StorageInfo StorageInfo;
typedef struct PhaseWork PhaseWork;
typedef struct PendingLoad PendingLoad;
typedef struct StepWork StepWork;
typedef struct DeployWork DeployWork;
typedef struct KdModule KdModule;
typedef struct Builtin Builtin;

enum {
    LIMIT_CALLS = 200,            // calls, one inside the other
    LIMIT_ITERATIONS = 1000000,   // of all loops together
    LIMIT_LIST = 1000000,         // elements of a list
    LIMIT_NODES = 1000000,        // of one graph
    LIMIT_DEPTH = 3000,           // expressions, one inside the other, calls included
    LIMIT_STACK_BYTES = 7 << 20,  // of the C stack, where frames are larger than we think
    LIMIT_TEXT_BYTES = 64 * 1024, // of a string
};

// ---- values
// --------------------------------------------------------------------------------------

typedef enum ValueKind {
    VALUE_POISON, // reported already; whatever it meets becomes poison
    VALUE_NONE,
    VALUE_BOOL,
    VALUE_NUMBER, // number, is_int
    VALUE_STRING,
    VALUE_RANGE, // range: a list of consecutive integers
    VALUE_LIST,
    VALUE_FUNCTION, // fn, net, optimizer, primitive
    VALUE_OPEN,     // a call whose first arguments are still open
    VALUE_TENSOR,   // a node, or with node NULL the way to taps below a name
    VALUE_MODEL,    // a declared instance of a net
    VALUE_PART,     // what is under a path of a model
    VALUE_DATA,     // a data set, or one part of it
    VALUE_RECORD,   // fields by name: a train block's models, a companion's fields
    VALUE_MODULE,   // a module's name before a dot
} ValueKind;

typedef struct List {
    Value *at;
    size_t count;
} List;

typedef struct Function Function;
typedef struct OpenCall OpenCall;
typedef struct Tensor Tensor;
typedef struct Part Part;
typedef struct DataValue DataValue;

struct Value {
    ValueKind kind;
    bool is_int; // number: an exact integer
    union {
        bool boolean;
        double number;
        const char *string;
        struct {
            int64_t low, high;
        } range;
        const List *list;
        const Function *function;
        const OpenCall *open;
        const Tensor *tensor;
        Instance *model;
        const Part *part;
        const DataValue *data;
        Map *record;
        KdModule *module;
    };
};

/// A fn, net or optimizer of a program (`decl`), or a primitive (`builtin`).
struct Function {
    const char *name;
    const AstStmt *decl;
    Scope *scope; // where it was declared
    const Builtin *builtin;
};

/// A value on its way into a call.
typedef struct Arg {
    const char *name; // NULL: positional
    Value value;
    Span span;
    const AstExpr *expr; // NULL where there is none
    bool held;           // came from an open call: a positional argument passes it by
} Arg;
typedef struct Args {
    Arg *at;
    size_t count;
} Args;

struct OpenCall {
    const Function *function;
    Args args; // named
    Span span;
    Instance *like;   // of like(model), else NULL
    const Part *part; // of like(part) where its net is not known yet: `function` is none; else NULL
};

/// Where `s.name` looks, nearest first: under `prefix` in `taps`, then in the rest.
typedef struct TapScope {
    const Taps *taps;
    const char *prefix; // "" or "layer1"
    const struct TapScope *rest;
} TapScope;

struct Tensor {
    Node *node;
    const TapScope *scope; // NULL: nothing inside
    const char *label;     // "student.layer1" in messages; or NULL
    Span label_span;       // where it got the label
    StorageInfo *storage;  // if it is a parameter or state itself
    uint32_t order;        // of tapping
};

typedef enum PartKind { PART_PATH, PART_SECTION, PART_SECTIONS, PART_NORMS, PART_BIASES } PartKind;
struct Part {
    Instance *root;
    PartKind kind;
    const char *path; // relative to root
    int64_t section;
};

struct DataValue {
    int32_t index; // into Program.data
    DataPart part;
    const AstStmt *decl;
};

Value value_poison(void);
Value value_none(void);
Value value_bool(bool boolean);
Value value_int(int64_t number);
Value value_real(double number);
Value value_string(const char *text);
Value value_list(Elab *e, const Value *at, size_t count);
Value value_range(int64_t low, int64_t high);
Value value_node(Elab *e, Node *node);
Value value_tensor(Elab *e, Tensor tensor);
Value value_function(const Function *function);

bool value_is_list(Value v); // ranges too
/// Is all that `v` holds of the graph at work?
bool value_is_here(const Elab *e, Value v);
size_t list_count(Value v);
Value list_at(Value v, size_t i);
bool value_is_int(Value v, int64_t *number);
/// Structural equality of constants; models, functions and tensors by identity.
bool value_equal(Value a, Value b);
/// "a number", "a list", "a tensor": for messages.
const char *value_kind_text(Value v);
/// What it is, in short: `3`, `"abc"`, `f32[4, 8]`, "the net `conv`".
const char *value_text(Elab *e, Value v);
/// As kd source where it is a constant, for interpolation and the REPL.
void value_print(StrBuf *out, Elab *e, Value v);
const char *number_text(Elab *e, Value v);

// ---- names
// ---------------------------------------------------------------------------------------

typedef struct Binding {
    const char *name;
    uint64_t hash;
    Value value;
    Span span;
    bool assignable;     // a `let`
    const AstExpr *lazy; // evaluated at each use: what depends on run-time scalars outside a graph
    Scope *lazy_scope;
    const char *scalar; // a run-time scalar of that name
    bool busy;          // `lazy` is being evaluated
    bool used;
    const char *doc;
    struct Binding *next;
} Binding;

/// Names of a block. The outermost one belongs to a module, whose `use`s and the library follow it.
struct Scope {
    Scope *parent;
    Binding *first; // newest first
    size_t count;
    Map *map; // once there are many
    KdModule *module;
};

struct KdModule {
    const char *name;  // "std.distill", "mine.kd"; the program's own is ""
    const char *alias; // "distill", "mine"
    const AstFile *file;
    Scope *scope;
    Vec(KdModule *) uses;
    Vec(Span) use_spans;
    bool is_library;
    bool busy; // is being read
};

Scope *scope_new(Elab *e, Scope *parent);
Binding *scope_set(Elab *e, Scope *scope, const char *name, Value value, Span span);
Binding *scope_find_here(const Scope *scope, const char *name);
/// Through blocks, module, used modules, prelude and primitives. Reports an ambiguous name. NULL:
/// none.
Binding *scope_find(Elab *e, Scope *scope, const char *name, Span span);
/// The nearest visible name, or NULL.
const char *scope_nearest(Elab *e, Scope *scope, const char *name);
typedef Vec(const char *) Names;
void scope_collect(Elab *e, const Scope *scope, Names *names);

KdModule *modules_begin(Elab *e, const AstFile *file); // prelude and the program's own module
void modules_use(Elab *e, KdModule *into, const AstStmt *use);
/// The library's module that declares `name`, or NULL.
const char *library_module_with(Elab *e, const char *name);
KdModule *module_of(const Scope *scope);
/// Declares the functions of a file, so that they may be used before their place.
void declare_functions(Elab *e, Scope *scope, const AstBlock *block);

// ---- the elaborator
// ------------------------------------------------------------------------------

/// An `assert` of what is known at run time only.
typedef struct Assertion {
    uint32_t index; // into Program.asserts
    Node *holds;    // a real scalar, 0 if it does not
    Span span;
} Assertion;

/// A graph being filled, with what it has read and written of the module's storages.
typedef struct GraphContext {
    Graph *graph;
    Map scalars;          // name to Node
    Vec(Node *) current;  // by storage id: the value that its name reads as now; NULL: not read
    Vec(Node *) read;     // by storage id: as it was when the graph began
    Vec(uint8_t) written; // by storage id
    int64_t stream_base;  // of draws
    int64_t draws;
    const DataSpec *data; // whose fields its inputs are; NULL: of none
    bool is_step, is_eval;
    Vec(Assertion) asserts; // what is to be looked at when it has run
} GraphContext;

struct Elab {
    Arena *arena;
    SourceSet *sources;
    DiagSink *diags;
    FrontendOptions options;
    Program *program;
    Module *module;
    GraphContext *ctx;
    GraphContext *init;       // of GRAPH_INIT
    GraphContext *begin;      // of the phase's GRAPH_BEGIN: slots
    GraphContext *eval_begin; // of an eval's GRAPH_BEGIN: its states; NULL outside
    const Origin *origin;     // the calls that led here
    Stage stage;              // of the nodes that are made
    const char *function;     // whose body is elaborated; NULL: the program's
    Scope *scope;
    Application *app; // the net at work, or the phase's own; NULL outside
    PhaseWork *phase;
    const PhaseWork *collecting; // the block or phase whose statements are read; NULL outside
    StepWork *step;
    DeployWork *deploy;              // the deployment at work, or NULL
    const char *let_name;            // the name that a parameter() gets
    Vec(const AstExpr *) open_calls; // calls that stay open, whatever is missing
    const char *member;              // models read as their storage of this path
    KdModule *own;                   // the program's module
    Vec(KdModule *) prelude;
    Map modules; // name to KdModule
    Scope *primitives;
    Vec(StorageInfo *) infos; // by storage id
    Map storage_names;        // name to StorageInfo
    Map instance_paths;       // path to Instance
    Map used_defines;
    Map block_names;          // train blocks: name to their record
    Map range_clashes;        // data sets and class counts that were told to disagree
    const char *rest_of_data; // what is special of the batch at work: it is the last one; or NULL
    Vec(Instance *) models;
    Vec(PendingLoad) loads;
    uint32_t sequence;
    uint32_t phase_serial;
    size_t calls, iterations, depth;
    char *stack_base;
    bool stopped; // a limit was passed: everything is poison from here on
    Value result; // of `return`
    Arena *scratch;
};

// ---- mistakes (report.c)
// -------------------------------------------------------------------------

/// Reports at `span`, or, where that is in the library, at the call in the program that led there.
Diag *report_error(Elab *e, Span span, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/// Reports and returns poison.
Value fail(Elab *e, Span span, const char *format, ...) __attribute__((format(printf, 3, 4)));
Diag *report_warning(Elab *e, Span span, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/// Reports once and stops elaboration for good.
Value fail_limit(Elab *e, Span span, const char *format, ...) __attribute__((format(printf, 3, 4)));
Value not_built(Elab *e, Span span, const char *what);
/// Of the last batch, for Elab.rest_of_data.
const char *rest_text(Elab *e, int64_t last_batch, int64_t all); // all 0: not told
bool in_library(const Elab *e, Span span);
const char *expr_text(Elab *e, const AstExpr *expr);
const char *a_list_of(Elab *e, const char *const *names, size_t count); // "`a`, `b` and `c`"
const Origin *origin_at(Elab *e, Span span);

// ---- expressions, operators, calls
// ---------------------------------------------------------------

Value eval_expr(Elab *e, const AstExpr *expr);
/// With calls left open, whatever they lack: the value of `model`.
Value eval_open(Elab *e, const AstExpr *expr);
bool eval_int(Elab *e, const AstExpr *expr, const char *what, int64_t *number);
const char *eval_text(Elab *e, const AstExpr *expr);
Value eval_name(Elab *e, const char *name, Span span);
/// False after a report, if the value is no constant bool.
bool value_condition(Elab *e, Value v, const AstExpr *expr, const char *what, bool *condition);

Value apply_binary(Elab *e, AstBinaryOp op, Value a, Value b, const AstExpr *expr);
Value apply_unary(Elab *e, AstUnaryOp op, Value a, const AstExpr *expr);
/// The node of a tensor, constant or model member; NULL after a report. `like` gives constants
/// their element type; NULL: the program's real type.
Node *lift(Elab *e, Value v, const Node *like, Span span, const char *what);
/// Makes a node, or reports what speaks against it, with `operand` described as notes.
Node *make_node(Elab *e, Op op, Node *const *operand, uint32_t arity, const Attrs *attrs, Span span,
                const char *name, const Args *args);
Node *broadcast_to(Elab *e, Node *node, const Type *type, Span span);
Node *constant_node(Elab *e, double value, DType dtype, Span span);
bool node_is_run_time_scalar(const Node *node);
/// Two tensors of whole numbers are compared: says if they are labels and something that counts
/// otherwise (ranges.c).
void check_ranges(Elab *e, const Node *a, const Node *b, Span span);

typedef struct Call {
    const AstExpr *expr; // NULL: made by the compiler
    Span span;           // of the whole
    Span callee_span;
    const char *as; // instance name or NULL
    Span as_span;
    bool leave_open;
} Call;

Value call_value(Elab *e, Value callee, Args args, const Call *call);
Value call_function(Elab *e, const Function *function, Args args, const Call *call);
/// Runs the body with `scope` as its names; what it returns.
Value run_body(Elab *e, const Function *function, Scope *scope, const Call *call);
/// Runs a net's body as `instance`; args complete those of its open call.
Value call_instance(Elab *e, Instance *instance, Args args, const Call *call);
/// Calls an open call (or function) with one more positional argument and named ones.
Value call_with(Elab *e, Value callee, const Value *positional, size_t count, Span span);

/// Binds arguments to the parameters of `decl` in `scope`. Sets *missing to the first parameter
/// without a value, if only that keeps the call from being complete.
bool bind_arguments(Elab *e, const Function *function, Args args, const Call *call, Scope *scope,
                    bool *is_open);

/// Shape patterns: unifies the letters of the parameters' types over their values and binds them.
bool match_patterns(Elab *e, const Function *function, const AstParam *params, size_t count,
                    const Arg *const *given, const Call *call, Scope *scope);

// ---- statements
// ----------------------------------------------------------------------------------

typedef enum Flow { FLOW_NEXT, FLOW_RETURN } Flow;
Flow exec_block(Elab *e, const AstBlock *block); // in a scope of its own
Flow exec_stmts(Elab *e, const AstBlock *block); // in the scope at hand
/// Goes over a list value, binding `names` in a scope of their own. False: stop.
bool for_each(Elab *e, const AstExpr *list, const AstName *names, size_t name_count,
              bool (*body)(Elab *, void *), void *data);
bool bind_names(Elab *e, const AstName *names, size_t count, Value value, Span span,
                bool assignable);

// ---- nets
// ----------------------------------------------------------------------------------------

struct StorageInfo {
    Storage *storage;
    Instance *owner;
    const char *name; // its last part: "weight"
    uint32_t order;   // of its parameter() in the last application
    int64_t section;
    bool is_norm, is_bias;
    Value init;
    uint32_t group_phase; // of `group`
    int32_t group;        // the phase's optimize group; -1 none
};

struct Instance {
    const char *name; // "layer1.0"
    const char *path; // "student.layer1.0"
    Instance *parent, *root;
    const Function *net; // NULL: a phase's own
    Args args;
    Map children; // name to Instance
    Map storages; // name to StorageInfo
    uint32_t order;
    int64_t section;
    int32_t phase; // whose train-only module it is; -1
    bool is_slot;  // the states of one parameter's optimizer, or of one eval
    bool applied;
    uint32_t trained, frozen, batch_stats; // serial of the phase in which it is so
    const char **split;                    // of a root: paths of the taps; NULL: none
    Span *split_span;
    size_t split_count;
    bool split_by_net; // the default of its net, which a program's `split` overrides
    Span span;
    Instance *like;
    const Part *like_part; // of like(part); while `net` is NULL, what that is is not known yet
    Span like_span;
    bool has_origin;       // its `from` is noted
    const PhaseWork *time; // the block or phase that declares it; NULL: the file, or a net
    Type input;            // of the last application
    bool has_input;
};

typedef struct TapEntry {
    const Tensor *tensor;
    Span span;
} TapEntry;

/// What one application left to be looked at.
struct Taps {
    const Instance *of;
    Map entries;  // path to TapEntry
    Map prefixes; // "layer1" of "layer1.0"
};

struct Application {
    Instance *self;
    Application *outer;
    Map taken;   // names used in this application
    bool unsure; // a branch of a `when` failed: what it would have taken is not known
    Taps *taps;
};

Instance *instance_new(Elab *e, Instance *parent, const char *name, const Function *net, Args args,
                       Span span);
Instance *instance_root(Elab *e, const char *path, const Function *net, Args args, Span span);
void application_begin(Elab *e, Application *app, Instance *self);
/// Applies a net inside the application at work, as an instance of its own.
Value apply_net(Elab *e, const Function *net, Args args, const Call *call);
/// Whether the body of a net is being run, so that a value may be named by `as`.
bool in_a_net(const Elab *e);
/// The value as a tap of the net that is being applied, a tensor from then on.
Value tap_value(Elab *e, Value v, Span span, const char *name, Span name_span);
void tap_record(Elab *e, Application *app, const char *path, Value value, Span span);
Value tap_path(Elab *e, Value tensor, const char *path, Span span); // `s.layer1.0`, `s["..."]`
Value tensor_section(Elab *e, Value tensor, Value index, Span span);
void sections_assign(Elab *e, Instance *root, Value result);
StorageInfo *storage_make(Elab *e, Instance *owner, StorageKind kind, const char *name,
                          const Type *type, Value init, Span span);
Value storage_value(Elab *e, StorageInfo *info);
/// A storage of one phase keeps its bytes for the whole run, because something else looks at it.
void storage_outlive(Elab *e, StorageInfo *info);
void storage_update(Elab *e, StorageInfo *info, Node *value);
Value builtin_storage(Elab *e, StorageKind kind, Value shape, Value init, Span span);
bool instance_trained(const Elab *e, const Instance *instance);
bool instance_frozen(const Elab *e, const Instance *instance);
bool instance_batch_stats(const Elab *e, const Instance *instance);
typedef Vec(StorageInfo *) StorageInfos;
void collect_storages(Elab *e, const Instance *instance, StorageInfos *out);
StorageInfo *instance_storage(Elab *e, Instance *root, const char *path);
const char *relative_path(const Instance *root, const char *path);

// parts.c
Value part_path(Elab *e, Value model_or_part, const char *segment, Span span);
Value part_index(Elab *e, Value part, Value index, Span span);
Value part_call(Elab *e, const Part *part, Args args, const Call *call);
/// The instance that a path leads to; NULL if it is not known yet or no net, after a report at
/// `span`, unless that is NULL.
Instance *part_net(Elab *e, const Part *part, const Span *span);
/// Applies one section of a model to x (sections.c).
Value section_call(Elab *e, const Part *part, Args args, const Call *call);
/// False, after a report, where a path leads to nothing in a model that is applied.
bool part_exists(Elab *e, const Part *part, Span span);
/// All storages and instances under a model, part or list of them. False after a report.
bool part_storages(Elab *e, Value target, Span span, StorageInfos *out);
void part_mark(Elab *e, Value target, void (*mark)(Elab *, Instance *));
Value model_declare(Elab *e, const AstStmt *stmt, Value value, const char *prefix);
/// like(model), like(part): an open call of the net that it is an instance of.
Value like_value(Elab *e, Value of, Span span, Span of_span);
/// Of a model made by like(part): looks up of which net it is. False if the part is not applied
/// yet, or is no net; after a report at `span`, unless that is NULL.
bool model_known(Elab *e, Instance *model, const Span *span);
/// Gives `to`, which nothing has applied, the parameters and states of `from`, an instance of the
/// same net.
void model_mirror(Elab *e, Instance *to, const Instance *from);
void model_split(Elab *e, const AstStmt *stmt);
void model_update(Elab *e, const AstStmt *stmt, Value target);

// loads.c
/// A `from` or `load` that was said; what it fills is known when all is elaborated.
struct PendingLoad {
    Value target;
    const char *path;      // of a file; NULL: `source`
    Value source;          // a model or a part
    const PhaseWork *time; // whose beginning; NULL: the start of the run
    Span span;             // of the origin
    Span target_span;      // of the target; `model … from`: of the origin
    bool declares;         // `model … from`
    bool is_inner;         // in a net, of a file or of what the net holds
};
void load_declared(Elab *e, const AstStmt *stmt, Value model); // `model … from …`
void load_statement(Elab *e, const AstStmt *stmt);
/// Once all is elaborated: what each load fills. The `from` of models that nothing applies goes.
void loads_finish(Elab *e);

// ---- graphs
// --------------------------------------------------------------------------------------

GraphContext *context_new(Elab *e, Graph *graph, int64_t stream_base);
/// A graph that is not in the module yet, or never will be.
Graph *graph_detached(Elab *e, const char *name, GraphRole role, int32_t phase);
int32_t graph_attach(Elab *e, Graph *graph);
/// Emits the pending writes and assertions.
void context_finish(Elab *e, GraphContext *ctx);
Node *context_scalar(Elab *e, const char *name);
int64_t context_stream(Elab *e);

// ---- builtins
// ------------------------------------------------------------------------------------

typedef struct BuiltinCall {
    const Builtin *builtin;
    Value *value; // by parameter
    const Arg **arg;
    const Call *call;
    Args args;
} BuiltinCall;

typedef Value BuiltinFn(Elab *e, BuiltinCall *c);

typedef struct BuiltinParam {
    const char *name;
    bool has_default;
    Value value;
} BuiltinParam;

struct Builtin {
    const char *name;
    const char *signature; // "x, axes = all, keep = false"
    const char *summary;
    BuiltinFn *function;
    int op; // Op, or -1
    BuiltinParam *param;
    size_t param_count;
    bool variadic; // signature "...": all arguments positional
};

void builtins_declare(Elab *e); // primitives of both files
void builtin_add(Elab *e, const char *name, const char *signature, const char *summary,
                 BuiltinFn *function, int op);
void builtin_ops_declare(Elab *e);
Value call_builtin(Elab *e, const Builtin *builtin, Args args, const Call *call);
bool value_ints(Elab *e, Value v, Span span, const char *what, Ints *ints);
bool value_axes(Elab *e, Value v, int rank, Span span, Ints *axes);

// ---- programs
// ------------------------------------------------------------------------------------

/// Elaborates the declarations of the program's own module, in order.
void elaborate_file(Elab *e, const AstBlock *block);
void elaborate_declaration(Elab *e, const AstStmt *stmt);
/// Reads one transform of an `augment` or `prepare`.
bool read_transform(Elab *e, const AstExpr *expr, TransformSpec *spec);
/// Sets the shape that a step sees of a field of images: what `augment` (or the view's transforms)
/// and `prepare` leave.
bool shape_images(Elab *e, const DataSpec *spec, Span span, FieldSpec *field);
void elaborate_data(Elab *e, const AstStmt *stmt);
Value data_attribute(Elab *e, Value data, const char *name, Span span);
void elaborate_train(Elab *e, const AstStmt *stmt);
void elaborate_deploy(Elab *e, const AstStmt *stmt);
void deploy_exit(Elab *e, const AstStmt *stmt);

/// A statement of a train block that is run later, with the names it sees.
typedef struct Deferred {
    const AstStmt *stmt;
    Scope *scope;
} Deferred;

/// A group of `optimize`.
typedef struct Group {
    Deferred at;
    Value targets;
    bool no_decay_biases, no_decay_norms;
    const AstExpr *empty; // a target without parameters, or NULL
} Group;

/// A train block, or one of its phases.
struct PhaseWork {
    const char *name; // "sskd.mimic[0]"
    const AstStmt *stmt;
    Instance *root; // of the nets applied in its steps
    Map settings;   // word to Deferred
    Vec(Deferred) freezes, optimizes, steps, evals, phases;
    Vec(Group) groups;
    Value data;
    Map slots;     // path to the Instance of a parameter's states: an optimizer's, a step's sums
    Map reached;   // names of parameters that some term reaches
    int32_t index; // into Program.phases; of a block, its first phase
    int32_t last_index;
    const AstExpr *accumulate; // where batches_of_update stands; NULL: it is 1
    int64_t batches_of_update;
};

typedef struct Term {
    Node *loss;
    Span span;
    bool has_over;
    StorageInfos over;
    Value combine; // none: joined with the others
} Term;

/// A condition of a `when`, as a node of the graph of conditions.
typedef struct Asked {
    Node *node;
    const char *text;
    Span span;
} Asked;

typedef struct Answer {
    size_t condition;
    bool holds;
} Answer;

/// The ways through the `when`s of a step (when.c). Each run of the step goes one of them.
typedef struct Choices {
    Graph *graph;     // of the conditions
    Vec(Asked) asked; // each once, whatever way it was met on
    Vec(Answer) path; // in the order of asking: those of this way, beyond `at` to be given
    size_t at;
    Node *updates; // with `accumulate`: the condition that the batch ends with an update
} Choices;

/// Goes on to the next way; false when there is none. The first is where all conditions hold.
bool choices_next(Choices *choices);
/// What was answered on this way: for each condition '1', '0', or '-' where it was not asked.
const char *choices_answers(Elab *e, const Choices *choices);
/// With `accumulate`: whether, on the way that is being gone, the batch ends with an update.
bool choose_update(Elab *e, Choices *choices, const AstExpr *setting);
/// True after a report that `count` ways are too many.
bool choices_too_many(Elab *e, const Choices *choices, size_t count);
void exec_when(Elab *e, const AstStmt *stmt);

/// A step or eval at work.
struct StepWork {
    Vec(Term) terms;
    Map reports; // name to Span
    Choices *choices;
    bool is_eval;
    bool gathers;           // with `accumulate`: a later batch updates
    bool passed_over;       // in a branch of a `when` that is not taken
    bool poisoned;          // a term is a mistake: nothing is known of what the others reach
    Instance *states;       // of an eval: what it keeps from batch to batch
    Vec(Deferred) finishes; // of an eval, with the names that they see
    bool finishing;         // their graph is at work: values of a batch are gone
};

/// Elaborates a step along all ways through its `when`s, to learn what is inside the models and to
/// find its mistakes.
void elaborate_step_dry(Elab *e, PhaseWork *work, Deferred step, int number, int64_t batch);
/// Elaborates a step for batches of phase->batch and phase->last_batch: its variants, and the graph
/// that chooses among them; `rest` says in messages what the smaller one is. False after a report.
bool elaborate_step(Elab *e, PhaseWork *work, Deferred step, int number, const PhaseSpec *phase,
                    const char *rest, StepSpec *spec);
/// One evaluation: graphs for whole batches and for the smaller last one (`spec` has their sizes),
/// for its states to begin anew, and for its `finish`.
void elaborate_eval(Elab *e, PhaseWork *work, Deferred eval, int number, const DataValue *data,
                    EvalSpec *spec);
/// In a `finish`: what `v` is after the last batch; a report where it is gone.
Value value_in_finish(Elab *e, Value v, const char *name, Span span);
/// Binds the parameters of a step, eval or deploy to inputs of the graph.
bool bind_fields(Elab *e, const AstParam *params, size_t count, const DataSpec *data, int64_t batch,
                 Scope *scope);
/// Notes the summands of a loss in the graph at work (terms.c).
void note_terms(Elab *e, Node *loss, Span span);
/// Adds the trained parameters that the terms of a step reach to `reached`, by name (update.c).
void step_reach(Elab *e, const StepWork *step, Map *reached);
/// The updates of step `number`, from its terms: of the parameters in `reached`, whose gradient is
/// zero where no term of this variant reaches them. `weight` is what the batch counts among those
/// of `accumulate`: its examples over those of a whole one.
void elaborate_updates(Elab *e, PhaseWork *work, StepWork *step, int number, double weight,
                       const Map *reached);
bool field_type(const DataSpec *data, const char *name, Type *type);
void step_statement(Elab *e, const AstStmt *stmt); // minimize, report
Elab *elab_new(const FrontendOptions *options, Arena *arena, SourceSet *sources, DiagSink *diags);

#endif
