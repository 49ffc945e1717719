// ir/eval_quad.c -- the op rules of the reference interpreter in __float128.
#include "ir/eval_ops.h"
#include <quadmath.h>

#define REAL      __float128
#define M(name)   name##q
#define FN(name)  name##_quad
#define PRECISION precision_quad
#include "ir/eval_body.inc"
