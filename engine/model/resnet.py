"""The residual network that every `Variant` describes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from engine.model import budget
from engine.model.blocks import Block, Convolution, SqueezeExcite
from engine.model.variants import Variant


class ResNet(nn.Module):
    """Stem, residual layers, average pool, classifier; PyTorch's default initialisation.

    `side` is that of the images: with a pool smaller than the last map it determines the size of
    the classifier's input. The stem of a pre-activation network is a convolution alone; one more
    batch norm follows its last layer.
    """

    def __init__(
        self, variant: Variant, classes: int = 10, channels: int = 3, side: int = 32
    ) -> None:
        super().__init__()
        first, last = variant.widths[0], variant.widths[-1]
        self.stem = nn.Sequential(
            Convolution(channels, first, variant.stem_kernel, variant.stem_stride)
        )
        if not variant.preactivation:
            self.stem.extend([nn.BatchNorm2d(first), nn.ReLU()])
        self.se = SqueezeExcite(first, variant.se_reduction) if variant.se == "stem" else None
        self.layers = nn.Sequential(
            *(
                nn.Sequential(*(Block(variant, layer, index == 0) for index in range(layer.blocks)))
                for layer in variant.layers
            )
        )
        self.norm = nn.BatchNorm2d(last) if variant.preactivation else None
        pooled = budget.pooled_side(variant, side)
        self.pool = 0 if pooled == 1 and _covers(variant, side) else int(variant.pool)
        drops = variant.dropout > 0 and variant.dropout_place == "classifier"
        self.dropout = nn.Dropout(variant.dropout) if drops else None
        self.classifier = nn.Linear(last * pooled**2, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:  # N C H W
        """Return the logits, N classes."""
        x = self.stem(images)
        if self.se is not None:
            x = self.se(x)
        x = self.layers(x)
        if self.norm is not None:
            x = F.relu(self.norm(x))
        # A mean over the whole map is one fused reduction; the pool's own kernel is slower.
        x = F.avg_pool2d(x, self.pool).flatten(1) if self.pool else x.mean((2, 3))
        if self.dropout is not None:
            x = self.dropout(x)
        logits: torch.Tensor = self.classifier(x)
        return logits


def count(network: ResNet) -> budget.Parameters:
    """Count the parameters of each part of a built network, as `budget.parameters` does."""

    def total(module: nn.Module | None) -> int:
        return 0 if module is None else sum(p.numel() for p in module.parameters())

    layers = [total(layer) for layer in network.layers]
    layers[-1] += total(network.norm)
    return budget.Parameters(
        total(network.stem), total(network.se), tuple(layers), total(network.classifier)
    )


def _covers(variant: Variant, side: int) -> bool:
    """Whether the pool is the whole map."""
    return variant.pool in ("global", budget.feature_maps(variant, side)[-1])
