"""The compiled half of `gather`."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from engine.data.kernels.jit import IDS, READ_IDS, READ_POINTERS, eager_njit, types
from engine.data.kernels.simd import AHEAD, DONE, PIECE, TAKEN, copy_ahead, fetch_add

Array = npt.NDArray[Any]


@eager_njit(types.boolean(types.int64, READ_POINTERS, READ_IDS, types.int64, types.int64, IDS))
def gather_pieces(
    store: int, pointers: Array, ids: Array, target: int, size: int, progress: Array
) -> bool:
    """Copy `size` bytes from the pointer of each id; else as `augment`."""
    shared = progress.ctypes.data
    batch, piece = len(ids), min(max(PIECE // size, 1), 64)
    ended = False
    while True:
        first = fetch_add(shared + 8 * TAKEN, piece)
        if first >= batch:
            break
        end = min(first + piece, batch)
        for i in range(first, end):
            soon = store + np.int64(pointers[ids[min(i + AHEAD, end - 1)]])
            copy_ahead(target + i * size, store + np.int64(pointers[ids[i]]), size, soon)
        if fetch_add(shared + 8 * DONE, end - first) + end - first == batch:
            ended = True
    return ended


@eager_njit(types.int64(READ_POINTERS, READ_IDS, types.int64))
def first_invalid(pointers: Array, ids: Array, bound: int) -> int:
    """The place of the first id that does not exist or points past `bound`, or -1."""
    for k in range(len(ids)):
        if not 0 <= ids[k] < len(pointers) or pointers[ids[k]] > np.uint64(bound):
            return k
    return -1
