// codegen/emit_library.c -- a deployed function as a library: its table for runtime/deploy.c, its
// weights, and the functions that it exports, which only hand over to the runtime.
//
// An example's arena holds, one after another, its row of each input and the outputs of each
// segment's graph: what a later segment needs stays where it was made.
#include "codegen/emit.h"

#include <string.h>

#include "support/diag.h"

typedef struct LibraryEmitter {
    Emitter *em;
    const Library *library;
    const Module *module;
    LLVMTypeRef pointer, i64, i32;
    Vec(int64_t) field;   // by input of the deployment: offset in the example's arena
    Vec(int64_t) segment; // by segment: where its outputs begin
    int64_t example_bytes;
} LibraryEmitter;

static int64_t aligned(int64_t bytes) {
    return (bytes + 63) / 64 * 64;
}

static int64_t row_bytes(const Type *type) {
    return type_count(type) * (int64_t)dtype_size_bytes(type->dtype);
}

// ---- where things lie ---------------------------------------------------------------------------

static const Graph *graph_of(const LibraryEmitter *l, size_t segment) {
    return l->module->graphs.at[l->library->deployment->segments.at[segment].graph];
}

/// Where output `index` of a segment's graph lies, in the example's arena.
static int64_t output_offset(const LibraryEmitter *l, size_t segment, uint32_t index) {
    const Graph *graph = graph_of(l, segment);
    for (size_t i = 0; i < graph->nodes.count; i++)
        if (graph->nodes.at[i]->op == OP_output && graph->buffer[i].index == index)
            return l->segment.at[segment] + graph->buffer[i].offset_bytes;
    kdc_bug("segment %zu of `%s` has no output %u", segment, graph->name, index);
}

static void lay_out(LibraryEmitter *l) {
    const Deployment *d = l->library->deployment;
    Arena *arena = l->em->arena;
    int64_t offset = 0;
    for (size_t i = 0; i < d->inputs.count; i++) {
        vec_push(arena, &l->field, offset);
        offset += aligned(row_bytes(&d->inputs.at[i].type));
    }
    for (size_t s = 0; s < d->segments.count; s++) {
        const Graph *graph = graph_of(l, s);
        vec_push(arena, &l->segment, offset);
        for (size_t i = 0; i < graph->nodes.count; i++)
            if (graph->nodes.at[i]->op == OP_output)
                offset += aligned(graph->buffer[i].size_bytes);
    }
    l->example_bytes = offset;
}

/// Where the input `node` of a segment's graph lies, in the example's arena.
static int64_t input_offset(const LibraryEmitter *l, const Segment *segment, const Node *node) {
    for (size_t i = 0; i < segment->inputs.count; i++) {
        const SegmentInput *input = &segment->inputs.at[i];
        if (strcmp(input->name, node->attrs->name) == 0)
            return input->segment < 0 ? l->field.at[input->index]
                                      : output_offset(l, (size_t)input->segment, input->index);
    }
    kdc_bug("nothing gives the input `%s`", node->attrs->name);
}

// ---- the table ----------------------------------------------------------------------------------

static LLVMValueRef constant(LibraryEmitter *l, const char *name, LLVMValueRef value) {
    LLVMValueRef global = LLVMAddGlobal(l->em->module, LLVMTypeOf(value), name);
    LLVMSetInitializer(global, value);
    LLVMSetGlobalConstant(global, true);
    LLVMSetLinkage(global, LLVMInternalLinkage);
    LLVMSetAlignment(global, 64);
    return global;
}

static LLVMValueRef text(LibraryEmitter *l, const char *string) {
    return constant(
        l, "text", LLVMConstStringInContext2(l->em->context, string, strlen(string), false));
}

static LLVMValueRef structure(LibraryEmitter *l, LLVMValueRef *member, unsigned count) {
    return LLVMConstStructInContext(l->em->context, member, count, false);
}

typedef Vec(LLVMValueRef) Rows;

/// An array; of nothing it is NULL.
static LLVMValueRef array(LibraryEmitter *l, const char *name, const Rows *rows) {
    if (!rows->count)
        return LLVMConstNull(l->pointer);
    return constant(l, name,
                    LLVMConstArray2(LLVMTypeOf(rows->at[0]), rows->at, (uint64_t)rows->count));
}

static LLVMValueRef input_table(LibraryEmitter *l, size_t number) {
    const Graph *graph = graph_of(l, number);
    Rows rows = {0};
    uint32_t count = 0;
    for (size_t i = 0; i < graph->nodes.count; i++)
        if (graph->nodes.at[i]->op == OP_input && graph->buffer[i].index >= count)
            count = graph->buffer[i].index + 1;
    for (uint32_t k = 0; k < count; k++) {
        int64_t offset = 0; // of an input that nothing reads any more
        for (size_t i = 0; i < graph->nodes.count; i++)
            if (graph->nodes.at[i]->op == OP_input && graph->buffer[i].index == k)
                offset = input_offset(l, &l->library->deployment->segments.at[number],
                                      graph->nodes.at[i]);
        vec_push(l->em->arena, &rows, emit_int(l->em, offset));
    }
    vec_push(l->em->arena, &rows, emit_int(l->em, -1));
    return array(l, "inputs", &rows);
}

/// struct KdrtSegment
static LLVMValueRef segment_row(LibraryEmitter *l, size_t number, LLVMValueRef function) {
    const Deployment *d = l->library->deployment;
    bool is_last = number + 1 == d->segments.count;
    Rows values = {0};
    for (uint32_t i = 0; i < d->spec->value_count; i++)
        vec_push(l->em->arena, &values,
                 emit_int(l->em, output_offset(l, number, i + !is_last)));
    LLVMValueRef member[] = {
        function,
        input_table(l, number),
        array(l, "values", &values),
        emit_int(l->em, l->segment.at[number]),
        emit_int(l->em, is_last ? -1 : output_offset(l, number, 0)),
    };
    return structure(l, member, 5);
}

/// struct KdrtPort
static LLVMValueRef port_row(LibraryEmitter *l, const PortSpec *port, int64_t offset) {
    LLVMValueRef member[] = {emit_int(l->em, row_bytes(&port->type)), emit_int(l->em, offset)};
    return structure(l, member, 2);
}

/// struct KdrtOption
static LLVMValueRef option_row(LibraryEmitter *l, const char *name) {
    const Program *program = l->library->program;
    double value = 0;
    for (size_t i = 0; i < program->options.count; i++)
        if (strcmp(program->options.at[i].name, name) == 0)
            value = program->options.at[i].value;
    LLVMValueRef member[] = {text(l, name),
                             LLVMConstReal(LLVMDoubleTypeInContext(l->em->context), value)};
    return structure(l, member, 2);
}

/// struct KdrtDeploy
static LLVMValueRef deploy_table(LibraryEmitter *l, LLVMValueRef *graph, int64_t thread_bytes) {
    const Library *library = l->library;
    const Deployment *d = library->deployment;
    Emitter *em = l->em;
    Rows inputs = {0}, outputs = {0}, segments = {0}, options = {0};
    for (size_t i = 0; i < d->inputs.count; i++)
        vec_push(em->arena, &inputs, port_row(l, &d->inputs.at[i], l->field.at[i]));
    for (size_t i = 0; i < d->outputs.count; i++)
        vec_push(em->arena, &outputs, port_row(l, &d->outputs.at[i], -1));
    for (size_t i = 0; i < d->segments.count; i++)
        vec_push(em->arena, &segments, segment_row(l, i, graph[d->segments.at[i].graph]));
    for (size_t i = 0; i < l->module->scalars.count; i++)
        vec_push(em->arena, &options, option_row(l, l->module->scalars.at[i]));
    LLVMValueRef weights = LLVMConstStringInContext2(em->context, library->weights,
                                                     library->weights_bytes, true);
    LLVMValueRef member[] = {
        emit_int(em, KDRT_ABI),
        emit_int(em, (int64_t)inputs.count),
        emit_int(em, (int64_t)outputs.count),
        emit_int(em, (int64_t)segments.count),
        emit_int(em, (int64_t)options.count),
        array(l, "inputs", &inputs),
        array(l, "outputs", &outputs),
        array(l, "segments", &segments),
        array(l, "options", &options),
        emit_int(em, (int64_t)dtype_size_bytes(l->module->real)),
        emit_int(em, l->example_bytes),
        emit_int(em, l->module->step_bytes),
        emit_int(em, thread_bytes),
        constant(l, "weights", weights),
    };
    return constant(l, "deploy", structure(l, member, sizeof member / sizeof *member));
}

// ---- what it exports ----------------------------------------------------------------------------

enum { MOST_PARAMETERS = 4 };

typedef struct Export {
    const char *name;  // behind the prefix, and behind kdrt_deploy_
    LLVMTypeRef result; // NULL: void
    LLVMTypeRef parameter[MOST_PARAMETERS];
    unsigned count;
} Export;

static LLVMTypeRef result_of(const LibraryEmitter *l, const Export *export) {
    return export->result ? export->result : LLVMVoidTypeInContext(l->em->context);
}

static LLVMValueRef begin_export(LibraryEmitter *l, const char *name, LLVMTypeRef type) {
    Emitter *em = l->em;
    const char *symbol = arena_printf(em->arena, "%s_%s", l->library->prefix, name);
    LLVMValueRef function = LLVMAddFunction(em->module, symbol, type);
    em->function = function;
    LLVMPositionBuilderAtEnd(em->builder, emit_block(em, "entry"));
    return function;
}

static void call_runtime(LibraryEmitter *l, const char *name, LLVMTypeRef type,
                         LLVMValueRef *argument, unsigned count) {
    Emitter *em = l->em;
    const char *symbol = arena_printf(em->arena, "kdrt_deploy_%s", name);
    LLVMValueRef function = LLVMAddFunction(em->module, symbol, type);
    LLVMSetVisibility(function, LLVMHiddenVisibility);
    LLVMValueRef result = LLVMBuildCall2(em->builder, type, function, argument, count, "");
    if (LLVMGetReturnType(type) == LLVMVoidTypeInContext(em->context))
        LLVMBuildRetVoid(em->builder);
    else
        LLVMBuildRet(em->builder, result);
}

/// NAME_x(...) is kdrt_deploy_x(...).
static void forward(LibraryEmitter *l, const Export *export) {
    LLVMTypeRef parameter[MOST_PARAMETERS];
    memcpy(parameter, export->parameter, sizeof parameter);
    LLVMTypeRef type = LLVMFunctionType(result_of(l, export), parameter, export->count, false);
    LLVMValueRef function = begin_export(l, export->name, type), argument[MOST_PARAMETERS];
    for (unsigned i = 0; i < export->count; i++)
        argument[i] = LLVMGetParam(function, i);
    call_runtime(l, export->name, type, argument, export->count);
}

static void emit_open(LibraryEmitter *l, LLVMValueRef table) {
    LLVMTypeRef type = LLVMFunctionType(l->pointer, &l->i32, 1, false);
    LLVMTypeRef parameter[] = {l->pointer, l->i32};
    LLVMValueRef function = begin_export(l, "open", type);
    LLVMValueRef argument[] = {table, LLVMGetParam(function, 0)};
    call_runtime(l, "open", LLVMFunctionType(l->pointer, parameter, 2, false), argument, 2);
}

/// The parameters [first, first + count) as an array.
static LLVMValueRef gather(LibraryEmitter *l, LLVMValueRef function, unsigned first,
                           size_t count) {
    LLVMBuilderRef builder = l->em->builder;
    LLVMTypeRef type = LLVMArrayType2(l->pointer, count);
    LLVMValueRef at = LLVMBuildAlloca(builder, type, "");
    for (size_t i = 0; i < count; i++) {
        LLVMValueRef index[] = {emit_int(l->em, 0), emit_int(l->em, (int64_t)i)};
        LLVMValueRef slot = LLVMBuildGEP2(builder, type, at, index, 2, "");
        LLVMBuildStore(builder, LLVMGetParam(function, first + (unsigned)i), slot);
    }
    return at;
}

/// NAME_run(model, count, inputs..., outputs..., exits)
static void emit_run(LibraryEmitter *l) {
    const Deployment *d = l->library->deployment;
    unsigned count = (unsigned)(3 + d->inputs.count + d->outputs.count);
    LLVMTypeRef *parameter = arena_array(l->em->arena, LLVMTypeRef, count);
    for (unsigned i = 0; i < count; i++)
        parameter[i] = i == 1 ? l->i64 : l->pointer;
    LLVMValueRef function =
        begin_export(l, "run", LLVMFunctionType(l->i32, parameter, count, false));
    LLVMValueRef argument[] = {
        LLVMGetParam(function, 0),
        LLVMGetParam(function, 1),
        gather(l, function, 2, d->inputs.count),
        gather(l, function, 2 + (unsigned)d->inputs.count, d->outputs.count),
        LLVMGetParam(function, count - 1),
    };
    LLVMTypeRef wanted[] = {l->pointer, l->i64, l->pointer, l->pointer, l->pointer};
    call_runtime(l, "run", LLVMFunctionType(l->i32, wanted, 5, false), argument, 5);
}

void emit_library(Emitter *em, const LoopProgram *loops, const Module *module,
                  const Library *library, LLVMValueRef *graph) {
    LibraryEmitter l = {
        .em = em,
        .library = library,
        .module = module,
        .pointer = LLVMPointerTypeInContext(em->context, 0),
        .i64 = LLVMInt64TypeInContext(em->context),
        .i32 = LLVMInt32TypeInContext(em->context),
    };
    const Export exports[] = {
        {"set", l.i32, {l.pointer, l.pointer, LLVMDoubleTypeInContext(em->context)}, 3},
        {"skip_exits", l.i32, {l.pointer, l.i32}, 2},
        {"error", l.pointer, {l.i32}, 1},
        {"close", NULL, {l.pointer}, 1},
    };
    lay_out(&l);
    emit_open(&l, deploy_table(&l, graph, loops->thread_bytes));
    emit_run(&l);
    for (size_t i = 0; i < sizeof exports / sizeof *exports; i++)
        forward(&l, &exports[i]);
}
