// runtime/profile.c -- where the time of steps and evaluations goes, in terms of the user's
// program.
//
// The generated code stamps the end of each launch, behind its barrier, on the first thread: what a
// launch takes is from the end of the one before it, waiting for the slowest thread included. Of
// launches that run together, part by part, it stamps them as if they had run one after the other:
// a launch takes what all its parts took on that thread, the last one the waiting too.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/machine.h"
#include "runtime/program.h"

enum { PROFILE_RUNS = 64 };

/// What is kept of a graph: the times of its last runs, the first one apart, which warms up.
typedef struct GraphProfile {
    int64_t runs;
    int64_t *taken_ns; // [launch_count + 1][PROFILE_RUNS]; behind the launches the whole graph
} GraphProfile;

/// The batches of a phase, likewise.
typedef struct PhaseProfile {
    int64_t batches;
    int64_t taken_ns[PROFILE_RUNS], waited_ns[PROFILE_RUNS];
} PhaseProfile;

struct KdrtProfile {
    Env env;
    Arena arena;
    const KdrtProgram *program;
    Manifest manifest;
    GraphProfile *graph; // by index
    PhaseProfile *phase;
};

// ---- taking -------------------------------------------------------------------------------------

static bool open_profile(KdrtProfile *profile, KdrtError *error) {
    Manifest *m = &profile->manifest;
    profile->arena.env = &profile->env;
    if (!kdrt_manifest_read(profile->program, &profile->arena, m, error))
        return false;
    size_t count = (size_t)m->graph_count, phases = (size_t)m->phase_count;
    profile->phase = kdrt_arena_array(&profile->arena, phases, sizeof *profile->phase);
    if (!profile->phase)
        return kdrt_fail_memory(error, phases * sizeof *profile->phase);
    profile->graph = kdrt_arena_array(&profile->arena, count, sizeof *profile->graph);
    if (!profile->graph)
        return kdrt_fail_memory(error, count * sizeof *profile->graph);
    for (size_t i = 0; i < count; i++) {
        size_t room = ((size_t)m->graph[i].launch_count + 1) * PROFILE_RUNS;
        int64_t *taken_ns = kdrt_arena_array(&profile->arena, room, sizeof *taken_ns);
        if (!taken_ns)
            return kdrt_fail_memory(error, room * sizeof *taken_ns);
        profile->graph[i].taken_ns = taken_ns;
    }
    return true;
}

KdrtProfile *kdrt_profile_open(const KdrtProgram *program, KdrtError *error) {
    if (!program->stamp)
        return NULL;
    Env env = {0};
    KdrtProfile *profile = kdrt_alloc(&env, sizeof *profile);
    if (!profile) {
        kdrt_fail_memory(error, sizeof *profile);
        return NULL;
    }
    profile->program = program;
    if (open_profile(profile, error))
        return profile;
    kdrt_profile_close(profile);
    return NULL;
}

void kdrt_profile_close(KdrtProfile *profile) {
    if (!profile)
        return;
    kdrt_arena_release(&profile->arena);
    Env env = {.live_count = 1};
    kdrt_free(&env, profile);
}

/// Where the times of a run are kept, of which `runs` were before: the first is forgotten.
static int64_t place_of_run(int64_t runs) {
    return runs ? (runs - 1) % PROFILE_RUNS : 0;
}

void kdrt_profile_ran(KdrtProfile *profile, int64_t number) {
    if (!profile)
        return;
    GraphProfile *graph = &profile->graph[number];
    const int64_t *stamp = profile->program->stamp;
    int64_t count = profile->manifest.graph[number].launch_count;
    int64_t place = place_of_run(graph->runs);
    for (int64_t i = 0; i < count; i++)
        graph->taken_ns[i * PROFILE_RUNS + place] = stamp[i + 1] - stamp[i];
    graph->taken_ns[count * PROFILE_RUNS + place] = stamp[count] - stamp[0];
    graph->runs++;
}

void kdrt_profile_batch(KdrtProfile *profile, int64_t number, int64_t taken_ns, int64_t waited_ns) {
    if (!profile)
        return;
    PhaseProfile *phase = &profile->phase[number];
    int64_t place = place_of_run(phase->batches++);
    phase->taken_ns[place] = taken_ns;
    phase->waited_ns[place] = waited_ns;
}

// ---- adding up ----------------------------------------------------------------------------------

/// Launches that are one line of a table.
typedef struct Row {
    const LaunchSpec *launch; // the first
    char module[160];         // of all of them: where the paths differ there is a `*`
    int64_t calls;
    double taken_ms, flops, bytes;
} Row;

typedef struct Table {
    const GraphSpec *spec;
    Row *row;
    int64_t row_count;
    double total_ms;
    double peak_gflops, copy_gbytes; // 0: not known
} Table;

static int compare_times(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/// Of the times of `runs` runs that were kept.
static double median_ms(const int64_t *kept_ns, int64_t runs) {
    int64_t taken[PROFILE_RUNS];
    int64_t count = runs > PROFILE_RUNS + 1 ? PROFILE_RUNS : runs > 1 ? runs - 1 : runs;
    memcpy(taken, kept_ns, (size_t)count * sizeof *taken);
    qsort(taken, (size_t)count, sizeof *taken, compare_times);
    return count ? (double)(taken[(count - 1) / 2] + taken[count / 2]) * 0.5e-6 : 0;
}

static double launch_ms(const GraphProfile *graph, int64_t launch) {
    return median_ms(graph->taken_ns + launch * PROFILE_RUNS, graph->runs);
}

/// "a.0.b" and "a.1.b" are "a.*.b"; paths of different lengths share their beginning.
static void join_modules(char *module, size_t room, const char *other) {
    char joined[sizeof((Row *)NULL)->module];
    size_t length = 0;
    const char *a = module, *b = other;
    while (*a && *b && length + 2 < sizeof joined) {
        size_t a_length = strcspn(a, "."), b_length = strcspn(b, ".");
        if (a_length == b_length && !strncmp(a, b, a_length)) {
            size_t fits =
                a_length < sizeof joined - length - 2 ? a_length : sizeof joined - length - 2;
            memcpy(joined + length, a, fits);
            length += fits;
        } else {
            joined[length++] = '*';
        }
        a += a_length;
        b += b_length;
        if (*a && *b && length + 2 < sizeof joined)
            joined[length++] = '.';
        a += *a == '.';
        b += *b == '.';
    }
    if ((*a || *b) && length + 2 < sizeof joined && (!length || joined[length - 1] != '*')) {
        joined[length++] = '.';
        joined[length++] = '*';
    }
    joined[length] = 0;
    size_t fits = length < room - 1 ? length : room - 1;
    memcpy(module, joined, fits);
    module[fits] = 0;
}

static bool same_line(const LaunchSpec *a, const LaunchSpec *b) {
    return a->code == b->code && !strcmp(a->direction, b->direction) &&
           !strcmp(a->terms, b->terms) && !strcmp(a->result, b->result) &&
           !strcmp(a->place, b->place);
}

static int compare_rows(const void *a, const void *b) {
    const Row *x = a, *y = b;
    if (x->taken_ms != y->taken_ms)
        return x->taken_ms < y->taken_ms ? 1 : -1;
    return (x->launch > y->launch) - (x->launch < y->launch);
}

/// `row` has room for all launches.
static void add_up(Table *table, const GraphProfile *graph) {
    for (int64_t i = 0; i < table->spec->launch_count; i++) {
        const LaunchSpec *launch = &table->spec->launch[i];
        int64_t r = 0;
        while (r < table->row_count && !same_line(table->row[r].launch, launch))
            r++;
        Row *row = &table->row[r];
        if (r == table->row_count) {
            table->row_count++;
            *row = (Row){.launch = launch};
            size_t length = strlen(launch->module), most = sizeof row->module - 1;
            memcpy(row->module, launch->module, length < most ? length : most);
        } else if (strcmp(row->module, launch->module) != 0) {
            join_modules(row->module, sizeof row->module, launch->module);
        }
        double taken_ms = launch_ms(graph, i);
        row->calls++;
        row->taken_ms += taken_ms;
        row->flops += (double)launch->flops;
        row->bytes += (double)launch->bytes;
        table->total_ms += taken_ms;
    }
    qsort(table->row, (size_t)table->row_count, sizeof *table->row, compare_rows);
}

// ---- printing -----------------------------------------------------------------------------------

static const double least_share = 0.1; // per cent, of a row of its own

static double percent(double part, double all) {
    return all > 0 ? 100 * part / all : 0;
}

static void add_to(Row *sum, const Row *row) {
    sum->calls += row->calls;
    sum->taken_ms += row->taken_ms;
    sum->flops += row->flops;
    sum->bytes += row->bytes;
}

/// Share, milliseconds and launches of a run, and what was done in them.
static void put_numbers(Text *text, const Table *table, const Row *row) {
    double gflops = row->taken_ms > 0 ? row->flops / row->taken_ms * 1e-6 : 0;
    double gbytes = row->taken_ms > 0 ? row->bytes / row->taken_ms * 1e-6 : 0;
    kdrt_text_add(text, "%6.1f %% %10.3f %6" PRId64 " %9.1f",
                  percent(row->taken_ms, table->total_ms), row->taken_ms, row->calls, gflops);
    if (table->peak_gflops > 0)
        kdrt_text_add(text, " %4.0f %%", percent(gflops, table->peak_gflops));
    kdrt_text_add(text, " %8.1f", gbytes);
    if (table->copy_gbytes > 0)
        kdrt_text_add(text, " %4.0f %%", percent(gbytes, table->copy_gbytes));
}

static void put_head(Text *text, const Table *table, const char *rest) {
    kdrt_text_add(text, "%8s %10s %6s %9s%s %8s%s  %s\n", "share", "ms", "calls", "GFLOP/s",
                  table->peak_gflops > 0 ? "       " : "", "GB/s",
                  table->copy_gbytes > 0 ? "       " : "", rest);
}

/// The widest of the texts that stand in a column of the rows that are shown, up to `most`.
static int width_of(const Table *table, const char *(*get)(const Row *row), int most) {
    int width = 0;
    for (int64_t i = 0; i < table->row_count; i++) {
        int length = (int)strlen(get(&table->row[i]));
        if (percent(table->row[i].taken_ms, table->total_ms) >= least_share && length > width)
            width = length;
    }
    return width < most ? width : most;
}

static const char *terms_of(const Row *row) {
    return row->launch->terms;
}
static const char *kernel_of(const Row *row) {
    return row->launch->kernel;
}
static const char *result_of(const Row *row) {
    return row->launch->result;
}
static const char *module_of(const Row *row) {
    return row->module;
}

static void put_rows(Text *text, const Table *table) {
    int terms = width_of(table, terms_of, 32), kernel = width_of(table, kernel_of, 48),
        result = width_of(table, result_of, 48), module = width_of(table, module_of, 48);
    Row rest = {0};
    put_head(text, table, "direction  loss terms, kernel, result, module, place");
    for (int64_t i = 0; i < table->row_count; i++) {
        const Row *row = &table->row[i];
        if (percent(row->taken_ms, table->total_ms) < least_share) {
            add_to(&rest, row);
            continue;
        }
        put_numbers(text, table, row);
        kdrt_text_add(text, "  %-9s  %-*s  %-*s  %-*s  %-*s  %s\n", row->launch->direction, terms,
                      row->launch->terms, kernel, row->launch->kernel, result, row->launch->result,
                      module, row->module, row->launch->place);
    }
    if (rest.calls) {
        put_numbers(text, table, &rest);
        kdrt_text_add(text, "  (less than %.1f %% each)\n", least_share);
    }
}

static const char *kind_of(const LaunchSpec *launch) {
    return launch->kind;
}
static const char *class_of(const LaunchSpec *launch) {
    return strcmp(launch->kind, "contraction") ? "everything else" : "convolution and matmul";
}
static const char *direction_of(const LaunchSpec *launch) {
    return launch->direction;
}
static const char *term_of(const LaunchSpec *launch) {
    return launch->terms;
}

/// What a line of totals goes by; a second name or NULL.
typedef const char *Key(const LaunchSpec *launch);

static bool same_key(Key *key, const Row *a, const Row *b) {
    return !key || !strcmp(key(a->launch), key(b->launch));
}

/// A line for each pair of values of `key` and `also`, in the order in which they come up.
static void put_totals(Text *text, const Table *table, const char *title, Key *key, Key *also) {
    put_head(text, table, title);
    for (int64_t i = 0; i < table->row_count; i++) {
        const Row *row = &table->row[i];
        Row sum = {.launch = row->launch};
        bool first = true;
        for (int64_t k = 0; k < table->row_count; k++) {
            const Row *other = &table->row[k];
            if (!same_key(key, row, other) || !same_key(also, row, other))
                continue;
            first = first && k >= i;
            add_to(&sum, other);
        }
        if (!first)
            continue;
        put_numbers(text, table, &sum);
        kdrt_text_add(text, "  %s%s%s\n", key(row->launch), also ? ": " : "",
                      also ? also(row->launch) : "");
    }
}

static bool is_shown(const GraphSpec *spec, const GraphProfile *graph) {
    return graph->runs && spec->launch_count &&
           (!strcmp(spec->role, "step") || !strcmp(spec->role, "eval") ||
            !strcmp(spec->role, "prologue"));
}

/// The answers under which a variant of a step runs: "; when epoch < 60 and not …".
static void put_conditions(Text *text, const Manifest *m, const StepSpec *step, int64_t graph) {
    for (int64_t v = 0; v < kdrt_variant_count(step); v++) {
        const StepVariant *variant = kdrt_variant(step, v);
        const char *between = "; when";
        for (int64_t i = 0; variant->graph == graph && variant->when[i]; i++) {
            const char *name = m->graph[step->choose].output[i].name; // "1 epoch < 60"
            const char *condition = strchr(name, ' ');
            if (variant->when[i] == '-')
                continue;
            kdrt_text_add(text, "%s%s%s", between, variant->when[i] == '0' ? " not" : "",
                          condition ? condition : name);
            between = " and";
        }
    }
}

static void put_graph(Text *text, const Manifest *m, Table *table, const GraphProfile *graph) {
    const GraphSpec *spec = table->spec;
    add_up(table, graph);
    kdrt_text_add(text, "\n%s: %" PRId64 " run%s, %.3f ms each by the median; %" PRId64 " launches",
                  spec->name, graph->runs, graph->runs == 1 ? "" : "s",
                  launch_ms(graph, spec->launch_count), spec->launch_count);
    for (int64_t p = 0; p < m->phase_count; p++)
        for (int64_t s = 0; s < m->phase[p].step_count; s++)
            put_conditions(text, m, &m->phase[p].step[s], spec - m->graph);
    kdrt_text_add(text, "\n");
    put_rows(text, table);
    put_totals(text, table, "by class", class_of, NULL);
    put_totals(text, table, "by kind", kind_of, NULL);
    if (strcmp(spec->role, "step") != 0)
        return;
    put_totals(text, table, "by direction", direction_of, NULL);
    put_totals(text, table, "by loss terms", term_of, NULL);
    put_totals(text, table, "by loss terms and class", term_of, class_of);
}

static Table measure_limits(Env *env, Dtype real, int64_t threads) {
    enum { TIMES = 5 };
    Table table = {.copy_gbytes = kdrt_copy_gbytes(env, threads)};
    for (int i = 0; i < TIMES; i++) {
        double peak = kdrt_peak_gflops(threads);
        table.peak_gflops = peak > table.peak_gflops ? peak : table.peak_gflops;
    }
    if (real == DTYPE_f64)
        table.peak_gflops /= 2;
    return table;
}

static void put_limits(Text *text, const Table *limits) {
    if (limits->peak_gflops > 0)
        kdrt_text_add(text, "; the limits: %.1f GFLOP/s of multiply-adds", limits->peak_gflops);
    if (limits->copy_gbytes > 0)
        kdrt_text_add(text, "%s %.1f GB/s of copying", limits->peak_gflops > 0 ? "," : ";",
                      limits->copy_gbytes);
    kdrt_text_add(text, "\n");
}

/// What a batch of each phase took by the clock.
static void put_batches(Text *text, const KdrtProfile *profile) {
    for (int64_t i = 0; i < profile->manifest.phase_count; i++) {
        const PhaseProfile *phase = &profile->phase[i];
        if (phase->batches)
            kdrt_text_add(text,
                          "%s: %" PRId64 " batch%s, %.3f ms each by the median, of which it waited "
                          "%.3f ms for data\n",
                          profile->manifest.phase[i].name, phase->batches,
                          phase->batches == 1 ? "" : "es",
                          median_ms(phase->taken_ns, phase->batches),
                          median_ms(phase->waited_ns, phase->batches));
    }
}

bool kdrt_profile_print(const KdrtProfile *profile, int64_t threads, KdrtError *error) {
    const Manifest *m = &profile->manifest;
    Env env = {0};
    Arena arena = {.env = &env};
    Text text = {.env = &env};
    Table table = measure_limits(&env, m->real, threads);
    kdrt_text_add(&text, "\nprofile of %s on %" PRId64 " thread%s", m->name, threads,
                  threads == 1 ? "" : "s");
    put_limits(&text, &table);
    put_batches(&text, profile);
    for (int64_t i = 0; i < m->graph_count && !text.failed; i++) {
        if (!is_shown(&m->graph[i], &profile->graph[i]))
            continue;
        table.spec = &m->graph[i];
        table.row_count = 0;
        table.total_ms = 0;
        table.row = kdrt_arena_array(&arena, (size_t)table.spec->launch_count, sizeof *table.row);
        text.failed |= !table.row;
        if (table.row)
            put_graph(&text, m, &table, &profile->graph[i]);
    }
    bool good = !text.failed || kdrt_fail_memory(error, text.length);
    if (good)
        kdrt_io_say(STDOUT_FILENO, text.at, text.length);
    kdrt_text_release(&text);
    kdrt_arena_release(&arena);
    return good;
}
