"""What the benchmarks of loader and step left in their JSON files, by machine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.measuring.units import in_unit
from benchmarks.records.untrusted import clean, mapping, plain, shown

FEED = {  # the stages before the step, as the loader's benchmark names them
    "raw gather": "ours, raw gather",
    "crop, flip, uint8": "ours, resident, uint8",
    "crop, flip, float32": "ours, resident, float32",
    "crop, flip, bfloat16": "ours, resident, bfloat16",
}


@dataclass(frozen=True)
class Pair:
    """Two contenders in turns: images a second, and how many times faster the first was."""

    name: str
    first: float
    second: float
    ratio: float
    low: float
    high: float


@dataclass
class Bench:
    """All that was measured on one machine."""

    machine: str  # the folder's name
    conditions: list[str] = field(default_factory=list)  # a line a file
    feed: dict[str, float] = field(default_factory=dict)  # images/s of each stage
    steps: dict[str, float] = field(default_factory=dict)  # images/s by network
    pairs: dict[str, list[Pair]] = field(default_factory=dict)  # by `loader` and `step`
    tflops: dict[str, float] = field(default_factory=dict)  # of the step, by network
    peaks: dict[str, float] = field(default_factory=dict)  # TFLOP/s of a matrix product
    precisions: dict[str, str] = field(default_factory=dict)  # of these products
    bandwidth: float | None = None  # bytes/s of a copy
    goals: list[dict[str, str]] = field(default_factory=list)
    tables: dict[str, list[dict[str, str]]] = field(default_factory=dict)  # by title


def read(folder: Path, problems: list[str]) -> list[Bench]:
    """The machines below `folder`, each a folder of JSON files; unreadable ones are problems."""
    benches = []
    for below in sorted(path for path in folder.iterdir()) if folder.is_dir() else []:
        if not below.is_dir() or below.name.startswith("."):
            continue
        bench = Bench(clean(below.name))
        for path in sorted(below.glob("*.json")):
            _read_file(path, bench, problems)
        if bench.conditions:
            benches.append(bench)
    return benches


def _read_file(path: Path, bench: Bench, problems: list[str]) -> None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        problems.append(clean(f"{path.parent.name}/{path.name}: not readable as JSON"))
        return
    if content.get("rehearsal") is True:
        return  # tiny sizes, to try the commands: no figures
    if isinstance(content.get("result"), dict):  # a part of benchmarks.gpu
        content = content["result"]
    details = mapping(content.get("details"))
    if "ratio_vs_plain" in content:
        kind = "step"
        _read_step(content, details, bench)
    elif "ratio_uint8_vs_ffcv" in content:
        kind = "loader"
        _read_loader(details, bench)
    else:
        return  # another benchmark's file
    pairs = [
        _pair(clean(name), mapping(each)) for name, each in mapping(details.get("pairs")).items()
    ]
    bench.pairs.setdefault(kind, []).extend(pair for pair in pairs if pair is not None)
    bench.conditions.append(
        f"{clean(path.name)}: {_conditions(mapping(content.get('conditions')))}"
    )
    for goal in map(_goal, content.get("goals") or []):
        known = [g for g in bench.goals if (g["goal"], g["what"]) == (goal["goal"], goal["what"])]
        if not known:
            bench.goals.append(goal)
        elif known[0]["measured"] == "–":  # parts in files of their own measure a goal each
            known[0].update(goal)
    for title, rows in mapping(details.get("tables")).items():
        if isinstance(rows, list):
            bench.tables[clean(title)] = [_row(mapping(row)) for row in rows]


def _read_loader(details: Mapping[str, Any], bench: Bench) -> None:
    rates = mapping(details.get("images_per_second"))
    for stage, name in FEED.items():
        rate = plain(mapping(rates.get(name)).get("median"))
        if rate:
            bench.feed[stage] = rate
    _read_kernels(details, bench)
    copies = plain(mapping(rates.get("ceiling, copy")).get("median"))
    if copies:
        bench.bandwidth = copies * 2 * 3072  # an image is read and written


def _read_kernels(details: Mapping[str, Any], bench: Bench) -> None:
    """The fused augmentation of a GPU, as images a second."""
    for name, batches in mapping(details.get("gpu_seconds_per_50000")).items():
        for batch, spread in mapping(batches).items():
            seconds = plain(mapping(spread).get("median"))
            if seconds:
                bench.feed[clean(f"{name}, batch {batch}")] = 50_000 / seconds


def _read_step(content: Mapping[str, Any], details: Mapping[str, Any], bench: Bench) -> None:
    peaks = mapping(details.get("matmul_peak_tflops"))
    for variant, rate in mapping(content.get("images_per_second")).items():
        found = plain(rate)
        if not found:
            continue
        name = clean(variant)
        bench.steps[name] = found
        tflops = plain(mapping(content.get("tflops")).get(variant))
        peak = mapping(peaks.get(variant))
        limit = plain(peak.get("tflops"))
        if tflops and limit:
            bench.tflops[name], bench.peaks[name] = tflops, limit
            bench.precisions[name] = clean(peak.get("precision", ""))


def _pair(name: str, content: Mapping[str, Any]) -> Pair | None:
    ratio = mapping(content.get("ratio"))
    rates = [_median(content.get(key)) for key in ("first", "second")]
    numbers = [*rates, *(plain(ratio.get(key)) for key in ("median", "min", "max"))]
    if any(not number for number in numbers):
        return None
    return Pair(name, *(float(number or 0) for number in numbers))


def _median(values: Any) -> float | None:
    numbers = [plain(value) for value in values] if isinstance(values, list) else []
    known = sorted(number for number in numbers if number is not None)
    if not known:
        return None
    middle = len(known) // 2
    return known[middle] if len(known) % 2 else (known[middle - 1] + known[middle]) / 2


def _conditions(known: Mapping[str, Any]) -> str:
    versions = mapping(known.get("versions"))
    parts = [known.get("gpu"), known.get("cpu"), f"{known.get('threads', '?')} threads"]
    parts.append(f"batch {known.get('batch_size', '?')}")
    parts.append(f"{known.get('pairs', '?')} pairs")
    parts.append(f"torch {versions.get('torch', '?')}")
    parts.append(
        f"load {known.get('load_before', '?')} before, {known.get('load_after', '?')} after"
    )
    parts.append("--quick: indicative only" if known.get("quick") else None)
    return clean(", ".join(str(part) for part in parts if part))


def _row(row: Mapping[str, Any]) -> dict[str, str]:
    """A line of a table as people read it."""
    found = {}
    for key, value in row.items():
        number = plain(value)
        text = "–" if value is None else shown(value)
        found[clean(key)] = text if number is None else f"{number:,.4g}"
        if number is not None and abs(number) >= 1000:
            found[clean(key)] = f"{number:,.0f}"
    return found


def _goal(given: Any) -> dict[str, str]:
    goal = mapping(given)
    measured = plain(goal.get("measured"))
    unit = str(goal.get("unit") or "")
    return {
        "goal": clean(goal.get("goal", "")),
        "what": clean(goal.get("what", "")),
        "wanted": clean(goal.get("wanted", "")),
        "measured": "–" if measured is None else in_unit(measured, unit),
        "verdict": clean(goal.get("verdict", "")),
        "reason": clean(goal.get("reason") or ""),
    }
