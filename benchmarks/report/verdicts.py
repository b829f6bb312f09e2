"""How a measured accuracy compares with a reported one, in words, and what the words rest on."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from benchmarks.records.conditions import Conditions
from benchmarks.records.plans import ReportedAccuracy
from benchmarks.records.runs import RunRecord
from engine.statistics import next_value

BUDGET = 5_000_000
MEASURED_BY = {  # by reported statistic, the value of a record with the same statistic
    "best": "best_test_accuracy",
    "last": "test_accuracy",
    "moving": "moving_test_accuracy",
    "batchmean": "test_accuracy",
    "validation_best": "best_validation_accuracy",
}
SLACK = {"batchmean": 0.2}  # points: a mean of running accuracies is that far from the accuracy
AGREES, HIGHER, LOWER = "agrees within noise", "higher", "lower"
NOT_RUN, NOTHING, SCALED = "not run", "nothing reported", "not comparable"


def verdict_of(
    reported: ReportedAccuracy | None,
    conditions: Conditions,
    finished: Sequence[RunRecord],
    key: str,
    states: Counter[str],
) -> tuple[str, str]:
    """The verdict, and what its noise was estimated from."""
    if not finished:
        for state in ("running", "interrupted", "queued", "failed", "broken", "record missing"):
            if states[state]:
                return state, ""
        return NOT_RUN, ""
    if reported is None:
        return NOTHING, ""
    if not conditions.comparable:
        return SCALED, ""
    values = [100 * run[key] for run in finished if run[key] is not None]
    if not values:
        return "not measured", f"the records have no {key.replace('_', ' ')}"
    low, high, basis = _noise(values, finished)
    slack = _rounding(reported.value) + SLACK.get(reported.statistic, 0.0)
    if reported.value + slack < low:
        return HIGHER, basis
    return (LOWER if reported.value - slack > high else AGREES), basis


def flags_of(
    params: int | None, reported: ReportedAccuracy | None, notes: Sequence[str]
) -> tuple[str, ...]:
    """What holds whatever was measured."""
    flags = []
    if params is not None and params > BUDGET:
        flags.append("over budget")
    if any("misprint" in text.lower() for text in (*notes, reported.note if reported else "")):
        flags.append("misprint")
    return tuple(flags)


def _noise(values: Sequence[float], finished: Sequence[RunRecord]) -> tuple[float, float, str]:
    """The 95 % prediction interval of one more run.

    A single run has no standard deviation. That of training runs is close to what drawing another
    test set of the same size would give (Jordan, "Calibrated Chaos", 2023), which is used instead.
    """
    interval = next_value(values)
    if interval is not None:
        return *interval, f"spread of {len(values)} seeds"
    images = finished[0]["test_images"] or 10_000
    share = min(max(values[0] / 100, 0.5 / images), 1 - 0.5 / images)
    half = 1.96 * math.sqrt(2) * 100 * math.sqrt(share * (1 - share) / images)
    return values[0] - half, values[0] + half, f"one seed: noise of {images:,} test images"


def _rounding(value: float) -> float:
    """Half a unit in the last digit that a value was printed with."""
    decimals = repr(value).partition(".")[2]
    return 0.5 * 10.0 ** -(0 if decimals == "0" else min(len(decimals), 4))
