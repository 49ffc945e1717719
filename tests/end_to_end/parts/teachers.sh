# Sourced by teachers*.sh: the images for teachers.kd, and what it reported. Ends the script where there are none.
# shellcheck shell=bash disable=SC2154
. "$(dirname "${BASH_SOURCE[0]}")/cases.sh"

if ! hundred=$(unpacked cifar-100) || ! ten=$(unpacked cifar-10) || ! [[ -d $shared/teachers ]]; then
    echo "skipped: no data and teachers in $shared (KDC_SHARED)"
    ((skipped++))
    finish
fi

# Nothing is trained: the training parts are there because a data set has one.
mkdir -p first/cifar-100 first/cifar-10 whole/cifar-100
for folder in first whole; do head -c $((3074 * 64)) "$hundred/train.bin" >$folder/cifar-100/train.bin; done
head -c $((3074 * 64)) "$hundred/test.bin" >first/cifar-100/test.bin
ln -s "$hundred/test.bin" whole/cifar-100/test.bin
head -c $((3073 * 64)) "$ten/data_batch_1.bin" >first/cifar-10/data_batch_1.bin
head -c $((3073 * 64)) "$ten/test_first1000.bin" >first/cifar-10/test_batch.bin

# run_only BLOCK: that block of teachers.kd; value_of REPORT: what it reported.
run_only() {
    "$KDC" run "$parts/teachers.kd" -D teachers="$shared/teachers" -D images="$work" -- --only "$1" --out run --quiet
}
value_of() { grep -o "\"test_$1\": *[-+.e0-9]*" run/metrics.jsonl | tail -n 1 | grep -o '[-+.e0-9]*$'; }

# at_most LIMIT VALUE; within TOLERANCE WANTED VALUE. A value that is missing is neither.
at_most() { [[ -n $2 ]] && awk -v limit="$1" -v x="$2" 'BEGIN { print x; exit !(x <= limit) }'; }
within() { [[ -n $3 ]] && awk -v d="$1" -v a="$2" -v x="$3" 'BEGIN { print x; exit !(x - a <= d && a - x <= d) }'; }
