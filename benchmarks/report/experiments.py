"""Reported against measured: each planned experiment with the results of its runs.

A result is one variant of one experiment under one set of conditions, with one reported value; or
one panel of an experiment, whose best a report gives. `last` is the accuracy of the last epoch on
the test set. `as_reported` is what the reported value is about: its measure, epoch and statistic.
"""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.records.conditions import Conditions, percent_summary
from benchmarks.records.plans import PlanEntry, SweepPlans
from benchmarks.records.runs import RunRecord
from benchmarks.report.matching import (
    Records,
    by_fingerprint,
    errors,
    split,
    state,
    usual_conditions,
)
from benchmarks.report.measured import NotMeasured, measured_value
from benchmarks.report.verdicts import (
    INCOMPLETE,
    NOT_JUDGED,
    NOTHING,
    Judgement,
    Sample,
    flags_of,
    judge,
    waiting,
)
from engine.statistics import Summary, summary
from engine.sweep.reported import LOSSES, PARAMETERS, ReportedValue


@dataclass(frozen=True)
class ExperimentResult:
    """One line of the tables."""

    plan: PlanEntry  # of the first of its runs; they differ in their seed
    conditions: Conditions
    reported: ReportedValue | None
    last: Summary | None  # in per cent, of the last epoch
    as_reported: Summary | None  # in the unit of the reported value
    planned: int  # runs
    states: tuple[tuple[str, int], ...]  # how many runs are in which state
    verdict: str
    flags: tuple[str, ...]  # `over budget`, `misprint`
    basis: str  # where the noise was estimated from
    notes: tuple[str, ...]
    errors: tuple[str, ...]
    runs: tuple[str, ...]  # folders

    @property
    def difference(self) -> float | None:
        """Measured minus reported, in the unit of the reported value."""
        if self.reported is None or self.as_reported is None:
            return None
        if not self.conditions.comparable and self.reported.measure != PARAMETERS:
            return None
        return self.as_reported.mean - self.reported.value


def experiment_results(runs: Sequence[RunRecord], plans: SweepPlans) -> list[ExperimentResult]:
    """Every planned experiment, full runs before shortened ones, nothing left out."""
    records = by_fingerprint(runs)
    groups: dict[tuple[Any, ...], dict[str, PlanEntry]] = {}
    for plan in plans.entries:
        key = plan.section, plan.experiment, plan.label, plan.recipe, plan.scale, plan.limit
        groups.setdefault(key, {}).setdefault(plan.fingerprint, plan)
    usual = usual_conditions(
        (plan for group in groups.values() for plan in group.values()), records
    )
    results = [
        result
        for group in groups.values()
        for conditions, entries in split(list(group.values()), records, usual)
        for result in _results(entries, conditions, records, plans)
    ]
    for (_, _, reported, *_), panel in _panels(groups.values()).items():
        labels = {plan.label for plan in panel}
        for conditions, entries in split(panel, records, usual):
            results.append(_best_of(reported, labels, entries, conditions, records, plans))
    return sorted(results, key=_order)


def _results(
    group: Sequence[PlanEntry], conditions: Conditions, records: Records, plans: SweepPlans
) -> Iterator[ExperimentResult]:
    """A result for each value that a report gives, or one without any."""
    runs = [records[plan.fingerprint] for plan in group if plan.fingerprint in records]
    finished = [run for run in runs if run.finished]
    states = Counter(state(plan, records, plans) for plan in group)
    notes = tuple(dict.fromkeys(note for plan in group for note in plan.notes))
    scales = dict.fromkeys((plan.fingerprint for plan in group), conditions.scale)
    reported = dict.fromkeys(
        value for plan in group for value in plan.reported if not value.best_over
    )
    for value in reported or [None]:
        judgement = Judgement(NOTHING if finished else waiting(states))
        if value is not None and (finished or value.measure == PARAMETERS):

            def sample(wanted: ReportedValue) -> Sample:
                if wanted.measure == PARAMETERS and group[0].params is not None:
                    return [float(group[0].params)], []
                return [measured_value(run, wanted) for run in finished], finished

            judgement = judge(value, conditions, sample)
        elif value is not None and value.run != "planned":
            judgement = Judgement(NOT_JUDGED)
        yield ExperimentResult(
            plan=group[0],
            conditions=conditions,
            reported=value,
            last=percent_summary(finished, "test_accuracy", scales),
            as_reported=judgement.measured,
            planned=len(group),
            states=tuple(sorted(states.items())),
            verdict=judgement.verdict,
            flags=flags_of(group[0].params, value, notes),
            basis=judgement.basis,
            notes=notes,
            errors=tuple(errors(group, records, plans)),
            runs=tuple(run.folder for run in runs),
        )


def _panels(
    groups: Iterable[dict[str, PlanEntry]],
) -> dict[tuple[Any, ...], list[PlanEntry]]:
    """The runs of each panel whose best a report gives."""
    panels: dict[tuple[Any, ...], list[PlanEntry]] = {}
    for group in groups:
        for plan in group.values():
            for value in plan.reported:
                if value.best_over:
                    key = plan.section, plan.experiment, value, plan.scale, plan.limit
                    panels.setdefault(key, []).append(plan)
    return panels


def _best_of(
    reported: ReportedValue,
    labels: Collection[str],
    entries: Sequence[PlanEntry],
    conditions: Conditions,
    records: Records,
    plans: SweepPlans,
) -> ExperimentResult:
    """The result of a panel: per seed the best of its runs, where all of them have finished."""
    by_seed: dict[str, dict[str, RunRecord]] = {}
    for plan in entries:
        run = records.get(plan.fingerprint)
        if run is not None and run.finished:
            by_seed.setdefault(plan.seed, {})[plan.label] = run
    complete = [list(runs.values()) for runs in by_seed.values() if len(runs) == len(labels)]
    states = Counter(state(plan, records, plans) for plan in entries)

    def sample(wanted: ReportedValue) -> Sample:
        best = min if wanted.measure in LOSSES else max
        pairs = [
            best(((measured_value(run, wanted), run) for run in runs), key=lambda pair: pair[0])
            for runs in complete
        ]
        return [value for value, _ in pairs], [run for _, run in pairs]

    judgement, bests = Judgement(waiting(states)), list[RunRecord]()
    if complete:
        judgement = judge(reported, conditions, sample)
        with contextlib.suppress(NotMeasured):
            bests = sample(reported)[1]
    elif by_seed:
        most = max(map(len, by_seed.values()))
        judgement = Judgement(INCOMPLETE, f"{most} of its {len(labels)} runs have finished")
    fixed = ", ".join(f"{_last(key)}={_words(value)}" for key, value in reported.at)
    where = f"{', '.join(map(_last, reported.best_over))}{f' at {fixed}' if fixed else ''}"
    first = entries[0]
    params = {plan.params for plan in entries}
    variants = {plan.variant for plan in entries}
    return ExperimentResult(
        plan=replace(
            first,
            name=f"{first.experiment}/best {where}/s0".replace("\n", " "),
            params=first.params if len(params) == 1 else None,
            variant=first.variant if len(variants) == 1 else "",
        ),
        conditions=conditions,
        reported=reported,
        last=summary([100 * max(run["test_accuracy"] for run in runs) for runs in complete])
        if complete
        else None,
        as_reported=judgement.measured,
        planned=len(entries),
        states=tuple(sorted(states.items())),
        verdict=judgement.verdict,
        flags=flags_of(None, reported, ()),
        basis=judgement.basis,
        notes=(),
        errors=tuple(errors(entries, records, plans)),
        runs=tuple(run.folder for run in bests),
    )


def _last(key: str) -> str:
    return key.rpartition(".")[2]


def _words(value: Any) -> str:
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def _order(result: ExperimentResult) -> tuple[Any, ...]:
    """By report, then by conditions, then experiments as people number them: 0.2 before 0.10."""
    tokens = re.findall(r"\d+|\D+", result.plan.experiment)
    numbers = [(0, int(token), "") if token.isdecimal() else (1, 0, token) for token in tokens]
    conditions = result.conditions
    return (result.plan.report or "~", not conditions.full, conditions, numbers)
