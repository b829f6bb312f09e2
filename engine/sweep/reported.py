"""What a report states about a run, and exactly which value of the run it is about."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

ACCURACIES = ("test_accuracy", "validation_accuracy", "train_accuracy")  # in per cent
LOSSES = ("test_loss", "validation_loss", "train_loss")
PARAMETERS, EPOCHS = "parameters", "epochs"
MEASURES = (*ACCURACIES, *LOSSES, PARAMETERS, EPOCHS)

EVIDENCE = ("report", "log", "ancestor", "quoted")
STATISTICS = ("best", "last", "moving", "batchmean", "validation_best", "at", "unknown")
SELECTIONS = ("none", "validation")
ESTIMATORS = ("exact", "running_mean")
READINGS = ("printed", "figure")
RUNS = ("planned", "other")

NOT_STATED = "epoch not stated"
ALWAYS = ("value", "evidence", "statistic", "note")  # in plan.json, whatever their values


@dataclass(frozen=True)
class ReportedValue:
    """One number of a report; compared only with the value of a run that it is about."""

    value: float
    evidence: str = "report"
    statistic: str = "unknown"  # which epoch: best, last, at one, or the best moving average
    note: str = ""
    measure: str = "test_accuracy"
    epoch: int | None = None  # of the statistic `at`, counted from 1 as in log.jsonl
    until: int | None = None  # only the first epochs of the run count
    threshold: tuple[str, float] | None = None  # of the measure `epochs`: what is reached
    selection: str = "none"  # validation: of the weights of the best epoch on validation images
    estimator: str = "exact"  # running_mean: mean over batches of the running accuracy
    read: str = "printed"  # or off a figure
    precision: float | None = None  # how far the number may be off, in its own unit
    run: str = "planned"  # other: about a run that is not planned, so never judged
    best_over: tuple[str, ...] = ()  # settings over whose values it is the best
    at: tuple[tuple[str, Any], ...] = ()  # the other settings of such a panel, by dotted name

    def content(self) -> dict[str, Any]:
        """As plan.json has it: what has its default is left out."""
        content = {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if field.name in ALWAYS or getattr(self, field.name) != field.default
        }
        if self.best_over:
            content |= {"best_over": list(self.best_over), "at": dict(self.at)}
        if self.threshold is not None:
            content["threshold"] = dict([self.threshold])
        return content

    @property
    def number(self) -> str:
        """The number with the digits that it was printed with."""
        if self.measure == PARAMETERS:
            return f"{self.value:,.0f}"
        shortest = f"{self.value:g}"
        for digits in range(len(shortest.partition(".")[2]) + 1, 5):  # zeros at its end
            if self.precision == half_a_unit(digits):
                return f"{self.value:.{digits}f}"
        return shortest

    @property
    def about(self) -> str:
        """What it is of, in a few words: `best`, `last test loss`, `best of 50 epochs`."""
        if self.measure == PARAMETERS:
            return PARAMETERS
        if self.measure == EPOCHS and self.threshold is not None:
            return f"epochs to {self.threshold[0].replace('_', ' ')} {self.threshold[1]:g}"
        words = [self.statistic] if self.statistic in ("best", "last", "moving") else []
        if self.measure != ACCURACIES[0]:
            words.append(self.measure.replace("_", " "))
        if self.selection == "validation":
            words.append("of the weights kept by validation")
        elif self.statistic == "at":
            words.append(f"at epoch {self.epoch}")
        elif not words or self.statistic not in words:
            words.append(NOT_STATED if self.statistic == "unknown" else self.statistic)
        if self.until is not None:
            words.append(f"of {self.until} epochs")
        panel = f", best over {', '.join(self.best_over)}" if self.best_over else ""
        return " ".join(words) + panel

    @property
    def text(self) -> str:
        """`95.66 best`, `0.42 last test loss`, `89.21 best of 50 epochs`."""
        return f"{self.number} {self.about}"


def in_todays_words(parts: dict[str, Any]) -> dict[str, Any]:
    """The parts of a reported value, two older statistics in the words of now."""
    if parts.get("statistic") == "batchmean":
        return parts | {"statistic": "last", "estimator": "running_mean"}
    if parts.get("statistic") == "validation_best":
        return parts | {"statistic": "best", "measure": "validation_accuracy"}
    return parts


def half_a_unit(digits: int) -> float:
    """How far a number with so many decimals may be off by its rounding."""
    return float(f"5e-{digits + 1}")


def contradictions(reported: ReportedValue) -> Iterator[tuple[str, str]]:
    """The key and the message of everything that does not fit together."""
    one = reported
    accuracy = one.measure in ACCURACIES
    if one.measure in (PARAMETERS, EPOCHS):
        for key in ("statistic", "epoch", "until", "selection", "estimator"):
            if getattr(one, key) != getattr(ReportedValue, key):
                yield key, f"not with measure {one.measure}, which is of no single epoch"
    elif accuracy and one.value > 100:
        yield "value", f"expected a number, 0 to 100, found {one.value:g}"
    if (one.measure == EPOCHS) != (one.threshold is not None):
        yield "threshold", "expected with measure epochs, and only there"
    if (one.statistic == "at") != (one.epoch is not None):
        yield "epoch", "expected with statistic at, and only there"
    if one.until is not None and one.statistic not in ("best", "last", "moving"):
        yield "until", f"only with statistic best, last or moving, found {one.statistic}"
    if one.selection == "validation":
        if one.measure not in ("test_accuracy", "test_loss"):
            yield "selection", f"only with test_accuracy or test_loss, found {one.measure}"
        if one.statistic != "unknown":
            yield "selection", f"decides the epoch; leave out statistic {one.statistic}"
    if one.estimator == "running_mean" and not accuracy:
        yield "estimator", f"a running mean is of an accuracy, found {one.measure}"
    if one.statistic == "moving" and not accuracy:
        yield "statistic", f"a moving average is of an accuracy, found {one.measure}"
    if one.read == "figure" and one.precision is None:
        yield "precision", "missing; a value read off a figure needs it"
    if one.run == "other" and not one.note:
        yield "note", "missing; with run other it says which run the value is about"
