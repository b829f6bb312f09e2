"""Plots of accuracy against cost: parameters, seconds, operations."""

from __future__ import annotations

from collections import Counter
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
NEAR = 0.2  # of the limit of parameters: it is drawn where the largest network comes that near
PREFIXES = (("P", 1.0), ("T", 1e3), ("G", 1e6), ("M", 1e9))  # of FLOPs
Cost = Callable[[RunGroup], float | None]
Box = tuple[float, float, float, float]  # left, bottom, right, top


def against_parameters(
    groups: Sequence[RunGroup], conditions: Conditions, name: str
) -> Plot | None:
    """Accuracy by size, with the 5 M limit and the Pareto front."""
    known = [group for group in groups if group.params]
    if not known or (len(known) > 1 and len({group.params for group in known}) == 1):
        return None  # networks of one size show nothing
    drawn = figure(4.2)
    axes = drawn.add_subplot()
    front = _scatter(axes, known, lambda group: group.params)
    if max(group.params or 0 for group in known) >= NEAR * BUDGET:
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
    most = max((group.median("petaflops") or 0 for group in groups), default=0)
    prefix, factor = next((each for each in PREFIXES if most * each[1] >= 1), PREFIXES[-1])
    panels: list[tuple[str, Cost]] = [
        ("seconds of training, one run", lambda group: group.median("seconds")),
        (
            f"{prefix}FLOPs of training",
            lambda group: (group.median("petaflops") or 0) * factor,
        ),
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
        f"Further up and further left is better. {prefix}FLOPs count the network's arithmetic (two "
        f"per multiply-add) over all images and epochs; seconds are those of {listed(devices)}, "
        f"including evaluation and checkpoints.{words}",
        f"Two scatter plots of {len(groups)} networks with their recipes: test accuracy against "
        f"seconds and against {prefix}FLOPs of training.{words}",
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
    taken = [_box(axes, group, cost) for group in groups]
    named = list(reversed(front))[:NAMED]
    networks = Counter(groups[i].runs[0].name for i in named)
    for i in named:
        point = (float(cost(groups[i]) or 0), groups[i].accuracy.mean)
        x, y = axes.transData.transform(point)
        network = groups[i].runs[0].name
        name = cut(network if networks[network] == 1 else groups[i].short, 26)
        width, height = 4.4 * len(name), 9.0  # points, roughly
        unit = axes.figure.dpi / 72  # pixels per point
        for right, up in LABEL_PLACES:
            left = x + (6 if right else -6 - width) * unit
            box = (left, y + up * unit, left + width * unit, y + (up + height) * unit)
            inside = axes.bbox.x0 <= box[0] and box[2] <= axes.figure.bbox.x1
            if inside and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                axes.annotate(
                    name, point, textcoords="offset points", xytext=(6 if right else -6, up),
                    ha="left" if right else "right", va="bottom", fontsize=7, color=INK,
                )  # fmt: skip
                break


def _box(axes: Axes, group: RunGroup, cost: Cost) -> Box:
    """What a point and its bar cover."""
    accuracy, radius = group.accuracy, 3 * axes.figure.dpi / 72
    ends = [y for y in (accuracy.low, accuracy.mean, accuracy.high) if y is not None]
    x, low = axes.transData.transform((float(cost(group) or 0), min(ends)))
    _, high = axes.transData.transform((float(cost(group) or 0), max(ends)))
    return x - radius, low - radius, x + radius, high + radius


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
