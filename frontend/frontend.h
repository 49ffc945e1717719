/// Front door of the frontend: a tree in, a checked program out.
///
///     AstFile ── elaborate ──► Program (ir/program.h)
///                   │  runs for, if, lists and calls; leaves graphs of tensor operations
///                   ├─ std/*.kd, the library, embedded in kdc (modules.c)
///                   └─ what the user is told: diagnostics with the place in *their* file
///
/// Elaboration is an interpreter over the tree. Its values (elaborate.h) are constants, functions,
/// models, and tensors, which are nodes of the graph at work. A mistake becomes a diagnostic and a
/// poison value that silences its consequences, so that one run reports all independent mistakes.
/// No input crashes or hangs it: depth, iterations, nodes and list lengths are bounded.
#ifndef KDC_FRONTEND_FRONTEND_H
#define KDC_FRONTEND_FRONTEND_H

#include "frontend/ast.h"
#include "ir/program.h"

/// What the header of a data source says; `dtype` and `dim` are one example's, as in the file.
typedef struct DataField {
    const char *name; // "image"
    Type type;        // u8[1, 28, 28]
} DataField;
typedef struct DataHeader {
    Vec(DataField) fields;
    int64_t count;      // examples of the training part, or of a source without parts
    int64_t test_count; // 0: there is no test part
    int64_t classes;    // 0: unknown
} DataHeader;

/// Reads the header of `path` as `source` ("idx", ...). On failure returns false and sets *message.
typedef bool DataProbe(Arena *arena, const char *source, const char *path, DataHeader *header,
                       const char **message);

/// The i-th transform of images that there is, with the names of its parameters in the order of
/// arguments without a name ("pad, mode"); false after the last.
typedef bool TransformRow(size_t i, const char **name, const char **parameters);
/// What `transform` makes of images [C, H, W]; an extent of -1 is not the same for all. On failure
/// returns false and sets *message.
typedef bool TransformShape(Arena *arena, const TransformSpec *transform, const int64_t in[3],
                            int64_t out[3], const char **message);

/// `-D name=value`: `value` is read as a kd expression, as a string where it is none.
typedef struct FrontendDefine {
    const char *name;
    const char *value;
} FrontendDefine;

typedef struct FrontendOptions {
    const FrontendDefine *defines;
    size_t define_count;
    DType real;       // DT_F32 unless --dtype f64
    DataProbe *probe; // NULL: data sets must write down their fields and counts
    TransformRow *transform_row; // NULL: there are no transforms
    TransformShape *transform_shape;
} FrontendOptions;

/// Elaborates a program that kd_parse() has read. Everything is allocated in `arena`. Returns NULL
/// if `diags` has errors afterwards, whoever reported them; never NULL otherwise. Modules that the
/// program uses are read beside its source file.
Program *frontend_elaborate(const AstFile *file, const FrontendOptions *options, Arena *arena,
                            SourceSet *sources, DiagSink *diags);

// ---- the REPL
// ------------------------------------------------------------------------------------

/// A session holds definitions as text and `let`s as values, both outside any arena: each input is
/// elaborated in an arena of its own against them. An input that fails changes nothing, a name that
/// is defined again gives back what it held, so memory stays flat.
typedef struct FrontendSession FrontendSession;

typedef enum SessionItemKind {
    SESSION_DONE,    // a definition, or a constant bound to a name: nothing to run
    SESSION_TEXT,    // the value of an expression without tensors, in `text`
    SESSION_GRAPH,   // `graph` is to be run; its outputs are the value's tensors
    SESSION_PROGRAM, // the session holds `train` blocks: `program` is the whole of it
    SESSION_FAILED,  // reported
    SESSION_END,     // the input has no more statements
} SessionItemKind;

/// One statement of an input. Valid until the next call on the session.
typedef struct SessionItem {
    SessionItemKind kind;
    const char *text; // of a constant value; or how the tensors hang together: "[%0, %1]"
    const char *name; // what a `let` binds, else NULL
    Module *module;   // of `graph`: storages are the session's tensors, by name
    Graph *graph;
    Program *program;
} SessionItem;

FrontendSession *frontend_session_new(const FrontendOptions *options);
void frontend_session_free(FrontendSession *session);
/// Begins an input, as it was typed. `arena`, `sources` and `diags` live until the next one.
void frontend_session_input(FrontendSession *session, const AstFile *input, Arena *arena,
                            SourceSet *sources, DiagSink *diags);
/// Elaborates the next statement of the input.
SessionItem frontend_session_next(FrontendSession *session);
/// After a SESSION_GRAPH was run: the values of its outputs in their order, row-major, as double.
/// Binds them to the item's name, if it has one.
void frontend_session_bind(FrontendSession *session, const double *const *values);
/// What a storage of an item's module holds at the start; NULL for what an init graph writes.
const double *frontend_session_value(FrontendSession *session, const char *storage);
/// Bytes held between inputs.
size_t frontend_session_bytes(const FrontendSession *session);
/// Elaborates an expression to a graph with the output "value", for `:ir` and the like; or NULL.
Graph *frontend_session_graph(FrontendSession *session, const AstExpr *expr);
/// The doc comment of a name and its signature, for `:help`; NULL if there is no such name.
const char *frontend_session_help(FrontendSession *session, const char *name, Arena *arena);
/// Names that begin with `prefix`, for completion.
size_t frontend_session_complete(FrontendSession *session, const char *prefix, Arena *arena,
                                 const char ***names);

#endif
