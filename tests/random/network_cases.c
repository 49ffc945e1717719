// tests/random/network_cases.c -- teacher and student, losses, optimisers; see network_cases.h.
//
// A model is a function of its name, its seed and its image: asked again, in another graph, it
// finds its storages by their names. So a step, a smaller last step and an eval share them.
#include <math.h>
#include <string.h>

#include "tests/random/gen.h"
#include "tests/random/network_cases.h"

enum { MAX_TAPS = 8, MAX_PARAMETERS = 48 };

typedef enum Norm { NORM_BATCH, NORM_FROZEN } Norm;

typedef struct Model {
    const char *name;
    uint64_t seed;
    int64_t classes;
    Norm norm;
    bool updates; // running statistics are written
    Node *tap[MAX_TAPS];
    int tap_count;
    Node *parameter[MAX_PARAMETERS]; // its read nodes
    int parameter_count;
    Node *logits;
    int part_count; // so many layers have names
} Model;

// ---- layers
// ----------------------------------------------------------------------------------------

static const char *part_name(Gen *g, Model *model, const char *part) {
    return arena_printf(g->module->arena, "%s.%d.%s", model->name, model->part_count++, part);
}

static Node *parameter(Gen *g, Model *model, const char *part, int rank, const int64_t *dim) {
    Node *read =
        gen_read(g, gen_storage(g, STORAGE_PARAMETER, part_name(g, model, part), rank, dim));
    if (model->parameter_count < MAX_PARAMETERS)
        model->parameter[model->parameter_count++] = read;
    return read;
}

static Node *by_channel(Gen *g, Node *c) {
    int64_t dim[4] = {1, c->type.dim[0], 1, 1};
    return ir_reshape(g->graph, c, dim, 4);
}

static int64_t out_extent(int64_t in, int64_t pad, int64_t kernel, int64_t stride,
                          int64_t dilation) {
    int64_t room = in + pad - ((kernel - 1) * dilation + 1);
    return room < 0 ? 0 : room / stride + 1;
}

static Node *conv(Gen *g, Model *model, Node *x, int64_t filters, int64_t kernel, int64_t stride,
                  bool plain) {
    const int64_t *in = x->type.dim;
    int64_t dilation = plain || !gen_chance(g, 15) ? 1 : 2, groups = 1;
    int64_t kw = !plain && gen_chance(g, 10) ? 1 : kernel;
    int64_t pad = plain ? 0 : GEN_PICK(g, dilation * (kernel / 2), dilation * (kernel / 2), 0, 1);
    int64_t pad_w = plain ? 0 : kw == kernel ? pad : kw / 2;
    int64_t more = !plain && gen_chance(g, 10); // on the right and below
    if (!plain && gen_chance(g, 25)) {
        int64_t wish = GEN_PICK(g, 2, in[1], 4, 16);
        if (in[1] % wish == 0) {
            groups = wish;
            filters = gen_chance(g, 50) ? in[1] : (filters + groups - 1) / groups * groups;
        }
    }
    if (out_extent(in[2], 2 * pad + more, kernel, stride, dilation) < 1 ||
        out_extent(in[3], 2 * pad_w + more, kw, stride, dilation) < 1) {
        kernel = kw = 1;
        dilation = 1;
    }
    int64_t w[4] = {filters, in[1] / groups, kernel, kw};
    int64_t s[2] = {stride, stride}, p[4] = {pad, pad_w, pad + more, pad_w + more};
    int64_t d[2] = {dilation, dilation};
    Attrs attrs = {.stride = {2, s}, .padding = {4, p}, .dilation = {2, d}, .groups = groups};
    Node *weight = parameter(g, model, "weight", 4, w);
    Node *y = gen_node(g, OP_conv2d, (Node *[]){x, weight}, 2, attrs);
    double fan = (double)(w[1] * w[2] * w[3]);
    if (gen_chance(g, 50)) // else the normalisation does it
        y = gen_scaled(g, y, exp2(round(0.5 * log2(3 / fan))));
    return y;
}

static Node *statistic(Gen *g, Model *model, const char *what, int64_t channels, Node *batch) {
    const char *name = part_name(g, model, what);
    Storage *storage = gen_storage(g, STORAGE_STATE, name, 1, &channels);
    Node *running = gen_read(g, storage);
    bool stops = gen_chance(g, 50);
    if (model->norm == NORM_FROZEN)
        return running;
    if (model->updates) {
        Node *flat = ir_reshape(g->graph, batch, &channels, 1);
        Node *next = gen_op(g, OP_add, gen_scaled(g, running, 0.875), gen_scaled(g, flat, 0.125));
        if (stops)
            next = ir_unary(g->graph, OP_stop_gradient, next);
        ir_write(g->graph, storage, next);
    }
    return batch;
}

static Node *normalised(Gen *g, Model *model, Node *x) {
    static const int64_t axes[3] = {0, 2, 3};
    int64_t channels = x->type.dim[1];
    double epsilon = gen_chance(g, 70) ? 0.125 : 0.01;
    bool keep = gen_chance(g, 50), divides = gen_chance(g, 40), affine = gen_chance(g, 80);
    bool by_axis = gen_chance(g, 50);
    Node *mean = NULL, *variance = NULL;
    if (model->norm == NORM_BATCH) {
        double count = (double)(type_count(&x->type) / channels);
        mean = gen_scaled(g, ir_reduce(g->graph, OP_sum, x, axes, 3, keep), 1 / count);
        if (by_axis) {
            variance = gen_node(g, OP_variance, &x, 1, (Attrs){.axes = {3, axes}, .keep = keep});
        } else {
            Node *away = gen_op(g, OP_sub, x, keep ? mean : by_channel(g, mean));
            variance = gen_scaled(
                g, ir_reduce(g->graph, OP_sum, gen_op(g, OP_mul, away, away), axes, 3, keep),
                1 / count);
        }
    }
    mean = statistic(g, model, "mean", channels, mean);
    variance = statistic(g, model, "positive", channels, variance);
    if (mean->type.rank == 1) {
        mean = by_channel(g, mean);
        variance = by_channel(g, variance);
    }
    Node *shifted = gen_op(g, OP_add, variance, gen_number(g, epsilon));
    Node *y = gen_op(g, OP_sub, x, mean);
    y = divides ? gen_op(g, OP_div, y, ir_unary(g->graph, OP_sqrt, shifted))
                : gen_op(g, OP_mul, y, ir_unary(g->graph, OP_rsqrt, shifted));
    if (!affine)
        return y;
    y = gen_op(g, OP_mul, y, by_channel(g, parameter(g, model, "positive.scale", 1, &channels)));
    return gen_op(g, OP_add, y, by_channel(g, parameter(g, model, "shift", 1, &channels)));
}

static Node *activation(Gen *g, Node *x) {
    Node *zero = gen_number(g, 0);
    switch (gen_below(g, 6)) {
    case 0:
    case 1:
        return gen_op(g, OP_max, x, zero);
    case 2:
        return ir_unary(g->graph, OP_tanh, x);
    case 3: // silu
        return gen_op(g, OP_mul, x, ir_unary(g->graph, OP_sigmoid, x));
    case 4: // leaky
        return ir_where(g->graph, gen_op(g, OP_lt, zero, x), x, gen_scaled(g, x, 0.125));
    default: // gelu
        return gen_op(
            g, OP_mul, x,
            gen_op(g, OP_add, gen_number(g, 0.5),
                   gen_scaled(g, ir_unary(g->graph, OP_erf, gen_scaled(g, x, 0.70710678)), 0.5)));
    }
}

static Node *pooled(Gen *g, Node *x) {
    static const int64_t inside[2] = {4, 5};
    int64_t k[2] = {x->type.dim[2] < 2 ? 1 : 2, x->type.dim[3] < 2 ? 1 : 2};
    int64_t stride = GEN_PICK(g, 2, 2, 1), s[2] = {stride, stride}, p[4] = {0}, d[2] = {1, 1};
    bool largest = gen_chance(g, 50);
    Attrs attrs = {.kernel = {2, k}, .stride = {2, s}, .padding = {4, p}, .dilation = {2, d}};
    Node *y = gen_node(g, OP_windows, &x, 1, attrs);
    y = ir_reduce(g->graph, largest ? OP_reduce_max : OP_sum, y, inside, 2, false);
    return largest ? y : gen_scaled(g, y, 1 / (double)(k[0] * k[1]));
}

static Node *layer(Gen *g, Model *model, Node *x) {
    int64_t filters = GEN_PICK(g, 1, 3, 5, 8, 16, 16, 17, 32, 32, 48);
    int64_t kernel = GEN_PICK(g, 1, 3, 3, 3, 2, 5), stride = GEN_PICK(g, 1, 1, 1, 2);
    bool residual = gen_chance(g, 35), biased = gen_chance(g, 30), branches = gen_chance(g, 15);
    bool first = gen_chance(g, 20);                           // the activation comes first
    int64_t elements = type_count(&x->type) / x->type.dim[0]; // of an image: any batch, one model
    while (8 * elements * filters * kernel * kernel > FLOPS_MAX && filters > 1)
        filters /= 2;
    Node *y = first ? activation(g, x) : x;
    y = conv(g, model, y, filters, kernel, stride, false);
    if (biased) {
        int64_t channels = y->type.dim[1];
        y = gen_op(g, OP_add, y, by_channel(g, parameter(g, model, "bias", 1, &channels)));
    }
    if (gen_chance(g, 70))
        y = normalised(g, model, y);
    if (residual && type_same_shape(&x->type, &y->type))
        y = gen_op(g, OP_add, y, x);
    else if (residual && y->type.dim[2] == x->type.dim[2] && y->type.dim[3] == x->type.dim[3])
        y = gen_op(g, OP_add, y, conv(g, model, x, y->type.dim[1], 1, 1, true));
    if (branches) {
        Node *side = conv(g, model, y, GEN_PICK(g, 1, 16, 3), 1, 1, true);
        y = gen_node(g, OP_concat, (Node *[]){activation(g, y), side}, 2, (Attrs){.axis = 1});
    } else if (!first) {
        y = activation(g, y);
    }
    if (gen_chance(g, 20))
        y = pooled(g, y);
    return y;
}

static Node *linear(Gen *g, Model *model, Node *x, int64_t out) {
    int64_t in = x->type.dim[1], dim[2] = {out, in};
    bool turned = gen_chance(g, 30);
    if (turned) {
        dim[0] = in;
        dim[1] = out;
    }
    Node *weight = parameter(g, model, "weight", 2, dim);
    Node *y = ir_einsum(g->graph, x, weight, turned ? "nf,fc->nc" : "nf,cf->nc");
    y = gen_scaled(g, y, exp2(round(0.5 * log2(3 / (double)in))));
    return gen_chance(g, 80) ? gen_op(g, OP_add, y, parameter(g, model, "bias", 1, &out)) : y;
}

/// Sets taps, parameters and logits.
static void run_model(Gen *g, Model *model, Node *x) {
    static const int64_t image[2] = {2, 3};
    uint64_t outside = g->state;
    g->state = model->seed;
    int layers = 1 + (int)gen_below(g, 3);
    bool section = gen_chance(g, 20);
    for (int i = 0; i < layers && type_count(&x->type) / x->type.dim[0] < 2500; i++) {
        x = layer(g, model, x);
        model->tap[model->tap_count++] = x;
        if (section && i == 0)
            x = ir_unary(g->graph, OP_stop_gradient, x);
    }
    if (gen_chance(g, 70)) {
        double pixels = (double)(x->type.dim[2] * x->type.dim[3]);
        x = gen_scaled(g, ir_reduce(g->graph, OP_sum, x, image, 2, false), 1 / pixels);
    } else {
        int64_t dim[2] = {x->type.dim[0], type_count(&x->type) / x->type.dim[0]};
        x = ir_reshape(g->graph, x, dim, 2);
    }
    if (gen_chance(g, 30))
        x = activation(g, linear(g, model, x, GEN_PICK(g, 3, 16, 17, 32)));
    model->logits = linear(g, model, x, model->classes);
    g->state = outside;
}

// ---- losses
// ----------------------------------------------------------------------------------------

static Node *log_softmax(Gen *g, Node *z) {
    static const int64_t last = 1;
    Node *largest = ir_reduce(g->graph, OP_reduce_max, z, &last, 1, true);
    if (gen_chance(g, 70))
        largest = ir_unary(g->graph, OP_stop_gradient, largest);
    Node *away = gen_op(g, OP_sub, z, largest);
    Node *sum = ir_reduce(g->graph, OP_sum, ir_unary(g->graph, OP_exp, away), &last, 1, true);
    return gen_op(g, OP_sub, away, ir_unary(g->graph, OP_log, sum));
}

static Node *one_hot(Gen *g, Node *label, int64_t classes) {
    int64_t dim[2] = {label->type.dim[0], 1};
    Node *column = ir_reshape(g->graph, label, dim, 2);
    return gen_op(g, OP_eq, column, ir_iota(g->graph, 0, &classes, 1, DT_I32));
}

static Node *cross_entropy(Gen *g, Node *z, Node *label) {
    Node *hot = one_hot(g, label, z->type.dim[1]);
    Node *chosen = ir_where(g->graph, hot, log_softmax(g, z), gen_number(g, 0));
    return gen_scaled(g, gen_reduce_all(g, OP_sum, chosen), -1 / (double)z->type.dim[0]);
}

/// KL(softmax(t / T) || softmax(s / T)) T^2; only where the teacher is right, or scaled by how
/// much, if guided.
static Node *divergence(Gen *g, Node *s, Node *t, Node *label, bool guided) {
    static const int64_t last = 1;
    double temperature = (double)GEN_PICK(g, 1, 2, 3, 4);
    Node *ps = log_softmax(g, gen_scaled(g, s, 1 / temperature));
    Node *pt = log_softmax(g, gen_scaled(g, t, 1 / temperature));
    Node *each = gen_op(g, OP_mul, ir_unary(g->graph, OP_exp, pt), gen_op(g, OP_sub, pt, ps));
    Node *rows = ir_reduce(g->graph, OP_sum, each, &last, 1, false);
    if (guided) {
        Node *best = gen_node(g, OP_argmax, &t, 1, (Attrs){.axes = {1, &last}});
        Node *right = gen_op(g, OP_eq, best, label);
        rows = gen_chance(g, 50) ? ir_where(g->graph, right, rows, gen_number(g, 0))
                                 : gen_op(g, OP_mul, rows, ir_cast(g->graph, right, g->real));
    }
    return gen_scaled(g, gen_mean(g, rows), temperature * temperature);
}

static Node *squared_distance(Gen *g, Node *a, Node *b) {
    Node *d = gen_op(g, OP_sub, a, b);
    return gen_mean(g, gen_op(g, OP_mul, d, d));
}

/// The student's features brought to the teacher's channels by a 1x1 convolution, where the
/// images agree; channels, attention maps or all elements are compared.
static Node *feature_loss(Gen *g, Model *student, const Model *teacher) {
    static const int64_t channel = 1, image[2] = {2, 3};
    Node *s = student->tap[gen_below(g, student->tap_count)];
    Node *t = teacher->tap[gen_below(g, teacher->tap_count)];
    int64_t kind = gen_below(g, 3);
    bool same_image = s->type.dim[2] == t->type.dim[2] && s->type.dim[3] == t->type.dim[3];
    if (kind == 0 && same_image) { // attention: mean over channels, normalised over the image
        Node *map[2] = {s, t};
        for (int i = 0; i < 2; i++) {
            Node *energy =
                ir_reduce(g->graph, OP_sum, gen_op(g, OP_mul, map[i], map[i]), &channel, 1, false);
            int64_t one_two[2] = {1, 2};
            Node *norm =
                ir_reduce(g->graph, OP_sum, gen_op(g, OP_mul, energy, energy), one_two, 2, true);
            map[i] = gen_op(
                g, OP_mul, energy,
                ir_unary(g->graph, OP_rsqrt, gen_op(g, OP_add, norm, gen_number(g, 0.0625))));
        }
        return squared_distance(g, map[0], map[1]);
    }
    if (s->type.dim[1] != t->type.dim[1])
        s = conv(g, student, s, t->type.dim[1], 1, 1, true);
    if (kind == 1 && same_image)
        return squared_distance(g, s, t);
    Node *of_s = ir_reduce(g->graph, OP_sum, s, image, 2, false);
    Node *of_t = ir_reduce(g->graph, OP_sum, t, image, 2, false);
    of_s = gen_scaled(g, of_s, 1 / (double)(s->type.dim[2] * s->type.dim[3]));
    of_t = gen_scaled(g, of_t, 1 / (double)(t->type.dim[2] * t->type.dim[3]));
    return squared_distance(g, of_s, of_t);
}

// ---- optimisers
// ------------------------------------------------------------------------------------

static void write_to(Gen *g, const Node *read, Node *value) {
    ir_write(g->graph, g->module->storages.at[read->attrs->storage], value);
}

static Node *slot_of(Gen *g, const Node *read, const char *what) {
    const Storage *of = g->module->storages.at[read->attrs->storage];
    const char *name = arena_printf(g->module->arena, "train/%s/%s", of->name, what);
    return gen_read(g, gen_storage(g, STORAGE_SLOT, name, of->type.rank, of->type.dim));
}

static Node *blend(Gen *g, Node *a, Node *b, double share) {
    return gen_op(g, OP_add, gen_scaled(g, a, 1 - share), gen_scaled(g, b, share));
}

static void update(Gen *g, Node *w, Node *dw, int kind, Node *rate) {
    Node *step = dw;
    if (kind >= 3) { // weight decay
        step = gen_op(g, OP_add, dw, gen_scaled(g, w, 0.0078125));
        kind -= 3;
    }
    if (kind == 1) {
        Node *v = slot_of(g, w, "v");
        step = gen_op(g, OP_add, gen_scaled(g, v, 0.9), step);
        write_to(g, v, step);
        if (gen_chance(g, 30)) // Nesterov
            step = gen_op(g, OP_add, dw, gen_scaled(g, step, 0.9));
    } else if (kind == 2) {
        Node *m = slot_of(g, w, "m"), *v = slot_of(g, w, "positive.v");
        Node *next_m = blend(g, m, step, 0.1),
             *next_v = blend(g, v, gen_op(g, OP_mul, step, step), 0.01);
        write_to(g, m, next_m);
        write_to(g, v, next_v);
        step = gen_op(g, OP_div, next_m,
                      gen_op(g, OP_add, ir_unary(g->graph, OP_sqrt, next_v), gen_number(g, 0.01)));
    }
    write_to(g, w, gen_op(g, OP_sub, w, gen_op(g, OP_mul, step, rate)));
}

/// Trains the parameters of `model` by `loss`.
static void optimise(Gen *g, const Model *model, Node *loss, uint64_t seed) {
    Node *dw[MAX_PARAMETERS];
    uint64_t outside = g->state;
    g->state = seed;
    int kind = (int)gen_below(g, 6), frozen = gen_chance(g, 30);
    bool clips = gen_chance(g, 20), scheduled = gen_chance(g, 50);
    Node *squares = NULL;
    for (int i = frozen; i < model->parameter_count; i++) {
        dw[i] = ir_binary(g->graph, OP_grad, loss, model->parameter[i]);
        Node *square = gen_reduce_all(g, OP_sum, gen_op(g, OP_mul, dw[i], dw[i]));
        squares = squares && clips ? gen_op(g, OP_add, squares, square) : square;
    }
    Node *rate = scheduled ? gen_op(g, OP_mul, ir_scalar(g->graph, "lr", g->real),
                                    gen_op(g, OP_sub, gen_number(g, 1.5),
                                           ir_scalar(g->graph, "progress", g->real)))
                           : gen_number(g, 0.1);
    Node *clip = NULL;
    if (clips && squares)
        clip =
            gen_op(g, OP_min, gen_number(g, 1),
                   ir_unary(g->graph, OP_rsqrt, gen_op(g, OP_add, squares, gen_number(g, 0.001))));
    for (int i = frozen; i < model->parameter_count; i++)
        update(g, model->parameter[i], clip ? gen_op(g, OP_mul, dw[i], clip) : dw[i], kind, rate);
    g->state = outside;
}

// ---- graphs
// ----------------------------------------------------------------------------------------

typedef struct Plan {
    uint64_t teacher, student, loss, optimiser; // seeds
    int64_t batch, channels, height, width, classes;
    bool frozen_teacher; // by its statistics too
    int soup;
} Plan;

static Model model_of(const char *name, uint64_t seed, const Plan *plan, Norm norm) {
    return (Model){.name = name, .seed = seed, .classes = plan->classes, .norm = norm};
}

static void keep_live(Gen *g, const Model *model) {
    for (int i = 0; i < model->tap_count; i++) {
        if (type_count(&model->tap[i]->type) <= ELEMENTS_MAX)
            gen_live(g, ir_unary(g->graph, OP_tanh, model->tap[i]), 1);
    }
    gen_live(g, model->logits, 4);
}

static void build_step(Gen *g, const Plan *plan, const char *name, int64_t batch) {
    gen_begin_graph(g, name, GRAPH_STEP, 0);
    int64_t dim[4] = {batch, plan->channels, plan->height, plan->width};
    Type image_type = gen_type(g->real, 4, dim), label_type = gen_type(DT_I32, 1, dim);
    Node *image = ir_input(g->graph, arena_printf(g->module->arena, "%s.image", name), &image_type);
    Node *label = ir_input(g->graph, arena_printf(g->module->arena, "%s.label", name), &label_type);
    Model teacher =
        model_of("teacher", plan->teacher, plan, plan->frozen_teacher ? NORM_FROZEN : NORM_BATCH);
    Model student = model_of("student", plan->student, plan, NORM_BATCH);
    student.updates = true;
    run_model(g, &teacher, image);
    run_model(g, &student, image);
    uint64_t outside = g->state;
    g->state = plan->loss;
    Node *t =
        gen_chance(g, 70) ? ir_unary(g->graph, OP_stop_gradient, teacher.logits) : teacher.logits;
    Node *loss = cross_entropy(g, student.logits, label);
    ir_report(g->graph, "ce", loss);
    if (gen_chance(g, 70)) {
        Node *kl = divergence(g, student.logits, t, label, gen_chance(g, 40));
        ir_report(g->graph, "kl", kl);
        loss = gen_op(g, OP_add, loss, gen_scaled(g, kl, 0.5));
    }
    for (int i = (int)gen_below(g, 3); i-- > 0;) {
        Node *hint = feature_loss(g, &student, &teacher);
        ir_report(g->graph, arena_printf(g->module->arena, "hint%d", i), hint);
        loss = gen_op(g, OP_add, loss, hint);
    }
    bool by_input = gen_chance(g, 20), second = gen_chance(g, 15),
         trains_teacher = gen_chance(g, 10);
    if (by_input || second) {
        Node *dx = ir_binary(g->graph, OP_grad, loss, image);
        ir_output(g->graph, "dimage", dx);
        if (second)
            loss = gen_op(g, OP_add, loss, gen_reduce_all(g, OP_sum, gen_op(g, OP_mul, dx, dx)));
    }
    g->state = outside;
    optimise(g, &student, loss, plan->optimiser);
    if (trains_teacher)
        optimise(g, &teacher, cross_entropy(g, teacher.logits, label), plan->optimiser + 2);
    if (plan->soup) {
        keep_live(g, &teacher);
        keep_live(g, &student);
        gen_soup(g, plan->soup);
        gen_finish_soup(g, true);
    }
}

static void build_eval(Gen *g, const Plan *plan, int64_t batch) {
    static const int64_t last = 1;
    gen_begin_graph(g, "eval", GRAPH_EVAL, 0);
    int64_t dim[4] = {batch, plan->channels, plan->height, plan->width};
    Type image_type = gen_type(g->real, 4, dim), label_type = gen_type(DT_I32, 1, dim);
    Node *image = ir_input(g->graph, "eval.image", &image_type);
    Node *label = ir_input(g->graph, "eval.label", &label_type);
    Model student = model_of("student", plan->student, plan, NORM_FROZEN);
    run_model(g, &student, image);
    Node *best = gen_node(g, OP_argmax, &student.logits, 1, (Attrs){.axes = {1, &last}});
    Node *right = ir_cast(g->graph, gen_op(g, OP_eq, best, label), g->real);
    ir_report(g->graph, "top1", gen_mean(g, right));
    ir_output(g->graph, "logits", student.logits);
    if (gen_chance(g, 30)) { // a frozen teacher is looked at too
        Model teacher = model_of("teacher", plan->teacher, plan, NORM_FROZEN);
        run_model(g, &teacher, image);
        ir_output(g->graph, "teacher", teacher.logits);
    }
}

static void build_deploy(Gen *g, const Plan *plan) {
    gen_begin_graph(g, "deploy", GRAPH_DEPLOY, -1);
    int64_t dim[4] = {1, plan->channels, plan->height, plan->width};
    Type type = gen_type(g->real, 4, dim);
    Model student = model_of("student", plan->student, plan, NORM_FROZEN);
    run_model(g, &student, ir_input(g->graph, "image", &type));
    ir_output(g->graph, "p", ir_unary(g->graph, OP_exp, log_softmax(g, student.logits)));
}

/// First values of the storages; comes last, when they are known, and runs first.
static void build_init(Gen *g) {
    gen_begin_graph(g, "init", GRAPH_INIT, -1);
    for (size_t i = 0; i < g->module->storages.count; i++) {
        const Storage *storage = g->module->storages.at[i];
        bool positive = strstr(storage->name, "positive") != NULL;
        Attrs attrs = {.stream = g->module->next_stream,
                       .shape = {storage->type.rank, storage->type.dim},
                       .dtype = g->real};
        g->module->next_stream += 16;
        Node *draw =
            gen_node(g, positive || gen_chance(g, 50) ? OP_uniform : OP_normal, NULL, 0, attrs);
        ir_write(g->graph, storage,
                 gen_op(g, OP_add, gen_scaled(g, draw, 0.5), gen_number(g, positive ? 0.5 : 0)));
    }
}

static void build_soup(Gen *g, int count) {
    int64_t dim[2] = {GEN_PICK(g, 3, 16), 5};
    Storage *a = gen_storage(g, STORAGE_STATE, "a", 2, dim);
    Storage *b = gen_storage(g, STORAGE_STATE, "b.positive", 1, dim);
    gen_begin_graph(g, "soup", gen_chance(g, 50) ? GRAPH_FREE : GRAPH_STEP, -1);
    if (g->graph->role == GRAPH_STEP)
        g->graph->phase = 0;
    gen_live(g, gen_read(g, a), 1);
    gen_live(g, gen_read(g, b), 1);
    gen_soup(g, count);
    ir_write(g->graph, a,
             gen_op(g, OP_add, gen_scaled(g, gen_read(g, a), 0.5),
                    ir_reshape(g->graph, gen_read(g, b), (int64_t[]){dim[0], 1}, 2)));
    gen_finish_soup(g, gen_chance(g, 80));
}

Module *random_network(Arena *arena, uint64_t seed, DType real) {
    Gen gen = {.real = real, .state = (seed + 1) * UINT64_C(0x9E3779B97F4A7C15)};
    Gen *g = &gen;
    for (int i = 0; i < 8; i++)
        gen_bits(g);
    g->module =
        module_new(arena, arena_printf(arena, "random%llu", (unsigned long long)seed), real);
    for (int op = 0; op < OP_COUNT; op++) { // swarm testing: a third of the ops, or none
        if (seed % 3 && gen_chance(g, 33))
            g->off[op / 64] |= UINT64_C(1) << (op % 64);
    }
    if (gen_chance(g, 45)) {
        build_soup(g, 10 + (int)gen_below(g, 25));
        return g->module;
    }
    Plan plan = {.teacher = gen_bits(g) | 1,
                 .student = gen_bits(g) | 1,
                 .loss = gen_bits(g) | 1,
                 .optimiser = gen_bits(g) | 1,
                 .batch = GEN_PICK(g, 1, 2, 3, 4, 5, 8, 16), // 16: chains
                 .channels = GEN_PICK(g, 1, 3, 3, 16, 17),
                 .height = GEN_PICK(g, 1, 3, 4, 5, 7, 8, 9),
                 .classes = GEN_PICK(g, 2, 3, 5, 10, 17),
                 .frozen_teacher = gen_chance(g, 60)};
    plan.width = gen_chance(g, 60) ? plan.height : GEN_PICK(g, 1, 2, 6, 11);
    plan.soup = gen_chance(g, 40) ? 6 + (int)gen_below(g, 12) : 0;
    build_step(g, &plan, "step", plan.batch);
    if (gen_chance(g, 25)) {
        plan.soup = 0;
        build_step(g, &plan, "last", 1 + gen_below(g, plan.batch));
    }
    if (gen_chance(g, 60))
        build_eval(g, &plan, GEN_PICK(g, 1, 2, 3, 7));
    if (gen_chance(g, 30))
        build_deploy(g, &plan);
    if (gen_chance(g, 60))
        build_init(g);
    return g->module;
}
