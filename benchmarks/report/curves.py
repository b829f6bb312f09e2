"""Which runs are in which learning curves: every experiment has all of its runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.records.conditions import Conditions, conditions_of
from benchmarks.records.plans import SweepPlans
from benchmarks.records.runs import RunRecord
from benchmarks.report.plots.learning_curves import Series


@dataclass
class ExperimentCurves:
    """The runs of an experiment under one set of conditions, by setting."""

    section: str  # of the page
    experiment: str
    heading: str
    conditions: Conditions
    series: list[Series] = field(default_factory=list)


def experiment_curves(runs: Sequence[RunRecord], plans: SweepPlans) -> list[ExperimentCurves]:
    """Those of every experiment with a run that has begun; experiments may share runs."""
    by_finish = sorted(runs, key=lambda run: run.finished)
    records = {run["fingerprint"]: run for run in by_finish if has_curve(run)}
    found: dict[tuple[str, str, Conditions], dict[str, dict[str, RunRecord]]] = {}
    experiments: dict[tuple[str, str], str] = {}
    reported: set[tuple[str, str, str]] = set()
    for entry in plans.entries:
        run = records.get(entry.fingerprint)
        if run is None:
            continue
        key = entry.section, entry.heading
        experiments[key] = entry.experiment
        conditions = conditions_of(run, {entry.fingerprint: entry.scale})
        settings = found.setdefault((*key, conditions), {})
        settings.setdefault(entry.label, {})[entry.fingerprint] = run
        if entry.reported:
            reported.add((*key, entry.label))
    return [
        ExperimentCurves(
            section, experiments[section, heading], heading, conditions,
            [
                Series(label, list(members.values()), (section, heading, label) in reported)
                for label, members in settings.items()
            ],
        )
        for (section, heading, conditions), settings in found.items()
    ]  # fmt: skip


def has_curve(run: RunRecord) -> bool:
    """Whether an epoch of it has ended, and its conditions are known."""
    return bool(run.epochs and run["precision"])
