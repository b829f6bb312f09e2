"""The sections about processes: first batches, cold and warm, and what early exits leave behind."""

from __future__ import annotations

from benchmarks import processes
from benchmarks.comparisons import Bench
from benchmarks.fresh import Task
from benchmarks.loaders import ours

REPEATS, QUICK_REPEATS = 3, 1
EXITS, FFCV_EXITS = 1000, 20  # FFCV keeps a thread and its buffers for each
LEAKS = ("threads", "descriptors")


def starts(bench: Bench) -> None:
    """First batches in fresh processes, of the original file with its sidecar."""
    table = bench.found.details.setdefault("starts", {})
    repeats = QUICK_REPEATS if bench.quick else REPEATS
    for name, task in _loaders(bench).items():
        with bench.found.missing_if_unavailable(f"start of {name}"):
            bench.say(f"  {name}: {2 * repeats} fresh processes")
            cold, warm = processes.starts(task, repeats)
            table[name] = {"empty": cold.as_json(), "filled": warm.as_json()}
            if name == "ours, resident":
                for state, each in (("cold", cold), ("warm", warm)):
                    seconds = each.figures["first_batch_seconds"].median
                    bench.found.number(f"first_batch_seconds_{state}", seconds)
                if warm.gaps is not None:
                    bench.found.number("epoch_gap_seconds", warm.gaps.median)
                else:
                    bench.found.missing["epoch_gap_seconds"] = "an epoch has too few batches"
            elif name == "ours, stream":
                seconds = warm.figures["constructor_seconds"].median
                bench.found.number("constructor_seconds", seconds)
    if "ours, stream" not in table:
        why = bench.found.missing.get("start of ours, stream", "not measured")
        bench.found.missing["constructor_seconds"] = why


def early_exits(bench: Bench) -> None:
    """Epochs left at their first batch: what they cost for ever."""
    table = bench.found.details.setdefault("early_exits", {})
    leaked = []
    for name, task in _loaders(bench).items():
        with bench.found.missing_if_unavailable(f"early exits of {name}"):
            bench.say(f"  {name}: epochs left at their first batch")
            table[name] = left = processes.exits(task)
            if task.loader == "ours":
                leaked += [left["after"][key] - left["before"][key] for key in LEAKS]
    bench.found.number("leaked", max(leaked))


def _loaders(bench: Bench) -> dict[str, Task]:
    path, batch_size, threads = str(bench.files.source), bench.batch_size, bench.threads
    tasks = {
        f"ours, {mode}": Task("start", "ours", path, batch_size, threads, mode, EXITS)
        for mode in ours.MODES
    }
    return tasks | {"FFCV": Task("start", "ffcv", path, batch_size, threads, exits=FFCV_EXITS)}
