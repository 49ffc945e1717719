// bench/step.c -- how near a whole training step comes to the machine's multiply-add peak, and what parts of it take.
//
//     bench_step FILE.kd [--threads N] [--repeats N] [-D name=value] [--math strict|fast] [--graph NAME]
//                [--profile | --alone [--without TERM]... | --memory-limit SIZE]
//
// Compiles the program as kdc does, takes the first training step of its first phase, or the graph of
// that name (`kdc cost` lists them), and times it on random images against a loop of multiply-adds in
// registers, in turn: with one thread and with N. GFLOP/s are those of convolutions and matrix products
// alone.
//
// --profile        where the time of N threads goes, as `kdc run --profile` does
// --alone          the step in turn with its convolutions and matrix products by themselves: the same kernels
//                  on the same memory, without what was fused with them (bench/contractions.h)
// --without TERM   besides, the step without that loss term, and its contractions by themselves: what the term
//                  takes beside contractions, also what of it was fused into kernels that stay
// --memory-limit   the step in turn with the same step compiled under that limit
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench/measure.h"
#include "bench/step.h"
#include "runtime/threads.h"
#include "support/diag.h"
#include "support/size.h"

// ---- against the peak --------------------------------------------------------------------------------

static double time_step(const Step *step, KdrtFrame *frame, int threads, int repeats) {
    double seconds[MOST_ROUNDS], peak[MOST_ROUNDS];
    frame->threads = threads;
    step_run(step->code, step->graph[0], frame);
    for (int i = 0; i < repeats; i++) {
        peak[i] = kdrt_peak_gflops(threads);
        double start = seconds_now();
        step_run(step->code, step->graph[0], frame);
        seconds[i] = seconds_now() - start;
    }
    double taken = median(seconds, repeats), limit = median(peak, repeats);
    double speed = step->flops / taken * 1e-9;
    printf("%d thread%s  %8.2f ms  %7.1f GFLOP/s of %7.1f: %5.1f %%\n", threads,
           threads == 1 ? " " : "s", taken * 1e3, speed, limit, 100 * speed / limit);
    return taken;
}

static void against_peak(const Step *step, KdrtFrame *frame, const Options *options) {
    double one = time_step(step, frame, 1, options->repeats);
    double many = time_step(step, frame, options->threads, options->repeats);
    printf("%d threads against one: %.2f times\n", options->threads, one / many);
}

/// The times of the kernels of a step.
static void print_profile(const Step *step, KdrtFrame *frame, int threads, int repeats) {
    KdrtError error = {0};
    KdrtProfile *profile = kdrt_profile_open(step->code, &error);
    frame->threads = threads;
    for (int i = 0; profile && i <= repeats; i++) {
        step_run(step->code, step->graph[0], frame);
        kdrt_profile_ran(profile, step->graph[0]);
    }
    if (!profile || !kdrt_profile_print(profile, threads, &error))
        world_error("%s", error.text);
    kdrt_profile_close(profile);
}

// ---- under a limit -----------------------------------------------------------------------------------

static void time_limited(Step *step, KdrtFrame *frame, const Options *options) {
    static Step limited;
    static Work work[2];
    double more[MOST_ROUNDS];
    step_compile(&limited, options, options->memory_limit_bytes);
    const Module *module = limited.program->module;
    KdrtFrame within = step_frame(&limited, module->step_bytes, limited.loops->thread_bytes, options->threads);
    step_print_head(&limited);
    work[0] = work_on(step->code, step->loops, step->graph[0], frame);
    work[1] = work_on(limited.code, limited.loops, limited.graph[0], &within);
    work_take_turns(work, 2, options->repeats);
    work_print("without a limit", &work[0], options->repeats);
    work_print("under the limit", &work[1], options->repeats);
    for (int i = 0; i < options->repeats; i++)
        more[i] = 100 * (work[1].seconds[i] / work[0].seconds[i] - 1);
    print_spread("more, of single rounds", more, options->repeats, "%");
}

// ---- options -----------------------------------------------------------------------------------------

static const char usage[] = "usage: bench_step FILE.kd [--threads N] [--repeats N] [-D name=value] [--math strict|fast]"
                            " [--graph NAME] [--profile | --alone [--without TERM]... | --memory-limit SIZE]";

/// A number from 1 to `most`.
static int number(const char *option, const char *text, int most) {
    char *end;
    long value = strtol(text, &end, 10);
    if (*end || value < 1 || value > most)
        world_error("%s takes a number from 1 to %d", option, most);
    return (int)value;
}

static void set_option(Options *options, const char *name, char *value) {
    char *equals = strchr(value, '=');
    if (!strcmp(name, "--threads"))
        options->threads = number(name, value, MOST_THREADS);
    else if (!strcmp(name, "--repeats"))
        options->repeats = number(name, value, MOST_ROUNDS);
    else if (!strcmp(name, "--graph"))
        options->graph = value;
    else if (!strcmp(name, "--math") && (!strcmp(value, "strict") || !strcmp(value, "fast")))
        options->strict = !strcmp(value, "strict");
    else if (!strcmp(name, "--without") && options->without_count < MOST_TERMS)
        options->without[options->without_count++] = value;
    else if (!strcmp(name, "--memory-limit") && size_from_text(value, &options->memory_limit_bytes))
        return;
    else if (!strcmp(name, "-D") && equals && options->frontend.define_count < 16) {
        *equals = 0;
        options->define[options->frontend.define_count++] = (FrontendDefine){value, equals + 1};
    } else
        world_error("%s %s? %s", name, value, usage);
}

static void read_options(Options *options, int argc, char **argv) {
    *options = (Options){.frontend = {.defines = options->define, .real = DT_F32}, .threads = 2, .repeats = 15};
    if (argc < 2)
        world_error("%s", usage);
    options->path = argv[1];
    for (int i = 2; i < argc; i++) {
        if (!strcmp(argv[i], "--profile"))
            options->profile = true;
        else if (!strcmp(argv[i], "--alone"))
            options->alone = true;
        else if (i + 1 == argc)
            world_error("%s needs a value", argv[i]);
        else {
            set_option(options, argv[i], argv[i + 1]);
            i++;
        }
    }
    if (options->profile + options->alone + (options->memory_limit_bytes > 0) > 1 ||
        (options->without_count && !options->alone))
        world_error("%s", usage);
}

int main(int argc, char **argv) {
    static Step step;
    static Options options;
    double start = seconds_now();
    read_options(&options, argc, argv);
    step_compile(&step, &options, 0);
    step_print_head(&step);
    TeamGuard team;
    kdrt_team_enter(&team, options.threads);
    if (options.alone) {
        time_alone(&step, &options);
    } else {
        KdrtFrame frame = step_frame(&step, step.program->module->step_bytes, step.loops->thread_bytes,
                                     options.threads);
        printf("ready for its first step after %.2f s, %.2f s of processor time\n", seconds_now() - start,
               (double)clock() / CLOCKS_PER_SEC);
        if (options.profile)
            print_profile(&step, &frame, options.threads, options.repeats);
        else if (options.memory_limit_bytes)
            time_limited(&step, &frame, &options);
        else
            against_peak(&step, &frame, &options);
    }
    kdrt_team_leave(&team);
    return 0;
}
