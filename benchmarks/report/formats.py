"""How values and verdicts are written, the same in HTML and Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from markupsafe import Markup, escape

from benchmarks.report.experiments import ExperimentResult
from benchmarks.report.verdicts import AGREES, HIGHER, LOWER, NOT_RUN, NOTHING, SCALED
from engine.runs.progress import duration
from engine.statistics import Summary

NONE = "–"
EVIDENCE = {
    "report": "the report says it",
    "log": "the log of the report's own code",
    "ancestor": "logs of the work that the report builds on",
    "quoted": "quoted from elsewhere, not trained",
}
STATISTIC = {
    "best": "best epoch on the test set",
    "last": "last epoch",
    "moving": "best 20-epoch moving average",
    "batchmean": "mean of running accuracies",
    "validation_best": "best epoch on validation images",
    "unknown": "epoch not stated",
}
MEASURED_AS = {  # how a measured value matches a reported one; the last epoch for all others
    "best": "best epoch",
    "moving": "moving average",
    "validation_best": "best, validation",
}
SIGNS = {  # so that no verdict depends on its colour alone
    AGREES: "≈", HIGHER: "▲", LOWER: "▼", NOT_RUN: "·", NOTHING: "•", SCALED: "≠", "failed": "✕",
    "broken": "✕", "running": "▶", "queued": "…", "interrupted": "‖", "finished": "✓",
}  # fmt: skip
TONES = {
    AGREES: "good", HIGHER: "up", LOWER: "down", "failed": "down", "broken": "down",
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


def time(seconds: float | None) -> str:
    """Seconds in hours, minutes and seconds."""
    return NONE if seconds is None else duration(seconds)


def work(petaflops: float | None) -> str:
    """PFLOPs in three digits."""
    return NONE if petaflops is None else f"{petaflops:.3g}"


def reported(result: ExperimentResult) -> str:
    """The reported accuracy as it was printed."""
    return NONE if result.reported is None else f"{result.reported.value:g}"


def states(result: ExperimentResult) -> str:
    """`2 of 3 finished, 1 failed`."""
    known = dict(result.states)
    parts = [f"{known.pop('finished', 0)} of {result.planned} finished"]
    return ", ".join([*parts, *(f"{number} {state}" for state, number in known.items())])


def remarks(result: ExperimentResult, elsewhere: Sequence[str] = ()) -> str:
    """What the plan notes about a result, without the notes that are shown `elsewhere`."""
    note = [result.reported.note] if result.reported and result.reported.note else []
    return "; ".join([*note, *(each for each in result.notes if each not in elsewhere)])


def measured_as(statistic: str) -> str:
    """The statistic of a measured value that is compared with a reported one."""
    return MEASURED_AS.get(statistic, "last epoch")


def soft(text: str) -> Markup:
    """A long name with optional line breaks after its punctuation."""
    return Markup("<wbr>").join(
        escape(part) for part in re.findall(r"[^_,=/.-]*[_,=/.-]+|.+$", text)
    )
