"""The layer that these networks spend most time in: 64 channels, 3x3, on maps of 32x32.

Forward, the gradient of the input and that of the weights, each alone, beside the measured matrix
product.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.measuring.clock import Clock
from benchmarks.measuring.turns import Spread
from benchmarks.step.benchmark import StepBenchmark
from engine.step.device import Machine
from engine.step.rates import matmul_peak

CHANNELS, KERNEL, SIDE = 64, 3, 32
BATCHES = (128, 256, 512, 1024)
REPEATS, WARM_UP = 20, 5
INNER = 10  # calls per timing on a GPU, so that the launch of one overlaps the work of another


def layer(bench: StepBenchmark) -> None:
    """Forward, input gradient and weight gradient of the layer, in the device's best precision."""
    device = torch.device(bench.device)
    torch.backends.cudnn.benchmark = True
    peak = matmul_peak(Machine(device, "bf16", compile=False))
    sizes = (bench.batch_size,) if bench.quick else BATCHES
    for size in sizes:
        with bench.missing_if_it_fails(f"layer at batch {size}"):
            for name, call in passes(size, torch.bfloat16, device).items():
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
                bench.row(TITLE, row)


TITLE = f"{CHANNELS} channels, {KERNEL}x{KERNEL}, {SIDE}x{SIDE}, bfloat16, channels_last"


def passes(size: int, dtype: torch.dtype, device: torch.device) -> dict[str, Callable[[], Any]]:
    """The three passes of the layer, on random numbers."""

    def random(*shape: int) -> Tensor:
        values = torch.randn(*shape, device=device, dtype=dtype)
        return values.contiguous(memory_format=torch.channels_last)

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
    """The time of one call on the device."""
    for _ in range(WARM_UP):
        call()
    clock, inner = Clock(device), INNER if device.type == "cuda" else 1
    for _ in range(repeats):
        clock.time(lambda: [call() for _ in range(inner)])
    return Spread(tuple(each / inner for each in clock.seconds()))
