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
while [ $# -gt 0 ]; do
    case $1 in
    --epochs) epochs=$2; shift ;;
    --seeds) seeds=$2; shift ;;
    --threads) threads=$2; shift ;;
    --once) once=yes ;;
    *) echo "students.sh: unknown option $1" >&2; exit 2 ;;
    esac
    shift
done
mkdir -p "$out"
out=$(cd "$out" && pwd) # students.kd takes the teacher's path from its own folder
ledger=$here/ledger.tsv
teacher=$out/teacher.safetensors
[ -f "$ledger" ] || printf 'experiment\tseed\tepochs\ttop1\tseconds\tcommit\n' >"$ledger"

# record EXPERIMENT SEED EPOCHS RUN_FOLDER SECONDS: a line of the ledger.
record() {
    local top1
    top1=$(grep -o '"test_top1": *[0-9.]*' "$4/metrics.jsonl" | tail -n 1 | grep -o '[0-9.]*$')
    printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "$top1" "$5" "$(git -C "$here" rev-parse --short HEAD)" >>"$ledger"
}

if [ ! -f "$teacher" ]; then
    "$kdc" "$here/teacher.kd" -o "$out/teach"
    start=$(date +%s)
    "$out/teach" --seed 1 --threads "$threads" --out "$out/run_teacher"
    cp "$out/run_teacher/teacher.safetensors" "$teacher"
    record fashion_teacher 1 10 "$out/run_teacher" $(($(date +%s) - start))
fi

for seed in $seeds; do
    for method in alone kd cd_gkd; do
        grep -q "^fashion_$method	$seed	$epochs	" "$ledger" && continue
        binary=$out/student_$method
        "$kdc" "$here/students.kd" -D "method=$method" -D "from_file=$teacher" -o "$binary"
        start=$(date +%s)
        run=$out/run_${method}_${epochs}_$seed
        "$binary" --epochs "$epochs" --seed "$seed" --threads "$threads" --out "$run"
        record "fashion_$method" "$seed" "$epochs" "$run" $(($(date +%s) - start))
        [ -z "$once" ] || exit 0
    done
done
