"""Values of command-line options: each reader takes a text, or says what would be right.

They serve `Flag.read` and argparse's `type=` alike.
"""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from collections.abc import Callable

from engine.config.values import NUMBER
from engine.config.wording import did_you_mean, either, limits, shown

UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
LARGE = 10**6  # from here on, a message shows the short ways to write a number
MOST_VALUES = 256  # of one list

_WHOLE = re.compile(r"([0-9][0-9_,]*(?:\.[0-9]+)?(?:e\+?[0-9]{1,2})?)([kmgt]?)", re.IGNORECASE)
_RANGE = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9})(?::([0-9]{1,9}))?)?")


def unexpected(text: str, expected: str, hint: str = "") -> ArgumentTypeError:
    """The error of a reader."""
    return ArgumentTypeError(f"expected {expected}, found {shown(text)}{hint}")


def whole(low: int, high: int | None = None) -> Callable[[str], int]:
    """A whole number within limits: 5000000, 5_000_000, 5M or 5e6."""
    expected = f"a whole number, {limits(low, high)}"
    if high is not None and high >= LARGE:
        expected += " (such as 5000000, 5M or 5e6)"

    def read(text: str) -> int:
        match = _WHOLE.fullmatch(text)
        value = -1.0
        if match:
            value = float(match[1].replace(",", "").replace("_", "")) * UNITS[match[2].lower()]
        if value != value // 1 or value < low or (high is not None and value > high):
            raise unexpected(text, expected)
        return int(value)

    return read


def number(low: float, high: float, example: str) -> Callable[[str], float]:
    """A number within limits."""

    def read(text: str) -> float:
        if not NUMBER.fullmatch(text) or not low <= float(text) <= high:
            raise unexpected(text, f"a number, {limits(low, high)}, such as {example}")
        return float(text)

    return read


def wholes(low: int, high: int) -> Callable[[str], tuple[int, ...]]:
    """Whole numbers within limits, in ascending order: 2,4 or 1-6 or 16-64:16."""
    expected = f"whole numbers, {limits(low, high)}, such as 2,4 or 1-6 or 16-64:16"

    def read(text: str) -> tuple[int, ...]:
        values: set[int] = set()
        for part in text.split(","):
            match = _RANGE.fullmatch(part.strip())
            if match is None:
                raise unexpected(text, expected)
            first, last, step = int(match[1]), int(match[2] or match[1]), int(match[3] or 1)
            if not (low <= first <= last <= high and step):
                raise unexpected(text, expected)
            values.update(range(first, last + 1, step))
        if len(values) > MOST_VALUES:
            raise unexpected(text, f"at most {MOST_VALUES} values")
        return tuple(sorted(values))

    return read


def one_of(*known: str) -> Callable[[str], str]:
    """One of some words."""

    def read(text: str) -> str:
        if text not in known:
            raise unexpected(text, either(known), did_you_mean(text, known))
        return text

    return read


def some_of(*known: str) -> Callable[[str], tuple[str, ...]]:
    """Some of some words, each once, in the order given."""

    def read(text: str) -> tuple[str, ...]:
        words = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
        for word in words:
            if word not in known:
                expected = f"some of {either(known)}, joined by commas"
                raise unexpected(word, expected, did_you_mean(word, known))
        return words

    return read
