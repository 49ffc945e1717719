#!/bin/bash
# Only alloc.c and io.c of the runtime reach memory and the disk, nothing ends the process, and the
# one mutable global is the signal that came.
set -u
library=$KDC_BUILD/libkdrt.a
passed=0 failed=0

# refuse TEXT OBJECTS SYMBOLS: no member but OBJECTS refers to SYMBOLS.
refuse() {
    local found
    found=$(nm -A -u "$library" 2>/dev/null | grep -Ev "$2" | grep -E " U ($3)(@|\$)")
    if [[ -z $found ]]; then
        ((passed++))
    else
        ((failed++))
        printf 'FAILED: %s\n%s\n' "$1" "$found"
    fi
}
# deploy.c is all of the runtime that a deployed library carries, and stands alone.
refuse "memory is alloc.c's" ':(alloc|deploy)\.c\.o:' 'malloc|calloc|realloc|free|aligned_alloc|mmap|strdup'
refuse "the disk is io.c's" ':io\.c\.o:' \
    'open|open64|fopen|fopen64|read|write|fsync|rename|unlink|mkdir|ftruncate|ftruncate64|scandir|scandir64'
refuse "nothing ends the process" ':nothing:' 'exit|_exit|abort|fork|system|popen|__assert_fail'

globals=$(nm -A "$library" 2>/dev/null | grep -E ' [bBD] ' | grep -Ev 'stop_signal|completed\.|__asan|__odr')
if [[ -z $globals ]]; then
    ((passed++))
else
    ((failed++))
    printf 'FAILED: mutable globals\n%s\n' "$globals"
fi
printf '%d passed, %d failed\n' "$passed" "$failed"
[[ $failed -eq 0 ]]
