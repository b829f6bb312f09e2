"""The compiled kernel of `engine.data.augment.cpu`: one pass over a batch does everything.

Each image is cropped and mirrored row by row into the batch; for floats it goes through one image
of scratch memory that stays in the L1 cache. Meanwhile the next image but one is prefetched.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from engine.data.counter import MASK, MULTIPLIERS, ROUNDS, SHIFT, WEYL, Purpose
from engine.data.kernels.jit import IDS, READ_FLOATS, READ_IDS, eager_njit, inline_njit, types
from engine.data.kernels.simd import (
    AHEAD,
    DONE,
    FLOAT32,
    LINE,
    PIECE,
    TAKEN,
    UINT8,
    copy,
    copy_ahead,
    fetch_add,
    keep_alive,
    mirror,
    move3,
    normalise,
    prefetch,
)
from engine.data.transform import FLIPS, PADDING_MODES

Array = npt.NDArray[Any]

ZEROS, REFLECT, EDGE = range(len(PADDING_MODES))
RANDOM, ALTERNATING, NONE = range(len(FLIPS))
AUGMENT = np.uint64(Purpose.AUGMENT)
M0, M1 = MULTIPLIERS
W0, W1 = np.uint64(WEYL[0]), np.uint64(WEYL[1])


@inline_njit
def philox(epoch: int, sample: int, seed_low: int, seed_high: int, purpose: int) -> Any:
    """The four words of `engine.data.counter.draws`."""
    x0, x1, x2, x3 = np.uint64(sample) & MASK, np.uint64(epoch), np.uint64(seed_high), np.uint64(0)
    key0, key1 = np.uint64(seed_low), np.uint64(purpose)
    for _ in range(ROUNDS):
        low, high = x0 * M0, x2 * M1
        x0, x1 = (high >> SHIFT) ^ x1 ^ key0, high & MASK
        x2, x3 = (low >> SHIFT) ^ x3 ^ key1, low & MASK
        key0, key1 = (key0 + W0) & MASK, (key1 + W1) & MASK
    return x0, x1, x2, x3


@inline_njit
def inside(index: int, size: int, mode: int) -> int:
    """Which pixel the padding repeats at `index`."""
    if mode == REFLECT:
        index = abs(index)
        return 2 * (size - 1) - index if index >= size else index
    return min(max(index, 0), size - 1)


@inline_njit
def crop(
    to: int,
    image: int,
    height: int,
    width: int,
    top: int,
    left: int,
    mode: int,
    flip: bool,
    black: int,
    soon: int,
) -> None:
    """Write the window that begins at (top, left), which may reach outside, mirrored or not.

    The image at `soon` is prefetched row by row: all at once would stall the copying.
    """
    line = 3 * width
    before, after = min(max(-left, 0), width), min(max(left, 0), width)
    kept = width - before - after
    start = after if flip else before  # where the kept part goes; the border is on one side
    border = 3 * (width - kept)
    wiped = min(max(border, 32), line) if border else 0  # in a whole step, which `kept` then covers
    wipe = 0 if start else line - wiped
    for y in range(top, top + height):
        if mode == ZEROS and not 0 <= y < height:
            copy(to, black, line)
        else:
            row = image + inside(y, height, mode) * line
            if mode == ZEROS:
                copy(to + wipe, black, wiped)
            else:
                for x in range(before):
                    place = 3 * (width - 1 - x if flip else x)
                    move3(to + place, row + 3 * inside(left + x, width, mode))
                for x in range(width - after, width):
                    place = 3 * (width - 1 - x if flip else x)
                    move3(to + place, row + 3 * inside(left + x, width, mode))
            if flip:
                mirror(to + 3 * start, row + 3 * after, kept)
            else:
                copy(to + 3 * start, row + 3 * after, 3 * kept)
        to += line
        for k in range(0, line, LINE):
            prefetch(soon + k)
        soon += line


@eager_njit(
    types.boolean(
        types.int64,
        READ_IDS,
        READ_IDS,
        types.int64,
        READ_FLOATS,
        types.UniTuple(types.int64, 10),
        IDS,
    )
)
def augment_pieces(
    store: int,
    rows: Array,
    ids: Array,
    target: int,
    constants: Array,
    settings: Any,
    progress: Array,
) -> bool:
    """Take pieces of the batch until none is left; True if this call finished the last one.

    `store` and `target` are the addresses of the images and the batch: not arrays, because FFCV
    makes Numba's type of uint8 arrays read-only for the whole process.
    """
    height, width, padding, mode, flips, cutout, kind, epoch, seed_low, seed_high = settings
    batch, size, line = len(ids), height * width * 3, width * 3
    piece = min(max(PIECE // size, 1), 64)
    shared = progress.ctypes.data
    steady = np.empty(96, np.float32)  # as many as one step of `normalise` needs
    for k in range(48):
        steady[k], steady[48 + k] = constants[k % 3], constants[3 + k % 3]
    scale, shift = steady.ctypes.data, steady.ctypes.data + 4 * 48
    item = 1 if kind == UINT8 else 4 if kind == FLOAT32 else 2
    scratch = np.empty(size if kind != UINT8 else 0, np.uint8)
    blank = np.zeros(line, np.uint8)
    black = blank.ctypes.data
    offsets = np.uint64(2 * padding + 1)
    drawing = padding > 0 or flips != NONE or cutout > 0
    ended = False
    while True:
        first = fetch_add(shared + 8 * TAKEN, piece)
        if first >= batch:
            break
        end = min(first + piece, batch)
        for i in range(first, end):
            soon = store + rows[min(i + AHEAD, end - 1)] * size
            image, place = store + rows[i] * size, target + i * size * item
            top, left, flip = 0, 0, False
            cut_row, cut_column = 0, 0
            if drawing:
                word0, word1, word2, word3 = philox(epoch, ids[i], seed_low, seed_high, AUGMENT)
                top = np.int64((word0 * offsets) >> SHIFT) - padding
                left = np.int64((word1 * offsets) >> SHIFT) - padding
                if flips == ALTERNATING:
                    _, _, word2, _ = philox(0, ids[i], seed_low, seed_high, AUGMENT)
                    flip = (np.int64(word2 >> np.uint64(31)) ^ (epoch & 1)) != 0
                elif flips == RANDOM:
                    flip = (word2 >> np.uint64(31)) != 0
                cut = np.int64(word3)
                cut_row = ((cut >> 16) * (height - cutout + 1)) >> 16
                cut_column = ((cut & 0xFFFF) * (width - cutout + 1)) >> 16
            done = place if kind == UINT8 else scratch.ctypes.data
            if top == 0 and left == 0 and not flip:
                if kind != UINT8 and cutout == 0:
                    done = image
                else:
                    copy_ahead(done, image, size, soon)
            else:
                crop(done, image, height, width, top, left, mode, flip, black, soon)
            if cutout:
                for y in range(cut_row, cut_row + cutout):
                    copy(done + y * line + 3 * cut_column, black, 3 * cutout)
            if kind != UINT8:
                normalise(place, done, size, kind, scale, shift, soon)
        if fetch_add(shared + 8 * DONE, end - first) + end - first == batch:
            ended = True
    keep_alive(steady, blank, scratch)
    return ended


@eager_njit(types.int64(READ_IDS, types.int64))
def first_outside(indices: Array, bound: int) -> int:
    """The position of the first index outside 0 to `bound` - 1, or -1."""
    for k in range(len(indices)):
        if not 0 <= indices[k] < bound:
            return k
    return -1
