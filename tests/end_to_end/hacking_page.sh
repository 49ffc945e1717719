#!/bin/bash
# The commands of docs/hacking.md: what stands below each `$` line of a `console` block is what it prints.
#
#     KDC=build/release/kdc tests/end_to_end/hacking_page.sh [--rewrite]
#
# Where a line of the library stands may differ: it moves often. They read /usr/share/datasets/fashion-mnist (Debian's dataset-fashion-mnist); without it the case is skipped.
set -u
root=$(cd "$(dirname "$0")/../.." && pwd)
KDC=$(realpath "${KDC:-$root/build/release/kdc}")
page=$root/docs/hacking.md
if [[ ! -e /usr/share/datasets/fashion-mnist ]]; then
    echo "cases: 0 passed, 0 failed, 1 skipped"
    exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$root" || exit 2
mkdir "$work/bin"
ln -s "$KDC" "$work/bin/kdc"
PATH=$work/bin:$PATH

# The page with what its commands print now.
inside=false
while IFS= read -r line; do
    case $line in
        '```console') inside=true ;;
        '```') inside=false ;;
    esac
    if [[ $inside = false || $line = '```console' ]]; then
        printf '%s\n' "$line"
    elif [[ $line = '$ '* ]]; then
        printf '%s\n' "$line"
        bash -c "${line#??}" </dev/null
    fi
done <"$page" >"$work/page"

if [[ ${1-} = --rewrite ]]; then
    cp "$work/page" "$page"
fi
unplaced() {
    sed -E 's|(std/[a-z]+[.]kd):[0-9]+:[0-9]+|\1|' "$1"
}
if diff <(unplaced "$page") <(unplaced "$work/page"); then
    echo "cases: 1 passed, 0 failed, 0 skipped"
else
    echo "docs/hacking.md is not what kdc prints (--rewrite writes it)"
    echo "cases: 0 passed, 1 failed, 0 skipped"
    exit 1
fi
