"""What a plan must know of the data files, read from their sidecars where they have one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engine.config.schema import Config
from engine.data import sidecar
from engine.data.beton import open_beton
from engine.data.sets import held_out_of
from engine.errors import UserError

ASSUMED_TRAIN, ASSUMED_TEST = 50_000, 10_000  # of CIFAR-10, where its files are not there


@dataclass(frozen=True)
class Facts:
    """One data file."""

    samples: int
    classes: int
    side: int
    sha256: str  # empty: the file is not there


@dataclass(frozen=True)
class Counts:
    """Images of one run."""

    train: int
    watched: int  # evaluated during training
    test: int
    validated: bool  # `watched` is held out, and the test set read once


class Files:
    """The data files of a sweep; each is looked at once."""

    def __init__(self) -> None:
        self.missing: dict[str, str] = {}  # path: what is wrong with it
        self._known: dict[str, Facts | None] = {}

    def facts(self, path: str, assumed: int) -> Facts:
        """What is known of the file, or CIFAR-10's numbers where it cannot be read."""
        if path not in self._known:
            try:
                self._known[path] = _facts(Path(path))
            except UserError as error:
                self.missing[path] = str(error)
                self._known[path] = None
        return self._known[path] or Facts(assumed, 10, 32, "")

    def of(self, config: Config) -> tuple[Facts, Facts]:
        """Of a configuration's training and test set."""
        data = config.data
        return self.facts(data.train, ASSUMED_TRAIN), self.facts(data.test, ASSUMED_TEST)


def counts(config: Config, train: Facts, test: Facts) -> Counts:
    """How many images a run visits, as `engine.data.sets` will count them; may be refused."""
    limit = config.data.limit
    samples, tested = (min(limit or each.samples, each.samples) for each in (train, test))
    held_out = held_out_of(config, samples)
    return Counts(samples - held_out, held_out or tested, tested, held_out > 0)


def _facts(path: Path) -> Facts:
    known = sidecar.read(path)
    if known is None:
        beton = open_beton(path)
        return Facts(len(beton), beton.classes, beton.height, beton.sha256)
    try:
        size = path.stat().st_size
    except OSError:
        open_beton(path, verify=False)  # which says what is wrong, and how to put it right
        raise
    if size != known.bytes:
        raise UserError(
            f"{path} holds {size:,} bytes, its sidecar says {known.bytes:,}; write it again with: "
            "python writers/cifar.py --force"
        )
    return Facts(known.samples, len(known.classes), known.image_shape[0], known.sha256)
