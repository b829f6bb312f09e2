"""Contenders in turns, A B A B, and what their rates say of each other.

A machine's speed drifts by more than contenders differ, so a ratio is taken within each pair, of
two turns that follow each other at once; the result is the median of these ratios.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar


@dataclass(frozen=True)
class Spread:
    """Several measurements of one thing."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.values)

    @property
    def median_min_max(self) -> tuple[float, float, float]:
        """What a table shows of it."""
        return self.median, min(self.values), max(self.values)

    def as_json(self) -> dict[str, Any]:
        """Median, extremes and all values."""
        median, low, high = self.median_min_max
        return {"median": median, "min": low, "max": high, "values": list(self.values)}


@dataclass(frozen=True)
class Pairs:
    """Images/s of two contenders, turn by turn."""

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


class Contender(Protocol):
    """Something whose turns are compared: a call is one turn and returns its images/s."""

    name: str
    setting: str

    def __call__(self) -> float:
        """One turn."""


AnyContender = TypeVar("AnyContender", bound=Contender)


def interleave(first: Callable[[], float], second: Callable[[], float], count: int) -> Pairs:
    """`count` pairs of turns, one after the other."""
    turns = [(first(), second()) for _ in range(count)]
    return Pairs(Spread(tuple(a for a, _ in turns)), Spread(tuple(b for _, b in turns)))


def spread_of(measure: Callable[[], float], count: int) -> Spread:
    """The same measurement, several times."""
    return Spread(tuple(measure() for _ in range(count)))


def fastest(
    contenders: Sequence[AnyContender], rounds: int
) -> tuple[AnyContender, dict[str, Spread]]:
    """The fastest of several by the median of interleaved turns, and the rates of all."""
    turns = [[contender() for contender in contenders] for _ in range(rounds)]
    spreads = [Spread(values) for values in zip(*turns, strict=True)]
    best = max(range(len(contenders)), key=lambda index: spreads[index].median)
    names = [f"{each.name}, {each.setting}" for each in contenders]
    return contenders[best], dict(zip(names, spreads, strict=True))
