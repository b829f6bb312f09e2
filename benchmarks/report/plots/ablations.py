"""One sheet of small plots: every axis that a report varied, measured beside reported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes

from benchmarks.records.conditions import Conditions
from benchmarks.report.plots.style import COLOURS, Plot, cut, figure, listed, plot
from benchmarks.report.reported import Row


def ablations(report: str, rows: Sequence[Row], conditions: Conditions, name: str) -> Plot | None:
    """A panel an experiment: what each setting reached, hollow what was reported."""
    panels: dict[str, list[Row]] = {}
    for row in rows:
        if row.last is not None:
            panels.setdefault(f"{row.experiment} {row.title}", []).append(row)
    if not panels:
        return None
    columns = _columns(panels)
    tallest = max(sum(_height(panels[title]) for title in column) for column in columns)
    drawn = figure(tallest)
    grid = drawn.add_gridspec(1, 2)
    for number, column in enumerate(columns):
        heights = [_height(panels[title]) for title in column]
        rest = tallest - sum(heights)
        if rest > 0.01:  # an empty place below, so that all panels have rows of one height
            heights.append(rest)
        below = grid[0, number].subgridspec(len(heights), 1, height_ratios=heights)
        for place, title in enumerate(column):
            _panel(drawn.add_subplot(below[place, 0]), title, panels[title])
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


def _height(group: Sequence[Row]) -> float:
    """Inches of a panel."""
    return 0.62 + 0.17 * len({row.label for row in group})


def _columns(panels: Mapping[str, Sequence[Row]]) -> list[list[str]]:
    """The panels in two columns, each panel where the page is shorter."""
    columns: list[list[str]] = [[], []]
    heights = [0.0, 0.0]
    for title, group in panels.items():
        shorter = heights.index(min(heights))
        columns[shorter].append(title)
        heights[shorter] += _height(group)
    return [column for column in columns if column]


def _panel(axes: Axes, title: str, group: Sequence[Row]) -> None:
    axes.set_title(cut(title, 35), fontsize=8)
    labels = list(dict.fromkeys(row.label for row in group))
    for row in group:
        place = labels.index(row.label)
        if row.last is not None:
            half = 0.0 if row.last.high is None else row.last.high - row.last.mean
            axes.errorbar(
                row.last.mean, place, xerr=half or None, color=COLOURS[0], marker="o",
                markersize=4.5, capsize=2,
            )  # fmt: skip
        if row.claim is not None and row.conditions.comparable:
            axes.plot(
                row.claim.value, place, marker="o", markersize=7, fillstyle="none",
                color=COLOURS[1], linestyle="none",
            )  # fmt: skip
    axes.set_yticks(range(len(labels)), [cut(label, 26) for label in labels], fontsize=7)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.tick_params(axis="x", labelsize=7)
    axes.margins(x=0.12)
