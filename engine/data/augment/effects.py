"""Colour jitter, random erasing, and cutout in a colour: a second pass over cropped batches.

Batches without them never come here. CPU and GPU give the same bits, and `reference_effects`
specifies them: floats differ from it by less than 1e-3 of a pixel's level before they are
normalised, pixels by rounding only.
"""

from __future__ import annotations

import math
from itertools import count
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engine.data.augment import reference_effects
from engine.data.augment.cpu import ScaleShift
from engine.data.counter import Ids, halves
from engine.data.kernels import threads as pool
from engine.data.transform import Effects

KINDS = (torch.uint8, torch.float32, torch.bfloat16)
PIECE = 32  # images that a thread takes at a time


class Finish(NamedTuple):
    """The second pass: its settings, as numbers of both kernels."""

    effects: Effects
    cutout: int
    seed: int
    constants: ScaleShift
    fill: tuple[float, ...]  # as values of the batch

    def numbers(self, pixels: int) -> npt.NDArray[np.float32]:
        """Lowest factor and span of each jitter, and what turns a sum of greys into the mean."""
        effects = self.effects
        strengths = (effects.brightness, effects.contrast, effects.saturation)
        each = [number for x in strengths for number in (1 - x, 2 * x)]
        return np.array([*each, 1 / (4096 * pixels)], np.float32)

    @property
    def threshold(self) -> int:
        """Of the words that erasing draws, those below it erase."""
        return round(self.effects.erasing * 2**32)


def fill_values(
    effects: Effects, mean: tuple[float, ...], std: tuple[float, ...], dtype: torch.dtype
) -> tuple[float, ...]:
    """The colour that is filled, as values of the batch: exactly 0 where it is the mean."""
    colour = effects.fill or (0.0, 0.0, 0.0)
    if dtype == torch.uint8:
        return tuple(float(math.floor(255 * each + 0.5)) for each in colour)
    return tuple((c - m) / s for c, m, s in zip(colour, mean, std, strict=True))


def on_cpu(
    images: Tensor, ids: Ids, finish: Finish, epoch: int, out: Tensor, threads: int | None = None
) -> None:
    """Write the cropped `images` (N H W 3, uint8) of the samples `ids` to `out` (N C H W)."""
    from engine.data.kernels.effects import finish_pieces  # loads Numba

    if not len(ids):
        return
    number, height, width, _ = images.shape
    low, high = halves(finish.seed, epoch)
    before = images.numpy().reshape(number, -1)
    memory = out.permute(0, 2, 3, 1).reshape(number, -1).view(torch.int8).numpy()
    fixed = (
        np.concatenate(finish.constants),
        finish.numbers(height * width),
        np.array(finish.fill, np.float32),
        reference_effects.rectangles(height, width),
        (
            height,
            width,
            finish.cutout,
            KINDS.index(out.dtype),
            epoch,
            low,
            high,
            finish.threshold,
        ),
    )
    firsts = range(0, number, PIECE)
    left, done = iter(firsts), count(1)  # the threads share them: each piece is taken once

    def work() -> bool:
        ended_the_last = False
        for first in left:
            piece = slice(first, first + PIECE)
            finish_pieces(before[piece], ids[piece], memory[piece], *fixed)
            ended_the_last = next(done) == len(firsts)
        return ended_the_last

    pool.share(work, min(threads or pool.available(), len(firsts)))
