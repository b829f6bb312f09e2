"""Compiled code is kept where it may be, read back when it is right, and never a reason to fail."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.data import Files
from tests.support.paths import ROOT

HELPERS = """
from jit import inline_njit

@inline_njit
def twice(x: int) -> int:
    return x * 2
"""
KERNEL = """
from jit import eager_njit, types
from helpers import twice

@eager_njit(types.int64(types.int64))
def answer(x):
    return twice(x) + 1
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A folder with a function whose code lies in two files."""
    folder = tmp_path / "package"
    folder.mkdir()
    shutil.copy(ROOT / "engine" / "data" / "kernels" / "jit.py", folder)
    (folder / "helpers.py").write_text(HELPERS)
    (folder / "kernel.py").write_text(KERNEL)
    return folder


def _answer(package: Path, **environment: str) -> str:
    """What a fresh process computes, with warnings as errors and a home folder of its own."""
    home = package.parent / "home"
    home.mkdir(exist_ok=True)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA", "XDG", "PYTHON"))}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "import kernel; print(kernel.answer(20))"],
        cwd=package,
        env={**kept, "HOME": str(home), **environment},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert list(home.iterdir()) == []
    return done.stdout.strip()


def _kept(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.rglob("*.nb[ic]"))}


def test_code_is_kept_beside_the_source_and_read_back(package: Path) -> None:
    assert _answer(package) == "41"
    kept = _kept(package / "__pycache__")
    assert len(kept) == 2
    stamps = [file.stat().st_mtime_ns for file in (package / "__pycache__").glob("*.nb[ic]")]
    assert _answer(package) == "41"
    assert _kept(package / "__pycache__") == kept
    assert stamps == [
        file.stat().st_mtime_ns for file in (package / "__pycache__").glob("*.nb[ic]")
    ]


def test_a_change_in_a_file_that_was_compiled_in_compiles_anew(package: Path) -> None:
    assert _answer(package) == "41"
    (package / "helpers.py").write_text(HELPERS.replace("x * 2", "x * 30"))
    assert _answer(package) == "601"


def test_the_user_may_name_another_folder(package: Path) -> None:
    named = package.parent / "named"
    assert _answer(package, NUMBA_CACHE_DIR=str(named)) == "41"
    assert len(_kept(named)) == 2 and not _kept(package)


def test_without_a_folder_to_write_to_nothing_is_kept_and_all_works(package: Path) -> None:
    (package / "__pycache__").write_text("no folder, so no file can be made in it")
    assert _answer(package, PYTHONDONTWRITEBYTECODE="1") == "41"
    assert not _kept(package.parent)


@pytest.mark.parametrize("kind", ["nbi", "nbc"])
def test_damaged_code_is_compiled_anew_and_kept_again(package: Path, kind: str) -> None:
    assert _answer(package) == "41"
    [file] = (package / "__pycache__").glob(f"*.{kind}")
    whole = file.stat().st_size
    file.write_bytes(file.read_bytes()[:40])
    assert _answer(package) == "41"
    assert _answer(package) == "41"
    assert file.stat().st_size == whole


def test_code_of_another_processor_is_left_alone(package: Path) -> None:
    assert _answer(package, NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES="") == "41"
    assert _answer(package) == "41"
    assert len(_kept(package)) == 3  # an index, and the code of two processors


def test_importing_the_public_modules_loads_no_compiler() -> None:
    code = (
        "import sys, engine.data.gather, engine.data.order, engine.data.augment.cpu; "
        "print('numba' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


@pytest.mark.slow
def test_a_processor_without_wide_vectors_gives_the_same_batches(tmp_path: Path) -> None:
    environment = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
    tests = ["tests/data/test_augment_cpu.py", "tests/data/test_gather.py", "-p", "no:randomly"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *tests, "-k", "equal or sample or floats"],
        cwd=ROOT,
        env={**os.environ, **environment, "NUMBA_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_a_type_that_ffcv_makes_read_only_for_the_whole_process_is_not_ours(
    files: Files,
) -> None:
    script = (
        "import sys, torch\n"
        "from numba import types\n"
        "from engine.data.loader import Loader\n"
        "def total():\n"
        "    with Loader(sys.argv[1], 20, threads=2, autoaugment=True) as loader:\n"
        "        return [float(b.images.double().sum()) for b in loader.epoch(0)]\n"
        "before = total()\n"
        "held = types.uint8[::1]\n"
        "held.mutable = False\n"  # what ffcv's OSCacheManager does, kept alive by what it compiled
        "assert total() == before\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(files.train)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=55,
    )
    assert done.returncode == 0, done.stderr
