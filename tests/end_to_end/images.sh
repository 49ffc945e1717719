#!/bin/bash
# Folders of images: a run on the little ones of the fuzzer's corpus, and on Tiny ImageNet's where it is under
# KDC_SHARED, against means that Pillow gives.
. "$(dirname "$0")/parts/cases.sh"
corpus=$root/tests/fuzz/corpus/image

mkdir -p few/train/{ant,bee} few/val/bee
cp "$corpus"/{colour,grey,alpha}.png few/train/ant
cp "$corpus"/{colour,grey,progressive}.jpg few/train/bee
cp "$corpus"/{palette,sixteen}.png few/val/bee

cat >few.kd <<'END_OF_PROGRAM'
data few = images("few") {
    augment random_resized_crop(size = 16), horizontal_flip
    prepare resize(size = 16), center_crop(size = 16)
}
model m = linear(channels = few.classes)
train see on few {
    batch  4
    epochs 2
    optimize m with sgd(lr = 0.1)
    step (image, label) {
        minimize cross_entropy(m(mean(image, axes = [2, 3])), label)
        report first = mean(image), labels = mean(f32(label))
    }
    eval (image, label) { report first = mean(image), second = mean(image ^ 2), labels = mean(f32(label)) }
}
deploy m
END_OF_PROGRAM

ok 'it compiles' '"$KDC" few.kd -o few_train && "$KDC" few.kd --static -o few_static'
ok 'it needs no library of images' '! ldd few_train | grep -E "png|jpeg|libz"'
ok 'or nothing at all' 'ldd few_static 2>&1 | grep -q "not a dynamic executable"'
ok 'it runs' './few_train --out one --quiet --threads 1'
ok 'with four threads' './few_train --out four --quiet --threads 16'
ok 'and is the same' 'cmp one/metrics.csv four/metrics.csv && cmp one/m.safetensors four/m.safetensors'
ok 'through the JIT, and without OpenMP libraries of its own' \
    '"$KDC" run few.kd -- --out jit --quiet && cmp one/metrics.csv jit/metrics.csv && ./few_static --out static --quiet &&
     cmp one/metrics.csv static/metrics.csv'
ok 'labels of both parts' '[[ $(cut -d, -f5,8 one/metrics.csv | tail -n 1) == "0.5,1" ]]'

sed -i 's/, center_crop(size = 16)//' few.kd
"$KDC" check few.kd 2>message
ok 'shapes are worked out' 'grep -q "the images of .few. are \[3, 16, 16\] after .augment. and \[3, 16, 22\] after .prepare." message'
mkdir several && cp "$corpus"/colour.png several/ && cp -r several/. few/train/ant/
printf '\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\11\0\0\0\11' >few/train/ant/small.png
"$KDC" check few.kd 2>message
ok 'images of several sizes need one' 'grep -q "the images of \`few\` are of several sizes, after \`prepare\` too" message'
ok 'with a remedy' 'grep -q "bring them to one: prepare resize(size = 256), center_crop(size = 224)" message'
rm few/train/ant/{small,colour}.png
./few_train --out other --quiet 2>message
ok 'another number of files' 'grep -q "has 5 training examples, but the program was compiled for 6" message'
cp "$corpus"/cmyk.jpg few/train/ant/
./few_train --out other --quiet 2>message
ok 'a file that cannot be read' '[[ $? -eq 2 ]] && grep -q "ant/cmyk.jpg: a JPEG file of CMYK colours" message'

# Means of val, resized to 36 and cut to 32, by Pillow 10 and numpy: -0.10885029, 1.22001280.
if [[ -e $shared/data/tiny-imagenet-10/tiny-imagenet-10.tar.zst ]] && command -v zstd >/dev/null; then
    tar -I zstd -xf "$shared/data/tiny-imagenet-10/tiny-imagenet-10.tar.zst"
    sed -e 's/"few"/"tiny-imagenet-10"/; s/batch  4/batch 125/; s/epochs 2/epochs 1/' \
        -e 's/size = 16), horizontal_flip/size = 32), horizontal_flip\n    normalize mean = [0.485, 0.456, 0.406], std = [0.229, 0.224, 0.225]/' \
        -e 's/prepare.*/prepare resize(size = 36), center_crop(size = 32)/' few.kd >tiny.kd
    ok 'Tiny ImageNet' '"$KDC" run tiny.kd -- --out tiny --quiet'
    ok 'has the pixels that Pillow has' '[[ $(tail -n 1 tiny/metrics.csv) == *,-0.108850*,1.220012*,4.5* ]]'
else
    ((skipped++))
fi
finish
