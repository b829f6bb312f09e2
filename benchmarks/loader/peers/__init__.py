"""The loaders that are compared, each as a `Feed`; one small file for each kind of competitor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

SECONDS = 0.3  # of a turn, at least

Batches = Iterator[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Feed:
    """Something that delivers every sample of a file once per epoch."""

    name: str
    setting: str  # without which a rate means nothing
    epoch: Callable[[int], Batches]  # images and labels of the n-th epoch
    close: Callable[[], None] = lambda: None


def kind_of(dtype: torch.dtype, more: str = "", device: str = "cpu") -> str:
    """What a feed's name ends with: rates differ by type of its images, and on a GPU."""
    return str(dtype).removeprefix("torch.") + more + ("" if device == "cpu" else ", GPU")
