#!/usr/bin/env bash
# Lays a Python environment in $1 with the packages of $2. Debian keeps what `venv` needs in a package of its own.
set -euo pipefail
venv=$1 requirements=$2

if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "python3 3.11 or newer is needed (Debian: apt-get install python3 python3-venv)" >&2
    exit 1
fi
if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
    if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
        echo "python3 lacks the module venv (Debian: apt-get install python3-venv)" >&2
        exit 1
    fi
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv
fi

rm -rf "$venv"
python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --requirement "$requirements"
