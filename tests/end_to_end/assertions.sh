#!/bin/bash
# `assert` of what is known at run time only: it ends the run, says where, and leaves the checkpoint before it.
. "$(dirname "$0")/parts/cases.sh"
"$parts/make_dots" dots 300 100

cat >all.kd <<'END_OF_PROGRAM'
option most  = 100.0
option after = 1000
option in_net = 0.0
option seen = 100
data dots = idx("dots")
fn checked(x, most) {
    assert x < most, "the loss is below its bound"
    return x
}
net small(x, classes) {
    assert max(x) >= in_net
    return flatten(x) |> linear(classes) as fc
}
model m = small(classes = dots.classes)
model n = small(classes = dots.classes)
split m at fc
train t on dots {
    batch  64
    epochs 3
    optimize m, n with sgd(lr = 0.1)
    step (image, label) {
        let z = m(image)
        let ce = checked(cross_entropy(z, label), most)
        assert iteration < after, "no more than {1 + 1} epochs"
        assert abs(z) < 1e6
        for k in 0..2 { assert ce == ce, "no NaN" }
        minimize ce + cross_entropy(n(image), label)
        report ce
    }
    eval (image, label) {
        let count = state([])
        count <- count + image.batch
        report top1 = accuracy(m(image), label)
        finish { assert count == seen, "each example once"; report count }
    }
}
deploy m
END_OF_PROGRAM
check "it compiles" "$KDC" all.kd -o all
check "it runs where all hold" ./all --quiet --threads 1 --out good
check "one in a function" \
    ends 1 './all: all.kd:7:12: the loss is below its bound (t, epoch 1, batch 1)' ./all --quiet --threads 1 --out one --most 0.1
check "one in a net" \
    ends 1 './all: all.kd:11:12: the assertion does not hold (t, epoch 1, batch 1)' ./all --quiet --threads 1 --out two --in_net 2
check "one in a finish" \
    ends 1 './all: all.kd:34:25: each example once (t, epoch 1, evaluation 1)' ./all --quiet --threads 1 --out three --seen 99
check "one in the third epoch" \
    ends 1 './all: all.kd:24:16: no more than 2 epochs (t, epoch 3, batch 2)' ./all --quiet --threads 1 --out four --after 11
check "what was done before it is resumed" ./all --quiet --threads 1 --out four --resume --after 1000
check "to the same bits as without it" cmp good/m.safetensors four/m.safetensors
finish
