"""Batches in memory that stays where it is, for work that is recorded once and replayed.

A resident set is augmented by the recorded work itself: the device knows from counters of its own
which batch comes next. Other sets are fed by their loader, and copied.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from engine.data.augment import cpu, gpu
from engine.data.loader import Batch, Loader
from engine.data.order import Ids
from engine.data.stores import Resident, Store


class GraphInputs(Protocol):
    """What recorded work takes its batches from."""

    def ids(self, epoch: int) -> Ids:
        """The sample ids that the epoch visits, in order."""

    def prepare(self, epoch: int) -> None:
        """Have ready what `epoch` will need of the host; best while the device is busy."""

    def epoch(self, epoch: int, skip: int = 0) -> Iterator[Batch]:
        """A batch for each step: the memory that will hold it when the work comes to it."""

    def fill(self, batch: Batch, step: Tensor) -> None:
        """The part of the recorded work that fills `batch`, the epoch's number `step`."""


def graph_inputs(loader: Loader, dtype: torch.dtype) -> GraphInputs:
    """The quickest feed that the loader's set allows."""
    recordable = isinstance(loader.store, Resident) and not loader.draws_on_the_host
    return (
        AugmentedInputs(loader, loader.store, dtype) if recordable else CopiedInputs(loader, dtype)
    )


class CopiedInputs:
    """The loader's batches, each copied to where the recorded work looks for it."""

    def __init__(self, loader: Loader, dtype: torch.dtype) -> None:
        self._loader = loader
        self._memory = _memory(loader, dtype)

    def ids(self, epoch: int) -> Ids:
        """As the loader's."""
        return self._loader.ids(epoch)

    def prepare(self, epoch: int) -> None:
        """Nothing: the loader reads ahead by itself."""

    def epoch(self, epoch: int, skip: int = 0) -> Iterator[Batch]:
        """The loader's batches, copied."""
        for made in self._loader.epoch(epoch, skip):
            batch = _first(self._memory, len(made.labels))
            batch.images.copy_(made.images)
            batch.labels.copy_(made.labels)
            yield batch

    def fill(self, batch: Batch, step: Tensor) -> None:
        """It is full."""


class AugmentedInputs:
    """Made of a resident set by one launch within the recorded work; nothing else is needed."""

    def __init__(self, loader: Loader, store: Store, dtype: torch.dtype) -> None:
        assert isinstance(store, Resident)
        self._loader, self._store = loader, store
        self._memory = _memory(loader, dtype)
        device = store.device
        self._order = torch.zeros(loader.samples, dtype=torch.int64, device=device)
        self._epoch = torch.zeros((), dtype=torch.int64, device=device)
        self._first = torch.zeros((), dtype=torch.int64, device=device)  # of a short batch's steps
        self._held = -1  # the epoch that the device holds
        self._ready: dict[int, tuple[Ids, Tensor]] = {}  # in memory that a GPU can fetch from

    def ids(self, epoch: int) -> Ids:
        """As the loader's."""
        return self._prepared(epoch)[0]

    def prepare(self, epoch: int) -> None:
        """Draw the order of `epoch`; forget those before."""
        self._prepared(epoch)
        self._ready = {known: each for known, each in self._ready.items() if known >= epoch - 1}

    def epoch(self, epoch: int, skip: int = 0) -> Iterator[Batch]:
        """The same memory at every step."""
        if epoch != self._held:
            self._order.copy_(self._prepared(epoch)[1], non_blocking=True)
            self._epoch.fill_(epoch)
            self._held = epoch
        size, samples = self._loader.batch_size, self._loader.samples
        for first in range(skip * size, samples, size):
            yield _first(self._memory, min(size, samples - first))

    def fill(self, batch: Batch, step: Tensor) -> None:
        """Gather, crop, flip, normalise, cast: one launch."""
        count = len(batch.labels)
        order = self._order
        if count < self._loader.batch_size:  # the last one: not a multiple of its size from 0
            order, step = order[len(order) - count :], self._first
        store, spec = self._store, self._loader.augment_spec
        scale, shift = (each.tolist() for each in spec.constants)
        if store.device.type != "cpu":
            gpu.augment(
                store.images,
                order,
                order,
                spec.transform,
                spec.seed,
                self._epoch,
                batch.images.dtype,
                scale,
                shift,
                out=batch.images,
                step=step,
                labels=store.labels,
                labels_out=batch.labels,
            )
            return
        # The kernel of the CPU reads its arguments where they lie, as a GPU's does.
        first = int(step.numpy()) * count
        rows = order.numpy()[first : first + count]
        memory = batch.images.permute(0, 2, 3, 1)
        if memory.dtype == torch.bfloat16:
            memory = memory.view(torch.uint16)
        cpu.augment(
            store.images.numpy(),
            rows,
            rows,
            spec.transform,
            spec.seed,
            int(self._epoch.numpy()),
            memory.numpy(),
            spec.constants,
        )
        batch.labels.numpy()[:] = store.labels.numpy()[rows]

    def _prepared(self, epoch: int) -> tuple[Ids, Tensor]:
        if epoch not in self._ready:
            ids = self._loader.ids(epoch)
            order = torch.from_numpy(ids)
            pinned = order.pin_memory() if self._store.device.type == "cuda" else order
            self._ready[epoch] = ids, pinned
        return self._ready[epoch]


def _memory(loader: Loader, dtype: torch.dtype) -> Batch:
    device, size = loader.store.device, loader.batch_size
    shape = (min(size, loader.samples), 3, loader.beton.height, loader.beton.width)
    images = torch.zeros(shape, dtype=dtype, device=device).to(memory_format=torch.channels_last)
    return Batch(images, torch.zeros(shape[0], dtype=torch.int64, device=device))


def _first(memory: Batch, count: int) -> Batch:
    """The memory of a batch of `count` images."""
    return Batch(memory.images[:count], memory.labels[:count])
