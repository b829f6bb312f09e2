"""A built-in data set: ten classes of shapes on 32x32 colour images, for machines without CIFAR.

Each image shows one shape at a random place, size, angle and colour on a shaded background, with
spots and noise. The classes do not change under shifts and flips, so the usual augmentation is
valid. The shape is mostly lighter than its background, so a linear classifier learns something,
but not much.

Every bit is the same on every machine: random numbers are raw words of numpy's Philox generator,
counted by (split, block), and all arithmetic is on integers. The first n images of a longer set
are the images of a shorter one.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int32]

VERSION = "philox:figures-1"  # in the sidecar, as the digest of the source; raise it with any pixel
CLASSES = (
    "disc", "ring", "square", "frame", "triangle", "plus", "cross", "rows", "columns", "checks",
)  # fmt: skip
TRAIN, TEST = 50_000, 10_000
SIDE = 32
BLOCK = 200  # images generated at a time: the unit of counting
_STREAM = {"train": 1, "test": 2}
_UNIT = 64  # units per pixel, for all lengths

# cos and sin of -20 to 20 degrees in steps of 4, times 1024, rounded: no floating point
_COS = np.array([962, 984, 1002, 1014, 1022, 1024, 1022, 1014, 1002, 984, 962], np.int32)
_SIN = np.array([-350, -282, -213, -143, -71, 0, 71, 143, 213, 282, 350], np.int32)


def generate(
    split: str, count: int, progress: Callable[[int, int], None] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The first `count` images (N H W C, uint8) and labels (N, int64) of `train` or `test`."""
    images = np.empty((count, SIDE, SIDE, 3), np.uint8)
    labels = np.empty(count, np.int64)
    for start in range(0, count, BLOCK):
        end = min(start + BLOCK, count)
        block, block_labels = _block(_STREAM[split], start // BLOCK)
        images[start:end], labels[start:end] = block[: end - start], block_labels[: end - start]
        if progress is not None:
            progress(end, count)
    return images, labels


class _Draws:
    """Random integers in a fixed order, from words that numpy promises never to change."""

    def __init__(self, stream: int, block: int) -> None:
        self.words = np.random.Philox(key=stream, counter=[0, block, 0, 0])

    def integers(self, low: int, high: int, *shape: int) -> Ints:
        """Uniform from `low` to `high`, both included."""
        words = np.asarray(self.words.random_raw(BLOCK * int(np.prod(shape, dtype=int))))
        scaled = (words >> np.uint64(32)) * np.uint64(high - low + 1) >> np.uint64(32)
        drawn: Ints = scaled.astype(np.int32).reshape(BLOCK, *shape)
        drawn += low
        return drawn

    def bytes(self, *shape: int) -> npt.NDArray[np.uint8]:
        """Uniform from 0 to 255."""
        count = BLOCK * int(np.prod(shape))
        words = np.asarray(self.words.random_raw(count // 8))
        return words.astype("<u8").view(np.uint8).reshape(BLOCK, *shape)


def _block(stream: int, block: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    draws = _Draws(stream, block)
    order = np.argsort(draws.integers(0, 2**31 - 1).reshape(-1, 10), axis=1, kind="stable")
    labels = order.reshape(-1).astype(np.int64)  # every ten images contain each class once
    picture = _colours(draws, _shapes(draws, labels))
    for _ in range(3):
        tint = draws.integers(-90, 90, 3)[:, :, None, None]
        picture += (tint * _spot(draws)[:, None]) >> 6
    noise = draws.bytes(3, SIDE, SIDE).astype(np.int32)
    noise += draws.bytes(3, SIDE, SIDE)
    noise -= 255  # the sum of two uniform numbers
    noise *= draws.integers(4, 20)[:, None, None, None]
    noise >>= 6
    picture += noise
    image = np.clip(picture, 0, 255).astype(np.uint8)
    return image.transpose(0, 2, 3, 1), labels


def _colours(draws: _Draws, cover: Ints) -> Ints:
    """The shapes in one colour each on shaded backgrounds (N C H W)."""
    base = draws.integers(40, 200, 3)[:, :, None, None]
    slope = draws.integers(-64, 64, 2, 3)[:, :, :, None, None]
    across = np.arange(SIDE, dtype=np.int32) - SIDE // 2
    shade = slope[:, 0] * across + slope[:, 1] * across[:, None]
    shade >>= 5
    lighter = np.where(draws.integers(0, 99) < 92, 1, -1).astype(np.int32)
    strength = draws.integers(22, 100)[:, None] * lighter[:, None] + draws.integers(-40, 40, 3)
    paint = strength[:, :, None, None] - shade
    paint *= cover[:, None]
    paint >>= 6
    return np.asarray(base + shade + paint)


def _spot(draws: _Draws) -> Ints:
    place = draws.integers(0, SIDE * _UNIT - 1, 2)[:, :, None]
    radius = draws.integers(80, 240)[:, None, None]
    middle = np.arange(SIDE, dtype=np.int32) * _UNIT + _UNIT // 2
    across, down = (middle - place[:, 0]) ** 2, (middle - place[:, 1]) ** 2
    inside = radius * radius - across[:, None, :] - down[:, :, None]
    return _coverage(inside // (2 * radius))


def _coverage(inside: Ints) -> Ints:
    """How much of a pixel is covered, 0 to 64, from its depth inside the edge."""
    return np.clip(inside + 32, 0, 64)


def _shapes(draws: _Draws, labels: npt.NDArray[np.int64]) -> Ints:
    y, x = (np.mgrid[0:SIDE, 0:SIDE].astype(np.int32) * _UNIT) + 32
    centre = draws.integers(13 * _UNIT, 19 * _UNIT, 2)[:, :, None, None]
    radius = draws.integers(5 * _UNIT, 9 * _UNIT)[:, None, None]
    tilt = draws.integers(0, len(_COS) - 1)
    cos, sin = _COS[tilt][:, None, None], _SIN[tilt][:, None, None]
    dx, dy = x - centre[:, 0], y - centre[:, 1]
    u, v = (dx * cos + dy * sin) >> 10, (dy * cos - dx * sin) >> 10
    phase = draws.integers(0, 4095)[:, None, None]
    cover = np.empty(u.shape, np.int32)
    for label, shape in enumerate(_SHAPES):
        mine = labels == label
        cover[mine] = _coverage(shape(u[mine], v[mine], radius[mine], phase[mine]))
    return cover


def _both(first: Ints, second: Ints) -> Ints:
    """The depth inside the intersection of two shapes."""
    depth: Ints = np.minimum(first, second)
    return depth


def _disc(u: Ints, v: Ints, r: Ints, _: Ints) -> Ints:
    depth: Ints = (r * r - u * u - v * v) // (2 * r)
    return depth


def _square(u: Ints, v: Ints, r: Ints, _: Ints) -> Ints:
    return _both(r * 7 // 8 - np.abs(u), r * 7 // 8 - np.abs(v))


def _ring(u: Ints, v: Ints, r: Ints, p: Ints) -> Ints:
    return _both(_disc(u, v, r, p), -_disc(u, v, r * 5 // 9, p))


def _frame(u: Ints, v: Ints, r: Ints, p: Ints) -> Ints:
    return _both(_square(u, v, r, p), -_square(u, v, r * 5 // 9, p))


def _triangle(u: Ints, v: Ints, r: Ints, _: Ints) -> Ints:
    return _both(r * 3 // 4 - v, (r * 9 // 8 + v - 2 * np.abs(u)) * 7 // 16)


def _plus(u: Ints, v: Ints, r: Ints, _: Ints) -> Ints:
    wide, narrow = -_both(-np.abs(u), -np.abs(v)), _both(np.abs(u), np.abs(v))
    return _both(r - wide, r // 4 - narrow)


def _cross(u: Ints, v: Ints, r: Ints, p: Ints) -> Ints:
    return _plus((u + v) * 181 >> 8, (u - v) * 181 >> 8, r, p)


def _bars(along: Ints, phase: Ints) -> Ints:
    """Stripes four pixels apart, half a stripe deep."""
    depth: Ints = 64 - np.abs((along + phase) % 256 - 128)
    return depth


def _rows(u: Ints, v: Ints, r: Ints, p: Ints) -> Ints:
    return _both(_disc(u, v, r * 9 // 8, p), _bars(v, p))


def _columns(u: Ints, v: Ints, r: Ints, p: Ints) -> Ints:
    return _both(_disc(u, v, r * 9 // 8, p), _bars(u, p))


def _checks(u: Ints, v: Ints, r: Ints, p: Ints) -> Ints:
    first, second = _bars(u, p), _bars(v, p)
    sign = np.where((first > 0) == (second > 0), 1, -1).astype(np.int32)
    board = sign * _both(np.abs(first), np.abs(second))
    return _both(_disc(u, v, r * 9 // 8, p), board)


_SHAPES = (
    _disc, _ring, _square, _frame, _triangle, _plus, _cross, _rows, _columns, _checks,
)  # fmt: skip
