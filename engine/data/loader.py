"""Augmented batches from a `.beton` file: `for images, labels in Loader(path, 512).epoch(0): ...`.

A seed gives the same batches whatever the device, the mode, the number of threads, the batch
size, the number of ranks or the first step: every draw is a function of (seed, epoch, sample).
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from engine.data import order
from engine.data.augment import cpu, gpu
from engine.data.augment.autoaugment import draw_steps
from engine.data.augment.batch import AugmentSpec, augment_batch
from engine.data.augment.effects import fill_values
from engine.data.autoaugment_operations import Steps
from engine.data.beton import open_beton
from engine.data.counter import Ids
from engine.data.source import Store
from engine.data.stores import choose_mode, open_store
from engine.data.transform import NO_EFFECTS, Effects, Transform
from engine.errors import UserError

REPORTS_MEAN, REPORTS_STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
CPU_DTYPES = gpu.DTYPES[:3]


class Batch(NamedTuple):
    """The input of one step."""

    images: Tensor  # N C H W, channels_last
    labels: Tensor  # N


class _Epoch(NamedTuple):
    """The samples of an epoch in order, known before it begins."""

    number: int
    ids: Ids
    device_ids: Tensor
    labels: Tensor
    steps: Steps | None  # of AutoAugment


class Loader:
    """An epoch visits every sample (of this rank) once, in an order of its own.

    `path` is a `.beton` file, or a store that several loaders share (from
    `engine.data.stores.open_store`). With dtype uint8 batches are pixels, else
    (pixel / 255 - mean) / std. Padding is black, before normalising, and so is the cutout without
    `effects`, which also has colour jitter and random erasing. The structure
    of a file is checked here, its digest when the pixels are first needed. `mode`: `resident`
    decodes the whole set once into memory of the device, `stream` reads it batch by batch,
    `auto` takes `resident` where that fits.

    Batches belong to the caller. With `ring` = k they come from k buffers in turn instead, which
    saves allocating: a batch is overwritten when the k-th one after it is made.
    """

    def __init__(
        self,
        path: Store | str | Path,
        batch_size: int,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        crop_padding: int = 4,
        padding_mode: str = "zeros",
        flip: str = "random",
        autoaugment: bool = False,
        cutout: int = 0,
        effects: Effects = NO_EFFECTS,
        mean: tuple[float, ...] = REPORTS_MEAN,
        std: tuple[float, ...] = REPORTS_STD,
        shuffle: bool = True,
        drop_last: bool = False,
        mode: str = "auto",
        rank: int = 0,
        world_size: int = 1,
        subset: Ids | None = None,
        ring: int = 0,
        threads: int | None = None,
    ) -> None:
        self._store: Store | None = None
        if isinstance(path, (str, Path)):
            self.beton = open_beton(path, verify=False)
            self._device = _usable(torch.device(device))
            mode = choose_mode(mode, self.beton, self._device)
            self._owns_store = True
        else:
            self._store, self.beton, self._device = path, path.beton, path.device
            self._owns_store = False
        self._mode = mode
        self.batch_size = batch_size
        self._dtype = dtype
        self.autoaugment = autoaugment
        self._shuffle, self._drop_last = shuffle, drop_last
        self._rank, self._world_size = rank, world_size
        self._all = np.arange(len(self.beton), dtype=np.int64) if subset is None else subset
        self._threads = threads
        self._ring: list[Tensor | None] = [None] * ring
        self._ring_position = 0
        self._ahead: _Epoch | None = None
        self._closed = False
        transform = Transform(crop_padding, padding_mode, flip, cutout)
        self._check(transform, effects, seed, mean, std)
        fill = fill_values(effects, mean, std, dtype)
        constants = cpu.scale_and_shift(mean, std)
        self.augment_spec = AugmentSpec(transform, seed, constants, effects, fill)

    def __len__(self) -> int:
        """Steps in an epoch."""
        return -(-self.samples // self.batch_size)

    @property
    def samples(self) -> int:
        """Images in an epoch of this rank."""
        return len(range(self._rank, self.samples_of_all, self._world_size))

    @property
    def samples_of_all(self) -> int:
        """Images in an epoch of all ranks."""
        size = self.batch_size * self._world_size
        return len(self._all) // size * size if self._drop_last else len(self._all)

    def images_at(self, step: int) -> int:
        """Images of all ranks at a step of an epoch."""
        size = self.batch_size * self._world_size
        return min(size, self.samples_of_all - step * size)

    @property
    def store(self) -> Store:
        """The pixels; the first call reads the whole file and compares its digest."""
        if self._closed:
            raise ValueError("this loader is closed")
        if self._store is None:
            self._store = open_store(self.beton.path, self._device, self._mode, self.beton)
        return self._store

    @property
    def memory_bytes(self) -> int:
        """The memory that the set takes as it is stored."""
        return self.store.memory_bytes

    def ids(self, epoch: int) -> Ids:
        """The sample ids that the epoch visits, in order.

        Ranks take turns sample by sample, so that together they visit at each step what one
        process would with a batch of `world_size` times the size.
        """
        return np.array(self.ids_of_all(epoch)[self._rank :: self._world_size])  # the caller's own

    def ids_of_all(self, epoch: int) -> Ids:
        """The sample ids that all ranks visit, in order; not to be changed."""
        seed = self.augment_spec.seed
        ids = order.shuffled(self._all, seed, epoch) if self._shuffle else self._all
        return ids[: self.samples_of_all]

    def pixels(self, most: int) -> Iterator[Tensor]:
        """The first samples of the set (of all ranks) as they are stored: uint8, N H W C.

        In order of their ids, in portions that are valid until the next one is asked for.
        """
        ids = np.sort(self._all)[:most]
        device_ids = torch.from_numpy(ids).to(self._device)
        for images, rows in self.store.batches(ids, device_ids, self.batch_size):
            yield images[rows]

    def epoch(self, epoch: int, skip: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from step `skip` on."""
        if epoch < 0 or skip < 0:
            raise UserError(f"epoch {epoch}, skip {skip}: neither can be negative")
        store = self.store
        ahead = self._ahead
        now = ahead if ahead is not None and ahead.number == epoch else self._prepare(epoch)
        _, ids, device_ids, labels, steps = now
        size, first = self.batch_size, skip * self.batch_size
        sources = store.batches(ids[first:], device_ids[first:], size)
        with contextlib.closing(sources):  # type: ignore[type-var]
            for number, source in enumerate(sources):
                if number == 1:  # while a GPU works on the first batch
                    self._ahead = self._prepare(epoch + 1)
                here = slice(first + number * size, first + (number + 1) * size)
                out = self._memory(len(ids[here]))
                augment_batch(
                    self.augment_spec,
                    source,
                    ids[here],
                    device_ids[here],
                    epoch,
                    None if steps is None else steps[here],
                    out,
                    self._threads,
                )
                yield Batch(out, labels[here])

    def close(self) -> None:
        """Release the data set; batches already delivered stay valid."""
        if self._owns_store and self._store is not None:
            self._store.close()
        self._store, self._ahead, self._closed = None, None, True

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _prepare(self, epoch: int) -> _Epoch:
        ids = self.ids(epoch)
        device_ids = torch.from_numpy(ids)
        if self._device.type == "cuda":  # a copy that nothing waits for
            device_ids = device_ids.pin_memory().to(self._device, non_blocking=True)
        # The host draws AutoAugment's operations: it groups the images by them.
        steps = draw_steps(ids, self.augment_spec.seed, epoch) if self.autoaugment else None
        return _Epoch(epoch, ids, device_ids, self.store.labels[device_ids], steps)

    def _memory(self, count: int) -> Tensor:
        """Memory for a batch: new, or the next buffer of the ring."""
        if not self._ring:
            return self._empty(count)
        place = self._ring_position % len(self._ring)
        self._ring_position += 1
        buffer = self._ring[place]
        if buffer is None:
            self._ring[place] = buffer = self._empty(self.batch_size)
        return buffer[:count]

    def _empty(self, count: int) -> Tensor:
        shape = (count, self.beton.height, self.beton.width, 3)
        if self._device.type == "cpu":  # numpy asks for huge pages: a new batch is written faster
            size = math.prod(shape) * self._dtype.itemsize
            memory = torch.from_numpy(np.empty(size, np.uint8)).view(self._dtype).view(shape)
        else:
            memory = torch.empty(shape, dtype=self._dtype, device=self._device)
        return memory.permute(0, 3, 1, 2)

    def _check(
        self,
        transform: Transform,
        effects: Effects,
        seed: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
    ) -> None:
        wrong = []
        if self.batch_size < 1:
            wrong.append(f"batch_size {self.batch_size}: expected 1 or more")
        if not 0 <= self._rank < self._world_size:
            wrong.append(
                f"rank {self._rank} of world_size {self._world_size}: expected 0 to world_size - 1"
            )
        if not 0 <= seed < 1 << 64:
            wrong.append(f"seed {seed}: expected 0 to 2**64 - 1")
        known = CPU_DTYPES if self._device.type == "cpu" else gpu.DTYPES
        if self._dtype not in known:
            names = ", ".join(str(dtype).removeprefix("torch.") for dtype in known)
            wrong.append(f"dtype {self._dtype}: expected one of {names} on {self._device.type}")
        if len(mean) != 3 or len(std) != 3 or not all(0 < each < float("inf") for each in std):
            wrong.append(f"mean {mean}, std {std}: expected three numbers each, std above 0")
        outside = self._all[(self._all < 0) | (self._all >= len(self.beton))]
        if len(outside):
            wrong.append(f"subset: id {outside[0]} is outside the {len(self.beton):,} samples")
        for check in (partial(transform.check, self.beton.height, self.beton.width), effects.check):
            try:
                check()
            except UserError as error:
                wrong += error.problems
        if wrong:
            raise UserError(*wrong)


def _usable(device: torch.device) -> torch.device:
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"device {device}: expected cpu or cuda")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"device {device}: torch sees no GPU here; use cpu")
    return device
