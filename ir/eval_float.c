// ir/eval_float.c -- the op rules of the reference interpreter in float.

#include "ir/eval_ops.h"

#define REAL      float
#define M(name)   name##f
#define FN(name)  name##_float
#define PRECISION precision_float
#include "ir/eval_body.inc"
