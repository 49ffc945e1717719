// codegen/chain_values.c -- what launches make and read (see chain_values.h).
#include "codegen/chain_values.h"

const Buffer *value_bytes(const Values *v, const Value *value) {
    return &v->at[value->launch].argument[value->argument];
}

static void note_reads(Values *v, size_t launch, const Indices *living) {
    const Launch *l = &v->at[launch];
    for (uint32_t i = 0; i < l->argument_count; i++) {
        if (chain_role(v->program, l, i) == BUFFER_OUT)
            continue;
        for (size_t k = 0; k < living->count; k++) {
            Value *value = &v->all.at[living->at[k]];
            const Buffer *made = value_bytes(v, value);
            if (!chain_overlap(made, &l->argument[i]))
                continue;
            value->is_simple &= chain_same_bytes(made, &l->argument[i]);
            vec_push(v->scratch, &value->uses, ((Use){launch, i}));
            vec_push(v->scratch, &v->reads[launch], living->at[k]);
        }
    }
}

static bool is_kept(const LoopKernel *kernel, uint32_t argument) {
    for (size_t i = 0; i < kernel->buffers.count; i++) {
        if (kernel->buffers.at[i].beside == chain_buffer(kernel, argument) + 1)
            return true;
    }
    return false;
}

static void note_writes(Values *v, size_t launch, Indices *living) {
    const Launch *l = &v->at[launch];
    const LoopKernel *kernel = v->program->kernels.at[l->kernel];
    for (uint32_t i = 0; i < l->argument_count; i++) {
        BufferRole role = chain_role(v->program, l, i);
        if (role == BUFFER_IN || l->argument[i].space != SPACE_STEP ||
            kernel->buffers.at[chain_buffer(kernel, i)].beside)
            continue;
        size_t kept = 0;
        for (size_t k = 0; k < living->count; k++) {
            uint32_t id = living->at[k];
            if (!chain_overlap(value_bytes(v, &v->all.at[id]), &l->argument[i]))
                living->at[kept++] = id;
        }
        living->count = kept;
        vec_push(v->scratch, living, (uint32_t)v->all.count);
        vec_push(v->scratch, &v->all,
                 ((Value){.launch = launch,
                          .argument = i,
                          .is_simple = role == BUFFER_OUT,
                          .is_kept = is_kept(kernel, i)}));
    }
}

Values values_find(Arena *scratch, const LoopProgram *program, const LoopGraph *graph) {
    Values v = {.program = program,
                .graph = graph,
                .at = graph->launches.at,
                .count = graph->launches.count,
                .scratch = scratch};
    Indices living = {0};
    v.chain = arena_array(scratch, size_t, v.count + 1);
    v.reads = arena_array(scratch, Indices, v.count + 1);
    for (size_t i = 0; i < v.count; i++) {
        v.chain[i] = !v.at[i].parts ? NO_CHAIN : v.at[i].chained ? v.chain[i - 1] : i;
        note_reads(&v, i, &living);
        note_writes(&v, i, &living);
    }
    return v;
}

bool value_falls(const Launch *launch, uint32_t argument, int64_t parts) {
    return chain_falls(launch, argument, parts) &&
           launch->argument[argument].size_bytes % (parts * CACHE_LINE) == 0;
}

bool value_stays_in_chain(const Values *v, const Value *value) {
    size_t chain = v->chain[value->launch];
    if (chain == NO_CHAIN || !value->is_simple || !value->uses.count ||
        !value_falls(&v->at[value->launch], value->argument, v->at[chain].parts))
        return false;
    for (size_t i = 0; i < value->uses.count; i++) {
        const Use *use = &value->uses.at[i];
        if (value->is_kept && v->chain[use->launch] != chain)
            continue;
        if (v->chain[use->launch] != chain ||
            !value_falls(&v->at[use->launch], use->argument, v->at[chain].parts))
            return false;
    }
    return true;
}

bool value_is_in_place(const Values *v, const Value *value) {
    const Launch *launch = &v->at[value->launch];
    const LoopKernel *kernel = v->program->kernels.at[launch->kernel];
    for (uint32_t i = 0; i < launch->argument_count; i++) {
        if (i != value->argument && !kernel->buffers.at[chain_buffer(kernel, i)].beside &&
            chain_overlap(&launch->argument[i], value_bytes(v, value)))
            return true;
    }
    return false;
}
