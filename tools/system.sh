#!/bin/sh
# What the operating system must have: a Python of 3.11 or newer with venv, and the OpenMP runtime of LightGBM.
# Installs by apt-get what is missing, as root; else says which package to install. Usage: system.sh [PYTHON]
set -eu
python=${1:-python3}
missing=

has_venv() { "$python" -c 'import ensurepip, venv' 2>/dev/null; }
has_openmp() { "$python" -c 'import ctypes; ctypes.CDLL("libgomp.so.1")' 2>/dev/null; }

if command -v "$python" >/dev/null; then
    has_venv || missing="$(basename "$python")-venv"
    [ "$(uname -s)" != Linux ] || has_openmp || missing="$missing libgomp1"
elif [ "$python" = python3 ]; then
    missing="python3 python3-venv libgomp1"
else
    echo "there is no $python: name a Python 3.11 or newer, as in make PYTHON=python3.11" >&2
    exit 1
fi

if [ -n "$missing" ]; then
    if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
        apt-get update -qq
        # shellcheck disable=SC2086  # a list of package names
        DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $missing
    else
        echo "please install:$(printf ' %s' $missing)" >&2
        exit 1
    fi
fi

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "Mainspring needs Python 3.11 or newer, $python is $("$python" --version 2>&1)" >&2
    echo "  fix    name another: make PYTHON=python3.11" >&2
    exit 1
}
