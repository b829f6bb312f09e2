"""Goals beside what was measured: met or missed is computed, never written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from benchmarks.measuring.results import Results
from benchmarks.measuring.units import in_unit


@dataclass(frozen=True)
class Goal:
    """A limit for a figure."""

    name: str
    what: str
    key: str  # of the figure
    limit: float
    at_least: bool
    unit: str = ""
    variant: str = ""  # where the figure is that of one network


def judged(goals: Iterable[Goal], results: Results) -> list[dict[str, Any]]:
    """Every goal with what was measured: `met`, `missed` or `not measured`."""
    rows = []
    for goal in goals:
        value, key = results.value(goal.key, goal.variant), f"{goal.key} {goal.variant}".rstrip()
        verdict = "not measured"
        if value is not None:
            reached = value >= goal.limit if goal.at_least else value <= goal.limit
            verdict = "met" if reached else "missed"
        rows.append(
            {
                "goal": goal.name,
                "what": goal.what,
                "key": key,
                "wanted": f"at {'least' if goal.at_least else 'most'} "
                f"{in_unit(goal.limit, goal.unit)}",
                "unit": goal.unit,
                "measured": value,
                "verdict": verdict,
                "reason": results.missing.get(key),
            }
        )
    return rows
