"""Learning curves: accuracy over the epochs, a line a variant."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterator, Sequence

import numpy as np

from benchmarks.records.runs import RunFile
from benchmarks.report.plots.style import (  # fmt: skip
    Plot,
    cut,
    line_style,
    plain_figure,
    plot,
    space_by_errors,
)

LARGEST_LEGEND = 10  # lines of learning curves that are told apart
POINTS = 100  # of a curve that are drawn


def learning_curves(runs: Sequence[RunFile], title: str, name: str, labels: Sequence[str]) -> Plot:
    """Test accuracy over the epochs: a line a label, the mean of its runs, its extremes shaded."""
    groups: dict[str, list[RunFile]] = {}
    for run, label in zip(runs, labels, strict=True):
        groups.setdefault(label, []).append(run)
    drawn = plain_figure(3.2)
    axes = drawn.add_subplot()
    ends: list[tuple[float, str]] = []
    shown = list(groups.items())[:LARGEST_LEGEND]
    for number, (label, group) in enumerate(shown):
        curve = dict(_mean_curve(group))
        if not curve:
            continue
        epochs = sorted(curve)
        style = line_style(number) | {"markevery": max(1, len(epochs) // 8)}
        axes.plot(epochs, [curve[e][0] for e in epochs], label=cut(label), **style)
        if len(group) > 1:
            low, high = [[curve[e][k] for e in epochs] for k in (1, 2)]
            axes.fill_between(epochs, low, high, color=style["color"], alpha=0.18, linewidth=0)
        ends.append((curve[epochs[-1]][0], label))
    axes.set_xlabel("epoch")
    axes.set_ylabel(f"{_watched(runs)} accuracy (%)")
    if ends:
        values = [value for line in axes.lines for value in np.asarray(line.get_ydata())]
        space_by_errors(axes, min(values), max(values))
    if len(ends) > 1:
        axes.legend(loc="lower right", ncols=1 if len(ends) < 6 else 2)
    ends.sort(reverse=True)
    left_out = f" {len(groups) - len(shown)} more lines are left out." if groups.keys() - dict(
        shown
    ) else ""  # fmt: skip
    order = "; ".join(f"{label} {value:.2f} %" for value, label in ends[:4])
    return plot(
        name,
        drawn,
        title,
        "A line is the mean of its seeds, the shade spans all of them."
        f"{left_out} At the end: {order or 'nothing yet'}.",
        f"Learning curves of {len(ends)} series. At the end: {order or 'nothing yet'}.",
    )


def _mean_curve(group: Sequence[RunFile]) -> Iterator[tuple[int, tuple[float, float, float]]]:
    """Epochs with mean, least and most of the runs that reached them; thinned, the last kept."""
    by_epoch: dict[int, list[float]] = {}
    for run in group:
        for line in run.epochs:
            value = line["test_accuracy"]
            value = line["validation_accuracy"] if value is None else value
            if value is not None:
                by_epoch.setdefault(line["epoch"], []).append(100 * value)
    epochs = sorted(by_epoch)
    step = max(1, math.ceil(len(epochs) / POINTS))
    for epoch in itertools.chain(epochs[: len(epochs) - 1 : step], epochs[-1:]):
        values = by_epoch[epoch]
        yield epoch, (statistics.fmean(values), min(values), max(values))


def _watched(runs: Sequence[RunFile]) -> str:
    held_out = [bool(run["validation_images"]) for run in runs]
    if any(held_out) and not all(held_out):
        return "watched"
    return "validation" if any(held_out) else "test"
