"""What only a fresh process can tell: first batches, cold and warm, peak memory, leaks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.loader import startup_child
from benchmarks.loader.startup_child import Task
from benchmarks.measuring.turns import Spread
from engine.errors import RunFailed

ROOT = Path(__file__).resolve().parents[2]
SECONDS_AT_MOST = 300.0
CACHE = "NUMBA_CACHE_DIR"
TIMES = (
    "import_seconds",
    "constructor_seconds",
    "first_batch_seconds",
    "process_to_first_batch_seconds",
    "usual_batch_seconds",
)
BYTES = ("peak_bytes", "peak_bytes_of_imports")


@dataclass(frozen=True)
class Start:
    """What several fresh processes say of a loader's start."""

    figures: dict[str, Spread]
    gaps: Spread | None  # between epochs; None where an epoch has too few batches
    set_bytes: int | None  # what the loader says it holds; None where it does not say

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        found: dict[str, Any] = {name: each.as_json() for name, each in self.figures.items()}
        found["epoch_gap_seconds"] = self.gaps.as_json() if self.gaps else None
        found["set_bytes"] = self.set_bytes
        return found


def starts(task: Task, repeats: int) -> tuple[Start, Start]:
    """Starts with an empty compile cache, and starts with a filled one.

    FFCV keeps none: its starts are all alike, and stand for both.
    """
    with tempfile.TemporaryDirectory(prefix="loader-benchmark-cache-") as folder:
        cold = [_run(task, Path(folder) / str(number)) for number in range(repeats)]
        filled = Path(folder) / "0"
        warm = cold if task.loader == "ffcv" else [_run(task, filled) for _ in range(repeats)]
    return _start(cold), _start(warm)


def exits(task: Task) -> dict[str, Any]:
    """What is left of many early exits."""
    with tempfile.TemporaryDirectory(prefix="loader-benchmark-cache-") as folder:
        return _run(replace(task, kind="exits"), Path(folder))


def _start(answers: list[dict[str, Any]]) -> Start:
    figures = {name: Spread(tuple(answer[name] for answer in answers)) for name in (*TIMES, *BYTES)}
    gaps = [gap for answer in answers for gap in answer["epoch_gap_seconds"]]
    return Start(figures, Spread(tuple(gaps)) if gaps else None, answers[0]["set_bytes"])


def _run(task: Task, cache: Path) -> dict[str, Any]:
    environment = _environment(os.environ, cache)
    argument = startup_child.as_argument(replace(task, started=time.monotonic()))
    done = subprocess.run(
        [sys.executable, "-m", startup_child.__name__, argument],
        capture_output=True,
        text=True,
        timeout=SECONDS_AT_MOST,
        env=environment,
        check=False,
    )
    # FFCV can crash as its process ends, long after its figures are said: that is one of them.
    answer = answer_of(done, f"{task.loader}, {task.kind},", may_crash=task.loader != "ours")
    return answer | {"exit_code": done.returncode}


def answer_of(
    done: subprocess.CompletedProcess[str], who: str, *, may_crash: bool = False
) -> dict[str, Any]:
    """What a fresh process said in its last line, as JSON."""
    lines = done.stdout.strip().splitlines()
    if not lines or (done.returncode and not may_crash):
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise RunFailed(f"a fresh process for {who} failed: {said}")
    answer: dict[str, Any] = json.loads(lines[-1])
    return answer


def _environment(before: Mapping[str, str], cache: Path) -> dict[str, str]:
    """That of this process, with the compile cache elsewhere and this very code to import."""
    path = os.pathsep.join(filter(None, (str(ROOT), before.get("PYTHONPATH"))))
    return {**before, CACHE: str(cache), "PYTHONPATH": path}
