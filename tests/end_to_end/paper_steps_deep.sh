#!/bin/bash
# The examples of the four papers at the papers' sizes take a step or two from teachers of random weights, on a handful
# of made-up images. Their counts are in paper_sizes.sh.
. "$(dirname "$0")/parts/cases.sh"

"$parts/make_cifar100" images 8 4
cat >teachers.kd <<'TEACHERS'
use std.nets
data set = cifar100("images")
model resnet152 = resnet(blocks = [3, 8, 36, 3], block = bottleneck, classes = 100)
model resnet34  = resnet(blocks = [3, 4, 6, 3], classes = 100)
model wrn22_4   = wide_resnet(depth = 22, widen = 4, classes = 100)
train nothing on set {
    batch 4
    epochs 1
    step (image) { report r = mean(resnet152(image)) + mean(resnet34(image)) + mean(wrn22_4(image)) }
}
deploy resnet152
deploy resnet34
deploy wrn22_4
TEACHERS
check 'teachers of random weights' "$KDC" run teachers.kd -- --quiet --out .
rm -rf checkpoints


# steps EXAMPLE TEACHER ARGUMENT ...: it trains for a step or two in each phase and leaves its student alone.
steps() {
    local example=$1 teacher=()
    [[ $2 = none ]] || teacher=(-D "teacher=$work/$2.safetensors")
    shift 2
    "$KDC" run "$root/examples/$example.kd" -D folder="$work/images" -D batch=4 "${teacher[@]}" -- "$@" --quiet --out out &&
        ! grep -aqE '"(connect|exits|edges|adapter|large)[.0-9]' out/student.safetensors
    local status=$?
    rm -rf out
    return $status
}

check 'channel distillation runs' steps channel_distillation resnet152 --epochs 1
check 'BYOT runs' steps byot none --epochs 1
check 'stage by stage runs' steps sskd resnet34 --epochs 1
finish
