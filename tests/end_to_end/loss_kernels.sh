#!/bin/bash
# A loss is at most two kernels forward and two backward: the step below has nothing but the loss, its
# gradient by the student's side and the update, which sits in the last of them.
set -u
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/loss.kd" <<'KD'
use std.distill

param loss = "cross_entropy"

data made_up = idx("none") {
    fields  image: u8[32, 16, 16], label: i32
    count   1280
    classes 10
}

## The student's side: a tensor that is trained itself. The teacher's is what the batch holds.
net free(shape) {
    let value = parameter(shape, init = normal)
    return value
}
model logits = free(shape = [128, 10])
model map    = free(shape = [128, 32, 16, 16])

fn value(image, label) {
    let t = slice(flatten(image), axis = 1, range = 0..10)
    if loss == "cross_entropy" { return cross_entropy(logits(), label) }
    if loss == "smoothed"      { return cross_entropy(logits(), label, smoothing = 0.1) }
    if loss == "soft"          { return soft_cross_entropy(logits(), softmax(t)) }
    if loss == "kd"            { return kd(logits(), t, T = 4) }
    if loss == "guided_kd"     { return guided_kd(logits(), t, label, T = 4) }
    if loss == "channel_loss"  { return channel_loss(map(), image) }
    return hint(map(), image)
}

train it on made_up {
    batch 128
    epochs 1
    optimize logits, map with sgd(lr = 0.1)
    step (image, label) { minimize value(image, label) }
    eval (image, label) on made_up.train { report value = value(image, label) }
}
KD

passed=0 failed=0
for loss in cross_entropy smoothed soft kd guided_kd channel_loss hint; do
    ir=$("$KDC_BUILD/kdc" "$folder/loss.kd" -D "loss=$loss" --emit=ir 2>"$folder/messages")
    count() {
        awk -v graph="\"it.$1\"" '$1 == "graph" { here = $2 == graph } here && $1 == "kernel" { n++ }
                                  END { print n + 0 }' <<<"$ir"
    }
    forward=$(count eval0) step=$(count step0)
    if [[ $forward -ge 1 && $forward -le 2 && $step -ge 1 && $step -le 4 ]]; then
        ((passed++))
    else
        ((failed++))
        printf 'FAILED: %s: %d kernels forward, %d in the step\n' "$loss" "$forward" "$step"
        cat "$folder/messages"
    fi
done
printf '%d passed, %d failed\n' "$passed" "$failed"
[[ $failed -eq 0 ]]
