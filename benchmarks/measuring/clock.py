"""The time that calls take on a device."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch


class Clock:
    """Times calls: by CUDA events on a GPU, by the host's clock on a CPU."""

    def __init__(self, device: torch.device) -> None:
        self._events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []
        self._seconds: list[float] = []
        self._device = device

    def time(self, call: Callable[[], object]) -> None:
        """Call it, and note how long the device worked on it; a GPU is not waited for."""
        if self._device.type != "cuda":
            self._seconds.append(seconds(call))
            return
        first, last = _event(), _event()
        first.record()
        call()
        last.record()
        self._events.append((first, last))

    def seconds(self) -> list[float]:
        """All times; waits for the device."""
        if self._device.type != "cuda":
            return self._seconds
        torch.cuda.synchronize(self._device)
        return [first.elapsed_time(last) / 1000 for first, last in self._events]


def seconds(call: Callable[[], object]) -> float:
    """How long the host takes for a call."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
