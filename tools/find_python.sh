#!/bin/sh
# Prints a Python 3.10 to 3.13, the most tested version first, or $PYTHON; exit 2 if there is none.
set -eu

fits='import sys, venv; sys.exit(not (3, 10) <= sys.version_info < (3, 14))'

if [ -n "${PYTHON:-}" ]; then
    if "$PYTHON" -c "$fits" </dev/null >/dev/null 2>&1; then echo "$PYTHON"; exit; fi
    for candidate in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/${PYTHON#python}.*/bin/python; do
        if "$candidate" -c "$fits" </dev/null >/dev/null 2>&1; then echo "$candidate"; exit; fi
    done
    version=$("$PYTHON" --version 2>/dev/null) || version="not an interpreter that runs"
    echo "error: PYTHON=$PYTHON is $version; expected Python 3.10, 3.11, 3.12 or 3.13" >&2
    exit 2
fi
for name in python3.11 python3.12 python3.13 python3.10 python3 python \
    "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[0-3].*/bin/python; do
    # A name on PATH can be a shim of a version manager without an interpreter: run it.
    if "$name" -c "$fits" </dev/null >/dev/null 2>&1; then echo "$name"; exit; fi
done
echo "error: no Python 3.10, 3.11, 3.12 or 3.13 on this machine; install one, or name one with PYTHON=..." >&2
exit 2
