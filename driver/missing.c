// driver/missing.c -- stand-ins for front-door functions that are not built yet, so that kdc links
// and the rest of it can be used. Linked last: a function that exists wins. Goes when nothing needs
// it.
#include "support/diag.h"

#define MISSING(name)                                                                              \
    void name(void);                                                                               \
    __attribute__((weak)) void name(void) {                                                        \
        kdc_bug("%s() is not built yet", #name);                                                   \
    }

MISSING(kd_parse)
MISSING(kd_parse_input)
MISSING(frontend_session_new)
MISSING(frontend_session_free)
MISSING(frontend_session_input)
MISSING(frontend_session_next)
MISSING(frontend_session_bind)
MISSING(frontend_session_value)
MISSING(frontend_session_graph)
MISSING(frontend_session_help)
MISSING(frontend_session_complete)
MISSING(kdrt_session_open)
MISSING(kdrt_session_step)
MISSING(kdrt_session_close)
MISSING(ast_print)
MISSING(ast_dump)
MISSING(frontend_elaborate)
MISSING(module_read)
MISSING(module_print)
MISSING(module_verify)
MISSING(graph_print)
MISSING(graph_verify)
MISSING(eval_new)
MISSING(eval_set_storage)
MISSING(eval_set_input)
MISSING(eval_set_scalar)
MISSING(eval_run)
MISSING(eval_get_output)
MISSING(passes_run)
MISSING(passes_run_named)
MISSING(passes_known)
MISSING(codegen_lower)
MISSING(codegen_manifest)
MISSING(codegen_objects)
MISSING(codegen_llvm_text)
MISSING(objects_free)
MISSING(link_relocatable)
MISSING(codegen_target_known)
MISSING(loop_program_print)
MISSING(loop_kernel_print)
MISSING(loop_kernel_read)
MISSING(loop_kernel_verify)
MISSING(jit_new)
MISSING(jit_add)
MISSING(jit_free)
MISSING(link_executable)
MISSING(kdrt_main)
MISSING(kdrt_data_probe)

#define PASS(name, scope, level, need, summary) MISSING(pass_##name)
#include "passes/passes.def"
#undef PASS
