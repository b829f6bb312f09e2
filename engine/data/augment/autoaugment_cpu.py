"""AutoAugment on the CPU: compiled, one image at a time, both of its steps.

What Numba keeps on disk does not see a change of the numbers that it takes from `operations`:
they stay as they are. Importing this loads Numba.
"""

from __future__ import annotations

from itertools import count
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import types

from engine.data import threads as batch_threads
from engine.data.augment.operations import (
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
    constants,
)
from engine.data.compiled import compiled, part

Images = npt.NDArray[np.uint8]  # B H W 3

COLOR, CONTRAST = int(Operation.COLOR), int(Operation.CONTRAST)
AUTO_CONTRAST = int(Operation.AUTO_CONTRAST)
THIRTEENTH, HALF = np.float32(1 / 13), np.float32(0.5)
PIECE = 64  # images that one thread takes at a time


def apply(images: Images, steps: Steps, out: Images) -> None:
    """Write each image, after its steps, to `out`, which may be `images`."""
    fixed = constants(images.shape[1], images.shape[2])
    firsts = range(0, len(images), PIECE)
    left, done = iter(firsts), count(1)  # the threads share them: each piece is taken once

    def work() -> bool:
        ended_the_last = False
        for first in left:
            piece = slice(first, first + PIECE)
            _apply(images[piece], steps[piece], out[piece], *fixed)
            ended_the_last = next(done) == len(firsts)
        return ended_the_last

    batch_threads.share(work, min(batch_threads.available(), len(firsts)))


@part
def _copy(values: Any, copied: Any) -> None:
    for i in range(len(values)):
        copied[i] = values[i]


@part
def _move(before: Any, sources: Any, image: Any) -> None:
    pixels, moved = before.reshape(-1, 3), image.reshape(-1, 3)
    for i in range(len(sources)):
        source = sources[i]
        if source < 0:
            moved[i, 0] = moved[i, 1] = moved[i, 2] = 0
        else:
            moved[i, 0] = pixels[source, 0]
            moved[i, 1] = pixels[source, 1]
            moved[i, 2] = pixels[source, 2]


@part
def _look_up(before: Any, table: Any, image: Any) -> None:
    values, found = before.reshape(-1), image.reshape(-1)
    for i in range(len(values)):
        found[i] = table[values[i]]


@part
def _look_up_by_channel(before: Any, tables: Any, image: Any) -> None:
    pixels, found = before.reshape(-1, 3), image.reshape(-1, 3)
    red, green, blue = tables
    for i in range(len(pixels)):
        found[i, 0] = red[pixels[i, 0]]
        found[i, 1] = green[pixels[i, 1]]
        found[i, 2] = blue[pixels[i, 2]]


@part
def _grey(image: Any) -> Any:
    pixels = image.reshape(-1, 3)
    grey = np.empty(len(pixels), np.uint8)
    for i in range(len(pixels)):
        red, green, blue = np.int32(pixels[i, 0]), np.int32(pixels[i, 1]), np.int32(pixels[i, 2])
        grey[i] = (RED * red + GREEN * green + BLUE * blue + ROUND) >> 16
    return grey


@part
def _blend(dull: Any, values: Any, factor: Any, blended: Any) -> None:
    """As `operations.blend`: rounded to float32 twice, no fused multiply and add."""
    for i in range(len(values)):
        start, end = np.float32(dull[i]), np.float32(values[i])
        beyond = start + factor * (end - start)
        blended[i] = np.int32(min(max(beyond, np.float32(0)), np.float32(255)))


@part
def _sum_of_three(values: Any, distance: Any) -> Any:
    left, middle = values[: -2 * distance], values[distance:-distance]
    right, total = values[2 * distance :], np.empty(len(left), np.int16)
    for i in range(len(total)):
        total[i] = np.int16(left[i]) + np.int16(middle[i]) + np.int16(right[i])
    return total


@part
def _color(before: Any, factor: Any, image: Any) -> None:
    grey = _grey(before)
    dull = np.empty((len(grey), 3), np.uint8)
    for i in range(len(grey)):
        dull[i, 0] = dull[i, 1] = dull[i, 2] = grey[i]
    _blend(dull.reshape(-1), before.reshape(-1), factor, image.reshape(-1))


@part
def _contrast(before: Any, factor: Any, image: Any) -> None:
    grey = _grey(before)
    mean = (2 * grey.sum() + len(grey)) // (2 * len(grey))
    _blend(np.full(before.size, np.uint8(mean)), before.reshape(-1), factor, image.reshape(-1))


@part
def _sharpness(before: Any, factor: Any, image: Any) -> None:
    """The dull image is smooth, but for its border."""
    height, width, channels = before.shape
    if height < 3 or width < 3:
        return
    row, values = width * channels, before.reshape(-1)
    dull = values.copy()
    nine = _sum_of_three(_sum_of_three(values, channels), row)
    middle, smooth = values[row + channels :], dull[row + channels :]
    for i in range(len(nine)):
        thirteen = np.float32(nine[i]) + np.float32(4) * np.float32(middle[i])
        smooth[i] = np.int32(thirteen * THIRTEENTH + HALF)  # whole 13ths are never half a value
    _blend(dull, values, factor, image.reshape(-1))
    image[:, 0] = before[:, 0]
    image[:, -1] = before[:, -1]


@part
def _auto_contrast(before: Any, image: Any) -> None:
    rows = before.reshape(before.shape[0], -1)
    lowest, highest = rows[0].copy(), rows[0].copy()  # of each column and channel
    for y in range(1, len(rows)):
        for i in range(len(lowest)):
            lowest[i] = min(lowest[i], rows[y, i])
            highest[i] = max(highest[i], rows[y, i])
    tables = np.empty((3, 256), np.uint8)
    for channel in range(3):
        low, high = np.int64(lowest[channel::3].min()), np.int64(highest[channel::3].max())
        scale = 255.0 / (high - low) if high > low else 1.0
        offset = -low * scale if high > low else 0.0
        for value in range(256):
            tables[channel, value] = np.int32(min(max(value * scale + offset, 0.0), 255.0))
    _look_up_by_channel(before, tables, image)


@part
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


@compiled(
    types.void(
        _read_only(types.uint8, 4),
        _read_only(types.int64, 2),
        types.uint8[:, :, :, ::1],
        _read_only(types.int32, 2),
        _read_only(types.uint8, 2),
        _read_only(types.float32, 1),
    )
)
def _apply(images: Any, steps: Any, out: Any, sources: Any, tables: Any, factors: Any) -> None:
    for i in range(len(images)):
        image = out[i]
        _copy(images[i].reshape(-1), image.reshape(-1))
        for step in steps[i]:
            if step < 0:
                continue
            before = image.copy()
            operation = step // STEPS
            if step < FIRST_TABLE:
                _move(before, sources[step], image)
            elif step < FIRST_BLEND:
                _look_up(before, tables[step - FIRST_TABLE], image)
            elif operation == COLOR:
                _color(before, factors[step - FIRST_BLEND], image)
            elif operation == CONTRAST:
                _contrast(before, factors[step - FIRST_BLEND], image)
            elif step < FIRST_HISTOGRAM:
                _sharpness(before, factors[step - FIRST_BLEND], image)
            elif operation == AUTO_CONTRAST:
                _auto_contrast(before, image)
            else:
                _equalize(before, image)
