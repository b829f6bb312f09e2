"""The summary as tables of text: what the command prints, the page and the Markdown show."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from benchmarks.accuracies.time_to.records import AIRBENCH
from benchmarks.accuracies.time_to.summary import (
    GOAL,
    Entry,
    TimeTo,
    Versus,
    against,
    best_of_ours,
    share_of_their_time,
    time_to,
)
from engine.columns import columns
from engine.runs.progress import duration
from engine.statistics import Summary

NONE = "–"
RESULTS = (
    "setting", "n", "accuracy, one view, %", "95 % interval", "more views, %", "seconds",
    "TFLOP/s of a product", "PFLOPs", "evaluation",
)  # fmt: skip
TIMES = ("to the accuracy, by one view", "seconds", "PFLOPs", "by")
DIFFERENCES = ("ours against", "accuracy, points", "95 % interval", "time, ratio", "95 % interval")
Rows = list[tuple[str, ...]]


def results(found: Sequence[Entry]) -> Rows:
    """A row per setting."""
    return [
        (
            _label(entry),
            str(entry.accuracy.n),
            _mean(entry.accuracy),
            _interval(_pair(entry.accuracy)),
            ", ".join(f"{name} {_mean(view)}" for name, view in entry.views.items()) or NONE,
            _seconds(entry.seconds),
            NONE if entry.product_tflops is None else f"{entry.product_tflops:.2f}",
            f"{entry.petaflops:.3g}",
            _evaluations(entry),
        )
        for entry in found
    ]


def times(found: Sequence[Entry], target: float) -> Rows:
    """A row per family."""
    return [_time(each) for each in time_to(found, target)]


def differences(found: Sequence[Entry], target: float) -> Rows:
    """A row per setting of the others, against our fastest that reaches the target."""
    ours = best_of_ours(found, target)
    return [] if ours is None else [_difference(each) for each in against(ours, found)]


def goal(found: Sequence[Entry], target: float) -> str:
    """Our time as a share of airbench's to the same accuracy, and whether the goal is met."""
    ours = best_of_ours(found, target)
    share = None if ours is None else share_of_their_time(ours, found, AIRBENCH)
    if ours is None or share is None:
        return f"Share of {AIRBENCH}'s time to the same accuracy by one view: not yet measured."
    verdict = "met" if share <= GOAL and ours.accuracy.mean >= target else "missed"
    return (
        f"{ours.label} takes {share:.2f} of {AIRBENCH}'s time to the same {ours.accuracy.mean:.2f} "
        f"% by one view (goal: {target:g} % in at most {GOAL:g} of it): {verdict}."
    )


def page(found: Sequence[Entry], target: float, *, rehearsal: bool) -> str:
    """Everything as aligned text."""
    if not found:
        return "Nothing has been measured yet.\n"
    note = "A rehearsal of a few steps: its figures mean nothing." if rehearsal else ""
    conditions = dict.fromkeys(trial.conditions for entry in found for trial in entry.trials)
    sources = dict.fromkeys(t.source for entry in found for t in entry.trials if t.source)
    words = {0, 3, 4, 8}
    parts = [
        note,
        "\n".join([*conditions, *sources]),
        columns(RESULTS, results(found), right=set(range(len(RESULTS))) - words),
        columns(TIMES, times(found, target), right={1, 2}),
        columns(DIFFERENCES, differences(found, target), right={1, 3}),
        goal(found, target),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _label(entry: Entry) -> str:
    if not entry.is_cut:
        return entry.label
    hours = entry.whole_hours
    whole = "" if hours is None else f"; all of it: {hours:.3g} h, predicted"
    return f"{entry.label}, cut after {duration(entry.seconds.mean)}{whole}"


def _evaluations(entry: Entry) -> str:
    """Seconds and PFLOPs of evaluating the test set by each number of views."""
    parts = []
    for name in entry.trials[0].evaluations:
        known = [trial.evaluations[name] for trial in entry.trials if name in trial.evaluations]
        seconds = statistics.fmean(each for each, _ in known)
        parts.append(f"{name}: {seconds:,.1f} s, {known[0][1]:.2g} PFLOPs")
    return "; ".join(parts)


def _time(each: TimeTo) -> tuple[str, ...]:
    head = f"{each.family}, {each.target:g} %"
    if each.entry is None or each.seconds is None or each.petaflops is None:
        return (head, NONE, NONE, "not reached by any that was measured")
    exact = each.seconds == each.entry.seconds.mean
    how = each.entry.label if exact else f"between the lengths up to {each.entry.label}"
    how += ", the shortest measured" if each.is_shortest and each.family == AIRBENCH else ""
    return (head, f"{each.seconds:,.1f}", f"{each.petaflops:.3g}", how)


def _difference(each: Versus) -> tuple[str, ...]:
    return (
        each.label,
        f"{each.points:+.2f}",
        _interval(each.points_interval, "{:+.2f}"),
        f"{each.ratio:.2f}",
        _interval(each.ratio_interval),
    )


def _mean(values: Summary) -> str:
    return f"{values.mean:.2f}" + ("" if values.std is None else f" ± {values.std:.2f}")


def _seconds(values: Summary) -> str:
    return f"{values.mean:,.1f}" + ("" if values.std is None else f" ± {values.std:,.1f}")


def _pair(values: Summary) -> tuple[float, float] | None:
    return None if values.low is None or values.high is None else (values.low, values.high)


def _interval(pair: tuple[float, float] | None, form: str = "{:.2f}") -> str:
    return NONE if pair is None else " to ".join(form.format(value) for value in pair)
