// runtime/threads.c -- the threads of libgomp's team: binds them, sets their floating-point mode, has
// them clear memory.
//
// Unbound threads and denormals each cost a factor of speed here (performance.md); both are
// properties of a thread, so each sets its own inside one parallel region. libgomp keeps the team
// for the next region of the same size.
#include "runtime/threads.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#ifdef __x86_64__
#include <immintrin.h>
#endif

// libgomp's entry points, which generated code calls too.
extern void GOMP_parallel(void (*function)(void *), void *data, unsigned int threads,
                          unsigned int flags);
extern int omp_get_thread_num(void);

static unsigned int float_mode(void) {
#ifdef __x86_64__
    return _mm_getcsr();
#else
    return 0;
#endif
}

static void set_float_mode(unsigned int mode) {
#ifdef __x86_64__
    _mm_setcsr(mode);
#else
    (void)mode;
#endif
}

static unsigned int flushing(unsigned int mode) {
    return mode | 0x8040; // flush to zero, denormals are zero
}

int64_t kdrt_core_count(void) {
    cpu_set_t cores;
    if (sched_getaffinity(0, sizeof cores, &cores))
        return 1;
    return CPU_COUNT(&cores);
}

typedef struct TeamSetup {
    const cpu_set_t *cores;
    bool bind;
} TeamSetup;

static void join_team(void *argument) {
    const TeamSetup *setup = argument;
    set_float_mode(flushing(float_mode()));
    if (!setup->bind)
        return;
    int place = omp_get_thread_num();
    for (int core = 0; core < CPU_SETSIZE; core++) {
        if (CPU_ISSET(core, setup->cores) && place-- == 0) {
            cpu_set_t own;
            CPU_ZERO(&own);
            CPU_SET(core, &own);
            sched_setaffinity(0, sizeof own, &own); // refusal costs only speed
            return;
        }
    }
}

// A team that has every core keeps each thread on its own. A smaller one is left to the system: bound,
// two runs at once would share their cores while others idle. OMP_PROC_BIND, where it is set, rules.
static bool binds(const cpu_set_t *cores, int64_t threads) {
    return threads > 1 && threads == CPU_COUNT(cores) && !getenv("OMP_PROC_BIND");
}

void kdrt_team_enter(TeamGuard *guard, int64_t threads) {
    guard->float_mode = float_mode();
    bool known = sched_getaffinity(0, sizeof guard->cores, &guard->cores) == 0;
    if (!known)
        CPU_ZERO(&guard->cores);
    TeamSetup setup = {&guard->cores, known && binds(&guard->cores, threads)};
    GOMP_parallel(join_team, &setup, (unsigned int)threads, 0);
}

void kdrt_team_leave(const TeamGuard *guard) {
    set_float_mode(guard->float_mode);
    if (CPU_COUNT(&guard->cores) > 0)
        sched_setaffinity(0, sizeof guard->cores, &guard->cores);
}

// ---- zeroes -------------------------------------------------------------------------------------

enum { PIECE_BYTES = 2 << 20 }; // a huge page

typedef struct Zeroing {
    char *memory;
    size_t size_bytes;
    atomic_size_t begun; // bytes
} Zeroing;

static void zero_pieces(void *argument) {
    Zeroing *zeroing = argument;
    for (;;) {
        size_t begin = atomic_fetch_add(&zeroing->begun, PIECE_BYTES);
        if (begin >= zeroing->size_bytes)
            return;
        size_t left = zeroing->size_bytes - begin;
        memset(zeroing->memory + begin, 0, left < PIECE_BYTES ? left : PIECE_BYTES);
    }
}

void kdrt_team_zero(void *memory, size_t size_bytes, int64_t threads) {
    Zeroing zeroing = {.memory = memory, .size_bytes = size_bytes};
    GOMP_parallel(zero_pieces, &zeroing, (unsigned int)threads, 0);
}
