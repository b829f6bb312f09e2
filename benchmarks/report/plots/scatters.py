"""Plots of accuracy against what it costs: parameters, seconds, operations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from matplotlib.axes import Axes

from benchmarks.records.conditions import Conditions
from benchmarks.report.designs import Design, pareto
from benchmarks.report.plots.style import (
    INK,
    MUTED,
    PAPER,
    Plot,
    cut,
    figure,
    listed,
    plain_ticks,
    plot,
    point_style,
    short,
    space_by_errors,
)
from benchmarks.report.verdicts import BUDGET

PLACES = ((False, 5), (True, 5), (False, -12), (True, -12), (True, 16), (False, 16))
NAMED = 7  # points of a front that carry their name


def against_parameters(found: Sequence[Design], conditions: Conditions, name: str) -> Plot | None:
    """Accuracy by size, the 5 M line and the front of the best."""
    known = [design for design in found if design.params]
    if not known:
        return None
    drawn = figure(4.2)
    axes = drawn.add_subplot()
    front = _scatter(axes, known, lambda design: design.params)
    axes.axvline(BUDGET, color=INK, linestyle=(0, (1, 2)), linewidth=1.2)
    axes.annotate(
        "5 M: the limit of the reports", (BUDGET, 0.02), xycoords=axes.get_xaxis_transform(),
        textcoords="offset points", xytext=(3, 0), rotation=90, fontsize=8, color=INK,
    )  # fmt: skip
    axes.set_xlabel("parameters")
    axes.set_ylabel("test accuracy, last epoch (%)")
    drawn.draw_without_rendering()  # lays the axes out, so that names find their room
    _name_points(axes, known, lambda design: design.params, front)
    inside = [design for design in known if (design.params or 0) <= BUDGET]
    best = max(inside or known, key=lambda design: design.accuracy.mean)
    return plot(
        name,
        drawn,
        f"Accuracy against parameters ({conditions.words})",
        "Each point is a network with its recipe, bars the 95 % interval over seeds where there "
        "are at least two. A wide range of accuracies is spaced by errors, so that 94 and 96 can "
        "be told apart. The dotted steps join what nothing smaller beats: the Pareto front. "
        f"Best {'below 5 M' if inside else 'of all'}: {best.name}, {_percent(best)}.",
        f"Scatter plot of {len(known)} designs by parameters and test accuracy. Best: {best.name} "
        f"with {short(best.params or 0)} parameters and {_percent(best)}. On the Pareto front: "
        f"{listed([known[i].name for i in front], 5)}.",
    )


def against_work(found: Sequence[Design], conditions: Conditions, name: str) -> Plot | None:
    """Accuracy by seconds and by operations, side by side."""
    panels: list[tuple[str, Callable[[Design], float | None]]] = [
        ("seconds of training, one run", lambda design: design.median("seconds")),
        ("PFLOPs of training", lambda design: design.median("petaflops")),
    ]
    known = [[d for d in found if (value(d) or 0) > 0] for _, value in panels]
    if not any(known):
        return None
    drawn = figure(3.6)
    later: list[Callable[[], None]] = []
    for number, ((label, value), designs) in enumerate(zip(panels, known, strict=True)):
        axes = drawn.add_subplot(1, 2, number + 1)
        axes.set_xlabel(label)
        if number == 0:
            axes.set_ylabel("test accuracy, last epoch (%)")
        if designs:
            front = _scatter(axes, designs, value, legend=number == 0)
            later.append(partial(_name_points, axes, designs, value, front))
    drawn.draw_without_rendering()
    for name_points in later:
        name_points()
    devices = sorted({run["device"] or "unknown" for d in found for run in d.runs})
    quickest = min(known[0], key=lambda d: d.median("seconds") or 0, default=None)
    said = ""
    if quickest is not None:
        said = f" Quickest: {quickest.name}, {quickest.median('seconds') or 0:,.0f} s."
    return plot(
        name,
        drawn,
        f"Accuracy against time and work ({conditions.words})",
        "Further up and further left is better. PFLOPs count the network's arithmetic (two a "
        f"multiply-add) over all images and epochs; seconds are those of {listed(devices)}, "
        f"evaluation and checkpoints included.{said}",
        f"Two scatter plots of {len(found)} designs: test accuracy against seconds and against "
        f"PFLOPs of training.{said}",
    )


def _scatter(
    axes: Axes,
    found: Sequence[Design],
    value: Callable[[Design], float | None],
    *,
    legend: bool = True,
) -> list[int]:
    """The points by report, their front as dotted steps; returns the front's indices."""
    xs = [float(value(design) or 0) for design in found]
    ys = [design.accuracy.mean for design in found]
    reports = sorted({design.report for design in found}, key=lambda name: name or "~")
    for number, report in enumerate(reports):
        mine = [i for i, design in enumerate(found) if design.report == report]
        style = point_style(number)
        for i in mine:
            low, high = found[i].accuracy.low, found[i].accuracy.high
            if low is not None and high is not None:
                axes.plot([xs[i]] * 2, [low, high], color=style["color"], linewidth=1.2)
        label = f"report {report}" if report.isdigit() else report or "no sweep"
        axes.plot(
            [xs[i] for i in mine], [ys[i] for i in mine], linestyle="none", label=cut(label, 24),
            markeredgecolor=PAPER, markeredgewidth=0.6, **style,
        )  # fmt: skip
    front = pareto(list(zip(xs, ys, strict=True)))
    if len(front) > 1:
        axes.plot(
            [xs[i] for i in front], [ys[i] for i in front], color=MUTED, linestyle=":",
            linewidth=1.3, drawstyle="steps-post", zorder=1,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.margins(0.08, 0.14)
    space_by_errors(axes, min(ys), max(ys))
    plain_ticks(axes.xaxis)
    if legend and len(reports) > 1:
        axes.legend(loc="lower right")
    return front


def _name_points(
    axes: Axes,
    found: Sequence[Design],
    value: Callable[[Design], float | None],
    front: Sequence[int],
) -> None:
    """Names where there is room for them, the best first; the axes must have been laid out."""
    taken: list[tuple[float, float, float, float]] = []
    for i in list(reversed(front))[:NAMED]:
        at = (float(value(found[i]) or 0), found[i].accuracy.mean)
        x, y = axes.transData.transform(at)
        name = cut(found[i].short, 26)
        wide, high = 4.4 * len(name), 9.0  # points, about
        unit = axes.figure.dpi / 72  # pixels a point
        for right, up in (
            (False, 5),
            (True, 5),
            (False, -12),
            (True, -12),
            (True, 16),
            (False, 16),
        ):
            left = x + (6 if right else -6 - wide) * unit
            box = (left, y + up * unit, left + wide * unit, y + (up + high) * unit)
            inside = axes.bbox.x0 <= box[0] and box[2] <= axes.figure.bbox.x1
            if inside and not any(_meet(box, other) for other in taken):
                taken.append(box)
                axes.annotate(
                    name, at, textcoords="offset points", xytext=(6 if right else -6, up),
                    ha="left" if right else "right", va="bottom", fontsize=7, color=INK,
                )  # fmt: skip
                break


def _meet(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _percent(design: Design) -> str:
    std = "" if design.accuracy.std is None else f" ± {design.accuracy.std:.2f}"
    return f"{design.accuracy.mean:.2f}{std} % (n = {design.accuracy.n})"
