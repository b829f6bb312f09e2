"""One run in a process of its own: `python -m benchmarks.accuracies.time_to.trial TASK`.

All peers get the same threads and the same memory: what a step frees stays in the process, in huge
pages, as the engine has it. A matrix product is measured just before and just after the run.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks.accuracies.time_to.peers import Outcome, Task
from benchmarks.measuring import machine
from engine.step import memory
from engine.step.device import Machine, has_bf16_units, keep_code_in
from engine.step.rates import matmul_peak


def main(text: str) -> dict[str, Any]:
    """Run the task that is given as JSON; its outcome with its conditions."""
    content: dict[str, Any] = json.loads(text)
    content.pop("started", None)
    task = Task(**content | {"words": tuple(content.get("words", ()))})
    device = torch.device(task.device)
    load, keeps = machine.load(), device.type == "cpu" and memory.keep()
    if task.cache:
        keep_code_in(Path(task.cache))
    machine.set_threads(task.threads)
    bf16 = "bf16" if has_bf16_units(device) else "fp32"
    products = Machine(device, bf16, compile=False)
    before = matmul_peak(products)
    outcome = peer(task)
    machine.set_threads(task.threads)  # a peer may have changed them
    after = matmul_peak(products)
    return outcome.as_json() | {
        "product_tflops": [before / 1e12, after / 1e12],
        "product_precision": bf16,
        "conditions": {
            **machine.describe(task.device),
            "threads": task.threads,
            "memory": "kept in huge pages" if keeps else "as the system has it",
            "load_before": load,
            "load_after": machine.load(),
        },
    }


def peer(task: Task) -> Outcome:
    """The outcome by the peer of its kind; what the others need is not imported."""
    if task.kind == "ours":
        from benchmarks.accuracies.time_to.peers import ours

        return ours.run(task)
    if task.kind == "airbench":
        from benchmarks.accuracies.time_to.peers import airbench

        return airbench.run(task)
    from benchmarks.accuracies.time_to.peers import ffcv_example

    return ffcv_example.run(task)


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
