// tests/grad/library.c -- the library, std/*.kd: each public name, applied to small tensors by
// library.kd, is differentiated and compiled.
//
// For a block that leaves y, the loss is sum(y r) with random weights r, one per element, and the
// loss of the second order the same of all first gradients. The reference is the central difference
// (L(s + h u) - L(s - h u)) / 2h of the loss alone, h = 2^-36, by the interpreter in binary128; see
// ops.c. The directions u are the axes: every element. Of large leaves they are some of the axes
// and some that mix all elements. A gradient must be within 1e-8 of the reference, relative, in
// binary128 and in f64; in f64 an element whose bound on rounding errors is larger counts as
// unchecked, at most 1 %. Sides that the library holds constant must have gradients of exactly 0.
//
// The same blocks with the same gradients, compiled, are held against the interpreter in f64 and
// f32. Blocks with mistakes in them show that mistakes are found. library_values.c has what is
// known in closed form.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <quadmath.h>

#include "frontend/std_files.h"
#include "tests/grad/library.inc"

static const double TOLERANCE = 1e-8;
static const double NOISE = 1e-18; // of a difference, where the gradients are near 1

// ---- every name has a block ---------------------------------------------------------------------

/// Leaves no operations behind; library.kd asserts the value while it is elaborated. Or, like
/// mobilenet_v2, cannot be made small: its parts have blocks.
static const char *const without_block[] = {"fan_in",     "fan_out", "fan_of",        "constant",
                                            "ceil_extra", "nearest", "multiple_near", "mobilenet_v2"};

/// The kinds of blocks in which a name of this file of the library must be.
static unsigned kind_for(const char *file) {
    bool has_no_gradient = strcmp(file, "std/init.kd") == 0 ||      // drawn once
                           strcmp(file, "std/schedules.kd") == 0 || // functions of time
                           strcmp(file, "std/metrics.kd") == 0;     // counts
    return strcmp(file, "std/optimizers.kd") == 0 ? UPDATE
           : has_no_gradient                      ? VALUE
                                                  : GRADIENT | DEEP;
}

static bool comes_from(const Node *node, const char *function) {
    for (const Origin *origin = node->origin; origin; origin = origin->caller)
        if (origin->function && strcmp(origin->function, function) == 0)
            return true;
    return false;
}

static bool has_block(const Module *module, unsigned kinds, const char *name) {
    for (size_t g = 0; g < module->graphs.count; g++) {
        const Graph *graph = module->graphs.at[g];
        if (graph->role != GRAPH_STEP || !(kind_of(graph) & kinds))
            continue;
        const uint8_t *seen = kinds & GRADIENT ? needed_for(graph, result_of(graph)) : NULL;
        for (size_t i = 0; i < graph->nodes.count; i++)
            if ((!seen || seen[i]) && comes_from(graph->nodes.at[i], name))
                return true;
    }
    return false;
}

static void every_name_has_a_block(void **state) {
    (void)state;
    const Module *module = elaborate(DT_F64);
    int names = 0, missing = 0;
    size_t exceptions = 0;
    for (size_t f = 0; f < std_file_count; f++) {
        DiagSink diags;
        diag_sink_init(&diags, &memory, &sources);
        const Source *source =
            source_add(&sources, std_files[f].name, std_files[f].text, std_files[f].length);
        const AstFile *file = parse(source, &diags);
        for (size_t i = 0; i < file->body.count; i++) {
            const AstStmt *stmt = file->body.stmts[i];
            if (stmt->kind != STMT_FN && stmt->kind != STMT_NET && stmt->kind != STMT_OPTIMIZER)
                continue;
            const char *name = stmt->function.name.text;
            bool excepted = false;
            for (size_t k = 0; k < COUNT(without_block); k++)
                excepted |= strcmp(without_block[k], name) == 0;
            exceptions += excepted;
            names++;
            if (!excepted && !has_block(module, kind_for(std_files[f].name), name)) {
                fprintf(stderr, "%s: no block of library.kd has `%s`\n", std_files[f].name, name);
                missing++;
            }
        }
    }
    printf("%d names\n", names);
    assert_int_equal(missing, 0);
    assert_int_equal(exceptions, COUNT(without_block));
    assert_true(names > 50);
}

// ---- values and the interpreter -----------------------------------------------------------------

/// Uniform in [0, 1), from a 64-bit linear congruential generator (Knuth's multiplier).
static double draw_unit(uint64_t *random) {
    *random = *random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (double)(*random >> 11) * 0x1p-53;
}

/// Labels go beyond 0..5 on both sides.
static double draw_value(Block *b, const Leaf *leaf) {
    double unit = draw_unit(&b->random);
    if (!leaf->is_wrt)
        return floor(8 * unit) - 1;
    return strstr(leaf->name, "positive") ? 0.25 + unit : 2 * unit - 1;
}

static void draw_leaves(Block *b) {
    b->random = hash_of(b->name, 7);
    for (size_t i = 0; i < b->leaf_count; i++) {
        Leaf *leaf = &b->leaf[i];
        leaf->value = arena_array(b->module->arena, __float128, (size_t)leaf->count);
        for (int64_t k = 0; k < leaf->count; k++)
            leaf->value[k] = draw_value(b, leaf);
    }
}

static void set_leaf(EvalState *state, const Leaf *leaf) {
    if (leaf->node->op == OP_read)
        eval_set_storage_q(state, (uint32_t)leaf->node->attrs->storage, leaf->value);
    else
        eval_set_input_q(state, leaf->name, leaf->value);
}

/// The weights r of a block, by the names of their storages.
static bool is_weight(const Block *b, const char *storage) {
    size_t length = strlen(b->name);
    return begins(storage, b->name) && storage[length] == '.' && storage[length + 1] == 'r';
}

/// A state in which the block's leaves and weights are set, and the rest is 0.
static EvalState *evaluate(Block *b, Arena *arena, EvalPrecision precision, const Graph *graph) {
    EvalState *state = eval_new(arena, b->module, precision);
    eval_set_random(state, 1, 0);
    for (size_t i = 0; i < b->module->scalars.count; i++)
        eval_set_scalar(state, b->module->scalars.at[i], 0);
    for (uint32_t i = 0; i < b->module->storages.count; i++) {
        const Storage *storage = b->module->storages.at[i];
        if (is_weight(b, storage->name))
            eval_set_storage(state, i, named_values(arena, storage->name, &storage->type, 1));
    }
    for (size_t i = 0; i < b->leaf_count; i++)
        set_leaf(state, &b->leaf[i]);
    eval_track_bounds(state, precision == EVAL_F64);
    eval_run(state, graph);
    return state;
}

// ---- gradients against differences --------------------------------------------------------------

static __float128 loss_at(Block *b, EvalState *state, int order, Leaf *leaf, const double *u,
                          double h) {
    Arena scratch = {0};
    Leaf moved = *leaf;
    moved.value = arena_array(&scratch, __float128, (size_t)leaf->count);
    for (int64_t i = 0; i < leaf->count; i++)
        moved.value[i] = leaf->value[i] + (__float128)h * u[i];
    set_leaf(state, &moved);
    eval_run(state, b->reference[order]);
    arena_release(&scratch);
    return *eval_get_output_q(state, "loss", NULL);
}

static void judge(Block *b, int order, bool good, const Leaf *leaf, const char *where,
                  const char *how, double found, double expected) {
    b->checked[order]++;
    b->failed[order] += !good;
    if (!good && !b->quiet)
        fprintf(stderr, "%s: order %d by `%s` %s in %s: %.17g, expected %.17g\n", b->name,
                order + 1, leaf->name, where, how, found, expected);
}

/// A gradient as the interpreter has it.
typedef struct Found {
    const __float128 *quad;
    const double *f64, *bound;
} Found;

/// The derivative along u, of one leaf.
static void compare_along(Block *b, int order, EvalState *reference, Leaf *leaf, const Found *found,
                          const double *u, const char *where) {
    const double h = 0x1p-36;
    __float128 expected =
        (loss_at(b, reference, order, leaf, u, h) - loss_at(b, reference, order, leaf, u, -h)) /
        (2 * (__float128)h);
    __float128 quad = 0, f64 = 0, largest = 1;
    double bound = 0;
    for (int64_t i = 0; i < leaf->count; i++) {
        quad += found->quad[i] * u[i];
        f64 += (__float128)found->f64[i] * u[i];
        largest = fmaxq(largest, fabsq(found->quad[i]));
        if (found->f64[i] != 0 && u[i] != 0)
            bound += 2 * found->bound[i] * fabs(u[i]);
    }
    __float128 allowed = fmaxq(TOLERANCE * fabsq(expected), NOISE * largest);
    judge(b, order, fabsq(quad - expected) <= allowed, leaf, where, "binary128", (double)quad,
          (double)expected);
    if (kind_of(b->graph) == DEEP)
        return;
    bool hidden = bound > allowed; // by rounding
    if (hidden)
        allowed = bound;
    judge(b, order, fabsq(f64 - expected) <= allowed, leaf, where, "f64", (double)f64,
          (double)expected);
    b->unchecked[order] += hidden;
}

enum { DIRECTIONS = 300, MIXED = 4 }; // of a block; of a large leaf

static void compare_leaf(Block *b, int order, size_t which, EvalState *quad, EvalState *f64) {
    Leaf *leaf = &b->leaf[which];
    Arena scratch = {0};
    const char *name = arena_printf(&scratch, "%s%zu", order ? "dd" : "d", which);
    Found found = {eval_get_output_q(quad, name, NULL), eval_get_output(f64, name, NULL),
                   eval_get_bound(f64, name)};
    if (leaf->is_constant) {
        for (int64_t i = 0; i < leaf->count; i++)
            judge(b, order, found.quad[i] == 0 && found.f64[i] == 0, leaf, "", "all",
                  (double)found.quad[i], 0);
        arena_release(&scratch);
        return;
    }
    EvalState *reference = evaluate(b, &scratch, EVAL_F128, b->reference[order]);
    double *u = arena_array(&scratch, double, (size_t)leaf->count);
    int64_t limit = DIRECTIONS / (int64_t)b->leaf_count;
    for (int64_t k = 0; k < leaf->count && k < limit; k++) {
        int64_t i =
            leaf->count <= limit ? k : (int64_t)(draw_unit(&b->random) * (double)leaf->count);
        u[i] = 1;
        compare_along(b, order, reference, leaf, &found, u,
                      arena_printf(&scratch, "at %d", (int)i));
        u[i] = 0;
    }
    for (int k = 0; k < MIXED && leaf->count > limit; k++) {
        for (int64_t i = 0; i < leaf->count; i++)
            u[i] = (draw_unit(&b->random) < 0.5 ? -1 : 1) * (0.5 + draw_unit(&b->random));
        compare_along(b, order, reference, leaf, &found, u, "along a direction");
    }
    arena_release(&scratch);
}

static void check_gradients(Block *b) {
    Arena scratch = {0};
    draw_leaves(b);
    EvalState *quad = evaluate(b, &scratch, EVAL_F128, b->graph);
    EvalState *f64 = evaluate(b, &scratch, EVAL_F64, b->graph);
    for (int order = 0; order < 2; order++) {
        for (size_t i = 0; i < b->leaf_count; i++)
            if (b->leaf[i].is_wrt)
                compare_leaf(b, order, i, quad, f64);
    }
    arena_release(&scratch);
}

typedef void Each(Block *b, void *context);

/// Calls `each` for every block of some kinds, differentiated and with its references.
static void for_each_block(unsigned kinds, Each *each, void *context) {
    Module *module = elaborate(DT_F64);
    keep_blocks(module, kinds);
    size_t count = module->graphs.count, n = 0;
    Block *blocks = arena_array(&memory, Block, count);
    for (size_t i = 0; i < count; i++)
        if (module->graphs.at[i]->role == GRAPH_STEP)
            blocks[n++] = append_gradients(module->graphs.at[i], true);
    run_passes(module, "differentiate,dce");
    for (size_t i = 0; i < n; i++)
        each(&blocks[i], context);
}

typedef struct Totals {
    int blocks;
    long checked[2], unchecked[2], failed[2];
} Totals;

static void check_and_add(Block *b, void *context) {
    Totals *t = context;
    check_gradients(b);
    t->blocks++;
    for (int order = 0; order < 2; order++) {
        t->checked[order] += b->checked[order];
        t->unchecked[order] += b->unchecked[order];
        t->failed[order] += b->failed[order];
    }
}

static void gradients_agree_with_differences(void **state) {
    (void)state;
    Totals t = {0};
    for_each_block(GRADIENT | DEEP, check_and_add, &t);
    for (int order = 0; order < 2; order++)
        printf("order %d: %d blocks, %ld derivatives, %ld unchecked, %ld wrong\n", order + 1,
               t.blocks, t.checked[order], t.unchecked[order], t.failed[order]);
    for (int order = 0; order < 2; order++) {
        assert_int_equal(t.failed[order], 0);
        if (!*only_block) // the share is of all
            assert_true(100 * t.unchecked[order] <= t.checked[order]);
    }
}

static void must_be_caught(Block *b, void *context) {
    int *tried = context;
    b->quiet = true;
    check_gradients(b);
    ++*tried;
    if (b->failed[0] + b->failed[1] == 0)
        fail_msg("%s was not caught", b->name);
    if (begins(b->name, "wrong_second")) // and nothing else is wrong with it
        assert_int_equal(b->failed[0], 0);
}

static void mistakes_are_caught(void **state) {
    (void)state;
    int tried = 0;
    for_each_block(WRONG, must_be_caught, &tried);
    assert_true(tried >= 7);
}

// ---- compiled -----------------------------------------------------------------------------------

/// The text of a module with the blocks of `kinds` and their gradients.
static const char *text_of_blocks(DType real, unsigned kinds, int64_t *outputs) {
    Module *module = elaborate(real);
    keep_blocks(module, kinds);
    size_t count = module->graphs.count;
    for (size_t i = 0; i < module->storages.count; i++)
        module->storages.at[i]->phase = 0; // each phase would lay its own arena over the others'
    for (size_t i = 0; i < count; i++)
        module->graphs.at[i]->phase = 0;
    for (size_t i = 0; i < count; i++)
        if (module->graphs.at[i]->role == GRAPH_STEP)
            append_gradients(module->graphs.at[i], false);
    *outputs = 0;
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < module->graphs.at[i]->nodes.count; k++)
            if (module->graphs.at[i]->nodes.at[k]->op == OP_output)
                *outputs += type_count(&module->graphs.at[i]->nodes.at[k]->type);
    StrBuf text = {.arena = &memory};
    module_print(&text, module, NULL);
    return strbuf_text(&text);
}

/// At most `percent` of the elements may have bounds that say nothing about them.
static void hold_against_interpreter(DType real, unsigned kinds, int percent, const Way *ways,
                                     size_t count) {
    int64_t outputs;
    const char *text = text_of_blocks(real, kinds, &outputs);
    Verdict verdict;
    against_interpreter(text, strlen(text), 3, ways, count, &verdict);
    outputs *= 2 * (int64_t)count; // runs; storages, which mostly stay as they are, are left out
    printf("%s: %lld elements of outputs, %lld unchecked\n", dtype_name(real), (long long)outputs,
           (long long)verdict.unchecked);
    assert_true(verdict.readable);
    assert_true(verdict.finite);
    if (verdict.differs)
        fail_msg("%s", verdict.what);
    if (!*only_block)
        assert_true(100 * verdict.unchecked <= percent * outputs);
}

static void compiled_code_agrees_in_f64(void **state) {
    (void)state;
    const Way ways[] = {{.name = "-O2", .level = 2, .threads = true}};
    hold_against_interpreter(DT_F64, GRADIENT, 1, ways, COUNT(ways));
    const Way few[] = {
        {.name = "-O0", .level = 0},
        {.name = "-O2 without all",
         .level = 2,
         .without = "simplify,cse,dce,fold_frozen,bind_times,split,layout"},
    };
    hold_against_interpreter(DT_F64, EDGE, 1, few, COUNT(few));
}

/// Second derivatives of whole networks: of many of them the bound says nothing.
static void compiled_networks_agree(void **state) {
    (void)state;
    const Way ways[] = {{.name = "-O2", .level = 2, .threads = true}};
    hold_against_interpreter(DT_F64, DEEP, 60, ways, COUNT(ways));
}

static void compiled_code_agrees_in_f32(void **state) {
    (void)state;
    const Way ways[] = {{.name = "-O2", .level = 2}};
    hold_against_interpreter(DT_F32, GRADIENT, 10, ways, COUNT(ways));
}

int main(int argc, char **argv) {
    source_set_init(&sources, &memory);
    if (argc > 1) // "compiled*": the tests of that name
        cmocka_set_test_filter(argv[1]);
    if (argc > 2) // and of those, "pairs": the blocks whose names begin so
        only_block = argv[2];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_name_has_a_block),
        cmocka_unit_test(gradients_agree_with_differences),
        cmocka_unit_test(mistakes_are_caught),
        cmocka_unit_test(compiled_code_agrees_in_f64),
        cmocka_unit_test(compiled_networks_agree),
        cmocka_unit_test(compiled_code_agrees_in_f32),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    arena_release(&memory);
    return failed;
}
