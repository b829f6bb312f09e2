"""The training set that a benchmark reads, and the augmentation that all contenders share."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from engine.errors import UserError
from writers import synthetic

USUAL = ("data/cifar10_train.beton", "data/synthetic_train.beton")
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)  # of CIFAR-10
PADDING = 4
SEED = 1


class InMemory(Dataset[tuple[Any, int]]):
    """Images in memory, transformed one by one as torchvision's users do, and their labels."""

    def __init__(
        self, images: Sequence[Any], labels: Sequence[int], transform: Callable[[Any], Any]
    ) -> None:
        self._images, self._labels, self._transform = images, labels, transform

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, sample: int) -> tuple[Any, int]:
        return self._transform(self._images[sample]), self._labels[sample]


def find(named: str | None) -> Path | None:
    """The training set that `--data` names, else one in data/; None where there is neither."""
    if named is not None and not Path(named).exists():
        raise UserError(f"--data {named}: no such file")
    paths = map(Path, USUAL if named is None else (named,))
    return next((path for path in paths if path.exists()), None)


def training_set(
    named: str | None, samples: int = synthetic.TRAIN
) -> contextlib.AbstractContextManager[Path]:
    """The set that `find` finds, or the synthetic one, written for this run."""
    path = find(named)
    return synthetic_set(samples) if path is None else contextlib.nullcontext(path)


@contextlib.contextmanager
def synthetic_set(samples: int = synthetic.TRAIN) -> Iterator[Path]:
    """The synthetic training set, its test set beside it, in a folder that is gone afterwards."""
    from writers import inputs  # imports FFCV, which is needed for nothing else here

    counts = {"train": samples, "test": min(samples, synthetic.TEST)}
    with tempfile.TemporaryDirectory(prefix="benchmark-data-") as folder:
        yield inputs.write_synthetic(Path(folder), counts)["train"]
