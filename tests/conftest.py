"""What several test files share: a small data set, the real one where it lies, one CPU thread."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from tests.support.data import TEST_IMAGES, TRAIN_IMAGES, Files, coloured, write_beton
from tests.support.paths import SHARED
from tests.support.processes import python, succeed
from tests.support.runs import SHORT, Call, Command

with contextlib.suppress(ImportError):  # the tests on a GPU do without it
    from hypothesis import Phase, settings

    # The same examples on every machine; what a failure has in common with others is not looked
    # for, which takes minutes. HYPOTHESIS_PROFILE=default looks for new examples.
    phases = [phase for phase in Phase if phase is not Phase.explain]
    settings.register_profile("same", derandomize=True, phases=phases)
    if os.environ.get("HYPOTHESIS_PROFILE", "same") == "same":
        settings.load_profile("same")


COMPILED = ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")  # folders of compiled code


@pytest.fixture(autouse=True)
def _torch_as_before() -> object:
    """Commands set torch's switches for their process; a test must not leave them behind."""
    torch.set_num_threads(1)
    folders = {name: os.environ.get(name) for name in COMPILED}
    yield
    for name, folder in folders.items():
        if folder is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = folder
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(1)


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Calls the `main` of a command with some words: its exit code, stdout and stderr."""
    from engine.errors import run_command

    def call(main: Callable[[Sequence[str]], int], *words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run_command(main, [str(word) for word in words])
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def command(files: Files, tmp_path: Path) -> Command:
    """The training command on the small files, writing below `tmp_path`."""

    def call(*flags: str) -> int:
        from engine import train
        from engine.errors import run_command

        usual = [*SHORT, *files.flags(), "--run.root", str(tmp_path / "runs")]
        pairs = zip(usual[::2], usual[1::2], strict=True)
        kept = [word for pair in pairs if pair[0] not in flags for word in pair]
        return run_command(train.main, [*kept, *flags])

    return call


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """A training and a test set that a small network learns in a few steps."""
    folder = tmp_path_factory.mktemp("data")
    pair = Files(folder / "few_train.beton", folder / "few_test.beton")
    write_beton(pair.train, *coloured(TRAIN_IMAGES, seed=1), split="train")
    write_beton(pair.test, *coloured(TEST_IMAGES, seed=2), split="test")
    return pair


@pytest.fixture(scope="session")
def cifar10(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder `cifar-10-batches-py` of the real CIFAR-10, unpacked once for all workers."""
    unpack = SHARED / "data" / "unpack_cifar10.py"
    if not unpack.exists():
        pytest.skip("no CIFAR-10 in ../shared/data")
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with open(folder / "cifar10.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # files that are there are only checked
        succeed(*python(unpack, folder / "cifar10"))
    return folder / "cifar10" / "cifar-10-batches-py"
