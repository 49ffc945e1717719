// frontend/terms.c -- the summands of what a step minimizes, each with a name for `kdc cost`.
//
// `minimize ce + 0.5 * kd` has two: sums and differences that the program itself writes are taken
// apart, `sum([…])` and `loss = loss + term` in a loop too, but not what a fn adds up inside, and
// not what a `let` gave a name (that of the whole `minimize` aside).
#include <ctype.h>
#include <string.h>

#include "frontend/elaborate.h"

enum {
    MOST_SUMMANDS = 32, // of a statement; one that has more is a single term
    MOST_TERMS = 64,    // of a step; what comes later has no row of its own
    LONGEST_NAME = 72,  // bytes, about
};

typedef Vec(Node *) Summands;

static bool joins_terms(const Node *node) {
    return (node->op == OP_add || node->op == OP_sub) && node->type.rank == 0 && node->origin &&
           !node->origin->function && dtype_is_float(node->type.dtype);
}

// The `let` that holds this node, the nearest first.
static const char *let_of(const Elab *e, const Node *node) {
    for (const Scope *scope = e->scope; scope && !scope->module; scope = scope->parent) {
        for (const Binding *b = scope->first; b; b = b->next)
            if (b->value.kind == VALUE_TENSOR && b->value.tensor->node == node)
                return b->name;
    }
    return NULL;
}

static void collect_summands(Elab *e, Node *node, bool whole, Summands *out) {
    if (!joins_terms(node) || (!whole && let_of(e, node))) {
        for (size_t i = 0; i < out->count; i++)
            if (out->at[i] == node)
                return; // twice the same is one term
        vec_push(e->arena, out, node);
        return;
    }
    for (uint32_t k = 0; k < node->arity && out->count <= MOST_SUMMANDS; k++)
        collect_summands(e, node->operand[k], false, out);
}

// The expression of the program that made the node.
static Span place_in_program(const Node *node) {
    const Origin *origin = node->origin;
    while (origin && origin->function && origin->caller)
        origin = origin->caller;
    return origin ? origin->span : (Span){0};
}

// The text of a span on one line, cut where it is long.
static const char *text_of_span(Elab *e, Span span) {
    StrBuf text = {.arena = e->arena};
    const char *source = source_of(e->sources, span)->text;
    for (uint32_t i = span.begin; i < span.end; i++) {
        bool space = isspace((unsigned char)source[i]);
        if (space && i > span.begin && isspace((unsigned char)source[i - 1]))
            continue;
        bool begins = ((unsigned char)source[i] & 0xc0) != 0x80; // of a character of UTF-8
        if (text.length + 1 >= LONGEST_NAME && begins && i + 1 < span.end) {
            strbuf_puts(&text, "…");
            break;
        }
        strbuf_putc(&text, space ? ' ' : source[i]);
    }
    return strbuf_text(&text);
}

static const char *unique_name(Elab *e, const Graph *graph, const char *name) {
    const char *unique = name;
    for (size_t i = 0, count = 1; i < graph->terms.count;) {
        if (strcmp(graph->terms.at[i].name, unique) != 0) {
            i++;
            continue;
        }
        unique = arena_printf(e->arena, "%s #%zu", name, ++count);
        i = 0;
    }
    return unique;
}

void note_terms(Elab *e, Node *loss, Span span) {
    Graph *graph = e->ctx->graph;
    Summands summands = {0};
    collect_summands(e, loss, true, &summands);
    bool too_many = summands.count > MOST_SUMMANDS;
    for (size_t i = 0; i < summands.count && graph->terms.count < MOST_TERMS; i++) {
        Node *node = too_many ? loss : summands.at[i];
        bool known = node->op == OP_const; // or noted by another `minimize`
        for (size_t k = 0; k < graph->terms.count; k++)
            known |= graph->terms.at[k].node == node;
        if (known)
            continue;
        const char *name = let_of(e, node);
        Span place = node == loss ? span : place_in_program(node);
        if (!name)
            name = text_of_span(e, place);
        LossTerm term = {unique_name(e, graph, name), place, node};
        vec_push(e->module->arena, &graph->terms, term);
        if (too_many)
            return;
    }
}
