"""What the kernels of `loss_on_gpu` compute, by torch's operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.step import loss_on_gpu
from engine.step.loss_on_gpu import Flags, Loss
from engine.step.totals import Mix, Totals, correct_of, loss_of

StandIn = Callable[..., Any]


def softmax_loss(
    logits: Tensor,
    labels: Tensor,
    smoothing: float = 0.0,
    mix: Mix | None = None,
    factor: float = 1.0,
) -> Loss:
    """To the bit what a step without the kernels computes; in one part."""
    leaf = logits.detach().requires_grad_()
    with torch.enable_grad():
        loss = loss_of(leaf, labels, smoothing, mix)
        loss = loss if factor == 1 else loss * factor
        (gradient,) = torch.autograd.grad(loss, leaf)
    right = correct_of(logits, labels).to(loss.dtype)
    return Loss(gradient, torch.stack((loss.detach(), right))[:, None], torch.arange(2.0))


def end_of_step(
    loss: Loss, number: int | Tensor, flags: Flags, totals: Totals, images: int
) -> tuple[Tensor, Tensor]:
    """As its name says."""
    mean, right = loss.sums.sum(1)
    bad = ~torch.isfinite(mean) | (loss.check[0] != 0)
    first = bad & (flags.step < 0)
    flags.loss.copy_(torch.where(first, mean, flags.loss))
    flags.step.copy_(torch.where(first, number, flags.step))
    totals.sum(mean, right.long(), images)
    skip = bad | (flags.step >= 0)
    return skip, skip.float()


def install(
    monkeypatch: pytest.MonkeyPatch, wrap: Callable[[StandIn], StandIn] = lambda each: each
) -> None:
    """From now on these stand for the kernels."""
    for stand_in in (softmax_loss, end_of_step):
        monkeypatch.setattr(loss_on_gpu, stand_in.__name__, wrap(stand_in))
