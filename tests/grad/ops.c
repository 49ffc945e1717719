// tests/grad/ops.c -- the gradient of every op, and the gradient of that gradient, against central
// differences.
//
// The cases are those of cases.h, and those that all tests of ops share (tests/ops/op_cases.h). For
// a case y of storages or inputs s, the loss is sum(y r) with random weights r, one per element: a
// plain sum would not tell a gradient from its transpose. The loss of the second order is the same
// of all first gradients. The reference is (L(s + h) - L(s - h)) / 2h in binary128 by the
// interpreter, on the graph of the loss alone: with h = 2^-36 and values near 1 it is good to about
// 1e-21, and NOISE is a bound on that. The gradient graph is evaluated
//
//     in binary128: each element within 1e-8 of the reference, relative, or within its noise; and
//     in f64: within 1e-8 too, unless the bound of rounding errors that the interpreter derives is
//     larger than that: then it must be within twice the bound, and counts as unchecked.
//
// No other absolute tolerance is used. At most 1 % may go unchecked. The controls at the end make
// sure that mistakes are caught, and the kinks are held as equalities.
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

#include "ir/eval.h"
#include "ir/ir.h"
#include "passes/grad.h"
#include "passes/passes.h"
#include "support/diag.h"
#include "tests/grad/cases.h"
#include "tests/ops/op_cases.h"

enum { MAX_LEAVES = 16 };
static const double TOLERANCE = 1e-8;
static const double NOISE = 1e-18;

// ---- random values ------------------------------------------------------------------------------

static uint64_t random_state;

/// Uniform in [0, 1), from a 64-bit linear congruential generator (Knuth's multiplier).
static double uniform(void) {
    random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (double)(random_state >> 11) * 0x1p-53;
}

/// A value of the class that the first letter of a storage's name stands for.
static double draw(char class) {
    double x = uniform();
    if (class == 'p')
        return 0.5 + 1.5 * x;
    if (class == 'u')
        return 1.8 * x - 0.9;
    return x < 0.5 ? -0.05 - 3.9 * x : 0.05 + 3.9 * (x - 0.5);
}

// ---- a case as a module -------------------------------------------------------------------------

/// What a graph is evaluated with: a storage or an input.
typedef struct Leaf {
    Node *node;
    const char *name;
    __float128 *value;
    int64_t count;
    bool is_wrt; // differentiated by; weights and indices are not
} Leaf;

typedef struct Check {
    Arena arena, scratch;
    Module *module;
    Graph *graph;     // with gradients
    Graph *reference; // the loss alone
    Node *result;     // y
    const char *name;
    Leaf leaf[MAX_LEAVES];
    size_t leaf_count;
    long checked, unchecked, failed;
    bool quiet;
} Check;

/// Takes a leaf in, and draws values for it.
static Leaf *add_leaf(Check *c, Node *node, const char *name, bool is_wrt) {
    Leaf *leaf = &c->leaf[c->leaf_count++];
    assert_true(c->leaf_count <= MAX_LEAVES);
    int64_t count = type_count(&node->type);
    *leaf = (Leaf){node, name, arena_array(&c->arena, __float128, count), count, is_wrt};
    for (int64_t i = 0; i < count; i++)
        leaf->value[i] = draw(name[0]);
    return leaf;
}

/// sum(y r), r a new storage of weights
static Node *weighted(Check *c, Node *y, const char *name) {
    int64_t axes[MAX_RANK];
    for (int i = 0; i < MAX_RANK; i++)
        axes[i] = i;
    Type type = y->type;
    Node *weights = ir_read(c->graph, module_add_storage(c->module, STORAGE_STATE, name, &type));
    add_leaf(c, weights, name, false);
    Node *product = ir_binary(c->graph, OP_mul, y, weights);
    return ir_reduce(c->graph, OP_sum, product, axes, product->type.rank, false);
}

static Node *append_grad(Graph *graph, Node *loss, Node *wrt) {
    return graph_append(graph, OP_grad, (Node *[]){loss, wrt}, 2, NULL, NULL);
}

enum { CASES = sizeof grad_cases / sizeof *grad_cases };

static void open_text(Check *c, const GradCase *test) {
    int line = 0;
    const char *message = NULL;
    const char *text = arena_printf(&c->arena, "module \"case\" f64\n%s\ngraph \"g\" free {\n%s}\n",
                                    test->storages, test->nodes);
    c->name = test->name;
    c->module = module_read(&c->arena, text, strlen(text), &line, &message);
    if (!c->module)
        fail_msg("%s: line %d: %s\n%s", test->name, line, message, text);
    c->graph = c->module->graphs.at[0];
    c->result = vec_last(&c->graph->nodes);
    random_state = hash_bytes(c->name, strlen(c->name), 1);
    for (size_t i = 0; i < c->graph->nodes.count; i++) {
        Node *node = c->graph->nodes.at[i];
        if (node->op == OP_read)
            add_leaf(c, node, c->module->storages.at[node->attrs->storage]->name, true);
    }
}

/// False if the case has no gradient that could be compared: none at all, one that is not the
/// derivative by intention, or an op that comes after differentiation.
static bool open_op_case(Check *c, Op op, size_t i) {
    OpCase of_op;
    c->module = module_new(&c->arena, "case", DT_F64);
    op_case_build(op, i, c->module, &of_op);
    if (!of_op.differentiable || of_op.needs_differentiate || of_op.has_scalar ||
        op == OP_stop_gradient || op == OP_scale_gradient || op == OP_relayout)
        return false;
    c->graph = of_op.graph;
    c->name = of_op.graph->name;
    c->result = of_op.result;
    random_state = hash_bytes(c->name, strlen(c->name), 1);
    for (size_t k = 0; k < of_op.input_count; k++) {
        Node *node = of_op.input[k].node;
        Leaf *leaf = add_leaf(c, node, of_op.input[k].name, dtype_is_float(node->type.dtype));
        double *value = arena_array(&c->arena, double, leaf->count);
        op_case_fill(&of_op.input[k], 1, value);
        for (int64_t j = 0; j < leaf->count; j++)
            leaf->value[j] = value[j];
    }
    return true;
}

static void close_case(Check *c) {
    arena_release(&c->scratch);
    arena_release(&c->arena);
}

static void run_passes(Check *c, const char *names) {
    PassContext ctx = {.scratch = &c->scratch, .options = {.verify = true}};
    const char *unknown;
    passes_run_named(c->module, names, &ctx, &unknown);
    const char *broken = module_verify(c->module, &c->arena);
    if (broken)
        fail_msg("%s: %s", c->name, broken);
}

/// Appends the loss and its gradients: outputs "loss", "d0", "d1", ... The loss of the second order
/// is that of the first gradients.
static void append_gradients(Check *c, int order) {
    Graph *graph = c->graph;
    size_t leaves = c->leaf_count;
    Node *loss = weighted(c, c->result, "r");
    if (order == 2) {
        Node *sum = NULL;
        for (size_t i = 0; i < leaves; i++) {
            if (!c->leaf[i].is_wrt)
                continue;
            Node *d = append_grad(graph, loss, c->leaf[i].node);
            Node *part = weighted(c, d, arena_printf(&c->arena, "r%zu", i));
            sum = sum ? ir_binary(graph, OP_add, sum, part) : part;
        }
        loss = sum;
    }
    c->reference = graph_clone(graph, "reference");
    ir_output(c->reference, "loss", c->reference->nodes.at[loss->id]);
    for (size_t i = 0; i < leaves; i++) {
        if (c->leaf[i].is_wrt)
            ir_output(graph, arena_printf(&c->arena, "d%zu", i),
                      append_grad(graph, loss, c->leaf[i].node));
    }
    run_passes(c, "differentiate,dce");
}

static void set_leaf(EvalState *state, const Leaf *leaf) {
    if (leaf->node->op == OP_read)
        eval_set_storage_q(state, (uint32_t)leaf->node->attrs->storage, leaf->value);
    else
        eval_set_input_q(state, leaf->node->attrs->name, leaf->value);
}

static EvalState *evaluate(Check *c, EvalPrecision precision, const Graph *graph) {
    EvalState *state = eval_new(&c->arena, c->module, precision);
    for (size_t i = 0; i < c->leaf_count; i++)
        set_leaf(state, &c->leaf[i]);
    eval_track_bounds(state, precision == EVAL_F64);
    eval_run(state, graph);
    return state;
}

// ---- the reference ------------------------------------------------------------------------------

static __float128 loss_at(Check *c, EvalState *state, const Leaf *leaf) {
    set_leaf(state, leaf);
    eval_run(state, c->reference);
    return *eval_get_output_q(state, "loss", NULL);
}

/// dL/ds by central differences, one element after the other.
static __float128 *differences(Check *c, const Leaf *leaf) {
    const __float128 h = 0x1p-36;
    __float128 *result = arena_array(&c->arena, __float128, leaf->count);
    EvalState *state = evaluate(c, EVAL_F128, c->reference);
    for (int64_t i = 0; i < leaf->count; i++) {
        __float128 here = leaf->value[i];
        leaf->value[i] = here + h;
        __float128 above = loss_at(c, state, leaf);
        leaf->value[i] = here - h;
        __float128 below = loss_at(c, state, leaf);
        leaf->value[i] = here;
        result[i] = (above - below) / (2 * h);
    }
    return result;
}

// ---- the judgement ------------------------------------------------------------------------------

static void judge(Check *c, bool good, const char *how, const Leaf *leaf, int64_t i, double found,
                  double expected) {
    c->checked++;
    c->failed += !good;
    if (!good && !c->quiet)
        fprintf(stderr, "%s: by `%s` at %lld in %s: %.17g, by differences %.17g\n", c->name,
                leaf->name, (long long)i, how, found, expected);
}

static void compare(Check *c, size_t which, EvalState *quad, EvalState *f64) {
    const Leaf *leaf = &c->leaf[which];
    const __float128 *expected = differences(c, leaf);
    const char *name = arena_printf(&c->arena, "d%zu", which);
    const __float128 *in_quad = eval_get_output_q(quad, name, NULL);
    const double *in_f64 = eval_get_output(f64, name, NULL);
    const double *bound = eval_get_bound(f64, name);
    __float128 largest = 1;
    for (int64_t i = 0; i < leaf->count; i++)
        largest = fmaxq(largest, fabsq(expected[i]));
    for (int64_t i = 0; i < leaf->count; i++) {
        __float128 allowed = fmaxq(TOLERANCE * fabsq(expected[i]), NOISE * largest);
        __float128 error = fabsq(in_quad[i] - expected[i]);
        judge(c, error <= allowed, "binary128", leaf, i, (double)in_quad[i], (double)expected[i]);

        bool hidden = in_f64[i] != 0 && 2 * bound[i] > allowed; // by rounding
        if (hidden)
            allowed = 2 * bound[i];
        error = fabsq(in_f64[i] - expected[i]);
        judge(c, error <= allowed, "f64", leaf, i, in_f64[i], (double)expected[i]);
        c->unchecked += hidden;
    }
}

/// Runs an opened case whose graph `spoil`, if given, changes between differentiation and
/// evaluation.
static void run_case(Check *c, int order, bool spoil(Check *)) {
    c->quiet = spoil != NULL;
    append_gradients(c, order);
    if (spoil && !spoil(c))
        return;
    EvalState *quad = evaluate(c, EVAL_F128, c->graph);
    EvalState *f64 = evaluate(c, EVAL_F64, c->graph);
    for (size_t i = 0; i < c->leaf_count; i++) {
        if (c->leaf[i].is_wrt)
            compare(c, i, quad, f64);
    }
}

typedef struct Totals {
    int cases;
    long checked, unchecked, failed;
} Totals;

static void finish_case(Check *c, Totals *totals) {
    totals->cases++;
    totals->checked += c->checked;
    totals->unchecked += c->unchecked;
    totals->failed += c->failed;
    close_case(c);
}

static const char *only_op; // its rows' cases alone, if not NULL

static void check_order(int order) {
    Totals t = {0};
    for (size_t i = 0; i < CASES && !only_op; i++) {
        Check c = {0};
        open_text(&c, &grad_cases[i]);
        run_case(&c, order, NULL);
        finish_case(&c, &t);
    }
    for (int op = 0; op < OP_COUNT; op++) {
        if (only_op && strcmp(only_op, op_info[op].name) != 0)
            continue;
        for (size_t i = 0; i < op_case_count((Op)op); i++) {
            Check c = {0};
            if (open_op_case(&c, (Op)op, i)) {
                run_case(&c, order, NULL);
                finish_case(&c, &t);
            } else {
                close_case(&c);
            }
        }
    }
    printf("order %d: %d cases, %ld elements, %ld unchecked, %ld wrong\n", order, t.cases,
           t.checked, t.unchecked, t.failed);
    assert_int_equal(t.failed, 0);
    if (!only_op) // the share is of all
        assert_true(100 * t.unchecked <= t.checked);
}

static void gradients_agree_with_differences(void **state) {
    (void)state;
    check_order(1);
}

static void gradients_of_gradients_agree_with_differences(void **state) {
    (void)state;
    check_order(2);
}

/// Every op whose rule passes a derivative is in some case.
static void every_rule_has_a_case(void **state) {
    (void)state;
    bool seen[OP_COUNT] = {false};
    for (size_t i = 0; i < CASES; i++) {
        Check c = {0};
        open_text(&c, &grad_cases[i]);
        for (size_t k = 0; k < c.graph->nodes.count; k++)
            seen[c.graph->nodes.at[k]->op] = true;
        close_case(&c);
    }
    for (int op = 0; op < OP_COUNT; op++) {
        if (grad_passes((Op)op) && !seen[op] && op != OP_scale_gradient)
            fail_msg("no case has %s", op_info[op].name);
    }
}

// ---- controls -----------------------------------------------------------------------------------

/// Makes "d0" another value: outputs go last, so that it may have been appended.
static void replace_gradient(Check *c, Node *d, Node *other) {
    size_t n = 0;
    Node **order = arena_array(&c->scratch, Node *, c->graph->nodes.count);
    for (int outputs = 0; outputs < 2; outputs++) {
        for (size_t i = 0; i < c->graph->nodes.count; i++) {
            Node *node = c->graph->nodes.at[i];
            if ((node->op == OP_output) != outputs)
                continue;
            if (outputs && node->operand[0] == d)
                node->operand[0] = other;
            order[n++] = node;
        }
    }
    graph_set_nodes(c->graph, order, n);
}

/// The value written to output "d0".
static Node *first_gradient(Check *c) {
    for (size_t i = 0; i < c->graph->nodes.count; i++) {
        Node *node = c->graph->nodes.at[i];
        if (node->op == OP_output && strcmp(node->attrs->name, "d0") == 0)
            return node->operand[0];
    }
    return NULL;
}

/// A gradient that is off by a factor of 1 + 1e-7.
static bool spoil_scale(Check *c) {
    Node *d = first_gradient(c);
    Node *factor = ir_const(c->graph, 1 + 1e-7, DT_F64);
    replace_gradient(c, d, ir_binary(c->graph, OP_mul, d, factor));
    return true;
}

/// A gradient whose elements are in reverse order: what a forgotten transpose does.
static bool spoil_order(Check *c) {
    Node *d = first_gradient(c);
    int64_t count = type_count(&d->type);
    if (count == 1 || d->op == OP_const)
        return false;
    Node *flat = ir_reshape(c->graph, d, &count, 1);
    int64_t axis = 0;
    Node *turned = graph_append(c->graph, OP_reverse, &flat, 1, &(Attrs){.axes = {1, &axis}}, NULL);
    replace_gradient(c, d, ir_reshape(c->graph, turned, d->type.dim, d->type.rank));
    return true;
}

/// A rule that forgets a sign: the last neg, or the last sub's operands.
static bool spoil_sign(Check *c) {
    for (size_t i = c->graph->nodes.count; i-- > 0;) {
        Node *node = c->graph->nodes.at[i];
        if (node->op == OP_neg && node != first_gradient(c)) {
            node->op = OP_stop_gradient; // the identity, to the interpreter
            return true;
        }
    }
    return false;
}

static void count_caught(bool spoil(Check *), const char *what, int least, int spared) {
    int tried = 0, caught = 0;
    for (size_t i = 0; i < CASES; i++) {
        Check c = {0};
        open_text(&c, &grad_cases[i]);
        run_case(&c, 1, spoil);
        tried += c.checked > 0;
        caught += c.failed > 0;
        if (c.checked > 0 && !c.failed)
            printf("    not caught: %s\n", c.name);
        close_case(&c);
    }
    printf("%s: %d of %d caught\n", what, caught, tried);
    assert_true(tried >= least);
    assert_true(caught >= tried - spared);
}

static void mistakes_are_caught(void **state) {
    (void)state;
    // What is spared: x - x, x / x and x^0 have gradient 0; plain sums of all look the same in
    // reverse.
    count_caught(spoil_scale, "off by 1e-7", 100, 3);
    count_caught(spoil_order, "in another order", 90, 4);
    count_caught(spoil_sign, "without a sign", 3, 0);
}

int main(int argc, char **argv) {
    if (argc > 1) // "gradients*": the tests of that name
        cmocka_set_test_filter(argv[1]);
    if (argc > 2) // and of those, "svd": the cases of that op
        only_op = argv[2];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_rule_has_a_case),
        cmocka_unit_test(gradients_agree_with_differences),
        cmocka_unit_test(gradients_of_gradients_agree_with_differences),
        cmocka_unit_test(mistakes_are_caught),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
