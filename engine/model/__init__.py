"""The networks: one table of variants (`variants`), one parametrised class (`resnet`).

`choice` turns a configuration's `model` section into a `Variant` and says what is wrong with it;
`budget` counts parameters and operations in closed form, `fitting` finds what keeps to them;
`naming` names any member of the family; `weights` draws what a network begins with; `listing` and
`description` are the data behind `--list` and `--describe`.
"""

from engine.model.budget import feature_maps
from engine.model.choice import problems, resolve
from engine.model.description import describe
from engine.model.listing import rows
from engine.model.resnet import ResNet
from engine.model.variants import VARIANTS, Variant
from engine.model.weights import initialise

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
]
