#!/bin/bash
# What a training binary says and leaves: help, mistakes, damaged data, a full disk, metrics, progress.
. "$(dirname "$0")/parts/cases.sh"
"$parts/make_dots" dots 300 100
cp "$parts/dots.kd" .
check "it compiles" "$KDC" dots.kd -o train

check "--help" ends 0 './train: trains dots

usage: ./train \[options\]

options of dots:
  --epochs N           passes over the training set (default 2)
  --lr X               peak learning rate (default 0.05)

options of every program:
*--data DIR *--out DIR *--only PHASE *--resume *--seed N *--threads N *--save-every N *--quiet *--help*

phases: teach distill' ./train --help

says() { check "$3 ..." ends "$1" "$2" ./train "${@:3}"; }
says 1 './train: unknown option --epoch; did you mean --epochs?' --epoch 3
says 1 './train: `extra` is no option; --help lists them' extra
says 1 './train: --epochs needs a value' --epochs
says 1 './train: --epochs takes a number, not `x`' --epochs x
says 1 './train: --lr takes a number, not `nan`' --lr nan
says 1 './train: --threads takes a whole number from 1 on, not `0`' --threads 0
says 1 './train: --seed takes a whole number from 0 on, not `-1`' --seed -1
says 1 './train: no phase is called `nothing`; there are teach, distill' --only nothing
says 2 './train: nowhere: no such directory; --data DIR says where the data is' --data nowhere
says 2 './train: /dev/full: is not a directory' --out /dev/full/out
check "none of this left anything" ends 0 $'dots\ndots.kd\ntrain' ls

# Progress is plain lines where there is no terminal.
check "a run" ends 0 'teach  epoch 1/1  train_top1 0.*  test_top1 0.*  * images/s  * left
distill  epoch 1/1  train_ce *  train_cd *  test_top1 *  * images/s  * left

results in out:
  teach                 test_top1 *
  distill               test_top1 *
  weights               out/student.safetensors
  metrics               out/metrics.csv, out/metrics.jsonl' ./train --out out --threads 1 --epochs 1
check "metrics.csv" has 'phase,epoch,step,train_top1,test_top1,train_ce,train_cd
teach,0,5,0.*,0.*,,
distill,0,5,,0.*,*,*' out/metrics.csv
check "metrics.jsonl" has '{"event":"run","program":"dots","program_hash":"*","real":"f32","seed":0,*"options":{"epochs":1,"lr":0.05*}}
{"event":"epoch","phase":"teach","epoch":0,"step":5,"values":{"train_top1":*,"test_top1":*}}
{"event":"epoch","phase":"distill","epoch":0,"step":5,"values":{"test_top1":*,"train_ce":*,"train_cd":*}}*' out/metrics.jsonl
check "weights have the names of the student's parts" grep -q '"conv.weight":{"dtype":"F32","shape":\[4,1,3,3\]' out/student.safetensors
check "of an option given twice the last counts" ends 0 '' ./train --quiet --out twice --threads 1 --epochs 3 --epochs 1
check "the same as given once" cmp out/metrics.csv twice/metrics.csv

check "it does not run over an earlier run" ends 1 './train: out holds the checkpoints of an earlier run: --resume *' \
    ./train --out out
check "another program" "$KDC" dots.kd -D width=8 -o other
check "it refuses the checkpoint" ends 2 './other: out/checkpoints/*.kdck: is a checkpoint of another program, *' \
    ./other --out out --resume
check "and leaves it alone" ends 0 '' ./train --quiet --out out --threads 1 --epochs 1 --resume

# Data that changed since it was compiled against.
damaged() {
    local name=$1 pattern=$2
    check "$name" ends 2 "./train: $pattern" ./train --data damaged --out damaged.out
    rm -rf damaged damaged.out
    cp -r dots damaged
}
cp -r dots damaged
truncate -s 1000 damaged/train-images-idx3-ubyte
damaged "truncated" '*/train-images-idx3-ubyte: byte 1000: the data ends here, but the header promises 19216 bytes; *'
printf '\377' | dd of=damaged/train-labels-idx1-ubyte bs=1 seek=20 conv=notrunc status=none
damaged "a label out of range" '*/train-labels-idx1-ubyte: byte 20: label 255 of example 12; *4 classes*'
rm damaged/t10k-images-idx3-ubyte
damaged "a file is missing" 'damaged: no t10k-images-idx3-ubyte, *'
cp dots/t10k-labels-idx1-ubyte damaged/train-labels-idx1-ubyte
damaged "labels of something else" '*: 100 labels for the 300 images of *'
cp dots/train-labels-idx1-ubyte damaged/train-images-idx3-ubyte
damaged "labels for images" '*/train-images-idx3-ubyte: *'
gzip damaged/t*
check "compressed files do" ends 0 '' ./train --quiet --data damaged --out gzip --threads 1 --epochs 1
check "and give the same" cmp gzip/metrics.csv out/metrics.csv

# A full disk: what was written before stays, and the run goes on from there once there is room.
check "a full disk" ends 2 '*./train: full/checkpoints/000002.kdck.tmp: cannot be written: No space left on device' \
    env KDC_FAULT=write:30+:ENOSPC ./train --out full --threads 1 --epochs 1
check "the first checkpoint stayed alone" ends 0 000001.kdck ls full/checkpoints
check "it goes on" ends 0 '' ./train --quiet --out full --threads 1 --epochs 1 --resume
check "to the same end" same_run out full
finish
