#!/bin/sh
# Installs what the tests in a browser need: Debian's chromium, Playwright's Python package and, for
# the accessibility test, axe-core into build/browser. Names what it could not install; the tests
# that need it are skipped. The exit code is 0 only if nothing is missing.
set -u
cd "$(dirname "$0")/.."

venv=${VENV:-.venv}
axe=axe-core@4.10.3
missing=

if ! command -v chromium >/dev/null; then
    root=
    [ "$(id -u)" = 0 ] || root="sudo -n"
    if command -v apt-get >/dev/null && $root true 2>/dev/null; then
        export DEBIAN_FRONTEND=noninteractive
        { timeout 60 $root apt-get -qq update && timeout 240 $root apt-get -qq install -y --no-install-recommends \
            chromium fonts-dejavu-core; } >/dev/null 2>&1
    fi
    command -v chromium >/dev/null || missing="$missing chromium (apt-get install chromium)"
fi

"$venv/bin/python" -c 'import playwright' 2>/dev/null ||
    "$venv/bin/python" -m pip install -q -c constraints.txt playwright >/dev/null 2>&1 ||
    missing="$missing playwright (pip install playwright)"

if [ ! -s build/browser/axe.min.js ]; then
    mkdir -p build/browser
    if command -v npm >/dev/null &&
        (cd build/browser && timeout 60 npm pack --silent "$axe" >/dev/null 2>&1 &&
            tar -xzf axe-core-*.tgz --strip-components=1 package/axe.min.js); then
        rm -f build/browser/axe-core-*.tgz
    else
        missing="$missing axe-core (npm pack $axe)"
    fi
fi

[ -z "$missing" ] || { echo "browser tests will be skipped for lack of:$missing" >&2; exit 1; }
