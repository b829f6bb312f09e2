"""Small stores and batches to augment on any device, and what the reference makes of them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from engine.data.augment import reference
from engine.data.counter import Ids
from engine.data.transform import Transform


def store(height: int, width: int, rows: int = 6) -> np.ndarray:
    """Random images."""
    return np.random.default_rng(0).integers(0, 256, (rows, height, width, 3), np.uint8)


def batch(images: np.ndarray, size: int) -> tuple[Ids, Ids]:
    """Random rows of the store, and ids for their draws."""
    random = np.random.default_rng(1)
    return random.integers(0, len(images), size), random.integers(0, 2**31, size)


def expected(
    images: np.ndarray, rows: Ids, ids: Ids, transform: Transform, seed: int, epoch: int
) -> np.ndarray:
    """The reference's batch, N H W C."""
    pairs = zip(rows.tolist(), ids.tolist(), strict=True)
    return np.stack([reference.augment(images[r], i, transform, seed, epoch) for r, i in pairs])


def pixels(out: Tensor) -> np.ndarray:
    """A batch as N H W C in memory of the host."""
    return out.permute(0, 2, 3, 1).cpu().numpy()


def on(device: str, *arrays: np.ndarray) -> list[Tensor]:
    """The arrays as tensors there."""
    return [torch.from_numpy(array).to(device) for array in arrays]
