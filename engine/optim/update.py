"""The optimizer's update with rates in device memory, so that a CUDA graph can record it.

torch's fused kernels read the learning rate from memory, but take momentum and beta1 as Python
numbers, which a graph would keep for ever. Where a schedule moves them, the kernels run with a
constant of their own and the averages are rescaled around them; the result is torch's up to float
rounding.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.optim import Optimizer

from engine.config.schema import Optim

BETA1 = 0.9  # passed to the kernel where beta1 moves; the value does not matter


class DeviceRates(NamedTuple):
    """`Rates` in device memory, in float32."""

    lr: Tensor  # 0-d
    momentum: Tensor  # 0-d


class Update:
    """One update with the parameters' gradients; nothing changes where the flag `skip` is set.

    The rates and the flag are read by the kernels, so nothing waits. Unless `cycles`, the momentum
    never moves and is taken from the configuration.
    """

    def __init__(self, optimizer: Optimizer, optim: Optim, *, cycles: bool = False) -> None:
        self._optimizer, self._optim, self._cycles = optimizer, optim, cycles
        self._parameters = [p for group in optimizer.param_groups for p in group["params"]]

    @torch.no_grad()
    def __call__(self, rates: DeviceRates, skip: Tensor) -> None:
        """Make the update."""
        used = [p for p in self._parameters if p.grad is not None]
        if not used:
            return
        gradients: list[Tensor] = [p.grad for p in used]
        parameters: list[Tensor] = list(used)
        if self._optim.name == "adam":
            self._adam(parameters, gradients, rates, skip)
        elif self._cycles:
            self._sgd_with_moving_momentum(parameters, gradients, rates, skip)
        else:
            momentum, decay = self._optim.momentum, self._optim.weight_decay
            buffers = self._state(parameters, "momentum_buffer") if momentum else []
            nesterov = self._optim.nesterov and momentum > 0
            _fused_sgd(parameters, gradients, buffers, rates.lr, skip, momentum, decay, nesterov)

    def _sgd_with_moving_momentum(
        self,
        parameters: list[Tensor],
        gradients: list[Tensor],
        rates: DeviceRates,
        skip: Tensor,
    ) -> None:
        buffers = self._state(parameters, "momentum_buffer")
        torch._foreach_mul_(buffers, torch.where(skip, 1.0, rates.momentum))
        if not self._optim.nesterov:  # the buffers are multiplied already
            decay = self._optim.weight_decay
            _fused_sgd(parameters, gradients, buffers, rates.lr, skip, 1.0, decay)
            return
        if self._optim.weight_decay:
            torch._foreach_add_(gradients, parameters, alpha=self._optim.weight_decay)
        minus_one = torch.full_like(rates.lr, -1.0)
        _fused_sgd(buffers, gradients, [], minus_one, skip)
        _fused_sgd(parameters, gradients, [], rates.lr, skip)
        _fused_sgd(parameters, buffers, [], rates.lr * rates.momentum, skip)

    def _adam(
        self,
        parameters: list[Tensor],
        gradients: list[Tensor],
        rates: DeviceRates,
        skip: Tensor,
    ) -> None:
        averages, squares, steps = (
            self._state(parameters, name) for name in ("exp_avg", "exp_avg_sq", "step")
        )
        beta1, beta2 = self._optim.betas
        lr, after, skipped = rates.lr, None, skip.float()
        torch._foreach_add_(steps, 1.0)
        if self._cycles:
            # b m + (1 - b) g = after * (B * before * m + (1 - B) g), with the kernel's own B
            beta1, b = BETA1, rates.momentum.double()
            number = steps[0].double()
            before, after = b * (1 - BETA1) / ((1 - b) * BETA1), (1 - b) / (1 - BETA1)
            lr = (lr * after * (1 - BETA1**number) / (1 - b**number)).to(lr.dtype)
            torch._foreach_mul_(averages, torch.where(skip, 1.0, before).float())
        torch._fused_adam_(
            parameters,
            gradients,
            averages,
            squares,
            [],
            steps,
            lr=lr,
            beta1=beta1,
            beta2=beta2,
            weight_decay=self._optim.weight_decay,
            eps=self._optim.eps,
            amsgrad=False,
            maximize=False,
            grad_scale=None,
            found_inf=skipped,
        )
        if after is not None:
            torch._foreach_mul_(averages, torch.where(skip, 1.0, after).float())
        torch._foreach_sub_(steps, [skipped] * len(steps))

    def _state(self, parameters: list[Tensor], name: str) -> list[Tensor]:
        return [self._optimizer.state[p][name] for p in parameters]


def _fused_sgd(
    parameters: list[Tensor],
    gradients: list[Tensor],
    buffers: list[Tensor],
    lr: Tensor,
    skip: Tensor,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
) -> None:
    """The kernel of torch; by default `parameters -= lr * gradients`, unless `skip` is set."""
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
        found_inf=skip.float(),
    )
