# Sourced by the scripts of this folder: a folder of their own to work in, and a count of cases.
# They run with $KDC, the executable (without it, the release build's), and $KDC_BUILD, the build tree.
set -u
parts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$parts/../../.." && pwd)
KDC=$(realpath -m "${KDC:-$root/build/release/kdc}")
shared=$(realpath -m "${KDC_SHARED:-$root/../shared}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 2
passed=0 failed=0 skipped=0

# check NAME COMMAND ...: a case, which passes if the command does; what it printed is shown if not.
check() {
    local name=$1 text
    shift
    if text=$("$@" 2>&1); then
        ((passed++))
    else
        ((failed++))
        printf 'FAILED: %s\n  %s\n%s\n' "$name" "$*" "$(tail -n 40 <<<"$text")"
    fi
}

# ok NAME EXPRESSION: a case, which passes if the expression does; for what needs the shell's own words.
ok() {
    if eval "$2"; then
        ((passed++))
    else
        ((failed++))
        echo "FAILED: $1: $2"
    fi
}

# equal NAME EXPECTED FOUND: a case, which passes if the two are the same text.
equal() {
    if [[ $2 = "$3" ]]; then
        ((passed++))
    else
        ((failed++))
        echo "FAILED $1: $2 expected, $3 found"
    fi
}

# ends STATUS PATTERN COMMAND ...: its exit status; a pattern of the shell for all that it prints.
ends() {
    local status=$1 pattern=$2 text found
    shift 2
    text=$("$@" 2>&1 </dev/null)
    found=$?
    printf 'exit status %s, expected %s\nprinted:  %s\nexpected: %s\n' "$found" "$status" "$text" "$pattern"
    # shellcheck disable=SC2053
    [[ $found -eq $status && $text == $pattern ]]
}

# has PATTERN FILE: the whole file is like the pattern of the shell.
has() {
    local text
    text=$(<"$2")
    printf '%s\n' "$text"
    # shellcheck disable=SC2053
    [[ $text == $1 ]]
}

# The newest checkpoint of a run.
newest() {
    local all=("$1"/checkpoints/*.kdck)
    echo "${all[-1]}"
}

# same_run A B: what two runs left behind is the same to the bit; the numbers of the checkpoints may differ.
same_run() {
    cmp "$(newest "$1")" "$(newest "$2")" && cmp "$1/metrics.csv" "$2/metrics.csv" &&
        for weights in "$1"/*.safetensors; do
            cmp "$weights" "$2/${weights##*/}" || return
        done &&
        [[ -z $(find "$2" -name '*.tmp') ]]
}

# agree A B: the columns that both metrics have, wherever both have a value; at least 10 of them.
agree() {
    awk -F, '
        FNR == 1 { file++; for (i = 4; i <= NF; i++) name[file, i] = $i; next }
        { for (i = 4; i <= NF; i++) if ($i != "") value[file, FNR, name[file, i]] = $i }
        END {
            for (key in value) {
                split(key, part, SUBSEP)
                other = 2 SUBSEP part[2] SUBSEP part[3]
                if (part[1] != 1 || !(other in value)) continue
                compared++
                a = value[key]; b = value[other]; d = a - b; if (d < 0) d = -d
                if (!(d <= 1e-11 * (1 + (a < 0 ? -a : a)))) { print part[3], a, b; wrong++ }
            }
            print compared + 0, "compared"
            exit wrong > 0 || compared < 10
        }' "$1/metrics.csv" "$2/metrics.csv"
}

# unpacked SET: the folder of a real data set, unpacked once into the build tree; nothing where $KDC_SHARED lacks it.
unpacked() {
    local from=$shared/data to=${KDC_BUILD:-$root/build/release}/data
    [[ -d $from/$1 ]] || return 1
    mkdir -p "$to"
    (
        flock 9
        [[ -e $to/$1.unpacked ]] || { sh "$from/unpack.sh" "$to" "$1" && touch "$to/$1.unpacked"; }
    ) 9>"$to/$1.lock" >&2 || return
    echo "$to/$1"
}

finish() {
    echo "cases: $passed passed, $failed failed, $skipped skipped"
    [[ $failed -eq 0 ]]
    exit
}
