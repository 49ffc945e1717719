// codegen/library_header.c -- the C header of a deployed library.
#include <ctype.h>
#include <inttypes.h>
#include <string.h>

#include "codegen/codegen.h"

typedef struct Header {
    StrBuf text;
    Arena *arena;
    const Library *library;
    const char *prefix, *upper;
} Header;

const char *library_prefix(Arena *arena, const char *name) {
    char *prefix = arena_strdup(arena, name);
    for (char *c = prefix; *c; c++)
        if (!isalnum((unsigned char)*c))
            *c = '_';
    return prefix;
}

static const char *in_capitals(Arena *arena, const char *name) {
    char *upper = arena_strdup(arena, name);
    for (char *c = upper; *c; c++)
        *c = (char)toupper((unsigned char)*c);
    return upper;
}

static const char *c_type(DType dtype) {
    switch (dtype) {
    case DT_F32:
        return "float";
    case DT_F64:
        return "double";
    case DT_I32:
        return "int32_t";
    case DT_U8:
    case DT_BOOL:
        return "uint8_t";
    }
    return "void";
}

/// "[3, 32, 32]": one example, without the axis of the batch.
static const char *row_shape(Arena *arena, const Type *type) {
    StrBuf text = {.arena = arena};
    strbuf_putc(&text, '[');
    for (int i = 1; i < type->rank; i++)
        strbuf_printf(&text, "%s%" PRId64, i > 1 ? ", " : "", type->dim[i]);
    strbuf_putc(&text, ']');
    return strbuf_text(&text);
}

/// A parameter of this name; the underscore keeps it from keywords and from our own.
static const char *parameter_name(Arena *arena, const char *name) {
    static const char *const usual[] = {"image", "output"};
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++)
        if (strcmp(name, usual[i]) == 0)
            return name;
    return arena_printf(arena, "%s_", library_prefix(arena, name));
}

static void put_size(Header *h, const PortSpec *port) {
    const char *name = in_capitals(h->arena, library_prefix(h->arena, port->name));
    strbuf_printf(&h->text, "#define %s_%s_SIZE %" PRId64 " /* of one example: %s, %s */\n",
                  h->upper, name, type_count(&port->type), c_type(port->type.dtype),
                  row_shape(h->arena, &port->type));
}

static void put_options(Header *h, const Module *module) {
    const Program *program = h->library->program;
    for (size_t i = 0; i < module->scalars.count; i++)
        for (size_t k = 0; k < program->options.count; k++) {
            const OptionSpec *option = &program->options.at[k];
            if (strcmp(option->name, module->scalars.at[i]) == 0)
                strbuf_printf(&h->text, " *     \"%s\", %.9g unless set%s%s\n", option->name,
                              option->value, *option->text ? ": " : "",
                              strstr(option->text, "*/") ? "" : option->text);
        }
}

static void put_run(Header *h) {
    const Deployment *d = h->library->deployment;
    strbuf_printf(&h->text, "int32_t %s_run(struct %s_model *model, int64_t count", h->prefix,
                  h->prefix);
    for (size_t i = 0; i < d->inputs.count; i++)
        strbuf_printf(&h->text, ", const %s *%s", c_type(d->inputs.at[i].type.dtype),
                      parameter_name(h->arena, d->inputs.at[i].name));
    for (size_t i = 0; i < d->outputs.count; i++)
        strbuf_printf(&h->text, ", %s *%s", c_type(d->outputs.at[i].type.dtype),
                      parameter_name(h->arena, d->outputs.at[i].name));
    strbuf_puts(&h->text, ", int32_t *exits);\n");
}

char *codegen_library_header(Arena *arena, const Library *library, const Module *module,
                             const char *file) {
    const Deployment *d = library->deployment;
    const char *p = library->prefix;
    Header h = {{.arena = arena}, arena, library, p, in_capitals(arena, p)};
    StrBuf *t = &h.text;
    strbuf_printf(t,
                  "/* %s -- `%s` of %s.kd, compiled by kdc. Weights are within; link with -lgomp.\n"
                  " * Inputs are those of `deploy`: images are normalised already. */\n"
                  "#ifndef KDC_LIBRARY_%s_H\n#define KDC_LIBRARY_%s_H\n\n#include <stdint.h>\n\n"
                  "#ifdef __cplusplus\nextern \"C\" {\n#endif\n\n",
                  file, d->spec->name, library->program->name, h.upper, h.upper);
    for (size_t i = 0; i < d->inputs.count; i++)
        put_size(&h, &d->inputs.at[i]);
    for (size_t i = 0; i < d->outputs.count; i++)
        put_size(&h, &d->outputs.at[i]);
    strbuf_printf(t, "#define %s_EXITS %zu /* ways to leave; the last is the `return` */\n\n",
                  h.upper, d->segments.count);
    strbuf_printf(t,
                  "/* The memory to work in. Several threads may use one each at the same time. */\n"
                  "struct %s_model;\n\n"
                  "/* `threads` 0: one for each core. NULL when there is no memory. */\n"
                  "struct %s_model *%s_open(int32_t threads);\n"
                  "void %s_close(struct %s_model *model);\n\n",
                  p, p, p, p, p);
    strbuf_puts(t, "/* Sets an option. Returns 0, or a status for the function below.");
    strbuf_puts(t, module->scalars.count ? "\n" : " There are none.\n");
    put_options(&h, module);
    strbuf_printf(t,
                  " */\nint32_t %s_set(struct %s_model *model, const char *option, double value);\n"
                  "const char *%s_error(int32_t status);\n\n"
                  "/* The first `count` exits are passed by, whatever their conditions say. */\n"
                  "int32_t %s_skip_exits(struct %s_model *model, int32_t count);\n\n"
                  "/* Any number of examples, one after another in each array. exits[i] becomes the\n"
                  " * number of the exit that example i took, from 0; it may be NULL. Returns 0, or a\n"
                  " * status. */\n",
                  p, p, p, p, p);
    put_run(&h);
    strbuf_puts(t, "\n#ifdef __cplusplus\n}\n#endif\n\n#endif\n");
    return (char *)strbuf_text(t);
}
