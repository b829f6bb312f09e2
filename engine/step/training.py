"""The training step: forward, loss, backward, clip, update, sums."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from engine.config.schema import Optim
from engine.data.loader import Batch
from engine.optim import optimizers
from engine.optim.schedules import Rates
from engine.step.device import Machine
from engine.step.totals import Totals, loss_of


class TrainingStep:
    """Call it with a batch and rates; `healthy()` says whether every update so far was finite.

    A non-finite loss or gradient is caught before the update and no later update is made. On a
    CPU `healthy` is known at once; on a GPU the updates are masked by a flag on the device, so
    that nothing waits, and the flag is read when the caller asks.
    """

    def __init__(self, network: nn.Module, optim: Optim, machine: Machine) -> None:
        self.network = network
        self.machine = machine
        self.optim = optim
        self.parameters = list(network.parameters())
        self.optimizer = optimizers.make(network, optim)
        self.totals = Totals(machine.device)
        self._scaling = LossScale(machine.device) if machine.precision == "fp16" else None
        self._broken = torch.zeros((), device=machine.device)
        self._forward = torch.compile(network) if machine.compile else network

    def __call__(self, batch: Batch, rates: Rates) -> None:
        images, labels = batch
        self.network.train()
        self.optimizer.zero_grad(set_to_none=True)
        with self.machine.autocast():
            logits = self._forward(images)
        loss = loss_of(logits, labels)
        (loss if self._scaling is None else loss * self._scaling.scale).backward()
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        overflow = self._check(loss, gradients)
        optimizers.clip(self.parameters, self.optim)
        optimizers.set_rates(self.optimizer, rates)
        self._update(overflow)
        self.totals.add(loss, logits, labels)

    def healthy(self) -> bool:
        """Whether no loss or gradient was nan or infinite; waits for the device."""
        return not bool(self._broken)

    def tensors(self) -> dict[str, Tensor]:
        """All that the next step depends on, beside the network."""
        named = {f"optimizer.{k}": v for k, v in optimizers.state_tensors(self.optimizer).items()}
        named |= {f"totals.{k}": v for k, v in self.totals.tensors().items()}
        if self._scaling is not None:
            named |= {f"scaling.{k}": v for k, v in self._scaling.tensors().items()}
        return named

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Bring back what `tensors` gave."""
        optimizers.restore(self.optimizer, _under("optimizer.", tensors))
        self.totals.restore(_under("totals.", tensors))
        if self._scaling is not None:
            self._scaling.restore(_under("scaling.", tensors))

    def _check(self, loss: Tensor, gradients: list[Tensor]) -> Tensor:
        """Note a non-finite loss or gradient; returns 1 where this update must not happen."""
        norm = torch.stack(torch._foreach_norm(gradients)).sum()
        if self._scaling is not None:
            # An overflow of scaled gradients is the scale's fault, and mended by lowering it.
            overflow = (~torch.isfinite(norm)).float()
            torch._foreach_div_(gradients, self._scaling.scale)
            self._scaling.update(overflow)
            self._broken.copy_(torch.maximum(self._broken, self._scaling.hopeless(loss)))
            return torch.maximum(overflow, self._broken)
        finite = torch.isfinite(loss.detach()) & torch.isfinite(norm)
        self._broken.copy_(torch.maximum(self._broken, (~finite).float()))
        return self._broken

    def _update(self, overflow: Tensor) -> None:
        if self.machine.device.type == "cpu":
            if not overflow:
                self.optimizer.step()
            return
        # The fused optimizers skip the update on the device where this flag is set.
        self.optimizer.grad_scale = None  # type: ignore[attr-defined]
        self.optimizer.found_inf = overflow  # type: ignore[attr-defined]
        self.optimizer.step()


class LossScale:
    """The dynamic scale of fp16 losses, kept on the device so that no step waits for it."""

    START, GROW_EVERY, LOWEST = 2.0**16, 2000, 2.0**-10

    def __init__(self, device: torch.device) -> None:
        self.scale = torch.full((), self.START, device=device)
        self.good_steps = torch.zeros((), device=device)

    def update(self, overflow: Tensor) -> None:
        """Halve after an overflow, double after many good steps."""
        self.good_steps.copy_((self.good_steps + 1) * (1 - overflow))
        grow = (self.good_steps >= self.GROW_EVERY).float()
        self.good_steps.mul_(1 - grow)
        self.scale.mul_(torch.where(overflow > 0, 0.5, 1.0 + grow))

    def hopeless(self, loss: Tensor) -> Tensor:
        """1 where no scale can help: the loss itself is not finite, or the scale is used up."""
        return ((~torch.isfinite(loss.detach())) | (self.scale < self.LOWEST)).float()

    def tensors(self) -> dict[str, Tensor]:
        """The scale and its count."""
        return {"scale": self.scale, "good_steps": self.good_steps}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Bring back what `tensors` gave."""
        self.scale.copy_(tensors["scale"])
        self.good_steps.copy_(tensors["good_steps"])


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
