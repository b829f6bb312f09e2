"""Reported values as a plan has them: of today's or an older format, of any content."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.records.untrusted import mapping, number, printable
from engine.sweep.reported import MEASURES, ReportedValue, in_todays_words

CHOICES = ("measure", "selection", "estimator", "read", "run")


def read_reported(entries: Any) -> tuple[ReportedValue, ...]:
    """The values of a run's entry in a plan; what has no number is left out.

    Of an older plan, what was not written then has its default. What a newer version may have
    written is kept as text and never compared.
    """
    values = map(_value, map(mapping, entries if isinstance(entries, list) else ()))
    return tuple(value for value in values if value is not None)


def _value(entry: Mapping[str, Any]) -> ReportedValue | None:
    value = number(entry.get("value"))
    if value is None:
        return None
    parts: dict[str, Any] = {
        key: printable(entry[key])
        for key in ("evidence", "statistic", "note", *CHOICES)
        if isinstance(entry.get(key), str)
    }
    parts |= {
        key: int(given)
        for key in ("epoch", "until")
        if (given := number(entry.get(key))) is not None and given == int(given) > 0
    }
    parts["precision"] = number(entry.get("precision"))
    for measure, reached in mapping(entry.get("threshold")).items():
        if measure in MEASURES and (reached := number(reached)) is not None:
            parts["threshold"] = measure, reached
    axes = entry.get("best_over")
    if isinstance(axes, list) and axes:
        parts["best_over"] = tuple(map(printable, axes))
        parts["at"] = tuple(
            (printable(key), tuple(map(printable, at)) if isinstance(at, list) else printable(at))
            for key, at in mapping(entry.get("at")).items()
        )
    return ReportedValue(value=value, **{"evidence": ""} | in_todays_words(parts))
