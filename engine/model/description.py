"""A network in numbers: built on the meta device, so that it costs no memory.

Only its parameters are counted: a forward pass there would import much of torch's compiler (2 s).
"""

from __future__ import annotations

from typing import Any

import torch

from engine.model import budget
from engine.model.naming import name_of
from engine.model.resnet import ResNet, count
from engine.model.variants import Variant


def describe(variant: Variant, classes: int = 10, *, side: int = 32) -> dict[str, Any]:
    """The data behind `--describe`.

    `parameters.se` is the unit after the stem; units inside blocks count to their layers, as does
    the last normalisation of a pre-activation net. `feature_maps` is the side of each layer's map.
    """
    with torch.device("meta"):
        network = ResNet(variant, classes, side=side)
    parts = count(network)
    return {
        "variant": name_of(variant),
        "parameters": {
            "total": sum(parameter.numel() for parameter in network.parameters()),
            "stem": parts.stem,
            "se": parts.se,
            "layers": list(parts.layers),
            "classifier": parts.classifier,
        },
        "flops": budget.flops(variant, classes, side=side)._asdict(),
        "feature_maps": budget.feature_maps(variant, side)[1:],
    }
