"""Learning curves: loss and accuracy over the epochs, on training, validation and test images."""

from __future__ import annotations

import re
import statistics
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup, escape

from benchmarks.records.runs import RunRecord
from benchmarks.report.plots import panels
from benchmarks.report.plots.panels import Line, Panel
from benchmarks.report.plots.style import COLOURS, MUTED, Plot, themed, thinned

SPLITS = {"training": "train", "validation": "validation", "test": "test"}
METRICS = {"loss": 1, "accuracy": 100}  # factor: accuracies in per cent
SPLIT_STYLES = {  # of a single series
    "test": Line(colour=COLOURS[0]),
    "training": Line(colour=COLOURS[1], dash="5 3"),
    "validation": Line(colour=COLOURS[2], dash="1.5 2.5"),
}
DASHES = ("", "5 3", "6 2 1.5 2", "1.5 2", "8 3", "3 1.5")
TOGETHER = 2  # series that share their axes, as the reports draw them
POINTS = 100  # of a line that are drawn
ALL_POINTS = 6000  # of all lines of one panel, about


@dataclass(frozen=True, eq=False)
class Series:
    """The runs of one setting: a line, with the area that its seeds span."""

    label: str
    runs: Sequence[RunRecord]
    reported: bool = False  # whether a report gives a value for it
    settings: tuple[str, ...] = ()  # what else distinguishes it: `augment.cutout=8`
    end: float | None = field(init=False)  # the mean of its last accuracies, in per cent

    def __post_init__(self) -> None:
        ends = [value for run in self.runs if (value := _last_accuracy(run)) is not None]
        object.__setattr__(self, "end", statistics.fmean(ends) if ends else None)

    def curve(self, key: str, most: int) -> list[tuple[int, float, float, float]]:
        """Epochs with mean, minimum and maximum of the runs that reached them."""
        by_epoch: dict[int, list[float]] = {}
        for run in self.runs:
            for epoch, value in run.epochs.points(key):
                by_epoch.setdefault(epoch, []).append(value)
        return [
            (epoch, statistics.fmean(values), min(values), max(values))
            for epoch in thinned(sorted(by_epoch), most)
            for values in (by_epoch[epoch],)
        ]


def run_curve(run: RunRecord) -> Markup | None:
    """The figure in a run's details; None if no epoch has ended."""
    if not run.epochs:
        return None
    plot = learning_curves([Series(run.name, [run])], "", "")
    label = escape(f"Loss and accuracy over {len(run.epochs)} epochs of {run.folder}")
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"', r"\1", themed(plot.svg), count=1)
    return Markup(svg.replace("<svg", f'<svg class="curve" role="img" aria-label="{label}"', 1))


def learning_curves(series: Sequence[Series], title: str, name: str) -> Plot:
    """Every series: few with a colour each, of many the best and the reported ones."""
    ranked = sorted(series, key=lambda each: -(each.end or 0.0))
    coloured = _coloured(ranked)
    others = [each for each in ranked if each not in coloured]
    together = len(series) <= TOGETHER
    grid = _overlaid(coloured) if together else _by_split(coloured, others)
    shared = set.intersection(*(set(each.settings) for each in coloured))
    legend = [(_label(each, shared), _style(number)) for number, each in enumerate(coloured)]
    if len(series) == 1:
        legend = []
    if others:
        legend.append((f"{len(others)} more", Line(colour=MUTED, faint=True)))
    if together:
        shown = [split for split in SPLITS if any(_has(each, split) for each in series)]
        one = len(series) == 1
        legend += [
            (split, SPLIT_STYLES[split] if one else Line(dash=SPLIT_STYLES[split].dash))
            for split in shown
        ]
    runs = sum(len(each.runs) for each in series)
    ends = "; ".join(_label(each) for each in ranked[:4]) or "nothing yet"
    settings = f"{len(series)} {'setting' if len(series) == 1 else 'settings'}"
    counted = f"{settings}, {runs} {'run' if runs == 1 else 'runs'}"
    grey = " Coloured are the best and those with a reported value; all others are grey."
    return Plot(
        name,
        title,
        f"{counted}. A line is the mean over the seeds of a setting, the shaded area spans them. "
        "Training figures are means over the epoch's augmented batches; a wide range of losses is "
        f"spaced by logarithms, of accuracies by errors.{grey if others else ''}",
        f"Learning curves of {counted}: loss and accuracy. At the end: {ends}.",
        panels.figure(grid, legend),
    )


def _coloured(ranked: Sequence[Series]) -> list[Series]:
    """What gets a colour: all of a few; of many the best, then the best with a reported value."""
    first = sorted(ranked[1:], key=lambda each: not each.reported)
    chosen = [*ranked[:1], *first][: len(COLOURS)]
    return [each for each in ranked if each in chosen]


def _overlaid(series: Sequence[Series]) -> list[list[Panel]]:
    """Loss beside accuracy, all kinds of images in the same axes."""
    row = []
    for metric in METRICS:
        lines = []
        for number, each in enumerate(series):
            for split in SPLITS:
                own = SPLIT_STYLES[split]
                style = _style(number)
                style = own if len(series) == 1 else Line(
                    colour=style.colour, marker=style.marker, dash=own.dash
                )  # fmt: skip
                lines += _line(each, split, metric, style, POINTS)
        row.append(Panel(_title("", metric), lines, metric == "accuracy"))
    return [row]


def _by_split(coloured: Sequence[Series], others: Sequence[Series]) -> list[list[Panel]]:
    """Loss above accuracy, a column for each kind of images."""
    few = max(10, min(POINTS, ALL_POINTS // (len(coloured) + len(others))))
    rows = []
    shown = [s for s in SPLITS if any(_has(each, s) for each in (*coloured, *others))]
    for metric in METRICS:
        row = []
        for split in shown or ["test"]:
            lines: list[Line] = []
            for each in others:
                lines += _line(each, split, metric, Line(colour=MUTED, faint=True), few)
            for number, each in enumerate(coloured):
                lines += _line(each, split, metric, _style(number), POINTS)
            row.append(Panel(_title(split, metric), lines, metric == "accuracy"))
        rows.append(row)
    return rows


def _line(series: Series, split: str, metric: str, style: Line, most: int) -> list[Line]:
    """The line of a series in the given style; none if it has no values."""
    factor = METRICS[metric]
    curve = [
        (epoch, factor * mean, factor * low, factor * high)
        for epoch, mean, low, high in series.curve(f"{SPLITS[split]}_{metric}", most)
    ]
    if not curve:
        return []
    band = [(epoch, low, high) for epoch, _, low, high in curve] if len(series.runs) > 1 else []
    points = [(epoch, mean) for epoch, mean, _, _ in curve]
    return [Line(points, style.colour, style.dash, style.marker, style.faint, band)]


def _style(number: int) -> Line:
    return Line(colour=COLOURS[number], dash=DASHES[number], marker=number)


def _title(split: str, metric: str) -> str:
    return f"{split} {metric}".strip() + (" (%)" if metric == "accuracy" else "")


def _label(series: Series, shared: Collection[str] = ()) -> str:
    """The accuracy first, as a long name is cut; not what all others say as well."""
    words = ", ".join([series.label, *(word for word in series.settings if word not in shared)])
    return words if series.end is None else f"{series.end:.2f} % {words}"


def _has(series: Series, split: str) -> bool:
    keys = [f"{SPLITS[split]}_{metric}" for metric in METRICS]
    return any(any(True for _ in run.epochs.points(key)) for run in series.runs for key in keys)


def _last_accuracy(run: RunRecord) -> float | None:
    """On the test images in the end, or else the last that was measured."""
    values = [run["test_accuracy"]]
    for key in ("test_accuracy", "validation_accuracy"):
        values += [value for _, value in run.epochs.points(key)][-1:]
    known = [value for value in values if value is not None]
    return 100 * known[0] if known else None
