// codegen/chain_keep.c -- values that a chain reads from scratch and others from memory (chain.h).
//
// What a launch makes for others of its chain and for later chains had to be written through the
// caches, since the chain reads it back; and to write a line the processor reads it first. Instead
// the kernel stores the value twice: to scratch, whose lines are in the cache already, and beside it
// to the value's place in memory, which nobody in the chain reads, so that this store may go past
// the caches (chain_stream.c).
//
// That helps kernels that wait for memory while they compute, as depthwise convolutions do. Those
// that do more for a byte have the time to read what they write, and maps without products gain
// nothing: what they leave is then read from memory by kernels that might have found it in a cache.
//
// Launches of one kernel share its code. Where some have no use for a second store, others get a
// kernel of their own.
#include "codegen/chain_values.h"

#include <string.h>

enum {
    LEAST_BYTES = 1 << 20, // smaller values may still be in a cache when they are read
    MOST_PART = 1 << 20,   // bytes of a part, which is to stay in one
    MOST_FLOPS = 8,        // for each byte
};
#define NONE UINT32_MAX

/// By graph and launch: the argument that is to be kept, or NONE.
typedef struct Keeps {
    LoopProgram *program;
    uint32_t **argument;
} Keeps;

// ---- values
// ------------------------------------------------------------------------------------------

/// Whether launches of the chain read the value, all of them part by part, and others do too.
static bool is_shared(const Values *v, const Value *value) {
    size_t chain = v->chain[value->launch], inside = 0;
    for (size_t i = 0; i < value->uses.count; i++) {
        const Use *use = &value->uses.at[i];
        if (v->chain[use->launch] != chain)
            continue;
        if (!value_falls(&v->at[use->launch], use->argument, v->at[chain].parts))
            return false;
        inside++;
    }
    return inside > 0 && inside < value->uses.count;
}

static bool is_worth(const Values *v, const Value *value) {
    const Launch *launch = &v->at[value->launch];
    int64_t bytes = value_bytes(v, value)->size_bytes;
    return bytes >= LEAST_BYTES && bytes <= MOST_PART * launch->parts && launch->flops > 0 &&
           launch->flops <= MOST_FLOPS * bytes;
}

static bool may_keep(const Values *v, const Value *value) {
    const Launch *launch = &v->at[value->launch];
    return launch->parts && value->is_simple && !value_is_in_place(v, value) &&
           value_falls(launch, value->argument, launch->parts) && is_shared(v, value);
}

static bool reads(const LoopExpr *expr, uint32_t buffer) {
    bool found = expr && expr->kind == E_LOAD && expr->index == buffer;
    for (uint32_t i = 0; expr && !found && i < expr->arity; i++)
        found = reads(expr->operand[i], buffer);
    return found;
}

static bool body_reads(const LoopBody *body, uint32_t buffer) {
    for (size_t i = 0; i < body->count; i++) {
        const LoopStmt *stmt = body->at[i];
        bool found = reads(stmt->begin, buffer) || reads(stmt->end, buffer) ||
                     reads(stmt->value, buffer);
        for (uint32_t k = 0; k < stmt->subscript_count; k++)
            found |= reads(stmt->subscript[k], buffer);
        for (uint32_t k = 0; k < stmt->argument_count; k++)
            found |= reads(stmt->argument[k], buffer);
        if (found || body_reads(&stmt->body, buffer) || body_reads(&stmt->other, buffer))
            return true;
    }
    return false;
}

/// Not where the kernel puts its result together in memory, or has the runtime write it.
static bool can_keep(const Values *v, const Value *value) {
    const Launch *launch = &v->at[value->launch];
    const LoopKernel *kernel = v->program->kernels.at[launch->kernel];
    return !body_reads(&kernel->body, chain_buffer(kernel, value->argument));
}

/// One value a launch, the largest.
static void find_kept(const Keeps *keeps, size_t graph) {
    Arena scratch = {0};
    Values v = values_find(&scratch, keeps->program, keeps->program->graphs.at[graph]);
    for (size_t i = 0; i < v.all.count; i++) {
        const Value *value = &v.all.at[i];
        uint32_t *kept = &keeps->argument[graph][value->launch];
        if (!is_worth(&v, value) || !may_keep(&v, value) || !can_keep(&v, value))
            continue;
        if (*kept == NONE || v.at[value->launch].argument[*kept].size_bytes <
                                 value_bytes(&v, value)->size_bytes)
            *kept = value->argument;
    }
    arena_release(&scratch);
}

// ---- kernels
// -----------------------------------------------------------------------------------------

/// One more result, of what is stored to that of the argument.
static void add_kept(LoopKernel *kernel, uint32_t argument) {
    uint32_t from = chain_buffer(kernel, argument);
    LoopBuffer made = kernel->buffers.at[from];
    uint32_t kept = loop_buffer(kernel, "kept", made.type, BUFFER_OUT, made.count);
    kernel->buffers.at[kept].beside = from + 1;
}

static uint32_t copy_kernel(LoopProgram *program, uint32_t kernel) {
    const LoopKernel *from = program->kernels.at[kernel];
    LoopKernel *copy = arena_new(program->arena, LoopKernel);
    *copy = *from;
    copy->name = arena_printf(program->arena, "%s.%zu", from->name, program->kernels.count);
    copy->buffers.at = NULL;
    copy->buffers.count = copy->buffers.capacity = 0;
    for (size_t i = 0; i < from->buffers.count; i++)
        vec_push(program->arena, &copy->buffers, from->buffers.at[i]);
    vec_push(program->arena, &program->kernels, copy);
    return (uint32_t)program->kernels.count - 1;
}

static void pass_kept(Arena *arena, Launch *launch, uint32_t argument) {
    uint32_t count = launch->argument_count++;
    Buffer *arguments = arena_array(arena, Buffer, count + 1);
    Parts *falls = arena_array(arena, Parts, count + 1);
    memcpy(arguments, launch->argument, count * sizeof *arguments);
    memcpy(falls, launch->falls, count * sizeof *falls);
    arguments[count] = arguments[argument];
    falls[count] = falls[argument];
    launch->argument = arguments;
    launch->falls = falls;
}

/// The launches of the kernel that keep the argument call `to`.
static void pass_all(const Keeps *keeps, uint32_t kernel, uint32_t argument, uint32_t to) {
    LoopProgram *program = keeps->program;
    for (size_t g = 0; g < program->graphs.count; g++) {
        LoopGraph *graph = program->graphs.at[g];
        for (size_t i = 0; i < graph->launches.count; i++) {
            Launch *launch = &graph->launches.at[i];
            if (launch->kernel != kernel || keeps->argument[g][i] != argument)
                continue;
            pass_kept(program->arena, launch, argument);
            launch->kernel = to;
            keeps->argument[g][i] = NONE;
        }
    }
}

static bool all_keep(const Keeps *keeps, uint32_t kernel, uint32_t argument) {
    for (size_t g = 0; g < keeps->program->graphs.count; g++) {
        const LoopGraph *graph = keeps->program->graphs.at[g];
        for (size_t i = 0; i < graph->launches.count; i++) {
            if (graph->launches.at[i].kernel == kernel && keeps->argument[g][i] != argument)
                return false;
        }
    }
    return true;
}

void chain_keep(LoopProgram *program) {
    Arena scratch = {0};
    Keeps keeps = {program, arena_array(&scratch, uint32_t *, program->graphs.count + 1)};
    for (size_t g = 0; g < program->graphs.count; g++) {
        size_t count = program->graphs.at[g]->launches.count;
        keeps.argument[g] = arena_array(&scratch, uint32_t, count + 1);
        memset(keeps.argument[g], 0xff, count * sizeof **keeps.argument);
        find_kept(&keeps, g);
    }
    for (size_t g = 0; g < program->graphs.count; g++) {
        const LoopGraph *graph = program->graphs.at[g];
        for (size_t i = 0; i < graph->launches.count; i++) {
            uint32_t kernel = graph->launches.at[i].kernel, argument = keeps.argument[g][i];
            if (argument == NONE)
                continue;
            bool alone = !all_keep(&keeps, kernel, argument);
            uint32_t to = alone ? copy_kernel(program, kernel) : kernel;
            add_kept(program->kernels.at[to], argument);
            pass_all(&keeps, kernel, argument, to);
        }
    }
    arena_release(&scratch);
}
