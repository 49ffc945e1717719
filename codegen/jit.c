// codegen/jit.c -- object bytes to running code in this process, by LLVM's ORC.
//
// Each program gets a dynamic library of its own inside the JIT, so programs do not see each
// other's names. The functions that generated code may call are defined in it one by one; nothing
// of the process is found by chance.
#include <llvm-c/Core.h>
#include <llvm-c/LLJIT.h>
#include <llvm-c/Orc.h>
#include <llvm-c/Target.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/codegen.h"
#include "support/diag.h"

void GOMP_parallel(void (*worker)(void *), void *data, unsigned threads, unsigned flags);
void GOMP_barrier(void);
int omp_get_thread_num(void);
int omp_get_num_threads(void);

typedef struct JitProgram {
    const KdrtProgram *program;
    LLVMOrcJITDylibRef library;
} JitProgram;

struct Jit {
    Arena *arena;
    LLVMOrcLLJITRef lljit;
    Vec(JitProgram) programs;
    Vec(LLVMOrcJITDylibRef) idle; // libraries that were dropped; cleared, to be used again
    unsigned library_count;
};

typedef struct KnownSymbol {
    const char *name;
    void *address;
} KnownSymbol;

/// What the address of a function is as data: defined by POSIX, not by C.
#define SYMBOL(name) {#name, (void *)(uintptr_t)(name)}

static const KnownSymbol known_symbols[] = {
#define ENTRY(name, signature) SYMBOL(name),
#include "runtime/abi.def"
#undef ENTRY
    SYMBOL(GOMP_parallel),
    SYMBOL(GOMP_barrier),
    SYMBOL(omp_get_thread_num),
    SYMBOL(omp_get_num_threads),
    SYMBOL(memcpy),
    SYMBOL(memset),
    SYMBOL(memmove),
    SYMBOL(fma), // where the processor has no instruction for them
    SYMBOL(fmaf),
    SYMBOL(floor),
    SYMBOL(floorf),
};
enum { KNOWN_COUNT = sizeof known_symbols / sizeof *known_symbols };

/// Takes the error over; NULL if there is none.
static const char *error_text(Arena *arena, LLVMErrorRef error) {
    if (!error)
        return NULL;
    char *text = LLVMGetErrorMessage(error);
    const char *copy = arena_strdup(arena, text);
    LLVMDisposeErrorMessage(text);
    return copy;
}

Jit *jit_new(Arena *arena, const char **message) {
    LLVMInitializeNativeTarget();
    LLVMInitializeNativeAsmPrinter();
    Jit *jit = arena_new(arena, Jit);
    jit->arena = arena;
    *message = error_text(arena, LLVMOrcCreateLLJIT(&jit->lljit, NULL));
    return *message ? NULL : jit;
}

static const char *define_symbols(Jit *jit, LLVMOrcJITDylibRef library) {
    LLVMOrcCSymbolMapPair pairs[KNOWN_COUNT];
    for (size_t i = 0; i < KNOWN_COUNT; i++) {
        pairs[i].Name = LLVMOrcLLJITMangleAndIntern(jit->lljit, known_symbols[i].name);
        pairs[i].Sym.Address = (uint64_t)(uintptr_t)known_symbols[i].address;
        pairs[i].Sym.Flags = (LLVMJITSymbolFlags){
            LLVMJITSymbolGenericFlagsExported | LLVMJITSymbolGenericFlagsCallable, 0};
    }
    LLVMErrorRef error = LLVMOrcJITDylibDefine(library, LLVMOrcAbsoluteSymbols(pairs, KNOWN_COUNT));
    return error_text(jit->arena, error);
}

static LLVMOrcJITDylibRef new_library(Jit *jit, const char **message) {
    LLVMOrcJITDylibRef library;
    if (jit->idle.count) {
        library = vec_last(&jit->idle);
        jit->idle.count--;
    } else {
        char name[32];
        snprintf(name, sizeof name, "program%u", jit->library_count++);
        library = LLVMOrcExecutionSessionCreateBareJITDylib(
            LLVMOrcLLJITGetExecutionSession(jit->lljit), name);
    }
    *message = define_symbols(jit, library);
    return library;
}

typedef struct Lookup {
    Arena *arena;
    uint64_t address;
    const char *message;
} Lookup;

static void on_lookup(LLVMErrorRef error, LLVMOrcCSymbolMapPairs pairs, size_t count, void *data) {
    Lookup *lookup = data;
    lookup->message = error_text(lookup->arena, error);
    if (!lookup->message && count == 1)
        lookup->address = pairs[0].Sym.Address;
}

/// All work of the execution session is done on this thread, so the answer is there on return.
static const KdrtProgram *find_program(Jit *jit, LLVMOrcJITDylibRef library, const char **message) {
    Lookup lookup = {jit->arena, 0, NULL};
    LLVMOrcCJITDylibSearchOrderElement order = {library, LLVMOrcJITDylibLookupFlagsMatchAllSymbols};
    LLVMOrcCLookupSetElement wanted = {LLVMOrcLLJITMangleAndIntern(jit->lljit, "kdrt_program"),
                                       LLVMOrcSymbolLookupFlagsRequiredSymbol};
    LLVMOrcExecutionSessionLookup(LLVMOrcLLJITGetExecutionSession(jit->lljit),
                                  LLVMOrcLookupKindStatic, &order, 1, &wanted, 1, on_lookup,
                                  &lookup);
    *message = lookup.message;
    return (const KdrtProgram *)(uintptr_t)lookup.address;
}

static void drop_library(Jit *jit, LLVMOrcJITDylibRef library) {
    const char *message = error_text(jit->arena, LLVMOrcJITDylibClear(library));
    if (message)
        kdc_bug("ORC: %s", message);
    vec_push(jit->arena, &jit->idle, library);
}

const KdrtProgram *jit_add(Jit *jit, const Objects *objects, const char **message) {
    LLVMOrcJITDylibRef library = new_library(jit, message);
    for (size_t i = 0; !*message && i < objects->count; i++) {
        LLVMMemoryBufferRef copy = LLVMCreateMemoryBufferWithMemoryRangeCopy(
            objects->at[i].bytes, objects->at[i].size, "object");
        *message = error_text(jit->arena, LLVMOrcLLJITAddObjectFile(jit->lljit, library, copy));
    }
    const KdrtProgram *program = *message ? NULL : find_program(jit, library, message);
    if (!program) {
        drop_library(jit, library);
        return NULL;
    }
    vec_push(jit->arena, &jit->programs, (JitProgram){program, library});
    return program;
}

void jit_drop(Jit *jit, const KdrtProgram *program) {
    for (size_t i = 0; i < jit->programs.count; i++) {
        if (jit->programs.at[i].program != program)
            continue;
        drop_library(jit, jit->programs.at[i].library);
        jit->programs.at[i] = vec_last(&jit->programs);
        jit->programs.count--;
        return;
    }
}

void jit_free(Jit *jit) {
    const char *message = error_text(jit->arena, LLVMOrcDisposeLLJIT(jit->lljit));
    if (message)
        kdc_bug("ORC: %s", message);
}
