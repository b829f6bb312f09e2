"""`option` and `section`: how a dataclass states a setting with its limits and its one line."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Limits:
    """What `options.read` holds a value to; a list's entries are each held to it."""

    doc: str
    choices: tuple[str, ...] = ()  # the only words allowed
    words: tuple[str, ...] = ()  # words allowed beside the number, flag or list
    low: float | None = None
    high: float | None = None
    above: bool = False  # `low` itself is out
    below: bool = False  # `high` itself is out
    length: int | None = None  # of a list
    truth: tuple[str, str] | None = None  # the choices that true and false stand for


def option(
    default: Any,
    doc: str,
    *,
    choices: tuple[str, ...] = (),
    words: tuple[str, ...] = (),
    low: float | None = None,
    high: float | None = None,
    above: bool = False,
    below: bool = False,
    length: int | None = None,
    truth: tuple[str, str] | None = None,
) -> Any:
    """A setting of a section: its default, its explanation and its limits."""
    limits = Limits(doc, choices, words, low, high, above, below, length, truth)
    return dataclasses.field(default=default, metadata={"limits": limits})


def section(kind: type) -> Any:
    """A section of a configuration, with its own defaults."""
    return dataclasses.field(default_factory=kind)
