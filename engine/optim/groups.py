"""Which parameters are trained, and with which rule, rate and decay each of them is.

Filters are the weights of convolutions, norms the scales and biases of batch norm, the head is the
classifier; the rest are biases of convolutions. Parameters that are not trained at all (a whitening
stem's filters) belong to none.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from engine.config.schema import Optim

FILTERS, NORM, HEAD, REST = "filters", "norm", "head", "rest"


class Group(NamedTuple):
    """How parameters are updated; those with equal settings share one group, and its kernels."""

    rule: str  # sgd, adam, adamw or muon
    factor: float  # of the schedule's learning rate
    weight_decay: float
    momentum: float | None  # None: optim.momentum or beta1, which a schedule may move
    nesterov: bool
    stem_bias: bool = False  # its rate has a curve of its own

    @property
    def moves(self) -> bool:
        """Whether the schedule can move its momentum."""
        return self.momentum is None


def groups_of(network: nn.Module, optim: Optim) -> dict[Group, list[nn.Parameter]]:
    """The trained parameters by group, in the network's order."""
    groups: dict[Group, list[nn.Parameter]] = {}
    for name, kind, parameter in kinds_of(network):
        if parameter.requires_grad:
            groups.setdefault(_group(name, kind, parameter, optim), []).append(parameter)
    return groups


def kinds_of(network: nn.Module) -> Iterator[tuple[str, str, nn.Parameter]]:
    """Name and kind of every parameter, in the network's order."""
    for path, module in network.named_modules():
        for name, parameter in module.named_parameters(path, recurse=False):
            if isinstance(module, _BatchNorm):
                kind = NORM
            elif isinstance(module, nn.Linear):
                kind = HEAD
            else:
                kind = FILTERS if parameter.dim() == 4 else REST
            yield name, kind, parameter


def _group(name: str, kind: str, parameter: nn.Parameter, optim: Optim) -> Group:
    own = {
        NORM: (optim.norm_lr, optim.norm_weight_decay),
        HEAD: (optim.head_lr, optim.head_weight_decay),
        REST: (optim.rest_lr, optim.rest_weight_decay),
    }
    lr, decay = own.get(kind, (None, None))
    lr = optim.lr if lr is None else lr
    decay = optim.weight_decay if decay is None else decay
    if parameter.dim() == 1 and not optim.decay_biases:
        decay = 0.0
    rule, momentum, nesterov = optim.name, None, optim.nesterov
    if rule == "muon" and kind != FILTERS:
        rule, momentum, nesterov = "sgd", optim.rest_momentum, True
    if optim.stem_bias_epochs is not None and kind == REST and name.startswith("stem."):
        return Group(rule, lr / optim.lr, decay, momentum, nesterov, stem_bias=True)
    return Group(rule, lr / optim.lr, decay, momentum, nesterov)
