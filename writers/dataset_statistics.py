"""Statistics for the sidecar, from sums of integers, so the same on every machine."""

from __future__ import annotations

import math

import numpy as np

_IMAGES_AT_A_TIME = 1000


def class_counts(labels: np.ndarray, classes: int) -> tuple[int, ...]:
    """How many samples each class has; unlabelled ones (-1) count for none."""
    known = labels[labels >= 0]
    return tuple(int(count) for count in np.bincount(known, minlength=classes))


def mean_and_std(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and population standard deviation per channel over all pixels, on a scale of 0 to 1."""
    sums, squares = [0, 0, 0], [0, 0, 0]
    for start in range(0, len(images), _IMAGES_AT_A_TIME):
        block = images[start : start + _IMAGES_AT_A_TIME].reshape(-1, 3)
        for channel in range(3):
            values = block[:, channel].astype(np.uint16)
            sums[channel] += int(values.sum(dtype=np.uint64))
            values *= values  # at most 255 * 255: it fits
            squares[channel] += int(values.sum(dtype=np.uint64))
    count = images.size // 3
    mean = tuple(total / (count * 255) for total in sums)
    std = tuple(
        math.sqrt((count * square - total * total) / (count * 255) ** 2)
        for total, square in zip(sums, squares, strict=True)
    )
    return mean, std
