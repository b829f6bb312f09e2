"""How measured values compare with a reported one, in words, and what the words rest on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from benchmarks.records.conditions import Conditions
from benchmarks.records.runs import RunRecord
from benchmarks.report.measured import NotMeasured
from benchmarks.report.noise import interval
from engine.statistics import Summary, summary
from engine.sweep.reported import PARAMETERS, ReportedValue, half_a_unit

BUDGET = 5_000_000
RUNNING_MEAN = 0.2  # points: a mean of running accuracies is that far from the accuracy
AGREES, HIGHER, LOWER, EQUAL = "agrees within noise", "higher", "lower", "equal"
NOT_RUN, NOTHING, SCALED = "not run", "nothing reported", "not comparable"
NOT_MEASURED, NOT_JUDGED, INCOMPLETE = "not measured", "not judged", "panel incomplete"
JUDGED = (AGREES, HIGHER, LOWER, EQUAL)

Sample = tuple[list[float], list[RunRecord]]  # values, and the run of each
Sampler = Callable[[ReportedValue], Sample]  # raises NotMeasured


@dataclass(frozen=True)
class Judgement:
    """A verdict, what its noise was estimated from, and the values that were compared."""

    verdict: str
    basis: str = ""
    measured: Summary | None = None


def waiting(states: Counter[str]) -> str:
    """The verdict where no run has finished."""
    for state in ("running", "interrupted", "queued", "failed", "broken", "record missing"):
        if states[state]:
            return state
    return NOT_RUN


def judge(reported: ReportedValue, conditions: Conditions, sampler: Sampler) -> Judgement:
    """The verdict on a reported value from the values of finished runs."""
    if reported.run != "planned":
        return Judgement(NOT_JUDGED, "about another run than those planned")
    judged = conditions.comparable or reported.measure == PARAMETERS
    try:
        values, runs = sampler(reported)
        measured = summary(values)
        if not judged:
            return Judgement(SCALED, "", measured)
        if reported.measure == PARAMETERS:
            return Judgement(_exact(reported, measured), "", measured)
        low, high, basis = interval(values, runs, reported)
    except NotMeasured as error:
        return Judgement(NOT_MEASURED, str(error)) if judged else Judgement(SCALED)
    if reported.statistic == "unknown" and reported.selection == "none":
        low, high, basis = _to_the_best(reported, sampler, (low, high, basis))
    slack = tolerance(reported)
    if reported.value + slack < low:
        return Judgement(HIGHER, basis, measured)
    return Judgement(LOWER if reported.value - slack > high else AGREES, basis, measured)


def tolerance(reported: ReportedValue) -> float:
    """How far the reported number may lie from what the report's own run reached."""
    precision = reported.precision
    if precision is None:  # of an older plan
        decimals = repr(reported.value).partition(".")[2]
        precision = half_a_unit(0 if decimals == "0" else min(len(decimals), 4))
    return precision + (RUNNING_MEAN if reported.estimator == "running_mean" else 0.0)


def flags_of(
    params: int | None, reported: ReportedValue | None, notes: Sequence[str]
) -> tuple[str, ...]:
    """What holds whatever was measured."""
    flags = []
    if params is not None and params > BUDGET:
        flags.append("over budget")
    if any("misprint" in text.lower() for text in (*notes, reported.note if reported else "")):
        flags.append("misprint")
    return tuple(flags)


def _exact(reported: ReportedValue, measured: Summary) -> str:
    difference = measured.mean - reported.value
    if abs(difference) <= tolerance(reported):
        return EQUAL
    return HIGHER if difference > 0 else LOWER


def _to_the_best(
    reported: ReportedValue, sampler: Sampler, last: tuple[float, float, str]
) -> tuple[float, float, str]:
    """The interval from the last to the best epoch: the report does not say which it gives."""
    low, high, basis = last
    best = replace(reported, statistic="best")
    try:
        values, runs = sampler(best)
        lowest, highest, _ = interval(values, runs, best)
    except NotMeasured:  # a run with validation images has no best epoch on the test set
        return last
    return min(low, lowest), max(high, highest), f"{basis}; from the last to the best epoch"
