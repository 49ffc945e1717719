/// What the printer and the reader of the text form agree on. The form, line by line:
///
///     module "fashion" f32 streams=2 step_bytes=4096
///     scalar "lr"
///     storage parameter "student.fc.weight" : f32[10, 64] phase=0 offset=128
///     graph "distill.step0" step phase=0 step_bytes=4096 {
///       %0 = input "features" : f32[128, 64]
///       %1 = read "student.fc.weight" : f32[10, 64]
///       %2 = einsum %0, %1 {spec="nk,mk->nm"} : f32[128, 10]   @ fashion.kd:31:19
///       %3 = const 0.5 : f32[]
///       %4 = mul %2, %3 {tag="kd"} : f32[128, 10]
///       %5 = output "logits" %4 : f32[128, 10]
///       kernel %2, %3, %4, %5 -> %4
///       buffer %4 step offset=64 size=5120
///     }
///
/// Numbers that are zero (phase: -1) are left out. `name`, `storage` (by its name) and the value of
/// a constant stand before the operands; `shape` and `dtype` are the type's; the other attributes
/// are in braces, in the order of attrs.def, flags by their name alone, counts only if
/// they are not 0; with `parts` the shape is the type without its first axis. `#` and `@` begin
/// comments. A reader takes any distinct numbers for %N and wants a type only where an attribute
/// depends on it, so a text can be cut down by hand; a node without `%N =` cannot be used.
#ifndef KDC_IR_TEXT_H
#define KDC_IR_TEXT_H

#include "ir/ir.h"

enum {
    ATTRS_IN_TYPE = HAS_shape | HAS_dtype,
    ATTRS_BEFORE_OPERANDS = HAS_name | HAS_storage,
};

enum {
    ROLE_COUNT = GRAPH_DEPLOY + 1,
    STORAGE_KIND_COUNT = STORAGE_PHASE + 1,
    SPACE_COUNT = SPACE_OUTPUT + 1,
};

extern const char *const role_names[ROLE_COUNT];
extern const char *const storage_kind_names[STORAGE_KIND_COUNT];
extern const char *const space_names[SPACE_COUNT];

/// Whether the op's `value` stands before its operands instead of in the braces.
bool text_value_leads(Op op);

#endif
