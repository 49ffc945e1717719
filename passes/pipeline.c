// passes/pipeline.c -- the order of the passes.
//
// run_pipeline() is the table of contents; the rest is what happens around each pass: whether it
// runs at all, its time, verification, printing.
#include "passes/passes.h"

#include <string.h>
#include <time.h>

#define NEED_required        true
#define NEED_optional        false
#define POINTER_graph(name)  .on_graph = pass_##name
#define POINTER_module(name) .on_module = pass_##name

const PassInfo pass_info[PASS_COUNT] = {
#define PASS(NAME, SCOPE, LEVEL, NEED, SUMMARY)                                                    \
    [PASS_##NAME] = {.name = #NAME,                                                                \
                     POINTER_##SCOPE(NAME),                                                        \
                     .level = (LEVEL),                                                             \
                     .required = NEED_##NEED,                                                      \
                     .summary = (SUMMARY)},
#include "passes/passes.def"
#undef PASS
};

// ---- lists of names -----------------------------------------------------------------------------

/// The first name of `list`; *length is its length, 0 at the end. *next goes on after it.
static const char *first_name(const char *list, size_t *length, const char **next) {
    list += strspn(list, ", ");
    *length = strcspn(list, ", ");
    *next = list + *length;
    return list;
}

static bool list_has(const char *list, const char *name) {
    size_t length;
    for (const char *at = list; at; at = length ? at : NULL) {
        const char *item = first_name(at, &length, &at);
        if (length == strlen(name) && memcmp(item, name, length) == 0)
            return true;
    }
    return false;
}

static bool find_pass(const char *name, size_t length, PassId *id) {
    for (int i = 0; i < PASS_COUNT; i++) {
        if (strlen(pass_info[i].name) == length && memcmp(pass_info[i].name, name, length) == 0) {
            *id = (PassId)i;
            return true;
        }
    }
    return false;
}

bool passes_known(const char *names, bool or_all, Arena *arena, const char **unknown) {
    size_t length;
    PassId id;
    for (const char *at = names;;) {
        const char *name = first_name(at, &length, &at);
        if (!length)
            return true;
        if (find_pass(name, length, &id) || (or_all && length == 3 && memcmp(name, "all", 3) == 0))
            continue;
        *unknown = arena_strndup(arena, name, length);
        return false;
    }
}

// ---- one pass -----------------------------------------------------------------------------------

typedef struct Pipeline {
    Module *module;
    PassContext *ctx;
    double elapsed_ms[PASS_COUNT];
    unsigned runs[PASS_COUNT];
} Pipeline;

static double now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec * 1e-6;
}

static FILE *log_of(const PassContext *ctx) {
    return ctx->options.log ? ctx->options.log : stderr;
}

static bool wants_verify(const PassContext *ctx) {
#ifdef NDEBUG
    return ctx->options.verify;
#else
    (void)ctx;
    return true;
#endif
}

static void print_module(Pipeline *p, const char *after) {
    StrBuf text = {.arena = p->ctx->scratch};
    module_print(&text, p->module, p->ctx->sources);
    fprintf(log_of(p->ctx), "# after %s\n%s", after, strbuf_text(&text));
}

static bool run_pass(Pipeline *p, PassId id) {
    const PassInfo *pass = &pass_info[id];
    PassContext *ctx = p->ctx;
    kdc_bug_context(arena_printf(ctx->scratch, "pass %s", pass->name));

    double start_ms = now_ms();
    bool changed = false;
    if (pass->on_module) {
        changed = pass->on_module(p->module, ctx);
    } else {
        for (size_t i = 0; i < p->module->graphs.count; i++)
            changed |= pass->on_graph(p->module->graphs.at[i], ctx);
    }
    p->elapsed_ms[id] += now_ms() - start_ms;
    p->runs[id]++;

    const char *print_after = ctx->options.print_after;
    if (print_after && (list_has(print_after, pass->name) || list_has(print_after, "all")))
        print_module(p, pass->name);
    if (wants_verify(ctx)) {
        const char *broken = module_verify(p->module, ctx->scratch);
        if (broken)
            kdc_bug("%s left a broken module: %s", pass->name, broken);
    }
    kdc_bug_context(NULL);
    arena_reset(ctx->scratch);
    return changed;
}

static bool is_wanted(const Pipeline *p, PassId id) {
    const PassInfo *pass = &pass_info[id];
    if (pass->required)
        return true;
    const char *disabled = p->ctx->options.disabled;
    return pass->level <= p->ctx->options.level && !(disabled && list_has(disabled, pass->name));
}

static bool run(Pipeline *p, PassId id) {
    if (p->ctx->observe)
        p->ctx->observe(p->module, pass_info[id].name, p->ctx->observer);
    return is_wanted(p, id) && run_pass(p, id);
}

static void print_times(const Pipeline *p) {
    FILE *out = log_of(p->ctx);
    double total_ms = 0;
    fprintf(out, "%-16s %5s %10s\n", "pass", "runs", "ms");
    for (int i = 0; i < PASS_COUNT; i++) {
        total_ms += p->elapsed_ms[i];
        if (p->runs[i])
            fprintf(out, "%-16s %5u %10.2f\n", pass_info[i].name, p->runs[i], p->elapsed_ms[i]);
    }
    fprintf(out, "%-16s %5s %10.2f\n", "all", "", total_ms);
}

// ---- the order ----------------------------------------------------------------------------------

/// Each round may make room for the next; the bound only guards against two rules that undo each
/// other.
static void tidy(Pipeline *p) {
    for (int round = 0; round < 32; round++) {
        bool changed = run(p, PASS_simplify);
        changed |= run(p, PASS_cse);
        changed |= run(p, PASS_dce);
        if (!changed)
            return;
    }
}

static void run_pipeline(Pipeline *p) {
    run(p, PASS_differentiate);
    tidy(p);
    run(p, PASS_fold_frozen);
    tidy(p);
    run(p, PASS_bind_times);
    tidy(p);
    run(p, PASS_fill);
    run(p, PASS_winograd);
    tidy(p);
    run(p, PASS_split);
    tidy(p);
    run(p, PASS_layout);
    run(p, PASS_bind_times); // weights that do not change are transformed and packed once
    run(p, PASS_cse);
    run(p, PASS_dce);
    run(p, PASS_fuse);
    run(p, PASS_order);
    run(p, PASS_plan_memory);
    run(p, PASS_remat);
}

void passes_run(Module *module, PassContext *ctx) {
    Pipeline p = {.module = module, .ctx = ctx};
    run_pipeline(&p);
    if (ctx->options.time)
        print_times(&p);
}

bool passes_run_named(Module *module, const char *names, PassContext *ctx, const char **unknown) {
    if (!passes_known(names, false, module->arena, unknown))
        return false;
    Pipeline p = {.module = module, .ctx = ctx};
    size_t length;
    PassId id;
    for (const char *at = names;;) {
        const char *name = first_name(at, &length, &at);
        if (!find_pass(name, length, &id))
            break;
        run_pass(&p, id);
    }
    if (ctx->options.time)
        print_times(&p);
    return true;
}
