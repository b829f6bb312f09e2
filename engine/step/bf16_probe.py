"""Whether bfloat16 is faster on this CPU: measured once, kept in the folder of compiled code.

A kept measurement is never repeated, so that `auto` means the same every day; a run that continues
takes the precision in its record.
"""

from __future__ import annotations

import time
from pathlib import Path

import torch
import torch.nn.functional as F

from engine.step.measurements import cached

MINIMUM_SPEEDUP = 1.2  # over float32; hardware units give 1.6 to 3, emulation less than 1
BATCH, WIDTH, SIDE, REPEATS = 16, 64, 16, 9  # of the probe: a tenth of a second


def bf16_is_faster(processor: str, cache: Path | None) -> bool:
    """Whether a convolution, forward and backward, is clearly faster in bfloat16."""
    return (
        cached(f"bf16 / {processor} / torch {torch.__version__}", bf16_speedup, cache)
        >= MINIMUM_SPEEDUP
    )


def bf16_speedup() -> float:
    """Time in float32 over time in bfloat16, on one thread.

    By process time and the best of interleaved repeats, so that other load hardly matters.
    """
    random = torch.Generator().manual_seed(0)  # its own: the run's random numbers stay the same
    shapes = (BATCH, WIDTH, SIDE, SIDE), (WIDTH, WIDTH, 3, 3)
    images, weights = (
        torch.randn(shape, generator=random).to(memory_format=torch.channels_last)
        for shape in shapes
    )
    weights.requires_grad_()
    images.requires_grad_()

    def seconds(mixed: bool) -> float:
        began = time.process_time()
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            out = F.relu(F.conv2d(images, weights, padding=1))
        torch.autograd.grad(out.sum(), (images, weights))
        return time.process_time() - began

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        seconds(False), seconds(True)
        times = [(seconds(False), seconds(True)) for _ in range(REPEATS)]
    finally:
        torch.set_num_threads(threads)
    return min(pair[0] for pair in times) / min(pair[1] for pair in times)
