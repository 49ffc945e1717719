// driver/repl_line.c -- lines for the REPL: from a terminal by libedit, with history and
// completion, where Ctrl-C gives a line up; from a script as they stand, without a prompt.
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "driver/repl.h"

#ifdef KDC_HAVE_LIBEDIT
#include <histedit.h>
#endif

struct LineReader {
    Repl *repl;
    bool continued;
    bool given_up;
    char *line; // getline()'s, from a script
    size_t capacity;
#ifdef KDC_HAVE_LIBEDIT
    EditLine *edit; // NULL: a script
    History *history;
    char *history_path; // NULL: it is not kept
#endif
};

static const char *next_of_script(LineReader *reader, size_t *length) {
    if (isatty(STDIN_FILENO)) { // kdc was built without libedit
        fputs(reader->continued ? "... " : "kd> ", stdout);
        fflush(stdout);
    }
    ssize_t got = getline(&reader->line, &reader->capacity, stdin);
    if (got < 0)
        return NULL;
    *length = (size_t)got;
    return reader->line;
}

#ifdef KDC_HAVE_LIBEDIT

static LineReader *reader_of(EditLine *edit) {
    void *reader = NULL;
    el_get(edit, EL_CLIENTDATA, &reader);
    return reader;
}

static char *prompt(EditLine *edit) {
    static char first[] = "kd> ";
    static char more[] = "... ";
    return reader_of(edit)->continued ? more : first;
}

static bool is_name_byte(char c) {
    return c == '_' || (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

// Length of what all names have in common.
static size_t common_length(const char *const *names, size_t count) {
    size_t length = strlen(names[0]);
    for (size_t i = 1; i < count; i++)
        for (size_t k = 0; k < length; k++)
            if (names[i][k] != names[0][k])
                length = k;
    return length;
}

// TAB: completes the name before the cursor as far as it is clear, else lists what there is.
static unsigned char complete(EditLine *edit, int key) {
    (void)key;
    const LineInfo *info = el_line(edit);
    const char *begin = info->cursor;
    while (begin > info->buffer && is_name_byte(begin[-1]))
        begin--;
    if (begin == info->cursor)
        return CC_ERROR;
    Arena arena = {0};
    const char **names = NULL;
    char *prefix = arena_strndup(&arena, begin, (size_t)(info->cursor - begin));
    size_t count =
        frontend_session_complete(reader_of(edit)->repl->session, prefix, &arena, &names);
    unsigned char result = CC_ERROR;
    if (count) {
        size_t length = common_length(names, count);
        const char *more = arena_strndup(&arena, names[0], length) + strlen(prefix);
        if (*more && el_insertstr(edit, more) == 0) {
            result = CC_REFRESH;
        } else if (count > 1) {
            putchar('\n');
            for (size_t i = 0; i < count; i++)
                printf("%s%s", names[i], i + 1 < count ? "  " : "\n");
            result = CC_REDISPLAY;
        }
    }
    arena_release(&arena);
    return result;
}

// While a line is edited Ctrl-C is a key.
static unsigned char give_up(EditLine *edit, int key) {
    (void)key;
    reader_of(edit)->given_up = true;
    fputs("^C\n", stdout);
    return CC_NEWLINE;
}

static void on_interrupt(int number) {
    (void)number; // a worker's affair: the session only waits for it
}

static void open_terminal(LineReader *reader) {
    reader->edit = el_init("kdc", stdin, stdout, stderr);
    if (!reader->edit)
        return;
    el_set(reader->edit, EL_CLIENTDATA, (void *)reader);
    el_set(reader->edit, EL_PROMPT, prompt);
    el_set(reader->edit, EL_EDITOR, "emacs");
    el_set(reader->edit, EL_SIGNAL, 1);
    el_set(reader->edit, EL_ADDFN, "kdc-complete", "complete a name", complete);
    el_set(reader->edit, EL_BIND, "^I", "kdc-complete", NULL);
    el_set(reader->edit, EL_ADDFN, "kdc-give-up", "give the line up", give_up);
    el_set(reader->edit, EL_BIND, "^C", "kdc-give-up", NULL);
    el_set(reader->edit, EL_SETTY, "-d", "-isig", NULL);
    signal(SIGINT, on_interrupt);
    reader->history = history_init();
    HistEvent event;
    history(reader->history, &event, H_SETSIZE, 1000);
    history(reader->history, &event, H_SETUNIQUE, 1);
    el_set(reader->edit, EL_HIST, history, reader->history);
    const char *home = getenv("HOME");
    if (home && asprintf(&reader->history_path, "%s/.kdc_history", home) < 0)
        reader->history_path = NULL;
    if (reader->history_path)
        history(reader->history, &event, H_LOAD, reader->history_path);
}

static const char *next_of_terminal(LineReader *reader, size_t *length) {
    int count = 0;
    reader->given_up = false;
    const char *line = el_gets(reader->edit, &count);
    if (reader->given_up) {
        *length = 0;
        return "";
    }
    if (!line || count <= 0)
        return NULL;
    HistEvent event;
    if (line[strspn(line, " \t\n")])
        history(reader->history, &event, H_ENTER, line);
    *length = (size_t)count;
    return line;
}

static void close_terminal(LineReader *reader) {
    HistEvent event;
    if (reader->history_path)
        history(reader->history, &event, H_SAVE, reader->history_path);
    free(reader->history_path);
    history_end(reader->history);
    el_end(reader->edit);
}

#endif

LineReader *line_reader_new(Repl *repl) {
    LineReader *reader = calloc(1, sizeof *reader);
    if (!reader)
        world_error("out of memory");
    reader->repl = repl;
#ifdef KDC_HAVE_LIBEDIT
    if (isatty(STDIN_FILENO))
        open_terminal(reader);
#endif
    return reader;
}

const char *line_reader_next(LineReader *reader, bool continued, size_t *length) {
    reader->continued = continued;
#ifdef KDC_HAVE_LIBEDIT
    if (reader->edit)
        return next_of_terminal(reader, length);
#endif
    return next_of_script(reader, length);
}

void line_reader_free(LineReader *reader) {
#ifdef KDC_HAVE_LIBEDIT
    if (reader->edit)
        close_terminal(reader);
#endif
    free(reader->line);
    free(reader);
}
