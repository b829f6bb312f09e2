"""What sweeps planned: `<root>/sweeps/*/plan.json`, and how far their queues are.

Results come from the runs' records; a queue is only asked why a run has none.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.records.untrusted import clean, mapping, plain, shown

FORMAT = 1


@dataclass(frozen=True)
class Claim:
    """A figure that somebody reported, in per cent, and how they chose it."""

    value: float
    evidence: str  # report, log, ancestor or quoted
    statistic: str  # best, last, moving, batchmean, validation_best or unknown
    note: str = ""


@dataclass(frozen=True)
class Planned:
    """One run of a sweep, before or after it ran."""

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
    petaflops: float | None
    seed: int | None
    config: Mapping[str, Any]
    differs: Mapping[str, Any]
    fingerprint: str
    folder: str
    reported: tuple[Claim, ...]
    notes: tuple[str, ...]

    @property
    def label(self) -> str:
        """What tells it from the other runs of its experiment, without the seed."""
        parts = self.name.split("/")
        inner = parts[1:-1] if len(parts) > 2 else parts[:1]
        return "/".join(inner) or self.variant


@dataclass
class Plans:
    """All plans of a folder of runs."""

    runs: list[Planned] = field(default_factory=list)
    titles: dict[str, str] = field(default_factory=dict)  # of sweeps, by name
    queued: dict[str, tuple[str, str]] = field(default_factory=dict)  # fingerprint: state, error
    problems: list[str] = field(default_factory=list)

    @property
    def scales(self) -> dict[str, float]:
        """By fingerprint, how far a run's epochs were scaled."""
        return {run.fingerprint: run.scale for run in self.runs}


def read(root: Path) -> Plans:
    """Every plan below `root`; one that cannot be read is a problem, named, and the rest counts."""
    plans = Plans()
    folder = root / "sweeps"
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.is_dir() and not path.name.startswith("."):
            _read_plan(path, plans)
            _read_queue(path / "queue.sqlite", plans)
    return plans


def _read_plan(folder: Path, plans: Plans) -> None:
    path = folder / "plan.json"
    where = clean(f"sweeps/{folder.name}/plan.json")
    try:
        content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    except (OSError, ValueError, RecursionError):
        content = None
    if not isinstance(content, dict) or not isinstance(content.get("runs"), list):
        plans.problems.append(f"{where}: not readable as a plan; damaged, half-written or missing")
        return
    if content.get("format") != FORMAT:
        found = shown(content.get("format"))
        plans.problems.append(f"{where}: format {found}, this reads {FORMAT}; read as far as it is")
    sweep = _word(content.get("sweep")) or clean(folder.name)
    plans.titles[sweep] = _word(content.get("title")) or sweep
    conditions = mapping(content.get("conditions"))
    scale = plain(conditions.get("epochs_scale"))
    limit = plain(conditions.get("data_limit"))
    wrong = 0
    for entry in content["runs"]:
        if not isinstance(entry, dict) or not isinstance(entry.get("fingerprint"), str):
            wrong += 1
            continue
        plans.runs.append(_planned(sweep, 1.0 if scale is None else scale, int(limit or 0), entry))
    if wrong:
        plans.problems.append(f"{where}: {wrong} of {len(content['runs'])} runs are not readable")


def _planned(sweep: str, scale: float, limit: int, entry: Mapping[str, Any]) -> Planned:
    params, seed = plain(entry.get("params")), plain(entry.get("seed"))
    return Planned(
        sweep=sweep,
        scale=scale,
        limit=limit,
        name=_word(entry.get("name")) or _word(entry.get("folder")) or "unnamed",
        report=_word(entry.get("report")),
        experiment=_word(entry.get("experiment")),
        title=_word(entry.get("title")),
        recipe=_word(entry.get("recipe")),
        why=_word(entry.get("why")),
        variant=_word(entry.get("variant")),
        params=None if params is None else int(params),
        petaflops=plain(entry.get("petaflops")),
        seed=None if seed is None else int(seed),
        config=mapping(entry.get("config")),
        differs=mapping(entry.get("differs")),
        fingerprint=entry["fingerprint"],
        folder=_word(entry.get("folder")),
        reported=tuple(_claims(entry.get("reported"))),
        notes=tuple(_word(note) for note in _list(entry.get("notes")) if _word(note)),
    )


def _claims(given: Any) -> Iterator[Claim]:
    for entry in map(mapping, _list(given)):
        value = plain(entry.get("value"))
        if value is not None:
            statistic = _word(entry.get("statistic")) or "unknown"
            yield Claim(value, _word(entry.get("evidence")), statistic, _word(entry.get("note")))


def _read_queue(path: Path, plans: Plans) -> None:
    """States and last lines of a queue, read without touching it."""
    if not path.is_file():
        return
    try:
        with contextlib.closing(_connection(path)) as queue:
            rows = queue.execute("SELECT fingerprint, state, error FROM runs").fetchall()
    except sqlite3.Error as error:
        plans.problems.append(clean(f"sweeps/{path.parent.name}/{path.name}: {error}"))
        return
    for fingerprint, state, said in rows:
        plans.queued[str(fingerprint)] = (clean(state or ""), _last_lines(said))


def _connection(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=2)


def _last_lines(said: Any) -> str:
    lines = [clean(line) for line in str(said or "").splitlines() if line.strip()]
    return "\n".join(lines[-3:])


def _word(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return ""
    return clean(value)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
