"""Everything that a report says, read once and put in order."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.records import plans
from benchmarks.records import runs as run_files
from benchmarks.records.conditions import Conditions, conditions_of
from benchmarks.records.plans import Planned, Plans
from benchmarks.records.runs import RunFile
from benchmarks.report import mistakes as pictures
from benchmarks.report import reported
from benchmarks.report import speed as measured
from benchmarks.report.designs import Design, designs
from benchmarks.report.mistakes import Allowance, Pictures
from benchmarks.report.plots import ablations, learning_curves, scatters, throughput
from benchmarks.report.plots.style import Plot, style
from benchmarks.report.reported import Row
from benchmarks.report.speed import Bench

ABLATED = ("000", "003")  # the reports that vary one thing after the other
LOOSE = "not part of a sweep"


@dataclass
class Content:
    """What a page, a text and the tables are written from."""

    root: Path
    runs: list[RunFile]
    plans: Plans
    rows: list[Row]
    designs: list[Design]
    benches: list[Bench]
    problems: list[str]
    pictures: dict[str, Pictures | str] = field(default_factory=dict)  # by folder
    overview: list[Plot] = field(default_factory=list)  # of the foremost conditions
    apart: dict[str, list[Plot]] = field(default_factory=dict)  # of the others, by their words
    curves: dict[str, list[Plot]] = field(default_factory=dict)  # by report
    speed: list[Plot] = field(default_factory=list)

    @property
    def planned(self) -> dict[str, Planned]:
        """Planned runs by fingerprint."""
        return {run.fingerprint: run for run in reversed(self.plans.runs)}

    @property
    def not_begun(self) -> int:
        """How many planned runs have no record."""
        return len(self.planned.keys() - {run["fingerprint"] for run in self.runs})

    @property
    def states(self) -> dict[str, int]:
        """How many runs stand how."""
        return dict(Counter(run.status for run in self.runs).most_common())

    @property
    def foremost(self) -> Conditions | None:
        """The conditions that the first plots show: full runs before others, many before few."""
        counts = Counter(design.conditions for design in self.designs)
        return max(counts, key=lambda each: (each.comparable, counts[each], each), default=None)

    def plots(self) -> list[Plot]:
        """All of them, in the order of the page."""
        others = (*self.apart.values(), *self.curves.values())
        return [*self.overview, *itertools.chain(*others), *self.speed]


def read(
    root: Path,
    benchmarks: Path,
    cache: Path,
    allowance: Allowance,
    say: Callable[[str], None] = lambda text: None,
) -> Content:
    """Read the runs, sweeps and benchmarks, look at the networks' mistakes, draw the plots."""
    runs = run_files.read(root)
    found = plans.read(root)
    problems = list(found.problems)
    by_fingerprint = {run.fingerprint: run for run in reversed(found.runs)}
    content = Content(
        root=root,
        runs=runs,
        plans=found,
        rows=reported.rows(runs, found),
        designs=designs(runs, by_fingerprint, found.scales),
        benches=measured.read(benchmarks, problems),
        problems=problems,
    )
    say(f"{len(runs)} runs, {len(found.runs)} planned, {len(content.benches)} machines measured")
    ranked = sorted(runs, key=lambda run: -(run["test_accuracy"] or 0) if run.finished else 1)
    for number, run in enumerate(ranked, start=1):
        content.pictures[run.folder] = pictures.of(run, cache, allowance)
        if isinstance(content.pictures[run.folder], Pictures):
            say(f"mistakes of {run.folder} ({number} of {len(ranked)})")
    with style():
        _draw(content)
    return content


def _draw(content: Content) -> None:
    names = (f"plot{number}" for number in itertools.count(1))
    for conditions in _ordered(content):
        drawn = _of_conditions(content, conditions, names)
        if conditions == content.foremost:
            content.overview = drawn
        elif drawn:
            content.apart[conditions.words] = drawn
    for report, title, runs, labels in _series(content):
        plot = learning_curves.learning_curves(runs, title, next(names), labels)
        content.curves.setdefault(report, []).append(plot)
    for bench in content.benches:
        drawn_here = [
            throughput.bottleneck(bench, next(names)),
            throughput.against_peers(bench, "loader", next(names)),
            throughput.against_peers(bench, "step", next(names)),
            throughput.roofline(bench, throughput.intensities(bench), next(names)),
        ]
        content.speed += [plot for plot in drawn_here if plot is not None]


def _ordered(content: Content) -> list[Conditions]:
    known = {design.conditions for design in content.designs}
    return sorted(known, key=lambda each: (each != content.foremost, not each.comparable, each))


def _of_conditions(content: Content, conditions: Conditions, names: Iterator[str]) -> list[Plot]:
    mine = [design for design in content.designs if design.conditions == conditions]
    drawn = [
        scatters.against_parameters(mine, conditions, next(names)),
        scatters.against_work(mine, conditions, next(names)),
    ]
    for report in ABLATED:
        rows = [r for r in content.rows if r.report == report and r.conditions == conditions]
        drawn.append(ablations.ablations(report, rows, conditions, next(names)))
    return [plot for plot in drawn if plot is not None]


def _series(content: Content) -> list[tuple[str, str, list[RunFile], list[str]]]:
    """For each experiment and conditions its runs with the lines that they belong to."""
    planned, scales = content.planned, content.plans.scales
    groups: dict[tuple[str, str, Conditions], list[tuple[RunFile, str]]] = {}
    for run in content.runs:
        if not run.epochs or not run["precision"]:
            continue
        plan = planned.get(run["fingerprint"] or "")
        conditions = conditions_of(run, scales)
        if plan is None:
            key, label = (LOOSE, "", conditions), run["variant"] or run.folder
        else:
            key = (plan.report or plan.sweep, f"{plan.experiment} {plan.title}", conditions)
            label = plan.label
        groups.setdefault(key, []).append((run, label))
    return [
        (
            report,
            f"Learning curves{f' of {experiment}' if experiment else ''} ({conditions.words})",
            [run for run, _ in group],
            [label for _, label in group],
        )
        for (report, experiment, conditions), group in sorted(
            groups.items(), key=lambda item: (item[0][0] == LOOSE, item[0])
        )
    ]
