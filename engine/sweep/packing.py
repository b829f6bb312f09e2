"""How many runs at a time: `--jobs auto`.

On a CPU a run of one thread per core, where nothing was measured: threads of one run wait for each
other at every layer, runs never. `python -m benchmarks.packing` measures it for some networks and
keeps what it finds with the machine's other measurements; then the one nearest in work decides.
On a GPU, and on a CPU after that, as many as memory allows.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch

from engine.config.schema import Config
from engine.data.stores import free_bytes
from engine.model import budget, resolve
from engine.step import device
from engine.step.measurements import known

PROCESS_BYTES = 3 << 29  # libraries and data of a run, on a CPU
CONTEXT_BYTES = 2 << 30  # on a GPU: its context, libraries and the data
TENSORS = 4  # of the size of a convolution's output: it, normalised, activated, its gradient


def key_of(cores: int, operations: int) -> str:
    """Under which a gain is kept: images/s of a run per core over those of one run of all cores."""
    return f"{_machine(cores)}{operations}"


def jobs_here(config: Config, cores: int, cache: Path | None = None) -> int:
    """How many runs like that of `config` to make at a time, on a GPU if there is one."""
    processor = device.select(config.runtime)
    free = free_bytes(processor)
    if processor.type == "cuda":
        return max(1, min(cores, free // (CONTEXT_BYTES + activation_bytes(config))))
    gain = nearest_gain(known(cache), cores, budget.flops(resolve(config.model)).training)
    jobs = cores if gain is None or gain > 1 else 1
    return max(1, min(jobs, free // (PROCESS_BYTES + activation_bytes(config))))


def activation_bytes(config: Config) -> int:
    """About what the activations of a step take."""
    width = 4 if config.runtime.precision == "fp32" else 2
    return TENSORS * width * budget.values(resolve(config.model)) * config.train.batch_size


def nearest_gain(kept: dict[str, float], cores: int, operations: int) -> float | None:
    """The gain of the measured network that is nearest in operations per image."""
    prefix = _machine(cores)
    gains = {int(key[len(prefix) :]): gain for key, gain in kept.items() if key.startswith(prefix)}
    if not gains:
        return None
    return gains[min(gains, key=lambda each: abs(math.log(each / operations)))]


def _machine(cores: int) -> str:
    return (
        f"gain of {cores} runs over one / {device.cpu_facts()[0]} / torch {torch.__version__} / "
        "operations per image: "
    )
