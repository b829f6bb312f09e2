"""The epochs of a run's log in little memory: thousands of runs fit into a report."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, overload

from benchmarks.records.untrusted import number

EPOCH_NUMBERS = (
    "lr", "train_loss", "train_accuracy", "test_loss", "test_accuracy", "validation_loss",
    "validation_accuracy", "images_per_second", "seconds", "training_flops",
)  # fmt: skip


class Epochs(Sequence[Mapping[str, Any]]):
    """A mapping per epoch, with None for what is missing; columns hold nan for it."""

    def __init__(self) -> None:
        self.numbers = array("q")
        self._columns = {key: array("d") for key in EPOCH_NUMBERS}

    def add(self, epoch: int, line: Mapping[str, Any]) -> None:
        """Append an epoch, each of its values checked."""
        self.numbers.append(epoch)
        for key, column in self._columns.items():
            value = number(line.get(key))
            if value is None or (key.endswith("_accuracy") and not 0 <= value <= 1):
                value = math.nan
            column.append(value)

    def column(self, key: str) -> array[float]:
        """One of `EPOCH_NUMBERS` over all epochs."""
        return self._columns[key]

    def points(self, key: str) -> Iterator[tuple[int, float]]:
        """The epochs that have a value, with it."""
        for epoch, value in zip(self.numbers, self._columns[key], strict=True):
            if value == value:  # not nan
                yield epoch, value

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, index: int) -> Mapping[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> list[Mapping[str, Any]]: ...
    def __getitem__(self, index: int | slice) -> Mapping[str, Any] | list[Mapping[str, Any]]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        values: dict[str, Any] = {"epoch": self.numbers[index]}
        for key, column in self._columns.items():
            value = column[index]
            values[key] = None if math.isnan(value) else value
        return values
