/// Front door of the grammar: text in, tree out.
///
///     Source ── kd.l ──► raw tokens ── layout.c ──► tokens ── kd.y ──► AstFile
///                        characters,   line ends,            ast_*() calls,
///                        strings,      brackets,             syntax errors,
///                        comments      unclosed ones         recovery
///
/// The scanner knows characters only. The layout filter between scanner and parser decides which
/// line ends end a statement and hands the parser brackets that always match. The parser builds
/// nodes; meaning comes later. All of it is reentrant, allocates in the arena it is given, and
/// never ends the process.
#ifndef KDC_GRAMMAR_GRAMMAR_H
#define KDC_GRAMMAR_GRAMMAR_H

#include "frontend/ast.h"

/// Reads a whole program. Never NULL: what could not be read is poison in the tree and a
/// diagnostic in `diags`; the statements' places have been checked (ast_check_placement).
AstFile *kd_parse(Arena *arena, const SourceSet *sources, const Source *source, DiagSink *diags);

typedef enum KdInputState {
    KD_INPUT_COMPLETE,   // read it: `file` has its statements (none for an empty line)
    KD_INPUT_INCOMPLETE, // an open bracket or a trailing operator: ask for another line, nothing
                         // reported
    KD_INPUT_WRONG,      // reported in `diags`
} KdInputState;

typedef struct KdInput {
    KdInputState state;
    AstFile *file; // statements as in a file, expressions as STMT_EXPR. Never NULL
} KdInput;

/// Reads what was typed at the prompt: declarations, `let`, assignments, `for`, expressions (an
/// `if` is one here), divided by line ends or `;`. With `at_end`, there are no more lines to come,
/// and an open end is an error like any other.
KdInput kd_parse_input(Arena *arena, const SourceSet *sources, const Source *source, bool at_end,
                       DiagSink *diags);

#endif
