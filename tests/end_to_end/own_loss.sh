#!/bin/bash
# A user's own loss, connector and network work as the library's do (examples/own_loss.kd).
. "$(dirname "$0")/parts/cases.sh"

"$parts/make_dots" dots 96 48
cp "$root"/examples/own_*.kd .
check 'it trains' "$KDC" run own_loss.kd -D folder="$work/dots" -D batch=24 -- --epochs 2 --quiet --out own
check 'and reports' grep -q '"train_moments"' own/metrics.jsonl
check 'its student has nothing of the connector' test -z "$(grep -ao 'connect[.0-9]*' own/student.safetensors)"
check 'but the network' test -n "$(grep -ao '"conv3.weight"' own/student.safetensors)"
check 'gradients reach the connector' grep -q 'distill[.]connect' <("$KDC" cost own_loss.kd -D folder="$work/dots")

# The same loss, connector and network once of the library and once of a file beside the program: the same numbers.
cat >mine.kd <<'KD'
fn kd(s: [N, K], t: [N, K], T = 4.0) {
    let log_s = log_softmax(s / T, axis = 1)
    let log_t = log_softmax(stop_gradient(t) / T, axis = 1)
    return T ^ 2 * mean(sum(exp(log_t) * (log_t - log_s), axes = [1]))
}
fn channel_loss(s: [N, C, H, W], t: [N, C, H2, W2]) =
    mean((mean(s, axes = [2, 3]) - mean(stop_gradient(t), axes = [2, 3])) ^ 2)
net connector(x: [N, C, H, W], channels) {
    return x |> conv(channels, 1, init = torch_default) as conv |> batch_norm as bn |> relu
}
KD
cat >library.kd <<'KD'
use std.distill
use "own_parts.kd"
data dots = idx("dots")
model teacher = plain_net(widths = [8, 16], classes = dots.classes)
model student = plain_net(widths = [4, 8], classes = dots.classes)
train distill on dots {
    batch 24; epochs 2
    optimize student with sgd(lr = 0.1)
    step (image, label) {
        let s, t = [student(image), teacher(image)]
        let soft = kd(s, t, T = 3)
        let cd = channel_loss(connector(s[0], channels = 8) as connect, t[0])
        minimize cross_entropy(s, label) + soft + cd
        report soft, cd
    }
    eval (image, label) { report top1 = accuracy(student(image), label) }
}
deploy student
KD
sed 's/^use std.distill/use "mine.kd"/' library.kd >own.kd
for name in library own; do
    check "$name runs" "$KDC" run $name.kd -- --quiet --out run_$name
    "$KDC" $name.kd --emit=ir | grep -c '^  kernel ' >kernels_$name
done
check 'the same metrics' cmp run_library/metrics.csv run_own/metrics.csv
check 'the same weights' cmp run_library/student.safetensors run_own/student.safetensors
check 'as many kernels' cmp kernels_library kernels_own
# A program's own names hide those of the modules that it uses.
{ sed -n 1,2p library.kd; cat mine.kd; sed 1,2d library.kd; } >inside.kd
check 'in the program itself' "$KDC" run inside.kd -- --quiet --out run_inside
check 'the same again' cmp run_library/metrics.csv run_inside/metrics.csv
finish
