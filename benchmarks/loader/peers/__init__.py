"""The loaders that are compared, each as a `Feed`; one small file for each kind of competitor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import Tensor

Batches = Iterator[tuple[Tensor, Tensor]]

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)  # of CIFAR-10, for all alike
PADDING = 4
SEED = 1


class Unavailable(Exception):
    """This machine cannot run a loader: the figure is missing, for this reason."""


@dataclass(frozen=True)
class Feed:
    """Something that delivers every sample of a file once an epoch."""

    name: str
    setting: str  # what was chosen for it: a rate means nothing without
    epoch: Callable[[int], Batches]  # images and labels of the n-th epoch
    close: Callable[[], None]


def on_gpu(device: str) -> str:
    """What a feed's name ends with: its figures there are others."""
    return "" if device == "cpu" else ", GPU"
