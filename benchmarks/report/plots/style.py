"""How every plot looks, and how it becomes an SVG inside a page.

Series differ in marker and dash as well as in colour, so they are readable in grey; the colours are
those of Okabe and Ito, darkened for white paper. The same input gives the same bytes.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import matplotlib
import numpy as np
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

INK, MUTED, LINE, PAPER = "#1b1f24", "#5c6671", "#d5dbe1", "#fefefe"
COLOURS = ("#0072b2", "#c24e00", "#007a5a", "#a8457f", "#806600", "#47525e")
MARKERS = ("o", "s", "D", "^", "v", "P")
HATCHES = ("", "///", "...", "xxx", "\\\\\\", "++")
WIDE = 8.0  # points of accuracy: a wider range is spaced by errors,
HIGH = 85.0  # if it reaches this accuracy
SHARES = (  # ticks of such an axis
    0, 20, 40, 60, 70, 80, 85, 90, 92, 94, 95, 96, 97, 98, 99, 99.5, 99.9, 100,
)  # fmt: skip
ROOM = 0.05  # of the axis: what a tick of a scatter plot needs
Numbers = np.ndarray[Any, np.dtype[Any]]
Value = TypeVar("Value")
WIDTH = 7.2  # inches; a page scales them to its own width
VARIABLES = {  # on the page the theme sets the colours
    INK: "var(--ink)", MUTED: "var(--muted)", LINE: "var(--line)", PAPER: "var(--paper)",
    **{colour: f"var(--c{number})" for number, colour in enumerate(COLOURS)},
}  # fmt: skip
STYLE = {
    "svg.fonttype": "none",  # text stays text: searchable, and a third of the size
    "svg.hashsalt": "ffcv-engine",
    "text.parse_math": False,  # a name may contain a dollar
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "grid.color": LINE,
    "grid.linewidth": 0.7,
    "hatch.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.6,
    "lines.markersize": 6,
    "savefig.facecolor": "none",
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
}


@dataclass(frozen=True)
class Plot:
    """A picture with its texts."""

    name: str  # of its file
    title: str
    caption: str
    alt: str  # for readers who cannot see it
    svg: str  # as Matplotlib wrote it

    @property
    def inline(self) -> Markup:
        """The SVG for a page of several: unique ids, the theme's colours, the page's width."""
        body = themed(self.svg[self.svg.index("<svg") :])
        body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
        body = re.sub(r'<g id="[^"]*">', "<g>", body)
        body = re.sub(r'\bid="([^"]+)"', rf'id="{self.name}-\1"', body)
        body = re.sub(r'href="#([^"]+)"', rf'href="#{self.name}-\1"', body)
        body = re.sub(r"url\(#([^)]+)\)", rf"url(#{self.name}-\1)", body)
        body = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", body, count=1)
        body = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", body, count=1)
        body = re.sub(r' (?:d|x|y|points|transform)="[^"]*"', _rounded, body)
        body = re.sub(r">\s+<", "><", body)
        label = f'<svg role="img" aria-label="{escape(self.alt)}"'
        return Markup(body.replace("<svg", label, 1))  # Matplotlib escaped the texts in it


def themed(svg: str) -> str:
    """The SVG in the colours of the page's theme."""
    return re.sub(r"#[0-9a-f]{6}", lambda match: VARIABLES.get(match[0], match[0]), svg)


def _rounded(attribute: re.Match[str]) -> str:
    """Coordinates in hundredths of a point: enough for a screen and for paper."""
    return re.sub(r"\d+\.\d{3,}", lambda match: f"{float(match[0]):.2f}", attribute[0])


@contextmanager
def style() -> Iterator[None]:
    """While entered, figures look like the report's."""
    with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]
        yield


def figure(height: float, width: float = WIDTH) -> Figure:
    """An empty figure, laid out when it is written."""
    return Figure(figsize=(width, height), layout="constrained")


def as_svg(drawn: Figure) -> str:
    """The figure, the same bytes for the same content."""
    target = io.StringIO()
    drawn.savefig(target, format="svg", metadata={"Date": None, "Creator": None})
    return target.getvalue()


def point_style(number: int) -> dict[str, Any]:
    """Colour and marker of the numbered set of points."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "marker": MARKERS[(number + number // len(COLOURS)) % len(MARKERS)],
    }


def plain_ticks(axis: Any) -> None:
    """Ticks of a logarithmic axis as 1,000 or 2.5 M, not 10^3, with room between them."""
    low, high = axis.get_view_interval()
    if not 0 < low < high:
        return
    axis.set_major_locator(FixedLocator(log_ticks(low, high)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))


def log_ticks(low: float, high: float) -> list[float]:
    """Round numbers from `low` to `high`, each a tenth of the way or more from the last."""
    if high > 8 * low:
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        factors = (1, 2, 5) if high < 1000 * low else (1,)
        values = [factor * 10.0**power for power in powers for factor in factors]
    else:
        step = 10.0 ** math.floor(math.log10((high - low) / 3))
        step *= max(factor for factor in (1, 2, 5) if factor * step <= (high - low) / 3)
        values = [n * step for n in range(math.ceil(low / step), math.floor(high / step) + 1)]
    kept: list[float] = []
    least = 0.13 * math.log(high / low)
    for value in values:
        if low <= value <= high and (not kept or math.log(value / kept[-1]) >= least):
            kept.append(value)
    return kept


def space_by_errors(axes: Axes, low: float, high: float) -> None:
    """Space a wide range of accuracies by the logarithm of the error: 94 and 96 stay apart."""
    if not is_wide(low, high):
        return
    axes.set_yscale("function", functions=(_by_errors, _from_errors))
    bottom, top = low - 3, high + (100 - high) * 0.35
    axes.set_ylim(bottom, top)
    ticks = error_ticks(bottom, top, ROOM)
    axes.set_yticks(ticks, [short(tick) for tick in ticks])


def error_ticks(low: float, high: float, room: float) -> list[float]:
    """Ticks of an axis that is spaced by errors, from the top; each needs this share of it."""
    least = room * (by_errors(high) - by_errors(low))
    kept: list[float] = []
    for share in reversed(SHARES):
        far = not kept or by_errors(kept[-1]) - by_errors(share) >= least
        if low <= share <= high and far:
            kept.append(float(share))
    return kept


def is_wide(low: float, high: float) -> bool:
    """Whether accuracies from `low` to `high` are spaced by errors."""
    return high - low > WIDE and high >= HIGH


def by_errors(accuracy: float) -> float:
    """Where an accuracy lies on an axis that is spaced by errors."""
    return -math.log(max(100 - accuracy, 0.05))


def _by_errors(accuracy: Numbers) -> Numbers:
    place: Numbers = -np.log(np.maximum(100 - np.asarray(accuracy), 0.05))
    return place


def _from_errors(place: Numbers) -> Numbers:
    accuracy: Numbers = 100 - np.exp(-np.asarray(place))
    return accuracy


def short(value: float) -> str:
    """A number in few characters."""
    for limit, unit in ((1e9, " G"), (1e6, " M"), (1e4, " k")):
        if abs(value) >= limit:
            return f"{value / (1e3 if unit == ' k' else limit):.3g}{unit}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def listed(words: Sequence[str], most: int = 3) -> str:
    """The first words, and how many more there are."""
    more = len(words) - most
    return ", ".join(words[:most]) + (f" and {more} more" if more > 0 else "")


def thinned(values: Sequence[Value], most: int) -> list[Value]:
    """About `most` of the values, equally spaced, and the last."""
    step = max(1, -(-len(values) // most))
    return [*values[: len(values) - 1 : step], *values[-1:]]


def cut(text: str, most: int = 34) -> str:
    """A label short enough for a plot."""
    return text if len(text) <= most else text[: most - 1] + "…"
