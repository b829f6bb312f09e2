"""Loss and accuracy summed on the device and read once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from engine.step.ranks import ALONE, Ranks


@dataclass(frozen=True)
class Means:
    """Mean loss and accuracy of a pass over images."""

    images: int
    loss: float | None  # None if not finite, which JSON has no number for
    accuracy: float  # 0 to 1


class Totals:
    """Running sums; adding to them never waits for the device."""

    def __init__(self, device: torch.device) -> None:
        self.loss = torch.zeros((), dtype=torch.float64, device=device)
        self.correct = torch.zeros((), dtype=torch.int64, device=device)
        self.images = 0

    def add(self, mean_loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Count one batch."""
        self.sum(mean_loss, correct_of(logits, labels), len(labels))
        self.images += len(labels)

    def sum(self, mean_loss: Tensor, correct: Tensor, images: int) -> None:
        """The device's part of `add`."""
        self.loss += mean_loss.detach().double() * images
        self.correct += correct

    def read(self, ranks: Ranks = ALONE) -> Means:
        """The means so far, of all `ranks`; waits for the device."""
        loss, correct, images = self.loss, self.correct, self.images
        if ranks.count > 1:
            parts = torch.stack((loss, correct.double(), torch.full_like(loss, images)))
            ranks.sum_(parts)
            loss, correct, images = parts[0], parts[1], int(parts[2].item())
        loss_per_image = loss.item() / max(images, 1)
        finite = loss_per_image if math.isfinite(loss_per_image) else None
        return Means(images, finite, int(correct.item()) / max(images, 1))

    def reset(self) -> None:
        """Start again from zero."""
        self.loss.zero_()
        self.correct.zero_()
        self.images = 0

    def tensors(self) -> dict[str, Tensor]:
        """The sums, for a checkpoint."""
        images = torch.tensor(self.images)
        return {"loss": self.loss, "correct": self.correct, "images": images}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Restore the result of `tensors`."""
        self.loss.copy_(tensors["loss"])
        self.correct.copy_(tensors["correct"])
        self.images = int(tensors["images"])


def correct_of(logits: Tensor, labels: Tensor) -> Tensor:
    """How many images are classified as their labels say."""
    return (logits.detach().argmax(1) == labels).sum()


class Mix(NamedTuple):
    """What a mixed batch has beside its labels: those of the second images, and how much counts."""

    labels: Tensor  # N
    share: Tensor  # of the first image, from 0 to 1; 0-d or N


def loss_of(
    logits: Tensor, labels: Tensor, smoothing: float = 0.0, mix: Mix | None = None
) -> Tensor:
    """Mean cross-entropy, in float32 at least, whatever the network computed in.

    `smoothing` is the share of the target that is spread over all classes; of mixed images the
    loss is the sum of those for both labels by their shares.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if mix is None:
        return cross_entropy(logits, labels, label_smoothing=smoothing)
    first, second = (
        cross_entropy(logits, each, reduction="none", label_smoothing=smoothing)
        for each in (labels, mix.labels)
    )
    share = mix.share.to(logits.dtype)
    return (share * first + (1 - share) * second).mean()
