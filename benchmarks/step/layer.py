"""The layer that these networks spend most time in: 64 channels, 3x3, on maps of 32x32.

Forward, the gradient of the input and that of the weights, each alone, beside the measured matrix
product. On a GPU the calls are one graph, so that the host's launches cost nothing, and each has
operands of its own, more in all than the second-level cache holds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from benchmarks.measuring import replayed
from benchmarks.measuring.turns import Spread
from benchmarks.step.benchmark import StepBenchmark
from engine.step.device import Machine
from engine.step.rates import matmul_peak

CHANNELS, KERNEL, SIDE = 64, 3, 32
REPEATS, WARM_UP = 20, 5
OPERAND_BYTES = 1 << 29  # of all rotating operands on a GPU: several times its cache
FEWEST = 4  # calls in a graph


def layer(bench: StepBenchmark) -> None:
    """Forward, input gradient and weight gradient of the layer, in the device's best precision."""
    device = torch.device(bench.device)
    torch.backends.cudnn.benchmark = True
    peak = matmul_peak(Machine(device, "bf16", compile=False))
    for size in bench.sizes[:1] if bench.quick else bench.sizes:
        with bench.missing_if_it_fails(f"layer at batch {size}"):
            sets = [passes(size, torch.bfloat16, device) for _ in range(rotating(size, device))]
            for name in sets[0]:
                bench.say(f"  batch {size}: {name}, {len(sets)} sets of operands")
                calls = [each[name] for each in sets]
                spread = seconds(calls, device, 3 if bench.quick else REPEATS)
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


def rotating(size: int, device: torch.device) -> int:
    """How many sets of operands a GPU's calls take in turns."""
    if device.type != "cuda":
        return 1
    own = 2 * 2 * size * CHANNELS * SIDE**2  # images and gradient, two bytes each
    return max(FEWEST, -(-OPERAND_BYTES // own))


def seconds(calls: Sequence[Callable[[], Any]], device: torch.device, repeats: int) -> Spread:
    """The time of one of the calls on the device."""
    work = replayed.recorded(calls, device)
    replayed.timed(work, device, WARM_UP)
    return Spread(tuple(each / len(calls) for each in replayed.timed(work, device, repeats)))
