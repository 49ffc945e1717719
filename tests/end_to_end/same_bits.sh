#!/bin/bash
# One program through the JIT, as a native binary and as a static one, by 1, 2 and 3 threads: the same bits.
. "$(dirname "$0")/parts/cases.sh"
"$parts/make_dots" dots 300 100
cp "$parts/dots.kd" .

check "it compiles" "$KDC" dots.kd -o train
check "it trains" ./train --quiet --out native --threads 1
check "it learns" awk -F, 'END { exit !($5 > 0.8) }' native/metrics.csv
for threads in 2 3; do
    check "$threads threads train" ./train --quiet --out "threads$threads" --threads "$threads"
    check "$threads threads give the same" same_run native "threads$threads"
done
check "the JIT runs it" "$KDC" run dots.kd -- --quiet --out jit --threads 1
check "the JIT gives the same" same_run native jit
check "it links statically" "$KDC" dots.kd --static -o static
check "nothing is linked dynamically" ends 0 '*no program interpreter*' sh -c \
    'readelf -l static | grep -q INTERP || echo no program interpreter'
check "the static binary runs" ./static --quiet --out static.d --threads 1
check "the static binary gives the same" same_run native static.d
check "compiled again, the same program" "$KDC" dots.kd -o again
check "compiled again, the same bytes" cmp train again
check "another seed trains" ./train --quiet --out seed --threads 1 --seed 1
different() { ! cmp -s "$(newest native)" "$(newest seed)"; }
check "another seed gives another result" different

# Other levels add in another order: the results agree, not the bits.
for level in 0 1 3; do
    check "-O$level compiles" "$KDC" "-O$level" dots.kd -o "level$level"
    check "-O$level trains" "./level$level" --quiet --out "level$level.d" --threads 1
    check "-O$level agrees" awk -F, 'FNR == 1 { file++ } { last[file] = $5 }
        END { d = last[1] - last[2]; exit !(d < 0.05 && d > -0.05) }' native/metrics.csv "level$level.d/metrics.csv"
done
finish
