"""What sweeps planned: `<root>/sweeps/*/plan.json`, and the states of their queues.

Results come from the runs' records; a queue only says why a run has none.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.records.reported import read_reported
from benchmarks.records.untrusted import mapping, number, printable, read_object, shortened
from engine.sweep.reported import ReportedValue

FORMATS = (1, 2)  # they differ in what is not read here: the configurations


@dataclass(frozen=True)
class PlanEntry:
    """One run of a sweep's plan, whether it has run or not."""

    sweep: str
    scale: float  # of the epochs
    limit: int  # of the training images
    name: str  # `4.1/resnet1111/s0`
    report: str
    experiment: str
    title: str
    recipe: str
    why: str
    variant: str
    params: int | None
    differs: Mapping[str, Any]
    fingerprint: str
    reported: tuple[ReportedValue, ...]
    notes: tuple[str, ...]

    @property
    def label(self) -> str:
        """What distinguishes it from the other runs of its experiment, without the seed."""
        parts = self.name.split("/")
        inner = parts[1:-1] if len(parts) > 2 else parts[:1]
        return "/".join(inner) or self.variant

    @property
    def seed(self) -> str:
        """The last part of its name, `s0`."""
        return self.name.rpartition("/")[2]

    @property
    def section(self) -> str:
        """The report that it reproduces, or else its sweep."""
        return self.report or self.sweep

    @property
    def heading(self) -> str:
        """Its experiment by number and title."""
        return f"{self.experiment} {self.title}"


@dataclass
class SweepPlans:
    """All plans of a folder of runs."""

    entries: list[PlanEntry] = field(default_factory=list)
    sweeps: list[str] = field(default_factory=list)
    queued: dict[str, tuple[str, str]] = field(default_factory=dict)  # fingerprint: state, error
    problems: list[str] = field(default_factory=list)

    @property
    def by_fingerprint(self) -> dict[str, PlanEntry]:
        """Of a run that several sweeps share, the first entry."""
        return {entry.fingerprint: entry for entry in reversed(self.entries)}

    @property
    def sharing(self) -> dict[str, list[PlanEntry]]:
        """By fingerprint, all experiments of a run, each once."""
        entries: dict[str, dict[tuple[str, str], PlanEntry]] = {}
        for entry in self.entries:
            names = entries.setdefault(entry.fingerprint, {})
            names.setdefault((entry.section, entry.name), entry)
        return {fingerprint: list(names.values()) for fingerprint, names in entries.items()}

    @property
    def scales(self) -> dict[str, float]:
        """By fingerprint, how far a run's epochs were scaled."""
        return {entry.fingerprint: entry.scale for entry in self.entries}


def read(root: Path) -> SweepPlans:
    """Every plan below `root`; one that cannot be read is a problem, and the others are read."""
    plans = SweepPlans()
    folder = root / "sweeps"
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.is_dir() and not path.name.startswith("."):
            _read_plan(path, plans)
            _read_queue(path / "queue.sqlite", plans)
    return plans


def _read_plan(folder: Path, plans: SweepPlans) -> None:
    name = printable(f"sweeps/{folder.name}/plan.json")
    missing = "missing; the sweep was stopped before it began"
    problems: list[str] = []
    content = read_object(folder / "plan.json", problems, name=name, missing=missing)
    runs = content.get("runs")
    if not problems and not isinstance(runs, list):
        problems.append(f"{name}: has no list of runs; damaged or not a plan")
    plans.problems += problems
    if not isinstance(runs, list):
        return
    if content.get("format") not in FORMATS:
        found = shortened(content.get("format"))
        plans.problems.append(
            f"{name}: format {found}, expected {FORMATS[-1]}; read as far as possible"
        )
    sweep = _word(content.get("sweep")) or printable(folder.name)
    plans.sweeps.append(sweep)
    conditions = mapping(content.get("conditions"))
    scale, limit = (number(conditions.get(key)) for key in ("epochs_scale", "data_limit"))
    wrong = 0
    for entry in map(mapping, runs):
        if isinstance(entry.get("fingerprint"), str):
            plans.entries.append(_entry(sweep, 1.0 if scale is None else scale, limit, entry))
        else:
            wrong += 1
    if wrong:
        plans.problems.append(f"{name}: {wrong} of {len(runs)} runs are not readable")


def _entry(sweep: str, scale: float, limit: float | None, entry: Mapping[str, Any]) -> PlanEntry:
    params = number(entry.get("params"))
    return PlanEntry(
        sweep=sweep,
        scale=scale,
        limit=int(limit or 0),
        name=_word(entry.get("name")) or _word(entry.get("folder")) or "unnamed",
        report=_word(entry.get("report")),
        experiment=_word(entry.get("experiment")),
        title=_word(entry.get("title")),
        recipe=_word(entry.get("recipe")),
        why=_word(entry.get("why")),
        variant=_word(entry.get("variant")),
        params=None if params is None else int(params),
        differs=mapping(entry.get("differs")),
        fingerprint=entry["fingerprint"],
        reported=read_reported(entry.get("reported")),
        notes=tuple(filter(None, map(_word, _list(entry.get("notes"))))),
    )


def _read_queue(path: Path, plans: SweepPlans) -> None:
    """The states and errors in a queue, which is not changed by it."""
    if not path.is_file():
        return
    uri = f"{path.resolve().as_uri()}?mode=ro"
    try:
        with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=2)) as queue:
            rows = queue.execute("SELECT fingerprint, state, error FROM runs").fetchall()
    except sqlite3.Error as error:
        plans.problems.append(printable(f"sweeps/{path.parent.name}/{path.name}: {error}"))
        return
    for fingerprint, state, message in rows:
        lines = [printable(line) for line in str(message or "").splitlines() if line.strip()]
        plans.queued[str(fingerprint)] = (printable(state or ""), "\n".join(lines[-3:]))


def _word(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return ""
    return printable(value)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
