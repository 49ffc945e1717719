#!/bin/bash
# `model m = net(…) from "file"`: weights that one program leaves and another begins with.
. "$(dirname "$0")/parts/cases.sh"

# expect STATUS STDERR COMMAND...: what it says of mistakes is STDERR, a pattern of the shell.
expect() {
    local status=$1 said=$2 found text
    shift 2
    text=$("$@" 2>&1 >/dev/null)
    found=$?
    # shellcheck disable=SC2053
    if [[ $found -eq $status && $text == $said ]]; then
        ((passed++))
    else
        ((failed++))
        printf 'FAILED: %s\nexit status %s (expected %s), said:\n%s\nexpected:\n%s\n' \
            "$*" "$found" "$status" "$text" "$said"
    fi
}

# Eight images of 4 by 4 pixels, and their labels.
mkdir data net
{ printf '\0\0\10\3\0\0\0\10\0\0\0\4\0\0\0\4'; seq 100 | head -c 128; } >data/train-images-idx3-ubyte
{ printf '\0\0\10\1\0\0\0\10'; printf '\0\1\2\0\1\2\0\1'; } >data/train-labels-idx1-ubyte
cp data/train-images-idx3-ubyte data/t10k-images-idx3-ubyte
cp data/train-labels-idx1-ubyte data/t10k-labels-idx1-ubyte

cat >teach.kd <<'END'
net tiny(x, classes = 3) {
    return x |> conv(2, bias = true) as conv1 |> batch_norm as bn1 |> global_average_pool |> linear(classes) as fc
}
data dots = idx("data")
model teacher = tiny
train teach on dots {
    batch  8
    epochs 2
    optimize teacher with sgd(lr = 0.5, momentum = 0.9)
    step (image, label) { minimize cross_entropy(teacher(image), label) }
}
deploy teacher
END
cat >net/learn.kd <<'END'
use std.distill

param from_file = "../first/teacher.safetensors"
param classes = 3
param deep = false
net tiny(x, classes = 3) {
    let y = x |> conv(2, bias = true) as conv1 |> batch_norm as bn1
    if deep { y = y |> conv(2) as conv2 |> batch_norm as bn2 |> conv(2) as conv3 |> batch_norm as bn3 }
    return y |> global_average_pool |> linear(classes) as fc
}
data dots = idx("data")
model teacher = tiny(classes = classes) from from_file
model unused  = tiny from "nowhere.safetensors"
train learn on dots {
    batch  8
    epochs 3
    model student = tiny(classes = classes)
    freeze teacher
    optimize student with sgd(lr = 0.1)
    step (image, label) { minimize kd(student(image), teacher(image)) }
}
deploy teacher
END

ok 'a teacher is trained' '"$KDC" run teach.kd -- --out first --quiet'
ok 'and taken up, by a path from the program that says it' '"$KDC" run net/learn.kd -- --out second --quiet'
ok 'a frozen one is left as it was' 'cmp first/teacher.safetensors second/teacher.safetensors'
ok 'the same with a path from -D' \
    '"$KDC" run net/learn.kd -D from_file="$work/first/teacher.safetensors" -- --out third --quiet'
ok 'gives the same' 'cmp second/metrics.csv third/metrics.csv'
mkdir net/first
cp first/teacher.safetensors net/first
ok 'a path needs no quotes, though it could be a division' \
    '"$KDC" run net/learn.kd -D from_file=first/teacher.safetensors -- --out bare --quiet'
ok 'and may have them' \
    '"$KDC" run net/learn.kd -D "from_file=\"first/teacher.safetensors\"" -- --out quoted --quiet'
ok 'f64 takes f32' '"$KDC" run net/learn.kd --dtype f64 -- --out wide --quiet'
ok 'and is larger' '[[ $(stat -c %s wide/teacher.safetensors) -gt $(stat -c %s first/teacher.safetensors) ]]'
ok 'f32 takes f64' '"$KDC" run net/learn.kd -- --load teacher=wide/teacher.safetensors --out narrow --quiet'
ok 'and gets back what it was' 'cmp first/teacher.safetensors narrow/teacher.safetensors'

mkdir elsewhere
"$KDC" net/learn.kd -o binary
ok 'a binary finds the file from anywhere' \
    '(cd elsewhere && ../binary --data ../data --out ../fourth --quiet)'
ok 'and does the same' 'cmp second/teacher.safetensors fourth/teacher.safetensors'

ok 'a run' './binary --epochs 1 --out fifth --quiet'
mv first gone
ok 'that is resumed reads no file' './binary --resume --out fifth --quiet'
ok 'and is as if it had not stopped' 'cmp second/teacher.safetensors fifth/teacher.safetensors'
mv gone first

expect 2 "./binary: none: cannot be opened: No such file or directory" \
    ./binary --load teacher=none --out sixth
expect 1 './binary: --load takes MODEL=FILE, not `student=x`; the models with weights from a file: teacher' \
    ./binary --load student=x --out sixth
ok 'help says so' './binary --help | grep -q "^  --load MODEL=FILE "'
head -c 300 first/teacher.safetensors >cut
expect 2 './binary: cut: byte *' ./binary --load teacher=cut --out sixth
"$KDC" net/learn.kd -D classes=4 -o binary4
expect 2 "./binary4: *first/teacher.safetensors does not fit \`teacher\`: of another shape: fc.weight is f32[[]3, 2], \
not f32[[]4, 2], fc.bias is f32[[]3], not f32[[]4]" ./binary4 --out sixth
"$KDC" net/learn.kd -D deep=true -o binary5
expect 2 "./binary5: *first/teacher.safetensors does not fit \`teacher\`: missing: conv2.weight, bn2.weight, bn2.bias, \
bn2.running_mean, bn2.running_var, conv3.weight and 4 more" ./binary5 --out sixth
sed -e 's/from from_file//' net/learn.kd >net/fresh.kd
"$KDC" run net/fresh.kd -D deep=true -- --out deep --quiet
expect 2 "./binary: deep/teacher.safetensors does not fit \`teacher\`: unexpected: *, * and 4 more" \
    ./binary --load teacher=deep/teacher.safetensors --out sixth
finish
