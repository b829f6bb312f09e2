#!/bin/sh
# Creates .venv, or returns at once if it is ready.
# PYTHON=python3.12 selects the interpreter, VENV=folder another folder.
set -eu
cd "$(dirname "$0")/.."

venv=${VENV:-.venv}
version='import sys; print("%d.%d" % sys.version_info[:2])'
old=$("$venv/bin/python" -c "$version" 2>/dev/null) || old=none

if [ "$old" != none ] && [ -z "${PYTHON:-}" ] &&
    "$venv/bin/python" -m tools.setup_venv --is-ready "$venv"; then
    exit 0
fi
python=$(sh tools/find_python.sh)
new=$("$python" -c "$version")
if [ -z "${PYTHON:-}" ] || [ "$old" = "$new" ]; then
    exec "$python" -m tools.setup_venv "$venv"
fi
exec "$python" -m tools.setup_venv --anew "$venv"
