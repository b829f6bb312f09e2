"""A finished run as its folder has it, which may be from anyone: checked before it is used."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from engine.config.schema import Config, from_dict
from engine.errors import UserError
from engine.model import ResNet, resolve
from engine.runs import agreement, checkpoint
from engine.runs.directory import RunFolder
from engine.step.device import PRECISIONS

MEANINGLESS = (
    AssertionError,
    AttributeError,
    ArithmeticError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
)  # what a value of a wrong type or size can raise


@dataclass(frozen=True)
class Trained:
    """A network and what it was trained for."""

    folder: RunFolder
    config: Config
    network: nn.Module
    classes: tuple[str, ...]
    side: int  # of its images
    mean: tuple[float, ...]
    std: tuple[float, ...]
    precision: str
    test_digest: str
    accuracies: dict[str, float]  # recorded, by which weights (last, best) and views (none, flip)

    def test_set(self) -> Path:
        """The path of its test set, also from another folder than the one it was trained in."""
        path = self.folder.from_here(self.config.data.test, self.config.run.root)
        if not path.exists():
            raise UserError(
                f"{path}: no such file, the test set of {self.folder.path}; name one with: --data"
            )
        return path


def read(folder: RunFolder, weights: str) -> Trained:
    """A finished run with its last or best weights; whatever is wrong is a `UserError`."""
    record = folder.finished_record()
    agreement.check(folder, record)
    try:
        config = from_dict(record["config"])
        classes, side = tuple(map(str, record["classes"])), int(record["image_side"])
        mean, std = (tuple(map(float, record[key])) for key in ("mean", "std"))
        if len(mean) != 3 or len(std) != 3 or not all(map(math.isfinite, mean + std)):
            raise ValueError("mean and std are not three numbers each")
        if not 0 < side < 2**16:
            raise ValueError(f"image_side is {side}")
        if record["precision"] not in PRECISIONS:
            raise ValueError(f"precision is {record['precision']!r}")
        network = ResNet(resolve(config.model), len(classes), side=side)
        network.load_state_dict(_weights(folder, record, weights))
        return Trained(
            folder,
            config,
            network,
            classes,
            side,
            mean,
            std,
            record["precision"],
            str(record["data_digests"]["test"]),
            _accuracies(record),
        )
    except MEANINGLESS as error:
        what = str(error).partition("\n")[0]
        raise UserError(
            f"{folder.record}: damaged, or of another version ({type(error).__name__}: {what})"
        ) from None


def _weights(folder: RunFolder, record: dict[str, Any], which: str) -> checkpoint.Tensors:
    if which == "last":
        return checkpoint.load_weights(folder.weights, record["weights_sha256"])
    if "best_weights_sha256" not in record:
        raise UserError(f"{folder.path}: kept no best weights; it was not run with checkpoint.best")
    return checkpoint.load_weights(folder.best_weights, record["best_weights_sha256"])


def _accuracies(record: dict[str, Any]) -> dict[str, float]:
    """By `last none`, `last flip`, `best none`: those that the record has."""
    known = {
        f"last {key.removeprefix('test_accuracy_')}": record[key]
        for key in record
        if key.startswith("test_accuracy_")
    }
    known |= {"last none": record["test_accuracy"]}
    if "best_weights" in record:
        known |= {"best none": record["best_weights"]["test_accuracy"]}
    return {key: float(value) for key, value in known.items() if value is not None}
