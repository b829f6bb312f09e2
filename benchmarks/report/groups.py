"""Finished runs of one network and one recipe, their seeds together: the points of the plots."""

from __future__ import annotations

import math
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

    plans: tuple[PlanEntry, ...]  # of one of the runs: its experiments
    conditions: Conditions
    runs: tuple[RunRecord, ...]
    accuracy: Summary  # in per cent, of the last epoch

    @property
    def name(self) -> str:
        """The network's name, with its experiment's."""
        network = self.runs[0].name
        if not self.plans:
            return network
        plan = self.plans[0]
        label = "" if plan.label == network else f" {plan.label}"
        return f"{network} ({plan.experiment}{label})"

    @property
    def short(self) -> str:
        """`0.8 lr=0.1`: its experiment and setting, or else its network."""
        plan = self.plans[0] if self.plans else None
        return f"{plan.experiment} {plan.label}" if plan else self.runs[0].name

    @property
    def experiments(self) -> str:
        """`4.1, 4.5`: all experiments that share its runs."""
        return ", ".join(dict.fromkeys(plan.experiment for plan in self.plans))

    @property
    def report(self) -> str:
        """`004`, or empty if no sweep planned it."""
        return self.plans[0].report if self.plans else ""

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
    planned, scales = plans.sharing, plans.scales
    groups: dict[tuple[Conditions, str], list[RunRecord]] = {}
    for run in runs:
        if run.finished:
            key = conditions_of(run, scales), setting_key(run)
            groups.setdefault(key, []).append(run)
    result = []
    for (conditions, _), members in groups.items():
        accuracy = percent_summary(members, "test_accuracy", scales)
        assert accuracy is not None  # a finished run has one
        shared = next(
            (planned[run["fingerprint"]] for run in members if run["fingerprint"] in planned), ()
        )
        result.append(RunGroup(tuple(shared), conditions, tuple(members), accuracy))
    return result


def at_chance(groups: Sequence[RunGroup]) -> dict[str, float]:
    """By run's folder, the accuracy of guessing (in per cent) where a group is no better.

    Guessing is noisy: by the number of test images, by the spread over seeds, and as far above
    100 / classes as other runs under the same conditions lie below.
    """
    lowest: dict[Conditions, float] = {}
    for group in groups:
        mean = group.accuracy.mean
        lowest[group.conditions] = min(mean, lowest.get(group.conditions, mean))
    result: dict[str, float] = {}
    for group in groups:
        classes = group.runs[0].record.get("classes")
        if not isinstance(classes, list) or len(classes) < 2:
            continue
        chance = 100 / len(classes)
        images = group.runs[0]["test_images"] or 10_000
        noise = max(
            1.96 * math.sqrt(chance * (100 - chance) / images),
            2 * (group.accuracy.std or 0.0),
            chance - lowest[group.conditions],
        )
        if group.accuracy.mean <= chance + noise:
            result |= {run.folder: chance for run in group.runs}
    return result
