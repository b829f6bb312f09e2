"""A recorder for tests on the CPU: it checks that recorded work obeys the rules of CUDA graphs.

Recording runs the work's Python code once and leaves no trace in memory; a replay does on the CPU
what the graph would on a GPU: the same kernels, on the same memory, and nothing for the host.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from engine.data.augment import cpu, effects_gpu, gpu
from engine.data.augment.effects import Finish, on_cpu
from engine.data.transform import Transform
from engine.optim.optimizer import DeviceRates, Optimizer
from engine.optim.schedules import Rates
from engine.step import graph, replay
from engine.step.flat import block_of
from engine.step.replay import Graph, Tensors, Work

READS = {  # of tensors by the host: a capture fails there, a replay would not do them
    "aten::_local_scalar_dense", "aten::nonzero", "aten::equal", "aten::is_nonzero", "aten::item",
}  # fmt: skip

WRITTEN = {"running_mean", "running_var"}  # by batch norm, whose schema does not say so


class FakeRecorder:
    """Counts what it is asked for, and refuses what a GPU would refuse or get wrong."""

    def __init__(self) -> None:
        self.warmed: dict[Any, int] = {}
        self.graphs: list[_Graph] = []
        self.copies = 0
        self._busy = False

    def warm_up(self, work: Work) -> None:
        with self.alone(), _Watch():
            work()
        self.warmed[work] = self.warmed.get(work, 0) + 1

    def capture(self, work: Work) -> Graph:
        assert self.warmed.get(work, 0) >= replay.WARM_UPS, "recorded before it was warmed up"
        assert all(graph.work is not work for graph in self.graphs), "recorded twice"
        random = torch.get_rng_state()
        watch = _Watch(undoing=True)
        with self.alone(), watch:
            work()
        watch.undo()
        torch.set_rng_state(random)
        self.graphs.append(_Graph(self, work, watch.outside))
        return self.graphs[-1]

    def to_host(self, tensors: Mapping[str, Tensor]) -> Callable[[], Tensors]:
        assert not self._busy, "a copy within recorded work"
        self.copies += 1
        still = block_of(tensors).on_host()
        return still.tensors

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Graphs share memory, so that one inside or beside another would spoil it."""
        assert not self._busy, "work within work"
        self._busy = True
        try:
            yield
        finally:
            self._busy = False


class _Graph:
    def __init__(self, owner: FakeRecorder, work: Work, outside: set[int]) -> None:
        self.owner, self.work, self.outside = owner, work, outside
        self.replays, self.freed = 0, False

    def reset(self) -> None:
        self.freed = True

    def replay(self) -> None:
        assert not self.freed, "replayed after it was freed"
        watch = _Watch()
        with self.owner.alone(), watch:
            self.work()
        new = watch.outside - self.outside
        assert not new, "memory that was not there when the graph was recorded"
        self.replays += 1


class _Watch(TorchDispatchMode):
    """Sees each kernel: what it reads from outside, and what it would take back."""

    def __init__(self, *, undoing: bool = False) -> None:
        super().__init__()
        self.outside: set[int] = set()  # memory that was there before
        self._made: dict[int, Any] = {}
        self._undoing = undoing
        self._before: dict[int, tuple[Tensor, Tensor]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name
        assert name not in READS, f"the host reads a tensor: {name}"
        kwargs = kwargs or {}
        for tensor in _tensors((args, kwargs)):
            place = _place(tensor)
            if place is not None and place not in self._made:
                self.outside.add(place)
        if self._undoing:
            self._keep(func, args, kwargs)
        out = func(*args, **kwargs)
        for tensor in _tensors(out):
            place = _place(tensor)
            if place is not None and place not in self.outside:
                self._made[place] = tensor.untyped_storage()  # held, so that its place stays its
        return out

    def undo(self) -> None:
        for tensor, before in self._before.values():
            tensor.copy_(before)

    def _keep(self, func: Any, args: Any, kwargs: Any) -> None:
        for number, argument in enumerate(func._schema.arguments):
            said = argument.alias_info is not None and argument.alias_info.is_write
            if not said and argument.name not in WRITTEN:
                continue
            given = args[number] if number < len(args) else kwargs.get(argument.name)
            for tensor in _tensors(given):
                place = _place(tensor)
                if place in self.outside and place not in self._before:
                    whole = torch.empty(0, dtype=torch.uint8).set_(tensor.untyped_storage())
                    self._before[place] = whole, whole.clone()


def _tensors(content: Any) -> list[Tensor]:
    return [each for each in tree_leaves(content) if isinstance(each, Tensor)]


def _place(tensor: Tensor) -> int | None:
    return tensor.untyped_storage().data_ptr() or None


def _augment(
    images: Tensor,
    rows: Tensor,
    ids: Tensor,
    transform: Transform,
    seed: int,
    epoch: Tensor,
    dtype: torch.dtype,
    scale: list[float],
    shift: list[float],
    *,
    out: Tensor,
    step: Tensor,
    labels: Tensor,
    labels_out: Tensor,
) -> None:
    """`gpu.augment` by the CPU's kernel: it too reads epoch and step where they lie in memory."""
    first = int(step.numpy()) * len(out)
    here = slice(first, first + len(out))
    memory = out.permute(0, 2, 3, 1)
    memory = memory.view(torch.uint16) if dtype == torch.bfloat16 else memory
    cpu.augment(
        images.numpy(),
        rows.numpy()[here],
        ids.numpy()[here],
        transform,
        seed,
        int(epoch.numpy()),
        memory.numpy(),
        (np.float32(scale), np.float32(shift)),
    )
    labels_out.numpy()[:] = labels.numpy()[rows.numpy()[here]]


def _finish(
    images: Tensor, ids: Tensor, finish: Finish, epoch: Tensor, out: Tensor, *, step: Tensor
) -> None:
    """`effects_gpu.finish_batch` by the CPU's kernel."""
    first = int(step.numpy()) * len(out)
    on_cpu(images, ids.numpy()[first : first + len(out)], finish, int(epoch.numpy()), out)


def _update(
    optimizer: Optimizer,
    rates: Rates | DeviceRates,
    skip: Tensor,
    skipped: Tensor | None = None,
) -> None:
    """An eager update: it too reads the rates where they lie in memory."""
    if isinstance(rates, DeviceRates):
        rates = Rates(*(float(each.numpy()) for each in rates if each is not None))
    _eager_update(optimizer, rates, skip, skipped)


_eager_update = Optimizer.__call__


def install(monkeypatch: pytest.MonkeyPatch) -> FakeRecorder:
    """From now on every run records its steps, by this recorder; CPU kernels stand for a GPU's."""
    recorder = FakeRecorder()
    monkeypatch.setattr(Optimizer, "__call__", _update)
    monkeypatch.setattr(graph, "RATES_DTYPE", torch.float64)  # as an eager step has them
    monkeypatch.setattr(gpu, "augment", _augment)
    monkeypatch.setattr(effects_gpu, "finish_batch", _finish)
    monkeypatch.setattr(replay, "recorder_for", lambda machine: recorder)
    return recorder
