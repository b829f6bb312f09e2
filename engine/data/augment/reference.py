"""The specification of the augmentation: slow, one image at a time, obviously right.

Every other writing must give the same uint8 pixels and, within one rounding, the same floats.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

PAD_MODES = {"zeros": "constant", "reflect": "reflect", "edge": "edge"}


def crop_flip(
    image: npt.NDArray[np.uint8], row: int, column: int, flip: bool, padding: int, mode: str
) -> npt.NDArray[np.uint8]:
    """`image` padded, cropped back to its size from (row, column), then mirrored."""  # H W C
    height, width, _ = image.shape
    edges = ((padding, padding), (padding, padding), (0, 0))
    padded = np.pad(image, edges, mode=PAD_MODES[mode])  # type: ignore[call-overload]
    crop = padded[row : row + height, column : column + width]
    return np.ascontiguousarray(crop[:, ::-1] if flip else crop)


def normalise(
    image: npt.NDArray[np.uint8], mean: tuple[float, ...], std: tuple[float, ...]
) -> npt.NDArray[np.float64]:
    """Pixels on a scale of 0 to 1, less the mean, over the deviation."""
    out: npt.NDArray[np.float64] = (image / 255 - np.array(mean)) / np.array(std)
    return out
