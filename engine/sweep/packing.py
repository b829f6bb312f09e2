"""How many runs at a time: `--jobs auto`.

On a CPU a run of one thread per core, where nothing was measured: threads of one run wait for each
other at every layer, runs never. On a GPU, where nothing was measured, as many as its memory holds.
`python -m benchmarks.packing` measures some networks and keeps what it finds with the machine's
other measurements; then the one nearest in work decides, within what memory allows.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path

import torch

from engine.config.schema import Config
from engine.data.stores import free_bytes
from engine.model import budget, resolve
from engine.step import device
from engine.step.measurements import known
from engine.sweep.mps import MOST, SLICES

WORK = "operations per image: "
PROCESS_BYTES = 3 << 29  # libraries and data of a run, on a CPU
CONTEXT_BYTES = 2 << 30  # on a GPU: its context, libraries and the data
TENSORS = 4  # of the size of a convolution's output: it, normalised, activated, its gradient


def key_of(cores: int, operations: int) -> str:
    """Under which a gain is kept: images/s of a run per core over those of one run of all cores."""
    return _key(f"{cores} runs over one", device.cpu_facts()[0], operations)


def key_on_gpu(jobs: int, share: str, gpu: str, operations: int) -> str:
    """Under which a gain is kept: images/s of `jobs` runs at a time over those of one alone."""
    return _key(f"{jobs} runs over one by {share}", gpu, operations)


def jobs_here(config: Config, cores: int, cache: Path | None = None, share: str = SLICES) -> int:
    """How many runs like that of `config` to make at a time, on a GPU if there is one."""
    processor = device.select(config.runtime)
    free, gains = free_bytes(processor), known(cache)
    operations = budget.flops(resolve(config.model)).training
    if processor.type == "cuda":
        most = max(1, min(cores, MOST, free // (CONTEXT_BYTES + activation_bytes(config))))
        gpu = torch.cuda.get_device_name(processor)
        return best_jobs(gains, share, gpu, operations, most)
    gain = nearest_gain(gains, cores, operations)
    jobs = cores if gain is None or gain > 1 else 1
    return max(1, min(jobs, free // (PROCESS_BYTES + activation_bytes(config))))


def activation_bytes(config: Config) -> int:
    """About what the activations of a step take."""
    width = 4 if config.runtime.precision == "fp32" else 2
    return TENSORS * width * budget.values(resolve(config.model)) * config.train.batch_size


def nearest_gain(kept: Mapping[str, float], cores: int, operations: int) -> float | None:
    """The gain of the measured network that is nearest in operations per image."""
    gains = {work: gain for work in _works(kept) if (gain := kept.get(key_of(cores, work)))}
    return gains[_nearest(gains, operations)] if gains else None


def best_jobs(kept: Mapping[str, float], share: str, gpu: str, operations: int, most: int) -> int:
    """The fastest of the measured numbers of runs up to `most`; `most` if none was measured."""
    gains: dict[int, dict[int, float]] = {}  # by operations and jobs
    for work in _works(kept):
        for jobs in range(2, MOST + 1):
            if gain := kept.get(key_on_gpu(jobs, share, gpu, work)):
                gains.setdefault(work, {1: 1.0})[jobs] = gain
    if not gains:
        return most
    fits = {n: gain for n, gain in gains[_nearest(gains, operations)].items() if n <= most}
    return max(fits, key=fits.__getitem__)


def _nearest(measured: Mapping[int, object], operations: int) -> int:
    return min(measured, key=lambda each: abs(math.log(each / operations)))


def _works(kept: Mapping[str, float]) -> set[int]:
    """The operations of all measured networks."""
    return {int(match[1]) for key in kept if (match := re.fullmatch(rf"gain .*{WORK}(\d+)", key))}


def _key(what: str, processor: str, operations: int) -> str:
    return f"gain of {what} / {processor} / torch {torch.__version__} / {WORK}{operations}"
