"""The work of networks that are not ours, counted operation by operation as they run."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

IMAGES = 2  # of a counted batch: batch norm needs more than one


def flops(call: Callable[[], object]) -> int:
    """The operations of convolutions and matrix products within a call; a multiply-add is two."""
    with FlopCounterMode(display=False) as counter:
        call()
    return int(counter.get_total_flops())


def forward(network: nn.Module) -> int:
    """FLOPs of an image's forward pass."""
    images = _images()
    return flops(lambda: network.train()(images)) // IMAGES


def training(network: nn.Module) -> int:
    """FLOPs of an image's forward and backward pass; the image itself needs no gradient."""
    images = _images()

    def both() -> None:
        logits: torch.Tensor = network.train()(images)
        torch.autograd.backward(logits.sum())

    return flops(both) // IMAGES


def parameters(network: nn.Module) -> int:
    """How many it has, frozen ones included."""
    return sum(parameter.numel() for parameter in network.parameters())


def _images() -> torch.Tensor:
    return torch.zeros(IMAGES, 3, 32, 32)
