"""Augmented batches from a `.beton` file: `for images, labels in Loader(path, 512).epoch(0): ...`.

Batches are the same for a seed whatever the device, the mode, the threads, the batch size, the
ranks or the starting step: every draw is a function of (seed, epoch, sample).
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from engine.data import order
from engine.data.augment import autoaugment, cpu, gpu
from engine.data.augment.transform import IDENTITY, Transform
from engine.data.beton import Beton, open_beton
from engine.data.order import Ids
from engine.data.stores import Part, Store, chosen, open_store, to_device
from engine.errors import UserError

REPORTS_MEAN, REPORTS_STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
DTYPES = (torch.uint8, torch.float32, torch.bfloat16, torch.float16)
DTYPES_OF_THE_CPU = DTYPES[:3]


class Batch(NamedTuple):
    """What a step eats."""

    images: Tensor  # N C H W, channels_last
    labels: Tensor  # N


class AugmentSpec(NamedTuple):
    """What decides how the images of a loader are made, beside epoch and sample."""

    transform: Transform
    seed: int
    constants: cpu.Constants  # scale and shift a channel


class Plan(NamedTuple):
    """One epoch, known before it begins."""

    ids: Ids
    device_ids: Tensor
    labels: Tensor
    steps: Ids  # of AutoAugment


class Loader:
    """An epoch is every sample once (of this rank's), in an order of its own.

    `path` is a `.beton` file, or a store that loaders share (`engine.data.stores.open_store`).
    With dtype uint8 batches are pixels, else (pixel / 255 - mean) / std. Padding and cutout are
    black, before the normalising. A file is checked here, and read to its last byte when it is
    first needed. `mode`: `resident` gathers the set once into memory of the device, `stream`
    reads it batch by batch, `auto` asks whether it fits.

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
        given = isinstance(path, (str, Path))
        self._owns = given
        self._store: Store | None = None if given else path  # type: ignore[assignment]
        self._beton: Beton = open_beton(path, verify=False) if given else path.beton  # type: ignore
        self._device = torch.device(device) if self._store is None else self._store.device
        self._mode = chosen(mode, self._beton, _usable(self._device)) if given else mode
        self.batch_size = batch_size
        self._seed, self._dtype = seed, dtype
        self._transform = Transform(crop_padding, padding_mode, flip, cutout)
        self._autoaugment = autoaugment
        self._shuffle, self._drop_last = shuffle, drop_last
        self._rank, self._world_size = rank, world_size
        self._all = np.arange(len(self._beton), dtype=np.int64) if subset is None else subset
        self._threads = threads
        self._buffers: list[Tensor | None] = [None] * ring
        self._made = 0
        self._ahead: tuple[int, Plan] | None = None
        self._closed = False
        self._check(mean, std)
        self._constants = cpu.scale_and_shift(mean, std)

    def __len__(self) -> int:
        """Steps in an epoch."""
        return -(-self.samples // self.batch_size)

    @property
    def samples(self) -> int:
        """Images in an epoch, of this rank."""
        if self._drop_last:
            whole = len(self._all) // (self.batch_size * self._world_size)
            return whole * self.batch_size
        return len(range(self._rank, len(self._all), self._world_size))

    @property
    def beton(self) -> Beton:
        """The file."""
        return self._beton

    @property
    def store(self) -> Store:
        """The pixels, read to the last byte and checked by the first call."""
        if self._closed:
            raise ValueError("this loader is closed")
        if self._store is None:
            self._store = open_store(self._beton.path, self._device, self._mode, self._beton)
        return self._store

    @property
    def memory_bytes(self) -> int:
        """What the set takes in memory as it is held."""
        return self.store.memory_bytes

    @property
    def augment_spec(self) -> AugmentSpec:
        """What decides how the images are made."""
        return AugmentSpec(self._transform, self._seed, self._constants)

    @property
    def draws_on_the_host(self) -> bool:
        """Whether a batch needs more of the host than the order of its epoch."""
        return self._autoaugment

    def ids(self, epoch: int) -> Ids:
        """The sample ids that the epoch visits, in order.

        Ranks take turns sample by sample, so that together they visit at each step what one
        process would with a batch of `world_size` times the size.
        """
        ids = order.shuffled(self._all, self._seed, epoch) if self._shuffle else self._all
        return np.array(ids[self._rank :: self._world_size][: self.samples])  # the caller's own

    def epoch(self, epoch: int, skip: int = 0) -> Iterator[Batch]:
        """The batches of an epoch; `skip` leaves out as many steps at its beginning."""
        if epoch < 0 or skip < 0:
            raise UserError(f"epoch {epoch}, skip {skip}: neither can be negative")
        store = self.store
        ahead = self._ahead
        plan = ahead[1] if ahead is not None and ahead[0] == epoch else self._plan(epoch)
        ids, device_ids, labels, steps = plan
        size, first = self.batch_size, skip * self.batch_size
        parts = store.parts(ids[first:], device_ids[first:], size)
        with contextlib.closing(parts):  # type: ignore[type-var]
            for number, part in enumerate(parts):
                if number == 1:  # while a GPU works on the first batch
                    self._ahead = (epoch + 1, self._plan(epoch + 1))
                here = slice(first + number * size, first + (number + 1) * size)
                images = self._make(part, ids[here], device_ids[here], epoch, steps[here])
                yield Batch(images, labels[here])

    def close(self) -> None:
        """Let go of the data set; batches that were handed out stay valid."""
        if self._owns and self._store is not None:
            self._store.close()
        self._store, self._ahead, self._closed = None, None, True

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _plan(self, epoch: int) -> Plan:
        ids = self.ids(epoch)
        device_ids = to_device(ids, self.store.device)
        # AutoAugment's draws are the host's, which forms its groups by them.
        steps = autoaugment.plan(ids, self._seed, epoch) if self._autoaugment else ids
        return Plan(ids, device_ids, self.store.labels[device_ids], steps)

    def _make(self, part: Part, ids: Ids, device_ids: Tensor, epoch: int, steps: Ids) -> Tensor:
        """One batch, in one pass unless AutoAugment stands between its two halves."""
        out = self._memory(len(ids))
        if not self._autoaugment:
            self._augment(part, ids, device_ids, epoch, self._transform, out)
            return out
        pixels = torch.empty(
            (len(ids), *part.images.shape[1:]), dtype=torch.uint8, device=part.images.device
        )
        before = replace(self._transform, cutout=0)
        self._augment(part, ids, device_ids, epoch, before, pixels.permute(0, 3, 1, 2))
        changed = Part(
            autoaugment.apply(pixels, steps, out=pixels),
            torch.arange(len(ids), device=part.images.device),
        )
        after = replace(IDENTITY, cutout=self._transform.cutout)
        self._augment(changed, ids, device_ids, epoch, after, out)
        return out

    def _augment(
        self,
        part: Part,
        ids: Ids,
        device_ids: Tensor,
        epoch: int,
        transform: Transform,
        out: Tensor,
    ) -> None:
        scale, shift = self._constants
        if part.images.device.type != "cpu":
            gpu.augment(
                part.images,
                part.rows,
                device_ids,
                transform,
                self._seed,
                epoch,
                out.dtype,
                scale.tolist(),
                shift.tolist(),
                out=out,
            )
            return
        memory = out.permute(0, 2, 3, 1)
        if out.dtype == torch.bfloat16:
            memory = memory.view(torch.uint16)
        cpu.augment(
            part.images.numpy(),
            part.rows.numpy(),
            ids,
            transform,
            self._seed,
            epoch,
            memory.numpy(),
            self._constants,
            threads=self._threads,
        )

    def _memory(self, count: int) -> Tensor:
        """Where a batch is written to: memory of its own, or the ring's next."""
        if not self._buffers:
            return self._empty(count)
        place = self._made % len(self._buffers)
        self._made += 1
        buffer = self._buffers[place]
        if buffer is None:
            buffer = self._empty(self.batch_size)
            self._buffers[place] = buffer
        return buffer[:count]

    def _empty(self, count: int) -> Tensor:
        shape = (count, self._beton.height, self._beton.width, 3)
        if self._device.type == "cpu":  # numpy asks for huge pages, which a fresh batch gains by
            size = math.prod(shape) * self._dtype.itemsize
            memory = torch.from_numpy(np.empty(size, np.uint8)).view(self._dtype).view(shape)
        else:
            memory = torch.empty(shape, dtype=self._dtype, device=self._device)
        return memory.permute(0, 3, 1, 2)

    def _check(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        wrong = []
        if self.batch_size < 1:
            wrong.append(f"batch_size {self.batch_size}: expected 1 or more")
        if not 0 <= self._rank < self._world_size:
            wrong.append(
                f"rank {self._rank} of world_size {self._world_size}: expected 0 to world_size - 1"
            )
        if not 0 <= self._seed < 1 << 64:
            wrong.append(f"seed {self._seed}: expected 0 to 2**64 - 1")
        known = DTYPES_OF_THE_CPU if self._device.type == "cpu" else DTYPES
        if self._dtype not in known:
            names = ", ".join(str(dtype).removeprefix("torch.") for dtype in known)
            wrong.append(f"dtype {self._dtype}: expected one of {names} on {self._device.type}")
        if len(mean) != 3 or len(std) != 3 or not all(0 < each < float("inf") for each in std):
            wrong.append(f"mean {mean}, std {std}: expected three numbers each, std above 0")
        out = self._all[(self._all < 0) | (self._all >= len(self._beton))]
        if len(out):
            wrong.append(f"subset: id {out[0]} is outside the {len(self._beton):,} samples")
        try:
            self._transform.check(self._beton.height, self._beton.width)
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
