// driver/options.c -- the command line of kdc, from a table of its options.
#include "driver/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/codegen.h"
#include "support/diag.h"
#include "support/size.h"

typedef struct EmitRow {
    const char *name;
    Emit emit;
} EmitRow;

static const EmitRow emit_rows[] = {
    {"ast", EMIT_AST},   {"tree", EMIT_TREE}, {"ir", EMIT_IR},   {"loops", EMIT_LOOPS},
    {"llvm", EMIT_LLVM}, {"asm", EMIT_ASM},   {"obj", EMIT_OBJ}, {"manifest", EMIT_MANIFEST},
};

// Stores `value` (NULL for an option without one). Returns NULL, or what would have been right.
typedef const char *OptionSetter(Options *options, Arena *arena, const char *value);

static const char *set_output(Options *options, Arena *arena, const char *value) {
    (void)arena;
    options->output = value;
    return *value ? NULL : "a file name";
}

static const char *set_define(Options *options, Arena *arena, const char *value) {
    const char *equals = strchr(value, '=');
    if (!equals || equals == value)
        return "name=value";
    FrontendDefine define = {arena_strndup(arena, value, (size_t)(equals - value)), equals + 1};
    vec_push(arena, &options->defines, define);
    return NULL;
}

static const char *set_level(Options *options, Arena *arena, const char *value) {
    (void)arena;
    if (value[0] < '0' || value[0] > '3' || value[1])
        return "0, 1, 2 or 3";
    options->level = value[0] - '0';
    options->level_given = true;
    return NULL;
}

static const char *set_dtype(Options *options, Arena *arena, const char *value) {
    (void)arena;
    if (!dtype_from_name(value, &options->real) || !dtype_is_float(options->real))
        return "f32 or f64";
    return NULL;
}

static const char *set_target_cpu(Options *options, Arena *arena, const char *value) {
    (void)arena;
    options->target_cpu = value;
    return codegen_target_known(value) ? NULL
                                       : "native, x86-64 to x86-64-v4, or a processor as LLVM "
                                         "calls it (haswell, znver4, ...)";
}

static const char *set_static(Options *options, Arena *arena, const char *value) {
    (void)arena, (void)value;
    options->fully_static = true;
    return NULL;
}

static const char *set_emit(Options *options, Arena *arena, const char *value) {
    (void)arena;
    for (size_t i = 0; i < sizeof emit_rows / sizeof *emit_rows; i++) {
        if (strcmp(emit_rows[i].name, value) == 0) {
            options->emit = emit_rows[i].emit;
            return NULL;
        }
    }
    return "ast, tree, ir, loops, llvm, asm, obj or manifest";
}

static const char *set_print_after(Options *options, Arena *arena, const char *value) {
    (void)arena;
    options->print_after = value;
    return *value ? NULL : "a pass, or all";
}

static const char *set_passes(Options *options, Arena *arena, const char *value) {
    (void)arena;
    options->passes = value;
    return NULL;
}

static const char *set_math(Options *options, Arena *arena, const char *value) {
    (void)arena;
    if (strcmp(value, "strict") != 0 && strcmp(value, "fast") != 0)
        return "strict or fast";
    options->strict_math = value[0] == 's';
    return NULL;
}

static const char *set_without(Options *options, Arena *arena, const char *value) {
    (void)arena;
    options->without = value;
    return NULL;
}

static const char *set_unchained(Options *options, Arena *arena, const char *value) {
    (void)arena, (void)value;
    options->unchained = true;
    return NULL;
}

static const char *set_time_passes(Options *options, Arena *arena, const char *value) {
    (void)arena, (void)value;
    options->time_passes = true;
    return NULL;
}

static const char *set_json(Options *options, Arena *arena, const char *value) {
    (void)arena, (void)value;
    options->json = true;
    return NULL;
}

static const char *set_count(Options *options, Arena *arena, const char *value) {
    (void)arena, (void)value;
    options->count = true;
    return NULL;
}

static const char *set_profile(Options *options, Arena *arena, const char *value) {
    (void)arena;
    options->profile = true;
    options->profile_batches = value;
    return value && (!*value || value[strspn(value, "0123456789")] || !strtol(value, NULL, 10))
               ? "a number of batches"
               : NULL;
}

static const char *set_memory_limit(Options *options, Arena *arena, const char *value) {
    (void)arena;
    return size_from_text(value, &options->memory_limit_bytes)
               ? NULL
               : "a size: 300M, 1.5G, 512Mi or a number of bytes";
}

static const char *set_werror(Options *options, Arena *arena, const char *value) {
    (void)arena, (void)value;
    options->warnings_are_errors = true;
    return NULL;
}

static const char *set_eval(Options *options, Arena *arena, const char *value) {
    (void)arena, (void)value;
    options->evaluate = true;
    return NULL;
}

static const char *set_deploy(Options *options, Arena *arena, const char *value) {
    (void)arena;
    options->deploy = value;
    return *value ? NULL : "the name of a deployment";
}

static const char *set_weights(Options *options, Arena *arena, const char *value) {
    vec_push(arena, &options->weights, value);
    return *value ? NULL : "a safetensors file, or MODEL=FILE";
}

static const char *set_help(Options *options, Arena *arena, const char *value) {
    (void)arena, (void)value;
    options->wants_help = true;
    return NULL;
}

static const char *set_version(Options *options, Arena *arena, const char *value) {
    (void)arena, (void)value;
    options->wants_version = true;
    return NULL;
}

// One dash: the value follows in the same word or the next (`-O3`, `-o train`). Two: after `=` or
// in the next word (`--emit=ir`, `--emit ir`).
typedef struct OptionRow {
    const char *name;
    const char *value; // how --help calls it, "[=N]" where it may be left out; NULL: there is none
    OptionSetter *set;
    const char *help;
} OptionRow;

static const OptionRow option_rows[] = {
    {"-o", "FILE", set_output, "where to write the result; `-` is the standard output"},
    {"-D", "name=value", set_define, "the value of a `param`; may be given several times"},
    {"-O", "0..3", set_level, "how much to optimise; 2 unless given"},
    {"--dtype", "f32|f64", set_dtype, "the type of all real numbers; f32 unless given"},
    {"--math", "strict|fast", set_math,
     "strict: every sum as it is written; fast, the default: convolutions by fewer products"},
    {"--target-cpu", "NAME", set_target_cpu,
     "the processor to compile for; this machine's unless given"},
    {"--static", NULL, set_static, "link the binary statically"},
    {"--deploy", "NAME", set_deploy,
     "make a library of this deployment: -o NAME.so, NAME.a or NAME.safetensors"},
    {"--weights", "FILE", set_weights,
     "its weights, as a run leaves them: a file, the run's folder, or MODEL=FILE"},
    {"--emit", "FORM", set_emit,
     "stop at a form and print it: ast (kd source), tree, ir, loops, llvm, asm, obj, manifest"},
    {"--passes", "a,b", set_passes, "run these passes alone; with an .ir file none unless given"},
    {"--without", "a,b", set_without, "leave these passes out"},
    {"--unchained", NULL, set_unchained,
     "run kernels one after the other, not image by image together"},
    {"--print-after", "PASS", set_print_after,
     "print the IR to the standard error after these passes, or after all"},
    {"--time-passes", NULL, set_time_passes, "say how long each pass took"},
    {"--memory-limit", "SIZE", set_memory_limit,
     "how much memory parameters, states and a step's values may take; values are computed again "
     "to fit"},
    {"--werror", NULL, set_werror, "stop at warnings as at errors"},
    {"--count", NULL, set_count, "`kdc cost`: run each graph once and count its multiply-adds"},
    {"--profile", "[=N]", set_profile,
     "take the time of every kernel; with N, `kdc run` runs N batches of each phase and keeps "
     "nothing"},
    {"--json", NULL, set_json, "`kdc cost`: as JSON"},
    {"--eval", NULL, set_eval, "interpret an .ir file on made-up inputs and print what it gives"},
    {"--help", NULL, set_help, "this text"},
    {"--version", NULL, set_version, "the version of kdc"},
};
enum { OPTION_COUNT = sizeof option_rows / sizeof *option_rows };

static bool is_long(const OptionRow *row) {
    return row->name[1] == '-';
}

static bool may_lack_value(const OptionRow *row) {
    return row->value && row->value[0] == '[';
}

// Does `word` name this option? *value is then what stands in the same word, or NULL.
static bool matches(const OptionRow *row, const char *word, const char **value) {
    size_t length = strlen(row->name);
    *value = NULL;
    if (strncmp(word, row->name, length) != 0)
        return false;
    if (!word[length])
        return true;
    if (is_long(row) && word[length] != '=')
        return false;
    *value = word + length + is_long(row);
    return is_long(row) || row->value;
}

static bool unknown_option(const char *word) {
    const char *names[OPTION_COUNT];
    for (size_t i = 0; i < OPTION_COUNT; i++)
        names[i] = option_rows[i].name;
    size_t length = strcspn(word, "=");
    char name[40];
    snprintf(name, sizeof name, "%.*s", (int)length, word);
    const char *near = nearest_name(name, names, OPTION_COUNT);
    fprintf(stderr, "kdc: unknown option `%.*s`%s%s%s (see kdc --help)\n", (int)length, word,
            near ? "; did you mean `" : "", near ? near : "", near ? "`?" : "");
    return false;
}

static bool parse_option(Options *options, Arena *arena, int argc, char **argv, int *at) {
    const char *word = argv[*at];
    const char *value;
    const OptionRow *row = NULL;
    if (strcmp(word, "-h") == 0)
        word = "--help";
    for (size_t i = 0; i < OPTION_COUNT && !row; i++)
        if (matches(&option_rows[i], word, &value))
            row = &option_rows[i];
    if (!row)
        return unknown_option(word);
    if (!row->value && value) {
        fprintf(stderr, "kdc: `%s` takes no value\n", row->name);
        return false;
    }
    if (row->value && !value && !may_lack_value(row)) {
        if (*at + 1 >= argc) {
            fprintf(stderr, "kdc: `%s` needs a value: %s\n", row->name, row->value);
            return false;
        }
        value = argv[++*at];
    }
    const char *wanted = row->set(options, arena, value);
    if (wanted)
        fprintf(stderr, "kdc: `%s` takes %s, not `%s`\n", row->name, wanted, value);
    return !wanted;
}

bool options_parse(Options *options, Arena *arena, int argc, char **argv, int first) {
    *options = (Options){.level = 2, .real = DT_F32};
    for (int i = first; i < argc; i++) {
        const char *word = argv[i];
        if (strcmp(word, "--") == 0) {
            options->run_args = argv + i + 1;
            options->run_arg_count = argc - i - 1;
            break;
        }
        if (word[0] != '-' || !word[1])
            vec_push(arena, &options->inputs, word);
        else if (!parse_option(options, arena, argc, argv, &i))
            return false;
    }
    return true;
}

void options_print_help(void) {
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        const OptionRow *row = &option_rows[i];
        const char *between = !row->value                    ? ""
                              : may_lack_value(row)          ? ""
                              : is_long(row)                 ? "="
                              : strcmp(row->name, "-O") == 0 ? ""
                                                             : " ";
        int width = printf("  %s%s%s", row->name, between, row->value ? row->value : "");
        printf("%*s%s\n", width < 24 ? 24 - width : 1, "", row->help);
    }
}
