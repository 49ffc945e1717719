// bench/measure.c -- the clock, the median and memory as the runtime has it.
#include "bench/measure.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#include "runtime/kdrt.h"
#include "runtime/threads.h"
#include "support/diag.h"

double seconds_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double seconds_used(int threads) {
    return 1e-9 * (double)kdrt_clock(threads);
}

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double median(double *value, int count) {
    qsort(value, (size_t)count, sizeof *value, compare_doubles);
    return value[count / 2];
}

void *huge_memory(size_t bytes) {
    bytes = (bytes + HUGE_PAGE) / HUGE_PAGE * HUGE_PAGE;
    void *memory = aligned_alloc(HUGE_PAGE, bytes);
    if (!memory)
        world_error("no memory");
    madvise(memory, bytes, MADV_HUGEPAGE); // as the runtime's arena is; refusal costs only speed
    kdrt_team_zero(memory, bytes, kdrt_core_count());
    return memory;
}
