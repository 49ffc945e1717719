#!/usr/bin/env bash
# bench/peers/install.sh FOLDER -- the peers that bench/peers/run.py compares kdc with: PyTorch and JAX for the CPU in a
# virtual environment; beside them, from Debian's packages if this system has these, tcmalloc's library and oneDNN 2.6.3.
# Nothing is installed into the system.
set -eu
folder=$1
mkdir -p "$folder"
[ -x "$folder/bin/python" ] || python3 -m venv "$folder"
"$folder/bin/pip" install --no-cache-dir torch==2.13.0 jax==0.10.2 numpy safetensors

# unpack PACKAGE...: into $folder/deb
unpack() {
    mkdir -p "$folder/deb"
    for package in "$@"; do
        (cd "$folder/deb" && apt-get download "$package" >/dev/null 2>&1) || return 1
        dpkg -x "$folder/deb/$package"_*.deb "$folder/deb"
    done
}

if unpack libtcmalloc-minimal4; then
    cp "$folder"/deb/usr/lib/*/libtcmalloc_minimal.so.4 "$folder/libtcmalloc.so"
else
    echo "install.sh: no package libtcmalloc-minimal4; PyTorch runs with malloc alone" >&2
fi
if unpack libdnnl-dev libdnnl2 ocl-icd-libopencl1; then
    mkdir -p "$folder/onednn/lib"
    cp -a "$folder/deb/usr/include" "$folder/onednn/"
    cp -a "$folder"/deb/usr/lib/*/lib{dnnl,OpenCL}.so* "$folder/onednn/lib/"
else
    echo "install.sh: no package libdnnl-dev; run.py leaves out convs" >&2
fi
