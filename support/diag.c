// support/diag.c -- diagnostics: collecting them, and printing them with an excerpt of the source.
//
// An excerpt shows the line of the span and the lines of its marks. Text is laid out in *cells*,
// the columns of a terminal: tabs go to the next multiple of 4, wide characters take two, control
// characters and broken UTF-8 become one visible cell. Of a very long line a window is shown.
#include "support/diag.h"

#include <stdlib.h>
#include <string.h>

#include "support/strbuf.h"

enum {
    DEFAULT_ERROR_LIMIT = 20,
    STORED_BEYOND_LIMIT = 1000, // so that the first ones in order of position are among the stored
    MESSAGE_LIMIT_BYTES = 2000,
    GUTTER_DIGITS = 5,
    TAB_CELLS = 4,
    WINDOW_CELLS = 160,
    WINDOW_BEFORE_CELLS = 60,
};

typedef struct DiagLine {
    const char *kind; // "note" or "help"
    Span span;
    const char *text;
} DiagLine;

struct Diag {
    Arena *arena;
    DiagLevel level;
    Span span;
    size_t order; // of creation
    bool misread; // diag_misread()
    const char *message;
    Vec(Span) marks;
    Vec(DiagLine) lines;
};

// ---- Collecting ----

// A message is one line of bounded length, whatever names of the user's it quotes.
static const char *format_message(Arena *arena, const char *format, va_list args) {
    char *text = arena_vprintf(arena, format, args);
    if (strlen(text) > MESSAGE_LIMIT_BYTES) {
        size_t end = MESSAGE_LIMIT_BYTES;
        while (end > 0 && ((unsigned char)text[end] & 0xC0) == 0x80) // not within a character
            end--;
        memcpy(text + end, "...", sizeof "...");
    }
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = ' ';
    return text;
}

void diag_sink_init(DiagSink *sink, Arena *arena, const SourceSet *sources) {
    *sink = (DiagSink){.arena = arena, .sources = sources};
}

static size_t error_limit(const DiagSink *sink) {
    return sink->error_limit ? sink->error_limit : DEFAULT_ERROR_LIMIT;
}

static Diag *diag_add(DiagSink *sink, DiagLevel level, Span span, const char *format,
                      va_list args) {
    Diag *diag = arena_new(sink->arena, Diag);
    diag->arena = sink->arena;
    diag->level = level;
    diag->span = span;
    diag->order = sink->diags.count;
    diag->message = format_message(sink->arena, format, args);
    if (sink->diags.count < error_limit(sink) + STORED_BEYOND_LIMIT)
        vec_push(sink->arena, &sink->diags, diag);
    return diag;
}

Diag *diag_error(DiagSink *sink, Span span, const char *format, ...) {
    va_list args;
    va_start(args, format);
    Diag *diag = diag_add(sink, DIAG_ERROR, span, format, args);
    va_end(args);
    sink->error_count++;
    return diag;
}

Diag *diag_warning(DiagSink *sink, Span span, const char *format, ...) {
    va_list args;
    va_start(args, format);
    Diag *diag = diag_add(sink, DIAG_WARNING, span, format, args);
    va_end(args);
    sink->warning_count++;
    return diag;
}

void diag_mark(Diag *diag, Span span) {
    vec_push(diag->arena, &diag->marks, span);
}

void diag_misread(Diag *diag) {
    diag->misread = true;
}

void diag_note(Diag *diag, Span span, const char *format, ...) {
    va_list args;
    va_start(args, format);
    DiagLine line = {"note", span, format_message(diag->arena, format, args)};
    va_end(args);
    vec_push(diag->arena, &diag->lines, line);
}

void diag_help(Diag *diag, const char *format, ...) {
    va_list args;
    va_start(args, format);
    DiagLine line = {"help", {0}, format_message(diag->arena, format, args)};
    va_end(args);
    vec_push(diag->arena, &diag->lines, line);
}

void diag_fixit(Diag *diag, Span span, const char *text) {
    DiagLine line = {"help", {0}, arena_printf(diag->arena, "did you mean `%s`?", text)};
    (void)span; // says what `text` replaces; nothing applies fixes yet
    vec_push(diag->arena, &diag->lines, line);
}

void diag_clear(DiagSink *sink) {
    sink->diags.count = 0;
    sink->error_count = sink->warning_count = 0;
}

// ---- Laying out a line ----

// The character of UTF-8 at `text`: its length in bytes and its code point, or length 1 and -1 if
// it is none.
static int decode_utf8(const char *text, size_t left, int32_t *code) {
    const unsigned char *byte = (const unsigned char *)text;
    static const int32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    int length = byte[0] < 0x80 ? 1 : byte[0] >> 5 == 6 ? 2 : byte[0] >> 4 == 14 ? 3 : 4;
    *code = -1;
    if (length == 1)
        *code = byte[0];
    if (length == 1 || (length == 4 && byte[0] >> 3 != 30) || left < (size_t)length)
        return 1;
    int32_t value = byte[0] & (0x7f >> length);
    for (int i = 1; i < length; i++) {
        if ((byte[i] & 0xC0) != 0x80)
            return 1;
        value = value << 6 | (byte[i] & 0x3f);
    }
    if (value < least[length] || value > 0x10ffff || (value >= 0xd800 && value < 0xe000))
        return 1;
    *code = value;
    return length;
}

// Cells of a printable character: the blocks of Unicode that terminals show double, and the common
// combining marks. Coarse on purpose: a caret that is one cell off harms nobody.
static int cell_width(int32_t code) {
    if ((code >= 0x300 && code < 0x370) || (code >= 0x200b && code <= 0x200f) ||
        (code >= 0x20d0 && code < 0x2100) || (code >= 0xfe00 && code < 0xfe10))
        return 0;
    if ((code >= 0x1100 && code < 0x1160) || (code >= 0x2e80 && code < 0xa4d0) ||
        (code >= 0xac00 && code < 0xd7a4) || (code >= 0xf900 && code < 0xfb00) ||
        (code >= 0xfe30 && code < 0xfe70) || (code >= 0xff00 && code < 0xff61) ||
        (code >= 0x1f300 && code < 0x1f650) || (code >= 0x1f900 && code < 0x1fa00) ||
        (code >= 0x20000 && code < 0x40000))
        return 2;
    return 1;
}

// Appends the character at `text` as it is shown from cell `*cell` on, and moves `*cell` past it.
// Returns the bytes that it has in the source. `out` may be NULL to measure only.
static size_t show_character(StrBuf *out, const char *text, size_t left, int *cell) {
    int32_t code;
    int length = decode_utf8(text, left, &code);
    int width = 1;
    if (code == '\t') {
        width = TAB_CELLS - *cell % TAB_CELLS;
        for (int i = 0; out && i < width; i++)
            strbuf_putc(out, ' ');
    } else if (code < 0 || code < ' ' || (code >= 0x7f && code < 0xa0) ||
               (code >= 0x202a && code < 0x202f) || (code >= 0x2066 && code < 0x206a)) {
        if (out) // not to be sent to a terminal: broken UTF-8, controls, changes of direction
            strbuf_puts(out, "\xef\xbf\xbd");
    } else {
        width = cell_width(code);
        if (out)
            strbuf_write(out, text, (size_t)length);
    }
    *cell += width;
    return (size_t)length;
}

// A line of source that an excerpt shows.
typedef struct ShownLine {
    const Source *source;
    size_t index; // from 0
    size_t begin, end;
} ShownLine;

static ShownLine line_at(const Source *source, size_t offset) {
    ShownLine line = {source, source_line_index(source, offset), 0, source->length};
    line.begin = source->line_start[line.index];
    if (line.index + 1 < source->line_count)
        line.end = source->line_start[line.index + 1] - 1;
    if (line.end > line.begin && source->text[line.end - 1] == '\r')
        line.end--;
    return line;
}

// The cell in which the character at `offset` begins; places past the end are at the end.
static int cell_of(const ShownLine *line, size_t offset) {
    int cell = 0;
    size_t at = line->begin;
    while (at < offset && at < line->end)
        at += show_character(NULL, line->source->text + at, line->end - at, &cell);
    return cell;
}

// Prints the cells [from, from + WINDOW_CELLS) of the line.
static void print_text(FILE *out, Arena *arena, const ShownLine *line, int from) {
    StrBuf text = {.arena = arena};
    int cell = 0;
    size_t at = line->begin;
    const char *bytes = line->source->text;
    while (at < line->end && cell < from)
        at += show_character(NULL, bytes + at, line->end - at, &cell);
    for (int i = from; i < cell; i++) // a wide character or a tab that the window cuts
        strbuf_putc(&text, ' ');
    while (at < line->end && cell < from + WINDOW_CELLS)
        at += show_character(&text, bytes + at, line->end - at, &cell);
    while (text.length && text.text[text.length - 1] == ' ')
        text.text[--text.length] = '\0';
    fprintf(out, "%s%s%s", from ? "..." : "", strbuf_text(&text), at < line->end ? "..." : "");
}

static void underline(char *cells, const ShownLine *line, Span span, int from, char first) {
    int begin = cell_of(line, span.begin) - from;
    int end = cell_of(line, span.end) - from;
    if (end <= begin)
        end = begin + 1;
    for (int i = begin < 0 ? 0 : begin; i < end && i < WINDOW_CELLS; i++)
        cells[i] = i == begin ? first : '~';
}

static int gutter_width(const Diag *diag, const DiagSink *sink) {
    int line, column;
    source_position(sink->sources, diag->span, &line, &column);
    int digits = snprintf(NULL, 0, "%d", line);
    return digits > GUTTER_DIGITS ? digits : GUTTER_DIGITS;
}

static void print_line(const DiagSink *sink, const Diag *diag, const ShownLine *line, int gutter,
                       FILE *out) {
    bool is_main = line->index == source_line_index(line->source, diag->span.begin);
    int from = 0;
    if (is_main && cell_of(line, diag->span.begin) >= WINDOW_CELLS - WINDOW_BEFORE_CELLS)
        from = cell_of(line, diag->span.begin) - WINDOW_BEFORE_CELLS;

    char cells[WINDOW_CELLS + 1];
    memset(cells, ' ', WINDOW_CELLS);
    for (size_t i = 0; i < diag->marks.count; i++)
        if (diag->marks.at[i].source == line->source->id &&
            source_line_index(line->source, diag->marks.at[i].begin) == line->index)
            underline(cells, line, diag->marks.at[i], from, '~');
    if (is_main)
        underline(cells, line, diag->span, from, '^');
    int end = WINDOW_CELLS;
    while (end > 0 && cells[end - 1] == ' ')
        end--;
    cells[end] = '\0';

    fprintf(out, "%*zu |%s", gutter, line->index + 1, line->end > line->begin ? " " : "");
    print_text(out, sink->arena, line, from);
    fprintf(out, "\n%*s |%s%s%s\n", gutter, "", end ? " " : "", from ? "   " : "", cells);
}

static int compare_index(const void *a, const void *b) {
    size_t x = *(const size_t *)a;
    size_t y = *(const size_t *)b;
    return (x > y) - (x < y);
}

// The line of the span and those of the marks in the same source, in their order.
static void print_excerpt(const DiagSink *sink, const Diag *diag, int gutter, FILE *out) {
    const Source *source = source_of(sink->sources, diag->span);
    Vec(size_t) index = {0};
    vec_push(sink->arena, &index, source_line_index(source, diag->span.begin));
    for (size_t i = 0; i < diag->marks.count; i++)
        if (diag->marks.at[i].source == source->id && !span_is_none(diag->marks.at[i]))
            vec_push(sink->arena, &index, source_line_index(source, diag->marks.at[i].begin));
    qsort(index.at, index.count, sizeof *index.at, compare_index);
    for (size_t i = 0; i < index.count; i++) {
        if (i > 0 && index.at[i] == index.at[i - 1])
            continue;
        ShownLine line = line_at(source, source->line_start[index.at[i]]);
        print_line(sink, diag, &line, gutter, out);
    }
}

// ---- Printing ----

static void print_diag(const DiagSink *sink, const Diag *diag, FILE *out) {
    const char *level = diag->level == DIAG_ERROR ? "error" : "warning";
    int gutter = GUTTER_DIGITS;
    if (span_is_none(diag->span)) {
        fprintf(out, "%s: %s\n", level, diag->message);
    } else {
        int line, column;
        source_position(sink->sources, diag->span, &line, &column);
        fprintf(out, "%s:%d:%d: %s: %s\n", source_of(sink->sources, diag->span)->name, line, column,
                level, diag->message);
        gutter = gutter_width(diag, sink);
        print_excerpt(sink, diag, gutter, out);
    }
    for (size_t i = 0; i < diag->lines.count; i++) {
        const DiagLine *extra = &diag->lines.at[i];
        fprintf(out, "%*s | %s: %s", gutter, "", extra->kind, extra->text);
        if (!span_is_none(extra->span)) {
            int line, column;
            source_position(sink->sources, extra->span, &line, &column);
            fprintf(out, "   (%s:%d)", source_of(sink->sources, extra->span)->name, line);
        }
        fputc('\n', out);
    }
}

static int compare_number(size_t a, size_t b) {
    return (a > b) - (a < b);
}

// By place, then by message, so that identical ones are neighbours, then by order of creation.
static int compare_diags(const void *a, const void *b) {
    const Diag *x = *(Diag *const *)a;
    const Diag *y = *(Diag *const *)b;
    int by = compare_number(x->span.source, y->span.source);
    if (!by)
        by = compare_number(x->span.begin, y->span.begin);
    if (!by)
        by = compare_number(x->span.end, y->span.end);
    if (!by)
        by = strcmp(x->message, y->message);
    return by ? by : compare_number(x->order, y->order);
}

static bool same_diag(const Diag *x, const Diag *y) {
    return x->level == y->level && memcmp(&x->span, &y->span, sizeof x->span) == 0 &&
           strcmp(x->message, y->message) == 0;
}

static bool same_line(const DiagSink *sink, const Diag *x, const Diag *y) {
    if (x->span.source != y->span.source)
        return false;
    const Source *source = source_of(sink->sources, x->span);
    return source_line_index(source, x->span.begin) == source_line_index(source, y->span.begin);
}

/// Whether the line that diagnostic `at` of the sorted ones is about could not be read.
static bool is_consequence(const DiagSink *sink, size_t at) {
    Diag *const *diags = sink->diags.at;
    if (diags[at]->misread || span_is_none(diags[at]->span))
        return false;
    for (size_t i = at; i-- > 0 && same_line(sink, diags[i], diags[at]);)
        if (diags[i]->misread)
            return true;
    for (size_t i = at + 1; i < sink->diags.count && same_line(sink, diags[i], diags[at]); i++)
        if (diags[i]->misread)
            return true;
    return false;
}

void diag_print_all(DiagSink *sink, FILE *out) {
    if (sink->diags.count)
        qsort(sink->diags.at, sink->diags.count, sizeof *sink->diags.at, compare_diags);
    size_t stored_error_count = 0;
    size_t distinct_error_count = 0;
    for (size_t i = 0; i < sink->diags.count; i++) {
        const Diag *diag = sink->diags.at[i];
        stored_error_count += diag->level == DIAG_ERROR;
        if ((i > 0 && same_diag(diag, sink->diags.at[i - 1])) || is_consequence(sink, i))
            continue;
        distinct_error_count += diag->level == DIAG_ERROR;
        if (distinct_error_count <= error_limit(sink))
            print_diag(sink, diag, out);
    }
    size_t beyond = sink->error_count - stored_error_count;
    if (distinct_error_count > error_limit(sink))
        beyond += distinct_error_count - error_limit(sink);
    if (beyond)
        fprintf(out, "kdc: %zu more error%s not shown\n", beyond, beyond == 1 ? "" : "s");
    fflush(out);
}

// ---- Names ----

enum { NAME_LIMIT = 64 };

// Optimal string alignment distance: insert, delete, replace, or swap two neighbours, each for 2;
// a change of case alone is 1.
static int edit_distance(const char *a, size_t a_length, const char *b, size_t b_length) {
    int rows[3][NAME_LIMIT + 1];
    int *before = rows[0], *last = rows[1], *row = rows[2];
    for (size_t j = 0; j <= b_length; j++)
        last[j] = (int)j * 2;
    for (size_t i = 1; i <= a_length; i++) {
        row[0] = (int)i * 2;
        for (size_t j = 1; j <= b_length; j++) {
            bool same = a[i - 1] == b[j - 1];
            bool same_letter = (a[i - 1] ^ b[j - 1]) == 0x20 && (a[i - 1] | 0x20) >= 'a' &&
                               (a[i - 1] | 0x20) <= 'z';
            int best = last[j - 1] + (same ? 0 : same_letter ? 1 : 2);
            if (last[j] + 2 < best)
                best = last[j] + 2;
            if (row[j - 1] + 2 < best)
                best = row[j - 1] + 2;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                before[j - 2] + 2 < best)
                best = before[j - 2] + 2;
            row[j] = best;
        }
        int *free_row = before;
        before = last;
        last = row;
        row = free_row;
    }
    return last[b_length];
}

const char *nearest_name(const char *name, const char *const *names, size_t count) {
    size_t length = strlen(name);
    if (length == 0 || length > NAME_LIMIT)
        return NULL;
    // Near is: at most a third of the letters differ, one in names of 3 to 5; in shorter ones only
    // the case may.
    int limit = length < 3 ? 1 : length < 6 ? 2 : (int)(length / 3) * 2;
    const char *nearest = NULL;
    for (size_t i = 0; i < count; i++) {
        size_t other_length = strlen(names[i]);
        if (other_length == 0 || other_length > NAME_LIMIT)
            continue;
        int distance = edit_distance(name, length, names[i], other_length);
        if (distance <= limit) {
            limit = distance - 1; // a later one must be nearer
            nearest = names[i];
        }
    }
    return nearest;
}

// ---- Other ways out ----

void world_error(const char *format, ...) {
    va_list args;
    va_start(args, format);
    fflush(stdout);
    fputs("kdc: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(EXIT_WORLD_WRONG);
}

static _Thread_local const char *bug_context; // what kdc_bug() adds; the only state of this folder

void kdc_bug_context(const char *text) {
    bug_context = text;
}

void kdc_bug_at(const char *file, int line, const char *format, ...) {
    va_list args;
    va_start(args, format);
    fflush(stdout);
    fputs("kdc: internal error: ", stderr);
    vfprintf(stderr, format, args);
    fprintf(stderr, " (%s:%d)\n", file, line);
    va_end(args);
    if (bug_context)
        fprintf(stderr, "     at work on: %s\n", bug_context);
    fputs("     this is a mistake in kdc, not in your program; please report it with the program\n",
          stderr);
    exit(EXIT_WE_ARE_WRONG);
}
