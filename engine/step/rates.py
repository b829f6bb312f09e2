"""What a machine reaches in a large matrix product and in a large copy."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from engine.step.device import Machine
from engine.step.measurements import cached

PRODUCT = {"cuda": 8192, "cpu": 1024}  # side of the matrices whose product is the peak
REPEATS = {"cuda": 10, "cpu": 3}  # products per timing
ROUNDS = 5  # timings, of which the median counts
COPIED = {"cuda": 2**28, "cpu": 2**26}  # bytes
SMALL, SECONDS = 512, 0.1  # of the product by one thread, which is repeated so long


@dataclass(frozen=True)
class Rates:
    """Two rates of one machine, from which the speed of a network can be estimated."""

    device: str
    precision: str
    product: float  # operations per second, in the precision of the network
    copy: float  # bytes per second, read and written


def measured(machine: Machine, threads: int, cache: Path | None) -> Rates:
    """The rates of a machine with so many threads of its CPU; kept in `cache` if one is given.

    On a CPU the product is that of one thread by its process time, times the threads, and the copy
    at least that of one thread: so other load hardly matters.
    """
    conditions = f"{machine.name()} / {threads} threads / torch {torch.__version__}"
    product = f"product in GFLOP/s / {machine.precision} / {conditions}"
    copy = f"copy in GB/s / {conditions}"
    return Rates(
        machine.name(),
        machine.precision,
        1e9 * cached(product, lambda: _product(machine, threads) / 1e9, cache),
        1e9 * cached(copy, lambda: _copy(machine, threads) / 1e9, cache),
    )


def matmul_peak(machine: Machine, side: int | None = None, repeats: int | None = None) -> float:
    """Operations per second of a large matrix product in the precision of the network."""
    side = side or PRODUCT[machine.device.type]
    repeats = repeats or REPEATS[machine.device.type]
    first, second = _matrices(machine, side)
    rates = []
    for number in range(1 + ROUNDS):
        machine.wait()
        began = time.perf_counter()
        for _ in range(repeats):
            torch.mm(first, second)
        machine.wait()
        if number:  # the first is a warm-up
            rates.append(repeats * 2 * side**3 / (time.perf_counter() - began))
    return statistics.median(rates)


def _matrices(machine: Machine, side: int) -> list[torch.Tensor]:
    """Two random matrices: zeros are multiplied faster."""
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(machine.precision, torch.float32)
    random = torch.Generator(machine.device).manual_seed(0)  # the run's random numbers stay
    shape, device = (side, side), machine.device
    return [torch.randn(shape, generator=random, device=device).to(dtype) for _ in range(2)]


def _product(machine: Machine, threads: int) -> float:
    if machine.device.type != "cpu":
        return matmul_peak(machine, repeats=1)
    first, second = _matrices(machine, SMALL)
    seconds = _on_threads(1, lambda: _fastest(lambda: torch.mm(first, second), time.process_time))
    return threads * 2 * SMALL**3 / seconds


def _copy(machine: Machine, threads: int) -> float:
    size = COPIED[machine.device.type]
    source, target = (torch.ones(size, dtype=torch.uint8, device=machine.device) for _ in range(2))

    def copy() -> None:
        target.copy_(source)
        machine.wait()

    seconds = _on_threads(threads, lambda: _fastest(copy, time.perf_counter))
    if machine.device.type == "cpu":
        seconds = min(seconds, _on_threads(1, lambda: _fastest(copy, time.process_time)))
    return 2 * size / seconds


def _fastest(work: Callable[[], object], clock: Callable[[], float]) -> float:
    """Seconds of the fastest of the repeats; the first is a warm-up."""
    work()
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < ROUNDS or time.perf_counter() - began < SECONDS:
        at = clock()
        work()
        times.append(clock() - at)
    return min(times)


def _on_threads(threads: int, measure: Callable[[], float]) -> float:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return measure()
    finally:
        torch.set_num_threads(before)
