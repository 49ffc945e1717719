#!/bin/bash
# The multiply-adds that `kdc cost` works out from shapes, against those that kernels count while they run (--count).
. "$(dirname "$0")/parts/cases.sh"

# both PROGRAM ARGUMENT ...: the step's multiply-adds forward and backward as worked out, then as counted.
both() {
    "$KDC" cost "$work/$1.kd" --count "${@:2}" 2>&1 | awk '
        $1 == "graph" || $1 == "counted" || $1 == "kernels" { table = $1 }
        $1 == "t.step0" && table == "graph" { shapes = $3 " " $4 }
        $1 == "t.step0" && table == "counted" { print shapes, $2, $3; exit }'
}

# ---- convolutions ----------------------------------------------------------------------------------
# Two in a row, so that the second has all three directions; the first is 1x1 and has no gradient by the image.

cat >"$work/conv.kd" <<'END'
param stride = 1
param pad    = 0
param groups = 1
param kernel = 3
param c_in   = 16
param c_out  = 16
data d = idx("nowhere") { fields image: f32[c_in, 12, 12], label: i32; count 8; classes 16 }
net body(x) { return x |> conv(c_in, 1) as first |> conv(c_out, kernel, stride, padding = pad, groups = groups) as second }
model m = body
train t on d {
    batch 4; epochs 1
    optimize m with sgd(lr = 0.1)
    step (image) { minimize mean(m(image) ^ 2) }
}
END

# conv KERNEL STRIDE PAD GROUPS IN OUT: nominal multiply-adds of one direction of the second one, and in $reached those
# whose tap lies inside the image, from the definition.
conv() {
    local out=$(((12 + 2 * $3 - $1) / $2 + 1)) o k at line=0
    for ((o = 0; o < out; o++)); do
        for ((k = 0; k < $1; k++)); do
            at=$((o * $2 + k - $3))
            ((at >= 0 && at < 12 && line++))
        done
    done
    nominal=$((4 * $6 * out * out * $1 * $1 * $5 / $4))
    reached=$((4 * $6 * line * line * $5 / $4))
}

# Each case: kernel stride pad groups in out.
while read -r kernel stride pad groups in out; do
    conv $kernel $stride $pad $groups $in $out
    first=$((4 * in * in * 144))
    name="conv $kernel, stride $stride, padding $pad, groups $groups, $in to $out"
    defines=(-D kernel=$kernel -D stride=$stride -D pad=$pad -D groups=$groups -D c_in=$in -D c_out=$out)
    read -r forward backward ran_forward ran_backward <<<"$(both conv -O0 "${defines[@]}")"
    equal "$name, worked out forward" $((first + nominal)) "$forward"
    equal "$name, worked out backward" $((first + 2 * nominal)) "$backward"
    # As it stands: each tap is a multiply-add, zero or not. The adjoint by the input asks for each of its places
    # which windows showed it, reached or not.
    equal "$name, -O0 forward" "$forward" "$ran_forward"
    by_input=$((4 * out * 144 * kernel * kernel * in / groups))
    equal "$name, -O0 backward" $((first + nominal + by_input)) "$ran_backward"
    # Optimised, taps outside the image are skipped in all three directions.
    read -r forward backward ran_forward ran_backward <<<"$(both conv -O2 --without=winograd "${defines[@]}")"
    equal "$name, worked out forward at -O2" $((first + nominal)) "$forward"
    equal "$name, worked out backward at -O2" $((first + 2 * nominal)) "$backward"
    equal "$name, -O2 forward" $((first + reached)) "$ran_forward"
    equal "$name, -O2 backward" $((first + 2 * reached)) "$ran_backward"
done <<'END'
1 1 0 1 16 16
3 1 0 1 16 32
3 1 1 1 16 16
3 2 0 1 16 16
3 2 1 1 32 16
5 1 2 1 16 16
3 1 0 4 16 16
3 1 0 16 16 16
END

# A transformed convolution, F(4x4, 3x3), is worked out as what it stands for, and runs 36 products for each piece of 4 by
# 4 pixels.
for case in '0 1' '1 1' '1 2'; do
    read -r pad groups <<<"$case"
    conv 3 1 $pad $groups 64 64
    first=$((4 * 64 * 64 * 144)) pieces=$(((12 + 2 * pad - 2 + 3) / 4)) behind=$(((12 + 3) / 4))
    read -r forward backward ran_forward ran_backward <<<"$(both conv -D pad=$pad -D groups=$groups -D c_in=64 -D c_out=64)"
    equal "transformed, padding $pad, groups $groups, worked out forward" $((first + nominal)) "$forward"
    equal "transformed, padding $pad, groups $groups, worked out backward" $((first + 2 * nominal)) "$backward"
    equal "transformed, padding $pad, groups $groups, ran forward" \
        $((first + 4 * pieces * pieces * 36 * 64 * 64 / groups)) "$ran_forward"
    equal "transformed, padding $pad, groups $groups, ran backward" \
        $((first + 4 * (pieces * pieces + behind * behind) * 36 * 64 * 64 / groups)) "$ran_backward"
done

# Channels that fill no block of 16 are filled up with zeros, and these run too: 20 as 32.
read -r forward _ ran_forward _ <<<"$(both conv --without=winograd -D c_out=20)"
equal 'filled blocks are not worked out' $((4 * 144 * 256 + 4 * 20 * 16 * 900)) "$forward"
equal 'but run' $((4 * 144 * 256 + 4 * 32 * 16 * 900)) "$ran_forward"

# ---- products of matrices --------------------------------------------------------------------------

cat >"$work/linear.kd" <<'END'
use std.distill
data d = idx("nowhere") { fields image: f32[37], label: i32; count 26; classes 10 }
net body(x, classes) { return x |> linear(50) as a |> relu |> linear(classes) as b }
model m = body(classes = d.classes)
train t on d {
    batch 13; epochs 1
    optimize m with sgd(lr = 0.1, momentum = 0.9)
    step (image, label) {
        let z = m(image)
        let like = einsum("nc,mc->nm", z, z)
        minimize cross_entropy(z, label) + mean(like ^ 2)
    }
}
END
relations=$((13 * 13 * 10))
for level in -O0 -O2; do
    read -r forward backward ran_forward ran_backward <<<"$(both linear $level)"
    equal "linear $level forward" $((13 * (37 * 50 + 50 * 10) + relations)) "$forward"
    equal "linear $level ran forward" "$forward" "$ran_forward"
    equal "linear $level ran backward" "$backward" "$ran_backward"
done

# ---- a network, with what a phase computes once -------------------------------------------------------

cat >"$work/net.kd" <<'END'
use std.nets
use std.distill
data d = idx("nowhere") { fields image: f32[3, 8, 8], label: i32; count 8; classes 10 }
model teacher = resnet_cifar(blocks = 1, width = 16, classes = d.classes)
model student = mobilenet_v1(blocks = [1, 1], widths = [16, 32], stem_width = 16, classes = d.classes)
train t on d {
    batch 4; epochs 1
    optimize student with sgd(lr = 0.1)
    step (image, label) { minimize kd(student(image), teacher(image), T = 4) }
    eval (image, label) { report top1 = accuracy(student(image), label) }
}
END
read -r forward _ ran_forward _ <<<"$(both net -O0)"
equal 'networks' "$forward" "$ran_forward"
json=$("$KDC" cost "$work/net.kd" --count --json -O0 | grep '"t.step0"')
equal 'JSON has the count' "\"counted\": {\"forward\": $forward" "$(grep -o '"counted": {"forward": [0-9]*' <<<"$json")"

finish
