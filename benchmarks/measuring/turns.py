"""Two loaders in turns, A B A B, and what their rates say of each other.

A machine's speed drifts by more than loaders differ, so a ratio is taken within each pair, of
two turns that follow each other at once; the result is the median of these ratios.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from benchmarks.loader.peers import Batches, Feed
from benchmarks.measuring import machine
from engine.errors import RunFailed

TOUCHED_EVERY = 256  # elements: what the consumer reads of each batch
SECONDS = 0.3  # a turn is whole epochs of at least this long together


Entrant = TypeVar("Entrant", bound="Contender")


@dataclass(frozen=True)
class Spread:
    """Several measurements of one thing."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.values)

    def as_json(self) -> dict[str, Any]:
        """Median, extremes and all values."""
        low, high = min(self.values), max(self.values)
        return {"median": self.median, "min": low, "max": high, "values": list(self.values)}


@dataclass(frozen=True)
class Pairs:
    """Images a second of two loaders, turn by turn."""

    first: Spread
    second: Spread

    @property
    def ratios(self) -> Spread:
        """How many times faster the first was than the second, pair by pair."""
        both = zip(self.first.values, self.second.values, strict=True)
        return Spread(tuple(first / second for first, second in both))

    def as_json(self) -> dict[str, Any]:
        """The ratios, and every turn of both."""
        return {
            "ratio": self.ratios.as_json(),
            "first": list(self.first.values),
            "second": list(self.second.values),
        }


def interleave(first: Callable[[], float], second: Callable[[], float], count: int) -> Pairs:
    """`count` pairs of turns, one after the other."""
    turns = [(first(), second()) for _ in range(count)]
    return Pairs(Spread(tuple(a for a, _ in turns)), Spread(tuple(b for _, b in turns)))


class Contender(Protocol):
    """Something whose turns are compared: called, it gives its images a second."""

    name: str
    setting: str

    def __call__(self) -> float:
        """One turn."""


class Turns:
    """Calls a feed for one turn after the other; each goes on with its next epoch."""

    def __init__(self, feed: Feed, threads: int, seconds: float = SECONDS) -> None:
        self.feed, self.name, self.setting = feed, feed.name, feed.setting
        self._threads, self._seconds = threads, seconds
        self._epochs = self._count()

    def __call__(self) -> float:
        """Images a second over whole epochs."""
        machine.set_threads(self._threads)  # FFCV changes them
        samples, passed = 0, 0.0
        began = time.perf_counter()
        while passed < self._seconds:
            samples += consume(self.feed.epoch(next(self._epochs)))
            passed = time.perf_counter() - began
        return samples / passed

    def warm_up(self, samples: int) -> None:
        """An uncounted epoch that must deliver the ids 0 to `samples` - 1, each once."""
        machine.set_threads(self._threads)
        check_delivery(self.feed.name, self.feed.epoch(next(self._epochs)), samples)

    @staticmethod
    def _count() -> Iterator[int]:
        number = 0
        while True:
            yield number
            number += 1


def consume(batches: Batches) -> int:
    """Touch a strided part of every batch, as cheaply for each loader; how many samples came."""
    samples = 0
    total: Tensor | int = 0
    for images, labels in batches:
        total = touch(images) + labels.sum() + total
        samples += len(labels)
    float(total)  # waits for a GPU
    return samples


def touch(images: Tensor) -> Tensor:
    """The sum of one element in 256 of a batch, in the order in which it lies in memory."""
    return images.as_strided((-(-images.numel() // TOUCHED_EVERY),), (TOUCHED_EVERY,)).sum()


def check_delivery(name: str, batches: Batches, samples: int) -> None:
    """Raise unless the labels of `batches`, which are sample ids, are 0 to `samples` - 1."""
    parts: list[Tensor] = []
    for images, labels in batches:
        if len(images) != len(labels):
            raise RunFailed(f"{name}: {len(images)} images came with {len(labels)} labels")
        parts.append(labels.to("cpu", copy=True))  # some loaders write to a batch again
    _check_ids(name, torch.cat(parts) if parts else torch.empty(0, dtype=torch.int64), samples)


def _check_ids(name: str, ids: Tensor, samples: int) -> None:
    known = torch.bincount(ids[(ids >= 0) & (ids < samples)], minlength=samples)
    missing, repeated = int((known == 0).sum()), int((known > 1).sum())
    if len(ids) != samples or missing or repeated:
        raise RunFailed(
            f"{name}: delivered {len(ids):,} of {samples:,} samples in an epoch "
            f"({missing:,} missing, {repeated:,} repeated): its rate would not be comparable"
        )


def spread_of(measure: Callable[[], float], count: int) -> Spread:
    """The same measurement, several times."""
    return Spread(tuple(measure() for _ in range(count)))


def fastest(turns: Sequence[Entrant], rounds: int) -> tuple[Entrant, dict[str, Spread]]:
    """The fastest of several by the median of interleaved turns, and the rates of all."""
    rates: list[list[float]] = [[] for _ in turns]
    for _ in range(rounds):
        for each, found in zip(turns, rates, strict=True):
            found.append(each())
    spreads = [Spread(tuple(found)) for found in rates]
    best = max(range(len(turns)), key=lambda index: spreads[index].median)
    names = [f"{each.name}, {each.setting}" for each in turns]
    return turns[best], dict(zip(names, spreads, strict=True))
