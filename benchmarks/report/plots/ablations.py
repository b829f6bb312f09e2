"""One sheet of small plots: every setting that a report varied, measured beside reported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes

from benchmarks.records.conditions import Conditions
from benchmarks.report.experiments import ExperimentResult
from benchmarks.report.plots.style import COLOURS, Plot, as_svg, cut, figure, listed


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
    columns = _columns(panels)
    tallest = max(sum(_height(panels[title]) for title in column) for column in columns)
    drawn = figure(tallest)
    grid = drawn.add_gridspec(1, 2)
    for number, column in enumerate(columns):
        heights = [_height(panels[title]) for title in column]
        rest = tallest - sum(heights)
        if rest > 0.01:  # empty space at the end, so that the rows of all panels are equally high
            heights.append(rest)
        below = grid[0, number].subgridspec(len(heights), 1, height_ratios=heights)
        for place, title in enumerate(column):
            _panel(drawn.add_subplot(below[place, 0]), title, panels[title])
    return Plot(
        name,
        f"Report {report}: all ablations ({conditions.words})",
        "One panel per experiment of the report. Filled points are measured (last epoch; bars show "
        "the 95 % interval over seeds), hollow ones reported. Compare within a panel: panels "
        "differ in their settings and scales.",
        f"{len(panels)} small plots, one per ablation of report {report}: "
        f"{listed(list(panels), 6)}. Measured accuracies range from {min(means):.2f} to "
        f"{max(means):.2f} %.",
        as_svg(drawn),
    )


def _height(group: Sequence[ExperimentResult]) -> float:
    """Inches."""
    return 0.62 + 0.17 * len({result.plan.label for result in group})


def _columns(panels: Mapping[str, Sequence[ExperimentResult]]) -> list[list[str]]:
    """The panels in two columns, each panel in the shorter one."""
    columns: list[list[str]] = [[], []]
    heights = [0.0, 0.0]
    for title, group in panels.items():
        shorter = heights.index(min(heights))
        columns[shorter].append(title)
        heights[shorter] += _height(group)
    return [column for column in columns if column]


def _panel(axes: Axes, title: str, group: Sequence[ExperimentResult]) -> None:
    axes.set_title(cut(title, 35), fontsize=8)
    labels = list(dict.fromkeys(result.plan.label for result in group))
    for result in group:
        place = labels.index(result.plan.label)
        if result.last is not None:
            half = 0.0 if result.last.high is None else result.last.high - result.last.mean
            axes.errorbar(
                result.last.mean, place, xerr=half or None, color=COLOURS[0], marker="o",
                markersize=4.5, capsize=2,
            )  # fmt: skip
        value = result.reported
        if value is not None and value.measure == "test_accuracy" and result.conditions.comparable:
            axes.plot(
                value.value, place, marker="o", markersize=7, fillstyle="none",
                color=COLOURS[1], linestyle="none",
            )  # fmt: skip
    axes.set_yticks(range(len(labels)), [cut(label, 26) for label in labels], fontsize=7)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.tick_params(axis="x", labelsize=7)
    axes.margins(x=0.12)
