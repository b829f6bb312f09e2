"""The sections about fresh processes: first batches, and what early exits leave behind."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks.loader import startup_child
from benchmarks.loader.benchmark import LoaderBenchmark
from benchmarks.loader.peers import ours
from benchmarks.loader.startup_child import Task
from benchmarks.measuring import child
from benchmarks.measuring.results import Results
from benchmarks.measuring.turns import Spread

REPEATS, QUICK_REPEATS = 3, 1
EXITS, QUICK_EXITS = 1000, 200
FFCV_EXITS = 20  # FFCV keeps a thread and its buffers for each
SECONDS_AT_MOST = 300.0
JUDGED = "ours, resident"  # the goals apply to this one
LEAKS = ("threads", "descriptors")
FIGURES = (
    "import_seconds",
    "constructor_seconds",
    "first_batch_seconds",
    "process_to_first_batch_seconds",
    "usual_batch_seconds",
    "peak_bytes",
    "peak_bytes_of_imports",
)


def starts(bench: LoaderBenchmark) -> None:
    """First batches in fresh processes, of the original file with its sidecar."""
    table = bench.results.details.setdefault("starts", {})
    repeats = QUICK_REPEATS if bench.quick else REPEATS
    for name, task in _tasks(bench).items():
        bench.say(f"  {name}: fresh processes")
        cold, warm = _starts(task, repeats)
        if task.loader == "ffcv":
            table[name] = {"has none": cold}
        else:
            table[name] = {"empty": cold, "filled": warm}
        if name == JUDGED:
            _note(bench.results, cold, warm)


def early_exits(bench: LoaderBenchmark) -> None:
    """Threads, descriptors and memory that are left by epochs ended at their first batch."""
    table = bench.results.details.setdefault("early_exits", {})
    leaked = []
    for name, task in _tasks(bench).items():
        bench.say(f"  {name}: {task.exits:,} epochs ended at their first batch")
        with tempfile.TemporaryDirectory(prefix="loader-benchmark-cache-") as folder:
            # What FFCV leaves does not depend on its pipeline, and this one compiles in a second.
            table[name] = left = measure(
                replace(task, kind="exits", pipeline="decode"), Path(folder)
            )
        if task.loader == "ours":
            leaked += [left["after"][key] - left["before"][key] for key in LEAKS]
    bench.results.figure("leaked", max(leaked))


def measure(task: Task, cache: Path) -> dict[str, Any]:
    """What a fresh process measures; FFCV may crash as its process ends, after its answer."""
    answer, code = child.answer(
        startup_child.__name__,
        asdict(task),
        cache=cache,
        seconds=SECONDS_AT_MOST,
        may_crash=task.loader != "ours",
    )
    return answer | {"exit_code": code}


def _starts(task: Task, repeats: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Starts with an empty compile cache, and starts with a filled one.

    FFCV keeps none: its starts are all alike, and stand for both.
    """
    with tempfile.TemporaryDirectory(prefix="loader-benchmark-cache-") as name:
        folder = Path(name)
        cold = [measure(task, folder / str(number)) for number in range(repeats)]
        if task.loader == "ffcv":
            warm = cold
        else:
            warm = [measure(task, folder / "0") for _ in range(repeats)]
    return _together(cold), _together(warm)


def _together(answers: list[dict[str, Any]]) -> dict[str, Any]:
    """The figures of several processes; no gaps where an epoch has too few batches."""
    gaps = tuple(gap for answer in answers for gap in answer["epoch_gap_seconds"])
    spreads = {name: Spread(tuple(answer[name] for answer in answers)) for name in FIGURES}
    return {name: spread.as_json() for name, spread in spreads.items()} | {
        "epoch_gap_seconds": Spread(gaps).as_json() if gaps else None,
        "set_bytes": answers[0]["set_bytes"],  # of the images in memory, where the loader knows
    }


def _note(results: Results, cold: dict[str, Any], warm: dict[str, Any]) -> None:
    results.figure("first_batch_seconds_cold", cold["first_batch_seconds"]["median"])
    results.figure("first_batch_seconds_warm", warm["first_batch_seconds"]["median"])
    results.figure("constructor_seconds", warm["constructor_seconds"]["median"])
    if warm["epoch_gap_seconds"] is None:
        results.missing["epoch_gap_seconds"] = "an epoch has too few batches"
    else:
        results.figure("epoch_gap_seconds", warm["epoch_gap_seconds"]["median"])


def _tasks(bench: LoaderBenchmark) -> dict[str, Task]:
    path, batch_size, threads = str(bench.files.source), bench.batch_size, bench.threads
    exits = QUICK_EXITS if bench.quick else EXITS
    tasks = {
        f"ours, {mode}": Task("start", "ours", path, batch_size, threads, mode, exits=exits)
        for mode in ours.MODES
    }
    return tasks | {"FFCV": Task("start", "ffcv", path, batch_size, threads, exits=FFCV_EXITS)}
