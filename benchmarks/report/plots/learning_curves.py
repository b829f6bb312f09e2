"""Learning curves: accuracy over the epochs, one line per variant."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from benchmarks.records.runs import RunRecord
from benchmarks.report.plots.style import (
    Plot,
    as_svg,
    cut,
    line_style,
    plain_figure,
    space_by_errors,
    thinned,
)

LARGEST_LEGEND = 10  # lines that can be told apart
POINTS = 100  # of a curve that are drawn


def learning_curves(series: Mapping[str, Sequence[RunRecord]], title: str, name: str) -> Plot:
    """Test accuracy over the epochs: a line per label, the mean of its runs, their range shaded."""
    drawn = plain_figure(3.2)
    axes = drawn.add_subplot()
    ends: list[tuple[float, str]] = []
    for number, (label, runs) in enumerate(itertools.islice(series.items(), LARGEST_LEGEND)):
        curve = dict(_mean_curve(runs))
        if not curve:
            continue
        epochs = list(curve)
        mean, low, high = zip(*curve.values(), strict=True)
        style = line_style(number) | {"markevery": max(1, len(epochs) // 8)}
        axes.plot(epochs, mean, label=cut(label), **style)
        if len(runs) > 1:
            axes.fill_between(epochs, low, high, color=style["color"], alpha=0.18, linewidth=0)
        ends.append((mean[-1], label))
    axes.set_xlabel("epoch")
    axes.set_ylabel(f"{_evaluated_on(series)} accuracy (%)")
    if ends:
        values = [value for line in axes.lines for value in np.asarray(line.get_ydata())]
        space_by_errors(axes, min(values), max(values))
    if len(ends) > 1:
        axes.legend(loc="lower right", ncols=1 if len(ends) < 6 else 2)
    ends.sort(reverse=True)
    more = len(series) - LARGEST_LEGEND
    left_out = f" {more} more lines are left out." if more > 0 else ""
    order = "; ".join(f"{label} {value:.2f} %" for value, label in ends[:4]) or "nothing yet"
    return Plot(
        name,
        title,
        "Each line is the mean over its seeds, the shaded area spans all of them."
        f"{left_out} At the end: {order}.",
        f"Learning curves of {len(ends)} series. At the end: {order}.",
        as_svg(drawn),
    )


def _mean_curve(group: Sequence[RunRecord]) -> Iterator[tuple[int, tuple[float, float, float]]]:
    """Epochs with mean, minimum and maximum of the runs that reached them; at most about POINTS."""
    by_epoch: dict[int, list[float]] = {}
    for run in group:
        for epoch in run.epochs:
            value = epoch["test_accuracy"]
            value = epoch["validation_accuracy"] if value is None else value
            if value is not None:
                by_epoch.setdefault(epoch["epoch"], []).append(100 * value)
    for number in thinned(sorted(by_epoch), POINTS):
        values = by_epoch[number]
        yield number, (statistics.fmean(values), min(values), max(values))


def _evaluated_on(series: Mapping[str, Sequence[RunRecord]]) -> str:
    validated = {bool(run["validation_images"]) for runs in series.values() for run in runs}
    return "evaluated" if len(validated) > 1 else "validation" if True in validated else "test"
