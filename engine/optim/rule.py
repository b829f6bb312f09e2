"""What the rules of the optimizer have in common: their arguments, and torch's fused SGD kernel."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

BUFFER = "momentum_buffer"  # in the state of SGD and Muon, as torch names it

Number = float | Tensor  # a Python number, or a 0-d tensor on the device, as a graph needs it


class Gradients(NamedTuple):
    """Parameters of one group that have a gradient, with what an update of them reads."""

    parameters: list[Tensor]
    gradients: list[Tensor]
    state: dict[str, list[Tensor]]  # by name, in the order of the parameters
    lr: Number
    momentum: Number  # or beta1
    skip: Tensor  # true: nothing changes, whatever the gradients are
    skipped: Tensor  # the same as float32, as the kernels read it


class Rule(Protocol):
    """One rule of update; it has no memory besides the state that it is given."""

    def fresh(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        """The state of a parameter before its first update."""

    def __call__(self, given: Gradients) -> None:
        """Update parameters and state, unless the flag is set; nothing waits for it."""


def fused_sgd(
    given: Gradients,
    parameters: list[Tensor],
    gradients: list[Tensor],
    buffers: list[Tensor],
    lr: Number,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
) -> None:
    """The kernel of torch; by default `parameters -= lr * gradients`, unless skipped."""
    torch._fused_sgd_(
        parameters,
        gradients,
        buffers,
        weight_decay=weight_decay,
        momentum=momentum,
        lr=lr,
        dampening=0.0,
        nesterov=nesterov,
        maximize=False,
        is_first_step=False,
        grad_scale=None,
        found_inf=given.skipped,
    )


def scale(tensors: list[Tensor], factor: Number, skip: Tensor) -> None:
    """Multiply tensors by one number, unless skipped."""
    if not isinstance(factor, Tensor):
        factor = torch.full((), factor, dtype=tensors[0].dtype, device=skip.device)
    torch._foreach_mul_(tensors, torch.where(skip, 1.0, factor).to(tensors[0].dtype))
