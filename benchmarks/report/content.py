"""Everything that a report says, read once and put in order."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.records import plans, runs
from benchmarks.records.conditions import Conditions, conditions_of
from benchmarks.records.plans import SweepPlans
from benchmarks.records.runs import RunRecord
from benchmarks.report import speed
from benchmarks.report.error_analysis import Allowance, ErrorAnalysis, analyse
from benchmarks.report.experiments import ExperimentResult, experiment_results
from benchmarks.report.groups import RunGroup, run_groups
from benchmarks.report.plots import ablations, learning_curves, scatters, throughput
from benchmarks.report.plots.style import Plot, style
from benchmarks.report.speed import MachineResults

ABLATED = ("000", "003")  # the reports that vary one setting after another


@dataclass
class Report:
    """What the page, the Markdown and the tables are written from."""

    root: Path
    runs: list[RunRecord]
    plans: SweepPlans
    results: list[ExperimentResult]
    groups: list[RunGroup]
    machines: list[MachineResults]
    problems: list[str]
    analyses: dict[str, ErrorAnalysis | str] = field(default_factory=dict)  # by folder
    overview: list[Plot] = field(default_factory=list)  # of the main conditions
    others: dict[str, list[Plot]] = field(default_factory=dict)  # by other conditions, in words
    curves: dict[str, list[Plot]] = field(default_factory=dict)  # by section; "": in no sweep
    speed: list[Plot] = field(default_factory=list)

    @property
    def not_started(self) -> int:
        """How many planned runs have no record."""
        planned = {entry.fingerprint for entry in self.plans.entries}
        return len(planned - {run["fingerprint"] for run in self.runs})

    @property
    def states(self) -> dict[str, int]:
        """How many runs are in which state."""
        return dict(Counter(run.status for run in self.runs).most_common())

    @property
    def main_conditions(self) -> Conditions | None:
        """The conditions that the first plots show: full runs before others, many before few."""
        counts = Counter(group.conditions for group in self.groups)
        return max(counts, key=lambda each: (each.comparable, counts[each], each), default=None)

    @property
    def tables(self) -> dict[str, dict[Conditions, list[ExperimentResult]]]:
        """The results by section and conditions."""
        tables: dict[str, dict[Conditions, list[ExperimentResult]]] = {}
        for result in self.results:
            section = tables.setdefault(result.plan.section, {})
            section.setdefault(result.conditions, []).append(result)
        return tables

    @property
    def plots(self) -> list[Plot]:
        """All of them, in the order of the page."""
        others = (*self.others.values(), *self.curves.values())
        return [*self.overview, *itertools.chain(*others), *self.speed]


def read(
    root: Path, benchmarks: Path, cache: Path, allowance: Allowance, notify: Callable[[str], None]
) -> Report:
    """Read the runs, sweeps and benchmarks, analyse the networks' errors, draw the plots."""
    records, planned = runs.read(root), plans.read(root)
    problems = list(planned.problems)
    report = Report(
        root=root,
        runs=records,
        plans=planned,
        results=experiment_results(records, planned),
        groups=run_groups(records, planned),
        machines=speed.read(benchmarks, problems),
        problems=problems,
    )
    machines = len(report.machines)
    notify(
        f"{len(records)} runs, {len(planned.entries)} planned, benchmarks of {machines} "
        f"{'machine' if machines == 1 else 'machines'}"
    )
    ranked = sorted(records, key=lambda run: -(run["test_accuracy"] or 0) if run.finished else 1)
    for number, run in enumerate(ranked, start=1):
        report.analyses[run.folder] = analysis = analyse(run, cache, allowance)
        if isinstance(analysis, ErrorAnalysis):
            notify(f"predictions of {run.folder} ({number} of {len(ranked)})")
    with style():
        _draw(report)
    return report


def _draw(report: Report) -> None:
    names = (f"plot{number}" for number in itertools.count(1))
    main = report.main_conditions
    for conditions in sorted(
        {group.conditions for group in report.groups},
        key=lambda each: (each != main, not each.comparable, each),
    ):
        drawn = _of_conditions(report, conditions, names)
        if conditions == main:
            report.overview = drawn
        elif drawn:  # data sets of one name may differ in their digest
            report.others.setdefault(conditions.words, []).extend(drawn)
    for section, title, series in _series(report):
        plot = learning_curves.learning_curves(series, title, next(names))
        report.curves.setdefault(section, []).append(plot)
    for results in report.machines:
        plots = [
            throughput.bottleneck(results, next(names)),
            throughput.against_peers(results, "loader", next(names)),
            throughput.against_peers(results, "step", next(names)),
            throughput.roofline(results, next(names)),
        ]
        report.speed += [plot for plot in plots if plot is not None]


def _of_conditions(report: Report, conditions: Conditions, names: Iterator[str]) -> list[Plot]:
    groups = [group for group in report.groups if group.conditions == conditions]
    plots = [
        scatters.against_parameters(groups, conditions, next(names)),
        scatters.against_work(groups, conditions, next(names)),
    ]
    for ablated in ABLATED:
        results = [
            result
            for result in report.results
            if result.plan.report == ablated and result.conditions == conditions
        ]
        plots.append(ablations.ablations(ablated, results, conditions, next(names)))
    return [plot for plot in plots if plot is not None]


def _series(report: Report) -> Iterator[tuple[str, str, dict[str, list[RunRecord]]]]:
    """For each experiment and conditions: its section, a title, the runs of each curve."""
    planned, scales = report.plans.by_fingerprint, report.plans.scales
    groups: dict[tuple[str, str, Conditions], dict[str, list[RunRecord]]] = {}
    for run in report.runs:
        if not run.epochs or not run["precision"]:
            continue
        plan = planned.get(run["fingerprint"] or "")
        section, heading, label = ("", "", run.name)
        if plan is not None:
            section, heading, label = plan.section, plan.heading, plan.label
        series = groups.setdefault((section, heading, conditions_of(run, scales)), {})
        series.setdefault(label, []).append(run)
    for key in sorted(groups, key=lambda key: (not key[0], key)):
        section, heading, conditions = key
        of = f" of {heading}" if heading else ""
        yield section, f"Learning curves{of} ({conditions.words})", groups[key]
