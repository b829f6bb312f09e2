"""Initialisation of a network's weights: those that report 000 compares, PyTorch's, dirac.

The filters of a whitening stem are not drawn: `whitening` computes them from images.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from engine.config.schema import Model
from engine.model.blocks import Convolution, Whitening

# with the gains of the code that report 000 builds on; `model.init_gain` overrides them
GAINED = {
    "xavier_uniform": (nn.init.xavier_uniform_, 1.0),
    "xavier_normal": (nn.init.xavier_normal_, math.sqrt(2)),
    "orthogonal": (nn.init.orthogonal_, math.sqrt(2)),
}
HE = {"he_uniform": nn.init.kaiming_uniform_, "he_normal": nn.init.kaiming_normal_}


def initialise(network: nn.Module, model: Model, generator: torch.Generator) -> None:
    """Draw the weights of every convolution and linear layer as `model.init` says.

    Biases and batch norm are left as they are; with `default`, so is everything. The weights of
    the classifier are scaled to `model.classifier_std` after that.
    """
    for module in network.modules():
        if isinstance(module, Whitening) or model.init == "default":
            continue
        if model.init == "dirac":
            if isinstance(module, Convolution):
                pass_through(module)
        elif isinstance(module, (nn.Conv2d, nn.Linear)):
            _draw(module.weight, model, generator)
    if model.classifier_std is not None:
        weight = network.get_parameter("classifier.weight")
        with torch.no_grad():
            weight.mul_(model.classifier_std / weight.std())


def pass_through(convolution: Convolution) -> None:
    """Let the first filters return the input's channels unchanged; the others stay as drawn.

    As `torch.nn.init.dirac_` of these filters, but that an even kernel's pixel is the one that
    stands over the output's, with this convolution's padding.
    """
    weight, middle = convolution.weight, convolution.padding[0]
    channels = min(weight.shape[:2])
    assert isinstance(middle, int)
    with torch.no_grad():
        weight[:channels].zero_()
        weight[range(channels), range(channels), middle, middle] = 1


def _draw(weight: torch.Tensor, model: Model, generator: torch.Generator) -> None:
    if model.init in GAINED:
        draw, gain = GAINED[model.init]
        draw(weight, gain if model.init_gain is None else model.init_gain, generator=generator)
    elif model.init in HE:
        HE[model.init](weight, nonlinearity="relu", generator=generator)
    else:
        nn.init.normal_(weight, std=model.init_std, generator=generator)
