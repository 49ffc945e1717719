#!/bin/bash
# What is trained beside the networks of the papers and then left behind, by `kdc cost`: parameters and multiply-adds (of
# convolutions and linear layers, of one example) to the unit, as counted from the authors' codes.
. "$(dirname "$0")/parts/cases.sh"

# channels and extent of the map | net | parameters | multiply-adds, `-` where none are known
branches() {
    cat <<'TABLE'
# BYOT's exits on ResNet-18 and 34, and on ResNet-50, 101 and 152
64|32|scala(out = 512, classes = 100, kernel = 8)|1175908|26265600
128|16|scala(out = 512, classes = 100, kernel = 4)|397668|9488384
256|8|scala(out = 512, classes = 100, kernel = 2)|217444|4245504
256|32|scala(out = 2048, classes = 100, kernel = 8)|1555300|54730752
512|16|scala(out = 2048, classes = 100, kernel = 4)|801636|25370624
1024|8|scala(out = 2048, classes = 100, kernel = 2)|670564|13836288
# luanyunteng's on ResNet-50
256|32|scala(out = 2048, classes = 100, kernel = 8, width = 512)|18170980|419635200
512|16|scala(out = 2048, classes = 100, kernel = 4, width = 512)|5719140|151199744
1024|8|scala(out = 2048, classes = 100, kernel = 2, width = 512)|2835556|67313664
# SCAN's gates on ResNet-18, and an exit with its gate
64|32|attention_gate|102784|-
128|16|attention_gate|410368|-
256|8|attention_gate|1639936|-
64|32|scala(out = 512, classes = 100, kernel = 8, gate = attention_gate)|1278692|-
# the journal's exits on ResNet-18, its gates, both, and its adaptation
64|32|sep_branch(widths = [128, 256, 512], classes = 100)|320100|-
128|16|sep_branch(widths = [256, 512], classes = 100)|306276|-
256|8|sep_branch(widths = [512], classes = 100)|254052|-
64|32|separable_gate|9728|-
128|16|separable_gate|35840|-
256|8|separable_gate|137216|-
64|32|sep_branch(widths = [128, 256, 512], classes = 100, gate = separable_gate)|329828|12396544
128|16|sep_branch(widths = [256, 512], classes = 100, gate = separable_gate)|342116|8808448
256|8|sep_branch(widths = [512], classes = 100, gate = separable_gate)|391268|5441536
512|1|adaptation|262656|262144
# channel distillation's connectors to ResNet-18 and ResNet-50
64|32|connector(channels = 64)|4224|4194304
128|16|connector(channels = 128)|16640|4194304
256|8|connector(channels = 256)|66048|4194304
512|4|connector(channels = 512)|263168|4194304
256|32|connector(channels = 256)|66048|67108864
512|16|connector(channels = 512)|263168|67108864
1024|8|connector(channels = 1024)|1050624|67108864
2048|4|connector(channels = 2048)|4198400|67108864
# MHGD's edges between its ResNet's taps
64|1|edge(back = 128)|255296|-
128|1|edge(back = 256)|1014400|-
TABLE
}

branches | awk -F'|' '
    BEGIN {
        print "use std.distill"
        print "net adaptation(x: [N, C, H, W]) { return flatten(x) |> linear(C) as fc }"
        print "net edge(x: [N, C, H, W], back) {"
        print "    let v = normal([N, back])"
        print "    return flatten(x) |> attention(v) as edge"
        print "}"
    }
    /^#/ { next }
    {
        print "data d" ++n " = idx(\"nowhere\") { fields image: f32[" $1 ", " $2 ", " $2 "]; count 4 }"
        print "model m" n " = " $3
        print "train t" n " on d" n " { batch 2; epochs 1; step (image) { report r = mean(m" n "(image)) } }"
    }' >branches.kd
"$KDC" cost -O0 branches.kd >cost || echo 'FAILED kdc cost'
declare -A parameters macs
while read -r name a b _; do [[ $name != m[0-9]* ]] || parameters[$name]=$a macs[$name]=$b; done <cost

n=0
while IFS='|' read -r channels extent net expected_parameters expected_macs; do
    [[ $channels != '#'* ]] || continue
    ((n++))
    check "parameters of $net on $channels x $extent" test "$expected_parameters" = "${parameters[m$n]-}"
    [[ $expected_macs = - ]] || check "MACs of $net on $channels x $extent" test "$expected_macs" = "${macs[m$n]-}"
done < <(branches)
finish
