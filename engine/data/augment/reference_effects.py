"""The specification of colour jitter and random erasing: slow, one image at a time.

They come after crop, flip and AutoAugment: brightness, contrast, saturation, cutout, erasing, in
this order, as torchvision's `ColorJitter` and `RandomErasing` do them to floats, but with 0 to 255
for 0 to 1. The fast versions give the same bits as one another, and in float32 what this gives
in float64.

The jitter draws by (seed, JITTER, epoch, sample): of words 0, 1 and 2 the upper 24 bits give the
factors, uniform from 1 - strength to 1 + strength. Erasing draws by (seed, ERASING, epoch,
sample): word 0 whether, word 1 the size, words 2 and 3 row and column of the first corner.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engine.data.augment import reference
from engine.data.counter import Ids, Purpose, below, draws
from engine.data.transform import GREY, Effects, Transform

Image = npt.NDArray[np.float64]  # H W C, 0 to 255

AREA, RATIO = (0.02, 0.33), (0.3, 3.3)  # torchvision's: shares of the image; height by width
LEVELS = 128  # of area and of ratio, from which sizes are drawn


class Rectangle(NamedTuple):
    """What is erased of one image; nothing where it has no height."""

    row: int
    column: int
    height: int
    width: int


def factors(effects: Effects, seed: int, epoch: int, ids: Ids) -> npt.NDArray[np.float64]:
    """The factors of brightness, contrast and saturation for the samples `ids`."""  # N 3
    words = draws(seed, Purpose.JITTER, epoch, ids)[:, :3]
    strengths = np.array([effects.brightness, effects.contrast, effects.saturation])
    uniform = (words >> np.uint32(8)).astype(np.float64) / 2**24
    out: npt.NDArray[np.float64] = 1 - strengths + 2 * strengths * uniform
    return out


def jitter(image: Image, brightness: float, contrast: float, saturation: float) -> Image:
    """`image` with these factors; 1 changes nothing."""
    image = (image * brightness).clip(0, 255)
    image = (contrast * image + (1 - contrast) * grey(image).mean()).clip(0, 255)
    return (saturation * image + (1 - saturation) * grey(image)).clip(0, 255)


def grey(image: Image) -> Image:
    """The grey of each pixel."""  # H W 1
    out: Image = (image @ np.array(GREY))[..., None]
    return out


@lru_cache(maxsize=4)
def rectangles(height: int, width: int) -> npt.NDArray[np.int64]:
    """The sizes that erasing draws from with equal chances: height * 2**16 + width.

    Those of `LEVELS` even shares of the area's range, times as many of the ratio's logarithm;
    a rectangle as high or as wide as the image is left out, where torchvision draws again.
    """
    middles = (np.arange(LEVELS) + 0.5) / LEVELS
    areas = height * width * (AREA[0] + (AREA[1] - AREA[0]) * middles)[:, None]
    first, last = map(math.log, RATIO)
    ratios = np.exp(first + (last - first) * middles)[None, :]
    heights = np.rint(np.sqrt(areas * ratios)).astype(np.int64)
    widths = np.rint(np.sqrt(areas / ratios)).astype(np.int64)
    fits = (heights < height) & (widths < width)
    sizes: npt.NDArray[np.int64] = (heights << 16 | widths)[fits]
    return sizes if len(sizes) else np.zeros(1, np.int64)


def erased(
    effects: Effects, seed: int, epoch: int, ids: Ids, height: int, width: int
) -> list[Rectangle]:
    """What is erased of the samples `ids`, each wholly inside the image."""
    out, sizes = [], rectangles(height, width)
    for words in draws(seed, Purpose.ERASING, epoch, ids):
        packed = int(sizes[below(words[1:2], len(sizes))[0]])
        tall, wide = packed >> 16, packed & 0xFFFF
        row, column = (
            int(below(words[k : k + 1], bound)[0])
            for k, bound in ((2, height - tall + 1), (3, width - wide + 1))
        )
        applied = int(words[0]) < round(effects.erasing * 2**32)
        out.append(Rectangle(row, column, tall, wide) if applied else Rectangle(0, 0, 0, 0))
    return out


def augment(
    image: npt.NDArray[np.uint8],
    sample: int,
    transform: Transform,
    effects: Effects,
    seed: int,
    epoch: int,
) -> Image:
    """`image` after crop, flip and all effects; not rounded."""
    height, width, _ = image.shape
    ids = np.array([sample], np.int64)
    drawn = reference.geometry(transform, seed, epoch, ids, height, width)
    row, column, flip, cut_row, cut_column = (int(each[0]) for each in drawn)
    cropped = reference.crop_flip(
        image, row, column, bool(flip), transform.crop_padding, transform.padding_mode
    )
    out = jitter(cropped.astype(np.float64), *factors(effects, seed, epoch, ids)[0])
    (hole,) = erased(effects, seed, epoch, ids, height, width)
    side = transform.cutout
    for top, left, tall, wide in ((cut_row, cut_column, side, side), hole):
        out[top : top + tall, left : left + wide] = 255 * np.array(effects.fill or (0.0,) * 3)
    return out
