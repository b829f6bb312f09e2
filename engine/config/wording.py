"""How settings and mistakes are put into words: close matches, values, limits."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from engine.escaping import escaped

LONGEST_SHOWN = 60
LONGEST_GUESSED = 80  # comparing is quadratic; a misspelt name is not longer
OTHER_NAMES = {  # in other projects; no letters in common, so no close match
    "learning_rate": "lr",
    "wd": "weight_decay",
    "bs": "batch_size",
    "workers": "threads",
}


def shown(text: str, longest: int | None = LONGEST_SHOWN) -> str:
    """The text on one line: control characters escaped, the middle of a long one left out."""
    plain = escaped(text)
    if longest is not None and len(plain) > longest:
        half = longest // 2
        plain = f"{plain[:half]}...{plain[-half:]}"
    return plain or '""'


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """`; did you mean train.epochs?` for a name like one of `names`, else nothing."""
    guesses = close(name, list(names))
    return f"; did you mean {either(guesses)}?" if guesses else ""


def close(name: str, names: Sequence[str]) -> list[str]:
    """The names that `name` was probably meant to be, at most four, best first."""
    if not name or len(name) > LONGEST_GUESSED:
        return []
    last = _last_part(name)
    last = OTHER_NAMES.get(last, last)
    if same := [other for other in names if _last_part(other) == last]:
        return same[:4]
    cutoff = 0.8 if "." in name else 0.6  # a section that is right says nothing about the rest
    if best := difflib.get_close_matches(name, names, n=1, cutoff=cutoff):
        return best
    if longer := [other for other in names if other.startswith(name)]:
        return longer[:4]
    parts = {_last_part(other): other for other in names}
    return [parts[part] for part in difflib.get_close_matches(last, parts, n=1, cutoff=0.7)]


def either(words: Sequence[str]) -> str:
    """`a`, `a or b`, `a, b or c`."""
    return " or ".join([part for part in (", ".join(words[:-1]), words[-1]) if part])


def limits(
    low: float | None, high: float | None, *, above: bool = False, below: bool = False
) -> str:
    """`1 to 100,000`, `at least 0 and below 1`; nothing without limits."""
    if low is not None and high is not None and not above and not below:
        return f"{_number(low)} to {_number(high)}"
    parts = []
    if low is not None:
        parts.append(("above " if above else "at least ") + _number(low))
    if high is not None:
        parts.append(("below " if below else "at most ") + _number(high))
    return " and ".join(parts)


def _number(value: float) -> str:
    return f"{int(value):,}" if value == int(value) else repr(value)


def _last_part(name: str) -> str:
    return name.rpartition(".")[2].lstrip("-")
