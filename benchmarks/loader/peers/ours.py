"""This project's loader, as a user would open it."""

from __future__ import annotations

from pathlib import Path

import torch

from benchmarks.loader.peers import Feed, kind_of
from benchmarks.measuring.data import MEAN, PADDING, SEED, STD
from engine.data.loader import Loader

MODES = ("resident", "stream")
RING = 5  # buffers: as many as FFCV hands out in turn by default


def open_loader(
    path: Path,
    batch_size: int,
    *,
    mode: str = "resident",
    dtype: torch.dtype = torch.uint8,
    device: str = "cpu",
    ring: int = 0,
) -> Loader:
    """Crop, flip and, for floats, normalise; every sample once per epoch."""
    return Loader(
        path,
        batch_size,
        seed=SEED,
        device=device,
        dtype=dtype,
        crop_padding=PADDING,
        padding_mode="zeros",
        flip="random",
        mean=MEAN,
        std=STD,
        drop_last=False,
        mode=mode,
        ring=ring,
    )


def feed(
    path: Path,
    batch_size: int,
    *,
    mode: str = "resident",
    dtype: torch.dtype = torch.uint8,
    device: str = "cpu",
    ring: int = 0,
) -> Feed:
    """Our loader in one of its modes; its batches belong to the caller, or come from a ring."""
    loader = open_loader(path, batch_size, mode=mode, dtype=dtype, device=device, ring=ring)
    name = f"ours, {mode}, {kind_of(dtype, ', ring' if ring else '', device)}"
    setting = f"{ring} buffers in turn" if ring else "batches belong to the caller"
    return Feed(name, setting, loader.epoch, loader.close)
