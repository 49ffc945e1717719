#!/bin/bash
# Where a block of channels holds whole groups a convolution reads vectors, not lane by lane: once only, where
# the adjoint of groups of several channels packs its weights.
set -u
here=$(dirname "$0")
graph=$here/../ir/layout/small_groups.ir
gathers=$("$KDC" "$graph" --emit=llvm --target-cpu=x86-64-v4 |
    awk '/^define/ { kernel = $0 ~ /_conv2d/ } kernel && /call.*masked.gather/ { n++ } END { print n + 0 }')
if [[ $gathers -ne 1 ]]; then
    echo "convolutions of small groups have $gathers gathers; 1 is wanted"
    exit 1
fi
echo "cases: 1 passed, 0 failed, 0 skipped"
