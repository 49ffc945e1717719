// codegen/emit_program.c -- graph functions, their table and the manifest: what a program is to
// kdrt.
//
// A graph function opens one parallel region. In it each thread walks through the launches, a
// barrier behind each but the last. Of the n iterations of a launch it has the share
// [tid * n / threads, (tid + 1) * n / threads), which it takes range by range; with its own done it
// takes ranges of the others' shares, so that a thread whose core is slow, or is given to other
// work for a while, is not waited for. Of a chain of launches (chain.h) parts are shared like that,
// and a thread walks through all launches for each of them. With LoopProgram.profile there is a
// barrier behind the last launch too, and behind each the first thread notes the time.
//
// Ranges are taken by counting: each thread has a counter of those taken of its share, in memory of
// the graph function's, one for launches behind an even number of barriers and one for the others:
// while one is in use its owner sets the other to zero.
#include "codegen/chain.h"
#include "codegen/emit.h"

#include <stddef.h>
#include <string.h>

#include "support/diag.h"

typedef struct ProgramEmitter {
    Emitter *em;
    const LoopProgram *loops;
    ScalarType real;
    const char *cpu, *features;
    LLVMLinkage graph_linkage;
    LLVMValueRef stamps; // KdrtProgram.stamp; NULL: the code takes no time
    LLVMValueRef lap;    // when the first thread's last launch in a chain was done
    LLVMValueRef take, pass; // kdc_take(), kdc_pass()
    // of the worker at work
    LLVMValueRef frame, thread, threads, scratch;
    LLVMValueRef space[SPACE_OUTPUT + 1]; // where each begins
    LLVMValueRef taking;                  // its Taking
    LLVMValueRef ahead, nothing; // tables of what launches are to ask for: emit_ahead.c
} ProgramEmitter;

enum {
    RANGES = 8,              // of a share
    COUNTS = 2 * CACHE_LINE, // bytes of a thread's counters, and what they are aligned to
};

static LLVMTypeRef pointer_type(const Emitter *em) {
    return LLVMPointerTypeInContext(em->context, 0);
}

static LLVMTypeRef i64_type(const Emitter *em) {
    return LLVMInt64TypeInContext(em->context);
}

static LLVMValueRef bytes_after(Emitter *em, LLVMValueRef pointer, int64_t bytes) {
    LLVMValueRef offset = emit_int(em, bytes);
    return LLVMBuildGEP2(em->builder, LLVMInt8TypeInContext(em->context), pointer, &offset, 1, "");
}

static LLVMValueRef frame_field(ProgramEmitter *p, LLVMTypeRef type, size_t offset) {
    LLVMValueRef pointer = bytes_after(p->em, p->frame, (int64_t)offset);
    return LLVMBuildLoad2(p->em->builder, type, pointer, "");
}

/// Loads what buffers are found by: once, since each launch has several.
static void load_spaces(ProgramEmitter *p) {
    static const struct {
        BufferSpace space;
        size_t field;
    } known[] = {{SPACE_STORAGE, offsetof(KdrtFrame, storage)},
                 {SPACE_PHASE, offsetof(KdrtFrame, phase)},
                 {SPACE_STEP, offsetof(KdrtFrame, step)},
                 {SPACE_OUTPUT, offsetof(KdrtFrame, output)},
                 {SPACE_SCALAR, offsetof(KdrtFrame, scalar)},
                 {SPACE_INPUT, offsetof(KdrtFrame, input)}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        p->space[known[i].space] = frame_field(p, pointer_type(p->em), known[i].field);
}

static LLVMValueRef argument_pointer(ProgramEmitter *p, const Buffer *buffer) {
    Emitter *em = p->em;
    int64_t offset = buffer->offset_bytes;
    if (buffer->space == SPACE_NONE)
        kdc_bug("a launch with an argument that is nowhere");
    if (buffer->space == SPACE_SCALAR)
        offset = (int64_t)(buffer->index * scalar_size_bytes(p->real));
    if (buffer->space == SPACE_INPUT)
        offset = (int64_t)(buffer->index * sizeof(void *));
    LLVMValueRef place = bytes_after(em, p->space[buffer->space], offset);
    return buffer->space == SPACE_INPUT
               ? LLVMBuildLoad2(em->builder, pointer_type(em), place, "")
               : place;
}

static LLVMValueRef declare_kernel(ProgramEmitter *p, uint32_t index) {
    Emitter *em = p->em;
    const LoopKernel *kernel = p->loops->kernels.at[index];
    const char *symbol = emit_kernel_symbol(em->arena, kernel, index);
    LLVMValueRef function = LLVMGetNamedFunction(em->module, symbol);
    if (!function)
        function = LLVMAddFunction(em->module, symbol, emit_kernel_type(em, kernel));
    LLVMSetVisibility(function, LLVMHiddenVisibility);
    return function;
}

static void check_launch(const LoopProgram *loops, const Launch *launch) {
    const LoopKernel *kernel = loops->kernels.at[launch->kernel];
    uint32_t wanted = 0;
    for (size_t i = 0; i < kernel->buffers.count; i++)
        wanted += kernel->buffers.at[i].role != BUFFER_SCRATCH;
    if (wanted != launch->argument_count || kernel->extent_count != launch->extent_count)
        kdc_bug("kernel %s is launched with %u buffers and %u extents instead of %u and %u",
                kernel->name, launch->argument_count, launch->extent_count, wanted,
                kernel->extent_count);
}

/// Where an argument would begin of which this part lies in the thread's scratch.
static LLVMValueRef scratch_pointer(ProgramEmitter *p, const Launch *launch, uint32_t argument,
                                    LLVMValueRef part) {
    Emitter *em = p->em;
    int64_t part_bytes = launch->argument[argument].size_bytes / launch->parts;
    LLVMValueRef place = emit_int(em, p->loops->chain_offset + launch->scratch[argument]);
    LLVMValueRef before = LLVMBuildMul(em->builder, part, emit_int(em, part_bytes), "");
    LLVMValueRef begin = LLVMBuildSub(em->builder, place, before, "");
    LLVMTypeRef i8 = LLVMInt8TypeInContext(em->context);
    return LLVMBuildGEP2(em->builder, i8, p->scratch, &begin, 1, "");
}

/// `part`: of a chain, or NULL.
static void emit_kernel_call(ProgramEmitter *p, const Launch *launch, LLVMValueRef lo,
                             LLVMValueRef hi, LLVMValueRef part) {
    Emitter *em = p->em;
    LLVMValueRef *argument =
        arena_array(em->arena, LLVMValueRef, launch->argument_count + launch->extent_count + 6);
    unsigned count = 0;
    argument[count++] = p->frame;
    for (uint32_t i = 0; i < launch->argument_count; i++) {
        bool in_scratch = part && launch->scratch && launch->scratch[i] >= 0;
        argument[count++] = in_scratch ? scratch_pointer(p, launch, i, part)
                                       : argument_pointer(p, &launch->argument[i]);
    }
    for (uint32_t i = 0; i < launch->extent_count; i++)
        argument[count++] = emit_int(em, launch->extent[i]);
    argument[count++] = lo;
    argument[count++] = hi;
    argument[count++] = p->thread;
    argument[count++] = p->scratch;
    const LoopKernel *kernel = p->loops->kernels.at[launch->kernel];
    if (kernel->asks)
        argument[count++] = part && launch->ahead_count ? p->ahead : p->nothing;
    LLVMTypeRef type = emit_kernel_type(em, kernel);
    LLVMBuildCall2(em->builder, type, declare_kernel(p, launch->kernel), argument, count, "");
}

/// What the kernel counted moves to its launch's place.
static void keep_count(ProgramEmitter *p, size_t launch) {
    Emitter *em = p->em;
    int64_t offset = p->loops->count_offset;
    LLVMValueRef from = bytes_after(em, p->scratch, offset);
    LLVMValueRef to = bytes_after(em, p->scratch, offset + 8 * (1 + (int64_t)launch));
    LLVMValueRef more = LLVMBuildLoad2(em->builder, i64_type(em), from, "");
    LLVMValueRef old = LLVMBuildLoad2(em->builder, i64_type(em), to, "");
    LLVMBuildStore(em->builder, LLVMBuildAdd(em->builder, old, more, ""), to);
    LLVMBuildStore(em->builder, emit_int(em, 0), from);
}

static LLVMValueRef call_entry(Emitter *em, const char *name, LLVMValueRef *argument,
                               unsigned count) {
    LLVMTypeRef type;
    LLVMValueRef entry = emit_entry(em, name, &type);
    return LLVMBuildCall2(em->builder, type, entry, argument, count, "");
}

static void emit_call(ProgramEmitter *p, const Launch *launch, size_t index, LLVMValueRef lo,
                      LLVMValueRef hi, LLVMValueRef part) {
    check_launch(p->loops, launch);
    emit_kernel_call(p, launch, lo, hi, part);
    if (p->loops->counts)
        keep_count(p, index);
}

/// Begins what only the first thread does and returns the block behind it.
static LLVMBasicBlockRef open_first(ProgramEmitter *p) {
    Emitter *em = p->em;
    LLVMValueRef first = LLVMBuildICmp(em->builder, LLVMIntEQ, p->thread, emit_int(em, 0), "");
    LLVMBasicBlockRef stamp = emit_block(em, "stamp"), next = emit_block(em, "next");
    LLVMBuildCondBr(em->builder, first, stamp, next);
    LLVMPositionBuilderAtEnd(em->builder, stamp);
    return next;
}

static void close_first(ProgramEmitter *p, LLVMBasicBlockRef next) {
    LLVMBuildBr(p->em->builder, next);
    LLVMPositionBuilderAtEnd(p->em->builder, next);
}

static LLVMValueRef stamp_place(ProgramEmitter *p, size_t index) {
    return bytes_after(p->em, p->stamps, 8 * (int64_t)index);
}

static LLVMValueRef load_time(ProgramEmitter *p, LLVMValueRef place) {
    return LLVMBuildLoad2(p->em->builder, i64_type(p->em), place, "");
}

/// The first thread notes the time in stamp[index].
static void emit_stamp(ProgramEmitter *p, size_t index) {
    if (!p->stamps)
        return;
    LLVMBasicBlockRef next = open_first(p);
    LLVMValueRef now = call_entry(p->em, "kdrt_clock", &p->threads, 1);
    LLVMBuildStore(p->em->builder, now, stamp_place(p, index));
    close_first(p, next);
}

/// stamp[index + 1 + i] is to be what launch i of the chain that begins has taken so far.
static void emit_laps_begin(ProgramEmitter *p, size_t index, size_t count) {
    if (!p->stamps)
        return;
    LLVMBasicBlockRef next = open_first(p);
    LLVMBuildStore(p->em->builder, load_time(p, stamp_place(p, index)), p->lap);
    for (size_t i = 0; i < count; i++)
        LLVMBuildStore(p->em->builder, emit_int(p->em, 0), stamp_place(p, index + 1 + i));
    close_first(p, next);
}

static void emit_lap(ProgramEmitter *p, size_t index) {
    if (!p->stamps)
        return;
    LLVMBuilderRef builder = p->em->builder;
    LLVMBasicBlockRef next = open_first(p);
    LLVMValueRef now = call_entry(p->em, "kdrt_clock", &p->threads, 1);
    LLVMValueRef taken = LLVMBuildSub(builder, now, load_time(p, p->lap), "");
    LLVMValueRef sum = load_time(p, stamp_place(p, index + 1));
    LLVMBuildStore(builder, LLVMBuildAdd(builder, sum, taken, ""), stamp_place(p, index + 1));
    LLVMBuildStore(builder, now, p->lap);
    close_first(p, next);
}

/// As if the launches had run one after the other.
static void emit_laps_end(ProgramEmitter *p, size_t index, size_t count) {
    if (!p->stamps)
        return;
    LLVMBuilderRef builder = p->em->builder;
    LLVMBasicBlockRef next = open_first(p);
    LLVMValueRef time = load_time(p, stamp_place(p, index));
    for (size_t i = 0; i < count; i++) {
        time = LLVMBuildAdd(builder, time, load_time(p, stamp_place(p, index + 1 + i)), "");
        LLVMBuildStore(builder, time, stamp_place(p, index + 1 + i));
    }
    close_first(p, next);
}

/// Writes down what the launch is to ask for in this part; nothing of parts from `last` on, which
/// other threads begin with.
static void fill_ahead(ProgramEmitter *p, const Launch *launch, LLVMValueRef part,
                       LLVMValueRef last) {
    Emitter *em = p->em;
    LLVMBuilderRef builder = em->builder;
    LLVMValueRef begin[AHEAD_MOST], bytes[AHEAD_MOST];
    for (uint32_t i = 0; i < launch->ahead_count; i++) {
        const Ahead *ahead = &launch->ahead[i];
        LLVMValueRef part_bytes = emit_int(em, ahead->buffer->size_bytes / launch->parts);
        LLVMValueRef of = part;
        bytes[i] = emit_int(em, ahead->bytes);
        if (ahead->next_part) {
            of = LLVMBuildAdd(builder, part, emit_int(em, 1), "");
            LLVMValueRef ours = LLVMBuildICmp(builder, LLVMIntULT, of, last, "");
            bytes[i] = LLVMBuildSelect(builder, ours, bytes[i], emit_int(em, 0), "");
        }
        LLVMValueRef offset = LLVMBuildMul(builder, of, part_bytes, "");
        offset = LLVMBuildAdd(builder, offset, emit_int(em, ahead->offset), "");
        begin[i] = LLVMBuildGEP2(builder, LLVMInt8TypeInContext(em->context),
                                 argument_pointer(p, ahead->buffer), &offset, 1, "");
    }
    if (launch->ahead_count)
        emit_ahead_fill(em, p->ahead, begin, bytes, launch->ahead_count);
}

static LLVMValueRef new_function(ProgramEmitter *p, const char *name, LLVMLinkage linkage) {
    Emitter *em = p->em;
    LLVMTypeRef pointer = pointer_type(em);
    LLVMTypeRef type = LLVMFunctionType(LLVMVoidTypeInContext(em->context), &pointer, 1, false);
    LLVMValueRef function = LLVMAddFunction(em->module, name, type);
    LLVMSetLinkage(function, linkage);
    emit_function_attributes(em, function, p->cpu, p->features);
    em->function = function;
    LLVMPositionBuilderAtEnd(em->builder, emit_block(em, "entry"));
    return function;
}

/// What a thread takes its ranges by; kdc_take() sets the last three.
typedef struct Taking {
    int64_t thread, threads;
    void *counters;     // those in use behind this number of barriers: thread's are COUNTS further
    int64_t iterations; // of the launch; or a chain's parts
    int64_t seen;       // shares with nothing left
    int64_t lo, hi;     // the range
    int64_t last;       // where the share ends that it is of
} Taking;

static LLVMValueRef taking_place(ProgramEmitter *p, size_t offset) {
    return bytes_after(p->em, p->taking, (int64_t)offset);
}

static LLVMValueRef taking_field(ProgramEmitter *p, size_t offset) {
    return LLVMBuildLoad2(p->em->builder, i64_type(p->em), taking_place(p, offset), "");
}

static void set_taking(ProgramEmitter *p, size_t offset, LLVMValueRef value) {
    LLVMBuildStore(p->em->builder, value, taking_place(p, offset));
}

/// thread * iterations / threads
static LLVMValueRef share(ProgramEmitter *p, LLVMValueRef thread) {
    LLVMBuilderRef builder = p->em->builder;
    LLVMValueRef iterations = taking_field(p, offsetof(Taking, iterations));
    LLVMValueRef product = LLVMBuildMul(builder, thread, iterations, "");
    return LLVMBuildUDiv(builder, product, taking_field(p, offsetof(Taking, threads)), "");
}

static LLVMValueRef smaller(Emitter *em, LLVMValueRef a, LLVMValueRef b) {
    return LLVMBuildSelect(em->builder, LLVMBuildICmp(em->builder, LLVMIntULT, a, b, ""), a, b, "");
}

/// A share's ranges but for the last: as long as a RANGES-th of it, rounded up; all of it where
/// there is nobody to share with.
static LLVMValueRef range_length(ProgramEmitter *p, LLVMValueRef first, LLVMValueRef last) {
    Emitter *em = p->em;
    LLVMBuilderRef builder = em->builder;
    LLVMValueRef threads = taking_field(p, offsetof(Taking, threads));
    LLVMValueRef all = LLVMBuildSub(builder, last, first, "");
    LLVMValueRef up = LLVMBuildAdd(builder, all, emit_int(em, RANGES - 1), "");
    LLVMValueRef length = LLVMBuildUDiv(builder, up, emit_int(em, RANGES), "");
    LLVMValueRef alone = LLVMBuildICmp(builder, LLVMIntEQ, threads, emit_int(em, 1), "");
    return LLVMBuildSelect(builder, alone, all, length, "");
}

/// The thread whose share is next: `seen` further than this one, around.
static LLVMValueRef owner_of_share(ProgramEmitter *p) {
    LLVMBuilderRef builder = p->em->builder;
    LLVMValueRef threads = taking_field(p, offsetof(Taking, threads));
    LLVMValueRef owner = LLVMBuildAdd(builder, taking_field(p, offsetof(Taking, thread)),
                                      taking_field(p, offsetof(Taking, seen)), "");
    LLVMValueRef around = LLVMBuildICmp(builder, LLVMIntUGE, owner, threads, "");
    LLVMValueRef less = LLVMBuildSub(builder, owner, threads, "");
    return LLVMBuildSelect(builder, around, less, owner, "owner");
}

/// kdc_take(Taking *): whether there is another range, which is then this thread's.
static void emit_take(ProgramEmitter *p) {
    Emitter *em = p->em;
    LLVMBuilderRef builder = em->builder;
    LLVMTypeRef i1 = LLVMInt1TypeInContext(em->context), pointer = pointer_type(em);
    LLVMTypeRef type = LLVMFunctionType(i1, &pointer, 1, false);
    p->take = LLVMAddFunction(em->module, "kdc_take", type);
    LLVMSetLinkage(p->take, LLVMInternalLinkage);
    emit_function_attributes(em, p->take, p->cpu, p->features);
    em->function = p->take;
    p->taking = LLVMGetParam(p->take, 0);
    LLVMBasicBlockRef entry = emit_block(em, "entry"), of = emit_block(em, "share");
    LLVMBasicBlockRef some = emit_block(em, "some"), none = emit_block(em, "none");
    LLVMBasicBlockRef all = emit_block(em, "all");
    LLVMPositionBuilderAtEnd(builder, entry);
    LLVMBuildBr(builder, of);

    LLVMPositionBuilderAtEnd(builder, of);
    LLVMValueRef one = emit_int(em, 1), owner = owner_of_share(p);
    LLVMValueRef first = share(p, owner);
    LLVMValueRef last = share(p, LLVMBuildAdd(builder, owner, one, ""));
    LLVMValueRef length = range_length(p, first, last);
    LLVMValueRef counters =
        LLVMBuildLoad2(builder, pointer, taking_place(p, offsetof(Taking, counters)), "");
    LLVMValueRef offset = LLVMBuildMul(builder, owner, emit_int(em, COUNTS), "");
    LLVMValueRef counter =
        LLVMBuildGEP2(builder, LLVMInt8TypeInContext(em->context), counters, &offset, 1, "");
    LLVMValueRef taken = LLVMBuildAtomicRMW(builder, LLVMAtomicRMWBinOpAdd, counter, one,
                                            LLVMAtomicOrderingMonotonic, false);
    LLVMValueRef lo = LLVMBuildAdd(builder, first, LLVMBuildMul(builder, taken, length, ""), "");
    LLVMBuildCondBr(builder, LLVMBuildICmp(builder, LLVMIntULT, lo, last, ""), some, none);

    LLVMPositionBuilderAtEnd(builder, some);
    set_taking(p, offsetof(Taking, lo), lo);
    set_taking(p, offsetof(Taking, hi), smaller(em, LLVMBuildAdd(builder, lo, length, ""), last));
    set_taking(p, offsetof(Taking, last), last);
    LLVMBuildRet(builder, LLVMConstInt(i1, 1, false));

    LLVMPositionBuilderAtEnd(builder, none);
    LLVMValueRef seen = LLVMBuildAdd(builder, taking_field(p, offsetof(Taking, seen)), one, "");
    set_taking(p, offsetof(Taking, seen), seen);
    LLVMValueRef threads = taking_field(p, offsetof(Taking, threads));
    LLVMBuildCondBr(builder, LLVMBuildICmp(builder, LLVMIntULT, seen, threads, ""), of, all);

    LLVMPositionBuilderAtEnd(builder, all);
    LLVMBuildRet(builder, LLVMConstInt(i1, 0, false));
}

/// A loop over the ranges that this thread takes: the builder is in its body.
typedef struct Ranges {
    LLVMBasicBlockRef next, end;
} Ranges;

static Ranges open_ranges(ProgramEmitter *p, int64_t iterations) {
    Emitter *em = p->em;
    LLVMBuilderRef builder = em->builder;
    LLVMBasicBlockRef body = emit_block(em, "range");
    Ranges ranges = {.next = emit_block(em, "take"), .end = emit_block(em, "taken")};
    set_taking(p, offsetof(Taking, iterations), emit_int(em, iterations));
    set_taking(p, offsetof(Taking, seen), emit_int(em, 0));
    LLVMBuildBr(builder, ranges.next);
    LLVMPositionBuilderAtEnd(builder, ranges.next);
    LLVMTypeRef type = LLVMGlobalGetValueType(p->take);
    LLVMValueRef some = LLVMBuildCall2(builder, type, p->take, &p->taking, 1, "");
    LLVMBuildCondBr(builder, some, body, ranges.end);
    LLVMPositionBuilderAtEnd(builder, body);
    return ranges;
}

static void close_ranges(ProgramEmitter *p, const Ranges *ranges) {
    LLVMBuildBr(p->em->builder, ranges->next);
    LLVMPositionBuilderAtEnd(p->em->builder, ranges->end);
}

/// kdc_pass(Taking *): a barrier, before which all threads have done what they had to. Their other
/// counters are in use behind it.
static void emit_pass(ProgramEmitter *p) {
    Emitter *em = p->em;
    LLVMBuilderRef builder = em->builder;
    p->pass = new_function(p, "kdc_pass", LLVMInternalLinkage);
    p->taking = LLVMGetParam(p->pass, 0);
    LLVMTypeRef i64 = i64_type(em);
    LLVMValueRef place = taking_place(p, offsetof(Taking, counters));
    LLVMValueRef address = LLVMBuildLoad2(builder, i64, place, "");
    LLVMValueRef other = LLVMBuildXor(builder, address, emit_int(em, CACHE_LINE), "");
    LLVMBuildStore(builder, other, place);
    LLVMValueRef thread = taking_field(p, offsetof(Taking, thread));
    LLVMValueRef offset = LLVMBuildMul(builder, thread, emit_int(em, COUNTS), "");
    LLVMValueRef ours = LLVMBuildAdd(builder, other, offset, "");
    ours = LLVMBuildIntToPtr(builder, ours, pointer_type(em), "");
    LLVMBuildStore(builder, emit_int(em, 0), ours);
    call_entry(em, "GOMP_barrier", NULL, 0);
    LLVMBuildRetVoid(builder);
}

static void emit_barrier(ProgramEmitter *p) {
    LLVMTypeRef type = LLVMGlobalGetValueType(p->pass);
    LLVMBuildCall2(p->em->builder, type, p->pass, &p->taking, 1, "");
}

/// The launches [index, index + count) part by part.
static void emit_parts(ProgramEmitter *p, const Launch *launch, size_t index, size_t count) {
    Emitter *em = p->em;
    LLVMBuilderRef builder = em->builder;
    int64_t parts = launch->parts;
    Ranges ranges = open_ranges(p, parts);
    LLVMValueRef lo = taking_field(p, offsetof(Taking, lo));
    LLVMBasicBlockRef before = LLVMGetInsertBlock(builder);
    LLVMBasicBlockRef body = emit_block(em, "chain"), end = emit_block(em, "next");
    LLVMBuildBr(builder, body);
    LLVMPositionBuilderAtEnd(builder, body);
    LLVMValueRef part = LLVMBuildPhi(builder, i64_type(em), "part");
    LLVMValueRef last = taking_field(p, offsetof(Taking, last));
    for (size_t i = 0; i < count; i++) {
        fill_ahead(p, &launch[i], part, last);
        LLVMValueRef step = emit_int(em, launch[i].iterations / parts);
        LLVMValueRef begin = LLVMBuildMul(builder, part, step, "");
        LLVMValueRef behind = LLVMBuildAdd(builder, begin, step, "");
        emit_call(p, &launch[i], index + i, begin, behind, part);
        emit_lap(p, index + i);
    }
    LLVMBasicBlockRef done = LLVMGetInsertBlock(builder);
    LLVMValueRef following = LLVMBuildAdd(builder, part, emit_int(em, 1), "");
    LLVMValueRef more = LLVMBuildICmp(builder, LLVMIntULT, following,
                                      taking_field(p, offsetof(Taking, hi)), "");
    LLVMBuildCondBr(builder, more, body, end);
    LLVMAddIncoming(part, (LLVMValueRef[]){lo, following},
                    (LLVMBasicBlockRef[]){before, done}, 2);
    LLVMPositionBuilderAtEnd(builder, end);
    close_ranges(p, &ranges);
}

/// What launches have streamed is seen by others behind the barrier that follows.
static void emit_fence(ProgramEmitter *p, const Launch *launch, size_t count) {
    bool streams = false;
    for (size_t i = 0; i < count; i++)
        streams |= p->loops->kernels.at[launch[i].kernel]->streams;
    if (streams)
        LLVMBuildFence(p->em->builder, LLVMAtomicOrderingSequentiallyConsistent, false, "");
}

/// What has one iteration is the first thread's.
static void emit_single(ProgramEmitter *p, const Launch *launch, size_t index) {
    LLVMBasicBlockRef next = open_first(p);
    emit_call(p, launch, index, emit_int(p->em, 0), emit_int(p->em, 1), NULL);
    close_first(p, next);
}

static void emit_launch(ProgramEmitter *p, const Launch *launch, size_t index) {
    if (launch->iterations == 1) {
        emit_single(p, launch, index);
        return;
    }
    Ranges ranges = open_ranges(p, launch->iterations);
    LLVMValueRef lo = taking_field(p, offsetof(Taking, lo));
    emit_call(p, launch, index, lo, taking_field(p, offsetof(Taking, hi)), NULL);
    close_ranges(p, &ranges);
}

/// A chain; one launch after the other where there are more threads than parts.
static void emit_chain(ProgramEmitter *p, const Launch *launch, size_t index, size_t count) {
    Emitter *em = p->em;
    LLVMBasicBlockRef single = emit_block(em, "single"), parts = emit_block(em, "parts");
    LLVMBasicBlockRef done = emit_block(em, "done");
    LLVMValueRef few = LLVMBuildICmp(em->builder, LLVMIntULE, p->threads,
                                     emit_int(em, launch->parts), "");
    LLVMBuildCondBr(em->builder, few, parts, single);
    LLVMPositionBuilderAtEnd(em->builder, parts);
    emit_laps_begin(p, index, count);
    emit_parts(p, launch, index, count);
    emit_laps_end(p, index, count);
    LLVMBuildBr(em->builder, done);
    LLVMPositionBuilderAtEnd(em->builder, single);
    for (size_t i = 0; i < count; i++) {
        emit_launch(p, &launch[i], index + i);
        if (i + 1 == count)
            continue;
        emit_fence(p, &launch[i], 1);
        emit_barrier(p);
        emit_stamp(p, index + i + 1);
    }
    LLVMBuildBr(em->builder, done);
    LLVMPositionBuilderAtEnd(em->builder, done);
}

static LLVMValueRef emit_worker(ProgramEmitter *p, const LoopGraph *graph, size_t index) {
    Emitter *em = p->em;
    LLVMValueRef worker =
        new_function(p, arena_printf(em->arena, "worker_%zu", index), LLVMInternalLinkage);
    LLVMValueRef region = LLVMGetParam(worker, 0);
    p->frame = LLVMBuildLoad2(em->builder, pointer_type(em), region, "frame");
    load_spaces(p);
    LLVMValueRef thread = call_entry(em, "omp_get_thread_num", NULL, 0);
    LLVMValueRef threads = call_entry(em, "omp_get_num_threads", NULL, 0);
    p->thread = LLVMBuildZExt(em->builder, thread, i64_type(em), "");
    p->threads = LLVMBuildZExt(em->builder, threads, i64_type(em), "");
    LLVMValueRef scratch = frame_field(p, pointer_type(em), offsetof(KdrtFrame, thread));
    LLVMValueRef offset =
        LLVMBuildMul(em->builder, p->thread, emit_int(em, p->loops->thread_bytes), "");
    p->scratch =
        LLVMBuildGEP2(em->builder, LLVMInt8TypeInContext(em->context), scratch, &offset, 1, "");
    p->ahead = LLVMBuildAlloca(em->builder, emit_ahead_type(em), "ahead");
    LLVMTypeRef taking = LLVMArrayType2(LLVMInt8TypeInContext(em->context), sizeof(Taking));
    p->taking = LLVMBuildAlloca(em->builder, taking, "taking");
    LLVMSetAlignment(p->taking, sizeof(int64_t));
    set_taking(p, offsetof(Taking, thread), p->thread);
    set_taking(p, offsetof(Taking, threads), p->threads);
    set_taking(p, offsetof(Taking, counters), bytes_after(em, region, COUNTS));
    p->nothing = LLVMBuildAlloca(em->builder, emit_ahead_type(em), "nothing");
    emit_ahead_fill(em, p->nothing, NULL, NULL, 0);
    emit_stamp(p, 0);
    for (size_t i = 0, count; i < graph->launches.count; i += count) {
        const Launch *launch = &graph->launches.at[i];
        count = chain_length(graph, i);
        if (count > 1)
            emit_chain(p, launch, i, count);
        else
            emit_launch(p, launch, i);
        emit_fence(p, launch, count);
        if (i + count < graph->launches.count || p->stamps)
            emit_barrier(p);
        emit_stamp(p, i + count);
    }
    LLVMBuildRetVoid(em->builder);
    return worker;
}

/// What the region's threads share: COUNTS bytes with the frame, then their counters.
static LLVMValueRef emit_region(ProgramEmitter *p, LLVMValueRef threads) {
    Emitter *em = p->em;
    LLVMTypeRef i8 = LLVMInt8TypeInContext(em->context);
    LLVMValueRef bytes = LLVMBuildMul(em->builder, threads, emit_int(em, COUNTS), "");
    bytes = LLVMBuildAdd(em->builder, bytes, emit_int(em, COUNTS), "");
    LLVMValueRef region = LLVMBuildArrayAlloca(em->builder, i8, bytes, "region");
    LLVMSetAlignment(region, COUNTS);
    LLVMBuildMemSet(em->builder, region, LLVMConstInt(i8, 0, false), bytes, COUNTS);
    LLVMBuildStore(em->builder, p->frame, region);
    return region;
}

static LLVMValueRef emit_graph(ProgramEmitter *p, const LoopGraph *graph, size_t index) {
    Emitter *em = p->em;
    LLVMValueRef worker = emit_worker(p, graph, index);
    LLVMValueRef function =
        new_function(p, arena_printf(em->arena, "kdc_graph_%zu", index), p->graph_linkage);
    p->frame = LLVMGetParam(function, 0);
    LLVMValueRef threads = frame_field(p, i64_type(em), offsetof(KdrtFrame, threads));
    LLVMValueRef region = emit_region(p, threads);
    LLVMValueRef argument[4] = {worker, region, threads, emit_int(em, 0)};
    call_entry(em, "GOMP_parallel", argument, 4);
    LLVMBuildRetVoid(em->builder);
    return function;
}

static LLVMValueRef constant_global(Emitter *em, const char *name, LLVMValueRef value,
                                    LLVMLinkage linkage) {
    LLVMValueRef global = LLVMAddGlobal(em->module, LLVMTypeOf(value), name);
    LLVMSetInitializer(global, value);
    LLVMSetGlobalConstant(global, true);
    LLVMSetLinkage(global, linkage);
    return global;
}

/// struct KdrtProgram
static void emit_table(ProgramEmitter *p, const char *manifest, LLVMValueRef *graph) {
    Emitter *em = p->em;
    size_t length = strlen(manifest), count = p->loops->graphs.count;
    LLVMValueRef text = LLVMConstStringInContext2(em->context, manifest, length, false);
    LLVMValueRef table = LLVMConstArray2(pointer_type(em), graph, count);
    LLVMValueRef member[] = {
        emit_int(em, KDRT_ABI),        constant_global(em, "manifest", text, LLVMInternalLinkage),
        emit_int(em, (int64_t)length), constant_global(em, "graphs", table, LLVMInternalLinkage),
        emit_int(em, (int64_t)count),
        p->stamps ? p->stamps : LLVMConstNull(pointer_type(em)),
    };
    LLVMValueRef program = LLVMConstStructInContext(em->context, member, 6, false);
    constant_global(em, "kdrt_program", program, LLVMExternalLinkage);
}

/// Room for the stamps of the graph with the most launches.
static LLVMValueRef stamp_table(Emitter *em, const LoopProgram *loops) {
    size_t most = 0;
    for (size_t i = 0; i < loops->graphs.count; i++)
        if (loops->graphs.at[i] && loops->graphs.at[i]->launches.count > most)
            most = loops->graphs.at[i]->launches.count;
    LLVMTypeRef type = LLVMArrayType2(i64_type(em), most + 1);
    LLVMValueRef table = LLVMAddGlobal(em->module, type, "stamps");
    LLVMSetInitializer(table, LLVMConstNull(type));
    LLVMSetLinkage(table, LLVMInternalLinkage);
    return table;
}

void emit_program(Emitter *em, const LoopProgram *loops, const Module *module, const char *manifest,
                  const Library *library, const char *cpu, const char *features) {
    ProgramEmitter p = {.em = em, .loops = loops, .cpu = cpu, .features = features};
    p.graph_linkage = library ? LLVMInternalLinkage : LLVMExternalLinkage;
    p.real = module ? scalar_type_of(module->real) : S_F32;
    if (loops->profile) {
        p.stamps = stamp_table(em, loops);
        p.lap = LLVMAddGlobal(em->module, i64_type(em), "lap");
        LLVMSetInitializer(p.lap, emit_int(em, 0));
        LLVMSetLinkage(p.lap, LLVMInternalLinkage);
    }
    emit_take(&p);
    emit_pass(&p);
    LLVMValueRef *graph = arena_array(em->arena, LLVMValueRef, loops->graphs.count + 1);
    for (size_t i = 0; i < loops->graphs.count; i++) {
        const LoopGraph *at = loops->graphs.at[i];
        graph[i] =
            at && at->launches.count ? emit_graph(&p, at, i) : LLVMConstNull(pointer_type(em));
    }
    if (library)
        emit_library(em, loops, module, library, graph);
    else
        emit_table(&p, manifest, graph);
}
