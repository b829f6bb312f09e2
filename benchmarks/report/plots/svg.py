"""Parts of the SVGs that are written by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

from markupsafe import escape

from benchmarks.report.plots.style import INK

WIDTH, FONT, SMALL = 518.0, 9.0, 8.0  # points, as Matplotlib's figures
LETTER = 0.6  # of the font's size: how wide a letter is, at most on average
Place = Callable[[float], float]


def document(height: float, body: str) -> str:
    """A file of the usual width."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH:g}pt" height="{height:g}pt" '
        f'viewBox="0 0 {WIDTH:g} {height:g}" font-family="DejaVu Sans, sans-serif" '
        f'font-size="{SMALL:g}" fill="{INK}">{body}</svg>\n'
    )


def between(low: float, high: float, start: float, end: float) -> Place:
    """Where a value between `low` and `high` lies between `start` and `end`."""
    return lambda value: start + (value - low) / (high - low) * (end - start)


def step(least: float) -> float:
    """The next of 1, 2, 5, 10, 20, ..."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * 0.999)


def text(
    x: float, y: float, words: str, *, anchor: str = "", baseline: str = "", size: float = SMALL
) -> str:
    """Words at a place; with `baseline` their middle is there."""
    more = f' text-anchor="{anchor}"' if anchor else ""
    more += f' font-size="{size:g}"' if size != SMALL else ""
    y += 0.35 * size if baseline else 0.0  # not every program knows dominant-baseline
    return f'<text x="{x:.1f}" y="{y:.1f}"{more}>{escape(words)}</text>'
