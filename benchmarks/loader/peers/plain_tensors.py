"""The loader of the CIFAR-10 speedruns: the whole epoch in tensors on the device.

All images are padded once (and normalised once, for floats); each epoch crops and mirrors all
of them by masks, one whole-set copy for each offset, and then hands out shuffled rows.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import pad

from benchmarks.loader.peers import Batches, Feed, kind_of
from benchmarks.measuring.data import MEAN, PADDING, SEED, STD


class PlainTensors:
    """A set on the device; the draws come from torch's generator there, in one stream."""

    def __init__(
        self, images: npt.NDArray[np.uint8], batch_size: int, dtype: torch.dtype, device: str
    ) -> None:
        self._side = images.shape[1:3]
        self._batch_size, self._device = batch_size, device
        raw = torch.from_numpy(images).to(device).permute(0, 3, 1, 2)
        padded = pad(raw, (PADDING,) * 4)
        self._padded = padded if dtype == torch.uint8 else _normalised(padded, dtype)
        self._labels = torch.arange(len(images), device=device)
        self._random = torch.Generator(device).manual_seed(SEED)

    def epoch(self, number: int) -> Batches:
        """Augment the whole set, then yield its batches."""
        count = len(self._labels)
        images = self._mirrored(self._cropped())
        order = torch.randperm(count, generator=self._random, device=self._device)
        for first in range(0, count, self._batch_size):
            ids = order[first : first + self._batch_size]
            yield images[ids], self._labels[ids]

    def _cropped(self) -> Tensor:
        """Rows first, then columns: 2 * (2 * padding + 1) masks instead of their product."""
        height, width = self._side
        offsets = 2 * PADDING + 1
        rows, columns = self._draw(offsets), self._draw(offsets)
        tall = torch.empty_like(self._padded[:, :, :height])
        for offset in range(offsets):
            mask = rows == offset
            tall[mask] = self._padded[mask, :, offset : offset + height]
        out = torch.empty_like(tall[..., :width])
        for offset in range(offsets):
            mask = columns == offset
            out[mask] = tall[mask, :, :, offset : offset + width]
        return out

    def _mirrored(self, images: Tensor) -> Tensor:
        mirrored = (self._draw(2) == 1).view(-1, 1, 1, 1)
        return torch.where(mirrored, images.flip(-1), images)

    def _draw(self, below: int) -> Tensor:
        count = len(self._labels)
        return torch.randint(below, (count,), generator=self._random, device=self._device)


def feed(
    images: npt.NDArray[np.uint8], batch_size: int, dtype: torch.dtype, device: str = "cpu"
) -> Feed:
    """Whole-epoch tensors of `dtype`."""
    loader = PlainTensors(images, batch_size, dtype, device)
    name = f"plain tensors, {kind_of(dtype, device=device)}"
    return Feed(name, "whole epoch at once", loader.epoch)


def _normalised(pixels: Tensor, dtype: torch.dtype) -> Tensor:
    mean = torch.tensor(MEAN, device=pixels.device).view(1, 3, 1, 1)
    std = torch.tensor(STD, device=pixels.device).view(1, 3, 1, 1)
    out = torch.empty_like(pixels, dtype=dtype)
    for first in range(0, len(pixels), 5000):  # in parts: no float32 copy of the whole set
        part = slice(first, first + 5000)
        out[part] = (pixels[part].float() / 255 - mean) / std
    return out
