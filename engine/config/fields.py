"""How a configuration is declared: sections of options with limits, and checks across them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")
Problems = Iterable[tuple[str, str]]  # dotted key, what is wrong with it

POSITIVE = {"low": 0.0, "above": True}  # limits of an option
BETWEEN_0_AND_1 = {"low": 0.0, "above": True, "high": 1.0, "below": True}


@dataclass(frozen=True)
class Limits:
    """Which values a setting may have; those of a list, each of its entries."""

    doc: str
    choices: tuple[str, ...] = ()  # the only words allowed
    words: tuple[str, ...] = ()  # words allowed beside the number, flag or list
    low: float | None = None
    high: float | None = None
    above: bool = False  # `low` itself is out
    below: bool = False  # `high` itself is out
    length: int | None = None  # of a list
    truth: tuple[str, str] | None = None  # the choices that true and false stand for


def option(default: Any, doc: str, **limits: Any) -> Any:
    """A setting of a section: its default, its explanation and its `Limits`."""
    return dataclasses.field(default=default, metadata={"limits": Limits(doc, **limits)})


def section(kind: type) -> Any:
    """A section of a configuration, with its own defaults."""
    return dataclasses.field(default_factory=kind)


@dataclass(frozen=True)
class Check(Generic[T]):
    """Settings of a configuration `T` that must fit together."""

    reads: tuple[str, ...]  # all dotted keys that `problems` reads; `model.`: a whole section
    problems: Callable[[T], Problems]


def check(*reads: str) -> Callable[[Callable[[T], Problems]], Check[T]]:
    """Make a `Check` of a function that yields what is wrong with the settings `reads`."""
    return lambda problems: Check(reads, problems)
