"""The training set of the parts: a file, CIFAR-10 from its pieces, or the built-in set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.gpu import pieces
from benchmarks.measuring.data import USUAL, find
from engine.data import sidecar
from engine.errors import UserError
from writers import synthetic

CIFAR10 = "cifar10"
TRAIN = f"{CIFAR10}_train.beton"
BATCHES = "cifar-10-batches-py"
REHEARSED = {"train": 80, "test": 40}  # images of a rehearsal


@dataclass(frozen=True)
class Source:
    """A training set with its test set beside it, and what every result says of it."""

    path: Path
    name: str
    samples: int
    drawn: bool = False  # the built-in set, because there was no other

    @property
    def has_cifar10(self) -> bool:
        """Whether an accuracy on it can be compared with others'."""
        return self.name == CIFAR10

    def as_json(self) -> dict[str, Any]:
        """For the conditions of a result."""
        why = "no CIFAR-10 was named or found: accuracies mean nothing" if self.drawn else ""
        return {"name": self.name, "images": self.samples, **({"drawn": why} if why else {})}


def training_set(
    named: str | None, work: Path, say: Callable[[str], None], *, rehearsal: bool
) -> Source:
    """The set that `--data` names, a file or a folder, else one in data/, else the built-in one.

    What is written is kept below `work` for the next call.
    """
    if named is not None and Path(named).is_dir():
        return described(_from_folder(Path(named), say))
    path = None if rehearsal and named is None else find(named)
    if path is not None:
        return described(path.resolve())
    return described(_drawn(work, say, rehearsal=rehearsal), drawn=not rehearsal)


def described(path: Path, *, drawn: bool = False) -> Source:
    """The source of a file, by its sidecar."""
    known = sidecar.read(path)
    name, samples = ("unknown", 0) if known is None else (known.dataset, known.samples)
    return Source(path, name, samples, drawn)


def _from_folder(folder: Path, say: Callable[[str], None]) -> Path:
    """CIFAR-10 from a folder that has it written, or its batches, or all of its pieces."""
    from writers import inputs  # imports FFCV

    train = folder / TRAIN
    if train.exists():
        return train.resolve()
    batches = folder / BATCHES
    if not batches.is_dir() and pieces.is_here(folder):
        if lacking := pieces.missing(folder):
            raise UserError(
                f"--data {folder}: these pieces are not there yet: {', '.join(lacking)}"
            )
        say("CIFAR-10: unpacking its pieces")
        pieces.unpack(folder, folder / f"{BATCHES}.partial").rename(batches)
    if not batches.is_dir():
        raise UserError(
            f"--data {folder}: expected {TRAIN}, {BATCHES}/ or the pieces of CIFAR-10 in it "
            "(python -m benchmarks.gpu.pieces)"
        )
    say(f"CIFAR-10: writing {train.name}")
    return inputs.write_cifar10(folder, batches)["train"].resolve()


def _drawn(work: Path, say: Callable[[str], None], *, rehearsal: bool) -> Path:
    from writers import inputs  # imports FFCV

    counts = REHEARSED if rehearsal else {"train": synthetic.TRAIN, "test": synthetic.TEST}
    folder = work / ("data-rehearsal" if rehearsal else "data")
    train = folder / Path(USUAL[1]).name
    if train.exists() and sidecar.path_of(train).exists():
        return train.resolve()
    say(f"no data: drawing {counts['train']:,} images of the built-in set")
    folder.mkdir(parents=True, exist_ok=True)
    return inputs.write_synthetic(folder, counts)["train"].resolve()
