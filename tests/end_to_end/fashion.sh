#!/bin/bash
# The smallest example on real data: one epoch of a linear layer on Fashion-MNIST.
. "$(dirname "$0")/parts/cases.sh"
if [[ ! -e /usr/share/datasets/fashion-mnist ]]; then
    skipped=1
    finish
fi
check "it compiles" "$KDC" "$parts/../../../examples/perceptron.kd" -o train
check "it trains" ./train --quiet --out out --epochs 1
check "it reaches more than 78 %" awk -F, 'END { print; exit !($5 > 0.78) }' out/metrics.csv
check "the JIT runs it" "$KDC" run "$parts/../../../examples/perceptron.kd" -- --quiet --out jit --epochs 1
check "to the same bits" same_run out jit
finish
