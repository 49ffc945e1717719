// ir/read.c -- the text form of modules, read; ir/text.h describes it.
//
// The text is anyone's: cut down by hand, or a fuzzer's. Reading is line by line with one cursor
// and no recursion; every number is checked for overflow, every list and name has a limit, and
// memory grows in proportion to the text. Nodes go through ir_infer() before they are built, so a
// module that was read has sound types; what spans several nodes is for module_verify() to judge.
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ir/text.h"

enum {
    MAX_TEXT_BYTES = 64 << 20,
    MAX_WORD = 63,
    MAX_NAME_BYTES = 4096,
    MAX_OPERANDS = 4096,
    MAX_LIST = 64,
    MAX_SCALARS = 4096,
};

typedef struct Reader {
    Arena *arena;
    const char *at, *end;
    int line;
    const char *message; // of the first mistake
    Module *module;
    Map storages; // by name
    Graph *graph;
    Map nodes; // of the graph, by the number as written
} Reader;

__attribute__((format(printf, 2, 3))) static bool refuse(Reader *r, const char *format, ...) {
    if (!r->message) {
        va_list args;
        va_start(args, format);
        r->message = arena_vprintf(r->arena, format, args);
        va_end(args);
    }
    return false;
}

// ---- characters and words
// -------------------------------------------------------------------------

static char peek(const Reader *r) {
    return r->at < r->end ? *r->at : '\n';
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

// Blanks and comments of this line.
static void skip_blanks(Reader *r) {
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\t' || *r->at == '\r'))
        r->at++;
    if (r->at < r->end && (*r->at == '#' || *r->at == '@')) {
        while (r->at < r->end && *r->at != '\n')
            r->at++;
    }
}

static void skip_lines(Reader *r) {
    for (skip_blanks(r); r->at < r->end && *r->at == '\n'; skip_blanks(r)) {
        r->at++;
        r->line++;
    }
}

static bool line_ends(Reader *r) {
    skip_blanks(r);
    return r->at == r->end || *r->at == '\n';
}

static bool end_line(Reader *r) {
    if (!line_ends(r))
        return refuse(r, "the line should end here, before `%c`", *r->at);
    skip_lines(r);
    return true;
}

static bool have(Reader *r, char c) {
    skip_blanks(r);
    if (r->at == r->end || *r->at != c)
        return false;
    r->at++;
    return true;
}

static bool want(Reader *r, char c) {
    return have(r, c) || refuse(r, "`%c` is missing", c);
}

// A word of letters, digits and underscores into `word`, or an empty one.
static void take_word(Reader *r, char word[MAX_WORD + 1]) {
    size_t length = 0;
    skip_blanks(r);
    if (is_letter(peek(r))) {
        while (r->at < r->end && (is_letter(*r->at) || is_digit(*r->at)) && length < MAX_WORD)
            word[length++] = *r->at++;
    }
    word[length] = '\0';
}

static bool have_word(Reader *r, const char *wanted) {
    const char *before = r->at;
    char word[MAX_WORD + 1];
    take_word(r, word);
    if (strcmp(word, wanted) == 0)
        return true;
    r->at = before;
    return false;
}

// A word out of a table of names; its index.
static bool want_name_of(Reader *r, const char *const *names, int count, const char *what,
                         int *index) {
    char word[MAX_WORD + 1];
    take_word(r, word);
    for (int i = 0; i < count; i++) {
        if (strcmp(word, names[i]) == 0) {
            *index = i;
            return true;
        }
    }
    return refuse(r, "`%s` is no %s", word, what);
}

// ---- values
// ---------------------------------------------------------------------------------------

static bool want_int(Reader *r, int64_t *value) {
    *value = 0;
    skip_blanks(r);
    bool negative = peek(r) == '-';
    if (negative)
        r->at++;
    if (!is_digit(peek(r)))
        return refuse(r, "an integer is missing");
    int64_t sum = 0; // negative all the way, as the range below zero is larger
    for (; is_digit(peek(r)); r->at++) {
        if (__builtin_mul_overflow(sum, 10, &sum) ||
            __builtin_sub_overflow(sum, *r->at - '0', &sum))
            return refuse(r, "an integer beyond 64 bits");
    }
    if (!negative && sum == INT64_MIN)
        return refuse(r, "an integer beyond 64 bits");
    *value = negative ? sum : -sum;
    return true;
}

static bool want_int_in(Reader *r, int64_t least, int64_t most, int64_t *value) {
    if (!want_int(r, value))
        return false;
    if (*value < least || *value > most)
        return refuse(r, "%" PRId64 " is not between %" PRId64 " and %" PRId64, *value, least,
                      most);
    return true;
}

static bool want_quoted(Reader *r, const char **text) {
    StrBuf out = {.arena = r->arena};
    if (!want(r, '"'))
        return false;
    strbuf_puts(&out, "");
    while (peek(r) != '"') {
        char c = peek(r);
        if (c == '\n' || c == '\0')
            return refuse(r, "a text that does not end on its line");
        r->at++;
        if (c == '\\') {
            c = peek(r);
            r->at += c != '\n';
            if (c == 'x') {
                char digits[3] = {0};
                for (int i = 0; i < 2 && peek(r) != '\n'; i++)
                    digits[i] = *r->at++;
                char *rest;
                c = (char)strtol(digits, &rest, 16);
                if (rest != digits + 2 || !c || !(is_digit(*digits) || is_letter(*digits)))
                    return refuse(r, "`\\x%s` is no character", digits);
            } else if (c != '"' && c != '\\') {
                return refuse(r, "`\\` is followed by `\"`, `\\` or `x`");
            }
        }
        if (out.length >= MAX_NAME_BYTES)
            return refuse(r, "a text of more than %d bytes", (int)MAX_NAME_BYTES);
        strbuf_putc(&out, c);
    }
    r->at++;
    *text = strbuf_text(&out);
    return true;
}

static bool want_real(Reader *r, double *value) {
    char text[MAX_WORD + 1];
    size_t length = 0;
    skip_blanks(r);
    while (length < MAX_WORD && (is_letter(peek(r)) || is_digit(peek(r)) || peek(r) == '+' ||
                                 peek(r) == '-' || peek(r) == '.'))
        text[length++] = *r->at++;
    text[length] = '\0';
    char *rest;
    *value = strtod(text, &rest);
    if (!length || *rest)
        return refuse(r, "`%s` is no number", text);
    if (isnan(*value))
        *value = NAN;
    return true;
}

static bool want_ints(Reader *r, Ints *list) {
    int64_t value[MAX_LIST];
    size_t count = 0;
    if (!want(r, '['))
        return false;
    if (!have(r, ']')) {
        do {
            if (count == MAX_LIST)
                return refuse(r, "a list of more than %d numbers", (int)MAX_LIST);
            if (!want_int(r, &value[count++]))
                return false;
        } while (have(r, ','));
        if (!want(r, ']'))
            return false;
    }
    *list = ints_copy(r->arena, value, count);
    return true;
}

static bool want_dtype(Reader *r, DType *dtype) {
    char word[MAX_WORD + 1];
    take_word(r, word);
    return dtype_from_name(word, dtype) || refuse(r, "`%s` is no element type", word);
}

static bool want_type(Reader *r, Type *type) {
    Ints dim = {0};
    int64_t block = 0, axis = 0, count = 1;
    *type = (Type){0};
    if (!want_dtype(r, &type->dtype) || !want_ints(r, &dim))
        return false;
    if (dim.count > MAX_RANK)
        return refuse(r, "rank %u; the largest is %d", dim.count, MAX_RANK);
    type->rank = (uint8_t)dim.count;
    for (uint32_t i = 0; i < dim.count; i++) {
        type->dim[i] = dim.at[i];
        if (dim.at[i] < 1)
            return refuse(r, "extent %" PRId64 "; it must be at least 1", dim.at[i]);
        if (__builtin_mul_overflow(count, dim.at[i], &count) || count > INT64_C(1) << 40)
            return refuse(r, "a tensor of more than 2^40 elements");
    }
    if (!have(r, '{'))
        return true;
    if (!want_int_in(r, 0, type->rank - 1, &axis) || !want(r, ':') ||
        !want_int_in(r, 1, UINT8_MAX, &block) || !want(r, '}'))
        return false;
    if (type->dim[axis] % block)
        return refuse(r, "extent %" PRId64 " in blocks of %" PRId64, type->dim[axis], block);
    type->block = (uint8_t)block;
    type->block_axis = (uint8_t)axis;
    return true;
}

// `name=1 other=2` to the end of the line, in any order; what is not named keeps its value.
typedef struct Named {
    const char *name;
    int64_t least, most;
    int64_t value;
} Named;

static bool want_named(Reader *r, Named *named, int count) {
    char word[MAX_WORD + 1];
    while (!line_ends(r) && is_letter(peek(r))) {
        take_word(r, word);
        int i = 0;
        while (i < count && strcmp(word, named[i].name) != 0)
            i++;
        if (i == count)
            return refuse(r, "`%s` has no meaning here", word);
        if (!want(r, '=') || !want_int_in(r, named[i].least, named[i].most, &named[i].value))
            return false;
    }
    return true;
}

// ---- nodes
// ----------------------------------------------------------------------------------------

static bool read_Int(Reader *r, AttrInt *value) {
    return want(r, '=') && want_int(r, value);
}

static bool read_Count(Reader *r, AttrCount *value) {
    return read_Int(r, value);
}

static bool read_Ints(Reader *r, AttrInts *value) {
    return want(r, '=') && want_ints(r, value);
}

static bool read_Real(Reader *r, AttrReal *value) {
    return want(r, '=') && want_real(r, value);
}

static bool read_Text(Reader *r, AttrText *value) {
    return want(r, '=') && want_quoted(r, value);
}

static bool read_Flag(Reader *r, AttrFlag *value) {
    (void)r;
    return *value = true;
}

static bool read_Dtype(Reader *r, AttrDtype *value) {
    return want(r, '=') && want_dtype(r, value);
}

typedef struct Line { // a node as it is read
    Op op;
    const char *number; // as written, NULL if none
    Vec(Node *) operands;
    Attrs attrs;
    unsigned set; // attributes seen
    const char *tag;
    Type type;
    bool has_type;
} Line;

static bool read_attr(Reader *r, Line *line) {
    char word[MAX_WORD + 1];
    take_word(r, word);
    if (strcmp(word, "tag") == 0)
        return read_Text(r, &line->tag);
    unsigned carried = op_info[line->op].attrs & ~(ATTRS_IN_TYPE | ATTRS_BEFORE_OPERANDS);
#define ATTR(name, kind, summary)                                                                  \
    if ((carried & HAS_##name) && strcmp(word, #name) == 0) {                                      \
        if (line->set & HAS_##name)                                                                \
            return refuse(r, "%s is given twice", word);                                           \
        line->set |= HAS_##name;                                                                   \
        return read_##kind(r, &line->attrs.name);                                                  \
    }
#include "ir/attrs.def"
#undef ATTR
    return refuse(r, "%s has no attribute `%s`", op_info[line->op].name, word);
}

static bool read_attrs(Reader *r, Line *line) {
    if (have(r, '{') && !have(r, '}')) {
        do {
            if (!read_attr(r, line))
                return false;
        } while (have(r, ','));
        if (!want(r, '}'))
            return false;
    }
    for (int i = 0; i < ATTR_COUNT; i++) {
        unsigned bit = 1u << i;
        if ((op_info[line->op].attrs & ~line->set & bit) && !(bit & ATTRS_IN_TYPE) &&
            attr_info[i].kind != KIND_Flag && attr_info[i].kind != KIND_Count)
            return refuse(r, "%s needs `%s`", op_info[line->op].name, attr_info[i].name);
    }
    return true;
}

// What stands before the operands: a name, a storage's name, a constant's value.
static bool read_leading(Reader *r, Line *line) {
    unsigned carried = op_info[line->op].attrs;
    if (carried & HAS_name) {
        if (!want_quoted(r, &line->attrs.name))
            return false;
    }
    if (carried & HAS_storage) {
        const char *name = NULL;
        if (!want_quoted(r, &name))
            return false;
        const Storage *storage = map_get(&r->storages, name);
        if (!storage)
            return refuse(r, "no storage `%s`", name);
        line->attrs.storage = storage->id;
    }
    line->set |= carried & ATTRS_BEFORE_OPERANDS;
    if (text_value_leads(line->op)) {
        line->set |= HAS_value;
        return want_real(r, &line->attrs.value);
    }
    return true;
}

// `%12`, the number as it is written, without leading zeros.
static bool want_number(Reader *r, const char **number) {
    int64_t value = 0;
    if (!want(r, '%') || !want_int_in(r, 0, INT64_MAX, &value))
        return false;
    *number = arena_printf(r->arena, "%" PRId64, value);
    return true;
}

static bool want_node(Reader *r, Node **node) {
    const char *number = NULL;
    if (!want_number(r, &number))
        return false;
    *node = map_get(&r->nodes, number);
    return *node || refuse(r, "%%%s is not defined above", number);
}

static bool read_operands(Reader *r, Line *line) {
    skip_blanks(r);
    if (peek(r) != '%')
        return true;
    do {
        Node *node = NULL;
        if (line->operands.count == MAX_OPERANDS)
            return refuse(r, "more than %d operands", (int)MAX_OPERANDS);
        if (!want_node(r, &node))
            return false;
        vec_push(r->arena, &line->operands, node);
    } while (have(r, ','));
    return true;
}

static bool read_result_type(Reader *r, Line *line) {
    unsigned carried = op_info[line->op].attrs & ATTRS_IN_TYPE;
    line->has_type = have(r, ':');
    if (!line->has_type)
        return !carried || refuse(r, "%s needs its type", op_info[line->op].name);
    if (!want_type(r, &line->type))
        return false;
    if (carried & HAS_shape) {
        uint32_t parts_axis = line->attrs.parts > 0 && line->type.rank > 0; // not of the shape
        line->attrs.shape = (Ints){line->type.rank - parts_axis, line->type.dim + parts_axis};
    }
    if (carried & HAS_dtype)
        line->attrs.dtype = line->type.dtype;
    return true;
}

static bool build_node(Reader *r, Line *line) {
    uint32_t arity = (uint32_t)line->operands.count;
    const Type **type = arena_array(r->arena, const Type *, arity);
    Type inferred;
    const char *message;
    for (uint32_t k = 0; k < arity; k++)
        type[k] = &line->operands.at[k]->type;
    if (!ir_infer(r->module, line->op, type, arity, &line->attrs, &inferred, r->arena, &message))
        return refuse(r, "%s: %s", op_info[line->op].name, message);
    if (line->has_type &&
        (inferred.dtype != line->type.dtype || !type_same_shape(&inferred, &line->type)))
        return refuse(r, "%s gives %s, not %s", op_info[line->op].name,
                      type_text(r->arena, &inferred), type_text(r->arena, &line->type));
    Node *node = graph_append(r->graph, line->op, line->operands.at, arity, &line->attrs, NULL);
    node->tag = line->tag;
    if (line->has_type)
        node->type = line->type; // with its layout
    if (line->number)
        map_set(&r->nodes, line->number, node);
    return true;
}

static bool read_node(Reader *r) {
    Line line = {0};
    char word[MAX_WORD + 1];
    skip_blanks(r);
    if (peek(r) == '%') {
        if (!want_number(r, &line.number) || !want(r, '='))
            return false;
        if (map_has(&r->nodes, line.number))
            return refuse(r, "%%%s is defined twice", line.number);
    }
    take_word(r, word);
    if (!op_from_name(word, &line.op))
        return refuse(r, "`%s` is no op", word);
    return read_leading(r, &line) && read_operands(r, &line) && read_attrs(r, &line) &&
           read_result_type(r, &line) && build_node(r, &line);
}

// ---- kernels and buffers
// --------------------------------------------------------------------------

static bool read_node_list(Reader *r, Node ***list, uint32_t *count) {
    Vec(Node *) nodes = {0};
    skip_blanks(r);
    if (peek(r) == '%') {
        do {
            Node *node = NULL;
            if (!want_node(r, &node))
                return false;
            vec_push(r->arena, &nodes, node);
        } while (have(r, ','));
    }
    *list = nodes.at;
    *count = (uint32_t)nodes.count;
    return true;
}

static bool read_kernel(Reader *r) {
    Kernel *kernel = arena_new(r->arena, Kernel);
    kernel->id = (uint32_t)r->graph->kernels.count;
    if (!read_node_list(r, &kernel->node, &kernel->node_count) || !want(r, '-') || !want(r, '>') ||
        !read_node_list(r, &kernel->stored, &kernel->stored_count))
        return false;
    vec_push(r->arena, &r->graph->kernels, kernel);
    return true;
}

typedef struct BufferLine { // kept until the number of nodes is known
    const Node *node;
    Buffer buffer;
} BufferLine;

typedef Vec(BufferLine) BufferLines;

static bool read_buffer(Reader *r, BufferLines *lines) {
    Named named[] = {
        {"index", 0, UINT32_MAX, 0}, {"offset", 0, INT64_MAX, 0}, {"size", 0, INT64_MAX, 0}};
    Node *node = NULL;
    int space = 0;
    if (!want_node(r, &node) || !want_name_of(r, space_names, SPACE_COUNT, "space", &space) ||
        !want_named(r, named, 3))
        return false;
    Buffer buffer = {(BufferSpace)space, (uint32_t)named[0].value, named[1].value, named[2].value};
    vec_push(r->arena, lines, (BufferLine){node, buffer});
    return true;
}

static void set_buffers(Reader *r, const BufferLines *lines) {
    if (!lines->count)
        return;
    r->graph->buffer = arena_array(r->arena, Buffer, r->graph->nodes.count);
    for (size_t i = 0; i < lines->count; i++)
        r->graph->buffer[lines->at[i].node->id] = lines->at[i].buffer;
}

// ---- the module
// -----------------------------------------------------------------------------------

static bool read_graph(Reader *r) {
    Named named[] = {{"phase", -1, INT32_MAX, -1}, {"step_bytes", 0, INT64_MAX, 0}};
    BufferLines buffers = {0};
    const char *name = NULL;
    int role = 0;
    if (!want_quoted(r, &name) ||
        !want_name_of(r, role_names, ROLE_COUNT, "role of a graph", &role) ||
        !want_named(r, named, 2) || !want(r, '{') || !end_line(r))
        return false;
    r->graph = module_add_graph(r->module, name, (GraphRole)role, (int32_t)named[0].value);
    r->graph->step_bytes = named[1].value;
    map_init(&r->nodes, r->arena);
    while (!have(r, '}')) {
        if (r->at == r->end)
            return refuse(r, "graph `%s` has no closing `}`", name);
        bool read = have_word(r, "kernel")   ? read_kernel(r)
                    : have_word(r, "buffer") ? read_buffer(r, &buffers)
                                             : read_node(r);
        if (!read || !end_line(r))
            return false;
    }
    set_buffers(r, &buffers);
    return true;
}

static bool read_storage(Reader *r) {
    Named named[] = {{"phase", -1, INT32_MAX, -1}, {"offset", 0, INT64_MAX, 0}};
    const char *name = NULL;
    Type type = {0};
    int kind = 0;
    if (!want_name_of(r, storage_kind_names, STORAGE_PHASE + 1, "kind of storage", &kind) ||
        !want_quoted(r, &name) || !want(r, ':') || !want_type(r, &type) || !want_named(r, named, 2))
        return false;
    if (map_has(&r->storages, name))
        return refuse(r, "storage `%s` is defined twice", name);
    Storage *storage = module_add_storage(r->module, (StorageKind)kind, name, &type);
    storage->phase = (int32_t)named[0].value;
    storage->offset_bytes = named[1].value;
    map_set(&r->storages, name, storage);
    return true;
}

static bool read_scalar(Reader *r) {
    const char *name = NULL;
    if (!want_quoted(r, &name))
        return false;
    size_t before = r->module->scalars.count;
    if (before == MAX_SCALARS)
        return refuse(r, "more than %d scalars", (int)MAX_SCALARS);
    return module_scalar_slot(r->module, name) == before ||
           refuse(r, "scalar `%s` is defined twice", name);
}

static bool read_header(Reader *r) {
    Named named[] = {{"streams", 0, UINT32_MAX, 0},
                     {"storage_bytes", 0, INT64_MAX, 0},
                     {"phase_bytes", 0, INT64_MAX, 0},
                     {"step_bytes", 0, INT64_MAX, 0}};
    const char *name = NULL;
    DType real = DT_F32;
    if (!want_quoted(r, &name) || !want_dtype(r, &real) || !want_named(r, named, 4))
        return false;
    if (!dtype_is_float(real))
        return refuse(r, "a module computes in f32 or f64, not in %s", dtype_name(real));
    r->module->name = name;
    r->module->real = real;
    r->module->next_stream = (uint32_t)named[0].value;
    r->module->storage_bytes = named[1].value;
    r->module->phase_bytes = named[2].value;
    r->module->step_bytes = named[3].value;
    return true;
}

static bool read_module(Reader *r) {
    skip_lines(r);
    if (have_word(r, "module") && !(read_header(r) && end_line(r)))
        return false;
    while (r->at < r->end) {
        bool read = have_word(r, "scalar")    ? read_scalar(r)
                    : have_word(r, "storage") ? read_storage(r)
                    : have_word(r, "graph")   ? read_graph(r)
                                              : refuse(r, "no scalar, storage or graph");
        if (!read || !end_line(r))
            return false;
    }
    return true;
}

Module *module_read(Arena *arena, const char *text, size_t length, int *line,
                    const char **message) {
    Reader r = {.arena = arena,
                .at = text,
                .end = text + length,
                .line = 1,
                .module = module_new(arena, "", DT_F32)};
    map_init(&r.storages, arena);
    if (length > MAX_TEXT_BYTES)
        refuse(&r, "a text of more than %d MiB", MAX_TEXT_BYTES >> 20);
    else if (read_module(&r))
        return r.module;
    *line = r.line;
    *message = r.message;
    return NULL;
}
