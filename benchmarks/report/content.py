"""Everything that a report says, read once and put in order."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.records import plans, runs
from benchmarks.records.conditions import Conditions
from benchmarks.records.plans import SweepPlans
from benchmarks.records.runs import RunRecord
from benchmarks.report import speed, time_to
from benchmarks.report.curves import experiment_curves
from benchmarks.report.error_analysis import Allowance, ErrorAnalysis, analyse_all
from benchmarks.report.experiments import ExperimentResult, experiment_results
from benchmarks.report.formats import unique_name
from benchmarks.report.groups import RunGroup, at_chance, run_groups
from benchmarks.report.leaderboard import Leaderboard, leaderboards
from benchmarks.report.plots import ablations, scatters, throughput
from benchmarks.report.plots import time_to as time_to_plots
from benchmarks.report.plots.learning_curves import learning_curves
from benchmarks.report.plots.style import Plot, style
from benchmarks.report.speed import MachineResults
from benchmarks.report.time_to import MachineTimes
from engine.runs.agreement import contradicts

ABLATED = ("000", "001", "003")  # the reports that vary one setting after another


@dataclass
class Report:
    """What the page, the Markdown and the tables are written from."""

    root: Path
    runs: list[RunRecord]
    plans: SweepPlans
    results: list[ExperimentResult]
    groups: list[RunGroup]
    boards: list[Leaderboard]  # the runs with the most training first
    machines: list[MachineResults]
    times: list[MachineTimes]  # to an accuracy
    problems: list[str]
    chance: dict[str, float]  # by folder, the accuracy of guessing where a run is no better
    analyses: dict[str, ErrorAnalysis | str] = field(default_factory=dict)  # by folder
    overview: dict[Conditions, list[Plot]] = field(default_factory=dict)
    ablations: dict[str, list[Plot]] = field(default_factory=dict)  # by section
    curves: dict[str, list[Plot]] = field(default_factory=dict)  # by section
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
        """Those of the runs with the most training, among the finished ones."""
        return next((board.conditions for board in self.boards if board.leaders), None)

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
        boards = ([*b.curves, *self.overview.get(b.conditions, [])] for b in self.boards)
        sections = (
            [*self.curves.get(name, []), *self.ablations.get(name, [])] for name in self.tables
        )
        return [*itertools.chain(*boards, *sections), *self.speed]


def read(
    root: Path, benchmarks: Path, cache: Path, allowance: Allowance, notify: Callable[[str], None]
) -> Report:
    """Read the runs, sweeps and benchmarks, analyse the networks' errors, draw the plots."""
    records, planned = runs.read(root), plans.read(root)
    problems = list(planned.problems)
    machines = speed.read(benchmarks, problems)
    times = time_to.read(benchmarks, problems)
    count = len(machines)
    notify(
        f"{len(records)} runs, {len(planned.entries)} planned, benchmarks of {count} "
        f"{'machine' if count == 1 else 'machines'}"
    )
    analyses = analyse_all(records, cache, allowance, notify)
    records = [_held_against(run, analyses[run.folder]) for run in records]
    groups = run_groups(records, planned)
    report = Report(
        root=root,
        runs=records,
        plans=planned,
        results=experiment_results(records, planned),
        groups=groups,
        boards=leaderboards(records, groups, planned),
        machines=machines,
        times=times,
        problems=problems,
        chance=at_chance(groups),
        analyses=analyses,
    )
    notify("drawing the plots")
    with style():
        _draw(report)
    return report


def _held_against(run: RunRecord, analysis: ErrorAnalysis | str) -> RunRecord:
    """The run, without its result where its own weights predict another."""
    if isinstance(analysis, str) or not run.finished:
        return run
    wrong = contradicts(run["test_accuracy"], analysis.accuracy, analysis.images)
    return runs.contradicted(run, wrong) if wrong else run


class Names:
    """Names of files that say what they show, each once."""

    def __init__(self, main: Conditions | None) -> None:
        self.main = main  # the conditions that a name need not tell
        self.taken: set[str] = set()

    def __call__(self, what: str, conditions: Conditions | None = None) -> str:
        """`curves-4.1`, and under other than the main conditions `curves-4.1.epochs-0.05...`."""
        words = what if conditions in (None, self.main) else f"{what}.{conditions.short}"
        return unique_name(words, self.taken)


def _draw(report: Report) -> None:
    names = Names(report.main_conditions)
    for board in report.boards:
        if board.series:
            title = f"Learning curves ({board.conditions.words})"
            name = names("curves", board.conditions)
            board.curves.append(learning_curves(board.series, title, name))
        report.overview[board.conditions] = _of_conditions(report, board.conditions, names)
        for ablated in ABLATED:
            results = [
                result
                for result in report.results
                if result.plan.report == ablated and result.conditions == board.conditions
            ]
            name = names(f"ablations-{ablated}", board.conditions)
            sheet = ablations.ablations(ablated, results, board.conditions, name)
            report.ablations.setdefault(ablated, []).extend([sheet] if sheet else [])
    for curves in experiment_curves(report.runs, report.plans):
        own = "" if curves.section.isdigit() else f"{curves.section}-"
        name = names(f"curves-{own}{curves.experiment}", curves.conditions)
        title = f"{curves.heading} ({curves.conditions.words})"
        report.curves.setdefault(curves.section, []).append(
            learning_curves(curves.series, title, name)
        )
    for measured in report.machines:
        machine = measured.machine
        plots = [
            throughput.bottleneck(measured, names(f"speed-bottleneck-{machine}")),
            throughput.against_peers(measured, "loader", names(f"speed-loader-{machine}")),
            throughput.against_peers(measured, "step", names(f"speed-step-{machine}")),
            throughput.roofline(measured, names(f"speed-roofline-{machine}")),
        ]
        report.speed += [plot for plot in plots if plot is not None]
    for times in report.times:
        name = names(f"speed-time-to-accuracy-{times.machine}")
        plot = time_to_plots.accuracy_curves(times.entries, times.target, times.machine, name)
        report.speed += [plot] if plot is not None else []


def _of_conditions(report: Report, conditions: Conditions, names: Names) -> list[Plot]:
    groups = [group for group in report.groups if group.conditions == conditions]
    by_size = names("accuracy-against-parameters", conditions)
    by_work = names("accuracy-against-time-and-work", conditions)
    plots = [
        scatters.against_parameters(groups, conditions, by_size),
        scatters.against_work(groups, conditions, by_work),
    ]
    return [plot for plot in plots if plot is not None]
