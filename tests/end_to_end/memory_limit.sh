#!/bin/bash
# Under a memory limit a step computes values again rather than keep them: the same bits in less memory.
. "$(dirname "$0")/parts/cases.sh"
"$parts/make_dots" dots 300 100
cp "$parts/dots.kd" "$parts/deep.kd" .

arena_of() { # PROGRAM ARGS: bytes of its largest graph
    "$KDC" cost --json "$@" | grep -o '"arena_bytes": [0-9]*, "peak_bytes"' | grep -o '[0-9]*' | sort -n | tail -1
}
trains() { # NAME THREADS ARGS: builds and trains
    local name=$1 threads=$2
    shift 2
    "$KDC" "$@" -o "$name" && "./$name" --quiet --out "$name.d" --threads "$threads"
}

# Residual blocks with batch norm and dropout: elementwise values go first, then whole convolutions.
check "it trains" trains plain 1 deep.kd
kept=$(arena_of deep.kd)
for limit in 9M 7300K; do
    check "it trains in $limit" trains "limit$limit" 1 deep.kd --memory-limit=$limit
    check "$limit gives the same" same_run plain.d "limit$limit.d"
    check "two threads train in $limit" "./limit$limit" --quiet --out "two$limit.d" --threads 2
    check "two threads in $limit give the same" same_run plain.d "two$limit.d"
    less=$(arena_of deep.kd --memory-limit $limit)
    ok "$limit takes less" '((less < kept))'
    kept=$less
done
check "a checkpoint goes on without the limit" ./plain --quiet --out limit9M.d --resume --epochs 2 --threads 1
check "a draw and its step go on" ./plain --quiet --out plain.d --resume --epochs 2 --threads 1
check "both go on to the same" same_run plain.d limit9M.d

# A frozen teacher, an adapter, two terms, two phases.
check "dots train" trains both 1 dots.kd
check "dots train in 700K" trains less 2 dots.kd --memory-limit=700K
check "dots give the same" same_run both.d less.d
check "the JIT runs it" "$KDC" run dots.kd --memory-limit 700K -- --quiet --out jit.d --threads 1
check "the JIT gives the same" same_run both.d jit.d

check "the report lists what is computed again" ends 0 \
    '*recomputed * FLOPs * bytes     held bytes   arena before    arena after*learn.step0*student*deep.kd:*' \
    "$KDC" cost --memory-limit 9M deep.kd
check "no limit, no list" ends 0 '*arena bytes*' "$KDC" cost deep.kd
ok "no limit, no list at all" '! "$KDC" cost deep.kd | grep -q recomputed'
check "what is too little" ends 1 \
    'kdc: learn.step0 does not fit into `--memory-limit` of 2.0 MB: the least that was found is *.* MB, of which parameters, states and constants take 716.5 KB' \
    "$KDC" cost --memory-limit 2M deep.kd
least=$("$KDC" cost --memory-limit 2M deep.kd 2>&1 | sed 's/.*found is \([0-9.]*\) MB.*/\1/')
check "the least that was found does" "$KDC" cost --memory-limit "${least}M" deep.kd
for size in 0 -5M 300X 1e9 M 1.2.3M inf '' ' 3M'; do
    check "'$size' is no size" ends 1 'kdc: `--memory-limit` takes a size: 300M, 1.5G, 512Mi or a number of bytes, not*' \
        "$KDC" cost --memory-limit="$size" deep.kd
done
finish
