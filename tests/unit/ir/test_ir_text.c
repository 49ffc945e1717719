// The text form: whole modules survive it, broken texts are refused with a line and a sentence, and
// no bytes crash the reader, the verifier or the interpreter.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ir/eval.h"
#include "support/philox.h"

static const char whole[] =
    "module \"fashion \\\"x\\\"\" f32 streams=2 storage_bytes=512 phase_bytes=128 step_bytes=1024\n"
    "scalar \"lr\"\n"
    "scalar \"epoch\"\n"
    "storage parameter \"student.fc.weight\" : f32[10, 64]\n"
    "storage slot \"distill/student.fc.weight/v\" : f32[10, 64] phase=0 offset=2560\n"
    "storage state \"conv\" : f32[2, 16, 3, 3]{1:16} offset=64\n"
    "storage phase \"folded\" : f32[16] phase=0\n"
    "\n"
    "graph \"init\" init {\n"
    "  %0 = normal {stream=1}                         : f32[10, 64]\n"
    "  %1 = write \"student.fc.weight\" %0              : f32[10, 64]\n"
    "}\n"
    "\n"
    "graph \"distill.step0\" step phase=0 step_bytes=4096 {\n"
    "  %0 = input \"features\"                          : f32[3, 64]\n"
    "  %1 = read \"student.fc.weight\"                  : f32[10, 64]\n"
    "  %2 = einsum %0, %1 {spec=\"nk,mk->nm\"}          : f32[3, 10]\n"
    "  %3 = const -0.1                                : f32[]\n"
    "  %4 = mul %2, %3 {tag=\"kd\"}                     : f32[3, 10]\n"
    "  %5 = sum %4 {axes=[0, 1], keep}                : f32[1, 1]\n"
    "  %6 = scalar \"lr\"                               : f32[]\n"
    "  %7 = read \"conv\"                               : f32[2, 16, 3, 3]{1:16}\n"
    "  %8 = pad %7 {low=[0, 0, 1, 1], high=[0, 0, 1, 1], value=-inf} : f32[2, 16, 5, 5]{1:16}\n"
    "  %9 = relayout %8 {block=0, block_axis=0}       : f32[2, 16, 5, 5]\n"
    "  %10 = output \"logits\" %4                       : f32[3, 10]\n"
    "  kernel %2, %4 -> %4\n"
    "  kernel %5 ->\n"
    "  buffer %4 step offset=64 size=120\n"
    "  buffer %6 scalar index=1 size=4\n"
    "}\n";

static const char *print(Arena *arena, const Module *module) {
    StrBuf out = {.arena = arena};
    module_print(&out, module, NULL);
    return strbuf_text(&out);
}

static void a_module_survives_its_text(void **state) {
    (void)state;
    Arena arena = {0};
    int line = 0;
    const char *message = NULL;
    Module *module = module_read(&arena, whole, strlen(whole), &line, &message);
    if (!module)
        fail_msg("line %d: %s", line, message);
    assert_string_equal(print(&arena, module), whole);
    arena_release(&arena);
}

static void a_text_cut_down_by_hand_is_read(void **state) {
    (void)state;
    static const char text[] = "# numbers with gaps, no types, CRLF, no module line\r\n"
                               "graph \"g\" free { # here too\n\n"
                               "  %7 = input \"x\" : f32[2]   @ a.kd:1:2\r\n"
                               "  %30=neg %7\n"
                               "output \"y\" %30\n"
                               "}";
    static const char expected[] = "module \"\" f32\n"
                                   "\n"
                                   "graph \"g\" free {\n"
                                   "  %0 = input \"x\"                                 : f32[2]\n"
                                   "  %1 = neg %0                                    : f32[2]\n"
                                   "  %2 = output \"y\" %1                             : f32[2]\n"
                                   "}\n";
    Arena arena = {0};
    int line = 0;
    const char *message = NULL;
    Module *module = module_read(&arena, text, strlen(text), &line, &message);
    if (!module)
        fail_msg("line %d: %s", line, message);
    assert_string_equal(print(&arena, module), expected);
    arena_release(&arena);
}

// ---- refusals
// -------------------------------------------------------------------------------------

#define GRAPH(nodes) "graph \"g\" free {\n" nodes "\n}\n"
#define X            "%0 = input \"x\" : f32[2, 3]\n"
#define IMAGE        "%0 = input \"x\" : f32[1, 4, 5, 5]\n%1 = input \"w\" : f32[6, 2, 3, 3]\n"

static const struct {
    const char *text;
    int line;
    const char *message;
} refusals[] = {
    {"nonsense", 1, "no scalar, storage or graph"},
    {"module \"m\" i32\n", 1, "a module computes in f32 or f64, not in i32"},
    {"module \"m f32\n", 1, "a text that does not end on its line"},
    {"module \"m\\q\" f32\n", 1, "`\\` is followed by `\"`, `\\` or `x`"},
    {"module \"m\" f32 stream=1\n", 1, "`stream` has no meaning here"},
    {"storage parameter \"a\" : f32[2]\nstorage state \"a\" : f32[2]\n", 2,
     "storage `a` is defined twice"},
    {"storage parameter \"a\" : f32[0]\n", 1, "extent 0; it must be at least 1"},
    {"storage parameter \"a\" : f32[9999999, 9999999]\n", 1, "a tensor of more than 2^40 elements"},
    {"storage parameter \"a\" : f32[1, 1, 1, 1, 1, 1, 1, 1, 1]\n", 1, "rank 9; the largest is 8"},
    {"storage parameter \"a\" : f32[6]{0:4}\n", 1, "extent 6 in blocks of 4"},
    {"graph \"g\" free {\n", 2, "graph `g` has no closing `}`"},
    {"graph \"g\" odd {\n}\n", 1, "`odd` is no role of a graph"},
    {GRAPH("%0 = frobnicate"), 2, "`frobnicate` is no op"},
    {GRAPH("%0 = neg %0"), 2, "%0 is not defined above"},
    {GRAPH("%0 = const 1"), 2, "const needs its type"},
    {GRAPH("%0 = const x : f32[]"), 2, "`x` is no number"},
    {GRAPH("%0 = const 99999999999999999999 : i32[]"), 2, "const: 1e+20 is not a value of i32"},
    {GRAPH("%0 = read \"w\""), 2, "no storage `w`"},
    {GRAPH(X "%0 = neg %0"), 3, "%0 is defined twice"},
    {GRAPH(X "%1 = neg %0, %0"), 3, "neg: 2 operands where 1 are needed"},
    {GRAPH(X "%1 = neg %0 : f32[3, 2]"), 3, "neg gives f32[2, 3], not f32[3, 2]"},
    {GRAPH(X "%1 = neg %0 {keep}"), 3, "neg has no attribute `keep`"},
    {GRAPH(X "%1 = neg %0 %0"), 3, "the line should end here, before `%`"},
    {GRAPH(X "%1 = sum %0"), 3, "sum needs `axes`"},
    {GRAPH(X "%1 = sum %0 {axes=[4]}"), 3, "sum: axis 4 of a rank 2 tensor"},
    {GRAPH(X "%1 = sum %0 {axes=[1, 0]}"), 3, "sum: axes must ascend, but 0 follows 1"},
    {GRAPH(X "%1 = sum %0 {axes=[0], axes=[1]}"), 3, "axes is given twice"},
    {GRAPH(X "%1 = sum %0 {axes=[99999999999999999999]}"), 3, "an integer beyond 64 bits"},
    {GRAPH(X "%1 = variance %0 {axes=[0], correction=2}"), 3,
     "variance: the variance of 2 elements with correction 2"},
    {GRAPH(X "%1 = input \"y\" : f32[4]\n%2 = add %0, %1"), 4,
     "add: f32[2, 3] and f32[4] do not broadcast: 3 against 4 on axis 1"},
    {GRAPH(X "%1 = input \"y\" : i32[3]\n%2 = add %0, %1"), 4,
     "add: f32 and i32; cast one of them"},
    {GRAPH(X "%1 = not %0"), 3, "not: f32 where a bool is needed"},
    {GRAPH("%0 = input \"x\" : u8[3]\n%1 = neg %0"), 3, "neg: u8 has no arithmetic; cast it first"},
    {GRAPH("%0 = input \"x\" : i32[3]\n%1 = exp %0"), 3,
     "exp: i32 where a float is needed; cast it first"},
    {GRAPH(X "%1 = reshape %0 : f32[5]"), 3, "reshape: f32[2, 3] has 6 elements, f32[5] has 5"},
    {GRAPH(X "%1 = broadcast %0 : f32[3]"), 3, "broadcast: f32[2, 3] does not broadcast to f32[3]"},
    {GRAPH(X "%1 = transpose %0 {perm=[0, 0]}"), 3,
     "transpose: axis 0 stands twice in the permutation"},
    {GRAPH(X "%1 = transpose %0 {perm=[0]}"), 3,
     "transpose: a permutation of 1 axes for a rank 2 tensor"},
    {GRAPH(X "%1 = slice %0 {start=[0, 2], limit=[2, 4], step=[1, 1]}"), 3,
     "slice: 2..4 of axis 1, which has extent 3"},
    {GRAPH(X "%1 = slice %0 {start=[0, 0], limit=[2, 3], step=[1, 0]}"), 3,
     "slice: step 0 on axis 1; it must be at least 1"},
    {GRAPH(X "%1 = pad %0 {low=[0, -1], high=[0, 0], value=0}"), 3,
     "pad: low is -1; it must be at least 0 and at most 1048576"},
    {GRAPH(X "%1 = concat {axis=0}"), 3, "concat: nothing to concatenate"},
    {GRAPH(X "%1 = input \"y\" : f32[2, 4]\n%2 = concat %0, %1 {axis=0}"), 4,
     "concat: f32[2, 3] and f32[2, 4] differ on axis 1, not only on axis 0"},
    {GRAPH(X "%1 = take %0, %0 {axis=0}"), 3, "take: indices are f32; they must be i32"},
    {GRAPH(X "%1 = relayout %0 {block=2, block_axis=1}"), 3, "relayout: extent 3 in blocks of 2"},
    {GRAPH(X "%1 = einsum %0, %0 {spec=\"ab\"}"), 3, "einsum: `ab` is not of the form `ab,bc->ac`"},
    {GRAPH(X "%1 = einsum %0, %0 {spec=\"aa,ab->b\"}"), 3, "einsum: `a` stands twice in `aa`"},
    {GRAPH(X "%1 = einsum %0, %0 {spec=\"ab,bc->ac\"}"), 3,
     "einsum: `b` is 3 in one operand and 2 in the other"},
    {GRAPH(X "%1 = einsum %0, %0 {spec=\"ab,ab->d\"}"), 3,
     "einsum: `d` of the result is in no operand"},
    {GRAPH(X "%1 = einsum %0, %0 {spec=\"abc,ab->a\"}"), 3,
     "einsum: `abc` names 3 axes, f32[2, 3] has 2"},
    {GRAPH(IMAGE
           "%2 = conv2d %0, %1 {stride=[1, 1], padding=[0, 0, 0, 0], dilation=[1, 1], groups=3}"),
     4, "conv2d: 4 channels to 6 in 3 groups"},
    {GRAPH(IMAGE
           "%2 = conv2d %0, %1 {stride=[1, 1], padding=[0, 0, 0, 0], dilation=[1, 1], groups=1}"),
     4, "conv2d: the weight takes 2 channels per group, the image has 4"},
    {GRAPH(IMAGE
           "%2 = conv2d %0, %1 {stride=[1, 1], padding=[0, 0, 0, 0], dilation=[3, 1], groups=2}"),
     4, "conv2d: a kernel of height 3, dilation 3, does not fit into 5 with padding 0 and 0"},
    {GRAPH(IMAGE
           "%2 = conv2d %0, %1 {stride=[1], padding=[0, 0, 0, 0], dilation=[1, 1], groups=2}"),
     4, "conv2d: stride has 1 numbers where 2 are needed"},
    {GRAPH(IMAGE "%2 = winograd_kernel %1 {groups=1}"), 4,
     "winograd_kernel: f32[6, 2, 3, 3] is no 3x3 kernel of whole blocks"},
    {GRAPH(IMAGE "%2 = winograd_kernel_adjoint %1"), 4,
     "winograd_kernel_adjoint: f32[6, 2, 3, 3] is no transformed kernel [36, K / 16, C, 16]"},
    {GRAPH(IMAGE "%2 = winograd_weight %0, %0 {padding=[0, 0, 0, 0], groups=1}"), 4,
     "winograd_weight: f32[1, 4, 5, 5] is no cotangent for f32[1, 4, 5, 5]"},
    {GRAPH(IMAGE "%2 = input \"u\" : f32[36, 1, 16, 16]\n"
                 "%3 = winograd %0, %2 {padding=[1, 1, 1, 1], groups=1}"),
     5, "winograd: the kernel takes 16 channels, the image has 4"},
    {GRAPH("%0 = input \"x\" : f32[1, 16, 2, 2]\n"
           "%1 = winograd_weight %0, %0 {padding=[0, 0, 0, 0], groups=1}"),
     3, "winograd_weight: a kernel of 3x3 does not fit into f32[1, 16, 2, 2]"},
    {GRAPH("%0 = input \"x\" : f32[1, 48, 5, 5]\n"
           "%1 = winograd_weight %0, %0 {padding=[1, 1, 1, 1], groups=2}"),
     3, "winograd_weight: 48 channels in 2 groups are no whole blocks of 16"},
    {GRAPH("%0 = input \"x\" : f32[1, 32, 5, 5]\n"
           "%1 = input \"u\" : f32[36, 2, 32, 16]\n"
           "%2 = winograd %0, %1 {padding=[1, 1, 1, 1], groups=2}"),
     4, "winograd: the kernel takes 64 channels, the image has 32"},
    {GRAPH("%0 = input \"w\" : f32[32, 16, 3, 3]\n"
           "%1 = winograd_kernel %0 {groups=9223372036854775807, flip}"),
     3, "winograd_kernel: 32 channels in 9223372036854775807 groups are no whole blocks of 16"},
    {GRAPH("%0 = input \"w\" : f32[32, 16, 3, 3]\n"
           "%1 = winograd_kernel %0 {groups=0}"),
     3, "winograd_kernel: 32 channels in 0 groups are no whole blocks of 16"},
    {GRAPH(X "%1 = report \"r\" %0"), 3, "report: what is reported has rank 2 where 0 is needed"},
    {GRAPH(X "buffer %0 nowhere"), 3, "`nowhere` is no space"},
    {GRAPH(X "kernel %0"), 3, "`-` is missing"},
};

static void mistakes_are_told_with_their_line(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        Arena arena = {0};
        int line = 0;
        const char *message = "";
        const char *text = refusals[i].text;
        if (module_read(&arena, text, strlen(text), &line, &message))
            fail_msg("read without a complaint:\n%s", text);
        assert_string_equal(message, refusals[i].message);
        if (line != refusals[i].line)
            fail_msg("line %d instead of %d: %s", line, refusals[i].line, message);
        arena_release(&arena);
    }
}

// ---- the verifier
// ---------------------------------------------------------------------------------

#define MODULE(nodes)                                                                              \
    "storage state \"s\" : f32[2, 3]\ngraph \"g\" free step_bytes=256 {\n" nodes "}\n"

static const struct {
    const char *text, *message;
} violations[] = {
    {MODULE(X) "graph \"g\" free {\n}\n", "graph `g`: a second graph of this name"},
    {MODULE("%0 = scalar \"lr\" : f32[]\n"),
     "graph `g`: %0 = scalar: the module has no such scalar"},
    {MODULE("%0 = input \"\" : f32[]\n"), "graph `g`: %0 = input: no name"},
    {MODULE(X "%1 = input \"x\" : f32[3]\n"),
     "graph `g`: %1 = input: two inputs of this name and different types"},
    {MODULE(X "%1 = write \"s\" %0\n%2 = write \"s\" %0\n"),
     "graph `g`: %2 = write: `s` a second time"},
    {MODULE(X "%1 = output \"o\" %0\n%2 = neg %1\n"),
     "graph `g`: %2 = neg: an operand is an effect and has no value"},
    {MODULE(X "%1 = relayout %0 {block=3, block_axis=1} : f32[2, 3]\n"),
     "graph `g`: %1 = relayout: has type f32[2, 3], should be f32[2, 3]{1:3}"},
    {MODULE(X "%1 = neg %0\n%2 = neg %1\nkernel %2, %1 -> %2\n"),
     "graph `g`: kernel 0: %2 needs %1, which no earlier kernel stores"},
    {MODULE(X "%1 = neg %0\n%2 = neg %1\nkernel %1, %2 -> %0\n"),
     "graph `g`: kernel 0 stores a node that it does not hold"},
    {MODULE(X "%1 = neg %0\n%2 = neg %1\nkernel %2 -> %2\n"),
     "graph `g`: kernel 0: %2 needs %1, which no earlier kernel stores"},
    {MODULE(X "%1 = neg %0\nkernel %1 -> %1\nkernel %1 -> %1\n"), "graph `g`: %1 is stored twice"},
    {MODULE(X "%1 = neg %0\n%2 = neg %0\noutput \"o\" %2\nkernel %1 -> %1\n"),
     "graph `g`: %3 = output: no kernel stores its value"},
    {MODULE(X "buffer %0 step offset=32 size=24\n"),
     "graph `g`: %0 = input: its buffer is not aligned to 64 bytes"},
    {MODULE(X "buffer %0 step size=20\n"), "graph `g`: %0 = input: its buffer is too small"},
    {MODULE(X "buffer %0 step offset=256 size=24\n"),
     "graph `g`: %0 = input: its buffer reaches beyond its arena"},
    {MODULE(X "buffer %0 storage index=1 size=24\n"),
     "graph `g`: %0 = input: its buffer is in no storage"},
    {MODULE(X "%1 = neg %0\n%2 = exp %0\n%3 = add %1, %2\nkernel %1 -> %1\nkernel %2 -> %2\nkernel "
              "%3 -> %3\n"
              "buffer %1 step size=24\nbuffer %2 step size=24\nbuffer %3 step size=24\n"),
     "graph `g`: %1 and %2 share memory while both live"},
    {MODULE(X "%1 = neg %0\n%2 = exp %1\nkernel %1 -> %1\nkernel %2 -> %2\n" // in place is fine
              "buffer %1 step size=24\nbuffer %2 step size=24\n"),
     NULL},
};

static void violations_are_named(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof violations / sizeof *violations; i++) {
        Arena arena = {0};
        int line = 0;
        const char *message = NULL;
        Module *module =
            module_read(&arena, violations[i].text, strlen(violations[i].text), &line, &message);
        if (!module)
            fail_msg("line %d: %s", line, message);
        message = module_verify(module, &arena);
        if (!message || !violations[i].message)
            assert_ptr_equal(message, violations[i].message);
        else
            assert_string_equal(message, violations[i].message);
        arena_release(&arena);
    }
}

// ---- broken bytes
// ---------------------------------------------------------------------------------

// Changes a few bytes: one to another, a stretch cut out, a stretch doubled.
static size_t mutate(char *text, size_t length, size_t room, uint64_t seed) {
    static const char alphabet[] = "%{}[]=:,->\"\\#@ \n0123456789-axef\0";
    for (uint64_t k = 0; k < 1 + seed % 4; k++) {
        size_t at = (size_t)(philox_uniform(seed, 1, k, 0) * (double)length);
        size_t span = (size_t)(philox_uniform(seed, 1, k, 1) * 12);
        double kind = philox_uniform(seed, 1, k, 2);
        if (kind < 0.5 && length) {
            text[at] = alphabet[(size_t)(philox_uniform(seed, 1, k, 3) * sizeof alphabet)];
        } else if (kind < 0.75 && at + span < length) {
            memmove(text + at, text + at + span, length - at - span);
            length -= span;
        } else if (at + span < length && length + span <= room) {
            memmove(text + at + span, text + at, length - at);
            length += span;
        }
    }
    return length;
}

static void broken_bytes_do_no_harm(void **state) {
    (void)state;
    enum { ROUNDS = 20000 };
    int read = 0, sound = 0;
    for (uint64_t seed = 0; seed < ROUNDS; seed++) {
        Arena arena = {0};
        int line = 0;
        const char *message = NULL;
        size_t room = sizeof whole + 100;
        char *text = malloc(room); // exactly sized below, so that reading past the end is found
        assert_non_null(text);
        memcpy(text, whole, sizeof whole - 1);
        size_t length = mutate(text, sizeof whole - 1, room, seed);
        char *exact = malloc(length + !length);
        assert_non_null(exact);
        memcpy(exact, text, length);
        Module *module = module_read(&arena, exact, length, &line, &message);
        assert_true(module || (message && line >= 1));
        read += module != NULL;
        if (module && !module_verify(module, &arena)) {
            const char *printed = print(&arena, module);
            Module *again = module_read(&arena, printed, strlen(printed), &line, &message);
            assert_non_null(again);
            assert_string_equal(print(&arena, again), printed);
            sound++;
        }
        free(text);
        free(exact);
        arena_release(&arena);
    }
    assert_true(read > ROUNDS / 20 && read < ROUNDS * 19 / 20); // it refuses and it accepts
    assert_true(sound > ROUNDS / 40);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_module_survives_its_text),
        cmocka_unit_test(a_text_cut_down_by_hand_is_read),
        cmocka_unit_test(mistakes_are_told_with_their_line),
        cmocka_unit_test(violations_are_named),
        cmocka_unit_test(broken_bytes_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
