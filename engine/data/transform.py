"""What is done to a training image, on uint8 pixels before they are normalised."""

from __future__ import annotations

from dataclasses import dataclass

from engine.config.wording import either
from engine.errors import UserError

PADDING_MODES = ("zeros", "reflect", "edge")
FLIPS = ("random", "alternating", "none")
GREY = (0.2989, 0.587, 0.114)  # torchvision's weights of red, green and blue


@dataclass(frozen=True)
class Transform:
    """Crop, flip and cutout, in this order; `augment.reference` specifies each."""

    crop_padding: int = 4
    padding_mode: str = "zeros"
    flip: str = "random"  # alternating: random in epoch 0, then the other way in each epoch
    cutout: int = 0  # side of a black square, wholly inside the image

    def check(self, height: int, width: int) -> None:
        """Raise a `UserError` if this cannot be done to images of that size."""
        wrong = []
        side = min(height, width)
        if self.padding_mode not in PADDING_MODES:
            wrong.append(f"padding_mode {self.padding_mode!r}: expected {either(PADDING_MODES)}")
        if self.flip not in FLIPS:
            wrong.append(f"flip {self.flip!r}: expected {either(FLIPS)}")
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


@dataclass(frozen=True)
class Effects:
    """What comes after crop, flip and AutoAugment, beside a black cutout; off by default.

    `augment.reference` specifies each. The jitter's strengths are how far a factor may be from 1.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    erasing: float = 0.0  # probability of random erasing
    fill: tuple[float, ...] | None = None  # of cutout and erasing, 0 to 1 per channel; None: black

    def check(self) -> None:
        """Raise a `UserError` if there is no such effect."""
        wrong = [
            f"{name} {value}: expected 0 to 1"
            for name in ("brightness", "contrast", "saturation", "erasing")
            if not 0 <= (value := getattr(self, name)) <= 1
        ]
        if self.fill is not None and (
            len(self.fill) != 3 or not all(0 <= each <= 1 for each in self.fill)
        ):
            wrong.append(f"fill {self.fill}: expected three numbers from 0 to 1, or None")
        if wrong:
            raise UserError(*wrong)


IDENTITY = Transform(crop_padding=0, flip="none")  # evaluation: nothing is drawn
NO_EFFECTS = Effects()
