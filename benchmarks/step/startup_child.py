"""A start in a process of its own: `python -m benchmarks.step.startup_child TASK`.

The parent (`benchmarks.measuring.child`) gives the task as JSON and reads the last line of stdout.
Nothing heavy is imported before the clock is read.
"""

from __future__ import annotations

import time

BEGAN = time.monotonic()

import json  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402


def main(text: str) -> dict[str, float]:
    """Make the first step of a workload; what that took."""
    from benchmarks.step.peers import Workload
    from benchmarks.step.peers.ours import Ours

    imported = time.monotonic()
    task: dict[str, Any] = json.loads(text)
    cache, started, path = (task.pop(key) for key in ("cache", "started", "path"))
    trainer = Ours(Workload(path=Path(path), **task), cache=cache)
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


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
