"""AutoAugment on a GPU: images with operations of one kind form a group with its own kernels.

There are at most seven groups for the first steps of a batch and seven for the second, whatever
its size. One transfer brings all groups to the device, and nothing waits for it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from engine.data.autoaugment_operations import (
    BLUE,
    FIRST_BLEND,
    FIRST_HISTOGRAM,
    FIRST_TABLE,
    GREEN,
    RED,
    ROUND,
    STEPS,
    Operation,
    Steps,
    tables_for,
)


class DeviceTables(NamedTuple):
    """`autoaugment_operations.Tables` as tensors."""

    sources: Tensor
    values: Tensor
    factors: Tensor


def apply(images: Tensor, steps: Steps, out: Tensor) -> None:
    """Write each image (B H W 3, uint8), after its steps, to `out`, which may be `images`."""
    out.copy_(images)
    fixed = _on_device(images.shape[1], images.shape[2], images.device)
    kinds = np.searchsorted(FIRST_OF_KIND, steps, side="right")  # 0: nothing to do
    groups = [
        (kind, np.flatnonzero(kinds[:, turn] == kind), turn)
        for turn in range(2)
        for kind in range(1, len(KINDS) + 1)
    ]
    # One pinned copy for all groups: a copy from pageable memory would make the host wait.
    packed = np.concatenate(
        [np.stack((rows, steps[rows, turn])) for _, rows, turn in groups], axis=1
    )
    host = torch.from_numpy(packed)
    if images.is_cuda:
        host = host.pin_memory()
    device = host.to(images.device, non_blocking=True)
    first = 0
    for kind, rows, _ in groups:
        where, group_steps = device[:, first : first + len(rows)]
        if len(rows):
            done = KINDS[kind - 1](out.index_select(0, where), group_steps, fixed)
            out.index_copy_(0, where, done)
        first += len(rows)


@lru_cache(maxsize=4)
def _on_device(height: int, width: int, device: torch.device) -> DeviceTables:
    return DeviceTables(*(torch.from_numpy(each).to(device) for each in tables_for(height, width)))


def _move(images: Tensor, steps: Tensor, fixed: DeviceTables) -> Tensor:
    pixels = images.flatten(1, 2)  # G pixels 3
    sources = fixed.sources[steps].long()[..., None]  # G pixels 1
    moved = pixels.gather(1, sources.clamp(0).expand_as(pixels))
    return (moved * (sources >= 0)).view_as(images)


def _look_up(images: Tensor, steps: Tensor, fixed: DeviceTables) -> Tensor:
    tables = fixed.values[steps - FIRST_TABLE]  # G 256
    return tables.gather(1, images.flatten(1).long()).view_as(images)


def _color(images: Tensor, steps: Tensor, fixed: DeviceTables) -> Tensor:
    return _blend(_grey(images)[..., None], images, steps, fixed)


def _contrast(images: Tensor, steps: Tensor, fixed: DeviceTables) -> Tensor:
    grey = _grey(images).flatten(1)
    count = grey.shape[1]
    mean = (2 * grey.sum(1) + count) // (2 * count)
    return _blend(mean[:, None, None, None], images, steps, fixed)


def _sharpness(images: Tensor, steps: Tensor, fixed: DeviceTables) -> Tensor:
    height, width = images.shape[1:3]
    if min(height, width) < 3:
        return images
    smooth = images.int()
    rows = smooth[:, :-2] + smooth[:, 1:-1] + smooth[:, 2:]
    total = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:] + 4 * smooth[:, 1:-1, 1:-1]
    smooth[:, 1:-1, 1:-1] = (2 * total + 13) // 26  # the border stays as it is
    return _blend(smooth, images, steps, fixed)


def _auto_contrast(images: Tensor, steps: Tensor, fixed: DeviceTables) -> Tensor:
    pixels = images.flatten(1, 2)
    low, high = (each.double()[:, None] for each in pixels.aminmax(dim=1))  # G 1 3
    values = torch.arange(256, dtype=torch.float64, device=images.device)[:, None]
    # Both operands are tensors: torch would compute number / tensor as a product, rounded twice.
    scale = torch.where(high > low, values[-1] / (high - low), 1)
    offset = torch.where(high > low, -low * scale, 0)
    return _look_up_by_channel(images, (values * scale + offset).clamp(0, 255))


def _equalize(images: Tensor, steps: Tensor, fixed: DeviceTables) -> Tensor:
    pixels = images.flatten(1, 2).mT.contiguous()  # G 3 pixels
    # Sorted, not counted: a histogram's atomic additions are an error in torch's deterministic
    # mode.
    ordered = pixels.sort(dim=2).values
    values = torch.arange(256, dtype=torch.uint8, device=images.device)
    below = torch.searchsorted(ordered, values.expand(*pixels.shape[:2], 256).contiguous())
    darker = torch.searchsorted(ordered, ordered[..., -1:].contiguous())  # than the brightest
    share = darker // 255
    tables = ((share // 2 + below) // share.clamp(1)).clamp(0, 255)
    tables = torch.where(share > 0, tables, values)
    return _look_up_by_channel(images, tables.mT)


def _look_up_by_channel(images: Tensor, tables: Tensor) -> Tensor:
    pixels = images.flatten(1, 2)
    return tables.to(torch.uint8).gather(1, pixels.long()).view_as(images)


def _grey(images: Tensor) -> Tensor:
    red, green, blue = images.int().unbind(-1)
    return (RED * red + GREEN * green + BLUE * blue + ROUND) >> 16


def _blend(dull: Tensor, images: Tensor, steps: Tensor, fixed: DeviceTables) -> Tensor:
    """Rounded to float32 where Pillow does: one kernel multiplies, the next adds."""
    factors = fixed.factors[steps - FIRST_BLEND][:, None, None, None]
    return (dull.float() + factors * (images - dull).float()).clamp(0, 255).to(torch.uint8)


# The first step number of each kind, and the function for it.
FIRST_OF_KIND = (
    0,
    FIRST_TABLE,
    FIRST_BLEND,
    Operation.CONTRAST * STEPS,
    Operation.SHARPNESS * STEPS,
    FIRST_HISTOGRAM,
    Operation.EQUALIZE * STEPS,
)
KINDS: tuple[Callable[[Tensor, Tensor, DeviceTables], Tensor], ...] = (
    _move,
    _look_up,
    _color,
    _contrast,
    _sharpness,
    _auto_contrast,
    _equalize,
)
