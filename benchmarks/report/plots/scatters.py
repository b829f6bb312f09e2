"""Plots of accuracy against cost: parameters, seconds, operations."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.records.conditions import Conditions
from benchmarks.report.formats import measured
from benchmarks.report.groups import RunGroup
from benchmarks.report.plots.style import (
    INK,
    MUTED,
    PAPER,
    Numbers,
    Plot,
    as_svg,
    cut,
    figure,
    listed,
    plain_ticks,
    point_style,
    short,
    space_by_errors,
)
from benchmarks.report.verdicts import BUDGET
from engine.explore import pareto

LABEL_PLACES = tuple((right, up) for up in (5, -12, 16, 26, -24) for right in (False, True))
NAMED = 7  # points of a front that are labelled
Cost = Callable[[RunGroup], float | None]
Box = tuple[float, float, float, float]  # left, bottom, right, top


def against_parameters(
    groups: Sequence[RunGroup], conditions: Conditions, name: str
) -> Plot | None:
    """Accuracy by size, with the 5 M limit and the Pareto front."""
    known = [group for group in groups if group.params]
    if not known:
        return None
    drawn = figure(4.2)
    axes = drawn.add_subplot()
    front = _scatter(axes, known, lambda group: group.params)
    axes.axvline(BUDGET, color=INK, linestyle=(0, (1, 2)), linewidth=1.2)
    low, high = axes.get_xlim()
    side = "right" if low * high < BUDGET**2 else "left"
    axes.annotate(
        "5 M: the limit of the reports", (BUDGET, 1), xycoords=axes.get_xaxis_transform(),
        textcoords="offset points", xytext=(0, 3), ha=side, fontsize=8, color=INK,
    )  # fmt: skip
    axes.set_xlabel("parameters")
    axes.set_ylabel("test accuracy, last epoch (%)")
    drawn.draw_without_rendering()  # lays the axes out, which the labels need
    _label_points(axes, known, lambda group: group.params, front)
    within = [group for group in known if (group.params or 0) <= BUDGET]
    best = max(within or known, key=lambda group: group.accuracy.mean)
    accuracy = measured(best.accuracy, with_n=True)
    return Plot(
        name,
        f"Accuracy against parameters ({conditions.words})",
        "Each point is a network with its recipe; bars show the 95 % interval over seeds if there "
        "are at least two. A wide range of accuracies is spaced by errors, so that 94 and 96 can "
        "be told apart. The dotted steps join the Pareto front: no smaller network is more "
        f"accurate. Best {'below 5 M' if within else 'of all'}: {best.name}, {accuracy}.",
        f"Scatter plot of {len(known)} networks with their recipes by parameters and test "
        f"accuracy. Best: {best.name} with {short(best.params or 0)} parameters and {accuracy}. "
        f"On the Pareto front: {listed([known[i].name for i in front], 5)}.",
        as_svg(drawn),
    )


def against_work(groups: Sequence[RunGroup], conditions: Conditions, name: str) -> Plot | None:
    """Accuracy by seconds and by operations, side by side."""
    panels: list[tuple[str, Cost]] = [
        ("seconds of training, one run", lambda group: group.median("seconds")),
        ("PFLOPs of training", lambda group: group.median("petaflops")),
    ]
    known = [[group for group in groups if (cost(group) or 0) > 0] for _, cost in panels]
    if not any(known):
        return None
    drawn = figure(3.6)
    scattered = []
    for number, ((label, cost), members) in enumerate(zip(panels, known, strict=True)):
        axes = drawn.add_subplot(1, 2, number + 1)
        axes.set_xlabel(label)
        if number == 0:
            axes.set_ylabel("test accuracy, last epoch (%)")
        if members:
            front = _scatter(axes, members, cost, legend=number == 0)
            scattered.append((axes, members, cost, front))
    drawn.draw_without_rendering()
    for panel in scattered:
        _label_points(*panel)
    devices = sorted({run["device"] or "unknown" for group in groups for run in group.runs})
    fastest = min(known[0], key=lambda group: group.median("seconds") or 0, default=None)
    words = ""
    if fastest is not None:
        words = f" Fastest: {fastest.name}, {fastest.median('seconds') or 0:,.0f} s."
    return Plot(
        name,
        f"Accuracy against time and work ({conditions.words})",
        "Further up and further left is better. PFLOPs count the network's arithmetic (two per "
        f"multiply-add) over all images and epochs; seconds are those of {listed(devices)}, "
        f"including evaluation and checkpoints.{words}",
        f"Two scatter plots of {len(groups)} networks with their recipes: test accuracy against "
        f"seconds and against PFLOPs of training.{words}",
        as_svg(drawn),
    )


def _scatter(
    axes: Axes, groups: Sequence[RunGroup], cost: Cost, *, legend: bool = True
) -> list[int]:
    """The points by report, their front as dotted steps; returns the front's indices."""
    xs = [float(cost(group) or 0) for group in groups]
    ys = [group.accuracy.mean for group in groups]
    reports = sorted({group.report for group in groups}, key=lambda name: name or "~")
    for number, report in enumerate(reports):
        mine = [i for i, group in enumerate(groups) if group.report == report]
        style = point_style(number)
        known = [i for i in mine if groups[i].accuracy.low is not None]
        if known:
            lows, highs = ([getattr(groups[i].accuracy, e) for i in known] for e in ("low", "high"))
            axes.vlines([xs[i] for i in known], lows, highs, color=style["color"], linewidth=1.2)
        label = f"report {report}" if report.isdigit() else report or "no sweep"
        axes.plot(
            [xs[i] for i in mine], [ys[i] for i in mine], linestyle="none", label=cut(label, 24),
            markeredgecolor=PAPER, markeredgewidth=0.6, **style,
        )  # fmt: skip
    costs = np.stack([xs, np.negative(ys)], axis=1)
    front = sorted(pareto.front(costs).tolist(), key=lambda i: xs[i])
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
        drawn = axes.get_figure()
        assert isinstance(drawn, Figure)
        drawn.legend(loc="outside upper left", ncols=5)  # over no point
    return front


def _label_points(axes: Axes, groups: Sequence[RunGroup], cost: Cost, front: Sequence[int]) -> None:
    """Names where there is room for them, the best first; the axes must have been laid out."""
    radius = 3 * axes.figure.dpi / 72
    places = axes.transData.transform(
        [(float(cost(group) or 0), group.accuracy.mean) for group in groups]
    )
    taken: list[Box] = []
    for i in list(reversed(front))[:NAMED]:
        point = (float(cost(groups[i]) or 0), groups[i].accuracy.mean)
        x, y = places[i]
        others = np.delete(places, i, axis=0)
        name = cut(groups[i].runs[0].name, 26)
        width, height = 4.4 * len(name), 9.0  # points, roughly
        unit = axes.figure.dpi / 72  # pixels per point
        for right, up in LABEL_PLACES:
            left = x + (6 if right else -6 - width) * unit
            box = (left, y + up * unit, left + width * unit, y + (up + height) * unit)
            inside = axes.bbox.x0 <= box[0] and box[2] <= axes.figure.bbox.x1
            free = not _covers(box, others, radius) and not any(_overlap(box, t) for t in taken)
            if inside and free:
                taken.append(box)
                axes.annotate(
                    name, point, textcoords="offset points", xytext=(6 if right else -6, up),
                    ha="left" if right else "right", va="bottom", fontsize=7, color=INK,
                )  # fmt: skip
                break


def _covers(box: Box, places: Numbers, radius: float) -> bool:
    """Whether a point of this radius lies under the box."""
    (left, bottom), (right, top) = np.subtract(box[:2], radius), np.add(box[2:], radius)
    xs, ys = places[:, 0], places[:, 1]
    return bool(((left < xs) & (xs < right) & (bottom < ys) & (ys < top)).any())


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
