"""AutoAugment on the CPU: compiled, one image at a time, both of its steps."""

from __future__ import annotations

from itertools import count
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.data.autoaugment_operations import (
    BLUE,
    FIRST_BLEND,
    FIRST_HISTOGRAM,
    FIRST_TABLE,
    GREEN,
    RED,
    ROUND,
    STEPS,
    Operation,
    Steps,
    tables_for,
)
from engine.data.kernels import threads
from engine.data.kernels.jit import eager_njit, inline_njit, types

Images = npt.NDArray[np.uint8]  # B H W 3

COLOR, CONTRAST = int(Operation.COLOR), int(Operation.CONTRAST)
AUTO_CONTRAST = int(Operation.AUTO_CONTRAST)
THIRTEENTH, HALF = np.float32(1 / 13), np.float32(0.5)
PIECE = 64  # images that one thread takes at a time


def apply(images: Images, steps: Steps, out: Images) -> None:
    """Write each image, after its steps, to `out`, which may be `images`."""
    fixed = tables_for(images.shape[1], images.shape[2])
    row = 3 * images.shape[2]
    before, after = (each.reshape(len(images), -1) for each in (images, out))
    firsts = range(0, len(images), PIECE)
    left, done = iter(firsts), count(1)  # the threads share them: each piece is taken once

    def work() -> bool:
        ended_the_last = False
        for first in left:
            piece = slice(first, first + PIECE)
            _apply(before[piece], steps[piece], after[piece], row, *fixed)
            ended_the_last = next(done) == len(firsts)
        return ended_the_last

    threads.share(work, min(threads.available(), len(firsts)))


@inline_njit
def _move(before: Any, sources: Any, image: Any) -> None:
    for i in range(len(sources)):
        source = sources[i]
        if source < 0:
            image[3 * i] = image[3 * i + 1] = image[3 * i + 2] = 0
        else:
            image[3 * i] = before[3 * source]
            image[3 * i + 1] = before[3 * source + 1]
            image[3 * i + 2] = before[3 * source + 2]


@inline_njit
def _look_up(before: Any, table: Any, image: Any) -> None:
    for i in range(len(before)):
        image[i] = table[before[i]]


@inline_njit
def _look_up_by_channel(before: Any, tables: Any, image: Any) -> None:
    red, green, blue = tables
    pixels, out = before.reshape(-1, 3), image.reshape(-1, 3)
    for i in range(len(pixels)):
        out[i, 0] = red[pixels[i, 0]]
        out[i, 1] = green[pixels[i, 1]]
        out[i, 2] = blue[pixels[i, 2]]


@inline_njit
def _grey(image: Any) -> Any:
    """The grey of each pixel, three times."""
    pixels = image.reshape(-1, 3)
    grey = np.empty(pixels.shape, np.uint8)
    for i in range(len(pixels)):
        red, green, blue = np.int32(pixels[i, 0]), np.int32(pixels[i, 1]), np.int32(pixels[i, 2])
        grey[i, 0] = (RED * red + GREEN * green + BLUE * blue + ROUND) >> 16
        grey[i, 1] = grey[i, 2] = grey[i, 0]
    return grey.reshape(-1)


@inline_njit
def _blend(dull: Any, factor: Any, before: Any, image: Any) -> None:
    """As `autoaugment_operations.blend`: rounded to float32 twice, no fused multiply-add."""
    for i in range(len(before)):
        start, end = np.float32(dull[i]), np.float32(before[i])
        beyond = start + factor * (end - start)
        image[i] = np.int32(min(max(beyond, np.float32(0)), np.float32(255)))


@inline_njit
def _even(image: Any) -> Any:
    """The mean grey everywhere."""
    grey = _grey(image)
    total, size = np.int64(0), len(grey)
    for i in range(size):
        total += grey[i]
    mean = (2 * total + size) // (2 * size)
    for i in range(size):
        grey[i] = mean
    return grey


@inline_njit
def _smooth(image: Any, row: int) -> Any:
    """Each value the mean of its 3 x 3 neighbourhood, itself weighted 5; the border unchanged."""
    smooth = image.copy()
    if len(image) < 3 * row or row < 9:
        return smooth
    above, here, under = image[: -2 * row], image[row:-row], image[2 * row :]
    sums = np.empty(len(here), np.int16)
    for i in range(len(here)):
        sums[i] = np.int16(above[i]) + np.int16(here[i]) + np.int16(under[i])
    for first in range(0, len(here), row):
        middle = here[first + 3 : first + row - 3]
        left, right = sums[first : first + row - 6], sums[first + 6 : first + row]
        both, target = sums[first + 3 : first + row - 3], smooth[row + first + 3 :]
        for i in range(len(middle)):
            thirteen = left[i] + both[i] + right[i] + 4 * np.int16(middle[i])
            target[i] = np.int32(np.float32(thirteen) * THIRTEENTH + HALF)  # it is never a half
    return smooth


@inline_njit
def _auto_contrast(before: Any, row: int, image: Any) -> None:
    lowest, highest = before[:row].copy(), before[:row].copy()  # of each column and channel
    for first in range(row, len(before), row):
        values = before[first : first + row]
        for i in range(row):
            lowest[i] = min(lowest[i], values[i])
            highest[i] = max(highest[i], values[i])
    tables = np.empty((3, 256), np.uint8)
    for channel in range(3):
        low, high = 255, 0
        for i in range(channel, row, 3):
            low, high = min(low, np.int64(lowest[i])), max(high, np.int64(highest[i]))
        scale = 255.0 / (high - low) if high > low else 1.0
        offset = -low * scale if high > low else 0.0
        for value in range(256):
            level = min(max(value * scale + offset, 0.0), 255.0)
            tables[channel, value] = np.int32(level)
    _look_up_by_channel(before, tables, image)


@inline_njit
def _equalize(before: Any, image: Any) -> None:
    pixels = before.reshape(-1, 3)
    counts = np.zeros((3, 256), np.int64)
    for i in range(len(pixels)):
        for channel in range(3):
            counts[channel, pixels[i, channel]] += 1
    tables = np.empty((3, 256), np.uint8)
    for channel in range(3):
        brightest = 255
        while counts[channel, brightest] == 0:
            brightest -= 1
        share = (len(pixels) - counts[channel, brightest]) // 255
        below = share // 2
        for value in range(256):
            tables[channel, value] = min(below // share, 255) if share else value
            below += counts[channel, value]
    _look_up_by_channel(before, tables, image)


def _read_only(kind: Any, dimensions: int) -> Any:
    return types.Array(kind, dimensions, "C", readonly=True)


@eager_njit(
    types.void(
        _read_only(types.uint8, 2),
        _read_only(types.int64, 2),
        types.uint8[:, ::1],
        types.int64,
        _read_only(types.int32, 2),
        _read_only(types.uint8, 2),
        _read_only(types.float32, 1),
    )
)
def _apply(
    images: Any, steps: Any, out: Any, row: int, sources: Any, tables: Any, factors: Any
) -> None:
    for i in range(len(images)):
        image = out[i]
        for k in range(len(image)):
            image[k] = images[i, k]
        for step in steps[i]:
            if step < 0:
                continue
            before = image.copy()
            operation = step // STEPS
            if step < FIRST_TABLE:
                _move(before, sources[step], image)
            elif step < FIRST_BLEND:
                _look_up(before, tables[step - FIRST_TABLE], image)
            elif step < FIRST_HISTOGRAM:
                if operation == COLOR:
                    dull = _grey(before)
                elif operation == CONTRAST:
                    dull = _even(before)
                else:
                    dull = _smooth(before, row)
                _blend(dull, factors[step - FIRST_BLEND], before, image)
            elif operation == AUTO_CONTRAST:
                _auto_contrast(before, row, image)
            else:
                _equalize(before, image)
