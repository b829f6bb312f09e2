#!/bin/sh
# Makes .venv, which runs everything here; where it is ready, this returns at once.
# PYTHON=python3.12 chooses the interpreter, VENV=folder another place.
set -eu
cd "$(dirname "$0")/.."

venv=${VENV:-.venv}
version='import sys; print("%d.%d" % sys.version_info[:2])'
had=$("$venv/bin/python" -c "$version" 2>/dev/null) || had=none

if [ "$had" != none ] && [ -z "${PYTHON:-}" ] &&
    "$venv/bin/python" -m tools.setup_venv --is-ready "$venv"; then
    exit 0
fi
python=$(sh tools/find_python.sh)
wanted=$("$python" -c "$version")
if [ -z "${PYTHON:-}" ] || [ "$had" = "$wanted" ]; then
    exec "$python" -m tools.setup_venv "$venv"
fi
exec "$python" -m tools.setup_venv --anew "$venv"
