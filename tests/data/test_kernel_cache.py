"""Compiled code is kept where allowed, read back when it is valid, and never a reason to fail."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch

from engine.data.loader import Loader
from tests.support.data import Files
from tests.support.paths import ROOT
from tests.support.processes import python, run, succeed

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
    return _package(tmp_path)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Such a folder after one process compiled it."""
    package = _package(tmp_path_factory.mktemp("compiled"))
    assert _answer(package) == "41"
    return package


def _package(parent: Path) -> Path:
    folder = parent / "package"
    folder.mkdir()
    shutil.copy(ROOT / "engine" / "data" / "kernels" / "jit.py", folder)
    (folder / "helpers.py").write_text(HELPERS)
    (folder / "kernel.py").write_text(KERNEL)
    return folder


def _answer(package: Path, **environment: str) -> str:
    """What a fresh process computes, with warnings as errors and a home folder of its own."""
    home = package.parent / "home"
    home.mkdir(exist_ok=True)
    inherited = [key for key in os.environ if key.startswith(("NUMBA", "XDG", "PYTHON"))]
    unset = [word for key in inherited for word in ("-u", key)]
    wanted = [f"{key}={value}" for key, value in {"HOME": home, **environment}.items()]
    command = python("-W", "error", "-c", "import kernel; print(kernel.answer(20))")
    done = run("env", *unset, *wanted, *command, cwd=package)
    assert (done.returncode, done.stderr) == (0, "")
    assert list(home.iterdir()) == []
    return done.stdout.strip()


def _kept(folder: Path) -> dict[str, tuple[int, bytes]]:
    """The files of compiled code, with the moment each was written."""
    files = sorted(folder.rglob("*.nb[ic]"))
    return {file.name: (file.stat().st_mtime_ns, file.read_bytes()) for file in files}


def test_code_is_kept_beside_the_source_and_read_back(compiled: Path) -> None:
    before = _kept(compiled / "__pycache__")
    assert len(before) == 2
    assert _answer(compiled) == "41"
    assert _kept(compiled / "__pycache__") == before


def test_a_change_in_a_compiled_file_compiles_anew(compiled: Path, tmp_path: Path) -> None:
    package = Path(shutil.copytree(compiled, tmp_path / "package"))
    (package / "helpers.py").write_text(HELPERS.replace("x * 2", "x * 30"))
    assert _answer(package) == "601"


def test_the_user_may_name_another_folder(package: Path) -> None:
    named = package.parent / "named"
    assert _answer(package, NUMBA_CACHE_DIR=str(named)) == "41"
    assert len(_kept(named)) == 2 and not _kept(package)


def test_without_a_writable_folder_nothing_is_kept_and_all_works(package: Path) -> None:
    (package / "__pycache__").write_text("no folder, so no file can be created in it")
    assert _answer(package, PYTHONDONTWRITEBYTECODE="1") == "41"
    assert not _kept(package.parent)


@pytest.mark.parametrize("kind", ["nbi", pytest.param("nbc", marks=pytest.mark.slow)])
def test_damaged_code_is_compiled_and_kept_anew(compiled: Path, tmp_path: Path, kind: str) -> None:
    package = Path(shutil.copytree(compiled, tmp_path / "package"))
    [file] = (package / "__pycache__").glob(f"*.{kind}")
    size = file.stat().st_size
    file.write_bytes(file.read_bytes()[:40])
    assert _answer(package) == "41"  # drops what it cannot read
    assert _answer(package) == "41"
    assert file.stat().st_size > size - 100  # it holds the paths of its sources


def test_code_of_another_processor_is_kept_too(compiled: Path, tmp_path: Path) -> None:
    package = Path(shutil.copytree(compiled, tmp_path / "package"))
    before = _kept(package)
    assert _answer(package, NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES="") == "41"
    after = _kept(package)
    assert len(after) == 3  # an index, and the code of two processors
    assert all(after[name] == content for name, content in before.items() if name.endswith("nbc"))


@pytest.mark.slow
def test_a_processor_without_wide_vectors_gives_the_same_batches(tmp_path: Path) -> None:
    environment = {
        "NUMBA_CPU_NAME": "generic",
        "NUMBA_CPU_FEATURES": "",
        "NUMBA_CACHE_DIR": str(tmp_path),
    }
    tests = ["tests/data/test_augment_cpu.py", "tests/data/test_gather.py", "-p", "no:randomly"]
    words = ["-m", "pytest", "-q", *tests, "-k", "equal or sample or floats"]
    succeed(*python(*words), environment=environment, seconds=300)


def test_an_array_type_that_ffcv_makes_read_only_is_not_used(files: Files) -> None:
    from numba import types

    def total() -> list[float]:
        with Loader(files.train, 20, threads=2, autoaugment=True) as loader:
            return [float(batch.images.to(torch.float64).sum()) for batch in loader.epoch(0)]

    expected = total()
    shared = types.uint8[::1]  # one object for the whole process
    before = shared.mutable
    shared.mutable = False  # what ffcv's OSCacheManager does
    try:
        assert total() == expected
    finally:
        shared.mutable = before
