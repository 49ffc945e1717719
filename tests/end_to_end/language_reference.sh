#!/bin/bash
# docs/language.md against the sources: its program compiles, its lists of names are what kdc and std/ have,
# its options are those of kdc and of a training binary, what it calls not built is.
#
#     KDC=build/release/kdc tests/end_to_end/language_reference.sh [--rewrite]     writes the lists anew
set -u
root=$(cd "$(dirname "$0")/../.." && pwd)
KDC=${KDC:-$root/build/release/kdc}
page=$root/docs/language.md
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0

# check NAME: passes if the last command did.
check() {
    if [[ $? = 0 ]]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED $1"
    fi
}

# ---- the lists ------------------------------------------------------------------------------------

# The names of primitives, in the order of their tables.
primitives() {
    sed -nE 's/^OP\(([a-z0-9_]+),.* "[^"]+", "[^"]*"\)$/\1/p' "$root/ir/ops.def"
    sed -nE '/^} table\[\]/,/^};/s/^    \{"([a-z0-9_]+)", .*/\1/p' "$root/frontend/builtins.c"
}

list_primitives() {
    local name
    for name in $(primitives | awk '!seen[$0]++'); do
        echo ":help $name" | "$KDC" repl | awk 'NR == 1 { printf "- `%s` ", $0 } NR > 1 { printf " %s", $0 } END { print "" }'
    done | sed 's/`  */`: /'
}

# The declarations of std/*.kd with their comments, module by module.
list_library() {
    local module
    for module in init layers losses metrics optimizers nets distill schedules; do
        echo
        echo "**std.$module**"
        echo
        awk '
            /^## / { doc = doc (doc == "" ? "" : " ") substr($0, 4); next }
            /^(fn|net|optimizer) / { signature = $0; while (signature !~ /\)( =.*| \{.*)$/) { getline; sub(/^ +/, " "); signature = signature $0 } 
                sub(/\) = .*$/, ")", signature); sub(/\) =$/, ")", signature); sub(/\) \{.*$/, ")", signature)
                print "- `" signature "`: " doc }
            { doc = "" }' "$root/std/$module.kd"
    done
    echo
}

# Replaces what stands between `<!-- $1: …` and the next `<!-- end -->` by the file $2.
put() {
    awk -v mark="<!-- $1:" -v file="$2" '
        /^<!-- end -->$/ { inside = 0 }
        !inside { print }
        index($0, mark) == 1 { inside = 1; while ((getline line < file) > 0) print line }' "$3"
}

list_primitives >"$work/primitives"
list_library >"$work/library"
put 'built-in functions' "$work/primitives" "$page" >"$work/page.1"
put library "$work/library" "$work/page.1" >"$work/page"
if [[ ${1-} = --rewrite ]]; then
    cp "$work/page" "$page"
fi
diff "$page" "$work/page"
check 'the lists of names (--rewrite writes them)'
[[ $(ls "$root"/std/*.kd | wc -l) = $(grep -c '^\*\*std\.' "$work/library") ]]
check 'every module of std/ is listed'

# ---- the program ----------------------------------------------------------------------------------

awk '/^```kd$/ { inside = 1; next } /^```$/ { inside = 0 } inside' "$page" >"$work/reference.kd"
output=$("$KDC" check "$work/reference.kd" 2>&1) && [[ -z $output ]]
check "its program: $output"

# ---- options --------------------------------------------------------------------------------------

for option in $("$KDC" --help | grep -oE '^  --?[a-zA-Z-]+' | sed 's/ //g; s/^-O$/-O0/'); do
    grep -qF -e "\`$option" "$page"
    check "option $option of kdc"
done
for flag in $(sed -nE '/^static const Flag flags/,/^};/s/^    \{"([a-z-]+)", .*/\1/p' "$root/runtime/options.c"); do
    grep -qF -e "\`--$flag" "$page"
    check "flag --$flag of a training binary"
done
for command in $(echo :help | "$KDC" repl | sed -nE 's/^  :([a-z]+) .*/\1/p'); do
    grep -qF -e "\`:$command" "$page"
    check "command :$command"
done

# ---- what is not built ----------------------------------------------------------------------------

base='data d = idx("/nowhere") { fields image: u8[1, 28, 28], label: i32; count 64; classes 10 }
net head(x: [N, ...], classes) { return flatten(x) |> linear(classes) as fc }
model m = head(classes = d.classes)'
optimize='batch 32; epochs 1; optimize m with sgd(lr = 0.1)'
step='step (image, label) { let z = m(image); minimize mean(z);'

row=0
while IFS='|' read -r _ place what message _; do
    row=$((row + 1))
    place=${place# } place=${place% }
    what=$(sed -E 's/^ *`//; s/` *$//' <<<"$what")
    message=$(sed -E 's/^ *//; s/ *$//' <<<"$message")
    in_file='' in_phase='' in_step='' in_eval='' in_deploy=''
    case $place in
        'a file') in_file=$what ;;
        'a phase') in_phase=$what ;;
        'a step') in_step=$what ;;
        'an eval') in_eval=$what ;;
        'a deploy') in_deploy=$what ;;
        *) false; check "row $row: where is $place?" ;;
    esac
    {
        echo "$base"
        echo "$in_file"
        echo "train t on d { $optimize; $in_phase"
        echo "$step $in_step }"
        echo "eval (image) { $in_eval } }"
        echo "deploy e (image) { $in_deploy; return m(image) }"
    } >"$work/row.kd"
    "$KDC" check "$work/row.kd" 2>&1 | grep -qF -e "error: $message"
    check "not built: $what"
done < <(sed -n '/^## 19/,$p' "$page" | grep '^| a')

echo "cases: $passed passed, $failed failed, 0 skipped"
[[ $failed = 0 ]]
