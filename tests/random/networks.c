// tests/random/networks.c -- random networks, compiled, against the interpreter.
//
//     networks --count N --seed S [--first I] [--print] [--no-shrink]
//
// Each network, in f32 and f64, in a process of its own: a crash or a hang is a failure like any
// other. Compiled with all passes, and in a few more ways that rotate from network to network. What
// fails is shrunk while it still fails: effects and graphs are left out, nodes become inputs or one
// of their operands. At the end the ops are counted; in a run of 500 each must be there 20 times.
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/differ/against.inc"
#include "tests/random/network_cases.h"

enum { WAYS_MAX = 3, SECONDS_MAX = 60, SHRINK_SECONDS = 40 };

// ---- ways
// ------------------------------------------------------------------------------------------

static const Way usual = {.name = "-O2", .level = 2, .threads = true};

static const Way rotating[] = {
    {.name = "-O0", .level = 0, .threads = true},
    {.name = "-O1", .level = 1},
    {.name = "-O3", .level = 3},
    {.name = "-O3 without layout, simplify", .level = 3, .without = "layout,simplify"},
    {.name = "-O2 without simplify", .level = 2, .without = "simplify"},
    {.name = "-O2 without cse", .level = 2, .without = "cse"},
    {.name = "-O2 without dce", .level = 2, .without = "dce"},
    {.name = "-O2 without fold_frozen", .level = 2, .without = "fold_frozen"},
    {.name = "-O2 without bind_times", .level = 2, .without = "bind_times"},
    {.name = "-O2 without split", .level = 2, .without = "split"},
    {.name = "-O2 without layout", .level = 2, .without = "layout"},
    {.name = "-O2 without all",
     .level = 2,
     .threads = true,
     .without = "simplify,cse,dce,fold_frozen,bind_times,split,layout"},
    {.name = "-O2 without flags", .level = 2, .strip_flags = true},
    {.name = "-O2 interpreted", .level = 2, .interprets = true},
};
enum { ROTATING = sizeof rotating / sizeof *rotating };

static size_t choose_ways(uint64_t index, bool wide, Way ways[WAYS_MAX]) {
    ways[0] = usual;
    ways[1] = rotating[(index + (wide ? 7 : 0)) % ROTATING];
    ways[2] = rotating[(index / ROTATING + 5 * index + (wide ? 9 : 3)) % ROTATING];
    return 3;
}

// ---- one check, in a process of its own
// -------------------------------------------------------------------------

typedef enum Outcome { AGREES, DIFFERS, DROPPED, CRASHES } Outcome;

static Verdict *shared; // with the child

static Outcome check(const char *text, uint64_t seed, const Way *ways, size_t way_count,
                     char what[1200]) {
    *shared = (Verdict){0};
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        FILE *quiet = what ? NULL : freopen("/dev/null", "w", stderr);
        (void)quiet;
        setrlimit(RLIMIT_CPU, &(struct rlimit){SECONDS_MAX, SECONDS_MAX}); // others use it too
        against_interpreter(text, strlen(text), seed, ways, way_count, shared);
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    if (!WIFEXITED(status) || WEXITSTATUS(status)) {
        if (what)
            snprintf(what, 1200, "%s: %s %d", ways[shared->way].name,
                     WIFSIGNALED(status) ? "signal" : "exit status",
                     WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
        return CRASHES;
    }
    if (shared->differs && what)
        snprintf(what, 1200, "%s", shared->what);
    bool useless = shared->unchecked > shared->checked;
    return shared->differs                        ? DIFFERS
           : !shared->finite || !shared->readable ? DROPPED
           : useless                              ? DROPPED
                                                  : AGREES;
}

// ---- shrinking
// --------------------------------------------------------------------------------------

static char *text_of_module(Arena *arena, const Module *module) {
    StrBuf out = {.arena = arena};
    module_print(&out, module, NULL);
    return (char *)strbuf_text(&out);
}

static Module *module_of_text(Arena *arena, const char *text) {
    return read_text_module(arena, text, strlen(text));
}

static void drop_dead(Graph *graph) {
    size_t count = graph->nodes.count;
    uint8_t *live = calloc(count + 1, 1);
    for (size_t i = count; i-- > 0;) {
        const Node *node = graph->nodes.at[i];
        live[i] |= op_has(node->op, EFFECT);
        for (uint32_t k = 0; live[i] && k < node->arity; k++)
            live[node->operand[k]->id] = 1;
    }
    graph_keep_only(graph, live);
    free(live);
}

/// Storages that no graph reads or writes.
static void drop_storages(Module *module) {
    size_t count = module->storages.count, kept = 0;
    int64_t *now = calloc(count + 1, sizeof *now);
    for (size_t g = 0; g < module->graphs.count; g++) {
        const Graph *graph = module->graphs.at[g];
        for (size_t i = 0; i < graph->nodes.count; i++) {
            const Node *node = graph->nodes.at[i];
            if (node->op == OP_read || node->op == OP_write)
                now[node->attrs->storage] = 1;
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (!now[i])
            continue;
        now[i] = (int64_t)kept;
        module->storages.at[kept] = module->storages.at[i];
        module->storages.at[kept]->id = (uint32_t)kept;
        kept++;
    }
    module->storages.count = kept;
    for (size_t g = 0; g < module->graphs.count; g++) {
        const Graph *graph = module->graphs.at[g];
        for (size_t i = 0; i < graph->nodes.count; i++) {
            Node *node = graph->nodes.at[i];
            if (node->op == OP_read || node->op == OP_write)
                ((Attrs *)node->attrs)->storage = now[node->attrs->storage];
        }
    }
    free(now);
}

/// Edit number `k` of node `i`: it becomes an input, or one of its operands. False: no such edit.
static bool edit_node(Graph *graph, size_t i, int k) {
    Node *node = graph->nodes.at[i], *instead = NULL;
    Arena *arena = graph->module->arena;
    if (op_has(node->op, EFFECT)) {
        uint8_t *live = arena_array(arena, uint8_t, graph->nodes.count);
        memset(live, 1, graph->nodes.count);
        live[i] = 0;
        return k == 0 && graph_keep_only(graph, live);
    }
    if (k < 2) {
        if (op_has(node->op, LEAF))
            return false;
        const char *name = arena_printf(arena, "%s.%s%zu", graph->name, k ? "positive" : "cut", i);
        instead = ir_input(graph, name, &node->type);
    } else {
        if ((uint32_t)k - 2 >= node->arity || !type_equal(&node->operand[k - 2]->type, &node->type))
            return k - 2 < (int)node->arity ? false : false;
        instead = node->operand[k - 2];
    }
    // The list stays in topological order: the input is put where the node was.
    size_t count = graph->nodes.count;
    Node **list = arena_array(arena, Node *, count + 1);
    size_t used = 0;
    for (size_t j = 0; j < count; j++) {
        Node *at = graph->nodes.at[j];
        if (at == instead && k < 2)
            continue;
        if (j == i && k < 2)
            list[used++] = instead;
        list[used++] = at;
        for (uint32_t o = 0; o < at->arity; o++) {
            if (at->operand[o] == node && at != instead)
                at->operand[o] = instead;
        }
    }
    graph_set_nodes(graph, list, used);
    return true;
}

static double seconds_since(const struct timespec *start) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - start->tv_sec) + 1e-9 * (double)(now.tv_nsec - start->tv_nsec);
}

typedef struct Shrink {
    char *text; // malloc'ed
    uint64_t seed;
    const Way *way;
    Outcome outcome;
} Shrink;

static bool still_fails(Shrink *s, Module *module, Arena *arena) {
    for (size_t g = 0; g < module->graphs.count; g++)
        drop_dead(module->graphs.at[g]);
    drop_storages(module);
    if (module_verify(module, arena))
        return false;
    char *text = text_of_module(arena, module);
    if (strlen(text) >= strlen(s->text) || check(text, s->seed, s->way, 1, NULL) != s->outcome)
        return false;
    free(s->text);
    s->text = strdup(text);
    return true;
}

/// All effects of a graph but one, which are most of a network.
static bool keep_one_effect(Shrink *s) {
    for (size_t g = 0;; g++) {
        for (size_t i = 0;; i++) {
            Arena arena = {0};
            Module *module = module_of_text(&arena, s->text);
            bool graph_there = module && g < module->graphs.count;
            bool node_there = graph_there && i < module->graphs.at[g]->nodes.count, done = false;
            if (node_there && op_has(module->graphs.at[g]->nodes.at[i]->op, EFFECT)) {
                Graph *graph = module->graphs.at[g];
                uint8_t *live = arena_array(&arena, uint8_t, graph->nodes.count);
                for (size_t k = 0; k < graph->nodes.count; k++)
                    live[k] = k == i || !op_has(graph->nodes.at[k]->op, EFFECT);
                graph_keep_only(graph, live);
                module->graphs.at[0] = graph;
                module->graphs.count = 1;
                done = still_fails(s, module, &arena);
            }
            arena_release(&arena);
            if (done || !graph_there)
                return done;
            if (!node_there)
                break;
        }
    }
}

/// One sweep over all edits; whether any was kept.
static bool shrink_once(Shrink *s, const struct timespec *start) {
    bool any = false;
    for (size_t g = 0;; g++) {
        Arena arena = {0};
        Module *module = module_of_text(&arena, s->text);
        bool more = module && g < module->graphs.count;
        if (more && module->graphs.count > 1) {
            for (size_t i = g; i + 1 < module->graphs.count; i++)
                module->graphs.at[i] = module->graphs.at[i + 1];
            module->graphs.count--;
            if (still_fails(s, module, &arena)) {
                any = true;
                g--;
            }
        }
        arena_release(&arena);
        if (!more)
            break;
    }
    for (size_t g = 0;; g++) {
        bool graph_there = true;
        for (size_t back = 1; graph_there; back++) {
            for (int k = 0; k < 5 && seconds_since(start) < SHRINK_SECONDS; k++) {
                Arena arena = {0};
                Module *module = module_of_text(&arena, s->text);
                graph_there =
                    module && g < module->graphs.count && back <= module->graphs.at[g]->nodes.count;
                bool done = false;
                if (graph_there) {
                    Graph *graph = module->graphs.at[g];
                    done = edit_node(graph, graph->nodes.count - back, k) &&
                           still_fails(s, module, &arena);
                }
                arena_release(&arena);
                any |= done;
                if (done || !graph_there)
                    break;
            }
            if (seconds_since(start) >= SHRINK_SECONDS)
                return false;
        }
        Arena arena = {0};
        Module *module = module_of_text(&arena, s->text);
        bool last = !module || g + 1 >= module->graphs.count;
        arena_release(&arena);
        if (last)
            return any;
    }
}

static void print_shrunken(const char *text, uint64_t seed, const Way *ways, size_t way_count) {
    struct timespec start;
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (size_t i = 0; i < way_count; i++) {
        Outcome outcome = check(text, seed, &ways[i], 1, NULL);
        if (outcome != DIFFERS && outcome != CRASHES)
            continue;
        Shrink s = {strdup(text), seed, &ways[i], outcome};
        keep_one_effect(&s);
        while (shrink_once(&s, &start))
            ;
        char what[1200] = "";
        check(s.text, seed, &ways[i], 1, what);
        printf("# shrunken, seed of values %llu, %s\n%s\n", (unsigned long long)seed, what, s.text);
        free(s.text);
        return;
    }
}

// ---- all of them
// ------------------------------------------------------------------------------------

typedef struct Tally {
    int64_t op[OP_COUNT]; // networks' nodes
    int64_t networks, dropped, failed;
    int64_t checked, unchecked;
} Tally;

static void count_ops(Tally *tally, const Module *module) {
    for (size_t g = 0; g < module->graphs.count; g++) {
        const Graph *graph = module->graphs.at[g];
        for (size_t i = 0; i < graph->nodes.count; i++)
            tally->op[graph->nodes.at[i]->op]++;
    }
}

static void check_network(Tally *tally, uint64_t seed, uint64_t index, bool print, bool shrink) {
    Way ways[WAYS_MAX];
    uint64_t network = seed * 100000 + index;
    bool dropped = false, failed = false;
    for (int wide = 0; wide < 2; wide++) {
        size_t way_count = choose_ways(index, wide, ways);
        Arena arena = {0};
        Module *module = random_network(&arena, network, wide ? DT_F64 : DT_F32);
        if (!wide)
            count_ops(tally, module);
        char *text = text_of_module(&arena, module), what[1200] = "";
        if (print)
            printf("%s\n", text);
        Outcome outcome = check(text, network, ways, way_count, what);
        tally->checked += shared->checked;
        tally->unchecked += shared->unchecked;
        dropped |= outcome == DROPPED;
        if (outcome == DIFFERS || outcome == CRASHES) {
            failed = true;
            printf("FAILED seed %llu, network %llu, %s: %s\n", (unsigned long long)seed,
                   (unsigned long long)index, wide ? "f64" : "f32", what);
            if (shrink)
                print_shrunken(text, network, ways, way_count);
        }
        if (outcome == DROPPED)
            printf("dropped: network %llu, %s: %s, %lld of %lld elements unchecked\n",
                   (unsigned long long)index, wide ? "f64" : "f32",
                   !shared->readable ? "not readable"
                   : shared->finite  ? "bounds are useless"
                                     : "not finite",
                   (long long)shared->unchecked, (long long)(shared->checked + shared->unchecked));
        fflush(stdout);
        arena_release(&arena);
    }
    tally->networks++;
    tally->dropped += dropped;
    tally->failed += failed;
}

static bool print_tally(const Tally *tally) {
    bool rare = false;
    for (int op = 0; op < OP_COUNT; op++) {
        printf("%-16s %7lld%s", op_info[op].name, (long long)tally->op[op],
               op % 4 == 3 || op + 1 == OP_COUNT ? "\n" : "   ");
        rare |= tally->op[op] < 20;
    }
    printf("networks %lld, dropped %lld, failed %lld; elements checked %lld, unchecked %lld\n",
           (long long)tally->networks, (long long)tally->dropped, (long long)tally->failed,
           (long long)tally->checked, (long long)tally->unchecked);
    if (rare && tally->networks >= 500)
        printf("an op is there less than 20 times\n");
    if (tally->dropped * 10 > tally->networks + 10)
        printf("more than 10 %% were dropped\n");
    return !(rare && tally->networks >= 500) && tally->dropped * 10 <= tally->networks + 10 &&
           !tally->failed;
}

int main(int argc, char **argv) {
    uint64_t count = 25, seed = 1, first = 0;
    bool print = false, shrink = true;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--print") == 0)
            print = true;
        else if (strcmp(argv[i], "--no-shrink") == 0)
            shrink = false;
        else if (i + 1 < argc && strcmp(argv[i], "--count") == 0)
            count = strtoull(argv[++i], NULL, 10);
        else if (i + 1 < argc && strcmp(argv[i], "--seed") == 0)
            seed = strtoull(argv[++i], NULL, 10);
        else if (i + 1 < argc && strcmp(argv[i], "--first") == 0)
            first = strtoull(argv[++i], NULL, 10);
        else
            return fprintf(stderr,
                           "networks --count N --seed S [--first I] [--print] [--no-shrink]\n"),
                   1;
    }
    if (!getenv("OMP_WAIT_POLICY")) { // three threads that spin on two cores take for ever
        setenv("OMP_WAIT_POLICY", "passive", 1);
        execv("/proc/self/exe", argv);
    }
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return 2;
    Tally tally = {0};
    for (uint64_t i = first; i < first + count; i++)
        check_network(&tally, seed, i, print, shrink);
    bool good = print_tally(&tally);
    printf("cases: %lld passed, %lld failed, 0 skipped\n",
           (long long)(tally.networks - tally.failed), (long long)tally.failed);
    return good ? 0 : 1;
}
