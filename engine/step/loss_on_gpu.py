"""Loss, its gradient, the check of a step and its sums on a GPU: three kernels, not fifty.

The same as `loss_of`, `correct_of`, torch's backward pass of the loss and `Totals.sum`, but for
rounding; gradients that are not finite are found by the kernel of torch's `GradScaler`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor

from engine.step.totals import Mix, Totals

MOST_CLASSES = 1024
VALUES = 1024  # logits per program


class Loss(NamedTuple):
    """What a batch's loss leaves on the device."""

    gradient: Tensor  # of the logits
    sums: Tensor  # 2 P: parts of the mean loss, and of the number of right answers
    check: Tensor  # 2: 0, or not once a gradient is not finite; 1


class Flags(NamedTuple):
    """The first step that was not finite."""

    step: Tensor  # -1: none
    loss: Tensor


def softmax_loss(
    logits: Tensor,
    labels: Tensor,
    smoothing: float = 0.0,
    mix: Mix | None = None,
    factor: float = 1.0,
) -> Loss:
    """The mean loss of a batch times `factor`, with its gradient and right answers."""
    from engine.step import loss_kernel as kernel  # imports Triton

    logits = logits.detach().contiguous()
    count, classes = logits.shape
    block = 1 << (classes - 1).bit_length()
    rows = max(1, VALUES // block)
    programs = -(-count // rows)
    share = None if mix is None else mix.share.float()
    out = Loss(
        torch.empty_like(logits),
        logits.new_empty((2, programs), dtype=torch.float32),
        logits.new_empty(2, dtype=torch.float32),
    )
    with _on(logits):
        kernel.softmax_loss[(programs,)](
            *out,
            logits,
            labels,
            None if mix is None else mix.labels,
            share,
            count,
            smoothing,
            factor / count,
            CLASSES=classes,
            SHARES=share is not None and share.ndim > 0,
            ROWS=rows,
            BLOCK=block,
        )
    return out


def check(loss: Loss, gradients: list[Tensor]) -> None:
    """Note in `loss` whether any of the gradients is not finite."""
    found, scale = loss.check[:1], loss.check[1:]
    torch._amp_foreach_non_finite_check_and_unscale_(gradients, found, scale)


def end_of_step(
    loss: Loss, number: int | Tensor, flags: Flags, totals: Totals, images: int
) -> tuple[Tensor, Tensor]:
    """Check and count a step of `images`; returns whether to skip its update, also as float32.

    The sums of `totals` are raised, but for their number of images.
    """
    from engine.step import loss_kernel as kernel  # imports Triton

    parts = loss.sums.shape[1]
    skip = torch.empty((), dtype=torch.bool, device=loss.sums.device)
    skipped = torch.empty((), device=loss.sums.device)
    with _on(skip):
        kernel.end_of_step[(1,)](
            skip,
            skipped,
            loss.sums,
            loss.check,
            number,
            *flags,
            totals.loss,
            totals.correct,
            images,
            parts,
            NUMBER_IN_MEMORY=isinstance(number, Tensor),
            BLOCK=max(2, 1 << (parts - 1).bit_length()),
        )
    return skip, skipped


def _on(tensor: Tensor) -> AbstractContextManager[object]:
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()
