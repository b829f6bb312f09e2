"""A start in a process of its own: `python -m benchmarks.step.startup_child` with a task as JSON.

The parent (`benchmarks.step.against_peers`) gives the task as the one argument and reads one line
of JSON from stdout. Nothing heavy is imported before the clock is read.
"""

from __future__ import annotations

import time

BEGAN = time.monotonic()

import json  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
from dataclasses import asdict  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import TYPE_CHECKING, Any  # noqa: E402

if TYPE_CHECKING:
    from benchmarks.step.peers import Task

CACHES = {
    "TORCHINDUCTOR_CACHE_DIR": "inductor",
    "TRITON_CACHE_DIR": "triton",
    "NUMBA_CACHE_DIR": "numba",
}


def main(text: str) -> dict[str, float]:
    """Make the first steps of a task; what they took."""
    content = json.loads(text)
    cache, started = content.pop("cache"), content.pop("started")
    redirect_caches(Path(cache))
    from benchmarks.step.peers import Task
    from benchmarks.step.peers.ours import Ours

    imported = time.monotonic()
    trainer = Ours(Task(**{**content, "path": Path(content["path"])}), cache=cache)
    made = time.monotonic()
    trainer.step()
    trainer.machine.wait()
    stepped = time.monotonic()
    return {
        "import_seconds": imported - BEGAN,
        "prepare_seconds": trainer.prepare_seconds,
        "make_seconds": made - imported - trainer.prepare_seconds,
        "first_step_seconds": stepped - made,
        "process_to_first_step_seconds": stepped - started,
    }


def as_argument(task: Task, cache: str) -> str:
    """A task for the command line."""
    content: dict[str, Any] = asdict(task)
    content |= {"path": str(task.path.resolve()), "cache": cache, "started": time.monotonic()}
    return json.dumps(content)


def redirect_caches(folder: Path) -> None:
    """Compiled code of torch, Triton and Numba below `folder` alone; before they are imported."""
    for variable, name in CACHES.items():
        os.environ[variable] = str(folder / name)


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
