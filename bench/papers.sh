#!/usr/bin/env bash
# bench/papers.sh -- the four papers' small examples on CIFAR-100, run by run.
#
#   bench/papers.sh KDC OUT DATA TEACHER [--methods "alone cd byot sskd mhgd"] [--seeds "1 2 3"] [--threads N] [--once]
#
# DATA is the folder of CIFAR-100's train.bin and test.bin, TEACHER the weights of a resnet_small of two blocks a stage
# (resnet14). `alone` is bench/alone.kd, the same student with cross-entropy alone at as many epochs; the others are
# examples/*_small.kd as they stand. Each finished run is a line of bench/ledger.tsv: experiment, seed, epochs of the
# student, the last test accuracy, seconds, commit; BYOT leaves one for each exit and the ensemble too. Runs that the
# ledger has are left out, so the table grows over sessions; a run that did not end begins anew. --once stops after one.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
[ $# -ge 4 ] || { sed -n '2,5s/^# *//p' "$0" >&2; exit 2; }
kdc=$1 out=$2 data=$3 teacher=$4
shift 4
methods="alone cd byot sskd mhgd" seeds="1 2 3" once= threads=$(nproc) epochs=4 # the runs' own
options="methods seeds threads once"
. "$here/ledger.sh"
read_options "$@"
mkdir -p "$out"
out=$(cd "$out" && pwd) # the programs take paths from their own folder
data=$(cd "$data" && pwd)
teacher=$(cd "$(dirname "$teacher")" && pwd)/$(basename "$teacher")

for seed in $seeds; do
    for method in $methods; do
        name=cifar100_$method
        ! is_recorded "$name" "$seed" || continue
        case $method in
        alone) program=$here/alone.kd ;;
        cd) program=$here/../examples/channel_distillation_small.kd ;;
        byot | sskd | mhgd) program=$here/../examples/${method}_small.kd ;;
        *) echo "papers.sh: no such method: $method" >&2; exit 2 ;;
        esac
        settings=()
        ! grep -q '^param *teacher' "$program" || settings=(-D "teacher=$teacher")
        binary=$out/$method run=$out/run_${method}_$seed
        "$kdc" "$program" -D "folder=$data" "${settings[@]}" -o "$binary"
        rm -rf "$run"
        start=$(date +%s)
        "$binary" --seed "$seed" --threads "$threads" --out "$run"
        seconds=$(($(date +%s) - start))
        [ "$method" != byot ] || for exit in exit1 exit2 ensemble; do
            record "${name}_$exit" "$seed" "$exit" "$run" "$seconds"
        done
        record "$name" "$seed" top1 "$run" "$seconds"
        [ -z "$once" ] || exit 0
    done
done
