#!/bin/bash
# Deployed libraries: docs/deploy.md as it stands, what they hold, that they stop at the exit taken, and mistakes.
# shellcheck source=parts/cases.sh
. "$(dirname "$0")/parts/cases.sh"
root=$(cd "$parts/../../.." && pwd)
if ldd "$KDC" | grep -q 'libasan\|libtsan'; then # a sanitized library wants its program to be so too
    skipped=1
    finish
fi
mkdir bin
ln -s "$(realpath "$KDC")" bin/kdc
PATH=$work/bin:$PATH
"$parts/make_dots" dots 512 200

# block LANGUAGE: the page's only block of that language.
block() {
    awk -v fence="\`\`\`$1" '$0 == fence { inside = 1; next } $0 == "```" { inside = 0 } inside' "$root/docs/deploy.md"
}
block kd >early.kd
block c >use.c
block python >use.py
block sh >commands

# metric NAME: of the last evaluation of the run.
metric() {
    grep -o "\"test_$1\": *[0-9.e-]*" run/metrics.jsonl | tail -n 1 | sed 's/.*: *//'
}

check 'the commands of the page' bash -eu commands
check 'linked or loaded, the same' ends 0 "$(./use_static 0.9)" ./use_shared 0.9
check 'all leave at exit 0: its accuracy is that of eval' \
    ends 0 "200 images, 1 left early, top1 $(metric exit0)" ./use_static 0
check 'none does: the accuracy of the whole network' \
    ends 0 "200 images, 0 left early, top1 $(metric exit1)" ./use_static 2
check 'between them some leave' ends 0 '200 images, 0.* left early, *' ./use_static 0.4
check 'the two accuracies differ' test "$(metric exit0)" != "$(metric exit1)"
if type python3 >/dev/null 2>&1; then
    check 'from Python' ends 0 '4 logits from exit 0' python3 use.py
else
    ((skipped++))
fi

# ---- what it holds ----

check 'a shared library shows six names' \
    ends 0 $'early_close\nearly_error\nearly_open\nearly_run\nearly_set\nearly_skip_exits' \
    bash -c "nm -D --defined-only early.so | sed 's/.* //' | sort"
check 'so does an archive' \
    ends 0 $'early_close\nearly_error\nearly_open\nearly_run\nearly_set\nearly_skip_exits' \
    bash -c "nm -g --defined-only early.a | sed -n 's/.* T //p' | sort"
check 'of libraries it needs libc and libgomp' \
    ends 0 $'libc.so.6\nlibgomp.so.1' bash -c "readelf -d early.so | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | sort"
check 'weights alone' kdc early.kd --deploy early --weights run -o early.safetensors
check 'are those of the run' cmp run/early.safetensors early.safetensors
check 'without teacher and adapter' ends 1 0 grep -c 'teacher\|adapter\|connector' early.safetensors
check 'nor does the library know of them' ends 1 0 grep -c 'teacher\|adapter\|connector' early.so
constants() { "$KDC" early.kd --deploy "$1" --emit=ir | grep -c '^storage [a-z]* "\(teacher\|distill\|.*adapter\)'; }
check 'the deployed graphs read none of theirs' ends 1 0 constants early
check 'no normalisation is left in the segments' \
    ends 1 '' bash -c "'$KDC' early.kd --deploy early --emit=ir | sed '/^graph .*prologue/,\$d' | grep -E '= (read .*bn|sqrt|rsqrt)'"
check 'nor is a weight packed for each example' \
    ends 1 '' bash -c "'$KDC' early.kd --deploy early --emit=ir | sed '/^graph .*prologue/,\$d' | grep -E 'relayout.*\{0:16\}'"

# ---- it really stops ----

# Each segment opens one parallel region: they are counted.
cat >count.c <<'END'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include "early.h"
typedef void Parallel(void (*)(void *), void *, unsigned, unsigned);
static long regions;
void GOMP_parallel(void (*function)(void *), void *data, unsigned threads, unsigned flags) {
    regions++;
    ((Parallel *)dlsym(RTLD_NEXT, "GOMP_parallel"))(function, data, threads, flags);
}
static float image[8 * EARLY_IMAGE_SIZE], one[8 * EARLY_OUTPUT_SIZE], other[8 * EARLY_OUTPUT_SIZE];
static long run(struct early_model *model, int64_t count, float *logits, int32_t *exits) {
    regions = 0;
    if (early_run(model, count, image, logits, exits))
        return -1;
    return regions;
}
int main(void) {
    int32_t exits[8];
    struct early_model *model = early_open(1), *wide = early_open(3);
    for (int i = 0; i < 8 * EARLY_IMAGE_SIZE; i++)
        image[i] = (float)(i * 37 % 101) / 50 - 1;
    early_set(model, "threshold", 0);
    long first = run(model, 8, one, exits);
    printf("early %ld", first);
    early_set(model, "threshold", 2);
    printf(" whole %ld", run(model, 8, one, NULL) - first);
    early_set(model, "threshold", 0);
    early_skip_exits(model, 1);
    printf(" skipped %ld", run(model, 8, other, exits) - first);
    printf(" exit %d\n", exits[7]);
    printf("same %d", !memcmp(one, other, sizeof one));
    early_set(wide, "threshold", 2);
    run(wide, 8, other, NULL);
    printf(" threads %d", !memcmp(one, other, sizeof one));
    memset(other, 0, sizeof other);
    run(wide, 1, other, NULL);
    printf(" alone %d\n", !memcmp(one, other, sizeof *one * EARLY_OUTPUT_SIZE));
    printf("%s\n", early_error(early_set(model, "treshold", 0)));
    printf("%s\n", early_error(early_skip_exits(model, 2)));
    printf("%s\n", early_error(early_run(model, 1, NULL, one, NULL)));
    printf("%s\n", early_error(early_run(model, 0, NULL, NULL, NULL)));
    printf("%s\n", early_error(77));
    early_close(model);
    early_close(wide);
    early_close(NULL);
    return 0;
}
END
check 'a C program is compiled without a warning' cc -Wall -Wextra -Werror count.c ./early.so -lgomp -ldl -o count
check 'what is behind the exit does not run' ends 0 \
    $'early 11 whole 8 skipped 8 exit 1\nsame 1 threads 1 alone 1\nthe deployed function has no option of that name
an argument is NULL or out of range\nan argument is NULL or out of range\nno error\nno status of this library' ./count

# ---- two in one program, other values ----

cat early.kd - >both.kd <<'END'
deploy pair (image) {
    let s = student(image)
    return [softmax(s), s.low, argmax(s, axis = 1)]
}
END
check 'several values' kdc both.kd --deploy pair --weights student=run/student.safetensors -o pair.a
check 'each an array' grep -q 'const float \*image, float \*output_0_, float \*output_1_, int32_t \*output_2_, int32_t \*exits' pair.h
cat >mix.c <<'END'
#include <stdio.h>
#include "early.h"
#include "pair.h"
static float image[64], z[4], p[4], low[PAIR_OUTPUT_1_SIZE];
int main(void) {
    int32_t best = -1;
    struct early_model *a = early_open(1);
    struct pair_model *b = pair_open(1);
    early_skip_exits(a, 1);
    if (early_run(a, 1, image, z, NULL) || pair_run(b, 1, image, p, low, &best, NULL))
        return 1;
    for (int i = 0; i < 4; i++)
        if (z[i] > z[best])
            return 1;
    printf("%.5f\n", p[0] + p[1] + p[2] + p[3]);
    return 0;
}
END
check 'two libraries' cc mix.c early.a pair.a -lgomp -o mix
check 'in one program' ends 0 1.00000 ./mix

# ---- mistakes ----

kdc() { "$KDC" "$@"; }
check 'a name that is near' ends 1 'kdc: early.kd has no `deploy erly`; did you mean `early`?' \
    kdc early.kd --deploy erly --weights run
check 'a name that is not' ends 1 'kdc: early.kd has no `deploy somewhat`; it deploys `student`, `early`' \
    kdc early.kd --deploy somewhat --weights run
check 'another kind of file' ends 1 'kdc: `-o e.onnx`: `.onnx` is not built yet; --deploy makes .so, .a and .safetensors' \
    kdc early.kd --deploy early --weights run -o e.onnx
check 'no weights' ends 1 'kdc: `student` has no weights for student.conv1.weight, * and * more; give --weights FILE, as a run leaves it (runs/early/student.safetensors)' \
    kdc early.kd --deploy student
check 'no name' ends 1 'kdc: `--deploy` takes the name of a deployment, not ``' kdc early.kd --deploy=
check 'no file' ends 1 'kdc: `--weights` takes a safetensors file, or MODEL=FILE, not ``' kdc early.kd --weights=
check 'a file that is not there' ends 2 'kdc: nowhere: cannot be opened: No such file or directory' \
    kdc early.kd --deploy student --weights nowhere
sed 's/width = 16/width = 20/' early.kd >wider.kd
check 'weights of another shape' ends 1 'kdc: the weights of `student` are of another shape: student.conv2.weight, *' \
    kdc wider.kd --deploy student --weights run
check 'other forms' ends 1 'kdc: `--deploy` goes with --emit=ir and --emit=loops alone' \
    kdc early.kd --deploy early --emit=asm
check 'IR deploys nothing' ends 1 'kdc: * is IR, not a program: it deploys nothing' \
    kdc "$root/tests/ir/cse/commuted_operands.ir" --deploy early
cat early.kd - >noisy.kd <<'END'
deploy noisy (image) { return student(image) + normal([1, 4]) }
END
check 'draws' ends 1 'kdc: `noisy` draws random numbers: a library of that is not built yet' \
    kdc noisy.kd --deploy noisy --weights run
cat early.kd - >fresh.kd <<'END'
deploy fresh (image) { return connector(image, channels = 4) }
END
check 'modules of training' ends 1 'fresh.kd:*: error: *' kdc fresh.kd --deploy fresh --weights run
sed -e 's/^model student.*/& from "run\/student.safetensors"/' -e 's/^model branch.*/& from "branch.safetensors"/' early.kd >from.kd
check 'weights of one model, which the program trains on' ends 0 \
    'kdc: warning: `student` gets the weights that the program begins with, and trains on: student.*' \
    kdc from.kd --deploy student -o from.a
cp from.a given.a
check 'the same as told' ends 0 '' kdc early.kd --deploy student --weights run -o from.a
check 'are the same bytes' cmp from.a given.a
finish
