"""What several test files share: a small data set, the real one where it lies, one CPU thread."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from engine.runs.directory import RunFolder

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
CLASSES = ("red", "green", "blue", "grey")
TRAIN_IMAGES, TEST_IMAGES = 75, 41  # neither is a multiple of a batch

NET = "--model.blocks 1,1 --model.widths 4 --runtime.device cpu --runtime.threads 1".split()
SHORT = [*NET, "--runtime.precision", "fp32", "--train.epochs", "2", "--train.batch_size", "16"]

Command = Callable[..., int]

with contextlib.suppress(ImportError):  # the tests on a GPU do without it
    from hypothesis import Phase, settings

    # The same examples on every machine; what a failure has in common with others is not looked
    # for, which takes minutes. HYPOTHESIS_PROFILE=default looks for new examples.
    phases = [phase for phase in Phase if phase is not Phase.explain]
    settings.register_profile("same", derandomize=True, phases=phases)
    if os.environ.get("HYPOTHESIS_PROFILE", "same") == "same":
        settings.load_profile("same")


@dataclass(frozen=True)
class Files:
    """A data set of a few coloured images, written by FFCV."""

    train: Path
    test: Path

    def flags(self) -> list[str]:
        """The command-line flags that name the files."""
        return ["--data.train", str(self.train), "--data.test", str(self.test)]


@pytest.fixture(autouse=True)
def _torch_as_before() -> object:
    """Commands set torch's switches for their process; a test must not leave them behind."""
    torch.set_num_threads(1)
    yield
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(1)


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
    """The folder `cifar-10-batches-py` of the real CIFAR-10, where the sheets lie beside us."""
    unpack = SHARED / "data" / "unpack_cifar10.py"
    if not unpack.exists():
        pytest.skip("the real CIFAR-10 does not lie in ../shared/data")
    folder = tmp_path_factory.mktemp("cifar10")
    subprocess.run([sys.executable, str(unpack), str(folder)], check=True, capture_output=True)
    return folder / "cifar-10-batches-py"


def coloured(samples: int, seed: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Noise with a class's colour on top; all classes are equally frequent."""
    random = np.random.default_rng(seed)
    labels = np.arange(samples, dtype=np.int64) % len(CLASSES)
    images = random.integers(0, 120, (samples, 32, 32, 3), np.uint8)
    for channel in range(3):
        images[labels == channel, :, :, channel] += 100
    return images, labels


def rewrite_sidecar(source: Path, target: Path, **changes: Any) -> None:
    """The sidecar of `source` beside `target`, as a hand would change it: without its digest."""
    from engine.data import sidecar

    content = json.loads(sidecar.path_of(source).read_text()) | changes
    del content[sidecar.OWN_DIGEST]
    sidecar.path_of(target).write_text(json.dumps(content))


def write_beton(
    path: Path, images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64], split: str
) -> None:
    """A `.beton` file with its sidecar."""
    from engine.data import ffcv_files, sidecar

    ffcv_files.write(path, images, labels)
    written = ffcv_files.verify(path, images, labels)
    counts = np.bincount(labels[labels >= 0], minlength=len(CLASSES))
    sidecar.write(
        path,
        sidecar.Sidecar(
            dataset="coloured",
            split=split,
            samples=len(images),
            classes=CLASSES,
            class_counts=tuple(int(count) for count in counts),
            mean=tuple(float(m) for m in images.mean((0, 1, 2)) / 255),
            std=tuple(float(s) for s in images.std((0, 1, 2)) / 255),
            image_shape=images.shape[1:],
            bytes=written.bytes,
            sha256=written.sha256,
            sources={},
            versions={},
        ),
    )


def run_of(tmp_path: Path) -> RunFolder:
    """The folder of the one run below `tmp_path`."""
    (path,) = (tmp_path / "runs").glob("[!.]*")  # and not the folder of compiled code
    return RunFolder(path)


def record_of(tmp_path: Path) -> dict[str, Any]:
    """The record of the one run below `tmp_path`."""
    record = run_of(tmp_path).read_record()
    assert record is not None
    return record
