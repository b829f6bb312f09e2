"""Records of single runs, a JSON file each, as they come: results of several calls add up.

They are read without trust, and without torch, because the report's page reads them too.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from benchmarks.records.untrusted import (
    conditions_text,
    mapping,
    number,
    numbers,
    printable,
    read_object,
    shortened,
)
from engine import atomic

FORMAT = 1
FOLDER = "time_to_accuracy"  # of a machine's results
OURS, AIRBENCH, FFCV, REPORT = "ours", "airbench94_muon", "FFCV's example", "a report's recipe"
FAMILIES = (OURS, AIRBENCH, FFCV, REPORT)  # in the order of tables


@dataclass(frozen=True)
class Point:
    """An accuracy on the way."""

    epoch: float
    seconds: float
    petaflops: float
    accuracy: float  # per cent


@dataclass(frozen=True)
class Trial:
    """One run as its record describes it; accuracies in per cent."""

    name: str
    label: str
    family: str
    setting: str
    seed: int
    rehearsal: bool
    seconds: float
    petaflops: float
    accuracy: float  # of the last weights, by a single view
    views: Mapping[str, float]  # accuracies by more views of an image
    evaluations: Mapping[str, tuple[float, float]]  # by view: seconds and PFLOPs
    epochs: float
    product_tflops: float | None  # of a matrix product beside the run
    cut_at: float | None  # seconds of training at which it was cut
    whole_petaflops: float | None  # of the recipe that was cut
    curve: tuple[Point, ...]
    conditions: str
    source: str  # where the code of a peer comes from


def file_of(folder: Path, name: str, seed: int, setting: str) -> Path:
    """Where the record of a run lies."""
    return folder / f"{name}-s{seed}-{setting[:8]}.json"


def write(path: Path, facts: Mapping[str, Any], outcome: Mapping[str, Any]) -> None:
    """Keep a run that has ended."""
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    atomic.write_json(path, {"format": FORMAT, "date": now, **facts, "outcome": dict(outcome)})


def read_all(folder: Path, problems: list[str]) -> list[Trial]:
    """Every complete record in `folder`, in the order of their names."""
    trials = []
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else []:
        content = read_object(path, problems, name=f"{folder.name}/{path.name}")
        trial = _trial(content)
        if trial is not None:
            trials.append(trial)
        elif content:
            problems.append(f"{folder.name}/{printable(path.name)}: not a record of a run")
    return trials


def _trial(content: Mapping[str, Any]) -> Trial | None:
    outcome = mapping(content.get("outcome"))
    views = {printable(name): mapping(view) for name, view in mapping(outcome.get("views")).items()}
    single = views.get("single", {})
    needed = {
        "seconds": number(outcome.get("seconds")),
        "petaflops": number(outcome.get("petaflops")),
        "accuracy": number(single.get("accuracy")),
        "epochs": number(outcome.get("epochs")),
    }
    values = {key: value for key, value in needed.items() if value is not None}
    seed = number(content.get("seed"))
    if len(values) < len(needed) or seed is None or content.get("format") != FORMAT:
        return None
    facts = mapping(outcome.get("facts"))
    accuracies = {name: number(view.get("accuracy")) for name, view in views.items()}
    cut = number(content.get("cut_at"))
    return Trial(
        name=shortened(content.get("name", "")),
        label=shortened(content.get("label", ""), 80),
        family=shortened(content.get("family", "")),
        setting=shortened(content.get("setting", ""), 64),
        seed=int(seed),
        rehearsal=content.get("rehearsal") is not False,
        seconds=values["seconds"],
        petaflops=values["petaflops"],
        accuracy=100 * values["accuracy"],
        views={
            name: 100 * value
            for name, value in accuracies.items()
            if value is not None and name != "single"
        },
        evaluations={
            name: (number(view.get("seconds")) or 0.0, number(view.get("petaflops")) or 0.0)
            for name, view in views.items()
        },
        epochs=values["epochs"],
        product_tflops=_mean(outcome.get("product_tflops")),
        cut_at=cut,
        whole_petaflops=number(mapping(facts.get("recipe")).get("petaflops")) if cut else None,
        curve=_curve(outcome.get("curve")),
        conditions=_conditions(mapping(outcome.get("conditions"))),
        source=_source(facts),
    )


def _curve(written: Any) -> tuple[Point, ...]:
    points = []
    for each in written if isinstance(written, list) else []:
        point = mapping(each)
        values = [number(point.get(key)) for key in ("epoch", "seconds", "petaflops", "accuracy")]
        known = [value for value in values if value is not None]
        if len(known) == len(values):
            epoch, seconds, petaflops, accuracy = known
            points.append(Point(epoch, seconds, petaflops, 100 * accuracy))
    return tuple(points)


def _mean(written: Any) -> float | None:
    known = numbers(written)
    return statistics.fmean(known) if known else None


def _conditions(known: Mapping[str, Any]) -> str:
    version = mapping(known.get("versions")).get("engine", "?")
    own = (f"memory {known.get('memory', '?')}",)
    return shortened(conditions_text(known, own, (f"engine {version}",)), 200)


def _source(facts: Mapping[str, Any]) -> str:
    if "repository" not in facts:
        return ""
    where = f"{facts.get('repository')} @ {facts.get('commit')}: {facts.get('file')}"
    return shortened(where, 200)
