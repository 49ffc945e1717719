/// Random networks: modules built from a seed, the same for both real types but for that type.
///
/// A module has two convolutional models, teacher and student, over shared storages: a step that
/// trains with one of the distillation losses and an optimiser, sometimes a second step, an eval,
/// a deployment, sometimes an init graph; into which a soup of all ops is stirred. Sizes lean to
/// edges: 1, primes, 16, 17, 32. Values are kept away from poles, kinks are left to the bounds.
#ifndef KDC_TESTS_RANDOM_NETWORK_CASES_H
#define KDC_TESTS_RANDOM_NETWORK_CASES_H

#include "ir/ir.h"

Module *random_network(Arena *arena, uint64_t seed, DType real);

#endif
