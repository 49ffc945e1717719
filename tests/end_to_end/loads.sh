#!/bin/bash
# `load m from …` and `model m = … from …`: when weights are set, from files, models, parts and lists of them.
. "$(dirname "$0")/parts/cases.sh"
"$parts/make_dots" dots 300 100

cat >head.txt <<'END_OF_PROGRAM'
data dots = idx("dots")
net body(x, width = 6) {
    tap low = x |> conv(width) as conv1 |> batch_norm as bn1 |> relu
    return low |> conv(width) as conv2 |> batch_norm as bn2 |> relu
}
net tiny(x, classes = 4) {
    let y = x |> body as body
    tap middle = y
    split at middle
    return y |> global_average_pool |> linear(classes) as fc
}
END_OF_PROGRAM

# program NAME <<< what follows: a file with the nets; `STEP m` stands for a step that trains m.
program() {
    { cat head.txt -; } |
        sed -E 's/STEP (\w+)/optimize \1 with sgd(lr = 0.2, momentum = 0.9)\n step (image, label) { minimize cross_entropy(\1(image), label) }/; s/USE ([^ ]+)/optimize probe with sgd(lr = 0.1)\n step (image, label) { minimize cross_entropy(probe(flatten(image)), label) + 0 * mean(\1(image)) }/' >"$1.kd"
}
probe='model probe = linear(channels = 4)'
# leaves NAME FILE WHAT: the program NAME, run, leaves WHAT.safetensors with the bytes of FILE.
leaves() {
    "$KDC" run "$1.kd" -- --quiet --threads 1 --out "of_$1" "${@:4}" && cmp "of_$1/$3.safetensors" "$2"
}
changes() {
    "$KDC" run "$1.kd" -- --quiet --threads 1 --out "of_$1" "${@:4}" && ! cmp "of_$1/$3.safetensors" "$2"
}

program teach <<'END_OF_PROGRAM'
model a = tiny
model b = tiny
model low = body
train first on dots { batch 64; epochs 1; STEP a }
train second on dots { batch 64; epochs 1; STEP b }
train third on dots { batch 64; epochs 1; optimize low with sgd(lr = 0.1); step (image) { minimize mean(low(image) ^ 2) } }
deploy a
deploy b
deploy low
END_OF_PROGRAM
check "models to begin with" "$KDC" run teach.kd -- --quiet --out . --threads 1

# ---- load -------------------------------------------------------------------------------------------

program file <<<"
model m = tiny
train t on dots { batch 64; epochs 0; load m from \"a.safetensors\"; STEP m }
deploy m"
check "a file, when a phase begins" leaves file a.safetensors m
program model <<<"
model m = tiny
model other = tiny from \"b.safetensors\"
train t on dots { batch 64; epochs 0; load m from other; freeze other
    optimize m with sgd(lr = 0.1); step (image) { minimize l2(m(image), other(image)) } }
deploy m"
check "a model" leaves model b.safetensors m
program each <<<"
model m = tiny
train t on dots { batch 64
    STEP m
    phase one { epochs 1 }
    phase two { load m from \"a.safetensors\"; epochs 0 } }
deploy m"
check "a phase's, with that phase" leaves each a.safetensors m
program once <<<"
option more = 1
model m = tiny
train t on dots { batch 64; load m from \"a.safetensors\"
    STEP m
    phase one { epochs more }
    phase two { epochs 0 }
    phase last { epochs 0 } }
deploy m"
check "a block's, once" changes once a.safetensors m
rm -r of_once
check "when it begins" leaves once a.safetensors m --more 0
rm -r of_once
check "with the first phase that is not left out" leaves once a.safetensors m --only t.two
program twice <<<"
model m = tiny
train t on dots { batch 64; epochs 0; load m from \"a.safetensors\"; load m from \"b.safetensors\"; STEP m }
deploy m"
check "in the order of the program" leaves twice b.safetensors m
program fresh <<<"
model m = tiny
train t on dots { batch 64; epochs 0; model n = tiny; load m from \"a.safetensors\"; load n from m
    STEP m
    load m from \"b.safetensors\"
    load m from n }
deploy m"
sed -i 's/minimize cross_entropy(m(image), label)/minimize cross_entropy(m(image), label) + 0 * mean(n(image))/' fresh.kd
check "after train-only modules have begun" leaves fresh a.safetensors m

# ---- from -------------------------------------------------------------------------------------------

program like <<<"
$probe
model m = tiny from \"a.safetensors\"
model slow = like(m) from m
train t on dots { batch 64; epochs 0; USE slow(image)+m }
deploy slow"
check "from a model, at the start of the run" leaves like a.safetensors slow
program updated <<<"
model m = tiny from \"a.safetensors\"
model slow = like(m) from m
train t on dots { batch 64; epochs 1; optimize m with sgd(lr = 0.0)
    step (image, label) { minimize cross_entropy(m(image), label) }
    step () { slow <- slow + 0 * m }
    eval (image, label) { report top1 = accuracy(slow(image), label) } }
deploy slow"
check "of one that an update makes" leaves updated a.safetensors slow
program part <<<"
$probe
model m = tiny
model copy = like(m.body) from \"low.safetensors\"
model slow = like(m.body) from \"low.safetensors\"
train first on dots { batch 64; epochs 1; load m.body from \"low.safetensors\"; freeze m
    optimize probe with sgd(lr = 0.1)
    step (image, label) {
        let y = m(image)
        minimize cross_entropy(probe(flatten(image)), label) + 0 * mean(copy(image))
        slow <- 0.5 * slow + 0.5 * m.body
    }
    eval (image) { report mean = mean(slow(image)) } }
train second on dots { batch 64; epochs 0
    model back = like(m.body) from m.body
    optimize back with sgd(lr = 0.1)
    step (image, label) { let y = m(image); minimize mean(back(image)) } }
deploy copy
deploy slow
deploy second.back"
check "like a part, from a file" leaves part low.safetensors copy
check "that follows the part" cmp of_part/slow.safetensors low.safetensors
check "from the part, when a block begins" cmp of_part/second.back.safetensors low.safetensors
program unused <<<"
$probe
model m = tiny from \"a.safetensors\"
model slow = like(m) from m
train t on dots { batch 64; epochs 0; USE slow }
deploy slow"
check "from one that nothing applies" leaves unused a.safetensors slow
program later <<<"
model m = tiny
train first on dots { batch 64; epochs 1; STEP m }
train second on dots { batch 64; epochs 0
    model n = like(m) from m
    optimize n with sgd(lr = 0.1); step (image, label) { minimize cross_entropy(n(image), label) } }
deploy m
deploy second.n"
check "in a block, what it is when the block begins" "$KDC" run later.kd -- --quiet --out of_later --threads 1
check "the same" cmp of_later/m.safetensors of_later/second.n.safetensors
program phases <<<"
model m = tiny
train first on dots { batch 64; epochs 1; STEP m }
train second on dots { batch 64
    model n = like(m) from m
    phase one { epochs 1; STEP m }
    phase two { epochs 0; optimize n with sgd(lr = 0.1); step (image, label) { minimize cross_entropy(n(image), label) } } }
model before = like(m)
deploy second.n"
check "with phases" "$KDC" run phases.kd -- --quiet --out of_phases --threads 1
check "that of its beginning" cmp of_later/m.safetensors of_phases/second.n.safetensors
program lists <<<"
$probe
model ms = [tiny(classes = 4), tiny] from [\"a.safetensors\", \"b.safetensors\"]
model ns = [like(m) for m in ms] from [ms[1], ms[0]]
model same = [tiny for i in 0..2] from ms[0]
model file = [tiny for i in 0..2] from \"b.safetensors\"
train t on dots { batch 64; epochs 0
    optimize probe with sgd(lr = 0.1)
    step (image, label) {
        minimize cross_entropy(probe(flatten(image)), label)
        let all = [m(image) for m in ms] 
        let more = [mean(m(image)) for group in [ns, same, file] for m in group]
        report z = sum([mean(z) for z in all]) + sum(more)
    } }
deploy ms[0]
deploy ms[1]
deploy ns[0]
deploy ns[1]
deploy same[1]
deploy file[1]"
check "lists" "$KDC" run lists.kd -- --quiet --out of_lists --threads 1
for pair in ms.0:a ms.1:b ns.0:b ns.1:a same.1:a file.1:b; do
    check "${pair%:*} from ${pair#*:}" cmp "of_lists/${pair%:*}.safetensors" "${pair#*:}.safetensors"
done
program nested <<<"
net wrapped(x) {
    model inner = tiny from \"a.safetensors\"
    model copy  = like(inner) from inner
    return inner(x) + copy(x) + inner(x)
}
model m = wrapped
model n = tiny
model k = tiny
train t on dots { batch 64; epochs 0; load n from m.inner; load k from m.copy; optimize m, n, k with sgd(lr = 0.1)
    step (image) { minimize mean(m(image) + n(image) + k(image)) } }
deploy n
deploy k"
check "in a net" leaves nested a.safetensors n
check "a model there" cmp of_nested/k.safetensors a.safetensors
program own <<<"
net wrapped(x) {
    model inner = tiny from \"a.safetensors\"
    return inner(x)
}
model n = tiny
train t on dots { batch 64; epochs 0; model w = wrapped; load n from w.inner; optimize n with sgd(lr = 0.1)
    step (image) { minimize mean(w(image) + n(image)) } }
deploy n"
check "in a net of a phase" leaves own a.safetensors n

# ---- parts ------------------------------------------------------------------------------------------

program parts <<<"
param what = 0
model m = tiny
model n = tiny from \"b.safetensors\"
model only = body from \"low.safetensors\"
train t on dots { batch 64; epochs 0
    load m from \"a.safetensors\"
    if what == 1 { load m.body from \"b.safetensors\"; load m.fc from n.fc }
    if what == 2 { load m.sections[0] from \"b.safetensors\"; load m.sections[1] from n.sections[1] }
    if what == 3 { load m.body from n; load m[\"fc\"] from n }
    if what == 4 { load m.body from \"low.safetensors\" }
    if what == 5 { load m.body from only }
    if what == 6 { load m.norms from \"b.safetensors\"; load m.fc.weight from n.fc.weight; load m.fc.bias from \"b.safetensors\"
                   load m.body.conv1.weight from n; load m.body.conv2.weight from n }
    if what == 7 { load m.fc from \"b.safetensors\" }
    optimize m with sgd(lr = 0.1)
    step (image, label) { minimize cross_entropy(m(image), label) + 0 * mean(n(image)) + 0 * mean(only(image)) } }
deploy m"
for what in 1 2 3 6; do
    "$KDC" run parts.kd -D what=$what -- --quiet --threads 1 --out parts$what
    check "all of it, part by part, $what" cmp parts$what/m.safetensors b.safetensors
done
for what in 4 5 7; do
    "$KDC" run parts.kd -D what=$what -- --quiet --threads 1 --out parts$what
done
check "a part from a file of its own, or from a model" cmp parts4/m.safetensors parts5/m.safetensors
check "is another than all" bash -c '! cmp -s parts4/m.safetensors a.safetensors && ! cmp -s parts7/m.safetensors a.safetensors'
check "one part alone" bash -c '! cmp -s parts7/m.safetensors b.safetensors'

# ---- what a block owns, from outside ----------------------------------------------------------------

program outside <<<"
model m = tiny
train first on dots { batch 64; epochs 1
    model heads = [linear(channels = 4) for i in 0..2]
    model alone = linear(channels = 4)
    optimize m, heads, alone with sgd(lr = 0.1)
    step (image, label) {
        let z = m(image).middle |> global_average_pool
        minimize cross_entropy(m(image), label) + cross_entropy(heads[0](z), label) + cross_entropy(heads[1](z), label)
               + cross_entropy(alone(z), label)
    } }
train second on dots { batch 64; epochs 1
    freeze first.heads[0], m
    model large = linear(channels = 400)
    optimize first.heads[1], large with sgd(lr = 0.1, momentum = 0.9)
    step (image, label) {
        let z = m(image).middle |> global_average_pool
        minimize cross_entropy(first.heads[1](z), label) + kd(first.heads[1](z), first.heads[0](z)) + 1e-3 * mean(large(z) ^ 2)
    }
    eval (image, label) {
        let z = m(image).middle |> global_average_pool
        report zero = mean(first.heads[0](z)), alone = mean(first.alone(z)), one = mean(first.heads[1](z))
    } }
deploy both (image) { return [first.heads[k](global_average_pool(m(image).middle)) for k in 0..2] }
deploy first.heads[0]
deploy first.alone"
sed -i '1i use std.distill' outside.kd
check "a block's models from outside" "$KDC" run outside.kd -- --quiet --out of_outside --threads 1
sed '/^train second/,/^    } }/d' outside.kd >inside.kd
check "without the second block" "$KDC" run inside.kd -- --quiet --out of_inside --threads 1
check "what it freezes is as the first block left it" cmp of_outside/first.heads.0.safetensors of_inside/first.heads.0.safetensors
check "what it only looks at too" cmp of_outside/first.alone.safetensors of_inside/first.alone.safetensors

# ---- the world --------------------------------------------------------------------------------------

program late <<<"
model m = tiny
train t on dots { batch 64
    STEP m
    phase one { epochs 2 }
    phase two { epochs 2; load m from \"late.safetensors\" } }
deploy m"
check "it compiles" "$KDC" late.kd -o late
check "a file for later is missed when the run begins" \
    ends 2 "./late: $work/late.safetensors: cannot be opened: No such file or directory" ./late --out none --quiet
cp low.safetensors late.safetensors
check "and is compared" ends 2 "./late: $work/late.safetensors does not fit \`m\`: missing: *; unexpected: *" \
    ./late --out none --quiet
cp a.safetensors late.safetensors
check "another file" ./late --quiet --threads 1 --load m=b.safetensors --out other
check "a run" ./late --quiet --threads 1 --out whole
check "does not end the same" bash -c '! cmp -s whole/m.safetensors other/m.safetensors'
check "not asked for when its phase is left out" bash -c 'mv late.safetensors gone; ./late --quiet --only t.one --threads 1 --out some'
mv gone late.safetensors
check "help" bash -c './late --help | grep -q "^  --load MODEL=FILE "'
check "--load names what is loaded" \
    ends 1 "./late: --load takes MODEL=FILE, not \`n=x\`; the models with weights from a file: m" ./late --load n=x
for point in 5 17 29 41; do
    { KDC_FAULT=crash:$point ./late --quiet --out "killed$point" --threads 1 --save-every 2; } 2>/dev/null
    check "resumed after operation $point" ./late --quiet --out "killed$point" --threads 1 --resume
    check "and it ends with the same bits, operation $point" same_run whole "killed$point"
done
program early <<<"
model m = tiny
train t on dots { batch 64; epochs 3; load m from \"late.safetensors\"; STEP m }
deploy m"
check "a phase that loads" "$KDC" early.kd -o early
check "a run of it" ./early --quiet --out early_whole --threads 1
{ KDC_FAULT=crash:40 ./early --quiet --out begun --threads 1 --save-every 1; } 2>/dev/null
check "one that stops in the middle" grep -aq '"phase":0,"epoch":.,"batch":[1-9]' "$(newest begun)"
rm late.safetensors
check "nothing is loaded when it goes on" ./early --quiet --out begun --threads 1 --resume
check "to the same bits" same_run early_whole begun
finish
