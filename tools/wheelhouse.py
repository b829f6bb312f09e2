"""Fill wheelhouse/ for machines that reach no package index: `python -m tools.wheelhouse`.

It gets FFCV (built, unless it is there), and the small pure packages that a machine with PyTorch
rarely has: 9 MB that fit Python 3.10 and later. With --all also everything else but torch, about
200 MB, for this interpreter's version of Python. On the other machine:

    python -m pip install --no-index --find-links wheelhouse --no-deps NAMES

or nothing at all: `python -m benchmarks.gpu` takes what it lacks from there.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tools import build_deps, ffcv_wheel
from tools.logged_run import Stop, exit_code_of, require
from tools.setup_venv import CONSTRAINTS, WHEELHOUSE

SMALL = ("fastargs", "terminaltables", "assertpy", "pytorch-pfn-extras", "pytest-timeout")
USUAL = (  # what else the engine, FFCV and the tests on a GPU import, where torch is there
    "numpy", "numba", "llvmlite", "safetensors", "pyyaml", "pillow", "opencv-python-headless",
    "tqdm", "psutil", "pandas", "python-dateutil", "matplotlib", "contourpy", "cycler",
    "fonttools", "kiwisolver", "pyparsing", "packaging", "jinja2", "markupsafe", "torchvision",
    "setuptools", "pytest", "iniconfig", "pluggy", "pygments",
)  # fmt: skip
WITH_TORCH = ("torch", "triton", "typing-extensions")  # no wheels of these
EVERYWHERE = re.compile(r"-(py3|py2\.py3)-none-any\.whl$|-abi3-\w+\.whl$")


def main(argv: Sequence[str]) -> int:
    """Build or download the wheels; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.wheelhouse")
    parser.add_argument("--all", action="store_true", help="everything but torch, for this Python")
    args = parser.parse_args(argv)
    return exit_code_of(lambda: fill(SMALL + (USUAL if args.all else ())))


def fill(names: Sequence[str]) -> int:
    """FFCV's wheel, if it is not there, and those of `names` into wheelhouse/, with a list."""
    if not any(WHEELHOUSE.glob("ffcv-*.whl")):
        ffcv_wheel.make()
    gather(names, WHEELHOUSE)
    for path in sorted(WHEELHOUSE.glob("*.whl")):
        print(f"{path.relative_to(WHEELHOUSE.parent)}  {path.stat().st_size / 1e6:.1f} MB")
    return 0


def gather(names: Sequence[str], folder: Path) -> None:
    """The pinned wheel of each package in `folder`, in place of another version; all or none."""
    with tempfile.TemporaryDirectory(prefix="wheelhouse-") as temporary:
        built, log = Path(temporary) / "built", Path(temporary) / "log"
        python = _python(Path(temporary), log)
        command = [python, "-m", "pip", "wheel", "--disable-pip-version-check", "--no-deps"]
        command += ["--constraint", str(CONSTRAINTS), "--wheel-dir", str(built), *names]
        require(f"wheels of {len(names)} packages", command, log)
        for name in SMALL:
            wheel = _wheel_of(name, built)
            if not EVERYWHERE.search(wheel.name):
                raise Stop(f"{wheel.name}: expected a wheel for every Python 3")
        for name in names:
            wheel = _wheel_of(name, built)
            for old in _wheels_of(name, folder):
                old.unlink()
            (folder / wheel.name).write_bytes(wheel.read_bytes())


def _python(folder: Path, log: Path) -> str:
    """The interpreter of a new environment with the pinned versions of pip and what it needs."""
    build_deps.ensure_venv_module(log)
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    python = str(folder / "venv" / "bin" / "python")
    tools = ["pip", "setuptools", "wheel", "--constraint", str(CONSTRAINTS)]
    require("pip", [python, "-m", "pip", "install", "--upgrade", *tools], log)
    return python


def _wheel_of(name: str, folder: Path) -> Path:
    (wheel,) = _wheels_of(name, folder)
    return wheel


def _wheels_of(name: str, folder: Path) -> list[Path]:
    start = re.compile(re.sub(r"[-_.]+", "[-_.]", name) + r"-\d", re.IGNORECASE)
    return [path for path in folder.glob("*.whl") if start.match(path.name)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
