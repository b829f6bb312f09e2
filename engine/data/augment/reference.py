"""The specification of the augmentation: slow, one image at a time, obviously right.

Every other writing must give the same uint8 pixels and, within one rounding, the same floats.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engine.data.transform import Transform, geometry

PAD_MODES = {"zeros": "constant", "reflect": "reflect", "edge": "edge"}


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
    """All that `transform` does to `image`, the sample of that id, in that epoch."""
    height, width, _ = image.shape
    drawn = geometry(transform, seed, epoch, np.array([sample], np.int64), height, width)
    row, column, flip, cut_row, cut_column = (int(each[0]) for each in drawn)
    out = crop_flip(image, row, column, bool(flip), transform.crop_padding, transform.padding_mode)
    return cut_out(out, cut_row, cut_column, transform.cutout)


def normalise(
    image: npt.NDArray[np.uint8], mean: tuple[float, ...], std: tuple[float, ...]
) -> npt.NDArray[np.float64]:
    """Pixels on a scale of 0 to 1, less the mean, over the deviation."""
    out: npt.NDArray[np.float64] = (image / 255 - np.array(mean)) / np.array(std)
    return out
