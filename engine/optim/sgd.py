"""SGD with momentum by torch's fused kernel: one pass over memory for a whole group."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from engine.optim.groups import Group
from engine.optim.rule import BUFFER, Gradients, fused_sgd, scale


class SGD:
    """As `torch.optim.SGD`, whose kernel it calls.

    The kernel reads the learning rate from the device, but takes the momentum as a Python number,
    which a graph would keep for ever. A momentum on the device is multiplied in before the kernel
    runs; the result is torch's up to float rounding.
    """

    def __init__(self, group: Group, has_momentum: bool) -> None:
        self._decay, self._nesterov = group.weight_decay, group.nesterov
        self._has_momentum = has_momentum

    def fresh(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        """The buffer of the momentum, where there can be one."""
        return {BUFFER: torch.zeros_like(parameter)} if self._has_momentum else {}

    def __call__(self, given: Gradients) -> None:
        """One update."""
        parameters, gradients, lr = given.parameters, given.gradients, given.lr
        if isinstance(given.momentum, Tensor):
            self._with_momentum_on_device(given, given.momentum)
            return
        momentum = given.momentum
        buffers = given.state[BUFFER] if momentum else []
        nesterov = self._nesterov and momentum > 0
        fused_sgd(given, parameters, gradients, buffers, lr, momentum, self._decay, nesterov)

    def _with_momentum_on_device(self, given: Gradients, momentum: Tensor) -> None:
        parameters, gradients, buffers = given.parameters, given.gradients, given.state[BUFFER]
        scale(buffers, momentum, given.skip)
        if not self._nesterov:  # the buffers are multiplied already
            fused_sgd(given, parameters, gradients, buffers, given.lr, 1.0, self._decay)
            return
        if self._decay:
            torch._foreach_add_(gradients, parameters, alpha=self._decay)
        fused_sgd(given, buffers, gradients, [], -1.0)
        fused_sgd(given, parameters, gradients, [], given.lr)
        fused_sgd(given, parameters, buffers, [], given.lr * momentum)
