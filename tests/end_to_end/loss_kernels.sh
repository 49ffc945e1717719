#!/bin/bash
# A loss is at most two kernels forward and two backward: the step below has nothing but the loss, its
# gradient by the student's side and the update, which sits in the last of them. Behind einsum, as MHGD's graphs are,
# its own kernels are not counted, whatever of the loss is in them; behind an adapter, as SSKD's distance is, those of
# the same step with a mean in its place.
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
model theta  = free(shape = [128, 24, 8])
model phi    = free(shape = [128, 24, 8])
model narrow = free(shape = [128, 16, 16, 16])
model guide  = adapter(channels = 32)

fn value(image, label) {
    let t = slice(flatten(image), axis = 1, range = 0..10)
    let scores = slice(reshape(image, [8, 128, 1024]), axis = 2, range = 0..128)
    if loss == "cross_entropy" { return cross_entropy(logits(), label) }
    if loss == "smoothed"      { return cross_entropy(logits(), label, smoothing = 0.1) }
    if loss == "soft"          { return soft_cross_entropy(logits(), softmax(t)) }
    if loss == "kd"            { return kd(logits(), t, T = 4) }
    if loss == "guided_kd"     { return guided_kd(logits(), t, label, T = 4) }
    if loss == "channel_loss"  { return channel_loss(map(), image) }
    if loss == "adapter"       { return mean(guide(narrow())) }
    if loss == "distance"      { return l2(guide(narrow()), image) }
    if loss == "graph_loss"    { return graph_loss(einsum("ida,jda->aij", theta(), phi()), scores) }
    if loss == "graph_forward" { return graph_loss(einsum("ida,jda->aij", theta(), phi()), scores, forward = true) }
    return hint(map(), image)
}

train it on made_up {
    batch 128
    epochs 1
    optimize logits, map, narrow, theta, phi, guide with sgd(lr = 0.1)
    step (image, label) { minimize value(image, label) }
    eval (image, label) on made_up.train { report value = value(image, label) }
}
KD

# counts LOSS: its kernels forward and in the step.
counts() {
    local ir graph
    ir=$("$KDC_BUILD/kdc" "$folder/loss.kd" -D "loss=$1" --emit=ir 2>"$folder/messages")
    for graph in eval0 step0; do
        awk -v graph="\"it.$graph\"" '
            $1 == "graph" { here = $2 == graph; delete contracts }
            here && $3 == "einsum" { contracts[$1] = 1 }
            here && $1 == "kernel" {
                gsub(",", "")
                own = 1
                for (i = 2; i <= NF; i++)
                    own = own && !($i in contracts)
                n += own
            }
            END { print n + 0 }' <<<"$ir"
    done
}

# judge LOSS FORWARD STEP LEAST: a case.
judge() {
    if [[ $2 -ge $4 && $2 -le 2 && $3 -ge $4 && $3 -le 4 ]]; then
        ((passed++))
    else
        ((failed++))
        printf 'FAILED: %s: %d kernels forward, %d in the step\n' "$1" "$2" "$3"
        cat "$folder/messages"
    fi
}

passed=0 failed=0
for loss in cross_entropy smoothed soft kd guided_kd channel_loss hint graph_loss graph_forward; do
    # shellcheck disable=SC2046
    judge "$loss" $(counts "$loss") 1
done
mapfile -t behind < <(counts adapter)
mapfile -t all < <(counts distance)
[[ ${behind[0]} -ge 1 && ${behind[1]} -ge 3 ]] || all=(0 0) behind=(0 0)
judge distance $((all[0] - behind[0])) $((all[1] - behind[1])) $((all[0] > 0 ? 0 : 1))
printf '%d passed, %d failed\n' "$passed" "$failed"
[[ $failed -eq 0 ]]
