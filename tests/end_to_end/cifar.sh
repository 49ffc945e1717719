#!/bin/bash
# cifar10 and cifar100 as data sets: tiny files made here. teachers_accuracy.sh has the real ones.
. "$(dirname "$0")/parts/cases.sh"

# plane BYTE: 32 by 32 of one value, in octal.
plane() { head -c 1024 /dev/zero | tr '\0' "\\$1"; }
# Red is 0.2, green 0.4, blue 0.6; or all of it white.
colours() { plane 063; plane 146; plane 231; }
white() { plane 377; plane 377; plane 377; }

mkdir ten hundred
{ printf '\7'; colours; printf '\1'; white; } >ten/data_batch_1.bin
{ printf '\4'; white; } >ten/data_batch_2.bin
{ printf '\11'; colours; } >ten/test_batch.bin
{ printf '\1\142'; colours; printf '\3\0'; white; } >hundred/train.bin # coarse 1 and 3, fine 98 and 0
{ printf '\23\143'; colours; } >hundred/test.bin

cat >see.kd <<'END'
fn channel_means(x: [N, C, H, W]) = [mean(slice(x, axis = 1, range = c..c + 1)) for c in 0..C]
data set = cifar10("ten")
model m = linear(channels = set.classes)
train see on set {
    batch  4
    epochs 1
    optimize m with sgd(lr = 0.1)
    step (image, label) {
        let red, green, blue = channel_means(image)
        minimize cross_entropy(m(mean(image, axes = [2, 3])), label)
        report labels = mean(f32(label)), red, green, blue
    }
    eval (image, label) {
        let red, green, blue = channel_means(image)
        report labels = mean(f32(label)), red, green, blue
    }
}
deploy m
END
sed -e 's/cifar10("ten")/cifar100("hundred") { normalize mean = [0.2, 0.4, 0.5], std = [1.0, 1.0, 0.5] }/' \
    -e 's/(image, label)/(image, label, coarse)/' -e 's/report labels/report coarse = mean(f32(coarse)), labels/' see.kd >see100.kd

# row OUT: the values of its last epoch, to four digits.
row() {
    # shellcheck disable=SC2046
    printf '%.4f\n' $(tail -n 1 "$1/metrics.csv" | cut -d, -f4- | tr , ' ') | xargs
}
ok 'the training files one after the other' '"$KDC" run see.kd -- --out ten.run --quiet'
ok 'labels, planes and parts' '[[ $(row ten.run) == "4.0000 0.7333 0.8000 0.8667 9.0000 0.2000 0.4000 0.6000" ]]'
ok 'two labels' '"$KDC" run see100.kd -- --out hundred.run --quiet'
ok 'the fine one is `label`; normalised by channel' \
    '[[ $(row hundred.run) == "2.0000 49.0000 0.4000 0.3000 0.6000 19.0000 99.0000 0.0000 0.0000 0.2000" ]]'

# Every transform, drawn by seed, epoch and example alone: not by threads, nor by batches.
sed -e 's/cifar10("ten")/cifar10("ten") {\
    prepare resize(36), center_crop(size = 32)\
    augment random_crop(pad = 4, mode = "reflect"), horizontal_flip(p = 0.3), auto_augment(fill = 128), cutout(16),\
            color_jitter(strength = 0.5), grayscale, random_resized_crop(size = [32, 32], scale = [0.2, 1])\
}/' see.kd >augmented.kd
for batch in 2 4; do
    for threads in 1 2; do
        sed "s/batch  4/batch  $batch/" augmented.kd >one.kd
        ok "augmented, batches of $batch, $threads threads" \
            '"$KDC" run one.kd -- --out "augmented$batch$threads" --threads $threads --epochs 2 --quiet'
        row "augmented$batch$threads" >>augmented.rows
    done
done
ok 'the same images whatever the threads and batches' '[[ $(sort -u augmented.rows | wc -l) -eq 1 ]]'
ok 'other images than without' '[[ $(cat augmented.rows) != *"0.7333 0.8000 0.8667"* ]]'

# Views: each with its own draws in training, the prepared image in evaluation.
sed -e 's/cifar10("ten")/cifar10("ten") {\
    view left = [random_crop(pad = 12)], right = [random_crop(pad = 12)], same = []\
}/' -e '/let red/d' -e 's/(image, label)/(image, left, right, same, label)/' \
    -e 's/report labels.*/report apart = mean((left - right)^2), pad = mean((left - image)^2), same = mean((same - image)^2)/' \
    see.kd >views.kd
apart='^0[.][0-9]*[1-9][0-9]* 0[.][0-9]*[1-9][0-9]* 0[.]0000 0[.]0000 0[.]0000 0[.]0000$'
ok 'views' '"$KDC" run views.kd -- --out views --quiet'
ok 'are apart in training alone' '[[ $(row views) =~ $apart ]]'
sed -e 's/data set = /data base = /' -e 's/^model m/data set = base { view left = [cutout(30)], same = [] }\n&/' \
    -e 's/(image, left, right, same, label)/(image, left, same, label)/' -e 's/left - right/left - same/' views.kd >again.kd
ok 'another data set has views of its own' '"$KDC" run again.kd -- --out again --quiet'
ok 'in place of those of the first' '[[ $(row again) =~ $apart ]]'
finish
