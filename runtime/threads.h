/// The team of threads that runs generated code.
#ifndef KDC_RUNTIME_THREADS_H
#define KDC_RUNTIME_THREADS_H

#include <sched.h>
#include <stddef.h>
#include <stdint.h>

/// Cores that the process may use.
int64_t kdrt_core_count(void);

/// What the calling thread was before it joined the team.
typedef struct TeamGuard {
    cpu_set_t cores;
    unsigned int float_mode;
} TeamGuard;

/// Starts `threads` threads, binds each to a core (when there are enough of them) and makes them
/// flush denormals. The caller is the first of them; other threads it starts before.
void kdrt_team_enter(TeamGuard *guard, int64_t threads);
/// Makes the caller what it was.
void kdrt_team_leave(const TeamGuard *guard);

/// memset(memory, 0, size_bytes) by `threads` threads: the system clears pages as they are touched,
/// which takes seconds of a large network's start when one thread does it.
void kdrt_team_zero(void *memory, size_t size_bytes, int64_t threads);

#endif
