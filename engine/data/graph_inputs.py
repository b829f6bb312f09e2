"""Batches in memory that stays in place, for work that is recorded once and replayed.

A resident set is augmented by the recorded work itself: counters on the device say which batch
comes next. Batches of other sets are made by their loader and copied.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from engine.data.augment import effects_gpu, gpu
from engine.data.counter import Ids
from engine.data.loader import Batch, Loader
from engine.data.stores import Resident
from engine.data.transform import NO_EFFECTS


class GraphInputs:
    """Where recorded work finds its batches: the loader's, each copied to memory that it reads."""

    def __init__(self, loader: Loader, dtype: torch.dtype) -> None:
        self._loader = loader
        device, size = loader.store.device, min(loader.batch_size, loader.samples)
        shape = (size, 3, loader.beton.height, loader.beton.width)
        images = torch.zeros(shape, dtype=dtype, device=device)
        labels = torch.zeros(size, dtype=torch.int64, device=device)
        self._memory = Batch(images.to(memory_format=torch.channels_last), labels)

    def ids(self, epoch: int) -> Ids:
        """The sample ids that the epoch visits, in order."""
        return self._loader.ids(epoch)

    def prepare(self, epoch: int) -> None:
        """Do the host's work for `epoch`, if any; best called while the device is busy."""

    def epoch(self, epoch: int, skip: int = 0) -> Iterator[Batch]:
        """A batch for each step: the memory that holds it once the recorded work has run."""
        for images, labels in self._loader.epoch(epoch, skip):
            batch = self._first(len(labels))
            batch.images.copy_(images)
            batch.labels.copy_(labels)
            yield batch

    def fill(self, batch: Batch, step: Tensor) -> None:
        """The part of the recorded work that writes `batch`, at `step` of the epoch, if any."""

    def _first(self, count: int) -> Batch:
        """The memory of a batch of `count` images."""
        return Batch(self._memory.images[:count], self._memory.labels[:count])


class AugmentedInputs(GraphInputs):
    """Batches of a resident set, made by one kernel launch within the recorded work."""

    def __init__(self, loader: Loader, store: Resident, dtype: torch.dtype) -> None:
        super().__init__(loader, dtype)
        self._store, device = store, store.device
        self._order = torch.zeros(loader.samples, dtype=torch.int64, device=device)
        self._epoch = torch.zeros((), dtype=torch.int64, device=device)
        self._zero = torch.zeros((), dtype=torch.int64, device=device)
        self._epoch_on_device = -1
        self._cropped: Tensor | None = None  # N H W C, between the two passes
        if loader.augment_spec.effects != NO_EFFECTS:
            shape = self._memory.images.permute(0, 2, 3, 1).shape
            self._cropped = torch.zeros(shape, dtype=torch.uint8, device=device)
        self._prepared: dict[int, tuple[Ids, Tensor]] = {}  # ids, also in memory a GPU can read

    def ids(self, epoch: int) -> Ids:
        """As the loader's."""
        return self._prepare(epoch)[0]

    def prepare(self, epoch: int) -> None:
        """Draw the order of `epoch`; drop those of past epochs."""
        self._prepare(epoch)
        self._prepared = {key: ids for key, ids in self._prepared.items() if key >= epoch - 1}

    def epoch(self, epoch: int, skip: int = 0) -> Iterator[Batch]:
        """The same memory at every step."""
        if epoch != self._epoch_on_device:
            self._order.copy_(self._prepare(epoch)[1], non_blocking=True)
            self._epoch.fill_(epoch)
            self._epoch_on_device = epoch
        size, samples = self._loader.batch_size, self._loader.samples
        for first in range(skip * size, samples, size):
            yield self._first(min(size, samples - first))

    def fill(self, batch: Batch, step: Tensor) -> None:
        """Gather, crop, flip, normalise and cast in one launch, or in two with effects."""
        count = len(batch.labels)
        order = self._order
        if count < self._loader.batch_size:  # the short last batch does not begin at step * count
            order, step = order[len(order) - count :], self._zero
        spec, out, cropped = self._loader.augment_spec, batch.images, self._cropped
        transform, seed, constants, *_ = spec
        if cropped is not None:
            transform = replace(transform, cutout=0)
            out = cropped[:count].permute(0, 3, 1, 2)
        scale, shift = (each.tolist() for each in constants)
        gpu.augment(
            self._store.images,
            order,
            order,
            transform,
            seed,
            self._epoch,
            out.dtype,
            scale,
            shift,
            out=out,
            step=step,
            labels=self._store.labels,
            labels_out=batch.labels,
        )
        if cropped is not None:
            effects_gpu.finish_batch(
                cropped[:count], order, spec.finish, self._epoch, batch.images, step=step
            )

    def _prepare(self, epoch: int) -> tuple[Ids, Tensor]:
        if epoch not in self._prepared:
            ids = self._loader.ids(epoch)
            order = torch.from_numpy(ids)
            pinned = order.pin_memory() if self._store.device.type == "cuda" else order
            self._prepared[epoch] = ids, pinned
        return self._prepared[epoch]


def graph_inputs(loader: Loader, dtype: torch.dtype) -> GraphInputs:
    """The fastest inputs that the loader's set allows."""
    store = loader.store
    if isinstance(store, Resident) and not loader.autoaugment:  # whose steps the host draws
        return AugmentedInputs(loader, store, dtype)
    return GraphInputs(loader, dtype)
