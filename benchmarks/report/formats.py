"""How values and verdicts are written, the same in HTML and Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from markupsafe import Markup, escape

from benchmarks.compare.differences import change, interval
from benchmarks.records.runs import RunRecord
from benchmarks.report.experiments import ExperimentResult
from benchmarks.report.verdicts import (
    AGREES,
    EQUAL,
    HIGHER,
    INCOMPLETE,
    LOWER,
    NOT_JUDGED,
    NOT_RUN,
    NOTHING,
    SCALED,
)
from engine.runs.progress import duration
from engine.statistics import Summary
from engine.sweep.reported import ACCURACIES, LOSSES, NOT_STATED, ReportedValue

__all__ = ["change", "interval"]  # of `benchmarks.compare`; all else is defined here
NONE = "–"
LONGEST_NAME = 100  # of a file or an anchor
EVIDENCE = {
    "report": "the report says it",
    "log": "the log of the report's own code",
    "ancestor": "logs of the work that the report builds on",
    "quoted": "quoted from elsewhere, not trained",
}
STATISTIC = {
    "best": "best epoch on the set that it names, by default the test set",
    "last": "last epoch, of the run or of its first epochs where it says so",
    "at": "epoch that it names",
    "moving": "best 20-epoch moving average",
    "unknown": "value of an epoch that the report does not name: it agrees with all from the last "
    "to the best epoch",
}
MEASURED_AS = {"best": "best epoch", "last": "last epoch", "moving": "moving average",
               NOT_STATED: "last epoch"}  # fmt: skip
SIGNS = {  # so that no verdict depends on its colour alone
    AGREES: "≈", EQUAL: "=", HIGHER: "▲", LOWER: "▼", NOT_RUN: "·", NOTHING: "•", SCALED: "≠",
    NOT_JUDGED: "•", INCOMPLETE: "◐", "failed": "✕", "broken": "✕", "running": "▶",
    "queued": "…", "interrupted": "‖", "finished": "✓",
}  # fmt: skip
TONES = {
    AGREES: "good", EQUAL: "good", HIGHER: "up", LOWER: "down", "failed": "down", "broken": "down",
    "record missing": "down", "finished": "good", "running": "up",
}  # fmt: skip


def share(value: float | None) -> str:
    """A share in per cent."""
    return NONE if value is None else f"{100 * value:.2f}"


def measured(accuracy: Summary | None, *, with_n: bool = False) -> str:
    """`95.52 ± 0.11`, in per cent; with `with_n`, `95.52 ± 0.11 % (n = 3)`."""
    if accuracy is None:
        return NONE
    text = f"{accuracy.mean:.2f}" + ("" if accuracy.std is None else f" ± {accuracy.std:.2f}")
    return f"{text} % (n = {accuracy.n})" if with_n else text


def points(value: float | None) -> str:
    """A difference with its sign."""
    return NONE if value is None else f"{value:+.2f}"


def count(value: float | None) -> str:
    """A whole number with commas."""
    return NONE if value is None else f"{value:,.0f}"


def number(value: float | None) -> str:
    """A number with commas, and a fraction where it has one."""
    return NONE if value is None else f"{value:,.6g}"


def time(seconds: float | None) -> str:
    """Seconds in hours, minutes and seconds."""
    return NONE if seconds is None else duration(seconds)


def work(petaflops: float | None) -> str:
    """PFLOPs in three digits."""
    return NONE if petaflops is None else f"{petaflops:.3g}"


def training(run: RunRecord) -> str:
    """`200 epochs of 50,000 images`."""
    epochs = run.passes
    words = f"{number(epochs)} {'epoch' if epochs == 1 else 'epochs'}"
    return f"{words} of {count(run['train_images'])} images"


def reported(result: ExperimentResult) -> str:
    """The reported number as it was printed, or with how exactly it was read off a figure."""
    value = result.reported
    if value is None:
        return NONE
    return value.number + (f" ± {value.precision:g}" if value.read == "figure" else "")


def as_reported(result: ExperimentResult) -> str:
    """The measured value in the unit of the reported one."""
    value, reported = result.as_reported, result.reported
    if value is None or reported is None:
        return NONE
    if reported.measure in ACCURACIES:
        return measured(value)
    digits = 4 if reported.measure in LOSSES else 0
    return f"{value.mean:,.{digits}f}" + ("" if not value.std else f" ± {value.std:,.{digits}f}")


def difference(result: ExperimentResult) -> str:
    """Measured minus reported, with its sign."""
    value, reported = result.difference, result.reported
    if value is None or reported is None or reported.measure in ACCURACIES:
        return points(value)
    return f"{value:+,.{4 if reported.measure in LOSSES else 0}f}"


def claimed(value: ReportedValue) -> str:
    """Where a reported value comes from and what it is of: `report, best`."""
    mean = ", running mean" if value.estimator == "running_mean" else ""
    return f"{value.evidence}, {value.about}{mean}"


def states(result: ExperimentResult) -> str:
    """`2 of 3 finished, 1 failed`."""
    known = dict(result.states)
    parts = [f"{known.pop('finished', 0)} of {result.planned} finished"]
    return ", ".join([*parts, *(f"{number} {state}" for state, number in known.items())])


def remarks(result: ExperimentResult, elsewhere: Sequence[str] = ()) -> str:
    """What the plan notes about a result, without the notes that are shown `elsewhere`."""
    note = [result.reported.note] if result.reported and result.reported.note else []
    return "; ".join([*note, *(each for each in result.notes if each not in elsewhere)])


def measured_as(value: ReportedValue) -> str:
    """What a measured value that is compared with this one is of."""
    return MEASURED_AS.get(value.about, value.about)


def soft(text: str) -> Markup:
    """A long name with optional line breaks after its punctuation."""
    return Markup("<wbr>").join(
        escape(part) for part in re.findall(r"[^_,=/.-]*[_,=/.-]+|.+$", text)
    )


def unique_name(words: str, taken: set[str]) -> str:
    """A name of a file or an anchor, not `taken` yet: plain letters, with a number if needed."""
    base = re.sub(r"[^A-Za-z0-9._-]+", "-", words).strip("-.")[:LONGEST_NAME]
    name, number = base, 1
    while name in taken:
        number += 1
        name = f"{base}-{number}"
    taken.add(name)
    return name
