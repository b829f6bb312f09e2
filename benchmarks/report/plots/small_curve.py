"""The learning curve in a run's details: two kilobytes of SVG, for pages with hundreds of runs."""

from __future__ import annotations

import math

from markupsafe import Markup, escape

from benchmarks.records.runs import RunRecord
from benchmarks.report.plots.style import thinned

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 340, 150, 34, 18, 8
POINTS = 80
SERIES = (  # key, words, style
    ("train_accuracy", "training", "stroke:var(--c1);stroke-dasharray:5 3"),
    ("validation_accuracy", "validation", "stroke:var(--c2);stroke-dasharray:1.5 2.5"),
    ("test_accuracy", "test", "stroke:var(--c0)"),
)


def curve(run: RunRecord) -> Markup | None:
    """Accuracies over the epochs as an SVG; None if no epoch has ended."""
    if not run.epochs:
        return None
    epochs = [epoch["epoch"] for epoch in run.epochs]
    known = {
        key: [(epoch["epoch"], 100 * epoch[key]) for epoch in run.epochs if epoch[key] is not None]
        for key, _, _ in SERIES
    }
    values = [y for points in known.values() for _, y in points]
    if not values:
        return None
    low, high = _bounds(min(values), max(values))
    first, last = min(epochs), max(max(epochs), min(epochs) + 1)

    def place(x: float, y: float) -> str:
        across = LEFT + (x - first) / (last - first) * (WIDTH - LEFT - 6)
        return f"{across:.1f},{TOP + (high - y) / (high - low) * (HEIGHT - TOP - BOTTOM):.1f}"

    parts = []
    for tick in (low, (low + high) / 2, high):
        _, y = place(first, tick).split(",")
        parts.append(f'<path class="grid" d="M{LEFT},{y}H{WIDTH - 6}"/>')
        parts.append(f'<text x="{LEFT - 4}" y="{y}" class="y">{tick:g}</text>')
    for key, _, style in SERIES:
        if known[key]:
            line = " ".join(place(x, y) for x, y in thinned(known[key], POINTS))
            parts.append(f'<polyline points="{line}" style="{style}"/>')
    parts.append(f'<text x="{LEFT}" y="{HEIGHT - 4}">epoch {first}</text>')
    parts.append(f'<text x="{WIDTH - 6}" y="{HEIGHT - 4}" class="end">{last}</text>')
    ends = ", ".join(f"{words} {known[key][-1][1]:.2f} %" for key, words, _ in SERIES if known[key])
    label = escape(f"Accuracy over {len(epochs)} epochs of {run.folder}; at the end: {ends}")
    body = "".join(parts)
    return Markup(  # the label is escaped, all else are numbers
        f'<svg class="curve" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">'
        f"{body}</svg>"
    )


def _bounds(low: float, high: float) -> tuple[float, float]:
    step = 10.0 if high - low > 10 else 2.0
    bottom, top = math.floor(low / step) * step, math.ceil(high / step) * step
    return (bottom, top) if top > bottom else (bottom, bottom + step)
