#!/bin/bash
# `minimize … combine`: one step by gradient descent from 0 with a rate of 1, so that what a parameter becomes is
# minus its gradient, which is worked out by hand. The losses are linear, or squares at 0, whose gradient is 0.
. "$(dirname "$0")/parts/cases.sh"
"$parts/make_dots" dots 32 16
cat >combine.kd <<'KD'
use std.distill

data dots = idx("dots")

net free(shape) {
    let value = parameter(shape, init = 0)
    return value
}

fn pair(x, y) = concat([full([1], x), full([1], y)])
fn along(p, x, y) = sum(p * pair(x, y))
fn twice(g, rest) = 2 * rest + g
fn less(g, rest, times) = rest - times * g
fn tenfold(g, rest) = 10 * g

model ordered = free(shape = [2])
model looped = free(shape = [2])
model ruled = free(shape = [2])
model long = free(shape = [2])
model short = free(shape = [2])
model reached = free(shape = [2])
model missed = free(shape = [2])
model included = free(shape = [2])
model left_out = free(shape = [2])
model no_rest = free(shape = [2])
model no_own = free(shape = [2])
model nothing = free(shape = [2])
model weighed = free(shape = [2])
model idle = free(shape = [2])

train t on dots {
    batch 32
    epochs 1
    optimize ordered, looped, ruled, long, short, reached, missed, included, left_out, no_rest,
             no_own, nothing, weighed, idle with sgd(lr = 1)
    step (image, label) {
        # the plain ones come first, wherever they stand
        minimize along(ordered(), 1, 0) combine twice
        minimize along(ordered(), 3, 4)
        minimize along(ordered(), 0, 1) combine less(times = 3)

        # of no plain one the rest is 0
        for k in 0..3 {
            minimize along(looped(), k + 1, 1) combine twice
        }
        minimize along(ruled(), 1, 1)
        for rule, k in zip([twice, tenfold, less(times = 4)], 1..4) {
            minimize along(ruled(), k, 0) combine rule
        }

        # each tensor by its own norms
        minimize along(long(), 3, 4) + along(short(), 0, 1)
        minimize along(long(), 6, 8) + along(short(), 0, 0.5) combine clip_to

        # what a term does not reach keeps its gradient
        minimize along(reached(), 1, 2) + along(missed(), 3, 4)
        minimize along(reached(), 1, 1) combine tenfold
        minimize along(included(), 1, 2) + along(left_out(), 3, 4)
        minimize along(included(), 1, 1) + along(left_out(), 1, 1) over included combine tenfold

        # norms of 0
        minimize sum(no_rest() ^ 2) + along(no_own(), 3, 4) + sum(nothing() ^ 2)
                 + along(weighed(), 6, 8)
        minimize along(no_rest(), 1, 1) + sum(no_own() ^ 2)
                 + sum(nothing() ^ 2) combine clip_to(scale = 2)
        minimize sum(weighed() ^ 2) + sum(idle() ^ 2) combine sigmoid_tau
    }
    eval (image, label) {
        for name, p in zip(["ordered", "looped", "ruled", "long", "short", "reached", "missed",
                            "included", "left_out", "no_rest", "no_own", "nothing", "weighed",
                            "idle"],
                           [ordered, looped, ruled, long, short, reached, missed, included,
                            left_out, no_rest, no_own, nothing, weighed, idle]) {
            report "{name}0" = -along(p(), 1, 0), "{name}1" = -along(p(), 0, 1)
        }
    }
}
KD

# is NAME X Y: a parameter's gradient.
is() {
    awk -F, -v name="$1" -v x="$2" -v y="$3" '
        NR == 1 { for (i = 1; i <= NF; i++) { if ($i ~ name "0$") at = i; if ($i ~ name "1$") to = i } }
        END { print $at, $to; exit !(at && to && $at == x && $to == y) }' run/metrics.csv
}

check "it trains" "$KDC" run --dtype f64 combine.kd -- --quiet --out run
check "several, in order" is ordered 7 5
check "in a loop" is looped 11 7
check "by a list of rules" is ruled 8 0
check "clipped" is long 6 8
check "not clipped beside it" is short 0 1.5
check "what a term reaches" is reached 10 10
check "what it does not reach" is missed 3 4
check "what it is restricted to" is included 10 10
check "what it could reach" is left_out 3 4
check "no rest" is no_rest 0 0
check "no gradient" is no_own 3 4
check "neither" is nothing 0 0
check "weighed by sigmoid_tau" is weighed 6 8
check "with norms of 0" is idle 0 0
finish
