"""The value of a run that a reported value is about: its measure, epoch, weights and statistic."""

from __future__ import annotations

import bisect
from collections.abc import Callable

from benchmarks.records.runs import WINDOW, RunRecord, moving_average
from benchmarks.records.untrusted import mapping, number
from engine.sweep.reported import (
    ACCURACIES,
    ESTIMATORS,
    LOSSES,
    MEASURES,
    SELECTIONS,
    STATISTICS,
    ReportedValue,
)

RESULTS = ("test_accuracy", "test_loss", "train_accuracy", "train_loss")  # of a finished run


class NotMeasured(Exception):
    """The run's files do not have the value; the message says why."""


def measured_value(run: RunRecord, reported: ReportedValue) -> float:
    """In the reported value's unit: per cent, a loss, parameters, epochs; raises NotMeasured."""
    known = {"measure": MEASURES, "statistic": STATISTICS}
    for key, words in (known | {"selection": SELECTIONS, "estimator": ESTIMATORS}).items():
        if getattr(reported, key) not in words:
            raise NotMeasured(f"this version knows no {key} {getattr(reported, key)}")
    if reported.measure == "parameters":
        return _known(run["params"], "the record has no parameters")
    if reported.measure == "epochs":
        return _epochs_to(run, reported)
    value = _kept(run, reported) if reported.selection == "validation" else _of(run, reported)
    return 100 * value if reported.measure in ACCURACIES else value


def _kept(run: RunRecord, reported: ReportedValue) -> float:
    best = mapping(run.record.get("best_weights"))
    reason = "the run kept no weights by validation (checkpoint.best)"
    return _known(number(best.get(reported.measure)), reason)


def _epochs_to(run: RunRecord, reported: ReportedValue) -> float:
    if reported.threshold is None:
        raise NotMeasured("the plan has no threshold")
    measure, target = reported.threshold
    for epoch, value in _series(run, measure).items():
        if value <= target if measure in LOSSES else 100 * value >= target:
            return epoch
    raise NotMeasured(f"no epoch reached {measure.replace('_', ' ')} {target:g}")


def _of(run: RunRecord, reported: ReportedValue) -> float:
    measure, until = reported.measure, reported.until
    if reported.statistic == "at":
        return _at(run, measure, reported.epoch or 0)
    if reported.statistic == "best":
        recorded = run.values.get(f"best_{measure}")
        if until is None and recorded is not None:
            return float(recorded)
        best: Callable[..., float] = min if measure in LOSSES else max
        return best(_series(run, measure, until).values())
    if reported.statistic == "moving":
        values = run.epochs.column(measure)
        if until is not None:
            values = values[: bisect.bisect_right(run.epochs.numbers, until)]
        return _known(moving_average(values), f"fewer than {WINDOW} epochs were evaluated")
    if until is not None:
        return _at(run, measure, until)
    if measure in RESULTS:
        return _known(run[measure], f"the record has no {measure.replace('_', ' ')}")
    return _at(run, measure, run["epochs"] or 0)


def _at(run: RunRecord, measure: str, epoch: int) -> float:
    if epoch == run["epochs"] and measure in RESULTS and run[measure] is not None:
        return float(run[measure])
    series = _series(run, measure, epoch)
    return _known(series.get(epoch), f"no {measure.replace('_', ' ')} at epoch {epoch}")


def _series(run: RunRecord, measure: str, until: int | None = None) -> dict[int, float]:
    """By epoch, the values in the run's log; at least one."""
    if until is not None and until > (run["epochs"] or 0):
        raise NotMeasured(f"the run has {run['epochs'] or 0} epochs, not {until}")
    series = {
        epoch: value
        for epoch, value in run.epochs.points(measure)
        if until is None or epoch <= until
    }
    if not series:
        raise NotMeasured(f"the log has no {measure.replace('_', ' ')} per epoch")
    return series


def _known(value: float | None, reason: str) -> float:
    if value is None:
        raise NotMeasured(reason)
    return float(value)
