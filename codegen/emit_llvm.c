// codegen/emit_llvm.c -- loop programs to object files by LLVM.
//
// The kernels are dealt out to a fixed number of modules, which threads compile one after another,
// each thread with an LLVM context of its own. Kernels come vectorised and unrolled from the
// emitter, so of LLVM's passes only the promotion of locals to registers and the removal of
// repeated arithmetic run.
#include "codegen/emit.h"

#include <ctype.h>
#include <llvm-c/Analysis.h>
#include <llvm-c/ErrorHandling.h>
#include <llvm-c/Target.h>
#include <llvm-c/Transforms/PassBuilder.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/diag.h"

enum { MODULE_COUNT = 8, THREAD_LIMIT = 8 };

// ---- LLVM as a whole
// -------------------------------------------------------------------------------

static void on_fatal_error(const char *reason) {
    kdc_bug("LLVM: %s", reason);
}

static void start_llvm(void) {
    LLVMInitializeNativeTarget();
    LLVMInitializeNativeAsmPrinter();
    LLVMInstallFatalErrorHandler(on_fatal_error);
}

static void on_diagnostic(LLVMDiagnosticInfoRef info, void *unused) {
    (void)unused;
    if (LLVMGetDiagInfoSeverity(info) == LLVMDSError)
        kdc_bug("LLVM: %s", LLVMGetDiagInfoDescription(info));
}

static LLVMContextRef context_new(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, start_llvm);
    LLVMContextRef context = LLVMContextCreate();
    LLVMContextSetDiagnosticHandler(context, on_diagnostic, NULL);
    return context;
}

// ---- declarations
// ------------------------------------------------------------------------------------

static void add_attribute(const Emitter *em, LLVMValueRef function, const char *key,
                          const char *value) {
    LLVMAttributeRef attribute = LLVMCreateStringAttribute(em->context, key, (unsigned)strlen(key),
                                                           value, (unsigned)strlen(value));
    LLVMAddAttributeAtIndex(function, LLVMAttributeFunctionIndex, attribute);
}

/// Whether denormals are flushed is the thread's affair, so nothing that depends on it may be
/// folded.
void emit_function_attributes(const Emitter *em, LLVMValueRef function, const char *cpu,
                              const char *features) {
    unsigned nounwind = LLVMGetEnumAttributeKindForName("nounwind", 8);
    LLVMAddAttributeAtIndex(function, LLVMAttributeFunctionIndex,
                            LLVMCreateEnumAttribute(em->context, nounwind, 0));
    add_attribute(em, function, "target-cpu", cpu);
    if (*features)
        add_attribute(em, function, "target-features", features);
    add_attribute(em, function, "denormal-fp-math", "dynamic,dynamic");
    add_attribute(em, function, "no-trapping-math", "true");
    add_attribute(em, function, "prefer-vector-width", "512");
    add_attribute(em, function, "min-legal-vector-width", "512");
}

LLVMTypeRef emit_kernel_type(const Emitter *em, const LoopKernel *kernel) {
    LLVMTypeRef pointer = LLVMPointerTypeInContext(em->context, 0);
    LLVMTypeRef i64 = LLVMInt64TypeInContext(em->context);
    LLVMTypeRef *type =
        arena_array(em->arena, LLVMTypeRef, kernel->buffers.count + kernel->extent_count + 6);
    unsigned count = 0;
    type[count++] = pointer; // frame
    for (size_t i = 0; i < kernel->buffers.count; i++) {
        if (kernel->buffers.at[i].role != BUFFER_SCRATCH)
            type[count++] = pointer;
    }
    for (uint32_t i = 0; i < kernel->extent_count + 3; i++) // and lo, hi, thread
        type[count++] = i64;
    type[count++] = pointer; // scratch
    if (kernel->asks)
        type[count++] = pointer; // what for: emit_ahead.c
    return LLVMFunctionType(LLVMVoidTypeInContext(em->context), type, count, false);
}

const char *emit_kernel_symbol(Arena *arena, const LoopKernel *kernel, size_t index) {
    char *name = arena_printf(arena, "kdc_kernel_%zu_%s", index, kernel->name);
    for (char *c = name; *c; c++) {
        if (!isalnum((unsigned char)*c))
            *c = '_';
    }
    return name;
}

static const char *entry_signature(const char *name) {
    static const struct {
        const char *name, *signature;
    } entries[] = {
#define ENTRY(name, signature) {#name, signature},
#include "runtime/abi.def"
#undef ENTRY
        {"GOMP_parallel", "vppii"}, // the last two are unsigned int: passed in 64-bit registers
        {"GOMP_barrier", "v"},
        {"omp_get_thread_num", "w"},
        {"omp_get_num_threads", "w"},
    };
    for (size_t i = 0; i < sizeof entries / sizeof *entries; i++) {
        if (!strcmp(entries[i].name, name))
            return entries[i].signature;
    }
    return NULL;
}

static LLVMTypeRef signature_type(const Emitter *em, char letter) {
    switch (letter) {
    case 'v':
        return LLVMVoidTypeInContext(em->context);
    case 'p':
        return LLVMPointerTypeInContext(em->context, 0);
    case 'i':
        return LLVMInt64TypeInContext(em->context);
    case 'w':
        return LLVMInt32TypeInContext(em->context);
    default:
        kdc_bug("abi.def: no type is called %c", letter);
    }
}

LLVMValueRef emit_entry(const Emitter *em, const char *name, LLVMTypeRef *type) {
    const char *signature = entry_signature(name);
    if (!signature)
        kdc_bug("%s is no row of runtime/abi.def", name);
    LLVMTypeRef parameter[16];
    unsigned count = (unsigned)strlen(signature) - 1;
    kdc_assert(count <= 16);
    for (unsigned i = 0; i < count; i++)
        parameter[i] = signature_type(em, signature[i + 1]);
    *type = LLVMFunctionType(signature_type(em, signature[0]), parameter, count, false);
    LLVMValueRef known = LLVMGetNamedFunction(em->module, name);
    return known ? known : LLVMAddFunction(em->module, name, *type);
}

LLVMValueRef emit_intrinsic(Emitter *em, const char *name, LLVMTypeRef *type, unsigned type_count,
                            LLVMValueRef *argument, unsigned count) {
    unsigned id = LLVMLookupIntrinsicID(name, strlen(name));
    LLVMValueRef function = LLVMGetIntrinsicDeclaration(em->module, id, type, type_count);
    LLVMTypeRef function_type = LLVMIntrinsicGetType(em->context, id, type, type_count);
    return LLVMBuildCall2(em->builder, function_type, function, argument, count, "");
}

// ---- modules
// -------------------------------------------------------------------------------------------

static void emitter_open(Emitter *em, LLVMContextRef context, Arena *arena, const Target *target,
                         const CodegenOptions *options) {
    *em = (Emitter){.context = context,
                    .arena = arena,
                    .options = options,
                    .counts_multiples = target->counts_multiples};
    em->module = LLVMModuleCreateWithNameInContext("kdc", context);
    LLVMSetTarget(em->module, target->triple);
    LLVMTargetDataRef layout = LLVMCreateTargetDataLayout(target->machine);
    LLVMSetModuleDataLayout(em->module, layout);
    LLVMDisposeTargetData(layout);
    em->builder = LLVMCreateBuilderInContext(context);
    em->math_kernel = loop_kernel_new(arena, "math");
}

static void emitter_close(Emitter *em) {
    LLVMDisposeBuilder(em->builder);
    LLVMDisposeModule(em->module);
}

static void emit_one_kernel(Emitter *em, const LoopProgram *loops, size_t index,
                            const Target *target) {
    const LoopKernel *kernel = loops->kernels.at[index];
    const char *symbol = emit_kernel_symbol(em->arena, kernel, index);
    LLVMValueRef function = LLVMGetNamedFunction(em->module, symbol);
    if (!function)
        function = LLVMAddFunction(em->module, symbol, emit_kernel_type(em, kernel));
    LLVMSetVisibility(function, LLVMHiddenVisibility);
    emit_function_attributes(em, function, target->cpu, target->features);
    em->count_offset = loops->counts ? loops->count_offset : -1;
    emit_kernel(em, kernel, function);
}

static void verify_module(const Emitter *em) {
    char *message = NULL;
    if (LLVMVerifyModule(em->module, LLVMReturnStatusAction, &message))
        kdc_bug("the emitter wrote LLVM IR that does not verify: %s", message);
    LLVMDisposeMessage(message);
}

static void run_passes(const Emitter *em, const Target *target) {
    const char *passes = em->options->level <= 0 ? "function(sroa)" : "function(sroa,early-cse)";
    LLVMPassBuilderOptionsRef options = LLVMCreatePassBuilderOptions();
    LLVMErrorRef error = LLVMRunPasses(em->module, passes, target->machine, options);
    LLVMDisposePassBuilderOptions(options);
    if (error)
        kdc_bug("LLVM: %s", LLVMGetErrorMessage(error));
}

static LLVMMemoryBufferRef write_object(const Emitter *em, const Target *target,
                                        LLVMCodeGenFileType type) {
    char *message = NULL;
    LLVMMemoryBufferRef buffer;
    if (LLVMTargetMachineEmitToMemoryBuffer(target->machine, em->module, type, &message, &buffer))
        kdc_bug("LLVM: %s", message);
    return buffer;
}

static char *copy_buffer(LLVMMemoryBufferRef buffer, size_t *size) {
    *size = LLVMGetBufferSize(buffer);
    char *copy = malloc(*size + 1);
    if (!copy)
        world_error("out of memory");
    memcpy(copy, LLVMGetBufferStart(buffer), *size);
    copy[*size] = 0;
    LLVMDisposeMemoryBuffer(buffer);
    return copy;
}

// ---- dealing out the work
// --------------------------------------------------------------------------------

static int64_t expr_cost(const LoopExpr *expr) {
    int64_t cost = math_is_expanded(expr->op) && expr->kind == E_APPLY ? 40 : 1;
    for (uint32_t i = 0; i < expr->arity; i++)
        cost += expr_cost(expr->operand[i]);
    return cost;
}

/// Roughly the instructions that the emitter will write.
static int64_t body_cost(const LoopBody *body) {
    int64_t cost = 0;
    for (size_t i = 0; i < body->count; i++) {
        const LoopStmt *stmt = body->at[i];
        int64_t inner = body_cost(&stmt->body) + body_cost(&stmt->other), first, last;
        if (stmt->value)
            inner += expr_cost(stmt->value);
        for (uint32_t k = 0; k < stmt->subscript_count; k++)
            inner += expr_cost(stmt->subscript[k]);
        if (stmt->kind == T_FOR && stmt->loop == LOOP_UNROLL && x_is_int(stmt->begin, &first) &&
            x_is_int(stmt->end, &last))
            inner *= (last - first + stmt->step - 1) / stmt->step;
        cost += inner;
    }
    return cost + 5;
}

typedef struct Job {
    const LoopProgram *loops;
    const Module *module;
    const Library *library; // NULL: a program with its manifest
    const char *manifest;
    const CodegenOptions *options;
    uint32_t *module_of; // by kernel: 1 ...; module 0 is the program itself
    Objects objects;
    atomic_size_t next;
} Job;

/// The costliest kernels first, each to the module with the least to do.
static void deal_out(Job *job, Arena *scratch) {
    size_t count = job->loops->kernels.count;
    int64_t *cost = arena_array(scratch, int64_t, count + 1);
    int64_t load[MODULE_COUNT] = {0};
    for (size_t i = 0; i < count; i++)
        cost[i] = 20 + body_cost(&job->loops->kernels.at[i]->body);
    job->module_of = arena_array(scratch, uint32_t, count + 1);
    for (size_t dealt = 0; dealt < count; dealt++) {
        size_t costliest = count;
        uint32_t idle = 0;
        for (size_t i = 0; i < count; i++) {
            if (!job->module_of[i] && (costliest == count || cost[i] > cost[costliest]))
                costliest = i;
        }
        for (uint32_t m = 1; m < MODULE_COUNT; m++)
            idle = load[m] < load[idle] ? m : idle;
        load[idle] += cost[costliest];
        job->module_of[costliest] = idle + 1;
    }
}

static void compile_module(Job *job, size_t number, LLVMContextRef context, const Target *target) {
    Arena arena = {0};
    Emitter em;
    emitter_open(&em, context, &arena, target, job->options);
    if (number == 0)
        emit_program(&em, job->loops, job->module, job->manifest, job->library, target->cpu,
                     target->features);
    for (size_t i = 0; number > 0 && i < job->loops->kernels.count; i++) {
        if (job->module_of[i] == number)
            emit_one_kernel(&em, job->loops, i, target);
    }
    verify_module(&em);
    run_passes(&em, target);
    ObjectBytes *object = &job->objects.at[number];
    object->bytes = copy_buffer(write_object(&em, target, LLVMObjectFile), &object->size);
    emitter_close(&em);
    arena_release(&arena);
}

static void *compile_modules(void *argument) {
    Job *job = argument;
    for (;;) {
        // the program itself first, whose time grows with its launches and is no part's to share
        size_t number = atomic_fetch_add(&job->next, 1);
        if (number >= job->objects.count)
            return NULL;
        LLVMContextRef context = context_new();
        Target target = target_new(job->options, number > 0);
        compile_module(job, number, context, &target);
        target_release(&target);
        LLVMContextDispose(context);
    }
}

static const char *manifest_of(Arena *arena, const LoopProgram *loops, const Program *program) {
    return program ? codegen_manifest(arena, program, loops) : "";
}

/// Compiles the job's modules in parallel.
static Objects run_job(Job *job) {
    Arena scratch = {0};
    deal_out(job, &scratch);
    size_t used = 0;
    for (size_t i = 0; i < job->loops->kernels.count; i++)
        used = job->module_of[i] > used ? job->module_of[i] : used;
    job->objects.count = 1 + used;
    job->objects.at = calloc(job->objects.count, sizeof *job->objects.at);
    if (!job->objects.at)
        world_error("out of memory");
    LLVMContextDispose(context_new()); // LLVM starts on this thread
    target_prepare(job->options);
    pthread_t thread[THREAD_LIMIT];
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    size_t wanted = cores > THREAD_LIMIT ? THREAD_LIMIT : cores < 1 ? 1 : (size_t)cores;
    size_t started = 0;
    while (started + 1 < wanted && started + 1 < job->objects.count &&
           !pthread_create(&thread[started], NULL, compile_modules, job))
        started++;
    compile_modules(job);
    for (size_t i = 0; i < started; i++)
        pthread_join(thread[i], NULL);
    arena_release(&scratch);
    return job->objects;
}

Objects codegen_objects(const LoopProgram *loops, const Module *module, const Program *program,
                        const CodegenOptions *options) {
    Arena arena = {0};
    Job job = {.loops = loops, .module = module, .options = options};
    job.manifest = manifest_of(&arena, loops, program);
    Objects objects = run_job(&job);
    arena_release(&arena);
    return objects;
}

Objects codegen_library(const LoopProgram *loops, const Module *module, const Library *library,
                        const CodegenOptions *options) {
    Job job = {.loops = loops, .module = module, .library = library, .options = options};
    return run_job(&job);
}

void objects_free(Objects *objects) {
    for (size_t i = 0; i < objects->count; i++)
        free(objects->at[i].bytes);
    free(objects->at);
    *objects = (Objects){0};
}

char *codegen_llvm_text(const LoopProgram *loops, const Module *module, const Program *program,
                        const CodegenOptions *options, bool assembly) {
    Arena arena = {0};
    Emitter em;
    LLVMContextRef context = context_new();
    target_prepare(options);
    Target target = target_new(options, true);
    emitter_open(&em, context, &arena, &target, options);
    for (size_t i = 0; i < loops->kernels.count; i++)
        emit_one_kernel(&em, loops, i, &target);
    emit_program(&em, loops, module, manifest_of(&arena, loops, program), NULL, target.cpu,
                 target.features);
    verify_module(&em);
    run_passes(&em, &target);
    char *text;
    size_t size;
    if (assembly) {
        text = copy_buffer(write_object(&em, &target, LLVMAssemblyFile), &size);
    } else {
        char *printed = LLVMPrintModuleToString(em.module);
        text = strdup(printed);
        LLVMDisposeMessage(printed);
    }
    emitter_close(&em);
    target_release(&target);
    LLVMContextDispose(context);
    arena_release(&arena);
    return text;
}
