"""Initialisation of a network's weights: those that report 000 compares, and PyTorch's default."""

from __future__ import annotations

import math

import torch
from torch import nn

from engine.config.schema import Model

# with the gains of the code that report 000 builds on; `model.init_gain` overrides them
GAINED = {
    "xavier_uniform": (nn.init.xavier_uniform_, 1.0),
    "xavier_normal": (nn.init.xavier_normal_, math.sqrt(2)),
    "orthogonal": (nn.init.orthogonal_, math.sqrt(2)),
}
HE = {"he_uniform": nn.init.kaiming_uniform_, "he_normal": nn.init.kaiming_normal_}


def initialise(network: nn.Module, model: Model, generator: torch.Generator) -> None:
    """Draw the weights of every convolution and linear layer as `model.init` says.

    Biases and batch norm are left as they are; with `default`, so is everything.
    """
    if model.init == "default":
        return
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            _draw(module.weight, model, generator)


def _draw(weight: torch.Tensor, model: Model, generator: torch.Generator) -> None:
    if model.init in GAINED:
        draw, gain = GAINED[model.init]
        draw(weight, gain if model.init_gain is None else model.init_gain, generator=generator)
    elif model.init in HE:
        HE[model.init](weight, nonlinearity="relu", generator=generator)
    else:
        nn.init.normal_(weight, std=model.init_std, generator=generator)
