"""Work that a GPU repeats without waiting for the host: calls recorded as one CUDA graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from benchmarks.measuring.clock import Clock

Call = Callable[[], Any]
WARM_UP = 3  # calls before recording, in which kernels are chosen and compiled
READ_BYTES = 1 << 29  # several times the largest second-level cache
READS = 4  # so that the device is busy with them until the host has launched what is timed


def recorded(calls: Sequence[Call], device: torch.device) -> Call:
    """All calls, one after the other: on a GPU one graph, whose launches the host does not make.

    What the calls return keeps its memory, so that no two of them write to the same.
    """
    if device.type != "cuda":
        return lambda: [call() for call in calls]
    side: torch.cuda.Stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            for call in calls:
                call()
    torch.cuda.synchronize(device)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=side):
        kept = [call() for call in calls]

    def replay(_: Any = kept) -> None:
        graph.replay()

    return replay


def reader(device: torch.device) -> Call:
    """Empties the device's cache of all else by reading, which leaves nothing to be written back.

    A sum over a large buffer, several times; on a CPU nothing is read.
    """
    if device.type != "cuda":
        return lambda: None
    buffer = torch.zeros(READ_BYTES // 4, device=device)
    total = torch.zeros((), device=device)
    return lambda: [torch.sum(buffer, 0, out=total) for _ in range(READS)]


def timed(
    work: Call, device: torch.device, repeats: int, before: Call = lambda: None
) -> list[float]:
    """The seconds of each repetition on the device, with `before`, which does not count."""
    clock = Clock(device)
    for _ in range(repeats):
        before()
        clock.time(work)
    return clock.seconds()
