#!/bin/bash
# What an evaluation keeps from batch to batch and works out at its end; and `keep_best`, which goes by it: the best
# epoch's parameters are those that the next phase and the deployment see, in a run that was killed too.
. "$(dirname "$0")/parts/cases.sh"
"$parts/make_dots" dots 300 100

cat >all.kd <<'END_OF_PROGRAM'
data dots = idx("dots") { holdout 50 }
net small(x, classes) { return flatten(x) |> linear(classes) as fc }
model m = small(classes = dots.classes)
train t on dots {
    batch  64
    epochs 3
    optimize m with sgd(lr = 0.3)
    step (image, label) { minimize cross_entropy(m(image), label) }
    eval (image, label, index) {
        let z = m(image)
        let scores = state([dots.test.count])
        let truth  = state([dots.test.count])
        let seen   = state([], init = 7)
        scores <- put(scores, index, reshape(slice(z, axis = 1, range = 0..1), [z.batch]))
        truth  <- put(truth, index, f32(label == 0))
        seen   <- seen + z.batch
        report top1 = accuracy(z, label), share = mean(f32(label == 0))
        for twice in 0..2 {
            finish { report "seen{twice}" = seen, "share_again{twice}" = mean(truth) }
        }
        finish { report auc = area_under_roc(scores, truth), constant = 3, grown = mean(m.fc.weight ^ 2) }
    }
    eval (image, label) on dots.validation {
        let right = state([])
        right <- right + sum(f32(argmax(m(image), axis = 1) == label))
        finish { report top1_again = right / dots.validation.count }
        report top1 = accuracy(m(image), label)
    }
    eval (image) on dots.train {
        let seen = state([])                                            # another evaluation's, of the same name
        seen <- seen + image.batch
        finish { report seen }
    }
}
deploy m
END_OF_PROGRAM

# column NAME FILE: the values of a column of the metrics.
column() {
    awk -F, -v name="$1" 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == name) at = i; next } { print $at }' "$2"
}
all() {
    [[ $(column "$1" out/metrics.csv | sort -u) == "$2" ]]
}
near() {
    paste <(column "$1" out/metrics.csv) <(column "$2" out/metrics.csv) |
        awk '{ if (($1 - $2) ^ 2 > 1e-10) exit 1; n++ } END { exit n != 3 }'
}
check "it compiles" "$KDC" all.kd -o all
check "it runs" ./all --quiet --out out --threads 1
check "states begin anew in each evaluation, and meet each example once" all test_seen0 107
check "in a loop there are several finishes" all test_seen1 107
check "states of two evaluations are two" all eval_seen 250
check "a mean over the examples, by put and index" near test_share test_share_again0
check "another part, with its smaller last batch" near validation_top1 validation_top1_again
check "a constant" all test_constant 3
check "what finish sees of a model is trained" \
    bash -c '[[ $(cut -d, -f "$1" out/metrics.csv | sort -u | wc -l) == 4 ]]' - \
    "$(head -1 out/metrics.csv | tr , '\n' | grep -n grown | cut -d: -f1)"
check "two threads" ./all --quiet --out out2 --threads 2
check "the same bits" same_run out out2
check "the JIT" "$KDC" run all.kd -- --quiet --out out3 --threads 1
check "the same metrics" cmp out/metrics.csv out3/metrics.csv
check "-O0" "$KDC" run -O0 all.kd -- --quiet --out out4 --threads 1
check "every example there too" bash -c '[[ $(grep -c ",107," out4/metrics.csv) == 3 ]]'

# ---- keep_best --------------------------------------------------------------------------------------

cat >best.kd <<'END_OF_PROGRAM'
option rate = 6.0 "so large that one epoch is better, the next worse"
param settings = "top1"
data dots = idx("dots") { augment random_crop(pad = 2) }
net small(x, classes) { return flatten(x) |> linear(24) as hidden |> batch_norm as bn |> relu |> linear(classes) as fc }
model m     = small(classes = dots.classes)
model other = small(classes = dots.classes)
train t on dots {
    batch 32
    if settings == "top1" { keep_best "top1" }
    if settings == "patience" { keep_best "top1", patience = 2 }
    if settings == "lowest" { keep_best "ce", lowest = true, patience = 3 }
    if settings == "step" { keep_best "step_ce", lowest = true }
    if settings == "finish" { keep_best "worst", lowest = 1 + 1 == 2 }
    phase search {
        epochs 12
        optimize m with sgd(lr = where(epoch < 9, rate, 40.0), momentum = 0.9) # the last epochs are never the best
        step (image, label) {
            let ce = cross_entropy(m(image), label)
            minimize ce
            report step_ce = ce
        }
    }
    phase after {
        epochs 1
        keep_best none
        optimize other with sgd(lr = 0.1)
        step (image, label) { minimize kd_like(other(image), m(image)) }
    }
    eval (image, label, index) {
        let z = m(image)
        let bad = state([100])
        bad <- put(bad, index, f32(argmax(z, axis = 1) != label))
        report top1 = accuracy(z, label), ce = cross_entropy(z, label)
        finish { report worst = sum(bad) }
    }
}
fn kd_like(s, t) = mean((s - stop_gradient(t)) ^ 2)
deploy m
END_OF_PROGRAM
check "it compiles, by patience" "$KDC" best.kd -D settings=patience -o patience
check "it compiles, by the lowest" "$KDC" best.kd -D settings=lowest -o lowest
check "it compiles, by a step's report" "$KDC" best.kd -D settings=step -o step
check "it compiles, by a finish" "$KDC" best.kd -D settings=finish -o finish
check "it compiles, without" "$KDC" best.kd -D settings=none -o none

# best_epoch SIGN COLUMN FILE: the first epoch, from 1, with the largest SIGN * value of the phase `search`.
best_epoch() {
    paste -d, <(column phase "$3") <(column "$2" "$3") |
        awk -F, -v sign="$1" '$1 == "t.search" { n++; if (n == 1 || sign * $2 > best) { best = sign * $2; at = n } } END { print at }'
}
rows() {
    grep -c '^t.search,' "$1/metrics.csv"
}
# keeps BINARY SIGN COLUMN: what it leaves is what a run that ends with the best epoch leaves, without keep_best.
keeps() {
    ./"$1" --quiet --out "of_$1" --threads 1 || return
    local epoch
    epoch=$(best_epoch "$2" "$3" "of_$1/metrics.csv")
    echo "best epoch: $epoch of $(rows "of_$1")"
    [[ $epoch -lt $(rows "of_$1") ]] || return # else it would show nothing
    ./none --quiet --only t.search --epochs "$epoch" --out "as_$1" --threads 1 &&
        cmp "of_$1/m.safetensors" "as_$1/m.safetensors"
}
check "the parameters of the best epoch remain, by patience" keeps patience 1 test_top1
check "by the lowest" keeps lowest -1 test_ce
check "by a step's report" keeps step -1 train_step_ce
check "by a finish" keeps finish -1 test_worst
ends_early() {
    local epoch
    epoch=$(best_epoch "$3" "$4" "of_$1/metrics.csv")
    [[ $(rows "of_$1") == $((epoch + $2)) || $(rows "of_$1") == 12 ]]
}
check "it ends after the epochs of its patience" ends_early patience 2 1 test_top1
check "the lowest too" ends_early lowest 3 -1 test_ce
check "early, in one of them" bash -c '[[ $(grep -c ^t.search of_patience/metrics.csv) -lt 12 ]]'
next_phase_sees() {
    paste -d, <(column phase of_patience/metrics.csv) <(column test_top1 of_patience/metrics.csv) | sort -t, -k2 -g -s |
        awk -F, '$1 == "t.after" { after = $2 } $1 == "t.search" { best = $2 } END { exit after == "" || after != best }'
}
check "the next phase begins with them" next_phase_sees
./patience --out shown --threads 1 >shown.txt
report_is_of_the_best() {
    local best
    best=$(paste -d, <(column phase shown/metrics.csv) <(column test_top1 shown/metrics.csv) |
        awk -F, '$1 == "t.search" && $2 > best { best = $2 } END { printf "%g\n", best }')
    grep -A9 '^results' shown.txt | grep -q "t.search .*test_top1 $best "
}
check "and the report shows their numbers" report_is_of_the_best

for point in 7 31 55; do
    { KDC_FAULT=crash:$point ./patience --quiet --out "killed$point" --threads 1 --save-every 4; } 2>/dev/null
    check "resumed after operation $point" ./patience --quiet --out "killed$point" --threads 1 --resume
    check "and it ends with the same bits, operation $point" same_run of_patience "killed$point"
done
finish
