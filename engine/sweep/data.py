"""What a plan must know of the data files, read from their sidecars where they have one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engine.config.schema import Config
from engine.data.beton import open_beton
from engine.data.subsets import held_out_of
from engine.errors import UserError

ASSUMED_TRAIN, ASSUMED_TEST = 50_000, 10_000  # of CIFAR-10, where its files are not there


@dataclass(frozen=True)
class DataFile:
    """One data file."""

    samples: int
    classes: int
    side: int
    sha256: str  # empty: the file is not there


@dataclass(frozen=True)
class ImageCounts:
    """Images of one run."""

    train: int
    watched: int  # evaluated during training
    test: int
    validated: bool  # `watched` is held out, and the test set read once


class DataFiles:
    """The data files of a sweep; each is opened once."""

    def __init__(self) -> None:
        self.missing: dict[str, str] = {}  # path: what is wrong with it
        self._known: dict[str, DataFile | None] = {}

    def file(self, path: str, assumed: int) -> DataFile:
        """The file `path`, or CIFAR-10's numbers where it cannot be read."""
        if path not in self._known:
            try:
                self._known[path] = _open(Path(path))
            except UserError as error:
                self.missing[path] = str(error)
                self._known[path] = None
        return self._known[path] or DataFile(assumed, 10, 32, "")

    def of(self, config: Config) -> tuple[DataFile, DataFile]:
        """The training and the test set of a configuration."""
        data = config.data
        return self.file(data.train, ASSUMED_TRAIN), self.file(data.test, ASSUMED_TEST)


def counts(config: Config, train: DataFile, test: DataFile) -> ImageCounts:
    """How many images a run visits, as `engine.data.sets` will count them; may be refused."""
    limit = config.data.limit
    samples, tested = (min(limit or each.samples, each.samples) for each in (train, test))
    held_out = held_out_of(config, samples)
    return ImageCounts(samples - held_out, held_out or tested, tested, held_out > 0)


def _open(path: Path) -> DataFile:
    beton = open_beton(path, verify=False)
    known = beton.sidecar
    digest = beton.sha256 if known is None else known.sha256  # a run compares it with the bytes
    return DataFile(len(beton), beton.classes, beton.height, digest)
