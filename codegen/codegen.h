/// Code generation: a planned module in; loops, LLVM IR, an object file or running code out.
///
///   lower.c (one rule per op) ─► LoopProgram ─► emit_llvm.c ─► object bytes ─┬─► link.c: a binary
///                                                                           └─► jit.c: this process
///
/// JIT and native share the object bytes: the JIT adds the object that the linker would get. Only
/// emit_llvm.c speaks LLVM, only jit.c ORC. Who decided what is computed together and where values
/// lie (Graph.kernels, Graph.buffer) is not known here.
#ifndef KDC_CODEGEN_CODEGEN_H
#define KDC_CODEGEN_CODEGEN_H

#include "codegen/loops.h"
#include "ir/program.h"
#include "runtime/kdrt.h"

typedef struct CodegenOptions {
    int level;              // -O0 ... -O3
    const char *target_cpu; // "native", "x86-64-v3", ...; NULL: native
    bool strip_flags;       // tests: emit without noalias, nsw and the like; must give the same bits
} CodegenOptions;

/// Lowers every kernel of every graph. Requires `fuse` and `plan_memory`.
LoopProgram *codegen_lower(Arena *arena, const Module *module, const CodegenOptions *options);

/// The manifest of docs/manifest.md as JSON text.
char *codegen_manifest(Arena *arena, const Program *program, const LoopProgram *loops);

typedef struct ObjectBytes {
    char *bytes; // malloc'ed; free with object_free()
    size_t size;
} ObjectBytes;

/// One relocatable object that defines `kdrt_program`. With `program` NULL (tests, REPL) the manifest is
/// empty and only the graph table is of use. LLVM's failures end in kdc_bug() with the kernel's name.
ObjectBytes codegen_object(const LoopProgram *loops, const Module *module, const Program *program,
                           const CodegenOptions *options);
void object_free(ObjectBytes *object);
/// Text of LLVM IR, or assembly, for --emit=llvm and --emit=asm; malloc'ed.
char *codegen_llvm_text(const LoopProgram *loops, const Module *module, const Program *program,
                        const CodegenOptions *options, bool assembly);

/// Adds the object to this process and returns its kdrt_program; NULL with a message on failure.
typedef struct Jit Jit;
Jit *jit_new(const char **message);
const KdrtProgram *jit_add_object(Jit *jit, const ObjectBytes *object, const char **message);
void jit_free(Jit *jit);

/// Links object and libkdrt.a (found beside the running kdc) to an executable with the system's `cc` or
/// ld.lld, by posix_spawn. Returns false with a message.
bool link_executable(const ObjectBytes *object, const char *output, bool fully_static, Arena *arena,
                     const char **message);

#endif
