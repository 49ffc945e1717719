#!/bin/bash
# `kdc run --profile`: rows for the kernels of every step and evaluation, named in terms of the program; and the run is
# the same to the bit.
. "$(dirname "$0")/parts/cases.sh"
"$parts/make_dots" dots 300 100
cp "$parts/dots.kd" .

check "it runs" "$KDC" run dots.kd -- --quiet --out plain --threads 1
check "it runs and takes the time" sh -c "'$KDC' run dots.kd --profile -- --quiet --out profiled --threads 1 >profile"
check "the same bits" same_run plain profiled
check "a binary takes the time" "$KDC" dots.kd --profile -o train
check "which it prints" sh -c './train --quiet --out native --threads 2 >native.profile'
check "by two threads the same bits" same_run plain native

has_line() { grep -Eq "$1" "${2:-profile}"; }
check "the machine" has_line '^profile of dots on 1 thread; the limits: [0-9.]+ GFLOP/s of multiply-adds, [0-9.]+ GB/s of copying$'
check "two threads" has_line '^profile of dots on 2 threads' native.profile
for graph in teach.step0 teach.step0.last teach.eval0 teach.eval0.last distill.step0 distill.eval0; do
    check "$graph" has_line "^$graph: [0-9]+ runs?, [0-9.]+ ms each by the median; [0-9]+ launches\$"
done
check "epochs of whole batches" has_line '^distill.step0: 8 runs,'
check "batches by the clock" has_line '^distill: 10 batches, [0-9.]+ ms each by the median, of which it waited [0-9.]+ ms for data$'

# rows GRAPH [TABLE]: the lines of the graph's kernels, or of one of its totals.
rows() {
    awk -v graph="$1:" -v table="${2:-direction  loss terms, kernel, result, module, place}" '
        /^[a-z].*: [0-9]+ runs?,/ { here = $1 == graph }
        here && /^ *share/ { on = substr($0, length($0) - length(table) + 1) == table; next }
        here && on && NF' "${3:-profile}"
}
# Shares add up to a hundred and launches to all of them, in each of the tables.
adds_up() {
    local launches
    launches=$(grep -oP "^$1:.* \K[0-9]+(?= launches)" profile)
    rows "$@" | awk -v launches="$launches" '{ share += $1; calls += $4 }
        END { print share, calls, launches; exit !(share > 97 && share < 103 && calls == launches) }'
}
for graph in teach.step0 teach.eval0 distill.step0 distill.eval0.last; do
    check "$graph: kernels" adds_up "$graph"
    for table in "by class" "by kind"; do
        check "$graph: $table" adds_up "$graph" "$table"
    done
done
for table in "by direction" "by loss terms" "by loss terms and class"; do
    check "distill.step0: $table" adds_up distill.step0 "$table"
done
named() { [[ $(rows "$@" | awk 'sub(/.* %  /, "")' | sort) == "$names" ]]; }
names=$'convolution and matmul\neverything else'
check "two classes" named distill.step0 "by class"
names=$'by input\nby weight\nforward\nupdate'
check "four directions" named distill.step0 "by direction"
check "largest first" sh -c 'sort -c -s -r -n -k3,3' < <(rows distill.step0 | grep -v '  (less than 0.1 % each)')

# ---- what a kernel is ------------------------------------------------------------------------------

line() { grep -n -m 1 -F "$1" dots.kd | cut -d: -f1; }
net=$(line 'as conv |> batch_norm') student=$(line 'let s = student(image)') teacher=$(line 'let t = teacher(image)')
side=$(line 'let cd =') learns=$(line 'optimize student')
std='std/[a-z]*\.kd:[0-9]+'
# A row by its direction, loss terms, kernel, result, module and the end of its place, as regular expressions.
row() { rows distill.step0 | grep -E " %  $1 +$2  +$3  +$4  +$5  +.*$6\$"; }
cd='early_decay\(5\.0\) \* cd' kd='kd\(s, t, T = 4\)'
check "the teacher's convolution, for two terms" row forward "$kd \+ $cd" 'conv2d_[^ ]*' 'f32\[64, 8, [^ ]*( [^ ]*)*' \
    teacher.conv "$std.* < dots.kd:$net < dots.kd:$teacher"
check "its last layer, for one" row forward "$kd" 'einsum[^ ]*' 'f32\[64, 4\]' teacher.fc " < dots.kd:$teacher"
check "the student's convolution, for all" row forward '\(all\)' 'conv2d[^ ]*' 'f32\[64, 4, 8, 8\]' student.conv \
    "$std < dots.kd:$net < dots.kd:$student"
check "its gradient" row 'by weight' '\(all\)' 'conv2d_weight[^ ]*' 'f32\[64, 4, 1, 3, 3\]' student.conv \
    "$std < dots.kd:$net < dots.kd:$student"
check "the update of its batch norm" row update '\(all\)' '[^ ]*write[^ ]*' 'f32\[4\]' student.bn.weight "$std.* < dots.kd:$learns"
check "the connector" row forward "$cd" 'conv2d[^ ]*' 'f32\[.*\][^ ]*' distill.connect.conv "$std < $std < dots.kd:$side"
check "its gradient by the input" row 'by input' "$cd" 'conv2d_input[^ ]*' 'f32\[.*\][^ ]*' distill.connect.conv \
    "$std < $std < dots.kd:$side"
check "and by the weight" row 'by weight' "$cd" 'conv2d_weight[^ ]*' 'f32\[.*\][^ ]*' distill.connect.conv \
    "$std < $std < dots.kd:$side"
check "its update" row update "$cd" '[^ ]*write[^ ]*' 'f32\[8, 4, 1, 1\]' distill.connect.conv.weight "$std.* < dots.kd:$learns"
check "what is only reported is for none" row forward - '[^ ]*report[^ ]*' 'f32\[\]' - 'dots.kd:[0-9]+'
check "connectors apart from the rest of their term" sh -c \
    'grep -qF "cd: convolution and matmul" profile && grep -qF "cd: everything else" profile'

# ---- every kind of step ----------------------------------------------------------------------------

mkdir many && cp -r dots many && cat >many/many.kd <<'END'
use std.metrics
data dots = idx("dots") { normalize mean = [0.25], std = [0.15] }
net part(x, width) { return x |> conv(width, kernel = 3) as conv |> batch_norm as bn |> relu }
net small(x, classes) { return x |> part(4) as a |> part(4) as b |> global_average_pool |> linear(classes) as fc }
model student = small(classes = dots.classes)
model slow    = like(student)
train t on dots {
    batch 64
    epochs 2
    eval (image, label, index) {
        let right = state([dots.test.count])
        right <- put(right, index, f32(argmax(student(image), axis = 1) == label))
        report slow = accuracy(slow(image), label)
        finish { report top1 = mean(right) }
    }
    for k in 0..2 {
        phase stage[k] {
            optimize student with sgd(lr = 0.05, momentum = 0.9)
            step (image, label) {
                let z = student(image)
                when epoch < 1 { minimize cross_entropy(z, label) } else { minimize mean((softmax(z) - 0.25) ^ 2) }
            }
            step () { slow <- 0.9 * slow + 0.1 * student }
        }
    }
    phase gathered {
        accumulate 2
        optimize student with sgd(lr = 0.05)
        step (image, label) { minimize cross_entropy(student(image), label) }
    }
}
deploy slow
END
for how in "" "--profile"; do
    check "many $how" sh -c "cd many && '$KDC' run many.kd --dtype f64 $how -- --threads 1 --quiet --out kept$how >../many.out$how"
done
check "many: the same bits" same_run many/kept many/kept--profile
for graph in 't.stage\[0\].step0\[1\]' 't.stage\[1\].step0\[0\]' 't.stage\[1\].step1' 't.stage\[0\].eval0.last' \
    't.stage\[1\].eval0.finish' 't.gathered.step0\[1\]' 't.gathered.step0\[-\].last'; do
    check "many: $graph" has_line "^$graph: [0-9]+ run" many.out--profile
done
check "many: when it holds" has_line '^t.stage\[0\].step0\[1\]: .* launches; when epoch < 1$' many.out--profile
check "many: when not" has_line '^t.stage\[0\].step0\[0\]: .* launches; when not epoch < 1$' many.out--profile
check "many: one line for what runs twice" grep -qE \
    ' 2 .* forward +cross_entropy.* student\.\*\.bn ' <(rows 't.stage[0].step0[1]' '' many.out--profile)

# ---- a part of the run -----------------------------------------------------------------------------

mkdir part && cp -r dots dots.kd part
check "a part of each phase" sh -c "cd part && '$KDC' run dots.kd --profile=2 -- --threads 1 >../part.profile"
check "two batches of each" has_line '^teach.step0: 2 runs' part.profile
check "and of the second phase" has_line '^distill.step0: 2 runs' part.profile
check "and of evaluations" has_line '^distill.eval0: 1 run,' part.profile
ok "nothing else is said" '[[ $(head -n 1 part.profile) == "" && $(sed -n 2p part.profile) == profile\ of* ]]'
equal "nothing is kept" $'dots\ndots.kd' "$(ls part)"
check "a binary does so too" sh -c 'cd part && ../train --profile 1 --threads 1 >../part.profile'
check "one batch of each" has_line '^distill.step0: 1 run,' part.profile
equal "nothing is kept by it" $'dots\ndots.kd' "$(ls part)"
check "nothing to go on with" ends 1 './train: --profile 1 keeps nothing of the run, so nothing can --resume' \
    ./train --profile 1 --resume
check "without the time" "$KDC" dots.kd -o untimed
check "there is none to print" ends 1 './untimed: --profile: the program was not compiled to take the time; `kdc run --profile` and `kdc --profile -o` do so' \
    ./untimed --profile 1
finish
