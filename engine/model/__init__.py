"""The networks: one table of variants (`variants`), one parametrised class (`resnet`).

`choice` turns a configuration's `model` section into a `Variant` and says what is wrong with it;
`budget` counts parameters and FLOPs in closed form, `fitting` finds the nearest network within a
limit; `naming` names any network of the family; `weights` initialises it, `whitening` a stem of
fixed filters; `listing` and `description` are the data behind `--list` and `--describe`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from engine.model.budget import feature_maps
from engine.model.choice import problems, resolve
from engine.model.listing import rows
from engine.model.variants import VARIANTS, Variant

if TYPE_CHECKING:
    from engine.model.description import describe
    from engine.model.resnet import ResNet
    from engine.model.weights import initialise
    from engine.model.whitening import whiten

__all__ = [
    "VARIANTS",
    "ResNet",
    "Variant",
    "describe",
    "feature_maps",
    "initialise",
    "problems",
    "resolve",
    "rows",
    "whiten",
]


_NEEDS_TORCH = {
    "ResNet": "resnet",
    "describe": "description",
    "initialise": "weights",
    "whiten": "whitening",
}


def __getattr__(name: str) -> Any:
    """Import what needs torch on first use: counting alone does without its seconds."""
    if name not in _NEEDS_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_NEEDS_TORCH[name]}"), name)
