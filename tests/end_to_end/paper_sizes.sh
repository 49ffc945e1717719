#!/bin/bash
# The examples of the four papers at the papers' sizes: parameters and multiply-adds by `kdc cost`, to the unit.
. "$(dirname "$0")/parts/cases.sh"

"$parts/make_cifar100" images 8 4
# costs EXAMPLE ROW PARAMETERS MACS: what `kdc cost` says of a model.
costs() {
    [[ -e $1.cost ]] || "$KDC" cost -O0 "$root/examples/$1.kd" -D folder="$work/images" -D batch=4 >"$1.cost"
    grep -E "^$2 " "$1.cost"
    [[ $(awk -v row="$2" '$1 == row { print $2, $3 }' "$1.cost") == "$3 $4" ]]
}

check 'channel distillation: the teacher' costs channel_distillation large 58341028 3722321920
check 'channel distillation: the student' costs channel_distillation student 23705252 1298014208
check 'channel distillation: the connectors' costs channel_distillation distill.connect 5578240 268435456
check 'BYOT: the student' costs byot student 11220132 555468800
check 'BYOT: the exits' costs byot exits 1791020 39999488
check 'stage by stage: the teacher' costs sskd large 21328292 1159448576
check 'stage by stage: the student' costs sskd student 1252100 63824896
finish
