"""Networks on the meta device: shapes and counts without memory or time."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from engine.model import ResNet, Variant, fitting


def on_meta(variant: Variant, **options: int) -> ResNet:
    """A network without values."""
    with torch.device("meta"):
        return ResNet(variant, **options)


def observed_sides(network: ResNet, side: int = 32) -> list[int]:
    """The side of the map after the stem and each layer, in a forward pass."""
    sides: list[int] = []

    def observe(_module: nn.Module, _inputs: Any, output: torch.Tensor) -> None:
        assert output.shape[-1] == output.shape[-2]
        sides.append(output.shape[-1])

    for part in (network.stem, *network.layers):
        part.register_forward_hook(observe)
    channels = next(network.parameters()).shape[1]
    network(torch.empty(2, channels, side, side, device="meta"))
    return sides


def smallest_side(variant: Variant) -> int:
    """The smallest images for which the network can be built, of a few sizes."""
    return next(side for side in (8, 16, 24, 32) if not fitting.build_errors(variant, side))


def perturbed(variant: Variant, side: int = 32) -> ResNet:
    """A network in evaluation mode whose batch norms are not the identity."""
    torch.manual_seed(1)
    network = ResNet(variant, side=side).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.weight, module.bias, module.running_mean, module.running_var):
                assert values is not None
                nn.init.uniform_(values, 0.5, 1.5)
    return network
