"""One measurement in a process of its own: `python -m benchmarks.loader.startup_child TASK`.

The parent (`benchmarks.measuring.child`) gives the task as JSON and reads the last line of stdout.
Nothing heavy is imported before the clock is read.
"""

from __future__ import annotations

import time

BEGAN = time.monotonic()

import itertools  # noqa: E402
import json  # noqa: E402
import statistics  # noqa: E402
import sys  # noqa: E402
from collections.abc import Callable, Iterator  # noqa: E402
from dataclasses import dataclass  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

EPOCHS_FOR_GAPS = 6
WARM_EXITS = 20


@dataclass(frozen=True)
class Task:
    """What to measure."""

    kind: str  # start, exits
    loader: str  # ours, ffcv
    path: str
    batch_size: int
    threads: int
    mode: str = "resident"  # ours only
    pipeline: str = "float32"  # FFCV's only
    exits: int = 0
    started: float = 0.0  # the parent's clock when it started this process


def main(text: str) -> dict[str, Any]:
    """Do the task; its figures."""
    task = Task(**json.loads(text))
    open_loader = _importing(task)
    imported = time.monotonic()
    figures = (start if task.kind == "start" else exits)(task, open_loader)
    return {
        "import_seconds": imported - BEGAN,
        "interpreter_seconds": BEGAN - task.started,
        **figures,
    }


def start(task: Task, open_loader: Callable[[], Any]) -> dict[str, Any]:
    """The first augmented batch, then the gaps between epochs and the memory at its peak."""
    from benchmarks.loader.turns import touch
    from benchmarks.measuring import machine

    before = machine.peak_memory()
    began = time.monotonic()
    loader = open_loader()
    opened = time.monotonic()
    batches = _epoch(loader, 0)
    images, labels = next(batches)
    float(touch(images) + labels.sum())
    first = time.monotonic()
    del images, labels
    for images, _ in batches:
        touch(images)
    gaps, usual = _gaps(loader)
    return {
        "constructor_seconds": opened - began,
        "first_batch_seconds": first - began,
        "process_to_first_batch_seconds": first - task.started,
        "epoch_gap_seconds": gaps,
        "usual_batch_seconds": usual,
        "set_bytes": getattr(loader, "memory_bytes", None),  # FFCV has no such figure
        "peak_bytes": machine.peak_memory(),
        "peak_bytes_of_imports": before,
    }


def exits(task: Task, open_loader: Callable[[], Any]) -> dict[str, Any]:
    """Threads, descriptors and memory before and after many epochs ended at their first batch."""
    from benchmarks.measuring import machine

    loader = open_loader()

    def leave(count: int) -> dict[str, int]:
        for number in range(count):
            for _ in _epoch(loader, number):
                break
        return {
            "threads": machine.threads(),
            "descriptors": machine.descriptors(),
            "memory_bytes": machine.memory(),
        }

    return {"exits": task.exits, "before": leave(WARM_EXITS), "after": leave(task.exits)}


def _importing(task: Task) -> Callable[[], Any]:
    """Import what the loader needs, so that the imports are timed apart from the rest."""
    path = Path(task.path)
    if task.loader == "ffcv":
        from benchmarks.loader.peers import ffcv_loader

        return lambda: ffcv_loader.open_loader(path, task.batch_size, task.pipeline, task.threads)
    import torch

    from benchmarks.loader.peers import ours

    torch.set_num_threads(task.threads)
    return lambda: ours.open_loader(path, task.batch_size, mode=task.mode, dtype=torch.float32)


def _epoch(loader: Any, number: int) -> Iterator[Any]:
    """An epoch of either loader: FFCV's is itself iterable."""
    return iter(loader.epoch(number) if hasattr(loader, "epoch") else loader)


def _gaps(loader: Any) -> tuple[list[float], float]:
    """From the last batch of an epoch to the first of the next, minus the time of a usual batch.

    The gap holds the end of one iterator, the making of the next and the wait for its first batch;
    a batch is usual when neither the first nor the last of its epoch.
    """
    from benchmarks.loader.turns import touch

    across: list[float] = []
    usual: list[float] = []
    last = 0.0
    for number in range(1, EPOCHS_FOR_GAPS + 1):
        times: list[float] = []
        for images, labels in _epoch(loader, number):
            float(touch(images) + labels.sum())
            times.append(time.monotonic())
        if last:
            across.append(times[0] - last)
        last = times[-1]
        usual += [after - before for before, after in itertools.pairwise(times[:-1])]
    batch = statistics.median(usual) if usual else 0.0
    return [gap - batch for gap in across], batch


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
