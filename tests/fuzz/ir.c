// tests/fuzz/ir.c -- any bytes as a module: what is read verifies or is refused, prints, reads and
// prints alike.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ir/ir.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Arena arena = {.limit_bytes = (size_t)1 << 30};
    int line = 0;
    const char *message = NULL;
    const Module *module = module_read(&arena, (const char *)data, size, &line, &message);
    if (!module && (!message || line < 1))
        abort();
    if (module && !module_verify(module, &arena)) {
        StrBuf first = {.arena = &arena};
        module_print(&first, module, NULL);
        const Module *again =
            module_read(&arena, strbuf_text(&first), first.length, &line, &message);
        if (!again)
            abort();
        StrBuf second = {.arena = &arena};
        module_print(&second, again, NULL);
        if (strcmp(strbuf_text(&first), strbuf_text(&second)) != 0)
            abort();
    }
    arena_release(&arena);
    return 0;
}
