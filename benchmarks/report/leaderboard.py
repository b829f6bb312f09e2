"""The runs that are there, best first: their settings, how they differ, and by how much."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from benchmarks.compare.differences import CompareResult, of_runs
from benchmarks.records.conditions import Conditions, conditions_of, setting_key, settings_of
from benchmarks.records.plans import SweepPlans
from benchmarks.records.runs import RunRecord
from benchmarks.report.curves import has_curve
from benchmarks.report.groups import RunGroup
from benchmarks.report.plots.learning_curves import Series
from benchmarks.report.plots.style import Plot
from benchmarks.report.reproduce import as_flag

SPELLED_OUT = 6  # settings that vary: up to so many are written for every run,
NEARLY_ALL = 0.9  # but not a value that so many of the runs share
COMPARED = 5  # leaders


@dataclass(frozen=True)
class Leader:
    """The runs of one setting, and what distinguishes it."""

    group: RunGroup
    settings: tuple[str, ...]  # `augment.cutout=8`


@dataclass
class Leaderboard:
    """The finished runs under one set of conditions, best first."""

    conditions: Conditions
    leaders: list[Leader]
    series: list[Series]  # learning curves, also of runs that are not finished
    training: float  # images that the longest of its runs was trained on
    curves: list[Plot] = field(default_factory=list)

    def comparisons(self) -> Iterator[tuple[Leader, CompareResult]]:
        """What `benchmarks.compare` says of each of the next leaders (A) and the first (B)."""
        first = self.leaders[0].group.runs if self.leaders else ()
        for leader in self.leaders[1:COMPARED]:
            yield leader, of_runs(leader.group.runs, first)


def leaderboards(
    runs: Sequence[RunRecord], groups: Sequence[RunGroup], plans: SweepPlans
) -> list[Leaderboard]:
    """One per set of conditions, those of the runs with the most training first."""
    scales = plans.scales
    started: dict[Conditions, dict[str, list[RunRecord]]] = {}
    for run in runs:
        if has_curve(run):
            settings = started.setdefault(conditions_of(run, scales), {})
            settings.setdefault(setting_key(run), []).append(run)
    boards = []
    for conditions in {**dict.fromkeys(group.conditions for group in groups), **started}:
        ranked = sorted(
            (group for group in groups if group.conditions == conditions),
            key=lambda group: (-group.accuracy.mean, group.runs[0].folder),
        )
        known = zip(ranked, distinguishing([group.runs[0] for group in ranked]), strict=True)
        leaders = [Leader(group, settings) for group, settings in known]
        members = list(started.get(conditions, {}).values())
        words = distinguishing([member[0] for member in members])
        series = [
            Series(member[0].name, member, settings=settings)
            for member, settings in zip(members, words, strict=True)
        ]
        images = [_training(run) for group in ranked for run in group.runs]
        boards.append(Leaderboard(conditions, leaders, series, max(images, default=0.0)))
    return sorted(boards, key=lambda each: (-each.training, -len(each.leaders), each.conditions))


def distinguishing(runs: Sequence[RunRecord]) -> list[tuple[str, ...]]:
    """Of each run the settings in which it differs from the others.

    Few are written for every run; of many only those that are not as in most of the runs, and so
    of a value that nearly all share. What a network is made of counts only among runs whose network
    has the same name.
    """
    settings = [settings_of(run) for run in runs]
    varying = _varying([{k: v for k, v in s.items() if _is_training(k)} for s in settings])
    by_name: dict[str, list[int]] = {}
    for place, run in enumerate(runs):
        by_name.setdefault(run.name, []).append(place)
    words: list[tuple[str, ...]] = [()] * len(runs)
    for places in by_name.values():
        parts = _varying([{k: v for k, v in settings[i].items() if not _is_training(k)}
                          for i in places])  # fmt: skip
        usual = parts | varying
        for place in places:
            words[place] = tuple(
                f"{key}={_written(settings[place].get(key))}"
                for key, most in usual.items()
                if (len(usual) <= SPELLED_OUT and most.share < NEARLY_ALL)
                or settings[place].get(key) != most.value
            )
    return words


class Usual(NamedTuple):
    """The most frequent value of a setting."""

    value: Any
    share: float  # of the runs


def _varying(settings: Sequence[dict[str, Any]]) -> dict[str, Usual]:
    """The settings that are not the same everywhere."""
    usual: dict[str, Usual] = {}
    for key in dict.fromkeys(key for each in settings for key in each):
        values = [each.get(key) for each in settings]
        counts = Counter(json.dumps(value, default=str) for value in values)
        if len(counts) > 1:
            most, count = counts.most_common(1)[0]
            value = next(v for v in values if json.dumps(v, default=str) == most)
            usual[key] = Usual(value, count / len(values))
    return usual


def _is_training(key: str) -> bool:
    return not key.startswith("model.")


def _written(value: Any) -> str:
    return "none" if value is None else as_flag(value)


def _training(run: RunRecord) -> float:
    return float((run.passes or 0) * (run["train_images"] or 0))
