#!/bin/bash
# How long kdc takes: the programs of PROGRAMS, and networks beside themselves at twice the depth.
#
#     bench/compile_times.sh [--build build/release] [--rounds 3] [--threads N]
#
# kdc keeps nothing from one compilation to the next, so every cache of its own is empty. Times are medians of the
# rounds, in which all programs take their turn: seconds by the clock, and of processor time, user and system.
#
#     compiled      kdc FILE -o BINARY, linked
#     ready         bench_step: from the first line of source to the moment at which the first step begins, through
#                   the JIT as `kdc run` has it: compiled, memory touched, storages initialised, prologue run
#     one batch     kdc run --profile=1 on black pictures, all of it: the step, its profile and the machine's limits
#                   besides
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
build=$here/../build/release rounds=3 threads=$(nproc)
while [ $# -gt 0 ]; do
    case $1 in
    --build) build=$2 ;;
    --rounds) rounds=$2 ;;
    --threads) threads=$2 ;;
    *) echo "compile_times.sh: unknown option $1" >&2; exit 2 ;;
    esac
    shift 2
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
head -c $((3074 * 4096)) /dev/zero >"$work/train.bin" # 64 batches of black pictures of class 0
cp "$work/train.bin" "$work/test.bin"

programs=("s3" "s9" "depth -D network=resnet20" "depth -D network=resnet20 -D times=2"
    "depth -D network=resnet18" "depth -D network=resnet18 -D times=2"
    "depth -D network=resnet50" "depth -D network=resnet50 -D times=2")

# timed COMMAND ...: "WALL CPU" of it.
timed() {
    local TIMEFORMAT='%R %U %S'
    { time "$@" >"$work/said" 2>&1; } 2>"$work/took" || { cat "$work/said" >&2; exit 1; }
    awk '{ printf "%.2f %.2f\n", $1, $2 + $3 }' "$work/took"
}

# starts FILE: to `ready` and `batch` of the program that is number i.
starts() {
    "$build/bench/bench_step" "$1" --threads "$threads" --profile --repeats 1 |
        sed -n 's/^ready for its first step after \([0-9.]*\) s, \([0-9.]*\) s of processor time$/\1 \2/p' \
            >>"$work/ready.$i"
    sed "s|\"nowhere\"|\"$work\"|" "$1" >"$work/program.kd"
    timed "$build/kdc" run "$work/program.kd" --profile=1 -- --threads "$threads" >>"$work/batch.$i"
}

# middle COLUMN FILE: the median.
middle() { awk -v c="$1" '{ print $c }' "$2" | sort -g | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

for ((round = 0; round < rounds; round++)); do
    for ((i = 0; i < ${#programs[@]}; i++)); do
        read -ra words <<<"${programs[i]}"
        file=$here/${words[0]}.kd
        timed "$build/kdc" "$file" "${words[@]:1}" -o "$work/binary" >>"$work/compiled.$i"
        [[ ${words[0]} == depth ]] || starts "$file"
    done
done

row='%-40s %9s %9s   %9s %9s   %9s %9s\n'
printf "$row" "" compiled "" ready "" "one batch" ""
printf "$row" "seconds, of processor time" "" cpu "" cpu "" cpu
for ((i = 0; i < ${#programs[@]}; i++)); do
    cells=()
    for what in compiled ready batch; do
        [ ! -f "$work/$what.$i" ] || cells+=("$(middle 1 "$work/$what.$i")" "$(middle 2 "$work/$what.$i")")
    done
    printf "$row" "${programs[i]}" "${cells[@]::6}"
    if [[ ${programs[i]} == *times=2 ]]; then
        cells=()
        for column in 1 2; do
            cells+=("$(awk -v a="$(middle $column "$work/compiled.$((i - 1))")" \
                -v b="$(middle $column "$work/compiled.$i")" 'BEGIN { printf "%.0f %%", 100 * (b / a - 1) }')")
        done
        printf "$row" "  twice the depth adds" "${cells[@]}" "" "" "" ""
    fi
done
