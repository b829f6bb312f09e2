"""The training step: forward, loss, backward, clip, update, averages of the weights, sums."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.profiler import record_function

from engine.config.schema import Optim
from engine.data.loader import Batch
from engine.model.norm import counters
from engine.optim.ema import MovingAverage
from engine.optim.lookahead import Lookahead
from engine.optim.optimizer import DeviceRates, Optimizer, clip
from engine.optim.schedules import Rates
from engine.optim.stages import WHOLE, Stage
from engine.step import compiled, loss_on_gpu
from engine.step.device import Machine
from engine.step.loss_scale import LossScale
from engine.step.mixing import Mixing, mixed
from engine.step.ranks import ALONE, Ranks, summed
from engine.step.resizing import resized
from engine.step.totals import Mix, Totals, correct_of, loss_of
from engine.step.trace import OPTIMIZER


class TrainingStep:
    """Call it with a batch, its rates, its number and its stage; sums are kept in `totals`.

    A non-finite loss or gradient is caught before the update, and no later update is made. On a
    GPU the updates are masked by a flag on the device, so that nothing waits;
    `first_bad_step` reads the flags when the caller is ready to wait. Where a `batch_size` is
    given, batches of another size run uncompiled. `cycles` says that the momentum will move;
    `smoothing` is the label smoothing of the loss, which `totals` sum as well; `steps` are those of
    the whole run. Each of `ranks` has its part of a batch; `batch_size` and `totals` are of all.
    """

    def __init__(
        self,
        network: nn.Module,
        optim: Optim,
        machine: Machine,
        *,
        batch_size: int = 0,
        cycles: bool = False,
        smoothing: float = 0.0,
        steps: int = 0,
        ranks: Ranks = ALONE,
    ) -> None:
        self.network = network
        self.totals = Totals(machine.device)
        self._machine = machine
        self._optim = optim
        self._parameters = list(network.parameters())
        half = torch.bfloat16 if machine.precision == "bf16" else None
        self._optimizer = Optimizer(network, optim, cycles=cycles, dtype=half)
        self._lookahead = Lookahead(network, optim, steps) if optim.lookahead_k else None
        self._average = MovingAverage(network, optim, steps) if optim.ema_decay else None
        self._compiled = compiled.forward(network, machine)
        self._batch_size, self._smoothing = batch_size, smoothing
        self._scaling = LossScale(machine.device) if machine.precision == "fp16" else None
        self._stage, self._images = WHOLE, 0
        self._ranks = ranks
        self._counters = counters(network)
        self._fused = machine.savings.loss_kernel and self._scaling is None
        self._bad_step = torch.full((), -1, dtype=torch.int64, device=machine.device)
        self._bad_loss = torch.zeros((), device=machine.device)

    def __call__(
        self,
        batch: Batch,
        rates: Rates,
        number: int,
        stage: Stage = WHOLE,
        mixing: Mixing | None = None,
        images: int | None = None,
    ) -> None:
        """Make step `number` over one batch, whose images are mixed as `mixing` says.

        All ranks together have `images`; not given: there is one.
        """
        images = len(batch.labels) if images is None else images
        self.begin(stage, images)
        row = None
        if mixing is not None:
            device = self._machine.device
            row = torch.tensor(mixing, pin_memory=device.type == "cuda")
            row = row.to(device, non_blocking=True)
        self.queue(batch, rates, number, row)
        self.totals.images += images

    def begin(self, stage: Stage = WHOLE, images: int = 0) -> None:
        """The host's part of a step, before that of the device; all ranks together have `images`.

        Those of one process are those of its batch.
        """
        if not self.network.training:
            self.network.train()
        self._stage, self._images = stage, images
        for name, value in (("layers", stage.frozen), ("stem", stage.frozen_stem)):
            if getattr(self.network, f"frozen_{name}", 0) != value:
                setattr(self.network, f"frozen_{name}", value)

    def queue(
        self,
        batch: Batch,
        rates: Rates | DeviceRates,
        number: int | Tensor,
        mixing: Tensor | None = None,
    ) -> None:
        """The device's part of a step; with rates and number on the device a graph can record it.

        The images are not yet counted in `totals`: a graph knows no plain numbers.
        """
        (images, labels), mix = batch, None
        whole = len(labels) if self._ranks.count == 1 else self._images
        if mixing is not None:
            images, mix = mixed(images, labels, mixing)
        images = resized(images, self._stage.side)
        self._optimizer.zero_grad()
        with self._machine.autocast():
            logits = self._forward(images, whole)
        fused = self._fused and logits.shape[1] <= loss_on_gpu.MOST_CLASSES
        end = self._end_by_kernels if fused else self._end
        skip, skipped = end(logits, labels, mix, whole, number)
        if self._counters:
            torch._foreach_add_(self._counters, 1)
        with record_function(OPTIMIZER):  # for --profile
            self._update(rates, skip, skipped)

    def _end(
        self, logits: Tensor, labels: Tensor, mix: Mix | None, whole: int, number: int | Tensor
    ) -> tuple[Tensor, Tensor]:
        """Loss, backward pass, check and sums; whether to skip the update, also as float32."""
        loss = loss_of(logits, labels, self._smoothing, mix)
        correct = correct_of(logits, labels)
        if self._ranks.count > 1:  # the mean over all ranks' images is the sum of their losses
            loss = loss * (len(labels) / whole)
        scaled: Tensor = loss if self._scaling is None else loss * self._scaling.scale
        torch.autograd.backward(scaled)
        loss = loss.detach()
        if self._ranks.count > 1:
            loss, correct = summed(self._parameters, loss, correct, self._ranks)
        skip = self._check(loss, number)
        self.totals.sum(loss, correct, whole)
        return skip, skip.float()

    def _end_by_kernels(
        self, logits: Tensor, labels: Tensor, mix: Mix | None, whole: int, number: int | Tensor
    ) -> tuple[Tensor, Tensor]:
        """`_end` in few kernels."""
        loss = loss_on_gpu.softmax_loss(logits, labels, self._smoothing, mix, len(labels) / whole)
        torch.autograd.backward(logits, loss.gradient)
        if self._ranks.count > 1:
            mean, correct = loss.sums.sum(1)
            sums = torch.stack(summed(self._parameters, mean, correct, self._ranks))
            loss = loss._replace(sums=sums[:, None])
        loss_on_gpu.check(loss, [p.grad for p in self._parameters if p.grad is not None])
        flags = loss_on_gpu.Flags(self._bad_step, self._bad_loss)
        return loss_on_gpu.end_of_step(loss, number, flags, self.totals, whole)

    def _update(self, rates: Rates | DeviceRates, skip: Tensor, skipped: Tensor) -> None:
        clip(self._parameters, self._optim)
        self._optimizer(rates, skip, skipped)
        may_read = isinstance(rates, Rates) and self._machine.device.type == "cpu"
        if self._lookahead is not None:
            self._lookahead(skip, may_read=may_read)
        if self._average is not None:
            self._average(skip, may_read=may_read)

    def finish(self) -> None:
        """After the last step of the run: leave the network with the weights that it ends with."""
        if self._lookahead is not None:
            self._lookahead.finish()

    def averaged(self) -> contextlib.AbstractContextManager[None]:
        """In here the network has its averaged weights, where there are any."""
        return contextlib.nullcontext() if self._average is None else self._average.in_place()

    def first_bad_step(self) -> tuple[int, float] | None:
        """The first step whose loss or gradient was not finite, and its loss; waits for a GPU."""
        return first_bad_step_in(self.failure_flags())

    def failure_flags(self) -> dict[str, Tensor]:
        """The first bad step (-1: none) and its loss, on the device."""
        return {"step": self._bad_step, "loss": self._bad_loss}

    def tensors(self) -> dict[str, Tensor]:
        """Everything that the next step depends on, besides the network."""
        named: dict[str, Tensor] = {}
        for part, kept in self._parts():
            named |= {f"{part}.{k}": v for k, v in kept.tensors().items()}
        return named

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Restore the result of `tensors`."""
        for part, kept in self._parts():
            kept.restore(_under(f"{part}.", tensors))

    def _parts(self) -> Iterator[tuple[str, _Kept]]:
        """What a checkpoint holds, by its name there."""
        yield "optimizer", self._optimizer
        yield "totals", self.totals
        if self._lookahead is not None:
            yield "lookahead", self._lookahead
        if self._average is not None:
            yield "ema", self._average
        if self._scaling is not None:
            yield "scaling", self._scaling

    def _forward(self, images: Tensor, whole: int) -> Tensor:
        if not self._machine.channels_last:
            images = images.contiguous()
        usual = self._batch_size in (0, whole)
        logits: Tensor = (self._compiled if usual else self.network)(images)
        return logits

    def _check(self, loss: Tensor, number: int | Tensor) -> Tensor:
        """Record a loss or gradient that is not finite; true where this update must be skipped."""
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        finite = torch.isfinite(torch.stack(torch._foreach_norm(gradients)).sum())
        bad = ~(torch.isfinite(loss) & finite)
        skip = bad
        if self._scaling is not None:
            # An overflow of scaled gradients is corrected by lowering the scale.
            torch._foreach_div_(gradients, self._scaling.scale)
            self._scaling.update(~finite)
            bad = ~torch.isfinite(loss) | self._scaling.used_up()
        first = bad & (self._bad_step < 0)
        self._bad_loss.copy_(torch.where(first, loss, self._bad_loss))
        self._bad_step.copy_(torch.where(first, number, self._bad_step))
        return skip | (self._bad_step >= 0)


class _Kept(Protocol):
    """A part of a step's state."""

    def tensors(self) -> dict[str, Tensor]:
        """Its tensors by name."""

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Restore the result of `tensors`."""


def first_bad_step_in(flags: Mapping[str, Tensor]) -> tuple[int, float] | None:
    """`TrainingStep.first_bad_step` from a copy of its flags."""
    step = int(flags["step"])
    return None if step < 0 else (step, float(flags["loss"]))


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
