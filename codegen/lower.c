// codegen/lower.c -- kernels of all graphs to loops, and their launches.
#include "codegen/lower.h"

#include <string.h>

#include "ir/rows.h"
#include "support/diag.h"
#include "support/strbuf.h"

// "reduce_max.exp.sum": what the kernel computes, for people who read loops or profiles.
static const char *kernel_name(Arena *arena, const Kernel *kernel) {
    enum { LONGEST = 48 };
    StrBuf name = {.arena = arena};
    for (uint32_t i = 0; i < kernel->node_count && name.length < LONGEST; i++) {
        const Node *node = kernel->node[i];
        bool telling = node_sums(node) || op_has(node->op, EFFECT) || op_has(node->op, RANDOM);
        if (telling || i + 1 == kernel->node_count)
            strbuf_printf(&name, "%s%s", name.length ? "_" : "", op_info[node->op].name);
    }
    return strbuf_text(&name);
}

static int64_t lower_loops(Lower *l) {
    const Node *first = l->source->stored[0];
    if (op_has(first->op, RANDOM))
        return lower_draws(l);
    if (op_has(first->op, SCATTERS))
        return lower_scatter(l);
    if (op_has(first->op, DECOMPOSES))
        return lower_matrices(l);
    int64_t iterations = lower_tiles(l);
    return iterations ? iterations : lower_schedule(l);
}

// An OUT on the bytes of an IN is that array, in place.
static void find_in_place(Lower *l) {
    for (uint32_t out = 0; out < l->argument.count; out++) {
        const Buffer *to = &l->argument.at[out];
        LoopBuffer *buffer = &l->kernel->buffers.at[out];
        for (uint32_t in = 0; buffer->role == BUFFER_OUT && in < l->argument.count; in++) {
            const Buffer *from = &l->argument.at[in];
            if (in != out && l->kernel->buffers.at[in].role == BUFFER_IN &&
                from->space == to->space && from->index == to->index &&
                from->offset_bytes == to->offset_bytes)
                buffer->in_place = in + 1;
        }
    }
}

static NodeRoom make_room(Arena *arena, size_t count) {
    return (NodeRoom){
        .member = arena_array(arena, uint8_t, count),
        .buffer_slot = arena_array(arena, uint32_t, count),
        .memo = arena_array(arena, Memo *, count),
        .label = arena_array(arena, RowLabels, count),
        .level = arena_array(arena, uint32_t, count),
        .known = arena_alloc_array(arena, count, sizeof(Value[2])),
    };
}

void lower_forget(Lower *l) {
    for (uint32_t i = 0; i < l->source->node_count; i++) {
        const Node *node = l->source->node[i];
        l->room.buffer_slot[node->id] = 0;
        l->room.memo[node->id] = NULL;
        for (uint32_t k = 0; k < node->arity; k++) {
            l->room.buffer_slot[node->operand[k]->id] = 0;
            l->room.memo[node->operand[k]->id] = NULL;
        }
    }
}

static void set_members(Lower *l, uint8_t member) {
    for (uint32_t i = 0; i < l->source->node_count; i++)
        l->room.member[l->source->node[i]->id] = member;
}

static Launch lower_kernel(LoopProgram *program, Arena *scratch, const NodeRoom *room,
                           const Graph *graph, const Kernel *source, int64_t registers) {
    Lower *l = arena_new(scratch, Lower);
    l->arena = scratch;
    l->graph = graph;
    l->source = source;
    l->room = *room;
    l->kept = program->arena;
    l->name = kernel_name(program->arena, source);
    l->registers = registers;
    l->kernel = loop_kernel_new(program->arena, l->name);
    l->scope[0] = (Scope){&l->kernel->body, NULL, ++l->serial};

    lower_forget(l);
    set_members(l, 1);
    int64_t iterations = lower_loops(l);
    set_members(l, 0);
    Launch launch = {.iterations = iterations, .source = source};
    find_in_place(l);
    const char *wrong = loop_kernel_verify(l->kernel, scratch);
    if (wrong)
        kdc_bug("kernel %u of `%s` (%s): %s", source->id, graph->name, l->kernel->name, wrong);
    Buffer *argument = arena_array(program->arena, Buffer, l->argument.count);
    Parts *falls = arena_array(program->arena, Parts, l->argument.count);
    for (uint32_t i = 0; i < l->argument.count; i++) {
        if (l->kernel->buffers.at[i].role == BUFFER_SCRATCH)
            continue;
        falls[launch.argument_count] =
            chain_parts(l->kernel, i, l->places.at, l->places.count, iterations);
        argument[launch.argument_count++] = l->argument.at[i];
    }
    launch.argument = argument;
    int64_t *extent = arena_array(program->arena, int64_t, l->extent.count);
    for (size_t i = 0; i < l->extent.count; i++)
        extent[launch.extent_count++] = l->extent.at[i];
    launch.extent = extent;
    launch.falls = falls;
    for (uint32_t i = 0; i < source->node_count; i++) {
        if (op_has(source->node[i]->op, CONTRACTS))
            launch.flops += reduce_flops(source->node[i]);
    }
    launch.kernel = loop_program_add(program, l->kernel);
    return launch;
}

static void chain_all(LoopProgram *program) {
    int64_t most = 0;
    for (size_t i = 0; i < program->graphs.count; i++) {
        chain_launches(program->arena, program, program->graphs.at[i]);
        chain_again(program->arena, program, program->graphs.at[i]);
    }
    chain_keep(program);
    for (size_t i = 0; i < program->graphs.count; i++) {
        int64_t bytes = chain_scratch(program->arena, program, program->graphs.at[i]);
        most = bytes > most ? bytes : most;
        chain_ahead(program->arena, program, program->graphs.at[i]);
    }
    chain_stream(program);
    program->thread_bytes += (most + 63) / 64 * 64;
}

static size_t most_launches(const LoopProgram *program) {
    size_t most = 0;
    for (size_t i = 0; i < program->graphs.count; i++) {
        size_t count = program->graphs.at[i]->launches.count;
        most = count > most ? count : most;
    }
    return most;
}

LoopProgram *codegen_lower(Arena *arena, const Module *module, const CodegenOptions *options) {
    LoopProgram *program = loop_program_new(arena);
    Arena scratch = {0}, rooms = {0};
    int64_t bytes = options->register_bytes ? options->register_bytes
                                            : codegen_register_bytes(options->target_cpu);
    int64_t registers = bytes / VECTOR_BYTES;
    for (size_t i = 0; i < module->graphs.count; i++) {
        const Graph *graph = module->graphs.at[i];
        LoopGraph *loops = arena_new(arena, LoopGraph);
        loops->graph = graph;
        loops->name = graph->name;
        NodeRoom room = make_room(&rooms, graph->nodes.count);
        for (size_t k = 0; k < graph->kernels.count; k++) {
            vec_push(arena, &loops->launches,
                     lower_kernel(program, &scratch, &room, graph, graph->kernels.at[k],
                                  registers));
            arena_reset(&scratch);
        }
        arena_reset(&rooms);
        vec_push(arena, &program->graphs, loops);
    }
    program->chain_offset = (program->thread_bytes + 63) / 64 * 64;
    program->thread_bytes = program->chain_offset;
    if (options->level > 0 && !options->unchained)
        chain_all(program);
    if (options->count_products) {
        program->counts = true;
        program->count_offset = program->thread_bytes;
        program->thread_bytes += ((int64_t)(1 + most_launches(program)) * 8 + 63) / 64 * 64;
    }
    program->profile = options->profile;
    arena_release(&scratch);
    arena_release(&rooms);
    return program;
}
