#!/bin/bash
# The networks of std.nets by `kdc cost`: parameters and multiply-adds (of convolutions and linear layers, of one
# example) to the unit. The numbers are those that published implementations have; see the comments.
. "$(dirname "$0")/parts/cases.sh"

# image size | net | parameters | multiply-adds, `-` where none are published
nets() {
    cat <<'END'
# CIFAR-100 and TinyImageNet ResNets, stem 3x3
32|resnet(blocks = [2, 2, 2, 2], classes = 100)|11220132|555468800
32|resnet(blocks = [3, 4, 6, 3], classes = 100)|21328292|1159448576
32|resnet(blocks = [3, 4, 6, 3], block = bottleneck, classes = 100)|23705252|1298014208
32|resnet(blocks = [3, 4, 23, 3], block = bottleneck, classes = 100)|42697380|2510168064
32|resnet(blocks = [3, 8, 36, 3], block = bottleneck, classes = 100)|58341028|3722321920
32|resnet(blocks = [2, 2, 2, 2], classes = 10)|11173962|-
64|resnet(blocks = [2, 2, 2, 2], classes = 200)|11271432|2221772800
64|resnet(blocks = [3, 4, 6, 3], block = bottleneck, classes = 200)|23910152|5191647232
# ImageNet ResNets; parameters as torchvision's
224|resnet(blocks = [2, 2, 2, 2], stem = "imagenet", classes = 1000)|11689512|1814073344
224|resnet(blocks = [3, 4, 6, 3], stem = "imagenet", classes = 1000)|21797672|3663761408
224|resnet(blocks = [3, 4, 6, 3], block = bottleneck, stem = "imagenet", classes = 1000)|25557032|4089184256
224|resnet(blocks = [3, 4, 23, 3], block = bottleneck, stem = "imagenet", classes = 1000)|44549160|7801405440
224|resnet(blocks = [3, 8, 36, 3], block = bottleneck, stem = "imagenet", classes = 1000)|60192808|11513626624
# VGG: BYOT's with and without bias, with the head of three layers; ImageNet's; VGG16
32|vgg(blocks = [2, 2, 4, 4, 4], classes = 100)|20086692|398182400
32|vgg(blocks = [2, 2, 4, 4, 4], bias = false, classes = 100)|20081188|398182400
32|vgg(blocks = [2, 2, 4, 4, 4], head = [4096, 4096], classes = 100)|39327652|-
224|vgg(blocks = [2, 2, 4, 4, 4], head = [4096, 4096], classes = 1000)|143678248|19632062464
224|vgg(blocks = [2, 2, 4, 4, 4], norm = false, head = [4096, 4096], classes = 1000)|143667240|19632062464
224|vgg(blocks = [2, 2, 4, 4, 4], bias = false, head = [4096, 4096], classes = 1000)|143672744|19632062464
32|vgg(blocks = [2, 2, 3, 3, 3], classes = 100)|14774436|313247744
# MHGD's VGGs and its VGG with strides
32|vgg(blocks = [2, 2, 3, 3, 3], pools = [true, true, true, false, true], norm = false, head = [1024, 1024], classes = 100)|17964964|401379328
64|vgg(blocks = [2, 2, 3, 3, 3], norm = false, head = [1024, 1024], classes = 200)|18067464|1256136704
32|vgg(blocks = [1, 1, 1, 1, 1], pools = [true, true, true, false, true], norm = false, head = [1024], classes = 100)|6111460|98340864
64|vgg(blocks = [1, 1, 1, 1, 1], norm = false, head = [1024], classes = 200)|6213960|273620992
32|vgg(blocks = [1, 2, 2, 2], widths = [16, 64, 128, 256], pools = [false, false, false, false], strides = [1, 1, 2, 2], bias = false, classes = 100)|1179956|160900096
# RepDistiller's vgg8 and vgg13
32|vgg(blocks = [1, 1, 1, 1, 1], pools = [true, true, true, false, false], names = "blocks", classes = 100)|3965028|96192512
32|vgg(blocks = [2, 2, 2, 2, 2], pools = [true, true, true, false, false], names = "blocks", classes = 100)|9462180|284936192
# Wide ResNets
32|wide_resnet(depth = 10, widen = 4, classes = 100)|1221940|166142976
32|wide_resnet(depth = 22, widen = 4, classes = 100)|4322100|619127808
32|wide_resnet(depth = 16, widen = 4, classes = 100)|2772020|392635392
32|wide_resnet(depth = 40, widen = 4, classes = 100)|8972340|1298605056
32|wide_resnet(depth = 16, widen = 2, classes = 100)|703284|101118464
32|wide_resnet(depth = 40, widen = 2, classes = 100)|2255156|327610880
32|wide_resnet(depth = 40, widen = 1, classes = 100)|569780|83286272
32|wide_resnet(depth = 16, widen = 1, classes = 100)|180916|26663168
32|wide_resnet(depth = 28, widen = 10, classes = 100)|36536884|5243386368
32|wide_resnet(depth = 28, widen = 12, classes = 100)|52587060|7543974912
32|wide_resnet(depth = 16, widen = 8, classes = 100)|11007540|1548191744
32|wide_resnet(depth = 40, widen = 8, classes = 100)|35794484|5172070400
32|wide_resnet(depth = 22, widen = 8, classes = 100)|17204276|2454161408
32|wide_resnet(depth = 16, widen = 10, classes = 100)|17174324|-
64|wide_resnet(depth = 22, widen = 4, stem_stride = 2, classes = 200)|4347800|619153408
64|wide_resnet(depth = 10, widen = 4, stem_stride = 2, classes = 200)|1247640|166168576
# with four stages, BYOT's 20-8, 44-8 and 28-12
32|wide_resnet(depth = 20, widen = 8, stages = 4, classes = 100)|44621364|2085113856
32|wide_resnet(depth = 44, widen = 8, stages = 4, classes = 100)|119846964|5708992512
32|wide_resnet(depth = 28, widen = 12, stages = 4, classes = 100)|156707124|7393056768
# ResNeXt29 8x64d, 16x64d, 32x4d
32|resnet(blocks = [3, 3, 3], block = bottleneck(groups = 8, group_width = 64), widths = [64, 128, 256], classes = 100)|34518948|5387358208
32|resnet(blocks = [3, 3, 3], block = bottleneck(groups = 16, group_width = 64), widths = [64, 128, 256], classes = 100)|68247460|-
32|resnet(blocks = [3, 3, 3], block = bottleneck(groups = 32, group_width = 4), widths = [64, 128, 256], classes = 100)|4868004|-
# PyramidNet 101 a240 of three and four stages, 110 a48, 164 a270, 200 a240
32|pyramidnet(blocks = [11, 11, 11], alpha = 240, classes = 100)|13688174|2343451008
32|pyramidnet(blocks = [3, 4, 23, 3], alpha = 240, stem_width = 64, classes = 100)|22494734|1687294944
32|pyramidnet(blocks = [18, 18, 18], alpha = 48, block = pyramid_basic, classes = 100)|1778556|-
32|pyramidnet(blocks = [18, 18, 18], alpha = 270, classes = 100)|27319071|-
32|pyramidnet(blocks = [22, 22, 22], alpha = 240, classes = 100)|26844952|-
# MobileNets: MHGD's, V1 for CIFAR and ImageNet, V2 of pytorch-cifar, RepDistiller, torchvision
32|mobilenet_v1(blocks = [1, 2, 2], widths = [64, 128, 256], stem_width = 16, classes = 100)|158244|14910464
32|mobilenet_v1(classes = 100)|3309476|46446592
224|mobilenet_v1(stem_stride = 2, classes = 1000)|4231976|-
32|mobilenet_v2(classes = 100)|2412212|91270144
32|mobilenet_v2(width = 0.5, divisor = 4, project = false, stem_stride = 2, classes = 100)|812836|6523648
224|mobilenet_v2(strides = [1, 2, 2, 2, 1, 2, 1], stem_stride = 2, project = false, expand_first = false, activation = relu6, classes = 1000)|3504872|-
# resnet8 to resnet110, resnet8x4, resnet32x4, MHGD's with a stem of 16
32|resnet_cifar(blocks = 1, classes = 100)|83892|12507392
32|resnet_cifar(blocks = 3, classes = 100)|278324|40818944
32|resnet_cifar(blocks = 9, classes = 100)|861620|125753600
32|resnet_cifar(blocks = 18, classes = 100)|1736564|253155584
32|resnet_cifar(blocks = 1, width = 64, stem_width = 32, classes = 100)|1233540|177071104
32|resnet_cifar(blocks = 5, width = 64, stem_width = 32, classes = 100)|7433860|1083040768
32|resnet_cifar(blocks = 1, width = 64, stem_width = 16, classes = 100)|1222836|166142976
# ShuffleNets of pytorch-cifar, the last of RepDistiller; counted from their definitions
32|shufflenet_v1(classes = 100)|949258|38691456
32|shufflenet_v1(groups = 2, widths = [200, 400, 800], classes = 100)|959672|39686080
32|shufflenet_v2(classes = 100)|1356104|45094272
32|shufflenet_v2(widths = [48, 96, 192], classes = 100)|444292|10994176
32|shufflenet_v2(stem_kernel = 1, classes = 100)|1355528|44504448
END
}

# image size | net | part | multiply-adds up to its end
parts() {
    cat <<'END'
32|resnet(blocks = [2, 2, 2, 2], classes = 100)|layer1|152764416
32|resnet(blocks = [2, 2, 2, 2], classes = 100)|layer2|286982144
32|resnet(blocks = [2, 2, 2, 2], classes = 100)|layer3|421199872
32|resnet(blocks = [2, 2, 2, 2], classes = 100)|layer4|555417600
32|resnet(blocks = [3, 4, 6, 3], classes = 100)|layer1|228261888
32|resnet(blocks = [3, 4, 6, 3], classes = 100)|layer2|513474560
32|resnet(blocks = [3, 4, 6, 3], classes = 100)|layer3|949682176
32|resnet(blocks = [3, 4, 6, 3], classes = 100)|layer4|1159397376
32|resnet(blocks = [3, 4, 6, 3], block = bottleneck, classes = 100)|layer1|219873280
32|resnet(blocks = [3, 4, 6, 3], block = bottleneck, classes = 100)|layer2|555417600
32|resnet(blocks = [3, 4, 6, 3], block = bottleneck, classes = 100)|layer3|1033568256
32|resnet(blocks = [3, 4, 6, 3], block = bottleneck, classes = 100)|layer4|1297809408
32|resnet(blocks = [3, 4, 23, 3], block = bottleneck, classes = 100)|layer3|2245722112
32|resnet(blocks = [3, 4, 23, 3], block = bottleneck, classes = 100)|layer4|2509963264
32|resnet(blocks = [3, 8, 36, 3], block = bottleneck, classes = 100)|layer2|840630272
32|resnet(blocks = [3, 8, 36, 3], block = bottleneck, classes = 100)|layer3|3457875968
32|resnet(blocks = [3, 8, 36, 3], block = bottleneck, classes = 100)|layer4|3722117120
224|resnet(blocks = [2, 2, 2, 2], stem = "imagenet", classes = 1000)|conv1|118013952
224|resnet(blocks = [2, 2, 2, 2], stem = "imagenet", classes = 1000)|layer1|580435968
224|resnet(blocks = [2, 2, 2, 2], stem = "imagenet", classes = 1000)|layer2|991477760
224|resnet(blocks = [2, 2, 2, 2], stem = "imagenet", classes = 1000)|layer3|1402519552
224|resnet(blocks = [2, 2, 2, 2], stem = "imagenet", classes = 1000)|layer4|1813561344
32|vgg(blocks = [2, 2, 4, 4, 4], names = "blocks", classes = 100)|block0|39518208
32|vgg(blocks = [2, 2, 4, 4, 4], names = "blocks", classes = 100)|block1|96141312
32|vgg(blocks = [2, 2, 4, 4, 4], names = "blocks", classes = 100)|block2|228261888
32|vgg(blocks = [2, 2, 4, 4, 4], names = "blocks", classes = 100)|block3|360382464
32|vgg(blocks = [2, 2, 4, 4, 4], names = "blocks", classes = 100)|block4|398131200
32|resnet(blocks = [3, 3, 3], block = bottleneck(groups = 8, group_width = 64), widths = [64, 128, 256], classes = 100)|layer1|1629159424
32|resnet(blocks = [3, 3, 3], block = bottleneck(groups = 8, group_width = 64), widths = [64, 128, 256], classes = 100)|layer2|3508207616
32|resnet(blocks = [3, 3, 3], block = bottleneck(groups = 8, group_width = 64), widths = [64, 128, 256], classes = 100)|layer3|5387255808
32|pyramidnet(blocks = [11, 11, 11], alpha = 240, classes = 100)|layer1|761837568
32|pyramidnet(blocks = [11, 11, 11], alpha = 240, classes = 100)|layer2|1739458048
32|pyramidnet(blocks = [11, 11, 11], alpha = 240, classes = 100)|layer3|2343348608
32|resnet_cifar(blocks = 1, width = 64, stem_width = 32, classes = 100)|layer1|59604992
32|resnet_cifar(blocks = 1, width = 64, stem_width = 32, classes = 100)|layer2|118325248
32|resnet_cifar(blocks = 1, width = 64, stem_width = 32, classes = 100)|layer3|177045504
32|resnet_cifar(blocks = 5, width = 64, stem_width = 32, classes = 100)|layer1|361594880
32|resnet_cifar(blocks = 5, width = 64, stem_width = 32, classes = 100)|layer2|722305024
32|resnet_cifar(blocks = 5, width = 64, stem_width = 32, classes = 100)|layer3|1083015168
END
}

# cost SIZE: writes $work/SIZE.cost, the table of all nets for images of that size; line i of SIZE.nets is m{i}.
cost() {
    { nets; parts; } | awk -F'|' -v size="$1" '$1 == size && !seen[$2]++ { print $2 }' >"$work/$1.nets"
    awk -v size="$1" '
        BEGIN {
            print "use std.nets"
            print "data d = idx(\"nowhere\") { fields image: f32[3, " size ", " size "]; count 4 }"
        }
        {
            print "model m" NR " = " $0
            print "train t" NR " on d { batch 2; epochs 1; step (image) { report r = mean(m" NR "(image)) } }"
        }
    ' "$work/$1.nets" >"$work/$1.kd"
    "$KDC" cost -O0 "$work/$1.kd" >"$work/$1.cost" || echo "FAILED kdc cost $1.kd"
}

# All that was counted, by "SIZE|NET" and "SIZE|NET|PART".
declare -A parameters macs up_to
for size in 32 64 224; do
    cost $size
    mapfile -t -O 1 net <"$work/$size.nets"
    while read -r name a b c; do
        case $name in
            m[0-9]*) at="$size|${net[${name#m}]}" parameters[$at]=$a macs[$at]=$b ;;
            .*) up_to[$at|${name#.}]=$c ;;
            graph) break ;;
        esac
    done < <(tail -n +2 "$work/$size.cost")
done

while IFS='|' read -r size name expected_parameters expected_macs; do
    [[ $size = '#'* ]] && continue
    equal "parameters of $name on $size" "$expected_parameters" "${parameters["$size|$name"]-nothing}"
    [[ $expected_macs = - ]] || equal "MACs of $name on $size" "$expected_macs" "${macs["$size|$name"]-nothing}"
done < <(nets)
while IFS='|' read -r size name part expected; do
    equal "MACs of $name on $size up to $part" "$expected" "${up_to["$size|$name|$part"]-nothing}"
done < <(parts)

# ---- a pair: connectors, forward and backward -----------------------------------------------------

cat >"$work/pair.kd" <<'END'
use std.nets
use std.distill
data d = idx("nowhere") { fields image: f32[3, 32, 32], label: i32; count 8; classes 100 }
model teacher = resnet(blocks = [3, 8, 36, 3], block = bottleneck, classes = 100)
model student = resnet(blocks = [3, 4, 6, 3], block = bottleneck, classes = 100)
train distill on d {
    batch 4; epochs 1
    optimize student with sgd(lr = 0.1)
    step (image, label) {
        let s = student(image)
        let t = teacher(image)
        minimize sum([channel_loss(s[i] |> connector(t[i].channels) as "connector{i}", t[i]) for i in 0..4])
        minimize cross_entropy(s, label) + guided_kd(s, t, label)
    }
}
train mimic on d {
    batch 4; epochs 1
    optimize student.layer1, student.conv1, student.bn1 with sgd(lr = 0.1)
    step (image) { minimize channel_loss(student(image).layer1, teacher(image).layer1) }
}
END
"$KDC" cost "$work/pair.kd" >"$work/pair.cost"
equal 'kdc cost of a pair of ResNets' 0 $?
count() { awk -v name="$1" -v column="$2" '$1 == name { print $column; exit }' "$work/pair.cost"; }
equal 'connector 0' 66048 "$(count distill.connector0 2)"
equal 'connector 1' 263168 "$(count distill.connector1 2)"
equal 'connector 2' 1050624 "$(count distill.connector2 2)"
equal 'connector 3' 4198400 "$(count distill.connector3 2)"

# Forward is each net once, backward the student and its connectors twice, but for the gradient by the image.
teacher=3722321920 student=1298014208 stem=$((64 * 3 * 9 * 32 * 32))
connectors=$((256 * 256 * 1024 + 512 * 512 * 256 + 1024 * 1024 * 64 + 2048 * 2048 * 16))
equal 'forward' $((4 * (teacher + student + connectors))) "$(count distill.step0 3)"
equal 'backward' $((4 * (2 * (student + connectors) - stem))) "$(count distill.step0 4)"
# What lies behind the last tap is not there.
equal 'forward to layer1' $((4 * 2 * 219873280)) "$(count mimic.step0 3)"
equal 'backward from layer1' $((4 * (2 * 219873280 - stem))) "$(count mimic.step0 4)"

# What the tables are headed and what is asked for.
for text in 'MACs up to here' 'constant bytes' 'largest graph' 'peak bytes' 'kept bytes' 'arena bytes' '(shared)'; do
    grep -q "$text" "$work/pair.cost"
    equal "the table has '$text'" 0 $?
done
message=$("$KDC" cost "$work/pair.kd" "$work/pair.kd" 2>&1)
equal 'two programs' 'kdc: cost takes one program; there are 2' "$message"

finish
