"""The loss scale of fp16, which keeps small gradients from becoming zero."""

from __future__ import annotations

import torch
from torch import Tensor


class LossScale:
    """The dynamic loss scale of fp16, on the device so that no step waits for it."""

    START, GROW_EVERY, LOWEST = 2.0**16, 2000, 2.0**-10

    def __init__(self, device: torch.device) -> None:
        self.scale = torch.full((), self.START, device=device)
        self.good_steps = torch.zeros((), device=device)

    def update(self, overflow: Tensor) -> None:
        """Halve after an overflow, double after many good steps."""
        self.good_steps.copy_(torch.where(overflow, 0.0, self.good_steps + 1))
        grow = self.good_steps >= self.GROW_EVERY
        self.good_steps.copy_(torch.where(grow, 0.0, self.good_steps))
        self.scale.mul_(torch.where(overflow, 0.5, torch.where(grow, 2.0, 1.0)))

    def used_up(self) -> Tensor:
        """True where lowering the scale did not help."""
        return self.scale < self.LOWEST

    def tensors(self) -> dict[str, Tensor]:
        """The scale and its count."""
        return {"scale": self.scale, "good_steps": self.good_steps}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Restore the result of `tensors`."""
        self.scale.copy_(tensors["scale"])
        self.good_steps.copy_(tensors["good_steps"])
