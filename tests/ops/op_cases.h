/// Test inputs of every op of ops.def: graphs of one op with edge cases of shape and attribute, and
/// values for their inputs that keep away from poles and kinks. What runs them decides what is
/// compared: the interpreter with itself, gradients with differences, compiled code with both.
///
///     for (size_t i = 0; i < op_case_count(op); i++) {
///         OpCase c;
///         op_case_build(op, i, module, &c);    // graph "mul.3": inputs "a", "b"; output "y"
///         for (size_t k = 0; k < c.input_count; k++)
///             op_case_fill(&c.input[k], seed, value[k]);
///     }
#ifndef KDC_TESTS_OPS_OP_CASES_H
#define KDC_TESTS_OPS_OP_CASES_H

#include "ir/ir.h"

typedef enum CaseValues {
    CASE_RANGE,    // uniform in [low, high)
    CASE_AWAY,     // the same, but at least 0.05 from 0
    CASE_DISTINCT, // any two at least 0.01 apart, also of different inputs; none is 0
    CASE_HALVES,   // whole numbers and a half
    CASE_POWERS,   // +-1, +-2, +-4
    CASE_INTEGERS, // whole numbers in [low, high]
    CASE_BOOLS,
} CaseValues;

typedef struct CaseInput {
    Node *node;
    const char *name;
    CaseValues values;
    double low, high;
    uint32_t index, of; // this is input `index` of `of`
} CaseInput;

enum { MAX_CASE_INPUTS = 4 };

typedef struct OpCase {
    Graph *graph;
    Node *node;   // the op
    Node *result; // its value, or what stands for it (the operand of an effect); output "y"
    CaseInput input[MAX_CASE_INPUTS]; // the last ones may be wanted by no operand
    size_t input_count;
    const Storage *storage; // of read and write: to be set before a run; else NULL
    bool has_scalar;        // the run-time scalar "t" is to be set
    bool differentiable; // each float input has a gradient at these values, and it may be nonzero
    bool needs_differentiate; // holds a `grad`: no one can run it before
} OpCase;

/// 0 for an op that has no cases; tests/unit/ir/test_op_cases.c names it.
size_t op_case_count(Op op);
/// Adds graph "<op>.<i>" to the module; floats are of module->real.
void op_case_build(Op op, size_t i, Module *module, OpCase *out);
/// type_count() values; the same for the same seed. Exactly representable in f32.
void op_case_fill(const CaseInput *input, uint64_t seed, double *value);

#endif
