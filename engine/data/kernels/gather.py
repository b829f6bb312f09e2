"""Samples straight from the mapped file: their bytes, in any order, by all threads."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.data.counter import Ids
from engine.data.kernels.jit import IDS, READ_IDS, READ_POINTERS, eager_njit, types
from engine.data.kernels.simd import AHEAD, DONE, PIECE, TAKEN, all_done, copy_ahead, fetch_add
from engine.data.kernels.threads import share
from engine.errors import UserError

Array = npt.NDArray[Any]


def gather(
    view: npt.NDArray[np.uint8],
    pointers: npt.NDArray[np.uint64],
    ids: Ids,
    out: npt.NDArray[np.uint8],
    *,
    threads: int | None = None,
) -> None:
    """Copy the samples `ids` from the file `view` to `out`, whose rows are one sample each.

    `pointers` says where each sample of the file begins. The default of `threads` is torch's.
    """
    arrays: tuple[npt.NDArray[Any], ...] = (view, pointers, ids, out)
    for array, kind in zip(arrays, (np.uint8, np.uint64, np.int64, np.uint8), strict=True):
        if array.dtype != kind or not array.flags.c_contiguous:
            raise UserError(f"gather: a {array.dtype} array; expected {kind.__name__}, contiguous")
    if view.ndim != 1 or pointers.ndim != 1 or ids.ndim != 1 or not out.flags.writeable:
        raise UserError(
            "gather: expected one view, one pointer and one id per sample, and writable memory"
        )
    if not out.ndim or len(out) != len(ids):
        raise UserError(f"gather: {len(ids)} ids for an array of the shape {out.shape}")
    if not out.size:
        return
    size = out.size // len(ids)
    wrong = 0 if size > len(view) else first_invalid(pointers, ids, len(view) - size)
    if wrong >= 0:
        raise UserError(
            f"sample {ids[wrong]} is outside the {len(pointers)} samples, or points outside the "
            f"file ({len(view):,} bytes, {size:,} per sample)"
        )
    progress = np.zeros(32, np.int64)
    places = (view.ctypes.data, pointers, ids, out.ctypes.data, size, progress)
    work = partial(gather_pieces, *places)
    share(work, threads, out.nbytes, partial(all_done, progress, len(ids)))


@eager_njit(types.boolean(types.int64, READ_POINTERS, READ_IDS, types.int64, types.int64, IDS))
def gather_pieces(
    store: int, pointers: Array, ids: Array, target: int, size: int, progress: Array
) -> bool:
    """Copy `size` bytes from the pointer of each id; otherwise as `augment_pieces`."""
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
    """The index of the first id that does not exist or points past `bound`, or -1."""
    for k in range(len(ids)):
        if not 0 <= ids[k] < len(pointers) or pointers[ids[k]] > np.uint64(bound):
            return k
    return -1
