"""The sections about processes: first batches, cold and warm, and what early exits leave behind."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.loader import processes
from benchmarks.loader.against_peers import Bench
from benchmarks.loader.peers import ours
from benchmarks.loader.processes import Start
from benchmarks.loader.startup_child import Task
from benchmarks.measuring.results import Findings

REPEATS, QUICK_REPEATS = 3, 1
EXITS, QUICK_EXITS = 1000, 200
FFCV_EXITS = 20  # FFCV keeps a thread and its buffers for each
JUDGED = "ours, resident"  # what the goals are held to; the others stand beside it
LEAKS = ("threads", "descriptors")


def starts(bench: Bench) -> None:
    """First batches in fresh processes, of the original file with its sidecar."""
    table = bench.found.details.setdefault("starts", {})
    repeats = QUICK_REPEATS if bench.quick else REPEATS
    for name, task in _loaders(bench).items():
        bench.say(f"  {name}: fresh processes")
        cold, warm = processes.starts(task, repeats)
        if task.loader == "ffcv":
            table[name] = {"has none": cold.as_json()}
        else:
            table[name] = {"empty": cold.as_json(), "filled": warm.as_json()}
        if name == JUDGED:
            _judged(bench.found, cold, warm)


def early_exits(bench: Bench) -> None:
    """Epochs left at their first batch: what they cost for ever."""
    table = bench.found.details.setdefault("early_exits", {})
    leaked = []
    for name, task in _loaders(bench).items():
        bench.say(f"  {name}: {task.exits:,} epochs left at their first batch")
        # What FFCV leaves does not depend on its pipeline, and this one compiles in a second.
        table[name] = left = processes.exits(replace(task, pipeline="decode"))
        if task.loader == "ours":
            leaked += [left["after"][key] - left["before"][key] for key in LEAKS]
    bench.found.number("leaked", max(leaked))


def _judged(found: Findings, cold: Start, warm: Start) -> None:
    for state, each in (("cold", cold), ("warm", warm)):
        seconds = each.figures["first_batch_seconds"].median
        found.number(f"first_batch_seconds_{state}", seconds)
    found.number("constructor_seconds", warm.figures["constructor_seconds"].median)
    if warm.gaps is not None:
        found.number("epoch_gap_seconds", warm.gaps.median)
    else:
        found.missing["epoch_gap_seconds"] = "an epoch has too few batches"


def _loaders(bench: Bench) -> dict[str, Task]:
    path, batch_size, threads = str(bench.files.source), bench.batch_size, bench.threads
    exits = QUICK_EXITS if bench.quick else EXITS
    tasks = {
        f"ours, {mode}": Task("start", "ours", path, batch_size, threads, mode, exits=exits)
        for mode in ours.MODES
    }
    return tasks | {"FFCV": Task("start", "ffcv", path, batch_size, threads, exits=FFCV_EXITS)}
