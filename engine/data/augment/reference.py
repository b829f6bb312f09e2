"""The specification of the augmentation: slow, one image at a time, obviously right.

Every other implementation gives the same uint8 pixels and, within one rounding, the same floats.
A draw is Philox (`engine.data.counter`) of (seed, AUGMENT, epoch, sample): word 0 gives the
crop's row, word 1 its column, the top bit of word 2 the flip, and the halves of word 3 the
position of the cutout. `reference_effects` has colour jitter and random erasing.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engine.data.counter import Ids, Purpose, below, draws
from engine.data.transform import Transform

PAD_MODES = {"zeros": "constant", "reflect": "reflect", "edge": "edge"}


class Geometry(NamedTuple):
    """Where each image of a batch is cropped, whether it is mirrored, where its cutout is."""

    rows: Ids
    columns: Ids
    flips: npt.NDArray[np.bool_]
    cut_rows: Ids  # in the cropped and mirrored image
    cut_columns: Ids


def geometry(
    transform: Transform, seed: int, epoch: int, ids: Ids, height: int, width: int
) -> Geometry:
    """What `transform` draws for the samples `ids` in `epoch`."""
    words = draws(seed, Purpose.AUGMENT, epoch, ids)
    offsets = 2 * transform.crop_padding + 1
    flip_words = words if transform.flip == "random" else draws(seed, Purpose.AUGMENT, 0, ids)
    flips = (flip_words[:, 2] >> np.uint32(31)).astype(bool)
    if transform.flip == "alternating":
        flips ^= bool(epoch % 2)
    elif transform.flip == "none":
        flips[:] = False
    high, low = words[:, 3] >> np.uint32(16), words[:, 3] & np.uint32(0xFFFF)
    return Geometry(
        rows=below(words[:, 0], offsets),
        columns=below(words[:, 1], offsets),
        flips=flips,
        cut_rows=(high.astype(np.int64) * (height - transform.cutout + 1)) >> 16,
        cut_columns=(low.astype(np.int64) * (width - transform.cutout + 1)) >> 16,
    )


def crop_flip(
    image: npt.NDArray[np.uint8], row: int, column: int, flip: bool, padding: int, mode: str
) -> npt.NDArray[np.uint8]:
    """`image` padded, cropped back to its size from (row, column), then mirrored."""  # H W C
    height, width, _ = image.shape
    edges = ((padding, padding), (padding, padding), (0, 0))
    padded = np.pad(image, edges, mode=PAD_MODES[mode])  # type: ignore[call-overload]
    crop = padded[row : row + height, column : column + width]
    out: npt.NDArray[np.uint8] = np.ascontiguousarray(crop[:, ::-1] if flip else crop)
    return out


def cut_out(
    image: npt.NDArray[np.uint8], row: int, column: int, side: int
) -> npt.NDArray[np.uint8]:
    """`image` with a black square of `side` pixels whose first corner is (row, column)."""
    out: npt.NDArray[np.uint8] = image.copy()
    out[row : row + side, column : column + side] = 0
    return out


def augment(
    image: npt.NDArray[np.uint8], sample: int, transform: Transform, seed: int, epoch: int
) -> npt.NDArray[np.uint8]:
    """`image` as the sample of that id after `transform` in that epoch."""
    height, width, _ = image.shape
    drawn = geometry(transform, seed, epoch, np.array([sample], np.int64), height, width)
    row, column, flip, cut_row, cut_column = (int(each[0]) for each in drawn)
    out = crop_flip(image, row, column, bool(flip), transform.crop_padding, transform.padding_mode)
    return cut_out(out, cut_row, cut_column, transform.cutout)


def normalise(
    image: npt.NDArray[np.uint8], mean: tuple[float, ...], std: tuple[float, ...]
) -> npt.NDArray[np.float64]:
    """Pixels scaled to 0 to 1, minus the mean, divided by the standard deviation."""
    out: npt.NDArray[np.float64] = (image / 255 - np.array(mean)) / np.array(std)
    return out
