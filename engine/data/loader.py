"""Batches for training and evaluation from a data set that lives on the device."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from engine.data import order
from engine.data.augment import device as augment
from engine.data.beton import Beton, open_beton
from engine.data.counter import Purpose, below, draws
from engine.data.order import Ids
from engine.errors import UserError

REPORTS_MEAN, REPORTS_STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


class Batch(NamedTuple):
    """What a step eats; it belongs to the caller, the loader never writes to it again."""

    images: Tensor  # N C H W, channels_last
    labels: Tensor  # N


@dataclass(frozen=True)
class Resident:
    """A checked file, gathered once into memory of the device."""

    beton: Beton
    images: Tensor  # N H W C, uint8
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


def load(path: str | Path, device: torch.device | str = "cpu") -> Resident:
    """Check `path` and bring it to `device`."""
    beton = open_beton(path)
    images = torch.from_numpy(beton.images()).to(device)
    return Resident(beton, images, torch.from_numpy(beton.labels.copy()).to(device))


class Loader:
    """The same batches for a seed whatever the device, the threads or the starting step.

    `epoch(n)` yields epoch n from its step `skip` on; `ids(n)` says which samples it visits.
    """

    def __init__(
        self,
        source: Resident | str | Path,
        batch_size: int,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        crop_padding: int = 4,
        padding_mode: str = "zeros",
        flip: bool = True,
        mean: tuple[float, ...] = REPORTS_MEAN,
        std: tuple[float, ...] = REPORTS_STD,
        shuffle: bool = True,
        drop_last: bool = False,
        subset: Ids | None = None,
    ) -> None:
        resident = source if isinstance(source, Resident) else load(source, device)
        if crop_padding and padding_mode == "reflect" and crop_padding >= resident.images.shape[1]:
            raise UserError(
                f"augment.crop_padding {crop_padding}: reflect padding must be smaller than the "
                f"image ({resident.images.shape[1]} pixels)"
            )
        self._resident: Resident | None = resident
        self.batch_size = batch_size
        self._seed = seed
        self._dtype = dtype
        self._crop_padding = crop_padding
        self._padding_mode = padding_mode
        self._flip = flip
        self._shuffle = shuffle
        self._drop_last = drop_last
        self._all = np.arange(len(resident), dtype=np.int64) if subset is None else subset
        self._scale, self._shift = augment.scale_and_shift(mean, std, resident.images.device)

    def __len__(self) -> int:
        """Steps in an epoch."""
        whole, rest = divmod(len(self._all), self.batch_size)
        return whole + (rest > 0 and not self._drop_last)

    @property
    def resident(self) -> Resident:
        """The data set on the device."""
        if self._resident is None:
            raise ValueError("this loader is closed")
        return self._resident

    @property
    def samples(self) -> int:
        """Images in an epoch."""
        return min(len(self._all), len(self) * self.batch_size)

    def ids(self, epoch: int) -> Ids:
        """The sample ids that the epoch visits, in order."""
        ids = order.shuffled(self._all, self._seed, epoch) if self._shuffle else self._all
        return ids[: self.samples]

    def epoch(self, epoch: int, skip: int = 0) -> Iterator[Batch]:
        """The batches of an epoch; `skip` leaves out as many steps at its beginning."""
        host_ids = self.ids(epoch)
        device = self.resident.images.device
        # Drawn for the whole epoch at once: one transfer, and nothing random in a step.
        words = draws(self._seed, Purpose.AUGMENT, epoch, host_ids)
        offsets = 2 * self._crop_padding + 1
        ids = torch.from_numpy(host_ids).to(device)
        rows = torch.from_numpy(below(words[:, 0], offsets)).to(device)
        columns = torch.from_numpy(below(words[:, 1], offsets)).to(device)
        flips = torch.from_numpy((words[:, 2] >> np.uint32(31)).astype(bool) & self._flip).to(
            device
        )
        for first in range(skip * self.batch_size, len(ids), self.batch_size):
            part = slice(first, first + self.batch_size)
            yield self._batch(ids[part], rows[part], columns[part], flips[part])

    def close(self) -> None:
        """Let go of the data set; batches that were handed out stay valid."""
        self._resident = None

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _batch(self, ids: Tensor, rows: Tensor, columns: Tensor, flips: Tensor) -> Batch:
        images = self.resident.images
        if self._crop_padding or self._flip:
            pixels = augment.crop_flip(
                images, ids, rows, columns, flips, self._crop_padding, self._padding_mode
            )
        else:
            pixels = images[ids]
        batch = augment.normalise(pixels, self._scale, self._shift, self._dtype)
        return Batch(batch, self.resident.labels[ids])
