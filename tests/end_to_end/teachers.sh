#!/bin/bash
# Pretrained networks of other people, written in kd (parts/teachers.kd), load from safetensors and give the logits that
# PyTorch gave.
. "$(dirname "$0")/parts/teachers.sh"

check 'all load and run' run_only logits
for name in resnet8 resnet14 resnet20 resnet26 resnet32 a20 a32 a44 a56 kc8 kc8d kc20 wide; do
    check "logits of $name" at_most 1e-3 "$(value_of $name)"
done
finish
