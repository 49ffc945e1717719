#!/bin/bash
# What `kdc cost` says of steps, their terms and phases: numbers worked out by hand, and what specialisation promises.
. "$(dirname "$0")/parts/cases.sh"

# holds WHAT EXPRESSION
holds() { equal "$1: $2" 1 "$(($2))"; }

# work PROGRAM GRAPH COLUMN, kernels PROGRAM GRAPH COLUMN: of the two tables of a phase. `GRAPH TERM` is that of a term of
# the graph, `GRAPH (shared)` what is left. Columns of the first: 1, 2 MACs forward and backward; 3, 4, 5 FLOPs forward,
# backward and of updates. Of the second: 1, 2, 3 kernels likewise; 4 parameters, 5 kept bytes, 6 arena bytes.
column() {
    awk -v table="$1" -v graph="${3%% *}" -v term="${3#* }" -v column="$4" '
        $1 == "graph" || $1 == "kernels" || $1 == "phase" { here = $1; inside = "" }
        here != table { next }
        /^[^ ]/ { inside = $1 }
        inside != graph { next }
        /^[^ ]/ && term == graph { print $(column + (table == "graph" ? 2 : 1)); exit }
        /^ / && $1 == term { print $(column + 1); exit }
    ' "$work/$2.cost"
}
work() { column graph "$@"; }
kernels() { column kernels "$@"; }
phase() { awk -v name="$2" -v column="$3" '$1 == "phase" { on = 1 } on && $1 == name { print $(column + 1) }' "$work/$1.cost"; }

cost() { "$KDC" cost "$work/$1.kd" "${@:2}" >"$work/$1.cost" 2>"$work/$1.messages" || { echo "FAILED kdc cost $1.kd"; failed=$((failed + 1)); }; }

# ---- two linear layers, by hand -------------------------------------------------------------------

cat >"$work/linear.kd" <<'END'
data d = idx("nowhere") { fields image: f32[100], label: i32; count 64; classes 10 }
net two(x, classes) { return x |> linear(32, bias = false) as a |> relu |> linear(classes, bias = false) as b }
model m = two(classes = d.classes)
train t on d {
    batch 16; epochs 1
    optimize m with sgd(lr = 0.1)
    step (image, label) { minimize cross_entropy(m(image), label) }
}
deploy m
END
cost linear
equal 'forward MACs' $((16 * (100 * 32 + 32 * 10))) "$(work linear t.step0 1)"
equal 'backward MACs: not by the image' $((16 * (100 * 32 + 2 * 32 * 10))) "$(work linear t.step0 2)"
equal 'update: p - lr * g' $((2 * (100 * 32 + 32 * 10))) "$(work linear t.step0 5)"
equal 'parameters' $((100 * 32 + 32 * 10)) "$(kernels linear t.step0 4)"
equal 'trained' $((100 * 32 + 32 * 10)) "$(phase linear t 1)"
equal 'frozen' 0 "$(phase linear t 2)"
equal 'train-only' 0 "$(phase linear t 3)"
# What the backward pass reads of the forward pass: the hidden layer, and of the loss at most the logits and two numbers
# an example.
kept=$(kernels linear t.step0 5) hidden=$((16 * 32 * 4))
holds 'kept bytes' "$kept >= $hidden && $kept <= $hidden + 16 * (10 + 2) * 4 + 4 * 64"
holds 'peak is storages and arena' "$(phase linear t 6) >= 4 * (100 * 32 + 32 * 10) + $kept"

# ---- terms -------------------------------------------------------------------------------------

cat >"$work/terms.kd" <<'END'
use std.nets
use std.distill
data d = idx("nowhere") { fields image: f32[3, 16, 16], label: i32; count 16; classes 10 }
model teacher = resnet_cifar(blocks = 1, width = 32, classes = 10)
model student = resnet_cifar(blocks = 1, width = 16, classes = 10)
train distill on d {
    batch 4; epochs 1
    optimize student with sgd(lr = 0.1)
    step (image, label) {
        let s = student(image)
        let t = teacher(image)
        let ce = cross_entropy(s, label)
        let kl = kd(s, t, T = 4)
        let cd = mean([channel_loss(connector(s[i], t[i].channels) as "connect{i}", t[i]) for i in 0..3])
        minimize ce + kl
        minimize cd
        report ce, kl, cd
    }
}
train plain on d {
    batch 4; epochs 1
    optimize student with sgd(lr = 0.1)
    step (image, label) {
        let s = student(image)
        let t = teacher(image)
        minimize cross_entropy(s, label) + kd(s, t, T = 4)
    }
}
train alone on d {
    batch 4; epochs 1
    optimize student with sgd(lr = 0.1)
    step (image, label) {
        let s = student(image)
        let loss = cross_entropy(s, label)
        minimize loss
        report loss, top1 = accuracy(s, label)
    }
}
deploy student
END
cost terms
for c in 1 2 3 4 5; do
    sum=0
    for term in ce kl cd '(shared)'; do sum=$((sum + $(work terms "distill.step0 $term" $c))); done
    equal "terms and shared part are the whole, column $c" "$(work terms distill.step0 $c)" $sum
    equal "of a single term all is its own, column $c" "$(work terms alone.step0 $c)" "$(work terms 'alone.step0 loss' $c)"
done
connectors=0 connector_macs=0
for i in 0 1 2; do
    width=$((16 << i)) size=$((16 >> i))
    connectors=$((connectors + width * 2 * width + 4 * width)) # and batch norm
    connector_macs=$((connector_macs + width * 2 * width * size * size))
done
equal 'the connectors are cd alone: parameters' $connectors "$(kernels terms 'distill.step0 cd' 4)"
equal 'the connectors are cd alone: forward' $((4 * connector_macs)) "$(work terms 'distill.step0 cd' 1)"
equal 'the connectors are cd alone: backward' $((2 * 4 * connector_macs)) "$(work terms 'distill.step0 cd' 2)"
# The head of the teacher is there for kl alone; that of the student for ce as well.
equal 'the head of the teacher is kl alone' $((4 * 128 * 10)) "$(work terms 'distill.step0 kl' 1)"
equal 'parameters of kl' $((128 * 10 + 10)) "$(kernels terms 'distill.step0 kl' 4)"
equal 'ce has no multiply-adds of its own' 0 "$(work terms 'distill.step0 ce' 1)"
# What a term costs is what the step without it does not.
equal 'without cd' "$(work terms plain.step0 1)" $(($(work terms distill.step0 1) - $(work terms 'distill.step0 cd' 1)))
equal 'without cd, backward' "$(work terms plain.step0 2)" \
    $(($(work terms distill.step0 2) - $(work terms 'distill.step0 cd' 2)))
student=$(awk '$1 == "student" { print $2 }' "$work/terms.cost") teacher=$(awk '$1 == "teacher" { print $2 }' "$work/terms.cost")
equal 'trained' $((student + connectors)) "$(phase terms distill 1)"
equal 'frozen' "$teacher" "$(phase terms distill 2)"
equal 'train-only' $((teacher + connectors)) "$(phase terms distill 3)"

# ---- names of terms ------------------------------------------------------------------------------

cat >"$work/names.kd" <<'END'
data d = idx("nowhere") { fields image: f32[8], label: i32; count 8; classes 10 }
model m = linear(channels = 10)
fn both(z, label) = cross_entropy(z, label) + mean(z ^ 2)
train t on d {
    batch 4; epochs 1
    optimize m with sgd(lr = 0.1)
    step (image, label) {
        let z = m(image)
        let loss = cross_entropy(z, label)
        for k in 0..2 { loss = loss + mean(z) * k }
        minimize loss
        minimize both(z, label) - 0.5 * sum(z)
    }
}
END
"$KDC" cost "$work/names.kd" --json >"$work/names.json"
equal 'a loop adds up its terms; a fn is one' \
    'cross_entropy(z, label)@9 mean(z) * k@10 mean(z) * k #2@10 both(z, label)@12 0.5 * sum(z)@12 ' \
    "$(sed -n 's/.*{"term": "\([^"]*\)".*"line": \([0-9]*\).*/\1@\2/p' "$work/names.json" | tr '\n' ' ')"

# ---- stage by stage, ResNet-34 to ResNet-18 ---------------------------------------------------------

cat >"$work/sskd.kd" <<'END'
use std.nets
use std.schedules
data images = cifar100("nowhere") { fields image: f32[3, 32, 32], label: i32; count 1024; classes 100 }
model teacher = resnet(blocks = [3, 4, 6, 3], classes = images.classes)
model student = resnet(blocks = [2, 2, 2, 2], classes = images.classes)
fn l2(s, t) = mean((s - t) ^ 2)
train sskd on images {
    batch 128
    freeze teacher
    for k in 0..4 {
        phase mimic[k] {
            epochs 40
            optimize student.sections[k] with sgd(lr = cosine(0.1), momentum = 0.9, weight_decay = 5e-4)
            step (image) { minimize l2(student(image)[k], teacher(image)[k]) }
        }
    }
    phase head {
        epochs 20
        optimize student.sections[4] with sgd(lr = cosine(0.1), momentum = 0.9)
        step (image, label) { minimize cross_entropy(student(image), label) }
    }
}
train at_once on images {
    batch 128; epochs 40
    freeze teacher
    optimize student.sections[0], student.sections[1], student.sections[2], student.sections[3]
        with sgd(lr = cosine(0.1), momentum = 0.9, weight_decay = 5e-4)
    step (image) {
        let s = student(image)
        let t = teacher(image)
        minimize sum([l2(s[k], t[k]) for k in 0..4])
    }
}
deploy student
END
cost sskd
flops() { echo $(($(work sskd "$1" 3) + $(work sskd "$1" 4) + $(work sskd "$1" 5))); }
first=$(flops 'sskd.mimic[0].step0') all=$(flops at_once.step0)
holds 'the first stage costs less than 40 % of all at once' "100 * $first < 40 * $all"
# Forward to layer1 of both, as tests/end_to_end/network_costs.sh has it; backward the student's without its image.
stem=$((64 * 3 * 9 * 32 * 32)) layer1_student=152764416 layer1_teacher=228261888
equal 'nothing runs past section 0' $((128 * (layer1_student + layer1_teacher))) "$(work sskd 'sskd.mimic[0].step0' 1)"
equal 'backward of section 0' $((128 * (2 * layer1_student - stem))) "$(work sskd 'sskd.mimic[0].step0' 2)"
# One stage on, the backward pass is that of the second section alone.
section=$((286982144 - layer1_student)) begins=$((128 * 64 * 9 * 16 * 16 + 128 * 64 * 16 * 16))
equal 'no gradient of what stands before section 1' $((128 * (2 * section - begins))) "$(work sskd 'sskd.mimic[1].step0' 2)"
# A frozen prefix keeps nothing: the later the section, the less.
holds 'the head keeps next to nothing' "$(kernels sskd sskd.head.step0 5) < 128 * (512 + 100 + 8) * 4"
for k in 1 2 3; do
    holds "section $k keeps less than section $((k - 1))" \
        "$(kernels sskd "sskd.mimic[$k].step0" 5) < $(kernels sskd "sskd.mimic[$((k - 1))].step0" 5)"
done
holds 'what is kept of section 3 is smaller than one activation of section 0' \
    "$(kernels sskd 'sskd.mimic[3].step0' 5) < 2 * 128 * 64 * 32 * 32 * 4"
equal 'the head phase trains the head' $((512 * 100 + 100)) "$(phase sskd sskd.head 1)"
equal 'and has no teacher' 11168832 "$(phase sskd sskd.head 2)"

# ---- the two forms agree; what is asked for wrongly -----------------------------------------------------

"$KDC" cost "$work/terms.kd" --json >"$work/terms.json"
line=$(grep '"term": "cd"' "$work/terms.json")
number() { sed -n "s/.*\"$1\": {\"macs\": \([0-9-]*\), \"flops\": \([0-9-]*\), \"kernels\": \([0-9-]*\)}.*/\\$2/p" <<<"$line"; }
equal 'JSON: forward MACs of cd' "$(work terms 'distill.step0 cd' 1)" "$(number forward 1)"
equal 'JSON: backward FLOPs of cd' "$(work terms 'distill.step0 cd' 4)" "$(number backward 2)"
equal 'JSON: update kernels of cd' "$(kernels terms 'distill.step0 cd' 3)" "$(number update 3)"
equal 'JSON: opened and closed' "$(tr -cd '{[' <"$work/terms.json" | wc -c)" "$(tr -cd '}]' <"$work/terms.json" | wc -c)"
equal 'single passes' 'kdc: cost runs all passes; `--without` leaves single ones out' \
    "$("$KDC" cost "$work/terms.kd" --passes=cse 2>&1)"

finish
