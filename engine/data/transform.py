"""What is done to a training image, and the draws that decide it: the specification.

The kernels draw for themselves, in their own language; this slow writing says what they must
draw. A draw is Philox (`engine.data.counter`) of (seed, AUGMENT, epoch, sample): word 0 gives
the crop's row, word 1 its column, the top bit of word 2 the flip, and the halves of word 3 the
place of the cutout.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engine.data.counter import Ids, Purpose, below, draws
from engine.errors import UserError

PADDING_MODES = ("zeros", "reflect", "edge")
FLIPS = ("random", "alternating", "none")


@dataclass(frozen=True)
class Transform:
    """Crop, flip and cutout, in this order, all on uint8 pixels before they are normalised."""

    crop_padding: int = 4
    padding_mode: str = "zeros"
    flip: str = "random"  # alternating: drawn for epoch 0, then the other way each epoch
    cutout: int = 0  # side of a black square, wholly inside the image

    def check(self, height: int, width: int) -> None:
        """Raise a `UserError` where this cannot be done to images of that size."""
        wrong = []
        side = min(height, width)
        if self.padding_mode not in PADDING_MODES:
            wrong.append(f"padding_mode {self.padding_mode!r}: expected {_any_of(PADDING_MODES)}")
        if self.flip not in FLIPS:
            wrong.append(f"flip {self.flip!r}: expected {_any_of(FLIPS)}")
        if self.crop_padding < 0:
            wrong.append(f"crop_padding {self.crop_padding}: expected 0 or more")
        elif self.padding_mode == "reflect" and self.crop_padding >= side:
            wrong.append(
                f"crop_padding {self.crop_padding}: reflect padding must be smaller than the image "
                f"({height}x{width})"
            )
        if not 0 <= self.cutout <= side:
            wrong.append(f"cutout {self.cutout}: expected 0 to {side}, the side of the image")
        if wrong:
            raise UserError(*wrong)


IDENTITY = Transform(crop_padding=0, flip="none")  # evaluation: nothing is drawn


class Geometry(NamedTuple):
    """Where each image of a batch is cropped, whether it is mirrored, where it is cut out."""

    rows: Ids
    columns: Ids
    flips: npt.NDArray[np.bool_]
    cut_rows: Ids  # in the finished image: what was cropped and mirrored
    cut_columns: Ids


def geometry(
    transform: Transform, seed: int, epoch: int, ids: Ids, height: int, width: int
) -> Geometry:
    """What `transform` does to the samples `ids` in `epoch`."""
    words = draws(seed, Purpose.AUGMENT, epoch, ids)
    offsets = 2 * transform.crop_padding + 1
    deciding = words if transform.flip == "random" else draws(seed, Purpose.AUGMENT, 0, ids)
    flips = (deciding[:, 2] >> np.uint32(31)).astype(bool)
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


def _any_of(choices: tuple[str, ...]) -> str:
    return ", ".join(choices[:-1]) + " or " + choices[-1]
