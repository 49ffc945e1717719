// frontend/when.c -- `when`: which branches a step takes, and what the others leave behind.
//
// A step is elaborated once for each way through its `when`s. A condition that is not decided yet
// becomes a choice: it holds the first time round, and not the next. Nested and excluded ones make
// no choices of their own: a condition is not asked where a branch around it is not taken, or where
// what was answered before implies it (epoch < 30 settles epoch < 60). So the ways through form a
// tree, and each answer of the conditions leads to one of its leaves.
//
// The conditions live in a graph of their own, which the runtime evaluates to choose among the
// leaves; equal ones are one node there, which is how they are known to be equal.
//
// A branch that is not taken is elaborated too, and forgotten: its nets get their names and their
// parameters, so that these are the same whatever is taken; no node, value, term or report of it
// stays, nor a mistake, which shows itself where the branch is taken.
#include <math.h>
#include <string.h>

#include "frontend/elaborate.h"

enum { LIMIT_VARIANTS = 32 };

// ---- conditions ----

// A copy of `node`, and of what is behind it, among the conditions; equal nodes are one.
static Node *copy_condition(Elab *e, Choices *choices, const Node *node) {
    Graph *graph = choices->graph;
    Node **operand = arena_array(e->arena, Node *, node->arity + 1);
    for (uint32_t k = 0; k < node->arity; k++)
        operand[k] = copy_condition(e, choices, node->operand[k]);
    for (size_t i = 0; i < graph->nodes.count; i++) {
        Node *other = graph->nodes.at[i];
        bool same = other->op == node->op && type_equal(&other->type, &node->type) &&
                    attrs_equal(node->op, other->attrs, node->attrs);
        for (uint32_t k = 0; k < node->arity && same; k++)
            same = other->operand[k] == operand[k];
        if (same)
            return other;
    }
    return graph_append(graph, node->op, operand, node->arity, node->attrs, node->origin);
}

// ---- what is known ----

typedef enum Truth { UNKNOWN, HOLDS, FAILS } Truth;

static Truth truth(bool holds) {
    return holds ? HOLDS : FAILS;
}

static Truth opposite(Truth t) {
    return t == UNKNOWN ? UNKNOWN : truth(t == FAILS);
}

/// `subject` op `value`, the constant on the right.
typedef struct Comparison {
    const Node *subject;
    Op op; // lt, le, eq, or their opposites with `negated`
    bool flipped;
    double value;
} Comparison;

static bool read_comparison(const Node *node, Comparison *c) {
    if (node->op != OP_lt && node->op != OP_le && node->op != OP_eq && node->op != OP_ne)
        return false;
    for (int side = 0; side < 2; side++) {
        const Node *constant = node->operand[side];
        if (constant->op != OP_const)
            continue;
        double value = constant->attrs->value;
        if (constant->type.dtype == DT_F32) // as it is compared
            value = (double)(float)value;
        *c = (Comparison){node->operand[1 - side], node->op, side == 0, value};
        return true;
    }
    return false;
}

/// The values that a subject may still have.
typedef struct Range {
    double low, high;
    bool low_open, high_open; // the end itself is out
    bool is_number;           // not NaN
} Range;

static void raise_low(Range *r, double value, bool open) {
    if (value > r->low || (value == r->low && open)) {
        r->low = value;
        r->low_open = open;
    }
}

static void lower_high(Range *r, double value, bool open) {
    if (value < r->high || (value == r->high && open)) {
        r->high = value;
        r->high_open = open;
    }
}

static void narrow(Range *r, const Comparison *c, bool holds) {
    if (c->op == OP_eq || c->op == OP_ne) {
        if (holds == (c->op == OP_eq)) {
            raise_low(r, c->value, false);
            lower_high(r, c->value, false);
        }
        return;
    }
    bool open = (c->op == OP_lt) == holds; // not (x < v) is x >= v
    if (c->flipped == holds)
        raise_low(r, c->value, open); // v < x, or not x < v
    else
        lower_high(r, c->value, open);
}

static Truth compare(const Range *r, const Comparison *c) {
    if (c->op == OP_eq || c->op == OP_ne) {
        bool outside = c->value < r->low || c->value > r->high ||
                       (c->value == r->low && r->low_open) || (c->value == r->high && r->high_open);
        bool point = r->low == r->high && r->low == c->value && !outside;
        if (!outside && !point)
            return UNKNOWN;
        return truth(point == (c->op == OP_eq));
    }
    bool strict = c->op == OP_lt;
    if (c->flipped) { // v < x
        if (r->low > c->value || (r->low == c->value && (r->low_open || !strict)))
            return HOLDS;
        if (r->high < c->value || (r->high == c->value && (r->high_open || strict)))
            return FAILS;
        return UNKNOWN;
    }
    if (r->high < c->value || (r->high == c->value && (r->high_open || !strict)))
        return HOLDS;
    if (r->low > c->value || (r->low == c->value && (r->low_open || strict)))
        return FAILS;
    return UNKNOWN;
}

// What is made of the runtime's own counters by these ops is a number.
static bool never_nan(const Node *node) {
    switch ((int)node->op) {
    case OP_const:
        return !isnan(node->attrs->value);
    case OP_scalar:
        return strcmp(node->attrs->name, "epoch") == 0 ||
               strcmp(node->attrs->name, "iteration") == 0 ||
               strcmp(node->attrs->name, "progress") == 0;
    case OP_add:
    case OP_sub:
        return never_nan(node->operand[0]) && node->operand[1]->op == OP_const &&
               isfinite(node->operand[1]->attrs->value) && never_nan(node->operand[1]);
    default:
        return false;
    }
}

// Narrows `r` by what is known if `fact` holds, or does not. `exact`: only what a comparison that
// holds says, from which a subject is known to be a number.
static void use_fact(Range *r, const Node *subject, const Node *fact, bool holds, bool exact) {
    Comparison c;
    if (fact->op == OP_not) {
        use_fact(r, subject, fact->operand[0], !holds, exact);
    } else if (fact->op == (holds ? OP_and : OP_or)) {
        use_fact(r, subject, fact->operand[0], holds, exact);
        use_fact(r, subject, fact->operand[1], holds, exact);
    } else if (read_comparison(fact, &c) && c.subject == subject) {
        bool says_number = holds == (c.op != OP_ne); // x < v, x == v, not x != v
        if (says_number)
            r->is_number = true;
        if (says_number || !exact)
            narrow(r, &c, holds);
    }
}

static Range range_of(const Choices *choices, const Node *subject) {
    Range r = {.low = -INFINITY, .high = INFINITY, .is_number = never_nan(subject)};
    for (int exact = 1; exact >= 0; exact--)
        for (size_t i = 0; i < choices->at && (exact || r.is_number); i++)
            use_fact(&r, subject, choices->asked.at[choices->path.at[i].condition].node,
                     choices->path.at[i].holds, exact);
    return r;
}

// Whether the answers so far settle a condition.
static Truth known(const Choices *choices, const Node *node) {
    for (size_t i = 0; i < choices->at; i++)
        if (choices->asked.at[choices->path.at[i].condition].node == node)
            return truth(choices->path.at[i].holds);
    if (node->op == OP_const)
        return truth(node->attrs->value != 0);
    if (node->op == OP_not)
        return opposite(known(choices, node->operand[0]));
    if (node->op == OP_and || node->op == OP_or) {
        Truth a = known(choices, node->operand[0]), b = known(choices, node->operand[1]);
        Truth decides = node->op == OP_and ? FAILS : HOLDS;
        if (a == decides || b == decides)
            return decides;
        return a == UNKNOWN || b == UNKNOWN ? UNKNOWN : opposite(decides);
    }
    Comparison c;
    if (!read_comparison(node, &c))
        return UNKNOWN;
    Range r = range_of(choices, c.subject);
    return r.is_number ? compare(&r, &c) : UNKNOWN;
}

// ---- choices ----

static size_t condition_number(Elab *e, Choices *choices, Node *node, const char *text, Span span) {
    for (size_t i = 0; i < choices->asked.count; i++)
        if (choices->asked.at[i].node == node)
            return i;
    Asked asked = {.node = node, .text = text, .span = span};
    vec_push(e->arena, &choices->asked, asked);
    return choices->asked.count - 1;
}

// Whether a condition of the graph of conditions holds on the way that is being gone.
static bool choose(Elab *e, Choices *choices, Node *node, const char *text, Span span) {
    Truth t = known(choices, node);
    if (t != UNKNOWN)
        return t == HOLDS;
    size_t number = condition_number(e, choices, node, text, span);
    if (choices->at == choices->path.count) {
        Answer answer = {.condition = number, .holds = true};
        vec_push(e->arena, &choices->path, answer);
    }
    kdc_assert(choices->path.at[choices->at].condition == number);
    return choices->path.at[choices->at++].holds;
}

bool choose_update(Elab *e, Choices *choices, const AstExpr *setting) {
    Graph *graph = choices->graph;
    if (!choices->updates) {
        Node *flag = ir_scalar(graph, "accumulate.update", e->module->real);
        choices->updates = ir_binary(graph, OP_ne, flag, ir_const(graph, 0, flag->type.dtype));
    }
    const char *text =
        arena_printf(e->arena, "accumulate %s: the last batch of an update", expr_text(e, setting));
    return choose(e, choices, choices->updates, text, setting->span);
}

const char *choices_answers(Elab *e, const Choices *choices) {
    char *text = arena_alloc(e->arena, choices->asked.count + 1);
    memset(text, '-', choices->asked.count);
    for (size_t i = 0; i < choices->at; i++)
        text[choices->path.at[i].condition] = choices->path.at[i].holds ? '1' : '0';
    return text;
}

bool choices_next(Choices *choices) {
    choices->path.count = choices->at;
    choices->at = 0;
    while (choices->path.count && !choices->path.at[choices->path.count - 1].holds)
        choices->path.count--;
    if (!choices->path.count)
        return false;
    choices->path.at[choices->path.count - 1].holds = false;
    return true;
}

bool choices_too_many(Elab *e, const Choices *choices, size_t count) {
    // `accumulate` makes two of each; it is asked first, and never the last that makes too many.
    if (count < LIMIT_VARIANTS * (choices->updates ? 2 : 1))
        return false;
    Diag *d =
        report_error(e, choices->asked.at[choices->asked.count - 1].span,
                     "the `when`s of this step make more than %d variants of it", LIMIT_VARIANTS);
    diag_help(d, "each is compiled by itself; `where(cond, a, b)` chooses without a variant");
    return true;
}

// ---- a branch that is not taken ----

typedef struct Kept {
    Binding *binding;
    Value value;
} Kept;

// Elaborates `body` for the names of its nets, and forgets all else.
static void pass_over(Elab *e, const AstBlock *body) {
    GraphContext *ctx = e->ctx, before = *ctx;
    StepWork *step = e->step, step_before = *step;
    size_t node_count = ctx->graph->nodes.count, scalar_count = ctx->scalars.count;
    size_t term_count = ctx->graph->terms.count;
    size_t diag_count = e->diags->diags.count, error_count = e->diags->error_count;
    Vec(Kept) kept = {0};
    for (Scope *s = e->scope; s; s = s->parent)
        for (Binding *b = s->first; b; b = b->next)
            vec_push(e->arena, &kept, ((Kept){b, b->value}));
    size_t storage_count = ctx->current.count;
    Node **current = arena_array(e->arena, Node *, storage_count + 1);
    Node **read = arena_array(e->arena, Node *, storage_count + 1);
    uint8_t *written = arena_array(e->arena, uint8_t, storage_count + 1);
    if (storage_count) {
        memcpy(current, ctx->current.at, storage_count * sizeof *current);
        memcpy(read, ctx->read.at, storage_count * sizeof *read);
        memcpy(written, ctx->written.at, storage_count);
    }

    step->passed_over = true;
    exec_block(e, body);

    step->passed_over = step_before.passed_over;
    step->terms.count = step_before.terms.count;
    step->poisoned = step_before.poisoned;
    ctx->draws = before.draws;
    ctx->graph->nodes.count = node_count;
    ctx->graph->terms.count = term_count;
    for (size_t i = scalar_count; i < ctx->scalars.count; i++)
        ctx->scalars.entry[i].value = NULL;
    for (size_t i = 0; i < ctx->current.count; i++) {
        bool old = i < storage_count;
        ctx->current.at[i] = old ? current[i] : NULL;
        ctx->read.at[i] = old ? read[i] : NULL;
        ctx->written.at[i] = old ? written[i] : 0;
    }
    for (size_t i = 0; i < kept.count; i++)
        kept.at[i].binding->value = kept.at[i].value;
    if (e->stopped)
        return;
    if (e->diags->error_count > error_count)
        e->app->unsure = true; // of which names the branch would have taken
    e->diags->diags.count = diag_count;
    e->diags->error_count = error_count;
}

// ---- the statement ----

// What is known of a branch before the runtime's answer.
typedef enum Verdict { MISTAKE, ALWAYS, NEVER, TAKEN, NOT_TAKEN } Verdict;

static Verdict judge(Elab *e, const AstExpr *expr) {
    Value v = eval_expr(e, expr);
    Node *node = v.kind == VALUE_TENSOR ? v.tensor->node : NULL;
    if (!node) {
        bool holds = false;
        bool good = value_condition(e, v, expr, "`when`", &holds);
        return !good ? MISTAKE : holds ? ALWAYS : NEVER;
    }
    if (!node_is_run_time_scalar(node)) {
        Diag *d = report_error(e, expr->span,
                               "`when` takes run-time scalars, and this is computed from tensors");
        diag_help(d, "where(cond, a, b) chooses by tensors");
        return MISTAKE;
    }
    if (node->type.dtype != DT_BOOL) {
        Diag *d = report_error(e, expr->span, "`when` takes a condition, and this is a number");
        diag_help(d, "compare it: %s > 0", expr_text(e, expr));
        return MISTAKE;
    }
    if (e->step->passed_over)
        return NOT_TAKEN;
    Choices *choices = e->step->choices;
    return choose(e, choices, copy_condition(e, choices, node), expr_text(e, expr), expr->span)
               ? TAKEN
               : NOT_TAKEN;
}

void exec_when(Elab *e, const AstStmt *stmt) {
    if (!e->step) // a text that could not be read wholly may have left it in another place
        return;
    bool outside = e->step->passed_over; // then none of the branches is taken
    for (size_t i = 0; i < stmt->branch.count && !e->stopped; i++) {
        const AstBranch *branch = &stmt->branch.branches[i];
        Verdict verdict = branch->condition ? judge(e, branch->condition) : ALWAYS;
        if (verdict == MISTAKE) {
            e->step->poisoned = true;
            break;
        }
        if (verdict == NEVER)
            continue; // in no variant: as with `if`
        if (e->step->passed_over || verdict == NOT_TAKEN) {
            pass_over(e, &branch->body);
        } else {
            exec_block(e, &branch->body);
            e->step->passed_over = true; // what follows is not asked
        }
        if (verdict == ALWAYS)
            break;
    }
    e->step->passed_over = outside;
}
