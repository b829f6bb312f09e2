"""Samples straight from the mapped file: the bytes as they are, in any order, by all threads."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.data.counter import Ids
from engine.data.kernels.threads import share
from engine.errors import UserError


def gather(
    view: npt.NDArray[np.uint8],
    pointers: npt.NDArray[np.uint64],
    ids: Ids,
    out: npt.NDArray[np.uint8],
    *,
    threads: int | None = None,
) -> None:
    """Copy the samples `ids` from the file `view` to `out`, whose rows are one sample each.

    `pointers` says where each sample of the file begins. `threads` is torch's number where it is
    not given.
    """
    arrays: tuple[npt.NDArray[Any], ...] = (view, pointers, ids, out)
    for array, kind in zip(arrays, (np.uint8, np.uint64, np.int64, np.uint8), strict=True):
        if array.dtype != kind or not array.flags.c_contiguous:
            raise UserError(f"gather: a {array.dtype} array; expected {kind.__name__}, contiguous")
    if view.ndim != 1 or pointers.ndim != 1 or ids.ndim != 1 or not out.flags.writeable:
        raise UserError("gather: expected one view, one pointer and one id a sample, and memory")
    if not out.ndim or len(out) != len(ids):
        raise UserError(f"gather: {len(ids)} ids for an array of the shape {out.shape}")
    if not out.size:
        return
    from engine.data.kernels import simd  # loads Numba
    from engine.data.kernels.gather import first_invalid, gather_pieces

    size = out.size // len(ids)
    wrong = 0 if size > len(view) else first_invalid(pointers, ids, len(view) - size)
    if wrong >= 0:
        raise UserError(
            f"sample {ids[wrong]} is outside the {len(pointers)} samples, or points outside the "
            f"file ({len(view):,} bytes, {size:,} a sample)"
        )
    progress = np.zeros(32, np.int64)
    places = (view.ctypes.data, pointers, ids, out.ctypes.data, size, progress)
    work = partial(gather_pieces, *places)
    share(work, threads, out.nbytes, partial(simd.all_done, progress, len(ids)))
