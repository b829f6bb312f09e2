"""Create or complete the virtual environment: `python -m tools.setup_venv [FOLDER]`.

A file written last holds a digest of the requirements, so a second call returns at once, a changed
requirement is installed, and an interrupted set-up starts again. An environment created by other
means is added to and never removed while it works.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tools import build_deps
from tools.logged_run import Stop, last_lines, require, run

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / "constraints.txt"
WHEELHOUSE = ROOT / "wheelhouse"
FFCV = "ffcv==1.0.2"
READY, UNFINISHED = ".ready", ".unfinished"
NO_NETWORK = (
    "NewConnectionError",
    "NameResolutionError",
    "ConnectTimeoutError",
    "ReadTimeoutError",
    "ProxyError",
    "Network is unreachable",
    "Temporary failure in name resolution",
)


def main(argv: Sequence[str]) -> int:
    """Set up the environment if it is not ready; the exit code: 0, 2 or 130."""
    parser = argparse.ArgumentParser(prog="python -m tools.setup_venv")
    parser.add_argument("folder", nargs="?", default=".venv", type=Path)
    parser.add_argument("--is-ready", action="store_true", help="only check: exit code 0 or 1")
    parser.add_argument(
        "--anew", action="store_true", help="remove and create it, for another version of Python"
    )
    options = parser.parse_args(argv)
    venv = options.folder.absolute()
    if options.is_ready:
        return 0 if is_ready(venv) else 1
    try:
        with _locked(venv):
            if options.anew or not is_ready(venv):
                make(venv, anew=options.anew)
        return 0
    except Stop as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # a folder that may not be written, a full disk
        print(f"error: {error.filename or venv}: {error.strerror}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("set-up: stopped by Ctrl-C; the same command starts it again", file=sys.stderr)
        return 130


def is_ready(venv: Path) -> bool:
    """Whether the environment works and has all current requirements."""
    try:
        return (venv / READY).read_text(encoding="utf-8") == requirements_digest() and _runs(venv)
    except OSError:
        return False


def requirements_digest() -> str:
    """Digest of the requirements and of the checkout's path, which an editable install contains."""
    digest = hashlib.sha256(os.fsencode(ROOT))
    for path in (ROOT / "setup.py", CONSTRAINTS):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def make(venv: Path, anew: bool) -> None:
    """Create or complete the environment."""
    start = time.monotonic()
    python = str(venv / "bin" / "python")
    foreign = _runs(venv) and not any((venv / mark).exists() for mark in (READY, UNFINISHED))
    if anew or (venv / UNFINISHED).exists() or not _runs(venv):
        _create(venv)
        foreign = False
    log = venv / "setup.log"
    (venv / READY).unlink(missing_ok=True)
    if not foreign:
        (venv / UNFINISHED).touch()

    constraints = ["--constraint", str(CONSTRAINTS)]
    _pip(python, "set-up 2/4: pip", ["--upgrade", "pip", *constraints], log)
    origin: list[str] = []
    if wheel_fits(python):
        origin = ["--find-links", str(WHEELHOUSE), "--only-binary", "ffcv"]
        print("set-up: FFCV from wheelhouse/, nothing to compile", file=sys.stderr)
    elif not _has_ffcv(python):
        build_deps.ensure(log)
    _pip(
        python,
        "set-up 3/4: torch, FFCV and the rest (about 5 GB with CUDA's libraries: some minutes)",
        ["--build-constraint", str(CONSTRAINTS), *constraints, *origin, "-e", f"{ROOT}[dev]"],
        log,
    )
    check = "import torch, torchvision, ffcv, fastargs"
    require(f"set-up 4/4: {check}", [python, "-c", check], log)
    (venv / UNFINISHED).unlink(missing_ok=True)
    (venv / READY).write_text(requirements_digest(), encoding="utf-8")
    print(f"set-up: {venv} is ready ({time.monotonic() - start:.0f} s)", file=sys.stderr)


def wheel_fits(python: str, wheelhouse: Path = WHEELHOUSE) -> bool:
    """Whether pip finds an FFCV wheel for this interpreter and machine in the wheelhouse."""
    if not any(wheelhouse.glob("ffcv-*.whl")):
        return False
    command = [python, "-m", "pip", "install", "--dry-run", "--quiet", "--ignore-installed"]
    command += ["--no-deps", "--no-index", "--only-binary", ":all:"]
    command += ["--find-links", str(wheelhouse), FFCV]
    return subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL).returncode == 0


def _pip(python: str, title: str, arguments: list[str], log: Path) -> None:
    command = [python, "-m", "pip", "install", "--progress-bar", "off", "--no-input"]
    command += ["--disable-pip-version-check", "--retries", "3"]
    if run(title, [*command, *arguments], log):
        return
    text = log.read_text(encoding="utf-8", errors="replace")
    if "No space left on device" in text:
        raise Stop(f"no space left on the disk of {log.parent} (or of pip's cache or /tmp)")
    if any(sign in text for sign in NO_NETWORK):
        raise Stop(
            "the package index cannot be reached; the set-up needs it once.\n"
            "Check the network and the proxy (`pip config list`), then repeat the command."
        )
    tail = "\n".join(f"  {line}" for line in last_lines(log, 12))
    raise Stop(f"pip failed; the last lines of {log}:\n{tail}")


def _create(venv: Path) -> None:
    """A new, empty environment; marked as unfinished first, so that an interruption is noticed."""
    entries = list(venv.iterdir())
    if entries and not any((venv / mark).exists() for mark in (UNFINISHED, "pyvenv.cfg")):
        raise Stop(
            f"{venv} is not a virtual environment; move it away, or name another with VENV=..."
        )
    for entry in entries:
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    (venv / UNFINISHED).touch()
    log = venv / "setup.log"
    build_deps.ensure_venv_module(log)
    version = "{}.{}.{}".format(*sys.version_info)
    title = f"set-up 1/4: a virtual environment in {venv}, of Python {version}"
    require(title, [sys.executable, "-m", "venv", str(venv)], log)


def _runs(venv: Path) -> bool:
    """Whether the environment has an interpreter that starts and is of a supported version."""
    check = "import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))"
    try:
        command = [str(venv / "bin" / "python"), "-c", check]
        return subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        return False


def _has_ffcv(python: str) -> bool:
    check = f"from importlib.metadata import version; assert version('ffcv') == '{FFCV[6:]}'"
    return subprocess.run([python, "-c", check], capture_output=True).returncode == 0


@contextlib.contextmanager
def _locked(venv: Path) -> Iterator[None]:
    """One set-up at a time: a second `make` waits until the first has finished."""
    venv.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(venv, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
