"""What all recorded runs say: means with their intervals, time to an accuracy, differences."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from benchmarks.accuracies.time_to.records import FAMILIES, OURS, Point, Trial
from engine.statistics import Summary, summary, welch

GOAL = 0.8  # ours in at most this share of airbench's time to the same accuracy


@dataclass(frozen=True)
class Entry:
    """All seeds of one setting."""

    label: str
    family: str
    trials: tuple[Trial, ...]

    @cached_property
    def accuracy(self) -> Summary:
        """By a single view of each test image, in per cent."""
        return summary(trial.accuracy for trial in self.trials)

    @cached_property
    def views(self) -> dict[str, Summary]:
        """By more views, where all runs have them."""
        names = set.intersection(*(set(trial.views) for trial in self.trials))
        return {name: summary(trial.views[name] for trial in self.trials) for name in sorted(names)}

    @cached_property
    def seconds(self) -> Summary:
        """Of training, evaluation excluded."""
        return summary(trial.seconds for trial in self.trials)

    @property
    def petaflops(self) -> float:
        """Of training."""
        return statistics.fmean(trial.petaflops for trial in self.trials)

    @property
    def product_tflops(self) -> float | None:
        """Of the matrix products measured beside the runs."""
        known = [t.product_tflops for t in self.trials if t.product_tflops is not None]
        return statistics.fmean(known) if known else None

    @property
    def is_cut(self) -> bool:
        """Whether its runs were cut at the time of ours."""
        return any(trial.cut_at is not None for trial in self.trials)

    @property
    def whole_hours(self) -> float | None:
        """Of the recipe that was cut, predicted from the rate of what was run."""
        hours = [
            trial.whole_petaflops / trial.petaflops * trial.seconds / 3600
            for trial in self.trials
            if trial.whole_petaflops and trial.petaflops
        ]
        return statistics.fmean(hours) if hours else None

    def curve(self) -> list[tuple[Point, float, float]]:
        """The mean of all seeds after each epoch that all have, with the extremes of accuracy."""
        by_epoch: dict[float, list[Point]] = {}
        for trial in self.trials:
            for point in trial.curve:
                by_epoch.setdefault(point.epoch, []).append(point)
        curve = []
        for epoch, points in sorted(by_epoch.items()):
            if len(points) < len(self.trials):
                continue
            accuracies = [point.accuracy for point in points]
            mean = Point(
                epoch,
                statistics.fmean(point.seconds for point in points),
                statistics.fmean(point.petaflops for point in points),
                statistics.fmean(accuracies),
            )
            curve.append((mean, min(accuracies), max(accuracies)))
        return curve


@dataclass(frozen=True)
class TimeTo:
    """The time of a family to an accuracy by a single view; None where it was not reached."""

    family: str
    target: float
    entry: Entry | None  # the fastest setting whose mean reaches it
    seconds: float | None  # between two lengths, by the logarithm of the time
    petaflops: float | None
    is_shortest: bool  # nothing shorter was measured: the time is an upper bound


@dataclass(frozen=True)
class Versus:
    """Ours against another setting."""

    label: str
    points: float  # of accuracy, ours minus theirs
    points_interval: tuple[float, float] | None  # 95 %, by Welch
    ratio: float  # of the times, ours by theirs: geometric means
    ratio_interval: tuple[float, float] | None


def entries(trials: Iterable[Trial], *, rehearsal: bool = False) -> list[Entry]:
    """The settings in the order of their families and work; rehearsals only if they are wanted."""
    groups: dict[tuple[str, str], list[Trial]] = {}
    for trial in trials:
        if trial.rehearsal == rehearsal:
            groups.setdefault((trial.family, trial.setting), []).append(trial)
    labels = [group[0].label for group in groups.values()]
    found = [
        Entry(
            group[0].label + (f" ({setting[:8]})" if labels.count(group[0].label) > 1 else ""),
            family,
            tuple(sorted(group, key=lambda trial: trial.seed)),
        )
        for (family, setting), group in groups.items()
    ]
    return sorted(found, key=lambda entry: (_place(entry.family), entry.petaflops))


def _place(family: str) -> int:
    return FAMILIES.index(family) if family in FAMILIES else len(FAMILIES)


def time_to(found: Sequence[Entry], target: float) -> list[TimeTo]:
    """Of each family."""
    families = dict.fromkeys(entry.family for entry in found)
    return [
        _time_to([entry for entry in found if entry.family == family], family, target)
        for family in families
    ]


def against(ours: Entry, found: Sequence[Entry]) -> list[Versus]:
    """Ours against every other family's settings."""
    return [_versus(ours, entry) for entry in found if entry.family != ours.family]


def best_of_ours(found: Sequence[Entry], target: float) -> Entry | None:
    """Our fastest setting whose mean reaches the target, else our most accurate one."""
    own = [entry for entry in found if entry.family == OURS]
    reached = [entry for entry in own if entry.accuracy.mean >= target]
    if reached:
        return min(reached, key=lambda entry: entry.seconds.mean)
    return max(own, key=lambda entry: entry.accuracy.mean, default=None)


def share_of_their_time(ours: Entry, found: Sequence[Entry], family: str) -> float | None:
    """Our time by that of a family to our accuracy; None outside of what it measured."""
    theirs = _time_to([e for e in found if e.family == family], family, ours.accuracy.mean)
    if theirs.seconds is None or theirs.is_shortest:
        return None
    return ours.seconds.mean / theirs.seconds


def _time_to(own: Sequence[Entry], family: str, target: float) -> TimeTo:
    whole = sorted((e for e in own if not e.is_cut), key=lambda entry: entry.seconds.mean)
    reached = next((entry for entry in whole if entry.accuracy.mean >= target), None)
    if reached is None:
        return TimeTo(family, target, None, None, None, is_shortest=False)
    shorter = whole[: whole.index(reached)]
    if not shorter or family == OURS:  # ours are different networks: nothing lies between them
        seconds, petaflops = reached.seconds.mean, reached.petaflops
        return TimeTo(family, target, reached, seconds, petaflops, is_shortest=not shorter)
    before = shorter[-1]
    low, high = before.accuracy.mean, reached.accuracy.mean
    share = (target - low) / (high - low)
    seconds, petaflops = (
        math.exp((1 - share) * math.log(first) + share * math.log(second))
        for first, second in (
            (before.seconds.mean, reached.seconds.mean),
            (before.petaflops, reached.petaflops),
        )
    )
    return TimeTo(family, target, reached, seconds, petaflops, is_shortest=False)


def _versus(ours: Entry, other: Entry) -> Versus:
    points = welch(*([t.accuracy for t in entry.trials] for entry in (ours, other)))
    times = welch(*([math.log(t.seconds) for t in entry.trials] for entry in (ours, other)))
    return Versus(
        other.label,
        points.difference,
        None if points.low is None or points.high is None else (points.low, points.high),
        math.exp(times.difference),
        None if times.low is None or times.high is None
        else (math.exp(times.low), math.exp(times.high)),
    )  # fmt: skip
