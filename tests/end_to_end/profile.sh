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
    for table in "by class" "by kind" "by direction"; do
        check "$graph: $table" adds_up "$graph" "$table"
    done
done
check "distill.step0: by loss terms" adds_up distill.step0 "by loss terms"
named() { [[ $(rows "$@" | awk 'sub(/.* %  /, "")' | sort) == "$names" ]]; }
names=$'convolution and matmul\neverything else'
check "two classes" named distill.step0 "by class"
names=$'by input\nby weight\nforward\nupdate'
check "four directions" named distill.step0 "by direction"
check "largest first" sh -c 'sort -c -s -r -n -k3,3' < <(rows distill.step0 | grep -v '  (less than 0.1 % each)')

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
