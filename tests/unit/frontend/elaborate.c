// tests/unit/frontend/elaborate.c -- what programs become: storages, graphs, sessions.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "frontend/frontend.h"
#include "grammar/grammar.h"

static const char *const preamble =
    "use std.nets\nuse std.distill\nuse std.schedules\n"
    "data d = idx(\"nowhere\") {\n fields image: f32[3, 32, 32], label: i32\n classes 100\n"
    " count 100\n}\n";

typedef struct Run {
    Arena arena;
    SourceSet sources;
    DiagSink diags;
    Program *program;
} Run;

static void run(Run *r, const char *text) {
    *r = (Run){0};
    source_set_init(&r->sources, &r->arena);
    diag_sink_init(&r->diags, &r->arena, &r->sources);
    const char *whole = arena_printf(&r->arena, "%s%s", preamble, text);
    const Source *source = source_add(&r->sources, "test.kd", whole, strlen(whole));
    AstFile *file = kd_parse(&r->arena, &r->sources, source, &r->diags);
    r->program = frontend_elaborate(file, NULL, &r->arena, &r->sources, &r->diags);
    diag_print_all(&r->diags, stderr);
    assert_non_null(r->program);
}

static int64_t parameter_count(const Module *module, const char *prefix) {
    int64_t count = 0;
    for (size_t i = 0; i < module->storages.count; i++) {
        const Storage *s = module->storages.at[i];
        if (s->kind == STORAGE_PARAMETER && strncmp(s->name, prefix, strlen(prefix)) == 0)
            count += type_count(&s->type);
    }
    return count;
}

static const Storage *storage(const Module *module, const char *name) {
    for (size_t i = 0; i < module->storages.count; i++)
        if (strcmp(module->storages.at[i]->name, name) == 0)
            return module->storages.at[i];
    return NULL;
}

static const Graph *graph(const Module *module, const char *name) {
    for (size_t i = 0; i < module->graphs.count; i++)
        if (strcmp(module->graphs.at[i]->name, name) == 0)
            return module->graphs.at[i];
    fail_msg("there is no graph %s", name);
    return NULL;
}

static bool writes(const Module *module, const Graph *g, const char *name) {
    for (size_t i = 0; i < g->nodes.count; i++) {
        const Node *node = g->nodes.at[i];
        if (node->op == OP_write &&
            strcmp(module->storages.at[node->attrs->storage]->name, name) == 0)
            return true;
    }
    return false;
}

static size_t count_of(const Graph *g, Op op) {
    size_t count = 0;
    for (size_t i = 0; i < g->nodes.count; i++)
        count += g->nodes.at[i]->op == op;
    return count;
}

// Published parameter counts of the CIFAR networks, 100 classes.
static void networks_have_their_size(void **state) {
    (void)state;
    Run r;
    run(&r,
        "model resnet8 = resnet_cifar(blocks = 1, classes = d.classes)\n"
        "model resnet20 = resnet_cifar(blocks = 3, classes = d.classes)\n"
        "model resnet18 = resnet(blocks = [2, 2, 2, 2], classes = d.classes)\n"
        "model resnet50 = resnet(blocks = [3, 4, 6, 3], block = bottleneck, classes = d.classes)\n"
        "train t on d {\n batch 10\n epochs 1\n"
        " step (image) { report a = mean(resnet8(image)) + mean(resnet20(image)),\n"
        "                       b = mean(resnet18(image)) + mean(resnet50(image)) }\n}\n");
    const Module *m = r.program->module;
    assert_int_equal(parameter_count(m, "resnet8."), 83892);
    assert_int_equal(parameter_count(m, "resnet20."), 278324);
    assert_int_equal(parameter_count(m, "resnet18."), 11220132);
    assert_int_equal(parameter_count(m, "resnet50."), 23705252);
    assert_non_null(storage(m, "resnet8.layer2.0.downsample.1.running_mean"));
    arena_release(&r.arena);
}

static void weights_come_from_files(void **state) {
    (void)state;
    Run r;
    run(&r, "let file = \"weights.safetensors\"\n"
            "model t = linear(channels = 3) from \"/tmp/{file}\"\n"
            "model unused = linear(channels = 3) from \"none.safetensors\"\n"
            "train b on d {\n batch 10\n epochs 1\n model s = linear(channels = 3) from file\n"
            " optimize s with adam()\n"
            " step (image) { minimize l2(s(flatten(image)), t(flatten(image))) }\n}\n");
    const Program *p = r.program;
    assert_int_equal(p->loads.count, 2);
    assert_string_equal(p->loads.at[0].model, "t");
    assert_string_equal(p->loads.at[0].path, "/tmp/weights.safetensors");
    assert_string_equal(p->loads.at[1].model, "b.s");
    assert_true(p->loads.at[1].path[0] == '/');
    assert_int_equal(p->loads.at[1].storages.count, 2); // and not what adam() keeps of them
    for (size_t i = 0; i < 2; i++) {
        const Storage *s = p->module->storages.at[p->loads.at[1].storages.at[i]];
        assert_int_equal(s->kind, STORAGE_PARAMETER);
        assert_memory_equal(s->name, "b.s.", 4);
    }
    arena_release(&r.arena);
}

static void stage_by_stage_trains_one_section_a_phase(void **state) {
    (void)state;
    Run r;
    run(&r, "model t = resnet_cifar(blocks = 1, classes = d.classes)\n"
            "model s = resnet_cifar(blocks = 1, classes = d.classes)\n"
            "train st on d {\n batch 10\n epochs 1\n freeze t\n"
            " for k in 0..3 {\n  phase mimic[k] {\n"
            "   optimize s.sections[k] with sgd(lr = cosine(0.1), momentum = 0.9)\n"
            "   step (image) { minimize l2(s(image)[k], t(image)[k]) }\n  }\n }\n}\n");
    const Module *m = r.program->module;
    const Graph *first = graph(m, "st.mimic[0].step0"), *second = graph(m, "st.mimic[1].step0");
    assert_true(writes(m, first, "s.conv1.weight"));
    assert_true(writes(m, first, "s.layer1.0.conv2.weight"));
    assert_true(writes(m, first, "s.layer1.0.bn1.running_mean"));
    assert_false(writes(m, first, "s.layer2.0.conv1.weight"));
    assert_false(writes(m, first, "s.layer2.0.bn1.running_mean"));
    assert_false(writes(m, second, "s.conv1.weight"));
    assert_false(writes(m, second, "s.layer1.0.bn1.running_mean"));
    assert_true(writes(m, second, "s.layer2.0.bn1.running_mean"));
    assert_false(writes(m, first, "t.conv1.weight"));
    assert_false(writes(m, first, "t.bn1.running_mean"));
    assert_non_null(storage(m, "st.mimic[1]/s.layer2.0.conv1.weight/v"));
    assert_null(storage(m, "st.mimic[1]/s.conv1.weight/v"));
    arena_release(&r.arena);
}

static void batch_stats_leave_the_running_ones(void **state) {
    (void)state;
    Run r;
    run(&r, "model t = resnet_cifar(blocks = 1, classes = d.classes)\n"
            "model s = resnet_cifar(blocks = 1, classes = d.classes)\n"
            "train st on d {\n batch 10\n epochs 1\n freeze t with batch_stats\n"
            " optimize s with sgd(lr = 0.1)\n"
            " step (image, label) { minimize kd(s(image), t(image)) }\n"
            " eval (image) { report m = mean(t(image)) }\n}\n");
    const Module *m = r.program->module;
    const Graph *step = graph(m, "st.step0");
    assert_false(writes(m, step, "t.bn1.running_mean"));
    assert_true(writes(m, step, "s.bn1.running_mean"));
    assert_int_equal(count_of(step, OP_variance), 2 * 9);
    assert_int_equal(count_of(graph(m, "st.eval0"), OP_variance), 0);
    arena_release(&r.arena);
}

static void last_batch_is_a_second_shape(void **state) {
    (void)state;
    Run r;
    run(&r, "model p = linear(channels = d.classes)\n"
            "train t on d {\n batch 32\n epochs 1\n optimize p with sgd(lr = 0.1)\n"
            " step (image, label) { minimize cross_entropy(p(flatten(image)), label) }\n"
            " eval (image, label) { report a = accuracy(p(flatten(image)), label) }\n}\n");
    const PhaseSpec *phase = r.program->phases.at[0];
    assert_int_equal(phase->batch, 32);
    assert_int_equal(phase->last_batch, 4);
    assert_int_equal(phase->steps.at[0].last.count, 1);
    assert_int_equal(
        r.program->module->graphs.at[phase->steps.at[0].last.at[0].graph]->nodes.at[0]->type.dim[0],
        4);
    assert_int_equal(phase->evals.at[0].last_batch, 4);
    arena_release(&r.arena);
}

static void weights_are_shared_and_updated_once(void **state) {
    (void)state;
    Run r;
    run(&r, "model m = resnet_cifar(blocks = 1, classes = d.classes)\n"
            "train t on d {\n batch 10\n epochs 1\n optimize m with adamw() { no_decay biases, "
            "norms }\n"
            " clip_norm 1.0\n"
            " step (image, label) { minimize l2(m(image), m(-image)) }\n}\n");
    const Module *m = r.program->module;
    const Graph *step = graph(m, "t.step0");
    size_t running = 0;
    for (size_t i = 0; i < step->nodes.count; i++)
        running += step->nodes.at[i]->op == OP_write &&
                   strcmp(m->storages.at[step->nodes.at[i]->attrs->storage]->name,
                          "m.bn1.running_mean") == 0;
    assert_int_equal(running, 1); // the second application goes on from the first
    arena_release(&r.arena);
}

static void later_groups_take_over(void **state) {
    (void)state;
    Run r;
    run(&r, "model m = resnet_cifar(blocks = 1, classes = d.classes)\n"
            "train t on d {\n batch 10\n epochs 1\n"
            " optimize m with sgd(lr = 0.1, momentum = 0.9)\n optimize m.fc with sgd(lr = 1.0)\n"
            " step (image, label) { minimize cross_entropy(m(image), label) }\n}\n");
    const Module *m = r.program->module;
    assert_non_null(storage(m, "t/m.conv1.weight/v"));
    assert_null(storage(m, "t/m.fc.weight/v"));
    assert_true(writes(m, graph(m, "t.step0"), "m.fc.weight"));
    arena_release(&r.arena);
}

static void a_model_may_follow_another(void **state) {
    (void)state;
    Run r;
    run(&r, "model m = resnet_cifar(blocks = 1, classes = d.classes)\nmodel slow = like(m)\n"
            "train t on d {\n batch 10\n epochs 1\n optimize m with sgd(lr = 0.1)\n"
            " step (image, label) {\n  minimize cross_entropy(m(image), label)\n"
            "  slow <- 0.9 * slow + 0.1 * m\n }\n}\n");
    const Module *m = r.program->module;
    assert_true(writes(m, graph(m, "t.step0"), "slow.layer3.0.bn2.running_var"));
    assert_int_equal(parameter_count(m, "m."), parameter_count(m, "slow."));
    arena_release(&r.arena);
}

static void a_model_may_be_like_a_part(void **state) {
    (void)state;
    Run r;
    run(&r, "model m = resnet_cifar(blocks = 1, classes = d.classes)\n"
            "model heads = [like(m.fc) for i in 0..2]\nmodel block = like(m.layer2.0)\n"
            "train t on d {\n batch 10\n epochs 1\n"
            " model more = like(block)\n model head = like(m.fc)\n freeze m\n"
            " optimize heads, block, more, head with sgd(lr = 0.1)\n"
            " step (image, label) {\n  let s = m(image)\n"
            "  for h in append(heads, head) { minimize cross_entropy(h(s.pool), label) }\n"
            "  for b in [block, more] { minimize mean((b(s.layer1) - s.layer2) ^ 2) }\n }\n}\n");
    const Module *m = r.program->module;
    assert_int_equal(parameter_count(m, "heads."), 2 * parameter_count(m, "m.fc."));
    assert_int_equal(parameter_count(m, "block."), parameter_count(m, "m.layer2.0."));
    assert_int_equal(parameter_count(m, "t.more."), parameter_count(m, "m.layer2.0."));
    assert_non_null(storage(m, "block.downsample.1.running_mean"));
    assert_true(writes(m, graph(m, "t.step0"), "t.head.weight"));
    assert_false(writes(m, graph(m, "t.step0"), "m.fc.weight"));
    arena_release(&r.arena);
}

// A model's arguments may be run-time scalars, which each graph reads for itself.
static void arguments_are_there_in_every_graph(void **state) {
    (void)state;
    Run r;
    run(&r, "option s = 2.0\n"
            "net n(x: [N, ...], scale) { return flatten(x * scale) |> linear(10) as fc }\n"
            "net outer(x: [N, ...], scale) { return n(x, scale / 2) as inner }\n"
            "model m = outer(scale = s + 1)\n"
            "train t on d {\n batch 10\n epochs 1\n optimize m with sgd(lr = 0.1)\n"
            " step (image) { minimize mean(m(image)) }\n"
            " eval (image) { report a = mean(m.inner(image)) }\n}\n");
    const Module *m = r.program->module;
    assert_int_equal(count_of(graph(m, "t.step0"), OP_scalar), 1);
    assert_int_equal(count_of(graph(m, "t.eval0"), OP_scalar), 1);
    arena_release(&r.arena);
}

static void train_only_nets_belong_to_their_phase(void **state) {
    (void)state;
    Run r;
    run(&r,
        "model m = resnet_cifar(blocks = 1, classes = d.classes)\n"
        "train t on d {\n batch 10\n epochs 1\n optimize m with sgd(lr = 0.1)\n"
        " step (image, label) { minimize mean(connector(m(image).layer1, channels = 8) as c) }\n}\n"
        "deploy m\n");
    const Module *m = r.program->module;
    const Storage *s = storage(m, "t.c.conv.weight");
    assert_non_null(s);
    assert_int_equal(s->phase, 0);
    const DeploySpec *deploy = r.program->deploys.at[0];
    assert_string_equal(deploy->prefix, "m.");
    for (size_t i = 0; i < deploy->storages.count; i++)
        assert_int_equal(strncmp(m->storages.at[deploy->storages.at[i]]->name, "m.", 2), 0);
    arena_release(&r.arena);
}

// The sections of a model, one after the other, are the model: in an evaluation and in training.
static void sections_make_up_the_model(void **state) {
    (void)state;
    Run r;
    run(&r, "model m = resnet_cifar(blocks = 1, width = 2, classes = d.classes)\n"
            "train t on d {\n batch 2\n epochs 1\n optimize m with sgd(lr = 0.1)\n"
            " step (image, label) {\n"
            "  let z = m.sections[3](m.sections[2](m.sections[1](m.sections[0](image))))\n"
            "  let w = m(image)\n  report off = max(abs(z - w)), size = max(abs(w))\n"
            "  minimize cross_entropy(z, label)\n }\n"
            " eval (image) {\n"
            "  let z = m.sections[3](m.sections[2](m.sections[1](m.sections[0](image))))\n"
            "  let w = m(image)\n  report off = max(abs(z - w)), size = max(abs(w))\n }\n}\n");
    const Module *m = r.program->module;
    const char *const names[] = {"t.step0", "t.eval0"};
    for (int i = 0; i < 2; i++) {
        EvalState *values = eval_new(&r.arena, m, EVAL_F64);
        double *image = arena_array(&r.arena, double, 2 * 3 * 32 * 32);
        for (int k = 0; k < 2 * 3 * 32 * 32; k++)
            image[k] = (k * 7919 % 101) / 50.0 - 1;
        eval_set_random(values, 1, 0);
        eval_run(values, graph(m, "init"));
        eval_set_input(values, "image", image);
        eval_set_input(values, "label", (const double[]){3, 5});
        Graph *g = (Graph *)graph(m, names[i]);
        uint8_t *live = arena_array(&r.arena, uint8_t, g->nodes.count);
        for (size_t k = g->nodes.count; k-- > 0;) { // reports and what they need: no gradients
            const Node *node = g->nodes.at[k];
            live[k] |= node->op == OP_report;
            for (uint32_t o = 0; live[k] && o < node->arity; o++)
                live[node->operand[o]->id] = 1;
        }
        graph_keep_only(g, live);
        eval_run(values, g);
        assert_true(*eval_get_output(values, "size", NULL) > 1e-3);
        assert_true(*eval_get_output(values, "off", NULL) < 1e-12);
    }
    arena_release(&r.arena);
}

// ---- sessions ----

static SessionItemKind input(FrontendSession *session, const char *text, const double *bind) {
    Arena arena = {0};
    SourceSet sources;
    DiagSink diags;
    source_set_init(&sources, &arena);
    diag_sink_init(&diags, &arena, &sources);
    const Source *source = source_add(&sources, "<repl>", text, strlen(text));
    KdInput in = kd_parse_input(&arena, &sources, source, true, &diags);
    frontend_session_input(session, in.file, &arena, &sources, &diags);
    SessionItemKind last = SESSION_END;
    for (;;) {
        SessionItem item = frontend_session_next(session);
        if (item.kind == SESSION_END)
            break;
        last = item.kind;
        if (item.kind == SESSION_FAILED)
            break;
        if (item.kind == SESSION_GRAPH)
            frontend_session_bind(session, &bind);
    }
    arena_release(&arena);
    return last;
}

static void session_stays_as_it_was_after_a_mistake(void **state) {
    (void)state;
    FrontendSession *session = frontend_session_new(NULL);
    const double x[3] = {1, 2, 3};
    assert_int_equal(input(session, "let x = randn([3], seed = 1)\n", x), SESSION_GRAPH);
    assert_int_equal(input(session, "fn f(x) = 2 * x\n", NULL), SESSION_DONE);
    size_t bytes = frontend_session_bytes(session);
    assert_int_equal(input(session, "let y = 3; fn f(x) = x; let z = nowhere\n", NULL),
                     SESSION_FAILED);
    assert_int_equal(frontend_session_bytes(session), bytes);
    assert_int_equal(input(session, "y\n", NULL), SESSION_FAILED);
    assert_int_equal(input(session, "f(3)\n", NULL), SESSION_TEXT);
    assert_true(frontend_session_value(session, "x")[2] == 3);
    frontend_session_free(session);
}

static void redefinitions_leave_memory_flat(void **state) {
    (void)state;
    FrontendSession *session = frontend_session_new(NULL);
    const double x[3] = {1, 2, 3};
    size_t bytes = 0;
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(input(session, "fn f(x) = sum(x ^ 2)\n", NULL), SESSION_DONE);
        if (i % 10 == 0)
            assert_int_equal(input(session, "let x = randn([3], seed = 2)\n", x), SESSION_GRAPH);
        if (i == 0)
            bytes = frontend_session_bytes(session);
    }
    assert_int_equal(frontend_session_bytes(session), bytes);
    frontend_session_free(session);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(networks_have_their_size),
        cmocka_unit_test(weights_come_from_files),
        cmocka_unit_test(stage_by_stage_trains_one_section_a_phase),
        cmocka_unit_test(batch_stats_leave_the_running_ones),
        cmocka_unit_test(last_batch_is_a_second_shape),
        cmocka_unit_test(weights_are_shared_and_updated_once),
        cmocka_unit_test(later_groups_take_over),
        cmocka_unit_test(a_model_may_follow_another),
        cmocka_unit_test(a_model_may_be_like_a_part),
        cmocka_unit_test(arguments_are_there_in_every_graph),
        cmocka_unit_test(train_only_nets_belong_to_their_phase),
        cmocka_unit_test(sections_make_up_the_model),
        cmocka_unit_test(session_stays_as_it_was_after_a_mistake),
        cmocka_unit_test(redefinitions_leave_memory_flat),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
