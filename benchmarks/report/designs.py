"""Finished runs of one network and one recipe, their seeds together: the points of the plots."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.records.conditions import Conditions, conditions_of, together
from benchmarks.records.plans import Planned
from benchmarks.records.runs import RunFile
from engine.statistics import Summary

# What tells runs of one design apart, and where they lie: no part of the design itself.
APART = ("train.seed", "run.", "checkpoint.", "data.mode", "runtime.threads", "runtime.cache")


@dataclass(frozen=True)
class Design:
    """A network with its recipe, as measured under one set of conditions."""

    name: str
    report: str  # `004`, or empty where no sweep planned it
    experiment: str
    conditions: Conditions
    runs: tuple[RunFile, ...]
    accuracy: Summary  # in per cent, of the last epoch

    @property
    def params(self) -> int | None:
        """The network's parameters."""
        value: int | None = self.runs[0]["params"]
        return value

    @property
    def short(self) -> str:
        """The network's name alone."""
        return self.runs[0]["variant"] or self.runs[0].folder

    def median(self, key: str) -> float | None:
        """The middle of a value over the runs."""
        values = [run[key] for run in self.runs if run[key] is not None]
        return statistics.median(values) if values else None


def designs(
    runs: Sequence[RunFile], planned: Mapping[str, Planned], scales: Mapping[str, float]
) -> list[Design]:
    """The designs of all finished runs; `planned` knows runs by their fingerprint."""
    groups: dict[tuple[Conditions, str], list[RunFile]] = {}
    for run in runs:
        if run.finished:
            settings = {k: v for k, v in run.config.items() if not k.startswith(APART)}
            settings["variant"] = run["variant"]
            key = conditions_of(run, scales), json.dumps(settings, sort_keys=True, default=str)
            groups.setdefault(key, []).append(run)
    found = []
    for (conditions, _), group in groups.items():
        summary = together(group, "test_accuracy", scales)
        assert summary is not None  # a finished run has one
        plan = next((planned[r["fingerprint"]] for r in group if r["fingerprint"] in planned), None)
        name = group[0]["variant"] or group[0].folder
        if plan is not None and plan.label != name:
            name = f"{name} ({plan.experiment} {plan.label})"
        elif plan is not None:
            name = f"{name} ({plan.experiment})"
        percent = Summary(
            summary.n,
            100 * summary.mean,
            None if summary.std is None else 100 * summary.std,
            None if summary.low is None else 100 * summary.low,
            None if summary.high is None else 100 * summary.high,
        )
        report, experiment = (plan.report, plan.experiment) if plan else ("", "")
        found.append(Design(name, report, experiment, conditions, tuple(group), percent))
    return found


def pareto(points: Sequence[tuple[float, float]]) -> list[int]:
    """The points that no other beats in both: less on the first axis, more on the second."""
    best = float("-inf")
    front = []
    for index in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if points[index][1] > best:
            best = points[index][1]
            front.append(index)
    return front
