#!/bin/bash
# What a training binary says of data, folders, checkpoints and options that are wrong: one line with the path
# and the reason, exit status 1 or 2; and what it says when it is stopped and goes on.
set -u
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 2
passed=0 failed=0

# expect STATUS PATTERN COMMAND...: stdout and stderr together match the shell's PATTERN.
expect() {
    local status=$1 pattern=$2 found text
    shift 2
    text=$("$@" 2>&1 </dev/null)
    found=$?
    # shellcheck disable=SC2053
    if [[ $found -eq $status && $text == $pattern ]]; then
        ((passed++))
    else
        ((failed++))
        printf 'FAILED: %s\nexit status %s (expected %s), printed:\n%s\nexpected:\n%s\n' \
            "$*" "$found" "$status" "$text" "$pattern"
    fi
}

big_endian() {
    printf "\\x$(printf %02x $(($1 >> 24 & 255)))\\x$(printf %02x $(($1 >> 16 & 255)))"
    printf "\\x$(printf %02x $(($1 >> 8 & 255)))\\x$(printf %02x $(($1 & 255)))"
}

# idx FILE BYTE EXTENT...: an IDX file of unsigned bytes, all alike.
idx() {
    local file=$1 byte=$2 extent count=1
    shift 2
    {
        printf "\\x00\\x00\\x08\\x0$#"
        for extent in "$@"; do
            big_endian "$extent"
            ((count *= extent))
        done
        head -c $count /dev/zero | tr '\0' "\\$(printf %03o "$byte")"
    } >"$file"
}

# data FOLDER COUNT HEIGHT LABEL: a folder of images COUNTxHEIGHTx4, and half as many for testing.
data() {
    mkdir -p "$1"
    idx "$1/train-images-idx3-ubyte" 7 "$2" "$3" 4
    idx "$1/train-labels-idx1-ubyte" "$4" "$2"
    idx "$1/t10k-images-idx3-ubyte" 7 $(($2 / 2)) "$3" 4
    idx "$1/t10k-labels-idx1-ubyte" 1 $(($2 / 2))
}

data good 20 4 1
cat >train.kd <<'KD'
option lr = 0.1 "rate"
option count = 1 "epochs by another name"
data d = idx("good") { classes 3 }
net m(x: [N, C, H, W]) { return flatten(x) |> linear(3) as fc }
model s = m()
train t on d {
    batch  8
    epochs count
    optimize s with sgd(lr = lr)
    step (image, label) { minimize cross_entropy(s(image), label) }
    eval (image, label) { report top1 = accuracy(s(image), label) }
}
deploy s
KD
"$KDC" train.kd -o train || exit 1
run() { ./train --quiet "$@"; }

# ---- data -----------------------------------------------------------------------------------------

data shorter 10 4 1
expect 2 './train: shorter: `d` has 10 training examples, but the program was compiled for 20; compile it against this data' run --data shorter
data higher 20 5 1
expect 2 './train: higher: `d.image` has the shape \[1, 5, 4\], but the program was compiled for \[1, 4, 4\]; compile it against this data' run --data higher
data labels 20 4 9
expect 2 './train: labels/train-labels-idx1-ubyte: byte 8: label 9 of example 0; the program was compiled for 3 classes (0 to 2)' run --data labels
cp -r good flat && idx flat/train-images-idx3-ubyte 7 20 16
expect 2 './train: flat/train-images-idx3-ubyte: byte 3: 2 axes, but images have three (count, height, width) or four' run --data flat
cp -r good columns && idx columns/train-labels-idx1-ubyte 1 20 1
expect 2 './train: columns/train-labels-idx1-ubyte: byte 3: 2 axes, but labels have one' run --data columns
cp -r good unequal && idx unequal/train-labels-idx1-ubyte 1 19
expect 2 './train: unequal/train-labels-idx1-ubyte: byte 4: 19 labels for the 20 images of unequal/train-images-idx3-ubyte' run --data unequal
cp -r good nested && rm nested/train-labels-idx1-ubyte && mkdir nested/train-labels-idx1-ubyte
expect 2 './train: nested/train-labels-idx1-ubyte: is not a file' run --data nested
cp -r good pipe && rm pipe/train-labels-idx1-ubyte && mkfifo pipe/train-labels-idx1-ubyte
expect 2 './train: pipe/train-labels-idx1-ubyte: is not a file' timeout 20 ./train --data pipe
expect 2 './train: nowhere: no such directory; *' run --data nowhere
data empty 0 4 1
sed 's/"good"/"empty"/' train.kd >empty.kd
expect 1 '*error: `d` has no training examples*' "$KDC" check empty.kd
sed 's/{ classes 3 }/{ fields image: u8[1, 4, 4], label: i32, weight: i32; count 20, test = 10; classes 3 }/
     s/(image, label) { minimize/(image, label, weight) { minimize mean(f32(weight)) +/' train.kd >fields.kd
"$KDC" fields.kd -o fields
expect 2 './fields: good: `d` has no field `weight`' ./fields --quiet

# ---- options --------------------------------------------------------------------------------------

expect 1 './train: `t`: `epochs` is -3; it takes 0 to 16777216' run --count -3 --out a
expect 1 './train: `t`: `epochs` is 1e+20; it takes 0 to 16777216' run --count 100000000000000000000 --out a
expect 1 './train: --threads takes at most 1024' run --threads 1025
expect 1 './train: --out takes a directory' run --out ''
expect 1 './train: --out: the path is too long' run --out "$(printf 'x%.0s' {1..5000})"
expect 2 './train: train.kd: is not a directory' run --out train.kd
expect 2 "./train: $(printf 'y%.0s' {1..300}): cannot be made: File name too long" run --out "$(printf 'y%.0s' {1..300})"
expect 2 './train: out of memory (* bytes asked for)' env KDC_FAULT=malloc:3:ENOMEM ./train --quiet --out b

# ---- checkpoints ----------------------------------------------------------------------------------

expect 0 'fresh holds no checkpoint; beginning anew*results in fresh:*' ./train --resume --out fresh
expect 0 'fresh: the run is complete*' ./train --resume --out fresh
expect 0 '' run --count 3 --out run
files=(run/checkpoints/*.kdck)
newest=${files[-1]} before=${files[0]}
cp "$newest" whole

# damage OFFSET: one byte of the newest checkpoint is another.
damage() {
    cp whole "$newest"
    printf '\377' | dd of="$newest" bs=1 seek="$1" conv=notrunc status=none
}
size=$(stat -c %s whole)
damage 0
expect 0 "$newest: byte 0: is no checkpoint, or damaged; going on from the one before, $before*" ./train --count 3 --resume --out run
cp -r run broken
for file in broken/checkpoints/*.kdck; do printf 'text' >"$file"; done
expect 2 "./train: broken/checkpoints/*.kdck: byte 0: is no checkpoint, or damaged" run --resume --out broken
rm -r run && expect 0 '' run --count 3 --out run
damage $((size - 1))
expect 0 "$newest: byte *: the end is no checkpoint, or damaged; going on from the one before, $before*" ./train --count 3 --resume --out run
rm -r run && expect 0 '' run --count 3 --out run
damage 20
expect 0 "$newest: byte 8: the header is damaged; going on from the one before, $before*" ./train --count 3 --resume --out run
rm -r run && expect 0 '' run --count 3 --out run
offset=$((size - 60))
damage $offset
expect 2 '*metrics.*: cannot be cut to its length: Input/output error' \
    env KDC_FAULT=truncate:1:EIO ./train --quiet --count 3 --resume --out run
expect 0 "$newest: byte *: tensor \`*\` is damaged; going on from the one before, $before*" ./train --count 3 --resume --out run

# ---- stopped, and going on ------------------------------------------------------------------------

# stop SIGNAL STATUS: lets a long run write its first checkpoint, then stops it.
stop() {
    local found
    ./train --count 1000000 --out long "${@:3}" >log 2>&1 </dev/null &
    local child=$!
    for ((i = 0; i < 600; i++)); do
        compgen -G 'long/checkpoints/*.kdck' >/dev/null && break
        sleep 0.1
    done
    sleep 0.2
    kill -"$1" $child
    wait $child
    found=$?
    [[ $found -eq $2 ]] && ((passed++)) || { ((failed++)); echo "FAILED: exit status $found after SIG$1"; }
}
stop TERM 143
expect 0 '*stopped by SIGTERM; saved in long, --resume goes on*' cat log
stop INT 130 --resume
expect 0 '*long: going on at t, epoch *, batch *stopped by SIGINT; saved in long, --resume goes on*' cat log

expect 0 'ready to train: `:step 10` runs ten batches*t epoch 1 step 2*' \
    bash -c 'printf ":load train.kd\n:step 2\n" | "$KDC" repl'

echo "cases: $passed passed, $failed failed, 0 skipped"
[[ $failed -eq 0 ]]
