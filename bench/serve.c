// bench/serve.c -- runs the steps of a compiled program on request, so that a driver can let
// programs take turns.
//
//     kdc s1.kd --emit=obj -o s1.o && cc -o s1 s1.o libbench_serve.a libkdrt.a ...   (peers/run.py)
//     ./s1 [--threads N] [--eval]
//
// The first phase's first step graph, or with --eval its first evaluation's, is what runs. There is
// no data set: the graph's inputs come from `load` and stay. Requests and answers are a line each;
// the first answer comes unasked.
//
//     (start)     ready
//     load FILE   ok: parameters, states and the inputs ("input.image") are those of a safetensors file
//     step        MILLISECONDS LOSS: one run of the graph, and its report `loss`
//     peak        GFLOP/s of threads that do nothing but multiply-adds, the median of some milliseconds
//     mark        ok: from now on `memory` counts
//     memory      MB, the largest that was resident since `mark`
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/measure.h"
#include "runtime/run.h"
#include "runtime/threads.h"

/// Of the object that this is linked with.
extern const KdrtProgram kdrt_program;

typedef struct Server {
    Env env;
    Arena arena;
    const KdrtProgram *program;
    Manifest manifest;
    int64_t graph; // that a step runs
    KdrtFrame frame;
    void **input; // by the graph's index
    int64_t batch;
    KdrtError error;
} Server;

static void give_up(const Server *server) {
    fprintf(stderr, "bench_serve: %s\n", server->error.text);
    exit(server->error.status);
}

static void *memory_for(Server *server, int64_t bytes) {
    void *memory = kdrt_arena_alloc(&server->arena, (size_t)bytes + 64);
    if (!memory) {
        kdrt_fail_memory(&server->error, (size_t)bytes);
        give_up(server);
    }
    return memory;
}

static void run_graph(Server *server, int64_t graph) {
    if (graph >= 0 && !server->manifest.graph[graph].empty)
        server->program->graph[graph](&server->frame);
}

// ---- start --------------------------------------------------------------------------------------

static void open_program(Server *server, const char *path, bool evaluates) {
    server->program = &kdrt_program;
    server->arena.env = &server->env;
    Manifest *m = &server->manifest;
    if (!kdrt_manifest_read(server->program, &server->arena, m, &server->error))
        give_up(server);
    const PhaseSpec *phase = m->phase_count ? &m->phase[0] : NULL;
    const char *trouble = !phase                            ? "no phase"
                          : evaluates && !phase->eval_count ? "no evaluation"
                          : evaluates                       ? NULL
                          : phase->step_count != 1          ? "several steps or none"
                          : phase->step[0].full_count != 1  ? "a `when` in its step"
                                                            : NULL;
    if (trouble) {
        kdrt_fail(&server->error, STATUS_PROGRAM, "%s has %s", path, trouble);
        give_up(server);
    }
    server->graph = evaluates ? phase->eval[0].graph.full : phase->step[0].full[0].graph;
    server->batch = evaluates ? phase->eval[0].batch : phase->batch;
}

static int64_t input_bytes(const Server *server, const char *name) {
    const DataSpec *data = &server->manifest.data[server->manifest.phase[0].data];
    for (int64_t i = 0; i < data->field_count; i++)
        if (!strcmp(data->field[i].name, name))
            return data->field[i].size_bytes * server->batch;
    return 0;
}

static void open_frame(Server *server, int64_t threads) {
    const Manifest *m = &server->manifest;
    const GraphSpec *graph = &m->graph[server->graph];
    int64_t output_bytes = 64, most_inputs = 1;
    for (int64_t i = 0; i < m->graph_count; i++) {
        output_bytes =
            m->graph[i].output_bytes > output_bytes ? m->graph[i].output_bytes : output_bytes;
        most_inputs = m->graph[i].input_count > most_inputs ? m->graph[i].input_count : most_inputs;
    }
    char *scalar = memory_for(server, m->scalar_count * 8);
    for (int64_t i = 0; i < m->scalar_count; i++)
        for (int64_t k = 0; k < m->option_count; k++)
            if (!strcmp(m->scalar[i], m->option[k].name))
                kdrt_dtype_set(m->real, scalar + (size_t)i * kdrt_dtype_bytes(m->real),
                               m->option[k].value);
    server->input = memory_for(server, most_inputs * (int64_t)sizeof(void *));
    for (int64_t i = 0; i < graph->input_count; i++)
        server->input[i] = memory_for(server, input_bytes(server, graph->input[i]));
    server->frame = (KdrtFrame){.storage = memory_for(server, m->storage_bytes),
                                .phase = memory_for(server, m->phase_bytes),
                                .step = memory_for(server, m->step_bytes),
                                .thread = memory_for(server, m->thread_bytes * threads),
                                .input = (const void *const *)server->input,
                                .scalar = scalar,
                                .output = memory_for(server, output_bytes),
                                .seed = 1,
                                .threads = threads};
}

// ---- requests -----------------------------------------------------------------------------------

static void *place_of(Server *server, const char *name, int64_t *size_bytes) {
    const Manifest *m = &server->manifest;
    const GraphSpec *graph = &m->graph[server->graph];
    for (int64_t i = 0; i < m->storage_count; i++)
        if (!strcmp(m->storage[i].name, name)) {
            *size_bytes = m->storage[i].size_bytes;
            return (char *)server->frame.storage + m->storage[i].offset;
        }
    for (int64_t i = 0; i < graph->input_count; i++)
        if (!strncmp(name, "input.", 6) && !strcmp(graph->input[i], name + 6)) {
            *size_bytes = input_bytes(server, graph->input[i]);
            return server->input[i];
        }
    return NULL;
}

/// Fills in what the file holds. What it holds in vain, but inputs that nothing asks for, or lacks,
/// is an error.
static void load(Server *server, const char *path) {
    Arena scratch = {.env = &server->env};
    Bytes bytes;
    SafeTensor *tensor;
    int64_t count, filled = 0, wanted = 0;
    const Manifest *m = &server->manifest;
    if (!kdrt_io_read_file(&server->env, &scratch, path, 0, 0, &bytes, &server->error) ||
        !kdrt_safetensors_read(bytes, &scratch, &tensor, &count, &server->error))
        give_up(server);
    run_graph(server, m->init);
    run_graph(server, m->phase[0].begin);
    for (int64_t i = 0; i < count; i++) {
        int64_t size_bytes = 0;
        void *to = place_of(server, tensor[i].name, &size_bytes);
        if (!to && !strncmp(tensor[i].name, "input.", 6))
            continue;
        if (!to || size_bytes != tensor[i].size_bytes) {
            kdrt_fail(&server->error, STATUS_WORLD, "%s: `%s` is %s", path, tensor[i].name,
                      to ? "of another size" : "nothing that the program has");
            give_up(server);
        }
        memcpy(to, tensor[i].data, (size_t)size_bytes);
        filled++;
    }
    for (int64_t i = 0; i < m->storage_count; i++)
        wanted += m->storage[i].kind == STORAGE_PARAMETER || m->storage[i].kind == STORAGE_STATE;
    wanted += m->graph[server->graph].input_count;
    if (filled != wanted) {
        kdrt_fail(&server->error, STATUS_WORLD, "%s: %lld of %lld tensors are there", path,
                  (long long)filled, (long long)wanted);
        give_up(server);
    }
    run_graph(server, m->phase[0].prologue);
    kdrt_arena_release(&scratch);
    puts("ok");
}

static void step(Server *server) {
    const GraphSpec *graph = &server->manifest.graph[server->graph];
    double start = seconds_now();
    run_graph(server, server->graph);
    double taken = seconds_now() - start;
    server->frame.iteration++;
    for (int64_t i = 0; i < graph->output_count; i++)
        if (!strcmp(graph->output[i].name, "loss")) {
            const char *at = (const char *)server->frame.output + graph->output[i].offset;
            printf("%.4f %.17g\n", taken * 1e3, kdrt_dtype_get(graph->output[i].dtype, at));
            return;
        }
    kdrt_fail(&server->error, STATUS_PROGRAM, "the program reports no `loss`");
    give_up(server);
}

static void peak(const Server *server) {
    enum { TIMES = 101 };
    double gflops[TIMES];
    for (int i = 0; i < TIMES; i++)
        gflops[i] = kdrt_peak_gflops((int)server->frame.threads);
    printf("%.1f\n", median(gflops, TIMES));
}

/// Forgets the largest resident size so far (Linux, proc(5): clear_refs).
static void mark(void) {
    FILE *file = fopen("/proc/self/clear_refs", "w");
    bool ok = file && fputs("5", file) >= 0;
    ok = file && fclose(file) == 0 && ok;
    puts(ok ? "ok" : "/proc/self/clear_refs cannot be written: the memory is that since the start");
}

static void memory(void) {
    char line[256];
    double kilobytes = 0;
    FILE *file = fopen("/proc/self/status", "r");
    while (file && fgets(line, sizeof line, file))
        if (!strncmp(line, "VmHWM:", 6))
            kilobytes = strtod(line + 6, NULL);
    if (file)
        fclose(file);
    printf("%.1f\n", kilobytes * 1024e-6);
}

int main(int argc, char **argv) {
    static Server server;
    int64_t threads = kdrt_core_count();
    bool evaluates = false;
    for (int i = 1; i < argc; i++)
        if (!strcmp(argv[i], "--eval"))
            evaluates = true;
        else if (!strcmp(argv[i], "--threads") && i + 1 < argc)
            threads = atoi(argv[++i]);
        else
            argc = 0;
    if (argc < 1 || threads < 1) {
        fputs("usage: PROGRAM [--threads N] [--eval]\n", stderr);
        return STATUS_PROGRAM;
    }
    open_program(&server, argv[0], evaluates);
    open_frame(&server, threads);
    TeamGuard guard;
    kdrt_team_enter(&guard, threads);
    puts("ready");
    fflush(stdout);
    for (char line[4096]; fgets(line, sizeof line, stdin); fflush(stdout)) {
        line[strcspn(line, "\n")] = 0;
        if (!strncmp(line, "load ", 5))
            load(&server, line + 5);
        else if (!strcmp(line, "step"))
            step(&server);
        else if (!strcmp(line, "peak"))
            peak(&server);
        else if (!strcmp(line, "mark"))
            mark();
        else if (!strcmp(line, "memory"))
            memory();
        else
            printf("unknown request: %s\n", line);
    }
    return 0;
}
