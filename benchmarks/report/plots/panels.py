"""Lines over epochs as SVG, written by hand: a hundred times as fast as Matplotlib.

A figure is a grid of panels with one legend. Ticks keep their distance, epochs are whole numbers.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.report.plots.style import (
    LINE,
    MUTED,
    PAPER,
    by_errors,
    cut,
    error_ticks,
    is_wide,
    short,
)
from benchmarks.report.plots.svg import (
    FONT,
    LETTER,
    SMALL,
    WIDTH,
    Place,
    between,
    document,
    step,
    text,
)

HEIGHT = 112.0  # of a panel's axes
LEFT, RIGHT, TOP, BOTTOM = 32.0, 8.0, 18.0, 27.0  # around the axes
LEGEND_ROW, SAMPLE = 13.0, 30.0
MARKS = 6  # markers on a line
TICK = 11.0  # between the ticks of a vertical axis, at least
MARKERS = (
    "m-2.4 0a2.4 2.4 0 1 0 4.8 0a2.4 2.4 0 1 0-4.8 0", "m-2.2-2.2h4.4v4.4h-4.4z",
    "m0-3l3 3l-3 3l-3-3z", "m0-2.8l2.8 5h-5.6z", "m0 2.8l2.8-5h-5.6z",
    "m-.9-2.7h1.8v1.8h1.8v1.8h-1.8v1.8h-1.8v-1.8h-1.8v-1.8h1.8z",
)  # fmt: skip


@dataclass(frozen=True)
class Line:
    """A line with the area that it lies in."""

    points: Sequence[tuple[float, float]] = ()
    colour: str = MUTED
    dash: str = ""  # as stroke-dasharray
    marker: int | None = None  # one of MARKERS
    faint: bool = False  # one of many
    band: Sequence[tuple[float, float, float]] = ()  # x, low, high


@dataclass(frozen=True)
class Panel:
    """Axes with a title, which names what goes up; epochs go to the right."""

    title: str
    lines: Sequence[Line]
    accuracy: bool  # in per cent: a wide range is spaced by errors; else a loss


def figure(rows: Sequence[Sequence[Panel]], legend: Sequence[tuple[str, Line]]) -> str:
    """All panels in a grid, the legend below."""
    high = TOP + HEIGHT + BOTTOM
    parts = []
    for number, row in enumerate(rows):
        wide = WIDTH / len(row)
        parts += [
            _axes(panel, place * wide, number * high, wide) for place, panel in enumerate(row)
        ]
    bottom = len(rows) * high
    longest = max((len(label) for label, _ in legend), default=0)
    columns = max(1, min(3, int(WIDTH / (SAMPLE + 12 + LETTER * SMALL * longest))))
    letters = int((WIDTH / columns - SAMPLE - 6) / (LETTER * SMALL))
    for number, (label, line) in enumerate(legend):
        x, y = number % columns * WIDTH / columns, bottom + (number // columns + 0.5) * LEGEND_ROW
        sample = [(x + 4, y), (x + SAMPLE / 2 - 1, y), (x + SAMPLE - 6, y)]
        parts.append(_stroke(sample, line))
        if line.marker is not None:
            parts.append(_markers(sample[1:2], line))
        parts.append(text(x + SAMPLE, y, cut(label, letters), baseline="middle"))
    height = bottom + -(-len(legend) // columns) * LEGEND_ROW + 2
    return document(height, "".join(parts))


def _axes(panel: Panel, left: float, top: float, width: float) -> str:
    x0, x1 = left + LEFT, left + width - RIGHT
    y0, y1 = top + TOP + HEIGHT, top + TOP
    points = [point for line in panel.lines for point in line.points]
    parts = [text(left + 2, top + 10, panel.title, size=FONT)]
    if not points:
        return parts[0] + text(x0, (y0 + y1) / 2, "not recorded")
    first, last = min(x for x, _ in points), max(x for x, _ in points)
    ys = [y for _, y in points]
    ys += [y for line in panel.lines for _, low, high in line.band for y in (low, high)]
    across = between(first, max(last, first + 1), x0 + 3, x1 - 3)
    up, ticks = _vertical(min(ys), max(ys), y0, y1, accuracy=panel.accuracy)
    for tick in ticks:
        y = up(tick)
        parts.append(f'<path stroke="{LINE}" stroke-width=".7" d="M{x0:g} {y:.1f}H{x1:g}"/>')
        parts.append(text(x0 - 4, y, short(tick), anchor="end", baseline="middle"))
    parts.append(
        f'<path stroke="{MUTED}" stroke-width=".8" fill="none" d="M{x0:g} {y0:g}H{x1:g}"/>'
    )
    for number in _epochs(int(first), int(last), x1 - x0):
        x = across(number)
        parts.append(f'<path stroke="{MUTED}" stroke-width=".8" d="M{x:.1f} {y0:g}v3"/>')
        parts.append(text(x, y0 + 12, f"{number:,}", anchor="middle"))
    parts.append(text((x0 + x1) / 2, y0 + 22, "epoch", anchor="middle"))
    for line in sorted(panel.lines, key=lambda line: not line.faint):  # what matters on top
        placed = [(across(x), up(y)) for x, y in line.points]
        if line.band:
            area = [(across(x), up(high)) for x, _, high in line.band]
            area += [(across(x), up(low)) for x, low, _ in reversed(line.band)]
            opacity = 0.07 if line.faint else 0.18
            parts.append(
                f'<path fill="{line.colour}" fill-opacity="{opacity}" d="{_path(area)}z"/>'
            )
        parts.append(_stroke(placed, line))
        if line.marker is not None or len(placed) == 1:
            parts.append(_markers(placed[:: -max(1, len(placed) // MARKS)], line))
    return "".join(parts)


def _vertical(
    low: float, high: float, bottom: float, top: float, *, accuracy: bool
) -> tuple[Place, list[float]]:
    """Where a value lies, and the values that are marked."""
    if accuracy and is_wide(low, high):
        low, high = low - 3, high + (100 - high) * 0.35
        place = between(by_errors(low), by_errors(high), bottom, top)
        return (lambda value: place(by_errors(value))), error_ticks(low, high, TICK / HEIGHT)
    if not accuracy and low > 0 and high > 10 * low:  # a loss from 2.3 to 0.001
        place = between(math.log(low * 0.9), math.log(high * 1.1), bottom, top)
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        room = abs(place(math.log(2)) - place(0))
        factors = (1, 2, 5) if room >= TICK else (1, 3) if room >= TICK / 1.5 else (1,)
        values = [factor * 10.0**power for power in powers for factor in factors]
        ticks = [value for value in values if low * 0.9 <= value <= high * 1.1]
        return (lambda value: place(math.log(value))), _apart(ticks, lambda v: place(math.log(v)))
    pad = (high - low) * 0.06 or 0.5 * 10.0 ** math.floor(math.log10(abs(high) or 1))
    low, high = low - pad, high + pad
    every = step((high - low) / 5)
    marks = range(math.ceil(low / every), math.floor(high / every) + 1)
    return between(low, high, bottom, top), [mark * every for mark in marks]


def _apart(ticks: Sequence[float], place: Place) -> list[float]:
    """The ticks that have room, from the largest down."""
    kept: list[float] = []
    for tick in reversed(ticks):
        if not kept or abs(place(tick) - place(kept[-1])) >= TICK:
            kept.append(tick)
    return kept


def _epochs(first: int, last: int, width: float) -> Iterator[int]:
    """Whole numbers for the axis, with room between them."""
    room = (len(f"{last:,}") + 2) * LETTER * SMALL
    every = max(1, int(step(max(1.0, (last - first) * room / width))))
    start = first if last - first < every else -(-first // every) * every
    yield from range(start, last + 1, every)


def _stroke(points: Sequence[tuple[float, float]], line: Line) -> str:
    width, opacity = (0.8, ' stroke-opacity=".5"') if line.faint else (1.5, "")
    dash = f' stroke-dasharray="{line.dash}"' if line.dash else ""
    return (
        f'<path class="line" fill="none" stroke="{line.colour}" stroke-width="{width}"{opacity}'
        f'{dash} stroke-linejoin="round" d="{_path(points)}"/>'
    )


def _markers(points: Sequence[tuple[float, float]], line: Line) -> str:
    shape = MARKERS[line.marker or 0]
    marks = "".join(f"M{x:.1f} {y:.1f}{shape}" for x, y in points)
    return f'<path fill="{line.colour}" stroke="{PAPER}" stroke-width=".5" d="{marks}"/>'


def _path(points: Sequence[tuple[float, float]]) -> str:
    """A path in tenths of a point, each step relative to the last: short."""
    tenths = [(round(10 * x), round(10 * y)) for x, y in points]
    x, y = tenths[0]
    parts = [f"M{x / 10:g} {y / 10:g}"]
    for (x0, y0), (x1, y1) in itertools.pairwise(tenths):
        parts.append(f"l{(x1 - x0) / 10:g} {(y1 - y0) / 10:g}".replace(" -", "-"))
    return "".join(parts)
