// ir/eval_double.c -- the op rules of the reference interpreter in double.

#include "ir/eval_ops.h"

#define REAL      double
#define M(name)   name
#define FN(name)  name##_double
#define PRECISION precision_double
#include "ir/eval_body.inc"
