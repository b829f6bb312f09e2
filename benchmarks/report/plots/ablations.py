"""One sheet of small plots: every setting that a report varied, measured beside reported."""

from __future__ import annotations

import math
from collections.abc import Sequence
from textwrap import wrap

from benchmarks.records.conditions import Conditions
from benchmarks.report.experiments import ExperimentResult
from benchmarks.report.plots.style import COLOURS, LINE, MUTED, Plot, cut, listed
from benchmarks.report.plots.svg import (
    FONT,
    LETTER,
    SMALL,
    WIDTH,
    between,
    document,
    step,
    text,
)

COLUMNS = 2
ROW = 13.0  # points
LONGEST = 26  # letters of a variant's name
MEASURED, REPORTED = COLOURS[:2]


def ablations(
    report: str, results: Sequence[ExperimentResult], conditions: Conditions, name: str
) -> Plot | None:
    """A panel per experiment: the measured accuracy of each variant, reported ones hollow."""
    panels: dict[str, list[ExperimentResult]] = {}
    means = []
    for result in results:
        if result.last is not None:
            panels.setdefault(result.plan.heading, []).append(result)
            means.append(result.last.mean)
    if not panels:
        return None
    wide = WIDTH / COLUMNS
    bottoms = [0.0] * COLUMNS
    parts = []
    for title, group in panels.items():
        column = bottoms.index(min(bottoms))
        drawn, height = _panel(title, group, column * wide, bottoms[column], wide)
        parts.append(drawn)
        bottoms[column] += height
    return Plot(
        name,
        f"Report {report}: all ablations ({conditions.words})",
        "One panel per experiment of the report. Filled points are measured (last epoch; bars show "
        "the 95 % interval over seeds), hollow ones reported. Compare within a panel: panels "
        "differ in their settings and scales.",
        f"{len(panels)} small plots, one per ablation of report {report}: "
        f"{listed(list(panels), 6)}. Measured accuracies range from {min(means):.2f} to "
        f"{max(means):.2f} %.",
        document(max(bottoms), "".join(parts)),
    )


def _panel(
    title: str, group: Sequence[ExperimentResult], left: float, top: float, width: float
) -> tuple[str, float]:
    """A panel and its height: a row per variant, its name on the left."""
    head = wrap(title, int((width - 10) / (LETTER * FONT)))
    labels = list(dict.fromkeys(result.plan.label for result in group))
    names = min(max(map(len, labels)), LONGEST) * LETTER * SMALL
    x0, x1 = left + names + 10, left + width - 14
    y0 = top + len(head) * 12 + 6
    y1 = y0 + len(labels) * ROW
    values = [*filter(None, (_reported(result) for result in group))]
    for last in (result.last for result in group):
        values += [] if last is None else [v for v in (last.low, last.mean, last.high) if v]
    low, high = min(values), max(values)
    pad = (high - low) * 0.06 or 0.5
    across = between(low - pad, high + pad, x0, x1)
    parts = [text(left + 4, top + 10 + 12 * n, line, size=FONT) for n, line in enumerate(head)]
    every = step((high - low + 2 * pad) * 36 / (x1 - x0))
    marks = range(math.ceil((low - pad) / every), math.floor((high + pad) / every) + 1)
    for x, words in ((across(mark * every), f"{mark * every:.6g}") for mark in marks):
        parts.append(f'<path stroke="{LINE}" stroke-width=".7" d="M{x:.1f} {y0:g}V{y1:g}"/>')
        parts.append(text(x, y1 + 10, words, anchor="middle"))
    parts.append(f'<path stroke="{MUTED}" stroke-width=".8" d="M{x0:g} {y1:g}H{x1:g}"/>')
    parts.append(text(x1, y1 + 20, "test accuracy (%)", anchor="end"))
    for number, label in enumerate(labels):
        y = y0 + (number + 0.5) * ROW
        parts.append(text(x0 - 6, y, cut(label, LONGEST), anchor="end", baseline="middle"))
        parts.append(f'<path stroke="{LINE}" stroke-width=".7" d="M{x0:g} {y:g}H{x1:g}"/>')
    for result in group:
        y, last = y0 + (labels.index(result.plan.label) + 0.5) * ROW, result.last
        if last is not None:
            parts.append(
                f'<circle cx="{across(last.mean):.1f}" cy="{y:g}" r="2.4" fill="{MEASURED}"/>'
            )
            if last.low is not None and last.high is not None:
                bar = f"M{across(last.low):.1f} {y:g}H{across(last.high):.1f}"
                parts.append(f'<path stroke="{MEASURED}" stroke-width="1.3" d="{bar}"/>')
        reported = _reported(result)
        if reported is not None:
            ring = f'cx="{across(reported):.1f}" cy="{y:g}" r="3.9" stroke="{REPORTED}"'
            parts.append(f'<circle {ring} fill="none" stroke-width="1.2"/>')
    return "".join(parts), y1 + 30 - top


def _reported(result: ExperimentResult) -> float | None:
    """A reported test accuracy that a measured one can be compared with."""
    value = result.reported
    if value is None or value.measure != "test_accuracy" or not result.conditions.comparable:
        return None
    return value.value
