"""Graphs, streams and events: all that a recorded run asks of its device, behind one small seam.

A graph is the work of many kernel launches, recorded once and given to the device in one call.
Recording runs the work's Python code once and computes nothing, so the work must do all that
counts on the device, in memory that stays where it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import torch
from torch import Tensor

from engine.step.device import Machine

Work = Callable[[], None]
Tensors = dict[str, Tensor]
WARM_UPS = 3  # times that work runs as it is before it is recorded: kernels are chosen and compiled


class Graph(Protocol):
    """A recorded sequence of kernel launches."""

    def replay(self) -> None:
        """Have the device do it; returns at once."""


class GraphRecorder(Protocol):
    """What records and replays, and copies beside."""

    def warm_up(self, work: Work) -> None:
        """Do `work` as it is, where it will be recorded."""

    def capture(self, work: Work) -> Graph:
        """Record `work`, which was warmed up; nothing is computed."""

    def to_host(self, tensors: Mapping[str, Tensor]) -> Callable[[], Tensors]:
        """Copies of `tensors` as they are now, while the device goes on; call to wait for them."""


class RecordedWork:
    """Work that comes again and again: done as it is at first, then recorded, then replayed.

    The first times are not thrown away, so recording changes nothing but the speed.
    """

    def __init__(self, recorder: GraphRecorder, work: Work) -> None:
        self._recorder, self._work = recorder, work
        self._warmed = 0
        self._graph: Graph | None = None

    def __call__(self) -> None:
        """Do the work once."""
        if self._graph is None and self._warmed < WARM_UPS:
            self._warmed += 1
            self._recorder.warm_up(self._work)
            return
        if self._graph is None:
            self._graph = self._recorder.capture(self._work)
        self._graph.replay()


class CudaRecorder:
    """The recorder of one GPU. All graphs share memory: never do two of them run at a time."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._recording: torch.cuda.Stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._copying: torch.cuda.Stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()

    def warm_up(self, work: Work) -> None:
        """Do `work` on the stream that will record it."""
        current = torch.cuda.current_stream(self._device)
        self._recording.wait_stream(current)
        with torch.cuda.stream(self._recording):
            work()
        current.wait_stream(self._recording)

    def capture(self, work: Work) -> Graph:
        """Record `work`; other threads, which write checkpoints, may use the device meanwhile."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(
            graph, pool=self._pool, stream=self._recording, capture_error_mode="thread_local"
        ):
            work()
        return graph

    def to_host(self, tensors: Mapping[str, Tensor]) -> Callable[[], Tensors]:
        """A quick copy on the device, which the next step may follow; a slow one beside it."""
        still = {name: _plain_copy(tensor) for name, tensor in tensors.items()}
        self._copying.wait_stream(torch.cuda.current_stream(self._device))
        arrived: torch.cuda.Event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        with torch.cuda.stream(self._copying):
            host = {
                name: torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(
                    tensor, non_blocking=True
                )
                for name, tensor in still.items()
            }
            arrived.record(self._copying)

        def wait() -> Tensors:
            arrived.synchronize()
            still.clear()  # until now the copying stream read them
            return host

        return wait


def recorder_for(machine: Machine) -> GraphRecorder | None:
    """Who records on this machine; None where steps are made one kernel at a time."""
    return CudaRecorder(machine.device) if machine.graph and machine.device.type == "cuda" else None


def _plain_copy(tensor: Tensor) -> Tensor:
    return tensor.detach().clone(memory_format=torch.contiguous_format)
