"""Plots of accuracy: against parameters, against time and work, over the epochs, by experiment."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Iterator, Sequence

from matplotlib.axes import Axes

from benchmarks.conditions import Conditions
from benchmarks.experiments import BUDGET, Row
from benchmarks.report.designs import Design, pareto
from benchmarks.report.plots import (
    COLOURS,
    INK,
    MUTED,
    PAPER,
    Plot,
    cut,
    figure,
    line_style,
    listed,
    plain_ticks,
    plot,
    point_style,
    short,
)  # fmt: skip
from benchmarks.run_files import RunFile

LARGEST_LEGEND = 10  # lines of learning curves that are told apart
POINTS = 100  # of a curve that are drawn
NAMED = 6  # points of a front that carry their name


def against_parameters(found: Sequence[Design], conditions: Conditions, name: str) -> Plot | None:
    """Accuracy by size, the 5 M line and the front of the best."""
    known = [design for design in found if design.params]
    if not known:
        return None
    drawn = figure(4.2)
    axes = drawn.add_subplot()
    front = _scatter(axes, known, lambda design: design.params)
    axes.axvline(BUDGET, color=INK, linestyle=(0, (1, 2)), linewidth=1.2)
    axes.text(
        BUDGET, 0.02, " 5 M: the limit of the reports ", color=INK, fontsize=8, rotation=90,
        ha="right", va="bottom", transform=axes.get_xaxis_transform(),
    )  # fmt: skip
    axes.set_xlabel("parameters")
    axes.set_ylabel("test accuracy, last epoch (%)")
    inside = [design for design in known if (design.params or 0) <= BUDGET]
    best = max(inside or known, key=lambda design: design.accuracy.mean)
    return plot(
        name,
        drawn,
        f"Accuracy against parameters ({conditions.words})",
        "Each point is a network with its recipe, bars the 95 % interval over seeds where there "
        "are at least two. The dotted steps join what nothing smaller beats: the Pareto front. "
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
    for number, ((label, value), designs) in enumerate(zip(panels, known, strict=True)):
        axes = drawn.add_subplot(1, 2, number + 1)
        axes.set_xlabel(label)
        if number == 0:
            axes.set_ylabel("test accuracy, last epoch (%)")
        if designs:
            _scatter(axes, designs, value, legend=number == 0)
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


def learning_curves(runs: Sequence[RunFile], title: str, name: str, labels: Sequence[str]) -> Plot:
    """Test accuracy over the epochs: a line a label, the mean of its runs, its extremes shaded."""
    groups: dict[str, list[RunFile]] = {}
    for run, label in zip(runs, labels, strict=True):
        groups.setdefault(label, []).append(run)
    drawn = figure(3.2)
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


def ablations(report: str, rows: Sequence[Row], conditions: Conditions, name: str) -> Plot | None:
    """A panel an experiment: what each setting reached, hollow what was reported."""
    panels: dict[str, list[Row]] = {}
    for row in rows:
        if row.last is not None:
            panels.setdefault(f"{row.experiment} {row.title}", []).append(row)
    if not panels:
        return None
    columns = 2
    heights = [max(len({row.label for row in group}), 1) for group in panels.values()]
    lines = [max(heights[at : at + columns]) for at in range(0, len(heights), columns)]
    drawn = figure(sum(0.62 + 0.17 * min(lines_of, 30) for lines_of in lines))
    grid = drawn.add_gridspec(len(lines), columns, height_ratios=[0.6 + 0.17 * n for n in lines])
    for number, (title, group) in enumerate(panels.items()):
        axes = drawn.add_subplot(grid[number // columns, number % columns])
        _panel(axes, title, group)
    spread = [row.last.mean for row in rows if row.last is not None]
    return plot(
        name,
        drawn,
        f"Report {report}: all ablations ({conditions.words})",
        "A panel an axis of the report. Full points are measured (last epoch, bars the 95 % "
        "interval over seeds), hollow ones reported. Compare within a panel: panels differ in "
        "their settings and scales.",
        f"{len(panels)} small plots, one an ablation of report {report}: "
        f"{listed(list(panels), 6)}. Measured accuracies run from {min(spread):.2f} to "
        f"{max(spread):.2f} %.",
    )


def _panel(axes: Axes, title: str, group: Sequence[Row]) -> None:
    axes.set_title(cut(title, 44), fontsize=8)
    labels = list(dict.fromkeys(row.label for row in group))
    for row in group:
        place = labels.index(row.label)
        if row.last is not None:
            half = 0.0 if row.last.high is None else row.last.high - row.last.mean
            axes.errorbar(
                row.last.mean, place, xerr=half or None, color=COLOURS[0], marker="o",
                markersize=4.5, capsize=2,
            )  # fmt: skip
        if row.claim is not None and row.conditions.full:
            axes.plot(
                row.claim.value, place, marker="o", markersize=7, fillstyle="none",
                color=COLOURS[1], linestyle="none",
            )  # fmt: skip
    axes.set_yticks(range(len(labels)), [cut(label, 26) for label in labels], fontsize=7)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.tick_params(axis="x", labelsize=7)
    axes.margins(x=0.12)


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
    for at, i in enumerate(front[-NAMED:]):
        right = xs[i] > math.sqrt(min(xs) * max(xs)) if min(xs) > 0 else True
        axes.annotate(
            cut(found[i].name, 26), (xs[i], ys[i]), textcoords="offset points",
            xytext=(-7 if right else 7, 5 + 3 * (at % 2)), ha="right" if right else "left",
            fontsize=7, color=INK,
        )  # fmt: skip
    axes.set_xscale("log")
    plain_ticks(axes.xaxis)
    axes.margins(0.08, 0.14)
    if legend and len(reports) > 1:
        axes.legend(loc="lower right")
    return front


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


def _percent(design: Design) -> str:
    std = "" if design.accuracy.std is None else f" ± {design.accuracy.std:.2f}"
    return f"{design.accuracy.mean:.2f}{std} % (n = {design.accuracy.n})"
