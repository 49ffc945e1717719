#!/usr/bin/env bash
# bench/students.sh -- the students' table of docs/results.md, run by run.
#
#   bench/students.sh KDC OUT [--epochs N] [--seeds "1 2 3"] [--threads N] [--once]
#
# Trains bench/teacher.kd to OUT/teacher.safetensors unless that is there, then the student of
# bench/students.kd in three ways for each seed. Each finished run is a line of bench/ledger.tsv: experiment,
# seed, epochs, the last test accuracy, seconds, commit. Runs that the ledger has are left out, so the
# table grows over sessions; --once stops after one run.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
kdc=$1 out=$2
shift 2
epochs=10 seeds="1 2 3" once= threads=$(nproc)
options="epochs seeds threads once"
. "$here/ledger.sh"
read_options "$@"
mkdir -p "$out"
out=$(cd "$out" && pwd) # students.kd takes the teacher's path from its own folder
teacher=$out/teacher.safetensors

if [ ! -f "$teacher" ]; then
    "$kdc" "$here/teacher.kd" -o "$out/teach"
    start=$(date +%s)
    "$out/teach" --seed 1 --threads "$threads" --out "$out/run_teacher"
    cp "$out/run_teacher/teacher.safetensors" "$teacher"
    epochs=10 record fashion_teacher 1 top1 "$out/run_teacher" $(($(date +%s) - start))
fi

for seed in $seeds; do
    for method in alone kd cd_gkd; do
        ! is_recorded "fashion_$method" "$seed" || continue
        binary=$out/student_$method
        "$kdc" "$here/students.kd" -D "method=$method" -D "from_file=$teacher" -o "$binary"
        start=$(date +%s)
        run=$out/run_${method}_${epochs}_$seed
        "$binary" --epochs "$epochs" --seed "$seed" --threads "$threads" --out "$run"
        record "fashion_$method" "$seed" top1 "$run" $(($(date +%s) - start))
        [ -z "$once" ] || exit 0
    done
done
