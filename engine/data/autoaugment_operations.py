"""AutoAugment's operations: what each does to a pixel, bit for bit as Pillow and torchvision do it.

torchvision's transform takes Pillow images or tensors. Both give the same for Translate,
Brightness, Posterize, Solarize, Invert and Equalize; Color, Contrast, Sharpness and AutoContrast
differ by one in the rounding, Shear and Rotate pick other pixels in places. The reports loaded
Pillow images, so we follow that.

A step (an operation with its magnitude, 0 to 9, and its sign) is one number. What does not depend
on the image is computed once: where each pixel comes from, what each value becomes.
"""

from __future__ import annotations

import math
from enum import IntEnum
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

MAGNITUDES = 10
STEPS = 2 * MAGNITUDES  # of one operation: each magnitude with both signs
NOTHING = -1  # the step that leaves the image as it is
FIXED = 65536  # Pillow follows a line through the image in steps of 1/65536 pixel
RED, GREEN, BLUE, ROUND = 19595, 38470, 7471, 32768  # its grey: shares of 65536, rounded

Steps = npt.NDArray[np.int64]  # images x 2: the first step and the second (or NOTHING)


class Operation(IntEnum):
    """Similar operations are neighbours, so that each kind is a range of step numbers."""

    SHEAR_X = 0  # up to ROTATE: each pixel comes from one place, for any image
    SHEAR_Y = 1
    TRANSLATE_X = 2
    TRANSLATE_Y = 3
    ROTATE = 4
    BRIGHTNESS = 5  # up to INVERT: each value becomes one other, for any image
    POSTERIZE = 6
    SOLARIZE = 7
    INVERT = 8
    COLOR = 9  # up to SHARPNESS: towards or away from a duller image
    CONTRAST = 10
    SHARPNESS = 11
    AUTO_CONTRAST = 12  # from here: each value becomes one other, by the image's histogram
    EQUALIZE = 13


SIGNED = frozenset(range(Operation.BRIGHTNESS + 1)) | {
    Operation.COLOR,
    Operation.CONTRAST,
    Operation.SHARPNESS,
}
FIRST_TABLE = Operation.BRIGHTNESS * STEPS
FIRST_BLEND = Operation.COLOR * STEPS
FIRST_HISTOGRAM = Operation.AUTO_CONTRAST * STEPS
ALL_STEPS = len(Operation) * STEPS


class Tables(NamedTuple):
    """What the steps look up, for images of one size."""

    sources: npt.NDArray[np.int32]  # geometric steps x pixels; -1: from outside, black
    values: npt.NDArray[np.uint8]  # steps of fixed tables x 256
    factors: npt.NDArray[np.float32]  # of the steps that blend


def step(operation: Operation, magnitude: int = 0, negative: bool = False) -> int:
    """The number of a step."""
    return operation * STEPS + 2 * magnitude + negative


@lru_cache(maxsize=4)
def tables_for(height: int, width: int) -> Tables:
    """What the steps look up for images of `height` x `width`: 400 bytes per pixel."""
    sources, values, factors = [], [], []
    for operation in Operation:
        for index in range(STEPS):
            magnitude = _magnitude(operation, index // 2, height, width)
            if operation in SIGNED and index % 2:
                magnitude = -magnitude
            if operation <= Operation.ROTATE:
                sources.append(_source(_matrix(operation, magnitude, height, width), height, width))
            elif operation <= Operation.INVERT:
                values.append(_table(operation, magnitude))
            elif operation <= Operation.SHARPNESS:
                factors.append(1.0 + magnitude)
    return Tables(np.stack(sources), np.stack(values), np.array(factors, np.float32))


def blend(
    dull: npt.NDArray[np.int64], image: npt.NDArray[np.int64], factor: np.float32
) -> npt.NDArray[np.uint8]:
    """Pillow's: 0 gives the dull image, 1 the image, beyond goes on past it, all in float32."""
    blended = dull.astype(np.float32) + factor * (image - dull).astype(np.float32)
    out: npt.NDArray[np.uint8] = blended.clip(0, 255).astype(np.uint8)
    return out


def _magnitude(operation: Operation, index: int, height: int, width: int) -> float:
    """From torchvision's augmentation space; by torch's linspace, which rounds in its own way."""
    largest = {
        Operation.SHEAR_X: 0.3,
        Operation.SHEAR_Y: 0.3,
        Operation.TRANSLATE_X: 150 / 331 * width,
        Operation.TRANSLATE_Y: 150 / 331 * height,
        Operation.ROTATE: 30.0,
        Operation.POSTERIZE: 4.0,
    }.get(operation, 0.9)
    if operation == Operation.SOLARIZE:
        return float(torch.linspace(255, 0, MAGNITUDES)[index])
    if operation == Operation.POSTERIZE:
        return 8 - round(index / (MAGNITUDES - 1) * largest)
    return float(torch.linspace(0, largest, MAGNITUDES)[index])


def _matrix(operation: Operation, magnitude: float, height: int, width: int) -> list[float]:
    """Where a pixel at (x, y) comes from: a x + b y + c, d x + e y + f."""
    if operation == Operation.SHEAR_X:
        return [1, magnitude, 0, 0, 1, 0]
    if operation == Operation.SHEAR_Y:
        return [1, 0, 0, magnitude, 1, 0]
    if operation == Operation.TRANSLATE_X:
        return [1, 0, -int(magnitude), 0, 1, 0]
    if operation == Operation.TRANSLATE_Y:
        return [1, 0, 0, 0, 1, -int(magnitude)]
    angle = -math.radians(magnitude % 360)
    sine, cosine = round(math.sin(angle), 15), round(math.cos(angle), 15)
    x, y = width / 2, height / 2  # stays where it is
    return [cosine, sine, x - cosine * x - sine * y, -sine, cosine, y + sine * x - cosine * y]


def _source(matrix: list[float], height: int, width: int) -> npt.NDArray[np.int32]:
    """For each pixel the index of the one that it comes from, or -1 from outside the image."""
    a, b, c, d, e, f = matrix
    y, x = np.divmod(np.arange(height * width, dtype=np.int64), width)
    column = (_fixed(a) * x + _fixed(b) * y + _fixed(c + (a + b) / 2)) // FIXED
    row = (_fixed(d) * x + _fixed(e) * y + _fixed(f + (d + e) / 2)) // FIXED
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    return np.where(inside, row * width + column, -1).astype(np.int32)


def _fixed(value: float) -> int:
    return math.floor(value * FIXED + 0.5)


def _table(operation: Operation, magnitude: float) -> npt.NDArray[np.uint8]:
    """What each of the 256 values becomes."""
    values = np.arange(256)
    if operation == Operation.BRIGHTNESS:
        return blend(np.zeros_like(values), values, np.float32(1.0 + magnitude))
    if operation == Operation.POSTERIZE:
        table = values & ~(2 ** (8 - int(magnitude)) - 1)
    elif operation == Operation.SOLARIZE:
        table = np.where(values < magnitude, values, 255 - values)
    else:
        table = 255 - values
    out: npt.NDArray[np.uint8] = table.astype(np.uint8)
    return out
