"""Text of unknown origin on a terminal: what it would do there is shown instead of done."""

from __future__ import annotations


def escaped(text: str) -> str:
    r"""`text` with control characters, lone surrogates and the like as `\x1b` and `\ud800`."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )
