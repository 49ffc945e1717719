#!/bin/bash
# Steps with `when`: the variants compute what the same step computes with weights that are zero, leave out what costs
# nothing, and are chosen alike by every way to run and after every interruption.
. "$(dirname "$0")/parts/cases.sh"
"$parts/make_dots" dots 300 100
cp "$parts/phased.kd" "$parts/staged.kd" .

check "with \`when\` it compiles" "$KDC" --dtype f64 phased.kd -o gated
check "with \`when\` it trains" ./gated --quiet --out gated.d --threads 1
check "with weights it compiles" "$KDC" --dtype f64 -D gated=false phased.kd -o weighted
check "with weights it trains" ./weighted --quiet --out weighted.d --threads 1
check "both compute the same" agree gated.d weighted.d
check "an option moves the border" ./gated --quiet --out gated.3 --threads 1 --warm 3
check "with weights, too" ./weighted --quiet --out weighted.3 --threads 1 --warm 3
check "both compute the same there" agree gated.3 weighted.3
moved() { ! cmp -s gated.d/metrics.csv gated.3/metrics.csv; }
check "and it is not the same as before" moved

# A report that was off has no value; one that was on for two epochs has two.
column() { awk -F, -v name="$1" 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == name) at = i } NR > 1 { printf "%s,", ($at != "") }' gated.d/metrics.csv; }
check "a report of the first two epochs" ends 0 '1,1,0,0,' column train_early
check "a report of the last batches" ends 0 '0,0,0,1,' column train_late

# What each variant holds.
"$KDC" cost staged.kd >cost
check "each way is a graph" ends 0 '2' sh -c "sed '/^kernels/,\$d' cost | grep -c '^distill.step0\[[01]\] '"
check "the condition is told" grep -qE '^distill\.step0 +1 +epoch < 1$' cost
# 64 examples, 64 pixels: the student 64 * (64 * 4 * 9 + 1024); the teacher's convolution 64 * 64 * 8 * 9 and its linear
# layer 64 * 2048; connectors of 4 * 8 and 4 * 2 weights at each pixel.
check "the teacher's last layer is not in the first stage" grep -qE '^distill\.step0\[1\] +64 +671744 ' cost
check "the connector is not in the second" grep -qE '^distill\.step0\[0\] +64 +671744 ' cost

for program in phased staged; do
    check "$program: it compiles" "$KDC" $program.kd -o $program
    check "$program: it trains" ./$program --quiet --out $program.d --threads 1
    check "$program: the JIT runs it" "$KDC" run $program.kd -- --quiet --out $program.jit --threads 1
    check "$program: the JIT gives the same" same_run $program.d $program.jit
    for point in 70 120; do
        { KDC_FAULT=crash:$point ./$program --quiet --out $program.$point --threads 1 --save-every 1; } 2>/dev/null
        check "$program: resumed after operation $point" ends 0 '*going on at distill*' \
            ./$program --out $program.$point --threads 1 --resume
        check "$program: and it ends with the same bits" same_run $program.d $program.$point
    done
done
check "two threads train" ./phased --quiet --out phased.2 --threads 2
check "two threads give the same" same_run phased.d phased.2
check "the REPL steps" ends 0 '*train_early*' sh -c "printf ':load phased.kd\n:step 2\n' | '$KDC' repl"
finish
