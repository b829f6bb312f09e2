"""The augmentation on the CPU: gather, crop, flip, cut out, normalise and cast in one pass.

The same uint8 pixels as `reference`, bit for bit, and floats within one rounding, whatever the
number of threads. Several Python threads may call this at once.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.data.counter import Ids, halves
from engine.data.kernels.threads import share
from engine.data.transform import FLIPS, PADDING_MODES, Transform
from engine.errors import UserError

Images = npt.NDArray[np.uint8]
ScaleShift = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]  # per channel

KINDS = [np.dtype(kind) for kind in (np.uint8, np.float32, np.uint16)]
NO_CONSTANTS = np.zeros(6, np.float32)


def augment(
    images: Images,
    rows: Ids,
    ids: Ids,
    transform: Transform,
    seed: int,
    epoch: int,
    out: npt.NDArray[Any],
    constants: ScaleShift | None = None,
    *,
    threads: int | None = None,
) -> None:
    """Write `images[rows]`, augmented as the samples `ids`, to `out`.  # B H W C

    `out` takes pixels (uint8) or, with `constants`, floats: float32, or the bits of bfloat16 as
    uint16. The default of `threads` is torch's.
    """
    _check(images, rows, ids, out, constants)
    _, height, width, _ = images.shape
    transform.check(height, width)
    low, high = halves(seed, epoch)
    if not len(ids):
        return
    from engine.data.kernels import simd  # loads Numba
    from engine.data.kernels.augment import augment_pieces, first_outside

    wrong = first_outside(rows, len(images))
    if wrong >= 0:
        raise UserError(f"row {rows[wrong]} is outside the store (0 to {len(images) - 1})")
    settings = (
        height,
        width,
        transform.crop_padding,
        PADDING_MODES.index(transform.padding_mode),
        FLIPS.index(transform.flip),
        transform.cutout,
        KINDS.index(out.dtype),
        epoch,
        low,
        high,
    )
    numbers = NO_CONSTANTS if constants is None else np.concatenate(constants)
    progress = np.zeros(32, np.int64)
    work = partial(
        augment_pieces,
        images.ctypes.data,
        rows,
        ids,
        out.ctypes.data,
        numbers,
        settings,
        progress,
    )
    done = partial(simd.all_done, progress, len(ids))
    share(work, threads, len(ids) * height * width * 3, done)


def scale_and_shift(mean: tuple[float, ...], std: tuple[float, ...]) -> ScaleShift:
    """The constants that turn (x / 255 - mean) / std into one multiply and one add."""
    m, s = np.array(mean, np.float64), np.array(std, np.float64)
    return (1 / (255 * s)).astype(np.float32), (-m / s).astype(np.float32)


def _check(
    images: Images, rows: Ids, ids: Ids, out: npt.NDArray[Any], constants: ScaleShift | None
) -> None:
    wrong = []
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
        wrong.append(f"images: {_describe(images)}; expected uint8, N H W 3")
    elif not images.size or not _plain(images):
        wrong.append(f"images: {_describe(images)}, expected at least one pixel, contiguous")
    for name, array in (("rows", rows), ("ids", ids)):
        if array.dtype != np.int64 or array.ndim != 1 or not _plain(array):
            wrong.append(f"{name}: {_describe(array)}; expected int64, one per sample, contiguous")
    if len(rows) != len(ids):
        wrong.append(f"{len(rows)} rows for {len(ids)} ids")
    if out.dtype not in KINDS or not out.flags.carray:
        wrong.append(f"out: {_describe(out)}; expected uint8, float32 or uint16, contiguous")
    elif out.shape != (len(ids), *images.shape[1:]):
        wrong.append(f"out: {_describe(out)}; expected the shape {(len(ids), *images.shape[1:])}")
    if out.dtype != np.uint8 and (
        constants is None or any(c.dtype != np.float32 or c.shape != (3,) for c in constants)
    ):
        wrong.append("constants: floats need scale and shift, float32, one per channel")
    if wrong:
        raise UserError(*wrong)


def _plain(array: npt.NDArray[Any]) -> bool:
    return array.flags.c_contiguous and array.flags.aligned


def _describe(array: npt.NDArray[Any]) -> str:
    return f"{array.dtype} {'x'.join(map(str, array.shape))}"
