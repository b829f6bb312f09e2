"""CUDA graphs, streams and events behind one small interface.

A graph is a sequence of kernel launches, recorded once and launched in one call. Recording runs the
work's Python code once without computing, so everything that changes from step to step must be
computed on the device, in memory that stays where it is.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

import torch
from torch import Tensor

from engine.step.device import Machine
from engine.step.flat import blocks_of

Work = Callable[[], None]
Tensors = dict[str, Tensor]
WARM_UPS = 3  # eager calls before recording, in which kernels are chosen and compiled


class Graph(Protocol):
    """Recorded work."""

    def replay(self) -> None:
        """Queue it on the device; returns at once."""

    def reset(self) -> None:
        """Free it and its share of the memory."""


class GraphRecorder(Protocol):
    """Records graphs, and copies tensors while the device works."""

    def warm_up(self, work: Work) -> None:
        """Do `work` eagerly, on the stream that will record it."""

    def capture(self, work: Work) -> Graph:
        """Record `work` after its warm-up; nothing is computed."""

    def to_host(self, tensors: Mapping[str, Tensor]) -> Callable[[], Tensors]:
        """Copy `tensors` as of now while the device goes on; call the result to wait for them."""


class RecordedWork:
    """Repeated work: eager in its first calls, then recorded, then replayed.

    The first calls count as well, so recording changes nothing but the speed.
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

    def release(self) -> None:
        """Free the graph; a later call would begin again."""
        if self._graph is not None:
            self._graph.reset()
        self._graph, self._warmed = None, 0


class CudaRecorder:
    """The recorder of one GPU. All graphs share memory, so two must never run at a time."""

    def __init__(self, device: torch.device, *, copies_at_once: bool = False) -> None:
        self._device, self._at_once = device, copies_at_once
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
        """Record `work`; other threads may use the device meanwhile, to write checkpoints."""
        graph = torch.cuda.CUDAGraph()
        with (
            _without_collecting(),
            torch.cuda.graph(
                graph, pool=self._pool, stream=self._recording, capture_error_mode="thread_local"
            ),
        ):
            work()
        return graph

    def to_host(self, tensors: Mapping[str, Tensor]) -> Callable[[], Tensors]:
        """A fast copy on the device, then a slow one to the host beside the next steps."""
        there = {name: each for name, each in tensors.items() if each.is_cuda}
        here = {name: each.clone() for name, each in tensors.items() if not each.is_cuda}
        blocks = list(blocks_of(there, at_once=self._at_once))
        self._copying.wait_stream(torch.cuda.current_stream(self._device))
        arrived: torch.cuda.Event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        with torch.cuda.stream(self._copying):
            copies = [block.on_host() for block in blocks]
            arrived.record(self._copying)

        def wait() -> Tensors:
            with torch.cuda.device(self._device):  # in a thread, else the first GPU's memory
                arrived.synchronize()
            blocks.clear()  # until now the copying stream read them
            return here | {name: each for copy in copies for name, each in copy.tensors().items()}

        return wait


def recorder_for(machine: Machine) -> GraphRecorder | None:
    """The recorder of this machine; None where steps are eager."""
    if not machine.graph or machine.device.type != "cuda":
        return None
    return CudaRecorder(machine.device, copies_at_once=machine.savings.copy_at_once)


@contextlib.contextmanager
def _without_collecting() -> Iterator[None]:
    """In here the garbage collector destroys nothing, such as graphs of an earlier run.

    CUDA refuses some calls during a recording, and would spoil it.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()
