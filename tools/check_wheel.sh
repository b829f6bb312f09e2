#!/bin/sh
# Tests the portable FFCV wheel: sets up a new environment (PYTHON=python3.12) with compilers,
# headers, apt, OpenCV, libturbojpeg and libGL hidden, and there writes and reads .beton files with
# stock FFCV.
#
# They are hidden by mounts in a private namespace, which only this script sees.
set -eu
cd "$(dirname "$0")/.."

if [ "${1:-}" != hidden ]; then
    root=$([ "$(id -u)" = 0 ] || echo --map-root-user)
    exec unshare --mount $root sh tools/check_wheel.sh hidden
fi

mount --make-rprivate /
for folder in /usr/include/opencv4 /usr/lib/*/pkgconfig; do
    [ ! -d "$folder" ] || mount -t tmpfs none "$folder"
done
for file in /usr/include/turbojpeg.h /usr/include/*/turbojpeg.h \
    /usr/bin/*gcc* /usr/bin/*g++* /usr/bin/clang* /usr/bin/pkg-config /usr/bin/pkgconf \
    /usr/bin/apt-get /usr/bin/sudo \
    /usr/lib/*/libopencv_* /usr/lib/*/libturbojpeg* /usr/lib/*/libGL* /usr/lib/*/libtbb* \
    /usr/lib/*/libgfortran* /usr/lib/*/libblas* /usr/lib/*/liblapack* /usr/lib/*/*/liblapack* \
    /usr/lib/*/*/libblas*; do
    if [ -e "$file" ]; then readlink -f "$file"; fi
done | sort -u | while read -r file; do
    [ ! -f "$file" ] || mount --bind /dev/null "$file"
done
if echo 'int main() {}' | c++ -x c++ - -o /dev/null 2>/dev/null; then
    echo "error: the compiler could not be hidden" >&2
    exit 1
fi

venv=$(mktemp -d)/venv
trap 'rm -rf "$(dirname "$venv")"' EXIT
VENV=$venv sh tools/setup.sh
"$venv/bin/python" -m tools.roundtrip
