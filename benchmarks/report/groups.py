"""Finished runs of one network and one recipe, their seeds together: the points of the plots."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.records.conditions import Conditions, conditions_of, percent_summary, setting_key
from benchmarks.records.plans import PlanEntry, SweepPlans
from benchmarks.records.runs import RunRecord
from engine.statistics import Summary


@dataclass(frozen=True)
class RunGroup:
    """A network with its recipe, as measured under one set of conditions."""

    plan: PlanEntry | None  # of one of the runs; None if no sweep planned them
    conditions: Conditions
    runs: tuple[RunRecord, ...]
    accuracy: Summary  # in per cent, of the last epoch

    @property
    def name(self) -> str:
        """The network's name, with its experiment's."""
        network, plan = self.runs[0].name, self.plan
        if plan is None:
            return network
        label = "" if plan.label == network else f" {plan.label}"
        return f"{network} ({plan.experiment}{label})"

    @property
    def report(self) -> str:
        """`004`, or empty if no sweep planned it."""
        return self.plan.report if self.plan else ""

    @property
    def params(self) -> int | None:
        """The network's parameters."""
        value: int | None = self.runs[0]["params"]
        return value

    def median(self, key: str) -> float | None:
        """The median of a value over the runs."""
        values = [run[key] for run in self.runs if run[key] is not None]
        return statistics.median(values) if values else None


def run_groups(runs: Sequence[RunRecord], plans: SweepPlans) -> list[RunGroup]:
    """All finished runs in their groups."""
    planned, scales = plans.by_fingerprint, plans.scales
    groups: dict[tuple[Conditions, str], list[RunRecord]] = {}
    for run in runs:
        if run.finished:
            key = conditions_of(run, scales), setting_key(run)
            groups.setdefault(key, []).append(run)
    result = []
    for (conditions, _), members in groups.items():
        accuracy = percent_summary(members, "test_accuracy", scales)
        assert accuracy is not None  # a finished run has one
        plan = next(
            (planned[r["fingerprint"]] for r in members if r["fingerprint"] in planned), None
        )
        result.append(RunGroup(plan, conditions, tuple(members), accuracy))
    return result
