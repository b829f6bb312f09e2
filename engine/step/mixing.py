"""MixUp (Zhang et al., 2018) and CutMix (Yun et al., 2019): images mixed in pairs within a batch.

Each image is mixed with that in its place of the reversed batch, which the order of the epoch makes
a random one. A batch has one share and one box. They are drawn on the host, as a function of seed
and step, and read by the device from memory: one piece of work does both, so that a graph can
record it. With both a coin decides at each step.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from engine.config.schema import Augment
from engine.data.counter import Purpose, derive
from engine.step.totals import Mix


class Mixing(NamedTuple):
    """How the images of one step are mixed; of a box the last row and column are outside."""

    share: float  # of the first image's label
    inside: float  # the weight of the first image's pixels inside the box
    outside: float
    top: float
    bottom: float
    left: float
    right: float


def mixes(augment: Augment) -> bool:
    """Whether any images are mixed."""
    return augment.mixup > 0 or augment.cutmix > 0


def mixing(augment: Augment, seed: int, step: int, side: int) -> Mixing:
    """What is drawn for `step`, for images of `side`."""
    random = np.random.Generator(np.random.Philox(derive(seed, Purpose.MIX, step)))
    coin = bool(random.integers(2))
    if augment.mixup > 0 and (coin or not augment.cutmix):
        share = float(random.beta(augment.mixup, augment.mixup))
        return Mixing(share, share, share, 0, side, 0, side)
    cut = math.sqrt(1 - float(random.beta(augment.cutmix, augment.cutmix)))
    half = int(side * cut) / 2
    middles = random.integers(0, side, 2)
    top, left = (int(max(middle - half, 0)) for middle in middles)
    bottom, right = (int(min(middle + half, side)) for middle in middles)
    share = 1 - (bottom - top) * (right - left) / side**2
    return Mixing(share, 0, 1, top, bottom, left, right)


def mixed(images: Tensor, labels: Tensor, row: Tensor) -> tuple[Tensor, Mix]:
    """The images mixed as `row`, a `Mixing` in memory of their device, says; and their labels."""
    share, inside, outside, top, bottom, left, right = row.unbind()
    y = torch.arange(images.shape[2], device=images.device)[:, None]
    x = torch.arange(images.shape[3], device=images.device)[None, :]
    box = (y >= top) & (y < bottom) & (x >= left) & (x < right)
    first = torch.where(box, inside, outside)  # H W
    return images * first + images.flip(0) * (1 - first), Mix(labels.flip(0), share)
