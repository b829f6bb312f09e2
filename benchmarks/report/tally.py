"""How many of the reported values are confirmed, each counted once.

One value may be held against several runs: two experiments share it, or its settings can be read in
two ways. It is confirmed if one of them agrees.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.report.experiments import ExperimentResult
from benchmarks.report.verdicts import AGREES, EQUAL, HIGHER, JUDGED, LOWER
from engine.sweep.reported import PARAMETERS

OPEN = "not judged"
OWN = "report"
SOURCES = {  # by evidence: whose numbers they are
    "report": OWN, "quoted": OWN, "log": "its code's logs", "ancestor": "the ancestor's logs",
}  # fmt: skip


@dataclass(frozen=True)
class Tally:
    """How many values of one source have which verdict."""

    verdicts: Counter[str]

    @property
    def confirmed(self) -> int:
        """Values that agree, or equal numbers of parameters."""
        return self.verdicts[AGREES] + self.verdicts[EQUAL]

    @property
    def judged(self) -> int:
        """Values that could be compared."""
        return sum(self.verdicts[verdict] for verdict in JUDGED)

    @property
    def text(self) -> str:
        """`12 of 20`."""
        return f"{self.confirmed} of {self.judged}"


def tallies(results: Iterable[ExperimentResult]) -> dict[str, Tally]:
    """By source; `parameters` are apart, as they need no run."""
    verdicts: dict[tuple[Any, ...], set[str]] = {}
    for result in results:
        value = result.reported
        if value is not None:
            same = replace(value, note="", run="planned")
            identity = result.plan.section, result.plan.variant, same
            verdicts.setdefault(identity, set()).add(result.verdict)
    counts: dict[str, Counter[str]] = {}
    for (*_, value), known in verdicts.items():
        source = PARAMETERS if value.measure == PARAMETERS else SOURCES.get(value.evidence, OWN)
        order = (AGREES, EQUAL, HIGHER, LOWER)
        verdict = next((each for each in order if each in known), OPEN)
        counts.setdefault(source, Counter())[verdict] += 1
    return {source: Tally(count) for source, count in counts.items()}


def headline(results: Iterable[ExperimentResult]) -> tuple[str, str] | None:
    """The reports' own values that are confirmed, and a line on the others; None without any."""
    counts = tallies(results)
    if not counts:
        return None
    own = counts.pop(OWN, Tally(Counter()))
    parts = []
    if own.judged:
        parts.append(f"{own.verdicts[HIGHER]} measured higher, {own.verdicts[LOWER]} lower")
    if waiting := own.verdicts[OPEN]:
        parts.append(f"{waiting} not judged")
    names = {PARAMETERS: "numbers of parameters"}
    parts += [f"{names.get(key, key)}: {each.text}" for key, each in counts.items() if each.judged]
    if not own.judged:
        parts.insert(0, "no full run of a report's own value is finished")
    return (own.text if own.judged else "–"), "; ".join(parts)
