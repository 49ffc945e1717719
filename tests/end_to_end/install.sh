#!/bin/bash
# The installed kdc finds its runtime, wherever the prefix lies, and compiles a program.
. "$(dirname "$0")/parts/cases.sh"
"$parts/make_dots" dots 100 50
cp "$parts/dots.kd" .
if ldd "$KDC" | grep -q libasan; then # a sanitized libkdrt.a is no matter of the prefix
    skipped=1
    finish
fi
check "it installs" cmake --install "$KDC_BUILD" --prefix "$work/first"
mv first prefix # relocatable
check "a header for C" test -s prefix/include/kdrt.h
check "it compiles" env -u KDC_RUNTIME prefix/bin/kdc dots.kd -o train
check "it trains" ./train --quiet --out out --threads 1
check "it runs" prefix/bin/kdc run dots.kd -- --quiet --out jit --threads 1
check "to the same bits" same_run out jit
check "it links statically" prefix/bin/kdc dots.kd --static -o static
rm prefix/lib/kdc/libkdrt.a
check "it says what is missing" ends 2 'kdc: *libkdrt.a*' prefix/bin/kdc dots.kd -o again
finish
