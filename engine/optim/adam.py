"""Adam and AdamW by torch's fused kernels: one pass over memory for a whole group."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from engine.config.schema import Optim
from engine.optim.groups import Group
from engine.optim.rule import Gradients, Number, scale

BETA1 = 0.9  # passed to the kernel where beta1 is on the device; the value does not matter


class Adam:
    """As `torch.optim.Adam` and, with decoupled weight decay, `torch.optim.AdamW`.

    The kernel takes beta1 as a Python number, which a graph would keep for ever. Where beta1 is on
    the device the kernel runs with a constant of its own and the averages are rescaled around it.
    """

    def __init__(self, group: Group, optim: Optim) -> None:
        self._decay, self._eps, self._beta2 = group.weight_decay, optim.eps, optim.betas[1]
        self._decoupled = group.rule == "adamw"

    def fresh(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        """Both moments and the count of updates."""
        return {
            "step": torch.zeros((), device=parameter.device),
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.zeros_like(parameter),
        }

    def __call__(self, given: Gradients) -> None:
        """One update."""
        steps = given.state["step"]
        torch._foreach_add_(steps, 1.0)
        if isinstance(given.momentum, Tensor):
            self._with_beta1_on_device(given, given.momentum)
        else:
            self._kernel(given, given.lr, given.momentum, self._decay)
        torch._foreach_sub_(steps, [given.skipped] * len(steps))

    def _with_beta1_on_device(self, given: Gradients, momentum: Tensor) -> None:
        # b m + (1 - b) g = after * (B * before * m + (1 - B) g), with the kernel's own B
        b, decay, lr = momentum.double(), self._decay, given.lr
        if self._decoupled and decay:  # the kernel would use the rescaled rate for it
            scale(given.parameters, 1 - lr * decay, given.skip)
            decay = 0.0
        averages, number = given.state["exp_avg"], given.state["step"][0].double()
        before, after = b * (1 - BETA1) / ((1 - b) * BETA1), (1 - b) / (1 - BETA1)
        rescaled = lr * after * (1 - BETA1**number) / (1 - b**number)
        scale(averages, before, given.skip)
        self._kernel(given, rescaled.to(momentum.dtype), BETA1, decay)
        scale(averages, after, given.skip)

    def _kernel(self, given: Gradients, lr: Number, beta1: float, decay: float) -> None:
        kernel = torch._fused_adamw_ if self._decoupled else torch._fused_adam_
        kernel(
            given.parameters,
            given.gradients,
            given.state["exp_avg"],
            given.state["exp_avg_sq"],
            [],
            given.state["step"],
            lr=lr,
            beta1=beta1,
            beta2=self._beta2,
            weight_decay=decay,
            eps=self._eps,
            amsgrad=False,
            maximize=False,
            grad_scale=None,
            found_inf=given.skipped,
        )
