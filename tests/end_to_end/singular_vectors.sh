#!/bin/bash
# MHGD and KD-SVD, small: singular vectors, attention and `combine` give the same bits by the JIT, as a native binary,
# and by 1 and 2 threads, and move what they should.
. "$(dirname "$0")/parts/cases.sh"
"$parts/make_dots" dots 96 32

cat >nets.kd <<'KD'
use std.nets
use std.distill

net small(x: [N, C, H, W], width, classes) {
    tap one = x |> conv(8, kernel = 3) as conv1 |> batch_norm as bn1 |> relu
    tap two = one |> conv(width, kernel = 3, stride = 2) as conv2 |> batch_norm as bn2 |> relu
    tap three = two |> conv(8, kernel = 3) as conv3 |> batch_norm as bn3
    return relu(three) |> global_average_pool |> linear(classes) as fc
}
KD

cat >mhgd.kd <<'KD'
use std.distill
use "nets.kd"

data dots = idx("dots")

model teacher = small(width = 12, classes = dots.classes)
model student = small(width = 12, classes = dots.classes)

train mhgd on dots {
    batch 32
    freeze teacher
    model edges = [attention(heads = 2) for m in 0..2]

    phase graph {
        epochs 2
        optimize edges with sgd(lr = 0.1, momentum = 0.9, nesterov = true, weight_decay = 1e-3)
        step (image) {
            let t = teacher(image)
            let taps = [t.one, t.two, t.three]
            let v = [reshape(right_singular(pixels(map), count = 1), [map.batch, map.channels])
                     for map in taps]
            for m, edge in enumerate(edges) {
                let guess = guess_loss(edge(v[m], v[m + 1]), v[m + 1])
                minimize guess
                report "guess{m}" = guess
            }
        }
    }

    phase transfer {
        epochs 2
        optimize student with sgd(lr = 0.05, momentum = 0.9, nesterov = true, weight_decay = 5e-4)
        step (image, label) {
            let s = student(image)
            let t = teacher(image)
            let v = [aligned_singular_vectors(a, b)
                     for a, b in zip([s.one, s.two, s.three], [t.one, t.two, t.three])]
            let transfer = sum([graph_loss(edge(v[m][0], v[m + 1][0]).scores,
                                           edge(v[m][1], v[m + 1][1]).scores)
                                for m, edge in enumerate(edges)])
            minimize cross_entropy(s, label)
            minimize transfer combine clip_to(scale = sigmoid(epoch))
            report transfer
        }
        eval (image, label) { report top1 = accuracy(student(image), label) }
    }
}

deploy student
KD

cat >kd_svd.kd <<'KD'
use std.distill
use "nets.kd"

param count = 1

data dots = idx("dots")

model teacher = small(width = 8, classes = dots.classes)
model student = small(width = 8, classes = dots.classes)

train svd on dots {
    batch 32
    epochs 2
    freeze teacher
    optimize student with sgd(lr = 0.05, momentum = 0.9)
    step (image, label) {
        let s = student(image)
        let t = teacher(image)
        let transfer = kd_svd([s.one, s.two, s.three], [t.one, t.two, t.three], count)
        minimize cross_entropy(s, label)
        minimize transfer combine clip_to
        report transfer
    }
    eval (image, label) { report top1 = accuracy(student(image), label) }
}

deploy student
KD

# all_ways NAME ARGUMENTS ...
all_ways() {
    local name=$1 threads
    shift
    check "$name compiles" "$KDC" "$@" -o "$name"
    for threads in 1 2; do
        check "$name trains by $threads" "./$name" --quiet --out "$name.$threads" --threads "$threads"
    done
    check "$name: the same by threads" same_run "$name.1" "$name.2"
    check "$name by the JIT" "$KDC" run "$@" -- --quiet --out "$name.jit" --threads 1
    check "$name: the same by the JIT" same_run "$name.1" "$name.jit"
    check "$name is finite" ends 1 '' grep -Ei 'nan|inf' "$name.1/metrics.csv"
}

# falls FILE COLUMN: from its first value to its last.
falls() {
    awk -F, -v name="$2" '
        NR == 1 { for (i = 1; i <= NF; i++) if ($i ~ name "$") at = i; next }
        $at != "" { if (!n++) first = $at; last = $at }
        END { print first, last; exit !(n > 1 && last > 0 && last < first) }' "$1"
}

all_ways mhgd mhgd.kd
for column in guess0 guess1 transfer; do
    check "$column falls" falls mhgd.1/metrics.csv "$column"
done
all_ways kd_svd kd_svd.kd
check "the relation comes nearer" falls kd_svd.1/metrics.csv transfer
all_ways several kd_svd.kd -D count=2
check "that of two vectors, too" falls several.1/metrics.csv transfer
check "edges are no part of what is deployed" ends 1 '' grep -ao 'edges[.0-9]*' mhgd.1/student.safetensors

# A library of a model that decomposes links without libm.
cat >deployed.kd <<'KD'
use std.distill
use "nets.kd"

net directions(x: [N, C, H, W], classes) {
    let maps = x |> conv(8, kernel = 3, stride = 2) as conv1
    return reshape(right_singular(pixels(maps), count = 2), [x.batch, 16]) |> linear(classes) as fc
}

data dots = idx("dots")

model student = directions(classes = dots.classes)

train t on dots {
    batch 32
    epochs 1
    optimize student with sgd(lr = 0.1)
    step (image, label) { minimize cross_entropy(student(image), label) }
}

deploy student
KD
check "it trains" "$KDC" run deployed.kd -- --quiet --out deployed --threads 1
check "it is deployed" "$KDC" deployed.kd --deploy student -o deployed.so --weights deployed
finish
