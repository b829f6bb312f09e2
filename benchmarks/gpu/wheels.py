"""Packages that a bare machine lacks, from the folder of wheels that `make wheelhouse` fills."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.measuring.child import ROOT

WHEELHOUSE = ROOT / "wheelhouse"
NAME = re.compile(r"([A-Za-z0-9_.]+?)-\d")  # of a wheel's file


def provide(folder: Path, say: Callable[[str], None], wheelhouse: Path = WHEELHOUSE) -> None:
    """Install what is not there into `folder`, which this process and its children then import.

    Nothing but the wheels is read: no network, no index. What does not fit this interpreter is
    left out, and so is what needs it.
    """
    target = folder / f"packages-{sys.version_info[0]}.{sys.version_info[1]}"
    _import_from(target)
    for name in missing(wheelhouse):
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
        command += ["--disable-pip-version-check", "--find-links", str(wheelhouse)]
        done = subprocess.run([*command, "--target", str(target), name], capture_output=True)
        say(f"{name}: {'from ' + wheelhouse.name if done.returncode == 0 else 'no wheel fits'}")
    _import_from(target)


def missing(wheelhouse: Path = WHEELHOUSE) -> list[str]:
    """The distributions in the wheelhouse that this interpreter does not have."""
    matches = (NAME.match(path.name) for path in sorted(wheelhouse.glob("*.whl")))
    names = dict.fromkeys(match[1].replace("_", "-") for match in matches if match)
    return [name for name in names if not _is_installed(name)]


def lacks(modules: tuple[str, ...]) -> list[str]:
    """Those of `modules` that cannot be imported here."""
    return [name for name in modules if importlib.util.find_spec(name) is None]


def _import_from(target: Path) -> None:
    """From now on this process and its children import what is in `target`, if it is there."""
    if target.is_dir() and str(target) not in sys.path:
        sys.path.append(str(target))
        before = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (before, str(target))))
    importlib.invalidate_caches()


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
