#!/bin/bash
# `accumulate`: several small batches are one large one, to rounding; what is done at an update and what with each batch;
# interruptions between two updates.
. "$(dirname "$0")/parts/cases.sh"
"$parts/make_dots" dots 300 100
cp "$parts/gathered.kd" .

check "batches of 32 compile" "$KDC" --dtype f64 gathered.kd -o whole
check "batches of 32 train" ./whole --quiet --out whole.d --threads 1
check "four of 8 compile" "$KDC" --dtype f64 -D size=8 -D group=4 gathered.kd -o parts
check "four of 8 train" ./parts --quiet --out parts.d --threads 1
check "both compute the same" agree whole.d parts.d
check "batches of 8 compile" "$KDC" --dtype f64 -D size=8 gathered.kd -o small
check "batches of 8 train" ./small --quiet --out small.d --threads 1
apart() { ! agree whole.d small.d; }
check "batches of 8 alone do not" apart
for threads in 2 3; do
    check "$threads threads train" ./parts --quiet --out "parts.$threads" --threads "$threads"
    check "$threads threads give the same" same_run parts.d "parts.$threads"
done
check "the JIT runs it" "$KDC" run --dtype f64 -D size=8 -D group=4 gathered.kd -- --quiet --out jit --threads 1
check "the JIT gives the same" same_run parts.d jit
check "the REPL steps" ends 0 '*train_share*' sh -c "printf ':load gathered.kd\n:step 2\n' | '$KDC' repl"

# With --save-every 1 some of these fall between two updates.
for point in 130 260 390 2300; do
    { KDC_FAULT=crash:$point ./parts --quiet --out "parts.$point" --threads 1 --save-every 1; } 2>/dev/null
    check "resumed after operation $point" ends 0 '*going on at distill*' \
        sh -c "./parts --out parts.$point --threads 1 --resume | tee resumed.$point"
    check "and it ends with the same bits, operation $point" same_run parts.d "parts.$point"
done
between=$(sed -n 's/.*going on at distill, .*, batch //p' resumed.* | awk '$1 % 4 > 0' | wc -l)
check "some of them between two updates" test "$between" -ge 2
check "another number compiles" "$KDC" --dtype f64 -D size=8 -D group=3 gathered.kd -o thirds
check "another number does not go on with it" ends 2 '*parts.130*' ./thirds --out parts.130 --resume

# What counts: an update adds 1 to `p`, a batch to `batches`. 300 examples are 10 batches of at most 32.
cat >counts.kd <<'KD'
data dots = idx("dots")

net counting(x: [N, ...]) {
    let p = parameter([1], init = 0)
    let batches = state([1])
    batches <- batches + 1
    return p
}

model m = counting()
model follower = like(m)
model copied = like(m)
model written = like(m)

train counts on dots {
    batch 32
    epochs 2
    accumulate 4
    freeze copied
    optimize m with sgd(lr = 1)
    step (image, label) {
        let seen = state([1])
        minimize -sum(m(image))
        when iteration >= 2 { follower <- follower + 1 }
        seen <- seen + 1
        report iteration, seen = sum(seen), written = sum(written(image))
        written.p <- written.p + 1
    }
    eval (image, label) {
        report p = sum(m.p), batches = sum(m.batches), follower = sum(follower.p)
        report copied = sum(copied(image)), written = sum(written(image)), iteration
    }
    phase four { }                      # 4 + 4 + 2 batches
    phase one { accumulate 1 }
    phase whole { accumulate 100 }
    phase dropped { drop_last }         # 4 + 4 + 1
    phase nothing { epochs 0 }
}
KD
check "it counts" "$KDC" run counts.kd -- --quiet --out counts --threads 1
# counts FOLDER PHASE COLUMN: a value for each epoch.
counts() {
    awk -F, -v phase="counts.$2" -v name="$3" '
        NR == 1 { for (i = 1; i <= NF; i++) if ($i == name) at = i }
        $1 == phase { printf "%s%s", separator, $at; separator = " " }' "$1/metrics.csv"
}
equal "updates" "3 6" "$(counts counts four test_p)"
equal "batches" "10 20" "$(counts counts four test_batches)"
equal "in a phase without" "16 26" "$(counts counts one test_p)"
equal "of a whole epoch" "27 28" "$(counts counts whole test_p)"
equal "without the last batch" "31 34" "$(counts counts dropped test_p)"
equal "what follows" "1 4" "$(counts counts four test_follower)"
equal "what follows in a phase without" "12 22" "$(counts counts one test_follower)"
equal "a parameter that is written" "3 6" "$(counts counts four test_written)"
equal "iterations at the end" "3 6" "$(counts counts four test_iteration)"
equal "iterations on the way" "0.72 3.72" "$(counts counts four train_iteration)"
equal "a state of the step" "5.2 15.2" "$(counts counts four train_seen)"
check "--only" "$KDC" run counts.kd -- --quiet --out only --only counts.dropped
equal "--only counts alike" "3 6" "$(counts only dropped test_p)"

# Costs: the graph that gathers has no update rule, and each way through the `when`s is two.
"$KDC" cost -D size=8 -D group=4 gathered.kd >cost
check "the condition is told" grep -qE '^distill\.step0 +1 +accumulate group: the last batch of an update$' cost
equal "ways" 12 "$(sed '/^kernels/,$d' cost | grep -c '^distill.step0\[[01]')"
equal "the same parameters" "$("$KDC" cost gathered.kd | grep -E '^distill +[0-9]' | awk '{ print $2, $3, $4 }')" \
    "$(grep -E '^distill +[0-9]' cost | awk '{ print $2, $3, $4 }')"
finish
