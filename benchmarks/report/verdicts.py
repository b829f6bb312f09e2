"""In words, how a measured accuracy stands to a reported one, and what the words rest on."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from benchmarks.records.conditions import Conditions
from benchmarks.records.plans import Claim
from benchmarks.records.runs import RunFile
from engine.statistics import next_value

BUDGET = 5_000_000
MEASURED_BY = {  # a reported statistic: the record's value that is chosen as it was
    "best": "best_test_accuracy",
    "last": "test_accuracy",
    "moving": "moving_test_accuracy",
    "batchmean": "test_accuracy",
    "validation_best": "best_validation_accuracy",
}
SLACK = {"batchmean": 0.2}  # points: the mean of running accuracies is that far off the value
AGREES, HIGHER, LOWER = "agrees within noise", "higher", "lower"
NOT_RUN, NOTHING, SCALED = "not run", "nothing reported", "not comparable"


def verdict_of(
    claim: Claim | None,
    conditions: Conditions,
    done: Sequence[RunFile],
    key: str,
    states: Counter[str],
) -> tuple[str, str]:
    """In words, and what they rest on."""
    if not done:
        for state in ("running", "interrupted", "queued", "failed", "broken", "record missing"):
            if states[state]:
                return state, ""
        return NOT_RUN, ""
    if claim is None:
        return NOTHING, ""
    if not conditions.comparable:
        return SCALED, ""
    values = [100 * run[key] for run in done if run[key] is not None]
    if not values:
        return "not measured", f"the records have no {key.replace('_', ' ')}"
    low, high, basis = _noise(values, done)
    slack = _rounding(claim.value) + SLACK.get(claim.statistic, 0.0)
    if claim.value + slack < low:
        return HIGHER, basis
    return (LOWER if claim.value - slack > high else AGREES), basis


def flags_of(params: int | None, claim: Claim | None, notes: Sequence[str]) -> tuple[str, ...]:
    """What is to be said whatever was measured."""
    flags = []
    if params is not None and params > BUDGET:
        flags.append("over budget")
    if any("misprint" in text.lower() for text in (*notes, claim.note if claim else "")):
        flags.append("misprint")
    return tuple(flags)


def _noise(values: Sequence[float], done: Sequence[RunFile]) -> tuple[float, float, str]:
    """Where one more run would lie in 95 of 100 cases.

    One run shows no spread of its own. That of a training run is close to what drawing another
    test set of that size would give (Jordan, "Calibrated Chaos", 2023), so this stands in.
    """
    interval = next_value(values)
    if interval is not None:
        return *interval, f"spread of {len(values)} seeds"
    images = done[0]["test_images"] or 10_000
    share = min(max(values[0] / 100, 0.5 / images), 1 - 0.5 / images)
    half = 1.96 * math.sqrt(2) * 100 * math.sqrt(share * (1 - share) / images)
    return values[0] - half, values[0] + half, f"one seed: noise of {images:,} test images"


def _rounding(value: float) -> float:
    """Half of the last digit that a figure was printed with."""
    decimals = repr(value).partition(".")[2]
    return 0.5 * 10.0 ** -(0 if decimals == "0" else min(len(decimals), 4))
