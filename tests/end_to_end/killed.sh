#!/bin/bash
# A run that is killed at random moments and resumed ends with the bits of one that was not.
. "$(dirname "$0")/parts/cases.sh"
"$parts/make_dots" dots 300 100
cp "$parts/dots.kd" .
check "it compiles" "$KDC" dots.kd -o train
began_ms=$(date +%s%3N)
check "it trains" ./train --quiet --out whole --threads 1
took_ms=$(($(date +%s%3N) - began_ms))

# Five kills from outside, spread at random over the time that a run takes; the second one of a pair
# comes while it resumes.
RANDOM=5
killed() {
    local out=$1 resume=() delay_ms i
    for i in 1 2; do
        ./train --quiet --out "$out" --threads 1 --save-every 2 "${resume[@]}" &
        delay_ms=$((RANDOM % took_ms))
        sleep "$((delay_ms / 1000)).$(printf %03d $((delay_ms % 1000)))"
        kill -9 $! 2>/dev/null
        wait $! 2>/dev/null
        resume=(--resume)
    done
    ./train --quiet --out "$out" --threads 1 --resume
}
for round in 1 2 3 4 5; do
    check "killed by time, round $round" killed "killed$round"
    check "and it ends with the same bits, round $round" same_run whole "killed$round"
done

# Five by the count of writes, syncs and renames, which reach what time misses.
for round in 1 2 3 4 5; do
    point=$((1 + RANDOM % 60))
    { KDC_FAULT=crash:$point ./train --quiet --out "point$round" --threads 1; } 2>/dev/null
    check "resumed after operation $point" ./train --quiet --out "point$round" --threads 2 --resume
    check "and it ends with the same bits, operation $point" same_run whole "point$round"
done

# SIGINT and SIGTERM save and leave; what they saved goes on to the same end.
check "a longer run" ./train --quiet --out long --threads 1 --epochs 30
stopped() {
    local signal=$1 status=$2 out=$3 found i
    ./train --out "$out" --threads 1 --epochs 30 --save-every 1 >progress &
    for ((i = 0; i < 3000; i++)); do
        [[ -n $(find "$out" -name '*.kdck' 2>/dev/null) ]] && break
        sleep 0.02
    done
    kill "-$signal" $!
    wait $!
    found=$?
    cat progress
    [[ $found -eq $status && -z $(find "$out" -name '*.tmp') ]]
}
for signal in INT:130 TERM:143; do
    check "SIG${signal%:*} saves and leaves" stopped "${signal%:*}" "${signal#*:}" "stopped${signal#*:}"
    check "it is resumed" ./train --quiet --out "stopped${signal#*:}" --threads 1 --epochs 30 --resume
    check "and ends with the same bits" same_run long "stopped${signal#*:}"
done
finish
