#!/bin/bash
# The pretrained networks for CIFAR-100 are as good on its test set as those who published them say.
. "$(dirname "$0")/parts/teachers.sh"

check 'all load and run' run_only accuracy_of
while read -r name top1; do
    check "accuracy of $name" within 0.001 "$top1" "$(value_of "$name")"
done <<'TABLE'
resnet8 0.6411
resnet14 0.6830
resnet20 0.6969
resnet26 0.7106
resnet32 0.7169
resnet32_top5 0.9219
TABLE
finish
