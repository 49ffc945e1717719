// codegen/emit_target.c -- the processors that kernels are compiled for.
#include <llvm-c/Support.h>
#include <stdatomic.h>
#include <string.h>

#include "codegen/emit.h"
#include "support/diag.h"

// Register files of vectors, in bytes.
enum {
    SSE = 16 * 16,
    AVX = 16 * 32,
    AVX512 = 32 * 64,
    OTHERS = 32 * 16, // NEON
};

static const struct {
    const char *name;
    int64_t register_bytes;
} known[] = {
    {"generic", SSE},
    {"x86-64", SSE},
    {"x86-64-v2", SSE},
    {"x86-64-v3", AVX},
    {"x86-64-v4", AVX512},
    {"nehalem", SSE},
    {"sandybridge", AVX},
    {"ivybridge", AVX},
    {"haswell", AVX},
    {"broadwell", AVX},
    {"skylake", AVX},
    {"skylake-avx512", AVX512},
    {"cascadelake", AVX512},
    {"cooperlake", AVX512},
    {"alderlake", AVX},
    {"icelake-client", AVX512},
    {"icelake-server", AVX512},
    {"sapphirerapids", AVX512},
    {"emeraldrapids", AVX512},
    {"graniterapids", AVX512},
    {"znver1", AVX},
    {"znver2", AVX},
    {"znver3", AVX},
    {"znver4", AVX512},
};
enum { KNOWN = sizeof known / sizeof *known };

static bool is_native(const char *cpu) {
    return !cpu || !strcmp(cpu, "native");
}

/// The row of `known`; KNOWN if there is none.
static size_t row_of(const char *cpu) {
    size_t row = 0;
    while (row < KNOWN && strcmp(cpu, known[row].name) != 0)
        row++;
    return row;
}

bool codegen_target_known(const char *cpu) {
    return is_native(cpu) || row_of(cpu) < KNOWN;
}

int64_t codegen_register_bytes(const char *cpu) {
    if (!is_native(cpu)) {
        size_t row = row_of(cpu);
        return row < KNOWN ? known[row].register_bytes : SSE;
    }
    char *features = LLVMGetHostCPUFeatures();
    int64_t bytes = strstr(features, "+avx512f") ? AVX512
                    : strstr(features, "+avx")   ? AVX
                    : strstr(features, "+sse")   ? SSE
                                                 : OTHERS;
    LLVMDisposeMessage(features);
    return bytes;
}

static bool counts_multiples(const CodegenOptions *options) {
    int64_t bytes = options->register_bytes ? options->register_bytes
                                            : codegen_register_bytes(options->target_cpu);
    return bytes <= AVX;
}

// Tiles that fit 16 registers are long rows of loads and products at constant distances, in which
// loop strength reduction takes 40 % of LLVM's time to find what the emitter knows. The scheduler
// moves their products past fences (T_RELOAD) and spills sums for it.
void target_prepare(const CodegenOptions *options) {
    static atomic_flag prepared = ATOMIC_FLAG_INIT;
    static const char *const few_registers[] = {"kdc", "-disable-lsr", "-enable-misched=false"};
    if (!atomic_flag_test_and_set(&prepared) && counts_multiples(options))
        LLVMParseCommandLineOptions(3, few_registers, NULL);
}

/// A program's graphs are calls and addresses, a few lines for each launch in one long function:
/// instructions and registers well chosen took a sixth of all the time for ResNet-50, a third for
/// twice its depth, and gain nothing.
Target target_new(const CodegenOptions *options, bool kernels) {
    Target target = {.counts_multiples = counts_multiples(options)};
    bool native = is_native(options->target_cpu);
    target.triple = LLVMGetDefaultTargetTriple();
    target.cpu = native ? LLVMGetHostCPUName() : LLVMCreateMessage(options->target_cpu);
    target.features = native ? LLVMGetHostCPUFeatures() : LLVMCreateMessage("");
    LLVMTargetRef description;
    char *message = NULL;
    if (LLVMGetTargetFromTriple(target.triple, &description, &message))
        kdc_bug("LLVM: %s", message);
    static const LLVMCodeGenOptLevel levels[] = {LLVMCodeGenLevelNone, LLVMCodeGenLevelLess,
                                                 LLVMCodeGenLevelDefault, LLVMCodeGenLevelDefault};
    int level = options->level < 0 || !kernels ? 0 : options->level > 3 ? 3 : options->level;
    target.machine =
        LLVMCreateTargetMachine(description, target.triple, target.cpu, target.features,
                                levels[level], LLVMRelocPIC, LLVMCodeModelDefault);
    return target;
}

void target_release(Target *target) {
    LLVMDisposeTargetMachine(target->machine);
    LLVMDisposeMessage(target->features);
    LLVMDisposeMessage(target->cpu);
    LLVMDisposeMessage(target->triple);
}
