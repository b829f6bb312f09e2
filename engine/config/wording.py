"""How settings and mistakes are put into words: close matches, found values, limits."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

LONGEST_SHOWN = 60
LONGEST_GUESSED = 80  # comparing is quadratic; nobody misspells a name into more


def shown(text: str, longest: int | None = LONGEST_SHOWN) -> str:
    """The text on one line: control characters escaped, the middle of a long one left out."""
    plain = "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )
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
    if same := [other for other in names if _last_part(other) == last]:
        return same[:4]
    if best := difflib.get_close_matches(name, names, n=1, cutoff=0.6):
        return best
    if longer := [other for other in names if other.startswith(name)]:
        return longer[:4]
    parts = {_last_part(other): other for other in names}
    return [parts[part] for part in difflib.get_close_matches(last, parts, n=1, cutoff=0.6)]


def either(words: Sequence[str]) -> str:
    """`a`, `a or b`, `a, b or c`."""
    return " or ".join([part for part in (", ".join(words[:-1]), words[-1]) if part])


def number(value: float) -> str:
    """A limit as people read it: 100,000 and 0.5."""
    return f"{int(value):,}" if value == int(value) else repr(value)


def _last_part(name: str) -> str:
    return name.rpartition(".")[2].lstrip("-")
