#!/usr/bin/env bash
# bench/students.sh -- the students' table of docs/results.md, run by run.
#
#   bench/students.sh KDC OUT [--epochs N] [--seeds "1 2 3"] [--once]
#
# Needs OUT/teacher.safetensors, the teacher that examples/fashion.kd left (its run folder's deploy of the
# teacher). Each finished run is a line of bench/ledger.tsv: experiment, seed, epochs, the last test
# accuracy, seconds, commit. Runs that the ledger has are left out, so the table grows over sessions;
# --once stops after one run.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
kdc=$1 out=$2
shift 2
epochs=10 seeds="1 2 3" once=
while [ $# -gt 0 ]; do
    case $1 in
    --epochs) epochs=$2; shift ;;
    --seeds) seeds=$2; shift ;;
    --once) once=yes ;;
    *) echo "students.sh: unknown option $1" >&2; exit 2 ;;
    esac
    shift
done
ledger=$here/ledger.tsv
teacher=$out/teacher.safetensors
[ -f "$ledger" ] || printf 'experiment\tseed\tepochs\ttop1\tseconds\tcommit\n' >"$ledger"
[ -f "$teacher" ] || { echo "students.sh: no $teacher: train examples/fashion.kd first" >&2; exit 2; }

for seed in $seeds; do
    for method in alone kd cd_gkd; do
        grep -q "^fashion_$method	$seed	$epochs	" "$ledger" && continue
        binary=$out/student_$method
        "$kdc" "$here/students.kd" -D "method=$method" -D "from_file=$teacher" -o "$binary"
        start=$(date +%s)
        "$binary" --epochs "$epochs" --seed "$seed" --out "$out/run_${method}_$seed"
        seconds=$(($(date +%s) - start))
        # The last line of the metrics that has an evaluation's accuracy.
        top1=$(grep -o '"eval[^}]*top1": *[0-9.]*' "$out/run_${method}_$seed/metrics.jsonl" | tail -n 1 | grep -o '[0-9.]*$')
        printf 'fashion_%s\t%s\t%s\t%s\t%s\t%s\n' "$method" "$seed" "$epochs" "$top1" "$seconds" \
            "$(git -C "$here" rev-parse --short HEAD)" >>"$ledger"
        [ -z "$once" ] || exit 0
    done
done
