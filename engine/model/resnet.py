"""The residual network that every `Variant` describes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from engine.model import budget
from engine.model.blocks import (
    ACTIVATIONS,
    Block,
    Convolution,
    Padded,
    SqueezeExcite,
    Transition,
    Whitening,
    batch_norm,
)
from engine.model.variants import Layer, Variant

MODULES: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU}


class ResNet(nn.Module):
    """Stem, residual layers, pool, classifier; PyTorch's default initialisation.

    `side` is that of the images: with a pool smaller than the last map it determines the size of
    the classifier's input. The stem of a pre-activation network is a convolution alone; one more
    batch norm follows its last layer.

    With `frozen_layers` = n the stem and the first n layers run without gradients; their batch
    norms still use and collect the statistics of their batches. `frozen_stem` freezes the stem
    alone. Both may be changed between steps; 0 and False, nothing is frozen.
    """

    def __init__(
        self, variant: Variant, classes: int = 10, channels: int = 3, side: int = 32
    ) -> None:
        super().__init__()
        first, last = variant.stem_width, variant.widths[-1]
        self.frozen_layers, self.frozen_stem = 0, False
        self.stem = _stem(variant, channels)
        self.se = SqueezeExcite(first, variant.se_reduction) if variant.se == "stem" else None
        self.layers = nn.Sequential(*(_layer(variant, layer) for layer in variant.layers))
        self.norm = batch_norm(variant, last) if variant.preactivation else None
        self.activation = ACTIVATIONS[variant.activation]
        pooled = budget.pooled_side(variant, side)
        self.pool = 0 if pooled == 1 and _covers(variant, side) else int(variant.pool)
        self.takes_maximum = variant.pool_kind == "max"
        drops = variant.dropout > 0 and variant.dropout_place == "classifier"
        self.dropout = nn.Dropout(variant.dropout) if drops else None
        self.classifier = nn.Linear(last * pooled**2, classes, bias=variant.classifier_bias)
        self.logit_scale = variant.logit_scale
        self._parts = _unusual_parts(variant)

    def forward(self, images: torch.Tensor) -> torch.Tensor:  # N C H W
        """Return the logits, N classes."""
        if self.frozen_layers or self.frozen_stem:
            x = self._partly_frozen(images)
        else:
            x = self.stem(images)
            if self.se is not None:
                x = self.se(x)
            x = self.layers(x)
        if self.norm is not None:
            x = self.activation(self.norm(x))
        x = self._pooled(x)
        if self.dropout is not None:
            x = self.dropout(x)
        logits: torch.Tensor = self.classifier(x)
        return logits if self.logit_scale == 1 else logits * self.logit_scale

    def pad_stem(self, channels: int) -> None:
        """Let the first convolution compute with so many channels, zeros but for its own."""
        first = self.stem[0]
        assert isinstance(first, Padded)
        first.pad_to = channels

    def extra_repr(self) -> str:
        """The parts that no module shows; the text also names the compiled code."""
        return self._parts

    def _partly_frozen(self, images: torch.Tensor) -> torch.Tensor:
        """The last layer's output, with gradients from the first part that is not frozen."""
        with torch.no_grad():
            x: torch.Tensor = self.stem(images)
            if self.frozen_layers:
                if self.se is not None:
                    x = self.se(x)
                for index, layer in enumerate(self.layers):
                    if index < self.frozen_layers:
                        x = layer(x)
        if not self.frozen_layers and self.se is not None:
            x = self.se(x)
        for index, layer in enumerate(self.layers):
            if index >= self.frozen_layers:
                x = layer(x)
        return x

    def _pooled(self, x: torch.Tensor) -> torch.Tensor:
        # Over the whole map a fused reduction; the pool's own kernel is slower.
        if self.takes_maximum:
            return F.max_pool2d(x, self.pool).flatten(1) if self.pool else x.amax((2, 3))
        return F.avg_pool2d(x, self.pool).flatten(1) if self.pool else x.mean((2, 3))


def count(network: ResNet) -> budget.Parameters:
    """Count the parameters of each part of a built network, as `budget.parameters` does."""

    def total(module: nn.Module | None) -> int:
        return 0 if module is None else sum(p.numel() for p in module.parameters())

    layers = [total(layer) for layer in network.layers]
    layers[-1] += total(network.norm)
    return budget.Parameters(
        total(network.stem), total(network.se), tuple(layers), total(network.classifier)
    )


def _stem(variant: Variant, channels: int) -> nn.Sequential:
    """The first convolution; its norm and activation, where the first block has none."""
    stem = nn.Sequential()
    if variant.stem == "whiten":
        if channels != 3:
            raise ValueError(f"a whitening stem is for 3 channels, not {channels}")
        stem.append(Whitening(variant.stem_width, variant.stem_kernel))
    else:
        first = variant.widths[0]
        stem.append(Convolution(channels, first, variant.stem_kernel, variant.stem_stride))
        if not variant.preactivation:
            stem.append(batch_norm(variant, first))
    if not variant.preactivation:
        stem.append(MODULES[variant.activation]())
    return stem


def _layer(variant: Variant, layer: Layer) -> nn.Sequential:
    """A layer's blocks, after its transition if that is a pool."""
    parts: list[nn.Module] = []
    if pools := variant.transition == "pool":
        parts.append(Transition(variant, layer))
    changes = [index == 0 and not pools for index in range(layer.blocks)]
    return nn.Sequential(*parts, *(Block(variant, layer, first) for first in changes))


def _covers(variant: Variant, side: int) -> bool:
    """Whether the pool is the whole map."""
    return variant.pool in ("global", budget.feature_maps(variant, side)[-1])


def _unusual_parts(variant: Variant) -> str:
    """The parts that differ from the plain network's and that no module shows."""
    plain = Variant(variant.blocks)
    names = ("activation", "norm_scale", "pool_kind", "logit_scale")
    return ", ".join(
        f"{name}={getattr(variant, name)}"
        for name in names
        if getattr(variant, name) != getattr(plain, name)
    )
