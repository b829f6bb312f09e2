"""Curves of accuracy against time and against work, of ours and of what was measured beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks.accuracies.time_to.records import Point
from benchmarks.accuracies.time_to.summary import Entry
from benchmarks.report.plots.style import (
    COLOURS,
    INK,
    PAPER,
    Plot,
    as_svg,
    cut,
    figure,
    plain_ticks,
    point_style,
    space_by_errors,
)

PANELS: tuple[tuple[str, Callable[[Point], float]], ...] = (
    ("seconds of training", lambda point: point.seconds),
    ("PFLOPs of training", lambda point: point.petaflops),
)
DASHES = ("-", "--", "-.", ":")


def accuracy_curves(found: Sequence[Entry], target: float, machine: str, name: str) -> Plot | None:
    """Each setting's accuracy by one view after its epochs, its last weights marked."""
    drawn = [(entry, entry.curve()) for entry in found]
    drawn = [(entry, curve) for entry, curve in drawn if curve]
    if not drawn:
        return None
    sheet = figure(4.0 + 0.16 * len(drawn))
    low = min(point.accuracy for _, curve in drawn for point, _, _ in curve)
    high = max([target, *(point.accuracy for _, curve in drawn for point, _, _ in curve)])
    handles = []
    for number, (label, cost) in enumerate(PANELS):
        axes = sheet.add_subplot(1, 2, number + 1)
        for place, (entry, curve) in enumerate(drawn):
            xs = [cost(point) for point, _, _ in curve]
            style = point_style(place) | {"linestyle": DASHES[place // len(COLOURS) % len(DASHES)]}
            axes.fill_between(
                xs, [least for _, least, _ in curve], [most for _, _, most in curve],
                color=style["color"], alpha=0.15, linewidth=0,
            )  # fmt: skip
            (line,) = axes.plot(
                xs, [point.accuracy for point, _, _ in curve], label=_label(entry), **style,
                markevery=[len(xs) - 1], markeredgecolor=PAPER, markeredgewidth=0.6,
            )  # fmt: skip
            if number == 0:
                handles.append(line)
        axes.axhline(target, color=INK, linestyle=(0, (1, 2)), linewidth=1.0)
        axes.set_xscale("log")
        space_by_errors(axes, low, high)
        plain_ticks(axes.xaxis)
        axes.set_xlabel(label)
        if number == 0:
            axes.set_ylabel("test accuracy, one view (%)")
    sheet.legend(handles=handles, loc="outside lower left", ncols=2)
    ends = "; ".join(_label(entry) for entry, _ in drawn)
    return Plot(
        name,
        f"Accuracy against time and work on {machine}",
        "Means over the seeds of each setting, by a single view of each test image; the marker is "
        "the last weights, which are the result, and the area spans the seeds. Curves of one "
        "recipe at several lengths are different runs: the rate falls to zero at the end of each. "
        f"Time is training alone, from pixels in memory; the dotted line is {target:g} %.",
        f"Accuracy against seconds and against PFLOPs of training, two plots. At the end: {ends}.",
        as_svg(sheet),
    )


def _label(entry: Entry) -> str:
    return f"{entry.accuracy.mean:.2f} % {cut(entry.label, 40)} (n = {entry.accuracy.n})"
