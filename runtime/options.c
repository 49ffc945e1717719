// runtime/options.c -- the command line of a training binary: its own flags, a table below, and the
// options that the program declares.
//
// `--name value` and `--name=value` are the same. An option of the program hides a flag of that
// name (only `epochs` may have one; the compiler sees to it).
#include "runtime/run.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct Parse {
    const Manifest *manifest;
    Arena *arena;
    Options *options;
    KdrtError *error;
} Parse;

// ---- values -------------------------------------------------------------------------------------

static bool parse_number(Parse *p, const char *name, const char *text, double *value) {
    char *end;
    errno = 0;
    *value = strtod(text, &end);
    if (end == text || *end || !isfinite(*value))
        return kdrt_fail(p->error, STATUS_PROGRAM, "--%s takes a number, not `%s`", name, text);
    return true;
}

static bool parse_integer(Parse *p, const char *name, const char *text, int64_t least,
                          int64_t *value) {
    char *end;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    if (end == text || *end || errno || number < least)
        return kdrt_fail(p->error, STATUS_PROGRAM,
                         "--%s takes a whole number from %" PRId64 " on, not `%s`", name, least,
                         text);
    *value = number;
    return true;
}

// ---- the flags ----------------------------------------------------------------------------------

static bool flag_epochs(Parse *p, const char *name, const char *value) {
    return parse_integer(p, name, value, 0, &p->options->epochs);
}

static bool flag_data(Parse *p, const char *name, const char *value) {
    (void)name;
    DataPath *at = &p->options->data[p->options->data_count++];
    *at = (DataPath){NULL, value};
    const char *equals = strchr(value, '=');
    for (int64_t i = 0; equals && i < p->manifest->data_count; i++) {
        const char *data = p->manifest->data[i].name;
        if (strlen(data) == (size_t)(equals - value) &&
            !strncmp(data, value, (size_t)(equals - value)))
            *at = (DataPath){data, equals + 1};
    }
    return true;
}

/// Is load `number` from a file, and the first of its model?
static bool is_first_file(const Manifest *m, int64_t number) {
    bool first = m->load[number].path != NULL;
    for (int64_t i = 0; i < number; i++)
        first = first && (!m->load[i].path || strcmp(m->load[i].model, m->load[number].model) != 0);
    return first;
}

static bool flag_load(Parse *p, const char *name, const char *value) {
    (void)name;
    const char *equals = strchr(value, '=');
    for (int64_t i = 0; equals && i < p->manifest->load_count; i++) {
        const char *model = p->manifest->load[i].model;
        if (p->manifest->load[i].path && strlen(model) == (size_t)(equals - value) &&
            !strncmp(model, value, strlen(model))) {
            p->options->load[p->options->load_count++] = (LoadPath){model, equals + 1};
            return true;
        }
    }
    Text text = {.env = p->arena->env};
    for (int64_t i = 0; i < p->manifest->load_count; i++)
        if (is_first_file(p->manifest, i))
            kdrt_text_add(&text, "%s%s", text.length ? ", " : "", p->manifest->load[i].model);
    kdrt_fail(p->error, STATUS_PROGRAM,
              "--load takes MODEL=FILE, not `%s`; the models with weights from a file: %s", value,
              text.at ? text.at : "none");
    kdrt_text_release(&text);
    return false;
}

static bool flag_out(Parse *p, const char *name, const char *value) {
    (void)name;
    p->options->out = value;
    return *value || kdrt_fail(p->error, STATUS_PROGRAM, "--out takes a directory");
}

static bool flag_only(Parse *p, const char *name, const char *value) {
    (void)name;
    p->options->only = value;
    for (int64_t i = 0; i < p->manifest->phase_count; i++)
        if (!strcmp(p->manifest->phase[i].name, value) ||
            !strcmp(p->manifest->phase[i].train, value))
            return true;
    Text text = {.env = p->arena->env};
    for (int64_t i = 0; i < p->manifest->phase_count; i++)
        kdrt_text_add(&text, "%s%s", i ? ", " : "", p->manifest->phase[i].name);
    kdrt_fail(p->error, STATUS_PROGRAM, "no phase is called `%s`; there are %s", value,
              text.at ? text.at : "none");
    kdrt_text_release(&text);
    return false;
}

static bool flag_resume(Parse *p, const char *name, const char *value) {
    (void)name, (void)value;
    return p->options->resume = true;
}

static bool flag_seed(Parse *p, const char *name, const char *value) {
    int64_t seed = 0;
    p->options->seed_given = true;
    if (!parse_integer(p, name, value, 0, &seed))
        return false;
    p->options->seed = (uint64_t)seed;
    return true;
}

static bool flag_threads(Parse *p, const char *name, const char *value) {
    if (!parse_integer(p, name, value, 1, &p->options->threads))
        return false;
    return p->options->threads <= 1024 ||
           kdrt_fail(p->error, STATUS_PROGRAM, "--threads takes at most 1024");
}

static bool flag_save_every(Parse *p, const char *name, const char *value) {
    return parse_integer(p, name, value, 1, &p->options->save_every);
}

static bool flag_profile(Parse *p, const char *name, const char *value) {
    return parse_integer(p, name, value, 1, &p->options->profile);
}

static bool flag_quiet(Parse *p, const char *name, const char *value) {
    (void)name, (void)value;
    return p->options->quiet = true;
}

static bool flag_help(Parse *p, const char *name, const char *value) {
    (void)name, (void)value;
    return p->options->help = true;
}

typedef struct Flag {
    const char *name;
    const char *value; // what it takes, NULL: nothing
    bool (*set)(Parse *p, const char *name, const char *value);
    const char *text;
} Flag;

static const Flag flags[] = {
    {"data", "DIR", flag_data, "where the data is (NAME=DIR: of that data set)"},
    {"load", "MODEL=FILE", flag_load, "other weights for a model that is loaded from a file"},
    {"out", "DIR", flag_out, "where checkpoints, metrics and weights go"},
    {"epochs", "N", flag_epochs, "epochs of every phase"},
    {"only", "PHASE", flag_only, "run this phase alone"},
    {"resume", NULL, flag_resume, "go on from the newest checkpoint"},
    {"seed", "N", flag_seed, "seed of all randomness (default 0)"},
    {"threads", "N", flag_threads, "threads; the results do not depend on it (default: all cores)"},
    {"save-every", "N", flag_save_every, "a checkpoint every N batches, not only every epoch"},
    {"profile", "N", flag_profile,
     "N batches of each phase and evaluation, and their times; nothing is kept"},
    {"quiet", NULL, flag_quiet, "say nothing but errors"},
    {"help", NULL, flag_help, "this text"},
};

enum { FLAG_COUNT = sizeof flags / sizeof *flags };

static int64_t find_option(const Manifest *manifest, const char *name, size_t length) {
    for (int64_t i = 0; i < manifest->option_count; i++)
        if (strlen(manifest->option[i].name) == length &&
            !strncmp(manifest->option[i].name, name, length))
            return i;
    return -1;
}

static const Flag *find_flag(const char *name, size_t length) {
    for (int i = 0; i < FLAG_COUNT; i++)
        if (strlen(flags[i].name) == length && !strncmp(flags[i].name, name, length))
            return &flags[i];
    return NULL;
}

// ---- misspelt flags -----------------------------------------------------------------------------

/// Edit distance of Levenshtein; words over 31 characters count as far apart.
static int distance(const char *a, size_t a_length, const char *b) {
    enum { MOST = 31 };
    size_t b_length = strlen(b);
    int row[MOST + 1];
    if (a_length > MOST || b_length > MOST)
        return MOST;
    for (size_t j = 0; j <= b_length; j++)
        row[j] = (int)j;
    for (size_t i = 1; i <= a_length; i++) {
        int corner = row[0];
        row[0] = (int)i;
        for (size_t j = 1; j <= b_length; j++) {
            int change = corner + (a[i - 1] != b[j - 1]);
            int less = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            corner = row[j];
            row[j] = change < less ? change : less;
        }
    }
    return row[b_length];
}

static bool fail_unknown(Parse *p, const char *name, size_t length) {
    const char *nearest = NULL;
    int least = 3; // further away it is no misspelling
    for (int64_t i = 0; i < FLAG_COUNT + p->manifest->option_count; i++) {
        const char *other =
            i < FLAG_COUNT ? flags[i].name : p->manifest->option[i - FLAG_COUNT].name;
        int far = distance(name, length, other);
        if (far < least && far < (int)strlen(other)) {
            least = far;
            nearest = other;
        }
    }
    if (nearest)
        return kdrt_fail(p->error, STATUS_PROGRAM, "unknown option --%.*s; did you mean --%s?",
                         (int)length, name, nearest);
    return kdrt_fail(p->error, STATUS_PROGRAM, "unknown option --%.*s; --help lists them",
                     (int)length, name);
}

// ---- the command line ---------------------------------------------------------------------------

static bool set_option(Parse *p, int64_t option, const char *value) {
    const OptionSpec *spec = &p->manifest->option[option];
    double number;
    if (!parse_number(p, spec->name, value, &number))
        return false;
    if (spec->integer && number != rint(number))
        return kdrt_fail(p->error, STATUS_PROGRAM, "--%s takes a whole number, not `%s`",
                         spec->name, value);
    p->options->value[option] = number;
    p->options->given[option] = true;
    return true;
}

bool kdrt_options_read(const Manifest *manifest, Arena *arena, int argc, char **argv,
                       Options *options, KdrtError *error) {
    Parse parse = {manifest, arena, options, error};
    size_t count = (size_t)manifest->option_count;
    *options = (Options){.epochs = -1};
    options->value = kdrt_arena_array(arena, count, sizeof *options->value);
    options->given = kdrt_arena_array(arena, count, sizeof *options->given);
    options->data = kdrt_arena_array(arena, (size_t)argc, sizeof *options->data);
    options->load = kdrt_arena_array(arena, (size_t)argc, sizeof *options->load);
    if (!options->value || !options->given || !options->data || !options->load)
        return kdrt_fail_memory(error, count * sizeof *options->value);
    for (size_t i = 0; i < count; i++)
        options->value[i] = manifest->option[i].value;

    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "-h"))
            return options->help = true;
        if (strncmp(argv[i], "--", 2) != 0 || !argv[i][2])
            return kdrt_fail(error, STATUS_PROGRAM, "`%s` is no option; --help lists them",
                             argv[i]);
        const char *name = argv[i] + 2;
        size_t length = strcspn(name, "=");
        int64_t option = find_option(manifest, name, length);
        const Flag *flag = option < 0 ? find_flag(name, length) : NULL;
        if (option < 0 && !flag)
            return fail_unknown(&parse, name, length);
        const char *value = name[length] ? name + length + 1 : NULL;
        bool takes_value = option >= 0 || flag->value;
        if (!takes_value && value)
            return kdrt_fail(error, STATUS_PROGRAM, "--%s takes no value", flag->name);
        if (takes_value && !value) {
            if (i + 1 == argc)
                return kdrt_fail(error, STATUS_PROGRAM, "--%s needs a value", name);
            value = argv[++i];
        }
        if (option >= 0 ? !set_option(&parse, option, value)
                        : !flag->set(&parse, flag->name, value))
            return false;
    }
    if (options->profile && options->resume)
        return kdrt_fail(error, STATUS_PROGRAM,
                         "--profile %" PRId64 " keeps nothing of the run, so nothing can --resume",
                         options->profile);
    if (!options->threads)
        options->threads = kdrt_core_count();
    return true;
}

static void help_line(Text *text, const char *name, const char *value, const char *what) {
    Text left = {.env = text->env};
    kdrt_text_add(&left, "--%s%s%s", name, value ? " " : "", value ? value : "");
    kdrt_text_add(text, "  %-20s %s", left.at ? left.at : "", what);
    kdrt_text_release(&left);
}

void kdrt_options_help(const Manifest *manifest, const char *program, Text *text) {
    kdrt_text_add(text, "%s: trains %s\n\nusage: %s [options]\n", program, manifest->name, program);
    if (manifest->option_count)
        kdrt_text_add(text, "\noptions of %s:\n", manifest->name);
    for (int64_t i = 0; i < manifest->option_count; i++) {
        const OptionSpec *option = &manifest->option[i];
        help_line(text, option->name, option->integer ? "N" : "X", option->text);
        kdrt_text_add(text, "%s(default %.9g)\n", *option->text ? " " : "", option->value);
    }
    kdrt_text_add(text, "\noptions of every program:\n");
    for (int i = 0; i < FLAG_COUNT; i++) {
        bool is_hidden = find_option(manifest, flags[i].name, strlen(flags[i].name)) >= 0;
        bool loads = false;
        for (int64_t k = 0; k < manifest->load_count; k++)
            loads |= manifest->load[k].path != NULL;
        if (is_hidden || (flags[i].set == flag_load && !loads))
            continue;
        help_line(text, flags[i].name, flags[i].value, flags[i].text);
        if (!strcmp(flags[i].name, "out"))
            kdrt_text_add(text, " (default runs/%s)", manifest->name);
        kdrt_text_add(text, "\n");
    }
    kdrt_text_add(text, "\nphases:");
    for (int64_t i = 0; i < manifest->phase_count; i++)
        kdrt_text_add(text, " %s", manifest->phase[i].name);
    kdrt_text_add(text, "\n");
}
