// bench/step_alone.c -- a step beside its contractions by themselves, and what loss terms take beside theirs.
//
// All run in turn, in one frame: the step and its contractions as they are, and both once more compiled so that every
// launch notes its time, in no chains: by itself. So what is the same in two steps need not be compared by
// the difference of two noisy sums.
#include <stdio.h>

#include "bench/contractions.h"
#include "bench/measure.h"
#include "bench/step.h"
#include "support/diag.h"

/// A launch of a step: the median of its rounds, and of its contractions by themselves, in seconds. Sums of these
/// feel a disturbance of one round less than the median of the sums does.
typedef struct Part {
    uint32_t kernel; // index into LoopProgram.kernels
    bool contracts;
    double all, alone;
} Part;

static double median_of_launch(const Work *work, size_t launch, int rounds) {
    return median(&work->launch[launch * MOST_ROUNDS], rounds);
}

/// Of each launch of `graph`, which `whole` has timed; `alone` has timed its contractions, in the same order.
static Part *parts_of(Step *step, const LoopGraph *graph, const Work *whole, const Work *alone, int rounds) {
    Part *part = arena_array(&step->arena, Part, whole->launch_count);
    size_t next = 0;
    for (size_t i = 0; i < whole->launch_count; i++) {
        const Launch *launch = &graph->launches.at[i];
        part[i] = (Part){.kernel = launch->kernel, .all = median_of_launch(whole, i, rounds)};
        for (uint32_t k = 0; k < launch->source->node_count; k++)
            if (op_has(launch->source->node[k]->op, CONTRACTS)) {
                part[i].contracts = true;
                part[i].alone += median_of_launch(alone, next++, rounds);
            }
    }
    return part;
}

/// What a term takes beside contractions, in seconds: all that is no contraction in `part`, the step's, but not
/// in `less`, the step's without the term. Launches of one kernel count as equal, so that what both steps have
/// does not drown the difference in its noise.
static double seconds_of_term(const LoopProgram *loops, const Part *part, size_t count, const Part *less,
                              size_t less_count) {
    double seconds = 0;
    for (size_t k = 0; k < loops->kernels.count; k++) {
        double sum = 0, with = 0, without = 0;
        for (size_t i = 0; i < count; i++)
            if (part[i].kernel == k) {
                with++;
                sum += part[i].all - part[i].alone;
            }
        for (size_t i = 0; i < less_count; i++)
            if (less[i].kernel == k) {
                without++;
                sum += less[i].all - less[i].alone;
            }
        if (with != without)
            seconds += (with - without) * sum / (with + without);
    }
    return seconds;
}

static void print_share(const char *what, double part, double whole) {
    printf("%-40s %8.2f %%\n", what, 100 * part / whole);
}

static double print_parts(const Part *part, size_t count) {
    double all = 0, alone = 0, own = 0;
    for (size_t i = 0; i < count; i++) {
        all += part[i].all;
        alone += part[i].alone;
        own += part[i].contracts ? 0 : part[i].all;
    }
    printf("%-40s %8.2f ms\n", "  step, sum of its kernels' medians", 1e3 * all);
    printf("%-40s %8.2f ms\n", "  contractions alone, likewise", 1e3 * alone);
    print_share("  all else, of the step", all - alone, all);
    print_share("    kernels of their own", own, all);
    print_share("    fused with contractions", all - alone - own, all);
    return all;
}

/// Shares are medians of those of single rounds.
static void print_whole(const Step *step, const Work *whole, const Work *alone, int rounds) {
    double share[MOST_ROUNDS];
    for (int i = 0; i < rounds; i++)
        share[i] = 100 * (1 - alone->seconds[i] / whole->seconds[i]);
    printf("\n%s as it is\n", step->loops->graphs.at[step->graph[0]]->name);
    work_print("  step", whole, rounds);
    work_print("  contractions alone", alone, rounds);
    print_spread("  all else, of the step", share, rounds, "%");
}

/// Shares are of the sums of medians. `work` has the step and its contractions of each graph.
static void print_launches(Step *step, const LoopProgram *loops, const Work *work, int rounds) {
    double whole = 0, terms = 0;
    const Part *first = NULL;
    for (size_t g = 0; g < step->graph_count; g++) {
        const LoopGraph *graph = loops->graphs.at[step->graph[g]];
        size_t count = work[2 * g].launch_count;
        const Part *part = parts_of(step, graph, &work[2 * g], &work[2 * g + 1], rounds);
        printf("\n%s kernel by kernel, %zu, of them %zu contractions\n", graph->name, count,
               work[2 * g + 1].launch_count);
        double all = print_parts(part, count);
        if (g == 0) {
            whole = all;
            first = part;
            continue;
        }
        double term = seconds_of_term(loops, first, work[0].launch_count, part, count);
        print_share("  the term, without its contractions", term, whole);
        terms += term;
    }
    if (step->graph_count > 2)
        print_share("\nthese terms together", terms, whole);
}

static int64_t larger(int64_t a, int64_t b) {
    return a > b ? a : b;
}

void time_alone(Step *step, const Options *options) {
    static Work work[2 + 2 * (1 + MOST_TERMS)];
    const Module *module = step->program->module;
    CodegenOptions plain = {.level = 2}, profile = {.level = 2, .profile = &step->sources, .unchained = true};
    Module *alone = contractions_alone(&step->arena, module, step->graph, step->graph_count);
    LoopProgram *alone_loops = codegen_lower(&step->arena, alone, &plain);
    LoopProgram *noting = codegen_lower(&step->arena, module, &profile);
    LoopProgram *alone_noting = codegen_lower(&step->arena, alone, &profile);
    const KdrtProgram *alone_code = step_code(&step->arena, alone_loops, alone, NULL, &plain);
    const KdrtProgram *noting_code = step_code(&step->arena, noting, module, step->program, &profile);
    const KdrtProgram *alone_noting_code = step_code(&step->arena, alone_noting, alone, NULL, &profile);
    int64_t thread_bytes = larger(larger(step->loops->thread_bytes, alone_loops->thread_bytes),
                                  larger(noting->thread_bytes, alone_noting->thread_bytes));
    KdrtFrame frame = step_frame(step, alone->step_bytes, thread_bytes, options->threads);
    work[0] = work_on(step->code, step->loops, step->graph[0], &frame);
    work[1] = work_on(alone_code, alone_loops, 0, &frame);
    for (size_t g = 0; g < step->graph_count; g++) {
        work[2 + 2 * g] = work_on(noting_code, noting, step->graph[g], &frame);
        work[3 + 2 * g] = work_on(alone_noting_code, alone_noting, (int32_t)g, &frame);
        double whole = step_flops(noting->graphs.at[step->graph[g]]), part = step_flops(alone_noting->graphs.at[g]);
        if (whole != part)
            kdc_bug("contractions of %.0f FLOPs became %.0f", whole, part);
    }
    work_take_turns(work, 2 + 2 * step->graph_count, options->repeats);
    print_whole(step, &work[0], &work[1], options->repeats);
    print_launches(step, noting, work + 2, options->repeats);
}
