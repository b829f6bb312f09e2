"""The compiled kernel of `engine.data.augment.effects` on the CPU.

Each operation of float32 is rounded by itself, none is fused, and sums are of integers: so the
GPU's kernel gives the same bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.data.counter import SHIFT, Purpose
from engine.data.kernels.augment import philox
from engine.data.kernels.jit import READ_FLOATS, READ_IDS, eager_njit, inline_njit, types
from engine.data.kernels.simd import FLOAT32, UINT8
from engine.data.transform import GREY

JITTER, ERASING, AUGMENT = (
    np.uint64(each) for each in (Purpose.JITTER, Purpose.ERASING, Purpose.AUGMENT)
)
RED, GREEN, BLUE = (np.float32(each) for each in GREY)
FIXED, HALF = np.float32(4096), np.float32(0.5)  # the mean grey is summed in 4096ths
UNIT, DROPPED = np.float32(2.0**-24), np.uint64(8)  # the upper 24 bits of a word as 0 to 1
ZERO, ONE, MOST = np.float32(0), np.float32(1), np.float32(255)
READ_PIXELS = types.Array(types.uint8, 2, "C", readonly=True)


@inline_njit
def _factor(word: Any, low: Any, span: Any) -> Any:
    return low + span * (np.float32(np.int64(word >> DROPPED)) * UNIT)


@inline_njit
def _clamp(value: Any) -> Any:
    return min(max(value, ZERO), MOST)


@inline_njit
def _grey(pixels: Any, k: int) -> Any:
    return (RED * pixels[k] + GREEN * pixels[k + 1]) + BLUE * pixels[k + 2]


@inline_njit
def _jitter(pixels: Any, words: Any, numbers: Any) -> None:
    """Brightness, contrast and saturation, each only where it has a span."""
    if numbers[1] > ZERO:
        factor = _factor(words[0], numbers[0], numbers[1])
        for k in range(len(pixels)):
            pixels[k] = _clamp(pixels[k] * factor)
    if numbers[3] > ZERO:
        factor = _factor(words[1], numbers[2], numbers[3])
        total = np.int64(0)
        for k in range(0, len(pixels), 3):
            total += np.int64(_grey(pixels, k) * FIXED + HALF)
        rest = (ONE - factor) * (np.float32(total) * numbers[6])
        for k in range(len(pixels)):
            pixels[k] = _clamp(factor * pixels[k] + rest)
    if numbers[5] > ZERO:
        factor = _factor(words[2], numbers[4], numbers[5])
        for k in range(0, len(pixels), 3):
            rest = (ONE - factor) * _grey(pixels, k)
            for c in range(3):
                pixels[k + c] = _clamp(factor * pixels[k + c] + rest)


@inline_njit
def _fill(pixels: Any, box: Any, width: int, fill: Any) -> None:
    top, left, tall, wide = box
    for y in range(top, top + tall):
        for k in range(3 * (y * width + left), 3 * (y * width + left + wide)):
            pixels[k] = fill[k % 3]


@eager_njit(
    types.void(
        READ_PIXELS,
        READ_IDS,
        types.int8[:, ::1],  # not uint8, whose arrays FFCV makes read-only
        READ_FLOATS,
        READ_FLOATS,
        READ_FLOATS,
        READ_IDS,
        types.UniTuple(types.int64, 8),
    )
)
def finish_pieces(
    images: Any,
    ids: Any,
    out: Any,
    constants: Any,
    numbers: Any,
    fill: Any,
    sizes: Any,
    settings: Any,
) -> None:
    """Write each image with its effects to `out`, as bytes of the dtype `kind`.

    `numbers`: lowest factor and span of brightness, contrast and saturation, then what turns the
    sum of greys into their mean. `fill`: values as in `out`.
    """
    height, width, cutout, kind, epoch, low, high, threshold = settings
    pixels = np.empty(images.shape[1], np.float32)
    jitters = numbers[1] > ZERO or numbers[3] > ZERO or numbers[5] > ZERO
    for i in range(len(images)):
        for k in range(len(pixels)):
            pixels[k] = np.float32(images[i, k])
        if jitters:
            _jitter(pixels, philox(epoch, ids[i], low, high, JITTER), numbers)
        if kind != UINT8:
            for k in range(0, len(pixels), 3):
                for c in range(3):
                    pixels[k + c] = pixels[k + c] * constants[c] + constants[3 + c]
        if cutout > 0:
            _, _, _, word3 = philox(epoch, ids[i], low, high, AUGMENT)
            cut = np.int64(word3)
            top = ((cut >> 16) * (height - cutout + 1)) >> 16
            left = ((cut & 0xFFFF) * (width - cutout + 1)) >> 16
            _fill(pixels, (top, left, cutout, cutout), width, fill)
        if threshold > 0:
            word0, word1, word2, word3 = philox(epoch, ids[i], low, high, ERASING)
            if np.int64(word0) < threshold:
                size = sizes[np.int64((word1 * np.uint64(len(sizes))) >> SHIFT)]
                tall, wide = size >> 16, size & 0xFFFF
                top = np.int64((word2 * np.uint64(height - tall + 1)) >> SHIFT)
                left = np.int64((word3 * np.uint64(width - wide + 1)) >> SHIFT)
                _fill(pixels, (top, left, tall, wide), width, fill)
        if kind == FLOAT32:
            out[i].view(np.float32)[:] = pixels
        elif kind == UINT8:
            to_bytes = out[i].view(np.uint8)
            for k in range(len(pixels)):
                to_bytes[k] = np.uint8(pixels[k] + HALF)
        else:  # bfloat16: to the nearest, ties to even
            bits, halves = pixels.view(np.uint32), out[i].view(np.uint16)
            for k in range(len(pixels)):
                word = bits[k]
                odd = (word >> np.uint32(16)) & np.uint32(1)
                halves[k] = np.uint16((word + np.uint32(0x7FFF) + odd) >> np.uint32(16))
