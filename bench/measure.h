/// What the measuring programs share: a clock, a median, memory as the runtime has it. The machine's
/// limits are measured by runtime/machine.h.
#ifndef KDC_BENCH_MEASURE_H
#define KDC_BENCH_MEASURE_H

#include <stdbool.h>
#include <stddef.h>

#include "runtime/machine.h"

enum { HUGE_PAGE = 2 << 20 };

double seconds_now(void);
/// Seconds to set work of that many threads against: one thread's own time, which leaves out when it was
/// descheduled; else the clock's.
double seconds_used(int threads);
/// Sorts `value`.
double median(double *value, int count);
/// Zeroed memory in huge pages, touched; ends the process when there is none.
void *huge_memory(size_t bytes);

#endif
