"""The virtual environment, whole or made again: `python -m tools.setup_venv [FOLDER]`.

A stamp, written last, names what the environment was made from, so a second call returns at
once, a changed requirement is brought in, and an interrupted set-up is begun anew. An
environment that somebody else made is added to, never removed while it works.
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
from tools.logged_run import Stop, last_lines, run

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
    """Make the environment where it is not ready; 0, or 2 with one message, or 130."""
    parser = argparse.ArgumentParser(prog="python -m tools.setup_venv")
    parser.add_argument("folder", nargs="?", default=".venv", type=Path)
    parser.add_argument("--is-ready", action="store_true", help="only look; exit 0 or 1")
    parser.add_argument("--anew", action="store_true", help="for another version of Python")
    options = parser.parse_args(argv)
    venv = options.folder.absolute()
    if options.is_ready:
        return 0 if is_ready(venv) else 1
    try:
        with _alone(venv):
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
        print("set-up: stopped by Ctrl-C; the same command begins it anew", file=sys.stderr)
        return 130


def is_ready(venv: Path) -> bool:
    """Whether the environment runs and was made, to the end, from today's requirements."""
    try:
        return (venv / READY).read_text(encoding="utf-8") == recipe() and _runs(venv)
    except OSError:
        return False


def recipe() -> str:
    """What an environment is made from; a checkout that was moved has to be installed again."""
    digest = hashlib.sha256(os.fsencode(ROOT))
    for path in (ROOT / "setup.py", CONSTRAINTS):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def make(venv: Path, anew: bool) -> None:
    """Create or complete the environment, step by step."""
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
        print("set-up: FFCV comes from wheelhouse/, nothing is compiled", file=sys.stderr)
    elif not _has_ffcv(python):
        build_deps.ensure(log)
    _pip(
        python,
        "set-up 3/4: torch, FFCV and the rest (with CUDA's libraries about 5 GB: some minutes)",
        ["--build-constraint", str(CONSTRAINTS), *constraints, *origin, "-e", f"{ROOT}[dev]"],
        log,
    )
    check = "import torch, torchvision, ffcv, fastargs"
    if not run("set-up 4/4: trying the imports", [python, "-c", check], log):
        raise Stop(f"`{check}` fails:\n" + "\n".join(last_lines(log, 6)))
    (venv / UNFINISHED).unlink(missing_ok=True)
    (venv / READY).write_text(recipe(), encoding="utf-8")
    print(f"set-up: {venv} is ready ({time.monotonic() - start:.0f} s)", file=sys.stderr)


def wheel_fits(python: str, wheelhouse: Path = WHEELHOUSE) -> bool:
    """Whether the wheelhouse has an FFCV for this interpreter and machine, as pip sees it."""
    if not any(wheelhouse.glob("ffcv-*.whl")):
        return False
    command = [python, "-m", "pip", "install", "--dry-run", "--quiet", "--ignore-installed"]
    command += ["--no-deps", "--no-index", "--only-binary", ":all:"]
    command += ["--find-links", str(wheelhouse), FFCV]
    return subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL).returncode == 0


def _pip(python: str, what: str, arguments: list[str], log: Path) -> None:
    command = [python, "-m", "pip", "install", "--progress-bar", "off", "--no-input"]
    command += ["--disable-pip-version-check", "--retries", "3"]
    if run(what, [*command, *arguments], log):
        return
    text = log.read_text(encoding="utf-8", errors="replace")
    if "No space left on device" in text:
        raise Stop(f"no space left on the disk of {log.parent} (or of pip's cache and /tmp)")
    if any(sign in text for sign in NO_NETWORK):
        raise Stop(
            "the package index cannot be reached; the set-up needs it once.\n"
            "Look at the network and the proxy (`pip config list`), then repeat the command."
        )
    tail = "\n".join(f"  {line}" for line in last_lines(log, 12))
    raise Stop(f"pip failed; the last lines of {log}:\n{tail}")


def _create(venv: Path) -> None:
    """A new, empty environment; marked before it exists, so that half of one is recognised."""
    entries = list(venv.iterdir())
    if entries and not any((venv / mark).exists() for mark in (UNFINISHED, "pyvenv.cfg")):
        raise Stop(
            f"{venv} is not a virtual environment; move it away, or name another by VENV=..."
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
    what = f"set-up 1/4: a virtual environment in {venv}, of Python {version}"
    if not run(what, [sys.executable, "-m", "venv", str(venv)], log):
        raise Stop("python -m venv failed:\n" + "\n".join(last_lines(log, 6)))


def _runs(venv: Path) -> bool:
    """Whether the environment has an interpreter that starts and that we support."""
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
def _alone(venv: Path) -> Iterator[None]:
    """One set-up at a time: a second `make` waits for the first, then finds it done."""
    venv.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(venv, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
