#!/usr/bin/env bash
# bench/peers/install.sh FOLDER -- the peer that bench/peers/run.py compares kdc with: PyTorch for the CPU in a virtual
# environment, and tcmalloc's library beside it, from Debian's package if this system has that.
set -eu
folder=$1
mkdir -p "$folder"
[ -x "$folder/bin/python" ] || python3 -m venv "$folder"
"$folder/bin/pip" install --no-cache-dir torch==2.13.0 numpy safetensors
mkdir -p "$folder/deb"
if (cd "$folder/deb" && apt-get download libtcmalloc-minimal4 >/dev/null 2>&1); then
    for package in "$folder"/deb/*.deb; do dpkg -x "$package" "$folder/deb"; done
    cp "$folder"/deb/usr/lib/*/libtcmalloc_minimal.so.4 "$folder/libtcmalloc.so"
else
    echo "install.sh: no package libtcmalloc-minimal4; PyTorch runs with malloc alone" >&2
fi
