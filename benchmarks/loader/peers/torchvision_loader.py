"""torchvision's transforms under PyTorch's DataLoader, on images that already lie in memory.

No disk and no decoder is involved: every image is a PIL image or a tensor in memory, made from
the pixels of the file that the others read. Workers stay alive from epoch to epoch.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.transforms import v2

from benchmarks.loader.peers import Batches, Feed
from benchmarks.measuring.data import PADDING, InMemory

KINDS = ("v1, PIL", "v1, tensors", "v2, tensors")
WORKERS = (0, 2)
BATCHES_AHEAD = 4  # per worker; 2, the default, was never faster


def feed(images: npt.NDArray[np.uint8], batch_size: int, kind: str, workers: int) -> Feed:
    """Crop and flip to uint8, each image by itself, as torchvision does it."""
    loader: DataLoader[Any] = DataLoader(
        _samples(images, kind),
        batch_size,
        shuffle=True,
        drop_last=False,
        num_workers=workers,
        persistent_workers=workers > 0,
        prefetch_factor=BATCHES_AHEAD if workers else None,
    )
    setting = f"{workers} workers, images in memory"
    return Feed(f"torchvision {kind}", setting, lambda _: _epoch(loader), lambda: _stop(loader))


def _samples(images: npt.NDArray[np.uint8], kind: str) -> InMemory:
    side = (images.shape[1], images.shape[2])
    if kind == "v1, PIL":
        steps = [
            transforms.RandomCrop(side, padding=PADDING),
            transforms.RandomHorizontalFlip(),
            transforms.PILToTensor(),
        ]
        pictures = [Image.fromarray(image) for image in images]
        return InMemory(pictures, range(len(images)), transforms.Compose(steps))
    tensors = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    kit: Any = transforms if kind == "v1, tensors" else v2
    steps = [kit.RandomCrop(side, padding=PADDING), kit.RandomHorizontalFlip()]
    return InMemory(list(tensors), range(len(images)), kit.Compose(steps))


def _epoch(loader: DataLoader[Any]) -> Batches:
    with warnings.catch_warnings():
        # Python 3.12 and later warn when a process with threads forks; the workers use no threads.
        warnings.simplefilter("ignore", DeprecationWarning)
        iterator = iter(loader)
    yield from iterator


def _stop(loader: DataLoader[Any]) -> None:
    iterator: Any = loader._iterator
    if iterator is not None and loader.num_workers:
        iterator._shutdown_workers()
    loader._iterator = None
