"""The reported values in docs/fidelity.md, from the sweep files: `python -m tools.fidelity`.

It replaces what lies between a report's markers and leaves the rest of the page; a test fails when
the page no longer has what the sweep files have.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from engine.sweep.experiments import Experiment
from engine.sweep.files import read_files
from engine.sweep.points import points_of
from engine.sweep.reported import PARAMETERS, ReportedValue

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "fidelity.md"
SWEEPS = ROOT / "configs" / "sweeps"
BLOCK = re.compile(r"(<!-- values of (\d{3}) -->\n).*?(<!-- end of values -->)", re.DOTALL)


def page(text: str) -> str:
    """The page `text` with today's values between its markers."""
    return BLOCK.sub(lambda match: match[1] + table(match[2]) + match[3], text)


def table(report: str) -> str:
    """All reported values of a report, a line per experiment, and how many there are."""
    files = read_files([SWEEPS / f"report_{report}.yaml"])
    rows = ["| experiment | title | reported values |", "|---|---|---|"]
    kinds: Counter[str] = Counter()
    for experiment in files.experiments:
        values = _values(experiment)
        for value in values:
            kinds[PARAMETERS if value.measure == PARAMETERS else value.evidence] += 1
        by_evidence: dict[str, list[str]] = {}
        for value in values:
            by_evidence.setdefault(value.evidence, []).append(_words(value))
        cell = "<br>".join(f"{key}: {', '.join(each)}" for key, each in by_evidence.items())
        rows.append(f"| {experiment.id} | {experiment.title} | {cell or 'none'} |")
    total = ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items()))
    return f"In `report_{report}.yaml`: {total}.\n\n" + "\n".join(rows) + "\n"


def _values(experiment: Experiment) -> list[ReportedValue]:
    """Each value once, in the order of the experiment's runs."""
    problems: list[str] = []
    points = points_of(experiment, problems)
    if problems:
        raise ValueError("; ".join(problems))
    return list(dict.fromkeys(value for point in points for value in point.reported))


def _words(value: ReportedValue) -> str:
    words = value.text
    if value.at:
        words += " at " + ", ".join(f"{key} {_one(each)}" for key, each in value.at)
    if value.read == "figure":
        words += f" (figure, ± {value.precision:g})"
    return words + (" (another run: not judged)" if value.run == "other" else "")


def _one(value: object) -> str:
    return " or ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def main(argv: Sequence[str] = ()) -> int:
    """Write the page."""
    TARGET.write_text(page(TARGET.read_text("utf-8")), "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
