"""Test-time augmentation: the mean of a network's logits over several views of each image."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from engine.step.device import Machine
from engine.step.graph import logits_of

NONE, FLIP, SIX = "none", "flip", "six"  # as in `train.tta`
WORDS = {FLIP: "two views", SIX: "six views"}


def logits_of_views(network: nn.Module, images: Tensor, machine: Machine, tta: str) -> Tensor:
    """Mean logits of the views that `tta` names, in float32.

    `flip`: the image and its mirror image. `six`: these two with half the weight, and with the
    other half both shifted by one pixel to the lower right and to the upper left, edges reflected.
    """
    if tta == NONE:
        return logits_of(network, images, machine)
    mirrored = _with_mirror_image(network, images, machine)
    if tta == FLIP:
        return mirrored
    padded, side = pad(images, (1, 1, 1, 1), mode="reflect"), images.shape[-1]
    first, second = (
        _with_mirror_image(network, padded[:, :, at : at + side, at : at + side], machine)
        for at in (0, 2)
    )
    return mirrored / 2 + (first + second) / 4


def _with_mirror_image(network: nn.Module, images: Tensor, machine: Machine) -> Tensor:
    one, other = (
        logits_of(network, each.contiguous(memory_format=torch.channels_last), machine)
        for each in (images, images.flip(-1))
    )
    return (one + other) / 2
