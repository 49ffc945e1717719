/// A module's text held against the interpreter: every graph is run, twice where it is a step, by
/// the interpreter after `differentiate` alone and by compiled code after the passes, and all that
/// can be seen (outputs, reports, storages after each graph) is compared.
///
/// The tolerance is twice the interpreter's bound on rounding errors, in the module's own
/// precision, and the last place of the result. An element whose bound is infinite or larger than
/// 1 % of the largest of its tensor is not checked, but counted.
#ifndef KDC_TESTS_DIFFER_AGAINST_H
#define KDC_TESTS_DIFFER_AGAINST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/// One way of compiling.
typedef struct Way {
    const char *name;
    int level;
    const char *without; // passes left out, as --without; NULL: none
    bool interprets;     // the loops are interpreted
    bool strip_flags;    // see CodegenOptions
    bool threads;        // runs by 1 and 3 threads must give the bits of the run by 2, and so must
                         // schedules for more registers than this machine has, or for fewer
} Way;

typedef struct Verdict {
    size_t way;    // the last that was begun
    bool readable; // the text is a module
    bool finite;   // the interpreter made finite numbers only
    bool differs;
    char what[1024];            // where it differs
    int64_t checked, unchecked; // elements
} Verdict;

/// Values are drawn from `seed` and the names of inputs and storages: floats from (-1, 1), but from
/// (0.25, 1.25) where the name has "positive" in it; i32 from 0 to 9.
void against_interpreter(const char *text, size_t length, uint64_t seed, const Way *way,
                         size_t way_count, Verdict *verdict);

#endif
