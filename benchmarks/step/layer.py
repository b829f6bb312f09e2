"""The single layer that decides: 64 channels, 3x3, on maps of 32x32, where these nets spend most.

Forward, the gradient of the input and that of the weights, each by itself, beside the measured
matrix product.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.measuring.turns import Spread
from benchmarks.step.against_peers import Bench
from engine.step.device import Machine
from engine.step.profile import matmul_peak

CHANNELS, KERNEL, SIDE = 64, 3, 32
BATCHES = (128, 256, 512, 1024)
REPEATS, WARM_UP = 20, 5
INNER = 10  # calls between two looks at the clock, so that their launches hide behind each other


def layer(bench: Bench) -> None:
    """Forward, input gradient and weight gradient of the layer, in the device's best precision."""
    device = torch.device(bench.device)
    torch.backends.cudnn.benchmark = True
    dtype = torch.bfloat16
    precision = "bf16"
    peak = matmul_peak(Machine(device, precision, compile=False))
    sizes = (bench.batch_size,) if bench.quick else BATCHES
    for size in sizes:
        with bench.found.missing_if_it_fails(f"layer at batch {size}"):
            for name, call in passes(size, dtype, device).items():
                bench.say(f"  batch {size}: {name}")
                spread = seconds(call, device, 3 if bench.quick else REPEATS)
                flops = 2 * size * SIDE**2 * CHANNELS**2 * KERNEL**2
                row = {
                    "batch": size,
                    "pass": name,
                    "us": 1e6 * spread.median,
                    "min": 1e6 * min(spread.values),
                    "max": 1e6 * max(spread.values),
                    "TFLOP/s": flops / spread.median / 1e12,
                    "of peak": flops / spread.median / peak,
                }
                tables = bench.found.details.setdefault("tables", {})
                tables.setdefault(TITLE, []).append(row)


TITLE = f"{CHANNELS} channels, {KERNEL}x{KERNEL}, {SIDE}x{SIDE}, bfloat16, channels_last"


def passes(size: int, dtype: torch.dtype, device: torch.device) -> dict[str, Callable[[], Any]]:
    """The three passes of the layer, on random numbers."""

    def random(*shape: int) -> Tensor:
        made = torch.randn(*shape, device=device, dtype=dtype)
        return made.contiguous(memory_format=torch.channels_last)

    images, gradient = (random(size, CHANNELS, SIDE, SIDE) for _ in range(2))
    weight = random(CHANNELS, CHANNELS, KERNEL, KERNEL)
    padding = KERNEL // 2

    def backward(mask: list[bool]) -> Callable[[], Any]:
        return lambda: torch.ops.aten.convolution_backward(
            gradient, images, weight, None, [1, 1], [padding] * 2, [1, 1], False, [0, 0], 1, mask
        )

    return {
        "forward": lambda: torch.nn.functional.conv2d(images, weight, padding=padding),
        "input gradient": backward([True, False, False]),
        "weight gradient": backward([False, True, False]),
    }


def seconds(call: Callable[[], Any], device: torch.device, repeats: int) -> Spread:
    """Of one call, by the device's clock."""
    for _ in range(WARM_UP):
        call()
    if device.type != "cuda":
        return Spread(tuple(_timed(call) for _ in range(repeats)))
    marks: list[torch.cuda.Event] = []
    for _ in range(repeats + 1):
        marks.append(torch.cuda.Event(enable_timing=True))  # type: ignore[no-untyped-call]
        marks[-1].record()
        for _ in range(INNER):
            call()
    torch.cuda.synchronize(device)
    milliseconds = [a.elapsed_time(b) / INNER for a, b in itertools.pairwise(marks)]
    return Spread(tuple(each / 1000 for each in milliseconds))


def _timed(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began
