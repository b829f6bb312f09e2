"""The results of the benchmarks of loader and step, read from their JSON files, by machine."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.measuring.units import in_unit
from benchmarks.records.untrusted import (
    conditions_text,
    mapping,
    number,
    numbers,
    printable,
    read_object,
    shortened,
)

FEED = {  # the stages before the step, as the loader's benchmark names them
    "raw gather": "ours, raw gather",
    "crop, flip, uint8": "ours, resident, uint8",
    "crop, flip, float32": "ours, resident, float32",
    "crop, flip, bfloat16": "ours, resident, bfloat16",
}


@dataclass(frozen=True)
class PairedRates:
    """Two contenders measured in turns: images/s, and how many times faster the first was."""

    name: str
    first: float
    second: float
    ratio: float
    low: float
    high: float


@dataclass
class MachineResults:
    """The benchmark files of one machine."""

    machine: str  # the folder's name
    conditions: list[str] = field(default_factory=list)  # a line per file
    feed: dict[str, float] = field(default_factory=dict)  # images/s of each stage
    steps: dict[str, float] = field(default_factory=dict)  # images/s by network
    pairs: dict[str, list[PairedRates]] = field(default_factory=dict)  # by `loader` and `step`
    tflops: dict[str, float] = field(default_factory=dict)  # of the step, by network
    peaks: dict[str, float] = field(default_factory=dict)  # TFLOP/s of a matrix product
    precisions: dict[str, str] = field(default_factory=dict)  # of these products
    bandwidth: float | None = None  # bytes/s of a copy
    goals: list[dict[str, str]] = field(default_factory=list)
    tables: dict[str, list[dict[str, str]]] = field(default_factory=dict)  # by title


def read(folder: Path, problems: list[str]) -> list[MachineResults]:
    """The machines below `folder`, each a folder of JSON files; unreadable ones are problems."""
    machines = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.is_dir() and not path.name.startswith("."):
            results = MachineResults(printable(path.name))
            for file in sorted(path.glob("*.json")):
                _read_file(file, results, problems)
            if results.conditions:
                machines.append(results)
    return machines


def _read_file(path: Path, results: MachineResults, problems: list[str]) -> None:
    content = read_object(path, problems, name=f"{path.parent.name}/{path.name}")
    if content.get("rehearsal") is True:
        return  # tiny sizes, to try the commands: no figures
    if isinstance(content.get("result"), dict):  # a part of benchmarks.gpu
        content = content["result"]
    details = mapping(content.get("details"))
    if "ratio_vs_plain" in content:
        kind = "step"
        _read_step(content, details, results)
    elif "ratio_uint8_vs_ffcv" in content:
        kind = "loader"
        _read_loader(details, results)
    else:
        return  # another benchmark's file
    pairs = [
        _pair(printable(name), mapping(each))
        for name, each in mapping(details.get("pairs")).items()
    ]
    results.pairs.setdefault(kind, []).extend(pair for pair in pairs if pair is not None)
    conditions = _conditions(mapping(content.get("conditions")))
    results.conditions.append(f"{printable(path.name)}: {conditions}")
    goals = content.get("goals")
    for goal in map(_goal, goals if isinstance(goals, list) else []):
        same = [g for g in results.goals if (g["goal"], g["what"]) == (goal["goal"], goal["what"])]
        if not same:
            results.goals.append(goal)
        elif same[0]["measured"] == "–":  # parts in files of their own measure a goal each
            same[0].update(goal)
    for title, rows in mapping(details.get("tables")).items():
        if isinstance(rows, list):
            results.tables[printable(title)] = [_cells(mapping(row)) for row in rows]


def _read_loader(details: Mapping[str, Any], results: MachineResults) -> None:
    rates = mapping(details.get("images_per_second"))
    for stage, name in FEED.items():
        rate = number(mapping(rates.get(name)).get("median"))
        if rate:
            results.feed[stage] = rate
    for name, batches in mapping(details.get("gpu_seconds_per_50000")).items():  # fused kernels
        for batch, spread in mapping(batches).items():
            seconds = number(mapping(spread).get("median"))
            if seconds:
                results.feed[printable(f"{name}, batch {batch}")] = 50_000 / seconds
    copies = number(mapping(rates.get("ceiling, copy")).get("median"))
    if copies:
        results.bandwidth = copies * 2 * 3072  # an image is read and written


def _read_step(
    content: Mapping[str, Any], details: Mapping[str, Any], results: MachineResults
) -> None:
    peaks = mapping(details.get("matmul_peak_tflops"))
    for variant, written in mapping(content.get("images_per_second")).items():
        rate = number(written)
        if not rate:
            continue
        name = printable(variant)
        results.steps[name] = rate
        tflops = number(mapping(content.get("tflops")).get(variant))
        peak = mapping(peaks.get(variant))
        limit = number(peak.get("tflops"))
        if tflops and limit:
            results.tflops[name], results.peaks[name] = tflops, limit
            results.precisions[name] = printable(peak.get("precision", ""))


def _pair(name: str, content: Mapping[str, Any]) -> PairedRates | None:
    ratio = mapping(content.get("ratio"))
    values = [
        *(_median(content.get(key)) for key in ("first", "second")),
        *(number(ratio.get(key)) for key in ("median", "min", "max")),
    ]
    rates = [value for value in values if value]
    return PairedRates(name, *rates) if len(rates) == len(values) else None


def _median(values: Any) -> float | None:
    known = numbers(values)
    return statistics.median(known) if known else None


def _conditions(known: Mapping[str, Any]) -> str:
    own = (f"batch {known.get('batch_size', '?')}", f"{known.get('pairs', '?')} pairs")
    more = (
        f"load {known.get('load_before', '?')} before, {known.get('load_after', '?')} after",
        "--quick: indicative only" if known.get("quick") else None,
    )
    return printable(conditions_text(known, own, more))


def _cells(row: Mapping[str, Any]) -> dict[str, str]:
    """A row of a table as text."""
    cells = {}
    for key, value in row.items():
        known = number(value)
        if known is None:
            text = "–" if value is None else shortened(value)
        else:
            text = f"{known:,.0f}" if abs(known) >= 1000 else f"{known:,.4g}"
        cells[printable(key)] = text
    return cells


def _goal(written: Any) -> dict[str, str]:
    goal = mapping(written)
    measured = number(goal.get("measured"))
    words = {key: printable(goal.get(key) or "") for key in ("goal", "what", "wanted", "verdict")}
    return words | {
        "measured": "–" if measured is None else in_unit(measured, str(goal.get("unit") or "")),
        "reason": printable(goal.get("reason") or ""),
    }
