#!/bin/bash
# kdc's command line: what it says of mistakes, and its exit status.
set -u
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 2
passed=0 failed=0

# expect STATUS OUTPUT ARGUMENT...: stdout and stderr together are OUTPUT, a pattern of the shell.
expect() {
    local status=$1 output=$2 found text
    shift 2
    text=$("$KDC" "$@" 2>&1 </dev/null)
    found=$?
    # shellcheck disable=SC2053
    if [[ $found -eq $status && $text == $output ]]; then
        ((passed++))
    else
        ((failed++))
        printf 'FAILED: kdc %s\nexit status %s (expected %s), printed:\n%s\nexpected:\n%s\n' \
            "$*" "$found" "$status" "$text" "$output"
    fi
}

expect 0 'kdc [0-9]*.[0-9]*.[0-9]*' --version
expect 0 'kdc [0-9]*' version
expect 0 'kdc compiles kd*--emit=FORM*Exit status*' --help
expect 0 'kdc compiles kd*' help
expect 0 'kdc compiles kd*' check -h
expect 0 '*differentiate*' help passes
expect 0 '*conv2d*' help ops

expect 1 'kdc: unknown option `--emti`; did you mean `--emit`? (see kdc --help)' --emti=ir
expect 1 'kdc: unknown option `--nothing-like-it` (see kdc --help)' --nothing-like-it
expect 1 'kdc: unknown option `-x` (see kdc --help)' -x
expect 1 'kdc: `-o` needs a value: FILE' a.kd -o
expect 1 'kdc: `--static` takes no value' --static=yes
expect 1 'kdc: `-O` takes 0, 1, 2 or 3, not `4`' -O4
expect 1 'kdc: `--emit` takes ast, tree, ir, loops, llvm, asm, obj or manifest, not `pdf`' --emit=pdf
expect 1 'kdc: `--emit` takes ast, *, not ``' --emit=
expect 1 'kdc: `-D` takes name=value, not `width`' -D width
expect 1 'kdc: `-D` takes name=value, not `=3`' -D=3
expect 1 'kdc: `--dtype` takes f32 or f64, not `i32`' --dtype i32
expect 1 'kdc: `--math` takes strict or fast, not `loose`' --math loose
expect 1 'kdc: `--target-cpu` takes native, x86-64 to x86-64-v4, or a processor as LLVM calls it (haswell, znver4, ...), not `pentagon`' --target-cpu=pentagon
expect 1 'kdc: `--profile` takes a number of batches, not `0`' run a.kd --profile=0
expect 1 'kdc: `--profile` takes a number of batches, not `1e3`' run a.kd --profile=1e3
expect 1 'kdc: `--profile` goes with `kdc run` and with what is built' cost a.kd --profile
expect 1 'kdc: `--profile=N` goes with `kdc run`; what is built takes --profile N itself' a.kd --profile=3
expect 1 'kdc: `--profile` takes the time of training programs, not of a deployed library' a.kd --profile --deploy m -o m.so
expect 1 'kdc: `-o` takes a file name, not ``' a.kd -o ''
expect 1 'kdc: `--print-after` takes a pass, or all, not ``' --print-after=
expect 1 'kdc: one program at a time; there are 2 (see kdc --help)' a.kd b.kd
expect 1 'kdc: one program at a time; there are 0 (see kdc --help)' -O2
expect 1 'kdc: check needs a file' check
expect 1 'kdc: fmt needs a file' fmt
expect 1 'kdc: fmt needs one file' fmt a.kd b.kd -o c.kd
expect 1 'kdc: one program at a time; flags of the run follow after `--`' run a.kd b.kd

expect 2 'kdc: none.kd: No such file or directory' none.kd
expect 2 'kdc: none.kd: No such file or directory' check none.kd
expect 2 'kdc: .: Is a directory' check .
truncate -s 17M large.kd
expect 2 'kdc: large.kd: larger than 16 MiB' check large.kd

echo 'param a = 1' >same.kd
ln same.kd link.kd
expect 1 'kdc: `-o link.kd` would overwrite the program' same.kd -o link.kd
[[ $(cat same.kd) == 'param a = 1' ]] && ((passed++)) || ((failed++))

expect 0 '' same.kd --emit=ast -o out.kd
[[ -s out.kd && $(ls) == $'large.kd\nlink.kd\nout.kd\nsame.kd' ]] && ((passed++)) || ((failed++))
expect 2 'kdc: nowhere/out: No such file or directory' same.kd --emit=ast -o nowhere/out
text=$("$KDC" same.kd --emit=ast 2>&1 >/dev/full)
[[ $? -eq 2 && $text == 'kdc: standard output: No space left on device' ]] && ((passed++)) || ((failed++))
expect 2 'kdc: /dev/full: No space left on device' same.kd --emit=ast -o /dev/full
expect 2 'kdc: .: Is a directory' same.kd -o .
expect 2 'kdc: nowhere/out: No such file or directory' same.kd -o nowhere/out
expect 2 'kdc: nowhere/out: No such file or directory' same.kd --emit=obj -o nowhere/out

# What has not all forms.
printf 'module "m" f32\ngraph "g" free {\n  %%0 = const 1 : f32[]\n  %%1 = output "y" %%0 : f32[]\n}\n' >graph.ir
"$KDC" graph.ir --emit=loops -o kernel.loops
sed -n '/^kernel/,/^}/p' kernel.loops >one.loops
expect 1 'kdc: graph.ir has no tree: it is IR' graph.ir --emit=tree
expect 1 'kdc: graph.ir has no manifest: it is not a program' graph.ir --emit=manifest
expect 1 'kdc: graph.ir is IR, not a program: say which form to --emit' graph.ir
expect 1 'kdc: graph.ir is IR, not a program' run graph.ir
expect 1 'kdc: graph.ir is IR, not a program' fmt graph.ir
expect 1 'kdc: one.loops is loop IR: --emit=loops is all that it can become' one.loops --emit=llvm
expect 1 'kdc: `--without` names no pass: `fusion` (see kdc help passes)' same.kd --without=fusion
expect 1 'kdc: `--passes` goes with --emit=ir; *' same.kd --passes=fuse -o out
echo "cases: $passed passed, $failed failed, 0 skipped"
[[ $failed -eq 0 ]]
