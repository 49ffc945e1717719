#!/bin/bash
# The examples of the four papers run on a handful of made-up images, and leave the student without what was only there
# to train it.
. "$(dirname "$0")/parts/cases.sh"

"$parts/make_cifar100" images 24 16
examples=$root/examples
cat >random_teacher.kd <<'TEACHER'
use "resnet_small.kd"
param images = "images"
data set = cifar100(images)
model teacher = resnet_small(blocks = 2, classes = 100)
train nothing on set {
    batch 8
    epochs 1
    step (image) { report r = mean(teacher(image)) }
}
deploy teacher
TEACHER
cp "$examples/resnet_small.kd" .
check 'a teacher of random weights' "$KDC" run random_teacher.kd -- --quiet --out teacher

# names FILE: the tensors of a safetensors file, one a line.
names() { head -c 65536 "$1" | tail -c +9 | grep -ao '"[^"]*":{"dtype"' | sed 's/^"//; s/".*//' | sort; }
# only_the_student FILE ...: each is a ResNet-8 and nothing else.
only_the_student() {
    local file
    for file in "$@"; do
        [[ $(names "$file" | sed 's/[.].*//' | uniq | xargs) == 'bn1 conv1 fc layer1 layer2 layer3' ]] || return
    done
}
# steps EXAMPLE ARGUMENT ...: two steps in each phase, and an evaluation.
steps() {
    local example=$1
    shift
    "$KDC" run "$examples/$example.kd" -D batch=12 -D folder="$work/images" "$@" --quiet --out "$example" &&
        only_the_student "$example/student.safetensors"
}
teacher=(-D "teacher=$work/teacher/teacher.safetensors" --)
check 'channel distillation' steps channel_distillation_small "${teacher[@]}" --epochs 1
check 'its report' grep -q '"train_gkd".*"train_cd"\|"test_top5"' channel_distillation_small/metrics.jsonl
check 'be your own teacher' steps byot_small -- --epochs 1
check 'its exits' grep -q '"test_exit1".*"test_exit2".*"test_top1".*"test_ensemble"' byot_small/metrics.jsonl
check 'stage by stage' steps sskd_small "${teacher[@]}"
check 'its phases' grep -q 'distill.mimic\[2\]' sskd_small/metrics.csv
check 'graphs by multi-head attention' steps mhgd_small "${teacher[@]}" --epochs 1
check 'its phases' grep -q 'distill.graph' mhgd_small/metrics.csv

# ---- the driver of their runs ---------------------------------------------------------------------

export LEDGER=$work/ledger.tsv
# driver ARGUMENT ...: bench/papers.sh with a binary that stands for kdc, and trains nothing.
cat >kdc <<'KDC'
#!/bin/bash
# What it is asked to compile becomes a binary that "trains" at once.
given=$*
while [[ $1 != -o ]]; do shift; done
echo "$given" >"$2.compiled"
cat >"$2" <<'TRAIN'
#!/bin/bash
echo "$*" >>"$0.started"
while [[ $1 != --out ]]; do shift; done
mkdir -p "$2"
printf '%s\n' '{"test_top1": 0.1, "test_exit1": 0.1}' \
    '{"test_exit1": 0.25, "test_exit2": 0.5, "test_top1": 0.625, "test_ensemble": 0.75}' >"$2/metrics.jsonl"
TRAIN
chmod +x "$2"
KDC
chmod +x kdc
driver() { "$root/bench/papers.sh" ./kdc out images teacher/teacher.safetensors "$@"; }
# rows COUNT PATTERN: the ledger has so many lines like it.
rows() { [[ $(grep -c "$2" "$LEDGER") -eq $1 ]]; }
check 'one run' driver --once
check 'is a line' rows 1 $'^cifar100_alone\t1\t4\t0.625\t[0-9]*\t[0-9a-f]*$'
check 'all others' driver --methods 'alone cd byot sskd'
check 'each once' rows 12 $'^cifar100_\\(alone\\|cd\\|byot\\|sskd\\)\t[123]\t4\t0.625\t'
check 'and the exits of one' rows 3 $'^cifar100_byot_exit1\t[123]\t4\t0.25\t'
check 'again' driver --methods 'alone cd byot sskd'
check 'is nothing' rows 3 $'^cifar100_alone\t'
check 'in the binary too' test "$(wc -l <out/alone.started)" = 3
check 'the teacher is named' grep -q " -D teacher=$work/teacher/teacher.safetensors " out/cd.compiled
check 'where there is one' test "$(grep -c teacher= out/byot.compiled)" = 0
check 'no such method' ends 2 'papers.sh: no such method: dml' driver --methods dml
finish
