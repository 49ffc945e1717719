# Sourced by the scripts that train the tables of docs/results.md run by run: their options and the ledger.
# bench/ledger.tsv has a line for each finished run: experiment, seed, epochs, value, seconds, commit; LEDGER names another.
ledger=${LEDGER:-$here/ledger.tsv}
[ -f "$ledger" ] || printf 'experiment\tseed\tepochs\ttop1\tseconds\tcommit\n' >"$ledger"

# read_options ARGUMENT ...: sets the variable that each option is named after; --once is `yes`.
read_options() {
    while [ $# -gt 0 ]; do
        case " $options " in
        *" ${1#--} "*) ;;
        *) echo "${0##*/}: unknown option $1" >&2; exit 2 ;;
        esac
        if [ "$1" = --once ]; then
            once=yes
            shift
        else
            printf -v "${1#--}" %s "$2"
            shift 2
        fi
    done
}

# is_recorded EXPERIMENT SEED
is_recorded() { grep -q "^$1	$2	$epochs	" "$ledger"; }

# record EXPERIMENT SEED REPORT RUN_FOLDER SECONDS: a line with the last value of the report in the test.
record() {
    local value
    value=$(grep -o "\"test_$3\": *[0-9.]*" "$4/metrics.jsonl" | tail -n 1 | grep -o '[0-9.]*$')
    printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$1" "$2" "$epochs" "$value" "$5" "$(git -C "$here" rev-parse --short HEAD)" \
        >>"$ledger"
}
