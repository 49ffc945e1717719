#!/bin/bash
# Launches that run image by image give the bits of launches that run one after the other, whatever the number of threads.
. "$(dirname "$0")/parts/cases.sh"
"$parts/make_dots" dots 300 100
cp "$parts/chained.kd" .

"$KDC" chained.kd --emit=loops >loops
ok "the step has chains" '(($(grep -c " chained" loops) > 20))'
ok "values in scratch" '(($(grep -c " in scratch+" loops) > 20))'
launches() { awk '/^graph "learn.step0" /{ on = 1 } /^}/{ on = 0 } on && / launch /' "$@" | wc -l; }
"$KDC" chained.kd --emit=loops --unchained >unchained
ok "some made again" '(($(launches loops) > $(launches unchained)))'
ok "none where nothing is chained" '! grep -q -e " chained" -e " in scratch" -e " asking for" unchained'

# What a launch asks for, whole lines of it, is read by a launch of its chain, and not from scratch.
asked() {
    awk 'function judge() { for (a in want) if (!(a in have)) { print "nobody reads " a; bad = 1 } delete want; delete have }
        / launch / && !/ chained/ { judge() }
        / launch / {
            n = split($0, half, " asking for ")
            arguments = half[1]; sub(/^[^(]*\(/, "", arguments); sub(/\).*/, "", arguments)
            m = split(arguments, argument, /, |; /)
            for (i = 1; i <= m; i++) if (argument[i] !~ / in scratch/) have[argument[i]] = 1
            if (n < 2) next
            m = split(half[2], piece, /\)( of the next)?(, )?/)
            for (i = 1; i < m; i++) {
                split(piece[i], at, /\[|, /); want[at[1]] = 1; count++
                if (at[2] % 64 || at[3] <= at[2]) { print "not whole lines: " piece[i]; bad = 1 }
            }
        }
        END { judge(); exit bad || count < 10 }' "$1"
}
check "what is asked for is read" asked loops
# What a chain leaves for later ones is written without being read first.
ok "results past the caches" 'grep -q "^kernel .* out f32.524288. streamed" loops'
# What it reads itself too is stored twice, to scratch and to memory.
ok "results stored twice" 'grep -q "^kernel conv2d.* beside conv2d streamed" loops'
ok "the first of them to scratch" 'grep -q "launch conv2d.*, step+\([0-9]*\) in scratch+[0-9]*, step+\1)" loops'
if [[ $(uname -m) == x86_64 ]]; then
    "$KDC" chained.kd --emit=asm >assembly
    ok "by stores of the machine" 'grep -q "movntp[sd]" assembly'
fi
ok "in 32 parts" 'grep -q " in 32 parts" loops'
check "it compiles" "$KDC" chained.kd -o train
for threads in 1 2 3 20 40; do
    check "$threads threads train" ./train --quiet --out "threads$threads" --threads "$threads"
done
check "two threads give the same as one" same_run threads1 threads2
check "three threads give the same as one" same_run threads1 threads3
# The log, whose length a checkpoint holds, says how many threads there were.
check "twenty threads give the same numbers as one" cmp threads1/metrics.csv threads20/metrics.csv
check "more threads than parts give the same as twenty" same_run threads20 threads40
check "without chains it compiles" "$KDC" chained.kd --unchained -o alone
check "without chains it trains" ./alone --quiet --out alone.d --threads 2
check "without chains the same" same_run threads1 alone.d

# A profile tells the launches of a chain apart: each that makes 2 MB took some of the time.
check "it compiles to take the time" "$KDC" chained.kd --profile -o noting
for threads in 1 2 40; do
    check "$threads threads take the time" sh -c "./noting --quiet --out noting$threads --threads $threads >profile$threads"
    check "$threads threads: the same numbers" cmp threads1/metrics.csv "noting$threads/metrics.csv"
    ok "$threads threads: every large kernel took some" 'awk "/f32.32, 256, 8, 8/{ if (!(\$3 > 0)) bad = 1; lines++ }
        END { exit bad || lines < 10 }" "profile$threads"'
done
finish
