"""This project's loader, as a user would open it."""

from __future__ import annotations

import inspect
from pathlib import Path

import torch

from benchmarks.loaders import MEAN, PADDING, SEED, STD, Feed, Unavailable
from engine.data.loader import Loader

MODES = ("resident", "stream")


def open_loader(
    path: Path,
    batch_size: int,
    *,
    mode: str = "resident",
    dtype: torch.dtype = torch.uint8,
    device: str = "cpu",
) -> Loader:
    """Crop, flip and, for floats, normalise; every sample once an epoch."""
    if "mode" in inspect.signature(Loader.__init__).parameters:
        return Loader(
            path,
            batch_size,
            seed=SEED,
            device=device,
            dtype=dtype,
            crop_padding=PADDING,
            flip="random",
            mean=MEAN,
            std=STD,
            mode=mode,
        )
    if mode != "resident":
        raise Unavailable("this version has no stream mode")
    return Loader(
        path,
        batch_size,
        seed=SEED,
        device=device,
        dtype=dtype,
        crop_padding=PADDING,
        flip=True,
        mean=MEAN,
        std=STD,
    )


def feed(
    path: Path,
    batch_size: int,
    *,
    mode: str = "resident",
    dtype: torch.dtype = torch.uint8,
    device: str = "cpu",
) -> Feed:
    """Our loader in one of its modes."""
    loader = open_loader(path, batch_size, mode=mode, dtype=dtype, device=device)
    kind = str(dtype).removeprefix("torch.")
    return Feed(f"ours, {mode}, {kind}", f"crop {PADDING}, flip", loader.epoch, loader.close)
