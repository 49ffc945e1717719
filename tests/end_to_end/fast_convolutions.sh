#!/bin/bash
# 3x3 convolutions with fewer products (--math fast, the default): the same bits for any number of threads and from
# the JIT; --math strict leaves them out, and the two agree.
. "$(dirname "$0")/parts/cases.sh"
"$parts/make_cifar100" images 48 16
cat >net.kd <<'KD'
data set = cifar100("images") { normalize mean = [0.5, 0.5, 0.5], std = [0.25, 0.25, 0.25] }
net wide(x, classes) {
    let y = x |> conv(32, 3, stride = 2) as a |> batch_norm as bn1 |> relu
              |> conv(128, 3, stride = 2) as b |> batch_norm as bn2 |> relu
              |> conv(128, 3) as c |> batch_norm as bn3 |> relu
              |> conv(128, 3, groups = 4) as d |> batch_norm as bn4 |> relu
    return y |> global_average_pool |> linear(classes) as fc
}
model net1 = wide(classes = set.classes)
train go on set {
    batch 16
    epochs 1
    optimize net1 with sgd(lr = 0.01, momentum = 0.9)
    step (image, label) {
        let loss = cross_entropy(net1(image), label)
        minimize loss
        report loss
    }
}
deploy net1
KD

# uses MATH: how many of its nodes are transforms or products of that kind.
uses() { "$KDC" net.kd --math "$1" --emit=ir | grep -c '= winograd'; }
check 'fast uses them in all three directions' test "$(uses fast)" -ge 6
check 'of groups too' test "$("$KDC" net.kd --emit=ir | grep -c '= winograd.*groups=4')" -ge 3
equal 'strict does not' 0 "$(uses strict)"

check 'fast compiles' "$KDC" net.kd -o fast
check 'strict compiles' "$KDC" net.kd --math=strict -o strict
check 'fast trains' ./fast --quiet --threads 1 --out one
for threads in 2 3; do
    check "$threads threads train" ./fast --quiet --threads "$threads" --out "t$threads"
    check "$threads threads give the same" same_run one "t$threads"
done
check 'the JIT runs it' "$KDC" run net.kd -- --quiet --threads 2 --out jit
check 'the JIT gives the same' same_run one jit
check 'strict trains' ./strict --quiet --threads 1 --out exact
different() { ! cmp -s one/net1.safetensors exact/net1.safetensors; }
check 'it rounds otherwise' different
check 'and agrees' awk -F, 'FNR == 1 { file++ } { last[file] = $4 }
    END { d = last[1] / last[2] - 1; exit !(last[1] > 0 && d < 1e-5 && d > -1e-5) }' one/metrics.csv exact/metrics.csv
finish
