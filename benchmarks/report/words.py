"""How numbers are written, the same in HTML and Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from markupsafe import Markup, escape

from benchmarks.report.reported import Row
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
SHORTLY = {
    "best": "best epoch",
    "last": "last epoch",
    "moving": "moving average",
    "batchmean": "last epoch",
    "validation_best": "best, validation",
    "unknown": "last epoch",
}
SIGNS = {  # so that a verdict is never told by its colour alone
    AGREES: "≈", HIGHER: "▲", LOWER: "▼", NOT_RUN: "·", NOTHING: "•", SCALED: "≠", "failed": "✕",
    "broken": "✕", "running": "▶", "queued": "…", "interrupted": "‖", "finished": "✓",
}  # fmt: skip
TONES = {
    AGREES: "good", HIGHER: "up", LOWER: "down", "failed": "down", "broken": "down",
    "record missing": "down", "finished": "good", "running": "up",
}  # fmt: skip


def share(value: float | None) -> str:
    """A share as per cent."""
    return NONE if value is None else f"{100 * value:.2f}"


def measured(found: Summary | None) -> str:
    """`95.52 ± 0.11`, in per cent."""
    if found is None:
        return NONE
    return f"{found.mean:.2f}" + ("" if found.std is None else f" ± {found.std:.2f}")


def points(value: float | None) -> str:
    """A difference with its sign."""
    return NONE if value is None else f"{value:+.2f}"


def count(value: float | None) -> str:
    """A whole number with commas."""
    return NONE if value is None else f"{value:,.0f}"


def time(seconds: float | None) -> str:
    """Seconds as people say them."""
    return NONE if seconds is None else duration(seconds)


def work(petaflops: float | None) -> str:
    """PFLOPs in three digits."""
    return NONE if petaflops is None else f"{petaflops:.3g}"


def reported(row: Row) -> str:
    """The reported figure as it was printed."""
    return NONE if row.claim is None else f"{row.claim.value:g}"


def states(row: Row) -> str:
    """`2 of 3 finished, 1 failed`."""
    known = dict(row.states)
    parts = [f"{known.pop('finished', 0)} of {row.planned} finished"]
    return ", ".join([*parts, *(f"{number} {state}" for state, number in known.items())])


def remarks(row: Row, told: Sequence[str] = ()) -> str:
    """What the plan says about a row, but for what is `told` elsewhere."""
    note = [row.claim.note] if row.claim and row.claim.note else []
    return "; ".join([*note, *(each for each in row.notes if each not in told)])


def shortly(statistic: str) -> str:
    """What a measured value is that stands beside a reported one."""
    return SHORTLY.get(statistic, "last epoch")


def soft(text: str) -> Markup:
    """A long name that may be broken where a person would break it."""
    return Markup("<wbr>").join(
        escape(part) for part in re.findall(r"[^_,=/.-]*[_,=/.-]+|.+$", text)
    )


def interval(found: Summary | None) -> str:
    """The 95 % interval of the mean."""
    if found is None or found.low is None or found.high is None:
        return "one seed: no interval"
    return f"95 % interval {found.low:.2f} to {found.high:.2f}"
