/// Code generation: a planned module in; loops, LLVM IR, an object file or running code out.
///
///     lower.c ─► LoopProgram ─► emit_*.c ─► object bytes ─┬─► link.c: a binary
///     one rule per op                                      └─► jit.c: this process
///
/// JIT and native share the object bytes: the JIT adds the objects that the linker would get. Only
/// emit_*.c speak LLVM, only jit.c ORC. Who decided what is computed together and where values
/// lie (Graph.kernels, Graph.buffer) is not known here.
#ifndef KDC_CODEGEN_CODEGEN_H
#define KDC_CODEGEN_CODEGEN_H

#include "codegen/loops.h"
#include "ir/program.h"
#include "runtime/kdrt.h"

typedef struct CodegenOptions {
    int level;              // -O0 ... -O3
    const char *target_cpu; // "native", "x86-64-v3", ...; NULL: native
    bool count_products; // the code counts its multiply-adds: see LoopProgram.counts
    const SourceSet *profile; // the code takes the time: see LoopProgram.profile; may be NULL
    bool unchained;   // launches one after the other, in no chains (codegen/chain.h)
    bool strip_flags; // tests: emit without noalias, nsw and the like; must give the same bits
    int64_t register_bytes; // tests: that schedules reckon with, 0: the processor's; the same bits
} CodegenOptions;

/// Lowers every kernel of every graph. Requires `fuse` and `plan_memory`.
LoopProgram *codegen_lower(Arena *arena, const Module *module, const CodegenOptions *options);

/// The manifest of docs/manifest.md as JSON text.
char *codegen_manifest(Arena *arena, const Program *program, const LoopProgram *loops);

typedef struct ObjectBytes {
    char *bytes; // malloc'ed
    size_t size;
} ObjectBytes;

/// The relocatable objects of one program: the first defines `kdrt_program`, the others its
/// kernels. Kernels are dealt out by their size alone, so equal programs give equal bytes on any
/// machine.
typedef struct Objects {
    ObjectBytes *at; // malloc'ed
    size_t count;
} Objects;

/// Compiles in parallel. With `program` NULL (tests, REPL) the manifest is empty and only the graph
/// table is of use; `module` may be NULL too (its real type is then f32). LLVM's failures end in
/// kdc_bug().
Objects codegen_objects(const LoopProgram *loops, const Module *module, const Program *program,
                        const CodegenOptions *options);
void objects_free(Objects *objects);

/// A deployed function on its way to a library.
typedef struct Library {
    const Deployment *deployment;
    const Program *program; // whose options it may have
    const char *prefix;     // of all that it exports: a name of C
    const void *weights;    // what its graphs read, storages and prologue alike, at their offsets
    size_t weights_bytes;
} Library;

/// Lowers nothing but the segments: `module` holds their graphs, and no prologue.
Objects codegen_library(const LoopProgram *loops, const Module *module, const Library *library,
                        const CodegenOptions *options);
/// The C header of a library; `file` is its base name, "student.h".
char *codegen_library_header(Arena *arena, const Library *library, const Module *module,
                             const char *file);
/// Where its functions stand for `name` in C: dots become underscores.
const char *library_prefix(Arena *arena, const char *name);

/// Text of LLVM IR (after the passes), or assembly, for --emit=llvm and --emit=asm; malloc'ed.
char *codegen_llvm_text(const LoopProgram *loops, const Module *module, const Program *program,
                        const CodegenOptions *options, bool assembly);
/// Whether this is a processor to compile for: one of the list there, or "native". What LLVM does
/// not know it would compile for wrongly, after a warning of its own.
bool codegen_target_known(const char *cpu);
/// Bytes of its vector registers together: 2048 with AVX-512, 512 with AVX and AVX2, 256 with SSE.
/// Schedules keep as many sums as fit; results are the same for any number.
int64_t codegen_register_bytes(const char *cpu);

/// Running code. Each program that is added lives in a name space of its own and finds nothing but
/// the entries of runtime/abi.def.
typedef struct Jit Jit;
Jit *jit_new(Arena *arena, const char **message);
/// Adds the objects to this process and returns their kdrt_program; NULL with a message on failure.
const KdrtProgram *jit_add(Jit *jit, const Objects *objects, const char **message);
/// Gives the memory of a program back.
void jit_drop(Jit *jit, const KdrtProgram *program);
void jit_free(Jit *jit);

/// Links objects and libkdrt.a to an executable with the system's C compiler, by posix_spawn.
/// libkdrt.a is $KDC_RUNTIME, or lies beside the running kdc, or in ../lib/kdc. Returns false with
/// a message. `reads_images`: with the readers of PNG and JPEG files.
bool link_executable(const Objects *objects, const char *output, bool fully_static,
                     bool reads_images, Arena *arena, const char **message);
/// Makes a shared library, or with `archive` a static one, of a deployed function: with the part of
/// libkdrt.a that it needs, and without a name to be seen but those it exports.
bool link_library(const Objects *objects, const char *output, bool archive, Arena *arena,
                  const char **message);
/// Joins the objects to one relocatable file, for --emit=obj.
bool link_relocatable(const Objects *objects, const char *output, Arena *arena,
                      const char **message);

#endif
